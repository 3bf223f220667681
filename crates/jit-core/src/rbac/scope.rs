//! Where a role applies: in some namespaces, or in the whole cluster.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Malformed;
use super::word::{dns_label, word};

word!(
    /// A Kubernetes namespace: a DNS label (RFC 1123).
    Namespace,
    |text| dns_label("namespace", text)
);

/// Where a role applies.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// In some namespaces, with a RoleBinding in each.
    Namespaces(Namespaces),
    /// In the whole cluster, with a ClusterRoleBinding.
    Cluster,
}

/// One to [`Namespaces::MOST`] namespaces, sorted and without duplicates.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<Namespace>", into = "Vec<Namespace>")]
pub struct Namespaces(Vec<Namespace>);

impl Namespaces {
    /// The limit for one request: each namespace needs its own binding.
    pub const MOST: usize = 20;
}

impl TryFrom<Vec<Namespace>> for Namespaces {
    type Error = Malformed;
    fn try_from(mut list: Vec<Namespace>) -> Result<Self, Malformed> {
        list.sort_unstable();
        list.dedup();
        if (1..=Self::MOST).contains(&list.len()) {
            Ok(Self(list))
        } else {
            Err(Malformed::new("namespaces", &list.len().to_string(), format!("name 1 to {}", Self::MOST)))
        }
    }
}

impl From<Namespaces> for Vec<Namespace> {
    fn from(namespaces: Namespaces) -> Self {
        namespaces.0
    }
}

impl From<Namespace> for Scope {
    fn from(namespace: Namespace) -> Self {
        Self::Namespaces(Namespaces(vec![namespace]))
    }
}

impl Scope {
    /// The namespaces; empty for the whole cluster.
    #[must_use]
    pub fn namespaces(&self) -> &[Namespace] {
        match self {
            Self::Namespaces(namespaces) => &namespaces.0,
            Self::Cluster => &[],
        }
    }

    /// Whether this scope includes every place of `other`.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Cluster, _) => true,
            (Self::Namespaces(_), Self::Cluster) => false,
            (Self::Namespaces(ours), Self::Namespaces(theirs)) => theirs.0.iter().all(|name| ours.0.contains(name)),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.namespaces() {
            [] => f.write_str("the whole cluster"),
            [only] => write!(f, "namespace {only}"),
            several => {
                let names: Vec<&str> = several.iter().map(Namespace::as_str).collect();
                write!(f, "namespaces {}", names.join(", "))
            }
        }
    }
}
