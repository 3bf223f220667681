//! Extensions: more time for a live grant, requested, approved and checked against the policy again.

use std::sync::Arc;

use jiff::Timestamp;

use super::facts::gather_facts;
use super::{Broker, BrokerError, DrainGuard};
use crate::grant::extension::{self, Extension};
use crate::grant::narrow::Narrowing;
use crate::grant::policy::{self, Decision, Usage};
use crate::grant::refusal::{Code, Refusal};
use crate::grant::request::{AccessRequest, Person, Reason, Window};
use crate::grant::{Author, Event, Grant};

impl Broker {
    /// The holder requests more time. If the policy requires no approval, it is granted at once.
    ///
    /// # Errors
    /// [`BrokerError`]; a refusal is recorded and changes nothing.
    pub async fn extend(
        &self,
        grant: &Grant,
        requester: &Person,
        window: Window,
        reason: Reason,
    ) -> Result<Arc<Grant>, BrokerError> {
        let open_grant = self.still_open(grant)?;
        let mut locked = open_grant.lock().await;
        let grant = locked.grant();
        let requested = self.extension_requested(&grant, requester, window, reason).await;
        // One time for the request and for its automatic approval; otherwise only one of them might be recorded.
        let (requested, now, _guard) = match requested {
            Ok((event, now, guard)) => (Ok(vec![event]), now, Some(guard)),
            Err(error) => (Err(error), self.ledger.now(), None),
        };
        let requested = self.record_or_refuse(&mut locked, requester, "extend", requested).await?;
        match extension::auto_extend(&requested, now)? {
            Some(extended) => Ok(self.ledger.record(&mut locked, &Author::Daemon, vec![extended]).await?),
            None => Ok(requested),
        }
    }

    async fn extension_requested(
        &self,
        grant: &Grant,
        requester: &Person,
        window: Window,
        reason: Reason,
    ) -> Result<(Event, Timestamp, DrainGuard<'_>), BrokerError> {
        if grant.requester != requester.name {
            return Err(Refusal::not_the_requester().into());
        }
        self.ensure_not_drained()?;
        let ask = |now| extension::ask(grant, window, reason.clone(), self.times.answer.duration(), now);
        ask(self.ledger.now())?;
        self.recheck_policy(grant, requester, reason.clone()).await?;
        // Checked again, because the cluster may have been slow, and the extension may be granted at once.
        let guard = self.hold_off_drain().await?;
        let now = self.ledger.now();
        Ok((ask(now)?, now, guard))
    }

    /// The event of an approval of an extension, with a guard that no drain begins before it is recorded.
    pub(super) async fn more_time(
        &self,
        grant: &Grant,
        extension: &Extension,
        approver: &Person,
        digest: &str,
        less: &Narrowing,
    ) -> Result<(Event, DrainGuard<'_>), BrokerError> {
        if *less != Narrowing::default() {
            let why = "an extension can be approved or denied, but not narrowed";
            return Err(Refusal::new(Code::NotLess, why).hint("deny it, and say what to request instead").into());
        }
        self.ensure_not_drained()?;
        let agreed = extension::approve(grant, approver, digest, self.ledger.now())?;
        // No collection follows that would check the policy again.
        if matches!(agreed, Event::Extended { .. }) {
            let requester = self.person(&grant.requester).await?.ok_or_else(|| {
                let why = format!("`{}` no longer exists on this host", grant.requester);
                Refusal::new(Code::RequesterLostRight, why).hint("the access ends at its original time")
            })?;
            self.recheck_policy(grant, &requester, extension.reason.clone()).await?;
            // Checked again, because the cluster may have been slow: the window may be over, or an operator may have
            // drained.
            let guard = self.hold_off_drain().await?;
            return Ok((extension::approve(grant, approver, digest, self.ledger.now())?, guard));
        }
        Ok((agreed, self.hold_off_drain().await?))
    }

    /// Checks that the current policy allows the same access for this reason, with the same approvers. The role needs
    /// no check, because the sweep watches it.
    pub(super) async fn recheck_policy(
        &self,
        grant: &Grant,
        requester: &Person,
        reason: Reason,
    ) -> Result<(), BrokerError> {
        let ask = AccessRequest { reason, ..grant.asked().into_owned() };
        let known = gather_facts(self.site(&ask.cluster)?, &self.policy(), &ask).await?.again(grant);
        let denied = match &known.role {
            Some(role) => self.denied_before(&requester.name, &ask, role).await?.is_some(),
            None => false,
        };
        let review_owed = self.owes_review(&requester.name, Some(&grant.id));
        let usage = Usage { review_owed, denied, ..Usage::default() };
        match policy::decide(&self.policy(), requester, &ask, &known.with(usage, self.ledger.now())) {
            Decision::Ask(terms) if terms.steps == grant.terms.steps => Ok(()),
            Decision::Ask(_) => {
                Err(Refusal::new(Code::RequesterLostRight, "the policy now requires different approvers")
                    .hint("make a new request")
                    .into())
            }
            Decision::Deny(denial) => Err(denial.refusal().into()),
        }
    }
}
