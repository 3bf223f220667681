//! A role as a cluster has it: its identity and its rules in one canonical order, so that the same
//! rights always have the same hash and any change of them is seen.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::digest::sha256_hex;

/// One rule of a Role or ClusterRole, as in `rbac.authorization.k8s.io/v1` PolicyRule. Lists are
/// sorted and without repeats once inside a [`ResolvedRole`].
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// API groups, `""` is the core group, `*` is all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub api_groups: Vec<String>,
    /// Resources, with subresources as `pods/log`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
    /// Names the rule is limited to; empty is all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resource_names: Vec<String>,
    /// URL paths outside the resources; they hold only cluster-wide.
    #[serde(default, rename = "nonResourceURLs", skip_serializing_if = "Vec::is_empty")]
    pub non_resource_urls: Vec<String>,
    /// Verbs, `*` is all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verbs: Vec<String>,
}

/// A role at one moment. A role that is deleted and made anew has another uid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written")]
pub struct ResolvedRole {
    /// `metadata.uid`.
    pub uid: String,
    rules: Vec<Rule>,
    // Made once: thousands of live grants of one role are compared with it every other second.
    #[serde(skip_serializing)]
    rules_sha256: String,
}

/// A role as it is stored.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    uid: String,
    rules: Vec<Rule>,
}

impl From<Written> for ResolvedRole {
    fn from(Written { uid, rules }: Written) -> Self {
        // Vectors of strings always serialise; an empty string would still be a fixed, wrong hash.
        let rules_sha256 = sha256_hex(&serde_json::to_vec(&rules).unwrap_or_default());
        Self { uid, rules, rules_sha256 }
    }
}

impl ResolvedRole {
    /// The role with its rules in canonical order.
    #[must_use]
    pub fn new(uid: String, mut rules: Vec<Rule>) -> Self {
        canonical(&mut rules);
        Written { uid, rules }.into()
    }

    /// The rules in canonical order.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// SHA-256 over the canonical rules as JSON, hex.
    #[must_use]
    pub fn rules_sha256(&self) -> &str {
        &self.rules_sha256
    }
}

/// Puts rules into their one order, without repeats.
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
    /// The rules that these words mean: one for each API group among the resources, which are written as kubectl
    /// writes them, `deployments.apps`, `deployments.apps/scale`.
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
    /// For example `get, list pods, pods/log named web-0`, for a person.
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
    fn the_order_of_words_does_not_change_the_hash() {
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
    fn one_more_verb_changes_the_hash() {
        let one = ResolvedRole::new("u".into(), vec![rule(&["pods"], &["get"])]);
        let other = ResolvedRole::new("u".into(), vec![rule(&["pods"], &["get", "list"])]);
        assert_ne!(one.rules_sha256(), other.rules_sha256());
    }
}
