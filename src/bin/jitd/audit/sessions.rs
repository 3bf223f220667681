//! `jitd audit sessions`: what was done through the gateway, as a table or as JSON, and what of it does not verify.

use std::path::{Path, PathBuf};

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use jitd::escape::escaped;
use jitd::sessions::{FOLDER, Found, GrantLog, Request, Sessions, Standing, words};
use jitd::trail;
use jitd::wire::session::{Asked, Carries, End};

use crate::print::{self, Output, counted, say};
use crate::{Failure, read};

/// Which requests, and from where.
#[derive(Args)]
pub(crate) struct List {
    /// Only this grant, with every request, or only this session; the beginning of its id is enough.
    #[arg(value_name = "GRANT|SESSION")]
    id: Option<String>,
    /// Also requests that only read.
    #[arg(long, requires = "id")]
    reads: bool,
    #[command(flatten)]
    folder: Folder,
    /// Output format.
    #[arg(long, short, default_value = "text", value_enum)]
    output: Output,
}

/// The folder of all logs.
#[derive(Args)]
pub(super) struct Folder {
    /// The gateway's folder of sessions, or a copy of it.
    #[arg(long = "folder", value_name = "FOLDER", default_value = FOLDER)]
    path: PathBuf,
    /// Compare the logs with this trail or backup [default: the trail of the configuration, if there is one].
    #[arg(long, value_name = "FILE")]
    trail: Option<PathBuf>,
}

impl Folder {
    /// Opens it, and reads from the trail where the logs stood.
    pub(super) fn open(&self, config: &Path) -> Result<Sessions, Failure> {
        let sessions = Sessions::open(&self.path)?;
        let trail = match &self.trail {
            Some(trail) => trail.clone(),
            None if config.exists() => read(config)?.trail(),
            None => {
                say!("not compared with an audit trail: there is no `{}`, and no --trail", config.display());
                return Ok(sessions);
            }
        };
        Ok(sessions.with_trail(trail::log_heads(&trail)?))
    }
}

/// The JSON.
#[derive(Serialize)]
struct Listed<'a> {
    grants: &'a [GrantLog],
}

pub(crate) fn list(config: &Path, list: &List) -> Result<(), Failure> {
    let mut sessions = list.folder.open(config)?;
    let logs = match &list.id {
        None => {
            let mut logs = Vec::new();
            for grant in sessions.grants()? {
                logs.push(sessions.read(&grant, |_, asked, _| is_session(asked))?);
            }
            logs
        }
        Some(id) => match sessions.find(id)? {
            Found::Grant(grant) => vec![sessions.read(&grant, |_, _, only_reads| list.reads || !only_reads)?],
            Found::Session(grant, session) => vec![sessions.read(&grant, |id, _, _| id == session)?],
        },
    };
    match list.output {
        Output::Json => print::json(&Listed { grants: &logs })?,
        Output::Text => text(&logs, list.id.is_some())?,
    }
    let faults: Vec<String> = logs.iter().flat_map(faults).collect();
    if faults.is_empty() {
        return Ok(());
    }
    Err(Failure::ours(faults.join("\njitd: ")).with_hint("keep the files unchanged as evidence"))
}

/// Whether a request is a session: what a person does in it is not in the request.
fn is_session(asked: &Asked) -> bool {
    let carries = asked.stream.as_ref().map(|stream| stream.carries);
    matches!(carries, Some(Carries::Exec | Carries::Attach | Carries::PortForward))
}

/// What does not verify, one sentence each.
fn faults(log: &GrantLog) -> Vec<String> {
    let of_log = log.fault.iter().map(|fault| format!("grant {}: {}", log.grant, escaped(fault)));
    let of_recordings = log.requests.iter().filter_map(|request| {
        let fault = request.recording.as_ref()?.fault.as_ref()?;
        Some(format!("recording of session {}: {}", request.id, escaped(fault)))
    });
    of_log.chain(of_recordings).collect()
}

fn text(logs: &[GrantLog], is_one: bool) -> Result<(), Failure> {
    let mut rows: Vec<(Option<Timestamp>, Vec<String>)> = Vec::new();
    for log in logs {
        rows.extend(log.requests.iter().map(|request| (Some(request.at), row(log, request))));
    }
    rows.sort_by_key(|(at, _)| *at);
    // What there is behind it, nobody can say: it is as new as anything.
    rows.extend(logs.iter().filter(|log| log.fault.is_some()).map(|log| (None, faulty_row(log))));
    if rows.is_empty() {
        say!("{}", if is_one { "nothing but reads" } else { "no session was recorded" });
    } else {
        let headings =
            ["VERIFIED", "SESSION", "GRANT", "WHO", "CLUSTER", "BEGAN", "LASTED", "END", "SENT", "RECORDED", "WHAT"];
        print::result(print::table(&headings, rows.into_iter().map(|(_, row)| row).collect()))?;
    }
    let sum = |count: fn(&GrantLog) -> u64| logs.iter().map(count).fold(0_u64, u64::saturating_add);
    let (others, left_out) = (sum(|log| log.others), sum(|log| log.left_out));
    if others > 0 {
        let how = if is_one { "--reads" } else { "name a grant" };
        say!("{} not listed: {how}", counted(others, "other request"));
    }
    if left_out > 0 {
        say!(
            "{} left out, because there are too many for one list: name a grant or a session",
            counted(left_out, "request")
        );
    }
    Ok(())
}

fn row(log: &GrantLog, request: &Request) -> Vec<String> {
    let verified = match request.standing() {
        Standing::Verified => "yes",
        Standing::Open => "open",
        Standing::Broken => "BROKEN",
    };
    let outcome = request.outcome.as_ref();
    let sent = outcome.map_or("-".to_owned(), |outcome| outcome.sent.to_string());
    let recorded = request.recording.as_ref().map_or("-".to_owned(), |recording| recording.bytes.to_string());
    vec![
        verified.to_owned(),
        escaped(&request.id),
        log.grant.to_string(),
        escaped(log.person()),
        log.cluster.as_ref().map_or("-".to_owned(), ToString::to_string),
        format!("{:.0}", request.at),
        outcome.map_or("-".to_owned(), |outcome| length(outcome.milliseconds)),
        end(request),
        sent,
        recorded,
        shown(&words(&request.asked)),
    ]
}

fn faulty_row(log: &GrantLog) -> Vec<String> {
    let mut row = vec!["-".to_owned(); 11];
    let after = counted(log.head.lines, "line");
    let known = [
        (0, "BROKEN".to_owned()),
        (2, log.grant.to_string()),
        (3, escaped(log.person())),
        (10, format!("the log verifies for {after}")),
    ];
    for (place, text) in known {
        if let Some(cell) = row.get_mut(place) {
            *cell = text;
        }
    }
    row
}

/// How a request ended: the status of an answer says more than that it was whole.
fn end(request: &Request) -> String {
    let Some(outcome) = &request.outcome else { return "-".to_owned() };
    let word = match outcome.end {
        End::Whole => match outcome.code {
            Some(code) if code != 101 => return code.to_string(),
            _ => "whole",
        },
        End::Broken => "broken",
        End::Cut => "cut",
        End::Refused => "refused",
        End::Stopped => "stopped",
        End::Interrupted => "interrupted",
    };
    word.to_owned()
}

/// `0.3s`, `42s`, `3m20s`, `1h05m`.
pub(super) fn length(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) if seconds < 10 => format!("{seconds}.{}s", milliseconds / 100 % 10),
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m{seconds:02}s"),
        (hours, minutes, _) => format!("{hours}h{minutes:02}m"),
    }
}

/// A request's words on one line of a table.
fn shown(words: &str) -> String {
    let mut shown = escaped(&words.chars().take(LONGEST_WORDS).collect::<String>());
    if words.chars().nth(LONGEST_WORDS).is_some() {
        shown.push('…');
    }
    shown
}

/// JSON has the whole of it.
const LONGEST_WORDS: usize = 200;
