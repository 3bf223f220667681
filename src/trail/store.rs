//! The store: it chains facts, inserts their lines into the file and commits them.
//!
//! ```text
//!  batch of appends ──► BEGIN ─► for each: may it follow what is in the file? ─► line, projections ─► COMMIT ──► positions
//! ```
//! The content of the file decides whether an append is allowed, never what the caller remembers. A part of an append is
//! never stored. The writer's thread has a store, and a simulated trail has one without a thread.

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

/// Facts to append, all or none of them.
pub(super) struct Append {
    pub(super) facts: Vec<Fact>,
    /// The last event of the grant, as the caller knows it.
    pub(super) after: Option<i64>,
    /// The grant that the last fact ends, if the caller has it; otherwise it is built from its events.
    pub(super) over: Option<Grant>,
}

/// The file, open for writing, and its head.
pub(super) struct Store {
    pub(super) connection: Connection,
    pub(super) head: Head,
    pub(super) path: Arc<PathBuf>,
    /// Whether the file is marked as in use.
    pub(super) in_use: bool,
    /// Why the last batch could not be stored.
    pub(super) fault: Arc<Mutex<Option<String>>>,
    /// Names the last event. Released when nothing is written any more.
    pub(super) lock: Flock<File>,
}

impl Store {
    /// Stores a batch in one transaction. Returns the position or the refusal of each append, in order; a refused append does
    /// not affect the others.
    pub(super) fn store(&mut self, batch: &[Append]) -> Vec<Result<Position, TrailError>> {
        match self.commit(batch) {
            Ok((head, outcomes)) => {
                // A round trip proves nothing here, because it writes nothing and so works on a full disk too.
                if head != self.head && self.fault.lock().take().is_some() {
                    tracing::info!(trail = %self.path.display(), "the trail can be written again");
                }
                if head != self.head {
                    if let Err(error) = log::note_last(&self.lock, &head.position) {
                        tracing::warn!(trail = %self.path.display(), why = %error, "cannot record the last event in the lock file");
                    }
                    if !self.in_use {
                        // Copies the mark into the file itself, because people copy that file. Retried if it fails now.
                        self.in_use = log::carry_over(&self.connection).is_ok();
                    }
                }
                self.head = head;
                outcomes.into_iter().map(|outcome| outcome.map_err(|fault| fault.at(&self.path))).collect()
            }
            Err(fault) => self.fail(batch, &fault.to_string()),
        }
    }

    /// Fails every append of a batch, and keeps the reason.
    pub(super) fn fail(&self, batch: &[Append], why: &str) -> Vec<Result<Position, TrailError>> {
        tracing::error!(trail = %self.path.display(), why, "none of {} appends was stored", batch.len());
        *self.fault.lock() = Some(why.to_owned());
        let path = self.path.display().to_string();
        batch
            .iter()
            .map(|_| Err(TrailError::Unavailable { path: path.clone(), why: why.to_owned(), hint: None }))
            .collect()
    }

    /// Leaves a file that is complete without its log.
    pub(super) fn close(&self) {
        if self.in_use
            && let Err(fault) = log::close(&self.connection)
        {
            tracing::warn!(trail = %self.path.display(), why = %fault, "the last events stay in the trail's log");
        }
    }

    fn commit(&self, batch: &[Append]) -> Result<(Head, Vec<Outcome>), Fault> {
        run(&self.connection, "BEGIN IMMEDIATE")?;
        let committed = self.insert_all(batch).and_then(|stored| {
            if stored.0 != self.head && !self.in_use {
                // Before the file is marked as in use, because from then on the lock is read.
                log::note_last(&self.lock, &self.head.position)
                    .and_then(|()| self.lock.sync_data())
                    .map_err(|error| Fault::System(error.to_string()))?;
                log::mark_in_use(&self.connection)?;
            }
            run(&self.connection, "COMMIT")?;
            Ok(stored)
        });
        if committed.is_err() {
            // SQLite may have rolled back already; then this fails.
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
                "its last event is {found}, but the last one that this daemon wrote is {known}"
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
        // A single fact that is refused leaves nothing behind; several need a savepoint.
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
            // Facts of the same append may follow one another.
            if last.is_none_or(|last| Some(last) != after && last <= begin.position.seq) {
                return Err(Fault::Moved { grant: grant.clone(), after, last });
            }
        }
        let (line, next) = head.append(fact)?;
        let seq = next.position.seq;
        let grant = fact.grant.as_ref().map(GrantId::as_str);
        write_one(&self.connection, INSERT, params![seq, grant, fact.event.kind(), line])?;
        // The event itself is accepted by now, so any failure here is a fault, even if SQLite reports a constraint. Without
        // `over`, the grant is built from its events; an event that may not follow is the caller's error, and `verify`
        // reports it.
        let made = |grant: &GrantId| fold(&self.connection, grant.as_str()).ok().map(|made| made.grant);
        let made = || fact.grant.as_ref().and_then(made).filter(Grant::is_over).map(Cow::Owned);
        project(&self.connection, seq, fact, || over.map(Cow::Borrowed).or_else(made))
            .map_err(|fault| Fault::System(fault.to_string()))?;
        Ok(next)
    }
}

/// The position of an append, or why it was refused.
type Outcome = Result<Position, Fault>;

pub(super) const INSERT: &str = "INSERT INTO events (seq, grant_id, kind, line) VALUES (?1, ?2, ?3, ?4)";
