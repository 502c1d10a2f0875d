//! Two chains with a gateway and a committee each, and one lane from the first to the second.

use std::collections::BTreeMap;
use std::time::Duration;

use cityrelay_core::attestation::{Committee, SignatureBytes, Statement, attester_id};
use cityrelay_core::chain::ChainPoint;
use cityrelay_core::gateway_call::{Evidence, GatewayCall, LaneLimits};
use cityrelay_core::hash::{Hash32, keccak256};
use cityrelay_core::ids::{Address, AttesterId, Domain, Index, LaneId, MessageId, UnixMillis};
use cityrelay_core::lane::{Direction, Flow, GatewayAt, LaneIdentity};
use cityrelay_core::message::{Message, Payload};
use cityrelay_core::outcome::{Outcome, Status};
use cityrelay_gateway::query::{self, LaneStatus};
use cityrelay_gateway::{GatewayEvent, encode};
use k256::ecdsa::SigningKey;

use crate::chain::{Chain, Kind, MILLIS, Receipt, USUAL};
use crate::probes;

pub fn account(number: u8) -> Address {
    let mut bytes = [0xaa; 20];
    bytes[19] = number;
    Address::from_20(bytes)
}

pub fn owner() -> Address {
    account(1)
}

pub fn user() -> Address {
    account(2)
}

pub fn relay() -> Address {
    account(3)
}

pub fn attester_key(number: u8) -> SigningKey {
    SigningKey::from_slice(&keccak256(&[b'k', number]).0).unwrap()
}

pub fn sign(key: &SigningKey, digest: Hash32) -> (AttesterId, SignatureBytes) {
    let (signature, recovery) = key.sign_prehash_recoverable(&digest.0).unwrap();
    (attester_id(key.verifying_key()), SignatureBytes::from_parts(&signature, recovery))
}

pub fn members(keys: &[SigningKey]) -> Vec<AttesterId> {
    keys.iter().map(|key| attester_id(key.verifying_key())).collect()
}

/// One of the two chains.
pub struct City {
    pub chain: Chain,
    pub domain: Domain,
    pub gateway: Address,
    pub committee: Address,
    pub keys: Vec<SigningKey>,
}

impl City {
    pub fn new(name: &str, kind: Kind, delays: Duration) -> Self {
        let domain = Domain::derive(name, keccak256(name.as_bytes()));
        let mut chain = Chain::new(kind);
        let keys: Vec<_> = (1..=4).map(attester_key).collect();
        let committee = GatewayCall::DeployCommittee { domain, members: members(&keys), threshold: 3 };
        let committee = chain.submit(owner(), &committee).ok().created.unwrap();
        let gateway = GatewayCall::DeployGateway {
            domain,
            owner: owner(),
            announce_delay: delays,
            close_delay: delays,
            clock_is_millis: kind.clock_is_millis,
        };
        let gateway = chain.submit(owner(), &gateway).ok().created.unwrap();
        Self { chain, domain, gateway, committee, keys }
    }

    pub fn submit(&mut self, from: Address, call: &GatewayCall) -> Receipt {
        self.chain.submit(from, call)
    }

    pub fn deploy(&mut self, init_code: Vec<u8>) -> Address {
        let call = GatewayCall::DeployCode { code: init_code };
        self.submit(owner(), &call).ok().created.unwrap()
    }

    pub fn status(&mut self, lane: LaneId) -> LaneStatus {
        let answer = self.chain.view(self.gateway, query::lane_status(lane));
        query::decode_lane_status(&answer).unwrap().expect("an announced lane")
    }

    pub fn committee_in_force(&mut self) -> Committee {
        let answer = self.chain.view(self.committee, query::committee());
        query::decode_committee(&answer).unwrap()
    }
}

/// How the lane of a [`World`] is opened.
#[derive(Clone)]
pub struct Terms {
    /// The source's chain and the destination's.
    pub kinds: [Kind; 2],
    pub limits: LaneLimits,
    pub delays: Duration,
    /// Whether the probes are put on the lists, where there are any.
    pub source_verifier: Option<Vec<u8>>,
    pub destination_verifier: Option<Vec<u8>>,
    pub is_open: bool,
    pub receiver_list_at_source: Option<Vec<Address>>,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            // Both clock units are exercised everywhere.
            kinds: [USUAL, MILLIS],
            limits: LaneLimits {
                max_payload_bytes: 4096,
                max_gas_limit: 1_000_000,
                max_deadline: Duration::from_secs(3600),
                callback_gas: 100_000,
                is_strict: false,
                quota: 0,
                senders: Vec::new(),
                receivers: Vec::new(),
            },
            delays: Duration::ZERO,
            source_verifier: None,
            destination_verifier: None,
            is_open: true,
            receiver_list_at_source: None,
        }
    }
}

pub struct World {
    pub source: City,
    pub destination: City,
    pub lane: LaneIdentity,
    pub id: LaneId,
    /// A `ProbeReceiver` on the destination chain.
    pub receiver: Address,
    /// A `ProbeSender` on the source chain.
    pub sender: Address,
    /// Messages sent, and the outbox chain with its start.
    pub sent: Vec<Message>,
    pub outbox: Vec<ChainPoint>,
    /// Outcomes, and the inbox chain with its start.
    pub outcomes: Vec<Outcome>,
    pub inbox: Vec<ChainPoint>,
}

impl World {
    pub fn new() -> Self {
        Self::with(&Terms::default())
    }

    pub fn with(terms: &Terms) -> Self {
        let mut source = City::new("source", terms.kinds[0], terms.delays);
        let mut destination = City::new("destination", terms.kinds[1], terms.delays);
        let receiver = destination.deploy(probes::receiver());
        let sender = source.deploy(probes::sender());
        let source_verifier = terms.source_verifier.clone().map_or(source.committee, |code| source.deploy(code));
        let destination_verifier =
            terms.destination_verifier.clone().map_or(destination.committee, |code| destination.deploy(code));
        let lane = LaneIdentity {
            source_domain: source.domain,
            destination_domain: destination.domain,
            source_gateway: source.gateway,
            destination_gateway: destination.gateway,
            source_verifier,
            destination_verifier,
            channel: "medical".to_owned(),
            salt: keccak256(b"salt"),
        };
        let id = lane.id();
        let start = |direction| ChainPoint::start(Flow { lane: id, direction });
        let mut world = Self {
            source,
            destination,
            id,
            receiver,
            sender,
            sent: Vec::new(),
            outbox: vec![start(Direction::Outbox)],
            outcomes: Vec::new(),
            inbox: vec![start(Direction::Inbox)],
            lane,
        };
        let limits = &terms.limits;
        let at_source = LaneLimits {
            receivers: terms.receiver_list_at_source.clone().unwrap_or_else(|| limits.receivers.clone()),
            ..limits.clone()
        };
        let announced = world.source.submit(owner(), &world.announcement(world.source.gateway, &at_source)).ok();
        assert!(matches!(announced.events[..], [GatewayEvent::LaneAnnounced { lane, .. }] if lane == id));
        world.destination.submit(owner(), &world.announcement(world.destination.gateway, limits)).ok();
        if terms.is_open {
            world.at_source(GatewayCall::OpenLane { gateway: world.source.gateway, lane: id }).ok();
            world.at_destination(GatewayCall::OpenLane { gateway: world.destination.gateway, lane: id }).ok();
        }
        world
    }

    pub fn announcement(&self, gateway: Address, limits: &LaneLimits) -> GatewayCall {
        GatewayCall::AnnounceLane { gateway, lane: self.lane.clone(), limits: limits.clone() }
    }

    /// The owner's call at the source.
    pub fn at_source(&mut self, call: GatewayCall) -> Receipt {
        self.source.submit(owner(), &call)
    }

    /// The owner's call at the destination.
    pub fn at_destination(&mut self, call: GatewayCall) -> Receipt {
        self.destination.submit(owner(), &call)
    }

    pub fn pass(&mut self, time: Duration) {
        let millis = u64::try_from(time.as_millis()).unwrap();
        self.source.chain.now_millis += millis;
        self.destination.chain.now_millis += millis;
    }

    pub fn deadline(&self, from_now: Duration) -> UnixMillis {
        UnixMillis(self.source.chain.now_millis + u64::try_from(from_now.as_millis()).unwrap())
    }

    pub fn sending(&self, payload: &[u8]) -> GatewayCall {
        GatewayCall::Send {
            gateway: self.source.gateway,
            lane: self.id,
            receiver: self.receiver,
            deadline: self.deadline(Duration::from_secs(600)),
            gas_limit: 500_000,
            payload: payload.to_vec(),
        }
    }

    pub fn send(&mut self, payload: &[u8]) -> Message {
        self.send_call(user(), &self.sending(payload))
    }

    /// Sends through the probe contract, which then gets the callback.
    pub fn send_from_contract(&mut self, payload: &[u8]) -> Message {
        let data = encode(&self.sending(payload)).unwrap().data;
        let forward = probes::forward(self.source.gateway, data);
        let receipt = self.source.chain.call(user(), self.sender, forward).ok();
        self.note_sent(receipt)
    }

    pub fn send_call(&mut self, from: Address, call: &GatewayCall) -> Message {
        let receipt = self.source.submit(from, call).ok();
        self.note_sent(receipt)
    }

    pub fn note_sent(&mut self, receipt: Receipt) -> Message {
        let [GatewayEvent::MessageSent { lane, message, head }] = &receipt.events[..] else {
            panic!("not one message: {receipt:?}");
        };
        let point = self.outbox.last().unwrap().extended(Direction::Outbox, message.id(self.id).0);
        assert_eq!((*lane, *head, message.index), (self.id, point.head, point.index));
        self.outbox.push(point);
        self.sent.push(message.clone());
        message.clone()
    }

    /// The message at `index`.
    pub fn message(&self, index: usize) -> Message {
        self.sent[index - 1].clone()
    }

    pub fn ids(&self, first: usize, last: usize) -> Vec<MessageId> {
        self.sent.iter().take(last).skip(first - 1).map(|message| message.id(self.id)).collect()
    }

    pub fn statement(&mut self, direction: Direction, point: ChainPoint) -> Statement {
        let flow = Flow { lane: self.id, direction };
        let city = self.target(direction);
        let epoch = city.committee_in_force().epoch();
        let verifying = GatewayAt { domain: city.domain, gateway: city.gateway };
        Statement { flow, point, epoch, verifying }
    }

    pub fn target(&mut self, direction: Direction) -> &mut City {
        match direction {
            Direction::Outbox => &mut self.destination,
            Direction::Inbox => &mut self.source,
        }
    }

    /// Evidence by exactly the threshold of attesters.
    pub fn attest(&mut self, direction: Direction, point: ChainPoint) -> Evidence {
        let statement = self.statement(direction, point);
        let city = self.target(direction);
        let keys = city.keys.clone();
        let threshold = city.committee_in_force().threshold() as usize;
        signed(&statement, keys.iter().take(threshold))
    }

    /// A delivery of `first..=last` under evidence for the head at `attested`.
    pub fn delivery(&mut self, first: usize, last: usize, attested: usize) -> GatewayCall {
        let evidence = self.attest(Direction::Outbox, self.outbox[attested]);
        GatewayCall::Deliver {
            gateway: self.destination.gateway,
            lane: self.id,
            messages: self.sent[first - 1..last].to_vec(),
            tail: self.ids(last + 1, attested),
            evidence,
        }
    }

    pub fn deliver(&mut self, first: usize, last: usize) -> Receipt {
        let call = self.delivery(first, last, last);
        let receipt = self.destination.submit(relay(), &call).ok();
        self.note_delivered(&receipt);
        receipt
    }

    /// Keeps the outcomes that a receipt tells of, checking each against the inbox chain.
    pub fn note_delivered(&mut self, receipt: &Receipt) {
        for event in &receipt.events {
            if let GatewayEvent::MessageDelivered { lane, outcome, head, .. } = event {
                let point = self.inbox.last().unwrap().extended(Direction::Inbox, outcome.hash(self.id));
                assert_eq!((*lane, *head, outcome.index), (self.id, point.head, point.index));
                self.inbox.push(point);
                self.outcomes.push(*outcome);
            }
        }
    }

    /// A settlement of `first..=last` under evidence for the inbox head at `attested`, up to the last message sent.
    pub fn settlement(&mut self, first: usize, last: usize, attested: usize) -> GatewayCall {
        let evidence = self.attest(Direction::Inbox, self.inbox[attested]);
        let pairs = self.sent.iter().cloned().zip(self.outcomes.iter().copied());
        GatewayCall::Settle {
            gateway: self.source.gateway,
            lane: self.id,
            settlements: pairs
                .take(last)
                .skip(first - 1)
                .map(|(message, outcome)| (Message { payload: message.payload.hashed(), ..message }, outcome))
                .collect(),
            tail_outcomes: self.outcomes[last..attested].iter().map(|outcome| outcome.hash(self.id)).collect(),
            tail_ids: self.ids(last + 1, self.sent.len()),
            evidence,
        }
    }

    pub fn settle(&mut self, first: usize, last: usize) -> Receipt {
        let call = self.settlement(first, last, last);
        self.source.submit(relay(), &call).ok()
    }

    pub fn retry(&self, index: usize) -> GatewayCall {
        GatewayCall::RetryCallback {
            gateway: self.source.gateway,
            lane: self.id,
            message: self.message(index),
            outcome: self.outcomes[index - 1],
        }
    }

    pub fn skipping(&self, index: u64) -> GatewayCall {
        GatewayCall::Skip { gateway: self.destination.gateway, lane: self.id, index: Index(index) }
    }
}

pub fn signed<'a>(statement: &Statement, keys: impl Iterator<Item = &'a SigningKey>) -> Evidence {
    let digest = statement.digest();
    let signatures: BTreeMap<_, _> = keys.map(|key| sign(key, digest)).collect();
    Evidence { point: statement.point, epoch: statement.epoch, signatures }
}

/// Status and result of each message that a receipt says was delivered.
pub fn delivered(receipt: &Receipt) -> Vec<(u64, Status, Vec<u8>)> {
    let events = receipt.events.iter().filter_map(|event| match event {
        GatewayEvent::MessageDelivered { outcome, result, .. } => {
            Some((outcome.index.0, outcome.status, result.clone()))
        }
        _ => None,
    });
    events.collect()
}

pub fn statuses(receipt: &Receipt) -> Vec<Status> {
    delivered(receipt).into_iter().map(|(_, status, _)| status).collect()
}

/// Index and success of each callback that a receipt tells of.
pub fn settled(receipt: &Receipt) -> Vec<(u64, bool)> {
    let events = receipt.events.iter().filter_map(|event| match event {
        GatewayEvent::MessageSettled { outcome, is_callback_ok, .. } => Some((outcome.index.0, *is_callback_ok)),
        _ => None,
    });
    events.collect()
}

pub fn with_hash(message: &Message) -> Message {
    Message { payload: message.payload.hashed(), ..message.clone() }
}

pub fn with_payload(message: &Message, payload: &[u8]) -> Message {
    Message { payload: Payload::Bytes(payload.to_vec()), ..message.clone() }
}
