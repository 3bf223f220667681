//! Finds which of the configured certificates verify the API server's current certificate.
//!
//! ```text
//!  whole bundle ─► fits into a kubeconfig? ─► use it
//!                     └─► handshake ─► the server's chain ─► those that verify it on their own
//! ```
//! kubectl passes the authority of a kubeconfig to its plugin in one environment variable, and Linux starts no program
//! with a variable of more than 128 KiB (execve(2), `MAX_ARG_STRLEN`): with the bundle of a whole distribution kubectl
//! could not start the plugin. This never adds trust, because the result is a part of the bundle. The API calls it
//! through [`Cluster`].

use std::sync::Arc;
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

/// The largest bundle that goes into a kubeconfig unchanged, in bytes of PEM: in base64, and with everything else that
/// kubectl passes to its plugin, it stays below 128 KiB.
const FITS: usize = 64 << 10;
/// The time limit for the handshake; if it is exceeded, the bundle stays whole.
const PATIENCE: Duration = Duration::from_secs(5);

impl Cluster {
    /// The authority of the API server for a kubeconfig, in PEM: the configured bundle or, if that is too large, the
    /// part of it that verifies the server. If that cannot be determined, it is the whole bundle, with a warning in the
    /// log.
    pub async fn authority_pem(&self, now: Timestamp) -> Arc<str> {
        let endpoint = self.endpoint();
        if endpoint.ca_pem().len() <= FITS || !self.0.transport.is_network() {
            return endpoint.ca_pem().into();
        }
        let heard = self.0.verifies.lock().clone();
        if let Some((at, pem)) = heard
            && at.elapsed() < VERSION_KEPT
        {
            return pem;
        }
        let found = timeout(PATIENCE, verifying(endpoint, now)).await.unwrap_or_else(|_| Err("no answer".to_owned()));
        match found {
            Ok(pem) => {
                let pem: Arc<str> = pem.into();
                *self.0.verifies.lock() = Some((Instant::now(), pem.clone()));
                pem
            }
            Err(why) => {
                tracing::warn!(cluster = %endpoint.name(), error = why, "could not reduce the API server's certificate bundle for kubeconfigs");
                endpoint.ca_pem().into()
            }
        }
    }
}

/// The certificates of the bundle that verify the server's chain on their own.
async fn verifying(endpoint: &Endpoint, now: Timestamp) -> Result<String, String> {
    let text = |why: &dyn std::fmt::Display| why.to_string();
    let uri = endpoint.uri();
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(host.clone()).map_err(|why| text(&why))?;
    let roots = store(endpoint.ca_der().iter());
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let stream = TcpStream::connect((host, uri.port_u16().unwrap_or(443))).await.map_err(|why| text(&why))?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name.clone(), stream).await.map_err(|why| text(&why))?;
    let (_, session) = stream.get_ref();
    let Some((leaf, above)) = session.peer_certificates().and_then(<[_]>::split_first) else {
        return Err("the server sent no certificate".to_owned());
    };
    let now = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now.as_second()).unwrap_or(0)));
    let verifies = |root: &&Vec<u8>| {
        let verifier = WebPkiServerVerifier::builder(store(std::iter::once(*root)).into()).build();
        verifier.is_ok_and(|verifier| verifier.verify_server_cert(leaf, above, &name, &[], now).is_ok())
    };
    let kept: Vec<pem::Pem> =
        endpoint.ca_der().iter().filter(verifies).map(|der| pem::Pem::new("CERTIFICATE", der.clone())).collect();
    if kept.is_empty() {
        Err("no single certificate of the bundle verifies the server".to_owned())
    } else {
        Ok(pem::encode_many(&kept))
    }
}

/// A root store of these certificates; those that cannot be parsed are skipped, and so trust nobody.
fn store<'a>(certificates: impl Iterator<Item = &'a Vec<u8>>) -> RootCertStore {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(certificates.map(|der| CertificateDer::from(der.as_slice())));
    store
}
