//! Where people are reached whom the configuration does not list: a program of this host knows.
//!
//! There are as many directories as companies, and the passwd file has no addresses, so this is a program, as
//! `AuthorizedKeysCommand` is for the keys of sshd: it gets the name of a person as its last argument, and prints an id or an
//! address, or nothing for somebody who is not told. An answer counts for ten minutes.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use jit_host::escape::{escaped, is_visible};
use parking_lot::Mutex;

use crate::command::Command;

/// How long an answer counts.
const KEPT_FOR: SignedDuration = SignedDuration::from_mins(10);

/// How many answers are kept.
const MOST: usize = 4096;

/// The longest address: RFC 5321, 4.5.3.1.3.
const LONGEST: usize = 254;

/// A program that knows where people are reached, and what it said.
#[derive(Debug)]
pub struct Directory {
    command: Command,
    /// By name: when it was said, and what.
    known: Mutex<BTreeMap<String, (Timestamp, Option<String>)>>,
}

impl Directory {
    /// A directory behind a program.
    #[must_use]
    pub fn new(command: Command) -> Self {
        Self { command, known: Mutex::default() }
    }

    /// Where a person is reached, as the program said last; `None` if it did not say, or said nothing.
    #[must_use]
    pub fn known(&self, person: &str) -> Option<String> {
        self.known.lock().get(person).and_then(|(_, address)| address.clone())
    }

    /// Asks about a person, unless the last answer still counts at `now`.
    ///
    /// # Errors
    /// Why the program did not answer, in words for `jit-notify status`.
    pub async fn ask(&self, person: &str, now: Timestamp) -> Result<(), String> {
        let is_fresh = |(at, _): &(Timestamp, Option<String>)| now.duration_since(*at).abs() < KEPT_FOR;
        if self.known.lock().get(person).is_some_and(is_fresh) {
            return Ok(());
        }
        // What begins so would be an option of the program.
        let said = if person.starts_with('-') { String::new() } else { self.command.ask(person).await? };
        let address = said.trim();
        if address.len() > LONGEST || !address.chars().all(is_visible) {
            let (program, person) = (self.command.program.display(), escaped(person));
            return Err(format!("`{program}` prints more than one address for `{person}`"));
        }
        let mut known = self.known.lock();
        if known.len() >= MOST
            && let Some(oldest) = known.iter().min_by_key(|(_, (at, _))| *at).map(|(person, _)| person.clone())
        {
            known.remove(&oldest);
        }
        known.insert(person.to_owned(), (now, (!address.is_empty()).then(|| address.to_owned())));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn directory(script: &str) -> Directory {
        let arguments = ["-c", script, "directory"].map(Into::into).to_vec();
        Directory::new(Command { program: "/bin/sh".into(), arguments, deadline: Duration::from_secs(60) })
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_796_000_000 + seconds).unwrap()
    }

    /// An answer is one address or none, and is not asked for again while it counts.
    #[tokio::test]
    async fn an_answer_counts_for_ten_minutes() {
        let asked = std::env::temp_dir().join(format!("jit-notify-directory-{}", std::process::id()));
        let of = directory(&format!("echo \"$1\" >>{}; [ \"$1\" = bob ] || echo \"$1@example.com\"", asked.display()));
        for (person, now) in [("alice", 0), ("alice", 599), ("bob", 599), ("bob", 600), ("-rf", 600), ("alice", 600)] {
            of.ask(person, at(now)).await.unwrap();
        }
        assert_eq!(of.known("alice").as_deref(), Some("alice@example.com"));
        assert_eq!([of.known("bob"), of.known("-rf"), of.known("carol")], [None, None, None]);
        assert_eq!(std::fs::read_to_string(&asked).unwrap(), "alice\nbob\nalice\n");
        std::fs::remove_file(asked).unwrap();
    }

    /// Whatever else it does is an error with its name, and the person is asked about again.
    #[tokio::test]
    async fn a_program_that_fails_is_no_answer() {
        for (script, said) in [
            ("echo no server >&2; exit 1", "`/bin/sh` failed with exit code 1: no server"),
            ("echo a@example.com; echo b@example.com", "prints more than one address for `alice`"),
            ("head -c 300 /dev/zero | tr '\\0' x", "prints more than one address"),
            ("kill -9 $$", "`/bin/sh` was ended by"),
        ] {
            let why = directory(script).ask("alice", at(0)).await.unwrap_err();
            assert!(why.contains(said), "{script}: {why}");
        }
        let missing =
            Command { program: "/no/such/program".into(), arguments: Vec::new(), deadline: Duration::from_secs(1) };
        assert!(Directory::new(missing).ask("alice", at(0)).await.unwrap_err().contains("cannot be started"));
    }
}
