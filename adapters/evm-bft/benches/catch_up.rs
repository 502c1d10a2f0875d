//! Catching up: how fast the light client takes in a long stretch of QBFT headers.
//!
//! `cargo bench -p cityrelay-evm-bft --bench catch_up`; what it measures and how is printed with the numbers.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use cityrelay_api::client::{ErasedClient, erase, to_opaque};
use cityrelay_core::hash::{Hash32, keccak256};
use cityrelay_core::ids::{Domain, Height, UnixMillis};
use cityrelay_core::opaque::Opaque;
use cityrelay_core::verify::VerifiedUpdate;
use cityrelay_evm_bft::ADAPTER;
use cityrelay_evm_bft::codec::account::Account;
use cityrelay_evm_bft::codec::extra::{BftExtra, BftLayout};
use cityrelay_evm_bft::codec::header::{ForkItems, Header};
use cityrelay_evm_bft::verify::client::Client;
use cityrelay_evm_bft::verify::mode::{Mode, ModeTable};
use cityrelay_evm_bft::verify::rules::{EpochVotes, Rules};
use cityrelay_evm_bft::verify::set::ValidatorSet;
use cityrelay_evm_bft::verify::state::State;
use cityrelay_evm_bft::verify::update::{Update, UpdateItem};
use k256::ecdsa::SigningKey;

/// Headers to catch up.
const HEADERS: usize = 100_000;

/// Headers where the machine is too slow or too busy to seal that many in [`SEALING_LIMIT`].
const FEWER_HEADERS: usize = 20_000;

/// How long making the chain may take.
const SEALING_LIMIT: Duration = Duration::from_secs(60);

/// Headers in one update, as the relay asks for by default.
const BATCH: usize = 256;

/// Members of the validator set, and the seals of each header.
const VALIDATORS: u8 = 4;
const SEALS: usize = 3;

/// Headers a second that are asked for, on two cores.
const GOAL: f64 = 20_000.0;

/// Time of the anchor block, in seconds.
const START: u64 = 1_800_000_000;

fn main() {
    let validators = keys();
    let (count, threads) = (affordable(&validators), 2);
    let chain = Chain::new(&validators, count, threads);
    let cores = thread::available_parallelism().map_or(1, usize::from);
    println!("catch up: {count} QBFT headers of {VALIDATORS} validators, {SEALS} seals each, {cores} cores");
    if count < HEADERS {
        println!("(fewer than {HEADERS}: sealing that many would take longer than {SEALING_LIMIT:?} here and now)");
    }

    let took = catch_up(&chain);
    let floor = floor(&chain);

    let rate = |took: Duration| f64::from(u32::try_from(count).unwrap()) / took.as_secs_f64();
    let ratio = took.as_secs_f64() / floor.as_secs_f64();
    let verdict = if rate(took) >= GOAL { "goal reached" } else { "goal missed" };
    println!("{:>12.0} headers/s    {verdict}: {GOAL} headers/s", rate(took));
    println!("{:>12.0} headers/s    floor", rate(floor));
    println!("{ratio:>12.2} times the floor");
    println!();
    println!("{METHOD}");
}

const METHOD: &str = "Method: the erased client's verify_update, as the daemon calls it, over opaque updates of 256 headers \
and the opaque state of the update before, so decoding and encoding is part of it; one chain goes one header after the \
other, so one core works. Every header is sealed by three of four validators; the client looks at the seals of the last \
one of an update, which finalises the others through their parent hashes. Making and sealing the chain is not timed. \
The floor hashes each header once, in the form under its hash, and recovers as many keys as the updates needed, with \
the same libraries on one core, right afterwards.";

/// A sealed chain in updates.
struct Chain {
    rules: Rules,
    anchor: Opaque,
    updates: Vec<Opaque>,
    /// What is hashed for each header.
    hashed_bytes: Vec<usize>,
    /// A seal and what it signs.
    seal: (Hash32, [u8; 65]),
    headers: usize,
}

impl Chain {
    fn new(validators: &[SigningKey], count: usize, threads: usize) -> Self {
        let accounts: Vec<_> = validators.iter().map(account).collect();
        let anchor_hash = keccak256(b"anchor");
        let set = ValidatorSet::of_accounts(&accounts).unwrap();
        let anchor = to_opaque(ADAPTER, &State::anchor(0, anchor_hash, START, set, Vec::new()));
        let mut parent = anchor_hash;
        let mut drafts = Vec::with_capacity(count);
        let mut hashed_bytes = Vec::with_capacity(count);
        for number in 1..=u64::try_from(count).unwrap() {
            let draft = draft(number, parent, &accounts);
            parent = hash(&draft);
            hashed_bytes.push(form_under_hash(&draft).encode().len());
            drafts.push((draft, parent));
        }
        let share = count.div_ceil(threads);
        let sealed = |(header, hash): &(Header, Hash32)| {
            let header = seal_header(header.clone(), validators).encode();
            UpdateItem { header, hash: *hash, set_proof: None }
        };
        let items: Vec<UpdateItem> = thread::scope(|scope| {
            let shares: Vec<_> = drafts
                .chunks(share)
                .map(|drafts| scope.spawn(move || drafts.iter().map(sealed).collect::<Vec<_>>()))
                .collect();
            shares.into_iter().flat_map(|share| share.join().unwrap()).collect()
        });
        let updates = items.chunks(BATCH).map(|items| to_opaque(ADAPTER, &Update { items: items.to_vec() })).collect();
        let digest = keccak256(b"digest");
        let seal = (digest, seal(&validators[0], digest));
        Self { rules: rules(), anchor, updates, hashed_bytes, seal, headers: count }
    }
}

/// Verifies every update; the time it took.
fn catch_up(chain: &Chain) -> Duration {
    let client = erase(ADAPTER, Client::new(chain.rules.clone()));
    let domain = Domain::derive("source", keccak256(b"anchor"));
    let now = UnixMillis((START + u64::try_from(chain.headers).unwrap() + 60) * 1000);
    let mut state = chain.anchor.clone();
    let mut verified = 0;
    let started = Instant::now();
    for update in &chain.updates {
        match client.verify_update(domain, &state, update, now) {
            VerifiedUpdate::Advanced { state: next, headers, .. } => {
                verified += headers.len();
                state = next;
            }
            other => panic!("expected an advance, got {other:?}"),
        }
    }
    let took = started.elapsed();
    assert_eq!(verified, chain.headers);
    assert_eq!(client.trusted_height(&state), Ok(Height(u64::try_from(chain.headers).unwrap())));
    took
}

/// The hashes and recoveries that this needs, and nothing else.
fn floor(chain: &Chain) -> Duration {
    let bytes = vec![0x5a; chain.hashed_bytes.iter().copied().max().unwrap_or(0)];
    let (digest, seal) = &chain.seal;
    let started = Instant::now();
    for length in &chain.hashed_bytes {
        black_box(keccak256(black_box(&bytes[..*length])));
    }
    for _ in 0..chain.updates.len() * SEALS {
        black_box(Account::recover(black_box(*digest), black_box(seal)).unwrap());
    }
    started.elapsed()
}

/// How many headers can be sealed within [`SEALING_LIMIT`] on two threads.
fn affordable(validators: &[SigningKey]) -> usize {
    let tries = 300;
    let started = Instant::now();
    for number in 0..tries {
        black_box(seal(&validators[0], keccak256(&[u8::try_from(number % 256).unwrap()])));
    }
    let seals = u32::try_from(HEADERS * SEALS).unwrap();
    let expected = started.elapsed() / tries * seals / 2;
    if expected <= SEALING_LIMIT { HEADERS } else { FEWER_HEADERS }
}

fn rules() -> Rules {
    Rules {
        modes: ModeTable::new(&[(0, Mode::Qbft)]).unwrap(),
        epochs: BTreeMap::from([(0, 30_000)]),
        epoch_votes: EpochVotes::Counted,
        overrides: BTreeMap::new(),
        contracts: BTreeMap::new(),
        trusting_period: Duration::from_secs(14 * 86_400),
        max_clock_drift: Duration::from_secs(10),
    }
}

fn draft(number: u64, parent_hash: Hash32, validators: &[Account]) -> Header {
    let extra = BftExtra { vanity: [0; 32], validators: validators.to_vec(), vote: None, round: 0, seals: Vec::new() };
    Header {
        parent_hash,
        ommers_hash: keccak256(&[0xc0]),
        beneficiary: validators[0].0.to_vec(),
        state_root: keccak256(&number.to_be_bytes()),
        transactions_root: keccak256(b"transactions"),
        receipts_root: keccak256(b"receipts"),
        logs_bloom: [0; 256],
        difficulty: 1,
        number,
        gas_limit: 30_000_000,
        gas_used: 15_000_000,
        timestamp: START + number,
        extra_data: extra.encode(BftLayout::Qbft),
        // The last 32 letters of the name that EIP-650 gives.
        mix_hash: Hash32(*b"ctical byzantine fault tolerance"),
        nonce: [0; 8],
        fork: ForkItems::default(),
    }
}

fn form_under_hash(header: &Header) -> Header {
    let extra = BftExtra::decode(BftLayout::Qbft, &header.extra_data).unwrap();
    Header { extra_data: extra.encode_for_block_hash(BftLayout::Qbft), ..header.clone() }
}

fn hash(header: &Header) -> Hash32 {
    keccak256(&form_under_hash(header).encode())
}

fn seal_header(mut header: Header, validators: &[SigningKey]) -> Header {
    let mut extra = BftExtra::decode(BftLayout::Qbft, &header.extra_data).unwrap();
    let digest = header.hash_with_extra(&extra.encode_for_commit(BftLayout::Qbft));
    extra.seals = validators.iter().take(SEALS).map(|key| seal(key, digest)).collect();
    header.extra_data = extra.encode(BftLayout::Qbft);
    header
}

fn seal(key: &SigningKey, digest: Hash32) -> [u8; 65] {
    let (signature, recovery) = key.sign_prehash_recoverable(digest.as_bytes()).unwrap();
    let mut seal = [0; 65];
    seal[..64].copy_from_slice(&signature.to_bytes());
    seal[64] = recovery.to_byte();
    seal
}

fn account(key: &SigningKey) -> Account {
    Account::of_key(key.verifying_key())
}

/// The validators' keys, by ascending account as headers list them.
fn keys() -> Vec<SigningKey> {
    let mut keys: Vec<_> = (1..=VALIDATORS).map(|n| SigningKey::from_slice(&[n; 32]).unwrap()).collect();
    keys.sort_unstable_by_key(account);
    keys
}
