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

/// Passes over the headers that are final already.
///
/// Checks, for each header at or below the trusted height: `update-behind` when we no longer remember that height;
/// nothing when it is the one we hold; else the checks of its mode and of its seals, and then `equivocation` (gravity
/// [`cityrelay_core::light_client::Gravity::Equivocation`]) when a quorum of the set that sealed ours sealed it too,
/// or `update-behind` when not.
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
    let behind = || Refusal::new("update-behind", trusted.height.saturating_add(1), header.number);
    let held = trusted.recent.iter().find(|recent| recent.height == header.number).ok_or_else(behind)?;
    let mode = rules.modes.at(header.number);
    let reading = read_header(mode, header)?;
    if reading.hash == held.hash {
        return Ok(());
    }
    let set = held.set.as_ref().ok_or_else(behind)?;
    let signers = recover_signers(&reading.seals, set, None)?;
    if set.count(&signers) >= mode.quorum(set.size()) {
        return Err(Refusal::new("equivocation", held.hash, reading.hash).equivocation());
    }
    Err(behind())
}
