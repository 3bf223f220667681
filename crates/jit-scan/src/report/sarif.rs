//! The report for code scanning: SARIF 2.1.0.
//!
//! Code scanning wants a file for each finding. For manifests it is the file and the line of the first object of the path that
//! is in one. For a cluster it is the object's name as a relative address, such as `clusterrolebinding/ops`.

use std::collections::BTreeMap;

use jit_core::rbac::risk::{Severity, catalogue};
use serde_json::{Value, json};

use super::{Document, Entry, State};
use crate::finding::Hop;
use crate::snapshot::Place;

/// Where objects are written, by their names; [`Snapshot::places`](crate::Snapshot::places).
type Places = BTreeMap<String, Place>;

/// The report as SARIF 2.1.0, indented; `version` is that of the program.
///
/// # Errors
/// None in practice: all of it is text, numbers and lists.
pub fn sarif(
    document: &Document,
    places: &BTreeMap<String, Place>,
    version: &str,
) -> Result<String, serde_json::Error> {
    let rules = rules(document);
    let position: BTreeMap<&str, usize> = rules.keys().enumerate().map(|(at, id)| (*id, at)).collect();
    // What Kubernetes ships is nobody's to change, and would be most of the alerts.
    let counts = |entry: &&Entry| entry.state != State::System;
    let results: Vec<Value> = document
        .entries
        .iter()
        .filter(counts)
        .map(|entry| result(entry, places, position.get(entry.finding.id.as_str()).copied()))
        .collect();
    let notifications: Vec<Value> = document
        .not_evaluated
        .iter()
        .map(|missing| {
            let words = format!("not evaluated: {}: {}", missing.what, missing.why);
            json!({"level": "warning", "message": {"text": words}})
        })
        .collect();
    let log = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {"name": "jitd scan", "version": version, "rules": rules.into_values().collect::<Vec<_>>()}},
            "invocations": [{"executionSuccessful": true, "toolExecutionNotifications": notifications}],
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    });
    let mut text = serde_json::to_string_pretty(&log)?;
    text.push('\n');
    Ok(text)
}

/// The rules of the results by id; the severity of a rule is the worst of its results.
fn rules(document: &Document) -> BTreeMap<&str, Value> {
    let mut worst: BTreeMap<&str, &Entry> = BTreeMap::new();
    for entry in document.entries.iter().filter(|entry| entry.state != State::System) {
        let known = worst.entry(&entry.finding.id).or_insert(entry);
        if known.finding.severity < entry.finding.severity {
            *known = entry;
        }
    }
    let words: BTreeMap<&str, &str> = catalogue().map(|(id, _, why)| (id.as_str(), why)).collect();
    let rule = |(id, entry): (&'_ str, &Entry)| {
        let about = words.get(id).map_or_else(|| entry.finding.title.clone(), |why| format!("Whoever has this {why}."));
        json!({
            "id": id,
            "shortDescription": {"text": about},
            "defaultConfiguration": {"level": level(entry.finding.severity)},
            "properties": {"security-severity": security_severity(entry.finding.severity), "tags": ["security"]},
        })
    };
    worst.into_iter().map(|(id, entry)| (id, rule((id, entry)))).collect()
}

fn result(entry: &Entry, places: &Places, rule: Option<usize>) -> Value {
    let finding = &entry.finding;
    let message = format!("{}, {}: {}", entry.holder(), entry.place(), finding.title);
    let steps: Vec<Value> = finding
        .path
        .iter()
        .map(|hop| {
            let words = format!("{}: {}", hop.object, hop.grants);
            json!({"location": located(hop, places, Some(&words))})
        })
        .collect();
    let is_placed = |hop: &&Hop| places.contains_key(&hop.object);
    let first = finding.path.iter().find(is_placed).or(finding.path.first());
    let mut result = json!({
        "ruleId": finding.id,
        "level": level(finding.severity),
        "message": {"text": message},
        "locations": first.map(|hop| located(hop, places, None)).into_iter().collect::<Vec<_>>(),
        "partialFingerprints": {"jitdScan/v1": entry.fingerprint},
        "properties": {"severity": finding.severity, "score": entry.score.value},
    });
    if let Some(keys) = result.as_object_mut() {
        keys.extend(rule.map(|at| ("ruleIndex".to_owned(), at.into())));
        if !steps.is_empty() {
            keys.insert("codeFlows".to_owned(), json!([{"threadFlows": [{"locations": steps}]}]));
        }
        match &entry.state {
            State::Known => {
                keys.insert("baselineState".to_owned(), "unchanged".into());
            }
            State::Accepted(exception) => {
                let words = format!("{} until {}: {}", exception.owner, exception.expires, exception.reason);
                let suppression = json!({"kind": "external", "status": "accepted", "justification": words});
                keys.insert("suppressions".to_owned(), json!([suppression]));
            }
            State::Open | State::System => {}
        }
    }
    result
}

/// An object as a place in a file, which code scanning requires, and by its own name.
fn located(hop: &Hop, places: &Places, words: Option<&str>) -> Value {
    let (file, line) = places.get(&hop.object).map_or((&hop.object, 1), |place| (&place.file, place.line));
    let mut location = json!({
        "physicalLocation": {"artifactLocation": {"uri": address(file)}, "region": {"startLine": line}},
        "logicalLocations": [{"fullyQualifiedName": hop.object, "kind": "resource"}],
    });
    if let (Some(words), Some(keys)) = (words, location.as_object_mut()) {
        keys.insert("message".to_owned(), json!({"text": words}));
    }
    location
}

/// A relative URI reference (RFC 3986, section 4.2): no scheme, no authority, no way up.
fn address(object: &str) -> String {
    let segments = object.split('/').filter(|segment| !segment.is_empty());
    let escaped = segments.map(|segment| {
        let bytes = segment.bytes().map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' => char::from(byte).to_string(),
            // A segment of dots alone means a folder.
            b'.' if segment.bytes().any(|other| other != b'.') => ".".to_owned(),
            _ => format!("%{byte:02X}"),
        });
        bytes.collect::<String>()
    });
    escaped.collect::<Vec<_>>().join("/")
}

const fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Low => "note",
        Severity::Medium => "warning",
        Severity::High | Severity::Critical | Severity::Unclassified => "error",
    }
}

/// GitHub's ranges: above 9.0 critical, from 7.0 high, from 4.0 medium.
const fn security_severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Low => "2.0",
        Severity::Medium => "5.0",
        Severity::High => "8.0",
        Severity::Critical | Severity::Unclassified => "9.5",
    }
}
