//! Who validates the next block: the votes that proposers put into headers (besu `VoteTally`).

use alloy_primitives::Address;

use super::extra_data::Vote;

/// The validator set and the votes that count so far.
#[derive(Clone, Debug)]
pub struct Tally {
    validators: Vec<Address>,
    votes: Vec<(Address, Vote)>,
    keeps_order: bool,
}

impl Tally {
    /// Begins with a set and no votes. With `keeps_order` members stay in the order in which they joined, as on Edge; else
    /// they ascend.
    pub fn new(validators: Vec<Address>, keeps_order: bool) -> Self {
        let mut tally = Self { validators: Vec::new(), votes: Vec::new(), keeps_order };
        tally.replace(validators);
        tally
    }

    /// Puts another set in force and forgets the votes.
    pub fn replace(&mut self, validators: Vec<Address>) {
        self.validators = validators;
        self.votes.clear();
        self.order();
    }

    fn order(&mut self) {
        if !self.keeps_order {
            self.validators.sort();
        }
    }

    /// The current set in its order.
    pub fn validators(&self) -> &[Address] {
        &self.validators
    }

    /// True when this voter's vote on this candidate already counts.
    pub fn has_voted(&self, voter: Address, vote: Vote) -> bool {
        self.votes.contains(&(voter, vote))
    }

    /// True when the vote would change the set.
    pub fn is_open(&self, vote: Vote) -> bool {
        self.validators.contains(&vote.candidate) != vote.add
    }

    /// Takes in one block: at an epoch boundary all votes are forgotten first.
    pub fn apply(&mut self, is_epoch_block: bool, proposer: Address, vote: Option<Vote>) {
        if is_epoch_block {
            self.votes.clear();
        }
        let Some(vote) = vote.filter(|vote| self.is_open(*vote)) else { return };
        self.votes.retain(|(voter, other)| *voter != proposer || other.candidate != vote.candidate);
        self.votes.push((proposer, vote));
        let count = self.votes.iter().filter(|(_, other)| *other == vote).count();
        if count <= self.validators.len() / 2 {
            return;
        }
        if vote.add {
            self.validators.push(vote.candidate);
            self.order();
        } else {
            self.validators.retain(|validator| *validator != vote.candidate);
        }
        self.votes.retain(|(voter, other)| other.candidate != vote.candidate && (vote.add || *voter != vote.candidate));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(byte: u8) -> Address {
        Address::repeat_byte(byte)
    }

    fn add(byte: u8) -> Option<Vote> {
        Some(Vote { candidate: address(byte), add: true })
    }

    #[test]
    fn more_than_half_adds() {
        let mut tally = Tally::new(vec![address(1), address(2), address(3), address(4)], false);
        tally.apply(false, address(1), add(9));
        tally.apply(false, address(2), add(9));
        assert_eq!(tally.validators().len(), 4);
        tally.apply(false, address(2), add(9));
        assert_eq!(tally.validators().len(), 4, "a repeated vote counts once");
        tally.apply(false, address(3), add(9));
        assert_eq!(tally.validators().len(), 5);
    }

    #[test]
    fn the_joining_order_is_kept_where_the_chain_keeps_it() {
        let mut tally = Tally::new(vec![address(9), address(4)], true);
        tally.apply(false, address(9), add(2));
        tally.apply(false, address(4), add(2));
        assert_eq!(tally.validators(), [address(9), address(4), address(2)]);
        tally.replace(vec![address(3), address(1)]);
        assert_eq!(tally.validators(), [address(3), address(1)]);
    }

    #[test]
    fn an_epoch_block_forgets_votes() {
        let mut tally = Tally::new(vec![address(1), address(2), address(3), address(4)], false);
        tally.apply(false, address(1), add(9));
        tally.apply(false, address(2), add(9));
        tally.apply(true, address(3), None);
        tally.apply(false, address(3), add(9));
        assert_eq!(tally.validators().len(), 4);
    }

    #[test]
    fn a_dropped_validator_loses_its_votes() {
        let mut tally = Tally::new(vec![address(1), address(2), address(3)], false);
        tally.apply(false, address(3), add(9));
        let drop = Some(Vote { candidate: address(3), add: false });
        tally.apply(false, address(1), drop);
        tally.apply(false, address(2), drop);
        assert_eq!(tally.validators(), [address(1), address(2)]);
        tally.apply(false, address(1), add(9));
        assert_eq!(tally.validators().len(), 2, "the vote of the dropped one no longer counts");
    }
}
