//! Whether a ceiling of rules allows a requested rule, decided as Kubernetes decides whether somebody may write a role
//! (`k8s.io/component-helpers/auth/rbac/validation`, `Covers` and `ruleCovers`).
//!
//! Stricter in one point: a word with `*` may be requested only if the ceiling contains the same word, so that nobody
//! requests more than they can read. The policy calls this for requests that list rules instead of naming a role.

use super::Rule;

/// The limit for the single permissions in one requested rule. A rule with more is not examined, and so not covered.
const MOST: usize = 10_000;

/// Whether `ceiling` allows everything that `requested` allows. A rule that allows nothing is not covered, because it
/// requests nothing.
#[must_use]
pub fn covers(ceiling: &[Rule], requested: &Rule) -> bool {
    let names = requested.resource_names.len().max(1);
    let of_resources = [requested.api_groups.len(), requested.resources.len(), names]
        .iter()
        .fold(requested.verbs.len(), |product, count| product.saturating_mul(*count));
    let of_urls = requested.verbs.len().saturating_mul(requested.non_resource_urls.len());
    if !(1..=MOST).contains(&of_resources.saturating_add(of_urls)) || !is_whole(requested) {
        return false;
    }
    let resources = requested.verbs.iter().all(|verb| {
        requested.api_groups.iter().all(|group| {
            requested.resources.iter().all(|resource| {
                let covered = |name| ceiling.iter().any(|rule| covers_resource(rule, verb, group, resource, name));
                if requested.resource_names.is_empty() {
                    covered(None)
                } else {
                    requested.resource_names.iter().all(|name| covered(Some(name)))
                }
            })
        })
    });
    resources
        && requested.verbs.iter().all(|verb| {
            requested.non_resource_urls.iter().all(|url| ceiling.iter().any(|rule| covers_url(rule, verb, url)))
        })
}

/// Whether every list has an effect: Kubernetes would silently ignore a group without a resource, or the reverse.
fn is_whole(requested: &Rule) -> bool {
    requested.api_groups.is_empty() == requested.resources.is_empty()
        && (requested.resource_names.is_empty() || !requested.resources.is_empty())
}

fn covers_resource(rule: &Rule, verb: &String, group: &String, resource: &String, name: Option<&String>) -> bool {
    let subresource = || resource.split_once('/').is_some_and(|(_, sub)| rule.resources.contains(&format!("*/{sub}")));
    holds(&rule.verbs, verb)
        && holds(&rule.api_groups, group)
        && (holds(&rule.resources, resource) || !resource.contains('*') && subresource())
        && (rule.resource_names.is_empty() || name.is_some_and(|name| rule.resource_names.contains(name)))
}

fn covers_url(rule: &Rule, verb: &String, url: &String) -> bool {
    let below =
        |wide: &String| wide.strip_suffix('*').is_some_and(|start| url.starts_with(start.trim_end_matches('*')));
    holds(&rule.verbs, verb)
        && (rule.non_resource_urls.contains(url) || !url.contains('*') && rule.non_resource_urls.iter().any(below))
}

/// Whether `words` contains the word itself, or `*` if the word is not a pattern.
fn holds(words: &[String], word: &String) -> bool {
    words.contains(word) || !word.contains('*') && words.iter().any(|word| word == "*")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(resources: &[&str], verbs: &[&str]) -> Rule {
        let words = |words: &[&str]| words.iter().map(ToString::to_string).collect();
        Rule { api_groups: vec![String::new()], resources: words(resources), verbs: words(verbs), ..Rule::default() }
    }

    /// The cases of Kubernetes' `Covers`, and ours for `*`, which are stricter.
    #[test]
    fn a_ceiling_covers_what_lies_below_it() {
        let named = |rule: Rule, names: &[&str]| Rule {
            resource_names: names.iter().map(ToString::to_string).collect(),
            ..rule
        };
        let url = |urls: &[&str], verbs: &[&str]| Rule {
            non_resource_urls: urls.iter().map(ToString::to_string).collect(),
            verbs: verbs.iter().map(ToString::to_string).collect(),
            ..Rule::default()
        };
        let any_group = |rule: Rule| Rule { api_groups: vec!["*".to_owned()], ..rule };
        let table: &[(&[Rule], Rule, bool)] = &[
            (&[], rule(&["pods"], &["get"]), false),
            (&[rule(&["pods"], &["get"])], rule(&["pods"], &["get"]), true),
            (&[rule(&["pods"], &["get"])], rule(&["pods"], &["get", "list"]), false),
            (&[rule(&["pods"], &["get"])], rule(&["pods/log"], &["get"]), false),
            // Different rules may cover different parts.
            (&[rule(&["pods"], &["get"]), rule(&["pods"], &["list"])], rule(&["pods"], &["get", "list"]), true),
            (&[rule(&["pods"], &["get"]), rule(&["secrets"], &["list"])], rule(&["pods", "secrets"], &["get"]), false),
            (&[rule(&["pods"], &["*"])], rule(&["pods"], &["delete"]), true),
            (&[rule(&["*"], &["get"])], rule(&["pods", "pods/log"], &["get"]), true),
            (&[rule(&["*/log"], &["get"])], rule(&["pods/log"], &["get"]), true),
            (&[rule(&["*/log"], &["get"])], rule(&["pods"], &["get"]), false),
            (&[rule(&["pods/*"], &["get"])], rule(&["pods/log"], &["get"]), false),
            (&[any_group(rule(&["pods"], &["get"]))], rule(&["pods"], &["get"]), true),
            (&[rule(&["pods"], &["get"])], any_group(rule(&["pods"], &["get"])), false),
            (&[named(rule(&["pods"], &["get"]), &["a", "b"])], named(rule(&["pods"], &["get"]), &["a"]), true),
            (&[named(rule(&["pods"], &["get"]), &["a"])], named(rule(&["pods"], &["get"]), &["a", "b"]), false),
            (
                &[named(rule(&["pods"], &["get"]), &["a"]), named(rule(&["pods"], &["get"]), &["b"])],
                named(rule(&["pods"], &["get"]), &["a", "b"]),
                true,
            ),
            (&[named(rule(&["pods"], &["get"]), &["a"])], rule(&["pods"], &["get"]), false),
            (&[rule(&["pods"], &["get"])], named(rule(&["pods"], &["get"]), &["a"]), true),
            // A `*` may be requested only if the ceiling contains the same word.
            (&[rule(&["pods"], &["*"])], rule(&["pods"], &["*"]), true),
            (&[rule(&["pods"], &["get", "list", "watch"])], rule(&["pods"], &["*"]), false),
            (&[rule(&["*"], &["get"])], rule(&["*/log"], &["get"]), false),
            (&[rule(&["*"], &["get"])], rule(&["*"], &["get"]), true),
            (&[url(&["/logs/*"], &["get"])], url(&["/logs/a"], &["get"]), true),
            (&[url(&["/logs/*"], &["get"])], url(&["/metrics"], &["get"]), false),
            (&[url(&["*"], &["get"])], url(&["/metrics"], &["get"]), true),
            (&[url(&["*"], &["get"])], url(&["/logs/*"], &["get"]), false),
            // These request nothing.
            (&[rule(&["*"], &["*"])], rule(&[], &["get"]), false),
            (&[rule(&["*"], &["*"])], rule(&["pods"], &[]), false),
        ];
        for (number, (ceiling, requested, covered)) in table.iter().enumerate() {
            assert_eq!(covers(ceiling, requested), *covered, "{number}: {ceiling:?} {requested:?}");
        }
        let many: Vec<String> = (0..500).map(|number| format!("r{number}")).collect();
        let huge = Rule { api_groups: many.clone(), resources: many.clone(), verbs: many, ..Rule::default() };
        assert!(!covers(&[any_group(rule(&["*"], &["*"]))], &huge), "a rule with too many permissions is not covered");
    }
}
