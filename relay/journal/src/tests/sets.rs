//! Validator sets: one for each height, signed only after our own nodes confirmed it.

use cityrelay_core::ids::{Address, Domain, Epoch, Height};
use cityrelay_core::light_client::SetStatement;
use cityrelay_core::record::Record;
use cityrelay_core::set_attestation::{SetAttestation, SetEvidence, SetFact};

use super::fixture::{domain, journal, refusal, word};
use crate::JournalError;

fn fact(digest: &str) -> SetFact {
    let statement = SetStatement { height: Height(7), digest: word(digest) };
    SetFact { domain: domain(), parent: word("parent"), statement }
}

fn attestation(fact: SetFact, epoch: u64) -> SetAttestation {
    let verifier_domain = Domain(word("there"));
    SetAttestation { fact, epoch: Epoch(epoch), verifier: Address::from_20([4; 20]), verifier_domain }
}

fn confirmed(digest: &str) -> Record {
    Record::SetStated { fact: fact(digest), evidence: vec![] }
}

fn attested(digest: &str) -> Record {
    let evidence = SetEvidence { attestation: attestation(fact(digest), 1), signatures: [].into() };
    Record::SetStated { fact: fact(digest), evidence: vec![evidence] }
}

#[test]
fn a_confirmed_set_comes_back_and_may_be_signed_in_every_epoch() {
    let signed = |epoch| vec![Record::SetSigned(attestation(fact("set"), epoch))];
    let journal = journal(&[vec![confirmed("set")], signed(1), signed(2)]);
    assert_eq!(journal.view().recover(&[]).unwrap().sets, [fact("set")]);
    assert_eq!(journal.view().counts().unwrap().signed, 1, "one set was signed, however often");
}

#[test]
fn a_set_that_others_attested_is_kept_and_not_signed() {
    let journal = journal(&[vec![attested("set")]]);
    assert_eq!(journal.view().recover(&[]).unwrap().sets, []);
    let error = refusal(&journal, &[Record::SetSigned(attestation(fact("set"), 1))]);
    assert!(matches!(error, JournalError::SetUnconfirmed { height: Height(7), .. }), "{error}");
    // An own node that comes later may confirm it.
    let mut journal = journal.clone();
    journal.append(&[confirmed("set"), Record::SetSigned(attestation(fact("set"), 1))]).unwrap();
}

#[test]
fn a_second_set_for_a_height_is_refused_whoever_says_it() {
    let forked = SetFact { parent: word("fork"), ..fact("set") };
    for held in [confirmed("set"), attested("set")] {
        let journal = journal(&[vec![held]]);
        let others = [
            confirmed("other"),
            attested("other"),
            Record::SetStated { fact: forked, evidence: vec![] },
            Record::SetSigned(attestation(fact("other"), 1)),
        ];
        for other in others {
            let error = refusal(&journal, &[other]);
            assert!(matches!(error, JournalError::SetConflict { height: Height(7), .. }), "{error}");
        }
    }
}
