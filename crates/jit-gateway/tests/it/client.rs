//! Clients that see what a library hides: whether an answer ended or broke off, what was left unread, and what is sent
//! although it should not be.

use std::sync::Arc;
use std::time::Duration;

use h2::client::SendRequest;
use http::{Method, Request, Response};
use hyper::body::Bytes;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::front::{Credential, Front, LONG};

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// By a FIN.
    Closed,
    /// By a reset.
    Broken,
}

/// A TLS connection to the gateway.
pub(crate) async fn connect(
    front: &Front,
    credential: Option<&Credential>,
    alpn: &[u8],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(front.root.as_bytes()).unwrap()).unwrap();
    let builder = rustls::ClientConfig::builder_with_provider(jit_dial::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match credential {
        Some(credential) => {
            let certificate = CertificateDer::from_pem_slice(credential.certificate.as_bytes()).unwrap();
            let key = PrivateKeyDer::from_pem_slice(credential.key.as_bytes()).unwrap();
            builder.with_client_auth_cert(vec![certificate], key).unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![alpn.to_vec()];
    let tcp = TcpStream::connect(("127.0.0.1", front.port)).await?;
    let name = ServerName::try_from("127.0.0.1").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await
}

/// A connection that speaks HTTP/1.1, byte by byte.
pub(crate) struct Http1(pub(crate) TlsStream<TcpStream>);

impl Http1 {
    pub(crate) async fn of(front: &Front, number: u8) -> Self {
        Self(connect(front, Some(&front.credential(number)), b"http/1.1").await.unwrap())
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.unwrap();
        self.0.flush().await.unwrap();
    }

    /// Sends a request without a body.
    pub(crate) async fn ask(&mut self, method: &str, path: &str) {
        self.send(format!("{method} {path} HTTP/1.1\r\nhost: gateway\r\n\r\n")).await;
    }

    /// Everything until the end.
    pub(crate) async fn rest(&mut self) -> (Vec<u8>, End) {
        let mut whole = Vec::new();
        let read = timeout(LONG, self.0.read_to_end(&mut whole)).await.expect("the gateway ends the connection");
        // Without `close_notify`, but with a FIN.
        let is_closed = read.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::UnexpectedEof);
        (whole, if read.is_ok() || is_closed { End::Closed } else { End::Broken })
    }

    /// Everything until `what` was read.
    pub(crate) async fn until(&mut self, what: &str) -> String {
        let mut whole = Vec::new();
        timeout(LONG, async {
            while !whole.windows(what.len()).any(|window| window == what.as_bytes()) {
                let read = self.0.read_buf(&mut whole).await.unwrap();
                assert_ne!(read, 0, "{}", String::from_utf8_lossy(&whole));
            }
        })
        .await
        .unwrap_or_else(|_| panic!("`{what}` does not come"));
        String::from_utf8_lossy(&whole).into_owned()
    }

    /// Asks for a WebSocket, and reads the head of the answer; what has come after it is returned too.
    pub(crate) async fn upgrade(&mut self, path: &str) -> String {
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: gateway\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\
             sec-websocket-protocol: v5.channel.k8s.io\r\n\r\n"
        );
        self.send(head).await;
        self.until("\r\n\r\n").await
    }
}

/// Is this answer of HTTP/1.1 whole? Its head says how long it is; what broke off at once may not even have one.
pub(crate) fn is_whole(answer: &[u8]) -> bool {
    let Some(at) = answer.windows(4).position(|window| window == b"\r\n\r\n") else { return false };
    let (head, body) = (String::from_utf8_lossy(&answer[..at]).to_lowercase(), &answer[at + 4..]);
    match head.lines().find_map(|line| line.strip_prefix("content-length: ")) {
        Some(length) => body.len() == length.parse::<usize>().unwrap(),
        None => body.ends_with(b"0\r\n\r\n"),
    }
}

/// A connection that speaks HTTP/2.
#[derive(Clone)]
pub(crate) struct Http2(pub(crate) SendRequest<Bytes>);

impl Http2 {
    pub(crate) async fn of(front: &Front, number: u8) -> Self {
        // So much credit that the client never stops the gateway.
        Self::with_windows(front, number, 1 << 20, 1 << 30).await
    }

    pub(crate) async fn with_windows(front: &Front, number: u8, stream: u32, connection: u32) -> Self {
        let tls = connect(front, Some(&front.credential(number)), b"h2").await.unwrap();
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(stream).initial_connection_window_size(connection);
        let (sender, driver) = builder.handshake(tls).await.unwrap();
        tokio::spawn(driver);
        Self(sender)
    }

    /// Sends a request, and returns the head of its answer. `body` is all of it, if there is one.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<Bytes>,
    ) -> Result<Response<h2::RecvStream>, h2::Error> {
        let (answer, mut stream) = self.begin(method, path, body.is_none()).await?;
        if let Some(body) = body {
            stream.send_data(body, true)?;
        }
        timeout(LONG, answer).await.unwrap_or_else(|_| panic!("{path} is not answered"))
    }

    /// Sends the head of a request.
    pub(crate) async fn begin(
        &self,
        method: Method,
        path: &str,
        is_all: bool,
    ) -> Result<(h2::client::ResponseFuture, h2::SendStream<Bytes>), h2::Error> {
        let request = Request::builder().method(method).uri(format!("https://gateway{path}")).body(()).unwrap();
        let mut sender = timeout(LONG, self.0.clone().ready()).await.expect("a place for a stream")?;
        sender.send_request(request, is_all)
    }

    /// A GET, and how many bytes its answer has.
    pub(crate) async fn get(&self, path: &str) -> Result<(u16, usize), h2::Error> {
        let answer = self.ask(Method::GET, path, None).await?;
        let code = answer.status().as_u16();
        Ok((code, timeout(LONG, read(answer.into_body())).await.expect("the answer ends")?.len()))
    }
}

/// The body to its end.
pub(crate) async fn read(mut body: h2::RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut whole = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        whole.extend_from_slice(&piece);
    }
    Ok(whole)
}

/// Until a condition holds; the caller says which.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    let met = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(LONG, met).await.unwrap_or_else(|_| panic!("{what}"));
}
