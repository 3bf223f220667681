//! The writer: one thread that stores all appends, and shares a commit among those that wait.
//!
//! ```text
//!  append ──► queue ──► take: everything that waits, at most a batch ──► store ──► answers
//! ```
//! It answers an append only when it is on the disk. Only [`Trail`](super::Trail) calls it.

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::chain::Position;
use super::store::{Append, Store};
use super::{Fault, TrailError};

/// The maximum number of appends that share a commit, so that the first one does not wait forever.
const BATCH: usize = 512;

/// The maximum number of appends that wait. A call waits for its answer, but if the client disconnects, its append stays in
/// the queue: on a disk that hangs, the queue would grow without limit.
pub(super) const WAITING: usize = 16 * BATCH;

/// After a commit with at least this many appends, the writer waits for the next crowd.
const CROWD: usize = 5;

/// How long it waits at most, about as long as two commits. Appends that share a commit share its sync and its pages.
const PATIENCE: Duration = Duration::from_millis(1);

/// The thread and its queue. Dropping this ends the thread.
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

    /// Returns when the append is on the disk; none if the writer has stopped.
    pub(super) async fn append(&self, append: Append) -> Option<Result<Position, TrailError>> {
        match self.queue.put(append) {
            Some(outcome) => outcome.await.ok(),
            None => Some(Err(Fault::System(format!("{WAITING} appends are waiting for the disk")).at(&self.path))),
        }
    }

    /// Returns when all appends are stored.
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
            // A caller that no longer waits finds the outcome in the trail.
            let _ = done.send(outcome);
        }
    }
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
    appends: Vec<(Append, Done)>,
    /// The number of appends that wakes the writer; none while it is awake.
    wanted: Option<usize>,
    closed: bool,
}

type Done = oneshot::Sender<Result<Position, TrailError>>;

impl Queue {
    /// Queues an append and returns the receiver of its outcome; none if too many wait. If the queue is closed, the sender is
    /// dropped, which the receiver notices.
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

/// The writer's end of the queue. Dropping it drops all waiting appends, so that nobody waits for a writer that is gone.
pub(super) struct Taker(pub(super) Arc<Queue>);

impl Taker {
    /// Everything that waits; empty when the queue is closed and empty. After a large batch, the next one will probably be as
    /// large, so waiting for a moment makes one commit out of two; a single caller never waits.
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
