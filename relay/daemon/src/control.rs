//! The control socket: how commands ask a running daemon.
//!
//! One JSON object a line in each direction over a Unix socket. The kernel says which user asks ([`Caller`]); the daemon's
//! own user, root and the members of one configured group may, everybody else is refused by name. A request is
//! `{"v":1,"request":{"ask":"status"}}`, an answer `{"v":1,"reply":{"status":{…}}}` or `{"v":1,"reply":{"fault":{…}}}`.
//! A version that the daemon does not speak is refused by name.

mod caller;
mod client;
mod orders;
mod protocol;
mod reports;
mod server;
mod words;

pub use caller::{Admission, Caller};
pub use client::{ClientError, ask};
pub use orders::{
    AuditEntry, AuditReport, DEFAULT_ENTRIES, DoneReport, EvidenceEntry, EvidenceReport, Exhibit, LaneOrder,
    MAX_ENTRIES, Newest, ReloadOrder, RetryOrder, SkipOrder, Undecided, UnfreezeOrder,
};
pub(crate) use protocol::ReplyLine;
pub use protocol::{
    ControlFault, ControlReply, ControlRequest, DEFAULT_PAGE, FaultKind, LaneQuery, MAX_PAGE, MIN_ID_DIGITS,
    MessageQuery, SendRequest, VERSION, WhyQuery,
};
pub use reports::{
    ChainReport, EndpointReport, FlowReport, LaneReport, LanesReport, MessageReport, MessagesReport, PeerReport,
    SendReport, StatusReport, TimelineEntry, WhyReport,
};
pub use server::{ControlBackend, ControlServer, Readings, serve};
pub use words::{LaneState, MessageState};
