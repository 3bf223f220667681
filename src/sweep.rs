//! The sweep: takes away what is due, at start and at each deadline, and compares what the clusters hold
//! with what the trail says.
//!
//! ```text
//!  deadline ─► settle (lapse, expire, go on with an end) ─┐ fails: due again later, for ever
//!  start, and now and then ─► compare ─► end what vanished, tell what is unknown
//! ```
//! It only removes: it never signs and never binds, and it never touches what the trail does not know.
//! The daemon's main runs it; how a grant ends is the broker's story.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::broker::Broker;
use crate::cluster::{ClusterError, Found};
use crate::grant::Phase;
use crate::grant::request::ClusterName;

/// So many grants are settled at a time. More than the calls that a cluster gets at a time, for a grant also
/// waits for the trail and between two questions.
const AT_ONCE: usize = 256;

/// How often the clusters are compared with the trail while nothing else asks for it.
const COMPARE_EVERY: Duration = Duration::from_secs(300);

/// The longest sleep, so that a clock that was set is noticed.
const LONGEST_SLEEP: Duration = Duration::from_secs(20);

/// How long the first comparison may hold the socket closed when a cluster does not answer.
const START_WITHIN: Duration = Duration::from_secs(15);

/// What the last comparison found; read by the metrics.
#[derive(Debug, Default)]
pub struct Findings {
    /// Bindings with our label that the trail does not know. They are left alone.
    pub unknown: AtomicU64,
    /// Comparisons that a cluster did not let us finish.
    pub failed: AtomicU64,
}

/// Removes what is due, then compares every cluster once. Runs before the socket opens, and gives up
/// waiting for a cluster that does not answer; what was begun goes on then.
pub async fn start(broker: &Arc<Broker>, findings: &Arc<Findings>) {
    let (sweeping, finding) = (Arc::clone(broker), Arc::clone(findings));
    // A task of its own: cut off at the limit, it would forget the grants that it has taken as due.
    let first = tokio::spawn(async move {
        let mut settling = JoinSet::new();
        settle_due(&sweeping, &Arc::new(Semaphore::new(AT_ONCE)), &mut settling);
        settling.join_all().await;
        compare_all(&sweeping, &finding).await;
    });
    if tokio::time::timeout(START_WITHIN, first).await.is_err() {
        tracing::warn!("the first sweep is not finished; it goes on while the daemon serves");
    }
}

/// Sweeps until it is dropped.
pub async fn run(broker: Arc<Broker>, findings: Arc<Findings>) {
    let permits = Arc::new(Semaphore::new(AT_ONCE));
    let mut settling = JoinSet::new();
    let mut comparison = tokio::time::interval(COMPARE_EVERY);
    comparison.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    comparison.tick().await;
    loop {
        let next = settle_due(&broker, &permits, &mut settling);
        let sleep = next.map_or(LONGEST_SLEEP, |next| until(next, broker.ledger().now()).min(LONGEST_SLEEP));
        tokio::select! {
            () = tokio::time::sleep(sleep) => {}
            () = broker.ledger().due.notified() => {}
            _ = comparison.tick() => {
                // Beside the deadlines: a cluster that hangs must not hold up those of the others.
                let (broker, findings) = (Arc::clone(&broker), Arc::clone(&findings));
                settling.spawn(async move { compare_all(&broker, &findings).await });
            }
            Some(_) = settling.join_next() => {}
        }
    }
}

/// Begins to settle everything that is due, and says when the next deadline is.
fn settle_due(broker: &Arc<Broker>, permits: &Arc<Semaphore>, settling: &mut JoinSet<()>) -> Option<Timestamp> {
    let (due, next) = broker.ledger().take_due();
    for id in due {
        let (broker, permits) = (Arc::clone(broker), Arc::clone(permits));
        settling.spawn(async move {
            // The semaphore is never closed.
            let _permit = permits.acquire().await;
            if let Err(error) = broker.settle(&id).await {
                tracing::debug!(grant = %id, %error, "not settled yet");
            }
        });
    }
    next
}

async fn compare_all(broker: &Arc<Broker>, findings: &Findings) {
    let mut unknown = 0;
    for (name, _) in broker.sites() {
        match compare(broker, name).await {
            Ok(more) => unknown += more,
            Err(error) => {
                findings.failed.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(cluster = %name, %error, "the cluster could not be compared with the trail");
            }
        }
    }
    findings.unknown.store(unknown, Ordering::Relaxed);
}

/// Ends grants whose binding is gone, and counts bindings with our label that belong to no open grant.
async fn compare(broker: &Arc<Broker>, name: &ClusterName) -> Result<u64, ClusterError> {
    let Some((_, site)) = broker.sites().find(|(other, _)| *other == name) else { return Ok(0) };
    // Taken before the list: what is bound after this moment is not missing in it.
    let known = broker.ledger().bound_in(name);
    let found = site.cluster.list_ours().await?;
    // By uid: another object of the same name is not ours.
    let there: BTreeSet<&str> = found.iter().map(|found| found.uid.as_str()).collect();
    for grant in known.iter().filter(|grant| grant.phase == Phase::Live) {
        if !grant.binding_uid.as_deref().is_some_and(|uid| there.contains(uid))
            && let Err(error) = broker.binding_vanished(&grant.id).await
        {
            tracing::warn!(grant = %grant.id, %error, "its binding is gone, but it could not be ended yet");
        }
    }
    let now = broker.ledger().bound_in(name);
    // One that is being bound has no uid yet; its name has to do.
    let ours: BTreeMap<String, Option<&str>> =
        known.iter().chain(&now).map(|grant| (grant.id.binding_name(), grant.binding_uid.as_deref())).collect();
    let is_ours = |found: &Found| ours.get(&found.name).is_some_and(|uid| uid.is_none_or(|uid| uid == found.uid));
    let mut unknown = 0;
    for found in found.iter().filter(|found| !is_ours(found)) {
        unknown += 1;
        tracing::warn!(cluster = %name, binding = found.name, namespace = found.namespace, "a binding has our label, but the trail knows no open grant for it; it is left alone");
    }
    Ok(unknown)
}

fn until(deadline: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(deadline.duration_since(now)).unwrap_or(Duration::ZERO)
}
