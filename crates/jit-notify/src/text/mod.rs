//! What a message says: plain text of one structure, a [`Card`], which each board escapes in its own way.
//!
//! A [`Text`] is one line without control characters and without characters that nobody sees, so that nothing that somebody
//! typed can begin another line, another header of an e-mail or another part of a message. It has no markup: whoever sends it
//! escapes what the service would take for some. [`says`] makes cards of grants, in the words of a [`template`]; `board`
//! renders and sends them.

pub mod says;
pub mod template;

use std::fmt;

use jit_core::grant::digest::sha256_hex;
use jit_host::escape::escaped;

/// What the end of a text that was cut says.
const CUT: &str = "… [cut]";

/// One line of text for people: what cannot be seen is written as `\u{202e}`, and nothing is markup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text(String);

impl Text {
    /// The text as people see it.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(escaped(text))
    }

    /// The line.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// At most as much of the text as has room; `… [cut]` shows that there was more.
    ///
    /// `weight` is the room that a character takes in the form in which it is sent.
    #[must_use]
    pub fn within(&self, room: usize, weight: fn(char) -> usize) -> Self {
        let weigh = |text: &str| text.chars().map(weight).fold(0, usize::saturating_add);
        if weigh(&self.0) <= room {
            return self.clone();
        }
        let mut left = room.saturating_sub(weigh(CUT));
        let kept = self.0.chars().take_while(|c| {
            let fits = weight(*c) <= left;
            left = left.saturating_sub(weight(*c));
            fits
        });
        Self(kept.chain(CUT.chars()).collect())
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A message, before a board escapes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    title: Text,
    lines: Vec<(Text, Text)>,
    outcome: Option<Text>,
    command: Option<Text>,
}

/// How much a message may hold where it is sent.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// The room of one text.
    pub each: usize,
    /// The room of all texts together.
    pub all: usize,
    /// The room that a line takes beside its texts.
    pub line: usize,
    /// The room that a character takes.
    pub weight: fn(char) -> usize,
}

impl Card {
    /// A card with a title and nothing else.
    #[must_use]
    pub fn new(title: &str) -> Self {
        Self { title: Text::new(title), lines: Vec::new(), outcome: None, command: None }
    }

    /// The card with one more line.
    #[must_use]
    pub fn line(mut self, name: &str, value: &str) -> Self {
        self.lines.push((Text::new(name), Text::new(value)));
        self
    }

    /// The card with what became of it.
    #[must_use]
    pub fn outcome(self, outcome: Option<&str>) -> Self {
        Self { outcome: outcome.map(Text::new), ..self }
    }

    /// The card with the command that answers it.
    #[must_use]
    pub fn command(self, command: &str) -> Self {
        Self { command: Some(Text::new(command)), ..self }
    }

    /// Who wants what, in one line.
    #[must_use]
    pub fn title(&self) -> &Text {
        &self.title
    }

    /// Names and values, the most important ones first.
    #[must_use]
    pub fn lines(&self) -> &[(Text, Text)] {
        &self.lines
    }

    /// What became of it, in one line; `None` while nothing did.
    #[must_use]
    pub fn what_became(&self) -> Option<&Text> {
        self.outcome.as_ref()
    }

    /// The command to type.
    #[must_use]
    pub fn to_type(&self) -> Option<&Text> {
        self.command.as_ref()
    }

    /// The card as it fits: long texts are cut, then the last lines are left out, and both can be seen.
    #[must_use]
    pub fn within(&self, room: Room) -> Self {
        let Room { each, all, line, weight } = room;
        let fitting = |text: &Text| text.within(each, weight);
        let weigh = |text: &Text| text.as_str().chars().map(weight).fold(0, usize::saturating_add);
        let title = fitting(&self.title);
        let outcome = self.outcome.as_ref().map(fitting);
        let command = self.command.as_ref().map(fitting);
        let more = (Text::new("more"), Text(CUT.to_owned()));
        let fixed = [Some(&title), outcome.as_ref(), command.as_ref(), Some(&more.0), Some(&more.1)];
        let mut left = all.saturating_sub(fixed.into_iter().flatten().map(weigh).fold(0, usize::saturating_add));
        let mut lines = Vec::new();
        for (name, value) in &self.lines {
            let (name, value) = (fitting(name), fitting(value));
            let needed = weigh(&name).saturating_add(weigh(&value)).saturating_add(line);
            if needed > left {
                lines.push(more);
                break;
            }
            left -= needed;
            lines.push((name, value));
        }
        Self { title, lines, outcome, command }
    }

    /// The whole card as plain text, the lines separated by line feeds.
    #[must_use]
    pub fn plain(&self) -> String {
        let mut plain = vec![self.title.to_string()];
        plain.extend(self.outcome.iter().map(ToString::to_string));
        plain.extend(self.lines.iter().map(|(name, value)| format!("{name}: {value}")));
        plain.extend(self.command.iter().map(|command| format!("answer: {command}")));
        plain.join("\n")
    }

    /// SHA-256 of [`plain`](Self::plain), in hex: what the trail keeps of what people were shown.
    #[must_use]
    pub fn sha256(&self) -> String {
        sha256_hex(self.plain().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cut can be seen, leaves no half of a character, and never takes more room than there is.
    #[test]
    fn what_is_cut_says_so() {
        let utf8: fn(char) -> usize = char::len_utf8;
        assert_eq!(Text::new("Größe").within(7, utf8).as_str(), "Größe");
        for room in 9..40 {
            let cut = Text::new(&"ö".repeat(400)).within(room, utf8);
            assert!(cut.as_str().len() <= room && cut.as_str().ends_with(CUT), "{room}: {cut}");
        }
    }

    /// Lines beyond the room are left out, the most important ones stay, and the end says that there were more.
    #[test]
    fn a_card_that_does_not_fit_loses_its_last_lines() {
        let room = Room { each: 20, all: 100, line: 3, weight: |_| 1 };
        let card = (0..9).fold(Card::new("alice requests"), |card, n| card.line(&format!("f{n}"), &"x".repeat(30)));
        let cut = card.command("jit-login approve 1").within(room);
        assert!(cut.plain().chars().filter(|c| *c != '\n').count() <= 100 + 20, "{}", cut.plain());
        assert_eq!(
            cut.plain(),
            "alice requests\nf0: xxxxxxxxxxxxx… [cut]\nf1: xxxxxxxxxxxxx… [cut]\nmore: … [cut]\nanswer: jit-login approve 1"
        );
    }

    /// The digest changes with every word that people read.
    #[test]
    fn the_digest_is_of_everything_that_is_read() {
        let card = || Card::new("a").line("why", "b").command("c");
        let digests = [
            card().sha256(),
            card().outcome(Some("approved by bob")).sha256(),
            card().line("x", "y").sha256(),
            Card::new("a").line("why", "b").sha256(),
        ];
        let different: std::collections::BTreeSet<&String> = digests.iter().collect();
        assert_eq!(different.len(), digests.len());
        assert_eq!(card().sha256(), digests[0]);
    }
}
