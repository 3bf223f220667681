//! Follows the trail: the facts after one of them, each with its grant as it was then.
//!
//! ```text
//!  events after N ──► fold, from what was folded before or from the grant's first event ──► fact, grant
//! ```
//! It reads in parts, so that a reader that is far behind holds up nobody. The ledger calls it.

use std::collections::HashMap;

use jiff::Timestamp;
use rusqlite::Connection;

use super::chain::parse;
use super::queries::{LINES_AFTER, fold_until, shown_until};
use super::{Fault, Trail, TrailError};
use crate::grant::{Event, Fact, Grant, GrantId, Shown};

/// A fact, and what it was about.
#[derive(Clone, Debug)]
pub struct Told {
    /// Its number.
    pub number: i64,
    /// The fact.
    pub fact: Fact,
    /// The grant after it; `None` for a fact about no grant.
    pub grant: Option<Grant>,
    /// What approvers were shown in addition to the request; only where somebody has to answer.
    pub shown: Option<Shown>,
}

/// Grants as they were after the facts that one reader has read, so that the next fact of one is one step.
#[derive(Debug, Default)]
pub struct Folded(HashMap<GrantId, Grant>);

/// How many grants a reader keeps; one that is not kept is built from its events again.
const KEPT: usize = 1024;

/// The approximate size of the lines in one part, in bytes.
const PART: usize = 64 * 1024;

impl Trail {
    /// The facts after event `after`, in order: about 64 KiB of them, none at the end of the trail. `folded` is what the same
    /// reader got back with the part before, or an empty one.
    ///
    /// # Errors
    /// [`TrailError`].
    pub async fn facts_after(&self, after: i64, mut folded: Folded) -> Result<(Vec<Told>, Folded), TrailError> {
        self.read(&self.lists, move |reader| {
            let told = facts_after(reader, after, &mut folded)?;
            Ok((told, folded))
        })
        .await
    }

    /// The number of the last event; 0 if there is none.
    ///
    /// # Errors
    /// [`TrailError::Unavailable`].
    pub async fn last_number(&self) -> Result<i64, TrailError> {
        self.read(&self.questions, last_number).await
    }

    /// The number of the last event before `since`, as far as the clock was not set back; 0 if there is none.
    ///
    /// # Errors
    /// [`TrailError`].
    pub async fn last_before(&self, since: Timestamp) -> Result<i64, TrailError> {
        self.read(&self.questions, move |reader| {
            // The events have no index on their time, but their numbers have no gaps.
            let (mut before, mut from) = (0, last_number(reader)?.saturating_add(1));
            while before + 1 < from {
                let middle = before + (from - before) / 2;
                let mut statement = reader.prepare_cached("SELECT line FROM events WHERE seq = ?1")?;
                let line: String = statement.query_row([middle], |row| row.get(0))?;
                if parse(&line)?.fact.at < since { before = middle } else { from = middle }
            }
            Ok(before)
        })
        .await
    }
}

fn last_number(connection: &Connection) -> Result<i64, Fault> {
    Ok(connection.query_row("SELECT coalesce(max(seq), 0) FROM events", [], |row| row.get(0))?)
}

fn facts_after(connection: &Connection, after: i64, folded: &mut Folded) -> Result<Vec<Told>, Fault> {
    let (mut told, mut bytes) = (Vec::new(), 0);
    let mut statement = connection.prepare_cached(LINES_AFTER)?;
    let mut rows = statement.query([after])?;
    while bytes <= PART
        && let Some(row) = rows.next()?
    {
        let number: i64 = row.get(0)?;
        let line = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
        bytes += line.len();
        let damaged = |why: String| Fault::Damaged { seq: number, why };
        let fact = parse(line).map_err(|fault| damaged(fault.to_string()))?.fact;
        let grant = match &fact.grant {
            None => None,
            Some(id) => {
                let grant = match (folded.0.remove(id), &fact.event) {
                    (_, Event::Requested(_)) => Grant::begin(&fact).map_err(|error| damaged(error.to_string()))?,
                    (Some(grant), _) => grant.apply(&fact).map_err(|error| damaged(error.to_string()))?,
                    (None, _) => fold_until(connection, id.as_str(), number)?.grant,
                };
                if !grant.is_over() {
                    if folded.0.len() >= KEPT {
                        folded.0.clear();
                    }
                    folded.0.insert(id.clone(), grant.clone());
                }
                Some(grant)
            }
        };
        let shown = match (&fact.event, &grant) {
            (Event::Requested(requested), _) => Some(requested.shown.clone()),
            (Event::Narrowed(narrowed), _) => Some(narrowed.shown.clone()),
            (Event::Reassessed(reassessed), _) => Some(reassessed.shown.clone()),
            (_, Some(grant)) if grant.waits_for_somebody() => shown_until(connection, grant.id.as_str(), number)?,
            _ => None,
        };
        told.push(Told { number, fact, grant, shown });
    }
    Ok(told)
}
