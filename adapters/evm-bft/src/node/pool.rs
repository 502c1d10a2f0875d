//! The endpoints of one chain, with failover among them.

use std::future::Future;
use std::sync::Arc;

use cityrelay_api::source::{EndpointHealth, NodeError};

use super::endpoint::Endpoint;

/// All endpoints.
#[derive(Debug)]
pub(crate) struct Pool {
    endpoints: Vec<Arc<Endpoint>>,
}

impl Pool {
    pub(crate) const fn new(endpoints: Vec<Arc<Endpoint>>) -> Self {
        Self { endpoints }
    }

    /// Asks one endpoint after the other, own ones first and the best among them first, until one answers.
    ///
    /// # Errors
    /// The last endpoint's error; one that was paused is asked only when no other is left.
    pub(crate) async fn first_own<T, F, Fut>(&self, ask: F) -> Result<T, NodeError>
    where
        F: Fn(Arc<Endpoint>) -> Fut,
        Fut: Future<Output = Result<T, NodeError>>,
    {
        self.first_of(self.ranked(true), ask).await
    }

    /// As [`Pool::first_own`], whoever runs them.
    pub(crate) async fn first<T, F, Fut>(&self, ask: F) -> Result<T, NodeError>
    where
        F: Fn(Arc<Endpoint>) -> Fut,
        Fut: Future<Output = Result<T, NodeError>>,
    {
        self.first_of(self.ranked(false), ask).await
    }

    async fn first_of<T, F, Fut>(&self, endpoints: Vec<Arc<Endpoint>>, ask: F) -> Result<T, NodeError>
    where
        F: Fn(Arc<Endpoint>) -> Fut,
        Fut: Future<Output = Result<T, NodeError>>,
    {
        let mut last = None;
        let has_usable = endpoints.iter().any(|endpoint| endpoint.is_usable());
        for endpoint in endpoints {
            if has_usable && !endpoint.is_usable() {
                continue;
            }
            match ask(endpoint).await {
                Ok(value) => return Ok(value),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(no_node))
    }

    /// The endpoints, the best first.
    pub(crate) fn ranked(&self, own_first: bool) -> Vec<Arc<Endpoint>> {
        let mut ranked = self.endpoints.clone();
        ranked.sort_by_cached_key(|endpoint| (own_first && !endpoint.is_own, endpoint.rank()));
        ranked
    }

    /// The endpoints that are not paused, the best first; all of them when every one is paused.
    pub(crate) fn usable(&self) -> Vec<Arc<Endpoint>> {
        let ranked = self.ranked(false);
        let usable: Vec<_> = ranked.iter().filter(|endpoint| endpoint.is_usable()).cloned().collect();
        if usable.is_empty() { ranked } else { usable }
    }

    /// The endpoints that the operator's institution runs.
    pub(crate) fn own(&self) -> Vec<Arc<Endpoint>> {
        self.endpoints.iter().filter(|endpoint| endpoint.is_own).cloned().collect()
    }

    pub(crate) fn all(&self) -> &[Arc<Endpoint>] {
        &self.endpoints
    }

    pub(crate) fn health(&self) -> Vec<EndpointHealth> {
        self.endpoints.iter().map(|endpoint| endpoint.health()).collect()
    }

    pub(crate) fn report_lie(&self, name: &str, check: &str) {
        self.endpoints.iter().filter(|endpoint| endpoint.name == name).for_each(|endpoint| endpoint.note_lie(check));
    }
}

/// There was nobody to ask.
pub(crate) fn no_node() -> NodeError {
    NodeError::Unreachable { endpoint: String::new(), reason: "no node is configured".to_owned() }
}
