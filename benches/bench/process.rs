//! Programs the benchmarks start, and what the kernel says they cost.
//!
//! A program ends when its [`Running`] is dropped, also when a benchmark fails. CPU time and memory come
//! from `/proc/PID/stat` and `/proc/PID/status` (proc(5)): of the whole process, all threads, and of
//! nothing else.

use std::fs::{File, read_dir, read_to_string};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Failure;

/// How long a program may take to end by itself before it is killed.
const END_WITHIN: Duration = Duration::from_secs(20);

/// How long anything that is waited for may take before the run is given up.
pub(crate) const HAPPENS_WITHIN: Duration = Duration::from_secs(120);

/// Kernel clock ticks in a second: `sysconf(_SC_CLK_TCK)` is 100 on every Linux since 2.4.
const TICKS: f64 = 100.0;

/// A program that runs until this is dropped.
pub(crate) struct Running {
    child: Child,
    name: &'static str,
}

impl Running {
    /// Starts it with both its outputs in `log`.
    pub(crate) fn start(name: &'static str, command: &mut Command, log: &Path) -> Result<Self, Failure> {
        let log = File::options().create(true).append(true).open(log)?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(Self { child: command.spawn().map_err(|error| format!("{name} can't be started: {error}"))?, name })
    }

    /// Takes over one that was started.
    pub(crate) fn of(name: &'static str, child: Child) -> Self {
        Self { child, name }
    }

    /// Why it ended, when it did.
    pub(crate) fn ended(&mut self) -> Result<(), Failure> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(format!("{} ended early: {status}", self.name).into()),
        }
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<(), Failure> {
        Ok(kill(self.pid(), signal)?)
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("a pid is an i32"))
    }

    /// CPU time so far, user and system, of all threads.
    pub(crate) fn cpu(&self) -> Result<Duration, Failure> {
        cpu_of(&self.child.id().to_string())
    }

    /// Resident memory now and at its highest, in bytes.
    pub(crate) fn memory(&self) -> Result<Memory, Failure> {
        let status = read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let field = |name: &str| -> Result<f64, Failure> {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .ok_or("a field of /proc/PID/status is missing")?;
            Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
        };
        Ok(Memory { now: field("VmRSS:")?, highest: field("VmHWM:")? })
    }

    /// How many files it has open, connections among them.
    pub(crate) fn files(&self) -> Result<usize, Failure> {
        Ok(read_dir(format!("/proc/{}/fd", self.child.id()))?.count())
    }

    /// SIGTERM, and waits until it is gone.
    pub(crate) fn stop(mut self) -> Result<(), Failure> {
        self.signal(Signal::SIGTERM)?;
        self.wait();
        Ok(())
    }

    fn wait(&mut self) {
        let begun = Instant::now();
        while begun.elapsed() < END_WITHIN {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // A control plane ends its own children at this; SIGKILL would leave them behind.
            let _ = kill(self.pid(), Signal::SIGTERM);
            self.wait();
        }
    }
}

/// Resident memory in MiB.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    pub(crate) now: f64,
    pub(crate) highest: f64,
}

/// Runs a command to its end; its stdout, or an error with all that it said.
pub(crate) fn run(command: &mut Command) -> Result<String, Failure> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
    text_of(command, output)
}

/// The same with something on its stdin.
pub(crate) fn run_with(command: &mut Command, input: &str) -> Result<String, Failure> {
    use std::io::Write;
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    // Dropped at once: the end of its input is what it waits for.
    child.stdin.take().ok_or("no stdin")?.write_all(input.as_bytes())?;
    let output = child.wait_with_output()?;
    text_of(command, output)
}

fn text_of(command: &Command, output: Output) -> Result<String, Failure> {
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let how = output.status.signal().map_or_else(|| output.status.to_string(), |signal| format!("signal {signal}"));
        return Err(format!("{command:?}: {how}\n{said}").into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Waits for a condition.
pub(crate) async fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> Result<T, Failure> {
    let begun = Instant::now();
    loop {
        if let Some(found) = condition() {
            return Ok(found);
        }
        if begun.elapsed() > HAPPENS_WITHIN {
            return Err(format!("not within {} s: {what}", HAPPENS_WITHIN.as_secs()).into());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// CPU time of the benchmark itself so far.
pub(crate) fn own_cpu() -> Result<Duration, Failure> {
    cpu_of("self")
}

fn cpu_of(process: &str) -> Result<Duration, Failure> {
    let stat = read_to_string(format!("/proc/{process}/stat"))?;
    // The name in parentheses may hold blanks; utime and stime are fields 14 and 15, state is 3.
    let after = stat.rsplit_once(')').ok_or("no name in /proc/PID/stat")?.1;
    let fields: Vec<&str> = after.split_whitespace().collect();
    let ticks = |field: usize| fields.get(field - 3).ok_or("too few fields in /proc/PID/stat");
    let ticks = ticks(14)?.parse::<f64>()? + ticks(15)?.parse::<f64>()?;
    Ok(Duration::from_secs_f64(ticks / TICKS))
}
