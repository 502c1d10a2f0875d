//! What an operator fixes about a chain: everything that the light client takes as given besides its state.

use std::collections::BTreeMap;
use std::time::Duration;

use cityrelay_core::hash::Hash32;

use super::mode::{Mode, ModeTable};
use super::set::ValidatorSet;
use crate::codec::account::Account;

/// The chain's rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Which header format applies from which height on.
    pub modes: ModeTable,
    /// Blocks in an epoch, by the first block that it holds for: at every multiple of it the pending votes are cleared.
    /// Genesis `epochlength`.
    pub epochs: BTreeMap<u64, u64>,
    /// Whether a vote in an epoch block counts under mode `qbft`.
    pub epoch_votes: EpochVotes,
    /// Sets that the genesis file puts in force at a height, whatever was voted (`transitions`). Pending votes are
    /// cleared there.
    pub overrides: BTreeMap<u64, ValidatorSet>,
    /// Where the validators are under mode `qbft-contract`, by the first block that the set found there seals.
    pub contracts: BTreeMap<u64, ContractLayout>,
    /// How old the last final header may be before the client stops.
    pub trusting_period: Duration,
    /// How far ahead of the local clock a header's time may lie.
    pub max_clock_drift: Duration,
}

/// What the nodes of a QBFT chain do with a vote in an epoch block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EpochVotes {
    /// They count it for the new epoch (GoQuorum `snapApplyHeader`).
    Counted,
    /// They ignore it (Besu `VoteTallyUpdater`).
    Ignored,
}

/// A Solidity `address[]` in a contract's storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContractLayout {
    /// The contract.
    pub address: Account,
    /// Slot of the length.
    pub length_slot: Hash32,
    /// Slot of the first item; the others follow.
    pub items_slot: Hash32,
}

impl Rules {
    /// Blocks in an epoch at this height.
    #[must_use]
    pub fn epoch_length_at(&self, height: u64) -> u64 {
        self.epochs.range(..=height).next_back().map_or(0, |(_, length)| *length)
    }

    /// Whether pending votes are cleared at this height.
    #[must_use]
    pub fn is_epoch_block(&self, height: u64) -> bool {
        height.checked_rem(self.epoch_length_at(height)) == Some(0)
    }

    /// The last epoch block at or below this height.
    #[must_use]
    pub fn epoch_block_before(&self, height: u64) -> u64 {
        let mut top = height;
        for (from, length) in self.epochs.range(..=height).rev() {
            let found = top - top.checked_rem(*length).unwrap_or(0);
            if found >= *from {
                return found;
            }
            // Below `from` another length holds.
            top = from.saturating_sub(1);
        }
        0
    }

    /// Where the set is that seals the block at this height, under mode `qbft-contract`.
    #[must_use]
    pub fn contract_for(&self, height: u64) -> Option<&ContractLayout> {
        self.contracts.range(..=height).next_back().map(|(_, layout)| layout)
    }

    /// Whether a vote in the header at this height counts.
    #[must_use]
    pub fn counts_vote_at(&self, height: u64) -> bool {
        if !self.is_epoch_block(height) {
            return true;
        }
        match self.modes.at(height) {
            Mode::Ibft1 => true,
            Mode::Qbft => self.epoch_votes == EpochVotes::Counted,
            Mode::Ibft2 | Mode::QbftContract | Mode::EdgeEcdsa | Mode::EdgeBls => false,
        }
    }
}

impl ContractLayout {
    /// The slot of item `index`, or `None` when it would lie beyond the last slot.
    #[must_use]
    pub fn item_slot(&self, index: usize) -> Option<Hash32> {
        let mut slot = self.items_slot.0;
        let mut carry = u128::try_from(index).ok()?;
        for byte in slot.iter_mut().rev() {
            carry += u128::from(*byte);
            *byte = u8::try_from(carry & 0xff).unwrap_or(0);
            carry >>= 8;
        }
        (carry == 0).then_some(Hash32(slot))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::tests::kit::rules;

    #[test]
    fn an_epoch_length_and_a_contract_hold_from_their_block_on() {
        let layout =
            |byte| ContractLayout { address: Account([byte; 20]), length_slot: Hash32::ZERO, items_slot: Hash32::ZERO };
        let rules = Rules {
            epochs: BTreeMap::from([(0, 7), (20, 30)]),
            contracts: BTreeMap::from([(8, layout(1)), (20, layout(2))]),
            ..rules(&[(0, Mode::Qbft)], 7)
        };
        assert_eq!(
            [0, 14, 19, 20, 21, 28, 30, 60].map(|height| rules.is_epoch_block(height)),
            [true, true, false, false, false, false, true, true]
        );
        assert_eq!([6, 14, 19, 25, 30, 59].map(|height| rules.epoch_block_before(height)), [0, 14, 14, 14, 30, 30]);
        let at = |height| rules.contract_for(height).copied();
        assert_eq!([7, 8, 19, 20].map(at), [None, Some(layout(1)), Some(layout(1)), Some(layout(2))]);
    }

    #[test]
    fn item_slots_count_up_and_do_not_wrap() {
        let layout = |items_slot| ContractLayout { address: Account([1; 20]), length_slot: Hash32::ZERO, items_slot };
        assert_eq!(layout(Hash32::from_u64(255)).item_slot(2), Some(Hash32::from_u64(257)));
        assert_eq!(layout(Hash32([0xff; 32])).item_slot(0), Some(Hash32([0xff; 32])));
        assert_eq!(layout(Hash32([0xff; 32])).item_slot(1), None);
    }
}
