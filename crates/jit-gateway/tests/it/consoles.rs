//! How an exec ends: what the API server did decides it, and nothing is lost.

use std::sync::atomic::Ordering;

use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use crate::client::{End, Http1, until};
use crate::fake::{FRAME, Fake, TAIL, refusal};
use crate::front::{Front, LONG};

const EXEC: &str = "exec?command=x&container=main&stdout=true&stderr=true";

fn path(pod: &str) -> String {
    format!("/api/v1/namespaces/default/pods/{pod}/{EXEC}")
}

/// The exit code of kubectl, its stdout and its stderr.
async fn exec(front: &Front, pod: &str) -> (Option<i32>, usize, String) {
    let mut command = front.kubectl(1);
    command.args(["exec", pod, "-c", "main", "--", "x"]);
    let done = timeout(LONG, command.output()).await.expect("kubectl ends").unwrap();
    (done.status.code(), done.stdout.len(), String::from_utf8_lossy(&done.stderr).into_owned())
}

/// kubectl exits with 0 only if the API server said that the command succeeded, and the last byte of its output arrives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exec_succeeds_only_if_the_api_server_said_so() {
    let front = Front::before(Fake::start().await).await;
    for (pod, code, output, said) in [
        ("status", 0, 7, ""),
        ("tail", 0, TAIL, ""),
        ("close1000", 1, 7, "jit: the API server closed the stream and did not say how the command ended"),
        ("close1001", 1, 7, ""),
        ("fin", 1, 7, ""),
        ("rst", 1, 7, ""),
    ] {
        let (found, length, stderr) = exec(&front, pod).await;
        assert_eq!((found, length), (Some(code), output), "{pod}: {stderr}");
        assert!(stderr.contains(said) && (code == 1 || stderr.is_empty()), "{pod}: {stderr}");
    }
}

/// The answer to an upgrade that is refused arrives whole: to the WebSocket, and to the SPDY with which kubectl repeats it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_upgrade_says_why() {
    let front = Front::before(Fake::start().await).await;
    for (pod, code, reason) in [("notfound", 404, "NotFound"), ("forbidden", 403, "Forbidden")] {
        let mut client = Http1::of(&front, 1).await;
        for protocol in ["websocket", "SPDY/3.1"] {
            let (method, more) = if protocol == "websocket" {
                (
                    "GET",
                    "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\nsec-websocket-protocol: v5.channel.k8s.io\r\n",
                )
            } else {
                ("POST", "x-stream-protocol-version: v4.channel.k8s.io\r\ncontent-length: 0\r\n")
            };
            let asked = path(pod);
            client
                .send(format!("{method} {asked} HTTP/1.1\r\nhost: gateway\r\nconnection: Upgrade\r\nupgrade: {protocol}\r\n{more}\r\n"))
                .await;
            // The connection stays.
            let answer = client.until(r#""status":"Failure"}"#).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {code} ")), "{answer}");
            let document: serde_json::Value =
                serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap_or_else(|_| panic!("{answer}"));
            assert_eq!(document, refusal(code, reason), "{protocol}");
        }
        let (found, _, stderr) = exec(&front, pod).await;
        assert_eq!(found, Some(1));
        assert!(stderr.contains(refusal(code, reason)["message"].as_str().unwrap()), "{stderr}");
        assert!(
            front.fake.count(&format!("POST /api/v1/namespaces/default/pods/{pod}/exec")) >= 2,
            "kubectl fell back"
        );
    }
}

/// An end that is none of WebSocket's looks to the client as it looked to the gateway.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_is_passed_on_as_it_was() {
    let front = Front::before(Fake::start().await).await;
    for (pod, end) in [("fin", End::Closed), ("rst", End::Broken)] {
        let mut client = Http1::of(&front, 1).await;
        let head = client.upgrade(&path(pod)).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        if !head.contains("output\n") {
            client.until("output\n").await;
        }
        // A ping.
        client.send([0x89, 0x80, 0, 0, 0, 0]).await;
        let (rest, found) = client.rest().await;
        assert!(rest.is_empty(), "{pod}");
        assert_eq!(found, end, "{pod}");
    }
    until("the API server is rid of them", || front.fake.streams.load(Ordering::SeqCst) == 0).await;
}

/// A message of 100 MB, each way, passes at the pace of its reader; the gateway keeps a few hundred KiB of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_of_any_size_passes_in_pieces() {
    let front = Front::before(Fake::start().await).await;
    exec(&front, "status").await;
    let before = front.memory();
    let mut stalled = Http1::of(&front, 1).await;
    stalled.upgrade(&path("stalled")).await;
    // A client's frame, with a mask of zeros.
    let head = [&[0x82, 0xff][..], &(FRAME as u64).to_be_bytes(), &[0; 4]].concat();
    let sending = tokio::spawn(async move {
        stalled.send(head).await;
        for _ in 0..FRAME / 100_000 {
            stalled.send([b'x'; 100_000]).await;
        }
        stalled
    });
    let mut down = Http1::of(&front, 1).await;
    down.upgrade(&path("frame")).await;
    let (mut read, mut buffer) = (0, vec![0; 1 << 20]);
    while read < FRAME {
        let more = timeout(LONG, down.0.read(&mut buffer)).await.expect("more of the frame").unwrap();
        assert_ne!(more, 0, "after {read} bytes");
        read += more;
    }
    let grown = || front.memory().saturating_sub(before);
    assert!(!sending.is_finished(), "nobody reads it");
    assert!(grown() < 4096, "the gateway grew by {} KiB", grown());
    front.fake.release();
    let _stalled = timeout(LONG, sending).await.expect("it goes on").unwrap();
    until("all of it arrived", || front.fake.received.load(Ordering::SeqCst) >= FRAME).await;
    assert!(grown() < 4096, "the gateway grew by {} KiB", grown());
}
