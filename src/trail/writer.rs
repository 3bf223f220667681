//! The writer: one thread that stores what everybody appends, and shares a commit among all who wait.
//!
//! ```text
//!  put ──► queue ──► take: all that waits, at most a batch ──► BEGIN, chain and insert each, COMMIT ──► done
//! ```
//! It never stores a part of an append, and answers nobody before the disk has what they appended.
//! Only [`Trail`](super::Trail) calls it.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, params};
use serde::Serialize;
use tokio::sync::oneshot;

use super::chain::Head;
use super::projections::project;
use super::{Fault, TrailError};
use crate::grant::digest::sha256_hex;
use crate::grant::{Fact, GrantId};

/// At most so many appends share one commit, so that the first of them does not wait without end.
const BATCH: usize = 512;

/// From so many appends in one commit on, the writer waits for the next crowd.
const CROWD: usize = 5;

/// How long it waits at most, about two commits long. What shares a commit shares its sync and its pages.
const PATIENCE: Duration = Duration::from_millis(1);

pub(super) struct Writer {
    pub(super) queue: Arc<Queue>,
    pub(super) thread: Mutex<Option<JoinHandle<()>>>,
}

/// What waits for the writer, which is woken once for a crowd, not once for each append of it.
#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    enough: Condvar,
}

#[derive(Default)]
struct Waiting {
    appends: Vec<Append>,
    /// How many the writer sleeps for; none while it is awake.
    wanted: Option<usize>,
    closed: bool,
}

/// The writer's end of the queue. With it goes what still waits, so that nobody waits for a writer that is gone.
pub(super) struct Taker(pub(super) Arc<Queue>);

pub(super) struct Append {
    pub(super) facts: Vec<Fact>,
    pub(super) done: oneshot::Sender<Result<(), TrailError>>,
}

impl Writer {
    pub(super) fn close(&self) {
        self.queue.close();
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.close();
    }
}

impl Queue {
    /// Dropped when the queue is closed, and whoever waits for it is told so.
    pub(super) fn put(&self, append: Append) {
        let mut waiting = self.lock();
        if !waiting.closed {
            waiting.appends.push(append);
            if waiting.wanted.is_some_and(|wanted| waiting.appends.len() >= wanted) {
                waiting.wanted = None;
                self.enough.notify_one();
            }
        }
    }

    fn close(&self) {
        self.lock().closed = true;
        self.enough.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taker {
    /// Everything that waits; nothing when the queue is closed and empty. Where the last batch was a large
    /// one, as many are about to come again, and a moment's patience makes one commit of two; a single writer
    /// never waits.
    fn take(&self, usual: usize) -> Vec<Append> {
        let mut waiting = self.0.lock();
        let end = Instant::now() + PATIENCE;
        while usual >= CROWD && waiting.appends.len() < usual && !waiting.closed {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            waiting.wanted = Some(usual);
            waiting = self.0.enough.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        while waiting.appends.is_empty() && !waiting.closed {
            waiting.wanted = Some(1);
            waiting = self.0.enough.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        waiting.wanted = None;
        let batch = waiting.appends.len().min(BATCH);
        waiting.appends.drain(..batch).collect()
    }
}

impl Drop for Taker {
    fn drop(&mut self) {
        self.0.close();
        self.0.lock().appends.clear();
    }
}

pub(super) fn write(
    connection: &Connection,
    mut head: Head,
    appends: &Taker,
    path: &Path,
    failing: &Mutex<Option<String>>,
) {
    let mut usual = 1;
    loop {
        let batch = appends.take(usual);
        if batch.is_empty() {
            return;
        }
        usual = batch.len();
        let before = head.clone();
        match commit(connection, &mut head, &batch) {
            Ok(outcomes) => {
                // A round trip shows nothing: what writes nothing works on a full disk too.
                if head != before && failing.lock().unwrap_or_else(PoisonError::into_inner).take().is_some() {
                    tracing::info!(trail = %path.display(), "the trail is written again");
                }
                for (append, outcome) in batch.into_iter().zip(outcomes) {
                    // Who does not wait any more finds it in the trail.
                    let _ = append.done.send(outcome.map_err(|fault| fault.at(path)));
                }
            }
            Err(fault) => {
                head = before;
                let why = fault.to_string();
                tracing::error!(trail = %path.display(), why, "nothing of {} appends is stored", batch.len());
                *failing.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.clone());
                for append in batch {
                    let error = TrailError::Unavailable { path: path.display().to_string(), why: why.clone() };
                    let _ = append.done.send(Err(error));
                }
            }
        }
    }
}

/// One transaction for the whole batch. An append that may not stand leaves the others as they are.
fn commit(connection: &Connection, head: &mut Head, batch: &[Append]) -> Result<Vec<Result<(), Fault>>, Fault> {
    run(connection, "BEGIN IMMEDIATE")?;
    let committed = insert_all(connection, head, batch).and_then(|outcomes| {
        run(connection, "COMMIT")?;
        Ok(outcomes)
    });
    if committed.is_err() {
        // SQLite may have rolled back by itself; then there is nothing to roll back.
        let _ = run(connection, "ROLLBACK");
    }
    committed
}

fn insert_all(connection: &Connection, head: &mut Head, batch: &[Append]) -> Result<Vec<Result<(), Fault>>, Fault> {
    let mut outcomes = Vec::with_capacity(batch.len());
    for append in batch {
        let before = head.clone();
        // A single row is undone by SQLite itself when a constraint refuses it; several need a savepoint.
        let outcome = if let [fact] = append.facts.as_slice() {
            insert(connection, head, fact)
        } else {
            run(connection, "SAVEPOINT append")?;
            let outcome = append.facts.iter().try_for_each(|fact| insert(connection, head, fact));
            if outcome.is_err() {
                run(connection, "ROLLBACK TO append")?;
            }
            run(connection, "RELEASE append")?;
            outcome
        };
        match outcome {
            Err(Fault::Sqlite(rusqlite::Error::SqliteFailure(error, text)))
                if error.code == ErrorCode::ConstraintViolation =>
            {
                *head = before;
                outcomes.push(Err(rusqlite::Error::SqliteFailure(error, text).into()));
            }
            Err(fault) => return Err(fault),
            Ok(()) => outcomes.push(Ok(())),
        }
    }
    Ok(outcomes)
}

/// A statement without parameters, parsed once.
fn run(connection: &Connection, statement: &str) -> Result<(), Fault> {
    connection.prepare_cached(statement)?.execute([])?;
    Ok(())
}

pub(super) const INSERT: &str = "INSERT INTO events (seq, grant_id, kind, line) VALUES (?1, ?2, ?3, ?4)";

fn insert(connection: &Connection, head: &mut Head, fact: &Fact) -> Result<(), Fault> {
    #[derive(Serialize)]
    struct Line<'a> {
        seq: i64,
        prev: &'a str,
        #[serde(flatten)]
        fact: &'a Fact,
    }
    let seq = head.seq.saturating_add(1);
    let line = serde_json::to_string(&Line { seq, prev: &head.hash, fact })
        .map_err(|error| Fault::System(error.to_string()))?;
    let grant = fact.grant.as_ref().map(GrantId::as_str);
    connection.prepare_cached(INSERT)?.execute(params![seq, grant, fact.event.kind(), line])?;
    project(connection, seq, fact)?;
    *head = Head { seq, hash: sha256_hex(line.as_bytes()), at: head.at.max(fact.at) };
    Ok(())
}
