//! Reads YAML with the line and column of every word, so that each mistake is reported at its position.
//!
//! It reads a small subset of YAML: maps, lists and scalars. Anchors, aliases, tags and second documents are refused, and
//! depth and size are bounded, so that a small file cannot expand into a large one. It never decides what a word means;
//! its callers, `schema.rs` and `parse.rs`, do.

use granit_parser::{Event, Options, Parser, ScalarStyle, ScanError, Span};

/// The maximum size of a file, in bytes.
const LARGEST: usize = 1 << 20;

/// The maximum depth of nested lists and maps; our files need nine.
const DEEPEST: usize = 24;

/// Where a word begins: line and column, both counted from 1, the column in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    pub(super) line: usize,
    pub(super) column: usize,
}

/// A value and its position.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) place: Position,
    pub(super) value: Value,
}

/// The kind of a value, by its form alone.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// Nothing, `null` or `~`.
    Empty,
    /// `true` or `false`, without quotes.
    Flag(bool),
    /// A number without quotes.
    Number(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<MapEntry>),
}

/// A key, its position, and its value.
#[derive(Clone, Debug)]
pub(super) struct MapEntry {
    pub(super) key: String,
    pub(super) place: Position,
    pub(super) node: Node,
}

/// Invalid YAML, or YAML that this reader refuses.
#[derive(Debug)]
pub(super) struct Unread {
    pub(super) place: Position,
    pub(super) why: String,
    pub(super) hint: &'static str,
}

fn unread(place: Position, why: impl Into<String>, hint: &'static str) -> Unread {
    Unread { place, why: why.into(), hint }
}

impl Node {
    /// Parses a file into a tree.
    pub(super) fn read(text: &str) -> Result<Self, Vec<Unread>> {
        let begin = Position { line: 1, column: 1 };
        if text.len() > LARGEST {
            return Err(vec![unread(begin, "the file is larger than 1 MiB", "check that it is the right file")]);
        }
        let mut options = Options::default();
        options.disallow_directives = true;
        options.emit_comments = false;
        options.flow_nesting_limit = DEEPEST;
        options.block_nesting_limit = DEEPEST;
        let mut reader = Reader { parser: Parser::new_from_str_with_options(text, options), unread: Vec::new() };
        let root = reader.document().unwrap_or_else(|stop| {
            reader.unread.push(stop);
            Self { place: begin, value: Value::Empty }
        });
        if reader.unread.is_empty() { Ok(root) } else { Err(reader.unread) }
    }

    /// The value of `key`, if this is a map that contains it.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|entry| entry.key == key).map(|entry| &entry.node),
            _ => None,
        }
    }

    /// The items of a list; empty for any other kind.
    pub(super) fn list(&self) -> &[Self] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// The entries of a map; empty for any other kind.
    pub(super) fn entries(&self) -> &[MapEntry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn whole(&self) -> Option<u32> {
        match self.value {
            // In this range every whole number has an exact f64.
            Value::Number(number) if number.fract() == 0.0 && (0.0..=1e9).contains(&number) => {
                format!("{number}").parse().ok()
            }
            _ => None,
        }
    }

    pub(super) fn is_true(&self) -> bool {
        matches!(self.value, Value::Flag(true))
    }
}

struct Reader<'a> {
    parser: Parser<'a, granit_parser::StrInput<'a>>,
    unread: Vec<Unread>,
}

impl<'a> Reader<'a> {
    fn document(&mut self) -> Result<Node, Unread> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => break,
                Event::StreamStart | Event::DocumentEnd => {}
                Event::DocumentStart(..) if root.is_none() => {}
                Event::DocumentStart(..) => {
                    return Err(unread(
                        place(&span),
                        "a file contains one document only",
                        "write the second one into a separate file",
                    ));
                }
                event => root = Some(self.node(event, &span)?),
            }
        }
        Ok(root.unwrap_or(Node { place: Position { line: 1, column: 1 }, value: Value::Empty }))
    }

    fn next(&mut self) -> Result<(Event<'a>, Span), Unread> {
        match self.parser.next_event() {
            Some(Ok(next)) => Ok(next),
            Some(Err(error)) => Err(no_yaml(&error)),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    /// The node that begins with `event`. The parser's own limit bounds the depth.
    fn node(&mut self, event: Event<'a>, span: &Span) -> Result<Node, Unread> {
        let here = place(span);
        let (anchor, tag) = (event.anchor_id().is_some(), event.tag().is_some());
        if anchor {
            self.unread.push(unread(here, "anchors are not supported", "write the value out"));
        }
        if tag {
            self.unread.push(unread(here, "tags are not supported", "remove it; the type of each value is fixed"));
        }
        let value = match event {
            Event::Scalar(text, style, ..) => scalar(&text, style),
            Event::SequenceStart(..) => {
                let mut items = Vec::new();
                loop {
                    let (event, span) = self.next()?;
                    match event {
                        Event::SequenceEnd => break Value::List(items),
                        event => items.push(self.node(event, &span)?),
                    }
                }
            }
            Event::MappingStart(..) => {
                let mut entries = Vec::new();
                loop {
                    let (event, span) = self.next()?;
                    if matches!(event, Event::MappingEnd) {
                        break Value::Map(entries);
                    }
                    let text = match &event {
                        Event::Scalar(text, ..) => Some(text.to_string()),
                        _ => None,
                    };
                    let key = self.node(event, &span)?;
                    let (event, span) = self.next()?;
                    let node = self.node(event, &span)?;
                    match text {
                        Some(text) => entries.push(MapEntry { key: text, place: key.place, node }),
                        None => self.unread.push(unread(key.place, "the key is not a word", "write `key: value`")),
                    }
                }
            }
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                self.unread.push(unread(here, "aliases are not supported", "write the value out"));
                Value::Empty
            }
            _ => return Err(unread(here, "the file ends too early", "check that the file is complete")),
        };
        Ok(Node { place: here, value })
    }
}

fn place(span: &Span) -> Position {
    Position { line: span.start.line(), column: span.start.col().saturating_add(1) }
}

fn no_yaml(error: &ScanError) -> Unread {
    let at = error.marker();
    let place = Position { line: at.line(), column: at.col().saturating_add(1) };
    unread(place, format!("not valid YAML: {}", error.info()), "nothing after this point was read")
}

/// The core schema of YAML 1.2.2, section 10.3.2: a word without quotes can be a number, a flag or null.
fn scalar(text: &str, style: ScalarStyle) -> Value {
    if style != ScalarStyle::Plain {
        return Value::Text(text.to_owned());
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Empty,
        "true" | "True" | "TRUE" => return Value::Flag(true),
        "false" | "False" | "FALSE" => return Value::Flag(false),
        _ => {}
    }
    let digits = text.trim_start_matches(['-', '+', '.']);
    let based = |prefix: &str, base| text.strip_prefix(prefix).and_then(|rest| u32::from_str_radix(rest, base).ok());
    if let Some(number) = based("0x", 16).or_else(|| based("0o", 8)) {
        return Value::Number(f64::from(number));
    }
    match text.parse::<f64>() {
        // Rust also parses `inf` and `nan`, which are words in YAML.
        Ok(number) if digits.starts_with(|c: char| c.is_ascii_digit()) => Value::Number(number),
        _ => Value::Text(text.to_owned()),
    }
}
