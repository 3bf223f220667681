//! The ledger alone, on a trail that never waits: who may record, who is notified, and what is true after a failed write.

use std::collections::BTreeSet;
use std::future::ready;

use super::*;
use crate::grant::request::{Login, Person};
use crate::grant::{Author, Event, Phase};
use crate::trail::tests::{Folder, at, id, refused, requested, withdrawn};

fn now() -> Timestamp {
    at(0)
}

fn ledger(folder: &Folder) -> (Ledger, Trail) {
    let opened = Trail::simulated(&folder.trail(), || ready(Ok(())), || ready(Ok(()))).unwrap();
    let trail = opened.trail.clone();
    (Ledger::new(opened, Overseers { readers: Vec::new(), admins: Vec::new() }, now), trail)
}

fn alice() -> Person {
    Person { name: "alice".parse().unwrap(), groups: BTreeSet::new(), login: None::<Login> }
}

async fn begin(ledger: &Ledger, number: u8) -> Arc<OpenGrant> {
    ledger.begin(id(number), &alice(), at(0), requested(number).event).await.unwrap()
}

fn refusal() -> Event {
    refused(1).event
}

/// From its snapshot on a subscriber misses nothing: numbers follow each other without a gap.
#[tokio::test]
async fn a_subscriber_gets_a_snapshot_and_every_change_after_it() {
    let folder = Folder::new();
    let (ledger, _) = ledger(&folder);
    begin(&ledger, 1).await;
    let (snapshot, mut changes) = ledger.subscribe();
    assert_eq!(snapshot.grants.iter().map(|grant| grant.id.clone()).collect::<Vec<_>>(), [id(1)]);
    assert!(snapshot.drain.is_none());

    let second = begin(&ledger, 2).await;
    let by = Author::from(&alice());
    ledger.record(&mut second.lock().await, &by, vec![Event::Withdrawn]).await.unwrap();
    let operator = crate::grant::Operator { name: PersonName::root(), uid: 0, login: None };
    ledger.note(&Author::Operator(operator), Event::Drained { reason: None }).await.unwrap();

    let mut heard = Vec::new();
    for _ in 0..3 {
        let change = changes.next().await.unwrap();
        assert_eq!(change.number, snapshot.number + 1 + heard.len() as u64);
        heard.push(match change.what {
            Changed::Grant(grant) => (Some(grant.id.clone()), Some(grant.phase)),
            Changed::Drain(drain) => {
                assert!(drain.is_some());
                (None, None)
            }
        });
    }
    let of_second = |phase| (Some(id(2)), Some(phase));
    assert_eq!(heard, [of_second(Phase::Pending), of_second(Phase::Withdrawn), (None, None)]);
    let (snapshot, _) = ledger.subscribe();
    assert_eq!(snapshot.grants.len(), 1, "what is over is not in it");
    assert!(snapshot.drain.is_some());
}

/// Whoever falls too far behind is told, and does not go on as if nothing had been missed.
#[tokio::test]
async fn a_subscriber_that_is_too_slow_reads_a_gap() {
    let folder = Folder::new();
    let (ledger, _) = ledger(&folder);
    let grant = begin(&ledger, 1).await;
    let (_, mut changes) = ledger.subscribe();
    let mut locked = grant.lock().await;
    let missed = 3;
    for _ in 0..changes::KEPT + missed {
        ledger.record(&mut locked, &Author::from(&alice()), vec![refusal()]).await.unwrap();
    }
    assert_eq!(changes.next().await.unwrap_err(), Gap::Missed(missed as u64));
}

/// Who waits for changes wakes up for what they may see and for nothing else, and is answered at once if they missed some.
#[tokio::test]
async fn only_a_change_that_a_person_may_see_ends_their_wait() {
    let folder = Folder::new();
    let (ledger, _) = ledger(&folder);
    let stranger = Person { name: "dave".parse().unwrap(), groups: BTreeSet::new(), ..alice() };
    let long = Duration::from_secs(600);
    let before = ledger.last_change();
    let (own, of_others) = (alice(), stranger);
    let mut hers = Box::pin(ledger.change_after(before, &own, long));
    let mut theirs = Box::pin(ledger.change_after(before, &of_others, long));
    assert!(futures::poll!(&mut hers).is_pending() && futures::poll!(&mut theirs).is_pending());
    begin(&ledger, 1).await;
    assert_eq!(hers.await, before + 1);
    assert!(futures::poll!(&mut theirs).is_pending(), "the grant is none of theirs");
    assert_eq!(ledger.change_after(before, &of_others, long).await, before + 1, "they missed one");
    assert_eq!(ledger.change_after(before + 1, &own, Duration::ZERO).await, before + 1, "nothing has changed");
    ledger.stop_waiting();
    assert_eq!(theirs.await, before + 1);
}

#[tokio::test]
async fn a_grant_is_changed_by_one_at_a_time() {
    let folder = Folder::new();
    let (ledger, _) = ledger(&folder);
    let grant = begin(&ledger, 1).await;
    let locked = grant.lock().await;
    let mut other = Box::pin(grant.lock());
    assert!(futures::poll!(&mut other).is_pending());
    drop(locked);
    assert!(futures::poll!(&mut other).is_ready());
}

/// A write that failed may stand all the same. What is decided next is decided on what the trail has.
#[tokio::test]
async fn what_the_trail_has_is_adopted_after_a_write_that_failed() {
    let folder = Folder::new();
    let (ledger, trail) = ledger(&folder);
    let grant = begin(&ledger, 1).await;
    // Nobody but the trail knows of it.
    trail.append(vec![withdrawn(1)], Some(1)).await.unwrap();
    assert_eq!(grant.grant().phase, Phase::Pending);

    let mut locked = grant.lock().await;
    let failed = ledger.record(&mut locked, &Author::Daemon, vec![refusal()]).await;
    assert!(matches!(failed, Err(LedgerError::Trail(TrailError::Moved { .. }))), "{failed:?}");
    assert_eq!(locked.grant().phase, Phase::Withdrawn);
    assert!(ledger.open_grant(&id(1)).is_none(), "it is over");
    let failed = ledger.record(&mut locked, &Author::Daemon, vec![refusal()]).await;
    assert!(matches!(failed, Err(LedgerError::InvalidTransition(_))), "{failed:?}");
}

/// What the trail stores after its author was told that this is unknown reaches the memory: a request of which the memory
/// knows nothing, an event of a grant, and a drain.
#[tokio::test]
async fn what_is_stored_late_is_taken_up() {
    let folder = Folder::new();
    let (ledger, trail) = ledger(&folder);
    let known = begin(&ledger, 1).await;
    trail.append(vec![withdrawn(1)], Some(1)).await.unwrap();
    trail.append(vec![requested(2)], None).await.unwrap();
    let operator = crate::grant::Operator { name: PersonName::root(), uid: 0, login: None };
    let drained = Author::Operator(operator).fact(at(0), None, Event::Drained { reason: None });
    trail.append(vec![drained], None).await.unwrap();
    assert!(
        known.grant().phase == Phase::Pending && ledger.open_grant(&id(2)).is_none() && ledger.draining().is_none()
    );

    for late in [Late::Grant(id(1)), Late::Grant(id(2)), Late::Drain] {
        ledger.take_up(&late).await.unwrap();
    }
    assert_eq!(known.grant().phase, Phase::Withdrawn);
    assert!(ledger.open_grant(&id(1)).is_none(), "it is over");
    assert!(ledger.draining().is_some());
    let new = ledger.open_grant(&id(2)).unwrap();
    assert_eq!(ledger.take_due().0, [id(1), id(2)], "nobody works on them any more");
    let by = Author::from(&alice());
    ledger.record(&mut new.lock().await, &by, vec![Event::Withdrawn]).await.unwrap();
    assert!(ledger.open_grant(&id(2)).is_none(), "the next event follows the late one");
}
