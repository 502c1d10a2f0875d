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
    /// Blocks in an epoch: at every multiple of it the pending votes are cleared. Genesis `epochlength`.
    pub epoch_length: u64,
    /// Whether a vote in an epoch block counts under mode `qbft`.
    pub epoch_votes: EpochVotes,
    /// Sets that the genesis file puts in force at a height, whatever was voted (`transitions`). Pending votes are
    /// cleared there.
    pub overrides: BTreeMap<u64, ValidatorSet>,
    /// Where the validators are under mode `qbft-contract`.
    pub contract: Option<ContractLayout>,
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
    /// Whether pending votes are cleared at this height.
    #[must_use]
    pub const fn is_epoch_block(&self, height: u64) -> bool {
        matches!(height.checked_rem(self.epoch_length), Some(0))
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

    #[test]
    fn item_slots_count_up_and_do_not_wrap() {
        let layout = |items_slot| ContractLayout { address: Account([1; 20]), length_slot: Hash32::ZERO, items_slot };
        assert_eq!(layout(Hash32::from_u64(255)).item_slot(2), Some(Hash32::from_u64(257)));
        assert_eq!(layout(Hash32([0xff; 32])).item_slot(0), Some(Hash32([0xff; 32])));
        assert_eq!(layout(Hash32([0xff; 32])).item_slot(1), None);
    }
}
