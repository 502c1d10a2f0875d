//! Frames, records and rows: what decodes has one encoding, and a stream cut anywhere gives the same frames.

use cityrelay_core::order::AuditRecord;
use cityrelay_core::record::{IntentRecord, Misbehaviour};
use cityrelay_core::signing::SigningRequest;
use cityrelay_wire::frame::{decode_frame, encode_frame};
use cityrelay_wire::framing::FrameBuffer;
use cityrelay_wire::record::{decode_record, encode_record};
use cityrelay_wire::row::{self, Row, decode_row, encode_row};
use cityrelay_wire::signer::{
    LENGTH_BYTES, decode_signing_answer, decode_signing_request, encode_signing_answer, encode_signing_request,
    place_key,
};

/// A frame that decodes encodes to the same bytes.
pub fn frame(input: &[u8]) {
    if let Ok(frame) = decode_frame(input) {
        assert_eq!(encode_frame(&frame).expect("what was read can be written"), input);
    }
}

/// However a stream is cut into pieces, the same frames come out of it, and nobody buffers more than was pushed.
pub fn stream(input: &[u8]) {
    let Some((cut, bytes)) = input.split_first() else { return };
    let mut whole = FrameBuffer::default();
    whole.push(bytes);
    let mut pieces = FrameBuffer::default();
    let (mut once, mut twice) = (Vec::new(), Vec::new());
    drain(&mut whole, &mut once);
    for piece in bytes.chunks(usize::from(*cut).max(1)) {
        pieces.push(piece);
        drain(&mut pieces, &mut twice);
        assert!(pieces.waiting_bytes() <= bytes.len());
    }
    assert_eq!(once, twice);
}

fn drain(buffer: &mut FrameBuffer, into: &mut Vec<Vec<u8>>) {
    while let Ok(Some(frame)) = buffer.next_frame() {
        into.push(encode_frame(&frame).expect("what was read can be written"));
    }
}

/// A question to a signer, or its answer, that decodes encodes to the same bytes behind a length.
pub fn signer(input: &[u8]) {
    if let Ok(request) = decode_signing_request(input) {
        let bytes = encode_signing_request(&request).expect("what was read can be written");
        assert_eq!(bytes.split_at(LENGTH_BYTES).1, input);
        if let SigningRequest::Sign(what) = request {
            // A place is named as a whole: lane, chain or verifier, and a number.
            assert!(place_key(what.place().0).len() > 32 + 8);
        }
    }
    if let Ok(answer) = decode_signing_answer(input) {
        let bytes = encode_signing_answer(&answer).expect("what was read can be written");
        assert_eq!(bytes.split_at(LENGTH_BYTES).1, input);
    }
}

/// A record that decodes encodes to the same bytes.
pub fn record(input: &[u8]) {
    if let Ok(record) = decode_record(input) {
        assert_eq!(encode_record(&record).expect("what was read can be written"), input);
    }
}

/// A row whose checksum holds either encodes to the same bytes or is refused; under another key it is refused.
pub fn row(input: &[u8]) {
    let Some((kind, body)) = input.split_first() else { return };
    // The first byte stands for the kind byte of the row, which follows the version.
    let body = [&[row::ROW_VERSION, *kind][..], body].concat();
    row_of::<row::FlowRow>(&body);
    row_of::<row::SpanRow>(&body);
    row_of::<row::BodyRow>(&body);
    row_of::<row::DoneRow>(&body);
    row_of::<row::SignedRow>(&body);
    row_of::<row::ClientRow>(&body);
    row_of::<row::ClosedIntentRow>(&body);
    row_of::<row::DomainRow>(&body);
    row_of::<row::OrdinalRow>(&body);
    row_of::<row::FrozenRow>(&body);
    row_of::<row::AttestedRow>(&body);
    row_of::<row::AcceptedRow>(&body);
    row_of::<row::DecidedRow>(&body);
    row_of::<row::PausedRow>(&body);
    row_of::<row::SignedOnceRow>(&body);
    row_of::<AuditRecord>(&body);
    row_of::<row::CountersRow>(&body);
    row_of::<IntentRecord>(&body);
    row_of::<Misbehaviour>(&body);
}

fn row_of<R: Row>(body: &[u8]) {
    let (table, key) = ("fuzz", b"key".as_slice());
    let checksum = crc32fast::hash(&[table.as_bytes(), &[0], key, body].concat());
    let bytes = [body, &checksum.to_be_bytes()].concat();
    if let Ok(row) = decode_row::<R>(table, key, &bytes) {
        assert_eq!(encode_row(table, key, &row).expect("what was read can be written"), bytes);
        assert!(decode_row::<R>(table, b"another key", &bytes).is_err());
    }
}
