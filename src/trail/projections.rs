//! The tables that find events, kept in step with them.
//!
//! The writer calls [`project`] for each fact that it inserts, in the same transaction. The layout calls it to make the
//! tables of an earlier trail anew, and `verify` to make them beside the trail and compare. It must never know more than
//! the facts say.

use rusqlite::{Connection, OptionalExtension, params};

use super::Fault;
use super::sqlite::write_one;
use crate::grant::{Event, Fact, Grant, GrantId};

/// Keeps the tables in step. `over` is the grant that the fact ends.
pub(super) fn project(connection: &Connection, seq: i64, fact: &Fact, over: Option<&Grant>) -> Result<(), Fault> {
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
    let opens_or_closes = match &fact.event {
        Event::Denied { .. } | Event::Withdrawn | Event::Lapsed { .. } | Event::Ended { .. } => {
            "UPDATE grants SET open = open & ~1 WHERE id = ?1"
        }
        Event::GlassBroken { .. } => "UPDATE grants SET open = open | 2 WHERE id = ?1",
        Event::Reviewed { closes: true, .. } => "UPDATE grants SET open = open & ~2 WHERE id = ?1",
        _ => return Ok(()),
    };
    write_one(connection, opens_or_closes, [grant])?;
    over.map_or(Ok(()), |over| keep(connection, over))
}

/// Keeps what a grant is that is over.
pub(super) fn keep(connection: &Connection, over: &Grant) -> Result<(), Fault> {
    let made = serde_json::to_string(over).map_err(|error| Fault::System(error.to_string()))?;
    let insert = "INSERT INTO closed (seq, made) SELECT seq, ?2 FROM grants WHERE id = ?1";
    write_one(connection, insert, params![over.id.as_str(), made])
}

/// Whether a fact may be the last one about a grant.
pub(super) fn may_close(event: &Event) -> bool {
    matches!(
        event,
        Event::Denied { .. }
            | Event::Withdrawn
            | Event::Lapsed { .. }
            | Event::Ended { .. }
            | Event::Reviewed { closes: true, .. }
    )
}

/// Number of a grant's last event; none when there is no such grant.
pub(super) fn last_of(connection: &Connection, grant: &GrantId) -> Result<Option<i64>, Fault> {
    let mut statement = connection.prepare_cached("SELECT last FROM grants WHERE id = ?1")?;
    Ok(statement.query_row([grant.as_str()], |row| row.get(0)).optional()?)
}
