//! The log on stderr.

use anyhow::Context;
use tracing_subscriber::EnvFilter;

use crate::config::settings::{LogConfig, LogFormat};

/// Sends everything that is logged from now on to stderr, in the configured form.
///
/// # Errors
/// When the filter can't be read, or a log is there already.
pub fn start_logging(config: &LogConfig) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.filter).context("log.filter")?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match config.format {
        LogFormat::Text => builder.with_ansi(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(true).with_span_list(false).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("the log can't be started: {error}"))
}
