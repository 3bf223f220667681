//! Answers to requests: what broke off is broken for the client too, and everything else passes as it is.

use std::sync::atomic::Ordering;

use http::Method;
use hyper::body::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::client::{End, Http1, Http2, connect, is_whole, read, until};
use crate::fake::{ANSWERED, Fake, LARGE};
use crate::floods::frame;
use crate::front::{Front, LONG, grant};

/// Half an answer never ends as a whole one, over either protocol.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_broke_off_is_broken() {
    let front = Front::before(Fake::start().await).await;
    for mode in ["reset", "fin", "short", "long"] {
        let http2 = Http2::of(&front, 1).await;
        let answer = http2.get(&format!("/fake/{mode}")).await;
        assert!(answer.is_err(), "{mode}: {answer:?}");
        let mut http1 = Http1::of(&front, 1).await;
        http1.ask("GET", &format!("/fake/{mode}")).await;
        let (answer, _) = http1.rest().await;
        assert!(!is_whole(&answer), "{mode}: {} bytes", answer.len());
        // The same client goes on, once the gateway knows that the connection is gone.
        timeout(LONG, async { while http2.get("/fake/ok").await.unwrap().0 != 200 {} }).await.expect(mode);
    }
    let http2 = Http2::of(&front, 1).await;
    assert_eq!(http2.get("/fake/large").await.unwrap(), (200, LARGE));
}

/// A client of HTTP/1.0 takes the end of the connection for the end of the answer, so it is reset.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_without_chunks_sees_a_broken_answer_too() {
    let front = Front::before(Fake::start().await).await;
    let mut client = Http1::of(&front, 1).await;
    client.send("GET /fake/reset HTTP/1.0\r\nhost: gateway\r\n\r\n").await;
    assert_eq!(client.rest().await.1, End::Broken);
}

/// The longest URL that the libraries of HTTP hold, in bytes.
const LONGEST_URL: usize = 65_534;

/// A URL passes up to what the libraries hold, though the API server takes 1 MB. A longer one is refused with a sentence; over
/// HTTP/2 it alone is reset, and nothing else of its connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_url_passes_up_to_its_limit() {
    let front = Front::before(Fake::start().await).await;
    let path = |length: usize| format!("/fake/ok?command={}", "y".repeat(length - "/fake/ok?command=".len()));
    let mut http1 = Http1::of(&front, 1).await;
    http1.ask("GET", &path(LONGEST_URL)).await;
    assert!(http1.until("\r\n\r\n").await.starts_with("HTTP/1.1 200 "));
    let http2 = Http2::of(&front, 1).await;
    // With the scheme and the host, which the test's own library counts too.
    assert_eq!(http2.get(&path(LONGEST_URL - "https://gateway".len())).await.unwrap().0, 200);

    // The first request of a connection, and one after another.
    let before = front.fake.count("GET /fake/ok");
    for client in [Http1::of(&front, 1).await, http1] {
        let mut client = client;
        client.ask("GET", &path(LONGEST_URL + 1)).await;
        let (answer, end) = client.rest().await;
        let answer = String::from_utf8_lossy(&answer);
        // What is left of the answer before, if anything, is its body.
        let (_, answer) = answer.split_once("HTTP/1.1 ").expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a body");
        assert!(head.starts_with("414 ") && head.contains("\r\nconnection: close\r\n"), "{head}");
        let status: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!((&status["kind"], &status["code"]), (&"Status".into(), &414.into()), "{status}");
        assert!(status["message"].as_str().unwrap().starts_with("jit: the URL has more than 65534 bytes"), "{status}");
        assert_eq!(end, End::Closed);
    }

    // A GET by https, whose path follows as it is (RFC 7541, section 6.2.2), with the length in 7 bits and more.
    let mut long = vec![0x82, 0x87, 0x04, 0x7f];
    let mut left = LONGEST_URL + 1 - 0x7f;
    while left >= 0x80 {
        long.push(u8::try_from(left % 0x80).unwrap() | 0x80);
        left /= 0x80;
    }
    long.push(u8::try_from(left).unwrap());
    long.extend(path(LONGEST_URL + 1).bytes());
    let mut sent = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, 0, 0, &[])].concat();
    let pieces: Vec<&[u8]> = long.chunks(16_384).collect();
    for (number, piece) in pieces.iter().enumerate() {
        let (kind, flags) = (if number == 0 { 1 } else { 9 }, if number + 1 == pieces.len() { 4 } else { 0 });
        sent.extend(frame(kind, flags | u8::from(number == 0), 1, piece));
    }
    let short = [&[0x82, 0x87, 0x04, 8][..], b"/fake/ok", &[0x41, 7], b"gateway"].concat();
    sent.extend(frame(1, 5, 3, &short));
    let mut wire = connect(&front, Some(&front.credential(1)), b"h2").await.unwrap();
    wire.write_all(&sent).await.unwrap();
    let (mut is_reset, mut is_answered) = (false, false);
    timeout(LONG, async {
        while !(is_reset && is_answered) {
            let mut head = [0; 9];
            wire.read_exact(&mut head).await.unwrap();
            let [a, b, c, kind, _, _, _, _, stream] = head;
            let length = u32::from_be_bytes([0, a, b, c]);
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            wire.read_exact(&mut payload).await.unwrap();
            assert_ne!(kind, 7, "the connection goes on");
            is_reset |= (kind, stream) == (3, 1);
            is_answered |= (kind, stream) == (1, 3);
        }
    })
    .await
    .unwrap_or_else(|_| panic!("reset: {is_reset}, answered: {is_answered}"));
    assert_eq!(front.fake.count("GET /fake/ok"), before + 1, "only the short one was sent on");
}

/// What is no request of HTTP/1.1, and a head that is too large, are answered with a sentence as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_cannot_be_read_is_answered_with_a_sentence() {
    let front = Front::before(Fake::start().await).await;
    let many: String = (0..200).map(|number| format!("x-{number}: y\r\n")).collect();
    for (head, code, why) in [
        ("GET /fake/ok HTTP/1.1\r\nhost : gateway\r\n\r\n".to_owned(), "400", "not one of HTTP/1.1"),
        (format!("GET /fake/ok HTTP/1.1\r\nhost: gateway\r\n{many}\r\n"), "431", "too many headers"),
    ] {
        let mut client = Http1::of(&front, 1).await;
        client.send(head).await;
        let answer = client.until("\"status\":\"Failure\"}").await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {code} ")) && answer.contains(why), "{answer}");
    }
    assert_eq!(front.fake.count("GET /fake/ok"), 0);
}

/// An answer that asks to be repeated is the API server's own, and is asked for once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_pass_as_they_are() {
    let front = Front::before(Fake::start().await).await;
    let client = Http2::of(&front, 1).await;
    for (mode, code, retry) in [("unavailable", 503, Some("1")), ("bad-gateway", 502, None)] {
        let path = format!("/fake/{mode}");
        let answer = client.ask(Method::POST, &path, Some(Bytes::from_static(b"{}"))).await.unwrap();
        assert_eq!(answer.status(), code);
        assert_eq!(answer.headers().get("retry-after").map(|value| value.to_str().unwrap()), retry);
        assert_eq!(front.fake.count(&format!("POST {path}")), 1);
    }
}

/// What a restriction of the grant refuses is not sent on, over either protocol; everything else is, access reviews included.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_terms_refuse_is_not_sent_on() {
    let front = Front::before(Fake::start().await).await;
    let pods = "/api/v1/namespaces/default/pods";
    let selected = format!("{pods}?fieldSelector=metadata.name%3Dp&dryRun=All");
    let http2 = Http2::of(&front, 3).await;
    let mut http1 = Http1::of(&front, 3).await;
    for path in [pods, &selected] {
        let answer = http2.ask(Method::DELETE, path, None).await.unwrap();
        assert_eq!(answer.status(), 403, "{path}");
        let status: serde_json::Value =
            serde_json::from_slice(&timeout(LONG, read(answer.into_body())).await.unwrap().unwrap()).unwrap();
        let why =
            format!("jit: refused by the rule `by-name` of grant {}: delete the objects by their names", grant(3));
        assert_eq!((&status["message"], &status["reason"]), (&why.clone().into(), &"Forbidden".into()));
        http1.ask("DELETE", path).await;
        let answer = http1.until("\"status\":\"Failure\"}").await;
        assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains(&why), "{answer}");
        assert_eq!(front.fake.count(&format!("DELETE {path}")), 0);
    }
    let review = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    for (method, path) in [(Method::DELETE, format!("{pods}/p")), (Method::POST, review.to_owned())] {
        let body = (method == Method::POST).then(|| Bytes::from_static(b"{}"));
        let answer = http2.ask(method.clone(), &path, body).await.unwrap();
        assert_ne!(answer.status(), 403, "{method} {path}");
    }
    let other = Http2::of(&front, 1).await.ask(Method::DELETE, pods, None).await.unwrap();
    assert_ne!(other.status(), 403, "another grant has no such restriction");
}

/// Headers that clients and API servers live by pass both ways, as often as they were sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repeated_headers_stay_repeated() {
    let front = Front::before(Fake::start().await).await;
    let client = Http2::of(&front, 1).await;
    let sent = ["accept", "accept-encoding", "if-none-match", "kubectl-command", "origin", "user-agent"];
    let mut request = http::Request::get("https://gateway/fake/headers");
    for name in sent {
        request = request.header(name, "one").header(name, "two");
    }
    let (answer, _) = client.0.clone().ready().await.unwrap().send_request(request.body(()).unwrap(), true).unwrap();
    let answer = answer.await.unwrap();
    for (name, value) in ANSWERED {
        let found: Vec<_> = answer.headers().get_all(name).iter().map(|value| value.to_str().unwrap()).collect();
        assert_eq!(found, [value.to_owned(), format!("{value}2")], "{name}");
    }
    let seen: Vec<(String, String)> = serde_json::from_slice(&read(answer.into_body()).await.unwrap()).unwrap();
    for name in sent {
        let found: Vec<_> = seen.iter().filter(|(seen, _)| seen == name).map(|(_, value)| value.as_str()).collect();
        assert_eq!(found, ["one", "two"], "{name}");
    }
}

/// An end cuts all that runs through its grant, and nothing of another one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_cuts_its_grant_and_no_other() {
    let front = Front::before(Fake::start().await).await;
    let (one, other) = (Http2::of(&front, 1).await, Http2::of(&front, 2).await);
    let mut cut = Vec::new();
    for number in 0..10 {
        cut.push(one.ask(Method::GET, &format!("/fake/watch/{number}"), None).await.unwrap().into_body());
    }
    let mut stays = other.ask(Method::GET, "/fake/watch/other", None).await.unwrap().into_body();
    assert_eq!(front.end(1).await, 10);
    for watch in cut {
        assert!(read(watch).await.is_err());
    }
    until("the API server is rid of them", || front.fake.streams.load(Ordering::SeqCst) == 1).await;
    // More events than can have been on their way.
    for _ in 0..20 {
        assert!(stays.data().await.unwrap().is_ok());
    }
}

/// A refusal that comes after 10 kB of 100 MB reaches the client, though it is still sending.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_before_the_body_has_ended_arrives() {
    const PIECE: usize = 1 << 20;
    let front = Front::before(Fake::start().await).await;
    let client = Http2::of(&front, 1).await;
    let (answer, mut body) = client.begin(Method::POST, "/fake/early/2", false).await.unwrap();
    let sending = async {
        for number in 0..100 {
            // It is told to stop, as it should be, or goes on to the end.
            if body.send_data(Bytes::from(vec![b'x'; PIECE]), number == 99).is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    let (answer, ()) = tokio::join!(timeout(LONG, answer), sending);
    let answer = answer.expect("an answer").unwrap();
    assert_eq!(answer.status(), 413);
    let why = read(answer.into_body()).await.unwrap();
    assert!(String::from_utf8_lossy(&why).contains("the limit is 3145728 bytes"));
    assert_eq!(client.get("/fake/ok").await.unwrap().0, 200);

    let (mut reader, mut writer) = tokio::io::split(Http1::of(&front, 1).await.0);
    let head = format!("POST /fake/early/1 HTTP/1.1\r\nhost: gateway\r\ncontent-length: {}\r\n\r\n", 100 * PIECE);
    writer.write_all(head.as_bytes()).await.unwrap();
    let sending = tokio::spawn(async move {
        let piece = vec![b'x'; PIECE];
        for _ in 0..100 {
            if writer.write_all(&piece).await.is_err() {
                break;
            }
        }
    });
    let mut answer = Vec::new();
    let whole = async { while !is_whole(&answer) && reader.read_buf(&mut answer).await.unwrap() > 0 {} };
    timeout(LONG, whole).await.expect("an answer");
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("the limit is 3145728 bytes"), "{answer}");
    sending.abort();
}
