//! The serving certificate, under a root of the gateway's own that is made at the first start.
//!
//! The root is in the kubeconfigs of people, so it stays; the certificate below it is made anew at each start and lives
//! only in memory. The daemon's authorities have nothing to do with it: they sign for clients only.

use std::net::IpAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use jit_host::files::{self, Existing, FileError};

/// How long the root lasts. It is replaced by removing its files, and people get the new one with their next
/// certificate.
const ROOT_LASTS: Duration = Duration::from_secs(10 * 365 * 86_400);

/// How long a serving certificate lasts; clients of Apple refuse more than 825 days
/// (<https://support.apple.com/103769>).
const CERTIFICATE_LASTS: Duration = Duration::from_secs(397 * 86_400);

const ROOT: &str = "serving-root.crt";
const KEY: &str = "serving-root.key";

/// What the gateway proves itself with.
pub struct Serving {
    /// The root, PEM.
    pub root_pem: String,
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
    #[error("the serving certificate cannot be made: {0}; remove the root and its key to make a new one")]
    Certificate(#[from] rcgen::Error),
    /// The root is not a certificate.
    #[error("`{0}` is not a certificate in PEM")]
    Root(String),
}

impl Serving {
    /// Makes a serving certificate for `host`, a DNS name or an IP address, and at the first start a root in `state`.
    ///
    /// # Errors
    /// [`ServingError`].
    pub fn prepare(state: &Path, host: &str, now: SystemTime) -> Result<Self, ServingError> {
        let (root, key) = (state.join(ROOT), state.join(KEY));
        if !key.exists() && !root.exists() {
            make_root(state, now)?;
        }
        let key_pem = read(&key)?;
        let root_pem = read(&root)?;
        if CertificateDer::from_pem_slice(root_pem.as_bytes()).is_err() {
            return Err(ServingError::Root(root.display().to_string()));
        }
        let issuer = Issuer::from_ca_cert_pem(&root_pem, KeyPair::from_pem(&key_pem)?)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = named(host.chars().take(64).collect());
        params.subject_alt_names = vec![match host.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(host.try_into()?),
        }];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        lasting(&mut params, CERTIFICATE_LASTS, now);
        let own = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = params.signed_by(&own, &issuer)?.der().clone();
        Ok(Self { root_pem, certificate, key: PrivatePkcs8KeyDer::from(own.serialize_der()).into() })
    }
}

fn make_root(state: &Path, now: SystemTime) -> Result<(), ServingError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = named("jit-gateway serving root".to_owned());
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

    #[test]
    fn the_root_stays_and_the_certificate_is_new_at_each_start() {
        let folder = std::env::temp_dir().join(format!("jit-gateway-serving-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let now = SystemTime::from("2026-11-29T00:00:00Z".parse::<jiff::Timestamp>().unwrap());
        let (one, two) = (
            Serving::prepare(&folder, "127.0.0.1", now).unwrap(),
            Serving::prepare(&folder, "h.example", now).unwrap(),
        );
        assert_eq!(one.root_pem, two.root_pem);
        assert_ne!(one.certificate, two.certificate);
        let root = CertificateDer::from_pem_slice(one.root_pem.as_bytes()).unwrap();
        let (_, root) = X509Certificate::from_der(&root).unwrap();
        for certificate in [&one.certificate, &two.certificate] {
            let (_, certificate) = X509Certificate::from_der(certificate).unwrap();
            certificate.verify_signature(Some(root.public_key())).unwrap();
        }
        std::fs::write(folder.join(ROOT), "damaged").unwrap();
        assert!(matches!(Serving::prepare(&folder, "127.0.0.1", now), Err(ServingError::Root(_))));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
