//! The files that the gateway keeps, read for people who may: on threads of its own, in bounded time and memory.
//!
//! ```text
//!  api ─► Kept ─► one of its threads, one for each person ─► sessions: reads, verifies ─► a log, or a piece of a recording
//! ```
//! It decides nothing: who may read is checked, and recorded, before it is asked. The files belong to the gateway's account;
//! the daemon reads them as a member of the group `jit-sessions`, and never writes there.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use jit_sessions::{Pieces, Sessions, SessionsError, is_session};

use crate::dependency::{Dependency, NoAnswer};
use crate::grant::request::PersonName;
use crate::grant::{GrantId, LogHead};
use crate::hint::Hint;
use crate::wire::kept::{GrantLog, UnreadableLog};

/// How many people read at a time.
const AT_ONCE: usize = 4;

/// How long a disk may take for one answer. It may compare [`COMPARED`] bytes, which takes a slow disk two seconds.
const ANSWERS_WITHIN: Duration = Duration::from_secs(15);

/// How many bytes of lines one answer has at most.
const ROOM: usize = 4 * 1024 * 1024;

/// How many bytes of recordings one answer compares with their logs; several times the longest recording that a gateway
/// writes.
const COMPARED: u64 = 256 * 1024 * 1024;

/// How many sessions are found for the beginning of an id.
const CANDIDATES: usize = 5;

/// Why nothing was read.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    /// The disk does not answer.
    #[error(transparent)]
    Silent(#[from] NoAnswer),
    /// It cannot be read, or does not verify.
    #[error(transparent)]
    Sessions(#[from] SessionsError),
}

impl Hint for KeptError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Silent(error) => error.hint(),
            Self::Sessions(error) => error.hint(),
        }
    }
}

/// Which requests of a log are selected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selected {
    /// Exec, attach and port-forward.
    Sessions,
    /// Everything but requests that only read.
    Changes,
    /// Every request.
    All,
    /// Those whose ids begin so.
    Named(String),
}

/// The folder of all logs.
pub struct Kept {
    folder: PathBuf,
    disk: Dependency<PersonName>,
}

impl Kept {
    /// What the gateway keeps in this folder.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, disk: Dependency::new("folder of sessions", AT_ONCE, ANSWERS_WITHIN) }
    }

    async fn ask<T: Send + 'static>(
        &self,
        reader: &PersonName,
        question: impl FnOnce(Sessions) -> Result<T, SessionsError> + Send + 'static,
    ) -> Result<T, KeptError> {
        let folder = self.folder.clone();
        let work = move || question(Sessions::open(&folder)?.within(ROOM, COMPARED));
        Ok(self.disk.ask(reader.clone(), work).await??)
    }

    /// All grants of which something is kept.
    ///
    /// # Errors
    /// [`KeptError`].
    pub async fn grants(&self) -> Result<Vec<GrantId>, KeptError> {
        // The daemon itself: no person has this name.
        or_nothing(self.ask(&PersonName::root(), |sessions| sessions.grants()).await)
    }

    /// Those of these grants of which something is kept.
    ///
    /// # Errors
    /// [`KeptError`].
    pub async fn kept_of(&self, reader: &PersonName, grants: Vec<GrantId>) -> Result<Vec<GrantId>, KeptError> {
        let found = self.ask(reader, |sessions| Ok(grants.into_iter().filter(|grant| sessions.has(grant)).collect()));
        or_nothing(found.await)
    }

    /// The recorded sessions whose ids begin so, some of them if they are many.
    ///
    /// # Errors
    /// [`KeptError`].
    pub async fn recorded(&self, reader: &PersonName, beginning: String) -> Result<Vec<(GrantId, String)>, KeptError> {
        or_nothing(self.ask(reader, move |sessions| sessions.recorded(&beginning, CANDIDATES)).await)
    }

    /// The logs of these grants, each compared with where it stood by the audit trail, and those that cannot be read.
    ///
    /// # Errors
    /// [`KeptError`] if none can.
    pub async fn logs(
        &self,
        reader: &PersonName,
        grants: Vec<(GrantId, Vec<LogHead>)>,
        selected: Selected,
    ) -> Result<(Vec<GrantLog>, Vec<UnreadableLog>), KeptError> {
        if grants.is_empty() {
            return Ok((Vec::new(), Vec::new()));
        }
        self.ask(reader, move |sessions| {
            let known: BTreeMap<GrantId, Vec<LogHead>> = grants.iter().cloned().collect();
            let mut sessions = sessions.with_trail(known);
            let (mut logs, mut unreadable) = (Vec::with_capacity(grants.len()), Vec::new());
            for (grant, _) in grants {
                match sessions.read(&grant, |id, asked, only_reads| match &selected {
                    Selected::Sessions => is_session(asked),
                    Selected::Changes => !only_reads,
                    Selected::All => true,
                    Selected::Named(beginning) => id.starts_with(beginning.as_str()),
                }) {
                    Ok(log) => logs.push(log),
                    Err(error) => unreadable.push(UnreadableLog { grant, why: error.in_full().to_string() }),
                }
            }
            Ok((logs, unreadable))
        })
        .await
    }

    /// A recording, as far as it verifies: its SHA-256 and its size, and its pieces, which [`Kept::piece`] reads.
    ///
    /// # Errors
    /// [`KeptError`].
    pub async fn recording(
        &self,
        reader: &PersonName,
        grant: GrantId,
        heads: Vec<LogHead>,
        session: String,
    ) -> Result<(String, u64, Pieces), KeptError> {
        self.ask(reader, move |sessions| {
            let known = BTreeMap::from([(grant.clone(), heads)]);
            let (_, _, recording) = sessions.with_trail(known).recording(&grant, &session)?;
            let checked = recording.checked();
            Ok((checked.sha256.clone(), checked.verified, recording.pieces()?))
        })
        .await
    }

    /// The next piece of a recording; none at the end.
    ///
    /// # Errors
    /// [`KeptError`]; the recording cannot be read on then.
    pub async fn piece(&self, reader: &PersonName, mut pieces: Pieces) -> Result<Option<(Vec<u8>, Pieces)>, KeptError> {
        let work = move || pieces.next_piece().map(|piece| piece.map(|piece| (piece, pieces)));
        Ok(self.disk.ask(reader.clone(), work).await??)
    }
}

/// A folder that does not exist has nothing in it: no gateway ever wrote there.
fn or_nothing<T>(found: Result<Vec<T>, KeptError>) -> Result<Vec<T>, KeptError> {
    match found {
        Err(KeptError::Sessions(SessionsError::Io { source, .. })) if source.kind() == io::ErrorKind::NotFound => {
            Ok(Vec::new())
        }
        found => found,
    }
}
