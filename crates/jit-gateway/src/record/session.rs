//! One exec or attach as it passes: what of it is recorded, whether it is used, and why it has to end.

use std::sync::Arc;

use jit_core::grant::SessionTerms;
use serde::Deserialize;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Entry;
use super::cast::{Cast, Event};
use super::disk::Job;
use crate::frames::{Channels, RESIZE, STDERR, STDIN, STDOUT};

/// The longest recording, in bytes.
const LONGEST: usize = 64 << 20;

/// How much of one session may wait for the disk, in bytes: what of it could pass without ever being recorded.
const ROOM: usize = 64 * 1024;

/// The longest message about the size of a terminal.
const LONGEST_RESIZE: usize = 1024;

/// Why a session has to end, as a sentence for the person.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Stop {
    /// The recording has its full length.
    #[error("the recording of this session is full: it has {} MiB", LONGEST >> 20)]
    Full,
    /// The disk refused.
    #[error("the recording of this session cannot be written")]
    Unwritable,
    /// What passes cannot be followed.
    #[error("this session cannot be recorded: {0}")]
    Strange(#[from] crate::frames::Strange),
    /// Nobody used it.
    #[error("this session was not used for {0}")]
    Idle(jit_core::grant::request::Window),
    /// A restriction of the grant.
    #[error("{0}")]
    Refused(String),
}

/// What passes of one session. One for each direction would not do: both write into one recording.
pub(crate) struct Session {
    terms: SessionTerms,
    recording: Option<Recording>,
    down: Channels,
    up: Channels,
    /// The last byte of the person's or to the person.
    used: Instant,
}

struct Recording {
    id: Arc<str>,
    cast: Cast,
    began: Instant,
    /// Bytes that are written or wait.
    length: usize,
    resize: Vec<u8>,
    room: Arc<Semaphore>,
    jobs: mpsc::Sender<Job>,
    failed: CancellationToken,
}

/// The size of a terminal (`apimachinery/pkg/util/remotecommand`, `TerminalSize`).
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Size {
    width: u16,
    height: u16,
}

/// Which way bytes pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// To the person.
    Down,
    /// From the person.
    Up,
}

impl Session {
    pub(super) fn new(entry: &Entry, jobs: mpsc::Sender<Job>) -> Self {
        let recording = entry.recording.as_ref().map(|(failed, began, header)| Recording {
            id: entry.id.as_str().into(),
            cast: Cast::default(),
            began: *began,
            length: *header,
            resize: Vec::new(),
            room: Arc::new(Semaphore::new(ROOM)),
            jobs,
            failed: failed.clone(),
        });
        let terms = entry.live.sessions.clone();
        Self { terms, recording, down: Channels::default(), up: Channels::default(), used: Instant::now() }
    }

    /// Whether every byte has to be looked at.
    pub(crate) fn is_followed(&self) -> bool {
        self.recording.is_some() || self.terms.idle.is_some()
    }

    /// Looks at bytes that are about to pass. Returns the lines for the recording.
    ///
    /// # Errors
    /// [`Stop`]; they must not pass.
    pub(crate) fn see(&mut self, way: Way, bytes: &[u8]) -> Result<Vec<u8>, Stop> {
        let mut lines = Vec::new();
        let (channels, records_input) = match way {
            Way::Down => (&mut self.down, false),
            Way::Up => (&mut self.up, self.terms.record_input),
        };
        let (recording, used) = (&mut self.recording, &mut self.used);
        channels.take(bytes, |channel, bytes, is_last| {
            if matches!(channel, STDIN | STDOUT | STDERR) && !bytes.is_empty() {
                *used = Instant::now();
            }
            let Some(recording) = recording else { return };
            let seconds = recording.began.elapsed().as_secs_f64();
            match (way, channel) {
                (Way::Down, STDOUT) => lines.extend(recording.cast.event(seconds, Event::Stdout, bytes)),
                (Way::Down, STDERR) => lines.extend(recording.cast.event(seconds, Event::Stderr, bytes)),
                (Way::Up, STDIN) if records_input => lines.extend(recording.cast.event(seconds, Event::Stdin, bytes)),
                (Way::Up, RESIZE) => lines.extend(recording.resized(seconds, bytes, is_last)),
                _ => {}
            }
        })?;
        if let Some(recording) = recording {
            recording.length = recording.length.saturating_add(lines.len());
            if recording.length > LONGEST {
                return Err(Stop::Full);
            }
        }
        Ok(lines)
    }

    /// What writes the lines that [`Session::see`] returned.
    pub(crate) fn writer(&self) -> Option<Writer> {
        self.recording.as_ref().map(|recording| Writer {
            id: Arc::clone(&recording.id),
            room: Arc::clone(&recording.room),
            jobs: recording.jobs.clone(),
            failed: recording.failed.clone(),
        })
    }

    /// How long nobody may use it from now on, and why it ends then; `None` if it may stay unused.
    pub(crate) fn idle(&self) -> Option<(Instant, Stop)> {
        let idle = self.terms.idle?;
        Some((self.used + idle.duration().unsigned_abs(), Stop::Idle(idle)))
    }

    /// The last lines of the recording.
    pub(crate) fn end(&mut self) -> Vec<u8> {
        self.recording.as_mut().map_or_else(Vec::new, |recording| {
            let seconds = recording.began.elapsed().as_secs_f64();
            recording.cast.end(seconds)
        })
    }
}

impl Recording {
    fn resized(&mut self, seconds: f64, bytes: &[u8], is_last: bool) -> Vec<u8> {
        if self.resize.len() + bytes.len() <= LONGEST_RESIZE {
            self.resize.extend_from_slice(bytes);
        }
        if !is_last {
            return Vec::new();
        }
        // What the API server does not understand changes no terminal.
        let size = serde_json::from_slice::<Size>(&std::mem::take(&mut self.resize));
        size.map_or_else(|_| Vec::new(), |size| Cast::resize(seconds, size.width, size.height))
    }
}

/// Sends lines of one recording to the disk.
#[derive(Clone)]
pub(crate) struct Writer {
    id: Arc<str>,
    room: Arc<Semaphore>,
    jobs: mpsc::Sender<Job>,
    failed: CancellationToken,
}

impl Writer {
    /// Sends lines, after a while if much of this session waits already.
    ///
    /// # Errors
    /// [`Stop::Unwritable`].
    pub(crate) async fn write(&self, bytes: Vec<u8>) -> Result<(), Stop> {
        if bytes.is_empty() {
            return Ok(());
        }
        let wanted = u32::try_from(bytes.len().min(ROOM)).unwrap_or(u32::MAX);
        let send = async {
            // The semaphore is never closed.
            let room = Arc::clone(&self.room).acquire_many_owned(wanted).await.ok()?;
            self.jobs.send(Job::Write { id: Arc::clone(&self.id), bytes, room }).await.ok()
        };
        tokio::select! {
            biased;
            () = self.failed.cancelled() => Err(Stop::Unwritable),
            sent = send => sent.ok_or(Stop::Unwritable),
        }
    }

    /// Until nothing more can be written.
    pub(crate) async fn failed(&self) {
        self.failed.cancelled().await;
    }
}
