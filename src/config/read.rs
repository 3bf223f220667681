//! Parses `config.yaml` into a `Config`.
//!
//! It reports all faults at once, and does not use a file with faults at all. The mains call it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use jit_dial::KubeconfigError;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_saphyr::Spanned;

use crate::ca::KeyPlace;
use crate::configuration;
use crate::grant::policy::{Loaded, Policy};
use crate::grant::request::ClusterName;
use crate::grant::{ActingGateway, DaemonUser};
use crate::hint::{Hint, page};
use crate::people::{Declared, People, Provider};
use crate::placeholder;

use super::file::{AccessFile, ClusterFile, ConfigFile, beside};
use super::policy_files::strictly;
use super::{ClusterConfig, Config, Fault, Faults, HostName, KubeconfigAt, NoHostName, PolicyFiles};

impl Config {
    /// Reads the configuration at `path`, and the policy and guardrails that it names.
    ///
    /// # Errors
    /// All faults of these files.
    pub fn read(path: &Path) -> Result<Self, Faults> {
        Self::read_with(path, Placeholders::Refused, PolicyFiles::read_for)
    }

    /// The same for `jitd init`, which writes placeholders itself: they are no faults, and a kubeconfig that has some is not
    /// read.
    ///
    /// # Errors
    /// All other faults of these files.
    pub fn read_with_placeholders(path: &Path) -> Result<Self, Faults> {
        Self::read_with(path, Placeholders::Allowed, PolicyFiles::read_for)
    }

    /// The same with an empty policy instead of the policy's files, to examine the rest if those files have faults.
    ///
    /// # Errors
    /// All faults of `path` itself.
    pub fn read_without_policy(path: &Path) -> Result<Self, Faults> {
        Self::read_with(path, Placeholders::Refused, |_, _| {
            let policy = Policy::read("rules: []", None).map_err(|faults| {
                Faults(faults.iter().map(|fault| Fault::of_policy(fault, Path::new("no policy"))).collect())
            })?;
            Ok(Loaded { policy, policy_sha256: String::new(), guardrails_sha256: None })
        })
    }

    fn read_with(
        path: &Path,
        placeholders: Placeholders,
        read_policy: impl FnOnce(&PolicyFiles, Option<&BTreeMap<ClusterName, ClusterConfig>>) -> Result<Loaded, Faults>,
    ) -> Result<Self, Faults> {
        let text = strictly(path).map_err(|error| {
            let hint = error.is_absence().then_some("`jitd init` writes it".into());
            let fault = error.at(path);
            Faults(vec![Fault { hint: hint.or(fault.hint), ..fault }])
        })?;
        let misread = |error| {
            let error = configuration::misread(path, &error);
            Faults(vec![Fault { why: error.to_string(), hint: error.hint() }])
        };
        let file = serde_saphyr::from_str(&text).map_err(misread)?;
        let entries = serde_saphyr::from_str(&text).map_err(misread)?;
        let written = Written { path, file, entries, placeholders };
        let mut faults = written.unfilled(&text);
        faults.extend(written.sockets());
        let host = written.host().map_err(|fault| faults.push(fault)).ok();
        faults.extend(written.people());
        let (providers, wrong) = written.providers();
        faults.extend(wrong);
        let (clusters, wrong) = written.clusters();
        let known = wrong.is_empty().then_some(&clusters);
        faults.extend(wrong);
        let policy_files = written.policy_files();
        let policy = read_policy(&policy_files, known).map_err(|Faults(wrong)| faults.extend(wrong)).ok();
        match (host, policy) {
            (Some(host), Some(Loaded { policy, policy_sha256, guardrails_sha256 })) if faults.is_empty() => Ok(Self {
                host,
                admin_socket: written.at(&beside(&written.file.socket, written.file.admin_socket.as_deref())),
                socket: written.at(&written.file.socket),
                state: written.at(&written.file.state),
                sessions: written.at(&written.file.sessions),
                policy_files,
                policy,
                policy_sha256,
                guardrails_sha256,
                times: written.file.times.into(),
                rates: written.file.rates.into(),
                people: People::new(
                    written.file.people.into_iter().map(Declared::from).collect(),
                    written.file.strict_people,
                )
                .with_providers(providers),
                auditors: written.file.auditors,
                admins: written.file.admins,
                notify: written.file.notify,
                clusters,
            }),
            _ => Err(Faults(faults)),
        }
    }
}

/// `config.yaml` as written, and its path. Each method reports the faults of its part.
struct Written<'a> {
    path: &'a Path,
    file: ConfigFile,
    entries: Entries,
    placeholders: Placeholders,
}

/// Where in the file its entries begin; its other keys are ignored.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entries {
    host: Option<Entry>,
    admin_socket: Option<Entry>,
    #[serde(default)]
    people: Vec<Entry>,
    #[serde(default)]
    providers: Vec<Entry>,
    #[serde(default)]
    clusters: Vec<Entry>,
}

type Entry = Spanned<IgnoredAny>;

/// What to do about placeholders of `jitd init`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Placeholders {
    Refused,
    Allowed,
}

impl Written<'_> {
    /// A fault of an entry, or of the whole file.
    fn fault(&self, entry: Option<&Entry>, why: impl fmt::Display) -> Fault {
        let path = self.path.display();
        let why = match entry {
            Some(Entry { defined, .. }) => format!("{path}:{}:{}: {why}", defined.line(), defined.column()),
            None => format!("{path}: {why}"),
        };
        Fault { why, hint: None }
    }

    fn fault_with(&self, entry: Option<&Entry>, why: impl fmt::Display, hint: &'static str) -> Fault {
        Fault { hint: Some(hint.into()), ..self.fault(entry, why) }
    }

    /// Resolves a path in the file against the file's folder.
    fn at(&self, path: &Path) -> PathBuf {
        self.folder().join(path)
    }

    fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("."))
    }

    /// The placeholders in the file itself.
    fn unfilled(&self, text: &str) -> Vec<Fault> {
        if self.placeholders == Placeholders::Allowed {
            return Vec::new();
        }
        let hint = format!("write the value in its place, see {}", page("managed.md"));
        let fault =
            |found| Fault { why: format!("`{}`, {found}", self.path.display()), hint: Some(hint.clone().into()) };
        placeholder::in_text(text).map(fault).collect()
    }

    fn sockets(&self) -> Vec<Fault> {
        if self.file.admin_socket.as_ref() == Some(&self.file.socket) {
            vec![self.fault_with(
                self.entries.admin_socket.as_ref(),
                "`adminSocket` and `socket` are the same",
                "remove `adminSocket`",
            )]
        } else {
            Vec::new()
        }
    }

    fn host(&self) -> Result<HostName, Fault> {
        let entry = self.entries.host.as_ref();
        let unknown = |error| self.fault_with(entry, format!("cannot read the host's name: {error}"), "set `host`");
        let name = self.file.host.clone().map_or_else(host_name, Ok).map_err(unknown)?;
        name.parse().map_err(|error| match error {
            NoHostName::Label(error) => self.fault(
                entry,
                format!("`host` is the first label of the host's name, not {}: it {}", error.value, error.why),
            ),
            NoHostName::Long => self.fault(entry, error),
        })
    }

    fn people(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let (mut names, mut uids, mut identities) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for (person, entry) in self.file.people.iter().zip(&self.entries.people) {
            let entry = Some(entry);
            if !names.insert(&person.name) {
                let why = format!("person `{}` is declared twice", person.name);
                faults.push(self.fault_with(entry, why, "list every uid under one entry"));
            }
            if person.name.is_root() {
                faults.push(
                    self.fault(entry, "person `root`: root is not a person, and the trail uses this name for root"),
                );
            }
            if person.uids.is_empty() && person.identities.is_empty() {
                let why = format!("person `{}` has no uid and no identity", person.name);
                faults.push(self.fault_with(entry, why, "`id -u` prints a uid"));
            }
            for identity in &person.identities {
                if !self.file.providers.iter().any(|provider| provider.issuer == identity.issuer) {
                    let why = format!("person `{}`: `{}` is not under `providers`", person.name, identity.issuer);
                    faults.push(self.fault_with(entry, why, "write the issuer exactly as there"));
                }
                if !identities.insert(identity) {
                    let why = format!("the identity `{}` belongs to two people", identity.subject);
                    faults.push(self.fault_with(entry, why, "an identity belongs to one person"));
                }
            }
            for uid in &person.uids {
                if *uid == 0 || *uid == 65534 {
                    faults.push(self.fault(entry, format!("person `{}`: uid {uid} cannot be a person", person.name)));
                }
                if !uids.insert(*uid) {
                    faults.push(self.fault_with(
                        entry,
                        format!("uid {uid} belongs to two people"),
                        "an account belongs to one person",
                    ));
                }
            }
        }
        faults
    }

    fn providers(&self) -> (Vec<Provider>, Vec<Fault>) {
        let (mut providers, mut faults, mut issuers) = (Vec::new(), Vec::new(), BTreeSet::new());
        for (written, entry) in self.file.providers.iter().zip(&self.entries.providers) {
            let entry = Some(entry);
            let issuer = &written.issuer;
            if !issuer.starts_with("https://") {
                faults.push(self.fault(entry, format!("provider `{issuer}`: `issuer` must begin with https://")));
            }
            if !issuers.insert(issuer) {
                faults.push(self.fault(entry, format!("provider `{issuer}` is listed twice")));
            }
            match written.clone().provider(self.folder()) {
                Ok(provider) => providers.push(provider),
                Err(why) => faults.push(self.fault(entry, format!("provider `{issuer}`: {why}"))),
            }
        }
        (providers, faults)
    }

    /// The clusters and their faults. A faulty value is replaced by a placeholder, so that the policy can still be read.
    fn clusters(&self) -> (BTreeMap<ClusterName, ClusterConfig>, Vec<Fault>) {
        let (mut clusters, mut faults) = (BTreeMap::new(), Vec::new());
        if self.file.clusters.is_empty() {
            faults.push(self.fault_with(
                None,
                "`clusters` is empty",
                "add an entry for each cluster that jitd grants access to",
            ));
        }
        for (cluster, entry) in self.file.clusters.iter().zip(&self.entries.clusters) {
            let entry = Some(entry);
            let name = &cluster.name;
            if self.file.clusters.iter().filter(|other| other.name == *name).count() > 1 {
                faults.push(self.fault(entry, format!("cluster `{name}` is listed twice")));
            }
            clusters.insert(name.clone(), self.cluster(cluster, entry, &mut faults));
        }
        (clusters, faults)
    }

    fn cluster(&self, written: &ClusterFile, entry: Option<&Entry>, faults: &mut Vec<Fault>) -> ClusterConfig {
        let ClusterFile { name, server, certificate_authority, authority, kubeconfig, context, key, .. } = written;
        if !server.starts_with("https://") {
            faults.push(self.fault(entry, format!("cluster `{name}`: `server` must begin with https://")));
        }
        let key = key.clone().map_or(Ok(KeyPlace::File), |key| key.place(self.folder()));
        let key = key.map_err(|why| faults.push(self.fault(entry, format!("cluster `{name}`: `key`: {why}"))));
        let gateway = self.gateway(written, entry).map_err(|fault| faults.push(fault));
        let daemon = self.daemon(written, entry).map_err(|fault| faults.push(fault));
        let mut read = |path: &Path| strictly(path).map_err(|error| faults.push(error.at(path)));
        let certificate_authority_path = self.at(certificate_authority);
        let certificate_authority = read(&certificate_authority_path);
        if kubeconfig.is_none() && context.is_some() {
            let why = format!("cluster `{name}`: `context` is set, but `kubeconfig` is not");
            faults.push(self.fault_with(entry, why, "name the kubeconfig that has the context, or remove `context`"));
        }
        let kubeconfig =
            kubeconfig.as_deref().map(|path| KubeconfigAt { path: self.at(path), context: context.clone() });
        match kubeconfig.as_ref().map(KubeconfigAt::read) {
            Some(Err(KubeconfigError::Unfilled { .. })) if self.placeholders == Placeholders::Allowed => {}
            Some(Err(error)) => {
                let why = format!("cluster `{name}`: {error}");
                faults.push(Fault { hint: error.hint(), ..self.fault(entry, why) });
            }
            Some(Ok(_)) | None => {}
        }
        ClusterConfig {
            server: server.clone(),
            certificate_authority: certificate_authority.unwrap_or_default(),
            certificate_authority_path,
            authority: match authority {
                Some(folder) => self.at(folder),
                None => self.at(&self.file.state).join("ca").join(name.as_str()),
            },
            key: key.unwrap_or_default(),
            kubeconfig,
            daemon: daemon.unwrap_or_default(),
            gateway: gateway.unwrap_or_default(),
        }
    }

    /// The gateway, if people reach the cluster through it.
    fn gateway(
        &self,
        ClusterFile { name, access, gateway_user, impersonation, .. }: &ClusterFile,
        entry: Option<&Entry>,
    ) -> Result<Option<ActingGateway>, Fault> {
        match (access, gateway_user) {
            (AccessFile::Direct, None) if impersonation.is_some() => Err(self.fault_with(
                entry,
                format!("cluster `{name}`: `impersonation` is set, but people reach the cluster directly"),
                "add `access: gateway`, or remove `impersonation`",
            )),
            (AccessFile::Direct, None) => Ok(None),
            (AccessFile::Gateway, Some(user)) => {
                let (user, impersonation) = (user.clone(), impersonation.unwrap_or_default());
                Ok(Some(ActingGateway { user, impersonation }))
            }
            (AccessFile::Gateway, None) => Err(self.fault_with(
                entry,
                format!("cluster `{name}`: `access: gateway` needs `gatewayUser`"),
                "set it to the user name that the API server knows the gateway by",
            )),
            (AccessFile::Direct, Some(_)) => Err(self.fault_with(
                entry,
                format!("cluster `{name}`: `gatewayUser` is set, but people reach the cluster directly"),
                "add `access: gateway`, or remove `gatewayUser`",
            )),
        }
    }

    /// The daemon's user, if it is not the one of its own certificate.
    fn daemon(
        &self,
        ClusterFile { name, kubeconfig, daemon_user, gateway_user, .. }: &ClusterFile,
        entry: Option<&Entry>,
    ) -> Result<Option<DaemonUser>, Fault> {
        let Some(user) = daemon_user else { return Ok(None) };
        if kubeconfig.is_none() {
            return Err(self.fault_with(
                entry,
                format!("cluster `{name}`: `daemonUser` is set, but the daemon signs a certificate for itself"),
                "name the kubeconfig whose user that is, or remove `daemonUser`",
            ));
        }
        if gateway_user.as_ref().is_some_and(|gateway| gateway.as_str() == user.as_str()) {
            return Err(self.fault_with(
                entry,
                format!("cluster `{name}`: `daemonUser` and `gatewayUser` are the same"),
                "give the daemon and the gateway a user each: a stolen credential of the gateway could create grants",
            ));
        }
        Ok(Some(user.clone()))
    }

    fn policy_files(&self) -> PolicyFiles {
        let ConfigFile { policy, guardrails, .. } = &self.file;
        PolicyFiles { policy: self.at(policy), guardrails: guardrails.as_deref().map(|path| self.at(path)) }
    }
}

fn host_name() -> nix::Result<String> {
    let name = nix::unistd::gethostname()?;
    Ok(name.to_string_lossy().split('.').next().unwrap_or_default().to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRONG: &str = r#"host: bastion.example.com
socket: /run/a.sock
adminSocket: /run/a.sock
people:
  - {name: alice, uids: [0]}
  - {name: alice, uids: []}
  - {name: bob, uids: [4001]}
  - {name: carol, uids: [4001], identities: [{issuer: "https://id.example/", subject: "1"}]}
providers:
  - {issuer: "https://id.example", groups: [leads]}
  - {issuer: "http://id.example"}
  - {issuer: "https://id.example"}
  - {issuer: "https://kc.example/realms/corp", groups: [leads], directory: {keycloak: "https://kc.example/admin/realms/corp", clientId: jitd, secret: {file: s}, groups: {/oncall: oncall, /leads: leads}}}
clusters:
  - {name: prod, server: "http://10.0.0.1", certificateAuthority: none.crt, key: {credential: .no}}
  - {name: test, server: "https://10.0.0.2", certificateAuthority: none.crt, kubeconfig: none.yaml}
  - {name: test, server: "https://10.0.0.2", certificateAuthority: none.crt, context: blue}
  - {name: lab, server: "https://10.0.0.3", certificateAuthority: none.crt, access: gateway}
  - {name: old, server: "https://10.0.0.4", certificateAuthority: none.crt, gatewayUser: gw}
  - {name: new, server: "https://10.0.0.4", certificateAuthority: none.crt, impersonation: constrained}
  - {name: own, server: "https://10.0.0.5", certificateAuthority: none.crt, daemonUser: a@example.com}
  - {name: one, server: "https://10.0.0.6", certificateAuthority: none.crt, kubeconfig: none.yaml, daemonUser: gw, gatewayUser: gw, access: gateway}
"#;

    /// In the order of the file, the policy's faults last; no fault hides another.
    #[test]
    fn all_faults_are_reported_at_once() {
        let folder = std::env::temp_dir().join(format!("jitd-config-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("config.yaml");
        std::fs::write(&path, WRONG).unwrap();
        std::fs::write(folder.join("policy.yaml"), "rules: 1\n").unwrap();
        let Faults(faults) = Config::read(&path).unwrap_err();
        let without_policy = Config::read_without_policy(&path).unwrap_err().0.len();
        std::fs::remove_dir_all(&folder).unwrap();
        let wanted = [
            ("config.yaml:3:14: ", "`adminSocket` and `socket` are the same"),
            ("config.yaml:1:7: ", "`host` is the first label of the host's name, not"),
            ("config.yaml:5:5: ", "person `alice`: uid 0"),
            ("config.yaml:6:5: ", "person `alice` is declared twice"),
            ("config.yaml:6:5: ", "person `alice` has no uid"),
            ("config.yaml:8:5: ", "person `carol`: `https://id.example/` is not under `providers`"),
            ("config.yaml:8:5: ", "uid 4001 belongs to two people"),
            ("config.yaml:11:5: ", "provider `http://id.example`: `issuer` must begin with https://"),
            ("config.yaml:12:5: ", "provider `https://id.example` is listed twice"),
            (
                "config.yaml:13:5: ",
                "`directory`: `groups` must name each group of the provider and no other, but `oncall`",
            ),
            ("config.yaml:15:5: ", "cluster `prod`: `server` must begin with https://"),
            ("config.yaml:15:5: ", "cluster `prod`: `key`: a credential's name"),
            ("none.crt", "does not exist"),
            ("config.yaml:16:5: ", "cluster `test` is listed twice"),
            ("none.crt", "does not exist"),
            ("none.yaml", "No such file"),
            ("config.yaml:17:5: ", "cluster `test` is listed twice"),
            ("none.crt", "does not exist"),
            ("config.yaml:17:5: ", "cluster `test`: `context` is set, but `kubeconfig` is not"),
            ("config.yaml:18:5: ", "cluster `lab`: `access: gateway` needs `gatewayUser`"),
            ("none.crt", "does not exist"),
            ("config.yaml:19:5: ", "cluster `old`: `gatewayUser` is set"),
            ("none.crt", "does not exist"),
            ("config.yaml:20:5: ", "cluster `new`: `impersonation` is set"),
            ("none.crt", "does not exist"),
            ("config.yaml:21:5: ", "cluster `own`: `daemonUser` is set"),
            ("none.crt", "does not exist"),
            ("config.yaml:22:5: ", "cluster `one`: `daemonUser` and `gatewayUser` are the same"),
            ("none.crt", "does not exist"),
            ("none.yaml", "No such file"),
            ("policy.yaml", "rules: is a number"),
        ];
        for (fault, (file, why)) in faults.iter().zip(wanted) {
            assert!(fault.why.contains(file) && fault.why.contains(why), "{fault}: {file}: {why}");
        }
        assert_eq!((faults.len(), without_policy), (wanted.len(), wanted.len() - 1), "{faults:#?}");
    }
}
