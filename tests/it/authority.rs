//! Authorities under a running daemon: a renewal, an issuing certificate of another PKI, one authority for each
//! cluster; and the daemon's own credential.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use serde_json::{Value, json};

use crate::bastion::{ALICE, BOB, Bastion, Key, Options, path, text};
use crate::plane::{Admin, Plane, until_within};

/// The daemon looks for a new authority every ten seconds.
const TAKEN_UP: Duration = Duration::from_secs(25);

/// The second certificate of a chain: the one that issues.
fn issuing(chain: &str) -> String {
    pem::encode(&pem::parse_many(chain).unwrap()[1])
}

/// Renews until the chain has another issuing certificate, and answers with that chain.
fn renewed_under_another(bastion: &Bastion<'_>, grant: &Value, key: &Key, before: &str) -> String {
    until_within(TAKEN_UP, "the daemon takes up the new authority", || {
        let (status, renewed) = bastion.certificate(ALICE, grant, key);
        assert_eq!(status, 200, "{renewed}");
        let chain = renewed["certificate"].as_str().unwrap().to_owned();
        (issuing(&chain) != issuing(before)).then_some(chain)
    })
}

/// `jitd ca renew` creates a new issuing certificate under the same root; the daemon uses it without a restart, and
/// earlier certificates still work. The root key can be elsewhere meanwhile.
#[test]
fn a_renewed_authority_is_used_without_a_restart() {
    let bastion = Bastion::start();
    let access = bastion.live(&bastion.ask("5m"));
    let folder = bastion.dir.join("var/ca/play");
    let away = bastion.dir.join("root.key");
    std::fs::rename(folder.join("root.key"), &away).unwrap();
    let refused = bastion.jitd(&["ca", "renew", "play"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("root.key"), "{}", text(&refused.stderr));

    let renewed = bastion.jitd(&["ca", "renew", "play", "--root-key", away.to_str().unwrap(), "--issuing-days", "7"]);
    assert!(renewed.status.success(), "{}", text(&renewed.stderr));
    let chain = renewed_under_another(&bastion, &access.grant, &access.key, &access.chain);
    let client = Admin::with_certificate(bastion.plane, &chain, &access.key.pem());
    assert_eq!(client.get(&format!("/api/v1/namespaces/{}/configmaps", bastion.ns)).0, 200);
    assert_eq!(bastion.look(&access, &bastion.ns), 200, "a certificate of the one before");
    assert_eq!(bastion.live(&bastion.ask("1m")).client.get("/api").0, 200, "a new grant, bound by a new credential");
}

/// An issuing certificate from a company's own PKI: requested, signed, imported, used. And again, although the root
/// expires first, so that the chain expires at the same time as before.
#[test]
fn another_pki_can_issue() {
    let bastion = Bastion::start();
    let access = bastion.live(&bastion.ask("5m"));
    let root_key = KeyPair::generate().unwrap();
    let mut root = CertificateParams::default();
    root.distinguished_name.push(DnType::CommonName, "Example Root");
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    root.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    root.not_after = (std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000)).into();
    let root_pem = root.self_signed(&root_key).unwrap().pem();
    // The API server has to know the new root before the daemon uses it.
    let root_file = bastion.dir.join("company.crt");
    std::fs::write(&root_file, &root_pem).unwrap();
    bastion.plane.trust(&root_file);

    let mut chain = access.chain.clone();
    for _ in 0..2 {
        let asked = bastion.jitd(&["ca", "csr", "play"]);
        assert!(asked.status.success(), "{}", text(&asked.stderr));
        let mut request = CertificateSigningRequestParams::from_pem(&text(&asked.stdout)).unwrap();
        request.params.use_authority_key_identifier_extension = true;
        let signed = request.signed_by(&Issuer::from_params(&root, &root_key)).unwrap().pem();
        let file = bastion.dir.join("chain.pem");
        std::fs::write(&file, format!("{signed}{root_pem}")).unwrap();
        let imported = bastion.jitd(&["ca", "import", "play", file.to_str().unwrap()]);
        assert!(imported.status.success(), "{}", text(&imported.stderr));
        assert!(text(&imported.stdout).contains("Example Root"), "{}", text(&imported.stdout));
        chain = renewed_under_another(&bastion, &access.grant, &access.key, &chain);
    }

    let client = Admin::with_certificate(bastion.plane, &chain, &access.key.pem());
    assert_eq!(client.get(&format!("/api/v1/namespaces/{}/configmaps", bastion.ns)).0, 200);
    let (status, ended) = bastion.post(ALICE, &path(&access.grant, "/end"), &Value::Null);
    assert_eq!((status, &ended["phase"]), (200, &json!("ended")), "the daemon's own credential comes from it too");
}

/// Two clusters in one configuration have separate authorities, and a certificate for one is not valid in the other.
#[test]
fn each_cluster_has_its_own_authority() {
    let other = Plane::to_stop();
    let mut bastion = Bastion::prepared(Plane::shared(), Options::default());
    let entry = format!(
        "clusters:\n- {{name: other, server: \"{}\", certificateAuthority: \"{}\", kubeconfig: \"{}\"}}\n",
        other.server,
        other.ca.display(),
        other.kubeconfig.display()
    );
    bastion.rewrite_config("clusters:\n", &entry);
    let policy = std::fs::read_to_string(bastion.dir.join("policy.yaml")).unwrap();
    bastion.write_policy(&policy.replace("clusters: [play]", "clusters: [play, other]"));
    let made = bastion.jitd(&["init"]);
    assert!(text(&made.stderr).contains("cluster play: the authority exists already"), "{}", text(&made.stderr));
    other.trust(&bastion.dir.join("var/ca/other/root.crt"));
    other.admin().create("/api/v1/namespaces", &json!({ "metadata": { "name": bastion.ns } }));
    bastion.serve();

    let mut ask = bastion.ask("1m");
    ask["cluster"] = json!("other");
    let key = Key::new();
    let grant = bastion.request(ALICE, &ask, &key);
    assert_eq!(bastion.approve(BOB, &grant).0, 200);
    let (status, certificate) = bastion.certificate(ALICE, &grant, &key);
    assert_eq!((status, &certificate["cluster"]["server"]), (200, &json!(other.server)), "{certificate}");
    let chain = certificate["certificate"].as_str().unwrap();
    let looked = format!("/api/v1/namespaces/{}/configmaps", bastion.ns);
    assert_eq!(Admin::with_certificate(&other, chain, &key.pem()).get(&looked).0, 200);
    assert_eq!(Admin::with_certificate(bastion.plane, chain, &key.pem()).get(&looked).0, 401);
    assert_eq!(bastion.post(ALICE, &path(&grant, "/end"), &Value::Null).0, 200);

    // With one root for both, whoever had the issuing key of the one would be the daemon in the other.
    assert!(bastion.terminate());
    let folder = |name: &str| bastion.dir.join("var/ca").join(name);
    std::fs::remove_dir_all(folder("other")).unwrap();
    assert!(
        std::process::Command::new("cp").arg("-a").args([folder("play"), folder("other")]).status().unwrap().success()
    );
    let shared = "share a key";
    let served = bastion.jitd(&["serve"]);
    let said = text(&served.stderr);
    assert!(
        !served.status.success() && said.contains(shared) && said.contains("hint: give each cluster its own root"),
        "{said}"
    );
    let checked = bastion.jitd(&["check", "--cluster", "play"]);
    let said = text(&checked.stdout);
    assert!(said.lines().any(|line| line.starts_with("fault   play authority: ") && line.contains(shared)), "{said}");
    // Also below another issuing certificate.
    assert!(bastion.jitd(&["ca", "renew", "other"]).status.success());
    assert!(text(&bastion.jitd(&["serve"]).stderr).contains(shared));
}

/// The daemon uses the cluster as `jit:daemon:<host>`, with a certificate of a few minutes that it issued itself.
#[test]
fn the_daemon_has_no_long_lived_credential() {
    let bastion = Bastion::start();
    let access = bastion.live(&bastion.ask("1m"));
    let name = access.grant["id"].as_str().unwrap();
    let log = std::fs::read_to_string(&bastion.plane.audit).unwrap();
    let bound = log
        .lines()
        .filter(|line| line.contains(&format!("jit-{name}")) && line.contains("\"verb\":\"create\""))
        .find_map(|line| serde_json::from_str::<Value>(line).ok())
        .unwrap();
    assert_eq!(bound["user"]["username"], format!("jit:daemon:{}", bastion.host));
    assert_eq!(bound["user"]["groups"], json!(["system:authenticated"]));
}
