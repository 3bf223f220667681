//! `sessions` and `play`: what was done through the gateway, as far as the daemon hands it out and verifies.
//!
//! A recording is mostly what a pod printed. It is drawn by `jit-sessions`, so that nothing of it reaches the terminal but
//! characters and colours. It is kept in a file without a name, never in memory as a whole.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write, stdin, stdout};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jit_sessions::{HEADINGS, Pace, Recording, SessionsError, faults, identities, rows, show, title};
use jit_wire::FilterQuery;
use jit_wire::client::Client;
use jit_wire::kept::{GrantLog, LogList, LoggedRequest};
use nix::fcntl::OFlag;

use crate::arguments::PlayArguments;
use crate::daemon::{Daemon, runtime};
use crate::failure::Failure;
use crate::output::{self, Format, say, show as put};
use crate::text::{program, safe};
use crate::verbs::Caller;
use crate::{terminal, view};

impl Caller {
    /// `sessions` of all grants.
    pub(crate) async fn sessions(&mut self, limit: u32, filter: &FilterQuery) -> Result<(), Failure> {
        let list = self.client.sessions(limit, filter).await?;
        self.listed(&list, false)
    }

    /// `sessions` of one grant, or of the session whose id begins so.
    pub(crate) async fn sessions_of(&mut self, id: &str, reads: bool) -> Result<(), Failure> {
        // An id of a grant and one of a session look alike at their beginnings.
        let list = match self.client.log(id, reads).await {
            Err(jit_wire::client::ClientError::Problem(problem)) if problem.code == "no-such-grant" => {
                self.client.session(id).await?
            }
            list => list?,
        };
        self.listed(&list, true)
    }

    fn listed(&self, list: &LogList, is_one: bool) -> Result<(), Failure> {
        let ids = || {
            let requests = list.grants.iter().flat_map(|log| &log.requests);
            requests.map(|request| safe(&request.id)).collect::<Vec<_>>().join("\n")
        };
        if self.format == Format::Table && list.grants.iter().all(|log| log.requests.is_empty()) {
            say(if is_one { "nothing but reads" } else { "no session was recorded" });
        } else {
            put(self.format, list, || view::events(&HEADINGS, rows(&list.grants), terminal::width()), ids)?;
        }
        if self.format == Format::Table {
            let sum = |count: fn(&GrantLog) -> u64| list.grants.iter().map(count).fold(0_u64, u64::saturating_add);
            let (others, left_out) = (sum(|log| log.others), sum(|log| log.left_out));
            if others > 0 {
                say(&format!("{others} other requests: {}", if is_one { "--reads" } else { "name a grant" }));
            }
            if left_out > 0 {
                say(&format!("{left_out} requests left out, because one answer has only so many"));
            }
            if list.next.is_some() {
                say("there are older grants: `--limit`, or a filter, shows them");
            }
        }
        let unreadable = list.unreadable.iter().map(|log| format!("grant {}: {}", log.grant, safe(&log.why)));
        let wrong: Vec<String> = list.grants.iter().flat_map(faults).chain(unreadable).collect();
        if wrong.is_empty() {
            return Ok(());
        }
        Err(Failure::own(wrong.join("; "), "tell the administrators of this host, who keep the files as evidence"))
    }
}

/// `play`: not inside the runtime, which has the signals while it draws.
pub(crate) fn play(daemon: &Daemon, play: &PlayArguments) -> Result<(), Failure> {
    let runtime = runtime()?;
    // The key stays on this side: what the daemon sends is sealed.
    let keys = match &play.identity {
        None => Vec::new(),
        Some(path) => {
            let named = |error: &dyn std::fmt::Display| Failure::usage(format!("`{}`: {error}", path.display()), "");
            let text = jit_host::files::read_private(path).map_err(|error| named(&error))?;
            identities(&text).map_err(|error| named(&error))?
        }
    };
    let target = match &play.export {
        Some(path) if keys.is_empty() => Target::named(path)?,
        _ => Target::unnamed()?,
    };
    let fetched = runtime.block_on(async {
        let mut client = daemon.connect().await?;
        fetch(&mut client, &play.id, &target).await
    });
    let fetched = fetched.and_then(|(log, request, recording)| {
        let opened = recording.opened(keys).map_err(|error| {
            let hint = jit_host::hint::Hint::hint(&error).unwrap_or_default();
            Failure::own(error.to_string(), hint)
        })?;
        Ok((log, request, opened))
    });
    let (log, request, recording) = match fetched {
        Ok(fetched) => fetched,
        Err(failure) => {
            target.discard();
            return Err(failure);
        }
    };
    let unreadable = |error: &dyn std::error::Error| Failure::own(error.to_string(), "");
    if let Some(path) = &play.export {
        if play.identity.is_some() {
            let mut opened = Target::named(path)?;
            if let Err(error) = recording.copy(&mut opened.file) {
                opened.discard();
                return Err(unreadable(&error));
            }
        }
        output::result(&path.display().to_string())?;
    } else if stdin().is_terminal() && stdout().is_terminal() {
        let length = request.outcome.as_ref().map(|outcome| Duration::from_millis(outcome.milliseconds));
        let pace =
            Pace { from: play.from.0, speed: play.speed, idle_limit: play.idle_limit.map(|limit| limit.0), length };
        let shown = show(&recording, &title(&log, &request), &pace, &runtime).map_err(|error| unreadable(&error))?;
        if let Some(fault) = shown {
            return Err(Failure::own(fault, ""));
        }
    } else {
        say(&title(&log, &request));
        let mut out = io::BufWriter::new(stdout().lock());
        match recording.print(play.from.0, &mut out) {
            Err(jit_sessions::PrintFault::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => {}
            printed => printed.map_err(|error| unreadable(&error))?,
        }
    }
    let fault = log.fault.as_deref().or_else(|| request.recording.as_ref()?.fault.as_deref());
    match fault {
        Some(fault) => Err(Failure::own(
            format!("only the first {} bytes of the recording verify: {fault}", recording.checked().verified),
            "tell the administrators of this host, who keep the files as evidence",
        )),
        None => Ok(()),
    }
}

/// Where a recording is put.
struct Target {
    file: File,
    path: Option<PathBuf>,
}

impl Target {
    /// A new file that only its owner can read.
    fn named(path: &Path) -> Result<Self, Failure> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path);
        let file = file.map_err(|error| Failure::own(format!("cannot create `{}`: {error}", path.display()), ""))?;
        Ok(Self { file, path: Some(path.to_owned()) })
    }

    /// A file without a name, which disappears with this process.
    fn unnamed() -> Result<Self, Failure> {
        let folder = std::env::temp_dir();
        let file =
            OpenOptions::new().read(true).write(true).mode(0o600).custom_flags(OFlag::O_TMPFILE.bits()).open(&folder);
        let file = file.map_err(|error| {
            Failure::own(
                format!("cannot create a temporary file in `{}`: {error}", folder.display()),
                "name another folder with TMPDIR, or use --export",
            )
        })?;
        Ok(Self { file, path: None })
    }

    fn discard(self) {
        if let Some(path) = self.path {
            // It is ours, and of no use to anybody.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Finds the session, and gets its recording.
async fn fetch(
    client: &mut Client,
    id: &str,
    target: &Target,
) -> Result<(GrantLog, LoggedRequest, Recording), Failure> {
    let (log, request) = found(client.session(id).await?, id)?;
    let mut out = &target.file;
    let taken = client.recording(log.grant.as_str(), &request.id, |piece| out.write_all(piece)).await?;
    let unwritten = |error: io::Error| Failure::own(format!("cannot store the recording: {error}"), "");
    let sha256 = taken.map_err(unwritten)?;
    let file = target.file.try_clone().map_err(unwritten)?;
    let recording = Recording::received(&request.id, file, &sha256).map_err(|error| match error {
        SessionsError::Changed(_) => Failure::own(
            "what arrived is not what the daemon verified",
            "try again; `jitd doctor` helps if it stays so",
        ),
        other => Failure::own(other.to_string(), ""),
    })?;
    Ok((log, request, recording))
}

/// The only session that was found.
fn found(list: LogList, id: &str) -> Result<(GrantLog, LoggedRequest), Failure> {
    let mut found: Vec<(GrantLog, LoggedRequest)> = Vec::new();
    for mut log in list.grants {
        let requests = std::mem::take(&mut log.requests);
        found.extend(requests.into_iter().filter(|request| request.recorded).map(|request| (log.clone(), request)));
    }
    match found.len() {
        0 => Err(match list.unreadable.into_iter().next() {
            Some(log) => Failure::own(log.why, "an administrator finds the reason with `jitd doctor`"),
            None => Failure::usage(
                format!("session `{id}` was not recorded"),
                format!("`{} sessions` lists those that are", program()),
            ),
        }),
        1 => found.pop().ok_or_else(|| Failure::own("no session", "")),
        _ => {
            let ids: Vec<&str> = found.iter().take(5).map(|(_, request)| request.id.as_str()).collect();
            Err(Failure::usage(
                format!("several sessions begin with `{id}`"),
                format!("write more of it: {}", ids.join(", ")),
            ))
        }
    }
}
