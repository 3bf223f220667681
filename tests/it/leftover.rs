//! A grant leaves no key of a service account behind: what outlives it is refused by the API server, whichever way the
//! request takes.

use std::process::Command;

use http::Method;
use serde_json::{Value, json};

use crate::bastion::{Bastion, Options, text};
use crate::gateway::Front;
use crate::plane::{Admin, root, until};
use crate::wall::{binding, daemon, grant, in_force, in_namespace, plane, walled_with};

const NO_TOKEN: &str = "no grant allows tokens of service accounts";
const NO_SECRET: &str = "no grant allows secrets of the type `kubernetes.io/service-account-token`";

/// A secret that gets the token of the account `gateway`.
fn token_secret(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token",
        "metadata": { "name": name, "annotations": { "kubernetes.io/service-account.name": "gateway" } },
    })
}

fn account(bastion: &Bastion<'_>) {
    let path = format!("/api/v1/namespaces/{}/serviceaccounts", bastion.ns);
    bastion.admin.create(&path, &json!({ "metadata": { "name": "gateway" } }));
}

fn secrets(bastion: &Bastion<'_>) -> String {
    format!("/api/v1/namespaces/{}/secrets", bastion.ns)
}

/// Waits until the policy refuses this holder.
fn until_refused(bastion: &Bastion<'_>, holder: &Admin) {
    let dry = format!("{}?dryRun=All", secrets(bastion));
    until("the policy of holders is in force", || {
        let (status, answer) = holder.call(Method::POST, &dry, &token_secret("dry"));
        (status == 403 && answer.to_string().contains(NO_SECRET)).then_some(())
    });
}

/// kubectl with the role `edit`: through the gateway, and past it straight to the API server, which trusts the authority
/// here.
#[test]
fn kubectl_makes_no_key_through_the_gateway_or_past_it() {
    let front = Front::of(plane());
    let bastion = &front.bastion;
    bastion.apply(&bastion.manifest());
    in_force(bastion);
    let id = front.live("edit");
    until_refused(bastion, &Admin::posing_as(bastion.plane, "jit:alice", &[&format!("jit:{id}")]));
    bastion.admin.create(&secrets(bastion), &token_secret("old"));
    let file = |name: &str, content: String| {
        let path = bastion.dir.join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let as_json = file("secret.json", token_secret("new").to_string());
    let as_yaml = file("secret.yaml", serde_saphyr::to_string(&token_secret("new")).unwrap());
    let old = file("old.json", token_secret("old").to_string());
    let plain = file(
        "plain.json",
        json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "plain" } }).to_string(),
    );
    // The same with a certificate of another grant of hers.
    let ask = json!({
        "cluster": "play", "namespaces": [bastion.ns], "role": "edit", "duration": "5m", "reason": "INC-1 x",
    });
    let access = bastion.live(&ask);
    let (chain, key) = (file("direct.crt", access.chain.clone()), file("direct.key", access.key.pem()));
    let direct = |words: &[&str]| {
        let mut command = Command::new(root().join("bin/kubectl"));
        command.args(["--kubeconfig", "/dev/null", "--server", &bastion.plane.server, "-n", &bastion.ns]);
        command.arg("--certificate-authority").arg(&bastion.plane.ca);
        command.args(["--client-certificate", &chain, "--client-key", &key]).args(words);
        command
    };
    for past in [false, true] {
        let kubectl = |words: &[&str]| {
            let mut command = if past { direct(words) } else { front.kubectl(&id, words) };
            command.output().unwrap()
        };
        let refused = |words: &[&str], why: &str| {
            let done = kubectl(words);
            let said = text(&done.stderr);
            assert!(!done.status.success() && said.contains(why), "{words:?}, past the gateway: {past}: {said}");
        };
        // The gateway refuses it too, where there is no policy.
        let why = if past { NO_TOKEN } else { "serviceaccounts/token is never served" };
        refused(&["create", "token", "gateway"], why);
        refused(&["create", "-f", &as_json], NO_SECRET);
        refused(&["create", "-f", &as_yaml], NO_SECRET);
        refused(&["apply", "-f", &as_yaml], NO_SECRET);
        refused(&["apply", "--server-side", "-f", &as_yaml], NO_SECRET);
        // The controller would issue a new token for it.
        refused(&["replace", "-f", &old], NO_SECRET);
        refused(&["patch", "secret", "old", "-p", r#"{"data": {"token": null}}"#], NO_SECRET);
        refused(&["annotate", "--overwrite", "secret", "old", "kubernetes.io/service-account.name=default"], NO_SECRET);
        for words in [&["create", "-f", &plain][..], &["delete", "secret", "plain"]] {
            let done = kubectl(words);
            assert!(done.status.success(), "{words:?}: {}", text(&done.stderr));
        }
    }
    assert_eq!(bastion.admin.get(&format!("{}/new", secrets(bastion))).0, 404);
}

/// Where people reach the cluster directly, the policy is installed too; the encoding of a request does not matter, nor
/// which of the two names of a holder somebody has.
#[test]
fn no_holder_makes_a_key_where_people_go_directly() {
    let bastion = walled_with(Options::default());
    account(&bastion);
    let id = grant('k');
    daemon(&bastion).create(&in_namespace(&bastion.ns), &binding(&bastion.host, &id, "ClusterRole", "edit"));
    let group = format!("jit:{id}");
    let alice = Admin::posing_as(bastion.plane, "jit:alice", &[&group]);
    until_refused(&bastion, &alice);
    let token = format!("/api/v1/namespaces/{}/serviceaccounts/gateway/token", bastion.ns);
    for holder in [
        alice,
        Admin::posing_as(bastion.plane, "mallory", &[&group]),
        Admin::posing_as(bastion.plane, "jit:alice", &["system:masters"]),
    ] {
        for (path, body, why) in
            [(&token, &json!({ "spec": {} }), NO_TOKEN), (&secrets(&bastion), &token_secret("new"), NO_SECRET)]
        {
            let (status, answer) = holder.call(Method::POST, path, body);
            assert!(status == 403 && answer.to_string().contains(why), "{path}: {answer}");
        }
        let (status, answer) = holder.send(Method::POST, &secrets(&bastion), PROTOBUF, &[], in_protobuf("new"));
        assert!(status == 403 && answer.to_string().contains(NO_SECRET), "{answer}");
        let plain = json!({ "metadata": { "name": "plain" } });
        holder.create(&secrets(&bastion), &plain);
        holder.delete(&format!("{}/plain", secrets(&bastion)));
    }
    // Nobody else is concerned.
    bastion.admin.create(&secrets(&bastion), &token_secret("new"));
    bastion.admin.create(&token, &json!({ "spec": {} }));
    let (status, answer) = bastion.admin.send(Method::POST, &secrets(&bastion), PROTOBUF, &[], in_protobuf("newer"));
    assert_eq!(status, 200, "what the holders sent is well-formed: {answer}");
}

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// [`token_secret`] as client-go sends it: four bytes, and a `runtime.Unknown` around the Secret
/// (<https://kubernetes.io/docs/reference/using-api/api-concepts/#protobuf-encoding>).
fn in_protobuf(name: &str) -> Vec<u8> {
    // Each field is shorter than what one byte of length can say.
    let field = |number: u8, content: &[u8]| {
        assert!(content.len() < 128);
        [&[number << 3 | 2, u8::try_from(content.len()).unwrap()], content].concat()
    };
    // The API server needs the account to exist, and its name is the only annotation.
    let annotation = [field(1, b"kubernetes.io/service-account.name"), field(2, b"gateway")].concat();
    let metadata = [field(1, name.as_bytes()), field(12, &annotation)].concat();
    let secret = [field(1, &metadata), field(3, b"kubernetes.io/service-account-token")].concat();
    let kind = [field(1, b"v1"), field(2, b"Secret")].concat();
    [b"k8s\0".to_vec(), field(1, &kind), field(2, &secret)].concat()
}
