//! What is live: the grants that may be used, and cutting them.
//!
//! ```text
//!  feed: set, end, end_all ──► Live ──► its token is cancelled ──► every connection and tunnel of it is dropped
//!  listener: admit ───────────► Live.running: counted from a request's head to the end of its answer
//! ```
//! A connection takes its token under the same lock under which a grant ends, so that none slips in between.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jit_core::grant::request::ClusterName;
use jit_core::grant::{GrantId, SessionTerms};
use jit_wire::feed::LiveGrant;
use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;

/// Connections of one grant at a time, which must not take those of others. kubectl opens one, and one for each stream.
const CONNECTIONS: usize = 1024;

/// How long a connection waits for its grant to become known: the client may be quicker than the feed.
const KNOWN_WITHIN: Duration = Duration::from_secs(1);

/// How long an end waits until all its requests are gone.
const GONE_WITHIN: Duration = Duration::from_millis(500);

/// The grants that may be used now.
#[derive(Default)]
pub struct Grants {
    live: Mutex<HashMap<GrantId, Arc<Live>>>,
    /// A grant became live.
    added: Notify,
}

/// A live grant.
#[derive(Debug)]
pub struct Live {
    /// The grant.
    pub id: GrantId,
    /// The user in its certificates.
    pub user: String,
    /// Its cluster.
    pub cluster: ClusterName,
    /// What is kept of what is done through it.
    pub sessions: SessionTerms,
    until: Mutex<Timestamp>,
    ended: CancellationToken,
    running: watch::Sender<u32>,
    connections: Arc<Semaphore>,
}

/// A request that runs; it counts until this is dropped.
#[derive(Debug)]
pub struct Running(Arc<Live>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.send_modify(|running| *running = running.saturating_sub(1));
    }
}

impl Live {
    fn new(grant: LiveGrant) -> Self {
        Self {
            id: grant.id,
            user: grant.user,
            cluster: grant.cluster,
            sessions: grant.sessions,
            until: Mutex::new(grant.until),
            ended: CancellationToken::new(),
            running: watch::Sender::new(0),
            connections: Arc::new(Semaphore::new(CONNECTIONS)),
        }
    }

    fn is(&self, grant: &LiveGrant) -> bool {
        (&self.user, &self.cluster, &self.sessions) == (&grant.user, &grant.cluster, &grant.sessions)
    }

    /// Cancelled when the grant ends.
    #[must_use]
    pub fn ended(&self) -> &CancellationToken {
        &self.ended
    }

    /// A place for one more connection, which is free again when it is dropped; `None` if the grant has too many.
    #[must_use]
    pub fn connect(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.connections).try_acquire_owned().ok()
    }

    /// Counts a request.
    #[must_use]
    pub fn run(self: &Arc<Self>) -> Running {
        self.running.send_modify(|running| *running = running.saturating_add(1));
        Running(Arc::clone(self))
    }

    /// Ends everything of the grant. Returns how many requests were running, after they are gone.
    async fn cut(&self) -> u32 {
        let running = *self.running.borrow();
        self.ended.cancel();
        let mut left = self.running.subscribe();
        // Whatever does not go within this time has lost its token all the same.
        let _ = tokio::time::timeout(GONE_WITHIN, left.wait_for(|left| *left == 0)).await;
        running
    }
}

impl Grants {
    /// The live grant of this id, after a moment if it is not known yet.
    pub async fn admit(&self, id: &GrantId) -> Option<Arc<Live>> {
        let known = async {
            loop {
                let added = self.added.notified();
                if let Some(live) = self.live.lock().get(id) {
                    return Arc::clone(live);
                }
                added.await;
            }
        };
        tokio::time::timeout(KNOWN_WITHIN, known).await.ok()
    }

    /// A grant is live, or its window has another end.
    pub fn set(&self, grant: LiveGrant) {
        let mut live = self.live.lock();
        match live.get(&grant.id) {
            Some(known) if known.is(&grant) => {
                *known.until.lock() = grant.until;
            }
            // Never the same grant: holder, cluster and terms of one do not change.
            Some(other) => other.ended.cancel(),
            None => {
                live.insert(grant.id.clone(), Arc::new(Live::new(grant)));
            }
        }
        drop(live);
        self.added.notify_waiters();
    }

    /// Exactly these grants are live; everything else ends.
    pub fn replace(&self, grants: Vec<LiveGrant>) {
        self.live.lock().retain(|id, live| {
            let stays = grants.iter().any(|grant| grant.id == *id);
            if !stays {
                tracing::info!(grant = %id, "cut: the daemon does not know it as live");
                live.ended.cancel();
            }
            stays
        });
        for grant in grants {
            self.set(grant);
        }
    }

    /// Ends a grant. Returns how many requests were running; none of a grant that is not known.
    pub async fn end(&self, id: &GrantId) -> u32 {
        let Some(live) = self.live.lock().remove(id) else { return 0 };
        let streams = live.cut().await;
        tracing::info!(grant = %id, streams, "cut");
        streams
    }

    /// Ends the grants whose window is over. The daemon ends them at the same time; this holds without it too.
    pub fn end_due(&self, now: Timestamp) {
        self.live.lock().retain(|id, live| {
            let stays = *live.until.lock() > now;
            if !stays {
                tracing::info!(grant = %id, "cut: its window is over");
                live.ended.cancel();
            }
            stays
        });
    }

    /// Whether a grant may be used now.
    #[must_use]
    pub fn is_live(&self, id: &GrantId) -> bool {
        self.live.lock().contains_key(id)
    }

    /// Ends everything. Returns how many grants there were.
    pub fn end_all(&self) -> usize {
        let ended = std::mem::take(&mut *self.live.lock());
        ended.values().for_each(|live| live.ended.cancel());
        ended.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(byte: u8, until: &str) -> LiveGrant {
        LiveGrant {
            id: GrantId::from_random([byte; 10]),
            user: "jit:alice".to_owned(),
            cluster: "managed".parse().unwrap(),
            until: until.parse().unwrap(),
            sessions: SessionTerms::default(),
        }
    }

    #[tokio::test]
    async fn an_end_cuts_its_grant_and_no_other() {
        let grants = Grants::default();
        let (one, other) = (grant(1, "2026-01-01T00:00:00Z"), grant(2, "2026-01-01T00:00:00Z"));
        grants.replace(vec![one.clone(), other.clone()]);
        let (first, second) = (grants.admit(&one.id).await.unwrap(), grants.admit(&other.id).await.unwrap());
        let running = first.run();
        let ended = tokio::spawn({
            let live = Arc::clone(&first);
            async move {
                live.ended().cancelled().await;
                drop(running);
            }
        });
        assert_eq!(grants.end(&one.id).await, 1);
        ended.await.unwrap();
        assert!(first.ended().is_cancelled() && !second.ended().is_cancelled());
        assert_eq!(grants.end(&one.id).await, 0);
    }

    #[tokio::test]
    async fn a_snapshot_ends_what_it_does_not_have() {
        let grants = Grants::default();
        let (one, other) = (grant(1, "2026-01-01T00:00:00Z"), grant(2, "2026-01-01T00:00:00Z"));
        grants.replace(vec![one.clone(), other.clone()]);
        let (first, second) = (grants.admit(&one.id).await.unwrap(), grants.admit(&other.id).await.unwrap());
        grants.replace(vec![other.clone()]);
        assert!(first.ended().is_cancelled() && !second.ended().is_cancelled());
        assert!(grants.admit(&one.id).await.is_none());
        assert_eq!(grants.end_all(), 1);
        assert!(second.ended().is_cancelled());
    }

    #[tokio::test]
    async fn a_grant_has_a_limit_of_its_own() {
        let grants = Grants::default();
        let (one, other) = (grant(1, "2026-01-01T00:00:00Z"), grant(2, "2026-01-01T00:00:00Z"));
        grants.replace(vec![one.clone(), other.clone()]);
        let (first, second) = (grants.admit(&one.id).await.unwrap(), grants.admit(&other.id).await.unwrap());
        let mut places: Vec<_> = std::iter::from_fn(|| first.connect()).collect();
        assert_eq!(places.len(), CONNECTIONS);
        assert!(first.connect().is_none() && second.connect().is_some());
        places.pop();
        assert!(first.connect().is_some());
    }

    #[tokio::test]
    async fn a_window_ends_without_the_daemon() {
        let grants = Grants::default();
        let one = grant(1, "2026-01-01T00:00:00Z");
        grants.set(one.clone());
        let live = grants.admit(&one.id).await.unwrap();
        grants.set(LiveGrant { until: "2026-01-01T00:10:00Z".parse().unwrap(), ..one });
        grants.end_due("2026-01-01T00:05:00Z".parse().unwrap());
        assert!(!live.ended().is_cancelled(), "it was extended");
        grants.end_due("2026-01-01T00:10:00Z".parse().unwrap());
        assert!(live.ended().is_cancelled());
    }

    #[tokio::test]
    async fn a_connection_waits_a_moment_for_its_grant() {
        let grants = Arc::new(Grants::default());
        let one = grant(1, "2026-01-01T00:00:00Z");
        let waiting = tokio::spawn({
            let (grants, id) = (Arc::clone(&grants), one.id.clone());
            async move { grants.admit(&id).await.is_some() }
        });
        tokio::task::yield_now().await;
        grants.set(one);
        assert!(waiting.await.unwrap());
    }
}
