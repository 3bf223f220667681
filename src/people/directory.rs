//! What directories said about people of their providers, and since when one of them does not answer.
//!
//! ```text
//!  sweep, a collection ─► ask ─► jit-directory ─► Answered   (counts instead of what the provider said before)
//!                                     └ fails ─► Failed      (nothing changes until `staleAfter`; then nothing new is granted)
//! ```
//! An answer counts from the moment of its question; what a token said that was issued later counts instead. A reload keeps
//! the answers of a directory whose rule did not change. The rest of `people` calls this.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};
use jit_directory::{Directory, DirectoryError, Found, Rule};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::dependency::Watched;
use crate::grant::request::{Window, after};
use crate::hint::Hint;
use crate::secret::Place;

/// A directory of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryRule {
    /// How it is asked.
    pub rule: Rule,
    /// For how long what it said last is enough to grant something new, while it does not answer.
    pub stale_after: Window,
}

/// A directory does not answer, for longer than the configuration allows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {directory} has not answered since {since:.0}, so nothing new is granted to its people: {why}")]
pub struct Stale {
    directory: String,
    since: Timestamp,
    why: String,
}

impl Hint for Stale {
    fn hint(&self) -> Option<Cow<'static, str>> {
        Some(
            "try again when it answers; access that is live continues. An administrator finds the reason in the log"
                .into(),
        )
    }
}

/// The directory of a provider.
pub(super) struct Asked {
    pub(super) issuer: String,
    name: String,
    configured: DirectoryRule,
    directory: Directory,
    /// A directory is asked about a few people at a time.
    turns: Semaphore,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    answers: BTreeMap<String, Answered>,
    /// When it answered last.
    last: Option<Timestamp>,
    failed: Option<Failed>,
}

/// What it said about one person.
#[derive(Clone)]
pub(super) struct Answered {
    /// When it was asked.
    pub(super) at: Timestamp,
    pub(super) found: Found,
}

/// Since when it does not answer.
struct Failed {
    since: Timestamp,
    /// How often since then.
    times: usize,
    why: String,
    /// About whom it was asked; it is asked about them again until it answers.
    subject: String,
    /// When it may be asked again.
    again: Timestamp,
}

/// The nil UUID (RFC 9562 section 5.9), the id of no account.
const NOBODY: &str = "00000000-0000-0000-0000-000000000000";

/// How many people it is asked about at a time.
const AT_ONCE: usize = 4;

/// Of how many people an answer is remembered.
const REMEMBERED: usize = 10_000;

impl Asked {
    pub(super) fn new(issuer: &str, configured: DirectoryRule) -> Self {
        Self {
            issuer: issuer.to_owned(),
            name: format!("directory of {issuer}"),
            directory: Directory::new(configured.rule.clone()),
            configured,
            turns: Semaphore::new(AT_ONCE),
            state: Mutex::default(),
        }
    }

    /// Whether it is the same one.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.issuer == other.issuer && self.configured == other.configured
    }

    /// The file of the secret, if it is not a credential.
    pub(super) fn file(&self) -> Option<PathBuf> {
        match &self.configured.rule.secret {
            Place::File(path) => Some(path.clone()),
            Place::Credential(_) => None,
        }
    }

    /// Asks it about somebody whom no directory has, which needs everything that any question needs; counts for nothing.
    pub(super) async fn try_once(&self) -> Result<(), DirectoryError> {
        self.directory.ask(NOBODY).await.map(drop)
    }

    /// What it said last about a person.
    pub(super) fn answer(&self, subject: &str) -> Option<Answered> {
        self.state.lock().answers.get(subject).cloned()
    }

    /// When it answered last.
    pub(super) fn last(&self) -> Option<Timestamp> {
        self.state.lock().last
    }

    /// About whom it has to be asked until it answers again.
    pub(super) fn to_ask_again(&self) -> Option<String> {
        self.state.lock().failed.as_ref().map(|failed| failed.subject.clone())
    }

    /// Refuses if it does not answer for too long.
    pub(super) fn is_fresh(&self, now: Timestamp) -> Result<(), Stale> {
        let state = self.state.lock();
        let Some(failed) = &state.failed else { return Ok(()) };
        if now.duration_since(failed.since) < self.configured.stale_after.duration() {
            return Ok(());
        }
        Err(Stale { directory: self.name.clone(), since: failed.since, why: failed.why.clone() })
    }

    /// Asks about all of these people, a few at a time, and gives up when it does not answer.
    pub(super) async fn ask_all(&self, subjects: BTreeSet<String>, clock: &(impl Fn() -> Timestamp + Sync)) {
        let mut asked =
            futures::stream::iter(subjects.into_iter().map(|subject| async move { self.ask(&subject, clock).await }))
                .buffer_unordered(AT_ONCE);
        while let Some(goes_on) = asked.next().await {
            if !goes_on {
                return;
            }
        }
    }

    /// Asks about a person; whether it may be asked about another one.
    pub(super) async fn ask(&self, subject: &str, clock: &(impl Fn() -> Timestamp + Sync)) -> bool {
        // The semaphore is never closed.
        let Ok(_turn) = self.turns.acquire().await else { return false };
        let at = clock();
        if self.state.lock().failed.as_ref().is_some_and(|failed| at < failed.again) {
            return false;
        }
        match self.directory.ask(subject).await {
            Ok(found) => {
                self.answered(subject, Answered { at, found }, clock());
                true
            }
            Err(error) => {
                let goes_on = error.is_about_one();
                self.failed(subject, &error, clock());
                goes_on
            }
        }
    }

    fn answered(&self, subject: &str, answered: Answered, now: Timestamp) {
        let state = &mut *self.state.lock();
        if let Some(failed) = state.failed.take() {
            tracing::info!(directory = self.name, since = %failed.since, "the {} answers again", self.name);
        }
        state.last = Some(now);
        let before = state.answers.get(subject);
        // Two questions about one person may overtake each other.
        if before.is_some_and(|before| before.at > answered.at) {
            return;
        }
        if state.answers.len() >= REMEMBERED && before.is_none() {
            state.answers.pop_first();
        }
        state.answers.insert(subject.to_owned(), answered);
    }

    fn failed(&self, subject: &str, error: &DirectoryError, now: Timestamp) {
        let state = &mut *self.state.lock();
        let wait = error.retry_after().and_then(|wait| SignedDuration::try_from(wait).ok()).unwrap_or_default();
        let why = error.in_short();
        let (since, times) = match &state.failed {
            Some(failed) => (failed.since, failed.times.saturating_add(1)),
            None => {
                tracing::warn!(directory = self.name, subject, error = %error.in_full(), "the {} says nothing about a person; what it said last counts, until `staleAfter`", self.name);
                (now, 1)
            }
        };
        state.failed = Some(Failed { since, times, why, subject: subject.to_owned(), again: after(now, wait) });
    }
}

impl Watched for Asked {
    fn name(&self) -> &str {
        &self.name
    }

    fn overdue(&self) -> usize {
        self.state.lock().failed.as_ref().map_or(0, |failed| failed.times)
    }
}

impl std::fmt::Debug for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Asked").field(&self.name).finish()
    }
}
