//! The part of the tars encoding that transactions use: tagged fields, ascending, defaults left out.
//!
//! ```text
//! head: tag(4 bits) type(4 bits), or 0xf type and the tag in the next byte
//! types: 0 int8 · 1 int16 · 2 int32 · 3 int64 · 6 string with 1-byte length · 7 string with 4-byte length
//!        8 map · 9 list · 10 struct begin · 11 struct end · 12 zero · 13 bytes
//! ```

/// The deepest nesting that a skipped field may have.
const MAX_DEPTH: usize = 8;

/// Why bytes are not the tars structure that was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TarsError {
    /// The bytes end inside a field.
    #[error("expected {expected} more bytes at {at}, got {got}")]
    Truncated {
        /// Where.
        at: usize,
        /// Bytes needed.
        expected: usize,
        /// Bytes left.
        got: usize,
    },
    /// A field has another type.
    #[error("expected {expected} under tag {tag}, got type {got}")]
    Type {
        /// The field.
        tag: u8,
        /// What was expected.
        expected: &'static str,
        /// The type found.
        got: u8,
    },
    /// A number does not fit.
    #[error("expected a number that fits the field under tag {tag}, got {got}")]
    Range {
        /// The field.
        tag: u8,
        /// The number.
        got: i64,
    },
    /// A text is not UTF-8.
    #[error("expected UTF-8 under tag {tag}, got other bytes")]
    Text {
        /// The field.
        tag: u8,
    },
    /// A required field is missing.
    #[error("expected a field under tag {tag}, got none")]
    Missing {
        /// The field.
        tag: u8,
    },
    /// A field is repeated, out of order, or unknown and nested too deep.
    #[error("expected fields ascending by tag and at most {MAX_DEPTH} deep, got tag {got}")]
    Order {
        /// The tag found.
        got: u8,
    },
}

/// Writes fields; the caller keeps the tags ascending.
#[derive(Debug, Default)]
pub struct Writer {
    out: Vec<u8>,
}

impl Writer {
    fn head(&mut self, tag: u8, kind: u8) {
        if tag < 15 {
            self.out.push((tag << 4) | kind);
        } else {
            self.out.extend_from_slice(&[0xf0 | kind, tag]);
        }
    }

    /// An integer in its shortest form.
    pub fn integer(&mut self, tag: u8, value: i64) {
        if value == 0 {
            self.head(tag, 12);
        } else if let Ok(value) = i8::try_from(value) {
            self.head(tag, 0);
            self.out.extend_from_slice(&value.to_be_bytes());
        } else if let Ok(value) = i16::try_from(value) {
            self.head(tag, 1);
            self.out.extend_from_slice(&value.to_be_bytes());
        } else if let Ok(value) = i32::try_from(value) {
            self.head(tag, 2);
            self.out.extend_from_slice(&value.to_be_bytes());
        } else {
            self.head(tag, 3);
            self.out.extend_from_slice(&value.to_be_bytes());
        }
    }

    /// An integer, left out when it is zero.
    pub fn integer_unless_zero(&mut self, tag: u8, value: i64) {
        if value != 0 {
            self.integer(tag, value);
        }
    }

    /// A text.
    pub fn text(&mut self, tag: u8, text: &str) {
        if let Ok(length) = u8::try_from(text.len()) {
            self.head(tag, 6);
            self.out.push(length);
        } else {
            self.head(tag, 7);
            self.out.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
        }
        self.out.extend_from_slice(text.as_bytes());
    }

    /// A text, left out when it is empty.
    pub fn text_unless_empty(&mut self, tag: u8, text: &str) {
        if !text.is_empty() {
            self.text(tag, text);
        }
    }

    /// Bytes.
    pub fn bytes(&mut self, tag: u8, bytes: &[u8]) {
        self.head(tag, 13);
        self.head(0, 0);
        self.integer(0, i64::try_from(bytes.len()).unwrap_or(i64::MAX));
        self.out.extend_from_slice(bytes);
    }

    /// Bytes, left out when there are none.
    pub fn bytes_unless_empty(&mut self, tag: u8, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.bytes(tag, bytes);
        }
    }

    /// A structure whose fields were written elsewhere.
    pub fn structure(&mut self, tag: u8, fields: &[u8]) {
        self.head(tag, 10);
        self.out.extend_from_slice(fields);
        self.head(0, 11);
    }

    /// What was written.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.out
    }
}

/// Reads fields in ascending order; a field that is absent has its default, one that is not asked for is skipped.
#[derive(Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    last_tag: Option<u8>,
}

impl<'a> Reader<'a> {
    /// Reads from `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, last_tag: None }
    }

    /// An integer that fits `T`, 0 when absent.
    ///
    /// # Errors
    /// A [`TarsError`] for another type or a number that does not fit.
    pub fn number<T: TryFrom<i64>>(&mut self, tag: u8) -> Result<T, TarsError> {
        let value = match self.seek(tag)? {
            Some(kind) => self.integer(tag, kind)?,
            None => 0,
        };
        T::try_from(value).map_err(|_| TarsError::Range { tag, got: value })
    }

    /// A text, empty when absent.
    ///
    /// # Errors
    /// A [`TarsError`] for another type or text that is not UTF-8.
    pub fn text(&mut self, tag: u8) -> Result<String, TarsError> {
        let length = match self.seek(tag)? {
            None => return Ok(String::new()),
            Some(6) => usize::from(self.byte()?),
            Some(7) => usize::try_from(u32::from_be_bytes(self.array()?)).unwrap_or(usize::MAX),
            Some(got) => return Err(TarsError::Type { tag, expected: "text", got }),
        };
        let text = self.take(length)?;
        core::str::from_utf8(text).map(str::to_owned).map_err(|_| TarsError::Text { tag })
    }

    /// Bytes, empty when absent.
    ///
    /// # Errors
    /// A [`TarsError`] for another type.
    pub fn bytes(&mut self, tag: u8) -> Result<Vec<u8>, TarsError> {
        match self.seek(tag)? {
            None => Ok(Vec::new()),
            Some(13) => Ok(self.simple_list()?.to_vec()),
            Some(got) => Err(TarsError::Type { tag, expected: "bytes", got }),
        }
    }

    /// The fields of a structure, `None` when absent.
    ///
    /// # Errors
    /// A [`TarsError`] for another type, or fields that can't be skipped over.
    pub fn structure(&mut self, tag: u8) -> Result<Option<&'a [u8]>, TarsError> {
        match self.seek(tag)? {
            None => Ok(None),
            Some(10) => {
                let from = self.at;
                let to = self.skip_structure(0)?;
                Ok(self.bytes.get(from..to))
            }
            Some(got) => Err(TarsError::Type { tag, expected: "struct", got }),
        }
    }

    /// Checks that what is left is well-formed, and skips it.
    ///
    /// # Errors
    /// A [`TarsError`] for bytes that are no field, or fields out of order.
    pub fn finish(mut self) -> Result<(), TarsError> {
        while self.at < self.bytes.len() {
            let (tag, kind) = self.head()?;
            self.advance_tag(tag)?;
            self.skip(tag, kind, 0)?;
        }
        Ok(())
    }

    /// Moves behind the head of field `tag` and gives its type; skips fields with smaller tags.
    fn seek(&mut self, tag: u8) -> Result<Option<u8>, TarsError> {
        while self.at < self.bytes.len() {
            let before = self.at;
            let (got, kind) = self.head()?;
            if got > tag {
                self.at = before;
                return Ok(None);
            }
            self.advance_tag(got)?;
            if got == tag {
                return Ok(Some(kind));
            }
            self.skip(got, kind, 0)?;
        }
        Ok(None)
    }

    fn advance_tag(&mut self, tag: u8) -> Result<(), TarsError> {
        if self.last_tag.is_some_and(|last| tag <= last) {
            return Err(TarsError::Order { got: tag });
        }
        self.last_tag = Some(tag);
        Ok(())
    }

    fn head(&mut self) -> Result<(u8, u8), TarsError> {
        let byte = self.byte()?;
        let tag = if byte >> 4 == 15 { self.byte()? } else { byte >> 4 };
        Ok((tag, byte & 15))
    }

    fn integer(&mut self, tag: u8, kind: u8) -> Result<i64, TarsError> {
        match kind {
            12 => Ok(0),
            0 => Ok(i64::from(i8::from_be_bytes(self.array()?))),
            1 => Ok(i64::from(i16::from_be_bytes(self.array()?))),
            2 => Ok(i64::from(i32::from_be_bytes(self.array()?))),
            3 => Ok(i64::from_be_bytes(self.array()?)),
            got => Err(TarsError::Type { tag, expected: "integer", got }),
        }
    }

    fn length(&mut self) -> Result<usize, TarsError> {
        let (tag, kind) = self.head()?;
        let got = self.integer(tag, kind)?;
        usize::try_from(got).map_err(|_| TarsError::Range { tag, got })
    }

    fn simple_list(&mut self) -> Result<&'a [u8], TarsError> {
        let (tag, kind) = self.head()?;
        if kind != 0 {
            return Err(TarsError::Type { tag, expected: "bytes of int8", got: kind });
        }
        let length = self.length()?;
        self.take(length)
    }

    /// Skips to the end of a structure whose begin was read; gives where its end mark starts.
    fn skip_structure(&mut self, depth: usize) -> Result<usize, TarsError> {
        loop {
            let before = self.at;
            let (tag, kind) = self.head()?;
            if kind == 11 {
                return Ok(before);
            }
            self.skip(tag, kind, depth)?;
        }
    }

    fn skip(&mut self, tag: u8, kind: u8, depth: usize) -> Result<(), TarsError> {
        if depth > MAX_DEPTH {
            return Err(TarsError::Order { got: tag });
        }
        match kind {
            0..=3 | 12 => self.integer(tag, kind).map(drop),
            4 => self.take(4).map(drop),
            5 => self.take(8).map(drop),
            6 => {
                let length = usize::from(self.byte()?);
                self.take(length).map(drop)
            }
            7 => {
                let length = usize::try_from(u32::from_be_bytes(self.array()?)).unwrap_or(usize::MAX);
                self.take(length).map(drop)
            }
            8 | 9 => {
                let count = self.length()?;
                let fields = if kind == 8 { count.saturating_mul(2) } else { count };
                // Every field has at least one byte, so a huge count ends at the end of the bytes.
                for _ in 0..fields {
                    let (tag, kind) = self.head()?;
                    self.skip(tag, kind, depth + 1)?;
                }
                Ok(())
            }
            10 => self.skip_structure(depth + 1).map(drop),
            13 => self.simple_list().map(drop),
            got => Err(TarsError::Type { tag, expected: "a field", got }),
        }
    }

    fn byte(&mut self) -> Result<u8, TarsError> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], TarsError> {
        let at = self.at;
        let bytes = self.take(N)?;
        bytes.try_into().map_err(|_| TarsError::Truncated { at, expected: N, got: bytes.len() })
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], TarsError> {
        let left = self.bytes.get(self.at..).unwrap_or_default();
        let Some((taken, _)) = left.split_at_checked(count) else {
            return Err(TarsError::Truncated { at: self.at, expected: count, got: left.len() });
        };
        self.at += count;
        Ok(taken)
    }
}
