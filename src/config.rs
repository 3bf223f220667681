//! The configuration as it is written, and as it is meant. Everything that is wrong is told at once,
//! before a socket opens; a file that is not understood whole is not used at all. The policy and its guardrails
//! can be read again by themselves.
//!
//! Read by the mains only. The rest of the crate gets values that can't be wrong any more.

mod keys;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::grant::policy::{Policy, Source};
use crate::grant::request::{ClusterName, PersonName, Window};
use crate::grant::role::sha256_hex;
use crate::people::{Declared, People};

pub use self::keys::{KEYS, Key, Need};

/// `config.yaml` as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ConfigFile {
    host: Option<String>,
    #[serde(default = "default_socket")]
    socket: PathBuf,
    #[serde(default = "default_state")]
    state: PathBuf,
    #[serde(default = "default_policy")]
    policy: PathBuf,
    guardrails: Option<PathBuf>,
    #[serde(default)]
    auditors: Vec<String>,
    #[serde(default)]
    admins: Vec<String>,
    #[serde(default)]
    times: TimesFile,
    #[serde(default)]
    strict_people: bool,
    #[serde(default)]
    people: Vec<PersonFile>,
    clusters: Vec<ClusterFile>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TimesFile {
    answer: Option<Window>,
    collect: Option<Window>,
    certificate: Option<Window>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PersonFile {
    name: PersonName,
    uids: Vec<u32>,
    #[serde(default)]
    groups: BTreeSet<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ClusterFile {
    name: ClusterName,
    server: String,
    certificate_authority: PathBuf,
    authority: Option<PathBuf>,
    kubeconfig: Option<PathBuf>,
}

/// `jit:daemon:` and the host fit into a common name (RFC 5280 appendix A.1, `ub-common-name`: 64).
const LONGEST_HOST: usize = 53;

fn default_socket() -> PathBuf {
    PathBuf::from("/run/jitd/api.sock")
}

fn default_state() -> PathBuf {
    PathBuf::from("/var/lib/jitd")
}

fn default_policy() -> PathBuf {
    PathBuf::from("policy.yaml")
}

/// The configuration as it is meant. Paths are absolute or relative to the working folder.
#[derive(Clone, Debug)]
pub struct Config {
    /// This host's name in the daemon's own credential and on its bindings.
    pub host: ClusterName,
    /// Where the API listens.
    pub socket: PathBuf,
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
    /// Who is known.
    pub people: People,
    /// The clusters by name.
    pub clusters: BTreeMap<ClusterName, ClusterConfig>,
}

/// The clocks of a request, and the longest life of one certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// How long a request waits for an answer.
    pub answer: Window,
    /// How long an approval waits to be collected.
    pub collect: Window,
    /// The longest life of one certificate inside the window.
    pub certificate: Window,
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
    /// A kubeconfig to reach it with, instead of the daemon's own short certificate.
    pub kubeconfig: Option<PathBuf>,
}

/// What is wrong with the files, a sentence each.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct Faults(pub Vec<String>);

impl Config {
    /// Reads `path`, and the policy and the guardrails that it names.
    ///
    /// # Errors
    /// Everything that is wrong with all of them.
    pub fn read(path: &Path) -> Result<Self, Faults> {
        let mut faults = Vec::new();
        let text = read(path, &mut faults);
        let file: ConfigFile = match text.map(|text| serde_saphyr::from_str(&text)) {
            Some(Ok(file)) => file,
            Some(Err(error)) => return Err(Faults(vec![format!("`{}`: {error}", path.display())])),
            None => return Err(Faults(faults)),
        };
        let base = path.parent().unwrap_or(Path::new("."));
        let at = |path: &Path| base.join(path);
        let mut fault = |why: String| faults.push(format!("`{}`: {why}", path.display()));

        let host = file.host.clone().map_or_else(host_name, Ok).and_then(|name| {
            name.parse::<ClusterName>()
                .map_err(|error| format!("`host` is the first label of the host's name: {error}"))
        });
        let host = host.and_then(|host| match host.as_str().len() {
            ..=LONGEST_HOST => Ok(host),
            _ => Err(format!("`host` has at most {LONGEST_HOST} characters, for it stands in a certificate's name")),
        });
        let host = host.map_err(&mut fault).ok();

        let mut names = BTreeSet::new();
        let mut uids = BTreeSet::new();
        for person in &file.people {
            if !names.insert(&person.name) {
                fault(format!("person `{}` is declared twice; hint: list every uid under one entry", person.name));
            }
            if person.uids.is_empty() {
                fault(format!("person `{}` has no uid; hint: `id -u` prints one", person.name));
            }
            for uid in &person.uids {
                if *uid == 0 || *uid == 65534 {
                    fault(format!("person `{}`: uid {uid} can't be a person", person.name));
                }
                if !uids.insert(*uid) {
                    fault(format!("uid {uid} belongs to two people; hint: one account is one person"));
                }
            }
        }
        if file.clusters.is_empty() {
            fault("`clusters` is empty; hint: name the one that access is given to".to_owned());
        }
        let mut certificate_authorities = Vec::new();
        for cluster in &file.clusters {
            if !cluster.server.starts_with("https://") {
                fault(format!("cluster `{}`: `server` has to begin with https://", cluster.name));
            }
            if file.clusters.iter().filter(|other| other.name == cluster.name).count() > 1 {
                fault(format!("cluster `{}` is there twice", cluster.name));
            }
        }
        for cluster in &file.clusters {
            certificate_authorities.push(read(&at(&cluster.certificate_authority), &mut faults));
        }

        let state = at(&file.state);
        let clusters: BTreeMap<_, _> = file
            .clusters
            .iter()
            .zip(certificate_authorities)
            .map(|(cluster, certificate_authority)| {
                let meant = ClusterConfig {
                    server: cluster.server.clone(),
                    certificate_authority: certificate_authority.unwrap_or_default(),
                    authority: cluster
                        .authority
                        .as_deref()
                        .map_or_else(|| state.join("ca").join(cluster.name.as_str()), at),
                    kubeconfig: cluster.kubeconfig.as_deref().map(at),
                };
                (cluster.name.clone(), meant)
            })
            .collect();

        let policy_files = PolicyFiles { policy: at(&file.policy), guardrails: file.guardrails.as_deref().map(at) };
        let policy = policy_files.read_for(&clusters).map_err(|Faults(wrong)| faults.extend(wrong)).ok();
        match (host, policy) {
            (Some(host), Some(PolicyRead { policy, policy_sha256, guardrails_sha256 })) if faults.is_empty() => {
                Ok(Self {
                    host,
                    socket: at(&file.socket),
                    state,
                    policy_files,
                    policy,
                    policy_sha256,
                    guardrails_sha256,
                    auditors: file.auditors,
                    admins: file.admins,
                    times: file.times.meant(),
                    people: People::new(file.people.into_iter().map(PersonFile::meant).collect(), file.strict_people),
                    clusters,
                })
            }
            _ => Err(Faults(faults)),
        }
    }

    /// The trail's file.
    #[must_use]
    pub fn trail(&self) -> PathBuf {
        self.state.join("trail.db")
    }
}

/// The files that say who may ask for what. They are read at the start, and again when the daemon is told to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyFiles {
    /// The policy's file.
    pub policy: PathBuf,
    /// The guardrails' file, which then has to be there; without it, `guardrails.yaml` beside the policy if there is one.
    pub guardrails: Option<PathBuf>,
}

/// A policy, and which bytes it was read from.
#[derive(Clone, Debug)]
pub struct PolicyRead {
    /// The policy, with its guardrails.
    pub policy: Policy,
    /// SHA-256 of the policy's file, hex.
    pub policy_sha256: String,
    /// SHA-256 of the guardrails' file, hex; none without a file.
    pub guardrails_sha256: Option<String>,
}

impl PolicyFiles {
    /// Reads both files.
    ///
    /// # Errors
    /// Everything that is wrong with both, in the order of the files.
    pub fn read(&self) -> Result<PolicyRead, Faults> {
        let mut faults = Vec::new();
        let guardrails_path = match &self.guardrails {
            Some(named) => named.clone(),
            None => self.policy.with_file_name(Source::Guardrails.file_name()),
        };
        let policy = read(&self.policy, &mut faults);
        let guardrails = match std::fs::read_to_string(&guardrails_path) {
            Err(error) if self.guardrails.is_none() && error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => {
                faults.push(format!("`{}`: {error}", guardrails_path.display()));
                None
            }
            Ok(text) => Some(text),
        };
        let meant = policy.map(|text| (Policy::read(&text, guardrails.as_deref()), sha256_hex(text.as_bytes())));
        match meant {
            Some((Ok(policy), policy_sha256)) if faults.is_empty() => Ok(PolicyRead {
                policy,
                policy_sha256,
                guardrails_sha256: guardrails.map(|text| sha256_hex(text.as_bytes())),
            }),
            Some((Err(wrong), _)) => {
                faults.extend(wrong.iter().map(|fault| match fault.file {
                    Source::Policy => fault.at(self.policy.display()),
                    Source::Guardrails => fault.at(guardrails_path.display()),
                }));
                Err(Faults(faults))
            }
            _ => Err(Faults(faults)),
        }
    }

    /// The same for the clusters of a configuration; a rule for another cluster is a fault.
    ///
    /// # Errors
    /// As [`PolicyFiles::read`].
    pub fn read_for(&self, clusters: &BTreeMap<ClusterName, ClusterConfig>) -> Result<PolicyRead, Faults> {
        let found = self.read()?;
        let missing = found.policy.clusters().filter(|name| !clusters.contains_key(*name));
        let faults: Vec<String> = missing
            .map(|name| format!("`{}`: no cluster `{name}` in the configuration", self.policy.display()))
            .collect();
        if faults.is_empty() { Ok(found) } else { Err(Faults(faults)) }
    }
}

impl TimesFile {
    fn meant(&self) -> Times {
        Times {
            answer: self.answer.unwrap_or(Window::HOUR),
            collect: self.collect.unwrap_or(Window::TEN_MINUTES),
            certificate: self.certificate.unwrap_or(Window::FIVE_MINUTES),
        }
    }
}

impl PersonFile {
    fn meant(self) -> Declared {
        Declared { name: self.name, uids: self.uids, groups: self.groups }
    }
}

fn read(path: &Path, faults: &mut Vec<String>) -> Option<String> {
    std::fs::read_to_string(path).map_err(|error| faults.push(format!("`{}`: {error}", path.display()))).ok()
}

fn host_name() -> Result<String, String> {
    let name = nix::unistd::gethostname()
        .map_err(|error| format!("the host's name can't be read: {error}; hint: set `host`"))?;
    Ok(name.to_string_lossy().split('.').next().unwrap_or_default().to_lowercase())
}
