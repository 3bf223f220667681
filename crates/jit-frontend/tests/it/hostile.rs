//! TLS and HTTP that no client of ours speaks.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{Client, How, Key, connect};
use crate::front::Front;

/// Without TLS 1.3 there is no connection, and a key that nobody else has is proved or there is none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_needs_tls_1_3() {
    let front = Front::start().await;
    let key = Key::new();
    let old = connect(&front, How { key: Some(&key), is_tls12: true }).await;
    assert!(old.unwrap_err().to_string().contains("ProtocolVersion"));
    for garbage in [&b"GET /v1/providers HTTP/1.1\r\n\r\n"[..], &[0x16, 3, 1, 0xff, 0xff], &[0; 4096], b"\x80\x2e\x01"]
    {
        let mut stream = TcpStream::connect(("127.0.0.1", front.port)).await.unwrap();
        stream.write_all(garbage).await.unwrap();
        // It may wait for more until its time is over.
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(answer.len() < 64, "{answer:?}");
    }
    assert_eq!(Client::of(&front, &key).await.get("/v1/providers").await.0, 200);
}

/// HTTP that two readers could read differently reaches nobody, and what is too large is refused with its status.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_that_is_ambiguous_or_too_large_is_refused() {
    let front = Front::start().await;
    let key = Key::new();
    Client::logged_in(&front, &key, json!({})).await;
    let post = |headers: &str, body: &str| {
        format!("POST /v1/grants HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{headers}\r\n{body}")
    };
    let many: String = (0..100).map(|number| format!("x-{number}: y\r\n")).collect();
    let large = "x".repeat(40_000);
    for (sent, expected) in [
        (post("content-length: 5\r\ncontent-length: 6\r\n", "12345"), &[400][..]),
        (post("content-length: -1\r\n", ""), &[400]),
        (post("transfer-encoding: gzip, chunked\r\ntransfer-encoding: identity\r\n", "0\r\n\r\n"), &[400]),
        (post("transfer-encoding: chunked\r\n", "zz\r\n\r\n"), &[400]),
        (post(&format!("content-length: {}\r\n", large.len()), &large), &[413]),
        (post(&many, ""), &[431]),
        (post(&format!("x-large: {large}\r\n"), ""), &[431]),
        (format!("GET /v1/{large} HTTP/1.1\r\nhost: x\r\n\r\n"), &[414, 431]),
        ("GET /v1/grants\r\n\r\n".to_owned(), &[400]),
        ("GET http://169.254.169.254/v1/grants HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(), &[200]),
        ("CONNECT jitd:443 HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(), &[404]),
        ("GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(), &[404]),
        ("GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(), &[404]),
        ("GET /v1/../metrics HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(), &[200]),
        ("PUT /v1/login HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(), &[405]),
    ] {
        let (status, told, _) = Client::of(&front, &key).await.say(sent.as_bytes()).await;
        let shown: String = sent.chars().take(120).collect();
        assert!(expected.contains(&status), "{shown:?}: {status} {told}");
    }
    let told = front.told.lock();
    let reached: Vec<&str> = told.requests.iter().map(|(line, _, _)| line.as_str()).collect();
    // The path as it is, and never an authority; `jitd` has no such route and resolves no dots.
    assert_eq!(reached, ["GET /v1/grants", "GET /v1/../metrics"]);
}
