//! What must not share a thread with what measures, or must be another account: this program once more, as a process of its own.
//!
//! ```text
//!  Aside::start(task) ─► bench --aside TASK     works until its stdin ends, so also when the benchmark is killed
//!                    ◄── a line                 it has begun
//!  end()              ─► the end of its stdin
//!                    ◄── a line of JSON         what it did
//! ```
//! One that ends early, begins never, or says nothing in the end fails the benchmark.

use std::future::Future;
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{copy, sink};
use tokio::net::unix::pipe::Receiver;

use crate::Failure;
use crate::frontend::Strangers;
use crate::hostile::Attackers;
use crate::process::Running;

/// How long it may take until it has begun; it ends by itself after that.
const BEGUN_WITHIN: Duration = Duration::from_secs(60);

/// What such a process does.
#[derive(Serialize, Deserialize)]
pub(crate) enum Task {
    Attack(Attackers),
    Strangers(Strangers),
}

/// A process that does its task.
pub(crate) struct Aside {
    name: &'static str,
    // Before the process, which ends when this does.
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    running: Running,
}

impl Aside {
    /// Starts it in a folder, and waits until it has begun.
    pub(crate) fn start(name: &'static str, task: &Task, folder: &Path) -> Result<Self, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("--aside").arg(serde_json::to_string(task)?).current_dir(folder);
        let mut child: Child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().ok_or("no stdout")?);
        let mut begun = Self { name, stdin, stdout, running: Running::of(name, child) };
        begun.line("did not begin")?;
        Ok(begun)
    }

    /// Ends it; what it did.
    pub(crate) fn end<T: DeserializeOwned>(mut self) -> Result<T, Failure> {
        self.running.ended()?;
        drop(self.stdin.take());
        let line = self.line("did not say what it did")?;
        Ok(serde_json::from_str(&line)?)
    }

    fn line(&mut self, otherwise: &str) -> Result<String, Failure> {
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        if line.is_empty() { Err(format!("{} {otherwise}", self.name).into()) } else { Ok(line) }
    }
}

/// The other side: does a task, and says what it did.
pub(crate) async fn work(task: &str) -> Result<(), Failure> {
    match serde_json::from_str(task)? {
        Task::Attack(attackers) => attackers.work().await,
        Task::Strangers(strangers) => strangers.work().await,
    }
}

/// Says that it has begun once `begins` completes, waits until it is told to end, and says what `did` then returns.
pub(crate) async fn report<T: Serialize>(
    begins: impl Future<Output = ()>,
    did: impl FnOnce() -> T,
) -> Result<(), Failure> {
    let begun = tokio::time::timeout(BEGUN_WITHIN, begins).await;
    begun.map_err(|_| format!("nothing begins within {} s", BEGUN_WITHIN.as_secs()))?;
    println!("begun");
    let mut stdin = Receiver::from_owned_fd(std::io::stdin().as_fd().try_clone_to_owned()?)?;
    copy(&mut stdin, &mut sink()).await?;
    println!("{}", serde_json::to_string(&did())?);
    Ok(())
}
