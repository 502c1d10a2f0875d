//! Checking what else was recorded at a height: transactions, receipts, proofs, and the lists that other nodes hold.

use cityrelay_core::hash::Hash32;
use cityrelay_core::light_client::{Header, Refusal};
use serde_json::Value;

use crate::codec::json::{
    JsonError, header_from_json, proof_from_json, receipt_from_json, signatures_from_json, transaction_hashes, unhex,
};
use crate::codec::json_transaction::{ShownTransaction, transaction_from_json};
use crate::codec::merkle;
use crate::codec::transaction::Transaction;
use crate::codec::web3::Web3Transaction;
use crate::verify::client::{FiscoClient, roots_of};
use crate::verify::merkle_path::{Place, Tree, verify_path};
use crate::verify::sealer_set::SealerSet;
use crate::verify::signatures::verify_quorum;
use crate::verify::state::Roots;

/// Checks a recorded block against the verified header; gives the number of checks made.
///
/// Checks, in order: the recorded header is the verified one; each signature list of other nodes has a quorum; the
/// transaction hashes give the transactions root; each native transaction hashes to its leaf, names this chain and group,
/// is signed by `from`, and its submitted bytes say the same; each receipt hashes to what is claimed, and all of them give
/// the receipts root; each served proof has the one shape that its position allows.
///
/// Ethereum-signed transactions count with their leaf only: their raw bytes are not recorded. Proofs that a node before
/// 3.2.0 doesn't serve are passed over.
///
/// # Errors
/// The first [`Refusal`].
pub fn verify_body(client: &FiscoClient, header: &Header, body: &Value) -> Result<u64, Refusal> {
    let mut checks = Checks { client, roots: roots_of(header)?, count: 0 };
    checks.run(header, body).map_err(|refusal| refusal.at(header.height))?;
    Ok(checks.count)
}

struct Checks<'a> {
    client: &'a FiscoClient,
    roots: Roots,
    count: u64,
}

impl Checks<'_> {
    fn equal(&mut self, check: &'static str, expected: Hash32, got: Hash32) -> Result<(), Refusal> {
        self.count += 1;
        if expected == got { Ok(()) } else { Err(Refusal::new(check, expected, got)) }
    }

    fn run(&mut self, header: &Header, body: &Value) -> Result<(), Refusal> {
        let suite = self.client.suite;
        let block = body.get("block").unwrap_or(&Value::Null);
        let sealed = header_from_json(block).map_err(json)?;
        self.equal("recorded-header", header.hash, sealed.header.hash(suite))?;
        let set = SealerSet::of_header(&sealed.header)?;
        if let Some(lists) = body.get("signature_list_at_other_nodes").and_then(Value::as_object) {
            for list in lists.values() {
                verify_quorum(suite, &set, &header.hash, &signatures_from_json(list).map_err(json)?)?;
                self.count += 1;
            }
        }
        let leaves = transaction_hashes(block).map_err(json)?;
        self.equal("transactions-root", self.roots.transactions, merkle::root(suite, &leaves))?;
        let Some(recorded) = body.get("transactions").and_then(Value::as_array) else { return Ok(()) };
        if recorded.len() != leaves.len() {
            return Err(Refusal::new("recorded-transactions", leaves.len(), recorded.len()));
        }
        for (index, (entry, leaf)) in recorded.iter().zip(&leaves).enumerate() {
            let at = Place { index, leaves: leaves.len() };
            self.transaction(entry, *leaf, at)?;
        }
        self.receipts(recorded)
    }

    fn transaction(&mut self, entry: &Value, leaf: Hash32, place: Place) -> Result<(), Refusal> {
        let suite = self.client.suite;
        if let Some(shown) = entry.get("getTransaction") {
            match transaction_from_json(suite, shown).map_err(json)? {
                ShownTransaction::Web3 { claimed_hash } => self.equal("transaction-hash", leaf, claimed_hash)?,
                ShownTransaction::Native { data, signature, .. } => {
                    self.equal("transaction-hash", leaf, data.hash(suite))?;
                    self.text("transaction-chain", &self.client.chain_id, &data.chain_id)?;
                    self.text("transaction-group", &self.client.group_id, &data.group_id)?;
                    let from = suite.transaction_signer(&leaf, &signature).map(|key| suite.account(&key));
                    let Some(from) = from else {
                        return Err(Refusal::new(
                            "transaction-signature",
                            "a signature of the suite",
                            signature.as_slice(),
                        ));
                    };
                    let shown = shown.get("from").and_then(Value::as_str).unwrap_or_default();
                    self.text("transaction-sender", &crate::codec::json::prefixed(&from), shown)?;
                }
            }
            if let Some(proof) = shown.get("txProof").and_then(proof_from_json) {
                verify_path(suite, Tree::Transactions, &proof, leaf, place, self.roots.transactions)?;
                self.count += 1;
            }
        }
        if let Some(raw) = entry.get("raw").and_then(Value::as_str) {
            let bytes = unhex(raw, "raw").map_err(json)?;
            let read = Web3Transaction::read(&bytes)
                .map_err(|_| Refusal::new("web3-form", "a raw Ethereum-signed transaction", bytes.as_slice()))?;
            self.equal("web3-leaf", leaf, read.leaf)?;
        }
        if let Some(sent) = entry.get("sent").and_then(Value::as_str) {
            let bytes = unhex(sent, "sent").map_err(json)?;
            let sent = Transaction::decode(&bytes)
                .map_err(|_| Refusal::new("sent-form", "a tars transaction", bytes.as_slice()))?;
            self.equal("sent-hash", leaf, sent.leaf(suite).unwrap_or_default())?;
            if sent.kind == 0 && suite.transaction_signer(&leaf, &sent.signature).is_none() {
                return Err(Refusal::new("sent-signature", "a signature of the suite", sent.signature.as_slice()));
            }
            self.count += 1;
        }
        Ok(())
    }

    fn receipts(&mut self, recorded: &[Value]) -> Result<(), Refusal> {
        let suite = self.client.suite;
        let mut hashes = Vec::with_capacity(recorded.len());
        for shown in recorded.iter().filter_map(|entry| entry.get("getTransactionReceipt")) {
            let hash = receipt_from_json(shown).map_err(json)?.hash(suite);
            let claimed = crate::codec::json::hash(shown, "hash").map_err(json)?;
            self.equal("receipt-hash", hash, claimed)?;
            hashes.push(hash);
        }
        if hashes.len() != recorded.len() {
            // One receipt is missing: the root can't be rebuilt, and no proof tells its position.
            return Ok(());
        }
        self.equal("receipts-root", self.roots.receipts, merkle::root(suite, &hashes))?;
        for (entry, hash) in recorded.iter().zip(&hashes) {
            let shown = entry.get("getTransactionReceipt").and_then(|receipt| receipt.get("txReceiptProof"));
            let Some(proof) = shown.and_then(proof_from_json) else { continue };
            // Equal receipts share the path of the first (`Ledger.cpp:getReceiptProof` finds it by hash).
            let index = hashes.iter().position(|other| other == hash).unwrap_or_default();
            let place = Place { index, leaves: hashes.len() };
            verify_path(suite, Tree::Receipts, &proof, *hash, place, self.roots.receipts)?;
            self.count += 1;
        }
        Ok(())
    }

    fn text(&mut self, check: &'static str, expected: &str, got: &str) -> Result<(), Refusal> {
        self.count += 1;
        if expected == got { Ok(()) } else { Err(Refusal::new(check, expected.as_bytes(), got.as_bytes())) }
    }
}

fn json(error: JsonError) -> Refusal {
    Refusal::new("recorded-json", error.expected, error.field)
}
