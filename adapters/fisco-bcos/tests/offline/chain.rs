//! A chain of four sealers made here: real signatures over headers whose every field a test may choose.

use cityrelay_core::hash::Hash32;
use cityrelay_fisco_bcos::codec::account::SecretKey;
use cityrelay_fisco_bcos::codec::header::{BlockHeader, HeaderSignature, Parent, SealedHeader};
use cityrelay_fisco_bcos::codec::merkle;
use cityrelay_fisco_bcos::codec::suite::CryptoSuite;
use cityrelay_fisco_bcos::verify::sealer_set::{Sealer, SealerSet};

pub const GENESIS: Hash32 = Hash32([0x11; 32]);

/// A sealing node.
#[derive(Clone)]
pub struct Node {
    pub key: SecretKey,
    pub weight: u64,
}

/// The chain's secrets and its tip.
#[derive(Clone)]
pub struct TestChain {
    pub suite: CryptoSuite,
    pub nodes: Vec<Node>,
    pub height: u64,
    pub tip: Hash32,
    /// The compatibility version that headers carry.
    pub version: u32,
}

impl TestChain {
    pub fn new(suite: CryptoSuite, weights: &[u64]) -> Self {
        let mut chain = Self { suite, nodes: Vec::new(), height: 1, tip: GENESIS, version: 0x0310_0400 };
        for (seed, weight) in (1..).zip(weights) {
            chain.add(seed, *weight);
        }
        chain
    }

    pub fn add(&mut self, seed: u8, weight: u64) {
        self.nodes.push(Node { key: SecretKey::from_bytes(self.suite, &[seed; 32]).unwrap(), weight });
        self.nodes.sort_by_key(|node| *node.key.public());
    }

    pub fn set(&self) -> SealerSet {
        let sealers = self.nodes.iter().map(|node| Sealer { id: *node.key.public(), weight: node.weight }).collect();
        SealerSet::new(sealers).unwrap()
    }

    /// The next header over these leaves, not sealed yet.
    pub fn header(&self, transactions: &[Hash32], receipts: &[Hash32]) -> BlockHeader {
        BlockHeader {
            version: self.version,
            parents: vec![Parent { number: self.height, hash: self.tip }],
            txs_root: merkle::root(self.suite, transactions).0.to_vec(),
            receipts_root: merkle::root(self.suite, receipts).0.to_vec(),
            state_root: vec![7; 32],
            number: self.height + 1,
            gas_used: "21000".to_owned(),
            timestamp: 1_700_000_000_000 + 1000 * self.height,
            sealer: 0,
            sealers: self.nodes.iter().map(|node| *node.key.public()).collect(),
            extra_data: Vec::new(),
            weights: self.nodes.iter().map(|node| node.weight).collect(),
        }
    }

    /// Seals `header` with every node.
    pub fn seal(&self, header: BlockHeader) -> SealedHeader {
        let hash = header.hash(self.suite);
        let signatures = (0..)
            .zip(&self.nodes)
            .map(|(sealer, node)| HeaderSignature { sealer, signature: node.key.sign_header(&hash).unwrap() })
            .collect();
        SealedHeader { header, claimed_hash: hash, signatures }
    }

    /// Moves the tip to `sealed`.
    pub fn append(&mut self, sealed: &SealedHeader) {
        self.height = sealed.header.number;
        self.tip = sealed.header.hash(self.suite);
    }
}
