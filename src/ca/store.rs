//! An authority's folder: how its keys and certificates are made, shown, renewed and imported.
//!
//! ```text
//!  issuing.pem       0600  the issuing key and its chain up to the root: all that serving needs
//!  root.crt          0644  the root certificate, for the API server's --client-ca-file
//!  root.key          0600  the root key; belongs on another machine, absent here when serving
//!  issuing.next.key  0600  a key that waits for a certificate from another PKI
//! ```
//! Key and certificates are one file, so no reader ever sees a key with another one's certificate. A file
//! appears whole or not at all, and nothing is overwritten but `issuing.pem` and `root.crt` by a
//! certificate that was checked before. Called by `jitd init` and `jitd ca`.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use aws_lc_rs::rand;
use jiff::{SignedDuration, Timestamp};
use nix::fcntl::OFlag;
use nix::unistd::geteuid;
use pem::{EncodeConfig, LineEnding, Pem};
use zeroize::Zeroizing;

use crate::grant::request::{ClusterName, KeyHash};
use crate::grant::role::hex;

use super::chain::{self, Chain};
use super::key::{self, CaKey};
use super::profile::Particulars;
use super::{CaError, profile};

/// The issuing key and its chain.
pub const ISSUING: &str = "issuing.pem";
/// The root certificate.
pub const ROOT: &str = "root.crt";
/// The root key.
pub const ROOT_KEY: &str = "root.key";
/// The key that waits for its certificate.
pub const PENDING_KEY: &str = "issuing.next.key";

pub(super) const PEM_FORM: EncodeConfig = EncodeConfig::new().set_line_ending(LineEnding::LF);

/// No file of an authority comes near this.
const MAX_BYTES: u64 = 256 * 1024;

/// The new certificates of an authority begin a minute back, before any leaf of theirs.
const BACKDATED_SECONDS: i64 = 60;

/// What is to be known of one certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// The subject on one line, safe for a terminal.
    pub subject: String,
    /// First second of validity.
    pub not_before: Timestamp,
    /// Last second of validity.
    pub not_after: Timestamp,
    /// SHA-256 of the certificate in DER, hex.
    pub sha256: String,
    /// Which key it certifies.
    pub key: KeyHash,
}

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
    /// Whether a key waits for a certificate from another PKI.
    pub key_is_pending: bool,
    /// Whether `root.crt` is the root that certificates are issued under.
    pub root_file_is_current: bool,
}

/// Makes a new authority in `folder`: an offline root and an issuing intermediate.
///
/// # Errors
/// One of the files is there already, or can't be written.
pub fn init(
    folder: &Path,
    cluster: &ClusterName,
    issuing_days: u16,
    root_years: u16,
    now: Timestamp,
) -> Result<Shown, CaError> {
    make_folder(folder)?;
    for name in [ISSUING, ROOT, ROOT_KEY] {
        if folder.join(name).symlink_metadata().is_ok() {
            return Err(CaError::AlreadyThere { path: folder.join(name) });
        }
    }
    let key = CaKey::generate()?;
    // A year of 365.25 days: a root's end is not a date anybody waits for.
    let seconds = i64::from(root_years).saturating_mul(31_557_600);
    let particulars = Particulars { key: &key, serial: key::random_serial()?, validity: validity(seconds, now) };
    let params = profile::root(cluster, &particulars);
    let certificate = params.self_signed(&key)?;
    // The key first: a crash leaves a key without certificate, never the other way round.
    write(folder, ROOT_KEY, key.to_pem()?.as_bytes(), 0o600, Existing::Refused)?;
    write(folder, ROOT, certificate_pem(certificate.der()).as_bytes(), 0o644, Existing::Refused)?;
    issue(folder, cluster, &key, certificate.der(), issuing_days, Existing::Refused, now)
}

/// Makes a new issuing key and certificate, signed by the root key in `root_key`, or in the folder when
/// none is named. Certificates of the one before stay valid until their own end.
///
/// # Errors
/// The root key is missing, readable to others or not that of `root.crt`, or the root is over.
pub fn renew(
    folder: &Path,
    cluster: &ClusterName,
    root_key: Option<&Path>,
    issuing_days: u16,
    now: Timestamp,
) -> Result<Shown, CaError> {
    check_folder(folder)?;
    let root = read_root(folder)?;
    let path = root_key.map_or_else(|| folder.join(ROOT_KEY), Path::to_path_buf);
    let key = read_key(&path)?;
    issue(folder, cluster, &key, &root, issuing_days, Existing::Replaced, now)
}

/// What stands in the folder. Private keys are only looked for, never shown.
///
/// # Errors
/// There is no authority, or it is not in order.
pub fn show(folder: &Path, now: Timestamp) -> Result<Shown, CaError> {
    let bundle = read_bundle(folder)?;
    let chain = Chain::check(&bundle.certificates)?;
    let rest = chain.not_after().duration_since(now);
    let mut facts = chain.into_facts();
    let (Some(root), false) = (facts.pop(), facts.is_empty()) else {
        return Err(malformed(&folder.join(ISSUING), "holds no chain"));
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
        key_is_pending: here(PENDING_KEY),
        root_file_is_current,
    })
}

/// Makes a key that waits for its certificate, and a request (PKCS#10, PEM) to another PKI for it. When a
/// key waits already, the request is for that one: asked twice, the first answer still fits.
///
/// # Errors
/// The folder can't be written.
pub fn csr(folder: &Path, cluster: &ClusterName) -> Result<String, CaError> {
    make_folder(folder)?;
    let path = folder.join(PENDING_KEY);
    let key = if path.symlink_metadata().is_ok() {
        read_key(&path)?
    } else {
        let key = CaKey::generate()?;
        write(folder, PENDING_KEY, key.to_pem()?.as_bytes(), 0o600, Existing::Refused)?;
        key
    };
    let request = profile::issuing_request(profile::issuing_name(cluster)).serialize_request(&key)?;
    Ok(pem::encode_config(&Pem::new("CERTIFICATE REQUEST", request.der().as_ref()), PEM_FORM))
}

/// Takes the answer of another PKI to [`csr`]: the issuing certificate, those between and the root, in
/// this order, as PEM. From then on certificates are issued under that root, so the API server has to know
/// it beforehand: its `--client-ca-file` may hold the old root and the new one.
///
/// # Errors
/// No key waits, the first certificate is for another key, or the chain is not right or not valid now.
pub fn import(folder: &Path, chain_pem: &str, now: Timestamp) -> Result<Shown, CaError> {
    check_folder(folder)?;
    let path = folder.join(PENDING_KEY);
    if path.symlink_metadata().is_err() {
        return Err(CaError::NothingPending { folder: folder.to_path_buf() });
    }
    let key = read_key(&path)?;
    let certificates = certificates(chain_pem, "the given chain")?;
    let chain = Chain::check(&certificates)?;
    if *chain.issuing_key() != key.hash() {
        return Err(CaError::KeyMismatch {
            key: format!("`{}`", path.display()),
            certificate: chain.issuing_subject().to_owned(),
            hint: "hint: the first certificate has to be the answer to the last `jitd ca csr`",
        });
    }
    chain.valid_at(now)?;
    install(folder, &key, &certificates, Existing::Replaced)?;
    if let Some(root) = certificates.last() {
        write(folder, ROOT, certificate_pem(root).as_bytes(), 0o644, Existing::Replaced)?;
    }
    // Last, so that an import that was interrupted can be made again.
    fs::remove_file(&path).map_err(io_error(&path, "remove"))?;
    sync_folder(folder)?;
    show(folder, now)
}

/// The issuing key with its certificates, issuing first, root last.
pub(super) struct Bundle {
    pub(super) key: CaKey,
    pub(super) certificates: Vec<Vec<u8>>,
}

/// Reads `issuing.pem`.
pub(super) fn read_bundle(folder: &Path) -> Result<Bundle, CaError> {
    check_folder(folder)?;
    let path = folder.join(ISSUING);
    let text = read_private(&path)?;
    let key = private_key(&text, &path)?;
    Ok(Bundle { key, certificates: certificates(&text, &format!("`{}`", path.display()))? })
}

/// A certificate in PEM.
pub(super) fn certificate_pem(der: &[u8]) -> String {
    pem::encode_config(&Pem::new("CERTIFICATE", der), PEM_FORM)
}

fn issue(
    folder: &Path,
    cluster: &ClusterName,
    root_key: &CaKey,
    root: &[u8],
    days: u16,
    existing: Existing,
    now: Timestamp,
) -> Result<Shown, CaError> {
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
    let key = CaKey::generate()?;
    let params = profile::issuing(cluster, &Particulars { key: &key, serial: key::random_serial()?, validity });
    let issuer = rcgen::Issuer::from_params(&issuer, root_key);
    let certificate = params.signed_by(&key, &issuer)?;
    let certificates = [certificate.der().to_vec(), root.to_vec()];
    Chain::check(&certificates)?.valid_at(now)?;
    install(folder, &key, &certificates, existing)?;
    show(folder, now)
}

fn install(folder: &Path, key: &CaKey, certificates: &[Vec<u8>], existing: Existing) -> Result<(), CaError> {
    let mut text = key.to_pem()?;
    // One allocation: growing would leave a copy of the key in freed memory.
    let chain: String = certificates.iter().map(|der| certificate_pem(der)).collect();
    let mut whole = Zeroizing::new(String::with_capacity(text.len() + chain.len()));
    whole.push_str(&text);
    whole.push_str(&chain);
    zeroize::Zeroize::zeroize(&mut *text);
    write(folder, ISSUING, whole.as_bytes(), 0o600, existing)
}

/// From a minute back to so many seconds from now, in whole seconds.
fn validity(seconds: i64, now: Timestamp) -> (Timestamp, Timestamp) {
    let now = now.as_second();
    let last = now.saturating_add(seconds).saturating_sub(1);
    (profile::whole_second(now.saturating_sub(BACKDATED_SECONDS)), profile::whole_second(last))
}

fn read_root(folder: &Path) -> Result<Vec<u8>, CaError> {
    let path = folder.join(ROOT);
    let mut text = String::new();
    File::open(&path)
        .and_then(|file| file.take(MAX_BYTES).read_to_string(&mut text))
        .map_err(io_error(&path, "read"))?;
    let mut found = certificates(&text, &format!("`{}`", path.display()))?;
    match (found.pop(), found.is_empty()) {
        (Some(root), true) => Ok(root),
        _ => Err(malformed(&path, "holds not exactly one certificate")),
    }
}

fn read_key(path: &Path) -> Result<CaKey, CaError> {
    private_key(&read_private(path)?, path)
}

/// The one private key in a text that can hold certificates too.
fn private_key(text: &str, path: &Path) -> Result<CaKey, CaError> {
    let mut keys = Vec::new();
    for block in blocks(text, &format!("`{}`", path.display()))? {
        if block.tag() == "PRIVATE KEY" {
            keys.push(Zeroizing::new(block.into_contents()));
        } else if block.tag() != "CERTIFICATE" {
            return Err(malformed(
                path,
                &format!(
                    "holds a `{}`; hint: keys are unencrypted PKCS#8, `PRIVATE KEY`",
                    block.tag().escape_default()
                ),
            ));
        }
    }
    match keys.as_slice() {
        [key] => CaKey::from_pkcs8(key).ok_or_else(|| malformed(path, "holds a key that is not P-256")),
        _ => Err(malformed(path, "holds not exactly one `PRIVATE KEY`")),
    }
}

/// The certificates in a text that can hold a private key too, in DER.
fn certificates(text: &str, what: &str) -> Result<Vec<Vec<u8>>, CaError> {
    let mut found = Vec::new();
    for block in blocks(text, what)? {
        if block.tag() == "CERTIFICATE" {
            found.push(block.into_contents());
        } else {
            drop(Zeroizing::new(block.into_contents()));
        }
    }
    Ok(found)
}

fn blocks(text: &str, what: &str) -> Result<Vec<Pem>, CaError> {
    let begun = text.matches("-----BEGIN ").count();
    match pem::parse_many(text) {
        // The reader passes over what it can't read; here that is an error.
        Ok(blocks) if blocks.len() == begun => Ok(blocks),
        _ => Err(CaError::Malformed { what: what.to_owned(), why: "is damaged PEM".to_owned() }),
    }
}

/// Reads a file that holds a private key, as strictly as OpenSSH does: a regular file that is ours (or
/// root's) and that nobody else can get at. The checks are on the opened file, not on its name.
fn read_private(path: &Path) -> Result<Zeroizing<String>, CaError> {
    let mut file = OpenOptions::new()
        .read(true)
        // Without O_NONBLOCK a FIFO in its place would hold us for ever.
        .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC).bits())
        .open(path)
        .map_err(io_error(path, "open"))?;
    let metadata = file.metadata().map_err(io_error(path, "look at"))?;
    if !metadata.is_file() || metadata.len() > MAX_BYTES {
        return Err(malformed(path, "is not a regular file of at most 256 KiB"));
    }
    owned(path, metadata.uid(), geteuid().as_raw())?;
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(CaError::TooOpen { path: path.to_path_buf(), mode, wanted: "600" });
    }
    let mut text =
        Zeroizing::new(String::with_capacity(usize::try_from(metadata.len()).unwrap_or(0).saturating_add(1)));
    file.read_to_string(&mut text).map_err(io_error(path, "read"))?;
    Ok(text)
}

fn check_folder(folder: &Path) -> Result<(), CaError> {
    let metadata = fs::metadata(folder).map_err(io_error(folder, "open"))?;
    if !metadata.is_dir() {
        return Err(malformed(folder, "is not a folder"));
    }
    owned(folder, metadata.uid(), geteuid().as_raw())?;
    let mode = metadata.mode() & 0o7777;
    if mode & 0o022 != 0 {
        return Err(CaError::TooOpen { path: folder.to_path_buf(), mode, wanted: "700" });
    }
    Ok(())
}

/// Refuses what belongs neither to us nor to root.
pub(super) fn owned(path: &Path, owner: u32, us: u32) -> Result<(), CaError> {
    // An administrator who runs `jitd ca` as root works on the service's folder.
    if owner == us || owner == 0 || us == 0 {
        Ok(())
    } else {
        Err(CaError::NotOurs { path: path.to_path_buf(), owner, us })
    }
}

fn make_folder(folder: &Path) -> Result<(), CaError> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => {
            if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                let made = File::open(folder).map_err(io_error(folder, "open"))?;
                give_to_owner_of(parent, &made).map_err(io_error(folder, "hand over"))?;
                sync_folder(parent)?;
            }
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => check_folder(folder),
        Err(source) => Err(CaError::Io { path: folder.to_path_buf(), doing: "make", source }),
    }
}

/// What happens to a file of the same name.
#[derive(Clone, Copy)]
enum Existing {
    Refused,
    Replaced,
}

/// Writes a file so that it is there whole or not at all, also after a loss of power.
fn write(folder: &Path, name: &str, contents: &[u8], mode: u32, existing: Existing) -> Result<(), CaError> {
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
