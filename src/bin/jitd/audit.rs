//! `jitd audit`: verifies a trail, of this host or a copy; what was done through the gateway is in files of its own.
//!
//! It only reads. The library (`trail`, `sessions`) decides what is valid. `main.rs` calls it, and `operate.rs` for a copy.

pub(crate) mod notices;
pub(crate) mod play;
pub(crate) mod sessions;

use std::io::{BufRead, BufReader, IsTerminal, Read, stdin};
use std::path::Path;
use std::str::FromStr;

use jitd::trail::{self, Position, Report, TrailError};

use crate::print::{Output, say};
use crate::{Failure, print, read};

/// A head that was noted elsewhere: the hash of an event, and possibly its number.
#[derive(Clone, Debug)]
pub(crate) struct Noted {
    hash: String,
    seq: Option<i64>,
}

impl FromStr for Noted {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "write the 64 hexadecimal digits of the hash, or HASH:NUMBER with the number of its event";
        let (hash, seq) = match text.split_once(':') {
            None => (text, None),
            Some((hash, seq)) => (hash, Some(seq.parse().map_err(|_| FORM)?)),
        };
        let right = hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        if right { Ok(Self { hash: hash.to_ascii_lowercase(), seq }) } else { Err(FORM) }
    }
}

pub(crate) fn verify(config: &Path, file: Option<&Path>, noted: Option<&Noted>, output: Output) -> Result<(), Failure> {
    let mut found = None;
    let mut progress = watched();
    let each = |position: &Position| {
        if noted.is_some_and(|noted| noted.hash == position.hash) {
            found = Some(position.seq);
        }
        progress(position);
    };
    let report = match file {
        Some(file) if file == Path::new("-") => trail::verify_lines(stdin().lock(), file, each),
        Some(file) => {
            let unreadable = |error: std::io::Error| Failure::usage(format!("`{}`: {error}", file.display()));
            let mut lines = BufReader::new(std::fs::File::open(file).map_err(unreadable)?);
            if is_database(&mut lines).map_err(unreadable)? {
                trail::verify_file(file, each)
            } else {
                trail::verify_lines(lines, file, each)
            }
        }
        None => trail::verify_file(&read(config)?.trail(), each),
    };
    let report = match report {
        Ok(report) => report,
        // Elsewhere, the hint of this error is to run this command.
        Err(damaged @ TrailError::Damaged { .. }) => {
            return Err(Failure::ours(damaged.to_string())
                .with_hint("keep the file unchanged as evidence, and continue with a backup from `jitd backup`"));
        }
        Err(other) => return Err(other.into()),
    };
    if let Some(Noted { hash, seq }) = noted {
        let there = match (found, seq) {
            (None, _) => {
                Err(format!("no event of this trail has the hash {hash}: the trail was cut, or it is another trail"))
            }
            (Some(found), Some(seq)) if found != *seq => {
                Err(format!("the hash {hash} belongs to event {found}, not {seq}"))
            }
            (Some(found), _) => Ok(found),
        };
        let there = there.map_err(|why| {
            Failure::ours(why).with_hint("keep the file unchanged as evidence, and compare it with a backup")
        })?;
        show(&report, output)?;
        say!("the noted head is event {there} of this trail, so nothing before it was cut or changed");
        return Ok(());
    }
    if report.events == 0 && file.is_some() {
        return Err(Failure::ours("this file contains no event, so it proves nothing"));
    }
    show(&report, output)?;
    say!("a trail cannot prove that its end was not cut: `--head` checks that a head noted elsewhere is still in it");
    Ok(())
}

/// Whether a file is a SQLite database and not exported lines (<https://www.sqlite.org/fileformat2.html>, section 1.3).
fn is_database(file: &mut BufReader<impl Read>) -> std::io::Result<bool> {
    Ok(file.fill_buf()?.starts_with(b"SQLite format 3\0"))
}

/// Shows the progress on a terminal.
pub(crate) fn watched() -> impl FnMut(&Position) {
    let watched = std::io::stderr().is_terminal();
    move |position| {
        if watched && position.seq % 10_000 == 0 {
            print::words(format_args!("\r{} events", position.seq));
        }
    }
}

/// Prints the result of verifying a trail.
pub(crate) fn show(report: &Report, output: Output) -> Result<(), Failure> {
    if matches!(output, Output::Json) {
        return print::json(report);
    }
    let Report { events, grants, open, reviews_owed, from, to, head } = report;
    let range = match (from, to) {
        (Some(from), Some(to)) => format!("from {from} to {to}"),
        _ => "no event yet".to_owned(),
    };
    print::result(format!(
        "the chain holds: events {events}, grants {grants}, open {open}, reviews owed {reviews_owed}\n{range}\nhead {head}"
    ))
}
