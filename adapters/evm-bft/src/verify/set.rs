//! Validator sets.

use cityrelay_core::hash::{Hash32, keccak256};

use crate::codec::account::Account;
use crate::codec::edge::EdgeValidator;
use crate::codec::extra::MAX_VALIDATORS;
use crate::codec::rlp::{Item, RlpError, bytes_item, list_item};

/// One member: an account, and its BLS key on chains that seal with BLS.
pub type Validator = EdgeValidator;

/// A validator set: 1 to [`MAX_VALIDATORS`] members, each account once, in the order of the chain's headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidatorSet {
    members: Vec<Validator>,
}

/// Why a list is no validator set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SetError {
    /// No member, or too many.
    #[error("expected 1 to {MAX_VALIDATORS} validators, got {got}")]
    Size {
        /// Members given.
        got: usize,
    },
    /// An account appears twice.
    #[error("expected every validator once, got {got} twice")]
    Repeated {
        /// The account.
        got: Account,
    },
    /// Some members have a BLS key and some have none.
    #[error("expected a BLS key for every validator or for none")]
    Keys,
}

impl ValidatorSet {
    /// Checks and keeps a set in the given order.
    ///
    /// # Errors
    /// Every [`SetError`].
    pub fn new(members: Vec<Validator>) -> Result<Self, SetError> {
        if members.is_empty() || members.len() > MAX_VALIDATORS {
            return Err(SetError::Size { got: members.len() });
        }
        let mut accounts: Vec<_> = members.iter().map(|member| member.account).collect();
        accounts.sort_unstable();
        if let Some([twice, _]) = accounts.array_windows::<2>().find(|[a, b]| a == b) {
            return Err(SetError::Repeated { got: *twice });
        }
        let keys = members.iter().filter(|member| member.bls_key.is_some()).count();
        if keys != 0 && keys != members.len() {
            return Err(SetError::Keys);
        }
        Ok(Self { members })
    }

    /// The set with these accounts, ascending.
    ///
    /// # Errors
    /// As [`ValidatorSet::new`].
    pub fn of_accounts(accounts: &[Account]) -> Result<Self, SetError> {
        let members = accounts.iter().map(|account| Validator { account: *account, bls_key: None }).collect();
        Self::new(members).map(Self::sorted)
    }

    /// The same members, ascending by account.
    #[must_use]
    pub fn sorted(mut self) -> Self {
        self.members.sort_unstable();
        self
    }

    /// The members in their order.
    #[must_use]
    pub fn members(&self) -> &[Validator] {
        &self.members
    }

    /// Number of members.
    #[must_use]
    pub fn size(&self) -> usize {
        self.members.len()
    }

    /// Whether the account is a member.
    #[must_use]
    pub fn contains(&self, account: Account) -> bool {
        self.member(account).is_some()
    }

    /// The member with this account.
    #[must_use]
    pub fn member(&self, account: Account) -> Option<Validator> {
        self.members.iter().find(|member| member.account == account).copied()
    }

    /// How many of these distinct validators are members, with the same BLS key where they have one.
    #[must_use]
    pub fn count(&self, validators: &[Validator]) -> usize {
        validators.iter().filter(|validator| self.members.contains(validator)).count()
    }

    /// keccak256 over the members ascending by account, each as 20 bytes and its BLS key where it has one.
    #[must_use]
    pub fn digest(&self) -> Hash32 {
        let sorted = self.clone().sorted();
        keccak256(&sorted.members.iter().flat_map(member_bytes).collect::<Vec<_>>())
    }

    /// The set with one member more: in its place, or at the end where the chain keeps the joining order.
    pub(super) fn with(&self, member: Validator, keeps_order: bool) -> Result<Self, SetError> {
        let mut members = self.members.clone();
        members.push(member);
        let set = Self::new(members)?;
        Ok(if keeps_order { set } else { set.sorted() })
    }

    /// The set without one member.
    pub(super) fn without(&self, account: Account) -> Result<Self, SetError> {
        Self::new(self.members.iter().filter(|member| member.account != account).copied().collect())
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        list_item(&self.members.iter().map(|member| bytes_item(&member_bytes(member))).collect::<Vec<_>>())
    }

    pub(super) fn read(item: Item<'_>) -> Result<Self, RlpError> {
        let items = item.items(MAX_VALIDATORS)?;
        let got = items.len();
        let members = items.into_iter().map(read_member).collect::<Result<_, _>>()?;
        Self::new(members).map_err(|_| RlpError::Count { expected: MAX_VALIDATORS, got })
    }
}

pub(super) fn member_bytes(member: &Validator) -> Vec<u8> {
    let key = member.bls_key.as_ref().map_or(&[][..], |key| key.as_slice());
    [member.account.0.as_slice(), key].concat()
}

pub(super) fn read_member(item: Item<'_>) -> Result<Validator, RlpError> {
    let bytes = item.bytes()?;
    let error = RlpError::Length { expected: 20, got: bytes.len() };
    let (account, key) = bytes.split_first_chunk::<20>().ok_or(error)?;
    let bls_key = match key {
        [] => None,
        key => Some(key.try_into().map_err(|_| error)?),
    };
    Ok(Validator { account: Account(*account), bls_key })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_neither_empty_nor_too_large_nor_repeats_a_member() {
        let account = |n: u16| {
            let mut bytes = [0; 20];
            bytes[..2].copy_from_slice(&n.to_be_bytes());
            Account(bytes)
        };
        assert_eq!(ValidatorSet::of_accounts(&[]), Err(SetError::Size { got: 0 }));
        let many: Vec<_> = (0..257).map(account).collect();
        assert_eq!(ValidatorSet::of_accounts(&many), Err(SetError::Size { got: 257 }));
        assert!(ValidatorSet::of_accounts(&many[..256]).is_ok());
        let twice = [account(2), account(1), account(2)];
        assert_eq!(ValidatorSet::of_accounts(&twice), Err(SetError::Repeated { got: account(2) }));
        let half = vec![
            Validator { account: account(1), bls_key: Some([1; 48]) },
            Validator { account: account(2), bls_key: None },
        ];
        assert_eq!(ValidatorSet::new(half), Err(SetError::Keys));
    }

    #[test]
    fn the_digest_does_not_depend_on_the_order() {
        let (a, b) = (Account([1; 20]), Account([2; 20]));
        let joined = |accounts: [Account; 2]| {
            ValidatorSet::new(accounts.map(|account| Validator { account, bls_key: None }).to_vec()).unwrap()
        };
        assert_eq!(joined([a, b]).digest(), joined([b, a]).digest());
        assert_ne!(joined([a, b]).digest(), ValidatorSet::of_accounts(&[a]).unwrap().digest());
    }
}
