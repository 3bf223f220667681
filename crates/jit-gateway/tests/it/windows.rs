//! One stream that nobody reads costs only itself, and a bounded amount of memory.

use std::time::Duration;

use futures::future::try_join_all;
use http::Method;
use hyper::body::Bytes;
use tokio::time::{Instant, timeout};

use crate::client::{Http2, read};
use crate::fake::{Fake, LARGE};
use crate::front::Front;

/// Long for a small answer, short for one that waits for another.
const AT_ONCE: Duration = Duration::from_secs(5);

/// Ninety LISTs that the client leaves unread stop nothing else of its connection, and each takes well under a megabyte of
/// the gateway's memory. They arrive whole when they are read at last.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_nobody_reads_stop_no_other() {
    let front = Front::before(Fake::start().await).await;
    let client = Http2::with_windows(&front, 1, 65_535, 1 << 30).await;
    assert_eq!(client.get("/fake/ok").await.unwrap().0, 200);
    let before = front.memory();
    let mut unread = Vec::new();
    for number in 0..90 {
        let answer = client.ask(Method::GET, &format!("/fake/large/{number}"), None).await.unwrap();
        unread.push(answer.into_body());
    }
    let small = timeout(AT_ONCE, client.get("/fake/ok")).await.expect("it does not wait").unwrap();
    assert_eq!(small.0, 200);
    let grown = front.memory().saturating_sub(before);
    assert!(grown < 90 * 1024, "the gateway grew by {grown} KiB");
    let whole = try_join_all(unread.into_iter().take(5).map(read)).await.unwrap();
    assert!(whole.iter().all(|body| body.len() == LARGE));
}

/// A body that the API server does not read stops no other body.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_that_nobody_reads_stop_no_other() {
    let front = Front::before(Fake::start().await).await;
    let client = Http2::of(&front, 1).await;
    let mut unread = Vec::new();
    for number in 0..20 {
        let (answer, mut body) = client.begin(Method::POST, &format!("/fake/unread/{number}"), false).await.unwrap();
        body.send_data(Bytes::from(vec![b'x'; 1 << 20]), true).unwrap();
        unread.push(answer);
    }
    let begun = Instant::now();
    let body = Some(Bytes::from(vec![b'x'; 1 << 20]));
    let answer =
        timeout(AT_ONCE, client.ask(Method::POST, "/fake/sink", body)).await.expect("it does not wait").unwrap();
    assert_eq!(read(answer.into_body()).await.unwrap(), b"1048576", "after {:?}", begun.elapsed());
    front.fake.release();
    for answer in unread {
        assert_eq!(read(answer.await.unwrap().into_body()).await.unwrap(), b"1048576");
    }
}
