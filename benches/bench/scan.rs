//! What `jitd scan` costs on a large cluster: a dump in, all findings out, no cluster and no daemon.
//!
//! ```text
//!  estate: 5,000 roles, 20,000 bindings, 50,000 subjects ─► dump ─► jitd scan ─► time, highest memory
//!                 harmless, or with 5 % dangerous roles, or twice as large, or with an audit log of 1 GB
//! ```
//! Peers are built from their Go modules at a fixed version. One that cannot be built says why in its row.

mod estate;
mod log;
mod peers;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use self::estate::Estate;
use crate::load::median;
use crate::table::{Row, number};
use crate::{Failure, Settings, progress};

const JITD: &str = env!("CARGO_BIN_EXE_jitd");

/// The targets for the large cluster.
const SECONDS: f64 = 3.0;
const MEBIBYTES: f64 = 300.0;
/// How much longer twice the size may take.
const TWICE: f64 = 2.2;
/// The target for an audit log of 1 GB.
const LOG_SECONDS: f64 = 20.0;

pub(crate) fn measure(folder: &Path, settings: &Settings) -> Result<Vec<Row>, Failure> {
    std::fs::create_dir_all(folder)?;
    let turns = settings.shorter(7, 2);
    let mut rows = Vec::new();
    let mut large = None;
    for (what, estate) in [
        ("5000 roles, 20000 bindings", Estate { risky: 0, ..Estate::LARGE }),
        ("the same with 5 % dangerous roles", Estate { risky: 5, ..Estate::LARGE }),
    ] {
        progress(&format!("scan: {what}"));
        let dump = dump(folder, estate)?;
        let found = scan(&dump, None, turns)?;
        let size = dump.metadata()?.len() as f64 / f64::from(1 << 20);
        rows.push(
            Row::new(format!("scan of {what}"), number(found.seconds, "s"))
                .against(format!("a dump of {}", number(size, "MB")))
                .at_most(found.seconds, SECONDS, "s"),
        );
        rows.push(Row::new("its highest memory", number(found.mebibytes, "MiB")).at_most(
            found.mebibytes,
            MEBIBYTES,
            "MiB",
        ));
        large = Some((dump, found.seconds));
    }
    let (large, once) = large.ok_or("no estate")?;
    progress("scan: twice as large");
    let twice = Estate { roles: 2 * Estate::LARGE.roles, risky: 5 };
    let found = scan(&dump(folder, twice)?, None, turns)?;
    rows.push(
        Row::new("scan of twice as much", number(found.seconds, "s"))
            .against(format!("once, {}", number(once, "s")))
            .at_most(found.seconds / once, TWICE, "×"),
    );
    rows.push(with_log(folder, &large, settings)?);
    rows.append(&mut peers::measure(&folder.join("peers"))?);
    Ok(rows)
}

/// The scan of the large cluster with an audit log, which is removed at once: it is as large as everything else together.
fn with_log(folder: &Path, dump: &Path, settings: &Settings) -> Result<Row, Failure> {
    let bytes = settings.shorter(1 << 30, 1 << 26);
    progress(&format!("scan: an audit log of {}", number(bytes as f64 / f64::from(1 << 20), "MB")));
    let path = folder.join("audit.log");
    let written = log::write(&path, bytes).map_err(Failure::from);
    let found = written.and_then(|()| scan(dump, Some(&path), 1));
    std::fs::remove_file(&path)?;
    let Found { seconds, mebibytes } = found?;
    let size = number(bytes as f64 / f64::from(1 << 20), "MB");
    Ok(Row::new(format!("the same with an audit log of {size}"), number(seconds, "s"))
        .against(format!("highest memory {}", number(mebibytes, "MiB")))
        .at_most(seconds, LOG_SECONDS, "s"))
}

fn dump(folder: &Path, estate: Estate) -> Result<PathBuf, Failure> {
    let path = folder.join(format!("{}-{}.json", estate.roles, estate.risky));
    let mut out = BufWriter::new(File::create(&path)?);
    estate.write(&mut out)?;
    out.flush()?;
    Ok(path)
}

struct Found {
    seconds: f64,
    mebibytes: f64,
}

/// The median time, and the highest memory of all turns.
fn scan(dump: &Path, log: Option<&Path>, turns: usize) -> Result<Found, Failure> {
    let (mut times, mut highest) = (Vec::new(), 0.0_f64);
    for _ in 0..turns {
        let mut command = Command::new(JITD);
        command.args(["scan", "--server-version", "1.36", "-o", "json"]).arg(dump);
        if let Some(log) = log {
            command.arg("--audit-log").arg(log);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let begun = Instant::now();
        let mut child = command.spawn()?;
        let pid = child.id();
        let status = loop {
            // It never falls: the last look before the end is the highest.
            highest = highest.max(memory(pid));
            match child.try_wait()? {
                Some(status) => break status,
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        };
        times.push(begun.elapsed().as_secs_f64());
        if !status.success() {
            return Err(format!("{command:?}: {status}").into());
        }
    }
    Ok(Found { seconds: median(times), mebibytes: highest })
}

/// `VmHWM` of a process in MiB; 0 once it has ended.
fn memory(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    field.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok()).unwrap_or_default() / 1024.0
}
