//! Two checks on what is asked that know neither the policy nor who approves: that it can hold in its scope, and that it
//! leaves alone what fences the daemon.

use super::refusal::{Code, Refusal};
use super::request::{Access, AccessRequest, RoleRef};
use crate::rbac::ResolvedRole;
use crate::rbac::risk;

/// A role that could change our own bindings, or what fences them, is given to nobody, whatever policy and
/// approvers say.
///
/// # Errors
/// The refusal, which names the right.
pub fn leaves_the_guard(ask: &AccessRequest, role: &ResolvedRole) -> Result<(), Refusal> {
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
pub fn access_fits_scope(ask: &AccessRequest) -> Result<(), Refusal> {
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
