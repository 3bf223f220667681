//! What was read of a cluster: the objects that decide who can do what. Never the content of a Secret.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jit_core::rbac::Rule;
use jit_core::rbac::risk::ServerVersion;
use serde::Deserialize;

use crate::finding::{NotEvaluated, Subject};

/// A cluster at one moment, as far as it could be read.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The version of the API server, if it is known.
    pub version: Option<ServerVersion>,
    /// Roles and ClusterRoles.
    pub roles: Vec<Role>,
    /// RoleBindings and ClusterRoleBindings.
    pub bindings: Vec<Binding>,
    /// Service accounts; `None` if they were not read, so that nothing is said about missing ones.
    pub accounts: Option<Vec<Account>>,
    /// The names of the namespaces; `None` if they were not read.
    pub namespaces: Option<Vec<String>>,
    /// Secrets, without their content; `None` if they were not read.
    pub secrets: Option<Vec<Secret>>,
    /// CertificateSigningRequests, which the cluster deletes an hour after they are issued; `None` if they were not read.
    pub signing_requests: Option<Vec<SigningRequest>>,
    /// What runs pods; `None` if it was not read.
    pub workloads: Option<Vec<Workload>>,
    /// The users of kubeconfig files on this host.
    pub kubeconfigs: Vec<KubeconfigUser>,
    /// Where in the input each object is, by its name as findings have it: `payments/rolebinding/dev`. Only for files below
    /// the working directory: code scanning can show no others.
    pub places: BTreeMap<String, Place>,
    /// What could not be read. A list that is missing here and empty above does not exist in the cluster.
    pub not_evaluated: Vec<NotEvaluated>,
}

/// The name of an object, and its namespace if it has one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// The namespace; `None` for an object of the whole cluster.
    pub namespace: Option<String>,
    /// `metadata.name`.
    pub name: String,
}

impl Name {
    /// The object as kubectl names it: `clusterrolebinding/ops`, `payments/rolebinding/dev`.
    pub(crate) fn object(&self, kind: &str) -> String {
        match &self.namespace {
            Some(namespace) => format!("{namespace}/{kind}/{}", self.name),
            None => format!("{kind}/{}", self.name),
        }
    }
}

/// Where an object is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The path of the file, relative to the working directory, with slashes.
    pub file: String,
    /// The line on which the object begins, from 1.
    pub line: u64,
}

/// What findings say about an object besides its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `metadata.annotations`.
    pub annotations: BTreeMap<String, String>,
    /// When it was created, if the input says so.
    pub created: Created,
    /// Of a binding: which one it is; `None` for a manifest, which is no object yet.
    pub identity: Option<Identity>,
}

/// Which object it is, and in which state: what a later change of it is conditional on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `metadata.uid`; an object that is deleted and created again has another one.
    pub uid: String,
    /// `metadata.resourceVersion`, which every change of the object changes.
    pub resource_version: String,
}

/// `metadata.creationTimestamp`; manifests have none.
pub type Created = Option<Timestamp>;

/// Role or ClusterRole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
pub enum RoleKind {
    /// A Role of one namespace.
    Role,
    /// A ClusterRole.
    ClusterRole,
}

/// A Role or ClusterRole, as it was read: aggregation is not resolved yet.
#[derive(Clone, Debug)]
pub struct Role {
    /// Its name; a ClusterRole has no namespace.
    pub name: Name,
    /// What else is known of it.
    pub meta: Meta,
    /// Its rules. The API server keeps those of an aggregated role up to date; a manifest has none there.
    pub rules: Vec<Rule>,
    /// `aggregationRule.clusterRoleSelectors`: the rules of each ClusterRole that one of them selects are added. `None` for a
    /// role that is not aggregated.
    pub aggregates: Option<Vec<Selector>>,
}

/// A label selector: all its requirements must be met, so an empty one selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Selector {
    /// `matchLabels`: the label exists and has this value.
    pub labels: BTreeMap<String, String>,
    /// `matchExpressions`.
    pub expressions: Vec<Requirement>,
}

/// One of the `matchExpressions` of a selector.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Requirement {
    /// The label's key.
    pub key: String,
    /// How the label is compared.
    pub operator: Operator,
    /// The values of `In` and `NotIn`; the others have none.
    pub values: Vec<String>,
}

/// How a [`Requirement`] compares a label. `NotIn` and `DoesNotExist` are met if the label does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[expect(missing_docs, reason = "the words of Kubernetes")]
pub enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

impl Selector {
    /// Whether an object with these labels is selected, as `k8s.io/apimachinery/pkg/labels` decides it.
    #[must_use]
    pub fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        self.labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.expressions.iter().all(|requirement| {
                let value = labels.get(&requirement.key);
                match requirement.operator {
                    Operator::In => value.is_some_and(|value| requirement.values.contains(value)),
                    Operator::NotIn => value.is_none_or(|value| !requirement.values.contains(value)),
                    Operator::Exists => value.is_some(),
                    Operator::DoesNotExist => value.is_none(),
                }
            })
    }
}

/// `roleRef` of a binding.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoleRef {
    /// Role or ClusterRole.
    pub kind: RoleKind,
    /// The role's name. A Role is in the binding's namespace.
    pub name: String,
}

/// A RoleBinding or ClusterRoleBinding.
#[derive(Clone, Debug)]
pub struct Binding {
    /// Its name; a ClusterRoleBinding has no namespace.
    pub name: Name,
    /// What else is known of it.
    pub meta: Meta,
    /// The role that it binds.
    pub role: RoleRef,
    /// To whom.
    pub subjects: Vec<Subject>,
}

/// A service account.
#[derive(Clone, Debug)]
pub struct Account {
    /// Its name, with its namespace.
    pub name: Name,
    /// What else is known of it.
    pub meta: Meta,
    /// `automountServiceAccountToken`.
    pub automount: Option<bool>,
}

/// A Secret, without its content.
#[derive(Clone, Debug)]
pub struct Secret {
    /// Its name, with its namespace.
    pub name: Name,
    /// What else is known of it. Never `kubectl.kubernetes.io/last-applied-configuration`, which has the content.
    pub meta: Meta,
    /// `type`, such as `kubernetes.io/service-account-token`.
    pub kind: String,
}

/// A CertificateSigningRequest.
#[derive(Clone, Debug)]
pub struct SigningRequest {
    /// `metadata.name`.
    pub name: String,
    /// `spec.signerName`.
    pub signer: String,
    /// What was issued; `None` while nothing is.
    pub certificate: Option<ClientCertificate>,
}

/// The identity in a client certificate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientCertificate {
    /// SHA-256 of the certificate, which is the same wherever a copy of it lies.
    pub digest: String,
    /// The common name.
    pub user: String,
    /// The organisations.
    pub groups: Vec<String>,
    /// The first second of its validity.
    pub not_before: Timestamp,
    /// The last second of its validity.
    pub not_after: Timestamp,
}

/// A workload that runs pods, or a pod that nothing else runs.
#[derive(Clone, Debug)]
pub struct Workload {
    /// In lower case, as kubectl names it: `deployment`.
    pub kind: String,
    /// Its name, with its namespace.
    pub name: Name,
    /// `serviceAccountName`, or `default`.
    pub account: String,
    /// `automountServiceAccountToken` of the pod, which counts before that of the account.
    pub automount: Option<bool>,
}

/// A user of a kubeconfig file that needs nobody to log in.
#[derive(Clone, Debug)]
pub struct KubeconfigUser {
    /// The path of the file.
    pub file: String,
    /// The account that owns the file.
    pub owner: String,
    /// The permissions of the file, such as `0o600`.
    pub mode: u32,
    /// `name` in the list `users`.
    pub entry: String,
    /// What the file contains.
    pub credential: StandingCredential,
}

/// A credential that works until it expires, for whoever has the file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StandingCredential {
    /// A bearer token.
    Token(StaticToken),
    /// A client certificate with its key.
    Certificate(ClientCertificate),
}

/// What is known of a bearer token without asking anybody.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StaticToken {
    /// SHA-256 of the token, which is the same wherever a copy of it lies.
    pub digest: String,
    /// The service account that it says it is for. Nobody has verified its signature.
    pub account: Option<Name>,
    /// The Secret that it says it comes from, in the namespace of the account.
    pub secret: Option<String>,
    /// When it expires; `None` if it does not say.
    pub expires: Option<Timestamp>,
}
