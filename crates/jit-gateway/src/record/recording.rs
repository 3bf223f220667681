//! The file of one recording. Its session writes it, each time on a thread for that; the disk's thread only syncs it, and says in
//! the log how far it has come.
//!
//! ```text
//!  what is seen ─► lines ─► the file (page cache) ─► is sent on          one session waits for its own writes
//!                             └─► sync, each 10 s and at the end ─► the log
//! ```
//! So what a person has seen survives the gateway, and a loss of power takes at most what came after the last sync. What is
//! sealed is whole with each write, so that holds for it as well.

use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{Context, SHA256};
use jit_core::grant::GrantId;
use jit_core::grant::digest::hex;
use jit_seal::Recipient;
use jit_wire::session::{RECORDING, RecordingHead, SEALED};
use tokio::sync::{Mutex, OwnedMutexGuard, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::disk::{FILE, make_folder};
use super::session::Stop;

/// How often the log says how far a recording has come.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(10);

/// How long a session waits for one write. A disk that takes longer ends it.
const WRITTEN_WITHIN: Duration = Duration::from_secs(10);

/// Recordings that are written at the same time, each on a thread of the runtime's: it has 512 of them, and others need some.
pub(super) const THREADS: usize = 256;

/// The file of one recording.
pub(super) struct Recording {
    grant: GrantId,
    path: PathBuf,
    file: File,
    recipients: Arc<[Recipient]>,
    /// Nothing more can be written.
    failed: CancellationToken,
    /// When it began.
    pub(super) began: Instant,
    written: Arc<Mutex<Written>>,
}

/// What stands in the file.
struct Written {
    hash: Context,
    bytes: u64,
    /// The last line about it in the log.
    said: (Instant, u64),
    /// How it stood when its session ended. Nothing is written afterwards.
    end: Option<RecordingHead>,
}

impl Written {
    fn head(&self) -> RecordingHead {
        RecordingHead { bytes: self.bytes, sha256: hex(self.hash.clone().finish().as_ref()) }
    }
}

impl Recording {
    /// A new file in the folder of a grant, with its first bytes; never one that is there already. Blocks.
    pub(super) fn create(
        folder: &Path,
        grant: &GrantId,
        id: &str,
        recipients: Arc<[Recipient]>,
        header: &[u8],
    ) -> io::Result<Self> {
        make_folder(folder)?;
        let path = folder.join(format!("{id}{}", if recipients.is_empty() { RECORDING } else { SEALED }));
        let header = &*sealed(&recipients, header)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(FILE).open(&path)?;
        file.write_all(header)?;
        file.sync_all()?;
        File::open(folder)?.sync_all()?;
        let mut hash = Context::new(&SHA256);
        hash.update(header);
        let bytes = header.len() as u64;
        let now = Instant::now();
        let written = Arc::new(Mutex::new(Written { hash, bytes, said: (now, bytes), end: None }));
        Ok(Self { grant: grant.clone(), path, file, recipients, failed: CancellationToken::new(), began: now, written })
    }

    pub(super) fn grant(&self) -> &GrantId {
        &self.grant
    }

    /// Blocks.
    fn write(&self, written: &mut Written, bytes: &[u8]) -> Result<(), Stop> {
        if self.failed.is_cancelled() || written.end.is_some() {
            return Err(Stop::Unwritable);
        }
        let done = sealed(&self.recipients, bytes).and_then(|bytes| {
            (&self.file).write_all(&bytes)?;
            Ok(bytes)
        });
        match done {
            Ok(bytes) => {
                written.hash.update(&bytes);
                written.bytes = written.bytes.saturating_add(bytes.len() as u64);
                Ok(())
            }
            Err(error) => {
                tracing::error!(grant = %self.grant, %error, "a recording cannot be written, so its session ends");
                // A part of the bytes may stand there; what the log vouches for is what came before.
                let _ = self.file.set_len(written.bytes);
                self.failed.cancel();
                Err(Stop::Unwritable)
            }
        }
    }

    /// How far it has come, if the log should say so; not while something is being written, which is looked at again in a second.
    pub(super) fn news(&self) -> Option<RecordingHead> {
        let written = self.written.try_lock().ok()?;
        let (when, bytes) = written.said;
        (written.bytes != bytes && when.elapsed() >= CHECKPOINT_EVERY && written.end.is_none()).then(|| written.head())
    }

    /// Syncs the file, for [`Self::news`]. Blocks.
    ///
    /// # Errors
    /// That of the disk; the log must not say it then.
    pub(super) fn checkpoint(&self, head: &RecordingHead) -> io::Result<()> {
        self.file.sync_data()?;
        self.written.blocking_lock().said = (Instant::now(), head.bytes);
        Ok(())
    }

    /// How it stands at the end of its session. What is still being written is in it, and nothing that comes later. Blocks.
    pub(super) fn finish(&self) -> RecordingHead {
        let mut written = self.written.blocking_lock();
        if let Some(end) = &written.end {
            return end.clone();
        }
        let end = written.head();
        written.end = Some(end.clone());
        drop(written);
        if let Err(error) = self.file.sync_data() {
            tracing::error!(grant = %self.grant, %error, "the end of a recording may be lost");
        }
        end
    }

    /// Removes the recording of a session that never began. Blocks.
    pub(super) fn discard(&self) {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                tracing::warn!(path = %self.path.display(), %error, "a recording without a session cannot be removed");
            }
            _ => {}
        }
    }
}

/// Lines as they stand in a file.
fn sealed<'a>(recipients: &[Recipient], lines: &'a [u8]) -> io::Result<Cow<'a, [u8]>> {
    if recipients.is_empty() {
        return Ok(Cow::Borrowed(lines));
    }
    jit_seal::segment(recipients, lines).map(Cow::Owned).map_err(io::Error::other)
}

/// Writes one recording.
#[derive(Clone)]
pub(crate) struct Writer {
    pub(super) recording: Arc<Recording>,
    pub(super) threads: Arc<Semaphore>,
}

impl Writer {
    /// Writes lines. They stand in the file when this returns, so they outlive the gateway. Calls are done in their order, also
    /// if nobody waits for them any more.
    ///
    /// # Errors
    /// [`Stop::Unwritable`], also if the disk takes too long.
    pub(crate) async fn write(&self, lines: Vec<u8>) -> Result<(), Stop> {
        if lines.is_empty() {
            return Ok(());
        }
        let write = async {
            let mut turn: OwnedMutexGuard<Written> = Arc::clone(&self.recording.written).lock_owned().await;
            let thread = Arc::clone(&self.threads).acquire_owned().await.map_err(|_| Stop::Unwritable)?;
            let recording = Arc::clone(&self.recording);
            let write = move || {
                let done = recording.write(&mut turn, &lines);
                drop((turn, thread));
                done
            };
            tokio::task::spawn_blocking(write).await.map_err(|_| Stop::Unwritable)?
        };
        timeout(WRITTEN_WITHIN, write).await.unwrap_or(Err(Stop::Unwritable))
    }

    /// Until nothing more can be written.
    pub(crate) async fn failed(&self) {
        self.recording.failed.cancelled().await;
    }
}
