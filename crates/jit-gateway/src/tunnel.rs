//! Upgraded connections: bytes both ways, until one side ends or the grant does.
//!
//! ```text
//!  upstream ends ─► all its bytes, FIN ─► the client's FIN, or 5 s
//!  upstream closes an exec and does not say how it ended ─► a Status that says so
//!  upstream breaks ─► the client's connection is reset, so that nobody takes it for an end
//!  the grant ends, or its session must ─► exec, attach: a Status and a close frame between two frames ─► reset
//! ```
//! No message is held: a frame of 100 MB passes in pieces, at the pace of its reader.

mod conclusion;

use std::borrow::Cow;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::StatusCode;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use jit_wire::session::End as Ended;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, sleep_until, timeout};

use self::conclusion::Concluded;
use crate::answer::status_document;
use crate::frames::{Frames, STATUS, write_frame};
use crate::grants::Live;
use crate::listener::reset;
use crate::ports::{Answered, Refusal};
use crate::record::{Entry, Session, Stop, Way, Writer};
use crate::restrict::Forward;

/// How long a side may take to end after the other one has.
const TAIL: Duration = Duration::from_secs(5);

/// The most that passes in one turn, in bytes.
const LONGEST_TURN: usize = 64 * 1024;

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
pub(crate) struct Tunnel {
    /// The client.
    pub(crate) client: Upgraded,
    /// The client's socket, to reset it.
    pub(crate) socket: Arc<TcpStream>,
    /// The API server.
    pub(crate) upstream: Upgraded,
    /// What the client is told when the grant ends.
    pub(crate) ending: Ending,
    /// The grant.
    pub(crate) live: Arc<Live>,
    /// Its line in the log.
    pub(crate) entry: Entry,
    /// What is looked at of it, if anything.
    pub(crate) session: Option<Session>,
    /// What is compared of a port-forward, if anything, and the answers to what is refused in it.
    pub(crate) forward: Option<(Forward, mpsc::Receiver<Refusal>)>,
}

/// How a tunnel ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    /// The last byte arrived.
    Whole,
    /// The upstream broke off.
    Broken,
    /// The grant ended, or the certificate.
    Cut,
    /// The gateway ended the session.
    Stopped(Stop),
}

/// Why bytes pass no more.
enum Trouble {
    /// A side is gone.
    Gone,
    /// They must not pass.
    Stop(Stop),
}

impl From<std::io::Error> for Trouble {
    fn from(_: std::io::Error) -> Self {
        Self::Gone
    }
}

impl Tunnel {
    /// Runs to the end, which is at `expires` at the latest: when the certificate of the connection is over.
    pub(crate) async fn run(self, expires: Instant) {
        let Self { client, socket, upstream, ending, live, mut entry, session, forward } = self;
        let (mut from_client, mut to_client) = tokio::io::split(TokioIo::new(client));
        let (from_upstream, mut to_upstream) = tokio::io::split(TokioIo::new(upstream));
        let (forward, refusals) = forward.unzip();
        let from_upstream = Answered::new(from_upstream, refusals);
        let mut from_upstream = Concluded::new(from_upstream, ending == Ending::Channel);
        let (mut frames, mut is_followed, mut passed) = (Frames::default(), true, 0);
        let watched = Watched::new(session, forward);
        let end = {
            let meter = &entry.meter;
            let down = pass(&mut from_upstream, &mut to_client, (&watched, Way::Down), |taken, left| {
                meter.sent(taken.len());
                passed += taken.len() as u64;
                // What cannot be followed gets no farewell.
                is_followed &= frames.take(taken, |_| ()).is_ok();
                // A client that waits for its socket does not see a second frame in the same TLS record (the client for Python).
                if is_followed { frames.first_frame(left) } else { left.len() }
            });
            let up = pass(&mut from_client, &mut to_upstream, (&watched, Way::Up), |taken, left| {
                meter.received(taken.len());
                left.len()
            });
            tokio::select! {
                biased;
                () = live.ended().cancelled() => End::Cut,
                () = sleep_until(expires) => End::Cut,
                stop = watched.stopped() => End::Stopped(stop),
                end = relay(down, up) => end,
            }
        };
        // kubectl leaves when it knows how the command ended, and does not wait for the close frame.
        let is_known = from_upstream.is_known_after(passed);
        drop((from_upstream, to_upstream));
        let why = match &end {
            End::Broken if is_known => {
                entry.whole();
                reset(&socket);
                None
            }
            End::Whole => {
                entry.whole();
                None
            }
            End::Broken => {
                reset(&socket);
                None
            }
            End::Cut if live.ended().is_cancelled() => Some(format!("grant {} has ended", live.id)),
            End::Cut => Some(format!("the certificate of grant {} has expired", live.id)),
            End::Stopped(stop) => Some(stop.to_string()),
        };
        // A recording that cannot be written has ended already.
        let _ = timeout(FAREWELL, watched.end()).await;
        let Some(why) = why else { return };
        entry.finish(if end == End::Cut { Ended::Cut } else { Ended::Stopped }, Some(&why));
        if ending == Ending::Channel && is_followed && frames.is_between() {
            // The client may not read it in time; it is cut all the same.
            let said = async {
                to_client.write_all(&farewell(&why)).await?;
                to_client.flush().await?;
                drop(entry);
                to_client.shutdown().await?;
                // What is unread when the connection is reset takes the farewell with it.
                tokio::io::copy(&mut from_client, &mut tokio::io::sink()).await
            };
            let _ = timeout(FAREWELL, said).await;
        }
        reset(&socket);
    }
}

/// A session that both directions look at.
struct Watched {
    session: Option<Mutex<Session>>,
    writer: Option<Writer>,
    forward: Option<Mutex<Forward>>,
}

impl Watched {
    fn new(session: Option<Session>, forward: Option<Forward>) -> Self {
        let writer = session.as_ref().and_then(Session::writer);
        Self { session: session.map(Mutex::new), writer, forward: forward.map(Mutex::new) }
    }

    /// Looks at bytes that are about to pass, and returns those that do. What is seen stands in the file before they do, and
    /// before the next look, so that a recording has everything, and in its order.
    async fn look<'a>(&self, way: Way, bytes: &'a [u8]) -> Result<Cow<'a, [u8]>, Stop> {
        if let Some(forward) = self.forward.as_ref().filter(|_| way == Way::Up) {
            return forward.lock().await.pass(bytes).await.map(Cow::Owned).map_err(Stop::Refused);
        }
        let Some(session) = &self.session else { return Ok(Cow::Borrowed(bytes)) };
        let mut session = session.lock().await;
        let lines = session.see(way, bytes)?;
        self.write(lines).await?;
        Ok(Cow::Borrowed(bytes))
    }

    async fn write(&self, lines: Vec<u8>) -> Result<(), Stop> {
        match &self.writer {
            Some(writer) => writer.write(lines).await,
            None => Ok(()),
        }
    }

    /// Writes what a recording still has to have: characters that never became whole.
    async fn end(&self) -> Result<(), Stop> {
        let Some(session) = &self.session else { return Ok(()) };
        let lines = session.lock().await.end();
        self.write(lines).await
    }

    /// Until the session has to end by itself.
    async fn stopped(&self) -> Stop {
        let unwritable = async {
            match &self.writer {
                Some(writer) => writer.failed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = unwritable => Stop::Unwritable,
            stop = self.idle() => stop,
        }
    }

    async fn idle(&self) -> Stop {
        let Some(session) = &self.session else { return std::future::pending().await };
        loop {
            let Some((until, stop)) = session.lock().await.idle() else { return std::future::pending().await };
            if Instant::now() >= until {
                return stop;
            }
            sleep_until(until).await;
        }
    }
}

/// Runs both directions. The upstream's end is the end; the client's is passed on, and the upstream has a moment to answer.
async fn relay(down: impl Future<Output = Result<(), Trouble>>, up: impl Future<Output = Result<(), Trouble>>) -> End {
    let (mut down, mut up) = (std::pin::pin!(down), std::pin::pin!(up));
    let end = |result: Result<(), Trouble>| match result {
        Ok(()) => End::Whole,
        Err(Trouble::Gone) => End::Broken,
        Err(Trouble::Stop(stop)) => End::Stopped(stop),
    };
    tokio::select! {
        ended = &mut down => {
            let end = end(ended);
            if end == End::Whole {
                // Until the client closes: closing first, with bytes of it unread, would reset what it has not read yet.
                let _ = timeout(TAIL, up).await;
            }
            end
        }
        ended = &mut up => match ended {
            Err(Trouble::Stop(stop)) => End::Stopped(stop),
            _ => timeout(TAIL, down).await.map_or(End::Broken, end),
        },
    }
}

/// Passes bytes on until `from` ends, then ends `to`. `step` sees the bytes that `to` has taken, none at first, and says how many
/// of those that are left are written next.
async fn pass(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    (watched, way): (&Watched, Way),
    mut step: impl FnMut(&[u8], &[u8]) -> usize,
) -> Result<(), Trouble> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let (read, broken) = arrived(from, &mut buffer).await?;
        if read == 0 {
            return Ok(to.shutdown().await?);
        }
        let passes = watched.look(way, buffer.get(..read).unwrap_or_default()).await.map_err(Trouble::Stop)?;
        let mut left = passes.as_ref();
        let mut next = step(&[], left);
        while !left.is_empty() {
            // One write at a time, because a cut in between must know how far it came.
            let written = to.write(left.get(..next).unwrap_or(left)).await?;
            if written == 0 {
                return Err(Trouble::Gone);
            }
            let (done, rest) = left.split_at_checked(written).unwrap_or((left, &[]));
            next = step(done, rest);
            left = rest;
        }
        to.flush().await?;
        if broken {
            return Err(Trouble::Gone);
        }
        // A recording is written at each turn, so who sends much gets longer ones.
        if read == buffer.len() && read < LONGEST_TURN {
            buffer.resize(read * 2, 0);
        }
    }
}

/// Reads what has arrived, after waiting for some; nothing at the end. Whether it broke off behind that.
async fn arrived(from: &mut (impl AsyncRead + Unpin), buffer: &mut [u8]) -> std::io::Result<(usize, bool)> {
    let mut buffer = ReadBuf::new(buffer);
    poll_fn(|cx| {
        loop {
            let before = buffer.filled().len();
            let read = Pin::new(&mut *from).poll_read(cx, &mut buffer);
            let now = buffer.filled().len();
            match read {
                Poll::Ready(Ok(())) if now > before && buffer.remaining() > 0 => {}
                Poll::Ready(Ok(())) => return Poll::Ready(Ok((now, false))),
                Poll::Ready(Err(_)) if now > 0 => return Poll::Ready(Ok((now, true))),
                Poll::Pending if now > 0 => return Poll::Ready(Ok((now, false))),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await
}

/// A `Status` on channel 3 and a close frame with code 1000: with another code kubectl does not show the Status.
fn farewell(why: &str) -> Vec<u8> {
    let mut frames = message(STATUS, &status_document(StatusCode::FORBIDDEN, why));
    frames.extend([0x88, 2]);
    frames.extend(1000_u16.to_be_bytes());
    frames
}

/// A message of a server on a channel, in one frame.
fn message(channel: u8, text: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    write_frame(&mut frame, 2, None, &[&[channel], text].concat());
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_farewell_is_a_message_and_a_close() {
        let said = farewell("grant 0123456789abcdef has ended");
        let mut frames = Frames::default();
        frames.take(&said[..said.len() - 4], |_| ()).unwrap();
        assert!(frames.is_between());
        frames.take(&said[said.len() - 4..], |_| ()).unwrap();
        assert!(!frames.is_between());
        let text = String::from_utf8_lossy(&said);
        assert!(text.contains("\"message\":\"jit: grant 0123456789abcdef has ended\""), "{text}");
    }

    /// 100 MB in one frame pass at the pace of their reader: no more than a turn of them is held, and all of them arrive.
    #[tokio::test]
    async fn a_large_frame_is_not_held() {
        const FRAME: usize = 100_000_000;
        const BUFFER: usize = 4096;
        let read = std::cell::Cell::new(0);
        let (watched, taken) = (Watched::new(None, None), std::cell::Cell::new(0));
        let mut from = Zeros { left: FRAME, read: &read };
        let (mut to, mut reader) = tokio::io::duplex(BUFFER);
        let pass = pass(&mut from, &mut to, (&watched, Way::Down), |bytes, left| {
            taken.set(taken.get() + bytes.len());
            left.len()
        });
        let receive = async {
            let mut buffer = vec![0; 32 * 1024];
            let mut received = 0;
            while let Ok(some @ 1..) = tokio::io::AsyncReadExt::read(&mut reader, &mut buffer).await {
                received += some;
                assert!(read.get() - received <= LONGEST_TURN + BUFFER, "{} of {}", received, read.get());
            }
            received
        };
        let (passed, received) = tokio::join!(pass, receive);
        assert!(passed.is_ok());
        assert_eq!((received, taken.get()), (FRAME, FRAME));
    }

    /// Reads as many zeros as there is room for.
    struct Zeros<'a> {
        left: usize,
        read: &'a std::cell::Cell<usize>,
    }

    impl AsyncRead for Zeros<'_> {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<std::io::Result<()>> {
            let some = buffer.remaining().min(self.left);
            buffer.initialize_unfilled_to(some).fill(0);
            buffer.advance(some);
            self.left -= some;
            self.read.set(self.read.get() + some);
            Poll::Ready(Ok(()))
        }
    }
}
