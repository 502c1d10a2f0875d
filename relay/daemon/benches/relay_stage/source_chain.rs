//! A source chain with everything that a peer shows of it, made before the clock starts: sealed headers, proofs of the
//! gateway's slots in real tries, messages, attested heads.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use alloy_trie::proof::ProofRetainer;
use alloy_trie::{HashBuilder, Nibbles};
use cityrelay_api::client::to_opaque;
use cityrelay_core::attestation::{Committee, SignatureBytes, Statement, attester_id};
use cityrelay_core::chain::{ChainPoint, Entry};
use cityrelay_core::claim::Claim;
use cityrelay_core::frame::Frame;
use cityrelay_core::gateway_call::Evidence;
use cityrelay_core::hash::{Hash32, keccak256};
use cityrelay_core::ids::{Address, Domain, Epoch, Height, Index, UnixMillis};
use cityrelay_core::lane::{Direction, Flow, LaneIdentity};
use cityrelay_core::message::{Message, Payload};
use cityrelay_core::opaque::Opaque;
use cityrelay_evm_bft::ADAPTER;
use cityrelay_evm_bft::codec::account::Account;
use cityrelay_evm_bft::codec::extra::{BftExtra, BftLayout};
use cityrelay_evm_bft::codec::header::{ForkItems, Header};
use cityrelay_evm_bft::codec::rlp::{bytes_item, list_item, uint_item};
use cityrelay_evm_bft::codec::trie_proof::EMPTY_ROOT;
use cityrelay_evm_bft::verify::head::{HEADS_SLOT, HeadProof, INDEXES_SLOT, mapping_slot};
use cityrelay_evm_bft::verify::mode::{Mode, ModeTable};
use cityrelay_evm_bft::verify::rules::{EpochVotes, Rules};
use cityrelay_evm_bft::verify::set::ValidatorSet;
use cityrelay_evm_bft::verify::state::State;
use cityrelay_evm_bft::verify::update::UpdateItem;
use k256::ecdsa::SigningKey;

use crate::floor::Hashes;

/// Lanes whose heads the chain keeps; more than one, so that the claims of several can be verified at once.
pub const LANES: usize = 8;

/// Bytes of one payload.
pub const PAYLOAD_BYTES: usize = 256;

/// Seals of a header and signatures of a head: what four members need.
pub const QUORUM: usize = 3;

/// Members of the validator set and of the attester set.
const MEMBERS: u8 = 4;

/// Other accounts of the chain, and other slots of the gateway: they give the proofs their length.
const OTHER_ACCOUNTS: u64 = 256;
const OTHER_SLOTS: u64 = 64;

/// The gateway on the source chain.
const GATEWAY: Account = Account([0xaa; 20]);

/// One head on its way to the relay.
#[derive(Clone)]
pub struct Head {
    /// Lane, direction and tip.
    pub flow: Flow,
    pub tip: ChainPoint,
    /// The extension with its attestations.
    pub frame: Frame,
}

/// The chain.
#[derive(Clone)]
pub struct SourceChain {
    pub rules: Rules,
    pub domain: Domain,
    pub anchor: Opaque,
    pub anchor_hash: Hash32,
    pub lanes: Vec<LaneIdentity>,
    pub committee: Committee,
    /// From height 1 on, one for each head.
    pub headers: Vec<UpdateItem>,
    pub heads: Vec<Head>,
    /// What must be hashed to verify all of it, without what depends on how headers are grouped.
    pub hashes: Hashes,
    /// Bytes hashed for the digest that the seals of one header sign.
    pub sealed_bytes: usize,
}

impl SourceChain {
    /// A chain of that name with `count` headers, each with the head of one lane in turn, `messages` further than the one before.
    pub fn new(name: &str, count: usize, messages: usize) -> Self {
        let (validators, attesters) = (keys(1), keys(101));
        let set = ValidatorSet::of_accounts(&validators.iter().map(account).collect::<Vec<_>>()).unwrap();
        let ids: Vec<_> = attesters.iter().map(|key| attester_id(key.verifying_key())).collect();
        let committee = Committee::new(Epoch(1), &ids, 3).unwrap();
        // A block a second, the last of them a minute ago.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let start = now - u64::try_from(count).unwrap() - 60;
        let anchor_hash = keccak256(b"anchor");
        let domain = Domain::derive(name, anchor_hash);
        let anchor = to_opaque(ADAPTER, &State::anchor(0, anchor_hash, start, set.clone(), Vec::new()));
        let lanes: Vec<_> = (0..LANES).map(|number| lane(domain, number)).collect();

        let mut hashes = Hashes::default();
        let mut tips: Vec<_> = lanes.iter().map(|lane| ChainPoint::start(outbox(lane))).collect();
        let mut drafts = Vec::with_capacity(count);
        let mut parent = anchor_hash;
        let accounts = other_accounts();
        for number in 1..=u64::try_from(count).unwrap() {
            let at = usize::try_from(number - 1).unwrap() % LANES;
            let flow = outbox(&lanes[at]);
            let base = tips[at];
            let entries: Vec<_> = (0..messages).map(|more| message(base.index.plus(more + 1))).collect();
            let tip = entries.iter().fold(base, |tip, entry| tip.extended(flow.direction, entry.link(flow)));
            tips[at] = tip;
            let (state_root, proof) = prove(&accounts, &lanes, &tips, at);
            let mut header = header(number, start + number, parent, state_root);
            let extra = extra(&set);
            header.beneficiary = account(&validators[0]).0.to_vec();
            parent = header.hash_with_extra(&extra.encode_for_block_hash(BftLayout::Qbft));
            hashes.add_head(&proof, messages);
            let claim = Claim {
                flow,
                first: base.index.next(),
                entries,
                tail: Vec::new(),
                height: Height(number),
                proof: to_opaque(ADAPTER, &proof),
            };
            drafts.push((header, extra, parent, tip, claim));
        }
        let sealed_bytes = drafts.first().map_or(0, |(header, extra, ..)| {
            let plain = Header { extra_data: extra.encode_for_block_hash(BftLayout::Qbft), ..header.clone() };
            plain.encode().len()
        });
        hashes.add(sealed_bytes, count);

        let target = lanes[0].target(Direction::Outbox);
        let sign_one = |(mut header, mut extra, hash, tip, claim): (Header, BftExtra, Hash32, ChainPoint, Claim)| {
            let digest = header.hash_with_extra(&extra.encode_for_commit(BftLayout::Qbft));
            extra.seals = validators.iter().take(QUORUM).map(|key| seal(key, digest)).collect();
            header.extra_data = extra.encode(BftLayout::Qbft);
            let flow = claim.flow;
            let digest = Statement { flow, point: tip, epoch: Epoch(1), verifying: target }.digest();
            let signatures =
                attesters.iter().take(QUORUM).map(|key| (attester_id(key.verifying_key()), sign(key, digest)));
            let evidence = vec![Evidence { point: tip, epoch: Epoch(1), signatures: signatures.collect() }];
            let item = UpdateItem { header: header.encode(), hash, set_proof: None };
            (item, Head { flow, tip, frame: Frame::Extension { claim, evidence } })
        };
        let later = drafts.split_off(drafts.len() / 2);
        let (mut signed, rest) = thread::scope(|scope| {
            let rest = scope.spawn(|| later.into_iter().map(sign_one).collect::<Vec<_>>());
            (drafts.into_iter().map(sign_one).collect::<Vec<_>>(), rest.join().unwrap())
        });
        signed.extend(rest);
        let (headers, heads) = signed.into_iter().unzip();
        Self { rules: rules(), domain, anchor, anchor_hash, lanes, committee, headers, heads, hashes, sealed_bytes }
    }
}

/// The direction of every head here.
pub fn outbox(lane: &LaneIdentity) -> Flow {
    Flow { lane: lane.id(), direction: Direction::Outbox }
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

fn lane(source_domain: Domain, number: usize) -> LaneIdentity {
    let destination_domain = Domain::derive("destination", keccak256(b"another anchor"));
    LaneIdentity {
        source_domain,
        destination_domain,
        source_gateway: GATEWAY.to_address(),
        destination_gateway: Address::from_20([0xbb; 20]),
        source_verifier: Address::from_20([0xcc; 20]),
        destination_verifier: Address::from_20([0xdd; 20]),
        channel: format!("channel-{number}"),
        salt: keccak256(b"salt"),
    }
}

fn message(index: Index) -> Entry {
    let mut payload = vec![0x5a; PAYLOAD_BYTES];
    payload[..8].copy_from_slice(&index.0.to_be_bytes());
    Entry::Message(Message {
        index,
        sender: Address::from_20([0x11; 20]),
        receiver: Address::from_20([0x22; 20]),
        deadline: UnixMillis(4_000_000_000_000),
        gas_limit: 200_000,
        payload: Payload::Bytes(payload),
    })
}

fn header(number: u64, timestamp: u64, parent_hash: Hash32, state_root: Hash32) -> Header {
    Header {
        parent_hash,
        ommers_hash: keccak256(&[0xc0]),
        beneficiary: Vec::new(),
        state_root,
        transactions_root: keccak256(b"transactions"),
        receipts_root: keccak256(b"receipts"),
        logs_bloom: [0; 256],
        difficulty: 1,
        number,
        gas_limit: 30_000_000,
        gas_used: 15_000_000,
        timestamp,
        extra_data: Vec::new(),
        // The last 32 letters of the name that EIP-650 gives.
        mix_hash: Hash32(*b"ctical byzantine fault tolerance"),
        nonce: [0; 8],
        fork: ForkItems::default(),
    }
}

fn extra(set: &ValidatorSet) -> BftExtra {
    let validators = set.members().iter().map(|member| member.account).collect();
    BftExtra { vanity: [0; 32], validators, vote: None, round: 0, seals: Vec::new() }
}

fn keys(first: u8) -> Vec<SigningKey> {
    let mut keys: Vec<_> = (first..first + MEMBERS).map(|n| SigningKey::from_slice(&[n; 32]).unwrap()).collect();
    // Headers list validators in ascending order.
    keys.sort_unstable_by_key(account);
    keys
}

fn account(key: &SigningKey) -> Account {
    Account::of_key(key.verifying_key())
}

fn sign(key: &SigningKey, digest: Hash32) -> SignatureBytes {
    let (signature, recovery) = key.sign_prehash_recoverable(digest.as_bytes()).unwrap();
    SignatureBytes::from_parts(&signature, recovery)
}

fn seal(key: &SigningKey, digest: Hash32) -> [u8; 65] {
    let mut seal = sign(key, digest).0;
    // Seals say 0 or 1 where attestations say 27 or 28.
    seal[64] -= 27;
    seal
}

/// The other accounts by their hashed address, as they stand in the state trie.
fn other_accounts() -> BTreeMap<Hash32, Vec<u8>> {
    let plain = |number: u64| state_account(number, EMPTY_ROOT, keccak256(&[]));
    (0..OTHER_ACCOUNTS).map(|number| (keccak256(&number.to_be_bytes()), plain(number))).collect()
}

/// An account as a state trie keeps it: RLP of nonce, balance, storage root and code hash.
fn state_account(number: u64, storage_root: Hash32, code_hash: Hash32) -> Vec<u8> {
    list_item(&[
        uint_item(number),
        uint_item(number),
        bytes_item(storage_root.as_bytes()),
        bytes_item(code_hash.as_bytes()),
    ])
}

/// The state root with these heads in the gateway's slots, and the proof of the head at `at`.
fn prove(
    accounts: &BTreeMap<Hash32, Vec<u8>>,
    lanes: &[LaneIdentity],
    tips: &[ChainPoint],
    at: usize,
) -> (Hash32, HeadProof) {
    let mut slots: BTreeMap<Hash32, Vec<u8>> = BTreeMap::new();
    let mut paths = Vec::new();
    let mut put = |slot: Hash32, value: Hash32| {
        let key = keccak256(slot.as_bytes());
        let zeros = value.0.iter().take_while(|byte| **byte == 0).count();
        slots.insert(key, bytes_item(&value.0[zeros..]));
        key
    };
    for (number, (lane, tip)) in lanes.iter().zip(tips).enumerate().filter(|(_, (_, tip))| tip.index > Index(0)) {
        let id = lane.id().0;
        let head = put(mapping_slot(id, HEADS_SLOT), tip.head);
        let index = put(mapping_slot(id, INDEXES_SLOT), Hash32::from_u64(tip.index.0));
        if number == at {
            paths = vec![head, index];
        }
    }
    for number in 0..OTHER_SLOTS {
        put(mapping_slot(Hash32::from_u64(number), 9), Hash32::from_u64(number + 1));
    }
    let (storage_root, nodes) = trie(slots.iter().map(|(key, value)| (*key, value.as_slice())), &paths);
    let [head, index] = nodes.try_into().unwrap();
    let gateway = state_account(1, storage_root, keccak256(b"the gateway's code"));
    let key = keccak256(&GATEWAY.0);
    let mut leaves: Vec<_> = accounts.iter().map(|(key, account)| (*key, account.as_slice())).collect();
    leaves.insert(leaves.partition_point(|(other, _)| *other < key), (key, gateway.as_slice()));
    let (state_root, nodes) = trie(leaves.into_iter(), &[key]);
    let [account] = nodes.try_into().unwrap();
    (state_root, HeadProof::Storage { account, head, index })
}

/// The root over ascending leaves, and the nodes on the path to each of `keys`, from the root down.
fn trie<'a>(leaves: impl Iterator<Item = (Hash32, &'a [u8])>, keys: &[Hash32]) -> (Hash32, Vec<Vec<Vec<u8>>>) {
    let paths: Vec<_> = keys.iter().map(|key| Nibbles::unpack(key.as_bytes())).collect();
    let mut builder = HashBuilder::default().with_proof_retainer(ProofRetainer::new(paths.clone()));
    for (key, value) in leaves {
        builder.add_leaf(Nibbles::unpack(key.as_bytes()), value);
    }
    let root = Hash32(builder.root().0);
    let nodes = builder.take_proof_nodes();
    let path = |path: &Nibbles| nodes.matching_nodes_sorted(path).into_iter().map(|(_, node)| node.to_vec()).collect();
    (root, paths.iter().map(path).collect())
}
