//! That access is "ready" means that kubectl works with it, as this person runs it; where it does not, both `wait` and the
//! doctor say what will not.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::bastion::{ALICE, BOB, Bastion, Options, text};
use crate::plane::{Plane, root, until};

const DISCOVERY: &str = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/system:discovery";

/// Asks, has it approved, and waits; what was said, and the id.
fn waited(bastion: &Bastion<'_>) -> (String, String) {
    let words =
        ["request", "play", "-n", &bastion.ns, "--role", "view", "--for", "5m", "--reason", "INC-1 x", "--no-wait"];
    let id = text(&bastion.login(ALICE, &words).stdout).trim().to_owned();
    assert!(bastion.login(BOB, &["approve", &id, "--yes"]).status.success());
    let waited = bastion.login(ALICE, &["wait", &id]);
    assert!(waited.status.success(), "{}", text(&waited.stderr));
    (text(&waited.stderr), id)
}

fn doctor(bastion: &Bastion<'_>) -> String {
    text(&bastion.login(ALICE, &["doctor"]).stdout)
}

fn kubectl(bastion: &Bastion<'_>, id: &str, words: &[&str]) -> Output {
    let folder = bastion.dir.join(format!("home/{}/.local/state/jit-login", ALICE.uid));
    let mut kubectl = bastion.login_command(ALICE, "kubectl");
    kubectl.args(words).env("KUBECONFIG", folder.join(format!("{id}.kubeconfig"))).output().unwrap()
}

fn kuberc(bastion: &Bastion<'_>, plugin: &Path) {
    let folder = bastion.dir.join(format!("home/{}/.kube", ALICE.uid));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    let written = format!(
        "apiVersion: kubectl.config.k8s.io/v1beta1\nkind: Preference\ncredentialPluginPolicy: Allowlist\n\
         credentialPluginAllowlist: [{{name: {}}}]\n",
        plugin.display()
    );
    std::fs::write(folder.join("kuberc"), written).unwrap();
}

/// A kuberc that lists other plugins only keeps kubectl from ours: said at once, with the line to add.
#[test]
fn a_plugin_that_kuberc_does_not_list_is_told() {
    let bastion = Bastion::start();
    let (said, _) = waited(&bastion);
    assert!(said.contains("ready: ") && !said.contains("but kubectl"), "{said}");
    assert!(doctor(&bastion).contains(&format!("ok     access     kubectl works with play/{} view", bastion.ns)));
    kuberc(&bastion, "/usr/bin/other-login".as_ref());
    let (said, id) = waited(&bastion);
    assert!(!kubectl(&bastion, &id, &["get", "configmaps"]).status.success());
    let fix = format!("credentialPluginAllowlist: [{{name: {}}}]", root().join("bin/jit-login").display());
    for said in [said, doctor(&bastion)] {
        assert!(said.contains("is not permitted by the credential plugin allowlist") && said.contains(&fix), "{said}");
    }
    kuberc(&bastion, &root().join("bin/jit-login"));
    assert!(kubectl(&bastion, &id, &["get", "configmaps"]).status.success());
    let (said, _) = waited(&bastion);
    assert!(!said.contains("but kubectl"), "{said}");
}

/// Where not everybody may discover what a cluster has, kubectl knows no kind of object, whatever the grant allows.
#[test]
fn a_cluster_without_discovery_is_told() {
    let plane = Plane::to_stop();
    let admin = plane.admin();
    let (_, mut binding) = admin.get(DISCOVERY);
    let metadata = binding["metadata"].as_object_mut().unwrap();
    metadata.retain(|key, _| ["name", "labels", "annotations"].contains(&key.as_str()));
    let bastion = Bastion::with(&plane, Options::default());
    admin.delete(DISCOVERY);
    let (said, id) = waited(&bastion);
    let path = format!("/api/v1/namespaces/{}/configmaps/seen", bastion.ns);
    let (named, raw) =
        (kubectl(&bastion, &id, &["get", "configmap", "seen"]), kubectl(&bastion, &id, &["get", "--raw", &path]));
    let told = doctor(&bastion);
    admin.create(DISCOVERY.trim_end_matches("/system:discovery"), &binding);
    assert!(!named.status.success(), "{}", text(&named.stdout));
    let seen: Value = serde_json::from_slice(&raw.stdout).unwrap();
    assert_eq!(seen["metadata"]["name"], "seen");
    for said in [said, told] {
        assert!(said.contains("cannot get path \"/api\"") && said.contains("`system:discovery`"), "{said}");
    }
    until("discovery is back", || kubectl(&bastion, &id, &["get", "configmap", "seen"]).status.success().then_some(()));
}
