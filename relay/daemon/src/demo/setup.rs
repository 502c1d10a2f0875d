//! What the owner does once: contracts on both chains, and lanes between them.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use cityrelay_api::source::Source;
use cityrelay_api::target::{Fate, Intent, Target};
use cityrelay_core::gateway_call::{GatewayCall, LaneLimits};
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Address, AttesterId, Domain, LaneId};
use cityrelay_core::lane::LaneIdentity;
use cityrelay_gateway::examples;
use futures_util::future::try_join_all;

use super::cities::City;
use crate::config::{Layers, Sources, check};

/// The channels, each a lane in both directions.
pub const CHANNELS: [&str; 6] = ["finance", "manufacturing", "medical", "education", "trade", "government"];

/// How often the fate of a transaction is asked.
const TRACK_INTERVAL: Duration = Duration::from_millis(50);

/// How long a transaction may take to become final.
const FINAL_TIMEOUT: Duration = Duration::from_secs(30);

/// A chain with an account.
#[derive(Clone)]
pub struct Access {
    /// To write with the account.
    pub target: Arc<dyn Target>,
    /// To read.
    pub source: Arc<dyn Source>,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("account", &self.target.account()).finish_non_exhaustive()
    }
}

/// A city with its contracts.
#[derive(Clone, Debug)]
pub struct Town {
    /// The city.
    pub city: City,
    /// The chain as the protocol names it.
    pub domain: Domain,
    /// The owner of the gateway.
    pub owner: Access,
    /// The gateway.
    pub gateway: Address,
    /// The committee.
    pub verifier: Address,
    /// Example receiver.
    pub board: Address,
    /// Example sender that refunds.
    pub orders: Address,
}

/// A lane of the demo.
#[derive(Clone, Debug)]
pub struct Lane {
    /// Who it is.
    pub identity: LaneIdentity,
    /// Its id.
    pub id: LaneId,
    /// Position of the source in the list of towns.
    pub from: usize,
    /// Position of the destination.
    pub to: usize,
}

/// Which of a city's accounts does what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Account {
    /// Owns the gateway.
    Owner,
    /// The relay's.
    Relay,
    /// An application's.
    Application,
}

/// Opens a city's chain with one of its accounts, keeping the key in `dir`.
///
/// # Errors
/// When the files can't be written or the section has faults.
pub fn access(dir: &Path, city: &City, account: Account) -> anyhow::Result<Access> {
    let name = match account {
        Account::Owner => "owner",
        Account::Relay => "relay",
        Account::Application => "application",
    };
    let home = dir.join(format!("{}-{name}", city.name));
    std::fs::create_dir_all(&home)?;
    let key_file = home.join("account.key");
    write_key(&key_file, &account_key(city, account)?)?;
    let file = home.join("chain.toml");
    let section = chain_section(city, None, Some(&key_file));
    std::fs::write(&file, section).with_context(|| format!("write {}", file.display()))?;
    let sources = Sources { path: Some(file), environment: Vec::new(), overrides: Vec::new() };
    let layers = Layers::read(&sources).map_err(|faults| anyhow!("{faults}"))?;
    let chain =
        check::one_chain(&layers, cityrelay_all::adapters(), &city.name).map_err(|faults| anyhow!("{faults}"))?;
    let target = chain.chain.target().context("a chain with an account has a target")?;
    Ok(Access { target, source: chain.chain.source() })
}

/// The secret key of one of a city's accounts, in hex.
///
/// # Errors
/// When the city has too few.
pub fn account_key(city: &City, account: Account) -> anyhow::Result<String> {
    let position = match account {
        Account::Owner => 0,
        Account::Relay => 1,
        Account::Application => 2,
    };
    city.accounts.get(position).cloned().with_context(|| format!("{} has too few accounts", city.name))
}

/// Writes a key file that only its owner may read; replaces an older one.
pub(super) fn write_key(path: &Path, secret_hex: &str) -> anyhow::Result<()> {
    let mut secret = [0; 32];
    hex::decode_to_slice(secret_hex, &mut secret).context("a key of 32 bytes in hex")?;
    if path.exists() {
        std::fs::remove_file(path)?;
    }
    crate::keys::create_secret(path, &secret)
}

/// The chain's section: what the city says, its contracts, and an account.
pub(super) fn chain_section(city: &City, town: Option<&Town>, key_file: Option<&Path>) -> String {
    let mut text = format!("[chains.{}]\n{}poll_interval = \"100ms\"\n", city.name, city.toml);
    if let Some(town) = town {
        text.push_str(&format!(
            "domain = \"{}\"\ngateway = \"{}\"\nverifier = \"{}\"\n",
            town.domain, town.gateway, town.verifier
        ));
    }
    if let Some(key_file) = key_file {
        text.push_str(&format!("account = {{ key_file = \"{}\" }}\n", key_file.display()));
    }
    text
}

/// Deploys everything on both chains.
///
/// # Errors
/// When a transaction fails.
pub async fn deploy(
    dir: &Path,
    cities: &[City],
    attesters: &[AttesterId],
    threshold: u32,
) -> anyhow::Result<Vec<Town>> {
    let mut towns = Vec::new();
    for city in cities {
        let anchor = Hash32::from_hex(&city.anchor).context("the anchor of a city")?;
        towns.push((city.clone(), Domain::derive(&city.name, anchor), access(dir, city, Account::Owner)?));
    }
    try_join_all(towns.into_iter().map(|(city, domain, owner)| async move {
        let committee = GatewayCall::DeployCommittee { domain, members: attesters.to_vec(), threshold };
        let gateway = GatewayCall::DeployGateway {
            domain,
            owner: owner.target.account(),
            announce_delay: Duration::ZERO,
            close_delay: Duration::from_secs(3600),
            clock_is_millis: city.clock_is_millis,
        };
        let made = carry_all(owner.target.as_ref(), &[committee, gateway]).await?;
        let [Some(verifier), Some(gateway)] = made[..] else { bail!("a deployment made no contract") };
        let board = GatewayCall::DeployCode { code: examples::deploy_notice_board(gateway)?.data };
        let orders = GatewayCall::DeployCode { code: examples::deploy_prepaid_orders(gateway)?.data };
        let made = carry_all(owner.target.as_ref(), &[board, orders]).await?;
        let [Some(board), Some(orders)] = made[..] else { bail!("a deployment made no contract") };
        Ok(Town { city, domain, owner, gateway, verifier, board, orders })
    }))
    .await
}

/// A new lane from one town to another one.
#[must_use]
pub fn lane_between(source: &Town, destination: &Town, channel: &str) -> LaneIdentity {
    LaneIdentity {
        source_domain: source.domain,
        destination_domain: destination.domain,
        source_gateway: source.gateway,
        destination_gateway: destination.gateway,
        source_verifier: source.verifier,
        destination_verifier: destination.verifier,
        channel: channel.to_owned(),
        salt: Hash32(rand::random()),
    }
}

/// Opens a lane for each channel in both directions, and lets the receivers take from them.
///
/// # Errors
/// When a transaction fails.
pub async fn open_lanes(towns: &[Town]) -> anyhow::Result<Vec<Lane>> {
    let mut lanes = Vec::new();
    for channel in CHANNELS {
        for (from, to) in [(0, 1), (1, 0)] {
            let (Some(source), Some(destination)) = (towns.get(from), towns.get(to)) else { bail!("two towns") };
            let identity = lane_between(source, destination, channel);
            lanes.push(Lane { id: identity.id(), identity, from, to });
        }
    }
    try_join_all(towns.iter().enumerate().map(|(at, town)| {
        let lanes = &lanes;
        async move {
            let limits = LaneLimits {
                max_payload_bytes: 16 << 10,
                max_gas_limit: 1_000_000,
                max_deadline: Duration::from_secs(24 * 3600),
                callback_gas: 200_000,
                is_strict: false,
                quota: 0,
                senders: Vec::new(),
                receivers: Vec::new(),
            };
            let announce: Vec<_> = lanes
                .iter()
                .map(|lane| GatewayCall::AnnounceLane {
                    gateway: town.gateway,
                    lane: lane.identity.clone(),
                    limits: limits.clone(),
                })
                .collect();
            carry_all(town.owner.target.as_ref(), &announce).await?;
            let open = lanes.iter().map(|lane| GatewayCall::OpenLane { gateway: town.gateway, lane: lane.id });
            let trusted = lanes.iter().filter(|lane| lane.to == at);
            let trust =
                trusted.map(|lane| GatewayCall::Raw { to: town.board, data: examples::trust_lane(lane.id, true) });
            carry_all(town.owner.target.as_ref(), &open.chain(trust).collect::<Vec<_>>()).await
        }
    }))
    .await?;
    Ok(lanes)
}

/// Makes calls one after the other in nonce order, all under way at once; gives what each created.
///
/// # Errors
/// When one of them is not executed, or reverts.
pub async fn carry_all(target: &dyn Target, calls: &[GatewayCall]) -> anyhow::Result<Vec<Option<Address>>> {
    let mut intents: Vec<Intent> = Vec::with_capacity(calls.len());
    for call in calls {
        intents.push(target.prepare(call, &intents, None).await?);
    }
    try_join_all(intents.iter().map(|intent| async {
        target.broadcast(intent).await?;
        tokio::time::timeout(FINAL_TIMEOUT, follow(target, intent))
            .await
            .with_context(|| format!("transaction {} did not become final in time", intent.hash))?
    }))
    .await
}

async fn follow(target: &dyn Target, intent: &Intent) -> anyhow::Result<Option<Address>> {
    loop {
        match target.track(intent).await? {
            Fate::Final { is_success: true, created, .. } => return Ok(created),
            Fate::Final { output, .. } => {
                bail!("transaction {} reverted with 0x{}", intent.hash, hex::encode(output))
            }
            Fate::Dead => bail!("transaction {} can't be executed any more", intent.hash),
            Fate::Dropped => target.broadcast(intent).await?,
            Fate::Pending => {}
        }
        tokio::time::sleep(TRACK_INTERVAL).await;
    }
}
