//! What each stream is for, and the bytes that say so at its beginning.
//!
//! ```text
//! control   u8 1                                          the only two-way stream, opened by the dialler;
//!                                                         the listener answers with the same byte when it takes the session
//! requests  u8 2                                          one way, one per sender
//! flow      u8 3 | lane, 32 bytes | u8 direction          one way, one per sender and flow
//! ```
//! After that come frames, each after its length.

use cityrelay_core::frame::Frame;
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::LaneId;
use cityrelay_core::lane::{Direction, Flow};
use quinn::{ReadExactError, RecvStream};

use crate::refusal::Refusal;

pub(crate) const CONTROL_HEAD: u8 = 1;
const REQUESTS_HEAD: u8 = 2;
const FLOW_HEAD: u8 = 3;

/// What a stream is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum StreamKey {
    /// Hello, updates and what concerns whole chains.
    Control,
    /// Attestation requests and their answers.
    Requests,
    /// What is said about one flow.
    Flow(Flow),
}

impl StreamKey {
    /// The stream on which `frame` travels.
    pub(crate) const fn of(frame: &Frame) -> Self {
        match frame {
            Frame::Hello(_) | Frame::Update { .. } | Frame::ClientAt(_) | Frame::Committee(_) => Self::Control,
            Frame::AttestRequest { .. } | Frame::Attestation { .. } | Frame::SetRequest(_) | Frame::SetAttested(_) => {
                Self::Requests
            }
            Frame::Extension { claim, .. } => Self::Flow(claim.flow),
            Frame::Accepted { flow, .. } => Self::Flow(*flow),
            Frame::Declined(declined) => Self::Flow(declined.flow),
        }
    }

    /// How often one of its frames counts in the peer's pace: what concerns a whole chain sets all its lanes going.
    pub(crate) const fn weight(self) -> u32 {
        match self {
            Self::Control => 8,
            Self::Requests | Self::Flow(_) => 1,
        }
    }

    /// The word used in refusals.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Requests => "requests",
            Self::Flow(_) => "flow",
        }
    }

    /// The bytes at the beginning of the stream.
    pub(crate) fn head(self) -> Vec<u8> {
        match self {
            Self::Control => vec![CONTROL_HEAD],
            Self::Requests => vec![REQUESTS_HEAD],
            Self::Flow(flow) => {
                let mut head = vec![FLOW_HEAD];
                head.extend_from_slice(flow.lane.0.as_bytes());
                head.push(flow.direction.code());
                head
            }
        }
    }

    /// Reads the beginning of a one-way stream.
    ///
    /// # Errors
    /// `StreamKind` for an unknown kind, for control (which is never one-way) and for an unknown direction;
    /// `StreamBroken` when the stream ends first.
    pub(crate) async fn read(stream: &mut RecvStream) -> Result<Self, Refusal> {
        let broken = |_: ReadExactError| Refusal::StreamBroken { stream: "new" };
        let mut kind = [0];
        stream.read_exact(&mut kind).await.map_err(broken)?;
        match kind {
            [REQUESTS_HEAD] => Ok(Self::Requests),
            [FLOW_HEAD] => {
                let mut lane = [0; 32];
                let mut direction = [0];
                stream.read_exact(&mut lane).await.map_err(broken)?;
                stream.read_exact(&mut direction).await.map_err(broken)?;
                let [code] = direction;
                let direction = Direction::from_code(code).ok_or(Refusal::StreamKind { got: FLOW_HEAD })?;
                Ok(Self::Flow(Flow { lane: LaneId(Hash32(lane)), direction }))
            }
            [got] => Err(Refusal::StreamKind { got }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heads_are_as_drawn() {
        let flow = Flow { lane: LaneId(Hash32([0xab; 32])), direction: Direction::Inbox };
        assert_eq!(hex::encode(StreamKey::Control.head()), "01");
        assert_eq!(hex::encode(StreamKey::Requests.head()), "02");
        assert_eq!(hex::encode(StreamKey::Flow(flow).head()), format!("03{}01", "ab".repeat(32)));
    }
}
