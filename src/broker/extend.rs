//! More time for a grant that is live: asked for, agreed to, checked against the policy again.

use std::sync::Arc;

use jiff::Timestamp;

use super::facts::gather_facts;
use super::{Broker, BrokerError, Giving};
use crate::grant::extension::{self, Extension};
use crate::grant::narrow::Narrowing;
use crate::grant::policy::{self, Decision, Usage};
use crate::grant::refusal::{Code, Refusal};
use crate::grant::request::{AccessRequest, Person, Reason, Window};
use crate::grant::{Author, Event, Grant};

impl Broker {
    /// Who has the access asks for more time. What the policy asks nobody about is given at once.
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
        let asked = self.asked_for_more(&grant, requester, window, reason).await;
        // One moment for the question and for an answer that comes of itself, or the one could be recorded and not the other.
        let (asked, now, _giving) = match asked {
            Ok((event, now, giving)) => (Ok(vec![event]), now, Some(giving)),
            Err(error) => (Err(error), self.ledger.now(), None),
        };
        let asked = self.record_or_refuse(&mut locked, requester, "extend", asked).await?;
        match extension::auto_extend(&asked, now)? {
            Some(extended) => Ok(self.ledger.record(&mut locked, &Author::Daemon, vec![extended]).await?),
            None => Ok(asked),
        }
    }

    async fn asked_for_more(
        &self,
        grant: &Grant,
        requester: &Person,
        window: Window,
        reason: Reason,
    ) -> Result<(Event, Timestamp, Giving<'_>), BrokerError> {
        if grant.requester != requester.name {
            return Err(Refusal::not_the_requester().into());
        }
        self.ensure_not_drained()?;
        let ask = |now| extension::ask(grant, window, reason.clone(), self.times.answer.duration(), now);
        ask(self.ledger.now())?;
        self.recheck_policy(grant, requester, reason.clone()).await?;
        // Once more, for the cluster may have taken its time, and where nobody has to agree it is given at once.
        let giving = self.giving().await?;
        let now = self.ledger.now();
        Ok((ask(now)?, now, giving))
    }

    /// What a yes to more time is recorded as, and that no drain comes before it.
    pub(super) async fn more_time(
        &self,
        grant: &Grant,
        extension: &Extension,
        approver: &Person,
        digest: &str,
        less: &Narrowing,
    ) -> Result<(Event, Giving<'_>), BrokerError> {
        if *less != Narrowing::default() {
            let why = "more time can be agreed to or not, but not cut down";
            return Err(Refusal::new(Code::NotLess, why).hint("deny it, and say what to ask for").into());
        }
        self.ensure_not_drained()?;
        let agreed = extension::approve(grant, approver, digest, self.ledger.now())?;
        // Nothing is collected after this that would look again.
        if matches!(agreed, Event::Extended { .. }) {
            let requester = self.person(&grant.requester).await?.ok_or_else(|| {
                let why = format!("`{}` is not known on this host any more", grant.requester);
                Refusal::new(Code::RequesterLostRight, why).hint("the access ends as it would have")
            })?;
            self.recheck_policy(grant, &requester, extension.reason.clone()).await?;
            // Once more, for the cluster may have taken its time: until the window was over, or an operator drained.
            let giving = self.giving().await?;
            return Ok((extension::approve(grant, approver, digest, self.ledger.now())?, giving));
        }
        Ok((agreed, self.giving().await?))
    }

    /// Whether the policy of now would give the access again for this reason, with the same to agree; the role is
    /// watched all the time.
    pub(super) async fn recheck_policy(
        &self,
        grant: &Grant,
        requester: &Person,
        reason: Reason,
    ) -> Result<(), BrokerError> {
        let ask = AccessRequest { reason, ..grant.asked().into_owned() };
        let known = gather_facts(self.site(&ask.cluster)?, &ask).await?.again(grant);
        let denied = match &known.role {
            Some(role) => self.denied_before(&requester.name, &ask, role).await?.is_some(),
            None => false,
        };
        let review_owed = self.owes_review(&requester.name, Some(&grant.id));
        let usage = Usage { review_owed, denied, ..Usage::default() };
        match policy::decide(&self.policy(), requester, &ask, &known.with(usage, self.ledger.now())) {
            Decision::Ask(terms) if terms.steps == grant.terms.steps => Ok(()),
            Decision::Ask(_) => Err(Refusal::new(Code::RequesterLostRight, "the policy now asks for other approvers")
                .hint("make a new request")
                .into()),
            Decision::Deny(denial) => Err(denial.refusal().into()),
        }
    }
}
