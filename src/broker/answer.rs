//! Answers to a request before it is collected: approve, deny, withdraw.

use std::sync::Arc;

use jiff::Timestamp;

use super::facts::{last_surroundings, role_empty};
use super::request::would_bind;
use super::{Broker, BrokerError, DrainGuard};
use crate::cluster::Probe;
use crate::grant::narrow::Narrowing;
use crate::grant::refusal::Refusal;
use crate::grant::request::{Access, Person};
use crate::grant::{self, Author, Event, Grant, approval, end, extension};
use crate::ledger::LedgerError;
use crate::rbac::risk;
use crate::rbac::role::ResolvedRole;

impl Broker {
    /// An approver approves the request with this digest, or a narrowed form of it.
    ///
    /// # Errors
    /// [`BrokerError`]; a refusal is recorded and changes nothing.
    pub async fn approve(
        &self,
        grant: &Grant,
        approver: &Person,
        digest: &str,
        less: &Narrowing,
    ) -> Result<Arc<Grant>, BrokerError> {
        let open_grant = self.still_open(grant)?;
        let mut locked = open_grant.lock().await;
        let grant = locked.grant();
        let approved = self.approved(&grant, approver, digest, less).await;
        let (approved, _guard) = match approved {
            Ok((events, guard)) => (Ok(events), guard),
            Err(error) => (Err(error), None),
        };
        self.record_or_refuse(&mut locked, approver, "approve", approved).await
    }

    /// The events of an approval: a reassessment if one is due, a narrowing if there is one, and the approval itself.
    /// For an extension also a guard that no drain begins in between.
    async fn approved(
        &self,
        grant: &Grant,
        approver: &Person,
        digest: &str,
        less: &Narrowing,
    ) -> Result<(Vec<Event>, Option<DrainGuard<'_>>), BrokerError> {
        let collect = self.times.collect.duration();
        let now = self.ledger.now();
        approval::did_nothing_as(grant, &self.people().former_names(&approver.name))?;
        if let Some(extension) = extension::open(grant, now) {
            approval::may_answer(grant, approver)?;
            let (event, guard) = self.more_time(grant, extension, approver, digest, less).await?;
            return Ok((vec![event], Some(guard)));
        }
        approval::may_answer(grant, approver)?;
        let mut shown = self.ledger.shown_of(&grant.id).await?.ok_or(BrokerError::Internal)?;
        let others = self.other_grants(&grant.requester, &grant.ask.cluster, Some(&grant.id));
        let reassessed = self.reassessed(grant, &shown, &others).await?;
        let reassessed = reassessed.map(|reassessed| Event::Reassessed(Box::new(reassessed)));
        let anew = |event: &Event| {
            let fact = Author::Daemon.fact(now, Some(grant.id.clone()), event.clone());
            grant.clone().apply(&fact).map_err(LedgerError::from)
        };
        let shown_anew = reassessed.as_ref().map(anew).transpose()?;
        let grant = shown_anew.as_ref().unwrap_or(grant);
        let yes = approval::approve(grant, approver, digest, collect, now)?;
        let mut events: Vec<Event> = reassessed.into_iter().collect();
        if *less == Narrowing::default() {
            events.push(yes);
            return Ok((events, None));
        }
        if let Some(Event::Reassessed(reassessed)) = events.first() {
            shown.clone_from(&reassessed.shown);
        }
        let ask = less.of(grant, &shown.role)?;
        if ask == *grant.ask {
            events.push(yes);
            return Ok((events, None));
        }
        if let Access::Rules(rules) = &ask.access {
            shown.role = ResolvedRole::new(String::new(), rules.as_slice().to_vec());
        }
        if Probe::for_role(&shown.role, ask.scope.namespaces().first()).is_none() {
            return Err(role_empty(&ask).into());
        }
        if matches!(ask.access, Access::Rules(_)) {
            // The daemon may only grant rights that it holds in that namespace.
            let bindings = grant::bindings(&grant.id, &ask, &grant.requester, false);
            would_bind(self.site(&ask.cluster)?, &bindings).await?;
        }
        shown.namespaces.retain(|name, _| ask.scope.namespaces().contains(name));
        let around = last_surroundings(self.site(&ask.cluster)?, &self.policy()).await;
        shown.assessment = risk::assess(shown.role.rules(), &ask.scope, &around);
        let others = self.other_grants(&grant.requester, &ask.cluster, Some(&grant.id));
        shown.together = self.together(shown.role.rules(), &ask.scope, &others, &around).await?;
        events.extend(approval::to_less(grant, yes, ask, shown));
        Ok((events, None))
    }

    /// An approver denies the request.
    ///
    /// # Errors
    /// [`BrokerError`]; a refusal is recorded and changes nothing.
    pub async fn deny(&self, grant: &Grant, approver: &Person, reason: String) -> Result<Arc<Grant>, BrokerError> {
        let former = self.people().former_names(&approver.name);
        self.answer(grant, approver, "deny", |grant, now| {
            approval::did_nothing_as(grant, &former)?;
            match extension::open(grant, now) {
                Some(_) => approval::may_answer(grant, approver).and_then(|()| extension::deny(grant, reason, now)),
                None => approval::deny(grant, approver, reason, now),
            }
        })
        .await
    }

    /// The requester withdraws the request before it is collected.
    ///
    /// # Errors
    /// [`BrokerError`]; a refusal is recorded and changes nothing.
    pub async fn withdraw(&self, grant: &Grant, requester: &Person) -> Result<Arc<Grant>, BrokerError> {
        self.answer(grant, requester, "withdraw", |grant, _| end::withdraw(grant, requester)).await
    }

    pub(super) async fn answer(
        &self,
        grant: &Grant,
        by: &Person,
        action: &str,
        decide: impl FnOnce(&Grant, Timestamp) -> Result<Event, Refusal>,
    ) -> Result<Arc<Grant>, BrokerError> {
        let open_grant = self.still_open(grant)?;
        let mut locked = open_grant.lock().await;
        let decided = decide(&locked.grant(), self.ledger.now()).map(|event| vec![event]);
        self.record_or_refuse(&mut locked, by, action, decided.map_err(BrokerError::from)).await
    }
}
