//! The trail: every fact, in order, in one SQLite file; the only store.
//!
//! ```text
//!  append(facts, after) ──► queue ──► writer thread: may they follow? chain, insert, one commit (one fsync) for all ──► position
//!  query ──► a read-only connection ──► index ──► events ──► answer
//! ```
//! A line is the JSON of one entry and contains the SHA-256 of the previous line, so the lines alone are enough to verify
//! them. Nothing is updated or deleted. The ledger appends, and queries what it does not have in memory.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::FutureExt;
use jiff::Timestamp;
use parking_lot::Mutex;
use rusqlite::ffi;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::grant::drain::Draining;
use crate::grant::request::PersonName;
use crate::grant::{Fact, Grant, GrantId};
use crate::hint::Hint;

mod backup;
mod chain;
mod follow;
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
pub use follow::{Folded, Told};
pub use queries::Page;
use queries::{draining, introductions, open_grants};
use readers::Readers;
use simulation::Simulation;
use sqlite::{hold, open_for_writing};
use store::{Append, Store};
pub use verify::{Report, deleted_sessions, export, log_heads, sent_texts, verify_file, verify_lines};
use writer::Writer;
pub use writer::{ANSWERS_WITHIN, Late};

/// Why a call of the trail failed.
#[derive(Debug, thiserror::Error)]
pub enum TrailError {
    /// The file, the disk or SQLite failed; nothing of the append is stored.
    #[error("the trail `{path}` is not available: {why}")]
    Unavailable {
        /// The file.
        path: String,
        /// The error of SQLite or the system.
        why: String,
        /// What to do, if that is known.
        hint: Option<&'static str>,
    },
    /// The disk does not answer; nothing of the append is stored.
    #[error("the audit trail does not answer: the disk of `{path}` takes longer than {} s", ANSWERS_WITHIN.as_secs())]
    Silent {
        /// The file.
        path: String,
    },
    /// The disk does not answer, and may still store the append. If it does, [`Opened::late`] reports it.
    #[error(
        "the audit trail does not answer: the disk of `{path}` takes longer than {} s; it is unknown whether this is recorded",
        ANSWERS_WITHIN.as_secs()
    )]
    Unknown {
        /// The file.
        path: String,
    },
    /// The fact is recorded already and may be recorded only once; nothing of the append is stored.
    #[error("this is already recorded")]
    Duplicate,
    /// The grant's last event is not `after`; nothing of the append is stored.
    #[error("the last event of grant {grant} is not the one that this decision was based on")]
    Moved {
        /// The grant.
        grant: GrantId,
        /// Number of the event that the append should follow.
        after: Option<i64>,
        /// Number of the grant's last event; none if there is no such grant.
        last: Option<i64>,
    },
    /// The content of the trail is not what we wrote.
    #[error("the trail is damaged at event {seq}: {why}")]
    Damaged {
        /// Sequence number of the first wrong event.
        seq: i64,
        /// What is wrong with it.
        why: String,
    },
    /// The file's tables, indexes or triggers are not the ones that we create.
    #[error("the trail `{path}` was altered: {what}")]
    Altered {
        /// The file.
        path: String,
        /// What is missing, or is not ours.
        what: String,
    },
    /// The file was copied without its last events.
    #[error(
        "the trail `{path}` is incomplete: it was copied from a running daemon, and its last events are not in `{log}`"
    )]
    Incomplete {
        /// The file.
        path: String,
        /// The expected path of its log.
        log: String,
    },
    /// The file is not an export of a trail.
    #[error("`{0}` is not an export of a trail: its first line is not an entry")]
    NotAnExport(String),
    /// An export ends in the middle of a line, as a broken copy does.
    #[error("`{path}` ends in the middle of line {line}")]
    CutOff {
        /// The file.
        path: String,
        /// Number of the line.
        line: i64,
    },
    /// The new file exists already.
    #[error("`{0}` exists already")]
    Exists(String),
    /// Another daemon is writing this trail.
    #[error("another jitd has locked `{0}`")]
    InUse(String),
}

impl Hint for TrailError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        let hint = match self {
            Self::Unavailable { hint, .. } => return hint.map(Cow::Borrowed),
            Self::Duplicate | Self::Moved { .. } => return None,
            Self::Silent { .. } | Self::Unknown { .. } => {
                "check the disk of the state folder; the daemon needs no restart"
            }
            Self::Damaged { .. } => "keep the file unchanged and run `jitd audit verify`",
            Self::Altered { .. } => {
                "keep the file unchanged as evidence, and continue with a backup from `jitd backup`"
            }
            Self::Incomplete { .. } => {
                "copy the original's log next to the file; if the log is lost, continue with the copy that `jitd backup` makes in spite of this error"
            }
            Self::NotAnExport(_) => "`jitd audit export` writes one",
            Self::CutOff { .. } => "export it again with `jitd audit export`",
            Self::Exists(_) => "name a new file",
            Self::InUse(_) => "only one daemon can use a state folder; stop the other one",
        };
        Some(hint.into())
    }
}

/// The number of concurrent short queries, and of concurrent lists. The API allows an account two of each at a time, so
/// nobody waits for more than a few calls of others.
const QUESTIONS: usize = 4;
const LISTS: usize = 2;

/// The open trail. Cheap to clone; dropping the last clone stops the writer thread.
#[derive(Clone)]
pub struct Trail {
    way: Arc<Way>,
    questions: Readers,
    lists: Readers,
    path: Arc<PathBuf>,
    fault: Arc<Mutex<Option<String>>>,
}

/// How appends reach the store.
enum Way {
    /// Through the queue of the writer's thread, as in the daemon.
    Thread(Writer),
    /// Directly, between two hooks of a test.
    Simulation(Simulation),
}

/// A trail that was just opened, and its state.
pub struct Opened {
    /// The trail.
    pub trail: Trail,
    /// Every grant that is not over or owes a review, in the order of the requests.
    pub open: Vec<Open>,
    /// The latest time in the last lines of the trail.
    pub latest: Timestamp,
    /// The drain in force, if any.
    pub drain: Option<Draining>,
    /// Each name under which somebody came from an identity provider, oldest first.
    pub introductions: Vec<Introduction>,
    /// Each identity at a provider that was linked to an account, oldest first.
    pub links: Vec<Link>,
    /// What was stored after its author had been told [`TrailError::Unknown`].
    pub late: UnboundedReceiver<Late>,
}

/// Under which name somebody came from an identity provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Introduction {
    /// The issuer.
    pub issuer: String,
    /// The subject.
    pub subject: String,
    /// What the provider called the person.
    pub called: PersonName,
    /// The name of the person in the trail.
    pub name: PersonName,
}

/// Whose an identity at a provider is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The issuer.
    pub issuer: String,
    /// The subject.
    pub subject: String,
    /// The person who accepted it.
    pub person: PersonName,
}

/// A grant, built from its events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// The grant.
    pub grant: Grant,
    /// Number of its last event, which the next one has to follow.
    pub last: i64,
}

impl Trail {
    /// Opens or creates the trail at `path` and checks its last lines.
    ///
    /// # Errors
    /// [`TrailError`] if it is in use, damaged, altered, incomplete or unreadable. Nothing is repaired.
    pub fn open(path: &Path) -> Result<Opened, TrailError> {
        Self::open_telling(path, |_| {})
    }

    /// The same. During an upgrade to the current layout, `progress` is called from time to time with the number of events
    /// so far.
    ///
    /// # Errors
    /// As [`Trail::open`].
    pub fn open_telling(path: &Path, progress: impl FnMut(i64)) -> Result<Opened, TrailError> {
        Self::opened(path, progress, |store, late| Ok(Way::Thread(Writer::start(store, late)?)))
    }

    /// Opens the trail at `path` for a test that controls the clock: all work runs in the calling task, without a thread and
    /// without waiting for the disk.
    ///
    /// `before` is awaited before each commit and can make it fail, with the disk's error; `after` is awaited between the
    /// commit and the answer, and can turn the answer into a failure, although the append is stored.
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
            |store, _| {
                store.connection.pragma_update(None, "synchronous", "OFF")?;
                let before = Box::new(move || before().boxed());
                Ok(Way::Simulation(Simulation::new(store, before, Box::new(move || after().boxed()))))
            },
        )
    }

    fn opened(
        path: &Path,
        progress: impl FnMut(i64),
        way: impl FnOnce(Store, UnboundedSender<Late>) -> Result<Way, Fault>,
    ) -> Result<Opened, TrailError> {
        let lock = hold(path)?;
        let (connection, head) = open_for_writing(path, progress).map_err(|fault| fault.at(path))?;
        let questions = Readers::open(path, QUESTIONS).map_err(|fault| fault.at(path))?;
        let lists = Readers::open(path, LISTS).map_err(|fault| fault.at(path))?;
        let open = questions.read(open_grants).map_err(|fault| fault.at(path))?;
        let drain = questions.read(draining).map_err(|fault| fault.at(path))?;
        let (introductions, links) = questions.read(introductions).map_err(|fault| fault.at(path))?;

        let (latest, path, fault) = (head.at, Arc::new(path.to_owned()), Arc::default());
        let store = Store { connection, head, path: Arc::clone(&path), in_use: false, fault: Arc::clone(&fault), lock };
        let (sender, late) = unbounded_channel();
        let way = Arc::new(way(store, sender).map_err(|fault| fault.at(&path))?);
        let trail = Self { way, questions, lists, path, fault };
        Ok(Opened { trail, open, latest, drain, introductions, links, late })
    }

    /// Appends `facts`, all or none, and returns the position of the last one when they are on the disk.
    ///
    /// Facts about a grant have to follow its last event, whose number is `after`. An append is about at most one existing
    /// grant; a request and what follows it in the same append follow nothing, and neither do facts about no grant. The
    /// runtime needs a clock, because the wait has a limit.
    ///
    /// # Errors
    /// [`TrailError`]; then none of them is stored, except after [`TrailError::Unknown`]. [`TrailError::Moved`] if the
    /// grant's last event is not `after`.
    pub async fn append(&self, facts: Vec<Fact>, after: Option<i64>) -> Result<Position, TrailError> {
        self.put(Append { facts, after, over: None }).await
    }

    /// The same for facts that end a grant; `over` is the grant after them. It must equal what all its events make, because
    /// lists show it and `verify` compares it.
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

    /// Returns when the writer had its turn and the store could begin and end a transaction: every step of an append but its
    /// sync. Nothing is written. The position is that of the trail's last line.
    ///
    /// # Errors
    /// [`TrailError::Unavailable`].
    pub async fn round_trip(&self) -> Result<Position, TrailError> {
        self.append(Vec::new(), None).await
    }

    /// Why the last facts could not be stored, for example a full disk, or that the disk does not answer now; none as soon
    /// as others are stored.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        match &*self.way {
            Way::Thread(writer) if writer.is_silent() => {
                Some(format!("its disk takes longer than {} s", ANSWERS_WITHIN.as_secs()))
            }
            _ => self.fault.lock().clone(),
        }
    }

    fn gone(&self) -> TrailError {
        TrailError::Unavailable {
            path: self.path.display().to_string(),
            why: "its writer has stopped".to_owned(),
            hint: None,
        }
    }

    /// Stops the writer when all appends are stored, or when the disk does not answer in time.
    pub fn close(&self) {
        match &*self.way {
            Way::Thread(writer) => writer.close(),
            Way::Simulation(simulation) => simulation.close(),
        }
    }
}

/// An error inside this module, before the path of the file is added.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    #[error("{why}")]
    Damaged { seq: i64, why: String },
    #[error("the last event of grant {grant} is not the expected one")]
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
    /// Whether it concerns one append only: the store works, but this append is not allowed.
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

/// Of all constraints, only the unique index means that a fact is already recorded. Facts cannot violate any other one.
fn is_of_unique(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|error| error.extended_code == ffi::SQLITE_CONSTRAINT_UNIQUE)
}
