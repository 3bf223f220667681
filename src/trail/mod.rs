//! The trail: every fact, in order, in one SQLite file; the only store there is.
//!
//! ```text
//!  append(facts, after) ──► queue ──► writer thread: does it follow? chain, insert, one commit (one fsync) for all ──► position
//!  question ──► a connection that only reads ──► index ──► events ──► answer
//! ```
//! A line is the JSON of one entry and carries the SHA-256 of the line before it, so a copy of the lines is enough to check
//! them. Nothing is updated or deleted. The ledger appends, and asks for what it does not have in memory.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::FutureExt;
use jiff::Timestamp;
use parking_lot::Mutex;
use rusqlite::ffi;

use crate::grant::drain::Draining;
use crate::grant::{Fact, Grant, GrantId};
use crate::hint::Hint;

mod backup;
mod chain;
mod layout;
mod log;
mod projections;
mod queries;
mod readers;
mod simulation;
mod sqlite;
mod store;
#[cfg(test)]
pub(crate) mod tests;
mod verify;
mod writer;

pub use backup::back_up;
pub use chain::{Entry, Position};
pub use queries::Page;
use queries::{draining, open_grants};
use readers::Readers;
use simulation::Simulation;
use sqlite::{hold, open_for_writing};
use store::{Append, Store};
pub use verify::{Report, export, verify_file, verify_lines};
use writer::Writer;

/// Why the trail could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum TrailError {
    /// The file, the disk or SQLite failed; nothing of what was asked is stored.
    #[error("the trail `{path}` is not available: {why}")]
    Unavailable {
        /// The file.
        path: String,
        /// What SQLite or the system said.
        why: String,
        /// What to do, where that is known.
        hint: Option<&'static str>,
    },
    /// The fact stands already and may stand only once; nothing of what was asked is stored.
    #[error("this was recorded before")]
    Duplicate,
    /// The grant's last event is not the one that was to be followed; nothing of what was asked is stored.
    #[error("the last event of grant {grant} is not the one that this was decided on")]
    Moved {
        /// The grant.
        grant: GrantId,
        /// Number of the event that was to be followed.
        after: Option<i64>,
        /// Number of the grant's last event; none when nobody asked for it.
        last: Option<i64>,
    },
    /// The trail's own content is not as we write it.
    #[error("the trail is damaged at event {seq}: {why}")]
    Damaged {
        /// Sequence number of the first wrong event.
        seq: i64,
        /// What is wrong with it.
        why: String,
    },
    /// The file has other tables, indexes or triggers than we make.
    #[error("the trail `{path}` was altered: {what}")]
    Altered {
        /// The file.
        path: String,
        /// What of it is missing or not ours.
        what: String,
    },
    /// The file was copied without what was written last.
    #[error("the trail `{path}` is not complete: a daemon had it open, and what was written last is not in `{log}`")]
    Incomplete {
        /// The file.
        path: String,
        /// Where its log should lie.
        log: String,
    },
    /// Another daemon writes this trail.
    #[error("another jitd holds `{0}`")]
    InUse(String),
}

impl Hint for TrailError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        let hint = match self {
            Self::Unavailable { hint, .. } => return hint.map(Cow::Borrowed),
            Self::Duplicate | Self::Moved { .. } => return None,
            Self::Damaged { .. } => "keep the file as it is and run `jitd audit verify`",
            Self::Altered { .. } => {
                "keep the file as it is, as evidence, and go on with a copy that `jitd backup` made"
            }
            Self::Incomplete { .. } => {
                "put the log beside it that lay beside the original; if it is lost, go on with the copy that `jitd backup` makes all the same"
            }
            Self::InUse(_) => "one daemon per state folder; stop the other one",
        };
        Some(hint.into())
    }
}

/// How many questions are answered at a time, and how many lists. The API lets two of an account wait for either, so that
/// nobody waits for more than a few of anybody's.
const QUESTIONS: usize = 4;
const LISTS: usize = 2;

/// The open trail. Cheap to clone; the last clone that goes stops the writer thread.
#[derive(Clone)]
pub struct Trail {
    way: Arc<Way>,
    questions: Readers,
    lists: Readers,
    path: Arc<PathBuf>,
    fault: Arc<Mutex<Option<String>>>,
}

/// How appends come to the store.
enum Way {
    /// Through the queue of the writer's thread, as in the daemon.
    Thread(Writer),
    /// At once, between two moments that a test holds.
    Simulation(Simulation),
}

/// A trail that was opened, and what it says at that moment.
pub struct Opened {
    /// The trail.
    pub trail: Trail,
    /// Every grant that is not over or owes a review, in the order of the requests.
    pub open: Vec<Open>,
    /// The latest time in the trail's end.
    pub latest: Timestamp,
    /// That nothing is given.
    pub drain: Option<Draining>,
}

/// A grant as its events make it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// The grant.
    pub grant: Grant,
    /// Number of its last event: what the next one has to follow.
    pub last: i64,
}

impl Trail {
    /// Opens or makes the trail at `path` and checks its end.
    ///
    /// # Errors
    /// [`TrailError`], when it is held, damaged, altered, not complete or can't be read. Nothing is repaired.
    pub fn open(path: &Path) -> Result<Opened, TrailError> {
        Self::open_telling(path, |_| {})
    }

    /// The same. Where the trail is brought to the present layout, `progress` is called now and then with the number of events
    /// so far.
    ///
    /// # Errors
    /// As [`Trail::open`].
    pub fn open_telling(path: &Path, progress: impl FnMut(i64)) -> Result<Opened, TrailError> {
        Self::opened(path, progress, |store| Ok(Way::Thread(Writer::start(store)?)))
    }

    /// Opens the trail at `path` for a test that holds the clock: all work is done where it is asked for, without a thread
    /// and without waiting for the disk.
    ///
    /// `before` is awaited before each commit and may fail it, with what the disk would say; `after` is awaited between the
    /// commit and the answer, and may make a failure of the answer, though what was appended stands.
    ///
    /// # Errors
    /// As [`Trail::open`].
    pub fn simulated<B, A>(
        path: &Path,
        before: impl Fn() -> B + Send + Sync + 'static,
        after: impl Fn() -> A + Send + Sync + 'static,
    ) -> Result<Opened, TrailError>
    where
        B: Future<Output = Result<(), String>> + Send + 'static,
        A: Future<Output = Result<(), String>> + Send + 'static,
    {
        Self::opened(
            path,
            |_| {},
            |store| {
                store.connection.pragma_update(None, "synchronous", "OFF")?;
                let before = Box::new(move || before().boxed());
                Ok(Way::Simulation(Simulation::new(store, before, Box::new(move || after().boxed()))))
            },
        )
    }

    fn opened(
        path: &Path,
        progress: impl FnMut(i64),
        way: impl FnOnce(Store) -> Result<Way, Fault>,
    ) -> Result<Opened, TrailError> {
        let lock = hold(path)?;
        let (connection, head) = open_for_writing(path, progress).map_err(|fault| fault.at(path))?;
        let questions = Readers::open(path, QUESTIONS).map_err(|fault| fault.at(path))?;
        let lists = Readers::open(path, LISTS).map_err(|fault| fault.at(path))?;
        let open = questions.read(open_grants).map_err(|fault| fault.at(path))?;
        let drain = questions.read(draining).map_err(|fault| fault.at(path))?;

        let (latest, path, fault) = (head.at, Arc::new(path.to_owned()), Arc::default());
        let store = Store { connection, head, path: Arc::clone(&path), in_use: false, fault: Arc::clone(&fault), lock };
        let way = Arc::new(way(store).map_err(|fault| fault.at(&path))?);
        let trail = Self { way, questions, lists, path, fault };
        Ok(Opened { trail, open, latest, drain })
    }

    /// Appends `facts`, all or none, and returns when they are on the disk, with where the last of them stands.
    ///
    /// Facts about a grant have to follow its last event, whose number is `after`. One append is about one grant that there
    /// was before; a request, and what follows it in the same append, follows nothing, nor do facts about no grant.
    ///
    /// # Errors
    /// [`TrailError`]; then none of them is stored. [`TrailError::Moved`], when the grant's last event is another.
    pub async fn append(&self, facts: Vec<Fact>, after: Option<i64>) -> Result<Position, TrailError> {
        self.put(Append { facts, after, over: None }).await
    }

    /// The same of facts that end a grant, with what they make of it. It has to be what its events make, all of them: lists
    /// show it, and `verify` compares.
    ///
    /// # Errors
    /// As [`Trail::append`].
    pub async fn append_end(&self, facts: Vec<Fact>, after: i64, over: Grant) -> Result<Position, TrailError> {
        self.put(Append { facts, after: Some(after), over: Some(over) }).await
    }

    async fn put(&self, append: Append) -> Result<Position, TrailError> {
        let outcome = match &*self.way {
            Way::Thread(writer) => writer.append(append).await,
            Way::Simulation(simulation) => simulation.append(append).await,
        };
        outcome.unwrap_or_else(|| Err(self.gone()))
    }

    /// Returns when the writer had its turn and the store let it begin and end a transaction: everything that an
    /// append goes through but its sync. Nothing is written. The position is that of the trail's last line.
    ///
    /// # Errors
    /// [`TrailError::Unavailable`].
    pub async fn round_trip(&self) -> Result<Position, TrailError> {
        self.append(Vec::new(), None).await
    }

    /// Why the last facts could not be stored, as on a full disk; nothing as soon as others are.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        self.fault.lock().clone()
    }

    fn gone(&self) -> TrailError {
        TrailError::Unavailable {
            path: self.path.display().to_string(),
            why: "its writer has stopped".to_owned(),
            hint: None,
        }
    }

    /// Stops the writer after everything that was appended is stored.
    pub fn close(&self) {
        match &*self.way {
            Way::Thread(writer) => writer.close(),
            Way::Simulation(simulation) => simulation.close(),
        }
    }
}

/// What goes wrong below, before it is known for which file.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    #[error("{why}")]
    Damaged { seq: i64, why: String },
    #[error("the last event of grant {grant} is another one")]
    Moved { grant: GrantId, after: Option<i64>, last: Option<i64> },
    #[error("{0}")]
    Altered(String),
    #[error("the log `{}` is missing", log.display())]
    Incomplete { log: PathBuf },
    #[error("{0}")]
    System(String),
    #[error("{why}")]
    Layout { why: String, hint: &'static str },
}

impl Fault {
    /// Whether it is about one append alone: the store works, and what was asked may not stand.
    fn is_a_refusal(&self) -> bool {
        match self {
            Self::Sqlite(error) => is_of_unique(error),
            Self::Moved { .. } => true,
            Self::Damaged { .. }
            | Self::Altered(_)
            | Self::Incomplete { .. }
            | Self::System(_)
            | Self::Layout { .. } => false,
        }
    }

    fn at(self, path: &Path) -> TrailError {
        match self {
            Self::Sqlite(error) if is_of_unique(&error) => TrailError::Duplicate,
            Self::Moved { grant, after, last } => TrailError::Moved { grant, after, last },
            Self::Damaged { seq, why } => TrailError::Damaged { seq, why },
            Self::Altered(what) => TrailError::Altered { path: path.display().to_string(), what },
            Self::Incomplete { log } => {
                TrailError::Incomplete { path: path.display().to_string(), log: log.display().to_string() }
            }
            Self::Layout { why, hint } => {
                TrailError::Unavailable { path: path.display().to_string(), why, hint: Some(hint) }
            }
            Self::Sqlite(_) | Self::System(_) => {
                TrailError::Unavailable { path: path.display().to_string(), why: self.to_string(), hint: None }
            }
        }
    }
}

/// Of the constraints only the unique index says that something stands already. Any other was broken by no fact.
fn is_of_unique(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|error| error.extended_code == ffi::SQLITE_CONSTRAINT_UNIQUE)
}
