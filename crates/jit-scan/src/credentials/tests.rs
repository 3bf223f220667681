//! What is found, how severe it is, and which copies are one credential.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{CertificateParams, DnType, KeyPair};

use super::*;
use crate::snapshot::{SigningRequest, Workload};

fn now() -> Timestamp {
    "2026-11-30T00:00:00Z".parse().unwrap()
}

fn strong(kind: Kind, name: &str) -> Finding {
    let namespace = (kind == Kind::ServiceAccount).then(|| "ops".to_owned());
    Finding {
        id: "E01".to_owned(),
        severity: Severity::Critical,
        title: "has full control of everything".to_owned(),
        subject: Some(Subject { kind, namespace, name: name.to_owned() }),
        path: vec![Hop { object: "clusterrolebinding/ops".to_owned(), grants: "everything".to_owned() }],
        scope: Vec::new(),
        system: false,
    }
}

fn name(name: &str) -> Name {
    Name { namespace: Some("ops".to_owned()), name: name.to_owned() }
}

fn secret(called: &str, kind: &str, annotations: &[(&str, &str)], labels: &[(&str, &str)]) -> Secret {
    let map =
        |pairs: &[(&str, &str)]| pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let created = "2025-11-30T00:00:00Z".parse().ok();
    Secret {
        name: name(called),
        meta: Meta { labels: map(labels), annotations: map(annotations), created, identity: None },
        kind: kind.to_owned(),
    }
}

const OF_RELEASE: &[(&str, &str)] = &[("kubernetes.io/service-account.name", "release")];

fn jwt(claims: &str) -> String {
    format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
}

fn in_kubeconfig(file: &str, mode: u32, credential: StandingCredential) -> KubeconfigUser {
    let owner = "alice".to_owned();
    KubeconfigUser { file: file.to_owned(), owner, mode, entry: "me".to_owned(), credential }
}

fn certificate_of(user: &str, groups: &[&str], days: i64) -> ClientCertificate {
    ClientCertificate {
        digest: format!("{user}{days}"),
        user: user.to_owned(),
        groups: groups.iter().map(ToString::to_string).collect(),
        not_before: now() - SignedDuration::from_hours(1),
        not_after: now() + SignedDuration::from_hours(24 * days),
    }
}

fn found(snapshot: &Snapshot) -> Vec<(String, Severity, String)> {
    let rights = [strong(Kind::ServiceAccount, "release"), strong(Kind::Group, "admins")];
    let findings = credentials(snapshot, &rights, now()).findings;
    findings.iter().map(|finding| (finding.id.clone(), finding.severity, finding.title.clone())).collect()
}

#[test]
fn a_token_is_as_severe_as_what_its_account_can_do() {
    let used = &[("kubernetes.io/legacy-token-last-used", "2026-10-01")];
    let other = &[("kubernetes.io/service-account.name", "web")];
    let secrets =
        vec![secret("release-token", ACCOUNT_TOKEN, OF_RELEASE, used), secret("web", ACCOUNT_TOKEN, other, &[])];
    let snapshot = Snapshot { secrets: Some(secrets), ..Snapshot::default() };
    assert_eq!(
        found(&snapshot),
        [
            ("L01".into(), Severity::Critical, "a token of this account never expires; last used on 2026-10-01".into()),
            ("L01".into(), Severity::Low, "a token of this account never expires; no use is recorded".into()),
        ]
    );
    let rights = [strong(Kind::ServiceAccount, "release")];
    let path = credentials(&snapshot, &rights, now()).findings.remove(0).path;
    assert_eq!(path[0].object, "ops/secret/release-token");
    assert_eq!(path[0].grants, "contains the token, created 365 days ago; last used on 2026-10-01");
    assert_eq!(path[1].object, "ops/serviceaccount/release");
}

#[test]
fn a_token_that_the_cluster_has_invalidated_is_no_credential() {
    let labels = &[("kubernetes.io/legacy-token-invalid-since", "2026-10-01")];
    let secrets =
        vec![secret("release-token", ACCOUNT_TOKEN, OF_RELEASE, labels), secret("x", ACCOUNT_TOKEN, &[], &[])];
    assert_eq!(found(&Snapshot { secrets: Some(secrets), ..Snapshot::default() }), []);
}

/// A token in a Secret and in two kubeconfig files is one finding; so is a certificate in two files and in its request.
#[test]
fn copies_of_one_credential_are_one_finding() {
    let claims =
        r#"{"sub": "system:serviceaccount:ops:release", "kubernetes.io/serviceaccount/secret.name": "release-token"}"#;
    let token = StandingCredential::Token(token(&jwt(claims)));
    let issued = certificate_of("bob", &["admins"], 365);
    let certificate = StandingCredential::Certificate(issued.clone());
    let snapshot = Snapshot {
        secrets: Some(vec![secret("release-token", ACCOUNT_TOKEN, OF_RELEASE, &[])]),
        kubeconfigs: vec![
            in_kubeconfig("/home/alice/.kube/config", 0o600, token.clone()),
            in_kubeconfig("/home/bob/.kube/config", 0o644, token),
            in_kubeconfig("/home/bob/admin.conf", 0o640, certificate),
        ],
        signing_requests: Some(vec![SigningRequest {
            name: "bob".to_owned(),
            signer: CLIENT_SIGNER.to_owned(),
            certificate: Some(issued),
        }]),
        ..Snapshot::default()
    };
    let findings = credentials(&snapshot, &[strong(Kind::Group, "admins")], now()).findings;
    let [of_account, of_bob] = findings.as_slice() else { panic!("{findings:#?}") };
    let objects = |finding: &Finding| finding.path.iter().map(|hop| hop.object.clone()).collect::<Vec<_>>();
    assert_eq!(objects(of_account), ["ops/secret/release-token", "/home/alice/.kube/config", "/home/bob/.kube/config"]);
    assert!(of_account.path[2].grants.contains("every account of the host can read it (mode 0644)"));
    let last = "group/admins";
    assert_eq!(objects(of_bob), ["certificatesigningrequest/bob", "/home/bob/admin.conf", last]);
    assert_eq!((of_bob.id.as_str(), of_bob.severity), ("L04", Severity::Critical));
}

#[test]
fn a_certificate_of_the_group_that_may_do_everything_is_critical_whatever_is_bound() {
    let credential = StandingCredential::Certificate(certificate_of("kubernetes-admin", &["system:masters"], 365));
    let kubeconfigs = vec![in_kubeconfig("/etc/kubernetes/admin.conf", 0o600, credential)];
    let found = found(&Snapshot { kubeconfigs, ..Snapshot::default() });
    let title = "a client certificate, which nobody can revoke, is valid for 365 days, until 2027-11-30";
    assert_eq!(found, [("L03".into(), Severity::Critical, title.into())]);
}

#[test]
fn what_is_short_or_over_is_no_finding() {
    let expired = ClientCertificate {
        not_before: now() - SignedDuration::from_hours(9_000),
        not_after: now() - SignedDuration::from_hours(1),
        ..certificate_of("bob", &["admins"], 0)
    };
    let short = StaticToken {
        expires: Some(now() + SignedDuration::from_hours(1)),
        ..token(&jwt(r#"{"sub": "system:serviceaccount:ops:release"}"#))
    };
    let short_certificate = ClientCertificate {
        not_after: now() + SignedDuration::from_mins(30),
        ..certificate_of("alice", &["admins"], 0)
    };
    let file = |credential| in_kubeconfig("/home/alice/.kube/config", 0o600, credential);
    let kubeconfigs = vec![
        file(StandingCredential::Certificate(expired.clone())),
        file(StandingCredential::Certificate(short_certificate)),
        file(StandingCredential::Token(short)),
    ];
    let request =
        |signer: &str, certificate| SigningRequest { name: "x".to_owned(), signer: signer.to_owned(), certificate };
    let signing_requests = vec![
        request(CLIENT_SIGNER, Some(expired)),
        request(CLIENT_SIGNER, None),
        // A kubelet's own, which it renews.
        request(
            "kubernetes.io/kube-apiserver-client-kubelet",
            Some(certificate_of("system:node:a", &["system:nodes"], 365)),
        ),
    ];
    assert_eq!(found(&Snapshot { kubeconfigs, signing_requests: Some(signing_requests), ..Snapshot::default() }), []);
}

#[test]
fn a_list_that_was_not_read_is_not_evaluated() {
    let whats = |snapshot: &Snapshot| credentials(snapshot, &[], now()).not_evaluated.len();
    assert_eq!(whats(&Snapshot::default()), 3);
    let empty = Snapshot {
        secrets: Some(vec![]),
        signing_requests: Some(vec![]),
        workloads: Some(vec![]),
        ..Snapshot::default()
    };
    assert_eq!(whats(&empty), 0);
}

/// Nobody knows what a token that is no JWT can do, so it is not harmless.
#[test]
fn a_token_of_which_nothing_is_known_is_high() {
    let kubeconfigs = vec![in_kubeconfig("/root/.kube/config", 0o600, StandingCredential::Token(token("abc")))];
    let findings = credentials(&Snapshot { kubeconfigs, ..Snapshot::default() }, &[], now()).findings;
    assert_eq!((findings[0].id.as_str(), findings[0].severity), ("L02", Severity::High));
    assert!(!format!("{findings:?}").contains("abc"), "{findings:?}");
}

#[test]
fn only_pods_that_mount_the_token_of_a_strong_account_are_named_once_for_each_account() {
    let workload = |kind: &str, called: &str, account: &str, automount| Workload {
        kind: kind.to_owned(),
        name: name(called),
        account: account.to_owned(),
        automount,
    };
    let account = |called: &str, automount| Account { name: name(called), meta: Meta::default(), automount };
    let mut snapshot = Snapshot {
        accounts: Some(vec![account("release", None), account("web", None)]),
        workloads: Some(vec![
            workload("deployment", "release", "release", None),
            workload("cronjob", "release", "release", Some(true)),
            workload("deployment", "careful", "release", Some(false)),
            workload("deployment", "web", "web", None),
        ]),
        ..Snapshot::default()
    };
    let rights = [strong(Kind::ServiceAccount, "release")];
    let findings = credentials(&snapshot, &rights, now()).findings;
    let [finding] = findings.as_slice() else { panic!("{findings:#?}") };
    assert_eq!((finding.id.as_str(), finding.severity), ("L06", Severity::High));
    assert_eq!(finding.path[0].grants, "its token is in each pod of ops/deployment/release, and of 1 other workloads");
    snapshot.accounts = Some(vec![account("release", Some(false))]);
    snapshot.workloads.as_mut().unwrap().truncate(1);
    assert_eq!(credentials(&snapshot, &rights, now()).findings, []);
}

#[test]
fn bootstrap_tokens_registries_and_clouds_are_named() {
    let cloud = [("eks.amazonaws.com/role-arn".to_owned(), "arn:aws:iam::1:role/x".to_owned())].into();
    let meta = Meta { annotations: cloud, ..Meta::default() };
    let snapshot = Snapshot {
        secrets: Some(vec![
            secret("bootstrap-token-abcdef", BOOTSTRAP_TOKEN, &[], &[]),
            secret("pull", "kubernetes.io/dockerconfigjson", &[], &[]),
            secret("tls", "kubernetes.io/tls", &[], &[]),
        ]),
        accounts: Some(vec![Account { name: name("web"), meta, automount: None }]),
        ..Snapshot::default()
    };
    let ids: Vec<(String, Severity)> = found(&snapshot).into_iter().map(|(id, severity, _)| (id, severity)).collect();
    assert_eq!(ids, [("L05".into(), Severity::Medium), ("L07".into(), Severity::Low), ("L08".into(), Severity::Low)]);
}

#[test]
fn a_certificate_says_whose_it_is() {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "alice");
    params.distinguished_name.push(DnType::OrganizationName, "dev");
    params.not_after = rcgen::date_time_ymd(2027, 1, 1);
    let text = params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem();
    let read = certificate(text.as_bytes()).unwrap();
    assert_eq!((read.user.as_str(), read.groups.as_slice()), ("alice", &["dev".to_owned()][..]));
    assert_eq!(read.not_after.to_string(), "2027-01-01T00:00:00Z");
    assert!(matches!(certificate(b"x"), Err(NotACredential::Pem)));
    let broken = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    assert!(matches!(certificate(broken.as_bytes()), Err(NotACredential::Der)));
}

#[test]
fn a_token_says_whose_it_is_only_if_it_is_a_jwt() {
    let read = token(&jwt(r#"{"sub": "system:serviceaccount:ops:release", "exp": 1798761600}"#));
    assert_eq!(read.account, Some(name("release")));
    assert_eq!(read.expires, "2027-01-01T00:00:00Z".parse().ok());
    for text in ["", "a.b.c", "a.b", &jwt("[]"), &jwt("{\"sub\": 1}")] {
        let read = token(text);
        assert_eq!((read.account, read.secret, read.expires), (None, None, None), "{text}");
    }
}
