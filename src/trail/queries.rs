//! Questions to the trail, each answered by an index.
//!
//! They read on a connection that can't write, outside the runtime's threads. The broker and the ledger ask.

use std::sync::{Arc, PoisonError};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::chain::parse;
use super::{Fault, Open, Trail, TrailError, Way};
use crate::grant::drain::Draining;
use crate::grant::request::{KeyHash, Person, PersonName};
use crate::grant::{Event, Grant, GrantId, Shown};

impl Trail {
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
                grants.push(fold(reader, &id)?.grant);
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
        if let Way::Simulation(_) = *self.way {
            let reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
            return work(&reader).map_err(|fault| fault.at(&path));
        }
        tokio::task::spawn_blocking(move || {
            let reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
            work(&reader).map_err(|fault| fault.at(&path))
        })
        .await
        .unwrap_or_else(|_| Err(self.gone()))
    }
}

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

/// The grants that are not over or owe a review. For `open > 0` SQLite would read all of them in their order.
pub(super) const OPEN: &str = "SELECT id FROM grants WHERE open IN (1, 2, 3) ORDER BY seq";

pub(super) fn open_grants(connection: &Connection) -> Result<Vec<Open>, Fault> {
    let mut statement = connection.prepare(OPEN)?;
    let ids: Vec<String> = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    ids.iter().map(|id| fold(connection, id)).collect()
}

/// The events of a grant, `seq` and `line`, from its last one back. Links that don't lead back, which we don't write, end
/// it. `CROSS JOIN` keeps SQLite from reading all events in their order, to spare the sorting of a few.
pub(super) const EVENTS_OF: &str = "WITH RECURSIVE own (at) AS (
        SELECT last FROM grants WHERE id = ?1
        UNION ALL SELECT before FROM own CROSS JOIN links ON seq = at WHERE before < seq
    ) SELECT seq, line FROM own CROSS JOIN events ON seq = at";

/// The grant that its events make.
fn fold(connection: &Connection, id: &str) -> Result<Open, Fault> {
    let mut statement = connection.prepare_cached(&format!("{EVENTS_OF} ORDER BY seq"))?;
    let mut rows = statement.query([id])?;
    let mut open: Option<Open> = None;
    while let Some(row) = rows.next()? {
        let last = row.get(0)?;
        let entry = parse(row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?)
            .map_err(|fault| Fault::Damaged { seq: last, why: fault.to_string() })?;
        let next = match open {
            None => Grant::begin(&entry.fact),
            Some(open) => open.grant.follow(&entry.fact),
        };
        let grant = next.map_err(|error| Fault::Damaged { seq: last, why: error.to_string() })?;
        open = Some(Open { grant, last });
    }
    open.ok_or_else(|| Fault::Damaged { seq: 0, why: format!("there is no event of grant {id}") })
}

fn lines_of(connection: &Connection, id: &GrantId) -> Result<Vec<String>, Fault> {
    let mut statement = connection.prepare_cached(&format!("{EVENTS_OF} ORDER BY seq"))?;
    Ok(statement.query_map([id.as_str()], |row| row.get(1))?.collect::<Result<_, _>>()?)
}
