//! Runs a feed: reads facts, sends each one until it is settled, and keeps how far it is.
//!
//! ```text
//!  jitd ══► queues, one for each request ──► attempts, some at a time ──► delivered, refused: settled ──► disk
//!            ▲ no more than a number of facts      └──► later: waits, and the queue with it
//! ```
//! Of one request at most one fact is on its way, so that its facts arrive in order; requests do not wait for each other.
//! When too much waits, it stops reading: the rest is in the trail, and is read when there is room again.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;
use jit_core::grant::{About, SentText};
use jit_wire::notice::{Audience, FromDaemon, Notice, Start};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::backoff;
use crate::channel::{Feed, Listeners};
use crate::document::Document;
use crate::follower::{AGAIN_AFTER, Follower, Surroundings};
use crate::outcome::Outcome;
use crate::progress::{Parked, Progress};
use crate::reading::{Reading, next_of};
use crate::status::Status;

/// How many facts of a channel may wait in memory: a few MiB.
const ROOM: usize = 1024;

/// How many facts of a channel are on their way at a time.
const AT_ONCE: usize = 16;

/// What somebody wants of a running channel.
pub enum Order {
    /// Send a made-up fact once.
    Test(oneshot::Sender<Outcome>),
    /// Read everything again since a time.
    Replay(Timestamp, oneshot::Sender<()>),
}

/// A feed at work.
pub struct FeedWorker {
    follower: Follower,
    feed: Arc<Feed>,
    listeners: Listeners,
    host: Arc<str>,
    queues: HashMap<Key, Queue>,
    /// The requests whose next fact can be sent.
    ready: VecDeque<Key>,
    /// The requests whose next fact has to wait.
    later: BTreeMap<(Instant, Key), ()>,
    running: JoinSet<Attempt>,
    orders: mpsc::Receiver<Order>,
    tests: JoinSet<()>,
}

/// What has an order: the facts of one grant, and those of no grant.
type Key = Option<Arc<str>>;

/// What became of an attempt to send the first fact of a queue, and SHA-256 of what was sent, in hex.
type Attempt = (Key, Outcome, String);

#[derive(Default)]
struct Queue {
    facts: VecDeque<Arc<Notice>>,
    /// Attempts of the first one that failed.
    failures: u32,
}

impl FeedWorker {
    /// A feed that continues after `progress`, or with what happens from now on.
    #[must_use]
    pub fn new(
        name: String,
        feed: Arc<Feed>,
        listeners: Listeners,
        around: Surroundings,
        progress: Option<Progress>,
        orders: mpsc::Receiver<Order>,
    ) -> Self {
        Self {
            follower: Follower::new(name, around, progress),
            feed,
            listeners,
            host: "".into(),
            queues: HashMap::new(),
            ready: VecDeque::new(),
            later: BTreeMap::new(),
            running: JoinSet::new(),
            orders,
            tests: JoinSet::new(),
        }
    }

    /// How it is, from now on.
    #[must_use]
    pub fn status(&self) -> Arc<Mutex<Status>> {
        Arc::clone(&self.follower.status)
    }

    /// Runs it until nobody can give it an order any more.
    pub async fn run(mut self) {
        let mut reading: Option<Reading> = None;
        let mut again = Instant::now();
        let mut beginning: JoinSet<std::io::Result<Reading>> = JoinSet::new();
        loop {
            self.start();
            self.follower.save();
            self.follower.show(reading.is_some());
            let waiting = self.follower.progress.as_ref().map_or(0, Progress::waiting);
            if waiting >= ROOM {
                // What follows stays in the trail. The connection would only wait.
                reading = None;
            }
            if reading.is_none()
                && beginning.is_empty()
                && waiting <= ROOM / 2
                && self.follower.status.lock().off.is_none()
            {
                beginning.spawn(self.follower.connect(again, false));
            }
            let next = self.later.first_key_value().map(|((when, _), ())| *when);
            tokio::select! {
                said = next_of(&mut reading), if reading.is_some() => match self.heard(said, &mut reading).await {
                    Ok(()) => {},
                    Err(error) => {
                        self.follower.not_reading(&error);
                        (reading, again) = (None, Instant::now() + AGAIN_AFTER);
                    }
                },
                Some(begun) = beginning.join_next() => match begun.unwrap_or_else(|error| Err(error.into())) {
                    Ok(begun) if self.begun(&begun).await => reading = Some(begun),
                    Ok(_) => again = Instant::now() + AGAIN_AFTER,
                    Err(error) => {
                        self.follower.not_reading(&error);
                        again = Instant::now() + AGAIN_AFTER;
                    }
                },
                Some(done) = self.running.join_next() => if let Ok((key, outcome, sha256)) = done {
                    self.done(key, outcome, sha256);
                },
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                    while let Some(entry) = self.later.first_entry().filter(|entry| entry.key().0 <= Instant::now()) {
                        let ((_, key), ()) = entry.remove_entry();
                        self.ready.push_back(key);
                    }
                },
                Some(_) = self.follower.saving.join_next() => {},
                Some(_) = self.tests.join_next() => {},
                order = self.orders.recv() => match order {
                    Some(Order::Test(answer)) => self.test(answer),
                    Some(Order::Replay(since, answer)) => {
                        beginning.shutdown().await;
                        if let Ok(begun) = self.replay(since).await {
                            reading = Some(begun);
                            // Who asked may be gone.
                            let _ = answer.send(());
                        }
                    }
                    // The program ends.
                    None => return self.finish().await,
                },
            }
        }
    }

    /// Keeps what was settled last. What is on its way now is sent again after the next start.
    async fn finish(mut self) {
        self.running.shutdown().await;
        self.follower.finish().await;
    }

    /// A connection began. Whether it can be used.
    async fn begun(&mut self, begun: &Reading) -> bool {
        self.host = begun.host.as_str().into();
        self.follower.begun(begun).await
    }

    /// Takes what the daemon said, and tells it what receivers took.
    async fn heard(&mut self, said: std::io::Result<FromDaemon>, reading: &mut Option<Reading>) -> std::io::Result<()> {
        let said = said?;
        // It comes every two seconds, so that a report is not about one text only.
        let is_time = matches!(said, FromDaemon::Alive { .. });
        self.take(said);
        self.follower.report(is_time, reading).await
    }

    /// Takes what the daemon said.
    fn take(&mut self, said: FromDaemon) {
        match said {
            FromDaemon::Notice(notice) => {
                let Some(progress) = &mut self.follower.progress else { return };
                if !self.listeners.concerns(&notice.audience, notice.grant.as_ref()) {
                    return progress.pass(notice.number);
                }
                if progress.take(notice.number, notice.at) {
                    let key: Key = notice.grant.as_ref().map(|grant| grant.id.as_str().into());
                    let queue = self.queues.entry(key.clone()).or_default();
                    queue.facts.push_back(Arc::from(notice));
                    if queue.facts.len() == 1 {
                        self.ready.push_back(key);
                    }
                }
            }
            FromDaemon::Alive { number } => self.follower.passed(number),
            FromDaemon::Recorded => self.follower.recorded(),
            FromDaemon::Open(_) | FromDaemon::Snapshot { .. } | FromDaemon::Refused { .. } => {}
        }
    }

    /// Starts as many attempts as there may be.
    fn start(&mut self) {
        while self.running.len() < AT_ONCE
            && self.follower.status.lock().off.is_none()
            && let Some(key) = self.ready.pop_front()
        {
            let Some(queue) = self.queues.get(&key) else { continue };
            let Some(notice) = queue.facts.front().map(Arc::clone) else { continue };
            let (feed, around, host) = (Arc::clone(&self.feed), self.follower.around.clone(), Arc::clone(&self.host));
            let attempt = queue.failures.saturating_add(1);
            self.running.spawn(async move {
                let document = Document::of(&host, &notice, attempt);
                let (outcome, sha256) = feed.deliver(&around.http, &document, (around.clock)()).await;
                (key, outcome, sha256)
            });
        }
    }

    /// Takes what became of an attempt.
    fn done(&mut self, key: Key, outcome: Outcome, sha256: String) {
        let now = (self.follower.around.clock)();
        let (Some(queue), Some(progress)) = (self.queues.get_mut(&key), &mut self.follower.progress) else { return };
        let Some(notice) = queue.facts.front().map(Arc::clone) else { return };
        let mut status = self.follower.status.lock();
        match outcome {
            Outcome::Delivered { remote: _ } => {
                status.count_delivery();
                progress.settle(notice.number);
                progress.reports.add(SentText {
                    channel: self.follower.name.clone(),
                    grant: notice.grant.as_ref().and_then(|grant| grant.id.parse().ok()),
                    about: About::Fact,
                    seq: notice.number,
                    at: now,
                    sha256,
                });
            }
            Outcome::Refused { why } => {
                let kind = Document::of(&self.host, &notice, 1).kind;
                tracing::error!(
                    channel = self.follower.name,
                    number = notice.number,
                    kind,
                    why,
                    "a receiver refused a fact for good"
                );
                status.error = Some(why.clone());
                let grant = key.as_deref().map(str::to_owned);
                progress.park(Parked { number: notice.number, grant, kind, at: now, why });
            }
            Outcome::Later { after, why } => {
                queue.failures = queue.failures.saturating_add(1);
                let wait = backoff::wait(queue.failures, after, backoff::chance());
                if status.error.as_ref() != Some(&why) {
                    tracing::warn!(
                        channel = self.follower.name,
                        number = notice.number,
                        why,
                        "a fact is not delivered yet"
                    );
                }
                status.error = Some(why);
                self.later.insert((Instant::now() + wait, key), ());
                return;
            }
            Outcome::Off { why } => {
                status.turn_off(why);
                return;
            }
        }
        drop(status);
        self.follower.is_changed = true;
        queue.failures = 0;
        queue.facts.pop_front();
        if queue.facts.is_empty() {
            self.queues.remove(&key);
        } else {
            self.ready.push_back(key);
        }
    }

    /// Sends a made-up fact once.
    fn test(&mut self, answer: oneshot::Sender<Outcome>) {
        let (feed, around, host) = (Arc::clone(&self.feed), self.follower.around.clone(), Arc::clone(&self.host));
        self.tests.spawn(async move {
            let now = (around.clock)();
            let notice = test_notice(now);
            let (outcome, _) = feed.deliver(&around.http, &Document::of(&host, &notice, 1), now).await;
            // Who asked may be gone.
            let _ = answer.send(outcome);
        });
    }

    /// Begins again with what happened since a time. What is on its way arrives, and once more afterwards.
    async fn replay(&mut self, since: Timestamp) -> std::io::Result<Reading> {
        let begun = Reading::begin(&self.follower.around.socket, Start::Since(since), false).await;
        let begun = begun.inspect_err(|error| self.follower.not_reading(error))?;
        self.running.shutdown().await;
        self.queues.clear();
        self.ready.clear();
        self.later.clear();
        let before = self.follower.progress.take();
        let mut progress = Progress::from(begun.after);
        if let Some(before) = before {
            progress.keep_past_of(&before);
        }
        self.follower.progress = Some(progress);
        self.follower.is_changed = true;
        self.begun(&begun).await;
        Ok(begun)
    }
}

/// A fact that never happened, for `jit-notify test`.
#[must_use]
pub fn test_notice(now: Timestamp) -> Notice {
    Notice {
        number: u64::try_from(now.as_millisecond()).unwrap_or(0),
        at: now,
        event: "test".to_owned(),
        by: None,
        grant: None,
        audience: Audience { to_administrators: true, ..Audience::default() },
        says: "this is a test of the channel; nothing happened".to_owned(),
    }
}
