//! The API groups and resources that Kubernetes 1.36 serves, so that an unknown resource can be distinguished from a
//! harmless one.
//!
//! Data only. `reach` reads this.

use super::EVERY;
use super::verbs::{BIND, DELETE, GET, PATCH, UPDATE, Verbs};

pub(super) const RBAC: &str = "rbac.authorization.k8s.io";
pub(super) const AUTHENTICATION: &str = "authentication.k8s.io";
pub(super) const ADMISSION: &str = "admissionregistration.k8s.io";
pub(super) const CERTIFICATES: &str = "certificates.k8s.io";
pub(super) const FLOW_CONTROL: &str = "flowcontrol.apiserver.k8s.io";
pub(super) const DEVICES: &str = "resource.k8s.io";

/// One API group: its namespaced resources and its cluster-scoped ones.
pub(in crate::rbac::risk) struct Group {
    pub(in crate::rbac::risk) name: &'static str,
    pub(in crate::rbac::risk) namespaced: &'static [&'static str],
    pub(in crate::rbac::risk) cluster: &'static [&'static str],
}

const fn group(name: &'static str, namespaced: &'static [&'static str], cluster: &'static [&'static str]) -> Group {
    Group { name, namespaced, cluster }
}

/// What kube-apiserver serves or asks the authorizer about: the discovery of 1.36, resources that exist only in RBAC
/// (impersonation, signers, the kubelet's API), and those of older versions that `edit` still names.
pub(in crate::rbac::risk) const SERVED: &[Group] = &[
    group(
        "",
        &[
            "bindings",
            "configmaps",
            "endpoints",
            "events",
            "limitranges",
            "persistentvolumeclaims",
            "persistentvolumeclaims/status",
            "pods",
            "pods/attach",
            "pods/binding",
            "pods/ephemeralcontainers",
            "pods/eviction",
            "pods/exec",
            "pods/log",
            "pods/portforward",
            "pods/proxy",
            "pods/resize",
            "pods/status",
            "podtemplates",
            "replicationcontrollers",
            "replicationcontrollers/scale",
            "replicationcontrollers/status",
            "resourcequotas",
            "resourcequotas/status",
            "secrets",
            "serviceaccounts",
            "serviceaccounts/token",
            "services",
            "services/proxy",
            "services/status",
        ],
        &[
            "componentstatuses",
            "groups",
            "namespaces",
            "namespaces/finalize",
            "namespaces/status",
            "nodes",
            "nodes/checkpoint",
            "nodes/configz",
            "nodes/healthz",
            "nodes/log",
            "nodes/metrics",
            "nodes/pods",
            "nodes/proxy",
            "nodes/stats",
            "nodes/status",
            "nodes/statusz",
            "persistentvolumes",
            "persistentvolumes/status",
            "users",
        ],
    ),
    group(
        ADMISSION,
        &[],
        &[
            "mutatingadmissionpolicies",
            "mutatingadmissionpolicybindings",
            "mutatingwebhookconfigurations",
            "validatingadmissionpolicies",
            "validatingadmissionpolicies/status",
            "validatingadmissionpolicybindings",
            "validatingwebhookconfigurations",
        ],
    ),
    group("apiextensions.k8s.io", &[], &["customresourcedefinitions", "customresourcedefinitions/status"]),
    group("apiregistration.k8s.io", &[], &["apiservices", "apiservices/status"]),
    group(
        "apps",
        &[
            "controllerrevisions",
            "daemonsets",
            "daemonsets/status",
            "deployments",
            "deployments/rollback",
            "deployments/scale",
            "deployments/status",
            "replicasets",
            "replicasets/scale",
            "replicasets/status",
            "statefulsets",
            "statefulsets/scale",
            "statefulsets/status",
        ],
        &[],
    ),
    group(
        AUTHENTICATION,
        &["serviceaccounts"],
        &["groups", "nodes", "selfsubjectreviews", "tokenreviews", "uids", "userextras", "users"],
    ),
    group(
        "authorization.k8s.io",
        &["localsubjectaccessreviews"],
        &["selfsubjectaccessreviews", "selfsubjectrulesreviews", "subjectaccessreviews"],
    ),
    group("autoscaling", &["horizontalpodautoscalers", "horizontalpodautoscalers/status"], &[]),
    group("batch", &["cronjobs", "cronjobs/status", "jobs", "jobs/status"], &[]),
    group(
        CERTIFICATES,
        &["podcertificaterequests", "podcertificaterequests/status"],
        &[
            "certificatesigningrequests",
            "certificatesigningrequests/approval",
            "certificatesigningrequests/status",
            "clustertrustbundles",
            "signers",
        ],
    ),
    group("coordination.k8s.io", &["leases"], &[]),
    group("discovery.k8s.io", &["endpointslices"], &[]),
    group("events.k8s.io", &["events"], &[]),
    group(
        "extensions",
        &[
            "daemonsets",
            "deployments",
            "deployments/rollback",
            "deployments/scale",
            "ingresses",
            "networkpolicies",
            "replicasets",
            "replicasets/scale",
            "replicationcontrollers/scale",
            "statefulsets",
        ],
        &[],
    ),
    group(
        FLOW_CONTROL,
        &[],
        &["flowschemas", "flowschemas/status", "prioritylevelconfigurations", "prioritylevelconfigurations/status"],
    ),
    group("metrics.k8s.io", &["pods"], &["nodes"]),
    group(
        "networking.k8s.io",
        &["ingresses", "ingresses/status", "networkpolicies"],
        &["ingressclasses", "ipaddresses", "servicecidrs", "servicecidrs/status"],
    ),
    group("node.k8s.io", &[], &["runtimeclasses"]),
    group("policy", &["poddisruptionbudgets", "poddisruptionbudgets/status"], &[]),
    group(RBAC, &["rolebindings", "roles"], &["clusterrolebindings", "clusterroles"]),
    group(
        DEVICES,
        &["resourceclaims", "resourceclaims/driver", "resourceclaims/status", "resourceclaimtemplates"],
        &["deviceclasses", "devicetaintrules", "devicetaintrules/status", "resourceclaims/binding", "resourceslices"],
    ),
    group("scheduling.k8s.io", &[], &["priorityclasses"]),
    group(
        "storage.k8s.io",
        &["csistoragecapacities"],
        &[
            "csidrivers",
            "csinodes",
            "storageclasses",
            "volumeattachments",
            "volumeattachments/status",
            "volumeattributesclasses",
        ],
    ),
];

/// Which verbs a binding in one namespace grants on a cluster-scoped resource: those on the namespace's own object, and
/// bind on a ClusterRole. All of it measured on 1.36.
pub(in crate::rbac::risk) fn in_its_own_namespace(group: &str, resource: &str) -> Verbs {
    match (group, resource) {
        ("", "namespaces" | "namespaces/status" | "namespaces/finalize") => GET | UPDATE | PATCH | DELETE,
        (RBAC, "clusterroles") => BIND,
        _ => 0,
    }
}

/// Whether an object of this group can be named `*`. Roles and bindings can, because their names are path segments; no
/// other object can have that name.
pub(in crate::rbac::risk) fn may_be_named_star(group: &str) -> bool {
    group == RBAC || group == EVERY
}
