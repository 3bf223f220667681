//! Breaking the glass: access at once when nobody answers, by a rule that lets it, and the review that is owed for
//! it afterwards.
//!
//! ```text
//!  pending ──after──► glass_broken ─► approved ─► … (as any other, but shorter and marked)
//!                          └─► reviewed … reviewed(closes): until then it is owed, also after the end
//! ```
//! The review is owed whatever becomes of the grant, also when it is denied before it is collected: what is reviewed is
//! that somebody went ahead without an answer. A review is no approval, so the check at collection asks whether the rule
//! still allows break-glass, not whether somebody agreed.
//! Every function takes the grant and the moment and answers with an event, or with a refusal.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::digest::sha256_hex;
use super::four_eyes::{counts_once, in_groups_of, is_another};
use super::policy::{BreakGlass, Step, Yes, unmet};
use super::refusal::{Code, Refusal};
use super::request::{Person, Reason, Window, after};
use super::{Event, Grant, Phase};

/// Glass that was broken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BreakGlassRecord {
    /// Why nobody could be waited for.
    pub reason: Reason,
    /// When.
    pub broken_at: Timestamp,
    /// Until when it has to be reviewed.
    pub review_until: Timestamp,
    /// What a review answers.
    pub digest: String,
    /// The reviews so far, in order.
    pub reviews: Vec<Reviewed>,
    /// Whether a review is still owed.
    pub owed: bool,
}

/// What one person found when they looked at it afterwards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Reviewed {
    /// Who, in which of the asked groups, and when.
    pub by: Yes,
    /// What they found.
    pub verdict: Verdict,
    /// In their words.
    pub words: Reason,
}

/// What a reviewer finds. Either is a review: what has to be done about it is for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// There was reason enough.
    Justified,
    /// There was not.
    NotJustified,
}

impl Verdict {
    /// The word for it, as in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Justified => "justified",
            Self::NotJustified => "not-justified",
        }
    }
}

impl BreakGlassRecord {
    /// Whether the review is owed and its time is over.
    #[must_use]
    pub fn is_overdue(&self, now: Timestamp) -> bool {
        self.owed && self.review_until <= now
    }

    /// Who reviewed it, as they count in the steps.
    #[must_use]
    pub fn reviewers(&self) -> Vec<Yes> {
        self.reviews.iter().map(|review| review.by.clone()).collect()
    }
}

/// From when on the glass of a request can be broken; none when its terms know no broken glass, or nobody has to
/// answer any more.
#[must_use]
pub fn possible_from(grant: &Grant) -> Option<Timestamp> {
    let glass = grant.terms.break_glass.as_ref().filter(|_| grant.phase == Phase::Pending)?;
    Some(after(grant.requested_at, glass.after.map_or(SignedDuration::ZERO, Window::duration)))
}

/// The requester takes access that nobody agreed to. `owes` tells whether a review of theirs is owed already.
/// Answers `glass_broken`.
///
/// # Errors
/// The refusal, when it is not theirs, nobody is waited for, the rule gives none, or it is too early.
pub fn break_glass(
    grant: &Grant,
    by: &Person,
    reason: Reason,
    owes: bool,
    collect_within: SignedDuration,
    now: Timestamp,
) -> Result<Event, Refusal> {
    if grant.requester != by.name {
        return Err(Refusal::not_the_requester());
    }
    if grant.phase != Phase::Pending {
        let why = format!("the request is already {}, no glass has to be broken", grant.phase.as_str());
        return Err(Refusal::new(Code::WrongPhase, why));
    }
    if grant.deadline.is_none_or(|deadline| deadline <= now) {
        return Err(Refusal::new(Code::TooLate, "nobody answered in time").hint("ask again"));
    }
    if owes {
        return Err(Refusal::new(Code::ReviewOwed, "access that you took without an answer is not reviewed yet")
            .hint("`jit-login ls` shows who has to review it; until then wait for an answer"));
    }
    let (Some(glass), Some(from)) = (&grant.terms.break_glass, possible_from(grant)) else {
        let why = format!("the rule `{}` gave no access without an answer when it was asked", grant.terms.rule);
        return Err(Refusal::new(Code::PolicyDenied, why).hint("wait for the answer"));
    };
    if now < from {
        let left = from.duration_since(now).as_secs().saturating_add(1);
        let why = format!("an answer is waited for first, {left} s more");
        return Err(Refusal::new(Code::WrongPhase, why).hint("break the glass then, if still nobody answers"));
    }
    let window = grant.ask.window.min(glass.max_duration);
    let review_until = after(now, glass.review.within.duration());
    let shown = json!({ "grant": grant.digest, "by": by.name, "at": now, "window": window, "reason": reason });
    Ok(Event::GlassBroken {
        reason,
        window,
        digest: sha256_hex(shown.to_string().as_bytes()),
        collect_until: grant.collect_until(collect_within, now),
        review_until,
    })
}

/// Somebody looks at it afterwards. Answers `reviewed`, which says whether it was the last one needed.
///
/// # Errors
/// The refusal, when the glass was not broken, nothing is owed, the person may not, or what was shown is not what
/// was done.
pub fn review(
    grant: &Grant,
    reviewer: &Person,
    shown: &str,
    verdict: Verdict,
    words: Reason,
    now: Timestamp,
) -> Result<Event, Refusal> {
    let (Some(glass), steps) = (&grant.glass, steps(grant)) else {
        return Err(Refusal::new(Code::WrongPhase, "nothing is to be reviewed, the glass was not broken"));
    };
    if !glass.owed {
        return Err(Refusal::new(Code::WrongPhase, "it was reviewed already, nothing is owed"));
    }
    is_another(grant, reviewer, "reviews what they did themselves")
        .map_err(|refusal| refusal.hint("somebody else of the groups that review has to"))?;
    let by = in_groups_of(steps, reviewer, now);
    let groups: BTreeSet<String> = by.groups.iter().cloned().collect();
    if !steps.iter().any(|step| step.counts(&by)) {
        let who: Vec<String> = steps.iter().map(ToString::to_string).collect();
        return Err(Refusal::new(Code::NotAllowed, format!("only {} may review this", who.join(" and "))));
    }
    counts_once(&glass.reviewers(), reviewer, "reviewed this")?;
    if shown != glass.digest {
        return Err(Refusal::new(Code::DigestMismatch, "what you review is not what was done")
            .hint("look at it again with `jit-login show`, then review that"));
    }
    let closes = closes(grant, by);
    Ok(Event::Reviewed { digest: glass.digest.clone(), groups, verdict, words, closes })
}

/// Whether nothing is owed any more after one more review.
#[must_use]
pub(super) fn closes(grant: &Grant, by: Yes) -> bool {
    let mut all = grant.glass.as_deref().map(BreakGlassRecord::reviewers).unwrap_or_default();
    all.push(by);
    unmet(steps(grant), &all).is_empty()
}

/// Who has to review.
#[must_use]
pub fn steps(grant: &Grant) -> &[Step] {
    grant.terms.break_glass.as_ref().map_or(&[], |glass| glass.review.steps.as_slice())
}

/// Whether the policy still lets the glass be broken as it was.
///
/// # Errors
/// The refusal.
pub fn still_let(grant: &Grant, now: Option<&BreakGlass>) -> Result<(), Refusal> {
    if now.is_some() && now == grant.terms.break_glass.as_ref() {
        return Ok(());
    }
    Err(Refusal::new(Code::RequesterLostRight, "the policy no longer gives this access without an answer")
        .hint("ask again, and wait for the answer"))
}
