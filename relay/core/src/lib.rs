//! The protocol, pure: identifiers, messages, hash chains, what is signed, what is verified, and the state machine.
//!
//! Nothing here knows a clock, a socket, a file or a random number: time and randomness are arguments. A message walks
//! from a [`claim::Claim`] (believed by nobody) through [`verify::VerifiedHeader`] and [`verify::VerifiedExtension`]
//! (made only in [`verify`]) to an attested and delivered one; each step has its own type.

pub mod assemble;
pub mod attestation;
pub mod chain;
pub mod claim;
pub mod frame;
pub mod gateway_call;
pub mod hash;
pub mod ids;
pub mod lane;
pub mod light_client;
pub mod machine;
pub mod message;
pub mod opaque;
pub mod order;
pub mod outcome;
pub mod record;
pub mod recovery;
pub mod set_attestation;
pub mod signing;
pub mod tag;
pub mod verify;
