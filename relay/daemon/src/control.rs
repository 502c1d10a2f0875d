//! The control socket: how commands ask a running daemon.
//!
//! One JSON object a line in each direction over a Unix socket that only its owner may open. A request is
//! `{"v":1,"request":{"ask":"status"}}`, an answer `{"v":1,"reply":{"status":{…}}}` or `{"v":1,"reply":{"fault":{…}}}`.
//! A version that the daemon does not speak is refused by name.

mod client;
mod protocol;
mod server;

pub use client::{ClientError, ask};
pub use protocol::{
    ChainReport, ControlFault, ControlReply, ControlRequest, EndpointReport, FaultKind, FlowReport, PeerReport,
    SendReport, SendRequest, StatusReport, TimelineEntry, VERSION, WhyQuery, WhyReport,
};
pub use server::{ControlBackend, ControlServer, serve};
