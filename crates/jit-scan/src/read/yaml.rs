//! Splits YAML into its documents, and reads each as JSON, as kubectl does.

use serde_json::Value;

use super::input::{Fault, Input};
use super::json::{self, Item, Taken};
use super::shown;

/// Gives every object of the input to `take`.
pub(super) fn read(
    input: &mut Input<'_>,
    take: &mut impl FnMut(Item<'_>) -> Result<Taken, Fault>,
) -> Result<(), Fault> {
    let mut document = Vec::new();
    let mut begun = input.line;
    loop {
        let line = next_line(input)?;
        let is_marker = |marker: &[u8]| {
            line.strip_prefix(marker).is_some_and(|rest| rest.first().is_none_or(u8::is_ascii_whitespace))
        };
        if line.is_empty() || is_marker(b"---") || is_marker(b"...") {
            parse(&document, begun, take)?;
            document.clear();
            begun = input.line.saturating_sub(1).max(1);
            if line.is_empty() {
                return Ok(());
            }
            // A document may begin on the line of its marker.
            document.extend_from_slice(b"   ");
            document.extend_from_slice(line.get(3..).unwrap_or_default());
        } else if !(line.starts_with(b"%") && document.trim_ascii().is_empty()) {
            document.extend_from_slice(&line);
        }
        input.limit(document.len())?;
    }
}

/// The next line with its end; empty at the end of the input.
fn next_line(input: &mut Input<'_>) -> Result<Vec<u8>, Fault> {
    let mut looked = 0;
    loop {
        let new = input.window().get(looked..).unwrap_or_default();
        if let Some(end) = new.iter().position(|byte| *byte == b'\n') {
            let length = looked + end + 1;
            let line = input.window().get(..length).unwrap_or_default().to_vec();
            input.advance(length);
            return Ok(line);
        }
        looked = input.window().len();
        input.limit(looked)?;
        if !input.fill()? {
            let line = input.window().to_vec();
            input.advance(line.len());
            return Ok(line);
        }
    }
}

fn parse(document: &[u8], line: u64, take: &mut impl FnMut(Item<'_>) -> Result<Taken, Fault>) -> Result<(), Fault> {
    let has_content = |line: &[u8]| !line.trim_ascii().is_empty() && !line.trim_ascii().starts_with(b"#");
    // Comments and the marker come before the object.
    let Some(before) = document.split(|byte| *byte == b'\n').position(has_content) else { return Ok(()) };
    let text = std::str::from_utf8(document).map_err(|_| Fault::text(line, "is not UTF-8"))?;
    // A list of everything is one document. Aliases keep the limits of the parser.
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_nodes: 4_000_000, max_events: 8_000_000 },
    };
    let value: Value = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let inside = error.location().map_or(0, |location| location.line().saturating_sub(1));
        // The rest of the message shows lines of the input, which may be a Secret's.
        let text = error.without_snippet().to_string();
        let why = text.lines().next().unwrap_or("is not YAML");
        let why = why.rsplit_once(" at line ").map_or(why, |(why, _)| why);
        // The names of the parser's settings help nobody here.
        let why = why.split_once(", set DuplicateKeyPolicy").map_or(why, |(why, _)| why);
        let why = if why.starts_with("budget breached") { "is nested too deeply, or too large" } else { why };
        Fault::text(line.saturating_add(inside), shown(why))
    })?;
    if !value.is_object() {
        return Err(Fault::text(line, "is not an object of Kubernetes"));
    }
    let text = serde_json::to_vec(&value).map_err(|error| Fault::json(line, &error))?;
    let first = line.saturating_add(u64::try_from(before).unwrap_or_default());
    json::read(&mut Input::of_text(text, first), take).map(drop)
}
