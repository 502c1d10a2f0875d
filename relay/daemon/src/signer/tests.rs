//! The shipped signer and the one who asks it, over a real socket.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

use cityrelay_core::attestation::Statement;
use cityrelay_core::chain::ChainPoint;
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Address, Domain, Epoch, Index, LaneId};
use cityrelay_core::lane::{Direction, Flow, GatewayAt};
use cityrelay_core::set_attestation::Attestable;
use cityrelay_core::signing::{Rotation, SigningAnswer};
use cityrelay_wire::signer::encode_signing_answer;
use nix::unistd::{Uid, User};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use super::server::{SignerConfig, SignerServer};
use super::*;
use crate::keys::create_secret;

fn word(byte: u8) -> Hash32 {
    Hash32([byte; 32])
}

fn head(index: u64, head: u8, epoch: u64) -> Signable {
    Signable::Attestation(Attestable::Head(Statement {
        flow: Flow { lane: LaneId(word(1)), direction: Direction::Outbox },
        point: ChainPoint { index: Index(index), head: word(head) },
        epoch: Epoch(epoch),
        verifying: GatewayAt { domain: Domain(word(4)), gateway: Address(word(5)) },
    }))
}

/// A folder with a key, and a signer that runs or not.
struct Desk {
    runtime: Runtime,
    config: SignerConfig,
    id: AttesterId,
    task: Option<JoinHandle<()>>,
    _folder: TempDir,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        create_secret(&at("key"), &[7; 32]).unwrap();
        let config = SignerConfig { key_file: at("key"), socket: at("socket"), record: at("record"), user: None };
        let id = FileKey::load(&config.key_file, None).unwrap().id();
        let mut desk = Self { runtime: Runtime::new().unwrap(), config, id, task: None, _folder: folder };
        desk.start();
        desk
    }

    fn start(&mut self) {
        let _inside = self.runtime.enter();
        let server = SignerServer::open(&self.config).unwrap();
        assert_eq!(server.id(), self.id);
        self.task = Some(self.runtime.spawn(server.serve()));
    }

    /// Ends it with all its connections, as the end of its process would.
    fn stop(&mut self) {
        self.task = None;
        let ended = std::mem::replace(&mut self.runtime, Runtime::new().unwrap());
        drop(ended);
    }

    fn ask(&self) -> RemoteSigner {
        RemoteSigner::new(&self.config.socket, self.id)
    }
}

#[test]
fn i4_a_signer_signs_one_head_for_an_index_whoever_asks_and_whenever() {
    let mut desk = Desk::new();
    let one = desk.ask();
    let signature = one.sign(&head(7, 2, 3)).unwrap();
    assert_eq!(signature.signer(head(7, 2, 3).digest()).unwrap(), desk.id);
    // Again, by another asker, and for another epoch of the attesters.
    assert_eq!(one.sign(&head(7, 2, 3)).unwrap(), signature);
    desk.ask().sign(&head(7, 2, 4)).unwrap();
    let refused = |outcome: Result<_, _>| match outcome {
        Err(SignerError::Refused { refusal: SigningRefusal::Conflict { held }, .. }) => held == word(2),
        _ => false,
    };
    assert!(refused(desk.ask().sign(&head(7, 9, 3))));
    assert!(refused(desk.ask().sign(&head(7, 9, 5))));
    desk.stop();
    desk.start();
    assert!(refused(desk.ask().sign(&head(7, 9, 3))));
    desk.ask().sign(&head(8, 9, 3)).unwrap();
}

#[test]
fn a_signer_signs_one_change_of_the_attesters() {
    let desk = Desk::new();
    let rotation = |threshold| {
        let members = [AttesterId([1; 20]), AttesterId([2; 20]), AttesterId([3; 20])].into();
        let (verifier, domain) = (Address(word(1)), Domain(word(2)));
        Signable::Rotation(Rotation { verifier, domain, epoch: Epoch(2), members, threshold })
    };
    let signature = desk.ask().sign(&rotation(2)).unwrap();
    assert_eq!(signature.signer(rotation(2).digest()).unwrap(), desk.id);
    let refused = desk.ask().sign(&rotation(3)).unwrap_err();
    assert!(matches!(refused, SignerError::Refused { refusal: SigningRefusal::Conflict { .. }, .. }), "{refused}");
}

#[test]
fn a_signer_that_was_away_is_found_again() {
    let mut desk = Desk::new();
    let signer = desk.ask();
    signer.sign(&head(1, 1, 1)).unwrap();
    desk.stop();
    let away = signer.sign(&head(2, 2, 1)).unwrap_err();
    assert!(matches!(away, SignerError::Away { .. }), "{away}");
    assert!(away.to_string().contains(&desk.config.socket.display().to_string()), "{away}");
    desk.start();
    // For a moment nobody waits for it.
    let mut signed = signer.sign(&head(2, 2, 1));
    for _ in 0..100 {
        if signed.is_ok() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
        signed = signer.sign(&head(2, 2, 1));
    }
    signed.unwrap();
    // It restarts between two questions: the connection that was kept is of no use, and nobody notices.
    desk.stop();
    desk.start();
    signer.sign(&head(3, 3, 1)).unwrap();
}

#[test]
fn a_signer_with_another_key_is_refused_by_name() {
    let desk = Desk::new();
    let other = AttesterId([9; 20]);
    let source = KeySource::Signer { socket: desk.config.socket.clone(), address: other };
    let error = format!("{:#}", AttesterKey::open(&source).unwrap_err());
    for words in [desk.id.to_string(), other.to_string(), "attester.address".to_owned()] {
        assert!(error.contains(&words), "{words} is missing: {error}");
    }
    let sound = KeySource::Signer { socket: desk.config.socket.clone(), address: desk.id };
    assert_eq!(AttesterKey::open(&sound).unwrap().id(), desk.id);
    // One that is away may come: the process starts, and says so.
    let away = KeySource::Signer { socket: PathBuf::from("/nonexistent/signer.sock"), address: other };
    assert!(matches!(AttesterKey::open(&away).unwrap().probe(), Err(SignerError::Away { .. })));
}

#[test]
fn a_second_signer_on_one_socket_or_one_record_is_refused() {
    let desk = Desk::new();
    let _inside = desk.runtime.enter();
    let same = SignerServer::open(&desk.config).unwrap_err();
    assert!(format!("{same:#}").contains("in use by another process"), "{same:#}");
    let config = SignerConfig { record: desk.config.record.with_file_name("other"), ..desk.config.clone() };
    let socket = SignerServer::open(&config).unwrap_err();
    assert!(format!("{socket:#}").contains("another process answers there"), "{socket:#}");
    desk.ask().probe().unwrap();
}

#[test]
fn a_named_user_reaches_the_socket_by_its_group_and_nobody_else_does() {
    let desk = Desk::new();
    let metadata = std::fs::metadata(&desk.config.socket).unwrap();
    assert_eq!(metadata.mode() & 0o777, 0o600, "without a name only the own user");
    let own = User::from_uid(Uid::effective()).unwrap().unwrap();
    let at = |name: &str| desk.config.socket.with_file_name(name);
    let (socket, record) = (at("other-socket"), at("other-record"));
    let named = SignerConfig { socket: socket.clone(), record, user: Some(own.name), ..desk.config.clone() };
    let _inside = desk.runtime.enter();
    let server = SignerServer::open(&named).unwrap();
    let metadata = std::fs::metadata(&socket).unwrap();
    assert_eq!((metadata.mode() & 0o777, metadata.gid()), (0o660, own.gid.as_raw()));
    drop(server);
    assert!(!socket.exists(), "it goes away with the signer");
    let unknown =
        SignerServer::open(&SignerConfig { user: Some("no-such-user-here".to_owned()), ..named }).unwrap_err();
    assert!(format!("{unknown:#}").contains("no-such-user-here"), "{unknown:#}");
}

/// What comes back for these bytes, until the signer ends the connection.
fn answer_to(desk: &Desk, bytes: &[u8]) -> Vec<u8> {
    let mut stream = UnixStream::connect(&desk.config.socket).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
    stream.write_all(bytes).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    // What it left unread makes the end a reset; what it said before counts.
    let _ = stream.read_to_end(&mut answer);
    answer
}

#[test]
fn garbage_is_refused_and_harms_nobody_else() {
    let desk = Desk::new();
    let signer = desk.ask();
    signer.probe().unwrap();
    let malformed = encode_signing_answer(&SigningAnswer::Refused(SigningRefusal::Malformed)).unwrap();
    for garbage in [
        // Longer than anything may be: refused before it is read.
        &[0xff, 0xff, 0xff, 0xff][..],
        &[0, 0, 8, 1, 1, 1],
        &[0, 0, 0, 0],
        // Another version, unknown kinds, too short, too long.
        &[0, 0, 0, 2, 2, 1],
        &[0, 0, 0, 2, 1, 0],
        &[0, 0, 0, 2, 1, 129],
        &[0, 0, 0, 2, 1, 2],
        &[0, 0, 0, 3, 1, 1, 0],
        b"GET / HTTP/1.1\r\n\r\n",
    ] {
        assert_eq!(answer_to(&desk, garbage), malformed, "{garbage:?}");
    }
    // A question that ends in the middle has no answer.
    assert!(answer_to(&desk, &[0, 0]).is_empty());
    assert!(answer_to(&desk, &[0, 0, 0, 2, 1]).is_empty());
    signer.sign(&head(1, 1, 1)).unwrap();
}

#[test]
fn whatever_listens_there_gives_no_signature_that_does_not_count() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    let expected = AttesterId([9; 20]);
    let says = std::thread::spawn(move || {
        let key = encode_signing_answer(&SigningAnswer::Key(expected)).unwrap();
        let signed = encode_signing_answer(&SigningAnswer::Signed(SignatureBytes([27; 65]))).unwrap();
        let scripts = [vec![key.clone(), signed], vec![key.clone(), key], vec![b"\xff\xff\xff\xff".to_vec()]];
        for script in scripts {
            let (mut stream, _) = listener.accept().unwrap();
            for answer in script {
                let mut length = [0; 4];
                stream.read_exact(&mut length).unwrap();
                let mut question = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap()];
                stream.read_exact(&mut question).unwrap();
                stream.write_all(&answer).unwrap();
            }
        }
    });
    let ask = || RemoteSigner::new(&socket, expected).sign(&head(1, 1, 1)).unwrap_err();
    assert!(matches!(ask(), SignerError::BadSignature { .. }));
    assert!(matches!(ask(), SignerError::Garbage { .. }));
    assert!(matches!(ask(), SignerError::Garbage { .. }));
    says.join().unwrap();
}
