//! The gateway's own file, `/etc/jit-gateway/config.yaml`.
//!
//! ```yaml
//! listen: 127.0.0.1:6444             # where it accepts connections, unless systemd hands the socket over
//! server: https://127.0.0.1:6444     # the URL that people get; the serving certificate has its host name
//! feed: /run/jitd/feed.sock          # the socket of jitd
//! state: /var/lib/jit-gateway        # the root of the serving certificate
//! clusters:
//! - {name: managed, kubeconfig: /etc/jit-gateway/managed.kubeconfig}
//! recordings: {recipients: [age1…]}  # who alone can read what is recorded from now on
//! ```
//! An unknown key is refused.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use jit_core::grant::request::ClusterName;
use jit_host::configuration::{self, ConfigError};
use jit_seal::Recipient;
use jit_serving::host_of;
use serde::Deserialize;

/// The configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it accepts connections, unless systemd hands the socket over.
    pub listen: Option<SocketAddr>,
    /// The URL that people get.
    pub server: String,
    /// The host name or address in `server`.
    pub host: String,
    /// The socket of the daemon.
    pub feed: PathBuf,
    /// The folder of the serving authority.
    pub state: PathBuf,
    /// The kubeconfigs of the clusters.
    pub clusters: BTreeMap<ClusterName, ClusterConfig>,
    /// Who can open recordings; without anybody they are not sealed.
    pub recipients: Vec<Recipient>,
}

/// How the gateway reaches a cluster.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// The kubeconfig.
    pub kubeconfig: PathBuf,
    /// Its context; the current one if absent.
    pub context: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    listen: Option<SocketAddr>,
    server: String,
    #[serde(default = "feed")]
    feed: PathBuf,
    #[serde(default = "state")]
    state: PathBuf,
    clusters: Vec<ClusterFile>,
    recordings: Option<RecordingsFile>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RecordingsFile {
    recipients: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ClusterFile {
    name: ClusterName,
    kubeconfig: PathBuf,
    context: Option<String>,
}

fn feed() -> PathBuf {
    "/run/jitd/feed.sock".into()
}

fn state() -> PathBuf {
    "/var/lib/jit-gateway".into()
}

impl Config {
    /// Reads the file. Paths in it are relative to its folder.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let fault = |why: String| ConfigError::new(path, &why);
        let file: File = configuration::read(path, "gateway.md")?;
        let folder = path.parent().unwrap_or(Path::new("."));
        let host = host_of(&file.server)
            .ok_or_else(|| fault(format!("`server` must be `https://HOST[:PORT]`, not `{}`", file.server)))?;
        let mut clusters = BTreeMap::new();
        for ClusterFile { name, kubeconfig, context } in file.clusters {
            let cluster = ClusterConfig { kubeconfig: folder.join(kubeconfig), context };
            if clusters.insert(name.clone(), cluster).is_some() {
                return Err(fault(format!("cluster `{name}` is listed twice")));
            }
        }
        if clusters.is_empty() {
            return Err(fault("`clusters` is empty".to_owned()));
        }
        let mut recipients = Vec::new();
        if let Some(recordings) = file.recordings {
            for written in &recordings.recipients {
                let recipient = written.parse();
                recipients.push(recipient.map_err(|error| fault(format!("`recordings.recipients`: {error}")))?);
            }
            // Nobody may take them for sealed.
            if recipients.is_empty() {
                return Err(fault("`recordings.recipients` is empty".to_owned()));
            }
        }
        Ok(Self {
            listen: file.listen,
            server: file.server.trim_end_matches('/').to_owned(),
            host,
            feed: folder.join(file.feed),
            state: folder.join(file.state),
            clusters,
            recipients,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where recordings are to be sealed, they are, or the gateway does not start.
    #[test]
    fn recipients_are_keys_of_age() {
        let key = jit_seal::Identity::generate().unwrap().recipient().to_string();
        let path = std::env::temp_dir().join(format!("jit-gateway-config-{}", std::process::id()));
        let read = |recordings: &str| {
            let text = format!("server: https://h\nclusters: [{{name: prod, kubeconfig: k}}]\n{recordings}\n");
            std::fs::write(&path, text).unwrap();
            Config::read(&path).map(|config| config.recipients.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        assert_eq!(read("").unwrap(), Vec::<String>::new());
        assert_eq!(read(&format!("recordings: {{recipients: [{key}]}}")).unwrap(), std::slice::from_ref(&key));
        for (bad, why) in [
            ("recordings: {recipients: []}", "`recordings.recipients` is empty"),
            ("recordings: {}", "recipients"),
            ("recordings: {recipients: [age1x]}", "`recordings.recipients`: a recipient is `age1` and 58 characters"),
            (&format!("recordings: {{recipients: [{key}], sealed: false}}"), "sealed"),
        ] {
            let error = read(bad).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        std::fs::remove_file(path).unwrap();
    }
}
