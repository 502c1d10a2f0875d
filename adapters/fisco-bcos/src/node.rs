//! Access to nodes.
