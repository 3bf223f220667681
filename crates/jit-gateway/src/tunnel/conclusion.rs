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
    /// The Status came, or was added; what follows is not looked at.
    is_settled: bool,
    /// What to pass on before anything more is read.
    held: io::Cursor<Vec<u8>>,
}

impl<R> Concluded<R> {
    /// Adds a Status to what is read `from` there if it has none. A stream without channels is passed on as it is.
    pub(super) fn new(from: R, has_channels: bool) -> Self {
        Self { from, channels: Channels::default(), is_settled: !has_channels, held: io::Cursor::default() }
    }

    /// Where in these bytes a close frame begins for which no Status came.
    fn unsettled_close(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut left = bytes;
        while !self.is_settled
            && let Some(first) = left.first()
        {
            if self.channels.is_closed_by(*first) {
                self.is_settled = true;
                return Some(bytes.len() - left.len());
            }
            let taken = self.channels.payload().clamp(1, left.len());
            let (piece, rest) = left.split_at_checked(taken)?;
            left = rest;
            let is_settled = &mut self.is_settled;
            let taken = self.channels.take(piece, |channel, payload, _| {
                // The API server opens channels with an empty message.
                *is_settled |= channel == STATUS && !payload.is_empty();
            });
            // What cannot be followed passes as it is: the client reads it as strictly.
            self.is_settled |= taken.is_err();
        }
        None
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Concluded<R> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.held).poll_read(cx, buffer))?;
        if buffer.filled().len() > before || buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        ready!(Pin::new(&mut this.from).poll_read(cx, buffer))?;
        let fresh = buffer.filled().get(before..).unwrap_or_default();
        let Some(at) = this.unsettled_close(fresh) else { return Poll::Ready(Ok(())) };
        let why = "the API server closed the stream and did not say how the command ended";
        let mut held = message(STATUS, &status_document(StatusCode::INTERNAL_SERVER_ERROR, why));
        held.extend_from_slice(fresh.get(at..).unwrap_or_default());
        this.held = io::Cursor::new(held);
        buffer.set_filled(before + at);
        if at > 0 { Poll::Ready(Ok(())) } else { Pin::new(&mut this.held).poll_read(cx, buffer) }
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
