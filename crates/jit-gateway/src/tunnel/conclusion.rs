//! How a command ended: exec and attach end with a `Status` on channel 3, then a close frame.
//!
//! kubectl takes a close frame without a Status for success and exits with 0, although nobody knows how the command ended
//! (`k8s.io/client-go/tools/remotecommand/errorstream.go`). So a close frame that comes without one gets one before it,
//! which says so. Everything else passes as it is; no message is held.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::StatusCode;
use tokio::io::{AsyncRead, ReadBuf};

use super::message;
use crate::answer::status_document;
use crate::frames::{Channels, STATUS};

/// What the API server sends in an exec or attach.
pub(super) struct Concluded<R> {
    from: R,
    channels: Channels,
    status: Status,
    /// How many bytes were read of this.
    read: u64,
    /// What to pass on before anything more is read.
    held: io::Cursor<Vec<u8>>,
}

/// How far the Status came.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Status {
    Missing,
    Begun,
    /// It ends behind this many bytes.
    Whole(u64),
    /// Nothing is looked at.
    Unseen,
}

impl<R> Concluded<R> {
    /// Adds a Status to what is read `from` there if it has none. A stream without channels is passed on as it is.
    pub(super) fn new(from: R, has_channels: bool) -> Self {
        let status = if has_channels { Status::Missing } else { Status::Unseen };
        Self { from, channels: Channels::default(), status, read: 0, held: io::Cursor::default() }
    }

    /// Whether somebody who got this many bytes knows how the command ended.
    pub(super) fn is_known_after(&self, bytes: u64) -> bool {
        matches!(self.status, Status::Whole(end) if end <= bytes)
    }

    /// Where in these bytes, the next ones, a close frame begins for which no Status came.
    fn unsettled_close(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut left = bytes;
        while matches!(self.status, Status::Missing | Status::Begun)
            && let Some(first) = left.first()
        {
            if self.channels.is_closed_by(*first) {
                return Some(bytes.len() - left.len());
            }
            let taken = self.channels.payload().clamp(1, left.len());
            let (piece, rest) = left.split_at_checked(taken)?;
            left = rest;
            let (end, status) = (self.read + (bytes.len() - left.len()) as u64, &mut self.status);
            let taken = self.channels.take(piece, |channel, payload, is_last| {
                if channel == STATUS {
                    // The API server opens channels with an empty message.
                    if !payload.is_empty() {
                        *status = Status::Begun;
                    }
                    if is_last && *status == Status::Begun {
                        *status = Status::Whole(end);
                    }
                }
            });
            if taken.is_err() {
                // What cannot be followed passes as it is: the client reads it as strictly.
                self.status = Status::Unseen;
            }
        }
        None
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Concluded<R> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.held).poll_read(cx, buffer))?;
        if buffer.filled().len() == before && buffer.remaining() > 0 {
            ready!(Pin::new(&mut this.from).poll_read(cx, buffer))?;
            let fresh = buffer.filled().get(before..).unwrap_or_default();
            if let Some(at) = this.unsettled_close(fresh) {
                let why = "the API server closed the stream and did not say how the command ended";
                let mut held = message(STATUS, &status_document(StatusCode::INTERNAL_SERVER_ERROR, why));
                this.status = Status::Whole(this.read + (at + held.len()) as u64);
                held.extend_from_slice(fresh.get(at..).unwrap_or_default());
                this.held = io::Cursor::new(held);
                buffer.set_filled(before + at);
                if at == 0 {
                    ready!(Pin::new(&mut this.held).poll_read(cx, buffer))?;
                }
            }
        }
        this.read += (buffer.filled().len() - before) as u64;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    const CLOSE: [u8; 4] = [0x88, 2, 3, 0xe8];
    const ADDED: &str = "did not say how the command ended";

    async fn read(stream: &[u8], size: usize, has_channels: bool) -> Vec<u8> {
        let pieces = Pieces(stream.chunks(size).map(<[u8]>::to_vec).collect());
        let mut whole = Vec::new();
        Concluded::new(pieces, has_channels).read_to_end(&mut whole).await.unwrap();
        whole
    }

    /// Each piece comes in a read of its own.
    struct Pieces(std::collections::VecDeque<Vec<u8>>);

    impl AsyncRead for Pieces {
        fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            if let Some(mut piece) = self.0.pop_front() {
                let rest = piece.split_off(piece.len().min(buffer.remaining()));
                buffer.put_slice(&piece);
                if !rest.is_empty() {
                    self.0.push_front(rest);
                }
            }
            Poll::Ready(Ok(()))
        }
    }

    /// Cut into pieces of every kind, a stream that says how it ended arrives as it is.
    #[tokio::test]
    async fn a_stream_with_a_status_is_not_touched() {
        let status = message(STATUS, br#"{"status":"Success"}"#);
        let long = message(1, &[0x88; 70_000]);
        let in_two = [&[0x02, 1, STATUS][..], &[0x89, 0], &[0x80, 2, b'{', b'}']].concat();
        for stream in [[&long[..], &status, &CLOSE].concat(), [&message(1, b"")[..], &in_two, &CLOSE].concat()] {
            for size in [1, 2, 3, 1000, 100_000] {
                assert_eq!(read(&stream, size, true).await, stream, "{size}");
            }
        }
    }

    /// Who has the last byte of the Status knows how the command ended, with the close frame or without.
    #[tokio::test]
    async fn a_status_is_known_behind_its_last_byte() {
        let status = message(STATUS, br#"{"status":"Success"}"#);
        let opened = [&message(STATUS, b"")[..], &message(1, b"out")].concat();
        for (stream, end) in [
            ([&opened[..], &status, &CLOSE].concat(), Some(opened.len() + status.len())),
            ([&opened[..], &status[..9]].concat(), None),
            (opened.clone(), None),
        ] {
            for size in [1, 3, 1000] {
                let pieces = Pieces(stream.chunks(size).map(<[u8]>::to_vec).collect());
                let mut concluded = Concluded::new(pieces, true);
                concluded.read_to_end(&mut Vec::new()).await.unwrap();
                for bytes in 0..=stream.len() {
                    let known = end.is_some_and(|end| end <= bytes);
                    assert_eq!(concluded.is_known_after(bytes as u64), known, "{size} {bytes}");
                }
            }
        }
        // One that was added counts as one that came.
        let mut concluded = Concluded::new(Pieces([CLOSE.to_vec()].into()), true);
        let mut whole = Vec::new();
        concluded.read_to_end(&mut whole).await.unwrap();
        let end = (whole.len() - CLOSE.len()) as u64;
        assert!(concluded.is_known_after(end) && !concluded.is_known_after(end - 1));
    }

    /// Without a Status one comes before the close frame, once; neither an empty one, nor one on another channel, counts.
    #[tokio::test]
    async fn a_close_frame_without_a_status_gets_one() {
        for before in [
            &[][..],
            &message(1, b"out"),
            &message(STATUS, b""),
            &message(1, &[STATUS; 300]),
            &[&[0x02, 1, 1][..], &[0x80, 2, STATUS, STATUS]].concat(),
            &[0x89, 2, STATUS, STATUS],
        ] {
            let stream = [before, &CLOSE].concat();
            for size in [1, 3, 1000] {
                let whole = read(&stream, size, true).await;
                let added = whole.len() - stream.len();
                assert!(whole.starts_with(before) && whole.ends_with(&CLOSE), "{before:?}");
                let text = String::from_utf8_lossy(&whole[before.len()..before.len() + added]).into_owned();
                assert!(text.contains(ADDED) && text.matches("Failure").count() == 1, "{text}");
            }
            assert_eq!(read(&stream, 1000, false).await, stream);
        }
    }

    /// A stream that ends without a close frame ends as it does: the client takes that for a failure.
    #[tokio::test]
    async fn without_a_close_frame_nothing_is_added() {
        for stream in [message(1, b"out"), [&[0x02, 1, 1][..], &CLOSE].concat()] {
            assert_eq!(read(&stream, 3, true).await, stream);
        }
    }
}
