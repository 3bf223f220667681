//! Extensions: more time for live access. The holder requests one, the approvers of the request answer it, and the
//! total never exceeds what the rule allows.
//!
//! The grant stays live while the extension is pending and if nobody answers, so there is no gap in the access. Every
//! function takes the grant and the time, and returns an event or a refusal.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::digest::sha256_hex;
use super::four_eyes::{counts_once, login_holds, yes_of};
use super::policy::{Yes, unmet};
use super::refusal::{Code, Refusal};
use super::request::{Person, Reason, Window, after, written};
use super::{Event, Grant, Phase};

/// A requested extension.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Extension {
    /// How much more time.
    pub window: Window,
    /// Why.
    pub reason: Reason,
    /// The digest that an approval refers to.
    pub digest: String,
    /// Until when approvers can answer.
    pub pending_until: Timestamp,
    /// The approvals, in order.
    pub agreed: Vec<Yes>,
}

/// The holder requests an extension. Returns `extension_asked`.
///
/// # Errors
/// The refusal, if there is no live access, an extension is already pending, or the rule does not allow that much in
/// total.
pub fn ask(
    grant: &Grant,
    window: Window,
    reason: Reason,
    answer_within: SignedDuration,
    now: Timestamp,
) -> Result<Event, Refusal> {
    let until = end(grant, window, now)?;
    if open(grant, now).is_some() {
        return Err(Refusal::new(Code::WrongPhase, "an extension is already pending").hint("wait for the answer"));
    }
    let within = grant.terms.pending.map_or(answer_within, Window::duration);
    let pending_until = grant.deadline.map_or(now, |deadline| deadline.min(after(now, within)));
    let shown = json!({ "grant": grant.digest, "until": until, "window": window, "reason": reason });
    Ok(Event::ExtensionAsked { window, reason, digest: sha256_hex(shown.to_string().as_bytes()), pending_until })
}

/// An approver approves the extension. Returns `extension_agreed`, or `extended` if no more approvals are needed.
///
/// # Errors
/// The refusal, if the approver may not approve, or `shown` is not the extension's digest.
pub fn approve(grant: &Grant, approver: &Person, shown: &str, now: Timestamp) -> Result<Event, Refusal> {
    let extension = answerable(grant, now)?;
    counts_once(&extension.agreed, approver, "approved this extension")?;
    if shown != extension.digest {
        return Err(Refusal::new(Code::DigestMismatch, "the request changed since you looked at it")
            .hint("look at it again with `jit-login show`, then approve that"));
    }
    login_holds(grant, approver, "approving this", now)?;
    let yes = yes_of(grant, approver, now)?;
    let (digest, groups) = (extension.digest.clone(), yes.groups.iter().cloned().collect());
    let agreed: Vec<Yes> = extension.agreed.iter().cloned().chain([yes]).collect();
    if unmet(&grant.terms.steps, &agreed).is_empty() {
        Ok(Event::Extended { digest, groups, until: end(grant, extension.window, now)? })
    } else {
        Ok(Event::ExtensionAgreed { digest, groups })
    }
}

/// An approver denies the extension; the access continues until its end.
///
/// # Errors
/// The refusal, if no extension is pending.
pub fn deny(grant: &Grant, reason: String, now: Timestamp) -> Result<Event, Refusal> {
    answerable(grant, now).map(|_| Event::ExtensionDenied { reason })
}

/// The automatic approval of an extension for which the policy requires none; `None` if approvals are required.
///
/// # Errors
/// The same refusals as [`approve`].
pub fn auto_extend(grant: &Grant, now: Timestamp) -> Result<Option<Event>, Refusal> {
    if !grant.terms.steps.is_empty() {
        return Ok(None);
    }
    let extension = answerable(grant, now)?;
    let until = end(grant, extension.window, now)?;
    Ok(Some(Event::Extended { digest: extension.digest.clone(), groups: BTreeSet::new(), until }))
}

/// The extension that is pending at this moment.
#[must_use]
pub fn open(grant: &Grant, now: Timestamp) -> Option<&Extension> {
    grant.extension.as_deref().filter(|extension| grant.phase == Phase::Live && now < extension.pending_until)
}

fn answerable(grant: &Grant, now: Timestamp) -> Result<&Extension, Refusal> {
    open(grant, now)
        .ok_or_else(|| Refusal::new(Code::WrongPhase, "the grant is already live, and no extension is pending"))
}

/// The end of the window after it is extended by `more`.
fn end(grant: &Grant, more: Window, now: Timestamp) -> Result<Timestamp, Refusal> {
    let (Phase::Live, Some(live_at), Some(deadline)) = (grant.phase, grant.live_at, grant.deadline) else {
        let why = format!("the grant is {}, so there is no access to extend", grant.phase.as_str());
        return Err(Refusal::new(Code::WrongPhase, why));
    };
    if now >= deadline {
        return Err(Refusal::new(Code::TooLate, "the window is over").hint("make a new request"));
    }
    let (until, last) = (after(deadline, more.duration()), after(live_at, grant.terms.max_total.duration()));
    if until > last {
        let left = last.duration_since(deadline).max(SignedDuration::ZERO).as_secs();
        let (rule, total) = (&grant.terms.rule, grant.terms.max_total);
        let why = format!("rule `{rule}` allows {total} in total, so at most {} more", written(left));
        return Err(Refusal::new(Code::PolicyDenied, why).hint("request less, or make a new request"));
    }
    Ok(until)
}
