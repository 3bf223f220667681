//! Output: results on stdout, messages on stderr, tables.
//!
//! stdout is the result and nothing else; colours are for terminals only, and `NO_COLOR` is respected. Every command calls
//! it.

use std::io::{IsTerminal, Write};

use comfy_table::{ContentArrangement, Table};
use serde::Serialize;

use crate::failure::Failure;
use crate::terminal::width;
use crate::text::{CYAN, RED, paint};

/// The format of a result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// The JSON of the API.
    Json,
    /// The same as YAML.
    Yaml,
    /// CSV (RFC 4180), for `ls`, `status` and `events`.
    Csv,
    /// The id or name only.
    Name,
}

/// Writes a result. A reader that closes the pipe, as `head` does, is not a failure.
pub(crate) fn result(text: &str) -> Result<(), Failure> {
    written(text).map(drop)
}

/// Writes a part of a result. Returns whether the reader wants more.
pub(crate) fn written(text: &str) -> Result<bool, Failure> {
    let mut out = anstream::stdout();
    let newline = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    match write!(out, "{text}{newline}").and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(unwritable(error)),
    }
}

/// Rings the bell of a terminal.
pub(crate) fn ring() {
    let mut err = std::io::stderr();
    if err.is_terminal() {
        let _ = err.write_all(b"\x07").and_then(|()| err.flush());
    }
}

/// Writes a result in the given format; `table` and `name` are called only if they are needed.
pub(crate) fn show<T: Serialize>(
    format: Format,
    value: &T,
    table: impl FnOnce() -> String,
    name: impl FnOnce() -> String,
) -> Result<(), Failure> {
    match format {
        Format::Table => result(&table()),
        Format::Name => result(&name()),
        Format::Json => result(&serde_json::to_string_pretty(value).map_err(unwritable)?),
        Format::Yaml => result(&yaml(value)?),
        Format::Csv => Err(Failure::usage("this result has no rows for CSV", "")),
    }
}

/// Writes rows as CSV, with a first row that names the columns.
pub(crate) fn csv(headings: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> Result<(), Failure> {
    result(&csv_rows(Some(headings), rows)?)
}

/// Rows as CSV (RFC 4180).
pub(crate) fn csv_rows(
    headings: Option<&[&str]>,
    rows: impl IntoIterator<Item = Vec<String>>,
) -> Result<String, Failure> {
    let mut table = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    if let Some(headings) = headings {
        table.write_record(headings).map_err(unwritable)?;
    }
    for row in rows {
        table.write_record(row.into_iter().map(no_formula)).map_err(unwritable)?;
    }
    String::from_utf8(table.into_inner().map_err(unwritable)?).map_err(unwritable)
}

/// Prevents a spreadsheet from evaluating a cell, because a formula could send other cells elsewhere: a cell that begins like
/// a formula gets an apostrophe before it (OWASP, "CSV Injection").
fn no_formula(cell: String) -> String {
    if cell.starts_with(['=', '+', '-', '@']) { format!("'{cell}") } else { cell }
}

/// Writes lines unchanged, byte for byte. Returns whether the reader wants more.
pub(crate) fn lines(lines: &[String]) -> Result<bool, Failure> {
    let mut out = std::io::stdout().lock();
    let written = lines.iter().try_for_each(|line| out.write_all(line.as_bytes()).and_then(|()| out.write_all(b"\n")));
    match written.and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(unwritable(error)),
    }
}

/// `value` as YAML in which every parser reads the same strings.
pub(crate) fn yaml<T: Serialize>(value: &T) -> Result<String, Failure> {
    let mut options = serde_saphyr::SerializerOptions::default();
    options.prefer_block_scalars = false;
    serde_saphyr::to_string_with_options(value, options).map_err(unwritable)
}

fn unwritable(error: impl std::fmt::Display) -> Failure {
    Failure::own(format!("cannot write the result: {error}"), "")
}

/// Prints a line on stderr; never part of the result.
pub(crate) fn say(line: &str) {
    let _ = writeln!(anstream::stderr(), "{line}");
}

/// Prints why a command failed; with `-o json` as a problem document (RFC 9457) on one line.
pub(crate) fn complain(failure: &Failure, format: Format) {
    if matches!(format, Format::Json) {
        failure.view().iter().for_each(|view| say(&view.to_string()));
        return;
    }
    let Some((code, sentence)) = failure.sentence() else { return };
    say(&format!("{}[{code}]: {sentence}", paint("error", RED)));
    let text = failure.hint();
    if !text.is_empty() {
        hint(&text);
    }
}

/// Prints what to do about the last message.
pub(crate) fn hint(text: &str) {
    say(&format!("{}: {text}", paint("hint", CYAN)));
}

/// A table in kubectl's style: upper-case headings, no lines, two spaces between columns.
pub(crate) fn table(headings: &[&str], rows: Vec<Vec<String>>, wrap: bool) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_header(headings.iter().map(ToString::to_string));
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    if wrap {
        let width = width().and_then(|width| width.try_into().ok()).unwrap_or(100);
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    }
    table.trim_fmt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_two_spaces_between_columns() {
        let text =
            table(&["ID", "PHASE"], vec![vec!["a".into(), "live".into()], vec!["abc".into(), "x".into()]], false);
        assert_eq!(text, "ID   PHASE\na    live\nabc  x");
    }

    #[test]
    fn no_cell_is_evaluated_as_a_formula() {
        for (cell, written) in
            [("=1+1", "'=1+1"), ("@SUM(A1)", "'@SUM(A1)"), ("-1", "'-1"), ("INC-42", "INC-42"), ("", "")]
        {
            assert_eq!(no_formula(cell.to_owned()), written);
        }
    }

    #[test]
    fn yaml_keeps_strings_that_look_like_something_else() {
        let long = "A".repeat(4000);
        let value = serde_json::json!({"a": "yes", "b": "12:30", "c": "0x1f", "d": long, "e": "1e3", "f": "", "g": "a: b #c", "h": "x\ny\n", "i": null, "j": [], "k": {}});
        let text = yaml(&value).unwrap();
        assert_eq!(serde_saphyr::from_str::<serde_json::Value>(&text).unwrap(), value, "{text}");
        assert!(text.contains("\"yes\"") || text.contains("'yes'"), "{text}");
    }
}
