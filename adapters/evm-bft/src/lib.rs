//! Adapter for EVM chains whose blocks carry BFT seals.
