//! The signer process: one key, its sign-once record, and whoever is admitted asks over a Unix socket.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use cityrelay_core::ids::AttesterId;
use cityrelay_core::signing::{Signable, SigningAnswer, SigningRefusal, SigningRequest};
use cityrelay_journal::{SignOnce, SignOnceRecord};
use cityrelay_wire::signer::{LENGTH_BYTES, decode_signer_length, decode_signing_request, encode_signing_answer};
use nix::unistd::{Uid, User};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::{debug, error, info, warn};

use super::file_key::FileKey;
use crate::listening_socket::{Access, SocketFile, listen};

/// Connections served at once; more wait.
const MAX_CONNECTIONS: usize = 16;

/// How long the rest of a question may take once it has begun, and how long the asker may take to read the answer.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(5);

/// After this long without a question a connection is closed; the daemon makes a new one.
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);

/// What a signer process is started with.
#[derive(Clone, Debug)]
pub struct SignerConfig {
    /// The key, a file that only its owner may read.
    pub key_file: PathBuf,
    /// Where it listens.
    pub socket: PathBuf,
    /// The folder of its sign-once record.
    pub record: PathBuf,
    /// The user who may ask, besides its own user and root.
    pub user: Option<String>,
}

/// A signer that listens.
#[derive(Debug)]
pub struct SignerServer {
    listener: UnixListener,
    _file: SocketFile,
    desk: Arc<Desk>,
}

#[derive(Debug)]
struct Desk {
    key: FileKey,
    record: SignOnceRecord,
    admission: Admission,
}

/// Who may ask for signatures.
#[derive(Clone, Copy, Debug)]
struct Admission {
    own: Uid,
    user: Option<Uid>,
}

impl Admission {
    fn admits(&self, uid: Uid) -> bool {
        uid == self.own || uid.is_root() || self.user == Some(uid)
    }
}

impl SignerServer {
    /// Reads the key, opens the record and listens. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When one of them can't be had, or another process listens there.
    pub fn open(config: &SignerConfig) -> anyhow::Result<Self> {
        let key = FileKey::load(&config.key_file, None)?;
        let record = SignOnceRecord::open(&config.record)
            .with_context(|| format!("the sign-once record in {}", config.record.display()))?;
        let user = match &config.user {
            None => None,
            Some(name) => {
                Some(User::from_name(name).with_context(|| format!("look user {name} up"))?.with_context(|| {
                    format!("expected a user of this machine, got {name:?}: make it, or correct it")
                })?)
            }
        };
        let access = user.as_ref().map_or(Access::Owner, |user| Access::Group(user.gid));
        let (listener, file) = listen("the signer's socket", &config.socket, access)?;
        let admission = Admission { own: Uid::effective(), user: user.map(|user| user.uid) };
        let places = record.places().context("read the sign-once record")?;
        info!(
            address = %key.id(), socket = %config.socket.display(), record = %record.path().display(), places,
            "the signer is ready"
        );
        Ok(Self { listener, _file: file, desk: Arc::new(Desk { key, record, admission }) })
    }

    /// The address of its key.
    #[must_use]
    pub fn id(&self) -> AttesterId {
        self.desk.key.id()
    }

    /// Answers whoever asks, until this future is dropped.
    pub async fn serve(self) {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let desk = Arc::clone(&self.desk);
                    tokio::spawn(async move {
                        if let Err(error) = converse(stream, desk).await {
                            debug!(%error, "a connection ended");
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

async fn converse(mut stream: UnixStream, desk: Arc<Desk>) -> io::Result<()> {
    let uid = Uid::from_raw(stream.peer_cred()?.uid());
    loop {
        let Some(question) = next_question(&mut stream).await? else { return Ok(()) };
        // Who may not ask is answered too, after the question: an answer that nobody waits for yet would be lost.
        let (answer, goes_on) = match (desk.admission.admits(uid), question) {
            (false, _) => {
                warn!(uid = uid.as_raw(), "a user who may not ask was refused");
                (SigningAnswer::Refused(SigningRefusal::Stranger), false)
            }
            (true, Err(problem)) => {
                warn!(uid = uid.as_raw(), problem, "a question was not understood");
                (SigningAnswer::Refused(SigningRefusal::Malformed), false)
            }
            (true, Ok(request)) => {
                let desk = Arc::clone(&desk);
                let answer = tokio::task::spawn_blocking(move || desk.answer(&request)).await;
                (answer.unwrap_or(SigningAnswer::Refused(SigningRefusal::Key)), true)
            }
        };
        let bytes = encode_signing_answer(&answer).map_err(io::Error::other)?;
        timeout(QUESTION_TIMEOUT, stream.write_all(&bytes)).await??;
        if !goes_on {
            return Ok(());
        }
    }
}

/// The next question, or why it is none; `None` when the other side has ended or says nothing for long.
async fn next_question(stream: &mut UnixStream) -> io::Result<Option<Result<SigningRequest, String>>> {
    let mut header = [0; LENGTH_BYTES];
    let Ok(first) = timeout(IDLE_TIMEOUT, stream.read(&mut header)).await else { return Ok(None) };
    let read = first?;
    if read == 0 {
        return Ok(None);
    }
    let rest = async {
        if let Some(rest) = header.get_mut(read..) {
            stream.read_exact(rest).await?;
        }
        let length = match decode_signer_length(header) {
            Ok(length) => length,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let mut question = vec![0; length];
        stream.read_exact(&mut question).await?;
        Ok(decode_signing_request(&question).map_err(|error| error.to_string()))
    };
    timeout(QUESTION_TIMEOUT, rest).await?.map(Some)
}

impl Desk {
    /// Answers one question. What is signed has its record on disk first.
    fn answer(&self, request: &SigningRequest) -> SigningAnswer {
        match request {
            SigningRequest::Describe => SigningAnswer::Key(self.key.id()),
            SigningRequest::Sign(what) => match self.sign(what) {
                Ok(answer) => answer,
                Err(refusal) => SigningAnswer::Refused(refusal),
            },
        }
    }

    fn sign(&self, what: &Signable) -> Result<SigningAnswer, SigningRefusal> {
        let (place, content) = what.place();
        match self.record.record(place, content) {
            Ok(SignOnce::Recorded) => {}
            Ok(SignOnce::Conflict { held }) => {
                error!(
                    %place, %held, asked = %content,
                    "a second signature for one place was asked for and refused: whoever asks has an older journal, or \
                     is not who it should be"
                );
                return Err(SigningRefusal::Conflict { held });
            }
            Err(problem) => {
                error!(error = %problem, "nothing is signed: the sign-once record fails");
                return Err(SigningRefusal::Record);
            }
        }
        self.key.sign(what).map(SigningAnswer::Signed).ok_or(SigningRefusal::Key)
    }
}
