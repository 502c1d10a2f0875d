//! What an operator sees without asking: the log, the metrics, and whether the daemon is alive and ready.

mod endpoint;
mod health;
mod logging;
mod metrics;

pub use endpoint::{MetricsServer, serve};
pub use health::{Health, Trouble};
pub use logging::start_logging;
pub use metrics::{CarryKind, FlowLabel, Metrics};
