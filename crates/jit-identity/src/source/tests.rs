//! A provider on this host whose documents the test chooses: one that rotates its keys, is down, or lies.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use jit_dial::{ExchangeError, provider as cryptography};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::fetch::FetchError;
use crate::signer::{self, Signer, claims, with};

const NOW: i64 = 1_790_000_000;
const NONCE: &str = "of-this-session";
const DISCOVERY: &str = "/corp/.well-known/openid-configuration";

/// What a path is answered with.
enum Reply {
    /// 200 and a document.
    Document(Value),
    /// These bytes, and the end.
    Raw(String),
    /// A body without end.
    Endless,
    /// Nothing, on an open connection.
    Silence,
}

struct Server {
    issuer: String,
    certificate: CertificateDer<'static>,
    replies: Arc<Mutex<HashMap<String, Reply>>>,
    asked: Arc<AtomicUsize>,
}

impl Server {
    async fn start() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let certificate = made.cert.der().clone();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(cryptography()).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_single_cert(vec![certificate.clone()], key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("https://localhost:{}/corp", listener.local_addr().unwrap().port());
        let replies: Arc<Mutex<HashMap<String, Reply>>> = Arc::default();
        let asked = Arc::new(AtomicUsize::new(0));
        let (shared, counted) = (Arc::clone(&replies), Arc::clone(&asked));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, shared, counted) = (acceptor.clone(), Arc::clone(&shared), Arc::clone(&counted));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let mut stream = BufReader::new(stream);
                    let mut line = String::new();
                    if stream.read_line(&mut line).await.is_err() {
                        return;
                    }
                    counted.fetch_add(1, Ordering::SeqCst);
                    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
                    let (text, rest) = match shared.lock().get(&path) {
                        Some(Reply::Document(document)) => (document_of(&document.to_string()), None),
                        Some(Reply::Raw(text)) => (text.clone(), None),
                        Some(Reply::Endless) => {
                            let chunk = format!("3e8\r\n{}\r\n", " ".repeat(1000));
                            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(), Some(chunk))
                        }
                        Some(Reply::Silence) => (String::new(), Some(String::new())),
                        None => ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(), None),
                    };
                    let _ = stream.write_all(text.as_bytes()).await;
                    let _ = stream.flush().await;
                    match rest {
                        None => drop(stream.shutdown().await),
                        Some(more) if more.is_empty() => std::future::pending().await,
                        Some(more) => while stream.write_all(more.as_bytes()).await.is_ok() {},
                    }
                });
            }
        });
        Self { issuer, certificate, replies, asked }
    }

    fn reply(&self, path: &str, reply: Reply) {
        self.replies.lock().insert(path.to_owned(), reply);
    }

    fn discovery(&self) -> Value {
        json!({"issuer": self.issuer, "jwks_uri": self.issuer.replace("/corp", "/keys")})
    }

    /// Everything is in order, with the keys of this signer under this suffix.
    fn publish(&self, signer: &Signer, suffix: &str) {
        self.reply(DISCOVERY, Reply::Document(self.discovery()));
        let keys: Vec<Value> = signer
            .keys()
            .into_iter()
            .map(|key| {
                let kid = format!("{}{suffix}", key["kid"].as_str().unwrap());
                with(key, &json!({"kid": kid}))
            })
            .collect();
        self.reply("/keys", Reply::Document(json!({ "keys": keys })));
    }

    fn source(&self) -> Source {
        let rule = format!(
            "name: corp\nissuer: {}\naudience: jit-login\ndisplayName: {{claim: /preferred_username}}",
            self.issuer
        );
        let fetcher = Fetcher::new(vec![self.certificate.clone()]);
        Source::new(serde_saphyr::from_str(&rule).unwrap(), Arc::new(fetcher))
    }

    /// A token of so many seconds after the beginning.
    fn token(&self, signer: &Signer, suffix: &str, at: i64) -> String {
        let kid = format!("es-1{suffix}");
        let header = with(signer::header("ES256"), &json!({ "kid": kid }));
        let claims = with(claims(NOW + at), &json!({"iss": self.issuer}));
        signer.sign("ES256", &header.to_string(), &claims.to_string())
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn document_of(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// What the source says to a token, so many seconds after the beginning.
async fn check(source: &Source, token: &str, at: i64) -> &'static str {
    let now = Timestamp::from_second(NOW + at).unwrap();
    source.verify(token.as_bytes(), NONCE, now).await.map_or_else(|refusal| refusal.check(), |_| "accepted")
}

#[tokio::test]
async fn all_who_wait_share_one_request() {
    let (server, signer) = (Server::start().await, Signer::new());
    server.publish(&signer, "");
    let (source, token) = (server.source(), server.token(&signer, "", 0));
    let all = futures::future::join_all((0..50).map(|_| check(&source, &token, 0))).await;
    assert!(all.iter().all(|one| *one == "accepted"), "{all:?}");
    assert_eq!(server.asked(), 2, "the discovery document and the keys");
}

#[tokio::test]
async fn unknown_kids_cause_one_fetch_in_30_s() {
    let (server, signer) = (Server::start().await, Signer::new());
    server.publish(&signer, "");
    let source = server.source();
    for (at, asked) in [(0, 2), (15, 2), (30, 2), (31, 4), (61, 4), (62, 6)] {
        for number in 0..100 {
            assert_eq!(check(&source, &server.token(&signer, &format!("-{number}"), at), at).await, "key");
        }
        assert_eq!(server.asked(), asked, "{at}");
    }
    assert_eq!(check(&source, &server.token(&signer, "", 62), 62).await, "accepted");
    assert_eq!(server.asked(), 6);
}

#[tokio::test]
async fn a_token_that_can_never_be_accepted_causes_no_fetch() {
    let (server, signer) = (Server::start().await, Signer::new());
    let source = server.source();
    let token = signer.token("EdDSA", &claims(NOW));
    for (token, expected) in [("", "form"), ("a.b.c", "form"), (token.as_str(), "algorithm")] {
        assert_eq!(check(&source, token, 0).await, expected);
    }
    assert_eq!(server.asked(), 0);
}

#[tokio::test]
async fn a_new_key_is_found_and_a_removed_one_no_longer_counts() {
    let (server, signer) = (Server::start().await, Signer::new());
    server.publish(&signer, "");
    let source = server.source();
    let (old, new) = (server.token(&signer, "", 0), server.token(&signer, "-new", 0));
    assert_eq!(check(&source, &old, 0).await, "accepted");
    server.publish(&signer, "-new");
    assert_eq!(check(&source, &old, 40).await, "accepted", "nobody has looked yet");
    assert_eq!(check(&source, &new, 40).await, "accepted");
    assert_eq!(check(&source, &old, 40).await, "key");

    // Without a token of the new key, after 5 minutes.
    server.publish(&signer, "-newest");
    assert_eq!(check(&source, &new, 340).await, "accepted");
    assert_eq!(check(&source, &new, 341).await, "key");
}

#[tokio::test]
async fn known_keys_are_used_for_a_day_while_the_provider_is_down() {
    let (server, signer) = (Server::start().await, Signer::new());
    server.publish(&signer, "");
    let source = server.source();
    let judged = async |at: i64| {
        let (known, unknown) = (server.token(&signer, "", at), server.token(&signer, "-new", at));
        (check(&source, &known, at).await, check(&source, &unknown, at).await)
    };
    assert_eq!(judged(0).await, ("accepted", "key"));
    server.reply(DISCOVERY, Reply::Raw("HTTP/1.1 503 Service Unavailable\r\n\r\n".to_owned()));
    assert_eq!(judged(60).await, ("accepted", "provider"));
    assert_eq!(judged(86_400).await, ("accepted", "provider"));
    assert_eq!(judged(86_401).await, ("provider", "provider"));
    server.publish(&signer, "");
    assert_eq!(judged(86_402).await, ("provider", "provider"), "the next look is 30 s after the last one");
    assert_eq!(judged(86_440).await, ("accepted", "key"));
    // The clock is set back by an hour.
    assert_eq!(judged(82_840).await, ("accepted", "key"));
}

#[tokio::test]
async fn a_document_that_lies_or_never_ends_is_refused() {
    let server = Server::start().await;
    let signer = Signer::new();
    let fetcher = Fetcher::new(vec![server.certificate.clone()]);
    let redirect = format!("HTTP/1.1 302 Found\r\nLocation: {}/x\r\nContent-Length: 0\r\n\r\n", server.issuer);
    let discovery = |changes: &Value| Reply::Document(with(server.discovery(), changes));
    let huge = "HTTP/1.1 200 OK\r\nContent-Length: 52428800\r\n\r\n".to_owned() + &" ".repeat(300_000);
    for (path, reply, expected) in [
        (DISCOVERY, discovery(&json!({"issuer": "https://login.example.org"})), "another issuer"),
        (DISCOVERY, discovery(&json!({"issuer": format!("{}/", server.issuer)})), "another issuer"),
        (DISCOVERY, discovery(&json!({"issuer": null})), "another issuer"),
        (DISCOVERY, discovery(&json!({"jwks_uri": null})), "no `jwks_uri`"),
        (DISCOVERY, discovery(&json!({"jwks_uri": "http://localhost:9/keys"})), "not an https URL"),
        (DISCOVERY, discovery(&json!({"jwks_uri": "file:///etc/passwd"})), "not an https URL"),
        (DISCOVERY, discovery(&json!({"jwks_uri": "https://a:b@localhost/keys"})), "not an https URL"),
        (DISCOVERY, discovery(&json!({"jwks_uri": "keys"})), "not an https URL"),
        (DISCOVERY, Reply::Raw(document_of("[]")), "not a JSON object"),
        (DISCOVERY, Reply::Raw(document_of("{\"issuer\":1,\"issuer\":2}")), "not a JSON object"),
        (DISCOVERY, Reply::Raw(redirect.clone()), "302"),
        (DISCOVERY, Reply::Raw("SSH-2.0-OpenSSH\r\n".to_owned()), "broke off"),
        ("/keys", Reply::Raw(redirect), "302"),
        ("/keys", Reply::Raw("HTTP/1.1 204 No Content\r\n\r\n".to_owned()), "204"),
        ("/keys", Reply::Raw(huge), "longer than 256 KiB"),
        ("/keys", Reply::Endless, "longer than 256 KiB"),
        ("/keys", Reply::Silence, "took longer than 5 s"),
        ("/keys", Reply::Raw("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}".to_owned()), "broke off"),
        ("/keys", Reply::Document(json!({"keys": []})), "no key"),
    ] {
        server.publish(&signer, "");
        server.reply(path, reply);
        let error = fetcher.keys(&server.issuer).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}: {expected}");
    }
    server.publish(&signer, "");
    assert!(fetcher.keys(&server.issuer).await.is_ok());
    let stranger = Fetcher::new(vec![Server::start().await.certificate]);
    assert!(matches!(stranger.keys(&server.issuer).await, Err(FetchError::Unanswered(ExchangeError::Unreachable(_)))));
}
