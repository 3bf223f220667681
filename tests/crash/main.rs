//! Power losses: whatever was acknowledged is in the trail afterwards, and the trail is whole and goes on.
//!
//! ```text
//!  writer.rs ── libc ── record.c ─► log ─► disk.rs: cut anywhere, anything unsynced lost ─► Trail::open ─► all that was acknowledged?
//! ```
//! The trail's own code writes, to real files; only what a disk makes of it when the power goes is computed, for a kernel
//! that does it (dm-log-writes) is not to be had in a container. Then the same with a disk that lies about its syncs: that has
//! to lose something, or the test could not tell. `make crash` runs it.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test fails loudly"
)]

mod disk;
#[path = "../support/numbers.rs"]
mod numbers;
#[path = "../support/requested.rs"]
mod requested;
mod writer;

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use jitd::grant::digest::sha256_hex;
use jitd::trail::{Trail, export, verify_file};
use nix::sys::signal::Signal;

use crate::disk::{Chance, Change, Deed, Disk, Files, Step, Sync};
use crate::numbers::numbers;
use crate::writer::{ACKNOWLEDGED, TRAIL, refused, requested};

/// How often `cargo test` alone loses the power, and how many facts are acknowledged then.
const A_FEW_LOSSES: u64 = 40;
const A_FEW_FACTS: u64 = 800;

/// How this program is told to be the one that writes.
const WRITE: &str = "JITD_CRASH_WRITE";

fn main() -> ExitCode {
    if let Some(folder) = std::env::var_os(WRITE) {
        let facts = std::env::args().nth(1).unwrap().parse().unwrap();
        writer::write(Path::new(&folder), facts);
    }
    let (losses, facts, seed) = match numbers(["--losses", "--facts", "--seed"]) {
        Ok([losses, facts, seed]) => (losses.unwrap_or(A_FEW_LOSSES), facts.unwrap_or(A_FEW_FACTS), seed.unwrap_or(1)),
        Err(code) => return code,
    };
    let (losses, facts) = (usize::try_from(losses).unwrap(), usize::try_from(facts).unwrap());
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("crash-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let began = Instant::now();
    let recorder = recorder(&folder);
    let histories = [
        History::recorded("a new trail", &folder.join("new"), &recorder, facts, |_| {}),
        History::recorded("a trail of before", &folder.join("before"), &recorder, facts, of_before),
    ];
    let mut chance = Chance(seed);
    for history in &histories {
        let losses = losses / histories.len();
        let held = history.lose_power(losses, Sync::Holds, &mut chance);
        println!("{}: {losses} losses of power, {} acknowledged facts looked up", history.what, held.looked_up);
        if let Some((what, files)) = held.lost.first() {
            let kept = folder.join("lost");
            written(&kept, files);
            println!("{}: {what}\nhint: what the disk had lies in `{}`", history.what, kept.display());
            return ExitCode::FAILURE;
        }
        let lying = history.lose_power(losses, Sync::Lies, &mut chance);
        println!("{}: with a disk that lies {} of {losses} lose something", history.what, lying.lost.len());
        if lying.lost.is_empty() {
            println!("{}: that can't be, so nothing is proved", history.what);
            return ExitCode::FAILURE;
        }
    }
    println!("nothing that was acknowledged was lost; {:.1} s", began.elapsed().as_secs_f64());
    std::fs::remove_dir_all(folder).unwrap();
    ExitCode::SUCCESS
}

/// `record.c` as a library.
fn recorder(folder: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crash/record.c");
    let library = folder.join("record.so");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O2", "-Wall", "-o"]).arg(&library).arg(source).arg("-ldl");
    assert!(compiler.status().expect("a C compiler (cc)").success());
    library
}

/// All that a process did to a trail, and what it said of it meanwhile.
struct History {
    what: &'static str,
    /// What was there before.
    before: Files,
    steps: Vec<Step>,
    /// How many steps were done when a fact was acknowledged, its number, and the hash of its line.
    acknowledged: Vec<(usize, usize, String)>,
}

/// What losses of power did.
struct Losses {
    looked_up: usize,
    /// What was not there, or not right, and what the disk had.
    lost: Vec<(String, Files)>,
}

impl History {
    fn recorded(what: &'static str, folder: &Path, recorder: &Path, facts: usize, before: fn(&Path)) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        before(&folder.join(TRAIL));
        let trail = folder.join(TRAIL);
        // Whoever reads leaves an empty log beside the file.
        let lines = if trail.exists() { lines(&trail) } else { Vec::new() };
        let (before, log) = (read(folder), folder.with_extension("log"));
        let ended = Command::new(std::env::current_exe().unwrap())
            .arg(facts.to_string())
            .env(WRITE, folder)
            .env("LD_PRELOAD", recorder)
            .env("RECORD_FOLDER", folder)
            .env("RECORD_LOG", &log)
            .status()
            .unwrap();
        assert_eq!(ended.signal(), Some(Signal::SIGABRT as i32), "{ended}");
        let (mut steps, mut acknowledged) = (Vec::new(), Vec::new());
        acknowledged
            .extend(lines.iter().enumerate().map(|(before, line)| (0, before + 1, sha256_hex(line.as_bytes()))));
        for step in disk::steps(&std::fs::read(log).unwrap()) {
            match &step {
                Step { name, deed: Deed::Changed(Change::Written { bytes, .. }) } if name == ACKNOWLEDGED => {
                    let said = String::from_utf8(bytes.to_vec()).unwrap();
                    let (number, hash) = said.trim().split_once(' ').unwrap();
                    acknowledged.push((steps.len(), number.parse().unwrap(), hash.to_owned()));
                }
                Step { name, .. } if name == ACKNOWLEDGED || name.ends_with("-shm") => {}
                _ => steps.push(step),
            }
        }
        assert!(acknowledged.len() >= lines.len() + facts / 2, "{} facts", acknowledged.len());
        let history = Self { what, before, steps, acknowledged };
        let mut disk = Disk::with(&history.before, Sync::Holds);
        history.steps.iter().for_each(|step| disk.take(step));
        assert!(disk.files() == read(folder), "something was written past the record");
        history
    }

    /// Loses the power at so many moments, in their order.
    fn lose_power(&self, losses: usize, sync: Sync, chance: &mut Chance) -> Losses {
        let mut moments: Vec<usize> = (0..losses).map(|_| chance.below(self.steps.len() + 1)).collect();
        moments.sort_unstable();
        let (mut disk, mut done, mut outcome) =
            (Disk::with(&self.before, sync), 0, Losses { looked_up: 0, lost: Vec::new() });
        for moment in moments {
            self.steps[done..moment].iter().for_each(|step| disk.take(step));
            done = moment;
            let files = disk.after_a_loss(chance);
            let acknowledged: Vec<_> = self.acknowledged.iter().take_while(|(steps, ..)| *steps <= moment).collect();
            outcome.looked_up += acknowledged.len();
            let looked_at = chance.below(2) == 0;
            if let Err(what) = goes_on(&files, &acknowledged, looked_at) {
                outcome.lost.push((format!("after {moment} of {} steps: {what}", self.steps.len()), files));
            }
        }
        outcome
    }
}

/// Whether the trail that is left opens, is whole, has what was acknowledged, and takes more; also after somebody has looked at
/// it with another program, which carries its log over.
fn goes_on(files: &Files, acknowledged: &[&(usize, usize, String)], looked_at: bool) -> Result<(), String> {
    // In memory, where the next syncs cost nothing.
    let folder = Path::new("/dev/shm").join(format!("jitd-crash-{}", std::process::id()));
    written(&folder, files);
    let path = folder.join(TRAIL);
    let looked = (|| {
        if looked_at {
            let connection = rusqlite::Connection::open(&path).map_err(|error| error.to_string())?;
            connection.pragma_query(None, "user_version", |_| Ok(())).map_err(|error| error.to_string())?;
        }
        let trail = Trail::open(&path).map_err(|error| error.to_string())?.trail;
        let lines = lines(&path);
        for (_, number, hash) in acknowledged {
            let found = lines.get(number - 1).map(|line| sha256_hex(line.as_bytes()));
            if found.as_ref() != Some(hash) {
                return Err(format!("event {number} was acknowledged, and of {} events it is {found:?}", lines.len()));
            }
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(trail.append(vec![requested(255), refused(255)], None)).map_err(|error| error.to_string())?;
        trail.close();
        let events = verify_file(&path, |_| {}).map_err(|error| error.to_string())?.events;
        assert_eq!(usize::try_from(events).unwrap(), lines.len() + 2);
        Ok(())
    })();
    std::fs::remove_dir_all(folder).unwrap();
    looked
}

fn lines(trail: &Path) -> Vec<String> {
    let mut exported = Vec::new();
    export(trail, &mut exported).unwrap();
    String::from_utf8(exported).unwrap().lines().map(str::to_owned).collect()
}

/// A trail as an earlier jitd left it, so that the next start makes anew what finds its events.
fn of_before(trail: &Path) {
    let opened = Trail::open(trail).unwrap().trail;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let facts = (0..200).map(|number| if number == 0 { requested(1) } else { refused(1) });
    runtime.block_on(opened.append(facts.collect(), None)).unwrap();
    opened.close();
    drop(opened);
    let earlier = "DROP TABLE closed; DROP TABLE watchers; ALTER TABLE grants DROP COLUMN at; PRAGMA user_version = 2;";
    rusqlite::Connection::open(trail).unwrap().execute_batch(earlier).unwrap();
}

/// The files of a folder, but for what is only in memory.
fn read(folder: &Path) -> Files {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let files = files.map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()));
    files.filter(|(name, _)| name != ACKNOWLEDGED && !name.ends_with("-shm")).collect()
}

fn written(folder: &Path, files: &Files) {
    std::fs::create_dir_all(folder).unwrap();
    for (name, bytes) in files {
        std::fs::write(folder.join(name), bytes).unwrap();
    }
}
