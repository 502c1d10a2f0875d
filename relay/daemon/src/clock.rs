//! The one place that reads the wall clock.

use std::time::{SystemTime, UNIX_EPOCH};

use cityrelay_core::ids::UnixMillis;

/// Milliseconds since 1970-01-01 UTC; 0 when the clock is set before that.
#[must_use]
pub fn unix_millis() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
