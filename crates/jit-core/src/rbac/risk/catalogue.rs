//! The catalogue: what each dangerous permission is called, how bad it is, and why. Only data, and what
//! Kubernetes 1.36 itself serves, so that an unknown resource is told from a harmless one.
//!
//! A row is never renumbered or removed: the trail keeps its id. It must never name a permission that
//! RBAC can't grant; `reach` compares these words with rules, nobody else reads them.

use super::Severity::{self, Critical, High, Low, Medium, Unclassified};

/// A set of verbs, a bit each; verbs that no row asks for share [`OTHER`].
pub(super) type Verbs = u32;

pub(super) const GET: Verbs = 1;
pub(super) const LIST: Verbs = 1 << 1;
pub(super) const WATCH: Verbs = 1 << 2;
pub(super) const CREATE: Verbs = 1 << 3;
pub(super) const UPDATE: Verbs = 1 << 4;
pub(super) const PATCH: Verbs = 1 << 5;
pub(super) const DELETE: Verbs = 1 << 6;
pub(super) const DELETE_ALL: Verbs = 1 << 7;
pub(super) const BIND: Verbs = 1 << 8;
pub(super) const ESCALATE: Verbs = 1 << 9;
const IMPERSONATE: Verbs = 1 << 10;
const APPROVE: Verbs = 1 << 11;
const SIGN: Verbs = 1 << 12;
const AS_USER: Verbs = 1 << 13;
const AS_ACCOUNT: Verbs = 1 << 14;
const AS_ANY_NODE: Verbs = 1 << 15;
const AS_OWN_NODE: Verbs = 1 << 16;
const ON_USER: Verbs = 1 << 17;
const ON_ACCOUNT: Verbs = 1 << 18;
const ON_ANY_NODE: Verbs = 1 << 19;
const ON_OWN_NODE: Verbs = 1 << 20;
/// The verb is `*`, which also holds every verb that is yet to come.
pub(super) const STAR: Verbs = 1 << 21;
pub(super) const OTHER: Verbs = 1 << 22;
const ATTEST: Verbs = 1 << 23;
const ON_DRIVER: Verbs = 1 << 24;
pub(super) const ALL: Verbs = (1 << 25) - 1;

pub(super) const READ: Verbs = GET | LIST | WATCH;
pub(super) const WRITE: Verbs = CREATE | UPDATE | PATCH;
/// Verbs that act as somebody else, or give somebody a name or rights: what they lead to is a credential.
pub(super) const IDENTITY: Verbs =
    BIND | ESCALATE | IMPERSONATE | APPROVE | SIGN | ATTEST | AS_USER | AS_ACCOUNT | AS_ANY_NODE | AS_OWN_NODE;
pub(super) const CHANGE: Verbs = UPDATE | PATCH;
pub(super) const REMOVE: Verbs = DELETE | DELETE_ALL;
/// Verbs whose request names no object: RBAC compares the empty name with `resourceNames`, so a named rule
/// never allows them. A list or watch can name one with a field selector, deletecollection can't (measured
/// on 1.36). Escalate is asked with the empty name when a role is created.
pub(super) const NAMELESS: Verbs = LIST | WATCH | CREATE | DELETE_ALL | ESCALATE;
/// What `proxy` passes on.
const PASS: Verbs = GET | CREATE | UPDATE | PATCH | DELETE;

/// The verbs and their words, in the order in which people expect them.
pub(super) const WORDS: &[(&str, Verbs)] = &[
    ("get", GET),
    ("list", LIST),
    ("watch", WATCH),
    ("create", CREATE),
    ("update", UPDATE),
    ("patch", PATCH),
    ("delete", DELETE),
    ("deletecollection", DELETE_ALL),
    ("bind", BIND),
    ("escalate", ESCALATE),
    ("impersonate", IMPERSONATE),
    ("approve", APPROVE),
    ("sign", SIGN),
    ("attest", ATTEST),
    ("impersonate:user-info", AS_USER),
    ("impersonate:serviceaccount", AS_ACCOUNT),
    ("impersonate:arbitrary-node", AS_ANY_NODE),
    ("impersonate:associated-node", AS_OWN_NODE),
];

/// The second half of constrained impersonation is one verb for each verb that may be used, `impersonate-on:MODE:VERB`;
/// what a device's driver may say of it is asked likewise, `arbitrary-node:VERB`.
pub(super) const ON_WORDS: &[(&str, Verbs)] = &[
    ("impersonate-on:user-info:", ON_USER),
    ("impersonate-on:serviceaccount:", ON_ACCOUNT),
    ("impersonate-on:arbitrary-node:", ON_ANY_NODE),
    ("impersonate-on:associated-node:", ON_OWN_NODE),
    ("associated-node:", ON_DRIVER),
    ("arbitrary-node:", ON_DRIVER),
];

/// One row of the catalogue. A row of several combinations stands here once for each.
pub(super) struct Row {
    pub(super) id: &'static str,
    pub(super) severity: Severity,
    pub(super) leaves: Leaves,
    /// What the holder can do with it.
    pub(super) why: &'static str,
    /// One of each has to be held; none for a row that looks at whole rules or at bindings.
    pub(super) needs: &'static [&'static [Permission]],
    /// The row says nothing when one of these is held: a worse row does.
    pub(super) unless: &'static [Permission],
}

/// What is there after the window. Where the verbs and the resource tell it, no row has to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaves {
    /// Whatever was written stays and acts; so does what was learned in another's place. What was only read or removed does
    /// not.
    WhatWasWritten,
    /// A credential, although it was only read.
    Credential,
    /// Nothing that gives anybody access: it hides, disturbs or tells.
    Nothing,
}

/// A permission: any of `verbs` on any of `resources`.
pub(super) struct Permission {
    /// Also the domain of a family of groups, when `resources` is [`EVERY`].
    pub(super) group: &'static str,
    pub(super) resources: &'static [&'static str],
    pub(super) verbs: Verbs,
    pub(super) at: At,
    pub(super) versions: Versions,
}

/// The one object that matters.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum At {
    Anywhere,
    Name(&'static str),
    Object { namespace: &'static str, name: &'static str },
}

/// The minor versions of Kubernetes 1 in which the permission is what it is called.
#[derive(Clone, Copy)]
pub(super) enum Versions {
    Always,
    Before(u32),
    From(u32),
}

/// Every resource of a group and of the groups whose names end with it.
pub(super) const EVERY: &str = "*";
/// No resource in particular: the verb, on whatever.
pub(super) const WHATEVER: &str = "";

const fn on(group: &'static str, resources: &'static [&'static str], verbs: Verbs) -> Permission {
    Permission { group, resources, verbs, at: At::Anywhere, versions: Versions::Always }
}

impl Permission {
    const fn at(mut self, at: At) -> Self {
        self.at = at;
        self
    }

    const fn versions(mut self, versions: Versions) -> Self {
        self.versions = versions;
        self
    }
}

const fn row(id: &'static str, severity: Severity, needs: &'static [&'static [Permission]], why: &'static str) -> Row {
    Row { id, severity, leaves: Leaves::WhatWasWritten, why, needs, unless: &[] }
}

impl Row {
    const fn leaves(mut self, leaves: Leaves) -> Self {
        self.leaves = leaves;
        self
    }

    const fn unless(mut self, held: &'static [Permission]) -> Self {
        self.unless = held;
        self
    }
}

const RBAC: &str = "rbac.authorization.k8s.io";
const AUTHENTICATION: &str = "authentication.k8s.io";
const ADMISSION: &str = "admissionregistration.k8s.io";
const CERTIFICATES: &str = "certificates.k8s.io";
const FLOW_CONTROL: &str = "flowcontrol.apiserver.k8s.io";
const DEVICES: &str = "resource.k8s.io";
const FLOWS: &[&str] = &["flowschemas", "prioritylevelconfigurations"];
const WEBHOOKS: &[&str] = &["mutatingwebhookconfigurations", "validatingwebhookconfigurations"];
const ADMISSION_POLICIES: &[&str] = &[
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
const BIND_ROLE: &[Permission] = &[on(RBAC, &["roles", "clusterroles"], BIND)];
const BIND_CLUSTER_ROLE: &[Permission] = &[on(RBAC, &["clusterroles"], BIND)];

const fn system_config(namespace: &'static str, name: &'static str) -> Permission {
    on("", &["configmaps"], WRITE | REMOVE).at(At::Object { namespace, name })
}

/// All rows, by id. The facts are those of Kubernetes' own RBAC good practices
/// (<https://kubernetes.io/docs/concepts/security/rbac-good-practices/>) and of measurements on 1.36.
pub(super) const ROWS: &[Row] = &[
    row("E01", Critical, &[], "everything").leaves(Leaves::Credential),
    row(
        "E02",
        Critical,
        // Constrained impersonation refuses this one group, so only the old verb counts.
        &[&[on("", &["groups"], IMPERSONATE).at(At::Name("system:masters"))]],
        "becomes `system:masters`, which no authorizer is asked about",
    ),
    row("E03", Medium, &[], "reads profiles and logs of the API server, and whatever is added there later"),
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
        "holds every verb there is and every one that will be added",
    ),
    row(
        "E05",
        Critical,
        &[&[on(RBAC, &["roles", "clusterroles"], ESCALATE)]],
        "writes any rule into a role, also into its own",
    ),
    row(
        "E06",
        Critical,
        &[BIND_CLUSTER_ROLE, &[on(RBAC, &["rolebindings", "clusterrolebindings"], WRITE)]],
        "gives itself or others any role it may bind, such as cluster-admin",
    ),
    row(
        "E06",
        Critical,
        &[&[on(RBAC, &["roles"], BIND)], &[on(RBAC, &["rolebindings"], WRITE)]],
        "gives itself or others any role it may bind",
    ),
    row("E07", High, &[&[on(RBAC, &["rolebindings"], WRITE)]], "passes its own rights on, so that they stay")
        .unless(BIND_ROLE),
    row("E07", High, &[&[on(RBAC, &["clusterrolebindings"], WRITE)]], "passes its own rights on, so that they stay")
        .unless(BIND_CLUSTER_ROLE),
    row(
        "E08",
        Medium,
        &[&[on(RBAC, &["roles", "clusterroles"], WRITE)]],
        "changes what others may do, up to its own rights",
    ),
    row(
        "E09",
        Medium,
        // A label can be added later as well as at the start.
        &[&[on(RBAC, &["clusterroles"], WRITE)]],
        "with an aggregation label the rules flow into everybody's admin, edit and view",
    ),
    row(
        "E10",
        Medium,
        &[&[on(RBAC, &["roles", "clusterroles", "rolebindings", "clusterrolebindings"], REMOVE)]],
        "takes away rights, also those of guards",
    ),
    row("E11", Critical, &[&[on("", &["users", "groups", "serviceaccounts"], IMPERSONATE)]], "acts as somebody else"),
    row(
        "E12",
        High,
        &[&[on(AUTHENTICATION, &["userextras", "uids"], IMPERSONATE)]],
        "forges what webhooks and the audit log know of a caller",
    ),
    // Both halves have to be held, for one mode. A user's mode also serves groups and extras, but asks for the
    // user's name always. Alpha in 1.35, where a cluster can have it on without telling.
    row(
        "E13",
        Critical,
        &[&[on(AUTHENTICATION, &["users"], AS_USER).versions(Versions::From(35))], &[on("", &[WHATEVER], ON_USER)]],
        "acts as a powerful user for those verbs",
    ),
    row(
        "E13",
        Critical,
        &[
            &[on(AUTHENTICATION, &["serviceaccounts"], AS_ACCOUNT).versions(Versions::From(35))],
            &[on("", &[WHATEVER], ON_ACCOUNT)],
        ],
        "acts as a service account for those verbs",
    ),
    row(
        "E13",
        Critical,
        &[
            &[on(AUTHENTICATION, &["nodes"], AS_ANY_NODE).versions(Versions::From(35))],
            &[on("", &[WHATEVER], ON_ANY_NODE)],
        ],
        "acts as any node for those verbs",
    ),
    row(
        "E13",
        Critical,
        &[
            &[on(AUTHENTICATION, &["nodes"], AS_OWN_NODE).versions(Versions::From(35))],
            &[on("", &[WHATEVER], ON_OWN_NODE)],
        ],
        "acts as the node it runs on for those verbs",
    ),
    row(
        "E14",
        Critical,
        &[&[on("", &["serviceaccounts/token"], CREATE)]],
        "makes a service account's token, which outlives the grant",
    ),
    row(
        "E15",
        Critical,
        // deletecollection with dryRun=All answers with every secret's data, delete does with foreground
        // propagation as well; both leave them in place. Measured on 1.36.
        &[&[on("", &["secrets"], READ | REMOVE)]],
        "reads tokens, keys and passwords",
    )
    .leaves(Leaves::Credential),
    row(
        "E16",
        Critical,
        // The answer to an update or a patch that changes nothing shows the secret.
        &[&[on("", &["secrets"], WRITE)]],
        "makes a service account's lasting token and reads it",
    ),
    row(
        "E18",
        Critical,
        &[
            &[on(CERTIFICATES, &["certificatesigningrequests"], CREATE)],
            &[on(CERTIFICATES, &["certificatesigningrequests/approval"], CHANGE)],
            &[on(CERTIFICATES, &["signers"], APPROVE)],
        ],
        "gets a certificate for any name and group",
    ),
    row(
        "E19",
        High,
        &[&[on(CERTIFICATES, &["certificatesigningrequests/status"], CHANGE)], &[on(CERTIFICATES, &["signers"], SIGN)]],
        "puts a forged certificate where others expect a signed one",
    ),
    row(
        "E20",
        High,
        &[&[
            on(CERTIFICATES, &["clustertrustbundles"], WRITE),
            on(CERTIFICATES, &["podcertificaterequests/status"], CHANGE),
        ]],
        "makes workloads trust its own authority",
    ),
    row(
        "E21",
        Critical,
        &[&[on("", &["pods"], CREATE)]],
        "mounts any secret and runs as any service account of the namespace; a privileged pod is its node",
    ),
    row(
        "E22",
        Critical,
        &[&[
            on("apps", APPS, WRITE),
            // A controller rolls back to the revision that it finds: a forged one is any pod. Done on 1.36.
            on("apps", &["controllerrevisions"], WRITE),
            on("extensions", APPS, WRITE),
            on("batch", BATCH, WRITE),
            on("", CORE_WORKLOADS, WRITE),
        ]],
        "lets a controller run any pod, which stays after the grant",
    ),
    row("E23", High, &[&[on("", &["pods"], CHANGE)]], "swaps the image of a running pod"),
    row("E24", High, &[&[on("", &["pods/ephemeralcontainers"], CHANGE)]], "runs its own code inside another pod"),
    row("E25", High, &[STREAM_EXEC], "runs commands in any pod, as that pod's service account"),
    row("E26", High, &[STREAM_ATTACH], "talks to a running process, as that pod's service account"),
    row("E27", Medium, &[STREAM_FORWARD], "reaches services that listen on a pod's loopback only"),
    row(
        "E28",
        High,
        &[&[on("", &["pods/proxy", "services/proxy"], PASS)]],
        "sends requests from the API server's place, past network policies",
    ),
    row(
        "E29",
        Critical,
        // The kubelet asks for get also when a websocket runs a command.
        &[&[on("", &["nodes/proxy"], PASS)]],
        "runs commands in every pod of a node, and no audit log shows it",
    ),
    row(
        "E30",
        High,
        // Subresources of the kubelet's own API, pkg/kubelet/server/auth.go.
        &[&[on("", &["nodes/log", "nodes/checkpoint", "nodes/configz", "nodes/pods"], GET | CREATE)]],
        "reads a node's files, its configuration or the memory of its containers",
    )
    .leaves(Leaves::Credential),
    row(
        "E31",
        High,
        &[&[on("", &["nodes"], WRITE), on("", &["nodes/status"], CHANGE)]],
        "draws pods to a node and moves its addresses",
    ),
    row(
        "E32",
        Medium,
        &[&[on("", &["nodes", "pods"], REMOVE), on("", &["pods/eviction"], CREATE)]],
        "forces pods to end and to start elsewhere",
    )
    .leaves(Leaves::Nothing),
    row(
        "E33",
        Medium,
        &[&[on("", &["pods/status", "pods/resize"], CHANGE), on("", &["pods/binding", "bindings"], CREATE)]],
        "chooses a pod's node, and draws traffic to a pod",
    )
    .leaves(Leaves::Nothing),
    row(
        "E34",
        High,
        &[&[on("", &["persistentvolumes"], WRITE)]],
        "mounts a node's disk as a volume, which is root there",
    ),
    row(
        "E35",
        Medium,
        &[&[
            on("storage.k8s.io", &["storageclasses", "volumeattachments", "csidrivers"], WRITE),
            on("storage.k8s.io", &["volumeattachments/status"], CHANGE),
        ]],
        "attaches volumes of others",
    ),
    row("E36", Critical, &[&[on(ADMISSION, WEBHOOKS, WRITE)]], "reads and changes every object that anybody writes"),
    row(
        "E37",
        Critical,
        &[&[on(ADMISSION, WEBHOOKS, WRITE | REMOVE), on(ADMISSION, ADMISSION_POLICIES, WRITE | REMOVE)]],
        "removes the rules that fence others, and those that fence this grant",
    ),
    row(
        "E38",
        Critical,
        &[&[on("apiregistration.k8s.io", &["apiservices"], WRITE | REMOVE)]],
        "answers for a whole API group in the cluster's name",
    ),
    row(
        "E39",
        High,
        &[&[on("apiextensions.k8s.io", &["customresourcedefinitions"], WRITE | REMOVE)]],
        "a conversion webhook reads every object of a kind, and a removed kind takes its objects along",
    ),
    row(
        "E40",
        High,
        // Also through the subresources, and all but create also by a binding in that very namespace: the
        // labels changed each time. Measured on 1.36.
        &[&[on("", &["namespaces"], WRITE | REMOVE), on("", &["namespaces/status", "namespaces/finalize"], CHANGE)]],
        "drops the labels that keep privileged pods out, or the namespace with all in it",
    ),
    row(
        "E41",
        High,
        &[&[on("", &["serviceaccounts"], WRITE)]],
        "gives a service account a cloud identity by annotation",
    ),
    row(
        "E42",
        Critical,
        &[&[on("", &["configmaps"], WRITE).at(At::Object { namespace: "kube-system", name: "aws-auth" })]],
        "maps a cloud identity to cluster-admin in `aws-auth`",
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
        "changes the cluster's names, routes or trusted authorities",
    ),
    row(
        "E44",
        Medium,
        &[&[on("", &["endpoints"], WRITE), on("discovery.k8s.io", &["endpointslices"], WRITE)]],
        "sends a service's traffic elsewhere",
    ),
    row(
        "E45",
        Medium,
        &[&[on("", &["services"], WRITE), on("", &["services/status"], CHANGE)]],
        "takes others' traffic with an external address",
    ),
    row(
        "E46",
        Medium,
        &[&[
            on("networking.k8s.io", &["networkpolicies", "ingresses", "ingressclasses"], WRITE | REMOVE),
            on("extensions", &["networkpolicies", "ingresses"], WRITE | REMOVE),
            on("gateway.networking.k8s.io", &[EVERY], ALL & !READ),
        ]],
        "opens what is kept apart, and lets traffic in from outside",
    ),
    row(
        "E50",
        Medium,
        &[&[on("coordination.k8s.io", &["leases"], WRITE | REMOVE)]],
        "takes the lead from a controller, so that it stands still, or makes a node look alive or dead",
    )
    .leaves(Leaves::Nothing),
    row(
        "E51",
        Low,
        &[&[on("", &["events"], WRITE | REMOVE), on("events.k8s.io", &["events"], WRITE | REMOVE)]],
        "hides traces, or lays false ones",
    )
    .leaves(Leaves::Nothing),
    row("E54", Critical, &[], "binds everybody, or every workload, not a person"),
    row("E55", Medium, &[], "the role does not exist: whoever makes it decides what this grants"),
    row("E56", Critical, &[], "reads every object of every kind, secrets too").leaves(Leaves::Credential),
    row("E57", High, &[], "destroys everything of every kind"),
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
        "an operator does with its own power what the person may not do",
    ),
    row("E60", Unclassified, &[], "nobody has looked at what this reaches, so treat it as the worst")
        .leaves(Leaves::Credential),
    // With somebody who asks, it is E18: many a node or operator may ask, and what waits already can be approved.
    row(
        "E61",
        High,
        &[
            &[on(CERTIFICATES, &["certificatesigningrequests/approval"], CHANGE)],
            &[on(CERTIFICATES, &["signers"], APPROVE)],
        ],
        "approves a certificate for any name and group that somebody asks for",
    ),
    row(
        "E62",
        Medium,
        &[&[
            on(CERTIFICATES, &["certificatesigningrequests/approval", "certificatesigningrequests/status"], CHANGE),
            on(CERTIFICATES, &["signers"], APPROVE | SIGN | ATTEST),
        ]],
        "is a part of what approves or signs certificates for any name",
    ),
    row(
        "E63",
        Medium,
        &[&[on(CERTIFICATES, &["certificatesigningrequests", "podcertificaterequests"], CREATE)]],
        "asks for a certificate of any name, which whoever approves has to notice",
    ),
    // Priority and fairness come before authorization, so it also holds for who takes the rights away.
    row(
        "E64",
        High,
        &[&[on(FLOW_CONTROL, FLOWS, WRITE | REMOVE)]],
        "starves whom it names at the API server, also the daemon that ends this access",
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
        "takes devices of nodes, also those in use by others, or tells their driver what to do",
    ),
    row(
        "E66",
        Medium,
        &[&[
            on("", &["persistentvolumeclaims"], WRITE | REMOVE),
            on("", &["persistentvolumes"], REMOVE),
            on("", &["persistentvolumeclaims/status", "persistentvolumes/status"], CHANGE),
        ]],
        "claims a volume that waits for somebody else, or destroys the data of one",
    ),
    row("E67", Medium, &[&[on("", &["configmaps"], WRITE)]], "changes what programs are told to do, scripts among it"),
    row(
        "E68",
        Medium,
        &[&[on("node.k8s.io", &["runtimeclasses"], WRITE | REMOVE)]],
        "takes pods out of the sandbox that they ask for",
    ),
    row(
        "E69",
        Medium,
        &[&[on("scheduling.k8s.io", &["priorityclasses"], WRITE | REMOVE)]],
        "pushes the pods of others off their nodes",
    )
    .leaves(Leaves::Nothing),
    row(
        "E70",
        Medium,
        &[&[
            on("networking.k8s.io", &["servicecidrs", "ipaddresses"], WRITE | REMOVE),
            on("networking.k8s.io", &["servicecidrs/status"], CHANGE),
        ]],
        "takes the addresses of services, or leaves none for new ones",
    )
    .leaves(Leaves::Nothing),
    row(
        "E71",
        Medium,
        &[&[
            on("storage.k8s.io", &["csinodes", "csistoragecapacities", "volumeattributesclasses"], WRITE | REMOVE),
            on("storage.k8s.io", &["storageclasses", "volumeattachments", "csidrivers"], REMOVE),
        ]],
        "keeps volumes from being placed or attached, or tears them off",
    )
    .leaves(Leaves::Nothing),
    row(
        "E72",
        Medium,
        &[&[on("", &["resourcequotas", "limitranges"], WRITE | REMOVE), on("", &["resourcequotas/status"], CHANGE)]],
        "lifts the limits of a namespace, or leaves no room in it",
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
        "stops workloads, multiplies them, or lets them be stopped",
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
        "takes away what others run, reach or wait for",
    )
    .leaves(Leaves::Nothing),
    row(
        "E75",
        Low,
        &[&[
            on(AUTHENTICATION, &["tokenreviews"], CREATE),
            on("authorization.k8s.io", &["subjectaccessreviews", "localsubjectaccessreviews"], CREATE),
        ]],
        "learns whose a found token is, or what somebody may do",
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
        "turns a whole API off, or sends an ingress's visitors elsewhere",
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
        "makes controllers and people believe what is not so",
    )
    .leaves(Leaves::Nothing),
];

const fn until_1_34(resource: &'static [&'static str]) -> Permission {
    // From 1.35 the server asks for create as well when get opens a stream.
    on("", resource, GET).versions(Versions::Before(35))
}

const STREAM_EXEC: &[Permission] = &[on("", &["pods/exec"], CREATE), until_1_34(&["pods/exec"])];
const STREAM_ATTACH: &[Permission] = &[on("", &["pods/attach"], CREATE), until_1_34(&["pods/attach"])];
const STREAM_FORWARD: &[Permission] = &[on("", &["pods/portforward"], CREATE), until_1_34(&["pods/portforward"])];

/// Subresources through which a request runs on, or which hand out what one is made with, of whatever group: what a
/// word of another group means nobody here knows better than its name.
pub(super) const RUNS_ON: &[&str] =
    &["attach", "console", "exec", "log", "portforward", "proxy", "token", "usbredir", "vnc"];
/// Of those, what acts in another's place: whoever does finds the credential that is there.
pub(super) const IN_ANOTHERS_PLACE: &[&str] =
    &["attach", "console", "exec", "portforward", "proxy", "token", "usbredir", "vnc"];

/// Groups of others whose kinds have no credential in them, beside the families in [`ROWS`]; what lies below an object is
/// another matter. That of metrics has numbers, of snapshots what a volume was at a time, of the vertical autoscaler advice.
pub(super) const READABLE: &[&str] =
    &["custom.metrics.k8s.io", "external.metrics.k8s.io", "snapshot.storage.k8s.io", "autoscaling.k8s.io"];
/// What may be read below an object like the object itself.
pub(super) const READ_LIKE_ITS_OBJECT: &[&str] = &["status", "scale"];

/// What runs on without being a risk of its own.
pub(super) const STREAMS: &[Permission] = &[on("", &["pods/log"], GET), on("", &[WHATEVER], WATCH)];

/// What holds this grant itself: its binding, the role it was approved with, and what fences its writer.
/// Names don't matter: nobody can tell today which names a guard has tomorrow.
pub(super) const GUARD: &[Permission] = &[
    on(ADMISSION, ADMISSION_POLICIES, WRITE | REMOVE),
    on(ADMISSION, WEBHOOKS, WRITE | REMOVE),
    // Who starves the daemon at the API server keeps what it would take away.
    on(FLOW_CONTROL, FLOWS, WRITE | REMOVE),
    on(RBAC, &["clusterroles", "roles", "clusterrolebindings", "rolebindings"], WRITE | REMOVE | BIND | ESCALATE),
];

/// Paths that every cluster shows to everybody who is known (`system:discovery`, `system:public-info-viewer`),
/// and the metrics.
pub(super) const HARMLESS_PATHS: &[&str] =
    &["/healthz", "/livez", "/readyz", "/version", "/api", "/apis", "/openapi", "/.well-known", "/metrics"];
/// Paths of [`ROWS`]' E03.
pub(super) const INSIDE_PATHS: &[&str] = &["/debug", "/logs"];

/// Groups and users of E54, with what begins like the last; and of E02.
pub(super) const EVERYBODY: &[&str] =
    &["system:anonymous", "system:unauthenticated", "system:authenticated", "system:serviceaccounts"];
pub(super) const MASTERS: &str = "system:masters";

/// One API group: what it keeps in namespaces, and what it keeps once for the cluster.
pub(super) struct Group {
    pub(super) name: &'static str,
    pub(super) namespaced: &'static [&'static str],
    pub(super) cluster: &'static [&'static str],
}

const fn group(name: &'static str, namespaced: &'static [&'static str], cluster: &'static [&'static str]) -> Group {
    Group { name, namespaced, cluster }
}

/// What kube-apiserver serves or asks the authorizer about: discovery of 1.36, what RBAC alone knows
/// (impersonation, signers, the kubelet's API), and what older versions served and `edit` still names.
pub(super) const SERVED: &[Group] = &[
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

/// Which verbs a binding in one namespace gives on something that the cluster keeps once: the namespace's own
/// object, and binding a ClusterRole there. All of it measured on 1.36.
pub(super) fn in_its_own_namespace(group: &str, resource: &str) -> Verbs {
    match (group, resource) {
        ("", "namespaces" | "namespaces/status" | "namespaces/finalize") => GET | UPDATE | PATCH | DELETE,
        (RBAC, "clusterroles") => BIND,
        _ => 0,
    }
}

/// Whether an object of this group can be called `*`. Roles and bindings can, for their names are path segments;
/// for all others `*` is a name that nothing has.
pub(super) fn may_be_named_star(group: &str) -> bool {
    group == RBAC || group == EVERY
}
