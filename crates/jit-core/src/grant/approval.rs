//! Saying yes, and what a yes is worth: [`Approved`] is the only thing the authority signs for, it is
//! made only here, and it is moved into the signature.
//!
//! Every function takes the grant and the moment and answers with the event that may be recorded, or
//! with a refusal that changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::digest;
use super::four_eyes::{counts_once, yes_of};
use super::glass;
use super::policy::{self, Circumstances, Decision, Policy, Yes, unmet};
use super::reconcile::{NamespaceDrift, RoleDrift, namespace_drift, role_drift};
use super::refusal::{Code, Refusal};
use super::request::{Access, AccessRequest, KeyHash, Namespace, Person, PersonName, after};
use super::{Event, FoundNamespace, Grant, GrantId, Narrowed, Phase, Reassessed, Shown};
use crate::rbac::ResolvedRole;

pub use super::four_eyes::{may_answer, may_be_answered};

/// Permission for one signature: one key, one person, one grant, one latest `notAfter`.
/// There is no other way to make one than [`collect`] and [`renew`].
#[derive(Debug)]
pub struct Approved {
    grant: GrantId,
    person: PersonName,
    key: KeyHash,
    not_after: Timestamp,
    broken_glass: bool,
}

impl Approved {
    /// The grant that it is for.
    #[must_use]
    pub fn grant(&self) -> &GrantId {
        &self.grant
    }

    /// The person it names.
    #[must_use]
    pub fn person(&self) -> &PersonName {
        &self.person
    }

    /// The only key it may be given to.
    #[must_use]
    pub fn key(&self) -> &KeyHash {
        &self.key
    }

    /// The uid that tells its requests in the API server's audit log: the grant, with a mark where nobody agreed.
    #[must_use]
    pub fn uid(&self) -> String {
        if self.broken_glass { format!("{BROKEN_GLASS}{}", self.grant) } else { self.grant.to_string() }
    }

    /// Nothing signed for it is valid after this moment.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }
}

/// The prefix of the uid in a certificate whose access nobody approved.
pub const BROKEN_GLASS: &str = "break-glass:";

/// An approver says yes. Answers `agreed`, or `approved` when it was the last one needed.
///
/// # Errors
/// The refusal, when the approver may not or what was shown is not what stands.
pub fn approve(
    grant: &Grant,
    approver: &Person,
    shown: &str,
    collect_within: SignedDuration,
    now: Timestamp,
) -> Result<Event, Refusal> {
    may_answer(grant, approver)?;
    waits_for_answer(grant, now)?;
    counts_once(&grant.agreed, approver, "agreed to this request")?;
    if shown != &*grant.digest {
        return Err(Refusal::new(Code::DigestMismatch, "what you approve is not what is asked now")
            .hint("look at it again with `jit-login show`, then approve that"));
    }
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

/// The same yes, given to a narrowed request. Answers `narrowed`, and then the yes with the new digest.
#[must_use]
pub fn to_less(grant: &Grant, yes: Event, ask: AccessRequest, shown: Shown) -> Vec<Event> {
    let digest = digest::of_request(&grant.id, &grant.requester, &ask, &grant.key, &shown);
    let answered = digest.clone();
    let yes = match yes {
        Event::Agreed { groups, .. } => Event::Agreed { digest: answered, groups },
        Event::Approved { groups, collect_until, .. } => Event::Approved { digest: answered, groups, collect_until },
        other => other,
    };
    vec![Event::Narrowed(Box::new(Narrowed { ask, shown, digest })), yes]
}

/// A request that waits, shown anew: its digest is another one, and who agreed before has to look again.
#[must_use]
pub fn reassess(grant: &Grant, shown: Shown) -> Reassessed {
    let digest = digest::of_request(&grant.id, &grant.requester, &grant.ask, &grant.key, &shown);
    Reassessed { shown, digest }
}

/// The approval of a request for which the policy asks nobody; none when somebody has to agree.
#[must_use]
pub fn auto_approve(grant: &Grant, collect_within: SignedDuration, now: Timestamp) -> Option<Event> {
    grant.terms.steps.is_empty().then(|| Event::Approved {
        digest: grant.digest.to_string(),
        groups: BTreeSet::new(),
        collect_until: grant.collect_until(collect_within, now),
    })
}

/// An approver says no.
///
/// # Errors
/// The refusal, when the approver may not, or there is nothing to answer any more.
pub fn deny(grant: &Grant, approver: &Person, reason: String, now: Timestamp) -> Result<Event, Refusal> {
    may_answer(grant, approver)?;
    // Broken glass is no answer: one may still come, until the access is taken.
    if grant.phase != Phase::Approved || grant.glass.is_none() {
        waits_for_answer(grant, now)?;
    }
    Ok(Event::Denied { reason })
}

fn waits_for_answer(grant: &Grant, now: Timestamp) -> Result<(), Refusal> {
    if grant.glass.is_some() {
        return Err(Refusal::new(Code::WrongPhase, "nobody is waited for any more, the glass was broken")
            .hint("`jit-login review` says what you found; deny it before it is collected, revoke it after"));
    }
    if grant.phase != Phase::Pending {
        return Err(Refusal::new(
            Code::WrongPhase,
            format!("the request is already {}, there is nothing to answer", grant.phase.as_str()),
        ));
    }
    in_time(grant, now, "nobody answered in time")
}

fn in_time(grant: &Grant, now: Timestamp, late: &str) -> Result<(), Refusal> {
    match grant.deadline {
        Some(deadline) if now < deadline => Ok(()),
        _ => Err(Refusal::new(Code::TooLate, late).hint("ask again")),
    }
}

/// What is looked up again at the moment of collection.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// The policy in force now.
    pub policy: &'a Policy,
    /// The requester with the groups of now.
    pub requester: &'a Person,
    /// The approvers with the groups of now; one who is no longer known is missing.
    pub approvers: &'a BTreeMap<PersonName, Person>,
    /// The role as the cluster has it now; none when it is gone.
    pub role: Option<&'a ResolvedRole>,
    /// The namespaces as the cluster has them now; one that is gone is missing.
    pub namespaces: &'a BTreeMap<Namespace, FoundNamespace>,
    /// What else the policy decides on.
    pub circumstances: Circumstances<'a>,
}

/// The requester collects. Everything that was true when it was approved has to be true now.
///
/// # Errors
/// The refusal; the grant stays as it is, except that a role or a namespace that is missing or another one ends it.
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
    // Before the policy, which would only say that the role as it is now has other approvers.
    if let Some(drift) = role_drift(grant, facts.role) {
        return Err(drifted(drift, &grant.ask.access));
    }
    for namespace in grant.held() {
        let why = |drift: NamespaceDrift| drift.describe(namespace);
        match namespace_drift(grant, namespace, facts.namespaces.get(namespace)) {
            Some(drift @ NamespaceDrift::Missing) => {
                return Err(Refusal::new(Code::NamespaceMissing, why(drift)).hint("ask again"));
            }
            Some(drift @ NamespaceDrift::Remade) => {
                let hint = "ask again, so that the namespace that is there now is looked at";
                return Err(Refusal::new(Code::NamespaceDrift, why(drift)).hint(hint));
            }
            // The policy as it is now says it, with its reason.
            Some(NamespaceDrift::Relabelled) | None => {}
        }
    }
    match policy::decide(facts.policy, facts.requester, &grant.asked(), &facts.circumstances) {
        Decision::Ask(terms) if grant.glass.is_some() => {
            glass::still_let(grant, terms.break_glass.as_ref())?;
            return Ok(approved(grant, window_end(&grant.ask, now)));
        }
        // Fewer where it is over in a place that asked for more.
        Decision::Ask(terms) if terms.steps.iter().all(|step| grant.terms.steps.contains(step)) => {}
        Decision::Ask(_) => {
            return Err(Refusal::new(Code::RequesterLostRight, "the policy now asks for other approvers than agreed")
                .hint("ask again"));
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
        let why = lost.map_or("fewer people agreed than have to".to_owned(), |yes| {
            format!("`{}`, who agreed, may no longer approve this", yes.by)
        });
        return Err(Refusal::new(Code::ApproverLostRight, why).hint("ask again"));
    }
    Ok(approved(grant, window_end(&grant.ask, now)))
}

fn drifted(drift: RoleDrift, access: &Access) -> Refusal {
    let why = drift.describe(access);
    match drift {
        RoleDrift::Missing => Refusal::new(Code::RoleMissing, why).hint("ask again"),
        RoleDrift::Remade | RoleDrift::Changed => {
            Refusal::new(Code::RoleDrift, why).hint("ask again, so that what it allows now is looked at")
        }
    }
}

/// A yes reduced to the groups that its author still has.
fn still_counts(yes: &Yes, grant: &Grant, facts: &Facts<'_>) -> Option<Yes> {
    let person = facts.approvers.get(&yes.by).filter(|person| person.name != grant.requester)?;
    let groups = yes.groups.iter().filter(|group| person.groups.contains(*group)).cloned().collect();
    Some(Yes { groups, ..yes.clone() })
}

/// The requester renews inside the window: same key, nobody asked again.
///
/// # Errors
/// The refusal; the grant stays as it is.
pub fn renew(grant: &Grant, key: &KeyHash, now: Timestamp) -> Result<Approved, Refusal> {
    let (Phase::Live, Some(until)) = (grant.phase, grant.deadline) else {
        return Err(not_collectable(grant));
    };
    in_time(grant, after(now, LEAST), "the window is over")?;
    same_key(grant, key)?;
    Ok(approved(grant, until))
}

/// The shortest useful certificate: `notAfter` is inclusive, so its last second lies before the end of the window.
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
        Err(Refusal::new(Code::KeyMismatch, "the certificate request has another key than the one that was approved")
            .hint("the key is in the folder of the account that asked; ask again from here"))
    }
}

fn not_collectable(grant: &Grant) -> Refusal {
    match grant.phase {
        Phase::Pending => Refusal::new(Code::WrongPhase, "nobody has agreed yet"),
        Phase::Collecting | Phase::Ending => {
            Refusal::new(Code::WrongPhase, format!("the grant is {}", grant.phase.as_str()))
        }
        _ => Refusal::new(Code::TooLate, format!("the grant is {}", grant.phase.as_str())).hint("ask again"),
    }
}

/// Whether a person may see this grant: who asked, who may answer or review, and the given groups of overseers.
#[must_use]
pub fn may_see(grant: &Grant, person: &Person, overseers: &[String]) -> bool {
    person.name == grant.requester || person.is_in_any(&grant.terms.watchers()) || person.is_in_any(overseers)
}

/// The end of a window that begins now, rounded down to a whole second as certificates require; never longer than what
/// was asked.
#[must_use]
pub fn window_end(ask: &AccessRequest, now: Timestamp) -> Timestamp {
    let begin = Timestamp::from_second(now.as_second()).unwrap_or(now);
    after(begin, ask.window.duration())
}
