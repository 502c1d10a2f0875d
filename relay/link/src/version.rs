//! Which protocol version a session speaks.

use std::ops::RangeInclusive;

use cityrelay_core::frame::Hello;

use crate::refusal::Refusal;

/// The newest version that both sides speak.
///
/// # Errors
/// [`Refusal::Version`] when there is none, or when the peer's oldest is newer than its newest.
pub fn agree_version(ours: &RangeInclusive<u16>, hello: &Hello) -> Result<u16, Refusal> {
    let newest = hello.newest_version.min(*ours.end());
    if newest < hello.oldest_version || newest < *ours.start() {
        return Err(Refusal::Version { got: hello.oldest_version..=hello.newest_version, expected: ours.clone() });
    }
    Ok(newest)
}

#[cfg(test)]
mod tests {
    use cityrelay_core::frame::Role;

    use super::*;

    fn hello(oldest_version: u16, newest_version: u16) -> Hello {
        Hello { oldest_version, newest_version, role: Role::Relay, clients: Vec::new(), flows: Vec::new() }
    }

    #[test]
    fn the_newest_common_version_is_spoken() {
        assert_eq!(agree_version(&(2..=3), &hello(2, 3)), Ok(3));
        assert_eq!(agree_version(&(2..=3), &hello(1, 2)), Ok(2));
        assert_eq!(agree_version(&(2..=3), &hello(3, 4)), Ok(3));
    }

    #[test]
    fn neighbours_agree_whichever_of_the_two_is_older() {
        let (before, here, after, next) = (0..=1, 1..=1, 1..=2, 2..=3);
        let both = |ours: &RangeInclusive<u16>, theirs: &RangeInclusive<u16>| {
            let one = agree_version(ours, &hello(*theirs.start(), *theirs.end()));
            let other = agree_version(theirs, &hello(*ours.start(), *ours.end()));
            assert_eq!(one.clone().ok(), other.clone().ok(), "{ours:?} and {theirs:?}");
            (one, other)
        };
        assert_eq!(both(&here, &before).0, Ok(1));
        assert_eq!(both(&here, &after).0, Ok(1));
        assert_eq!(both(&after, &next).0, Ok(2));
        let (ours, theirs) = both(&here, &next);
        assert_eq!(ours, Err(Refusal::Version { got: next.clone(), expected: here.clone() }));
        assert_eq!(theirs, Err(Refusal::Version { got: here, expected: next }));
    }

    #[test]
    fn a_peer_that_is_too_new_is_refused_by_its_versions() {
        assert_eq!(agree_version(&(1..=2), &hello(3, 4)), Err(Refusal::Version { got: 3..=4, expected: 1..=2 }));
    }

    #[test]
    fn a_peer_that_is_too_old_is_refused() {
        assert_eq!(agree_version(&(3..=4), &hello(1, 2)), Err(Refusal::Version { got: 1..=2, expected: 3..=4 }));
    }

    #[test]
    fn an_upside_down_range_is_refused() {
        assert!(agree_version(&(1..=4), &hello(3, 2)).is_err());
    }
}
