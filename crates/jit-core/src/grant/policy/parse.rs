//! Parses `policy.yaml` and `guardrails.yaml` into a `Policy`, and reports every mistake in both at once.
//!
//! `keys.rs` and `schema.rs` check the form first. This file reports what only the meaning shows: a rule that can never
//! be used, two rules of one name, a rule that exceeds the guardrails. It skips a word that the form already reported.
//! `Policy::read` is the only caller.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use super::answer::Outcome;
use super::case::Case;
use super::guardrails::{Guardrails, RiskClass, RiskStep};
use super::pattern::{NamespacePattern, regex};
use super::rule::{BreakGlass, Deny, Drift, Field, FieldType, Limits, ReasonRule, Review, Rule};
use super::schema::{Faults, Path, nearest};
use super::step::{Hours, Step};
use super::yaml::{Node, Unread};
use super::{Fault, Policy, Source, Way, keys};
use crate::grant::login::LoginTerms;
use crate::grant::request::{
    Access, AccessRequest, ClusterName, ExactRules, FieldName, Namespace, Namespaces, Person, RoleRef, Scope, Window,
};
use crate::grant::{Record, Restricted, Restriction, SessionTerms};
use crate::rbac::risk::{Classified, Severity};
use crate::rbac::role;

/// Parses both files.
pub(super) fn read(
    policy: &str,
    guardrails: Option<&str>,
    clusters: Option<&BTreeMap<ClusterName, Way>>,
) -> Result<Policy, Vec<Fault>> {
    let mut told = Vec::new();
    let guardrails = match guardrails {
        None => Guardrails::default(),
        Some(text) => {
            let mut faults = Faults::of(Source::Guardrails);
            let meant = root(text, &mut faults).map(|node| parse_guardrails(&node, &mut faults));
            told.extend(faults.into_sorted());
            meant.unwrap_or_default()
        }
    };
    let mut faults = Faults::of(Source::Policy);
    let meant = root(policy, &mut faults).map(|node| {
        if let Some(clusters) = clusters {
            clusters_exist(&node, clusters, &mut faults);
            recordings_are_possible(&node, clusters, &guardrails, &mut faults);
        }
        parse_policy(&node, guardrails, &mut faults)
    });
    told.splice(0..0, faults.into_sorted());
    match meant {
        Some(policy) if told.is_empty() => Ok(policy),
        _ => Err(told),
    }
}

fn root(text: &str, faults: &mut Faults) -> Option<Node> {
    match Node::read(text) {
        Ok(node) => {
            let node = match node.value {
                // A file that contains only comments is read as a map without keys.
                super::yaml::Value::Empty => Node { value: super::yaml::Value::Map(Vec::new()), ..node },
                _ => node,
            };
            keys::of(faults.source()).check(&node, &Path::default(), faults);
            Some(node)
        }
        Err(unread) => {
            for Unread { place, why, hint } in unread {
                faults.tell(place, &Path::default(), why, hint);
            }
            None
        }
    }
}

// ---- words whose form is already checked ----

fn parsed<T: FromStr>(node: &Node, key: &str) -> Option<T> {
    node.get(key)?.text()?.parse().ok()
}

fn each<T: FromStr>(node: &Node, key: &str) -> Vec<T> {
    let items = node.get(key).map(Node::list).unwrap_or_default();
    items.iter().filter_map(|item| item.text()?.parse().ok()).collect()
}

fn text(node: &Node, key: &str) -> Option<String> {
    node.get(key).and_then(Node::text).map(str::to_owned)
}

fn items<'a>(node: &'a Node, key: &str) -> &'a [Node] {
    node.get(key).map(Node::list).unwrap_or_default()
}

fn is_true(node: &Node, key: &str) -> bool {
    node.get(key).is_some_and(Node::is_true)
}

fn count(node: &Node, key: &str) -> Option<u32> {
    node.get(key)?.whole()
}

/// Reports at the value of `key`, or at the map if the key is absent.
fn tell(faults: &mut Faults, node: &Node, path: &Path, key: &str, why: impl Into<String>, hint: impl Into<String>) {
    match node.get(key) {
        Some(value) => faults.tell(value.place, &path.key(key), why, hint),
        None => faults.tell(node.place, path, why, hint),
    }
}

// ---- policy.yaml ----

fn parse_policy(node: &Node, guardrails: Guardrails, faults: &mut Faults) -> Policy {
    let path = Path::default();
    named_once(node, "rules", faults);
    named_once(node, "deny", faults);
    named_once(node, "tests", faults);
    let each_item = |key: &'static str| {
        let path = path.key(key);
        items(node, key).iter().enumerate().map(move |(number, item)| (item, path.item(number)))
    };
    let rules: Vec<Rule> =
        each_item("rules").filter_map(|(item, path)| parse_rule(item, &path, &guardrails, faults)).collect();
    let deny: Vec<Deny> = each_item("deny").filter_map(|(item, path)| parse_deny(item, &path, faults)).collect();
    let limits = node.get("limits").map_or_else(Limits::default, |limits| Limits {
        pending: count(limits, "pending"),
        live: count(limits, "live"),
        per_hour: count(limits, "perHour"),
        after_denial: match text(limits, "afterDenial").as_deref() {
            None => Limits::default().after_denial,
            // `0s` is not a window; here it means no time at all.
            Some(written) => written.parse().ok(),
        },
    });
    let names: Vec<String> = items(node, "rules").iter().filter_map(|rule| text(rule, "name")).collect();
    let cases = each_item("tests").filter_map(|(item, path)| parse_case(item, &path, &names, faults)).collect();
    Policy { rules, deny, limits, cases, guardrails }
}

fn named_once(node: &Node, list: &str, faults: &mut Faults) {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for (number, item) in items(node, list).iter().enumerate() {
        if let Some(name) = item.get("name")
            && let Some(word) = name.text()
            && let Some(line) = seen.insert(word, name.place.line)
        {
            let path = Path::default().key(list).item(number).key("name");
            faults.tell(
                name.place,
                &path,
                format!("the name `{word}` is already used in line {line}"),
                "rename one of them; decisions show the name",
            );
        }
    }
}

/// Reports each cluster of a rule, a denial or a case that is not one of `known`.
fn clusters_exist(node: &Node, known: &BTreeMap<ClusterName, Way>, faults: &mut Faults) {
    let names: Vec<&str> = known.keys().map(ClusterName::as_str).collect();
    let mut check = |written: &Node, path: &Path| {
        if let Some(name) = written.text()
            && name.parse::<ClusterName>().is_ok_and(|name| !known.contains_key(&name))
        {
            let why = format!("cluster `{name}` is not in the configuration");
            faults.tell(written.place, path, why, nearest(name, &names));
        }
    };
    for list in ["rules", "deny"] {
        for (number, item) in items(node, list).iter().enumerate() {
            let path = Path::default().key(list).item(number).key("clusters");
            for (place, cluster) in items(item, "clusters").iter().enumerate() {
                check(cluster, &path.item(place));
            }
        }
    }
    for (number, item) in items(node, "tests").iter().enumerate() {
        if let Some(cluster) = item.get("ask").and_then(|ask| ask.get("cluster")) {
            check(cluster, &Path::default().key("tests").item(number).key("ask").key("cluster"));
        }
    }
}

/// Reports each rule that promises what only the gateway can keep, for a cluster that people reach directly.
fn recordings_are_possible(
    node: &Node,
    known: &BTreeMap<ClusterName, Way>,
    guardrails: &Guardrails,
    faults: &mut Faults,
) {
    for (number, rule) in items(node, "rules").iter().enumerate() {
        let path = Path::default().key("rules").item(number);
        for (place, written) in items(rule, "clusters").iter().enumerate() {
            let cluster = written.text().and_then(|name| name.parse::<ClusterName>().ok());
            let Some(cluster) = cluster.filter(|cluster| known.get(cluster) == Some(&Way::Directly)) else { continue };
            let hint = "set `access: gateway` for the cluster in `config.yaml`, or write a rule of its own for it";
            if guardrails.record == Record::Required {
                let why = format!("the guardrails require recordings, but nothing records in cluster `{cluster}`");
                faults.tell(written.place, &path.key("clusters").item(place), why, hint);
            }
            if !guardrails.refuse.is_empty() {
                let why = format!("the guardrails refuse requests, but nothing sees those in cluster `{cluster}`");
                faults.tell(written.place, &path.key("clusters").item(place), why, hint);
            }
            let promises = [
                ("record", text(rule, "record").as_deref() == Some(Record::Required.as_str())),
                ("recordInput", is_true(rule, "recordInput")),
                ("idle", rule.get("idle").is_some()),
                ("refuse", !items(rule, "refuse").is_empty()),
            ];
            for (key, _) in promises.into_iter().filter(|(_, is_written)| *is_written) {
                let why = format!("people reach cluster `{cluster}` directly, where nothing could carry this out");
                tell(faults, rule, &path, key, why, hint);
            }
        }
    }
}

fn parse_sessions(node: &Node, path: &Path, guardrails: &Guardrails, faults: &mut Faults) -> SessionTerms {
    let record_input = is_true(node, "recordInput");
    let record = match record(node) {
        Some(record) => record,
        None if node.get("record").is_none() => Record::default(),
        // The form has already reported it.
        None => Record::Required,
    };
    if record_input && record != Record::Required {
        tell(
            faults,
            node,
            path,
            "recordInput",
            "only a recording can contain what is typed",
            "write `record: required`, or remove it",
        );
    }
    let refuse = parse_refuse(node, path, &guardrails.refuse, faults);
    SessionTerms { record, record_input, idle: parsed(node, "idle"), refuse }
}

/// What a rule or the guardrails refuse; `before` are those of the guardrails, whose names a rule cannot use again.
fn parse_refuse(node: &Node, path: &Path, before: &[Restriction], faults: &mut Faults) -> Vec<Restriction> {
    let mut found: Vec<Restriction> = Vec::new();
    for (number, item) in items(node, "refuse").iter().enumerate() {
        let path = path.key("refuse").item(number);
        let Some(name) = text(item, "name") else { continue };
        if before.iter().chain(&found).any(|other| other.name == name) {
            let why = format!("another one has the name `{name}`");
            tell(faults, item, &path, "name", why, "rename one of them; a refusal shows the name");
        }
        let refuses = if let Some(exec) = item.get("exec") {
            Restricted::Exec { except: each(exec, "except") }
        } else if let Some(forward) = item.get("portForward") {
            let ports = items(forward, "except").iter();
            Restricted::PortForward { except: ports.filter_map(|port| port.whole()?.try_into().ok()).collect() }
        } else if is_true(item, "copy") {
            Restricted::Copy
        } else if is_true(item, "deleteCollection") {
            Restricted::DeleteCollection
        } else {
            // The form has already reported it.
            continue;
        };
        found.push(Restriction { name, refuses });
    }
    let length = |all: &[Restriction]| serde_json::to_string(all).map_or(0, |json| json.len());
    if !found.is_empty() && length(before) + length(&found) > LONGEST_REFUSE {
        let why = format!("takes more than {LONGEST_REFUSE} bytes as JSON, together with that of the guardrails");
        tell(faults, node, path, "refuse", why, "write fewer or shorter patterns");
    }
    found
}

/// The longest restrictions of one grant, in bytes of JSON: the daemon sends them to the gateway with each grant, and at most
/// 32 MiB for all grants at once, of which there may be ten thousand.
const LONGEST_REFUSE: usize = 2048;

fn record(node: &Node) -> Option<Record> {
    let written = text(node, "record")?;
    keys::RECORDS.iter().copied().find(|record| record.as_str() == written)
}

fn parse_rule(node: &Node, path: &Path, guardrails: &Guardrails, faults: &mut Faults) -> Option<Rule> {
    let cluster_wide = is_true(node, "clusterWide");
    if node.get("namespaces").is_none() && !cluster_wide {
        faults.tell(node.place, path, "names no namespace", "list some under `namespaces`, or set `clusterWide: true`");
    }
    if node.get("roles").is_none() && node.get("rules").is_none() {
        faults.tell(node.place, path, "names no role", "list some under `roles`, or write a ceiling under `rules`");
    }
    for (number, item) in items(node, "roles").iter().enumerate() {
        let Some(role) = item.text().and_then(|text| text.parse::<RoleRef>().ok()) else { continue };
        let path = path.key("roles").item(number);
        if cluster_wide && matches!(role, RoleRef::Role(_)) {
            faults.tell(
                item.place,
                &path,
                "a Role exists only in its namespace, but the rule is `clusterWide`",
                "use a ClusterRole, or a separate rule",
            );
        }
        if let Some(glob) = guardrails.forbids_role(&role) {
            faults.tell(
                item.place,
                &path,
                format!("`{role}` is never granted (guardrail never.roles `{glob}`)"),
                "remove it",
            );
        }
    }
    for (number, item) in items(node, "namespaces").iter().enumerate() {
        if let Some(NamespacePattern::Name(name)) = item.text().and_then(|text| text.parse().ok())
            && let Some(glob) = guardrails.forbids_namespace(&name)
        {
            let path = path.key("namespaces").item(number);
            faults.tell(
                item.place,
                &path,
                format!("no access is granted in `{name}` (guardrail never.namespaces `{glob}`)"),
                "remove it",
            );
        }
    }
    let rules = rbac_rules(node, "rules", path, faults);
    if is_true(node, "narrow") && node.get("roles").is_none() {
        tell(faults, node, path, "narrow", "the rule has no role to narrow", "remove it");
    }

    let max_duration: Option<Window> = parsed(node, "maxDuration");
    let max_total: Option<Window> = parsed(node, "maxTotal").or(max_duration);
    if max_duration.is_some_and(|longest| longest > guardrails.max_duration) {
        tell(
            faults,
            node,
            path,
            "maxDuration",
            format!("the guardrails allow at most {}", guardrails.max_duration),
            "shorten it",
        );
    }
    if max_total < max_duration {
        tell(faults, node, path, "maxTotal", "is shorter than `maxDuration`", "it includes the first window");
    } else if node.get("maxTotal").is_some() && max_total.is_some_and(|longest| longest > guardrails.max_total) {
        tell(
            faults,
            node,
            path,
            "maxTotal",
            format!("the guardrails allow at most {}", guardrails.max_total),
            "shorten it",
        );
    }

    let pre_approved = is_true(node, "preApproved");
    if pre_approved && cluster_wide {
        tell(
            faults,
            node,
            path,
            "preApproved",
            "the guardrails never pre-approve access to the whole cluster",
            "use `approval`",
        );
    }
    if pre_approved && node.get("breakGlass").is_some() {
        tell(
            faults,
            node,
            path,
            "breakGlass",
            "a `preApproved` rule waits for nobody, so break-glass has no use",
            "remove one of them",
        );
    }
    let steps = items(node, "approval")
        .iter()
        .enumerate()
        .filter_map(|(number, item)| parse_step(item, &path.key("approval").item(number), faults));
    let steps = steps.collect();
    let break_glass = node.get("breakGlass").and_then(|written| {
        let path = path.key("breakGlass");
        let longest = parsed(written, "maxDuration")?;
        if max_duration.is_some_and(|rule| longest > rule) {
            tell(
                faults,
                written,
                &path,
                "maxDuration",
                "is longer than the rule's own `maxDuration`, the longest window that can be requested",
                "shorten it",
            );
        }
        parse_break_glass(written, longest)
    });
    let sessions = parse_sessions(node, path, guardrails, faults);
    Some(Rule {
        name: text(node, "name")?,
        who: each(node, "who"),
        clusters: each(node, "clusters"),
        namespaces: parse_namespaces(node),
        cluster_wide,
        roles: each(node, "roles"),
        rules,
        narrow: is_true(node, "narrow"),
        max_duration: max_duration?,
        max_total: max_total?,
        reason: node.get("reason").map(parse_reason),
        fields: parse_fields(node, path, faults),
        steps,
        pending: parsed(node, "pending"),
        collect: parsed(node, "collect"),
        certificate: parsed(node, "certificate"),
        start_within: parsed(node, "startWithin"),
        drift: if text(node, "drift").as_deref() == Some("warn") { Drift::Warn } else { Drift::Revoke },
        sessions,
        notify: each(node, "notify"),
        readers: node.get("readers").map(|_| each(node, "readers")),
        login: node.get("login").map(|written| parse_login(written, &path.key("login"), faults)),
        break_glass,
    })
}

fn parse_login(node: &Node, path: &Path, faults: &mut Faults) -> LoginTerms {
    let no_device_code = node.get("deviceCode").is_some_and(|written| !written.is_true());
    let auth_time = parsed(node, "authTime");
    let terms = LoginTerms { acr: each(node, "acr"), amr: each(node, "amr"), auth_time, no_device_code };
    if terms == LoginTerms::default() && node.get("authTime").is_none() {
        faults.tell(
            node.place,
            path,
            "requires nothing of a login",
            "write `acr`, `amr`, `authTime` or `deviceCode: false`, or remove it",
        );
    }
    terms
}

fn parse_namespaces(node: &Node) -> Vec<NamespacePattern> {
    let meant = |item: &Node| match item.get("labels") {
        Some(labels) => labels.text()?.parse().ok().map(NamespacePattern::Labels),
        None => item.text()?.parse().ok(),
    };
    items(node, "namespaces").iter().filter_map(meant).collect()
}

fn parse_reason(node: &Node) -> ReasonRule {
    let pattern = node.text().map(str::to_owned).or_else(|| text(node, "pattern"));
    ReasonRule {
        pattern: pattern.and_then(|pattern| regex(&pattern).ok()),
        min_length: count(node, "minLength").and_then(|least| usize::try_from(least).ok()).unwrap_or(0),
        prompt: text(node, "prompt"),
    }
}

fn parse_fields(node: &Node, path: &Path, faults: &mut Faults) -> Vec<Field> {
    let mut names = BTreeSet::new();
    let mut fields = Vec::new();
    for (number, item) in items(node, "fields").iter().enumerate() {
        let path = path.key("fields").item(number);
        let kind = text(item, "type");
        let is_choice = kind.as_deref() == Some("choice");
        if is_choice && item.get("choices").is_none() {
            tell(faults, item, &path, "type", "the type `choice` needs choices", "list them under `choices`");
        }
        if !is_choice && item.get("choices").is_some() {
            tell(
                faults,
                item,
                &path,
                "choices",
                "only the type `choice` has choices",
                "remove it, or write `type: choice`",
            );
        }
        if matches!(kind.as_deref(), Some("choice" | "number")) && item.get("pattern").is_some() {
            tell(
                faults,
                item,
                &path,
                "pattern",
                "the types `choice` and `number` have no pattern",
                "remove it, or write `type: text`",
            );
        }
        let kind = match kind.as_deref() {
            Some("number") => FieldType::Number,
            Some("url") => FieldType::Url,
            Some("choice") => FieldType::Choice(each(item, "choices")),
            _ => FieldType::Text,
        };
        let Some(name) = parsed::<FieldName>(item, "name") else { continue };
        if !names.insert(name.clone()) {
            tell(faults, item, &path, "name", format!("another field is named `{name}`"), "rename one of them");
        }
        fields.push(Field {
            name,
            kind,
            pattern: text(item, "pattern").and_then(|pattern| regex(&pattern).ok()),
            required: is_true(item, "required"),
            prompt: text(item, "prompt"),
            is_private: is_true(item, "private"),
        });
    }
    fields
}

fn rbac_rules(node: &Node, key: &str, path: &Path, faults: &mut Faults) -> Vec<role::Rule> {
    let mut rules = Vec::new();
    for (number, item) in items(node, key).iter().enumerate() {
        let words =
            |key: &str| items(item, key).iter().filter_map(|word| word.text().map(str::to_owned)).collect::<Vec<_>>();
        let rule = role::Rule {
            api_groups: words("apiGroups"),
            resources: words("resources"),
            resource_names: words("resourceNames"),
            non_resource_urls: words("nonResourceURLs"),
            verbs: words("verbs"),
        };
        if rule.api_groups.is_empty() != rule.resources.is_empty()
            || rule.resources.is_empty() && (rule.non_resource_urls.is_empty() || !rule.resource_names.is_empty())
        {
            faults.tell(
                item.place,
                &path.key(key).item(number),
                "allows nothing",
                "write `apiGroups` and `resources` together; \"\" is the core group",
            );
        }
        rules.push(rule);
    }
    rules
}

fn parse_step(node: &Node, path: &Path, faults: &mut Faults) -> Option<Step> {
    let groups: Vec<String> = each(node, "groups");
    if groups.iter().collect::<BTreeSet<_>>().len() < groups.len() {
        tell(faults, node, path, "groups", "a group is listed twice", "remove one");
    }
    let hours = match node.get("hours") {
        None => None,
        Some(written) => {
            let hours = Hours::new(
                each(written, "days"),
                parsed(written, "from")?,
                parsed(written, "to")?,
                parsed(written, "zone")?,
            );
            match hours {
                Ok(hours) => Some(hours),
                Err(why) => {
                    // If there is no day, the form has already reported it.
                    if !items(written, "days").is_empty() {
                        faults.tell(written.place, &path.key("hours"), why, "`to` is the minute after the last one");
                    }
                    None
                }
            }
        }
    };
    Some(Step { groups, count: count(node, "count").unwrap_or(1), hours, guardrail: None })
}

fn parse_break_glass(node: &Node, max_duration: Window) -> Option<BreakGlass> {
    let review = node.get("review")?;
    let step = Step {
        groups: each(review, "groups"),
        count: count(review, "count").unwrap_or(1),
        hours: None,
        guardrail: None,
    };
    Some(BreakGlass {
        // The form also allows `0s`, which is not a window; here it means at once.
        after: parsed(node, "after"),
        max_duration,
        review: Review { steps: vec![step], within: parsed(review, "within")? },
    })
}

fn parse_deny(node: &Node, path: &Path, faults: &mut Faults) -> Option<Deny> {
    let cluster_wide = node.get("clusterWide").map(Node::is_true);
    if cluster_wide == Some(true) && node.get("namespaces").is_some() {
        tell(
            faults,
            node,
            path,
            "namespaces",
            "a request for the whole cluster names no namespace",
            "remove `namespaces` or `clusterWide`",
        );
    }
    let some = |key: &str| node.get(key).is_some();
    Some(Deny {
        name: text(node, "name")?,
        who: some("who").then(|| each(node, "who")),
        clusters: some("clusters").then(|| each(node, "clusters")),
        namespaces: some("namespaces").then(|| parse_namespaces(node)),
        cluster_wide,
        roles: some("roles").then(|| each(node, "roles")),
        why: text(node, "why")?,
    })
}

fn parse_case(node: &Node, path: &Path, rules: &[String], faults: &mut Faults) -> Option<Case> {
    let outcome = match text(node, "outcome").as_deref() {
        Some("ask") => Outcome::Ask,
        Some("preApproved") => Outcome::PreApproved,
        _ => Outcome::Deny,
    };
    let rule = text(node, "rule");
    if let Some(name) = &rule
        && outcome != Outcome::Deny
        && !rules.contains(name)
    {
        let known: Vec<&str> = rules.iter().map(String::as_str).collect();
        tell(faults, node, path, "rule", format!("there is no rule `{name}`"), nearest(name, &known));
    }
    let role_rules = node.get("roleRules").map(|_| rbac_rules(node, "roleRules", path, faults));
    let ask = node.get("ask").and_then(|ask| parse_ask(ask, &path.key("ask"), faults));
    if let Some(ask) = node.get("ask")
        && ask.get("at").is_some()
        && node.get("now").is_none()
    {
        tell(
            faults,
            ask,
            &path.key("ask"),
            "at",
            "a start time is judged by the time of the request",
            "write that time under `now`",
        );
    }
    let labels = node.get("labels").map(Node::entries).unwrap_or_default();
    let labels = labels.iter().filter_map(|namespace| {
        let labels = namespace
            .node
            .entries()
            .iter()
            .filter_map(|label| Some((label.key.clone(), label.node.text()?.to_owned())));
        Some((namespace.key.parse().ok()?, labels.collect()))
    });
    Some(Case {
        name: text(node, "name")?,
        line: node.place.line,
        person: Person {
            name: parsed(node, "person")?,
            groups: each(node, "groups").into_iter().collect(),
            login: None,
        },
        labels: labels.collect(),
        now: parsed(node, "now"),
        ask: ask?,
        role_rules,
        outcome,
        rule,
        says: text(node, "says").map_or_else(|| each(node, "says"), |says| vec![says]),
    })
}

fn parse_ask(node: &Node, path: &Path, faults: &mut Faults) -> Option<AccessRequest> {
    let scope = match node.get("namespaces") {
        None => Scope::Cluster,
        Some(written) => match Namespaces::try_from(each::<Namespace>(node, "namespaces")) {
            Ok(namespaces) => Scope::Namespaces(namespaces),
            Err(wrong) => {
                // The form reports an empty list.
                if !written.list().is_empty() {
                    tell(faults, node, path, "namespaces", "cannot be requested together", wrong.why);
                }
                return None;
            }
        },
    };
    let rules = rbac_rules(node, "rules", path, faults);
    let access = match parsed(node, "role") {
        Some(role) => Access::Role(role),
        None => match ExactRules::try_from(rules) {
            Ok(rules) => Access::Rules(rules),
            Err(wrong) => {
                if !items(node, "rules").is_empty() {
                    tell(faults, node, path, "rules", "cannot be requested", wrong.why);
                }
                return None;
            }
        },
    };
    let fields = node.get("fields").map(Node::entries).unwrap_or_default();
    let fields = fields.iter().filter_map(|field| Some((field.key.parse().ok()?, field.node.text()?.parse().ok()?)));
    Some(AccessRequest {
        cluster: parsed(node, "cluster")?,
        scope,
        access,
        window: parsed(node, "for")?,
        reason: parsed(node, "reason")?,
        fields: fields.collect(),
        start: parsed(node, "at"),
    })
}

// ---- guardrails.yaml ----

fn parse_guardrails(node: &Node, faults: &mut Faults) -> Guardrails {
    let path = Path::default();
    let usual = Guardrails::default();
    let never = node.get("never");
    let globs = |key: &str| never.filter(|never| never.get(key).is_some()).map(|never| each(never, key));
    let max_duration: Window = parsed(node, "maxDuration").unwrap_or(usual.max_duration);
    let max_total = parsed(node, "maxTotal").unwrap_or(usual.max_total);
    if max_total < max_duration {
        tell(faults, node, &path, "maxTotal", "is shorter than `maxDuration`", "it includes the first window");
    }
    let max_risk = severity(node, "maxRisk").unwrap_or(usual.max_risk);
    let (mut risks, mut risks_recorded) = (Vec::new(), Vec::new());
    for (number, item) in items(node, "risks").iter().enumerate() {
        let path = path.key("risks").item(number);
        let of = match severity(item, "severity") {
            Some(severity) => RiskClass::Severity(severity),
            None => RiskClass::Ids(each(item, "ids")),
        };
        if let RiskClass::Severity(severity) = of
            && severity > max_risk
        {
            tell(
                faults,
                item,
                &path,
                "severity",
                format!("is refused anyway, because `maxRisk` is {}", max_risk.as_str()),
                "remove it",
            );
        }
        let record = record(item);
        if item.get("step").is_none() && item.get("record").is_none() {
            faults.tell(item.place, &path, "requires nothing", "write `step`, `record`, or both");
        }
        risks_recorded.extend(record.map(|record| (of.clone(), record)));
        if let Some(step) = item.get("step").and_then(|step| parse_step(step, &path.key("step"), faults)) {
            risks.push(RiskStep { step: Step { guardrail: Some(of.describe()), ..step }, of });
        }
    }
    Guardrails {
        max_duration,
        max_total,
        never_roles: globs("roles").unwrap_or(usual.never_roles),
        never_namespaces: globs("namespaces").unwrap_or(usual.never_namespaces),
        max_risk,
        cluster_wide_approvers: node
            .get("clusterWide")
            .and_then(|wide| count(wide, "approvers"))
            .unwrap_or(usual.cluster_wide_approvers),
        risks,
        record: record(node).unwrap_or(usual.record),
        risks_recorded,
        refuse: parse_refuse(node, &path, &[], faults),
        keep_sessions: parsed(node, "keepSessions"),
        classified: items(node, "classify")
            .iter()
            .enumerate()
            .filter_map(|(number, item)| parse_classified(item, &path.key("classify").item(number), faults))
            .collect(),
    }
}

fn parse_classified(node: &Node, path: &Path, faults: &mut Faults) -> Option<Classified> {
    let severity = severity(node, "severity")?;
    let (group, reason) = (text(node, "group")?, text(node, "reason")?);
    if !group.contains('.') {
        return None;
    }
    match Classified::new(group, each(node, "resources"), &each(node, "verbs"), severity, reason) {
        Ok(classified) => Some(classified),
        Err(wrong) => {
            let (key, why) = (wrong.field, format!("{} is not one that can be classified", wrong.value));
            tell(faults, node, path, key, why, wrong.why);
            None
        }
    }
}

fn severity(node: &Node, key: &str) -> Option<Severity> {
    let written = text(node, key)?;
    keys::SEVERITIES.iter().copied().find(|severity| severity.as_str() == written)
}
