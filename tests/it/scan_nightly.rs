//! The scan of each night: what it leaves in its folder, what it tells the daemon, and what the trail and the metrics have of it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Output;

use jitd::grant::digest::sha256_hex;
use kube::config::Kubeconfig;
use serde_json::{Value, json};

use crate::bastion::{ADMIN, ALICE, Bastion, ROOT, text};
use crate::plane::{Plane, scratch, until};

/// The administrator's kubeconfig, with a context that is named as the daemon names the cluster.
fn kubeconfig(folder: &Path, server: Option<&str>) -> String {
    let mut file = Kubeconfig::read_from(&Plane::shared().kubeconfig).unwrap();
    "play".clone_into(&mut file.contexts[0].name);
    file.current_context = Some("play".to_owned());
    if let Some(server) = server {
        file.clusters[0].cluster.as_mut().unwrap().server = Some(server.to_owned());
    }
    let path = folder.join("kubeconfig");
    std::fs::write(&path, serde_json::to_vec(&file).unwrap()).unwrap();
    path.to_str().unwrap().to_owned()
}

fn scans(bastion: &Bastion<'_>) -> Vec<Value> {
    let is_scan = |event: &Value| event["kind"].as_str().is_some_and(|kind| kind.starts_with("scan_"));
    bastion.trail().into_iter().filter(|entry| is_scan(&entry["event"])).collect()
}

/// The value of a metric of the cluster.
fn metric(bastion: &Bastion<'_>, name: &str) -> Option<u64> {
    let metrics = bastion.get(ALICE, "/metrics").1;
    let line = metrics.as_str().unwrap().lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map(|value| value.parse().unwrap())
}

#[test]
fn a_scan_leaves_a_report_and_tells_the_daemon_what_is_new() {
    let bastion = Bastion::start();
    let folder = scratch("nightly");
    let state = folder.join("state");
    let kubeconfig = kubeconfig(&folder, None);
    let record =
        || -> Output { bastion.jitd(&["scan", "record", state.to_str().unwrap(), "--kubeconfig", &kubeconfig]) };
    let tell = || -> Output { bastion.jitd(&["scan", "tell", state.to_str().unwrap()]) };
    let report = |name: &str| -> Value {
        serde_json::from_slice(&std::fs::read(state.join("play").join(name)).unwrap()).unwrap()
    };
    let has_intruder = |report: &Value| {
        let findings = report["findings"].as_array().unwrap();
        findings.iter().any(|finding| finding["subject"]["name"] == "it-nightly-intruder" && finding["id"] == "E01")
    };

    let first = record();
    assert!(first.status.success(), "{}", text(&first.stderr));
    assert!(text(&first.stdout).starts_with("play: "), "{}", text(&first.stdout));
    let told = tell();
    assert!(told.status.success(), "{}", text(&told.stderr));
    let event = scans(&bastion).pop().unwrap();
    assert_eq!((&event["by"], &event["event"]["kind"]), (&json!("root"), &json!("scan_finished")));
    assert_eq!((&event["event"]["new"], &event["event"]["cluster"]), (&Value::Null, &json!("play")));

    let admin = Plane::shared().admin();
    let bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    let binding = json!({
        "metadata": { "name": "it-nightly" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin" },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "it-nightly-intruder" }],
    });
    admin.create(bindings, &binding);
    let second = record();
    admin.delete(&format!("{bindings}/it-nightly"));
    assert!(second.status.success() && tell().status.success(), "{}", text(&second.stderr));
    assert!(has_intruder(&report("report.json")) && !has_intruder(&report("previous.json")));
    let event = scans(&bastion).pop().unwrap()["event"].clone();
    let written = std::fs::read(state.join("play/report.json")).unwrap();
    assert_eq!(event["reportSha256"], sha256_hex(&written));
    // Other tests change the same cluster meanwhile.
    assert!(event["new"].as_u64().unwrap() >= 1 && event["open"]["critical"].as_u64().unwrap() >= 1, "{event}");
    assert_eq!(metric(&bastion, "jitd_scan_new_findings{cluster=\"play\"}"), event["new"].as_u64());
    let critical = metric(&bastion, "jitd_scan_findings{cluster=\"play\",severity=\"critical\"}");
    assert_eq!(critical, event["open"]["critical"].as_u64());
    assert_eq!(metric(&bastion, "jitd_scan_failed{cluster=\"play\"}"), Some(0));
    let page = std::fs::read_to_string(state.join("play/report.html")).unwrap();
    assert!(page.contains("it-nightly-intruder"));

    // Others read the numbers, and nothing else.
    let mode = |name: &str| state.join(name).metadata().unwrap().permissions().mode() & 0o777;
    let modes = ["play", "play/report.json", "play/report.html", "play/previous.json", "outcome.json"].map(mode);
    assert_eq!(modes, [0o700, 0o600, 0o600, 0o600, 0o644]);
    assert!(!std::fs::read_to_string(state.join("outcome.json")).unwrap().contains("intruder"));

    // The outcome of a service that was killed before it began is not told again.
    let mut killed = bastion.jitd_command(&["scan", "tell", state.to_str().unwrap()]);
    assert!(killed.env("SERVICE_RESULT", "timeout").output().unwrap().status.success());
    let event = scans(&bastion).pop().unwrap()["event"].clone();
    let failed =
        json!({ "kind": "scan_failed", "cluster": "play", "why": "the scan ended before it was finished: timeout" });
    assert_eq!(event, failed);
    assert_eq!(metric(&bastion, "jitd_scan_failed{cluster=\"play\"}"), Some(1));
    assert!(bastion.jitd(&["audit", "verify"]).status.success());
}

/// A cluster that cannot be reached, a report that somebody altered, and an outcome that is a link.
#[test]
fn a_scan_that_fails_is_told_as_failed() {
    let bastion = Bastion::start();
    let folder = scratch("nightly");
    let state = folder.join("state");
    let words = |kubeconfig: &str| {
        let output = bastion.jitd(&["scan", "record", state.to_str().unwrap(), "--kubeconfig", kubeconfig]);
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
        text(&output.stderr)
    };
    let tell = || bastion.jitd(&["scan", "tell", state.to_str().unwrap()]);
    let last = || scans(&bastion).pop().map(|entry| entry["event"].clone()).unwrap_or_default();

    let gone = kubeconfig(&folder, Some("https://127.0.0.1:1"));
    let said = words(&gone);
    assert!(said.contains("jitd: play: ") && said.ends_with("1 of 1 cluster could not be scanned\n"), "{said}");
    assert!(tell().status.success());
    assert_eq!(last()["kind"], "scan_failed");
    assert!(last()["why"].as_str().unwrap().contains("127.0.0.1:1"), "{}", last());

    // Without a kubeconfig the clusters are those of the last time.
    assert!(words("/nowhere").contains("/nowhere"));
    assert!(tell().status.success());
    assert_eq!(last()["why"], "the scan ended before it was finished");

    std::fs::write(state.join("play/report.json"), "{}").unwrap();
    let said = words(&kubeconfig(&folder, None));
    assert!(said.contains("report.json: it is not what `jitd scan -o json` writes"), "{said}");

    std::fs::remove_file(state.join("outcome.json")).unwrap();
    let secret = folder.join("secret");
    std::fs::write(&secret, "SECRET").unwrap();
    std::os::unix::fs::symlink(&secret, state.join("outcome.json")).unwrap();
    let told = tell();
    assert!(told.status.code() == Some(1) && !text(&told.stderr).contains("SECRET"), "{}", text(&told.stderr));
    std::fs::remove_file(state.join("outcome.json")).unwrap();
    assert!(text(&tell().stderr).contains("has no scan to tell of"));
}

#[test]
fn only_a_scan_of_a_known_cluster_is_recorded() {
    let bastion = Bastion::start();
    let numbers = json!({ "open": {}, "notEvaluated": 0, "reportSha256": "a".repeat(64) });
    let with = |key: &str, value: Value| {
        let mut numbers = numbers.clone();
        numbers[key] = value;
        json!({ "cluster": "play", "finished": numbers })
    };
    for (body, code) in [
        (json!({ "cluster": "elsewhere", "failed": "no answer" }), "unknown-cluster"),
        (json!({ "cluster": "", "failed": "no answer" }), "malformed"),
        (json!({ "cluster": "play" }), "malformed"),
        (json!({ "cluster": "play", "failed": "no answer", "finished": numbers }), "malformed"),
        (json!({ "cluster": "play", "failed": "\u{1b}[31m" }), "malformed"),
        (with("reportSha256", json!("A".repeat(64))), "malformed"),
        (with("reportSha256", json!("")), "malformed"),
        (with("open", json!({ "terrible": 1 })), "malformed"),
        (with("new", json!(-1)), "malformed"),
        (with("by", json!("alice")), "malformed"),
    ] {
        let answer = bastion.operate(ROOT, "POST", "/v1/scans", &body).1;
        assert_eq!(answer["code"], code, "{body}: {answer}");
    }
    assert_eq!(scans(&bastion), Vec::<Value>::new());
    // The file is the first wall, and here it is away.
    let everybody = std::fs::Permissions::from_mode(0o666);
    std::fs::set_permissions(bastion.admin_socket(), everybody).unwrap();
    let body = json!({ "cluster": "play", "finished": numbers });
    assert_eq!(bastion.operate(ADMIN, "POST", "/v1/scans", &body).0, 200);
    until("the scan is in the trail", || scans(&bastion).pop().filter(|entry| entry["by"] == ADMIN.name));
}
