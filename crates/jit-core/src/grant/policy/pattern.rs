//! Which namespaces and roles a rule covers: names, globs, and label selectors as kubectl writes them.
//!
//! A selector is never guessed: if a namespace's labels are unknown, the answer is [`Fit::Unknown`], and the caller
//! treats it as "no". The policy's rules, denials and guardrails call this.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::str::FromStr;

use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

use crate::grant::request::Namespace;

/// The labels of the namespaces that were looked up.
pub type Labels = BTreeMap<Namespace, BTreeMap<String, String>>;

/// Whether a pattern matches a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    Yes,
    No,
    /// It depends on labels that are not known here.
    Unknown,
}

/// A regular expression of bounded size; the time to match is linear in the text.
pub(super) fn regex(text: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(text).size_limit(1 << 20).build()
}

/// One entry under `namespaces`. The trail stores it as it is displayed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum NamespacePattern {
    /// The namespace of this name.
    Name(Namespace),
    /// Every namespace whose name matches.
    Glob(Glob),
    /// Every namespace whose labels match.
    Labels(Selector),
}

impl NamespacePattern {
    pub(super) fn fit(&self, namespace: &Namespace, labels: Option<&Labels>) -> Fit {
        let fits = match self {
            Self::Name(name) => name == namespace,
            Self::Glob(glob) => glob.is_match(namespace.as_str()),
            Self::Labels(selector) => match labels.and_then(|labels| labels.get(namespace)) {
                Some(labels) => selector.is_match(labels),
                None => return Fit::Unknown,
            },
        };
        if fits { Fit::Yes } else { Fit::No }
    }
}

/// How many of the namespaces that one pattern matches another one matches too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Overlap {
    /// None.
    No,
    /// Some of them, or possibly some, if the labels decide.
    Some,
    /// Every one.
    All,
}

impl NamespacePattern {
    /// How many of its namespaces `other` matches too.
    pub(super) fn overlap(&self, other: &Self) -> Overlap {
        match (self, other) {
            _ if self == other => Overlap::All,
            (Self::Labels(_), _) | (_, Self::Labels(_)) => Overlap::Some,
            (Self::Name(name), other) if other.fit(name, None) == Fit::Yes => Overlap::All,
            // A `*` of the other one also matches the wildcards of this one; a `?` matches one letter only.
            (Self::Glob(glob), Self::Glob(other)) if !other.0.contains('?') && other.is_match(&glob.0) => Overlap::All,
            (Self::Glob(glob), Self::Glob(other)) if glob.meet(&other.0).is_some() => Overlap::Some,
            (Self::Glob(glob), Self::Name(name)) if glob.is_match(name.as_str()) => Overlap::Some,
            _ => Overlap::No,
        }
    }
}

impl FromStr for NamespacePattern {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains(['*', '?']) {
            let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '*' | '?');
            if text.len() > 63 || !text.chars().all(legal) {
                return Err("use up to 63 of a-z 0-9 -, with * for any characters and ? for one".to_owned());
            }
            return Ok(Self::Glob(Glob(text.to_owned())));
        }
        text.parse().map(Self::Name).map_err(|wrong: crate::grant::request::Malformed| wrong.why)
    }
}

impl fmt::Display for NamespacePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "{name}"),
            Self::Glob(glob) => write!(f, "{glob}"),
            Self::Labels(selector) => write!(f, "{LABELS}{selector}"),
        }
    }
}

impl TryFrom<String> for NamespacePattern {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        match text.strip_prefix(LABELS) {
            Some(selector) => selector.parse().map(Self::Labels),
            None => text.parse(),
        }
    }
}

impl From<NamespacePattern> for String {
    fn from(pattern: NamespacePattern) -> Self {
        pattern.to_string()
    }
}

/// The prefix of a selector where a name is possible too; no name contains a space.
const LABELS: &str = "labels ";

/// A name in which `*` matches any characters and `?` matches one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(String);

impl Glob {
    /// Whether it matches the whole of `text`.
    #[must_use]
    pub fn is_match(&self, text: &str) -> bool {
        let (mut pattern, mut rest) = (self.0.as_bytes(), text.as_bytes());
        // Where to continue after a mismatch: behind the last `*`, one byte of the text later.
        let mut again: Option<(&[u8], &[u8])> = None;
        loop {
            match (pattern.split_first(), rest.split_first()) {
                (Some((b'*', behind)), _) => {
                    again = Some((behind, rest));
                    pattern = behind;
                }
                (Some((wanted, behind)), Some((byte, left))) if wanted == byte || *wanted == b'?' => {
                    (pattern, rest) = (behind, left);
                }
                (None, None) => return true,
                _ => {
                    let Some((behind, (_, left))) =
                        again.and_then(|(behind, from)| Some((behind, from.split_first()?)))
                    else {
                        return false;
                    };
                    again = Some((behind, left));
                    (pattern, rest) = (behind, left);
                }
            }
        }
    }
}

impl Glob {
    /// The shortest name that both this and `other` match, in which each `*` stands for at least one character; none if
    /// there is no such name. The search is breadth first over the positions in both.
    pub(super) fn meet(&self, other: &str) -> Option<String> {
        let spelled = |text: &str| text.replace('*', "?*").into_bytes();
        let (one, other) = (spelled(&self.0), spelled(other));
        let mut queue = VecDeque::from([(0, 0, String::new())]);
        let mut seen = BTreeSet::new();
        while let Some((left, right, text)) = queue.pop_front() {
            if !seen.insert((left, right)) {
                continue;
            }
            let (here, there) = (one.get(left), other.get(right));
            if here.is_none() && there.is_none() {
                return Some(text);
            }
            if here == Some(&b'*') {
                queue.push_back((left + 1, right, text.clone()));
            }
            if there == Some(&b'*') {
                queue.push_back((left, right + 1, text.clone()));
            }
            let (Some(here), Some(there)) = (here, there) else { continue };
            let is_any = |byte: u8| matches!(byte, b'*' | b'?');
            let letter = match (is_any(*here), is_any(*there)) {
                (true, true) => b'x',
                (true, false) => *there,
                (false, true) => *here,
                (false, false) if here == there => *here,
                (false, false) => continue,
            };
            let next = |place: usize, byte: u8| if byte == b'*' { place } else { place + 1 };
            queue.push_back((next(left, *here), next(right, *there), format!("{text}{}", char::from(letter))));
        }
        None
    }
}

/// A namespace that all of these patterns match, with its labels. `None` does not prove that there is no such
/// namespace.
pub(super) fn witness(patterns: &[&NamespacePattern]) -> Option<(Namespace, BTreeMap<String, String>)> {
    let name = patterns.iter().find_map(|pattern| match pattern {
        NamespacePattern::Name(name) => Some(name.clone()),
        _ => None,
    });
    let mut globs = patterns.iter().filter_map(|pattern| match pattern {
        NamespacePattern::Glob(glob) => Some(glob),
        _ => None,
    });
    let name = match (name, globs.next()) {
        (Some(name), _) => name,
        (None, Some(glob)) => glob.meet(globs.next().map_or("*", |other| &other.0))?.parse().ok()?,
        (None, None) => "labelled".parse().ok()?,
    };
    let requirements: Vec<&Requirement> = patterns
        .iter()
        .filter_map(|pattern| match pattern {
            NamespacePattern::Labels(selector) => Some(selector.requirements()),
            _ => None,
        })
        .flatten()
        .collect();
    let mut labels = BTreeMap::new();
    for requirement in &requirements {
        let key = requirement.key();
        let fits = |labels: &BTreeMap<String, String>| {
            requirements.iter().filter(|other| other.key() == key).all(|other| other.is_met(labels))
        };
        if labels.contains_key(key) || fits(&BTreeMap::new()) {
            continue;
        }
        let named = requirements.iter().flat_map(|other| match other {
            Requirement::In(_, values) => values.as_slice(),
            _ => &[],
        });
        let value = named
            .cloned()
            .chain(["x".to_owned(), "y".to_owned()])
            .find(|value| fits(&BTreeMap::from([(key.to_owned(), value.clone())])))?;
        labels.insert(key.to_owned(), value);
    }
    let known = Labels::from([(name.clone(), labels.clone())]);
    patterns.iter().all(|pattern| pattern.fit(&name, Some(&known)) == Fit::Yes).then_some((name, labels))
}

impl FromStr for Glob {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '.' | '_' | '-' | '/' | '*' | '?');
        if (1..=253).contains(&text.len()) && text.chars().all(legal) {
            Ok(Self(text.to_owned()))
        } else {
            Err("use a name or a glob; * matches any characters, ? matches one".to_owned())
        }
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A label selector as kubectl writes it; all requirements have to hold
/// (<https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors>).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    requirements: Vec<Requirement>,
}

/// One requirement of a [`Selector`], as in `metav1.LabelSelectorRequirement`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// `key=value`, `key in (a,b)`: the label exists, with one of these values.
    In(String, Vec<String>),
    /// `key!=value`, `key notin (a,b)`: the label has none of these values, or does not exist.
    NotIn(String, Vec<String>),
    /// `key`: the label exists.
    Exists(String),
    /// `!key`: the label does not exist.
    DoesNotExist(String),
}

impl Selector {
    /// The requirements, all of which have to hold.
    #[must_use]
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// Whether these labels fulfil every requirement.
    #[must_use]
    pub fn is_match(&self, labels: &BTreeMap<String, String>) -> bool {
        self.requirements.iter().all(|requirement| requirement.is_met(labels))
    }
}

impl Requirement {
    fn key(&self) -> &str {
        match self {
            Self::In(key, _) | Self::NotIn(key, _) | Self::Exists(key) | Self::DoesNotExist(key) => key,
        }
    }

    fn is_met(&self, labels: &BTreeMap<String, String>) -> bool {
        match self {
            Self::In(key, values) => labels.get(key).is_some_and(|value| values.contains(value)),
            Self::NotIn(key, values) => labels.get(key).is_none_or(|value| !values.contains(value)),
            Self::Exists(key) => labels.contains_key(key),
            Self::DoesNotExist(key) => !labels.contains_key(key),
        }
    }
}

impl FromStr for Selector {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let mut requirements = Vec::new();
        let mut rest = text;
        loop {
            // A comma inside parentheses belongs to a list of values.
            let mut depth = 0_i32;
            let end = rest.find(|c: char| {
                depth += i32::from(c == '(') - i32::from(c == ')');
                c == ',' && depth == 0
            });
            let (one, more) = match end {
                Some(end) => (rest.get(..end).unwrap_or_default(), rest.get(end + 1..)),
                None => (rest, None),
            };
            requirements.push(requirement(one.trim())?);
            match more {
                Some(more) => rest = more,
                None => return Ok(Self { requirements }),
            }
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, requirement) in self.requirements.iter().enumerate() {
            let comma = if number == 0 { "" } else { "," };
            match requirement {
                Requirement::In(key, values) => match values.as_slice() {
                    [value] => write!(f, "{comma}{key}={value}")?,
                    values => write!(f, "{comma}{key} in ({})", values.join(","))?,
                },
                Requirement::NotIn(key, values) => match values.as_slice() {
                    [value] => write!(f, "{comma}{key}!={value}")?,
                    values => write!(f, "{comma}{key} notin ({})", values.join(","))?,
                },
                Requirement::Exists(key) => write!(f, "{comma}{key}")?,
                Requirement::DoesNotExist(key) => write!(f, "{comma}!{key}")?,
            }
        }
        Ok(())
    }
}

fn requirement(text: &str) -> Result<Requirement, String> {
    if let Some(name) = text.strip_prefix('!') {
        return Ok(Requirement::DoesNotExist(key(name)?));
    }
    if let Some((head, list)) = text.split_once('(') {
        let list = list.strip_suffix(')').ok_or("a `(` is not closed")?;
        let values = list.split(',').map(value).collect::<Result<Vec<_>, _>>()?;
        return match head.split_whitespace().collect::<Vec<_>>().as_slice() {
            [name, "in"] => Ok(Requirement::In(key(name)?, values)),
            [name, "notin"] => Ok(Requirement::NotIn(key(name)?, values)),
            _ => Err("write `key in` or `key notin` before `(`".to_owned()),
        };
    }
    if let Some((name, unwanted)) = text.split_once("!=") {
        return Ok(Requirement::NotIn(key(name)?, vec![value(unwanted)?]));
    }
    if let Some((name, wanted)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return Ok(Requirement::In(key(name)?, vec![value(wanted)?]));
    }
    Ok(Requirement::Exists(key(text)?))
}

/// A label key: a name of up to 63 characters; a prefix before it is a DNS subdomain and `/`
/// (<https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set>).
fn key(text: &str) -> Result<String, String> {
    let text = text.trim();
    let (prefix, name) = text.split_once('/').map_or((None, text), |(prefix, name)| (Some(prefix), name));
    let subdomain = |prefix: &str| {
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
        (1..=253).contains(&prefix.len()) && prefix.chars().all(legal)
    };
    if is_label_word(name) && prefix.is_none_or(subdomain) {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "`{}` is not a label; write key=value, key!=value, key in (a,b), key notin (a,b), key or !key",
            text.escape_default()
        ))
    }
}

fn value(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || is_label_word(text) {
        Ok(text.to_owned())
    } else {
        Err(format!("`{}` is not a label value; use up to 63 of A-Z a-z 0-9 - _ .", text.escape_default()))
    }
}

fn is_label_word(text: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    text.len() <= 63 && text.chars().all(legal) && edge(text.chars().next()) && edge(text.chars().last())
}
