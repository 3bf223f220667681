//! Runs a command that ends with its grant: in a scope of the user's systemd manager, in a slice of this grant.
//!
//! ```text
//!  run, shell ─┬─► jit-<grant>-end-<second>.timer ── the window is over ──┐
//!              ├─► jit-<grant>-watch.service ── any earlier end ──────────┼─► stop jit-<grant>.slice: SIGTERM and
//!              │      (`watch`, moves the timer with the window)          │   SIGHUP, five seconds later SIGKILL
//!              └─► exec ─► jit-<grant>-<word>.scope in that slice ◄───────┘
//! ```
//! Ending the command with the window needs only systemd, no process of ours. This is not a security boundary: a person
//! controls their own manager and can move a process out of its scope. It never prevents a command from running; if it
//! cannot confine the command, a message says so. The commands `run` and `shell` call it, and `main` for `watch`.

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use jiff::Timestamp;
use jit_core::grant::Phase;
use jit_wire::ErrorCode;
use jit_wire::client::{ClientError, LONGEST_WAIT};
use nix::unistd::{Uid, User};

use crate::cache::{credential_file, forget};
use crate::daemon::Daemon;
use crate::failure::Failure;
use crate::folder::{Folder, random_word};
use crate::kubeconfig::own_path;
use crate::now;
use crate::output::say;
use crate::text::clock;

/// How long a command may take to terminate.
const TERMINATE_WITHIN: &str = "TimeoutStopSec=5s";
/// The pauses between attempts to reach the daemon, the first and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// A process that was being started when the grant ended is in the slice after this time.
const ONCE_MORE: Duration = Duration::from_secs(5);

/// The command prefix that makes a command end with the grant.
///
/// # Errors
/// Why the command cannot end with the grant.
pub(crate) fn confine(daemon: &Daemon, grant: &str, until: Timestamp) -> Result<Command, String> {
    let manager = Manager::own()?;
    let (watch, end) = (watch_unit(grant), end_unit(grant, until));
    if !manager.are_active(&[&watch, &format!("{end}.timer")]) {
        manager.arm(grant, until)?;
        manager.watch(daemon, grant, until)?;
    }
    // Whether a process of this login can be moved there is known only after trying it.
    let mut probe = manager.scope(grant)?;
    finished(probe.arg("true"))?;
    manager.scope(grant)
}

/// When a shell ends: with a systemd manager the shell itself ends, without one only its access; streams that are open then
/// may continue if the grant `may_stream`.
pub(crate) fn ends_when(confined: &Result<Command, String>, grant: &str, until: Timestamp, may_stream: bool) -> String {
    let of_login = !lingers();
    let keys_go = of_login
        && Folder::holding(&credential_file(grant)).is_ok_and(|folder| folder.is_some_and(|f| !f.is_lasting()));
    match confined {
        Ok(_) if of_login => format!(
            "this shell ends with the grant, at {} at the latest, or when your last login ends, also inside tmux or screen; \
             `loginctl enable-linger` keeps it",
            clock(until)
        ),
        Ok(_) => format!("this shell ends with the grant, at {} at the latest", clock(until)),
        Err(why) if keys_go => {
            format!("this does not end with the grant: {why}; its access ends with your last login")
        }
        Err(why) if may_stream => not_ended(why),
        Err(why) => format!("this shell does not end with the grant: {why}; its access does"),
    }
}

/// Says that a command continues after its grant.
pub(crate) fn not_ended(why: &str) -> String {
    format!("this does not end with the grant: {why}")
}

/// Whether this account's manager and runtime folder outlive its logins (loginctl(1)).
fn lingers() -> bool {
    let user = User::from_uid(Uid::effective()).ok().flatten();
    user.is_some_and(|user| Path::new("/var/lib/systemd/linger").join(user.name).exists())
}

/// Waits until the grant is over, moves the timer when the grant is extended, and ends the processes of the grant.
pub(crate) async fn watch(daemon: &Daemon, grant: &str, until: Timestamp) -> Result<(), Failure> {
    let manager = Manager::own().map_err(|why| Failure::own(why, "`run` and `shell` start it"))?;
    let (mut until, mut pause) = (until, PAUSES.0);
    let called_over = loop {
        match follow(daemon, grant, &manager, &mut until, &mut pause).await {
            Ok(()) => break true,
            Err(Failure::Client(ClientError::Problem(problem))) if problem.known() == Some(ErrorCode::NoSuchGrant) => {
                break true;
            }
            // No extension is known, and the timer has already ended the processes.
            Err(_) if until <= now() => break false,
            Err(_) => tokio::time::sleep(pause).await,
        }
        pause = (pause * 2).min(PAUSES.1);
    };
    if called_over {
        forget(grant);
    }
    manager.stop(&slice(grant));
    tokio::time::sleep(ONCE_MORE).await;
    manager.stop(&slice(grant));
    Ok(())
}

/// Follows the grant on one connection until it is over.
async fn follow(
    daemon: &Daemon,
    grant: &str,
    manager: &Manager,
    until: &mut Timestamp,
    pause: &mut Duration,
) -> Result<(), Failure> {
    let mut client = daemon.connect().await?;
    let mut seen = client.show(grant).await?;
    *pause = PAUSES.0;
    while seen.phase == Phase::Live {
        if let Some(moved) = seen.deadline.filter(|deadline| *deadline > *until) {
            match manager.arm(grant, moved) {
                Ok(()) => *until = moved,
                Err(why) => say(&format!("the timer of `{grant}` was not changed: {why}")),
            }
        }
        seen = client.wait(&seen, LONGEST_WAIT).await?;
    }
    Ok(())
}

/// The shell of this account, with the arguments that make its prompt show the grant.
pub(crate) fn shell() -> Result<Vec<OsString>, Failure> {
    let named = std::env::var_os("SHELL").filter(|shell| Path::new(shell).is_absolute());
    let of_account = || User::from_uid(Uid::effective()).ok().flatten().map(|user| user.shell.into_os_string());
    let shell = named.or_else(of_account).unwrap_or_else(|| OsString::from("/bin/sh"));
    if Path::new(&shell).file_name() != Some(OsStr::new("bash")) {
        return Ok(vec![shell]);
    }
    let folder = Folder::home()?;
    folder.write(BASHRC, &bashrc(&own_path()?))?;
    Ok(vec![shell, "--rcfile".into(), folder.path_of(BASHRC).into()])
}

/// Runs the user's own start-up file, and adds the remaining time to the prompt.
fn bashrc(program: &str) -> String {
    let program = program.replace('\'', r"'\''");
    format!(
        "[ -r ~/.bashrc ] && . ~/.bashrc\n\
         jit_login='{program}'\n\
         PS1='$(\"$jit_login\" status --short)> '\"$PS1\"\n"
    )
}

const BASHRC: &str = "shell.bashrc";

/// The systemd manager of this account.
struct Manager {
    runtime: PathBuf,
}

impl Manager {
    fn own() -> Result<Self, String> {
        // Not XDG_RUNTIME_DIR, because after su it belongs to the previous account.
        let runtime = PathBuf::from(format!("/run/user/{}", Uid::effective()));
        let listens = std::fs::metadata(runtime.join("systemd/private"));
        if listens.is_ok_and(|found| found.file_type().is_socket()) {
            Ok(Self { runtime })
        } else {
            Err("this login has no systemd manager of its own".to_owned())
        }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("--user").arg("--quiet").env("XDG_RUNTIME_DIR", &self.runtime);
        command
    }

    /// A separate scope, ready for the command.
    fn scope(&self, grant: &str) -> Result<Command, String> {
        let word = random_word().map_err(|_| "the host provides no random numbers".to_owned())?;
        let mut command = self.command("systemd-run");
        command
            .arg("--scope")
            .arg("--collect")
            .arg(format!("--slice={}", slice(grant)))
            .arg(format!("--unit=jit-{grant}-{word}.scope"))
            // A shell at a terminal ignores SIGTERM.
            .args(["--property=SendSIGHUP=yes", &format!("--property={TERMINATE_WITHIN}"), "--"]);
        Ok(command)
    }

    /// Makes systemd stop the slice at that second of the wall clock, which continues while the host is suspended, and removes
    /// earlier timers of this grant.
    fn arm(&self, grant: &str, until: Timestamp) -> Result<(), String> {
        let unit = end_unit(grant, until);
        let mut run = self.command("systemd-run");
        run.arg("--collect")
            .arg(format!("--unit={unit}"))
            .arg(format!("--on-calendar=@{}", until.as_second()))
            .args(["--timer-property=AccuracySec=100ms", "--timer-property=RemainAfterElapse=no", "--"])
            .args(["systemctl", "--user", "stop", &slice(grant)]);
        self.unless_active(&mut run, &format!("{unit}.timer"))?;
        for timer in self.timers(grant) {
            if ends_at(&timer).is_some_and(|end| end < until.as_second()) {
                self.stop(&timer);
            }
        }
        Ok(())
    }

    /// Starts the process that waits for an earlier end, once for each grant.
    fn watch(&self, daemon: &Daemon, grant: &str, until: Timestamp) -> Result<(), String> {
        let program = own_path().map_err(|_| "the path of this program is unknown".to_owned())?;
        let mut run = self.command("systemd-run");
        run.arg("--collect")
            .arg(format!("--unit={}", watch_unit(grant)))
            .args(["--property=Restart=on-failure", "--property=RestartSec=5s", "--", &program, "--socket"])
            .arg(&daemon.socket);
        if let Some(user) = &daemon.server_user {
            run.args(["--server-user", user]);
        }
        run.args(["watch", grant, &until.to_string()]);
        self.unless_active(&mut run, &watch_unit(grant))
    }

    /// If two processes start the same unit at once, one of them is enough.
    fn unless_active(&self, run: &mut Command, unit: &str) -> Result<(), String> {
        match finished(run) {
            Err(why) if !self.are_active(&[unit]) => Err(why),
            _ => Ok(()),
        }
    }

    fn are_active(&self, units: &[&str]) -> bool {
        let asked = Command::new("systemctl")
            .args(["--user", "is-active"])
            .args(units)
            .env("XDG_RUNTIME_DIR", &self.runtime)
            .stdin(Stdio::null())
            .output();
        asked.is_ok_and(|answer| {
            String::from_utf8_lossy(&answer.stdout).lines().filter(|state| *state == "active").count() == units.len()
        })
    }

    fn timers(&self, grant: &str) -> Vec<String> {
        let mut list = self.command("systemctl");
        list.args(["list-units", "--plain", "--no-legend", "--all"]).arg(format!("jit-{grant}-end-*.timer"));
        let listed = list.stdin(Stdio::null()).output().map(|listed| listed.stdout).unwrap_or_default();
        let words = String::from_utf8_lossy(&listed);
        words.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
    }

    /// Stops a unit; a unit that does not exist counts as stopped.
    fn stop(&self, unit: &str) {
        let _ = finished(self.command("systemctl").arg("stop").arg(unit));
    }
}

/// Runs a command to completion; the error is its last line.
fn finished(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    match command.stdin(Stdio::null()).stdout(Stdio::null()).output() {
        Ok(done) if done.status.success() => Ok(()),
        Ok(done) => {
            let said = String::from_utf8_lossy(&done.stderr);
            Err(format!("`{program}` says: {}", said.lines().last().unwrap_or("nothing").trim_end_matches('.')))
        }
        Err(error) => Err(format!("cannot run `{program}`: {error}")),
    }
}

fn slice(grant: &str) -> String {
    format!("jit-{grant}.slice")
}

fn watch_unit(grant: &str) -> String {
    format!("jit-{grant}-watch.service")
}

fn end_unit(grant: &str, until: Timestamp) -> String {
    format!("jit-{grant}-end-{}", until.as_second())
}

/// The second at which a timer of ours ends its slice.
fn ends_at(timer: &str) -> Option<i64> {
    timer.strip_suffix(".timer")?.rsplit_once("-end-")?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_timer_contains_its_end() {
        let until: Timestamp = "2026-11-23T18:00:00Z".parse().unwrap();
        let unit = format!("{}.timer", end_unit("7k3m9x2q7k3m9x2q", until));
        assert_eq!(unit, "jit-7k3m9x2q7k3m9x2q-end-1795456800.timer");
        assert_eq!(ends_at(&unit), Some(until.as_second()));
        for other in ["jit-7k3m9x2q7k3m9x2q-watch.service", "jit-7k3m9x2q7k3m9x2q-end-x.timer", "a-end-1"] {
            assert_eq!(ends_at(other), None, "{other}");
        }
    }

    #[test]
    fn a_path_cannot_leave_its_quotes_in_the_start_up_file() {
        assert!(bashrc("/opt/it's/jit-login").contains(r"jit_login='/opt/it'\''s/jit-login'"));
    }
}
