//! Streams to frames: the length first, then room, then memory, then the frame.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cityrelay_core::frame::Frame;
use cityrelay_wire::DecodeError;
use cityrelay_wire::frame::decode_frame;
use cityrelay_wire::framing::{LENGTH_BYTES, decode_length};
use quinn::{ReadError, ReadExactError, RecvStream};
use tokio::time::{sleep, timeout};

use crate::budget::{Budget, Reservation};
use crate::event::{FramePermit, LinkEvent};
use crate::hub::Hub;
use crate::lock::lock;
use crate::peer::Peer;
use crate::refusal::{CloseCode, Refusal};
use crate::session::Session;
use crate::stream::StreamKey;

/// Why a stream is not read on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ReadFault {
    /// The connection is gone, or nobody takes events any more; there is nothing to add to that.
    Lost,
    /// The peer broke the protocol.
    Refused(Refusal),
}

impl From<Refusal> for ReadFault {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Reads the frames of one stream.
#[derive(Debug)]
pub(crate) struct FrameReader {
    stream: RecvStream,
    key: StreamKey,
    room: Budget,
    peer: Arc<Peer>,
    max_frame_bytes: u32,
    frame_timeout: Duration,
}

/// A frame and the room that it takes.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) frame: Frame,
    pub(crate) room: Reservation,
    pub(crate) bytes: u64,
}

impl FrameReader {
    pub(crate) fn new(stream: RecvStream, key: StreamKey, peer: &Arc<Peer>, hub: &Hub) -> Self {
        Self {
            stream,
            key,
            room: peer.inbound_room(key),
            peer: Arc::clone(peer),
            max_frame_bytes: hub.limits.max_frame_bytes,
            frame_timeout: hub.limits.frame_timeout,
        }
    }

    /// The next frame, or `None` when the stream ends after a whole one.
    ///
    /// Checks, in order: the length is within the limit; there is room (waits); the bytes come in time; it is the peer's
    /// turn (waits); they are a frame; the frame belongs on this stream.
    pub(crate) async fn next(&mut self) -> Result<Option<Received>, ReadFault> {
        let mut header = [0; LENGTH_BYTES];
        let (first, rest) = header.split_at_mut(1);
        // A stream may be silent for as long as it likes, but a frame once begun must come.
        match self.stream.read(first).await {
            Ok(Some(_)) => {}
            Ok(None) => return Ok(None),
            Err(error) => return Err(self.read_fault(&error)),
        }
        self.read_in_time(rest).await?;
        let limit = self.max_frame_bytes;
        let length =
            decode_length(header, usize::try_from(limit).unwrap_or(usize::MAX)).map_err(|error| match error {
                DecodeError::TooLong { .. } => Refusal::FrameTooLarge { got: u32::from_be_bytes(header), limit },
                error => Refusal::FrameUnreadable(error),
            })?;
        let room = self.room.reserve(u32::from_be_bytes(header)).await.map_err(|_| ReadFault::Lost)?;
        let mut body = vec![0; length];
        self.read_in_time(&mut body).await?;
        let bytes = u64::try_from(LENGTH_BYTES.saturating_add(length)).unwrap_or(u64::MAX);
        self.peer.pace.take(bytes, self.key.weight()).await;
        let frame = decode_frame(&body).map_err(Refusal::FrameUnreadable)?;
        if StreamKey::of(&frame) != self.key {
            return Err(Refusal::FrameMisplaced { kind: frame.kind(), stream: self.key.as_str() }.into());
        }
        Ok(Some(Received { frame, room, bytes }))
    }

    async fn read_in_time(&mut self, buffer: &mut [u8]) -> Result<(), ReadFault> {
        match timeout(self.frame_timeout, self.stream.read_exact(buffer)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(ReadExactError::FinishedEarly(_))) => {
                Err(Refusal::StreamBroken { stream: self.key.as_str() }.into())
            }
            Ok(Err(ReadExactError::ReadError(error))) => Err(self.read_fault(&error)),
            Err(_) => Err(Refusal::FrameTimeout { stream: self.key.as_str() }.into()),
        }
    }

    fn read_fault(&self, error: &ReadError) -> ReadFault {
        match error {
            ReadError::ConnectionLost(_) => ReadFault::Lost,
            _ => Refusal::StreamBroken { stream: self.key.as_str() }.into(),
        }
    }
}

/// The receiving half of one session.
#[derive(Debug)]
pub(crate) struct Inbound {
    hub: Arc<Hub>,
    peer: Arc<Peer>,
    session: Arc<Session>,
    open: Mutex<HashSet<StreamKey>>,
}

impl Inbound {
    pub(crate) fn new(hub: Arc<Hub>, peer: Arc<Peer>, session: Arc<Session>) -> Self {
        Self { hub, peer, session, open: Mutex::default() }
    }

    /// Passes a frame on, waiting until it is taken.
    pub(crate) async fn deliver(&self, received: Received) -> Result<(), ReadFault> {
        let Received { frame, room, bytes } = received;
        self.peer.counters.bytes_in.fetch_add(bytes, Ordering::Relaxed);
        self.peer.counters.frames_in.add(frame.kind());
        let event = LinkEvent::Frame {
            peer: self.peer.name.clone(),
            session: self.session.id,
            frame,
            permit: FramePermit { _room: room },
        };
        let _delivery = self.peer.delivery.lock().await;
        self.hub.events.send(event).await.map_err(|_| ReadFault::Lost)
    }

    /// The control stream after its `Hello`.
    pub(crate) async fn read_control(self: Arc<Self>, mut reader: FrameReader) -> Result<(), ReadFault> {
        while let Some(received) = reader.next().await? {
            if matches!(received.frame, Frame::Hello(_)) {
                return Err(Refusal::HelloRepeated.into());
            }
            self.deliver(received).await?;
        }
        // A peer that is going away ends the stream first and the connection soon after.
        tokio::select! {
            _ = self.session.connection.closed() => Ok(()),
            () = sleep(self.hub.limits.frame_timeout) => {
                Err(Refusal::StreamBroken { stream: StreamKey::Control.as_str() }.into())
            }
        }
    }

    /// A one-way stream, from its head to its end.
    ///
    /// A stream about a lane that is not allowed is stopped alone: one misconfigured lane leaves the others be.
    pub(crate) async fn read_one_way(self: Arc<Self>, mut stream: RecvStream) -> Result<(), ReadFault> {
        let key = timeout(self.hub.limits.frame_timeout, StreamKey::read(&mut stream))
            .await
            .map_err(|_| Refusal::FrameTimeout { stream: "new" })??;
        self.peer.pace.take(0, 1).await;
        if let StreamKey::Flow(flow) = key
            && !self.peer.allows(flow.lane)
        {
            self.refuse_softly(Refusal::LaneNotAllowed { lane: flow.lane });
            // An error here means that the stream has ended by itself.
            let _ = stream.stop(CloseCode::LaneNotAllowed.into());
            return Ok(());
        }
        if !lock(&self.open).insert(key) {
            return Err(Refusal::StreamRepeated { stream: key.as_str() }.into());
        }
        let mut reader = FrameReader::new(stream, key, &self.peer, &self.hub);
        while let Some(received) = reader.next().await? {
            match received.frame.lane() {
                Some(lane) if !self.peer.allows(lane) => self.refuse_softly(Refusal::LaneNotAllowed { lane }),
                _ => self.deliver(received).await?,
            }
        }
        lock(&self.open).remove(&key);
        Ok(())
    }

    /// Refuses something without ending the session.
    fn refuse_softly(&self, refusal: Refusal) {
        if self.peer.may_tell() {
            self.hub.refuse(self.session.connection.remote_address(), Some(&self.peer), refusal);
        } else {
            self.hub.count(Some(&self.peer), &refusal);
        }
    }
}
