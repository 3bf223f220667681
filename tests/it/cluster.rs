//! `jitd::cluster` against a real API server: what it answers, not what we believe it answers.
//!
//! Each test makes its own namespace and host label, and removes what it made.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jit_dial::ApiServer;
use jitd::cluster::{Answer, Cause, Cluster, ClusterError, Credential, Endpoint, Probe, Unbound};
use jitd::grant::request::Namespace;
use jitd::grant::{Binding, Found, GrantId};
use jitd::rbac::role::{ResolvedRole, Rule};
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{Namespace as KubeNamespace, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule, Role, RoleBinding};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::ObjectMeta;
use kube::{Api, Client, Config};
use serde_json::json;

use crate::plane::Plane;

/// A namespace of one test, and its own view of the cluster.
struct Bench {
    admin: Client,
    cluster: Cluster,
    namespace: Namespace,
    tag: String,
}

impl Bench {
    async fn new() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let kubeconfig = Plane::shared().kubeconfig.clone();
        let file = Kubeconfig::read_from(&kubeconfig).unwrap();
        let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.unwrap();
        let admin = Client::try_from(config).unwrap();
        let tag = random_id().as_str().to_owned();
        let endpoint = Endpoint::from_kubeconfig("test".parse().unwrap(), &kubeconfig).unwrap();
        let cluster = Cluster::connect(endpoint, &format!("it-{tag}"), &by(&kubeconfig)).unwrap();
        let namespace: Namespace = format!("it-{tag}").parse().unwrap();
        let made = KubeNamespace { metadata: named(namespace.as_str()), ..KubeNamespace::default() };
        Api::all(admin.clone()).create(&PostParams::default(), &made).await.unwrap();
        Self { admin, cluster, namespace, tag }
    }

    /// The bindings that carry the labels of this bench's daemon.
    async fn labelled(&self) -> Vec<Found> {
        let related = self.cluster.list_related(|_| true).await.unwrap();
        related.into_iter().filter(|found| self.cluster.labelled(found)).collect()
    }

    fn here(&self) -> Option<Namespace> {
        Some(self.namespace.clone())
    }

    /// A new grant's binding of `role`, not yet in the cluster.
    fn binding(&self, namespace: Option<Namespace>, role: &str) -> Binding {
        Binding::new(random_id(), "alice".parse().unwrap(), namespace, role.parse().unwrap())
    }

    async fn role(&self, name: &str, rules: Vec<PolicyRule>) {
        let role = Role { metadata: named(name), rules: Some(rules) };
        Api::namespaced(self.admin.clone(), self.namespace.as_str())
            .create(&PostParams::default(), &role)
            .await
            .unwrap();
    }

    /// A ClusterRole that is named after this test.
    async fn cluster_role(&self, name: &str, rules: Vec<PolicyRule>) -> String {
        let name = format!("it-{}-{name}", self.tag);
        let role = ClusterRole { metadata: named(&name), rules: Some(rules), aggregation_rule: None };
        Api::all(self.admin.clone()).create(&PostParams::default(), &role).await.unwrap();
        name
    }

    fn bindings(&self) -> Api<RoleBinding> {
        Api::namespaced(self.admin.clone(), self.namespace.as_str())
    }

    async fn resolve(&self, namespace: &Option<Namespace>, role: &str) -> ResolvedRole {
        self.cluster.resolve_role(namespace.as_ref(), &role.parse().unwrap()).await.unwrap().unwrap()
    }

    async fn probe(&self, namespace: &Option<Namespace>, role: &str) -> Probe {
        Probe::for_role(&self.resolve(namespace, role).await, namespace.as_ref()).unwrap()
    }

    /// Asks until the answer is `allowed`, and tells how long that took.
    async fn becomes(&self, binding: &Binding, probe: &Probe, allowed: bool) -> Duration {
        let begun = Instant::now();
        while self.cluster.ask(binding, probe).await.unwrap().is_allowed() != allowed {
            assert!(begun.elapsed() < Duration::from_secs(10), "`{probe}` did not become {allowed} for {binding:?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        begun.elapsed()
    }

    async fn remove(self) {
        let namespaces: Api<KubeNamespace> = Api::all(self.admin.clone());
        namespaces.delete(self.namespace.as_str(), &DeleteParams::default()).await.unwrap();
        let roles: Api<ClusterRole> = Api::all(self.admin.clone());
        for role in roles.list_metadata(&ListParams::default()).await.unwrap() {
            let name = role.metadata.name.unwrap();
            if name.starts_with(&format!("it-{}-", self.tag)) {
                roles.delete(&name, &DeleteParams::default()).await.unwrap();
            }
        }
    }
}

fn by(kubeconfig: &Path) -> Credential {
    Credential::Kubeconfig(ApiServer::read(kubeconfig, None).unwrap())
}

fn random_id() -> GrantId {
    let mut bytes = [0; 10];
    aws_lc_rs::rand::fill(&mut bytes).unwrap();
    GrantId::from_random(bytes)
}

fn named(name: &str) -> ObjectMeta {
    ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() }
}

fn rule(groups: &[&str], resources: &[&str], names: &[&str], verbs: &[&str]) -> PolicyRule {
    let words = |list: &[&str]| (!list.is_empty()).then(|| list.iter().map(ToString::to_string).collect());
    PolicyRule {
        api_groups: words(groups),
        resources: words(resources),
        resource_names: words(names),
        verbs: verbs.iter().map(ToString::to_string).collect(),
        non_resource_urls: None,
    }
}

fn paths(urls: &[&str], verbs: &[&str]) -> PolicyRule {
    let urls = urls.iter().map(ToString::to_string).collect();
    PolicyRule { non_resource_urls: Some(urls), ..rule(&[], &[], &[], verbs) }
}

/// The heart: access begins with the binding and ends with it.
#[tokio::test]
async fn a_binding_allows_and_its_end_denies() {
    let bench = Bench::new().await;
    let binding = bench.binding(bench.here(), "view");
    let probe = bench.probe(&bench.here(), "view").await;
    assert_eq!(bench.cluster.ask(&binding, &probe).await.unwrap(), Answer::Denied);

    let uid = bench.cluster.bind(&binding).await.unwrap();
    bench.becomes(&binding, &probe, true).await;
    let Answer::Allowed { why } = bench.cluster.ask(&binding, &probe).await.unwrap() else { panic!("denied") };
    assert!(why.contains(&binding.name) && why.contains(&binding.group), "{why}");

    assert_eq!(bench.cluster.unbind(&binding, Some(&uid)).await.unwrap(), Unbound::Deleted);
    bench.becomes(&binding, &probe, false).await;
    assert_eq!(bench.cluster.unbind(&binding, Some(&uid)).await.unwrap(), Unbound::AlreadyGone);
    assert_eq!(bench.cluster.unbind(&binding, None).await.unwrap(), Unbound::AlreadyGone);
    bench.remove().await;
}

/// What stands in the cluster is one subject, one role, our labels, and whom it is for.
#[tokio::test]
async fn a_binding_says_whose_it_is() {
    let bench = Bench::new().await;
    let binding = bench.binding(bench.here(), "view");
    let uid = bench.cluster.bind(&binding).await.unwrap();
    let stored = bench.bindings().get(&binding.name).await.unwrap();
    let subjects = stored.subjects.unwrap();
    assert_eq!(subjects.len(), 1);
    assert_eq!((subjects[0].kind.as_str(), &subjects[0].name), ("Group", &binding.group));
    assert_eq!((stored.role_ref.kind.as_str(), stored.role_ref.name.as_str()), ("ClusterRole", "view"));
    assert_eq!(stored.metadata.uid.as_ref(), Some(&uid));
    let labels = [("app.kubernetes.io/managed-by", "jitd".to_owned()), ("jitd.dev/host", format!("it-{}", bench.tag))];
    assert_eq!(stored.metadata.labels.unwrap(), labels.map(|(key, value)| (key.to_owned(), value)).into());
    let annotations: BTreeMap<String, String> = stored.metadata.annotations.unwrap();
    assert_eq!(annotations["jitd.dev/user"], "jit:alice");
    assert_eq!(format!("jit:{}", annotations["jitd.dev/grant"]), binding.group);
    assert!(bench.cluster.find(&binding).await.unwrap().unwrap().is_exactly(&binding));
    bench.remove().await;
}

/// Two grants of one role to one person: the end of one leaves the other.
#[tokio::test]
async fn the_end_of_one_grant_does_not_touch_another() {
    let bench = Bench::new().await;
    let (one, other) = (bench.binding(bench.here(), "view"), bench.binding(bench.here(), "view"));
    let probe = bench.probe(&bench.here(), "view").await;
    let uid = bench.cluster.bind(&one).await.unwrap();
    bench.cluster.bind(&other).await.unwrap();
    bench.becomes(&one, &probe, true).await;
    bench.becomes(&other, &probe, true).await;
    assert_eq!(bench.cluster.unbind(&one, Some(&uid)).await.unwrap(), Unbound::Deleted);
    bench.becomes(&one, &probe, false).await;
    assert!(bench.cluster.ask(&other, &probe).await.unwrap().is_allowed());
    bench.remove().await;
}

/// A ClusterRole bound in a namespace holds only there; bound in the cluster it holds everywhere.
#[tokio::test]
async fn a_binding_holds_in_its_scope_only() {
    let bench = Bench::new().await;
    let here = bench.binding(bench.here(), "view");
    let everywhere = Binding { namespace: None, ..bench.binding(bench.here(), "view") };
    let elsewhere = bench.probe(&Some("default".parse().unwrap()), "view").await;
    let (in_scope, anywhere) = (bench.probe(&bench.here(), "view").await, bench.probe(&None, "view").await);
    bench.cluster.bind(&here).await.unwrap();
    bench.becomes(&here, &in_scope, true).await;
    for probe in [&elsewhere, &anywhere] {
        assert_eq!(bench.cluster.ask(&here, probe).await.unwrap(), Answer::Denied, "{probe}");
    }
    let uid = bench.cluster.bind(&everywhere).await.unwrap();
    for probe in [&in_scope, &elsewhere, &anywhere] {
        bench.becomes(&everywhere, probe, true).await;
    }
    assert_eq!(bench.cluster.unbind(&everywhere, Some(&uid)).await.unwrap(), Unbound::Deleted);
    bench.becomes(&everywhere, &anywhere, false).await;
    bench.remove().await;
}

/// The answer to "create" was lost, and the binding is there.
#[tokio::test]
async fn binding_again_is_the_same_binding() {
    let bench = Bench::new().await;
    let binding = bench.binding(bench.here(), "view");
    let uid = bench.cluster.bind(&binding).await.unwrap();
    assert_eq!(bench.cluster.bind(&binding).await.unwrap(), uid);
    let other = Binding { role: "edit".parse().unwrap(), ..binding.clone() };
    assert!(matches!(bench.cluster.bind(&other).await, Err(ClusterError::Conflict { .. })));
    let other = Binding { group: random_id().group(), ..binding };
    assert!(matches!(bench.cluster.bind(&other).await, Err(ClusterError::Conflict { .. })));
    bench.remove().await;
}

/// The daemon died between the binding and the record of it: the uid was never known.
#[tokio::test]
async fn a_binding_whose_uid_was_never_known_is_found_and_removed() {
    let bench = Bench::new().await;
    for scope in [bench.here(), None] {
        let binding = bench.binding(scope, "view");
        bench.cluster.bind(&binding).await.unwrap();
        assert_eq!(bench.cluster.unbind(&binding, None).await.unwrap(), Unbound::Deleted);
        assert_eq!(bench.cluster.find(&binding).await.unwrap(), None);
    }
    bench.remove().await;
}

/// Without the uid, only name, subject and role together say that it is ours.
#[tokio::test]
async fn what_is_not_ours_by_name_subject_and_role_is_left_alone() {
    let bench = Bench::new().await;
    let binding = bench.binding(bench.here(), "view");
    bench.cluster.bind(&binding).await.unwrap();
    let not_ours = |outcome: Unbound| matches!(outcome, Unbound::NotOurs { .. });

    let other = Binding { role: "edit".parse().unwrap(), ..binding.clone() };
    assert!(not_ours(bench.cluster.unbind(&other, None).await.unwrap()), "another role");
    let other = Binding { group: random_id().group(), ..binding.clone() };
    assert!(not_ours(bench.cluster.unbind(&other, None).await.unwrap()), "another subject");
    let subjects = json!({ "subjects": [
        { "apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": binding.group },
        { "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "dave" },
    ]});
    bench.bindings().patch(&binding.name, &PatchParams::default(), &Patch::Merge(subjects)).await.unwrap();
    assert!(not_ours(bench.cluster.unbind(&binding, None).await.unwrap()), "a further subject");
    assert!(bench.bindings().get_opt(&binding.name).await.unwrap().is_some());
    bench.remove().await;
}

/// With the uid it is ours, whatever was added to it.
#[tokio::test]
async fn what_we_made_goes_whatever_others_added() {
    let bench = Bench::new().await;
    let binding = bench.binding(bench.here(), "view");
    let uid = bench.cluster.bind(&binding).await.unwrap();
    let altered = json!({ "metadata": { "labels": null }, "subjects": [
        { "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "dave" },
    ]});
    bench.bindings().patch(&binding.name, &PatchParams::default(), &Patch::Merge(altered)).await.unwrap();
    assert_eq!(bench.cluster.unbind(&binding, Some(&uid)).await.unwrap(), Unbound::Deleted);
    assert!(bench.bindings().get_opt(&binding.name).await.unwrap().is_none());
    bench.remove().await;
}

/// Somebody deleted ours and put another in its place: it goes when it grants to our group alone.
#[tokio::test]
async fn another_uid_in_our_place_goes_only_with_our_subject() {
    let bench = Bench::new().await;
    let theirs = bench.binding(bench.here(), "view");
    bench.cluster.bind(&theirs).await.unwrap();
    let ours = Binding { group: random_id().group(), ..theirs.clone() };
    let former = "00000000-0000-0000-0000-000000000000";
    assert!(matches!(bench.cluster.unbind(&ours, Some(former)).await.unwrap(), Unbound::NotOurs { .. }));
    assert!(bench.cluster.find(&theirs).await.unwrap().is_some());
    assert_eq!(bench.cluster.unbind(&theirs, Some(former)).await.unwrap(), Unbound::Deleted);
    assert_eq!(bench.cluster.find(&theirs).await.unwrap(), None);
    bench.remove().await;
}

/// A finalizer keeps a deleted binding in force; that is not an end.
#[tokio::test]
async fn a_binding_that_a_finalizer_holds_is_not_called_deleted() {
    let bench = Bench::new().await;
    let binding = bench.binding(bench.here(), "view");
    let probe = bench.probe(&bench.here(), "view").await;
    let uid = bench.cluster.bind(&binding).await.unwrap();
    bench.becomes(&binding, &probe, true).await;
    let finalizers = |list: &[&str]| Patch::Merge(json!({ "metadata": { "finalizers": list } }));
    bench.bindings().patch(&binding.name, &PatchParams::default(), &finalizers(&["example.com/hold"])).await.unwrap();
    for uid in [Some(uid.as_str()), None] {
        assert_eq!(bench.cluster.unbind(&binding, uid).await.unwrap(), Unbound::Terminating);
    }
    assert!(bench.cluster.ask(&binding, &probe).await.unwrap().is_allowed());
    assert!(bench.cluster.find(&binding).await.unwrap().unwrap().is_held);
    assert!(matches!(bench.cluster.bind(&binding).await, Err(ClusterError::Conflict { .. })));
    bench.bindings().patch(&binding.name, &PatchParams::default(), &finalizers(&[])).await.unwrap();
    bench.becomes(&binding, &probe, false).await;
    bench.remove().await;
}

#[tokio::test]
async fn a_role_is_resolved_or_missing() {
    let bench = Bench::new().await;
    assert!(bench.resolve(&bench.here(), "view").await.rules().len() > 3, "`view` is aggregated");
    bench.role("own", vec![rule(&[""], &["pods"], &[], &["list", "get"])]).await;
    let own = bench.resolve(&bench.here(), "role/own").await;
    let expected = Rule {
        api_groups: vec![String::new()],
        resources: vec!["pods".to_owned()],
        verbs: vec!["get".to_owned(), "list".to_owned()],
        ..Rule::default()
    };
    assert_eq!(own.rules(), [expected]);
    assert_eq!(own.uid.len(), 36);
    let none = bench.cluster_role("none:Odd_name.1", vec![]).await;
    assert!(bench.resolve(&bench.here(), &none).await.rules().is_empty());
    for (scope, role) in [
        (bench.here(), "missing"),
        (bench.here(), "role/missing"),
        (bench.here(), "own"),
        (bench.here(), "role/view"),
        (None, "role/own"),
        (Some("missing".parse().unwrap()), "role/own"),
    ] {
        assert_eq!(bench.cluster.resolve_role(scope.as_ref(), &role.parse().unwrap()).await.unwrap(), None, "{role}");
    }
    bench.remove().await;
}

#[tokio::test]
async fn a_namespace_exists_or_not() {
    let bench = Bench::new().await;
    assert!(bench.cluster.namespace(&bench.namespace).await.unwrap().is_some());
    let missing: Namespace = "missing".parse().unwrap();
    assert_eq!(bench.cluster.namespace(&missing).await.unwrap(), None);
    let nowhere = bench.binding(Some(missing), "view");
    assert!(matches!(bench.cluster.bind(&nowhere).await, Err(ClusterError::NotFound { .. })));

    // One that is on its way out takes no binding, and a missing right is not the reason.
    let held = json!({ "metadata": { "finalizers": ["example.com/hold"] } });
    let objects: Api<RoleBinding> = bench.bindings();
    let holder = bench.binding(bench.here(), "view");
    bench.cluster.bind(&holder).await.unwrap();
    objects.patch(&holder.name, &PatchParams::default(), &Patch::Merge(held)).await.unwrap();
    let namespaces: Api<KubeNamespace> = Api::all(bench.admin.clone());
    namespaces.delete(bench.namespace.as_str(), &DeleteParams::default()).await.unwrap();
    assert_eq!(bench.cluster.namespace(&bench.namespace).await.unwrap(), None);
    let late = bench.binding(bench.here(), "view");
    let error = bench.cluster.bind(&late).await.unwrap_err();
    assert!(matches!(error, ClusterError::NotFound { .. }), "{error}");
    let released = json!({ "metadata": { "finalizers": null } });
    objects.patch(&holder.name, &PatchParams::default(), &Patch::Merge(released)).await.unwrap();
}

/// Each kind of rule gives a question that only its binding answers with yes.
#[tokio::test]
async fn a_probe_follows_the_binding_for_each_kind_of_rule() {
    let bench = Bench::new().await;
    let here = bench.here();
    let cases = [
        ("plain", here.clone(), rule(&[""], &["pods"], &[], &["get"])),
        ("subresource", here.clone(), rule(&[""], &["pods/log"], &[], &["get"])),
        ("any-exec", here.clone(), rule(&[""], &["*/exec"], &[], &["create"])),
        ("subresources-literal", here.clone(), rule(&[""], &["pods/*"], &[], &["get"])),
        ("named", here.clone(), rule(&["apps"], &["deployments"], &["web"], &["patch"])),
        ("any-verb", here.clone(), rule(&[""], &["pods"], &[], &["*"])),
        ("any-group", here.clone(), rule(&["*"], &["pods"], &[], &["get"])),
        ("any-resource", here.clone(), rule(&[""], &["*"], &[], &["get"])),
        ("anything", here, rule(&["*"], &["*"], &[], &["*"])),
        // Everybody may do this by `system:basic-user`, which must not count.
        ("everybodys", None, rule(&["authorization.k8s.io"], &["selfsubjectaccessreviews"], &[], &["create"])),
        ("nodes", None, rule(&[""], &["nodes"], &[], &["get"])),
        ("path", None, paths(&["/it-path"], &["get"])),
        ("path-prefix", None, paths(&["/it-path/*"], &["get"])),
        ("any-path", None, paths(&["*"], &["*"])),
    ];
    for (name, scope, rule) in cases {
        let role = bench.cluster_role(name, vec![rule]).await;
        let binding = bench.binding(scope.clone(), &role);
        let probe = bench.probe(&scope, &role).await;
        assert_eq!(bench.cluster.ask(&binding, &probe).await.unwrap(), Answer::Denied, "{name}");
        let uid = bench.cluster.bind(&binding).await.unwrap();
        bench.becomes(&binding, &probe, true).await;
        assert_eq!(bench.cluster.unbind(&binding, Some(&uid)).await.unwrap(), Unbound::Deleted);
        bench.becomes(&binding, &probe, false).await;
    }
    bench.remove().await;
}

/// A question with `*` is not allowed by a rule that names one word: a probe is never too weak.
#[tokio::test]
async fn a_star_is_not_answered_by_a_word() {
    let bench = Bench::new().await;
    let word = bench.cluster_role("word", vec![rule(&[""], &["pods"], &[], &["get"])]).await;
    let binding = bench.binding(bench.here(), &word);
    bench.cluster.bind(&binding).await.unwrap();
    bench.becomes(&binding, &bench.probe(&bench.here(), &word).await, true).await;
    for (name, rule) in [
        ("verb", rule(&[""], &["pods"], &[], &["*"])),
        ("group", rule(&["*"], &["pods"], &[], &["get"])),
        ("resource", rule(&[""], &["*"], &[], &["get"])),
    ] {
        let star = bench.cluster_role(name, vec![rule]).await;
        let probe = bench.probe(&bench.here(), &star).await;
        assert_eq!(bench.cluster.ask(&binding, &probe).await.unwrap(), Answer::Denied, "{probe}");
    }
    bench.remove().await;
}

/// Two daemons on one cluster see each their own; what names our groups is found whatever its labels.
#[tokio::test]
async fn a_list_holds_ours_of_both_kinds_and_no_one_elses() {
    let (bench, neighbour) = (Bench::new().await, Bench::new().await);
    let here = bench.binding(bench.here(), "view");
    let everywhere = bench.binding(None, "view");
    let theirs = neighbour.binding(neighbour.here(), "view");
    bench.cluster.bind(&here).await.unwrap();
    let uid = bench.cluster.bind(&everywhere).await.unwrap();
    neighbour.cluster.bind(&theirs).await.unwrap();
    let ours = bench.labelled().await;
    assert_eq!(ours.len(), 2, "{ours:?}");
    for binding in [&here, &everywhere] {
        assert!(ours.iter().any(|found| found.is_exactly(binding)), "{ours:?}");
    }

    let strip = json!({ "metadata": { "labels": null } });
    bench.bindings().patch(&here.name, &PatchParams::default(), &Patch::Merge(strip)).await.unwrap();
    assert_eq!(bench.labelled().await.len(), 1);
    let naming = bench.cluster.list_related(|_| true).await.unwrap();
    for binding in [&here, &everywhere, &theirs] {
        assert!(naming.iter().any(|found| found.is_exactly(binding)));
    }
    assert!(naming.iter().all(|found| found.name != "cluster-admin"));
    assert_eq!(bench.cluster.unbind(&everywhere, Some(&uid)).await.unwrap(), Unbound::Deleted);
    bench.remove().await;
    neighbour.remove().await;
}

/// A list longer than one page is whole.
#[tokio::test]
async fn a_long_list_is_whole() {
    let bench = Bench::new().await;
    let bindings: Vec<Binding> = (0..620).map(|_| bench.binding(bench.here(), "view")).collect();
    let made = futures::future::join_all(bindings.iter().map(|binding| bench.cluster.bind(binding))).await;
    assert!(made.iter().all(Result::is_ok));
    let mut found: Vec<String> = bench.labelled().await.into_iter().map(|found| found.name).collect();
    let mut names: Vec<String> = bindings.into_iter().map(|binding| binding.name).collect();
    found.sort();
    names.sort();
    assert_eq!(found, names);
    bench.remove().await;
}

/// Its version, and its clock, which is near ours.
#[expect(clippy::disallowed_methods, reason = "two clocks are compared")]
#[tokio::test]
async fn the_server_tells_its_version_and_clock() {
    let bench = Bench::new().await;
    let about = bench.cluster.about().await.unwrap();
    assert!(about.version.starts_with("v1."), "{about:?}");
    let apart = about.clock.unwrap().duration_since(jiff::Timestamp::now()).abs();
    assert!(apart < jiff::SignedDuration::from_secs(3), "{apart}");
    bench.remove().await;
}

/// A credential that the cluster does not trust, then one that it does, for all clones at once.
#[tokio::test]
async fn a_credential_is_refused_and_replaced() {
    let bench = Bench::new().await;
    let key = rcgen::KeyPair::generate().unwrap();
    let chain_pem = rcgen::CertificateParams::new(vec!["x".to_owned()]).unwrap().self_signed(&key).unwrap().pem();
    let stranger = Credential::Certificate { chain_pem: chain_pem.clone(), key_pem: key.serialize_pem().into() };
    let cluster = Cluster::connect(bench.cluster.endpoint().clone(), "it", &stranger).unwrap();
    let clone = cluster.clone();
    let role = "view".parse().unwrap();
    let error = cluster.resolve_role(bench.here().as_ref(), &role).await.unwrap_err();
    assert!(matches!(error, ClusterError::Unauthorized { .. }), "{error}");
    let error = cluster.about().await.unwrap_err();
    assert!(matches!(error, ClusterError::Unauthorized { .. }), "{error}");

    let broken = Credential::Certificate { chain_pem, key_pem: "nonsense".to_owned().into() };
    assert!(cluster.use_credential(&broken).is_err());
    cluster.use_credential(&by(&Plane::shared().kubeconfig)).unwrap();
    assert!(clone.resolve_role(bench.here().as_ref(), &role).await.unwrap().is_some());
    bench.remove().await;
}

/// The certificate of another server, or an authority that is not the server's, ends in no request.
#[tokio::test]
async fn a_server_that_the_authority_did_not_sign_is_not_spoken_to() {
    let bench = Bench::new().await;
    let key = rcgen::KeyPair::generate().unwrap();
    let other = rcgen::CertificateParams::new(vec![]).unwrap().self_signed(&key).unwrap().pem();
    let endpoint = Endpoint::new("test".parse().unwrap(), bench.cluster.endpoint().server(), &other).unwrap();
    let path = std::env::temp_dir().join(format!("jitd-it-{}.kubeconfig", bench.tag));
    let file = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "contexts": [{ "name": "c", "context": { "cluster": "here" } }],
        "clusters": [{ "name": "here", "cluster": {
            "server": endpoint.server(), "certificate-authority-data": STANDARD.encode(&other),
        } }],
    });
    std::fs::write(&path, file.to_string()).unwrap();
    for credential in [Credential::Nobody, by(&path)] {
        let cluster = Cluster::connect(endpoint.clone(), "it", &credential).unwrap();
        let error = cluster.about().await.unwrap_err();
        assert!(matches!(&error, ClusterError::Unreachable { cause: Cause::Untrusted, .. }), "{error}");
    }
    std::fs::remove_file(path).unwrap();
    bench.remove().await;
}

/// What our credential may not do is told in the API server's words.
#[tokio::test]
async fn a_missing_right_is_named() {
    let bench = Bench::new().await;
    let accounts: Api<ServiceAccount> = Api::namespaced(bench.admin.clone(), bench.namespace.as_str());
    let account = ServiceAccount { metadata: named("weak"), ..ServiceAccount::default() };
    accounts.create(&PostParams::default(), &account).await.unwrap();
    let request = TokenRequest::default();
    let token =
        accounts.create_token_request("weak", &PostParams::default(), &request).await.unwrap().status.unwrap().token;
    let path = std::env::temp_dir().join(format!("jitd-it-{}.kubeconfig", bench.tag));
    let file = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "contexts": [{ "name": "c", "context": { "cluster": "here", "user": "weak" } }],
        "clusters": [{ "name": "here", "cluster": {
            "server": Plane::shared().server, "certificate-authority": Plane::shared().ca,
        } }],
        "users": [{ "name": "weak", "user": { "token": token } }],
    });
    std::fs::write(&path, file.to_string()).unwrap();
    let cluster = Cluster::connect(bench.cluster.endpoint().clone(), "it", &by(&path)).unwrap();
    let error = cluster.bind(&bench.binding(bench.here(), "view")).await.unwrap_err();
    std::fs::remove_file(path).unwrap();
    assert!(
        matches!(&error, ClusterError::Forbidden { why, .. } if why.contains("cannot create resource \"rolebindings\"")),
        "{error}"
    );
    bench.remove().await;
}
