//! What is kept of what is done through a grant: a log of its requests, and recordings of exec and attach.
//!
//! ```text
//!  open ──► `opened` is on the disk ──► the request is sent on ──► its end ──► `closed`        streams and changes
//!           (a recording has its file)       └► pieces ─► channels ─► cast ─► the file ─► sent on
//!  open ──────────────────────────────► the request is sent on ──► its end ─► `served`         reads
//!
//!  lines of the logs ─► disk: one thread, one fsync for many
//! ```
//! Nothing is sent on that could not be logged, and nothing passes that could not be recorded. What is kept depends on the
//! terms of the grant and on what the API server is asked for, never on how a client writes it.

mod asked;
mod body;
mod cast;
mod content;
mod disk;
mod recording;
mod session;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use jit_core::grant::{GrantId, LogHead, Record};
use jit_seal::Recipient;
use jit_wire::session::{Asked, End, Outcome};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

pub(crate) use self::asked::asked;
pub(crate) use self::body::{answer_body, request_body};
pub(crate) use self::content::{has_power, read as read_content};
use self::disk::{Disk, Done, Job, State};
pub(crate) use self::recording::Writer;
use self::recording::{Recording, THREADS};
pub(crate) use self::session::{Session, Stop, Way};
use crate::grants::{Live, Running};

/// Jobs that may wait: each request that runs has a place for its end.
const JOBS: usize = 32 * 1024;

/// How long a request waits until it is logged. A disk that takes longer stops what must be logged.
const LOGGED_WITHIN: Duration = Duration::from_secs(10);

/// How long a cut waits for the log of its grant.
const HEAD_WITHIN: Duration = Duration::from_millis(300);

/// Writes logs and recordings.
pub struct Recorder {
    folder: PathBuf,
    recipients: Arc<[Recipient]>,
    jobs: mpsc::Sender<Job>,
    state: Arc<Mutex<State>>,
    clock: fn() -> Timestamp,
    /// Those on which recordings are written.
    threads: Arc<Semaphore>,
}

/// Why nothing may be done: what could not be kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The disk refused.
    #[error("the log of the grant cannot be written: {0}")]
    Refused(String),
    /// The disk does not answer.
    #[error("the log of the grant cannot be written: the disk has not answered within {} s", LOGGED_WITHIN.as_secs())]
    Silent,
}

/// What was deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Removed {
    /// How many files.
    pub(crate) files: u64,
    /// How many bytes they had.
    pub(crate) bytes: u64,
    /// Where the log stood, as far as it could be read.
    pub(crate) log: Option<LogHead>,
}

/// What a request is to leave behind.
pub(crate) struct Wanted {
    /// The request's id.
    pub(crate) id: String,
    /// What it asks for.
    pub(crate) asked: Asked,
    /// It changes something or becomes a stream, so it is on the disk before it is sent on.
    pub(crate) is_durable: bool,
    /// It becomes an exec or attach.
    pub(crate) is_console: bool,
}

impl Wanted {
    /// A request that the gateway refuses to read: what it is, nobody says.
    pub(crate) fn unread(id: String, method: &http::Method, path: &str, from: std::net::IpAddr) -> Self {
        Self { id, asked: asked::unread(method, path, from), is_durable: false, is_console: false }
    }
}

impl Recorder {
    /// Starts the thread that writes below `folder`. Recordings are sealed for `recipients`, if there are any.
    ///
    /// # Errors
    /// If the folder cannot be used.
    pub fn start(folder: PathBuf, recipients: Vec<Recipient>, clock: fn() -> Timestamp) -> io::Result<Self> {
        let (jobs, waiting) = mpsc::channel(JOBS);
        let state = Arc::<Mutex<State>>::default();
        let disk = Disk::open(folder.clone(), clock, Arc::clone(&state))?;
        std::thread::Builder::new().name("recorder".to_owned()).spawn(move || disk.run(waiting))?;
        Ok(Self {
            folder,
            recipients: recipients.into(),
            jobs,
            state,
            clock,
            threads: Arc::new(Semaphore::new(THREADS)),
        })
    }

    /// Has the thread look after what is due, each second. Never returns.
    pub async fn tick(&self) {
        let mut seconds = interval(Duration::from_secs(1));
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            seconds.tick().await;
            // When so much waits, the thread is not idle.
            let _ = self.jobs.try_send(Job::Tick);
        }
    }

    /// Begins a request. It counts as running until what is returned is dropped, and its end is logged then.
    ///
    /// # Errors
    /// [`RecordError`]; nothing may be sent on.
    pub(crate) async fn open(
        &self,
        live: &Arc<Live>,
        running: Running,
        wanted: Wanted,
        expires: Instant,
    ) -> Result<Entry, RecordError> {
        let mut entry = Entry {
            live: Arc::clone(live),
            place: None,
            id: wanted.id,
            asked: None,
            meter: Arc::default(),
            began: Instant::now(),
            expires,
            code: None,
            end: None,
            why: None,
            recording: None,
            _running: running,
        };
        if live.sessions.record == Record::Off {
            return Ok(entry);
        }
        let place = timeout(LOGGED_WITHIN, self.jobs.clone().reserve_owned()).await;
        let place = place.map_err(|_| RecordError::Silent)?.map_err(|_| stopped())?;
        if !wanted.is_durable {
            self.can_be_logged(live).await?;
            (entry.place, entry.asked) = (Some(place), Some(Box::new(wanted.asked)));
            return Ok(entry);
        }
        if wanted.is_console && live.sessions.record == Record::Required {
            let created = self.create(live, &entry.id, &wanted.asked).await;
            entry.recording = Some(created.inspect_err(|error| entry.refuse(None, &error.to_string()))?);
        }
        let (id, asked, recording) = (entry.id.clone(), Box::new(wanted.asked), entry.recording.clone());
        let job = |done| Job::Open { live: Arc::clone(live), id, asked, recording, done };
        // It may be written after all, later; its end follows then, so that nobody takes it for running.
        entry.place = Some(place);
        if let Err(error) = self.ask(job).await {
            if error != RecordError::Silent {
                entry.place = None;
            }
            entry.refuse(None, &error.to_string());
            return Err(error);
        }
        Ok(entry)
    }

    /// Creates the file of a recording.
    async fn create(&self, live: &Live, id: &str, asked: &Asked) -> Result<Arc<Recording>, RecordError> {
        let recipients = Arc::clone(&self.recipients);
        let (folder, grant, id) = (self.folder.join(live.id.as_str()), live.id.clone(), id.to_owned());
        let header = cast::header((self.clock)(), &format!("{} {}", live.user, asked::title(asked)));
        let create = async {
            let thread = Arc::clone(&self.threads).acquire_owned().await.map_err(|_| stopped())?;
            let (tell, told) = oneshot::channel();
            tokio::task::spawn_blocking(move || {
                let created = Recording::create(&folder, &grant, &id, recipients, &header);
                if let Err(error) = &created {
                    tracing::error!(%grant, %error, "a recording cannot be created");
                }
                if let Err(Ok(unwanted)) = tell.send(created) {
                    unwanted.discard();
                }
                drop(thread);
            });
            let created = told.await.map_err(|_| stopped())?;
            created.map(Arc::new).map_err(|error| RecordError::Refused(error.to_string()))
        };
        timeout(LOGGED_WITHIN, create).await.unwrap_or(Err(RecordError::Silent))
    }

    /// Whether a line that nobody waits for has a place: the log is there, and its last line could be written.
    async fn can_be_logged(&self, live: &Arc<Live>) -> Result<(), RecordError> {
        let is_well = {
            let state = self.state.lock();
            state.heads.contains_key(&live.id) && !state.failing.contains(&live.id)
        };
        if is_well { Ok(()) } else { self.ask(|done| Job::Begin { live: Arc::clone(live), done }).await }
    }

    /// Has the thread do something, and waits until it is on the disk.
    async fn ask(&self, job: impl FnOnce(Done) -> Job) -> Result<(), RecordError> {
        let (done, is_done) = oneshot::channel();
        let ask = async {
            self.jobs.send(job(done)).await.map_err(|_| stopped())?;
            is_done.await.map_err(|_| stopped())?.map_err(RecordError::Refused)
        };
        timeout(LOGGED_WITHIN, ask).await.unwrap_or(Err(RecordError::Silent))
    }

    /// Where the log of a grant stands, once everything before is on the disk; `None` without a log, and if the disk is
    /// too slow.
    pub(crate) async fn head(&self, grant: &GrantId) -> Option<LogHead> {
        let (head, told) = oneshot::channel();
        let ask = async {
            self.jobs.send(Job::Head { grant: grant.clone(), head }).await.ok()?;
            told.await.ok()?
        };
        timeout(HEAD_WITHIN, ask).await.ok()?
    }

    /// Where all logs stand that are or were written since the start.
    pub(crate) fn heads(&self) -> BTreeMap<GrantId, LogHead> {
        self.state.lock().heads.clone()
    }

    /// Forgets where the log of a grant that is over stands, unless it has grown since.
    pub(crate) fn forget(&self, grant: &GrantId, head: &LogHead) {
        let mut state = self.state.lock();
        if state.heads.get(grant) == Some(head) {
            state.heads.remove(grant);
            state.failing.remove(grant);
        }
    }

    /// Deletes what is kept of a grant that is over, on a thread of its own: the one that writes must not wait for a disk that
    /// frees gigabytes.
    ///
    /// # Errors
    /// If something of it is still open, or the disk refuses; what is left is deleted at the next try.
    pub(crate) async fn delete(&self, grant: &GrantId) -> Result<Removed, RecordError> {
        let (grant, folder) = (grant.clone(), self.folder.join(grant.as_str()));
        self.ask(|done| Job::Release { grant, done }).await?;
        let removed = tokio::task::spawn_blocking(move || disk::remove(&folder)).await.map_err(|_| stopped())?;
        removed.map_err(|error| RecordError::Refused(error.to_string()))
    }

    /// The recording of an exec or attach, if it has one.
    pub(crate) fn session(&self, entry: &Entry) -> Session {
        Session::new(entry, &self.threads)
    }
}

fn stopped() -> RecordError {
    RecordError::Refused("the thread that writes has stopped".to_owned())
}

/// How much a request moved.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    received: AtomicU64,
    sent: AtomicU64,
}

impl Meter {
    pub(crate) fn received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// A request that runs. Its end is logged when this is dropped.
pub(crate) struct Entry {
    live: Arc<Live>,
    /// For the line about its end; `None` where nothing is kept.
    place: Option<mpsc::OwnedPermit<Job>>,
    pub(crate) id: String,
    /// What it asked for, if it has no line yet.
    asked: Option<Box<Asked>>,
    pub(crate) meter: Arc<Meter>,
    began: Instant,
    /// The end of its connection's certificate.
    expires: Instant,
    code: Option<u16>,
    end: Option<End>,
    why: Option<String>,
    recording: Option<Arc<Recording>>,
    /// Counted until after the line about its end is on its way: fields are dropped after [`Drop`].
    _running: Running,
}

impl Entry {
    /// The API server answered.
    pub(crate) fn answered(&mut self, code: http::StatusCode) {
        self.code = Some(code.as_u16());
    }

    /// The last byte passed.
    pub(crate) fn whole(&mut self) {
        self.end.get_or_insert(End::Whole);
    }

    /// The gateway answers itself.
    pub(crate) fn refuse(&mut self, code: Option<http::StatusCode>, why: &str) {
        self.code = code.map(|code| code.as_u16());
        self.finish(End::Refused, Some(why));
    }

    /// It ends like this, whatever comes afterwards.
    pub(crate) fn finish(&mut self, end: End, why: Option<&str>) {
        self.end = Some(end);
        self.why = why.map(str::to_owned);
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let Some(place) = self.place.take() else { return };
        let is_cut = self.live.ended().is_cancelled() || Instant::now() >= self.expires;
        let end = self.end.unwrap_or(if is_cut { End::Cut } else { End::Broken });
        let outcome = Outcome {
            end,
            code: self.code,
            received: self.meter.received.load(Ordering::Relaxed),
            sent: self.meter.sent.load(Ordering::Relaxed),
            milliseconds: u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
            why: self.why.take(),
        };
        let id = std::mem::take(&mut self.id);
        let (live, recording) = (Arc::clone(&self.live), self.recording.take());
        place.send(Job::Close { live, id, asked: self.asked.take(), recording, outcome });
    }
}
