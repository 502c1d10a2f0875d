//! Every byte layout that the relay itself promises to a peer or to its disk.
