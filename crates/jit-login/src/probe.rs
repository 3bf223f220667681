//! Checks whether kubectl works with a grant, by running it as the person would: with their kuberc and their plugin rules.
//!
//! It gets `/api`, which everybody with discovery rights may read. kubectl's exit code decides; its message is shown, and
//! only used for choosing a hint. `verbs` shows the result after "ready", and so does `doctor`.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use crate::kubeconfig::own_path;
use crate::text::{program, safe};

/// Why kubectl failed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// kubectl's message.
    pub(crate) what: String,
    /// What to do.
    pub(crate) hint: String,
}

/// A server that takes longer counts as not answering.
const LIMIT: Duration = Duration::from_secs(15);

/// Why kubectl fails with this kubeconfig; none if it works, or is not installed.
pub(crate) async fn trouble(kubeconfig: &Path) -> Option<Trouble> {
    let mut kubectl = Command::new("kubectl");
    kubectl.arg("--kubeconfig").arg(kubeconfig).args(["--request-timeout=5s", "get", "--raw", "/api"]);
    kubectl.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
    match timeout(LIMIT, kubectl.output()).await {
        Ok(Ok(done)) if done.status.success() => None,
        Ok(Ok(done)) => {
            let said = String::from_utf8_lossy(&done.stderr);
            Some(Trouble::of(
                said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it failed without a message"),
            ))
        }
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => None,
        Ok(Err(error)) => Some(Trouble::of(&format!("it cannot be run: {error}"))),
        Err(_) => Some(Trouble::of(&format!("no answer within {} s", LIMIT.as_secs()))),
    }
}

impl Trouble {
    fn of(said: &str) -> Self {
        let own = || own_path().unwrap_or_else(|_| program().to_owned());
        let hint = if said.contains("plugin allowlist") || said.contains("policy set to") {
            format!("your kuberc (~/.kube/kuberc) must allow it: `credentialPluginAllowlist: [{{name: {}}}]`", own())
        } else if said.contains("(Forbidden)") {
            "kubectl may not discover the cluster's API, so only `kubectl get --raw PATH` works; ask an administrator to bind \
             the ClusterRole `system:discovery` to the group `system:authenticated`"
                .to_owned()
        } else {
            format!("`{} doctor` checks more", program())
        };
        Self { what: safe(said), hint }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hint_depends_on_kubectls_message() {
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
