//! The rows of the catalogue: each dangerous permission, how severe it is, and why.
//!
//! A row is never renumbered or removed, because the trail stores its id. No row may name a permission that RBAC cannot
//! grant. `risk` and `reach` read this.

use super::super::Severity::{Critical, High, Low, Medium, Unclassified};
use super::served::{ADMISSION, AUTHENTICATION, CERTIFICATES, DEVICES, FLOW_CONTROL, RBAC};
use super::verbs::*;
use super::{At, EVERY, Leaves, Permission, Row, Versions, WHATEVER, Weighs, on, row};

pub(super) const FLOWS: &[&str] = &["flowschemas", "prioritylevelconfigurations"];
pub(super) const WEBHOOKS: &[&str] = &["mutatingwebhookconfigurations", "validatingwebhookconfigurations"];
pub(super) const ADMISSION_POLICIES: &[&str] = &[
    "validatingadmissionpolicies",
    "validatingadmissionpolicybindings",
    "mutatingadmissionpolicies",
    "mutatingadmissionpolicybindings",
];
const APPS: &[&str] = &["deployments", "daemonsets", "statefulsets", "replicasets"];
const SCALES: &[&str] = &["deployments/scale", "replicasets/scale", "statefulsets/scale"];
const APPS_STATUS: &[&str] = &["deployments/status", "daemonsets/status", "statefulsets/status", "replicasets/status"];
const BATCH: &[&str] = &["jobs", "cronjobs"];
const CORE_WORKLOADS: &[&str] = &["replicationcontrollers", "podtemplates"];
/// Argo CD and Flux. Whoever writes a source decides what is applied of it, too.
const ARGO_CD: &[&str] = &["applications", "applicationsets", "appprojects"];
const FLUX_SOURCES: &[&str] =
    &["buckets", "gitrepositories", "helmcharts", "helmrepositories", "ocirepositories", "externalartifacts"];
/// Kinds whose controller starts pods as the object says: with any account of the namespace, and any secret mounted.
const TEKTON: &[&str] = &["taskruns", "pipelineruns", "customruns", "tasks", "pipelines", "clustertasks"];
const ARGO_WORKFLOWS: &[&str] =
    &["workflows", "cronworkflows", "workflowtemplates", "clusterworkflowtemplates", "workfloweventbindings"];
const VIRTUAL_MACHINES: &[&str] =
    &["virtualmachineinstances", "virtualmachines", "virtualmachineinstancereplicasets", "virtualmachinepools"];
/// Kinds whose controller reads Secrets, or values of a secret store, for whoever wrote the object.
const EXTERNAL_SECRETS: &[&str] = &[
    "externalsecrets",
    "clusterexternalsecrets",
    "pushsecrets",
    "clusterpushsecrets",
    "secretstores",
    "clustersecretstores",
];
const ACT_AS_SOMEBODY: &[Permission] = &[on("", &["users", "serviceaccounts"], IMPERSONATE)];
const BIND_ROLE: &[Permission] = &[on(RBAC, &["roles", "clusterroles"], BIND)];
const BIND_CLUSTER_ROLE: &[Permission] = &[on(RBAC, &["clusterroles"], BIND)];

const fn system_config(namespace: &'static str, name: &'static str) -> Permission {
    on("", &["configmaps"], WRITE | REMOVE).at(At::Object { namespace, name })
}

/// All rows, by id. The facts come from Kubernetes' RBAC good practices
/// (<https://kubernetes.io/docs/concepts/security/rbac-good-practices/>) and from measurements on 1.36.
pub(in crate::rbac::risk) const ROWS: &[Row] = &[
    row("E01", Critical, &[], "has full control of everything in scope, like `cluster-admin`")
        .leaves(Leaves::Credential),
    row(
        "E02",
        Critical,
        // Constrained impersonation rejects this group, so only the old verb counts.
        &[&[on("", &["groups"], IMPERSONATE).at(At::Name("system:masters"))]],
        "can act as `system:masters`, whose requests bypass authorization",
    )
    // The server refuses a group without the user or account that is in it.
    .beside(ACT_AS_SOMEBODY),
    row("E03", Medium, &[], "can read the API server's profiles and logs, and whatever is added there later"),
    row(
        "E04",
        Critical,
        &[&[
            on("", &["pods", "secrets", "users", "groups"], STAR),
            on("", CORE_WORKLOADS, STAR),
            on("apps", APPS, STAR),
            on("batch", BATCH, STAR),
            on(RBAC, &["roles", "clusterroles", "rolebindings", "clusterrolebindings"], STAR),
        ]],
        "holds every verb, including those that are added later",
    ),
    row(
        "E05",
        Critical,
        &[&[on(RBAC, &["roles", "clusterroles"], ESCALATE)]],
        "can add any rule to a role, including its own",
    )
    .beside(&[on(RBAC, &["roles", "clusterroles"], WRITE)]),
    row(
        "E06",
        Critical,
        &[BIND_CLUSTER_ROLE, &[on(RBAC, &["rolebindings", "clusterrolebindings"], WRITE)]],
        "can grant itself or anyone else any ClusterRole that it may bind",
    ),
    row(
        "E06",
        Critical,
        &[&[on(RBAC, &["roles"], BIND)], &[on(RBAC, &["rolebindings"], WRITE)]],
        "can grant itself or anyone else any role that it may bind",
    ),
    row(
        "E07",
        High,
        &[&[on(RBAC, &["rolebindings"], WRITE)]],
        "can pass on its own rights, which then outlive the grant",
    )
    .unless(BIND_ROLE)
    .weighs(Weighs::AsTheRest),
    row(
        "E07",
        High,
        &[&[on(RBAC, &["clusterrolebindings"], WRITE)]],
        "can pass on its own rights, which then outlive the grant",
    )
    .unless(BIND_CLUSTER_ROLE)
    .weighs(Weighs::AsTheRest),
    row(
        "E08",
        Medium,
        &[&[on(RBAC, &["roles", "clusterroles"], WRITE)]],
        "can change what others may do, up to its own rights",
    )
    .weighs(Weighs::AsTheRest),
    row(
        "E09",
        Medium,
        // The label can be added to an existing role as well as to a new one.
        &[&[on(RBAC, &["clusterroles"], WRITE)]],
        "can add rules to the roles admin, edit and view of every user through an aggregation label",
    )
    .weighs(Weighs::AsTheRest),
    row(
        "E10",
        Medium,
        &[&[on(RBAC, &["roles", "clusterroles", "rolebindings", "clusterrolebindings"], REMOVE)]],
        "can remove the rights of others, including those of security controllers",
    ),
    row(
        "E11",
        Critical,
        &[&[on("", &["users", "groups", "serviceaccounts"], IMPERSONATE)]],
        "can act as somebody else",
    )
    .beside(ACT_AS_SOMEBODY),
    row(
        "E12",
        High,
        &[&[on(AUTHENTICATION, &["userextras", "uids"], IMPERSONATE)]],
        "can forge what webhooks and the audit log see of a caller",
    )
    .beside(ACT_AS_SOMEBODY),
    // Both permissions must be held for the same mode. The mode for users also covers groups and extra fields, but the
    // server always checks the user's name. Alpha in 1.35, where a cluster does not reveal whether it is enabled.
    row(
        "E13",
        Critical,
        &[&[on(AUTHENTICATION, &["users"], AS_USER).versions(Versions::From(35))], &[on("", &[WHATEVER], ON_USER)]],
        "can act as another user, possibly a powerful one, for those verbs",
    ),
    row(
        "E13",
        Critical,
        &[
            &[on(AUTHENTICATION, &["serviceaccounts"], AS_ACCOUNT).versions(Versions::From(35))],
            &[on("", &[WHATEVER], ON_ACCOUNT)],
        ],
        "can act as a service account for those verbs",
    ),
    row(
        "E13",
        Critical,
        &[
            &[on(AUTHENTICATION, &["nodes"], AS_ANY_NODE).versions(Versions::From(35))],
            &[on("", &[WHATEVER], ON_ANY_NODE)],
        ],
        "can act as any node for those verbs",
    ),
    row(
        "E13",
        Critical,
        &[
            &[on(AUTHENTICATION, &["nodes"], AS_OWN_NODE).versions(Versions::From(35))],
            &[on("", &[WHATEVER], ON_OWN_NODE)],
        ],
        "can act as the node that it runs on for those verbs",
    ),
    row(
        "E14",
        Critical,
        &[&[on("", &["serviceaccounts/token"], CREATE)]],
        "can issue a service account token, which outlives the grant",
    ),
    row(
        "E15",
        Critical,
        // deletecollection with dryRun=All returns the data of every secret, and so does delete with foreground
        // propagation; neither deletes anything. Measured on 1.36.
        &[&[on("", &["secrets"], READ | REMOVE), on("external-secrets.io", EXTERNAL_SECRETS, WRITE)]],
        "can read tokens, keys and passwords, which outlive the grant",
    )
    .leaves(Leaves::Credential),
    row(
        "E16",
        Critical,
        // The response to an update or patch that changes nothing contains the secret.
        &[&[on("", &["secrets"], WRITE)]],
        "can create a service account token without an end and read it",
    )
    // A controller adds the token after the secret was created, so the response to create does not contain it.
    .beside(&[on("", &["secrets"], READ | CHANGE | REMOVE)]),
    row(
        "E18",
        Critical,
        &[
            &[on(CERTIFICATES, &["certificatesigningrequests"], CREATE)],
            &[on(CERTIFICATES, &["certificatesigningrequests/approval"], CHANGE)],
            &[on(CERTIFICATES, &["signers"], APPROVE)],
        ],
        "can obtain a certificate for any name and group",
    ),
    row(
        "E19",
        High,
        &[&[on(CERTIFICATES, &["certificatesigningrequests/status"], CHANGE)], &[on(CERTIFICATES, &["signers"], SIGN)]],
        "can put a forged certificate where others expect a signed one",
    ),
    row(
        "E20",
        High,
        &[&[
            on(CERTIFICATES, &["clustertrustbundles"], WRITE),
            on(CERTIFICATES, &["podcertificaterequests/status"], CHANGE),
        ]],
        "can make workloads trust a certificate authority of its own",
    ),
    row(
        "E21",
        Critical,
        &[&[
            on("", &["pods"], CREATE),
            on("tekton.dev", TEKTON, WRITE),
            on("argoproj.io", ARGO_WORKFLOWS, WRITE),
            on("kubevirt.io", VIRTUAL_MACHINES, WRITE),
            on("pool.kubevirt.io", VIRTUAL_MACHINES, WRITE),
        ]],
        "can mount any secret and take the token of any service account of the namespace; a privileged pod controls its \
         node",
    ),
    row(
        "E22",
        Critical,
        &[&[
            on("apps", APPS, WRITE),
            // A controller rolls back to the revision that it finds, so a forged revision runs any pod. Done on 1.36.
            on("apps", &["controllerrevisions"], WRITE),
            on("extensions", APPS, WRITE),
            on("batch", BATCH, WRITE),
            on("", CORE_WORKLOADS, WRITE),
            on("argoproj.io", &["rollouts"], WRITE),
        ]],
        "can have a controller run any pod, which keeps running after the grant",
    ),
    row(
        "E23",
        High,
        &[&[on("", &["pods"], CHANGE)]],
        "can replace the image of a running pod, and take the token of its service account",
    ),
    row(
        "E24",
        High,
        &[&[on("", &["pods/ephemeralcontainers"], CHANGE)]],
        "can run its own code inside another pod, and take the token of its service account",
    ),
    row("E25", High, &[STREAM_EXEC], "can run commands in a pod, and take the token of its service account"),
    row(
        "E26",
        High,
        &[STREAM_ATTACH],
        "can interact with a process in a pod, which may give away the token of its service account",
    ),
    row("E27", Medium, &[STREAM_FORWARD], "can reach services that listen only on a pod's loopback interface"),
    row(
        "E28",
        High,
        &[&[on("", &["pods/proxy", "services/proxy"], PASS)]],
        "can send requests from the API server's network, past network policies",
    ),
    row(
        "E29",
        Critical,
        // The kubelet checks only get, even when a websocket runs a command.
        &[&[on("", &["nodes/proxy"], PASS)]],
        "can run commands in every pod of a node, and take their tokens, without a trace in the audit log",
    ),
    row(
        "E30",
        High,
        // Subresources of the kubelet's own API, pkg/kubelet/server/auth.go.
        &[&[on("", &["nodes/log", "nodes/checkpoint", "nodes/configz", "nodes/pods"], GET | CREATE)]],
        "can read a node's files, its configuration or the memory of its containers",
    )
    .leaves(Leaves::Credential),
    row(
        "E31",
        High,
        &[&[on("", &["nodes"], WRITE), on("", &["nodes/status"], CHANGE)]],
        "can attract pods to a node and change its addresses",
    ),
    row(
        "E32",
        Medium,
        &[&[on("", &["nodes", "pods"], REMOVE), on("", &["pods/eviction"], CREATE)]],
        "can stop pods and make them start elsewhere",
    )
    .leaves(Leaves::Nothing),
    row(
        "E33",
        Medium,
        &[&[on("", &["pods/status", "pods/resize"], CHANGE), on("", &["pods/binding", "bindings"], CREATE)]],
        "can choose a pod's node and attract traffic to a pod",
    )
    .leaves(Leaves::Nothing),
    row(
        "E34",
        High,
        &[&[on("", &["persistentvolumes"], WRITE)]],
        "can mount a node's disk as a volume, which amounts to root on the node",
    ),
    row(
        "E35",
        Medium,
        &[&[
            on("storage.k8s.io", &["storageclasses", "volumeattachments", "csidrivers"], WRITE),
            on("storage.k8s.io", &["volumeattachments/status"], CHANGE),
        ]],
        "can attach the volumes of others",
    ),
    row("E36", Critical, &[&[on(ADMISSION, WEBHOOKS, WRITE)]], "can read and change every object that anybody writes"),
    row(
        "E37",
        Critical,
        &[&[on(ADMISSION, WEBHOOKS, WRITE | REMOVE), on(ADMISSION, ADMISSION_POLICIES, WRITE | REMOVE)]],
        "can remove the admission rules that restrict others and this grant itself",
    ),
    row(
        "E38",
        Critical,
        &[&[on("apiregistration.k8s.io", &["apiservices"], WRITE | REMOVE)]],
        "can take over an entire API group and answer its requests",
    ),
    row(
        "E39",
        High,
        &[&[on("apiextensions.k8s.io", &["customresourcedefinitions"], WRITE | REMOVE)]],
        "can read every object of a kind through a conversion webhook, or delete a kind with all its objects",
    ),
    row(
        "E40",
        High,
        // The subresources change the labels too, and a binding in that same namespace allows everything but create.
        // Measured on 1.36.
        &[&[on("", &["namespaces"], WRITE | REMOVE), on("", &["namespaces/status", "namespaces/finalize"], CHANGE)]],
        "can remove the labels that keep privileged pods out, or delete a namespace with everything in it",
    ),
    row(
        "E41",
        High,
        &[&[on("", &["serviceaccounts"], WRITE)]],
        "can assign a cloud identity to a service account by annotation",
    ),
    row(
        "E42",
        Critical,
        &[&[on("", &["configmaps"], WRITE).at(At::Object { namespace: "kube-system", name: "aws-auth" })]],
        "can map a cloud identity to cluster-admin in `aws-auth`",
    ),
    row(
        "E43",
        High,
        &[&[
            system_config("kube-system", "coredns"),
            system_config("kube-system", "kube-proxy"),
            system_config("kube-system", "kubeadm-config"),
            system_config("kube-system", "extension-apiserver-authentication"),
            system_config("kube-public", "cluster-info"),
        ]],
        "can change the cluster's DNS, service routing or trusted authorities",
    ),
    row(
        "E44",
        Medium,
        &[&[on("", &["endpoints"], WRITE), on("discovery.k8s.io", &["endpointslices"], WRITE)]],
        "can redirect a service's traffic",
    ),
    row(
        "E45",
        Medium,
        &[&[on("", &["services"], WRITE), on("", &["services/status"], CHANGE)]],
        "can capture the traffic of others by claiming an external address",
    ),
    row(
        "E46",
        Medium,
        &[&[
            on("networking.k8s.io", &["networkpolicies", "ingresses", "ingressclasses"], WRITE | REMOVE),
            on("extensions", &["networkpolicies", "ingresses"], WRITE | REMOVE),
            on("gateway.networking.k8s.io", &[EVERY], ALL & !READ),
        ]],
        "can open isolated networks and let in traffic from outside",
    ),
    row(
        "E50",
        Medium,
        &[&[on("coordination.k8s.io", &["leases"], WRITE | REMOVE)]],
        "can take a controller's leader lease, which stops it, or make a node look alive or dead",
    )
    .leaves(Leaves::Nothing),
    row(
        "E51",
        Low,
        &[&[on("", &["events"], WRITE | REMOVE), on("events.k8s.io", &["events"], WRITE | REMOVE)]],
        "can hide traces or leave false ones",
    )
    .leaves(Leaves::Nothing),
    row("E54", Critical, &[], "grants the role to everybody or to every workload, not to a person"),
    row("E55", Medium, &[], "the role does not exist, so whoever creates it decides what this binding grants"),
    row("E56", Critical, &[], "can read every object of every kind, including secrets").leaves(Leaves::Credential),
    row("E57", High, &[], "can delete every object of every kind"),
    row(
        "E58",
        High,
        &[&[
            on("argoproj.io", &[EVERY], ALL & !READ),
            on("toolkit.fluxcd.io", &[EVERY], ALL & !READ),
            on("crossplane.io", &[EVERY], ALL & !READ),
            on("upbound.io", &[EVERY], ALL & !READ),
            on("external-secrets.io", &[EVERY], ALL & !READ),
            on("cert-manager.io", &[EVERY], ALL & !READ),
            on("tekton.dev", &[EVERY], ALL & !READ),
            on("kyverno.io", &[EVERY], ALL & !READ),
            on("gatekeeper.sh", &[EVERY], ALL & !READ),
            on("karmada.io", &[EVERY], ALL & !READ),
            on("kubevirt.io", &[EVERY], ALL & !READ),
            on("velero.io", &[EVERY], ALL & !READ),
            on("networking.istio.io", &[EVERY], ALL & !READ),
        ]],
        "can have an operator do, with the operator's rights, what the holder may not do",
    ),
    row("E60", Unclassified, &[], "nobody has assessed what this allows; treat it as the worst case")
        .leaves(Leaves::Credential),
    // Together with a request it is E18. Nodes and operators often may make requests, and pending ones can be approved.
    row(
        "E61",
        High,
        &[
            &[on(CERTIFICATES, &["certificatesigningrequests/approval"], CHANGE)],
            &[on(CERTIFICATES, &["signers"], APPROVE)],
        ],
        "can approve a certificate that somebody requests for any name and group",
    ),
    row(
        "E62",
        Medium,
        &[&[
            on(CERTIFICATES, &["certificatesigningrequests/approval", "certificatesigningrequests/status"], CHANGE),
            on(CERTIFICATES, &["signers"], APPROVE | SIGN | ATTEST),
        ]],
        "is one of the permissions that together approve or sign certificates for any name",
    )
    .weighs(Weighs::NothingAlone),
    row(
        "E63",
        Medium,
        &[&[on(CERTIFICATES, &["certificatesigningrequests", "podcertificaterequests"], CREATE)]],
        "can request a certificate for any name, which its approver must notice",
    )
    .weighs(Weighs::NothingAlone),
    // Priority and fairness apply before authorization, so they also affect the daemon that removes the access.
    row(
        "E64",
        High,
        &[&[on(FLOW_CONTROL, FLOWS, WRITE | REMOVE)]],
        "can starve any client of the API server, including the daemon that ends this access",
    ),
    row(
        "E65",
        Medium,
        &[&[
            on(
                DEVICES,
                &["resourceclaims", "resourceclaimtemplates", "deviceclasses", "resourceslices", "devicetaintrules"],
                WRITE | REMOVE,
            ),
            on(DEVICES, &["resourceclaims/status", "resourceclaims/binding", "devicetaintrules/status"], CHANGE),
            on(DEVICES, &["resourceclaims/driver"], CHANGE | ON_DRIVER),
        ]],
        "can take over devices of nodes, including those in use by others, or instruct their driver",
    ),
    row(
        "E66",
        Medium,
        &[&[
            on("", &["persistentvolumeclaims"], WRITE | REMOVE),
            on("", &["persistentvolumes"], REMOVE),
            on("", &["persistentvolumeclaims/status", "persistentvolumes/status"], CHANGE),
        ]],
        "can claim a volume intended for somebody else, or destroy a volume's data",
    ),
    row(
        "E67",
        Medium,
        &[&[on("", &["configmaps"], WRITE)]],
        "can change the configuration of programs, including scripts that they run",
    ),
    row(
        "E68",
        Medium,
        &[&[on("node.k8s.io", &["runtimeclasses"], WRITE | REMOVE)]],
        "can take pods out of the sandbox that they request",
    ),
    row(
        "E69",
        Medium,
        &[&[on("scheduling.k8s.io", &["priorityclasses"], WRITE | REMOVE)]],
        "can have the pods of others evicted from their nodes",
    )
    .leaves(Leaves::Nothing),
    row(
        "E70",
        Medium,
        &[&[
            on("networking.k8s.io", &["servicecidrs", "ipaddresses"], WRITE | REMOVE),
            on("networking.k8s.io", &["servicecidrs/status"], CHANGE),
        ]],
        "can take the addresses of services, or leave none for new ones",
    )
    .leaves(Leaves::Nothing),
    row(
        "E71",
        Medium,
        &[&[
            on("storage.k8s.io", &["csinodes", "csistoragecapacities", "volumeattributesclasses"], WRITE | REMOVE),
            on("storage.k8s.io", &["storageclasses", "volumeattachments", "csidrivers"], REMOVE),
        ]],
        "can prevent volumes from being provisioned or attached, or detach them",
    )
    .leaves(Leaves::Nothing),
    row(
        "E72",
        Medium,
        &[&[on("", &["resourcequotas", "limitranges"], WRITE | REMOVE), on("", &["resourcequotas/status"], CHANGE)]],
        "can lift a namespace's resource limits, or leave no room for new workloads",
    )
    .leaves(Leaves::Nothing),
    row(
        "E73",
        Medium,
        &[&[
            on("apps", SCALES, CHANGE),
            on("extensions", SCALES, CHANGE),
            on("extensions", &["replicationcontrollers/scale"], CHANGE),
            on("", &["replicationcontrollers/scale"], CHANGE),
            on("apps", &["deployments/rollback"], CREATE),
            on("extensions", &["deployments/rollback"], CREATE),
            on("autoscaling", &["horizontalpodautoscalers"], WRITE | REMOVE),
            on("policy", &["poddisruptionbudgets"], WRITE | REMOVE),
            on("policy", &["poddisruptionbudgets/status"], CHANGE),
        ]],
        "can stop or multiply workloads, or remove what protects them from disruption",
    )
    .leaves(Leaves::Nothing),
    row(
        "E74",
        Medium,
        &[&[
            on("apps", APPS, REMOVE),
            on("apps", &["controllerrevisions"], REMOVE),
            on("extensions", APPS, REMOVE),
            on("batch", BATCH, REMOVE),
            on("", CORE_WORKLOADS, REMOVE),
            on("", &["services", "serviceaccounts", "endpoints", "configmaps"], REMOVE),
            on("discovery.k8s.io", &["endpointslices"], REMOVE),
            on(CERTIFICATES, &["certificatesigningrequests", "podcertificaterequests"], CHANGE | REMOVE),
            on(CERTIFICATES, &["clustertrustbundles"], REMOVE),
        ]],
        "can delete what others run, connect to or wait for",
    )
    .leaves(Leaves::Nothing),
    row(
        "E75",
        Low,
        &[&[
            on(AUTHENTICATION, &["tokenreviews"], CREATE),
            on("authorization.k8s.io", &["subjectaccessreviews", "localsubjectaccessreviews"], CREATE),
        ]],
        "can find out who owns a token, or what somebody may do",
    )
    .leaves(Leaves::Nothing),
    row(
        "E76",
        Medium,
        &[&[
            on("apiregistration.k8s.io", &["apiservices/status"], CHANGE),
            on("apiextensions.k8s.io", &["customresourcedefinitions/status"], CHANGE),
            on("networking.k8s.io", &["ingresses/status"], CHANGE),
        ]],
        "can disable an entire API, or redirect the visitors of an ingress",
    ),
    row(
        "E77",
        Low,
        &[&[
            on("apps", APPS_STATUS, CHANGE),
            on("batch", &["jobs/status", "cronjobs/status"], CHANGE),
            on("", &["replicationcontrollers/status"], CHANGE),
            on("autoscaling", &["horizontalpodautoscalers/status"], CHANGE),
            on(ADMISSION, &["validatingadmissionpolicies/status"], CHANGE),
            on(FLOW_CONTROL, &["flowschemas/status", "prioritylevelconfigurations/status"], CHANGE),
        ]],
        "can mislead controllers and people with a false status",
    )
    .leaves(Leaves::Nothing),
    row(
        "E78",
        Low,
        &[],
        "is classified by an administrator in `guardrails.yaml`, with the severity that is written there",
    ),
    row(
        "E79",
        Critical,
        &[&[
            on("argoproj.io", ARGO_CD, WRITE),
            on("kustomize.toolkit.fluxcd.io", &["kustomizations"], WRITE),
            on("helm.toolkit.fluxcd.io", &["helmreleases"], WRITE),
            on("source.toolkit.fluxcd.io", FLUX_SOURCES, CHANGE),
            on("kubernetes.crossplane.io", &["objects"], WRITE),
            on("helm.crossplane.io", &["releases"], WRITE),
        ]],
        "can have an operator apply any object in any namespace with the operator's own rights",
    )
    .in_every_namespace(),
];

const fn until_1_34(resource: &'static [&'static str]) -> Permission {
    // From 1.35 the server also checks create when a get opens a stream.
    on("", resource, GET).versions(Versions::Before(35))
}

const STREAM_EXEC: &[Permission] = &[on("", &["pods/exec"], CREATE), until_1_34(&["pods/exec"])];
const STREAM_ATTACH: &[Permission] = &[on("", &["pods/attach"], CREATE), until_1_34(&["pods/attach"])];
const STREAM_FORWARD: &[Permission] = &[on("", &["pods/portforward"], CREATE), until_1_34(&["pods/portforward"])];
