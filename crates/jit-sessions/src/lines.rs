//! Lines of a file that somebody else wrote: of limited length, in UTF-8, each with its end.

use std::io::{self, BufRead, Read};

/// Why there is no next line.
#[derive(Debug, thiserror::Error)]
pub(super) enum LineFault {
    /// It is too long.
    #[error("it is longer than {0} bytes")]
    Long(usize),
    /// It is not text.
    #[error("it is not UTF-8")]
    NotText,
    /// The file ends before the line does.
    #[error("it has no end: it was being written, or the file was cut")]
    Unfinished,
    /// The file cannot be read.
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// Reads a file line by line.
pub(super) struct Lines<R> {
    input: R,
    longest: usize,
    line: Vec<u8>,
    /// Of the last line that was read, from 1.
    number: u64,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(input: R, longest: usize) -> Self {
        Self { input, longest, line: Vec::new(), number: 0 }
    }

    /// The next line without its line feed; none at the end.
    ///
    /// # Errors
    /// [`LineFault`]; nothing after it can be read.
    pub(super) fn next(&mut self) -> Result<Option<&str>, LineFault> {
        self.line.clear();
        self.number = self.number.saturating_add(1);
        let limit = u64::try_from(self.longest).unwrap_or(u64::MAX).saturating_add(1);
        if self.input.by_ref().take(limit).read_until(b'\n', &mut self.line)? == 0 {
            return Ok(None);
        }
        if self.line.pop_if(|last| *last == b'\n').is_none() {
            let is_long = self.line.len() > self.longest;
            return Err(if is_long { LineFault::Long(self.longest) } else { LineFault::Unfinished });
        }
        str::from_utf8(&self.line).map(Some).map_err(|_| LineFault::NotText)
    }

    /// The number of the line that [`Self::next`] tried last, from 1.
    pub(super) fn number(&self) -> u64 {
        self.number
    }
}
