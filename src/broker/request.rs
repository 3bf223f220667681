//! Asking: what the policy would say to a request, and the request itself.
//!
//! ```text
//!  explain: policy ─► cluster ─► policy          (nothing is recorded)
//!  request: policy ─► cluster ─► policy ─► Requested (or RequestRefused)
//! ```

use std::sync::Arc;

use futures::future::{join_all, try_join_all};
use jiff::SignedDuration;

use super::beside::held;
use super::facts::gather_facts;
use super::refusals::{About, Kind};
use super::{Broker, BrokerError, Site};
use crate::ca;
use crate::cluster::ClusterError;
use crate::grant::approval;
use crate::grant::digest;
use crate::grant::policy::{self, Circumstances, Decision, Need, Usage, Words};
use crate::grant::refusal::{Code, Refusal};
use crate::grant::request::{AccessRequest, KeyHash, Person, PersonName, after};
use crate::grant::scope;
use crate::grant::{
    self, Author, Binding, DecidedOn, DeniedBefore, Event, Grant, GrantId, Phase, RequestRefused, Requested, Shown,
};
use crate::hint::Hint;
use crate::rbac::ResolvedRole;
use crate::rbac::risk::{Assessment, Finding};

/// What would be said to a request.
#[derive(Debug)]
pub struct Explanation {
    /// What the policy says.
    pub decision: Decision,
    /// What the request has to say still.
    pub needs: Vec<Need>,
    /// What it would reach; none when it was denied before the cluster was asked.
    pub assessment: Option<Assessment>,
    /// What would arise only together with what the requester has or asked for besides.
    pub together: Vec<Finding>,
    /// What the API server would say to each binding; empty when it was not asked.
    pub tried: Vec<DryRun>,
}

/// A binding that was not made, only tried.
#[derive(Debug)]
pub struct DryRun {
    /// The binding.
    pub binding: Binding,
    /// Why the API server would refuse it; none when it would take it.
    pub refused: Option<String>,
}

const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// So long after a request it may still be denied: it waits for an answer, after broken glass for its start, and then to be
/// collected, each a day at most.
const LONGEST_UNANSWERED: SignedDuration = SignedDuration::from_hours(72);

impl Broker {
    /// What the policy would say to `ask` in the cluster as it is, and what it would reach; when `dry_run`, also what
    /// the API server says to the objects. Nothing is recorded, and nothing is stored in the cluster.
    ///
    /// # Errors
    /// [`BrokerError`], also for what is refused whatever the policy says.
    pub async fn explain(
        &self,
        requester: &Person,
        ask: &AccessRequest,
        dry_run: bool,
    ) -> Result<Explanation, BrokerError> {
        self.explained(requester, ask, Words::Complete, dry_run).await
    }

    /// What the policy would say to a request of which some words may not be there yet, and which those are.
    ///
    /// # Errors
    /// As [`Broker::explain`].
    pub async fn explain_draft(
        &self,
        requester: &Person,
        ask: &AccessRequest,
        words: Words,
    ) -> Result<Explanation, BrokerError> {
        self.explained(requester, ask, words, false).await
    }

    async fn explained(
        &self,
        requester: &Person,
        ask: &AccessRequest,
        words: Words,
        dry_run: bool,
    ) -> Result<Explanation, BrokerError> {
        let site = self.site(&ask.cluster)?;
        self.groups_are_known(requester)?;
        let usage = self.usage(&requester.name, None).await?;
        let now = self.ledger.now();
        if let Err(denial) = policy::draft_could_be_asked(&self.policy(), requester, ask, words, now, usage) {
            return Ok(Explanation {
                decision: Decision::Deny(denial),
                needs: Vec::new(),
                assessment: None,
                together: Vec::new(),
                tried: Vec::new(),
            });
        }
        scope::access_fits_scope(ask)?;
        let known = gather_facts(site, ask).await?;
        let role = known.asked_for(ask)?;
        scope::leaves_the_guard(ask, role)?;
        let usage = Usage { denied: self.denied_before(&requester.name, ask, role).await?.is_some(), ..usage };
        let others = self.beside(&requester.name, &ask.cluster, None);
        let together = self.together(role.rules(), &ask.scope, &others, &known.around).await?;
        let assessment = known.assessment.with(&together);
        let known_here = Circumstances { assessment: &assessment, ..known.with(usage, self.ledger.now()) };
        let (decision, needs) = policy::decide_draft(&self.policy(), requester, ask, words, &known_here);
        let bindings = match &decision {
            Decision::Ask(_) if dry_run => grant::bindings(&self.new_id()?, ask, &requester.name, false),
            _ => Vec::new(),
        };
        let tried = try_join_all(bindings.into_iter().map(|binding| tried(site, binding))).await?;
        Ok(Explanation { decision, needs, assessment: Some(known.assessment), together, tried })
    }

    /// Somebody asks. A refusal is recorded too.
    ///
    /// # Errors
    /// [`BrokerError`]; no grant comes to be.
    pub async fn request(&self, requester: &Person, ask: AccessRequest, csr: &str) -> Result<Arc<Grant>, BrokerError> {
        match self.requested(requester, &ask, csr).await {
            Ok(grant) => Ok(grant),
            Err(BrokerError::Refused(refusal)) => {
                let refused = RequestRefused::new(ask, refusal.code.as_str(), &refusal.why);
                let kind = Kind { about: About::Request(refused.ask_sha256.clone()), code: refusal.code.as_str() };
                let now = self.ledger.now();
                if self.refusals.is_news(requester, kind.clone(), now) {
                    let event = Event::RequestRefused(Box::new(refused));
                    self.ledger
                        .note(&Author::from(requester), event)
                        .await
                        .inspect_err(|_| self.refusals.is_not_written(requester, &kind, now))?;
                }
                Err(refusal.into())
            }
            Err(error) => Err(error),
        }
    }

    async fn requested(&self, requester: &Person, ask: &AccessRequest, csr: &str) -> Result<Arc<Grant>, BrokerError> {
        self.ensure_not_drained()?;
        let site = self.site(&ask.cluster)?;
        self.groups_are_known(requester)?;
        let usage = self.usage(&requester.name, None).await?;
        policy::could_be_asked(&self.policy(), requester, ask, self.ledger.now(), usage)
            .map_err(|denial| denial.refusal())?;
        scope::access_fits_scope(ask)?;
        let key = ca::read_csr(csr)?.key().clone();
        self.key_is_free(&key, requester, site).await?;
        self.ensure_user_name_is_unbound(site, requester).await?;
        let known = gather_facts(site, ask).await?;
        let role = known.asked_for(ask)?.clone();
        scope::leaves_the_guard(ask, &role)?;
        let id = self.new_id()?;
        would_bind(site, &grant::bindings(&id, ask, &requester.name, false)).await?;
        // Held until the request is recorded, where the next one finds it: what is counted now is what is decided on. The
        // cluster was asked before, so that one that hangs keeps nobody from asking for another.
        let (person, key_lock) = (self.ledger.lock_person(&requester.name).await, self.ledger.lock_key(&key).await);
        self.key_is_free(&key, requester, site).await?;
        let denied = self.denied_before(&requester.name, ask, &role).await?;
        let usage = Usage { denied: denied.is_some(), ..self.usage(&requester.name, None).await? };
        let others = self.beside(&requester.name, &ask.cluster, None);
        let together = self.together(role.rules(), &ask.scope, &others, &known.around).await?;
        let assessment = known.assessment.with(&together);
        let now = self.ledger.now();
        let circumstances = Circumstances { assessment: &assessment, ..known.with(usage, now) };
        let terms = match policy::decide(&self.policy(), requester, ask, &circumstances) {
            Decision::Ask(terms) => terms,
            Decision::Deny(denial) => return Err(denial.refusal().into()),
        };
        approval::may_be_answered(requester, &terms.steps)?;
        // Once more, for the cluster may have taken its time: what comes to be now would wait for the end of the drain.
        let giving = self.giving().await?;
        let (holds, holds_more) = held(others);
        let namespaces = known.namespaces.into_iter().map(|(name, found)| (name, found.uid)).collect();
        let shown = Shown { role, assessment: known.assessment, together, holds, holds_more, namespaces, denied };

        let event = Event::Requested(Box::new(Requested {
            digest: digest::of_request(&id, &requester.name, ask, &key, &shown),
            ask: ask.clone(),
            key,
            shown,
            decided_on: DecidedOn { groups: requester.groups.clone(), labels: known.labels, usage },
            pending_until: after(now, terms.pending.unwrap_or(self.times.answer).duration()),
            terms,
        }));
        let open_grant = self.ledger.begin(id, requester, now, event).await?;
        drop(giving);
        // A grant is locked before its person, never after.
        drop((person, key_lock));
        let grant = open_grant.grant();
        tracing::info!(grant = %grant.id, requester = %grant.requester, cluster = %ask.cluster, access = %ask.access, "requested");
        match approval::auto_approve(&grant, self.times.collect.duration(), now) {
            Some(approved) => {
                let mut locked = open_grant.lock().await;
                Ok(self.ledger.record(&mut locked, &Author::Daemon, vec![approved]).await?)
            }
            None => Ok(grant),
        }
    }

    /// What a person has open, and asked for lately. The review that the grant `of` itself owes does not count
    /// against it.
    pub(super) async fn usage(&self, person: &PersonName, of: Option<&GrantId>) -> Result<Usage, BrokerError> {
        let mut usage = Usage::default();
        for grant in self.ledger.of(person) {
            usage.review_owed |= grant.owes_review() && of != Some(&grant.id);
            match grant.phase {
                Phase::Pending => usage.pending = usage.pending.saturating_add(1),
                Phase::Collecting | Phase::Live => usage.live = usage.live.saturating_add(1),
                _ => {}
            }
        }
        if let Some(most) = self.policy().limits().per_hour {
            let since = after(self.ledger.now(), -HOUR);
            usage.last_hour = self.ledger.asked_since(person, since, most).await?;
        }
        Ok(usage)
    }

    /// The newest denial to this person of the same, or of less, that still counts.
    pub(super) async fn denied_before(
        &self,
        person: &PersonName,
        ask: &AccessRequest,
        role: &ResolvedRole,
    ) -> Result<Option<DeniedBefore>, BrokerError> {
        let Some(within) = self.policy().limits().after_denial else { return Ok(None) };
        let since = after(self.ledger.now(), -within.duration());
        let denied = self.ledger.denied_since(person, after(since, -LONGEST_UNANSWERED)).await?;
        Ok(DeniedBefore::newest(&denied, since, ask, role))
    }

    /// Whether a person owes a review of another grant than this one.
    pub(super) fn owes_review(&self, person: &PersonName, but: Option<&GrantId>) -> bool {
        self.ledger.of(person).iter().any(|grant| grant.owes_review() && but != Some(&grant.id))
    }

    fn new_id(&self) -> Result<GrantId, BrokerError> {
        (self.ids)().ok_or(BrokerError::Internal)
    }

    async fn key_is_free(&self, key: &KeyHash, requester: &Person, site: &Site) -> Result<(), BrokerError> {
        if site.authority().is_own_key(key) {
            return Err(key_in_use("this is the authority's own key").into());
        }
        if self.ledger.is_key_of_another(key, &requester.name).await? {
            return Err(key_in_use("this key stands in another person's grant").into());
        }
        Ok(())
    }
}

/// A new id out of the host's random numbers; none when it has none.
#[must_use]
pub fn random_id() -> Option<GrantId> {
    let mut random = [0; 10];
    aws_lc_rs::rand::fill(&mut random).ok()?;
    Some(GrantId::from_random(random))
}

/// Whether the API server would take the bindings, before anybody is asked for them. What may pass until they are collected
/// is no reason to ask for nothing.
pub(super) async fn would_bind(site: &Site, bindings: &[Binding]) -> Result<(), ClusterError> {
    for tried in join_all(bindings.iter().map(|binding| site.cluster.would_bind(binding))).await {
        tried.or_else(|error| if error.may_pass() { Ok(()) } else { Err(error) })?;
    }
    Ok(())
}

/// What the API server would say to a binding; its failures are ours, its refusals are the answer.
async fn tried(site: &Site, binding: Binding) -> Result<DryRun, ClusterError> {
    let refused = match site.cluster.would_bind(&binding).await {
        Ok(()) => None,
        Err(
            refused @ (ClusterError::Forbidden { .. }
            | ClusterError::OverQuota { .. }
            | ClusterError::NotFound { .. }
            | ClusterError::Conflict { .. }
            | ClusterError::Rejected { .. }),
        ) => Some(refused.on_one_line()),
        Err(failure) => return Err(failure),
    };
    Ok(DryRun { binding, refused })
}

fn key_in_use(why: &str) -> Refusal {
    Refusal::new(Code::KeyInUse, why).hint("make a new key for each request; jit-login does")
}
