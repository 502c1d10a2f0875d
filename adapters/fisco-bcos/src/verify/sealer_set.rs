//! Sealer sets, their weights and their quorum.

use cityrelay_core::hash::Hash32;
use cityrelay_core::light_client::Refusal;

use crate::codec::binary::{BinaryError, Decoder, Encoder, MAX_SEALERS};
use crate::codec::header::BlockHeader;
use crate::codec::suite::{CryptoSuite, PUBLIC_KEY_BYTES, PublicKey};

/// A node that seals blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealer {
    /// Its public key.
    pub id: PublicKey,
    /// Its weight, at least 1.
    pub weight: u64,
}

/// A sealer set: not empty, ascending by id, every weight positive, the sum within 63 bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealerSet {
    sealers: Vec<Sealer>,
    total: u64,
}

impl SealerSet {
    /// Checks a set.
    ///
    /// # Errors
    /// `sealer-count` for none or more than [`MAX_SEALERS`], `sealer-order` unless ids strictly ascend (nodes sort their
    /// list so: `ConsensusConfig.cpp:setConsensusNodeList`), `sealer-weight` for a zero weight or too large a sum.
    pub fn new(sealers: Vec<Sealer>) -> Result<Self, Refusal> {
        if sealers.is_empty() || sealers.len() > MAX_SEALERS {
            return Err(Refusal::new("sealer-count", MAX_SEALERS, sealers.len()));
        }
        for (left, right) in sealers.iter().zip(sealers.iter().skip(1)) {
            if left.id >= right.id {
                return Err(Refusal::new("sealer-order", "ids that strictly ascend", right.id.0.as_slice()));
            }
        }
        let mut total = 0_u64;
        for sealer in &sealers {
            let sum = total.checked_add(sealer.weight).filter(|sum| *sum <= i64::MAX.unsigned_abs());
            match sum {
                Some(sum) if sealer.weight > 0 => total = sum,
                _ => return Err(Refusal::new("sealer-weight", "positive weights within 63 bits", sealer.weight)),
            }
        }
        Ok(Self { sealers, total })
    }

    /// The set that a header lists.
    ///
    /// # Errors
    /// `sealer-count` when there is not one weight for each sealer, and those of [`SealerSet::new`].
    pub fn of_header(header: &BlockHeader) -> Result<Self, Refusal> {
        if header.sealers.len() != header.weights.len() {
            return Err(Refusal::new("sealer-count", header.sealers.len(), header.weights.len()));
        }
        let pairs = header.sealers.iter().zip(&header.weights);
        Self::new(pairs.map(|(id, weight)| Sealer { id: *id, weight: *weight }).collect())
    }

    /// Whether `header` lists exactly this set, in this order.
    #[must_use]
    pub fn is_listed_by(&self, header: &BlockHeader) -> bool {
        self.sealers.len() == header.sealers.len()
            && self.sealers.len() == header.weights.len()
            && self
                .sealers
                .iter()
                .zip(header.sealers.iter().zip(&header.weights))
                .all(|(sealer, (id, weight))| sealer.id == *id && sealer.weight == *weight)
    }

    /// The sealers, ascending by id.
    #[must_use]
    pub fn sealers(&self) -> &[Sealer] {
        &self.sealers
    }

    /// Sum of the weights.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// Weight that may be faulty: ⌊(total − 1) / 3⌋ (`PBFTConfig.cpp:updateQuorum`).
    #[must_use]
    pub const fn max_faulty(&self) -> u64 {
        self.total.saturating_sub(1) / 3
    }

    /// Weight that a block needs: total − [`Self::max_faulty`].
    #[must_use]
    pub const fn quorum(&self) -> u64 {
        self.total - self.max_faulty()
    }

    /// Weight of `id`, 0 for a stranger.
    #[must_use]
    pub fn weight_of(&self, id: &PublicKey) -> u64 {
        self.sealers
            .binary_search_by(|sealer| sealer.id.cmp(id))
            .ok()
            .and_then(|at| self.sealers.get(at))
            .map_or(0, |sealer| sealer.weight)
    }

    /// The chain's hash over id ‖ weight (8 bytes, big-endian) of every sealer in order: what a set statement names.
    #[must_use]
    pub fn digest(&self, suite: CryptoSuite) -> Hash32 {
        let mut bytes = Vec::with_capacity(self.sealers.len() * (PUBLIC_KEY_BYTES + 8));
        for sealer in &self.sealers {
            bytes.extend_from_slice(&sealer.id.0);
            bytes.extend_from_slice(&sealer.weight.to_be_bytes());
        }
        suite.hash(&bytes)
    }

    pub(crate) fn write(&self, encoder: &mut Encoder) {
        encoder.count(self.sealers.len());
        for sealer in &self.sealers {
            encoder.key(&sealer.id);
            encoder.number(sealer.weight);
        }
    }

    pub(crate) fn read(decoder: &mut Decoder<'_>) -> Result<Self, Refusal> {
        let read = |decoder: &mut Decoder<'_>| {
            let count = decoder.count(MAX_SEALERS, PUBLIC_KEY_BYTES + 8)?;
            (0..count).map(|_| Ok(Sealer { id: decoder.key()?, weight: decoder.number()? })).collect()
        };
        let sealers: Result<Vec<Sealer>, BinaryError> = read(decoder);
        Self::new(sealers.map_err(crate::verify::state::encoding)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(weights: &[u64]) -> Result<SealerSet, Refusal> {
        let mut id = 0;
        SealerSet::new(
            weights
                .iter()
                .map(|weight| {
                    id += 1;
                    Sealer { id: PublicKey([id; 64]), weight: *weight }
                })
                .collect(),
        )
    }

    #[test]
    fn quorums_are_those_of_the_table() {
        let table: serde_json::Value =
            serde_json::from_str(include_str!("../../vectors/fixtures/quorum_table.json")).unwrap();
        for case in table["cases"].as_array().unwrap() {
            let weights: Vec<u64> = case["weights"].as_array().unwrap().iter().map(|w| w.as_u64().unwrap()).collect();
            let set = set(&weights).unwrap();
            assert_eq!(set.total(), case["total"].as_u64().unwrap());
            assert_eq!(set.max_faulty(), case["maxFaulty"].as_u64().unwrap(), "{weights:?}");
            assert_eq!(set.quorum(), case["minRequiredQuorum"].as_u64().unwrap(), "{weights:?}");
        }
    }

    #[test]
    fn an_empty_set_is_refused() {
        assert_eq!(set(&[]).unwrap_err().check, "sealer-count");
    }

    #[test]
    fn a_zero_weight_and_a_sum_beyond_63_bits_are_refused() {
        assert_eq!(set(&[1, 0]).unwrap_err().check, "sealer-weight");
        assert_eq!(set(&[u64::MAX, 1]).unwrap_err().check, "sealer-weight");
        assert_eq!(set(&[i64::MAX as u64, 1]).unwrap_err().check, "sealer-weight");
    }

    #[test]
    fn ids_out_of_order_or_repeated_are_refused() {
        let one = Sealer { id: PublicKey([1; 64]), weight: 1 };
        let two = Sealer { id: PublicKey([2; 64]), weight: 1 };
        assert!(SealerSet::new(vec![one, two]).is_ok());
        assert_eq!(SealerSet::new(vec![two, one]).unwrap_err().check, "sealer-order");
        assert_eq!(SealerSet::new(vec![one, one]).unwrap_err().check, "sealer-order");
    }

    #[test]
    fn a_stranger_has_no_weight() {
        let set = set(&[3, 5]).unwrap();
        assert_eq!(set.weight_of(&PublicKey([2; 64])), 5);
        assert_eq!(set.weight_of(&PublicKey([9; 64])), 0);
    }
}
