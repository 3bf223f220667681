//! The rules, roles and tests that are suggested, and whether the policy engine accepts them.
//!
//! Each rule is read and tested as `jitd` reads and tests it, with the guardrails in force: what they refuse is reported and
//! not written. `suggest.rs` calls it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use jit_core::grant::policy::Policy;
use jit_core::grant::request::{ClusterName, Namespaces, PersonName};
use jit_core::rbac::Rule;
use jit_host::escape::escaped;
use serde::Serialize;

use super::{NoSuggestion, Place, Taken, Terms, Wanted, WantedRole, object, role_word, slug};
use crate::access::{Access, Holding};
use crate::finding::{Kind, Subject};

/// A rule of the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suggested {
    /// Its name.
    pub name: String,
    /// The group whose members request.
    pub who: String,
    /// The role, as a policy names it.
    pub role: String,
    /// Where it may be requested.
    pub places: BTreeSet<Place>,
    /// The rules of the role.
    pub rules: Vec<Rule>,
    /// What it replaces, a line for each grant.
    pub replaces: Vec<String>,
}

/// A ClusterRole that has to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRole {
    /// `metadata.name`.
    pub name: String,
    /// Its rules.
    pub rules: Vec<Rule>,
    /// The role that it is narrower than.
    pub instead_of: String,
}

impl NewRole {
    /// The ClusterRole as a YAML document.
    #[must_use]
    pub fn yaml(&self) -> String {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Form<'a> {
            api_version: &'static str,
            kind: &'static str,
            metadata: Metadata<'a>,
            rules: &'a [Rule],
        }
        #[derive(Serialize)]
        struct Metadata<'a> {
            name: &'a str,
        }
        let form = Form {
            api_version: "rbac.authorization.k8s.io/v1",
            kind: "ClusterRole",
            metadata: Metadata { name: &self.name },
            rules: &self.rules,
        };
        format!("---\n# what was used of {}\n{}", escaped(&self.instead_of), yaml(&form))
    }
}

/// The rules before anybody has looked at them.
pub(super) struct Draft<'a> {
    access: &'a Access<'a>,
    terms: &'a Terms,
    longest: &'static str,
    groups: HashMap<&'a Subject, Result<String, String>>,
    group_names: Taken,
    rule_names: Taken,
    role_names: Taken,
    rules: Vec<Suggested>,
    /// By group, role, and the namespace if the role is one of a namespace.
    numbers: HashMap<(String, String, Option<String>), usize>,
    roles: Vec<NewRole>,
    /// By group and rules: its name.
    narrower: BTreeMap<(String, Vec<Rule>), String>,
}

/// A request that was added to the draft.
pub(super) enum Asked {
    /// The rule, and the places that matter.
    Rule(usize, BTreeSet<Place>),
    /// Nobody can request it.
    Impossible(String),
}

/// What is left of a draft.
pub(super) struct Accepted {
    pub(super) rules: Vec<Suggested>,
    pub(super) roles: Vec<NewRole>,
    pub(super) groups: BTreeMap<String, Subject>,
    pub(super) text: String,
    pub(super) tests: usize,
    /// By rule of the draft.
    verdicts: Vec<Verdict>,
}

#[derive(Default)]
struct Verdict {
    /// The rule's name, if anything of it is accepted.
    name: Option<String>,
    refused: BTreeMap<Place, String>,
}

/// What `jitd` reads of a policy, in bytes, less the heading and one test.
const LARGEST: usize = (1 << 20) - (8 << 10);
/// The windows that are tried, for guardrails can forbid a long one.
const WINDOWS: [&str; 5] = ["1h", "30m", "15m", "5m", "1m"];

impl<'a> Draft<'a> {
    /// An empty draft.
    pub(super) fn new(access: &'a Access<'_>, terms: &'a Terms) -> Result<Self, NoSuggestion> {
        let guardrails = terms.guardrails.as_deref();
        Policy::read("rules: []\n", guardrails).map_err(|faults| NoSuggestion::Guardrails { faults })?;
        let is_allowed = |window: &&'static str| {
            let rule = RuleForm {
                name: "window",
                who: &["window"],
                clusters: &[&terms.cluster],
                namespaces: vec!["default"],
                cluster_wide: false,
                roles: &["window"],
                max_duration: window,
                approval: [StepForm { groups: &terms.approvers }],
            };
            let read = Policy::read(&format!("rules:\n{}", yaml(&[rule])), guardrails);
            !read.is_err_and(|faults| faults.iter().any(|fault| fault.path.ends_with("maxDuration")))
        };
        let longest = WINDOWS.iter().find(|window| is_allowed(window)).unwrap_or(&"1m");
        let mut draft = Self {
            access,
            terms,
            longest,
            groups: HashMap::new(),
            group_names: Taken::default(),
            rule_names: Taken::default(),
            role_names: Taken::default(),
            rules: Vec::new(),
            numbers: HashMap::new(),
            roles: Vec::new(),
            narrower: BTreeMap::new(),
        };
        for subject in access.subjects().iter().filter(|subject| subject.kind == Kind::Group) {
            draft.group_names.give(&subject.name);
        }
        Ok(draft)
    }

    /// Adds a request to the draft.
    pub(super) fn ask(&mut self, holding: &Holding<'a>, wanted: Wanted) -> Asked {
        let who = match self.group(holding.through) {
            Ok(who) => who,
            Err(why) => return Asked::Impossible(why),
        };
        let Wanted { role, rules, places } = wanted;
        let held = role_word(&holding.binding.role);
        let (role, is_new) = match role {
            WantedRole::Held => (held.clone(), false),
            WantedRole::Narrower { cluster } => (self.narrower(&who, &held, cluster, &rules), true),
        };
        // A Role is another one in each namespace.
        let home = role.starts_with("role/").then(|| holding.namespace().unwrap_or_default().to_owned());
        let number = match self.numbers.get(&(who.clone(), role.clone(), home.clone())) {
            Some(number) => *number,
            None => {
                let wanted = match &home {
                    _ if is_new => role.clone(),
                    Some(home) => format!("{}-{}", slug(&who), slug(&format!("{home}-{}", holding.binding.role.name))),
                    None => format!("{}-{}", slug(&who), slug(&role)),
                };
                let name = self.rule_names.give(&wanted);
                let rule = Suggested {
                    name,
                    who: who.clone(),
                    role: role.clone(),
                    places: BTreeSet::new(),
                    rules,
                    replaces: Vec::new(),
                };
                self.rules.push(rule);
                let number = self.rules.len() - 1;
                self.numbers.insert((who, role, home), number);
                number
            }
        };
        if let Some(rule) = self.rules.get_mut(number) {
            rule.places.extend(places.iter().cloned());
            rule.replaces.push(format!("{}, {held} to {}", object(&holding.binding.name), holding.through));
        }
        // A request for any single namespace is an offer besides: it is part of the whole cluster.
        let needed = places.into_iter().filter(|place| *place != Place::AnyNamespace).collect();
        Asked::Rule(number, needed)
    }

    /// The group that stands for a subject in the policy.
    fn group(&mut self, subject: &'a Subject) -> Result<String, String> {
        if let Some(known) = self.groups.get(subject) {
            return known.clone();
        }
        let is_name = |name: &str| {
            name.trim() == name && (1..=MOST_OF_A_GROUP).contains(&name.chars().count()) && escaped(name) == name
        };
        let group = if !is_name(&subject.name) {
            Err("no group of the bastion can have this name: bind one that can, and scan again".to_owned())
        } else if subject.kind == Kind::Group {
            Ok(subject.name.clone())
        } else if self.group_names.is_taken(&subject.name) {
            Ok(self.group_names.give(&format!("user-{}", subject.name)))
        } else {
            Ok(self.group_names.give(&subject.name))
        };
        self.groups.insert(subject, group.clone());
        group
    }

    /// The name of a new role with these rules; the same for the same person and the same rules.
    fn narrower(&mut self, who: &str, held: &str, cluster: bool, rules: &[Rule]) -> String {
        let key = (who.to_owned(), rules.to_vec());
        if let Some(name) = self.narrower.get(&key) {
            return name.clone();
        }
        let roles = &self.access.snapshot().roles;
        let suffix = if cluster { "-cluster" } else { "" };
        let wanted = format!("{}-{}{suffix}", slug(who), slug(held.trim_start_matches("role/")));
        let name = loop {
            let name = self.role_names.give(&wanted);
            let existing = roles.iter().find(|role| role.name.namespace.is_none() && role.name.name == name);
            // It has been created from an earlier suggestion.
            let is_same = |role: &crate::snapshot::Role| role.aggregates.is_none() && role.rules == rules;
            if existing.is_none_or(is_same) {
                break name;
            }
        };
        self.roles.push(NewRole { name: name.clone(), rules: rules.to_vec(), instead_of: held.to_owned() });
        self.narrower.insert(key, name.clone());
        name
    }

    /// Lets the policy engine judge each rule, and then all that are accepted together.
    pub(super) fn verify(self) -> Result<Accepted, NoSuggestion> {
        let mut verdicts: Vec<Verdict> = Vec::new();
        let mut accepted: Vec<Suggested> = Vec::new();
        let (mut size, mut is_full) = (0, false);
        for rule in &self.rules {
            let mut verdict = Verdict::default();
            let mut rule = rule.clone();
            if let Err(why) = self.passes(&rule) {
                // One place may be refused and the others not.
                let places = std::mem::take(&mut rule.places);
                for place in &places {
                    let alone = Suggested { places: BTreeSet::from([place.clone()]), ..rule.clone() };
                    let refused = if places.len() == 1 { Err(why.clone()) } else { self.passes(&alone) };
                    match refused {
                        Ok(()) => drop(rule.places.insert(place.clone())),
                        Err(why) => drop(verdict.refused.insert(place.clone(), why)),
                    }
                }
            }
            let (text, tests) = (self.rule_text(&rule), self.tests(&rule));
            let length = text.len() + tests.iter().map(String::len).sum::<usize>();
            is_full |= size + length > LARGEST;
            if is_full {
                let why = "the policy would be too long: carry this plan out, and scan again".to_owned();
                verdict.refused = self.all_refused(&rule, &verdict, &why);
            } else if !rule.places.is_empty() {
                size += length;
                verdict.name = Some(rule.name.clone());
                accepted.push(rule);
            }
            verdicts.push(verdict);
        }
        let (text, tests) = self.text(&accepted);
        let wrong = |why: String| NoSuggestion::Contradiction { why };
        self.judge(&text).map_err(wrong)?;
        let names: HashSet<&str> = accepted.iter().map(|rule| rule.role.as_str()).collect();
        let roles = self.roles.into_iter().filter(|role| names.contains(role.name.as_str())).collect();
        let named = |(subject, group): (&Subject, Result<String, String>)| Some((group.ok()?, subject.clone()));
        let mut groups: BTreeMap<String, Subject> = self.groups.into_iter().filter_map(named).collect();
        groups.retain(|group, _| accepted.iter().any(|rule| rule.who == *group));
        Ok(Accepted { rules: accepted, roles, groups, text, tests, verdicts })
    }

    fn all_refused(&self, rule: &Suggested, verdict: &Verdict, why: &str) -> BTreeMap<Place, String> {
        let mut refused = verdict.refused.clone();
        refused.extend(rule.places.iter().map(|place| (place.clone(), why.to_owned())));
        refused
    }

    /// Whether a policy with only this rule is valid, and passes the tests of the rule.
    fn passes(&self, rule: &Suggested) -> Result<(), String> {
        self.judge(&self.text(std::slice::from_ref(rule)).0)
    }

    fn judge(&self, text: &str) -> Result<(), String> {
        let policy = Policy::read(text, self.terms.guardrails.as_deref())
            .map_err(|faults| faults.first().map(|fault| fault.why.clone()).unwrap_or_default())?;
        match policy.cases().iter().map(|case| case.test(&policy)).find(|tested| !tested.passed) {
            None => Ok(()),
            Some(failed) => Err(failed.came.says.first().cloned().unwrap_or_else(|| failed.came.to_string())),
        }
    }

    /// The whole file, and how many tests it has.
    fn text(&self, rules: &[Suggested]) -> (String, usize) {
        let mut text = format!("{HEADING}rules:{}\n", if rules.is_empty() { " []" } else { "" });
        text.extend(rules.iter().map(|rule| self.rule_text(rule)));
        let mut tests: Vec<String> = rules.iter().flat_map(|rule| self.tests(rule)).collect();
        tests.extend(rules.first().map(|rule| self.nobody_else(rule)));
        if !tests.is_empty() {
            text.push_str("tests:\n");
        }
        text.extend(tests.iter().map(String::as_str));
        (text, tests.len())
    }

    fn rule_text(&self, rule: &Suggested) -> String {
        let clusters = [&self.terms.cluster];
        let cluster_wide = rule.places.contains(&Place::Cluster);
        let namespaces = match rule.places.contains(&Place::AnyNamespace) {
            true => vec!["*"],
            false => namespaces(rule),
        };
        let form = RuleForm {
            name: &rule.name,
            who: &[&rule.who],
            clusters: &clusters,
            namespaces,
            cluster_wide,
            roles: &[&rule.role],
            max_duration: self.longest,
            approval: [StepForm { groups: &self.terms.approvers }],
        };
        let comments = rule.replaces.iter().map(|line| format!("# instead of {}\n", escaped(line)));
        comments.chain([yaml(&[form])]).collect()
    }

    fn tests(&self, rule: &Suggested) -> Vec<String> {
        let mut tests = Vec::new();
        let inside = namespaces(rule);
        if !inside.is_empty() {
            let inside: Vec<&str> = inside.into_iter().take(Namespaces::MOST).collect();
            tests.push(self.test(rule, "in its namespaces", Some(inside)));
        }
        if rule.places.contains(&Place::AnyNamespace) {
            tests.push(self.test(rule, "in a namespace", Some(vec!["default"])));
        }
        if rule.places.contains(&Place::Cluster) {
            tests.push(self.test(rule, "in the whole cluster", None));
        }
        tests
    }

    fn test(&self, rule: &Suggested, what: &str, namespaces: Option<Vec<&str>>) -> String {
        let person = PersonName::of_account(rule.who.as_bytes());
        let form = TestForm {
            name: &format!("{} {what}", rule.name),
            person: person.as_ref().map_or("somebody", PersonName::as_str),
            groups: &[&rule.who],
            ask: self.asked(rule, namespaces),
            role_rules: &rule.rules,
            outcome: "ask",
            rule: Some(&rule.name),
        };
        yaml(&[form])
    }

    /// The same request by somebody in no group.
    fn nobody_else(&self, rule: &Suggested) -> String {
        let namespaces = namespaces(rule).into_iter().next().map(|namespace| vec![namespace]);
        let form = TestForm {
            name: "nobody else gets it",
            person: "somebody",
            groups: &[],
            ask: self.asked(rule, namespaces),
            role_rules: &rule.rules,
            outcome: "deny",
            rule: None,
        };
        yaml(&[form])
    }

    fn asked<'f>(&'f self, rule: &'f Suggested, namespaces: Option<Vec<&'f str>>) -> AskForm<'f> {
        AskForm {
            cluster: &self.terms.cluster,
            cluster_wide: namespaces.is_none(),
            namespaces: namespaces.unwrap_or_default(),
            role: &rule.role,
            window: self.longest,
            reason: "instead of a standing grant",
        }
    }
}

impl Accepted {
    /// The rule by which it can be requested, at least in some of its places.
    pub(super) fn name(&self, asked: &Asked) -> Option<&str> {
        let Asked::Rule(number, places) = asked else { return None };
        let verdict = self.verdicts.get(*number)?;
        let is_somewhere = places.iter().any(|place| !verdict.refused.contains_key(place));
        verdict.name.as_deref().filter(|_| is_somewhere)
    }

    /// Why it cannot be requested in all of its places.
    pub(super) fn refusal(&self, asked: &Asked) -> Option<String> {
        match asked {
            Asked::Impossible(why) => Some(why.clone()),
            Asked::Rule(number, places) => {
                let refused = &self.verdicts.get(*number)?.refused;
                places.iter().find_map(|place| Some(format!("{place}: {}", refused.get(place)?)))
            }
        }
    }
}

fn namespaces(rule: &Suggested) -> Vec<&str> {
    rule.places
        .iter()
        .filter_map(|place| match place {
            Place::Namespace(name) => Some(name.as_str()),
            Place::Cluster | Place::AnyNamespace => None,
        })
        .collect()
}

const HEADING: &str = "\
# Suggested by `jitd scan --suggest`: requests instead of standing grants. Each rule names one group of the bastion or of
# `people:` in config.yaml; that of a user has to contain only that user. Add rules and tests to your own policy.
";

/// The limit for the name of a group in a policy, in characters.
const MOST_OF_A_GROUP: usize = 100;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RuleForm<'a> {
    name: &'a str,
    who: &'a [&'a str],
    clusters: &'a [&'a ClusterName],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    namespaces: Vec<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    cluster_wide: bool,
    roles: &'a [&'a str],
    max_duration: &'a str,
    approval: [StepForm<'a>; 1],
}

#[derive(Serialize)]
struct StepForm<'a> {
    groups: &'a [String],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TestForm<'a> {
    name: &'a str,
    person: &'a str,
    groups: &'a [&'a str],
    ask: AskForm<'a>,
    role_rules: &'a [Rule],
    outcome: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AskForm<'a> {
    cluster: &'a ClusterName,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    namespaces: Vec<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    cluster_wide: bool,
    role: &'a str,
    #[serde(rename = "for")]
    window: &'a str,
    reason: &'a str,
}

/// YAML in which every parser reads the same strings.
pub(super) fn yaml(value: &impl Serialize) -> String {
    let mut options = serde_saphyr::SerializerOptions::default();
    options.prefer_block_scalars = false;
    // Maps, lists and texts always serialize. If they did not, the policy engine would refuse the rest.
    serde_saphyr::to_string_with_options(value, options).unwrap_or_default()
}
