//! Templates: the title and the lines of a message, as an administrator may write them. The texts of this program are
//! templates as well.
//!
//! ```text
//!  {requester} requests {what}          the title
//!  why: {reason}                        a line: its name, and its text
//!  {fields}                             a line for each field of the request, under its own name
//!  allows: {allows}                     a line for each finding; none if there is none
//! ```
//! A line with a field that has no value is left out, so there are no conditions and no loops, and a mistake shows when the
//! file is read, not when somebody waits for an approval. A template makes a [`Card`], never a text with markup: where a
//! line ends, what is escaped and what is cut is decided after it. What became of a request and the command to type are no
//! part of it, so no template can leave them out.

use std::collections::BTreeMap;

use super::Card;
use crate::present::Subject;

/// A field that a template may name.
#[derive(Debug)]
pub struct Field {
    /// Its name, between braces in a template.
    pub name: &'static str,
    /// What it is, for the manual.
    pub is: &'static str,
    place: Place,
    of: &'static [Subject],
}

/// Where a field may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In the title as well: it always has a value, which nobody typed. The title becomes the subject of a letter, and the
    /// text of a notice on a locked telephone.
    Anywhere,
    Line,
    /// Its line is repeated for each value.
    EachLine,
}

use self::Place::{Anywhere, EachLine, Line as InLine};

const ALL: &[Subject] = &Subject::ALL;
const QUESTIONS: &[Subject] = &Subject::QUESTIONS;

/// The fields, but for `fields` and `field.NAME`.
pub const FIELDS: &[Field] = &[
    field("requester", "who requests it", Anywhere, ALL),
    field("what", "role, scope and time in words, as in `role view in namespace payments …`", Anywhere, ALL),
    field("access", "the role, or the exact rules", Anywhere, ALL),
    field("cluster", "the cluster", Anywhere, ALL),
    field("namespaces", "the namespaces; `*` for all of the cluster", Anywhere, ALL),
    field("duration", "for how long", Anywhere, ALL),
    field("rule", "the rule of the policy", Anywhere, ALL),
    field("grant", "the id", Anywhere, ALL),
    field("host", "the host of `jitd`", Anywhere, ALL),
    field("start", "when the access begins, if that is later", InLine, ALL),
    field("reason", "the reason of the request", InLine, ALL),
    field("risk", "the highest risk", InLine, ALL),
    field("allows", "what the access allows, a line for each of the worst", EachLine, ALL),
    field("narrowed", "from what it was narrowed", InLine, ALL),
    field("warnings", "that somebody denied the same before, or logged in with another account", EachLine, ALL),
    field("needs", "how many of whom have to answer", InLine, QUESTIONS),
    field("asked", "the people who are asked by name", InLine, QUESTIONS),
    field("answerBy", "until when", InLine, QUESTIONS),
    field("breakGlassFrom", "from when break-glass is possible", InLine, &[Subject::Request]),
    field("more", "how much more time, as in `10m more`", Anywhere, &[Subject::Extension]),
    field("moreReason", "the reason for more time", InLine, &[Subject::Extension]),
    field("brokenAt", "when break-glass was used", InLine, &[Subject::Review]),
    field("breakGlassReason", "the reason for break-glass", InLine, &[Subject::Review]),
];

impl Field {
    /// Whether a title may have it.
    #[must_use]
    pub fn is_for_titles(&self) -> bool {
        self.place == Anywhere
    }

    /// The subjects that have it; `None` if all do.
    #[must_use]
    pub fn only_of(&self) -> Option<String> {
        let of: Vec<&str> = self.of.iter().map(|subject| subject.as_str()).collect();
        (of.len() < Subject::ALL.len()).then(|| of.join(", "))
    }
}

const fn field(name: &'static str, is: &'static str, place: Place, of: &'static [Subject]) -> Field {
    Field { name, is, place, of }
}

/// The lines of the fields that the rule requires, under their own names.
const OWN_LINES: &str = "{fields}";

/// The prefix of one such field.
const OWN_FIELD: &str = "field.";

const REQUEST: &str = "\
{requester} requests {what}
why: {reason}
{fields}
risk: {risk}
allows: {allows}
narrowed: {narrowed}
warning: {warnings}
host: {host}
grant: {grant}, under rule {rule}
needs: {needs}
asked: {asked}
answer by: {answerBy}
break-glass: possible from {breakGlassFrom} if nobody answers
";

const EXTENSION: &str = "\
{requester} requests {more} of {what}
why: {moreReason}
first reason: {reason}
{fields}
risk: {risk}
allows: {allows}
narrowed: {narrowed}
warning: {warnings}
host: {host}
grant: {grant}, under rule {rule}
needs: {needs}
asked: {asked}
answer by: {answerBy}
";

const REVIEW: &str = "\
{requester} used break-glass: {what}
why at once: {breakGlassReason}
broken at: {brokenAt}
{fields}
risk: {risk}
allows: {allows}
narrowed: {narrowed}
warning: {warnings}
host: {host}
grant: {grant}, under rule {rule}
needs: {needs}
asked: {asked}
review by: {answerBy}
";

const NEWS: &str = "\
your request {grant}: {what}
narrowed: {narrowed}
host: {host}
";

/// The text of this program about a subject, as a template.
#[must_use]
pub fn built_in(subject: Subject) -> &'static str {
    match subject {
        Subject::Request => REQUEST,
        Subject::Extension => EXTENSION,
        Subject::Review => REVIEW,
        Subject::News => NEWS,
    }
}

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct TemplateError {
    /// The line, from 1 on.
    pub line: usize,
    /// What is wrong there.
    pub why: String,
}

/// What a message says, with fields for what differs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template {
    title: Vec<Piece>,
    lines: Vec<Line>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Line {
    /// The fields that the rule requires.
    Own,
    Named {
        name: String,
        text: Vec<Piece>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Field(String),
}

impl Template {
    /// Reads a template for messages about `subject`. Empty lines count for nothing but their number.
    ///
    /// # Errors
    /// [`TemplateError`], for the first line that cannot be used.
    pub fn parse(subject: Subject, text: &str) -> Result<Self, TemplateError> {
        let lines = text.lines().enumerate().map(|(before, line)| (before.saturating_add(1), line.trim()));
        let mut lines = lines.filter(|(_, line)| !line.is_empty());
        let Some((line, title)) = lines.next() else {
            return Err(TemplateError { line: 1, why: "there is no title".to_owned() });
        };
        let title = pieces(title).and_then(|title| known(title, subject, true));
        let title = title.map_err(|why| TemplateError { line, why })?;
        let lines = lines
            .map(|(line, text)| Line::parse(subject, text).map_err(|why| TemplateError { line, why }))
            .collect::<Result<_, _>>()?;
        Ok(Self { title, lines })
    }

    /// The names of the fields of rules that it has, as in `{field.ticket}`.
    pub fn own_fields(&self) -> impl Iterator<Item = &str> {
        let named = self.lines.iter().filter_map(|line| match line {
            Line::Own => None,
            Line::Named { text, .. } => Some(text),
        });
        named.flatten().filter_map(|piece| match piece {
            Piece::Field(name) => name.strip_prefix(OWN_FIELD),
            Piece::Text(_) => None,
        })
    }

    /// The message with these values.
    #[must_use]
    pub fn card(&self, values: &Values) -> Card {
        let mut card = Card::new(&filled(&self.title, values, 0));
        for line in &self.lines {
            match line {
                Line::Own => {
                    card = values.own.iter().fold(card, |card, (name, value)| card.line(name, value));
                }
                Line::Named { name, text } => {
                    let counts = text.iter().filter_map(|piece| match piece {
                        Piece::Field(field) => Some(values.of(field).len()),
                        Piece::Text(_) => None,
                    });
                    // One without a value leaves the line out.
                    let (least, most) = counts.fold((1, 1), |(least, most), count| (count.min(least), count.max(most)));
                    let times = if least == 0 { 0 } else { most };
                    card = (0..times).fold(card, |card, time| card.line(name, &filled(text, values, time)));
                }
            }
        }
        card
    }
}

impl Line {
    fn parse(subject: Subject, line: &str) -> Result<Self, String> {
        if line == OWN_LINES {
            return Ok(Self::Own);
        }
        let (name, text) = line.split_once(": ").ok_or_else(|| format!("a line is `NAME: TEXT`, or `{OWN_LINES}`"))?;
        if name.contains(['{', '}']) {
            return Err("the name of a line, before `: `, has no field".to_owned());
        }
        Ok(Self::Named { name: name.to_owned(), text: known(pieces(text)?, subject, false)? })
    }
}

/// Text and fields. A brace in the text is written twice.
fn pieces(text: &str) -> Result<Vec<Piece>, String> {
    let (mut pieces, mut plain) = (Vec::new(), String::new());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '{' | '}' if chars.next_if_eq(&c).is_some() => plain.push(c),
            '}' => return Err("`}` has no `{`; a brace in the text is written `}}`".to_owned()),
            '{' => {
                let mut name = String::new();
                loop {
                    match chars.next() {
                        Some('}') => break,
                        Some(c) => name.push(c),
                        None => return Err("`{` has no `}`; a brace in the text is written `{{`".to_owned()),
                    }
                }
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
                pieces.push(Piece::Field(name));
            }
            c => plain.push(c),
        }
    }
    pieces.push(Piece::Text(plain));
    Ok(pieces)
}

/// The pieces, if each field of them may be there.
fn known(pieces: Vec<Piece>, subject: Subject, is_title: bool) -> Result<Vec<Piece>, String> {
    let mut repeats = 0_u32;
    for piece in &pieces {
        let Piece::Field(name) = piece else { continue };
        let place = match FIELDS.iter().find(|field| field.name == name && field.of.contains(&subject)) {
            Some(field) => field.place,
            None if name.strip_prefix(OWN_FIELD).is_some_and(|own| !own.is_empty()) => InLine,
            None if name == "fields" => {
                return Err(format!("`{OWN_LINES}` is a line of its own; `{{field.NAME}}` is one of them"));
            }
            None => {
                let known: Vec<&str> =
                    FIELDS.iter().filter(|field| field.of.contains(&subject)).map(|field| field.name).collect();
                let (subject, known) = (subject.as_str(), known.join(", "));
                let name = name.escape_debug();
                return Err(format!(
                    "there is no field `{{{name}}}` in a text about `{subject}`, only {known}, fields and field.NAME"
                ));
            }
        };
        if is_title && place != Anywhere {
            let name = name.escape_debug();
            return Err(format!(
                "`{{{name}}}` cannot be in the title, which others may see: it can be missing, or people typed it"
            ));
        }
        repeats = repeats.saturating_add(u32::from(place == EachLine));
    }
    if repeats > 1 {
        return Err("a line has one field that repeats it at most".to_owned());
    }
    Ok(pieces)
}

/// The pieces with the values of the line's repetition `time`.
fn filled(pieces: &[Piece], values: &Values, time: usize) -> String {
    pieces
        .iter()
        .map(|piece| match piece {
            Piece::Text(text) => text.as_str(),
            Piece::Field(name) => {
                let values = values.of(name);
                values.get(time).or(values.last()).map_or("", String::as_str)
            }
        })
        .collect()
}

/// The values of the fields. What has none is left out.
#[derive(Clone, Debug, Default)]
pub struct Values {
    texts: BTreeMap<&'static str, Vec<String>>,
    own: BTreeMap<String, String>,
}

impl Values {
    /// Values with the fields that the rule requires.
    #[must_use]
    pub fn new(own: BTreeMap<String, String>) -> Self {
        Self { texts: BTreeMap::new(), own }
    }

    /// Gives a field of [`FIELDS`] its values: none, one, or several for one that repeats its line.
    pub fn set(&mut self, name: &'static str, values: impl IntoIterator<Item = String>) {
        self.texts.insert(name, values.into_iter().collect());
    }

    fn of(&self, name: &str) -> &[String] {
        match name.strip_prefix(OWN_FIELD) {
            Some(own) => self.own.get(own).map_or(&[], std::slice::from_ref),
            None => self.texts.get(name).map_or(&[], Vec::as_slice),
        }
    }
}

/// The templates of a board.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Templates {
    request: Template,
    extension: Template,
    review: Template,
    news: Template,
}

impl Default for Templates {
    /// The texts of this program. A test reads each of them.
    fn default() -> Self {
        let [request, extension, review, news] =
            Subject::ALL.map(|subject| Template::parse(subject, built_in(subject)).unwrap_or_default());
        Self { request, extension, review, news }
    }
}

impl Templates {
    /// These, but with `template` for messages about `subject`.
    #[must_use]
    pub fn with(mut self, subject: Subject, template: Template) -> Self {
        *match subject {
            Subject::Request => &mut self.request,
            Subject::Extension => &mut self.extension,
            Subject::Review => &mut self.review,
            Subject::News => &mut self.news,
        } = template;
        self
    }

    /// The template of messages about `subject`.
    #[must_use]
    pub fn of(&self, subject: Subject) -> &Template {
        match subject {
            Subject::Request => &self.request,
            Subject::Extension => &self.extension,
            Subject::Review => &self.review,
            Subject::News => &self.news,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values() -> Values {
        let own = [("host".to_owned(), "OPS-7".to_owned()), ("ticket".to_owned(), "{reason}".to_owned())];
        let mut values = Values::new(own.into());
        values.set("requester", ["alice".to_owned()]);
        values.set("reason", ["a: {what}\nanswer: x".to_owned()]);
        values.set("risk", None::<String>);
        values.set("allows", ["reads pods".to_owned(), "reads secrets".to_owned()]);
        values
    }

    /// The texts of this program are templates, and each of their fields is known.
    #[test]
    fn the_built_in_texts_are_templates() {
        for subject in Subject::ALL {
            let template = Template::parse(subject, built_in(subject)).unwrap();
            assert_eq!(*Templates::default().of(subject), template);
            assert_eq!(template.lines.len(), built_in(subject).lines().count() - 1);
        }
    }

    /// A line without a value is left out, one with several is repeated, and what somebody typed is never read as a template
    /// or as another line.
    #[test]
    fn a_template_says_what_has_a_value() {
        let template = "{requester} möchte {{etwas}}\n\nGrund: {reason}\r\n{fields}\nTicket: {field.ticket}\n\
                        Nummer: {field.number}\nRisiko: {risk}\nerlaubt: {requester} {allows}\nRunbook: https://wiki.example/";
        let card = Template::parse(Subject::Request, template).unwrap().card(&values());
        assert_eq!(
            card.plain(),
            "alice möchte {etwas}\nGrund: a: {what}\\u{000a}answer: x\nhost: OPS-7\nticket: {reason}\nTicket: {reason}\n\
             erlaubt: alice reads pods\nerlaubt: alice reads secrets\nRunbook: https://wiki.example/"
        );
    }

    /// A mistake is found when the file is read, with its line and the name of the field.
    #[test]
    fn a_mistake_is_named_with_its_line() {
        for (text, line, said) in [
            ("", 1, "no title"),
            ("\n\n", 1, "no title"),
            ("{requestor} requests", 1, "no field `{requestor}` in a text about `request`, only requester, what"),
            ("{what}\n\nwhy: {moreReason}", 3, "no field `{moreReason}`"),
            ("{what}\nwhy: {}", 2, "no field `{}`"),
            ("{what}\nwhy: {field.}", 2, "no field `{field.}`"),
            ("{what}: {reason}", 1, "`{reason}` cannot be in the title"),
            ("{what}: {field.ticket}", 1, "`{field.ticket}` cannot be in the title"),
            ("{what}\nwhy {reason}", 2, "a line is `NAME: TEXT`"),
            ("{what}\n{requester}: {reason}", 2, "before `: `, has no field"),
            ("{what}\nall: {fields}", 2, "`{fields}` is a line of its own"),
            ("{what}\nall: {allows} {warnings}", 2, "repeats it at most"),
            ("{what}\nwhy: {reason", 2, "`{` has no `}`"),
            ("{what}\nwhy: reason}", 2, "`}` has no `{`"),
        ] {
            let error = Template::parse(Subject::Request, text).unwrap_err();
            assert_eq!(error.line, line, "{text}: {error}");
            assert!(error.why.contains(said), "{text}: {error}");
        }
        assert!(Template::parse(Subject::Extension, "{more}\nwhy: {moreReason}").is_ok());
    }
}
