//! Polygon Edge: the list in the header is hashed, voter and direction of a vote are not.

use blst::min_pk::{AggregatePublicKey, AggregateSignature, PublicKey, SecretKey};
use cityrelay_core::hash::{Hash32, keccak256};
use cityrelay_core::ids::Height;
use cityrelay_core::light_client::{HoldReason, Verdict};

use super::kit::{SealedByTest, accepted, held, member, refused, rules, run, seal};
use crate::codec::edge::{EdgeExtra, EdgeSeals};
use crate::codec::header::Header;
use crate::codec::rlp::{bytes_item, list_item};
use crate::verify::client::Client;
use crate::verify::mode::Mode;
use crate::verify::seals::BLS_SUITE;
use crate::verify::set::{Validator, ValidatorSet};
use crate::verify::state::{MAX_HELD_HEADERS, State};
use crate::verify::update::UpdateItem;

const FOUR: [u8; 4] = [1, 2, 3, 4];
const FIVE: [u8; 5] = [1, 2, 3, 4, 5];
const ADD: [u8; 8] = [0xff; 8];
const DROP: [u8; 8] = [0; 8];

/// An Edge chain in which the test holds every key.
struct EdgeSealedByTest {
    mode: Mode,
    tip: Header,
    tip_hash: Hash32,
}

fn bls_key(n: u8) -> SecretKey {
    SecretKey::key_gen(&[n; 32], &[]).unwrap()
}

impl EdgeSealedByTest {
    fn new(mode: Mode) -> Self {
        let chain = SealedByTest::new();
        Self { mode, tip: chain.tip, tip_hash: chain.tip_hash }
    }

    fn client(&self) -> Client {
        Client::new(rules(&[(0, self.mode)], 30))
    }

    fn validators(&self, numbers: &[u8]) -> Vec<Validator> {
        let key = |n| (self.mode == Mode::EdgeBls).then(|| bls_key(n).sk_to_pk().compress());
        numbers.iter().map(|n| Validator { account: member(*n), bls_key: key(*n) }).collect()
    }

    fn anchor(&self, numbers: &[u8]) -> State {
        let set = ValidatorSet::new(self.validators(numbers)).unwrap();
        State::anchor(self.tip.number, self.tip_hash, self.tip.timestamp, set, Vec::new())
    }

    /// The next block: whom it lists, who sealed it, and whom it votes about, in which direction.
    fn next(&mut self, listed: &[u8], signers: &[u8], vote: Option<(u8, [u8; 8])>) -> UpdateItem {
        self.next_listing(&self.validators(listed), signers, vote)
    }

    fn next_listing(&mut self, listed: &[Validator], signers: &[u8], vote: Option<(u8, [u8; 8])>) -> UpdateItem {
        let (header, item) = self.draft(listed, signers, vote, |digest| {
            let signatures: Vec<_> =
                signers.iter().map(|n| bls_key(*n).sign(digest.as_bytes(), BLS_SUITE, &[])).collect();
            let signatures: Vec<_> = signatures.iter().collect();
            AggregateSignature::aggregate(&signatures, false).unwrap().to_signature().compress().to_vec()
        });
        self.tip = header;
        self.tip_hash = item.hash;
        item
    }

    /// The next block with the aggregate that `aggregate` makes, under mode `edge-bls`.
    fn draft(
        &self,
        listed: &[Validator],
        signers: &[u8],
        vote: Option<(u8, [u8; 8])>,
        aggregate: impl FnOnce(Hash32) -> Vec<u8>,
    ) -> (Header, UpdateItem) {
        let is_bls = self.mode == Mode::EdgeBls;
        let candidate = vote.map(|(candidate, _)| self.validators(&[candidate])[0]);
        let beneficiary = match candidate {
            None => vec![0; 20],
            Some(Validator { account, bls_key: None }) => account.0.to_vec(),
            Some(Validator { account, bls_key: Some(key) }) => list_item(&[bytes_item(&account.0), bytes_item(&key)]),
        };
        let mut header = Header {
            parent_hash: self.tip_hash,
            number: self.tip.number + 1,
            difficulty: self.tip.number + 1,
            timestamp: self.tip.timestamp + 1,
            beneficiary,
            nonce: vote.map_or(DROP, |(_, nonce)| nonce),
            ..self.tip.clone()
        };
        let no_aggregate = EdgeSeals::Bls { bitmap: Vec::new(), signature: Vec::new() };
        let empty = if is_bls { list_item(&[bytes_item(&[]), bytes_item(&[])]) } else { list_item::<&[u8]>(&[]) };
        let round = 0_u64.to_be_bytes();
        let mut extra = EdgeExtra {
            vanity: [0; 32],
            validators: listed.to_vec(),
            proposer_seal: Vec::new(),
            seals: if is_bls { no_aggregate } else { EdgeSeals::Ecdsa(Vec::new()) },
            parent_seals: empty,
            round: Some(round.to_vec()),
        };
        let hash = header.hash_of_13_with_extra(&extra.encode_for_block_hash());
        extra.proposer_seal = seal(signers[0], keccak256(hash.as_bytes())).to_vec();
        let proposal = keccak256(&[hash.0.as_slice(), &round].concat());
        let digest = keccak256(keccak256(&[proposal.0.as_slice(), &[2]].concat()).as_bytes());
        extra.seals = if is_bls {
            let marks =
                listed.iter().enumerate().filter(|(_, other)| signers.iter().any(|n| other.account == member(*n)));
            let bitmap = vec![marks.fold(0_u8, |bits, (position, _)| bits | 1 << position)];
            EdgeSeals::Bls { bitmap, signature: aggregate(digest) }
        } else {
            EdgeSeals::Ecdsa(signers.iter().map(|n| seal(*n, digest)).collect())
        };
        header.extra_data = extra.encode();
        let item = UpdateItem { header: header.encode(), hash, set_proof: None };
        (header, item)
    }
}

/// The same block as a node serves it that turns the vote round.
fn turned(item: &UpdateItem) -> UpdateItem {
    let mut header = Header::decode(&item.header).unwrap();
    header.nonce = header.nonce.map(|byte| !byte);
    UpdateItem { header: header.encode(), ..item.clone() }
}

const MODES: [Mode; 2] = [Mode::EdgeEcdsa, Mode::EdgeBls];

#[test]
fn a_vote_that_somebody_turned_round_does_not_stop_the_client() {
    for mode in MODES {
        let mut chain = EdgeSealedByTest::new(mode);
        let anchor = chain.anchor(&FOUR);
        let client = chain.client();
        let votes = [[1, 2, 3], [2, 3, 4], [3, 4, 1]].map(|signers| chain.next(&FOUR, &signers, Some((5, ADD))));
        // A quorum of the five, of whom enough are of the four; an aggregate must be of members of the four alone.
        let change = chain.next(&FIVE, if mode == Mode::EdgeBls { &FOUR } else { &[1, 2, 3, 5] }, None);
        let later = chain.next(&FIVE, &[2, 3, 4, 5], None);
        let honest = [votes.to_vec(), vec![change.clone(), later.clone()]].concat();
        let (end, _) = accepted(run(&client, &anchor, &honest));
        assert_eq!(end.set.size(), 5);

        let altered = [votes[0].clone(), turned(&votes[1]), votes[2].clone()];
        let (state, _) = accepted(run(&client, &anchor, &altered));
        assert_eq!(state.set.size(), 4);
        let verdict = run(&client, &state, std::slice::from_ref(&change));
        let Verdict::Advanced { state, headers, set_changes } = verdict else { panic!("{mode:?}: {verdict:?}") };
        assert_eq!((headers.len(), set_changes), (1, vec![Height(3)]));
        let (state, _) = accepted(run(&client, &state, std::slice::from_ref(&later)));
        assert_eq!((state.hash, state.set, state.votes), (end.hash, end.set, end.votes));
        // All at once as well.
        let at_once = [altered.to_vec(), vec![change, later]].concat();
        assert_eq!(accepted(run(&client, &anchor, &at_once)).0.hash, end.hash);
    }
}

#[test]
fn votes_that_somebody_turned_into_a_change_do_not_stop_the_client() {
    for mode in MODES {
        let mut chain = EdgeSealedByTest::new(mode);
        let anchor = chain.anchor(&FOUR);
        let client = chain.client();
        // To drop who is no member has no effect; turned round it would add it.
        let votes = [[1, 2, 3], [2, 3, 4], [3, 4, 1]].map(|signers| chain.next(&FOUR, &signers, Some((5, DROP))));
        let (state, _) = accepted(run(&client, &anchor, &votes.each_ref().map(turned)));
        assert_eq!(state.set.size(), 5, "the tally is misled");
        let next = chain.next(&FOUR, &[1, 2, 3], None);
        let (state, _) = accepted(run(&client, &state, &[next]));
        assert_eq!((state.height, state.set.size()), (4, 4));
        let next = chain.next(&FOUR, &[2, 3, 4], None);
        assert_eq!(accepted(run(&client, &state, &[next])).0.height, 5);
    }
}

#[test]
fn a_set_that_no_vote_explains_is_taken_over_with_a_quorum_of_the_set_before() {
    let mut chain = EdgeSealedByTest::new(Mode::EdgeEcdsa);
    let anchor = chain.anchor(&FOUR);
    let client = chain.client();
    let first = chain.next(&FOUR, &[1, 2, 3], None);
    // As a staking contract changes it at the end of an epoch.
    let swap = chain.next(&[1, 2, 3, 9], &[1, 2, 3], None);
    let (state, headers) = accepted(run(&client, &anchor, &[first, swap]));
    assert_eq!((headers.len(), state.set.members()), (2, chain.validators(&[1, 2, 3, 9]).as_slice()));
}

#[test]
fn a_set_of_strangers_is_not_followed_and_nobody_is_blamed() {
    for mode in MODES {
        let mut chain = EdgeSealedByTest::new(mode);
        let anchor = chain.anchor(&FOUR);
        let client = chain.client();
        // As a staking contract does it that replaces all at once.
        let first = chain.next(&FOUR, &[1, 2, 3], None);
        let swap = chain.next(&[6, 7, 8, 9], &[6, 7, 8, 9], None);
        let (state, headers, reason) = held(run(&client, &anchor, &[first, swap.clone()]));
        let digest = ValidatorSet::new(chain.validators(&[6, 7, 8, 9])).unwrap().digest();
        let expected = HoldReason::SetNotFollowed { height: Height(2), digest, check: "validator-list" };
        assert_eq!((headers.len(), state.set.clone(), reason), (1, anchor.set.clone(), expected));
        let (state, headers, reason) = held(run(&client, &state, &[swap, chain.next(&[6, 7, 8, 9], &[7, 8, 9], None)]));
        assert_eq!((headers.len(), reason), (0, expected), "descendants do not help");

        // A chain that goes on without them is followed.
        let mut chain = EdgeSealedByTest::new(mode);
        chain.next(&FOUR, &[1, 2, 3], None);
        let honest = chain.next(&FOUR, &[2, 3, 4], None);
        assert_eq!(accepted(run(&client, &state, &[honest])).0.height, 2);
    }
}

#[test]
fn strangers_with_false_seals_are_refused() {
    let anchor = EdgeSealedByTest::new(Mode::EdgeEcdsa).anchor(&FOUR);
    let client = EdgeSealedByTest::new(Mode::EdgeEcdsa).client();
    let false_seal = EdgeSealedByTest::new(Mode::EdgeEcdsa).next(&[6, 7, 8, 9], &[6, 7, 8, 5], None);
    assert_eq!(refused(run(&client, &anchor, &[false_seal])).check, "seal-stranger");
}

#[test]
fn a_set_with_too_few_members_of_the_one_before_finalises_nothing() {
    let mut chain = EdgeSealedByTest::new(Mode::EdgeEcdsa);
    let anchor = chain.anchor(&FOUR);
    let client = chain.client();

    // One validator and strangers make a chain of their own.
    let mut forged = EdgeSealedByTest::new(Mode::EdgeEcdsa);
    let mut items: Vec<_> = (0..MAX_HELD_HEADERS).map(|_| forged.next(&[1, 6, 7, 8], &[1, 6, 7, 8], None)).collect();
    let (waiting, headers, reason) = held(run(&client, &anchor, &items));
    assert_eq!((headers.len(), waiting.height, &waiting.set), (0, 0, &anchor.set));
    let short = HoldReason::ShortOfQuorum { height: Height(64), expected: 3, got: 1 };
    assert_eq!(reason, short);
    items.push(forged.next(&[1, 6, 7, 8], &[1, 6, 7, 8], None));
    let (_, headers, reason) = held(run(&client, &anchor, &items));
    let digest = ValidatorSet::new(forged.validators(&[1, 6, 7, 8])).unwrap().digest();
    let expected = HoldReason::SetNotFollowed { height: Height(1), digest, check: "validator-list" };
    assert_eq!((headers.len(), reason), (0, expected));

    let honest = chain.next(&FOUR, &[2, 3, 4], None);
    assert_eq!(accepted(run(&client, &waiting, &[honest])).0.height, 1);
}

#[test]
fn an_aggregate_with_a_key_made_from_the_others_finalises_nothing() {
    let mut chain = EdgeSealedByTest::new(Mode::EdgeBls);
    let anchor = chain.anchor(&FOUR);
    let client = chain.client();
    let first = chain.next(&FOUR, &[1, 2, 3], None);
    let (state, _) = accepted(run(&client, &anchor, &[first]));
    // The key of 9 less those of the four: together they are the key of 9.
    let minus = FOUR.map(|n| {
        let mut key = bls_key(n).sk_to_pk().compress();
        key[0] ^= 0x20;
        PublicKey::uncompress(&key).unwrap()
    });
    let own = bls_key(9).sk_to_pk();
    let parts: Vec<_> = core::iter::once(&own).chain(&minus).collect();
    let rogue = AggregatePublicKey::aggregate(&parts, false).unwrap().to_public_key().compress();
    let mut listed = chain.validators(&FOUR);
    listed.push(Validator { account: member(9), bls_key: Some(rogue) });
    let forge = |digest: Hash32| bls_key(9).sign(digest.as_bytes(), BLS_SUITE, &[]).compress().to_vec();
    let forged = chain.draft(&listed, &[9, 1, 2, 3, 4], None, forge).1;
    let (after, headers, reason) = held(run(&client, &state, &[forged]));
    assert_eq!((headers.len(), &after.set), (0, &state.set));
    assert_eq!(reason, HoldReason::ShortOfQuorum { height: Height(2), expected: 3, got: 0 });
}
