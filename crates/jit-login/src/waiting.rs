//! What waits for this person's answer: requests, extensions, and reviews of break-glass.
//!
//! `ls --watch --bell` rings for it. `status --waiting` counts it for a login banner or a prompt, so it asks the daemon for a
//! moment only, never fails and never prints an error.

use std::path::PathBuf;

use jit_core::grant::Phase;
use jit_wire::{FilterQuery, GrantView, StepView, WhoamiView};
use serde::Serialize;
use utoipa::ToSchema;

use crate::complete::PATIENCE;
use crate::daemon::{Daemon, runtime};
use crate::failure::Failure;
use crate::output::{Format, show};
use crate::text::seconds_to;

/// An answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// To a request, or to its extension.
    Approval,
    /// To a use of break-glass.
    Review,
}

/// The ids of the grants that wait.
#[derive(Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Waiting {
    /// Those that lack an approval.
    requests: Vec<String>,
    /// Those that lack a review.
    reviews: Vec<String>,
}

/// The answer of this person that a grant lacks, if any.
pub(crate) fn lacks(grant: &GrantView, who: &WhoamiView) -> Option<Answer> {
    let lacks = |steps: &[StepView], answered: &[String]| {
        let is_asked = |step: &StepView| step.missing > 0 && step.groups.iter().any(|group| who.groups.contains(group));
        !answered.contains(&who.name) && steps.iter().any(is_asked)
    };
    if grant.requester == who.name {
        return None;
    }
    let is_extended = |grant: &GrantView| {
        let open = grant.extension.as_ref().filter(|asked| seconds_to(asked.pending_until) > 0);
        open.is_some_and(|asked| lacks(&asked.steps, &asked.agreed))
    };
    if grant.phase == Phase::Pending && lacks(&grant.steps, &grant.agreed) || is_extended(grant) {
        return Some(Answer::Approval);
    }
    let glass = grant.break_glass.as_ref().filter(|glass| glass.owed)?;
    let reviewers: Vec<String> = glass.reviews.iter().map(|review| review.by.clone()).collect();
    let is_asked = if glass.disputed {
        who.administers && !reviewers.contains(&who.name)
    } else {
        lacks(&glass.steps, &reviewers)
    };
    is_asked.then_some(Answer::Review)
}

/// `status --waiting`: writes the line; nothing if nothing waits, or if the daemon does not answer in time.
pub(crate) fn run(socket: Option<PathBuf>, server_user: Option<&str>, format: Format) -> Result<(), Failure> {
    if let Some(waiting) = found(socket, server_user) {
        let names = || [&waiting.requests[..], &waiting.reviews[..]].concat().join("\n");
        // A closed terminal is not a failure either.
        let _ = show(format, &waiting, || line(waiting.requests.len(), waiting.reviews.len()), names);
    }
    Ok(())
}

fn found(socket: Option<PathBuf>, server_user: Option<&str>) -> Option<Waiting> {
    let daemon = Daemon::new(socket, server_user).ok()?;
    let asked = runtime().ok()?.block_on(async { tokio::time::timeout(PATIENCE, ask(&daemon)).await });
    asked.ok()?.ok()
}

async fn ask(daemon: &Daemon) -> Result<Waiting, Failure> {
    let mut client = daemon.connect().await?;
    let who = client.whoami().await?;
    let mut waiting = Waiting::default();
    for grant in client.list(false, MOST, &FilterQuery::default()).await?.grants {
        match lacks(&grant, &who) {
            Some(Answer::Approval) => waiting.requests.push(grant.id),
            Some(Answer::Review) => waiting.reviews.push(grant.id),
            None => {}
        }
    }
    Ok(waiting)
}

/// The most grants that are looked at.
const MOST: u32 = 1000;

/// `2 requests and 1 review wait for you`
fn line(requests: usize, reviews: usize) -> String {
    let each = [(requests, "request"), (reviews, "review")].into_iter().filter(|(count, _)| *count > 0);
    let each: Vec<String> =
        each.map(|(count, noun)| format!("{count} {noun}{}", if count == 1 { "" } else { "s" })).collect();
    let verb = if requests.saturating_add(reviews) == 1 { "waits" } else { "wait" };
    if each.is_empty() { String::new() } else { format!("{} {verb} for you", each.join(" and ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn the_line_counts_in_words() {
        for (requests, reviews, said) in [
            (0, 0, ""),
            (1, 0, "1 request waits for you"),
            (2, 0, "2 requests wait for you"),
            (0, 1, "1 review waits for you"),
            (1, 1, "1 request and 1 review wait for you"),
        ] {
            assert_eq!(line(requests, reviews), said);
        }
    }

    /// Only what a group of the person still lacks waits for them, and never their own.
    #[test]
    fn a_grant_waits_for_whoever_has_not_answered_yet() {
        let step = |missing: u32| json!([{"groups": ["leads"], "count": 1, "missing": missing}]);
        let late = "2999-01-01T00:00:00Z";
        let grant = |more: Value| -> GrantView {
            let mut view = json!({
                "id": "7k3m9x2q7k3m9x2q", "phase": "live", "requester": "alice", "cluster": "prod", "namespaces": ["payments"],
                "access": "role view", "duration": "15m", "reason": "INC-42", "rule": "oncall", "agreed": [], "digest": "d",
                "key": "k", "requestedAt": "2026-11-23T18:00:00Z", "steps": step(1), "certificates": 0, "answers": 0,
            });
            view.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            serde_json::from_value(view).unwrap()
        };
        let who = |name: &str, group: &str| WhoamiView {
            name: name.to_owned(),
            groups: vec![group.to_owned()],
            uid: Some(1000),
            issuer: None,
            subject: None,
            issued: None,
            directory: None,
            host: "bastion1".to_owned(),
            administers: group == "admins",
            draining: None,
        };
        let glass = |by: &str| {
            let review = json!({"by": by, "at": late, "verdict": "justified", "words": "fine"});
            json!({"breakGlass": {"reason": "r", "brokenAt": late, "reviewUntil": late, "digest": "d", "steps": step(1),
                "reviews": [review], "owed": true, "overdue": false}})
        };
        let disputed = |by: &str| {
            let mut disputed = glass(by);
            disputed["breakGlass"]["disputed"] = true.into();
            disputed
        };
        let extension = |until: &str| {
            json!({"extension": {"duration": "5m", "reason": "r", "digest": "d", "pendingUntil": until, "steps": step(1),
                "agreed": []}})
        };
        let (bob, approval) = (who("bob", "leads"), Some(Answer::Approval));
        for (seen, who, expected) in [
            (grant(json!({"phase": "pending"})), &bob, approval),
            (grant(json!({"phase": "pending"})), &who("dave", "others"), None),
            (grant(json!({"phase": "pending"})), &who("alice", "leads"), None),
            (grant(json!({"phase": "pending", "agreed": ["bob"]})), &bob, None),
            (grant(json!({"phase": "pending", "steps": step(0)})), &bob, None),
            (grant(json!({})), &bob, None),
            (grant(extension(late)), &bob, approval),
            (grant(extension("2026-11-23T18:00:00Z")), &bob, None),
            (grant(glass("carol")), &bob, Some(Answer::Review)),
            (grant(glass("bob")), &bob, None),
            (grant(disputed("carol")), &bob, None),
            (grant(disputed("carol")), &who("dave", "admins"), Some(Answer::Review)),
            (grant(disputed("dave")), &who("dave", "admins"), None),
        ] {
            assert_eq!(lacks(&seen, who), expected, "{seen:?}");
        }
    }
}
