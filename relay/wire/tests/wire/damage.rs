//! Whatever is cut off, flipped or added: an error or another value, never a panic, never the same value.

use cityrelay_core::lane::Direction;
use cityrelay_wire::DecodeError;
use cityrelay_wire::frame::{decode_frame, encode_frame};
use cityrelay_wire::record::{decode_record, encode_record};
use cityrelay_wire::row::{FlowRow, SignedRow, decode_row, encode_row};
use cityrelay_wire::signer::{
    LENGTH_BYTES, decode_signer_length, decode_signing_answer, decode_signing_request, encode_signing_answer,
    encode_signing_request,
};

use crate::samples::{self, KEY, TABLE};

#[test]
fn a_frame_cut_at_any_byte_is_refused() {
    for (name, frame) in samples::frames() {
        let bytes = encode_frame(&frame).unwrap();
        for length in 0..bytes.len() {
            assert_eq!(decode_frame(&bytes[..length]), Err(DecodeError::Truncated), "{name} cut at {length}");
        }
    }
}

#[test]
fn a_record_cut_at_any_byte_is_refused() {
    for (name, record) in samples::records() {
        let bytes = encode_record(&record).unwrap();
        for length in 0..bytes.len() {
            assert_eq!(decode_record(&bytes[..length]), Err(DecodeError::Truncated), "{name} cut at {length}");
        }
    }
}

/// What goes to a signer and what comes back, without the length in front, with what reads it.
fn read_of_signer(name: &str, body: &[u8]) -> Result<String, DecodeError> {
    if samples::signing_requests().iter().any(|(of, _)| *of == name) {
        decode_signing_request(body).map(|request| format!("{request:?}"))
    } else {
        decode_signing_answer(body).map(|answer| format!("{answer:?}"))
    }
}

#[test]
fn what_a_signer_reads_and_says_has_one_encoding() {
    let requests = samples::signing_requests();
    let requests = requests.iter().map(|(name, request)| (*name, encode_signing_request(request).unwrap()));
    let answers = samples::signing_answers();
    let answers = answers.iter().map(|(name, answer)| (*name, encode_signing_answer(answer).unwrap()));
    for (name, bytes) in requests.chain(answers) {
        let body = &bytes[LENGTH_BYTES..];
        let sound = read_of_signer(name, body).unwrap();
        for length in 0..body.len() {
            assert_eq!(read_of_signer(name, &body[..length]), Err(DecodeError::Truncated), "{name} cut at {length}");
        }
        let more = [body, &[0]].concat();
        assert_eq!(read_of_signer(name, &more), Err(DecodeError::Trailing { got: 1 }), "{name}");
        for bit in 0..body.len() * 8 {
            let mut flipped = body.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(read_of_signer(name, &flipped).ok().as_ref(), Some(&sound), "{name} bit {bit}");
        }
    }
}

#[test]
fn a_signer_reads_no_length_that_nothing_has() {
    for (length, is_sound) in [(0_u32, false), (1, false), (2, true), (2048, true), (2049, false), (u32::MAX, false)] {
        assert_eq!(decode_signer_length(length.to_be_bytes()).is_ok(), is_sound, "{length}");
    }
}

#[test]
fn members_of_a_rotation_that_do_not_ascend_are_refused() {
    let (_, request) = samples::signing_requests().pop().unwrap();
    let mut bytes = encode_signing_request(&request).unwrap().split_off(LENGTH_BYTES);
    let first = bytes.windows(20).position(|window| window == [1; 20]).unwrap();
    bytes[first..first + 20].fill(3);
    let error = decode_signing_request(&bytes).unwrap_err();
    assert!(matches!(error, DecodeError::Order { .. }), "{error}");
}

#[test]
fn a_byte_more_is_refused() {
    for (name, frame) in samples::frames() {
        let mut bytes = encode_frame(&frame).unwrap();
        bytes.push(0);
        assert_eq!(decode_frame(&bytes), Err(DecodeError::Trailing { got: 1 }), "{name}");
    }
    for (name, record) in samples::records() {
        let mut bytes = encode_record(&record).unwrap();
        bytes.push(0);
        assert_eq!(decode_record(&bytes), Err(DecodeError::Trailing { got: 1 }), "{name}");
    }
}

#[test]
fn a_flipped_bit_never_decodes_to_the_same_value() {
    for (name, frame) in samples::frames() {
        let bytes = encode_frame(&frame).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            if let Ok(other) = decode_frame(&flipped) {
                assert_ne!(other, frame, "{name} bit {bit}");
                assert_eq!(encode_frame(&other).unwrap(), flipped, "{name} bit {bit}: two encodings of one value");
            }
        }
    }
    for (name, record) in samples::records() {
        let bytes = encode_record(&record).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            if let Ok(other) = decode_record(&flipped) {
                assert_ne!(other, record, "{name} bit {bit}");
                assert_eq!(encode_record(&other).unwrap(), flipped, "{name} bit {bit}: two encodings of one value");
            }
        }
    }
}

#[test]
fn a_flipped_bit_in_a_row_is_found_by_its_checksum() {
    let bytes = encode_row(TABLE, KEY, &samples::flow_row(None)).unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let error = decode_row::<FlowRow>(TABLE, KEY, &flipped).unwrap_err();
        assert!(matches!(error, DecodeError::Checksum { .. }), "bit {bit}: {error}");
    }
}

#[test]
fn a_row_under_another_key_or_table_is_refused() {
    let bytes = encode_row(TABLE, KEY, &samples::flow_row(None)).unwrap();
    assert!(decode_row::<FlowRow>(TABLE, KEY, &bytes).is_ok());
    for (table, key) in [("other", KEY), (TABLE, &[1, 2, 4][..])] {
        let error = decode_row::<FlowRow>(table, key, &bytes).unwrap_err();
        assert!(matches!(error, DecodeError::Checksum { .. }), "{table} {key:?}: {error}");
    }
}

#[test]
fn a_row_of_another_kind_is_refused() {
    let bytes = encode_row(TABLE, KEY, &samples::flow_row(None)).unwrap();
    assert_eq!(decode_row::<SignedRow>(TABLE, KEY, &bytes), Err(DecodeError::Kind { what: "row", got: 1 }));
}

#[test]
fn another_version_is_refused_by_name() {
    for version in [0, 2, 255] {
        let mut bytes = encode_frame(&samples::frames()[0].1).unwrap();
        bytes[0] = version;
        assert_eq!(decode_frame(&bytes), Err(DecodeError::Version { expected: 1, got: version }));
        let mut bytes = encode_record(&samples::records()[0].1).unwrap();
        bytes[0] = version;
        assert_eq!(decode_record(&bytes), Err(DecodeError::Version { expected: 1, got: version }));
    }
}

#[test]
fn an_unknown_kind_is_refused_by_name() {
    for kind in [0, 99, 255] {
        assert_eq!(decode_frame(&[1, kind]), Err(DecodeError::Kind { what: "frame", got: kind }));
    }
    for kind in [0, 99, 255] {
        assert_eq!(decode_record(&[1, kind]), Err(DecodeError::Kind { what: "record", got: kind }));
    }
}

#[test]
fn an_unknown_code_is_refused_by_name() {
    let accepted =
        cityrelay_core::frame::Frame::Accepted { flow: samples::flow(Direction::Inbox), point: samples::point(1, 2) };
    let mut bytes = encode_frame(&accepted).unwrap();
    bytes[2 + 32] = 2;
    assert_eq!(decode_frame(&bytes), Err(DecodeError::Code { what: "direction", got: 2 }));
}

#[test]
fn a_text_that_is_not_utf8_is_refused() {
    let (_, update) = samples::frames().into_iter().find(|(name, _)| *name == "update").unwrap();
    let mut bytes = encode_frame(&update).unwrap();
    bytes[2 + 32 + 4] = 0xff;
    assert_eq!(decode_frame(&bytes), Err(DecodeError::Text { what: "bytes of an adapter name" }));
}

#[test]
fn signatures_out_of_order_or_repeated_are_refused() {
    let (_, attested) = samples::records().into_iter().find(|(name, _)| *name == "attested").unwrap();
    let bytes = encode_record(&attested).unwrap();
    // Two signatures, then the time.
    let first = bytes.len() - 2 * 85 - 8;
    for value in [2, 3] {
        let mut changed = bytes.clone();
        changed[first..first + 20].fill(value);
        assert_eq!(decode_record(&changed), Err(DecodeError::Order { what: "signatures" }), "{value}");
    }
}
