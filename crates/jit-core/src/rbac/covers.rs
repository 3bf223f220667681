//! Whether a ceiling of rules allows an asked rule, as Kubernetes itself decides it before it lets somebody
//! write a role (`k8s.io/component-helpers/auth/rbac/validation`, `Covers` and `ruleCovers`).
//!
//! Stricter in one point: a word with `*` may be asked only where the ceiling has the very same word, so that
//! nobody asks for more than they can read. The policy calls this for rules that are asked instead of a role.

use super::Rule;

/// More single permissions than this in one asked rule are not looked at, and so not covered.
const MOST: usize = 10_000;

/// Whether everything that `asked` allows is also allowed by `ceiling`. A rule that allows nothing is not
/// covered: there is nothing to ask for in it.
#[must_use]
pub fn covers(ceiling: &[Rule], asked: &Rule) -> bool {
    let names = asked.resource_names.len().max(1);
    let of_resources = [asked.api_groups.len(), asked.resources.len(), names]
        .iter()
        .fold(asked.verbs.len(), |product, count| product.saturating_mul(*count));
    let of_urls = asked.verbs.len().saturating_mul(asked.non_resource_urls.len());
    if !(1..=MOST).contains(&of_resources.saturating_add(of_urls)) || !is_whole(asked) {
        return false;
    }
    let resources = asked.verbs.iter().all(|verb| {
        asked.api_groups.iter().all(|group| {
            asked.resources.iter().all(|resource| {
                let covered = |name| ceiling.iter().any(|rule| covers_resource(rule, verb, group, resource, name));
                if asked.resource_names.is_empty() {
                    covered(None)
                } else {
                    asked.resource_names.iter().all(|name| covered(Some(name)))
                }
            })
        })
    });
    resources
        && asked.verbs.iter().all(|verb| {
            asked.non_resource_urls.iter().all(|url| ceiling.iter().any(|rule| covers_url(rule, verb, url)))
        })
}

/// Every list that is there says something: a group without a resource, or the other way round, would be
/// dropped without a word.
fn is_whole(asked: &Rule) -> bool {
    asked.api_groups.is_empty() == asked.resources.is_empty()
        && (asked.resource_names.is_empty() || !asked.resources.is_empty())
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

/// The word itself, or `*` for a word that is no pattern.
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

    /// As `Covers` of Kubernetes has it, with its own cases, and stricter with `*`.
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
            // Parts may be covered by different rules.
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
            // A `*` is asked only where the same stands in the ceiling.
            (&[rule(&["pods"], &["*"])], rule(&["pods"], &["*"]), true),
            (&[rule(&["pods"], &["get", "list", "watch"])], rule(&["pods"], &["*"]), false),
            (&[rule(&["*"], &["get"])], rule(&["*/log"], &["get"]), false),
            (&[rule(&["*"], &["get"])], rule(&["*"], &["get"]), true),
            (&[url(&["/logs/*"], &["get"])], url(&["/logs/a"], &["get"]), true),
            (&[url(&["/logs/*"], &["get"])], url(&["/metrics"], &["get"]), false),
            (&[url(&["*"], &["get"])], url(&["/metrics"], &["get"]), true),
            (&[url(&["*"], &["get"])], url(&["/logs/*"], &["get"]), false),
            // Nothing to ask for.
            (&[rule(&["*"], &["*"])], rule(&[], &["get"]), false),
            (&[rule(&["*"], &["*"])], rule(&["pods"], &[]), false),
        ];
        for (number, (ceiling, asked, covered)) in table.iter().enumerate() {
            assert_eq!(covers(ceiling, asked), *covered, "{number}: {ceiling:?} {asked:?}");
        }
        let many: Vec<String> = (0..500).map(|number| format!("r{number}")).collect();
        let huge = Rule { api_groups: many.clone(), resources: many.clone(), verbs: many, ..Rule::default() };
        assert!(!covers(&[any_group(rule(&["*"], &["*"]))], &huge), "too many to look at is not covered");
    }
}
