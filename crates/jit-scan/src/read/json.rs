//! Splits JSON into its objects: the items of lists, and whatever else follows one another in an input, without looking
//! into them. What is split here is parsed as a whole afterwards, so nothing invalid gets through.

use serde::Deserialize;

use super::input::{Fault, Input};

/// What was found.
pub(super) enum Item<'a> {
    /// An object, or an item of a list.
    Object {
        line: u64,
        text: &'a [u8],
        /// The list that it is in, if what it is of was read before it.
        list: Option<&'a List>,
    },
    /// The end of a list.
    End(&'a List),
}

/// Whether an object could be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Yes,
    /// It does not say what it is: its list may say it.
    HasNoKind,
}

/// What a list says about itself.
#[derive(Debug, Default)]
pub(super) struct List {
    pub(super) api_version: String,
    kind: String,
    /// `metadata.continue`.
    pub(super) more: Option<String>,
}

impl List {
    /// The kind of its items, if they are all of one.
    pub(super) fn item_kind(&self) -> Option<&str> {
        self.kind.strip_suffix("List").filter(|kind| !kind.is_empty())
    }

    fn of(head: &[u8], line: u64) -> Result<Self, Fault> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Form {
            api_version: Option<String>,
            kind: Option<String>,
            metadata: Option<Meta>,
        }
        #[derive(Deserialize)]
        struct Meta {
            r#continue: Option<String>,
        }
        let form: Form = serde_json::from_slice(head).map_err(|error| Fault::json(line, &error))?;
        Ok(Self {
            api_version: form.api_version.unwrap_or_default(),
            kind: form.kind.unwrap_or_default(),
            more: form.metadata.and_then(|meta| meta.r#continue),
        })
    }
}

/// Gives every object of the input to `take`.
///
/// # Returns
/// The last list.
pub(super) fn read(
    input: &mut Input<'_>,
    take: &mut impl FnMut(Item<'_>) -> Result<Taken, Fault>,
) -> Result<Option<List>, Fault> {
    let mut last = None;
    while input.peek()?.is_some() {
        last = document(input, take)?.or(last);
    }
    Ok(last)
}

fn document(
    input: &mut Input<'_>,
    take: &mut impl FnMut(Item<'_>) -> Result<Taken, Fault>,
) -> Result<Option<List>, Fault> {
    expect(input, b'{')?;
    let line = input.line;
    // Everything but the items, as an object.
    let mut head = vec![b'{'];
    let (mut is_list, mut kindless) = (false, Vec::new());
    if input.peek()? == Some(b'}') {
        input.advance(1);
    } else {
        loop {
            if input.peek()? != Some(b'"') {
                return Err(unexpected(input, "a key"));
            }
            let length = value(input)?;
            let key = input.window().get(..length).unwrap_or_default().to_vec();
            input.advance(length);
            expect(input, b':')?;
            if input.peek()? == Some(b'[') && key == b"\"items\"" {
                if is_list {
                    return Err(Fault::text(input.line, "`items` is there twice"));
                }
                is_list = true;
                head.push(b'}');
                let list = List::of(&head, line)?;
                head.pop();
                items(input, &list, &mut kindless, take)?;
            } else {
                let length = value(input)?;
                // So Go writes a list that nobody filled.
                is_list |= key == b"\"items\"" && input.window().get(..length) == Some(b"null");
                if head.len() > 1 {
                    head.push(b',');
                }
                head.extend_from_slice(&key);
                head.push(b':');
                head.extend_from_slice(input.window().get(..length).unwrap_or_default());
                input.limit(head.len())?;
                input.advance(length);
            }
            match input.peek()? {
                Some(b',') => input.advance(1),
                Some(b'}') => {
                    input.advance(1);
                    break;
                }
                _ => return Err(unexpected(input, "`,` or `}`")),
            }
        }
    }
    head.push(b'}');
    if !is_list {
        take(Item::Object { line, text: &head, list: None })?;
        return Ok(None);
    }
    let list = List::of(&head, line)?;
    if !list.kind.is_empty() && !list.kind.ends_with("List") {
        return Err(Fault::text(line, "an object that is no list has `items`"));
    }
    for (line, text) in kindless {
        take(Item::Object { line, text: &text, list: Some(&list) })?;
    }
    take(Item::End(&list))?;
    Ok(Some(list))
}

fn items(
    input: &mut Input<'_>,
    list: &List,
    kindless: &mut Vec<(u64, Vec<u8>)>,
    take: &mut impl FnMut(Item<'_>) -> Result<Taken, Fault>,
) -> Result<(), Fault> {
    let mut waiting = 0;
    input.advance(1);
    if input.peek()? == Some(b']') {
        input.advance(1);
        return Ok(());
    }
    loop {
        if input.peek()? != Some(b'{') {
            return Err(unexpected(input, "an object"));
        }
        let length = value(input)?;
        let (line, text) = (input.line, input.window().get(..length).unwrap_or_default());
        if take(Item::Object { line, text, list: Some(list) })? == Taken::HasNoKind {
            waiting += text.len();
            // The kind of the list comes after them, which no program writes.
            input.limit(waiting)?;
            kindless.push((line, text.to_vec()));
        }
        input.advance(length);
        match input.peek()? {
            Some(b',') => input.advance(1),
            Some(b']') => {
                input.advance(1);
                return Ok(());
            }
            _ => return Err(unexpected(input, "`,` or `]`")),
        }
    }
}

/// Brings the whole value at the beginning of the window into it; its length. Only strings and brackets are looked at.
fn value(input: &mut Input<'_>) -> Result<usize, Fault> {
    let first = input.peek()?;
    let (mut at, mut depth, mut is_string, mut is_escaped) = (0_usize, 0_usize, false, false);
    loop {
        for byte in input.window().get(at..).unwrap_or_default() {
            at += 1;
            if is_escaped {
                is_escaped = false;
            } else if is_string {
                match byte {
                    b'\\' => is_escaped = true,
                    b'"' if depth == 0 => return Ok(at),
                    b'"' => is_string = false,
                    _ => {}
                }
            } else {
                match byte {
                    b'"' => is_string = true,
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' if depth > 1 => depth -= 1,
                    b'}' | b']' if depth == 1 => return Ok(at),
                    // The end of a number or a word.
                    b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t' if depth == 0 => {
                        return if at > 1 { Ok(at - 1) } else { Err(unexpected(input, "a value")) };
                    }
                    _ => {}
                }
            }
        }
        input.limit(at)?;
        if !input.fill()? {
            return match first {
                Some(b'{' | b'[' | b'"') | None => Err(Fault::text(input.line, "ends in the middle of an object")),
                Some(_) => Ok(at),
            };
        }
    }
}

fn expect(input: &mut Input<'_>, byte: u8) -> Result<(), Fault> {
    if input.peek()? != Some(byte) {
        return Err(unexpected(input, &format!("`{}`", char::from(byte))));
    }
    input.advance(1);
    Ok(())
}

fn unexpected(input: &Input<'_>, expected: &str) -> Fault {
    let why = match input.window().first() {
        Some(byte) => format!("expected {expected}, found `{}`", byte.escape_ascii()),
        None => "ends in the middle of an object".to_owned(),
    };
    Fault::text(input.line, why)
}
