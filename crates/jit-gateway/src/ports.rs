//! The ports of a port-forward, as its streams ask for them: SPDY/3.1 in a WebSocket, as kubectl speaks it.
//!
//! ```text
//!  frames of the WebSocket ─► frames of SPDY ─► SYN_STREAM ─► its headers, decompressed ─► the header `port`
//! ```
//! Only what the client sends is read. Whatever the kubelet's library (`moby/spdystream`) could read in another way is an error,
//! because a port that it reads there would pass unseen: a frame of another length than its kind has, bytes of a block that
//! belong to no header, a header twice. Nothing of the data in the streams is held.

use std::sync::LazyLock;

use zlib_rs::{Inflate, InflateError, InflateFlush, Status};

use crate::frames::Frames;

/// What a client sends in a port-forward.
#[derive(Default)]
pub(crate) struct Ports {
    frames: Frames,
    spdy: Spdy,
}

/// Why a port-forward cannot be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its streams have a form that nobody may use")]
pub(crate) struct Unclear;

impl Ports {
    /// Takes what passes, and returns the ports of the streams that begin in it.
    ///
    /// # Errors
    /// [`Unclear`]; it must not pass, and nothing after it.
    pub(crate) fn see(&mut self, bytes: &[u8]) -> Result<Vec<u16>, Unclear> {
        let (mut ports, mut read, mut room) = (Vec::new(), Ok(()), Vec::new());
        let spdy = &mut self.spdy;
        let framed = self.frames.take(bytes, |piece| {
            if read.is_ok() {
                read = spdy.take(piece.payload.plain(&mut room), &mut ports);
            }
        });
        framed.map_err(|_| Unclear)?;
        read.map(|()| ports)
    }
}

/// Where a stream of SPDY frames stands
/// (<https://www.chromium.org/spdy/spdy-protocol/spdy-protocol-draft3-1/>, section 2.2).
struct Spdy {
    /// The bytes of the present frame's header, while it is not whole.
    head: Vec<u8>,
    frame: Option<Frame>,
    inflate: Inflate,
}

/// A frame whose header is known.
struct Frame {
    /// How many bytes of it are to come.
    left: usize,
    /// What has come of a SYN_STREAM; `None` for frames that nobody has to read.
    opens: Option<Vec<u8>>,
}

impl Default for Spdy {
    fn default() -> Self {
        Self { head: Vec::with_capacity(HEAD), frame: None, inflate: Inflate::new(true, 15) }
    }
}

impl Spdy {
    fn take(&mut self, mut bytes: &[u8], ports: &mut Vec<u16>) -> Result<(), Unclear> {
        while let Some((first, rest)) = bytes.split_first() {
            let mut frame = match self.frame.take() {
                Some(frame) => frame,
                None => {
                    self.head.push(*first);
                    bytes = rest;
                    let Ok(head) = <[u8; HEAD]>::try_from(self.head.as_slice()) else { continue };
                    self.head.clear();
                    Frame::of(head)?
                }
            };
            let (taken, rest) = bytes.split_at_checked(frame.left).unwrap_or((bytes, &[]));
            bytes = rest;
            frame.left = frame.left.saturating_sub(taken.len());
            if let Some(opens) = &mut frame.opens {
                opens.extend_from_slice(taken);
            }
            if frame.left > 0 {
                self.frame = Some(frame);
            } else if let Some(opens) = frame.opens {
                // The ids of the stream and of its parent, and the priority, come before the headers.
                let block = opens.get(BEFORE_HEADERS..).ok_or(Unclear)?;
                ports.push(port(&self.inflated(block)?)?);
            }
        }
        Ok(())
    }

    /// The headers of a block. All blocks of a connection are one compressed stream.
    fn inflated(&mut self, block: &[u8]) -> Result<Vec<u8>, Unclear> {
        let mut plain = vec![0; LONGEST_HEADERS];
        let (read_before, written_before) = (self.inflate.total_in(), self.inflate.total_out());
        let since = |total: u64, before: u64| usize::try_from(total - before).map_err(|_| Unclear);
        loop {
            let read = since(self.inflate.total_in(), read_before)?;
            let written = since(self.inflate.total_out(), written_before)?;
            let input = block.get(read..).unwrap_or_default();
            let room = plain.get_mut(written..).unwrap_or_default();
            if room.is_empty() {
                return Err(Unclear);
            }
            if input.is_empty() {
                plain.truncate(written);
                return Ok(plain);
            }
            match self.inflate.decompress(input, room, InflateFlush::SyncFlush) {
                Ok(Status::Ok) => {}
                Err(InflateError::NeedDict { .. }) => {
                    self.inflate.set_dictionary(&DICTIONARY).map_err(|_| Unclear)?;
                }
                // The stream lasts as long as the connection.
                Ok(Status::StreamEnd | Status::BufError) | Err(_) => return Err(Unclear),
            }
        }
    }
}

impl Frame {
    /// Reads the header of a frame: of data, or of a control frame of version 3. Answers, settings and more headers of a stream
    /// are nothing that a client of a port-forward sends.
    fn of([first, second, kind @ .., a, b, c]: [u8; HEAD]) -> Result<Self, Unclear> {
        let [high, low, _flags] = kind;
        let left = usize::try_from(u32::from_be_bytes([0, a, b, c])).map_err(|_| Unclear)?;
        if first & 0x80 == 0 {
            return Ok(Self { left, opens: None });
        }
        if [first & 0x7f, second] != [0, 3] {
            return Err(Unclear);
        }
        match (u16::from_be_bytes([high, low]), left) {
            (SYN_STREAM, BEFORE_HEADERS..=LONGEST_BLOCK) => Ok(Self { left, opens: Some(Vec::with_capacity(left)) }),
            (RST_STREAM | GOAWAY | WINDOW_UPDATE, 8) | (PING, 4) => Ok(Self { left, opens: None }),
            _ => Err(Unclear),
        }
    }
}

/// The port that the headers of a stream name: how many headers there are, then length and text of each name and value.
fn port(mut headers: &[u8]) -> Result<u16, Unclear> {
    let count = number(&mut headers)?;
    let mut names: Vec<&[u8]> = Vec::new();
    let mut port = None;
    for _ in 0..count {
        let (name, value) = (text(&mut headers)?, text(&mut headers)?);
        let is_plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b':');
        if names.contains(&name) || name.is_empty() || !name.iter().all(is_plain) {
            return Err(Unclear);
        }
        names.push(name);
        if name == b"port" {
            port = std::str::from_utf8(value).ok().and_then(decimal);
        }
    }
    // What is left over the library would read as the beginning of the next block.
    if headers.is_empty() { port.ok_or(Unclear) } else { Err(Unclear) }
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

/// The header of a frame, in bytes.
const HEAD: usize = 8;

const SYN_STREAM: u16 = 1;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const WINDOW_UPDATE: u16 = 9;

/// What stands in a SYN_STREAM before its headers, in bytes.
const BEFORE_HEADERS: usize = 10;

/// The longest SYN_STREAM, and the longest headers in one, in bytes: kubectl's have under 100.
const LONGEST_BLOCK: usize = 4096;
const LONGEST_HEADERS: usize = 4096;

/// The dictionary of SPDY/3 (section 2.6.10.1): words, each after its length, then text. The compressed stream names its
/// checksum.
static DICTIONARY: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let word = |word: &&str| [&u32::try_from(word.len()).unwrap_or_default().to_be_bytes(), word.as_bytes()].concat();
    let mut bytes: Vec<u8> = DICTIONARY_WORDS.iter().flat_map(word).collect();
    bytes.extend_from_slice(DICTIONARY_TEXT.as_bytes());
    bytes
});

#[rustfmt::skip]
const DICTIONARY_WORDS: &[&str] = &[
    "options", "head", "post", "put", "delete", "trace", "accept", "accept-charset", "accept-encoding",
    "accept-language", "accept-ranges", "age", "allow", "authorization", "cache-control", "connection",
    "content-base", "content-encoding", "content-language", "content-length", "content-location", "content-md5",
    "content-range", "content-type", "date", "etag", "expect", "expires", "from", "host", "if-match",
    "if-modified-since", "if-none-match", "if-range", "if-unmodified-since", "last-modified", "location",
    "max-forwards", "pragma", "proxy-authenticate", "proxy-authorization", "range", "referer", "retry-after",
    "server", "te", "trailer", "transfer-encoding", "upgrade", "user-agent", "vary", "via", "warning",
    "www-authenticate", "method", "get", "status", "200 OK", "version", "HTTP/1.1", "url", "public", "set-cookie",
    "keep-alive", "origin",
];

const DICTIONARY_TEXT: &str = "\
    100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 Non-Authoritativ\
    e Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 Not Found500 I\
    nternal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov De\
    c 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/x\
    ml,application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset\
    =iso-8859-1,utf-,*,enq=0.";

#[cfg(test)]
mod tests {
    use zlib_rs::{Deflate, DeflateFlush};

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
            let block = self.compressed(plain, DeflateFlush::SyncFlush);
            control(SYN_STREAM, &[&[0; BEFORE_HEADERS], block.as_slice()].concat())
        }
    }

    fn control(kind: u16, body: &[u8]) -> Vec<u8> {
        let [high, low] = kind.to_be_bytes();
        let [_, a, b, c] = (body.len() as u32).to_be_bytes();
        [&[0x80, 3, high, low, 0, a, b, c], body].concat()
    }

    fn data(body: &[u8]) -> Vec<u8> {
        let [_, a, b, c] = (body.len() as u32).to_be_bytes();
        [&[0, 0, 0, 1, 0, a, b, c], body].concat()
    }

    fn block(pairs: &[(&str, &str)]) -> Vec<u8> {
        let text = |text: &str| [&(text.len() as u32).to_be_bytes(), text.as_bytes()].concat();
        let each = pairs.iter().flat_map(|(name, value)| [text(name), text(value)].concat());
        (pairs.len() as u32).to_be_bytes().into_iter().chain(each).collect()
    }

    /// What kubectl sends for one connection to a port.
    fn forward(client: &mut Client, port: &str) -> Vec<u8> {
        let stream = |kind| block(&[("streamtype", kind), ("port", port), ("requestid", "0")]);
        [client.opens(&stream("error")), data(b""), client.opens(&stream("data")), data(&[7; 3000])].concat()
    }

    fn seen(bytes: &[u8]) -> Result<Vec<u16>, Unclear> {
        let mut ports = Vec::new();
        Spdy::default().take(bytes, &mut ports).map(|()| ports)
    }

    /// In whatever pieces it comes, and also in a WebSocket, masked.
    #[test]
    fn the_port_of_each_stream_is_seen() {
        let mut client = Client::new();
        let rest = [control(PING, &[0, 0, 0, 1]), control(RST_STREAM, &[1; 8]), control(GOAWAY, &[0; 8])].concat();
        let all = [forward(&mut client, "8080"), rest, forward(&mut client, "9090")].concat();
        assert_eq!(seen(&all), Ok(vec![8080, 8080, 9090, 9090]));
        for size in [1, 7, 8, 9, 1000] {
            let (mut spdy, mut ports) = (Spdy::default(), Vec::new());
            all.chunks(size).for_each(|piece| spdy.take(piece, &mut ports).unwrap());
            assert_eq!(ports, [8080, 8080, 9090, 9090], "{size}");
        }
        let mut follow = Ports::default();
        let mut ports = Vec::new();
        for piece in all.chunks(100) {
            let key = [1, 2, 3, 4];
            let masked: Vec<u8> = piece.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
            let frame = [&[0x82, 0x80 | piece.len() as u8], key.as_slice(), &masked].concat();
            ports.extend(follow.see(&frame).unwrap());
        }
        assert_eq!(ports, [8080, 8080, 9090, 9090]);
        assert_eq!(follow.see(&[0x82, 0x85, 0, 0, 0, 0]).map(|ports| ports.len()), Ok(0));
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
            control(SYN_STREAM, &[0; LONGEST_BLOCK + 1]),
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
        let mut follow = Ports::default();
        assert_eq!(follow.see(&[0xf2, 0x80, 0, 0, 0, 0]), Err(Unclear), "a compressed message");
    }

    proptest::proptest! {
        /// Whatever comes, it is read or refused.
        #[test]
        fn no_bytes_are_too_strange(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            let _ = seen(&bytes);
            let _ = seen(&control(SYN_STREAM, &bytes));
            let _ = Ports::default().see(&bytes);
        }
    }
}
