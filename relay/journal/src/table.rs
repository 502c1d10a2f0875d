//! The tables of a journal. Keys and rows are `cityrelay-wire`'s.

/// One table; its discriminant is its place in every list of tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Table {
    /// `counters` → numbers of the whole journal. One row.
    Counters,
    /// Flow → where it stands.
    Flows,
    /// Short name → flow.
    Ordinals,
    /// Flow, last index of an extension → what is kept of it for good.
    Spans,
    /// Flow, last index of an extension → what may be pruned of it.
    Bodies,
    /// Flow, block of indices, first bytes of a message id, place in the block → nothing.
    Ids,
    /// Flow, index, epoch → an attested head.
    Evidence,
    /// Flow, index → when the peer said that it holds it.
    Accepted,
    /// Flow, index → when it was seen taken in.
    Done,
    /// Flow, index → what was released for signing.
    Signed,
    /// Domain → light client.
    Clients,
    /// Domain, height → final header.
    Headers,
    /// Domain, hash → transaction whose fate is not known.
    Intents,
    /// Domain, hash → transaction whose fate is known.
    ClosedIntents,
    /// Flow, last index, hash → the chain of a transaction that carries a flow.
    Carries,
    /// Hash of the evidence → misbehaviour.
    Misbehaviour,
    /// Domain → that its client is frozen.
    Frozen,
    /// Number → an operator's order.
    Audit,
    /// Domain, height → which of two headers an operator chose.
    Decided,
    /// Lane → that an operator has paused it.
    Paused,
    /// Domain, first height → a validator set that is believed.
    Sets,
}

impl Table {
    /// Every table, in the order of the discriminants.
    pub(crate) const ALL: [Self; 21] = [
        Self::Counters,
        Self::Flows,
        Self::Ordinals,
        Self::Spans,
        Self::Bodies,
        Self::Ids,
        Self::Evidence,
        Self::Accepted,
        Self::Done,
        Self::Signed,
        Self::Clients,
        Self::Headers,
        Self::Intents,
        Self::ClosedIntents,
        Self::Carries,
        Self::Misbehaviour,
        Self::Frozen,
        Self::Audit,
        Self::Decided,
        Self::Paused,
        Self::Sets,
    ];

    /// The name on disk, also mixed into the checksum of each row.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Counters => "counters",
            Self::Flows => "flows",
            Self::Ordinals => "ordinals",
            Self::Spans => "spans",
            Self::Bodies => "bodies",
            Self::Ids => "ids",
            Self::Evidence => "evidence",
            Self::Accepted => "accepted",
            Self::Done => "done",
            Self::Signed => "signed",
            Self::Clients => "clients",
            Self::Headers => "headers",
            Self::Intents => "intents",
            Self::ClosedIntents => "closed-intents",
            Self::Carries => "carries",
            Self::Misbehaviour => "misbehaviour",
            Self::Frozen => "frozen",
            Self::Audit => "audit",
            Self::Decided => "decided",
            Self::Paused => "paused",
            Self::Sets => "sets",
        }
    }

    /// Place in [`Self::ALL`].
    pub(crate) const fn place(self) -> usize {
        self as usize
    }
}
