//! Durable storage: what must be on disk before anything leaves the relay.
