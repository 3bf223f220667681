//! Finds and lists the grants that a person may see, in memory and in the trail.
//!
//! It records nothing. `api` and `broker` call it.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Bound::{Included, Unbounded};
use std::str::FromStr;
use std::sync::Arc;

use jiff::Timestamp;

use super::{Ledger, LedgerError};
use crate::grant::approval;
use crate::grant::request::Person;
use crate::grant::{Filter, Grant, GrantId};
use crate::trail::Page;

/// The position of a grant in the list of those that a person may see.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A grant that is over: the number of its request.
    Closed(i64),
    /// A grant that is open or owes a review: the time of its request, and its id.
    Open(Timestamp, GrantId),
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(seq) => write!(out, "closed-{seq}"),
            Self::Open(at, id) => write!(out, "open-{}-{id}", at.as_millisecond()),
        }
    }
}

impl FromStr for Place {
    type Err = NoPlace;

    fn from_str(text: &str) -> Result<Self, NoPlace> {
        let mut words = text.split('-');
        let place = match (words.next(), words.next(), words.next(), words.next()) {
            (Some("closed"), Some(seq), None, None) => seq.parse().ok().map(Self::Closed),
            (Some("open"), Some(at), Some(id), None) => at
                .parse()
                .ok()
                .and_then(|at| Timestamp::from_millisecond(at).ok())
                .zip(id.parse().ok())
                .map(|(at, id)| Self::Open(at, id)),
            _ => None,
        };
        place.ok_or(NoPlace)
    }
}

/// A text that is not a position in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not a position in a list; leave it out to begin at the first page")]
pub struct NoPlace;

impl Ledger {
    /// The grant that `text`, an id or the beginning of one, means for this person.
    ///
    /// # Errors
    /// [`LedgerError::NoSuchGrant`], also if the person may not see it; [`LedgerError::Ambiguous`].
    pub async fn find(&self, text: &str, person: &Person) -> Result<Arc<Grant>, LedgerError> {
        checked_beginning(text)?;
        let overseers = self.overseers();
        let overseers = &overseers.readers;
        let mut found: Vec<Arc<Grant>> = {
            let book = self.book();
            book.open
                .range::<str, _>((Included(text), Unbounded))
                .take_while(|(id, _)| id.as_str().starts_with(text))
                .map(|(_, open_grant)| open_grant.grant())
                .filter(|grant| approval::may_see(grant, person, overseers))
                .take(CANDIDATES)
                .collect()
        };
        if found.len() < CANDIDATES && !(found.len() == 1 && text.len() == GrantId::LENGTH) {
            let closed = self.trail.closed_beginning(person, overseers, text, CANDIDATES).await?;
            // A grant that ended between the two searches is in both.
            let known: Vec<GrantId> = found.iter().map(|grant| grant.id.clone()).collect();
            found.extend(closed.into_iter().filter(|grant| !known.contains(&grant.id)).map(Arc::new));
        }
        only(text, found, |grant| &grant.id)
    }

    /// The open grant that `text`, an id or the beginning of one, means for somebody who may see all grants.
    ///
    /// # Errors
    /// [`LedgerError::NoSuchGrant`], also if the grant is over; [`LedgerError::Ambiguous`].
    pub fn find_open(&self, text: &str) -> Result<GrantId, LedgerError> {
        checked_beginning(text)?;
        let found = self.open(|grant| grant.id.as_str().starts_with(text));
        only(text, found.iter().map(|open_grant| open_grant.grant().id.clone()).collect(), |id| id)
    }

    /// The grants that the person may see and `filter` selects, each with its position: first those that are open or owe a
    /// review, and with `all` also those that are over, each newest first. At most `limit` after `after`, and the position
    /// after which to continue. One call searches only a part of a long trail, so more can follow even if the result is
    /// empty.
    ///
    /// # Errors
    /// [`LedgerError::Trail`].
    pub async fn list(
        &self,
        person: &Person,
        all: bool,
        filter: &Filter,
        limit: usize,
        after: Option<&Place>,
    ) -> Result<Page<(Place, Arc<Grant>), Place>, LedgerError> {
        let overseers = self.overseers();
        let overseers = &overseers.readers;
        let mut listed: Vec<(Place, Arc<Grant>)> = match after {
            Some(Place::Closed(_)) => Vec::new(),
            after => {
                let book = self.book();
                let may_see = |grant: &Arc<Grant>| approval::may_see(grant, person, overseers);
                let placed = |grant: Arc<Grant>| (Place::Open(grant.requested_at, grant.id.clone()), grant);
                book.grants()
                    .filter(may_see)
                    .filter(|grant| filter.selects(grant))
                    .map(placed)
                    .filter(|(place, _)| after.is_none_or(|after| place < after))
                    .collect()
            }
        };
        listed.sort_unstable_by(|(one, _), (other, _)| other.cmp(one));
        if listed.len() > limit {
            listed.truncate(limit);
            let next = listed.last().map(|(place, _)| place.clone());
            return Ok((listed, next));
        }
        if !all {
            return Ok((listed, None));
        }
        let below = match after {
            Some(Place::Closed(seq)) => *seq,
            _ => i64::MAX,
        };
        let (closed, next) = self.trail.closed(person, overseers, filter, below, limit - listed.len()).await?;
        // One that was over between the two looks is found by both.
        let known: BTreeSet<GrantId> = listed.iter().map(|(_, grant)| grant.id.clone()).collect();
        let closed = closed.into_iter().filter(|(_, grant)| !known.contains(&grant.id));
        listed.extend(closed.map(|(seq, grant)| (Place::Closed(seq), Arc::new(grant))));
        Ok((listed, next.map(Place::Closed)))
    }
}

/// The maximum number of grants in the hint for an ambiguous id.
const CANDIDATES: usize = 5;

/// Whether `text` can be an id or the beginning of one.
fn checked_beginning(text: &str) -> Result<(), LedgerError> {
    let shown = || text.chars().take(20).flat_map(char::escape_default).collect();
    if GrantId::is_beginning(text) { Ok(()) } else { Err(LedgerError::NoSuchGrant(shown())) }
}

/// The only grant that was found for `text`.
fn only<T>(text: &str, mut found: Vec<T>, id: impl Fn(&T) -> &GrantId) -> Result<T, LedgerError> {
    if found.len() > 1 {
        let candidates = found.iter().take(CANDIDATES).map(|one| id(one).clone()).collect();
        return Err(LedgerError::Ambiguous { text: text.to_owned(), candidates });
    }
    found.pop().ok_or_else(|| LedgerError::NoSuchGrant(text.to_owned()))
}
