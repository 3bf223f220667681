//! What is live: the grants that may be used, and cutting them.
//!
//! ```text
//!  feed: set, end, end_all ──► Live ──► its token is cancelled ──► every connection and tunnel of it is dropped
//!  listener: admit ───────────► Live.running: counted from a request's head to the end of its answer
//! ```
//! A connection takes its token under the same lock under which a grant ends, so that none slips in between.
//!
//! A window ends by the host's clock or by the time that has passed, whichever comes first: a clock that is set back
//! lengthens no window. So a grant whose window is over is kept here, ended, until the daemon says that it ended too.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use jit_core::grant::request::ClusterName;
use jit_core::grant::{GrantId, SessionTerms};
use jit_wire::feed::LiveGrant;
use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, SemaphorePermit, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::upstream::Routes;

/// Connections of one grant at a time, which must not take those of others. kubectl opens one, and one for each stream.
const CONNECTIONS: usize = 1024;

/// Bodies of one grant that are read into memory at a time, of at most 1 MiB each.
const BODIES: usize = 8;

/// How long a connection waits for its grant to become known: the client may be quicker than the feed.
const KNOWN_WITHIN: Duration = Duration::from_secs(1);

/// How long an end waits until all its requests are gone.
const GONE_WITHIN: Duration = Duration::from_millis(500);

/// The grants that may be used now, and those that were cut while the daemon has them as live.
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
    /// What is kept of what is done through it, and what is refused.
    pub sessions: SessionTerms,
    /// When the gateway heard of it.
    pub(crate) since: Instant,
    window: Mutex<Window>,
    ended: CancellationToken,
    running: watch::Sender<u32>,
    connections: Arc<Semaphore>,
    bodies: Semaphore,
    /// What its connections of HTTP/1.1 share.
    pub(crate) routes: Routes,
}

/// When a window ends, by both clocks.
#[derive(Clone, Copy, Debug)]
struct Window {
    until: Timestamp,
    at: Instant,
}

impl Window {
    /// One that ends at `until`, if the host's clock is right.
    fn new(until: Timestamp, now: Timestamp) -> Self {
        Self { until, at: after(Instant::now(), until.duration_since(now)) }
    }

    /// The same with another end. The time that it gains is the difference of the ends, whatever the clock says now.
    fn moved(self, until: Timestamp, now: Timestamp) -> Self {
        let new = Self::new(until, now);
        Self { at: new.at.min(after(self.at, until.duration_since(self.until))), ..new }
    }

    fn is_over(self, now: Timestamp) -> bool {
        self.until <= now || self.at <= Instant::now()
    }
}

/// So long after `from`, or before it; at most a year, because an instant may not lie centuries ahead.
fn after(from: Instant, span: SignedDuration) -> Instant {
    let time = span.unsigned_abs().min(Duration::from_secs(365 * 86_400));
    let moved = if span.is_negative() { from.checked_sub(time) } else { from.checked_add(time) };
    moved.unwrap_or(from)
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
    fn new(grant: LiveGrant, window: Window) -> Self {
        Self {
            id: grant.id,
            user: grant.user,
            cluster: grant.cluster,
            sessions: grant.sessions,
            since: Instant::now(),
            window: Mutex::new(window),
            ended: CancellationToken::new(),
            running: watch::Sender::new(0),
            connections: Arc::new(Semaphore::new(CONNECTIONS)),
            bodies: Semaphore::new(BODIES),
            routes: Routes::default(),
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

    /// A turn to read a body into memory, after those that the grant is reading already.
    pub(crate) async fn turn_to_read(&self) -> Option<SemaphorePermit<'_>> {
        // The semaphore is never closed.
        self.bodies.acquire().await.ok()
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
                if let Some(live) = self.live.lock().get(id).filter(|live| !live.ended.is_cancelled()) {
                    return Arc::clone(live);
                }
                added.await;
            }
        };
        tokio::time::timeout(KNOWN_WITHIN, known).await.ok()
    }

    /// A grant is live, or its window has another end.
    pub fn set(&self, grant: LiveGrant, now: Timestamp) {
        let mut live = self.live.lock();
        let known = live.get(&grant.id);
        // Never the same grant: holder, cluster and terms of one do not change.
        if let Some(other) = known.filter(|known| !known.is(&grant)) {
            other.ended.cancel();
            return;
        }
        let window = match known {
            Some(known) => known.window.lock().moved(grant.until, now),
            None => Window::new(grant.until, now),
        };
        match known.filter(|known| !known.ended.is_cancelled()) {
            Some(known) => *known.window.lock() = window,
            None => {
                let id = grant.id.clone();
                let new = Live::new(grant, window);
                if window.is_over(now) {
                    new.ended.cancel();
                }
                live.insert(id, Arc::new(new));
            }
        }
        drop(live);
        self.added.notify_waiters();
    }

    /// Exactly these grants are live; everything else ends.
    pub fn replace(&self, grants: Vec<LiveGrant>, now: Timestamp) {
        self.live.lock().retain(|id, live| {
            let stays = grants.iter().any(|grant| grant.id == *id);
            if !stays && !live.ended.is_cancelled() {
                tracing::info!(grant = %id, "cut: the daemon does not know it as live");
                live.ended.cancel();
            }
            stays
        });
        for grant in grants {
            self.set(grant, now);
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
        for live in self.live.lock().values() {
            if !live.ended.is_cancelled() && live.window.lock().is_over(now) {
                tracing::info!(grant = %live.id, "cut: its window is over");
                live.ended.cancel();
            }
        }
    }

    /// Whether a grant may be used now.
    #[must_use]
    pub fn is_live(&self, id: &GrantId) -> bool {
        self.live.lock().get(id).is_some_and(|live| !live.ended.is_cancelled())
    }

    /// Ends everything, until the daemon says again what is live. Returns how many grants there were.
    pub fn end_all(&self) -> usize {
        let live = self.live.lock();
        let ended = live.values().filter(|live| !live.ended.is_cancelled());
        ended.map(|live| live.ended.cancel()).count()
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

    /// Ten minutes before the windows of these tests end.
    fn early() -> Timestamp {
        "2025-12-31T23:50:00Z".parse().unwrap()
    }

    #[tokio::test]
    async fn an_end_cuts_its_grant_and_no_other() {
        let grants = Grants::default();
        let (one, other) = (grant(1, "2026-01-01T00:00:00Z"), grant(2, "2026-01-01T00:00:00Z"));
        grants.replace(vec![one.clone(), other.clone()], early());
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
        grants.replace(vec![one.clone(), other.clone()], early());
        let (first, second) = (grants.admit(&one.id).await.unwrap(), grants.admit(&other.id).await.unwrap());
        grants.replace(vec![other.clone()], early());
        assert!(first.ended().is_cancelled() && !second.ended().is_cancelled());
        assert!(grants.admit(&one.id).await.is_none());
        assert_eq!(grants.end_all(), 1);
        assert!(second.ended().is_cancelled());
    }

    #[tokio::test]
    async fn a_grant_has_a_limit_of_its_own() {
        let grants = Grants::default();
        let (one, other) = (grant(1, "2026-01-01T00:00:00Z"), grant(2, "2026-01-01T00:00:00Z"));
        grants.replace(vec![one.clone(), other.clone()], early());
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
        grants.set(one.clone(), early());
        let live = grants.admit(&one.id).await.unwrap();
        grants.set(LiveGrant { until: "2026-01-01T00:10:00Z".parse().unwrap(), ..one }, early());
        grants.end_due("2026-01-01T00:05:00Z".parse().unwrap());
        assert!(!live.ended().is_cancelled(), "it was extended");
        grants.end_due("2026-01-01T00:10:00Z".parse().unwrap());
        assert!(live.ended().is_cancelled());
    }

    /// Whatever the host's clock says, and also if the daemon says again that the grant is live.
    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_back_lengthens_no_window() {
        let grants = Grants::default();
        let one = grant(1, "2026-01-01T00:00:00Z");
        let back: Timestamp = "2025-12-31T00:00:00Z".parse().unwrap();
        grants.set(one.clone(), early());
        let live = grants.admit(&one.id).await.unwrap();
        tokio::time::advance(Duration::from_secs(599)).await;
        grants.end_due(back);
        assert!(!live.ended().is_cancelled());
        tokio::time::advance(Duration::from_secs(1)).await;
        grants.end_due(back);
        assert!(live.ended().is_cancelled(), "ten minutes have passed");
        grants.set(one.clone(), back);
        grants.replace(vec![one.clone()], back);
        assert!(grants.admit(&one.id).await.is_none());
        // An extension lasts as long as the daemon says.
        let longer = LiveGrant { until: "2026-01-01T00:05:00Z".parse().unwrap(), ..one.clone() };
        grants.replace(vec![longer], back);
        let live = grants.admit(&one.id).await.unwrap();
        tokio::time::advance(Duration::from_secs(298)).await;
        grants.end_due(back);
        assert!(!live.ended().is_cancelled());
        tokio::time::advance(Duration::from_secs(2)).await;
        grants.end_due(back);
        assert!(live.ended().is_cancelled());
    }

    /// What the silence of the daemon ended is live again when the daemon says so, for what is left of its window.
    #[tokio::test(start_paused = true)]
    async fn what_silence_ended_may_be_used_again() {
        let grants = Grants::default();
        let one = grant(1, "2026-01-01T00:00:00Z");
        grants.set(one.clone(), early());
        assert_eq!((grants.end_all(), grants.end_all()), (1, 0));
        assert!(grants.admit(&one.id).await.is_none());
        grants.replace(vec![one.clone()], early());
        let live = grants.admit(&one.id).await.unwrap();
        tokio::time::advance(Duration::from_secs(600)).await;
        grants.end_due(early());
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
        grants.set(one, early());
        assert!(waiting.await.unwrap());
    }
}
