//! The story: the only room that orders the steps of a grant, a chapter a file.
//!
//! ```text
//!  request ─► approve ─► certificate ─► end
//!  certificate: re-check, dry run ─► IssueIntended ─► sign ─► Issued ─► BindIntended ─► bind
//!               ─► Bound, ask until allowed ─► Live ─► hand over;  inside the window: IssueIntended ─► sign ─► Issued
//!  end:         UnbindIntended ─► unbind ─► ask until denied ─► Ended;  in one namespace of several: Part…
//!  break_glass: in place of approve;  review: until it is no longer owed, also after Ended
//!  drain: nothing of all that but ends and renewals, until resume;  revoke_many: end, side by side
//! ```
//! It never decides (`grant/` does), never talks to the outside itself (`ca`, `cluster`, `trail` do), and
//! never does an effect whose intent is not on the disk. The API and the sweep call it. A call that
//! changes something has to run to its end even when nobody waits for it any more: the API spawns it.

mod answer;
mod beside;
mod break_glass;
mod collect;
mod end;
mod extend;
mod facts;
mod operate;
mod proof;
mod refusals;
mod request;
#[cfg(test)]
mod tests;
mod user_names;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::ca::{Authority, SignError};
use crate::cluster::{Cluster, ClusterError};
use crate::dependency::{Dependency, NoAnswer, Watched};
use crate::grant::drain;
use crate::grant::policy::{Loaded, Policy};
use crate::grant::refusal::{Code, Refusal};
use crate::grant::request::{ClusterName, Person, PersonName};
use crate::grant::times::Times;
use crate::grant::{Author, Event, Found, Grant, GrantId};
use crate::hint::Hint;
use crate::ledger::{Ledger, LedgerError, Locked, OpenGrant, Overseers};
use crate::people::{People, Unknown, or_nobody};
use crate::rbac::role::ResolvedRole;
use crate::trail::{Opened, TrailError};

pub use self::collect::IssuedAccess;
pub use self::operate::{GrantSelector, Revocation, Revoked};
use self::proof::ANSWER_WITHIN;
use self::refusals::{About, Kind, Refusals};
pub use self::request::{DryRun, Explanation, random_id};

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
    /// The cluster would not have what was to be collected; the approval stands.
    #[error("{error}; the approval stands, collect it until {until:.0}")]
    NotCollected {
        /// Why.
        error: ClusterError,
        /// Until when it can be collected.
        until: Timestamp,
    },
    /// The authority could not sign.
    #[error(transparent)]
    Authority(#[from] SignError),
    /// The clock went back behind what the trail already says.
    #[error("the clock of this host says {now}, but the trail was written at {latest}: nothing is signed")]
    ClockWentBack {
        /// The clock.
        now: Timestamp,
        /// The newest entry.
        latest: Timestamp,
    },
    /// The authority, its token or its disk, does not answer.
    #[error(transparent)]
    AuthoritySilent(NoAnswer),
    /// The host could not be asked who somebody is.
    #[error("{0}")]
    NameService(Unknown),
    /// The API server's answer did not become what the binding says.
    #[error("after {} s the API server still says {answer}", ANSWER_WITHIN.as_secs())]
    Unsettled {
        /// What it still says.
        answer: String,
        /// What to do about an answer that is none.
        hint: Option<Cow<'static, str>>,
    },
    /// Somebody's finalizer keeps the deleted binding, and RBAC goes on granting it.
    #[error("a finalizer keeps binding `{0}` alive")]
    Held(String),
    /// A fault of ours, told in the log.
    #[error("internal fault; the daemon's log says more")]
    Internal,
}

impl Hint for BrokerError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Ledger(error) => error.hint(),
            Self::Cluster(error) | Self::NotCollected { error, .. } => error.hint(),
            Self::Authority(error) => error.hint(),
            Self::AuthoritySilent(error) => error.hint(),
            Self::ClockWentBack { .. } => Some("set the clock right".into()),
            Self::NameService(error) => error.hint(),
            Self::Unsettled { hint, .. } => hint.clone(),
            Self::Held(_) => Some("an administrator of the cluster has to remove the finalizer".into()),
            // What a refusal advises is for who was refused, and they get it with the refusal.
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

/// No drain begins as long as there is one; see [`Broker::giving`].
type Giving<'a> = tokio::sync::RwLockReadGuard<'a, ()>;

/// How far the clock may lie behind the newest entry of the trail before nothing is signed any more.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_secs(5);

/// How long an authority's token or disk is waited for. Tokens sign in milliseconds, the slowest in a second, one after
/// the other.
const AUTHORITY_ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// A cluster and the authority that signs for it.
pub struct Site {
    /// Where bindings are made.
    pub cluster: Cluster,
    /// What signs. Behind a lock, for `jitd ca renew` replaces it under a running daemon.
    authority: RwLock<Arc<Authority>>,
    /// Its folder and its token, which may hang.
    outside: Dependency,
}

/// So many ends of each cluster are under way at a time: one that hangs holds up only its own.
pub struct PerClusterLimit(BTreeMap<ClusterName, Semaphore>);

impl PerClusterLimit {
    /// Waits for a turn, which lasts until it is dropped. A cluster that the configuration does not have has none.
    pub async fn at(&self, cluster: &ClusterName) -> Option<SemaphorePermit<'_>> {
        // It is never closed.
        self.0.get(cluster)?.acquire().await.ok()
    }
}

/// All that the story needs, and the grants that are not over.
pub struct Broker {
    sites: BTreeMap<ClusterName, Site>,
    /// Behind a lock, for it is read again under a running daemon.
    policy: RwLock<Arc<Policy>>,
    /// Behind a lock, for they are read again too.
    people: RwLock<People>,
    /// Those of the start, on whose threads all later ones ask.
    first_people: People,
    /// The keys of `config.yaml` that changed and that only a restart takes up, as the last reload found them.
    needs_restart: Mutex<Vec<&'static str>>,
    times: Times,
    ledger: Ledger,
    ids: fn() -> Option<GrantId>,
    /// Held alone from what an operator says about giving until it is recorded, and shared by all that is given from the
    /// last look at it until that is recorded.
    giving: tokio::sync::RwLock<()>,
    /// Bindings of people's own user names, as the sweep found them last.
    bound_user_names: Mutex<BTreeMap<ClusterName, BTreeMap<PersonName, Found>>>,
    /// Roles of grants that ended lately, by the hash of their rules.
    roles: tokio::sync::Mutex<HashMap<Arc<str>, Arc<ResolvedRole>>>,
    refusals: Refusals,
}

/// What a broker is made of.
pub struct Parts {
    /// The store, and what it said when it was opened.
    pub opened: Opened,
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
    /// A new grant's id; none where the host has no random numbers.
    pub ids: fn() -> Option<GrantId>,
}

impl Broker {
    /// Takes up where the trail stands.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self {
            ledger: Ledger::new(parts.opened, parts.overseers, parts.clock),
            ids: parts.ids,
            sites: parts.sites,
            policy: RwLock::new(Arc::new(parts.policy)),
            people: RwLock::new(parts.people.clone()),
            first_people: parts.people,
            needs_restart: Mutex::default(),
            times: parts.times,
            giving: tokio::sync::RwLock::default(),
            bound_user_names: Mutex::default(),
            roles: tokio::sync::Mutex::default(),
            refusals: Refusals::default(),
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
        Ok(self.ledger.note(&Author::Daemon, event).await?)
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
    pub async fn use_policy(&self, read: Loaded) -> Result<(), BrokerError> {
        let Loaded { policy, policy_sha256, guardrails_sha256 } = read;
        self.ledger.note(&Author::Daemon, Event::PolicyLoaded { policy_sha256, guardrails_sha256 }).await?;
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(policy);
        Ok(())
    }

    /// Who is known at this moment.
    #[must_use]
    pub fn people(&self) -> People {
        self.people.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on these people are known, and these see and end what is not theirs.
    pub fn use_people(&self, people: People, overseers: Overseers) {
        *self.people.write().unwrap_or_else(PoisonError::into_inner) = people.after(&self.first_people);
        self.ledger.use_overseers(overseers);
    }

    /// Remembers the keys of `config.yaml` that changed and that only a restart takes up.
    pub fn note_needs_restart(&self, keys: Vec<&'static str>) {
        *self.needs_restart.lock().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    /// Those keys, as the last reload found them.
    #[must_use]
    pub fn needs_restart(&self) -> Vec<&'static str> {
        self.needs_restart.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Records that the daemon ends in good order.
    ///
    /// # Errors
    /// [`BrokerError::Ledger`].
    pub async fn stopped(&self) -> Result<(), BrokerError> {
        Ok(self.ledger.note(&Author::Daemon, Event::Stopped).await?)
    }

    /// Something is given, unless it is drained. What it is has to be recorded before the answer is dropped, with nothing
    /// waited for but the trail: a drain waits for it, so that nothing is given after a drain was acknowledged.
    async fn giving(&self) -> Result<Giving<'_>, Refusal> {
        let giving = self.giving.read().await;
        self.ensure_not_drained()?;
        Ok(giving)
    }

    fn ensure_not_drained(&self) -> Result<(), Refusal> {
        drain::ensure_not_drained(self.draining().as_deref())
    }

    /// The person of this name with the groups of now; none when the host knows nobody by it. While the name service fails
    /// nobody has lost a right.
    async fn person(&self, name: &PersonName) -> Result<Option<Person>, BrokerError> {
        or_nobody(self.people().by_name(name).await).map_err(BrokerError::NameService)
    }

    /// Refuses somebody who may be in a group that the policy denies, for one of theirs has no name.
    fn groups_are_known(&self, person: &Person) -> Result<(), BrokerError> {
        match person.groups.iter().find(|group| group.starts_with('#')) {
            Some(group) if self.policy().denies_groups() => {
                let (person, group) = (person.name.to_string(), group.clone());
                Err(BrokerError::NameService(Unknown::NamelessGroup { person, group }))
            }
            _ => Ok(()),
        }
    }

    /// The newest lines of the trail about a grant, of those before event `before` where it is given: at most `limit`, oldest
    /// first, and whether there are older ones.
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

    /// Whether the policy lets grants own roles in this cluster; only then has the daemon a right on them.
    #[must_use]
    pub fn makes_roles(&self, cluster: &ClusterName) -> bool {
        self.policy().makes_roles(cluster)
    }

    /// A limit of so many at a time for each cluster.
    #[must_use]
    pub fn limit_per_cluster(&self, at_once: usize) -> PerClusterLimit {
        PerClusterLimit(self.sites.keys().map(|cluster| (cluster.clone(), Semaphore::new(at_once))).collect())
    }

    /// The clusters, by name.
    pub fn sites(&self) -> impl Iterator<Item = (&ClusterName, &Site)> {
        self.sites.iter()
    }

    /// The names of those whom this daemon asks and who do not answer at the moment.
    pub fn silent(&self) -> impl Iterator<Item = &str> {
        self.dependencies().filter(|of| of.overdue() > 0).map(|of| of.name())
    }

    /// Whom this daemon asks, and who may never answer.
    pub fn dependencies(&self) -> impl Iterator<Item = &dyn Watched> {
        std::iter::once(self.first_people.host()).chain(self.sites.values().flat_map(Site::dependencies))
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

    /// Records that something was refused, and gives the refusal back. When the trail can't take it, that
    /// is the answer instead: nothing happens outside the trail. Of many of a kind only their number is recorded.
    async fn refuse(&self, locked: &mut Locked<'_>, by: &Person, action: &str, refusal: Refusal) -> BrokerError {
        let grant = locked.grant();
        if grant.is_over() {
            // It ended while this waited for the gate; nothing follows an end.
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

    /// A grant that was seen; refused when it is over, or was just now.
    fn still_open(&self, seen: &Grant) -> Result<Arc<OpenGrant>, BrokerError> {
        match self.ledger.open_grant(&seen.id) {
            Some(open_grant) if open_grant.grant().phase.is_open() => Ok(open_grant),
            // What only owes a review is over for everything else.
            Some(open_grant) => Err(over(&open_grant.grant()).into()),
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
    /// A cluster with the authority that signs for it.
    #[must_use]
    pub fn new(cluster: Cluster, authority: Authority) -> Self {
        let name = format!("authority of cluster {}", cluster.endpoint().name());
        let outside = Dependency::new(name, 1, AUTHORITY_ANSWERS_WITHIN);
        Self { cluster, authority: RwLock::new(Arc::new(authority)), outside }
    }

    /// Has the authority do what its disk or its token takes part in, and so may never end.
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

fn over(seen: &Grant) -> Refusal {
    let cause = seen.end_cause.map_or(String::new(), |cause| format!(" ({})", cause.as_str()));
    let phase = if seen.phase.is_open() { "over" } else { seen.phase.as_str() };
    Refusal::new(Code::TooLate, format!("the grant is {phase}{cause}")).hint("ask again")
}
