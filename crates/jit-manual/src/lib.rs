//! Manual pages (man(7), and the same as Markdown) and shell completions, made from the definitions that the programs
//! themselves read: the verbs and options of a command line, the keys of a file. The program that prints a page adds
//! its prose.
//!
//! Only text; it reads no file and no clock. The mains call it for their verbs `man` and `completion`. All verbs
//! of a program are on one page, because people search in it; `clap_mangen` makes a page for each.

pub use self::completion::{Shell, answer, completion};
pub use self::misuse::{Misuse, wants_json};
use clap::{Arg, Command};

use roff::{Inline, Roff, bold, italic, roman};

mod completion;
mod misuse;

/// A page that is being written, from its top to its end.
pub struct Page {
    name: String,
    about: String,
    section: Section,
    synopsis: Vec<String>,
    date: String,
    blocks: Vec<Block>,
}

/// A part of a page, without its layout.
enum Block {
    Heading(String),
    /// A heading one level below.
    Subheading(String),
    Text(Vec<Inline>),
    /// A term and what it means.
    Item(Vec<Inline>, Vec<Inline>),
    /// A key of a file: its path, its form and what it is for.
    Key(String, Vec<Inline>, Vec<Inline>),
    /// Lines as they are typed or written.
    Example(String),
}

/// Where a page stands in the manual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// Commands of everybody.
    Commands,
    /// Forms of files.
    Files,
    /// Commands of the administrator.
    Administration,
}

/// A key of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key<'a> {
    /// Where it stands, such as `clusters[].server`.
    pub path: &'a str,
    /// What is written there and whether it has to be, such as `a duration, required`.
    pub form: &'a str,
    /// What it is for.
    pub about: &'a str,
}

impl Page {
    /// The head of a page: `name`, a line about it, and how it is called. `date` is written as it is.
    #[must_use]
    pub fn new(name: &str, section: Section, about: &str, synopsis: &[&str], date: &str) -> Self {
        Self {
            name: name.to_owned(),
            about: about.to_owned(),
            section,
            synopsis: synopsis.iter().map(|line| (*line).to_owned()).collect(),
            date: date.to_owned(),
            blocks: Vec::new(),
        }
    }

    /// The heading of a section.
    pub fn heading(&mut self, title: &str) -> &mut Self {
        self.push(Block::Heading(title.to_owned()))
    }

    /// A paragraph; what is in backticks is bold.
    pub fn text(&mut self, paragraph: &str) -> &mut Self {
        self.push(Block::Text(inline(paragraph)))
    }

    /// A term and what it means.
    pub fn item(&mut self, term: &str, meaning: &str) -> &mut Self {
        self.push(Block::Item(inline(term), inline(meaning)))
    }

    /// Lines as they are typed or written, after a sentence about them.
    pub fn example(&mut self, about: &str, lines: &str) -> &mut Self {
        self.text(about).push(Block::Example(lines.trim_end().to_owned()))
    }

    fn push(&mut self, block: Block) -> &mut Self {
        self.blocks.push(block);
        self
    }

    /// The options that every verb has.
    pub fn options(&mut self, command: &Command) -> &mut Self {
        self.heading("OPTIONS");
        for option in shown(&built(command)).filter(|argument| !argument.is_positional()) {
            self.argument(option);
        }
        self
    }

    /// Every verb with its own arguments, verbs of verbs too.
    pub fn verbs(&mut self, command: &Command) -> &mut Self {
        self.heading("COMMANDS");
        let command = built(command);
        for verb in public(&command) {
            self.verb(verb.get_name(), verb);
        }
        self
    }

    fn verb(&mut self, path: &str, verb: &Command) {
        let inner: Vec<&Command> = public(verb).collect();
        if !inner.is_empty() {
            for below in inner {
                self.verb(&format!("{path} {}", below.get_name()), below);
            }
            return;
        }
        let (positional, options): (Vec<&Arg>, Vec<&Arg>) =
            shown(verb).filter(|argument| !argument.is_global_set()).partition(|argument| argument.is_positional());
        let mut usage = path.to_owned();
        if options.iter().any(|option| !option.is_required_set()) {
            usage.push_str(" [OPTIONS]");
        }
        for option in options.iter().filter(|option| option.is_required_set()) {
            let name = option.get_long().unwrap_or_default();
            usage.push_str(&format!(" --{name} {}", value_names(option)));
        }
        for argument in &positional {
            let name = value_names(argument);
            let dashes = if argument.is_last_set() { "-- " } else { "" };
            let more = if takes_several(argument) { "..." } else { "" };
            usage.push_str(&match argument.is_required_set() {
                true => format!(" {dashes}{name}{more}"),
                false => format!(" [{name}{more}]"),
            });
        }
        self.push(Block::Subheading(usage));
        let about = verb.get_long_about().or(verb.get_about()).map(ToString::to_string).unwrap_or_default();
        for paragraph in about.split("\n\n").filter(|paragraph| !paragraph.is_empty()) {
            self.text(&sentence(paragraph));
        }
        for argument in positional.into_iter().chain(options) {
            self.argument(argument);
        }
    }

    fn argument(&mut self, argument: &Arg) {
        let mut term = Vec::new();
        let names = [
            argument.get_short().map(|short| format!("-{short}")),
            argument.get_long().map(|long| format!("--{long}")),
        ];
        for name in names.into_iter().flatten() {
            if !term.is_empty() {
                term.push(roman(", "));
            }
            term.push(bold(name));
        }
        if argument.is_positional() {
            term.push(italic(value_names(argument)));
        } else if argument.get_action().takes_values() {
            let optional = argument.get_num_args().is_some_and(|number| number.min_values() == 0);
            let name = value_names(argument);
            term.push(roman(if optional { " [" } else { " " }));
            term.push(italic(name));
            term.extend(optional.then(|| roman("]")));
        }
        let about = argument.get_long_help().or(argument.get_help()).map(ToString::to_string).unwrap_or_default();
        // Where the help has its own words for what holds without the option.
        let mut said = match about.strip_suffix(']').and_then(|about| about.rsplit_once(" [default: ")) {
            Some((about, default)) => {
                format!("{} Without it: {}", sentence(about.trim_end_matches('.')), sentence_as_is(default))
            }
            None => sentence(&about),
        };
        let words: Vec<String> = argument
            .get_possible_values()
            .iter()
            .filter(|value| !value.is_hide_set())
            .map(|value| format!("`{}`", value.get_name()))
            .collect();
        if argument.get_action().takes_values() && !words.is_empty() {
            said.push_str(&format!(" One of {}.", words.join(", ")));
        }
        let defaults: Vec<String> =
            argument.get_default_values().iter().map(|word| word.to_string_lossy().into()).collect();
        if argument.get_action().takes_values() && !defaults.is_empty() {
            said.push_str(&format!(" The default is `{}`.", defaults.join(" ")));
        }
        if let Some(variable) = argument.get_env() {
            said.push_str(&format!(" The environment's `{}` says it too.", variable.to_string_lossy()));
        }
        self.push(Block::Item(term, inline(&said)));
    }

    /// A key of a file. Those of the top have a heading, under which those below them follow.
    pub fn key(&mut self, Key { path, form, about }: Key<'_>) -> &mut Self {
        self.push(Block::Key(path.to_owned(), inline(form), inline(&sentence(about))))
    }

    /// The source of the page for man(1).
    #[must_use]
    pub fn render(&self) -> String {
        let (number, manual) = self.section.number_and_manual();
        let version = concat!("jitd ", env!("CARGO_PKG_VERSION"));
        let mut roff = Roff::new();
        roff.control("TH", [self.name.to_uppercase().as_str(), number, quoted(&self.date).as_str(), version, manual]);
        // Left-aligned and not hyphenated: words of commands are to be copied.
        roff.control("nh", []).control("ad", ["l"]);
        roff.control("SH", ["NAME"]).text([roman(format!("{} - {}", self.name, self.about))]);
        roff.control("SH", ["SYNOPSIS"]);
        for (number, line) in self.synopsis.iter().enumerate() {
            if number > 0 {
                roff.control("br", []);
            }
            roff.text(inline(line));
        }
        // Whether nothing stands below the last heading yet, where a paragraph would begin without a line above it.
        let mut begins = false;
        for block in &self.blocks {
            let after_heading =
                std::mem::replace(&mut begins, matches!(block, Block::Heading(_) | Block::Subheading(_)));
            match block {
                Block::Heading(title) => {
                    roff.control("SH", [title.as_str()]);
                }
                Block::Subheading(title) => {
                    roff.control("SS", [title.as_str()]);
                }
                Block::Text(text) => {
                    if !after_heading {
                        roff.control("PP", []);
                    }
                    roff.text(text.clone());
                }
                Block::Item(term, meaning) => {
                    roff.control("TP", []).text(term.clone()).text(meaning.clone());
                }
                Block::Key(path, form, about) => {
                    let form = [vec![roman("(")], form.clone(), vec![roman(")")]].concat();
                    if path.contains(['.', '[']) {
                        let term = [vec![bold(path), roman(" ")], form].concat();
                        roff.control("TP", []).text(term).text(about.clone());
                    } else {
                        roff.control("SS", [path.as_str()]).text(form).control("br", []).text(about.clone());
                    }
                }
                Block::Example(lines) => {
                    roff.control("PP", []).control("RS", ["4"]).control("nf", []);
                    for line in lines.lines() {
                        // An empty line in a block that is not filled would end a paragraph in some renderings.
                        if line.is_empty() {
                            roff.control("sp", []);
                        } else {
                            roff.text([roman(line)]);
                        }
                    }
                    roff.control("fi", []).control("RE", []);
                }
            }
        }
        roff.render()
    }

    /// The same page as Markdown, with the keys of a file as tables.
    #[must_use]
    pub fn markdown(&self) -> String {
        let (number, _) = self.section.number_and_manual();
        let mut page = format!("# {}({number})\n\n{}\n", self.name, sentence(&self.about));
        let mut in_table = false;
        for block in &self.blocks {
            let table = match block {
                Block::Key(..) => Some("| key | value | meaning |\n|---|---|---|\n"),
                Block::Item(..) => Some("| | |\n|---|---|\n"),
                _ => None,
            };
            let was_in_table = std::mem::replace(&mut in_table, table.is_some());
            if let (false, Some(head)) = (was_in_table, table) {
                page.push_str(&format!("\n{head}"));
            }
            page.push_str(&match block {
                Block::Heading(title) => format!("\n## {}\n", capital(&title.to_lowercase())),
                Block::Subheading(title) => format!("\n### `{title}`\n"),
                Block::Text(text) => format!("\n{}\n", marked(text)),
                Block::Item(term, meaning) => format!("| {} | {} |\n", cell(term), cell(meaning)),
                Block::Key(path, form, about) => format!("| `{path}` | {} | {} |\n", cell(form), cell(about)),
                Block::Example(lines) => format!("\n```\n{lines}\n```\n"),
            });
        }
        page
    }
}

impl Section {
    fn number_and_manual(self) -> (&'static str, &'static str) {
        match self {
            Self::Commands => ("1", "User Commands"),
            Self::Files => ("5", "File Formats"),
            Self::Administration => ("8", "System Administration"),
        }
    }
}

/// The calls of the program below `Examples:` in the help of this verb and of those below it: each as it is written, and in
/// words. A backslash joins lines, double quotes keep words together, and what a shell does with the output is left out.
#[must_use]
pub fn examples(command: &Command) -> Vec<(String, Vec<String>)> {
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default().replace("\\\n", "");
    let below = help.split("Examples:\n").nth(1).unwrap_or_default();
    let own = below.lines().take_while(|line| !line.is_empty()).map(|line| {
        let inner = line.split_once("$(").or(line.split_once("<(")).map(|(_, inner)| inner);
        let call = inner.map_or(line, |inner| inner.split(')').next().unwrap_or_default());
        let call = call.split(['>', '|']).next().unwrap_or_default();
        let words = call.split('"').enumerate().flat_map(|(number, part)| match number % 2 {
            0 => part.split_whitespace().map(str::to_owned).collect(),
            _ => vec![part.to_owned()],
        });
        (line.trim().to_owned(), words.collect())
    });
    own.chain(command.get_subcommands().flat_map(examples)).collect()
}

/// The date of a page from what `SOURCE_DATE_EPOCH` says (<https://reproducible-builds.org/specs/source-date-epoch/>);
/// without it there is none, and the same source makes the same page.
#[must_use]
pub fn date(epoch: Option<&str>) -> String {
    let moment = epoch.and_then(|seconds| seconds.parse().ok()).and_then(|at| jiff::Timestamp::from_second(at).ok());
    moment.map(|at| at.strftime("%Y-%m-%d").to_string()).unwrap_or_default()
}

/// The command with everything that is only there when it runs; without the verb `help`.
fn built(command: &Command) -> Command {
    let mut command = command.clone().disable_help_subcommand(true);
    command.build();
    command
}

fn public(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|verb| !verb.is_hide_set() && verb.get_name() != "help")
}

fn shown(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|argument| !argument.is_hide_set() && argument.get_id() != "help")
}

fn takes_several(argument: &Arg) -> bool {
    argument.get_num_args().is_some_and(|number| number.max_values() > 1)
}

fn value_names(argument: &Arg) -> String {
    let names: Vec<&str> = argument.get_value_names().unwrap_or_default().iter().map(|name| name.as_str()).collect();
    if names.is_empty() { argument.get_id().as_str().to_uppercase() } else { names.join(" ") }
}

/// `""` where nothing stands, as a macro's arguments are told apart by spaces.
fn quoted(word: &str) -> String {
    if word.is_empty() { "\"\"".to_owned() } else { word.to_owned() }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// With a capital letter and a full stop, which short helps on a terminal do without.
#[must_use]
pub fn sentence(text: &str) -> String {
    sentence_as_is(&capital(text.trim()))
}

fn sentence_as_is(text: &str) -> String {
    let text = text.to_owned();
    if text.is_empty() || text.ends_with(['.', '?', '!', ':']) { text } else { format!("{text}.") }
}

/// Bold words as code, the placeholder of a value as it is.
fn marked(text: &[Inline]) -> String {
    text.iter()
        .map(|part| match part {
            Inline::Bold(words) => format!("`{words}`"),
            Inline::Roman(words) | Inline::Italic(words) => words.replace('<', "&lt;").replace('*', "\\*"),
            Inline::LineBreak => " ".to_owned(),
        })
        .collect()
}

/// One cell of a table.
fn cell(text: &[Inline]) -> String {
    marked(text).replace('|', "\\|")
}

fn inline(text: &str) -> Vec<Inline> {
    let text = text.replace('\n', " ");
    text.split('`').enumerate().map(|(number, part)| if number % 2 == 0 { roman(part) } else { bold(part) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_the_same_bytes_whenever_it_is_made() {
        assert_eq!(date(Some("1764028800")), "2025-11-25");
        assert_eq!((date(None), date(Some("soon"))), (String::new(), String::new()));
    }

    #[test]
    fn every_verb_and_option_that_is_not_hidden_is_told() {
        let command = Command::new("x")
            .subcommand(Command::new("a").about("does a").arg(Arg::new("file").required(true)))
            .subcommand(Command::new("b").subcommand(Command::new("c").arg(Arg::new("d").long("d"))))
            .subcommand(Command::new("z").hide(true));
        let page = Page::new("x", Section::Commands, "y", &["`x`"], "").verbs(&command).render();
        let headings: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix(".SS ")).collect();
        assert_eq!(headings, ["\"a FILE\"", "\"b c [OPTIONS]\""]);
        let told = page.split(".SS").nth(2).unwrap();
        assert!(told.contains("\\fB\\-\\-d\\fR \\fID\\fR"), "{told}");
    }
}
