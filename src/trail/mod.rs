//! The trail: every fact, in order, in one SQLite file; the only store there is.
//!
//! ```text
//!  append(facts) ──► queue ──► writer thread: chain, insert, one commit (one fsync) for all that wait ──► done
//! ```
//! A line is the JSON of one entry and carries the SHA-256 of the line before it, so a copy of the lines
//! is enough to check them. Nothing is updated or deleted. The broker and the sweep append; the API reads.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use rusqlite::{Connection, ErrorCode};
use tokio::sync::oneshot;

use crate::grant::drain::Draining;
use crate::grant::{Fact, Grant};

mod backup;
mod chain;
mod layout;
mod projections;
mod queries;
mod sqlite;
#[cfg(test)]
mod tests;
mod verify;
mod writer;

pub use backup::back_up;
pub use chain::Entry;
use queries::{draining, open_grants};
use sqlite::{hold, open_for_reading, open_for_writing};
pub use verify::{Report, export, verify_file, verify_lines};
use writer::{Append, Queue, Taker, Writer, write};

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
    },
    /// The fact stands already and may stand only once; nothing of what was asked is stored.
    #[error("this was recorded before")]
    Duplicate,
    /// The trail's own content is not as we write it.
    #[error("the trail is damaged at event {seq}: {why}\nhint: keep the file as it is and run `jitd audit verify`")]
    Damaged {
        /// Sequence number of the first wrong event.
        seq: i64,
        /// What is wrong with it.
        why: String,
    },
    /// Another daemon writes this trail.
    #[error("another jitd holds `{0}`\nhint: one daemon per state folder; stop the other one")]
    Held(String),
}

/// The open trail. Cheap to clone; the last clone that goes stops the writer thread.
#[derive(Clone)]
pub struct Trail {
    writer: Arc<Writer>,
    reader: Arc<Mutex<Connection>>,
    path: Arc<PathBuf>,
    fault: Arc<Mutex<Option<String>>>,
    latest: Timestamp,
    draining: Option<Draining>,
}

impl Trail {
    /// Opens or makes the trail at `path`, checks its end, and answers with every grant that is still open or owes a review.
    ///
    /// # Errors
    /// [`TrailError`], when it is held, damaged or can't be read. Nothing is repaired.
    pub fn open(path: &Path) -> Result<(Self, Vec<Grant>), TrailError> {
        let lock = hold(path)?;
        let (connection, head) = open_for_writing(path).map_err(|fault| fault.at(path))?;
        let reader = open_for_reading(path).map_err(|fault| fault.at(path))?;
        let open = open_grants(&reader).map_err(|fault| fault.at(path))?;
        let draining = draining(&reader).map_err(|fault| fault.at(path))?;

        let latest = head.at;
        let queue = Arc::new(Queue::default());
        let fault = Arc::default();
        let (appends, owned, failing) = (Taker(Arc::clone(&queue)), path.to_owned(), Arc::clone(&fault));
        let thread = std::thread::Builder::new()
            .name("trail".to_owned())
            .spawn(move || {
                let _lock = lock;
                write(&connection, head, &appends, &owned, &failing);
            })
            .map_err(|error| TrailError::Unavailable { path: path.display().to_string(), why: error.to_string() })?;
        let trail = Self {
            writer: Arc::new(Writer { queue, thread: Mutex::new(Some(thread)) }),
            reader: Arc::new(Mutex::new(reader)),
            path: Arc::new(path.to_owned()),
            fault,
            latest,
            draining,
        };
        Ok((trail, open))
    }

    /// The latest time in the trail's end, as it stood when the trail was opened.
    #[must_use]
    pub fn latest(&self) -> Timestamp {
        self.latest
    }

    /// That nothing was given at the moment when the trail was opened.
    #[must_use]
    pub fn draining(&self) -> Option<Draining> {
        self.draining.clone()
    }

    /// Appends `facts`, all or none, and returns when they are on the disk.
    ///
    /// # Errors
    /// [`TrailError`]; then none of them is stored.
    pub async fn append(&self, facts: Vec<Fact>) -> Result<(), TrailError> {
        let (done, stored) = oneshot::channel();
        self.writer.queue.put(Append { facts, done });
        stored.await.unwrap_or_else(|_| Err(self.gone()))
    }

    /// Returns when the writer had its turn and the store let it begin and end a transaction: everything that an
    /// append goes through but its sync. Nothing is written.
    ///
    /// # Errors
    /// [`TrailError::Unavailable`].
    pub async fn round_trip(&self) -> Result<(), TrailError> {
        self.append(Vec::new()).await
    }

    /// Why the last facts could not be stored, as on a full disk; nothing as soon as others are.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn gone(&self) -> TrailError {
        TrailError::Unavailable { path: self.path.display().to_string(), why: "its writer has stopped".to_owned() }
    }

    /// Stops the writer after everything that was appended is stored.
    pub fn close(&self) {
        self.writer.close();
    }
}

/// What goes wrong below, before it is known for which file.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    #[error("{why}")]
    Damaged { seq: i64, why: String },
    #[error("{0}")]
    System(String),
}

impl Fault {
    fn at(self, path: &Path) -> TrailError {
        match self {
            Self::Sqlite(rusqlite::Error::SqliteFailure(error, _)) if error.code == ErrorCode::ConstraintViolation => {
                TrailError::Duplicate
            }
            Self::Damaged { seq, why } => TrailError::Damaged { seq, why },
            Self::Sqlite(_) | Self::System(_) => {
                TrailError::Unavailable { path: path.display().to_string(), why: self.to_string() }
            }
        }
    }
}
