//! The serving certificate: the administrator's, or one of a few days under a root of the front end's own.
//!
//! ```text
//!  certificate: {chain, key}  ─► read again every ten seconds ──┐
//!  serving-root.{crt,key}     ─► a new certificate every few days ┴─► the handshakes from then on
//! ```
//! The last certificate of the chain that is served is what people are invited with: `jit-login` accepts only a server whose
//! certificate is signed by a certificate with this fingerprint. What cannot be read while it runs leaves the previous
//! certificate in use, and the log says so.

use std::net::IpAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use jit_core::grant::digest::sha256_hex;
use jit_dial::provider;
use jit_host::files::{self, Existing, FileError};
use parking_lot::RwLock;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::config::{CertificateFiles, Config};

/// How long the root lasts. People are invited with its fingerprint, so it stays; it is replaced by removing its files.
const ROOT_LASTS: SignedDuration = SignedDuration::from_hours(10 * 365 * 24);

/// How long a certificate below it lasts, and when it is replaced.
const CERTIFICATE_LASTS: SignedDuration = SignedDuration::from_hours(7 * 24);
const REPLACED_AFTER: SignedDuration = SignedDuration::from_hours(24);

/// How often the files of the administrator, or the age of our own certificate, are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);

const ROOT: &str = "serving-root.crt";
const KEY: &str = "serving-root.key";

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be written.
    #[error(transparent)]
    Written(#[from] FileError),
    /// A file cannot be read, or the folder cannot be created.
    #[error("`{}`: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The root cannot be used.
    #[error("the serving certificate cannot be made: {0}; remove the root and its key to make a new one")]
    Made(#[from] rcgen::Error),
    /// The files do not have a certificate and its key.
    #[error("`{}`: {why}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

/// What the front end proves itself with.
pub struct Certificate {
    source: Source,
    clock: fn() -> Timestamp,
    current: RwLock<Arc<CertifiedKey>>,
}

#[derive(Clone)]
enum Source {
    Files(CertificateFiles),
    Root { state: PathBuf, host: String },
}

impl Certificate {
    /// Reads the administrator's certificate, or makes one, and at the first start a root. Blocks while it reads.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn prepare(config: &Config, clock: fn() -> Timestamp) -> Result<Arc<Self>, CertificateError> {
        let source = match &config.certificate {
            Some(files) => Source::Files(files.clone()),
            None => Source::Root { state: config.state.clone(), host: config.host.clone() },
        };
        if let Source::Root { state, .. } = &source
            && !state.join(KEY).exists()
            && !state.join(ROOT).exists()
        {
            make_root(state, clock())?;
        }
        let current = RwLock::new(Arc::new(source.load(clock())?));
        Ok(Arc::new(Self { source, clock, current }))
    }

    /// SHA-256 of the last certificate of the chain, hex: what people are invited with.
    ///
    /// # Errors
    /// [`CertificateError`]; also if the front end has not been started yet, which makes the root.
    pub fn fingerprint(config: &Config) -> Result<String, CertificateError> {
        let path = match &config.certificate {
            Some(files) => files.chain.clone(),
            None => config.state.join(ROOT),
        };
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(&path)?).collect();
        let unusable = |why: String| CertificateError::Unusable { path: path.clone(), why };
        let certificates = certificates.map_err(|error| unusable(error.to_string()))?;
        let last = certificates.last().ok_or_else(|| unusable("it has no certificate".to_owned()))?;
        Ok(sha256_hex(last))
    }

    /// Uses what is new in the files, and renews our own certificate in time. Never returns.
    pub async fn follow(self: Arc<Self>) {
        let (mut made, mut told) = ((self.clock)(), String::new());
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let now = (self.clock)();
            if matches!(self.source, Source::Root { .. }) && now.duration_since(made) < REPLACED_AFTER {
                continue;
            }
            let source = self.source.clone();
            let loaded = tokio::task::spawn_blocking(move || source.load(now).map_err(|error| error.to_string()));
            match loaded.await {
                Ok(Ok(new)) => {
                    if new.cert != self.current.read().cert {
                        tracing::info!("using the new serving certificate");
                        *self.current.write() = Arc::new(new);
                    }
                    made = now;
                    told.clear();
                }
                Ok(Err(why)) if why == told => {}
                Ok(Err(why)) => {
                    tracing::error!(why, "the serving certificate cannot be replaced; the previous one stays in use");
                    told = why;
                }
                Err(error) => tracing::error!(%error, "the serving certificate could not be looked at"),
            }
        }
    }
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificate").finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read()))
    }
}

impl Source {
    fn load(&self, now: Timestamp) -> Result<CertifiedKey, CertificateError> {
        match self {
            Self::Files(CertificateFiles { chain, key }) => {
                let unusable = |path: &Path, why: String| CertificateError::Unusable { path: path.to_owned(), why };
                let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(chain)?).collect();
                let certificates = read.map_err(|error| unusable(chain, error.to_string()))?;
                let private = PrivateKeyDer::from_pem_slice(&self::read(key)?);
                let private = private.map_err(|error| unusable(key, error.to_string()))?;
                CertifiedKey::from_der(certificates, private, &provider())
                    .map_err(|error| unusable(chain, error.to_string()))
            }
            Self::Root { state, host } => {
                let root = state.join(ROOT);
                let unusable = |why: String| CertificateError::Unusable { path: root.clone(), why };
                let root_der = CertificateDer::from_pem_slice(&read(&root)?);
                let root_der = root_der.map_err(|error| unusable(error.to_string()))?;
                let key = String::from_utf8_lossy(&read(&state.join(KEY))?).into_owned();
                let issuer = Issuer::from_ca_cert_der(&root_der, KeyPair::from_pem(&key)?)?;
                let mut params = CertificateParams::default();
                params.distinguished_name = named(host.chars().take(64).collect());
                params.subject_alt_names = vec![match host.parse::<IpAddr>() {
                    Ok(address) => SanType::IpAddress(address),
                    Err(_) => SanType::DnsName(host.as_str().try_into()?),
                }];
                params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
                params.use_authority_key_identifier_extension = true;
                lasting(&mut params, CERTIFICATE_LASTS, now);
                let own = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
                let leaf = params.signed_by(&own, &issuer)?.der().clone();
                let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(own.serialize_der()));
                CertifiedKey::from_der(vec![leaf, root_der], key, &provider())
                    .map_err(|error| unusable(error.to_string()))
            }
        }
    }
}

fn make_root(state: &Path, now: Timestamp) -> Result<(), CertificateError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = named("jit-frontend serving root".to_owned());
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    lasting(&mut params, ROOT_LASTS, now);
    let root = params.self_signed(&key)?.pem();
    let folder = std::fs::DirBuilder::new().recursive(true).mode(0o755).create(state);
    folder.map_err(|error| CertificateError::File { path: state.to_owned(), error })?;
    files::write(state, KEY, key.serialize_pem().as_bytes(), 0o600, Existing::Replaced)?;
    Ok(files::write(state, ROOT, root.as_bytes(), 0o644, Existing::Replaced)?)
}

fn named(name: String) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    subject
}

/// Valid from an hour ago, for clients whose clock is behind.
fn lasting(params: &mut CertificateParams, lasts: SignedDuration, now: Timestamp) {
    let time = |at: Timestamp| std::time::SystemTime::from(at).into();
    params.not_before = time(now - SignedDuration::from_hours(1));
    params.not_after = time(now + lasts);
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    std::fs::read(path).map_err(|error| CertificateError::File { path: path.to_owned(), error })
}
