//! The endpoints of a chain, best first.

use std::sync::Arc;
use std::time::Instant;

use cityrelay_api::source::{EndpointHealth, NodeError};

use super::endpoint::Endpoint;

/// All endpoints of a chain.
#[derive(Debug)]
pub(super) struct Pool {
    endpoints: Vec<Arc<Endpoint>>,
}

impl Pool {
    pub const fn new(endpoints: Vec<Arc<Endpoint>>) -> Self {
        Self { endpoints }
    }

    /// Every endpoint, in the order of the configuration.
    pub fn all(&self) -> &[Arc<Endpoint>] {
        &self.endpoints
    }

    /// Every endpoint, in the order in which it should be asked.
    pub fn ranked(&self) -> Vec<Arc<Endpoint>> {
        let now = Instant::now();
        let best = self.endpoints.iter().map(|endpoint| endpoint.health().height).max().unwrap_or_default();
        let mut ranked = self.endpoints.clone();
        ranked.sort_by_cached_key(|endpoint| endpoint.health().rank(best, now));
        ranked
    }

    /// As [`Self::ranked`], and how many of them are not paused: those come first.
    pub fn ranked_and_usable(&self) -> (Vec<Arc<Endpoint>>, usize) {
        let (now, ranked) = (Instant::now(), self.ranked());
        let usable = ranked.iter().take_while(|endpoint| endpoint.health().is_usable(now)).count();
        (ranked, usable)
    }

    /// The endpoints that are not paused, best first; every one when all are.
    pub fn usable(&self) -> Vec<Arc<Endpoint>> {
        let (mut ranked, usable) = self.ranked_and_usable();
        if usable > 0 {
            ranked.truncate(usable);
        }
        ranked
    }

    /// The operator's own endpoints first, then the others.
    pub fn own_first(&self) -> Vec<Arc<Endpoint>> {
        let mut ranked = self.ranked();
        ranked.sort_by_key(|endpoint| !endpoint.is_own);
        ranked
    }

    /// The operator's own endpoints.
    pub fn own(&self) -> Vec<Arc<Endpoint>> {
        let mut own = self.ranked();
        own.retain(|endpoint| endpoint.is_own);
        own
    }

    /// What to say when no endpoint is configured.
    pub fn nobody() -> NodeError {
        NodeError::Unreachable { endpoint: "none".to_owned(), reason: "no node is configured".to_owned() }
    }

    pub fn standing(&self) -> Vec<EndpointHealth> {
        self.endpoints.iter().map(|endpoint| endpoint.standing()).collect()
    }

    pub fn report_lie(&self, name: &str, check: &str) {
        if let Some(endpoint) = self.endpoints.iter().find(|endpoint| endpoint.name == name) {
            endpoint.health().lied(check, Instant::now());
        }
    }
}

/// Asks the endpoints of `$ranked` in order and returns the first result from the enclosing function; after all failed,
/// its value is the last error.
macro_rules! first_answer {
    ($ranked:expr, |$endpoint:ident| $ask:expr) => {{
        let mut last = $crate::node::pool::Pool::nobody();
        for $endpoint in $ranked {
            match $ask {
                Ok(answer) => return Ok(answer),
                Err(error) => last = error,
            }
        }
        last
    }};
}
pub(super) use first_answer;
