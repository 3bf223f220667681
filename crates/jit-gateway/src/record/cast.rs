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
    /// What has been seen at one moment: whole lines, but for the end of the last one if it is `open`.
    lines: Vec<u8>,
    /// The code of the last line, while more may follow in it.
    open: Option<&'static str>,
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
    /// Makes room for the lines of so many bytes, so that they are not moved while they grow.
    pub(super) fn reserve(&mut self, bytes: usize) {
        // Text has few characters that JSON escapes: line feeds and escape codes.
        self.lines.reserve(bytes + bytes / 16 + 64);
    }

    /// Adds these bytes, `seconds` after the header, to the line of what came just before if that is of the same kind. The
    /// beginning of a character waits for its end.
    pub(super) fn event(&mut self, seconds: f64, event: Event, bytes: &[u8]) {
        let (code, text) = match event {
            Event::Stdout => ("o", &mut self.stdout),
            Event::Stderr => ("o", &mut self.stderr),
            Event::Stdin => ("i", &mut self.stdin),
        };
        let (lines, open) = (&mut self.lines, &mut self.open);
        text.take(bytes, |text| add(lines, open, seconds, code, text));
    }

    /// Adds a line for another size of the terminal.
    pub(super) fn resize(&mut self, seconds: f64, width: u16, height: u16) {
        add(&mut self.lines, &mut self.open, seconds, "r", &format!("{width}x{height}"));
        // Two sizes are two events.
        close(&mut self.lines, &mut self.open);
    }

    /// Adds what is left of characters that never became whole.
    pub(super) fn end(&mut self, seconds: f64) {
        for (code, text) in [("o", &mut self.stdout), ("o", &mut self.stderr), ("i", &mut self.stdin)] {
            if !std::mem::take(&mut text.begun).is_empty() {
                add(&mut self.lines, &mut self.open, seconds, code, REPLACEMENT);
            }
        }
    }

    /// The lines of what was added since the last call.
    pub(super) fn lines(&mut self) -> Vec<u8> {
        close(&mut self.lines, &mut self.open);
        std::mem::take(&mut self.lines)
    }
}

fn add(lines: &mut Vec<u8>, open: &mut Option<&'static str>, seconds: f64, code: &'static str, text: &str) {
    if text.is_empty() {
        return;
    }
    if *open != Some(code) {
        close(lines, open);
        lines.extend_from_slice(format!("[{seconds:.6},\"{code}\",\"").as_bytes());
        *open = Some(code);
    }
    escape(lines, text);
}

fn close(lines: &mut Vec<u8>, open: &mut Option<&'static str>) {
    if open.take().is_some() {
        lines.extend_from_slice(b"\"]\n");
    }
}

/// Writes the inside of a JSON string (RFC 8259, section 7). What a person sees is mostly text that needs no escaping, so it is
/// copied run by run: character by character, this took as long as all the rest of recording.
fn escape(out: &mut Vec<u8>, text: &str) {
    let mut left = text.as_bytes();
    loop {
        let (plain, rest) = left.split_at_checked(plain_length(left)).unwrap_or((left, &[]));
        out.extend_from_slice(plain);
        let Some((special, after)) = rest.split_first() else { return };
        match special {
            b'"' => out.extend_from_slice(br#"\""#),
            b'\\' => out.extend_from_slice(br"\\"),
            b'\n' => out.extend_from_slice(br"\n"),
            b'\r' => out.extend_from_slice(br"\r"),
            b'\t' => out.extend_from_slice(br"\t"),
            control => {
                let digit = |value: u8| char::from_digit(value.into(), 16).map_or(b'0', |digit| digit as u8);
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(control >> 4), digit(control & 0xf)]);
            }
        }
        left = after;
    }
}

/// How many bytes come before the first one that JSON escapes: a control character, a quotation mark or a backslash. Eight at a
/// time, by "Determine if a word has a byte less than n" of <https://graphics.stanford.edu/~seander/bithacks.html>: what it marks
/// above the first such byte may be wrong, and is not used.
fn plain_length(bytes: &[u8]) -> usize {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let (words, rest) = bytes.as_chunks::<8>();
    for (number, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let below = |word: u64, limit: u64| word.wrapping_sub(EACH * limit) & !word;
        let is = |byte: u8| below(word ^ (EACH * u64::from(byte)), 1);
        let special = (below(word, 0x20) | is(b'"') | is(b'\\')) & (EACH << 7);
        if special != 0 {
            return number * 8 + special.trailing_zeros() as usize / 8;
        }
    }
    let is_special = |byte: &u8| matches!(byte, 0..0x20 | b'"' | b'\\');
    words.len() * 8 + rest.iter().position(is_special).unwrap_or(rest.len())
}

const REPLACEMENT: &str = "\u{fffd}";

/// UTF-8 that comes in pieces. Bytes that are none become U+FFFD, as a terminal shows them.
#[derive(Debug, Default)]
struct Text {
    /// The beginning of a character.
    begun: Vec<u8>,
}

impl Text {
    /// Shows the characters that are whole.
    fn take(&mut self, mut bytes: &[u8], mut show: impl FnMut(&str)) {
        while !self.begun.is_empty()
            && let Some((first, rest)) = bytes.split_first()
        {
            self.begun.push(*first);
            match str::from_utf8(&self.begun) {
                Ok(whole) => {
                    show(whole);
                    self.begun.clear();
                    bytes = rest;
                }
                Err(error) if error.error_len().is_none() => bytes = rest,
                Err(_) => {
                    // The byte is not of this character; it may begin another one.
                    show(REPLACEMENT);
                    self.begun.clear();
                }
            }
        }
        // Much faster than looking for what is none.
        if let Ok(text) = str::from_utf8(bytes) {
            return show(text);
        }
        let mut chunks = bytes.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            show(chunk.valid());
            let invalid = chunk.invalid();
            // At the very end, and not wrong yet.
            let is_begun =
                chunks.peek().is_none() && str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none());
            if is_begun {
                self.begun = invalid.to_vec();
            } else if !invalid.is_empty() {
                show(REPLACEMENT);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(cast: &mut Cast, seconds: f64, event: Event, bytes: &[u8]) -> Vec<u8> {
        cast.event(seconds, event, bytes);
        cast.lines()
    }

    fn read(line: &[u8]) -> (f64, String, String) {
        serde_json::from_slice(line).unwrap()
    }

    /// Text in pieces of every size is the text.
    #[test]
    fn characters_stay_whole() {
        let text = "a\u{e9}\u{4e2d}\u{1f600}\u{1b}[31m\r\n";
        for size in 1..=text.len() {
            let mut cast = Cast::default();
            let mut found = String::new();
            for piece in text.as_bytes().chunks(size) {
                let line = line(&mut cast, 0.5, Event::Stdout, piece);
                if line.is_empty() {
                    continue;
                }
                let (seconds, code, text) = read(&line);
                assert!((seconds - 0.5).abs() < 1e-9 && code == "o");
                found += &text;
            }
            assert_eq!(found, text, "{size}");
            cast.end(1.0);
            assert_eq!(cast.lines(), b"");
        }
    }

    #[test]
    fn what_is_no_text_is_replaced() {
        let mut cast = Cast::default();
        assert_eq!(read(&line(&mut cast, 0.0, Event::Stderr, b"a\xffb\xc3")).2, "a\u{fffd}b");
        assert_eq!(read(&line(&mut cast, 0.0, Event::Stderr, b"(")).2, "\u{fffd}(");
        assert_eq!(line(&mut cast, 0.0, Event::Stdin, b"\xe4\xb8"), b"");
        cast.end(2.0);
        assert_eq!(read(&cast.lines()), (2.0, "i".to_owned(), "\u{fffd}".to_owned()));
        cast.resize(1.0, 80, 24);
        cast.resize(1.0, 81, 24);
        assert_eq!(cast.lines(), b"[1.000000,\"r\",\"80x24\"]\n[1.000000,\"r\",\"81x24\"]\n");
    }

    /// What comes at one moment is one event for each kind in a row.
    #[test]
    fn pieces_of_a_kind_are_one_event() {
        let mut cast = Cast::default();
        for (event, text) in
            [(Event::Stdout, "a"), (Event::Stderr, "b"), (Event::Stdin, "c"), (Event::Stdout, ""), (Event::Stdout, "d")]
        {
            cast.event(1.0, event, text.as_bytes());
        }
        let lines = "[1.000000,\"o\",\"ab\"]\n[1.000000,\"i\",\"c\"]\n[1.000000,\"o\",\"d\"]\n";
        assert_eq!(String::from_utf8(cast.lines()).unwrap(), lines);
        assert_eq!(cast.lines(), b"");
    }

    proptest! {
        /// Whatever bytes come, in whatever pieces, the text is the one that they are as a whole, and the line is JSON.
        #[test]
        fn any_bytes_become_their_text(
            bytes in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..200),
                any::<String>().prop_map(String::into_bytes),
                "[ -~\t\r\n\"\\\\]{0,200}".prop_map(String::into_bytes),
            ],
            size in 1_usize..50,
        ) {
            let mut cast = Cast::default();
            let mut found = String::new();
            for piece in bytes.chunks(size) {
                let line = line(&mut cast, 0.5, Event::Stdout, piece);
                if !line.is_empty() {
                    found += &read(&line).2;
                }
            }
            cast.end(1.0);
            let end = cast.lines();
            if !end.is_empty() {
                found += &read(&end).2;
            }
            prop_assert_eq!(found, String::from_utf8_lossy(&bytes));
        }
    }
}
