//! A recording, asciicast version 2 (<https://docs.asciinema.org/manual/asciicast/v2/>): a header, then one line for each
//! output, input and change of size.

use jiff::Timestamp;
use serde_json::json;

/// Writes the lines of one recording.
#[derive(Debug, Default)]
pub(super) struct Cast {
    stdout: Text,
    stderr: Text,
    stdin: Text,
}

/// The code of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Stdout,
    Stderr,
    Stdin,
}

/// The first line. The size of the terminal follows as an event as soon as the client says it; before that it is the one that
/// every terminal once had.
pub(super) fn header(at: Timestamp, title: &str) -> Vec<u8> {
    let header = json!({"version": 2, "width": 80, "height": 24, "timestamp": at.as_second(), "title": title});
    format!("{header}\n").into_bytes()
}

impl Cast {
    /// The line for these bytes, `seconds` after the header; empty if they are only the beginning of a character.
    pub(super) fn event(&mut self, seconds: f64, event: Event, bytes: &[u8]) -> Vec<u8> {
        let (code, text) = match event {
            Event::Stdout => ("o", &mut self.stdout),
            Event::Stderr => ("o", &mut self.stderr),
            Event::Stdin => ("i", &mut self.stdin),
        };
        let text = text.take(bytes);
        if text.is_empty() { Vec::new() } else { line(seconds, code, &text) }
    }

    /// The line for another size of the terminal.
    pub(super) fn resize(seconds: f64, width: u16, height: u16) -> Vec<u8> {
        line(seconds, "r", &format!("{width}x{height}"))
    }

    /// What is left of characters that never became whole.
    pub(super) fn end(&mut self, seconds: f64) -> Vec<u8> {
        let left = [("o", &mut self.stdout), ("o", &mut self.stderr), ("i", &mut self.stdin)];
        let line = |(code, text): (&str, &mut Text)| {
            let left = std::mem::take(&mut text.begun);
            if left.is_empty() { Vec::new() } else { line(seconds, code, &String::from_utf8_lossy(&left)) }
        };
        left.into_iter().flat_map(line).collect()
    }
}

fn line(seconds: f64, code: &str, text: &str) -> Vec<u8> {
    // Text always serialises.
    let text = serde_json::to_string(text).unwrap_or_default();
    format!("[{seconds:.6},\"{code}\",{text}]\n").into_bytes()
}

/// UTF-8 that comes in pieces. Bytes that are none become U+FFFD, as a terminal shows them.
#[derive(Debug, Default)]
struct Text {
    /// The beginning of a character.
    begun: Vec<u8>,
}

impl Text {
    fn take(&mut self, bytes: &[u8]) -> String {
        let mut all = std::mem::take(&mut self.begun);
        all.extend_from_slice(bytes);
        let mut text = String::with_capacity(all.len());
        let mut chunks = all.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            text.push_str(chunk.valid());
            let invalid = chunk.invalid();
            // At the very end, and not wrong yet.
            let is_begun =
                chunks.peek().is_none() && std::str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none());
            if is_begun {
                self.begun = invalid.to_vec();
            } else if !invalid.is_empty() {
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Text in pieces of every size is the text.
    #[test]
    fn characters_stay_whole() {
        let text = "a\u{e9}\u{4e2d}\u{1f600}\u{1b}[31m\r\n";
        for size in 1..=text.len() {
            let mut cast = Cast::default();
            let mut found = String::new();
            for piece in text.as_bytes().chunks(size) {
                let line = cast.event(0.5, Event::Stdout, piece);
                if line.is_empty() {
                    continue;
                }
                let (seconds, code, text): (f64, String, String) = serde_json::from_slice(&line).unwrap();
                assert!((seconds - 0.5).abs() < 1e-9 && code == "o");
                found += &text;
            }
            assert_eq!(found, text, "{size}");
            assert_eq!(cast.end(1.0), b"");
        }
    }

    #[test]
    fn what_is_no_text_is_replaced() {
        let mut cast = Cast::default();
        let read = |line: Vec<u8>| serde_json::from_slice::<(f64, String, String)>(&line).unwrap();
        assert_eq!(read(cast.event(0.0, Event::Stderr, b"a\xffb\xc3")).2, "a\u{fffd}b");
        assert_eq!(read(cast.event(0.0, Event::Stderr, b"(")).2, "\u{fffd}(");
        assert_eq!(cast.event(0.0, Event::Stdin, b"\xe4\xb8"), b"");
        assert_eq!(read(cast.end(2.0)), (2.0, "i".to_owned(), "\u{fffd}".to_owned()));
        assert_eq!(Cast::resize(1.0, 80, 24), b"[1.000000,\"r\",\"80x24\"]\n");
    }
}
