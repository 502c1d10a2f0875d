//! What people do on the chains: applications send, owners rotate attesters and step over messages, validators change.

use cityrelay_core::attestation::{SignatureBytes, rotation_digest};
use cityrelay_core::gateway_call::GatewayCall;
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Address, AttesterId, Epoch, LaneId, UnixMillis};
use cityrelay_core::machine::config::PeerId;
use k256::ecdsa::SigningKey;

use crate::model_gateway::FAILING_PAYLOAD;
use crate::weather::{HALTS, MENDED, ROTATIONS, SET_CHANGES, SKIPS};
use crate::world::{ATTESTERS, CHANNELS, EPOCH_MILLIS, Event, RELAYS, THRESHOLD, World};

/// Messages of one run that may halt a strict lane: each costs the time until its owner acts.
const MOST_HALTING: u64 = 4;

impl World {
    /// Applications send a burst on a lane.
    pub fn send_messages(&mut self) {
        if self.now.0 > EPOCH_MILLIS + self.plan.traffic_millis {
            return;
        }
        let steady = self.plan.steady;
        let number = usize::try_from(self.dice.between(0, self.lanes.len() as u64 - 1)).unwrap();
        let lane = self.lanes[steady.map_or(number, |(lane, _)| lane)].clone();
        let is_strict = self.is_strict(&lane.channel);
        let most = if steady.is_some() { 1 } else { *self.dice.pick(&[1, 3, 12, 12, 90]) };
        let count = self.dice.between(1, most);
        let chain = self.chains.iter().position(|chain| chain.domain == lane.source_domain).unwrap();
        for _ in 0..count {
            let is_short = self.dice.chance(self.plan.short_deadlines);
            let life = if is_short { self.dice.between(500, 9000) } else { self.dice.between(60_000, 400_000) };
            let size = self.dice.between(1, 120);
            let mut payload: Vec<u8> = (0..size).map(|_| u8::try_from(self.dice.between(0, 200)).unwrap()).collect();
            if self.will_fail(is_strict) {
                payload[0] = FAILING_PAYLOAD;
            }
            let call = GatewayCall::Send {
                gateway: lane.source_gateway,
                lane: lane.id(),
                receiver: Address::from_20([7; 20]),
                deadline: UnixMillis(self.now.0 + life),
                gas_limit: self.dice.between(20_000, 90_000),
                payload,
            };
            self.submit_as_application(chain, call);
        }
        let (least, most) = steady.map_or((100, 5000), |(_, interval)| (interval, interval));
        self.plan_within(least, most, Event::Traffic);
    }

    /// Whether the lanes of a channel are strict in this run.
    #[must_use]
    pub fn is_strict(&self, channel: &str) -> bool {
        self.plan.strict_channel.is_some_and(|strict| CHANNELS[strict] == channel)
    }

    /// Whether the receiver of the next message fails.
    fn will_fail(&mut self, is_strict: bool) -> bool {
        if !is_strict {
            return self.dice.chance(self.plan.failing_receivers);
        }
        let fails = self.halting < MOST_HALTING && self.dice.chance(40);
        self.halting += u64::from(fails);
        fails
    }

    /// After a block: the owner of a lane that a message has halted steps over it, or the receiver is put right.
    pub fn look_after_strict_lanes(&mut self, chain: usize) {
        let halts = std::mem::take(&mut self.chains[chain].gateway.halts);
        for _ in 0..halts {
            self.count(HALTS);
            self.plan_within(500, 6000, Event::Owner(chain));
        }
    }

    /// The owner acts on the first lane that stands halted, again and again until none does.
    pub fn act_as_owner(&mut self, chain: usize) {
        let gateway = &mut self.chains[chain].gateway;
        let halted =
            gateway.destinations.iter_mut().find(|(_, lane)| lane.halted.is_some_and(|id| !lane.mended.contains(&id)));
        let Some((lane, end)) = halted else { return };
        let (lane, message): (LaneId, _) = (*lane, end.halted.unwrap());
        if self.dice.chance(300) {
            end.mended.insert(message);
            self.count(MENDED);
        } else {
            let index = end.accepted_points.last().unwrap().index.next();
            let call = GatewayCall::Skip { gateway: self.chains[chain].gateway.at.gateway, lane, index };
            self.count(SKIPS);
            self.submit_as_application(chain, call);
        }
        self.plan_within(2000, 4000, Event::Owner(chain));
    }

    /// The validators of a chain change, and will again.
    pub fn change_validators(&mut self, chain: usize) {
        let Some(mean) = self.plan.set_changes.filter(|_| !self.is_calm()) else { return };
        self.chains[chain].change_validators(&mut self.dice);
        self.count(SET_CHANGES);
        self.plan_within(mean / 4, 2 * mean, Event::ChangeValidators(chain));
    }

    /// Asks a chain for the attester set after rotation `number` until it has it; starts whoever joins.
    pub fn rotate(&mut self, chain: usize, number: usize) {
        let current = self.chains[chain].gateway.committee.clone();
        let epoch = Epoch(number as u64 + 2);
        if current.epoch() >= epoch {
            self.count(ROTATIONS);
            return;
        }
        self.plan_within(2000, 4000, Event::Rotate(chain, number));
        if Epoch(current.epoch().0 + 1) != epoch {
            return;
        }
        let reserve = RELAYS + ATTESTERS;
        self.plan_within(0, 500, Event::Start(PeerId(u32::try_from(reserve).unwrap())));
        let is_member = |number: &usize| current.members().contains(&self.processes[*number].attester());
        let (inside, outside): (Vec<usize>, Vec<usize>) = (RELAYS..=reserve).partition(is_member);
        let (_, leaving) = self.plan.rotations[number];
        let staying = inside.iter().enumerate().filter(|(place, _)| *place != leaving).map(|(_, number)| *number);
        let members: Vec<usize> = staying.chain(outside).collect();
        let ids: Vec<AttesterId> = members.iter().map(|number| self.processes[*number].attester()).collect();
        let (verifier, domain) = (self.chains[chain].gateway.verifier, self.chains[chain].domain);
        let digest = rotation_digest(verifier, domain, epoch, &ids.iter().copied().collect(), THRESHOLD);
        let sign = |number: &usize| {
            let process = &self.processes[*number];
            (process.attester(), sign(&process.key, digest))
        };
        let call = GatewayCall::Rotate {
            verifier,
            old: inside.iter().take(usize::try_from(THRESHOLD).unwrap()).map(sign).collect(),
            new: members.iter().map(sign).collect(),
            members: ids,
            threshold: THRESHOLD,
        };
        self.submit_as_application(chain, call);
    }
}

/// Signs a digest the way an attester does.
#[must_use]
pub fn sign(key: &SigningKey, digest: Hash32) -> SignatureBytes {
    let (signature, recovery) = key.sign_prehash_recoverable(&digest.0).unwrap();
    SignatureBytes::from_parts(&signature, recovery)
}
