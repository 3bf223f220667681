//! Approvals, and the permission to sign that results from them: the authority signs only for an [`Approved`], which
//! only this module creates, and which each signature consumes.
//!
//! Every function takes the grant and the time, and returns the event to record, or a refusal that changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::digest;
use super::four_eyes::{counts_once, login_holds, yes_of};
use super::glass;
use super::policy::{self, Circumstances, Decision, Policy, Yes, unmet};
use super::reconcile::{NamespaceDrift, RoleDrift, namespace_drift, role_drift};
use super::refusal::{Code, Refusal};
use super::request::{Access, AccessRequest, KeyHash, Namespace, Person, PersonName, after};
use super::{Event, FoundNamespace, Grant, GrantId, Narrowed, Phase, Reassessed, Shown};
use crate::rbac::ResolvedRole;

pub use super::four_eyes::{did_nothing_as, may_answer, may_be_answered};

/// Permission for one signature: for one key, one person and one grant, with a latest `notAfter`. Only [`collect`] and
/// [`renew`] create one.
#[derive(Debug)]
pub struct Approved {
    grant: GrantId,
    person: PersonName,
    key: KeyHash,
    not_after: Timestamp,
    broken_glass: bool,
}

impl Approved {
    /// The grant.
    #[must_use]
    pub fn grant(&self) -> &GrantId {
        &self.grant
    }

    /// The person in the certificate.
    #[must_use]
    pub fn person(&self) -> &PersonName {
        &self.person
    }

    /// The only key that may be certified.
    #[must_use]
    pub fn key(&self) -> &KeyHash {
        &self.key
    }

    /// The uid that identifies the holder's requests in the API server's audit log: the grant's id, with a prefix for
    /// break-glass access.
    #[must_use]
    pub fn uid(&self) -> String {
        if self.broken_glass { format!("{BROKEN_GLASS}{}", self.grant) } else { self.grant.to_string() }
    }

    /// The latest end of the certificate's validity.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }
}

/// The prefix of the uid in a certificate for break-glass access.
pub const BROKEN_GLASS: &str = "break-glass:";

/// An approver approves. Returns `agreed`, or `approved` if no more approvals are needed.
///
/// # Errors
/// The refusal, if the approver may not approve, or `shown` is not the request's current digest.
pub fn approve(
    grant: &Grant,
    approver: &Person,
    shown: &str,
    collect_within: SignedDuration,
    now: Timestamp,
) -> Result<Event, Refusal> {
    may_answer(grant, approver)?;
    waits_for_answer(grant, now)?;
    counts_once(&grant.agreed, approver, "approved this request")?;
    if shown != &*grant.digest {
        return Err(Refusal::new(Code::DigestMismatch, "the request changed since you looked at it")
            .hint("look at it again with `jit-login show`, then approve that"));
    }
    login_holds(grant, approver, "approving this", now)?;
    let yes = yes_of(grant, approver, now)?;
    let groups = yes.groups.iter().cloned().collect();
    let agreed: Vec<Yes> = grant.agreed.iter().cloned().chain([yes]).collect();
    let digest = grant.digest.to_string();
    if unmet(&grant.terms.steps, &agreed).is_empty() {
        Ok(Event::Approved { digest, groups, collect_until: grant.collect_until(collect_within, now) })
    } else {
        Ok(Event::Agreed { digest, groups })
    }
}

/// The same approval for a narrowed request. Returns `narrowed`, and then the approval with the new digest.
#[must_use]
pub fn to_less(grant: &Grant, yes: Event, ask: AccessRequest, shown: Shown) -> Vec<Event> {
    let digest = digest::of_request(&grant.id, &grant.requester, &ask, &grant.key, &shown, &grant.terms.sessions);
    let answered = digest.clone();
    let yes = match yes {
        Event::Agreed { groups, .. } => Event::Agreed { digest: answered, groups },
        Event::Approved { groups, collect_until, .. } => Event::Approved { digest: answered, groups, collect_until },
        other => other,
    };
    vec![Event::Narrowed(Box::new(Narrowed { ask, shown, digest })), yes]
}

/// A pending request with a new assessment: its digest changes, so earlier approvers have to approve again.
#[must_use]
pub fn reassess(grant: &Grant, shown: Shown) -> Reassessed {
    let digest = digest::of_request(&grant.id, &grant.requester, &grant.ask, &grant.key, &shown, &grant.terms.sessions);
    Reassessed { shown, digest }
}

/// The automatic approval of a request for which the policy requires none; `None` if approvals are required.
#[must_use]
pub fn auto_approve(grant: &Grant, collect_within: SignedDuration, now: Timestamp) -> Option<Event> {
    grant.terms.steps.is_empty().then(|| Event::Approved {
        digest: grant.digest.to_string(),
        groups: BTreeSet::new(),
        collect_until: grant.collect_until(collect_within, now),
    })
}

/// An approver denies.
///
/// # Errors
/// The refusal, if the approver may not deny, or the request can no longer be answered.
pub fn deny(grant: &Grant, approver: &Person, reason: String, now: Timestamp) -> Result<Event, Refusal> {
    may_answer(grant, approver)?;
    // Break-glass is not an answer: approvers may still deny until the access is collected.
    if grant.phase != Phase::Approved || grant.glass.is_none() {
        waits_for_answer(grant, now)?;
    }
    Ok(Event::Denied { reason })
}

fn waits_for_answer(grant: &Grant, now: Timestamp) -> Result<(), Refusal> {
    if grant.glass.is_some() {
        return Err(Refusal::new(Code::WrongPhase, "break-glass was used, so the request can no longer be approved")
            .hint("review it with `jit-login review`; deny it before it is collected, revoke it afterwards"));
    }
    if grant.phase != Phase::Pending {
        return Err(Refusal::new(
            Code::WrongPhase,
            format!("the request is already {} and cannot be answered any more", grant.phase.as_str()),
        ));
    }
    in_time(grant, now, "nobody answered in time")
}

fn in_time(grant: &Grant, now: Timestamp, late: &str) -> Result<(), Refusal> {
    match grant.deadline {
        Some(deadline) if now < deadline => Ok(()),
        _ => Err(Refusal::new(Code::TooLate, late).hint("make a new request")),
    }
}

/// The facts that are looked up again when a grant is collected.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// The policy in force now.
    pub policy: &'a Policy,
    /// The requester with their current groups.
    pub requester: &'a Person,
    /// The approvers with their current groups; without those who no longer exist.
    pub approvers: &'a BTreeMap<PersonName, Person>,
    /// The role as it is in the cluster now; `None` if it no longer exists.
    pub role: Option<&'a ResolvedRole>,
    /// The namespaces as they are in the cluster now; without those that no longer exist.
    pub namespaces: &'a BTreeMap<Namespace, FoundNamespace>,
    /// The other inputs of the policy's decision.
    pub circumstances: Circumstances<'a>,
}

/// The requester collects. Everything that was true at the approval has to be true now.
///
/// # Errors
/// The refusal. The grant does not change, unless its role or a namespace is missing or was replaced, which ends it.
pub fn collect(grant: &Grant, key: &KeyHash, facts: &Facts<'_>) -> Result<Approved, Refusal> {
    let now = facts.circumstances.now;
    if grant.phase != Phase::Approved {
        return Err(not_collectable(grant));
    }
    in_time(grant, now, "the approval was not collected in time")?;
    same_key(grant, key)?;
    if let Some(start) = grant.ask.start.filter(|start| now < *start) {
        return Err(Refusal::new(Code::WrongPhase, format!("the access begins at {start}")).hint("collect it then"));
    }
    // Checked before the policy, which would only say that the current role requires other approvers.
    if let Some(drift) = role_drift(grant, facts.role) {
        return Err(drifted(drift, &grant.ask.access));
    }
    for namespace in grant.held() {
        let why = |drift: NamespaceDrift| drift.describe(namespace);
        match namespace_drift(grant, namespace, facts.namespaces.get(namespace)) {
            Some(drift @ NamespaceDrift::Missing) => {
                return Err(Refusal::new(Code::NamespaceMissing, why(drift)).hint("make a new request"));
            }
            Some(drift @ NamespaceDrift::Remade) => {
                let hint = "make a new request, so that approvers see the current namespace";
                return Err(Refusal::new(Code::NamespaceDrift, why(drift)).hint(hint));
            }
            // The current policy denies it below, with its reason.
            Some(NamespaceDrift::Relabelled) | None => {}
        }
    }
    match policy::decide(facts.policy, facts.requester, &grant.asked(), &facts.circumstances) {
        Decision::Ask(terms) if grant.glass.is_some() => {
            glass::still_let(grant, terms.break_glass.as_ref())?;
            return Ok(approved(grant, window_end(&grant.ask, now)));
        }
        // Fewer steps may remain if the grant lost a namespace that required more.
        Decision::Ask(terms) if terms.steps.iter().all(|step| grant.terms.steps.contains(step)) => {}
        Decision::Ask(_) => {
            return Err(Refusal::new(
                Code::RequesterLostRight,
                "the policy now requires approvers other than those who approved",
            )
            .hint("make a new request"));
        }
        Decision::Deny(denial) => {
            return Err(Refusal::new(
                Code::RequesterLostRight,
                format!("the policy no longer allows it, {}", denial.refusal().why),
            ));
        }
    }
    let still: Vec<Yes> = grant.agreed.iter().filter_map(|yes| still_counts(yes, grant, facts)).collect();
    if !unmet(&grant.terms.steps, &still).is_empty() {
        let lost = grant.agreed.iter().find(|yes| !still.contains(yes));
        let why = lost.map_or("there are fewer approvals than required".to_owned(), |yes| {
            format!("`{}`, who approved this, may no longer do so", yes.by)
        });
        return Err(Refusal::new(Code::ApproverLostRight, why).hint("make a new request"));
    }
    Ok(approved(grant, window_end(&grant.ask, now)))
}

fn drifted(drift: RoleDrift, access: &Access) -> Refusal {
    let why = drift.describe(access);
    match drift {
        RoleDrift::Missing => Refusal::new(Code::RoleMissing, why).hint("make a new request"),
        RoleDrift::Remade | RoleDrift::Changed => {
            Refusal::new(Code::RoleDrift, why).hint("make a new request, so that approvers see what it allows now")
        }
    }
}

/// An approval, reduced to the groups that the approver still has.
fn still_counts(yes: &Yes, grant: &Grant, facts: &Facts<'_>) -> Option<Yes> {
    let person = facts.approvers.get(&yes.by).filter(|person| person.name != grant.requester)?;
    let groups = yes.groups.iter().filter(|group| person.groups.contains(*group)).cloned().collect();
    Some(Yes { groups, ..yes.clone() })
}

/// The requester renews the certificate inside the window, with the same key and without a new approval.
///
/// # Errors
/// The refusal; the grant does not change.
pub fn renew(grant: &Grant, key: &KeyHash, now: Timestamp) -> Result<Approved, Refusal> {
    let (Phase::Live, Some(until)) = (grant.phase, grant.deadline) else {
        return Err(not_collectable(grant));
    };
    in_time(grant, after(now, LEAST), "the window is over")?;
    same_key(grant, key)?;
    Ok(approved(grant, until))
}

/// The shortest useful certificate: `notAfter` is inclusive, so its last second is before the end of the window.
const LEAST: SignedDuration = SignedDuration::from_secs(2);

fn approved(grant: &Grant, not_after: Timestamp) -> Approved {
    Approved {
        grant: grant.id.clone(),
        person: grant.requester.clone(),
        key: grant.key.clone(),
        not_after,
        broken_glass: grant.glass.is_some(),
    }
}

fn same_key(grant: &Grant, key: &KeyHash) -> Result<(), Refusal> {
    if *key == grant.key {
        Ok(())
    } else {
        Err(Refusal::new(Code::KeyMismatch, "the certificate request has a different key than the approved one")
            .hint("the key is in the folder of the account that made the request; or make a new request from here"))
    }
}

fn not_collectable(grant: &Grant) -> Refusal {
    match grant.phase {
        Phase::Pending => Refusal::new(Code::WrongPhase, "the request is not approved yet"),
        Phase::Collecting | Phase::Ending => {
            Refusal::new(Code::WrongPhase, format!("the grant is {}", grant.phase.as_str()))
        }
        _ => Refusal::new(Code::TooLate, format!("the grant is {}", grant.phase.as_str())).hint("make a new request"),
    }
}

/// Whether a person may see this grant: the requester, those who may answer or review it, and the groups `overseers`.
#[must_use]
pub fn may_see(grant: &Grant, person: &Person, overseers: &[String]) -> bool {
    person.name == grant.requester || person.is_in_any(&grant.terms.watchers()) || person.is_in_any(overseers)
}

/// The end of a window that begins now, rounded down to a whole second as certificates require, so it is never longer
/// than requested.
#[must_use]
pub fn window_end(ask: &AccessRequest, now: Timestamp) -> Timestamp {
    let begin = Timestamp::from_second(now.as_second()).unwrap_or(now);
    after(begin, ask.window.duration())
}
