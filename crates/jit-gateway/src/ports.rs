//! The ports of a port-forward, as its streams ask for them: SPDY/3.1 in a WebSocket, as kubectl speaks it.
//!
//! ```text
//!  client ─► messages ─► frames of SPDY ─► SYN_STREAM ─► its headers, decompressed ─► the header `port` ─► allowed: on to the
//!                                                                                          │               API server
//!  client ◄── `answers` ◄── a reply, and why, on the stream for errors ◄── refused ◄───────┘
//! ```
//! A refused stream never reaches the API server, nor does anything in it; all others pass. Whatever the kubelet's library
//! (`moby/spdystream`) could read in another way is an error, because a port that it reads there would pass unseen: a frame of
//! another length than its kind has, bytes of a block that belong to no header, a header twice. Nothing of the data in the
//! streams is held.

mod answers;
mod spdy;

use std::collections::BTreeSet;

use jit_dial::provider;

pub(crate) use self::answers::{Answered, Refusal};
use self::spdy::{
    BEFORE_HEADERS, Control, FIN, GOAWAY, Headers, PING, Part, RST_STREAM, SYN_STREAM, Spdy, WINDOW_UPDATE,
};
use crate::frames::{Frames, Passing, write_frame};

/// What a client sends in a port-forward.
#[derive(Default)]
pub(crate) struct Ports {
    messages: Messages,
    spdy: Spdy,
    streams: Streams,
}

/// What was seen of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// What is to be sent on in its place.
    pub(crate) passes: Vec<u8>,
    /// The streams that are not.
    pub(crate) refused: Vec<Refused>,
}

/// A stream to a port that is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) stream: u32,
    pub(crate) port: u16,
    /// It carries errors to the client, and not data.
    pub(crate) is_for_errors: bool,
}

/// Why a port-forward cannot be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its streams have a form that nobody may use")]
pub(crate) struct Unclear;

impl Ports {
    /// Takes what the client sends, and returns what passes of it.
    ///
    /// # Errors
    /// [`Unclear`]; nothing of it must pass, and nothing after it.
    pub(crate) fn see(&mut self, bytes: &[u8], allows: impl Fn(u16) -> bool) -> Result<Seen, Unclear> {
        let Self { messages, spdy, streams } = self;
        let mut refused = Vec::new();
        let passes = messages.rewrite(bytes, Some(key()), |content, on| {
            spdy.take(content, |part| streams.judge(part, &allows, on, &mut refused))
        })?;
        Ok(Seen { passes, refused })
    }
}

/// A key for what is sent to a server (RFC 6455, section 5.3). It protects proxies from what pages let a browser send; nothing
/// depends on it here.
fn key() -> [u8; 4] {
    let mut key = [0; 4];
    let _ = provider().secure_random.fill(&mut key);
    key
}

/// The messages of a WebSocket, which are written anew. Their contents are one stream of bytes, wherever a message ends
/// (client-go `tools/portforward/tunneling_connection.go`).
#[derive(Default)]
struct Messages {
    frames: Frames,
    /// What has come of a ping, a pong or a close.
    control: Vec<u8>,
}

impl Messages {
    /// The same messages with what `content` writes in the place of their contents. A client's have a key.
    fn rewrite(
        &mut self,
        bytes: &[u8],
        key: Option<[u8; 4]>,
        mut content: impl FnMut(&[u8], &mut Vec<u8>) -> Result<(), Unclear>,
    ) -> Result<Vec<u8>, Unclear> {
        let Self { frames, control } = self;
        let (mut written, mut stream, mut read) = (Vec::new(), Vec::new(), Ok(()));
        let mut room = Vec::new();
        let framed = frames.take_each(bytes, |passing| match passing {
            _ if read.is_err() => {}
            Passing::Message(piece) => read = content(piece.payload.plain(&mut room), &mut stream),
            Passing::Control { opcode, payload, is_last } => {
                control.extend_from_slice(payload.plain(&mut room));
                if is_last {
                    write_message(&mut written, key, &mut stream);
                    write_frame(&mut written, opcode, key, control);
                    control.clear();
                }
            }
        });
        framed.map_err(|_| Unclear)?;
        read?;
        write_message(&mut written, key, &mut stream);
        Ok(written)
    }
}

/// Writes a binary message, unless it would be empty.
fn write_message(to: &mut Vec<u8>, key: Option<[u8; 4]>, content: &mut Vec<u8>) {
    if !content.is_empty() {
        write_frame(to, 2, key, content);
        content.clear();
    }
}

/// The streams of a client.
#[derive(Default)]
struct Streams {
    headers: Headers,
    /// Those that were refused and that the client has not ended yet.
    refused: BTreeSet<u32>,
    /// The present data are those of a refused stream.
    is_left_out: bool,
}

impl Streams {
    /// Writes `on` what of a part passes.
    fn judge(
        &mut self,
        part: Part<'_>,
        allows: &impl Fn(u16) -> bool,
        on: &mut Vec<u8>,
        refused: &mut Vec<Refused>,
    ) -> Result<(), Unclear> {
        match part {
            Part::Data(head) => {
                let [a, b, c, d, flags, ..] = head;
                let stream = u32::from_be_bytes([a, b, c, d]);
                self.is_left_out = self.refused.contains(&stream);
                if !self.is_left_out {
                    on.extend_from_slice(&head);
                } else if flags & FIN != 0 {
                    self.refused.remove(&stream);
                }
            }
            Part::Piece(_) if self.is_left_out => {}
            Part::Piece(bytes) => on.extend_from_slice(bytes),
            Part::Control(control) => match (control.kind, control.body.len()) {
                (SYN_STREAM, BEFORE_HEADERS..) => self.begin(control, allows, on, refused)?,
                (RST_STREAM, 8) if self.refused.remove(&stream_of(&control.body)?) => {}
                (WINDOW_UPDATE, 8) if self.refused.contains(&stream_of(&control.body)?) => {}
                (RST_STREAM | GOAWAY | WINDOW_UPDATE, 8) | (PING, 4) => on.extend(control.bytes()?),
                // Answers, settings and more headers of a stream are nothing that a client of a port-forward sends.
                _ => return Err(Unclear),
            },
        }
        Ok(())
    }

    fn begin(
        &mut self,
        control: Control,
        allows: &impl Fn(u16) -> bool,
        on: &mut Vec<u8>,
        refused: &mut Vec<Refused>,
    ) -> Result<(), Unclear> {
        let (before, block) = control.body.split_at_checked(BEFORE_HEADERS).ok_or(Unclear)?;
        let stream = stream_of(before)?;
        let plain = self.headers.inflated(block)?;
        let (port, is_for_errors) = asked(&plain)?;
        if allows(port) {
            self.refused.remove(&stream);
            let body = [before, &self.headers.deflated(&plain)?].concat();
            on.extend(Control { body, ..control }.bytes()?);
            return Ok(());
        }
        if control.flags & FIN == 0 {
            self.refused.insert(stream);
        }
        if self.refused.len() > MOST_REFUSED {
            return Err(Unclear);
        }
        refused.push(Refused { stream, port, is_for_errors });
        Ok(())
    }
}

/// At most so many refused streams that the client does not end: kubectl ends each at once.
const MOST_REFUSED: usize = 1000;

/// The stream that a control frame is about.
fn stream_of(mut body: &[u8]) -> Result<u32, Unclear> {
    number(&mut body)
}

/// The port that the headers of a stream name, and whether the stream carries errors: how many headers there are, then length
/// and text of each name and value.
fn asked(mut headers: &[u8]) -> Result<(u16, bool), Unclear> {
    let count = number(&mut headers)?;
    let mut names: Vec<&[u8]> = Vec::new();
    let (mut port, mut is_for_errors) = (None, false);
    for _ in 0..count {
        let (name, value) = (text(&mut headers)?, text(&mut headers)?);
        let is_plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b':');
        if names.contains(&name) || name.is_empty() || !name.iter().all(is_plain) {
            return Err(Unclear);
        }
        names.push(name);
        match name {
            b"port" => port = std::str::from_utf8(value).ok().and_then(decimal),
            b"streamtype" => is_for_errors = value == b"error",
            _ => {}
        }
    }
    // What is left over the library would read as the beginning of the next block.
    if headers.is_empty() { Ok((port.ok_or(Unclear)?, is_for_errors)) } else { Err(Unclear) }
}

/// A port in decimal digits, as Go's `strconv.ParseUint` reads it.
pub(crate) fn decimal(text: &str) -> Option<u16> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn number(from: &mut &[u8]) -> Result<u32, Unclear> {
    let (number, rest) = from.split_first_chunk().ok_or(Unclear)?;
    *from = rest;
    Ok(u32::from_be_bytes(*number))
}

fn text<'a>(from: &mut &'a [u8]) -> Result<&'a [u8], Unclear> {
    let length = usize::try_from(number(from)?).map_err(|_| Unclear)?;
    let (text, rest) = from.split_at_checked(length).ok_or(Unclear)?;
    *from = rest;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use zlib_rs::{Deflate, DeflateFlush};

    use super::spdy::{DICTIONARY, LONGEST_CONTROL, LONGEST_HEADERS};
    use super::*;

    /// The client's end, which compresses the headers of all its streams in one go.
    struct Client(Deflate);

    impl Client {
        fn new() -> Self {
            let mut deflate = Deflate::new(6, true, 15);
            deflate.set_dictionary(&DICTIONARY).unwrap();
            Self(deflate)
        }

        fn compressed(&mut self, plain: &[u8], flush: DeflateFlush) -> Vec<u8> {
            let mut block = vec![0; plain.len() + 256];
            let before = self.0.total_out();
            self.0.compress(plain, &mut block, flush).unwrap();
            block.truncate((self.0.total_out() - before) as usize);
            block
        }

        fn opens(&mut self, plain: &[u8]) -> Vec<u8> {
            self.opens_as(0, plain)
        }

        fn opens_as(&mut self, stream: u32, plain: &[u8]) -> Vec<u8> {
            let block = self.compressed(plain, DeflateFlush::SyncFlush);
            let before = [&stream.to_be_bytes()[..], &[0; BEFORE_HEADERS - 4]].concat();
            control(SYN_STREAM, &[before, block].concat())
        }
    }

    fn control(kind: u16, body: &[u8]) -> Vec<u8> {
        let [high, low] = kind.to_be_bytes();
        let [_, a, b, c] = (body.len() as u32).to_be_bytes();
        [&[0x80, 3, high, low, 0, a, b, c], body].concat()
    }

    fn data(stream: u32, body: &[u8]) -> Vec<u8> {
        let [_, a, b, c] = (body.len() as u32).to_be_bytes();
        [&stream.to_be_bytes(), [0, a, b, c].as_slice(), body].concat()
    }

    fn block(pairs: &[(&str, &str)]) -> Vec<u8> {
        let text = |text: &str| [&(text.len() as u32).to_be_bytes(), text.as_bytes()].concat();
        let each = pairs.iter().flat_map(|(name, value)| [text(name), text(value)].concat());
        (pairs.len() as u32).to_be_bytes().into_iter().chain(each).collect()
    }

    /// What kubectl sends for one connection to a port: a stream for errors, and the next one for data.
    fn forward(client: &mut Client, stream: u32, port: &str) -> Vec<u8> {
        let headers = |kind| block(&[("streamtype", kind), ("port", port), ("requestid", "0")]);
        let errors = client.opens_as(stream, &headers("error"));
        let opened = client.opens_as(stream + 2, &headers("data"));
        [errors, data(stream, b""), opened, data(stream + 2, &[7; 3000])].concat()
    }

    /// In a WebSocket, masked.
    fn sent(bytes: &[u8]) -> Vec<u8> {
        let mut message = Vec::new();
        write_frame(&mut message, 2, Some([1, 2, 3, 4]), bytes);
        message
    }

    /// The ports that are asked for.
    fn seen(bytes: &[u8]) -> Result<Vec<u16>, Unclear> {
        let ports = RefCell::new(Vec::new());
        let allow_all = |port| {
            ports.borrow_mut().push(port);
            true
        };
        Ports::default().see(&sent(bytes), allow_all).map(|_| ports.into_inner())
    }

    /// What the API server reads of all that passes: the streams that begin with their ports, and their data.
    fn arrives(messages: &[u8]) -> Vec<String> {
        let (mut spdy, mut headers, mut stream, mut seen) =
            (Spdy::default(), Headers::default(), Vec::new(), Vec::new());
        Frames::default()
            .take(messages, |piece| stream.extend_from_slice(piece.payload.plain(&mut Vec::new())))
            .unwrap();
        let read = spdy.take(&stream, |part| {
            match part {
                Part::Control(control) if control.kind == SYN_STREAM => {
                    let plain = headers.inflated(&control.body[BEFORE_HEADERS..])?;
                    seen.push(format!("{} to {:?}", stream_of(&control.body)?, asked(&plain)?));
                }
                Part::Control(control) => seen.push(format!("{} of {}", control.kind, stream_of(&control.body)?)),
                Part::Data(head) => seen.push(format!("data of {}:", stream_of(&head)?)),
                Part::Piece(bytes) => *seen.last_mut().unwrap() += &format!(" {}", bytes.len()),
            }
            Ok(())
        });
        read.unwrap();
        seen
    }

    /// In whatever pieces it comes, each port is seen, and everything arrives as it was sent.
    #[test]
    fn the_port_of_each_stream_is_seen() {
        let mut client = Client::new();
        let rest = [control(PING, &[0, 0, 0, 1]), control(RST_STREAM, &[0; 8]), control(GOAWAY, &[0; 8])].concat();
        let first = [forward(&mut client, 1, "8080"), rest].concat();
        let mut all = sent(&first);
        write_frame(&mut all, 9, Some([5; 4]), b"ping");
        all.extend(sent(&forward(&mut client, 5, "9090")));
        write_frame(&mut all, 8, Some([0; 4]), &[3, 0xe8]);
        for size in [1, 7, 8, 9, 1000, 10_000] {
            let (mut follow, ports, mut passed) = (Ports::default(), RefCell::new(Vec::new()), Vec::new());
            for piece in all.chunks(size) {
                let allow = |port| {
                    ports.borrow_mut().push(port);
                    true
                };
                let seen = follow.see(piece, allow).unwrap();
                assert_eq!(seen.refused, []);
                passed.extend(seen.passes);
            }
            assert_eq!(ports.into_inner(), [8080, 8080, 9090, 9090], "{size}");
            let mut controls = Vec::new();
            let framed = Frames::default().take_each(&passed, |passing| {
                if let Passing::Control { opcode, payload, .. } = passing {
                    controls.push((opcode, payload.plain(&mut Vec::new()).to_vec()));
                }
            });
            framed.unwrap();
            assert_eq!(controls, [(9, b"ping".to_vec()), (8, vec![3, 0xe8])]);
            let arrived = arrives(&passed);
            assert_eq!(arrived.len(), 11, "{arrived:?}");
            assert_eq!((arrived[0].as_str(), arrived[2].as_str()), ("1 to (8080, true)", "3 to (8080, false)"));
            assert_eq!((arrived[7].as_str(), arrived[9].as_str()), ("5 to (9090, true)", "7 to (9090, false)"));
        }
    }

    /// Nothing of a refused stream arrives, and all of the others, although their headers are compressed together.
    #[test]
    fn a_refused_stream_is_left_out() {
        let mut client = Client::new();
        let close = |stream: u8| [&[0, 0, 0, stream, FIN], [0; 3].as_slice()].concat();
        let reset = |stream: u8| control(RST_STREAM, &[0, 0, 0, stream, 0, 0, 0, 5]);
        let all = [
            forward(&mut client, 1, "8080"),
            forward(&mut client, 5, "9090"),
            close(5),
            reset(7),
            forward(&mut client, 9, "8080"),
            reset(9),
        ]
        .concat();
        for size in [1, 9, 100, 10_000] {
            let (mut follow, mut passed, mut refused) = (Ports::default(), Vec::new(), Vec::new());
            for piece in sent(&all).chunks(size) {
                let seen = follow.see(piece, |port| port == 8080).unwrap();
                passed.extend(seen.passes);
                refused.extend(seen.refused.iter().map(|one| (one.stream, one.port, one.is_for_errors)));
            }
            assert_eq!(refused, [(5, 9090, true), (7, 9090, false)], "{size}");
            let arrived = arrives(&passed);
            let begins = ["5 to", "7 to", "data of 5", "data of 7", "3 of 5", "3 of 7"];
            let of_refused = |line: &&String| begins.iter().any(|begin| line.starts_with(begin));
            assert_eq!(arrived.iter().find(of_refused), None, "{arrived:?}");
            assert_eq!(arrived.iter().filter(|line| line.contains("to (8080")).count(), 4, "{arrived:?}");
            assert_eq!(arrived.last().unwrap(), "3 of 9", "{arrived:?}");
            assert!(follow.streams.refused.is_empty());
        }
        // An id that is used again is another stream.
        let (mut client, mut follow) = (Client::new(), Ports::default());
        follow.see(&sent(&forward(&mut client, 1, "9090")), |port| port == 8080).unwrap();
        let again = follow.see(&sent(&forward(&mut client, 1, "8080")), |port| port == 8080).unwrap();
        assert_eq!(arrives(&again.passes).len(), 4);
    }

    /// Refusals that nobody ends do not take memory without end.
    #[test]
    fn too_many_refused_streams_end_it() {
        let (mut client, mut follow) = (Client::new(), Ports::default());
        let port = block(&[("streamtype", "data"), ("port", "9090")]);
        let open = |client: &mut Client, stream: u32| {
            let opened = client.opens_as(stream, &port);
            sent(&opened)
        };
        let most = u32::try_from(MOST_REFUSED).unwrap();
        for stream in 1..=most {
            assert_eq!(follow.see(&open(&mut client, stream), |_| false).map(|seen| seen.refused.len()), Ok(1));
        }
        assert_eq!(follow.see(&open(&mut client, most + 1), |_| false), Err(Unclear));
    }

    #[test]
    fn headers_that_could_be_read_in_two_ways_are_refused() {
        let port = ("port", "8080");
        for pairs in [
            &[][..],
            &[("streamtype", "data")],
            &[port, port],
            &[("port", "9090"), port],
            &[("Port", "9090"), port],
            &[("port ", "9090"), port],
            &[("", "x"), port],
            &[("port", "8080\u{0}9090")],
            &[("port", "+8080")],
            &[("port", " 8080")],
            &[("port", "")],
            &[("port", "65536")],
            &[("port", "0x50")],
        ] {
            assert_eq!(seen(&Client::new().opens(&block(pairs))), Err(Unclear), "{pairs:?}");
        }
        let good = block(&[port]);
        assert_eq!(seen(&Client::new().opens(&good)), Ok(vec![8080]));
        assert_eq!(seen(&Client::new().opens(&block(&[("port", "008080")]))), Ok(vec![8080]), "Go reads it so");
        // More in the block than its headers: the library takes it for the beginning of the next one.
        let more = [good.as_slice(), &block(&[("port", "9090")])].concat();
        assert_eq!(seen(&Client::new().opens(&more)), Err(Unclear));
        assert_eq!(seen(&Client::new().opens(&good[..good.len() - 1])), Err(Unclear));
        let many = [100_000_u32.to_be_bytes().as_slice(), &good[4..]].concat();
        assert_eq!(seen(&Client::new().opens(&many)), Err(Unclear));
    }

    #[test]
    fn frames_that_hide_others_are_refused() {
        let mut client = Client::new();
        let good = block(&[("port", "8080")]);
        let ended = client.compressed(&good, DeflateFlush::Finish);
        let bomb = Client::new().opens(&block(&[("port", "8080"), ("x", &"0".repeat(LONGEST_HEADERS))]));
        let raw = [&[0; BEFORE_HEADERS], good.as_slice()].concat();
        let whole = Client::new().opens(&good);
        let mut of_version_2 = whole.clone();
        of_version_2[1] = 2;
        for wrong in [
            control(SYN_STREAM, &[&[0; BEFORE_HEADERS], ended.as_slice()].concat()),
            bomb,
            control(SYN_STREAM, &raw),
            control(SYN_STREAM, &[0; 9]),
            control(SYN_STREAM, &[0; LONGEST_CONTROL + 1]),
            of_version_2,
            control(2, &[0; 10]),
            control(4, &[0; 12]),
            control(8, &whole[8..]),
            control(5, &[]),
            control(10, &[0; 8]),
            control(PING, &[]),
            control(PING, &[0; 5]),
            control(RST_STREAM, &[0; 7]),
            control(GOAWAY, &[0; 12]),
            control(WINDOW_UPDATE, &[0; 4]),
        ] {
            assert_eq!(seen(&wrong), Err(Unclear), "{:x?}", &wrong[..8]);
        }
        let compressed = [0xf2, 0x80, 0, 0, 0, 0];
        assert_eq!(Ports::default().see(&compressed, |_| true), Err(Unclear), "a compressed message");
    }

    proptest::proptest! {
        /// Whatever comes, it is read or refused.
        #[test]
        fn no_bytes_are_too_strange(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            let _ = seen(&bytes);
            let _ = seen(&control(SYN_STREAM, &bytes));
            let _ = Ports::default().see(&bytes, |_| true);
        }
    }
}
