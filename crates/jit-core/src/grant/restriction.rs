//! What the gateway refuses of a grant although its role allows it, because RBAC cannot tell it apart: the command of an exec,
//! the port of a port-forward, a delete without a name.
//!
//! A rule or a guardrail writes a restriction, the grant carries it, and the gateway enforces it. Each says what it cannot
//! hold, so that nobody takes it for more than it is.

use std::fmt;
use std::str::FromStr;

use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Something that the gateway refuses, under the name that the refused person reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Restriction {
    /// The name in the file.
    pub name: String,
    /// What is refused.
    pub refuses: Restricted,
}

/// What a [`Restriction`] refuses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Restricted {
    /// An exec whose command matches none of these. Also attach and debug containers, which would run or reach a process whose
    /// command nobody has compared.
    Exec {
        /// The patterns, at least one.
        #[schema(value_type = Vec<String>)]
        except: Vec<CommandPattern>,
    },
    /// An exec whose command has the word `tar`, as that of `kubectl cp` has.
    Copy,
    /// A port-forward to another port than these. Also the proxies of pods and services, which reach ports too.
    PortForward {
        /// The ports, at least one.
        except: Vec<u16>,
    },
    /// A delete without a name: the verb `deletecollection`.
    DeleteCollection,
}

impl Restriction {
    /// What is refused, for people: `exec of any command but …`.
    #[must_use]
    pub fn says(&self) -> String {
        match &self.refuses {
            Restricted::Exec { except } => {
                format!("exec of any command but {}, attach, and debug containers", listed(except, "`"))
            }
            Restricted::Copy => "exec of a command with the word `tar`, which `kubectl cp` needs".to_owned(),
            Restricted::PortForward { except } => {
                format!("port-forward to any port but {}, and the proxies of pods and services", listed(except, ""))
            }
            Restricted::DeleteCollection => "delete without a name (`deletecollection`)".to_owned(),
        }
    }

    /// What it cannot hold, for people.
    #[must_use]
    pub fn limit(&self) -> &'static str {
        match self.refuses {
            Restricted::Exec { .. } => {
                "not what an allowed command starts, nor what runs in a pod or workload that the role may create or change"
            }
            Restricted::Copy => "not files that another command reads or writes, such as `cat`",
            Restricted::PortForward { .. } => "not connections that an exec or a new pod makes",
            Restricted::DeleteCollection => {
                "not objects that are deleted one by one, as `kubectl delete --all` does, nor all of a namespace with it"
            }
        }
    }

    /// All of it, for people: the name, what is refused, and what it cannot hold.
    #[must_use]
    pub fn describe(&self) -> String {
        format!("`{}`: {}; {}", self.name, self.says(), self.limit())
    }
}

/// The list in words, each between these marks.
fn listed(words: &[impl fmt::Display], mark: &str) -> String {
    words.iter().map(|word| format!("{mark}{word}{mark}")).collect::<Vec<_>>().join(" or ")
}

/// A regular expression for the whole command of an exec.
///
/// It is compared with [`line()`], from the first character to the last, without `^` and `$`; `.` also matches a line feed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CommandPattern(String);

impl CommandPattern {
    /// Whether the command matches. A pattern that is no regular expression matches nothing.
    #[must_use]
    pub fn is_match(&self, command: &[String]) -> bool {
        // Compiled for each exec: they are few, and a feed may carry thousands of patterns that are never used.
        self.compiled().is_ok_and(|pattern| pattern.is_match(&line(command)))
    }

    fn compiled(&self) -> Result<Regex, regex::Error> {
        // By itself first: `a)|(b` would be valid between the parentheses below.
        RegexBuilder::new(&self.0).size_limit(1 << 20).build()?;
        let whole = format!(r"\A(?:{})\z", self.0);
        RegexBuilder::new(&whole).dot_matches_new_line(true).size_limit(1 << 20).build()
    }
}

impl FromStr for CommandPattern {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.chars().count() > LONGEST_PATTERN || text.chars().any(char::is_control) {
            return Err(format!("use 1 to {LONGEST_PATTERN} printable characters"));
        }
        let pattern = Self(text.to_owned());
        pattern.compiled().map_err(|error| regex_fault(&error))?;
        Ok(pattern)
    }
}

impl fmt::Display for CommandPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is wrong with a regular expression: the last line of the library's message. The lines before it mark the position.
pub(super) fn regex_fault(error: &regex::Error) -> String {
    error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

/// The longest pattern, in characters.
const LONGEST_PATTERN: usize = 500;

/// A command as a shell would have to be given it: each word as [`shell_word`] with a space between them. Two commands never
/// have the same line.
#[must_use]
pub fn line(command: &[String]) -> String {
    command.iter().map(|word| shell_word(word)).collect::<Vec<_>>().join(" ")
}

/// A word as a shell would have to be given it: in single quotes if it is empty or has a character other than
/// `A-Z a-z 0-9 _ @ % + = : , . / -`.
#[must_use]
pub fn shell_word(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_@%+=:,./-".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Whether a command has the word `tar`: as a word of its own or within one, with or without a folder before it.
#[must_use]
pub fn has_tar(command: &[String]) -> bool {
    let is_inner = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | '+' | ':');
    let mut parts = command.iter().flat_map(|word| word.split(move |c: char| !is_inner(c)));
    parts.any(|part| part.rsplit('/').next() == Some("tar"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(ToString::to_string).collect()
    }

    fn pattern(text: &str) -> CommandPattern {
        text.parse().unwrap()
    }

    /// What an argument contains can neither look like another word nor hide from the pattern.
    #[test]
    fn a_pattern_is_for_the_whole_command_word_by_word() {
        let psql = pattern("psql( .*)?");
        for allowed in [&["psql"][..], &["psql", "-c", "select 1"], &["psql", ""], &["psql", "a\nb"]] {
            assert!(psql.is_match(&words(allowed)), "{allowed:?}");
        }
        for refused in [
            &[][..],
            &[""],
            &["psql -c x"],
            &["psql\n"],
            &[" psql"],
            &["/bin/psql"],
            &["PSQL"],
            &["sh", "-c", "psql"],
            &["sh\npsql"],
            &["psql2"],
            &["sh", "psql"],
            &["'psql'"],
        ] {
            assert!(!psql.is_match(&words(refused)), "{refused:?}");
        }
        let select = pattern(r"psql -c 'select [a-z]+'");
        assert!(select.is_match(&words(&["psql", "-c", "select now"])));
        for refused in [
            &["psql", "-c", "select now", "-c", "drop"][..],
            &["psql", "-c", "select now'"],
            &["psql", "-c", "select now' -c 'select now"],
            &["psql", "-c select now"],
            &["psql", "-c", "select", "now"],
            &["psql", "-c", "select now\n"],
        ] {
            assert!(!select.is_match(&words(refused)), "{refused:?}");
        }
        assert!(!pattern("a|b").is_match(&words(&["b", "c"])) && pattern("a|b").is_match(&words(&["b"])));
        assert!(!pattern("(?m)^psql$").is_match(&words(&["psql\nsh"])));
    }

    #[test]
    fn two_commands_never_have_the_same_line() {
        let all = [
            &[][..],
            &[""],
            &["", ""],
            &[" "],
            &["a", "b"],
            &["a b"],
            &["'a b'"],
            &["a' 'b"],
            &["a'", "'b"],
            &["a\\'b"],
            &["a\n", "b"],
            &["a", "\nb"],
            &["a'\\''b"],
        ];
        let lines: std::collections::BTreeSet<_> = all.iter().map(|command| line(&words(command))).collect();
        assert_eq!(lines.len(), all.len(), "{lines:?}");
        assert_eq!(line(&words(&["psql", "-c", "it's"])), r"psql -c 'it'\''s'");
    }

    #[test]
    fn a_pattern_that_is_none_is_refused_and_matches_nothing() {
        for wrong in ["", "(", "a)|(?:b", "a\nb", &"a".repeat(501), r"\w{1000}{1000}"] {
            assert!(wrong.parse::<CommandPattern>().is_err(), "{wrong}");
        }
        let stored: CommandPattern = serde_json::from_str(r#""a)|(?:b""#).unwrap();
        assert!(!stored.is_match(&words(&["a"])) && !stored.is_match(&words(&["b"])));
    }

    #[test]
    fn the_word_tar_is_found_wherever_a_shell_would_find_it() {
        for copies in [
            &["tar", "cf", "-", "/etc/hosts"][..],
            &["/bin/tar", "xmf", "-"],
            &["busybox", "tar", "xf", "-"],
            &["sh", "-c", "tar cf - /data | tail -c+1"],
            &["sh", "-c", "cd /;tar c ."],
            &["sh", "-c", "$(/usr/bin/tar c .)"],
        ] {
            assert!(has_tar(&words(copies)), "{copies:?}");
        }
        for other in [&["ls", "/backup/a.tar"][..], &["cat", "tar.gz"], &["start"], &["ls", "/tar/x"], &[]] {
            assert!(!has_tar(&words(other)), "{other:?}");
        }
    }

    /// The form in which trails, logs and the feed keep it.
    #[test]
    fn a_restriction_keeps_its_form() {
        let all = serde_json::json!([
            { "name": "a", "refuses": { "exec": { "except": ["psql( .*)?"] } } },
            { "name": "b", "refuses": "copy" },
            { "name": "c", "refuses": { "portForward": { "except": [8080] } } },
            { "name": "d", "refuses": "deleteCollection" },
        ]);
        let read: Vec<Restriction> = serde_json::from_value(all.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), all);
        let other = serde_json::json!({ "name": "e", "refuses": { "exec": { "only": [] } } });
        assert!(serde_json::from_value::<Restriction>(other).is_err());
    }
}
