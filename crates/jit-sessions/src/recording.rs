//! The recording of a session: how much of it is what the log says, and its bytes.
//!
//! The log has the hash of the file up to several points. The file is valid up to the last point that agrees, if none before
//! it disagrees. That is so for a sealed one as well, which takes a key only to be played.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, Write};
use std::os::unix::fs::FileExt;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use jit_core::grant::digest::hex;
use jit_seal::{Identity, Segments};
use jit_wire::kept::Checked;
use jit_wire::session::{RECORDING, RecordingHead};

use super::SessionsError;
use super::cast::{Cast, CastFault, What};
use super::text::Plain;

/// A recording of which nothing verifies.
pub(super) fn faulty(fault: String) -> Checked {
    Checked { bytes: 0, verified: 0, sha256: String::new(), fault: Some(fault), skipped: false }
}

/// A recording that nobody compared with the log.
pub(super) fn skipped(file: &File) -> io::Result<Checked> {
    let bytes = file.metadata()?.len();
    Ok(Checked { bytes, verified: 0, sha256: String::new(), fault: None, skipped: true })
}

/// Compares a file with what the log says about it. If the session `has_ended`, the last head is that of the whole file.
///
/// # Errors
/// If the file cannot be read.
pub(super) fn check(file: &File, heads: &[RecordingHead], has_ended: bool) -> io::Result<Checked> {
    let bytes = file.metadata()?.len();
    let mut checked = Checked { bytes, verified: 0, sha256: String::new(), fault: None, skipped: false };
    let mut hash = Context::new(&SHA256);
    let mut piece = vec![0; PIECE];
    let mut from = file;
    from.rewind()?;
    for head in heads {
        let Some(mut left) = head.bytes.checked_sub(checked.verified) else {
            checked.fault = Some("the log says that it became shorter".to_owned());
            return Ok(checked);
        };
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
            let read = from.read(piece.get_mut(..most).unwrap_or_default())?;
            if read == 0 {
                checked.fault = Some(format!("it has {bytes} bytes, and the log says {}: its end was cut", head.bytes));
                return Ok(checked);
            }
            hash.update(piece.get(..read).unwrap_or_default());
            left = left.saturating_sub(read as u64);
        }
        let found = hex(hash.clone().finish().as_ref());
        if found != head.sha256 {
            let first = checked.verified.saturating_add(1);
            checked.fault = Some(format!("something in bytes {first} to {} was changed", head.bytes));
            return Ok(checked);
        }
        (checked.verified, checked.sha256) = (head.bytes, found);
    }
    if has_ended && bytes > checked.verified {
        checked.fault =
            Some(format!("it has {bytes} bytes, and the log says {}: something was added", checked.verified));
    }
    Ok(checked)
}

/// What is read at once.
const PIECE: usize = 256 * 1024;

/// What verifies of a recording, opened.
pub type Bytes<'a> = Box<dyn BufRead + 'a>;

/// How a sealed recording begins; one that is not sealed begins with a JSON object.
const SEGMENT: &[u8; 4] = b"age ";

/// A recording of which at least the beginning verifies. It is read only so far.
pub struct Recording {
    session: String,
    file: File,
    checked: Checked,
    is_sealed: bool,
    identities: Vec<Identity>,
}

impl Recording {
    pub(super) fn new(session: String, file: File, checked: Checked) -> Self {
        let mut beginning = [0; SEGMENT.len()];
        let is_sealed = file.read_exact_at(&mut beginning, 0).is_ok() && beginning == *SEGMENT;
        Self { session, file, checked, is_sealed, identities: Vec::new() }
    }

    /// Opens it with one of these keys, if it is sealed. One that is not takes no key.
    ///
    /// # Errors
    /// [`SessionsError::Sealed`] if it is sealed and none of them opens it, or there is none.
    pub fn opened(self, identities: Vec<Identity>) -> Result<Self, SessionsError> {
        if !self.is_sealed {
            return Ok(self);
        }
        let sealed = |why| SessionsError::Sealed { session: self.session.clone(), why };
        if identities.is_empty() {
            return Err(sealed(None));
        }
        let from = (&self.file).take(self.checked.verified);
        (&self.file).rewind().map_err(failed(&self.session, "read"))?;
        let first = Segments::new(BufReader::new(from), &identities).read(&mut [0]);
        first.map_err(|error| sealed(Some(error.to_string())))?;
        Ok(Self { identities, ..self })
    }

    /// A recording that the daemon verified and sent: the whole of `file`, compared once more with the SHA-256 that it sent
    /// with it, hex.
    ///
    /// # Errors
    /// [`SessionsError::Changed`] if it is another one, or the system's error.
    pub fn received(session: &str, file: File, sha256: &str) -> Result<Self, SessionsError> {
        let bytes = file.metadata().map_err(failed(session, "inspect"))?.len();
        let head = RecordingHead { bytes, sha256: sha256.to_owned() };
        let checked = check(&file, &[head], true).map_err(failed(session, "read"))?;
        if checked.fault.is_some() {
            return Err(SessionsError::Changed(session.to_owned()));
        }
        Ok(Self::new(session.to_owned(), file, checked))
    }

    /// How much of it verifies.
    #[must_use]
    pub fn checked(&self) -> &Checked {
        &self.checked
    }

    /// Reads it from the beginning. Of two readers at once neither gets all.
    ///
    /// # Errors
    /// If it does not begin as a recording.
    pub fn events(&self) -> Result<Cast<Bytes<'_>>, CastFault> {
        (&self.file).rewind().map_err(CastFault::io)?;
        let verified = BufReader::with_capacity(PIECE, (&self.file).take(self.checked.verified));
        Cast::new(if self.is_sealed {
            Box::new(BufReader::with_capacity(PIECE, Segments::new(verified, &self.identities)))
        } else {
            Box::new(verified)
        })
    }

    /// What verifies as it stands in the file, sealed or not, piece by piece from the beginning. Of two readers at once neither gets all.
    ///
    /// # Errors
    /// [`SessionsError::Io`].
    pub fn pieces(&self) -> Result<Pieces, SessionsError> {
        let file = self.file.try_clone().map_err(failed(&self.session, "read"))?;
        (&file).rewind().map_err(failed(&self.session, "read"))?;
        let (session, sha256) = (self.session.clone(), self.checked.sha256.clone());
        Ok(Pieces { session, file, left: self.checked.verified, hash: Context::new(&SHA256), sha256 })
    }

    /// Writes what verifies, opened, and checks again that it is the same.
    ///
    /// # Errors
    /// [`SessionsError::Changed`], or the system's error; then what was written is of no use.
    pub fn copy(&self, out: &mut impl Write) -> Result<(), SessionsError> {
        let mut pieces =
            BufReader::with_capacity(PIECE, Verified { pieces: self.pieces()?, piece: io::Cursor::default() });
        let copied = if self.is_sealed {
            let opened = io::copy(&mut Segments::new(&mut pieces, &self.identities), out);
            // Up to the end, where it turns out whether it is the same.
            opened.and_then(|_| io::copy(&mut pieces, &mut io::sink()))
        } else {
            io::copy(&mut pieces, out)
        };
        copied.map_err(|error| match error.downcast::<SessionsError>() {
            Ok(error) => error,
            Err(error) => failed(&self.session, "copy")(error),
        })?;
        Ok(())
    }

    /// Writes all that the session printed from a moment on as plain text.
    ///
    /// # Errors
    /// [`PrintFault`]; what was written before is right.
    pub fn print(&self, from: Duration, out: &mut impl Write) -> Result<(), PrintFault> {
        let mut cast = self.events()?;
        let mut plain = Plain::default();
        let mut fault = None;
        loop {
            match cast.next_event() {
                Ok(Some(event)) => {
                    if let What::Output(output) = event.what
                        && event.at >= from
                    {
                        plain.feed(&output, out)?;
                    }
                }
                Ok(None) => break,
                Err(found) => {
                    fault = Some(found);
                    break;
                }
            }
        }
        plain.end(out)?;
        out.flush()?;
        fault.map_or(Ok(()), |fault| Err(fault.into()))
    }
}

/// Why a recording is not printed to its end.
#[derive(Debug, thiserror::Error)]
pub enum PrintFault {
    /// The recording cannot be read on.
    #[error(transparent)]
    Cast(#[from] CastFault),
    /// The text cannot be written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl jit_host::hint::Hint for PrintFault {}

/// What verifies of a recording, piece by piece. The last piece comes only if all of them are what was verified.
pub struct Pieces {
    session: String,
    file: File,
    left: u64,
    hash: Context,
    sha256: String,
}

impl Pieces {
    /// The next piece; none at the end.
    ///
    /// # Errors
    /// [`SessionsError::Changed`], or the system's error.
    pub fn next_piece(&mut self) -> Result<Option<Vec<u8>>, SessionsError> {
        if self.left == 0 {
            return Ok(None);
        }
        let mut piece = vec![0; usize::try_from(self.left).unwrap_or(PIECE).min(PIECE)];
        self.file.read_exact(&mut piece).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => SessionsError::Changed(self.session.clone()),
            _ => failed(&self.session, "read")(error),
        })?;
        self.hash.update(&piece);
        self.left = self.left.saturating_sub(piece.len() as u64);
        if self.left == 0 && hex(self.hash.clone().finish().as_ref()) != self.sha256 {
            return Err(SessionsError::Changed(self.session.clone()));
        }
        Ok(Some(piece))
    }
}

/// The pieces of a recording as a stream of bytes.
struct Verified {
    pieces: Pieces,
    piece: io::Cursor<Vec<u8>>,
}

impl Read for Verified {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.piece.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            match self.pieces.next_piece().map_err(io::Error::other)? {
                Some(piece) => self.piece = io::Cursor::new(piece),
                None => return Ok(0),
            }
        }
    }
}

fn failed(session: &str, doing: &'static str) -> impl FnOnce(io::Error) -> SessionsError {
    let path = format!("{session}{RECORDING}").into();
    move |source| SessionsError::Io { path, doing, source }
}
