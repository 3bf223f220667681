//! `jitd audit verify`: proves a trail, this host's own or a copy of it.
//!
//! Reads only. What holds and what does not is the library's (`trail`). `main.rs` calls it, and `operate.rs` for a copy.

use std::io::{BufRead, BufReader, IsTerminal, Read, stdin};
use std::path::Path;
use std::str::FromStr;

use jitd::trail::{self, Position, Report, TrailError};

use crate::print::{Output, say};
use crate::{Failure, print, read};

/// A head that somebody noted elsewhere: the hash of an event, and perhaps its number.
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
        // To everybody else its hint is to run this very command.
        Err(damaged @ TrailError::Damaged { .. }) => {
            return Err(Failure::ours(damaged.to_string())
                .with_hint("keep the file unchanged as evidence, and continue with a backup from `jitd backup`"));
        }
        Err(other) => return Err(other.into()),
    };
    if let Some(Noted { hash, seq }) = noted {
        let there = match (found, seq) {
            (None, _) => Err(format!("no event of this trail has the hash {hash}: it was cut, or it is another trail")),
            (Some(found), Some(seq)) if found != *seq => Err(format!("the hash {hash} is event {found}, not {seq}")),
            (Some(found), _) => Ok(found),
        };
        let there = there.map_err(|why| {
            Failure::ours(why).with_hint("keep the file unchanged as evidence, and compare it with a backup")
        })?;
        show(&report, output)?;
        say!("the noted head is event {there} of this trail, so nothing up to it was cut or changed");
        return Ok(());
    }
    if report.events == 0 && file.is_some() {
        return Err(Failure::ours("there is no event in this file, so it proves nothing"));
    }
    show(&report, output)?;
    say!("nothing in a trail proves its end: `--head` checks that a head noted elsewhere is still in it");
    Ok(())
}

/// Whether a file is a database of SQLite and not exported lines (<https://www.sqlite.org/fileformat2.html>, section 1.3).
fn is_database(file: &mut BufReader<impl Read>) -> std::io::Result<bool> {
    Ok(file.fill_buf()?.starts_with(b"SQLite format 3\0"))
}

/// Tells a person who waits how far a check is.
pub(crate) fn watched() -> impl FnMut(&Position) {
    let watched = std::io::stderr().is_terminal();
    move |position| {
        if watched && position.seq % 10_000 == 0 {
            print::words(format_args!("\r{} events", position.seq));
        }
    }
}

/// Prints what a trail was found to be.
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
