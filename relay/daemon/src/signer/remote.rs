//! Asking a signer that is a process of its own.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use cityrelay_core::attestation::SignatureBytes;
use cityrelay_core::ids::AttesterId;
use cityrelay_core::signing::{Signable, SigningAnswer, SigningRequest};
use cityrelay_wire::signer::{LENGTH_BYTES, decode_signer_length, decode_signing_answer, encode_signing_request};

use super::SignerError;

/// In front of a signer's socket, so that other ways to reach one have room beside it.
pub const SIGNER_SCHEME: &str = "unix:";

/// The socket in `unix:/run/…`; `None` for anything else.
#[must_use]
pub fn socket_of(text: &str) -> Option<&Path> {
    text.strip_prefix(SIGNER_SCHEME).map(Path::new)
}

/// How long an answer may take: the signer syncs its record first, and an HSM may take its time.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// For how long nobody waits for a signer that was just found away.
const AWAY_FOR: Duration = Duration::from_millis(500);

/// A signer behind a Unix socket. One connection, one question at a time; it is made anew when it breaks.
#[derive(Debug)]
pub struct RemoteSigner {
    socket: PathBuf,
    expected: AttesterId,
    line: Mutex<Line>,
}

#[derive(Debug, Default)]
struct Line {
    stream: Option<UnixStream>,
    /// The last failure, and until when it is repeated without trying.
    away: Option<(SignerError, Instant)>,
}

impl RemoteSigner {
    /// The signer at `socket`, which must have the key of `expected`. Nothing is asked yet.
    #[must_use]
    pub fn new(socket: &Path, expected: AttesterId) -> Self {
        Self { socket: socket.to_owned(), expected, line: Mutex::default() }
    }

    /// The address that its key must have.
    #[must_use]
    pub const fn expected(&self) -> AttesterId {
        self.expected
    }

    /// Asks whose key it has.
    ///
    /// # Errors
    /// [`SignerError`], when it is not there or has another key.
    pub fn probe(&self) -> Result<(), SignerError> {
        match self.ask(&SigningRequest::Describe)? {
            SigningAnswer::Key(got) => self.verify_key(got),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Asks the signer at `socket` for the address of its key, whichever that is.
    ///
    /// # Errors
    /// [`SignerError`], when it is not there or does not say.
    pub fn describe(socket: &Path) -> Result<AttesterId, SignerError> {
        // Whichever it is, so none is expected.
        Self::new(socket, AttesterId([0; 20])).greet().map(|(_, key)| key)
    }

    /// Asks for a signature, and checks it.
    ///
    /// # Errors
    /// [`SignerError`], when there is none that counts.
    pub fn sign(&self, what: &Signable) -> Result<SignatureBytes, SignerError> {
        match self.ask(&SigningRequest::Sign(what.clone()))? {
            SigningAnswer::Signed(signature) => match signature.signer(what.digest()) {
                Ok(signer) if signer == self.expected => Ok(signature),
                _ => Err(SignerError::BadSignature { socket: self.name(), expected: self.expected }),
            },
            SigningAnswer::Refused(refusal) => Err(SignerError::Refused { socket: self.name(), refusal }),
            other => Err(self.unexpected(&other)),
        }
    }

    fn ask(&self, request: &SigningRequest) -> Result<SigningAnswer, SignerError> {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((error, until)) = &line.away
            && Instant::now() < *until
        {
            return Err(error.clone());
        }
        // A connection that was left open may have ended since, by a restart of the signer: that costs one more try.
        let kept = line.stream.take();
        let answer = match kept.map(|stream| self.converse(stream, request)) {
            Some(Ok(answered)) => Ok(answered),
            Some(Err(error @ SignerError::Garbage { .. })) => Err(error),
            None | Some(Err(_)) => self.connect().and_then(|stream| self.converse(stream, request)),
        };
        match answer {
            Ok((stream, answer)) => {
                *line = Line { stream: Some(stream), away: None };
                Ok(answer)
            }
            Err(error) => {
                *line = Line { stream: None, away: Some((error.clone(), Instant::now() + AWAY_FOR)) };
                Err(error)
            }
        }
    }

    /// A new connection to a signer that has the right key.
    fn connect(&self) -> Result<UnixStream, SignerError> {
        let (stream, key) = self.greet()?;
        self.verify_key(key).map(|()| stream)
    }

    /// A new connection, and the address of the key behind it.
    fn greet(&self) -> Result<(UnixStream, AttesterId), SignerError> {
        let away = |error: std::io::Error| self.away(&error);
        let stream = UnixStream::connect(&self.socket).map_err(away)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT)).map_err(away)?;
        stream.set_write_timeout(Some(ANSWER_TIMEOUT)).map_err(away)?;
        match self.converse(stream, &SigningRequest::Describe)? {
            (stream, SigningAnswer::Key(key)) => Ok((stream, key)),
            (_, other) => Err(self.unexpected(&other)),
        }
    }

    fn converse(
        &self,
        mut stream: UnixStream,
        request: &SigningRequest,
    ) -> Result<(UnixStream, SigningAnswer), SignerError> {
        let question = encode_signing_request(request).map_err(|error| self.garbage(&error))?;
        let mut header = [0; LENGTH_BYTES];
        stream.write_all(&question).and_then(|()| stream.read_exact(&mut header)).map_err(|error| self.away(&error))?;
        let length = decode_signer_length(header).map_err(|error| self.garbage(&error))?;
        let mut answer = vec![0; length];
        stream.read_exact(&mut answer).map_err(|error| self.away(&error))?;
        let answer = decode_signing_answer(&answer).map_err(|error| self.garbage(&error))?;
        Ok((stream, answer))
    }

    fn verify_key(&self, got: AttesterId) -> Result<(), SignerError> {
        if got == self.expected {
            return Ok(());
        }
        Err(SignerError::WrongKey { socket: self.name(), expected: self.expected, got })
    }

    fn name(&self) -> String {
        self.socket.display().to_string()
    }

    fn away(&self, error: &std::io::Error) -> SignerError {
        SignerError::Away { socket: self.name(), problem: error.to_string() }
    }

    fn garbage(&self, error: &impl std::fmt::Display) -> SignerError {
        SignerError::Garbage { socket: self.name(), problem: error.to_string() }
    }

    fn unexpected(&self, answer: &SigningAnswer) -> SignerError {
        match *answer {
            SigningAnswer::Refused(refusal) => SignerError::Refused { socket: self.name(), refusal },
            SigningAnswer::Key(_) | SigningAnswer::Signed(_) => self.garbage(&"an answer to another question"),
        }
    }
}
