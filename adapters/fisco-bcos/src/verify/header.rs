//! Checks of one header by itself and against the header before it.

use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::Height;
use cityrelay_core::light_client::Refusal;

use super::state::Roots;
use crate::codec::header::{BlockHeader, SealedHeader};
use crate::codec::suite::CryptoSuite;

/// The major version whose preimage is known: 3. A 3.0.0-rc4 header says 4 and is hashed in another way.
const MAJOR_VERSION: u32 = 3;

/// Milliseconds below 2^56, so that the timestamp's first byte is 0 and ends the decimal text of `gasUsed` in the
/// preimage.
const TIMESTAMP_LIMIT: u64 = 1 << 56;

/// The longest `gasUsed`: 20 digits hold every 64-bit number.
pub(crate) const MAX_DECIMAL_DIGITS: usize = 20;

/// Checks that a header has the number after `height`.
///
/// # Errors
/// `header-number`.
pub fn verify_number(header: &BlockHeader, height: Height) -> Result<(), Refusal> {
    if header.number == height.next().0 {
        Ok(())
    } else {
        Err(Refusal::new("header-number", height.next(), header.number))
    }
}

/// Checks that a header has one parent, of the height before it; gives that parent's hash.
///
/// # Errors
/// `header-parent-count`, `header-parent-number`.
pub fn verify_parent(header: &BlockHeader) -> Result<Hash32, Refusal> {
    let [parent] = header.parents.as_slice() else {
        return Err(Refusal::new("header-parent-count", 1_u64, header.parents.len()));
    };
    if parent.number.checked_add(1) != Some(header.number) {
        return Err(Refusal::new("header-parent-number", header.number.saturating_sub(1), parent.number));
    }
    Ok(parent.hash)
}

/// Checks the form of a header, whose preimage has no separators, and recomputes its hash.
///
/// # Errors
/// `header-version`, `header-root`, `header-gas-used`, `header-timestamp`, `header-extra-data`, `header-sealer`,
/// `header-hash` when the served hash is another one.
pub fn verify_form(suite: CryptoSuite, sealed: &SealedHeader) -> Result<(Hash32, Roots), Refusal> {
    let header = &sealed.header;
    if header.version >> 24 != MAJOR_VERSION {
        return Err(Refusal::new("header-version", u64::from(MAJOR_VERSION << 24), u64::from(header.version)));
    }
    let transactions = verify_root(&header.txs_root)?;
    let receipts = verify_root(&header.receipts_root)?;
    verify_root(&header.state_root)?;
    if !is_canonical_decimal(&header.gas_used) {
        return Err(Refusal::new(
            "header-gas-used",
            "canonical decimal of at most 20 digits",
            header.gas_used.as_bytes(),
        ));
    }
    if header.timestamp >= TIMESTAMP_LIMIT {
        return Err(Refusal::new("header-timestamp", TIMESTAMP_LIMIT, header.timestamp));
    }
    // Otherwise a sealer or a weight could move in here under the same hash.
    if !header.extra_data.is_empty() {
        return Err(Refusal::new("header-extra-data", 0_u64, header.extra_data.len()));
    }
    if usize::try_from(header.sealer).map_or(true, |sealer| sealer >= header.sealers.len()) {
        return Err(Refusal::new("header-sealer", header.sealers.len(), header.sealer));
    }
    let hash = header.hash(suite);
    if hash != sealed.claimed_hash {
        return Err(Refusal::new("header-hash", hash, sealed.claimed_hash));
    }
    Ok((hash, Roots { transactions, receipts }))
}

fn verify_root(root: &[u8]) -> Result<Hash32, Refusal> {
    root.try_into().map(Hash32).map_err(|_| Refusal::new("header-root", 32_u64, root.len()))
}

/// Whether `text` is a number as the chain writes it: digits without a leading zero, at most 20 of them.
pub(crate) fn is_canonical_decimal(text: &str) -> bool {
    let is_short = (1..=MAX_DECIMAL_DIGITS).contains(&text.len());
    is_short && text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'))
}

#[cfg(test)]
mod tests {
    use super::is_canonical_decimal;

    #[test]
    fn only_one_text_stands_for_each_number() {
        for text in ["0", "7", "10", "18446744073709551615"] {
            assert!(is_canonical_decimal(text), "{text}");
        }
        for text in ["", "00", "01", "+1", "1 ", "1a", "184467440737095516150"] {
            assert!(!is_canonical_decimal(text), "{text}");
        }
    }
}
