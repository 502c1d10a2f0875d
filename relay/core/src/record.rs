//! What the machine asks to be made durable, and what it gets back after a restart. `relay/wire` writes it as bytes,
//! `relay/journal` keeps it.

use crate::chain::{ChainPoint, Entry};
use crate::claim::Claim;
use crate::gateway_call::Evidence;
use crate::hash::Hash32;
use crate::ids::{Address, Domain, Epoch, Height, Index, UnixMillis};
use crate::lane::Flow;
use crate::light_client::Header;
use crate::opaque::Opaque;
use crate::order::AuditRecord;
use crate::set_attestation::{SetAttestation, SetEvidence, SetFact};

/// One durable fact. A batch of records is durable as a whole or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A light client moved: its state, and the final headers that head proofs may still refer to.
    Client {
        /// The chain.
        domain: Domain,
        /// The client's state.
        state: Opaque,
        /// Height of the last final header in it.
        height: Height,
        /// Hash of that header.
        hash: Hash32,
        /// Headers that became final with it, ascending.
        headers: Vec<Header>,
    },
    /// A verified extension of a flow. It must follow the flow's durable tip exactly.
    Extension(ExtensionRecord),
    /// Enough signatures for a head of a flow.
    Attested {
        /// The flow.
        flow: Flow,
        /// The head and its signatures.
        evidence: Evidence,
        /// When the signatures were enough.
        at: UnixMillis,
    },
    /// The peer holds the flow up to this point, durably.
    PeerAccepted {
        /// The flow.
        flow: Flow,
        /// The point.
        point: ChainPoint,
        /// When it said so.
        at: UnixMillis,
    },
    /// The target chain has taken the flow in up to this point, finally.
    Done {
        /// The flow.
        flow: Flow,
        /// The point.
        point: ChainPoint,
        /// When we saw it.
        at: UnixMillis,
    },
    /// A transaction that is about to be broadcast.
    Intent(IntentRecord),
    /// A transaction whose fate is known.
    IntentClosed {
        /// The chain.
        domain: Domain,
        /// Hash of the transaction.
        hash: Hash32,
        /// What became of it.
        end: IntentEnd,
    },
    /// The sign-once record: this head may now be signed, and no other for this index.
    Signed {
        /// The flow.
        flow: Flow,
        /// The head.
        point: ChainPoint,
        /// Generation of the set for which it is signed.
        epoch: Epoch,
    },
    /// A chain's validator set that is believed, and why.
    SetStated {
        /// The set.
        fact: SetFact,
        /// The signatures that vouch for it, one set of them for each verifier asked; none when our own nodes did.
        evidence: Vec<SetEvidence>,
    },
    /// The sign-once record of a validator set: it may now be signed, and no other for this chain and height.
    SetSigned(SetAttestation),
    /// Something that must never be forgotten: who contradicted whom.
    Misbehaviour(Misbehaviour),
    /// What an operator ordered, before it takes effect.
    Audit(AuditRecord),
}

/// A verified extension as it is kept. Index, link, head and outcome are kept for good; payloads may be pruned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtensionRecord {
    /// The flow.
    pub flow: Flow,
    /// The point before the first entry.
    pub base: ChainPoint,
    /// The entries, ascending.
    pub entries: Vec<Entry>,
    /// The header at which the head was proved.
    pub proved_at: Height,
    /// Hash of that header.
    pub block_hash: Hash32,
    /// Time of that header, on its chain's clock.
    pub block_time: UnixMillis,
    /// Links after the last entry up to the proved head.
    pub tail: Vec<Hash32>,
    /// The adapter's proof, to be shown to peers.
    pub proof: Opaque,
    /// When we verified it.
    pub at: UnixMillis,
}

impl ExtensionRecord {
    /// The point after the last entry.
    #[must_use]
    pub fn tip(&self) -> ChainPoint {
        self.points().last().unwrap_or(self.base)
    }

    /// The point at `index`, when it is the base or within the entries.
    #[must_use]
    pub fn point_at(&self, index: Index) -> Option<ChainPoint> {
        if index == self.base.index {
            return Some(self.base);
        }
        self.points().find(|point| point.index == index)
    }

    /// The point after each entry, ascending.
    fn points(&self) -> impl Iterator<Item = ChainPoint> + '_ {
        self.entries.iter().scan(self.base, |point, entry| {
            *point = point.extended(self.flow.direction, entry.link(self.flow));
            Some(*point)
        })
    }

    /// Bytes that it takes in memory, roughly.
    #[must_use]
    pub fn weight(&self) -> usize {
        crate::claim::weight(&self.entries, &self.tail, &self.proof)
    }

    /// The claim that shows this extension to somebody else.
    #[must_use]
    pub fn claim(&self) -> Claim {
        self.claim_of(self.entries.clone())
    }

    /// The same claim for somebody who needs no payloads: every link stays the same.
    #[must_use]
    pub fn claim_without_payloads(&self) -> Claim {
        self.claim_of(self.entries.iter().map(Entry::without_payload).collect())
    }

    fn claim_of(&self, entries: Vec<Entry>) -> Claim {
        Claim {
            flow: self.flow,
            first: self.base.index.next(),
            entries,
            tail: self.tail.clone(),
            height: self.proved_at,
            proof: self.proof.clone(),
        }
    }
}

/// A transaction that is durable before it is broadcast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntentRecord {
    /// The chain.
    pub domain: Domain,
    /// Hash of the transaction.
    pub hash: Hash32,
    /// The adapter's bytes.
    pub bytes: Opaque,
    /// What it is for.
    pub purpose: Purpose,
    /// Hash of the dropped transaction whose place it takes.
    pub replaces: Option<Hash32>,
    /// When it was made.
    pub at: UnixMillis,
}

/// What a transaction is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Delivers or settles a flow up to this index.
    Carry {
        /// The flow.
        flow: Flow,
        /// Index of the last entry in it.
        last: Index,
    },
    /// Makes the head of a flow provable.
    Checkpoint {
        /// The flow.
        flow: Flow,
    },
    /// An operator's or application's call.
    Operator,
}

/// What became of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntentEnd {
    /// Executed in a final block, and it did its work.
    Succeeded {
        /// The block.
        height: Height,
        /// Gas used.
        gas_used: u64,
    },
    /// Executed in a final block, and it reverted.
    Reverted {
        /// The block.
        height: Height,
        /// Gas used.
        gas_used: u64,
    },
    /// It can never be executed any more.
    Dead,
}

/// The longest name of a witness that is kept, in bytes.
pub const MAX_WITNESS_BYTES: usize = 256;

/// A configured name as evidence keeps it: cut to [`MAX_WITNESS_BYTES`].
#[must_use]
pub fn witness(name: &str) -> String {
    name.get(..name.floor_char_boundary(MAX_WITNESS_BYTES)).unwrap_or_default().to_owned()
}

/// Two statements about one height of a chain, over which its client is frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("block {height}: {ours} here, {theirs} there")]
pub struct Frozen {
    /// The height.
    pub height: Height,
    /// Hash of the header that was held.
    pub ours: Hash32,
    /// The other hash.
    pub theirs: Hash32,
}

/// What an operator decided about two statements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decided {
    /// The height.
    pub height: Height,
    /// Hash of the header that counts.
    pub chosen: Hash32,
    /// Hash of the one that does not.
    pub rejected: Hash32,
}

/// Evidence against somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Misbehaviour {
    /// Two final headers at one height: the client of that chain is frozen.
    Equivocation {
        /// The chain.
        domain: Domain,
        /// The header held first.
        ours: Header,
        /// The update that shows another one.
        theirs: Opaque,
        /// Hash of that one.
        theirs_hash: Hash32,
        /// The node or peer that served it, by its configured name; see [`witness`].
        served_by: String,
        /// When it was seen.
        at: UnixMillis,
    },
    /// An own node says that its block is another one than a sealed header of the same height: the client of that chain
    /// is frozen.
    Contradiction {
        /// The chain.
        domain: Domain,
        /// The sealed header.
        ours: Header,
        /// Hash of the node's block.
        theirs: Hash32,
        /// The node, by its configured name; see [`witness`].
        node: String,
        /// When it said so.
        at: UnixMillis,
    },
    /// A head that contradicts the verified chain of a flow, with signatures where there are some.
    ConflictingHead {
        /// The flow.
        flow: Flow,
        /// The head that we hold.
        ours: ChainPoint,
        /// What was shown instead.
        theirs: Evidence,
        /// When it was seen.
        at: UnixMillis,
    },
    /// A gateway holds another head than the one that was carried: journal and chain differ.
    AuditDifference {
        /// The flow.
        flow: Flow,
        /// The gateway on the target chain.
        gateway: Address,
        /// The point that we hold at that index.
        ours: ChainPoint,
        /// The point that the gateway says.
        theirs: ChainPoint,
        /// When it was seen.
        at: UnixMillis,
    },
}

impl Misbehaviour {
    /// When it was seen.
    #[must_use]
    pub const fn at(&self) -> UnixMillis {
        match self {
            Self::Equivocation { at, .. }
            | Self::Contradiction { at, .. }
            | Self::ConflictingHead { at, .. }
            | Self::AuditDifference { at, .. } => *at,
        }
    }
}
