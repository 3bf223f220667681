//! Break-glass: immediate access when nobody answers, if the rule allows it, and the review that is owed afterwards.
//!
//! ```text
//!  pending ──after──► glass_broken ─► approved ─► … (like any other, but shorter and marked)
//!                          └─► reviewed … reviewed(closes): until then a review is owed, even after the end
//!                                   └─► disputed: the reviewers disagree ──► reviewed(closes, decides) by `admins`
//! ```
//! The review is owed whatever becomes of the grant, even if it is denied before it is collected: the review is about
//! somebody going ahead without an answer. A review is not an approval, so the check at collection asks whether the
//! rule still allows break-glass, not whether somebody approved. Every function takes the grant and the time, and
//! returns an event or a refusal.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::digest::sha256_hex;
use super::four_eyes::{counts_once, in_groups_of, is_another, login_holds};
use super::policy::{BreakGlass, Step, Yes, unmet};
use super::refusal::{Code, Refusal};
use super::request::{Person, Reason, Window, after, written};
use super::{Event, Grant, Phase};

/// A use of break-glass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BreakGlassRecord {
    /// Why the requester could not wait.
    pub reason: Reason,
    /// When.
    pub broken_at: Timestamp,
    /// Until when it has to be reviewed.
    pub review_until: Timestamp,
    /// The digest that a review refers to.
    pub digest: String,
    /// The reviews so far, in order.
    pub reviews: Vec<Reviewed>,
    /// Whether a review is still owed.
    pub owed: bool,
}

/// The review of one person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Reviewed {
    /// Who, in which of the required groups, and when.
    pub by: Yes,
    /// The verdict.
    pub verdict: Verdict,
    /// The reviewer's explanation.
    pub words: Reason,
    /// Whether it is the decision of an administrator where the reviewers disagreed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub decides: bool,
}

/// The verdict of a review. Reviewers who agree complete the review with either; people decide what follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The use was justified.
    Justified,
    /// It was not.
    NotJustified,
}

impl Verdict {
    /// The name, as in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Justified => "justified",
            Self::NotJustified => "not-justified",
        }
    }
}

impl BreakGlassRecord {
    /// Whether a review is owed and overdue.
    #[must_use]
    pub fn is_overdue(&self, now: Timestamp) -> bool {
        self.owed && self.review_until <= now
    }

    /// The reviewers, in the form that the steps count.
    #[must_use]
    pub fn reviewers(&self) -> Vec<Yes> {
        self.reviews.iter().map(|review| review.by.clone()).collect()
    }
}

/// From when on break-glass is available for a request; `None` if its terms do not allow it, or the request is not
/// pending.
#[must_use]
pub fn possible_from(grant: &Grant) -> Option<Timestamp> {
    let glass = grant.terms.break_glass.as_ref().filter(|_| grant.phase == Phase::Pending)?;
    Some(after(grant.requested_at, glass.after.map_or(SignedDuration::ZERO, Window::duration)))
}

/// The requester uses break-glass. `owes` says whether the requester already owes a review. Returns `glass_broken`.
///
/// # Errors
/// The refusal, if it is somebody else's request, it is not pending, the rule does not allow it, or it is too early.
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
        let why = format!("break-glass does not apply: the request is already {}", grant.phase.as_str());
        return Err(Refusal::new(Code::WrongPhase, why));
    }
    if grant.deadline.is_none_or(|deadline| deadline <= now) {
        return Err(Refusal::new(Code::TooLate, "nobody answered in time").hint("make a new request"));
    }
    if owes {
        return Err(Refusal::new(Code::ReviewOwed, "your last use of break-glass is not reviewed yet")
            .hint("`jit-login ls` shows who has to review it; until then wait for an answer"));
    }
    let (Some(glass), Some(from)) = (&grant.terms.break_glass, possible_from(grant)) else {
        let why = format!("rule `{}` did not allow break-glass when you made the request", grant.terms.rule);
        return Err(Refusal::new(Code::PolicyDenied, why).hint("wait for the answer"));
    };
    if now < from {
        let left = from.duration_since(now).as_secs().saturating_add(1);
        let why = format!("break-glass is available in {}", written(left));
        return Err(Refusal::new(Code::WrongPhase, why).hint("use it then, if nobody has answered"));
    }
    login_holds(grant, by, "break-glass here", now)?;
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

/// A reviewer reviews a use of break-glass, or a member of `admins` decides where the reviewers disagree. Returns
/// `reviewed`, which says whether it was the last review needed.
///
/// # Errors
/// The refusal, if break-glass was not used, no review is owed, the person may not review or decide it, or `shown` is
/// not its digest.
pub fn review(
    grant: &Grant,
    reviewer: &Person,
    admins: &[String],
    shown: &str,
    verdict: Verdict,
    words: Reason,
    now: Timestamp,
) -> Result<Event, Refusal> {
    let (Some(glass), steps) = (&grant.glass, steps(grant)) else {
        return Err(Refusal::new(Code::WrongPhase, "there is nothing to review: break-glass was not used"));
    };
    if !glass.owed {
        return Err(Refusal::new(Code::WrongPhase, "it is already reviewed"));
    }
    is_another(grant, reviewer, "reviews what they did themselves")
        .map_err(|refusal| refusal.hint("somebody else in the reviewing groups has to review it"))?;
    let decides = is_disputed(grant);
    let by = in_groups_of(steps, reviewer, now);
    if decides && !reviewer.is_in_any(admins) {
        let who = match admins {
            [] => "name a group in `admins` of config.yaml, and reload jitd".to_owned(),
            groups => format!("`admins` are the members of {}", groups.join(", ")),
        };
        let why = "the reviewers disagree; a member of `admins` decides";
        return Err(Refusal::new(Code::NotAllowed, why).hint(who));
    }
    if !decides && !steps.iter().any(|step| step.counts(&by)) {
        let who = steps.iter().map(|step| {
            let hours = step.hours.as_ref().map_or(String::new(), |hours| format!(" ({hours})"));
            format!("{}{hours}", step.groups.join(" or "))
        });
        let who = who.collect::<Vec<_>>().join(" or ");
        return Err(Refusal::new(Code::NotAllowed, format!("only members of {who} may review this")));
    }
    counts_once(&glass.reviewers(), reviewer, "reviewed this")?;
    if shown != glass.digest {
        return Err(Refusal::new(Code::DigestMismatch, "it changed since you looked at it")
            .hint("look at it again with `jit-login show`, then review that"));
    }
    let digest = glass.digest.clone();
    if decides {
        let groups = admins.iter().filter(|group| reviewer.groups.contains(*group)).cloned().collect();
        return Ok(Event::Reviewed { digest, groups, verdict, words, closes: true, decides });
    }
    let groups = by.groups.iter().cloned().collect();
    let closes = after_review(grant, by, verdict) == AfterReview::Complete;
    Ok(Event::Reviewed { digest, groups, verdict, words, closes, decides })
}

/// What a review leaves, before anybody decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AfterReview {
    /// More people have to review.
    Owed,
    /// Enough people have, and they agree.
    Complete,
    /// Enough people have, and they disagree.
    Disputed,
}

/// What the review of `by` leaves.
#[must_use]
pub(super) fn after_review(grant: &Grant, by: Yes, verdict: Verdict) -> AfterReview {
    let before = grant.glass.as_deref();
    let mut all = before.map(BreakGlassRecord::reviewers).unwrap_or_default();
    all.push(by);
    if !unmet(steps(grant), &all).is_empty() {
        return AfterReview::Owed;
    }
    let disagrees = |review: &Reviewed| review.verdict != verdict;
    if before.is_some_and(|glass| glass.reviews.iter().any(disagrees)) {
        AfterReview::Disputed
    } else {
        AfterReview::Complete
    }
}

/// Whether enough people have reviewed and they disagree, so that a member of `admins` has to decide.
#[must_use]
pub fn is_disputed(grant: &Grant) -> bool {
    // Reviewers who agree close it, so one that is owed although nobody is missing is disputed.
    grant.glass.as_ref().is_some_and(|glass| glass.owed && unmet(steps(grant), &glass.reviewers()).is_empty())
}

/// The steps of the review: who has to review.
#[must_use]
pub fn steps(grant: &Grant) -> &[Step] {
    grant.terms.break_glass.as_ref().map_or(&[], |glass| glass.review.steps.as_slice())
}

/// Checks that the policy still allows break-glass on the same terms.
///
/// # Errors
/// The refusal.
pub fn still_let(grant: &Grant, now: Option<&BreakGlass>) -> Result<(), Refusal> {
    if now.is_some() && now == grant.terms.break_glass.as_ref() {
        return Ok(());
    }
    Err(Refusal::new(Code::RequesterLostRight, "the policy no longer allows break-glass for this access")
        .hint("make a new request, and wait for the answer"))
}
