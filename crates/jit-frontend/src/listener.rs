//! Connections: a place, the handshake, and the requests on it.
//!
//! ```text
//!  TCP ─► a place, or refused at once ─► its first byte ─► TLS 1.3, a key proved ─► requests ─► closed
//!                                                                  └ no certificate ─► one request, a logout ─► closed
//! ```
//! Who does not begin gets nothing of the TLS library's memory. There are no session tickets: each connection proves its key.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use jit_dial::{notice_silence, provider};
use jit_host::places::{Place, Places};
use rustls::ServerConfig;
use rustls::server::{NoServerSessionStorage, ResolvesServerCert};
use rustls::version::TLS13;
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;

use crate::client_key::{AnyKey, ClientKey};
use crate::network::network;
use crate::routes::{Client, Routes, Stranger};

/// Connections at a time, in total and of one address. Below two files for each, see `LimitNOFILE=` of the unit.
const CONNECTIONS: usize = 2560;
/// Connections of one address: an office behind one address has some.
pub const CONNECTIONS_OF_ONE: usize = 256;

/// How long the first byte, the handshake, and the head of a request may take, each; and how long a connection without a
/// request is kept.
const HEAD_WITHIN: Duration = Duration::from_secs(10);

/// How long a client may take to read any part of an answer.
const UNREAD: Duration = Duration::from_secs(30);

/// The largest head, in bytes, and the most headers.
const LARGEST_HEAD: usize = 16 * 1024;
const HEADERS: usize = 64;

/// A front end that serves.
pub struct Listener {
    routes: Arc<Routes>,
    places: Arc<Places<IpAddr>>,
    tls: TlsAcceptor,
}

impl Listener {
    /// Serves these routes with a certificate.
    ///
    /// # Errors
    /// That of rustls.
    pub fn new(routes: Arc<Routes>, certificate: Arc<dyn ResolvesServerCert>) -> Result<Self, rustls::Error> {
        let mut tls = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(AnyKey::verifier())
            .with_cert_resolver(certificate);
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        tls.send_tls13_tickets = 0;
        tls.session_storage = Arc::new(NoServerSessionStorage {});
        let places = Places::new(CONNECTIONS, CONNECTIONS_OF_ONE);
        Ok(Self { routes, places, tls: TlsAcceptor::from(Arc::new(tls)) })
    }

    /// Accepts connections. Never returns.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => match self.places.take(network(peer.ip())) {
                    Some(place) => {
                        let listener = Arc::clone(&self);
                        tokio::spawn(async move { listener.connection(stream, peer, place).await });
                    }
                    None => {
                        tracing::debug!(%peer, "refused a connection: there are too many");
                        // Reset, so that nothing of it is kept. It may be closed already.
                        let _ = stream.set_zero_linger();
                    }
                },
                Err(error) => {
                    // Out of file descriptors, most likely: wait for some to come free.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn connection(&self, stream: TcpStream, peer: SocketAddr, place: Place<IpAddr>) {
        let _place = place;
        if notice_silence(&stream).is_err() {
            return;
        }
        if !matches!(timeout(HEAD_WITHIN, stream.ready(Interest::READABLE)).await, Ok(Ok(_))) {
            return;
        }
        let mut stream = Box::pin(TimeoutStream::new(stream));
        stream.as_mut().set_write_timeout_pinned(Some(UNREAD));
        let tls = match timeout(HEAD_WITHIN, self.tls.accept(stream)).await {
            Ok(Ok(tls)) => tls,
            Ok(Err(error)) => {
                tracing::debug!(%error, %peer, "refused a connection at its handshake");
                return;
            }
            Err(_) => return,
        };
        let chain = tls.get_ref().1.peer_certificates().unwrap_or_default();
        let (routes, mut http) = (Arc::clone(&self.routes), http1::Builder::new());
        http.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN).max_headers(HEADERS).max_buf_size(LARGEST_HEAD);
        let served = if let Some(certificate) = chain.first() {
            // The handshake has checked that it can be read.
            let Some(key) = ClientKey::of(certificate) else { return };
            let daemon = tokio::sync::Mutex::default();
            let client = Arc::new(Client { routes, key, peer, daemon });
            let service = service_fn(move |request: Request<Incoming>| {
                let client = Arc::clone(&client);
                // On the heap while it is worked on: hyper keeps the room of this future as long as the connection.
                async move { Ok::<_, Infallible>(Box::pin(client.answer(request)).await) }
            });
            http.serve_connection(TokioIo::new(tls), service).await
        } else {
            let stranger = Arc::new(Stranger { routes, peer });
            let service = service_fn(move |request: Request<Incoming>| {
                let stranger = Arc::clone(&stranger);
                async move { Ok::<_, Infallible>(Box::pin(stranger.answer(request)).await) }
            });
            http.keep_alive(false).serve_connection(TokioIo::new(tls), service).await
        };
        if let Err(error) = served {
            tracing::debug!(%error, %peer, "a connection ended badly");
        }
    }
}
