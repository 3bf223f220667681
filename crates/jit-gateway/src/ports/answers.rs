//! The answers to streams that the gateway refused, between those of the API server.
//!
//! Headers of the API server's own answers are compressed again, because they are one compressed stream with those that are
//! added.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::mpsc;

use super::spdy::{
    BEFORE_HEADERS_OF_REPLY, Control, GOAWAY, HEADERS, Headers, PING, Part, RST_STREAM, SETTINGS, SYN_REPLY, Spdy,
    WINDOW_UPDATE, last_data,
};
use super::{Messages, Unclear};
use crate::frames::write_frame;

/// The answer to a stream that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) stream: u32,
    /// What is written into it before its end.
    pub(crate) says: String,
}

/// What the API server sends in a port-forward, with these answers between its frames.
pub(crate) struct Answered<R> {
    from: R,
    followed: Option<Followed>,
    /// What is to be passed on before anything more is read.
    held: io::Cursor<Vec<u8>>,
}

struct Followed {
    refusals: mpsc::Receiver<Refusal>,
    messages: Messages,
    spdy: Spdy,
    headers: Headers,
    room: Vec<u8>,
}

impl<R> Answered<R> {
    /// Without `refusals`, what is read `from` there passes as it is.
    pub(crate) fn new(from: R, refusals: Option<mpsc::Receiver<Refusal>>) -> Self {
        let followed = refusals.map(|refusals| Followed {
            refusals,
            messages: Messages::default(),
            spdy: Spdy::default(),
            headers: Headers::default(),
            room: vec![0; 16 * 1024],
        });
        Self { from, followed, held: io::Cursor::default() }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Answered<R> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let Some(followed) = &mut this.followed else { return Pin::new(&mut this.from).poll_read(cx, buffer) };
        loop {
            let before = buffer.filled().len();
            ready!(Pin::new(&mut this.held).poll_read(cx, buffer))?;
            if buffer.filled().len() > before || buffer.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            let written = match followed.refused(cx) {
                Poll::Ready(Some(refusal)) => followed.answer(&refusal),
                _ => {
                    let Followed { messages, spdy, headers, room, .. } = followed;
                    let mut room = ReadBuf::new(room);
                    ready!(Pin::new(&mut this.from).poll_read(cx, &mut room))?;
                    if room.filled().is_empty() {
                        return Poll::Ready(Ok(()));
                    }
                    messages
                        .rewrite(room.filled(), None, |content, on| spdy.take(content, |part| again(part, headers, on)))
                }
            };
            let written = written.map_err(|unclear| io::Error::new(io::ErrorKind::InvalidData, unclear))?;
            this.held = io::Cursor::new(written);
        }
    }
}

impl Followed {
    /// The next refusal, if a frame may begin.
    fn refused(&mut self, cx: &mut Context<'_>) -> Poll<Option<Refusal>> {
        if self.spdy.is_between() { self.refusals.poll_recv(cx) } else { Poll::Pending }
    }

    /// A message with a reply without headers, and all that is ever said in the stream.
    fn answer(&mut self, refusal: &Refusal) -> Result<Vec<u8>, Unclear> {
        let none = self.headers.deflated(&0_u32.to_be_bytes())?;
        let body = [refusal.stream.to_be_bytes().as_slice(), &none].concat();
        let reply = Control { kind: SYN_REPLY, flags: 0, body }.bytes()?;
        let mut message = Vec::new();
        write_frame(&mut message, 2, None, &[reply, last_data(refusal.stream, refusal.says.as_bytes())?].concat());
        Ok(message)
    }
}

/// Writes a part `on`, with its headers compressed again.
fn again(part: Part<'_>, headers: &mut Headers, on: &mut Vec<u8>) -> Result<(), Unclear> {
    match part {
        Part::Data(head) => on.extend_from_slice(&head),
        Part::Piece(bytes) => on.extend_from_slice(bytes),
        Part::Control(control) => match control.kind {
            SYN_REPLY | HEADERS => {
                let (before, block) = control.body.split_at_checked(BEFORE_HEADERS_OF_REPLY).ok_or(Unclear)?;
                let plain = headers.inflated(block)?;
                let body = [before, &headers.deflated(&plain)?].concat();
                on.extend(Control { body, ..control }.bytes()?);
            }
            RST_STREAM | SETTINGS | PING | GOAWAY | WINDOW_UPDATE => on.extend(control.bytes()?),
            // An API server begins no stream.
            _ => return Err(Unclear),
        },
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::super::spdy::FIN;
    use super::*;
    use crate::frames::Frames;

    /// What a client reads: each reply with the number of its headers, and data with their stream.
    fn seen(bytes: &[u8]) -> Vec<(u32, String)> {
        let (mut frames, mut spdy, mut headers) = (Frames::default(), Spdy::default(), Headers::default());
        let mut seen = Vec::new();
        let mut stream = Vec::new();
        frames.take(bytes, |piece| stream.extend_from_slice(piece.payload.plain(&mut Vec::new()))).unwrap();
        let id = |bytes: &[u8]| u32::from_be_bytes(bytes[..4].try_into().unwrap());
        spdy.take(&stream, |part| {
            match part {
                Part::Control(control) => {
                    let plain = headers.inflated(&control.body[BEFORE_HEADERS_OF_REPLY..])?;
                    seen.push((id(&control.body), format!("reply with {}", id(&plain))));
                }
                Part::Data(head) => seen.push((id(&head), if head[4] == FIN { "last: " } else { "" }.to_owned())),
                Part::Piece(bytes) => seen.last_mut().unwrap().1.push_str(std::str::from_utf8(bytes).unwrap()),
            }
            Ok(())
        })
        .unwrap();
        seen
    }

    /// Between the API server's frames, never within one, and in one compressed stream with its headers.
    #[tokio::test]
    async fn a_refusal_stands_between_two_frames() {
        let mut server = Headers::default();
        let mut reply = |stream: u32| {
            let one = [&1_u32.to_be_bytes()[..], &1_u32.to_be_bytes(), b"x", &1_u32.to_be_bytes(), b"y"].concat();
            let body = [&stream.to_be_bytes()[..], &server.deflated(&one).unwrap()].concat();
            Control { kind: SYN_REPLY, flags: 0, body }.bytes().unwrap()
        };
        let data = [&[0, 0, 0, 1, 0, 0, 0, 6][..], b"abcdef"].concat();
        let stream = [reply(1), data, reply(3), last_data(3, b"end").unwrap()].concat();
        let (mut to, from) = tokio::io::duplex(1 << 16);
        let (tell, refusals) = mpsc::channel(4);
        let mut answered = Answered::new(from, Some(refusals));
        let at = stream.windows(3).position(|bytes| bytes == b"def").unwrap();
        let message = |content: &[u8]| {
            let mut message = Vec::new();
            write_frame(&mut message, 2, None, content);
            message
        };
        to.write_all(&message(&stream[..at])).await.unwrap();
        let mut got = vec![0; 4096];
        let length = answered.read(&mut got).await.unwrap();
        got.truncate(length);
        tell.send(Refusal { stream: 5, says: "no".to_owned() }).await.unwrap();
        tell.send(Refusal { stream: 7, says: String::new() }).await.unwrap();
        to.write_all(&message(&stream[at..])).await.unwrap();
        drop(to);
        answered.read_to_end(&mut got).await.unwrap();
        let said = |stream: u32, said: &str| (stream, said.to_owned());
        let mut expected = vec![
            said(1, "reply with 1"),
            said(1, "abcdef"),
            said(3, "reply with 1"),
            said(3, "last: end"),
            said(5, "reply with 0"),
            said(5, "last: no"),
            said(7, "reply with 0"),
            said(7, "last: "),
        ];
        let mut read = seen(&got);
        assert_eq!(read[..2], expected[..2], "the frame that had begun");
        read.sort();
        expected.sort();
        assert_eq!(read, expected);
    }

    #[tokio::test]
    async fn what_cannot_be_read_breaks_the_stream() {
        let mut strange = Vec::new();
        write_frame(&mut strange, 2, None, &[0x80, 3, 0, 1, 0, 0, 0, 0]);
        let error = Answered::new(strange.as_slice(), Some(mpsc::channel(1).1)).read(&mut [0; 64]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        let mut whole = Vec::new();
        Answered::new(strange.as_slice(), None).read_to_end(&mut whole).await.unwrap();
        assert_eq!(whole, strange, "it passes where nothing is followed");
    }
}
