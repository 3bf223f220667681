//! The thread that writes: the logs of grants, and recordings.
//!
//! ```text
//!  jobs ─► all that wait ─► recordings, then one write for each log ─► one fsync for each ─► those who wait for it
//! ```
//! A line that cannot be written keeps its place: nothing else of that grant is written or allowed before it. What a job
//! belongs to decides whom its failure stops.

use std::collections::hash_map::Entry::{Occupied, Vacant};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{Context, SHA256};
use jiff::Timestamp;
use jit_core::grant::digest::hex;
use jit_core::grant::{GrantId, LogHead};
use jit_wire::session::{Asked, Chain, End, Entry, LOG, Outcome, RECORDING, RecordingHead, VERSION};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::Removed;
use crate::grants::Live;

/// How the logs stand, for the feed and for those who would add to them.
#[derive(Default)]
pub(super) struct State {
    /// The last line of each.
    pub(super) heads: BTreeMap<GrantId, LogHead>,
    /// Those to which something could not be added.
    pub(super) failing: HashSet<GrantId>,
}

/// Who waits until something is on the disk, and why it is not.
pub(super) type Done = oneshot::Sender<Result<(), String>>;

/// Jobs that are done together, with one fsync.
const TOGETHER: usize = 1024;

/// How often the log says how far a recording has come.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(10);

/// Logs that are older than this when the gateway starts have nothing open: it is longer than any window.
const OLDEST_OPEN: Duration = Duration::from_secs(2 * 86_400);

/// The group is `jit-sessions` where the packages made the folder of all logs, which hands its group down: jitd reads the
/// files for people who may.
const FILE: u32 = 0o640;
const FOLDER: u32 = 0o750;

/// What the thread is asked to do.
pub(super) enum Job {
    /// A line will follow for which nobody waits: the log is there, and nothing waits for its place, before `done` is answered.
    Begin { live: Arc<Live>, done: Done },
    /// A request begins: its line is on the disk before `done` is answered.
    Open { live: Arc<Live>, id: String, asked: Box<Asked>, recording: Option<NewRecording>, done: Done },
    /// More of a recording. The room is free again when it is written.
    Write { id: Arc<str>, bytes: Vec<u8>, room: OwnedSemaphorePermit },
    /// A request ended; `asked` is what it was, if it has no line yet.
    Close { live: Arc<Live>, id: String, asked: Option<Box<Asked>>, outcome: Outcome },
    /// Where a log stands, once everything before is on the disk.
    Head { grant: GrantId, head: oneshot::Sender<Option<LogHead>> },
    /// Nothing more is written about a grant that is over, and nothing waits, before `done` is answered.
    Release { grant: GrantId, done: Done },
    /// Time has passed.
    Tick,
}

/// A recording to create.
pub(super) struct NewRecording {
    /// Its first bytes.
    pub(super) header: Vec<u8>,
    /// Cancelled when nothing more of it can be written.
    pub(super) failed: CancellationToken,
}

/// The thread's state.
pub(super) struct Disk {
    folder: PathBuf,
    clock: fn() -> Timestamp,
    state: Arc<Mutex<State>>,
    logs: HashMap<GrantId, Log>,
    recordings: HashMap<String, Recording>,
}

struct Log {
    live: Arc<Live>,
    file: File,
    chain: Chain,
    /// The length of the lines that are whole.
    length: u64,
    /// Requests that were opened and have not ended.
    open: HashSet<String>,
    waiting: Vec<Waiting>,
    /// Everything that was written is on the disk.
    is_synced: bool,
}

/// A line that is to be written.
struct Waiting {
    at: Timestamp,
    entry: Entry,
    /// Who waits for it.
    done: Option<Done>,
    /// It has happened, so it keeps its place if it cannot be written now.
    stays: bool,
}

struct Recording {
    grant: GrantId,
    file: File,
    hash: Context,
    bytes: u64,
    failed: CancellationToken,
    /// The last line about it in the log.
    said: (Instant, u64),
}

impl Recording {
    /// A new file; never one that is there already.
    fn create(folder: &Path, grant: &GrantId, id: &str, new: NewRecording) -> io::Result<Self> {
        let folder = folder.join(grant.as_str());
        let path = folder.join(format!("{id}{RECORDING}"));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(FILE).open(path)?;
        file.write_all(&new.header)?;
        file.sync_all()?;
        File::open(&folder)?.sync_all()?;
        let mut hash = Context::new(&SHA256);
        hash.update(&new.header);
        let bytes = new.header.len() as u64;
        Ok(Self { grant: grant.clone(), file, hash, bytes, failed: new.failed, said: (Instant::now(), bytes) })
    }

    fn head(&self) -> RecordingHead {
        RecordingHead { bytes: self.bytes, sha256: hex(self.hash.clone().finish().as_ref()) }
    }

    fn write(&mut self, bytes: &[u8]) {
        if self.failed.is_cancelled() {
            return;
        }
        match self.file.write_all(bytes) {
            Ok(()) => {
                self.hash.update(bytes);
                self.bytes = self.bytes.saturating_add(bytes.len() as u64);
            }
            Err(error) => {
                tracing::error!(grant = %self.grant, %error, "a recording cannot be written, so its session ends");
                // A part of the bytes may stand there; what the log vouches for is what came before.
                let _ = self.file.set_len(self.bytes);
                self.failed.cancel();
            }
        }
    }
}

impl Disk {
    /// Prepares the folder, and closes in the logs what was running when the gateway stopped.
    ///
    /// # Errors
    /// If the folder cannot be used.
    pub(super) fn open(folder: PathBuf, clock: fn() -> Timestamp, state: Arc<Mutex<State>>) -> io::Result<Self> {
        make_folder(&folder)?;
        let disk = Self { folder, clock, state, logs: HashMap::new(), recordings: HashMap::new() };
        disk.close_interrupted()?;
        Ok(disk)
    }

    /// Does jobs until nobody can send any.
    pub(super) fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        let mut batch = Vec::new();
        while let Some(job) = jobs.blocking_recv() {
            batch.push(job);
            while batch.len() < TOGETHER
                && let Ok(job) = jobs.try_recv()
            {
                batch.push(job);
            }
            let mut asked = Vec::new();
            let mut rooms = Vec::new();
            for job in batch.drain(..) {
                self.take(job, &mut asked, &mut rooms);
            }
            drop(rooms);
            self.write_logs(|grant| asked.iter().any(|(asked, _)| asked == grant));
            for (grant, head) in asked {
                // Whoever asked may have gone.
                let _ = head.send(self.state.lock().heads.get(&grant).cloned());
            }
        }
    }

    fn take(
        &mut self,
        job: Job,
        asked_heads: &mut Vec<(GrantId, oneshot::Sender<Option<LogHead>>)>,
        rooms: &mut Vec<OwnedSemaphorePermit>,
    ) {
        let at = (self.clock)();
        match job {
            Job::Begin { live, done } => self.begin(&live, at, done),
            Job::Open { live, id, asked, recording, done } => self.open_request(&live, at, id, asked, recording, done),
            Job::Write { id, bytes, room } => {
                if let Some(recording) = self.recordings.get_mut(&*id) {
                    recording.write(&bytes);
                }
                rooms.push(room);
            }
            Job::Close { live, id, asked, outcome } => self.close(&live, at, id, asked, outcome),
            Job::Head { grant, head } => asked_heads.push((grant, head)),
            Job::Release { grant, done } => drop(done.send(self.release(&grant))),
            Job::Tick => self.tick(at),
        }
    }

    fn begin(&mut self, live: &Arc<Live>, at: Timestamp, done: Done) {
        let answer = match self.log(live, at) {
            Err(error) => Err(error),
            // The first line waits for its place; whoever asked waits with it.
            Ok(log) => match log.waiting.first_mut().filter(|first| first.done.is_none()) {
                Some(first) => {
                    first.done = Some(done);
                    return;
                }
                None => {
                    let head = log.chain.head().clone();
                    let mut state = self.state.lock();
                    state.failing.remove(&live.id);
                    state.heads.insert(live.id.clone(), head);
                    Ok(())
                }
            },
        };
        self.answer(live, done, answer);
    }

    fn open_request(
        &mut self,
        live: &Arc<Live>,
        at: Timestamp,
        id: String,
        asked: Box<Asked>,
        recording: Option<NewRecording>,
        done: Done,
    ) {
        if let Err(error) = self.log(live, at) {
            return self.answer(live, done, Err(error));
        }
        let recorded = recording.is_some();
        if let Some(new) = recording {
            match Recording::create(&self.folder, &live.id, &id, new) {
                Ok(recording) => drop(self.recordings.insert(id.clone(), recording)),
                Err(error) => return self.answer(live, done, Err(error)),
            }
        }
        if let Some(log) = self.logs.get_mut(&live.id) {
            log.open.insert(id.clone());
            let entry = Entry::Opened { id, asked, recorded };
            log.waiting.push(Waiting { at, entry, done: Some(done), stays: false });
        }
    }

    fn answer(&self, live: &Live, done: Done, answer: io::Result<()>) {
        if let Err(error) = &answer {
            tracing::error!(grant = %live.id, %error, "the log of a grant, or a recording, cannot be written");
        }
        // Whoever waits may have gone; nothing is sent on then.
        let _ = done.send(answer.map_err(|error| error.to_string()));
    }

    fn close(&mut self, live: &Arc<Live>, at: Timestamp, id: String, asked: Option<Box<Asked>>, outcome: Outcome) {
        if let Err(error) = self.log(live, at) {
            // It was there when the request began.
            tracing::error!(grant = %live.id, %error, "the log of a grant is lost, so nothing more of it is let through");
            self.state.lock().failing.insert(live.id.clone());
            return;
        }
        let recording = self.recordings.remove(&id).and_then(|recording| {
            // Nothing began, so there is nothing to keep.
            if !outcome.began() {
                self.discard(&live.id, &id);
                return None;
            }
            if let Err(error) = recording.file.sync_data() {
                tracing::error!(grant = %live.id, %error, "the end of a recording may be lost");
            }
            Some(recording.head())
        });
        let Some(log) = self.logs.get_mut(&live.id) else { return };
        let entry = match asked {
            Some(asked) => Entry::Served { id, asked, outcome },
            // Whoever asked went away while the line was refused.
            None if !log.open.remove(&id) => return,
            None => Entry::Closed { id, outcome, recording },
        };
        log.waiting.push(Waiting { at, entry, done: None, stays: true });
    }

    /// The log of a grant, opened if need be.
    fn log(&mut self, live: &Arc<Live>, at: Timestamp) -> io::Result<&mut Log> {
        let place = match self.logs.entry(live.id.clone()) {
            Occupied(log) => return Ok(log.into_mut()),
            Vacant(place) => place,
        };
        let folder = self.folder.join(live.id.as_str());
        make_folder(&folder)?;
        let mut past = Past::default();
        let path = folder.join(LOG);
        let file = open_log(&path, &mut past)?;
        let mut log = Log {
            live: Arc::clone(live),
            file,
            length: past.length,
            open: HashSet::new(),
            waiting: Vec::new(),
            is_synced: true,
            chain: past.chain,
        };
        if log.chain.head().lines == 0 {
            let entry = Entry::Began {
                version: VERSION,
                grant: live.id.clone(),
                user: live.user.clone(),
                cluster: live.cluster.clone(),
                terms: live.sessions.clone(),
            };
            log.waiting.push(Waiting { at, entry, done: None, stays: true });
            // So that the file is still there after a loss of power.
            File::open(&folder)?.sync_all()?;
            File::open(&self.folder)?.sync_all()?;
        }
        Ok(place.insert(log))
    }

    /// Writes what waits, one write and at most one fsync for each log. Those of `asked` are on the disk afterwards.
    fn write_logs(&mut self, asked: impl Fn(&GrantId) -> bool) {
        let mut refused = Vec::new();
        for (grant, log) in &mut self.logs {
            let is_asked = asked(grant) && !log.is_synced;
            if log.waiting.is_empty() && !is_asked {
                continue;
            }
            let somebody_waits = log.waiting.iter().any(|line| line.done.is_some());
            let mut result = log.write();
            if result.is_ok() && (somebody_waits || is_asked) {
                result = log.file.sync_data();
                log.is_synced = result.is_ok();
            }
            let mut state = self.state.lock();
            match result {
                Ok(()) => {
                    state.failing.remove(grant);
                    state.heads.insert(grant.clone(), log.chain.head().clone());
                    for line in log.waiting.drain(..) {
                        // Whoever waited may have gone.
                        let _ = line.done.map(|done| done.send(Ok(())));
                    }
                }
                Err(error) => {
                    if state.failing.insert(grant.clone()) {
                        tracing::error!(%grant, %error, "the log of a grant cannot be written, so nothing of it is let through");
                    }
                    for line in &mut log.waiting {
                        let _ = line.done.take().map(|done| done.send(Err(error.to_string())));
                    }
                    for line in log.waiting.extract_if(.., |line| !line.stays) {
                        if let Entry::Opened { id, recorded, .. } = line.entry {
                            log.open.remove(&id);
                            refused.extend(recorded.then_some(id));
                        }
                    }
                }
            }
        }
        for id in refused {
            if let Some(recording) = self.recordings.remove(&id) {
                self.discard(&recording.grant, &id);
            }
        }
    }

    fn release(&mut self, grant: &GrantId) -> Result<(), String> {
        if let Some(log) = self.logs.get(grant)
            && (!log.live.ended().is_cancelled() || !log.open.is_empty() || !log.waiting.is_empty())
        {
            return Err("something of it is still open".to_owned());
        }
        self.logs.remove(grant);
        let mut state = self.state.lock();
        state.heads.remove(grant);
        state.failing.remove(grant);
        Ok(())
    }

    /// Removes a recording without a session.
    fn discard(&self, grant: &GrantId, id: &str) {
        if let Err(error) = std::fs::remove_file(self.folder.join(grant.as_str()).join(format!("{id}{RECORDING}"))) {
            tracing::warn!(%grant, id, %error, "a recording without a session cannot be removed");
        }
    }

    fn tick(&mut self, at: Timestamp) {
        for (id, recording) in &mut self.recordings {
            let (when, bytes) = recording.said;
            if recording.bytes == bytes || when.elapsed() < CHECKPOINT_EVERY {
                continue;
            }
            let Some(log) = self.logs.get_mut(&recording.grant) else { continue };
            if recording.file.sync_data().is_ok() {
                recording.said = (Instant::now(), recording.bytes);
                let entry = Entry::Recorded { id: id.clone(), recording: recording.head() };
                log.waiting.push(Waiting { at, entry, done: None, stays: false });
            }
        }
        self.logs.retain(|_, log| {
            // What nobody waited for may be lost within this second, and no longer.
            log.is_synced = log.is_synced || log.file.sync_data().is_ok();
            let is_over = log.live.ended().is_cancelled() && log.open.is_empty() && log.waiting.is_empty();
            !(is_over && log.is_synced)
        });
    }

    /// Closes what was running when the gateway stopped, in the logs that are young enough.
    fn close_interrupted(&self) -> io::Result<()> {
        for entry in std::fs::read_dir(&self.folder)? {
            let folder = entry?.path();
            let path = folder.join(LOG);
            let Ok(grant) = folder.file_name().unwrap_or_default().to_string_lossy().parse::<GrantId>() else {
                continue;
            };
            let is_old = |meta: &std::fs::Metadata| {
                meta.modified().is_ok_and(|modified| modified.elapsed().is_ok_and(|age| age > OLDEST_OPEN))
            };
            match std::fs::metadata(&path) {
                Ok(meta) if !is_old(&meta) => {}
                _ => continue,
            }
            // One log that cannot be read stops its own grant and no other.
            match self.interrupted(&folder, &path) {
                Ok(head) => drop(self.state.lock().heads.insert(grant, head)),
                Err(error) => tracing::error!(%grant, %error, "the log of a grant cannot be read"),
            }
        }
        Ok(())
    }

    fn interrupted(&self, folder: &Path, path: &Path) -> io::Result<LogHead> {
        let mut past = Past::default();
        let mut file = open_log(path, &mut past)?;
        let at = (self.clock)();
        let mut lines = Vec::new();
        for (id, (begun, recorded)) in past.open {
            let recording = if recorded { head_of(&folder.join(format!("{id}{RECORDING}")))? } else { None };
            let milliseconds = u64::try_from(at.duration_since(begun).as_millis()).unwrap_or(0);
            let sent = recording.as_ref().map_or(0, |head| head.bytes);
            let why = Some("the gateway stopped while it ran".to_owned());
            let outcome = Outcome { end: End::Interrupted, code: None, received: 0, sent, milliseconds, why };
            lines.extend(past.chain.append(at, Entry::Closed { id, outcome, recording }));
        }
        if !lines.is_empty() {
            file.write_all(&lines)?;
            file.sync_data()?;
        }
        Ok(past.chain.head().clone())
    }
}

impl Log {
    /// Writes what waits. Without success nothing of it stands in the file.
    fn write(&mut self) -> io::Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let mut chain = self.chain.clone();
        let lines: Vec<u8> = self.waiting.iter().flat_map(|line| chain.append(line.at, line.entry.clone())).collect();
        self.is_synced = false;
        if let Err(error) = self.file.write_all(&lines) {
            self.file.set_len(self.length)?;
            return Err(error);
        }
        self.length = self.length.saturating_add(lines.len() as u64);
        self.chain = chain;
        Ok(())
    }
}

/// What is in a log that was written before.
#[derive(Default)]
struct Past {
    chain: Chain,
    length: u64,
    /// Requests without an end: when they began, and whether they have a recording.
    open: BTreeMap<String, (Timestamp, bool)>,
}

/// Opens a log to append to it, after reading what it has. The beginning of a line at its end is cut off: it is of a write
/// that a loss of power interrupted, and nobody was told that it had been done.
fn open_log(path: &Path, past: &mut Past) -> io::Result<File> {
    let file = OpenOptions::new().read(true).append(true).create(true).mode(FILE).open(path)?;
    let changed = |why: String| io::Error::new(ErrorKind::InvalidData, format!("{}: {why}", path.display()));
    let mut lines = BufReader::new(&file);
    let mut line = String::new();
    loop {
        line.clear();
        if lines.read_line(&mut line)? == 0 {
            break;
        }
        let Some(text) = line.strip_suffix('\n') else {
            file.set_len(past.length)?;
            break;
        };
        let taken = past.chain.take(text).map_err(|broken| changed(broken.to_string()))?;
        past.length = past.length.saturating_add(line.len() as u64);
        match taken.entry {
            Entry::Opened { id, recorded, .. } => drop(past.open.insert(id, (taken.at, recorded))),
            Entry::Closed { id, .. } => drop(past.open.remove(&id)),
            _ => {}
        }
    }
    Ok(file)
}

/// Removes the folder of a grant, the log last: what is left after a failure can still be read.
pub(super) fn remove(folder: &Path) -> io::Result<Removed> {
    let mut removed = Removed::default();
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(removed),
        entries => entries?,
    };
    let mut paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<PathBuf>>>()?;
    let log = folder.join(LOG);
    paths.sort_by_key(|path| *path == log);
    for path in paths {
        if path == log {
            removed.log = last_of(&path);
        }
        removed.bytes = removed.bytes.saturating_add(std::fs::symlink_metadata(&path)?.len());
        std::fs::remove_file(&path)?;
        removed.files = removed.files.saturating_add(1);
    }
    std::fs::remove_dir(folder)?;
    Ok(removed)
}

/// Where a log stands, as far as its chain holds.
fn last_of(path: &Path) -> Option<LogHead> {
    let mut chain = Chain::default();
    for line in BufReader::new(File::open(path).ok()?).lines() {
        if line.ok().and_then(|line| chain.take(&line).ok()).is_none() {
            break;
        }
    }
    Some(chain.head().clone()).filter(|head| head.lines > 0)
}

fn make_folder(folder: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(FOLDER).create(folder) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// How a recording stands on the disk; none of a session that never began.
fn head_of(path: &Path) -> io::Result<Option<RecordingHead>> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut hash = Context::new(&SHA256);
    let mut buffer = vec![0; 64 * 1024];
    let mut bytes = 0_u64;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(Some(RecordingHead { bytes, sha256: hex(hash.finish().as_ref()) }));
        }
        hash.update(buffer.get(..read).unwrap_or_default());
        bytes = bytes.saturating_add(read as u64);
    }
}
