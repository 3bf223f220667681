//! The story: the only file that orders the steps of a grant.
//!
//! ```text
//!  request ─► approve ─► certificate ─► end
//!  certificate: re-check ─► IssueIntended ─► sign ─► Issued ─► BindIntended ─► bind
//!               ─► Bound, ask until allowed ─► Live ─► hand over;  inside the window: IssueIntended ─► sign ─► Issued
//!  end:         UnbindIntended ─► unbind ─► ask until denied ─► Ended
//!  break_glass: in place of approve;  review: until it is no longer owed, also after Ended
//!  drain: nothing of all that but ends and renewals, until resume;  revoke_many: end, side by side
//! ```
//! It never decides (`grant/` does), never talks to the outside itself (`ca`, `cluster`, `trail` do), and
//! never does an effect whose intent is not on the disk. The API and the sweep call it. A call that
//! changes something has to run to its end even when nobody waits for it any more: the API spawns it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use futures::future::{join_all, try_join_all};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::spawn_blocking;

use crate::ca::{self, Authority, CaError, CheckedCsr, Signing};
use crate::cluster::{Answer, Cluster, ClusterError, Probe, Unbound};
use crate::config::{PolicyRead, Times};
use crate::grant::approval::{self, Approved, Facts};
use crate::grant::digest;
use crate::grant::drain::{self, Draining};
use crate::grant::extension::{self, Extension};
use crate::grant::glass::{self, Verdict};
use crate::grant::narrow::Narrowing;
use crate::grant::policy::{self, Circumstances, Decision, Drift, Labels, Policy, Usage};
use crate::grant::refusal::{Code, Refusal};
use crate::grant::request::{Access, Ask, ClusterName, KeyHash, Person, PersonName, Reason, Window};
use crate::grant::risk::{self, Assessment};
use crate::grant::role::ResolvedRole;
use crate::grant::{
    self, Binding, Clock, DecidedOn, EndCause, EndProof, Event, Grant, GrantId, Held, Narrowed, Operator, Phase,
    Requested, Shown,
};
use crate::ledger::{Author, Cell, Ending, Ledger, LedgerError};
use crate::people::{People, Unknown, or_nobody};
use crate::trail::{Trail, TrailError};

/// Why a step did not happen. A refusal is our answer; everything else is our failure.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// A rule says no.
    #[error("{0}")]
    Refused(Refusal),
    /// Nothing was recorded.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The cluster could not be asked, or would not do it.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The authority could not sign.
    #[error(transparent)]
    Authority(#[from] CaError),
    /// The clock went back behind what the trail already says.
    #[error(
        "the clock of this host says {now}, but the trail was written at {latest}: nothing is signed\nhint: set the clock right"
    )]
    ClockWentBack {
        /// The clock.
        now: Timestamp,
        /// The newest entry.
        latest: Timestamp,
    },
    /// The host could not be asked who somebody is.
    #[error("{0}")]
    NameService(Unknown),
    /// The API server's answer did not become what the binding says.
    #[error("after {} s the API server still says {answer}", ANSWER_WITHIN.as_secs())]
    Unsettled {
        /// What it still says.
        answer: String,
    },
    /// Somebody's finalizer keeps the deleted binding, and RBAC goes on granting it.
    #[error("a finalizer keeps binding `{0}` alive\nhint: an administrator of the cluster has to remove the finalizer")]
    Held(String),
    /// A fault of ours, told in the log.
    #[error("internal fault; the daemon's log says more")]
    Internal,
}

impl From<TrailError> for BrokerError {
    fn from(error: TrailError) -> Self {
        Self::Ledger(error.into())
    }
}

impl From<Refusal> for BrokerError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// How long a new or deleted binding may take until the API server answers accordingly.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// What the API server's authorizer usually needs to follow a deletion (2 ms in the median, measured).
const AUTHORIZER_FOLLOWS: Duration = Duration::from_millis(3);

/// How long the proof of one end lets the deletions of others pass: a thousand of them need less.
const DELETIONS_WITHIN: Duration = Duration::from_secs(5);

/// So much of what a requester has already is shown to approvers one by one.
const HELD_SHOWN: usize = 20;

/// So many roles of grants that ended are kept.
const ROLES_KEPT: usize = 32;

/// So many people are named to somebody who named nobody.
const NAMED: usize = 20;

/// So many grants of one cluster are revoked at a time. More than the calls that a cluster gets at a time, for a
/// grant also waits for the trail and between two questions.
const REVOKED_AT_ONCE: usize = 256;

const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// How far the clock may lie behind the newest entry of the trail before nothing is signed any more.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_secs(5);

/// A cluster and the authority that signs for it.
pub struct Site {
    /// Where bindings are made.
    pub cluster: Cluster,
    /// What signs. Behind a lock, for `jitd ca renew` replaces it under a running daemon.
    pub authority: RwLock<Arc<Authority>>,
}

/// So many ends of each cluster are under way at a time: one that hangs holds up only its own.
pub struct Turns(BTreeMap<ClusterName, Semaphore>);

impl Turns {
    /// Waits for a turn, which lasts until it is dropped. A cluster that the configuration does not have has none.
    pub async fn at(&self, cluster: &ClusterName) -> Option<SemaphorePermit<'_>> {
        // It is never closed.
        self.0.get(cluster)?.acquire().await.ok()
    }
}

/// All that the story needs, and the grants that are not over.
pub struct Broker {
    trail: Trail,
    sites: BTreeMap<ClusterName, Site>,
    /// Behind a lock, for it is read again under a running daemon.
    policy: RwLock<Arc<Policy>>,
    people: People,
    times: Times,
    admins: Vec<String>,
    ledger: Ledger,
    /// The keys that are being asked with at this moment.
    asking: Mutex<HashSet<KeyHash>>,
    /// Held from the question whether a person owes a review until they do, so that nobody breaks two at once.
    breaking: tokio::sync::Mutex<()>,
    /// Held from what an operator says about giving until it is recorded.
    operating: tokio::sync::Mutex<()>,
    /// Roles of grants that ended lately, by the hash of their rules.
    roles: tokio::sync::Mutex<HashMap<Arc<str>, Arc<ResolvedRole>>>,
}

/// Whose grants an operator means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Every grant.
    Everybody,
    /// Those of a person.
    Person(PersonName),
    /// Those in a cluster.
    Cluster(ClusterName),
    /// Those of a person in a cluster.
    PersonIn(PersonName, ClusterName),
}

impl Whose {
    fn is_meant(&self, grant: &Grant) -> bool {
        match self {
            Self::Everybody => true,
            Self::Person(person) => grant.requester == *person,
            Self::Cluster(cluster) => grant.ask.cluster == *cluster,
            Self::PersonIn(person, cluster) => grant.requester == *person && grant.ask.cluster == *cluster,
        }
    }

    fn person(&self) -> Option<&PersonName> {
        match self {
            Self::Person(person) | Self::PersonIn(person, _) => Some(person),
            Self::Everybody | Self::Cluster(_) => None,
        }
    }
}

/// What would be said to a request.
#[derive(Debug)]
pub struct Explained {
    /// What the policy says.
    pub decision: Decision,
    /// What it would reach; none when it was denied before the cluster was asked.
    pub assessment: Option<Assessment>,
    /// What the API server would say to each binding; empty when it was not asked.
    pub tried: Vec<Tried>,
}

/// A binding that was not made, only tried.
#[derive(Debug)]
pub struct Tried {
    /// The binding.
    pub binding: Binding,
    /// Why the API server would refuse it; none when it would take it.
    pub refused: Option<String>,
}

/// Who may look at, and who may end, what is not theirs.
#[derive(Clone, Debug)]
pub struct Overseers {
    /// Groups that may see every grant; the admins are among them.
    pub readers: Vec<String>,
    /// Groups that may also revoke every grant.
    pub admins: Vec<String>,
}

/// A certificate that works, and until when.
#[derive(Debug)]
pub struct HandedOver {
    /// Leaf and issuing certificate, PEM.
    pub chain_pem: String,
    /// The last second of its validity.
    pub not_after: Timestamp,
    /// The end of the window.
    pub until: Timestamp,
    /// The cluster it is for.
    pub cluster: ClusterName,
}

/// One key while it is being asked with, so that two people can't both find it free.
struct Asking<'a> {
    keys: &'a Mutex<HashSet<KeyHash>>,
    key: KeyHash,
}

impl<'a> Asking<'a> {
    fn with(keys: &'a Mutex<HashSet<KeyHash>>, key: &KeyHash) -> Result<Self, Refusal> {
        if keys.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone()) {
            Ok(Self { keys, key: key.clone() })
        } else {
            Err(key_in_use("this key is being asked with at this moment"))
        }
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

/// What a broker is made of.
pub struct Parts {
    /// The store.
    pub trail: Trail,
    /// The grants that it says are open.
    pub open: Vec<Grant>,
    /// The clusters.
    pub sites: BTreeMap<ClusterName, Site>,
    /// Who may ask for what.
    pub policy: Policy,
    /// Who is known.
    pub people: People,
    /// The clocks.
    pub times: Times,
    /// Who may see and end what is not theirs.
    pub overseers: Overseers,
    /// The clock of the host.
    pub clock: fn() -> Timestamp,
}

impl Broker {
    /// Takes up where the trail stands.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let readers = parts.overseers.readers;
        Self {
            ledger: Ledger::new(parts.trail.clone(), parts.open, readers, parts.clock),
            trail: parts.trail,
            sites: parts.sites,
            policy: RwLock::new(Arc::new(parts.policy)),
            people: parts.people,
            times: parts.times,
            admins: parts.overseers.admins,
            asking: Mutex::default(),
            breaking: tokio::sync::Mutex::default(),
            operating: tokio::sync::Mutex::default(),
            roles: tokio::sync::Mutex::default(),
        }
    }

    /// The grants that are not over.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Records that the daemon serves.
    ///
    /// # Errors
    /// [`BrokerError::Ledger`]; then it must not.
    pub async fn started(
        &self,
        version: &str,
        host: &str,
        policy_sha256: &str,
        guardrails_sha256: Option<&str>,
    ) -> Result<(), BrokerError> {
        let event = Event::Started {
            version: version.to_owned(),
            host: host.to_owned(),
            policy_sha256: policy_sha256.to_owned(),
            guardrails_sha256: guardrails_sha256.map(str::to_owned),
        };
        Ok(self.ledger.note(None, event).await?)
    }

    /// The policy of this moment. A decision asks for it anew: what was loaded meanwhile is in force.
    #[must_use]
    pub fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.policy.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on this policy decides. It stands in the trail before; what is live keeps its own terms.
    ///
    /// # Errors
    /// [`BrokerError::Ledger`]; then the policy before stays in force.
    pub async fn use_policy(&self, read: PolicyRead) -> Result<(), BrokerError> {
        let PolicyRead { policy, policy_sha256, guardrails_sha256 } = read;
        self.ledger.note(None, Event::PolicyLoaded { policy_sha256, guardrails_sha256 }).await?;
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(policy);
        Ok(())
    }

    /// Records that the daemon ends in good order.
    ///
    /// # Errors
    /// [`BrokerError::Ledger`].
    pub async fn stopped(&self) -> Result<(), BrokerError> {
        Ok(self.ledger.note(None, Event::Stopped).await?)
    }

    // ---- asking ----

    /// What the policy would say to `ask` in the cluster as it is, and what it would reach; when `dry_run`, also what
    /// the API server says to the objects. Nothing is recorded, and nothing is stored in the cluster.
    ///
    /// # Errors
    /// [`BrokerError`], also for what is refused whatever the policy says.
    pub async fn explain(&self, requester: &Person, ask: &Ask, dry_run: bool) -> Result<Explained, BrokerError> {
        let site = self.site(&ask.cluster)?;
        let usage = self.usage(&requester.name, None).await?;
        if let Err(denial) = policy::could_be_asked(&self.policy(), requester, ask, self.ledger.now(), usage) {
            return Ok(Explained { decision: Decision::Deny(denial), assessment: None, tried: Vec::new() });
        }
        approval::access_fits_scope(ask)?;
        let known = known(site, ask, usage).await?;
        approval::leaves_the_guard(ask, known.asked_for(ask)?)?;
        let decision = policy::decide(&self.policy(), requester, ask, &known.at(self.ledger.now()));
        let bindings = match &decision {
            Decision::Ask(_) if dry_run => grant::bindings(&new_id()?, ask, &requester.name, false),
            _ => Vec::new(),
        };
        let tried = try_join_all(bindings.into_iter().map(|binding| tried(site, binding))).await?;
        Ok(Explained { decision, assessment: Some(known.assessment), tried })
    }

    /// Somebody asks. A refusal is recorded too.
    ///
    /// # Errors
    /// [`BrokerError`]; no grant comes to be.
    pub async fn request(&self, requester: &Person, ask: Ask, csr: &str) -> Result<Arc<Grant>, BrokerError> {
        match self.requested(requester, &ask, csr).await {
            Ok(grant) => Ok(grant),
            Err(BrokerError::Refused(refusal)) => {
                let code = refusal.code.as_str().to_owned();
                let event = Event::RequestRefused { ask, code, why: refusal.why.clone() };
                self.ledger.note(Some(requester), event).await?;
                Err(refusal.into())
            }
            Err(error) => Err(error),
        }
    }

    async fn requested(&self, requester: &Person, ask: &Ask, csr: &str) -> Result<Arc<Grant>, BrokerError> {
        self.gives()?;
        let site = self.site(&ask.cluster)?;
        let usage = self.usage(&requester.name, None).await?;
        policy::could_be_asked(&self.policy(), requester, ask, self.ledger.now(), usage)
            .map_err(|denial| denial.refusal())?;
        approval::access_fits_scope(ask)?;
        let key = ca::read_csr(csr)?.key().clone();
        // Held until the request stands in the trail, where the next one finds it.
        let _asking = Asking::with(&self.asking, &key)?;
        self.key_is_free(&key, requester, site).await?;
        let known = known(site, ask, usage).await?;
        let role = known.asked_for(ask)?.clone();
        approval::leaves_the_guard(ask, &role)?;
        let now = self.ledger.now();
        let terms = match policy::decide(&self.policy(), requester, ask, &known.at(now)) {
            Decision::Ask(terms) => terms,
            Decision::Deny(denial) => return Err(denial.refusal().into()),
        };
        // Once more, for the cluster may have taken its time: what comes to be now would wait for the end of the drain.
        self.gives()?;
        let (holds, holds_more) = self.held(&requester.name, &ask.cluster);
        let shown = Shown { role, assessment: known.assessment, holds, holds_more };

        let id = new_id()?;
        let event = Event::Requested(Box::new(Requested {
            digest: digest::of_request(&id, &requester.name, ask, &key, &shown),
            ask: ask.clone(),
            key,
            shown,
            decided_on: DecidedOn { groups: requester.groups.clone(), labels: known.labels, usage },
            pending_until: approval::after(now, terms.pending.unwrap_or(self.times.answer).duration()),
            terms,
        }));
        let grant = self.ledger.begin(id, requester, now, event).await?;
        tracing::info!(grant = %grant.id, requester = %grant.requester, cluster = %ask.cluster, access = %ask.access, "requested");
        match approval::approve_of_itself(&grant, self.times.collect.duration(), now) {
            Some(approved) => {
                let cell = self.still_open(&grant)?;
                let _gate = cell.gate.lock().await;
                Ok(self.ledger.record(&cell, None, vec![approved]).await?)
            }
            None => Ok(grant),
        }
    }

    /// What a person has open, and asked for lately. The review that the grant `of` itself owes does not count
    /// against it.
    async fn usage(&self, person: &PersonName, of: Option<&GrantId>) -> Result<Usage, BrokerError> {
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
            let since = approval::after(self.ledger.now(), -HOUR);
            usage.last_hour = self.trail.asked_since(person, since, most).await?;
        }
        Ok(usage)
    }

    /// Whether a person owes a review of another grant than this one.
    fn owes_review(&self, person: &PersonName, but: Option<&GrantId>) -> bool {
        self.ledger.of(person).iter().any(|grant| grant.owes_review() && but != Some(&grant.id))
    }

    /// The access that a person has in a cluster at this moment, the newest, and how much more. An approver reads
    /// a few; all of it in every request would make the trail grow with the square of what somebody has.
    fn held(&self, person: &PersonName, cluster: &ClusterName) -> (Vec<Held>, usize) {
        let works = |grant: &Arc<Grant>| grant.phase == Phase::Live && grant.ask.cluster == *cluster;
        let mut live: Vec<Arc<Grant>> = self.ledger.of(person).into_iter().filter(works).collect();
        let newest = |a: &Arc<Grant>, b: &Arc<Grant>| (b.live_at, &b.id).cmp(&(a.live_at, &a.id));
        let more = live.len().saturating_sub(HELD_SHOWN);
        if more > 0 {
            // Without putting all of them in order.
            live.select_nth_unstable_by(HELD_SHOWN, newest);
            live.truncate(HELD_SHOWN);
        }
        live.sort_unstable_by(newest);
        let held = |grant: &Arc<Grant>| {
            let Ask { scope, access, .. } = &*grant.ask;
            Held { grant: grant.id.clone(), scope: scope.clone(), access: access.clone() }
        };
        (live.iter().map(held).collect(), more)
    }

    async fn key_is_free(&self, key: &KeyHash, requester: &Person, site: &Site) -> Result<(), BrokerError> {
        if site.authority().is_own_key(key) {
            return Err(key_in_use("this is the authority's own key").into());
        }
        if self.trail.is_key_of_another(key, &requester.name).await? {
            return Err(key_in_use("this key stands in another person's grant").into());
        }
        Ok(())
    }

    // ---- answering ----

    /// An approver says yes to what has this digest, or to less.
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
        let cell = self.still_open(grant)?;
        let _gate = cell.gate.lock().await;
        let approved = self.approved(&cell.grant(), approver, digest, less).await;
        self.record_or_refuse(&cell, approver, "approve", approved).await
    }

    /// What an approval is recorded as: what it leaves of the request, where it leaves less, and the yes.
    async fn approved(
        &self,
        grant: &Grant,
        approver: &Person,
        digest: &str,
        less: &Narrowing,
    ) -> Result<Vec<Event>, BrokerError> {
        let collect = self.times.collect.duration();
        let now = self.ledger.now();
        if let Some(extension) = extension::open(grant, now) {
            approval::may_answer(grant, approver)?;
            return self.more_time(grant, extension, approver, digest, less).await.map(|event| vec![event]);
        }
        let yes = approval::approve(grant, approver, digest, collect, now)?;
        if *less == Narrowing::default() {
            return Ok(vec![yes]);
        }
        let mut shown = self.trail.shown_of(&grant.id).await?.ok_or(BrokerError::Internal)?;
        let ask = less.of(grant, &shown.role)?;
        if let Access::Rules(rules) = &ask.access {
            shown.role = ResolvedRole::new(String::new(), rules.as_slice().to_vec());
        }
        if Probe::for_role(&shown.role, ask.scope.namespaces().first()).is_none() {
            return Err(role_empty(&ask).into());
        }
        let version = self.site(&ask.cluster)?.cluster.version().await?;
        shown.assessment = risk::assess(shown.role.rules(), &ask.scope, version.parse().ok());
        let digest = digest::of_request(&grant.id, &grant.requester, &ask, &grant.key, &shown);
        let yes = yes.to(&digest);
        Ok(vec![Event::Narrowed(Box::new(Narrowed { ask, shown, digest })), yes])
    }

    async fn more_time(
        &self,
        grant: &Grant,
        extension: &Extension,
        approver: &Person,
        digest: &str,
        less: &Narrowing,
    ) -> Result<Event, BrokerError> {
        if *less != Narrowing::default() {
            let why = "more time can be agreed to or not, but not cut down";
            return Err(Refusal::new(Code::NotLess, why).hint("deny it, and say what to ask for").into());
        }
        self.gives()?;
        let agreed = extension::approve(grant, approver, digest, self.ledger.now())?;
        // Nothing is collected after this that would look again.
        if matches!(agreed, Event::Extended { .. }) {
            let requester = self.person(&grant.requester).await?.ok_or_else(|| {
                let why = format!("`{}` is not known on this host any more", grant.requester);
                Refusal::new(Code::RequesterLostRight, why).hint("the access ends as it would have")
            })?;
            self.still_gives(grant, &requester, extension.reason.clone()).await?;
        }
        Ok(agreed)
    }

    /// Whether the policy of now would give the access again for this reason, with the same to agree; the role is
    /// watched all the time.
    async fn still_gives(&self, grant: &Grant, requester: &Person, reason: Reason) -> Result<(), BrokerError> {
        let ask = Ask { reason, ..grant.asked().clone() };
        let usage = Usage { review_owed: self.owes_review(&requester.name, Some(&grant.id)), ..Usage::default() };
        let known = known(self.site(&ask.cluster)?, &ask, usage).await?;
        match policy::decide(&self.policy(), requester, &ask, &known.at(self.ledger.now())) {
            Decision::Ask(terms) if terms.steps == grant.terms.steps => Ok(()),
            Decision::Ask(_) => Err(Refusal::new(Code::RequesterLostRight, "the policy now asks for other approvers")
                .hint("make a new request")
                .into()),
            Decision::Deny(denial) => Err(denial.refusal().into()),
        }
    }

    /// An approver says no.
    ///
    /// # Errors
    /// [`BrokerError`]; a refusal is recorded and changes nothing.
    pub async fn deny(&self, grant: &Grant, approver: &Person, reason: String) -> Result<Arc<Grant>, BrokerError> {
        self.answer(grant, approver, "deny", |grant, now| match extension::open(grant, now) {
            Some(_) => approval::may_answer(grant, approver).and_then(|()| extension::deny(grant, reason, now)),
            None => approval::deny(grant, approver, reason, now),
        })
        .await
    }

    /// The requester takes the request back before it was collected.
    ///
    /// # Errors
    /// [`BrokerError`]; a refusal is recorded and changes nothing.
    pub async fn withdraw(&self, grant: &Grant, requester: &Person) -> Result<Arc<Grant>, BrokerError> {
        self.answer(grant, requester, "withdraw", |grant, _| match grant.phase {
            _ if grant.requester != requester.name => Err(not_the_requester()),
            Phase::Pending | Phase::Approved => Ok(Event::Withdrawn),
            phase => Err(Refusal::new(Code::WrongPhase, format!("the grant is already {}", phase.as_str()))
                .hint("`jit-login end` gives access back")),
        })
        .await
    }

    async fn answer(
        &self,
        grant: &Grant,
        by: &Person,
        action: &str,
        decide: impl FnOnce(&Grant, Timestamp) -> Result<Event, Refusal>,
    ) -> Result<Arc<Grant>, BrokerError> {
        let cell = self.still_open(grant)?;
        let _gate = cell.gate.lock().await;
        let decided = decide(&cell.grant(), self.ledger.now()).map(|event| vec![event]);
        self.record_or_refuse(&cell, by, action, decided.map_err(BrokerError::from)).await
    }

    // ---- collecting and renewing ----

    /// The requester collects, or inside the window renews. The access works when this returns.
    ///
    /// # Errors
    /// [`BrokerError`]. What was begun and did not come to work is taken away again.
    pub async fn certificate(&self, grant: &Grant, requester: &Person, csr: &str) -> Result<HandedOver, BrokerError> {
        let cell = self.still_open(grant)?;
        let _gate = cell.gate.lock().await;
        let grant = cell.grant();
        let csr = match ca::read_csr(csr) {
            Ok(_) if grant.requester != requester.name => Err(not_the_requester()),
            read => read,
        };
        let csr = match csr {
            Ok(csr) => csr,
            Err(refusal) => return Err(self.refuse(&cell, requester, "certificate", refusal).await),
        };
        if grant.phase == Phase::Live {
            match approval::renew(&grant, csr.key(), self.ledger.now()) {
                Ok(approved) => self.issue(&cell, approved, csr, &[]).await,
                Err(refusal) => Err(self.refuse(&cell, requester, "certificate", refusal).await),
            }
        } else {
            self.collect(&cell, &grant, requester, csr).await
        }
    }

    async fn collect(
        &self,
        cell: &Cell,
        grant: &Grant,
        requester: &Person,
        csr: CheckedCsr,
    ) -> Result<HandedOver, BrokerError> {
        if let Err(refusal) = self.gives() {
            return Err(self.refuse(cell, requester, "certificate", refusal).await);
        }
        let site = self.site(&grant.ask.cluster)?;
        // What is open or was asked lately was held against it when it was asked; what works now still counts.
        let usage = Usage { pending: 0, last_hour: 0, ..self.usage(&requester.name, Some(&grant.id)).await? };
        let known = known(site, grant.asked(), usage).await?;
        let role = match &grant.ask.access {
            Access::Role(_) => known.role.clone(),
            Access::Rules(_) => resolve(site, &grant.ask).await?,
        };
        let mut approvers = BTreeMap::new();
        for yes in grant.agreed.iter() {
            if let Some(person) = self.person(&yes.by).await? {
                approvers.insert(yes.by.clone(), person);
            }
        }
        let policy = self.policy();
        let facts = Facts {
            policy: &policy,
            requester,
            approvers: &approvers,
            role: role.as_ref(),
            circumstances: known.at(self.ledger.now()),
        };
        // Once more, for the cluster may have taken its time.
        let approved =
            match approval::collect(grant, csr.key(), &facts).and_then(|approved| self.gives().map(|()| approved)) {
                Ok(approved) => approved,
                Err(refusal) => {
                    let refused = self.refuse(cell, requester, "certificate", refusal.clone()).await;
                    if matches!(refusal.code, Code::RoleDrift | Code::RoleMissing) {
                        let event = Event::Ended { why: EndCause::Drifted, proof: EndProof::NeverBound, reason: None };
                        self.ledger.record(cell, None, vec![event]).await?;
                    }
                    return Err(refused);
                }
            };
        let Some(bound) = role.as_ref().and_then(|role| with_probes(grant, role)) else {
            return Err(self.refuse(cell, requester, "certificate", role_empty(&grant.ask)).await);
        };

        let intent = Event::BindIntended { binding: grant.id.binding_name() };
        let handed_over = self.issue(cell, approved, csr, &[intent]).await;
        let live = match handed_over {
            Ok(handed_over) => self.bind(cell, site, &bound).await.map(|until| HandedOver { until, ..handed_over }),
            Err(error) => Err(error),
        };
        if let Err(error) = &live
            && cell.grant().phase != Phase::Approved
        {
            tracing::warn!(grant = %grant.id, %error, "the grant did not come to work and is ended");
            drop(self.finish(cell, Ending::of_itself(EndCause::Failed)).await);
        }
        live
    }

    /// Signs for an approval: intent, signature, outcome; `then` is recorded with the outcome.
    async fn issue(
        &self,
        cell: &Cell,
        approved: Approved,
        csr: CheckedCsr,
        then: &[Event],
    ) -> Result<HandedOver, BrokerError> {
        let grant = cell.grant();
        let now = self.ledger.now();
        self.clock_is_sane(now)?;
        let authority = self.site(&grant.ask.cluster)?.authority();
        let prepared = authority.prepare(approved, csr, self.times.certificate.duration(), now)?;
        let intent = Event::IssueIntended {
            serial: prepared.serial.clone(),
            tbs_sha256: prepared.tbs_sha256.clone(),
            not_before: prepared.not_before,
            not_after: prepared.not_after,
        };
        self.ledger.record(cell, None, vec![intent]).await?;
        let certificate = match authority.signing() {
            Signing::Here => authority.sign(prepared)?,
            Signing::ByToken => {
                spawn_blocking(move || authority.sign(prepared)).await.map_err(|_| BrokerError::Internal)??
            }
        };
        let mut outcome = Vec::with_capacity(1 + then.len());
        outcome.push(Event::Issued { serial: certificate.serial, leaf_sha256: certificate.leaf_sha256 });
        outcome.extend_from_slice(then);
        let grant = self.ledger.record(cell, None, outcome).await?;
        Ok(HandedOver {
            chain_pem: certificate.chain_pem,
            not_after: certificate.not_after,
            until: grant.deadline.unwrap_or(certificate.not_after),
            cluster: grant.ask.cluster.clone(),
        })
    }

    /// Binds, and waits until the API server allows. Answers the end of the window, which begins now.
    async fn bind(&self, cell: &Cell, site: &Site, bound: &[(Binding, Probe)]) -> Result<Timestamp, BrokerError> {
        let grant = cell.grant();
        // Each is waited for, also when another failed: what is on its way must not arrive after the end.
        let made = join_all(bound.iter().map(|(binding, _)| site.cluster.bind(binding))).await;
        let uids = made.into_iter().collect::<Result<_, _>>()?;
        // Somebody waits, and a question is no effect: it is asked while the outcome goes to the disk. Both are waited for,
        // for what was recorded has to be known here before an end follows.
        let asked = try_join_all(bound.iter().map(|(binding, probe)| ask_until(site, binding, probe, true)));
        let (recorded, asked) = tokio::join!(self.ledger.record(cell, None, vec![Event::Bound { uids }]), asked);
        recorded?;
        asked?;
        let until = approval::window_end(&grant.ask, self.ledger.now());
        self.ledger.record(cell, None, vec![Event::Live { until }]).await?;
        tracing::info!(grant = %grant.id, requester = %grant.requester, %until, "live");
        Ok(until)
    }

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
        let cell = self.still_open(grant)?;
        let _gate = cell.gate.lock().await;
        let grant = cell.grant();
        let asked = self.asked_for_more(&grant, requester, window, reason).await.map(|event| vec![event]);
        let asked = self.record_or_refuse(&cell, requester, "extend", asked).await?;
        match extension::of_itself(&asked, self.ledger.now())? {
            Some(extended) => Ok(self.ledger.record(&cell, None, vec![extended]).await?),
            None => Ok(asked),
        }
    }

    async fn asked_for_more(
        &self,
        grant: &Grant,
        requester: &Person,
        window: Window,
        reason: Reason,
    ) -> Result<Event, BrokerError> {
        if grant.requester != requester.name {
            return Err(not_the_requester().into());
        }
        self.gives()?;
        let answer_within = self.times.answer.duration();
        let asked = extension::ask(grant, window, reason.clone(), answer_within, self.ledger.now())?;
        self.still_gives(grant, requester, reason).await?;
        Ok(asked)
    }

    // ---- when nobody answers ----

    /// The requester takes access that nobody agreed to, where the rule lets it. It is collected as if it had been
    /// approved.
    ///
    /// # Errors
    /// [`BrokerError`]; a refusal is recorded and changes nothing.
    pub async fn break_glass(
        &self,
        grant: &Grant,
        requester: &Person,
        reason: Reason,
    ) -> Result<Arc<Grant>, BrokerError> {
        let cell = self.still_open(grant)?;
        let _gate = cell.gate.lock().await;
        let grant = cell.grant();
        // Before it is marked: what could not be collected is not worth a review.
        let could = self.could_break(&grant, requester, &reason).await;
        let _breaking = self.breaking.lock().await;
        let broken = match could {
            // Once more, for another grant of the same person may have been faster.
            Ok(()) => self.broken(&grant, requester, reason).map(|event| vec![event]),
            Err(error) => Err(error),
        };
        let grant = self.record_or_refuse(&cell, requester, "break-glass", broken).await?;
        if let Some(glass) = &grant.glass {
            tracing::warn!(
                grant = %grant.id, requester = %grant.requester, cluster = %grant.ask.cluster, access = %grant.ask.access,
                scope = %grant.ask.scope, reason = ?glass.reason.as_str(), approvers = grant.terms.groups().join(","),
                review_until = %glass.review_until, "the glass is broken: access that nobody agreed to"
            );
        }
        Ok(grant)
    }

    fn broken(&self, grant: &Grant, requester: &Person, reason: Reason) -> Result<Event, BrokerError> {
        if grant.requester == requester.name {
            self.gives()?;
        }
        let owed = self.owes_review(&requester.name, Some(&grant.id));
        let collect = self.times.collect.duration();
        Ok(glass::smash(grant, requester, reason, owed, collect, self.ledger.now())?)
    }

    async fn could_break(&self, grant: &Grant, requester: &Person, reason: &Reason) -> Result<(), BrokerError> {
        let _ = self.broken(grant, requester, reason.clone())?;
        let usage = Usage::default();
        let known = known(self.site(&grant.ask.cluster)?, grant.asked(), usage).await?;
        match policy::decide(&self.policy(), requester, grant.asked(), &known.at(self.ledger.now())) {
            Decision::Ask(terms) => Ok(glass::still_let(grant, terms.break_glass.as_ref())?),
            Decision::Deny(denial) => Err(denial.refusal().into()),
        }
    }

    /// Somebody looks at access that nobody had agreed to; also when it is over.
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
        let Some(cell) = self.ledger.cell(&grant.id) else {
            let refusal = glass::review(grant, reviewer, digest, verdict, words, self.ledger.now()).err();
            return Err(refusal.filter(|_| grant.glass.is_some()).unwrap_or_else(|| over(grant)).into());
        };
        let _gate = cell.gate.lock().await;
        let reviewed = glass::review(&cell.grant(), reviewer, digest, verdict, words, self.ledger.now());
        let reviewed = reviewed.map(|event| vec![event]).map_err(BrokerError::from);
        self.record_or_refuse(&cell, reviewer, "review", reviewed).await
    }

    // ---- ending ----

    /// The requester gives the access back.
    ///
    /// # Errors
    /// [`BrokerError`]; after a failure of the cluster the grant is `ending`, and the sweep goes on.
    pub async fn release(&self, grant: &Grant, requester: &Person) -> Result<Arc<Grant>, BrokerError> {
        let cell = self.still_open(grant)?;
        let _gate = cell.gate.lock().await;
        let grant = cell.grant();
        let refusal = match grant.phase {
            _ if grant.requester != requester.name => not_the_requester(),
            Phase::Live => {
                let by = Author::from(requester);
                return self.finish(&cell, Ending { why: EndCause::Released, by, reason: None }).await;
            }
            phase => Refusal::new(
                Code::WrongPhase,
                format!("the grant is {}, there is no access to give back", phase.as_str()),
            )
            .hint("`jit-login withdraw` takes a request back"),
        };
        Err(self.refuse(&cell, requester, "end", refusal).await)
    }

    /// An approver of the grant, or an admin, takes the access away.
    ///
    /// # Errors
    /// [`BrokerError`]; after a failure of the cluster the grant is `ending`, and the sweep goes on.
    pub async fn revoke(&self, grant: &Grant, by: &Person, reason: String) -> Result<Arc<Grant>, BrokerError> {
        let cell = self.still_open(grant)?;
        let _gate = cell.gate.lock().await;
        let grant = cell.grant();
        let refusal = match grant.phase {
            _ if !by.is_in_any(&self.admins) && !by.is_in_any(&grant.terms.groups()) => Refusal::new(
                Code::NotAllowed,
                format!("only {} may revoke this grant", [grant.terms.groups(), vec!["admins"]].concat().join(", ")),
            ),
            Phase::Approved | Phase::Live => {
                let (by, reason) = (Author::from(by), Some(reason));
                return self.finish(&cell, Ending { why: EndCause::Revoked, by, reason }).await;
            }
            phase => {
                Refusal::new(Code::WrongPhase, format!("the grant is {}, there is nothing to revoke", phase.as_str()))
            }
        };
        Err(self.refuse(&cell, by, "revoke", refusal).await)
    }

    /// Does what is due for a grant: lapses it, expires it, or goes on with an end that did not finish.
    /// Called by the sweep only; a grant for which nothing is due stays as it is.
    ///
    /// # Errors
    /// [`BrokerError`]; it is due again then.
    pub async fn settle(&self, cell: &Cell) -> Result<(), BrokerError> {
        let _gate = cell.gate.lock().await;
        let grant = cell.grant();
        let owed = cell.owed.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(ending) = owed
            && matches!(grant.phase, Phase::Pending | Phase::Approved | Phase::Live)
        {
            return self.finish(cell, ending).await.map(drop);
        }
        let over = grant.deadline.is_some_and(|deadline| deadline <= self.ledger.now());
        let lapse = |clock| self.ledger.record(cell, None, vec![Event::Lapsed { clock }]);
        let settled = match grant.phase {
            Phase::Pending if over => lapse(Clock::Pending).await,
            Phase::Approved if over => lapse(Clock::Collect).await,
            Phase::Live if over => return self.finish(cell, Ending::of_itself(EndCause::Expired)).await.map(drop),
            // Nobody works on it, for the gate was free: a step before was cut off.
            Phase::Collecting => return self.finish(cell, Ending::of_itself(EndCause::Failed)).await.map(drop),
            Phase::Ending => {
                let cause = grant.end_cause.unwrap_or(EndCause::Failed);
                return self.finish(cell, Ending::of_itself(cause)).await.map(drop);
            }
            _ => return Ok(()),
        };
        if settled.is_err() {
            self.ledger.later(cell);
        }
        Ok(settled.map(drop)?)
    }

    /// Ends a live grant whose binding somebody took away behind our back. Called by the sweep only.
    ///
    /// # Errors
    /// [`BrokerError`]; the sweep goes on.
    pub async fn binding_vanished(&self, id: &GrantId) -> Result<(), BrokerError> {
        let reason = "its binding was gone from the cluster".to_owned();
        self.end_live(id, EndCause::Revoked, None, |_| Some(reason)).await
    }

    /// Ends a live grant whose binding is not as it was made, or whose group another binding names. Called by the
    /// sweep only.
    ///
    /// # Errors
    /// [`BrokerError`]; the sweep goes on.
    pub async fn binding_altered(&self, id: &GrantId, found: String) -> Result<(), BrokerError> {
        let event = Event::BindingAltered { found: found.clone() };
        self.end_live(id, EndCause::Drifted, Some(event), |_| Some(found)).await
    }

    /// Ends a live grant whose role, which is this one now, is not the one that was approved, or says so where its
    /// terms only warn. Called by the sweep only.
    ///
    /// # Errors
    /// [`BrokerError`]; the sweep goes on.
    pub async fn role_is(&self, id: &GrantId, role: Option<&ResolvedRole>) -> Result<(), BrokerError> {
        let Some(cell) = self.ledger.cell(id) else { return Ok(()) };
        if cell.grant().terms.drift == Drift::Warn {
            let _gate = cell.gate.lock().await;
            let grant = cell.grant();
            // Each state of the role is told once.
            let found = approval::drift(&grant, role).map(|drifted| match role {
                Some(role) => format!("{}: {} {}", drifted.why, role.uid, role.rules_sha256()),
                None => drifted.why,
            });
            if let Some(found) =
                found.filter(|found| grant.phase == Phase::Live && grant.role_changed.as_ref() != Some(found))
            {
                tracing::warn!(grant = %grant.id, found, "the role changed; the terms of the grant let it go on");
                self.ledger.record(&cell, None, vec![Event::RoleChanged { found }]).await?;
            }
            return Ok(());
        }
        self.end_live(id, EndCause::Drifted, None, |grant| approval::drift(grant, role).map(|drifted| drifted.why))
            .await
    }

    /// Ends a grant if it is live and there is a reason to; `event` says before what was found.
    async fn end_live(
        &self,
        id: &GrantId,
        why: EndCause,
        event: Option<Event>,
        reason: impl FnOnce(&Grant) -> Option<String>,
    ) -> Result<(), BrokerError> {
        let Some(cell) = self.ledger.cell(id) else { return Ok(()) };
        let _gate = cell.gate.lock().await;
        let grant = cell.grant();
        if grant.phase != Phase::Live {
            return Ok(());
        }
        let Some(reason) = reason(&grant) else { return Ok(()) };
        if let Some(event) = event {
            // The end itself says it again, so that one goes on when the trail can't take this.
            drop(self.ledger.record(&cell, None, vec![event]).await);
        }
        self.finish(&cell, Ending { why, by: Author::Daemon, reason: Some(reason) }).await.map(drop)
    }

    /// Ends a grant; what fails is due again after a while that grows.
    async fn finish(&self, cell: &Cell, ending: Ending) -> Result<Arc<Grant>, BrokerError> {
        let ended = self.unbind(cell, &ending).await;
        match &ended {
            Ok(grant) => {
                tracing::info!(grant = %grant.id, requester = %grant.requester, cause = ending.why.as_str(), "ended");
            }
            Err(error) => {
                tracing::warn!(grant = %cell.grant().id, %error, "the grant could not be ended yet");
                // Still live here means that the intent could not be recorded; access is gone all the same. What an
                // operator takes away is also taken before it is access.
                if cell.grant().phase == Phase::Live || matches!(ending.by, Author::Operator(_)) {
                    *cell.owed.lock().unwrap_or_else(PoisonError::into_inner) = Some(ending);
                }
                self.ledger.later(cell);
            }
        }
        ended
    }

    /// Intent, deletion, proof. Removing goes on even when the trail can't take the intent: what is taken
    /// away can't be misused, and the grant stays open here until the trail has it.
    async fn unbind(&self, cell: &Cell, ending: &Ending) -> Result<Arc<Grant>, BrokerError> {
        let Ending { why, by, reason } = ending.clone();
        let grant = cell.grant();
        if !grant.bind_intended {
            let event = Event::Ended { why, proof: EndProof::NeverBound, reason };
            return Ok(self.ledger.record_by(cell, &by, vec![event]).await?);
        }
        let intended = if grant.phase == Phase::Ending {
            Ok(())
        } else {
            self.ledger.record_by(cell, &by, vec![Event::UnbindIntended { why, reason }]).await.map(drop)
        };
        let site = self.site(&grant.ask.cluster)?;
        let mut bindings = grant.bindings();
        if !self.makes_roles(&grant.ask.cluster) {
            // A policy that makes no roles any more gives the daemon no right on them. What is left gives nothing
            // to anybody without its binding, and an end that waits for a right would never come.
            for binding in bindings.iter_mut().filter(|binding| binding.rules.is_some()) {
                tracing::warn!(grant = %grant.id, role = binding.name, "the policy makes no roles in this cluster any more, so the grant's own is left behind");
                binding.rules = None;
            }
        }
        let uids = grant.binding_uids.iter().map(|uid| Some(uid.as_str())).chain(std::iter::repeat(None));
        // All of them, also when one can't be taken away.
        let unbound = join_all(bindings.iter().zip(uids).map(|(binding, uid)| site.cluster.unbind(binding, uid))).await;
        for (unbound, binding) in unbound.into_iter().zip(bindings) {
            match unbound? {
                Unbound::Deleted | Unbound::AlreadyGone => {}
                Unbound::Held => return Err(BrokerError::Held(binding.name)),
                // Somebody put another object in its place. It is theirs; that ours is gone is what the probe says.
                Unbound::NotOurs { why } => {
                    tracing::warn!(grant = %grant.id, binding = binding.name, why, "the binding of this name is not ours and was left alone");
                }
            }
        }
        intended?;
        if let Some(role) = self.role_of(&grant).await?
            && let Some(bound) = with_probes(&grant, &role)
        {
            try_join_all(bound.iter().map(|(binding, probe)| ask_until(site, binding, probe, false))).await?;
        }
        let ended = Event::Ended { why, proof: EndProof::Denied, reason: None };
        Ok(self.ledger.record(cell, None, vec![ended]).await?)
    }

    /// The role of a grant as it was asked for, which is in the trail. Grants that end together mostly have one, so the
    /// last ones are kept: each is large, and takes longer to read than the question that comes of it.
    async fn role_of(&self, grant: &Grant) -> Result<Option<Arc<ResolvedRole>>, BrokerError> {
        let mut roles = self.roles.lock().await;
        if let Some(role) = roles.get(&grant.rules_sha256) {
            return Ok(Some(Arc::clone(role)));
        }
        let Some(shown) = self.trail.shown_of(&grant.id).await? else { return Ok(None) };
        if roles.len() >= ROLES_KEPT {
            roles.clear();
        }
        let role = Arc::new(shown.role);
        roles.insert(Arc::clone(&grant.rules_sha256), Arc::clone(&role));
        Ok(Some(role))
    }

    // ---- operating ----

    /// From here on nothing is given until [`Broker::resume`], also after a restart: nothing is asked for, collected,
    /// taken without an answer or made longer. What is being collected at this moment may still come to work; ends,
    /// answers, reviews and renewals go on.
    ///
    /// # Errors
    /// [`BrokerError::Ledger`]; then it is as before.
    pub async fn drain(&self, by: &Operator, reason: Option<Reason>) -> Result<(), BrokerError> {
        let _operating = self.operating.lock().await;
        tracing::warn!(by = %by.name, login_uid = by.login.as_ref().map(|login| login.uid), reason = reason.as_ref().map(Reason::as_str), "draining: nothing is given until `jitd resume`");
        Ok(self.ledger.operate(by, Event::Drained { reason }).await?)
    }

    /// Things are given again. Without a drain before, nothing is recorded.
    ///
    /// # Errors
    /// [`BrokerError::Ledger`]; then it is as before.
    pub async fn resume(&self, by: &Operator) -> Result<(), BrokerError> {
        let _operating = self.operating.lock().await;
        if self.draining().is_some() {
            self.ledger.operate(by, Event::Resumed).await?;
            tracing::warn!(by = %by.name, login_uid = by.login.as_ref().map(|login| login.uid), "resumed: requests are taken again");
        }
        Ok(())
    }

    /// That nothing is given at the moment, since when and why.
    #[must_use]
    pub fn draining(&self) -> Option<Arc<Draining>> {
        self.ledger.draining()
    }

    fn gives(&self) -> Result<(), Refusal> {
        drain::gives(self.draining().as_deref())
    }

    /// The grants that an operator means and that are not over, the oldest first.
    ///
    /// # Errors
    /// [`BrokerError::Refused`] for a cluster or a person that there is not: a name that is wrong must not look like one
    /// with nothing to revoke.
    pub async fn meant(&self, whose: &Whose) -> Result<Vec<Arc<Cell>>, BrokerError> {
        if let Whose::Cluster(cluster) | Whose::PersonIn(_, cluster) = whose {
            self.site(cluster)?;
        }
        let meant = self.ledger.open(|grant| whose.is_meant(grant));
        match whose.person() {
            Some(person) if meant.is_empty() && !self.has_heard_of(person).await? => Err(self.nobody(person).into()),
            _ => Ok(meant),
        }
    }

    /// Whether somebody is of this name, or was when they asked for something.
    async fn has_heard_of(&self, person: &PersonName) -> Result<bool, BrokerError> {
        Ok(self.trail.asked_since(person, Timestamp::MIN, 1).await? > 0 || self.person(person).await?.is_some())
    }

    /// The person of this name with the groups of now; none when the host knows nobody by it. While the name service fails
    /// nobody has lost a right.
    async fn person(&self, name: &PersonName) -> Result<Option<Person>, BrokerError> {
        or_nobody(self.people.by_name(name).await).map_err(BrokerError::NameService)
    }

    fn nobody(&self, person: &PersonName) -> Refusal {
        let refusal = Refusal::new(Code::UnknownPerson, format!("nobody is known here as `{person}`"));
        let cells = self.ledger.open(|_| true);
        let requesters: BTreeSet<PersonName> = cells.iter().map(|cell| cell.grant().requester.clone()).collect();
        let names = requesters.iter().take(NAMED).map(ToString::to_string).collect::<Vec<_>>().join(", ");
        refusal.hint(match requesters.len().saturating_sub(NAMED) {
            _ if requesters.is_empty() => "no grant is open".to_owned(),
            0 => format!("open grants are of {names}"),
            more => format!("open grants are of {names} and {more} more"),
        })
    }

    /// An operator takes grants away, whatever their phase, side by side; a cluster that does not answer holds up
    /// only its own. Answers for each, in their order, why it is not over yet. What failed is tried again for ever.
    pub async fn revoke_many(&self, cells: &[Arc<Cell>], by: &Operator, reason: &Reason) -> Vec<Option<BrokerError>> {
        let ending =
            Ending { why: EndCause::Revoked, by: Author::Operator(by.clone()), reason: Some(reason.to_string()) };
        let turns = self.turns(REVOKED_AT_ONCE);
        let taken = cells.iter().map(|cell| async {
            self.intend(cell, &ending).await;
            let _turn = turns.at(&cell.grant().ask.cluster).await;
            let _gate = cell.gate.lock().await;
            let grant = cell.grant();
            let ended = match (grant.phase, grant.end_cause) {
                (phase, _) if !phase.is_open() => return None,
                (Phase::Ending, Some(cause)) => self.finish(cell, Ending::of_itself(cause)).await,
                _ => self.finish(cell, ending.clone()).await,
            };
            ended.err()
        });
        join_all(taken).await
    }

    /// Records that access is about to be taken away, before its turn has come: a daemon that is killed meanwhile
    /// goes on with it at its next start, and nothing is renewed any more. Where the trail can't take it, it is taken
    /// away all the same.
    async fn intend(&self, cell: &Cell, Ending { why, by, reason }: &Ending) {
        let _gate = cell.gate.lock().await;
        let grant = cell.grant();
        if grant.bind_intended && matches!(grant.phase, Phase::Collecting | Phase::Live) {
            let event = Event::UnbindIntended { why: *why, reason: reason.clone() };
            drop(self.ledger.record_by(cell, by, vec![event]).await);
        }
    }

    /// Whether a person may operate the daemon, and end what is not theirs.
    #[must_use]
    pub fn is_admin(&self, person: &Person) -> bool {
        person.is_in_any(&self.admins)
    }

    // ---- looking ----

    /// What approvers of a grant are shown beside what is asked.
    ///
    /// # Errors
    /// [`BrokerError::Ledger`].
    pub async fn shown_of(&self, id: &GrantId) -> Result<Option<Shown>, BrokerError> {
        Ok(self.trail.shown_of(id).await?)
    }

    /// The trail's lines about a grant.
    ///
    /// # Errors
    /// [`BrokerError::Ledger`].
    pub async fn lines_of(&self, id: &GrantId) -> Result<Vec<String>, BrokerError> {
        Ok(self.trail.lines_of(id).await?)
    }

    /// Whether the policy lets grants own roles in this cluster; only then has the daemon a right on them.
    #[must_use]
    pub fn makes_roles(&self, cluster: &ClusterName) -> bool {
        self.policy().makes_roles(cluster)
    }

    /// Turns of which every cluster gives so many at a time.
    #[must_use]
    pub fn turns(&self, at_once: usize) -> Turns {
        Turns(self.sites.keys().map(|cluster| (cluster.clone(), Semaphore::new(at_once))).collect())
    }

    /// The clusters, by name.
    pub fn sites(&self) -> impl Iterator<Item = (&ClusterName, &Site)> {
        self.sites.iter()
    }

    // ---- refusing ----

    /// Records what somebody did, or that it was refused.
    async fn record_or_refuse(
        &self,
        cell: &Cell,
        by: &Person,
        action: &str,
        decided: Result<Vec<Event>, BrokerError>,
    ) -> Result<Arc<Grant>, BrokerError> {
        match decided {
            Ok(events) => Ok(self.ledger.record(cell, Some(by), events).await?),
            Err(BrokerError::Refused(refusal)) => Err(self.refuse(cell, by, action, refusal).await),
            Err(error) => Err(error),
        }
    }

    /// Records that something was refused, and gives the refusal back. When the trail can't take it, that
    /// is the answer instead: nothing happens outside the trail.
    async fn refuse(&self, cell: &Cell, by: &Person, action: &str, refusal: Refusal) -> BrokerError {
        let grant = cell.grant();
        if grant.is_over() {
            // It ended while this waited for the gate; nothing follows an end.
            return over(&grant).into();
        }
        let event = Event::Refused { action: action.to_owned(), code: refusal.code.as_str().to_owned() };
        match self.ledger.record(cell, Some(by), vec![event]).await {
            Ok(_) => refusal.into(),
            Err(error) => error.into(),
        }
    }

    fn clock_is_sane(&self, now: Timestamp) -> Result<(), BrokerError> {
        let latest = self.ledger.latest();
        if now < latest && latest.duration_since(now) > CLOCK_TOLERANCE {
            return Err(BrokerError::ClockWentBack { now, latest });
        }
        Ok(())
    }

    /// The cell of a grant that was seen; refused when it is over, or was just now.
    fn still_open(&self, seen: &Grant) -> Result<Arc<Cell>, BrokerError> {
        match self.ledger.cell(&seen.id) {
            Some(cell) if cell.grant().phase.is_open() => Ok(cell),
            // What only owes a review is over for everything else.
            Some(cell) => Err(over(&cell.grant()).into()),
            None => Err(over(seen).into()),
        }
    }

    fn site(&self, cluster: &ClusterName) -> Result<&Site, BrokerError> {
        self.sites.get(cluster).ok_or_else(|| {
            Refusal::new(Code::UnknownCluster, format!("there is no cluster `{cluster}` here"))
                .hint(format!("there is {}", self.sites.keys().map(ToString::to_string).collect::<Vec<_>>().join(", ")))
                .into()
        })
    }
}

impl Site {
    /// The authority of this moment.
    #[must_use]
    pub fn authority(&self) -> Arc<Authority> {
        Arc::clone(&self.authority.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on this one signs.
    pub fn replace_authority(&self, authority: Authority) {
        *self.authority.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(authority);
    }
}

fn new_id() -> Result<GrantId, BrokerError> {
    let mut random = [0; 10];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| BrokerError::Internal)?;
    Ok(GrantId::from_random(random))
}

/// What the API server would say to a binding; its failures are ours, its refusals are the answer.
async fn tried(site: &Site, binding: Binding) -> Result<Tried, ClusterError> {
    let refused = match site.cluster.would_bind(&binding).await {
        Ok(()) => None,
        Err(
            refused @ (ClusterError::Forbidden { .. }
            | ClusterError::NotFound { .. }
            | ClusterError::Conflict { .. }
            | ClusterError::Rejected { .. }),
        ) => Some(refused.to_string().replace('\n', "; ")),
        Err(failure) => return Err(failure),
    };
    Ok(Tried { binding, refused })
}

/// What the cluster says about an ask, and what a decision is made on besides who asks and the moment.
struct Known {
    role: Option<ResolvedRole>,
    /// The labels of the namespaces that exist.
    labels: Labels,
    assessment: Assessment,
    usage: Usage,
}

/// Asks the cluster, all at once.
async fn known(site: &Site, ask: &Ask, usage: Usage) -> Result<Known, ClusterError> {
    let namespaces = ask.scope.namespaces();
    let labels = try_join_all(namespaces.iter().map(|namespace| site.cluster.labels_of(namespace)));
    let (labels, role, version) = tokio::try_join!(labels, resolve(site, ask), site.cluster.version())?;
    let labels = namespaces.iter().cloned().zip(labels).filter_map(|(name, labels)| Some((name, labels?))).collect();
    let rules = role.as_ref().map(ResolvedRole::rules).unwrap_or_default();
    // Without a version that can be read every right has its most dangerous meaning.
    let assessment = risk::assess(rules, &ask.scope, version.parse().ok());
    Ok(Known { role, labels, assessment, usage })
}

impl Known {
    fn at(&self, now: Timestamp) -> Circumstances<'_> {
        Circumstances { now, labels: &self.labels, assessment: &self.assessment, usage: self.usage }
    }

    /// The role that is asked for; refused when it, or one of the namespaces, is missing, or it allows nothing.
    fn asked_for(&self, ask: &Ask) -> Result<&ResolvedRole, Refusal> {
        if let Some(missing) = ask.scope.namespaces().iter().find(|name| !self.labels.contains_key(*name)) {
            let why = format!("there is no namespace `{missing}` in `{}`", ask.cluster);
            return Err(Refusal::new(Code::NamespaceMissing, why));
        }
        let Some(role) = &self.role else {
            return Err(Refusal::new(Code::RoleMissing, format!("there is no {}", told(&ask.access)))
                .hint("a binding to a missing role would lie in wait for one to be made"));
        };
        match Probe::for_role(role, ask.scope.namespaces().first()) {
            Some(_) => Ok(role),
            None => Err(role_empty(ask)),
        }
    }
}

/// What is asked for as the cluster has it now; none when the role is missing.
async fn resolve(site: &Site, ask: &Ask) -> Result<Option<ResolvedRole>, ClusterError> {
    match &ask.access {
        Access::Role(role) => site.cluster.resolve_role(ask.scope.namespaces().first(), role).await,
        // No role of the cluster, so no uid; it is made when it is bound.
        Access::Rules(rules) => Ok(Some(ResolvedRole::new(String::new(), rules.as_slice().to_vec()))),
    }
}

/// The bindings of a grant, each with the question whose answer tells whether it holds; none when the role
/// allows nothing there.
fn with_probes(grant: &Grant, role: &ResolvedRole) -> Option<Vec<(Binding, Probe)>> {
    let with_probe = |binding: Binding| {
        let probe = Probe::for_role(role, binding.namespace.as_ref())?;
        Some((binding, probe))
    };
    grant.bindings().into_iter().map(with_probe).collect()
}

/// Asks the API server until it says what the binding should make it say.
async fn ask_until(site: &Site, binding: &Binding, probe: &Probe, allowed: bool) -> Result<(), BrokerError> {
    if !allowed {
        tokio::time::sleep(AUTHORIZER_FOLLOWS).await;
        site.cluster.deletions_first(DELETIONS_WITHIN).await;
    }
    let mut last = "nothing".to_owned();
    let asked = async {
        // Somebody waits for a "yes". A "no" comes a moment after the deletion; when a thousand grants end
        // together, asking too often keeps the API server from what it is asked about.
        let mut pause = Duration::from_millis(if allowed { 2 } else { 10 });
        loop {
            match site.cluster.ask(binding, probe).await {
                Ok(answer) if answer.is_allowed() == allowed => return Ok(()),
                Ok(Answer::Allowed { why }) => last = format!("`allowed` ({why})"),
                Ok(Answer::Denied) => "`denied`".clone_into(&mut last),
                Err(error) if !error.is_transient() => return Err(error),
                Err(error) => last = error.to_string(),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 3 / 2).min(Duration::from_millis(250));
        }
    };
    let asked = tokio::time::timeout(ANSWER_WITHIN, asked).await;
    match asked {
        Ok(answered) => Ok(answered?),
        Err(_) => Err(BrokerError::Unsettled { answer: last }),
    }
}

fn role_empty(ask: &Ask) -> Refusal {
    Refusal::new(Code::RoleEmpty, format!("{} allows nothing in {}", told(&ask.access), ask.scope))
        .hint("its rules are empty, or hold only outside of namespaces")
}

/// `ClusterRole `view``, with its kind, as people look for it in the cluster.
fn told(access: &Access) -> String {
    match access {
        Access::Role(role) => format!("{} `{}`", role.kind(), role.name()),
        Access::Rules(_) => access.to_string(),
    }
}

fn key_in_use(why: &str) -> Refusal {
    Refusal::new(Code::KeyInUse, why).hint("make a new key for each request; jit-login does")
}

fn over(seen: &Grant) -> Refusal {
    let cause = seen.end_cause.map_or(String::new(), |cause| format!(" ({})", cause.as_str()));
    let phase = if seen.phase.is_open() { "over" } else { seen.phase.as_str() };
    Refusal::new(Code::TooLate, format!("the grant is {phase}{cause}")).hint("ask again")
}

fn not_the_requester() -> Refusal {
    Refusal::new(Code::NotAllowed, "only the person who asked may do this")
}
