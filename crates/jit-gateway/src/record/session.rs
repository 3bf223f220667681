//! One exec or attach as it passes: what of it is recorded, whether it is used, and why it has to end.

use std::sync::Arc;

use jit_core::grant::SessionTerms;
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::Entry;
use super::cast::{Cast, Event};
use super::recording::Writer;
use crate::frames::{Channels, RESIZE, STDERR, STDIN, STDOUT};

/// The longest recording, in bytes.
const LONGEST: usize = 64 << 20;

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
    cast: Cast,
    began: std::time::Instant,
    /// Bytes that were written.
    length: usize,
    resize: Vec<u8>,
    writer: Writer,
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
    pub(super) fn new(entry: &Entry, threads: &Arc<Semaphore>) -> Self {
        let recording = entry.recording.as_ref().map(|recording| Recording {
            cast: Cast::default(),
            began: recording.began,
            length: 0,
            resize: Vec::new(),
            writer: Writer { recording: Arc::clone(recording), threads: Arc::clone(threads) },
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
        let (channels, records_input) = match way {
            Way::Down => (&mut self.down, false),
            Way::Up => (&mut self.up, self.terms.record_input),
        };
        let recording = &mut self.recording;
        let seconds = recording.as_ref().map_or(0.0, |recording| recording.began.elapsed().as_secs_f64());
        if let Some(recording) = recording
            && way == Way::Down
        {
            recording.cast.reserve(bytes.len());
        }
        let (mut is_used, mut room) = (false, Vec::new());
        channels.take(bytes, |channel, payload, is_last| {
            is_used |= matches!(channel, STDIN | STDOUT | STDERR) && !payload.is_empty();
            let Some(recording) = recording else { return };
            let event = match (way, channel) {
                (Way::Down, STDOUT) => Event::Stdout,
                (Way::Down, STDERR) => Event::Stderr,
                (Way::Up, STDIN) if records_input => Event::Stdin,
                (Way::Up, RESIZE) => return recording.resized(seconds, payload.plain(&mut room), is_last),
                _ => return,
            };
            recording.cast.event(seconds, event, payload.plain(&mut room));
        })?;
        if is_used {
            self.used = Instant::now();
        }
        let Some(recording) = recording else { return Ok(Vec::new()) };
        let lines = recording.cast.lines();
        recording.length = recording.length.saturating_add(lines.len());
        if recording.length > LONGEST { Err(Stop::Full) } else { Ok(lines) }
    }

    /// What writes the lines that [`Session::see`] returned.
    pub(crate) fn writer(&self) -> Option<Writer> {
        self.recording.as_ref().map(|recording| recording.writer.clone())
    }

    /// How long nobody may use it from now on, and why it ends then; `None` if it may stay unused.
    pub(crate) fn idle(&self) -> Option<(Instant, Stop)> {
        let idle = self.terms.idle?;
        Some((self.used + idle.duration().unsigned_abs(), Stop::Idle(idle)))
    }

    /// The last lines of the recording.
    pub(crate) fn end(&mut self) -> Vec<u8> {
        let Some(recording) = &mut self.recording else { return Vec::new() };
        recording.cast.end(recording.began.elapsed().as_secs_f64());
        recording.cast.lines()
    }
}

impl Recording {
    fn resized(&mut self, seconds: f64, bytes: &[u8], is_last: bool) {
        if self.resize.len() + bytes.len() <= LONGEST_RESIZE {
            self.resize.extend_from_slice(bytes);
        }
        if !is_last {
            return;
        }
        // What the API server does not understand changes no terminal.
        if let Ok(size) = serde_json::from_slice::<Size>(&std::mem::take(&mut self.resize)) {
            self.cast.resize(seconds, size.width, size.height);
        }
    }
}
