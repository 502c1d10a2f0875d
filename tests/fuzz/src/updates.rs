//! Light clients over recorded chains with bytes changed: whatever is believed afterwards is the recorded chain.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use cityrelay_api::client::ErasedClient;
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Domain, Height, UnixMillis};
use cityrelay_core::opaque::Opaque;
use cityrelay_core::verify::{VerifiedHeader, VerifiedUpdate};

/// How far into a recording the targets look, in blocks: far enough for votes, set changes and late seals.
const BLOCKS: usize = 48;

const DOMAIN: Domain = Domain(Hash32::ZERO);

/// A recorded chain, verified honestly once.
struct Recorded {
    client: Arc<dyn ErasedClient>,
    steps: Vec<Step>,
    hashes: BTreeMap<Height, Hash32>,
}

/// One update, the state that it follows, and the time it was made.
struct Step {
    trusted: Opaque,
    update: Opaque,
    now: UnixMillis,
}

static EVM: LazyLock<Vec<Recorded>> = LazyLock::new(|| recordings("evm-bft"));
static BCOS: LazyLock<Vec<Recorded>> = LazyLock::new(|| recordings("fisco-bcos"));

/// Updates of the recorded EVM chains.
pub fn evm(input: &[u8]) {
    change(&EVM, input);
}

/// Updates of the recorded BCOS chains.
pub fn bcos(input: &[u8]) {
    change(&BCOS, input);
}

/// Reads `input` as: which chain, which block, then changes to the update's bytes; runs the client over the result.
fn change(chains: &[Recorded], input: &[u8]) {
    let Some(([chain, step], changes)) = input.split_first_chunk::<2>() else { return };
    let chain = &chains[usize::from(*chain) % chains.len()];
    let step = &chain.steps[usize::from(*step) % chain.steps.len()];
    let mut update = step.update.clone();
    for change in changes.chunks_exact(5) {
        let at = usize::from(u16::from_be_bytes([change[1], change[2]])) % update.bytes.len().max(1);
        match change[0] % 6 {
            0 if !update.bytes.is_empty() => update.bytes[at] ^= change[3],
            1 => update.bytes.insert(at, change[3]),
            2 if !update.bytes.is_empty() => drop(update.bytes.remove(at)),
            3 => update.bytes.truncate(at),
            // Another block's update, from some byte on.
            4 => {
                let other = &chain.steps[usize::from(change[3]) % chain.steps.len()].update.bytes;
                let from = at.min(other.len());
                update.bytes.truncate(at);
                update.bytes.extend_from_slice(&other[from..]);
            }
            5 => update.version = u16::from(change[3]),
            _ => {}
        }
    }
    let (state, headers) = match chain.client.verify_update(DOMAIN, &step.trusted, &update, step.now) {
        VerifiedUpdate::Advanced { state, headers, .. } | VerifiedUpdate::HeldBack { state, headers, .. } => {
            (state, headers)
        }
        _ => return,
    };
    for header in &headers {
        assert_eq!(chain.hashes.get(&header.height()), Some(&header.hash()), "a header that the chain does not have");
    }
    let height = chain.client.trusted_height(&state).expect("a state that was returned is read");
    let hash = chain.client.trusted_hash(&state).expect("a state that was returned is read");
    if let Some(last) = headers.last() {
        assert_eq!((last.height(), last.hash()), (height, hash));
    }
}

fn recordings(adapter: &str) -> Vec<Recorded> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut files: Vec<_> =
        std::fs::read_dir(root.join("config/replay")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().filter_map(|file| recording(&root, file, adapter)).collect()
}

fn recording(root: &Path, file: &Path, name: &str) -> Option<Recorded> {
    let text = std::fs::read_to_string(file).unwrap();
    let from = text.lines().find_map(|line| line.strip_prefix("# recording: ")).expect("each file names its recording");
    let tree: serde_json::Value = toml::from_str(&text).unwrap();
    let mut section = tree["chains"]["recorded"].clone();
    if section["adapter"] != name {
        return None;
    }
    section.as_object_mut().unwrap().remove("adapter");
    let adapter = cityrelay_all::adapters().iter().find(|adapter| adapter.name() == name).unwrap();
    let chain = adapter.configure(&section, root).expect("the shipped replay configurations are good");
    let recording = serde_json::from_slice(&std::fs::read(root.join(from)).unwrap()).unwrap();
    let client = chain.client();
    let mut trusted = chain.anchor();
    let (mut steps, mut hashes) = (Vec::new(), BTreeMap::new());
    for step in chain.recording().read(&recording).expect("a recording").into_iter().take(BLOCKS) {
        if let Some(statement) = step.statement {
            trusted = client.apply_set_statement(&trusted, &statement).expect("the recorded statement fits");
        }
        let verdict = client.verify_update(DOMAIN, &trusted, &step.update, step.time);
        let (state, headers) = match verdict {
            VerifiedUpdate::Advanced { state, headers, .. } | VerifiedUpdate::HeldBack { state, headers, .. } => {
                (state, headers)
            }
            other => panic!("{}: the recorded chain is refused: {other:?}", file.display()),
        };
        hashes.extend(headers.iter().map(|header: &VerifiedHeader| (header.height(), header.hash())));
        steps.push(Step { trusted, update: step.update, now: step.time });
        trusted = state;
    }
    assert!(!steps.is_empty() && !hashes.is_empty(), "{}: nothing to change", file.display());
    Some(Recorded { client, steps, hashes })
}
