//! A role as it exists in a cluster: its uid, and its rules in canonical order. The same rules always have the same
//! hash, so any change is detected.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::digest::sha256_hex;

/// One rule of a Role or ClusterRole: a PolicyRule of `rbac.authorization.k8s.io/v1`. In a [`ResolvedRole`] the lists
/// are sorted and contain no duplicates.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// API groups; `""` is the core group, `*` is all groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub api_groups: Vec<String>,
    /// Resources, with subresources as `pods/log`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
    /// The object names that the rule is limited to; empty means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resource_names: Vec<String>,
    /// URL paths other than those of resources; they apply only in a ClusterRoleBinding.
    #[serde(default, rename = "nonResourceURLs", skip_serializing_if = "Vec::is_empty")]
    pub non_resource_urls: Vec<String>,
    /// Verbs; `*` is all verbs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verbs: Vec<String>,
}

/// A role as it was at one moment. A role that is deleted and created again has a different uid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "StoredRole")]
pub struct ResolvedRole {
    /// `metadata.uid`.
    pub uid: String,
    rules: Vec<Rule>,
    // Computed once: the sweep compares it with thousands of live grants every other second.
    #[serde(skip_serializing)]
    rules_sha256: String,
}

/// The stored form of a role.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredRole {
    uid: String,
    rules: Vec<Rule>,
}

impl From<StoredRole> for ResolvedRole {
    fn from(StoredRole { uid, rules }: StoredRole) -> Self {
        // Vectors of strings always serialize. If one did not, the hash of an empty string would match no role.
        let rules_sha256 = sha256_hex(&serde_json::to_vec(&rules).unwrap_or_default());
        Self { uid, rules, rules_sha256 }
    }
}

impl ResolvedRole {
    /// A role; the rules are put into canonical order.
    #[must_use]
    pub fn new(uid: String, mut rules: Vec<Rule>) -> Self {
        canonical(&mut rules);
        StoredRole { uid, rules }.into()
    }

    /// The rules in canonical order.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The SHA-256 digest of the canonical rules as JSON, in hex.
    #[must_use]
    pub fn rules_sha256(&self) -> &str {
        &self.rules_sha256
    }
}

/// Sorts the rules and their lists and removes duplicates.
pub fn canonical(rules: &mut Vec<Rule>) {
    for rule in rules.iter_mut() {
        for list in [
            &mut rule.api_groups,
            &mut rule.resources,
            &mut rule.resource_names,
            &mut rule.non_resource_urls,
            &mut rule.verbs,
        ] {
            list.sort_unstable();
            list.dedup();
        }
    }
    rules.sort_unstable();
    rules.dedup();
}

impl Rule {
    /// The rules for these verbs, resources and names: one rule for each API group. Resources have kubectl's form:
    /// `pods`, `deployments.apps`, `deployments.apps/scale`.
    #[must_use]
    pub fn exactly(verbs: &[String], resources: &[String], names: &[String]) -> Vec<Self> {
        let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for resource in resources {
            let (dotted, sub) = resource.split_once('/').map_or((resource.as_str(), None), |(a, b)| (a, Some(b)));
            let (name, group) = dotted.split_once('.').unwrap_or((dotted, ""));
            let whole = sub.map_or(name.to_owned(), |sub| format!("{name}/{sub}"));
            groups.entry(group.to_owned()).or_default().push(whole);
        }
        let rule = |(group, resources)| Self {
            api_groups: vec![group],
            resources,
            resource_names: names.to_vec(),
            verbs: verbs.to_vec(),
            ..Self::default()
        };
        groups.into_iter().map(rule).collect()
    }
}

impl fmt::Display for Rule {
    /// For people, for example `get, list pods, pods/log named web-0`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut resources: Vec<String> = Vec::new();
        for group in &self.api_groups {
            let dotted =
                |resource: &String| if group.is_empty() { resource.clone() } else { format!("{resource}.{group}") };
            resources.extend(self.resources.iter().map(dotted));
        }
        resources.extend(self.non_resource_urls.iter().cloned());
        write!(f, "{} {}", self.verbs.join(", "), resources.join(", "))?;
        if self.resource_names.is_empty() { Ok(()) } else { write!(f, " named {}", self.resource_names.join(", ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(resources: &[&str], verbs: &[&str]) -> Rule {
        Rule {
            api_groups: vec![String::new()],
            resources: resources.iter().map(ToString::to_string).collect(),
            verbs: verbs.iter().map(ToString::to_string).collect(),
            ..Rule::default()
        }
    }

    #[test]
    fn order_and_duplicates_do_not_change_the_hash() {
        let one = ResolvedRole::new(
            "u".into(),
            vec![rule(&["pods", "secrets"], &["get", "list"]), rule(&["nodes"], &["get"])],
        );
        let other = ResolvedRole::new(
            "u".into(),
            vec![rule(&["nodes"], &["get"]), rule(&["secrets", "pods", "pods"], &["list", "get"])],
        );
        assert_eq!(one.rules_sha256(), other.rules_sha256());
    }

    #[test]
    fn an_additional_verb_changes_the_hash() {
        let one = ResolvedRole::new("u".into(), vec![rule(&["pods"], &["get"])]);
        let other = ResolvedRole::new("u".into(), vec![rule(&["pods"], &["get", "list"])]);
        assert_ne!(one.rules_sha256(), other.rules_sha256());
    }
}
