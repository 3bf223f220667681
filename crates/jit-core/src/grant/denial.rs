//! That somebody said no a short while ago: what nobody would answer for is not to be had in spite of it.
//!
//! ```text
//!  denied ── for as long as the policy says ──► the glass stays whole, what is pre-approved is refused
//! ```
//! It counts for the same person and for whatever is no less than what was denied. People who are asked decide for
//! themselves: they are shown it. The broker finds what was denied, and the policy decides on whether something was.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::refusal::{Code, Refusal};
use super::request::{AccessRequest, PersonName};
use super::{Grant, GrantId};
use crate::rbac::{ResolvedRole, covers};

/// A denial of the same, or of less, to the same person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeniedBefore {
    /// What was denied.
    pub grant: GrantId,
    /// Who said no.
    pub by: PersonName,
    /// When.
    pub at: Timestamp,
    /// Why, in their words.
    pub reason: String,
}

impl DeniedBefore {
    /// The newest of these denials, each with the role that was denied, that counts for `ask`; the role that is asked for
    /// allows what `role` says.
    #[must_use]
    pub fn newest(
        denied: &[(Grant, ResolvedRole)],
        since: Timestamp,
        ask: &AccessRequest,
        role: &ResolvedRole,
    ) -> Option<Self> {
        let counts = denied.iter().filter(|(grant, less)| is_no_less(ask, role, &grant.ask, less));
        let told = counts.filter_map(|(grant, _)| {
            let at = grant.ended_at.filter(|at| *at > since)?;
            let reason = grant.closing_words.clone().unwrap_or_default();
            Some(Self { grant: grant.id.clone(), by: grant.closed_by.clone()?, at, reason })
        });
        told.max_by_key(|denied| denied.at)
    }

    /// That the glass is not broken after this.
    #[must_use]
    pub fn refusal(&self) -> Refusal {
        let why = format!("`{}` denied this to you at {:.0} (`{}`), which is an answer", self.by, self.at, self.grant);
        Refusal::new(Code::RecentlyDenied, why).hint("talk to who denied it, or ask and wait for another answer")
    }
}

/// Whether access in some of the same places is the same as was denied, or includes it. How long it lasts is no matter.
fn is_no_less(ask: &AccessRequest, role: &ResolvedRole, denied: &AccessRequest, less: &ResolvedRole) -> bool {
    let (here, there) = (ask.scope.namespaces(), denied.scope.namespaces());
    let meets = here.is_empty() || there.is_empty() || here.iter().any(|namespace| there.contains(namespace));
    let includes = || less.rules().iter().all(|rule| covers(role.rules(), rule));
    ask.cluster == denied.cluster && meets && (ask.access == denied.access || includes())
}
