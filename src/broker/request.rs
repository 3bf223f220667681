//! Requests, and explanations of what the policy would decide about one.
//!
//! ```text
//!  explain: policy ─► cluster ─► policy          (nothing is recorded)
//!  request: policy ─► cluster ─► policy ─► Requested (or RequestRefused)
//! ```

use std::sync::Arc;

use futures::future::{join_all, try_join_all};
use jiff::SignedDuration;

use super::facts::gather_facts;
use super::other_access::held;
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

/// What the policy and the cluster would say about a request.
#[derive(Debug)]
pub struct Explanation {
    /// The policy's decision.
    pub decision: Decision,
    /// The fields that the request still lacks.
    pub needs: Vec<Need>,
    /// The risks of the access; `None` if the request was denied before the cluster was asked.
    pub assessment: Option<Assessment>,
    /// The risks that would arise only together with the requester's other access and requests.
    pub together: Vec<Finding>,
    /// The API server's answer to each binding; empty if it was not asked.
    pub tried: Vec<DryRun>,
}

/// A binding that was only tried in a dry run.
#[derive(Debug)]
pub struct DryRun {
    /// The binding.
    pub binding: Binding,
    /// Why the API server would refuse it; `None` if it would accept it.
    pub refused: Option<String>,
}

const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// The longest time after a request in which it may still be denied: it may be pending, wait for its start, and wait to
/// be collected, each for at most a day.
const LONGEST_UNANSWERED: SignedDuration = SignedDuration::from_hours(72);

impl Broker {
    /// What the policy would decide about `ask` with the cluster as it is now, and the risks of the access; with
    /// `dry_run`, also what the API server says about the objects. Records nothing, and stores nothing in the cluster.
    ///
    /// # Errors
    /// [`BrokerError`], including refusals that do not depend on the policy.
    pub async fn explain(
        &self,
        requester: &Person,
        ask: &AccessRequest,
        dry_run: bool,
    ) -> Result<Explanation, BrokerError> {
        self.explained(requester, ask, Words::Complete, dry_run).await
    }

    /// What the policy would decide about a draft of a request, and which fields it still lacks.
    ///
    /// # Errors
    /// The same as [`Broker::explain`].
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
        if dry_run {
            self.ensure_not_drained()?;
        }
        let site = self.site(&ask.cluster)?;
        self.groups_are_known(requester)?;
        let usage = self.usage(&requester.name, None).await?;
        let now = self.ledger.now();
        ask.begins_in_time(now)?;
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
        let known = gather_facts(site, &self.policy(), ask).await?;
        let role = known.requested_role(ask)?;
        scope::leaves_the_guard(ask, role)?;
        let usage = Usage { denied: self.denied_before(&requester.name, ask, role).await?.is_some(), ..usage };
        let others = self.other_grants(&requester.name, &ask.cluster, None);
        let together = self.together(role.rules(), &ask.scope, &others, &known.around).await?;
        let assessment = known.assessment.with(&together);
        let known_here = Circumstances { assessment: &assessment, ..known.with(usage, self.ledger.now()) };
        let (decision, needs) = policy::decide_draft(&self.policy(), requester, ask, words, &known_here);
        let decision = site.keeps(decision);
        let bindings = match &decision {
            Decision::Ask(_) if dry_run => grant::bindings(&self.new_id()?, ask, &requester.name, false),
            _ => Vec::new(),
        };
        let tried = try_join_all(bindings.into_iter().map(|binding| tried(site, binding))).await?;
        Ok(Explanation { decision, needs, assessment: Some(known.assessment), together, tried })
    }

    /// Makes a request. A refusal is recorded too.
    ///
    /// # Errors
    /// [`BrokerError`]; then no grant is created.
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
        self.directory_is_fresh(requester)?;
        self.groups_are_known(requester)?;
        let usage = self.usage(&requester.name, None).await?;
        let now = self.ledger.now();
        ask.begins_in_time(now)?;
        policy::could_be_asked(&self.policy(), requester, ask, now, usage).map_err(|denial| denial.refusal())?;
        scope::access_fits_scope(ask)?;
        let key = ca::read_csr(csr)?.key().clone();
        self.key_is_free(&key, requester, site).await?;
        self.ensure_user_name_is_unbound(site, requester).await?;
        let known = gather_facts(site, &self.policy(), ask).await?;
        let role = known.requested_role(ask)?.clone();
        scope::leaves_the_guard(ask, &role)?;
        let id = self.new_id()?;
        would_bind(site, &grant::bindings(&id, ask, &requester.name, false)).await?;
        // Held until the request is recorded and the next one counts it, so that the decision uses current numbers. The
        // cluster was asked before, so that a cluster that hangs does not block requests for another.
        let (person, key_lock) = (self.ledger.lock_person(&requester.name).await, self.ledger.lock_key(&key).await);
        self.key_is_free(&key, requester, site).await?;
        let denied = self.denied_before(&requester.name, ask, &role).await?;
        let usage = Usage { denied: denied.is_some(), ..self.usage(&requester.name, None).await? };
        let others = self.other_grants(&requester.name, &ask.cluster, None);
        let together = self.together(role.rules(), &ask.scope, &others, &known.around).await?;
        let assessment = known.assessment.with(&together);
        let now = self.ledger.now();
        let circumstances = Circumstances { assessment: &assessment, ..known.with(usage, now) };
        let terms = match site.keeps(policy::decide(&self.policy(), requester, ask, &circumstances)) {
            Decision::Ask(terms) => terms,
            Decision::Deny(denial) => return Err(denial.refusal().into()),
        };
        approval::may_be_answered(requester, &terms.steps)?;
        // Checked again, because the cluster may have been slow, and a request recorded during a drain could only wait.
        let guard = self.hold_off_drain().await?;
        let (holds, holds_more) = held(others);
        let namespaces = known.namespaces.into_iter().map(|(name, found)| (name, found.uid)).collect();
        let shown = Shown { role, assessment: known.assessment, together, holds, holds_more, namespaces, denied };

        let event = Event::Requested(Box::new(Requested {
            digest: digest::of_request(&id, &requester.name, ask, &key, &shown, &terms.sessions),
            ask: ask.clone(),
            key,
            shown,
            decided_on: DecidedOn { groups: requester.groups.clone(), labels: known.labels, usage },
            pending_until: after(now, terms.pending.unwrap_or(self.times.answer).duration()),
            terms,
        }));
        let open_grant = self.ledger.begin(id, requester, now, event).await?;
        drop(guard);
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

    /// The person's open grants and recent requests, as numbers. A review that the grant `of` itself owes does not
    /// count.
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

    /// The newest denial of the same access, or of less, to this person that still counts.
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

    /// Whether a person owes a review of a grant other than `but`.
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
            return Err(key_in_use("another person's grant uses this key").into());
        }
        Ok(())
    }
}

/// A new id from the host's random numbers; `None` if it has none.
#[must_use]
pub fn random_id() -> Option<GrantId> {
    let mut random = [0; 10];
    aws_lc_rs::rand::fill(&mut random).ok()?;
    Some(GrantId::from_random(random))
}

/// Checks that the API server would accept the bindings, and those of the gateway for them, before anybody is asked to
/// approve them. A problem that may be solved before the grant is collected does not count.
pub(super) async fn would_bind(site: &Site, bindings: &[Binding]) -> Result<(), ClusterError> {
    let unless_it_passes =
        |tried: Result<(), ClusterError>| tried.or_else(|error| if error.may_pass() { Ok(()) } else { Err(error) });
    unless_it_passes(site.cluster.limits_gateway().await)?;
    let of_gateway = site.gateway_bindings(bindings);
    let tries = bindings.iter().chain(&of_gateway).map(|binding| site.cluster.would_bind(binding));
    join_all(tries).await.into_iter().try_for_each(unless_it_passes)
}

/// The API server's answer to a dry run of a binding. A refusal is an answer; any other failure is an error.
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
    Refusal::new(Code::KeyInUse, why).hint("generate a new key for each request, as jit-login does")
}
