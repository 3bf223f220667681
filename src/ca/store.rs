//! An authority's folder: how its keys and certificates are made, shown, renewed and imported.
//!
//! ```text
//!  issuing.pem       0600  the issuing key and its chain up to the root: all that serving needs
//!  issuing.crt       0644  the chain alone, where the key lies in a credential or a token
//!  root.crt          0644  the root certificate, for the API server's --client-ca-file
//!  root.key          0600  the root key; belongs on another machine, absent here when serving
//!  issuing.next.key  0600  a key that waits for a certificate from another PKI
//! ```
//! Key and certificates are one file, so no reader ever sees a key with another one's certificate. A file
//! appears whole or not at all, and nothing is overwritten but `issuing.pem` and `root.crt` by a
//! certificate that was checked before. Called by `jitd init` and `jitd ca`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use aws_lc_rs::rand;
use jiff::{SignedDuration, Timestamp};
use nix::unistd::geteuid;
use zeroize::Zeroizing;

use crate::files;
use crate::grant::digest::hex;
use crate::grant::request::ClusterName;

use super::chain::{self, Chain};
use super::credential::{self, CredentialError, CredentialName};
use super::der::whole_second;
use super::key::{self, CaKey};
use super::place::{KeyChange, KeyPlace};
use super::profile::Particulars;
use super::token::Attempt;
use super::{CaError, pem, profile};

pub use super::chain::CertificateFacts;

/// The issuing key and its chain.
pub const ISSUING: &str = "issuing.pem";
/// The chain without a key.
pub const CHAIN: &str = "issuing.crt";
/// The root certificate.
pub const ROOT: &str = "root.crt";
/// The root key.
pub const ROOT_KEY: &str = "root.key";
/// The key that waits for its certificate.
pub const PENDING_KEY: &str = "issuing.next.key";

/// The new certificates of an authority begin a minute back, before any leaf of theirs.
const BACKDATED_SECONDS: i64 = 60;

/// What is to be known of an authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The issuing certificate.
    pub issuing: CertificateFacts,
    /// Those between it and the root, from below.
    pub between: Vec<CertificateFacts>,
    /// The root.
    pub root: CertificateFacts,
    /// Until when all of them are valid; a negative rest means that this is over.
    pub rest: SignedDuration,
    /// Whether the root's private key lies in the folder, where it should not stay.
    pub root_key_is_here: bool,
    /// Whether an issuing key lies in the folder although the configuration has it elsewhere.
    pub plain_key_is_here: bool,
    /// Whether a key waits for a certificate from another PKI.
    pub key_is_pending: bool,
    /// Whether `root.crt` is the root that certificates are issued under.
    pub root_file_is_current: bool,
}

/// Makes a new authority in `folder`: an offline root and an issuing intermediate, whose key is made at `place`. A key
/// that is in the credential or in the token already is taken.
///
/// # Errors
/// One of the files is there already, or can't be written; the key can't be made.
pub fn init(
    folder: &Path,
    place: &KeyPlace,
    cluster: &ClusterName,
    issuing_days: u16,
    root_years: u16,
    now: Timestamp,
) -> Result<Shown, CaError> {
    make_folder(folder)?;
    for name in [place.certificates(), ROOT, ROOT_KEY] {
        if folder.join(name).symlink_metadata().is_ok() {
            return Err(CaError::AlreadyThere { path: folder.join(name) });
        }
    }
    // Before the root: what is refused here leaves no authority that is half made.
    let issuing_key = place.make_or_take(cluster)?;
    let key = CaKey::generate()?;
    // A year of 365.25 days: a root's end is not a date anybody waits for.
    let seconds = i64::from(root_years).saturating_mul(31_557_600);
    let particulars = Particulars { key: &key, serial: key::random_serial()?, validity: validity(seconds, now) };
    let params = profile::root(cluster, &particulars);
    let certificate = params.self_signed(&key)?;
    // The key first: a crash leaves a key without certificate, never the other way round.
    write(folder, ROOT_KEY, key.to_pem()?.as_bytes(), 0o600, Existing::Refused)?;
    write(folder, ROOT, pem::certificate(certificate.der()).as_bytes(), 0o644, Existing::Refused)?;
    let certificates = issued(cluster, &issuing_key, &key, certificate.der(), issuing_days, now)?;
    install(folder, place, &issuing_key, &certificates, Existing::Refused)?;
    show(folder, place, now)
}

/// Makes a new issuing certificate, signed by the root key in `root_key`, or in the folder when none is named. A key in
/// the file is made anew with it; one elsewhere is kept unless `change` says otherwise. Certificates of the one before
/// stay valid until their own end.
///
/// # Errors
/// The root key is missing, readable to others or not that of `root.crt`, or the root is over; the issuing key can't
/// be had.
pub fn renew(
    folder: &Path,
    place: &KeyPlace,
    cluster: &ClusterName,
    root_key: Option<&Path>,
    change: KeyChange,
    issuing_days: u16,
    now: Timestamp,
) -> Result<Shown, CaError> {
    files::check_folder(folder)?;
    let root = read_root(folder)?;
    let path = root_key.map_or_else(|| folder.join(ROOT_KEY), Path::to_path_buf);
    let root_key = read_key(&path)?;
    // Tried out on a key of no use, so that nothing is made anew for a root that can't sign for it.
    issued(cluster, &CaKey::generate()?, &root_key, &root, issuing_days, now)?;
    let key = place.renewed(cluster, change)?;
    let certificates = issued(cluster, &key, &root_key, &root, issuing_days, now)?;
    install(folder, place, &key, &certificates, Existing::Replaced)?;
    show(folder, place, now)
}

/// What stands in the folder. Private keys are only looked for, never shown.
///
/// # Errors
/// There is no authority, or it is not in order.
pub fn show(folder: &Path, place: &KeyPlace, now: Timestamp) -> Result<Shown, CaError> {
    let bundle = read_bundle(folder, place, Attempt::ByHand)?;
    let chain = matched(&bundle, place)?;
    let rest = chain.not_after().duration_since(now);
    let mut facts = chain.into_facts();
    let (Some(root), false) = (facts.pop(), facts.is_empty()) else {
        return Err(malformed(&folder.join(place.certificates()), "holds no chain"));
    };
    let issuing = facts.remove(0);
    let here = |name: &str| folder.join(name).symlink_metadata().is_ok();
    let root_file_is_current =
        read_root(folder).and_then(|der| chain::root(&der)).is_ok_and(|(facts, _)| facts.sha256 == root.sha256);
    Ok(Shown {
        issuing,
        between: facts,
        root,
        rest,
        root_key_is_here: here(ROOT_KEY),
        plain_key_is_here: *place != KeyPlace::File && here(ISSUING),
        key_is_pending: here(PENDING_KEY),
        root_file_is_current,
    })
}

/// A request (PKCS#10, PEM) to another PKI for the issuing certificate. For the file a key is made that waits for its
/// certificate; when one waits already, the request is for that one: asked twice, the first answer still fits. For a
/// credential or a token it is for the key that is there, or for a new one.
///
/// # Errors
/// The folder can't be written; the key can't be had.
pub fn csr(folder: &Path, place: &KeyPlace, cluster: &ClusterName) -> Result<String, CaError> {
    make_folder(folder)?;
    let path = folder.join(PENDING_KEY);
    let key = match place {
        KeyPlace::File if path.symlink_metadata().is_ok() => read_key(&path)?,
        KeyPlace::File => {
            let key = CaKey::generate()?;
            write(folder, PENDING_KEY, key.to_pem()?.as_bytes(), 0o600, Existing::Refused)?;
            key
        }
        KeyPlace::Credential(_) | KeyPlace::Token(_) => place.make_or_take(cluster)?,
    };
    let request = profile::issuing_request(profile::issuing_name(cluster)).serialize_request(&key)?;
    Ok(pem::request(request.der().as_ref()))
}

/// Takes the answer of another PKI to [`csr`]: the issuing certificate, those between and the root, in
/// this order, as PEM. From then on certificates are issued under that root, so the API server has to know
/// it beforehand: its `--client-ca-file` may hold the old root and the new one.
///
/// # Errors
/// No key waits, the first certificate is for another key, or the chain is not right or not valid now.
pub fn import(folder: &Path, place: &KeyPlace, chain_pem: &str, now: Timestamp) -> Result<Shown, CaError> {
    files::check_folder(folder)?;
    let path = folder.join(PENDING_KEY);
    let (key, called) = match place {
        KeyPlace::File if path.symlink_metadata().is_err() => {
            return Err(CaError::NothingPending { folder: folder.to_path_buf() });
        }
        KeyPlace::File => (read_key(&path)?, format!("`{}`", path.display())),
        KeyPlace::Credential(_) | KeyPlace::Token(_) => (place.key(folder, Attempt::ByHand)?, place.to_string()),
    };
    let certificates = pem::certificates(chain_pem).ok_or_else(|| damaged("the given chain"))?;
    let chain = Chain::check(&certificates)?;
    if *chain.issuing_key() != key.hash() {
        return Err(CaError::KeyMismatch {
            key: called,
            certificate: chain.issuing_subject().to_owned(),
            hint: "hint: the first certificate has to be the answer to the last `jitd ca csr`",
        });
    }
    chain.valid_at(now)?;
    install(folder, place, &key, &certificates, Existing::Replaced)?;
    if let Some(root) = certificates.last() {
        write(folder, ROOT, pem::certificate(root).as_bytes(), 0o644, Existing::Replaced)?;
    }
    if *place == KeyPlace::File {
        // Last, so that an import that was interrupted can be made again.
        remove(folder, PENDING_KEY)?;
    }
    show(folder, place, now)
}

/// What a call of [`seal`] left to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sealed {
    /// The key is sealed too; the plain one stays until the configuration names the credential.
    ConfigurationIsLeft {
        /// What it is called.
        name: CredentialName,
        /// The file that gives it to the service.
        drop_in: PathBuf,
    },
    /// The key is in the credential only.
    Done {
        /// What it is called.
        name: CredentialName,
        /// Whether a plain key was removed by this call.
        removed: bool,
    },
}

/// Moves the issuing key from the file into a credential, in two calls with a change of the configuration between
/// them. Each call does what is left, so it can be made again after a crash; and the plain key goes last, after the
/// sealed one was read and was the same.
///
/// # Errors
/// There is no key to seal, the credential holds another one, or can't be made.
pub fn seal(folder: &Path, place: &KeyPlace, cluster: &ClusterName) -> Result<Sealed, CaError> {
    files::check_folder(folder)?;
    let name = match place {
        KeyPlace::File => CredentialName::of(cluster),
        KeyPlace::Credential(name) => name.clone(),
        KeyPlace::Token(_) => {
            return Err(CaError::NothingToSeal { why: format!("it is {place}, and stays there") });
        }
    };
    let path = folder.join(ISSUING);
    let plain = if path.symlink_metadata().is_ok() {
        let bundle = read_bundle(folder, &KeyPlace::File, Attempt::ByHand)?;
        matched(&bundle, &KeyPlace::File)?;
        Some(bundle)
    } else {
        None
    };
    let sealed = credential::read_sealed(&name)?;
    if let Some(plain) = &plain {
        if sealed.is_none() {
            credential::seal(&name, &plain.key.to_pem()?)?;
        }
    } else if sealed.is_none() {
        return Err(CaError::NothingToSeal {
            why: format!("`{}` is not there; hint: `jitd init` or `jitd ca renew --new-key`", path.display()),
        });
    }
    // Whatever was written is read again, as the service will get it.
    let text = credential::read_sealed(&name)?.ok_or_else(|| CredentialError::Missing(name.clone()))?;
    let key = private_key(&text, &format!("the credential `{name}`"))?;
    if let Some(plain) = &plain {
        if plain.key.hash() != key.hash() {
            return Err(CredentialError::OtherKey {
                other: path.display().to_string(),
                path: format!("`{}` or `{}`", credential::file(&name).display(), path.display()),
                name,
            }
            .into());
        }
        let known = read_chain(folder)
            .is_ok_and(|found| Chain::check(&found).is_ok_and(|chain| *chain.issuing_key() == key.hash()));
        if !known || *place == KeyPlace::File {
            write_chain(folder, &plain.certificates, Existing::Replaced)?;
        }
    }
    let drop_in = credential::write_drop_in(&name, cluster)?;
    if *place == KeyPlace::File {
        return Ok(Sealed::ConfigurationIsLeft { name, drop_in });
    }
    matched(&Bundle { key, certificates: read_chain(folder)? }, place)?;
    if plain.is_some() {
        remove(folder, ISSUING)?;
    }
    Ok(Sealed::Done { name, removed: plain.is_some() })
}

/// The issuing key with its certificates, issuing first, root last.
pub(super) struct Bundle {
    pub(super) key: CaKey,
    pub(super) certificates: Vec<Vec<u8>>,
}

/// Reads the key at its place and its certificates.
pub(super) fn read_bundle(folder: &Path, place: &KeyPlace, attempt: Attempt) -> Result<Bundle, CaError> {
    files::check_folder(folder)?;
    if *place != KeyPlace::File {
        // The certificates first: without them no token has to be asked.
        let certificates = read_chain(folder)?;
        return Ok(Bundle { key: place.key(folder, attempt)?, certificates });
    }
    let path = folder.join(ISSUING);
    let what = format!("`{}`", path.display());
    let text = files::read_private(&path)?;
    Ok(Bundle {
        key: private_key(&text, &what)?,
        certificates: pem::certificates(&text).ok_or_else(|| damaged(&what))?,
    })
}

/// The chain of certificates that belong to their key.
pub(super) fn matched(bundle: &Bundle, place: &KeyPlace) -> Result<Chain, CaError> {
    let chain = Chain::check(&bundle.certificates)?;
    if *chain.issuing_key() != bundle.key.hash() {
        return Err(CaError::KeyMismatch {
            key: place.to_string(),
            certificate: chain.issuing_subject().to_owned(),
            hint: "hint: after a change of the key restart jitd; else put the file back from a backup, or `jitd ca renew`",
        });
    }
    Ok(chain)
}

/// The issuing certificate of `key` under the root, and the root.
fn issued(
    cluster: &ClusterName,
    key: &CaKey,
    root_key: &CaKey,
    root: &[u8],
    days: u16,
    now: Timestamp,
) -> Result<[Vec<u8>; 2], CaError> {
    let (facts, issuer) = chain::root(root)?;
    if facts.key != root_key.hash() {
        return Err(CaError::KeyMismatch {
            key: "the root key's file".to_owned(),
            certificate: facts.subject,
            hint: "hint: name the right file with --root-key; under another PKI's root use `jitd ca csr` and `jitd ca import`",
        });
    }
    let (not_before, not_after) = validity(i64::from(days).saturating_mul(86_400), now);
    let validity = (not_before.max(facts.not_before), not_after.min(facts.not_after));
    let params = profile::issuing(cluster, &Particulars { key, serial: key::random_serial()?, validity });
    let issuer = rcgen::Issuer::from_params(&issuer, root_key);
    let certificate = params.signed_by(key, &issuer)?;
    let certificates = [certificate.der().to_vec(), root.to_vec()];
    Chain::check(&certificates)?.valid_at(now)?;
    Ok(certificates)
}

fn install(
    folder: &Path,
    place: &KeyPlace,
    key: &CaKey,
    certificates: &[Vec<u8>],
    existing: Existing,
) -> Result<(), CaError> {
    if *place != KeyPlace::File {
        return write_chain(folder, certificates, existing);
    }
    let text = key.to_pem()?;
    // One allocation: growing would leave a copy of the key in freed memory.
    let chain = pem::chain(certificates);
    let mut whole = Zeroizing::new(String::with_capacity(text.len() + chain.len()));
    whole.push_str(&text);
    whole.push_str(&chain);
    write(folder, ISSUING, whole.as_bytes(), 0o600, existing)
}

fn write_chain(folder: &Path, certificates: &[Vec<u8>], existing: Existing) -> Result<(), CaError> {
    write(folder, CHAIN, pem::chain(certificates).as_bytes(), 0o644, existing)
}

fn read_chain(folder: &Path) -> Result<Vec<Vec<u8>>, CaError> {
    let path = folder.join(CHAIN);
    pem::certificates(&files::read_configuration(&path)?).ok_or_else(|| malformed(&path, DAMAGED))
}

/// From a minute back to so many seconds from now, in whole seconds.
fn validity(seconds: i64, now: Timestamp) -> (Timestamp, Timestamp) {
    let now = now.as_second();
    let last = now.saturating_add(seconds).saturating_sub(1);
    (whole_second(now.saturating_sub(BACKDATED_SECONDS)), whole_second(last))
}

fn read_root(folder: &Path) -> Result<Vec<u8>, CaError> {
    let path = folder.join(ROOT);
    let text = files::read_configuration(&path)?;
    let mut found = pem::certificates(&text).ok_or_else(|| malformed(&path, DAMAGED))?;
    match (found.pop(), found.is_empty()) {
        (Some(root), true) => Ok(root),
        _ => Err(malformed(&path, "holds not exactly one certificate")),
    }
}

pub(super) fn read_key(path: &Path) -> Result<CaKey, CaError> {
    private_key(&files::read_private(path)?, &format!("`{}`", path.display()))
}

/// The one private key in a text that can hold certificates too.
pub(super) fn private_key(text: &str, what: &str) -> Result<CaKey, CaError> {
    let wrong = |why: String| CaError::Malformed { what: what.to_owned(), why };
    let mut keys = Vec::new();
    for block in pem::blocks(text).ok_or_else(|| damaged(what))? {
        match block.tag {
            "PRIVATE KEY" => keys.push(block.contents),
            "CERTIFICATE" => {}
            other => {
                let other = other.escape_default();
                return Err(wrong(format!("holds a `{other}`; hint: keys are unencrypted PKCS#8, `PRIVATE KEY`")));
            }
        }
    }
    match keys.as_slice() {
        [key] => CaKey::from_pkcs8(key).ok_or_else(|| wrong("holds a key that is not P-256".to_owned())),
        _ => Err(wrong("holds not exactly one `PRIVATE KEY`".to_owned())),
    }
}

fn make_folder(folder: &Path) -> Result<(), CaError> {
    match files::new_folder(folder) {
        Ok(made) => {
            if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                give_to_owner_of(parent, &made).map_err(io_error(folder, "hand over"))?;
                sync_folder(parent)?;
            }
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(files::check_folder(folder)?),
        Err(source) => Err(CaError::Io { path: folder.to_path_buf(), doing: "make", source }),
    }
}

/// What happens to a file of the same name.
#[derive(Clone, Copy)]
pub(super) enum Existing {
    Refused,
    Replaced,
}

/// Writes a file so that it is there whole or not at all, also after a loss of power.
pub(super) fn write(folder: &Path, name: &str, contents: &[u8], mode: u32, existing: Existing) -> Result<(), CaError> {
    let mut random = [0; 8];
    rand::fill(&mut random).map_err(|_| CaError::Crypto { doing: "give random bytes" })?;
    let (path, new) = (folder.join(name), folder.join(format!(".{name}.{}.new", hex(&random))));
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(mode).open(&new).map_err(io_error(&new, "make"))?;
    // The mode again, because the caller's umask took bits from the first.
    let written = give_to_owner_of(folder, &file)
        .and_then(|()| file.set_permissions(fs::Permissions::from_mode(mode)))
        .and_then(|()| file.write_all(contents))
        .and_then(|()| file.sync_all())
        .and_then(|()| match existing {
            Existing::Replaced => fs::rename(&new, &path),
            // Unlike a rename, a link fails when the name is taken.
            Existing::Refused => fs::hard_link(&new, &path).and_then(|()| fs::remove_file(&new)),
        });
    if let Err(source) = written {
        // It may be gone already; the first error is the one to tell.
        let _ = fs::remove_file(&new);
        return Err(if source.kind() == io::ErrorKind::AlreadyExists {
            CaError::AlreadyThere { path }
        } else {
            CaError::Io { path, doing: "write", source }
        });
    }
    sync_folder(folder)
}

/// What root makes in a folder of the service has to be the service's, or it could not read it.
fn give_to_owner_of(folder: &Path, file: &File) -> io::Result<()> {
    let metadata = fs::metadata(folder)?;
    if geteuid().is_root() && metadata.uid() != 0 {
        fchown(file, Some(metadata.uid()), Some(metadata.gid()))?;
    }
    Ok(())
}

fn remove(folder: &Path, name: &str) -> Result<(), CaError> {
    let path = folder.join(name);
    fs::remove_file(&path).map_err(io_error(&path, "remove"))?;
    sync_folder(folder)
}

fn sync_folder(folder: &Path) -> Result<(), CaError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io_error(folder, "write"))
}

fn io_error(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> CaError {
    let path: PathBuf = path.to_path_buf();
    move |source| CaError::Io { path, doing, source }
}

fn malformed(path: &Path, why: &str) -> CaError {
    CaError::Malformed { what: format!("`{}`", path.display()), why: why.to_owned() }
}

const DAMAGED: &str = "is damaged PEM";

fn damaged(what: &str) -> CaError {
    CaError::Malformed { what: what.to_owned(), why: DAMAGED.to_owned() }
}
