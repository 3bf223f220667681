//! Which of the certificates that the configuration trusts verify the API server as it is now.
//!
//! ```text
//!  whole bundle ─► fits into a kubeconfig? ─► it
//!                     └─► handshake ─► the server's chain ─► those that verify it alone
//! ```
//! kubectl hands the authority of a kubeconfig to its plugin in one variable, and Linux starts no program with one of more
//! than 128 KiB (execve(2), `MAX_ARG_STRLEN`): with the bundle of a whole distribution kubectl can't start the plugin. It
//! never adds trust: what is kept is a part of the bundle. The API calls it, through [`Cluster`].

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use super::endpoint::Endpoint;
use super::{Cluster, VERSION_KEPT};

/// Up to here a bundle goes into a kubeconfig as it is, bytes of PEM: base 64 of it, and the rest of what kubectl says
/// to its plugin, stay below 128 KiB.
const FITS: usize = 64 << 10;
/// The API server answers a handshake within this, or the bundle stays whole.
const PATIENCE: Duration = Duration::from_secs(5);

impl Cluster {
    /// The authority of the API server for a kubeconfig, PEM: the bundle of the configuration, or where that is too large,
    /// what of it verifies the server. When that can't be found out it is the whole bundle, which the log says.
    pub async fn authority_pem(&self, now: Timestamp) -> Arc<str> {
        let endpoint = self.endpoint();
        if endpoint.ca_pem().len() <= FITS || !self.0.transport.is_network() {
            return endpoint.ca_pem().into();
        }
        let heard = self.0.verifies.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((at, pem)) = heard
            && at.elapsed() < VERSION_KEPT
        {
            return pem;
        }
        let found = timeout(PATIENCE, verifying(endpoint, now)).await.unwrap_or_else(|_| Err("no answer".to_owned()));
        match found {
            Ok(pem) => {
                let pem: Arc<str> = pem.into();
                *self.0.verifies.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), pem.clone()));
                pem
            }
            Err(why) => {
                tracing::warn!(cluster = %endpoint.name(), error = why, "the authority of the API server stays as large as it is");
                endpoint.ca_pem().into()
            }
        }
    }
}

/// The certificates of the bundle that verify the server's chain alone.
async fn verifying(endpoint: &Endpoint, now: Timestamp) -> Result<String, String> {
    let told = |why: &dyn std::fmt::Display| why.to_string();
    let uri = endpoint.uri();
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(host.clone()).map_err(|why| told(&why))?;
    let roots = store(endpoint.ca_der().iter());
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let stream = TcpStream::connect((host, uri.port_u16().unwrap_or(443))).await.map_err(|why| told(&why))?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name.clone(), stream).await.map_err(|why| told(&why))?;
    let (_, session) = stream.get_ref();
    let Some((leaf, above)) = session.peer_certificates().and_then(<[_]>::split_first) else {
        return Err("the server showed no certificate".to_owned());
    };
    let now = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now.as_second()).unwrap_or(0)));
    let verifies = |root: &&Vec<u8>| {
        let verifier = WebPkiServerVerifier::builder(store(std::iter::once(*root)).into()).build();
        verifier.is_ok_and(|verifier| verifier.verify_server_cert(leaf, above, &name, &[], now).is_ok())
    };
    let kept: Vec<pem::Pem> =
        endpoint.ca_der().iter().filter(verifies).map(|der| pem::Pem::new("CERTIFICATE", der.clone())).collect();
    if kept.is_empty() {
        Err("no certificate of it verifies the server alone".to_owned())
    } else {
        Ok(pem::encode_many(&kept))
    }
}

/// What can't be read as a certificate trusts nobody.
fn store<'a>(certificates: impl Iterator<Item = &'a Vec<u8>>) -> RootCertStore {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(certificates.map(|der| CertificateDer::from(der.as_slice())));
    store
}
