//! Accepts connections, on a thread for each socket, and closes those beyond a limit at once.
//!
//! ```text
//!  accept ─► which account ─► its place ──► Arrival           all else is `server`'s
//!                               │ none ───► Arrival, a few    to be told that it is turned away
//!                               └─────────► closed
//! ```
//! Whoever connects all the time costs three system calls each time, so that the queue of the socket, in which everybody waits,
//! stays short. It reads nothing from a connection. `server` calls it.

use std::collections::BTreeSet;
use std::future::Future;
use std::io::{ErrorKind, PipeReader, PipeWriter};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;

use super::Api;
use super::caller::{Account, Listener};
use crate::metrics::Limit;
use crate::places::{Place, Places};

/// How many connections without a place get an answer at a time, in total and per account; the others are only closed.
const TURNED_AWAY: usize = 64;
const TURNED_AWAY_OF_ACCOUNT: usize = 8;

/// How long a thread waits when the process has no file descriptor left, in milliseconds.
const OUT_OF_DESCRIPTORS: u8 = 100;

/// A socket to accept on.
pub(super) struct Socket {
    pub(super) door: Listener,
    /// It does not block.
    pub(super) listener: net::UnixListener,
    /// The accounts that may connect, if not everybody may.
    pub(super) only: Option<BTreeSet<u32>>,
    /// Those of its connections.
    pub(super) places: Arc<Places<Account>>,
}

/// A connection that was accepted. The runtime does not watch it yet.
pub(super) struct Arrival {
    pub(super) door: Listener,
    pub(super) stream: net::UnixStream,
    pub(super) uid: u32,
    pub(super) place: Place<Account>,
    /// The account, or the socket, has too many: it is only told so.
    pub(super) is_turned_away: bool,
}

/// The threads that accept.
pub(super) struct Accepting {
    accepted: UnboundedReceiver<Arrival>,
    stopped: Arc<AtomicBool>,
    /// Whoever waits is woken when it is dropped.
    waking: Option<PipeWriter>,
}

impl Accepting {
    /// Begins to accept.
    ///
    /// # Errors
    /// Those of the system; then nothing is accepted.
    pub(super) fn on(sockets: Vec<Socket>, api: &Arc<Api>) -> std::io::Result<Self> {
        let (woken, waking) = std::io::pipe()?;
        let (sender, accepted) = unbounded_channel();
        let accepting = Self { accepted, stopped: Arc::default(), waking: Some(waking) };
        for socket in sockets {
            let turned_away = Places::new(TURNED_AWAY, TURNED_AWAY_OF_ACCOUNT);
            let (api, stopped, woken) = (Arc::clone(api), Arc::clone(&accepting.stopped), woken.try_clone()?);
            let (guard, sender) = (Guard { socket, turned_away, api, stopped, woken }, sender.clone());
            std::thread::Builder::new().name("accept".to_owned()).spawn(move || guard.accept(&sender))?;
        }
        Ok(accepting)
    }

    /// The next connection; none when nothing is accepted any more, and everything that was is taken.
    pub(super) async fn next(&mut self) -> Option<Arrival> {
        self.accepted.recv().await
    }

    /// Accepts nothing more.
    pub(super) fn stop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.waking = None;
    }
}

/// What a thread has.
struct Guard {
    socket: Socket,
    turned_away: Arc<Places<Account>>,
    api: Arc<Api>,
    stopped: Arc<AtomicBool>,
    woken: PipeReader,
}

impl Guard {
    fn accept(&self, accepted: &UnboundedSender<Arrival>) {
        let Socket { door, listener, .. } = &self.socket;
        // Connections may never cease to come.
        while !self.stopped.load(Ordering::Relaxed) {
            match listener.accept() {
                Ok((stream, _)) => {
                    let Some((uid, place, is_turned_away)) = self.place(&stream) else { continue };
                    let arrival = Arrival { door: *door, stream, uid, place, is_turned_away };
                    if accepted.send(arrival).is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    wait_for(&[self.woken.as_fd(), listener.as_fd()], PollTimeout::NONE);
                }
                Err(error) => {
                    // Probably out of file descriptors: wait until some are closed.
                    tracing::warn!(%error, "a connection could not be accepted");
                    wait_for(&[self.woken.as_fd()], OUT_OF_DESCRIPTORS.into());
                }
            }
        }
    }

    /// Who connected, their place, and whether it is only one to be turned away from.
    fn place(&self, stream: &net::UnixStream) -> Option<(u32, Place<Account>, bool)> {
        let uid = getsockopt(stream, PeerCredentials).ok()?.uid();
        let Socket { only, places, .. } = &self.socket;
        if only.as_ref().is_some_and(|only| !only.contains(&uid)) {
            tracing::warn!(uid, "closed a connection to the socket of jit-frontend: it is not the front end's account");
            return None;
        }
        let account = Account::Host(uid);
        if let Some(place) = places.take(account.clone()) {
            return Some((uid, place, false));
        }
        self.api.metrics.rate_limited(Limit::Connections);
        let place = self.turned_away.take(account)?;
        Some((uid, place, true))
    }
}

/// Waits until one of the files can be read, or a signal comes.
fn wait_for(files: &[BorrowedFd<'_>], most: PollTimeout) {
    let mut waited: Vec<PollFd<'_>> = files.iter().map(|file| PollFd::new(*file, PollFlags::POLLIN)).collect();
    if let Err(error) = poll(&mut waited, most)
        && error != Errno::EINTR
    {
        tracing::error!(%error, "a socket cannot be waited for");
    }
}

/// Serves a connection in its place, which is free again when the connection has ended, and not before `least` has passed.
pub(super) async fn keep<T>(place: Place<Account>, least: Duration, connection: impl Future<Output = T>) -> T {
    let until = Instant::now() + least;
    let ended = connection.await;
    tokio::time::sleep_until(until).await;
    drop(place);
    ended
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection that is closed at once counts for a while, so that nobody keeps the daemon busy with such.
    #[tokio::test(start_paused = true)]
    async fn a_place_is_kept_for_a_while() {
        let places = Places::new(8, 1);
        let take = || places.take(Account::Host(1));
        let least = Duration::from_millis(100);
        for (lasts, is_free_after) in [(Duration::ZERO, least), (least * 3, least * 3)] {
            let place = take().unwrap();
            let kept = tokio::spawn(keep(place, least, tokio::time::sleep(lasts)));
            tokio::time::sleep(is_free_after - Duration::from_millis(1)).await;
            assert!(take().is_none() && places.take(Account::Host(2)).is_some());
            kept.await.unwrap();
            assert!(take().is_some());
        }
    }
}
