//! How a grant, a decision and the trail's entries look to a person.
//!
//! An approver has to see in five seconds who asks for what, why and for how long. Nothing of another
//! person's text gets here unescaped. The verbs are the caller.

use std::collections::{BTreeMap, BTreeSet};

use jitd::api::wire::{DecisionView, GrantView};
use jitd::grant::role::Rule;
use serde_json::Value;

use crate::access;
use crate::failure::closed;
use crate::output::{
    BOLD, DIM, GREEN, RED, ago, clock, length, paint, phase_style, safe, safe_name, seconds_to, table,
};

/// Who may answer.
pub(crate) fn groups(grant: &GrantView) -> String {
    grant.approvers.groups.iter().map(|group| safe_name(group)).collect::<Vec<_>>().join(", ")
}

/// `role view in namespace payments of prod for 15m`
pub(crate) fn sentence(grant: &GrantView) -> String {
    let place =
        grant.namespace.as_deref().map_or("all of".to_owned(), |name| format!("namespace {} of", safe_name(name)));
    format!("role {} in {place} {} for {}", safe(&grant.role), safe_name(&grant.cluster), safe(&grant.duration))
}

/// `ended (expired)`
pub(crate) fn closed_word(grant: &GrantView) -> String {
    match &grant.end_cause {
        Some(cause) => format!("{} ({})", safe(&grant.phase), safe(cause)),
        None => safe(&grant.phase),
    }
}

/// Which clock runs, in a few letters.
fn running_clock(grant: &GrantView) -> String {
    match (grant.phase.as_str(), grant.deadline, grant.ended_at) {
        ("pending", Some(at), _) => format!("answer within {}", length(seconds_to(at))),
        ("approved" | "collecting", Some(at), _) => format!("collect within {}", length(seconds_to(at))),
        ("live", Some(at), _) if seconds_to(at) > 0 => format!("{} left", length(seconds_to(at))),
        (_, _, Some(at)) => ago(at),
        _ => String::new(),
    }
}

/// A line of `ls`.
pub(crate) fn row(grant: &GrantView) -> Vec<String> {
    let reason = safe(&grant.reason);
    let short: String =
        if reason.chars().count() > 40 { reason.chars().take(39).chain(['…']).collect() } else { reason };
    let phase = if access::is_open(grant) { safe(&grant.phase) } else { closed_word(grant) };
    vec![
        safe_name(&grant.id),
        phase,
        safe_name(&grant.requester),
        safe_name(&grant.cluster),
        grant.namespace.as_deref().map_or("(all)".to_owned(), safe_name),
        safe(&grant.role),
        safe(&grant.duration),
        running_clock(grant),
        short,
    ]
}

/// A grant for somebody who has five seconds.
pub(crate) fn page(grant: &GrantView) -> String {
    let phase = paint(&safe(&grant.phase), phase_style(&grant.phase));
    let mut lines =
        vec![format!("{} asks for {}", paint(&safe_name(&grant.requester), BOLD), paint(&sentence(grant), BOLD))];
    let mut line = |heading: &str, text: &str| lines.push(format!("  {heading:<9}{text}"));
    line("why", &safe(&grant.reason));
    line("grant", &format!("{}  {phase}  {}", safe_name(&grant.id), running_clock(grant)));
    line(
        "asked",
        &format!("{} ({}), by the rule `{}`", clock(grant.requested_at), ago(grant.requested_at), safe(&grant.rule)),
    );
    let agreed: Vec<String> = grant.agreed.iter().map(|name| safe_name(name)).collect();
    let names = if agreed.is_empty() { String::new() } else { format!(": {}", agreed.join(", ")) };
    line("agreed", &format!("{} of {} ({}){names}", agreed.len(), grant.approvers.count, groups(grant)));
    if !access::is_open(grant) || grant.phase == "ending" {
        line("end", &closed(grant));
    }
    line("digest", &paint(&safe_name(&grant.digest), DIM));
    if grant.phase == "pending" {
        let warning = "an exec, port-forward or watch that is open when the time is up goes on until it is closed";
        line("mind", &paint(warning, DIM));
    }
    if let Some(rules) = &grant.rules {
        lines.push(String::new());
        lines.push(table(&["VERBS", "GROUP", "RESOURCES", "ONLY NAMED"], rule_rows(rules), true));
    }
    lines.join("\n")
}

/// The rules, nothing left out: a row for each API group with the same verbs, subresources behind their
/// resource.
fn rule_rows(rules: &[Rule]) -> Vec<Vec<String>> {
    let join = |words: &[String]| words.iter().map(|word| safe(word)).collect::<Vec<_>>().join(", ");
    let mut rows: BTreeMap<[String; 3], BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for rule in rules {
        let (verbs, names) = (join(&rule.verbs), join(&rule.resource_names));
        let groups = rule.api_groups.iter().map(|group| if group.is_empty() { "core".to_owned() } else { safe(group) });
        for group in groups {
            let row = rows.entry([verbs.clone(), group, names.clone()]).or_default();
            for resource in &rule.resources {
                let (name, sub) =
                    resource.split_once('/').map_or((resource.as_str(), None), |(name, sub)| (name, Some(sub)));
                row.entry(safe(name)).or_default().insert(sub.map(safe).unwrap_or_default());
            }
        }
        if !rule.non_resource_urls.is_empty() {
            let row = rows.entry([verbs, "URLs".to_owned(), names]).or_default();
            row.extend(rule.non_resource_urls.iter().map(|url| (safe(url), BTreeSet::from([String::new()]))));
        }
    }
    rows.into_iter()
        .map(|([verbs, group, names], resources)| {
            let told: Vec<String> = resources.iter().map(|(name, subs)| resource_told(name, subs)).collect();
            vec![verbs, group, told.join(", "), names]
        })
        .collect()
}

/// `pods`, `pods (log, status)` for it and two of its subresources, `pods/log` for the subresource alone.
fn resource_told(name: &str, subs: &BTreeSet<String>) -> String {
    let under: Vec<&str> = subs.iter().map(String::as_str).filter(|sub| !sub.is_empty()).collect();
    match (subs.contains(""), under.as_slice()) {
        (true, []) => name.to_owned(),
        (true, under) => format!("{name} ({})", under.join(", ")),
        (false, under) => under.iter().map(|sub| format!("{name}/{sub}")).collect::<Vec<_>>().join(", "),
    }
}

/// What policy would say.
pub(crate) fn explained(decision: &DecisionView) -> String {
    let rule = decision.rule.as_deref().map(|rule| format!(" by the rule `{}`", safe(rule))).unwrap_or_default();
    if decision.outcome == "ask" {
        let who = decision.approvers.as_ref().map(|approvers| {
            let groups: Vec<String> = approvers.groups.iter().map(|group| safe_name(group)).collect();
            format!("\n{} of {} would have to agree", approvers.count, groups.join(", "))
        });
        return format!("{} may be asked for{rule}{}", paint("yes:", GREEN), who.unwrap_or_default());
    }
    let nearest =
        decision.rule.as_deref().map(|rule| format!("; nearest is the rule `{}`", safe(rule))).unwrap_or_default();
    let missing: String = decision.missing.iter().map(|sentence| format!("\n- {}", safe(sentence))).collect();
    format!("{} no rule allows it{nearest}{missing}", paint("no:", RED))
}

/// A line of `events`.
pub(crate) fn event_row(entry: &Value) -> Vec<String> {
    let part = |name: &str| entry.get(name).unwrap_or(&Value::Null);
    let event = part("event");
    let rest: Vec<String> = event
        .as_object()
        .into_iter()
        .flatten()
        // Hashes, rules and the whole request are for programs; `-o json` has them.
        .filter(|(key, value)| {
            *key != "kind" && !value.is_object() && !key.ends_with("Sha256") && *key != "digest" && *key != "key"
        })
        .map(|(key, value)| format!("{}={}", safe(key), plain(value)))
        .collect();
    let at = part("at").as_str().and_then(|text| text.parse().ok()).map_or_else(|| plain(part("at")), clock);
    let kind = event.get("kind").unwrap_or(&Value::Null);
    vec![plain(part("seq")), at, plain(part("by")), plain(kind), rest.join(" ")]
}

/// A value of the trail as text.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => safe(text),
        other => safe(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rows(rules: Value) -> Vec<Vec<String>> {
        rule_rows(&serde_json::from_value::<Vec<Rule>>(rules).unwrap())
    }

    #[test]
    fn every_resource_and_subresource_of_a_rule_is_told() {
        let told = rows(json!([
            {"apiGroups": ["", "apps"], "resources": ["pods/log"], "verbs": ["get", "list"]},
            {"apiGroups": [""], "resources": ["pods", "secrets"], "verbs": ["get", "list"]},
            {"apiGroups": [""], "resources": ["secrets"], "verbs": ["delete"], "resourceNames": ["old"]},
            {"nonResourceURLs": ["/metrics"], "verbs": ["get"]},
        ]));
        assert_eq!(
            told,
            [
                ["delete", "core", "secrets", "old"],
                ["get", "URLs", "/metrics", ""],
                ["get, list", "apps", "pods/log", ""],
                ["get, list", "core", "pods (log), secrets", ""],
            ]
        );
    }
}
