//! What people and programs read of a scan: the findings, worst first, with all that is known of each.
//!
//! ```text
//!  Report ─┬─ baseline, exceptions, audit logs ──► Document ──► table, JSON, SARIF, Markdown, page
//! ```
//! A [`Document`] is a function of its inputs, and each output is a function of the document: the same input gives the same
//! bytes. Names in it are those of the cluster, so each output escapes them in its own way.

pub mod json;
pub mod markdown;
pub mod page;
pub mod sarif;
mod score;
pub mod table;

use std::cmp::Reverse;

use jiff::civil::Date;
use jit_core::rbac::risk::Severity;
use serde::Serialize;
use utoipa::ToSchema;

pub use self::score::Score;
use crate::audit::{Usage, Uses};
use crate::baseline::{Baseline, Kept};
use crate::exceptions::{Exception, Exceptions};
use crate::finding::{Finding, NotEvaluated, Report};
use crate::fingerprint::Fingerprint;

/// A report with all that is known of its findings.
#[derive(Clone, Debug, Default)]
pub struct Document {
    /// Worst first; what Kubernetes itself ships comes last.
    pub entries: Vec<Entry>,
    /// What could not be examined.
    pub not_evaluated: Vec<NotEvaluated>,
    /// Exceptions that accept nothing: they have expired, or nothing was found that they accept.
    pub idle_exceptions: Vec<IdleException>,
    /// What is in the baseline, and was not found any more.
    pub resolved: Vec<Kept>,
}

/// A finding with all that is known of it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The finding.
    pub finding: Finding,
    /// Recognises it in the next scan.
    pub fingerprint: Fingerprint,
    /// How urgent it is among those of its severity.
    pub score: Score,
    /// Whether somebody has to do something now.
    pub state: State,
    /// What the audit logs say; `None` without logs, or if they cannot say anything about it.
    pub usage: Option<Usage>,
}

/// Whether a finding counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Neither the baseline nor an exception contains it.
    Open,
    /// The baseline contains it, at least as severe and at least as wide.
    Known,
    /// An exception accepts it.
    Accepted(Exception),
    /// Kubernetes itself ships it in this form.
    System,
}

impl State {
    /// The name, in lower case.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Known => "known",
            Self::Accepted(_) => "accepted",
            Self::System => "system",
        }
    }
}

/// An exception that accepts nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct IdleException {
    /// The exception.
    #[serde(flatten)]
    pub exception: Exception,
    /// Why it accepts nothing, in one sentence.
    pub why: String,
}

/// What a report is compared with.
#[derive(Clone, Copy, Default)]
pub struct Context<'a> {
    /// An earlier report, whose findings are known.
    pub baseline: Option<&'a Baseline>,
    /// What somebody accepts, and today's date, by which exceptions expire.
    pub exceptions: Option<(&'a Exceptions, Date)>,
    /// What was used.
    pub uses: Option<&'a Uses>,
}

impl Document {
    /// Puts together what is known of the findings of a report.
    #[must_use]
    pub fn new(report: Report, context: Context<'_>) -> Self {
        let mut used: Vec<&Exception> = Vec::new();
        let mut entries: Vec<Entry> = report
            .findings
            .into_iter()
            .map(|finding| {
                let fingerprint = Fingerprint::of(&finding);
                let accepts = context.exceptions.and_then(|(all, today)| all.accepts(&fingerprint, &finding, today));
                let known = context.baseline.is_some_and(|baseline| baseline.has(&fingerprint, &finding));
                let state = match accepts {
                    _ if finding.system => State::System,
                    Some(exception) => {
                        used.push(exception);
                        State::Accepted(exception.clone())
                    }
                    None if known => State::Known,
                    None => State::Open,
                };
                let usage = context.uses.and_then(|uses| uses.of(&finding));
                Entry { score: Score::of(&finding), fingerprint, state, usage, finding }
            })
            .collect();
        entries.sort_by(|one, other| one.order().cmp(&other.order()));
        let found = |fingerprint: &Fingerprint| entries.iter().any(|entry| entry.fingerprint == *fingerprint);
        let idle_exceptions = context.exceptions.map(|(all, today)| all.idle(&used, today, found)).unwrap_or_default();
        let resolved = context.baseline.map(|baseline| baseline.without(&entries)).unwrap_or_default();
        let mut not_evaluated = report.not_evaluated;
        not_evaluated.extend(context.uses.iter().flat_map(|uses| uses.not_evaluated().to_vec()));
        not_evaluated.sort();
        not_evaluated.dedup();
        Self { entries, not_evaluated, idle_exceptions, resolved }
    }

    /// The open findings that are at least this severe; a job of CI fails because of them.
    pub fn failing(&self, severity: Severity) -> impl Iterator<Item = &Entry> {
        self.open().filter(move |entry| entry.finding.severity >= severity)
    }

    /// Those that are neither known, accepted nor Kubernetes' own.
    pub fn open(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.state == State::Open)
    }

    /// How many findings of each severity are open, worst first.
    #[must_use]
    pub fn counts(&self) -> Vec<(Severity, usize)> {
        let mut counts: Vec<(Severity, usize)> = Vec::new();
        for entry in self.open() {
            match counts.last_mut() {
                Some((severity, count)) if *severity == entry.finding.severity => *count += 1,
                _ => counts.push((entry.finding.severity, 1)),
            }
        }
        counts
    }

    /// `2 critical, 1 low`, and what is not counted: the first line for people.
    #[must_use]
    pub fn summary(&self) -> String {
        let counts: Vec<String> =
            self.counts().into_iter().map(|(severity, count)| format!("{count} {severity}")).collect();
        let mut parts = vec![if counts.is_empty() { "nothing".to_owned() } else { counts.join(", ") }];
        let in_state = |name: &str| self.entries.iter().filter(|entry| entry.state.as_str() == name).count();
        let others = [
            (in_state("known"), "in the baseline"),
            (in_state("accepted"), "accepted by an exception"),
            (in_state("system"), "part of Kubernetes itself"),
            (self.resolved.len(), "resolved since the baseline"),
            (self.not_evaluated.len(), "not evaluated"),
        ];
        parts.extend(others.into_iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")));
        parts.join("; ")
    }
}

impl Entry {
    /// Worst first; equal findings are equal in everything that is compared.
    fn order(&self) -> impl Ord + '_ {
        let finding = &self.finding;
        (
            finding.system,
            Reverse(self.score.value),
            (&finding.id, &finding.subject, &finding.scope, &finding.path, &finding.title),
        )
    }

    /// `group dev`, or the object that nobody has. Not escaped.
    #[must_use]
    pub fn holder(&self) -> String {
        match (&self.finding.subject, self.finding.path.first()) {
            (Some(subject), _) => subject.to_string(),
            (None, Some(hop)) => hop.object.clone(),
            (None, None) => String::new(),
        }
    }

    /// `whole cluster`, `namespaces a, b and 7 more`. Not escaped.
    #[must_use]
    pub fn place(&self) -> String {
        match self.finding.scope.as_slice() {
            [] => "whole cluster".to_owned(),
            [one] => format!("namespace {one}"),
            many => {
                let shown: Vec<&str> = many.iter().take(SHOWN).map(String::as_str).collect();
                let more = many.len() - shown.len();
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                format!("namespaces {}{more}", shown.join(", "))
            }
        }
    }
}

/// How many names one line shows.
const SHOWN: usize = 3;

#[cfg(test)]
mod tests;
