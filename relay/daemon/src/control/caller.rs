//! Who asks: the operating system says which user is at the other end of the socket, and a rule says who may ask.

use anyhow::{Context as _, bail};
use nix::unistd::{Gid, Group, Uid, User, getgrouplist};

use super::protocol::{ControlFault, FaultKind};

/// A user who may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The user's number, as the kernel says it.
    pub uid: u32,
    /// The user's name, or the number where the system knows no name.
    pub name: String,
}

/// Who may ask: the daemon's own user, root, and the members of one group where the configuration names one.
#[derive(Clone, Debug)]
pub struct Admission {
    own: Uid,
    group: Option<Group>,
}

impl Admission {
    /// The rule for the user that this process runs as.
    ///
    /// # Errors
    /// When the system knows no group of that name.
    pub fn new(group: Option<&str>) -> anyhow::Result<Self> {
        let group = match group {
            None => None,
            Some(name) => match Group::from_name(name).with_context(|| format!("control.group: look {name} up"))? {
                Some(group) => Some(group),
                None => bail!("control.group: expected a group of this machine, got {name:?}: make it, or correct it"),
            },
        };
        Ok(Self { own: Uid::effective(), group })
    }

    /// The group whose members may ask, where there is one.
    #[must_use]
    pub fn group(&self) -> Option<Gid> {
        self.group.as_ref().map(|group| group.gid)
    }

    /// Lets the user of a connection in, by its numbers for user and first group, or refuses it by name. May wait for the
    /// system's user directory.
    ///
    /// # Errors
    /// A fault of the kind [`FaultKind::Refused`].
    pub fn admit(&self, uid: u32, gid: u32) -> Result<Caller, ControlFault> {
        let uid = Uid::from_raw(uid);
        // A user directory that does not answer leaves a number, which admits owner and root all the same.
        let user = User::from_uid(uid).ok().flatten();
        let name = user.as_ref().map_or_else(|| uid.to_string(), |user| user.name.clone());
        if uid == self.own || uid.is_root() || self.has_member(user.as_ref(), Gid::from_raw(gid)) {
            return Ok(Caller { uid: uid.as_raw(), name });
        }
        Err(ControlFault::new(FaultKind::Refused, self.refusal(uid, &name)))
    }

    fn has_member(&self, user: Option<&User>, primary: Gid) -> bool {
        let Some(group) = &self.group else { return false };
        let is_listed = |user: &User| {
            let name = std::ffi::CString::new(user.name.clone()).ok();
            name.and_then(|name| getgrouplist(&name, user.gid).ok()).is_some_and(|groups| groups.contains(&group.gid))
        };
        primary == group.gid || user.is_some_and(is_listed)
    }

    fn refusal(&self, uid: Uid, name: &str) -> String {
        let own = User::from_uid(self.own).ok().flatten().map_or_else(|| self.own.to_string(), |user| user.name);
        let also = match &self.group {
            Some(group) => format!(", root and the group {}", group.name),
            None => " and root; control.group can name a group that may too".to_owned(),
        };
        format!("user {name} (uid {uid}) may not ask this daemon: only {own}{also}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The user and the group that every Debian has for those who may nothing.
    const NOBODY: u32 = 65_534;

    #[test]
    fn the_own_user_and_root_may_ask_and_nobody_else_may() {
        let admission = Admission { own: Uid::from_raw(1), group: None };
        assert_eq!(admission.admit(1, 1).unwrap().uid, 1);
        assert_eq!(admission.admit(0, 0).unwrap(), Caller { uid: 0, name: "root".to_owned() });
        let refusal = admission.admit(NOBODY, NOBODY).unwrap_err();
        assert_eq!(refusal.kind, FaultKind::Refused);
        for words in ["user nobody (uid 65534)", "root", "control.group"] {
            assert!(refusal.message.contains(words), "{words} is missing: {refusal}");
        }
    }

    #[test]
    fn a_user_without_a_name_is_told_by_number() {
        let admission = Admission { own: Uid::from_raw(1), group: None };
        let refusal = admission.admit(4_000_000_000, NOBODY).unwrap_err();
        assert!(refusal.message.contains("user 4000000000"), "{refusal}");
    }

    #[test]
    fn members_of_the_group_may_ask() {
        let group = Group::from_gid(Gid::from_raw(NOBODY)).unwrap().unwrap();
        let admission = Admission { own: Uid::from_raw(1), group: Some(group.clone()) };
        assert_eq!(admission.admit(NOBODY, 12).unwrap().name, "nobody");
        assert_eq!(admission.admit(4_000_000_000, NOBODY).unwrap().uid, 4_000_000_000);
        let refusal = admission.admit(4_000_000_000, 12).unwrap_err();
        assert!(refusal.message.contains(&format!("the group {}", group.name)), "{refusal}");
        let missing = Admission::new(Some("no-such-group-here")).unwrap_err();
        assert!(missing.to_string().contains("no-such-group-here"), "{missing}");
    }
}
