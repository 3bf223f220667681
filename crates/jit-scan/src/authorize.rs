//! Whether one rule allows one action, exactly as the API server decides it: `RuleAllows` of
//! `k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac`, and the functions of `pkg/apis/rbac/v1/evaluation_helpers.go` that
//! it calls. No other reading of a rule may decide who can do what.

use jit_core::rbac::Rule;

/// What somebody wants to do, as the authorizer of the API server sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action<'q> {
    /// A verb on objects.
    Resource(ResourceAction<'q>),
    /// A verb on a path that is not that of a resource.
    Url {
        /// The method in lower case, such as `get`.
        verb: &'q str,
        /// The path, such as `/logs/kubelet.log`.
        path: &'q str,
    },
}

/// A verb on objects. Words are compared as they are: a `*` here is only allowed by a rule that contains a `*`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResourceAction<'q> {
    /// The verb, such as `list`.
    pub verb: &'q str,
    /// The API group; empty for the core group.
    pub group: &'q str,
    /// The resource without its subresource, such as `pods`.
    pub resource: &'q str,
    /// The subresource, such as `exec`; empty for the object itself.
    pub subresource: &'q str,
    /// The object's name; empty where a request has none, as in `create` and in most `list`.
    pub name: &'q str,
    /// The namespace; `None` for objects of the cluster, and for the objects of all namespaces at once.
    pub namespace: Option<&'q str>,
}

impl<'q> Action<'q> {
    /// The namespace whose RoleBindings count too; `None` if only ClusterRoleBindings do. An empty namespace is none.
    #[must_use]
    pub fn namespace(&self) -> Option<&'q str> {
        match self {
            Self::Resource(action) => action.namespace.filter(|namespace| !namespace.is_empty()),
            Self::Url { .. } => None,
        }
    }
}

/// Whether the rule allows the action, wherever it is bound.
#[must_use]
pub fn rule_allows(rule: &Rule, action: &Action<'_>) -> bool {
    match action {
        Action::Resource(action) => {
            has(&rule.verbs, action.verb)
                && has(&rule.api_groups, action.group)
                && rule.resources.iter().any(|resource| resource_matches(resource, action))
                && (rule.resource_names.is_empty() || rule.resource_names.iter().any(|name| name == action.name))
        }
        Action::Url { verb, path } => {
            has(&rule.verbs, verb) && rule.non_resource_urls.iter().any(|url| url_matches(url, path))
        }
    }
}

fn has(words: &[String], asked: &str) -> bool {
    words.iter().any(|word| word == "*" || word == asked)
}

/// `*` is everything with all its subresources, `*/exec` that subresource of everything. `pods/*` is no pattern.
fn resource_matches(rule: &str, action: &ResourceAction<'_>) -> bool {
    if rule == "*" {
        return true;
    }
    if action.subresource.is_empty() {
        return rule == action.resource;
    }
    let below = |resource: &str| {
        rule.strip_prefix(resource).and_then(|rest| rest.strip_prefix('/')).is_some_and(|sub| sub == action.subresource)
    };
    below(action.resource) || below("*")
}

/// A `*` is a pattern only at the end.
fn url_matches(rule: &str, path: &str) -> bool {
    rule == path || rule.ends_with('*') && path.starts_with(rule.trim_end_matches('*'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(groups: &[&str], resources: &[&str], names: &[&str], verbs: &[&str]) -> Rule {
        let words = |words: &[&str]| words.iter().map(ToString::to_string).collect();
        Rule {
            api_groups: words(groups),
            resources: words(resources),
            resource_names: words(names),
            verbs: words(verbs),
            ..Rule::default()
        }
    }

    #[test]
    fn a_rule_allows_what_the_authorizer_reads_in_it() {
        let ask = |verb, group, resource, subresource, name| {
            Action::Resource(ResourceAction { verb, group, resource, subresource, name, namespace: None })
        };
        let table = [
            (rule(&[""], &["pods"], &[], &["get"]), ask("get", "", "pods", "", "web"), true),
            (rule(&[""], &["pods"], &[], &["get"]), ask("get", "", "pods", "log", ""), false),
            (rule(&[""], &["pods"], &[], &["get"]), ask("get", "apps", "pods", "", ""), false),
            (rule(&["*"], &["*"], &[], &["*"]), ask("use", "example.com", "gadgets", "status", "x"), true),
            (rule(&[""], &["*"], &[], &["get"]), ask("get", "", "pods", "exec", ""), true),
            (rule(&[""], &["*/exec"], &[], &["create"]), ask("create", "", "pods", "exec", ""), true),
            (rule(&[""], &["*/exec"], &[], &["create"]), ask("create", "", "pods", "", ""), false),
            (rule(&[""], &["*/exec"], &[], &["create"]), ask("create", "", "pods", "xexec", ""), false),
            // No pattern: the resource that is named so.
            (rule(&[""], &["pods/*"], &[], &["create"]), ask("create", "", "pods", "exec", ""), false),
            (rule(&[""], &["pods/*"], &[], &["create"]), ask("create", "", "pods", "*", ""), true),
            (rule(&[""], &["pods/exec"], &[], &["create"]), ask("create", "", "pods", "exec", ""), true),
            (rule(&[""], &["pods"], &["*"], &["get"]), ask("get", "", "pods", "", "web"), false),
            (rule(&[""], &["pods"], &["web"], &["list"]), ask("list", "", "pods", "", ""), false),
            (rule(&[""], &["pods"], &["web"], &["list"]), ask("list", "", "pods", "", "web"), true),
            (rule(&[""], &["pods"], &[""], &["create"]), ask("create", "", "pods", "", ""), true),
            (rule(&[""], &["pods"], &[], &["get"]), ask("*", "", "pods", "", ""), false),
            (rule(&[""], &["pods"], &[], &["get"]), Action::Url { verb: "get", path: "/pods" }, false),
        ];
        for (number, (rule, action, allowed)) in table.iter().enumerate() {
            assert_eq!(rule_allows(rule, action), *allowed, "{number}: {rule:?} {action:?}");
        }
    }

    #[test]
    fn a_star_is_a_pattern_only_at_the_end_of_a_path() {
        for (url, path, allowed) in [
            ("*", "/metrics", true),
            ("/logs/*", "/logs/", true),
            ("/logs/*", "/logs", false),
            ("/logs**", "/logs/a", true),
            ("/logs/*/a", "/logs/b/a", false),
            ("/metrics", "/metrics/", false),
        ] {
            let rule =
                Rule { non_resource_urls: vec![url.to_owned()], verbs: vec!["get".to_owned()], ..Rule::default() };
            assert_eq!(rule_allows(&rule, &Action::Url { verb: "get", path }), allowed, "{url} {path}");
            assert!(!rule_allows(&rule, &Action::Url { verb: "post", path }), "{url} {path}");
        }
    }
}
