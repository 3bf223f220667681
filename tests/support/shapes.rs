//! The JSON Schemas of what a program prints, made from its types. A unit test of each program includes it, because these
//! types are its own.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};
use utoipa::{PartialSchema, ToSchema};

/// `docs/schemas/NAME.json` of each shape is what the types say. `UPDATE_GOLDEN=1` writes it.
pub(crate) fn are_golden(shapes: &[(&str, Value)]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().find(|above| above.join("docs/schemas").is_dir());
    let folder = folder.expect("the repository").join("docs/schemas");
    for (name, schema) in shapes {
        let path = folder.join(format!("{name}.json"));
        let made = serde_json::to_string_pretty(schema).unwrap() + "\n";
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &made).unwrap();
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(written == made, "{} differs from the types; UPDATE_GOLDEN=1 writes it", path.display());
    }
}

/// JSON Schema 2020-12 of a type, with all that it refers to. OpenAPI 3.1, which utoipa writes, has the same vocabulary, and
/// other places for what is referred to.
pub(crate) fn schema<T: ToSchema>(title: &str) -> Value {
    let mut parts = Vec::new();
    T::schemas(&mut parts);
    let parts: BTreeMap<String, Value> =
        parts.into_iter().map(|(name, part)| (name, serde_json::to_value(part).unwrap())).collect();
    let mut whole = serde_json::to_value(<T as PartialSchema>::schema()).unwrap();
    let keys: &mut Map<String, Value> = whole.as_object_mut().unwrap();
    keys.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
    keys.insert("title".to_owned(), json!(title));
    if !parts.is_empty() {
        keys.insert("$defs".to_owned(), json!(parts));
    }
    publish(&mut whole);
    whole
}

/// References lead to the parts of this document, links of rustdoc become words, and keys may be added: that a program refuses
/// unknown keys when it reads such a document is no promise about what another version writes.
fn publish(value: &mut Value) {
    match value {
        Value::Object(keys) => {
            if keys.get("additionalProperties") == Some(&json!(false)) {
                keys.remove("additionalProperties");
            }
            for (key, inner) in keys {
                match inner {
                    Value::String(target) if key == "$ref" => {
                        *target = target.replace("#/components/schemas/", "#/$defs/");
                    }
                    Value::String(words) if key == "description" => {
                        *words = words.replace("[`", "`").replace("`]", "`");
                    }
                    other => publish(other),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(publish),
        _ => {}
    }
}
