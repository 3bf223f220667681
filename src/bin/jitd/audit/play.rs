//! `jitd audit play`: plays a recording, prints it as text, or copies it.

use std::fs::OpenOptions;
use std::io::{IsTerminal, Write, stdin, stdout};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use jitd::escape::escaped;
use jitd::files;
use jitd::grant::Reading;
use jitd::sessions::{Found, Pace, Recording, SessionsError, Time, identities, show, speed, title};
use jitd::wire::kept::{GrantLog, ReadingBody};

use super::sessions::Folder;
use crate::print::{self, say};
use crate::{AND, Failure, runtime};

/// What to play, and how.
#[derive(Args)]
pub(crate) struct Play {
    /// The session; the beginning of its id is enough.
    #[arg(value_name = "SESSION")]
    id: String,
    /// Begin here.
    #[arg(long, value_name = "TIME", default_value = "0s", conflicts_with = "export")]
    from: Time,
    /// How fast to play on a terminal, from 0.1 to 100.
    #[arg(long, value_name = "TIMES", default_value = "1", value_parser = speed)]
    speed: f64,
    /// Wait at most so long where nothing happens.
    #[arg(long, value_name = "TIME")]
    idle_limit: Option<Time>,
    /// Copy what verifies to this new file, for asciinema, and play nothing.
    #[arg(long, value_name = "FILE")]
    export: Option<PathBuf>,
    /// Open a sealed recording with the keys in this file, as `age-keygen` writes it.
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
    #[command(flatten)]
    folder: Folder,
}

pub(crate) fn play(config: &Path, play: &Play) -> Result<(), Failure> {
    let keys = match &play.identity {
        None => Vec::new(),
        Some(path) => identities(&files::read_private(path)?)
            .map_err(|error| Failure::usage(format!("`{}`: {error}", path.display())))?,
    };
    let (mut sessions, gone) = play.folder.open(config)?;
    let found = sessions.find(&play.id).map_err(|error| gone.says(&play.id).map_or(error.into(), Failure::ours))?;
    let (grant, session) = match found {
        Found::Session(grant, session) => (grant, session),
        Found::Grant(grant) => {
            return Err(Failure::usage(format!("{grant} is a grant"))
                .with_hint(format!("`jitd audit sessions {grant}` lists its sessions")));
        }
    };
    play.folder
        .tell(config, &ReadingBody { grant: grant.clone(), what: Reading::Recording, session: Some(session.clone()) });
    let (log, request, recording) = sessions.recording(&grant, &session)?;
    let recording = recording.opened(keys)?;
    if let Some(file) = &play.export {
        export(&recording, file)?;
    } else if stdin().is_terminal() && stdout().is_terminal() {
        let length = request.outcome.as_ref().map(|outcome| Duration::from_millis(outcome.milliseconds));
        let idle_limit = play.idle_limit.map(|limit| limit.0);
        let pace = Pace { from: play.from.0, speed: play.speed, idle_limit, length };
        if let Some(fault) = show(&recording, &title(&log, &request), &pace, &runtime()?)? {
            return Err(Failure::ours(escaped(&fault)));
        }
    } else {
        say!("{}", title(&log, &request));
        print::in_pieces(|out| recording.print(play.from.0, out))?;
    }
    rest(&log, &recording)
}

/// Says what was not shown, because nothing proves it.
fn rest(log: &GrantLog, recording: &Recording) -> Result<(), Failure> {
    let checked = recording.checked();
    let faults: Vec<&str> = checked.fault.iter().chain(&log.fault).map(String::as_str).collect();
    if faults.is_empty() {
        let more = checked.bytes.saturating_sub(checked.verified);
        if more > 0 {
            say!("there is more of it, {more} bytes, about which the log says nothing yet");
        }
        return Ok(());
    }
    let so_far = format!("only the first {} bytes of the recording verify", checked.verified);
    let faults: Vec<String> = std::iter::once(so_far).chain(faults.into_iter().map(escaped)).collect();
    Err(Failure::ours(faults.join(AND)).with_hint("keep the files unchanged as evidence"))
}

/// Copies what verifies to a new file that only its owner can read.
fn export(recording: &Recording, file: &Path) -> Result<(), Failure> {
    files::check_place(file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")))?;
    let failed = |doing| move |source| SessionsError::Io { path: file.to_owned(), doing, source };
    let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).map_err(failed("create"))?;
    let copied = recording.copy(&mut out).and_then(|()| out.flush().map_err(failed("write")));
    if copied.is_err() {
        // It is ours, and of no use to anybody.
        let _ = std::fs::remove_file(file);
    }
    copied?;
    print::result(file.display().to_string())
}
