//! The protocol, pure: identifiers, messages, hash chains, what is signed, what is verified, and the state machine.
