//! The serving certificate: the administrator's, or one of a few days under a root of the front end's own.
//!
//! ```text
//!  certificate: {chain, key}  ─► read again every ten seconds ──┐
//!  serving-root.{crt,key}     ─► a new certificate every few days ┴─► the handshakes from then on
//! ```
//! The last certificate of the chain that is served is what people are invited with: `jit-login` accepts only a server whose
//! certificate is signed by a certificate with this fingerprint. What cannot be read while it runs leaves the previous
//! certificate in use, and the log says so.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use jit_core::grant::digest::sha256_hex;
use jit_dial::provider;
use jit_host::hint::Hint;
use jit_serving::{Authority, ROOT, Serving, ServingError};
use parking_lot::RwLock;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::config::{CertificateFiles, Config};

/// How long a certificate below the root lasts, and when it is replaced.
const CERTIFICATE_LASTS: Duration = Duration::from_secs(7 * 86_400);
const REPLACED_AFTER: SignedDuration = SignedDuration::from_hours(24);

/// How often the files of the administrator, or the age of our own certificate, are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// There is no root, or it cannot be used.
    #[error(transparent)]
    Root(#[from] ServingError),
    /// A file cannot be read.
    #[error("`{}`: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The root of our own is made at the first start.
    #[error("there is no serving root yet, `{}`", .0.display())]
    NotMade(PathBuf),
    /// The files do not have a certificate and its key.
    #[error("`{}`: {why}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

impl Hint for CertificateError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::NotMade(_) => {
                Some("the first start of the front end makes it: `systemctl start jit-frontend`".into())
            }
            Self::Root(error) => error.hint(),
            Self::File { .. } | Self::Unusable { .. } => None,
        }
    }
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
        if let Source::Root { state, .. } = &source {
            Authority::prepare(state, "jit-frontend serving root", clock().into())?;
        }
        let current = RwLock::new(Arc::new(source.load(clock())?));
        Ok(Arc::new(Self { source, clock, current }))
    }

    /// Reads the administrator's certificate if there is one, and makes nothing.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn check(config: &Config, now: Timestamp) -> Result<(), CertificateError> {
        config.certificate.clone().map_or(Ok(()), |files| Source::Files(files).load(now).map(drop))
    }

    /// SHA-256 of the last certificate of the chain, hex: what people are invited with.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn fingerprint(config: &Config) -> Result<String, CertificateError> {
        let path = match &config.certificate {
            Some(files) => files.chain.clone(),
            None => config.state.join(ROOT),
        };
        if config.certificate.is_none() && !path.exists() {
            return Err(CertificateError::NotMade(path));
        }
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
                let authority = Authority::read(state)?;
                let Serving { certificate, key } = authority.certify(host, CERTIFICATE_LASTS, now.into())?;
                CertifiedKey::from_der(vec![certificate, authority.root], key, &provider())
                    .map_err(|error| CertificateError::Unusable { path: state.join(ROOT), why: error.to_string() })
            }
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    std::fs::read(path).map_err(|error| CertificateError::File { path: path.to_owned(), error })
}
