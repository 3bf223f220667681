//! What one can do to all: connections without a certificate, and frames that cost the gateway more than their sender.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::client::{Http1, Http2, connect};
use crate::fake::Fake;
use crate::front::Front;

/// Much for a small GET on a host that runs other tests, and far below every time limit of the gateway.
const SOON: Duration = Duration::from_secs(3);

/// More connections than there are places, held open without a handshake, keep nobody out: the oldest of them give way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_without_a_certificate_keep_nobody_out() {
    let front = Front::before(Fake::start().await).await;
    let known = Http2::of(&front, 2).await;
    let mut held = Vec::new();
    for number in 0..1500 {
        let mut stream = TcpStream::connect(("127.0.0.1", front.port)).await.unwrap();
        if number % 2 == 0 {
            // The beginning of a handshake; the place may be another's already.
            let _ = stream.write_all(&[0x16, 3, 1, 2, 0, 1]).await;
        }
        held.push(stream);
        if number % 300 == 299 {
            let newcomer = timeout(SOON, Http2::of(&front, 2)).await.expect("a handshake");
            assert_eq!(timeout(SOON, newcomer.get("/fake/ok")).await.expect("an answer").unwrap().0, 200);
            assert_eq!(timeout(SOON, known.get("/fake/ok")).await.expect("an answer").unwrap().0, 200);
        }
    }
    assert_eq!(timeout(SOON, front.end(1)).await.expect("an end"), 0);
}

/// Whoever has no certificate of a live grant reads why, and nothing of theirs is sent on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_no_grant_gets_a_sentence() {
    let front = Front::before(Fake::start().await).await;
    for (user, number, why) in [
        ("jit:alice", 9, "is not live"),
        ("jit:bob", 1, "is not jit:bob's"),
        ("jit:alice ", 1, "is not a person of jitd"),
        ("jit:al\u{0}ice", 1, "is not a person of jitd"),
        ("jit:alice\r\nimpersonate-group: system:masters", 1, "is not a person of jitd"),
    ] {
        let mut client = Http1(connect(&front, Some(&front.signed(user, number)), b"http/1.1").await.unwrap());
        client.ask("GET", "/api/v1/namespaces").await;
        let answer = client.until("}").await;
        assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains(why), "{user:?}: {answer}");
    }
    assert_eq!(front.fake.count("GET /api/v1/namespaces"), 0);
}

/// A name beyond ASCII arrives as it is in the certificate.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_arrives_as_it_is() {
    for user in ["jit:\u{141}ukasz", "jit:Z\u{fc}rich", "jit:Zu\u{308}rich", "jit:o'brien", "jit:a,b", "jit:a b"] {
        let front = Front::of(user, Fake::start().await).await;
        let mut client = Http1(connect(&front, Some(&front.signed(user, 1)), b"http/1.1").await.unwrap());
        client.ask("GET", "/fake/headers").await;
        let answer = client.until("]]").await;
        assert!(answer.contains(&format!(r#"["impersonate-user","{user}"]"#)), "{user}: {answer}");
    }
}

/// A frame of HTTP/2 (RFC 9113, section 4.1).
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// `GET /` or `POST /` of `gateway` (RFC 7541, appendix A).
fn head(method: u8) -> Vec<u8> {
    [&[method, 0x87, 0x84, 0x41, 7][..], b"gateway"].concat()
}

const GET: u8 = 0x82;
const POST: u8 = 0x83;

/// Frames of HTTP/2 that cost little to send: another grant's requests and ends go on meanwhile, and the memory does not grow
/// with the number of frames.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_frames_stop_no_other_grant() {
    let front = Front::before(Fake::start().await).await;
    let other = Http2::of(&front, 2).await;
    let quiet = slowest(&other, 50).await;
    let resets = (0..10_000_u32).flat_map(|number| {
        let stream = number * 2 + 1;
        [frame(1, 5, stream, &head(GET)), frame(3, 0, stream, &[0, 0, 0, 8])].concat()
    });
    let fields = [0, 1, b'a', 1, b'b'].repeat(200);
    let floods: [(&str, Vec<u8>); 5] = [
        ("HEADERS and RST_STREAM", resets.collect()),
        ("CONTINUATION", [frame(1, 1, 1, &head(GET)), frame(9, 0, 1, &fields).repeat(20_000)].concat()),
        ("PING", frame(6, 0, 0, &[7; 8]).repeat(200_000)),
        ("SETTINGS", frame(4, 0, 0, &[]).repeat(200_000)),
        ("DATA without data", [frame(1, 4, 1, &head(POST)), frame(0, 0, 1, &[]).repeat(200_000)].concat()),
    ];
    let before = front.memory();
    for (name, frames) in floods {
        let mut attacker = connect(&front, Some(&front.credential(1)), b"h2").await.unwrap();
        let flood = tokio::spawn(async move {
            let preface = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, 0, 0, &[])].concat();
            attacker.write_all(&preface).await.unwrap();
            // It reads nothing, and may be cut, or stopped because it reads nothing.
            let _ = timeout(SOON, attacker.write_all(&frames)).await;
            attacker
        });
        let loud = slowest(&other, 100).await;
        let _attacker = flood.await.unwrap();
        let grown = front.memory().saturating_sub(before);
        println!("{name}: the slowest GET {loud:?}, {quiet:?} without; {grown} KiB more");
        assert!(loud < SOON, "{name}: a GET of another grant took {loud:?}");
        assert!(grown < 48 * 1024, "{name}: the gateway grew by {grown} KiB");
    }
    let begun = Instant::now();
    front.end(1).await;
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    assert_eq!(other.get("/fake/ok").await.unwrap().0, 200);
}

/// So many GETs one after the other, and the slowest of them.
async fn slowest(client: &Http2, count: usize) -> Duration {
    let mut slowest = Duration::ZERO;
    for _ in 0..count {
        let begun = Instant::now();
        assert_eq!(client.get("/fake/ok").await.unwrap().0, 200);
        slowest = slowest.max(begun.elapsed());
    }
    slowest
}
