//! Runs a board: keeps what is true now of each request, and has the board show it.
//!
//! ```text
//!  jitd ══► present state of each request ──► to look at ──► the board: nothing, or a message ──► shown ──► disk
//!           (open grants, then facts)          ▲  └─ a clock: reminders, deadlines     └─► later: again
//!                                              └──────────────────── there may be more to do ◄──┘
//! ```
//! It begins to show only when it has read everything up to its connection, so that after an outage nobody is asked what is
//! answered already. Of one request at most one message is on its way.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jit_core::grant::{About, SentText};
use jit_wire::GrantView;
use jit_wire::notice::{Audience, FromDaemon, Notice};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::backoff;
use crate::board::Board;
use crate::bulletins::Bulletins;
use crate::channel::Listeners;
use crate::feeds::Order;
use crate::follower::{AGAIN_AFTER, Follower, Surroundings};
use crate::outcome::Outcome;
use crate::present::{Present, Shown};
use crate::progress::{Parked, Progress};
use crate::reading::{Reading, next_of};
use crate::status::Status;

/// How many messages of a board are on their way at a time.
const AT_ONCE: usize = 4;

/// A request is looked at again after this at the latest, if the board says that there is something to wait for: the clock
/// of the host can be set.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// A board at work.
pub struct BoardWorker {
    follower: Follower,
    board: Arc<Board>,
    listeners: Listeners,
    host: String,
    /// Everything up to the connection was read.
    is_caught_up: bool,
    grants: HashMap<Arc<str>, Known>,
    /// The requests to look at.
    due: BTreeSet<Arc<str>>,
    later: BTreeSet<(Instant, Arc<str>)>,
    running: JoinSet<Looked>,
    bulletins: Bulletins,
    /// When the administrators can be told, if not now.
    told_later: Option<Instant>,
    telling: JoinSet<Told>,
    orders: mpsc::Receiver<Order>,
    tests: JoinSet<()>,
}

/// A request, the number of the last fact in the state that the board was to show, and what it did.
type Looked = (Arc<str>, u64, Option<(Outcome, Shown)>);

/// Facts that the administrators were to be told; what became of it, and SHA-256 of what they read.
type Told = (Vec<Arc<Notice>>, Option<(Outcome, String)>);

/// What is known of a request.
struct Known {
    present: Present,
    /// Whether it is for this board.
    listens: bool,
    /// Facts that are read and not settled.
    numbers: Vec<u64>,
    failures: u32,
    is_running: bool,
}

impl Known {
    /// Settles the facts up to this one, except what the administrators are still to be told. Whether there were any.
    fn settle_up_to(&mut self, number: u64, bulletins: &Bulletins, progress: &mut Progress) -> bool {
        let mut any = false;
        for settled in self.numbers.extract_if(.., |settled| *settled <= number) {
            if !bulletins.have(settled) {
                progress.settle(settled);
            }
            any = true;
        }
        any
    }
}

impl BoardWorker {
    /// A board that continues after `progress`, or begins with what is open now.
    #[must_use]
    pub fn new(
        name: String,
        board: Arc<Board>,
        listeners: Listeners,
        around: Surroundings,
        progress: Option<Progress>,
        orders: mpsc::Receiver<Order>,
    ) -> Self {
        Self {
            follower: Follower::new(name, around, progress),
            board,
            listeners,
            host: String::new(),
            is_caught_up: false,
            grants: HashMap::new(),
            due: BTreeSet::new(),
            later: BTreeSet::new(),
            running: JoinSet::new(),
            bulletins: Bulletins::default(),
            told_later: None,
            telling: JoinSet::new(),
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
            self.tell();
            self.follower.save();
            self.follower.show(reading.is_some());
            if reading.is_none() && beginning.is_empty() {
                beginning.spawn(self.follower.connect(again, true));
            }
            let next = self.later.first().map(|(when, _)| *when).into_iter().chain(self.told_later).min();
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
                Some(done) = self.running.join_next() => if let Ok((grant, number, done)) = done {
                    self.done(grant, number, done);
                },
                Some(told) = self.telling.join_next() => if let Ok((facts, told)) = told {
                    self.told(&facts, told);
                },
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                    self.told_later = self.told_later.filter(|when| *when > Instant::now());
                    while let Some((when, grant)) = self.later.pop_first() {
                        if when > Instant::now() {
                            self.later.insert((when, grant));
                            break;
                        }
                        self.due.insert(grant);
                    }
                },
                Some(_) = self.follower.saving.join_next() => {},
                Some(_) = self.tests.join_next() => {},
                order = self.orders.recv() => match order {
                    Some(Order::Test(answer)) => self.test(answer),
                    Some(Order::Replay(_, answer)) => {
                        // It shows what is true now, whatever happened before.
                        self.due.extend(self.grants.keys().cloned());
                        let _ = answer.send(());
                    }
                    // The program ends.
                    None => return self.finish().await,
                },
            }
        }
    }

    /// Keeps what was shown last.
    async fn finish(mut self) {
        self.running.shutdown().await;
        self.telling.shutdown().await;
        self.follower.finish().await;
    }

    /// A connection began. Whether it can be used.
    async fn begun(&mut self, begun: &Reading) -> bool {
        self.host.clone_from(&begun.host);
        self.is_caught_up = false;
        self.follower.begun(begun).await
    }

    /// Takes what the daemon said, and tells it what the receiver took.
    async fn heard(&mut self, said: std::io::Result<FromDaemon>, reading: &mut Option<Reading>) -> std::io::Result<()> {
        let said = said?;
        // It comes every two seconds, so that a report is not about one text only.
        let is_time = matches!(said, FromDaemon::Alive { .. });
        self.take(said, reading.as_ref().map_or(0, |reading| reading.number));
        self.follower.report(is_time, reading).await
    }

    /// Takes what the daemon said; `snapshot` is the number of the last fact when the connection began.
    fn take(&mut self, said: FromDaemon, snapshot: u64) {
        match said {
            FromDaemon::Open(open) => {
                let at = open.grant.requested_at;
                self.know(open.grant, open.audience, snapshot, at, None);
            }
            FromDaemon::Notice(notice) => self.notice(*notice),
            FromDaemon::Alive { number } => {
                self.is_caught_up = true;
                self.follower.passed(number);
            }
            FromDaemon::Recorded => self.follower.recorded(),
            FromDaemon::Snapshot { .. } | FromDaemon::Refused { .. } => {}
        }
    }

    fn notice(&mut self, notice: Notice) {
        let Some(progress) = &mut self.follower.progress else { return };
        // Break-glass is a question of its own.
        let is_bulletin = notice.audience.to_administrators
            && notice.event != "glass_broken"
            && self.listeners.has_administrators()
            && self.board.tells_administrators();
        if notice.grant.is_none() && !is_bulletin {
            return progress.pass(notice.number);
        }
        if !progress.take(notice.number, notice.at) {
            return;
        }
        if is_bulletin && let Some(out) = self.bulletins.add(notice.clone()) {
            self.settle(out);
        }
        let Notice { number, at, grant: Some(grant), audience, says, .. } = notice else { return };
        let key = self.know(grant, audience, number, at, Some(says));
        if let Some(known) = self.grants.get_mut(&key) {
            known.numbers.push(number);
        }
    }

    /// Nothing has to be told to the administrators about fact `number` any more.
    fn settle(&mut self, number: u64) {
        let is_to_show = self.grants.values().any(|known| known.numbers.contains(&number));
        if let Some(progress) = self.follower.progress.as_mut().filter(|_| !is_to_show) {
            progress.settle(number);
            self.follower.is_changed = true;
        }
    }

    /// Tells the administrators what waits, if nothing is on its way to them.
    fn tell(&mut self) {
        let is_ready = self.is_caught_up && self.telling.is_empty() && self.told_later.is_none();
        if !is_ready || self.follower.status.lock().off.is_some() {
            return;
        }
        let Some((facts, left_out)) = self.bulletins.next() else { return };
        let (board, around, host) = (Arc::clone(&self.board), self.follower.around.clone(), self.host.clone());
        self.telling.spawn(async move {
            let told = board.tell(&around.http, &host, &facts, left_out, (around.clock)()).await;
            (facts, told)
        });
    }

    /// Takes what became of telling the administrators.
    fn told(&mut self, facts: &[Arc<Notice>], told: Option<(Outcome, String)>) {
        let now = (self.follower.around.clock)();
        let last = facts.last().map_or(0, |fact| fact.number);
        let Some((outcome, sha256)) = told else {
            // Quiet hours end on a minute of the clock.
            self.told_later = Some(Instant::now() + LOOK_AGAIN);
            return;
        };
        match outcome {
            Outcome::Delivered { remote: _ } => {
                self.follower.status.lock().count_delivery();
                if let Some(progress) = &mut self.follower.progress {
                    let (channel, about) = (self.follower.name.clone(), About::Operation);
                    progress.reports.add(SentText { channel, grant: None, about, seq: last, at: now, sha256 });
                }
                self.bulletins.done(facts).into_iter().for_each(|number| self.settle(number));
            }
            Outcome::Later { after, why } => {
                tracing::warn!(channel = self.follower.name, why, "the administrators are not told yet");
                self.told_later = Some(Instant::now() + self.bulletins.failed(after));
                self.follower.status.lock().error = Some(why);
            }
            Outcome::Refused { why } => {
                tracing::error!(channel = self.follower.name, why, "a receiver refused a message for good");
                self.follower.status.lock().error = Some(why.clone());
                self.bulletins.done(facts).into_iter().for_each(|number| self.settle(number));
                if let Some(progress) = &mut self.follower.progress {
                    progress.list(Parked { number: last, grant: None, kind: "operation".to_owned(), at: now, why });
                }
            }
            Outcome::Off { why } => self.follower.status.lock().turn_off(why),
        }
    }

    /// Posts that this is a test.
    fn test(&mut self, answer: oneshot::Sender<Outcome>) {
        let (board, around, host) = (Arc::clone(&self.board), self.follower.around.clone(), self.host.clone());
        self.tests.spawn(async move {
            // Who asked may be gone.
            let _ = answer.send(board.test(&around.http, &host, (around.clock)()).await);
        });
    }

    /// Knows the state of a grant after fact `number`, unless a later one is known.
    fn know(
        &mut self,
        grant: GrantView,
        audience: Audience,
        number: u64,
        at: Timestamp,
        says: Option<String>,
    ) -> Arc<str> {
        let key: Arc<str> = grant.id.as_str().into();
        let listens = self.listeners.concerns(&audience, Some(&grant));
        let present = Present { host: self.host.clone(), number, at, says, grant, audience };
        match self.grants.get_mut(&key) {
            // The snapshot can be newer than the facts that led to it.
            Some(known) if known.present.number > number => {}
            Some(known) => (known.present, known.listens) = (present, listens),
            None => {
                let known = Known { present, listens, numbers: Vec::new(), failures: 0, is_running: false };
                self.grants.insert(Arc::clone(&key), known);
            }
        }
        self.due.insert(Arc::clone(&key));
        key
    }

    /// Has the board show what is due, as much at a time as there may be.
    fn start(&mut self) {
        if !self.is_caught_up || self.follower.status.lock().off.is_some() {
            return;
        }
        let Some(progress) = &self.follower.progress else { return };
        let mut busy = Vec::new();
        while self.running.len() < AT_ONCE
            && let Some(key) = self.due.pop_first()
        {
            let Some(known) = self.grants.get_mut(&key) else { continue };
            if known.is_running {
                busy.push(key);
                continue;
            }
            known.is_running = true;
            let (present, listens) = (known.present.clone(), known.listens);
            let shown = progress.shown.get(&*key).cloned();
            let (board, around) = (Arc::clone(&self.board), self.follower.around.clone());
            self.running.spawn(async move {
                let now = (around.clock)();
                let done = board.show(&around.http, listens, &present, shown.as_ref(), now).await;
                (key, present.number, done)
            });
        }
        self.due.extend(busy);
    }

    /// Takes what became of a look at a request, in its state after fact `number`.
    fn done(&mut self, key: Arc<str>, number: u64, done: Option<(Outcome, Shown)>) {
        let now = (self.follower.around.clock)();
        let (Some(known), Some(progress)) = (self.grants.get_mut(&key), &mut self.follower.progress) else { return };
        known.is_running = false;
        let mut status = self.follower.status.lock();
        let Some((outcome, shown)) = done else {
            // The board shows what is true.
            known.failures = 0;
            self.follower.is_changed |= known.settle_up_to(number, &self.bulletins, progress);
            let present = &known.present;
            let next = self.board.again_at(known.listens, present, progress.shown.get(&*key), now);
            let owes_review = present.grant.break_glass.as_ref().is_some_and(|glass| glass.owed);
            match next {
                Some(at) => {
                    let wait = Duration::try_from(at.duration_since(now)).unwrap_or_default();
                    self.later.insert((Instant::now() + wait.clamp(AGAIN_AFTER, LOOK_AGAIN), key));
                }
                None if !present.grant.phase.is_open() && !owes_review && known.numbers.is_empty() => {
                    // Nothing about it is said any more.
                    progress.shown.remove(&*key);
                    self.grants.remove(&key);
                }
                None => {}
            }
            return;
        };
        match outcome {
            Outcome::Delivered { remote: _ } => {
                known.failures = 0;
                status.count_delivery();
                let about = shown.about.map_or(About::Request, About::from);
                let text = SentText {
                    channel: self.follower.name.clone(),
                    grant: key.parse().ok(),
                    about,
                    seq: number,
                    at: now,
                    sha256: shown.sha256.clone(),
                };
                progress.reports.add(text);
                progress.shown.insert(key.to_string(), shown);
                self.follower.is_changed = true;
                // There may be more to do.
                self.due.insert(key);
            }
            Outcome::Later { after, why } => {
                known.failures = known.failures.saturating_add(1);
                let wait = backoff::wait(known.failures, after, backoff::chance());
                if status.error.as_ref() != Some(&why) {
                    tracing::warn!(channel = self.follower.name, grant = %key, why, "a request is not shown yet");
                }
                status.error = Some(why);
                self.later.insert((Instant::now() + wait, key));
            }
            Outcome::Refused { why } => {
                tracing::error!(channel = self.follower.name, grant = %key, why, "a receiver refused a message for good");
                status.error = Some(why.clone());
                known.settle_up_to(number, &self.bulletins, progress);
                let grant = Some(key.to_string());
                progress.list(Parked { number, grant, kind: "grant".to_owned(), at: now, why });
                // The next fact of this request tries again.
                self.follower.is_changed = true;
            }
            Outcome::Off { why } => status.turn_off(why),
        }
    }
}
