//! Peers: who is there, what they know, and the headers they are fed.

use std::collections::{BTreeMap, BTreeSet};

use crate::attestation::Committee;
use crate::chain::ChainPoint;
use crate::frame::{ClientAt, CommitteeNotice, Frame, Hello, PROTOCOL_VERSIONS, Role};
use crate::ids::{Domain, Height, Index, UnixMillis};
use crate::lane::{Direction, Flow};
use crate::machine::client::Client;
use crate::machine::config::{PeerId, PeerSetup};
use crate::machine::effect::{Effect, ReceiptId, UpdateOrigin};
use crate::machine::input::{Fetched, Recipient};
use crate::machine::io::Io;
use crate::machine::{CommitteeKey, Machine};
use crate::opaque::Opaque;

#[derive(Debug)]
pub(super) struct Peer {
    pub setup: PeerSetup,
    /// A session stands and its `Hello` has been read.
    pub is_ready: bool,
    /// Where its light clients stand.
    pub clients: BTreeMap<Domain, Height>,
    /// Where ours stood when our `Hello` was sent.
    told: BTreeMap<Domain, Height>,
    /// Flows on which it was told what it signed, up to which entry, and the moment to tell it the same again.
    pub reminded: BTreeMap<Flow, (Index, UnixMillis)>,
    /// Chains whose headers are on their way to it, with the moment to try again.
    feeding: BTreeMap<Domain, UnixMillis>,
    /// Chains whose nodes are being asked for headers for it: however often it says where it stands, one question at a time.
    fetching: BTreeSet<Domain>,
}

impl Peer {
    pub fn new(setup: PeerSetup) -> Self {
        Self {
            setup,
            is_ready: false,
            clients: BTreeMap::new(),
            told: BTreeMap::new(),
            reminded: BTreeMap::new(),
            feeding: BTreeMap::new(),
            fetching: BTreeSet::new(),
        }
    }

    /// Whether the peer's client of `domain` has reached `height`; sends it headers when it has not.
    pub fn reaches(&mut self, io: &mut Io, domain: Domain, height: Height) -> bool {
        let Some(at) = self.clients.get(&domain).copied() else { return false };
        if at >= height {
            return true;
        }
        if self.feeding.get(&domain).is_none_or(|again| *again <= io.now) && self.fetching.insert(domain) {
            self.feeding.insert(domain, io.after(io.limits.retry_min.saturating_mul(8)));
            io.push(Effect::FetchUpdate {
                domain,
                recipient: Recipient::Peer(self.setup.id),
                after: at,
                max_headers: io.limits.update_headers,
            });
        }
        false
    }

    /// From when on [`Peer::reaches`] has something to say or to send about `height`; `None` when only the peer or the
    /// chain's nodes can change that.
    pub fn feeding_due(&self, domain: Domain, height: Height) -> Option<UnixMillis> {
        let lacks = *self.clients.get(&domain)? < height;
        if lacks && self.fetching.contains(&domain) {
            return None;
        }
        let again = self.feeding.get(&domain).filter(|_| lacks);
        Some(again.copied().unwrap_or(UnixMillis(0)))
    }
}

impl Machine {
    pub(super) fn on_peer_up(&mut self, peer: PeerId) {
        let Some(known) = self.peers.get_mut(&peer) else { return };
        known.told = self.clients.iter().map(|(domain, client)| (*domain, client.height)).collect();
        let clients = self.clients.values().map(Client::at).collect();
        let inbound = self.inbound.values().filter(|flow| flow.peer == peer).map(|flow| (flow.flow, flow.durable));
        let desks = self.desks.values().map(|desk| (desk.flow, desk.durable));
        let hello = Hello {
            oldest_version: *PROTOCOL_VERSIONS.start(),
            newest_version: *PROTOCOL_VERSIONS.end(),
            role: self.role,
            clients,
            flows: inbound.chain(desks).collect(),
        };
        self.io.push(Effect::Send { peer, frame: Frame::Hello(hello) });
    }

    pub(super) fn on_peer_down(&mut self, peer: PeerId) {
        if let Some(known) = self.peers.get_mut(&peer) {
            *known = Peer::new(known.setup.clone());
        }
        for flow in self.outbound.values_mut() {
            flow.forget_session(peer);
        }
        for flow in self.inbound.values_mut() {
            flow.forget_session(&mut self.io, peer);
        }
        for desk in self.desks.values_mut() {
            desk.forget_session(peer);
        }
    }

    pub(super) fn on_frame(&mut self, peer: PeerId, frame: Frame, receipt: ReceiptId) {
        let Some(role) = self.peers.get(&peer).map(|known| known.setup.role) else {
            return self.io.push(Effect::Release(receipt));
        };
        // Every frame but an extension is dealt with at once; an extension keeps its room until it is durable.
        match (frame, role) {
            (Frame::Extension { claim, evidence }, Role::Relay) if self.role == Role::Attester => {
                self.on_own_signatures(peer, claim, evidence);
            }
            (Frame::Extension { claim, evidence }, Role::Relay) => {
                return self.on_extension(peer, receipt, claim, evidence);
            }
            (Frame::Hello(hello), _) => self.on_hello(peer, hello),
            (Frame::Update { domain, update }, Role::Relay) => self.on_peer_update(peer, domain, update),
            (Frame::ClientAt(at), _) => self.on_client_at(peer, at),
            (Frame::Accepted { flow, point }, Role::Relay) => self.on_peer_accepted(peer, flow, point),
            (Frame::Accepted { flow, point }, Role::Attester) => self.on_attester_at(peer, flow, point),
            (Frame::Declined(declined), _) => self.on_declined(peer, declined),
            (Frame::AttestRequest { claim, index, epoch }, Role::Relay) => {
                self.on_attest_request(peer, claim, index, epoch);
            }
            (Frame::Attestation { flow, point, epoch, signature }, Role::Attester) => {
                self.on_attestation(peer, flow, point, epoch, signature);
            }
            (Frame::Committee(notice), Role::Relay) => self.on_committee_notice(peer, notice),
            (Frame::SetRequest(attestation), Role::Relay) => self.on_set_request(peer, attestation),
            (Frame::SetAttested(evidence), _) => self.on_set_attested(peer, evidence),
            // A frame that does not go with the peer's role carries no information.
            _ => {}
        }
        self.io.push(Effect::Release(receipt));
    }

    fn on_hello(&mut self, peer: PeerId, hello: Hello) {
        let Some(known) = self.peers.get_mut(&peer) else { return };
        known.is_ready = true;
        known.clients = hello.clients.iter().map(|at| (at.domain, at.height)).collect();
        let is_relay = known.setup.role == Role::Relay;
        for (flow, point) in hello.flows {
            if is_relay {
                self.on_peer_stands_at(peer, flow, point);
            } else {
                self.on_attester_at(peer, flow, point);
            }
        }
        self.tell_moved_clients(peer);
        self.tell_committees(peer);
        self.ask_sets();
        self.ask_for_lost();
        self.advance_all_flows();
    }

    /// Tells a peer the attester sets of the verifiers on this side of its lanes.
    pub(super) fn tell_committees(&mut self, peer: PeerId) {
        for flow in self.inbound.values().filter(|flow| flow.peer == peer) {
            if let Some(committee) = self.committees.get(&flow.committee) {
                self.io.push(Effect::Send { peer, frame: Frame::Committee(notice(flow.committee, committee)) });
            }
        }
    }

    fn on_committee_notice(&mut self, peer: PeerId, notice: CommitteeNotice) {
        let key = self.committee_key((notice.domain, notice.verifier), peer);
        // A set on a chain that we read ourselves is never taken from a peer, nor one that vouches for others' lanes only.
        if key.teller.is_none() || !self.outbound.values().any(|out| out.committee == key) {
            return;
        }
        let is_new = self.committees.get(&key).is_none_or(|known| known.epoch() < notice.epoch);
        // Each new set costs a round of requests to the attesters. One that comes too early is said again with the first
        // refusal of what the set before has signed.
        if !is_new || self.next_notice.get(&key).is_some_and(|next| *next > self.io.now) {
            return;
        }
        if let Ok(committee) = Committee::new(notice.epoch, &notice.members, notice.threshold) {
            self.next_notice.insert(key, self.io.after(self.io.limits.retry_min));
            self.adopt_committee(key, committee);
        }
    }

    fn on_client_at(&mut self, peer: PeerId, at: ClientAt) {
        if let Some(known) = self.peers.get_mut(&peer) {
            known.clients.insert(at.domain, at.height);
            known.feeding.remove(&at.domain);
            self.advance_flows_from(at.domain);
        }
    }

    fn on_peer_update(&mut self, peer: PeerId, domain: Domain, update: Opaque) {
        let may_feed = self.feeds_us(peer, domain);
        if let (true, Some(client)) = (may_feed, self.clients.get_mut(&domain)) {
            client.offer(&mut self.io, peer, update);
        }
    }

    /// Headers for a peer's client came from our nodes.
    pub(super) fn feed_fetched(
        &mut self,
        peer: PeerId,
        domain: Domain,
        after: Height,
        answer: Fetched<(Opaque, UpdateOrigin)>,
    ) {
        let Some(known) = self.peers.get_mut(&peer) else { return };
        known.fetching.remove(&domain);
        match answer {
            Fetched::Some((update, _)) if known.is_ready && known.clients.get(&domain) == Some(&after) => {
                self.io.push(Effect::Send { peer, frame: Frame::Update { domain, update } });
            }
            _ => {
                let again = self.io.after(self.io.limits.retry_min);
                known.feeding.insert(domain, again);
            }
        }
    }

    /// Whether our client of `domain` lives on the headers that this peer sends.
    fn feeds_us(&self, peer: PeerId, domain: Domain) -> bool {
        self.inbound.values().any(|flow| flow.peer == peer && flow.lane.origin(flow.flow.direction).domain == domain)
    }

    /// Tells the peers that feed our client of `domain` where it stands.
    pub(super) fn tell_client(&mut self, domain: Domain) {
        let Some(at) = self.clients.get(&domain).map(Client::at) else { return };
        let ready = self.peers.values().filter(|peer| peer.is_ready).map(|peer| peer.setup.id);
        let feeding: Vec<PeerId> = ready.filter(|peer| self.feeds_us(*peer, domain)).collect();
        for peer in feeding {
            self.io.push(Effect::Send { peer, frame: Frame::ClientAt(at) });
        }
    }

    /// Tells a peer, now that its session stands, where our clients stand that have moved since our `Hello` was sent: from
    /// where they stood then it would send the same headers for ever.
    fn tell_moved_clients(&mut self, peer: PeerId) {
        let Some(known) = self.peers.get(&peer) else { return };
        let has_moved = |at: &ClientAt| known.told.get(&at.domain) != Some(&at.height);
        let moved = self.clients.values().map(Client::at).filter(has_moved);
        let moved: Vec<ClientAt> = moved.filter(|at| self.feeds_us(peer, at.domain)).collect();
        for at in moved {
            self.io.push(Effect::Send { peer, frame: Frame::ClientAt(at) });
        }
    }

    /// Says what we hold of a flow, so that the other side goes on from there.
    pub(super) fn tell_accepted(io: &mut Io, peer: PeerId, flow: Flow, point: ChainPoint) {
        io.push(Effect::Send { peer, frame: Frame::Accepted { flow, point } });
    }

    /// Goes on with every flow whose head lives on `domain`.
    pub(super) fn advance_flows_from(&mut self, domain: Domain) {
        let flows: Vec<Flow> = self
            .lanes
            .values()
            .flat_map(|lane| {
                [Direction::Outbox, Direction::Inbox]
                    .into_iter()
                    .filter(|direction| lane.identity.origin(*direction).domain == domain)
                    .map(|direction| Flow { lane: lane.id, direction })
            })
            .collect();
        for flow in flows {
            self.advance_flow(flow);
        }
    }
}

pub(super) fn notice(key: CommitteeKey, committee: &Committee) -> CommitteeNotice {
    CommitteeNotice {
        domain: key.domain,
        verifier: key.verifier,
        epoch: committee.epoch(),
        members: committee.members().iter().copied().collect(),
        threshold: committee.threshold(),
    }
}
