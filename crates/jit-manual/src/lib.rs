//! Manual pages (man(7)) and completions for shells, out of the definitions that the programs themselves read:
//! the verbs and options of a command line, the keys of a file. What a definition can't say, prose, comes from
//! who writes the page.
//!
//! Only text; it reads no file and no clock. The mains call it for their verbs `man` and `completion`. All verbs
//! of a program stand on one page, for people search in it; `clap_mangen` makes a page for each.

pub use self::completion::{Shell, answer, completion};
use clap::{Arg, Command};

use roff::{Inline, Roff, bold, italic, roman};

mod completion;

/// A page that is being written, from its top to its end.
pub struct Page {
    roff: Roff,
    /// Whether nothing stands below the last heading yet, where a paragraph would begin without a line above it.
    begins: bool,
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
        let (number, manual) = match section {
            Section::Commands => ("1", "User Commands"),
            Section::Files => ("5", "File Formats"),
            Section::Administration => ("8", "System Administration"),
        };
        let version = concat!("jitd ", env!("CARGO_PKG_VERSION"));
        let mut roff = Roff::new();
        roff.control("TH", [name.to_uppercase().as_str(), number, quoted(date).as_str(), version, manual]);
        // Left-aligned and not hyphenated: words of commands are to be copied.
        roff.control("nh", []).control("ad", ["l"]);
        roff.control("SH", ["NAME"]).text([roman(format!("{name} - {about}"))]);
        let mut page = Self { roff, begins: true };
        page.heading("SYNOPSIS");
        for (number, line) in synopsis.iter().enumerate() {
            if number > 0 {
                page.roff.control("br", []);
            }
            page.roff.text(inline(line));
        }
        page
    }

    /// The heading of a section.
    pub fn heading(&mut self, title: &str) -> &mut Self {
        self.roff.control("SH", [title]);
        self.begins = true;
        self
    }

    /// A paragraph; what is in backticks is bold.
    pub fn text(&mut self, paragraph: &str) -> &mut Self {
        if !std::mem::take(&mut self.begins) {
            self.roff.control("PP", []);
        }
        self.roff.text(inline(paragraph));
        self
    }

    /// A term and what there is to say of it.
    pub fn item(&mut self, term: &str, said: &str) -> &mut Self {
        self.tagged(inline(term), &[said])
    }

    /// Lines as they are typed or written, after a sentence about them.
    pub fn example(&mut self, about: &str, lines: &str) -> &mut Self {
        self.text(about);
        self.roff.control("PP", []).control("RS", ["4"]).control("nf", []);
        for line in lines.trim_end().lines() {
            // An empty line in a block that is not filled would end a paragraph in some renderings.
            if line.is_empty() {
                self.roff.control("sp", []);
            } else {
                self.roff.text([roman(line)]);
            }
        }
        self.roff.control("fi", []).control("RE", []);
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
        self.roff.control("SS", [usage.as_str()]);
        let about = verb.get_long_about().or(verb.get_about()).map(ToString::to_string).unwrap_or_default();
        for (number, paragraph) in about.split("\n\n").enumerate() {
            if number > 0 {
                self.roff.control("PP", []);
            }
            self.roff.text(inline(&sentence(paragraph)));
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
        self.tagged(term, &[&said]);
    }

    /// A key of a file; those of the top have a heading, under which those below them follow.
    pub fn key(&mut self, Key { path, form, about }: Key<'_>) -> &mut Self {
        if path.contains(['.', '[']) {
            return self
                .tagged([vec![bold(path), roman(" (")], inline(form), vec![roman(")")]].concat(), &[&sentence(about)]);
        }
        self.roff.control("SS", [path]).text([vec![roman("(")], inline(form), vec![roman(")")]].concat());
        self.roff.control("br", []).text(inline(&sentence(about)));
        self
    }

    fn tagged(&mut self, term: Vec<Inline>, said: &[&str]) -> &mut Self {
        self.roff.control("TP", []).text(term);
        for line in said {
            self.roff.text(inline(line));
        }
        self
    }

    /// The source of the page.
    #[must_use]
    pub fn render(&self) -> String {
        self.roff.render()
    }
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
fn sentence(text: &str) -> String {
    sentence_as_is(&capital(text.trim()))
}

fn sentence_as_is(text: &str) -> String {
    let text = text.to_owned();
    if text.is_empty() || text.ends_with(['.', '?', '!', ':']) { text } else { format!("{text}.") }
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
