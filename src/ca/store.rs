//! Creates, shows, renews, imports and seals an authority's keys and certificates.
//!
//! It overwrites only the issuing key's file, the chain and `root.crt`, and only after checking the new certificates.
//! `jitd init` and `jitd ca` call it.

use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use zeroize::Zeroizing;

use crate::files::{self, Existing, make_folder, remove, write};
use crate::grant::request::ClusterName;

use super::chain::{self, Chain};
use super::credential::{self, CredentialError, CredentialName};
use super::der::whole_second;
use super::folder::{CaError, malformed, private_key, read_chain, read_key, read_root, write_chain};
use super::key::{self, CaKey, SignError};
use super::place::{Bundle, KeyChange, KeyPlace};
use super::profile::Particulars;
use super::token::Attempt;
use super::{pem, profile};

pub use super::chain::CertificateFacts;
pub use super::folder::{CHAIN, ISSUING, PENDING_KEY, ROOT, ROOT_KEY};

/// New certificates of an authority begin a minute in the past, before any leaf that they sign.
const BACKDATED_SECONDS: i64 = 60;

/// The facts about an authority that are shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The issuing certificate.
    pub issuing: CertificateFacts,
    /// The certificates between it and the root, lowest first.
    pub between: Vec<CertificateFacts>,
    /// The root.
    pub root: CertificateFacts,
    /// How long all of them are still valid; negative if one has expired.
    pub rest: SignedDuration,
    /// Whether the root's private key is in the folder, where it should not stay.
    pub root_key_is_here: bool,
    /// Whether an issuing key is in the folder, although the configuration names another place.
    pub plain_key_is_here: bool,
    /// Whether a key waits for a certificate from another PKI.
    pub key_is_pending: bool,
    /// Whether `root.crt` is the root of the issuing certificate.
    pub root_file_is_current: bool,
}

/// Creates a new authority in `folder`: an offline root, and an issuing intermediate whose key is created at `place`. A key
/// that already exists in the credential or the token is used.
///
/// # Errors
/// One of the files exists already, or cannot be written; the key cannot be created.
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
    // Before the root, so that a failure here does not leave an incomplete authority.
    let issuing_key = place.make_or_take(cluster)?;
    let key = CaKey::generate()?;
    // A year of 365.25 days: nobody depends on the exact end of a root.
    let seconds = i64::from(root_years).saturating_mul(31_557_600);
    let particulars = Particulars { key: &key, serial: key::random_serial()?, validity: validity(seconds, now) };
    let params = profile::root(cluster, &particulars);
    let certificate = params.self_signed(&key).map_err(SignError::from)?;
    // The key first: a crash leaves a key without a certificate, never a certificate without a key.
    write(folder, ROOT_KEY, key.to_pem()?.as_bytes(), 0o600, Existing::Refused)?;
    write(folder, ROOT, pem::certificate(certificate.der()).as_bytes(), 0o644, Existing::Refused)?;
    let certificates = issued(cluster, &issuing_key, &key, certificate.der(), issuing_days, now)?;
    install(folder, place, &issuing_key, &certificates, Existing::Refused)?;
    show(folder, place, now)
}

/// Creates a new issuing certificate, signed by the root key in `root_key`, or in the folder if none is named. A key in the
/// file is replaced; a key elsewhere is kept unless `change` says otherwise. Certificates that the previous one signed stay
/// valid until their own end.
///
/// # Errors
/// The root key is missing, readable by others, or not the key of `root.crt`; the root has expired; the issuing key is not
/// available.
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
    // Tried with a throwaway key first, so that no key is replaced if the root cannot sign for it.
    issued(cluster, &CaKey::generate()?, &root_key, &root, issuing_days, now)?;
    let key = place.renewed(cluster, change)?;
    let certificates = issued(cluster, &key, &root_key, &root, issuing_days, now)?;
    install(folder, place, &key, &certificates, Existing::Replaced)?;
    show(folder, place, now)
}

/// Shows the authority in the folder. It checks whether private keys exist, and never shows them.
///
/// # Errors
/// There is no authority, or it has a fault.
pub fn show(folder: &Path, place: &KeyPlace, now: Timestamp) -> Result<Shown, CaError> {
    let bundle = place.bundle(folder, Attempt::ByHand)?;
    let chain = bundle.chain(place)?;
    let rest = chain.not_after().duration_since(now);
    let mut facts = chain.into_facts();
    let (Some(root), false) = (facts.pop(), facts.is_empty()) else {
        return Err(malformed(&folder.join(place.certificates()), "contains no chain"));
    };
    let issuing = facts.remove(0);
    let here = |name: &str| folder.join(name).symlink_metadata().is_ok();
    let root_file_is_current =
        read_root(folder).and_then(|der| Ok(chain::root(&der)?)).is_ok_and(|(facts, _)| facts.sha256 == root.sha256);
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

/// A request (PKCS#10, PEM) to another PKI for the issuing certificate. For a key in the file, it creates a key that waits
/// for its certificate; if one is waiting already, the request is for that key, so that the answer to an earlier request
/// still matches. For a credential or a token, the request is for the existing key, or for a new one.
///
/// # Errors
/// The folder cannot be written; the key is not available.
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
    let request =
        profile::issuing_request(profile::issuing_name(cluster)).serialize_request(&key).map_err(SignError::from)?;
    Ok(pem::request(request.der().as_ref()))
}

/// Imports the answer of another PKI to [`csr`]: the issuing certificate, those between and the root, in this order, as
/// PEM. From then on certificates are issued under that root, so the API server has to trust it first: its
/// `--client-ca-file` can contain the old root and the new one.
///
/// # Errors
/// No key waits, the first certificate is for another key, or the chain is invalid or not valid now.
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
    let certificates = pem::certificates(chain_pem).ok_or_else(|| CaError::Malformed {
        what: "the given chain".to_owned(),
        why: pem::DAMAGED.to_owned(),
        hint: None,
    })?;
    let chain = Chain::check(&certificates)?;
    if *chain.issuing_key() != key.hash() {
        return Err(CaError::KeyMismatch {
            key: called,
            certificate: chain.issuing_subject().to_owned(),
            hint: "the first certificate must be the answer to the last `jitd ca csr`",
        });
    }
    chain.valid_at(now)?;
    install(folder, place, &key, &certificates, Existing::Replaced)?;
    if let Some(root) = certificates.last() {
        write(folder, ROOT, pem::certificate(root).as_bytes(), 0o644, Existing::Replaced)?;
    }
    if *place == KeyPlace::File {
        // Last, so that an interrupted import can be repeated.
        remove(folder, PENDING_KEY)?;
    }
    show(folder, place, now)
}

/// What remains to be done after a call of [`seal`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sealed {
    /// The key is sealed; the plain key stays until the configuration names the credential.
    ConfigurationIsLeft {
        /// The name of the credential.
        name: CredentialName,
        /// The drop-in that passes it to the service.
        drop_in: PathBuf,
    },
    /// The key is in the credential only.
    Done {
        /// The name of the credential.
        name: CredentialName,
        /// Whether a plain key was removed by this call.
        removed: bool,
    },
}

/// Moves the issuing key from the file into a credential, in two calls with a change of the configuration between them.
/// Each call does what remains, so it can be repeated after a crash. The plain key is removed last, after the sealed one
/// was read back and compared.
///
/// # Errors
/// There is no key to seal, or the credential contains another key or cannot be created.
pub fn seal(folder: &Path, place: &KeyPlace, cluster: &ClusterName) -> Result<Sealed, CaError> {
    files::check_folder(folder)?;
    let name = match place {
        KeyPlace::File => CredentialName::of(cluster),
        KeyPlace::Credential(name) => name.clone(),
        KeyPlace::Token(_) => {
            return Err(CaError::NothingToSeal {
                why: format!("the issuing key is {place} and stays there"),
                hint: None,
            });
        }
    };
    let path = folder.join(ISSUING);
    let plain = if path.symlink_metadata().is_ok() {
        let bundle = KeyPlace::File.bundle(folder, Attempt::ByHand)?;
        bundle.chain(&KeyPlace::File)?;
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
            why: format!("`{}` does not exist", path.display()),
            hint: Some("`jitd init` or `jitd ca renew --new-key` creates one"),
        });
    }
    // Read back what was sealed, as the service will get it.
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
    Bundle { key, certificates: read_chain(folder)? }.chain(place)?;
    if plain.is_some() {
        remove(folder, ISSUING)?;
    }
    Ok(Sealed::Done { name, removed: plain.is_some() })
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
            hint: "name the right file with --root-key; for the root of another PKI use `jitd ca csr` and `jitd ca import`",
        });
    }
    let (not_before, not_after) = validity(i64::from(days).saturating_mul(86_400), now);
    let validity = (not_before.max(facts.not_before), not_after.min(facts.not_after));
    let params = profile::issuing(cluster, &Particulars { key, serial: key::random_serial()?, validity });
    let issuer = rcgen::Issuer::from_params(&issuer, root_key);
    let certificate = params.signed_by(key, &issuer).map_err(SignError::from)?;
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
    // A single allocation: a string that grows would leave copies of the key in freed memory.
    let chain = pem::chain(certificates);
    let mut whole = Zeroizing::new(String::with_capacity(text.len() + chain.len()));
    whole.push_str(&text);
    whole.push_str(&chain);
    Ok(write(folder, ISSUING, whole.as_bytes(), 0o600, existing)?)
}

/// From a minute ago until `seconds` from now, in whole seconds.
fn validity(seconds: i64, now: Timestamp) -> (Timestamp, Timestamp) {
    let now = now.as_second();
    let last = now.saturating_add(seconds).saturating_sub(1);
    (whole_second(now.saturating_sub(BACKDATED_SECONDS)), whole_second(last))
}
