//! What an administrator says about rights that the catalogue does not know: resources of other API groups, such as those of
//! an operator of one's own, each with a severity and the reason.
//!
//! It answers only for rights that would be unclassified otherwise, so it can never make a known risk look better. The
//! guardrails contain it, and `reach` asks it.

use std::fmt;

use super::catalogue::{SERVED, Verbs, WORDS};
use super::reach::words;
use super::{Malformed, Severity};

/// Verbs on resources of one API group, and how severe they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Classified {
    group: String,
    resources: Vec<String>,
    verbs: Verbs,
    pub(super) severity: Severity,
    pub(super) reason: String,
}

impl Classified {
    /// `resources` are written as in an RBAC rule: plural names, with subresources such as `widgets/status`, or `*` for
    /// all of the group. `reason` is shown to approvers.
    ///
    /// # Errors
    /// The group is one of Kubernetes itself, which the catalogue assesses, or a verb is unknown.
    pub fn new(
        group: String,
        resources: Vec<String>,
        verbs: &[String],
        severity: Severity,
        reason: String,
    ) -> Result<Self, Malformed> {
        if !group.contains('.') || group.contains('*') || SERVED.iter().any(|known| known.name == group) {
            let why = "use an API group that Kubernetes itself does not serve, such as `widgets.example.com`";
            return Err(Malformed::new("group", &group, why));
        }
        let bit = |verb: &String| {
            let known = WORDS.iter().find(|(word, _)| word == verb).map(|(_, bit)| *bit);
            known.ok_or_else(|| Malformed::new("verbs", verb, "use verbs such as `get`; `*` is not one"))
        };
        let verbs = verbs.iter().map(bit).try_fold(0, |all, bit| bit.map(|bit| all | bit))?;
        Ok(Self { group, resources, verbs, severity, reason })
    }

    /// The verbs on this resource that it classifies.
    pub(super) fn verbs_on(&self, group: &str, resource: &str) -> Verbs {
        let is_meant = |one: &String| one == "*" || one == resource;
        if self.group == group && self.resources.iter().any(is_meant) { self.verbs } else { 0 }
    }
}

impl fmt::Display for Classified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group, resources, verbs, severity, reason } = self;
        let verbs = words(*verbs);
        write!(f, "{verbs} {} in {group}: {} ({reason})", resources.join(", "), severity.as_str())
    }
}
