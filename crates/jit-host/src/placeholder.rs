//! Placeholders: what `jitd init` writes where only an administrator knows the value.
//!
//! A file that still has one must never be used: some values would be wrong without anybody noticing. `config` and
//! `jit-dial` look for them, in every file that they read.

use std::fmt;

/// How each placeholder begins; capital letters, digits and `_` follow.
pub const PREFIX: &str = "FILL_IN_";

/// A placeholder in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placeholder {
    /// The number of its line; the first line is 1.
    pub line: usize,
    /// The whole placeholder.
    pub word: String,
}

impl fmt::Display for Placeholder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} still has the placeholder `{}`", self.line, self.word)
    }
}

/// All placeholders of a YAML file, in order. Comments that have a line of their own do not count.
pub fn in_text(text: &str) -> impl Iterator<Item = Placeholder> + '_ {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with('#'));
    lines.flat_map(|(before, line)| {
        line.match_indices(PREFIX).map(move |(at, _)| {
            let rest = line.get(at..).unwrap_or_default();
            let is_part = |c: &char| c.is_ascii_uppercase() || c.is_ascii_digit() || *c == '_';
            Placeholder { line: before + 1, word: rest.chars().take_while(is_part).collect() }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_found_with_their_lines() {
        let text = "a: 1\n # FILL_IN_NOTHING\nb: \"FILL_IN_A1\"\nc: [x:FILL_IN_B/y, FILL_IN_C]\nfill_in_d: FILLIN\n";
        let found: Vec<String> = in_text(text).map(|found| format!("{} {}", found.line, found.word)).collect();
        assert_eq!(found, ["3 FILL_IN_A1", "4 FILL_IN_B", "4 FILL_IN_C"]);
        assert_eq!(in_text("").next(), None);
    }
}
