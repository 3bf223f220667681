//! Ending a grant before its time: who may take a request back, give access back, or take it away.
//!
//! Called by the broker, which then does it. Nothing here knows bindings: what has to happen in the cluster, and the
//! proof that it did, are the broker's.

use super::refusal::{Code, Refusal};
use super::request::Person;
use super::{EndCause, Event, Grant, Phase};

/// The requester takes the request back before it was collected. Answers `withdrawn`.
///
/// # Errors
/// The refusal, when it is not theirs, or there is access to give back instead.
pub fn withdraw(grant: &Grant, requester: &Person) -> Result<Event, Refusal> {
    is_theirs(grant, requester)?;
    match grant.phase {
        Phase::Pending | Phase::Approved => Ok(Event::Withdrawn),
        phase => Err(Refusal::new(Code::WrongPhase, format!("the grant is already {}", phase.as_str()))
            .hint("`jit-login end` gives access back")),
    }
}

/// The requester gives the access back. Answers why the grant ends.
///
/// # Errors
/// The refusal, when it is not theirs, or there is no access.
pub fn release(grant: &Grant, requester: &Person) -> Result<EndCause, Refusal> {
    is_theirs(grant, requester)?;
    match grant.phase {
        Phase::Live => Ok(EndCause::Released),
        phase => {
            let why = format!("the grant is {}, there is no access to give back", phase.as_str());
            Err(Refusal::new(Code::WrongPhase, why).hint("`jit-login withdraw` takes a request back"))
        }
    }
}

/// An approver of the grant, or somebody of `admins`, takes the access away. Answers why the grant ends.
///
/// # Errors
/// The refusal, when the person may not, or there is nothing to take.
pub fn revoke(grant: &Grant, by: &Person, admins: &[String]) -> Result<EndCause, Refusal> {
    let approvers = grant.terms.groups();
    if !by.is_in_any(admins) && !by.is_in_any(&approvers) {
        let who = [approvers, vec!["admins"]].concat().join(", ");
        return Err(Refusal::new(Code::NotAllowed, format!("only {who} may revoke this grant")));
    }
    match grant.phase {
        Phase::Approved | Phase::Live => Ok(EndCause::Revoked),
        phase => {
            Err(Refusal::new(Code::WrongPhase, format!("the grant is {}, there is nothing to revoke", phase.as_str())))
        }
    }
}

fn is_theirs(grant: &Grant, person: &Person) -> Result<(), Refusal> {
    if grant.requester == person.name { Ok(()) } else { Err(Refusal::not_the_requester()) }
}
