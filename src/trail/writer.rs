//! The writer: one thread that stores what everybody appends, and shares a commit among all who wait.
//!
//! ```text
//!  append ──► queue ──► take: all that waits, at most a batch ──► store ──► who waits is told
//! ```
//! It answers nobody before the disk has what they appended. Only [`Trail`](super::Trail) calls it.

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::chain::Position;
use super::store::{Append, Store};
use super::{Fault, TrailError};

/// At most so many appends share one commit, so that the first of them does not wait without end.
const BATCH: usize = 512;

/// At most so many appends wait. Whoever appends waits for the answer, but of those who ask the daemon some go, and their
/// appends stay: on a disk that hangs there would be ever more of them.
pub(super) const WAITING: usize = 16 * BATCH;

/// From so many appends in one commit on, the writer waits for the next crowd.
const CROWD: usize = 5;

/// How long it waits at most, about two commits long. What shares a commit shares its sync and its pages.
const PATIENCE: Duration = Duration::from_millis(1);

/// The thread, and the queue to it. The thread ends when this goes.
pub(super) struct Writer {
    queue: Arc<Queue>,
    path: Arc<PathBuf>,
    thread: parking_lot::Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    pub(super) fn start(mut store: Store) -> Result<Self, Fault> {
        let queue = Arc::new(Queue::default());
        let (taker, path) = (Taker(Arc::clone(&queue)), Arc::clone(&store.path));
        let thread = std::thread::Builder::new()
            .name("trail".to_owned())
            .spawn(move || {
                write(&mut store, &taker);
                store.close();
            })
            .map_err(|error| Fault::System(error.to_string()))?;
        Ok(Self { queue, path, thread: parking_lot::Mutex::new(Some(thread)) })
    }

    /// Returns when it is on the disk; nothing when the writer has stopped.
    pub(super) async fn append(&self, append: Append) -> Option<Result<Position, TrailError>> {
        match self.queue.put(append) {
            Some(outcome) => outcome.await.ok(),
            None => Some(Err(Fault::System(format!("{WAITING} appends wait for the disk")).at(&self.path))),
        }
    }

    /// Returns when everything that was appended is stored.
    pub(super) fn close(&self) {
        self.queue.close();
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.close();
    }
}

fn write(store: &mut Store, taker: &Taker) {
    let mut usual = 1;
    loop {
        let (batch, waiting): (Vec<_>, Vec<_>) = taker.take(usual).into_iter().unzip();
        if batch.is_empty() {
            return;
        }
        usual = batch.len();
        for (done, outcome) in waiting.into_iter().zip(store.store(&batch)) {
            // Who does not wait any more finds it in the trail.
            let _ = done.send(outcome);
        }
    }
}

/// What waits for the writer, which is woken once for a crowd, not once for each append of it.
///
/// Its lock is the standard library's: parking_lot's may hand itself to a thread that it wakes, and would then be held by a writer
/// that does not run, while everybody who appends waits for it on a thread of the runtime.
#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    enough: Condvar,
}

#[derive(Default)]
struct Waiting {
    appends: Vec<(Append, Done)>,
    /// How many the writer sleeps for; none while it is awake.
    wanted: Option<usize>,
    closed: bool,
}

type Done = oneshot::Sender<Result<Position, TrailError>>;

impl Queue {
    /// What comes of an append; nothing when too many wait. It is dropped when the queue is closed, and whoever waits for it is
    /// told so.
    pub(super) fn put(&self, append: Append) -> Option<oneshot::Receiver<Result<Position, TrailError>>> {
        let (done, outcome) = oneshot::channel();
        let mut waiting = self.lock();
        if waiting.appends.len() >= WAITING {
            return None;
        }
        if !waiting.closed {
            waiting.appends.push((append, done));
            if waiting.wanted.is_some_and(|wanted| waiting.appends.len() >= wanted) {
                waiting.wanted = None;
                self.enough.notify_one();
            }
        }
        Some(outcome)
    }

    fn close(&self) {
        self.lock().closed = true;
        self.enough.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The writer's end of the queue. With it goes what still waits, so that nobody waits for a writer that is gone.
pub(super) struct Taker(pub(super) Arc<Queue>);

impl Taker {
    /// Everything that waits; nothing when the queue is closed and empty. Where the last batch was a large
    /// one, as many are about to come again, and a moment's patience makes one commit of two; a single writer
    /// never waits.
    fn take(&self, usual: usize) -> Vec<(Append, Done)> {
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
        waiting.appends.drain(..batch).collect()
    }
}

impl Drop for Taker {
    fn drop(&mut self) {
        self.0.close();
        self.0.lock().appends.clear();
    }
}
