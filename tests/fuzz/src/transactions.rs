//! Transactions as somebody submitted them.

use alloy_consensus::TxEnvelope;
use alloy_consensus::transaction::SignerRecoverable as _;
use alloy_eips::eip2718::Decodable2718 as _;
use cityrelay_core::hash::keccak256;
use cityrelay_fisco_bcos::codec::suite::CryptoSuite;
use cityrelay_fisco_bcos::codec::transaction::Transaction;
use cityrelay_fisco_bcos::codec::web3::Web3Transaction;

/// A transaction that decodes says the same after it was written and read again, its hash included.
pub fn tars(input: &[u8]) {
    let Ok(transaction) = Transaction::decode(input) else { return };
    let again = Transaction::decode(&transaction.encode()).expect("what we write we read");
    assert_eq!(again, transaction);
    for suite in [CryptoSuite::Standard, CryptoSuite::Gm] {
        assert_eq!(again.data.hash(suite), transaction.data.hash(suite));
        assert_eq!(again.leaf(suite), transaction.leaf(suite));
    }
}

/// A raw transaction that is read has the signing hash and the signer that another library finds in it.
pub fn web3(input: &[u8]) {
    let Ok(ours) = Web3Transaction::read(input) else { return };
    assert_eq!(ours.leaf, keccak256(input));
    let mut rest = input;
    let Ok(theirs) = TxEnvelope::decode_2718(&mut rest) else { return };
    if !rest.is_empty() {
        return;
    }
    assert_eq!(theirs.signature_hash().0, keccak256(&ours.signing_payload).0);
    let signer = theirs.recover_signer_unchecked().expect("we recovered one");
    assert_eq!(signer.0.0, ours.sender);
}
