//! One span tree for each message, for an OpenTelemetry collector, where the configuration names one.
//!
//! The ids of trace and spans follow from the message's id ([`tree`]): both relays and the attesters add to one tree, and
//! nothing of it goes over the wire. A span is made from the journal once its step has ended, and an [`exporter`] asks
//! the journal for what it has not handed over yet ([`progress`]). The journal is the queue: a collector that is away
//! costs no memory, and nothing here is waited for by anything else. What the journal does not keep, because no
//! decision needs it, is noted while it happens ([`moments`]); a restart forgets it, and the spans do without.

mod collector;
mod exporter;
mod moments;
mod progress;
mod step;
mod tree;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use cityrelay_core::ids::{AttesterId, UnixMillis};
use cityrelay_core::lane::Flow;
use cityrelay_core::machine::effect::Effect;
use cityrelay_core::machine::input::Input;
use cityrelay_core::machine::status::Status;
use cityrelay_core::recovery::Side;
use cityrelay_journal::Journal;
use tokio::task::JoinHandle;
use tracing::error;

use self::collector::Collector;
use self::exporter::Exporter;
use self::moments::Moments;
use self::progress::Progress;
use self::tree::Teller;
use super::plan::Handles;
use crate::config::Config;
use crate::observability::Metrics;

/// What the trees are made from.
pub(super) struct Origin<'a> {
    /// The chains and lanes.
    pub handles: &'a Arc<Handles>,
    /// The journal.
    pub journal: &'a Journal,
    /// Which side of which flow this process stands on.
    pub sides: &'a [(Flow, Side)],
    /// The address that it signs with, where it is an attester.
    pub attester: Option<AttesterId>,
    /// Counts what is sent.
    pub metrics: &'a Arc<Metrics>,
}

/// Notes what happens, and hands spans over in a task of its own; dropping this ends the task.
pub(super) struct Traces {
    moments: Arc<Mutex<Moments>>,
    task: JoinHandle<()>,
    has_said_its_end: bool,
}

impl Drop for Traces {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Traces {
    /// Starts it, where the configuration names a collector. What was on its way before the first start ever is not
    /// told afterwards.
    ///
    /// # Errors
    /// When the journal can't be read, or the collector's certificate.
    pub fn start(config: &Config, origin: &Origin<'_>) -> anyhow::Result<Option<Self>> {
        let Some(traces) = &config.traces else { return Ok(None) };
        let moments = Arc::new(Mutex::new(Moments::default()));
        let file = config.node.data_dir.join(PROGRESS_FILE);
        let counts = origin.journal.flows().context("read the journal")?;
        let exporter = Exporter {
            collector: Collector::new(traces)?,
            journal: origin.journal.clone(),
            progress: Progress::open(&file, origin.sides, &counts),
            moments: Arc::clone(&moments),
            teller: Arc::new(Teller {
                handles: Arc::clone(origin.handles),
                name: config.node.name.clone(),
                role: config.node.role,
                attester: origin.attester,
                one_in: traces.one_in,
            }),
            metrics: Arc::clone(origin.metrics),
            turn: 0,
            last_refusal: String::new(),
        };
        let task = tokio::spawn(exporter.run());
        Ok(Some(Self { moments, task, has_said_its_end: false }))
    }

    /// Looks at what happens to the machine.
    pub fn see(&self, input: &Input, now: UnixMillis) {
        lock(&self.moments).see(input, now);
    }

    /// Looks at what the machine wants done.
    pub fn see_effect(&self, effect: &Effect, now: UnixMillis) {
        lock(&self.moments).see_effect(effect, now);
    }

    /// Looks at what each flow waits for; and whether the task still runs, which no message should suffer from.
    pub fn see_status(&mut self, status: &Status, now: UnixMillis) {
        if self.task.is_finished() && !self.has_said_its_end {
            self.has_said_its_end = true;
            error!("handing spans over broke off by a fault of this program: messages go on, report this log");
        }
        lock(&self.moments).see_status(status, now);
    }
}

fn lock(moments: &Mutex<Moments>) -> MutexGuard<'_, Moments> {
    moments.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The file in the data folder that says up to where spans were handed over.
const PROGRESS_FILE: &str = "traces.json";

#[cfg(test)]
mod tests;
