//! What other clients than today's kubectl find: those that ask the plugin once and never again, those that do not say for
//! which cluster they ask, and an authority of the API server that is larger than a program's environment may be.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::{Value, json};

use crate::bastion::{ALICE, BOB, Bastion, Options, text};
use crate::plane::{Admin, Plane};

/// Times as they are where nobody wrote others.
const NO_TIMES: &str = "{answer: 1h}";

/// Where alice keeps what is hers.
fn folder(bastion: &Bastion<'_>) -> PathBuf {
    bastion.dir.join(format!("home/{}/.local/state/jit-login", ALICE.uid))
}

/// From nothing to a kubectl that works, by the real client; the grant's id.
fn live(bastion: &Bastion<'_>, duration: &str) -> String {
    let words =
        ["request", "play", "-n", &bastion.ns, "--role", "view", "--for", duration, "--reason", "INC-1 x", "--no-wait"];
    let id = text(&bastion.login(ALICE, &words).stdout).trim().to_owned();
    assert!(bastion.login(BOB, &["approve", &id, "--yes"]).status.success());
    let waited = bastion.login(ALICE, &["wait", &id]);
    assert!(waited.status.success(), "{}", text(&waited.stderr));
    id
}

fn kept(bastion: &Bastion<'_>, id: &str) -> Value {
    let text = std::fs::read_to_string(folder(bastion).join(format!("{id}.credential"))).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Seconds from the end of the certificate to the end of the window.
fn short_of_the_end(bastion: &Bastion<'_>, id: &str) -> i64 {
    let kept = kept(bastion, id);
    let at = |name: &str| kept[name].as_str().unwrap().parse::<Timestamp>().unwrap();
    at("until").duration_since(at("expiresAt")).as_secs()
}

/// A client that asks once works to the end of a window of minutes; of a longer one where its rule says so. The
/// certificate's time runs from its issue, the window's from the binding: the seconds between are those of one collection.
#[test]
fn one_certificate_lasts_for_a_short_window_or_if_the_rule_says_so() {
    let rule = |name: &str, role: &str, more: &str| {
        format!(
            "  - {{name: {name}, who: [payments-oncall], clusters: [play], namespaces: [NS], roles: [{role}], maxDuration: 1h,\n    \
             approval: [{{groups: [payments-leads]}}]{more}}}\n"
        )
    };
    let shown = |certificate: &str| format!(", certificate: {certificate}");
    for (more, duration, last) in [
        (String::new(), "15m", 0..=20),
        (String::new(), "20m", 290..=330),
        (shown("1h"), "20m", 0..=20),
        (shown("1m"), "15m", 830..=870),
    ] {
        let policy = format!("rules:\n{}", rule("payments", "view", &more));
        let bastion = Bastion::with(Plane::shared(), Options { policy, times: NO_TIMES, ..Options::default() });
        let id = live(&bastion, duration);
        let short = short_of_the_end(&bastion, &id);
        assert!(last.contains(&short), "{duration}{more}: {short}");
    }
}

/// Who does not say for which cluster it asks gets what it would get without saying anything; who names another one
/// gets nothing.
#[test]
fn a_client_that_names_no_cluster_gets_its_credential() {
    let bastion = Bastion::start();
    let id = live(&bastion, "5m");
    let ask = |spec: Value| {
        let info = json!({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "spec": spec});
        let mut plugin = bastion.login_command(ALICE, "jit-login");
        plugin.args(["credential", "--grant", &id]).env("KUBERNETES_EXEC_INFO", info.to_string()).output().unwrap()
    };
    let given = ask(json!({"interactive": false}));
    assert!(given.status.success(), "{}", text(&given.stderr));
    let credential: Value = serde_json::from_slice(&given.stdout).unwrap();
    let part = |name: &str| credential["status"][name].as_str().unwrap().to_owned();
    let client = Admin::with_certificate(bastion.plane, &part("clientCertificateData"), &part("clientKeyData"));
    assert_eq!(client.get(&format!("/api/v1/namespaces/{}/configmaps/seen", bastion.ns)).0, 200);
    let refused = ask(json!({"interactive": false, "cluster": {"server": "https://evil.example:6443"}}));
    assert_eq!((refused.status.code(), refused.stdout.as_slice()), (Some(2), &b""[..]));
}

/// The authorities of a whole distribution around the one that counts.
fn bundle(plane: &Plane, path: &Path) {
    let mut text = String::new();
    let own = std::fs::read_to_string(&plane.ca).unwrap();
    while text.len() < 220_000 {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let mut parameters = CertificateParams::default();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(rcgen::DnType::CommonName, format!("authority {}", text.len()));
        text.push_str(&parameters.self_signed(&key).unwrap().pem());
        if text.len() > 110_000 && !text.contains(&own) {
            text.push_str(&own);
        }
    }
    std::fs::write(path, text).unwrap();
}

/// kubectl works where the configuration trusts a bundle of 220 kB, and trusts no more of it than it has to.
#[test]
fn a_large_bundle_of_authorities_does_not_break_the_plugin() {
    let plane = Plane::shared();
    let path = crate::plane::scratch("bundle").join("ca.crt");
    bundle(plane, &path);
    let bastion = Bastion::with(plane, Options { ca: Some(path), ..Options::default() });
    let id = live(&bastion, "5m");
    let mut kubectl = bastion.login_command(ALICE, "kubectl");
    let kubeconfig = folder(&bastion).join(format!("{id}.kubeconfig"));
    let looked =
        kubectl.args(["get", "configmap", "seen", "-o", "name"]).env("KUBECONFIG", &kubeconfig).output().unwrap();
    assert_eq!(text(&looked.stdout), "configmap/seen\n", "{}", text(&looked.stderr));
    let authority = kept(&bastion, &id)["cluster"]["certificateAuthority"].as_str().unwrap().to_owned();
    assert_eq!(pem::parse_many(authority).unwrap(), pem::parse_many(std::fs::read(&plane.ca).unwrap()).unwrap());
}
