//! More time for access that works: asked by who has it, answered by who would answer a request, and never past
//! what the rule gives in all.
//!
//! The grant stays live while the question is open and when nobody answers, so there is no gap in the access. Every function takes the grant and the moment and answers with an event, or with a refusal.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::digest::sha256_hex;
use super::four_eyes::{counts_once, yes_of};
use super::policy::{Yes, unmet};
use super::refusal::{Code, Refusal};
use super::request::{Person, Reason, Window, after};
use super::{Event, Grant, Phase};

/// More time that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Extension {
    /// How much more.
    pub window: Window,
    /// Why.
    pub reason: Reason,
    /// What an approval answers.
    pub digest: String,
    /// Until when an answer is waited for.
    pub pending_until: Timestamp,
    /// Who agreed, in order.
    pub agreed: Vec<Yes>,
}

/// More time is asked for. Answers `extension_asked`.
///
/// # Errors
/// The refusal, when there is no access, a question is open already, or the rule does not give so much in all.
pub fn ask(
    grant: &Grant,
    window: Window,
    reason: Reason,
    answer_within: SignedDuration,
    now: Timestamp,
) -> Result<Event, Refusal> {
    let until = end(grant, window, now)?;
    if open(grant, now).is_some() {
        return Err(Refusal::new(Code::WrongPhase, "more time is asked for already").hint("wait for the answer"));
    }
    let within = grant.terms.pending.map_or(answer_within, Window::duration);
    let pending_until = grant.deadline.map_or(now, |deadline| deadline.min(after(now, within)));
    let shown = json!({ "grant": grant.digest, "until": until, "window": window, "reason": reason });
    Ok(Event::ExtensionAsked { window, reason, digest: sha256_hex(shown.to_string().as_bytes()), pending_until })
}

/// An approver says yes to more time. Answers `extension_agreed`, or `extended` when it was the last one needed.
///
/// # Errors
/// The refusal, when the approver may not, or what was shown is not what stands.
pub fn approve(grant: &Grant, approver: &Person, shown: &str, now: Timestamp) -> Result<Event, Refusal> {
    let extension = answerable(grant, now)?;
    counts_once(&extension.agreed, approver, "agreed to more time")?;
    if shown != extension.digest {
        return Err(Refusal::new(Code::DigestMismatch, "what you approve is not what is asked now")
            .hint("look at it again with `jit-login show`, then approve that"));
    }
    let yes = yes_of(grant, approver, now)?;
    let (digest, groups) = (extension.digest.clone(), yes.groups.iter().cloned().collect());
    let agreed: Vec<Yes> = extension.agreed.iter().cloned().chain([yes]).collect();
    if unmet(&grant.terms.steps, &agreed).is_empty() {
        Ok(Event::Extended { digest, groups, until: end(grant, extension.window, now)? })
    } else {
        Ok(Event::ExtensionAgreed { digest, groups })
    }
}

/// An approver says no to more time; the access goes on to its end.
///
/// # Errors
/// The refusal, when nothing is asked.
pub fn deny(grant: &Grant, reason: String, now: Timestamp) -> Result<Event, Refusal> {
    answerable(grant, now).map(|_| Event::ExtensionDenied { reason })
}

/// The extension of a grant for which the policy asks nobody; none when somebody has to agree.
///
/// # Errors
/// The refusal, as for [`approve`].
pub fn auto_extend(grant: &Grant, now: Timestamp) -> Result<Option<Event>, Refusal> {
    if !grant.terms.steps.is_empty() {
        return Ok(None);
    }
    let extension = answerable(grant, now)?;
    let until = end(grant, extension.window, now)?;
    Ok(Some(Event::Extended { digest: extension.digest.clone(), groups: BTreeSet::new(), until }))
}

/// The question that waits for an answer at this moment.
#[must_use]
pub fn open(grant: &Grant, now: Timestamp) -> Option<&Extension> {
    grant.extension.as_deref().filter(|extension| grant.phase == Phase::Live && now < extension.pending_until)
}

fn answerable(grant: &Grant, now: Timestamp) -> Result<&Extension, Refusal> {
    open(grant, now)
        .ok_or_else(|| Refusal::new(Code::WrongPhase, "the grant is already live, and no more time is asked for"))
}

/// The end of the window after it is extended by `more`.
fn end(grant: &Grant, more: Window, now: Timestamp) -> Result<Timestamp, Refusal> {
    let (Phase::Live, Some(live_at), Some(deadline)) = (grant.phase, grant.live_at, grant.deadline) else {
        let why = format!("the grant is {}, there is no access to extend", grant.phase.as_str());
        return Err(Refusal::new(Code::WrongPhase, why));
    };
    if now >= deadline {
        return Err(Refusal::new(Code::TooLate, "the window is over").hint("ask again"));
    }
    let (until, last) = (after(deadline, more.duration()), after(live_at, grant.terms.max_total.duration()));
    if until > last {
        let left = last.duration_since(deadline).max(SignedDuration::ZERO).as_secs();
        let why =
            format!("the rule `{}` gives {} in all, so at most {left} s more", grant.terms.rule, grant.terms.max_total);
        return Err(Refusal::new(Code::PolicyDenied, why).hint("ask for less, or make a new request"));
    }
    Ok(until)
}
