//! The report for programs. [`schema`](super::schema) describes it, and [`Baseline`](crate::Baseline) reads it.

use serde::Serialize;

use super::{Document, Entry, IdleException, Score, State};
use crate::audit::Usage;
use crate::baseline::{FORMAT, Kept};
use crate::exceptions::Exception;
use crate::finding::{Finding, NotEvaluated};
use crate::fingerprint::Fingerprint;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct View<'a> {
    format: &'static str,
    findings: Vec<FindingView<'a>>,
    not_evaluated: &'a [NotEvaluated],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    idle_exceptions: &'a [IdleException],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    resolved: &'a [Kept],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FindingView<'a> {
    #[serde(flatten)]
    finding: &'a Finding,
    fingerprint: &'a Fingerprint,
    score: &'a Score,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    exception: Option<&'a Exception>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<&'a Usage>,
}

impl<'a> From<&'a Entry> for FindingView<'a> {
    fn from(entry: &'a Entry) -> Self {
        let exception = match &entry.state {
            State::Accepted(exception) => Some(exception),
            State::Open | State::Known | State::System => None,
        };
        Self {
            finding: &entry.finding,
            fingerprint: &entry.fingerprint,
            score: &entry.score,
            state: entry.state.as_str(),
            exception,
            usage: entry.usage.as_ref(),
        }
    }
}

/// The report as JSON, indented.
///
/// # Errors
/// None in practice: all of it is text, numbers and lists.
pub fn json(document: &Document) -> Result<String, serde_json::Error> {
    let mut text = serde_json::to_string_pretty(&view(document))?;
    text.push('\n');
    Ok(text)
}

/// The report on one line, for the page.
pub(super) fn compact(document: &Document) -> Result<String, serde_json::Error> {
    serde_json::to_string(&view(document))
}

fn view(document: &Document) -> View<'_> {
    View {
        format: FORMAT,
        findings: document.entries.iter().map(FindingView::from).collect(),
        not_evaluated: &document.not_evaluated,
        idle_exceptions: &document.idle_exceptions,
        resolved: &document.resolved,
    }
}
