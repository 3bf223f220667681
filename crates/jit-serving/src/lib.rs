//! How a program of the bastion proves itself to clients elsewhere: certificates under a root of its own, which is made at the
//! first start.
//!
//! Clients know the root, so it stays. Certificates below it live only in memory. The daemon's authorities have nothing to
//! do with it: they sign for clients only. `jit-gateway` and `jit-frontend` serve with it.

use std::borrow::Cow;
use std::net::IpAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use http::Uri;
use jit_host::files::{self, Existing, FileError};
use jit_host::hint::Hint;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// How long the root lasts. It is replaced by removing its files.
const ROOT_LASTS: Duration = Duration::from_secs(10 * 365 * 86_400);

/// The file of the root, in the folder of the program's state.
pub const ROOT: &str = "serving-root.crt";
const KEY: &str = "serving-root.key";

/// A root, and its key.
pub struct Authority {
    /// The root, PEM.
    pub root_pem: String,
    /// The root, DER.
    pub root: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// What a server proves itself with.
pub struct Serving {
    /// The certificate.
    pub certificate: CertificateDer<'static>,
    /// Its key.
    pub key: PrivateKeyDer<'static>,
}

/// Why there is no serving certificate.
#[derive(Debug, thiserror::Error)]
pub enum ServingError {
    /// A file cannot be written.
    #[error(transparent)]
    Written(#[from] FileError),
    /// A file cannot be read, or the folder cannot be created.
    #[error("`{path}`: {error}")]
    File {
        /// The file.
        path: String,
        /// Why.
        error: std::io::Error,
    },
    /// The root cannot be used.
    #[error("the serving certificate cannot be made: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The root is not a certificate.
    #[error("`{0}` is not a certificate in PEM")]
    Root(String),
}

impl Hint for ServingError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Certificate(_) => {
                Some("remove the root and its key to make a new one, which clients have to be given again".into())
            }
            Self::Written(_) | Self::File { .. } | Self::Root(_) => None,
        }
    }
}

impl Authority {
    /// Reads the root in `state`. The first time it makes one with this name.
    ///
    /// # Errors
    /// [`ServingError`].
    pub fn prepare(state: &Path, name: &str, now: SystemTime) -> Result<Self, ServingError> {
        if !state.join(KEY).exists() && !state.join(ROOT).exists() {
            make_root(state, name, now)?;
        }
        Self::read(state)
    }

    /// Reads the root in `state`.
    ///
    /// # Errors
    /// [`ServingError`].
    pub fn read(state: &Path) -> Result<Self, ServingError> {
        let path = state.join(ROOT);
        let (root_pem, key_pem) = (read(&path)?, read(&state.join(KEY))?);
        let root = CertificateDer::from_pem_slice(root_pem.as_bytes());
        let root = root.map_err(|_| ServingError::Root(path.display().to_string()))?;
        let issuer = Issuer::from_ca_cert_der(&root, KeyPair::from_pem(&key_pem)?)?;
        Ok(Self { root_pem, root, issuer })
    }

    /// Makes a certificate for `host`, a DNS name or an IP address, with a new key.
    ///
    /// # Errors
    /// [`ServingError`].
    pub fn certify(&self, host: &str, lasts: Duration, now: SystemTime) -> Result<Serving, ServingError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = named(host.chars().take(64).collect());
        params.subject_alt_names = vec![match host.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(host.try_into()?),
        }];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        lasting(&mut params, lasts, now);
        let own = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = params.signed_by(&own, &self.issuer)?.der().clone();
        Ok(Serving { certificate, key: PrivatePkcs8KeyDer::from(own.serialize_der()).into() })
    }
}

/// The host in the URL of a server: `https`, without a path and without anybody's name.
#[must_use]
pub fn host_of(server: &str) -> Option<String> {
    let url: Uri = server.parse().ok()?;
    let is_plain = url.scheme_str() == Some("https") && matches!(url.path(), "" | "/") && url.query().is_none();
    let host = url.host().filter(|_| is_plain && !server.contains('@'))?;
    Some(host.trim_start_matches('[').trim_end_matches(']').to_owned())
}

fn make_root(state: &Path, name: &str, now: SystemTime) -> Result<(), ServingError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = named(name.to_owned());
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    lasting(&mut params, ROOT_LASTS, now);
    let root = params.self_signed(&key)?.pem();
    let folder = std::fs::DirBuilder::new().recursive(true).mode(0o755).create(state);
    folder.map_err(|error| ServingError::File { path: state.display().to_string(), error })?;
    files::write(state, KEY, key.serialize_pem().as_bytes(), 0o600, Existing::Replaced)?;
    Ok(files::write(state, ROOT, root.as_bytes(), 0o644, Existing::Replaced)?)
}

fn named(name: String) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    subject
}

/// Valid from an hour ago, for clients whose clock is behind.
fn lasting(params: &mut CertificateParams, lasts: Duration, now: SystemTime) {
    params.not_before = (now - Duration::from_secs(3600)).into();
    params.not_after = (now + lasts).into();
}

fn read(path: &Path) -> Result<String, ServingError> {
    std::fs::read_to_string(path).map_err(|error| ServingError::File { path: path.display().to_string(), error })
}

#[cfg(test)]
mod tests {
    use x509_parser::prelude::{FromDer, X509Certificate};

    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn the_root_stays_and_each_certificate_is_new() {
        let folder = std::env::temp_dir().join(format!("jit-serving-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let now = SystemTime::from("2026-11-29T00:00:00Z".parse::<jiff::Timestamp>().unwrap());
        let prepare = || Authority::prepare(&folder, "root", now);
        let (first, again) = (prepare().unwrap(), prepare().unwrap());
        assert_eq!((&first.root_pem, &first.root), (&again.root_pem, &again.root));
        let one = first.certify("127.0.0.1", DAY, now).unwrap();
        let two = again.certify("h.example", DAY, now).unwrap();
        assert_ne!(one.certificate, two.certificate);
        let (_, root) = X509Certificate::from_der(&first.root).unwrap();
        for certificate in [&one.certificate, &two.certificate] {
            let (_, certificate) = X509Certificate::from_der(certificate).unwrap();
            certificate.verify_signature(Some(root.public_key())).unwrap();
        }
        std::fs::write(folder.join(ROOT), "damaged").unwrap();
        assert!(matches!(prepare(), Err(ServingError::Root(_))));
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_url_names_a_host_and_nothing_more() {
        for (server, expected) in [
            ("https://127.0.0.1:6444", Some("127.0.0.1")),
            ("https://bastion.example/", Some("bastion.example")),
            ("https://[::1]:6444", Some("::1")),
            ("http://127.0.0.1:6444", None),
            ("https://bastion.example/k8s", None),
            ("https://bastion.example/login", None),
            ("https://bastion.example?x", None),
            ("https://alice@bastion.example", None),
            ("bastion.example", None),
        ] {
            assert_eq!(host_of(server).as_deref(), expected, "{server}");
        }
    }
}
