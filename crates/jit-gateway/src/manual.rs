//! The prose of jit-gateway(8), around what the command line says by itself.

use clap::CommandFactory;
use jit_manual::{Page, Section};

use crate::Arguments;

/// The page.
pub(crate) fn page() -> Page {
    let date = jit_manual::date(std::env::var("SOURCE_DATE_EPOCH").ok().as_deref());
    let about = "proxy in front of kube-apiserver that ends every stream of a grant when the grant ends";
    let command = Arguments::command();
    let synopsis = ["`jit-gateway` serve [--config FILE]", "`jit-gateway` check [--config FILE]"];
    let mut page = Page::new("jit-gateway", Section::Administration, about, &synopsis, &date);
    page.heading("DESCRIPTION")
        .text(
            "`jit-gateway` stands between people's clients and the API servers of clusters that have `access: gateway` in \
             `jitd-config`(5). A client connects with the certificate of its grant. The gateway asks the API server in the \
             name of the grant's holder, with a credential of its own, while `jitd`(8) says that the grant is live. When \
             the grant ends, every request, watch, exec and forwarded port of it ends at once.",
        )
        .text(
            "The API server need not trust the authority of `jitd`, so clusters of EKS, GKE and AKS work too. It needs \
             Kubernetes 1.30 or later, and before 1.36 `impersonation: unconstrained` in `jitd-config`(5).",
        )
        .text(
            "It learns from `jitd` which grants are live. If `jitd` is silent for ten seconds, everything ends; a restart \
             of `jitd` within that time ends nothing.",
        );
    page.options(&command).verbs(&command);
    page.heading("CONFIGURATION")
        .text("YAML. A file with an unknown key is refused. A path is absolute, or relative to the file's folder.")
        .item("listen", "The address and port to accept connections at. Without it systemd has to hand the socket over.")
        .item(
            "server",
            "The URL that people get in their kubeconfigs, `https://HOST:PORT`. The serving certificate is made for HOST.",
        )
        .item("feed", "The socket of `jitd`; the default is `/run/jitd/feed.sock`.")
        .item("state", "The folder of the serving authority; the default is `/var/lib/jit-gateway`.")
        .item("clusters[].name", "The name of the cluster in the configuration of `jitd`.")
        .item(
            "clusters[].kubeconfig",
            "How to reach the API server, and as whom. The user must be the `gatewayUser` of the cluster in the \
             configuration of `jitd`, and needs no rights but those that `jitd manifest` prints.",
        )
        .item("clusters[].context", "The context of the kubeconfig; without it the current one.")
        .item(
            "recordings.recipients",
            "Public keys of `age`(1), `age1…`. Recordings that begin from now on can be read only with the key to one of \
             them, which should not be on this host. Without this key everybody who can read the files can read the recordings.",
        );
    page.heading("EXIT STATUS")
        .item("`0`", "It was told to stop, or found no fault.")
        .item("`1`", "Failure.")
        .item("`2`", "The command line or the configuration is invalid.");
    page.heading("ENVIRONMENT")
        .item("`JIT_GATEWAY_LOG`", "How much it logs, such as `info` or `jit_gateway=debug`. The default is `info`.");
    page.heading("FILES")
        .item("/etc/jit-gateway/config.yaml", "The configuration.")
        .item("/run/jitd/feed.sock", "The socket of `jitd`, open to the account `jit-gateway`.")
        .item("/var/lib/jit-gateway/serving-root.crt", "The root of the serving certificate, made at the first start.")
        .item("/usr/share/doc/jitd/docs/gateway.md", "How to set it up.");
    page.heading("SEE ALSO").text("`jitd`(8), `jitd-config`(5), `jit-login`(1), `kubectl`(1)");
    page
}
