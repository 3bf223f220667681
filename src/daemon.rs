//! The daemon, put together: from a configuration and the outside world to grants that are served and swept.
//!
//! ```text
//!  Outside: the trail, the clusters, the clock, the ids
//!     └─► Daemon::start: Started ─► first sweep ─► the loop of the sweep
//!             └─► Running::serve: sockets ─► api, until `stop` ─► Stopped ─► the trail is closed
//! ```
//! It decides nothing. `jitd serve` gives it the real outside, and what systemd wants of a process; the simulation gives
//! it an API server that is a function, a trail that fails and a clock that stands still.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use tokio::net::UnixListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::api::{self, Allowances, Api, Limits, Listener};
use crate::broker::{Broker, BrokerError, Parts, Site, random_id};
use crate::ca::{Authority, CaError};
use crate::cluster::{Cluster, Credential, Endpoint, EndpointError};
use crate::config::{ClusterConfig, Config};
use crate::grant::GrantId;
use crate::grant::request::ClusterName;
use crate::hint::Hint;
use crate::ledger::Overseers;
use crate::metrics::Metrics;
use crate::sweep::{self, SweepStats};
use crate::trail::{Opened, Trail, TrailError};

/// Why the daemon can't start or end in good order.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The trail can't be opened.
    #[error(transparent)]
    Trail(#[from] TrailError),
    /// An authority can't be opened, or can't sign the daemon's own certificate.
    #[error(transparent)]
    Authority(#[from] CaError),
    /// What either authority signs would be believed in both clusters, the daemon's own name too.
    #[error(
        "clusters `{one}` and `{other}` share a key of their authorities: whoever has the issuing key of one is the daemon in both"
    )]
    SharedAuthority {
        /// The one.
        one: ClusterName,
        /// The other.
        other: ClusterName,
    },
    /// A cluster is not configured as it can be reached.
    #[error(transparent)]
    Cluster(#[from] EndpointError),
    /// Start or stop could not be recorded.
    #[error(transparent)]
    Broker(#[from] BrokerError),
}

impl Hint for DaemonError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Trail(error) => error.hint(),
            Self::Authority(error) => error.hint(),
            Self::SharedAuthority { .. } => Some(
                "give each cluster a root of its own: with another `authority` folder `jitd init` makes one".into(),
            ),
            Self::Cluster(error) => error.hint(),
            Self::Broker(error) => error.hint(),
        }
    }
}

/// How long the daemon's own certificate lasts; it is made anew at half of it.
const OWN_CERTIFICATE: SignedDuration = SignedDuration::from_mins(10);

/// How often the authorities are looked at: short, so that a renewed one is taken up soon and a suspended host is noticed.
const LOOK_AT_AUTHORITIES_EVERY: Duration = Duration::from_secs(10);

/// How long refusals are counted before their number is written.
const COUNT_REFUSALS_FOR: Duration = Duration::from_secs(60);

/// What a daemon meets outside of itself.
pub struct Outside {
    /// The trail.
    pub opened: Opened,
    /// The clusters.
    pub sites: BTreeMap<ClusterName, Site>,
    /// The clock of the host.
    pub clock: fn() -> Timestamp,
    /// A new grant's id; none where the host has no random numbers.
    pub ids: fn() -> Option<GrantId>,
}

impl Outside {
    /// The trail, the authorities and the clusters that a configuration names. Has to be called inside a tokio runtime.
    /// `progress` is called now and then while a trail of an earlier jitd is brought up to date.
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

/// A daemon that has read its trail, and has done nothing yet.
pub struct Daemon {
    api: Arc<Api>,
    stats: Arc<SweepStats>,
    clock: fn() -> Timestamp,
    clusters: BTreeMap<ClusterName, ClusterConfig>,
    policy_sha256: String,
    guardrails_sha256: Option<String>,
}

/// A daemon that sweeps, and may serve.
pub struct Running {
    api: Arc<Api>,
    clock: fn() -> Timestamp,
    clusters: BTreeMap<ClusterName, ClusterConfig>,
    sweeping: JoinHandle<()>,
}

impl Daemon {
    /// The daemon of a configuration, in the state that the trail says.
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
        let api =
            Arc::new(Api { broker, metrics, allowances: Allowances::new(config.rates), host: config.host.to_string() });
        Self {
            api,
            stats,
            clock: outside.clock,
            clusters: config.clusters.clone(),
            policy_sha256: config.policy_sha256.clone(),
            guardrails_sha256: config.guardrails_sha256.clone(),
        }
    }

    /// The story.
    #[must_use]
    pub fn broker(&self) -> &Arc<Broker> {
        &self.api.broker
    }

    /// Records the start, ends what is due, compares the clusters once, and sweeps from then on. Nobody is served yet.
    ///
    /// # Errors
    /// [`DaemonError::Broker`] when the start can't be recorded; what is due was taken away all the same.
    pub async fn start(self) -> Result<Running, DaemonError> {
        let broker = &self.api.broker;
        let guardrails = self.guardrails_sha256.as_deref();
        let version = env!("CARGO_PKG_VERSION");
        let recorded = broker.started(version, &self.api.host, &self.policy_sha256, guardrails).await;
        sweep::start(broker, &self.stats).await;
        // Only now: what is over is taken away also by a daemon that can't record, and so must not serve.
        recorded?;
        let sweeping = tokio::spawn(sweep::run(Arc::clone(broker), self.stats));
        Ok(Running { api: self.api, clock: self.clock, clusters: self.clusters, sweeping })
    }
}

impl Running {
    /// What the handlers work with.
    #[must_use]
    pub fn api(&self) -> &Arc<Api> {
        &self.api
    }

    /// The story.
    #[must_use]
    pub fn broker(&self) -> &Arc<Broker> {
        &self.api.broker
    }

    /// Serves until `stop` is done and every answer is given, keeps the daemon's own certificates from running out, and
    /// records the end.
    ///
    /// # Errors
    /// [`DaemonError::Broker`] when the end can't be recorded.
    pub async fn serve(
        self,
        listeners: Vec<(Listener, UnixListener)>,
        stop: impl Future<Output = ()>,
    ) -> Result<(), DaemonError> {
        let renewing = tokio::spawn(renew(Arc::clone(&self.api), self.clusters, self.clock));
        let served = Arc::new(Notify::new());
        let counting = tokio::spawn(record_refusals(Arc::clone(&self.api), Arc::clone(&served)));
        api::serve(Arc::clone(&self.api), listeners, Limits::USUAL, stop).await;
        self.sweeping.abort();
        renewing.abort();
        served.notify_one();
        // It does not panic, and says itself what it can't write.
        drop(counting.await);
        let stopped = self.api.broker.stopped().await;
        self.api.broker.ledger().close();
        Ok(stopped?)
    }
}

/// Who sees and ends what is not theirs, as a configuration has it.
#[must_use]
pub fn overseers(config: &Config) -> Overseers {
    let readers = config.auditors.iter().chain(&config.admins).cloned().collect();
    Overseers { readers, admins: config.admins.clone() }
}

/// A cluster of the configuration, with the authority that signs for it.
///
/// # Errors
/// [`DaemonError`].
pub fn site(name: &ClusterName, cluster: &ClusterConfig, host: &str, now: Timestamp) -> Result<Site, DaemonError> {
    let authority = Authority::open(&cluster.authority, &cluster.key)?;
    let credential = credential(cluster, &authority, host, now)?;
    let endpoint = Endpoint::new(name.clone(), &cluster.server, &cluster.certificate_authority)?;
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

/// What is wrong when the authority of cluster `name` shares a key with another one's. Those that can't be opened are passed
/// over; that is told of them.
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
) -> Result<Credential, CaError> {
    if let Some(path) = &cluster.kubeconfig {
        return Ok(Credential::Kubeconfig(path.clone()));
    }
    let made = authority.daemon_credential(host, OWN_CERTIFICATE, now)?;
    Ok(Credential::Certificate { chain_pem: made.chain_pem, key_pem: made.key_pem })
}

/// Writes each minute how often people were refused in it, and once more when everybody is served.
async fn record_refusals(api: Arc<Api>, served: Arc<Notify>) {
    while tokio::time::timeout(COUNT_REFUSALS_FOR, served.notified()).await.is_err() {
        api.record_refusals().await;
    }
    api.record_refusals().await;
}

fn is_of_another(api: &Api, name: &ClusterName, found: &Authority) -> bool {
    api.broker.sites().any(|(other, site)| other != name && site.authority().shares_a_key_with(found))
}

/// Makes the daemon's own certificates anew before they end, and takes up an authority that was renewed; for each cluster
/// by itself, so that a token or a disk that hangs holds up no other.
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
        let mut taken_up = false;
        match site.ask_authority(move || Authority::open(&folder, &key)).await {
            Ok(Ok(found)) if site.authority().is_replaced_by(&found) && is_of_another(api, name, &found) => {
                tracing::error!(cluster = %name, "the renewed authority shares a key with another cluster's; the one before stays in use");
            }
            Ok(Ok(found)) if site.authority().is_replaced_by(&found) => {
                tracing::info!(cluster = %name, not_after = %found.not_after(), "taking up the renewed authority");
                site.replace_authority(found);
                taken_up = true;
            }
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                tracing::warn!(cluster = %name, error = %error.in_full(), "the authority can't be read; the one before stays in use");
            }
            // Told by the dependency, once.
            Err(_) => continue,
        }
        if half || taken_up {
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
