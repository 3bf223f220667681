//! Each row of the catalogue is tested both ways: with roles that match it, and with similar roles that must not.
//! `tests/it/risk.rs` tests the same words on a real API server.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::catalogue::ROWS;
use super::*;
use crate::rbac::Namespace;

const RBAC: &str = "rbac.authorization.k8s.io";
const ADMISSION: &str = "admissionregistration.k8s.io";
const AUTHENTICATION: &str = "authentication.k8s.io";
const CERTIFICATES: &str = "certificates.k8s.io";

/// Groups, resources, verbs and names, each a list separated by spaces; `core` is the core group, `''` the empty name,
/// and with `url` the resources are paths.
type Words = (&'static str, &'static str, &'static str, &'static str);

fn rules(words: &[Words]) -> Vec<Rule> {
    let list = |text: &str| -> Vec<String> {
        text.split_whitespace().map(|word| if word == "core" || word == "''" { "" } else { word }.to_owned()).collect()
    };
    words
        .iter()
        .map(|(groups, resources, verbs, names)| match *groups {
            "url" => Rule { non_resource_urls: list(resources), verbs: list(verbs), ..Rule::default() },
            groups => Rule {
                api_groups: list(groups),
                resources: list(resources),
                verbs: list(verbs),
                resource_names: list(names),
                ..Rule::default()
            },
        })
        .collect()
}

fn scope(name: &str) -> Scope {
    if name == "*" { Scope::Cluster } else { name.parse::<Namespace>().unwrap().into() }
}

fn version(text: &str) -> ServerVersion {
    text.parse().unwrap()
}

fn ids(words: &[Words], at: &str) -> Vec<&'static str> {
    let found = assess(&rules(words), &scope(at), &Surroundings::ordinary(Some(version("v1.36.3"))));
    let mut ids: Vec<&str> = found.findings().iter().map(|finding| finding.id.as_str()).collect();
    ids.sort_unstable();
    ids
}

fn severity(words: &[Words], at: &str, id: &str) -> Option<Severity> {
    let found = assess(&rules(words), &scope(at), &Surroundings::ordinary(Some(version("v1.36.3"))));
    found.findings().iter().find(|finding| finding.id.as_str() == id).map(|finding| finding.severity)
}

/// For each row: its id, cluster-wide roles that match it, and similar ones that do not.
type Both = (&'static str, &'static [&'static [Words]], &'static [&'static [Words]]);

const TABLE: &[Both] = &[
    (
        "E01",
        &[&[("*", "*", "*", "")]],
        &[&[("*", "*", "get list create", "")], &[("core", "*", "*", "")], &[("*", "*", "*", "web")]],
    ),
    (
        "E02",
        &[&[("core", "groups", "impersonate", "system:masters")], &[("core", "groups", "impersonate", "")]],
        &[&[("core", "groups", "impersonate", "payments")], &[(AUTHENTICATION, "groups", "impersonate:user-info", "")]],
    ),
    (
        "E03",
        &[
            &[("url", "*", "get", "")],
            &[("url", "/*", "get", "")],
            &[("url", "/debug/pprof/*", "get", "")],
            &[("url", "/logs", "get", "")],
            &[("url", "/de*", "get", "")],
        ],
        &[&[("url", "/healthz", "get", "")], &[("url", "/api/*", "get", "")], &[("url", "/debugger", "get", "")]],
    ),
    (
        "E04",
        &[
            &[("core", "pods", "*", "")],
            &[("apps", "deployments", "*", "")],
            &[("core", "users", "*", "")],
            &[(RBAC, "rolebindings", "*", "")],
        ],
        &[
            &[("core", "pods", "get list watch create update patch delete", "")],
            &[("core", "configmaps", "*", "")],
            &[("apps", "pods", "*", "")],
        ],
    ),
    (
        "E05",
        &[
            &[(RBAC, "roles", "escalate", "")],
            &[(RBAC, "clusterroles", "escalate", "web")],
            &[("*", "*", "escalate", "*")],
        ],
        &[&[(RBAC, "rolebindings", "escalate", "")], &[(RBAC, "roles", "bind", "")]],
    ),
    (
        "E06",
        &[
            &[(RBAC, "clusterroles", "bind", ""), (RBAC, "rolebindings", "create", "")],
            &[(RBAC, "roles", "bind", ""), (RBAC, "rolebindings", "patch", "")],
            &[(RBAC, "clusterroles clusterrolebindings", "bind update", "")],
        ],
        &[
            &[(RBAC, "clusterroles", "bind", "")],
            &[(RBAC, "rolebindings", "bind create", "")],
            &[(RBAC, "roles", "bind", ""), (RBAC, "clusterrolebindings", "create", "")],
            &[(RBAC, "clusterroles", "bind", ""), (RBAC, "rolebindings", "create", "web")],
        ],
    ),
    (
        "E07",
        &[
            &[(RBAC, "rolebindings", "create", "")],
            &[(RBAC, "clusterrolebindings", "patch", "")],
            &[(RBAC, "roles", "bind", ""), (RBAC, "clusterrolebindings", "create", "")],
        ],
        &[
            &[(RBAC, "rolebindings", "create", ""), (RBAC, "clusterroles", "bind", "")],
            &[(RBAC, "rolebindings", "delete get", "")],
        ],
    ),
    (
        "E08",
        &[&[(RBAC, "roles", "patch", "")], &[(RBAC, "clusterroles", "create", "")]],
        &[&[(RBAC, "roles", "get list", "")], &[("core", "roles", "patch", "")]],
    ),
    (
        "E09",
        &[&[(RBAC, "clusterroles", "create", "")]],
        &[&[(RBAC, "roles", "create", "")], &[(RBAC, "clusterroles", "create", "web")]],
    ),
    (
        "E10",
        &[&[(RBAC, "roles", "deletecollection", "")], &[(RBAC, "rolebindings", "delete", "")]],
        &[&[(RBAC, "roles", "patch", "")], &[(RBAC, "roles", "deletecollection", "web")]],
    ),
    (
        "E11",
        &[
            &[("core", "users", "impersonate", "")],
            &[("core", "serviceaccounts", "impersonate", "web")],
            &[("core", "groups", "impersonate", "")],
        ],
        &[&[("core", "serviceaccounts", "get create", "")], &[(AUTHENTICATION, "users", "impersonate", "")]],
    ),
    (
        "E12",
        &[
            &[(AUTHENTICATION, "userextras/scopes", "impersonate", "")],
            &[(AUTHENTICATION, "uids", "impersonate", "")],
            &[(AUTHENTICATION, "*/scopes", "impersonate", "")],
            &[(AUTHENTICATION, "userextras/*", "impersonate", "")],
        ],
        &[&[("core", "uids", "impersonate", "")], &[(AUTHENTICATION, "uids", "get", "")]],
    ),
    (
        "E13",
        &[
            &[
                (AUTHENTICATION, "users", "impersonate:user-info", ""),
                ("core", "secrets", "impersonate-on:user-info:list", ""),
            ],
            &[
                (AUTHENTICATION, "serviceaccounts", "impersonate:serviceaccount", ""),
                ("core", "pods", "impersonate-on:serviceaccount:get", ""),
            ],
            &[
                (AUTHENTICATION, "nodes", "impersonate:arbitrary-node", ""),
                ("core", "pods", "impersonate-on:arbitrary-node:get", ""),
            ],
            &[
                (AUTHENTICATION, "nodes", "impersonate:associated-node", "x"),
                ("core", "pods", "impersonate-on:associated-node:get", ""),
            ],
        ],
        &[
            &[(AUTHENTICATION, "users", "impersonate:user-info", "")],
            &[("core", "secrets", "impersonate-on:user-info:list", "")],
            &[
                (AUTHENTICATION, "users", "impersonate:user-info", ""),
                ("core", "secrets", "impersonate-on:serviceaccount:list", ""),
            ],
            &[("core", "users", "impersonate:user-info", ""), ("core", "secrets", "impersonate-on:user-info:list", "")],
        ],
    ),
    (
        "E14",
        &[&[("core", "serviceaccounts/token", "create", "")], &[("core", "*/token", "create", "web")]],
        &[
            &[("core", "serviceaccounts", "create", "")],
            &[("core", "serviceaccounts/*", "create", "")],
            &[("core", "serviceaccounts/token", "get", "")],
        ],
    ),
    (
        "E15",
        &[
            &[("core", "secrets", "get", "db")],
            &[("core", "secrets", "list", "")],
            &[("core", "secrets", "watch", "")],
            &[("core", "secrets", "list", "db")],
            &[("core", "secrets", "deletecollection", "")],
            &[("core", "secrets", "delete", "")],
            &[("external-secrets.io", "pushsecrets", "create", "")],
        ],
        &[
            &[("external-secrets.io", "externalsecrets", "get list delete", "")],
            &[("core", "secrets", "deletecollection", "db")],
            &[("core", "secrets", "get", "*")],
            &[("apps", "secrets", "get", "")],
            &[("core", "configmaps", "get", "")],
        ],
    ),
    (
        "E16",
        &[
            &[("core", "secrets", "create", "")],
            &[("core", "secrets", "patch", "db")],
            &[("core", "secrets", "create", "''")],
        ],
        &[&[("core", "secrets", "create", "db")], &[("core", "secrets", "get", "")]],
    ),
    (
        "E18",
        &[&[
            (CERTIFICATES, "certificatesigningrequests", "create", ""),
            (CERTIFICATES, "certificatesigningrequests/approval", "patch", ""),
            (CERTIFICATES, "signers", "approve", "kubernetes.io/kube-apiserver-client"),
        ]],
        &[
            &[(CERTIFICATES, "certificatesigningrequests certificatesigningrequests/approval", "create update", "")],
            &[(CERTIFICATES, "certificatesigningrequests signers", "create approve", "")],
            &[(CERTIFICATES, "certificatesigningrequests/approval signers", "update approve", "")],
        ],
    ),
    (
        "E19",
        &[&[(CERTIFICATES, "certificatesigningrequests/status signers", "update sign", "")]],
        &[
            &[(CERTIFICATES, "certificatesigningrequests/status", "update", "")],
            &[(CERTIFICATES, "signers", "sign", "")],
            &[(CERTIFICATES, "certificatesigningrequests/status signers", "update approve", "")],
        ],
    ),
    (
        "E20",
        &[
            &[(CERTIFICATES, "clustertrustbundles", "patch", "")],
            &[(CERTIFICATES, "podcertificaterequests/status", "update", "")],
        ],
        &[
            &[(CERTIFICATES, "clustertrustbundles", "get watch", "")],
            &[(CERTIFICATES, "podcertificaterequests", "update", "")],
        ],
    ),
    (
        "E21",
        &[
            &[("core", "pods", "create", "")],
            &[("core", "pods", "create patch", "web")],
            &[("tekton.dev", "taskruns", "create", "")],
            &[("argoproj.io", "workflows", "create", "")],
            &[("kubevirt.io", "virtualmachineinstances", "create", "")],
        ],
        &[
            &[("tekton.dev", "taskruns", "get delete", "")],
            &[("core", "pods", "create", "web")],
            &[("apps", "pods", "create", "")],
            &[("core", "pods", "get list delete", "")],
        ],
    ),
    (
        "E22",
        &[
            &[("apps", "deployments", "patch", "")],
            &[("apps", "controllerrevisions", "create", "")],
            &[("batch", "cronjobs", "create", "")],
            &[("core", "replicationcontrollers", "update", "")],
            &[("core", "podtemplates", "create", "")],
        ],
        &[
            &[("apps", "deployments", "get list watch delete", "")],
            &[("apps", "deployments/scale", "update", "")],
            &[("apps", "deployments/*", "update", "")],
        ],
    ),
    (
        "E23",
        &[&[("core", "pods", "update", "")], &[("core", "pods", "patch", "web")]],
        &[&[("core", "pods", "create delete", "")], &[("core", "pods/status", "patch", "")]],
    ),
    (
        "E24",
        &[&[("core", "pods/ephemeralcontainers", "patch", "")], &[("core", "*/ephemeralcontainers", "update", "")]],
        &[&[("core", "pods/ephemeralcontainers", "get", "")], &[("core", "pods/*", "patch", "")]],
    ),
    (
        "E25",
        &[
            &[("core", "pods/exec", "create", "")],
            &[("core", "*/exec", "create", "")],
            &[("*", "*/exec", "create", "")],
            &[("core", "pods/exec", "create", "web")],
        ],
        &[
            &[("core", "pods/*", "create", "")],
            &[("core", "pods", "create", "")],
            &[("core", "pods/exec", "get", "")],
            &[("core", "pods/exec", "create", "*")],
        ],
    ),
    (
        "E26",
        &[&[("core", "pods/attach", "create", "")], &[("core", "*/attach", "create", "")]],
        &[&[("core", "pods/attach", "get", "")], &[("core", "pods/*", "create", "")]],
    ),
    (
        "E27",
        &[&[("core", "pods/portforward", "create", "")], &[("core", "*/portforward", "create", "")]],
        &[&[("core", "pods/portforward", "get", "")], &[("core", "services/portforward", "get", "")]],
    ),
    (
        "E28",
        &[
            &[("core", "pods/proxy", "get", "")],
            &[("core", "services/proxy", "patch", "")],
            &[("core", "*/proxy", "delete", "")],
        ],
        &[&[("core", "services", "get", "")], &[("core", "pods/*", "get", "")], &[("core", "nodes/proxy", "get", "")]],
    ),
    (
        "E29",
        &[
            &[("core", "nodes/proxy", "get", "")],
            &[("core", "nodes/proxy", "create", "")],
            &[("core", "*/proxy", "get", "")],
        ],
        &[&[("core", "nodes", "get", "")], &[("core", "pods/proxy", "get", "")], &[("core", "nodes/*", "get", "")]],
    ),
    (
        "E30",
        &[
            &[("core", "nodes/log", "get", "")],
            &[("core", "nodes/checkpoint", "create", "")],
            &[("core", "nodes/configz", "get", "")],
        ],
        &[&[("core", "nodes/stats nodes/metrics", "get", "")], &[("core", "pods/log", "get", "")]],
    ),
    (
        "E31",
        &[&[("core", "nodes", "patch", "")], &[("core", "nodes/status", "update", "")]],
        &[&[("core", "nodes", "get list watch delete", "")], &[("core", "nodes/status", "get", "")]],
    ),
    (
        "E32",
        &[
            &[("core", "nodes", "delete", "")],
            &[("core", "pods", "deletecollection", "")],
            &[("core", "pods/eviction", "create", "")],
        ],
        &[
            &[("core", "pods", "get patch", "")],
            &[("core", "pods/eviction", "get", "")],
            &[("core", "pods", "deletecollection", "web")],
        ],
    ),
    (
        "E33",
        &[
            &[("core", "pods/status", "patch", "")],
            &[("core", "pods/binding", "create", "")],
            &[("core", "bindings", "create", "")],
            &[("core", "pods/resize", "patch", "")],
        ],
        &[&[("core", "pods/status", "get", "")], &[("core", "pods", "create patch", "")]],
    ),
    (
        "E34",
        &[&[("core", "persistentvolumes", "create", "")]],
        &[&[("core", "persistentvolumeclaims", "create", "")], &[("core", "persistentvolumes", "get", "")]],
    ),
    (
        "E35",
        &[
            &[("storage.k8s.io", "storageclasses", "create", "")],
            &[("storage.k8s.io", "volumeattachments", "patch", "")],
            &[("storage.k8s.io", "csidrivers", "update", "")],
        ],
        &[&[("storage.k8s.io", "csinodes", "patch", "")], &[("storage.k8s.io", "storageclasses", "get", "")]],
    ),
    (
        "E36",
        &[
            &[(ADMISSION, "mutatingwebhookconfigurations", "patch", "")],
            &[(ADMISSION, "validatingwebhookconfigurations", "create", "")],
        ],
        &[
            &[(ADMISSION, "mutatingwebhookconfigurations", "get delete", "")],
            &[(ADMISSION, "validatingadmissionpolicies", "create", "")],
        ],
    ),
    (
        "E37",
        &[
            &[(ADMISSION, "validatingwebhookconfigurations", "delete", "")],
            &[(ADMISSION, "validatingadmissionpolicies", "create", "")],
            &[(ADMISSION, "mutatingadmissionpolicybindings", "deletecollection", "")],
        ],
        &[
            &[(ADMISSION, "validatingadmissionpolicies", "get list watch", "")],
            &[(ADMISSION, "validatingadmissionpolicies/status", "patch", "")],
        ],
    ),
    (
        "E38",
        &[&[("apiregistration.k8s.io", "apiservices", "patch", "")]],
        &[
            &[("apiregistration.k8s.io", "apiservices", "get", "")],
            &[("apiregistration.k8s.io", "apiservices/status", "patch", "")],
        ],
    ),
    (
        "E39",
        &[&[("apiextensions.k8s.io", "customresourcedefinitions", "create", "")]],
        &[&[("apiextensions.k8s.io", "customresourcedefinitions", "list", "")]],
    ),
    (
        "E40",
        &[
            &[("core", "namespaces", "patch", "")],
            &[("core", "namespaces/finalize", "update", "")],
            &[("core", "namespaces/status", "patch", "")],
            &[("core", "namespaces", "create", "")],
        ],
        &[&[("core", "namespaces", "get list watch", "")], &[("core", "namespaces", "create", "payments")]],
    ),
    ("E41", &[&[("core", "serviceaccounts", "patch", "")]], &[&[("core", "serviceaccounts", "get delete", "")]]),
    (
        "E42",
        &[&[("core", "configmaps", "update", "")], &[("core", "configmaps", "patch", "aws-auth")]],
        &[
            &[("core", "configmaps", "patch", "web")],
            &[("core", "configmaps", "create", "aws-auth")],
            &[("core", "configmaps", "get", "aws-auth")],
        ],
    ),
    (
        "E43",
        &[
            &[("core", "configmaps", "update", "coredns")],
            &[("core", "configmaps", "delete", "cluster-info")],
            &[("core", "configmaps", "patch", "")],
        ],
        &[&[("core", "configmaps", "update", "aws-auth")], &[("core", "configmaps", "get", "coredns")]],
    ),
    (
        "E44",
        &[&[("core", "endpoints", "patch", "")], &[("discovery.k8s.io", "endpointslices", "create", "")]],
        &[&[("core", "endpointslices", "get", "")], &[("core", "endpoints", "watch", "")]],
    ),
    (
        "E45",
        &[&[("core", "services", "create", "")], &[("core", "services/status", "patch", "")]],
        &[&[("core", "services", "get delete", "")], &[("core", "services/status", "get", "")]],
    ),
    (
        "E46",
        &[
            &[("networking.k8s.io", "networkpolicies", "delete", "")],
            &[("extensions", "ingresses", "create", "")],
            &[("gateway.networking.k8s.io", "httproutes", "patch", "")],
        ],
        &[
            &[("networking.k8s.io", "networkpolicies", "list", "")],
            &[("gateway.networking.k8s.io", "gateways", "get", "")],
            &[("networking.k8s.io", "servicecidrs", "create", "")],
        ],
    ),
    ("E50", &[&[("coordination.k8s.io", "leases", "update", "")]], &[&[("coordination.k8s.io", "leases", "get", "")]]),
    (
        "E51",
        &[
            &[("core", "events", "delete", "")],
            &[("events.k8s.io", "events", "deletecollection", "")],
            &[("events.k8s.io", "events", "create", "")],
        ],
        &[&[("core", "events", "get list watch", "")]],
    ),
    (
        "E56",
        &[&[("*", "*", "list", "")], &[("core", "*", "watch", "")]],
        &[
            &[("*", "*", "get", "")],
            &[("apps", "*", "list", "")],
            &[("*", "*/status", "list", "")],
            &[("*", "*", "list", "web")],
        ],
    ),
    (
        "E57",
        &[&[("*", "*", "delete", "")], &[("apps", "*", "deletecollection", "")]],
        &[
            &[("apps", "deployments", "delete", "")],
            &[("*", "*/status", "delete", "")],
            &[("*", "*", "deletecollection", "web")],
        ],
    ),
    (
        "E58",
        &[
            &[("argoproj.io", "analysistemplates", "patch", "")],
            &[("kustomize.toolkit.fluxcd.io", "kustomizations", "delete", "")],
            &[("tekton.dev", "pipelineruns", "create delete", "")],
            &[("*", "*", "create", "")],
            &[("constraints.gatekeeper.sh", "*", "delete", "")],
        ],
        &[
            &[("argoproj.io", "applications", "get list watch", "")],
            &[("notargoproj.io", "applications", "create", "")],
            &[("argoproj.io", "applications workflows", "create", "")],
            &[("helm.toolkit.fluxcd.io", "helmreleases", "patch", "")],
        ],
    ),
    (
        "E60",
        &[
            &[("example.com", "*", "get", "")],
            &[("*", "pods", "get", "")],
            &[("core", "componentstatuses", "*", ""), ("core", "pods", "create", "")],
            &[("example.com", "widgets", "get list watch", "")],
            &[("core", "pods", "frobnicate", "")],
            &[("cluster.karmada.io", "clusters/proxy", "get", "")],
            &[("subresources.kubevirt.io", "virtualmachineinstances/vnc", "get", "")],
            &[("subresources.kubevirt.io", "virtualmachineinstances/console", "get update", "")],
            &[("example.io", "things/exec", "get", "")],
            &[("example.io", "things/token", "get", "web")],
            &[("example.io", "*/token", "get", "")],
            &[("example.com", "*", "get delete", "")],
            &[("core", "pods/widget", "get", "")],
            &[("core", "*/status", "get", "")],
            &[("example.com", "widgets", "create", "")],
            &[("core", "widgets", "patch", "")],
            &[("core", "pods/widget", "create", "")],
            &[("url", "/widgets/*", "get", "")],
            &[("url", "/widgets", "post", "")],
        ],
        &[
            &[("argoproj.io", "applications applications/status", "get list watch", "")],
            &[("snapshot.storage.k8s.io", "volumesnapshots", "get list watch", "")],
            &[("subresources.kubevirt.io", "virtualmachines/restart", "update", "")],
            &[("core", "pods/*", "get", "")],
            &[("core", "pods", "*", "*")],
            &[("core", "configmaps", "patch", "")],
            &[("core", "pods", "*", "")],
            &[("url", "/widgets", "get", "")],
            &[("example.com", "widgets", "deletecollection", "web")],
        ],
    ),
    (
        "E61",
        &[&[(CERTIFICATES, "certificatesigningrequests/approval signers", "patch approve", "")]],
        &[
            &[(CERTIFICATES, "certificatesigningrequests/approval", "patch", "")],
            &[(CERTIFICATES, "signers", "approve", "")],
        ],
    ),
    (
        "E62",
        &[
            &[(CERTIFICATES, "certificatesigningrequests/approval", "update", "")],
            &[(CERTIFICATES, "certificatesigningrequests/status", "patch", "")],
            &[(CERTIFICATES, "signers", "approve", "example.com/*")],
            &[(CERTIFICATES, "signers", "attest", "")],
        ],
        &[
            &[(CERTIFICATES, "certificatesigningrequests", "create update get", "")],
            &[(CERTIFICATES, "signers", "get", "")],
        ],
    ),
    (
        "E63",
        &[
            &[(CERTIFICATES, "certificatesigningrequests", "create", "")],
            &[(CERTIFICATES, "podcertificaterequests", "create", "")],
        ],
        &[&[(CERTIFICATES, "certificatesigningrequests", "get list update", "")]],
    ),
    (
        "E64",
        &[&[(FLOW, "flowschemas", "patch", "")], &[(FLOW, "prioritylevelconfigurations", "deletecollection", "")]],
        &[&[(FLOW, "flowschemas", "get list watch", "")], &[(FLOW, "flowschemas/status", "patch", "")]],
    ),
    (
        "E65",
        &[
            &[("resource.k8s.io", "resourceclaims", "create", "")],
            &[("resource.k8s.io", "resourceslices", "delete", "")],
            &[("resource.k8s.io", "resourceclaims/driver", "arbitrary-node:update", "")],
        ],
        &[&[("resource.k8s.io", "resourceclaims deviceclasses", "get list watch", "")]],
    ),
    (
        "E66",
        &[&[("core", "persistentvolumeclaims", "create", "")], &[("core", "persistentvolumes", "delete", "")]],
        &[&[("core", "persistentvolumes", "create get", "")], &[("core", "persistentvolumeclaims", "get", "")]],
    ),
    ("E67", &[&[("core", "configmaps", "patch", "web")]], &[&[("core", "configmaps", "get list watch delete", "")]]),
    ("E68", &[&[("node.k8s.io", "runtimeclasses", "create", "")]], &[&[("node.k8s.io", "runtimeclasses", "get", "")]]),
    (
        "E69",
        &[&[("scheduling.k8s.io", "priorityclasses", "create", "")]],
        &[&[("scheduling.k8s.io", "priorityclasses", "list", "")]],
    ),
    (
        "E70",
        &[
            &[("networking.k8s.io", "servicecidrs", "create", "")],
            &[("networking.k8s.io", "ipaddresses", "delete", "")],
        ],
        &[&[("networking.k8s.io", "servicecidrs", "get", "")]],
    ),
    (
        "E71",
        &[&[("storage.k8s.io", "csinodes", "patch", "")], &[("storage.k8s.io", "storageclasses", "delete", "")]],
        &[&[("storage.k8s.io", "storageclasses", "create get", "")]],
    ),
    (
        "E72",
        &[&[("core", "resourcequotas", "update", "")], &[("core", "limitranges", "delete", "")]],
        &[&[("core", "resourcequotas limitranges", "get list watch", "")]],
    ),
    (
        "E73",
        &[
            &[("apps", "deployments/scale", "patch", "")],
            &[("autoscaling", "horizontalpodautoscalers", "create", "")],
            &[("policy", "poddisruptionbudgets", "delete", "")],
        ],
        &[&[("apps", "deployments/scale", "get", "")], &[("policy", "poddisruptionbudgets", "get", "")]],
    ),
    (
        "E74",
        &[
            &[("apps", "deployments", "delete", "")],
            &[("core", "services", "deletecollection", "")],
            &[("core", "serviceaccounts", "delete", "")],
            &[("discovery.k8s.io", "endpointslices", "delete", "")],
        ],
        &[&[("apps", "deployments", "get patch", "")], &[("core", "services", "deletecollection", "web")]],
    ),
    (
        "E75",
        &[
            &[(AUTHENTICATION, "tokenreviews", "create", "")],
            &[("authorization.k8s.io", "subjectaccessreviews", "create", "")],
        ],
        &[&[("authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews", "create", "")]],
    ),
    (
        "E76",
        &[
            &[("apiregistration.k8s.io", "apiservices/status", "patch", "")],
            &[("networking.k8s.io", "ingresses/status", "update", "")],
        ],
        &[&[("networking.k8s.io", "ingresses/status", "get", "")], &[("apps", "deployments/status", "patch", "")]],
    ),
    (
        "E77",
        &[&[("apps", "deployments/status", "patch", "")], &[("batch", "jobs/status", "update", "")]],
        &[&[("apps", "deployments/status", "get", "")], &[("core", "pods/status", "patch", "")]],
    ),
    (
        "E79",
        &[
            &[("argoproj.io", "applications", "create", "")],
            &[("argoproj.io", "*", "patch", "")],
            &[("kustomize.toolkit.fluxcd.io", "kustomizations", "patch", "app")],
            &[("helm.toolkit.fluxcd.io", "helmreleases", "create", "")],
            &[("source.toolkit.fluxcd.io", "gitrepositories", "update", "")],
        ],
        &[
            &[("argoproj.io", "applications", "get delete", "")],
            &[("argoproj.io", "applications/status workflows", "patch", "")],
            &[("toolkit.fluxcd.io", "kustomizations", "create", "")],
            &[("source.toolkit.fluxcd.io", "gitrepositories", "create", "")],
            &[("apps", "applications", "create", "")],
        ],
    ),
];

const FLOW: &str = "flowcontrol.apiserver.k8s.io";

/// Rows about bindings, which a role alone cannot match.
const OF_BINDINGS: [&str; 2] = ["E54", "E55"];

#[test]
fn every_row_matches_its_roles_and_not_similar_ones() {
    for (id, triggers, near) in TABLE {
        for words in *triggers {
            assert!(ids(words, "*").contains(id), "{id} does not match {words:?}: {:?}", ids(words, "*"));
        }
        for words in *near {
            assert!(!ids(words, "*").contains(id), "{id} matches {words:?}");
        }
    }
}

/// The row that `guardrails.yaml` produces.
const OF_ADMINISTRATORS: &str = "E78";

#[test]
fn every_row_of_the_catalogue_is_in_the_table() {
    let catalogue: BTreeSet<&str> = ROWS.iter().map(|row| row.id).collect();
    let tested: BTreeSet<&str> =
        TABLE.iter().map(|(id, ..)| *id).chain(OF_BINDINGS).chain([OF_ADMINISTRATORS]).collect();
    assert_eq!(catalogue, tested);
    // E17, E47 to E49, E52, E53 and E59 were never assigned.
    let numbers = (1..=79).filter(|number| !matches!(number, 17 | 47..=49 | 52 | 53 | 59));
    assert_eq!(
        catalogue,
        numbers.map(|number| format!("E{number:02}")).collect::<BTreeSet<_>>().iter().map(String::as_str).collect()
    );
}

#[test]
fn a_binding_is_assessed_by_its_subjects_and_a_missing_role() {
    let ids = |subjects: &[&str], role| -> Vec<&str> {
        assess_binding(subjects, role, &Scope::Cluster).findings().iter().map(|finding| finding.id.as_str()).collect()
    };
    assert_eq!(ids(&["system:masters"], BoundRole::Exists), ["E02"]);
    assert_eq!(ids(&["system:authenticated"], BoundRole::Exists), ["E54"]);
    assert_eq!(ids(&["system:serviceaccounts:payments"], BoundRole::Exists), ["E54"]);
    assert_eq!(ids(&["alice"], BoundRole::Missing), ["E55"]);
    assert!(ids(&["alice", "system:serviceaccount:payments:web"], BoundRole::Exists).is_empty());
}

#[test]
fn severity_is_one_level_lower_in_a_namespace_except_in_kube_system() {
    let secrets = [("core", "secrets", "get", "")];
    assert_eq!(severity(&secrets, "*", "E15"), Some(Severity::Critical));
    assert_eq!(severity(&secrets, "kube-system", "E15"), Some(Severity::Critical));
    assert_eq!(severity(&secrets, "payments", "E15"), Some(Severity::High));
    assert_eq!(severity(&[("core", "events", "delete", "")], "payments", "E51"), Some(Severity::Low));
    assert_eq!(severity(&[("example.com", "*", "get", "")], "payments", "E60"), Some(Severity::Unclassified));
}

#[test]
fn an_operator_that_applies_anything_is_critical_in_every_namespace() {
    for (group, resource) in [("argoproj.io", "applications"), ("helm.toolkit.fluxcd.io", "helmreleases")] {
        assert_eq!(severity(&[(group, resource, "create", "")], "payments", "E79"), Some(Severity::Critical));
    }
    assert_eq!(severity(&[("tekton.dev", "taskruns", "create", "")], "payments", "E21"), Some(Severity::High));
    assert_eq!(severity(&[("external-secrets.io", "*", "create", "")], "payments", "E15"), Some(Severity::High));
    assert_eq!(severity(&[("argoproj.io", "applications", "delete", "")], "payments", "E58"), Some(Severity::Medium));
}

/// Of somebody whose other rights are all known: what has no effect without them is no finding.
#[test]
fn a_part_of_a_risk_is_none_where_everything_that_is_held_is_known() {
    let around = Surroundings::ordinary(Some(version("v1.36.3")));
    let held = |roles: &[(&[Words], &str)], place: &str| -> Vec<&'static str> {
        let roles: Vec<(Vec<Rule>, Scope)> = roles.iter().map(|(words, at)| (rules(words), scope(at))).collect();
        let bound: Vec<Bound<'_>> = roles.iter().map(|(rules, scope)| Bound { rules, scope }).collect();
        assess_held(&bound, &scope(place), &around).findings().iter().map(|finding| finding.id.as_str()).collect()
    };
    let escalate: &[Words] = &[(RBAC, "clusterroles", "escalate get list", "")];
    let write: &[Words] = &[(RBAC, "clusterroles", "patch", "")];
    let secrets: &[Words] = &[("core", "secrets", "get", "")];
    let table: &[(&[Words], &[&str])] = &[
        (escalate, &[]),
        (write, &[]),
        (&[(RBAC, "rolebindings", "create bind", "")], &[]),
        (&[(RBAC, "rolebindings", "create", ""), ("core", "events", "delete", "")], &["E07", "E51"]),
        (&[("core", "groups", "impersonate", "")], &[]),
        (&[(AUTHENTICATION, "userextras", "impersonate", "")], &[]),
        (&[(AUTHENTICATION, "uids", "impersonate", ""), ("core", "users", "impersonate", "bob")], &["E11", "E12"]),
        (&[("core", "secrets", "create", "")], &[]),
        (&[("core", "secrets", "create get", "")], &["E15", "E16"]),
        (&[(CERTIFICATES, "certificatesigningrequests/approval", "update", "")], &[]),
        (&[(CERTIFICATES, "certificatesigningrequests", "create", "")], &[]),
        // No server has it, unless it is newer than the catalogue.
        (&[("apps", "secrets", "get", "")], &[]),
        (&[("example.com", "secrets", "get", "")], &["E60"]),
    ];
    for (words, found) in table {
        assert_eq!(held(&[(words, "*")], "*"), *found, "{words:?}");
    }
    assert_eq!(held(&[(escalate, "*"), (write, "*")], "*"), ["E05", "E08", "E09"]);
    assert_eq!(held(&[(escalate, "*"), (write, "payments")], "*"), [""; 0]);
    assert_eq!(held(&[(secrets, "payments"), (secrets, "shop")], "shop"), ["E15"]);
    assert_eq!(held(&[(secrets, "payments")], "shop"), [""; 0]);
    let newer = Surroundings::ordinary(Some(version("v1.37.0")));
    let unknown = rules(&[("apps", "secrets", "get", "")]);
    let found = assess_held(&[Bound { rules: &unknown, scope: &Scope::Cluster }], &Scope::Cluster, &newer);
    assert_eq!(found.worst(), Some(Severity::Unclassified));
}

/// Whoever acts in a namespace can act as its service accounts. If their rights are unknown, the worst is assumed.
#[test]
fn a_namespace_counts_like_the_cluster_if_its_service_accounts_reach_beyond_it() {
    let mut reach = AccountReach::default();
    let account = BindingSubject { kind: "ServiceAccount", name: "flux", namespace: Some("team-flux") };
    reach.add(None, "cluster-admin", account, || "ClusterRoleBinding `flux`".to_owned());
    let known = Surroundings { accounts: Accounts::Known(Arc::new(reach)), ..Surroundings::default() };
    let exec = rules(&[("core", "pods/exec", "create", "")]);
    let of = |at: &str, around: &Surroundings| {
        let found = assess(&exec, &scope(at), around);
        (found.worst().unwrap(), found.not_ordinary().map(str::to_owned))
    };
    assert_eq!(of("payments", &known), (Severity::Medium, None));
    let because = "a service account of `team-flux` has access outside it through ClusterRoleBinding `flux`";
    assert_eq!(of("team-flux", &known), (Severity::High, Some(because.to_owned())));
    let unknown = "the rights of the service accounts of `payments` are currently unknown";
    assert_eq!(of("payments", &Surroundings::default()), (Severity::High, Some(unknown.to_owned())));
    assert_eq!(of("*", &Surroundings::default()), (Severity::High, None));
    // One such namespace among others is enough.
    let both: Vec<Namespace> = vec!["payments".parse().unwrap(), "team-flux".parse().unwrap()];
    let found = assess(&exec, &Scope::Namespaces(both.try_into().unwrap()), &known);
    assert_eq!(found.worst(), Some(Severity::High));
    let nothing = assess(&rules(&[("core", "pods", "get", "")]), &scope("team-flux"), &known);
    assert_eq!((nothing.worst(), nothing.not_ordinary()), (None, None));
}

#[test]
fn namespaces_that_include_kube_system_count_like_the_cluster() {
    let both: Vec<Namespace> = vec!["kube-system".parse().unwrap(), "payments".parse().unwrap()];
    let found = assess(
        &rules(&[("core", "secrets", "get", "")]),
        &Scope::Namespaces(both.try_into().unwrap()),
        &Surroundings::ordinary(None),
    );
    assert_eq!(found.worst(), Some(Severity::Critical));
}

#[test]
fn a_binding_in_a_namespace_grants_nothing_cluster_scoped() {
    for words in [
        ("core", "nodes nodes/proxy nodes/status", "get create patch delete", ""),
        ("core", "users groups", "impersonate", ""),
        ("core", "persistentvolumes", "create", ""),
        (RBAC, "clusterroles clusterrolebindings", "create escalate delete", ""),
        (ADMISSION, "validatingadmissionpolicies mutatingwebhookconfigurations", "create delete", ""),
        ("apiextensions.k8s.io", "customresourcedefinitions", "*", ""),
        ("url", "*", "get", ""),
    ] {
        assert!(ids(&[words], "payments").is_empty(), "{words:?}: {:?}", ids(&[words], "payments"));
        assert!(!ids(&[words], "*").is_empty(), "{words:?}");
    }
}

/// Measured on 1.36: the request for `/api/v1/namespaces/payments` is authorized in `payments`.
#[test]
fn a_binding_in_a_namespace_grants_rights_on_the_namespace_object() {
    for words in [("core", "namespaces", "patch", ""), ("core", "namespaces/finalize", "update", "")] {
        assert_eq!(ids(&[words], "payments"), ["E40"], "{words:?}");
    }
    assert!(ids(&[("core", "namespaces", "create list deletecollection", "")], "payments").is_empty());
}

/// Measured on 1.36: a RoleBinding that grants bind on ClusterRoles was enough to bind cluster-admin in its namespace.
#[test]
fn bind_on_cluster_roles_works_in_a_namespace() {
    assert_eq!(ids(&[(RBAC, "clusterroles", "bind", ""), (RBAC, "rolebindings", "create", "")], "payments"), ["E06"]);
    assert_eq!(
        ids(&[(RBAC, "clusterroles", "bind", ""), (RBAC, "clusterrolebindings", "create", "")], "payments"),
        [""; 0]
    );
}

#[test]
fn system_objects_count_only_in_their_namespace() {
    let all = [("core", "configmaps", "patch", ""), ("coordination.k8s.io", "leases", "update", "")];
    assert_eq!(ids(&all, "kube-system"), ["E42", "E43", "E50", "E67"]);
    assert_eq!(ids(&all, "kube-public"), ["E43", "E50", "E67"]);
    assert_eq!(ids(&all, "payments"), ["E50", "E67"]);
}

/// An administrator can say what a right is worth that no row knows, verb by verb, and nothing about a right that one does.
#[test]
fn an_administrator_classifies_only_what_the_catalogue_does_not_know() {
    let classified = |group: &str, resources: &[&str], verbs: &[&str], severity: Severity| {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        Classified::new(group.to_owned(), owned(resources), &owned(verbs), severity, "no secrets inside".to_owned())
    };
    let around = Surroundings {
        classified: [
            classified("example.com", &["widgets"], &["get", "list", "watch"], Severity::Low),
            classified("example.com", &["*"], &["list", "delete"], Severity::High),
            classified("argoproj.io", &["*"], &["create"], Severity::Low),
        ]
        .into_iter()
        .map(Result::unwrap)
        .collect(),
        ..Surroundings::ordinary(Some(version("v1.36.3")))
    };
    let of = |words: &[Words]| {
        let found = assess(&rules(words), &Scope::Cluster, &around);
        let findings: Vec<(&str, Severity)> =
            found.findings().iter().map(|finding| (finding.id.as_str(), finding.severity)).collect();
        (findings, found.findings().first().map(|finding| finding.why.clone()).unwrap_or_default())
    };
    let (found, why) = of(&[("example.com", "widgets", "get list", "")]);
    assert_eq!(found, [("E78", Severity::Low)]);
    assert_eq!(why, "get, list `widgets` in `example.com`: low according to guardrails.yaml: no secrets inside");
    assert_eq!(of(&[("example.com", "gadgets widgets", "list", "")]).0, [("E78", Severity::High)], "the worst");
    assert_eq!(of(&[("example.com", "*", "list", "")]).0, [("E78", Severity::High)]);
    for rest in [
        ("example.com", "widgets", "get update", ""),
        ("example.com", "widgets/exec", "get", ""),
        ("example.com", "widgets", "*", ""),
        ("example.com", "*", "get", ""),
        ("other.com", "widgets", "get", ""),
        ("*", "widgets", "get", ""),
    ] {
        assert_eq!(of(&[rest]).0.first(), Some(&("E60", Severity::Unclassified)), "{rest:?}");
    }
    assert_eq!(of(&[("argoproj.io", "applications", "create", "")]).0.first().unwrap().0, "E79", "a row knows it");
    let watched = assess(&rules(&[("example.com", "widgets", "watch", "")]), &Scope::Cluster, &around);
    assert!(watched.may_stream() && !watched.may_persist());

    for (group, verb) in [("", "get"), ("apps", "get"), ("*", "get"), ("rbac.authorization.k8s.io", "get")] {
        assert!(classified(group, &["widgets"], &[verb], Severity::Low).is_err(), "{group}");
    }
    assert!(classified("example.com", &["widgets"], &["*"], Severity::Low).is_err());
}

#[test]
fn an_unknown_version_counts_as_every_version() {
    let exec = rules(&[("core", "pods/exec pods/attach pods/portforward", "get", "")]);
    let constrained = rules(&[
        (AUTHENTICATION, "users", "impersonate:user-info", ""),
        ("core", "secrets", "impersonate-on:user-info:list", ""),
    ]);
    for (known, exec_matches, constrained_matches) in [
        (None, true, true),
        (Some("v1.30.1-eks-abc"), true, false),
        (Some("v1.34.9"), true, false),
        (Some("v1.35.0"), false, true),
        (Some("v1.36.3"), false, true),
        (Some("v2.0.0"), false, true),
    ] {
        let known = known.map(version);
        assert_eq!(
            assess(&exec, &Scope::Cluster, &Surroundings::ordinary(known)).findings().len(),
            if exec_matches { 3 } else { 0 },
            "{known:?}"
        );
        let found = assess(&constrained, &Scope::Cluster, &Surroundings::ordinary(known)).findings().len();
        assert_eq!(found, usize::from(constrained_matches), "{known:?}");
    }
    let says_why = |known: Option<&str>| {
        let found = assess(&exec, &Scope::Cluster, &Surroundings::ordinary(known.map(version)));
        let assumed = "(assumed, because the API server's version is unknown)";
        found.findings().iter().filter(|finding| finding.why.contains(assumed)).count()
    };
    assert_eq!((says_why(None), says_why(Some("v1.34.9"))), (3, 0), "an approver reads what was assumed");
}

#[test]
fn a_version_is_parsed_as_servers_report_it() {
    for (text, read) in
        [("v1.36.3", "v1.36"), ("1.30+", "v1.30"), ("v1.27.3-gke.100", "v1.27"), ("v1.36.0-alpha.1", "v1.36")]
    {
        assert_eq!(version(text).to_string(), read);
    }
    for text in ["", "v", "v1", "1.", ".3", "v1x.3", "latest", "v99999999999.1", "１.36"] {
        assert!(text.parse::<ServerVersion>().is_err(), "{text}");
    }
}

#[test]
fn a_finding_names_the_permission() {
    let why = |words: &[Words]| {
        let found = assess(&rules(words), &Scope::Cluster, &Surroundings::ordinary(None));
        found.findings().first().map(|finding| finding.why.clone()).unwrap()
    };
    assert_eq!(
        why(&[("core", "pods/exec", "create", "")]),
        "create pods/exec: can run commands in a pod, and take the token of its service account"
    );
    assert_eq!(
        why(&[("core", "secrets", "get", "db")]),
        "get secrets named `db`: can read tokens, keys and passwords, which outlive the grant"
    );
    assert_eq!(
        why(&[(RBAC, "clusterroles", "bind", "view"), (RBAC, "rolebindings", "create", "")]),
        "bind clusterroles named `view` + create rolebindings: can grant itself or anyone else any ClusterRole that it may bind"
    );
    assert!(why(&[("core", "secrets", "get", "a\u{1b}[2J")]).contains("`a\\u{1b}[2J`"));
    assert!(why(&[("a\u{1b}b", "*", "get", "")]).starts_with("get `*` in `a\\u{1b}b`: "));
}

#[test]
fn persistence_and_streaming_follow_from_the_rights() {
    let of = |words: &[Words]| {
        let found = assess(&rules(words), &Scope::Cluster, &Surroundings::ordinary(Some(version("v1.36.3"))));
        (found.may_persist(), found.may_stream())
    };
    // A credential: read directly, or found while acting as a workload.
    assert_eq!(of(&[("core", "secrets", "get list", "")]), (true, false));
    assert_eq!(of(&[("core", "secrets", "watch", "")]), (true, true));
    assert_eq!(of(&[("core", "pods/proxy", "get", "")]), (true, true));
    assert_eq!(of(&[("core", "nodes/proxy", "get", "")]), (true, true));
    assert_eq!(of(&[("core", "nodes/configz", "get", "")]), (true, false));
    assert_eq!(of(&[("core", "users", "impersonate", "")]), (true, false));
    assert_eq!(of(&[(CERTIFICATES, "signers", "approve", "")]), (true, false));
    // What was written remains; a deletion leaves nothing behind.
    for words in [
        ("core", "pods/ephemeralcontainers", "patch", ""),
        ("core", "pods", "patch", ""),
        ("core", "persistentvolumes", "create", ""),
        ("argoproj.io", "applications", "create", ""),
        (ADMISSION, "mutatingwebhookconfigurations", "patch", ""),
        (FLOW, "flowschemas", "create", ""),
        ("apps", "controllerrevisions", "create", ""),
    ] {
        assert_eq!(of(&[words]), (true, false), "{words:?}");
    }
    assert_eq!(of(&[(ADMISSION, "mutatingwebhookconfigurations", "delete", "")]), (false, false));
    assert_eq!(of(&[("apps", "deployments/scale", "patch", "")]), (false, false));
    // An unknown resource is judged by the name of its subresource.
    for resource in ["exec", "attach", "portforward", "proxy", "console", "vnc", "token"] {
        let resource: &'static str = format!("things/{resource}").leak();
        assert_eq!(of(&[("example.io", resource, "get", "web")]), (true, true), "{resource}");
    }
    assert_eq!(of(&[("example.io", "*", "get", "")]), (true, true));
    assert_eq!(of(&[("example.io", "things", "get", "")]), (true, false));
    assert_eq!(of(&[("core", "configmaps", "watch", "")]), (false, true));
    assert_eq!(of(&[("core", "pods/log", "get", "")]), (false, true));
    assert_eq!(of(&[("core", "pods/exec", "create", "")]), (true, true));
    assert_eq!(of(&[("core", "pods/exec", "get", "")]), (false, false), "from 1.35 create is required too");
    assert_eq!(of(&[("core", "pods", "create", "")]), (true, false));
    assert_eq!(of(&[("*", "*", "*", "")]), (true, true));
}

/// Each half alone allows little or nothing; both together allow everything. A combination that the request adds nothing
/// to is not reported.
#[test]
fn a_risk_that_arises_only_from_two_grants_is_reported() {
    let create = rules(&[(CERTIFICATES, "certificatesigningrequests", "create", "")]);
    let approve = rules(&[(CERTIFICATES, "certificatesigningrequests/approval signers", "update approve", "")]);
    let bind = rules(&[(RBAC, "clusterroles", "bind", "")]);
    let rolebindings = rules(&[(RBAC, "rolebindings", "create", "")]);
    let user = rules(&[(AUTHENTICATION, "users", "impersonate:user-info", "")]);
    let on_list = rules(&[("core", "secrets", "impersonate-on:user-info:list", "")]);
    let pods = rules(&[("core", "pods", "create", "web")]);
    let patch = rules(&[("core", "pods", "patch", "web")]);
    let view = rules(&[("core", "pods", "get list", "")]);
    let (cluster, payments, shop) = (scope("*"), scope("payments"), scope("shop"));
    let together = |requested: (&[Rule], &Scope), others: &[(&[Rule], &Scope)]| -> Vec<(&str, Severity)> {
        let bound = |(rules, scope)| Bound { rules, scope };
        let others: Vec<Bound<'_>> = others.iter().map(|(rules, scope)| Bound { rules, scope }).collect();
        let found = assess_together(bound(requested), &others, &Surroundings::ordinary(Some(version("v1.36.3"))));
        found.iter().map(|finding| (finding.id.as_str(), finding.severity)).collect()
    };
    use Severity::{Critical, High};
    assert_eq!(together((&approve, &cluster), &[(&create, &cluster)]), [("E18", Critical)]);
    assert_eq!(together((&create, &cluster), &[(&view, &payments), (&approve, &cluster)]), [("E18", Critical)]);
    assert_eq!(together((&view, &cluster), &[(&create, &cluster), (&approve, &cluster)]), []);
    assert_eq!(together((&create, &cluster), &[]), []);
    // One half applies in a namespace, the other everywhere: the risk arises in the namespace.
    for (requested, other) in
        [((&bind, &cluster), (&rolebindings, &payments)), ((&rolebindings, &payments), (&bind, &cluster))]
    {
        assert_eq!(together((requested.0, requested.1), &[(other.0, other.1)]), [("E06", High)]);
    }
    assert_eq!(together((&on_list, &payments), &[(&user, &cluster)]), [("E13", High)]);
    assert_eq!(together((&patch, &payments), &[(&pods, &payments)]), [("E21", High)]);
    assert_eq!(together((&patch, &payments), &[(&pods, &shop)]), [], "they share no namespace");
    // There are too many to examine one by one, but nothing is missed.
    let many: Vec<Scope> = (0..100).map(|number| scope(&format!("ns-{number}"))).collect();
    let mut others: Vec<(&[Rule], &Scope)> = many.iter().map(|place| (view.as_slice(), place)).collect();
    others.push((&rolebindings, &payments));
    assert_eq!(together((&bind, &cluster), &others), [("E06", Critical)]);
}

#[test]
fn findings_are_sorted_worst_first_and_survive_serialization() {
    let found = assess(&rules(&[("*", "*", "*", "")]), &Scope::Cluster, &Surroundings::ordinary(None));
    let sorted = found.findings().is_sorted_by(|one, other| (other.severity, one.id) < (one.severity, other.id));
    assert!(sorted, "{found:#?}");
    assert_eq!(found.worst(), Some(Severity::Critical));
    let text = serde_json::to_string(&found).unwrap();
    assert!(text.starts_with(r#"{"findings":[{"id":"E01","severity":"critical","why":"#), "{text}");
    assert_eq!(serde_json::from_str::<Assessment>(&text).unwrap(), found);
    assert!(serde_json::from_str::<Assessment>(&text.replace("E01", "E99")).is_err());
    assert!("E99".parse::<RiskId>().is_err());
    assert_eq!(assess(&[], &Scope::Cluster, &Surroundings::ordinary(None)).worst(), None);
    for severity in Severity::ALL {
        assert_eq!(severity.as_str().parse(), Ok(severity));
        assert_eq!(serde_json::to_value(severity).unwrap(), severity.as_str());
    }
}

#[test]
fn a_role_that_could_edit_its_own_guard_is_reported() {
    for (words, here, everywhere) in [
        (("*", "*", "*", ""), true, true),
        ((RBAC, "rolebindings", "delete", ""), true, true),
        ((RBAC, "rolebindings", "create get", ""), true, true),
        ((RBAC, "roles", "patch", ""), true, true),
        ((RBAC, "clusterroles", "bind", ""), true, true),
        ((RBAC, "roles", "escalate", ""), true, true),
        ((RBAC, "clusterroles", "patch", ""), false, true),
        ((RBAC, "clusterrolebindings", "deletecollection", ""), false, true),
        ((ADMISSION, "validatingadmissionpolicies", "delete", ""), false, true),
        ((ADMISSION, "mutatingadmissionpolicybindings", "patch", ""), false, true),
        ((ADMISSION, "*", "update", "web"), false, true),
        ((FLOW, "prioritylevelconfigurations", "patch", "exempt"), false, true),
        ((RBAC, "rolebindings roles clusterroles clusterrolebindings", "get list watch", ""), false, false),
        ((ADMISSION, "validatingadmissionpolicies", "get", ""), false, false),
        (("core", "pods secrets", "*", ""), false, false),
        ((RBAC, "rolebindings/*", "delete", ""), false, false),
    ] {
        assert_eq!(can_edit_guard(&rules(&[words]), &scope("payments")).is_some(), here, "{words:?}");
        assert_eq!(can_edit_guard(&rules(&[words]), &scope("*")).is_some(), everywhere, "{words:?}");
    }
    assert_eq!(
        can_edit_guard(&rules(&[(RBAC, "rolebindings", "delete get", "")]), &scope("payments")).unwrap(),
        "delete rolebindings: could change its own binding or role, or the policies that protect them"
    );
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let some = |words: &'static [&'static str], most| {
        prop::collection::vec(prop::sample::select(words).prop_map(str::to_owned), 0..=most)
    };
    let groups =
        some(&["", "*", "apps", RBAC, CERTIFICATES, AUTHENTICATION, ADMISSION, "argoproj.io", "example.com"], 2);
    let resources = some(
        &[
            "*",
            "pods",
            "pods/exec",
            "*/exec",
            "pods/*",
            "secrets",
            "roles",
            "clusterroles",
            "rolebindings",
            "signers",
            "users",
            "widgets",
            "*/",
            "/",
            "",
            "userextras/x",
            "namespaces",
        ],
        3,
    );
    let verbs = some(
        &[
            "*",
            "get",
            "list",
            "create",
            "patch",
            "deletecollection",
            "bind",
            "approve",
            "impersonate",
            "impersonate:user-info",
            "impersonate-on:user-info:get",
            "",
        ],
        3,
    );
    let names = some(&["", "*", "web", "aws-auth"], 1);
    let urls = some(&["*", "/debug*", "/healthz", "", "é*"], 1);
    (groups, resources, verbs, names, urls).prop_map(
        |(api_groups, resources, verbs, resource_names, non_resource_urls)| Rule {
            api_groups,
            resources,
            resource_names,
            non_resource_urls,
            verbs,
        },
    )
}

/// `pods/exec` of group `apps` opens nothing, whatever its name.
#[test]
fn a_subresource_that_nobody_serves_keeps_nothing_running() {
    let around = Surroundings::ordinary(Some(version("v1.36.3")));
    let of = |rules: &[Rule]| {
        assess_held(&[Bound { rules, scope: &Scope::Cluster }], &Scope::Cluster, &around).findings().to_vec()
    };
    let rule = |group: &str, resource: &str| Rule {
        api_groups: vec![group.to_owned()],
        resources: vec![resource.to_owned()],
        resource_names: Vec::new(),
        non_resource_urls: Vec::new(),
        verbs: vec!["get".to_owned()],
    };
    let unknown = rule("certificates.k8s.io", "secrets");
    assert_eq!(of(&[unknown.clone(), rule("apps", "pods/exec")]), of(&[unknown]));
}

proptest! {
    /// An additional rule never makes a role look better, in any scope.
    #[test]
    fn more_rights_never_look_better(rules in prop::collection::vec(any_rule(), 1..8)) {
        for at in ["*", "payments", "kube-system"] {
            let scope = scope(at);
            let all = assess(&rules, &scope, &Surroundings::ordinary(None));
            let fewer = assess(&rules[1..], &scope, &Surroundings::ordinary(None));
            prop_assert!(all.worst() >= fewer.worst());
            prop_assert!(all.may_persist() >= fewer.may_persist());
            prop_assert!(all.may_stream() >= fewer.may_stream());
            prop_assert!(can_edit_guard(&rules, &scope).is_some() >= can_edit_guard(&rules[1..], &scope).is_some());
            for finding in fewer.findings().iter().filter(|finding| finding.id.as_str() != "E07") {
                prop_assert!(all.findings().iter().any(|one| one.id == finding.id), "{finding:?} is gone");
            }
        }
    }

    #[test]
    fn rules_that_do_not_matter_change_no_assessment(
        rules in prop::collection::vec(any_rule(), 1..4),
        others in prop::collection::vec(any_rule(), 0..4),
    ) {
        let around = Surroundings::ordinary(Some(version("v1.36.3")));
        let scope = Scope::Cluster;
        let of = |rules: &[Rule]| assess_held(&[Bound { rules, scope: &scope }], &scope, &around).findings().to_vec();
        let harmless: Vec<Rule> =
            rules.into_iter().filter(|rule| !matters(std::slice::from_ref(rule), &scope, &around)).collect();
        let all: Vec<Rule> = others.iter().chain(&harmless).cloned().collect();
        prop_assert_eq!(of(&all), of(&others));
    }

    /// Whatever matches in a namespace also matches in the whole cluster. A right that is unclassified in a namespace
    /// (E60) may match another row in the cluster.
    #[test]
    fn the_cluster_is_never_assessed_lower_than_a_namespace(rules in prop::collection::vec(any_rule(), 0..8)) {
        let all = assess(&rules, &Scope::Cluster, &Surroundings::ordinary(None));
        for finding in assess(&rules, &scope("kube-system"), &Surroundings::ordinary(None)).findings() {
            let reported = match finding.id.as_str() {
                "E07" => true,
                "E60" => !all.findings().is_empty(),
                _ => all.findings().iter().any(|one| one.id == finding.id),
            };
            prop_assert!(reported, "{finding:?}");
        }
    }
}
