//! The journal on disk: any thread appends and reads, one thread writes.

use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::{self, JoinHandle, ThreadId};
use std::time::Duration;

use cityrelay_core::chain::{ChainPoint, Entry};
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Index, MessageId, UnixMillis};
use cityrelay_core::lane::Flow;
use cityrelay_core::order::AuditRecord;
use cityrelay_core::record::{Misbehaviour, Record};
use cityrelay_core::recovery::{Recovered, Side};

use crate::error::JournalError;
use crate::prune::{PruneDepth, Pruned};
use crate::queue::{Job, NotTaken, Queue, Wait};
use crate::stats::{Recorder, Stats};
use crate::store::{Open, OpenFile, Store};
use crate::view::{Counts, FlowCounts, Timeline, View};
use crate::writer::{self, Shared, WriterLimits};

/// Extensions looked at in one transaction while pruning, so that batches need not wait long.
const PRUNE_STEP: usize = 64;

/// How a journal behaves. The defaults fit a relay with a few lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Memory for pages of the file, in bytes; 64 MiB by default.
    pub cache_bytes: usize,
    /// The most batches that wait for the writer; 1024 by default, at least 1.
    pub max_waiting_batches: usize,
    /// The most bytes, roughly, that wait for the writer; 64 MiB by default. One batch may exceed it alone.
    pub max_waiting_bytes: usize,
    /// The most batches that one sync makes durable; 256 by default.
    pub max_group: usize,
    /// The most bytes, roughly, that one sync makes durable; 32 MiB by default. One batch may exceed it alone.
    pub max_group_bytes: usize,
    /// Whether opening reads the whole file and compares every checksum, also after a clean stop; `false` by default.
    pub check_on_open: bool,
    /// Whether a journal of an older format is taken over, after a copy of it was kept beside it; `true` by default.
    pub take_over: bool,
    /// How long after a disk failed the next batch tries to open the file again; 1 s by default.
    pub retry_interval: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cache_bytes: 64 << 20,
            max_waiting_batches: 1024,
            max_waiting_bytes: 64 << 20,
            max_group: 256,
            max_group_bytes: 32 << 20,
            check_on_open: false,
            take_over: true,
            retry_interval: Duration::from_secs(1),
        }
    }
}

/// A durable journal. Clones are handles to the same one; it closes with the last of them, or by [`Journal::close`].
#[derive(Clone)]
pub struct Journal(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
    writer_id: ThreadId,
}

impl core::fmt::Debug for Journal {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Journal").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

/// A batch that was not taken, with what is to be called about it.
pub struct NotAppended<F> {
    /// The batch.
    pub records: Vec<Record>,
    /// The callback, not called.
    pub on_durable: F,
}

impl<F> core::fmt::Debug for NotAppended<F> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("NotAppended").field("records", &self.records.len()).finish_non_exhaustive()
    }
}

impl Journal {
    /// Opens the journal in `dir`, and makes both when they don't exist.
    ///
    /// # Errors
    /// [`JournalError::AlreadyOpen`] while another journal holds the file, [`JournalError::NewerFormat`],
    /// [`JournalError::UnknownFormat`] and, without [`Options::take_over`], [`JournalError::OlderFormat`] for a file of
    /// another version, and those of damage and I/O.
    pub fn open(dir: &Path, options: Options) -> Result<Self, JournalError> {
        Self::open_with(
            Box::new(OpenFile {
                dir: dir.to_owned(),
                cache_bytes: options.cache_bytes,
                check: options.check_on_open,
                take_over: options.take_over,
            }),
            options,
        )
    }

    pub(crate) fn open_with(open: Box<dyn Open>, options: Options) -> Result<Self, JournalError> {
        let store = Store::open(&*open)?;
        let recorder = Recorder::default();
        recorder.opened(open.size());
        let shared = Arc::new(Shared {
            store: RwLock::new(Some(store)),
            queue: Queue::new(options.max_waiting_batches, options.max_waiting_bytes),
            recorder,
            open,
        });
        let limits = WriterLimits {
            max_group: options.max_group.max(1),
            max_group_bytes: options.max_group_bytes,
            retry_interval: options.retry_interval,
        };
        let for_writer = shared.clone();
        let writer =
            thread::Builder::new().name("journal".to_owned()).spawn(move || writer::run(&for_writer, limits))?;
        let writer_id = writer.thread().id();
        Ok(Self(Arc::new(Inner { shared, writer: Mutex::new(Some(writer)), writer_id })))
    }

    /// Appends a batch: durable as a whole, or refused as a whole, after every batch appended before it.
    ///
    /// `on_durable` is called exactly once, in the order of the batches, from the writer's thread: it should hand over
    /// and return. With a full queue this call waits, which is the backpressure of the disk; from within `on_durable`
    /// it never waits.
    ///
    /// A batch is refused with the error of its first record that does not fit; other batches of the same sync are not
    /// touched by that. After a failed sync every batch of it gets the error, and so do those that follow until the
    /// file could be opened again, which the next batch after [`Options::retry_interval`] tries.
    pub fn append(&self, records: Vec<Record>, on_durable: impl FnOnce(Result<(), JournalError>) + Send + 'static) {
        let wait = if thread::current().id() == self.0.writer_id { Wait::Never } else { Wait::UntilRoom };
        let job = Job::Append { records, on_durable: Box::new(on_durable) };
        if let Err(NotTaken::Closed(Job::Append { on_durable, .. }) | NotTaken::Full(Job::Append { on_durable, .. })) =
            self.0.shared.queue.push(job, wait)
        {
            on_durable(Err(JournalError::Closed));
        }
    }

    /// Appends a batch unless the queue is full.
    ///
    /// # Errors
    /// [`NotAppended`] gives batch and callback back when there is no room. With a closed journal the callback is
    /// called with [`JournalError::Closed`].
    pub fn try_append<F>(&self, records: Vec<Record>, on_durable: F) -> Result<(), NotAppended<F>>
    where
        F: FnOnce(Result<(), JournalError>) + Send + 'static,
    {
        // The callback must come back in its own type, so it waits outside of the box.
        let slot = Arc::new(Mutex::new(Some(on_durable)));
        let in_job = slot.clone();
        let take = |slot: &Mutex<Option<F>>| slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        let call = move |result| {
            if let Some(on_durable) = take(&in_job) {
                on_durable(result);
            }
        };
        let job = Job::Append { records, on_durable: Box::new(call) };
        match self.0.shared.queue.push(job, Wait::No) {
            Err(NotTaken::Full(Job::Append { records, .. })) => match take(&slot) {
                Some(on_durable) => Err(NotAppended { records, on_durable }),
                None => Ok(()),
            },
            Err(NotTaken::Closed(Job::Append { on_durable, .. })) => {
                on_durable(Err(JournalError::Closed));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Calls `read` with a durable snapshot: several answers that belong together.
    ///
    /// # Errors
    /// Those of `read`, of damage and of I/O; [`JournalError::Closed`].
    pub fn read<T>(&self, read: impl FnOnce(&View<'_>) -> Result<T, JournalError>) -> Result<T, JournalError> {
        self.0.shared.with_store(|store| store.read(|rows| read(&View::new(rows))))
    }

    /// See [`View::recover`].
    ///
    /// # Errors
    /// As [`View::recover`].
    pub fn recover(&self, flows: &[(Flow, Side)]) -> Result<Recovered, JournalError> {
        let recovered = self.read(|view| view.recover(flows))?;
        self.0.shared.open.settled();
        Ok(recovered)
    }

    /// See [`View::point`].
    ///
    /// # Errors
    /// As [`View::point`].
    pub fn point(&self, flow: Flow, index: Index) -> Result<Option<ChainPoint>, JournalError> {
        self.read(|view| view.point(flow, index))
    }

    /// See [`View::entries`].
    ///
    /// # Errors
    /// As [`View::entries`].
    pub fn entries(&self, flow: Flow, first: Index, last: Index) -> Result<Vec<Entry>, JournalError> {
        self.read(|view| view.entries(flow, first, last))
    }

    /// See [`View::links`].
    ///
    /// # Errors
    /// As [`View::links`].
    pub fn links(&self, flow: Flow, first: Index, last: Index) -> Result<Vec<Hash32>, JournalError> {
        self.read(|view| view.links(flow, first, last))
    }

    /// See [`View::find`].
    ///
    /// # Errors
    /// As [`View::find`].
    pub fn find(&self, id: MessageId) -> Result<Option<(Flow, Index)>, JournalError> {
        self.read(|view| view.find(id))
    }

    /// See [`View::timeline`].
    ///
    /// # Errors
    /// As [`View::timeline`].
    pub fn timeline(&self, flow: Flow, index: Index) -> Result<Option<Timeline>, JournalError> {
        self.read(|view| view.timeline(flow, index))
    }

    /// See [`View::misbehaviour`].
    ///
    /// # Errors
    /// As [`View::misbehaviour`].
    pub fn misbehaviour(&self) -> Result<Vec<Misbehaviour>, JournalError> {
        self.read(|view| view.misbehaviour())
    }

    /// See [`View::audit`].
    ///
    /// # Errors
    /// As [`View::audit`].
    pub fn audit(&self, limit: usize) -> Result<Vec<AuditRecord>, JournalError> {
        self.read(|view| view.audit(limit))
    }

    /// See [`View::flows`].
    ///
    /// # Errors
    /// As [`View::flows`].
    pub fn flows(&self) -> Result<Vec<FlowCounts>, JournalError> {
        self.read(|view| view.flows())
    }

    /// See [`View::counts`].
    ///
    /// # Errors
    /// As [`View::counts`].
    pub fn counts(&self) -> Result<Counts, JournalError> {
        self.read(|view| view.counts())
    }

    /// What the writer has done and what waits for it.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.0.shared.recorder.snapshot(self.0.shared.queue.waiting())
    }

    /// Drops what messages finished before `before` don't need any more, in steps between which batches go through.
    /// Waits until it is done.
    ///
    /// # Errors
    /// Those of damage and I/O, [`JournalError::Closed`]. What was pruned before the error stays pruned.
    pub fn prune(&self, before: UnixMillis, depth: PruneDepth) -> Result<Pruned, JournalError> {
        let mut total = Pruned::default();
        loop {
            let (answer, answered) = sync_channel(1);
            self.ask(Job::Prune { before, depth, limit: PRUNE_STEP, answer })?;
            let (pruned, has_more) = answered.recv().unwrap_or(Err(JournalError::Closed))?;
            total.extensions += pruned.extensions;
            total.payload_bytes += pruned.payload_bytes;
            if !has_more {
                return Ok(total);
            }
        }
    }

    /// Closes the file and opens it again, now: after the cause of a failure was put right. Waits until it is done.
    ///
    /// # Errors
    /// As [`Journal::open`].
    pub fn reopen(&self) -> Result<(), JournalError> {
        let (answer, answered) = sync_channel(1);
        self.ask(Job::Reopen { answer })?;
        answered.recv().unwrap_or(Err(JournalError::Closed))
    }

    fn ask(&self, job: Job) -> Result<(), JournalError> {
        if thread::current().id() == self.0.writer_id {
            // The writer would wait for its own answer.
            return Err(JournalError::Closed);
        }
        self.0.shared.queue.push(job, Wait::UntilRoom).map_err(|_| JournalError::Closed)
    }

    /// Makes everything appended so far durable and closes the file. Later calls get [`JournalError::Closed`].
    pub fn close(&self) {
        self.0.close();
    }
}

impl Inner {
    fn close(&self) {
        self.shared.queue.close();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer
            && thread::current().id() != self.writer_id
        {
            // A writer that panicked has told everybody who waited for it.
            let _ = writer.join();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}
