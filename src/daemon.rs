//! Assembles the daemon: from a configuration and the outside world to a running API and sweep.
//!
//! ```text
//!  Outside: the trail, the clusters, the clock, the ids
//!     └─► Daemon::start: Started ─► first sweep ─► sweep loop
//!             └─► Running::serve: sockets ─► api, until `stop` ─► Stopped ─► trail closed
//! ```
//! It makes no decisions. `jitd serve` passes it the real outside world and handles systemd; the simulation passes it
//! an API server that is a function, a trail that fails and a simulated clock.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use jit_dial::KubeconfigError;
use tokio::net::UnixListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::api::{self, Allowances, Api, FrontendSocket, Limits, Listener};
use crate::broker::{Broker, BrokerError, Ends, Parts, Site, random_id};
use crate::ca::{Authority, CaError};
use crate::cluster::{Cluster, Credential, Endpoint, EndpointError};
use crate::config::{ClusterConfig, Config};
use crate::gateway;
use crate::grant::GrantId;
use crate::grant::request::ClusterName;
use crate::hint::Hint;
use crate::kept::Kept;
use crate::ledger::Overseers;
use crate::metrics::Metrics;
use crate::notices;
use crate::sweep::{self, SweepStats};
use crate::trail::{Opened, Trail, TrailError};

/// Why the daemon cannot start or stop properly.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The trail cannot be opened.
    #[error(transparent)]
    Trail(#[from] TrailError),
    /// An authority cannot be opened, or cannot sign the daemon's own certificate.
    #[error(transparent)]
    Authority(#[from] CaError),
    /// Both clusters would accept what either authority signs, including certificates for the daemon's own name.
    #[error(
        "the authorities of clusters `{one}` and `{other}` share a key: whoever holds the issuing key of one can act as the daemon in both"
    )]
    SharedAuthority {
        /// One of the two clusters.
        one: ClusterName,
        /// The other one.
        other: ClusterName,
    },
    /// The configuration of a cluster cannot be used.
    #[error(transparent)]
    Cluster(#[from] EndpointError),
    /// The kubeconfig of a cluster cannot be used.
    #[error(transparent)]
    Kubeconfig(#[from] KubeconfigError),
    /// The start or the stop could not be recorded.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// A socket cannot be served.
    #[error("cannot serve on a socket: {0}")]
    Socket(#[source] std::io::Error),
}

impl Hint for DaemonError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Trail(error) => error.hint(),
            Self::Authority(error) => error.hint(),
            Self::SharedAuthority { .. } => Some(
                "give each cluster its own root: with a different `authority` folder, `jitd init` creates one".into(),
            ),
            Self::Cluster(error) => error.hint(),
            Self::Kubeconfig(error) => error.hint(),
            Self::Broker(error) => error.hint(),
            Self::Socket(_) => None,
        }
    }
}

/// How long the daemon's own certificate is valid; it is renewed after half of that.
const OWN_CERTIFICATE: SignedDuration = SignedDuration::from_mins(10);

/// How often the authorities are checked: short, so that a renewed one is used soon, and a certificate that expired
/// while the host was suspended is soon replaced.
const LOOK_AT_AUTHORITIES_EVERY: Duration = Duration::from_secs(10);

/// How often is looked for sessions that are kept no longer. Two events for each of them are the cost of a round.
const LOOK_AT_SESSIONS_EVERY: Duration = Duration::from_secs(60);

/// At most so many grants lose their files in a round.
const DELETED_AT_ONCE: usize = 256;

/// How long refusals are counted before the count is recorded.
const COUNT_REFUSALS_FOR: Duration = Duration::from_secs(60);

/// The outside world of a daemon.
pub struct Outside {
    /// The trail.
    pub opened: Opened,
    /// The clusters.
    pub sites: BTreeMap<ClusterName, Site>,
    /// The clock of the host.
    pub clock: fn() -> Timestamp,
    /// Generates the id of a new grant; `None` if the host has no random numbers.
    pub ids: fn() -> Option<GrantId>,
}

impl Outside {
    /// Opens the trail, the authorities and the clusters of a configuration. Must be called inside a tokio runtime.
    /// `progress` is called from time to time while a trail of an earlier jitd is migrated.
    ///
    /// # Errors
    /// [`DaemonError`].
    pub fn of(config: &Config, clock: fn() -> Timestamp, mut progress: impl FnMut()) -> Result<Self, DaemonError> {
        let opened = Trail::open_telling(&config.trail(), |_| progress())?;
        let host = config.host.to_string();
        let site =
            |(name, cluster): (&ClusterName, &ClusterConfig)| Ok((name.clone(), site(name, cluster, &host, clock())?));
        let sites = config.clusters.iter().map(site).collect::<Result<_, DaemonError>>()?;
        authorities_are_apart(&sites)?;
        Ok(Self { opened, sites, clock, ids: random_id })
    }
}

/// A daemon that has read its trail but has not started.
pub struct Daemon {
    api: Arc<Api>,
    stats: Arc<SweepStats>,
    clock: fn() -> Timestamp,
    clusters: BTreeMap<ClusterName, ClusterConfig>,
    policy_sha256: String,
    guardrails_sha256: Option<String>,
}

/// A daemon whose sweep runs, ready to serve.
pub struct Running {
    api: Arc<Api>,
    clock: fn() -> Timestamp,
    clusters: BTreeMap<ClusterName, ClusterConfig>,
    sweeping: JoinHandle<()>,
}

impl Daemon {
    /// The daemon of a configuration, in the state that the trail records.
    #[must_use]
    pub fn new(config: &Config, outside: Outside) -> Self {
        let broker = Arc::new(Broker::new(Parts {
            opened: outside.opened,
            sites: outside.sites,
            policy: config.policy.clone(),
            people: config.people.clone(),
            times: config.times,
            overseers: overseers(config),
            clock: outside.clock,
            ids: outside.ids,
        }));
        let stats = Arc::new(SweepStats::default());
        let metrics = Metrics::new(Arc::clone(&stats));
        let api = Arc::new(Api {
            broker,
            metrics,
            allowances: Allowances::new(config.rates),
            host: config.host.to_string(),
            kept: Kept::new(config.sessions.clone()),
        });
        Self {
            api,
            stats,
            clock: outside.clock,
            clusters: config.clusters.clone(),
            policy_sha256: config.policy_sha256.clone(),
            guardrails_sha256: config.guardrails_sha256.clone(),
        }
    }

    /// The broker.
    #[must_use]
    pub fn broker(&self) -> &Arc<Broker> {
        &self.api.broker
    }

    /// Records the start, ends what is due, compares the clusters once, and starts the sweep. Serves nobody yet.
    ///
    /// # Errors
    /// [`DaemonError::Broker`] if the start cannot be recorded; grants that are due have ended all the same.
    pub async fn start(self) -> Result<Running, DaemonError> {
        let broker = &self.api.broker;
        let guardrails = self.guardrails_sha256.as_deref();
        let version = env!("CARGO_PKG_VERSION");
        let recorded = broker.started(version, &self.api.host, &self.policy_sha256, guardrails).await;
        sweep::start(broker, &self.stats).await;
        // Checked only now: a daemon that cannot record must not serve, but it still removes access that is over.
        recorded?;
        let sweeping = tokio::spawn(sweep::run(Arc::clone(broker), self.stats));
        Ok(Running { api: self.api, clock: self.clock, clusters: self.clusters, sweeping })
    }
}

impl Running {
    /// The state that the handlers share.
    #[must_use]
    pub fn api(&self) -> &Arc<Api> {
        &self.api
    }

    /// The broker.
    #[must_use]
    pub fn broker(&self) -> &Arc<Broker> {
        &self.api.broker
    }

    /// Serves until `stop` completes and every call is answered, renews the daemon's own certificates, and records the
    /// stop.
    ///
    /// # Errors
    /// [`DaemonError::Broker`] if the stop cannot be recorded, [`DaemonError::Socket`].
    pub async fn serve(
        self,
        listeners: Vec<(Listener, UnixListener)>,
        feeds: Feeds,
        stop: impl Future<Output = ()>,
    ) -> Result<(), DaemonError> {
        let feeding =
            feeds.gateway.map(|feed| tokio::spawn(gateway::serve(feed.listener, source(&self.api, feed.accounts))));
        let telling = feeds.notify.map(|feed| {
            let (broker, host) = (Arc::clone(&self.api.broker), self.api.host.clone());
            let source = notices::Source { broker, host, accounts: feed.accounts };
            tokio::spawn(notices::serve(feed.listener, source))
        });
        let logs = Arc::clone(&self.api.broker);
        let logging = tokio::spawn(async move { logs.record_logs().await });
        let retaining = tokio::spawn(retain(Arc::clone(&self.api)));
        let renewing = tokio::spawn(renew(Arc::clone(&self.api), self.clusters, self.clock));
        let served = Arc::new(Notify::new());
        let counting = tokio::spawn(record_refusals(Arc::clone(&self.api), Arc::clone(&served)));
        let frontend = feeds.frontend.map(|FeedSocket { listener, accounts }| FrontendSocket { listener, accounts });
        let ended = api::serve(Arc::clone(&self.api), listeners, frontend, Limits::USUAL, stop).await;
        self.sweeping.abort();
        renewing.abort();
        retaining.abort();
        logging.abort();
        feeding.iter().chain(&telling).for_each(JoinHandle::abort);
        served.notify_one();
        // The task does not panic, and logs its own failures.
        let _ = counting.await;
        let stopped = self.api.broker.stopped().await;
        self.api.broker.ledger().close();
        stopped?;
        ended.map_err(DaemonError::Socket)
    }
}

/// The sockets of the programs beside the daemon.
#[derive(Default)]
pub struct Feeds {
    /// That of `jit-gateway`, if a cluster is behind it.
    pub gateway: Option<FeedSocket>,
    /// That of `jit-notify`, if it is configured.
    pub notify: Option<FeedSocket>,
    /// That of `jit-frontend`, if an identity provider is configured.
    pub frontend: Option<FeedSocket>,
}

/// The socket of a program beside the daemon.
pub struct FeedSocket {
    /// The socket.
    pub listener: UnixListener,
    /// The accounts that may connect.
    pub accounts: BTreeSet<u32>,
}

/// What the gateway is told.
fn source(api: &Arc<Api>, accounts: BTreeSet<u32>) -> gateway::Source {
    let [clusters, changes, logs] = [(); 3].map(|()| Arc::clone(&api.broker));
    gateway::Source {
        gateway: Arc::clone(api.broker.gateway()),
        accounts,
        clusters: Box::new(move || {
            let behind = clusters.sites().filter(|(_, site)| site.cluster.endpoint().gateway().is_some());
            behind.map(|(name, site)| (name.clone(), site.authority().root_pem().to_owned())).collect()
        }),
        subscribe: Box::new(move || changes.ledger().subscribe()),
        logged: Box::new(move |grant, log| logs.log_stands(grant, log)),
    }
}

/// The auditors and admins of a configuration: those who may see, or end, grants that are not theirs.
#[must_use]
pub fn overseers(config: &Config) -> Overseers {
    let readers = config.auditors.iter().chain(&config.admins).cloned().collect();
    Overseers { readers, admins: config.admins.clone() }
}

/// A cluster of the configuration with its authority.
///
/// # Errors
/// [`DaemonError`].
pub fn site(name: &ClusterName, cluster: &ClusterConfig, host: &str, now: Timestamp) -> Result<Site, DaemonError> {
    let authority = Authority::open(&cluster.authority, &cluster.key)?;
    let credential = credential(cluster, &authority, host, now)?;
    let endpoint = Endpoint::new(name.clone(), &cluster.server, &cluster.certificate_authority)?;
    let endpoint = endpoint.known_as(cluster.daemon.clone()).through(cluster.gateway.clone());
    let cluster = Cluster::connect(endpoint, host, &credential)?;
    Ok(Site::new(cluster, authority))
}

fn authorities_are_apart(sites: &BTreeMap<ClusterName, Site>) -> Result<(), DaemonError> {
    for (one, site) in sites {
        let authority = site.authority();
        let mut after = sites.iter().filter(|(other, _)| *other > one);
        if let Some((other, _)) = after.find(|(_, site)| site.authority().shares_a_key_with(&authority)) {
            return Err(DaemonError::SharedAuthority { one: one.clone(), other: other.clone() });
        }
    }
    Ok(())
}

/// The error if the authority of cluster `name` shares a key with another cluster's. Authorities that cannot be opened
/// are skipped, because that is reported separately.
#[must_use]
pub fn shared_authority(config: &Config, name: &ClusterName, authority: &Authority) -> Option<DaemonError> {
    let shares = |(other, cluster): &(&ClusterName, &ClusterConfig)| {
        *other != name
            && Authority::open(&cluster.authority, &cluster.key).is_ok_and(|found| found.shares_a_key_with(authority))
    };
    let (other, _) = config.clusters.iter().find(shares)?;
    Some(DaemonError::SharedAuthority { one: name.clone(), other: other.clone() })
}

fn credential(
    cluster: &ClusterConfig,
    authority: &Authority,
    host: &str,
    now: Timestamp,
) -> Result<Credential, DaemonError> {
    if let Some(kubeconfig) = &cluster.kubeconfig {
        return Ok(Credential::Kubeconfig(kubeconfig.read()?));
    }
    let made = authority.daemon_credential(host, OWN_CERTIFICATE, now).map_err(CaError::from)?;
    Ok(Credential::Certificate { chain_pem: made.chain_pem, key_pem: made.key_pem })
}

/// Deletes each minute what the gateway kept for long enough.
async fn retain(api: Arc<Api>) {
    let mut ends = Ends::default();
    loop {
        tokio::time::sleep(LOOK_AT_SESSIONS_EVERY).await;
        if api.broker.policy().keeps_sessions().is_none() || !api.broker.gateway().is_connected() {
            continue;
        }
        let done = match api.kept.grants().await {
            Ok(folders) => api.broker.delete_old_sessions(&folders, DELETED_AT_ONCE, &mut ends).await,
            Err(error) => {
                tracing::warn!(error = %error.in_full(), "the folder of the sessions cannot be read, so nothing of it is deleted");
                continue;
            }
        };
        if let Err(error) = done {
            tracing::warn!(error = %error.in_full(), "old sessions are not deleted yet");
        }
    }
}

/// Records each minute how many refusals there were, and once more after the last call is answered.
async fn record_refusals(api: Arc<Api>, served: Arc<Notify>) {
    while tokio::time::timeout(COUNT_REFUSALS_FOR, served.notified()).await.is_err() {
        api.record_refusals().await;
    }
    api.record_refusals().await;
}

fn is_of_another(api: &Api, name: &ClusterName, found: &Authority) -> bool {
    api.broker.sites().any(|(other, site)| other != name && site.authority().shares_a_key_with(found))
}

/// Renews the daemon's own certificates before they expire, and loads authorities that were renewed. Each cluster is
/// handled separately, so that a token or disk that hangs does not delay the others.
async fn renew(api: Arc<Api>, clusters: BTreeMap<ClusterName, ClusterConfig>, clock: fn() -> Timestamp) {
    let api = &api;
    let sites = api.broker.sites().filter_map(|(name, site)| Some((name, site, clusters.get(name)?)));
    join_all(sites.map(|(name, site, cluster)| renew_one(api, name, site, cluster, clock))).await;
}

async fn renew_one(api: &Api, name: &ClusterName, site: &Site, cluster: &ClusterConfig, clock: fn() -> Timestamp) {
    let mut last = clock();
    loop {
        tokio::time::sleep(LOOK_AT_AUTHORITIES_EVERY).await;
        let now = clock();
        let half = now.duration_since(last) >= OWN_CERTIFICATE / 2;
        let (folder, key) = (cluster.authority.clone(), cluster.key.clone());
        let mut replaced = false;
        match site.ask_authority(move || Authority::open(&folder, &key)).await {
            Ok(Ok(found)) if site.authority().is_replaced_by(&found) && is_of_another(api, name, &found) => {
                tracing::error!(cluster = %name, "the renewed authority shares a key with another cluster's; the previous one stays in use");
            }
            Ok(Ok(found)) if site.authority().is_replaced_by(&found) => {
                tracing::info!(cluster = %name, not_after = %found.not_after(), "using the renewed authority");
                site.replace_authority(found);
                replaced = true;
            }
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                tracing::warn!(cluster = %name, error = %error.in_full(), "the authority cannot be read; the previous one stays in use");
            }
            // The dependency logs this once.
            Err(_) => continue,
        }
        // What a kubeconfig says is read again for each connection.
        if cluster.kubeconfig.is_none() && (half || replaced) {
            let (authority, settings, host) = (site.authority(), cluster.clone(), api.host.clone());
            let made = site.ask_authority(move || credential(&settings, &authority, &host, now)).await;
            let swapped = made
                .map_err(|error| DaemonError::Broker(BrokerError::AuthoritySilent(error)))
                .and_then(|made| Ok(site.cluster.use_credential(&made?)?));
            match swapped {
                Ok(()) => last = now,
                Err(error) => {
                    tracing::error!(cluster = %name, error = %error.in_full(), "the daemon's own certificate could not be renewed");
                }
            }
        }
    }
}
