//! The log on stderr.

use std::fmt;

use anyhow::Context;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, fmt as lines, reload};

use crate::config::settings::{LogConfig, LogFormat};

/// Changes what is logged while the process runs.
#[derive(Clone)]
pub struct LogSwitch(reload::Handle<EnvFilter, Registry>);

impl fmt::Debug for LogSwitch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogSwitch").finish_non_exhaustive()
    }
}

impl LogSwitch {
    /// Logs what `filter` lets through from now on; a filter that can't be read changes nothing.
    pub fn set(&self, filter: &str) {
        if let Ok(filter) = EnvFilter::try_new(filter) {
            // It fails only when no log was started, and then nothing is logged.
            let _ = self.0.reload(filter);
        }
    }
}

/// Sends everything that is logged from now on to stderr, in the configured form.
///
/// # Errors
/// When the filter can't be read, or a log is there already.
pub fn start_logging(config: &LogConfig) -> anyhow::Result<LogSwitch> {
    let filter = EnvFilter::try_new(&config.filter).context("log.filter")?;
    let (filter, switch) = reload::Layer::new(filter);
    let layer = lines::layer().with_writer(std::io::stderr);
    let layer = match config.format {
        LogFormat::Text => layer.with_ansi(false).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).with_current_span(true).with_span_list(false).boxed(),
    };
    let started = tracing_subscriber::registry().with(filter).with(layer).try_init();
    started.map_err(|error| anyhow::anyhow!("the log can't be started: {error}"))?;
    Ok(LogSwitch(switch))
}
