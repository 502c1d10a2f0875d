//! A Unix socket that this process listens on: made closed to others, and gone when it is dropped.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use nix::unistd::Gid;
use tokio::net::UnixListener;

/// Who may connect, as the socket's mode says; who may ask is decided by who connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// The own user: mode 0600.
    Owner,
    /// The members of a group too: mode 0660. The own user must be in it.
    Group(Gid),
}

/// A socket in the file system; it goes away when this is dropped.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Gone already when somebody cleaned up; nothing depends on it.
        let _ = fs::remove_file(&self.path);
    }
}

/// Listens at `path`. A socket that another process left behind is replaced; one that answers is not. `what` names it in
/// errors. Must be called inside a tokio runtime.
///
/// # Errors
/// When another process listens there, or the socket can't be made.
pub(crate) fn listen(what: &str, path: &Path, access: Access) -> anyhow::Result<(UnixListener, SocketFile)> {
    let name = path.display();
    match UnixStream::connect(path) {
        Ok(_) => bail!("{what} {name}: another process answers there; is it running already?"),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            fs::remove_file(path).with_context(|| format!("{what} {name}: the old socket can't be removed"))?;
        }
        Err(_) => {}
    }
    let listener = UnixListener::bind(path).with_context(|| format!("{what} {name}: can't be made"))?;
    // From here on it goes away again, whatever fails.
    let file = SocketFile { path: path.to_owned() };
    let mode = match access {
        Access::Owner => 0o600,
        Access::Group(group) => {
            let made = fs::metadata(path).with_context(|| format!("{what} {name}: can't be read"))?;
            // What has the right group already needs no system call that a sandbox forbids.
            if made.gid() != group.as_raw() {
                chown(path, None, Some(group.as_raw()))
                    .with_context(|| format!("{what} {name}: can't be given to group {group}; is this user in it?"))?;
            }
            0o660
        }
    };
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .with_context(|| format!("{what} {name}: can't be closed to others"))?;
    Ok((listener, file))
}
