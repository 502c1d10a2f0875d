//! What an operator sees without asking: the log, the metrics, and whether the daemon is alive and ready.

mod endpoint;
mod health;
mod logging;
mod metrics;

pub use endpoint::{MetricsServer, serve};
pub use health::{Health, Trouble, TroubleKind};
pub use logging::{LogSwitch, start_logging};
pub use metrics::{
    Ages, CarryKind, EvidenceKind, FlowLabel, MetricKind, MetricRow, Metrics, SpanLoss, lane_state_word, reference,
};
