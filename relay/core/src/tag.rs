//! The tags that separate what is hashed: keccak256 of `cityrelay.v1.<name>`.

use std::sync::LazyLock;

use crate::hash::{Hash32, keccak256};

macro_rules! tags {
    ($($(#[$doc:meta])* $name:ident, $cell:ident = $text:literal;)*) => {
        $(
            static $cell: LazyLock<Hash32> = LazyLock::new(|| keccak256($text));

            $(#[$doc])*
            #[must_use]
            pub fn $name() -> Hash32 {
                *$cell
            }
        )*
    };
}

tags! {
    /// First word of a domain.
    domain, DOMAIN = b"cityrelay.v1.domain";
    /// First word of a lane id.
    lane, LANE = b"cityrelay.v1.lane";
    /// First word of a message id.
    message, MESSAGE = b"cityrelay.v1.message";
    /// First word of each head of an outbox chain.
    outbox, OUTBOX = b"cityrelay.v1.outbox";
    /// First word of an outcome.
    outcome, OUTCOME = b"cityrelay.v1.outcome";
    /// First word of each head of an inbox chain.
    inbox, INBOX = b"cityrelay.v1.inbox";
    /// First word of what an attester signs.
    attest, ATTEST = b"cityrelay.v1.attest";
    /// First word of what is signed to rotate the attester set.
    rotate, ROTATE = b"cityrelay.v1.rotate";
    /// First word of what an attester signs about a validator set.
    set, SET = b"cityrelay.v1.set";
}
