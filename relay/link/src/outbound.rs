//! Frames to streams: a queue and a writer per stream, so that one that is stuck holds up no other.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use bytes::Bytes;
use cityrelay_core::frame::Frame;
use cityrelay_wire::frame::encode_frame;
use quinn::{Connection, SendStream, WriteError};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::budget::{Budget, Reservation, permits};
use crate::config::LinkLimits;
use crate::event::SendError;
use crate::lock::lock;
use crate::peer::Peer;
use crate::stream::StreamKey;

/// The sending half of one session.
#[derive(Debug)]
pub(crate) struct Outbound {
    connection: Connection,
    peer: Arc<Peer>,
    max_frame_bytes: u32,
    room_per_stream: u32,
    room: Arc<Semaphore>,
    is_hello_taken: AtomicBool,
    is_hello_queued: AtomicBool,
    control_stopped: CancellationToken,
    streams: Mutex<Streams>,
}

#[derive(Debug)]
struct Streams {
    control: Option<(SendStream, Vec<u8>)>,
    queues: HashMap<StreamKey, Queue>,
    writers: JoinSet<()>,
    is_closed: bool,
}

/// Frames on their way to a writer. Bounded by room, not by number.
#[derive(Clone, Debug)]
struct Queue {
    frames: UnboundedSender<Queued>,
    state: Arc<QueueState>,
}

#[derive(Debug)]
struct QueueState {
    room: Budget,
    refused: OnceLock<u64>,
}

#[derive(Debug)]
struct Queued {
    body: Bytes,
    _room: Reservation,
}

/// A frame that only lacks room.
struct Prepared {
    body: Bytes,
    length: u32,
    kind: &'static str,
    is_hello: bool,
    queue: Queue,
}

impl Outbound {
    /// `head` is what the control stream has still to begin with.
    pub(crate) fn new(
        connection: Connection,
        peer: Arc<Peer>,
        control: SendStream,
        head: Vec<u8>,
        limits: &LinkLimits,
    ) -> Self {
        Self {
            connection,
            peer,
            max_frame_bytes: limits.max_frame_bytes,
            room_per_stream: limits.max_inflight_bytes_per_stream,
            room: Arc::new(Semaphore::new(permits(limits.max_inflight_bytes_per_peer))),
            is_hello_taken: AtomicBool::new(false),
            is_hello_queued: AtomicBool::new(false),
            control_stopped: CancellationToken::new(),
            streams: Mutex::new(Streams {
                control: Some((control, head)),
                queues: HashMap::new(),
                writers: JoinSet::new(),
                is_closed: false,
            }),
        }
    }

    /// Starts the control stream's writer, and with it what the stream has still to begin with.
    pub(crate) fn open_control(&self) {
        // It fails only when the session has ended.
        let _ = self.queue(StreamKey::Control);
    }

    /// Returns when the peer no longer takes the control stream: the session is of no use then.
    pub(crate) async fn control_stopped(&self) {
        self.control_stopped.cancelled().await;
    }

    /// Queues a frame, waiting for room. Frames of one stream leave in the order in which they were queued.
    pub(crate) async fn send(&self, frame: &Frame) -> Result<(), SendError> {
        let prepared = self.prepare(frame)?;
        match prepared.queue.state.room.reserve(prepared.length).await {
            Ok(room) => self.push(prepared, room),
            Err(_) => Err(self.ended(&prepared.queue.state)),
        }
    }

    /// Queues a frame if there is room now.
    pub(crate) fn try_send(&self, frame: &Frame) -> Result<(), SendError> {
        let prepared = self.prepare(frame)?;
        match prepared.queue.state.room.try_reserve(prepared.length) {
            Some(room) => self.push(prepared, room),
            None if prepared.queue.state.refused.get().is_some() => Err(self.ended(&prepared.queue.state)),
            None => Err(SendError::Full),
        }
    }

    /// Takes no more frames: every `send` that waits ends.
    pub(crate) fn close(&self) {
        let mut streams = lock(&self.streams);
        streams.is_closed = true;
        for (_, queue) in streams.queues.drain() {
            queue.state.room.close();
        }
        self.room.close();
    }

    /// Takes no more frames, and returns when the peer's QUIC has everything that was queued.
    pub(crate) async fn flush(&self) {
        self.close();
        let mut writers = std::mem::take(&mut lock(&self.streams).writers);
        while writers.join_next().await.is_some() {}
    }

    fn prepare(&self, frame: &Frame) -> Result<Prepared, SendError> {
        let is_hello = matches!(frame, Frame::Hello(_));
        if !is_hello && !self.is_hello_queued.load(Ordering::Acquire) {
            return Err(SendError::HelloFirst { got: frame.kind() });
        }
        if let Some(lane) = frame.lane()
            && !self.peer.allows(lane)
        {
            return Err(SendError::LaneNotAllowed { lane });
        }
        let body = Bytes::from(encode_frame(frame)?);
        let limit = self.max_frame_bytes;
        let length = u32::try_from(body.len()).ok().filter(|length| *length <= limit);
        let length = length.ok_or(SendError::TooLarge { got: body.len(), limit })?;
        let queue = self.queue(StreamKey::of(frame))?;
        if is_hello && self.is_hello_taken.swap(true, Ordering::AcqRel) {
            return Err(SendError::HelloRepeated);
        }
        Ok(Prepared { body, length, kind: frame.kind(), is_hello, queue })
    }

    fn push(&self, prepared: Prepared, room: Reservation) -> Result<(), SendError> {
        let Prepared { body, queue, kind, is_hello, .. } = prepared;
        if queue.frames.send(Queued { body, _room: room }).is_err() {
            return Err(self.ended(&queue.state));
        }
        if is_hello {
            self.is_hello_queued.store(true, Ordering::Release);
        }
        self.peer.counters.frames_out.add(kind);
        Ok(())
    }

    fn ended(&self, state: &QueueState) -> SendError {
        match state.refused.get() {
            Some(code) => SendError::StreamRefused { code: *code },
            None => SendError::Down { peer: self.peer.name.clone() },
        }
    }

    /// The queue of a stream; the first one to ask for it starts its writer.
    fn queue(&self, key: StreamKey) -> Result<Queue, SendError> {
        let mut streams = lock(&self.streams);
        if streams.is_closed {
            return Err(SendError::Down { peer: self.peer.name.clone() });
        }
        if let Some(queue) = streams.queues.get(&key) {
            return Ok(queue.clone());
        }
        let shared = match key {
            StreamKey::Flow(_) => Some(Arc::clone(&self.room)),
            StreamKey::Control | StreamKey::Requests => None,
        };
        let room = Budget::new(self.room_per_stream, shared, Arc::clone(&self.peer.queued));
        let state = Arc::new(QueueState { room, refused: OnceLock::new() });
        let (frames, queued) = unbounded_channel();
        let queue = Queue { frames, state: Arc::clone(&state) };
        let writer = Writer {
            connection: self.connection.clone(),
            peer: Arc::clone(&self.peer),
            control_stopped: self.control_stopped.clone(),
            state,
            queued,
        };
        let control = if key == StreamKey::Control { streams.control.take() } else { None };
        streams.writers.spawn(writer.run(key, control));
        streams.queues.insert(key, queue.clone());
        Ok(queue)
    }
}

/// Writes the frames of one stream until its queue ends, the peer stops it, or the connection is gone.
struct Writer {
    connection: Connection,
    peer: Arc<Peer>,
    control_stopped: CancellationToken,
    state: Arc<QueueState>,
    queued: UnboundedReceiver<Queued>,
}

impl Writer {
    async fn run(mut self, key: StreamKey, control: Option<(SendStream, Vec<u8>)>) {
        if let Err(WriteError::Stopped(code)) = self.write(key, control).await {
            self.state.refused.get_or_init(|| code.into_inner());
            if key == StreamKey::Control {
                self.control_stopped.cancel();
            }
        }
        self.state.room.close();
    }

    async fn write(&mut self, key: StreamKey, control: Option<(SendStream, Vec<u8>)>) -> Result<(), WriteError> {
        let (mut stream, head) = match control {
            Some(control) => control,
            None => (self.connection.open_uni().await?, key.head()),
        };
        stream.write_all(&head).await?;
        if !matches!(key, StreamKey::Flow(_)) {
            // Small and awaited by somebody: ahead of bulk.
            let _ = stream.set_priority(1);
        }
        let stopped = stream.stopped();
        tokio::pin!(stopped);
        loop {
            let queued = tokio::select! {
                queued = self.queued.recv() => queued,
                end = &mut stopped => return match end {
                    Ok(Some(code)) => Err(WriteError::Stopped(code)),
                    _ => Err(WriteError::ClosedStream),
                },
            };
            let Some(Queued { body, _room }) = queued else {
                break;
            };
            let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
            let header = Bytes::copy_from_slice(&length.to_be_bytes());
            let written = u64::from(length).saturating_add(u64::try_from(header.len()).unwrap_or(u64::MAX));
            stream.write_all_chunks(&mut [header, body]).await?;
            self.peer.counters.bytes_out.fetch_add(written, Ordering::Relaxed);
        }
        // Both fail only when the connection is gone.
        let _ = stream.finish();
        let _ = stopped.await;
        Ok(())
    }
}
