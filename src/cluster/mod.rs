//! What the daemon does in a cluster: it binds a grant's group to its role, deletes the binding, reads what a role
//! allows, and asks the API server whether it would allow an action.
//!
//! ```text
//!  resolve_role ─► bind ─► ask until allowed … unbind ─► ask until denied      list_related ─► (sweep) compares
//! ```
//! It must never delete anything that is not ours by both name and subject; a label alone is not enough. It never
//! decides when to retry: its callers, the broker and the sweep, do. It knows neither certificates for users nor the
//! trail.

mod binding;
mod cause;
mod deletions;
mod endpoint;
mod failure;
mod inspect;
mod list;
mod names;
mod probe;
mod review;
mod role;
mod stored;
#[cfg(test)]
mod tests;
mod transport;
mod verifier;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::core::params::ListParams;
use kube::core::request::Request as Path;
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::time::Instant;

use crate::dependency::Watched;
use crate::grant::request::ClusterName;
use crate::rbac::risk::{Accounts, ServerVersion};

pub use self::binding::Unbound;
pub use self::cause::Cause;
use self::deletions::Count;
pub use self::endpoint::{Credential, Endpoint, EndpointError};
pub use self::failure::ClusterError;
pub use self::inspect::{Impersonating, WebSocket};
use self::names::is_label_value;
pub(crate) use self::names::{GRANT, HOST_LABEL, MANAGED_BY, OURS, RBAC_GROUP, USER};
pub use self::probe::Probe;
pub use self::review::{Answer, Right, UserInfo};
pub use self::role::MadeRoles;
pub use self::transport::Exchange;
use self::transport::{Limits, Transport};

/// A cluster as this daemon reaches it. Cheap to clone; all clones share connections and credential.
#[derive(Clone)]
pub struct Cluster(Arc<Inner>);

struct Inner {
    transport: Transport,
    host: String,
    /// Queued deletions of bindings.
    waiting: Count,
    /// Deletions of bindings that are queued or have no answer yet.
    unanswered: Count,
    /// The last answer to [`version`](Cluster::version), and when it arrived.
    version: Mutex<Option<(Instant, String)>>,
    /// When it was last tried whether it limits impersonation, if it was not denied.
    limits: Mutex<Option<Instant>>,
    /// The last result of [`authority_pem`](Cluster::authority_pem), and when it was found.
    verifies: Mutex<Option<(Instant, Arc<str>)>>,
    /// What the last list of all bindings revealed about the service accounts.
    accounts: Mutex<Accounts>,
}

impl Cluster {
    /// A cluster at `endpoint`, reached with `credential`. `host` distinguishes this daemon from others on the same
    /// cluster and is a label on each binding. Sends nothing yet; must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`EndpointError`] if the credential cannot be used or `host` is not a valid label value.
    pub fn connect(endpoint: Endpoint, host: &str, credential: &Credential) -> Result<Self, EndpointError> {
        Self::limited(endpoint, host, credential, Limits::USUAL)
    }

    /// The resolver for the name of the API server, for health checks and metrics.
    #[must_use]
    pub fn dns(&self) -> &dyn Watched {
        self.0.transport.dns()
    }

    /// A cluster whose requests `exchange` answers instead of the network, with the same limits: for tests in which a
    /// function acts as the API server. It has no credential, so [`use_credential`](Cluster::use_credential) has no
    /// effect.
    ///
    /// # Errors
    /// [`EndpointError`] if `host` is not a valid label value.
    pub fn over(endpoint: Endpoint, host: &str, exchange: Exchange) -> Result<Self, EndpointError> {
        Self::new(Transport::over(endpoint, exchange, Limits::USUAL), host)
    }

    fn limited(endpoint: Endpoint, host: &str, credential: &Credential, limits: Limits) -> Result<Self, EndpointError> {
        Self::new(Transport::new(endpoint, credential, limits)?, host)
    }

    fn new(transport: Transport, host: &str) -> Result<Self, EndpointError> {
        if !is_label_value(host) {
            let why = format!(
                "`{}` must be 1 to 63 characters (A-Z a-z 0-9 . _ -) and begin and end with a letter or digit",
                host.escape_default()
            );
            return Err(EndpointError { cluster: transport.endpoint().name().clone(), field: "host", why });
        }
        let (waiting, unanswered) = (Count::new(), Count::new());
        let (version, limits) = (Mutex::default(), Mutex::default());
        let (verifies, accounts) = (Mutex::default(), Mutex::default());
        let host = host.to_owned();
        Ok(Self(Arc::new(Inner { transport, host, waiting, unanswered, version, limits, verifies, accounts })))
    }

    /// Uses `credential` for every request from now on, in all clones.
    ///
    /// # Errors
    /// [`EndpointError`] if it cannot be used; the previous one then stays in use.
    pub fn use_credential(&self, credential: &Credential) -> Result<(), EndpointError> {
        self.0.transport.use_credential(credential)
    }

    /// The cluster's name in the configuration.
    #[must_use]
    pub fn name(&self) -> &ClusterName {
        self.endpoint().name()
    }

    /// The host that is in the labels of this daemon's bindings.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.0.host
    }

    /// How the API server is reached, for a kubeconfig.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        self.0.transport.endpoint()
    }

    /// The API server's version and clock.
    ///
    /// # Errors
    /// [`ClusterError`]; [`ClusterError::Unauthorized`] if our credential is not trusted.
    pub async fn about(&self) -> Result<About, ClusterError> {
        #[derive(Deserialize)]
        struct Version {
            #[serde(rename = "gitVersion")]
            git_version: String,
        }
        let reply = self.0.transport.send(Path::new("/version").list(&ListParams::default())).await?;
        let version: Version = self.0.transport.read(&reply)?;
        Ok(About { version: version.git_version, clock: reply.date() })
    }

    /// The API server's version, at most five minutes old. It changes only with an upgrade, and no grant ends because
    /// of one.
    ///
    /// # Errors
    /// The same as [`Cluster::about`].
    pub async fn version(&self) -> Result<String, ClusterError> {
        let heard = self.0.version.lock().clone();
        if let Some((at, version)) = heard
            && at.elapsed() < VERSION_KEPT
        {
            return Ok(version);
        }
        let version = self.about().await?.version;
        *self.0.version.lock() = Some((Instant::now(), version.clone()));
        Ok(version)
    }

    /// The last answer to [`version`](Cluster::version), however old; `None` if there was none since the daemon started.
    #[must_use]
    pub fn last_version(&self) -> Option<String> {
        self.0.version.lock().as_ref().map(|(_, version)| version.clone())
    }

    /// Checks that the API server limits the gateway as the configuration demands, if people go through the gateway. An
    /// older one, or one whose feature gate is off, ignores the limits: it knows only the right to be somebody everywhere.
    /// Tried at most every five minutes.
    ///
    /// # Errors
    /// [`ClusterError::GatewayUnlimited`], or the same as [`Cluster::about`].
    pub async fn limits_gateway(&self) -> Result<(), ClusterError> {
        if self.endpoint().gateway().is_none_or(|gateway| !gateway.impersonation.is_constrained()) {
            return Ok(());
        }
        let version = self.version().await?;
        let knows_limits = version.parse::<ServerVersion>().is_ok_and(|it| it >= ServerVersion::LIMITS_IMPERSONATION);
        if knows_limits && self.limits_impersonation().await? {
            return Ok(());
        }
        Err(ClusterError::GatewayUnlimited {
            cluster: self.name().clone(),
            version: version.chars().take(60).flat_map(char::escape_default).collect(),
        })
    }

    /// Whether the API server limits impersonation, found by trying it: a feature gate that is turned off is not told in
    /// any other way that everybody may read. Only a plain no counts, and is not kept: the gateway's limited rights are
    /// worth nothing where nobody knows them, so an unclear answer gives nobody too much. `jitd check` reports it.
    async fn limits_impersonation(&self) -> Result<bool, ClusterError> {
        let found = *self.0.limits.lock();
        if found.is_some_and(|at| at.elapsed() < VERSION_KEPT) {
            return Ok(true);
        }
        let limits = self.tries_to_act().await? != Impersonating::Unlimited;
        *self.0.limits.lock() = limits.then(Instant::now);
        Ok(limits)
    }
}

/// What the API server says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// For example `v1.36.3`.
    pub version: String,
    /// Its clock when it answered, in whole seconds; `None` if the answer had no date.
    pub clock: Option<Timestamp>,
}

/// How long the version and the authority of an API server are cached.
const VERSION_KEPT: Duration = Duration::from_secs(300);

#[derive(Deserialize)]
struct Kind {
    kind: String,
}
