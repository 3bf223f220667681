//! What a person has, was approved for or has asked for beside a request in the same cluster, and what arises only from
//! all of it together.
//!
//! Two requests that are harmless one by one may give a cluster away when one person gets both, so each is judged with the
//! others, and one that waits is judged again when it is looked at and when it is answered.

use std::collections::HashSet;
use std::sync::Arc;

use super::facts::surroundings;
use super::{Broker, BrokerError};
use crate::grant::request::{Access, AccessRequest, ClusterName, PersonName, Scope};
use crate::grant::{Grant, GrantId, Held, Phase, Reassessed, Shown, approval};
use crate::rbac::risk::{self, Bound, Finding, Surroundings};
use crate::rbac::role::{ResolvedRole, Rule};

/// So much of what a requester has already is shown to approvers one by one.
const HELD_SHOWN: usize = 20;

impl Broker {
    /// The grants of a person in a cluster that work, may come to work or are being taken away, but this one.
    pub(super) fn beside(&self, person: &PersonName, cluster: &ClusterName, but: Option<&GrantId>) -> Vec<Arc<Grant>> {
        let counts =
            |grant: &Arc<Grant>| grant.phase.is_open() && grant.ask.cluster == *cluster && but != Some(&grant.id);
        self.ledger.of(person).into_iter().filter(counts).collect()
    }

    /// What arises only from `rules` in `scope` together with all of `others`.
    pub(super) async fn together(
        &self,
        rules: &[Rule],
        scope: &Scope,
        others: &[Arc<Grant>],
        around: &Surroundings,
    ) -> Result<Vec<Finding>, BrokerError> {
        // Thousands of grants may be of one role in one place.
        let mut known = HashSet::new();
        let mut roles: Vec<(Arc<ResolvedRole>, &Scope)> = Vec::new();
        for other in others.iter().filter(|other| known.insert((&other.rules_sha256, &other.ask.scope))) {
            let role = self.role_of(other).await?.ok_or(BrokerError::Internal)?;
            roles.push((role, &other.ask.scope));
        }
        let bound: Vec<Bound<'_>> = roles.iter().map(|(role, scope)| Bound { rules: role.rules(), scope }).collect();
        Ok(risk::assess_together(Bound { rules, scope }, &bound, around))
    }

    /// A request that waits as it has to be shown now; none when nothing arises that was not shown.
    pub(super) async fn reassessed(&self, grant: &Grant) -> Result<Option<Reassessed>, BrokerError> {
        if grant.phase != Phase::Pending {
            return Ok(None);
        }
        let others = self.beside(&grant.requester, &grant.ask.cluster, Some(&grant.id));
        // What was there before was looked at when this was asked for.
        if others.iter().all(|other| other.requested_at < grant.requested_at) {
            return Ok(None);
        }
        let shown = self.ledger.shown_of(&grant.id).await?.ok_or(BrokerError::Internal)?;
        let around = surroundings(self.site(&grant.ask.cluster)?).await?;
        let together = self.together(shown.role.rules(), &grant.ask.scope, &others, &around).await?;
        let was_shown = |finding: &Finding| shown.together.iter().any(|known| known.covers(finding));
        if together.iter().all(was_shown) {
            return Ok(None);
        }
        let (holds, holds_more) = held(others);
        Ok(Some(approval::reassess(grant, Shown { together, holds, holds_more, ..shown })))
    }

    /// What approvers of a grant are shown beside what is asked, and the digest that a yes to it answers. While it waits for
    /// an answer, that is what the requester has besides at this moment.
    ///
    /// # Errors
    /// [`BrokerError`].
    pub async fn shown_of(&self, grant: &Grant) -> Result<Option<(Shown, Arc<str>)>, BrokerError> {
        if let Some(Reassessed { shown, digest }) = self.reassessed(grant).await? {
            return Ok(Some((shown, digest.into())));
        }
        let Some(mut shown) = self.ledger.shown_of(&grant.id).await? else { return Ok(None) };
        if grant.phase == Phase::Pending {
            (shown.holds, shown.holds_more) = held(self.beside(&grant.requester, &grant.ask.cluster, Some(&grant.id)));
        }
        Ok(Some((shown, Arc::clone(&grant.digest))))
    }
}

/// What works first, then the newest, and how much more there is. An approver reads a few; all of it in every request
/// would make the trail grow with the square of what somebody has.
pub(super) fn held(mut others: Vec<Arc<Grant>>) -> (Vec<Held>, usize) {
    let waits = |grant: &Grant| grant.phase == Phase::Pending;
    let first =
        |a: &Arc<Grant>, b: &Arc<Grant>| (waits(a), b.requested_at, &b.id).cmp(&(waits(b), a.requested_at, &a.id));
    let more = others.len().saturating_sub(HELD_SHOWN);
    if more > 0 {
        // Without putting all of them in order.
        others.select_nth_unstable_by(HELD_SHOWN, first);
        others.truncate(HELD_SHOWN);
    }
    others.sort_unstable_by(first);
    let held = |grant: &Arc<Grant>| {
        let AccessRequest { scope, access, .. } = &*grant.ask;
        let access: Access = access.clone();
        Held { grant: grant.id.clone(), scope: scope.clone(), access, phase: grant.phase }
    };
    (others.iter().map(held).collect(), more)
}
