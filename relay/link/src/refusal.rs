//! Why something is refused, and the number by which the other side is told.

use std::ops::RangeInclusive;

use cityrelay_core::ids::LaneId;
use cityrelay_wire::DecodeError;
use quinn::VarInt;

use crate::fingerprint::Fingerprint;

/// Why a connection, a stream or a frame is refused.
///
/// The other side is at fault, except for `TooManyHandshakes` and `TooManySessions`; it is told by a [`CloseCode`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The key that was proved is not the one that is pinned.
    #[error("the key {got} is not pinned here")]
    UnknownFingerprint {
        /// Fingerprint of that key.
        got: Fingerprint,
    },
    /// Another application protocol than [`crate::ALPN`], or none.
    #[error("the application protocol is not cityrelay/1")]
    WrongAlpn,
    /// No key was shown at all.
    #[error("no client key was shown")]
    NoClientKey,
    /// The handshake failed otherwise.
    #[error("the handshake failed with transport error {code:#x}")]
    Handshake {
        /// QUIC transport error code (RFC 9000 §20.1; 0x100 and more: TLS alert, RFC 9001 §4.8).
        code: u64,
    },
    /// The handshake took too long.
    #[error("the handshake took too long")]
    HandshakeTimeout,
    /// Too many handshakes at a time.
    #[error("more than {limit} handshakes at a time")]
    TooManyHandshakes {
        /// The most.
        limit: usize,
    },
    /// Too many sessions at a time, of this peer or in all.
    #[error("more than {limit} sessions at a time")]
    TooManySessions {
        /// The most.
        limit: usize,
    },
    /// Another session with this peer stays.
    #[error("another session with this peer stays")]
    DuplicateSession,
    /// The first frame is not `Hello`.
    #[error("the first frame is {got}, expected hello")]
    HelloMissing {
        /// Kind of the frame.
        got: &'static str,
    },
    /// No `Hello` in time.
    #[error("no hello in time")]
    HelloTimeout,
    /// A second `Hello`.
    #[error("hello was said twice")]
    HelloRepeated,
    /// No protocol version in common.
    #[error("the peer speaks versions {got:?}, expected one of {expected:?}")]
    Version {
        /// What the peer speaks.
        got: RangeInclusive<u16>,
        /// What is spoken here.
        expected: RangeInclusive<u16>,
    },
    /// A stream that begins with none of the known kinds.
    #[error("unknown stream kind {got}")]
    StreamKind {
        /// The kind's number.
        got: u8,
    },
    /// More streams than two per lane and one.
    #[error("more than {limit} streams")]
    TooManyStreams {
        /// The most.
        limit: u32,
    },
    /// A second stream for what already has one.
    #[error("a second {stream} stream")]
    StreamRepeated {
        /// What the stream is for.
        stream: &'static str,
    },
    /// A stream was reset, or ended inside a frame.
    #[error("the {stream} stream broke off")]
    StreamBroken {
        /// What the stream is for.
        stream: &'static str,
    },
    /// A lane that this peer may not speak about.
    #[error("lane {lane} is not allowed for this peer")]
    LaneNotAllowed {
        /// The lane.
        lane: LaneId,
    },
    /// A frame on a stream that is not for it.
    #[error("a frame {kind} on the {stream} stream")]
    FrameMisplaced {
        /// Kind of the frame.
        kind: &'static str,
        /// What the stream is for.
        stream: &'static str,
    },
    /// A length prefix over the limit; nothing was allocated.
    #[error("a frame of {got} bytes, expected at most {limit}")]
    FrameTooLarge {
        /// Bytes announced.
        got: u32,
        /// The most.
        limit: u32,
    },
    /// A frame that took too long to arrive.
    #[error("a frame on the {stream} stream took too long")]
    FrameTimeout {
        /// What the stream is for.
        stream: &'static str,
    },
    /// The peer asks, and does not read the answers.
    #[error("more than {limit} frames wait for a peer that does not read them")]
    AnswersUnread {
        /// The most.
        limit: usize,
    },
    /// A frame that cannot be decoded.
    #[error("a frame that cannot be read: {0}")]
    FrameUnreadable(#[from] DecodeError),
}

impl Refusal {
    /// What the other side is told, and the key of the counters in [`crate::LinkStats`].
    #[must_use]
    pub const fn code(&self) -> CloseCode {
        match self {
            Self::UnknownFingerprint { .. } => CloseCode::UnknownFingerprint,
            Self::WrongAlpn => CloseCode::WrongAlpn,
            Self::NoClientKey => CloseCode::NoClientKey,
            Self::Handshake { .. } => CloseCode::Handshake,
            Self::HandshakeTimeout => CloseCode::HandshakeTimeout,
            Self::TooManyHandshakes { .. } => CloseCode::TooManyHandshakes,
            Self::TooManySessions { .. } => CloseCode::TooManySessions,
            Self::DuplicateSession => CloseCode::DuplicateSession,
            Self::HelloMissing { .. } => CloseCode::HelloMissing,
            Self::HelloTimeout => CloseCode::HelloTimeout,
            Self::HelloRepeated => CloseCode::HelloRepeated,
            Self::Version { .. } => CloseCode::Version,
            Self::StreamKind { .. } => CloseCode::StreamKind,
            Self::TooManyStreams { .. } => CloseCode::TooManyStreams,
            Self::StreamRepeated { .. } => CloseCode::StreamRepeated,
            Self::StreamBroken { .. } => CloseCode::StreamBroken,
            Self::LaneNotAllowed { .. } => CloseCode::LaneNotAllowed,
            Self::FrameMisplaced { .. } => CloseCode::FrameMisplaced,
            Self::FrameTooLarge { .. } => CloseCode::FrameTooLarge,
            Self::FrameTimeout { .. } => CloseCode::FrameTimeout,
            Self::AnswersUnread { .. } => CloseCode::AnswersUnread,
            Self::FrameUnreadable(_) => CloseCode::FrameUnreadable,
        }
    }
}

macro_rules! close_codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $word:literal;)*) => {
        /// The application error code with which a connection is closed or a stream is stopped (RFC 9000 §20.2).
        ///
        /// The numbers are promised to peers: one is added, never reused. The handshake's own codes are only counted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum CloseCode {
            $($(#[$doc])* $name,)*
        }

        impl CloseCode {
            /// Every code, ascending.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The number on the wire.
            #[must_use]
            pub const fn code(self) -> u32 {
                match self { $(Self::$name => $code,)* }
            }

            /// The code with this number, or `None` for one that this build does not know.
            #[must_use]
            pub const fn from_code(code: u64) -> Option<Self> {
                match code { $($code => Some(Self::$name),)* _ => None }
            }

            /// The word used as a metric label, in logs and as the reason phrase on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }
        }
    };
}

close_codes! {
    /// This side is going away.
    Shutdown = 0x01, "shutdown";
    /// A newer session with the same peer took this one's place.
    Superseded = 0x02, "superseded";
    /// [`Refusal::DuplicateSession`]
    DuplicateSession = 0x03, "duplicate-session";
    /// This side failed; it says more in its log.
    Internal = 0x04, "internal";
    /// [`Refusal::UnknownFingerprint`]
    UnknownFingerprint = 0x10, "unknown-fingerprint";
    /// [`Refusal::WrongAlpn`]
    WrongAlpn = 0x11, "wrong-alpn";
    /// [`Refusal::NoClientKey`]
    NoClientKey = 0x12, "no-client-key";
    /// [`Refusal::Handshake`]
    Handshake = 0x13, "handshake";
    /// [`Refusal::HandshakeTimeout`]
    HandshakeTimeout = 0x14, "handshake-timeout";
    /// [`Refusal::TooManyHandshakes`]
    TooManyHandshakes = 0x15, "too-many-handshakes";
    /// [`Refusal::TooManySessions`]
    TooManySessions = 0x16, "too-many-sessions";
    /// [`Refusal::HelloMissing`]
    HelloMissing = 0x20, "hello-missing";
    /// [`Refusal::HelloTimeout`]
    HelloTimeout = 0x21, "hello-timeout";
    /// [`Refusal::HelloRepeated`]
    HelloRepeated = 0x22, "hello-repeated";
    /// [`Refusal::Version`]
    Version = 0x23, "version";
    /// [`Refusal::StreamKind`]
    StreamKind = 0x30, "stream-kind";
    /// [`Refusal::TooManyStreams`]
    TooManyStreams = 0x31, "too-many-streams";
    /// [`Refusal::StreamRepeated`]
    StreamRepeated = 0x32, "stream-repeated";
    /// [`Refusal::StreamBroken`]
    StreamBroken = 0x33, "stream-broken";
    /// [`Refusal::LaneNotAllowed`]
    LaneNotAllowed = 0x34, "lane-not-allowed";
    /// [`Refusal::FrameMisplaced`]
    FrameMisplaced = 0x40, "frame-misplaced";
    /// [`Refusal::FrameTooLarge`]
    FrameTooLarge = 0x41, "frame-too-large";
    /// [`Refusal::FrameTimeout`]
    FrameTimeout = 0x42, "frame-timeout";
    /// [`Refusal::FrameUnreadable`]
    FrameUnreadable = 0x43, "frame-unreadable";
    /// [`Refusal::AnswersUnread`]
    AnswersUnread = 0x44, "answers-unread";
}

impl From<CloseCode> for VarInt {
    fn from(code: CloseCode) -> Self {
        Self::from_u32(code.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_read_back_and_no_other_is() {
        for code in CloseCode::ALL {
            assert_eq!(CloseCode::from_code(code.code().into()), Some(*code));
        }
        assert_eq!(CloseCode::from_code(0), None);
    }

    #[test]
    fn codes_and_words_are_unique() {
        let numbers: std::collections::BTreeSet<u32> = CloseCode::ALL.iter().map(|code| code.code()).collect();
        let words: std::collections::BTreeSet<&str> = CloseCode::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!((numbers.len(), words.len()), (CloseCode::ALL.len(), CloseCode::ALL.len()));
    }
}
