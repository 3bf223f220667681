//! Saying yes, and what a yes is worth: [`Approved`] is the only thing the authority signs for, it is
//! made only here, and it is moved into the signature.
//!
//! Every function takes the grant and the moment and answers with the event that may be recorded, or
//! with a refusal that changes nothing.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::policy::{self, Decision, Policy};
use super::refusal::{Code, Refusal};
use super::request::{Ask, KeyHash, Person, PersonName, Scope};
use super::role::{ResolvedRole, sha256_hex};
use super::{Event, Grant, GrantId, Phase};

/// SHA-256 over exactly what an approver is shown: who asks for what, why, with which key, and what the
/// role allowed at that moment. An approval that carries another digest is refused.
#[must_use]
pub fn digest(id: &GrantId, requester: &PersonName, ask: &Ask, key: &KeyHash, role: &ResolvedRole) -> String {
    let shown = serde_json::json!({
        "grant": id, "requester": requester, "ask": ask, "key": key, "role": role.uid, "rules": role.rules_sha256(),
    });
    // A JSON object has its keys in one order here, so the same request has the same digest everywhere.
    sha256_hex(shown.to_string().as_bytes())
}

/// A signature that may be made: one key, one person, one grant, at most so long.
/// There is no other way to make one than [`collect`] and [`renew`].
#[derive(Debug)]
pub struct Approved {
    grant: GrantId,
    person: PersonName,
    key: KeyHash,
    not_after: Timestamp,
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

    /// Nothing signed for it is valid after this moment.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }
}

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
    if grant.agreed.contains(&approver.name) {
        return Err(Refusal::new(Code::AlreadyAgreed, "you have already agreed to this request"));
    }
    if shown != grant.digest {
        return Err(Refusal::new(Code::DigestMismatch, "what you approve is not what is asked now")
            .hint("look at it again with `jit-login show`, then approve that"));
    }
    let digest = grant.digest.clone();
    let agreed = u32::try_from(grant.agreed.len()).unwrap_or(u32::MAX);
    if agreed.saturating_add(1) < grant.quorum.count {
        Ok(Event::Agreed { digest })
    } else {
        Ok(Event::Approved { digest, collect_until: after(now, collect_within) })
    }
}

/// An approver says no.
///
/// # Errors
/// The refusal, when the approver may not, or there is nothing to answer any more.
pub fn deny(grant: &Grant, approver: &Person, reason: String, now: Timestamp) -> Result<Event, Refusal> {
    may_answer(grant, approver)?;
    waits_for_answer(grant, now)?;
    Ok(Event::Denied { reason })
}

/// Whether a person may answer this request at all: not their own, and in a group that is asked.
///
/// # Errors
/// The refusal.
pub fn may_answer(grant: &Grant, approver: &Person) -> Result<(), Refusal> {
    if approver.name == grant.requester {
        return Err(Refusal::new(Code::SelfApproval, "nobody answers their own request")
            .hint(format!("one of {} has to", grant.quorum.groups.join(", "))));
    }
    if !approver.is_in_any(&grant.quorum.groups) {
        return Err(Refusal::new(
            Code::NotAllowed,
            format!("only {} may answer this request", grant.quorum.groups.join(", ")),
        ));
    }
    Ok(())
}

fn waits_for_answer(grant: &Grant, now: Timestamp) -> Result<(), Refusal> {
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
}

/// The requester collects. Everything that was true when it was approved has to be true now.
///
/// # Errors
/// The refusal; the grant stays as it is, except that `role-drift` and `role-missing` end it.
pub fn collect(grant: &Grant, key: &KeyHash, facts: &Facts<'_>, now: Timestamp) -> Result<Approved, Refusal> {
    if grant.phase != Phase::Approved {
        return Err(not_collectable(grant));
    }
    in_time(grant, now, "the approval was not collected in time")?;
    same_key(grant, key)?;
    match policy::decide(facts.policy, facts.requester, &grant.ask) {
        Decision::Ask { quorum, .. } if quorum == grant.quorum => {}
        Decision::Ask { .. } => {
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
    for name in &grant.agreed {
        if facts.approvers.get(name).is_none_or(|person| may_answer(grant, person).is_err()) {
            return Err(Refusal::new(
                Code::ApproverLostRight,
                format!("`{name}`, who agreed, may no longer approve this"),
            )
            .hint("ask again"));
        }
    }
    if grant.agreed.len() < usize::try_from(grant.quorum.count).unwrap_or(usize::MAX) {
        return Err(Refusal::new(Code::ApproverLostRight, "fewer people agreed than have to"));
    }
    match facts.role {
        None => {
            Err(Refusal::new(Code::RoleMissing, format!("role `{}` no longer exists", grant.ask.role))
                .hint("ask again"))
        }
        Some(role) if role.uid != grant.role_uid || role.rules_sha256() != grant.rules_sha256 => {
            Err(Refusal::new(Code::RoleDrift, format!("role `{}` changed since it was approved", grant.ask.role))
                .hint("ask again, so that what it allows now is looked at"))
        }
        Some(_) => Ok(approved(grant, window_end(&grant.ask, now))),
    }
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
    Approved { grant: grant.id.clone(), person: grant.requester.clone(), key: grant.key.clone(), not_after }
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

/// Whether a person may see this grant: who asked, who may answer, and the given groups of overseers.
#[must_use]
pub fn may_see(grant: &Grant, person: &Person, overseers: &[String]) -> bool {
    person.name == grant.requester || person.is_in_any(&grant.quorum.groups) || person.is_in_any(overseers)
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

/// Whether a role of this kind can hold in this scope.
///
/// # Errors
/// The refusal: a Role exists only in its namespace.
pub fn role_fits_scope(ask: &Ask) -> Result<(), Refusal> {
    match (&ask.role, &ask.scope) {
        (super::request::RoleRef::Role(_), Scope::Cluster) => {
            Err(Refusal::new(Code::RoleMissing, format!("`{}` is a Role, which exists only in a namespace", ask.role))
                .hint("name the namespace with -n, or ask for a ClusterRole"))
        }
        _ => Ok(()),
    }
}
