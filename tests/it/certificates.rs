//! Certificates that were really issued, before those who judge certificates: a linter, Go's own x509 code,
//! and kube-apiserver.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::bastion::{ALICE, Bastion, Key, Options, repository, text};
use crate::plane::{Plane, programs, scratch};

/// pkilint has nothing to say about the leaf, also of broken glass, the issuing certificate and the root of a running daemon.
#[test]
fn a_linter_finds_nothing_in_what_is_issued() {
    let bastion = Bastion::start();
    let access = bastion.live(&bastion.ask("5m"));
    let folder = scratch("lint");
    std::fs::write(folder.join("user.pem"), &access.chain).unwrap();
    std::fs::write(folder.join("broken-glass.pem"), taken_without_an_answer()).unwrap();
    std::fs::copy(bastion.dir.join("var/ca/play/root.crt"), folder.join("root.crt")).unwrap();
    let linted = Command::new(repository().join("tests/certs/lint.sh")).arg(&folder).output().unwrap();
    assert!(linted.status.success(), "{}{}", text(&linted.stdout), text(&linted.stderr));
    // Both leaves, issuing and root were each looked at.
    assert!(text(&linted.stdout).lines().count() >= 4, "{}", text(&linted.stdout));
}

/// Go's x509 code and kube-apiserver read the same person, group and uid out of it, and the trail says the
/// same serial number and hash.
#[test]
fn go_and_the_api_server_read_the_same_name() {
    let bastion = Bastion::start();
    let access = bastion.live(&bastion.ask("5m"));
    let folder = scratch("whois");
    std::fs::write(folder.join("chain.pem"), &access.chain).unwrap();
    let told = whois(&folder.join("chain.pem"), &bastion.dir.join("var/ca/play/root.crt"));
    let review = access.client.create(
        "/apis/authentication.k8s.io/v1/selfsubjectreviews",
        &json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview" }),
    );
    let user = &review["status"]["userInfo"];
    assert_eq!(told["name"], user["username"]);
    assert_eq!(told["uid"], user["uid"]);
    assert_eq!(told["groups"][0], user["groups"][0]);
    assert_eq!(told["groups"].as_array().unwrap().len(), 1, "the other group is the API server's own");
    assert_eq!(json!([told["credentialId"]]), user["extra"]["authentication.kubernetes.io/credential-id"]);
    assert_eq!((&told["isCA"], &told["extKeyUsage"]), (&json!(false), &json!(["clientAuth"])));

    let (_, events) = bastion.get(crate::bastion::ERIN, &crate::bastion::path(&access.grant, "/events"));
    let of = |kind: &str| {
        let entries = events["events"].as_array().unwrap();
        entries.iter().find(|entry| entry["event"]["kind"] == kind).unwrap()["event"].clone()
    };
    assert_eq!(of("issued")["serial"], told["serial"]);
    assert_eq!(format!("X509SHA256={}", of("issued")["leafSha256"].as_str().unwrap()), told["credentialId"]);
    assert_eq!(of("issue_intended")["notAfter"], told["notAfter"]);
}

/// The signed bytes are those whose hash was in the trail before the signature.
#[test]
fn the_signed_bytes_are_those_that_were_recorded() {
    let bastion = Bastion::start();
    let access = bastion.live(&bastion.ask("5m"));
    let leaf = pem::parse(&access.chain).unwrap();
    let (_, certificate) = x509_parser::parse_x509_certificate(leaf.contents()).unwrap();
    let recorded = jitd::grant::digest::sha256_hex(certificate.tbs_certificate.as_ref());
    let (_, events) = bastion.get(crate::bastion::ERIN, &crate::bastion::path(&access.grant, "/events"));
    let intents: Vec<&Value> = events["events"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| entry["event"]["kind"] == "issue_intended")
        .collect();
    assert_eq!(intents.len(), 1);
    assert_eq!(intents[0]["event"]["tbsSha256"], json!(recorded));
}

/// A certificate that nobody agreed to.
fn taken_without_an_answer() -> String {
    let policy = crate::glass::policy("0s", "4h");
    let bastion = Bastion::with(Plane::shared(), Options { policy, ..Options::default() });
    let key = Key::new();
    let grant = bastion.request(ALICE, &bastion.ask("5m"), &key);
    let path = crate::bastion::path(&grant, "/break-glass");
    assert_eq!(bastion.post(ALICE, &path, &json!({ "reason": "nobody answers" })).0, 200);
    bastion.collect(&grant, key).chain
}

pub(crate) fn whois(chain: &Path, root: &Path) -> Value {
    let told = Command::new(programs().join("whois")).arg("--roots").arg(root).arg(chain).output().unwrap();
    assert!(told.status.success(), "{}", text(&told.stderr));
    serde_json::from_slice(&told.stdout).unwrap()
}
