//! `jitd scan who-can`, compared with Kubernetes itself: a generated cluster is loaded into a real API server, read back,
//! and every answer about it is compared with a SubjectAccessReview of that server. The control plane is this test's own,
//! for roles of everybody would change what other tests see.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use futures::stream::{self, StreamExt};
use http::Method;
use jit_scan::{
    Access, Action, CredentialList, Kind, Listed, Reader, ResourceAction, Snapshot, Subject, implied_groups, is_master,
};
use jitd::rbac::Rule;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};

use crate::middleman::{Middleman, Play};
use crate::plane::{Plane, base64, scratch, until};

const RBAC: &str = "rbac.authorization.k8s.io";

/// How many questions are asked, how much there is to ask about, and how many requests run at a time.
const QUESTIONS: usize = 10_000;
const ROLES: usize = 160;
const BINDINGS: usize = 240;
const CONNECTIONS: usize = 24;

const GROUPS: &[&str] = &["", "", "", "apps", "batch", RBAC, "example.com", "*"];
const RESOURCES: &[&str] = &[
    "pods",
    "pods",
    "secrets",
    "configmaps",
    "deployments",
    "jobs",
    "gadgets",
    "nodes",
    "namespaces",
    "users",
    "pods/exec",
    "pods/log",
    "pods/*",
    "deployments/scale",
    "*/exec",
    "*/scale",
    "*/*",
    "gadgets/status",
    "*",
];
const VERBS: &[&str] =
    &["get", "get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "impersonate", "*"];
const NAMES: &[&str] = &["web", "db", "*", "", "default", "we"];
const URLS: &[&str] = &["/metrics", "/logs/*", "/logs", "/health*", "/api/**", "*", "/a/*/b"];
const PATHS: &[&str] =
    &["/metrics", "/metrics/", "/logs", "/logs/", "/logs/a", "/healthz", "/api", "/a/x/b", "/a/*/b", "/"];
const SPACES: &[&str] = &["shop", "bank", "dev", "default", "kube-system", "elsewhere"];
/// What users may be called.
const USERS: &[&str] = &[
    "alice",
    "bob",
    "carol",
    "dave",
    "erin",
    "alice@example.com",
    "Ålice",
    "a/b",
    "system:anonymous",
    "al ice",
    "*",
    "system:serviceaccount:shop:builder",
    "system:serviceaccount:shop:a:b",
    "system:kube-scheduler",
];
const TEAMS: &[&str] = &[
    "dev",
    "ops",
    "*",
    "system:authenticated",
    "system:unauthenticated",
    "system:serviceaccounts",
    "system:serviceaccounts:shop",
    "system:serviceaccounts:dev",
    "system:masters",
    "system:serviceaccounts:",
];
const ACCOUNTS: &[&str] = &["builder", "default", "runner"];

/// SplitMix64, so that a seed always gives the same cluster and the same questions.
struct Random(u64);

impl Random {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % most as u64).unwrap()
    }

    fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    fn some(&mut self, words: &[&str], most: usize) -> Vec<String> {
        (0..=self.below(most)).map(|_| (*self.one(words)).to_owned()).collect()
    }

    /// Seldom with the last word, `*`: rules with several would be the answer to everything.
    fn few(&mut self, words: &[&str], most: usize) -> Vec<String> {
        let without = usize::from(self.below(4) > 0);
        self.some(&words[..words.len() - without], most)
    }

    fn rules(&mut self, is_cluster: bool) -> Vec<Rule> {
        (0..self.below(4))
            .map(|_| {
                if is_cluster && self.below(6) == 0 {
                    let verbs = self.some(&["get", "post", "*"], 1);
                    return Rule { non_resource_urls: self.some(URLS, 2), verbs, ..Rule::default() };
                }
                let names = if self.below(3) == 0 { self.some(NAMES, 2) } else { Vec::new() };
                Rule {
                    api_groups: self.few(GROUPS, 1),
                    resources: self.few(RESOURCES, 2),
                    resource_names: names,
                    verbs: self.few(VERBS, 2),
                    ..Rule::default()
                }
            })
            .collect()
    }

    fn subject(&mut self) -> Subject {
        let (kind, namespace, name) = match self.below(5) {
            0 | 1 => (Kind::User, None, *self.one(USERS)),
            2 => (Kind::Group, None, *self.one(TEAMS)),
            _ => (Kind::ServiceAccount, Some(*self.one(SPACES)), *self.one(ACCOUNTS)),
        };
        Subject { kind, namespace: namespace.map(str::to_owned), name: name.to_owned() }
    }

    /// Everybody may only do what a rare binding says: otherwise nothing would be denied.
    fn bound(&mut self, home: Option<&str>) -> Value {
        let mut subject = self.subject();
        while subject.kind == Kind::Group && subject.name.starts_with("system:") && self.below(8) > 0 {
            subject = self.subject();
        }
        match subject.kind {
            Kind::ServiceAccount => {
                let named = home.is_none() || self.below(2) == 0;
                let namespace = subject.namespace.filter(|_| named);
                json!({ "kind": "ServiceAccount", "namespace": namespace, "name": subject.name })
            }
            kind => json!({ "apiGroup": RBAC, "kind": kind, "name": subject.name }),
        }
    }
}

/// The objects of a cluster, each with the path under which it is created.
fn cluster(random: &mut Random) -> Vec<(String, Value)> {
    let base = format!("/apis/{RBAC}/v1");
    let labels: &[Value] =
        &[json!({}), json!({}), json!({ "to": "a" }), json!({ "to": "b" }), json!({ "tier": "one", "to": "a" })];
    let mut objects = Vec::new();
    for number in 0..ROLES {
        let name = format!("r{number}");
        let (path, body) = if number % 3 == 0 {
            let path = format!("{base}/namespaces/{}/roles", random.one(&SPACES[..5]));
            (path, json!({ "metadata": { "name": name }, "rules": random.rules(false) }))
        } else {
            let metadata = json!({ "name": name, "labels": random.one(labels) });
            (format!("{base}/clusterroles"), json!({ "metadata": metadata, "rules": random.rules(true) }))
        };
        objects.push((path, body));
    }
    // One that selects the other, a circle, and each operator.
    let expression = |operator: &str, values: &[&str]| json!({ "matchExpressions": [{ "key": "tier", "operator": operator, "values": values }], "matchLabels": { "to": "a" } });
    for (name, labels, selectors) in [
        ("sum-a", json!({ "to": "c" }), json!([{ "matchLabels": { "to": "a" } }])),
        ("sum-c", json!({}), json!([{ "matchLabels": { "to": "c" } }, { "matchLabels": { "to": "b" } }])),
        ("ring-1", json!({ "ring": "1", "to": "b" }), json!([{ "matchLabels": { "ring": "2" } }])),
        ("ring-2", json!({ "ring": "2" }), json!([{ "matchLabels": { "ring": "1" } }, expression("In", &["one"])])),
        ("not-in", json!({}), json!([expression("NotIn", &["one"])])),
        ("exists", json!({}), json!([expression("Exists", &[])])),
        ("absent", json!({}), json!([expression("DoesNotExist", &[])])),
        ("nothing", json!({}), json!([{ "matchLabels": { "to": "nobody" } }])),
    ] {
        let body = json!({ "metadata": { "name": name, "labels": labels }, "aggregationRule": { "clusterRoleSelectors": selectors }, "rules": [] });
        objects.push((format!("{base}/clusterroles"), body));
    }
    for number in 0..BINDINGS {
        let home = (random.below(3) > 0).then(|| *random.one(&SPACES[..5]));
        let sums = ["sum-a", "sum-c", "ring-1", "ring-2", "not-in", "exists", "absent", "nothing", "view", "r-missing"];
        let (kind, role) = match random.below(4) {
            // Often one of another namespace, which then is missing.
            0 if home.is_some() => ("Role", format!("r{}", random.below(ROLES / 3) * 3)),
            1 => ("ClusterRole", (*random.one(&sums)).to_owned()),
            _ => ("ClusterRole", format!("r{}", random.below(ROLES))),
        };
        let subjects: Vec<Value> = (0..random.below(4)).map(|_| random.bound(home)).collect();
        let path = match home {
            Some(home) => format!("{base}/namespaces/{home}/rolebindings"),
            None => format!("{base}/clusterrolebindings"),
        };
        let role = json!({ "apiGroup": RBAC, "kind": kind, "name": role });
        objects.push((
            path,
            json!({ "metadata": { "name": format!("b{number}") }, "roleRef": role, "subjects": subjects }),
        ));
    }
    objects
}

/// A question to the authorizer.
#[derive(Clone, Debug)]
struct Question {
    who: Subject,
    groups: Vec<String>,
    verb: String,
    /// The path of something that is no resource, or empty.
    path: String,
    group: String,
    resource: String,
    subresource: String,
    name: String,
    namespace: String,
}

impl Question {
    fn random(random: &mut Random, rules: &[(&Rule, Option<&str>)]) -> Self {
        let who = random.subject();
        let groups =
            if who.kind == Kind::User && random.below(3) == 0 { random.some(&TEAMS[..3], 1) } else { Vec::new() };
        // Half of the questions are near a rule that exists.
        let (rule, home) = rules[random.below(rules.len())];
        let near = random.below(4) > 0;
        let mut from = |words: &[String], pool: &[&str]| match words {
            words if near && !words.is_empty() && random.below(8) > 0 => random.one(words).clone(),
            _ => (*random.one(pool)).to_owned(),
        };
        let verb = from(&rule.verbs, VERBS);
        let path = if rule.non_resource_urls.is_empty() { String::new() } else { from(&[], PATHS) };
        let combined = from(&rule.resources, RESOURCES);
        let (resource, subresource) = combined.split_once('/').unwrap_or((&combined, ""));
        // A rule for `*/exec` is asked about with a resource.
        let resource =
            if resource == "*" { from(&[], &["pods", "deployments", "*", "gadgets"]) } else { resource.to_owned() };
        let group = from(&rule.api_groups, GROUPS);
        let name = from(&rule.resource_names, NAMES);
        let namespace = match home {
            Some(home) if near => home.to_owned(),
            _ => from(&[], &["", "shop", "bank", "dev", "default", "kube-system", "elsewhere"]),
        };
        Self { who, groups, verb, path, group, resource, subresource: subresource.to_owned(), name, namespace }
    }

    fn action(&self) -> Action<'_> {
        if !self.path.is_empty() {
            return Action::Url { verb: &self.verb, path: &self.path };
        }
        Action::Resource(ResourceAction {
            verb: &self.verb,
            group: &self.group,
            resource: &self.resource,
            subresource: &self.subresource,
            name: &self.name,
            namespace: Some(&self.namespace),
        })
    }

    /// As the authenticator would name the subject; a group stands for a member of it.
    fn review(&self) -> Value {
        let mut groups: Vec<String> = self.groups.iter().cloned().chain(implied_groups(&self.who)).collect();
        let user = match (&self.who.kind, &self.who.namespace) {
            (Kind::ServiceAccount, Some(namespace)) => format!("system:serviceaccount:{namespace}:{}", self.who.name),
            (Kind::Group, _) => {
                groups.push(self.who.name.clone());
                "somebody".to_owned()
            }
            _ => self.who.name.clone(),
        };
        let mut spec = json!({ "user": user, "groups": groups });
        if self.path.is_empty() {
            spec["resourceAttributes"] = json!({
                "verb": self.verb, "group": self.group, "resource": self.resource, "subresource": self.subresource,
                "name": self.name, "namespace": self.namespace,
            });
        } else {
            spec["nonResourceAttributes"] = json!({ "verb": self.verb, "path": self.path });
        }
        json!({ "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec })
    }
}

struct Server(Client);

impl Server {
    async fn connect(plane: &Plane) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let file = Kubeconfig::read_from(&plane.kubeconfig).unwrap();
        let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.unwrap();
        Self(Client::try_from(config).unwrap())
    }

    async fn create(&self, path: &str, body: &Value) -> Value {
        let request = http::Request::post(path).header("content-type", "application/json");
        let made = self.0.request::<Value>(request.body(serde_json::to_vec(body).unwrap()).unwrap()).await;
        made.unwrap_or_else(|error| panic!("{path}: {error}: {body}"))
    }

    async fn is_allowed(&self, question: &Question) -> bool {
        let made = self.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", &question.review()).await;
        made["status"]["allowed"].as_bool().unwrap()
    }

    /// The text of a list.
    async fn list(&self, listed: Listed) -> String {
        let request = http::Request::builder().method(Method::GET).uri(listed.path()).body(Vec::new()).unwrap();
        self.0.request_text(request).await.unwrap()
    }

    async fn snapshot(&self) -> Snapshot {
        let mut reader = Reader::default();
        for listed in Listed::ALL {
            assert_eq!(reader.page(listed, self.list(listed).await.as_bytes()).unwrap(), None);
        }
        reader.finish()
    }

    /// Waits until the controller has written what is aggregated, and the authorizer has seen all of it: its lists change
    /// in the order of the writes, so that the last ones stand for those before them.
    async fn settled(&self) -> Snapshot {
        let begun = std::time::Instant::now();
        let snapshot = loop {
            let snapshot = self.snapshot().await;
            let access = Access::of(&snapshot);
            let is_written = |(number, role): (usize, &jit_scan::Role)| {
                let written: BTreeSet<&Rule> = role.rules.iter().collect();
                role.aggregates.is_none() || access.rules_of(number).iter().all(|rule| written.contains(rule))
            };
            if snapshot.roles.iter().enumerate().all(is_written) {
                break snapshot;
            }
            assert!(begun.elapsed().as_secs() < 60, "the controller does not aggregate");
            tokio::task::yield_now().await;
        };
        let base = format!("/apis/{RBAC}/v1");
        let rules = json!([{ "apiGroups": ["last"], "resources": ["last"], "verbs": ["get"] }]);
        for (space, kind, user) in [("", "Role", "last-1"), ("/namespaces/dev", "Role", "last-2")] {
            let (prefix, kind) = if space.is_empty() { ("cluster", "ClusterRole") } else { ("", kind) };
            let role = json!({ "metadata": { "name": user }, "rules": rules });
            self.create(&format!("{base}{space}/{prefix}roles"), &role).await;
            let subjects = json!([{ "apiGroup": RBAC, "kind": "User", "name": user }]);
            let role = json!({ "apiGroup": RBAC, "kind": kind, "name": user });
            let binding = json!({ "metadata": { "name": user }, "roleRef": role, "subjects": subjects });
            self.create(&format!("{base}{space}/{prefix}rolebindings"), &binding).await;
            let question = Question {
                who: Subject { kind: Kind::User, namespace: None, name: user.to_owned() },
                groups: Vec::new(),
                verb: "get".to_owned(),
                path: String::new(),
                group: "last".to_owned(),
                resource: "last".to_owned(),
                subresource: String::new(),
                name: String::new(),
                namespace: "dev".to_owned(),
            };
            while !self.is_allowed(&question).await {
                assert!(begun.elapsed().as_secs() < 60, "the authorizer does not see {user}");
            }
        }
        snapshot
    }
}

/// For subjects, verbs, resources, names and namespaces of every kind, the index answers as the API server does, and so
/// does the program for everybody at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_can_is_what_the_api_server_answers() {
    let seed = std::env::var("SCAN_SEED").map_or(24, |seed| seed.parse().unwrap());
    println!("SCAN_SEED={seed}");
    let mut random = Random(seed);
    let plane = tokio::task::spawn_blocking(Plane::start).await.unwrap();
    let server = Server::connect(&plane).await;
    for space in &SPACES[..3] {
        server.create("/api/v1/namespaces", &json!({ "metadata": { "name": space } })).await;
    }
    let objects = cluster(&mut random);
    stream::iter(&objects)
        .for_each_concurrent(CONNECTIONS, |(path, body)| async { drop(server.create(path, body).await) })
        .await;
    let snapshot = server.settled().await;
    assert_eq!(snapshot.not_evaluated, []);
    let access = Access::of(&snapshot);

    let mut rules: Vec<(&Rule, Option<&str>)> = Vec::new();
    for holding in access.all() {
        if holding.binding.name.name.starts_with('b') {
            rules.extend(holding.rules.iter().map(|rule| (*rule, holding.namespace())));
        }
    }
    let questions: Vec<Question> = (0..QUESTIONS).map(|_| Question::random(&mut random, &rules)).collect();
    let answers: Vec<bool> =
        stream::iter(&questions).map(|question| server.is_allowed(question)).buffered(CONNECTIONS).collect().await;
    let (mut wrong, mut allowed) = (Vec::new(), 0);
    for (question, answer) in questions.iter().zip(&answers) {
        allowed += usize::from(*answer);
        let groups: Vec<&str> = question.groups.iter().map(String::as_str).collect();
        let ours = access.allows(&question.who, &groups, &question.action());
        // Who is listed must be the same as who is allowed.
        let listed = access.who_can(&question.action());
        let implied = implied_groups(&question.who);
        let held = access.holdings(&question.who, &groups);
        let is_one = |subject: &Subject| {
            let in_group = |name: &str| groups.contains(&name) || implied.iter().any(|group| group == name);
            held.iter().any(|holding| holding.through == subject)
                || subject.kind == Kind::Group && in_group(&subject.name)
        };
        let in_list = is_master(&question.who, &groups) || listed.iter().any(|(holding, _)| is_one(holding.through));
        if ours.is_some() != *answer || in_list != *answer {
            wrong.push(format!("{question:?}: the server says {answer}, we say {ours:?}, in the list: {in_list}"));
        }
    }
    println!("{} questions, {allowed} allowed, {} different", questions.len(), wrong.len());
    assert!(wrong.is_empty(), "{} different:\n{}", wrong.len(), wrong[..wrong.len().min(10)].join("\n"));
    assert!((QUESTIONS / 8..QUESTIONS / 4 * 3).contains(&allowed), "{allowed} of {QUESTIONS}");

    let dump = scratch("scan").join("cluster.json");
    let mut lists = String::new();
    for listed in Listed::ALL {
        lists.push_str(&server.list(listed).await);
    }
    std::fs::write(&dump, lists).unwrap();
    let everybody: Vec<Subject> = snapshot
        .bindings
        .iter()
        .flat_map(|binding| &binding.subjects)
        .filter(|subject| subject.kind != Kind::ServiceAccount || subject.namespace.is_some())
        .cloned()
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    let asked = [
        ("get", "secrets", "shop", ""),
        ("create", "pods/exec", "dev", ""),
        ("list", "pods", "", ""),
        ("get", "configmaps", "bank", "web"),
        ("patch", "deployments/scale", "shop", ""),
        ("get", "gadgets.example.com", "default", "db"),
    ];
    for (number, (verb, resource, namespace, name)) in asked.into_iter().enumerate() {
        let listed = listed_by_the_program(&[dump.to_str().unwrap()], verb, resource, namespace, name);
        if number < 2 {
            let live = ["--kubeconfig", plane.kubeconfig.to_str().unwrap()];
            assert_eq!(listed_by_the_program(&live, verb, resource, namespace, name), listed);
        }
        let parsed: jit_scan::Resource = resource.parse().unwrap();
        let question = |who: &Subject| Question {
            who: who.clone(),
            groups: Vec::new(),
            verb: verb.to_owned(),
            path: String::new(),
            group: parsed.group.clone(),
            resource: parsed.resource.clone(),
            subresource: parsed.subresource.clone(),
            name: name.to_owned(),
            namespace: namespace.to_owned(),
        };
        let expected: Vec<bool> = stream::iter(&everybody)
            .map(|who| {
                let question = question(who);
                let server = &server;
                async move { server.is_allowed(&question).await }
            })
            .buffered(CONNECTIONS)
            .collect()
            .await;
        for (who, expected) in everybody.iter().zip(expected) {
            let groups = implied_groups(who);
            let found = listed.iter().any(|listed| {
                listed == &who.to_string() || groups.iter().any(|group| *listed == format!("group {group}"))
            });
            // A user with the name of a service account is listed as that account.
            let account = who.name.strip_prefix("system:serviceaccount:shop:").filter(|_| who.kind == Kind::User);
            let found = found || account.is_some_and(|name| listed.contains(&format!("service account shop/{name}")));
            assert_eq!(found, expected, "{verb} {resource} -n {namespace} --name {name}: {who}");
        }
    }
}

/// A list of several pages is read to its end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_list_is_read_page_by_page() {
    let plane = tokio::task::spawn_blocking(Plane::start).await.unwrap();
    let server = Server::connect(&plane).await;
    let names: Vec<String> = (0..1100).map(|number| format!("account-{number}")).collect();
    let server = &server;
    stream::iter(&names)
        .for_each_concurrent(CONNECTIONS, |name| async move {
            let account = json!({ "metadata": { "name": name } });
            drop(server.create("/api/v1/namespaces/default/serviceaccounts", &account).await);
        })
        .await;
    let folder = scratch("pages").join("snapshot");
    let mut command = Command::new(env!("CARGO_BIN_EXE_jitd"));
    command.args(["scan", "collect"]).arg(&folder).arg("--kubeconfig").arg(&plane.kubeconfig);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = std::fs::read_to_string(folder.join("serviceaccounts.json")).unwrap();
    assert!(text.matches("\"ServiceAccountList\"").count() >= 3, "{}", text.len());
    let mut reader = Reader::default();
    reader.path(&folder).unwrap();
    let accounts = reader.finish().accounts.unwrap();
    let read: BTreeSet<&str> = accounts.iter().map(|account| account.name.name.as_str()).collect();
    assert_eq!(names.iter().find(|name| !read.contains(name.as_str())), None);
}

/// Somebody between the program and the API server makes it busy for a moment, or cuts every connection.
#[test]
fn a_busy_api_server_is_asked_again_and_a_lost_one_is_an_error() {
    let plane = Plane::shared();
    let middleman = Middleman::before(plane);
    let folder = scratch("busy");
    let mut file = Kubeconfig::read_from(&plane.kubeconfig).unwrap();
    let cluster = file.clusters[0].cluster.as_mut().unwrap();
    cluster.server = Some(middleman.server.clone());
    cluster.certificate_authority = Some(middleman.ca.to_str().unwrap().to_owned());
    cluster.certificate_authority_data = None;
    let kubeconfig = folder.join("kubeconfig");
    std::fs::write(&kubeconfig, serde_json::to_vec(&file).unwrap()).unwrap();
    let collect = |name: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jitd"));
        command.args(["scan", "collect"]).arg(folder.join(name)).arg("--kubeconfig").arg(&kubeconfig);
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        command.spawn().unwrap()
    };

    middleman.play("GET", "/clusterroles", Play::Busy);
    let busy = collect("busy");
    middleman.met(1);
    middleman.pass_on();
    let output = busy.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = std::fs::read_to_string(folder.join("busy/clusterroles.json")).unwrap();
    assert!(text.contains("\"cluster-admin\"") && !text.contains("TooManyRequests"), "{}", text.len());

    middleman.play("GET", "/clusterroles", Play::HangUp);
    let output = collect("lost").wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    // Once more on a new connection, and not again.
    middleman.met(2);
    middleman.pass_on();
    assert!(output.status.code() == Some(1) && said.contains(&middleman.server), "{said}");
    assert!(!folder.join("lost/clusterroles.json").exists());
}

/// The subjects in the answer of `jitd scan who-can -o json`.
fn listed_by_the_program(input: &[&str], verb: &str, resource: &str, namespace: &str, name: &str) -> Vec<String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jitd"));
    command.args(["scan", "who-can", verb, resource, "-o", "json"]).args(input);
    for (flag, value) in [("-n", namespace), ("--name", name)] {
        if !value.is_empty() {
            command.args([flag, value]);
        }
    }
    let output = command.output().unwrap();
    assert!(matches!(output.status.code(), Some(0 | 3)), "{output:?}");
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["notEvaluated"], json!([]));
    let shown = |way: &Value| {
        let subject = &way["subject"];
        let name = subject["name"].as_str().unwrap();
        match subject["kind"].as_str().unwrap() {
            "User" => format!("user {name}"),
            "Group" => format!("group {name}"),
            _ => format!("service account {}/{name}", subject["namespace"].as_str().unwrap()),
        }
    };
    answer["allowed"].as_array().unwrap().iter().map(shown).collect()
}

/// A person without rights learns that nothing could be read, not that nobody may.
#[test]
fn a_list_that_is_refused_is_not_evaluated() {
    let plane = Plane::shared();
    let kubeconfig = plane.token_kubeconfig("jitd");
    let mut command = Command::new(env!("CARGO_BIN_EXE_jitd"));
    let output = command.args(["scan", "who-can", "get", "secrets", "--kubeconfig"]).arg(&kubeconfig).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.lines().count(), Listed::ALL.len(), "{said}");
    for listed in Listed::ALL {
        let line = said.lines().find(|line| line.starts_with(&format!("not evaluated: {}: 403: ", listed.plural())));
        assert!(line.is_some_and(|line| line.contains("cannot list")), "{said}");
    }
}

/// The roles that the manifest prints are enough to collect a snapshot, which answers like the cluster. Without the one for
/// Secrets, Secrets are not evaluated, also when the snapshot is read; with it, none of their content is in the snapshot.
#[test]
fn the_roles_of_the_manifest_are_enough_for_a_snapshot() {
    let plane = Plane::shared();
    let admin = plane.admin();
    let printed = Command::new(env!("CARGO_BIN_EXE_jitd")).args(["manifest", "--scan"]).output().unwrap();
    let printed = String::from_utf8(printed.stdout).unwrap();
    let roles: Vec<Value> =
        printed.split("---\n").skip(1).map(|document| serde_saphyr::from_str(document).unwrap()).collect();
    let [role, of_secrets] = roles.as_slice() else { panic!("{printed}") };
    assert!(!role.to_string().contains("secrets") && role.to_string().contains("\"list\""), "{role}");
    assert_eq!(of_secrets["rules"], json!([{ "apiGroups": [""], "resources": ["secrets"], "verbs": ["list"] }]));
    let base = format!("/apis/{RBAC}/v1");
    let bind = |role: &Value| {
        let name = &role["metadata"]["name"];
        admin.create(&format!("{base}/clusterroles"), role);
        let binding = json!({
            "metadata": { "name": name }, "roleRef": { "apiGroup": RBAC, "kind": "ClusterRole", "name": name },
            "subjects": [{ "apiGroup": RBAC, "kind": "User", "name": "it-scan" }],
        });
        admin.create(&format!("{base}/clusterrolebindings"), &binding);
    };
    let applied = "kubectl.kubernetes.io/last-applied-configuration";
    let home = "/api/v1/namespaces/default";
    let secret = json!({ "type": "kubernetes.io/dockerconfigjson", "data": { ".dockerconfigjson": base64("{\"auths\": {}}") },
        "metadata": { "name": "it-scan", "annotations": { applied: "CONTENT" } } });
    admin.create(&format!("{home}/secrets"), &secret);
    let template = json!({ "metadata": { "labels": { "app": "it-scan" } }, "spec": { "containers": [
        { "name": "a", "image": "a", "env": [{ "name": "PASSWORD", "value": "CONTENT" }] }] } });
    let deployment = json!({ "metadata": { "name": "it-scan" }, "spec": {
        "replicas": 0, "selector": { "matchLabels": { "app": "it-scan" } }, "template": template } });
    admin.create("/apis/apps/v1/namespaces/default/deployments", &deployment);

    let (certificate, key) = plane.certificate("it-scan");
    let mut file = Kubeconfig::read_from(&plane.kubeconfig).unwrap();
    let user = file.auth_infos[0].auth_info.as_mut().unwrap();
    user.client_certificate_data = Some(base64(&certificate));
    user.client_key_data = Some(base64(&key).into());
    let folder = scratch("collect");
    let kubeconfig = folder.join("kubeconfig");
    std::fs::write(&kubeconfig, serde_json::to_vec(&file).unwrap()).unwrap();

    // The lists that were refused.
    let collect = |name: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jitd"));
        command.args(["scan", "collect"]).arg(folder.join(name)).arg("--kubeconfig").arg(&kubeconfig);
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        let line = |line: &str| Some(line.strip_prefix("not evaluated: ")?.split_once(": 403: ")?.0.to_owned());
        let refused: Vec<String> = said.lines().filter_map(line).collect();
        let is_told = said.contains("hint: `jitd manifest --scan`");
        assert_eq!((output.status.success(), is_told), (refused.is_empty(), !refused.is_empty()), "{said}");
        refused
    };
    let mut turn = 0;
    let mut until_only = |refused: &[&str]| {
        until("the role counts", || {
            turn += 1;
            (collect(&turn.to_string()) == refused).then(|| folder.join(turn.to_string()))
        })
    };
    bind(role);
    let without = until_only(&["secrets"]);
    bind(of_secrets);
    let snapshot = until_only(&[]);
    for name in [role, of_secrets].map(|role| role["metadata"]["name"].as_str().unwrap()) {
        admin.delete(&format!("{base}/clusterrolebindings/{name}"));
        admin.delete(&format!("{base}/clusterroles/{name}"));
    }
    admin.delete(&format!("{home}/secrets/it-scan"));
    admin.delete("/apis/apps/v1/namespaces/default/deployments/it-scan");

    let files = |snapshot: &Path| -> BTreeSet<String> {
        snapshot.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    let mut expected: BTreeSet<String> = Listed::ALL.iter().map(|listed| format!("{}.json", listed.plural())).collect();
    expected.extend(CredentialList::ALL.iter().map(|list| format!("{}.json", list.plural)));
    expected.insert("version.json".to_owned());
    assert_eq!(files(&snapshot), expected);
    expected.remove("secrets.json");
    expected.insert("not-evaluated.json".to_owned());
    assert_eq!(files(&without), expected);
    for file in files(&snapshot) {
        let text = std::fs::read_to_string(snapshot.join(&file)).unwrap();
        assert!(!text.contains("CONTENT"), "{file}: {text}");
    }
    let read = |snapshot: &Path| {
        let mut reader = Reader::default();
        reader.path(snapshot).unwrap();
        reader.finish()
    };
    let lacking: Vec<(String, String)> =
        read(&without).not_evaluated.into_iter().map(|missing| (missing.what, missing.why)).collect();
    assert!(matches!(&lacking[..], [(what, why)] if what == "secrets" && why.starts_with("403: ")), "{lacking:?}");
    let all = read(&snapshot);
    assert_eq!(all.not_evaluated, []);
    assert!(all.version.is_some() && all.roles.len() > 50, "{:?} {}", all.version, all.roles.len());
    let secret = all.secrets.unwrap().into_iter().find(|secret| secret.name.name == "it-scan").unwrap();
    assert_eq!(secret.kind, "kubernetes.io/dockerconfigjson");
    let is_ours = |workload: &&jit_scan::Workload| workload.name.name == "it-scan";
    assert_eq!(all.workloads.unwrap().iter().find(is_ours).unwrap().kind, "deployment");
    let mut command = Command::new(env!("CARGO_BIN_EXE_jitd"));
    let own = command.args(["scan", "what-can", "it-scan"]).arg(&snapshot).output().unwrap();
    assert_eq!((own.status.code(), own.stderr.len()), (Some(0), 0), "{own:?}");
    let own = String::from_utf8(own.stdout).unwrap();
    assert!(own.contains("list clusterroles.rbac.authorization.k8s.io") && own.contains("jitd:scan"), "{own}");
    // Nothing that exists is overwritten.
    let mut again = Command::new(env!("CARGO_BIN_EXE_jitd"));
    let again = again.args(["scan", "collect"]).arg(&snapshot).arg("--kubeconfig").arg(&kubeconfig).output().unwrap();
    let said = String::from_utf8(again.stderr).unwrap();
    assert!(again.status.code() == Some(1) && said.contains("version.json"), "{said}");
}

/// Within 300 MiB of data, and without a control character in the output.
#[test]
fn hostile_input_ends_with_a_clear_answer() {
    let folder = scratch("hostile");
    let long = "x".repeat(1 << 20);
    let object = |kind: &str, name: &str, rest: &str| {
        format!(r#"{{"apiVersion": "{RBAC}/v1", "kind": "{kind}", "metadata": {{"name": "{name}"{rest}}}"#)
    };
    let ring: String = (0..10_000)
        .map(|number| {
            let next = (number + 1) % 10_000;
            let labels = format!(r#", "labels": {{"n": "{number}"}}"#);
            let selector = format!(r#"{{"clusterRoleSelectors": [{{"matchLabels": {{"n": "{next}"}}}}]}}"#);
            let rule = format!(r#"{{"apiGroups": [""], "resources": ["x{number}"], "verbs": ["get"]}}"#);
            let role = object("ClusterRole", &format!("r{number}"), &labels);
            format!(r#"{role}, "aggregationRule": {selector}, "rules": [{rule}]}}"#)
        })
        .collect();
    let bound = |role: &str, subject: &str| {
        let subjects = format!(r#"[{{"kind": "User", "name": "{subject}"}}]"#);
        let binding = object("ClusterRoleBinding", &format!("b-{role}"), "");
        format!(r#"{binding}, "roleRef": {{"kind": "ClusterRole", "name": "{role}"}}, "subjects": {subjects}}}"#)
    };
    let all = r#", "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]}"#;
    let empty = format!(r#", "rules": [{}{{}}]}}"#, "{},".repeat(100_000));
    let short = format!(r#", "rules": [{}{{}}]}}"#, "{},".repeat(90_000));
    let many = (0..16).map(|number| format!("{}{short}", object("ClusterRole", &format!("r{number}"), ""))).collect();
    let escapes = r"\u001b[31m\u202ealice\n\u0007";
    let table = [
        ("ring", format!("{ring}{}", bound("r7", "alice")), 0, "user alice"),
        ("long", format!("{}{all}{}", object("ClusterRole", &long, ""), bound(&long, &long)), 0, "xxx…"),
        (
            "codes",
            format!("{}{all}{}", object("ClusterRole", escapes, ""), bound(escapes, escapes)),
            0,
            r"\u{001b}[31m",
        ),
        ("empty", format!("{}{empty}", object("ClusterRole", "a", "")), 3, "a list has more than 100000 items"),
        ("many", many, 2, "take more than 128 MiB"),
        ("nan", r#"{"kind": "Role", "rules": NaN}"#.to_owned(), 2, "line 1: expected value"),
        ("twice", r#"{"kind": "a", "kind": "b"}"#.to_owned(), 2, "duplicate field `kind`"),
        ("deep", "[".repeat(1 << 20), 2, "line 1: "),
        ("endless", format!(r#"{{"items": [{}"#, "{},".repeat(1 << 16)), 2, "line 1: "),
        ("cut", format!("{{\n\"items\": [{}", object("Role", "a", "")), 2, "line 2: ends in the middle"),
        ("binary", "\u{0}\u{1}\u{2}".repeat(1000), 2, "line 1: "),
    ];
    for (name, text, code, expected) in table {
        let file = folder.join(name);
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new("sh");
        // RLIMIT_DATA, in KiB: what a process allocates (getrlimit(2)).
        command.args(["-c", "ulimit -d 307200; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_jitd")]);
        let output = command.args(["scan", "who-can", "get", "x9999.", "--name", "y"]).arg(&file).output().unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        let shown: String = said.chars().take(2000).collect();
        assert_eq!(output.status.code(), Some(code), "{name}: {shown}");
        assert!(said.contains(expected), "{name}: {shown}");
        let is_plain = |line: &str| line.len() < 2000 && !line.contains(|c: char| c.is_control() || c == '\u{202e}');
        assert!(said.lines().all(is_plain), "{name}: {shown:?}");
    }
}
