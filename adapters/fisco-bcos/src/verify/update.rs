//! Updates: consecutive headers, with evidence for set changes where there is some.

use cityrelay_core::hash::Hash32;
use cityrelay_core::light_client::{AdapterValue, Refusal};

use super::state::{encoding, expect_version};
use crate::codec::binary::{BinaryError, Decoder, Encoder, MAX_BLOCK_TRANSACTIONS};
use crate::codec::header::SealedHeader;
use crate::codec::receipt::Receipt;
use crate::codec::transaction::TransactionData;

/// The most headers in one update: 4 MiB and more of signatures to check.
pub const MAX_UPDATE_HEADERS: usize = 4096;

/// The most calls of the consensus contract in one block that are replayed.
pub const MAX_SET_CALLS: usize = 256;

/// Consecutive headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainUpdate {
    /// Ascending; at least one.
    pub headers: Vec<UpdateHeader>,
}

/// One header of an update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateHeader {
    /// The header and its signatures.
    pub sealed: SealedHeader,
    /// The header of the height before is not at hand (recordings have such holes): a quorum of the set in force finalises
    /// it through this one's parent hash. Nothing can be proved at it.
    pub skips_parent: bool,
    /// Where it lists another set: what the block before it did about that, if the server could find out.
    pub evidence: Option<SetChangeEvidence>,
}

/// The transactions of one block that called the consensus contract directly, bound to the block's roots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetChangeEvidence {
    /// Hashes of all transactions of the block.
    pub transaction_hashes: Vec<Hash32>,
    /// Hashes of all its receipts.
    pub receipt_hashes: Vec<Hash32>,
    /// The calls, ascending by position.
    pub calls: Vec<SetCall>,
}

/// One call of the consensus contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetCall {
    /// Position of its transaction in the block.
    pub position: u32,
    /// The transaction.
    pub transaction: TransactionData,
    /// Its receipt.
    pub receipt: Receipt,
}

impl AdapterValue for ChainUpdate {
    const VERSION: u16 = 1;

    fn encode(&self) -> Vec<u8> {
        let mut encoder = Encoder::default();
        encoder.count(self.headers.len());
        for header in &self.headers {
            encoder.sealed_header(&header.sealed);
            encoder.byte(u8::from(header.skips_parent));
            match &header.evidence {
                None => encoder.byte(0),
                Some(evidence) => {
                    encoder.byte(1);
                    encoder.hashes(&evidence.transaction_hashes);
                    encoder.hashes(&evidence.receipt_hashes);
                    encoder.count(evidence.calls.len());
                    for call in &evidence.calls {
                        encoder.word(call.position);
                        encoder.transaction(&call.transaction);
                        encoder.receipt(&call.receipt);
                    }
                }
            }
        }
        encoder.into_bytes()
    }

    fn decode(version: u16, bytes: &[u8]) -> Result<Self, Refusal> {
        expect_version(Self::VERSION, version)?;
        let mut decoder = Decoder::new(bytes);
        let read = |decoder: &mut Decoder<'_>| {
            // A header has far more than 200 bytes, so the count can't make us allocate more than a few times the input.
            let count = decoder.count(MAX_UPDATE_HEADERS, 200)?;
            (0..count).map(|_| read_header(decoder)).collect::<Result<Vec<_>, _>>()
        };
        let headers = read(&mut decoder).map_err(encoding)?;
        decoder.finish().map_err(encoding)?;
        Ok(Self { headers })
    }
}

fn read_header(decoder: &mut Decoder<'_>) -> Result<UpdateHeader, BinaryError> {
    let sealed = decoder.sealed_header()?;
    let skips_parent = match decoder.byte()? {
        0 => false,
        1 => true,
        _ => return Err(BinaryError::Form { expected: "0 or 1" }),
    };
    let evidence = match decoder.byte()? {
        0 => None,
        1 => {
            let transaction_hashes = decoder.hashes(MAX_BLOCK_TRANSACTIONS)?;
            let receipt_hashes = decoder.hashes(MAX_BLOCK_TRANSACTIONS)?;
            let count = decoder.count(MAX_SET_CALLS, 100)?;
            let calls = (0..count)
                .map(|_| {
                    Ok(SetCall {
                        position: decoder.word()?,
                        transaction: decoder.transaction()?,
                        receipt: decoder.receipt()?,
                    })
                })
                .collect::<Result<_, BinaryError>>()?;
            Some(SetChangeEvidence { transaction_hashes, receipt_hashes, calls })
        }
        _ => return Err(BinaryError::Form { expected: "0 or 1" }),
    };
    Ok(UpdateHeader { sealed, skips_parent, evidence })
}
