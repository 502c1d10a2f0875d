//! The daemon's end of the control socket.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::caller::{Admission, Caller};
use super::orders::{
    AuditReport, DoneReport, EvidenceReport, LaneOrder, Newest, ReloadOrder, RetryOrder, SkipOrder, UnfreezeOrder,
};
use super::protocol::{
    ControlFault, ControlReply, ControlRequest, FaultKind, LaneQuery, MAX_LINE_BYTES, MessageQuery, ReplyLine,
    RequestLine, SendRequest, VERSION, WhyQuery,
};
use super::reports::{LanesReport, MessagesReport, SendReport, StatusReport, WhyReport};
use crate::listening_socket::{Access, SocketFile, listen};
use crate::run::ReloadReport;

/// Connections served at once; more wait.
const MAX_CONNECTIONS: usize = 32;

/// How long a connection may say nothing.
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);

/// Who answers the questions that change nothing.
#[async_trait]
pub trait Readings: Send + Sync + 'static {
    /// Where everything stands.
    async fn status(&self) -> Result<StatusReport, ControlFault>;

    /// Depth, age and state of each lane.
    async fn lanes(&self, query: LaneQuery) -> Result<LanesReport, ControlFault>;

    /// A page of messages.
    async fn messages(&self, query: MessageQuery) -> Result<MessagesReport, ControlFault>;

    /// What a message waits for.
    async fn why(&self, query: WhyQuery) -> Result<WhyReport, ControlFault>;

    /// Who contradicted whom.
    async fn evidence(&self, newest: Newest) -> Result<EvidenceReport, ControlFault>;

    /// What was ordered.
    async fn audit(&self, newest: Newest) -> Result<AuditReport, ControlFault>;
}

/// Who does what is asked for.
#[async_trait]
pub trait ControlBackend: Readings {
    /// Sends a message; answers when the transaction's fate is known, or when waiting for it takes too long.
    async fn send(&self, caller: &Caller, request: SendRequest) -> Result<SendReport, ControlFault>;

    /// Stops this process's work on a lane.
    async fn pause(&self, caller: &Caller, order: LaneOrder) -> Result<DoneReport, ControlFault>;

    /// Ends such a pause.
    async fn resume(&self, caller: &Caller, order: LaneOrder) -> Result<DoneReport, ControlFault>;

    /// Tries again now what waits after a failure.
    async fn retry(&self, caller: &Caller, order: RetryOrder) -> Result<DoneReport, ControlFault>;

    /// Steps over the message that halted a strict lane, where this process's account may.
    async fn skip(&self, caller: &Caller, order: SkipOrder) -> Result<DoneReport, ControlFault>;

    /// Lets a frozen client go on.
    async fn unfreeze(&self, caller: &Caller, order: UnfreezeOrder) -> Result<DoneReport, ControlFault>;

    /// Reads the configuration again, and says what is in force now and what needs a restart.
    async fn reload(&self, caller: &Caller, order: ReloadOrder) -> Result<ReloadReport, ControlFault>;
}

/// A running control socket; it stops and the socket goes away when this is dropped.
#[derive(Debug)]
pub struct ControlServer {
    task: JoinHandle<()>,
    _file: SocketFile,
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Listens on the Unix socket `path` and answers whom `admission` lets in with `backend`. A socket that another process
/// left behind is replaced; one that answers is not. Must be called inside a tokio runtime.
///
/// # Errors
/// When another process listens there, or the socket can't be made.
pub fn serve<B: ControlBackend>(path: &Path, admission: Admission, backend: Arc<B>) -> anyhow::Result<ControlServer> {
    let access = admission.group().map_or(Access::Owner, Access::Group);
    let (listener, file) = listen("control.socket", path, access)?;
    Ok(ControlServer { task: tokio::spawn(accept(listener, admission, backend)), _file: file })
}

async fn accept<B: ControlBackend>(listener: UnixListener, admission: Admission, backend: Arc<B>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let (admission, backend) = (admission.clone(), Arc::clone(&backend));
                tokio::spawn(async move {
                    if let Err(error) = converse(stream, admission, backend.as_ref()).await {
                        tracing::debug!(%error, "a control connection ended");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a control connection was not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn converse<B: ControlBackend>(stream: UnixStream, admission: Admission, backend: &B) -> std::io::Result<()> {
    let credentials = stream.peer_cred()?;
    let caller = tokio::task::spawn_blocking(move || admission.admit(credentials.uid(), credentials.gid())).await?;
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    loop {
        let mut line = Vec::new();
        let mut limited = (&mut read).take(MAX_LINE_BYTES);
        let reading = limited.read_until(b'\n', &mut line);
        let Ok(count) = tokio::time::timeout(IDLE_TIMEOUT, reading).await else { return Ok(()) };
        if count? == 0 {
            return Ok(());
        }
        let is_whole = line.last() == Some(&b'\n');
        // Who may not ask is answered too, after the question: an answer that nobody waits for yet would be lost.
        let reply = match &caller {
            Err(refusal) => ControlReply::Fault(refusal.clone()),
            Ok(caller) if is_whole => answer(&line, caller, backend).await,
            Ok(_) => too_long(),
        };
        let mut out = serde_json::to_vec(&ReplyLine { v: VERSION, reply })?;
        out.push(b'\n');
        write.write_all(&out).await?;
        if !is_whole || caller.is_err() {
            return Ok(());
        }
    }
}

fn too_long() -> ControlReply {
    let message = format!("expected a line of at most {MAX_LINE_BYTES} bytes with a line end");
    ControlReply::Fault(ControlFault::new(FaultKind::Usage, message))
}

async fn answer<B: ControlBackend>(line: &[u8], caller: &Caller, backend: &B) -> ControlReply {
    let usage = |message: String| ControlReply::Fault(ControlFault::new(FaultKind::Usage, message));
    let request = match serde_json::from_slice::<RequestLine>(line) {
        Ok(line) if line.v == VERSION => serde_json::from_value::<ControlRequest>(line.request),
        Ok(line) => return usage(format!("this daemon speaks control version {VERSION}, got {}", line.v)),
        Err(error) => return usage(format!("not a control request: {error}")),
    };
    let result = match request {
        Ok(ControlRequest::Status) => backend.status().await.map(ControlReply::Status),
        Ok(ControlRequest::Lanes(query)) => backend.lanes(query).await.map(ControlReply::Lanes),
        Ok(ControlRequest::Messages(query)) => backend.messages(query).await.map(ControlReply::Messages),
        Ok(ControlRequest::Why(query)) => backend.why(query).await.map(ControlReply::Why),
        Ok(ControlRequest::Send(request)) => backend.send(caller, request).await.map(ControlReply::Sent),
        Ok(ControlRequest::Evidence(newest)) => backend.evidence(newest).await.map(ControlReply::Evidence),
        Ok(ControlRequest::Audit(newest)) => backend.audit(newest).await.map(ControlReply::Audit),
        Ok(ControlRequest::Pause(order)) => backend.pause(caller, order).await.map(ControlReply::Done),
        Ok(ControlRequest::Resume(order)) => backend.resume(caller, order).await.map(ControlReply::Done),
        Ok(ControlRequest::Retry(order)) => backend.retry(caller, order).await.map(ControlReply::Done),
        Ok(ControlRequest::Skip(order)) => backend.skip(caller, order).await.map(ControlReply::Done),
        Ok(ControlRequest::Unfreeze(order)) => backend.unfreeze(caller, order).await.map(ControlReply::Done),
        Ok(ControlRequest::Reload(order)) => backend.reload(caller, order).await.map(ControlReply::Reloaded),
        Err(error) => return usage(format!("not a control request: {error}")),
    };
    result.unwrap_or_else(ControlReply::Fault)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::PathBuf;

    use super::super::client::{ClientError, ask};
    use super::*;

    struct Backend;

    #[async_trait]
    impl Readings for Backend {
        async fn status(&self) -> Result<StatusReport, ControlFault> {
            Ok(StatusReport { name: "north".to_owned(), ..StatusReport::default() })
        }

        async fn why(&self, query: WhyQuery) -> Result<WhyReport, ControlFault> {
            match query {
                WhyQuery::Position { lane, index } => Ok(WhyReport { channel: lane, index, ..WhyReport::default() }),
                WhyQuery::Id(id) => Err(ControlFault::new(FaultKind::Usage, format!("no message {id}"))),
            }
        }

        async fn lanes(&self, query: LaneQuery) -> Result<LanesReport, ControlFault> {
            Err(ControlFault::new(FaultKind::Usage, format!("lanes {:?}", query.lane)))
        }

        async fn messages(&self, query: MessageQuery) -> Result<MessagesReport, ControlFault> {
            Ok(MessagesReport { next: Some(query.limit.to_string()), ..MessagesReport::default() })
        }

        async fn evidence(&self, _: Newest) -> Result<EvidenceReport, ControlFault> {
            Ok(EvidenceReport::default())
        }

        async fn audit(&self, _: Newest) -> Result<AuditReport, ControlFault> {
            Ok(AuditReport::default())
        }
    }

    #[async_trait]
    impl ControlBackend for Backend {
        async fn pause(&self, caller: &Caller, order: LaneOrder) -> Result<DoneReport, ControlFault> {
            Ok(DoneReport { done: format!("{} pauses {} for {}", caller.uid, order.lane, order.reason) })
        }

        async fn resume(&self, _: &Caller, _: LaneOrder) -> Result<DoneReport, ControlFault> {
            Ok(DoneReport::default())
        }

        async fn retry(&self, _: &Caller, _: RetryOrder) -> Result<DoneReport, ControlFault> {
            Ok(DoneReport::default())
        }

        async fn skip(&self, _: &Caller, _: SkipOrder) -> Result<DoneReport, ControlFault> {
            Ok(DoneReport::default())
        }

        async fn reload(&self, _: &Caller, _: ReloadOrder) -> Result<ReloadReport, ControlFault> {
            Ok(ReloadReport::default())
        }

        async fn unfreeze(&self, _: &Caller, order: UnfreezeOrder) -> Result<DoneReport, ControlFault> {
            Err(ControlFault::new(FaultKind::Refused, order.chain))
        }

        async fn send(&self, _: &Caller, request: SendRequest) -> Result<SendReport, ControlFault> {
            Ok(SendReport { lane: request.lane, transaction: request.payload_hex, ..SendReport::default() })
        }
    }

    fn socket() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        (folder, path)
    }

    #[tokio::test]
    async fn every_question_gets_its_answer() {
        let (_folder, path) = socket();
        let _server = serve(&path, Admission::new(None).unwrap(), Arc::new(Backend)).unwrap();
        let ControlReply::Status(status) = ask(&path, &ControlRequest::Status).await.unwrap() else { panic!("status") };
        assert_eq!(status.name, "north");
        let query = WhyQuery::Position { lane: "medical".to_owned(), index: 7 };
        let ControlReply::Why(why) = ask(&path, &ControlRequest::Why(query)).await.unwrap() else { panic!("why") };
        assert_eq!((why.channel.as_str(), why.index), ("medical", 7));
        let request = SendRequest {
            lane: "medical".to_owned(),
            receiver: "0x00".to_owned(),
            payload_hex: "ab".repeat(1 << 20),
            expires_in_millis: 1000,
            gas_limit: 1,
        };
        let ControlReply::Sent(sent) = ask(&path, &ControlRequest::Send(request)).await.unwrap() else {
            panic!("send")
        };
        assert_eq!(sent.transaction.len(), 2 << 20);
    }

    #[tokio::test]
    async fn what_is_not_said_has_its_default_and_what_is_unknown_is_refused() {
        let (_folder, path) = socket();
        let _server = serve(&path, Admission::new(None).unwrap(), Arc::new(Backend)).unwrap();
        let answer = say(&path, "{\"v\":1,\"request\":{\"ask\":\"messages\"}}\n").await;
        assert!(answer.contains("\"next\":\"50\""), "{answer}");
        let answer = say(&path, "{\"v\":1,\"request\":{\"ask\":\"messages\",\"limits\":7}}\n").await;
        assert!(answer.contains("fault") && answer.contains("limits"), "{answer}");
    }

    #[tokio::test]
    async fn who_orders_is_told_by_the_kernel() {
        let (_folder, path) = socket();
        let _server = serve(&path, Admission::new(None).unwrap(), Arc::new(Backend)).unwrap();
        let order = LaneOrder { lane: "medical".to_owned(), reason: "maintenance".to_owned() };
        let ControlReply::Done(done) = ask(&path, &ControlRequest::Pause(order)).await.unwrap() else { panic!("done") };
        assert_eq!(done.done, format!("{} pauses medical for maintenance", nix::unistd::geteuid()));
        // Both hashes and a reason must be named: a line that lacks one is no order.
        let answer =
            say(&path, "{\"v\":1,\"request\":{\"ask\":\"unfreeze\",\"chain\":\"a\",\"chosen\":\"0x\"}}\n").await;
        assert!(answer.contains("fault") && answer.contains("other"), "{answer}");
    }

    #[tokio::test]
    async fn a_fault_comes_back_with_its_kind() {
        let (_folder, path) = socket();
        let _server = serve(&path, Admission::new(None).unwrap(), Arc::new(Backend)).unwrap();
        let query = ControlRequest::Why(WhyQuery::Id("0x12".to_owned()));
        let ControlReply::Fault(fault) = ask(&path, &query).await.unwrap() else { panic!("fault") };
        assert_eq!(fault, ControlFault::new(FaultKind::Usage, "no message 0x12"));
    }

    async fn say(path: &Path, line: &str) -> String {
        let mut stream = UnixStream::connect(path).await.unwrap();
        stream.write_all(line.as_bytes()).await.unwrap();
        let mut answer = String::new();
        BufReader::new(&mut stream).read_line(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn another_version_is_refused_by_name() {
        let (_folder, path) = socket();
        let _server = serve(&path, Admission::new(None).unwrap(), Arc::new(Backend)).unwrap();
        let answer = say(&path, "{\"v\":2,\"request\":{\"ask\":\"new-thing\"}}\n").await;
        assert!(answer.contains("speaks control version 1, got 2"), "{answer}");
    }

    #[tokio::test]
    async fn an_unknown_question_is_refused_and_the_next_one_answered() {
        let (_folder, path) = socket();
        let _server = serve(&path, Admission::new(None).unwrap(), Arc::new(Backend)).unwrap();
        let answer = say(&path, "{\"v\":1,\"request\":{\"ask\":\"dance\"}}\n").await;
        assert!(answer.contains("dance") && answer.contains("fault"), "{answer}");
        assert!(say(&path, "no json\n").await.contains("not a control request"));
        assert!(ask(&path, &ControlRequest::Status).await.is_ok());
    }

    #[tokio::test]
    async fn the_socket_is_closed_to_others_and_goes_away() {
        let (_folder, path) = socket();
        let server = serve(&path, Admission::new(None).unwrap(), Arc::new(Backend)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(server);
        assert!(!path.exists());
        assert!(matches!(ask(&path, &ControlRequest::Status).await, Err(ClientError::NoDaemon { .. })));
    }

    #[tokio::test]
    async fn a_dead_socket_is_replaced_and_a_living_one_is_not() {
        let (_folder, path) = socket();
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let _server = serve(&path, Admission::new(None).unwrap(), Arc::new(Backend)).unwrap();
        let error = serve(&path, Admission::new(None).unwrap(), Arc::new(Backend)).unwrap_err();
        assert!(error.to_string().contains("another process answers there"), "{error}");
        assert!(ask(&path, &ControlRequest::Status).await.is_ok());
    }
}
