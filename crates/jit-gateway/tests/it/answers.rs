//! Answers to requests: what broke off is broken for the client too, and everything else passes as it is.

use std::sync::atomic::Ordering;

use http::Method;
use hyper::body::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::client::{End, Http1, Http2, is_whole, read, until};
use crate::fake::{ANSWERED, Fake, LARGE};
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
