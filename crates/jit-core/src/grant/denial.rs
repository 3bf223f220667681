//! Recent denials: after a denial, the same access is not available without an approver's decision.
//!
//! ```text
//!  denied ── for as long as the policy says ──► no break-glass, and no automatic approval
//! ```
//! A denial counts for the same person, and for access that is the same or more than what was denied. Approvers see it
//! and decide for themselves. The broker finds denials, and the policy takes them into account.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::refusal::{Code, Refusal};
use super::request::{AccessRequest, PersonName};
use super::{Grant, GrantId};
use crate::rbac::{ResolvedRole, covers};

/// A denial of the same access, or of less, to the same person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeniedBefore {
    /// The denied grant.
    pub grant: GrantId,
    /// The approver who denied it.
    pub by: PersonName,
    /// When.
    pub at: Timestamp,
    /// Why, in the approver's words.
    pub reason: String,
}

impl DeniedBefore {
    /// The newest of these denials that counts for `ask`. Each denial comes with its role; `role` is the role that
    /// `ask` requests.
    #[must_use]
    pub fn newest(
        denied: &[(Grant, ResolvedRole)],
        since: Timestamp,
        ask: &AccessRequest,
        role: &ResolvedRole,
    ) -> Option<Self> {
        let counts = denied.iter().filter(|(grant, less)| is_no_less(ask, role, &grant.ask, less));
        let recent = counts.filter_map(|(grant, _)| {
            let at = grant.ended_at.filter(|at| *at > since)?;
            let reason = grant.closing_words.clone().unwrap_or_default();
            Some(Self { grant: grant.id.clone(), by: grant.closed_by.clone()?, at, reason })
        });
        recent.max_by_key(|denied| denied.at)
    }

    /// The refusal of break-glass after this denial.
    #[must_use]
    pub fn refusal(&self) -> Refusal {
        let why = format!("`{}` denied you this access at {:.0} (`{}`)", self.by, self.at, self.grant);
        Refusal::new(Code::RecentlyDenied, why).hint("talk to that person, or make a request and wait for an approval")
    }
}

/// Whether the requested access shares a place with the denied one, and is the same or includes it. The duration does
/// not count.
fn is_no_less(ask: &AccessRequest, role: &ResolvedRole, denied: &AccessRequest, less: &ResolvedRole) -> bool {
    let (here, there) = (ask.scope.namespaces(), denied.scope.namespaces());
    let meets = here.is_empty() || there.is_empty() || here.iter().any(|namespace| there.contains(namespace));
    let includes = || less.rules().iter().all(|rule| covers(role.rules(), rule));
    ask.cluster == denied.cluster && meets && (ask.access == denied.access || includes())
}
