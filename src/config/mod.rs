//! The parsed configuration.
//! ```text
//!  config.yaml ─► file.rs (as written) ─► read.rs ─► Config (parsed)
//!  policy.yaml, guardrails.yaml ─► policy_files.rs ─┘ └─► again for each reload
//! ```
//! Only the mains read it, before they open a socket. The rest of the crate gets values that cannot be invalid.

mod file;
mod host;
mod keys;
mod policy_files;
mod read;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jit_dial::{ApiServer, KubeconfigError};

use crate::ca::{KeyPlace, PinPlace, TokenPlace};
use crate::grant::policy::{self, Policy};
use crate::grant::request::ClusterName;
use crate::grant::times::{Rates, Times};
use crate::grant::{ActingGateway, DaemonUser};
use crate::hint::Hint;
use crate::people::People;

pub use self::host::{HostName, NoHostName};
pub use self::keys::{KEYS, Key};
pub use self::policy_files::PolicyFiles;

/// The parsed configuration. Paths are absolute, or relative to the working folder.
#[derive(Clone, Debug)]
pub struct Config {
    /// This host's name in the daemon's own credential and on its bindings.
    pub host: HostName,
    /// The socket of the API.
    pub socket: PathBuf,
    /// The socket for operators.
    pub admin_socket: PathBuf,
    /// The folder of the trail and the authorities.
    pub state: PathBuf,
    /// The folder in which the gateway keeps its logs and recordings.
    pub sessions: PathBuf,
    /// The files of the policy and its guardrails.
    pub policy_files: PolicyFiles,
    /// The policy, with its guardrails.
    pub policy: Policy,
    /// SHA-256 of the policy's file, hex.
    pub policy_sha256: String,
    /// SHA-256 of the guardrails' file, hex; none without a file, in which case the default guardrails apply.
    pub guardrails_sha256: Option<String>,
    /// Groups that may read every grant.
    pub auditors: Vec<String>,
    /// Groups that may read and revoke every grant.
    pub admins: Vec<String>,
    /// The account of `jit-notify`, which may read the notices.
    pub notify: Option<String>,
    /// How long requests, approvals and certificates last.
    pub times: Times,
    /// How often one account may call.
    pub rates: Rates,
    /// The people that this host knows.
    pub people: People,
    /// The clusters by name.
    pub clusters: BTreeMap<ClusterName, ClusterConfig>,
}

/// One cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterConfig {
    /// Its URL, `https://…`.
    pub server: String,
    /// The CA of its serving certificate, PEM.
    pub certificate_authority: String,
    /// The file of that CA.
    pub certificate_authority_path: PathBuf,
    /// The folder of the authority that signs for it.
    pub authority: PathBuf,
    /// The place of the authority's issuing key.
    pub key: KeyPlace,
    /// A kubeconfig to reach it with, instead of `server` and the daemon's own short-lived certificate.
    pub kubeconfig: Option<KubeconfigAt>,
    /// The daemon's user in the cluster, if the kubeconfig's is not `jit:daemon:HOST` there.
    pub daemon: Option<DaemonUser>,
    /// The gateway in the cluster, if people reach the cluster through it.
    pub gateway: Option<ActingGateway>,
}

/// A context of a kubeconfig.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubeconfigAt {
    /// The file.
    pub path: PathBuf,
    /// The context; without one the file's current context.
    pub context: Option<String>,
}

impl KubeconfigAt {
    /// Reads it, with the files that it names.
    ///
    /// # Errors
    /// [`KubeconfigError`] if anything in it cannot be used or is not supported.
    pub fn read(&self) -> Result<ApiServer, KubeconfigError> {
        ApiServer::read(&self.path, self.context.as_deref())
    }
}

/// Everything that is wrong with the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

impl Faults {
    /// One line for each fault.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.0.iter().map(Fault::on_one_line).collect()
    }
}

/// One thing that is wrong with a file: a sentence that names the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Fault {
    /// The sentence.
    pub why: String,
    /// What to do about it.
    pub hint: Option<Cow<'static, str>>,
}

impl Fault {
    /// What is wrong with the policy or the guardrails in the file at `path`.
    fn of_policy(fault: &policy::Fault, path: &Path) -> Self {
        Self { why: fault.at(path.display()), hint: Some(fault.hint.clone().into()) }
    }
}

impl Hint for Fault {
    fn hint(&self) -> Option<Cow<'static, str>> {
        self.hint.clone()
    }
}

impl Config {
    /// The keys of `config.yaml` that differ in `new` and take effect only after a restart.
    #[must_use]
    pub fn keys_for_a_restart(&self, new: &Self) -> Vec<&'static str> {
        let keys = [
            ("host", self.host != new.host),
            ("socket", self.socket != new.socket),
            ("adminSocket", self.admin_socket != new.admin_socket),
            ("state", self.state != new.state),
            ("sessions", self.sessions != new.sessions),
            ("times", self.times != new.times),
            ("rates", self.rates != new.rates),
            ("notify", self.notify != new.notify),
            ("clusters", self.clusters != new.clusters),
            // Only whether there is a socket for them; which ones there are is reloaded.
            ("providers", self.people.have_providers() != new.people.have_providers()),
        ];
        keys.into_iter().filter_map(|(key, is_other)| is_other.then_some(key)).collect()
    }

    /// Where the gateway connects, beside the users' socket; `None` if no cluster is behind it.
    #[must_use]
    pub fn feed_socket(&self) -> Option<PathBuf> {
        self.clusters.values().any(|cluster| cluster.gateway.is_some()).then(|| self.socket.with_file_name("feed.sock"))
    }

    /// Where `jit-notify` connects, beside the users' socket; `None` if `notify` does not name its account.
    #[must_use]
    pub fn notify_socket(&self) -> Option<PathBuf> {
        self.notify.is_some().then(|| self.socket.with_file_name("notify.sock"))
    }

    /// Where the front end connects, beside the users' socket; `None` if no identity provider is configured.
    #[must_use]
    pub fn frontend_socket(&self) -> Option<PathBuf> {
        self.people.have_providers().then(|| self.socket.with_file_name("frontend.sock"))
    }

    /// The files that the daemon reads besides the configuration and the state folder: certificates, kubeconfigs, and what
    /// belongs to keys in tokens. Files that a kubeconfig names are not among them.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files = vec![self.policy_files.policy.clone()];
        files.extend(self.policy_files.guardrails.clone());
        files.extend(self.people.files());
        for cluster in self.clusters.values() {
            files.push(cluster.certificate_authority_path.clone());
            files.extend(cluster.kubeconfig.as_ref().map(|kubeconfig| kubeconfig.path.clone()));
            if let KeyPlace::Token(TokenPlace { module, pin, .. }) = &cluster.key {
                files.push(module.clone());
                if let PinPlace::File(file) = pin {
                    files.push(file.clone());
                }
            }
        }
        files
    }

    /// The trail's file.
    #[must_use]
    pub fn trail(&self) -> PathBuf {
        self.state.join("trail.db")
    }
}
