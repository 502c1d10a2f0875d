//! The key that a relay or attester is known by on the link.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ring::hmac;
use rustls::crypto::ring::sign::any_eddsa_type;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use crate::fingerprint::Fingerprint;

/// An Ed25519 key pair and what follows from it. Cheap to clone; never prints its secret.
///
/// One identity belongs to one running process: two processes with one key would answer for each other's sessions.
#[derive(Clone)]
pub struct Identity {
    key: Arc<CertifiedKey>,
    fingerprint: Fingerprint,
    reset_key: Arc<hmac::Key>,
}

/// Why a key could not be loaded or written. The operator is at fault; trying again does not help.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The file cannot be opened, read or written.
    #[error("identity file {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The path names something that is not a regular file.
    #[error("identity file {path} is not a regular file")]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// Others may read the key.
    #[error("identity file {path} has mode {got:04o}, expected 0600: run chmod 600 on it")]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        got: u32,
    },
    /// The file is larger than any key.
    #[error("identity file {path} is longer than {limit} bytes")]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The most bytes that are read.
        limit: u64,
    },
    /// Neither a PEM private key nor 64 hex digits.
    #[error("expected a PKCS#8 PEM private key or 64 hex digits")]
    Format,
    /// A PEM file that holds no PKCS#8 private key.
    #[error("PEM: {0}")]
    Pem(pem::Error),
    /// A private key, but not an Ed25519 one.
    #[error("not an Ed25519 key: {0}")]
    Key(rustls::Error),
}

impl Identity {
    /// Reads a key from a file: a PKCS#8 PEM (`openssl genpkey -algorithm ed25519`) or a 32-byte seed as 64 hex digits.
    ///
    /// The file must be closed to everybody but its owner (0600 or stricter). A file of root with group root may be
    /// readable by that group: the ACL of a systemd credential shows so.
    ///
    /// # Errors
    /// `Io`, `NotAFile`, `Permissions` and `TooLong` (16 KiB) about the file; `Format`, `Pem` and `Key` about what it holds.
    pub fn load(path: &Path) -> Result<Self, IdentityError> {
        let io = |source| IdentityError::Io { path: path.to_owned(), source };
        let file = File::open(path).map_err(io)?;
        let metadata = file.metadata().map_err(io)?;
        if !metadata.is_file() {
            return Err(IdentityError::NotAFile { path: path.to_owned() });
        }
        if !is_private(metadata.mode(), metadata.uid(), metadata.gid()) {
            return Err(IdentityError::Permissions { path: path.to_owned(), got: metadata.mode() & 0o7777 });
        }
        let mut text = Zeroizing::new(String::new());
        file.take(MAX_KEY_FILE_BYTES + 1).read_to_string(&mut text).map_err(io)?;
        if u64::try_from(text.len()).is_ok_and(|len| len > MAX_KEY_FILE_BYTES) {
            return Err(IdentityError::TooLong { path: path.to_owned(), limit: MAX_KEY_FILE_BYTES });
        }
        Self::from_text(&text)
    }

    /// The identity of a 32-byte Ed25519 seed (RFC 8032 §5.1.5), which must come from a good source of entropy.
    ///
    /// # Errors
    /// `Key`, which no seed is known to cause.
    pub fn generate(seed: &[u8; 32]) -> Result<Self, IdentityError> {
        // RFC 8410 §7: OneAsymmetricKey, version 0, id-Ed25519, the seed as an octet string in an octet string.
        const PREFIX: [u8; 16] =
            [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
        let der = Zeroizing::new([PREFIX.as_slice(), seed.as_slice()].concat());
        Self::from_pkcs8(&PrivatePkcs8KeyDer::from(der.as_slice()))
    }

    /// Writes the seed of a new identity to a file that must not exist yet, with mode 0600, and returns the identity.
    ///
    /// # Errors
    /// `Io` when the file exists or cannot be written.
    pub fn create(path: &Path, seed: &[u8; 32]) -> Result<Self, IdentityError> {
        let io = |source| IdentityError::Io { path: path.to_owned(), source };
        let identity = Self::generate(seed)?;
        let text = Zeroizing::new(hex::encode(seed));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(io)?;
        file.write_all(text.as_bytes()).and_then(|()| file.write_all(b"\n")).map_err(io)?;
        file.sync_all().map_err(io)?;
        Ok(identity)
    }

    /// What peers pin.
    #[must_use]
    pub const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The raw public key (RFC 7250) and the key that proves it, as rustls takes them.
    pub(crate) fn certified_key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.key)
    }

    /// The key of stateless reset tokens (RFC 9000 §10.3.2): with it a restarted process can end the sessions of its
    /// predecessor at once, instead of leaving the peer to wait for its idle timeout.
    pub(crate) fn reset_key(&self) -> Arc<hmac::Key> {
        Arc::clone(&self.reset_key)
    }

    fn from_text(text: &str) -> Result<Self, IdentityError> {
        let text = text.trim();
        if text.starts_with("-----BEGIN") {
            let key = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes()).map_err(IdentityError::Pem)?;
            let key = Zeroizing::new(key);
            return Self::from_pkcs8(&key);
        }
        let mut seed = Zeroizing::new([0; 32]);
        hex::decode_to_slice(text, seed.as_mut_slice()).map_err(|_| IdentityError::Format)?;
        Self::generate(&seed)
    }

    fn from_pkcs8(der: &PrivatePkcs8KeyDer<'_>) -> Result<Self, IdentityError> {
        let signer = any_eddsa_type(der).map_err(IdentityError::Key)?;
        let spki = signer.public_key().ok_or(IdentityError::Format)?.into_owned();
        let fingerprint = Fingerprint::of_spki(&spki);
        let secret = hmac::Key::new(hmac::HMAC_SHA256, der.secret_pkcs8_der());
        let reset_secret = hmac::sign(&secret, b"cityrelay/1 stateless reset");
        Ok(Self {
            key: Arc::new(CertifiedKey::new(vec![CertificateDer::from(spki.to_vec())], signer)),
            fingerprint,
            reset_key: Arc::new(hmac::Key::new(hmac::HMAC_SHA256, reset_secret.as_ref())),
        })
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}

/// A key takes less than 200 bytes; comments around a PEM block have room.
const MAX_KEY_FILE_BYTES: u64 = 16 << 10;

const fn is_private(mode: u32, uid: u32, gid: u32) -> bool {
    let for_others = mode & 0o077;
    for_others == 0 || (uid == 0 && gid == 0 && for_others == 0o040)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    // RFC 8032 §7.1, test 1: the secret key, as `openssl genpkey` would write it.
    const SEED: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
    const PEM: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n\
        -----END PRIVATE KEY-----\n";
    // `openssl pkey -pubout -outform DER | sha256sum` over that key.
    const FINGERPRINT: &str = "06e3fd8fda29bb60ab59557de61edb0aecdb231134be30e75b455f8e1b792fa9";

    fn file(content: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("link.key");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (dir, path)
    }

    #[test]
    fn a_pem_and_a_seed_of_one_key_give_the_fingerprint_that_openssl_gives() {
        for text in [PEM, SEED, &format!("{SEED}\n")] {
            let (_dir, path) = file(text, 0o600);
            assert_eq!(Identity::load(&path).unwrap().fingerprint().to_string(), FINGERPRINT);
        }
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let (_dir, path) = file(SEED, 0o644);
        assert!(matches!(Identity::load(&path), Err(IdentityError::Permissions { got: 0o644, .. })));
    }

    #[test]
    fn only_the_owner_may_read_except_for_the_acl_of_a_credential() {
        assert!(is_private(0o100_600, 7, 7));
        assert!(is_private(0o100_400, 7, 7));
        assert!(is_private(0o100_440, 0, 0));
        assert!(!is_private(0o100_440, 7, 0));
        assert!(!is_private(0o100_440, 0, 7));
        assert!(!is_private(0o100_460, 0, 0));
        assert!(!is_private(0o100_604, 0, 0));
    }

    #[test]
    fn a_directory_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(Identity::load(dir.path()), Err(IdentityError::NotAFile { .. })));
    }

    #[test]
    fn a_file_that_is_too_long_is_refused() {
        let (_dir, path) = file(&"0".repeat(17 << 10), 0o600);
        assert!(matches!(Identity::load(&path), Err(IdentityError::TooLong { .. })));
    }

    #[test]
    fn a_seed_that_is_one_digit_short_is_refused() {
        let (_dir, path) = file(&SEED[1..], 0o600);
        assert!(matches!(Identity::load(&path), Err(IdentityError::Format)));
    }

    #[test]
    fn a_pem_without_a_private_key_is_refused() {
        let (_dir, path) = file(&PEM.replace("PRIVATE", "PUBLIC"), 0o600);
        assert!(matches!(Identity::load(&path), Err(IdentityError::Pem(_))));
    }

    #[test]
    fn a_key_of_another_algorithm_is_refused() {
        // The same PKCS#8 with id-X25519 (1.3.101.110) in place of id-Ed25519 (1.3.101.112).
        let (_dir, path) = file(&PEM.replace("AwBQYDK2Vw", "AwBQYDK2Vu"), 0o600);
        assert!(matches!(Identity::load(&path), Err(IdentityError::Key(_))));
    }

    #[test]
    fn a_created_file_is_private_loads_again_and_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("link.key");
        let created = Identity::create(&path, &[7; 32]).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(Identity::load(&path).unwrap().fingerprint(), created.fingerprint());
        assert!(matches!(
            Identity::create(&path, &[8; 32]),
            Err(IdentityError::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists
        ));
    }

    #[test]
    fn a_secret_is_never_printed() {
        let identity = Identity::generate(&[7; 32]).unwrap();
        assert_eq!(format!("{identity:?}"), format!("Identity {{ fingerprint: {:?}, .. }}", identity.fingerprint()));
    }
}
