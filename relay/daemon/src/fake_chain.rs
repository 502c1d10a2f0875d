//! A made-up chain for tests of configuration and replay: its "seals" are a byte that says what to think of a header.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cityrelay_api::adapter::KeyDoc;
use cityrelay_api::client::{ErasedClient, erase, to_opaque};
use cityrelay_api::inspect::{Ended, Inspect, NodeReport, TransactionCounts, UnsignedCall};
use cityrelay_api::recording::{RecordedStep, Recording};
use cityrelay_api::source::{
    AnchorAnswer, AnchorCandidate, Confirmation, EndpointHealth, EntryRequest, HeadProofAnswer, HeadProofRequest,
    NodeError, ServedUpdate, Source,
};
use cityrelay_api::target::{Target, TargetError};
use cityrelay_api::{Adapter, Chain, ConfigFault};
use cityrelay_core::chain::{ChainPoint, Entry};
use cityrelay_core::gateway_call::GatewayCall;
use cityrelay_core::hash::{Hash32, hash_words};
use cityrelay_core::ids::{Address, Height, UnixMillis};
use cityrelay_core::lane::Flow;
use cityrelay_core::light_client::{
    AdapterValue, Header, HoldReason, LightClient, ProofStrength, Refusal, SetStatement, Verdict,
};
use cityrelay_core::machine::input::NodeStatement;
use cityrelay_core::opaque::Opaque;
use cityrelay_core::verify::{VerifiedExtension, VerifiedHeader};
use serde_json::{Value, json};

const NAME: &str = "fake";

/// The adapter; register it as `&FAKE`.
pub(crate) static FAKE: Fake = Fake;

#[derive(Debug)]
pub(crate) struct Fake;

impl Adapter for Fake {
    fn name(&self) -> &'static str {
        NAME
    }

    fn keys(&self) -> &'static [KeyDoc] {
        const KEYS: &[KeyDoc] = &[
            KeyDoc::new("chain_id", "integer ≥ 1", None, "Number of the chain."),
            KeyDoc::new("nodes[].url", "url", None, "Where a node is."),
            KeyDoc::new("nodes[].own", "true or false", Some("false"), "Whether it is ours."),
            KeyDoc::new("account.key_file", "file", Some("unset"), "The account's key."),
        ];
        KEYS
    }

    fn configure(&self, section: &Value, _base: &Path) -> Result<Arc<dyn Chain>, Vec<ConfigFault>> {
        let mut faults = Vec::new();
        let mut fault = |key: &str, problem: &str| {
            faults.push(ConfigFault { key: key.to_owned(), problem: problem.to_owned() });
        };
        if section["chain_id"].as_u64().is_none_or(|id| id == 0) {
            fault("chain_id", "expected an integer ≥ 1");
        }
        let nodes = section["nodes"].as_array().cloned().unwrap_or_default();
        for (at, node) in nodes.iter().enumerate() {
            if !node["url"].as_str().is_some_and(|url| url.starts_with("http")) {
                fault(&format!("nodes[{at}].url"), "expected http://… or https://…");
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let has_own = nodes.iter().any(|node| node["own"] == json!(true));
        let has_account = section["account"]["key_file"].is_string();
        Ok(Arc::new(FakeChain { has_own, has_account }))
    }
}

#[derive(Clone, Copy, Debug)]
struct FakeChain {
    has_own: bool,
    has_account: bool,
}

impl Chain for FakeChain {
    fn client(&self) -> Arc<dyn ErasedClient> {
        Arc::new(erase(NAME, FakeClient))
    }

    fn anchor(&self) -> Opaque {
        to_opaque(NAME, &FakeState { height: 0, hash: Hash32::ZERO, held: Vec::new(), stated: None })
    }

    fn source(&self) -> Arc<dyn Source> {
        Arc::new(*self)
    }

    fn target(&self) -> Option<Arc<dyn Target>> {
        self.has_account.then(|| Arc::new(crate::fake_target::FakeTarget::default()) as Arc<dyn Target>)
    }

    fn inspect(&self) -> Arc<dyn Inspect> {
        Arc::new(*self)
    }

    fn recording(&self) -> Arc<dyn Recording> {
        Arc::new(*self)
    }
}

#[async_trait]
impl Inspect for FakeChain {
    async fn nodes(&self) -> Vec<NodeReport> {
        Vec::new()
    }

    async fn call(&self, _: Address, _: &[u8]) -> Result<Vec<u8>, NodeError> {
        Ok(Vec::new())
    }

    async fn try_call(&self, _: Address, _: &[u8], _: Option<Address>) -> Result<Option<Ended>, NodeError> {
        Ok(None)
    }

    async fn code(&self, _: Address) -> Result<Vec<u8>, NodeError> {
        Ok(Vec::new())
    }

    fn unsigned(&self, _: &GatewayCall) -> Result<UnsignedCall, TargetError> {
        Err(TargetError::Unsupported { reason: "a fake chain has no wallets" })
    }

    async fn transactions(&self, _: Address) -> Result<Option<TransactionCounts>, NodeError> {
        Ok(None)
    }
}

#[derive(Clone, Debug)]
struct FakeHeader {
    height: u64,
    parent: Hash32,
    time: u64,
    seal: Seal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seal {
    Good,
    Short,
    NewSet,
    Bad,
}

impl FakeHeader {
    fn hash(&self) -> Hash32 {
        hash_words(&[Hash32::from_u64(self.height), self.parent, Hash32::from_u64(self.time)])
    }

    fn header(&self) -> Header {
        Header {
            height: Height(self.height),
            hash: self.hash(),
            parent: self.parent,
            timestamp: UnixMillis(self.time),
            detail: Vec::new(),
        }
    }
}

impl AdapterValue for FakeHeader {
    const VERSION: u16 = 1;

    fn encode(&self) -> Vec<u8> {
        [&self.height.to_be_bytes()[..], &self.parent.0, &self.time.to_be_bytes(), &[self.seal as u8]].concat()
    }

    fn decode(_: u16, bytes: &[u8]) -> Result<Self, Refusal> {
        let (height, rest) = bytes.split_at(8);
        let (parent, rest) = rest.split_at(32);
        let (time, seal) = rest.split_at(8);
        Ok(Self {
            height: u64::from_be_bytes(height.try_into().unwrap()),
            parent: Hash32(parent.try_into().unwrap()),
            time: u64::from_be_bytes(time.try_into().unwrap()),
            seal: [Seal::Good, Seal::Short, Seal::NewSet, Seal::Bad][usize::from(seal[0])],
        })
    }
}

#[derive(Clone, Debug)]
struct FakeState {
    height: u64,
    hash: Hash32,
    held: Vec<FakeHeader>,
    stated: Option<u64>,
}

impl AdapterValue for FakeState {
    const VERSION: u16 = 1;

    fn encode(&self) -> Vec<u8> {
        let held: Vec<u8> = self.held.iter().flat_map(AdapterValue::encode).collect();
        [&self.height.to_be_bytes()[..], &self.hash.0, &self.stated.unwrap_or(0).to_be_bytes(), &held].concat()
    }

    fn decode(_: u16, bytes: &[u8]) -> Result<Self, Refusal> {
        let (height, rest) = bytes.split_at(8);
        let (hash, rest) = rest.split_at(32);
        let (stated, held) = rest.split_at(8);
        Ok(Self {
            height: u64::from_be_bytes(height.try_into().unwrap()),
            hash: Hash32(hash.try_into().unwrap()),
            stated: Some(u64::from_be_bytes(stated.try_into().unwrap())).filter(|height| *height > 0),
            held: held.chunks(49).map(|chunk| FakeHeader::decode(1, chunk)).collect::<Result<_, _>>()?,
        })
    }
}

#[derive(Clone, Debug)]
struct NoProof;

impl AdapterValue for NoProof {
    const VERSION: u16 = 1;

    fn encode(&self) -> Vec<u8> {
        Vec::new()
    }

    fn decode(_: u16, _: &[u8]) -> Result<Self, Refusal> {
        Ok(Self)
    }
}

#[derive(Debug)]
struct FakeClient;

impl LightClient for FakeClient {
    type State = FakeState;
    type Update = FakeHeader;
    type HeadProof = NoProof;

    fn trusted_height(&self, state: &FakeState) -> Height {
        Height(state.height)
    }

    fn trusted_hash(&self, state: &FakeState) -> Hash32 {
        state.hash
    }

    fn verify_update(&self, trusted: &FakeState, update: &FakeHeader, now: UnixMillis) -> Verdict<FakeState> {
        let tip = trusted.held.last().map_or(trusted.hash, FakeHeader::hash);
        let at = Height(update.height);
        if update.parent != tip {
            return Verdict::Refused(Refusal::new("parent-hash", tip, update.parent).at(at));
        }
        if update.seal == Seal::Bad {
            return Verdict::Refused(Refusal::new("seals", "good", "bad").at(at));
        }
        if update.time > now.0 {
            return Verdict::Refused(Refusal::new("clock", now.0, update.time).at(at));
        }
        let mut state = trusted.clone();
        state.held.push(update.clone());
        let is_held = match update.seal {
            Seal::Short => Some(HoldReason::ShortOfQuorum { height: at, expected: 4, got: 3 }),
            Seal::NewSet if trusted.stated != Some(update.height) => {
                Some(HoldReason::SetUnconfirmed { height: at, digest: Hash32::ZERO })
            }
            _ => None,
        };
        if let Some(reason) = is_held {
            return Verdict::HeldBack { state, headers: Vec::new(), set_changes: Vec::new(), reason };
        }
        let headers: Vec<Header> = state.held.drain(..).map(|held| held.header()).collect();
        state.height = update.height;
        state.hash = update.hash();
        let set_changes = if update.seal == Seal::NewSet { vec![at] } else { Vec::new() };
        Verdict::Advanced { state, headers, set_changes }
    }

    fn apply_set_statement(&self, trusted: &FakeState, statement: &SetStatement) -> Result<FakeState, Refusal> {
        Ok(FakeState { stated: Some(statement.height.0), ..trusted.clone() })
    }

    fn verify_head(&self, _: &Header, _: &NoProof, _: Address, _: Flow) -> Result<ChainPoint, Refusal> {
        Err(Refusal::new("head", "a proof", "nothing"))
    }

    fn strength(&self) -> ProofStrength {
        ProofStrength::NeedsLocalConfirmation
    }
}

/// A recording: `{"blocks": [{"seal": "good", "body": "good", "stated": true, "time": 1}, …]}`, from height 1.
#[async_trait]
impl Recording for FakeChain {
    fn read(&self, recording: &Value) -> Result<Vec<RecordedStep>, Refusal> {
        let blocks = recording["blocks"].as_array().ok_or_else(|| Refusal::new("recording-form", "blocks", "none"))?;
        let mut parent = Hash32::ZERO;
        let mut steps = Vec::new();
        for (at, block) in blocks.iter().enumerate() {
            let seal = match block["seal"].as_str() {
                Some("short") => Seal::Short,
                Some("new-set") => Seal::NewSet,
                Some("bad") => Seal::Bad,
                _ => Seal::Good,
            };
            let height = at as u64 + 1;
            let header = FakeHeader { height, parent, time: block["time"].as_u64().unwrap_or(height), seal };
            parent = header.hash();
            steps.push(RecordedStep {
                height: Height(height),
                time: UnixMillis(header.time),
                update: to_opaque(NAME, &header),
                refusal: (block["fork"] == json!("later")).then(|| Refusal::new("fork", "known", "later")),
                statement: (block["stated"] == json!(true))
                    .then_some(SetStatement { height: Height(height), digest: Hash32::ZERO }),
                body: block.clone(),
            });
        }
        Ok(steps)
    }

    fn verify_body(&self, _: &VerifiedHeader, step: &RecordedStep) -> Result<u64, Refusal> {
        if step.body["body"] == json!("bad") {
            return Err(Refusal::new("receipts-root", "good", "bad").at(step.height));
        }
        Ok(2)
    }

    async fn record(&self, from: Height, to: Height) -> Result<Value, NodeError> {
        Ok(json!({"blocks": (from.0..=to.0).map(|_| json!({"seal": "good"})).collect::<Vec<_>>()}))
    }
}

#[async_trait]
impl Source for FakeChain {
    async fn tip(&self) -> Result<Height, NodeError> {
        Ok(Height(0))
    }

    async fn next_update(&self, _: Height, _: u32) -> Result<Option<ServedUpdate>, NodeError> {
        Ok(None)
    }

    async fn head_hint(&self, _: Address, flow: Flow) -> Result<ChainPoint, NodeError> {
        Ok(ChainPoint::start(flow))
    }

    async fn head_proof(&self, _: &HeadProofRequest) -> Result<HeadProofAnswer, NodeError> {
        Ok(HeadProofAnswer::NothingNew)
    }

    async fn entry_hints(&self, _: &EntryRequest) -> Result<Vec<Entry>, NodeError> {
        Ok(Vec::new())
    }

    async fn confirm_extension(
        &self,
        _: &VerifiedHeader,
        _: Address,
        _: &VerifiedExtension,
        _: &Opaque,
    ) -> Result<Confirmation, NodeError> {
        Ok(Confirmation::NoOwnNode)
    }

    async fn confirm_header(&self, _: &VerifiedHeader) -> Vec<NodeStatement> {
        Vec::new()
    }

    async fn confirm_set(&self, _: &SetStatement) -> Result<Confirmation, NodeError> {
        Ok(Confirmation::NoOwnNode)
    }

    async fn pending(&self) -> Result<Option<u64>, NodeError> {
        Ok(None)
    }

    async fn anchors(&self, at: Option<Height>) -> Vec<AnchorAnswer> {
        let height = at.unwrap_or(Height(0));
        let toml = format!("{{ height = {height} }}");
        let candidate = AnchorCandidate { height, hash: Hash32::ZERO, timestamp: UnixMillis(0), toml, validators: 1 };
        vec![AnchorAnswer { endpoint: "one".to_owned(), is_own: self.has_own, answer: Ok(candidate) }]
    }

    fn endpoints(&self) -> Vec<EndpointHealth> {
        vec![EndpointHealth {
            name: "one".to_owned(),
            is_own: self.has_own,
            is_usable: true,
            latency: Duration::ZERO,
            height: Height(0),
            errors: 0,
            lies: 0,
            last_error: String::new(),
        }]
    }

    fn report_lie(&self, _: &str, _: &'static str) {}
}
