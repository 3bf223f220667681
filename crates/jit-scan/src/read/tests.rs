//! What is read, what is refused, and what is said about it. The input here is as broken and hostile as a file can be.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;
use crate::finding::Kind;
use crate::snapshot::Operator;

fn read(text: &str) -> Result<Snapshot, ReadError> {
    read_bytes(text.as_bytes())
}

fn read_bytes(bytes: &[u8]) -> Result<Snapshot, ReadError> {
    let mut reader = Reader::default();
    reader.stream("cluster.json", bytes)?;
    Ok(reader.finish())
}

fn whats(snapshot: &Snapshot) -> Vec<&str> {
    snapshot.not_evaluated.iter().map(|one| one.what.as_str()).collect()
}

const DUMP: &str = r#"{
  "apiVersion": "v1",
  "items": [
    {"aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "k", "operator": "NotIn", "values": ["v"]}]}]},
     "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
     "metadata": {"name": "all", "creationTimestamp": "2026-01-02T03:04:05Z", "labels": null,
                  "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "owner": "dev"}},
     "rules": null},
    {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "web", "namespace": "shop"},
     "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"], "resourceNames": null}]},
    {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": {"a": "} ] \" \\"}, "rules": 7},
    {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "web", "namespace": "shop"},
     "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "web"},
     "subjects": [{"kind": "ServiceAccount", "name": "builder"}, {"apiGroup": "x", "kind": "User", "name": "alice", "namespace": ""}]},
    {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "builder", "namespace": "shop"}, "automountServiceAccountToken": false}
  ],
  "kind": "List",
  "metadata": {"resourceVersion": ""}
}
"#;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

#[test]
fn a_dump_of_kubectl_is_read_plain_and_compressed() {
    for bytes in [DUMP.as_bytes().to_vec(), gzip(DUMP.as_bytes()), [&b"\xef\xbb\xbf"[..], DUMP.as_bytes()].concat()] {
        let snapshot = read_bytes(&bytes).unwrap();
        let [all, web] = snapshot.roles.as_slice() else { panic!("{:?}", snapshot.roles) };
        assert_eq!(all.aggregates.as_ref().unwrap()[0].expressions[0].operator, Operator::NotIn);
        assert_eq!(all.meta.annotations.keys().collect::<Vec<_>>(), ["owner"]);
        assert_eq!(all.meta.created, Some("2026-01-02T03:04:05Z".parse().unwrap()));
        assert_eq!(web.name, Name { namespace: Some("shop".to_owned()), name: "web".to_owned() });
        assert_eq!(web.rules[0].verbs, ["get", "list"]);
        let subjects = &snapshot.bindings[0].subjects;
        assert_eq!((subjects[0].kind, subjects[0].namespace.as_deref()), (Kind::ServiceAccount, None));
        assert_eq!((subjects[1].kind, subjects[1].namespace.as_deref()), (Kind::User, None));
        assert_eq!(snapshot.accounts.as_ref().unwrap()[0].automount, Some(false));
        assert_eq!(whats(&snapshot), ["clusterrolebindings", "namespaces"]);
    }
}

#[test]
fn manifests_of_many_documents_are_read() {
    let text = "%YAML 1.2\n# nothing\n---\n---\napiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: pods}\nrules:\n- apiGroups: [\"\"]\n  resources: [pods]\n  verbs: [get]\n--- # next\nmetadata:\n  name: pods\nkind: ClusterRoleBinding\nroleRef: {kind: ClusterRole, name: pods}\napiVersion: rbac.authorization.k8s.io/v1\n...\n---\napiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Namespace, metadata: {name: shop}}\n- {apiVersion: v1, kind: ServiceAccount, metadata: {name: builder}}\n---\nkind: Kustomization\nresources: [a.yaml]\n";
    let snapshot = read(text).unwrap();
    assert_eq!(snapshot.roles[0].rules[0].resources, ["pods"]);
    assert_eq!(snapshot.bindings[0].subjects, []);
    assert_eq!(snapshot.namespaces.as_deref(), Some(&["shop".to_owned()][..]));
    assert_eq!(snapshot.accounts.as_ref().unwrap()[0].name.namespace.as_deref(), Some("default"));
    assert_eq!(whats(&snapshot), ["roles", "rolebindings"]);
}

#[test]
fn the_list_of_a_kind_says_what_its_items_are_and_that_there_are_no_more() {
    let item = r#"{"metadata": {"name": "pods"}, "rules": []}"#;
    let version = r#""apiVersion": "rbac.authorization.k8s.io/v1""#;
    for text in [
        format!(r#"{{"kind": "ClusterRoleList", {version}, "items": [{item}]}}"#),
        format!(r#"{{"items": [{item}], "kind": "ClusterRoleList", {version}}}"#),
    ] {
        assert_eq!(read(&text).unwrap().roles.len(), 1, "{text}");
    }
    let empty = read(&format!(r#"{{"kind": "RoleBindingList", {version}, "items": []}}"#)).unwrap();
    assert!(!whats(&empty).contains(&"rolebindings"), "{empty:?}");
    let none =
        read(r#"{"kind": "ServiceAccountList", "apiVersion": "v1", "items": []}{"gitVersion": "v1.36.3"}"#).unwrap();
    assert_eq!(none.accounts.as_deref().map(<[_]>::len), Some(0));
    assert_eq!(none.version, Some("v1.36".parse().unwrap()));
}

#[test]
fn pages_of_a_live_list_name_the_next_one() {
    let mut reader = Reader::default();
    let page = |more: &str| {
        format!(
            r#"{{"kind": "X", "metadata": {{"continue": "{more}"}}, "items": [{{"metadata": {{"name": "p{more}"}}}}]}}"#
        )
        .replace("\"X\"", "\"NamespaceList\"")
    };
    assert_eq!(reader.page(Listed::Namespace, page("n2").as_bytes()).unwrap().as_deref(), Some("n2"));
    assert_eq!(reader.page(Listed::Namespace, page("").as_bytes()).unwrap(), None);
    assert!(reader.page(Listed::Namespace, br#"{"kind": "Status"}"#).is_err());
    reader.refused(Listed::Role, "forbidden".to_owned());
    let snapshot = reader.finish();
    assert_eq!(snapshot.namespaces.unwrap(), ["pn2", "p"]);
    assert_eq!(snapshot.not_evaluated[0], NotEvaluated { what: "roles".to_owned(), why: "forbidden".to_owned() });
}

#[test]
fn what_is_there_twice_counts_once_or_with_both_contents() {
    let role = |verb: &str| {
        format!(
            r#"{{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {{"name": "a"}}, "rules": [{{"verbs": ["{verb}"]}}]}}"#
        )
    };
    let same = read(&[role("get"), role("get")].concat()).unwrap();
    assert_eq!((same.roles.len(), same.roles[0].rules.len()), (1, 1));
    assert!(!whats(&same).contains(&"clusterrole a"));
    let both = read(&[role("get"), role("list")].concat()).unwrap();
    assert_eq!((both.roles.len(), both.roles[0].rules.len()), (1, 2));
    assert_eq!(whats(&both)[0], "clusterrole a");
}

#[test]
fn a_malformed_object_is_not_evaluated_and_the_next_is_read() {
    let head = r#"{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "#;
    let good = format!(r#"{head}"metadata": {{"name": "good"}}}}"#);
    for (bad, why) in [
        (r#""metadata": {"name": "a"}, "rules": 7}"#, "invalid type: integer `7`"),
        (r#""metadata": {}}"#, "it has no name"),
        (r#""metadata": {"name": "a", "name": "b"}}"#, "duplicate field `name`"),
        (r#""metadata": {"name": "a"}, "rules": [{"verbs": [null]}]}"#, "invalid type: null"),
        ("\"metadata\": {\"name\": 1, \"labels\": {\"\u{202e}\": \"x\"}}}", "expected a string"),
    ] {
        let snapshot = read(&format!("{head}{bad}\n{good}")).unwrap();
        assert_eq!(snapshot.roles.len(), 1, "{bad}");
        let said = &snapshot.not_evaluated[0];
        assert_eq!(said.what, "clusterrole in cluster.json, line 1", "{bad}");
        assert!(said.why.contains(why), "{bad}: {said:?}");
    }
}

/// Each with what is said, and on which line.
#[test]
fn broken_and_hostile_input_is_an_error_with_its_line() {
    let deep = "[".repeat(300_000);
    let nested: String = (0..200).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    let balanced = format!("{{\"a\": {deep}{}}}", "]".repeat(300_000));
    let long = format!(r#"{{"a": "{}"}}"#, "x".repeat(17 << 20));
    let table: &[(&str, u64, &str)] = &[
        ("", 0, ""),
        ("{", 1, "ends in the middle"),
        ("{\"a\": 1,\n}", 2, "expected a key"),
        ("{\"a\"\n: NaN}", 1, "expected value"),
        ("{\"kind\": \"List\", \"items\": [\n{},\n]}", 3, "expected an object, found `]`"),
        ("{\"kind\": \"List\", \"items\": [\n{}\n{}]}", 3, "expected `,` or `]`"),
        ("{\"kind\": \"List\", \"items\": [\n{\"a\":\n\"b}]}", 2, "ends in the middle"),
        ("{\"items\": [], \"items\": []}", 1, "twice"),
        ("{\"kind\": \"Role\", \"items\": []}", 1, "no list has `items`"),
        ("{\"kind\": \"a\", \"kind\": \"b\"}", 1, "duplicate field `kind`"),
        (
            "{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": [{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": []}]}",
            1,
            "a list inside",
        ),
        ("{\"kind\": \"RoleList\", \"items\": null}", 0, ""),
        ("{\"a\": {]}", 1, "key must be"),
        ("a: b: c", 1, "mapping"),
        ("kind: a\nkind: b\n", 2, "duplicate mapping key: kind"),
        ("---\nok: 1\n---\n- 1\n", 3, "not an object"),
        ("{{ if .Values.x }}", 1, "expected a key, found `{`"),
        ("\u{1b}[31mx: \u{7}", 1, ""),
        (&deep, 1, ""),
        (&balanced, 0, ""),
        (&nested, 65, "nested too deeply"),
        (&long, 1, "longer than 16 MiB"),
    ];
    for (text, line, why) in table {
        let shown: String = text.chars().take(60).collect();
        match read(text) {
            Ok(_) => assert_eq!(*line, 0, "{shown:?}"),
            Err(ReadError::Malformed { line: found, why: said, .. }) => {
                assert_eq!(found, *line, "{shown:?}: {said}");
                assert!(said.contains(why), "{shown:?}: {said}");
                assert!(!said.contains(char::is_control) && said.len() < 2000, "{shown:?}: {said:?}");
            }
            Err(error) => panic!("{shown:?}: {error}"),
        }
    }
    let utf16: Vec<u8> = "{}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let said = read_bytes(&[&[0xff, 0xfe], utf16.as_slice()].concat()).unwrap_err().to_string();
    assert_eq!(said, "cluster.json, line 1: is UTF-16; PowerShell writes UTF-8 with `Out-File -Encoding utf8`");
    assert!(read_bytes(b"a: \xff\n").unwrap_err().to_string().contains("not UTF-8"));
    // 20 MiB that take 20 KiB: the first object is too long.
    for filler in [b' ', b'x'] {
        let bomb = gzip(&[br#"{"a": "#.to_vec(), vec![filler; 20 << 20]].concat());
        assert!(bomb.len() < 1 << 16, "{}", bomb.len());
        let said = read_bytes(&bomb).unwrap_err().to_string();
        assert!(said.contains("longer than 16 MiB") || said.contains("in the middle"), "{said}");
    }
    let cut = gzip(DUMP.as_bytes());
    assert!(read_bytes(&cut[..cut.len() / 2]).is_err());
}

#[test]
fn aliases_of_yaml_cannot_grow_without_limit() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let below = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{below}]\n"));
    }
    assert!(read(&bomb).is_err());
}

#[test]
fn long_names_are_kept_and_shown_short() {
    let long = "x".repeat(1 << 20);
    let role = |verb: &str| {
        format!(
            r#"{{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {{"name": "{long}"}}, "rules": [{{"verbs": ["{verb}"]}}]}}"#
        )
    };
    let snapshot = read(&[role("get"), role("list")].concat()).unwrap();
    assert_eq!(snapshot.roles[0].name.name.len(), 1 << 20);
    assert!(snapshot.not_evaluated[0].what.len() < 300, "{}", snapshot.not_evaluated[0].what.len());
}

#[test]
fn a_folder_is_read_file_by_file() {
    let folder = std::env::temp_dir().join(format!("jit-scan-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("below")).unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.join(name), bytes).unwrap();
    write("b.json.gz", &gzip(DUMP.as_bytes()));
    write("a.YAML", b"kind: Namespace\napiVersion: v1\nmetadata: {name: shop}\n");
    write("below/broken.yml", b"{{ .Values }}\n");
    write("below/values.yaml", b"replicas: 3\n");
    write("notes.txt", b"{{");
    std::os::unix::fs::symlink(&folder, folder.join("below/circle")).unwrap();
    let mut reader = Reader::default();
    reader.path(&folder).unwrap();
    let alone = Reader::default().path(&folder.join("below/values.yaml")).unwrap_err().to_string();
    let missing = Reader::default().path(&folder.join("absent")).is_err();
    std::fs::remove_dir_all(&folder).unwrap();
    let snapshot = reader.finish();
    assert_eq!((snapshot.roles.len(), snapshot.namespaces.as_ref().unwrap().len()), (2, 1));
    assert!(whats(&snapshot)[0].ends_with("below/broken.yml"), "{:?}", snapshot.not_evaluated);
    assert!(alone.ends_with("contains no Kubernetes object") && missing, "{alone}");
}

/// Credentials, and what runs pods. The content of a Secret, which kubectl also keeps in an annotation, is not kept.
#[test]
fn of_secrets_requests_and_workloads_only_what_is_needed_is_kept() {
    let dump = r#"{"apiVersion": "v1", "kind": "List", "items": [
{"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token", "data": {"token": "CONTENT"},
 "metadata": {"name": "builder", "namespace": "payments", "creationTimestamp": "2025-01-01T00:00:00Z",
  "labels": {"kubernetes.io/legacy-token-last-used": "2026-10-01", "team": "a"},
  "annotations": {"kubernetes.io/service-account.name": "builder", "kubectl.kubernetes.io/last-applied-configuration": "CONTENT"}}},
{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "bootstrap-token-abcdef", "namespace": "kube-system"}, "stringData": null},
{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "builder", "namespace": "payments"}},
{"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": "a"},
 "spec": {"signerName": "kubernetes.io/kube-apiserver-client"}, "status": {}},
{"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": "b"}, "status": {"certificate": "eA=="}},
{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "shop", "ownerReferences": [{"controller": true}]}},
{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "q", "namespace": "shop"}, "spec": {"serviceAccountName": ""}},
{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "namespace": "shop"},
 "spec": {"template": {"spec": {"serviceAccountName": "web", "automountServiceAccountToken": false}}}},
{"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "c", "namespace": "shop"},
 "spec": {"jobTemplate": {"spec": {"template": {"spec": {"serviceAccountName": "job"}}}}}}]}"#;
    let snapshot = read(dump).unwrap();
    let secrets: Vec<(&str, &str)> = snapshot
        .secrets
        .as_deref()
        .unwrap()
        .iter()
        .map(|secret| (secret.name.name.as_str(), secret.kind.as_str()))
        .collect();
    let bootstrap = ("bootstrap-token-abcdef", "bootstrap.kubernetes.io/token");
    assert_eq!(secrets, [("builder", "kubernetes.io/service-account-token"), bootstrap]);
    assert_eq!(snapshot.signing_requests.as_ref().unwrap().len(), 1);
    assert!(whats(&snapshot).iter().any(|what| what.starts_with("certificatesigningrequest in ")), "{snapshot:?}");
    let workloads: Vec<(&str, &str, Option<bool>)> = snapshot
        .workloads
        .as_deref()
        .unwrap()
        .iter()
        .map(|workload| (workload.kind.as_str(), workload.account.as_str(), workload.automount))
        .collect();
    assert_eq!(workloads, [("pod", "default", None), ("deployment", "web", Some(false)), ("cronjob", "job", None)]);
    let all = format!("{snapshot:?}");
    assert!(!all.contains("CONTENT") && !all.contains("team"), "{all}");
    let none = read(r#"{"apiVersion": "v1", "kind": "SecretList", "metadata": {}, "items": []}"#).unwrap();
    assert!(none.secrets.is_some_and(|secrets| secrets.is_empty()) && none.workloads.is_none());
}

/// `cluster-admin` is in no manifest, and in every cluster, unless the input has the list of all that are there.
#[test]
fn a_role_that_kubernetes_ships_is_known_without_being_in_a_manifest() {
    let binding = |role: &str| {
        format!(
            r#"{{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {{"name": "{role}"}},
            "roleRef": {{"kind": "ClusterRole", "name": "{role}"}}, "subjects": [{{"kind": "User", "name": "bob"}}]}}"#
        )
    };
    let role = |name: &str, labels: &str| {
        format!(
            r#"{{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {{"name": "{name}", "labels": {{{labels}}}}}}}"#
        )
    };
    let names =
        |input: &str| -> Vec<String> { read(input).unwrap().roles.into_iter().map(|role| role.name.name).collect() };
    let manifests = format!("{}{}{}", binding("cluster-admin"), binding("nobody-knows-it"), role("own", ""));
    assert_eq!(names(&manifests), ["own", "cluster-admin"]);
    let rules = read(&manifests).unwrap().roles.pop().unwrap().rules;
    assert!(rules.iter().any(|rule| rule.verbs == ["*"] && rule.resources == ["*"]), "{rules:?}");
    // Their own role of that name, a dump of a cluster, and a list that ends without it.
    assert_eq!(names(&format!("{}{}", binding("edit"), role("edit", ""))), ["edit"]);
    let created = role("view", r#""kubernetes.io/bootstrapping": "rbac-defaults""#);
    assert_eq!(names(&format!("{}{created}", binding("edit"))), ["view"]);
    let list = r#"{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleList", "items": []}"#;
    assert_eq!(names(&format!("{}{list}", binding("edit"))), [""; 0]);
}
