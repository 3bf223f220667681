//! SPDY/3.1, as far as a port-forward has it: its frames, and the headers in them
//! (<https://www.chromium.org/spdy/spdy-protocol/spdy-protocol-draft3-1/>, section 2).
//!
//! All headers of one direction are one compressed stream. So whoever leaves a frame out has to compress those of all others
//! again. Nothing of the data in the streams is held.

use std::sync::LazyLock;

use zlib_rs::{Deflate, DeflateFlush, Inflate, InflateError, InflateFlush, Status};

use super::Unclear;

/// Where a stream of frames stands.
#[derive(Default)]
pub(super) struct Spdy {
    /// The bytes of the present frame's header, while it is not whole.
    head: Vec<u8>,
    frame: Option<Frame>,
}

/// A frame whose header is known.
struct Frame {
    head: [u8; HEAD],
    /// How many bytes of it are to come.
    left: usize,
    /// What has come of a control frame; `None` for data.
    body: Option<Vec<u8>>,
}

/// What passes.
pub(super) enum Part<'a> {
    /// A control frame, whole.
    Control(Control),
    /// The header of a frame with data.
    Data([u8; HEAD]),
    /// Some of its data.
    Piece(&'a [u8]),
}

/// A control frame of version 3.
pub(super) struct Control {
    pub(super) kind: u16,
    pub(super) flags: u8,
    pub(super) body: Vec<u8>,
}

impl Spdy {
    /// Whether a frame may begin here.
    pub(super) fn is_between(&self) -> bool {
        self.head.is_empty() && self.frame.is_none()
    }

    /// Takes what passes, and shows it frame by frame.
    pub(super) fn take(
        &mut self,
        mut bytes: &[u8],
        mut show: impl FnMut(Part<'_>) -> Result<(), Unclear>,
    ) -> Result<(), Unclear> {
        while let Some((first, rest)) = bytes.split_first() {
            let mut frame = match self.frame.take() {
                Some(frame) => frame,
                None => {
                    self.head.push(*first);
                    bytes = rest;
                    let Ok(head) = <[u8; HEAD]>::try_from(self.head.as_slice()) else { continue };
                    self.head.clear();
                    let frame = Frame::of(head)?;
                    if frame.body.is_none() {
                        show(Part::Data(head))?;
                    }
                    frame
                }
            };
            let (taken, rest) = bytes.split_at_checked(frame.left).unwrap_or((bytes, &[]));
            bytes = rest;
            frame.left = frame.left.saturating_sub(taken.len());
            match &mut frame.body {
                Some(body) => body.extend_from_slice(taken),
                None if taken.is_empty() => {}
                None => show(Part::Piece(taken))?,
            }
            if frame.left > 0 {
                self.frame = Some(frame);
            } else if let Some(body) = frame.body {
                let [_, _, high, low, flags, ..] = frame.head;
                show(Part::Control(Control { kind: u16::from_be_bytes([high, low]), flags, body }))?;
            }
        }
        Ok(())
    }
}

impl Frame {
    fn of(head: [u8; HEAD]) -> Result<Self, Unclear> {
        let [first, second, .., a, b, c] = head;
        let left = usize::try_from(u32::from_be_bytes([0, a, b, c])).map_err(|_| Unclear)?;
        if first & 0x80 == 0 {
            return Ok(Self { head, left, body: None });
        }
        let is_known = [first & 0x7f, second] == [0, 3] && left <= LONGEST_CONTROL;
        is_known.then(|| Self { head, left, body: Some(Vec::with_capacity(left)) }).ok_or(Unclear)
    }
}

impl Control {
    /// The frame as it stands on the wire.
    pub(super) fn bytes(&self) -> Result<Vec<u8>, Unclear> {
        let [high, low] = self.kind.to_be_bytes();
        let [a, b, c] = length(&self.body)?;
        Ok([&[0x80, 3, high, low, self.flags, a, b, c], self.body.as_slice()].concat())
    }
}

/// A frame with all of these data, the last ones of their stream.
pub(super) fn last_data(stream: u32, data: &[u8]) -> Result<Vec<u8>, Unclear> {
    let [a, b, c] = length(data)?;
    Ok([&stream.to_be_bytes(), [FIN, a, b, c].as_slice(), data].concat())
}

fn length(body: &[u8]) -> Result<[u8; 3], Unclear> {
    match u32::try_from(body.len()).map(u32::to_be_bytes) {
        Ok([0, a, b, c]) => Ok([a, b, c]),
        _ => Err(Unclear),
    }
}

/// The headers of one direction.
pub(super) struct Headers {
    inflate: Inflate,
    deflate: Deflate,
}

impl Default for Headers {
    fn default() -> Self {
        Self { inflate: Inflate::new(true, 15), deflate: Deflate::new(6, true, 15) }
    }
}

impl Headers {
    /// The headers of a block. All blocks of a connection are one compressed stream.
    pub(super) fn inflated(&mut self, block: &[u8]) -> Result<Vec<u8>, Unclear> {
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

    /// A block of these headers, for the other end.
    pub(super) fn deflated(&mut self, plain: &[u8]) -> Result<Vec<u8>, Unclear> {
        let (read_before, written_before) = (self.deflate.total_in(), self.deflate.total_out());
        if read_before == 0 {
            self.deflate.set_dictionary(&DICTIONARY).map_err(|_| Unclear)?;
        }
        let mut block = vec![0; plain.len() + BLOCK_OVERHEAD];
        let done = self.deflate.compress(plain, &mut block, DeflateFlush::SyncFlush);
        let read = usize::try_from(self.deflate.total_in() - read_before).ok();
        if !matches!(done, Ok(Status::Ok)) || read != Some(plain.len()) {
            return Err(Unclear);
        }
        block.truncate(usize::try_from(self.deflate.total_out() - written_before).map_err(|_| Unclear)?);
        Ok(block)
    }
}

/// The header of a frame, in bytes.
pub(super) const HEAD: usize = 8;

pub(super) const SYN_STREAM: u16 = 1;
pub(super) const SYN_REPLY: u16 = 2;
pub(super) const RST_STREAM: u16 = 3;
pub(super) const SETTINGS: u16 = 4;
pub(super) const PING: u16 = 6;
pub(super) const GOAWAY: u16 = 7;
pub(super) const HEADERS: u16 = 8;
pub(super) const WINDOW_UPDATE: u16 = 9;

/// The flag of a frame that is the last one of its stream from this side.
pub(super) const FIN: u8 = 1;

/// What stands before the headers, in bytes: in a SYN_STREAM the ids of the stream and of its parent, and the priority; in a
/// SYN_REPLY or HEADERS the id of the stream.
pub(super) const BEFORE_HEADERS: usize = 10;
pub(super) const BEFORE_HEADERS_OF_REPLY: usize = 4;

/// The longest control frame, and the longest headers in one, in bytes: kubectl's have under 100.
pub(super) const LONGEST_CONTROL: usize = 4096;
pub(super) const LONGEST_HEADERS: usize = 4096;

/// By how much compression can lengthen a block that is as long as [`LONGEST_HEADERS`], in bytes, with its flush.
const BLOCK_OVERHEAD: usize = 256;

/// The dictionary of SPDY/3 (section 2.6.10.1): words, each after its length, then text. The compressed stream names its
/// checksum.
pub(super) static DICTIONARY: LazyLock<Vec<u8>> = LazyLock::new(|| {
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
