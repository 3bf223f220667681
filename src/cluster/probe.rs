//! A question to the authorizer that shows whether a binding is in effect. It comes from the role's own rules, so the
//! answer is "allowed" while the binding exists and "denied" once it is gone.
//!
//! It does no I/O itself. The broker makes one for each grant, and `cluster` asks it.

use k8s_openapi::api::authorization::v1::{NonResourceAttributes, ResourceAttributes, SelfSubjectAccessReviewSpec};

use crate::grant::request::Namespace;
use crate::rbac::role::{ResolvedRole, Rule};

/// One action that a role allows in its scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe(Action);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Action {
    OnResource {
        /// `None` for the whole cluster.
        namespace: Option<String>,
        verb: String,
        group: String,
        resource: String,
        subresource: String,
        /// Empty if the question is about all names.
        name: String,
    },
    OnPath {
        verb: String,
        path: String,
    },
}

impl Probe {
    /// An action that this role allows in this namespace, or in the whole cluster; `None` if it allows nothing there.
    ///
    /// `*` is asked literally: RBAC compares the words of a question as they are, so only a rule with `*` allows it
    /// (kubernetes `pkg/apis/rbac/v1/evaluation_helpers.go`). Non-resource URLs apply only in the whole cluster.
    #[must_use]
    pub fn for_role(role: &ResolvedRole, namespace: Option<&Namespace>) -> Option<Self> {
        let on_resource = role.rules().iter().find_map(|rule| Self::on_resource(rule, namespace));
        on_resource.or_else(|| match namespace {
            None => role.rules().iter().find_map(Self::on_path),
            Some(_) => None,
        })
    }

    fn on_resource(rule: &Rule, namespace: Option<&Namespace>) -> Option<Self> {
        let written = rule.resources.first()?;
        let (resource, subresource) = written.split_once('/').unwrap_or((written, ""));
        Some(Self(Action::OnResource {
            namespace: namespace.map(|namespace| namespace.as_str().to_owned()),
            verb: rule.verbs.first()?.clone(),
            group: rule.api_groups.first()?.clone(),
            resource: resource.to_owned(),
            subresource: subresource.to_owned(),
            name: rule.resource_names.first().cloned().unwrap_or_default(),
        }))
    }

    fn on_path(rule: &Rule) -> Option<Self> {
        Some(Self(Action::OnPath { verb: rule.verbs.first()?.clone(), path: rule.non_resource_urls.first()?.clone() }))
    }

    /// The spec of the `SelfSubjectAccessReview` with which the holder would ask the same.
    #[must_use]
    pub fn of_self(&self) -> serde_json::Value {
        let (resource_attributes, non_resource_attributes) = self.attributes();
        // Words always serialize.
        serde_json::to_value(SelfSubjectAccessReviewSpec { resource_attributes, non_resource_attributes })
            .unwrap_or_default()
    }

    /// The attributes for the spec of a SubjectAccessReview; exactly one of the two is set.
    pub(super) fn attributes(&self) -> (Option<ResourceAttributes>, Option<NonResourceAttributes>) {
        let text = |word: &String| Some(word.clone());
        match &self.0 {
            Action::OnResource { namespace, verb, group, resource, subresource, name } => (
                Some(ResourceAttributes {
                    namespace: namespace.clone(),
                    verb: text(verb),
                    group: text(group),
                    resource: text(resource),
                    subresource: text(subresource),
                    name: text(name),
                    ..ResourceAttributes::default()
                }),
                None,
            ),
            Action::OnPath { verb, path } => (None, Some(NonResourceAttributes { verb: text(verb), path: text(path) })),
        }
    }
}

impl std::fmt::Display for Probe {
    /// For people, for example `get pods/log.apps in payments`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Action::OnResource { namespace, verb, group, resource, subresource, name } => {
                write!(f, "{verb} {resource}")?;
                for (mark, word) in [("/", subresource), (".", group), (" ", name)] {
                    if !word.is_empty() {
                        write!(f, "{mark}{word}")?;
                    }
                }
                namespace.as_ref().map_or(Ok(()), |namespace| write!(f, " in {namespace}"))
            }
            Action::OnPath { verb, path } => write!(f, "{verb} {path}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(list: &[&str]) -> Vec<String> {
        list.iter().map(ToString::to_string).collect()
    }

    fn rule(groups: &[&str], resources: &[&str], names: &[&str], verbs: &[&str]) -> Rule {
        Rule {
            api_groups: words(groups),
            resources: words(resources),
            resource_names: words(names),
            verbs: words(verbs),
            ..Rule::default()
        }
    }

    fn paths(urls: &[&str], verbs: &[&str]) -> Rule {
        Rule { non_resource_urls: words(urls), verbs: words(verbs), ..Rule::default() }
    }

    fn probe(rules: Vec<Rule>, namespace: Option<&Namespace>) -> Option<String> {
        Probe::for_role(&ResolvedRole::new("u".into(), rules), namespace).map(|probe| probe.to_string())
    }

    #[test]
    fn each_kind_of_rule_yields_a_question_that_it_allows() {
        let payments: Namespace = "payments".parse().unwrap();
        for (rules, here, everywhere) in [
            (vec![rule(&[""], &["pods"], &[], &["get"])], Some("get pods in payments"), Some("get pods")),
            (vec![rule(&[""], &["pods/log"], &[], &["get"])], Some("get pods/log in payments"), Some("get pods/log")),
            (
                vec![rule(&["apps"], &["deployments"], &["web"], &["get"])],
                Some("get deployments.apps web in payments"),
                Some("get deployments.apps web"),
            ),
            (vec![rule(&["*"], &["*"], &[], &["*"])], Some("* *.* in payments"), Some("* *.*")),
            (
                vec![rule(&[""], &["*/exec"], &[], &["create"])],
                Some("create */exec in payments"),
                Some("create */exec"),
            ),
            (vec![paths(&["/metrics"], &["get"])], None, Some("get /metrics")),
            (
                vec![paths(&["/metrics"], &["get"]), rule(&[""], &["pods"], &[], &["get"])],
                Some("get pods in payments"),
                Some("get pods"),
            ),
        ] {
            assert_eq!(probe(rules.clone(), Some(&payments)).as_deref(), here);
            assert_eq!(probe(rules, None).as_deref(), everywhere);
        }
    }

    #[test]
    fn an_incomplete_rule_is_skipped() {
        let empty = [
            rule(&[], &["pods"], &[], &["get"]),
            rule(&[""], &[], &[], &["get"]),
            rule(&[""], &["pods"], &[], &[]),
            paths(&["/metrics"], &[]),
            paths(&[], &["get"]),
        ];
        assert_eq!(probe(vec![], None), None);
        assert_eq!(probe(empty.to_vec(), None), None);
        let mut rules = empty.to_vec();
        rules.push(rule(&[""], &["secrets"], &[], &["list"]));
        assert_eq!(probe(rules, None).as_deref(), Some("list secrets"));
    }
}
