//! Answers to requests whose head could not be read. hyper answers them by itself over HTTP/1.1, with a bare status, before
//! anybody else sees the request; here that becomes a `Status` with a sentence.
//!
//! ```text
//!  requests ─► service ─► answers ─┐
//!  a head that cannot be read ─────┴─► Told ─► TLS         a bare status of hyper's own ─► a Status
//! ```
//! It must never touch an answer to a request. What hyper writes while no request runs, and once the answers to all earlier
//! ones have been written, is its own. Where it refuses a head behind an answer that is still being written, its bare status
//! passes. Over HTTP/2 there is nothing to do: `h2` resets the one request.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use http::StatusCode;
use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::answer::status_document;

/// What runs on one connection, as its service sees it. One task reads and writes all of it.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    /// Requests whose answer hyper has not taken whole.
    running: AtomicUsize,
    /// Something of an answer may still be in hyper's buffer.
    is_owed: AtomicBool,
    /// What follows is no HTTP.
    is_upgraded: AtomicBool,
}

/// A request that runs.
#[derive(Debug)]
pub(crate) struct Turn(Arc<Turns>);

impl Turns {
    /// A request has come.
    pub(crate) fn begin(self: &Arc<Self>) -> Turn {
        self.running.fetch_add(1, Ordering::Relaxed);
        self.is_owed.store(true, Ordering::Relaxed);
        Turn(Arc::clone(self))
    }

    /// The connection becomes a tunnel.
    pub(crate) fn upgraded(&self) {
        self.is_upgraded.store(true, Ordering::Relaxed);
    }

    /// hyper's buffer is empty.
    fn flushed(&self) {
        if self.running.load(Ordering::Relaxed) == 0 {
            self.is_owed.store(false, Ordering::Relaxed);
        }
    }

    /// What is written now is no answer to a request.
    fn is_hypers(&self) -> bool {
        !self.is_owed.load(Ordering::Relaxed) && !self.is_upgraded.load(Ordering::Relaxed)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The body of an answer: its request runs until hyper has all of it.
#[derive(Debug)]
pub(crate) struct Answering<B> {
    pub(crate) body: B,
    /// Ends when this is dropped.
    pub(crate) _turn: Turn,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Answering<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The client's side of a connection of HTTP/1.1.
#[derive(Debug)]
pub(crate) struct Told<T> {
    inner: T,
    turns: Arc<Turns>,
    /// What is written instead, and how much of it was.
    instead: Option<(Vec<u8>, usize)>,
}

impl<T> Told<T> {
    pub(crate) fn new(inner: T, turns: Arc<Turns>) -> Self {
        Self { inner, turns, instead: None }
    }
}

/// The answer instead of a bare one of hyper's.
fn explained(bare: &[u8]) -> Option<Vec<u8>> {
    let code = bare.strip_prefix(b"HTTP/1.1 ")?.get(..3)?;
    let code = StatusCode::from_bytes(code).ok()?;
    let why = match code {
        StatusCode::BAD_REQUEST => "the head of the request is not one of HTTP/1.1",
        StatusCode::URI_TOO_LONG => {
            "the URL has more than 65534 bytes, the most that the gateway can read; a long script goes to the command's \
             input: `kubectl exec -i … -- sh < script`"
        }
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
            "the head of the request is larger than 1 MiB or has too many headers"
        }
        _ => return None,
    };
    let document = status_document(code, why);
    let head = format!(
        "HTTP/1.1 {code}\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        document.len()
    );
    Some([head.as_bytes(), &document].concat())
}

impl<T: AsyncWrite + Unpin> Told<T> {
    /// Writes something else than what begins with `first`, if that is hyper's own; `None` if it is not.
    fn poll_instead(&mut self, cx: &mut Context<'_>, first: &[u8]) -> Option<Poll<io::Result<()>>> {
        if self.instead.is_none() {
            let instead = Some(first).filter(|_| self.turns.is_hypers()).and_then(explained)?;
            self.instead = Some((instead, 0));
        }
        let (instead, written) = self.instead.as_mut()?;
        while let Some(left) = instead.get(*written..).filter(|left| !left.is_empty()) {
            match Pin::new(&mut self.inner).poll_write(cx, left) {
                Poll::Ready(Ok(0)) => return Some(Poll::Ready(Err(io::ErrorKind::WriteZero.into()))),
                Poll::Ready(Ok(more)) => *written += more,
                Poll::Ready(Err(error)) => return Some(Poll::Ready(Err(error))),
                Poll::Pending => return Some(Poll::Pending),
            }
        }
        self.instead = None;
        Some(Poll::Ready(Ok(())))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Told<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Told<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(instead) = self.poll_instead(cx, bytes) {
            ready!(instead)?;
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(instead) = self.poll_instead(cx, parts.first().map_or(&[], |first| first)) {
            ready!(instead)?;
            return Poll::Ready(Ok(parts.iter().map(|part| part.len()).sum()));
        }
        Pin::new(&mut self.inner).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.turns.flushed();
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const BARE: &[u8] = b"HTTP/1.1 414 URI Too Long\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

    /// What a client reads of what hyper writes.
    async fn read(turns: &Arc<Turns>, writes: &[&[u8]], room: usize) -> String {
        let (to, mut from) = tokio::io::duplex(room);
        let mut told = Told::new(to, Arc::clone(turns));
        let write = async {
            for bytes in writes {
                told.write_all(bytes).await.unwrap();
            }
            drop(told);
        };
        let mut whole = String::new();
        let (read, ()) = tokio::join!(from.read_to_string(&mut whole), write);
        read.unwrap();
        whole
    }

    #[tokio::test]
    async fn a_bare_status_becomes_one_with_a_sentence() {
        for room in [1, 7, 4096] {
            let whole = read(&Arc::default(), &[BARE], room).await;
            let (head, body) = whole.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with("HTTP/1.1 414 URI Too Long\r\n"), "{head}");
            assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
            let status: serde_json::Value = serde_json::from_str(body).unwrap();
            assert_eq!((&status["code"], &status["reason"]), (&414.into(), &"BadRequest".into()), "{status}");
            assert!(status["message"].as_str().unwrap().contains("65534 bytes"), "{status}");
        }
    }

    /// Whatever looks like one and is of an answer passes as it is.
    #[tokio::test]
    async fn an_answer_passes_as_it_is() {
        let text = str::from_utf8(BARE).unwrap();
        let turns = Arc::<Turns>::default();
        let turn = turns.begin();
        assert_eq!(read(&turns, &[BARE, BARE], 7).await, text.repeat(2));
        // hyper has all of it, and has not written it.
        drop(turn);
        assert_eq!(read(&turns, &[BARE], 7).await, text);
        turns.flushed();
        assert_ne!(read(&turns, &[BARE], 7).await, text);
        turns.upgraded();
        assert_eq!(read(&turns, &[BARE], 7).await, text);
        assert_eq!(read(&Arc::default(), &[b"HTTP/1.1 200 OK\r\n\r\n"], 7).await, "HTTP/1.1 200 OK\r\n\r\n");
    }

    /// A flush in the middle of an answer does not end it.
    #[tokio::test]
    async fn an_answer_that_runs_is_owed_after_a_flush() {
        let turns = Arc::<Turns>::default();
        let _turn = turns.begin();
        turns.flushed();
        assert_eq!(read(&turns, &[BARE], 7).await.as_bytes(), BARE);
    }
}
