//! QUIC sessions between relays and attesters, pinned by public key.
