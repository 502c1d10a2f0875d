//! What a chain adapter offers to the daemon: source, target, and the erased light client.
