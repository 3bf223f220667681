//! Break-glass: access without an approval when nobody answers, and its review afterwards.

use std::sync::Arc;

use super::facts::gather_facts;
use super::{Broker, BrokerError, over};
use crate::grant::glass::{self, Verdict};
use crate::grant::policy::{self, Decision, Usage};
use crate::grant::refusal::Code;
use crate::grant::request::{Person, Reason};
use crate::grant::{Event, Grant, approval};

impl Broker {
    /// The requester uses break-glass, if the rule allows it. The access is then collected as if it had been approved.
    ///
    /// # Errors
    /// [`BrokerError`]; a refusal is recorded and changes nothing.
    pub async fn break_glass(
        &self,
        grant: &Grant,
        requester: &Person,
        reason: Reason,
    ) -> Result<Arc<Grant>, BrokerError> {
        let open_grant = self.still_open(grant)?;
        let mut locked = open_grant.lock().await;
        let grant = locked.grant();
        // Checked before it is recorded: access that cannot be collected should not cost a review.
        let could = self.precheck_break_glass(&grant, requester, &reason).await;
        // Held from counting the owed reviews until this use is recorded, so that nobody uses break-glass twice at
        // once.
        let _person = self.ledger.lock_person(&grant.requester).await;
        // Held so that no drain begins between the last check for one and the record.
        let _guard = self.drain_lock.read().await;
        let broken = match could {
            // Checked again, because another grant of the same person may have been faster.
            Ok(()) => self.broken(&grant, requester, reason).map(|event| vec![event]),
            Err(error) => Err(error),
        };
        let grant = self.record_or_refuse(&mut locked, requester, "break-glass", broken).await?;
        if let Some(glass) = &grant.glass {
            tracing::warn!(
                grant = %grant.id, requester = %grant.requester, cluster = %grant.ask.cluster, access = %grant.ask.access,
                scope = %grant.ask.scope, reason = ?glass.reason.as_str(), approvers = grant.terms.groups().join(","),
                review_until = %glass.review_until, "break-glass: access without an approval"
            );
        }
        Ok(grant)
    }

    fn broken(&self, grant: &Grant, requester: &Person, reason: Reason) -> Result<Event, BrokerError> {
        if grant.requester == requester.name {
            self.ensure_not_drained()?;
        }
        let owed = self.owes_review(&requester.name, Some(&grant.id));
        let collect = self.times.collect.duration();
        Ok(glass::break_glass(grant, requester, reason, owed, collect, self.ledger.now())?)
    }

    async fn precheck_break_glass(
        &self,
        grant: &Grant,
        requester: &Person,
        reason: &Reason,
    ) -> Result<(), BrokerError> {
        let could = self.broken(grant, requester, reason.clone());
        if let Err(BrokerError::Refused(refusal)) = &could
            && refusal.code != Code::PolicyDenied
        {
            return could.map(drop);
        }
        let asked = grant.asked();
        let known = gather_facts(self.site(&grant.ask.cluster)?, &self.policy(), &asked).await?.again(grant);
        let role = known.requested_role(&asked)?;
        let decision =
            policy::decide(&self.policy(), requester, &asked, &known.with(Usage::default(), self.ledger.now()));
        // Reported even if the request's terms exclude break-glass, because an earlier denial may be the reason for
        // that.
        if matches!(&decision, Decision::Ask(terms) if terms.break_glass.is_some())
            && let Some(denied) = self.denied_before(&requester.name, &grant.ask, role).await?
        {
            return Err(denied.refusal().into());
        }
        could?;
        match decision {
            Decision::Ask(terms) => Ok(glass::still_let(grant, terms.break_glass.as_ref())?),
            Decision::Deny(denial) => Err(denial.refusal().into()),
        }
    }

    /// A reviewer reviews a use of break-glass, or an administrator decides where reviewers disagree, even after the
    /// grant has ended.
    ///
    /// # Errors
    /// [`BrokerError`]; a refusal is recorded and changes nothing.
    pub async fn review(
        &self,
        grant: &Grant,
        reviewer: &Person,
        digest: &str,
        verdict: Verdict,
        words: Reason,
    ) -> Result<Arc<Grant>, BrokerError> {
        let admins = &self.ledger.overseers().admins;
        let Some(open_grant) = self.ledger.open_grant(&grant.id) else {
            let refusal = glass::review(grant, reviewer, admins, digest, verdict, words, self.ledger.now()).err();
            return Err(refusal.filter(|_| grant.glass.is_some()).unwrap_or_else(|| over(grant)).into());
        };
        let former = self.people().former_names(&reviewer.name);
        let mut locked = open_grant.lock().await;
        let reviewed = approval::did_nothing_as(&locked.grant(), &former)
            .and_then(|()| glass::review(&locked.grant(), reviewer, admins, digest, verdict, words, self.ledger.now()));
        let reviewed = reviewed.map(|event| vec![event]).map_err(BrokerError::from);
        self.record_or_refuse(&mut locked, reviewer, "review", reviewed).await
    }
}
