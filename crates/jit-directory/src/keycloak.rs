//! Keycloak's admin REST API, as a service account with `view-users` of the realm's `realm-management` sees it.
//!
//! `GET users/ID` has `enabled`; `GET users/ID/groups` has the `path` of each group that the person is in directly, as the
//! mapper of the claim has it. A person who does not exist is a 404 with the error "User not found"; a realm that does not
//! exist is another 404, and none of a person.

use std::collections::BTreeSet;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::session::{Answer, Sent, Session};
use super::{DirectoryError, Found};

/// The groups of one page, and how many are read.
const PAGE: usize = 100;
const MOST: usize = 10 * PAGE;

/// A subject of Keycloak is an id of at most 255 characters.
const LONGEST_ID: usize = 255;

/// What is encoded in a path: all but the unreserved characters (RFC 3986 section 2.3). Keycloak answers 400 to a path that
/// encodes those.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

#[derive(Deserialize)]
struct User {
    id: String,
    enabled: bool,
}

#[derive(Deserialize)]
struct Group {
    path: String,
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
}

pub(crate) async fn ask(session: &Session, subject: &str) -> Result<Found, DirectoryError> {
    // A path of dots would be another path.
    if subject.is_empty() || subject.len() > LONGEST_ID || subject.bytes().all(|byte| byte == b'.') {
        return Err(DirectoryError::Subject);
    }
    let id = utf8_percent_encode(subject, ENCODED);
    let answer = session.answer(&format!("/users/{id}"), &Sent::Get).await?;
    if answer.is_not_found() {
        return gone(&answer);
    }
    let user: User = answer.parsed()?;
    if user.id != subject {
        return Err(answer.odd("is about another person"));
    }
    if !user.enabled {
        return Ok(Found::Disabled);
    }
    let (mut groups, mut first) = (BTreeSet::new(), 0);
    loop {
        let path = format!("/users/{id}/groups?briefRepresentation=true&first={first}&max={PAGE}");
        let answer = session.answer(&path, &Sent::Get).await?;
        if answer.is_not_found() {
            return gone(&answer);
        }
        let found: Vec<Group> = answer.parsed()?;
        groups.extend(found.iter().filter_map(|group| session.rule.groups.get(&group.path)).cloned());
        if found.len() < PAGE {
            return Ok(Found::Present(groups));
        }
        first += PAGE;
        if first == MOST {
            return Err(answer.odd("never ends: nobody is in so many groups"));
        }
    }
}

fn gone(answer: &Answer) -> Result<Found, DirectoryError> {
    match answer.parsed::<Refusal>() {
        Ok(refusal) if refusal.error == "User not found" => Ok(Found::Gone),
        _ => Err(answer.not_found()),
    }
}
