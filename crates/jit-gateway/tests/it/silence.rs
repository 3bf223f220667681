//! Whoever is gone is noticed; whoever only pauses is not taken for gone. Each takes as long as it takes: 45 s at most.

use std::sync::atomic::Ordering;
use std::time::Duration;

use http::{Method, Request};
use tokio::time::{Instant, sleep_until, timeout};

use crate::client::{End, Http1, Http2, connect, is_whole, read, until};
use crate::fake::{Fake, LARGE};
use crate::front::Front;

const NOTICED: Duration = Duration::from_secs(45);

/// An API server that answers no PING any more ends what runs on its connection; the client's own stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_server_that_falls_silent_is_noticed() {
    let front = Front::before(Fake::start().await).await;
    let client = Http2::of(&front, 1).await;
    let watch = client.ask(Method::GET, "/fake/silent", None).await.unwrap().into_body();
    assert!(timeout(NOTICED, read(watch)).await.expect("the watch ends").is_err());
    assert_eq!(client.get("/fake/ok").await.unwrap().0, 200);
}

/// A client that answers no PING any more frees what it had at the API server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_vanished_is_noticed() {
    let front = Front::before(Fake::start().await).await;
    let tls = connect(&front, Some(&front.credential(1)), b"h2").await.unwrap();
    let (mut sender, mut driver) = h2::client::handshake(tls).await.unwrap();
    let request = Request::get("https://gateway/fake/watch").body(()).unwrap();
    let (answer, _) = sender.send_request(request, true).unwrap();
    let answer = tokio::select! {
        answer = answer => answer.unwrap(),
        _ = &mut driver => panic!("the connection ended"),
    };
    assert_eq!(front.fake.streams.load(Ordering::SeqCst), 1);
    // From now on nobody drives it.
    let gone = until("the API server is rid of it", || front.fake.streams.load(Ordering::SeqCst) == 0);
    timeout(NOTICED, gone).await.expect("it is noticed");
    drop((answer, driver));
}

/// A client of HTTP/1.1 that reads nothing for a while, such as a pager, gets the rest when it reads again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_pauses_is_not_cut() {
    let front = Front::before(Fake::start().await).await;
    let mut client = Http1::of(&front, 1).await;
    client.ask("GET", "/fake/large").await;
    sleep_until(Instant::now() + NOTICED).await;
    client.send("GET /fake/ok HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n\r\n").await;
    let (answers, end) = client.rest().await;
    assert_eq!(end, End::Closed);
    assert!(answers.len() > LARGE && is_whole(&answers[answers.len() - 200..]), "{} bytes", answers.len());
}
