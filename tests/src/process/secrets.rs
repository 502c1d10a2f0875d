//! No key where none belongs: every file of a trial is searched for every secret in every form that it could leak in.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};

/// Folders of key files are skipped by these names: what holds a key on purpose.
const KEY_FILES: [&str; 3] = ["key", "cities.json", ".cities.json"];

/// The least of a text form that is looked for: 20 bytes of a key are no accident, and a line break later hides nothing.
const TEXT_BYTES: usize = 40;

/// One secret, and where it is kept.
struct Secret {
    file: PathBuf,
    bytes: [u8; 32],
}

/// One form of one secret.
struct Needle {
    form: &'static str,
    secret: usize,
    bytes: Vec<u8>,
}

/// Searches every file below `dir`, but those that keep the keys, for the secret of every key file below it: raw, in hex of
/// either case, in base64 at each of its three offsets, and as a list of numbers. Returns how many secrets were looked for
/// in how many files.
///
/// # Errors
/// The first file that has one, with the form and the place.
pub fn search(dir: &Path) -> anyhow::Result<(usize, usize)> {
    let mut files = Vec::new();
    collect(dir, &mut files)?;
    let mut secrets = Vec::new();
    for file in files.iter().filter(|file| keeps_keys(file)) {
        let text = fs::read_to_string(file).unwrap_or_default();
        let digits = text.trim();
        let mut bytes = [0; 32];
        if hex::decode_to_slice(digits.strip_prefix("0x").unwrap_or(digits), &mut bytes).is_ok() {
            secrets.push(Secret { file: file.clone(), bytes });
        }
    }
    let needles = Needles::of(&secrets);
    let mut searched = 0;
    for file in files.iter().filter(|file| !keeps_keys(file)) {
        let bytes = fs::read(file).with_context(|| format!("read {}", file.display()))?;
        searched += 1;
        if let Some((needle, at)) = needles.find(&bytes) {
            let kept = &secrets[needle.secret].file;
            bail!("{}: has the key of {} as {} at byte {at}", file.display(), kept.display(), needle.form);
        }
    }
    Ok((secrets.len(), searched))
}

/// As [`search`], for a trial in which there are keys to be found.
///
/// # Errors
/// Also when no key or no other file is there: then nothing was shown.
pub fn verify_none_leaked(dir: &Path) -> anyhow::Result<()> {
    let (secrets, files) = search(dir)?;
    ensure!(secrets > 0 && files > 0, "{secrets} secrets were looked for in {files} files of {}", dir.display());
    Ok(())
}

fn keeps_keys(file: &Path) -> bool {
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.ends_with(".key") || KEY_FILES.contains(&name)
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("read {}", dir.display()))? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            collect(&entry.path(), files)?;
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
    Ok(())
}

/// Every form of every secret, by its first two bytes.
struct Needles {
    by_start: Vec<Vec<Needle>>,
}

impl Needles {
    fn of(secrets: &[Secret]) -> Self {
        let mut needles = Self { by_start: (0..=usize::from(u16::MAX)).map(|_| Vec::new()).collect() };
        for (secret, Secret { bytes, .. }) in secrets.iter().enumerate() {
            let text = |text: String| text.into_bytes().into_iter().take(TEXT_BYTES).collect::<Vec<u8>>();
            needles.add("raw bytes", secret, bytes.to_vec());
            needles.add("hex", secret, text(hex::encode(bytes)));
            needles.add("hex", secret, text(hex::encode_upper(bytes)));
            let numbers: Vec<String> = bytes.iter().map(u8::to_string).collect();
            needles.add("a list of numbers", secret, text(numbers.join(", ")));
            needles.add("a list of numbers", secret, text(numbers.join(",")));
            for offset in 0..3 {
                needles.add("base64", secret, base64_inside(bytes, offset, STANDARD));
                needles.add("base64", secret, base64_inside(bytes, offset, URL));
            }
        }
        needles
    }

    fn add(&mut self, form: &'static str, secret: usize, bytes: Vec<u8>) {
        if let [first, second, ..] = bytes[..] {
            self.by_start[start(first, second)].push(Needle { form, secret, bytes });
        }
    }

    fn find(&self, hay: &[u8]) -> Option<(&Needle, usize)> {
        hay.windows(2).enumerate().find_map(|(at, pair)| {
            let candidates = &self.by_start[start(pair[0], pair[1])];
            candidates.iter().find(|needle| hay[at..].starts_with(&needle.bytes)).map(|needle| (needle, at))
        })
    }
}

fn start(first: u8, second: u8) -> usize {
    usize::from(u16::from_be_bytes([first, second]))
}

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The characters of base64 that depend on the secret alone, when `offset` bytes of something else stand before it.
fn base64_inside(secret: &[u8; 32], offset: usize, alphabet: &[u8; 64]) -> Vec<u8> {
    let whole: Vec<u8> = std::iter::repeat_n(0, offset).chain(*secret).collect();
    let triples = whole.chunks_exact(3).flat_map(|triple| {
        let bits = u32::from_be_bytes([0, triple[0], triple[1], triple[2]]);
        [18, 12, 6, 0].map(|shift| alphabet[(bits >> shift & 63) as usize])
    });
    // The first characters hold bits of what stands before.
    triples.skip((offset * 8).div_ceil(6)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: [u8; 32] = *b"\x01\x23\xfbsome bytes that are like keys";

    fn found(leak: &[u8]) -> Option<String> {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("home")).unwrap();
        fs::write(dir.path().join("home/link.key"), format!("{}\n", hex::encode(SECRET))).unwrap();
        fs::write(dir.path().join("log"), [b"a line before\n", leak, b" and one after\n"].concat()).unwrap();
        search(dir.path()).map(|found| assert_eq!(found, (1, 1))).err().map(|error| error.to_string())
    }

    #[test]
    fn each_form_of_a_leak_is_found() {
        // Written by another implementation: python's base64.b64encode(b"\0" * n + secret).
        let base64 = [
            "ASP7c29tZSBieXRlcyB0aGF0IGFyZSBsaWtlIGtleXM=",
            "AAEj+3NvbWUgYnl0ZXMgdGhhdCBhcmUgbGlrZSBrZXlz",
            "AAABI/tzb21lIGJ5dGVzIHRoYXQgYXJlIGxpa2Uga2V5cw==",
        ];
        let leaks: [(&str, Vec<u8>); 9] = [
            ("raw bytes", SECRET.to_vec()),
            ("hex", hex::encode(SECRET).into_bytes()),
            ("hex", format!("0x{}", hex::encode_upper(SECRET)).into_bytes()),
            ("a list of numbers", format!("{SECRET:?}").into_bytes()),
            ("a list of numbers", format!("{SECRET:?}").replace(' ', "").into_bytes()),
            ("base64", base64[0].into()),
            ("base64", base64[1].into()),
            ("base64", base64[2].into()),
            ("base64", base64[2].replace('/', "_").into()),
        ];
        for (form, leak) in leaks {
            let error = found(&leak).unwrap_or_else(|| panic!("{form} is not found"));
            assert!(error.contains("/log") && error.contains("link.key") && error.contains(form), "{error}");
        }
    }

    #[test]
    fn what_is_no_leak_is_not_found() {
        assert_eq!(found(b"0x0123fb"), None);
        assert_eq!(found(&hex::encode([7; 32]).into_bytes()), None);
        let empty = tempfile::tempdir().unwrap();
        assert!(verify_none_leaked(empty.path()).is_err());
    }
}
