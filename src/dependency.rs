//! Calls to dependencies that may never answer: the name service, DNS, a token, a disk.
//!
//! ```text
//!  ask ─► the queue of its key ─► one of the dependency's own threads ─► an answer, or after the limit: NoAnswer
//! ```
//! Such a call blocks a thread and cannot be cancelled. Therefore each dependency has threads of its own, and one key
//! (for example an account) never takes more than one of them. The caller gets an error after the limit, or at once if
//! the previous call still hangs. `people`, `cluster`, `broker` and `jitd serve` have dependencies; `metrics` and `api`
//! report those that do not answer.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot};

use crate::hint::Hint;
use crate::locks::Locks;

/// A dependency, asked for one `K` at a time. Cheap to clone.
pub struct Dependency<K = ()>(Arc<Shared<K>>);

struct Shared<K> {
    name: String,
    limit: Duration,
    threads: usize,
    free: Arc<Semaphore>,
    turns: Locks<K>,
    calls: Mutex<Calls<K>>,
}

/// The calls that occupy a thread.
struct Calls<K> {
    begun: HashMap<u64, (K, Instant)>,
    next: u64,
    /// Whether the log says that one of them takes too long.
    is_logged: bool,
}

/// A dependency did not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {dependency} {why}")]
pub struct NoAnswer {
    dependency: String,
    why: String,
}

impl Hint for NoAnswer {
    fn hint(&self) -> Option<Cow<'static, str>> {
        Some("try again; the daemon's log has details for an administrator".into())
    }
}

/// The state of a dependency, whatever it is asked for.
pub trait Watched: Send + Sync {
    /// The name, without an article.
    fn name(&self) -> &str;

    /// How many calls have exceeded the limit and not returned.
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
    /// A dependency that is asked on at most `threads` threads, with this time limit.
    #[must_use]
    pub fn new(name: impl Into<String>, threads: usize, limit: Duration) -> Self {
        let calls = Mutex::new(Calls { begun: HashMap::new(), next: 0, is_logged: false });
        let free = Arc::new(Semaphore::new(threads));
        Self(Arc::new(Shared { name: name.into(), limit, threads, free, turns: Locks::default(), calls }))
    }

    /// Asks on a thread of this dependency, after earlier calls with the same `key`.
    ///
    /// # Errors
    /// [`NoAnswer`] after the limit, or at once if the previous call has already exceeded it. The question may still be
    /// answered later.
    pub async fn ask<T: Send + 'static>(
        &self,
        key: K,
        question: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NoAnswer> {
        // The dependency is known to hang, so there is no point in waiting.
        if self.0.under_way(&key, self.0.limit) {
            return Err(self.0.silent());
        }
        let waited = tokio::time::timeout(self.0.limit, async {
            let turn = self.0.turns.lock(&key).await;
            (turn, Arc::clone(&self.0.free).acquire_owned().await)
        });
        let Ok((turn, Ok(thread))) = waited.await else {
            // Either one call hung all the time, or there were many that all returned.
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
            // The caller may have given up.
            let _ = answer.send(answered);
        };
        if let Err(error) = std::thread::Builder::new().name("dependency".to_owned()).spawn(work) {
            self.0.end(call);
            return Err(self.0.failed(&format!("cannot be asked: {error}")));
        }
        match tokio::time::timeout(self.0.limit, answered).await {
            Ok(answered) => answered.map_err(|_| self.0.failed("cannot be asked: the call failed")),
            Err(_) => {
                self.0.log_silence();
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
    fn count(&self, of: impl Fn(&K) -> bool, age: Duration) -> usize {
        self.calls.lock().begun.values().filter(|(key, since)| of(key) && since.elapsed() >= age).count()
    }

    /// Whether a call that blocks those for `key` has run for at least `age`.
    fn under_way(&self, key: &K, age: Duration) -> bool
    where
        K: Eq,
    {
        self.count(|_| true, age) >= self.threads || self.count(|other| other == key, age) > 0
    }

    fn begin(&self, key: K) -> u64 {
        let mut calls = self.calls.lock();
        calls.next = calls.next.wrapping_add(1);
        let call = calls.next;
        calls.begun.insert(call, (key, Instant::now()));
        call
    }

    fn end(&self, call: u64) {
        let mut calls = self.calls.lock();
        calls.begun.remove(&call);
        let waits = calls.begun.values().any(|(_, since)| since.elapsed() >= self.limit);
        if calls.is_logged && !waits {
            calls.is_logged = false;
            tracing::info!(dependency = self.name, "the {} answers again", self.name);
        }
    }

    /// Logs once that it does not answer, until it answers again.
    fn log_silence(&self) {
        let mut calls = self.calls.lock();
        if !calls.is_logged {
            calls.is_logged = true;
            tracing::error!(
                dependency = self.name,
                "{}; requests that need it are refused until it does",
                self.silent()
            );
        }
    }

    fn silent(&self) -> NoAnswer {
        self.failed(&format!("does not answer within {} s", self.limit.as_secs()))
    }

    fn failed(&self, why: &str) -> NoAnswer {
        NoAnswer { dependency: self.name.clone(), why: why.to_owned() }
    }
}

/// A call that occupies a thread. Ends when dropped, even if the question panics.
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

    /// A question that is answered when the sender is dropped.
    fn held() -> (mpsc::Sender<()>, impl FnOnce() + Send + 'static) {
        let (release, wait) = mpsc::channel::<()>();
        (release, move || _ = wait.recv())
    }

    #[tokio::test]
    async fn a_call_that_hangs_blocks_only_its_own_key() {
        let names = Dependency::new("name service", 2, LIMIT);
        let (release, hangs) = held();
        let silent = names.ask("alice", hangs).await.unwrap_err();
        assert_eq!(silent.to_string(), "the name service does not answer within 0 s");
        assert_eq!(names.overdue(), 1);
        assert_eq!(names.ask("bob", || 7).await, Ok(7), "another key is answered");
        let asked = Instant::now();
        assert_eq!(names.ask("alice", || ()).await, Err(silent.clone()));
        assert!(asked.elapsed() < LIMIT, "a caller does not wait for a key that is known to hang");

        let (release_too, hangs) = held();
        assert_eq!(names.ask("bob", hangs).await, Err(silent.clone()));
        assert_eq!(names.ask("carol", || ()).await, Err(silent), "no thread is left, and no new one is created");
        drop((release, release_too));
        while names.overdue() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(names.ask("alice", || 8).await, Ok(8), "it answers again");
    }

    #[tokio::test]
    async fn one_key_uses_one_thread() {
        let names = Dependency::new("name service", 8, Duration::from_secs(60));
        let (release, hangs) = held();
        let first = names.ask("alice", hangs);
        let mut first = Box::pin(first);
        assert!(futures::poll!(&mut first).is_pending());
        let mut second = Box::pin(names.ask("alice", || 2));
        assert!(futures::poll!(&mut second).is_pending());
        assert_eq!(names.ask("bob", || 3).await, Ok(3));
        assert!(futures::poll!(&mut second).is_pending(), "alice's first call is still running");
        drop(release);
        first.await.unwrap();
        assert_eq!(second.await, Ok(2));
    }

    #[tokio::test]
    async fn a_question_that_panics_releases_its_thread() {
        let names = Dependency::new("name service", 1, Duration::from_secs(60));
        let failed = names.ask((), || panic!("on purpose")).await.unwrap_err();
        assert_eq!(failed.to_string(), "the name service cannot be asked: the call failed");
        assert_eq!(names.ask((), || 1).await, Ok(1));
    }
}
