//! Wrong command lines of programs that print JSON: the fault and its hint as separate sentences, without clap's layout.
//!
//! Only text. The mains call it before the command line is parsed, or because it cannot be.

use std::ffi::OsString;

/// Whether a command line asks for JSON: `-o json` or `--output json`, before any `--`. The words need not parse.
#[must_use]
pub fn wants_json(words: &[OsString]) -> bool {
    let mut words = words.iter().skip(1).map(|word| word.to_str().unwrap_or_default()).take_while(|word| *word != "--");
    while let Some(word) = words.next() {
        match word {
            "-ojson" | "-o=json" | "--output=json" => return true,
            "-o" | "--output" if words.next() == Some("json") => return true,
            _ => {}
        }
    }
    false
}

/// What is wrong with a command line, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misuse {
    /// One sentence.
    pub what: String,
    /// One sentence.
    pub hint: String,
}

impl From<&clap::Error> for Misuse {
    /// The first paragraph of clap's message, and its tips if it has any.
    fn from(error: &clap::Error) -> Self {
        let text = error.render().to_string();
        let first = text.split("\n\n").next().unwrap_or_default();
        let what = first.strip_prefix("error: ").unwrap_or(first).split_whitespace().collect::<Vec<_>>().join(" ");
        let tips: Vec<&str> = text.lines().filter_map(|line| line.trim().strip_prefix("tip: ")).collect();
        let hint = if tips.is_empty() { "`--help` shows how to write it".to_owned() } else { tips.join("; ") };
        Self { what, hint }
    }
}

#[cfg(test)]
mod tests {
    use clap::{Arg, Command};

    use super::*;

    #[test]
    fn json_is_asked_for_before_two_dashes_only() {
        for (words, wants) in [
            ("x -o json", true),
            ("x ls -ojson", true),
            ("x ls --output json --all", true),
            ("x ls --output=json", true),
            ("x ls -o yaml", false),
            ("x ls json", false),
            ("x run -- kubectl get pods -o json", false),
            ("-o json", false),
        ] {
            let words: Vec<OsString> = words.split(' ').map(OsString::from).collect();
            assert_eq!(wants_json(&words), wants, "{words:?}");
        }
    }

    #[test]
    fn the_fault_is_one_sentence_and_a_tip_is_the_hint() {
        let command = || Command::new("x").arg(Arg::new("reason").long("reason").required(true));
        let misuse = |words: &[&str]| Misuse::from(&command().try_get_matches_from(words).unwrap_err());
        let missing = misuse(&["x"]);
        assert_eq!(missing.what, "the following required arguments were not provided: --reason <reason>");
        assert_eq!(missing.hint, "`--help` shows how to write it");
        let typo = misuse(&["x", "--reasn", "y"]);
        assert_eq!(typo.what, "unexpected argument '--reasn' found");
        assert!(typo.hint.contains("--reason"), "{typo:?}");
    }
}
