//! What a connection costs on which nothing happens.

use std::sync::atomic::Ordering;

use http::Method;

use crate::client::{Http1, Http2, until};
use crate::fake::Fake;
use crate::front::Front;

/// Watches that have nothing to say take little memory, each on a connection of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_watch_takes_little_memory() {
    const MANY: usize = 300;
    let front = Front::before(Fake::start().await).await;
    let mut watches = Vec::new();
    let mut before = 0;
    for number in 0..MANY + 20 {
        let mut watch = Http1::of(&front, 1).await;
        watch.ask("GET", "/fake/quiet").await;
        watch.until("\r\n\r\n").await;
        watches.push(watch);
        // What some need, all need once.
        if number == 19 {
            before = front.memory();
        }
    }
    until("all are answered", || front.fake.streams.load(Ordering::SeqCst) == MANY + 20).await;
    let each = (front.memory() - before) / MANY as u64;
    assert!(each <= 40, "an idle watch takes {each} KiB");
}

/// Connections of HTTP/1.1 of one grant share connections to the API server, a few each; those of HTTP/2 have one of their own.
/// None of them is left when its clients have gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_to_the_api_server_ends_with_its_clients() {
    let front = Front::before(Fake::start().await).await;
    let open = || front.fake.open.load(Ordering::SeqCst);
    let streams = || front.fake.streams.load(Ordering::SeqCst);
    let mut slow = Vec::new();
    for _ in 0..20 {
        let mut watch = Http1::of(&front, 1).await;
        watch.ask("GET", "/fake/quiet").await;
        watch.until("\r\n\r\n").await;
        slow.push(watch);
    }
    assert_eq!((streams(), open()), (20, 2));
    // Of another grant, and of HTTP/2.
    let mut other = Http1::of(&front, 2).await;
    other.ask("GET", "/fake/quiet").await;
    other.until("\r\n\r\n").await;
    let mut quick = Vec::new();
    for _ in 0..2 {
        let client = Http2::of(&front, 1).await;
        let answer = client.ask(Method::GET, "/fake/quiet", None).await.unwrap();
        quick.push((client, answer));
    }
    assert_eq!((streams(), open()), (23, 5));
    drop((slow, quick));
    until("only the other one is left", || (streams(), open()) == (1, 1)).await;
    front.end(2).await;
    until("none is left", || open() == 0).await;
}
