//! Bytes in flight: counted before they are allocated, given back when the frame has been dealt with.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What a frame is charged beyond its bytes, so that very small frames are bounded in number too.
pub(crate) const FRAME_OVERHEAD_BYTES: u32 = 256;

/// The room of one stream, and for a lane's stream also the room that all lanes of the peer share.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    own: Arc<Semaphore>,
    own_bytes: u32,
    shared: Option<Arc<Semaphore>>,
    gauge: Arc<AtomicU64>,
}

/// There will never be room again: the stream or its session has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BudgetClosed;

impl Budget {
    /// Room for `own_bytes` on one stream, inside `shared` where given; `gauge` shows what is reserved.
    pub(crate) fn new(own_bytes: u32, shared: Option<Arc<Semaphore>>, gauge: Arc<AtomicU64>) -> Self {
        Self { own: Arc::new(Semaphore::new(permits(own_bytes))), own_bytes, shared, gauge }
    }

    /// Waits until a frame of `bytes` has room, first come first served. A frame larger than the stream's whole room
    /// has it when nothing else of the stream is in flight.
    pub(crate) async fn reserve(&self, bytes: u32) -> Result<Reservation, BudgetClosed> {
        let charge = bytes.saturating_add(FRAME_OVERHEAD_BYTES);
        let own = Arc::clone(&self.own).acquire_many_owned(charge.min(self.own_bytes));
        let own = own.await.map_err(|_| BudgetClosed)?;
        let shared = match &self.shared {
            Some(shared) => Some(Arc::clone(shared).acquire_many_owned(charge).await.map_err(|_| BudgetClosed)?),
            None => None,
        };
        Ok(self.reserved(charge, own, shared))
    }

    /// Room now, or `None`.
    pub(crate) fn try_reserve(&self, bytes: u32) -> Option<Reservation> {
        let charge = bytes.saturating_add(FRAME_OVERHEAD_BYTES);
        let own = Arc::clone(&self.own).try_acquire_many_owned(charge.min(self.own_bytes)).ok()?;
        let shared = match &self.shared {
            Some(shared) => Some(Arc::clone(shared).try_acquire_many_owned(charge).ok()?),
            None => None,
        };
        Some(self.reserved(charge, own, shared))
    }

    /// Ends every wait for the stream's own room, now and later.
    pub(crate) fn close(&self) {
        self.own.close();
    }

    fn reserved(&self, charge: u32, own: OwnedSemaphorePermit, shared: Option<OwnedSemaphorePermit>) -> Reservation {
        self.gauge.fetch_add(u64::from(charge), Ordering::Relaxed);
        Reservation { charge, gauge: Arc::clone(&self.gauge), _own: own, _shared: shared }
    }
}

/// A semaphore of `bytes`.
pub(crate) fn permits(bytes: u32) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS)
}

/// Room that is taken; dropping it gives the room back.
#[derive(Debug)]
pub(crate) struct Reservation {
    charge: u32,
    gauge: Arc<AtomicU64>,
    _own: OwnedSemaphorePermit,
    _shared: Option<OwnedSemaphorePermit>,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.gauge.fetch_sub(u64::from(self.charge), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(own: u32, shared: u32) -> (Budget, Arc<Semaphore>, Arc<AtomicU64>) {
        let shared = Arc::new(Semaphore::new(permits(shared)));
        let gauge = Arc::new(AtomicU64::new(0));
        (Budget::new(own, Some(Arc::clone(&shared)), Arc::clone(&gauge)), shared, gauge)
    }

    #[test]
    fn what_is_reserved_is_given_back() {
        let (budget, shared, gauge) = budget(10_000, 10_000);
        let room = budget.try_reserve(1000).unwrap();
        assert_eq!((shared.available_permits(), gauge.load(Ordering::Relaxed)), (10_000 - 1256, 1256));
        drop(room);
        assert_eq!((shared.available_permits(), gauge.load(Ordering::Relaxed)), (10_000, 0));
    }

    #[test]
    fn a_stream_cannot_take_the_room_of_others() {
        let (budget, shared, _) = budget(2000, 10_000);
        let _room = budget.try_reserve(1000).unwrap();
        assert!(budget.try_reserve(1000).is_none());
        assert!(Budget::new(2000, Some(shared), Arc::default()).try_reserve(1000).is_some());
    }

    #[test]
    fn a_frame_larger_than_the_room_of_its_stream_passes_alone() {
        let (budget, shared, _) = budget(2000, 10_000);
        let room = budget.try_reserve(9000).unwrap();
        assert_eq!(shared.available_permits(), 10_000 - 9256);
        assert!(budget.try_reserve(0).is_none());
        drop(room);
        assert!(budget.try_reserve(0).is_some());
    }

    #[test]
    fn a_failed_attempt_leaves_nothing_reserved() {
        let (budget, shared, gauge) = budget(10_000, 1000);
        assert!(budget.try_reserve(5000).is_none());
        assert_eq!((shared.available_permits(), gauge.load(Ordering::Relaxed)), (1000, 0));
        assert!(budget.try_reserve(100).is_some());
    }
}
