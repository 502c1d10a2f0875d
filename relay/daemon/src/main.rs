//! The cityrelay daemon and its command line.

fn main() {}
