//! The command: a program of this host that gets one fact as JSON on its standard input, like a hook of git.
//!
//! It is started without a shell, in a process group of its own, with an environment that has only `PATH`, `LANG` and the
//! fact's id and type. Exit code 0 means that it took the fact; 75 (`EX_TEMPFAIL`, sysexits(3)) and a missed deadline mean
//! later; anything else is final. What it prints goes to the log, cut. A [`directory`](crate::directory) runs one as well.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use jit_host::escape::escaped;
use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command as Process};
use tokio::time::timeout;

use crate::document::Document;
use crate::outcome::Outcome;

/// How much of what it prints is kept, in bytes.
const KEPT: usize = 4 << 10;

/// How much of that a status repeats, in characters.
const REPEATED: usize = 200;

/// The exit code that means "try again" (`EX_TEMPFAIL`, sysexits(3)).
const TRY_AGAIN: i32 = 75;

/// A program to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The program, absolute.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// How long it may run.
    pub deadline: Duration,
}

/// What a program that ended left.
struct Left {
    status: ExitStatus,
    out: Vec<u8>,
    error: Vec<u8>,
}

impl Command {
    /// Runs it once with a document, whose JSON is `body`.
    pub async fn deliver(&self, document: &Document<'_>, body: &[u8]) -> Outcome {
        let program = self.program.display();
        let mut process = self.process();
        process.env("JIT_ID", &document.id).env("JIT_TYPE", &document.kind);
        let Left { status, out, error } = match self.run(process, body).await {
            Ok(left) => left,
            Err(why) => return Outcome::Later { after: None, why },
        };
        let printed = shown(&[out, error].concat());
        if !printed.is_empty() {
            tracing::info!(command = %program, id = document.id, printed, "the command printed something");
        }
        let said = if printed.is_empty() { String::new() } else { format!(": {printed}") };
        match status.code() {
            Some(0) => Outcome::Delivered { remote: None },
            Some(TRY_AGAIN) => Outcome::Later { after: None, why: format!("`{program}` asks for later{said}") },
            Some(code) => Outcome::Refused { why: format!("`{program}` failed with exit code {code}{said}") },
            None => Outcome::Later { after: None, why: format!("`{program}` was ended by {status}{said}") },
        }
    }

    /// Runs it once with one more argument, and returns what it prints, up to 4 KiB.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn ask(&self, argument: &str) -> Result<String, String> {
        let program = self.program.display();
        let mut process = self.process();
        process.arg(argument);
        let Left { status, out, error } = self.run(process, &[]).await?;
        let said = match shown(&error) {
            printed if printed.is_empty() => String::new(),
            printed => format!(": {printed}"),
        };
        match status.code() {
            Some(0) => Ok(String::from_utf8_lossy(&out).into_owned()),
            Some(code) => Err(format!("`{program}` failed with exit code {code}{said}")),
            None => Err(format!("`{program}` was ended by {status}{said}")),
        }
    }

    fn process(&self) -> Process {
        let mut process = Process::new(&self.program);
        process
            .args(&self.arguments)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("LANG", "C.UTF-8")
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        process
    }

    async fn run(&self, mut process: Process, body: &[u8]) -> Result<Left, String> {
        let program = self.program.display();
        let child = process.spawn().map_err(|error| format!("`{program}` cannot be started: {error}"))?;
        let mut group = Group { child };
        let after = self.deadline.as_secs();
        let (status, out, error) = timeout(self.deadline, group.run(body))
            .await
            .map_err(|_| format!("`{program}` was killed: it did not end within {after} s"))?;
        let status = status.map_err(|error| format!("`{program}` cannot be waited for: {error}"))?;
        Ok(Left { status, out, error })
    }
}

/// A child that leads a process group, which ends with it.
struct Group {
    child: Child,
}

impl Group {
    async fn run(&mut self, body: &[u8]) -> (std::io::Result<ExitStatus>, Vec<u8>, Vec<u8>) {
        let (stdin, stdout, stderr) = (self.child.stdin.take(), self.child.stdout.take(), self.child.stderr.take());
        let write = async {
            if let Some(mut stdin) = stdin {
                // A command may end without reading what it does not need.
                let _ = stdin.write_all(body).await;
            }
        };
        let ((), out, error, status) = tokio::join!(write, beginning(stdout), beginning(stderr), self.child.wait());
        (status, out, error)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Until it is waited for, its number is its own. What it started in its group ends with it in any case.
        if let Some(id) = self.child.id().and_then(|id| i32::try_from(id).ok())
            && let Err(error) = killpg(Pid::from_raw(id), Signal::SIGKILL)
            && error != Errno::ESRCH
        {
            tracing::warn!(%error, "the processes of a command could not be killed");
        }
    }
}

/// The beginning of what a pipe brings; the rest is read and dropped, so that the command does not wait for us.
async fn beginning(pipe: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let (mut kept, mut buffer) = (Vec::new(), [0; 1024]);
    let Some(mut pipe) = pipe else { return kept };
    while let Ok(read) = pipe.read(&mut buffer).await
        && read > 0
    {
        let room = KEPT.saturating_sub(kept.len());
        kept.extend_from_slice(buffer.get(..read.min(room)).unwrap_or_default());
    }
    kept
}

/// What it printed, on one line and safe in a log.
fn shown(printed: &[u8]) -> String {
    let text = String::from_utf8_lossy(printed);
    let text = text.trim();
    let mut shown = escaped(&text.chars().take(REPEATED).collect::<String>());
    if text.chars().nth(REPEATED).is_some() {
        shown.push_str(" … [cut]");
    }
    shown
}
