//! Recordings: what nodes answered, raw, so that the light client can be run over it without a network.

use async_trait::async_trait;
use cityrelay_core::ids::{Height, UnixMillis};
use cityrelay_core::light_client::{Refusal, SetStatement};
use cityrelay_core::opaque::Opaque;
use cityrelay_core::verify::VerifiedHeader;

use crate::source::NodeError;

/// Reads and makes an adapter's recordings. The JSON form is the adapter's; its README describes it.
#[async_trait]
pub trait Recording: Send + Sync {
    /// Takes a recording apart into steps, ascending by height, from the first block in it that follows the anchor.
    ///
    /// # Errors
    /// A [`Refusal`] with check `recording-…` when the file is not one of this adapter's.
    fn read(&self, recording: &serde_json::Value) -> Result<Vec<RecordedStep>, Refusal>;

    /// Checks everything else that was recorded at a height (transactions, receipts, proofs) against the verified
    /// header; gives the number of checks made.
    ///
    /// # Errors
    /// The first [`Refusal`].
    fn verify_body(&self, header: &VerifiedHeader, step: &RecordedStep) -> Result<u64, Refusal>;

    /// Asks the nodes for the blocks `from..=to` and writes what they answer in the same form.
    async fn record(&self, from: Height, to: Height) -> Result<serde_json::Value, NodeError>;
}

/// One recorded height.
#[derive(Clone, Debug)]
pub struct RecordedStep {
    /// The height.
    pub height: Height,
    /// The header's own time: a replay takes place when the recording was made, not now.
    pub time: UnixMillis,
    /// The update that follows the height before.
    pub update: Opaque,
    /// What is wrong with the recorded block, where that shows before the light client sees it: an item that only a later
    /// fork's header has. Nothing after it can be verified.
    pub refusal: Option<Refusal>,
    /// What the recorded node says about its validator set from here on, where the headers alone can't prove it. A
    /// replay takes the recording for an own node's word and says so.
    pub statement: Option<SetStatement>,
    /// The recorded block with its transactions, receipts and proofs, as it is in the file.
    pub body: serde_json::Value,
}
