//! A stand-in for both city chains in one process: a real EVM, real seals, both RPC dialects.
