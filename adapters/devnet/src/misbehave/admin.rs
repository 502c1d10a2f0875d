//! An HTTP endpoint that switches faults, for tests whose devnet runs in another process.
//!
//! Each is a POST with a JSON body: `/misbehave {chain, node, fault}`, `/behave {chain}`, `/stall {chain, stalled}`,
//! `/node {chain, node, running}`. `chain` is `sealed_evm` or `weighted_bcos`; a left-out `node` means all.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::Fault;
use crate::city::City;
use crate::devnet::Running;
use crate::sealed_evm::SealedEvmChain;
use crate::weighted_bcos::WeightedBcosChain;

/// The chains that an endpoint steers.
#[derive(Clone, Debug)]
pub(crate) struct Steered {
    pub(crate) sealed_evm: Option<Arc<Running<SealedEvmChain>>>,
    pub(crate) weighted_bcos: Option<Arc<Running<WeightedBcosChain>>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Chain {
    SealedEvm,
    WeightedBcos,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Misbehave {
    chain: Chain,
    node: Option<usize>,
    fault: Fault,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Behave {
    chain: Chain,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stall {
    chain: Chain,
    stalled: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Node {
    chain: Chain,
    node: usize,
    running: bool,
}

/// Serves the endpoint.
pub(crate) async fn serve(steered: Steered, address: SocketAddr) -> std::io::Result<(SocketAddr, JoinHandle<()>)> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let router = Router::new()
        .route("/misbehave", post(misbehave))
        .route("/behave", post(behave))
        .route("/stall", post(stall))
        .route("/node", post(node))
        .with_state(steered);
    let task = tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::warn!(%error, "devnet admin endpoint stopped");
        }
    });
    Ok((address, task))
}

/// Runs the same on whichever chain is named; 404 when it does not run.
macro_rules! on_chain {
    ($steered:expr, $chain:expr, |$running:ident| $work:expr) => {
        match $chain {
            Chain::SealedEvm => match &$steered.sealed_evm {
                Some($running) => $work,
                None => StatusCode::NOT_FOUND,
            },
            Chain::WeightedBcos => match &$steered.weighted_bcos {
                Some($running) => $work,
                None => StatusCode::NOT_FOUND,
            },
        }
    };
}

async fn misbehave(State(steered): State<Steered>, Json(order): Json<Misbehave>) -> StatusCode {
    on_chain!(steered, order.chain, |running| {
        running.misbehave(order.node, order.fault);
        StatusCode::NO_CONTENT
    })
}

async fn behave(State(steered): State<Steered>, Json(order): Json<Behave>) -> StatusCode {
    on_chain!(steered, order.chain, |running| {
        running.behave();
        StatusCode::NO_CONTENT
    })
}

async fn stall(State(steered): State<Steered>, Json(order): Json<Stall>) -> StatusCode {
    on_chain!(steered, order.chain, |running| {
        running.stall(order.stalled);
        StatusCode::NO_CONTENT
    })
}

async fn node(State(steered): State<Steered>, Json(order): Json<Node>) -> StatusCode {
    on_chain!(steered, order.chain, |running| switch(running, &order).await)
}

async fn switch<C: City>(running: &Running<C>, order: &Node) -> StatusCode {
    let done = if order.running { running.start_node(order.node).await } else { running.stop_node(order.node).await };
    if done.is_ok() { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND }
}
