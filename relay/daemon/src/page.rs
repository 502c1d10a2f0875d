//! The status page: one file of markup, style and script each, and the answers of the control socket as JSON.
//!
//! It reads only: its backend is [`Readings`], which has no question that changes anything. It is for this machine: callers
//! from another address are refused, and so is a request whose `Host` is no name of this machine, because a page of
//! somebody else's could have its name point here (DNS rebinding).

mod news;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, Query, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use serde::Deserialize;
use tokio::sync::Semaphore;

use crate::control::{
    ControlFault, ControlReply, FaultKind, LaneQuery, MessageQuery, Newest, Readings, ReplyLine, VERSION, WhyQuery,
};

/// What the browser may do with the page: load its own script and style, ask this daemon, nothing else.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The page and its answers. Needs the callers' addresses: serve it with `into_make_service_with_connect_info`.
pub fn router<B: Readings>(backend: Arc<B>) -> Router {
    Router::new()
        .route("/", get(|| asset("text/html; charset=utf-8", include_str!("page/index.html"))))
        .route("/page/page.js", get(|| asset("text/javascript; charset=utf-8", include_str!("page/page.js"))))
        .route("/page/page.css", get(|| asset("text/css; charset=utf-8", include_str!("page/page.css"))))
        .route("/page/icon.svg", get(|| asset("image/svg+xml", include_str!("page/icon.svg"))))
        .route("/api/v1/status", get(status::<B>))
        .route("/api/v1/lanes", get(lanes::<B>))
        .route("/api/v1/messages", get(messages::<B>))
        .route("/api/v1/why", get(why::<B>))
        .route("/api/v1/evidence", get(evidence::<B>))
        .route("/api/v1/audit", get(audit::<B>))
        .route("/api/v1/news", get(news::follow::<B>))
        .layer(from_fn(guard))
        .with_state(backend)
        .layer(Extension(Arc::new(Semaphore::new(news::MAX_FOLLOWERS))))
}

/// Lets in who asks from this machine by one of its own names, and closes the answer to everything else.
async fn guard(ConnectInfo(caller): ConnectInfo<SocketAddr>, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let mut response = if !caller.ip().to_canonical().is_loopback() {
        refused("the status page is for this machine only: forward the port with ssh, or use /metrics")
    } else if !host.is_some_and(is_of_this_machine) {
        refused("open the status page as http://127.0.0.1 or http://localhost: another name may be somebody else's")
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_SECURITY_POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    response
}

fn refused(why: &'static str) -> Response {
    (StatusCode::FORBIDDEN, why).into_response()
}

/// Whether a `Host` header names a loopback address or `localhost`, with or without a port.
fn is_of_this_machine(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or("", |(address, _)| address),
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

async fn asset(media_type: &'static str, text: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, media_type)], text)
}

fn answer(outcome: Result<ControlReply, ControlFault>) -> Response {
    let code = match &outcome {
        Ok(_) => StatusCode::OK,
        Err(fault) => match fault.kind {
            FaultKind::Usage => StatusCode::BAD_REQUEST,
            FaultKind::Refused => StatusCode::FORBIDDEN,
            FaultKind::Unreachable | FaultKind::Unhealthy => StatusCode::SERVICE_UNAVAILABLE,
            FaultKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        },
    };
    let reply = outcome.unwrap_or_else(ControlReply::Fault);
    (code, Json(ReplyLine { v: VERSION, reply })).into_response()
}

async fn status<B: Readings>(State(backend): State<Arc<B>>) -> Response {
    answer(backend.status().await.map(ControlReply::Status))
}

async fn lanes<B: Readings>(State(backend): State<Arc<B>>, query: Query<LaneQuery>) -> Response {
    answer(backend.lanes(query.0).await.map(ControlReply::Lanes))
}

async fn messages<B: Readings>(State(backend): State<Arc<B>>, query: Query<MessageQuery>) -> Response {
    answer(backend.messages(query.0).await.map(ControlReply::Messages))
}

/// A message by its id, or by its lane and index.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WhyParameters {
    id: Option<String>,
    lane: Option<String>,
    index: Option<u64>,
}

async fn why<B: Readings>(State(backend): State<Arc<B>>, Query(query): Query<WhyParameters>) -> Response {
    let query = match (query.id, query.lane, query.index) {
        (Some(id), None, None) => WhyQuery::Id(id),
        (None, Some(lane), Some(index)) => WhyQuery::Position { lane, index },
        _ => {
            let message = "expected id, or lane and index";
            return answer(Err(ControlFault::new(FaultKind::Usage, message)));
        }
    };
    answer(backend.why(query).await.map(ControlReply::Why))
}

async fn evidence<B: Readings>(State(backend): State<Arc<B>>, newest: Query<Newest>) -> Response {
    answer(evidence_without_raw(&*backend, newest.0).await)
}

/// The adapters' own bytes are for programs, and many: the command shows them.
async fn evidence_without_raw<B: Readings>(backend: &B, newest: Newest) -> Result<ControlReply, ControlFault> {
    let mut report = backend.evidence(newest).await?;
    for entry in &mut report.evidence {
        entry.ours.raw = None;
        entry.theirs.raw = None;
    }
    Ok(ControlReply::Evidence(report))
}

async fn audit<B: Readings>(State(backend): State<Arc<B>>, newest: Query<Newest>) -> Response {
    answer(backend.audit(newest.0).await.map(ControlReply::Audit))
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::control::{
        AuditReport, EvidenceEntry, EvidenceReport, Exhibit, LanesReport, MessagesReport, StatusReport, WhyReport,
    };

    struct Backend;

    #[async_trait]
    impl Readings for Backend {
        async fn status(&self) -> Result<StatusReport, ControlFault> {
            let now = crate::clock::unix_millis().0;
            Ok(StatusReport { name: "<b>north</b>".to_owned(), now, ..StatusReport::default() })
        }

        async fn lanes(&self, _: LaneQuery) -> Result<LanesReport, ControlFault> {
            Ok(LanesReport::default())
        }

        async fn messages(&self, query: MessageQuery) -> Result<MessagesReport, ControlFault> {
            Ok(MessagesReport { next: Some(format!("{} {}", query.limit, query.unfinished)), ..Default::default() })
        }

        async fn why(&self, query: WhyQuery) -> Result<WhyReport, ControlFault> {
            match query {
                WhyQuery::Position { lane, index } => Ok(WhyReport { lane, index, ..WhyReport::default() }),
                WhyQuery::Id(id) => Err(ControlFault::new(FaultKind::Usage, format!("no message {id}"))),
            }
        }

        async fn evidence(&self, _: Newest) -> Result<EvidenceReport, ControlFault> {
            let ours = Exhibit { raw: Some("many bytes".to_owned()), raw_bytes: 5, ..Exhibit::default() };
            Ok(EvidenceReport { evidence: vec![EvidenceEntry { ours, ..Default::default() }], ..Default::default() })
        }

        async fn audit(&self, _: Newest) -> Result<AuditReport, ControlFault> {
            Ok(AuditReport::default())
        }
    }

    /// One request, as bytes on a connection from this machine.
    async fn say(request: &str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = router(Arc::new(Backend)).into_make_service_with_connect_info::<SocketAddr>();
        let server = tokio::spawn(async move { axum::serve(listener, service).await });
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        server.abort();
        answer
    }

    async fn get(path: &str) -> String {
        say(&format!("GET {path} HTTP/1.1\r\nhost: localhost:1\r\nconnection: close\r\n\r\n")).await
    }

    #[tokio::test]
    async fn the_page_and_its_answers_are_closed_to_everything_else() {
        for path in ["/", "/page/page.js", "/page/page.css", "/page/icon.svg", "/api/v1/status", "/api/v1/lanes"] {
            let answer = get(path).await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
            let policy = format!("content-security-policy: {CONTENT_SECURITY_POLICY}\r\n");
            assert!(answer.contains(&policy) && answer.contains("nosniff") && answer.contains("no-store"), "{answer}");
        }
    }

    #[tokio::test]
    async fn only_names_of_this_machine_are_answered() {
        for host in ["evil.example", "127.0.0.1.evil.example", "10.0.0.7:9464", "[::2]", ""] {
            let answer = say(&format!("GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")).await;
            assert!(answer.starts_with("HTTP/1.1 403"), "{host}: {answer}");
        }
        for host in ["localhost", "LOCALHOST:80", "127.0.0.1:9464", "127.8.8.8", "[::1]:9464"] {
            assert!(is_of_this_machine(host), "{host}");
        }
    }

    #[tokio::test]
    async fn nothing_but_reading_is_answered() {
        for method in ["POST", "PUT", "DELETE", "PATCH"] {
            let request = format!("{method} /api/v1/status HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
            assert!(say(&request).await.starts_with("HTTP/1.1 405"), "{method}");
        }
    }

    #[tokio::test]
    async fn questions_come_as_parameters_and_faults_with_their_kind() {
        assert!(get("/api/v1/messages").await.contains(r#""next":"50 false""#));
        assert!(get("/api/v1/messages?limit=7&unfinished=true").await.contains(r#""next":"7 true""#));
        assert!(get("/api/v1/messages?limit=seven").await.starts_with("HTTP/1.1 400"));
        assert!(get("/api/v1/why?lane=medical&index=7").await.contains(r#""index":7"#));
        let answer = get("/api/v1/why?id=0x12").await;
        assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("no message 0x12"), "{answer}");
        assert!(get("/api/v1/why?lane=medical").await.contains("expected id, or lane and index"));
        assert!(get("/api/v1/status").await.contains(r#""name":"<b>north</b>""#));
        assert!(get("/api/v1/audit?limit=3").await.contains(r#""audit""#));
        let answer = get("/api/v1/evidence").await;
        assert!(answer.contains(r#""raw_bytes":5"#) && !answer.contains("many bytes"), "{answer}");
    }

    #[tokio::test]
    async fn news_come_one_reply_line_an_event_and_what_has_not_changed_comes_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = router(Arc::new(Backend)).into_make_service_with_connect_info::<SocketAddr>();
        let server = tokio::spawn(async move { axum::serve(listener, service).await });
        let mut streams = Vec::new();
        for _ in 0..=news::MAX_FOLLOWERS {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET /api/v1/news HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
            let mut lines = BufReader::new(stream).lines();
            let first = lines.next_line().await.unwrap().unwrap();
            streams.push((first, lines));
        }
        let (refused, _) = streams.pop().unwrap();
        assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
        let (first, mut lines) = streams.swap_remove(0);
        assert!(first.starts_with("HTTP/1.1 200"), "{first}");
        let mut kinds = Vec::new();
        // Whatever comes in the second round.
        while kinds.iter().filter(|kind| *kind == "status").count() < 2 {
            let line = lines.next_line().await.unwrap().unwrap();
            let Some(data) = line.strip_prefix("data: ") else { continue };
            let line: serde_json::Value = serde_json::from_str(data).unwrap();
            assert_eq!(line["v"], VERSION);
            kinds.extend(line["reply"].as_object().unwrap().keys().cloned());
        }
        assert_eq!(kinds, ["status", "lanes", "messages", "evidence", "audit", "status"]);
        server.abort();
    }
}
