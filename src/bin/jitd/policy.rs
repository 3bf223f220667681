//! `jitd policy …`: evaluates the configured policy, or other files. It uses only files, no daemon and no cluster.
//!
//! It parses the arguments, calls `grant::policy` and prints. stdout is the result, stderr is everything else.

pub(crate) mod cases;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, Subcommand, ValueEnum};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use jitd::config::{Config, PolicyFiles};
use jitd::grant::policy::{
    Answer, Change, Difference, Holder, Labels, Loaded, Offer, Outcome, Policy, Question, Setting, Source, Tested,
    diff, schema,
};
use jitd::grant::request::{
    Access, AccessRequest, ClusterName, ExactRules, FieldName, FieldValue, Malformed, Namespace, Namespaces, Person,
    PersonName, Reason, RoleRef, Scope, Window,
};
use jitd::people::People;
use jitd::rbac::role::Rule;

use crate::print::{self, Output};
use crate::{CLOCK, Failure, not_meant, read, runtime};

#[derive(Subcommand)]
#[command(after_help = "\
Examples:
  jitd policy test
  jitd policy who-can view -n payments

Exit codes:
  0  yes, or everything is as expected
  1  failure
  2  usage, or faults in the files
  3  no: a test failed, the request is denied, nobody may, or there are differences")]
pub(crate) enum PolicyVerb {
    /// Run the tests under `tests:` of a policy; exit code 3 when one fails.
    #[command(after_help = "\
Examples:
  jitd policy test
  jitd policy test --policy new.yaml")]
    Test {
        #[command(flatten)]
        files: Files,
        /// Output format.
        #[arg(long, short, default_value = "text", value_enum)]
        output: Output,
    },
    /// Show how the policy answers a request, and which rules came near; exit code 3 when it is denied.
    #[command(after_help = "\
Examples:
  jitd policy explain --as alice --cluster prod -n payments \\
    --role view --for 10m --reason \"INC-42\"")]
    Explain {
        #[command(flatten)]
        files: Files,
        #[command(flatten)]
        request: Box<Request>,
        /// Output format.
        #[arg(long, short, default_value = "text", value_enum)]
        output: Output,
    },
    /// List who may request a role, on which terms, and what denies it; exit code 3 when nobody may.
    #[command(after_help = "\
Examples:
  jitd policy who-can view -n payments
  jitd policy who-can node-reader --cluster-wide --cluster prod")]
    WhoCan {
        #[command(flatten)]
        files: Files,
        /// A ClusterRole, or role/NAME for a Role of the namespace.
        #[arg(value_parser = word::<RoleRef>)]
        role: RoleRef,
        /// Only in this cluster.
        #[arg(long, value_name = "NAME", value_parser = word::<ClusterName>)]
        cluster: Option<ClusterName>,
        #[command(flatten)]
        place: Place,
        /// Output format.
        #[arg(long, short, default_value = "text", value_enum)]
        output: Output,
    },
    /// Show who gains (+), loses (-) or gets other terms (~) by a new policy; exit code 3 when anything differs.
    ///
    /// Each line holds for at least one namespace that both policies were asked about. The comparison does not see
    /// people in several groups (except a group together with a group of a denial), namespaces that match patterns of
    /// several rules, or which texts two regular expressions accept. These, and the approvals that guardrails require
    /// by risk, are compared as text. If the rules differ and no line shows it, a message says so.
    #[command(after_help = "\
Examples:
  jitd policy diff /etc/jitd/policy.yaml new.yaml")]
    Diff {
        /// The policy before.
        old: PathBuf,
        /// The policy after.
        new: PathBuf,
        /// The guardrails before [default: guardrails.yaml beside the policy, if there is one].
        #[arg(long, value_name = "FILE")]
        old_guardrails: Option<PathBuf>,
        /// The guardrails after [default: guardrails.yaml beside the policy, if there is one].
        #[arg(long, value_name = "FILE")]
        new_guardrails: Option<PathBuf>,
        /// Output format.
        #[arg(long, short, default_value = "text", value_enum)]
        output: Output,
    },
    /// Print the JSON Schema of a file, for editors.
    #[command(after_help = "\
Examples:
  jitd policy schema
  jitd policy schema guardrails")]
    Schema {
        /// The file.
        #[arg(default_value = "policy", value_enum)]
        file: SchemaOf,
    },
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum SchemaOf {
    Policy,
    Guardrails,
}

/// The files: those of the configuration, or others.
#[derive(Args)]
pub(crate) struct Files {
    /// Use this policy instead of the configured one.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// The guardrails for --policy [default: guardrails.yaml beside it, if there is one].
    #[arg(long, value_name = "FILE", requires = "policy")]
    guardrails: Option<PathBuf>,
}

/// A request of somebody, with the options of `jit-login request`.
#[derive(Args)]
pub(crate) struct Request {
    /// The requester.
    #[arg(long = "as", value_name = "PERSON", value_parser = word::<PersonName>)]
    person: PersonName,
    /// A group of the requester, instead of those that the configuration and the host know; may be repeated.
    #[arg(long = "group", short, value_name = "GROUP")]
    groups: Vec<String>,
    /// The cluster.
    #[arg(long, value_name = "NAME", value_parser = word::<ClusterName>)]
    cluster: ClusterName,
    #[command(flatten)]
    place: Place,
    /// A ClusterRole, or role/NAME for a Role of the namespace.
    #[arg(long, value_parser = word::<RoleRef>, required_unless_present = "verbs", conflicts_with = "verbs")]
    role: Option<RoleRef>,
    /// Only these verbs, instead of a role, such as get,list.
    #[arg(long = "verb", value_name = "VERBS", value_delimiter = ',', requires = "resources")]
    verbs: Vec<String>,
    /// The resources for --verb, such as pods,pods/log,deployments.apps.
    #[arg(long = "resource", value_name = "RESOURCES", value_delimiter = ',', requires = "verbs")]
    resources: Vec<String>,
    /// Only the resources with these names.
    #[arg(long = "name", value_name = "NAMES", value_delimiter = ',', requires = "verbs")]
    names: Vec<String>,
    /// How long the access lasts, such as 15m.
    #[arg(long = "for", value_name = "DURATION", value_parser = word::<Window>)]
    window: Window,
    /// The reason.
    #[arg(long, value_name = "TEXT", value_parser = word::<Reason>)]
    reason: Reason,
    /// A field that the policy asks for; may be repeated.
    #[arg(long = "field", value_name = "NAME=VALUE", value_parser = field)]
    fields: Vec<(FieldName, FieldValue)>,
    /// When the access begins, such as 2026-12-24T22:30:00Z.
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
}

/// The scope of the access, and the labels that are known.
#[derive(Args)]
pub(crate) struct Place {
    /// The namespaces, separated by commas.
    #[arg(short, long = "namespace", value_name = "NS", value_delimiter = ',', value_parser = word::<Namespace>,
        required_unless_present = "cluster_wide", conflicts_with = "cluster_wide")]
    namespaces: Vec<Namespace>,
    /// The whole cluster instead of namespaces.
    #[arg(long)]
    cluster_wide: bool,
    /// A label of a namespace, or `NS:` if it has none; may be repeated. The labels of other namespaces count as unknown.
    #[arg(long = "label", value_name = "NS:KEY=VALUE", value_parser = label)]
    labels: Vec<(Namespace, Option<(String, String)>)>,
}

pub(crate) fn policy(config: &Path, verb: &PolicyVerb) -> Result<(), Failure> {
    match verb {
        PolicyVerb::Test { files, output } => test(&files.read(config)?, *output),
        PolicyVerb::Explain { files, request, output } => explain(&files.read(config)?, request, *output),
        PolicyVerb::WhoCan { files, role, cluster, place, output } => {
            who_can(&files.read(config)?, role, cluster.as_ref(), place, *output)
        }
        PolicyVerb::Diff { old, new, old_guardrails, new_guardrails, output } => {
            let old = read_files(old, old_guardrails.as_deref())?;
            let new = read_files(new, new_guardrails.as_deref())?;
            differ(&diff(&old.policy, &new.policy), *output)
        }
        PolicyVerb::Schema { file } => print::json(&match file {
            SchemaOf::Policy => schema(Source::Policy),
            SchemaOf::Guardrails => schema(Source::Guardrails),
        }),
    }
}

/// A policy, its path, and the people of the configuration.
struct Found {
    policy: Policy,
    path: PathBuf,
    people: Option<People>,
}

impl Files {
    fn read(&self, config: &Path) -> Result<Found, Failure> {
        match &self.policy {
            Some(path) => {
                let Loaded { policy, .. } = read_files(path, self.guardrails.as_deref())?;
                Ok(Found { policy, path: path.clone(), people: None })
            }
            None => {
                let Config { policy, policy_files, people, .. } = read(config)?;
                Ok(Found { policy, path: policy_files.policy, people: Some(people) })
            }
        }
    }
}

fn read_files(policy: &Path, guardrails: Option<&Path>) -> Result<Loaded, Failure> {
    let files = PolicyFiles { policy: policy.to_owned(), guardrails: guardrails.map(Path::to_owned) };
    files.read().map_err(|faults| not_meant(&faults))
}

// ---- test ----

fn test(found: &Found, output: Output) -> Result<(), Failure> {
    let results = cases::tested(&found.policy);
    let failed = results.iter().filter(|result| !result.passed).count();
    match output {
        Output::Json => print::json(&results)?,
        Output::Text => {
            let path = found.path.display();
            let line = |result: &Tested| match result.passed {
                true => format!("ok     {path}:{}: {}", result.line, result.name),
                false => cases::failed_line(&found.path, result),
            };
            let mut lines: Vec<String> = results.iter().map(line).collect();
            lines.push(match results.len() {
                0 => format!("{path}: no cases; hint: add some under `tests:`"),
                all => format!("cases: {all}, ok: {}, failed: {failed}", all - failed),
            });
            print::result(lines.join("\n"))?;
        }
    }
    if failed == 0 { Ok(()) } else { Err(Failure::No) }
}

// ---- explain ----

fn explain(found: &Found, request: &Request, output: Output) -> Result<(), Failure> {
    let person = request.person(found.people.as_ref())?;
    let ask = request.ask()?;
    let labels = request.place.labels();
    let question = Question { person: &person, ask: &ask, now: CLOCK(), labels: &labels, rules: None };
    let answer = found.policy.answer(&question);
    match output {
        Output::Json => print::json(&answer)?,
        Output::Text => print::result(explained(&person, &ask, &answer))?,
    }
    if !answer.risk_judged && answer.outcome != Outcome::Deny {
        print::notice(
            &format!("the risk of {} is not judged here, because its rules are in the cluster", ask.access),
            "`jit-login explain` asks the daemon, which reads them there",
        );
    }
    if answer.outcome == Outcome::Deny { Err(Failure::No) } else { Ok(()) }
}

fn explained(person: &Person, ask: &AccessRequest, answer: &Answer) -> String {
    let groups: Vec<&str> = person.groups.iter().map(String::as_str).collect();
    let groups = if groups.is_empty() { "no group".to_owned() } else { groups.join(", ") };
    let place = match &ask.scope {
        Scope::Cluster => format!("in all of cluster {}", ask.cluster),
        scope => format!("in {scope} on cluster {}", ask.cluster),
    };
    let mut lines = vec![
        format!("{} ({groups}) requests {} {place}, for {}", person.name, ask.access, ask.window),
        match &answer.by {
            Some(by) if answer.terms.is_some() => format!("{:<12} by rule `{by}`", answer.outcome.to_string()),
            Some(by) => format!("{:<12} by `{by}`", answer.outcome.to_string()),
            None => answer.outcome.to_string(),
        },
    ];
    lines.extend(answer.sentences().iter().map(|(word, said)| format!("{word:<12} {said}")));
    for near in &answer.near {
        lines.push(format!("{:<12} `{}` {}", "near", near.rule, near.missing.join(", ")));
    }
    lines.join("\n")
}

impl Request {
    fn person(&self, people: Option<&People>) -> Result<Person, Failure> {
        match people {
            Some(people) if self.groups.is_empty() => {
                runtime()?.block_on(people.by_name(&self.person)).map_err(|unknown| {
                    Failure::usage(unknown.to_string()).with_hint("use `--group` to give the person's groups")
                })
            }
            _ => Ok(Person { name: self.person.clone(), groups: self.groups.iter().cloned().collect(), login: None }),
        }
    }

    fn ask(&self) -> Result<AccessRequest, Failure> {
        let access = match &self.role {
            Some(role) => Access::Role(role.clone()),
            None => {
                let rules = Rule::exactly(&self.verbs, &self.resources, &self.names);
                Access::Rules(ExactRules::try_from(rules).map_err(malformed)?)
            }
        };
        Ok(AccessRequest {
            cluster: self.cluster.clone(),
            scope: self.place.scope()?,
            access,
            window: self.window,
            reason: self.reason.clone(),
            fields: self.fields.iter().cloned().collect(),
            start: self.at,
        })
    }
}

impl Place {
    fn scope(&self) -> Result<Scope, Failure> {
        if self.cluster_wide {
            return Ok(Scope::Cluster);
        }
        Namespaces::try_from(self.namespaces.clone()).map(Scope::Namespaces).map_err(malformed)
    }

    fn labels(&self) -> Labels {
        let mut labels = Labels::new();
        for (namespace, label) in &self.labels {
            labels.entry(namespace.clone()).or_default().extend(label.clone());
        }
        labels
    }
}

// ---- who-can ----

/// A group that may request, with its declared people.
#[derive(Serialize, ToSchema)]
pub(crate) struct Listed<'a> {
    #[serde(flatten)]
    #[schema(value_type = Holder)]
    holder: &'a Holder,
    #[schema(value_type = Vec<String>)]
    people: Vec<&'a PersonName>,
}

fn who_can(
    found: &Found,
    role: &RoleRef,
    cluster: Option<&ClusterName>,
    place: &Place,
    output: Output,
) -> Result<(), Failure> {
    let holders = found.policy.who_can(role, cluster, &place.scope()?, &place.labels());
    let listed: Vec<Listed<'_>> = holders
        .iter()
        .map(|holder| {
            let people = found.people.iter().flat_map(|people| people.declared_in(&holder.group)).collect();
            Listed { holder, people }
        })
        .collect();
    match output {
        Output::Json => print::json(&listed)?,
        Output::Text => print::result(listed.iter().map(Listed::line).collect::<Vec<_>>().join("\n"))?,
    }
    if listed.is_empty() {
        print::notice(
            &format!("no rule allows anybody to request role {role} there"),
            "`jitd policy explain` says what is missing",
        );
    }
    if listed.iter().any(|one| one.holder.closed.is_none()) { Ok(()) } else { Err(Failure::No) }
}

impl Listed<'_> {
    fn line(&self) -> String {
        let Holder { cluster, group, offer, if_labels, closed, except } = self.holder;
        let people: Vec<&str> = self.people.iter().map(|name| name.as_str()).collect();
        let people = if people.is_empty() { String::new() } else { format!(" ({})", people.join(", ")) };
        let mut line = format!("{cluster}  {group}{people}  {}", describe_offer(offer));
        if *if_labels {
            line.push_str("; only if the labels match, hint: use `--label` to give them");
        }
        if let Some(closed) = closed {
            line = format!("{line}; CLOSED, {closed}");
        }
        for groups in except {
            line = format!("{line}; not for {groups}");
        }
        line
    }
}

fn describe_offer(offer: &Offer) -> String {
    let terms: Vec<String> = offer.terms.iter().map(|(key, told)| format!("{key} {told}")).collect();
    format!("rule `{}`: {}", offer.rule, terms.join("; "))
}

// ---- diff ----

fn differ(difference: &Difference, output: Output) -> Result<(), Failure> {
    match output {
        Output::Json => print::json(difference)?,
        Output::Text => {
            let changes = difference.cells.iter().map(describe_change);
            let settings =
                difference.settings.iter().map(|Setting { key, before, now }| format!("~ {key}  {before} -> {now}"));
            print::result(changes.chain(settings).collect::<Vec<_>>().join("\n"))?;
        }
    }
    if difference.unseen {
        print::notice(
            "the rules or denials differ, but no line shows it",
            "`jitd policy diff --help` says what the comparison does not see; compare the files themselves",
        );
    }
    if difference.is_empty() { Ok(()) } else { Err(Failure::No) }
}

fn describe_change(change: &Change) -> String {
    let Change { sign, cluster, groups, place, witness, access, before, now, .. } = change;
    let as_one = witness.iter().map(|(name, labels)| {
        let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let labels = if labels.is_empty() { String::new() } else { format!(" {}", labels.join(",")) };
        format!("{name}{labels}")
    });
    let as_one: String = as_one.filter(|one| one != place).map(|one| format!(" (such as {one})")).collect();
    let all = |offers: &[Offer]| offers.iter().map(describe_offer).collect::<Vec<_>>().join(", or ");
    let terms = match (before.as_slice(), now.as_slice()) {
        ([], offers) | (offers, []) => all(offers),
        ([before], [now]) => {
            let keys: BTreeSet<&str> = before.terms.keys().chain(now.terms.keys()).copied().collect();
            let term = |offer: &Offer, key: &str| offer.terms.get(key).map_or("none", String::as_str).to_owned();
            let changed = keys.into_iter().map(|key| (key, term(before, key), term(now, key)));
            let changed = changed.filter(|(_, before, now)| before != now);
            let changed: Vec<String> = changed.map(|(key, before, now)| format!("{key} {before} -> {now}")).collect();
            format!("rule `{}`: {}", now.rule, changed.join("; "))
        }
        (before, now) => format!("{} -> {}", all(before), all(now)),
    };
    format!("{sign} {cluster}  {}  {place}{as_one}  {access}  {terms}", groups.join("+"))
}

// ---- words ----

fn malformed(wrong: Malformed) -> Failure {
    Failure::usage(wrong.to_string())
}

fn word<T: FromStr<Err = Malformed>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|wrong: Malformed| wrong.why)
}

fn field(text: &str) -> Result<(FieldName, FieldValue), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE, such as ticket=OPS-7")?;
    Ok((word(name)?, word(value)?))
}

fn label(text: &str) -> Result<(Namespace, Option<(String, String)>), String> {
    let hint = "write NS:KEY=VALUE, such as payments:env=prod, or NS: for a namespace without labels";
    let (namespace, label) = text.split_once(':').ok_or(hint)?;
    let namespace = word(namespace)?;
    if label.is_empty() {
        return Ok((namespace, None));
    }
    let (key, value) = label.split_once('=').ok_or(hint)?;
    Ok((namespace, Some((key.to_owned(), value.to_owned()))))
}
