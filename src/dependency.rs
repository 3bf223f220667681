//! What the daemon asks of others that may never answer: the name service, DNS, a token, a disk.
//!
//! ```text
//!  ask ─► the turn of its key ─► one of the dependency's own threads ─► an answer, or after the limit: NoAnswer
//! ```
//! Such a call blocks a thread and can't be cancelled, so the threads of one are never those of another, and one key (an
//! account, say) never takes more than one of them. Who asks is told after the limit, by the dependency's name, and at once
//! while the call before theirs has not come back. `people`, `cluster`, `broker` and `jitd serve` have some; `metrics` and
//! `api` tell which of them do not answer.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, oneshot};

use crate::hint::Hint;
use crate::locks::Locks;

/// One of them, asked for a `K` at a time. Cheap to clone.
pub struct Dependency<K = ()>(Arc<Shared<K>>);

struct Shared<K> {
    name: String,
    limit: Duration,
    threads: usize,
    free: Arc<Semaphore>,
    turns: Locks<K>,
    calls: Mutex<Calls<K>>,
}

/// The calls that hold a thread.
struct Calls<K> {
    begun: HashMap<u64, (K, Instant)>,
    next: u64,
    /// Whether the log has it that one of them takes too long.
    is_told: bool,
}

/// Nothing came of a question.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {dependency} {why}")]
pub struct NoAnswer {
    dependency: String,
    why: String,
}

impl Hint for NoAnswer {
    fn hint(&self) -> Option<Cow<'static, str>> {
        Some("try again; an administrator finds more in the daemon's log".into())
    }
}

/// What tells of a dependency, whatever it is asked for.
pub trait Watched: Send + Sync {
    /// Its name, without an article.
    fn name(&self) -> &str;

    /// How many calls have not come back within the limit.
    fn overdue(&self) -> usize;
}

impl<K> Clone for Dependency<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K> std::fmt::Debug for Dependency<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Dependency").field(&self.0.name).finish()
    }
}

impl<K: Eq + Hash + Clone + Send + 'static> Dependency<K> {
    /// One that is asked on so many threads at most, and is waited for so long.
    #[must_use]
    pub fn new(name: impl Into<String>, threads: usize, limit: Duration) -> Self {
        let calls = Mutex::new(Calls { begun: HashMap::new(), next: 0, is_told: false });
        let free = Arc::new(Semaphore::new(threads));
        Self(Arc::new(Shared { name: name.into(), limit, threads, free, turns: Locks::default(), calls }))
    }

    /// Asks on a thread of this dependency, after who asked for the same `key` before.
    ///
    /// # Errors
    /// [`NoAnswer`] after the limit, or at once when the call before is longer under way than that. What was asked may
    /// happen later all the same.
    pub async fn ask<T: Send + 'static>(
        &self,
        key: K,
        question: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NoAnswer> {
        // Nobody needs to wait to know that there will be no answer.
        if self.0.under_way(&key, self.0.limit) {
            return Err(self.0.silent());
        }
        let waited = tokio::time::timeout(self.0.limit, async {
            let turn = self.0.turns.lock(&key).await;
            (turn, Arc::clone(&self.0.free).acquire_owned().await)
        });
        let Ok((turn, Ok(thread))) = waited.await else {
            // Either one call was under way all the time, or many that all came back.
            let hangs = self.0.under_way(&key, self.0.limit / 2);
            let busy = || self.0.failed(&format!("had too much to do for {} s", self.0.limit.as_secs()));
            return Err(if hangs { self.0.silent() } else { busy() });
        };
        let (answer, answered) = oneshot::channel();
        let (shared, call) = (Arc::clone(&self.0), self.0.begin(key));
        let work = move || {
            let call = UnderWay { shared, call };
            let answered = question();
            drop((call, thread, turn));
            // Who asked may have given up.
            let _ = answer.send(answered);
        };
        if let Err(error) = std::thread::Builder::new().name("dependency".to_owned()).spawn(work) {
            self.0.end(call);
            return Err(self.0.failed(&format!("can't be asked: {error}")));
        }
        match tokio::time::timeout(self.0.limit, answered).await {
            Ok(answered) => answered.map_err(|_| self.0.failed("can't be asked: the call failed")),
            Err(_) => {
                self.0.tell();
                Err(self.0.silent())
            }
        }
    }
}

impl<K: Send> Watched for Dependency<K> {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn overdue(&self) -> usize {
        self.0.count(|_| true, self.0.limit)
    }
}

impl<K> Shared<K> {
    fn lock(&self) -> MutexGuard<'_, Calls<K>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, of: impl Fn(&K) -> bool, age: Duration) -> usize {
        self.lock().begun.values().filter(|(key, since)| of(key) && since.elapsed() >= age).count()
    }

    /// Whether a call that who asks for `key` waits for is under way for so long.
    fn under_way(&self, key: &K, age: Duration) -> bool
    where
        K: Eq,
    {
        self.count(|_| true, age) >= self.threads || self.count(|other| other == key, age) > 0
    }

    fn begin(&self, key: K) -> u64 {
        let mut calls = self.lock();
        calls.next = calls.next.wrapping_add(1);
        let call = calls.next;
        calls.begun.insert(call, (key, Instant::now()));
        call
    }

    fn end(&self, call: u64) {
        let mut calls = self.lock();
        calls.begun.remove(&call);
        let waits = calls.begun.values().any(|(_, since)| since.elapsed() >= self.limit);
        if calls.is_told && !waits {
            calls.is_told = false;
            tracing::info!(dependency = self.name, "the {} answers again", self.name);
        }
    }

    /// Once in the log, until it answers again.
    fn tell(&self) {
        let mut calls = self.lock();
        if !calls.is_told {
            calls.is_told = true;
            tracing::error!(dependency = self.name, "{}; who needs it is refused until it does", self.silent());
        }
    }

    fn silent(&self) -> NoAnswer {
        self.failed(&format!("does not answer within {} s", self.limit.as_secs()))
    }

    fn failed(&self, why: &str) -> NoAnswer {
        NoAnswer { dependency: self.name.clone(), why: why.to_owned() }
    }
}

/// A call that holds a thread, until this goes; also when the question panics.
struct UnderWay<K> {
    shared: Arc<Shared<K>>,
    call: u64,
}

impl<K> Drop for UnderWay<K> {
    fn drop(&mut self) {
        self.shared.end(self.call);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const LIMIT: Duration = Duration::from_millis(300);

    /// A question that is answered when the sender goes.
    fn held() -> (mpsc::Sender<()>, impl FnOnce() + Send + 'static) {
        let (release, wait) = mpsc::channel::<()>();
        (release, move || _ = wait.recv())
    }

    #[tokio::test]
    async fn what_hangs_holds_up_nothing_but_itself() {
        let names = Dependency::new("name service", 2, LIMIT);
        let (release, hangs) = held();
        let silent = names.ask("alice", hangs).await.unwrap_err();
        assert_eq!(silent.to_string(), "the name service does not answer within 0 s");
        assert_eq!(names.overdue(), 1);
        assert_eq!(names.ask("bob", || 7).await, Ok(7), "another one is answered");
        let asked = Instant::now();
        assert_eq!(names.ask("alice", || ()).await, Err(silent.clone()));
        assert!(asked.elapsed() < LIMIT, "nobody waits for what is known to hang");

        let (release_too, hangs) = held();
        assert_eq!(names.ask("bob", hangs).await, Err(silent.clone()));
        assert_eq!(names.ask("carol", || ()).await, Err(silent), "no thread is left, and none is made");
        drop((release, release_too));
        while names.overdue() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(names.ask("alice", || 8).await, Ok(8), "it answers again");
    }

    #[tokio::test]
    async fn one_key_has_one_thread() {
        let names = Dependency::new("name service", 8, Duration::from_secs(60));
        let (release, hangs) = held();
        let first = names.ask("alice", hangs);
        let mut first = Box::pin(first);
        assert!(futures::poll!(&mut first).is_pending());
        let mut second = Box::pin(names.ask("alice", || 2));
        assert!(futures::poll!(&mut second).is_pending());
        assert_eq!(names.ask("bob", || 3).await, Ok(3));
        assert!(futures::poll!(&mut second).is_pending(), "alice's turn is taken");
        drop(release);
        first.await.unwrap();
        assert_eq!(second.await, Ok(2));
    }

    #[tokio::test]
    async fn a_question_that_panics_gives_its_thread_back() {
        let names = Dependency::new("name service", 1, Duration::from_secs(60));
        let failed = names.ask((), || panic!("on purpose")).await.unwrap_err();
        assert_eq!(failed.to_string(), "the name service can't be asked: the call failed");
        assert_eq!(names.ask((), || 1).await, Ok(1));
    }
}
