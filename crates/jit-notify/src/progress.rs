//! How far a channel is: up to where every fact is settled, and what was exceptional.
//!
//! ```text
//!  facts   1 2 3 4 5 6 7 8 9          settled: 4          everything up to 4
//!          ✓ ✓ ✓ ✓ … ✓ ✓ … ✓          beyond:  6-7, 9     what is settled out of order
//! ```
//! The facts themselves are in the trail. A file for each channel is written whole after a fact was settled, never before:
//! what was sent before a crash is sent again, and nothing is left out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;

use jiff::Timestamp;
use jit_core::grant::SentText;
use jit_host::files::{self, Existing, FileError};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::present::Shown;
use crate::reports::Reports;

/// The form of the file.
const VERSION: u32 = 1;

/// How many parked facts are listed; all are counted.
const LISTED: usize = 100;

/// A fact that a receiver refused for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Parked {
    /// Its number.
    pub number: u64,
    /// Its grant, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
    /// What it is: the `type` of the document.
    pub kind: String,
    /// When it was refused.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Why.
    pub why: String,
}

/// What is kept of a channel on the disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Kept {
    version: u32,
    /// Every fact up to this one is settled.
    settled: u64,
    /// Ranges of facts beyond that are settled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    beyond: Vec<(u64, u64)>,
    /// What was refused last.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    parked: VecDeque<Parked>,
    /// How many were refused.
    #[serde(default)]
    parked_total: u64,
    /// What a board shows, by grant.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    shown: BTreeMap<String, Shown>,
    /// What receivers took and the trail does not have yet.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    reports: VecDeque<SentText>,
}

/// How far a channel is, with what is waiting now.
#[derive(Debug)]
pub struct Progress {
    /// Everything up to here was read.
    read: u64,
    /// What is read and not settled, with the times at which it happened.
    waiting: BTreeMap<u64, Timestamp>,
    /// What is settled although something before it is not.
    beyond: BTreeSet<u64>,
    parked: VecDeque<Parked>,
    parked_total: u64,
    /// What a board shows, by grant.
    pub shown: BTreeMap<String, Shown>,
    /// What receivers took and the trail does not have yet.
    pub reports: Reports,
}

/// Why the progress of a channel cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ProgressError {
    /// The file cannot be read.
    #[error("`{path}`: {error}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        error: std::io::Error,
    },
    /// The file has another form.
    #[error("`{path}` has another form: {why}; move it away to begin with what happens from now on")]
    Malformed {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
}

impl Progress {
    /// A channel that has everything up to `number`.
    #[must_use]
    pub fn from(number: u64) -> Self {
        Self {
            read: number,
            waiting: BTreeMap::new(),
            beyond: BTreeSet::new(),
            parked: VecDeque::new(),
            parked_total: 0,
            shown: BTreeMap::new(),
            reports: Reports::default(),
        }
    }

    /// Reads the progress of a channel; `None` if it never had any.
    ///
    /// # Errors
    /// [`ProgressError`].
    pub fn load(folder: &Path, channel: &str) -> Result<Option<Self>, ProgressError> {
        let path = folder.join(name(channel));
        let shown = path.display().to_string();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(ProgressError::Unreadable { path: shown, error }),
        };
        let malformed = |why: String| ProgressError::Malformed { path: shown.clone(), why };
        let kept: Kept = serde_json::from_str(&text).map_err(|error| malformed(error.to_string()))?;
        if kept.version != VERSION {
            return Err(malformed(format!("its version is {}", kept.version)));
        }
        let mut progress = Self::from(kept.settled);
        // A range is of facts that were sent one by one, so it has an end that fits into memory.
        progress.beyond = kept.beyond.into_iter().flat_map(|(first, last)| first..=last).collect();
        (progress.parked, progress.parked_total, progress.shown) = (kept.parked, kept.parked_total, kept.shown);
        progress.reports = Reports::from(kept.reports);
        Ok(Some(progress))
    }

    /// What is to be kept now.
    #[must_use]
    pub fn kept(&self) -> Kept {
        let mut beyond: Vec<(u64, u64)> = Vec::new();
        for &number in &self.beyond {
            match beyond.last_mut() {
                Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
                _ => beyond.push((number, number)),
            }
        }
        Kept {
            version: VERSION,
            settled: self.settled(),
            beyond,
            parked: self.parked.clone(),
            parked_total: self.parked_total,
            shown: self.shown.clone(),
            reports: self.reports.waiting().clone(),
        }
    }

    /// Everything up to here is settled.
    #[must_use]
    pub fn settled(&self) -> u64 {
        self.waiting.first_key_value().map_or(self.read, |(number, _)| number.saturating_sub(1))
    }

    /// Everything up to here was read.
    #[must_use]
    pub fn read(&self) -> u64 {
        self.read
    }

    /// How many facts are read and not settled.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// When the oldest of them happened.
    #[must_use]
    pub fn oldest(&self) -> Option<Timestamp> {
        self.waiting.values().next().copied()
    }

    /// The facts that were refused last, oldest first, and how many there ever were.
    #[must_use]
    pub fn parked(&self) -> (&VecDeque<Parked>, u64) {
        (&self.parked, self.parked_total)
    }

    /// Reads fact `number`. Returns whether it waits from now on; not if it was settled before a restart.
    pub fn take(&mut self, number: u64, at: Timestamp) -> bool {
        self.read = self.read.max(number);
        if self.beyond.contains(&number) {
            self.forget_beyond();
            return false;
        }
        self.waiting.insert(number, at);
        true
    }

    /// There is nothing for this channel up to fact `number` but what was read.
    pub fn pass(&mut self, number: u64) {
        self.read = self.read.max(number);
        self.forget_beyond();
    }

    /// Fact `number` needs no more attempt.
    pub fn settle(&mut self, number: u64) {
        self.waiting.remove(&number);
        self.beyond.insert(number);
        self.forget_beyond();
    }

    /// A receiver refused a fact for good.
    pub fn park(&mut self, parked: Parked) {
        self.settle(parked.number);
        self.list(parked);
    }

    /// A receiver refused a message about facts that are settled.
    pub fn list(&mut self, parked: Parked) {
        if self.parked.len() == LISTED {
            self.parked.pop_front();
        }
        self.parked.push_back(parked);
        self.parked_total = self.parked_total.saturating_add(1);
    }

    /// Takes over what another progress of the same channel has parked, and what of it is not in the trail yet.
    pub fn keep_past_of(&mut self, other: &Self) {
        (self.parked, self.parked_total) = (other.parked.clone(), other.parked_total);
        self.reports = other.reports.clone();
    }

    fn forget_beyond(&mut self) {
        self.beyond = self.beyond.split_off(&self.settled().saturating_add(1));
    }
}

impl Kept {
    /// Writes it. It blocks.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, folder: &Path, channel: &str) -> Result<(), FileError> {
        // Numbers, words and lists of them always serialise.
        let json = serde_json::to_vec(self).unwrap_or_default();
        files::write(folder, &name(channel), &json, 0o600, Existing::Replaced)
    }
}

fn name(channel: &str) -> String {
    format!("{channel}.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at() -> Timestamp {
        "2026-11-29T21:00:00Z".parse().unwrap()
    }

    #[test]
    fn what_is_settled_out_of_order_is_not_sent_again_and_what_is_not_settled_is() {
        let mut progress = Progress::from(2);
        assert!((3..=9).filter(|number| *number != 6).all(|number| progress.take(number, at())));
        for number in [3, 4, 7, 8] {
            progress.settle(number);
        }
        assert_eq!((progress.settled(), progress.waiting()), (4, 2));
        let kept = progress.kept();
        assert_eq!(kept.beyond, [(7, 8)]);

        let folder = std::env::temp_dir().join(format!("jit-notify-progress-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        kept.save(&folder, "siem").unwrap();
        let mut again = Progress::load(&folder, "siem").unwrap().unwrap();
        assert_eq!(again.settled(), 4);
        assert_eq!((5..=9).filter(|number| again.take(*number, at())).collect::<Vec<_>>(), [5, 6, 9]);
        [5, 6, 9].into_iter().for_each(|number| again.settle(number));
        assert_eq!((again.settled(), again.kept().beyond), (9, Vec::new()));
        assert!(Progress::load(&folder, "other").unwrap().is_none());
        for bad in ["", "{}", r#"{"version":2,"settled":1}"#, r#"{"version":1,"settled":-1}"#] {
            std::fs::write(folder.join("siem.json"), bad).unwrap();
            assert!(matches!(Progress::load(&folder, "siem"), Err(ProgressError::Malformed { .. })), "{bad}");
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn the_facts_of_others_move_it_on_and_a_refused_one_is_listed() {
        let mut progress = Progress::from(0);
        progress.pass(5);
        assert_eq!(progress.settled(), 5);
        assert!(progress.take(6, at()));
        progress.pass(9);
        assert_eq!((progress.settled(), progress.oldest()), (5, Some(at())));
        let parked =
            |number| Parked { number, grant: None, kind: "daemon.started".to_owned(), at: at(), why: "400".to_owned() };
        progress.park(parked(6));
        assert_eq!(progress.settled(), 9);
        for number in 10..200 {
            assert!(progress.take(number, at()));
            progress.park(parked(number));
        }
        let (listed, total) = progress.parked();
        assert_eq!((listed.len(), total, listed.front().unwrap().number), (LISTED, 191, 100));
    }
}
