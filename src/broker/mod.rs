//! The broker: the only module that orders the steps of a grant, with one file for each chapter of its life.
//!
//! ```text
//!  request ─► approve ─► certificate ─► end
//!  certificate: re-check, dry run ─► IssueIntended ─► sign ─► Issued ─► BindIntended ─► bind
//!               ─► Bound, ask until allowed ─► Live ─► hand over;  inside the window: IssueIntended ─► sign ─► Issued
//!  holder:      who holds live access, and whether they may still have it; the sweep ends it where not
//!  end:         UnbindIntended ─► unbind ─► ask until denied ─► Ended;  in one namespace of several: Part…
//!  break_glass: instead of approve;  review: until it is no longer owed, even after Ended
//!  introduce: a person of an identity provider, before anything else
//!  link: an identity at a provider and an account become one person
//!  log_out: a provider ended a login, and what was requested with it ends
//!  logs: where the gateway's logs stand, whenever it says so, even after Ended
//!  readings: who read what the gateway kept, before it is handed out, even after Ended
//!  retention: what the gateway kept, deleted some time after Ended
//!  drain: only ends and renewals until resume;  revoke_many: end, concurrently
//! ```
//! It makes no decisions (`grant/` does), never talks to the outside world itself (`ca`, `cluster` and `trail` do), and
//! causes no effect whose intent is not on disk. The API and the sweep call it. A call that changes something must run
//! to completion even if the client disconnects, so the API spawns it.

mod answer;
mod break_glass;
mod collect;
mod end;
mod extend;
mod facts;
mod holder;
mod introduce;
mod link;
mod log_out;
mod logs;
mod operate;
mod other_access;
mod proof;
mod readings;
mod refusals;
mod request;
mod retention;
#[cfg(test)]
mod tests;
mod user_names;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::ca::{Authority, SignError};
use crate::cluster::{Cluster, ClusterError};
use crate::dependency::{Dependency, NoAnswer, Watched};
use crate::gateway::Gateway;
use crate::grant::drain;
use crate::grant::policy::{Decision, Denial, Loaded, Policy};
use crate::grant::refusal::{Code, Refusal};
use crate::grant::request::{ClusterName, Person, PersonName};
use crate::grant::times::Times;
use crate::grant::{self, Author, Binding, Event, Found, Grant, GrantId, SessionTerms};
use crate::hint::Hint;
use crate::ledger::{Ledger, LedgerError, Locked, OpenGrant, Overseers};
use crate::people::{Identity, People, Stale, Unknown, or_nobody};
use crate::rbac::role::ResolvedRole;
use crate::trail::{Introduction, Link, Opened, TrailError};

pub use self::collect::IssuedAccess;
pub use self::holder::Holder;
use self::link::Links;
pub use self::link::Offer;
use self::log_out::Logouts;
use self::logs::Logs;
pub use self::operate::{GrantSelector, Revocation, Revoked};
use self::proof::ANSWER_WITHIN;
use self::readings::Readings;
use self::refusals::{About, Kind, Refusals};
pub use self::request::{DryRun, Explanation, random_id};
pub use self::retention::Ends;

/// Why a step did not happen. A refusal is a decision; everything else is a failure.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// A rule denies it.
    #[error("{0}")]
    Refused(Refusal),
    /// Nothing was recorded.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The cluster could not be reached, or refused.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The cluster refuses the grant's objects; the approval stands.
    #[error("{error}; the approval stands and can be collected until {until:.0}")]
    NotCollected {
        /// Why.
        error: ClusterError,
        /// When the approval lapses.
        until: Timestamp,
    },
    /// The authority could not sign.
    #[error(transparent)]
    Authority(#[from] SignError),
    /// The clock is behind the newest entry of the trail.
    #[error("the host clock ({now}) is behind the last audit entry ({latest}); refusing to sign")]
    ClockWentBack {
        /// The clock.
        now: Timestamp,
        /// The newest entry.
        latest: Timestamp,
    },
    /// The authority, its token or its disk, does not answer.
    #[error(transparent)]
    AuthoritySilent(NoAnswer),
    /// The host's name service could not say who somebody is.
    #[error("{0}")]
    NameService(Unknown),
    /// The directory of the person's provider has not answered for too long.
    #[error(transparent)]
    DirectoryStale(Stale),
    /// The API server's answer does not follow the binding.
    #[error("the API server still answers {answer} {} s after the change", ANSWER_WITHIN.as_secs())]
    Unsettled {
        /// The last answer.
        answer: String,
        /// What to do if it did not answer at all.
        hint: Option<Cow<'static, str>>,
    },
    /// Nobody could use the access now.
    #[error("jit-gateway is not connected, and cluster `{0}` is reached through it only")]
    NoGateway(ClusterName),
    /// The access does not work through the gateway.
    #[error("the access does not work through jit-gateway: {0}")]
    Unproved(String),
    /// A finalizer keeps the deleted binding, and RBAC still honours it.
    #[error("a finalizer keeps binding `{0}` alive")]
    Terminating(String),
    /// A bug or an unexpected state; the log has details.
    #[error("internal error; the daemon's log has details")]
    Internal,
}

impl Hint for BrokerError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Ledger(error) => error.hint(),
            Self::Cluster(error) | Self::NotCollected { error, .. } => error.hint(),
            Self::Authority(error) => error.hint(),
            Self::AuthoritySilent(error) => error.hint(),
            Self::ClockWentBack { .. } => Some("correct the host clock".into()),
            Self::NameService(error) => error.hint(),
            Self::DirectoryStale(error) => error.hint(),
            Self::Unsettled { hint, .. } => hint.clone(),
            Self::NoGateway(_) => Some("an administrator finds the reason with `systemctl status jit-gateway`".into()),
            Self::Unproved(_) => Some(
                "an administrator runs `jitd check --cluster`, and looks at the log of jit-gateway and at the user of its kubeconfig"
                    .into(),
            ),
            Self::Terminating(_) => Some("an administrator of the cluster has to remove the finalizer".into()),
            // A refusal carries its own hint to the caller.
            Self::Refused(_) | Self::Internal => None,
        }
    }
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

/// While this exists, no drain begins; see [`Broker::hold_off_drain`].
type DrainGuard<'a> = tokio::sync::RwLockReadGuard<'a, ()>;

/// How far the clock may be behind the newest entry of the trail before the broker refuses to sign.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_secs(5);

/// The time limit for an authority's token or disk. Tokens sign within milliseconds, the slowest within a second, one
/// signature at a time.
const AUTHORITY_ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// A cluster and the authority that signs for it.
pub struct Site {
    /// The cluster in which bindings are created.
    pub cluster: Cluster,
    /// The signing authority. Behind a lock, because `jitd ca renew` replaces it while the daemon runs.
    authority: RwLock<Arc<Authority>>,
    /// The authority's folder and token, which may hang.
    outside: Dependency,
}

/// A limit for concurrent ends per cluster: a cluster that hangs delays only its own.
pub struct PerClusterLimit(BTreeMap<ClusterName, Semaphore>);

impl PerClusterLimit {
    /// Waits for a slot, which is released when dropped. `None` for a cluster that is not configured.
    pub async fn at(&self, cluster: &ClusterName) -> Option<SemaphorePermit<'_>> {
        // The semaphore is never closed.
        self.0.get(cluster)?.acquire().await.ok()
    }
}

/// Orders the steps of all grants.
pub struct Broker {
    sites: BTreeMap<ClusterName, Site>,
    /// Behind a lock, because it can be reloaded.
    policy: RwLock<Arc<Policy>>,
    /// Behind a lock, because they can be reloaded.
    people: RwLock<People>,
    /// The people at the start; later ones use their threads for the name service.
    first_people: People,
    /// The keys of `config.yaml` that changed and need a restart, according to the last reload.
    needs_restart: Mutex<Vec<&'static str>>,
    times: Times,
    ledger: Ledger,
    ids: fn() -> Option<GrantId>,
    gateway: Arc<Gateway>,
    /// Held exclusively while a drain or resume is recorded, and shared by each step that grants access, from its last
    /// check for a drain until the step is recorded.
    drain_lock: tokio::sync::RwLock<()>,
    /// Bindings of people's own user names, as the sweep last found them.
    bound_user_names: Mutex<BTreeMap<ClusterName, BTreeMap<PersonName, Found>>>,
    /// Roles of recently ended grants, by the hash of their rules.
    roles: tokio::sync::Mutex<HashMap<Arc<str>, Arc<ResolvedRole>>>,
    /// Held by whoever gives a person of an identity provider a name.
    introductions: tokio::sync::Mutex<()>,
    links: Links,
    logouts: Logouts,
    refusals: Refusals,
    logs: Logs,
    readings: Readings,
}

/// The parts of a broker.
pub struct Parts {
    /// The trail, and the state that it recorded.
    pub opened: Opened,
    /// The clusters.
    pub sites: BTreeMap<ClusterName, Site>,
    /// Who may request what.
    pub policy: Policy,
    /// The known people.
    pub people: People,
    /// The time limits.
    pub times: Times,
    /// Who may see and end grants that are not theirs.
    pub overseers: Overseers,
    /// Reads the clock of the host.
    pub clock: fn() -> Timestamp,
    /// Generates the id of a new grant; `None` if the host has no random numbers.
    pub ids: fn() -> Option<GrantId>,
}

impl Broker {
    /// A broker in the state that the trail recorded.
    #[must_use]
    pub fn new(mut parts: Parts) -> Self {
        for Introduction { issuer, subject, called, name } in std::mem::take(&mut parts.opened.introductions) {
            parts.people.recall(&Identity { issuer, subject }, &called, &name);
        }
        for Link { issuer, subject, person } in std::mem::take(&mut parts.opened.links) {
            parts.people.link(Identity { issuer, subject }, person);
        }
        Self {
            ledger: Ledger::new(parts.opened, parts.overseers, parts.clock),
            ids: parts.ids,
            gateway: Arc::default(),
            sites: parts.sites,
            policy: RwLock::new(Arc::new(parts.policy)),
            people: RwLock::new(parts.people.clone()),
            first_people: parts.people,
            needs_restart: Mutex::default(),
            times: parts.times,
            drain_lock: tokio::sync::RwLock::default(),
            bound_user_names: Mutex::default(),
            roles: tokio::sync::Mutex::default(),
            introductions: tokio::sync::Mutex::default(),
            links: Links::default(),
            logouts: Logouts::default(),
            refusals: Refusals::default(),
            logs: Logs::default(),
            readings: Readings::default(),
        }
    }

    /// The grants that are not over.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The link to the gateway, if one is connected.
    #[must_use]
    pub fn gateway(&self) -> &Arc<Gateway> {
        &self.gateway
    }

    /// Records that the daemon starts to serve.
    ///
    /// # Errors
    /// [`BrokerError::Ledger`]; then it must not serve.
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
        Ok(self.ledger.note(&Author::Daemon, event).await?)
    }

    /// The current policy. Each decision calls this again, because a reload takes effect at once.
    #[must_use]
    pub fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.policy.read())
    }

    /// Replaces the policy, after recording it in the trail. Existing grants keep their terms.
    ///
    /// # Errors
    /// [`BrokerError::Ledger`]; then the previous policy stays in force.
    pub async fn use_policy(&self, read: Loaded) -> Result<(), BrokerError> {
        let Loaded { policy, policy_sha256, guardrails_sha256 } = read;
        self.ledger.note(&Author::Daemon, Event::PolicyLoaded { policy_sha256, guardrails_sha256 }).await?;
        *self.policy.write() = Arc::new(policy);
        Ok(())
    }

    /// The people who are known now.
    #[must_use]
    pub fn people(&self) -> People {
        self.people.read().clone()
    }

    /// Replaces the known people, and those who may see and end grants that are not theirs.
    pub fn use_people(&self, people: People, overseers: Overseers) {
        *self.people.write() = people.after(&self.first_people);
        self.ledger.use_overseers(overseers);
    }

    /// Stores the keys of `config.yaml` that changed and need a restart.
    pub fn note_needs_restart(&self, keys: Vec<&'static str>) {
        *self.needs_restart.lock() = keys;
    }

    /// The keys of `config.yaml` that need a restart, according to the last reload.
    #[must_use]
    pub fn needs_restart(&self) -> Vec<&'static str> {
        self.needs_restart.lock().clone()
    }

    /// Records that the daemon stops properly.
    ///
    /// # Errors
    /// [`BrokerError::Ledger`].
    pub async fn stopped(&self) -> Result<(), BrokerError> {
        Ok(self.ledger.note(&Author::Daemon, Event::Stopped).await?)
    }

    /// Checks for a drain, and holds off a new one while the guard exists. Access must be recorded before the guard is
    /// dropped, without waiting for anything but the trail: a drain waits for it, so that nothing is granted after a
    /// drain was acknowledged.
    async fn hold_off_drain(&self) -> Result<DrainGuard<'_>, Refusal> {
        let guard = self.drain_lock.read().await;
        self.ensure_not_drained()?;
        Ok(guard)
    }

    fn ensure_not_drained(&self) -> Result<(), Refusal> {
        drain::ensure_not_drained(self.draining().as_deref())
    }

    /// The person of this name with their current groups; `None` if the host has no such person. A failing name service
    /// is an error, so that nobody loses a right because of it.
    async fn person(&self, name: &PersonName) -> Result<Option<Person>, BrokerError> {
        or_nobody(self.people().by_name(name).await).map_err(BrokerError::NameService)
    }

    /// Refuses a person one of whose groups has no name, if the policy denies groups: it could be a denied one.
    fn groups_are_known(&self, person: &Person) -> Result<(), BrokerError> {
        match person.groups.iter().find(|group| group.starts_with('#')) {
            Some(group) if self.policy().denies_groups() => {
                let (person, group) = (person.name.to_string(), group.clone());
                Err(BrokerError::NameService(Unknown::NamelessGroup { person, group }))
            }
            _ => Ok(()),
        }
    }

    /// The newest lines of the trail about a grant, only those before event `before` if it is given: at most `limit`,
    /// oldest first, and whether older ones exist.
    ///
    /// # Errors
    /// [`BrokerError::Ledger`].
    pub async fn lines_of(
        &self,
        id: &GrantId,
        before: Option<i64>,
        limit: usize,
    ) -> Result<(Vec<String>, bool), BrokerError> {
        Ok(self.ledger.lines_of(id, before, limit).await?)
    }

    /// Whether the policy lets grants own roles in this cluster; otherwise the daemon has no right on such roles.
    #[must_use]
    pub fn makes_roles(&self, cluster: &ClusterName) -> bool {
        self.policy().makes_roles(cluster)
    }

    /// A limit of `at_once` for each cluster.
    #[must_use]
    pub fn limit_per_cluster(&self, at_once: usize) -> PerClusterLimit {
        PerClusterLimit(self.sites.keys().map(|cluster| (cluster.clone(), Semaphore::new(at_once))).collect())
    }

    /// The clusters, by name.
    pub fn sites(&self) -> impl Iterator<Item = (&ClusterName, &Site)> {
        self.sites.iter()
    }

    /// Whether people reach this cluster through the gateway.
    #[must_use]
    pub fn is_behind_the_gateway(&self, cluster: &ClusterName) -> bool {
        self.sites.get(cluster).is_some_and(|site| site.cluster.endpoint().gateway().is_some())
    }

    /// Whether people use this grant through the gateway: as it was bound, or as it would be bound now.
    #[must_use]
    pub fn goes_through_the_gateway(&self, grant: &Grant) -> bool {
        if grant.bind_intended { grant.gateway.is_some() } else { self.is_behind_the_gateway(&grant.ask.cluster) }
    }

    /// The names of the dependencies that do not answer now.
    pub fn silent(&self) -> impl Iterator<Item = String> {
        self.dependencies().into_iter().filter(|(_, overdue)| *overdue > 0).map(|(name, _)| name)
    }

    /// The dependencies that may never answer, each with how many calls are overdue.
    #[must_use]
    pub fn dependencies(&self) -> Vec<(String, usize)> {
        fn state(of: &dyn Watched) -> (String, usize) {
            (of.name().to_owned(), of.overdue())
        }
        let people = self.people();
        let here = std::iter::once(self.first_people.host()).chain(self.sites.values().flat_map(Site::dependencies));
        here.map(state).chain(people.watched_directories().map(state)).collect()
    }

    /// Records what somebody did, or that it was refused.
    async fn record_or_refuse(
        &self,
        locked: &mut Locked<'_>,
        by: &Person,
        action: &str,
        decided: Result<Vec<Event>, BrokerError>,
    ) -> Result<Arc<Grant>, BrokerError> {
        match decided {
            Ok(events) => Ok(self.ledger.record(locked, &Author::from(by), events).await?),
            Err(BrokerError::Refused(refusal)) => Err(self.refuse(locked, by, action, refusal).await),
            Err(error) => Err(error),
        }
    }

    /// Records a refusal and returns it. If it cannot be recorded, that error is returned instead: nothing happens
    /// outside the trail. Of many refusals of one kind only the number is recorded.
    async fn refuse(&self, locked: &mut Locked<'_>, by: &Person, action: &str, refusal: Refusal) -> BrokerError {
        let grant = locked.grant();
        if grant.is_over() {
            // It ended while this waited for the lock; nothing may follow an end.
            return over(&grant).into();
        }
        let code = refusal.code.as_str();
        let (kind, now) = (Kind { about: About::Action(grant.id.clone(), action.to_owned()), code }, self.ledger.now());
        if !self.refusals.is_news(by, kind.clone(), now) {
            return refusal.into();
        }
        let event = Event::Refused { action: action.to_owned(), code: code.to_owned() };
        match self.ledger.record(locked, &Author::from(by), vec![event]).await {
            Ok(_) => refusal.into(),
            Err(error) => {
                self.refusals.is_not_written(by, &kind, now);
                error.into()
            }
        }
    }

    fn clock_is_sane(&self, now: Timestamp) -> Result<(), BrokerError> {
        let latest = self.ledger.latest();
        if now < latest && latest.duration_since(now) > CLOCK_TOLERANCE {
            return Err(BrokerError::ClockWentBack { now, latest });
        }
        Ok(())
    }

    /// The open grant; refused if it is over by now.
    fn still_open(&self, seen: &Grant) -> Result<Arc<OpenGrant>, BrokerError> {
        match self.ledger.open_grant(&seen.id) {
            Some(open_grant) if open_grant.grant().phase.is_open() => Ok(open_grant),
            // A grant that only owes a review is over for everything else.
            Some(open_grant) => Err(over(&open_grant.grant()).into()),
            None => Err(over(seen).into()),
        }
    }

    fn site(&self, cluster: &ClusterName) -> Result<&Site, BrokerError> {
        self.sites.get(cluster).ok_or_else(|| {
            let names = self.sites.keys().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            Refusal::new(Code::UnknownCluster, format!("cluster `{cluster}` is not configured here"))
                .hint(format!("configured: {names}"))
                .into()
        })
    }
}

impl Site {
    /// Why access on these terms cannot exist here: the gateway would have to keep them, and people go past it.
    fn breaks(&self, sessions: &SessionTerms) -> Option<Denial> {
        (sessions.need_gateway() && self.cluster.endpoint().gateway().is_none()).then(|| Denial::Guardrail {
            name: if sessions.follow_sessions() { "record" } else { "refuse" },
            why: format!(
                "the gateway has to {} it, but people reach cluster `{}` directly",
                if sessions.follow_sessions() {
                    "record what is done with"
                } else {
                    "refuse some of what is done with"
                },
                self.cluster.name()
            ),
        })
    }

    /// The decision, unless its terms cannot be kept here. A rule that says so itself is not loaded; this is about
    /// guardrails that go by the risk, and about clusters whose way changed since.
    fn keeps(&self, decision: Decision) -> Decision {
        match &decision {
            Decision::Ask(terms) => self.breaks(&terms.sessions).map_or(decision, Decision::Deny),
            Decision::Deny(_) => decision,
        }
    }

    /// A cluster and its authority.
    #[must_use]
    pub fn new(cluster: Cluster, authority: Authority) -> Self {
        let name = format!("authority of cluster {}", cluster.endpoint().name());
        let outside = Dependency::new(name, 1, AUTHORITY_ANSWERS_WITHIN);
        Self { cluster, authority: RwLock::new(Arc::new(authority)), outside }
    }

    /// The bindings that let the gateway act as the holder of these bindings, if people go through the gateway.
    fn gateway_bindings(&self, bindings: &[Binding]) -> Vec<Binding> {
        let gateway = self.cluster.endpoint().gateway();
        gateway.map_or_else(Vec::new, |gateway| grant::gateway_bindings(bindings, gateway, self.cluster.host()))
    }

    /// Runs `question`, which uses the authority's disk or token and therefore may hang.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub async fn ask_authority<T: Send + 'static>(
        &self,
        question: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NoAnswer> {
        self.outside.ask((), question).await
    }

    fn dependencies(&self) -> [&dyn Watched; 2] {
        [self.cluster.dns(), &self.outside]
    }

    /// The current authority.
    #[must_use]
    pub fn authority(&self) -> Arc<Authority> {
        Arc::clone(&self.authority.read())
    }

    /// Replaces the authority.
    pub fn replace_authority(&self, authority: Authority) {
        *self.authority.write() = Arc::new(authority);
    }
}

fn over(seen: &Grant) -> Refusal {
    let cause = seen.end_cause.map_or(String::new(), |cause| format!(" ({})", cause.as_str()));
    let phase = if seen.phase.is_open() { "over" } else { seen.phase.as_str() };
    Refusal::new(Code::TooLate, format!("the grant is {phase}{cause}"))
}
