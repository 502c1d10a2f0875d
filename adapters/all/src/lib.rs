//! The adapters that the release ships, and the only place that registers them.
