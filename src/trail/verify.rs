//! Verifies a trail on any host: the file of a daemon, or lines that were exported from it.
//!
//! It proves that every line contains the hash of the previous line, that every event may follow the events before it, and
//! (for a file) that the tables are ours and that their columns and projections match the lines. It only reads, also files
//! of earlier versions, needs no more memory for a longer trail, and can run next to a daemon. `jitd audit verify` and
//! `jitd audit export` call it.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, ErrorKind, Write};
use std::path::Path;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use serde::Deserialize;

use super::chain::{Entry, Head, Position, parse};
use super::layout::{PRESENT, check_schema, create, layout};
use super::projections::{follow, project};
use super::sqlite::open_for_reading;
use super::{Fault, TrailError};
use crate::grant::{Event, Grant, GrantId, LogHead, SentText};

/// The result of verifying a whole trail.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Number of events.
    pub events: i64,
    /// Number of all grants ever requested.
    pub grants: u64,
    /// Grants that are not over.
    pub open: u64,
    /// Number of uses of break-glass that are not reviewed yet.
    pub reviews_owed: u64,
    /// When the first event happened; none for an empty trail.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub from: Option<Timestamp>,
    /// When the last event happened.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub to: Option<Timestamp>,
    /// SHA-256 of the last line, hex. Note it elsewhere: it shows later whether the trail was cut.
    pub head: String,
}

/// Verifies the file at `path`. `each` is called with the position of every valid event.
///
/// # Errors
/// [`TrailError::Damaged`] with the first event that is wrong; [`TrailError::Altered`]; [`TrailError::Unavailable`].
pub fn verify_file(path: &Path, mut each: impl FnMut(&Position)) -> Result<Report, TrailError> {
    let mut work = || -> Result<Report, Fault> {
        let reader = open_for_reading(path)?;
        // One read transaction, so that a daemon that appends in the meantime does not matter.
        reader.execute_batch("BEGIN")?;
        let found = layout(&reader)?;
        if found == PRESENT {
            check_schema(&reader)?;
        }
        let rebuilt = beside()?;
        create(&rebuilt)?;
        rebuilt.execute_batch("BEGIN")?;
        let mut checker = Checker::new()?;
        let mut statement = reader.prepare("SELECT seq, grant_id, kind, line FROM events ORDER BY seq")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (seq, grant, kind): (i64, Option<String>, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let line: String = row.get(3)?;
            let (entry, over) = checker.next(&line)?;
            let same = entry.seq == seq
                && entry.fact.event.kind() == kind
                && entry.fact.grant.as_ref().map(GrantId::as_str) == grant.as_deref();
            if !same {
                return Err(Fault::Damaged { seq, why: "its columns do not match its line".to_owned() });
            }
            project(&rebuilt, seq, &entry.fact, || over.as_ref().map(Cow::Borrowed))?;
            each(&checker.head.position);
        }
        for (table, content) in projections(found) {
            if !is_same(&reader, &rebuilt, content)? {
                let why = format!("the table `{table}` does not match the events");
                return Err(Fault::Damaged { seq: checker.head.position.seq, why });
            }
        }
        Ok(checker.report())
    };
    work().map_err(|fault| fault.at(path))
}

/// Verifies exported lines. `each` is called with the position of every valid event.
///
/// # Errors
/// [`TrailError::Damaged`] with the first event that is wrong; [`TrailError::NotAnExport`]; [`TrailError::CutOff`];
/// [`TrailError::Unavailable`].
pub fn verify_lines(
    mut lines: impl BufRead,
    name: &Path,
    mut each: impl FnMut(&Position),
) -> Result<Report, TrailError> {
    let mut checker = Checker::new().map_err(|fault| fault.at(name))?;
    let shown = || name.display().to_string();
    let mut read = String::new();
    loop {
        let number = checker.head.next();
        read.clear();
        match lines.read_line(&mut read) {
            Ok(0) => return Ok(checker.report()),
            Ok(_) => {}
            Err(error) if number == 1 && error.kind() == ErrorKind::InvalidData => {
                return Err(TrailError::NotAnExport(shown()));
            }
            Err(error) => return Err(Fault::System(error.to_string()).at(name)),
        }
        let line = read.lines().next().unwrap_or_default();
        match checker.next(line) {
            Ok(_) => each(&checker.head.position),
            Err(_) if number == 1 && parse(line).is_err() => return Err(TrailError::NotAnExport(shown())),
            Err(_) if !read.ends_with('\n') && parse(line).is_err() => {
                return Err(TrailError::CutOff { path: shown(), line: number });
            }
            Err(fault) => return Err(fault.at(name)),
        }
    }
}

/// Writes every line as it is stored, oldest first.
///
/// # Errors
/// [`TrailError::Unavailable`] if the file cannot be read or `out` cannot be written.
pub fn export(path: &Path, mut out: impl Write) -> Result<(), TrailError> {
    let mut work = || -> Result<(), Fault> {
        let reader = open_for_reading(path)?;
        let mut statement = reader.prepare("SELECT line FROM events ORDER BY seq")?;
        let mut rows = statement.query([])?;
        let failed = |error: std::io::Error| Fault::System(format!("writing: {error}"));
        while let Some(row) = rows.next()? {
            let line = row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?;
            out.write_all(line.as_bytes()).and_then(|()| out.write_all(b"\n")).map_err(failed)?;
        }
        out.flush().map_err(failed)
    };
    work().map_err(|fault| fault.at(path))
}

/// Where the gateway's logs of grants stood, as the trail at `path` says, oldest first. The trail itself is not verified.
///
/// # Errors
/// [`TrailError`] if the file cannot be read.
pub fn log_heads(path: &Path) -> Result<BTreeMap<GrantId, Vec<LogHead>>, TrailError> {
    let work = || -> Result<_, Fault> {
        let reader = open_for_reading(path)?;
        let mut heads: BTreeMap<GrantId, Vec<LogHead>> = BTreeMap::new();
        let mut statement = reader
            .prepare("SELECT line FROM events WHERE kind IN ('logged', 'log_contradicted', 'ended') ORDER BY seq")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let line: AboutLog = serde_json::from_str(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?)
                .map_err(|error| Fault::System(format!("a line about a log has another form: {error}")))?;
            let AboutLog { grant, event: Logged { lines, sha256, log } } = line;
            let head = lines.zip(sha256).map(|(lines, sha256)| LogHead { lines, sha256 }).or(log);
            if let (Some(grant), Some(head)) = (grant, head) {
                heads.entry(grant).or_default().push(head);
            }
        }
        Ok(heads)
    };
    work().map_err(|fault| fault.at(path))
}

/// When the gateway deleted what it kept of grants, as the trail at `path` says. The trail itself is not verified.
///
/// # Errors
/// [`TrailError`] if the file cannot be read.
pub fn deleted_sessions(path: &Path) -> Result<BTreeMap<GrantId, Timestamp>, TrailError> {
    let work = || -> Result<_, Fault> {
        let reader = open_for_reading(path)?;
        let mut deleted = BTreeMap::new();
        let mut statement = reader.prepare("SELECT line FROM events WHERE kind = 'sessions_deleted' ORDER BY seq")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let entry = parse(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?)?;
            deleted.extend(entry.fact.grant.map(|grant| (grant, entry.fact.at)));
        }
        Ok(deleted)
    };
    work().map_err(|fault| fault.at(path))
}

/// What `jit-notify` reported that people were told, as the trail at `path` says, oldest first; only what is wanted. The trail
/// itself is not verified.
///
/// # Errors
/// [`TrailError`] if the file cannot be read.
pub fn sent_texts(path: &Path, is_wanted: impl Fn(&SentText) -> bool) -> Result<Vec<SentText>, TrailError> {
    let work = || -> Result<_, Fault> {
        let reader = open_for_reading(path)?;
        let mut sent = Vec::new();
        let mut statement = reader.prepare("SELECT line FROM events WHERE kind = 'notified' ORDER BY seq")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let line = row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?;
            if let Event::Notified { texts } = parse(line)?.fact.event {
                sent.extend(texts.into_iter().filter(&is_wanted));
            }
        }
        Ok(sent)
    };
    work().map_err(|fault| fault.at(path))
}

/// A line of the trail, as far as it says where a log stood.
#[derive(Deserialize)]
struct AboutLog {
    grant: Option<GrantId>,
    event: Logged,
}

/// `logged` and `log_contradicted` are a head, and `ended` has one in its field `log`.
#[derive(Deserialize)]
struct Logged {
    lines: Option<u64>,
    sha256: Option<String>,
    log: Option<LogHead>,
}

struct Checker {
    head: Head,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    grants: u64,
    open: HashMap<GrantId, Grant>,
    /// The ids of the grants that are over.
    over: Connection,
}

impl Checker {
    fn new() -> Result<Self, Fault> {
        let over = beside()?;
        over.execute_batch(
            "CREATE TABLE over (id TEXT PRIMARY KEY, was_live INTEGER NOT NULL) STRICT, WITHOUT ROWID; BEGIN;",
        )?;
        Ok(Self { head: Head::beginning(), from: None, to: None, grants: 0, open: HashMap::new(), over })
    }

    /// Checks the next line; returns its entry, and the grant that it ends.
    fn next(&mut self, line: &str) -> Result<(Entry, Option<Grant>), Fault> {
        let (entry, head) = self.head.apply(line)?;
        let damaged = |why: String| Fault::Damaged { seq: entry.seq, why };
        let mut over = None;
        if let Some(id) = &entry.fact.grant {
            let was_over = if self.open.contains_key(id) { None } else { self.over(id)? };
            match was_over {
                // Its state does not change.
                Some(was_live) if was_live && entry.fact.event.may_follow_the_end() => {}
                Some(_) => return Err(damaged(format!("grant {id} is already over"))),
                None => {
                    if !self.open.contains_key(id) {
                        self.grants = self.grants.saturating_add(1);
                    }
                    over = follow(&mut self.open, id, &entry.fact).map_err(|error| damaged(error.to_string()))?;
                }
            }
            if let Some(over) = &over {
                let insert = "INSERT INTO over (id, was_live) VALUES (?1, ?2)";
                self.over.prepare_cached(insert)?.execute(params![id.as_str(), over.live_at.is_some()])?;
            }
        } else if !entry.fact.is_of_the_daemon() {
            return Err(damaged("it names no grant".to_owned()));
        }
        self.head = head;
        self.from = self.from.or(Some(entry.fact.at));
        self.to = Some(entry.fact.at);
        Ok((entry, over))
    }

    /// Whether a grant that is over was live; none if it is not over.
    fn over(&self, id: &GrantId) -> Result<Option<bool>, Fault> {
        let mut statement = self.over.prepare_cached("SELECT was_live FROM over WHERE id = ?1")?;
        Ok(statement.query_row([id.as_str()], |row| row.get(0)).optional()?)
    }

    fn report(self) -> Report {
        let count = |of: fn(&Grant) -> bool| {
            u64::try_from(self.open.values().filter(|grant| of(grant)).count()).unwrap_or(u64::MAX)
        };
        Report {
            events: self.head.position.seq,
            grants: self.grants,
            open: count(|grant| grant.phase.is_open()),
            reviews_owed: count(Grant::owes_review),
            from: self.from,
            to: self.to,
            head: self.head.position.hash,
        }
    }
}

/// A temporary database for data that grows with the trail. SQLite keeps a part of it in memory, and the rest in a file
/// without a name that disappears with it.
fn beside() -> Result<Connection, Fault> {
    let connection = Connection::open("")?;
    connection.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -32768;")?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(connection)
}

/// The tables that are rebuilt from the events, and the queries that compare them. Earlier layouts share fewer of them
/// with the current one.
fn projections(layout: i64) -> &'static [(&'static str, &'static str)] {
    match layout {
        1 => &[("grants", "SELECT id, seq, requester, key, open FROM grants ORDER BY seq")],
        2 => &[("grants", "SELECT id, seq, requester, key, open, last FROM grants ORDER BY seq"), LINKS],
        3 => &[GRANTS, WATCHERS, LINKS],
        _ => &[GRANTS, WATCHERS, LINKS, ("closed", "SELECT seq, made FROM closed ORDER BY seq")],
    }
}

const GRANTS: (&str, &str) = ("grants", "SELECT id, seq, requester, key, at, open, last FROM grants ORDER BY seq");

const WATCHERS: (&str, &str) = ("watchers", "SELECT watcher, seq FROM watchers ORDER BY watcher, seq");

const LINKS: (&str, &str) = ("links", "SELECT seq, before FROM links ORDER BY seq");

/// Whether two databases give the same answer to a query.
fn is_same(one: &Connection, other: &Connection, query: &str) -> Result<bool, Fault> {
    let (mut one, mut other) = (one.prepare(query)?, other.prepare(query)?);
    let columns = one.column_count();
    let (mut one, mut other) = (one.query([])?, other.query([])?);
    loop {
        let (one, other) = match (one.next()?, other.next()?) {
            (None, None) => return Ok(true),
            (Some(one), Some(other)) => (one, other),
            _ => return Ok(false),
        };
        for column in 0..columns {
            if one.get_ref(column)? != other.get_ref(column)? {
                return Ok(false);
            }
        }
    }
}
