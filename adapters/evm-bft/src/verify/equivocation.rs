//! Headers at or below the trusted height: known, or a second one.

use cityrelay_core::ids::Height;
use cityrelay_core::light_client::Refusal;

use super::reading::read_header;
use super::rules::Rules;
use super::seals::recover_signers;
use super::span::header_refusal;
use super::state::State;
use super::update::UpdateItem;
use crate::codec::header::Header;

/// What an update is to the trusted state.
pub(super) enum Standing<'a> {
    /// Every header of it is final already.
    Known,
    /// These are new.
    Follows(&'a [UpdateItem]),
}

/// The height that a header claims.
pub(super) fn height_of(item: &UpdateItem) -> Result<u64, Refusal> {
    Header::decode(&item.header).map(|header| header.number).map_err(header_refusal)
}

/// Passes over the headers that are final already: updates from several parties overlap.
///
/// Checks, for each header at or below the trusted height: nothing when it lies below what is remembered, or is the one
/// we hold; else the checks of its mode and of its seals, and then `equivocation` (gravity
/// [`cityrelay_core::light_client::Gravity::Equivocation`]) when a quorum of the set that sealed ours sealed it too,
/// or `other-header` when not.
pub(super) fn compare_with_recent<'a>(
    rules: &Rules,
    trusted: &State,
    items: &'a [UpdateItem],
) -> Result<Standing<'a>, Refusal> {
    for (at, item) in items.iter().enumerate() {
        let header = Header::decode(&item.header).map_err(header_refusal)?;
        if header.number > trusted.height {
            return Ok(Standing::Follows(items.get(at..).unwrap_or_default()));
        }
        compare(rules, trusted, &header).map_err(|refusal| refusal.at(Height(header.number)))?;
    }
    Ok(Standing::Known)
}

fn compare(rules: &Rules, trusted: &State, header: &Header) -> Result<(), Refusal> {
    let Some(held) = trusted.recent.iter().find(|recent| recent.height == header.number) else { return Ok(()) };
    let mode = rules.modes.at(header.number);
    let reading = read_header(mode, header)?;
    if reading.hash == held.hash {
        return Ok(());
    }
    if let Some(set) = &held.set {
        let signers = recover_signers(&reading.seals, set, None)?;
        if set.count(&signers) >= mode.quorum(set.size()) {
            return Err(Refusal::new("equivocation", held.hash, reading.hash).equivocation());
        }
    }
    Err(Refusal::new("other-header", held.hash, reading.hash))
}
