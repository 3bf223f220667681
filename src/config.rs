//! The configuration as it is written, and as it is meant. Everything that is wrong is told at once,
//! before a socket opens; a file that is not understood whole is not used at all. The policy and its guardrails
//! can be read again by themselves.
//!
//! Read by the mains only. The rest of the crate gets values that can't be wrong any more.

mod keys;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::ca::{KeyPlace, PinPlace, TokenPlace};
use crate::files::{self, FileError};
use crate::grant::digest::sha256_hex;
use crate::grant::policy::{Policy, Source};
use crate::grant::request::{ClusterName, PersonName, Window};
use crate::people::{Declared, People};

pub use self::keys::{KEYS, Key, Need};

/// `config.yaml` as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ConfigFile {
    host: Option<String>,
    #[serde(default = "default_socket")]
    socket: PathBuf,
    admin_socket: Option<PathBuf>,
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
    key: Option<KeyFile>,
}

/// Where the issuing key lies when it is not in the authority's folder.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
enum KeyFile {
    Credential(String),
    Pkcs11(TokenFile),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TokenFile {
    module: PathBuf,
    token: String,
    object: String,
    pin_credential: Option<String>,
    pin_file: Option<PathBuf>,
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
    /// Where the authority's issuing key lies.
    pub key: KeyPlace,
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
        Self::read_with(path, PolicyFiles::read_for)
    }

    /// The same with a policy that gives nothing, whatever its files hold; for a look at the rest when they are wrong.
    ///
    /// # Errors
    /// Everything that is wrong with `path` itself.
    pub fn read_without_policy(path: &Path) -> Result<Self, Faults> {
        Self::read_with(path, |_, _| {
            let policy = Policy::read("rules: []", None)
                .map_err(|faults| Faults(faults.iter().map(|fault| fault.at("no policy")).collect()))?;
            Ok(PolicyRead { policy, policy_sha256: String::new(), guardrails_sha256: None })
        })
    }

    fn read_with(
        path: &Path,
        read_policy: impl FnOnce(&PolicyFiles, &BTreeMap<ClusterName, ClusterConfig>) -> Result<PolicyRead, Faults>,
    ) -> Result<Self, Faults> {
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

        if file.admin_socket.as_ref() == Some(&file.socket) {
            fault("`adminSocket` and `socket` are one; hint: leave `adminSocket` out".to_owned());
        }
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
            if person.name.is_root() {
                fault("person `root`: root is no person, and the trail calls root so".to_owned());
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
        let mut keys = Vec::new();
        for cluster in &file.clusters {
            let key = cluster.key.clone().map_or(Ok(KeyPlace::File), |key| key.meant(base));
            keys.push(
                key.map_err(|why| fault(format!("cluster `{}`: `key`: {why}", cluster.name))).unwrap_or_default(),
            );
        }
        for cluster in &file.clusters {
            certificate_authorities.push(read(&at(&cluster.certificate_authority), &mut faults));
            if let Some(kubeconfig) = &cluster.kubeconfig {
                // It can name a program that is run.
                read(&at(kubeconfig), &mut faults);
            }
        }

        let state = at(&file.state);
        let clusters: BTreeMap<_, _> = file
            .clusters
            .iter()
            .zip(certificate_authorities)
            .zip(keys)
            .map(|((cluster, certificate_authority), key)| {
                let meant = ClusterConfig {
                    server: cluster.server.clone(),
                    certificate_authority: certificate_authority.unwrap_or_default(),
                    authority: cluster
                        .authority
                        .as_deref()
                        .map_or_else(|| state.join("ca").join(cluster.name.as_str()), at),
                    key,
                    kubeconfig: cluster.kubeconfig.as_deref().map(at),
                };
                (cluster.name.clone(), meant)
            })
            .collect();

        let policy_files = PolicyFiles { policy: at(&file.policy), guardrails: file.guardrails.as_deref().map(at) };
        let policy = read_policy(&policy_files, &clusters).map_err(|Faults(wrong)| faults.extend(wrong)).ok();
        match (host, policy) {
            (Some(host), Some(PolicyRead { policy, policy_sha256, guardrails_sha256 })) if faults.is_empty() => {
                Ok(Self {
                    host,
                    admin_socket: at(&beside(&file.socket, file.admin_socket.as_deref())),
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

    /// Where the daemon of the configuration at `path` is operated. Nothing else of it has to be right: who stops a
    /// daemon must not be kept from it by a mistake somewhere else.
    ///
    /// # Errors
    /// Why the file can't be read or is no YAML.
    pub fn admin_socket_of(path: &Path) -> Result<PathBuf, String> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Sockets {
            #[serde(default = "default_socket")]
            socket: PathBuf,
            admin_socket: Option<PathBuf>,
        }
        let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
        let sockets: Sockets = serde_saphyr::from_str(&text).map_err(|error| error.to_string())?;
        let base = path.parent().unwrap_or(Path::new("."));
        Ok(base.join(beside(&sockets.socket, sockets.admin_socket.as_deref())))
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
    /// Reads both files, whoever could have written them: nobody is given anything by the answer.
    ///
    /// # Errors
    /// Everything that is wrong with both, in the order of the files.
    pub fn read(&self) -> Result<PolicyRead, Faults> {
        self.read_by(|path| std::fs::read_to_string(path).map_err(Unread::System))
    }

    fn read_by(&self, read: fn(&Path) -> Result<String, Unread>) -> Result<PolicyRead, Faults> {
        let mut faults = Vec::new();
        let guardrails_path = match &self.guardrails {
            Some(named) => named.clone(),
            None => self.policy.with_file_name(Source::Guardrails.file_name()),
        };
        let policy = read(&self.policy).map_err(|error| faults.push(error.at(&self.policy))).ok();
        let guardrails = match read(&guardrails_path) {
            Err(error) if self.guardrails.is_none() && error.is_absence() => None,
            other => other.map_err(|error| faults.push(error.at(&guardrails_path))).ok(),
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

    /// The same for the clusters of a configuration, where what is read holds: a file that a stranger could have
    /// written is a fault, and so is a rule for another cluster.
    ///
    /// # Errors
    /// As [`PolicyFiles::read`].
    pub fn read_for(&self, clusters: &BTreeMap<ClusterName, ClusterConfig>) -> Result<PolicyRead, Faults> {
        let found = self.read_by(strictly)?;
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

/// The operators' socket: as it is written, or beside the other one.
fn beside(socket: &Path, written: Option<&Path>) -> PathBuf {
    written.map_or_else(|| socket.with_file_name("admin.sock"), Path::to_owned)
}

impl KeyFile {
    fn meant(self, base: &Path) -> Result<KeyPlace, String> {
        let TokenFile { module, token, object, pin_credential, pin_file } = match self {
            Self::Credential(name) => return Ok(KeyPlace::Credential(name.parse()?)),
            Self::Pkcs11(token) => token,
        };
        // A label in a token has 32 bytes, filled up with blanks (PKCS#11 3.1 section 3.3.4).
        if token.is_empty() || token.len() > 32 || token.ends_with(' ') || object.is_empty() {
            return Err("`token` is a label of 1 to 32 bytes that ends with no blank, `object` a label".to_owned());
        }
        let pin = match (pin_credential, pin_file) {
            (Some(name), None) => PinPlace::Credential(name.parse()?),
            (None, Some(path)) => PinPlace::File(base.join(path)),
            _ => return Err("needs one of `pinCredential` and `pinFile`".to_owned()),
        };
        Ok(KeyPlace::Token(TokenPlace { module: base.join(module), token, object, pin }))
    }
}

/// Why a file was not read.
enum Unread {
    System(std::io::Error),
    NotTrusted(FileError),
}

impl Unread {
    fn at(&self, path: &Path) -> String {
        match self {
            Self::System(error) => format!("`{}`: {error}", path.display()),
            Self::NotTrusted(error) => error.to_string(),
        }
    }

    fn is_absence(&self) -> bool {
        matches!(self, Self::System(error) if error.kind() == std::io::ErrorKind::NotFound)
    }
}

fn strictly(path: &Path) -> Result<String, Unread> {
    files::read_configuration(path).map_err(|error| match error {
        FileError::Io { source, .. } => Unread::System(source),
        other => Unread::NotTrusted(other),
    })
}

fn read(path: &Path, faults: &mut Vec<String>) -> Option<String> {
    strictly(path).map_err(|error| faults.push(error.at(path))).ok()
}

fn host_name() -> Result<String, String> {
    let name = nix::unistd::gethostname()
        .map_err(|error| format!("the host's name can't be read: {error}; hint: set `host`"))?;
    Ok(name.to_string_lossy().split('.').next().unwrap_or_default().to_lowercase())
}
