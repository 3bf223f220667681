//! The output of `jitd`: results on stdout, messages on stderr.
//!
//! stdout is the result and nothing else. A reader that closes the pipe, as `head` does, is not a failure: nothing here
//! panics, unlike `print!` and `eprint!`, which clippy therefore forbids. Every command calls it.

use std::fmt;
use std::io::{BufWriter, ErrorKind, StdoutLock, Write, stderr, stdout};

use clap::ValueEnum;
use comfy_table::Table;
use jitd::hint::Hint;
use serde::Serialize;

use crate::Failure;

/// The format of a result.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Output {
    Text,
    Json,
}

/// The format of a result of the daemon's API.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Form {
    /// For people.
    Table,
    /// The JSON of the API.
    Json,
    /// The ids only.
    Name,
}

/// Writes a result, and a newline if its last line has none.
pub(crate) fn result(text: impl AsRef<[u8]>) -> Result<(), Failure> {
    let text = text.as_ref();
    let newline: &[u8] = if text.is_empty() || text.ends_with(b"\n") { b"" } else { b"\n" };
    in_pieces(|out| out.write_all(text).and_then(|()| out.write_all(newline)).and_then(|()| out.flush()))
}

/// Writes a result as JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    result(serde_json::to_string_pretty(value)?)
}

/// Lets `write` write a long result piece by piece. A write fails, and so ends it, if the reader has closed the pipe.
pub(crate) fn in_pieces<E: std::error::Error + Hint>(
    write: impl FnOnce(&mut BufWriter<Watched>) -> Result<(), E>,
) -> Result<(), Failure> {
    // Without a buffer, stdout is written line by line, even to a file.
    let mut out = BufWriter::with_capacity(PIECE, Watched { out: stdout().lock(), reader_is_gone: false });
    match write(&mut out) {
        Err(error) if !out.get_ref().reader_is_gone => Err(error.into()),
        _ => Ok(()),
    }
}

/// `1 rule`, `2 rules`.
pub(crate) fn counted<N: fmt::Display + PartialEq + From<u8>>(count: N, what: &str) -> String {
    format!("{count} {what}{}", if count == N::from(1) { "" } else { "s" })
}

/// The capacity of a pipe (pipe(7)).
const PIECE: usize = 1 << 16;

/// stdout, and whether its reader has closed the pipe.
pub(crate) struct Watched {
    out: StdoutLock<'static>,
    reader_is_gone: bool,
}

impl Watched {
    fn watch<T>(&mut self, done: std::io::Result<T>) -> std::io::Result<T> {
        self.reader_is_gone |= done.as_ref().is_err_and(|error| error.kind() == ErrorKind::BrokenPipe);
        done
    }
}

impl Write for Watched {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.out.write(bytes);
        self.watch(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let flushed = self.out.flush();
        self.watch(flushed)
    }
}

/// Prints a line on stderr; never part of the result.
macro_rules! say {
    ($($words:tt)*) => { $crate::print::words(format_args!("{}\n", format_args!($($words)*))) };
}
pub(crate) use say;

/// Prints a message on stderr, and what to do about it on a separate line.
pub(crate) fn notice(what: &str, hint: &str) {
    say!("{what}\nhint: {hint}");
}

/// Writes to stderr unchanged: a question, or a count that the next one overwrites. A closed stderr is not a failure.
pub(crate) fn words(words: fmt::Arguments<'_>) {
    let _ = stderr().write_fmt(words);
}

/// A table without lines between rows and columns.
pub(crate) fn table(headings: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_header(headings.iter().map(ToString::to_string));
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

/// Text from elsewhere on one line, without control characters.
pub(crate) fn one_line(text: &str) -> String {
    text.trim().replace("\nhint: ", "; ").replace(char::is_control, " ")
}
