//! Two checks of a request that depend on neither the policy nor the approvers: that the access is possible in its
//! scope, and that it cannot change the guards of the daemon.

use super::refusal::{Code, Refusal};
use super::request::{Access, AccessRequest, RoleRef};
use crate::rbac::ResolvedRole;
use crate::rbac::risk;

/// Refuses a role that could change our own bindings, or the admission policies that protect them, whatever the policy
/// and the approvers say.
///
/// # Errors
/// The refusal, which names the right.
pub fn leaves_the_guard(ask: &AccessRequest, role: &ResolvedRole) -> Result<(), Refusal> {
    match risk::can_edit_guard(role.rules(), &ask.scope) {
        None => Ok(()),
        Some(why) => Err(Refusal::new(Code::Guardrail, format!("{} is never granted here: {why}", ask.access))
            .hint("request a role without that right")),
    }
}

/// Checks that the access is possible in its scope.
///
/// # Errors
/// The refusal: a Role exists only in its namespace, and a role for exact rules can only be created in namespaces.
pub fn access_fits_scope(ask: &AccessRequest) -> Result<(), Refusal> {
    let refused = |why: String, hint: &str| Err(Refusal::new(Code::RoleMissing, why).hint(hint));
    match (&ask.access, ask.scope.namespaces()) {
        (Access::Role(role @ RoleRef::Role(_)), []) => refused(
            format!("`{role}` is a Role, which exists only in a namespace"),
            "name the namespace with -n, or request a ClusterRole",
        ),
        (Access::Role(role @ RoleRef::Role(_)), [_, _, ..]) => refused(
            format!("`{role}` is a Role, which is a different object in each namespace"),
            "make a request for each namespace, or request a ClusterRole",
        ),
        (Access::Rules(_), []) => refused(
            "exact rules can be requested only in namespaces, not in the whole cluster".to_owned(),
            "name the namespaces with -n, or request a ClusterRole",
        ),
        _ => Ok(()),
    }
}
