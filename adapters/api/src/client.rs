//! The light client with its types erased: the same checks over [`Opaque`] bytes.

use core::fmt;

use cityrelay_core::chain::ChainPoint;
use cityrelay_core::claim::Claim;
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Domain, Height, UnixMillis};
use cityrelay_core::lane::LaneIdentity;
use cityrelay_core::light_client::{AdapterValue, LightClient, ProofStrength, Refusal, SetStatement};
use cityrelay_core::opaque::{MAX_OPAQUE_BYTES, Opaque};
use cityrelay_core::verify::{self, VerifiedExtension, VerifiedHeader, VerifiedUpdate};

/// A light client that takes and gives opaque bytes. Every [`LightClient`] becomes one through [`erase`].
///
/// Refusals of the wrapper itself: `opaque-adapter`, `opaque-size`, and whatever the adapter's decoders refuse.
pub trait ErasedClient: Send + Sync + fmt::Debug {
    /// Name of the adapter whose bytes it takes.
    fn adapter(&self) -> &'static str;

    /// Height of the last final header in `state`.
    ///
    /// # Errors
    /// A refusal when `state` is not this adapter's.
    fn trusted_height(&self, state: &Opaque) -> Result<Height, Refusal>;

    /// Hash of the last final header in `state`.
    ///
    /// # Errors
    /// A refusal when `state` is not this adapter's.
    fn trusted_hash(&self, state: &Opaque) -> Result<Hash32, Refusal>;

    /// [`verify::verify_update`] on opaque bytes.
    fn verify_update(
        &self,
        domain: Domain,
        trusted: &Opaque,
        update: &Opaque,
        now: UnixMillis,
    ) -> VerifiedUpdate<Opaque>;

    /// [`verify::apply_set_statement`] on opaque bytes.
    ///
    /// # Errors
    /// The client's refusal.
    fn apply_set_statement(&self, trusted: &Opaque, statement: &SetStatement) -> Result<Opaque, Refusal>;

    /// [`verify::verify_extension`] on the opaque proof of `claim`.
    ///
    /// # Errors
    /// The refusal of the first check that failed.
    fn verify_extension(
        &self,
        header: &VerifiedHeader,
        lane: &LaneIdentity,
        base: ChainPoint,
        claim: Claim,
    ) -> Result<VerifiedExtension, Refusal>;

    /// What a verified head of this chain is worth.
    fn strength(&self) -> ProofStrength;
}

/// Wraps the light client of the adapter called `adapter`.
#[must_use]
pub fn erase<C: LightClient + fmt::Debug>(adapter: &'static str, client: C) -> impl ErasedClient {
    Erased { adapter, client }
}

/// Writes an adapter's value as opaque bytes.
#[must_use]
pub fn to_opaque<V: AdapterValue>(adapter: &'static str, value: &V) -> Opaque {
    Opaque { adapter: adapter.to_owned(), version: V::VERSION, bytes: value.encode() }
}

/// Reads an adapter's value back.
///
/// # Errors
/// `opaque-adapter` for another adapter's bytes, `opaque-size` above [`MAX_OPAQUE_BYTES`], or what the decoder refuses.
pub fn from_opaque<V: AdapterValue>(adapter: &'static str, opaque: &Opaque) -> Result<V, Refusal> {
    if opaque.adapter != adapter {
        return Err(Refusal::new("opaque-adapter", adapter, opaque.adapter.as_bytes()));
    }
    if opaque.bytes.len() > MAX_OPAQUE_BYTES {
        return Err(Refusal::new("opaque-size", MAX_OPAQUE_BYTES, opaque.bytes.len()));
    }
    V::decode(opaque.version, &opaque.bytes)
}

#[derive(Debug)]
struct Erased<C> {
    adapter: &'static str,
    client: C,
}

impl<C: LightClient + fmt::Debug> ErasedClient for Erased<C> {
    fn adapter(&self) -> &'static str {
        self.adapter
    }

    fn trusted_height(&self, state: &Opaque) -> Result<Height, Refusal> {
        Ok(self.client.trusted_height(&from_opaque(self.adapter, state)?))
    }

    fn trusted_hash(&self, state: &Opaque) -> Result<Hash32, Refusal> {
        Ok(self.client.trusted_hash(&from_opaque(self.adapter, state)?))
    }

    fn verify_update(
        &self,
        domain: Domain,
        trusted: &Opaque,
        update: &Opaque,
        now: UnixMillis,
    ) -> VerifiedUpdate<Opaque> {
        let (state, update) = match (from_opaque(self.adapter, trusted), from_opaque(self.adapter, update)) {
            (Ok(state), Ok(update)) => (state, update),
            (Err(refusal), _) | (_, Err(refusal)) => return VerifiedUpdate::Refused(refusal),
        };
        match verify::verify_update(&self.client, domain, &state, &update, now) {
            VerifiedUpdate::Advanced { state, headers, set_changes } => {
                VerifiedUpdate::Advanced { state: to_opaque(self.adapter, &state), headers, set_changes }
            }
            VerifiedUpdate::HeldBack { state, headers, set_changes, reason } => {
                VerifiedUpdate::HeldBack { state: to_opaque(self.adapter, &state), headers, set_changes, reason }
            }
            VerifiedUpdate::Refused(refusal) => VerifiedUpdate::Refused(refusal),
        }
    }

    fn apply_set_statement(&self, trusted: &Opaque, statement: &SetStatement) -> Result<Opaque, Refusal> {
        let state = from_opaque(self.adapter, trusted)?;
        let state = verify::apply_set_statement(&self.client, &state, statement)?;
        Ok(to_opaque(self.adapter, &state))
    }

    fn verify_extension(
        &self,
        header: &VerifiedHeader,
        lane: &LaneIdentity,
        base: ChainPoint,
        claim: Claim,
    ) -> Result<VerifiedExtension, Refusal> {
        let proof = from_opaque(self.adapter, &claim.proof)?;
        verify::verify_extension(&self.client, header, lane, base, claim, &proof)
    }

    fn strength(&self) -> ProofStrength {
        self.client.strength()
    }
}
