//! Describes the differences between an object in a cluster and the wanted one.
//!
//! It does no I/O. It must never print text from the cluster without escaping it. `objects` calls it.

use std::collections::BTreeSet;

use serde_json::Value;

/// The differences of `found` from `wanted`, one sentence each. Metadata and status do not count, nor does the order of
/// lists, which has no meaning in these objects.
pub(super) fn differences(wanted: &Value, found: &Value) -> Vec<String> {
    let mut differences = Vec::new();
    compare("", &effective(wanted), &effective(found), &mut differences);
    differences
}

/// The part of an object that determines its effect, in canonical form.
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

fn compare(at: &str, wanted: &Value, found: &Value, differences: &mut Vec<String>) {
    match (wanted, found) {
        (Value::Object(wanted), Value::Object(found)) => {
            for key in wanted.keys().chain(found.keys()).collect::<BTreeSet<_>>() {
                let at = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
                match (wanted.get(key), found.get(key)) {
                    (Some(wanted), Some(found)) => compare(&at, wanted, found, differences),
                    (Some(wanted), None) => differences.push(format!("`{at}` lacks {}", shown(wanted))),
                    (None, Some(found)) => differences.push(format!("`{at}` has {}", shown(found))),
                    (None, None) => {}
                }
            }
        }
        (Value::Array(wanted), Value::Array(found)) => {
            for item in wanted.iter().filter(|item| !found.contains(item)) {
                differences.push(format!("`{at}` lacks {}", shown(item)));
            }
            for item in found.iter().filter(|item| !wanted.contains(item)) {
                differences.push(format!("`{at}` has {}", shown(item)));
            }
        }
        (wanted, found) if wanted != found => {
            differences.push(format!("`{at}` is {} instead of {}", shown(found), shown(wanted)));
        }
        _ => {}
    }
}

/// A value for a sentence: it may come from somebody else, so it is escaped and cut.
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
    fn fields_that_the_api_server_adds_are_not_differences() {
        let wanted = json!({
            "kind": "ClusterRole", "metadata": { "name": "a" }, "selector": {},
            "rules": [{ "verbs": ["get", "list"], "apiGroups": [""] }, { "verbs": ["bind"] }],
        });
        let found = json!({
            "metadata": { "name": "a", "uid": "u", "managedFields": [] }, "aggregationRule": null, "status": { "x": 1 },
            "rules": [{ "verbs": ["bind"] }, { "apiGroups": [""], "verbs": ["list", "get"], "resourceNames": [] }],
        });
        assert_eq!(differences(&wanted, &found), Vec::<String>::new());
    }

    #[test]
    fn each_difference_is_reported_with_its_path() {
        let wanted = json!({ "spec": { "mode": "Fail", "list": ["a", "b"], "gone": 1 } });
        let found = json!({ "spec": { "mode": "Ignore\n", "list": ["b", "c"], "more": { "x": 1 } } });
        assert_eq!(
            differences(&wanted, &found),
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
