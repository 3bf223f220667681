//! Upgraded connections: bytes both ways, until one side ends or the grant does.
//!
//! ```text
//!  upstream ends ─► all its bytes, FIN ─► the client's FIN, or 5 s
//!  upstream breaks ─► the client's connection is reset, so that nobody takes it for an end
//!  the grant ends ─► exec, attach: a Status and a close frame between two frames ─► reset
//! ```
//! No message is held: a frame of 100 MB passes in pieces, at the pace of its reader.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};

use crate::answer::status_document;
use crate::grants::{Live, Running};
use crate::listener::reset;

/// How long a side may take to end after the other one has.
const TAIL: Duration = Duration::from_secs(5);

/// How long a client may take to read why it was cut.
const FAREWELL: Duration = Duration::from_secs(1);

/// What the client is told when the grant ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// A `Status` on channel 3, then a close frame: `v4.channel.k8s.io` and `v5.channel.k8s.io`
    /// (<https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/>).
    Channel,
    /// Nothing: its protocol has no place for it.
    Reset,
}

/// Both ends of a tunnel.
pub struct Tunnel {
    /// The client.
    pub client: Upgraded,
    /// The client's socket, to reset it.
    pub socket: Arc<TcpStream>,
    /// The API server.
    pub upstream: Upgraded,
    /// What the client is told when the grant ends.
    pub ending: Ending,
    /// The grant.
    pub live: Arc<Live>,
    /// Its count as a running request.
    pub running: Running,
}

impl Tunnel {
    /// Runs to the end, which is at `expires` at the latest: when the certificate of the connection is over.
    pub async fn run(self, expires: Instant) {
        let Self { client, socket, upstream, ending, live, running } = self;
        let (mut from_client, mut to_client) = tokio::io::split(TokioIo::new(client));
        let (mut from_upstream, mut to_upstream) = tokio::io::split(TokioIo::new(upstream));
        let mut frames = Frames::default();
        let is_cut = {
            let down = pass(&mut from_upstream, &mut to_client, |bytes| frames.take(bytes));
            let up = pass(&mut from_client, &mut to_upstream, |_| ());
            let relay = relay(down, up);
            tokio::select! {
                biased;
                () = live.ended().cancelled() => true,
                () = sleep_until(expires) => true,
                end = relay => {
                    if end == End::Broken {
                        reset(&socket);
                    }
                    false
                }
            }
        };
        drop((from_upstream, to_upstream));
        if is_cut {
            if ending == Ending::Channel && frames.is_between() {
                // The client may not read it in time; it is cut all the same.
                let why = format!("grant {} has ended", live.id);
                let said = async {
                    to_client.write_all(&farewell(&why)).await?;
                    to_client.flush().await?;
                    drop(running);
                    to_client.shutdown().await?;
                    // What is unread when the connection is reset takes the farewell with it.
                    tokio::io::copy(&mut from_client, &mut tokio::io::sink()).await
                };
                let _ = timeout(FAREWELL, said).await;
            }
            reset(&socket);
        }
    }
}

/// How a tunnel ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The last byte arrived.
    Whole,
    /// The upstream broke off.
    Broken,
}

/// Runs both directions. The upstream's end is the end; the client's is passed on, and the upstream has a moment to answer.
async fn relay(down: impl Future<Output = std::io::Result<()>>, up: impl Future<Output = std::io::Result<()>>) -> End {
    let (mut down, mut up) = (std::pin::pin!(down), std::pin::pin!(up));
    let whole = |result: std::io::Result<()>| if result.is_ok() { End::Whole } else { End::Broken };
    tokio::select! {
        ended = &mut down => {
            let end = whole(ended);
            if end == End::Whole {
                // Until the client closes: closing first, with bytes of it unread, would reset what it has not read yet.
                let _ = timeout(TAIL, up).await;
            }
            end
        }
        _ = &mut up => timeout(TAIL, down).await.map_or(End::Broken, whole),
    }
}

/// Passes bytes on until `from` ends, then ends `to`. `note` sees the bytes that `to` has taken.
async fn pass(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    mut note: impl FnMut(&[u8]),
) -> std::io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        let mut left = buffer.get(..read).unwrap_or_default();
        while !left.is_empty() {
            // One write at a time, because a cut in between must know how far it came.
            let written = to.write(left).await?;
            if written == 0 {
                return Err(std::io::ErrorKind::WriteZero.into());
            }
            let (done, rest) = left.split_at_checked(written).unwrap_or((left, &[]));
            note(done);
            left = rest;
        }
        to.flush().await?;
    }
}

/// Where a stream of WebSocket frames stands (RFC 6455 section 5.2). It keeps no payload.
#[derive(Debug, Default)]
struct Frames {
    /// What is left of the payload of the present frame.
    payload: u64,
    /// The bytes of the present frame's header.
    header: [u8; 14],
    /// How many of them have come.
    length: usize,
    /// Fragments of a message follow.
    is_fragmented: bool,
    /// A close frame has begun: nothing may follow it.
    is_closing: bool,
}

impl Frames {
    /// Whether another message may begin here.
    fn is_between(&self) -> bool {
        self.payload == 0 && self.length == 0 && !self.is_fragmented && !self.is_closing
    }

    fn take(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first() {
            if self.payload > 0 {
                let taken = usize::try_from(self.payload).unwrap_or(usize::MAX).min(bytes.len());
                self.payload -= taken as u64;
                bytes = bytes.get(taken..).unwrap_or_default();
                continue;
            }
            if let Some(place) = self.header.get_mut(self.length) {
                *place = *first;
            }
            self.length += 1;
            bytes = rest;
            self.begin();
        }
    }

    /// Reads the header as soon as it is whole.
    fn begin(&mut self) {
        let [first, second, extended @ ..] = self.header;
        if self.length < 2 {
            return;
        }
        let (size, mask) = (second & 0x7f, if second & 0x80 == 0 { 0 } else { 4 });
        let more = match size {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if self.length < 2 + more + mask {
            return;
        }
        let [a, b, c, d, e, f, g, h, ..] = extended;
        self.payload = match size {
            126 => u64::from(u16::from_be_bytes([a, b])),
            127 => u64::from_be_bytes([a, b, c, d, e, f, g, h]),
            size => u64::from(size),
        };
        self.length = 0;
        let (is_last, opcode) = (first & 0x80 != 0, first & 0x0f);
        if opcode < 8 {
            self.is_fragmented = !is_last;
        }
        self.is_closing |= opcode == 8;
    }
}

/// A `Status` on channel 3 and a close frame with code 1000: with another code kubectl does not show the Status.
fn farewell(why: &str) -> Vec<u8> {
    let status = status_document(StatusCode::FORBIDDEN, why);
    let mut frames = vec![0x82];
    let length = status.len() + 1;
    match u8::try_from(length) {
        Ok(short) if short < 126 => frames.push(short),
        _ => {
            frames.push(126);
            frames.extend(u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes());
        }
    }
    frames.push(3);
    frames.extend_from_slice(&status);
    frames.extend([0x88, 2]);
    frames.extend(1000_u16.to_be_bytes());
    frames
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames of a server, cut into pieces of every size: each end of a message is seen, and nothing else.
    #[test]
    fn the_ends_of_messages_are_seen() {
        let long = [&[0x82, 126, 1, 0][..], &[7; 256]].concat();
        let huge = [&[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0][..], &[7; 65_536]].concat();
        let fragments = [&[0x02, 1, 9][..], &[0x89, 0], &[0x80, 2, 9, 9]].concat();
        let messages = [&[0x82, 0][..], &[0x82, 3, 1, 2, 3], &long, &huge, &fragments, &[0x82, 1, 5]];
        let stream = messages.concat();
        let ends: Vec<usize> = messages
            .iter()
            .scan(0, |at, message| {
                *at += message.len();
                Some(*at)
            })
            .collect();
        let mut frames = Frames::default();
        for (at, byte) in stream.iter().enumerate() {
            frames.take(&[*byte]);
            assert_eq!(frames.is_between(), ends.contains(&(at + 1)), "after byte {at}");
        }
        for size in [2, 3, 7, 1000, 70_000] {
            let mut frames = Frames::default();
            stream.chunks(size).for_each(|piece| frames.take(piece));
            assert!(frames.is_between(), "{size}");
        }
    }

    #[test]
    fn nothing_follows_a_close_frame() {
        let mut frames = Frames::default();
        frames.take(&[0x88, 2, 3, 0xe8]);
        assert!(!frames.is_between());
    }

    #[test]
    fn a_farewell_is_a_message_and_a_close() {
        let said = farewell("grant 0123456789abcdef has ended");
        let mut frames = Frames::default();
        frames.take(&said[..said.len() - 4]);
        assert!(frames.is_between());
        frames.take(&said[said.len() - 4..]);
        assert!(frames.is_closing && frames.payload == 0);
        let text = String::from_utf8_lossy(&said);
        assert!(text.contains("\"message\":\"jit: grant 0123456789abcdef has ended\""), "{text}");
    }
}
