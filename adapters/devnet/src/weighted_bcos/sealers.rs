//! Who seals, with what weight, and who only watches.

use cityrelay_fisco_bcos::codec::suite::PublicKey;

/// One sealer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealer {
    /// Its public key.
    pub id: PublicKey,
    /// At least 1.
    pub weight: u64,
}

/// The consensus table.
#[derive(Clone, Debug, Default)]
pub struct Consensus {
    sealers: Vec<Sealer>,
    observers: Vec<PublicKey>,
}

/// Why the table was not changed; the number is what the contract returns (`bcos-executor` `PrecompiledCodec`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i64)]
pub enum ConsensusRefusal {
    /// The node id is not 128 hex digits.
    InvalidNodeId = -51_100,
    /// The last sealer cannot leave.
    LastSealer = -51_101,
    /// A weight of 0.
    InvalidWeight = -51_102,
    /// No such node in the table.
    NodeNotExist = -51_103,
    /// A node must be an observer before it seals.
    NotAnObserver = -51_104,
}

impl Consensus {
    /// Begins with these sealers.
    pub fn new(sealers: Vec<Sealer>) -> Self {
        let mut table = Self { sealers, observers: Vec::new() };
        table.sort();
        table
    }

    /// The sealers, ascending by id.
    pub fn sealers(&self) -> &[Sealer] {
        &self.sealers
    }

    /// The observers, ascending by id.
    pub fn observers(&self) -> &[PublicKey] {
        &self.observers
    }

    /// Sum of all weights.
    pub fn total_weight(&self) -> u64 {
        total_weight(&self.sealers)
    }

    /// `addSealer(string,uint256)`.
    ///
    /// # Errors
    /// `InvalidWeight`, `NotAnObserver`.
    pub fn add_sealer(&mut self, id: PublicKey, weight: u64) -> Result<(), ConsensusRefusal> {
        if weight == 0 {
            return Err(ConsensusRefusal::InvalidWeight);
        }
        let is_known = self.observers.contains(&id) || self.sealers.iter().any(|sealer| sealer.id == id);
        if !is_known {
            return Err(ConsensusRefusal::NotAnObserver);
        }
        self.observers.retain(|observer| *observer != id);
        self.sealers.retain(|sealer| sealer.id != id);
        self.sealers.push(Sealer { id, weight });
        self.sort();
        Ok(())
    }

    /// `addObserver(string)`: also demotes a sealer.
    ///
    /// # Errors
    /// `LastSealer`.
    pub fn add_observer(&mut self, id: PublicKey) -> Result<(), ConsensusRefusal> {
        self.check_not_last(id)?;
        self.sealers.retain(|sealer| sealer.id != id);
        if !self.observers.contains(&id) {
            self.observers.push(id);
        }
        self.sort();
        Ok(())
    }

    /// `remove(string)`.
    ///
    /// # Errors
    /// `LastSealer`, `NodeNotExist`.
    pub fn remove(&mut self, id: PublicKey) -> Result<(), ConsensusRefusal> {
        self.check_not_last(id)?;
        let before = self.sealers.len() + self.observers.len();
        self.sealers.retain(|sealer| sealer.id != id);
        self.observers.retain(|observer| *observer != id);
        if self.sealers.len() + self.observers.len() == before {
            return Err(ConsensusRefusal::NodeNotExist);
        }
        Ok(())
    }

    /// `setWeight(string,uint256)`.
    ///
    /// # Errors
    /// `InvalidWeight`, `NodeNotExist`.
    pub fn set_weight(&mut self, id: PublicKey, weight: u64) -> Result<(), ConsensusRefusal> {
        if weight == 0 {
            return Err(ConsensusRefusal::InvalidWeight);
        }
        let sealer = self.sealers.iter_mut().find(|sealer| sealer.id == id);
        sealer.ok_or(ConsensusRefusal::NodeNotExist)?.weight = weight;
        Ok(())
    }

    fn check_not_last(&self, id: PublicKey) -> Result<(), ConsensusRefusal> {
        match self.sealers.as_slice() {
            [only] if only.id == id => Err(ConsensusRefusal::LastSealer),
            _ => Ok(()),
        }
    }

    fn sort(&mut self) {
        self.sealers.sort_by_key(|sealer| sealer.id.0);
        self.observers.sort_by_key(|observer| observer.0);
    }
}

/// Sum of weights.
pub fn total_weight(sealers: &[Sealer]) -> u64 {
    sealers.iter().map(|sealer| sealer.weight).sum()
}

/// Weight that may be faulty: ⌊(total − 1) / 3⌋ (`PBFTConfig.cpp:updateQuorum`).
pub fn max_faulty(total: u64) -> u64 {
    total.saturating_sub(1) / 3
}

/// Weight that commits a block: total − max faulty.
pub fn min_quorum(total: u64) -> u64 {
    total - max_faulty(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> PublicKey {
        PublicKey([byte; 64])
    }

    fn table() -> Consensus {
        Consensus::new(vec![Sealer { id: key(3), weight: 1 }, Sealer { id: key(1), weight: 2 }])
    }

    #[test]
    fn sealers_ascend_by_id() {
        assert_eq!(table().sealers().iter().map(|sealer| sealer.id).collect::<Vec<_>>(), [key(1), key(3)]);
    }

    #[test]
    fn a_sealer_must_observe_first() {
        let mut table = table();
        assert_eq!(table.add_sealer(key(2), 1), Err(ConsensusRefusal::NotAnObserver));
        table.add_observer(key(2)).expect("an observer may join");
        table.add_sealer(key(2), 1).expect("an observer may seal");
        assert_eq!(table.sealers().get(1).map(|sealer| sealer.id), Some(key(2)));
        assert!(table.observers().is_empty());
    }

    #[test]
    fn refusals_are_the_recorded_numbers() {
        let mut table = table();
        assert_eq!(table.set_weight(key(9), 3).map_err(|refusal| refusal as i64), Err(-51_103));
        assert_eq!(table.add_sealer(key(9), 3).map_err(|refusal| refusal as i64), Err(-51_104));
        table.remove(key(1)).expect("one of two may leave");
        assert_eq!(table.remove(key(3)), Err(ConsensusRefusal::LastSealer));
    }

    #[test]
    fn quorum_is_the_nodes_formula() {
        for (total, expected) in [(1, 1), (2, 2), (3, 3), (4, 3), (7, 5), (10, 7), (400, 267)] {
            assert_eq!(min_quorum(total), expected);
        }
    }
}
