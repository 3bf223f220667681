//! The configuration as it is meant.
//! ```text
//!  config.yaml ─► file.rs (as it is written) ─► read.rs ─► Config (as it is meant)
//!  policy.yaml, guardrails.yaml ─► policy_files.rs ──┘ └─► again, whenever the daemon is told to reload
//! ```
//! Read by the mains only, before a socket opens. The rest of the crate gets values that can't be wrong any more.

mod file;
mod host;
mod keys;
mod policy_files;
mod read;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jit_dial::{ApiServer, KubeconfigError};

use crate::ca::KeyPlace;
use crate::grant::GatewayUser;
use crate::grant::policy::{self, Policy};
use crate::grant::request::ClusterName;
use crate::grant::times::{Rates, Times};
use crate::hint::Hint;
use crate::people::People;

pub use self::host::{HostName, NoHostName};
pub use self::keys::{KEYS, Key};
pub use self::policy_files::PolicyFiles;

/// The configuration as it is meant. Paths are absolute or relative to the working folder.
#[derive(Clone, Debug)]
pub struct Config {
    /// This host's name in the daemon's own credential and on its bindings.
    pub host: HostName,
    /// Where the API listens.
    pub socket: PathBuf,
    /// Where the daemon is operated.
    pub admin_socket: PathBuf,
    /// Where the trail and the authorities lie.
    pub state: PathBuf,
    /// Where the policy and its guardrails lie.
    pub policy_files: PolicyFiles,
    /// The policy, with its guardrails.
    pub policy: Policy,
    /// SHA-256 of the policy's file, hex.
    pub policy_sha256: String,
    /// SHA-256 of the guardrails' file, hex; none without a file, when the guardrails' defaults hold.
    pub guardrails_sha256: Option<String>,
    /// Groups that may read every grant.
    pub auditors: Vec<String>,
    /// Groups that may read and revoke every grant.
    pub admins: Vec<String>,
    /// The clocks.
    pub times: Times,
    /// How often one account may call.
    pub rates: Rates,
    /// Who is known.
    pub people: People,
    /// The clusters by name.
    pub clusters: BTreeMap<ClusterName, ClusterConfig>,
}

/// One cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterConfig {
    /// Its URL, `https://…`.
    pub server: String,
    /// The authority of its serving certificate, PEM.
    pub certificate_authority: String,
    /// The folder of the authority that signs for it.
    pub authority: PathBuf,
    /// Where the authority's issuing key lies.
    pub key: KeyPlace,
    /// How the daemon reaches it, instead of at `server` with its own short certificate.
    pub kubeconfig: Option<KubeconfigAt>,
    /// The gateway's user in the cluster, if people reach the cluster through the gateway.
    pub gateway: Option<GatewayUser>,
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

/// What is wrong with the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

impl Faults {
    /// A line each.
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
    /// The keys of `config.yaml` in which `new` is another, and which a daemon that runs with this one does not take up.
    #[must_use]
    pub fn keys_for_a_restart(&self, new: &Self) -> Vec<&'static str> {
        let keys = [
            ("host", self.host != new.host),
            ("socket", self.socket != new.socket),
            ("adminSocket", self.admin_socket != new.admin_socket),
            ("state", self.state != new.state),
            ("times", self.times != new.times),
            ("rates", self.rates != new.rates),
            ("clusters", self.clusters != new.clusters),
        ];
        keys.into_iter().filter_map(|(key, is_other)| is_other.then_some(key)).collect()
    }

    /// The trail's file.
    #[must_use]
    pub fn trail(&self) -> PathBuf {
        self.state.join("trail.db")
    }
}
