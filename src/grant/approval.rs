//! Saying yes, and what a yes is worth: [`Approved`] is the only thing the authority signs for, it is
//! made only here, and it is moved into the signature.
//!
//! Every function takes the grant and the moment and answers with the event that may be recorded, or
//! with a refusal that changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::glass;
use super::policy::{self, Circumstances, Decision, Policy, Yes, unmet};
use super::reconcile::{RoleDrift, role_drift};
use super::refusal::{Code, Refusal};
use super::request::{Access, Ask, KeyHash, Login, Person, PersonName, RoleRef, Window};
use super::{Event, Grant, GrantId, Phase};
use crate::rbac::risk;
use crate::rbac::role::ResolvedRole;

/// A signature that may be made: one key, one person, one grant, at most so long.
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

/// What the uid of a person begins with whose access nobody agreed to.
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
    counts_once(&grant.agreed, approver, "this request")?;
    if shown != &*grant.digest {
        return Err(Refusal::new(Code::DigestMismatch, "what you approve is not what is asked now")
            .hint("look at it again with `jit-login show`, then approve that"));
    }
    let yes = yes_of(grant, approver, now)?;
    let groups = yes.groups.iter().cloned().collect();
    let agreed: Vec<Yes> = grant.agreed.iter().cloned().chain([yes]).collect();
    let digest = grant.digest.to_string();
    if unmet(&grant.terms.steps, &agreed).is_empty() {
        Ok(Event::Approved { digest, groups, collect_until: collect_until(grant, collect_within, now) })
    } else {
        Ok(Event::Agreed { digest, groups })
    }
}

/// Whether nobody who may be the same human agreed before.
///
/// # Errors
/// The refusal.
pub(super) fn counts_once(agreed: &[Yes], approver: &Person, to: &str) -> Result<(), Refusal> {
    let why = match agreed.iter().find(|yes| approver.may_be(&yes.by, yes.login.as_ref())) {
        None => return Ok(()),
        Some(yes) if yes.by == approver.name => format!("you have already agreed to {to}"),
        Some(yes) => format!("whoever logged in here has already agreed to {to}, as `{}`", yes.by),
    };
    Err(Refusal::new(Code::AlreadyAgreed, why))
}

/// Whether somebody else than the human who asked acts here, as far as it can be known: no other account of the
/// same person, and no account that one of the two, logged in as themselves, only became.
///
/// # Errors
/// The refusal.
pub(super) fn is_another(grant: &Grant, person: &Person, does: &str) -> Result<(), Refusal> {
    if person.name == grant.requester {
        return Err(Refusal::new(Code::SelfApproval, format!("nobody {does}")));
    }
    if !person.may_be(&grant.requester, grant.requester_login.as_ref()) {
        return Ok(());
    }
    let as_whom = |name: &PersonName, login: Option<&Login>| match login {
        Some(Login { person: Some(login), .. }) if login == name => format!("`{name}` logged in as themselves"),
        Some(Login { person: Some(login), .. }) => format!("`{name}` logged in as `{login}`"),
        Some(Login { uid, person: None }) => format!("`{name}` logged in with uid {uid}"),
        None => format!("`{name}` has no known login"),
    };
    let asked = as_whom(&grant.requester, grant.requester_login.as_ref());
    let why = format!("nobody {does}, and here {asked} and {}", as_whom(&person.name, person.login.as_ref()));
    Err(Refusal::new(Code::SelfApproval, why))
}

/// The yes of an approver at this moment.
///
/// # Errors
/// The refusal, when it counts in no step now.
pub(super) fn yes_of(grant: &Grant, approver: &Person, now: Timestamp) -> Result<Yes, Refusal> {
    let asked = grant.terms.groups();
    let groups = approver.groups.iter().filter(|group| asked.contains(&group.as_str())).cloned().collect();
    let yes = Yes { by: approver.name.clone(), login: approver.login.clone(), groups, at: now };
    if !grant.terms.steps.iter().any(|step| step.counts(&yes)) {
        let steps = grant.terms.steps.iter().filter(|step| approver.is_in_any(&step.groups));
        let told: Vec<String> = steps.filter_map(|step| step.hours.as_ref().map(ToString::to_string)).collect();
        return Err(Refusal::new(Code::NotAllowed, format!("your yes counts at {} only", told.join(", ")))
            .hint("a no counts at any time"));
    }
    Ok(yes)
}

/// The approval of a request for which the policy asks nobody; none when somebody has to agree.
#[must_use]
pub fn approve_of_itself(grant: &Grant, collect_within: SignedDuration, now: Timestamp) -> Option<Event> {
    grant.terms.steps.is_empty().then(|| Event::Approved {
        digest: grant.digest.to_string(),
        groups: BTreeSet::new(),
        collect_until: collect_until(grant, collect_within, now),
    })
}

/// An approval waits from the moment at which it can be collected.
pub(super) fn collect_until(grant: &Grant, usual: SignedDuration, now: Timestamp) -> Timestamp {
    let begin = grant.ask.start.map_or(now, |start| start.max(now));
    after(begin, grant.terms.collect.map_or(usual, Window::duration))
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

/// Whether a person may answer this request at all: not their own, and in a group that is asked.
///
/// # Errors
/// The refusal.
pub fn may_answer(grant: &Grant, approver: &Person) -> Result<(), Refusal> {
    is_another(grant, approver, "answers their own request")
        .map_err(|refusal| refusal.hint("somebody else of the groups that are asked has to"))?;
    let groups = grant.terms.groups();
    if !approver.is_in_any(&groups) {
        let who = if groups.is_empty() { "nobody".to_owned() } else { format!("only {}", groups.join(", ")) };
        return Err(Refusal::new(Code::NotAllowed, format!("{who} may answer this request")));
    }
    Ok(())
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

/// What has to be known anew at the moment of collection.
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
    /// What else the policy decides on.
    pub circumstances: Circumstances<'a>,
}

/// The requester collects. Everything that was true when it was approved has to be true now.
///
/// # Errors
/// The refusal; the grant stays as it is, except that `role-drift` and `role-missing` end it.
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
    match policy::decide(facts.policy, facts.requester, grant.asked(), &facts.circumstances) {
        Decision::Ask(terms) if grant.glass.is_some() => {
            glass::still_let(grant, terms.break_glass.as_ref())?;
            return Ok(approved(grant, window_end(&grant.ask, now)));
        }
        Decision::Ask(terms) if terms.steps == grant.terms.steps => {}
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

/// What is left of a yes with the groups that its author has now.
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

/// A certificate for less than this is none: its last second is before the end of the window.
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

/// The end of a window that begins now, as a whole second, for certificates know no other; never longer
/// than what was asked.
#[must_use]
pub fn window_end(ask: &Ask, now: Timestamp) -> Timestamp {
    let begin = Timestamp::from_second(now.as_second()).unwrap_or(now);
    after(begin, ask.window.duration())
}

/// `now` plus `span`, and the end of time where there is no such moment.
#[must_use]
pub fn after(now: Timestamp, span: SignedDuration) -> Timestamp {
    now.saturating_add(span).unwrap_or(Timestamp::MAX)
}

/// A role that could change our own bindings, or what fences them, is given to nobody, whatever policy and
/// approvers say.
///
/// # Errors
/// The refusal, which names the right.
pub fn leaves_the_guard(ask: &Ask, role: &ResolvedRole) -> Result<(), Refusal> {
    match risk::can_edit_guard(role.rules(), &ask.scope) {
        None => Ok(()),
        Some(why) => Err(Refusal::new(Code::Guardrail, format!("{} is never given here: {why}", ask.access))
            .hint("ask for a role without that right")),
    }
}

/// Whether what is asked can hold in this scope.
///
/// # Errors
/// The refusal: a Role exists only in its namespace, and a role of exact rules is made in namespaces only.
pub fn access_fits_scope(ask: &Ask) -> Result<(), Refusal> {
    let refused = |why: String, hint: &str| Err(Refusal::new(Code::RoleMissing, why).hint(hint));
    match (&ask.access, ask.scope.namespaces()) {
        (Access::Role(role @ RoleRef::Role(_)), []) => refused(
            format!("`{role}` is a Role, which exists only in a namespace"),
            "name the namespace with -n, or ask for a ClusterRole",
        ),
        (Access::Role(role @ RoleRef::Role(_)), [_, _, ..]) => refused(
            format!("`{role}` is a Role, which is another one in each namespace"),
            "ask for each namespace by itself, or for a ClusterRole",
        ),
        (Access::Rules(_), []) => refused(
            "exact rules are given in namespaces only, not in the whole cluster".to_owned(),
            "name the namespaces with -n, or ask for a ClusterRole",
        ),
        _ => Ok(()),
    }
}
