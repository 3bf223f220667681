//! `config.yaml` as written, and the defaults.
//!
//! It accepts each value as it is; `read.rs` reports invalid ones. Besides `read.rs`, only the test that compares `keys.rs`
//! with these types uses it.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use jit_directory::{Kind, Rule};
use serde::Deserialize;

use crate::ca::{KeyPlace, PinPlace, TokenPlace};
use crate::grant::request::{ClusterName, PersonName, Window};
use crate::grant::times::{Rates, Times};
use crate::grant::{DaemonUser, GatewayUser, Impersonation};
use crate::people::{Declared, DirectoryRule, Identity, Provider};
use crate::secret::Place;

use super::Config;

/// `config.yaml` as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ConfigFile {
    pub(super) host: Option<String>,
    #[serde(default = "default_socket")]
    pub(super) socket: PathBuf,
    pub(super) admin_socket: Option<PathBuf>,
    #[serde(default = "default_state")]
    pub(super) state: PathBuf,
    #[serde(default = "default_sessions")]
    pub(super) sessions: PathBuf,
    #[serde(default = "default_policy")]
    pub(super) policy: PathBuf,
    pub(super) guardrails: Option<PathBuf>,
    #[serde(default)]
    pub(super) auditors: Vec<String>,
    #[serde(default)]
    pub(super) admins: Vec<String>,
    #[serde(default)]
    pub(super) times: TimesFile,
    #[serde(default)]
    pub(super) rates: RatesFile,
    #[serde(default)]
    pub(super) strict_people: bool,
    #[serde(default)]
    pub(super) people: Vec<PersonFile>,
    pub(super) notify: Option<String>,
    #[serde(default)]
    pub(super) providers: Vec<ProviderFile>,
    pub(super) clusters: Vec<ClusterFile>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct TimesFile {
    pub(super) answer: Option<Window>,
    pub(super) collect: Option<Window>,
    pub(super) certificate: Option<Window>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RatesFile {
    pub(super) calls: Option<NonZeroU32>,
    pub(super) requests: Option<NonZeroU32>,
    pub(super) certificates: Option<NonZeroU32>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PersonFile {
    pub(super) name: PersonName,
    #[serde(default)]
    pub(super) uids: Vec<u32>,
    #[serde(default)]
    pub(super) identities: Vec<IdentityFile>,
    #[serde(default)]
    pub(super) groups: BTreeSet<String>,
    #[serde(default)]
    pub(super) host_groups: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct IdentityFile {
    pub(super) issuer: String,
    pub(super) subject: String,
}

/// An identity provider whose people `jit-frontend` lets in.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ProviderFile {
    pub(super) issuer: String,
    #[serde(default)]
    pub(super) groups: BTreeSet<String>,
    pub(super) fresh: Option<Window>,
    pub(super) directory: Option<DirectoryFile>,
}

/// The directory of an identity provider.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DirectoryFile {
    pub(super) keycloak: Option<String>,
    pub(super) microsoft_graph: Option<String>,
    pub(super) client_id: String,
    pub(super) secret: Place,
    pub(super) groups: BTreeMap<String, String>,
    pub(super) stale_after: Option<Window>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ClusterFile {
    pub(super) name: ClusterName,
    pub(super) server: String,
    pub(super) certificate_authority: PathBuf,
    pub(super) authority: Option<PathBuf>,
    pub(super) kubeconfig: Option<PathBuf>,
    pub(super) context: Option<String>,
    pub(super) daemon_user: Option<DaemonUser>,
    pub(super) key: Option<KeyFile>,
    #[serde(default)]
    pub(super) access: AccessFile,
    pub(super) gateway_user: Option<GatewayUser>,
    pub(super) impersonation: Option<Impersonation>,
}

/// How people reach the API server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) enum AccessFile {
    /// With their certificates.
    #[default]
    Direct,
    /// Through the gateway, which acts in their name.
    Gateway,
}

impl TryFrom<String> for AccessFile {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "direct" => Ok(Self::Direct),
            "gateway" => Ok(Self::Gateway),
            other => Err(format!("`{}`: `access` is `direct` or `gateway`", other.escape_default())),
        }
    }
}

/// The place of an issuing key that is not in the authority's folder.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) enum KeyFile {
    Credential(String),
    Pkcs11(TokenFile),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct TokenFile {
    pub(super) module: PathBuf,
    pub(super) token: String,
    pub(super) object: String,
    pub(super) pin_credential: Option<String>,
    pub(super) pin_file: Option<PathBuf>,
}

pub(super) fn default_socket() -> PathBuf {
    PathBuf::from("/run/jitd/api.sock")
}

pub(super) fn default_sessions() -> PathBuf {
    crate::sessions::FOLDER.into()
}

pub(super) fn default_state() -> PathBuf {
    PathBuf::from("/var/lib/jitd")
}

pub(super) fn default_policy() -> PathBuf {
    PathBuf::from("policy.yaml")
}

impl From<TimesFile> for Times {
    fn from(file: TimesFile) -> Self {
        Self {
            answer: file.answer.unwrap_or(Window::HOUR),
            collect: file.collect.unwrap_or(Window::TEN_MINUTES),
            certificate: file.certificate.unwrap_or(Window::QUARTER_OF_AN_HOUR),
        }
    }
}

/// People and their scripts stay far below these limits, and one account cannot starve the others: see the benchmark
/// `hostile`.
pub(super) const CALLS: NonZeroU32 = NonZeroU32::new(1200).unwrap();
pub(super) const REQUESTS: NonZeroU32 = NonZeroU32::new(20).unwrap();
pub(super) const CERTIFICATES: NonZeroU32 = NonZeroU32::new(30).unwrap();

impl From<RatesFile> for Rates {
    fn from(file: RatesFile) -> Self {
        Self {
            calls: file.calls.unwrap_or(CALLS),
            requests: file.requests.unwrap_or(REQUESTS),
            certificates: file.certificates.unwrap_or(CERTIFICATES),
        }
    }
}

impl From<PersonFile> for Declared {
    fn from(file: PersonFile) -> Self {
        let PersonFile { name, uids, identities, groups, host_groups } = file;
        let identities = identities.into_iter().map(Identity::from).collect();
        Self { name, uids, identities, groups, host_groups }
    }
}

impl From<IdentityFile> for Identity {
    fn from(IdentityFile { issuer, subject }: IdentityFile) -> Self {
        Self { issuer, subject }
    }
}

impl ProviderFile {
    /// Relative paths are resolved against `base`.
    pub(super) fn provider(self, base: &Path) -> Result<Provider, String> {
        let Self { issuer, groups, fresh, directory } = self;
        let directory = directory.map(|file| file.rule(&issuer, &groups, base)).transpose();
        let directory = directory.map_err(|why| format!("`directory`: {why}"))?;
        Ok(Provider { issuer, groups, fresh: fresh.unwrap_or(Window::TEN_MINUTES), directory })
    }
}

impl DirectoryFile {
    fn rule(self, issuer: &str, of_provider: &BTreeSet<String>, base: &Path) -> Result<DirectoryRule, String> {
        let (kind, url) = match (&self.keycloak, &self.microsoft_graph) {
            (Some(url), None) => (Kind::Keycloak, url),
            (None, Some(url)) => (Kind::Graph, url),
            _ => return Err("write either `keycloak` or `microsoftGraph`".to_owned()),
        };
        let secret = match self.secret {
            Place::File(path) => Place::File(base.join(path)),
            credential @ Place::Credential(_) => credential,
        };
        // A group that the directory never names would be lost with its first answer.
        let mapped: BTreeSet<String> = self.groups.values().cloned().collect();
        if let Some(group) = of_provider.symmetric_difference(&mapped).next() {
            return Err(format!(
                "`groups` must name each group of the provider and no other, but `{group}` is in one list only"
            ));
        }
        let rule = Rule::new(kind, issuer, url, &self.client_id, secret, self.groups)?;
        Ok(DirectoryRule { rule, stale_after: self.stale_after.unwrap_or(Window::TEN_MINUTES) })
    }
}

impl KeyFile {
    /// Relative paths are resolved against `base`.
    pub(super) fn place(self, base: &Path) -> Result<KeyPlace, String> {
        let TokenFile { module, token, object, pin_credential, pin_file } = match self {
            Self::Credential(name) => return Ok(KeyPlace::Credential(name.parse()?)),
            Self::Pkcs11(token) => token,
        };
        // A token's label has 32 bytes, padded with blanks (PKCS#11 3.1 section 3.3.4).
        if token.is_empty() || token.len() > 32 || token.ends_with(' ') || object.is_empty() {
            return Err(
                "`token` must be a label of 1 to 32 bytes that does not end with a blank, and `object` a label"
                    .to_owned(),
            );
        }
        let pin = match (pin_credential, pin_file) {
            (Some(name), None) => PinPlace::Credential(name.parse()?),
            (None, Some(path)) => PinPlace::File(base.join(path)),
            _ => return Err("write either `pinCredential` or `pinFile`".to_owned()),
        };
        Ok(KeyPlace::Token(TokenPlace { module: base.join(module), token, object, pin }))
    }
}

impl Config {
    /// The admin socket of the daemon with the configuration at `path`. Other faults of the file do not matter: they must
    /// not keep an operator from stopping the daemon.
    ///
    /// # Errors
    /// The file cannot be read, or is not YAML.
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
}

/// The admin socket: as written, or next to the other socket.
pub(super) fn beside(socket: &Path, written: Option<&Path>) -> PathBuf {
    written.map_or_else(|| socket.with_file_name("admin.sock"), Path::to_owned)
}
