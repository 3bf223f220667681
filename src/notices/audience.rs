//! Whom a fact concerns: those who have to answer, the requester, the administrators.
//!
//! It follows from the terms of the grant, which the rule gave it. It reads nothing.

use super::NOBODY;
use crate::grant::policy::{Step, Yes, unmet};
use crate::grant::{EndCause, Event, Fact, Grant, Phase, glass};
use crate::wire::notice::Audience;

/// Whom a fact concerns; `grant` is its grant after it.
pub(super) fn of(fact: &Fact, grant: Option<&Grant>) -> Audience {
    let to_know = grant.filter(|_| tells_requester(&fact.event)).map(|grant| grant.requester.to_string());
    Audience {
        to_know: to_know.into_iter().collect(),
        to_administrators: concerns_administrators(fact, grant),
        ..grant.map_or(NOBODY, of_grant)
    }
}

/// Who has something to answer now.
pub(super) fn of_grant(grant: &Grant) -> Audience {
    let mut to_answer: Vec<String> = Vec::new();
    let mut ask = |steps: &[Step], agreed: &[Yes]| {
        for group in unmet(steps, agreed).into_iter().flat_map(|(step, _)| &step.groups) {
            if !to_answer.contains(group) {
                to_answer.push(group.clone());
            }
        }
    };
    if grant.phase == Phase::Pending && grant.glass.is_none() {
        ask(&grant.terms.steps, &grant.agreed);
    }
    if let Some(extension) = &grant.extension {
        ask(&grant.terms.steps, &extension.agreed);
    }
    if let Some(glass) = grant.glass.as_ref().filter(|glass| glass.owed) {
        ask(glass::steps(grant), &glass.reviewers());
    }
    Audience { to_answer, to_know_groups: grant.terms.notify().to_vec(), ..NOBODY }
}

/// Whether the requester has to know of it. The steps between an approval and live access are the daemon's own affair.
fn tells_requester(event: &Event) -> bool {
    match event {
        Event::Agreed { .. }
        | Event::Narrowed(_)
        | Event::Reassessed(_)
        | Event::Approved { .. }
        | Event::Denied { .. }
        | Event::Lapsed { .. }
        | Event::CollectionFailed { .. }
        | Event::Live { .. }
        | Event::PartEnded { .. }
        | Event::RoleChanged { .. }
        | Event::ExtensionAgreed { .. }
        | Event::Extended { .. }
        | Event::ExtensionDenied { .. }
        | Event::GlassBroken { .. }
        | Event::Reviewed { .. }
        | Event::Ended { .. } => true,
        Event::Started { .. }
        | Event::PolicyLoaded { .. }
        | Event::Stopped
        | Event::Drained { .. }
        | Event::Resumed
        | Event::ScanFinished(_)
        | Event::ScanFailed { .. }
        | Event::RequestRefused(_)
        | Event::RefusalsCounted { .. }
        | Event::Introduced { .. }
        | Event::Linked { .. }
        | Event::LoggedOut(_)
        | Event::Notified { .. }
        | Event::Requested(_)
        | Event::Withdrawn
        | Event::Refused { .. }
        | Event::IssueIntended { .. }
        | Event::Issued { .. }
        | Event::BindIntended { .. }
        | Event::Bound { .. }
        | Event::BindingAltered { .. }
        | Event::PartUnbindIntended { .. }
        | Event::Logged { .. }
        | Event::LogContradicted { .. }
        | Event::SessionsRead { .. }
        | Event::SessionsDeletionIntended { .. }
        | Event::SessionsDeleted { .. }
        | Event::ExtensionAsked { .. }
        | Event::UnbindIntended { .. } => false,
    }
}

/// Whether the administrators have to know of it: what an operator does to everybody, what a cluster or the gateway
/// does against a grant, and a disagreement of reviewers, which one of them decides.
fn concerns_administrators(fact: &Fact, grant: Option<&Grant>) -> bool {
    match &fact.event {
        Event::Reviewed { decides, .. } => *decides || grant.is_some_and(glass::is_disputed),
        Event::Drained { .. }
        | Event::Resumed
        | Event::ScanFailed { .. }
        | Event::GlassBroken { .. }
        | Event::CollectionFailed { .. }
        | Event::BindingAltered { .. }
        | Event::LogContradicted { .. } => true,
        Event::ScanFinished(scan) => scan.new.is_some_and(|new| new > 0),
        Event::Ended { why, .. } => match why {
            EndCause::Drifted | EndCause::Failed => true,
            EndCause::Revoked => fact.is_by_operator(),
            EndCause::Expired | EndCause::Released => false,
        },
        Event::UnbindIntended { why: EndCause::Revoked, .. } => fact.is_by_operator(),
        _ => false,
    }
}
