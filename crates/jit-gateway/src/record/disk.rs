//! The thread that writes the logs of grants, and says in them how far recordings have come.
//!
//! ```text
//!  jobs ─► all that wait ─► recordings that ended ─► one write and one fsync for each log ─► those who wait for it
//!                           (synced at a time)       (at a time)
//! ```
//! On a slow disk many syncs take as long as one, if they are made at the same time. A line that cannot be written keeps its place: nothing else of that grant is written or allowed before it. What a job
//! belongs to decides whom its failure stops.

use std::collections::hash_map::Entry::{Occupied, Vacant};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use jiff::Timestamp;
use jit_core::grant::digest::hex;
use jit_core::grant::{GrantId, LogHead};
use jit_wire::session::{Asked, Chain, End, Entry, LOG, Outcome, RECORDING, RecordingHead, SEALED, VERSION};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::Removed;
use super::recording::Recording;
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

/// Syncs that are made at the same time.
const AT_A_TIME: usize = 16;

/// Logs that are older than this when the gateway starts have nothing open: it is longer than any window.
const OLDEST_OPEN: Duration = Duration::from_secs(2 * 86_400);

/// The group is `jit-sessions` where the packages made the folder of all logs, which hands its group down: jitd reads the
/// files for people who may.
pub(super) const FILE: u32 = 0o640;
const FOLDER: u32 = 0o750;

/// What the thread is asked to do.
pub(super) enum Job {
    /// A line will follow for which nobody waits: the log is there, and nothing waits for its place, before `done` is answered.
    Begin { live: Arc<Live>, done: Done },
    /// A request begins: its line is on the disk before `done` is answered.
    Open { live: Arc<Live>, id: String, asked: Box<Asked>, recording: Option<Arc<Recording>>, done: Done },
    /// A request ended; `asked` is what it was, if it has no line yet.
    Close {
        live: Arc<Live>,
        id: String,
        asked: Option<Box<Asked>>,
        recording: Option<Arc<Recording>>,
        outcome: Outcome,
    },
    /// Where a log stands, once everything before is on the disk.
    Head { grant: GrantId, head: oneshot::Sender<Option<LogHead>> },
    /// Nothing more is written about a grant that is over, and nothing waits, before `done` is answered.
    Release { grant: GrantId, done: Done },
    /// Time has passed.
    Tick,
}

/// The thread's state.
pub(super) struct Disk {
    folder: PathBuf,
    clock: fn() -> Timestamp,
    state: Arc<Mutex<State>>,
    logs: HashMap<GrantId, Log>,
    /// Those of sessions that run, by the ids of these.
    recordings: HashMap<String, Arc<Recording>>,
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
            let ended = batch.iter().filter_map(|job| match job {
                Job::Close { recording: Some(recording), outcome, .. } if outcome.began() => {
                    Some(Arc::clone(recording))
                }
                _ => None,
            });
            at_a_time(ended.collect(), |recording| drop(recording.finish()));
            let mut asked = Vec::new();
            for job in batch.drain(..) {
                self.take(job, &mut asked);
            }
            self.write_logs(|grant| asked.iter().any(|(asked, _)| asked == grant));
            for (grant, head) in asked {
                // Whoever asked may have gone.
                let _ = head.send(self.state.lock().heads.get(&grant).cloned());
            }
        }
    }

    fn take(&mut self, job: Job, asked_heads: &mut Vec<(GrantId, oneshot::Sender<Option<LogHead>>)>) {
        let at = (self.clock)();
        match job {
            Job::Begin { live, done } => self.begin(&live, at, done),
            Job::Open { live, id, asked, recording, done } => self.open_request(&live, at, id, asked, recording, done),
            Job::Close { live, id, asked, recording, outcome } => self.close(&live, at, id, asked, recording, outcome),
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
        recording: Option<Arc<Recording>>,
        done: Done,
    ) {
        if let Err(error) = self.log(live, at) {
            recording.inspect(|recording| recording.discard());
            return self.answer(live, done, Err(error));
        }
        let recorded = recording.is_some();
        if let Some(recording) = recording {
            self.recordings.insert(id.clone(), recording);
        }
        if let Some(log) = self.logs.get_mut(&live.id) {
            log.open.insert(id.clone());
            let entry = Entry::Opened { id, asked, recorded };
            log.waiting.push(Waiting { at, entry, done: Some(done), stays: false });
        }
    }

    fn answer(&self, live: &Live, done: Done, answer: io::Result<()>) {
        if let Err(error) = &answer {
            tracing::error!(grant = %live.id, %error, "the log of a grant cannot be written");
        }
        // Whoever waits may have gone; nothing is sent on then.
        let _ = done.send(answer.map_err(|error| error.to_string()));
    }

    fn close(
        &mut self,
        live: &Arc<Live>,
        at: Timestamp,
        id: String,
        asked: Option<Box<Asked>>,
        recording: Option<Arc<Recording>>,
        outcome: Outcome,
    ) {
        self.recordings.remove(&id);
        if let Err(error) = self.log(live, at) {
            // It was there when the request began.
            tracing::error!(grant = %live.id, %error, "the log of a grant is lost, so nothing more of it is let through");
            self.state.lock().failing.insert(live.id.clone());
            return;
        }
        let recording = recording.and_then(|recording| {
            // Nothing began, so there is nothing to keep.
            if outcome.began() {
                Some(recording.finish())
            } else {
                recording.discard();
                None
            }
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
        let (mut synced, mut written) = (Vec::new(), Vec::new());
        for (grant, log) in &mut self.logs {
            let is_asked = asked(grant) && !log.is_synced;
            let somebody_waits = log.waiting.iter().any(|line| line.done.is_some());
            if somebody_waits || is_asked {
                synced.push((grant, log));
            } else if !log.waiting.is_empty() {
                written.push((grant, log));
            }
        }
        let synced = at_a_time(synced, |(grant, log)| {
            let result = log.write().and_then(|()| log.sync());
            (grant, log, result)
        });
        let written = written.into_iter().map(|(grant, log)| {
            let result = log.write();
            (grant, log, result)
        });
        let mut refused = Vec::new();
        for (grant, log, result) in synced.into_iter().chain(written) {
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
                recording.discard();
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

    fn tick(&mut self, at: Timestamp) {
        let news = self.recordings.iter().filter_map(|(id, recording)| Some((id, recording, recording.news()?)));
        let synced = at_a_time(news.collect(), |(id, recording, head)| {
            recording.checkpoint(&head).ok().map(|()| (id, recording, head))
        });
        for (id, recording, head) in synced.into_iter().flatten() {
            let Some(log) = self.logs.get_mut(recording.grant()) else { continue };
            let entry = Entry::Recorded { id: id.clone(), recording: head };
            log.waiting.push(Waiting { at, entry, done: None, stays: false });
        }
        // What nobody waited for may be lost within this second, and no longer.
        let unsynced = self.logs.values_mut().filter(|log| !log.is_synced).collect();
        at_a_time(unsynced, |log| drop(log.sync()));
        self.logs.retain(|_, log| {
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
            let mut recording = None;
            for end in [RECORDING, SEALED].into_iter().filter(|_| recorded) {
                recording = recording.or(head_of(&folder.join(format!("{id}{end}")))?);
            }
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

    fn sync(&mut self) -> io::Result<()> {
        let synced = self.file.sync_data();
        self.is_synced = synced.is_ok();
        synced
    }
}

/// Does the same with many, several at a time, and returns what came of it in any order.
fn at_a_time<T: Send, R: Send>(many: Vec<T>, act: impl Fn(T) -> R + Sync) -> Vec<R> {
    let helpers = many.len().min(AT_A_TIME).saturating_sub(1);
    let (left, done) = (Mutex::new(many), Mutex::new(Vec::new()));
    let work = || {
        loop {
            let Some(one) = left.lock().pop() else { return };
            let result = act(one);
            done.lock().push(result);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..helpers {
            // Without a helper there is still this thread.
            let _ = std::thread::Builder::new().spawn_scoped(scope, work);
        }
        work();
    });
    done.into_inner()
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

pub(super) fn make_folder(folder: &Path) -> io::Result<()> {
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
