//! Adapter for FISCO BCOS 3.x chains.
