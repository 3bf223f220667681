//! The four-eyes principle: who may answer, that nobody answers their own request, and that one human counts once.
//!
//! The same rules apply to approvals, extensions and reviews. An account is not a human, so logins are compared too.
//! Every function returns a refusal or nothing.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::Grant;
use super::policy::{Step, Yes};
use super::refusal::{Code, Refusal};
use super::request::{Login, Person, PersonName};

/// Checks that a person may answer this request at all: it is not their own, and they are in a required group.
///
/// # Errors
/// The refusal.
pub fn may_answer(grant: &Grant, approver: &Person) -> Result<(), Refusal> {
    is_another(grant, approver, "answers their own request")
        .map_err(|refusal| refusal.hint("somebody else in the approving groups has to answer"))?;
    let groups = grant.terms.groups();
    if !approver.is_in_any(&groups) {
        let who =
            if groups.is_empty() { "nobody".to_owned() } else { format!("only members of {}", groups.join(" or ")) };
        return Err(Refusal::new(Code::NotAllowed, format!("{who} may answer this request")));
    }
    Ok(())
}

/// Refuses a person if the same human may have acted before; `did` describes the act, such as "approved this request".
///
/// # Errors
/// The refusal.
pub(super) fn counts_once(before: &[Yes], person: &Person, did: &str) -> Result<(), Refusal> {
    let why = match before.iter().find(|yes| person.may_be(&yes.by, yes.login.as_ref())) {
        None => return Ok(()),
        Some(yes) if yes.by == person.name => format!("you have already {did}"),
        Some(yes) => format!("the person who logged in here has already {did}, as `{}`", yes.by),
    };
    Err(Refusal::new(Code::AlreadyAgreed, why))
}

/// Checks that the actor is not the human who made the request, as far as that can be known: not another account of the
/// same person, and not an account that either of the two switched to after logging in.
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
        Some(Login::Provider(login)) => format!("`{name}` logged in at {} as `{}`", login.issuer, login.subject),
        None | Some(Login::Unknowable) => format!("`{name}` has no known login"),
    };
    let requester = as_whom(&grant.requester, grant.requester_login.as_ref());
    let why = format!("nobody {does}, and here {requester} and {}", as_whom(&person.name, person.login.as_ref()));
    Err(Refusal::new(Code::SelfApproval, why))
}

/// Checks that a person has done nothing in this grant under a name that they had before: somebody of an identity provider who
/// was declared since has another one now.
///
/// # Errors
/// The refusal.
pub fn did_nothing_as(grant: &Grant, former: &BTreeSet<PersonName>) -> Result<(), Refusal> {
    if former.contains(&grant.requester) {
        let why = format!("nobody answers their own request, and here you were `{}` when you made it", grant.requester);
        return Err(Refusal::new(Code::SelfApproval, why).hint("somebody else in the approving groups has to answer"));
    }
    let agreed = grant.agreed.iter().chain(grant.extension.iter().flat_map(|extension| &extension.agreed));
    let reviewed = grant.glass.iter().flat_map(|glass| &glass.reviews).map(|review| &review.by);
    match agreed.chain(reviewed).find(|yes| former.contains(&yes.by)) {
        None => Ok(()),
        Some(yes) => {
            let why = format!("you have already answered, when you were `{}`", yes.by);
            Err(Refusal::new(Code::AlreadyAgreed, why))
        }
    }
}

/// Refuses a request that needs an approval but that nobody could approve: if the requester's login is unknown, the
/// requester might be any approver.
///
/// # Errors
/// The refusal.
pub fn may_be_answered(requester: &Person, steps: &[Step]) -> Result<(), Refusal> {
    if steps.is_empty() { Ok(()) } else { login_is_known(&requester.name, requester.login.as_ref()) }
}

/// Refuses a login that might be anybody's.
fn login_is_known(name: &PersonName, login: Option<&Login>) -> Result<(), Refusal> {
    if login != Some(&Login::Unknowable) {
        return Ok(());
    }
    let why = format!("the login of `{name}` is unknown, so it could belong to the same human as another one");
    Err(Refusal::new(Code::LoginUnknown, why)
        .hint("the process that connects must wait for the answer itself; `jitd doctor` checks whether /proc is hidden from the daemon"))
}

/// Checks that the person's login has what the rule requires for this.
///
/// # Errors
/// The refusal.
pub(super) fn login_holds(grant: &Grant, person: &Person, doing: &str, now: Timestamp) -> Result<(), Refusal> {
    grant.terms.login.as_ref().map_or(Ok(()), |login| login.hold(person.login.as_ref(), doing, now))
}

/// The approval of a person at this moment.
///
/// # Errors
/// The refusal, if it counts for no step now.
pub(super) fn yes_of(grant: &Grant, approver: &Person, now: Timestamp) -> Result<Yes, Refusal> {
    let yes = in_groups_of(&grant.terms.steps, approver, now);
    if !grant.terms.steps.iter().any(|step| step.counts(&yes)) {
        let steps = grant.terms.steps.iter().filter(|step| approver.is_in_any(&step.groups));
        let hours: Vec<String> = steps.filter_map(|step| step.hours.as_ref().map(ToString::to_string)).collect();
        return Err(Refusal::new(Code::NotAllowed, format!("you can approve only during {}", hours.join(", ")))
            .hint("you can deny at any time"));
    }
    Ok(yes)
}

/// An approval by this person now, with those of their groups that the steps require.
pub(super) fn in_groups_of(steps: &[Step], person: &Person, now: Timestamp) -> Yes {
    let is_asked = |group: &&String| steps.iter().any(|step| step.groups.contains(*group));
    let groups = person.groups.iter().filter(is_asked).cloned().collect();
    Yes { by: person.name.clone(), login: person.login.clone(), groups, at: now }
}
