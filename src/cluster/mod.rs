//! What the daemon does in a cluster: binds a grant's group to its role, deletes the binding, reads what a role allows,
//! and asks the API server whether it would allow an action.
//!
//! ```text
//!  resolve_role ─► bind ─► ask until allowed … unbind ─► ask until denied      list_related ─► (sweep) compares
//! ```
//! It must never delete what is not ours by name and subject together, never by a label alone, and never decide when to
//! try again: the broker and the sweep, which call it, do. It knows no certificate and no trail.

mod binding;
mod cause;
mod deletions;
mod endpoint;
mod failure;
mod inspect;
mod list;
mod names;
mod pinned;
mod probe;
mod review;
mod role;
mod stored;
#[cfg(test)]
mod tests;
mod transport;
mod verifier;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use kube::core::params::ListParams;
use kube::core::request::Request as Path;
use serde::Deserialize;
use tokio::time::Instant;

use crate::dependency::Watched;
use crate::grant::request::ClusterName;
use crate::rbac::risk::Accounts;

pub use self::binding::Unbound;
pub use self::cause::Cause;
use self::deletions::Count;
pub use self::endpoint::{Credential, Endpoint, EndpointError};
pub use self::failure::ClusterError;
use self::names::is_label_value;
pub(crate) use self::names::{GRANT, HOST_LABEL, MANAGED_BY, OURS, RBAC_GROUP, USER};
pub use self::probe::Probe;
pub use self::review::{Answer, Right, UserInfo};
pub use self::transport::Exchange;
use self::transport::{Limits, Transport};

/// A cluster, as this daemon reaches it. Cheap to clone; all clones share connections and credential.
#[derive(Clone)]
pub struct Cluster(Arc<Inner>);

struct Inner {
    transport: Transport,
    host: String,
    /// Deletions of bindings that wait for their turn.
    waiting: Count,
    /// Deletions of bindings that have no answer yet.
    unanswered: Count,
    /// What [`version`](Cluster::version) heard last, and when.
    version: Mutex<Option<(Instant, String)>>,
    /// What [`authority_pem`](Cluster::authority_pem) found last, and when.
    verifies: Mutex<Option<(Instant, Arc<str>)>>,
    /// What the last list of all bindings told of the service accounts.
    accounts: Mutex<Accounts>,
}

impl Cluster {
    /// A cluster at `endpoint`, reached as `credential`. `host` names this daemon among others on the same
    /// cluster and stands as a label on each binding. Nothing is sent yet; has to be called inside a tokio
    /// runtime.
    ///
    /// # Errors
    /// [`EndpointError`] when the credential can't be used, or the host is no label's value.
    pub fn connect(endpoint: Endpoint, host: &str, credential: &Credential) -> Result<Self, EndpointError> {
        Self::limited(endpoint, host, credential, Limits::USUAL)
    }

    /// What tells whether the name of its API server is answered for.
    #[must_use]
    pub fn dns(&self) -> &dyn Watched {
        self.0.transport.dns()
    }

    /// A cluster whose requests `exchange` answers instead of a network, with the same limits: for tests that play an
    /// API server by a function. There is no credential, so [`use_credential`](Cluster::use_credential) changes
    /// nothing.
    ///
    /// # Errors
    /// [`EndpointError`] when the host is no label's value.
    pub fn over(endpoint: Endpoint, host: &str, exchange: Exchange) -> Result<Self, EndpointError> {
        Self::new(Transport::over(endpoint, exchange, Limits::USUAL), host)
    }

    fn limited(endpoint: Endpoint, host: &str, credential: &Credential, limits: Limits) -> Result<Self, EndpointError> {
        Self::new(Transport::new(endpoint, credential, limits)?, host)
    }

    fn new(transport: Transport, host: &str) -> Result<Self, EndpointError> {
        if !is_label_value(host) {
            let why =
                format!("`{}` is not 1 to 63 of A-Z a-z 0-9 . _ - between letters or digits", host.escape_default());
            return Err(EndpointError { cluster: transport.endpoint().name().clone(), field: "host", why });
        }
        let (waiting, unanswered) = (Count::new(), Count::new());
        let (version, verifies, accounts) = (Mutex::default(), Mutex::default(), Mutex::default());
        let host = host.to_owned();
        Ok(Self(Arc::new(Inner { transport, host, waiting, unanswered, version, verifies, accounts })))
    }

    /// Uses `credential` for every request from now on, in all clones.
    ///
    /// # Errors
    /// [`EndpointError`] when it can't be used; the former one stays.
    pub fn use_credential(&self, credential: &Credential) -> Result<(), EndpointError> {
        self.0.transport.use_credential(credential)
    }

    /// The cluster's name in the configuration.
    #[must_use]
    pub fn name(&self) -> &ClusterName {
        self.endpoint().name()
    }

    /// The host that the labels of this daemon's bindings name.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.0.host
    }

    /// How it is reached, for a kubeconfig.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        self.0.transport.endpoint()
    }

    /// The API server's version and clock.
    ///
    /// # Errors
    /// [`ClusterError`], of which [`ClusterError::Unauthorized`] says that our credential is not trusted.
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

    /// The API server's version, as it was within the last five minutes. It changes with an upgrade only, and no grant
    /// ends because of one.
    ///
    /// # Errors
    /// As [`Cluster::about`].
    pub async fn version(&self) -> Result<String, ClusterError> {
        let heard = self.0.version.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((at, version)) = heard
            && at.elapsed() < VERSION_KEPT
        {
            return Ok(version);
        }
        let version = self.about().await?.version;
        *self.0.version.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), version.clone()));
        Ok(version)
    }
}

/// What the API server says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// For example `v1.36.3`.
    pub version: String,
    /// Its clock when it answered, whole seconds; none when the answer had no date.
    pub clock: Option<Timestamp>,
}

/// How long what an API server says about itself is believed.
const VERSION_KEPT: Duration = Duration::from_secs(300);

#[derive(Deserialize)]
struct Kind {
    kind: String,
}
