//! Key files: 32 bytes in hex, readable by their owner only.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use zeroize::Zeroizing;

/// A key in hex with its line end has 67 bytes at most.
const MAX_KEY_FILE_BYTES: u64 = 1024;

/// Reads a 32-byte secret, 64 hex digits with or without `0x`, from a file that only its owner may read. A file of root
/// with group root may be readable by that group: the ACL of a systemd credential shows so.
///
/// # Errors
/// When the file can't be read, is open to others, or holds something else.
pub fn read_secret(path: &Path) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let name = path.display();
    let file = File::open(path).with_context(|| format!("{name}: can't be opened"))?;
    let metadata = file.metadata().with_context(|| format!("{name}: can't be read"))?;
    if !metadata.is_file() {
        bail!("{name}: expected a regular file");
    }
    let for_others = metadata.mode() & 0o077;
    let is_credential = metadata.uid() == 0 && metadata.gid() == 0 && for_others == 0o040;
    if for_others != 0 && !is_credential {
        bail!("{name}: has mode {:04o}, expected 0600: run chmod 600 on it", metadata.mode() & 0o7777);
    }
    let mut text = Zeroizing::new(String::new());
    file.take(MAX_KEY_FILE_BYTES).read_to_string(&mut text).with_context(|| format!("{name}: can't be read"))?;
    let digits = text.trim();
    let digits = digits.strip_prefix("0x").unwrap_or(digits);
    let mut secret = Zeroizing::new(vec![0; 32]);
    if hex::decode_to_slice(digits, secret.as_mut_slice()).is_err() {
        bail!("{name}: expected 64 hex digits");
    }
    Ok(secret)
}

/// Writes a 32-byte secret into a new file with mode 0600.
///
/// # Errors
/// When the file exists, or can't be written.
pub fn create_secret(path: &Path, secret: &[u8; 32]) -> anyhow::Result<()> {
    let name = path.display();
    let text = Zeroizing::new(hex::encode(secret));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("{name}: can't be made"))?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.write_all(b"\n"))
        .and_then(|()| file.sync_all())
        .with_context(|| format!("{name}: can't be written"))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_new_key_file_is_closed_to_others_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        create_secret(&path, &[7; 32]).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(*read_secret(&path).unwrap(), vec![7; 32]);
    }

    #[test]
    fn a_key_file_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        create_secret(&path, &[7; 32]).unwrap();
        assert!(create_secret(&path, &[8; 32]).is_err());
        assert_eq!(*read_secret(&path).unwrap(), vec![7; 32]);
    }

    #[test]
    fn a_key_file_open_to_others_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        create_secret(&path, &[7; 32]).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let error = read_secret(&path).unwrap_err();
        assert!(error.to_string().contains("has mode 0644, expected 0600"), "{error}");
    }

    #[test]
    fn anything_but_64_hex_digits_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        create_secret(&path, &[7; 32]).unwrap();
        fs::write(&path, "0x1234").unwrap();
        assert!(read_secret(&path).unwrap_err().to_string().contains("expected 64 hex digits"));
    }
}
