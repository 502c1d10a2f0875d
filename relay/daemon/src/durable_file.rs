//! Small files that are on disk when the call returns.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;

/// Replaces a file as a whole; it is on disk when this returns.
pub(crate) fn write_durably(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let name = path.display();
    let draft = path.with_extension("draft");
    let mut file = File::create(&draft).with_context(|| format!("{}: can't be written", draft.display()))?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .with_context(|| format!("{}: can't be written", draft.display()))?;
    fs::rename(&draft, path).with_context(|| format!("{name}: can't be written"))?;
    sync_folder_of(path)
}

/// Makes a file's place in its folder durable.
pub(crate) fn sync_folder_of(path: &Path) -> anyhow::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .with_context(|| format!("{}: can't be synced", folder.display()))
}
