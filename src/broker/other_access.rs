//! The requester's other access in the same cluster (live, approved or requested), and the risks that arise only from
//! all of it together.
//!
//! Two requests that are harmless separately may together give away a cluster. Therefore each is assessed together with
//! the others, and a pending request is assessed again when it is shown and when it is answered.

use std::collections::HashSet;
use std::sync::Arc;

use super::facts::last_surroundings;
use super::{Broker, BrokerError};
use crate::grant::request::{AccessRequest, ClusterName, PersonName, Scope};
use crate::grant::{Grant, GrantId, OtherGrant, Phase, Reassessed, Shown, approval};
use crate::rbac::risk::{self, Bound, Finding, Surroundings};
use crate::rbac::role::{ResolvedRole, Rule};

/// The limit for the requester's other grants that are shown to approvers.
const HELD_SHOWN: usize = 20;

impl Broker {
    /// The open grants of a person in a cluster: live, ending, or possibly live later. Without the grant `but`.
    pub(super) fn other_grants(
        &self,
        person: &PersonName,
        cluster: &ClusterName,
        but: Option<&GrantId>,
    ) -> Vec<Arc<Grant>> {
        let counts =
            |grant: &Arc<Grant>| grant.phase.is_open() && grant.ask.cluster == *cluster && but != Some(&grant.id);
        self.ledger.of(person).into_iter().filter(counts).collect()
    }

    /// The findings that arise only from `rules` in `scope` together with all of `others`.
    pub(super) async fn together(
        &self,
        rules: &[Rule],
        scope: &Scope,
        others: &[Arc<Grant>],
        around: &Surroundings,
    ) -> Result<Vec<Finding>, BrokerError> {
        // Thousands of grants may have the same role and scope.
        let mut known = HashSet::new();
        let mut roles: Vec<(Arc<ResolvedRole>, &Scope)> = Vec::new();
        for other in others.iter().filter(|other| known.insert((&other.rules_sha256, &other.ask.scope))) {
            let role = self.role_of(other).await?.ok_or(BrokerError::Internal)?;
            roles.push((role, &other.ask.scope));
        }
        let bound: Vec<Bound<'_>> = roles.iter().map(|(role, scope)| Bound { rules: role.rules(), scope }).collect();
        Ok(risk::assess_together(Bound { rules, scope }, &bound, around))
    }

    /// A pending request with its current assessment; `None` if it has no finding that was not in `shown`. `others` are the
    /// requester's other grants.
    pub(super) async fn reassessed(
        &self,
        grant: &Grant,
        shown: &Shown,
        others: &[Arc<Grant>],
    ) -> Result<Option<Reassessed>, BrokerError> {
        // Older grants were assessed when this one was requested.
        if grant.phase != Phase::Pending || others.iter().all(|other| other.requested_at < grant.requested_at) {
            return Ok(None);
        }
        let around = last_surroundings(self.site(&grant.ask.cluster)?, &self.policy()).await;
        let together = self.together(shown.role.rules(), &grant.ask.scope, others, &around).await?;
        let was_shown = |finding: &Finding| shown.together.iter().any(|known| known.covers(finding));
        if together.iter().all(was_shown) {
            return Ok(None);
        }
        let (holds, holds_more) = held(others.to_vec());
        Ok(Some(approval::reassess(grant, Shown { together, holds, holds_more, ..shown.clone() })))
    }

    /// What approvers of a grant are shown in addition to the request, and the digest that an approval refers to. While
    /// the request is pending, this includes the requester's other access at this moment.
    ///
    /// # Errors
    /// [`BrokerError`].
    pub async fn shown_of(&self, grant: &Grant) -> Result<Option<(Shown, Arc<str>)>, BrokerError> {
        let Some(mut shown) = self.ledger.shown_of(&grant.id).await? else { return Ok(None) };
        if grant.phase == Phase::Pending {
            let others = self.other_grants(&grant.requester, &grant.ask.cluster, Some(&grant.id));
            if let Some(Reassessed { shown, digest }) = self.reassessed(grant, &shown, &others).await? {
                return Ok(Some((shown, digest.into())));
            }
            (shown.holds, shown.holds_more) = held(others);
        }
        Ok(Some((shown, Arc::clone(&grant.digest))))
    }
}

/// The other grants for approvers, live ones first, then the newest, and the number of those omitted. An approver reads
/// only a few; recording all of them in each request would make the trail grow quadratically.
pub(super) fn held(mut others: Vec<Arc<Grant>>) -> (Vec<OtherGrant>, usize) {
    let waits = |grant: &Grant| grant.phase == Phase::Pending;
    let first =
        |a: &Arc<Grant>, b: &Arc<Grant>| (waits(a), b.requested_at, &b.id).cmp(&(waits(b), a.requested_at, &a.id));
    let more = others.len().saturating_sub(HELD_SHOWN);
    if more > 0 {
        // Selects without sorting all of them.
        others.select_nth_unstable_by(HELD_SHOWN, first);
        others.truncate(HELD_SHOWN);
    }
    others.sort_unstable_by(first);
    let held = |grant: &Arc<Grant>| {
        let AccessRequest { scope, access, .. } = &*grant.ask;
        OtherGrant { grant: grant.id.clone(), scope: scope.clone(), access: access.clone(), phase: grant.phase }
    };
    (others.iter().map(held).collect(), more)
}
