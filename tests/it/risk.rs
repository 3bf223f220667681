//! The risk catalogue, compared with a real API server: random roles, and the server's answer to each dangerous
//! question about them. The test fails if the server grants a right that no finding names, and prints the role.
//!
//! Each role is bound for its own user. The test reads back the rules that the server resolves for that user,
//! evaluates them with its own implementation of RBAC, and compares some answers with the server's.

use std::collections::BTreeSet;

use futures::stream::{self, StreamExt};
use http::Method;
use jitd::grant::request::{Namespace, Scope};
use jitd::rbac::risk::{Surroundings, assess, can_edit_guard};
use jitd::rbac::role::{ResolvedRole, Rule};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};

use crate::plane::Plane;

const RBAC: &str = "rbac.authorization.k8s.io";
const ADMISSION: &str = "admissionregistration.k8s.io";
const AUTHENTICATION: &str = "authentication.k8s.io";
const CERTIFICATES: &str = "certificates.k8s.io";

/// The number of roles, and how many of them exist at a time: the authorizer reads them all for every request.
const ROLES: usize = 1500;
const AT_ONCE: usize = 250;
const CONNECTIONS: usize = 24;

/// Verbs, group and resources, each list in one string. Any of them is enough for this part of a row.
type Part = &'static [(&'static str, &'static str, &'static str)];

/// The dangerous questions, written from the facts about Kubernetes and not from the engine's table. All parts of a
/// question must be allowed.
const DANGERS: &[(&str, &[Part])] = &[
    ("E01", &[&[("*", "*", "*")]]),
    (
        "E04",
        &[&[
            ("*", "", "pods secrets users groups replicationcontrollers podtemplates"),
            ("*", "apps", "deployments daemonsets statefulsets replicasets"),
            ("*", "batch", "jobs cronjobs"),
            ("*", RBAC, "roles clusterroles rolebindings clusterrolebindings"),
        ]],
    ),
    ("E05", &[&[("escalate", RBAC, "roles clusterroles")]]),
    ("E06", &[&[("bind", RBAC, "clusterroles")], &[("create update patch", RBAC, "rolebindings clusterrolebindings")]]),
    ("E06", &[&[("bind", RBAC, "roles")], &[("create update patch", RBAC, "rolebindings")]]),
    ("E07", &[&[("create update patch", RBAC, "rolebindings clusterrolebindings")]]),
    ("E08", &[&[("create update patch", RBAC, "roles clusterroles")]]),
    ("E09", &[&[("create update patch", RBAC, "clusterroles")]]),
    ("E10", &[&[("delete deletecollection", RBAC, "roles clusterroles rolebindings clusterrolebindings")]]),
    ("E11", &[&[("impersonate", "", "users groups serviceaccounts")]]),
    (
        "E12",
        &[&[(
            "impersonate",
            AUTHENTICATION,
            "uids userextras userextras/scopes userextras/* userextras/exec userextras/status userextras/proxy userextras/token userextras/attach",
        )]],
    ),
    (
        "E13",
        &[
            &[("impersonate:user-info", AUTHENTICATION, "users")],
            &[
                ("impersonate-on:user-info:list", "", "secrets pods nodes"),
                ("impersonate-on:user-info:list", "apps", "deployments"),
            ],
        ],
    ),
    (
        "E13",
        &[
            &[("impersonate:serviceaccount", AUTHENTICATION, "serviceaccounts")],
            &[("impersonate-on:serviceaccount:get", "", "secrets pods")],
        ],
    ),
    ("E14", &[&[("create", "", "serviceaccounts/token")]]),
    (
        "E15",
        &[&[
            ("get list watch delete deletecollection", "", "secrets"),
            (
                "create update patch",
                "external-secrets.io",
                "externalsecrets clusterexternalsecrets pushsecrets clusterpushsecrets secretstores clustersecretstores",
            ),
        ]],
    ),
    ("E16", &[&[("create update patch", "", "secrets")]]),
    (
        "E18",
        &[
            &[("create", CERTIFICATES, "certificatesigningrequests")],
            &[("update patch", CERTIFICATES, "certificatesigningrequests/approval")],
            &[("approve", CERTIFICATES, "signers")],
        ],
    ),
    (
        "E19",
        &[&[("update patch", CERTIFICATES, "certificatesigningrequests/status")], &[("sign", CERTIFICATES, "signers")]],
    ),
    (
        "E20",
        &[&[
            ("create update patch", CERTIFICATES, "clustertrustbundles"),
            ("update patch", CERTIFICATES, "podcertificaterequests/status"),
        ]],
    ),
    (
        "E21",
        &[&[
            ("create", "", "pods"),
            (
                "create update patch",
                "argoproj.io",
                "workflows cronworkflows workflowtemplates clusterworkflowtemplates workfloweventbindings",
            ),
        ]],
    ),
    (
        "E22",
        &[&[
            ("create update patch", "apps", "deployments daemonsets statefulsets replicasets controllerrevisions"),
            ("create update patch", "extensions", "deployments daemonsets statefulsets replicasets"),
            ("create update patch", "batch", "jobs cronjobs"),
            ("create update patch", "", "replicationcontrollers podtemplates"),
            ("create update patch", "argoproj.io", "rollouts"),
        ]],
    ),
    ("E23", &[&[("update patch", "", "pods")]]),
    ("E24", &[&[("update patch", "", "pods/ephemeralcontainers")]]),
    ("E25", &[&[("create", "", "pods/exec")]]),
    ("E26", &[&[("create", "", "pods/attach")]]),
    ("E27", &[&[("create", "", "pods/portforward")]]),
    ("E28", &[&[("get create update patch delete", "", "pods/proxy services/proxy")]]),
    ("E29", &[&[("get create update patch delete", "", "nodes/proxy")]]),
    ("E30", &[&[("get create", "", "nodes/log nodes/checkpoint nodes/configz nodes/pods")]]),
    ("E31", &[&[("create update patch", "", "nodes"), ("update patch", "", "nodes/status")]]),
    ("E32", &[&[("delete deletecollection", "", "nodes pods"), ("create", "", "pods/eviction")]]),
    ("E33", &[&[("update patch", "", "pods/status pods/resize"), ("create", "", "pods/binding bindings")]]),
    ("E34", &[&[("create update patch", "", "persistentvolumes")]]),
    (
        "E35",
        &[&[
            ("create update patch", "storage.k8s.io", "storageclasses volumeattachments csidrivers"),
            ("update patch", "storage.k8s.io", "volumeattachments/status"),
        ]],
    ),
    ("E36", &[&[("create update patch", ADMISSION, "mutatingwebhookconfigurations validatingwebhookconfigurations")]]),
    (
        "E37",
        &[&[(
            "create update patch delete deletecollection",
            ADMISSION,
            "mutatingwebhookconfigurations validatingwebhookconfigurations validatingadmissionpolicies validatingadmissionpolicybindings mutatingadmissionpolicies mutatingadmissionpolicybindings",
        )]],
    ),
    ("E38", &[&[("create update patch delete deletecollection", "apiregistration.k8s.io", "apiservices")]]),
    ("E39", &[&[("create update patch delete deletecollection", "apiextensions.k8s.io", "customresourcedefinitions")]]),
    (
        "E40",
        &[&[
            ("create update patch delete deletecollection", "", "namespaces"),
            ("update patch", "", "namespaces/status namespaces/finalize"),
        ]],
    ),
    ("E41", &[&[("create update patch", "", "serviceaccounts")]]),
    (
        "E44",
        &[&[("create update patch", "", "endpoints"), ("create update patch", "discovery.k8s.io", "endpointslices")]],
    ),
    ("E45", &[&[("create update patch", "", "services"), ("update patch", "", "services/status")]]),
    (
        "E46",
        &[&[
            (
                "create update patch delete deletecollection",
                "networking.k8s.io",
                "networkpolicies ingresses ingressclasses",
            ),
            ("create update patch delete deletecollection", "extensions", "networkpolicies ingresses"),
            ("create update patch", "gateway.networking.k8s.io", "httproutes"),
        ]],
    ),
    ("E50", &[&[("create update patch delete deletecollection", "coordination.k8s.io", "leases")]]),
    (
        "E51",
        &[&[
            ("create update patch delete deletecollection", "", "events"),
            ("create update patch delete deletecollection", "events.k8s.io", "events"),
        ]],
    ),
    ("E56", &[&[("list watch", "", "*")]]),
    (
        "E57",
        &[&[
            ("delete deletecollection", "", "*"),
            ("delete deletecollection", "apps", "*"),
            ("delete deletecollection", RBAC, "*"),
            ("delete deletecollection", "example.com", "*"),
            ("delete deletecollection", "batch", "*"),
            ("delete deletecollection", "extensions", "*"),
            ("delete deletecollection", ADMISSION, "*"),
            ("delete deletecollection", AUTHENTICATION, "*"),
            ("delete deletecollection", CERTIFICATES, "*"),
            ("delete deletecollection", "storage.k8s.io", "*"),
            ("delete deletecollection", "networking.k8s.io", "*"),
            ("delete deletecollection", "coordination.k8s.io", "*"),
            ("delete deletecollection", "events.k8s.io", "*"),
            ("delete deletecollection", "discovery.k8s.io", "*"),
            ("delete deletecollection", "apiregistration.k8s.io", "*"),
            ("delete deletecollection", "apiextensions.k8s.io", "*"),
            ("delete deletecollection", "argoproj.io", "*"),
            ("delete deletecollection", "gateway.networking.k8s.io", "*"),
            ("delete deletecollection", "scheduling.k8s.io", "*"),
            ("delete deletecollection", "resource.k8s.io", "*"),
            ("delete deletecollection", "node.k8s.io", "*"),
            ("delete deletecollection", "flowcontrol.apiserver.k8s.io", "*"),
            ("delete deletecollection", "authorization.k8s.io", "*"),
            ("delete deletecollection", "security.openshift.io", "*"),
            ("delete deletecollection", "autoscaling", "*"),
            ("delete deletecollection", "policy", "*"),
            ("delete deletecollection", "external-secrets.io", "*"),
            ("delete deletecollection", "*", "*"),
        ]],
    ),
    (
        "E58",
        &[&[
            ("create update patch delete deletecollection", "argoproj.io", "analysisruns eventbus"),
            ("delete deletecollection", "argoproj.io", "applications workflows rollouts"),
            ("delete deletecollection", "external-secrets.io", "externalsecrets secretstores"),
        ]],
    ),
    (
        "E61",
        &[
            &[("update patch", CERTIFICATES, "certificatesigningrequests/approval")],
            &[("approve", CERTIFICATES, "signers")],
        ],
    ),
    (
        "E62",
        &[&[
            ("update patch", CERTIFICATES, "certificatesigningrequests/approval certificatesigningrequests/status"),
            ("approve sign attest", CERTIFICATES, "signers"),
        ]],
    ),
    ("E63", &[&[("create", CERTIFICATES, "certificatesigningrequests podcertificaterequests")]]),
    (
        "E64",
        &[&[(
            "create update patch delete deletecollection",
            "flowcontrol.apiserver.k8s.io",
            "flowschemas prioritylevelconfigurations",
        )]],
    ),
    (
        "E65",
        &[&[
            (
                "create update patch delete deletecollection",
                "resource.k8s.io",
                "resourceclaims resourceclaimtemplates deviceclasses resourceslices",
            ),
            ("update patch", "resource.k8s.io", "resourceclaims/status"),
        ]],
    ),
    (
        "E66",
        &[&[
            ("create update patch delete deletecollection", "", "persistentvolumeclaims"),
            ("delete deletecollection", "", "persistentvolumes"),
            ("update patch", "", "persistentvolumeclaims/status persistentvolumes/status"),
        ]],
    ),
    ("E67", &[&[("create update patch", "", "configmaps")]]),
    ("E68", &[&[("create update patch delete deletecollection", "node.k8s.io", "runtimeclasses")]]),
    ("E69", &[&[("create update patch delete deletecollection", "scheduling.k8s.io", "priorityclasses")]]),
    (
        "E70",
        &[&[
            ("create update patch delete deletecollection", "networking.k8s.io", "servicecidrs ipaddresses"),
            ("update patch", "networking.k8s.io", "servicecidrs/status"),
        ]],
    ),
    (
        "E71",
        &[&[
            (
                "create update patch delete deletecollection",
                "storage.k8s.io",
                "csinodes csistoragecapacities volumeattributesclasses",
            ),
            ("delete deletecollection", "storage.k8s.io", "storageclasses volumeattachments csidrivers"),
        ]],
    ),
    (
        "E72",
        &[&[
            ("create update patch delete deletecollection", "", "resourcequotas limitranges"),
            ("update patch", "", "resourcequotas/status"),
        ]],
    ),
    (
        "E73",
        &[&[
            ("update patch", "apps", "deployments/scale replicasets/scale statefulsets/scale"),
            ("create update patch delete deletecollection", "autoscaling", "horizontalpodautoscalers"),
            ("create update patch delete deletecollection", "policy", "poddisruptionbudgets"),
            ("update patch", "policy", "poddisruptionbudgets/status"),
            (
                "update patch",
                "extensions",
                "deployments/scale replicasets/scale statefulsets/scale replicationcontrollers/scale",
            ),
            ("update patch", "", "replicationcontrollers/scale"),
            ("create", "apps", "deployments/rollback"),
            ("create", "extensions", "deployments/rollback"),
        ]],
    ),
    (
        "E74",
        &[&[
            ("delete deletecollection", "apps", "deployments daemonsets statefulsets replicasets controllerrevisions"),
            ("delete deletecollection", "extensions", "deployments daemonsets statefulsets replicasets"),
            ("delete deletecollection", "batch", "jobs cronjobs"),
            (
                "delete deletecollection",
                "",
                "replicationcontrollers podtemplates services serviceaccounts endpoints configmaps",
            ),
            ("delete deletecollection", "discovery.k8s.io", "endpointslices"),
            ("update patch delete deletecollection", CERTIFICATES, "certificatesigningrequests podcertificaterequests"),
            ("delete deletecollection", CERTIFICATES, "clustertrustbundles"),
        ]],
    ),
    (
        "E75",
        &[&[
            ("create", AUTHENTICATION, "tokenreviews"),
            ("create", "authorization.k8s.io", "subjectaccessreviews localsubjectaccessreviews"),
        ]],
    ),
    (
        "E76",
        &[&[
            ("update patch", "apiregistration.k8s.io", "apiservices/status"),
            ("update patch", "apiextensions.k8s.io", "customresourcedefinitions/status"),
            ("update patch", "networking.k8s.io", "ingresses/status"),
        ]],
    ),
    ("E79", &[&[("create update patch", "argoproj.io", "applications applicationsets appprojects")]]),
];

/// An object and its row: id, verbs, group, resource, name (or any), and its namespace.
const OBJECTS: &[(&str, &str, &str, &str, &str, &str)] = &[
    ("E02", "impersonate", "", "groups", "system:masters", ""),
    ("E42", "create update patch", "", "configmaps", "aws-auth", "kube-system"),
    ("E43", "create update patch delete deletecollection", "", "configmaps", "coredns", "kube-system"),
    ("E43", "create update patch delete deletecollection", "", "configmaps", "cluster-info", "kube-public"),
];

/// The resources without a namespace: those of the server's discovery, and those that only the authorizer knows.
const VIRTUAL: &[(&str, &str)] = &[
    ("", "users"),
    ("", "groups"),
    (AUTHENTICATION, "users"),
    (AUTHENTICATION, "groups"),
    (AUTHENTICATION, "uids"),
    (AUTHENTICATION, "userextras"),
    (AUTHENTICATION, "nodes"),
    (CERTIFICATES, "signers"),
    (CERTIFICATES, "clustertrustbundles"),
];

const GROUPS: &[&str] = &[
    "",
    "",
    "",
    "*",
    "apps",
    "batch",
    "extensions",
    RBAC,
    RBAC,
    ADMISSION,
    AUTHENTICATION,
    CERTIFICATES,
    "storage.k8s.io",
    "networking.k8s.io",
    "coordination.k8s.io",
    "events.k8s.io",
    "discovery.k8s.io",
    "apiregistration.k8s.io",
    "apiextensions.k8s.io",
    "argoproj.io",
    "example.com",
];
const RESOURCES: &[&str] = &[
    "*",
    "*/*",
    "*/exec",
    "*/attach",
    "*/proxy",
    "*/status",
    "*/token",
    "pods/*",
    "nodes/*",
    "configmaps/*",
    "widgets",
    "pods/log",
    "deployments/scale",
    "configmaps",
    "leases",
    "serviceaccounts",
];
const VERBS: &[&str] = &["*", "get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"];
const NAMES: &[&str] = &["web", "aws-auth", "coredns", "cluster-info", "system:masters", "*", ""];

/// SplitMix64, so that a seed always gives the same roles.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, most: usize) -> usize {
        usize::try_from(self.next() % most as u64).unwrap()
    }

    fn one_of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.below(words.len())]
    }

    fn some(&mut self, words: &[&str], most: usize) -> Vec<String> {
        (0..=self.below(most)).map(|_| self.one_of(words).to_owned()).collect()
    }

    /// Half of the rules resemble a dangerous one: its group, and some of its resources and verbs. The others are arbitrary.
    fn rule(&mut self) -> Rule {
        let mut rule = if self.below(30) == 0 {
            let urls = self.some(&["*", "/*", "/debug/*", "/logs", "/healthz", "/met*", "/widgets"], 2);
            return Rule { non_resource_urls: urls, verbs: self.some(&["get", "*"], 1), ..Rule::default() };
        } else if self.below(2) == 0 {
            let (_, parts) = DANGERS[self.below(DANGERS.len())];
            let part = parts[self.below(parts.len())];
            let (verbs, group, resources) = part[self.below(part.len())];
            let resources: Vec<&str> = resources.split(' ').collect();
            let verbs: Vec<&str> = verbs.split(' ').collect();
            Rule {
                api_groups: vec![group.to_owned()],
                resources: self.some(&resources, 2),
                verbs: self.some(&verbs, 2),
                ..Rule::default()
            }
        } else {
            let every: Vec<&str> = RESOURCES.iter().copied().chain(all_resources()).collect();
            Rule {
                api_groups: self.some(GROUPS, 2),
                resources: self.some(&every, 3),
                verbs: self.some(VERBS, 3),
                ..Rule::default()
            }
        };
        match self.below(12) {
            0 => rule.verbs.extend(self.some(VERBS, 2)),
            1 => rule.resources.extend(self.some(RESOURCES, 1)),
            2 => rule.api_groups.extend(self.some(GROUPS, 1)),
            3 | 4 => rule.resource_names = self.some(NAMES, 2),
            _ => {}
        }
        rule
    }

    /// A role. Both halves of a combination are in it more often than by chance.
    fn role(&mut self) -> Vec<Rule> {
        let mut rules: Vec<Rule> = (0..=self.below(3)).map(|_| self.rule()).collect();
        if self.below(4) == 0 {
            let combinations: Vec<_> = DANGERS.iter().filter(|(_, parts)| parts.len() > 1).collect();
            let (_, parts) = combinations[self.below(combinations.len())];
            let left_out = self.below(parts.len() * 2);
            for (_, part) in parts.iter().enumerate().filter(|(place, _)| *place != left_out) {
                let (verbs, group, resources) = part[self.below(part.len())];
                rules.push(Rule {
                    api_groups: vec![group.to_owned()],
                    resources: vec![self.one_of(&resources.split(' ').collect::<Vec<_>>()).to_owned()],
                    verbs: vec![self.one_of(&verbs.split(' ').collect::<Vec<_>>()).to_owned()],
                    ..Rule::default()
                });
            }
        }
        ResolvedRole::new(String::new(), rules).rules().to_vec()
    }
}

fn all_resources() -> impl Iterator<Item = &'static str> {
    DANGERS
        .iter()
        .flat_map(|(_, parts)| parts.iter())
        .flat_map(|part| part.iter())
        .flat_map(|(_, _, resources)| resources.split(' '))
}

/// A question to the authorizer.
#[derive(Clone, Debug)]
struct Question {
    verb: String,
    group: String,
    resource: String,
    /// Empty if the request names no object.
    name: String,
    /// Empty for a resource without a namespace.
    namespace: String,
}

/// Our own implementation of `evaluation_helpers.go`, compared with the server's answers below.
fn allows(rules: &[Rule], scope: &Scope, question: &Question) -> bool {
    let in_scope = match scope.namespaces() {
        [] => true,
        namespaces => namespaces.iter().any(|one| one.as_str() == question.namespace),
    };
    in_scope
        && rules.iter().any(|rule| {
            matches(rule, &question.verb, &question.group, &question.resource)
                && (rule.resource_names.is_empty() || rule.resource_names.contains(&question.name))
        })
}

/// Whether a rule applies, apart from its names.
fn matches(rule: &Rule, verb: &str, group: &str, resource: &str) -> bool {
    let word = |list: &[String], wanted: &str| list.iter().any(|one| one == "*" || one == wanted);
    let any_parent = |one: &String| {
        resource.split_once('/').is_some_and(|(_, subresource)| one.strip_prefix("*/") == Some(subresource))
    };
    word(&rule.verbs, verb)
        && word(&rule.api_groups, group)
        && (word(&rule.resources, resource) || rule.resources.iter().any(any_parent))
}

/// The questions behind a verb: the names in its requests, and their namespace.
struct Asker {
    cluster_wide: BTreeSet<(String, String)>,
}

impl Asker {
    fn questions(&self, verb: &str, group: &str, resource: &str, home: &str) -> Vec<Question> {
        let nameless = matches!(verb, "deletecollection") || (verb == "create" && !resource.contains('/'));
        let mut names: Vec<&str> = if nameless { vec![""] } else { NAMES.to_vec() };
        if !nameless {
            names.push("other");
            // The server checks escalate without a name when a role is created; list and watch have a name with a selector.
            if !matches!(verb, "list" | "watch" | "escalate") {
                names.retain(|name| !name.is_empty());
            }
            // A request for all objects has no name; E15 and others ask about one object.
            if resource == "*" && matches!(verb, "list" | "watch" | "*") {
                names = vec![""];
            }
            // No object can have this name, but a role can list it.
            if group != RBAC {
                names.retain(|name| *name != "*");
            }
        }
        let base = resource.split('/').next().unwrap();
        let cluster_wide = self.cluster_wide.contains(&(group.to_owned(), base.to_owned()));
        let own = (group, base) == ("", "namespaces") && matches!(verb, "get" | "update" | "patch" | "delete");
        let bind = (verb, group, base) == ("bind", RBAC, "clusterroles");
        let namespace = if cluster_wide && !own && !bind { "" } else { home };
        names
            .into_iter()
            .map(|name| Question {
                verb: verb.to_owned(),
                group: group.to_owned(),
                resource: resource.to_owned(),
                name: name.to_owned(),
                namespace: namespace.to_owned(),
            })
            .collect()
    }

    /// The allowed questions of a part. Create by name counts together with a change by the same name.
    fn allowed(&self, rules: &[Rule], scope: &Scope, home: &str, part: Part) -> Vec<Question> {
        let words = part.iter().flat_map(|(verbs, group, resources)| {
            verbs.split(' ').flat_map(move |verb| resources.split(' ').map(move |resource| (verb, *group, resource)))
        });
        words
            .filter(|(verb, group, resource)| rules.iter().any(|rule| matches(rule, verb, group, resource)))
            .flat_map(|(verb, group, resource)| {
                let mut found: Vec<Question> = self
                    .questions(verb, group, resource, home)
                    .into_iter()
                    .filter(|question| allows(rules, scope, question))
                    .collect();
                if verb == "create" && found.is_empty() && !resource.contains('/') {
                    found = self.created_by_name(rules, scope, home, group, resource);
                }
                found
            })
            .collect()
    }

    fn created_by_name(&self, rules: &[Rule], scope: &Scope, home: &str, group: &str, resource: &str) -> Vec<Question> {
        let changes: Vec<Question> = ["patch", "update"]
            .iter()
            .flat_map(|verb| self.questions(verb, group, resource, home))
            .filter(|question| allows(rules, scope, question))
            .collect();
        let create = |question: &Question| Question { verb: "create".to_owned(), ..question.clone() };
        changes.iter().map(create).filter(|question| allows(rules, scope, question)).collect()
    }
}

fn around() -> Surroundings {
    Surroundings::ordinary(Some("v1.36.3".parse().unwrap()))
}

/// What the server grants and the engine misses, or what the engine reports and the server denies.
fn disagreements(asker: &Asker, rules: &[Rule], scope: &Scope, home: &str) -> Vec<String> {
    let found = assess(rules, scope, &around());
    let speaks = |id: &str| found.findings().iter().any(|finding| finding.id.as_str() == id);
    let mut wrong = Vec::new();
    for (id, parts) in DANGERS {
        let held: Vec<Vec<Question>> = parts.iter().map(|part| asker.allowed(rules, scope, home, part)).collect();
        let granted = held.iter().all(|questions| !questions.is_empty());
        // With bind, the worse row is reported instead of E07; for a resource that only a third-party group may have,
        // the strictest row is.
        let family = matches!(*id, "E46" | "E58");
        let said = speaks(id) || (*id == "E07" && speaks("E06")) || (family && speaks("E60"));
        if granted && !said {
            wrong.push(format!("{id} is missed: the server allows {held:?}"));
        }
        // The row of a family of groups also covers resources and verbs that are in no question here.
        let families = ["argoproj.io", "external-secrets.io", "gateway.networking.k8s.io", "*"];
        let in_family = |rule: &Rule| rule.api_groups.iter().any(|group| families.contains(&group.as_str()));
        let family = family && rules.iter().any(in_family);
        let creates_by_two_names =
            parts.iter().flat_map(|part| part.iter()).any(|(verbs, ..)| verbs.contains("create"))
                && rules.iter().filter(|rule| !rule.resource_names.is_empty()).count() > 1;
        if speaks(id) && !granted && parts.len() == 1 && !family && !creates_by_two_names {
            wrong.push(format!("{id} speaks, but the server denies all of it"));
        }
    }
    for (id, verbs, group, resource, name, namespace) in OBJECTS {
        let home = if namespace.is_empty() { home } else { namespace };
        let of_the_name = |question: &Question| name.is_empty() || question.name == *name || question.name.is_empty();
        let granted = verbs.split(' ').any(|verb| {
            let mut asked = asker.questions(verb, group, resource, home);
            if verb == "create" && !asked.iter().any(|question| allows(rules, scope, question)) {
                asked = asker.created_by_name(rules, scope, home, group, resource);
            }
            asked.iter().filter(|question| of_the_name(question)).any(|question| allows(rules, scope, question))
        });
        if granted && !speaks(id) {
            wrong.push(format!("{id} is missed: {verbs} {resource} {name} in {home}"));
        }
    }
    let inside = rules.iter().any(|rule| {
        rule.non_resource_urls.iter().any(|url| {
            let prefix = url.trim_end_matches('*');
            ["/debug/pprof/heap", "/logs"]
                .iter()
                .any(|path| path == url || (url.ends_with('*') && path.starts_with(prefix)))
        })
    });
    if (inside && scope.namespaces().is_empty()) != speaks("E03") {
        wrong.push("E03 is not what the paths say".to_owned());
    }
    let guard: Part = &[
        (
            "create update patch delete deletecollection bind escalate",
            RBAC,
            "roles rolebindings clusterroles clusterrolebindings",
        ),
        (
            "create update patch delete deletecollection",
            ADMISSION,
            "validatingadmissionpolicies validatingadmissionpolicybindings mutatingadmissionpolicies mutatingadmissionpolicybindings mutatingwebhookconfigurations validatingwebhookconfigurations",
        ),
    ];
    let granted = asker.allowed(rules, scope, home, guard);
    if !granted.is_empty() && can_edit_guard(rules, scope).is_none() {
        wrong.push(format!("the guard could be edited: {granted:?}"));
    }
    wrong
}

/// The administrator, who can also impersonate others.
#[derive(Clone)]
struct Server {
    client: Client,
}

impl Server {
    async fn connect() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let file = Kubeconfig::read_from(&Plane::shared().kubeconfig).unwrap();
        let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.unwrap();
        Self { client: Client::try_from(config).unwrap() }
    }

    /// The body, or the status code if the request was refused.
    async fn call(&self, user: &str, method: Method, path: &str, body: &Value) -> Result<Value, u16> {
        let kind = match method {
            Method::PATCH if body["kind"].is_string() => "application/apply-patch+yaml",
            Method::PATCH => "application/merge-patch+json",
            _ => "application/json",
        };
        let bytes = if body.is_null() { Vec::new() } else { serde_json::to_vec(body).unwrap() };
        let mut request = http::Request::builder().method(method).uri(path).header("content-type", kind);
        if !user.is_empty() {
            request = request.header("impersonate-user", user);
        }
        match self.client.request::<Value>(request.body(bytes).unwrap()).await {
            Ok(answer) => Ok(answer),
            Err(kube::Error::Api(status)) => Err(status.code),
            Err(error) => panic!("{path}: {error}"),
        }
    }

    async fn create(&self, path: &str, body: &Value) {
        let made = self.call("", Method::POST, path, body).await;
        assert!(made.is_ok(), "{path}: {made:?}: {body}");
    }

    /// Creates the role, and binds it for `user`.
    async fn bind(&self, tag: &str, user: &str, rules: &[Rule], scope: &Scope) {
        let labels = json!({ "it-risk": tag });
        let role = json!({
            "apiVersion": format!("{RBAC}/v1"), "kind": "ClusterRole", "metadata": { "name": user, "labels": labels }, "rules": rules,
        });
        self.create(&roles_path(), &role).await;
        let (kind, path) = match scope.namespaces() {
            [] => ("ClusterRoleBinding", format!("/apis/{RBAC}/v1/clusterrolebindings")),
            [namespace, ..] => ("RoleBinding", bindings_path(namespace.as_str())),
        };
        let binding = json!({
            "apiVersion": format!("{RBAC}/v1"), "kind": kind, "metadata": { "name": user, "labels": labels },
            "roleRef": { "apiGroup": RBAC, "kind": "ClusterRole", "name": user },
            "subjects": [{ "apiGroup": RBAC, "kind": "User", "name": user }],
        });
        self.create(&path, &binding).await;
    }

    /// The rules for resources that the server resolves for `user` in `namespace`.
    async fn resolved(&self, user: &str, namespace: &str) -> BTreeSet<Rule> {
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": { "namespace": namespace },
        });
        let path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
        let answer = self.call(user, Method::POST, path, &review).await.unwrap();
        answer["status"]["resourceRules"]
            .as_array()
            .unwrap()
            .iter()
            .map(|rule| serde_json::from_value(rule.clone()).unwrap())
            .collect()
    }

    async fn says(&self, user: &str, question: &Question) -> bool {
        let (resource, subresource) = question.resource.split_once('/').unwrap_or((&question.resource, ""));
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
            "spec": { "user": user, "resourceAttributes": {
                "verb": question.verb, "group": question.group, "resource": resource, "subresource": subresource,
                "name": question.name, "namespace": question.namespace,
            }},
        });
        let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
        self.call("", Method::POST, path, &review).await.unwrap()["status"]["allowed"].as_bool().unwrap()
    }

    async fn remove_roles(&self, tag: &str, namespaces: &[&str]) {
        let bindings = namespaces.iter().map(|namespace| bindings_path(namespace));
        for path in bindings.chain([format!("/apis/{RBAC}/v1/clusterrolebindings"), roles_path()]) {
            let path = format!("{path}?labelSelector=it-risk%3D{tag}");
            self.call("", Method::DELETE, &path, &Value::Null).await.unwrap();
        }
    }

    /// The resources of discovery, over all versions of all groups: group, resource and verb.
    async fn served(&self) -> BTreeSet<(String, String, String)> {
        let groups = self.call("", Method::GET, "/apis", &Value::Null).await.unwrap();
        let versions = groups["groups"].as_array().unwrap().iter().flat_map(|group| {
            let name = group["name"].as_str().unwrap();
            let versions = group["versions"].as_array().unwrap().iter();
            versions.map(move |version| (name, format!("/apis/{}", version["groupVersion"].as_str().unwrap())))
        });
        let mut found = BTreeSet::new();
        for (group, path) in versions.chain([("", "/api/v1".to_owned())]) {
            let list = self.call("", Method::GET, &path, &Value::Null).await.unwrap();
            for resource in list["resources"].as_array().unwrap() {
                // `scale` has a kind of another group, but is a subresource of this one.
                let name = resource["name"].as_str().unwrap();
                for verb in resource["verbs"].as_array().unwrap() {
                    found.insert((group.to_owned(), name.to_owned(), verb.as_str().unwrap().to_owned()));
                }
            }
        }
        found
    }

    /// The resources without a namespace, according to discovery.
    async fn cluster_wide(&self) -> BTreeSet<(String, String)> {
        let mut found: BTreeSet<(String, String)> =
            VIRTUAL.iter().map(|(group, resource)| ((*group).to_owned(), (*resource).to_owned())).collect();
        let groups = self.call("", Method::GET, "/apis", &Value::Null).await.unwrap();
        let mut lists = vec![(String::new(), "/api/v1".to_owned())];
        for group in groups["groups"].as_array().unwrap() {
            let version = group["preferredVersion"]["groupVersion"].as_str().unwrap();
            lists.push((group["name"].as_str().unwrap().to_owned(), format!("/apis/{version}")));
        }
        for (group, path) in lists {
            let list = self.call("", Method::GET, &path, &Value::Null).await.unwrap();
            for resource in list["resources"].as_array().unwrap() {
                if resource["namespaced"] == false {
                    found.insert((group.clone(), resource["name"].as_str().unwrap().to_owned()));
                }
            }
        }
        found
    }
}

fn in_namespace(name: &str) -> Scope {
    name.parse::<Namespace>().unwrap().into()
}

fn roles_path() -> String {
    format!("/apis/{RBAC}/v1/clusterroles")
}

fn bindings_path(namespace: &str) -> String {
    format!("/apis/{RBAC}/v1/namespaces/{namespace}/rolebindings")
}

/// Polls until `met` is true, for at most ten seconds.
async fn until<F: Future<Output = bool>>(what: &str, mut met: impl FnMut() -> F) {
    let begun = std::time::Instant::now();
    while !met().await {
        assert!(begun.elapsed() < std::time::Duration::from_secs(10), "not true within ten seconds: {what}");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// The rules as a SelfSubjectRulesReview lists them: only those for resources.
fn of_resources(rules: &[Rule]) -> BTreeSet<Rule> {
    rules.iter().filter(|rule| !rule.resources.is_empty()).cloned().collect()
}

/// The same roles in every run, so that a failure comes from the change under test; `RISK_SEED=$RANDOM` tries other roles.
fn seed() -> u64 {
    std::env::var("RISK_SEED").map_or(7_624_355_926_594_928_274, |seed| seed.parse().unwrap())
}

/// The claim that everything else depends on: the catalogue misses no right that the API server grants, and invents
/// none. It runs from `a_minute.rs`.
pub(crate) async fn what_the_api_server_grants_is_found() {
    let seed = seed();
    println!("RISK_SEED={seed}");
    let mut random = Random(seed);
    let server = Server::connect().await;
    let asker = Asker { cluster_wide: server.cluster_wide().await };
    let tag = format!("{seed:x}");
    let ours = format!("it-risk-{tag}");
    server.create("/api/v1/namespaces", &json!({ "metadata": { "name": ours } })).await;
    let everybody = server.resolved(&format!("it-risk-{tag}-nobody"), &ours).await;

    let scopes = [Scope::Cluster, in_namespace(&ours), in_namespace("kube-system")];
    let (mut wrong, mut allowed_answers, mut findings) = (Vec::new(), 0, BTreeSet::new());
    for batch in 0..ROLES / AT_ONCE {
        let roles: Vec<(String, Vec<Rule>, &Scope)> = (0..AT_ONCE)
            .map(|number| {
                let scope = &scopes[if number % 4 == 3 { 2 } else { number % 2 }];
                (format!("it-risk-{tag}-{batch}-{number}"), random.role(), scope)
            })
            .collect();
        stream::iter(&roles)
            .for_each_concurrent(CONNECTIONS, |(user, rules, scope)| server.bind(&tag, user, rules, scope))
            .await;
        let seeds: Vec<u64> = roles.iter().map(|_| random.next()).collect();
        let results: Vec<(Vec<String>, usize)> = stream::iter(roles.iter().zip(seeds))
            .map(|((user, rules, scope), seed)| {
                let (server, asker, everybody, ours) = (&server, &asker, &everybody, ours.as_str());
                async move {
                    let home = scope.namespaces().first().map_or(ours, |namespace| namespace.as_str());
                    let expected: BTreeSet<Rule> = of_resources(rules).union(everybody).cloned().collect();
                    until(&format!("{rules:?} for {user}"), || async {
                        server.resolved(user, home).await.into_iter().map(sorted).collect::<BTreeSet<_>>()
                            == expected.iter().cloned().map(sorted).collect()
                    })
                    .await;
                    let mut wrong = disagreements(asker, rules, scope, home);
                    let (mut random, mut allowed) = (Random(seed), 0);
                    for question in some_questions(asker, rules, scope, home, &mut random) {
                        let ours = allows(rules, scope, &question) || is_everybodys(everybody, &question);
                        let theirs = server.says(user, &question).await;
                        allowed += usize::from(theirs);
                        if ours != theirs {
                            wrong.push(format!("the server says {theirs} to {question:?}"));
                        }
                    }
                    let shown = serde_json::to_string(rules).unwrap();
                    (wrong.into_iter().map(|wrong| format!("{wrong}\n  in {scope}: {shown}")).collect(), allowed)
                }
            })
            .buffer_unordered(CONNECTIONS)
            .collect()
            .await;
        for (role, allowed) in results {
            wrong.extend(role);
            allowed_answers += allowed;
        }
        for (_, rules, scope) in &roles {
            findings.extend(assess(rules, scope, &around()).findings().iter().map(|finding| finding.id));
        }
        server.remove_roles(&tag, &[&ours, "kube-system"]).await;
    }
    server.call("", Method::DELETE, &format!("/api/v1/namespaces/{ours}"), &Value::Null).await.unwrap();
    assert!(
        wrong.is_empty(),
        "seed {seed}, {} disagreements:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(30)].join("\n")
    );
    // The roles must be useful: most rows matched, and the server allowed many questions.
    assert!(findings.len() > 40 && allowed_answers > ROLES / 4, "{findings:?} {allowed_answers}");
}

fn sorted(rule: Rule) -> Rule {
    ResolvedRole::new(String::new(), vec![rule]).rules()[0].clone()
}

fn is_everybodys(rules: &BTreeSet<Rule>, question: &Question) -> bool {
    allows(&rules.iter().cloned().collect::<Vec<_>>(), &Scope::Cluster, question)
}

/// A question of any row, and two that should be allowed.
fn some_questions(asker: &Asker, rules: &[Rule], scope: &Scope, home: &str, random: &mut Random) -> Vec<Question> {
    let parts: Vec<Part> = DANGERS.iter().flat_map(|(_, parts)| parts.iter().copied()).collect();
    let (verbs, group, resources) = {
        let part = parts[random.below(parts.len())];
        part[random.below(part.len())]
    };
    let verb = random.one_of(&verbs.split(' ').collect::<Vec<_>>());
    let resource = random.one_of(&resources.split(' ').collect::<Vec<_>>());
    let any = asker.questions(verb, group, resource, home);
    let mut questions = vec![any[random.below(any.len())].clone()];
    let granted: Vec<Question> = parts.iter().flat_map(|part| asker.allowed(rules, scope, home, part)).collect();
    if !granted.is_empty() {
        questions.extend((0..2).map(|_| granted[random.below(granted.len())].clone()));
    }
    questions
}

/// The roles that every cluster has contain nothing unclassified; otherwise approvers would read that in every request.
#[tokio::test]
async fn built_in_roles_are_classified() {
    let server = Server::connect().await;
    for (name, worst) in [("view", None), ("edit", Some("critical")), ("admin", Some("critical"))] {
        let role = server.call("", Method::GET, &format!("{}/{name}", roles_path()), &Value::Null).await.unwrap();
        let rules: Vec<Rule> = serde_json::from_value(role["rules"].clone()).unwrap();
        let found = assess(&rules, &Scope::Cluster, &around());
        assert_eq!(found.worst().map(|severity| severity.as_str()), worst, "{name}: {found:#?}");
        let ours = in_namespace("payments");
        assert_eq!(can_edit_guard(&rules, &ours).is_some(), name == "admin", "{name}");
    }
}

/// What the server checks and discovery does not list: the verbs of RBAC, certificates and impersonation, and the
/// kubelet's own API (`pkg/kubelet/server/auth.go`). Verbs, group, resources.
const ASKED_BESIDES: &[(&str, &str, &str)] = &[
    ("bind escalate", RBAC, "roles clusterroles"),
    ("approve sign attest", CERTIFICATES, "signers"),
    ("impersonate", "", "users groups serviceaccounts"),
    ("impersonate", AUTHENTICATION, "uids userextras/scopes"),
    ("impersonate:user-info", AUTHENTICATION, "users groups uids userextras/scopes"),
    ("impersonate:serviceaccount", AUTHENTICATION, "serviceaccounts"),
    ("impersonate:arbitrary-node impersonate:associated-node", AUTHENTICATION, "nodes"),
    ("impersonate-on:user-info:list impersonate-on:serviceaccount:get", "", "secrets pods"),
    ("associated-node:update arbitrary-node:patch", "resource.k8s.io", "resourceclaims/driver"),
    ("update patch", "resource.k8s.io", "resourceclaims/binding"),
    (
        "get create update patch delete",
        "",
        "nodes/proxy nodes/log nodes/stats nodes/metrics nodes/configz nodes/healthz nodes/pods nodes/checkpoint nodes/statusz",
    ),
    ("update", "apps", "deployments/finalizers"),
    // Checked by older versions, by admission plugins, and by other authorizers.
    ("use", "policy", "podsecuritypolicies"),
    ("use", "security.openshift.io", "securitycontextconstraints"),
    ("proxy", "", "nodes pods services"),
    ("request-serviceaccounts-token-audience", "", "vault"),
];

/// Rights without a finding, and why they are harmless: verbs, group, resources, where `*` is every resource of the group.
const HARMLESS: &[(&str, &str, &str, &str)] = &[
    (
        "get list watch",
        "",
        "configmaps endpoints events limitranges namespaces namespaces/status nodes nodes/status persistentvolumeclaims \
         persistentvolumeclaims/status persistentvolumes persistentvolumes/status pods pods/ephemeralcontainers pods/log \
         pods/resize pods/status podtemplates replicationcontrollers replicationcontrollers/scale \
         replicationcontrollers/status resourcequotas resourcequotas/status serviceaccounts services services/status \
         componentstatuses",
        "what should be and what is, as `view` shows most of it; credentials stand in secrets",
    ),
    (
        "get",
        "",
        "pods/exec pods/attach pods/portforward",
        "from 1.35 what opens a stream takes create as well; before, the row speaks",
    ),
    (
        "get create update patch delete",
        "",
        "nodes/stats nodes/metrics nodes/healthz nodes/statusz",
        "numbers about a node and its pods; nothing there can be written",
    ),
    (
        "update patch delete",
        "",
        "nodes/log nodes/configz nodes/pods nodes/checkpoint",
        "the kubelet serves them for reading, and checkpoint for create, and then the row speaks",
    ),
    ("get list watch", ADMISSION, "*", "the rules for objects; the key of a webhook's server is not in it"),
    ("get list watch", "apiextensions.k8s.io", "*", "how kinds look"),
    ("get list watch", "apiregistration.k8s.io", "*", "which server answers for a group"),
    ("get list watch", "apps", "*", "what should run; a password in it is one that everybody who may view has"),
    ("get list watch", "autoscaling", "*", "numbers of pods"),
    ("get list watch", "batch", "*", "what should run"),
    ("get list watch", CERTIFICATES, "*", "requests and certificates, without their keys"),
    ("get list watch", "coordination.k8s.io", "*", "who leads"),
    ("get list watch", "discovery.k8s.io", "*", "addresses of pods"),
    ("get list watch", "events.k8s.io", "*", "what happened"),
    ("get list watch", "flowcontrol.apiserver.k8s.io", "*", "who waits how long"),
    ("get list watch", "networking.k8s.io", "*", "who reaches whom"),
    ("get list watch", "node.k8s.io", "*", "names of runtimes"),
    ("get list watch", "policy", "*", "how many pods may be gone"),
    ("get list watch", RBAC, "*", "who may do what; to know it is no right"),
    ("get list watch", "resource.k8s.io", "*", "which device is whose"),
    ("get list watch", "scheduling.k8s.io", "*", "whose pods go first"),
    ("get list watch", "storage.k8s.io", "*", "which volume is where; keys of drivers stand in secrets"),
    ("create", AUTHENTICATION, "selfsubjectreviews", "tells the caller who they are"),
    (
        "create",
        "authorization.k8s.io",
        "selfsubjectaccessreviews selfsubjectrulesreviews",
        "tells the caller's own rights",
    ),
    ("update", "apps", "deployments/finalizers", "asked beside the right to write what an owner is set in"),
    ("bind", RBAC, "roles clusterroles", "nothing is bound without a right on bindings; and it edits the guard"),
    (
        "impersonate:user-info",
        AUTHENTICATION,
        "users groups uids userextras/scopes",
        "is nothing without the verbs that may be used so; together it is E13",
    ),
    (
        "impersonate:serviceaccount impersonate:arbitrary-node impersonate:associated-node",
        AUTHENTICATION,
        "serviceaccounts nodes",
        "likewise",
    ),
    ("impersonate-on:user-info:list impersonate-on:serviceaccount:get", "", "secrets pods", "the other half of it"),
];

/// Every right that the API server can check has a finding, or is harmless for a reason in the list above. A kind that
/// somebody adds has a finding for each of its verbs.
#[tokio::test]
async fn every_right_is_in_a_finding_or_harmless_for_a_reason() {
    let server = Server::connect().await;
    let kind = json!({
        "metadata": { "name": "gadgets.it-risk.example.io" },
        "spec": {
            "group": "it-risk.example.io", "scope": "Namespaced", "names": { "plural": "gadgets", "kind": "Gadget" },
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": { "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } },
                "subresources": { "status": {}, "scale": { "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas" } },
            }],
        },
    });
    let kinds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    server.create(kinds, &kind).await;
    until("the kind is served", || async {
        server.call("", Method::GET, "/apis/it-risk.example.io/v1", &Value::Null).await.is_ok()
    })
    .await;
    let mut rights = server.served().await;
    server.call("", Method::DELETE, &format!("{kinds}/gadgets.it-risk.example.io"), &Value::Null).await.unwrap();
    let of_discovery = rights.len();
    for (verbs, group, resources) in ASKED_BESIDES {
        for (verb, resource) in pairs(verbs, resources) {
            rights.insert(((*group).to_owned(), resource.to_owned(), verb.to_owned()));
        }
    }
    assert!(of_discovery > 400 && rights.len() > of_discovery + 60, "{of_discovery} {}", rights.len());

    let (mut wrong, mut used, mut unknown) = (Vec::new(), BTreeSet::new(), 0);
    for (group, resource, verb) in &rights {
        // Groups of other tests that run at the same time are as unknown as ours.
        let foreign = group.contains("example");
        let rule = Rule {
            api_groups: vec![group.clone()],
            resources: vec![resource.clone()],
            verbs: vec![verb.clone()],
            ..Rule::default()
        };
        let found = assess(&[rule], &Scope::Cluster, &around());
        let ids: Vec<&str> = found.findings().iter().map(|finding| finding.id.as_str()).collect();
        let reason = HARMLESS.iter().position(|(verbs, harmless, resources, _)| {
            harmless == group
                && verbs.split_whitespace().any(|one| one == verb)
                && resources.split_whitespace().any(|one| one == "*" || one == resource)
        });
        let is_unknown = ids.contains(&"E60");
        let expected = foreign || matches!(verb.as_str(), "use" | "proxy" | "request-serviceaccounts-token-audience");
        unknown += usize::from(is_unknown && group == "it-risk.example.io");
        match reason {
            _ if is_unknown != expected => wrong.push(format!("{verb} {resource} of `{group}`: {ids:?}")),
            None if ids.is_empty() => wrong.push(format!("{verb} {resource} of `{group}`: no finding, no reason")),
            Some(reason) if ids.is_empty() => drop(used.insert(reason)),
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(unknown > 10, "{unknown}");
    let unused: Vec<_> =
        (0..HARMLESS.len()).filter(|place| !used.contains(place)).map(|place| HARMLESS[place]).collect();
    assert!(unused.is_empty(), "unused reasons: {unused:?}");
}

fn pairs<'a>(verbs: &'a str, resources: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    verbs.split_whitespace().flat_map(move |verb| resources.split_whitespace().map(move |resource| (verb, resource)))
}

/// The rules, the request, and what the answer must contain; without it, the request must be refused.
type Case<'a> = (Vec<Rule>, Method, String, &'a Value, Option<&'a str>);

/// The facts about requests that the catalogue depends on, each tried on the server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rights_allow_on_the_server_what_the_catalogue_says() {
    let server = Server::connect().await;
    let tag = format!("fact-{:x}", seed());
    let ours = format!("it-risk-{tag}");
    server.create("/api/v1/namespaces", &json!({ "metadata": { "name": ours } })).await;
    let base = format!("/api/v1/namespaces/{ours}");
    server
        .create(&format!("{base}/secrets"), &json!({ "metadata": { "name": "db" }, "data": { "key": "c2VjcmV0" } }))
        .await;
    let scope = in_namespace(&ours);
    let rule = |group: &str, resources: &[&str], verbs: &[&str], names: &[&str]| -> Rule {
        serde_json::from_value(
            json!({ "apiGroups": [group], "resources": resources, "verbs": verbs, "resourceNames": names }),
        )
        .unwrap()
    };
    let config = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "web" } });
    let other = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "other" } });
    let binding = json!({
        "metadata": { "name": "raised" },
        "roleRef": { "apiGroup": RBAC, "kind": "ClusterRole", "name": "cluster-admin" },
        "subjects": [{ "apiGroup": RBAC, "kind": "User", "name": "alice" }],
    });
    let label = json!({ "metadata": { "labels": { "mine": "yes" } } });
    let unchanged = json!({});
    let apply = format!("{base}/configmaps/web?fieldManager=it");
    let dry = format!("{base}/secrets?dryRun=All");
    let cases: Vec<Case> = vec![
        (
            vec![rule("", &["secrets"], &["deletecollection"], &[])],
            Method::DELETE,
            dry.clone(),
            &Value::Null,
            Some("c2VjcmV0"),
        ),
        (
            vec![rule("", &["secrets"], &["delete"], &[])],
            Method::DELETE,
            format!("{base}/secrets/db?dryRun=All&propagationPolicy=Foreground"),
            &Value::Null,
            Some("c2VjcmV0"),
        ),
        (
            vec![rule("", &["secrets"], &["deletecollection", "delete"], &["db"])],
            Method::DELETE,
            format!("{dry}&fieldSelector=metadata.name%3Ddb"),
            &Value::Null,
            None,
        ),
        (
            vec![rule("", &["secrets"], &["list"], &["db"])],
            Method::GET,
            format!("{base}/secrets?fieldSelector=metadata.name%3Ddb"),
            &Value::Null,
            Some("c2VjcmV0"),
        ),
        (vec![rule("", &["secrets"], &["list"], &["db"])], Method::GET, format!("{base}/secrets"), &Value::Null, None),
        (
            vec![rule("", &["secrets"], &["patch"], &["db"])],
            Method::PATCH,
            format!("{base}/secrets/db"),
            &unchanged,
            Some("c2VjcmV0"),
        ),
        (
            vec![rule("", &["configmaps"], &["create"], &["web"])],
            Method::POST,
            format!("{base}/configmaps"),
            &config,
            None,
        ),
        (vec![rule("", &["configmaps"], &["patch"], &["web"])], Method::PATCH, apply.clone(), &config, None),
        (vec![rule("", &["configmaps"], &["create", "patch"], &["web"])], Method::PATCH, apply, &config, Some("web")),
        (
            vec![rule("", &["configmaps"], &["create"], &[""])],
            Method::POST,
            format!("{base}/configmaps"),
            &other,
            Some("other"),
        ),
        (vec![rule("", &["secrets"], &["get"], &["*"])], Method::GET, format!("{base}/secrets/db"), &Value::Null, None),
        (vec![rule("", &["namespaces"], &["patch"], &[])], Method::PATCH, base.clone(), &label, Some("mine")),
        (
            vec![rule("", &["namespaces/status"], &["patch"], &[])],
            Method::PATCH,
            format!("{base}/status"),
            &label,
            Some("mine"),
        ),
        (
            vec![rule("", &["namespaces"], &["*"], &[])],
            Method::PATCH,
            "/api/v1/namespaces/default".to_owned(),
            &label,
            None,
        ),
        (
            vec![rule("", &["namespaces"], &["*"], &[])],
            Method::GET,
            "/api/v1/namespaces".to_owned(),
            &Value::Null,
            None,
        ),
        (vec![rule("", &["nodes"], &["*"], &[])], Method::GET, "/api/v1/nodes".to_owned(), &Value::Null, None),
        (vec![rule(RBAC, &["rolebindings"], &["create"], &[])], Method::POST, bindings_path(&ours), &binding, None),
        (
            vec![rule(RBAC, &["rolebindings"], &["create"], &[]), rule(RBAC, &["clusterroles"], &["bind"], &[])],
            Method::POST,
            bindings_path(&ours),
            &binding,
            Some("raised"),
        ),
    ];
    let mut wrong = Vec::new();
    for (number, (rules, method, path, body, wanted)) in cases.into_iter().enumerate() {
        let user = format!("it-risk-{tag}-fact-{number}");
        server.bind(&tag, &user, &rules, &scope).await;
        until("the binding works", || async {
            let resolved = server.resolved(&user, &ours).await;
            of_resources(&rules).iter().all(|rule| resolved.contains(rule))
        })
        .await;
        let answer = server.call(&user, method, &path, body).await;
        let met = match (&answer, wanted) {
            (Ok(answer), Some(wanted)) => answer.to_string().contains(wanted),
            (Err(status), None) => *status == 403,
            _ => false,
        };
        if !met {
            wrong.push(format!("{path} with {rules:?}: {answer:?}"));
        }
    }
    server.remove_roles(&tag, &[&ours]).await;
    server.call("", Method::DELETE, &base, &Value::Null).await.unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
