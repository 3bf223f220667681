//! What every channel has: its connection to `jitd`, how far it is, on the disk and in its status.
//!
//! ```text
//!  connect ─► begun ─► documents: passed, recorded, reported ─► lost: not_reading, and connect again
//!                          └──► progress ─► the disk, no more than one write at a time
//! ```
//! What is done with the facts is the channel's own: `feeds` sends each of them, `boards` shows what is true.

use std::io::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jit_wire::notice::Start;
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::http::Http;
use crate::progress::{Kept, Progress};
use crate::reading::Reading;
use crate::status::Status;

/// The pause before another attempt to connect to `jitd`.
pub(crate) const AGAIN_AFTER: Duration = Duration::from_millis(200);

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

/// A channel, as far as all are alike.
pub(crate) struct Follower {
    pub(crate) name: String,
    pub(crate) around: Surroundings,
    /// None until a channel that begins anew has its first connection.
    pub(crate) progress: Option<Progress>,
    pub(crate) status: Arc<Mutex<Status>>,
    /// The state on the disk is older than ours.
    pub(crate) is_changed: bool,
    pub(crate) saving: JoinSet<bool>,
}

impl Follower {
    /// Continues after `progress`, or begins with what happens from now on.
    pub(crate) fn new(name: String, around: Surroundings, progress: Option<Progress>) -> Self {
        let status = Status { channel: name.clone(), ..Status::default() };
        let status = Arc::new(Mutex::new(status));
        Self { name, around, progress, status, is_changed: false, saving: JoinSet::new() }
    }

    /// Connects to `jitd`, not before `when`; `open` asks for the open grants as well.
    pub(crate) fn connect(
        &self,
        when: Instant,
        open: bool,
    ) -> impl Future<Output = Result<Reading, Error>> + Send + use<> {
        let from = self.progress.as_ref().map_or(Start::Now, |progress| Start::After(progress.read()));
        let socket = self.around.socket.clone();
        async move {
            sleep_until(when).await;
            Reading::begin(&socket, from, open).await
        }
    }

    /// A connection began. Whether it can be used: a channel that begins anew keeps first from where on, or a crash before
    /// its first fact is settled would lose that fact.
    pub(crate) async fn begun(&mut self, begun: &Reading) -> bool {
        if self.progress.is_none() {
            let progress = Progress::from(begun.after);
            if !save(progress.kept(), self.around.state.clone(), self.name.clone()).await {
                return false;
            }
            self.progress = Some(progress);
        }
        self.progress.iter_mut().for_each(|progress| progress.reports.begin_again());
        tracing::info!(channel = self.name, after = begun.after, "reading what jitd says");
        self.status.lock().error = None;
        true
    }

    pub(crate) fn not_reading(&self, error: &Error) {
        let why = format!("jitd: {error}");
        let mut status = self.status.lock();
        // A daemon that is away is said once, not five times a second.
        if status.error.as_ref() != Some(&why) {
            tracing::warn!(channel = self.name, socket = %self.around.socket.display(), why, "cannot read what jitd says");
            status.error = Some(why);
        }
    }

    /// Nothing up to this fact is left to be read.
    pub(crate) fn passed(&mut self, number: u64) {
        if let Some(progress) = &mut self.progress {
            let before = progress.settled();
            progress.pass(number);
            // Only what moved: an idle daemon costs no write every two seconds.
            self.is_changed |= progress.settled() != before;
        }
    }

    /// The daemon has recorded what was reported.
    pub(crate) fn recorded(&mut self) {
        if let Some(progress) = &mut self.progress {
            progress.reports.recorded();
            self.is_changed = true;
        }
    }

    /// Reports to the daemon what receivers took, if it is time: `any` text, or only when there are many.
    pub(crate) async fn report(&mut self, any: bool, reading: &mut Option<Reading>) -> Result<(), Error> {
        let texts = self.progress.as_mut().and_then(|progress| progress.reports.next(any));
        match (reading, texts) {
            (Some(reading), Some(texts)) => reading.report(texts).await,
            _ => Ok(()),
        }
    }

    /// Writes how far it is, if nothing is being written. What is settled meanwhile is written next.
    pub(crate) fn save(&mut self) {
        let Some(progress) = self.progress.as_ref().filter(|_| self.is_changed && self.saving.is_empty()) else {
            return;
        };
        self.is_changed = false;
        self.saving.spawn(save(progress.kept(), self.around.state.clone(), self.name.clone()));
    }

    /// Keeps what was settled last.
    pub(crate) async fn finish(&mut self) {
        while self.saving.join_next().await.is_some() {}
        self.save();
        while self.saving.join_next().await.is_some() {}
    }

    /// Puts how it is into its status.
    pub(crate) fn show(&self, connected: bool) {
        let mut status = self.status.lock();
        status.connected = connected;
        let Some(progress) = &self.progress else { return };
        let (parked, total) = progress.parked();
        (status.settled, status.waiting, status.oldest) = (progress.settled(), progress.waiting(), progress.oldest());
        (status.parked, status.last_parked) = (total, parked.back().cloned());
    }
}

/// Writes on a thread that may block, and returns whether it is on the disk. A disk that does not take it costs only that more
/// is sent again after a crash.
async fn save(kept: Kept, folder: PathBuf, name: String) -> bool {
    let (channel, place) = (name.clone(), folder.clone());
    let saved = tokio::task::spawn_blocking(move || kept.save(&folder, &name)).await;
    if let Ok(Err(error)) = &saved {
        tracing::error!(channel, state = %place.display(), %error, "how far the channel is cannot be kept");
        // So that a full disk is not asked again at once.
        sleep(AGAIN_AFTER).await;
    }
    matches!(saved, Ok(Ok(())))
}
