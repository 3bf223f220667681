//! Objects that say something about credentials: Secrets, CertificateSigningRequests, and what runs pods.
//!
//! Of a Secret only its name, type, age and a few labels are kept; its content is passed over unread. The same reduced form
//! is what a snapshot of a live cluster contains.

use std::collections::{BTreeMap, HashSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::ReadError;
use super::input::Fault;
use crate::credentials::certificate;
use crate::snapshot::{Meta, Name, Secret, SigningRequest, Snapshot, Workload};

/// The kinds of these objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Other {
    Secret,
    SigningRequest,
    /// In lower case.
    Workload(&'static str),
}

impl Other {
    pub(super) fn of(api_version: &str, kind: &str) -> Option<Self> {
        let known = KINDS.iter().find(|(version, name, _)| *version == api_version && *name == kind);
        known.map(|(_, _, other)| *other)
    }

    pub(super) fn singular(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::SigningRequest => "certificatesigningrequest",
            Self::Workload(kind) => kind,
        }
    }

    /// Notes that the input has the list of this kind.
    pub(super) fn see(self, snapshot: &mut Snapshot) {
        match self {
            Self::Secret => drop(snapshot.secrets.get_or_insert_default()),
            Self::SigningRequest => drop(snapshot.signing_requests.get_or_insert_default()),
            Self::Workload(_) => drop(snapshot.workloads.get_or_insert_default()),
        }
    }
}

/// `apiVersion` and `kind` of each.
const KINDS: &[(&str, &str, Other)] = &[
    ("v1", "Secret", Other::Secret),
    ("certificates.k8s.io/v1", "CertificateSigningRequest", Other::SigningRequest),
    ("v1", "Pod", Other::Workload("pod")),
    ("v1", "ReplicationController", Other::Workload("replicationcontroller")),
    ("apps/v1", "Deployment", Other::Workload("deployment")),
    ("apps/v1", "ReplicaSet", Other::Workload("replicaset")),
    ("apps/v1", "StatefulSet", Other::Workload("statefulset")),
    ("apps/v1", "DaemonSet", Other::Workload("daemonset")),
    ("batch/v1", "Job", Other::Workload("job")),
    ("batch/v1", "CronJob", Other::Workload("cronjob")),
];

/// A list that says something about credentials, as a live cluster is asked for it.
#[derive(Clone, Copy, Debug)]
pub struct CredentialList {
    /// The path of the list on an API server.
    pub path: &'static str,
    /// The value of `fieldSelector`, if only some objects are wanted.
    pub selector: Option<&'static str>,
    /// The name of the resource, for people.
    pub plural: &'static str,
    pub(super) other: Other,
    /// The type of the Secrets that are wanted, which their metadata does not say.
    pub(super) kind_of_secret: Option<&'static str>,
}

impl CredentialList {
    /// Every list.
    pub const ALL: [Self; 12] = [
        Self::secrets("type=kubernetes.io/service-account-token", ACCOUNT_TOKEN),
        Self::secrets("type=bootstrap.kubernetes.io/token", BOOTSTRAP_TOKEN),
        Self::secrets("type=kubernetes.io/dockerconfigjson", "kubernetes.io/dockerconfigjson"),
        Self {
            path: "/apis/certificates.k8s.io/v1/certificatesigningrequests",
            selector: None,
            plural: "certificatesigningrequests",
            other: Other::SigningRequest,
            kind_of_secret: None,
        },
        Self::workloads("/apis/apps/v1/deployments", "deployments", "deployment"),
        Self::workloads("/apis/apps/v1/statefulsets", "statefulsets", "statefulset"),
        Self::workloads("/apis/apps/v1/daemonsets", "daemonsets", "daemonset"),
        Self::workloads("/apis/apps/v1/replicasets", "replicasets", "replicaset"),
        Self::workloads("/apis/batch/v1/cronjobs", "cronjobs", "cronjob"),
        Self::workloads("/apis/batch/v1/jobs", "jobs", "job"),
        Self::workloads("/api/v1/replicationcontrollers", "replicationcontrollers", "replicationcontroller"),
        Self::workloads("/api/v1/pods", "pods", "pod"),
    ];

    /// What has to be accepted: of Secrets nothing but metadata, so that no content leaves the API server.
    #[must_use]
    pub fn accept(self) -> &'static str {
        match self.other {
            Other::Secret => "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
            Other::SigningRequest | Other::Workload(_) => "application/json",
        }
    }

    /// The API group; empty for the core group.
    #[must_use]
    pub fn group(self) -> &'static str {
        let rest = self.path.strip_prefix("/apis/").and_then(|rest| rest.split_once('/'));
        rest.map_or("", |(group, _)| group)
    }

    /// Whether it lists Secrets, of which nothing but metadata may be asked for.
    #[must_use]
    pub fn is_of_secrets(self) -> bool {
        self.other == Other::Secret
    }

    /// The answer to the list request, reduced to what a scan reads, as a list that [`Reader`](super::Reader) reads: no
    /// environment of a pod, and no annotation of a Secret in which kubectl keeps its content.
    ///
    /// # Errors
    /// [`ReadError`] if the answer is not such a list.
    pub fn reduced(self, body: &[u8]) -> Result<Vec<u8>, ReadError> {
        let (version, kind) = KINDS
            .iter()
            .find(|(_, _, other)| *other == self.other)
            .map(|(version, kind, _)| (*version, *kind))
            .unwrap_or_default();
        let reduce = || {
            let Answer { items } = serde_json::from_slice(body)?;
            let items = items.unwrap_or_default().into_iter().map(|object| object.reduced(self)).collect();
            serde_json::to_vec(&Reduced { api_version: version, kind: format!("{kind}List"), items })
        };
        reduce().map_err(|error| Fault::json(1, &error).of(self.plural.to_owned()))
    }

    const fn secrets(selector: &'static str, kind: &'static str) -> Self {
        let other = Other::Secret;
        Self { path: "/api/v1/secrets", selector: Some(selector), plural: "secrets", other, kind_of_secret: Some(kind) }
    }

    const fn workloads(path: &'static str, plural: &'static str, kind: &'static str) -> Self {
        Self { path, selector: None, plural, other: Other::Workload(kind), kind_of_secret: None }
    }
}

const ACCOUNT_TOKEN: &str = "kubernetes.io/service-account-token";
const BOOTSTRAP_TOKEN: &str = "bootstrap.kubernetes.io/token";

/// Which objects were read, so that each counts once.
#[derive(Debug, Default)]
pub(super) struct Known(HashSet<(Other, Name)>);

impl Known {
    /// Adds an object to the snapshot, and returns its name; the error says what is wrong with it. `kind` is the type of a Secret
    /// of which only the metadata is there.
    pub(super) fn add(
        &mut self,
        other: Other,
        kind: Option<&str>,
        text: &[u8],
        snapshot: &mut Snapshot,
    ) -> Result<Name, String> {
        let object: Object = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        let metadata = object.metadata.unwrap_or_default();
        // What a controller made is reported by its controller.
        let is_owned = metadata.owner_references.iter().flatten().any(|owner| owner.controller == Some(true));
        let name = metadata.name.filter(|name| !name.is_empty()).ok_or("it has no name")?;
        let namespace = metadata.namespace.filter(|namespace| !namespace.is_empty());
        let home = (other != Other::SigningRequest).then(|| namespace.unwrap_or_else(|| "default".to_owned()));
        let name = Name { namespace: home, name };
        if !self.0.insert((other, name.clone())) {
            return Ok(name);
        }
        let added = name.clone();
        let spec = object.spec.unwrap_or_default();
        match other {
            Other::Secret => {
                let meta = Meta {
                    labels: kept(metadata.labels, LABELS_OF_SECRETS),
                    annotations: kept(metadata.annotations, ANNOTATIONS_OF_SECRETS),
                    created: metadata.creation_timestamp,
                    identity: None,
                };
                let inferred = || kind.unwrap_or_else(|| inferred(&name, &meta)).to_owned();
                let kind = object.kind_of_secret.unwrap_or_else(inferred);
                snapshot.secrets.get_or_insert_default().push(Secret { name, meta, kind });
            }
            Other::SigningRequest => {
                let issued = object.status.and_then(|status| status.certificate).filter(|text| !text.is_empty());
                let certificate = match issued {
                    Some(text) => {
                        let text = STANDARD.decode(text).map_err(|_| "its certificate is not base64")?;
                        Some(certificate(&text).map_err(|error| error.to_string())?)
                    }
                    None => None,
                };
                let request =
                    SigningRequest { name: name.name, signer: spec.signer_name.unwrap_or_default(), certificate };
                snapshot.signing_requests.get_or_insert_default().push(request);
            }
            Other::Workload(_) if is_owned => other.see(snapshot),
            Other::Workload(kind) => {
                let pod = spec.pod();
                let account = pod.service_account_name.filter(|account| !account.is_empty());
                let workload = Workload {
                    kind: kind.to_owned(),
                    name,
                    account: account.unwrap_or_else(|| "default".to_owned()),
                    automount: pod.automount_service_account_token,
                };
                snapshot.workloads.get_or_insert_default().push(workload);
            }
        }
        Ok(added)
    }
}

/// What is kept of the labels and annotations of a Secret, by how they begin. Never
/// `kubectl.kubernetes.io/last-applied-configuration`, which has the content.
const LABELS_OF_SECRETS: &str = "kubernetes.io/legacy-token-";
const ANNOTATIONS_OF_SECRETS: &str = "kubernetes.io/service-account.";

fn kept(all: Option<BTreeMap<String, String>>, prefix: &str) -> BTreeMap<String, String> {
    all.unwrap_or_default().into_iter().filter(|(key, _)| key.starts_with(prefix)).collect()
}

/// The type of a Secret of which only the metadata was asked for.
fn inferred(name: &Name, meta: &Meta) -> &'static str {
    if meta.annotations.contains_key("kubernetes.io/service-account.name") {
        ACCOUNT_TOKEN
    } else if name.namespace.as_deref() == Some("kube-system") && name.name.starts_with("bootstrap-token-") {
        BOOTSTRAP_TOKEN
    } else {
        ""
    }
}

/// The answer of an API server to a list request.
#[derive(Deserialize)]
struct Answer {
    items: Option<Vec<Object>>,
}

/// A list as a snapshot contains it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Reduced {
    api_version: &'static str,
    kind: String,
    items: Vec<Object>,
}

/// As much of all these kinds as is read.
#[derive(Deserialize, Serialize)]
struct Object {
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Metadata>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind_of_secret: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    spec: Option<Spec>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
}

impl Object {
    fn reduced(self, list: CredentialList) -> Self {
        let is_secret = list.is_of_secrets();
        let metadata = self.metadata.map(|metadata| Metadata {
            labels: is_secret.then(|| kept(metadata.labels, LABELS_OF_SECRETS)),
            annotations: is_secret.then(|| kept(metadata.annotations, ANNOTATIONS_OF_SECRETS)),
            ..metadata
        });
        Self {
            metadata,
            kind_of_secret: self.kind_of_secret.or_else(|| list.kind_of_secret.map(str::to_owned)),
            ..self
        }
    }
}

#[derive(Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    creation_timestamp: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner_references: Option<Vec<Owner>>,
}

#[derive(Deserialize, Serialize)]
struct Owner {
    #[serde(skip_serializing_if = "Option::is_none")]
    controller: Option<bool>,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(skip_serializing_if = "Option::is_none")]
    signer_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_account_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    automount_service_account_token: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    template: Option<Template>,
    #[serde(skip_serializing_if = "Option::is_none")]
    job_template: Option<Box<Template>>,
}

#[derive(Default, Deserialize, Serialize)]
struct Template {
    #[serde(skip_serializing_if = "Option::is_none")]
    spec: Option<Box<Spec>>,
}

impl Spec {
    /// The spec of the pods that it runs.
    fn pod(self) -> Self {
        let mut owner = self;
        if let Some(job) = owner.job_template.take().and_then(|job| job.spec) {
            owner = *job;
        }
        if let Some(pod) = owner.template.take().and_then(|template| template.spec) {
            owner = *pod;
        }
        owner
    }
}

#[derive(Deserialize, Serialize)]
struct Status {
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<String>,
}
