//! Four eyes: who may answer, that nobody answers for themselves, and that one human counts once.
//!
//! Approvals, extensions and reviews ask the same questions, and get the same answers here. An account is not a human:
//! with which login somebody came is looked at too. Every function answers with a refusal or lets it be.

use jiff::Timestamp;

use super::Grant;
use super::policy::{Step, Yes};
use super::refusal::{Code, Refusal};
use super::request::{Login, Person, PersonName};

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

/// Refuses a person whose human may have acted before; `did` names the act, such as "agreed to this request".
///
/// # Errors
/// The refusal.
pub(super) fn counts_once(before: &[Yes], person: &Person, did: &str) -> Result<(), Refusal> {
    let why = match before.iter().find(|yes| person.may_be(&yes.by, yes.login.as_ref())) {
        None => return Ok(()),
        Some(yes) if yes.by == person.name => format!("you have already {did}"),
        Some(yes) => format!("whoever logged in here has already {did}, as `{}`", yes.by),
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
    login_is_known(&person.name, person.login.as_ref())?;
    login_is_known(&grant.requester, grant.requester_login.as_ref())?;
    if !person.may_be(&grant.requester, grant.requester_login.as_ref()) {
        return Ok(());
    }
    let as_whom = |name: &PersonName, login: Option<&Login>| match login {
        Some(Login::Account { person: Some(login), .. }) if login == name => {
            format!("`{name}` logged in as themselves")
        }
        Some(Login::Account { person: Some(login), .. }) => format!("`{name}` logged in as `{login}`"),
        Some(Login::Account { uid, person: None }) => format!("`{name}` logged in with uid {uid}"),
        None | Some(Login::Unknowable) => format!("`{name}` has no known login"),
    };
    let asked = as_whom(&grant.requester, grant.requester_login.as_ref());
    let why = format!("nobody {does}, and here {asked} and {}", as_whom(&person.name, person.login.as_ref()));
    Err(Refusal::new(Code::SelfApproval, why))
}

/// Refuses a request that somebody has to agree to and that nobody could: who asks by a login that can't be known may
/// be whoever answers.
///
/// # Errors
/// The refusal.
pub fn may_be_answered(requester: &Person, steps: &[Step]) -> Result<(), Refusal> {
    if steps.is_empty() { Ok(()) } else { login_is_known(&requester.name, requester.login.as_ref()) }
}

/// Refuses a login that may be anybody's.
fn login_is_known(name: &PersonName, login: Option<&Login>) -> Result<(), Refusal> {
    if login != Some(&Login::Unknowable) {
        return Ok(());
    }
    let why = format!("nobody can tell with which login `{name}` came, so it may be the same human's as another's");
    Err(Refusal::new(Code::LoginUnknown, why)
        .hint("the process that connects has to wait for the answer itself; `jitd doctor` says whether /proc is hidden from the daemon"))
}

/// The yes of an approver at this moment.
///
/// # Errors
/// The refusal, when it counts in no step now.
pub(super) fn yes_of(grant: &Grant, approver: &Person, now: Timestamp) -> Result<Yes, Refusal> {
    let yes = in_groups_of(&grant.terms.steps, approver, now);
    if !grant.terms.steps.iter().any(|step| step.counts(&yes)) {
        let steps = grant.terms.steps.iter().filter(|step| approver.is_in_any(&step.groups));
        let told: Vec<String> = steps.filter_map(|step| step.hours.as_ref().map(ToString::to_string)).collect();
        return Err(Refusal::new(Code::NotAllowed, format!("your yes counts at {} only", told.join(", ")))
            .hint("a no counts at any time"));
    }
    Ok(yes)
}

/// A yes of this person now, with those of their groups that the steps ask for.
pub(super) fn in_groups_of(steps: &[Step], person: &Person, now: Timestamp) -> Yes {
    let is_asked = |group: &&String| steps.iter().any(|step| step.groups.contains(*group));
    let groups = person.groups.iter().filter(is_asked).cloned().collect();
    Yes { by: person.name.clone(), login: person.login.clone(), groups, at: now }
}
