//! A command's end of the control socket.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

use super::protocol::{ControlReply, ControlRequest, MAX_LINE_BYTES, ReplyLine, RequestLine, VERSION};

/// Longest wait for an answer: a transaction may have to become final first.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(90);

/// Why a daemon gave no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Nobody listens there. The operator's; start the daemon, or name the right configuration.
    #[error("no daemon answers on {path} ({source}): is it running, and is this its configuration?")]
    NoDaemon {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The socket's file is closed to us. The operator's: run the command as a user who may.
    #[error("this user may not open {path}: only its owner, root and the members of control.group may")]
    NotAllowed {
        /// The socket.
        path: PathBuf,
    },
    /// The connection broke.
    #[error("the daemon on {path} went away: {source}")]
    Broken {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No answer in time.
    #[error("the daemon on {path} gave no answer within {} s", ANSWER_TIMEOUT.as_secs())]
    Timeout {
        /// The socket.
        path: PathBuf,
    },
    /// The answer is no control answer of our version.
    #[error("the daemon on {path} answered something else than control version {VERSION}: {source}")]
    Malformed {
        /// The socket.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

/// Asks the daemon that listens on `path`.
///
/// # Errors
/// [`ClientError`]; an answer that is a fault is no error here.
pub async fn ask(path: &Path, request: &ControlRequest) -> Result<ControlReply, ClientError> {
    let broken = |source: io::Error| ClientError::Broken { path: path.to_owned(), source };
    let mut stream = UnixStream::connect(path).await.map_err(|source| match source.kind() {
        io::ErrorKind::PermissionDenied => ClientError::NotAllowed { path: path.to_owned() },
        _ => ClientError::NoDaemon { path: path.to_owned(), source },
    })?;
    let malformed = |source| ClientError::Malformed { path: path.to_owned(), source };
    let line = RequestLine { v: VERSION, request: serde_json::to_value(request).map_err(malformed)? };
    let mut out = serde_json::to_vec(&line).map_err(malformed)?;
    out.push(b'\n');
    stream.write_all(&out).await.map_err(broken)?;
    let mut answer = Vec::new();
    let mut read = BufReader::new(stream).take(MAX_LINE_BYTES);
    tokio::time::timeout(ANSWER_TIMEOUT, read.read_until(b'\n', &mut answer))
        .await
        .map_err(|_| ClientError::Timeout { path: path.to_owned() })?
        .map_err(broken)?;
    let line: ReplyLine = serde_json::from_slice(&answer).map_err(malformed)?;
    Ok(line.reply)
}
