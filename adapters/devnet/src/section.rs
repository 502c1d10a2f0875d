//! A running chain as a section of a relay's configuration, for whoever starts relays beside it.

use core::fmt::{self, Write as _};

use cityrelay_core::hash::Hash32;
use cityrelay_fisco_bcos::codec::suite::CryptoSuite;

use crate::devnet::Running;
use crate::sealed_evm::mode::SealMode;
use crate::sealed_evm::{SealedEvmChain, validator_contract};
use crate::weighted_bcos::WeightedBcosChain;

/// What a relay, an attester or an owner must know of a running chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Section {
    /// Keys of the chain's section in TOML, `adapter` included, without an account: one key a line, no tables.
    pub toml: String,
    /// URL of each node.
    pub urls: Vec<String>,
    /// Hash of the block that anchors both the light client and the chain's domain.
    pub anchor: Hash32,
    /// Whether `block.timestamp` counts milliseconds.
    pub clock_is_millis: bool,
    /// Secret keys of accounts that can pay.
    pub accounts: Vec<[u8; 32]>,
}

impl Running<SealedEvmChain> {
    /// The section of this chain, anchored at its first block.
    pub fn section(&self) -> Section {
        let (urls, head_urls) = (self.urls(), self.head_urls());
        self.with(|chain| {
            let config = chain.config();
            let anchor = chain.block(0).map(|block| Hash32(block.hash.0)).unwrap_or_default();
            let member = |address: &alloy_primitives::Address| match chain.bls_key(*address) {
                None => format!("\"{address:#x}\""),
                Some(key) => {
                    format!("{{ address = \"{address:#x}\", bls_key = \"0x{}\" }}", hex::encode(key))
                }
            };
            let validators: Vec<String> = chain.validators_after(0).unwrap_or_default().iter().map(member).collect();
            let mut toml = String::from("adapter = \"evm-bft\"\n");
            write_line(&mut toml, format_args!("chain_id = {}", config.chain_id));
            let mode = |from: u64, mode: SealMode| format!("{{ from = {from}, mode = \"{}\" }}", mode.name());
            match config.migration {
                None => write_line(&mut toml, format_args!("mode = \"{}\"", config.mode.name())),
                Some((from, later)) => {
                    write_line(&mut toml, format_args!("modes = [{}, {}]", mode(0, config.mode), mode(from, later)));
                }
            }
            write_line(&mut toml, format_args!("epoch_length = {}", config.epoch_length));
            if config.has_validator_contract() {
                let address = validator_contract::ADDRESS;
                write_line(&mut toml, format_args!("validator_contract = {{ address = \"{address:#x}\" }}"));
            }
            write_line(
                &mut toml,
                format_args!(
                    "anchor = {{ height = 0, hash = \"{anchor}\", validators = [{}] }}",
                    validators.join(", ")
                ),
            );
            write_line(&mut toml, format_args!("nodes = [{}]", nodes(&urls, &head_urls)));
            let accounts = chain.accounts().iter().map(|key| key.secret().0).collect();
            Section { toml, urls, anchor, clock_is_millis: false, accounts }
        })
    }
}

impl Running<WeightedBcosChain> {
    /// The section of this chain, anchored at block 1; `None` while it has none.
    pub fn section(&self) -> Option<Section> {
        let urls = self.urls();
        self.with(|chain| {
            let config = chain.config();
            let block = chain.block(1)?;
            let anchor = block.hash;
            let sealers: Vec<String> = block
                .sealers()
                .iter()
                .map(|sealer| format!("{{ id = \"{}\", weight = {} }}", hex::encode(sealer.id.0), sealer.weight))
                .collect();
            let crypto = match config.suite {
                CryptoSuite::Standard => "standard",
                CryptoSuite::Gm => "gm",
            };
            let mut toml = String::from("adapter = \"fisco-bcos\"\n");
            write_line(&mut toml, format_args!("chain_id = \"{}\"", config.chain_id));
            write_line(&mut toml, format_args!("group_id = \"{}\"", config.group_id));
            write_line(&mut toml, format_args!("crypto = \"{crypto}\""));
            // The example applications come from the usual compiler on every chain.
            write_line(&mut toml, format_args!("application_selectors = \"keccak256\""));
            write_line(
                &mut toml,
                format_args!("anchor = {{ height = 1, hash = \"{anchor}\", sealers = [{}] }}", sealers.join(", ")),
            );
            write_line(&mut toml, format_args!("nodes = [{}]", nodes(&urls, &[])));
            let accounts = chain.account_secrets().to_vec();
            Some(Section { toml, urls, anchor, clock_is_millis: true, accounts })
        })
    }
}

/// All nodes, as own ones: the devnet's nodes belong to whoever started it.
fn nodes(urls: &[String], head_urls: &[String]) -> String {
    let nodes: Vec<String> = urls
        .iter()
        .enumerate()
        .map(|(index, url)| {
            let ws = head_urls.get(index).map(|url| format!(", ws = \"{url}\"")).unwrap_or_default();
            format!("{{ name = \"node{index}\", url = \"{url}\"{ws}, own = true }}")
        })
        .collect();
    nodes.join(", ")
}

fn write_line(toml: &mut String, line: fmt::Arguments<'_>) {
    // Writing to a string can't fail.
    let _ = writeln!(toml, "{line}");
}
