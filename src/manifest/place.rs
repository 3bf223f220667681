//! Where a rule of the policy reaches, as an admission policy's CEL says it: exact names, globs, and
//! selectors of the namespace's labels.
//!
//! Pure text; it must never let a word of the policy become code, so each is written as a quoted string.
//! `fence` puts the expressions together.

use crate::grant::policy::{NamespacePattern, Requirement};
use crate::grant::request::{Namespace, RoleRef};
use crate::rbac::role::Rule;

/// What one rule gives in one cluster: each of the roles in each of the places.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// The rule's name.
    pub rule: String,
    /// The roles.
    pub roles: Vec<RoleRef>,
    /// The namespaces.
    pub places: Vec<Place>,
    /// Whether it also gives the roles in the whole cluster.
    pub cluster_wide: bool,
    /// What exact rules may be made of.
    pub ceiling: Vec<Rule>,
    /// Whether a role may be cut down to some of its rules.
    pub narrow: bool,
    /// Whether a grant may own a role, by one of these two.
    pub makes_roles: bool,
}

impl Reach {
    /// Its namespaces that have a name here.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Namespace> {
        self.places.iter().filter_map(|place| match place {
            Place::Name(name) => Some(name),
            Place::Glob(_) | Place::Labels(_) => None,
        })
    }

    /// Whether it has namespaces that only the cluster knows.
    pub(super) fn is_open(&self) -> bool {
        self.names().count() < self.places.len()
    }
}

/// One or more namespaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The namespace of this name.
    Name(Namespace),
    /// Every namespace whose name fits: `*` stands for any characters, `?` for one.
    Glob(String),
    /// Every namespace whose labels meet all of these.
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

/// Whether a binding that is made in a namespace is within one of the reaches. A role that is named like its
/// binding is one that a grant owns.
pub(super) fn binding_in_namespace(reaches: &[Reach]) -> String {
    let own = format!(
        "(object.roleRef.kind == \"Role\" && object.roleRef.name == object.metadata.name && {})",
        where_roles_are_made(reaches)
    );
    let given = reaches.iter().filter(|reach| !reach.places.is_empty());
    let given = given.map(|reach| format!("({} && {})", role(&reach.roles, &["ClusterRole", "Role"]), places(reach)));
    any(given.chain([own]))
}

/// Whether a binding that is made in the whole cluster is within one of the reaches.
pub(super) fn binding_in_cluster(reaches: &[Reach]) -> String {
    any(reaches.iter().filter(|reach| reach.cluster_wide).map(|reach| role(&reach.roles, &["ClusterRole"])))
}

/// Whether the namespace of the request is one in which a grant may own a role.
pub(super) fn where_roles_are_made(reaches: &[Reach]) -> String {
    any(reaches.iter().filter(|reach| reach.makes_roles).map(places))
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

/// As an RE2 expression for the whole name (<https://github.com/google/re2/wiki/Syntax>).
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

/// True when one of them is; nothing is true of none.
fn any(terms: impl Iterator<Item = String>) -> String {
    joined(terms, " || ", "false")
}

/// True when all of them are. No requirement is no selector, and so fits nothing.
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

/// A CEL string. JSON's escapes are all among CEL's
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
    fn nothing_given_is_false_and_not_an_empty_expression() {
        assert_eq!(binding_in_cluster(&[]), "false");
        assert_eq!(where_roles_are_made(&[reach(&["view"], vec![], true)]), "false");
        assert_eq!(binding_in_cluster(&[reach(&["role/local"], vec![], true)]), "false");
        assert_eq!(places(&reach(&["view"], vec![Place::Labels(vec![])], false)), "false");
    }

    #[test]
    fn each_role_stays_with_the_places_of_its_own_rule() {
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
    fn words_of_the_policy_stay_words() {
        assert_eq!(quoted(r#"a"||true||""#), r#""a\"||true||\"""#);
        let place = Place::Labels(vec![Requirement::In("a\"]".into(), vec!["b\"".into()])]);
        let written = places(&reach(&["view"], vec![place], false));
        assert_eq!(written, r#"("a\"]" in variables.namespaceLabels && variables.namespaceLabels["a\"]"] in ["b\""])"#);
    }
}
