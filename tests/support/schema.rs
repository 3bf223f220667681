//! Whether a value is as a JSON Schema says: as much of the language as the files in `docs/schemas` use.

use std::collections::BTreeSet;

use serde_json::{Value, json};

/// A whole schema.
pub(crate) struct Schema(pub(crate) Value);

impl Schema {
    /// What of a value is not as the schema says, or has a key that the schema does not name.
    pub(crate) fn faults(&self, value: &Value) -> Vec<String> {
        self.faults_at(&self.0, value, "$")
    }

    fn faults_at(&self, schema: &Value, value: &Value, at: &str) -> Vec<String> {
        let mut all = self.faults_but_keys(schema, value, at);
        if let (Some(known), Some(object)) = (self.keys(schema), value.as_object()) {
            all.extend(object.keys().filter(|key| !known.contains(*key)).map(|key| format!("{at} has `{key}`")));
        }
        all
    }

    /// The keys that an object may have; none if it may have any.
    fn keys(&self, schema: &Value) -> Option<BTreeSet<String>> {
        if let Some(target) = schema["$ref"].as_str() {
            return self.keys(self.target(target));
        }
        if schema["additionalProperties"].is_object() || schema["oneOf"].is_array() {
            return None;
        }
        let own = schema["properties"].as_object().map(|keys| keys.keys().cloned().collect::<BTreeSet<_>>());
        let parts = schema["allOf"].as_array().into_iter().flatten().map(|part| self.keys(part));
        parts.chain([own]).flatten().reduce(|one, other| one.union(&other).cloned().collect())
    }

    fn target(&self, reference: &str) -> &Value {
        self.0.pointer(reference.strip_prefix('#').unwrap()).unwrap_or_else(|| panic!("{reference} leads nowhere"))
    }

    fn faults_but_keys(&self, schema: &Value, value: &Value, at: &str) -> Vec<String> {
        let mut all = Vec::new();
        let mut must = |holds: bool, what: &str| {
            if !holds {
                all.push(format!("{at}: {what}: {value}"));
            }
        };
        let mut below: Vec<String> = Vec::new();
        for (keyword, rule) in schema.as_object().unwrap() {
            match keyword.as_str() {
                "$schema" | "$defs" | "title" | "description" | "default" => {}
                "$ref" => below.extend(self.faults_but_keys(self.target(rule.as_str().unwrap()), value, at)),
                "type" => {
                    let kinds = rule.as_array().cloned().unwrap_or_else(|| vec![rule.clone()]);
                    must(kinds.iter().any(|kind| is_a(kind.as_str().unwrap(), value)), "type");
                }
                "enum" => must(rule.as_array().unwrap().contains(value), "enum"),
                "const" => must(rule == value, "const"),
                "minimum" => must(value.as_f64() >= rule.as_f64(), "minimum"),
                "maximum" => must(value.as_f64() <= rule.as_f64(), "maximum"),
                "pattern" => {
                    let pattern = regex::Regex::new(rule.as_str().unwrap()).unwrap();
                    must(value.as_str().is_none_or(|text| pattern.is_match(text)), "pattern");
                }
                "format" if rule == "date-time" => {
                    must(value.as_str().is_none_or(|text| text.parse::<jiff::Timestamp>().is_ok()), "no time");
                }
                "format" => {}
                "required" => {
                    let missing =
                        rule.as_array().unwrap().iter().find(|key| value.get(key.as_str().unwrap()).is_none());
                    must(missing.is_none(), &format!("lacks {}", missing.unwrap_or(&Value::Null)));
                }
                "properties" => {
                    for (key, inner) in value.as_object().into_iter().flatten() {
                        if let Some(rule) = rule.get(key) {
                            below.extend(self.faults_at(rule, inner, &format!("{at}.{key}")));
                        }
                    }
                }
                "additionalProperties" | "propertyNames" => {
                    for (key, inner) in value.as_object().into_iter().flatten() {
                        let inner = if keyword == "propertyNames" { &json!(key) } else { inner };
                        if schema["properties"].get(key).is_none() && rule.is_object() {
                            below.extend(self.faults_at(rule, inner, &format!("{at}.{key}")));
                        }
                    }
                }
                "items" => {
                    for (number, inner) in value.as_array().into_iter().flatten().enumerate() {
                        below.extend(self.faults_at(rule, inner, &format!("{at}[{number}]")));
                    }
                }
                "allOf" => {
                    below
                        .extend(rule.as_array().unwrap().iter().flat_map(|part| self.faults_but_keys(part, value, at)));
                }
                "oneOf" => {
                    let tried: Vec<_> =
                        rule.as_array().unwrap().iter().map(|one| self.faults_at(one, value, at)).collect();
                    if tried.iter().filter(|faults| faults.is_empty()).count() != 1 {
                        below.extend(tried.concat());
                    }
                }
                other => panic!("the keyword {other}"),
            }
        }
        all.extend(below);
        all
    }
}

fn is_a(kind: &str, value: &Value) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("the type {other}"),
    }
}
