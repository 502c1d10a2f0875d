//! `cityrelay signer`: the process that keeps an attester's key, until it is told to stop.

use sd_notify::NotifyState;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tracing::debug;

use super::answer::{Answer, Exit, Failure};
use super::arguments::SignerArguments;
use super::run::input_ended;
use crate::config::settings::{LogConfig, LogFormat};
use crate::observability::start_logging;
use crate::signer::server::{SignerConfig, SignerServer};

/// Signs for whoever is admitted, until SIGTERM or SIGINT. Whatever it has answered is on disk, so it just ends.
pub(super) async fn signer(arguments: SignerArguments) -> Result<Answer, Failure> {
    let usage = |error: anyhow::Error| Failure::new(Exit::Usage, format!("{error:#}"));
    start_logging(&LogConfig { format: LogFormat::Text, filter: "info".to_owned() }).map_err(usage)?;
    let record = arguments.record.unwrap_or_else(|| {
        let mut name = arguments.key.clone().into_os_string();
        name.push(".signed");
        name.into()
    });
    let config = SignerConfig { key_file: arguments.key, socket: arguments.socket, record, user: arguments.user };
    let listen =
        |kind| signal(kind).map_err(|error| Failure::new(Exit::Internal, format!("listen to signals: {error}")));
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    let server = SignerServer::open(&config).map_err(usage)?;
    let id = server.id();
    if let Err(error) = sd_notify::notify(&[NotifyState::Ready]) {
        debug!(%error, "the service manager does not listen");
    }
    tokio::select! {
        () = server.serve() => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = input_ended(), if arguments.with_parent => {}
    }
    Ok(Answer { data: json!({"address": id.to_string()}), text: format!("the signer of {id} stopped") })
}
