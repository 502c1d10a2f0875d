//! No memory of this process, and so no key, ends in a file: it makes no core dump, and nobody but root looks into it.

use anyhow::{Context as _, ensure};
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

/// Forbids core dumps for this process and those that it starts, and makes `/proc/PID/mem` and ptrace root's alone
/// (prctl(2), `PR_SET_DUMPABLE`).
///
/// # Errors
/// When the system does not allow it: a process that holds keys must not go on then.
pub(crate) fn forbid() -> anyhow::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable).context("core dumps can't be forbidden")?;
    // A sandbox may forbid changing limits; what counts is the limit.
    let changed = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let limit = getrlimit(Resource::Core).current;
    ensure!(limit == Some(0), "the size of core dumps can't be limited to 0 ({changed:?}): set LimitCORE=0");
    Ok(())
}
