//! Frames on a stream, however it is cut.

use cityrelay_wire::DecodeError;
use cityrelay_wire::framing::{FrameBuffer, decode_length, encode_delimited};
use cityrelay_wire::limits::MAX_FRAME_BYTES;

use crate::samples;

fn stream() -> Vec<u8> {
    samples::frames().iter().flat_map(|(_, frame)| encode_delimited(frame).unwrap()).collect()
}

#[test]
fn frames_come_out_whatever_the_pieces() {
    let expected: Vec<_> = samples::frames().into_iter().map(|(_, frame)| frame).collect();
    for piece in [1, 2, 3, 7, 64, 1000, usize::MAX] {
        let mut buffer = FrameBuffer::default();
        let mut frames = Vec::new();
        for bytes in stream().chunks(piece) {
            buffer.push(bytes);
            while let Some(frame) = buffer.next_frame().unwrap() {
                frames.push(frame);
            }
        }
        assert_eq!(frames, expected, "pieces of {piece}");
        assert_eq!(buffer.waiting_bytes(), 0);
    }
}

#[test]
fn a_length_over_the_limit_is_refused_before_the_frame_comes() {
    let mut buffer = FrameBuffer::new(100);
    buffer.push(&101_u32.to_be_bytes());
    let error = DecodeError::TooLong { what: "frame bytes", expected: 100, got: 101 };
    assert_eq!(buffer.next_frame(), Err(error));
    buffer.push(&stream());
    assert_eq!(buffer.next_frame(), Err(error), "a broken stream stays broken");
    assert_eq!(buffer.waiting_bytes(), 0, "and holds nothing");
}

#[test]
fn a_length_at_the_limit_is_taken() {
    assert_eq!(decode_length(100_u32.to_be_bytes(), 100), Ok(100));
    let most = u32::try_from(MAX_FRAME_BYTES).unwrap();
    assert_eq!(decode_length(most.to_be_bytes(), usize::MAX), Ok(MAX_FRAME_BYTES));
    assert!(decode_length((most + 1).to_be_bytes(), usize::MAX).is_err());
}

#[test]
fn a_length_too_short_for_any_frame_is_refused() {
    for length in [0_u32, 1] {
        assert_eq!(decode_length(length.to_be_bytes(), 100), Err(DecodeError::Truncated));
    }
}
