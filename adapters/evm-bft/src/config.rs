//! The chain's section of the configuration: checked as a whole, all faults at once.

mod reader;
mod rules;
mod section;

pub use section::{AccountSettings, GasPrice, NodeSettings, Settings, read_section};

use cityrelay_api::adapter::KeyDoc;

const fn key(key: &'static str, form: &'static str, default: Option<&'static str>, doc: &'static str) -> KeyDoc {
    KeyDoc::new(key, form, default, doc)
}

/// Every key of the section.
pub const KEYS: &[KeyDoc] = &[
    key("chain_id", "integer ≥ 1", None, "Chain id that transactions are signed for and nodes must report."),
    key(
        "mode",
        "\"qbft\" | \"qbft-contract\" | \"ibft2\" | \"ibft1\" | \"edge-ecdsa\" | \"edge-bls\"",
        Some("none; give `mode` or `modes`"),
        "How blocks are sealed, for a chain that never changed it.",
    ),
    key("modes[].from", "integer ≥ 0", None, "First block of this mode; the first entry begins at 0."),
    key("modes[].mode", "as `mode`", None, "How blocks are sealed from there on."),
    key(
        "epoch_length",
        "integer ≥ 1, in blocks",
        Some("none; give `epoch_length` or `epoch_lengths`"),
        "Genesis `epochlength`: pending votes are cleared there. For a chain that never changed it.",
    ),
    key(
        "epoch_lengths[].from",
        "integer ≥ 0",
        None,
        "First block of this length (`transitions`); the first entry begins at 0.",
    ),
    key("epoch_lengths[].length", "as `epoch_length`", None, "The length from there on."),
    key(
        "epoch_votes",
        "\"counted\" | \"ignored\"",
        Some("\"counted\""),
        "What nodes do with a vote in an epoch block under mode qbft: GoQuorum counts it, Besu ignores it.",
    ),
    key(
        "overrides[].height",
        "integer ≥ 1",
        None,
        "First block sealed by a set of the genesis file (`transitions`): Besu the transition's own block, GoQuorum the one after it.",
    ),
    key("overrides[].validators", "list of addresses", None, "That set."),
    key(
        "validator_contract.address",
        "address",
        None,
        "Contract that keeps the validators; mode qbft-contract needs it, or `validator_contracts`.",
    ),
    key(
        "validator_contract.length_slot",
        "integer or 32-byte hex",
        Some("0"),
        "Slot of its `address[]`, which holds the length.",
    ),
    key(
        "validator_contract.items_slot",
        "32-byte hex",
        Some("keccak256 of the length slot"),
        "Slot of the first item; the others follow.",
    ),
    key(
        "validator_contracts[].from",
        "integer ≥ 0",
        None,
        "First block sealed by the set of this contract (`transitions`): Besu the transition's own block, GoQuorum the one after it.",
    ),
    key("validator_contracts[].address", "address", None, "As in `validator_contract`, and so the two below."),
    key("validator_contracts[].length_slot", "integer or 32-byte hex", Some("0"), "Slot of its length."),
    key(
        "validator_contracts[].items_slot",
        "32-byte hex",
        Some("keccak256 of the length slot"),
        "Slot of its first item.",
    ),
    key(
        "anchor.height",
        "integer ≥ 0",
        None,
        "A block that you vouch for: block 0, an epoch block, or any with its pending votes.",
    ),
    key("anchor.hash", "32-byte hex", None, "Its hash."),
    key(
        "anchor.timestamp",
        "integer, in seconds",
        Some("0: age not checked before the first update"),
        "Its time, so that an anchor beyond the trusting period is refused.",
    ),
    key(
        "anchor.validators",
        "list of addresses, or of { address, bls_key } under edge-bls",
        None,
        "The set that seals the block after it.",
    ),
    key("anchor.pending_votes[].voter", "address", None, "Who voted, since the last epoch block."),
    key("anchor.pending_votes[].candidate", "as in `anchor.validators`", None, "Whom the vote is about."),
    key("anchor.pending_votes[].add", "true | false", None, "Whether to add or to drop it."),
    key(
        "trusting_period",
        "duration",
        Some("\"14d\""),
        "How old the last final header may be; then the chain must be anchored again.",
    ),
    key("max_clock_drift", "duration", Some("\"10s\""), "How far ahead of our clock a header's time may lie."),
    key("nodes[].name", "text", None, "Name of the endpoint in logs, metrics and answers.").applied(),
    key("nodes[].url", "\"https://…\" | \"http://…\"", None, "Its JSON-RPC address, without a user or password.")
        .applied(),
    key(
        "nodes[].ws",
        "\"wss://…\" | \"ws://…\"",
        Some("none: it is polled only"),
        "Where it tells new heads (`eth_subscribe`), so that they are fetched at once; polling goes on beside it.",
    )
    .applied(),
    key(
        "nodes[].own",
        "true | false",
        Some("false"),
        "Whether your own institution runs it: only such nodes confirm and are written to first.",
    )
    .applied(),
    key(
        "nodes[].ca_file",
        "path",
        Some("none"),
        "PEM certificates that its TLS certificate must chain to; needed for https.",
    )
    .applied(),
    key("nodes[].client_cert_file", "path", Some("none"), "PEM certificate that we show it; with `client_key_file`.")
        .applied(),
    key("nodes[].client_key_file", "path", Some("none"), "PEM key of that certificate.").applied(),
    key("nodes[].basic_auth_file", "path", Some("none"), "File that holds `user:password`.").applied(),
    key("nodes[].bearer_token_file", "path", Some("none"), "File that holds a bearer token.").applied(),
    key(
        "account.key_file",
        "path",
        Some("none: nothing is written to this chain"),
        "File with the account's secp256k1 key, 64 hex digits.",
    ),
    key("account.gas_price", "\"auto\" | integer, in wei", Some("\"auto\""), "Price of gas; 0 for chains without one.")
        .applied(),
    key(
        "account.max_gas_price",
        "integer, in wei",
        Some("1000000000000"),
        "The most that replacing a stuck transaction may raise it to.",
    )
    .applied(),
    key(
        "account.max_transaction_bytes",
        "integer, 4096 to 131072",
        Some("65536"),
        "The longest calldata of one transaction; GoQuorum's `txnSizeLimit` is 64 KiB by default.",
    )
    .applied(),
    key(
        "longest_silence",
        "duration",
        Some("\"5m\""),
        "The longest time between two blocks without transactions, with room for rounds that fail; without a block for \
         longer the daemon is not ready. More than the node's `emptyblockperiodseconds`, where that is set.",
    ),
    key("request_timeout", "duration", Some("\"10s\""), "How long one request to a node may take.").applied(),
    key("max_response_bytes", "integer, 64 KiB to 256 MiB", Some("33554432"), "The largest answer read from a node.")
        .applied(),
];
