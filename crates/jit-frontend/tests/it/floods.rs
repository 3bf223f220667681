//! What strangers can use up.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout};

use crate::client::{Client, Key};
use crate::front::Front;

/// Much for a small GET on a host that runs other tests.
const SOON: Duration = Duration::from_secs(3);

/// What the front end may take with all these strangers, in KiB.
const MOST_MEMORY: u64 = 64 * 1024;

/// A connection from this host's address 127.0.0.`host`.
async fn stranger(front: &Front, host: u8) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from(([127, 0, 0, host], 0)))?;
    socket.connect(SocketAddr::from(([127, 0, 0, 1], front.port))).await
}

/// 2,000 idle strangers and 200 slow ones, of ten addresses, neither keep a person out nor take much memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_and_slow_strangers_keep_nobody_out() {
    let front = Front::start().await;
    let key = Key::new();
    let mut client = Client::logged_in(&front, &key, json!({})).await;
    let quiet = slowest(&mut client).await;
    let mut held = Vec::new();
    for number in 0..2200_u32 {
        let mut stream = stranger(&front, u8::try_from(2 + number % 10).unwrap()).await.unwrap();
        if number % 11 == 0 {
            // The beginning of a handshake, of which the rest comes byte by byte.
            stream.write_all(&[0x16, 3, 1, 2, 0, 1]).await.unwrap();
        }
        held.push(stream);
    }
    for stream in held.iter_mut().step_by(11) {
        // It may be closed already, on a slow host.
        let _ = stream.write_all(&[0]).await;
    }
    let loud = slowest(&mut client).await;
    let begun = Instant::now();
    let mut another = Client::of(&front, &key).await;
    assert_eq!(another.get("/v1/whoami").await.0, 200);
    let newcomer = begun.elapsed();
    let memory = front.memory();
    println!("the slowest GET {loud:?}, {quiet:?} without; a new connection {newcomer:?}; {memory} KiB");
    assert!(loud < SOON && newcomer < SOON, "{loud:?} {newcomer:?}");
    assert!(memory < MOST_MEMORY, "{memory} KiB");
}

/// One connection too many is refused at once, and takes nothing from other addresses.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_connection_too_many_is_refused_at_once() {
    let front = Front::start().await;
    let mut held = Vec::new();
    for _ in 0..jit_frontend::listener::CONNECTIONS_OF_ONE {
        held.push(stranger(&front, 2).await.unwrap());
    }
    assert!(is_refused(&front).await);
    let key = Key::new();
    assert_eq!(Client::of(&front, &key).await.get("/v1/providers").await.0, 200);
    drop(held.pop());
    let again = async { while is_refused(&front).await {} };
    timeout(SOON, again).await.expect("a place is free again");
}

/// Whether one more connection of the address is refused, within a moment. The reset may already meet the connecting side.
async fn is_refused(front: &Front) -> bool {
    let Ok(mut stream) = stranger(front, 2).await else { return true };
    timeout(Duration::from_millis(500), stream.read(&mut [0; 1])).await.is_ok()
}

/// The slowest of some GETs.
async fn slowest(client: &mut Client) -> Duration {
    let mut slowest = Duration::ZERO;
    for _ in 0..50 {
        let begun = Instant::now();
        assert_eq!(client.get("/v1/whoami").await.0, 200);
        slowest = slowest.max(begun.elapsed());
    }
    slowest
}
