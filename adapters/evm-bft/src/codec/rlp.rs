//! Strict RLP (Ethereum yellow paper, appendix B): one encoding for each value, nothing left over.
//!
//! What this reads it would write again byte for byte, so a hash over re-encoded items is a hash over what came.

/// One RLP item, still inside the bytes it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// A byte string.
    Bytes(&'a [u8]),
    /// The encoded items of a list, without the list's own prefix.
    List(&'a [u8]),
}

/// Why bytes are not the one RLP encoding of a value. Always the fault of whoever served them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RlpError {
    /// The item ends before its length says.
    #[error("expected {expected} more bytes, got {got}")]
    Short {
        /// Bytes that the prefix announces.
        expected: usize,
        /// Bytes that are there.
        got: usize,
    },
    /// Bytes follow the item.
    #[error("expected the end of the item, got {got} bytes more")]
    Trailing {
        /// Bytes left over.
        got: usize,
    },
    /// A length or a single byte is written in a longer form than needed.
    #[error("expected the shortest form of a length, got a longer one")]
    NotCanonical,
    /// A number has leading zeros.
    #[error("expected a number without leading zeros, got one with them")]
    LeadingZero,
    /// A number is larger than its type.
    #[error("expected a number of at most {expected} bytes, got {got}")]
    TooLarge {
        /// Bytes that fit.
        expected: usize,
        /// Bytes found.
        got: usize,
    },
    /// A list where a byte string belongs, or the reverse.
    #[error("expected {expected}, got the other kind of item")]
    Kind {
        /// `bytes` or `a list`.
        expected: &'static str,
    },
    /// A byte string of another length.
    #[error("expected {expected} bytes, got {got}")]
    Length {
        /// Length that the field needs.
        expected: usize,
        /// Length found.
        got: usize,
    },
    /// Another number of list items.
    #[error("expected {expected} list items, got {got} or more")]
    Count {
        /// The number, or the limit.
        expected: usize,
        /// Number found.
        got: usize,
    },
}

/// Reads the one item that `bytes` consists of.
///
/// # Errors
/// Any [`RlpError`] of the outermost item; lists are looked into only by [`Item::items`].
pub fn decode(bytes: &[u8]) -> Result<Item<'_>, RlpError> {
    let (item, rest) = split(bytes)?;
    if rest.is_empty() { Ok(item) } else { Err(RlpError::Trailing { got: rest.len() }) }
}

/// Reads one item from the front of `bytes` and gives the rest.
///
/// # Errors
/// [`RlpError::Short`] and [`RlpError::NotCanonical`].
pub fn split(bytes: &[u8]) -> Result<(Item<'_>, &[u8]), RlpError> {
    let (&prefix, rest) = bytes.split_first().ok_or(RlpError::Short { expected: 1, got: 0 })?;
    match prefix {
        0x00..=0x7f => {
            let (single, rest) = take(bytes, 1)?;
            Ok((Item::Bytes(single), rest))
        }
        0x80..=0xb7 => {
            let (content, rest) = take(rest, usize::from(prefix - 0x80))?;
            if let [byte] = content
                && *byte < 0x80
            {
                return Err(RlpError::NotCanonical);
            }
            Ok((Item::Bytes(content), rest))
        }
        0xb8..=0xbf => {
            let (content, rest) = take_long(rest, usize::from(prefix - 0xb7))?;
            Ok((Item::Bytes(content), rest))
        }
        0xc0..=0xf7 => {
            let (content, rest) = take(rest, usize::from(prefix - 0xc0))?;
            Ok((Item::List(content), rest))
        }
        0xf8..=0xff => {
            let (content, rest) = take_long(rest, usize::from(prefix - 0xf7))?;
            Ok((Item::List(content), rest))
        }
    }
}

fn take(bytes: &[u8], length: usize) -> Result<(&[u8], &[u8]), RlpError> {
    bytes.split_at_checked(length).ok_or(RlpError::Short { expected: length, got: bytes.len() })
}

fn take_long(bytes: &[u8], length_bytes: usize) -> Result<(&[u8], &[u8]), RlpError> {
    let (digits, rest) = take(bytes, length_bytes)?;
    if digits.first() == Some(&0) {
        return Err(RlpError::NotCanonical);
    }
    let length =
        digits.iter().try_fold(0_usize, |value, digit| value.checked_mul(256)?.checked_add(usize::from(*digit)));
    let length = length.ok_or(RlpError::Short { expected: usize::MAX, got: rest.len() })?;
    if length < 56 {
        return Err(RlpError::NotCanonical);
    }
    take(rest, length)
}

impl<'a> Item<'a> {
    /// The content of a byte string.
    ///
    /// # Errors
    /// [`RlpError::Kind`] for a list.
    pub fn bytes(self) -> Result<&'a [u8], RlpError> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::List(_) => Err(RlpError::Kind { expected: "bytes" }),
        }
    }

    /// A byte string of exactly `N` bytes.
    ///
    /// # Errors
    /// [`RlpError::Kind`], [`RlpError::Length`].
    pub fn fixed<const N: usize>(self) -> Result<[u8; N], RlpError> {
        let bytes = self.bytes()?;
        bytes.try_into().map_err(|_| RlpError::Length { expected: N, got: bytes.len() })
    }

    /// An unsigned number, big-endian without leading zeros.
    ///
    /// # Errors
    /// [`RlpError::Kind`], [`RlpError::LeadingZero`], [`RlpError::TooLarge`].
    pub fn uint(self) -> Result<u64, RlpError> {
        let value = self.uint128()?;
        u64::try_from(value).map_err(|_| RlpError::TooLarge { expected: 8, got: 16 })
    }

    /// An unsigned number of at most 16 bytes.
    ///
    /// # Errors
    /// As [`Item::uint`].
    pub fn uint128(self) -> Result<u128, RlpError> {
        let bytes = self.bytes()?;
        if bytes.first() == Some(&0) {
            return Err(RlpError::LeadingZero);
        }
        if bytes.len() > 16 {
            return Err(RlpError::TooLarge { expected: 16, got: bytes.len() });
        }
        Ok(bytes.iter().fold(0, |value, byte| (value << 8) | u128::from(*byte)))
    }

    /// The items of a list, at most `limit` of them.
    ///
    /// # Errors
    /// [`RlpError::Kind`] for a byte string, [`RlpError::Count`] above the limit, and what [`split`] refuses.
    pub fn items(self, limit: usize) -> Result<Vec<Self>, RlpError> {
        let Self::List(mut content) = self else { return Err(RlpError::Kind { expected: "a list" }) };
        let mut items = Vec::new();
        while !content.is_empty() {
            if items.len() >= limit {
                return Err(RlpError::Count { expected: limit, got: limit.saturating_add(1) });
            }
            let (item, rest) = split(content)?;
            items.push(item);
            content = rest;
        }
        Ok(items)
    }

    /// The items of a list of exactly `N`.
    ///
    /// # Errors
    /// As [`Item::items`]; [`RlpError::Count`] when there are fewer.
    pub fn exactly<const N: usize>(self) -> Result<[Self; N], RlpError> {
        let items = self.items(N)?;
        let got = items.len();
        items.try_into().map_err(|_| RlpError::Count { expected: N, got })
    }

    /// The item's own encoding.
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        match self {
            Self::Bytes(bytes) => bytes_item(bytes),
            Self::List(content) => wrapped(content),
        }
    }
}

/// Encodes a byte string.
#[must_use]
pub fn bytes_item(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 9);
    match bytes {
        [byte] if *byte < 0x80 => {}
        _ => push_prefix(&mut out, 0x80, bytes.len()),
    }
    out.extend_from_slice(bytes);
    out
}

/// Encodes a number.
#[must_use]
pub fn uint_item(value: u64) -> Vec<u8> {
    uint128_item(u128::from(value))
}

/// Encodes a number of up to 16 bytes.
#[must_use]
pub fn uint128_item(value: u128) -> Vec<u8> {
    bytes_item(minimal(&value.to_be_bytes()))
}

/// A big-endian number without its leading zeros.
#[must_use]
pub fn minimal(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.split_at(zeros).1
}

/// Encodes a list from its encoded items.
#[must_use]
pub fn list_item<I: AsRef<[u8]>>(items: &[I]) -> Vec<u8> {
    let length = items.iter().map(|item| item.as_ref().len()).sum();
    let mut out = Vec::with_capacity(length + 9);
    push_prefix(&mut out, 0xc0, length);
    for item in items {
        out.extend_from_slice(item.as_ref());
    }
    out
}

/// Encodes a list whose encoded items are already joined.
#[must_use]
pub fn wrapped(content: &[u8]) -> Vec<u8> {
    list_item(&[content])
}

fn push_prefix(out: &mut Vec<u8>, base: u8, length: usize) {
    // At most 8 length bytes and lengths below 56 in the first branch, so the sums stay within u8.
    if length < 56 {
        out.push(base.saturating_add(u8::try_from(length).unwrap_or(u8::MAX)));
        return;
    }
    let digits = length.to_be_bytes();
    let digits = minimal(&digits);
    out.push(base.saturating_add(55).saturating_add(u8::try_from(digits.len()).unwrap_or(u8::MAX)));
    out.extend_from_slice(digits);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_form_that_is_not_the_shortest_is_refused() {
        for (bytes, error) in [
            (&[0x81, 0x05][..], RlpError::NotCanonical),
            (&[0xb8, 0x01, 0xff][..], RlpError::NotCanonical),
            (&[0xb9, 0x00, 0x40][..], RlpError::NotCanonical),
            (&[0xf8, 0x00][..], RlpError::NotCanonical),
            (&[0x82, 0x01][..], RlpError::Short { expected: 2, got: 1 }),
            (&[0x01, 0x02][..], RlpError::Trailing { got: 1 }),
            (&[][..], RlpError::Short { expected: 1, got: 0 }),
        ] {
            assert_eq!(decode(bytes), Err(error), "{bytes:02x?}");
        }
        assert!(decode(&[0xbf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]).is_err());
    }

    #[test]
    fn numbers_have_no_leading_zero_and_fit() {
        assert_eq!(decode(&[0x80]).unwrap().uint(), Ok(0));
        assert_eq!(decode(&[0x00]).unwrap().uint(), Err(RlpError::LeadingZero));
        let nine = [0x89, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(decode(&nine).unwrap().uint(), Err(RlpError::TooLarge { expected: 8, got: 16 }));
    }

    #[test]
    fn lists_are_limited_and_counted() {
        let three = list_item(&[uint_item(1), uint_item(2), uint_item(3)]);
        let item = decode(&three).unwrap();
        assert_eq!(item.items(3).unwrap().len(), 3);
        assert_eq!(item.items(2), Err(RlpError::Count { expected: 2, got: 3 }));
        assert_eq!(item.exactly::<4>(), Err(RlpError::Count { expected: 4, got: 3 }));
        assert_eq!(item.bytes(), Err(RlpError::Kind { expected: "bytes" }));
    }

    proptest! {
        #[test]
        fn byte_strings_encode_as_alloy_encodes_them(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let ours = bytes_item(&bytes);
            prop_assert_eq!(&ours, &alloy_rlp::encode(bytes.as_slice()));
            prop_assert_eq!(decode(&ours), Ok(Item::Bytes(&bytes)));
        }

        #[test]
        fn numbers_encode_as_alloy_encodes_them(value in any::<u64>()) {
            let ours = uint_item(value);
            prop_assert_eq!(&ours, &alloy_rlp::encode(value));
            prop_assert_eq!(decode(&ours).unwrap().uint(), Ok(value));
        }

        #[test]
        fn we_accept_only_what_alloy_accepts(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(Item::Bytes(content)) = decode(&bytes) {
                let mut rest = bytes.as_slice();
                let theirs = alloy_rlp::Header::decode_bytes(&mut rest, false).unwrap();
                prop_assert_eq!(theirs, content);
                prop_assert!(rest.is_empty());
                prop_assert_eq!(bytes_item(content), bytes);
            }
        }
    }
}
