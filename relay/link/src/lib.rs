//! Sessions between relays and attesters: QUIC, pinned by public key, bounded in everything.
//!
//! # Who may talk
//! Both sides prove an Ed25519 key inside TLS 1.3 as a raw public key (RFC 7250); each side has pinned the other's
//! [`Fingerprint`]. There is no CA, no 0-RTT, no resumption. The application protocol is [`ALPN`].
//!
//! # What a session is
//! ```text
//! dialler                                   listener
//!   QUIC, TLS: both keys proved
//!   control stream, its first byte   ────▶  one session per peer: taken, or closed as a duplicate
//!   Up                               ◀────  first byte of the answer; Up
//!   Hello  ◀───────────────────────────▶  Hello            first on the control stream, in both directions
//!   Update, ClientAt, Committee             on the control stream
//!   AttestRequest, Attestation              on one request stream per sender
//!   Extension, Accepted, Declined           on one stream per sender, lane and direction, opened when first used
//! ```
//! Either side may dial, or both: of two sessions dialled at once both sides keep the one that the smaller fingerprint
//! dialled. A session that is lost is dialled again after a jittered, doubling pause. A peer's change of address does
//! not end a session (RFC 9000 §9); a restarted process ends the sessions of its predecessor by stateless reset.
//!
//! # Backpressure
//! A received frame comes with a permit, to be dropped when the frame is durable. Permits are bytes: of the stream and
//! of the peer. Without room the stream is not read, QUIC's window closes, the sender's queue fills, and its
//! [`Link::send`] waits. A stream that is stuck holds up no other, as long as what is stuck fits into the peer's room.
//!
//! # What is refused
//! Every refusal has a name, [`Refusal`], a number that the other side is told, [`CloseCode`], and a counter. A peer
//! that breaks the protocol loses its session; a lane that is not allowed loses only its stream.
//!
//! # Use
//! ```no_run
//! use cityrelay_link::{Identity, Link, LinkConfig, LinkEvent, LinkLimits, PeerConfig, PeerName};
//! # use cityrelay_core::frame::{Frame, Hello, Role};
//! # async fn example(hello: Hello) -> Result<(), Box<dyn std::error::Error>> {
//! let (link, mut events) = Link::start(LinkConfig {
//!     listen: Some("0.0.0.0:7000".parse()?),
//!     identity: Identity::load("/etc/cityrelay/link.key".as_ref())?,
//!     peers: vec![PeerConfig {
//!         name: PeerName::new("other-city"),
//!         fingerprint: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855".parse()?,
//!         next_fingerprint: None,
//!         address: Some("relay.example:7000".parse()?),
//!         lanes: None,
//!     }],
//!     limits: LinkLimits::default(),
//! })?;
//! while let Some(event) = events.recv().await {
//!     match event {
//!         LinkEvent::Up { peer, session } => {
//!             if let Err(error) = link.send_on(session, &peer, &Frame::Hello(hello.clone())).await {
//!                 eprintln!("{error}"); // the session's Down is the next that is heard of it
//!             }
//!         }
//!         LinkEvent::Frame { frame, permit, .. } => {
//!             // make it durable, then
//!             drop((frame, permit));
//!         }
//!         LinkEvent::Down { .. } | LinkEvent::Refused { .. } => {}
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod backoff;
mod budget;
mod config;
mod dial;
mod event;
mod fingerprint;
mod handshake;
mod hub;
mod identity;
mod inbound;
mod link;
mod listen;
mod lock;
mod outbound;
mod pace;
mod peer;
mod pins;
mod refusal;
mod session;
mod stats;
mod stream;
mod tls;
mod version;

pub use config::{ConfigError, LinkConfig, LinkLimits, ParseAddressError, PeerAddress, PeerConfig, PeerName};
pub use dial::DialFailure;
pub use event::{DownReason, FramePermit, LinkError, LinkEvent, PinError, SendError, SessionId};
pub use fingerprint::{Fingerprint, ParseFingerprintError};
pub use identity::{Identity, IdentityError};
pub use link::Link;
pub use pins::Pin;
pub use refusal::{CloseCode, Refusal};
pub use stats::{LinkStats, PeerStats};
pub use tls::{ALPN, TlsError};
pub use version::agree_version;
