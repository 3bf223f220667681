//! The trail: every fact, in order, in one SQLite file; the only store there is.
//!
//! ```text
//!  append(facts) ──► queue ──► writer thread: chain, insert, one commit (one fsync) for all that wait ──► done
//! ```
//! A line is the JSON of one entry and carries the SHA-256 of the line before it, so a copy of the lines
//! is enough to check them. Nothing is updated or deleted. The broker and the sweep append; the API reads.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use nix::fcntl::{Flock, FlockArg};
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, params};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::grant::digest::sha256_hex;
use crate::grant::drain::Draining;
use crate::grant::request::{KeyHash, Person, PersonName};
use crate::grant::{Event, Fact, Grant, GrantId, Shown};

mod backup;
mod layout;
#[cfg(test)]
mod tests;
mod verify;

pub use backup::back_up;
use layout::{bring_up_to_date, layout};
pub use verify::{Report, export, verify_file, verify_lines};

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

/// One line of the trail, as it is stored and exported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// 1 for the first, without gaps.
    pub seq: i64,
    /// SHA-256 of the line before, hex; 64 zeros before the first.
    pub prev: String,
    /// The fact.
    #[serde(flatten)]
    pub fact: Fact,
}

/// The hash before the first line.
const BEGINNING: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// How many lines at the end are checked at every start. The whole is checked by `jitd audit verify`.
const TAIL: i64 = 1_000;

/// At most so many appends share one commit, so that the first of them does not wait without end.
const BATCH: usize = 512;

/// From so many appends in one commit on, the writer waits for the next crowd.
const CROWD: usize = 5;

/// How long it waits at most, about two commits long. What shares a commit shares its sync and its pages.
const PATIENCE: Duration = Duration::from_millis(1);

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

struct Writer {
    queue: Arc<Queue>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What waits for the writer, which is woken once for a crowd, not once for each append of it.
#[derive(Default)]
struct Queue {
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
struct Taker(Arc<Queue>);

struct Append {
    facts: Vec<Fact>,
    done: oneshot::Sender<Result<(), TrailError>>,
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

    /// The lines about a grant, oldest first.
    ///
    /// # Errors
    /// [`TrailError::Unavailable`].
    pub async fn lines_of(&self, id: &GrantId) -> Result<Vec<String>, TrailError> {
        let id = id.clone();
        self.read(move |reader| lines_of(reader, &id)).await
    }

    /// What approvers of a grant are shown beside what is asked.
    ///
    /// # Errors
    /// [`TrailError`].
    pub async fn shown_of(&self, id: &GrantId) -> Result<Option<Shown>, TrailError> {
        let id = id.clone();
        self.read(move |reader| {
            let line: Option<String> = reader
                .prepare_cached(&format!(
                    "{EVENTS_OF} WHERE kind IN ('requested', 'narrowed') ORDER BY seq DESC LIMIT 1"
                ))?
                .query_row([id.as_str()], |row| row.get(1))
                .optional()?;
            Ok(match line.as_deref().map(parse).transpose()?.map(|entry| entry.fact.event) {
                Some(Event::Requested(requested)) => Some(requested.shown),
                Some(Event::Narrowed(narrowed)) => Some(narrowed.shown),
                _ => None,
            })
        })
        .await
    }

    /// Whether anybody but `person` asked with this key before.
    ///
    /// # Errors
    /// [`TrailError::Unavailable`].
    pub async fn is_key_of_another(&self, key: &KeyHash, person: &PersonName) -> Result<bool, TrailError> {
        let (key, person) = (key.0.clone(), person.to_string());
        self.read(move |reader| {
            // Two ranges of one index: a person may have asked with this key any number of times.
            let mut statement = reader.prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM grants WHERE key = ?1 AND requester < ?2)
                     OR EXISTS (SELECT 1 FROM grants WHERE key = ?1 AND requester > ?2)",
            )?;
            Ok(statement.query_row([key, person], |row| row.get(0))?)
        })
        .await
    }

    /// How often a person asked since that moment, counted up to `most`.
    ///
    /// # Errors
    /// [`TrailError`].
    pub async fn asked_since(&self, person: &PersonName, since: Timestamp, most: u32) -> Result<u32, TrailError> {
        let person = person.to_string();
        self.read(move |reader| {
            let mut statement = reader.prepare_cached(
                "SELECT line FROM grants JOIN events USING (seq) WHERE requester = ?1 ORDER BY seq DESC LIMIT ?2",
            )?;
            let mut rows = statement.query(params![person, most])?;
            let mut count = 0;
            while let Some(row) = rows.next()? {
                if parse(&row.get::<_, String>(0)?)?.fact.at < since {
                    break;
                }
                count += 1;
            }
            Ok(count)
        })
        .await
    }

    /// Grants that are over and that `person` may see, newest first: at most `limit`, and whether there
    /// are more. Ids that begin with `prefix`.
    ///
    /// # Errors
    /// [`TrailError`].
    pub async fn closed(
        &self,
        person: &Person,
        overseers: &[String],
        prefix: &str,
        limit: usize,
    ) -> Result<(Vec<Grant>, bool), TrailError> {
        let (person, overseers, prefix) = (person.clone(), overseers.to_vec(), prefix.to_owned());
        self.read(move |reader| {
            let mut ids = Vec::new();
            let mut more = false;
            let mut statement = reader.prepare_cached(
                "SELECT id, requester, groups FROM grants WHERE open = 0 AND substr(id, 1, ?1) = ?2 ORDER BY seq DESC",
            )?;
            let mut rows = statement.query(params![i64::try_from(prefix.len()).unwrap_or(0), prefix])?;
            let sees_all = person.is_in_any(&overseers);
            while let Some(row) = rows.next()? {
                let requester: String = row.get(1)?;
                let groups: String = row.get(2)?;
                let asked: Vec<String> = serde_json::from_str(&groups).unwrap_or_default();
                if sees_all || requester == person.name.as_str() || person.is_in_any(&asked) {
                    if ids.len() == limit {
                        more = true;
                        break;
                    }
                    ids.push(row.get::<_, String>(0)?);
                }
            }
            let mut grants = Vec::with_capacity(ids.len());
            for id in ids {
                grants.push(fold(reader, &id)?);
            }
            Ok((grants, more))
        })
        .await
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, TrailError> {
        let (reader, path) = (Arc::clone(&self.reader), Arc::clone(&self.path));
        tokio::task::spawn_blocking(move || {
            let reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
            work(&reader).map_err(|fault| fault.at(&path))
        })
        .await
        .unwrap_or_else(|_| Err(self.gone()))
    }

    /// Stops the writer after everything that was appended is stored.
    pub fn close(&self) {
        self.writer.close();
    }
}

impl Writer {
    fn close(&self) {
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

/// The last line's number and hash, and the latest time in any: the clock may have been set back before
/// the last one was written.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Head {
    seq: i64,
    hash: String,
    at: Timestamp,
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

impl Queue {
    /// Dropped when the queue is closed, and whoever waits for it is told so.
    fn put(&self, append: Append) {
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

fn write(connection: &Connection, mut head: Head, appends: &Taker, path: &Path, failing: &Mutex<Option<String>>) {
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

const INSERT: &str = "INSERT INTO events (seq, grant_id, kind, line) VALUES (?1, ?2, ?3, ?4)";

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

/// Keeps `grants` and `links` in step; the same function rebuilds them when the trail is verified.
fn project(connection: &Connection, seq: i64, fact: &Fact) -> Result<(), Fault> {
    let Some(grant) = fact.grant.as_ref().map(GrantId::as_str) else { return Ok(()) };
    if let Event::Requested(requested) = &fact.event {
        let groups =
            serde_json::to_string(&requested.terms.watchers()).map_err(|error| Fault::System(error.to_string()))?;
        let requester = fact.by.as_ref().map_or("", |person| person.as_str());
        connection
            .prepare_cached(
                "INSERT INTO grants (id, seq, requester, key, groups, open, last) VALUES (?1, ?2, ?3, ?4, ?5, 1, ?2)",
            )?
            .execute(params![grant, seq, requester, requested.key.0, groups])?;
        return Ok(());
    }
    connection
        .prepare_cached("INSERT INTO links (seq, before) SELECT ?2, last FROM grants WHERE id = ?1")?
        .execute(params![grant, seq])?;
    connection.prepare_cached("UPDATE grants SET last = ?2 WHERE id = ?1")?.execute(params![grant, seq])?;
    let opens_or_closes = match &fact.event {
        Event::Denied { .. } | Event::Withdrawn | Event::Lapsed { .. } | Event::Ended { .. } => {
            "UPDATE grants SET open = open & ~1 WHERE id = ?1"
        }
        Event::GlassBroken { .. } => "UPDATE grants SET open = open | 2 WHERE id = ?1",
        Event::Reviewed { closes: true, .. } => "UPDATE grants SET open = open & ~2 WHERE id = ?1",
        _ => return Ok(()),
    };
    connection.prepare_cached(opens_or_closes)?.execute([grant])?;
    Ok(())
}

/// The lock that keeps a second daemon out. It lies beside the file, for SQLite locks the file itself.
fn hold(path: &Path) -> Result<Flock<std::fs::File>, TrailError> {
    use std::os::unix::fs::OpenOptionsExt;
    let beside = path.with_extension("lock");
    let file = std::fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .custom_flags(nix::libc::O_NOFOLLOW)
        .open(&beside)
        .map_err(|error| TrailError::Unavailable { path: beside.display().to_string(), why: error.to_string() })?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| TrailError::Held(beside.display().to_string()))
}

fn open_for_writing(path: &Path) -> Result<(Connection, Head), Fault> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(path, mode).map_err(|error| Fault::System(error.to_string()))?;
    // Before anything is written to a file that may be a newer jitd's.
    let found = layout(&connection)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    bring_up_to_date(&connection, found)?;
    connection.set_prepared_statement_cache_capacity(32);
    let head = check_tail(&connection)?;
    Ok((connection, head))
}

fn open_for_reading(path: &Path) -> Result<Connection, Fault> {
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.pragma_update(None, "query_only", true)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    layout(&connection)?;
    Ok(connection)
}

/// Checks the last lines: numbered without gaps, each carrying the hash of the one before.
fn check_tail(connection: &Connection) -> Result<Head, Fault> {
    let last: i64 = connection.query_row("SELECT coalesce(max(seq), 0) FROM events", [], |row| row.get(0))?;
    let before = last.saturating_sub(TAIL).max(0);
    let mut statement = connection.prepare("SELECT seq, line FROM events WHERE seq > ?1 ORDER BY seq")?;
    let mut rows = statement.query([before])?;
    let mut head = Head { seq: before, hash: BEGINNING.to_owned(), at: Timestamp::MIN };
    while let Some(row) = rows.next()? {
        let (seq, line): (i64, String) = (row.get(0)?, row.get(1)?);
        let due = head.seq.saturating_add(1);
        let damaged = |why: &str| Fault::Damaged { seq: due, why: why.to_owned() };
        if seq != due {
            return Err(damaged("is missing"));
        }
        let entry = parse(&line).map_err(|_| damaged("is no entry"))?;
        // The line before the first one that is looked at may be any.
        if entry.seq != seq || (entry.prev != head.hash && (head.seq > before || before == 0)) {
            return Err(damaged("does not follow the one before it"));
        }
        head = Head { seq, hash: sha256_hex(line.as_bytes()), at: head.at.max(entry.fact.at) };
    }
    Ok(head)
}

fn draining(connection: &Connection) -> Result<Option<Draining>, Fault> {
    let line: Option<String> = connection
        .query_row(
            "SELECT line FROM events WHERE kind IN ('drained', 'resumed') ORDER BY seq DESC LIMIT 1",
            [],
            |row| row.get(0),
        )
        .optional()?;
    let entry = line.as_deref().map(parse).transpose()?;
    Ok(entry.and_then(|entry| Draining::after(None, &entry.fact)))
}

/// The grants that are not over or owe a review. For `open > 0` SQLite would read all of them in their order.
const OPEN: &str = "SELECT id FROM grants WHERE open IN (1, 2, 3) ORDER BY seq";

fn open_grants(connection: &Connection) -> Result<Vec<Grant>, Fault> {
    let mut statement = connection.prepare(OPEN)?;
    let ids: Vec<String> = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    ids.iter().map(|id| fold(connection, id)).collect()
}

/// The events of a grant, `seq` and `line`, from its last one back. Links that don't lead back, which we don't write, end
/// it. `CROSS JOIN` keeps SQLite from reading all events in their order, to spare the sorting of a few.
const EVENTS_OF: &str = "WITH RECURSIVE own (at) AS (
        SELECT last FROM grants WHERE id = ?1
        UNION ALL SELECT before FROM own CROSS JOIN links ON seq = at WHERE before < seq
    ) SELECT seq, line FROM own CROSS JOIN events ON seq = at";

/// The grant that its events make.
fn fold(connection: &Connection, id: &str) -> Result<Grant, Fault> {
    let mut statement = connection.prepare_cached(&format!("{EVENTS_OF} ORDER BY seq"))?;
    let mut rows = statement.query([id])?;
    let mut grant: Option<Grant> = None;
    while let Some(row) = rows.next()? {
        let seq = row.get(0)?;
        let entry = parse(row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?)
            .map_err(|fault| Fault::Damaged { seq, why: fault.to_string() })?;
        let next = match grant {
            None => Grant::begin(&entry.fact),
            Some(grant) => grant.follow(&entry.fact),
        };
        grant = Some(next.map_err(|error| Fault::Damaged { seq, why: error.to_string() })?);
    }
    grant.ok_or_else(|| Fault::Damaged { seq: 0, why: format!("there is no event of grant {id}") })
}

fn lines_of(connection: &Connection, id: &GrantId) -> Result<Vec<String>, Fault> {
    let mut statement = connection.prepare_cached(&format!("{EVENTS_OF} ORDER BY seq"))?;
    Ok(statement.query_map([id.as_str()], |row| row.get(1))?.collect::<Result<_, _>>()?)
}

fn parse(line: &str) -> Result<Entry, Fault> {
    serde_json::from_str(line).map_err(|error| Fault::Damaged { seq: 0, why: format!("a line is no entry: {error}") })
}
