//! The store: it chains facts, inserts their lines into the file and commits them.
//!
//! ```text
//!  batch of appends ──► BEGIN ─► for each: does it follow what the file has? ─► line, projections ─► COMMIT ──► positions
//! ```
//! Whether an append may stand is decided by what the file has, never by what its caller remembers. It never stores a
//! part of an append. The writer's thread has one, and a simulated trail has one without a thread.

use std::borrow::Cow;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use nix::fcntl::Flock;
use parking_lot::Mutex;
use rusqlite::{Connection, params};

use super::chain::{Head, Position};
use super::projections::{last_of, project};
use super::queries::fold;
use super::sqlite::{last_seq, run, write_one};
use super::{Fault, TrailError, log};
use crate::grant::{Event, Fact, Grant, GrantId};

/// What somebody appends, all or none of it.
pub(super) struct Append {
    pub(super) facts: Vec<Fact>,
    /// The last event of the grant that the facts are about, as the caller knows it.
    pub(super) after: Option<i64>,
    /// The grant that the last of the facts ends, if the caller has it; else it is made from its events.
    pub(super) over: Option<Grant>,
}

/// The file, open for writing, and its end.
pub(super) struct Store {
    pub(super) connection: Connection,
    pub(super) head: Head,
    pub(super) path: Arc<PathBuf>,
    /// Whether the file says that it is in use.
    pub(super) in_use: bool,
    /// Why the last batch could not be stored.
    pub(super) fault: Arc<Mutex<Option<String>>>,
    /// Says which event is the last. Released when nothing is written any more.
    pub(super) lock: Flock<File>,
}

impl Store {
    /// Stores a batch in one transaction and says of each append, in their order, where it ends or why it is refused.
    /// One that is refused leaves the others as they are.
    pub(super) fn store(&mut self, batch: &[Append]) -> Vec<Result<Position, TrailError>> {
        match self.commit(batch) {
            Ok((head, outcomes)) => {
                // A round trip shows nothing: what writes nothing works on a full disk too.
                if head != self.head && self.fault.lock().take().is_some() {
                    tracing::info!(trail = %self.path.display(), "the trail is written again");
                }
                if head != self.head {
                    if let Err(error) = log::note_last(&self.lock, &head.position) {
                        tracing::warn!(trail = %self.path.display(), why = %error, "cannot record the last event in the lock file");
                    }
                    if !self.in_use {
                        // Into the file itself, which is what is copied. It is tried again when the disk takes nothing now.
                        self.in_use = log::carry_over(&self.connection).is_ok();
                    }
                }
                self.head = head;
                outcomes.into_iter().map(|outcome| outcome.map_err(|fault| fault.at(&self.path))).collect()
            }
            Err(fault) => self.fail(batch, &fault.to_string()),
        }
    }

    /// Says of each append that nothing is stored, and keeps why.
    pub(super) fn fail(&self, batch: &[Append], why: &str) -> Vec<Result<Position, TrailError>> {
        tracing::error!(trail = %self.path.display(), why, "nothing of {} appends is stored", batch.len());
        *self.fault.lock() = Some(why.to_owned());
        let path = self.path.display().to_string();
        batch
            .iter()
            .map(|_| Err(TrailError::Unavailable { path: path.clone(), why: why.to_owned(), hint: None }))
            .collect()
    }

    /// Leaves a file that is whole by itself.
    pub(super) fn close(&self) {
        if self.in_use
            && let Err(fault) = log::close(&self.connection)
        {
            tracing::warn!(trail = %self.path.display(), why = %fault, "what was written last stays in the trail's log");
        }
    }

    fn commit(&self, batch: &[Append]) -> Result<(Head, Vec<Outcome>), Fault> {
        run(&self.connection, "BEGIN IMMEDIATE")?;
        let committed = self.insert_all(batch).and_then(|stored| {
            if stored.0 != self.head && !self.in_use {
                // Before the file says that it is in use, for then the lock is asked.
                log::note_last(&self.lock, &self.head.position)
                    .and_then(|()| self.lock.sync_data())
                    .map_err(|error| Fault::System(error.to_string()))?;
                log::mark_in_use(&self.connection)?;
            }
            run(&self.connection, "COMMIT")?;
            Ok(stored)
        });
        if committed.is_err() {
            // SQLite may have rolled back by itself; then there is nothing to roll back.
            let _ = run(&self.connection, "ROLLBACK");
        }
        committed
    }

    fn insert_all(&self, batch: &[Append]) -> Result<(Head, Vec<Outcome>), Fault> {
        let mut head = self.head.clone();
        let found = last_seq(&self.connection)?;
        if found != head.position.seq {
            let known = head.position.seq;
            return Err(Fault::System(format!(
                "its last event is {found}, and {known} was the last one that we wrote"
            )));
        }
        let mut outcomes = Vec::with_capacity(batch.len());
        for append in batch {
            match self.insert(&head, append) {
                Ok(next) => {
                    outcomes.push(Ok(next.position.clone()));
                    head = next;
                }
                Err(fault) if fault.is_a_refusal() => outcomes.push(Err(fault)),
                Err(fault) => return Err(fault),
            }
        }
        Ok((head, outcomes))
    }

    /// All facts of an append, or none of them.
    fn insert(&self, head: &Head, append: &Append) -> Result<Head, Fault> {
        let insert_each = || {
            let last = append.facts.len().saturating_sub(1);
            append.facts.iter().enumerate().try_fold(head.clone(), |next, (number, fact)| {
                let over = append.over.as_ref().filter(|_| number == last);
                self.insert_fact(&next, fact, over, append.after, head)
            })
        };
        // A single one that is refused leaves nothing behind; several need a savepoint.
        if append.facts.len() < 2 {
            return insert_each();
        }
        run(&self.connection, "SAVEPOINT append")?;
        let inserted = insert_each();
        if inserted.is_err() {
            run(&self.connection, "ROLLBACK TO append")?;
        }
        run(&self.connection, "RELEASE append")?;
        inserted
    }

    fn insert_fact(
        &self,
        head: &Head,
        fact: &Fact,
        over: Option<&Grant>,
        after: Option<i64>,
        begin: &Head,
    ) -> Result<Head, Fault> {
        if let Some(grant) = &fact.grant
            && !matches!(fact.event, Event::Requested(_))
        {
            let last = last_of(&self.connection, grant)?;
            // What this append itself has written about the grant may be followed by the rest of it.
            if last.is_none_or(|last| Some(last) != after && last <= begin.position.seq) {
                return Err(Fault::Moved { grant: grant.clone(), after, last });
            }
        }
        let (line, next) = head.append(fact)?;
        let seq = next.position.seq;
        let grant = fact.grant.as_ref().map(GrantId::as_str);
        write_one(&self.connection, INSERT, params![seq, grant, fact.event.kind(), line])?;
        // By now the event may stand. What fails here is a fault, also where SQLite calls it a constraint.
        // Without it the events make it; what may not follow is for the caller to know, and for `verify` to report.
        let made = |grant: &GrantId| fold(&self.connection, grant.as_str()).ok().map(|made| made.grant);
        let made = || fact.grant.as_ref().and_then(made).filter(Grant::is_over).map(Cow::Owned);
        project(&self.connection, seq, fact, || over.map(Cow::Borrowed).or_else(made))
            .map_err(|fault| Fault::System(fault.to_string()))?;
        Ok(next)
    }
}

/// Where an append ends, or why it alone is refused.
type Outcome = Result<Position, Fault>;

pub(super) const INSERT: &str = "INSERT INTO events (seq, grant_id, kind, line) VALUES (?1, ?2, ?3, ?4)";
