//! A client of the front end: a key, and HTTP/1.1 by hand, so that it can say what no client says.

use std::sync::Arc;

use jit_dial::{Pinned, provider};
use jit_frontend::client_key::ClientKey;
use jit_wire::frontend::nonce;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::version::{TLS12, TLS13};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::front::{Front, LONG};

/// A client's key, with a certificate that it signed itself.
pub(crate) struct Key {
    certificate: CertificateDer<'static>,
    private: Vec<u8>,
    pub(crate) spki: Vec<u8>,
}

impl Key {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let certificate = CertificateParams::default().self_signed(&key).unwrap().der().clone();
        let spki = ClientKey::of(&certificate).unwrap().spki;
        Self { certificate, private: key.serialize_der(), spki }
    }

    pub(crate) fn nonce(&self, front: &Front) -> String {
        nonce(&front.server(), &self.spki)
    }
}

/// How a client connects.
pub(crate) struct How<'a> {
    pub(crate) key: Option<&'a Key>,
    pub(crate) is_tls12: bool,
}

pub(crate) async fn connect(front: &Front, how: How<'_>) -> std::io::Result<TlsStream<TcpStream>> {
    let root = CertificateDer::from_pem_slice(&front.root()).unwrap();
    let versions = if how.is_tls12 { &[&TLS12] } else { &[&TLS13] };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Pinned::new(vec![root]).unwrap()));
    let config = match how.key {
        None => builder.with_no_client_auth(),
        Some(key) => {
            let private = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.private.clone()));
            builder.with_client_auth_cert(vec![key.certificate.clone()], private).unwrap()
        }
    };
    let stream = TcpStream::connect(("127.0.0.1", front.port)).await?;
    TlsConnector::from(Arc::new(config)).connect("127.0.0.1".try_into().unwrap(), stream).await
}

/// A connection with a key.
pub(crate) struct Client(TlsStream<TcpStream>);

impl Client {
    pub(crate) async fn of(front: &Front, key: &Key) -> Self {
        Self(connect(front, How { key: Some(key), is_tls12: false }).await.unwrap())
    }

    /// A connection without a key.
    pub(crate) async fn keyless(front: &Front) -> Self {
        Self(connect(front, How { key: None, is_tls12: false }).await.unwrap())
    }

    /// Posts a logout token; the status, the head and the body of the answer.
    pub(crate) async fn log_out(&mut self, token: &str) -> (u16, String, Value) {
        let body = format!("logout_token={token}");
        let sent = format!(
            "POST /v1/logout HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-www-form-urlencoded\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        let (status, head, body) = self.say(sent.as_bytes()).await;
        assert_ne!(status, 0, "{head}");
        (status, head, serde_json::from_str(&body).unwrap_or(Value::Null))
    }

    /// Whether it is closed, with nothing more to read.
    pub(crate) async fn is_closed(&mut self) -> bool {
        let read = timeout(LONG, self.0.read(&mut [0; 100])).await.expect("its end");
        matches!(read, Ok(0) | Err(_))
    }

    /// A client that has logged in with these claims.
    pub(crate) async fn logged_in(front: &Front, key: &Key, claims: Value) -> Self {
        let mut client = Self::of(front, key).await;
        let token = front.token(&key.nonce(front), claims);
        let (status, view) = client.post("/v1/sessions", &json!({ "idToken": token })).await;
        assert_eq!(status, 201, "{view}");
        client
    }

    /// Sends bytes, and reads one answer: its status, its head and its body.
    pub(crate) async fn say(&mut self, bytes: &[u8]) -> (u16, String, String) {
        let sent = self.0.write_all(bytes).await;
        let mut answer = Vec::new();
        let read = async {
            loop {
                if let Some(at) = answer.windows(4).position(|four| four == b"\r\n\r\n") {
                    let head = String::from_utf8_lossy(&answer[..at]).to_lowercase();
                    let length = head
                        .split("content-length: ")
                        .nth(1)
                        .map_or(0, |rest| rest.lines().next().unwrap().parse::<usize>().unwrap());
                    if answer.len() >= at + 4 + length {
                        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
                        return (status, head, String::from_utf8_lossy(&answer[at + 4..]).into_owned());
                    }
                }
                let mut chunk = [0; 4096];
                match self.0.read(&mut chunk).await {
                    Ok(read @ 1..) => answer.extend_from_slice(&chunk[..read]),
                    ended => return (0, format!("{sent:?}, then {ended:?}"), String::new()),
                }
            }
        };
        timeout(LONG, read).await.expect("an answer")
    }

    async fn call(&mut self, head: &str, body: &str) -> (u16, Value) {
        let length = body.len();
        let sent = format!(
            "{head} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        let (status, told, body) = self.say(sent.as_bytes()).await;
        assert_ne!(status, 0, "{told}");
        (status, serde_json::from_str(&body).unwrap_or(Value::Null))
    }

    pub(crate) async fn get(&mut self, path: &str) -> (u16, Value) {
        self.call(&format!("GET {path}"), "").await
    }

    pub(crate) async fn delete(&mut self, path: &str) -> (u16, Value) {
        self.call(&format!("DELETE {path}"), "").await
    }

    pub(crate) async fn post(&mut self, path: &str, body: &Value) -> (u16, Value) {
        self.call(&format!("POST {path}"), &body.to_string()).await
    }
}
