//! The report for programs. `docs/schemas/scan.json` describes it, and [`Baseline`](crate::Baseline) reads it.

use serde::Serialize;
use utoipa::ToSchema;

use super::{Document, Entry, IdleException, Score, State};
use crate::audit::Usage;
use crate::baseline::{FORMAT, Kept};
use crate::exceptions::Exception;
use crate::finding::{Finding, NotEvaluated};
use crate::fingerprint::Fingerprint;

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct View<'a> {
    /// The version of this format; it changes when a key changes its meaning or goes away.
    #[schema(value_type = String, pattern = "^jitd-scan/1$")]
    format: &'static str,
    /// Worst first; what Kubernetes itself ships comes last.
    findings: Vec<FindingView<'a>>,
    /// What could not be examined: nothing is known about it.
    #[schema(value_type = Vec<NotEvaluated>)]
    not_evaluated: &'a [NotEvaluated],
    /// Exceptions that accept nothing.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[schema(value_type = Vec<IdleException>, required = false)]
    idle_exceptions: &'a [IdleException],
    /// What the baseline has, and the scan did not find.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[schema(value_type = Vec<Kept>, required = false)]
    resolved: &'a [Kept],
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct FindingView<'a> {
    #[serde(flatten)]
    #[schema(value_type = Finding)]
    finding: &'a Finding,
    /// Recognises it in the next scan.
    #[schema(value_type = String, pattern = "^[0-9a-f]{16}$")]
    fingerprint: &'a Fingerprint,
    #[schema(value_type = Score)]
    score: &'a Score,
    /// Only an open finding makes --fail-on fail.
    #[schema(value_type = String, pattern = "^(open|known|accepted|system)$")]
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Exception>)]
    exception: Option<&'a Exception>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Usage>)]
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
