//! Ending a grant early: who may withdraw a request, release access, or revoke it, and who may hold access no longer.
//!
//! The broker calls this and then acts. Nothing here knows bindings: the broker does the work in the cluster and proves
//! it.

use super::refusal::{Code, Refusal};
use super::request::Person;
use super::{EndCause, Event, Grant, Phase};

/// The requester withdraws the request before it is collected. Returns `withdrawn`.
///
/// # Errors
/// The refusal, if it is somebody else's request, or the access already exists and can only be released.
pub fn withdraw(grant: &Grant, requester: &Person) -> Result<Event, Refusal> {
    is_theirs(grant, requester)?;
    match grant.phase {
        Phase::Pending | Phase::Approved => Ok(Event::Withdrawn),
        phase => Err(Refusal::new(Code::WrongPhase, format!("the grant is already {}", phase.as_str()))
            .hint("`jit-login end` releases access")),
    }
}

/// The requester releases the access. Returns the cause of the end.
///
/// # Errors
/// The refusal, if it is somebody else's grant, or there is no access.
pub fn release(grant: &Grant, requester: &Person) -> Result<EndCause, Refusal> {
    is_theirs(grant, requester)?;
    match grant.phase {
        Phase::Live => Ok(EndCause::Released),
        phase => {
            let why = format!("the grant is {}, so there is no access to release", phase.as_str());
            Err(Refusal::new(Code::WrongPhase, why).hint("`jit-login withdraw` withdraws a request"))
        }
    }
}

/// An approver of the grant, or a member of `admins`, revokes the access. Returns the cause of the end.
///
/// # Errors
/// The refusal, if the person may not revoke it, or there is nothing to revoke.
pub fn revoke(grant: &Grant, by: &Person, admins: &[String]) -> Result<EndCause, Refusal> {
    let approvers = grant.terms.groups();
    if !by.is_in_any(admins) && !by.is_in_any(&approvers) {
        let who = [approvers, vec!["admins"]].concat().join(" or ");
        return Err(Refusal::new(Code::NotAllowed, format!("only members of {who} may revoke this grant")));
    }
    match grant.phase {
        Phase::Approved | Phase::Live => Ok(EndCause::Revoked),
        phase => Err(Refusal::new(
            Code::WrongPhase,
            format!("the grant is {}, so there is nothing to revoke", phase.as_str()),
        )),
    }
}

/// Why the holder of a grant, as they are now, may have it no longer; `None` if they are in one of the groups that may request
/// it by its rule. A rule that the policy changed since does not matter: a grant keeps its terms.
#[must_use]
pub fn lost_by(grant: &Grant, holder: &Person) -> Option<String> {
    let who = &grant.terms.who;
    // An earlier jitd did not record the groups.
    let may_have_it = who.is_empty() || holder.is_in_any(who);
    (!may_have_it).then(|| format!("{} is no longer in {}", grant.requester, who.join(" or ")))
}

fn is_theirs(grant: &Grant, person: &Person) -> Result<(), Refusal> {
    if grant.requester == person.name { Ok(()) } else { Err(Refusal::not_the_requester()) }
}
