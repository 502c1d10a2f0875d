//! Signed transactions: legacy with a chain id (EIP-155) and EIP-1559.

use cityrelay_api::ConfigFault;
use cityrelay_core::hash::{Hash32, keccak256};
use k256::ecdsa::SigningKey;

use super::connect::read_secret;
use crate::codec::account::Account;
use crate::codec::rlp::{self, Item, RlpError, bytes_item, list_item, minimal, uint_item, uint128_item};
use crate::config::AccountSettings;

/// The account that writes.
pub(super) struct Signer {
    key: SigningKey,
    account: Account,
    chain_id: u64,
}

impl core::fmt::Debug for Signer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Signer").field("account", &self.account).finish_non_exhaustive()
    }
}

/// What is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Transaction {
    pub nonce: u64,
    pub fee: Fee,
    pub gas: u64,
    /// `None` to create a contract.
    pub to: Option<[u8; 20]>,
    pub data: Vec<u8>,
}

/// What gas costs, in wei.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fee {
    /// One price.
    Legacy {
        /// For all gas.
        price: u128,
    },
    /// A base fee that is burnt and a tip.
    Dynamic {
        /// The most for both.
        max: u128,
        /// The most for the tip.
        tip: u128,
    },
}

impl Fee {
    /// The fee of a transaction that takes this one's place: each part at least an eighth more (nodes ask for a tenth:
    /// go-ethereum `txpool.pricebump`, Besu `tx-pool-price-bump`), and at least what the chain asks for now. A chain
    /// without a price keeps none: there its node has dropped the transaction, or takes the same price again.
    pub(super) fn raised_over(self, before: Self) -> Self {
        let raise = |now: u128, before: u128| now.max(before.saturating_add(before.div_ceil(8)));
        match (self, before) {
            (Self::Legacy { price }, Self::Legacy { price: before }) => Self::Legacy { price: raise(price, before) },
            (Self::Dynamic { max, tip }, Self::Dynamic { max: max_before, tip: tip_before }) => {
                let tip = raise(tip, tip_before);
                Self::Dynamic { max: raise(max, max_before).max(tip), tip }
            }
            // The chain, or the setting, changed its kind of fee in between: compare by the most that is paid.
            (Self::Legacy { price }, Self::Dynamic { max, .. }) => Self::Legacy { price: raise(price, max) },
            (Self::Dynamic { max, tip }, Self::Legacy { price }) => {
                Self::Dynamic { max: raise(max, price), tip: raise(tip, price) }
            }
        }
    }

    /// The most that one unit of gas can cost.
    pub(super) const fn most(self) -> u128 {
        match self {
            Self::Legacy { price } => price,
            Self::Dynamic { max, .. } => max,
        }
    }
}

impl Signer {
    /// Reads the account's key.
    ///
    /// # Errors
    /// A fault that names the file and never its content.
    pub(super) fn open(settings: &AccountSettings, chain_id: u64) -> Result<Self, ConfigFault> {
        let path = &settings.key_file;
        let fault = |problem: String| ConfigFault { key: "account.key_file".to_owned(), problem };
        let text = read_secret(path).map_err(fault)?;
        let wrong = || fault(format!("{}: expected a secp256k1 key of 64 hex digits", path.display()));
        let mut bytes = zeroize::Zeroizing::new([0; 32]);
        hex::decode_to_slice(text.strip_prefix("0x").unwrap_or(&text), bytes.as_mut()).map_err(|_| wrong())?;
        let key = SigningKey::from_slice(bytes.as_ref()).map_err(|_| wrong())?;
        let account = Account::of_key(key.verifying_key());
        Ok(Self { key, account, chain_id })
    }

    pub(super) const fn account(&self) -> Account {
        self.account
    }

    /// The transaction's bytes with a signature, and its hash.
    pub(super) fn sign(&self, transaction: &Transaction) -> Option<(Vec<u8>, Hash32)> {
        let mut items = vec![uint_item(transaction.nonce)];
        let kind = match transaction.fee {
            Fee::Legacy { price } => {
                items.push(uint128_item(price));
                None
            }
            Fee::Dynamic { max, tip } => {
                items.insert(0, uint_item(self.chain_id));
                items.extend([uint128_item(tip), uint128_item(max)]);
                Some(2)
            }
        };
        items.push(uint_item(transaction.gas));
        items.push(bytes_item(transaction.to.as_ref().map_or(&[][..], |to| to.as_slice())));
        items.push(uint_item(0));
        items.push(bytes_item(&transaction.data));
        let unsigned = match kind {
            None => list_item(&[items.clone(), vec![uint_item(self.chain_id), uint_item(0), uint_item(0)]].concat()),
            Some(kind) => {
                items.push(list_item::<&[u8]>(&[]));
                [&[kind], list_item(&items).as_slice()].concat()
            }
        };
        let (signature, recovery) = self.key.sign_prehash_recoverable(keccak256(&unsigned).as_bytes()).ok()?;
        let parity = u64::from(recovery.is_y_odd());
        let v = match kind {
            None => u128::from(self.chain_id) * 2 + 35 + u128::from(parity),
            Some(_) => u128::from(parity),
        };
        let (r, s) = signature.split_bytes();
        items.extend([uint128_item(v), bytes_item(minimal(&r)), bytes_item(minimal(&s))]);
        let raw = match kind {
            None => list_item(&items),
            Some(kind) => [&[kind], list_item(&items).as_slice()].concat(),
        };
        let hash = keccak256(&raw);
        Some((raw, hash))
    }
}

impl Transaction {
    /// Reads a transaction that [`Signer::sign`] made back.
    pub(super) fn read(raw: &[u8]) -> Result<Self, RlpError> {
        let (kind, body) = match raw.split_first() {
            Some((2, body)) => (2, body),
            _ => (0, raw),
        };
        let items = rlp::decode(body)?.items(12)?;
        let at = |index: usize| items.get(index).copied().ok_or(RlpError::Count { expected: 12, got: items.len() });
        let (first, fee) = if kind == 2 {
            (1, Fee::Dynamic { tip: at(2)?.uint128()?, max: at(3)?.uint128()? })
        } else {
            (0, Fee::Legacy { price: at(1)?.uint128()? })
        };
        let gas_at = if kind == 2 { 4 } else { 2 };
        let to = match at(gas_at + 1)? {
            Item::Bytes([]) => None,
            item => Some(item.fixed()?),
        };
        Ok(Self {
            nonce: at(first)?.uint()?,
            fee,
            gas: at(gas_at)?.uint()?,
            to,
            data: at(gas_at + 3)?.bytes()?.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer(chain_id: u64) -> Signer {
        let key = SigningKey::from_slice(&[0x46; 32]).unwrap();
        let account = Account::of_key(key.verifying_key());
        Signer { key, account, chain_id }
    }

    #[test]
    fn the_example_of_eip_155_has_the_signers_account() {
        // EIP-155's example key; its own example moves value, which we never do, so only the account is comparable.
        assert_eq!(signer(1).account().to_string(), "0x9d8a62f656a8d1615c1294fd71e9cfb3e4855a4f");
    }

    #[test]
    fn a_transaction_reads_back_and_recovers_its_signer() {
        for fee in [Fee::Legacy { price: 7 }, Fee::Dynamic { max: 9, tip: 3 }] {
            for to in [None, Some([5; 20])] {
                let transaction = Transaction { nonce: 3, fee, gas: 90_000, to, data: vec![1, 2, 3] };
                let signer = signer(571);
                let (raw, hash) = signer.sign(&transaction).unwrap();
                assert_eq!(hash, keccak256(&raw));
                assert_eq!(Transaction::read(&raw), Ok(transaction));
            }
        }
    }

    #[test]
    fn a_replacement_costs_an_eighth_more_and_never_less_than_asked() {
        let legacy = |price| Fee::Legacy { price };
        assert_eq!(legacy(100).raised_over(legacy(100)), legacy(113));
        assert_eq!(legacy(500).raised_over(legacy(100)), legacy(500));
        assert_eq!(legacy(0).raised_over(legacy(0)), legacy(0));
        assert_eq!(legacy(1).raised_over(legacy(1)), legacy(2));
        let dynamic = |max, tip| Fee::Dynamic { max, tip };
        assert_eq!(dynamic(20, 1).raised_over(dynamic(80, 8)), dynamic(90, 9));
        assert_eq!(dynamic(20, 1).raised_over(legacy(80)), dynamic(90, 90));
    }
}
