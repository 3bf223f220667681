//! The watchdog: the checks before each notification of systemd's watchdog, and the line in `systemctl status`.
//!
//! ```text
//!  a third of WatchdogSec ─► the trail's writer, its store ─► our own socket, the accept loop, an answer ─► WATCHDOG=1
//! ```
//! It never notifies systemd without these checks: if anything hangs, the watchdog expires, and systemd kills the daemon
//! and starts another one. `serve.rs` runs it next to the server.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::Instant;

use jitd::broker::Broker;
use jitd::hint::Hint;
use jitd::ledger::Gap;
use jitd::service;

/// The watchdog of one daemon.
pub(crate) struct Watchdog {
    broker: Arc<Broker>,
    /// The socket for people.
    socket: PathBuf,
    /// Whether no login can be read, which does not change while the process runs.
    callers_are_hidden: bool,
    status: Mutex<Status>,
}

/// The last status line, and the data for it besides the grants.
#[derive(Default)]
struct Status {
    line: String,
    policy_faults: usize,
    stuck: Option<Stuck>,
}

/// The part that does not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Stuck {
    #[error("the trail does not answer")]
    Silent,
    #[error("{0}")]
    Trail(String),
    #[error("the daemon does not answer on its own socket")]
    Unanswered,
    #[error("the daemon cannot call its own socket: {0}")]
    Socket(String),
}

/// The time between two attempts to connect.
const AGAIN: Duration = Duration::from_millis(100);

/// The minimum time between two lines for `systemctl status`: nobody reads faster, and counting thousands of grants at each
/// of their steps would cost too much.
const CALM: Duration = Duration::from_secs(1);

impl Watchdog {
    /// The watchdog of a daemon that serves at `socket`.
    pub(crate) fn new(broker: Arc<Broker>, socket: &Path) -> Arc<Self> {
        let callers_are_hidden = service::callers_are_hidden();
        Arc::new(Self { broker, socket: socket.to_owned(), callers_are_hidden, status: Mutex::default() })
    }

    /// Tells systemd that the daemon is ready, after the start and after each reload, with the number of faults that
    /// prevented a reload of the policy.
    pub(crate) fn ready(&self, policy_faults: usize) {
        let mut status = self.status();
        status.policy_faults = policy_faults;
        status.line = self.line(&status);
        service::ready(&status.line);
    }

    /// Keeps the line for `systemctl status` current until it is dropped.
    pub(crate) async fn tell(&self) {
        let (_, mut changes) = self.broker.ledger().subscribe();
        // The line describes the current state, so a gap does not matter.
        while !matches!(changes.next().await, Err(Gap::Closed)) {
            changes.skip();
            self.tell_now();
            tokio::time::sleep(CALM).await;
        }
    }

    /// Notifies a watchdog that expires after `limit`, until it is dropped.
    pub(crate) async fn feed(&self, limit: Duration) {
        // In time even if one notification is lost (sd_watchdog_enabled(3) recommends half of the limit).
        let every = limit / 3;
        // The first one later: systemd counts from READY on, and before it has read READY, a call on the socket makes it
        // start the daemon.
        let mut beats = tokio::time::interval_at(Instant::now() + every, every);
        beats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            beats.tick().await;
            let passed = self.pass(every).await;
            if let Err(stuck) = &passed {
                tracing::error!(%stuck, "the watchdog was not notified; systemd will soon kill the daemon and start another one");
            }
            if passed.is_ok() {
                service::alive();
            }
            self.status().stuck = passed.err();
            self.tell_now();
        }
    }

    /// Checks the store and the accept loop, each within `limit`.
    async fn pass(&self, limit: Duration) -> Result<(), Stuck> {
        let store = tokio::time::timeout(limit, self.broker.ledger().store_answers()).await;
        store.map_err(|_| Stuck::Silent)?.map_err(|error| Stuck::Trail(error.in_full().to_string()))?;
        let call = tokio::time::timeout(limit, self.call()).await;
        call.map_err(|_| Stuck::Unanswered)?
    }

    /// Calls the daemon as any client does. Any answer is enough, even `busy` or a closed connection: it shows that the daemon
    /// accepts connections. Clients that use all places must not get the daemon killed.
    async fn call(&self) -> Result<(), Stuck> {
        let mut stream = loop {
            match UnixStream::connect(&self.socket).await {
                Ok(stream) => break stream,
                // The kernel's queue of connections is full at the moment.
                Err(error) if error.kind() == ErrorKind::WouldBlock => tokio::time::sleep(AGAIN).await,
                Err(error) => return Err(Stuck::Socket(error.to_string())),
            }
        };
        let asked = stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: jitd\r\nconnection: close\r\n\r\n").await;
        if asked.is_ok() {
            // The daemon closes it, with or without an answer.
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
        Ok(())
    }

    fn tell_now(&self) {
        let mut status = self.status();
        let line = self.line(&status);
        if line != status.line {
            service::status(&line);
            status.line = line;
        }
    }

    /// `3 live, 1 waiting`, whether the daemon is drained, and what is wrong.
    fn line(&self, status: &Status) -> String {
        let census = self.broker.ledger().count_by_phase();
        let count = |phases: &[&str]| phases.iter().filter_map(|phase| census.get(phase)).sum::<usize>();
        let drained = if self.broker.draining().is_some() { "draining: " } else { "" };
        // Access that is ending may still work; pending, approved and collecting grants have no access yet.
        let (live, waiting) = (count(&["live", "ending"]), count(&["pending", "approved", "collecting"]));
        let mut line = format!("{drained}{live} live, {waiting} waiting");
        if status.policy_faults > 0 {
            line += &format!("; the policy was not reloaded (faults: {}), see the log", status.policy_faults);
        }
        let keys = self.broker.needs_restart();
        if !keys.is_empty() {
            line += &format!("; restart jitd for the changed keys of config.yaml: {}", keys.join(", "));
        }
        if self.callers_are_hidden {
            line += "; /proc hides callers' logins, so nobody may approve, see the log";
        }
        let bound = self.broker.bound_user_names();
        if bound > 0 {
            line += &format!("; bindings of people's own user names: {bound}, see the log");
        }
        let fault = self.broker.ledger().store_fault().map(|why| format!("the trail could not be written: {why}"));
        for wrong in fault.into_iter().chain(status.stuck.as_ref().map(ToString::to_string)) {
            // A status has only one line.
            line += &format!("; {}", wrong.replace('\n', "; "));
        }
        for silent in self.broker.silent() {
            line += &format!("; the {silent} does not answer");
        }
        line
    }

    fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock()
    }
}
