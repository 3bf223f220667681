//! The recording of a session: how much of it is what the log says, and its bytes.
//!
//! The log has the hash of the file up to several points. The file is valid up to the last point that agrees, if none before
//! it disagrees.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, Write};

use aws_lc_rs::digest::{Context, SHA256};
use serde::Serialize;

use super::SessionsError;
use super::cast::{Cast, CastFault};
use crate::grant::digest::hex;
use crate::wire::session::RecordingHead;

/// How much of a recording verifies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Checked {
    /// How many bytes the file has.
    pub bytes: u64,
    /// How many of them, from the beginning, are what the log says.
    pub verified: u64,
    /// Their SHA-256, hex; empty if there are none.
    pub sha256: String,
    /// What is wrong with the rest; none if the log says nothing about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

impl Checked {
    pub(super) fn faulty(fault: String) -> Self {
        Self { bytes: 0, verified: 0, sha256: String::new(), fault: Some(fault) }
    }
}

/// Compares a file with what the log says about it. If the session `has_ended`, the last head is that of the whole file.
///
/// # Errors
/// If the file cannot be read.
pub(super) fn check(file: &File, heads: &[RecordingHead], has_ended: bool) -> io::Result<Checked> {
    let bytes = file.metadata()?.len();
    let mut checked = Checked { bytes, verified: 0, sha256: String::new(), fault: None };
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

/// What verifies of a recording.
pub type Bytes<'a> = BufReader<io::Take<&'a File>>;

/// A recording of which at least the beginning verifies. It is read only so far.
pub struct Recording {
    session: String,
    file: File,
    checked: Checked,
}

impl Recording {
    pub(super) fn new(session: String, file: File, checked: Checked) -> Self {
        Self { session, file, checked }
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
        Cast::new(BufReader::with_capacity(PIECE, (&self.file).take(self.checked.verified)))
    }

    /// Writes what verifies, and checks again that it is the same.
    ///
    /// # Errors
    /// [`SessionsError::Changed`], or the system's error; then what was written is of no use.
    pub fn copy(&self, out: &mut impl Write) -> Result<(), SessionsError> {
        let failed = |doing| {
            let path = format!("{}{}", self.session, crate::wire::session::RECORDING).into();
            move |source| SessionsError::Io { path, doing, source }
        };
        (&self.file).rewind().map_err(failed("read"))?;
        let mut from = (&self.file).take(self.checked.verified);
        let mut hash = Context::new(&SHA256);
        let mut piece = vec![0; PIECE];
        loop {
            let read = from.read(&mut piece).map_err(failed("read"))?;
            let read = piece.get(..read).unwrap_or_default();
            if read.is_empty() {
                break;
            }
            hash.update(read);
            out.write_all(read).map_err(failed("copy"))?;
        }
        let same = hex(hash.finish().as_ref()) == self.checked.sha256;
        if same { Ok(()) } else { Err(SessionsError::Changed(self.session.clone())) }
    }
}
