//! Whether kubectl works with a grant, by running it as the person would: with their kuberc, their plugins' rules, and the
//! questions that it asks a cluster before any other.
//!
//! It asks the API server for `/api`, which everybody may who may discover anything. It judges by kubectl's exit code; its
//! words are passed on, and looked at for a hint only. `verbs` says what it finds after "ready", and `doctor` too.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use crate::kubeconfig::own_path;
use crate::text::{program, safe};

/// What kubectl did not do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// In kubectl's words.
    pub(crate) what: String,
    /// What to do.
    pub(crate) hint: String,
}

/// A server that does not answer for so long is no answer either.
const LIMIT: Duration = Duration::from_secs(15);

/// What goes wrong when kubectl is used with this kubeconfig; none when nothing does, or there is no kubectl.
pub(crate) async fn trouble(kubeconfig: &Path) -> Option<Trouble> {
    let mut kubectl = Command::new("kubectl");
    kubectl.arg("--kubeconfig").arg(kubeconfig).args(["--request-timeout=5s", "get", "--raw", "/api"]);
    kubectl.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
    match timeout(LIMIT, kubectl.output()).await {
        Ok(Ok(done)) if done.status.success() => None,
        Ok(Ok(done)) => {
            let said = String::from_utf8_lossy(&done.stderr);
            Some(Trouble::of(said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it failed without a word")))
        }
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => None,
        Ok(Err(error)) => Some(Trouble::of(&format!("it can't be run, {error}"))),
        Err(_) => Some(Trouble::of(&format!("no answer within {} s", LIMIT.as_secs()))),
    }
}

impl Trouble {
    fn of(said: &str) -> Self {
        let own = || own_path().unwrap_or_else(|_| program().to_owned());
        let hint = if said.contains("plugin allowlist") || said.contains("policy set to") {
            format!("your kuberc (~/.kube/kuberc) has to list it: `credentialPluginAllowlist: [{{name: {}}}]`", own())
        } else if said.contains("(Forbidden)") {
            "kubectl can't ask what the cluster has, so only `kubectl get --raw PATH` works; an administrator binds the \
             ClusterRole `system:discovery` to the group `system:authenticated`"
                .to_owned()
        } else {
            format!("`{} doctor` looks further", program())
        };
        Self { what: safe(said), hint }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hint_is_of_what_kubectl_said() {
        let hint = |said: &str| Trouble::of(said).hint;
        let plugin = "Unable to connect to the server: getting credentials: plugin path \"/x\" is not permitted by the \
                      credential plugin allowlist";
        assert!(hint(plugin).contains("credentialPluginAllowlist"));
        assert!(
            hint("Error from server (Forbidden): forbidden: User \"u\" cannot get path \"/api\"")
                .contains("system:discovery")
        );
        assert!(hint("Unable to connect to the server: EOF").contains("doctor"));
        assert_eq!(Trouble::of("\u{1b}[2J").what, "\\u{001b}[2J");
    }
}
