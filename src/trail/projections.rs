//! The tables for searching, kept consistent with the events.
//!
//! The writer calls [`project`] for each fact that it inserts, in the same transaction. The layout calls it to rebuild the
//! tables of an earlier trail, and `verify` to build them in a temporary database and compare. The tables must never contain
//! more than the facts say.

use std::borrow::Cow;
use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, params};

use super::Fault;
use super::sqlite::write_one;
use crate::grant::{Event, Fact, Grant, GrantId, InvalidTransition};

/// Applies a fact to the grants that are not over, and returns the grant if the fact ends it.
///
/// # Errors
/// The fact may not follow; then the grant is no longer in `open`.
pub(super) fn follow(
    open: &mut HashMap<GrantId, Grant>,
    id: &GrantId,
    fact: &Fact,
) -> Result<Option<Grant>, InvalidTransition> {
    let next = match open.remove(id) {
        Some(grant) => grant.apply(fact)?,
        None => Grant::begin(fact)?,
    };
    if next.is_over() {
        return Ok(Some(next));
    }
    open.insert(id.clone(), next);
    Ok(None)
}

/// Updates the tables for a fact. Calls `over` after a fact that can end its grant; it returns the grant if it is over.
pub(super) fn project<'a>(
    connection: &Connection,
    seq: i64,
    fact: &Fact,
    over: impl FnOnce() -> Option<Cow<'a, Grant>>,
) -> Result<(), Fault> {
    let Some(grant) = fact.grant.as_ref().map(GrantId::as_str) else { return Ok(()) };
    if let Event::Requested(requested) = &fact.event {
        let requester = fact.by().map_or("", |person| person.as_str());
        write_one(
            connection,
            "INSERT INTO grants (id, seq, requester, key, at, open, last) VALUES (?1, ?2, ?3, ?4, ?5, 1, ?2)",
            params![grant, seq, requester, requested.key.as_str(), fact.at.as_millisecond()],
        )?;
        return requested.terms.watchers().into_iter().try_for_each(|watcher| {
            write_one(connection, "INSERT INTO watchers (watcher, seq) VALUES (?1, ?2)", params![watcher, seq])
        });
    }
    let link = "INSERT INTO links (seq, before) SELECT ?2, last FROM grants WHERE id = ?1";
    write_one(connection, link, params![grant, seq])?;
    write_one(connection, "UPDATE grants SET last = ?2 WHERE id = ?1", params![grant, seq])?;
    let closes = match &fact.event {
        Event::Denied { .. } | Event::Withdrawn | Event::Lapsed { .. } | Event::Ended { .. } => {
            "UPDATE grants SET open = open & ~1 WHERE id = ?1"
        }
        Event::GlassBroken { .. } => {
            return write_one(connection, "UPDATE grants SET open = open | 2 WHERE id = ?1", [grant]);
        }
        Event::Reviewed { closes: true, .. } => "UPDATE grants SET open = open & ~2 WHERE id = ?1",
        _ => return Ok(()),
    };
    write_one(connection, closes, [grant])?;
    over().map_or(Ok(()), |over| keep(connection, &over))
}

/// Stores a grant that is over.
fn keep(connection: &Connection, over: &Grant) -> Result<(), Fault> {
    let made = serde_json::to_string(over).map_err(|error| Fault::System(error.to_string()))?;
    let insert = "INSERT INTO closed (seq, made) SELECT seq, ?2 FROM grants WHERE id = ?1";
    write_one(connection, insert, params![over.id.as_str(), made])
}

/// Number of a grant's last event; none if there is no such grant.
pub(super) fn last_of(connection: &Connection, grant: &GrantId) -> Result<Option<i64>, Fault> {
    let mut statement = connection.prepare_cached("SELECT last FROM grants WHERE id = ?1")?;
    Ok(statement.query_row([grant.as_str()], |row| row.get(0)).optional()?)
}
