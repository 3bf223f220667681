//! Connections to any other server: a receiver of notices, reached by its host and port.
//!
//! A name in its certificate and an authority that this host trusts are what proves who it is, and `HTTPS_PROXY` and
//! `NO_PROXY` decide about a proxy, as for API servers. It must never speak without TLS to another host.

use std::io;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;
use tokio::net::TcpStream;

use super::blocking::Blocking;
use super::dial::{self, DialError, Way};
use super::pinned::provider;
use super::proxy::{Environment, without_brackets};
use super::settings::name_of;
use super::{Protocol, Stream};

/// How many names are resolved at a time.
const RESOLVED_AT_ONCE: usize = 4;

/// Whom we trust, and the proxy on the way.
pub struct Outbound {
    /// Nothing if this host trusts nobody.
    verifier: Option<Arc<dyn ServerCertVerifier>>,
    /// Who we are, if the server is told.
    certificate: Option<Arc<CertifiedKey>>,
    environment: Environment,
    resolver: Blocking,
}

impl Outbound {
    /// Trusts the authorities of this host and those in `more`, and takes the proxy from the environment of the process. A
    /// host without any is refused at the first connection, because there may never be one.
    #[must_use]
    pub fn trusting_host(more: Vec<CertificateDer<'static>>) -> Self {
        let host = rustls_native_certs::load_native_certs();
        for error in &host.errors {
            tracing::warn!(%error, "a certificate authority of this host cannot be read");
        }
        let mut roots = RootCertStore::empty();
        // A host's list has a few that webpki does not parse; they are not used.
        roots.add_parsable_certificates(host.certs.into_iter().chain(more));
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider());
        Self::with(verifier.build().ok().map(|verifier| verifier as Arc<dyn ServerCertVerifier>), None)
    }

    /// Accepts what `verifier` accepts, and proves to it that we have the key of `certificate`.
    #[must_use]
    pub fn to_one(verifier: Arc<dyn ServerCertVerifier>, certificate: Arc<CertifiedKey>) -> Self {
        Self::with(Some(verifier), Some(certificate))
    }

    fn with(verifier: Option<Arc<dyn ServerCertVerifier>>, certificate: Option<Arc<CertifiedKey>>) -> Self {
        let (environment, resolver) = (Environment::of_process(), Blocking::new(RESOLVED_AT_ONCE));
        Self { verifier, certificate, environment, resolver }
    }

    /// A TLS connection that speaks HTTP/1.1, through the proxy if there is one. Every step has a deadline; all of them
    /// together end within 21 s, 34 s through a proxy with TLS.
    ///
    /// # Errors
    /// [`DialError`]. Its text has the host, and no other part of a URL.
    pub async fn tls(&self, host: &str, port: u16) -> Result<Stream, DialError> {
        let verifier = self.verifier.as_ref().ok_or(DialError::NoAuthority)?;
        let host = without_brackets(host);
        let peer = peer(host, port);
        let name = |of: &str| {
            let wrong = || io::Error::new(io::ErrorKind::InvalidInput, "it is not a name");
            name_of(of).ok_or_else(|| DialError::Unreachable { peer: peer.clone(), source: wrong() })
        };
        let refused = |why| DialError::Proxy { proxy: "of HTTPS_PROXY".to_owned(), why, hint: None };
        let proxy = self.environment.proxy_for(host, port).map_err(refused)?;
        let proxy_name = proxy.as_ref().filter(|proxy| proxy.is_tls).map(|proxy| name(&proxy.host)).transpose()?;
        let way =
            Way { host, port, peer: peer.clone(), proxy: proxy.as_ref(), proxy_name: proxy_name.as_ref(), verifier };
        let carrier = dial::carrier(&way, &self.resolver).await?;
        let config = dial::tls_config(verifier, self.certificate.clone(), Protocol::Http1)?;
        Ok(Stream(dial::handshake(carrier, config, name(host)?, &peer).await?))
    }

    /// A connection without TLS to this host itself.
    ///
    /// # Errors
    /// [`DialError`], also if the name turns out to be another host's.
    pub async fn loopback(&self, host: &str, port: u16) -> Result<TcpStream, DialError> {
        let peer = peer(without_brackets(host), port);
        let stream = dial::tcp(without_brackets(host), port, &peer, &self.resolver).await?;
        match stream.peer_addr() {
            Ok(address) if address.ip().is_loopback() => Ok(stream),
            Ok(_) => {
                let why = io::Error::new(io::ErrorKind::PermissionDenied, "another host is not spoken to without TLS");
                Err(DialError::Unreachable { peer, source: why })
            }
            Err(source) => Err(DialError::Unreachable { peer, source }),
        }
    }
}

fn peer(host: &str, port: u16) -> String {
    dial::target(host, port)
}

#[cfg(test)]
mod tests {
    use jit_host::hint::Hint;

    use super::*;

    #[tokio::test]
    async fn a_host_that_trusts_nobody_is_told_before_anything_is_sent() {
        let error = Outbound::with(None, None).tls("127.0.0.1", 1).await.err().unwrap();
        assert!(matches!(error, DialError::NoAuthority), "{error}");
        assert!(error.hint().unwrap().contains("ca-certificates"));
    }
}
