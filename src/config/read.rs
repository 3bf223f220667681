//! From `config.yaml` as it is written to the configuration as it is meant.
//!
//! Everything that is wrong is told at once, and a file that is not understood whole is not used at all. Called by the
//! mains.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::ca::KeyPlace;
use crate::grant::policy::Policy;
use crate::grant::request::ClusterName;
use crate::people::People;

use super::file::{ConfigFile, PersonFile, beside};
use super::policy_files::strictly;
use super::{ClusterConfig, Config, Faults, PolicyFiles, PolicyRead};

/// `jit:daemon:` and the host fit into a common name (RFC 5280 appendix A.1, `ub-common-name`: 64).
const LONGEST_HOST: usize = 53;

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
}

fn read(path: &Path, faults: &mut Vec<String>) -> Option<String> {
    strictly(path).map_err(|error| faults.push(error.at(path))).ok()
}

fn host_name() -> Result<String, String> {
    let name = nix::unistd::gethostname()
        .map_err(|error| format!("the host's name can't be read: {error}; hint: set `host`"))?;
    Ok(name.to_string_lossy().split('.').next().unwrap_or_default().to_lowercase())
}
