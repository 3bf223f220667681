//! An API server that ends its connections while they are used, as EKS does (`--goaway-chance`).

use std::sync::atomic::Ordering;

use futures::future::join_all;
use http::Method;
use hyper::body::Bytes;
use tokio::time::timeout;

use crate::client::{Http2, until};
use crate::fake::Fake;
use crate::front::{Front, LONG};

/// Through one client connection nothing fails and no write happens twice, although each fifth answer is the last of its
/// connection; watches go on on theirs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_goaway_costs_no_request_and_repeats_no_write() {
    let front = Front::before(Fake::with_goaway(5).await).await;
    let client = Http2::of(&front, 1).await;
    let mut watches = Vec::new();
    for number in 0..10 {
        watches.push(client.ask(Method::GET, &format!("/fake/watch/{number}"), None).await.unwrap().into_body());
    }
    let workers = (0..20).map(|worker| {
        let client = client.clone();
        async move {
            for number in 0..25 {
                let path = format!("/fake/object/{worker}-{number}");
                let body = Some(Bytes::from(vec![b'x'; 2000]));
                assert_eq!(client.ask(Method::POST, &path, body).await.unwrap().status(), 200, "{path}");
                assert_eq!(client.get(&path).await.unwrap().0, 200, "{path}");
            }
        }
    });
    join_all(workers).await;
    for worker in 0..20 {
        for number in 0..25 {
            let request = format!("POST /fake/object/{worker}-{number}");
            assert_eq!(front.fake.count(&request), 1, "{request}");
        }
    }
    for watch in &mut watches {
        assert!(watch.data().await.unwrap().is_ok(), "a watch goes on");
    }
    assert!(front.fake.connections.load(Ordering::SeqCst) > 10);
    drop(watches);
    until("the connections that ended are gone", || front.fake.open.load(Ordering::SeqCst) <= 1).await;
}

/// What a GOAWAY says was not processed is sent again, with its body; what may have been is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_was_not_processed_is_repeated() {
    let front = Front::before(Fake::start().await).await;
    let client = Http2::of(&front, 1).await;
    for (mode, attempts) in [("refused", 1), ("goaway-now", 0)] {
        for size in [0, 2000, 60_000] {
            let path = format!("/fake/{mode}/{size}");
            let answer = client.ask(Method::POST, &path, Some(Bytes::from(vec![b'x'; size]))).await.unwrap();
            // This API server ends each connection, which has to end at some time.
            let expected = if mode == "refused" { 200 } else { 502 };
            assert_eq!(
                (answer.status().as_u16(), front.fake.count(&format!("POST {path}"))),
                (expected, attempts),
                "{path}"
            );
        }
    }
    // It broke after it was processed.
    let before = front.fake.connections.load(Ordering::SeqCst);
    let (answer, _) = client.begin(Method::POST, "/fake/fin", true).await.unwrap();
    let answer = answer.await.unwrap();
    assert!(crate::client::read(answer.into_body()).await.is_err());
    assert_eq!(front.fake.count("POST /fake/fin"), 1);
    timeout(LONG, async { while client.get("/fake/ok").await.unwrap().0 != 200 {} }).await.unwrap();
    assert!(front.fake.connections.load(Ordering::SeqCst) > before);
}
