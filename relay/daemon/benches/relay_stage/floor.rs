//! The floor: the signature checks, hashes and syncs that the work needs, and nothing else.

use std::collections::BTreeMap;
use std::fs::File;
use std::hint::black_box;
use std::io::Write;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use cityrelay_core::attestation::SignatureBytes;
use cityrelay_core::hash::keccak256;
use cityrelay_evm_bft::verify::head::HeadProof;
use k256::ecdsa::SigningKey;

use crate::source_chain::PAYLOAD_BYTES;

/// How many inputs of which length are hashed.
#[derive(Clone, Default)]
pub struct Hashes(BTreeMap<usize, usize>);

impl Hashes {
    pub fn add(&mut self, bytes: usize, count: usize) {
        *self.0.entry(bytes).or_default() += count;
    }

    /// What one head with `messages` messages and its attestations need, each input once.
    pub fn add_head(&mut self, proof: &HeadProof, messages: usize) {
        // The lane's id and its channel's name, and the statement that attesters sign.
        self.add(9 * 32, 1);
        self.add(9, 1);
        self.add(8 * 32, 1);
        // Trie keys: the gateway, and two slots of mappings.
        self.add(20, 1);
        self.add(64, 2);
        self.add(32, 2);
        if let HeadProof::Storage { account, head, index } = proof {
            account.iter().chain(head).chain(index).for_each(|node| self.add(node.len(), 1));
        }
        self.add(PAYLOAD_BYTES, messages);
        // The message's id and the chain's next head.
        self.add(8 * 32, messages);
        self.add(3 * 32, messages);
    }
}

/// How much of each.
pub struct Work {
    /// Keys recovered from signatures.
    pub recoveries: usize,
    pub hashes: Hashes,
    /// Times that data must reach the disk.
    pub syncs: usize,
    /// Bytes that each sync makes durable.
    pub bytes_per_sync: usize,
}

/// Does the work: two threads recover and hash, a third appends to a file in `dir` and syncs.
pub fn run(work: &Work, dir: &Path) -> Duration {
    let digest = keccak256(b"digest");
    let (signature, recovery) =
        SigningKey::from_slice(&[7; 32]).unwrap().sign_prehash_recoverable(digest.as_bytes()).unwrap();
    let signature = SignatureBytes::from_parts(&signature, recovery);
    let longest = work.hashes.0.keys().max().copied().unwrap_or(0);
    let input = vec![0x5a; longest];
    let half = |count: usize, thread: usize| (count + thread) / 2;
    let mut file = File::create(dir.join("floor")).unwrap();
    let record = vec![0x5a; work.bytes_per_sync];
    let started = Instant::now();
    thread::scope(|scope| {
        for number in 0..2 {
            let input = &input;
            scope.spawn(move || {
                for _ in 0..half(work.recoveries, number) {
                    black_box(black_box(&signature).signer(black_box(digest)).unwrap());
                }
                for (bytes, count) in &work.hashes.0 {
                    for _ in 0..half(*count, number) {
                        black_box(keccak256(black_box(&input[..*bytes])));
                    }
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..work.syncs {
                file.write_all(&record).unwrap();
                file.sync_data().unwrap();
            }
        });
    });
    started.elapsed()
}
