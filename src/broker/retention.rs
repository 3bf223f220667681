//! The end of what the gateway kept: deleted some time after a grant is over, where the guardrails say when.
//!
//! ```text
//!  daemon, each minute ─► for each folder: over for longer than `keepSessions`?
//!                           └─► SessionsDeletionIntended ─► feed ─► the gateway deletes ─► SessionsDeleted
//! ```
//! The gateway deletes, because the files are its own. What it reports is what it says. If it does not answer, the folder is
//! found again in a later round; if it answered and the daemon was killed, the intent is all that the trail has.

use std::collections::HashMap;

use jiff::Timestamp;

use super::{Broker, BrokerError};
use crate::gateway::Deleted;
use crate::grant::request::after;
use crate::grant::{Author, Event, GrantId};

/// When the grants ended whose folders were looked at: the trail is not asked again for those that are kept.
#[derive(Default)]
pub struct Ends(HashMap<GrantId, Option<Timestamp>>);

impl Broker {
    /// Deletes what the gateway kept of these grants, if they are over for long enough and at most `most` of them. Returns how
    /// many were deleted. `ends` is for the next call.
    ///
    /// # Errors
    /// [`BrokerError::Ledger`]; then the rest is left for the next call.
    pub async fn delete_old_sessions(
        &self,
        folders: &[GrantId],
        most: usize,
        ends: &mut Ends,
    ) -> Result<usize, BrokerError> {
        let mut deleted = 0_usize;
        ends.0.retain(|grant, _| folders.contains(grant));
        for grant in folders {
            // It is asked each time, because a reload takes effect at once.
            let Some(keep) = self.policy().keeps_sessions() else { return Ok(deleted) };
            if deleted >= most || !self.gateway.is_connected() {
                break;
            }
            let ended = match ends.0.get(grant) {
                Some(Some(ended)) => Some(*ended),
                // Live, or of another daemon's trail: the book knows the first without a query.
                _ if self.ledger.open_grant(grant).is_some() => None,
                Some(None) => None,
                None => {
                    let found = self.ledger.any(grant).await?;
                    let ended =
                        found.filter(|grant| grant.is_over()).and_then(|grant| grant.live_at.and(grant.ended_at));
                    ends.0.insert(grant.clone(), ended);
                    ended
                }
            };
            if ended.is_some_and(|ended| after(ended, keep.duration()) <= self.ledger.now()) {
                let intended = Event::SessionsDeletionIntended { keep: keep.to_string() };
                self.record_about(grant, &Author::Daemon, &intended).await?;
                let Some(Deleted { files, bytes, log }) = self.gateway.delete(grant).await else {
                    tracing::warn!(%grant, "the gateway did not delete what it kept; this is tried again");
                    continue;
                };
                self.record_about(grant, &Author::Daemon, &Event::SessionsDeleted { files, bytes, log }).await?;
                tracing::info!(%grant, files, bytes, "what the gateway kept of a grant was deleted");
                deleted = deleted.saturating_add(1);
            }
        }
        Ok(deleted)
    }
}
