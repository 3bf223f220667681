//! Runs a feed: reads facts, sends each one until it is settled, and keeps how far it is.
//!
//! ```text
//!  jitd ══► queues, one for each request ──► attempts, some at a time ──► delivered, refused: settled ──► disk
//!            ▲ no more than a number of facts      └──► later: waits, and the queue with it
//! ```
//! Of one request at most one fact is on its way, so that its facts arrive in order; requests do not wait for each other.
//! When too much waits, it stops reading: the rest is in the trail, and is read when there is room again.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jit_core::grant::digest::sha256_hex;
use jit_core::grant::{About, SentText};
use jit_wire::notice::{Audience, FromDaemon, Notice, Start};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::backoff;
use crate::channel::{Feed, Listeners};
use crate::document::Document;
use crate::http::Http;
use crate::outcome::Outcome;
use crate::progress::{Kept, Parked, Progress};
use crate::reading::Reading;
use crate::status::Status;

/// How many facts of a channel may wait in memory: a few MiB.
const ROOM: usize = 1024;

/// How many facts of a channel are on their way at a time.
const AT_ONCE: usize = 16;

/// The pause before another attempt to connect to `jitd`.
const AGAIN_AFTER: Duration = Duration::from_millis(200);

/// What somebody wants of a running channel.
pub enum Order {
    /// Send a made-up fact once.
    Test(oneshot::Sender<Outcome>),
    /// Read everything again since a time.
    Replay(Timestamp, oneshot::Sender<()>),
}

/// What a channel needs beside itself.
#[derive(Clone)]
pub struct Surroundings {
    /// The socket of the daemon.
    pub socket: PathBuf,
    /// The folder of the channels' states.
    pub state: PathBuf,
    /// The client of all channels.
    pub http: Arc<Http>,
    /// The clock of the host.
    pub clock: fn() -> Timestamp,
}

/// A feed at work.
pub struct FeedWorker {
    name: String,
    feed: Arc<Feed>,
    listeners: Listeners,
    around: Surroundings,
    progress: Option<Progress>,
    status: Arc<Mutex<Status>>,
    host: Arc<str>,
    queues: HashMap<Key, Queue>,
    /// The requests whose next fact can be sent.
    ready: VecDeque<Key>,
    /// The requests whose next fact has to wait.
    later: BTreeMap<(Instant, Key), ()>,
    running: JoinSet<Attempt>,
    /// The state on the disk is older than ours.
    is_changed: bool,
    saving: JoinSet<bool>,
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
        let status = Status { channel: name.clone(), ..Status::default() };
        Self {
            name,
            feed,
            listeners,
            around,
            progress,
            status: Arc::new(Mutex::new(status)),
            host: "".into(),
            queues: HashMap::new(),
            ready: VecDeque::new(),
            later: BTreeMap::new(),
            running: JoinSet::new(),
            is_changed: false,
            saving: JoinSet::new(),
            orders,
            tests: JoinSet::new(),
        }
    }

    /// How it is, from now on.
    #[must_use]
    pub fn status(&self) -> Arc<Mutex<Status>> {
        Arc::clone(&self.status)
    }

    /// Runs it until nobody can give it an order any more.
    pub async fn run(mut self) {
        let mut reading: Option<Reading> = None;
        let mut again = Instant::now();
        let mut beginning: JoinSet<std::io::Result<Reading>> = JoinSet::new();
        loop {
            self.start();
            self.save();
            self.report(reading.is_some());
            let waiting = self.progress.as_ref().map_or(0, Progress::waiting);
            if waiting >= ROOM {
                // What follows stays in the trail. The connection would only wait.
                reading = None;
            }
            if reading.is_none() && beginning.is_empty() && waiting <= ROOM / 2 && self.status.lock().off.is_none() {
                let from = self.progress.as_ref().map_or(Start::Now, |progress| Start::After(progress.read()));
                let socket = self.around.socket.clone();
                beginning.spawn(async move {
                    sleep_until(again).await;
                    Reading::begin(&socket, from, false).await
                });
            }
            let next = self.later.first_key_value().map(|((when, _), ())| *when);
            tokio::select! {
                said = next_of(&mut reading), if reading.is_some() => match self.heard(said, &mut reading).await {
                    Ok(()) => {},
                    Err(error) => {
                        self.not_reading(&error);
                        (reading, again) = (None, Instant::now() + AGAIN_AFTER);
                    }
                },
                Some(begun) = beginning.join_next() => match begun.unwrap_or_else(|error| Err(error.into())) {
                    Ok(begun) if self.begun(&begun).await => {
                        tracing::info!(channel = self.name, after = begun.after, "reading what jitd says");
                        reading = Some(begun);
                    }
                    Ok(_) => again = Instant::now() + AGAIN_AFTER,
                    Err(error) => {
                        self.not_reading(&error);
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
                Some(_) = self.saving.join_next() => {},
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
        while self.saving.join_next().await.is_some() {}
        self.save();
        while self.saving.join_next().await.is_some() {}
    }

    /// A connection began. Whether it can be used: a channel that begins anew keeps first from where on, or a crash before
    /// its first fact is settled would lose that fact.
    async fn begun(&mut self, begun: &Reading) -> bool {
        self.host = begun.host.as_str().into();
        if self.progress.is_none() {
            let progress = Progress::from(begun.after);
            if !save(progress.kept(), self.around.state.clone(), self.name.clone()).await {
                return false;
            }
            self.progress = Some(progress);
        }
        self.progress.iter_mut().for_each(|progress| progress.reports.begin_again());
        self.status.lock().error = None;
        true
    }

    fn not_reading(&self, error: &std::io::Error) {
        let why = format!("jitd: {error}");
        let mut status = self.status.lock();
        // A daemon that is away is said once, not five times a second.
        if status.error.as_ref() != Some(&why) {
            tracing::warn!(channel = self.name, socket = %self.around.socket.display(), why, "cannot read what jitd says");
            status.error = Some(why);
        }
    }

    /// Takes what the daemon said, and tells it what receivers took.
    async fn heard(&mut self, said: std::io::Result<FromDaemon>, reading: &mut Option<Reading>) -> std::io::Result<()> {
        let said = said?;
        // It comes every two seconds, so that a report is not about one text only.
        let any = matches!(said, FromDaemon::Alive { .. });
        self.take(said);
        let texts = self.progress.as_mut().and_then(|progress| progress.reports.next(any));
        match (reading, texts) {
            (Some(reading), Some(texts)) => reading.report(texts).await,
            _ => Ok(()),
        }
    }

    /// Takes what the daemon said.
    fn take(&mut self, said: FromDaemon) {
        let Some(progress) = &mut self.progress else { return };
        match said {
            FromDaemon::Notice(notice) => {
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
            FromDaemon::Alive { number } => {
                let before = progress.settled();
                progress.pass(number);
                // Only what moved: an idle daemon costs no write every two seconds.
                self.is_changed |= progress.settled() != before;
            }
            FromDaemon::Recorded => {
                progress.reports.recorded();
                self.is_changed = true;
            }
            FromDaemon::Open(_) | FromDaemon::Snapshot { .. } | FromDaemon::Refused { .. } => {}
        }
    }

    /// Starts as many attempts as there may be.
    fn start(&mut self) {
        while self.running.len() < AT_ONCE
            && self.status.lock().off.is_none()
            && let Some(key) = self.ready.pop_front()
        {
            let Some(queue) = self.queues.get(&key) else { continue };
            let Some(notice) = queue.facts.front().map(Arc::clone) else { continue };
            let (feed, around, host) = (Arc::clone(&self.feed), self.around.clone(), Arc::clone(&self.host));
            let attempt = queue.failures.saturating_add(1);
            self.running.spawn(async move {
                let document = Document::of(&host, &notice, attempt);
                // What cannot be written as JSON is not delivered either.
                let sha256 = document.to_json().map(|json| sha256_hex(&json)).unwrap_or_default();
                (key, feed.deliver(&around.http, &document, (around.clock)()).await, sha256)
            });
        }
    }

    /// Takes what became of an attempt.
    fn done(&mut self, key: Key, outcome: Outcome, sha256: String) {
        let now = (self.around.clock)();
        let (Some(queue), Some(progress)) = (self.queues.get_mut(&key), &mut self.progress) else { return };
        let Some(notice) = queue.facts.front().map(Arc::clone) else { return };
        let mut status = self.status.lock();
        match outcome {
            Outcome::Delivered { remote: _ } => {
                status.delivered = status.delivered.saturating_add(1);
                status.error = None;
                progress.settle(notice.number);
                progress.reports.add(SentText {
                    channel: self.name.clone(),
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
                    channel = self.name,
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
                    tracing::warn!(channel = self.name, number = notice.number, why, "a fact is not delivered yet");
                }
                status.error = Some(why);
                self.later.insert((Instant::now() + wait, key), ());
                return;
            }
            Outcome::Off { why } => {
                tracing::error!(
                    channel = self.name,
                    why,
                    "the receiver wants nothing any more; the channel is off until a restart"
                );
                status.off = Some(why);
                return;
            }
        }
        drop(status);
        self.is_changed = true;
        queue.failures = 0;
        queue.facts.pop_front();
        if queue.facts.is_empty() {
            self.queues.remove(&key);
        } else {
            self.ready.push_back(key);
        }
    }

    /// Writes how far it is, if nothing is being written. What is settled meanwhile is written next.
    fn save(&mut self) {
        let Some(progress) = self.progress.as_ref().filter(|_| self.is_changed && self.saving.is_empty()) else {
            return;
        };
        self.is_changed = false;
        let (kept, folder, name) = (progress.kept(), self.around.state.clone(), self.name.clone());
        self.saving.spawn(save(kept, folder, name));
    }

    fn report(&self, connected: bool) {
        let mut status = self.status.lock();
        status.connected = connected;
        let Some(progress) = &self.progress else { return };
        let (parked, total) = progress.parked();
        (status.settled, status.waiting, status.oldest) = (progress.settled(), progress.waiting(), progress.oldest());
        (status.parked, status.last_parked) = (total, parked.back().cloned());
    }

    /// Sends a made-up fact once.
    fn test(&mut self, answer: oneshot::Sender<Outcome>) {
        let (feed, around, host) = (Arc::clone(&self.feed), self.around.clone(), Arc::clone(&self.host));
        self.tests.spawn(async move {
            let now = (around.clock)();
            let notice = test_notice(now);
            let outcome = feed.deliver(&around.http, &Document::of(&host, &notice, 1), now).await;
            // Who asked may be gone.
            let _ = answer.send(outcome);
        });
    }

    /// Begins again with what happened since a time. What is on its way arrives, and once more afterwards.
    async fn replay(&mut self, since: Timestamp) -> std::io::Result<Reading> {
        let begun = Reading::begin(&self.around.socket, Start::Since(since), false).await;
        let begun = begun.inspect_err(|error| self.not_reading(error))?;
        self.running.shutdown().await;
        self.queues.clear();
        self.ready.clear();
        self.later.clear();
        let before = self.progress.take();
        let mut progress = Progress::from(begun.after);
        if let Some(before) = before {
            progress.keep_past_of(&before);
        }
        self.progress = Some(progress);
        self.is_changed = true;
        self.begun(&begun).await;
        Ok(begun)
    }
}

/// The next document of a connection, if there is one.
async fn next_of(reading: &mut Option<Reading>) -> std::io::Result<FromDaemon> {
    match reading {
        Some(reading) => reading.next().await,
        None => std::future::pending().await,
    }
}

/// Writes on a thread that may block, and returns whether it is on the disk. A disk that does not take it costs only that more
/// is sent again after a crash.
pub(crate) async fn save(kept: Kept, folder: PathBuf, name: String) -> bool {
    let (channel, place) = (name.clone(), folder.clone());
    let saved = tokio::task::spawn_blocking(move || kept.save(&folder, &name)).await;
    if let Ok(Err(error)) = &saved {
        tracing::error!(channel, state = %place.display(), %error, "how far the channel is cannot be kept");
        // So that a full disk is not asked again at once.
        sleep(AGAIN_AFTER).await;
    }
    matches!(saved, Ok(Ok(())))
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
