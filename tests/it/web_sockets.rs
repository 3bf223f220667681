//! Whether exec and port-forward can be followed at all is known before anybody tries: `jitd check --cluster` opens a WebSocket.

use serde_json::json;

use crate::bastion::{Bastion, Options, text};
use crate::impersonation::through_gateway;
use crate::middleman::{Middleman, Play};
use crate::plane::Plane;
use crate::wall::{until_checked, walled_with};

/// A rule with more keys.
fn rule(more: &str) -> String {
    format!(
        "rules:\n- {{name: payments, who: [payments-oncall], clusters: [play], namespaces: [NS], roles: [view], \
         maxDuration: 10m, approval: [{{groups: [payments-leads]}}]{more}}}\n"
    )
}

/// Rules that need one.
const BOTH: &str = ", record: required, refuse: [{name: only-web, portForward: {except: [8080]}}]";

/// What is said of the gateway, as the lines of the check.
fn said(bastion: &Bastion<'_>) -> Vec<String> {
    let checked = text(&bastion.jitd(&["check", "--cluster"]).stdout);
    checked.lines().filter(|line| line.contains(" play gateway: ")).map(ToOwned::to_owned).collect()
}

/// The API server upgrades with the rights of the manifest, which are more only where a rule needs it.
#[test]
fn a_web_socket_is_opened_where_a_rule_needs_it() {
    let opened = "ok      play gateway: WebSockets reach the API server, which exec and attach of `payments` and port-forwards of `payments` need";
    for (more, is_needed) in [(BOTH, true), (", record: metadata", false)] {
        let bastion = walled_with(Options { policy: rule(more), ..through_gateway() });
        until_checked(&bastion, &[]);
        assert_eq!(said(&bastion).iter().any(|line| line == opened), is_needed, "{:?}", said(&bastion));
        let rights = bastion.manifest();
        assert_eq!(rights.contains("- watch"), is_needed, "{rights}");
    }
}

/// A load balancer that loses the headers of the upgrade, one that refuses it, and API servers that are too old for either:
/// each is told apart, and everything else about the gateway is still checked.
#[test]
fn where_no_web_socket_passes_the_check_says_why() {
    let between = Middleman::before(Plane::shared());
    let policy = rule(BOTH);
    let bastion = Bastion::prepared(Plane::shared(), Options { policy, ..through_gateway() });
    bastion.apply(&bastion.manifest());
    // With a kubeconfig the check goes on although the middleman is known as somebody else.
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "play",
        "contexts": [{ "name": "play", "context": { "cluster": "play", "user": "daemon" } }],
        "clusters": [{ "name": "play", "cluster": { "server": between.server, "certificate-authority": between.ca } }],
        "users": [{ "name": "daemon", "user": { "token": "none" } }],
    });
    std::fs::write(bastion.dir.join("daemon.kubeconfig"), kubeconfig.to_string()).unwrap();
    bastion.rewrite_config("certificateAuthority:", "kubeconfig: daemon.kubeconfig, certificateAuthority:");
    let faults = || -> Vec<String> {
        let lines = said(&bastion).into_iter().filter(|line| line.contains("WebSocket"));
        lines.inspect(|line| assert!(line.starts_with("fault") && line.contains("; hint: "), "{line}")).collect()
    };
    let lost = faults();
    let all = text(&bastion.jitd(&["check", "--cluster"]).stdout);
    assert!(lost.len() == 1 && lost[0].contains("the request to upgrade is lost on the way"), "{lost:?}: {all}");

    between.play("GET", "watch=true", Play::Deny);
    let refused = faults();
    let why = "answered with 403: <html>no upgrades</html>";
    assert!(refused.len() == 1 && refused[0].contains(why), "{refused:?}");

    for (version, old) in [("v1.29.15", 2), ("v1.30.9", 1), ("v1.31.0", 0)] {
        between.pass_on();
        between.play("GET", "/version", Play::Version(version));
        let found = faults();
        let is_told = |line: &&String| line.contains("fail with kubectl");
        assert_eq!(found.iter().filter(is_told).count(), old, "{version}: {found:?}");
        assert_eq!(found.iter().any(|line| line.contains("exec and attach of `payments` fail")), old == 2, "{found:?}");
    }
}
