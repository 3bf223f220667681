//! The prose of jit-frontend(8), around what the command line says by itself.

use clap::CommandFactory;
use jit_manual::{Page, Section};

use crate::Arguments;

/// The page.
pub(crate) fn page() -> Page {
    let date = jit_manual::date(std::env::var("SOURCE_DATE_EPOCH").ok().as_deref());
    let about = "lets people of identity providers call jitd over TLS";
    let command = Arguments::command();
    let synopsis = [
        "`jit-frontend` serve [--config FILE]",
        "`jit-frontend` check [--config FILE]",
        "`jit-frontend` invite [--config FILE]",
    ];
    let mut page = Page::new("jit-frontend", Section::Administration, about, &synopsis, &date);
    page.heading("DESCRIPTION")
        .text(
            "`jit-frontend` lets people call `jitd`(8) from elsewhere than the bastion. They log in at an identity provider \
             (OpenID Connect) and present the ID token once; after that, each connection proves the key that the token was \
             made for. `jitd` serves them as on its users' socket, with the same routes and limits.",
        )
        .text(
            "It speaks TLS 1.3 and HTTP/1.1. Its clients need a certificate, which they sign themselves: only the key in it \
             counts. Sessions are in memory only, so after a restart people log in again.",
        )
        .text(
            "A provider that supports OpenID Connect Back-Channel Logout 1.0 can say at SERVER`/v1/logout` that a login is over. \
             The person's sessions of that login, and the live access that they requested through this provider, then end at \
             once. It needs no certificate for that, and has to trust the one of the front end.",
        )
        .text(
            "`jitd` needs the issuers under `providers` of `jitd-config`(5), where it also says which groups their people \
             can be in.",
        );
    page.options(&command).verbs(&command);
    page.heading("CONFIGURATION")
        .text("YAML. A file with an unknown key is refused. A path is absolute, or relative to the file's folder.")
        .item("listen", "The address and port to accept connections at. Without it systemd has to hand the socket over.")
        .item(
            "server",
            "The URL that people get, `https://HOST:PORT`. The serving certificate is made for HOST, and each token for this \
             URL: whoever changes it lets everybody log in again.",
        )
        .item("daemon", "The socket of `jitd`; the default is `/run/jitd/frontend.sock`.")
        .item("state", "The folder of the serving authority; the default is `/var/lib/jit-frontend`.")
        .item(
            "certificate.chain, certificate.key",
            "A certificate of yours with the certificates above it, and its key, in PEM. Both files are read again when they \
             change. `invite` prints the fingerprint of the last certificate of the chain, so that one should stay. Without \
             them the front end makes a certificate of a week each day, under a root of its own.",
        )
        .item("session", "How long a session lasts; the default is `8h`, and the longest `24h`.")
        .item("scopes", "What clients ask the providers for; the default is `openid` and `profile`.")
        .item("providers[].name", "The end of the names of its people.")
        .item("providers[].issuer", "The claim `iss` of its tokens, exactly, and where its keys are found.")
        .item("providers[].audience", "The id of the client `jit-login` there, exactly.")
        .item("providers[].displayName.claim", "Which claim is the name, as a JSON pointer, such as `/preferred_username`.")
        .item(
            "providers[].groups.claim, providers[].groups.map",
            "Which claim has the groups, and which group of the provider is which group here. No other one counts.",
        )
        .item(
            "providers[].require",
            "Claims that a token must have: `claim`, and what it `is` or has as an element (`has`).",
        )
        .item("providers[].authTime", "How long ago the person may have proved who they are (`auth_time`).")
        .item(
            "providers[].deviceCode",
            "How a login by device code is told apart, for rules of jitd's policy that refuse it: `never` if the provider \
             allows none to this client, `without-nonce` if it leaves the `nonce` out of its token, or `{audience: ID}`, the id \
             of another client that can log in only by device code; jit-login then uses that. Without it only a token without \
             `nonce` is known to be one, and how others came is unknown.",
        );
    page.heading("EXIT STATUS")
        .item("`0`", "It was told to stop, or printed what it was asked for.")
        .item("`1`", "Failure.")
        .item("`2`", "The command line or the configuration is invalid.");
    page.heading("ENVIRONMENT")
        .item("`JIT_FRONTEND_LOG`", "How much it logs, such as `info` or `jit_frontend=debug`. The default is `info`.")
        .item("`HTTPS_PROXY`, `NO_PROXY`", "The proxy on the way to the providers.");
    page.heading("FILES")
        .item("/etc/jit-frontend/config.yaml", "The configuration.")
        .item("/run/jitd/frontend.sock", "The socket of `jitd`, open to the account `jit-frontend`.")
        .item("/var/lib/jit-frontend/serving-root.crt", "The root of the serving certificate, made at the first start.")
        .item("/usr/share/doc/jitd/docs/frontend.md", "How to set it up.");
    page.heading("SEE ALSO").text("`jitd`(8), `jitd-config`(5), `jit-login`(1)");
    page
}
