//! Risks planted in a cluster, and rights that look like them and are harmless: what grants them, what a scan has to say, and
//! the questions to the API server that show who is right.
//!
//! `risks.rs` scans them as a snapshot; `tests/it/scan_paths.rs` creates them in a real cluster, asks its API server the
//! questions, and carries out what the findings claim.

#![allow(dead_code, clippy::unwrap_used, clippy::indexing_slicing, reason = "tests use parts of it, and fail loudly")]

use std::collections::BTreeMap;

use jit_core::rbac::Rule;
use jit_scan::{
    Account, Binding, Finding, Kind, Meta, Name, Report, Role, RoleKind, RoleRef, Selector, Snapshot, Subject,
};
use serde_json::{Value, json};

/// Somebody with rights, and what a scan finds.
pub(crate) struct Case {
    /// `R…` for a risk, `N…` for what is none.
    pub(crate) id: &'static str,
    /// A user, `group:NAME`, or a service account as `NAMESPACE/NAME`.
    pub(crate) who: &'static str,
    /// A role with these rules is bound to them in each place: a namespace, or `""` for the whole cluster. A rule is
    /// `VERBS RESOURCES`, and perhaps `=NAMES`; resources have kubectl's form, a path begins with `/`.
    pub(crate) grants: &'static [(&'static str, &'static [&'static str])],
    /// What else is created.
    pub(crate) objects: &'static [Object],
    /// The finding, and the objects that its path contains in this order; no ids for a look-alike.
    pub(crate) finds: &'static [(&'static str, &'static [&'static str])],
    /// Verb, resource, place, name, and whether the API server allows it.
    pub(crate) asks: &'static [Ask],
}

pub(crate) type Ask = (&'static str, &'static str, &'static str, &'static str, bool);

/// An object that is not a role bound to the subject of the case.
pub(crate) enum Object {
    /// A ClusterRole with a label.
    Labelled { name: &'static str, label: &'static str, rules: &'static [&'static str] },
    /// A ClusterRole that aggregates those with a label.
    Aggregated { name: &'static str, label: &'static str },
    /// A binding in a namespace, or `""`, of `role/NAME` or `clusterrole/NAME`.
    Bound { place: &'static str, name: &'static str, role: &'static str, to: &'static str },
    /// A role with its binding to somebody else.
    Granted { place: &'static str, name: &'static str, rules: &'static [&'static str], to: &'static str },
}

use Object::{Aggregated, Bound, Granted, Labelled};

/// The namespaces, beside those of Kubernetes.
pub(crate) const NAMESPACES: &[&str] = &["shop", "dev", "ops"];
/// The service accounts that exist.
pub(crate) const ACCOUNTS: &[(&str, &str)] = &[("dev", "builder"), ("ops", "release")];
const RBAC: &str = "rbac.authorization.k8s.io";

const fn risk(
    id: &'static str,
    who: &'static str,
    grants: &'static [(&'static str, &'static [&'static str])],
    finds: &'static [(&'static str, &'static [&'static str])],
    asks: &'static [Ask],
) -> Case {
    Case { id, who, grants, objects: &[], finds, asks }
}

const fn harmless(
    id: &'static str,
    who: &'static str,
    grants: &'static [(&'static str, &'static [&'static str])],
    asks: &'static [Ask],
) -> Case {
    Case { id, who, grants, objects: &[], finds: &[], asks }
}

/// The risks. R22, a token Secret, is a credential and no right.
pub(crate) const RISKS: &[Case] = &[
    risk(
        "R01",
        "r01",
        &[("", &["* *.*"])],
        &[("E01", &["clusterrolebinding/r01", "clusterrole/r01"])],
        &[("deletecollection", "secrets", "kube-system", "", true)],
    ),
    risk(
        "R02",
        "r02",
        &[("", &["escalate,patch clusterroles.rbac.authorization.k8s.io"])],
        &[("E05", &["clusterrolebinding/r02", "clusterrole/r02"])],
        &[
            ("escalate", "clusterroles.rbac.authorization.k8s.io", "", "r02", true),
            ("patch", "clusterroles.rbac.authorization.k8s.io", "", "r02", true),
            ("get", "secrets", "kube-system", "", false),
        ],
    ),
    risk(
        "R03",
        "r03",
        &[(
            "",
            &["bind clusterroles.rbac.authorization.k8s.io", "create clusterrolebindings.rbac.authorization.k8s.io"],
        )],
        &[("E06", &["clusterrolebinding/r03", "clusterrole/r03"])],
        &[
            ("bind", "clusterroles.rbac.authorization.k8s.io", "", "cluster-admin", true),
            ("create", "clusterrolebindings.rbac.authorization.k8s.io", "", "", true),
            ("get", "secrets", "kube-system", "", false),
        ],
    ),
    risk(
        "R04",
        "r04",
        &[("", &["impersonate users,groups"])],
        &[("E11", &["clusterrolebinding/r04", "clusterrole/r04"])],
        &[("impersonate", "users", "", "anyone", true), ("impersonate", "groups", "", "system:masters", true)],
    ),
    Case {
        id: "R05",
        who: "r05",
        grants: &[("", &["impersonate users =r05-admin", "impersonate userextras.authentication.k8s.io/scopes"])],
        objects: &[Granted { place: "", name: "r05-admin", rules: &["* *.*"], to: "r05-admin" }],
        finds: &[
            ("E11", &["clusterrolebinding/r05", "clusterrole/r05"]),
            (
                "P01",
                &[
                    "clusterrolebinding/r05",
                    "clusterrole/r05",
                    "user/r05-admin",
                    "clusterrolebinding/r05-admin",
                    "clusterrole/r05-admin",
                ],
            ),
        ],
        asks: &[
            ("impersonate", "users", "", "r05-admin", true),
            ("impersonate", "users", "", "bob", false),
            ("get", "secrets", "kube-system", "", false),
        ],
    },
    risk(
        "R06",
        "r06",
        &[("kube-system", &["create serviceaccounts/token"])],
        &[("E14", &["kube-system/rolebinding/r06", "kube-system/role/r06"]), ("P01", &["kube-system/role/r06"])],
        &[
            ("create", "serviceaccounts/token", "kube-system", "clusterrole-aggregation-controller", true),
            ("create", "serviceaccounts/token", "shop", "default", false),
        ],
    ),
    risk(
        "R07",
        "r07",
        &[("kube-system", &["list secrets"])],
        &[("E15", &["kube-system/rolebinding/r07", "kube-system/role/r07"])],
        &[("list", "secrets", "kube-system", "", true), ("get", "secrets", "kube-system", "any", false)],
    ),
    risk(
        "R08",
        "r08",
        &[("", &["watch secrets"])],
        &[("E15", &["clusterrolebinding/r08", "clusterrole/r08"])],
        &[("watch", "secrets", "", "", true), ("list", "secrets", "", "", false)],
    ),
    risk(
        "R09",
        "r09",
        &[("kube-system", &["create pods"])],
        &[("E21", &["kube-system/rolebinding/r09", "kube-system/role/r09"])],
        &[("create", "pods", "kube-system", "", true), ("create", "pods", "shop", "", false)],
    ),
    risk(
        "R11",
        "r11",
        &[("", &["get nodes/proxy"])],
        &[("E29", &["clusterrolebinding/r11", "clusterrole/r11"])],
        &[("get", "nodes/proxy", "", "any", true), ("create", "nodes/proxy", "", "any", false)],
    ),
    risk(
        "R12",
        "r12",
        &[("", &["create */exec"])],
        &[("E25", &["clusterrolebinding/r12", "clusterrole/r12"])],
        &[("create", "pods/exec", "shop", "web", true), ("create", "pods", "shop", "", false)],
    ),
    risk(
        "R13",
        "r13",
        &[(
            "",
            &[
                "create certificatesigningrequests.certificates.k8s.io",
                "update certificatesigningrequests.certificates.k8s.io/approval",
                "approve signers.certificates.k8s.io =kubernetes.io/kube-apiserver-client",
            ],
        )],
        &[("E18", &["clusterrolebinding/r13", "clusterrole/r13"])],
        &[
            ("create", "certificatesigningrequests.certificates.k8s.io", "", "", true),
            ("update", "certificatesigningrequests.certificates.k8s.io/approval", "", "any", true),
            ("approve", "signers.certificates.k8s.io", "", "kubernetes.io/kube-apiserver-client", true),
        ],
    ),
    risk(
        "R14",
        "r14",
        &[("", &["patch mutatingwebhookconfigurations.admissionregistration.k8s.io"])],
        &[("E36", &["clusterrolebinding/r14", "clusterrole/r14"])],
        &[("patch", "mutatingwebhookconfigurations.admissionregistration.k8s.io", "", "planted", true)],
    ),
    risk(
        "R15",
        "r15",
        &[("shop", &["patch deployments.apps"])],
        &[("E22", &["shop/rolebinding/r15", "shop/role/r15"])],
        &[("patch", "deployments.apps", "shop", "web", true), ("create", "pods", "shop", "", false)],
    ),
    risk(
        "R16",
        "r16",
        &[("kube-system", &["update configmaps =aws-auth"])],
        &[("E42", &["kube-system/rolebinding/r16", "kube-system/role/r16"])],
        &[
            ("update", "configmaps", "kube-system", "aws-auth", true),
            ("update", "configmaps", "kube-system", "coredns", false),
        ],
    ),
    Case {
        id: "R17",
        who: "r17",
        grants: &[],
        objects: &[
            Labelled { name: "r17-extra", label: "planted/r17", rules: &["get secrets"] },
            Labelled { name: "r17-plain", label: "planted/r17", rules: &["get pods"] },
            Aggregated { name: "r17", label: "planted/r17" },
            Bound { place: "", name: "r17", role: "clusterrole/r17", to: "r17" },
        ],
        finds: &[("E15", &["clusterrolebinding/r17", "clusterrole/r17", "clusterrole/r17-extra"])],
        asks: &[("get", "secrets", "kube-system", "any", true), ("list", "secrets", "", "", false)],
    },
    Case {
        id: "R18",
        who: "r18",
        grants: &[],
        objects: &[Bound { place: "shop", name: "r18", role: "role/r18-gone", to: "r18" }],
        finds: &[("E55", &["shop/rolebinding/r18"])],
        asks: &[("get", "pods", "shop", "", false)],
    },
    Case {
        id: "R19",
        who: "group:system:authenticated",
        grants: &[("shop", &["get,list configmaps", "get pods/log"])],
        objects: &[],
        finds: &[("E54", &["shop/rolebinding/r19", "shop/role/r19"])],
        asks: &[("list", "configmaps", "shop", "", true), ("list", "configmaps", "dev", "", false)],
    },
    risk(
        "R20",
        "r20",
        &[("", &["deletecollection deployments.apps,pods"])],
        &[
            ("E32", &["clusterrolebinding/r20", "clusterrole/r20"]),
            ("E74", &["clusterrolebinding/r20", "clusterrole/r20"]),
        ],
        &[("deletecollection", "pods", "shop", "", true), ("delete", "pods", "shop", "web", false)],
    ),
    risk(
        "R21",
        "r21",
        &[("shop", &["create kustomizations.kustomize.toolkit.fluxcd.io"])],
        &[("E79", &["shop/rolebinding/r21", "shop/role/r21"])],
        &[
            ("create", "kustomizations.kustomize.toolkit.fluxcd.io", "shop", "", true),
            ("create", "pods", "shop", "", false),
        ],
    ),
    Case {
        id: "R23",
        who: "r23",
        grants: &[],
        // It is added to the binding that Kubernetes ships for `system:masters`.
        objects: &[Bound { place: "", name: "cluster-admin", role: "clusterrole/cluster-admin", to: "r23" }],
        finds: &[("E01", &["clusterrolebinding/cluster-admin", "clusterrole/cluster-admin"])],
        asks: &[("get", "secrets", "kube-system", "", true)],
    },
    risk(
        "R24",
        "r24",
        &[("", &["get /*"])],
        &[("E03", &["clusterrolebinding/r24", "clusterrole/r24"])],
        &[("get", "/debug/pprof/heap", "", "", true), ("get", "/logs/", "", "", true)],
    ),
    Case {
        id: "R25",
        who: "dev/builder",
        grants: &[("ops", &["create pods"])],
        objects: &[Granted { place: "", name: "r25-release", rules: &["* *.*"], to: "ops/release" }],
        finds: &[
            ("E21", &["ops/rolebinding/r25", "ops/role/r25"]),
            (
                "P01",
                &[
                    "ops/rolebinding/r25",
                    "ops/role/r25",
                    "ops/serviceaccount/release",
                    "clusterrolebinding/r25-release",
                    "clusterrole/r25-release",
                ],
            ),
        ],
        asks: &[("create", "pods", "ops", "", true), ("get", "secrets", "kube-system", "", false)],
    },
    risk(
        "R26",
        "r26",
        &[(
            "",
            &["impersonate:user-info users.authentication.k8s.io =r05-admin", "impersonate-on:user-info:list secrets"],
        )],
        &[("E13", &["clusterrolebinding/r26", "clusterrole/r26"])],
        &[
            ("impersonate:user-info", "users.authentication.k8s.io", "", "r05-admin", true),
            ("impersonate-on:user-info:list", "secrets", "kube-system", "", true),
            ("list", "secrets", "kube-system", "", false),
            ("impersonate", "users", "", "r05-admin", false),
        ],
    ),
    risk(
        "R27",
        "r27",
        &[("shop", &["list secrets =db"])],
        &[("E15", &["shop/rolebinding/r27", "shop/role/r27"])],
        &[("list", "secrets", "shop", "db", true), ("list", "secrets", "shop", "", false)],
    ),
    risk(
        "R28",
        "r28",
        &[("shop", &["create taskruns.tekton.dev"])],
        &[("E21", &["shop/rolebinding/r28", "shop/role/r28"])],
        &[("create", "taskruns.tekton.dev", "shop", "", true), ("create", "pods", "shop", "", false)],
    ),
    risk(
        "R29",
        "r29",
        &[("shop", &["patch applications.argoproj.io"])],
        &[("E79", &["shop/rolebinding/r29", "shop/role/r29"])],
        &[("patch", "applications.argoproj.io", "shop", "any", true)],
    ),
    risk(
        "R30",
        "r30",
        &[("shop", &["create pushsecrets.external-secrets.io"])],
        &[("E15", &["shop/rolebinding/r30", "shop/role/r30"])],
        &[("create", "pushsecrets.external-secrets.io", "shop", "", true), ("get", "secrets", "shop", "db", false)],
    ),
    Case {
        id: "R31",
        who: "r31",
        grants: &[(
            "",
            &[
                "bind clusterroles.rbac.authorization.k8s.io =r31-mint",
                "create clusterrolebindings.rbac.authorization.k8s.io",
            ],
        )],
        objects: &[Labelled {
            name: "r31-mint",
            label: "planted/r31",
            rules: &["create serviceaccounts/token =release"],
        }],
        finds: &[
            ("E06", &["clusterrolebinding/r31", "clusterrole/r31"]),
            ("P01", &["clusterrole/r31", "ops/serviceaccount/release", "clusterrole/r25-release"]),
        ],
        asks: &[
            ("bind", "clusterroles.rbac.authorization.k8s.io", "", "r31-mint", true),
            ("bind", "clusterroles.rbac.authorization.k8s.io", "", "cluster-admin", false),
        ],
    },
    risk(
        "R32",
        "r32",
        &[("ops", &["create,get secrets"])],
        &[
            ("E15", &["ops/rolebinding/r32", "ops/role/r32"]),
            ("E16", &["ops/rolebinding/r32", "ops/role/r32"]),
            ("P01", &["ops/role/r32", "ops/serviceaccount/release", "clusterrole/r25-release"]),
        ],
        &[("create", "secrets", "ops", "", true), ("get", "secrets", "kube-system", "any", false)],
    ),
];

/// Rights that a scan must not report in a cluster of version 1.36.
pub(crate) const LOOK_ALIKES: &[Case] = &[
    // The server asks for create as well since 1.35. The answer of the access review is not the whole truth.
    harmless(
        "N01",
        "n01",
        &[("shop", &["get pods/exec,pods/attach,pods/portforward"])],
        &[("get", "pods/exec", "shop", "web", true)],
    ),
    harmless("N02", "n02", &[("", &["get,create pods/*"])], &[("create", "pods/exec", "shop", "web", false)]),
    harmless("N03", "n03", &[("shop", &["get,update,delete secrets =*"])], &[("get", "secrets", "shop", "db", false)]),
    harmless("N04", "n04", &[("shop", &["create pods =web"])], &[("create", "pods", "shop", "", false)]),
    harmless(
        "N05",
        "n05",
        &[("shop", &["deletecollection secrets,pods =db"])],
        &[("deletecollection", "secrets", "shop", "", false)],
    ),
    harmless(
        "N06",
        "n06",
        &[("", &["escalate,get,list clusterroles.rbac.authorization.k8s.io"])],
        &[
            ("escalate", "clusterroles.rbac.authorization.k8s.io", "", "n06", true),
            ("patch", "clusterroles.rbac.authorization.k8s.io", "", "n06", false),
        ],
    ),
    harmless(
        "N07",
        "n07",
        &[("shop", &["bind,create rolebindings.rbac.authorization.k8s.io"])],
        &[
            ("create", "rolebindings.rbac.authorization.k8s.io", "shop", "", true),
            ("bind", "clusterroles.rbac.authorization.k8s.io", "shop", "cluster-admin", false),
        ],
    ),
    harmless(
        "N08",
        "n08",
        &[(
            "",
            &[
                "create certificatesigningrequests.certificates.k8s.io",
                "update certificatesigningrequests.certificates.k8s.io/approval",
            ],
        )],
        &[
            ("update", "certificatesigningrequests.certificates.k8s.io/approval", "", "any", true),
            ("approve", "signers.certificates.k8s.io", "", "kubernetes.io/kube-apiserver-client", false),
        ],
    ),
    Case {
        id: "N09",
        who: "n09",
        grants: &[],
        objects: &[
            Labelled {
                name: "n09",
                label: "planted/n09",
                rules: &["get /*", "get,create nodes/proxy,persistentvolumes"],
            },
            Bound { place: "shop", name: "n09", role: "clusterrole/n09", to: "n09" },
        ],
        finds: &[],
        asks: &[
            ("get", "/logs/", "", "", false),
            ("get", "nodes/proxy", "", "any", false),
            ("create", "persistentvolumes", "", "", false),
        ],
    },
    harmless("N10", "n10", &[("", &["get,list secrets.apps"])], &[("get", "secrets", "shop", "db", false)]),
    harmless(
        "N11",
        "n11",
        &[("", &["impersonate groups"])],
        &[("impersonate", "groups", "", "system:masters", true), ("impersonate", "users", "", "alice", false)],
    ),
    harmless(
        "N12",
        "n12",
        &[("", &["impersonate userextras.authentication.k8s.io/scopes,uids.authentication.k8s.io"])],
        &[("impersonate", "uids.authentication.k8s.io", "", "1", true), ("impersonate", "users", "", "alice", false)],
    ),
    harmless(
        "N13",
        "n13",
        &[("shop", &["create secrets"])],
        &[
            ("create", "secrets", "shop", "", true),
            ("get", "secrets", "shop", "any", false),
            ("patch", "secrets", "shop", "any", false),
        ],
    ),
    harmless(
        "N14",
        "n14",
        &[("shop", &["create,update,patch roles.rbac.authorization.k8s.io"])],
        &[
            ("update", "roles.rbac.authorization.k8s.io", "shop", "any", true),
            ("escalate", "roles.rbac.authorization.k8s.io", "shop", "any", false),
        ],
    ),
    harmless(
        "N15",
        "n15",
        &[("", &["impersonate:user-info users.authentication.k8s.io"])],
        &[
            ("impersonate:user-info", "users.authentication.k8s.io", "", "r05-admin", true),
            ("impersonate-on:user-info:list", "secrets", "kube-system", "", false),
        ],
    ),
    harmless(
        "N16",
        "n16",
        &[("", &["bind clusterroles.rbac.authorization.k8s.io"])],
        &[
            ("bind", "clusterroles.rbac.authorization.k8s.io", "", "cluster-admin", true),
            ("create", "clusterrolebindings.rbac.authorization.k8s.io", "", "", false),
        ],
    ),
    harmless(
        "N17",
        "n17",
        &[("", &["approve signers.certificates.k8s.io"])],
        &[
            ("approve", "signers.certificates.k8s.io", "", "kubernetes.io/kube-apiserver-client", true),
            ("update", "certificatesigningrequests.certificates.k8s.io/approval", "", "any", false),
        ],
    ),
    harmless(
        "N18",
        "n18",
        &[("shop", &["get,list,watch pods,services,configmaps,pods/log", "get deployments.apps"])],
        &[("get", "pods", "shop", "web", true), ("create", "pods", "shop", "", false)],
    ),
    // What everybody may read anyway.
    Case {
        id: "N19",
        who: "group:system:serviceaccounts",
        grants: &[("", &["get /healthz,/version"])],
        objects: &[],
        finds: &[],
        asks: &[("get", "/version", "", "", true)],
    },
];

/// The findings that the report lacks.
pub(crate) fn missed(report: &Report) -> Vec<String> {
    let mut missed = Vec::new();
    for case in RISKS {
        let found = of(report, &subject(case.who));
        for (id, objects) in case.finds {
            if !found.iter().any(|finding| finding.id == *id && !finding.system && goes_through(finding, objects)) {
                missed.push(format!("{} {id}: {found:#?}", case.id));
            }
        }
    }
    missed
}

/// What the report says about the look-alikes, and about anybody else whom Kubernetes did not ship.
pub(crate) fn false_alarms(report: &Report) -> Vec<&Finding> {
    // The last two are what chains lead to.
    let risky: Vec<Subject> =
        RISKS.iter().map(|case| case.who).chain(["r05-admin", "ops/release"]).map(subject).collect();
    let is_false = |finding: &&Finding| {
        !finding.system && finding.subject.as_ref().is_some_and(|subject| !risky.contains(subject))
    };
    report.findings.iter().filter(is_false).collect()
}

/// The findings of one subject.
pub(crate) fn of<'r>(report: &'r Report, who: &Subject) -> Vec<&'r Finding> {
    report.findings.iter().filter(|finding| finding.subject.as_ref() == Some(who)).collect()
}

/// Whether the path has these objects in this order.
fn goes_through(finding: &Finding, objects: &[&str]) -> bool {
    let mut path = finding.path.iter();
    objects.iter().all(|object| path.any(|hop| hop.object == *object))
}

/// All cases as they would be read of a cluster of this version, with the roles of Kubernetes that they need.
pub(crate) fn snapshot(version: &str) -> Snapshot {
    let mut snapshot = Snapshot { version: Some(version.parse().unwrap()), ..Snapshot::default() };
    let shipped: [(&str, &[&str]); 2] = [
        ("cluster-admin", &["* *.*", "* /*"]),
        ("system:public-info-viewer", &["get /healthz,/livez,/readyz,/version,/version/"]),
    ];
    for (name, rules) in shipped {
        snapshot.roles.push(role("", name, &[], rules));
    }
    // Kubernetes writes this path without a slash.
    for rule in &mut snapshot.roles[0].rules {
        rule.non_resource_urls.iter_mut().for_each(|url| "*".clone_into(url));
    }
    snapshot.bindings.push(binding("", "cluster-admin", "clusterrole/cluster-admin", "group:system:masters"));
    let viewers = binding("", "viewers", "clusterrole/system:public-info-viewer", "bob");
    snapshot.bindings.push(viewers);
    for case in RISKS.iter().chain(LOOK_ALIKES) {
        let name = case.id.to_lowercase();
        for (place, rules) in case.grants {
            snapshot.roles.push(role(place, &name, &[], rules));
            snapshot.bindings.push(binding(place, &name, &own(place, &name), case.who));
        }
        for object in case.objects {
            match *object {
                Labelled { name, label, rules } => snapshot.roles.push(role("", name, &[label], rules)),
                Aggregated { name, label } => {
                    let selector =
                        Selector { labels: [(label.to_owned(), "yes".to_owned())].into(), ..Selector::default() };
                    let aggregates = Some(vec![selector]);
                    snapshot.roles.push(Role { aggregates, ..role("", name, &[], &[]) });
                }
                Bound { place, name, role, to } => {
                    let same = |one: &&mut Binding| one.name.namespace.is_none() && one.name.name == name;
                    match snapshot.bindings.iter_mut().find(same).filter(|_| place.is_empty()) {
                        Some(existing) => existing.subjects.push(subject(to)),
                        None => snapshot.bindings.push(binding(place, name, role, to)),
                    }
                }
                Granted { place, name, rules, to } => {
                    snapshot.roles.push(role(place, name, &[], rules));
                    snapshot.bindings.push(binding(place, name, &own(place, name), to));
                }
            }
        }
    }
    let account = |(namespace, name): &(&str, &str)| Account {
        name: Name { namespace: Some((*namespace).to_owned()), name: (*name).to_owned() },
        meta: Meta::default(),
        automount: None,
    };
    snapshot.accounts = Some(ACCOUNTS.iter().map(account).collect());
    snapshot
}

fn own(place: &str, name: &str) -> String {
    if place.is_empty() { format!("clusterrole/{name}") } else { format!("role/{name}") }
}

fn named(place: &str, name: &str) -> Name {
    Name { namespace: (!place.is_empty()).then(|| place.to_owned()), name: name.to_owned() }
}

pub(crate) fn role(place: &str, name: &str, labels: &[&str], rules: &[&str]) -> Role {
    let labels = labels.iter().map(|label| ((*label).to_owned(), "yes".to_owned())).collect::<BTreeMap<_, _>>();
    Role {
        name: named(place, name),
        meta: Meta { labels, ..Meta::default() },
        rules: rules.iter().flat_map(|text| rule(text)).collect(),
        aggregates: None,
    }
}

pub(crate) fn binding(place: &str, name: &str, role: &str, to: &str) -> Binding {
    let (kind, role) = role.split_once('/').unwrap();
    let kind = if kind == "role" { RoleKind::Role } else { RoleKind::ClusterRole };
    Binding {
        name: named(place, name),
        meta: Meta::default(),
        role: RoleRef { kind, name: role.to_owned() },
        subjects: vec![subject(to)],
    }
}

/// The rules of a text such as `get,list pods,deployments.apps =web`.
pub(crate) fn rule(text: &str) -> Vec<Rule> {
    let words: Vec<&str> = text.split(' ').collect();
    let list = |text: &str| -> Vec<String> { text.split(',').map(str::to_owned).collect() };
    let names = words.get(2).map(|names| list(names.trim_start_matches('='))).unwrap_or_default();
    let (verbs, resources) = (list(words[0]), list(words[1]));
    if words[1].starts_with('/') {
        return vec![Rule { verbs, non_resource_urls: resources, ..Rule::default() }];
    }
    Rule::exactly(&verbs, &resources, &names)
}

/// `NAME`, `group:NAME` or `NAMESPACE/NAME`.
pub(crate) fn subject(text: &str) -> Subject {
    let of = |kind, namespace: Option<&str>, name: &str| Subject {
        kind,
        namespace: namespace.map(str::to_owned),
        name: name.to_owned(),
    };
    if let Some(name) = text.strip_prefix("group:") {
        of(Kind::Group, None, name)
    } else if let Some((namespace, name)) = text.split_once('/') {
        of(Kind::ServiceAccount, Some(namespace), name)
    } else {
        of(Kind::User, None, text)
    }
}

/// The same objects in the order in which an administrator creates them, each with the path to post it to.
pub(crate) fn manifests() -> Vec<(String, Value)> {
    let snapshot = snapshot("v1.36.3");
    let shipped = |name: &Name| name.name == "cluster-admin" || name.name.starts_with("system:");
    let path = |kind: &str, name: &Name| match &name.namespace {
        Some(namespace) => format!("/apis/{RBAC}/v1/namespaces/{namespace}/{kind}s"),
        None => format!("/apis/{RBAC}/v1/cluster{kind}s"),
    };
    let mut objects = Vec::new();
    for role in snapshot.roles.iter().filter(|role| !shipped(&role.name)) {
        let mut object =
            json!({ "metadata": { "name": role.name.name, "labels": role.meta.labels }, "rules": role.rules });
        if let Some(selectors) = &role.aggregates {
            let selectors: Vec<Value> = selectors.iter().map(|one| json!({ "matchLabels": one.labels })).collect();
            object["aggregationRule"] = json!({ "clusterRoleSelectors": selectors });
        }
        objects.push((path("role", &role.name), object));
    }
    for binding in snapshot.bindings.iter().filter(|binding| !shipped(&binding.name)) {
        let subjects: Vec<Value> = binding.subjects.iter().map(subject_json).collect();
        let kind = if binding.role.kind == RoleKind::Role { "Role" } else { "ClusterRole" };
        let object = json!({
            "metadata": { "name": binding.name.name }, "subjects": subjects,
            "roleRef": { "apiGroup": RBAC, "kind": kind, "name": binding.role.name },
        });
        objects.push((path("rolebinding", &binding.name), object));
    }
    objects
}

/// A subject of a binding.
pub(crate) fn subject_json(Subject { kind, namespace, name }: &Subject) -> Value {
    match kind {
        Kind::User => json!({ "apiGroup": RBAC, "kind": "User", "name": name }),
        Kind::Group => json!({ "apiGroup": RBAC, "kind": "Group", "name": name }),
        Kind::ServiceAccount => json!({ "kind": "ServiceAccount", "namespace": namespace, "name": name }),
    }
}
