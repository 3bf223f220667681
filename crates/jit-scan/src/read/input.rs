//! The bytes of one input, decompressed, in a window that holds one object at a time.

use std::io::{self, Read};

use flate2::read::MultiGzDecoder;

use super::{ReadError, shown};

/// The longest object in bytes: etcd takes none that is larger than 1.5 MiB, and a document of YAML may be a list.
pub(super) const LONGEST: usize = 16 << 20;
/// The longest input in bytes, decompressed.
const MOST: u64 = 8 << 30;
const CHUNK: usize = 1 << 18;

/// Why reading ends.
#[derive(Debug)]
pub(super) enum Fault {
    Io(io::Error),
    Text { line: u64, why: String },
}

impl Fault {
    pub(super) fn text(line: u64, why: impl Into<String>) -> Self {
        Self::Text { line, why: why.into() }
    }

    /// The parser counts lines from the beginning of the object, which is on `line`.
    pub(super) fn json(line: u64, error: &serde_json::Error) -> Self {
        let inside = u64::try_from(error.line()).unwrap_or_default().saturating_sub(1);
        let text = error.to_string();
        let why = text.rsplit_once(" at line ").map_or(text.as_str(), |(why, _)| why);
        Self::text(line.saturating_add(inside), shown(why))
    }

    pub(super) fn of(self, source_name: String) -> ReadError {
        match self {
            Self::Io(why) => ReadError::Unreadable { source_name, why },
            Self::Text { line, why } => ReadError::Malformed { source_name, line, why },
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A window of the input. The first byte of the window is on `line`.
pub(super) struct Input<'r> {
    reader: Box<dyn Read + 'r>,
    buffer: Vec<u8>,
    start: usize,
    pub(super) line: u64,
    read: u64,
    is_ended: bool,
}

impl<'r> Input<'r> {
    /// Decompresses gzip, and refuses other encodings than UTF-8 by their first bytes.
    pub(super) fn open(mut reader: impl Read + 'r) -> Result<Self, Fault> {
        let mut first = Vec::new();
        reader.by_ref().take(3).read_to_end(&mut first)?;
        let is_gzip = first.starts_with(&[0x1f, 0x8b]);
        let rest = io::Cursor::new(first.clone()).chain(reader);
        if is_gzip {
            let mut unpacked = MultiGzDecoder::new(rest);
            let mut first = Vec::new();
            unpacked.by_ref().take(3).read_to_end(&mut first)?;
            return Self::plain(&first, io::Cursor::new(first.clone()).chain(unpacked));
        }
        Self::plain(&first, rest)
    }

    fn plain(first: &[u8], reader: impl Read + 'r) -> Result<Self, Fault> {
        if first.starts_with(&[0xff, 0xfe]) || first.starts_with(&[0xfe, 0xff]) {
            return Err(Fault::text(1, "is UTF-16; PowerShell writes UTF-8 with `Out-File -Encoding utf8`"));
        }
        let mut input =
            Self { reader: Box::new(reader), buffer: Vec::new(), start: 0, line: 1, read: 0, is_ended: false };
        if first == [0xef, 0xbb, 0xbf] {
            input.fill()?;
            input.advance(first.len());
        }
        Ok(input)
    }

    /// The text of one value, instead of a stream.
    pub(super) fn of_text(text: Vec<u8>, line: u64) -> Self {
        Self { reader: Box::new(io::empty()), buffer: text, start: 0, line, read: 0, is_ended: true }
    }

    /// What is in the window.
    pub(super) fn window(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    /// Leaves so many bytes of the window behind.
    pub(super) fn advance(&mut self, count: usize) {
        let lines = self.window().iter().take(count).filter(|byte| **byte == b'\n').count();
        self.line = self.line.saturating_add(u64::try_from(lines).unwrap_or_default());
        self.start = self.start.saturating_add(count).min(self.buffer.len());
    }

    /// Reads more into the window; whether there was more.
    pub(super) fn fill(&mut self) -> Result<bool, Fault> {
        if self.is_ended {
            return Ok(false);
        }
        if self.start > self.buffer.len() / 2 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        let before = self.buffer.len();
        self.buffer.resize(before + CHUNK, 0);
        let read = loop {
            match self.reader.read(self.buffer.get_mut(before..).unwrap_or_default()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.buffer.truncate(before + read.as_ref().copied().unwrap_or_default());
        let read = read?;
        self.is_ended = read == 0;
        self.read = self.read.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
        if self.read > MOST {
            return Err(Fault::text(self.line, format!("is longer than {} GiB", MOST >> 30)));
        }
        Ok(!self.is_ended)
    }

    /// The first byte that is no white space, left in the window.
    pub(super) fn peek(&mut self) -> Result<Option<u8>, Fault> {
        loop {
            match self.window().iter().position(|byte| !byte.is_ascii_whitespace()) {
                Some(blank) => {
                    self.advance(blank);
                    return Ok(self.window().first().copied());
                }
                None => {
                    self.advance(self.window().len());
                    if !self.fill()? {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// Fails if so many bytes are too many for one object.
    pub(super) fn limit(&self, bytes: usize) -> Result<(), Fault> {
        if bytes > LONGEST {
            return Err(Fault::text(self.line, format!("an object is longer than {} MiB", LONGEST >> 20)));
        }
        Ok(())
    }
}
