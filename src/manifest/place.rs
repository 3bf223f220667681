//! The places that a rule of the policy covers, as CEL expressions for an admission policy: names, globs, and selectors
//! of namespace labels.
//!
//! A word of the policy must never become code, so each is written as a quoted string. `fence` combines the
//! expressions.

use crate::grant::policy::{NamespacePattern, Requirement};
use crate::grant::request::{Namespace, RoleRef};
use crate::rbac::role::Rule;

/// What one rule allows in one cluster: each of the roles in each of the places.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// The rule's name.
    pub rule: String,
    /// The roles.
    pub roles: Vec<RoleRef>,
    /// The namespaces.
    pub places: Vec<Place>,
    /// Whether it also allows the roles in the whole cluster.
    pub cluster_wide: bool,
    /// The ceiling for exact rules.
    pub ceiling: Vec<Rule>,
    /// Whether an approver may narrow a role to some of its rules.
    pub narrow: bool,
    /// Whether a grant may own a role, because of either of these two.
    pub makes_roles: bool,
}

impl Reach {
    /// The namespaces that the rule names.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Namespace> {
        self.places.iter().filter_map(|place| match place {
            Place::Name(name) => Some(name),
            Place::Glob(_) | Place::Labels(_) => None,
        })
    }

    /// Whether some of its namespaces are known only to the cluster.
    pub(super) fn is_open(&self) -> bool {
        self.names().count() < self.places.len()
    }
}

/// One or more namespaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The namespace of this name.
    Name(Namespace),
    /// Every namespace whose name matches: `*` stands for any characters, `?` for exactly one.
    Glob(String),
    /// Every namespace whose labels meet all of these requirements.
    Labels(Vec<Requirement>),
}

impl From<&NamespacePattern> for Place {
    fn from(pattern: &NamespacePattern) -> Self {
        match pattern {
            NamespacePattern::Name(name) => Self::Name(name.clone()),
            NamespacePattern::Glob(glob) => Self::Glob(glob.to_string()),
            NamespacePattern::Labels(selector) => Self::Labels(selector.requirements().to_vec()),
        }
    }
}

/// An expression: whether a new RoleBinding is within one of the reaches. A Role named like its binding is one that a
/// grant owns.
pub(super) fn binding_in_namespace(reaches: &[Reach]) -> String {
    let own = format!(
        "(object.roleRef.kind == \"Role\" && object.roleRef.name == object.metadata.name && {})",
        where_roles_are_made(reaches)
    );
    let given = reaches.iter().filter(|reach| !reach.places.is_empty());
    let given = given.map(|reach| format!("({} && {})", role(&reach.roles, &["ClusterRole", "Role"]), places(reach)));
    any(given.chain([own]))
}

/// An expression: whether a new ClusterRoleBinding is within one of the reaches.
pub(super) fn binding_in_cluster(reaches: &[Reach]) -> String {
    any(reaches.iter().filter(|reach| reach.cluster_wide).map(|reach| role(&reach.roles, &["ClusterRole"])))
}

/// An expression: whether a grant may own a role in the namespace of the request.
pub(super) fn where_roles_are_made(reaches: &[Reach]) -> String {
    any(reaches.iter().filter(|reach| reach.makes_roles).map(places))
}

/// An expression: whether a grant may be in the namespace of the request, or for a ClusterRoleBinding in the whole cluster.
pub(super) fn where_grants_are(reaches: &[Reach]) -> String {
    format!(
        "(request.resource.resource == \"rolebindings\" ? {} : {})",
        any(reaches.iter().map(places)),
        reaches.iter().any(|reach| reach.cluster_wide)
    )
}

fn role(roles: &[RoleRef], kinds: &[&str]) -> String {
    any(kinds.iter().filter_map(|kind| {
        let names: Vec<&str> =
            roles.iter().filter(|role| role.kind() == *kind).map(|role| role.name().as_str()).collect();
        (!names.is_empty())
            .then(|| format!("(object.roleRef.kind == {} && object.roleRef.name in {})", quoted(kind), list(&names)))
    }))
}

fn places(reach: &Reach) -> String {
    let names: Vec<&str> = reach.names().map(Namespace::as_str).collect();
    let named = (!names.is_empty()).then(|| format!("request.namespace in {}", list(&names)));
    let matching = reach.places.iter().filter_map(|place| match place {
        Place::Name(_) => None,
        Place::Glob(glob) => Some(format!("request.namespace.matches({})", quoted(&pattern(glob)))),
        Place::Labels(requirements) => Some(all(requirements.iter().map(cel))),
    });
    any(named.into_iter().chain(matching))
}

fn cel(requirement: &Requirement) -> String {
    let labels = "variables.namespaceLabels";
    let has = |key: &str| format!("{} in {labels}", quoted(key));
    let is_one_of =
        |key: &str, values: &[String]| format!("({} && {labels}[{}] in {})", has(key), quoted(key), list(values));
    match requirement {
        Requirement::In(key, values) => is_one_of(key, values),
        Requirement::NotIn(key, values) => format!("!{}", is_one_of(key, values)),
        Requirement::Exists(key) => has(key),
        Requirement::DoesNotExist(key) => format!("!({})", has(key)),
    }
}

/// The glob as an RE2 expression for the whole name (<https://github.com/google/re2/wiki/Syntax>).
fn pattern(glob: &str) -> String {
    let inner: String = glob
        .chars()
        .map(|c| match c {
            '*' => ".*".to_owned(),
            '?' => ".".to_owned(),
            other => regex::escape(other.encode_utf8(&mut [0; 4])),
        })
        .collect();
    format!("^{inner}$")
}

/// True if one of the terms is; false if there are none.
fn any(terms: impl Iterator<Item = String>) -> String {
    joined(terms, " || ", "false")
}

/// True if all of the terms are; false if there are none, because a selector without requirements matches nothing.
fn all(terms: impl Iterator<Item = String>) -> String {
    joined(terms, " && ", "false")
}

fn joined(terms: impl Iterator<Item = String>, operator: &str, of_none: &str) -> String {
    let terms: Vec<String> = terms.collect();
    match terms.as_slice() {
        [] => of_none.to_owned(),
        [only] => only.clone(),
        several => format!("({})", several.join(operator)),
    }
}

pub(super) fn list<T: AsRef<str>>(words: &[T]) -> String {
    format!("[{}]", words.iter().map(|word| quoted(word.as_ref())).collect::<Vec<_>>().join(", "))
}

/// A CEL string literal. CEL supports all of JSON's escapes
/// (<https://github.com/google/cel-spec/blob/master/doc/langdef.md#string-and-bytes-values>).
pub(super) fn quoted(word: &str) -> String {
    serde_json::Value::from(word).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(roles: &[&str], places: Vec<Place>, cluster_wide: bool) -> Reach {
        let roles = roles.iter().map(|role| role.parse().unwrap()).collect();
        Reach { roles, places, cluster_wide, ..Reach::default() }
    }

    #[test]
    fn an_empty_reach_is_false_and_not_an_empty_expression() {
        assert_eq!(binding_in_cluster(&[]), "false");
        assert_eq!(where_roles_are_made(&[reach(&["view"], vec![], true)]), "false");
        assert_eq!(binding_in_cluster(&[reach(&["role/local"], vec![], true)]), "false");
        assert_eq!(places(&reach(&["view"], vec![Place::Labels(vec![])], false)), "false");
    }

    #[test]
    fn the_gateway_is_bound_only_where_a_grant_may_be() {
        let wide = reach(&["nodes"], vec![], true);
        let narrow = reach(&["view"], vec![Place::Name("a".parse().unwrap())], false);
        let expression =
            |place: &str, wide| format!(r#"(request.resource.resource == "rolebindings" ? {place} : {wide})"#);
        let a = r#"request.namespace in ["a"]"#;
        assert_eq!(where_grants_are(&[]), expression("false", false));
        assert_eq!(where_grants_are(std::slice::from_ref(&narrow)), expression(a, false));
        assert_eq!(where_grants_are(&[narrow, wide]), expression(&format!("({a} || false)"), true));
    }

    #[test]
    fn each_role_is_allowed_only_in_the_places_of_its_own_rule() {
        let wide = reach(&["nodes"], vec![], true);
        let whole = reach(&["edit"], vec![Place::Name("whole".parse().unwrap())], false);
        let local =
            reach(&["view", "role/local"], vec![Place::Name("a".parse().unwrap()), Place::Glob("t-?*".into())], false);
        let local = Reach { makes_roles: true, ..local };
        assert_eq!(
            binding_in_cluster(&[local.clone(), wide.clone()]),
            r#"(object.roleRef.kind == "ClusterRole" && object.roleRef.name in ["nodes"])"#
        );
        let places = r#"(request.namespace in ["a"] || request.namespace.matches("^t\\-..*$"))"#;
        assert_eq!(where_roles_are_made(&[local.clone(), whole.clone(), wide.clone()]), places);
        let roles = r#"((object.roleRef.kind == "ClusterRole" && object.roleRef.name in ["view"]) || (object.roleRef.kind == "Role" && object.roleRef.name in ["local"]))"#;
        let own = r#"(object.roleRef.kind == "Role" && object.roleRef.name == object.metadata.name && "#;
        assert_eq!(binding_in_namespace(&[local, wide]), format!("(({roles} && {places}) || {own}{places}))"));
        let edit = r#"(object.roleRef.kind == "ClusterRole" && object.roleRef.name in ["edit"])"#;
        let given = format!(r#"(({edit} && request.namespace in ["whole"]) || {own}false))"#);
        assert_eq!(binding_in_namespace(&[whole]), given);
    }

    #[test]
    fn words_of_the_policy_never_become_code() {
        assert_eq!(quoted(r#"a"||true||""#), r#""a\"||true||\"""#);
        let place = Place::Labels(vec![Requirement::In("a\"]".into(), vec!["b\"".into()])]);
        let written = places(&reach(&["view"], vec![place], false));
        assert_eq!(written, r#"("a\"]" in variables.namespaceLabels && variables.namespaceLabels["a\"]"] in ["b\""])"#);
    }
}
