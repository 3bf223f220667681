//! The end of what the gateway kept: deleted some time after a grant is over, where the guardrails say when.
//!
//! ```text
//!  daemon, each minute ─► for each folder: over for longer than `keepSessions`?
//!                           └─► SessionsDeletionIntended ─► feed ─► the gateway deletes ─► SessionsDeleted
//! ```
//! The gateway deletes, because the files are its own. What it reports is what it says. If it does not answer, the folder is
//! found again an hour later; if it answered and the daemon was killed, the intent is all that the trail has.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::{Broker, BrokerError};
use crate::gateway::Deleted;
use crate::grant::request::after;
use crate::grant::{Author, Event, GrantId};

/// How long after a deletion that the gateway did not carry out the next one is intended: each intent is an event.
const AGAIN_AFTER: Duration = Duration::from_secs(3600);

/// What is known of the grants that have a folder.
#[derive(Default)]
pub struct Ends {
    /// When they ended: the trail is not asked again for those that are kept. None was never live, or is nobody's.
    ended: HashMap<GrantId, Option<Timestamp>>,
    /// When the gateway did not delete them.
    failed: HashMap<GrantId, Instant>,
}

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
        let there: HashSet<&GrantId> = folders.iter().collect();
        ends.ended.retain(|grant, _| there.contains(grant));
        ends.failed.retain(|grant, since| there.contains(grant) && since.elapsed() < AGAIN_AFTER);
        for grant in folders {
            // It is asked each time, because a reload takes effect at once.
            let Some(keep) = self.policy().keeps_sessions() else { return Ok(deleted) };
            if deleted >= most || !self.gateway.is_connected() {
                break;
            }
            if ends.failed.contains_key(grant) {
                continue;
            }
            let ended = match ends.ended.get(grant) {
                // What is live is not asked of the trail, and may end before the next call.
                None if self.ledger.open_grant(grant).is_some() => None,
                Some(ended) => *ended,
                None => {
                    let found = self.ledger.any(grant).await?;
                    let ended =
                        found.filter(|grant| grant.is_over()).and_then(|grant| grant.live_at.and(grant.ended_at));
                    ends.ended.insert(grant.clone(), ended);
                    ended
                }
            };
            if ended.is_some_and(|ended| after(ended, keep.duration()) <= self.ledger.now()) {
                let intended = Event::SessionsDeletionIntended { keep: keep.to_string() };
                self.record_about(grant, &Author::Daemon, &intended).await?;
                let Some(Deleted { files, bytes, log }) = self.gateway.delete(grant).await else {
                    tracing::warn!(%grant, "the gateway did not delete what it kept; this is tried again in an hour");
                    ends.failed.insert(grant.clone(), Instant::now());
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
