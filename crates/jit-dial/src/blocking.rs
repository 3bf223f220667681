//! Calls that block a thread and cannot be cancelled: the resolver, a file on a network, the start of a program.
//!
//! Each runs on a thread of its own. The runtime's pool would make the end of the program wait for one that hangs. A kind
//! of call has a fixed number of threads, so that calls that hang cannot use up all that the process may have.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

/// One kind of blocking call. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Blocking(Arc<Semaphore>);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unanswered {
    /// The call, or those before it, did not return in time.
    #[error("no answer within {} s", .0.as_secs())]
    TimedOut(Duration),
    /// There is no thread for it, or the call panicked.
    #[error("cannot be asked: {0}")]
    Failed(io::Error),
}

impl From<Unanswered> for io::Error {
    fn from(why: Unanswered) -> Self {
        match why {
            Unanswered::TimedOut(_) => Self::new(io::ErrorKind::TimedOut, why.to_string()),
            Unanswered::Failed(why) => why,
        }
    }
}

impl Blocking {
    pub(crate) fn new(threads: usize) -> Self {
        Self(Arc::new(Semaphore::new(threads)))
    }

    /// Runs `call` on a thread of its own and waits for it for at most `limit`, including the wait for a free thread.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        limit: Duration,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Unanswered> {
        let answered = timeout(limit, async {
            let free = Arc::clone(&self.0).acquire_owned().await.map_err(io::Error::other)?;
            let (send, receive) = oneshot::channel();
            let work = move || {
                let answer = call();
                drop(free);
                // The caller may have given up.
                let _ = send.send(answer);
            };
            std::thread::Builder::new().name("blocking-call".to_owned()).spawn(work)?;
            receive.await.map_err(io::Error::other)
        });
        match answered.await {
            Ok(answer) => answer.map_err(Unanswered::Failed),
            Err(_) => Err(Unanswered::TimedOut(limit)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_call_that_hangs_costs_its_thread_and_no_other() {
        let (calls, (release, hang)) = (Blocking::new(2), mpsc::channel::<()>());
        let limit = Duration::from_millis(50);
        let silent = calls.run(limit, move || _ = hang.recv()).await.unwrap_err();
        assert!(matches!(silent, Unanswered::TimedOut(after) if after == limit), "{silent}");
        assert_eq!(calls.run(Duration::from_secs(60), || 7).await.unwrap(), 7);
        assert_eq!(calls.0.available_permits(), 1);
        drop(release);
        let both = calls.0.acquire_many(2).await;
        assert!(both.is_ok(), "the thread is free again");
    }

    #[tokio::test]
    async fn a_call_that_panics_is_an_error_and_frees_its_thread() {
        let calls = Blocking::new(1);
        let failed = calls.run(Duration::from_secs(60), || panic!("on purpose")).await.unwrap_err();
        assert!(matches!(failed, Unanswered::Failed(_)), "{failed}");
        assert_eq!(calls.run(Duration::from_secs(60), || 1).await.unwrap(), 1);
    }
}
