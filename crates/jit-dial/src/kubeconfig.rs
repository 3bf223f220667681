//! A kubeconfig as it is written: the file's keys, and which of them this crate supports.
//!
//! Every key that kubectl knows is either supported or refused by its name, and a key that kubectl does not know is
//! refused too: a key that is passed over could be the one that says where to connect, whom to trust or who we are.
//! Only the entries of the chosen context are examined; a kubeconfig often has others that nobody here uses. It opens no
//! file: `settings` does, and is its only caller.
//!
//! The keys are those of `k8s.io/client-go/tools/clientcmd/api/v1`, version 0.36.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use jit_host::files::FileError;
use jit_host::hint::{Hint, page};
use jit_host::placeholder::Placeholder;

/// A kubeconfig, or a file that it names, cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KubeconfigError {
    /// The kubeconfig or a file that it names cannot be read, or others could have written it.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is not a kubeconfig, or has a key that kubectl does not know.
    #[error("`{}`: {why}", path.display())]
    Malformed {
        /// The kubeconfig.
        path: PathBuf,
        /// What is wrong, and where.
        why: String,
    },
    /// `jitd init` left a value to an administrator, who has not filled it in yet.
    #[error("`{}`, {placeholder}", path.display())]
    Unfilled {
        /// The kubeconfig.
        path: PathBuf,
        /// The first placeholder.
        placeholder: Placeholder,
    },
    /// No context was chosen, and the file has no current one.
    #[error("`{}` has no `current-context`", path.display())]
    NoContext {
        /// The kubeconfig.
        path: PathBuf,
    },
    /// It refers to an entry that it does not contain.
    #[error("`{}` contains no {kind} `{name}`", path.display())]
    Missing {
        /// The kubeconfig.
        path: PathBuf,
        /// `context`, `cluster` or `user`.
        kind: &'static str,
        /// The name that was looked for.
        name: String,
    },
    /// It says something that kubectl understands and this crate does not support.
    #[error("`{}`: {entry} has `{key}`, which is not supported", path.display())]
    Unsupported {
        /// The kubeconfig.
        path: PathBuf,
        /// The entry, for example ``user `admin` ``.
        entry: String,
        /// The key.
        key: &'static str,
        /// What to write instead.
        instead: &'static str,
    },
    /// The value of a key cannot be used.
    #[error("`{}`: {entry}: `{key}` {why}", path.display())]
    Unusable {
        /// The kubeconfig.
        path: PathBuf,
        /// The entry, for example ``cluster `prod` ``.
        entry: String,
        /// The key, or the file or environment variable that stands for it.
        key: String,
        /// What is wrong, as the rest of a sentence that begins with the key.
        why: String,
    },
}

impl Hint for KubeconfigError {
    fn hint(&self) -> Option<std::borrow::Cow<'static, str>> {
        match self {
            Self::File(error) => error.hint(),
            Self::NoContext { .. } => Some("name a context".into()),
            Self::Unfilled { .. } => Some(format!("write the value in its place, see {}", page("managed.md")).into()),
            Self::Unsupported { instead, .. } => Some((*instead).into()),
            Self::Malformed { .. } | Self::Missing { .. } | Self::Unusable { .. } => None,
        }
    }
}

/// The context of a kubeconfig that was chosen, with its cluster and user.
pub(crate) struct Chosen {
    pub(crate) cluster: Entry<Cluster>,
    pub(crate) user: Option<Entry<User>>,
}

/// An entry, and how messages name it.
pub(crate) struct Entry<T> {
    pub(crate) file: PathBuf,
    pub(crate) name: String,
    pub(crate) form: T,
}

impl<T> Entry<T> {
    /// The error for a value that cannot be used.
    pub(crate) fn unusable(&self, key: impl Into<String>, why: impl Into<String>) -> KubeconfigError {
        KubeconfigError::Unusable {
            path: self.file.clone(),
            entry: self.name.clone(),
            key: key.into(),
            why: why.into(),
        }
    }

    /// An error if one of the keys is set.
    fn refuse(&self, keys: &[(&'static str, bool, &'static str)]) -> Result<(), KubeconfigError> {
        match keys.iter().find(|(_, is_set, _)| *is_set) {
            Some((key, _, instead)) => {
                Err(KubeconfigError::Unsupported { path: self.file.clone(), entry: self.name.clone(), key, instead })
            }
            None => Ok(()),
        }
    }

    /// One of two keys, of which only one may be set.
    pub(crate) fn either<'a>(
        &self,
        one: (&'static str, &'a Option<String>),
        other: (&'static str, &'a Option<String>),
    ) -> Result<(Option<&'a str>, Option<&'a str>), KubeconfigError> {
        match (text(one.1), text(other.1)) {
            (Some(_), Some(_)) => {
                Err(self.unusable(one.0, format!("and `{}` are both set; keep one of them", other.0)))
            }
            found => Ok(found),
        }
    }
}

/// A value; kubectl takes an empty one for none.
pub(crate) fn text(value: &Option<String>) -> Option<&str> {
    value.as_deref().filter(|value| !value.is_empty())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "apiVersion")]
    api_version: Option<String>,
    kind: Option<String>,
    #[serde(rename = "preferences")]
    _preferences: Option<Value>,
    #[serde(rename = "extensions")]
    _extensions: Option<Value>,
    #[serde(rename = "current-context")]
    current_context: Option<String>,
    contexts: Option<Vec<NamedContext>>,
    clusters: Option<Vec<NamedCluster>>,
    users: Option<Vec<NamedUser>>,
}

// The entries stay values, because only those that are used have to be understood.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NamedContext {
    name: String,
    context: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NamedCluster {
    name: String,
    cluster: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NamedUser {
    name: String,
    user: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Context {
    cluster: Option<String>,
    user: Option<String>,
    // For kubectl's commands, not for connecting.
    #[serde(rename = "namespace")]
    _namespace: Option<String>,
    #[serde(rename = "extensions")]
    _extensions: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Cluster {
    pub(crate) server: Option<String>,
    pub(crate) tls_server_name: Option<String>,
    pub(crate) certificate_authority: Option<String>,
    pub(crate) certificate_authority_data: Option<String>,
    pub(crate) proxy_url: Option<String>,
    insecure_skip_tls_verify: Option<bool>,
    /// We ask for no compression and undo none, so both values mean the same to us; a plugin is told.
    pub(crate) disable_compression: Option<bool>,
    extensions: Option<Vec<Extension>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Extension {
    name: String,
    extension: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct User {
    pub(crate) client_certificate: Option<String>,
    pub(crate) client_certificate_data: Option<String>,
    pub(crate) client_key: Option<String>,
    pub(crate) client_key_data: Option<String>,
    pub(crate) token: Option<String>,
    #[serde(rename = "tokenFile")]
    pub(crate) token_file: Option<String>,
    pub(crate) exec: Option<Exec>,
    r#as: Option<String>,
    as_uid: Option<String>,
    as_groups: Option<Vec<String>>,
    as_user_extra: Option<Value>,
    username: Option<String>,
    password: Option<String>,
    auth_provider: Option<Value>,
    #[serde(rename = "extensions")]
    _extensions: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Exec {
    pub(crate) command: String,
    pub(crate) args: Option<Vec<String>>,
    pub(crate) env: Option<Vec<Variable>>,
    pub(crate) api_version: Option<String>,
    pub(crate) install_hint: Option<String>,
    #[serde(default)]
    pub(crate) provide_cluster_info: bool,
    pub(crate) interactive_mode: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Variable {
    pub(crate) name: String,
    pub(crate) value: String,
}

/// The name of the extension that is meant for plugins (`client.authentication.k8s.io`, `Cluster.Config`).
const FOR_PLUGINS: &str = "client.authentication.k8s.io/exec";

impl Cluster {
    /// What the file has for plugins in particular.
    pub(crate) fn for_plugins(&self) -> Option<&Value> {
        let mut extensions = self.extensions.iter().flatten();
        extensions.find(|extension| extension.name == FOR_PLUGINS).map(|extension| &extension.extension)
    }
}

/// The names of the contexts in the contents of the kubeconfig at `path`.
pub(crate) fn contexts(path: &Path, contents: &str) -> Result<Vec<String>, KubeconfigError> {
    let malformed = |why: String| KubeconfigError::Malformed { path: path.to_owned(), why };
    let file: File = serde_saphyr::from_str(contents).map_err(|why: serde_saphyr::Error| malformed(first_line(why)))?;
    Ok(file.contexts.into_iter().flatten().map(|context| context.name).collect())
}

/// Reads the contents of the kubeconfig at `path`, and chooses a context: `context`, or the current one.
pub(crate) fn choose(path: &Path, contents: &str, context: Option<&str>) -> Result<Chosen, KubeconfigError> {
    let malformed = |why: String| KubeconfigError::Malformed { path: path.to_owned(), why };
    let missing = |kind, name: &str| KubeconfigError::Missing { path: path.to_owned(), kind, name: name.to_owned() };
    let file: File = serde_saphyr::from_str(contents).map_err(|why: serde_saphyr::Error| malformed(first_line(why)))?;
    if file.api_version.as_deref().is_some_and(|version| version != "v1")
        || file.kind.as_deref().is_some_and(|kind| kind != "Config")
    {
        return Err(malformed("is not a `Config` of apiVersion `v1`".to_owned()));
    }
    let none = || KubeconfigError::NoContext { path: path.to_owned() };
    let name = context.or(text(&file.current_context)).ok_or_else(none)?;
    let found = file.contexts.into_iter().flatten().find(|other| other.name == name);
    let context = found.and_then(|found| found.context).ok_or_else(|| missing("context", name))?;
    let context: Entry<Context> = entry(path, format!("context `{name}`"), context)?;

    let name = text(&context.form.cluster).ok_or_else(|| context.unusable("cluster", "is not set"))?;
    let found = file.clusters.into_iter().flatten().find(|other| other.name == name);
    let cluster = found.and_then(|found| found.cluster).ok_or_else(|| missing("cluster", name))?;
    let cluster: Entry<Cluster> = entry(path, format!("cluster `{name}`"), cluster)?;
    cluster.refuse(&[(
        "insecure-skip-tls-verify",
        cluster.form.insecure_skip_tls_verify == Some(true),
        "set `certificate-authority` to the authority that signed the API server's certificate",
    )])?;

    let Some(name) = text(&context.form.user) else { return Ok(Chosen { cluster, user: None }) };
    let found = file.users.into_iter().flatten().find(|other| other.name == name);
    let user = found.and_then(|found| found.user).ok_or_else(|| missing("user", name))?;
    let user: Entry<User> = entry(path, format!("user `{name}`"), user)?;
    let form = &user.form;
    let impersonates = "name a user that has the rights itself";
    user.refuse(&[
        ("auth-provider", form.auth_provider.is_some(), "use the provider's plugin for `exec`"),
        ("username", text(&form.username).is_some(), "API servers accept no passwords; use a certificate or a token"),
        ("password", text(&form.password).is_some(), "API servers accept no passwords; use a certificate or a token"),
        ("as", text(&form.r#as).is_some(), impersonates),
        ("as-uid", text(&form.as_uid).is_some(), impersonates),
        ("as-groups", form.as_groups.as_ref().is_some_and(|groups| !groups.is_empty()), impersonates),
        ("as-user-extra", form.as_user_extra.is_some(), impersonates),
    ])?;
    Ok(Chosen { cluster, user: Some(user) })
}

fn entry<T: DeserializeOwned>(file: &Path, name: String, value: Value) -> Result<Entry<T>, KubeconfigError> {
    match serde_json::from_value(value) {
        Ok(form) => Ok(Entry { file: file.to_owned(), name, form }),
        // No value is in these messages, only names of keys and of types, except for a value of the wrong type.
        Err(why) => Err(KubeconfigError::Malformed {
            path: file.to_owned(),
            why: format!("{name}: {}", without_value(&why.to_string())),
        }),
    }
}

/// The message without the value that has the wrong type, which could be a secret.
fn without_value(message: &str) -> String {
    match message.strip_prefix("invalid type: ").and_then(|rest| rest.rsplit_once(", expected ")) {
        Some((_, expected)) => format!("a value has the wrong type, expected {expected}"),
        None => message.to_owned(),
    }
}

/// The parser shows the lines around a mistake, and they may contain secrets.
fn first_line(why: serde_saphyr::Error) -> String {
    why.to_string().lines().next().unwrap_or("is not YAML").to_owned()
}
