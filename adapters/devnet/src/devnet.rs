//! Both chains running: block producers, servers, and the handle to steer them.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use thiserror::Error;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;

use crate::city::City;
use crate::head_server::HeadServer;
use crate::node_server::{NodeServer, Shared};
use crate::sealed_evm::{SealedEvmChain, SealedEvmConfig};
use crate::weighted_bcos::{WeightedBcosChain, WeightedBcosConfig};

/// What to start.
#[derive(Clone, Debug, Default)]
pub struct DevnetConfig {
    /// The sealed EVM chain; none when `None`.
    pub sealed_evm: Option<CityConfig<SealedEvmConfig>>,
    /// The BCOS chain; none when `None`.
    pub weighted_bcos: Option<CityConfig<WeightedBcosConfig>>,
}

impl DevnetConfig {
    /// Both chains with their defaults, on ports that the system picks.
    pub fn both() -> Self {
        Self { sealed_evm: Some(CityConfig::default()), weighted_bcos: Some(CityConfig::default()) }
    }
}

/// How one chain runs.
#[derive(Clone, Debug)]
pub struct CityConfig<T> {
    /// The chain itself. A genesis time of 0 is replaced by the time of the start.
    pub chain: T,
    /// Nodes that serve it, each at its own URL; at least 1, default 2.
    pub nodes: usize,
    /// Port of the first node on 127.0.0.1, the next node has the next; 0 (default) for ports that the system picks.
    pub first_port: u16,
    /// Time between blocks; default 500 ms.
    pub block_period: Duration,
}

impl<T: Default> Default for CityConfig<T> {
    fn default() -> Self {
        Self { chain: T::default(), nodes: 2, first_port: 0, block_period: Duration::from_millis(500) }
    }
}

/// Why a devnet did not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DevnetError {
    /// A port could not be had.
    #[error("cannot listen on {address}")]
    Listen {
        /// What was asked for.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// There is no such node.
    #[error("no node {got}, the chain has {expected}")]
    UnknownNode {
        /// The number asked for.
        got: usize,
        /// Nodes there are.
        expected: usize,
    },
}

/// A running devnet. Dropping it ends its chains; their ports close a moment later.
#[derive(Debug)]
pub struct Devnet {
    sealed_evm: Option<Arc<Running<SealedEvmChain>>>,
    weighted_bcos: Option<Arc<Running<WeightedBcosChain>>>,
    #[cfg(feature = "misbehave")]
    admin: std::sync::Mutex<Vec<JoinHandle<()>>>,
}

impl Devnet {
    /// Starts what the configuration names.
    ///
    /// # Errors
    /// `Listen` when a port is taken.
    pub async fn start(config: DevnetConfig) -> Result<Self, DevnetError> {
        let now = since_1970();
        let sealed_evm = match config.sealed_evm {
            None => None,
            Some(mut city) => {
                if city.chain.genesis_seconds == 0 {
                    city.chain.genesis_seconds = now.as_secs().saturating_sub(1);
                }
                Some(Arc::new(Running::start(SealedEvmChain::new(city.chain.clone()), &city).await?))
            }
        };
        let weighted_bcos = match config.weighted_bcos {
            None => None,
            Some(mut city) => {
                if city.chain.genesis_millis == 0 {
                    city.chain.genesis_millis = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
                }
                Some(Arc::new(Running::start(WeightedBcosChain::new(city.chain.clone()), &city).await?))
            }
        };
        Ok(Self {
            sealed_evm,
            weighted_bcos,
            #[cfg(feature = "misbehave")]
            admin: std::sync::Mutex::default(),
        })
    }

    /// The sealed EVM chain, if it was started.
    pub fn sealed_evm(&self) -> Option<&Running<SealedEvmChain>> {
        self.sealed_evm.as_deref()
    }

    /// The BCOS chain, if it was started.
    pub fn weighted_bcos(&self) -> Option<&Running<WeightedBcosChain>> {
        self.weighted_bcos.as_deref()
    }

    /// Serves the endpoint that switches faults on 127.0.0.1, at a port or, for 0, at one that the system picks. Ends
    /// with [`Devnet::stop`].
    ///
    /// POST with a JSON body: `/misbehave {chain, node, fault}`, `/behave {chain}`, `/stall {chain, stalled}`,
    /// `/node {chain, node, running}`; `chain` is `sealed_evm` or `weighted_bcos`, a left-out `node` means all,
    /// `fault` is a [`crate::misbehave::Fault`].
    ///
    /// # Errors
    /// `Listen` when the port is taken.
    #[cfg(feature = "misbehave")]
    pub async fn serve_admin(&self, port: u16) -> Result<SocketAddr, DevnetError> {
        let steered = crate::misbehave::Steered {
            sealed_evm: self.sealed_evm.clone(),
            weighted_bcos: self.weighted_bcos.clone(),
        };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let (address, task) = crate::misbehave::serve_admin(steered, address)
            .await
            .map_err(|source| DevnetError::Listen { address, source })?;
        self.admin.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(task);
        Ok(address)
    }

    /// Runs until the future is ready, then stops everything.
    pub async fn run_until(self, shutdown: impl Future<Output = ()>) {
        shutdown.await;
        self.stop().await;
    }

    /// Stops all nodes and producers.
    pub async fn stop(self) {
        if let Some(city) = &self.sealed_evm {
            city.stop().await;
        }
        if let Some(city) = &self.weighted_bcos {
            city.stop().await;
        }
        #[cfg(feature = "misbehave")]
        for task in self.admin.lock().unwrap_or_else(std::sync::PoisonError::into_inner).drain(..) {
            task.abort();
        }
    }
}

/// One running chain.
#[derive(Debug)]
pub struct Running<C> {
    shared: Arc<Shared<C>>,
    pace: watch::Sender<Pace>,
    nodes: Mutex<Vec<NodeServer>>,
    addresses: Vec<SocketAddr>,
    head_servers: Mutex<Vec<Option<HeadServer>>>,
    head_addresses: Vec<SocketAddr>,
    producer: JoinHandle<()>,
}

#[derive(Clone, Copy, Debug)]
struct Pace {
    block_period: Duration,
    is_stalled: bool,
}

impl<C: City> Running<C> {
    async fn start<T>(chain: C, city: &CityConfig<T>) -> Result<Self, DevnetError> {
        let shared = Shared::new(chain);
        let mut nodes = Vec::new();
        for index in 0..city.nodes.max(1) {
            let offset = u16::try_from(index).unwrap_or(u16::MAX);
            let port = if city.first_port == 0 { 0 } else { city.first_port.saturating_add(offset) };
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            let node = NodeServer::start(&shared, index, address)
                .await
                .map_err(|source| DevnetError::Listen { address, source })?;
            nodes.push(node);
        }
        let mut head_servers = Vec::new();
        for index in 0..nodes.len() {
            let tells = shared.with(|chain| chain.tells_heads());
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            head_servers.push(match tells {
                true => Some(
                    HeadServer::start(&shared, index, address)
                        .await
                        .map_err(|source| DevnetError::Listen { address, source })?,
                ),
                false => None,
            });
        }
        let head_addresses = head_servers.iter().flatten().map(HeadServer::address).collect();
        let pace = watch::Sender::new(Pace { block_period: city.block_period, is_stalled: false });
        let producer = tokio::spawn(produce(Arc::clone(&shared), pace.subscribe()));
        let addresses = nodes.iter().map(NodeServer::address).collect();
        Ok(Self {
            shared,
            pace,
            nodes: Mutex::new(nodes),
            addresses,
            head_servers: Mutex::new(head_servers),
            head_addresses,
            producer,
        })
    }

    /// The URL of each node, `http://127.0.0.1:<port>`.
    pub fn urls(&self) -> Vec<String> {
        self.addresses.iter().map(|address| format!("http://{address}")).collect()
    }

    /// Where each node tells new heads, `ws://127.0.0.1:<port>`; empty where none does.
    pub fn head_urls(&self) -> Vec<String> {
        self.head_addresses.iter().map(|address| format!("ws://{address}")).collect()
    }

    /// Runs something on the chain: reading it, voting, changing sealers. Nothing else runs on it meanwhile.
    pub fn with<T>(&self, work: impl FnOnce(&mut C) -> T) -> T {
        self.shared.with(work)
    }

    /// Height of the newest block.
    pub fn height(&self) -> u64 {
        self.with(|chain| chain.height())
    }

    /// Makes a block now, whatever the period, if the chain has reason to. True when one was made.
    pub fn produce_now(&self) -> bool {
        let made = self.with(|chain| chain.tick(since_1970()));
        self.shared.height.send_replace(self.height());
        made
    }

    /// Waits until the chain has this height.
    pub async fn wait_for_height(&self, height: u64) {
        let mut heights = self.shared.height.subscribe();
        // The sender lives as long as self.
        let _ = heights.wait_for(|reached| *reached >= height).await;
    }

    /// Changes the time between blocks.
    pub fn set_block_period(&self, block_period: Duration) {
        self.pace.send_modify(|pace| pace.block_period = block_period);
    }

    /// Makes no more blocks, or makes them again. Nodes go on answering.
    pub fn stall(&self, is_stalled: bool) {
        self.pace.send_modify(|pace| pace.is_stalled = is_stalled);
    }

    /// Makes one node, or all when `None`, do something wrong.
    #[cfg(feature = "misbehave")]
    pub fn misbehave(&self, node: Option<usize>, fault: crate::misbehave::Fault) {
        self.with(|chain| chain.faults().add(node, fault));
    }

    /// Makes all nodes behave again.
    #[cfg(feature = "misbehave")]
    pub fn behave(&self) {
        self.with(|chain| chain.faults().clear());
    }

    /// Stops a node: its ports close.
    ///
    /// # Errors
    /// `UnknownNode` when there is none of that number.
    pub async fn stop_node(&self, index: usize) -> Result<(), DevnetError> {
        let mut nodes = self.nodes.lock().await;
        let expected = nodes.len();
        nodes.get_mut(index).ok_or(DevnetError::UnknownNode { got: index, expected })?.stop().await;
        if let Some(server) = self.head_servers.lock().await.get_mut(index).and_then(Option::take) {
            server.stop().await;
        }
        Ok(())
    }

    /// Starts a stopped node again at its URL.
    ///
    /// # Errors
    /// `UnknownNode` when there is none of that number, `Listen` when its port is taken.
    pub async fn start_node(&self, index: usize) -> Result<(), DevnetError> {
        let mut nodes = self.nodes.lock().await;
        let expected = nodes.len();
        let node = nodes.get_mut(index).ok_or(DevnetError::UnknownNode { got: index, expected })?;
        if !node.is_running() {
            let address = node.address();
            *node = NodeServer::start(&self.shared, index, address)
                .await
                .map_err(|source| DevnetError::Listen { address, source })?;
        }
        let mut head_servers = self.head_servers.lock().await;
        if let (Some(server @ None), Some(address)) = (head_servers.get_mut(index), self.head_addresses.get(index)) {
            let started = HeadServer::start(&self.shared, index, *address).await;
            *server = Some(started.map_err(|source| DevnetError::Listen { address: *address, source })?);
        }
        Ok(())
    }

    async fn stop(&self) {
        self.producer.abort();
        for node in self.nodes.lock().await.iter_mut() {
            node.stop().await;
        }
        for server in self.head_servers.lock().await.iter_mut().filter_map(Option::take) {
            server.stop().await;
        }
    }
}

impl<C> Drop for Running<C> {
    fn drop(&mut self) {
        self.producer.abort();
    }
}

async fn produce<C: City>(shared: Arc<Shared<C>>, mut pace: watch::Receiver<Pace>) {
    loop {
        let Pace { block_period, is_stalled } = *pace.borrow_and_update();
        tokio::select! {
            () = tokio::time::sleep(block_period) => {}
            changed = pace.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
        }
        if is_stalled {
            continue;
        }
        // Execution and signing take milliseconds: off the async threads.
        let chain = Arc::clone(&shared);
        let made =
            tokio::task::spawn_blocking(move || chain.with(|chain| chain.tick(since_1970()).then(|| chain.height())));
        if let Ok(Some(height)) = made.await {
            shared.height.send_replace(height);
        }
    }
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
