//! Queries of the trail, each answered by an index.
//!
//! They run on read-only connections, outside the runtime's threads, and a list blocks only other lists. The ledger calls
//! them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::chain::parse;
use super::readers::Readers;
use super::{Fault, Introduction, Link, Open, Trail, TrailError, Way};
use crate::grant::drain::Draining;
use crate::grant::request::{AccessRequest, KeyHash, Login, Person, PersonName, ProviderLogin};
use crate::grant::{Author, Event, Filter, Grant, GrantId, LogHead, LogHistory, Shown};
use crate::rbac::ResolvedRole;

/// A part of the results, and the place from which to continue; none at the end.
pub type Page<T, Place = i64> = (Vec<T>, Option<Place>);

impl Trail {
    /// The newest lines about a grant, before event `before` if it is given: at most `limit`, oldest first, and whether
    /// there are older ones.
    ///
    /// # Errors
    /// [`TrailError::Unavailable`].
    pub async fn lines_of(
        &self,
        id: &GrantId,
        before: Option<i64>,
        limit: usize,
    ) -> Result<(Vec<String>, bool), TrailError> {
        let id = id.clone();
        self.read(&self.lists, move |reader| lines_of(reader, &id, before, limit)).await
    }

    /// The grant of this id, even if it is over; none if nobody ever requested it.
    ///
    /// # Errors
    /// [`TrailError`].
    pub async fn grant(&self, id: &GrantId) -> Result<Option<Open>, TrailError> {
        let id = id.clone();
        self.read(&self.questions, move |reader| {
            let known = "SELECT EXISTS (SELECT 1 FROM grants WHERE id = ?1)";
            let is_known: bool = reader.prepare_cached(known)?.query_row([id.as_str()], |row| row.get(0))?;
            is_known.then(|| fold(reader, id.as_str())).transpose()
        })
        .await
    }

    /// The drain in force, if any.
    ///
    /// # Errors
    /// [`TrailError`].
    pub async fn draining(&self) -> Result<Option<Draining>, TrailError> {
        self.read(&self.questions, draining).await
    }

    /// What approvers of a grant are shown in addition to the request.
    ///
    /// # Errors
    /// [`TrailError`].
    pub async fn shown_of(&self, id: &GrantId) -> Result<Option<Shown>, TrailError> {
        let id = id.clone();
        self.read(&self.questions, move |reader| shown_of(reader, id.as_str())).await
    }

    /// What the trail has about the log of a grant, and the number of the grant's last event; none if nobody ever requested
    /// it.
    ///
    /// # Errors
    /// [`TrailError`].
    pub async fn log_of(&self, id: &GrantId) -> Result<Option<(LogHistory, i64)>, TrailError> {
        let id = id.clone();
        self.read(&self.questions, move |reader| log_of(reader, id.as_str())).await
    }

    /// Where the gateway's log of a grant stood, oldest first.
    ///
    /// # Errors
    /// [`TrailError`].
    pub async fn log_heads_of(&self, id: &GrantId) -> Result<Vec<LogHead>, TrailError> {
        let id = id.clone();
        self.read(&self.lists, move |reader| log_heads_of(reader, id.as_str())).await
    }

    /// When the gateway deleted what it kept of a grant; none if it did not.
    ///
    /// # Errors
    /// [`TrailError`].
    pub async fn deletion_of(&self, id: &GrantId) -> Result<Option<Timestamp>, TrailError> {
        let id = id.clone();
        self.read(&self.questions, move |reader| deletion_of(reader, id.as_str())).await
    }

    /// The person's requests since `since` that were denied, newest first, each with the role that was denied.
    ///
    /// # Errors
    /// [`TrailError`].
    pub async fn denied_since(
        &self,
        person: &PersonName,
        since: Timestamp,
    ) -> Result<Vec<(Grant, ResolvedRole)>, TrailError> {
        let (person, since) = (person.to_string(), since.as_millisecond());
        self.read(&self.questions, move |reader| {
            let mut denied = Vec::new();
            let mut statement = reader.prepare_cached(ASKED)?;
            let mut rows = statement.query([person])?;
            while let Some(row) = rows.next()? {
                if row.get::<_, i64>(1)? < since {
                    break;
                }
                let (id, seq): (String, i64) = (row.get(0)?, row.get(2)?);
                if reader.prepare_cached(IS_DENIED)?.exists([&id])?
                    && let Some(shown) = shown_of(reader, &id)?
                {
                    denied.push((made(reader, seq, &id)?, shown.role));
                }
            }
            Ok(denied)
        })
        .await
    }

    /// Whether anybody but `person` made a request with this key.
    ///
    /// # Errors
    /// [`TrailError::Unavailable`].
    pub async fn is_key_of_another(&self, key: &KeyHash, person: &PersonName) -> Result<bool, TrailError> {
        let (key, person) = (key.as_str().to_owned(), person.to_string());
        self.read(&self.questions, move |reader| {
            // Two ranges of one index: the person may have made any number of requests with this key.
            let mut statement = reader.prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM grants WHERE key = ?1 AND requester < ?2)
                     OR EXISTS (SELECT 1 FROM grants WHERE key = ?1 AND requester > ?2)",
            )?;
            Ok(statement.query_row([key, person], |row| row.get(0))?)
        })
        .await
    }

    /// The number of the person's requests since `since`, counted up to `most`.
    ///
    /// # Errors
    /// [`TrailError::Unavailable`].
    pub async fn asked_since(&self, person: &PersonName, since: Timestamp, most: u32) -> Result<u32, TrailError> {
        let (person, since) = (person.to_string(), since.as_millisecond());
        self.read(&self.questions, move |reader| {
            Ok(reader.prepare_cached(ASKED_SINCE)?.query_row(params![person, since, most], |row| row.get(0))?)
        })
        .await
    }

    /// Grants that are over, that `person` may see and that `filter` selects, newest first, each with the number of its
    /// request: at most `limit` with numbers below `below`, and the number below which to continue. One call searches only a
    /// part of a long trail, so more can follow even if the result is empty.
    ///
    /// # Errors
    /// [`TrailError`].
    pub async fn closed(
        &self,
        person: &Person,
        overseers: &[String],
        filter: &Filter,
        below: i64,
        limit: usize,
    ) -> Result<Page<(i64, Grant)>, TrailError> {
        let viewer = Viewer { sees_all: person.is_in_any(overseers), person: person.clone() };
        let filter = filter.clone();
        self.read(&self.lists, move |reader| closed(reader, &viewer, &filter, below, limit)).await
    }

    /// The newest lines of the trail that `filter` selects, before event `before` if it is given: at most `limit`, oldest
    /// first, and the event before which to continue. As in [`Trail::closed`], one call searches only a part.
    ///
    /// # Errors
    /// [`TrailError`].
    pub async fn lines_before(
        &self,
        filter: &Filter,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Page<String>, TrailError> {
        let filter = filter.clone();
        let before = before.unwrap_or(i64::MAX);
        self.read(&self.lists, move |reader| lines_before(reader, &filter, before, limit)).await
    }

    /// The lines of the trail after event `after`, as they are stored, in order: about 512 KiB of them, and the event after
    /// which to continue; none at the end of the trail.
    ///
    /// # Errors
    /// [`TrailError::Unavailable`].
    pub async fn lines_after(&self, after: i64) -> Result<Page<String>, TrailError> {
        self.read(&self.lists, move |reader| lines_after(reader, after)).await
    }

    /// Grants that are over, that `person` may see and whose ids begin with `prefix`; at most `limit`.
    ///
    /// # Errors
    /// [`TrailError`].
    pub async fn closed_beginning(
        &self,
        person: &Person,
        overseers: &[String],
        prefix: &str,
        limit: usize,
    ) -> Result<Vec<Grant>, TrailError> {
        let viewer = Viewer { sees_all: person.is_in_any(overseers), person: person.clone() };
        let prefix = prefix.to_owned();
        self.read(&self.questions, move |reader| {
            let found = viewer.beginning(reader, &prefix, limit)?;
            found.iter().rev().take(limit).map(|(seq, (id, _))| made(reader, *seq, id)).collect()
        })
        .await
    }

    pub(super) async fn read<T: Send + 'static>(
        &self,
        readers: &Readers,
        work: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, TrailError> {
        let work = |turn| {
            let (readers, path) = (readers.clone(), Arc::clone(&self.path));
            move || {
                let answer = readers.read(work);
                drop(turn);
                answer.map_err(|fault| fault.at(&path))
            }
        };
        let turn = readers.turn();
        if let Way::Simulation(_) = *self.way {
            return turn.await.map_or_else(|| Err(self.gone()), |turn| work(turn)());
        }
        // Only as many threads as there are readers: a disk that hangs cannot block the threads of others.
        let read = async {
            let Some(turn) = turn.await else { return Err(self.gone()) };
            tokio::task::spawn_blocking(work(turn)).await.unwrap_or_else(|_| Err(self.gone()))
        };
        let read = tokio::time::timeout(READ_WITHIN, read).await;
        read.unwrap_or_else(|_| {
            Err(Fault::System("it cannot be read: the disk does not answer".to_owned()).at(&self.path))
        })
    }
}

/// How long to wait for an answer of the store.
const READ_WITHIN: Duration = Duration::from_secs(10);

/// A person who lists grants that are over.
struct Viewer {
    person: Person,
    sees_all: bool,
}

/// Grants by the number of their request, each with the time of the request in milliseconds.
type Found = BTreeMap<i64, (String, i64)>;

/// The maximum number of rows that one call searches, and how many of them are read at a time if a filter selects.
const LOOKED_AT: usize = 4096;
const AT_ONCE: usize = 256;

/// The approximate size of the lines in one answer, in bytes.
const LINES: usize = 512 * 1024;

fn closed(
    reader: &Connection,
    viewer: &Viewer,
    filter: &Filter,
    mut below: i64,
    limit: usize,
) -> Result<Page<(i64, Grant)>, Fault> {
    // One more than requested, to see whether there are more.
    let batch = if filter.is_empty() { limit.saturating_add(1) } else { AT_ONCE };
    let (mut grants, mut looked_at) = (Vec::new(), 0);
    loop {
        let found = viewer.newest(reader, filter.person.as_ref(), batch, below)?;
        for (seq, (id, at)) in found.iter().rev() {
            if grants.len() == limit || looked_at == LOOKED_AT {
                return Ok((grants, Some(below)));
            }
            looked_at += 1;
            below = *seq;
            // The row contains the time of the request in milliseconds.
            let [first, last] = [*at, at.saturating_add(1)].map(Timestamp::from_millisecond);
            if let (Ok(first), Ok(last)) = (first, last)
                && !filter.may_select_requested(first, last)
            {
                continue;
            }
            let grant = made(reader, *seq, id)?;
            if filter.selects(&grant) {
                grants.push((*seq, grant));
            }
        }
        if found.len() < batch {
            return Ok((grants, None));
        }
    }
}

impl Viewer {
    /// The newest grants below `below` that the person may see, of `requester` if one is given: up to `enough`.
    fn newest(
        &self,
        reader: &Connection,
        requester: Option<&PersonName>,
        enough: usize,
        below: i64,
    ) -> Result<Found, Fault> {
        let most = i64::try_from(enough).unwrap_or(i64::MAX);
        let mut found = Found::new();
        // Each query is sorted, so only rows newer than `enough` others have to be read.
        let mut look = |query: &str, of: &str| -> Result<(), Fault> {
            let oldest = found.keys().rev().nth(enough.saturating_sub(1)).copied().unwrap_or(0);
            let mut statement = reader.prepare_cached(query)?;
            let mut rows = statement.query(params![of, oldest, most, below])?;
            while let Some(row) = rows.next()? {
                found.insert(row.get(0)?, (row.get(1)?, row.get(2)?));
            }
            Ok(())
        };
        if let Some(requester) = requester.filter(|requester| self.sees_all || **requester == self.person.name) {
            look(CLOSED_OF_PERSON, requester.as_str())?;
        } else if self.sees_all {
            look(CLOSED, "")?;
        } else {
            look(CLOSED_OF_PERSON, self.person.name.as_str())?;
            for group in &self.person.groups {
                look(CLOSED_FOR_WATCHER, group)?;
            }
        }
        let surplus = found.len().saturating_sub(enough);
        if let Some(oldest) = found.keys().nth(surplus).copied() {
            found = found.split_off(&oldest);
        }
        Ok(found)
    }

    /// Grants whose ids begin with `prefix` and that the person may see, up to `enough`.
    fn beginning(&self, reader: &Connection, prefix: &str, enough: usize) -> Result<Found, Fault> {
        let mut statement = reader.prepare_cached(CLOSED_BEGINNING)?;
        let mut rows = statement.query([prefix, &format!("{prefix}{}", char::MAX)])?;
        let mut found = Found::new();
        while found.len() < enough
            && let Some(row) = rows.next()?
        {
            let (seq, requester): (i64, String) = (row.get(0)?, row.get(2)?);
            if self.sees_all || requester == self.person.name.as_str() || self.watches(reader, seq)? {
                found.insert(seq, (row.get(1)?, row.get(3)?));
            }
        }
        Ok(found)
    }

    fn watches(&self, reader: &Connection, seq: i64) -> Result<bool, Fault> {
        let mut statement = reader.prepare_cached(WATCHES)?;
        for group in &self.person.groups {
            if statement.exists(params![group, seq])? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Counts the newest requests of a person; an index on the time would have to be written for each request.
pub(super) const ASKED_SINCE: &str = "SELECT count(*) FROM (
        SELECT at FROM grants INDEXED BY grants_of_person WHERE requester = ?1 ORDER BY seq DESC LIMIT ?3
    ) WHERE at >= ?2";

/// A person's requests and their times, newest first; the caller stops at the first one that is too old.
pub(super) const ASKED: &str =
    "SELECT id, at, seq FROM grants INDEXED BY grants_of_person WHERE requester = ?1 ORDER BY seq DESC";

pub(super) const IS_DENIED: &str = "SELECT 1 FROM events INDEXED BY once WHERE grant_id = ?1 AND kind = 'denied'";

/// Grants that are over, newest first: all of them, those of a person, and those that members of a group may see. All
/// three number their parameters in the same way.
pub(super) const CLOSED: &str = "SELECT seq, id, at FROM grants INDEXED BY grants_in_order
    WHERE open = 0 AND seq > ?2 AND seq < ?4 ORDER BY seq DESC LIMIT ?3";
pub(super) const CLOSED_OF_PERSON: &str = "SELECT seq, id, at FROM grants INDEXED BY grants_of_person
    WHERE requester = ?1 AND open = 0 AND seq > ?2 AND seq < ?4 ORDER BY seq DESC LIMIT ?3";
pub(super) const CLOSED_FOR_WATCHER: &str = "SELECT seq, id, at FROM watchers CROSS JOIN grants USING (seq)
    WHERE watcher = ?1 AND open = 0 AND watchers.seq > ?2 AND watchers.seq < ?4 ORDER BY watchers.seq DESC LIMIT ?3";

/// Grants that are over and whose id is in a range.
pub(super) const CLOSED_BEGINNING: &str =
    "SELECT seq, id, requester, at FROM grants WHERE id BETWEEN ?1 AND ?2 AND open + 0 = 0";

pub(super) const WATCHES: &str = "SELECT 1 FROM watchers WHERE watcher = ?1 AND seq = ?2";

pub(super) fn draining(connection: &Connection) -> Result<Option<Draining>, Fault> {
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

/// Each name under which somebody came from an identity provider, and each identity that was linked, oldest first.
pub(super) fn introductions(connection: &Connection) -> Result<(Vec<Introduction>, Vec<Link>), Fault> {
    let all = "SELECT line FROM events WHERE kind IN ('introduced', 'linked') ORDER BY seq";
    let mut statement = connection.prepare(all)?;
    let mut rows = statement.query([])?;
    let (mut found, mut links) = (Vec::new(), Vec::new());
    while let Some(row) = rows.next()? {
        let fact = parse(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?)?.fact;
        match (fact.event, fact.author) {
            (Event::Introduced { called }, Author::Person { name, login: Some(Login::Provider(login)) }) => {
                let ProviderLogin { issuer, subject, .. } = *login;
                found.push(Introduction { issuer, subject, called, name });
            }
            (Event::Linked { issuer, subject, .. }, Author::Person { name: person, .. }) => {
                links.push(Link { issuer, subject, person });
            }
            _ => {}
        }
    }
    Ok((found, links))
}

/// The grants that are not over or owe a review. For `open > 0`, SQLite would read all grants in order.
pub(super) const OPEN: &str = "SELECT id FROM grants WHERE open IN (1, 2, 3) ORDER BY seq";

pub(super) fn open_grants(connection: &Connection) -> Result<Vec<Open>, Fault> {
    let mut statement = connection.prepare(OPEN)?;
    let ids: Vec<String> = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    ids.iter().map(|id| fold(connection, id)).collect()
}

/// The events of a grant, `seq` and `line`, from its last one backwards. A link that does not lead backwards, which we never
/// write, ends it. `CROSS JOIN` keeps SQLite from reading all events in order just to avoid sorting a few.
pub(super) const EVENTS_OF: &str = "WITH RECURSIVE own (at) AS (
        SELECT last FROM grants WHERE id = ?1
        UNION ALL SELECT before FROM own CROSS JOIN links ON seq = at WHERE before < seq
    ) SELECT seq, line FROM own CROSS JOIN events ON seq = at";

pub(super) const MADE: &str = "SELECT made FROM closed WHERE seq = ?1";

/// The grant whose request has the number `seq`: as it was stored when it ended, or else built from its events.
fn made(connection: &Connection, seq: i64, id: &str) -> Result<Grant, Fault> {
    let kept: Option<String> = connection.prepare_cached(MADE)?.query_row([seq], |row| row.get(0)).optional()?;
    match kept {
        Some(kept) => serde_json::from_str(&kept).map_err(|error| Fault::Damaged {
            seq,
            why: format!("the stored state of its grant cannot be parsed: {error}"),
        }),
        None => Ok(fold(connection, id)?.grant),
    }
}

/// Builds a grant from its events.
pub(super) fn fold(connection: &Connection, id: &str) -> Result<Open, Fault> {
    fold_until(connection, id, i64::MAX)
}

/// Builds a grant from its events up to event `until`.
pub(super) fn fold_until(connection: &Connection, id: &str, until: i64) -> Result<Open, Fault> {
    let mut statement = connection.prepare_cached(&format!("{EVENTS_OF} WHERE seq <= ?2 ORDER BY seq"))?;
    let mut rows = statement.query(params![id, until])?;
    let mut open: Option<Open> = None;
    while let Some(row) = rows.next()? {
        let last = row.get(0)?;
        let entry = parse(row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?)
            .map_err(|fault| Fault::Damaged { seq: last, why: fault.to_string() })?;
        let next = match open {
            None => Grant::begin(&entry.fact),
            Some(open) => open.grant.apply(&entry.fact),
        };
        let grant = next.map_err(|error| Fault::Damaged { seq: last, why: error.to_string() })?;
        open = Some(Open { grant, last });
    }
    open.ok_or_else(|| Fault::Damaged { seq: 0, why: format!("there is no event of grant {id}") })
}

/// What approvers of a grant were shown last, in addition to the request.
fn shown_of(connection: &Connection, id: &str) -> Result<Option<Shown>, Fault> {
    shown_until(connection, id, i64::MAX)
}

/// What approvers were shown last up to event `until`.
pub(super) fn shown_until(connection: &Connection, id: &str, until: i64) -> Result<Option<Shown>, Fault> {
    let line: Option<String> = connection
        .prepare_cached(&format!(
            "{EVENTS_OF} WHERE kind IN ('requested', 'narrowed', 'reassessed') AND seq <= ?2 ORDER BY seq DESC LIMIT 1"
        ))?
        .query_row(params![id, until], |row| row.get(1))
        .optional()?;
    Ok(match line.as_deref().map(parse).transpose()?.map(|entry| entry.fact.event) {
        Some(Event::Requested(requested)) => Some(requested.shown),
        Some(Event::Narrowed(narrowed)) => Some(narrowed.shown),
        Some(Event::Reassessed(reassessed)) => Some(reassessed.shown),
        _ => None,
    })
}

/// Reads a grant's events from the last one back to a head before its end: a grant in use has a head every ten seconds.
fn log_of(connection: &Connection, id: &str) -> Result<Option<(LogHistory, i64)>, Fault> {
    let mut statement = connection.prepare_cached("SELECT last, open & 1 FROM grants WHERE id = ?1")?;
    let Some((last, mut is_before_the_end)) =
        statement.query_row([id], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, bool>(1)?))).optional()?
    else {
        return Ok(None);
    };
    let mut events = Vec::new();
    let mut statement = connection.prepare_cached(EVENTS_OF)?;
    let mut rows = statement.query([id])?;
    while let Some(row) = rows.next()? {
        let seq = row.get(0)?;
        let entry = parse(row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?)
            .map_err(|fault| Fault::Damaged { seq, why: fault.to_string() })?;
        let event = entry.fact.event;
        let is_the_last_needed = is_before_the_end && event.is_about_its_log();
        is_before_the_end |= matches!(event, Event::Ended { .. });
        events.push(event);
        if is_the_last_needed {
            break;
        }
    }
    Ok(Some((events.iter().rev().fold(LogHistory::default(), LogHistory::after), last)))
}

fn log_heads_of(connection: &Connection, id: &str) -> Result<Vec<LogHead>, Fault> {
    let kinds = "kind IN ('logged', 'log_contradicted', 'ended')";
    let mut statement = connection.prepare_cached(&format!("{EVENTS_OF} WHERE {kinds} ORDER BY seq"))?;
    let mut rows = statement.query([id])?;
    let mut heads = Vec::new();
    while let Some(row) = rows.next()? {
        let seq = row.get(0)?;
        let entry = parse(row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?)
            .map_err(|fault| Fault::Damaged { seq, why: fault.to_string() })?;
        heads.extend(match entry.fact.event {
            Event::Logged { lines, sha256 } | Event::LogContradicted { lines, sha256, .. } => {
                Some(LogHead { lines, sha256 })
            }
            Event::Ended { log, .. } => log,
            _ => None,
        });
    }
    Ok(heads)
}

/// When the gateway deleted what it kept of a grant, as the trail has it; none if it did not.
fn deletion_of(connection: &Connection, id: &str) -> Result<Option<Timestamp>, Fault> {
    let line: Option<String> = connection
        .prepare_cached(&format!("{EVENTS_OF} WHERE kind = 'sessions_deleted' ORDER BY seq DESC LIMIT 1"))?
        .query_row([id], |row| row.get(1))
        .optional()?;
    Ok(line.as_deref().map(parse).transpose()?.map(|entry| entry.fact.at))
}

/// The event of a grant before another one of it. The grant is a parameter too, because any event has a link.
pub(super) const BEFORE: &str =
    "SELECT before FROM events CROSS JOIN links USING (seq) WHERE seq = ?2 AND grant_id = ?1 AND before < seq";

const LAST: &str = "SELECT last FROM grants WHERE id = ?1";

/// A number of events of a grant, from one of them backwards, as [`EVENTS_OF`].
pub(super) const EVENTS_FROM: &str = "WITH RECURSIVE own (at) AS (
        VALUES (?1)
        UNION ALL SELECT before FROM own CROSS JOIN links ON seq = at WHERE before < seq
        LIMIT ?2
    ) SELECT line FROM own CROSS JOIN events ON seq = at";

fn lines_of(
    connection: &Connection,
    id: &GrantId,
    before: Option<i64>,
    limit: usize,
) -> Result<(Vec<String>, bool), Fault> {
    let newest: Option<i64> = match before {
        Some(before) => connection.prepare_cached(BEFORE)?.query_row(params![id.as_str(), before], |row| row.get(0)),
        None => connection.prepare_cached(LAST)?.query_row([id.as_str()], |row| row.get(0)),
    }
    .optional()?;
    let Some(newest) = newest else { return Ok((Vec::new(), false)) };
    // One more than requested, to see whether there are more.
    let most = i64::try_from(limit.saturating_add(1)).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(EVENTS_FROM)?;
    let mut lines: Vec<String> = statement.query_map([newest, most], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let more = lines.len() > limit;
    lines.truncate(limit);
    lines.reverse();
    Ok((lines, more))
}

/// The trail before one of its events, and after one of its events.
pub(super) const LINES_BEFORE: &str = "SELECT seq, grant_id, line FROM events WHERE seq < ?1 ORDER BY seq DESC";
pub(super) const LINES_AFTER: &str = "SELECT seq, line FROM events WHERE seq > ?1 ORDER BY seq";

/// The request of a grant.
pub(super) const REQUEST: &str = "SELECT line FROM grants CROSS JOIN events USING (seq) WHERE id = ?1";

fn lines_before(
    connection: &Connection,
    filter: &Filter,
    mut before: i64,
    limit: usize,
) -> Result<Page<String>, Fault> {
    let mut requests: HashMap<String, Option<(PersonName, AccessRequest)>> = HashMap::new();
    let (mut lines, mut bytes, mut looked_at) = (Vec::new(), 0, 0);
    let mut statement = connection.prepare_cached(LINES_BEFORE)?;
    let mut rows = statement.query([before])?;
    let mut more = None;
    while let Some(row) = rows.next()? {
        if lines.len() == limit || bytes > LINES || looked_at == LOOKED_AT {
            more = Some(before);
            break;
        }
        looked_at += 1;
        before = row.get(0)?;
        let line = row.get_ref(2)?.as_str().map_err(rusqlite::Error::from)?;
        let entry = parse(line).map_err(|fault| Fault::Damaged { seq: before, why: fault.to_string() })?;
        let request = || -> Result<Option<(PersonName, AccessRequest)>, Fault> {
            let Some(id) = row.get::<_, Option<String>>(1)? else { return Ok(None) };
            if let Some(known) = requests.get(&id) {
                return Ok(known.clone());
            }
            let request = request_of(connection, &id)?;
            requests.insert(id, request.clone());
            Ok(request)
        };
        if filter.selects_event(&entry.fact, request)? {
            bytes += line.len();
            lines.push(line.to_owned());
        }
    }
    lines.reverse();
    Ok((lines, more))
}

/// Who requested a grant, and what.
fn request_of(connection: &Connection, id: &str) -> Result<Option<(PersonName, AccessRequest)>, Fault> {
    let line: Option<String> = connection.prepare_cached(REQUEST)?.query_row([id], |row| row.get(0)).optional()?;
    let Some(fact) = line.as_deref().map(parse).transpose()?.map(|entry| entry.fact) else { return Ok(None) };
    let requester = fact.by().cloned();
    Ok(match fact.event {
        Event::Requested(requested) => requester.map(|requester| (requester, requested.ask)),
        _ => None,
    })
}

fn lines_after(connection: &Connection, mut after: i64) -> Result<Page<String>, Fault> {
    let (mut lines, mut bytes) = (Vec::new(), 0);
    let mut statement = connection.prepare_cached(LINES_AFTER)?;
    let mut rows = statement.query([after])?;
    while let Some(row) = rows.next()? {
        if bytes > LINES {
            return Ok((lines, Some(after)));
        }
        after = row.get(0)?;
        let line: String = row.get(1)?;
        bytes += line.len();
        lines.push(line);
    }
    Ok((lines, None))
}
