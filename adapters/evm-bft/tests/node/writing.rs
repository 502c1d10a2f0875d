use cityrelay_api::target::{Fate, Fit, LaneState, TargetError};
use cityrelay_core::chain::ChainPoint;
use cityrelay_core::gateway_call::GatewayCall;
use cityrelay_core::ids::{Address, LaneId};
use cityrelay_core::lane::{Direction, Flow};
use cityrelay_gateway::Refusal;
use serde_json::json;

use crate::development_chain::Anvil;

#[tokio::test(flavor = "multi_thread")]
async fn contracts_are_deployed_and_asked() {
    let anvil = Anvil::start(&[], &json!({}));
    let (gateway, lane, id) = anvil.open_lane().await;
    let target = anvil.target();
    assert_eq!(target.lane_state(gateway, id).await.unwrap(), LaneState::Open);
    let unknown = LaneId(cityrelay_core::hash::keccak256(b"unknown"));
    assert_eq!(target.lane_state(gateway, unknown).await.unwrap(), LaneState::Unknown);
    let settled = Flow { lane: id, direction: Direction::Inbox };
    assert_eq!(target.accepted(gateway, settled).await.unwrap(), ChainPoint::start(settled));
    let committee = target.committee(lane.source_verifier).await.unwrap();
    assert_eq!((committee.epoch().0, committee.threshold(), committee.members().len()), (1, 2, 3));
    let pause = GatewayCall::SetPaused { gateway, lane: Some(id), is_paused: true };
    assert!(matches!(anvil.submit(&pause).await, Fate::Final { is_success: true, .. }));
    assert_eq!(target.lane_state(gateway, id).await.unwrap(), LaneState::Paused);
}

#[tokio::test(flavor = "multi_thread")]
async fn open_intents_keep_their_nonces_and_gaps_are_filled() {
    let anvil = Anvil::start(&[], &json!({}));
    let (gateway, _, lane) = anvil.open_lane().await;
    anvil.rpc("evm_setAutomine", json!([false])).await;
    let target = anvil.target();
    let send = anvil.send(gateway, lane, b"one").await;
    let first = target.prepare(&send, &[], None).await.unwrap();
    let second = target.prepare(&send, std::slice::from_ref(&first), None).await.unwrap();
    assert_ne!(first.hash, second.hash);
    // Without the first among the open ones, its nonce is free again.
    let again = target.prepare(&send, std::slice::from_ref(&second), None).await.unwrap();
    assert_eq!(again.hash, first.hash);

    assert_eq!(target.track(&first).await.unwrap(), Fate::Dropped);
    for intent in [&first, &second] {
        target.broadcast(intent).await.unwrap();
        // Repeating does no harm.
        target.broadcast(intent).await.unwrap();
        assert_eq!(target.track(intent).await.unwrap(), Fate::Pending);
    }
    anvil.mine().await;
    for intent in [&first, &second] {
        let fate = anvil.fate(intent).await;
        assert!(matches!(fate, Fate::Final { is_success: true, created: None, .. }), "{fate:?}");
        target.broadcast(intent).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replacement_takes_the_nonce_and_the_other_is_dead() {
    let anvil = Anvil::start(&[], &json!({}));
    let (gateway, _, lane) = anvil.open_lane().await;
    anvil.rpc("evm_setAutomine", json!([false])).await;
    let target = anvil.target();
    let send = anvil.send(gateway, lane, b"one").await;
    let first = target.prepare(&send, &[], None).await.unwrap();
    target.broadcast(&first).await.unwrap();
    let open = std::slice::from_ref(&first);
    let replacement = target.prepare(&send, open, Some(&first)).await.unwrap();
    assert_ne!(replacement.hash, first.hash);
    // The node takes it under the same nonce, so the fee is high enough.
    target.broadcast(&replacement).await.unwrap();
    anvil.mine().await;
    let fate = anvil.fate(&replacement).await;
    assert!(matches!(fate, Fate::Final { is_success: true, .. }), "{fate:?}");
    assert_eq!(target.track(&first).await.unwrap(), Fate::Dead);
    assert!(target.broadcast(&first).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reverted_transaction_is_final_with_its_reason() {
    let anvil = Anvil::start(&[], &json!({}));
    let (gateway, _, lane) = anvil.open_lane().await;
    let target = anvil.target();
    let send = anvil.send(gateway, lane, b"one").await;
    let intent = target.prepare(&send, &[], None).await.unwrap();
    // Paused between preparing and sending.
    anvil.rpc("evm_setAutomine", json!([false])).await;
    let pause = GatewayCall::SetPaused { gateway, lane: Some(lane), is_paused: true };
    let own = anvil.rpc("eth_accounts", json!([])).await[0].clone();
    let encoded = cityrelay_gateway::encode(&pause).unwrap();
    let data = format!("0x{}", hex::encode(encoded.data));
    let sent =
        anvil.rpc("eth_sendTransaction", json!([{ "from": own, "to": gateway.to_string(), "data": data }])).await;
    assert!(sent.is_string());
    anvil.mine().await;
    let late = target.prepare(&GatewayCall::Raw { to: gateway, data: vec![] }, &[], None).await;
    assert!(late.is_err(), "an estimate of a call that reverts");
    assert_eq!(target.track(&intent).await.unwrap(), Fate::Dead);
    let fit = target.fits(&send).await.unwrap();
    let Fit::Reverts { output } = fit else { panic!("{fit:?}") };
    assert!(Refusal::decode(&output).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_transaction_shows_its_revert_data() {
    let anvil = Anvil::start(&[], &json!({}));
    let (gateway, _, lane) = anvil.open_lane().await;
    let target = anvil.target();
    let send = anvil.send(gateway, lane, b"one").await;
    let intent = target.prepare(&send, &[], None).await.unwrap();
    // The deadline passes before it is mined.
    anvil.rpc("evm_setAutomine", json!([false])).await;
    anvil.rpc("evm_increaseTime", json!([7200])).await;
    anvil.mine().await;
    target.broadcast(&intent).await.unwrap();
    anvil.mine().await;
    let fate = anvil.fate(&intent).await;
    let Fate::Final { is_success: false, output, .. } = fate else { panic!("{fate:?}") };
    assert!(Refusal::decode(&output).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_no_transaction_can_carry_are_too_large() {
    let anvil = Anvil::start(&[], &json!({ "max_transaction_bytes": 4096 }));
    let to = Address::from_20([1; 20]);
    let target = anvil.target();
    let fit = target.fits(&GatewayCall::Raw { to, data: vec![1; 4097] }).await.unwrap();
    assert_eq!(fit, Fit::TooLarge);
    let fit = target.fits(&GatewayCall::Raw { to, data: vec![1; 100] }).await.unwrap();
    assert!(matches!(fit, Fit::Fits { gas } if gas > 21_000));
    let refused = target.prepare(&GatewayCall::Raw { to, data: vec![1; 4097] }, &[], None).await;
    assert!(matches!(refused, Err(TargetError::Unsupported { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_without_a_price_of_gas_is_written_to_at_zero() {
    let arguments = ["--hardfork", "berlin", "--gas-price", "0"];
    let anvil = Anvil::start(&arguments, &json!({ "gas_price": 0 }));
    let (gateway, _, lane) = anvil.open_lane().await;
    let fate = anvil.submit(&anvil.send(gateway, lane, b"free").await).await;
    assert!(matches!(fate, Fate::Final { is_success: true, .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_price_above_the_configured_one_is_not_paid() {
    let anvil = Anvil::start(&[], &json!({ "max_gas_price": 7 }));
    let call = GatewayCall::Raw { to: Address::from_20([1; 20]), data: vec![] };
    let refused = anvil.target().prepare(&call, &[], None).await;
    assert!(matches!(refused, Err(TargetError::Unsupported { .. })), "{refused:?}");
}
