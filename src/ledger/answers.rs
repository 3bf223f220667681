//! Answers that come from the trail: grants that are over, lines, and counts over time.
//!
//! It records nothing. `broker` and `api` call it.

use jiff::Timestamp;

use super::{Ledger, LedgerError};
use crate::grant::request::{KeyHash, PersonName};
use crate::grant::{Filter, Grant, GrantId, LogHead, LogHistory, Shown};
use crate::rbac::ResolvedRole;
use crate::trail::{Folded, Open, Page, Told};

impl Ledger {
    /// The grant of this id, even if it is over; none if nobody ever requested it.
    ///
    /// # Errors
    /// [`LedgerError::Trail`].
    pub async fn any(&self, id: &GrantId) -> Result<Option<Grant>, LedgerError> {
        Ok(self.trail.grant(id).await?.map(|open| open.grant))
    }

    /// What approvers of a grant are shown in addition to the request.
    ///
    /// # Errors
    /// [`LedgerError::Trail`].
    pub async fn shown_of(&self, id: &GrantId) -> Result<Option<Shown>, LedgerError> {
        Ok(self.trail.shown_of(id).await?)
    }

    /// The facts after event `after`, see [`Trail::facts_after`](crate::trail::Trail::facts_after).
    ///
    /// # Errors
    /// [`LedgerError::Trail`].
    pub async fn facts_after(&self, after: i64, folded: Folded) -> Result<(Vec<Told>, Folded), LedgerError> {
        Ok(self.trail.facts_after(after, folded).await?)
    }

    /// The number of the last event; 0 if there is none.
    ///
    /// # Errors
    /// [`LedgerError::Trail`].
    pub async fn last_number(&self) -> Result<i64, LedgerError> {
        Ok(self.trail.last_number().await?)
    }

    /// The number of the last event before `since`; 0 if there is none.
    ///
    /// # Errors
    /// [`LedgerError::Trail`].
    pub async fn last_before(&self, since: Timestamp) -> Result<i64, LedgerError> {
        Ok(self.trail.last_before(since).await?)
    }

    /// What the trail has about the log of a grant, see [`Trail::log_of`](crate::trail::Trail::log_of).
    ///
    /// # Errors
    /// [`LedgerError::Trail`].
    pub async fn log_of(&self, id: &GrantId) -> Result<Option<(LogHistory, i64)>, LedgerError> {
        Ok(self.trail.log_of(id).await?)
    }

    /// Where the gateway's log of a grant stood, oldest first, see [`Trail::log_heads_of`](crate::trail::Trail::log_heads_of).
    ///
    /// # Errors
    /// [`LedgerError::Trail`].
    pub async fn log_heads_of(&self, id: &GrantId) -> Result<Vec<LogHead>, LedgerError> {
        Ok(self.trail.log_heads_of(id).await?)
    }

    /// When the gateway deleted what it kept of a grant; none if it did not.
    ///
    /// # Errors
    /// [`LedgerError::Trail`].
    pub async fn deletion_of(&self, id: &GrantId) -> Result<Option<Timestamp>, LedgerError> {
        Ok(self.trail.deletion_of(id).await?)
    }

    /// A grant as the trail records it, even if it is over, with the number of its last event; none if nobody ever requested
    /// it.
    ///
    /// # Errors
    /// [`LedgerError::Trail`].
    pub async fn recorded(&self, id: &GrantId) -> Result<Option<(Grant, i64)>, LedgerError> {
        Ok(self.trail.grant(id).await?.map(|Open { grant, last }| (grant, last)))
    }

    /// The newest lines of the trail about a grant, see [`Trail::lines_of`](crate::trail::Trail::lines_of).
    ///
    /// # Errors
    /// [`LedgerError::Trail`].
    pub async fn lines_of(
        &self,
        id: &GrantId,
        before: Option<i64>,
        limit: usize,
    ) -> Result<(Vec<String>, bool), LedgerError> {
        Ok(self.trail.lines_of(id, before, limit).await?)
    }

    /// The newest lines of the trail that `filter` selects, see [`Trail::lines_before`](crate::trail::Trail::lines_before).
    ///
    /// # Errors
    /// [`LedgerError::Trail`].
    pub async fn lines_before(
        &self,
        filter: &Filter,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Page<String>, LedgerError> {
        Ok(self.trail.lines_before(filter, before, limit).await?)
    }

    /// The lines of the trail after event `after`, see [`Trail::lines_after`](crate::trail::Trail::lines_after).
    ///
    /// # Errors
    /// [`LedgerError::Trail`].
    pub async fn lines_after(&self, after: i64) -> Result<Page<String>, LedgerError> {
        Ok(self.trail.lines_after(after).await?)
    }

    /// The number of the person's requests since `since`, counted up to `most`.
    ///
    /// # Errors
    /// [`LedgerError::Trail`].
    pub async fn asked_since(&self, person: &PersonName, since: Timestamp, most: u32) -> Result<u32, LedgerError> {
        Ok(self.trail.asked_since(person, since, most).await?)
    }

    /// The person's requests since `since` that were denied, each with the role that was denied.
    ///
    /// # Errors
    /// [`LedgerError::Trail`].
    pub async fn denied_since(
        &self,
        person: &PersonName,
        since: Timestamp,
    ) -> Result<Vec<(Grant, ResolvedRole)>, LedgerError> {
        Ok(self.trail.denied_since(person, since).await?)
    }

    /// Whether anybody but `person` made a request with this key.
    ///
    /// # Errors
    /// [`LedgerError::Trail`].
    pub async fn is_key_of_another(&self, key: &KeyHash, person: &PersonName) -> Result<bool, LedgerError> {
        Ok(self.trail.is_key_of_another(key, person).await?)
    }
}
