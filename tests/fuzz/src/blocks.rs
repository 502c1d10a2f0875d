//! Headers, extraData, receipts and node answers, against the forms that they must have and against another library.

use alloy_eips::eip2718::Decodable2718 as _;
use alloy_rlp::Decodable as _;
use cityrelay_core::hash::keccak256;
use cityrelay_evm_bft::codec::edge::{EdgeExtra, EdgeScheme};
use cityrelay_evm_bft::codec::extra::{BftExtra, BftLayout, LegacyExtra};
use cityrelay_evm_bft::codec::header::Header;
use cityrelay_evm_bft::codec::receipt::Receipt;
use cityrelay_evm_bft::codec::rlp::{self, Item};
use cityrelay_evm_bft::codec::{json, transaction};
use cityrelay_fisco_bcos::codec::json as bcos_json;
use cityrelay_fisco_bcos::codec::json_transaction::{ShownTransaction, transaction_from_json, transaction_to_json};
use cityrelay_fisco_bcos::codec::suite::CryptoSuite;
use serde_json::Value;

/// Strict RLP takes exactly what another library takes, to any depth, and writes it again byte for byte.
pub fn rlp(input: &[u8]) {
    rlp_at(input, 8);
}

fn rlp_at(input: &[u8], depth: u8) {
    let mut rest = input;
    let theirs = alloy_rlp::Header::decode(&mut rest).ok().filter(|header| header.payload_length == rest.len());
    let ours = rlp::decode(input);
    assert_eq!(ours.is_ok(), theirs.is_some(), "ours {ours:?}, theirs {theirs:?}");
    let Ok(item) = ours else { return };
    assert_eq!(item.encode(), input);
    let is_list = matches!(item, Item::List(_));
    assert_eq!(theirs.map(|header| header.list), Some(is_list));
    if !is_list || depth == 0 {
        return;
    }
    for item in item.items(1 << 10).into_iter().flatten() {
        rlp_at(&item.encode(), depth - 1);
    }
}

/// A header that decodes encodes to the same bytes, and says what another library reads in it.
pub fn evm_header(input: &[u8]) {
    let Ok(header) = Header::decode(input) else { return };
    assert_eq!(header.encode(), input);
    assert_eq!(header.hash_with_extra(&header.extra_data), keccak256(input));
    let Ok(theirs) = alloy_consensus::Header::decode(&mut &*input) else { return };
    assert_eq!(theirs.number, header.number);
    assert_eq!(theirs.timestamp, header.timestamp);
    assert_eq!(theirs.parent_hash.0, header.parent_hash.0);
    assert_eq!(theirs.state_root.0, header.state_root.0);
    assert_eq!(theirs.receipts_root.0, header.receipts_root.0);
    assert_eq!(theirs.extra_data.as_ref(), header.extra_data);
    assert_eq!(theirs.base_fee_per_gas.map(u128::from), header.fork.base_fee);
}

/// ExtraData that decodes in a layout encodes to the same bytes in it.
pub fn evm_extra(input: &[u8]) {
    for layout in [BftLayout::Qbft, BftLayout::Ibft2] {
        if let Ok(extra) = BftExtra::decode(layout, input) {
            assert_eq!(extra.encode(layout), input);
            assert!(extra.encode_for_block_hash(layout).len() <= extra.encode(layout).len());
            assert!(extra.encode_for_commit(layout).len() <= extra.encode(layout).len());
        }
    }
    if let Ok(extra) = LegacyExtra::decode(input) {
        assert_eq!(extra.encode(), input);
        assert!(extra.encode_for_proposal().len() <= extra.encode_for_block_hash().len());
    }
    for scheme in [EdgeScheme::Ecdsa, EdgeScheme::Bls] {
        if let Ok(extra) = EdgeExtra::decode(scheme, input) {
            assert_eq!(extra.encode(), input);
        }
    }
}

/// A receipt that decodes encodes to the same bytes, and says what another library reads in it.
pub fn evm_receipt(input: &[u8]) {
    let Ok(receipt) = Receipt::decode(input) else { return };
    assert_eq!(receipt.encode(), input);
    let mut rest = input;
    let Ok(theirs) = alloy_consensus::ReceiptEnvelope::decode_2718(&mut rest) else { return };
    assert_eq!(theirs.status(), receipt.is_success);
    assert_eq!(theirs.cumulative_gas_used(), receipt.cumulative_gas_used);
    assert_eq!(theirs.logs().len(), receipt.logs.len());
    for (theirs, ours) in theirs.logs().iter().zip(&receipt.logs) {
        assert_eq!(theirs.address.0, ours.address.0);
        assert_eq!(theirs.data.data.as_ref(), ours.data);
        assert!(theirs.topics().iter().map(|topic| topic.0).eq(ours.topics.iter().map(|topic| topic.0)));
    }
}

/// Whatever a node answers in the one dialect is read or refused; a header that is read can be written and read.
pub fn evm_answer(input: &[u8]) {
    let Ok(answer) = serde_json::from_slice::<Value>(input) else { return };
    if let Ok((header, _)) = json::read_header(&answer) {
        assert_eq!(Header::decode(&header.encode()), Ok(header));
    }
    if let Ok(receipt) = json::read_receipt(&answer) {
        assert_eq!(Receipt::decode(&receipt.encode()), Ok(receipt));
    }
    let _ = json::read_log(&answer);
    let _ = json::read_account_proof(&answer);
    let _ = transaction::read_transaction(&answer);
}

/// Whatever a node answers in the other dialect is read or refused; what is read has a hash, and is shown as it was read.
pub fn bcos_answer(input: &[u8]) {
    let Ok(answer) = serde_json::from_slice::<Value>(input) else { return };
    for suite in [CryptoSuite::Standard, CryptoSuite::Gm] {
        if let Ok(sealed) = bcos_json::header_from_json(&answer) {
            let shown = bcos_json::header_to_json(&sealed);
            let again = bcos_json::header_from_json(&shown).expect("what we show we read");
            assert_eq!(again.header.hash(suite), sealed.header.hash(suite));
        }
        if let Ok(receipt) = bcos_json::receipt_from_json(&answer) {
            let hash = receipt.hash(suite);
            let again = bcos_json::receipt_from_json(&bcos_json::receipt_to_json(&receipt, &hash));
            assert_eq!(again.expect("what we show we read").hash(suite), hash);
        }
        if let Ok(ShownTransaction::Native { data, signature, .. }) = transaction_from_json(suite, &answer) {
            let shown = transaction_to_json(suite, &data, &signature);
            let again = transaction_from_json(suite, &shown).expect("what we show we read");
            assert!(
                matches!(again, ShownTransaction::Native { data: again, .. } if again.hash(suite) == data.hash(suite))
            );
        }
    }
    let _ = bcos_json::log_from_json(&answer);
    let _ = bcos_json::proof_from_json(&answer);
    let _ = bcos_json::transaction_hashes(&answer);
}
