//! Narrowing: an approver may approve a shorter window, fewer namespaces or fewer rules than requested, but nothing
//! else.
//!
//! Called with an approval. The result is a new ask with its own digest, to which later approvals refer. The fold
//! checks a narrowed ask again, so a trail that widens one is rejected.

use super::Grant;
use super::refusal::{Code, Refusal};
use super::request::{Access, AccessRequest, ExactRules, Namespaces, Scope, Window};
use crate::rbac::{ResolvedRole, covers};

/// The fields that an approver narrows; `None` keeps what was requested.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Narrowing {
    /// A shorter window.
    pub window: Option<Window>,
    /// Some of the namespaces.
    pub namespaces: Option<Namespaces>,
    /// Some of what the role, or the exact rules, allow.
    pub rules: Option<ExactRules>,
}

impl Narrowing {
    /// The narrowed ask of `grant`, whose role is `role`.
    ///
    /// # Errors
    /// The refusal, if any part of it was not requested, or the rule of the policy does not allow narrowing a role.
    pub fn of(&self, grant: &Grant, role: &ResolvedRole) -> Result<AccessRequest, Refusal> {
        let mut ask = AccessRequest::clone(&grant.ask);
        if let Some(window) = self.window {
            ask.window = window;
        }
        if let Some(namespaces) = &self.namespaces {
            ask.scope = Scope::Namespaces(namespaces.clone());
        }
        if let Some(rules) = &self.rules {
            if matches!(ask.access, Access::Role(_)) && !grant.terms.narrow {
                let why = format!("rule `{}` does not allow narrowing a role", grant.terms.rule);
                return Err(wider(why)
                    .hint("approve less time or fewer namespaces, or deny it and say what to request instead"));
            }
            if let Some(beyond) = rules.as_slice().iter().find(|rule| !covers(role.rules(), rule)) {
                return Err(wider(format!("`{beyond}` was not requested")));
            }
            if ask.scope.namespaces().is_empty() {
                return Err(wider("a cluster-wide role cannot be narrowed".to_owned()));
            }
            ask.access = Access::Rules(rules.clone());
        }
        if grant.ask.window < ask.window {
            return Err(wider(format!("{} is longer than the requested {}", ask.window, grant.ask.window)));
        }
        if !grant.ask.scope.contains(&ask.scope) || grant.ask.scope == Scope::Cluster && ask.scope != Scope::Cluster {
            return Err(wider(format!("{} is not within the requested scope, {}", ask.scope, grant.ask.scope)));
        }
        Ok(ask)
    }
}

/// Whether `less` requests no more than `ask`, as far as that can be decided without the role's rules.
#[must_use]
pub fn is_no_wider(less: &AccessRequest, ask: &AccessRequest) -> bool {
    let access = match (&less.access, &ask.access) {
        (Access::Rules(less), Access::Rules(more)) => less.as_slice().iter().all(|rule| covers(more.as_slice(), rule)),
        (Access::Rules(_), Access::Role(_)) => true,
        (less, more) => less == more,
    };
    let rest =
        (&less.cluster, &less.reason, &less.fields, less.start) == (&ask.cluster, &ask.reason, &ask.fields, ask.start);
    access && rest && less.window <= ask.window && ask.scope.contains(&less.scope)
}

fn wider(why: String) -> Refusal {
    Refusal::new(Code::NotLess, why).hint("an approver can approve what was requested, or less")
}
