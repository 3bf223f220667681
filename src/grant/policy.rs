//! Who may ask for what, and who has to agree: one pure decision that says which rule made it.
//!
//! Default deny. The first rule that fits decides; when none fits, the answer names the rule that came
//! nearest and what kept it from fitting. Nothing here reads a clock, a file or the network.

use regex::Regex;
use serde::{Deserialize, Serialize};

use super::refusal::{Code, Refusal};
use super::request::{Ask, ClusterName, Namespace, Person, RoleRef, Scope, Window};

/// `policy.yaml` as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicyFile {
    /// The rules, in the order in which they are tried.
    pub rules: Vec<RuleFile>,
}

/// One rule as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RuleFile {
    /// A name that people will read in every decision.
    pub name: String,
    /// Groups, any of which may ask.
    pub who: Vec<String>,
    /// Clusters it is for.
    pub clusters: Vec<ClusterName>,
    /// Namespaces it is for.
    #[serde(default)]
    pub namespaces: Vec<Namespace>,
    /// Whether it also gives the roles in the whole cluster.
    #[serde(default)]
    pub cluster_wide: bool,
    /// Roles it gives.
    pub roles: Vec<RoleRef>,
    /// The longest window.
    pub max_duration: Window,
    /// A regular expression that the reason must match.
    #[serde(default)]
    pub reason: Option<String>,
    /// Who has to agree.
    pub approvers: Quorum,
}

/// Who has to agree: `count` people, each in one of `groups`, none of them the requester.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quorum {
    /// Groups whose members may agree.
    pub groups: Vec<String>,
    /// How many have to.
    #[serde(default = "one")]
    pub count: u32,
}

fn one() -> u32 {
    1
}

/// The policy in force.
#[derive(Clone, Debug)]
pub struct Policy {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    written: RuleFile,
    reason: Option<Regex>,
}

/// Something in `policy.yaml` that can't be meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("rule `{rule}`: {why}")]
pub struct Fault {
    /// The rule's name, or its number where it has none.
    pub rule: String,
    /// What is wrong and what would be right.
    pub why: String,
}

impl Policy {
    /// The policy that a file means.
    ///
    /// # Errors
    /// Every fault of the file, all at once.
    pub fn new(file: PolicyFile) -> Result<Self, Vec<Fault>> {
        let mut faults = Vec::new();
        let mut seen = std::collections::BTreeSet::new();
        let mut rules = Vec::with_capacity(file.rules.len());
        for (number, written) in file.rules.into_iter().enumerate() {
            let rule = if written.name.is_empty() { format!("number {}", number + 1) } else { written.name.clone() };
            let mut fault = |why: &str| faults.push(Fault { rule: rule.clone(), why: why.to_owned() });
            if written.name.is_empty() || written.name.len() > 80 || written.name.chars().any(char::is_control) {
                fault("hint: give it a `name` of 1 to 80 printable characters");
            }
            if !seen.insert(written.name.clone()) {
                fault("another rule has this name; hint: rename one, decisions are told by name");
            }
            for (what, empty) in [
                ("who", written.who.is_empty()),
                ("clusters", written.clusters.is_empty()),
                ("roles", written.roles.is_empty()),
                ("approvers.groups", written.approvers.groups.is_empty()),
            ] {
                if empty {
                    fault(&format!("`{what}` is empty, so the rule can never be used; hint: name at least one"));
                }
            }
            if written.namespaces.is_empty() && !written.cluster_wide {
                fault("gives no namespace; hint: name some under `namespaces`, or set `clusterWide: true`");
            }
            if written.cluster_wide && written.roles.iter().any(|role| matches!(role, RoleRef::Role(_))) {
                fault("`clusterWide` with a role/NAME: a Role exists only in its namespace; hint: use a ClusterRole");
            }
            if !(1..=10).contains(&written.approvers.count) {
                fault("`approvers.count` is between 1 and 10");
            }
            let reason = match written.reason.as_deref().map(Regex::new).transpose() {
                Ok(reason) => reason,
                Err(error) => {
                    fault(&format!("`reason` is no regular expression: {error}"));
                    None
                }
            };
            rules.push(Rule { written, reason });
        }
        if faults.is_empty() { Ok(Self { rules }) } else { Err(faults) }
    }

    /// Every role that some rule gives in `cluster`, without repeats, in the order of the file.
    #[must_use]
    pub fn roles(&self, cluster: &ClusterName) -> Vec<RoleRef> {
        let mut roles: Vec<RoleRef> = Vec::new();
        for rule in self.rules.iter().filter(|rule| rule.written.clusters.contains(cluster)) {
            for role in &rule.written.roles {
                if !roles.contains(role) {
                    roles.push(role.clone());
                }
            }
        }
        roles
    }

    /// Every cluster that some rule names.
    pub fn clusters(&self) -> impl Iterator<Item = &ClusterName> {
        self.rules.iter().flat_map(|rule| &rule.written.clusters)
    }

    /// How many rules there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there is no rule, so that everything is denied.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}

/// What the policy says to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Decision {
    /// It may be asked; these people have to agree.
    Ask {
        /// The rule that decided.
        rule: String,
        /// Who has to agree.
        quorum: Quorum,
    },
    /// It may not.
    Deny(Denial),
}

/// Why the policy says no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// The rule that came nearest, if one is about this person at all.
    pub nearest: Option<String>,
    /// What kept it from fitting, a sentence each.
    pub missing: Vec<String>,
}

impl Denial {
    /// The refusal that the requester reads.
    #[must_use]
    pub fn refusal(&self) -> Refusal {
        match &self.nearest {
            None => Refusal::new(Code::PolicyDenied, self.missing.join("; "))
                .hint("`jit-login whoami` shows your groups; ask your platform team for a rule"),
            Some(rule) => Refusal::new(
                Code::PolicyDenied,
                format!("no rule gives this; `{rule}` comes nearest, but {}", self.missing.join(", ")),
            )
            .hint("nothing was asked of anyone; change the request, or ask your platform team for a rule"),
        }
    }
}

/// Decides whether `requester` may ask for this, and who has to agree.
pub fn decide(policy: &Policy, requester: &Person, ask: &Ask) -> Decision {
    let mut nearest: Option<(&Rule, Vec<String>)> = None;
    for rule in &policy.rules {
        if !requester.is_in_any(&rule.written.who) {
            continue;
        }
        let missing = rule.missing(ask);
        if missing.is_empty() {
            return Decision::Ask { rule: rule.written.name.clone(), quorum: rule.written.approvers.clone() };
        }
        if nearest.as_ref().is_none_or(|(_, fewest)| missing.len() < fewest.len()) {
            nearest = Some((rule, missing));
        }
    }
    Decision::Deny(match nearest {
        Some((rule, missing)) => Denial { nearest: Some(rule.written.name.clone()), missing },
        None => Denial { nearest: None, missing: vec![format!("no rule is for any group of `{}`", requester.name)] },
    })
}

impl Rule {
    /// What keeps this rule from fitting; the place first, for that is what people get wrong.
    fn missing(&self, ask: &Ask) -> Vec<String> {
        let mut missing = Vec::new();
        let written = &self.written;
        if !written.clusters.contains(&ask.cluster) {
            missing.push(format!("is not for cluster `{}` (only {})", ask.cluster, listed(&written.clusters)));
        }
        match &ask.scope {
            Scope::Namespace(namespace) if !written.namespaces.contains(namespace) => missing.push(format!(
                "is not for namespace `{namespace}` (only {})",
                if written.namespaces.is_empty() {
                    "the whole cluster".to_owned()
                } else {
                    listed(&written.namespaces)
                }
            )),
            Scope::Cluster if !written.cluster_wide => {
                missing.push(format!("is not for the whole cluster (only {})", listed(&written.namespaces)));
            }
            Scope::Namespace(_) | Scope::Cluster => {}
        }
        if !written.roles.contains(&ask.role) {
            missing.push(format!("does not give role `{}` (only {})", ask.role, listed(&written.roles)));
        }
        if ask.window > written.max_duration {
            missing.push(format!("gives at most {}, not {}", written.max_duration, ask.window));
        }
        if let Some(pattern) = &self.reason
            && !pattern.is_match(ask.reason.as_str())
        {
            missing.push(format!("wants a reason like `{pattern}`"));
        }
        missing
    }
}

fn listed<T: ToString>(words: &[T]) -> String {
    words.iter().map(|word| format!("`{}`", word.to_string())).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        Policy::new(PolicyFile {
            rules: vec![RuleFile {
                name: "payments".into(),
                who: vec!["oncall".into()],
                clusters: vec!["play".parse().unwrap()],
                namespaces: vec!["payments".parse().unwrap(), "shop".parse().unwrap()],
                cluster_wide: false,
                roles: vec!["view".parse().unwrap()],
                max_duration: "10m".parse().unwrap(),
                reason: Some("^INC-[0-9]+".into()),
                approvers: Quorum { groups: vec!["leads".into()], count: 1 },
            }],
        })
        .unwrap()
    }

    fn person(group: &str) -> Person {
        Person { name: "alice".parse().unwrap(), groups: [group.to_owned()].into() }
    }

    fn ask() -> Ask {
        Ask {
            cluster: "play".parse().unwrap(),
            scope: Scope::Namespace("payments".parse().unwrap()),
            role: "view".parse().unwrap(),
            window: "10m".parse().unwrap(),
            reason: "INC-42 queue stuck".parse().unwrap(),
        }
    }

    #[test]
    fn a_rule_that_fits_says_its_name_and_who_has_to_agree() {
        let Decision::Ask { rule, quorum } = decide(&policy(), &person("oncall"), &ask()) else { panic!("denied") };
        assert_eq!((rule.as_str(), quorum.count), ("payments", 1));
    }

    /// Each word of the request that leaves the rule is denied, and the sentence names that word.
    #[test]
    fn what_no_rule_gives_is_denied_by_name() {
        type Change = fn(&mut Ask);
        let cases: [(&str, Change); 7] = [
            ("cluster `prod`", |ask| ask.cluster = "prod".parse().unwrap()),
            ("namespace `kube-system`", |ask| ask.scope = Scope::Namespace("kube-system".parse().unwrap())),
            ("the whole cluster", |ask| ask.scope = Scope::Cluster),
            ("role `cluster-admin`", |ask| ask.role = "cluster-admin".parse().unwrap()),
            ("role `role/view`", |ask| ask.role = "role/view".parse().unwrap()),
            ("at most 10m", |ask| ask.window = "10m1s".parse().unwrap()),
            ("reason", |ask| ask.reason = "because".parse().unwrap()),
        ];
        for (word, change) in cases {
            let mut asked = ask();
            change(&mut asked);
            let Decision::Deny(denial) = decide(&policy(), &person("oncall"), &asked) else {
                panic!("allowed: {word}")
            };
            assert_eq!(denial.nearest.as_deref(), Some("payments"));
            assert_eq!(denial.missing.len(), 1, "{denial:?}");
            assert!(denial.refusal().why.contains(word), "{}", denial.refusal().why);
        }
    }

    #[test]
    fn a_person_in_no_group_of_any_rule_is_denied() {
        let Decision::Deny(denial) = decide(&policy(), &person("other"), &ask()) else { panic!("allowed") };
        assert_eq!(denial.nearest, None);
    }

    #[test]
    fn an_empty_policy_denies() {
        let policy = Policy::new(PolicyFile { rules: vec![] }).unwrap();
        assert!(matches!(decide(&policy, &person("oncall"), &ask()), Decision::Deny(_)));
    }

    #[test]
    fn every_fault_of_a_file_is_told_at_once() {
        let rule = RuleFile {
            name: "a".into(),
            who: vec![],
            clusters: vec!["play".parse().unwrap()],
            namespaces: vec![],
            cluster_wide: false,
            roles: vec![],
            max_duration: "10m".parse().unwrap(),
            reason: Some("(".into()),
            approvers: Quorum { groups: vec![], count: 0 },
        };
        let faults = Policy::new(PolicyFile { rules: vec![rule.clone(), rule] }).unwrap_err();
        assert_eq!(faults.len(), 13, "{faults:#?}");
    }
}
