//! What a log proves, and what it does not if a part of it is missing.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use jit_core::rbac::risk::Severity;

use super::*;
use crate::finding::{Finding, Hop, Kind, Subject};

pub(crate) const EVENT: &str = r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"1","stage":"ResponseComplete","requestURI":"/api/v1/namespaces/payments/secrets/db","verb":"get","user":{"username":"system:serviceaccount:payments:builder","groups":["system:serviceaccounts"]},"objectRef":{"resource":"secrets","namespace":"payments","name":"db","apiVersion":"v1"},"responseStatus":{"code":200},"requestReceivedTimestamp":"2026-09-01T10:00:00.000000Z","stageTimestamp":"2026-09-01T10:00:00.100000Z","annotations":{"authorization.k8s.io/decision":"allow","authorization.k8s.io/reason":"RBAC: allowed by RoleBinding \"dev/payments\" of ClusterRole \"edit\" to ServiceAccount \"builder/payments\""}}
"#;

/// An event of somebody, a day of November 2026, and what else is different in it.
fn event(user: &str, day: u8, changes: &[(&str, &str)]) -> String {
    let mut text = EVENT
        .replace("system:serviceaccount:payments:builder", user)
        .replace("2026-09-01", &format!("2026-11-{day:02}"));
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    text
}

fn uses(logs: &[&str]) -> Uses {
    let mut all = AuditLogs::default();
    for log in logs {
        all.read("audit.log", log.as_bytes()).unwrap();
    }
    all.finish()
}

fn finding(kind: Kind, name: &str, object: &str) -> Finding {
    let namespace = (kind == Kind::ServiceAccount).then(|| "payments".to_owned());
    Finding {
        id: "E25".to_owned(),
        severity: Severity::High,
        title: "can read Secrets".to_owned(),
        subject: Some(Subject { kind, namespace, name: name.to_owned() }),
        path: vec![Hop { object: object.to_owned(), grants: String::new() }],
        scope: Vec::new(),
        system: false,
    }
}

const BY_CLUSTER: (&str, &str) = (
    r#"RoleBinding \"dev/payments\" of ClusterRole \"edit\" to ServiceAccount \"builder/payments\""#,
    r#"ClusterRoleBinding \"ops\" of ClusterRole \"edit\" to Group \"dev\""#,
);

#[test]
fn a_use_belongs_to_the_user_and_to_the_binding_that_allowed_it() {
    let log = [EVENT.to_owned(), event("alice", 2, &[BY_CLUSTER]), event("bob", 24, &[BY_CLUSTER])].concat();
    let uses = uses(&[&log]);
    let of = |kind, name, object| uses.of(&finding(kind, name, object)).unwrap();
    let builder = of(Kind::ServiceAccount, "builder", "payments/rolebinding/dev");
    assert_eq!(builder.unused_days, 84);
    assert_eq!(builder.to_string(), "unused for 84 days, last used on 2026-09-01");
    assert_eq!(builder.used[0].to_string(), "get secrets in payments: once, last on 2026-09-01");
    assert_eq!(of(Kind::User, "alice", "clusterrolebinding/ops").unused_days, 22);
    let group = of(Kind::Group, "dev", "clusterrolebinding/ops");
    assert_eq!((group.used[0].count, group.unused_days), (2, 0));
    assert_eq!(group.to_string(), "last used on 2026-11-24, the last day of the logs");
    for (kind, name, object) in [
        (Kind::User, "alice", "payments/rolebinding/dev"),
        (Kind::User, "carol", "clusterrolebinding/ops"),
        (Kind::Group, "ops", "clusterrolebinding/ops"),
    ] {
        let usage = of(kind, name, object);
        assert_eq!(usage.to_string(), "not used in the 84 days of the logs, 2026-09-01 to 2026-11-24");
        assert!(usage.used.is_empty());
    }
    // A credential is used whenever its subject does anything.
    assert_eq!(of(Kind::ServiceAccount, "builder", "payments/secret/token").used.len(), 1);
    assert_eq!(uses.of(&finding(Kind::Group, "dev", "kube-system/secret/token")), None);
}

#[test]
fn only_what_was_allowed_is_a_use_and_a_watch_is_one() {
    let log = [
        event("alice", 1, &[("ResponseComplete", "RequestReceived")]),
        event("alice", 2, &[(":\"allow\"", ":\"forbid\"")]),
        event("bob", 3, &[("ResponseComplete", "ResponseStarted"), ("\"get\"", "\"watch\"")]),
        event("bob", 4, &[("\"get\"", "\"watch\"")]),
        event("carol", 5, &[("ResponseComplete", "ResponseStarted"), ("\"get\"", "\"watch\"")]),
    ]
    .concat();
    let uses = uses(&[&log]);
    let of = |name: &str| uses.of(&finding(Kind::User, name, "payments/rolebinding/dev")).unwrap();
    assert!(of("alice").used.is_empty());
    assert_eq!(of("bob").used.iter().map(|used| (used.verb.as_str(), used.count)).collect::<Vec<_>>(), [("watch", 1)]);
    assert_eq!(of("carol").used[0].count, 1);
}

#[test]
fn an_impersonated_request_uses_the_rights_of_the_other() {
    let as_alice = ("\"objectRef\"", r#""impersonatedUser":{"username":"alice"},"objectRef""#);
    let uses = uses(&[&event("carol", 1, &[as_alice])]);
    let used = |name: &str| uses.of(&finding(Kind::User, name, "payments/rolebinding/dev")).unwrap().used.len();
    assert_eq!((used("alice"), used("carol")), (1, 0));
}

#[test]
fn subresources_groups_and_paths_are_told_apart() {
    let log = [
        event(
            "alice",
            1,
            &[("\"resource\":\"secrets\"", r#""resource":"deployments","subresource":"scale","apiGroup":"apps""#)],
        ),
        event(
            "alice",
            1,
            &[
                (r#""objectRef":{"resource":"secrets","namespace":"payments","name":"db","apiVersion":"v1"},"#, ""),
                ("/api/v1/namespaces/payments/secrets/db", "/metrics?x=1"),
            ],
        ),
    ]
    .concat();
    let usage = uses(&[&log]).of(&finding(Kind::User, "alice", "payments/rolebinding/dev")).unwrap();
    let shown: Vec<String> = usage.used.iter().map(ToString::to_string).collect();
    let day = "once, last on 2026-11-01";
    assert_eq!(shown, [format!("get /metrics: {day}"), format!("get deployments.apps/scale in payments: {day}")]);
}

/// Nothing is called unused if a part of the logs is missing; what was seen remains true.
#[test]
fn a_log_that_is_not_whole_proves_no_disuse() {
    let silent = event("bob", 1, &[("authorization.k8s.io/decision\":\"allow", "other\":\"x")]);
    for broken in ["{\"kind\":\"Event\"\n", "nonsense\n", "{\"kind\":\"EventList\",\"items\":[]}\n", &silent] {
        let uses = uses(&[&format!("{broken}{}", event("alice", 2, &[]))]);
        let of = |name: &str| uses.of(&finding(Kind::User, name, "payments/rolebinding/dev"));
        assert_eq!(of("alice").unwrap().used.len(), 1, "{broken}");
        assert_eq!(of("carol"), None, "{broken}");
    }
    // Nobody decided about a request that was one too many.
    let early = silent.replace("\"code\":200", "\"code\":429");
    let whole = uses(&[&early]);
    assert!(whole.of(&finding(Kind::User, "bob", "payments/rolebinding/dev")).unwrap().used.is_empty());
    // The API server is still writing the last line.
    let whole = uses(&[&format!("{EVENT}{{\"kind\":\"Ev")]);
    assert!(whole.of(&finding(Kind::User, "carol", "payments/rolebinding/dev")).is_some());
    assert!(whole.not_evaluated().is_empty());
}

#[test]
fn what_could_not_be_read_is_named_by_its_line() {
    let uses = uses(&[&format!("{EVENT}x\n\n{EVENT}y\nz\n")]);
    let [missing] = uses.not_evaluated() else { panic!("{:?}", uses.not_evaluated()) };
    assert!(missing.why.starts_with("line 2 is no audit event: "), "{}", missing.why);
    assert!(missing.why.ends_with("; 2 more lines like it"), "{}", missing.why);
}

#[test]
fn logs_without_an_event_say_so() {
    let uses = uses(&["\n"]);
    assert_eq!(uses.not_evaluated().len(), 1);
    assert_eq!(uses.of(&finding(Kind::User, "alice", "payments/rolebinding/dev")), None);
}

fn gzip(parts: &[&[u8]]) -> Vec<u8> {
    let each = parts.iter().flat_map(|part| {
        let mut out = GzEncoder::new(Vec::new(), Compression::default());
        out.write_all(part).unwrap();
        out.finish().unwrap()
    });
    each.collect()
}

#[test]
fn gzip_is_read_like_plain_text_also_if_it_has_several_members() {
    let mut logs = AuditLogs::default();
    let log = gzip(&[EVENT.as_bytes(), event("alice", 24, &[]).as_bytes()]);
    logs.read("audit.log.gz", log.as_slice()).unwrap();
    let uses = logs.finish();
    assert_eq!(uses.of(&finding(Kind::ServiceAccount, "builder", "payments/rolebinding/dev")).unwrap().unused_days, 84);
    let mut logs = AuditLogs::default();
    assert!(logs.read("audit.log.gz", &log[..log.len() - 30]).is_err(), "a part of a gzip is an error");
}

#[test]
fn neither_a_gzip_bomb_nor_an_endless_line_is_read_to_its_end() {
    for bomb in [vec![b' '; 17 << 20], [" ".repeat(1 << 16).as_str(), "\n"].concat().repeat(300).into_bytes()] {
        let mut logs = AuditLogs::default();
        logs.read("audit.log.gz", gzip(&[&bomb]).as_slice()).unwrap();
        let uses = logs.finish();
        let [.., missing] = uses.not_evaluated() else { panic!("nothing was left out") };
        assert!(
            uses.not_evaluated().iter().any(|missing| missing.why.ends_with("the rest was not read")),
            "{missing:?}"
        );
        assert_eq!(uses.of(&finding(Kind::User, "alice", "payments/rolebinding/dev")), None);
    }
}
