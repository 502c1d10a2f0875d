//! Sizes and waits that change while the machine runs.

use crate::machine::Machine;
use crate::machine::config::Tuning;

impl Machine {
    /// Takes other sizes and waits from the next decision on. What is under way is finished as it was begun; a size to
    /// which a flow has halved its batches stays until deliveries succeed.
    pub fn tune(&mut self, tuning: &Tuning) {
        self.io.limits = tuning.limits;
        for (domain, interval) in &tuning.poll_intervals {
            if let Some(client) = self.clients.get_mut(domain) {
                client.setup.poll_interval = *interval;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;
    use std::collections::BTreeMap;

    use crate::frame::Role;
    use crate::hash::Hash32;
    use crate::ids::{Domain, Height, UnixMillis};
    use crate::light_client::ProofStrength;
    use crate::machine::Machine;
    use crate::machine::config::{ChainSetup, Limits, MachineConfig, Tuning};
    use crate::opaque::Opaque;
    use crate::recovery::Recovered;

    #[test]
    fn other_sizes_and_intervals_are_in_force_at_once() {
        let domain = Domain(Hash32([1; 32]));
        let chain = ChainSetup {
            domain,
            anchor: Opaque { adapter: "model".to_owned(), version: 1, bytes: Vec::new() },
            height: Height(0),
            hash: Hash32::ZERO,
            has_source: true,
            has_target: false,
            strength: ProofStrength::Conclusive,
            poll_interval: Duration::from_secs(1),
        };
        let config = MachineConfig {
            role: Role::Relay,
            chains: vec![chain],
            lanes: Vec::new(),
            peers: Vec::new(),
            limits: Limits::default(),
            jitter_seed: 0,
        };
        let mut machine = Machine::new(config, Recovered::default(), UnixMillis(0));
        let other = Domain(Hash32([2; 32]));
        let poll_intervals = BTreeMap::from([(domain, Duration::from_secs(7)), (other, Duration::from_secs(9))]);
        machine.tune(&Tuning { limits: Limits { batch_entries: 3, ..Limits::default() }, poll_intervals });
        assert_eq!(machine.io.limits.batch_entries, 3);
        assert_eq!(machine.clients.get(&domain).map(|client| client.setup.poll_interval), Some(Duration::from_secs(7)));
        assert_eq!(machine.clients.len(), 1);
    }
}
