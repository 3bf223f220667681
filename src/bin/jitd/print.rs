//! What `jitd` prints: results on stdout, words to people on stderr.
//!
//! stdout is the result and nothing else. A reader that has gone away, as `head` does, is no failure: nothing here panics
//! for it, as `print!` and `eprint!` do, which clippy therefore keeps out of the program. Every verb is its caller.

use std::fmt;
use std::io::{BufWriter, ErrorKind, StdoutLock, Write, stderr, stdout};

use clap::ValueEnum;
use comfy_table::Table;
use jitd::hint::Hint;
use serde::Serialize;

use crate::Failure;

/// In which form a result is printed.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Output {
    Text,
    Json,
}

/// In which form a result of the daemon's API is printed.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Form {
    /// For people.
    Table,
    /// As the API answers it.
    Json,
    /// Only the ids.
    Name,
}

/// Writes a result, and ends its last line.
pub(crate) fn result(text: impl AsRef<[u8]>) -> Result<(), Failure> {
    let text = text.as_ref();
    let newline: &[u8] = if text.is_empty() || text.ends_with(b"\n") { b"" } else { b"\n" };
    in_pieces(|out| out.write_all(text).and_then(|()| out.write_all(newline)).and_then(|()| out.flush()))
}

/// Writes a result as JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    result(serde_json::to_string_pretty(value)?)
}

/// Lets `write` write a long result piece by piece. It fails, and so stops, when the reader has gone away.
pub(crate) fn in_pieces<E: std::error::Error + Hint>(
    write: impl FnOnce(&mut BufWriter<Watched>) -> Result<(), E>,
) -> Result<(), Failure> {
    // By itself stdout is written line by line, also into a file.
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

/// As much as a pipe holds (pipe(7)).
const PIECE: usize = 1 << 16;

/// stdout, and whether anybody reads it.
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

/// Says a line to whoever called; never part of the result.
macro_rules! say {
    ($($words:tt)*) => { $crate::print::words(format_args!("{}\n", format_args!($($words)*))) };
}
pub(crate) use say;

/// Says something to whoever called, and what to do about it on a separate line.
pub(crate) fn notice(what: &str, hint: &str) {
    say!("{what}\nhint: {hint}");
}

/// Writes to stderr as it is: a question, or a count that the next one is written over. That nobody reads it is no
/// failure.
pub(crate) fn words(words: fmt::Arguments<'_>) {
    let _ = stderr().write_fmt(words);
}

/// Rows in columns, without lines between them.
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

/// What others said, without what a terminal would obey.
pub(crate) fn one_line(text: &str) -> String {
    text.trim().replace("\nhint: ", "; ").replace(char::is_control, " ")
}
