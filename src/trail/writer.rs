//! The writer: one thread that stores all appends, and shares a commit among those that wait.
//!
//! ```text
//!  append ──► queue ──► take: everything that waits, at most a batch ──► store ──► answers
//! ```
//! It answers an append only when it is on the disk. A disk can hang, and a sync cannot be cancelled: after a time limit, the
//! caller takes its append out of the queue, or, if the writer has it, is told that the outcome is unknown. If that append
//! is stored after all, the writer reports it as late. Only [`Trail`](super::Trail) calls this.

use std::path::PathBuf;
use std::sync::mpsc;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use super::chain::Position;
use super::store::{Append, Store};
use super::{Fault, TrailError};
use crate::grant::{Event, GrantId};

/// How long an append may take before its caller is told that the trail does not answer. Longer than the 5 s that SQLite
/// waits for another process's lock; the sync of a busy disk takes less than a second.
pub const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// The maximum number of appends that share a commit, so that the first one does not wait forever.
const BATCH: usize = 512;

/// The maximum number of appends that wait. A call waits for its answer, but if the client disconnects, its append stays in
/// the queue: on a disk that hangs, the queue would grow without limit.
pub(super) const WAITING: usize = 16 * BATCH;

/// After a commit with at least this many appends, the writer waits for the next crowd.
const CROWD: usize = 5;

/// How long it waits at most, about as long as two commits. Appends that share a commit share its sync and its pages.
const PATIENCE: Duration = Duration::from_millis(1);

/// Something that was stored after its caller had been told that this is unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Late {
    /// Events of this grant.
    Grant(GrantId),
    /// The begin or the end of a drain.
    Drain,
}

/// The thread and its queue. Dropping this ends the thread.
pub(super) struct Writer {
    queue: Arc<Queue>,
    path: Arc<PathBuf>,
    /// The thread, and a channel that closes when it ends.
    thread: parking_lot::Mutex<Option<(JoinHandle<()>, mpsc::Receiver<()>)>>,
}

impl Writer {
    pub(super) fn start(mut store: Store, late: UnboundedSender<Late>) -> Result<Self, Fault> {
        let queue = Arc::new(Queue::default());
        let (taker, path) = (Taker(Arc::clone(&queue)), Arc::clone(&store.path));
        let (running, ended) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("trail".to_owned())
            .spawn(move || {
                // Dropped last.
                let _running: mpsc::Sender<()> = running;
                write(&mut store, &taker, &late);
                store.close();
            })
            .map_err(|error| Fault::System(error.to_string()))?;
        Ok(Self { queue, path, thread: parking_lot::Mutex::new(Some((thread, ended))) })
    }

    /// Returns when the append is on the disk, or after [`ANSWERS_WITHIN`]; at once if the disk has not answered for that
    /// long already. None if the writer has stopped.
    pub(super) async fn append(&self, append: Append) -> Option<Result<Position, TrailError>> {
        let path = || self.path.display().to_string();
        let mut queued = match self.queue.put(append) {
            Ok(queued) => queued,
            Err(NotQueued::Silent) => return Some(Err(TrailError::Silent { path: path() })),
            Err(NotQueued::Full) => {
                let why = format!("{WAITING} appends are waiting for the disk");
                return Some(Err(Fault::System(why).at(&self.path)));
            }
        };
        match tokio::time::timeout(ANSWERS_WITHIN, &mut queued.outcome).await {
            Ok(outcome) => outcome.ok(),
            Err(_) if self.queue.withdraw(queued.number) => Some(Err(TrailError::Silent { path: path() })),
            Err(_) => {
                // From here on, the writer reports the append as late, unless it has answered a moment ago.
                queued.outcome.close();
                Some(queued.outcome.try_recv().unwrap_or_else(|_| Err(TrailError::Unknown { path: path() })))
            }
        }
    }

    /// Whether the writer has been storing the same appends for longer than [`ANSWERS_WITHIN`].
    pub(super) fn is_silent(&self) -> bool {
        self.queue.lock().is_silent()
    }

    /// Returns when all appends are stored, or when the disk does not answer in time.
    pub(super) fn close(&self) {
        self.queue.close();
        let Some((thread, ended)) = self.thread.lock().take() else { return };
        let limit = if self.is_silent() { Duration::ZERO } else { ANSWERS_WITHIN };
        if ended.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
            tracing::error!(trail = %self.path.display(), "the disk does not answer; the last events may not be stored");
            return;
        }
        let _ = thread.join();
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.close();
    }
}

fn write(store: &mut Store, taker: &Taker, late: &UnboundedSender<Late>) {
    let mut usual = 1;
    loop {
        let (batch, waiting): (Vec<_>, Vec<_>) = taker.take(usual).into_iter().unzip();
        if batch.is_empty() {
            return;
        }
        usual = batch.len();
        for ((done, outcome), append) in waiting.into_iter().zip(store.store(&batch)).zip(&batch) {
            if let Err(Ok(_)) = done.send(outcome)
                && let Some(whose) = whose(append)
            {
                // Nobody receives them while the daemon stops.
                let _ = late.send(whose);
            }
        }
        taker.stored();
    }
}

/// What an append is about, as far as the daemon's memory depends on it.
fn whose(append: &Append) -> Option<Late> {
    append.facts.iter().find_map(|fact| match (&fact.grant, &fact.event) {
        (Some(grant), _) => Some(Late::Grant(grant.clone())),
        (None, Event::Drained { .. } | Event::Resumed) => Some(Late::Drain),
        (None, _) => None,
    })
}

/// The appends that wait for the writer, which is woken once for a crowd instead of once for each append.
///
/// It uses the standard library's lock: parking_lot's can pass itself to a thread that it wakes. Then a writer that is not
/// running yet would hold it, while everybody who appends would wait for it on a thread of the runtime.
#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    enough: Condvar,
}

#[derive(Default)]
struct Waiting {
    appends: Vec<(u64, Append, Done)>,
    /// The number of the next append.
    next: u64,
    /// The number of appends that wakes the writer; none while it is awake.
    wanted: Option<usize>,
    /// Since when the writer has been storing what it took.
    storing: Option<Instant>,
    closed: bool,
}

impl Waiting {
    fn is_silent(&self) -> bool {
        self.storing.is_some_and(|since| since.elapsed() >= ANSWERS_WITHIN)
    }
}

type Outcome = Result<Position, TrailError>;
type Done = oneshot::Sender<Outcome>;

/// An append that waits.
pub(super) struct Queued {
    pub(super) number: u64,
    pub(super) outcome: oneshot::Receiver<Outcome>,
}

/// Why an append was not queued.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotQueued {
    /// [`WAITING`] others wait.
    Full,
    /// The disk does not answer.
    Silent,
}

impl Queue {
    /// Queues an append. If the queue is closed, the sender of the outcome is dropped, which the receiver notices.
    pub(super) fn put(&self, append: Append) -> Result<Queued, NotQueued> {
        let (done, outcome) = oneshot::channel();
        let mut waiting = self.lock();
        if waiting.is_silent() {
            return Err(NotQueued::Silent);
        }
        if waiting.appends.len() >= WAITING {
            return Err(NotQueued::Full);
        }
        let number = waiting.next;
        waiting.next = number.wrapping_add(1);
        if !waiting.closed {
            waiting.appends.push((number, append, done));
            if waiting.wanted.is_some_and(|wanted| waiting.appends.len() >= wanted) {
                waiting.wanted = None;
                self.enough.notify_one();
            }
        }
        Ok(Queued { number, outcome })
    }

    /// Takes an append out of the queue; false if the writer has taken it.
    pub(super) fn withdraw(&self, number: u64) -> bool {
        let mut waiting = self.lock();
        let before = waiting.appends.len();
        waiting.appends.retain(|(other, ..)| *other != number);
        waiting.appends.len() < before
    }

    fn close(&self) {
        self.lock().closed = true;
        self.enough.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The writer's end of the queue. Dropping it drops all waiting appends, so that nobody waits for a writer that is gone.
pub(super) struct Taker(pub(super) Arc<Queue>);

impl Taker {
    /// Everything that waits; empty when the queue is closed and empty. After a large batch, the next one will probably be as
    /// large, so waiting for a moment makes one commit out of two; a single caller never waits.
    pub(super) fn take(&self, usual: usize) -> Vec<(Append, Done)> {
        let mut waiting = self.0.lock();
        let end = Instant::now() + PATIENCE;
        while usual >= CROWD && waiting.appends.len() < usual && !waiting.closed {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            waiting.wanted = Some(usual);
            waiting = self.0.enough.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        while waiting.appends.is_empty() && !waiting.closed {
            waiting.wanted = Some(1);
            waiting = self.0.enough.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        waiting.wanted = None;
        let batch = waiting.appends.len().min(BATCH);
        waiting.storing = (batch > 0).then(Instant::now);
        waiting.appends.drain(..batch).map(|(_, append, done)| (append, done)).collect()
    }

    /// Notes that what was taken is stored.
    fn stored(&self) {
        self.0.lock().storing = None;
    }
}

impl Drop for Taker {
    fn drop(&mut self) {
        self.0.close();
        let mut waiting = self.0.lock();
        waiting.appends.clear();
        waiting.storing = None;
    }
}
