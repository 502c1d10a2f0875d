//! Frames on a stream of bytes: a length of four bytes, big-endian, then the frame. No I/O: bytes come in, frames go out.

use cityrelay_core::frame::Frame;

use crate::error::{DecodeError, EncodeError};
use crate::frame::{decode_frame, encode_frame};
use crate::limits::MAX_FRAME_BYTES;

/// Bytes of the length in front of each frame.
pub const LENGTH_BYTES: usize = 4;

/// The length that `header` announces.
///
/// # Errors
/// [`DecodeError::TooLong`] above `max_bytes` (or [`MAX_FRAME_BYTES`]), [`DecodeError::Truncated`] below the two bytes
/// that every frame has: both before anything is allocated for the frame.
pub fn decode_length(header: [u8; LENGTH_BYTES], max_bytes: usize) -> Result<usize, DecodeError> {
    let expected = max_bytes.min(MAX_FRAME_BYTES);
    let got = usize::try_from(u32::from_be_bytes(header)).unwrap_or(usize::MAX);
    if got > expected {
        return Err(DecodeError::TooLong { what: "frame bytes", expected, got });
    }
    if got < 2 { Err(DecodeError::Truncated) } else { Ok(got) }
}

/// The frame with its length in front, ready for a stream.
///
/// # Errors
/// As [`encode_frame`].
pub fn encode_delimited(frame: &Frame) -> Result<Vec<u8>, EncodeError> {
    let body = encode_frame(frame)?;
    let length = u32::try_from(body.len()).map_err(|_| EncodeError::TooLong {
        what: "frame bytes",
        expected: MAX_FRAME_BYTES,
        got: body.len(),
    })?;
    let mut bytes = Vec::with_capacity(LENGTH_BYTES + body.len());
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&body);
    Ok(bytes)
}

/// Puts frames together from whatever pieces a stream delivers.
///
/// It holds at most one unfinished frame and what was pushed after it; it never reserves room that a length only
/// promises. After an error the stream can't be read on: every later call repeats the error.
#[derive(Debug)]
pub struct FrameBuffer {
    held: Vec<u8>,
    read: usize,
    max_bytes: usize,
    failed: Option<DecodeError>,
}

impl Default for FrameBuffer {
    fn default() -> Self {
        Self::new(MAX_FRAME_BYTES)
    }
}

impl FrameBuffer {
    /// A buffer that refuses frames over `max_bytes`; [`MAX_FRAME_BYTES`] is the most there is.
    #[must_use]
    pub const fn new(max_bytes: usize) -> Self {
        Self { held: Vec::new(), read: 0, max_bytes, failed: None }
    }

    /// Takes the next bytes of the stream, as they came.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.failed.is_some() {
            return;
        }
        if self.read > 0 {
            self.held.drain(..self.read.min(self.held.len()));
            self.read = 0;
        }
        self.held.extend_from_slice(bytes);
    }

    /// The next whole frame, or `None` until more bytes come.
    ///
    /// # Errors
    /// As [`decode_length`] and [`decode_frame`].
    pub fn next_frame(&mut self) -> Result<Option<Frame>, DecodeError> {
        if let Some(failed) = self.failed {
            return Err(failed);
        }
        let frame = self.take();
        if let Err(error) = frame {
            self.failed = Some(error);
            self.held = Vec::new();
            self.read = 0;
        }
        frame
    }

    fn take(&mut self) -> Result<Option<Frame>, DecodeError> {
        let waiting = self.held.get(self.read..).unwrap_or_default();
        let Some((header, rest)) = waiting.split_first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let length = decode_length(*header, self.max_bytes)?;
        let Some(body) = rest.get(..length) else {
            return Ok(None);
        };
        let frame = decode_frame(body)?;
        self.read += LENGTH_BYTES + length;
        Ok(Some(frame))
    }

    /// Bytes held that belong to no frame taken yet.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.held.len().saturating_sub(self.read)
    }
}
