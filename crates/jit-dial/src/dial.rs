//! One connection: the name is resolved, the address connected, a proxy asked for a tunnel, and TLS spoken.
//!
//! ```text
//!  resolve ─► TCP ─┬───────────────────────────────► TLS with the API server
//!                  └─► (TLS with the proxy) ─► CONNECT ─┘
//! ```
//! Each step has a deadline of its own, so that an error names the step. It must never send anything to a peer whose
//! certificate it has not verified, except to a proxy on plain HTTP. [`ApiServer`](crate::ApiServer) and
//! [`Outbound`](crate::Outbound) call it.

use std::borrow::Cow;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::ServerName;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use jit_host::hint::Hint;

use super::blocking::Blocking;
use super::pinned::provider;
use super::plugin::PluginError;
use super::proxy::Proxy;
use super::settings::Settings;
use super::{Protocol, Stream};

/// How long the host's resolver has.
const RESOLVE: Duration = Duration::from_secs(3);
/// How long an address has to accept a connection; several addresses of one name share it.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a proxy has to open a tunnel: it resolves and connects as we would.
const TUNNEL: Duration = Duration::from_secs(8);
/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// When TCP asks a peer on whose connection nothing is sent whether it is still there, how often, and how many times
/// (tcp(7)): one that is gone is noticed after 30 s.
const SILENT_FOR: Duration = Duration::from_secs(15);
const ASK_EVERY: Duration = Duration::from_secs(5);
const ASKED: u32 = 3;
/// How long an API server may take to acknowledge what it was sent. It also breaks a connection that the other side keeps open
/// and does not read (tcp(7), `TCP_USER_TIMEOUT`), which an API server does not do for so long.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(30);

/// Why there is no connection to an API server.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// This host has no certificate authorities, and the configuration names none.
    #[error("there is no certificate authority to trust")]
    NoAuthority,
    /// The host's resolver found no address for a name, or did not answer.
    #[error("cannot resolve `{host}`: {source}")]
    Unresolved {
        /// The name.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// No address accepted a TCP connection.
    #[error("cannot connect to {peer}: {source}")]
    Unreachable {
        /// The API server or proxy.
        peer: String,
        /// What the system said about the last address.
        source: io::Error,
    },
    /// The peer took too long for one step.
    #[error("{peer} did not {doing} within {} s", after.as_secs())]
    TimedOut {
        /// The API server or proxy.
        peer: String,
        /// The step, as a verb.
        doing: &'static str,
        /// The limit.
        after: Duration,
    },
    /// The connection broke, or TLS failed on it. The source of the I/O error is then the error of rustls.
    #[error("the connection to {peer} failed: {source}")]
    Broken {
        /// The API server or proxy.
        peer: String,
        /// What happened.
        source: io::Error,
    },
    /// The proxy opened no tunnel.
    #[error("the proxy {proxy} {why}")]
    Proxy {
        /// Its URL, without user and password.
        proxy: String,
        /// What it did, as a verb.
        why: String,
        /// What to do about it.
        hint: Option<&'static str>,
    },
    /// The peer does not speak the protocol that was asked for.
    #[error("{peer} does not speak HTTP/2")]
    NoHttp2 {
        /// The API server.
        peer: String,
    },
    /// The credential plugin gave no credential.
    #[error(transparent)]
    Plugin(#[from] PluginError),
}

impl Hint for DialError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::NoAuthority => Some(
                "install those of the distribution, the package `ca-certificates`; a service reads them when it starts"
                    .into(),
            ),
            Self::Unresolved { .. } => Some("check with `getent hosts NAME`".into()),
            Self::Proxy { hint, .. } => hint.map(Cow::Borrowed),
            Self::Plugin(error) => error.hint(),
            Self::Unreachable { .. } | Self::TimedOut { .. } | Self::Broken { .. } | Self::NoHttp2 { .. } => None,
        }
    }
}

/// What a TLS connection runs over.
pub(crate) trait Carrier: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Carrier for T {}

/// Connects as `settings` say, and proves who we are by `certificate` if there is one.
pub(crate) async fn connect(
    settings: &Settings,
    certificate: Option<Arc<CertifiedKey>>,
    protocol: Protocol,
    resolver: &Blocking,
) -> Result<Stream, DialError> {
    let server = &settings.server;
    let verifier = Arc::clone(&settings.authorities) as Arc<dyn ServerCertVerifier>;
    let way = Way {
        host: &server.host,
        port: server.port,
        peer: server.peer(),
        proxy: settings.proxy.as_ref(),
        proxy_name: settings.proxy_name.as_ref(),
        verifier: &verifier,
    };
    let carrier = carrier(&way, resolver).await?;
    let peer = way.peer;
    let config = tls_config(&verifier, certificate, protocol)?;
    let stream = handshake(carrier, config, settings.server_name.clone(), &peer).await?;
    // A server may ignore the list of protocols, and then expects HTTP/1.1.
    if matches!(protocol, Protocol::Http2) && stream.get_ref().1.alpn_protocol() != Some(protocol.alpn()) {
        return Err(DialError::NoHttp2 { peer });
    }
    Ok(Stream(stream))
}

/// How a server is reached.
pub(crate) struct Way<'a> {
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    /// How messages name it.
    pub(crate) peer: String,
    pub(crate) proxy: Option<&'a Proxy>,
    /// The name in the proxy's certificate, if it is reached by TLS.
    pub(crate) proxy_name: Option<&'a ServerName<'static>>,
    pub(crate) verifier: &'a Arc<dyn ServerCertVerifier>,
}

/// `host:port`, for CONNECT.
pub(crate) fn target(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// A connection to the server, through the tunnel of a proxy if there is one.
pub(crate) async fn carrier(way: &Way<'_>, resolver: &Blocking) -> Result<Box<dyn Carrier>, DialError> {
    let Some(proxy) = way.proxy else { return Ok(Box::new(tcp(way.host, way.port, &way.peer, resolver).await?)) };
    let stream = tcp(&proxy.host, proxy.port, &proxy.peer(), resolver).await?;
    let mut stream: Box<dyn Carrier> = match way.proxy_name {
        None => Box::new(stream),
        // Like Go, we trust the same authorities for the proxy, but do not tell it who we are.
        Some(name) => {
            let config = tls_config(way.verifier, None, Protocol::Http1)?;
            Box::new(handshake(stream, config, name.clone(), &proxy.peer()).await?)
        }
    };
    let target = target(way.host, way.port);
    let asked = timeout(TUNNEL, proxy.tunnel(&mut stream, &target));
    asked.await.unwrap_or_else(|_| Err(timed_out(&proxy.peer(), "open a tunnel", TUNNEL)))?;
    Ok(stream)
}

fn timed_out(peer: &str, doing: &'static str, after: Duration) -> DialError {
    DialError::TimedOut { peer: peer.to_owned(), doing, after }
}

/// A TCP connection that notices a silent peer.
pub(crate) async fn tcp(host: &str, port: u16, peer: &str, resolver: &Blocking) -> Result<TcpStream, DialError> {
    let unreachable = |source| DialError::Unreachable { peer: peer.to_owned(), source };
    let addresses = match host.parse::<IpAddr>() {
        Ok(address) => vec![SocketAddr::new(address, port)],
        Err(_) => resolve(host, port, resolver).await?,
    };
    let until = Instant::now() + CONNECT;
    let mut last = None;
    for (tried, address) in addresses.iter().enumerate() {
        // One address that swallows everything leaves the others their share.
        let left = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        let share = until.saturating_duration_since(Instant::now()) / left;
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                notice_silence(&stream).map_err(unreachable)?;
                // One that is gone must not be waited for until the kernel gives up.
                SockRef::from(&stream).set_tcp_user_timeout(Some(ACKNOWLEDGED_WITHIN)).map_err(unreachable)?;
                return Ok(stream);
            }
            Ok(Err(why)) => last = Some(unreachable(why)),
            Err(_) => last = last.or(Some(timed_out(peer, "accept a connection", CONNECT))),
        }
    }
    Err(last.unwrap_or_else(|| unresolved(host, io::Error::from(io::ErrorKind::NotFound))))
}

fn unresolved(host: &str, source: io::Error) -> DialError {
    DialError::Unresolved { host: host.to_owned(), source }
}

async fn resolve(host: &str, port: u16, resolver: &Blocking) -> Result<Vec<SocketAddr>, DialError> {
    let name = host.to_owned();
    let asked = resolver.run(RESOLVE, move || (name.as_str(), port).to_socket_addrs().map(Iterator::collect)).await;
    asked.unwrap_or_else(|why| Err(why.into())).map_err(|why| unresolved(host, why))
}

/// Sends small packets at once, and breaks a connection on which nothing is sent and whose peer does not answer (tcp(7)); for
/// those that are accepted too. It breaks none whose peer answers and does not read, such as a client that is stopped.
///
/// # Errors
/// The connection has ended already.
pub fn notice_silence(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let silence = TcpKeepalive::new().with_time(SILENT_FOR).with_interval(ASK_EVERY).with_retries(ASKED);
    SockRef::from(stream).set_tcp_keepalive(&silence)
}

pub(crate) fn tls_config(
    verifier: &Arc<dyn ServerCertVerifier>,
    certificate: Option<Arc<CertifiedKey>>,
    protocol: Protocol,
) -> Result<ClientConfig, DialError> {
    let broken = |why| DialError::Broken { peer: "TLS".to_owned(), source: io::Error::other(why) };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(broken)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(verifier));
    let mut config = match certificate {
        Some(key) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key))),
        None => builder.with_no_client_auth(),
    };
    // A resumed session would skip the certificates, which may have been replaced.
    config.resumption = rustls::client::Resumption::disabled();
    config.alpn_protocols = vec![protocol.alpn().to_vec()];
    Ok(config)
}

pub(crate) async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    config: ClientConfig,
    name: ServerName<'static>,
    peer: &str,
) -> Result<TlsStream<S>, DialError> {
    match timeout(HANDSHAKE, TlsConnector::from(Arc::new(config)).connect(name, stream)).await {
        Ok(done) => done.map_err(|source| DialError::Broken { peer: peer.to_owned(), source }),
        Err(_) => Err(timed_out(peer, "finish the TLS handshake", HANDSHAKE)),
    }
}
