//! Findings: what is wrong, who has it, and the path that grants it.

use std::fmt;

use jit_core::rbac::risk::Severity;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The kind of a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
pub enum Kind {
    /// A user, known by name only.
    User,
    /// A group, known by name only.
    Group,
    /// A service account.
    ServiceAccount,
}

/// Somebody who can be bound: the subject of `rbac.authorization.k8s.io/v1`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, ToSchema)]
pub struct Subject {
    /// Its kind.
    pub kind: Kind,
    /// The namespace of a service account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

impl fmt::Display for Subject {
    /// `user alice`, `group dev`, `service account payments/builder`. Not escaped for a terminal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.kind, &self.namespace) {
            (Kind::User, _) => write!(f, "user {}", self.name),
            (Kind::Group, _) => write!(f, "group {}", self.name),
            (Kind::ServiceAccount, Some(namespace)) => write!(f, "service account {namespace}/{}", self.name),
            (Kind::ServiceAccount, None) => write!(f, "service account {}", self.name),
        }
    }
}

/// One step of a path: an object, and what it grants to whoever came this far.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
pub struct Hop {
    /// The object, as kubectl names it: `clusterrolebinding/ops`, `payments/rolebinding/dev`.
    pub object: String,
    /// What it grants, in one sentence or less.
    pub grants: String,
}

/// Something that should not stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// A row of the catalogue, `E25`, or one of this crate for what is not a right: `P01` for a chain over several
    /// identities, `L01` for credentials, `H01` for bindings and roles without effect. Ids are never reused.
    pub id: String,
    /// How severe it is in this scope.
    pub severity: Severity,
    /// What is wrong, in one sentence.
    pub title: String,
    /// Who has it; `None` for an object that nobody has, such as an unused role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<Subject>,
    /// How they have it, from the subject to what must not be reached; at least one hop.
    pub path: Vec<Hop>,
    /// The namespaces in which it holds; empty for the whole cluster.
    pub scope: Vec<String>,
    /// Part of what Kubernetes itself ships, in the form that this version ships.
    pub system: bool,
}

/// Something that could not be examined, and what that leaves open.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NotEvaluated {
    /// What, such as `secrets` or a file with its line.
    pub what: String,
    /// Why, in one sentence.
    pub why: String,
}

/// Everything that a scan says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Worst first; the same snapshot gives the same order.
    pub findings: Vec<Finding>,
    /// What could not be examined.
    pub not_evaluated: Vec<NotEvaluated>,
}
