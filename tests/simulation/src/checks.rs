//! What must hold at every step, and what must hold once everything is at rest.

use std::collections::BTreeMap;

use cityrelay_core::attestation::{AttestationError, SignatureBytes, Statement};
use cityrelay_core::chain::ChainPoint;
use cityrelay_core::frame::{Frame, Role};
use cityrelay_core::gateway_call::Evidence;
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{AttesterId, Height, Index};
use cityrelay_core::lane::{Direction, Flow};
use cityrelay_core::machine::config::PeerId;
use cityrelay_core::machine::effect::{Effect, Report};
use cityrelay_core::machine::input::ClaimRefusal;
use cityrelay_core::message::Message;
use cityrelay_core::order::OrderRefusal;
use cityrelay_core::record::Record;
use cityrelay_core::set_attestation::{Attestable, SetFact, SetRefusal};

use crate::effects::false_head;
use crate::model_chain::ChainKind;
use crate::model_gateway::signer;
use crate::process::Behaviour;
use crate::weather::{Fault, MINED_TWICE, RETURNED, SETS_ATTESTED, SETS_FOLLOWED};
use crate::world::{RELAYS, THRESHOLD, World};

impl World {
    /// Whatever leaves a process must be durable there first: I3, I4, and house rule "journal before it speaks".
    pub fn verify_effect(&mut self, id: PeerId, effect: &Effect) {
        match effect {
            Effect::Send { peer, frame } => self.verify_frame(id, *peer, frame),
            Effect::Sign { what: Attestable::Head(statement), .. } => {
                let point = statement.point;
                if !self.process(id).disk.may_sign(statement.flow, point, statement.epoch) {
                    self.violated(format!("I4: {id:?} signs {point:?} before its sign-once record is durable"));
                }
                let before = *self.signed.entry((id, statement.flow, point.index)).or_insert(point.head);
                if before != point.head {
                    self.violated(format!("I4: {id:?} signs two heads for {:?} {}", statement.flow, point.index));
                }
                self.verify_on_chain("I1: signed", statement.flow, point);
                let origin = self.chain_of(statement.flow, true);
                let confirmed = self.process(id).confirmed.get(&statement.flow).copied().unwrap_or_default();
                if self.chains[origin].kind == ChainKind::Checkpoint && confirmed < point.index {
                    self.violated(format!(
                        "I1: {id:?} signs {point:?}, and its own node has confirmed {confirmed} only"
                    ));
                }
                self.count("signatures");
            }
            Effect::Sign { what: Attestable::Set(attestation), .. } => {
                if !self.process(id).disk.may_sign_set(attestation) {
                    self.violated(format!("I4: {id:?} signs a validator set before its record is durable"));
                }
                self.verify_set(attestation.fact);
                self.count("validator sets signed");
            }
            Effect::Append { records, .. } => {
                for record in records {
                    if let Record::Attested { flow, evidence, .. } = record {
                        self.verify_attested(id, *flow, evidence);
                    }
                }
            }
            Effect::Broadcast { intent, .. } => {
                if !self.process(id).disk.is_open_intent(intent.hash) {
                    self.violated(format!("{id:?} broadcasts {} before it is durable", intent.hash));
                }
                self.count("broadcasts");
            }
            _ => {}
        }
    }

    fn verify_frame(&mut self, id: PeerId, peer: PeerId, frame: &Frame) {
        match frame {
            Frame::Hello(hello) => {
                for (flow, point) in &hello.flows {
                    self.verify_held(id, "Hello", *flow, *point);
                }
                for at in &hello.clients {
                    self.verify_client(id, at.domain, at.height.0);
                }
            }
            Frame::ClientAt(at) => self.verify_client(id, at.domain, at.height.0),
            Frame::Accepted { flow, point } => self.verify_held(id, "Accepted", *flow, *point),
            Frame::Extension { claim, evidence } => {
                let Some(last) = claim.entries.last() else { return self.violated("an empty extension".to_owned()) };
                for evidence in evidence {
                    if !self.process(id).disk.holds_evidence(claim.flow, evidence) {
                        self.violated(format!("{id:?} sends attestations to {peer:?} that are not durable"));
                    }
                }
                // Ids and outcomes are kept for good, payloads are not: the links say that they are the same.
                let links: Vec<Hash32> = claim.entries.iter().map(|entry| entry.link(claim.flow)).collect();
                let disk = &self.process(id).disk;
                let is_known = disk.tip(claim.flow).index >= last.index();
                if !is_known || disk.links(claim.flow, claim.first, last.index()) != links {
                    self.violated(format!("{id:?} sends entries to {peer:?} that are not durable"));
                }
                self.count("extensions sent");
            }
            Frame::AttestRequest { claim, .. } => {
                let last = claim.entries.last().map_or(Index(0), cityrelay_core::chain::Entry::index);
                if self.process(id).disk.tip(claim.flow).index < last {
                    self.violated(format!("{id:?} asks for attestations of entries that are not durable"));
                }
            }
            Frame::Attestation { flow, point, epoch, .. } => {
                // What it made up while it lied may leave after it has stopped lying.
                let is_liar = self.plan.bad_attester == Some((id, Behaviour::Equivocating));
                let is_lie = is_liar && point.head == false_head();
                if !is_lie && !self.process(id).disk.may_sign(*flow, *point, *epoch) {
                    self.violated(format!("I4: {id:?} gives a signature whose record is not durable"));
                }
            }
            Frame::SetAttested(evidence) => {
                let is_liar = self.plan.bad_attester == Some((id, Behaviour::Equivocating));
                let is_lie = is_liar && evidence.attestation.fact.statement.digest == false_head();
                let is_attester = self.process(id).role == Role::Attester;
                if is_attester && !is_lie && !self.process(id).disk.may_sign_set(&evidence.attestation) {
                    self.violated(format!("I4: {id:?} vouches for a validator set whose record is not durable"));
                }
            }
            Frame::Update { .. } | Frame::Declined(_) | Frame::Committee(_) | Frame::SetRequest(_) => {}
        }
    }

    fn verify_held(&mut self, id: PeerId, what: &str, flow: Flow, point: ChainPoint) {
        if self.process(id).disk.point(flow, point.index) != Some(point) {
            self.violated(format!("{id:?} says in {what} that it holds {point:?} of {flow:?}, which is not durable"));
        }
    }

    fn verify_client(&mut self, id: PeerId, domain: cityrelay_core::ids::Domain, height: u64) {
        if self.process(id).disk.client_height(domain).unwrap_or(0) < height {
            self.violated(format!("{id:?} says that its client of {domain} is at {height}, which is not durable"));
        }
    }

    /// The point lies on the chain that its origin finalised.
    fn verify_on_chain(&mut self, what: &str, flow: Flow, point: ChainPoint) {
        let origin = self.chain_of(flow, true);
        let points = self.chains[origin].gateway.own_points(flow).unwrap_or_default();
        let real = points.get(usize::try_from(point.index.0).unwrap()).copied();
        if real != Some(point) {
            self.violated(format!("{what}: {flow:?} {point:?}, but the chain says {real:?}"));
        }
    }

    /// I6: what is kept as enough signatures is as many as the threshold, each of the member that it is filed under.
    fn verify_attested(&mut self, id: PeerId, flow: Flow, evidence: &Evidence) {
        let Evidence { point, epoch, signatures } = evidence;
        let verifying = self.chains[self.chain_of(flow, false)].gateway.at;
        let digest = Statement { flow, point: *point, epoch: *epoch, verifying }.digest();
        let is_good = |(member, signature): (&AttesterId, &SignatureBytes)| signer(digest, signature) == Some(*member);
        if signatures.len() < usize::try_from(THRESHOLD).unwrap() || !signatures.iter().all(is_good) {
            self.violated(format!("I6: {id:?} takes these for enough signatures of {point:?}: {signatures:?}"));
        }
    }

    /// The chain has that set from that height on, in that history.
    fn verify_set(&mut self, fact: SetFact) {
        let SetFact { domain, parent, statement } = fact;
        let chain = self.chains.iter().find(|chain| chain.domain == domain).unwrap();
        let has_parent = chain.header_hash(Height(statement.height.0 - 1)) == Some(parent);
        if !has_parent || chain.has_set(statement.height, statement.digest, chain.tip()) != Some(true) {
            self.violated(format!("I1: {fact:?} is believed, but the chain has another set"));
        }
    }

    /// I1 and I2 after each block: what a gateway took in is what the other chain finalised, in its order.
    pub fn verify_taken(&mut self, chain: usize) {
        for (flow, point) in std::mem::take(&mut self.chains[chain].gateway.taken) {
            self.count("batches taken in");
            self.verify_on_chain("I1: taken in", flow, point);
        }
        let mut differences = Vec::new();
        for (lane, end) in &self.chains[chain].gateway.destinations {
            let flow = Flow { lane: *lane, direction: Direction::Outbox };
            let origin = &self.chains[self.chain_of(flow, true)].gateway;
            let sent = origin.own_points(flow).unwrap_or_default();
            if !sent.starts_with(&end.accepted_points) {
                differences.push(format!("I2: messages accepted on {flow:?} are not those that were sent"));
            }
        }
        for (lane, begin) in &self.chains[chain].gateway.sources {
            let flow = Flow { lane: *lane, direction: Direction::Inbox };
            let origin = &self.chains[self.chain_of(flow, true)].gateway;
            let outcomes = &origin.destinations[lane].outcomes;
            if !outcomes.starts_with(&begin.settled) {
                differences.push(format!("I2: outcomes settled on {flow:?} are not those that came about"));
            }
        }
        differences.into_iter().for_each(|difference| self.violated(difference));
        for _ in 0..std::mem::take(&mut self.chains[chain].copies) {
            self.count(MINED_TWICE);
        }
        for _ in 0..std::mem::take(&mut self.chains[chain].returned) {
            self.count(RETURNED);
        }
        let reverts = std::mem::take(&mut self.chains[chain].reverts);
        for (height, revert) in reverts {
            self.trace(|| format!("chain {chain} block {height}: reverted: {revert}"));
            self.count("reverted by the gateway");
        }
    }

    /// Listens to what a machine tells people; some things may only be told when there is a reason for it.
    pub fn hear(&mut self, id: PeerId, report: Report) {
        self.trace(|| format!("{id:?}: {report:?}"));
        let has_bad_attester =
            self.plan.bad_attester.is_some_and(|(_, behaviour)| behaviour == Behaviour::Equivocating);
        let is_apart = self.plan.has(Fault::NodeApart);
        let has_fork = self.plan.has(Fault::Fork);
        let lies = self.plan.has(Fault::NodeLies) || self.plan.has(Fault::FalseFrames);
        let complaint = match report {
            Report::AuditDifference { flow, ours, theirs } => {
                Some(format!("{id:?} sees a difference on {flow:?}: {ours:?} against {theirs:?}"))
            }
            Report::Anchored { domain, left, at } => {
                Some(format!("{id:?} steps from block {left} of {domain} to {at}: nobody anchored it anew"))
            }
            Report::Frozen { domain } => {
                self.count("clients frozen");
                (!has_fork && !is_apart).then(|| format!("{id:?} freezes its client of {domain}"))
            }
            Report::ConflictingHead { flow, attester, .. } => {
                self.count("conflicting heads seen");
                (!has_bad_attester).then(|| format!("{id:?} accuses {attester} on {flow:?} without reason"))
            }
            Report::Lie { refusal, .. } => {
                self.count("lies seen");
                (!lies && !has_fork).then(|| format!("{id:?} refuses headers without reason: {refusal}"))
            }
            Report::ClaimRefused { flow, peer, refusal: ClaimRefusal::Claim(refusal) } => {
                self.count("claims refused");
                let has_reason = peer.is_some() && self.plan.has(Fault::FalseFrames);
                (!has_reason).then(|| format!("{id:?} refuses a claim of {peer:?} about {flow:?}: {refusal}"))
            }
            Report::ClaimRefused { refusal: ClaimRefusal::Evidence(refusal), .. } => {
                self.count("evidence refused");
                let has_reason = !self.plan.rotations.is_empty() || self.plan.has(Fault::FalseFrames);
                (!has_reason).then(|| format!("{id:?} refuses attestations without reason: {refusal}"))
            }
            Report::JournalTrouble { is_retryable } => {
                self.count(if is_retryable { "appends failed" } else { "appends refused" });
                let has_reason = self.plan.has(Fault::BadDisk);
                (!has_reason).then(|| format!("{id:?}: the journal fails without reason"))
            }
            Report::HeadersHeldBack { .. } => {
                self.count("headers held back");
                None
            }
            Report::Declined { declined, .. } => {
                self.count(declined.reason.as_str());
                None
            }
            Report::TransactionEnded { end, .. } => {
                self.count(match end {
                    cityrelay_core::record::IntentEnd::Succeeded { .. } => "transactions succeeded",
                    cityrelay_core::record::IntentEnd::Reverted { .. } => "transactions reverted",
                    cityrelay_core::record::IntentEnd::Dead => "transactions dead",
                });
                None
            }
            Report::Contradicted { domain, height, .. } => {
                self.count("headers contradicted");
                (!is_apart)
                    .then(|| format!("{id:?}: an own node contradicts block {height} of {domain} without reason"))
            }
            Report::OrderEnded { id: order, end } => {
                self.process(id).orders.remove(&order);
                end.err()
                    .filter(|refusal| !self.may_refuse(refusal))
                    .map(|refusal| format!("{id:?} refuses an order: {refusal}"))
            }
            Report::HeadersVerified { set_changes, .. } => {
                for _ in 0..set_changes {
                    self.count(SETS_FOLLOWED);
                }
                None
            }
            Report::SetAttested { fact, .. } => {
                self.count(SETS_ATTESTED);
                self.verify_set(fact);
                None
            }
            Report::SetRefused { refusal, .. } => {
                self.count("validator sets refused");
                // One whose address is not known is asked as well, and need not be a member.
                let is_stranger = matches!(refusal, SetRefusal::Attestation(AttestationError::Stranger { .. }));
                let has_reason = is_stranger || has_bad_attester || lies || !self.plan.rotations.is_empty();
                (!has_reason).then(|| format!("{id:?} refuses a validator set without reason: {refusal}"))
            }
            Report::PeerFellBack { .. } => {
                self.count("peers that fell back");
                // A greeting that crosses an acknowledgement on another stream looks like an older journal; what is sent
                // again then is held already, and costs that peer nothing.
                None
            }
            Report::HeaderConfirmed { .. }
            | Report::Journalled { .. }
            | Report::Attested { .. }
            | Report::Vote { .. }
            | Report::JobEnded { .. }
            | Report::Done { .. } => None,
        };
        if let Some(complaint) = complaint {
            self.violated(complaint);
        }
    }

    /// Orders that are given again and again, or that a failing disk does not keep.
    fn may_refuse(&self, refusal: &OrderRefusal) -> bool {
        match refusal {
            OrderRefusal::AlreadyPaused(_) | OrderRefusal::NotPaused(_) => self.plan.has(Fault::LanePaused),
            OrderRefusal::NotDurable { .. } => self.plan.has(Fault::BadDisk),
            _ => false,
        }
    }

    /// Everything sent has one outcome, is settled, and both relays know it.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let last = self.plan.rotations.len() as u64 + 1;
        let is_rotated = self.chains.iter().all(|chain| chain.gateway.committee.epoch().0 == last);
        is_rotated
            && self.flows().into_iter().all(|flow| {
                let sent = self.sent(flow).len() as u64;
                let (origin, target) = (self.chain_of(flow, true), self.chain_of(flow, false));
                let taken = self.chains[target].gateway.taken_points(flow).unwrap_or_default().len() as u64 - 1;
                taken == sent
                    && self.processes[target].disk.done(flow).0 == sent
                    && self.processes[origin].disk.tip(flow).index.0 == sent
            })
            && self.processes.iter().take(RELAYS).all(|relay| relay.disk.open_intents() == 0)
    }

    /// The messages of a flow's lane, as its source gateway recorded them.
    fn sent(&self, flow: Flow) -> &[Message] {
        let outbox = Flow { lane: flow.lane, direction: Direction::Outbox };
        &self.chains[self.chain_of(outbox, true)].gateway.sources[&flow.lane].messages
    }

    /// What must hold at rest: I2 on both chains, and journals and chains say the same.
    pub fn verify_rest(&mut self) {
        for flow in self.flows() {
            let (origin, target) = (self.chain_of(flow, true), self.chain_of(flow, false));
            let points = self.chains[origin].gateway.own_points(flow).unwrap_or_default().to_vec();
            let taken = self.chains[target].gateway.taken_points(flow).unwrap_or_default().to_vec();
            if points != taken {
                self.violated(format!("I3: the chains differ about {flow:?}"));
            }
            for relay in [origin, target] {
                for point in &points {
                    if self.processes[relay].disk.point(flow, point.index) != Some(*point) {
                        self.violated(format!("I3: relay {relay} does not hold {point:?} of {flow:?}"));
                    }
                }
            }
        }
        for (lane, what) in self.outcomes() {
            if let Some(what) = what {
                self.violated(format!("I2: lane {lane}: {what}"));
            }
        }
        for number in 0..self.processes.len() {
            let process = &self.processes[number];
            if let Err(damage) = process.disk.verify() {
                let what = format!("I3: the journal of process {number}: {damage}");
                return self.violated(what);
            }
            if !process.receipts.is_empty() {
                let (count, id) = (process.receipts.len(), number);
                self.violated(format!("process {id} keeps the room of {count} frames for ever"));
            }
        }
    }

    /// Per lane, what is wrong with its outcomes.
    fn outcomes(&self) -> BTreeMap<cityrelay_core::ids::LaneId, Option<String>> {
        let check = |lane: cityrelay_core::ids::LaneId| {
            let flow = Flow { lane, direction: Direction::Outbox };
            let messages = self.sent(flow);
            let settled = &self.chains[self.chain_of(flow, true)].gateway.sources[&lane].settled;
            let outcomes = &self.chains[self.chain_of(flow, false)].gateway.destinations[&lane].outcomes;
            if messages.len() != outcomes.len() || outcomes != settled {
                return Some(format!(
                    "{} sent, {} outcomes, {} settled",
                    messages.len(),
                    outcomes.len(),
                    settled.len()
                ));
            }
            let wrong = messages
                .iter()
                .zip(outcomes)
                .find(|(message, outcome)| message.index != outcome.index || message.id(lane) != outcome.message);
            wrong.map(|(message, _)| format!("message {} has another's outcome", message.index))
        };
        self.lanes.iter().map(|lane| (lane.id(), check(lane.id()))).collect()
    }

    /// Where everything stands, for a failure's report.
    #[must_use]
    pub fn standing(&self) -> String {
        let mut lines = Vec::new();
        for flow in self.flows() {
            let (origin, target) = (self.chain_of(flow, true), self.chain_of(flow, false));
            let own = self.chains[origin].gateway.own_points(flow).unwrap_or_default().len() - 1;
            let taken = self.chains[target].gateway.taken_points(flow).unwrap_or_default().len() - 1;
            let (there, here) = (&self.processes[origin].disk, &self.processes[target].disk);
            lines.push(format!(
                "  {} {} on the chain {own}, journalled there {} and here {}, done {}, taken in {taken}",
                &flow.lane.to_string()[..10],
                flow.direction.as_str(),
                there.tip(flow).index,
                here.tip(flow).index,
                here.done(flow),
            ));
        }
        for (number, process) in self.processes.iter().enumerate() {
            let Some(machine) = &process.machine else {
                lines.push(format!("  process {number} is dead"));
                continue;
            };
            let status = machine.status();
            let clients: Vec<u64> = status.clients.iter().map(|client| client.height.0).collect();
            let peers: Vec<u32> =
                status.peers.iter().filter(|(_, _, is_ready)| *is_ready).map(|(peer, ..)| peer.0).collect();
            lines.push(format!(
                "  process {number}: clients {clients:?} ready peers {peers:?} open intents {} (durable {})",
                status.open_intents,
                process.disk.open_intents()
            ));
            for flow in status.flows.iter().filter(|flow| flow.waits_for.as_str() != "idle") {
                lines.push(format!(
                    "    {:?} {} {} durable {} finished {} hint {} votes {} waits for {}",
                    flow.side,
                    &flow.flow.lane.to_string()[..10],
                    flow.flow.direction.as_str(),
                    flow.durable,
                    flow.finished,
                    flow.hint,
                    flow.voters.len(),
                    flow.waits_for.as_str()
                ));
            }
        }
        lines.join("\n")
    }
}
