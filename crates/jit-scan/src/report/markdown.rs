//! The report for a pull request: Markdown in which no name of the cluster is anything but text.
//!
//! Names stand in code spans. There they mention nobody, link nothing and are no HTML, and GitHub and GitLab read nothing
//! else in them. A backtick, which could end a span, becomes an apostrophe, and a pipe, which could end a cell, is escaped like
//! an invisible character.

use std::fmt::Write as _;

use jit_host::escape::escaped;

use super::{Document, Entry, State};

/// The report as Markdown of at most [`LONGEST`] bytes; what has no room is counted.
#[must_use]
pub fn markdown(document: &Document) -> String {
    let mut text = format!("## Standing access\n\n{}.\n", document.summary());
    let open: Vec<&Entry> = document.open().collect();
    if !open.is_empty() {
        text.push_str("\n| Severity | Score | Id | Who | Where | What |\n|---|---|---|---|---|---|\n");
        let rows = open.iter().map(|entry| row(entry));
        append(&mut text, rows, LONGEST / 2, open.len());
        let worst: Vec<String> = open.iter().take(DETAILED).map(|entry| details(entry)).collect();
        text.push_str("\n<details><summary>How</summary>\n");
        let count = worst.len();
        append(&mut text, worst.into_iter(), LONGEST - RESERVED, count);
        text.push_str("\n</details>\n");
    }
    let accepted = document.entries.iter().filter_map(|entry| match &entry.state {
        State::Accepted(exception) => Some((entry, exception)),
        State::Open | State::Known | State::System => None,
    });
    let accepted = accepted.map(|(entry, exception)| {
        let (who, why) = (code(&exception.owner), code(&exception.reason));
        format!("- {} is accepted by {who} until {}: {why}\n", code(&entry.holder()), exception.expires)
    });
    section(&mut text, "Accepted", accepted.collect());
    let idle = document.idle_exceptions.iter().map(|idle| {
        let owner = code(&idle.exception.owner);
        format!("- the exception for {} of {owner}: {}\n", code(idle.exception.finding.as_str()), code(&idle.why))
    });
    section(&mut text, "Exceptions that accept nothing", idle.collect());
    let missing =
        document.not_evaluated.iter().map(|missing| format!("- {}: {}\n", code(&missing.what), code(&missing.why)));
    section(&mut text, "Not evaluated", missing.collect());
    text
}

/// GitHub takes a comment of 65,536 characters.
pub const LONGEST: usize = 60_000;

/// For the sections after the findings.
const RESERVED: usize = 10_000;
/// For how many findings the path is shown.
const DETAILED: usize = 20;

fn section(text: &mut String, heading: &str, lines: Vec<String>) {
    if lines.is_empty() {
        return;
    }
    let count = lines.len();
    let _ = write!(text, "\n### {heading}\n\n");
    // Each of the three sections gets a part, so that the last one is never left out.
    let room = (text.len() + RESERVED / 3 - 200).min(LONGEST - 200);
    append(text, lines.into_iter(), room, count);
}

/// Appends pieces while they fit, and says how many did not.
fn append(text: &mut String, pieces: impl Iterator<Item = String>, room: usize, count: usize) {
    let mut shown = 0;
    for piece in pieces {
        if text.len() + piece.len() > room {
            break;
        }
        text.push_str(&piece);
        shown += 1;
    }
    if shown < count {
        let _ = write!(text, "\n{} more are not shown here.\n", count - shown);
    }
}

fn row(entry: &Entry) -> String {
    let finding = &entry.finding;
    format!(
        "| {} | {} | {} | {} | {} | {} |\n",
        finding.severity,
        entry.score.value,
        code(&finding.id),
        code(&entry.holder()),
        code(&entry.place()),
        code(&finding.title)
    )
}

fn details(entry: &Entry) -> String {
    let mut text = format!("\n{} {}, {}:\n", code(&entry.finding.id), code(&entry.holder()), code(&entry.place()));
    for hop in &entry.finding.path {
        let _ = writeln!(text, "1. {}: {}", code(&hop.object), code(&hop.grants));
    }
    if let Some(usage) = &entry.usage {
        let _ = writeln!(text, "\n{}", code(&usage.to_string()));
    }
    text
}

/// A code span. It has no backtick and no pipe inside, and is never empty or surrounded by spaces, which Markdown removes.
fn code(text: &str) -> String {
    let text: String = escaped(text).chars().take(MOST_CHARACTERS).collect();
    let text = text.trim().replace('`', "'").replace('|', "\\u{007c}");
    format!("`{}`", if text.is_empty() { "\"\"" } else { &text })
}

/// Of one name.
const MOST_CHARACTERS: usize = 400;
