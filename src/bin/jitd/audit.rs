//! `jitd audit`: proves the trail, here or from a copy of its lines.
//!
//! Reads only. What holds and what does not is the library's (`trail`). `main.rs` calls it.

use std::io::{BufReader, IsTerminal, stdin};
use std::path::Path;

use jitd::trail::{self, TrailError};

use crate::{Failure, print, read};

pub(crate) fn verify(path: &Path, file: Option<&Path>) -> Result<(), Failure> {
    let report = match file {
        Some(file) if file == Path::new("-") => trail::verify_lines(stdin().lock(), file),
        Some(file) => {
            let lines =
                std::fs::File::open(file).map_err(|error| Failure::Usage(format!("`{}`: {error}", file.display())))?;
            trail::verify_lines(BufReader::new(lines), file)
        }
        None => trail::verify_file(&read(path)?.trail(), watched()),
    };
    match report {
        Ok(report) => show(&report),
        // To everybody else it says to run this very command.
        Err(damaged @ TrailError::Damaged { .. }) => Err(Failure::Ours(format!(
            "{damaged}\nhint: keep the file as it is, as evidence, and go on with a copy that `jitd backup` made"
        ))),
        Err(other) => Err(other.into()),
    }
}

/// Tells a person who waits how far a check is.
pub(crate) fn watched() -> impl FnMut(i64) {
    let watched = std::io::stderr().is_terminal();
    move |events| {
        if watched {
            print::words(format_args!("\r{events} events"));
        }
    }
}

pub(crate) fn show(report: &trail::Report) -> Result<(), Failure> {
    let trail::Report { events, grants, open, reviews_owed, head } = report;
    print::result(format!(
        "the chain holds: events {events}, grants {grants}, open {open}, reviews owed {reviews_owed}\nhead {head}"
    ))
}
