//! What the applications of both cities send.

use std::time::Duration;

use anyhow::Context as _;
use cityrelay_api::target::Fit;
use cityrelay_core::gateway_call::GatewayCall;
use cityrelay_core::ids::{Address, UnixMillis};
use cityrelay_gateway::examples::{self, Order};

use super::setup::{Access, Lane, Town, carry_all};
use crate::clock::unix_millis;

/// Gas that an ordinary message gives its receiver.
const GAS_LIMIT: u64 = 300_000;

/// How long an ordinary message may take.
const LIFETIME: Duration = Duration::from_secs(600);

/// One message on each of these lanes, sent at once by the application's account.
///
/// # Errors
/// When a gateway refuses one.
pub async fn send_round(application: &Access, towns: &[Town], lanes: &[&Lane], round: usize) -> anyhow::Result<()> {
    let mut calls = Vec::with_capacity(lanes.len());
    for lane in lanes {
        let to = towns.get(lane.to).context("a lane's destination")?;
        let payload = format!("{} no. {round}: {}", lane.identity.channel, "…".repeat(40)).into_bytes();
        calls.push(send(lane, to.board, after(LIFETIME), payload));
    }
    carry_all(application.target.as_ref(), &calls).await.map(|_| ())
}

/// A message to a contract that takes none: it fails there, and the lane goes on.
///
/// # Errors
/// When the gateway refuses it.
pub async fn send_to_a_receiver_that_fails(application: &Access, towns: &[Town], lane: &Lane) -> anyhow::Result<()> {
    let to = towns.get(lane.to).context("a lane's destination")?;
    let call = send(lane, to.orders, after(LIFETIME), b"to a contract that takes no messages".to_vec());
    carry_all(application.target.as_ref(), &[call]).await.map(|_| ())
}

/// An order that is paid from a credit of exactly its price and expires in `lifetime`.
///
/// # Errors
/// When the credit can't be issued or the order is refused.
pub async fn order_with_a_deadline(
    application: &Access,
    towns: &[Town],
    lane: &Lane,
    lifetime: Duration,
) -> anyhow::Result<()> {
    let from = towns.get(lane.from).context("a lane's source")?;
    let credit = examples::issue_credit(application.target.account(), PRICE)?;
    let issue = GatewayCall::Raw { to: from.orders, data: credit };
    carry_all(from.owner.target.as_ref(), &[issue]).await?;
    let order = order(towns, lane, after(lifetime))?;
    carry_all(application.target.as_ref(), &[order]).await.map(|_| ())
}

/// Whether the price of that order is there again: the same order can be placed once more.
///
/// # Errors
/// When no node answers.
pub async fn is_refunded(application: &Access, towns: &[Town], lane: &Lane) -> anyhow::Result<bool> {
    let order = order(towns, lane, after(LIFETIME))?;
    Ok(matches!(application.target.fits(&order).await?, Fit::Fits { .. }))
}

/// What the order costs.
const PRICE: u64 = 250;

fn order(towns: &[Town], lane: &Lane, deadline: UnixMillis) -> anyhow::Result<GatewayCall> {
    let from = towns.get(lane.from).context("a lane's source")?;
    let to = towns.get(lane.to).context("a lane's destination")?;
    let order = Order {
        lane: lane.id,
        receiver: to.board,
        deadline,
        gas_limit: GAS_LIMIT,
        payload: b"250 parts, delivered before the deadline or not at all".to_vec(),
        price: PRICE,
    };
    Ok(GatewayCall::Raw { to: from.orders, data: examples::place_order(&order) })
}

fn send(lane: &Lane, receiver: Address, deadline: UnixMillis, payload: Vec<u8>) -> GatewayCall {
    let gateway = lane.identity.source_gateway;
    GatewayCall::Send { gateway, lane: lane.id, receiver, deadline, gas_limit: GAS_LIMIT, payload }
}

fn after(lifetime: Duration) -> UnixMillis {
    UnixMillis(unix_millis().0.saturating_add(u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX)))
}
