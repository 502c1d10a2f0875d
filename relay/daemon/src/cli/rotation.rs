//! `attesters show` and `attesters rotate`: a file that asks for a new set is passed round among old and new members, each
//! signs it once, and anyone brings the complete file to the chain.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use cityrelay_core::attestation::{Committee, SignatureBytes};
use cityrelay_core::gateway_call::GatewayCall;
use cityrelay_core::hash::Hash32;
use cityrelay_core::ids::{Address, AttesterId, Domain, Epoch};
use cityrelay_core::signing::{self, Signable};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::answer::{Answer, Exit, Failure, say};
use super::doctor::diagnosis;
use super::owner::{Owner, Step};
use super::owner_arguments::{ProposeArguments, RotationArguments, SendRotationArguments, SignArguments};
use crate::config::settings::{ChainConfig, KeySource};
use crate::config::{Layers, Sources, check};
use crate::contracts;
use crate::doctor::{Instance, attesters};
use crate::durable_file::{sync_folder_of, write_durably};
use crate::signer::{AttesterKey, SignerError};

/// Version of the file; grows when a field changes its meaning.
const VERSION: u32 = 1;

/// The longest rotation file: two sets of 64 members and a signature of each are below 64 KiB.
const MAX_FILE_BYTES: u64 = 256 << 10;

/// The file as it is written.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RotationFile {
    v: u32,
    chain: String,
    verifier: String,
    domain: String,
    epoch: u64,
    old: SetFile,
    new: SetFile,
    signatures: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SetFile {
    members: Vec<String>,
    threshold: u32,
}

/// A file that was read and checked: every signature in it is one of a member over exactly this change.
#[derive(Clone, Debug)]
struct Rotation {
    chain: String,
    verifier: Address,
    domain: Domain,
    old: Committee,
    new: Committee,
    signatures: BTreeMap<AttesterId, SignatureBytes>,
}

impl Rotation {
    /// What every member signs.
    fn digest(&self) -> Hash32 {
        Signable::Rotation(self.change()).digest()
    }

    fn change(&self) -> signing::Rotation {
        signing::Rotation {
            verifier: self.verifier,
            domain: self.domain,
            epoch: self.new.epoch(),
            members: self.new.members().clone(),
            threshold: self.new.threshold(),
        }
    }

    fn read(path: &Path) -> anyhow::Result<Self> {
        let name = path.display();
        let size = fs::metadata(path).with_context(|| format!("{name}: can't be read"))?.len();
        ensure!(size <= MAX_FILE_BYTES, "{name}: expected at most {MAX_FILE_BYTES} bytes, got {size}");
        let text = fs::read(path).with_context(|| format!("{name}: can't be read"))?;
        let file: RotationFile =
            serde_json::from_slice(&text).with_context(|| format!("{name}: is no rotation file"))?;
        ensure!(file.v == VERSION, "{name}: expected version {VERSION}, got {}", file.v);
        let epoch = file.epoch.checked_sub(1).filter(|old| *old > 0).with_context(|| format!("{name}: epoch"))?;
        let mut rotation = Self {
            chain: file.chain,
            verifier: file.verifier.parse().with_context(|| format!("{name}: verifier"))?,
            domain: file.domain.parse().with_context(|| format!("{name}: domain"))?,
            old: file.old.committee(Epoch(epoch)).with_context(|| format!("{name}: the old set"))?,
            new: file.new.committee(Epoch(file.epoch)).with_context(|| format!("{name}: the new set"))?,
            signatures: BTreeMap::new(),
        };
        let digest = rotation.digest();
        for (member, signature) in &file.signatures {
            let id: AttesterId = member.parse().with_context(|| format!("{name}: signatures"))?;
            let mut bytes = [0; 65];
            hex::decode_to_slice(signature.strip_prefix("0x").unwrap_or(signature), &mut bytes)
                .with_context(|| format!("{name}: signature of {member}: expected 65 bytes in hex"))?;
            let signature = SignatureBytes(bytes);
            let signer = signature.signer(digest).with_context(|| format!("{name}: signature of {member}"))?;
            ensure!(signer == id, "{name}: the signature of {member} is by {signer}, or over another change");
            ensure!(rotation.is_member(id), "{name}: {member} is a member of neither set");
            rotation.signatures.insert(id, signature);
        }
        Ok(rotation)
    }

    fn write(&self, path: &Path) -> anyhow::Result<()> {
        let file = RotationFile {
            v: VERSION,
            chain: self.chain.clone(),
            verifier: self.verifier.to_string(),
            domain: self.domain.to_string(),
            epoch: self.new.epoch().0,
            old: SetFile::of(&self.old),
            new: SetFile::of(&self.new),
            signatures: self
                .signatures
                .iter()
                .map(|(id, signature)| (id.to_string(), format!("{signature:?}")))
                .collect(),
        };
        let mut text = serde_json::to_vec_pretty(&file)?;
        text.push(b'\n');
        write_durably(path, &text)
    }

    fn is_member(&self, id: AttesterId) -> bool {
        self.old.members().contains(&id) || self.new.members().contains(&id)
    }

    /// New members without a signature, and how many signatures of old ones lack.
    fn missing(&self) -> Missing {
        let unsigned = |set: &Committee| -> BTreeSet<AttesterId> {
            set.members().iter().filter(|id| !self.signatures.contains_key(id)).copied().collect()
        };
        let unsigned_old = unsigned(&self.old);
        let signed_old = self.old.members().len().saturating_sub(unsigned_old.len());
        Missing { new: unsigned(&self.new), old: self.old.quorum().saturating_sub(signed_old), unsigned_old }
    }

    fn call(&self) -> GatewayCall {
        let of = |set: &Committee| -> BTreeMap<AttesterId, SignatureBytes> {
            let signed = self.signatures.iter().filter(|(id, _)| set.members().contains(id));
            signed.map(|(id, signature)| (*id, *signature)).collect()
        };
        GatewayCall::Rotate {
            verifier: self.verifier,
            members: self.new.members().iter().copied().collect(),
            threshold: self.new.threshold(),
            old: of(&self.old),
            new: of(&self.new),
        }
    }

    fn words(&self) -> String {
        format!(
            "verifier {} on {} (domain {}), epoch {}:\n  from {} of {}\n  to   {} of {}",
            self.verifier,
            self.chain,
            self.domain,
            self.new.epoch(),
            self.old.threshold(),
            list(self.old.members()),
            self.new.threshold(),
            list(self.new.members())
        )
    }

    fn status(&self) -> Answer {
        let missing = self.missing();
        let data = json!({
            "chain": self.chain, "verifier": self.verifier.to_string(), "epoch": self.new.epoch().0,
            "digest": self.digest().to_string(), "signed": ids(self.signatures.keys()),
            "missing_new": ids(missing.new.iter()), "missing_old": missing.old,
            "unsigned_old": ids(missing.unsigned_old.iter()), "is_complete": missing.is_none(),
        });
        Answer { data, text: missing.to_string() }
    }
}

impl SetFile {
    fn of(set: &Committee) -> Self {
        Self { members: set.members().iter().map(ToString::to_string).collect(), threshold: set.threshold() }
    }

    fn committee(&self, epoch: Epoch) -> anyhow::Result<Committee> {
        let members: Vec<AttesterId> =
            self.members.iter().map(|member| member.parse()).collect::<Result<_, _>>().context("a member")?;
        Ok(Committee::new(epoch, &members, self.threshold)?)
    }
}

/// Who has not signed yet.
#[derive(Clone, Debug)]
struct Missing {
    new: BTreeSet<AttesterId>,
    old: usize,
    unsigned_old: BTreeSet<AttesterId>,
}

impl Missing {
    fn is_none(&self) -> bool {
        self.new.is_empty() && self.old == 0
    }
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.is_none() {
            return f.write_str("complete: cityrelay attesters rotate send FILE");
        }
        f.write_str("not complete")?;
        if !self.new.is_empty() {
            write!(f, "; each of these new members must sign: {}", list(&self.new))?;
        }
        if self.old > 0 {
            write!(f, "; {} more of these old members must sign: {}", self.old, list(&self.unsigned_old))?;
        }
        Ok(())
    }
}

fn list(members: &BTreeSet<AttesterId>) -> String {
    ids(members.iter()).join(", ")
}

fn ids<'a>(members: impl Iterator<Item = &'a AttesterId>) -> Vec<String> {
    members.map(ToString::to_string).collect()
}

fn readable(path: &Path) -> Result<Rotation, Failure> {
    Rotation::read(path).map_err(|error| Failure::new(Exit::Usage, format!("{error:#}")))
}

/// Chains of the configuration with a verifier and a node to ask.
fn with_verifiers(layers: &Layers) -> Result<Vec<ChainConfig>, Failure> {
    let (chains, _) = check::lanes_only(layers, cityrelay_all::adapters())?;
    let can_be_read = |chain: &ChainConfig| chain.verifier.is_some() && !chain.chain.source().endpoints().is_empty();
    Ok(chains.into_values().filter(can_be_read).collect())
}

/// Shows every set and whether they agree.
pub(super) async fn show(sources: &Sources) -> Result<Answer, Failure> {
    let layers = Layers::read(sources)?;
    let chains = with_verifiers(&layers)?;
    if chains.is_empty() {
        return Err(Failure::new(Exit::Usage, "no chain of this configuration has both a verifier and a node"));
    }
    let instance = Instance::new(sources, &layers, false);
    diagnosis(&attesters::sets(&chains.iter().collect::<Vec<_>>(), &[], &instance).await)
}

/// Writes a file that asks for a new set.
pub(super) async fn propose(sources: &Sources, arguments: &ProposeArguments) -> Result<Answer, Failure> {
    let layers = Layers::read(sources)?;
    let chain = check::one_chain(&layers, cityrelay_all::adapters(), &arguments.chain)?;
    let missing = || Failure::new(Exit::Usage, format!("chains.{}.verifier is missing", chain.name));
    let verifier = chain.verifier.ok_or_else(missing)?;
    if arguments.out.exists() {
        let problem = format!("{} is there already; choose another file", arguments.out.display());
        return Err(Failure::new(Exit::Refused, problem));
    }
    let inspect = chain.chain.inspect();
    let domain = contracts::committee_domain(inspect.as_ref(), verifier).await?;
    if domain != chain.domain {
        let problem =
            format!("verifier {verifier} was deployed for domain {domain}, the configuration has {}", chain.domain);
        return Err(Failure::new(Exit::Refused, problem));
    }
    let old = contracts::committee(inspect.as_ref(), verifier).await?;
    let epoch = Epoch(old.epoch().0.saturating_add(1));
    let new = Committee::new(epoch, &arguments.members, arguments.threshold)
        .map_err(|error| Failure::new(Exit::Usage, error))?;
    if new.members() == old.members() && new.threshold() == old.threshold() {
        return Err(Failure::new(Exit::Refused, "this set is in force already"));
    }
    let rotation = Rotation { chain: chain.name, verifier, domain, old, new, signatures: BTreeMap::new() };
    rotation.write(&arguments.out)?;
    say(rotation.words());
    Ok(rotation.status())
}

/// Adds the signature of this attester, once for each verifier and epoch whatever the set.
pub(super) fn sign(sources: &Sources, arguments: &SignArguments) -> Result<Answer, Failure> {
    let mut rotation = readable(&arguments.file)?;
    let source = match &arguments.key {
        Some(path) => KeySource::File { path: path.clone(), address: None },
        None => check::attester_key(&Layers::read(sources)?)?,
    };
    // Whoever has a configuration is not asked to trust the file about which contract it is.
    match Layers::read(sources).map_err(Failure::from).and_then(|layers| configured_verifier(&layers, rotation.domain))
    {
        Ok(Some(verifier)) if verifier != rotation.verifier => {
            let problem = format!("the file is about verifier {}, the configuration has {verifier}", rotation.verifier);
            return Err(Failure::new(Exit::Refused, problem));
        }
        Ok(Some(_)) => {}
        Ok(None) | Err(_) => {
            say("no configuration has that chain's verifier: compare it with others before you pass the file on")
        }
    }
    let key = AttesterKey::open(&source).map_err(|error| Failure::new(Exit::Usage, format!("{error:#}")))?;
    let id = key.id();
    if !rotation.is_member(id) {
        let problem = format!("{id} is a member of neither set: its signature would not count");
        return Err(Failure::new(Exit::Refused, problem));
    }
    let record = match (&arguments.record, &source) {
        (Some(record), _) => Some(record.clone()),
        (None, KeySource::File { path, .. }) => Some(record_beside(path)),
        // A signer keeps a record of its own.
        (None, KeySource::Signer { .. }) => None,
    };
    if let Some(record) = record {
        let recorded = sign_once(&record, id, &rotation, rotation.digest());
        recorded.map_err(|error| Failure::new(Exit::Refused, format!("{error:#}")))?;
    }
    let signature = key.sign(&Signable::Rotation(rotation.change())).map_err(|error| {
        let exit = match error {
            SignerError::Refused { .. } => Exit::Refused,
            SignerError::Away { .. } => Exit::Unreachable,
            _ => Exit::Usage,
        };
        Failure::new(exit, error)
    })?;
    rotation.signatures.insert(id, signature);
    rotation.write(&arguments.file)?;
    say(rotation.words());
    say(format_args!("signed by {id}"));
    Ok(rotation.status())
}

fn configured_verifier(layers: &Layers, domain: Domain) -> Result<Option<Address>, Failure> {
    let (chains, _) = check::lanes_only(layers, cityrelay_all::adapters())?;
    Ok(chains.into_values().find(|chain| chain.domain == domain).and_then(|chain| chain.verifier))
}

fn record_beside(key_file: &Path) -> PathBuf {
    let mut name = key_file.as_os_str().to_owned();
    name.push(".rotations");
    PathBuf::from(name)
}

/// Makes the record of a signature durable, unless this key signed another change for the same verifier and epoch.
///
/// One line a signature: attester, verifier, domain, epoch, digest.
fn sign_once(record: &Path, id: AttesterId, rotation: &Rotation, digest: Hash32) -> anyhow::Result<()> {
    let name = record.display();
    let place = format!("{id} {} {} {}", rotation.verifier, rotation.domain, rotation.new.epoch());
    let text = match fs::read_to_string(record) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).with_context(|| format!("{name}: can't be read")),
    };
    for (at, line) in text.lines().enumerate() {
        let Some((held, signed)) = line.rsplit_once(' ') else {
            bail!("{name}:{}: is no record of a signature: restore this file before anything is signed", at + 1);
        };
        if held == place {
            ensure!(
                signed == digest.to_string(),
                "{id} signed another change for epoch {} of this verifier: it signs none beside it. Finish that one, or \
                 let the others rotate without this signature",
                rotation.new.epoch()
            );
            return Ok(());
        }
    }
    // A last line that was torn by a crash must not run into the next.
    let separator = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(record)
        .with_context(|| format!("{name}: can't be written: name another file with --record"))?;
    file.write_all(format!("{separator}{place} {digest}\n").as_bytes())
        .and_then(|()| file.sync_all())
        .with_context(|| format!("{name}: can't be written"))?;
    sync_folder_of(record)
}

/// Says whose signatures lack; exit 4 while some do.
pub(super) fn status(arguments: &RotationArguments) -> Result<Answer, Failure> {
    let rotation = readable(&arguments.file)?;
    say(rotation.words());
    let Answer { data, text } = rotation.status();
    if rotation.missing().is_none() {
        return Ok(Answer { data, text });
    }
    Err(Failure { exit: Exit::Unhealthy, message: text, details: data, text: String::new() })
}

/// Brings a complete file to the chain, then says whether the gateways of the pair agree.
pub(super) async fn send(sources: &Sources, arguments: &SendRotationArguments) -> Result<Answer, Failure> {
    let rotation = readable(&arguments.file)?;
    let missing = rotation.missing();
    if !missing.is_none() {
        return Err(Failure::new(Exit::Refused, missing));
    }
    let layers = Layers::read(sources)?;
    let (chains, _) = check::lanes_only(&layers, cityrelay_all::adapters())?;
    let chain = chains.values().find(|chain| chain.domain == rotation.domain).ok_or_else(|| {
        Failure::new(Exit::Usage, format!("no chain of this configuration has domain {}", rotation.domain))
    })?;
    let in_force = contracts::committee(chain.chain.inspect().as_ref(), rotation.verifier).await?;
    if in_force == rotation.new {
        let text = format!("this set is in force on {} already", chain.name);
        return Ok(Answer {
            data: json!({ "chain": chain.name, "epoch": in_force.epoch().0, "transactions": [] }),
            text,
        });
    }
    if in_force != rotation.old {
        let problem = format!(
            "verifier {} is in epoch {} with another set than the file begins from: propose the change anew",
            rotation.verifier,
            in_force.epoch()
        );
        return Err(Failure::new(Exit::Refused, problem));
    }
    let what = format!("rotate the attesters of verifier {} to epoch {}", rotation.verifier, rotation.new.epoch());
    let text =
        format!("epoch {} is in force on {}: {}", rotation.new.epoch(), chain.name, list(rotation.new.members()));
    let owner = Owner { layers: &layers, chain, making: &arguments.making };
    let answer = owner.act(&[Step::new(rotation.call(), what)], text).await?;
    let chains = with_verifiers(&layers)?;
    let instance = Instance::new(sources, &layers, false);
    let disagreements = attesters::sets(&chains.iter().collect::<Vec<_>>(), &[], &instance).await;
    disagreements.iter().filter(|finding| finding.repair().is_some()).for_each(say);
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use cityrelay_core::attestation::attester_id;
    use k256::ecdsa::SigningKey;

    use super::*;

    fn key(byte: u8) -> SigningKey {
        SigningKey::from_slice(&[byte; 32]).unwrap()
    }

    fn id(byte: u8) -> AttesterId {
        attester_id(key(byte).verifying_key())
    }

    fn rotation(threshold: u32) -> Rotation {
        let set = |epoch, members: &[u8], threshold| {
            Committee::new(Epoch(epoch), &members.iter().copied().map(id).collect::<Vec<_>>(), threshold).unwrap()
        };
        Rotation {
            chain: "north".to_owned(),
            verifier: Address::from_20([9; 20]),
            domain: Domain(Hash32([8; 32])),
            old: set(1, &[1, 2, 3], 2),
            new: set(2, &[2, 3, 4], threshold),
            signatures: BTreeMap::new(),
        }
    }

    struct Files {
        dir: tempfile::TempDir,
    }

    impl Files {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            for byte in 1..=5 {
                crate::keys::create_secret(&dir.path().join(byte.to_string()), &[byte; 32]).unwrap();
            }
            Self { dir }
        }

        fn sign(&self, file: &str, byte: u8) -> Result<Answer, Failure> {
            let missing = Sources { path: Some(self.dir.path().join("none.toml")), ..Sources::default() };
            let (file, key) = (self.dir.path().join(file), self.dir.path().join(byte.to_string()));
            sign(&missing, &SignArguments { file, key: Some(key), record: None })
        }
    }

    #[test]
    fn a_file_walks_through_old_and_new_members_until_it_is_complete() {
        let files = Files::new();
        let path = files.dir.path().join("change");
        rotation(2).write(&path).unwrap();
        let complete = |answer: &Answer| answer.data["is_complete"] == true;
        let first = files.sign("change", 2).unwrap();
        assert!(!complete(&first) && first.text.contains(&id(4).to_string()), "{}", first.text);
        assert!(!complete(&files.sign("change", 4).unwrap()));
        // The third signature of a new member is the second of an old one.
        assert!(complete(&files.sign("change", 3).unwrap()));
        let GatewayCall::Rotate { members, old, new, .. } = Rotation::read(&path).unwrap().call() else { panic!() };
        assert_eq!(old.into_keys().collect::<BTreeSet<_>>(), BTreeSet::from([id(2), id(3)]));
        assert_eq!(new.into_keys().collect::<Vec<_>>(), members);
        assert_eq!(files.sign("change", 5).unwrap_err().exit, Exit::Refused);
    }

    #[test]
    fn a_key_signs_one_change_for_a_verifier_and_epoch() {
        let files = Files::new();
        rotation(2).write(&files.dir.path().join("one")).unwrap();
        rotation(3).write(&files.dir.path().join("other")).unwrap();
        files.sign("one", 2).unwrap();
        files.sign("one", 2).unwrap();
        let failure = files.sign("other", 2).unwrap_err();
        assert_eq!(failure.exit, Exit::Refused);
        assert!(failure.message.contains("signed another change"), "{}", failure.message);
        files.sign("other", 3).unwrap();
        // A record that can't be read lets nothing be signed.
        fs::write(files.dir.path().join("4.rotations"), "rubbish\n").unwrap();
        assert_eq!(files.sign("one", 4).unwrap_err().exit, Exit::Refused);
    }

    #[test]
    fn a_changed_file_is_refused() {
        let files = Files::new();
        let path = files.dir.path().join("change");
        rotation(2).write(&path).unwrap();
        files.sign("change", 2).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace(&id(4).to_string(), &id(5).to_string())).unwrap();
        let error = Rotation::read(&path).unwrap_err().to_string();
        assert!(error.contains("over another change"), "{error}");
    }
}
