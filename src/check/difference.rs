//! What tells an object in a cluster from the one that is wanted, in sentences.
//!
//! Pure. It must never print another's words without escaping them. `objects` calls it.

use std::collections::BTreeSet;

use serde_json::Value;

/// What tells `there` from `wanted`, a sentence each; identity and status do not count, and neither does the
/// order of a list, which the API server gives no meaning here.
pub(super) fn differences(wanted: &Value, there: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare("", &effective(wanted), &effective(there), &mut found);
    found
}

/// The part of an object that says what it does, in one canonical form.
fn effective(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.retain(|key, _| !matches!(key.as_str(), "apiVersion" | "kind" | "metadata" | "status"));
    }
    canonical(object)
}

fn canonical(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().map(|(key, value)| (key, canonical(value)));
            Value::Object(fields.filter(|(_, value)| !is_empty(value)).collect())
        }
        Value::Array(items) => {
            let mut items: Vec<Value> = items.into_iter().map(canonical).collect();
            items.sort_by_cached_key(Value::to_string);
            Value::Array(items)
        }
        other => other,
    }
}

/// An absent field and an empty one mean the same to the API server.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

fn compare(at: &str, wanted: &Value, there: &Value, found: &mut Vec<String>) {
    match (wanted, there) {
        (Value::Object(wanted), Value::Object(there)) => {
            for key in wanted.keys().chain(there.keys()).collect::<BTreeSet<_>>() {
                let at = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
                match (wanted.get(key), there.get(key)) {
                    (Some(wanted), Some(there)) => compare(&at, wanted, there, found),
                    (Some(wanted), None) => found.push(format!("`{at}` lacks {}", shown(wanted))),
                    (None, Some(there)) => found.push(format!("`{at}` has {}", shown(there))),
                    (None, None) => {}
                }
            }
        }
        (Value::Array(wanted), Value::Array(there)) => {
            for item in wanted.iter().filter(|item| !there.contains(item)) {
                found.push(format!("`{at}` lacks {}", shown(item)));
            }
            for item in there.iter().filter(|item| !wanted.contains(item)) {
                found.push(format!("`{at}` has {}", shown(item)));
            }
        }
        (wanted, there) if wanted != there => {
            found.push(format!("`{at}` is {} instead of {}", shown(there), shown(wanted)));
        }
        _ => {}
    }
}

/// The words may be another's, so they are escaped and cut.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    let cut: String = text
        .chars()
        .take(300)
        .flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] })
        .collect();
    if text.chars().count() > 300 { format!("{cut}…") } else { cut }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_api_server_adds_is_no_difference() {
        let wanted = json!({
            "kind": "ClusterRole", "metadata": { "name": "a" }, "selector": {},
            "rules": [{ "verbs": ["get", "list"], "apiGroups": [""] }, { "verbs": ["bind"] }],
        });
        let there = json!({
            "metadata": { "name": "a", "uid": "u", "managedFields": [] }, "aggregationRule": null, "status": { "x": 1 },
            "rules": [{ "verbs": ["bind"] }, { "apiGroups": [""], "verbs": ["list", "get"], "resourceNames": [] }],
        });
        assert_eq!(differences(&wanted, &there), Vec::<String>::new());
    }

    #[test]
    fn each_difference_is_told_with_its_place() {
        let wanted = json!({ "spec": { "mode": "Fail", "list": ["a", "b"], "gone": 1 } });
        let there = json!({ "spec": { "mode": "Ignore\n", "list": ["b", "c"], "more": { "x": 1 } } });
        assert_eq!(
            differences(&wanted, &there),
            [
                "`spec.gone` lacks 1",
                "`spec.list` lacks \"a\"",
                "`spec.list` has \"c\"",
                "`spec.mode` is \"Ignore\\n\" instead of \"Fail\"",
                "`spec.more` has {\"x\":1}",
            ]
        );
    }
}
