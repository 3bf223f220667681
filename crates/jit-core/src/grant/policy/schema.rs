//! The form of a file: its keys, the kinds of their values, and the words that are allowed. One description checks a
//! file and generates the JSON Schema that editors use, so the two cannot differ.
//!
//! It never decides what a file means. After the check `parse.rs` reads the tree and can rely on this form: whatever
//! deviates from it was reported as a fault.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value as Json, json};

use super::yaml::{Node, Position, Value};
use super::{Fault, Source};

/// The form of a value.
pub(super) enum Shape {
    /// Text of a given form.
    Text(Format),
    /// One of these words.
    Word(&'static [&'static str]),
    /// A whole number between these two.
    Whole(u32, u32),
    /// `true` or `false`.
    Flag,
    /// `true`; for `false` the key is left out.
    True,
    /// A list of at least this many items.
    List(&'static Shape, usize),
    /// A map whose keys the writer chooses, to values of one form.
    Map(Format, &'static Shape),
    /// A map with these keys.
    Object(&'static Object),
    /// One of two forms, distinguished by their kind.
    Either(&'static Shape, &'static Shape),
}

/// A map with known keys.
pub(super) struct Object {
    pub(super) keys: &'static [Key],
    /// Exactly one key of each of these groups must be present.
    pub(super) one_of: &'static [&'static [&'static str]],
}

/// A key of an [`Object`].
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) shape: &'static Shape,
    pub(super) need: Presence,
    /// What it is for, in the words of people who write the file.
    pub(super) about: &'static str,
}

/// What applies if a key is absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It must be present.
    Must,
    /// This value applies.
    Default(&'static str),
    /// The description says what applies.
    May,
}

/// A key as the manual describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyDoc {
    /// Its place, such as `rules[].approval[].groups`.
    pub path: String,
    /// The form of its value, such as `a duration`.
    pub form: String,
    /// What applies if it is absent.
    pub need: Presence,
    /// The other keys of its group; exactly one key of the group must be present.
    pub instead: Vec<&'static str>,
    /// What it is for.
    pub about: &'static str,
}

/// A form of text.
#[derive(Clone, Copy)]
pub(super) struct Format {
    /// Its name in `… is not a NAME`.
    pub(super) name: &'static str,
    /// A regular expression that every text of this form matches. It only helps editors; `check` decides.
    pub(super) pattern: &'static str,
    /// The error says what to write instead.
    pub(super) check: fn(&str) -> Result<(), String>,
}

/// Collects the faults of one file.
pub(super) struct Faults {
    source: Source,
    found: Vec<Fault>,
}

/// A place in the file's tree, such as `rules[2].maxDuration`.
#[derive(Clone, Debug, Default)]
pub(super) struct Path(String);

impl Path {
    pub(super) fn key(&self, key: &str) -> Self {
        Self(if self.0.is_empty() { key.to_owned() } else { format!("{}.{key}", self.0) })
    }

    pub(super) fn item(&self, number: usize) -> Self {
        Self(format!("{}[{number}]", self.0))
    }

    fn items(&self) -> Self {
        Self(format!("{}[]", self.0))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Faults {
    pub(super) fn of(source: Source) -> Self {
        Self { source, found: Vec::new() }
    }

    pub(super) fn source(&self) -> Source {
        self.source
    }

    /// Adds a fault: what is wrong, and what to write instead.
    pub(super) fn tell(&mut self, place: Position, path: &Path, why: impl Into<String>, hint: impl Into<String>) {
        let (file, line, column) = (self.source, place.line, place.column);
        let (path, why, hint) = (path.to_string(), why.into(), hint.into());
        self.found.push(Fault { file, line, column, path, why, hint });
    }

    /// The faults in the order of the file.
    pub(super) fn into_sorted(mut self) -> Vec<Fault> {
        self.found.sort_by_key(|fault| (fault.line, fault.column));
        self.found
    }
}

impl Shape {
    /// Reports everything in `node` that does not have this form.
    pub(super) fn check(&self, node: &Node, path: &Path, faults: &mut Faults) {
        match (self, &node.value) {
            (Self::Either(one, other), _) => {
                let fits = if other.is_kind_of(&node.value) { other } else { one };
                if fits.is_kind_of(&node.value) {
                    fits.check(node, path, faults);
                } else {
                    faults.tell(node.place, path, format!("is {}", kind(&node.value)), format!("write {self}"));
                }
            }
            (Self::Text(format), Value::Text(text)) => {
                if let Err(hint) = (format.check)(text) {
                    let shown: String = text.chars().take(60).flat_map(char::escape_default).collect();
                    faults.tell(node.place, path, format!("`{shown}` is not a {}", format.name), hint);
                }
            }
            (Self::Word(words), Value::Text(text)) if !words.contains(&text.as_str()) => {
                let shown: String = text.chars().take(60).flat_map(char::escape_default).collect();
                faults.tell(node.place, path, format!("`{shown}` is unknown"), nearest(text, words));
            }
            (Self::Whole(least, most), Value::Number(_)) => {
                if node.whole().is_none_or(|number| !(*least..=*most).contains(&number)) {
                    faults.tell(node.place, path, "is out of range", format!("write {self}"));
                }
            }
            (Self::True, Value::Flag(false)) => {
                faults.tell(node.place, path, "only `true` is allowed here", "remove the key");
            }
            (Self::List(of, least), Value::List(items)) => {
                if items.len() < *least {
                    faults.tell(node.place, path, "is empty, so it can never be used", "list at least one");
                }
                for (number, item) in items.iter().enumerate() {
                    of.check(item, &path.item(number), faults);
                }
            }
            (Self::Map(words, of), Value::Map(entries)) => {
                let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
                for entry in entries {
                    let path = path.key(&entry.key);
                    twice(&mut seen, entry, &path, faults);
                    if let Err(hint) = (words.check)(&entry.key) {
                        faults.tell(entry.place, &path, format!("is not a {}", words.name), hint);
                    }
                    of.check(&entry.node, &path, faults);
                }
            }
            (Self::Object(object), Value::Map(_)) => object.check(node, path, faults),
            (shape, value) if shape.is_kind_of(value) => {}
            (shape, value) => {
                faults.tell(
                    node.place,
                    path,
                    format!("is {}", kind(value)),
                    format!("write {shape}{}", shape.quotes(value)),
                );
            }
        }
    }

    fn quotes(&self, value: &Value) -> &'static str {
        match (self, value) {
            (Self::Text(_) | Self::Word(_), Value::Flag(_) | Value::Number(_)) => " in quotes",
            _ => "",
        }
    }

    fn is_kind_of(&self, value: &Value) -> bool {
        match self {
            Self::Text(_) | Self::Word(_) => matches!(value, Value::Text(_)),
            Self::Whole(..) => matches!(value, Value::Number(_)),
            Self::Flag | Self::True => matches!(value, Value::Flag(_)),
            Self::List(..) => matches!(value, Value::List(_)),
            Self::Map(..) | Self::Object(_) => matches!(value, Value::Map(_)),
            Self::Either(one, other) => one.is_kind_of(value) || other.is_kind_of(value),
        }
    }

    /// Describes every key below `path`, from the top down.
    pub(super) fn tell(&self, path: &Path, told: &mut Vec<KeyDoc>) {
        match self {
            Self::Object(object) => {
                for key in object.keys {
                    let path = path.key(key.name);
                    let group =
                        object.one_of.iter().find(|group| group.contains(&key.name)).copied().unwrap_or_default();
                    told.push(KeyDoc {
                        path: path.to_string(),
                        form: key.shape.in_short(),
                        need: key.need,
                        instead: group.iter().filter(|name| **name != key.name).copied().collect(),
                        about: key.about,
                    });
                    key.shape.tell(&path, told);
                }
            }
            Self::List(of, _) => of.tell(&path.items(), told),
            Self::Either(one, other) => {
                one.tell(path, told);
                other.tell(path, told);
            }
            Self::Map(words, of) => of.tell(&path.key(&words.name.to_uppercase()), told),
            Self::Text(_) | Self::Word(_) | Self::Whole(..) | Self::Flag | Self::True => {}
        }
    }

    /// The form in short, because the keys of a map are described separately.
    fn in_short(&self) -> String {
        match self {
            Self::Object(_) => "a map".to_owned(),
            Self::List(of, _) => format!("a list, each item {}", of.in_short()),
            Self::Either(one, other) => format!("{}, or {}", one.in_short(), other.in_short()),
            other => other.to_string(),
        }
    }

    /// The JSON Schema of this form.
    pub(super) fn schema(&self) -> Json {
        match self {
            Self::Text(format) => json!({ "type": "string", "pattern": format.pattern }),
            Self::Word(words) => json!({ "enum": words }),
            Self::Whole(least, most) => json!({ "type": "integer", "minimum": least, "maximum": most }),
            Self::Flag => json!({ "type": "boolean" }),
            Self::True => json!({ "const": true }),
            Self::List(of, least) => json!({ "type": "array", "items": of.schema(), "minItems": least }),
            Self::Map(words, of) => json!({
                "type": "object", "propertyNames": { "pattern": words.pattern }, "additionalProperties": of.schema(),
            }),
            Self::Object(object) => object.schema(),
            Self::Either(one, other) => json!({ "anyOf": [one.schema(), other.schema()] }),
        }
    }
}

/// What to write, as part of a hint.
impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(format) => write!(f, "a {}", format.name),
            Self::Word(words) => write!(f, "one of {}", words.join(", ")),
            Self::Whole(least, most) => write!(f, "a whole number from {least} to {most}"),
            Self::Flag => f.write_str("true or false"),
            Self::True => f.write_str("true, or leave it out"),
            Self::List(of, _) => write!(f, "a list, each item {of}"),
            Self::Map(words, _) => write!(f, "a map, each key a {}", words.name),
            Self::Object(object) => {
                let keys: Vec<&str> = object.keys.iter().map(|key| key.name).collect();
                write!(f, "a map with {}", keys.join(", "))
            }
            Self::Either(one, other) => write!(f, "{one}, or {other}"),
        }
    }
}

impl Object {
    fn check(&self, node: &Node, path: &Path, faults: &mut Faults) {
        let names: Vec<&str> = self.keys.iter().map(|key| key.name).collect();
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        for entry in node.entries() {
            let path = path.key(&entry.key);
            twice(&mut seen, entry, &path, faults);
            match self.keys.iter().find(|key| key.name == entry.key) {
                Some(key) => key.shape.check(&entry.node, &path, faults),
                None if entry.key == "<<" => {
                    faults.tell(entry.place, &path, "merge keys are not supported", "write the keys out");
                }
                None => {
                    faults.tell(entry.place, &path, "is unknown", nearest(&entry.key, &names));
                }
            }
        }
        for key in self.keys.iter().filter(|key| key.need == Presence::Must && node.get(key.name).is_none()) {
            faults.tell(node.place, path, format!("`{}` is missing", key.name), key.about);
        }
        for group in self.one_of {
            let mut there = node.entries().iter().filter(|entry| group.contains(&entry.key.as_str()));
            match (there.next(), there.next()) {
                (None, _) => {
                    faults.tell(node.place, path, format!("has none of {}", quoted(group)), "write one of them");
                }
                (Some(_), Some(second)) => {
                    let told = format!("only one of {} is allowed", quoted(group));
                    faults.tell(second.place, &path.key(&second.key), told, "keep one");
                }
                (Some(_), None) => {}
            }
        }
    }

    fn schema(&self) -> Json {
        let mut properties = Map::new();
        for key in self.keys {
            let mut schema = key.shape.schema();
            if let Some(schema) = schema.as_object_mut() {
                schema.insert("description".to_owned(), json!(key.about));
                if let Presence::Default(text) = key.need {
                    // A default is written in YAML. It is JSON too, except that text has no quotes.
                    let value = serde_json::from_str(text).unwrap_or_else(|_| json!(text));
                    schema.insert("default".to_owned(), value);
                }
            }
            properties.insert(key.name.to_owned(), schema);
        }
        let needed: Vec<&str> = self.keys.iter().filter(|key| key.need == Presence::Must).map(|key| key.name).collect();
        let mut schema = json!({
            "type": "object", "properties": properties, "required": needed, "additionalProperties": false,
        });
        if let (Some(schema), false) = (schema.as_object_mut(), self.one_of.is_empty()) {
            let one = |group: &&[&str]| json!({ "oneOf": group.iter().map(|name| json!({ "required": [name] })).collect::<Vec<_>>() });
            schema.insert("allOf".to_owned(), self.one_of.iter().map(one).collect());
        }
        schema
    }
}

fn twice<'a>(seen: &mut BTreeMap<&'a str, usize>, entry: &'a super::yaml::MapEntry, path: &Path, faults: &mut Faults) {
    if let Some(line) = seen.insert(&entry.key, entry.place.line) {
        faults.tell(entry.place, path, format!("is written twice, first in line {line}"), "remove one");
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Empty => "empty",
        Value::Flag(_) => "true or false",
        Value::Number(_) => "a number",
        Value::Text(_) => "text",
        Value::List(_) => "a list",
        Value::Map(_) => "a map",
    }
}

/// `did you mean …`, or all known words.
pub(super) fn nearest(written: &str, known: &[&str]) -> String {
    let lower = written.to_lowercase();
    let close = known.iter().map(|word| (strsim::osa_distance(&lower, &word.to_lowercase()), word)).min();
    match close {
        // Two letters of a word of three are another word.
        Some((distance, word)) if distance <= 2.max(written.len() / 3) && distance * 2 <= written.chars().count() => {
            format!("did you mean `{word}`?")
        }
        _ if known.is_empty() => "there are none".to_owned(),
        _ => format!("use one of {}", quoted(known)),
    }
}

fn quoted(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}
