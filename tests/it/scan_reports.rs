//! `jitd scan FILE…`: the exit codes, baselines, exceptions, kubeconfig files of others, and a real audit log.

use std::fs::File;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jit_scan::audit::{AuditLogs, Usage};
use jit_scan::{Finding, Hop, Kind, Subject};
use jitd::rbac::risk::Severity;
use serde_json::{Value, json};

use crate::bastion::text;
use crate::plane::{Admin, Plane, root, scratch, until};

const DUMP: &str = r#"{"apiVersion": "v1", "kind": "List", "items": [
{"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token", "data": {"token": "CONTENT"},
 "metadata": {"name": "builder-token", "namespace": "payments", "annotations": {"kubernetes.io/service-account.name": "builder"}}},
{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "builder", "namespace": "payments"}}]}"#;

/// A folder with this dump in it.
fn folder() -> PathBuf {
    let folder = scratch("scan");
    std::fs::write(folder.join("cluster.json"), DUMP).unwrap();
    folder
}

fn scan(folder: &Path, words: &str) -> Output {
    let words = words.split_whitespace();
    Command::new(root().join("bin/jitd")).arg("scan").args(words).current_dir(folder).output().unwrap()
}

fn json_of(folder: &Path, words: &str) -> Value {
    let output = scan(folder, &format!("{words} -o json"));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The finding of the dump's token.
fn token(report: &Value) -> &Value {
    let findings = report["findings"].as_array().unwrap();
    findings.iter().find(|finding| finding["id"] == "L01").unwrap_or_else(|| panic!("{report:#}"))
}

#[test]
fn only_a_finding_that_is_open_and_severe_enough_fails() {
    let folder = folder();
    let code = |words: &str| {
        let output = scan(&folder, words);
        assert!(!text(&output.stdout).contains("CONTENT"));
        (output.status.code().unwrap(), text(&output.stderr).lines().next_back().unwrap_or_default().to_owned())
    };
    assert_eq!(code("cluster.json"), (0, String::new()));
    let (exit, said) = code("cluster.json --fail-on low");
    assert!(exit == 3 && said.starts_with("jitd: ") && said.ends_with(" at least low"), "{exit} {said}");
    assert_eq!(code("cluster.json --fail-on critical").0, 0);
    assert_eq!(code("cluster.json --fail-on severe").0, 2);

    let report = json_of(&folder, "cluster.json");
    std::fs::write(folder.join("baseline.json"), report.to_string()).unwrap();
    assert_eq!(code("cluster.json --fail-on low --baseline baseline.json"), (0, String::new()));
    let (exit, said) = code("cluster.json --baseline cluster.json");
    assert!(exit == 2 && said.starts_with("jitd: cluster.json: it is not what `jitd scan -o json` writes"), "{said}");

    let mut without = report.clone();
    without["findings"].as_array_mut().unwrap().retain(|finding| finding["id"] != "L01");
    std::fs::write(folder.join("before.json"), without.to_string()).unwrap();
    let (exit, said) = code("cluster.json --baseline none.json");
    assert!(exit == 2 && said.contains("none.json: No such file"), "{said}");
    assert_eq!(code("diff baseline.json baseline.json").0, 0);
    assert_eq!(code("diff before.json baseline.json").0, 3);
    let difference = scan(&folder, "diff baseline.json before.json");
    assert_eq!(difference.status.code(), Some(0));
    assert!(text(&difference.stdout).starts_with("0 new, 1 gone, "), "{}", text(&difference.stdout));

    let exception = |expires: &str| {
        let fingerprint = token(&report)["fingerprint"].as_str().unwrap();
        let exception = format!(
            "exceptions:\n- {{finding: {fingerprint}, severity: high, scope: cluster, owner: dave, reason: ok, expires: {expires}}}\n"
        );
        std::fs::write(folder.join("exceptions.yaml"), exception).unwrap();
        json_of(&folder, "cluster.json --exceptions exceptions.yaml")
    };
    assert_eq!(token(&exception("9999-12-31"))["state"], "accepted");
    let expired = exception("2026-01-01");
    assert_eq!(token(&expired)["state"], "open");
    assert_eq!(expired["idleExceptions"][0]["why"], "it expired on 2026-01-01");
}

/// A token is as severe as the rights of its account, and says which.
#[test]
fn rights_and_the_credentials_for_them_are_in_one_report() {
    let folder = folder();
    let admin = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "ops"},
        "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]});
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": "ops"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "ops"},
        "subjects": [{"kind": "ServiceAccount", "namespace": "payments", "name": "builder"}]});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "ci", "namespace": "payments"},
        "spec": {"serviceAccountName": "builder"}});
    let more = json!({"apiVersion": "v1", "kind": "List", "items": [admin, binding, pod]});
    std::fs::write(folder.join("more.json"), more.to_string()).unwrap();
    let report = json_of(&folder, "cluster.json more.json");
    let of_builder: Vec<(&str, &str)> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| finding["subject"]["name"] == "builder")
        .map(|finding| (finding["id"].as_str().unwrap(), finding["severity"].as_str().unwrap()))
        .collect();
    for expected in [("E01", "critical"), ("L01", "critical"), ("L06", "high")] {
        assert!(of_builder.contains(&expected), "{expected:?} {of_builder:?}");
    }
    let path = token(&report)["path"].as_array().unwrap();
    assert_eq!(path.last().unwrap()["object"], "payments/serviceaccount/builder");
    assert_eq!(scan(&folder, "cluster.json more.json --fail-on critical").status.code(), Some(3));
}

#[test]
fn every_form_is_written_and_the_same_input_gives_the_same_bytes() {
    let folder = folder();
    for (form, begins) in [
        ("table", "1 low"),
        ("json", "{\n"),
        ("sarif", "{\n"),
        ("markdown", "## Standing access\n"),
        ("html", "<!doctype html>\n"),
    ] {
        let words = format!("cluster.json -o {form}");
        let (one, other) = (scan(&folder, &words), scan(&folder, &words));
        assert!(text(&one.stdout).starts_with(begins), "{}", text(&one.stdout));
        assert!(one.status.success() && one.stdout == other.stdout, "{form}");
    }
}

/// Code scanning shows a finding where the manifest has it, whether the folder is named from here or from the root.
#[test]
fn a_finding_in_manifests_has_their_file_and_line() {
    let folder = scratch("scan");
    std::fs::create_dir_all(folder.join("deploy/base")).unwrap();
    let role = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: ops}\n\
                rules: [{apiGroups: ['*'], resources: ['*'], verbs: ['*']}]\n";
    let binding = "# For the operators.\napiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\n\
                   metadata: {name: ops}\nroleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: ops}\n\
                   subjects: [{kind: User, name: alice}]\n";
    std::fs::write(folder.join("deploy/base/rbac.yaml"), format!("{role}---\n\n{binding}")).unwrap();
    let absolute = folder.join("deploy");
    for input in ["deploy", "./deploy/base/rbac.yaml", absolute.to_str().unwrap()] {
        let output = scan(&folder, &format!("{input} --server-version 1.36 -o sarif"));
        let log: Value = serde_json::from_slice(&output.stdout).unwrap();
        let results = log["runs"][0]["results"].as_array().unwrap();
        let full = results.iter().find(|result| result["ruleId"] == "E01").unwrap_or_else(|| panic!("{log:#}"));
        let place = |location: &Value| {
            let place = &location["physicalLocation"];
            (place["artifactLocation"]["uri"].as_str().unwrap().to_owned(), place["region"]["startLine"].clone())
        };
        let file = "deploy/base/rbac.yaml".to_owned();
        assert_eq!(place(&full["locations"][0]), (file.clone(), json!(8)), "{input}: {full:#}");
        let steps = full["codeFlows"][0]["threadFlows"][0]["locations"].as_array().unwrap();
        assert_eq!(place(&steps.last().unwrap()["location"]), (file, json!(1)), "{input}: {full:#}");
    }
}

/// The files belong to others. No link, pipe or nonsense is followed, waited for or shown.
#[test]
fn kubeconfig_files_of_others_are_read_without_trusting_them() {
    let folder = folder();
    let home = |name: &str| {
        let home = folder.join("homes").join(name).join(".kube");
        std::fs::create_dir_all(&home).unwrap();
        home
    };
    let claims = json!({
        "sub": "system:serviceaccount:payments:builder",
        "kubernetes.io/serviceaccount/secret.name": "builder-token",
    });
    let jwt = format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let kubeconfig = json!({"apiVersion": "v1", "kind": "Config", "users": [
        {"name": "ci", "user": {"token": jwt}},
        {"name": "sso", "user": {"exec": {"command": "aws"}}},
        {"name": "broken", "user": {"client-certificate-data": "CONTENT"}},
    ]});
    let alice = home("alice").join("config");
    std::fs::write(&alice, kubeconfig.to_string()).unwrap();
    std::fs::set_permissions(&alice, std::fs::Permissions::from_mode(0o640)).unwrap();
    chown(&alice, Some(64_001), None).unwrap();
    let bob = home("bob");
    std::fs::write(folder.join("outside"), r#"{"users": [{"name": "x", "user": {"token": "CONTENT"}}]}"#).unwrap();
    symlink(folder.join("outside"), bob.join("link")).unwrap();
    assert!(Command::new("mkfifo").arg(bob.join("pipe")).status().unwrap().success());
    std::fs::write(bob.join("config"), "token: [CONTENT").unwrap();
    std::fs::write(bob.join("kubectx"), "prod\n").unwrap();
    symlink(folder.join("homes/alice/.kube"), folder.join("homes/carol")).unwrap();

    let report = json_of(&folder, "cluster.json --homes=homes");
    let tokens = report["findings"].as_array().unwrap().iter().filter(|finding| finding["id"].as_str() < Some("L03"));
    assert_eq!(tokens.filter(|finding| finding["id"].as_str() >= Some("L01")).count(), 1, "{report:#}");
    let path = token(&report)["path"].as_array().unwrap();
    assert_eq!(path[1]["object"], "homes/alice/.kube/config");
    let grants = "contains it as `ci`; the file is uid 64001's, and its group can read it (mode 0640)";
    assert_eq!(path[1]["grants"], grants);
    let missing = report["notEvaluated"].as_array().unwrap();
    let why = |file: &str| missing.iter().find(|missing| missing["what"] == file).map(|missing| missing["why"].clone());
    assert_eq!(why("homes/bob/.kube/config"), Some("it is no kubeconfig, and may contain a credential".into()));
    assert_eq!(why("homes/bob/.kube/kubectx"), None);
    assert_eq!(why("homes/alice/.kube/config"), Some("the user `broken`: its certificate is not base64".into()));
    assert!(!report.to_string().contains("CONTENT") && !report.to_string().contains(&jwt), "{report:#}");
}

/// What the API server writes about a request names the binding that allowed it, also if its name has to be quoted.
#[test]
fn a_real_audit_log_says_through_which_binding_a_right_was_used() {
    const SPACE: &str = "scan-audited";
    const ODD: &str = r#"we"ird\dev"#;
    let plane = Plane::shared();
    let admin = plane.admin();
    admin.create("/api/v1/namespaces", &json!({"metadata": {"name": SPACE}}));
    let rbac = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{SPACE}");
    let rules = json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}]);
    admin.create(&format!("{rbac}/roles"), &json!({"metadata": {"name": "reader"}, "rules": rules}));
    let bind = |name: &str, subject: Value| {
        let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"});
        let body = json!({"metadata": {"name": name}, "roleRef": role, "subjects": [subject]});
        admin.create(&format!("{rbac}/rolebindings"), &body);
    };
    bind(ODD, json!({"kind": "ServiceAccount", "namespace": SPACE, "name": "builder"}));
    bind("devs", json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "scan-devs"}));

    let builder = Admin::posing_as(plane, &format!("system:serviceaccount:{SPACE}:builder"), &["system:authenticated"]);
    let erin = Admin::posing_as(plane, "erin", &["scan-devs", "system:authenticated"]);
    let list = format!("/api/v1/namespaces/{SPACE}/configmaps");
    for somebody in [&builder, &erin] {
        until("a binding to be in effect", || (somebody.get(&list).0 == 200).then_some(()));
        assert_eq!(somebody.get(&format!("/api/v1/namespaces/{SPACE}/secrets")).0, 403);
    }

    let finding = |kind, namespace: Option<&str>, name: &str, binding: &str| Finding {
        id: "E25".to_owned(),
        severity: Severity::High,
        title: String::new(),
        subject: Some(Subject { kind, namespace: namespace.map(str::to_owned), name: name.to_owned() }),
        path: vec![Hop { object: format!("{SPACE}/rolebinding/{binding}"), grants: String::new() }],
        scope: Vec::new(),
        system: false,
    };
    let used = |usage: &Usage| {
        let rights = usage.used.iter().map(|used| format!("{} {} {:?}", used.verb, used.resource, used.namespace));
        rights.collect::<Vec<_>>()
    };
    let one = [format!("list configmaps {:?}", Some(SPACE))];
    until("the log to have both", || {
        let mut logs = AuditLogs::default();
        logs.read("audit.log", File::open(&plane.audit).unwrap()).unwrap();
        let uses = logs.finish();
        let of = |finding| uses.of(&finding).filter(|usage| !usage.used.is_empty());
        let builder = of(finding(Kind::ServiceAccount, Some(SPACE), "builder", ODD))?;
        let erin = of(finding(Kind::User, None, "erin", "devs"))?;
        let group = of(finding(Kind::Group, None, "scan-devs", "devs"))?;
        for usage in [&builder, &erin, &group] {
            assert_eq!(used(usage), one);
            assert_eq!(usage.unused_days, 0);
        }
        // Neither who did nothing, nor a binding that allowed nothing, is said to be unused if the log is not whole.
        let unused = [
            uses.of(&finding(Kind::User, None, "scan-nobody", "devs")),
            uses.of(&finding(Kind::User, None, "erin", "other")),
        ];
        for usage in unused {
            let usage = usage.unwrap_or_else(|| panic!("{:?}", uses.not_evaluated()));
            assert_eq!((usage.last, usage.used.len()), (None, 0));
        }
        Some(())
    });
    admin.delete(&format!("/api/v1/namespaces/{SPACE}"));
}

/// Of a live cluster, Secrets are read as metadata only, and a list that is refused is not evaluated.
#[test]
fn a_live_cluster_is_reported_without_the_content_of_its_secrets() {
    const SPACE: &str = "scan-live";
    let plane = Plane::shared();
    let admin = plane.admin();
    admin.create("/api/v1/namespaces", &json!({"metadata": {"name": SPACE}}));
    let inside = format!("/api/v1/namespaces/{SPACE}");
    admin.create(&format!("{inside}/serviceaccounts"), &json!({"metadata": {"name": "builder"}}));
    let annotations = json!({"kubernetes.io/service-account.name": "builder"});
    let secret = json!({
        "metadata": {"name": "builder-token", "annotations": annotations},
        "type": "kubernetes.io/service-account-token",
        "stringData": {"extra": "CONTENT"},
    });
    admin.create(&format!("{inside}/secrets"), &secret);
    let pull = json!({
        "metadata": {"name": "pull"},
        "type": "kubernetes.io/dockerconfigjson",
        "stringData": {".dockerconfigjson": "{\"auths\": {}}"},
    });
    admin.create(&format!("{inside}/secrets"), &pull);

    let folder = scratch("scan");
    let report = json_of(&folder, &format!("--kubeconfig {}", plane.kubeconfig.display()));
    let findings = report["findings"].as_array().unwrap();
    let object = format!("{SPACE}/secret/builder-token");
    let token = findings.iter().find(|finding| finding["path"][0]["object"] == object.as_str());
    let token = token.unwrap_or_else(|| panic!("{report:#}"));
    assert_eq!((&token["id"], &token["subject"]["name"]), (&"L01".into(), &"builder".into()));
    let pulls = findings.iter().find(|finding| finding["id"] == "L07").unwrap();
    assert!(pulls["scope"].as_array().unwrap().contains(&SPACE.into()), "{pulls:#}");
    assert!(!report.to_string().contains("CONTENT"));
    let whats = |report: &Value| {
        let all = report["notEvaluated"].as_array().unwrap().iter();
        all.map(|missing| missing["what"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert!(!whats(&report).contains(&"secrets".to_owned()), "{:?}", whats(&report));

    let refused = plane.token_kubeconfig("jit-gateway");
    let report = json_of(&folder, &format!("--kubeconfig {}", refused.display()));
    for list in ["secrets", "pods", "certificatesigningrequests", "clusterrolebindings"] {
        assert!(whats(&report).contains(&list.to_owned()), "{list} {:?}", whats(&report));
    }
    // The log has what the API server was asked for, and how it answered.
    let log = std::fs::read_to_string(&plane.audit).unwrap();
    let of_secrets: Vec<&str> =
        log.lines().filter(|line| line.contains("jitd-scan/") && line.contains("/api/v1/secrets?")).collect();
    assert!(of_secrets.len() >= 6, "{of_secrets:#?}");
    assert!(of_secrets.iter().all(|line| line.contains("fieldSelector=type")), "{of_secrets:#?}");
    admin.delete(&inside);
}
