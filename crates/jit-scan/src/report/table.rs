//! The report for a terminal: one block for each open finding, worst first.
//!
//! Every name is escaped, so nothing in a cluster can move the cursor or hide a line.

use std::fmt::Write as _;

use jit_host::escape::escaped;

use super::{Document, Entry, IdleException, State};
use crate::audit::Usage;

/// The report as text of lines of at most `width` characters, except for a word that is longer.
#[must_use]
pub fn table(document: &Document, width: usize) -> String {
    let mut page = Page { text: String::new(), width: width.max(NARROWEST) };
    page.line("", &format!("{}.", document.summary()));
    for entry in document.open() {
        page.entry(entry);
    }
    let accepted = |entry: &&Entry| matches!(entry.state, State::Accepted(_));
    for (at, entry) in document.entries.iter().filter(accepted).enumerate() {
        if let State::Accepted(exception) = &entry.state {
            page.heading(at, "Accepted by an exception");
            let until = format!("{} accepts {} until {}: ", exception.owner, entry.holder(), exception.expires);
            page.line("  ", &format!("{} {until}{}", entry.fingerprint, exception.reason));
        }
    }
    for (at, IdleException { exception, why }) in document.idle_exceptions.iter().enumerate() {
        page.heading(at, "Exceptions that accept nothing");
        page.line("  ", &format!("{} of {}: {why}", exception.finding, exception.owner));
    }
    for (at, kept) in document.resolved.iter().enumerate() {
        page.heading(at, "Resolved since the baseline");
        let who = kept.subject.as_ref().map(|subject| format!("{}: ", subject.name)).unwrap_or_default();
        page.line("  ", &format!("{} {} {who}{}", kept.fingerprint, kept.id, kept.title));
    }
    for (at, missing) in document.not_evaluated.iter().enumerate() {
        page.heading(at, "Not evaluated");
        page.line("  ", &format!("{}: {}", missing.what, missing.why));
    }
    page.text
}

const NARROWEST: usize = 40;

struct Page {
    text: String,
    width: usize,
}

impl Page {
    fn entry(&mut self, entry: &Entry) {
        let finding = &entry.finding;
        self.text.push('\n');
        let head = format!("{} {} {}", finding.severity.as_str().to_uppercase(), finding.id, entry.holder());
        self.line("", &format!("{head}, {}", entry.place()));
        self.line("  ", &finding.title);
        for (at, hop) in finding.path.iter().enumerate() {
            self.labelled(if at == 0 { "path" } else { "" }, &format!("{}: {}", hop.object, hop.grants));
        }
        if let Some(usage) = &entry.usage {
            for (at, line) in used(usage).iter().enumerate() {
                self.labelled(if at == 0 { "used" } else { "" }, line);
            }
        }
        self.labelled("score", &format!("{} = {}", entry.score.value, entry.score.because.join(", ")));
        self.labelled("id", entry.fingerprint.as_str());
    }

    fn heading(&mut self, at: usize, words: &str) {
        if at == 0 {
            let _ = writeln!(self.text, "\n{words}:");
        }
    }

    fn labelled(&mut self, label: &str, text: &str) {
        self.wrapped(&format!("  {label:<7}"), "         ", text);
    }

    fn line(&mut self, indent: &str, text: &str) {
        self.wrapped(indent, &format!("{indent}  "), text);
    }

    /// Breaks between words only, so that a name can always be copied.
    fn wrapped(&mut self, first: &str, rest: &str, text: &str) {
        let mut line = first.to_owned();
        let mut empty = true;
        for word in escaped(text).split(' ') {
            if !empty && line.chars().count() + 1 + word.chars().count() > self.width {
                self.end(&line);
                rest.clone_into(&mut line);
                empty = true;
            }
            if !empty {
                line.push(' ');
            }
            line.push_str(word);
            empty = false;
        }
        self.end(&line);
    }

    fn end(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }
}

/// What the logs say about a finding: a line when it was last used, and one for each of the rights that were used most.
pub(super) fn used(usage: &Usage) -> Vec<String> {
    let mut lines = vec![usage.to_string()];
    lines.extend(usage.used.iter().take(MOST_USED).map(ToString::to_string));
    let more = usage.used.len().saturating_sub(MOST_USED);
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    lines
}

const MOST_USED: usize = 5;
