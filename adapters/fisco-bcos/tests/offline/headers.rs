//! Every check of headers, sets and set changes: the good case passes, one broken field is refused by that check.

use crate::Case;
use crate::chain::TestChain;
use crate::verdicts::{advanced, refused, update, with_evidence};
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Height, UnixMillis};
use cityrelay_core::light_client::{AdapterValue, Gravity, HoldReason, LightClient, SetStatement, Verdict};
use cityrelay_fisco_bcos::codec::header::{BlockHeader, HeaderSignature};
use cityrelay_fisco_bcos::codec::receipt::Receipt;
use cityrelay_fisco_bcos::codec::suite::{CryptoSuite, PublicKey};
use cityrelay_fisco_bcos::codec::transaction::TransactionData;
use cityrelay_fisco_bcos::verify::client::FiscoClient;
use cityrelay_fisco_bcos::verify::set_change::CONSENSUS_CONTRACT;
use cityrelay_fisco_bcos::verify::state::TrustedState;
use cityrelay_fisco_bcos::verify::update::{ChainUpdate, SetCall, SetChangeEvidence};

const SUITES: [CryptoSuite; 2] = [CryptoSuite::Standard, CryptoSuite::Gm];

/// Takes the last item away.
fn truncate<T>(list: &mut Vec<T>) {
    list.truncate(list.len() - 1);
}

fn header_refused(edit: impl Fn(&mut BlockHeader)) -> &'static str {
    let chain = TestChain::new(CryptoSuite::Standard, &[1, 1, 1, 1]);
    let mut header = chain.header(&[], &[]);
    edit(&mut header);
    refused(&chain.client(), &chain.state(), &update(chain.seal(header))).check
}

#[test]
fn a_sealed_header_advances_both_suites() {
    for suite in SUITES {
        let mut chain = TestChain::new(suite, &[1, 1, 1, 1]);
        let (client, state) = (chain.client(), chain.state());
        let first = chain.seal(chain.header(&[], &[]));
        chain.append(&first);
        let state = advanced(&client, &state, &update(first));
        assert_eq!((state.height, state.hash), (Height(2), chain.tip));
        let second = chain.seal(chain.header(&[], &[]));
        assert_eq!(advanced(&client, &state, &update(second)).height, Height(3));
    }
}

#[test]
fn each_broken_rule_of_a_properly_sealed_header_is_refused_by_name() {
    let cases: [Case<BlockHeader>; 17] = [
        ("header-number", |h| h.number += 1),
        ("header-parent-count", |h| h.parents.push(h.parents[0])),
        ("header-parent-count", |h| h.parents.clear()),
        ("header-parent-number", |h| h.parents[0].number = 7),
        ("header-parent-hash", |h| h.parents[0].hash = Hash32::ZERO),
        ("header-version", |h| h.version = 0x02ff_ffff),
        ("header-version", |h| h.version = 4),
        ("header-version", |h| h.version = 0x0400_0000),
        ("header-root", |h| h.txs_root.clear()),
        ("header-root", |h| h.receipts_root.push(0)),
        ("header-root", |h| truncate(&mut h.state_root)),
        ("header-gas-used", |h| h.gas_used = "021000".to_owned()),
        ("header-gas-used", |h| h.gas_used.clear()),
        ("header-timestamp", |h| h.timestamp = 1 << 56),
        ("header-extra-data", |h| h.extra_data = vec![0; 64]),
        ("header-sealer", |h| h.sealer = 4),
        ("sealer-count", |h| truncate(&mut h.weights)),
    ];
    for (expected, edit) in cases {
        assert_eq!(header_refused(edit), expected);
    }
}

#[test]
fn a_set_out_of_order_or_with_a_zero_weight_is_refused() {
    assert_eq!(header_refused(|h| h.sealers.swap(0, 1)), "sealer-order");
    assert_eq!(header_refused(|h| h.weights[2] = 0), "sealer-weight");
}

#[test]
fn a_sealer_or_a_weight_moved_into_extra_data_keeps_the_hash_and_is_refused() {
    let chain = TestChain::new(CryptoSuite::Standard, &[1, 1, 1, 1]);
    let good = chain.seal(chain.header(&[], &[]));
    let mut sealer = good.clone();
    sealer.header.extra_data = sealer.header.sealers.pop().unwrap().0.to_vec();
    let mut weight = good.clone();
    weight.header.extra_data = weight.header.weights.pop().unwrap().to_be_bytes().to_vec();
    for moved in [sealer, weight] {
        assert_eq!(moved.header.hash(chain.suite), good.claimed_hash);
        assert_eq!(refused(&chain.client(), &chain.state(), &update(moved)).check, "header-extra-data");
    }
}

#[test]
fn another_claimed_hash_is_refused() {
    let chain = TestChain::new(CryptoSuite::Standard, &[1]);
    let mut sealed = chain.seal(chain.header(&[], &[]));
    sealed.claimed_hash = Hash32::ZERO;
    assert_eq!(refused(&chain.client(), &chain.state(), &update(sealed)).check, "header-hash");
}

#[test]
fn each_bad_signature_list_is_refused_by_name() {
    let cases: [Case<Vec<HeaderSignature>>; 6] = [
        ("signature-length", |l| truncate(&mut l[0].signature)),
        ("signature-length", |l| l[0].signature.push(0)),
        ("signature-index", |l| l[3].sealer = 4),
        ("signature-duplicate", |l| l[1] = l[0].clone()),
        ("signature-invalid", |l| l[0].signature[40] ^= 1),
        ("quorum", |l| l.truncate(2)),
    ];
    for suite in SUITES {
        for (expected, edit) in cases {
            let chain = TestChain::new(suite, &[1, 1, 1, 1]);
            let mut sealed = chain.seal(chain.header(&[], &[]));
            edit(&mut sealed.signatures);
            let refusal = refused(&chain.client(), &chain.state(), &update(sealed));
            assert_eq!((refusal.check, refusal.height), (expected, Some(Height(2))), "{}", suite.as_str());
        }
    }
}

#[test]
fn a_recovery_id_above_3_and_a_swapped_signer_are_refused() {
    let chain = TestChain::new(CryptoSuite::Standard, &[1, 1, 1, 1]);
    let mut sealed = chain.seal(chain.header(&[], &[]));
    sealed.signatures[0].signature[64] += 27;
    assert_eq!(refused(&chain.client(), &chain.state(), &update(sealed.clone())).check, "signature-invalid");
    sealed.signatures[0].signature[64] -= 27;
    sealed.signatures[0].sealer = 1;
    sealed.signatures[1].sealer = 0;
    assert_eq!(refused(&chain.client(), &chain.state(), &update(sealed)).check, "signature-invalid");
}

#[test]
fn a_high_s_copy_counts_for_its_sealer_once() {
    let chain = TestChain::new(CryptoSuite::Standard, &[1, 1, 1, 1]);
    let mut sealed = chain.seal(chain.header(&[], &[]));
    let original = sealed.signatures[0].clone();
    let signature = k256::ecdsa::Signature::from_slice(&original.signature[..64]).unwrap();
    let high = k256::ecdsa::Signature::from_scalars(signature.r(), -*signature.s()).unwrap();
    sealed.signatures[0].signature[..64].copy_from_slice(&high.to_bytes());
    sealed.signatures[0].signature[64] ^= 1;
    assert_eq!(advanced(&chain.client(), &chain.state(), &update(sealed.clone())).height, Height(2));
    sealed.signatures[1] = original;
    assert_eq!(refused(&chain.client(), &chain.state(), &update(sealed)).check, "signature-duplicate");
}

#[test]
fn weight_counts_and_not_the_number_of_signers() {
    let chain = TestChain::new(CryptoSuite::Standard, &[5, 1, 1, 1]);
    let client = chain.client();
    let heavy = chain.set().sealers().iter().position(|sealer| sealer.weight == 5).unwrap() as u64;
    let mut sealed = chain.seal(chain.header(&[], &[]));
    let all = sealed.signatures.clone();
    sealed.signatures.retain(|entry| entry.sealer != heavy);
    assert_eq!(refused(&client, &chain.state(), &update(sealed.clone())).check, "quorum");
    let light = all.iter().find(|entry| entry.sealer != heavy).unwrap().clone();
    sealed.signatures = vec![all[usize::try_from(heavy).unwrap()].clone(), light];
    assert_eq!(advanced(&client, &chain.state(), &update(sealed)).height, Height(2));
}

#[test]
fn an_empty_update_is_refused_and_an_expired_trust_holds_back() {
    let mut chain = TestChain::new(CryptoSuite::Standard, &[1]);
    let (client, state) = (chain.client(), chain.state());
    assert_eq!(refused(&client, &state, &ChainUpdate { headers: Vec::new() }).check, "update-empty");
    let first = chain.seal(chain.header(&[], &[]));
    chain.append(&first);
    let state = advanced(&client, &state, &update(first));
    let second = update(chain.seal(chain.header(&[], &[])));
    let now = UnixMillis(state.trusted_since.unwrap().0 + 14 * 86_400_000);
    assert!(matches!(client.verify_update(&state, &second, now), Verdict::Advanced { .. }));
    match client.verify_update(&state, &second, UnixMillis(now.0 + 1)) {
        Verdict::HeldBack { state: kept, headers, reason, .. } => {
            assert_eq!((kept, headers.len(), reason.as_str()), (state, 0, "trust-expired"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn headers_already_trusted_are_passed_over() {
    let mut chain = TestChain::new(CryptoSuite::Standard, &[1, 1, 1, 1]);
    let (client, anchor) = (chain.client(), chain.state());
    let mut headers = Vec::new();
    for _ in 0..3 {
        let sealed = chain.seal(chain.header(&[], &[]));
        chain.append(&sealed);
        headers.extend(update(sealed).headers);
    }
    let state = advanced(&client, &anchor, &ChainUpdate { headers: headers[..2].to_vec() });
    match client.verify_update(&state, &ChainUpdate { headers }, UnixMillis(0)) {
        Verdict::Advanced { state, headers, .. } => {
            assert_eq!(state.height, Height(4));
            assert_eq!(headers.len(), 1);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn i8_two_sealed_headers_at_one_height_are_an_equivocation() {
    let chain = TestChain::new(CryptoSuite::Standard, &[1, 1, 1, 1]);
    let client = chain.client();
    let state = advanced(&client, &chain.state(), &update(chain.seal(chain.header(&[], &[]))));
    let mut other = chain.header(&[], &[]);
    other.timestamp += 1;
    let other = chain.seal(other);
    let refusal = refused(&client, &state, &update(other.clone()));
    assert_eq!((refusal.check, refusal.gravity), ("equivocation", Gravity::Equivocation));
    let mut short = other.clone();
    short.signatures.truncate(2);
    let refusal = refused(&client, &state, &update(short));
    assert_eq!((refusal.check, refusal.gravity), ("quorum", Gravity::Invalid));
    let mut stranger = TestChain::new(CryptoSuite::Standard, &[1, 1, 1, 1]);
    stranger.add(9, 1);
    let refusal = refused(&client, &state, &update(stranger.seal(stranger.header(&[], &[]))));
    assert_eq!((refusal.check, refusal.gravity), ("sealer-set", Gravity::Invalid));
}

#[test]
fn i8_a_second_header_below_the_trusted_one_is_an_equivocation_while_its_set_is_in_force() {
    for suite in SUITES {
        let mut chain = TestChain::new(suite, &[1, 1, 1, 1]);
        let client = chain.client();
        let mut state = chain.state();
        let fork = {
            let mut header = chain.header(&[], &[]);
            header.timestamp += 1;
            chain.seal(header)
        };
        let mut honest = Vec::new();
        for _ in 0..65 {
            let next = chain.seal(chain.header(&[], &[]));
            chain.append(&next);
            state = advanced(&client, &state, &update(next.clone()));
            honest.push(next);
            if honest.len() == 2 {
                let refusal = refused(&client, &state, &update(fork.clone()));
                assert_eq!((refusal.check, refusal.height), ("equivocation", Some(Height(2))));
                assert_eq!(refusal.gravity, Gravity::Equivocation);
                let mut short = fork.clone();
                short.signatures.truncate(2);
                assert_eq!(refused(&client, &state, &update(short)).gravity, Gravity::Invalid);
            }
            assert!(state.recent.len() <= 64);
            // What a node shows once more is passed over.
            assert_eq!(advanced(&client, &state, &update(honest[0].clone())), state);
            let bytes = state.encode();
            assert_eq!(TrustedState::decode(TrustedState::VERSION, &bytes), Ok(state.clone()));
        }
        // Beyond what is remembered nothing tells which one is ours: height 2 is, with 64 more, just forgotten.
        assert_eq!(state.recent.first().map(|(height, _)| *height), Some(Height(2)));
        let next = chain.seal(chain.header(&[], &[]));
        let state = advanced(&client, &state, &update(next));
        assert_eq!(advanced(&client, &state, &update(fork)), state);
    }
}

#[test]
fn a_missing_parent_is_final_by_its_child_but_proves_nothing() {
    let mut chain = TestChain::new(CryptoSuite::Standard, &[1, 1, 1, 1]);
    let (client, anchor) = (chain.client(), chain.state());
    let missing = chain.seal(chain.header(&[], &[]));
    chain.append(&missing);
    let mut child = update(chain.seal(chain.header(&[], &[])));
    assert_eq!(refused(&client, &anchor, &child).check, "header-number");
    child.headers[0].skips_parent = true;
    let Verdict::Advanced { headers, .. } = client.verify_update(&anchor, &child, UnixMillis(0)) else { panic!() };
    assert_eq!(headers[0].hash, missing.claimed_hash);
    let unseen = cityrelay_fisco_bcos::verify::client::roots_of(&headers[0]);
    assert_eq!(unseen.unwrap_err().check, "header-unseen");
    let mut other = TestChain { height: chain.height, tip: chain.tip, ..chain.clone() };
    other.add(5, 1);
    let mut child = update(other.seal(other.header(&[], &[])));
    child.headers[0].skips_parent = true;
    assert_eq!(refused(&client, &anchor, &child).check, "skipped-set");
}

/// Block 2 holds a call of the consensus contract, header 3 lists the set that comes of it.
struct Change {
    client: cityrelay_fisco_bcos::verify::client::FiscoClient,
    state: TrustedState,
    update: ChainUpdate,
    statement: SetStatement,
}

fn word(value: u64) -> [u8; 32] {
    Hash32::from_u64(value).0
}

fn call(suite: CryptoSuite, function: &str, id: &PublicKey, number: Option<u64>) -> TransactionData {
    let text = hex::encode(id.0);
    let mut input = suite.selector(function).to_vec();
    input.extend(word(if number.is_some() { 64 } else { 32 }));
    input.extend(number.map(word).into_iter().flatten());
    input.extend(word(128));
    input.extend(text.as_bytes());
    TransactionData {
        chain_id: "chain0".to_owned(),
        group_id: "group0".to_owned(),
        to: format!("0x{CONSENSUS_CONTRACT}"),
        nonce: "1".to_owned(),
        input,
        ..TransactionData::default()
    }
}

fn change(suite: CryptoSuite, transaction: TransactionData, edit: impl Fn(&mut TestChain)) -> Change {
    let mut chain = TestChain::new(suite, &[1, 1, 1, 1]);
    let (client, anchor) = (chain.client(), chain.state());
    let receipt = Receipt { gas_used: "1".to_owned(), output: vec![0; 32], block_number: 2, ..Receipt::default() };
    let evidence = SetChangeEvidence {
        transaction_hashes: vec![Hash32([9; 32]), transaction.hash(suite)],
        receipt_hashes: vec![Hash32([8; 32]), receipt.hash(suite)],
        calls: vec![SetCall { position: 1, transaction, receipt }],
    };
    let block = chain.seal(chain.header(&evidence.transaction_hashes, &evidence.receipt_hashes));
    chain.append(&block);
    let state = advanced(&client, &anchor, &update(block));
    edit(&mut chain);
    let sealed = chain.seal(chain.header(&[], &[]));
    let statement = SetStatement { height: Height(3), digest: chain.set().digest(suite) };
    Change { client, state, update: with_evidence(sealed, Some(evidence)), statement }
}

fn added(suite: CryptoSuite) -> Change {
    let mut newcomer = TestChain::new(suite, &[]);
    newcomer.add(5, 2);
    let id = *newcomer.nodes[0].key.public();
    change(suite, call(suite, "addSealer(string,uint256)", &id, Some(2)), |chain| chain.add(5, 2))
}

#[test]
fn a_confirmed_change_is_adopted_and_reported_after_the_block_that_made_it() {
    for suite in SUITES {
        let Change { client, state, update, statement } = added(suite);
        match client.verify_update(&state, &update, UnixMillis(0)) {
            Verdict::HeldBack { state: held, headers, reason, .. } => {
                assert_eq!(held, state);
                assert!(headers.is_empty());
                let expected = HoldReason::SetUnconfirmed { height: statement.height, digest: statement.digest };
                assert_eq!(reason, expected);
            }
            other => panic!("{other:?}"),
        }
        let state = client.apply_set_statement(&state, &statement).unwrap();
        match client.verify_update(&state, &update, UnixMillis(0)) {
            Verdict::Advanced { state, set_changes, .. } => {
                assert_eq!(set_changes, [Height(2)]);
                assert_eq!(state.set.sealers().len(), 5);
                assert!(state.statements.is_empty());
            }
            other => panic!("{other:?}"),
        }
    }
}

/// The official SDKs for Java and Python sign the contract's address without `0x`, others with it.
#[test]
fn the_contract_is_known_in_both_forms_that_are_signed_and_in_no_other() {
    for suite in SUITES {
        let mut newcomer = TestChain::new(suite, &[]);
        newcomer.add(5, 2);
        let id = *newcomer.nodes[0].key.public();
        let called_at = |to: &str| {
            let mut transaction = call(suite, "addSealer(string,uint256)", &id, Some(2));
            transaction.to = to.to_owned();
            change(suite, transaction, |chain| chain.add(5, 2))
        };
        for to in [CONSENSUS_CONTRACT.to_owned(), format!("0x{CONSENSUS_CONTRACT}")] {
            let Change { client, state, update, statement } = called_at(&to);
            let state = client.apply_set_statement(&state, &statement).unwrap();
            assert_eq!(advanced(&client, &state, &update).set.sealers().len(), 5, "{to}");
        }
        for to in [
            String::new(),
            "1003".to_owned(),
            "0x1003".to_owned(),
            format!("0X{CONSENSUS_CONTRACT}"),
            format!("0x0x{CONSENSUS_CONTRACT}"),
            format!("0{CONSENSUS_CONTRACT}"),
            format!("{CONSENSUS_CONTRACT}0"),
            format!("/{CONSENSUS_CONTRACT}"),
            "0000000000000000000000000000000000001000".to_owned(),
            "/sys/consensus".to_owned(),
        ] {
            let Change { client, state, update, .. } = called_at(&to);
            assert_eq!(refused(&client, &state, &update).check, "set-change-call", "{to}");
        }
    }
}

#[test]
fn removals_demotions_and_weights_are_replayed() {
    for suite in SUITES {
        let chain = TestChain::new(suite, &[1, 1, 1, 1]);
        let id = *chain.nodes[1].key.public();
        for function in ["remove(string)", "addObserver(string)"] {
            let change = change(suite, call(suite, function, &id, None), |chain| drop(chain.nodes.remove(1)));
            let state = change.client.apply_set_statement(&change.state, &change.statement).unwrap();
            assert_eq!(advanced(&change.client, &state, &change.update).set.sealers().len(), 3);
        }
        let transaction = call(suite, "setWeight(string,uint256)", &id, Some(4));
        let change = change(suite, transaction, |chain| chain.nodes[1].weight = 4);
        let state = change.client.apply_set_statement(&change.state, &change.statement).unwrap();
        assert_eq!(advanced(&change.client, &state, &change.update).set.total(), 7);
    }
}

#[test]
fn each_piece_of_false_evidence_is_refused_by_name() {
    let cases: [Case<SetChangeEvidence>; 6] = [
        ("set-change-roots", |e| e.transaction_hashes[0] = Hash32::ZERO),
        ("set-change-roots", |e| truncate(&mut e.receipt_hashes)),
        ("set-change-call", |e| e.calls[0].position = 0),
        ("set-change-call", |e| e.calls[0].transaction.nonce.push('0')),
        ("set-change-call", |e| e.calls[0].receipt.status = 15),
        ("set-change-call", |e| e.calls.push(e.calls[0].clone())),
    ];
    for (expected, edit) in cases {
        let Change { client, state, mut update, statement } = added(CryptoSuite::Standard);
        edit(update.headers[0].evidence.as_mut().unwrap());
        let state = client.apply_set_statement(&state, &statement).unwrap();
        assert_eq!(refused(&client, &state, &update).check, expected);
    }
}

#[test]
fn a_failed_call_or_one_to_another_contract_changes_nothing() {
    let suite = CryptoSuite::Standard;
    let mut newcomer = TestChain::new(suite, &[]);
    newcomer.add(5, 2);
    let id = *newcomer.nodes[0].key.public();
    let mut elsewhere = call(suite, "addSealer(string,uint256)", &id, Some(2));
    elsewhere.to = "0x0000000000000000000000000000000000001000".to_owned();
    let Change { client, state, update, .. } = change(suite, elsewhere, |chain| chain.add(5, 2));
    assert_eq!(refused(&client, &state, &update).check, "set-change-call");
    let other = call(suite, "addSealer(string,uint256)", &id, Some(3));
    let Change { client, state, update, .. } = change(suite, other, |chain| chain.add(5, 2));
    assert_eq!(not_followed(&client, &state, &update), "set-change-replay");
}

/// What was not enough for the set of block 3, with and without a statement about it.
fn not_followed(client: &FiscoClient, state: &TrustedState, update: &ChainUpdate) -> &'static str {
    match client.verify_update(state, update, UnixMillis(0)) {
        Verdict::HeldBack { reason, state: kept, headers, .. } => {
            let HoldReason::SetNotFollowed { height, check, .. } = reason else { panic!("{reason}") };
            assert_eq!((height, headers.len(), kept), (state.height.next(), 0, state.clone()));
            assert!(reason.needs_anchor() && reason.to_string().contains("anchor the chain anew"), "{reason}");
            check
        }
        other => panic!("{other:?}"),
    }
}

/// An honest chain changes its set by a committee's contract, too: no liar is named, and nothing is adopted.
#[test]
fn a_change_that_no_direct_call_explains_is_left_to_the_operator() {
    for suite in SUITES {
        let Change { client, state, mut update, statement } = added(suite);
        update.headers[0].evidence.as_mut().unwrap().calls.clear();
        assert_eq!(not_followed(&client, &state, &update), "set-change-replay");
        let confirmed = client.apply_set_statement(&state, &statement).unwrap();
        assert_eq!(not_followed(&client, &confirmed, &update), "set-change-replay", "a statement does not replace it");
        update.headers[0].evidence = None;
        assert_eq!(not_followed(&client, &state, &update), "set-change-evidence");
        assert_eq!(advanced(&client, &confirmed, &update).height, Height(3), "who is believed had the evidence");
    }
}

#[test]
fn evidence_right_after_the_anchor_cannot_be_checked_and_decides_nothing() {
    let Change { client, mut state, mut update, statement } = added(CryptoSuite::Standard);
    state.roots = None;
    update.headers[0].evidence.as_mut().unwrap().calls.clear();
    assert!(matches!(client.verify_update(&state, &update, UnixMillis(0)), Verdict::HeldBack { .. }));
    let state = client.apply_set_statement(&state, &statement).unwrap();
    assert_eq!(advanced(&client, &state, &update).height, Height(3));
}

#[test]
fn a_new_set_without_support_of_the_old_is_left_to_the_operator() {
    let mut chain = TestChain::new(CryptoSuite::Standard, &[1, 1, 1, 1]);
    let (client, state) = (chain.client(), chain.state());
    chain.nodes.truncate(1);
    for seed in 11..20 {
        chain.add(seed, 1);
    }
    let sealed = chain.seal(chain.header(&[], &[]));
    assert_eq!(not_followed(&client, &state, &update(sealed)), "old-set-support");
}

#[test]
fn another_set_than_the_confirmed_one_is_refused() {
    let Change { client, state, update, statement } = added(CryptoSuite::Standard);
    let other = SetStatement { digest: Hash32::ZERO, ..statement };
    let state = client.apply_set_statement(&state, &other).unwrap();
    assert_eq!(refused(&client, &state, &update).check, "set-statement");
}

#[test]
fn statements_are_bounded_and_never_about_the_past() {
    let chain = TestChain::new(CryptoSuite::Standard, &[1]);
    let (client, mut state) = (chain.client(), chain.state());
    let at = |height| SetStatement { height: Height(height), digest: Hash32([1; 32]) };
    assert_eq!(client.apply_set_statement(&state, &at(1)).unwrap_err().check, "statement-height");
    for height in 2..18 {
        state = client.apply_set_statement(&state, &at(height)).unwrap();
    }
    assert_eq!(client.apply_set_statement(&state, &at(18)).unwrap_err().check, "statement-count");
    assert_eq!(client.apply_set_statement(&state, &at(5)), Ok(state.clone()));
    let other = SetStatement { digest: Hash32::ZERO, ..at(5) };
    assert_eq!(client.apply_set_statement(&state, &other).unwrap_err().check, "statement-conflict");
}

#[test]
fn updates_are_read_back_and_every_cut_is_refused() {
    let update = added(CryptoSuite::Standard).update;
    let bytes = update.encode();
    assert_eq!(ChainUpdate::decode(ChainUpdate::VERSION, &bytes), Ok(update));
    for length in 0..bytes.len() {
        assert_eq!(ChainUpdate::decode(1, &bytes[..length]).unwrap_err().check, "encoding", "{length}");
    }
    assert_eq!(ChainUpdate::decode(2, &bytes).unwrap_err().check, "encoding-version");
}
