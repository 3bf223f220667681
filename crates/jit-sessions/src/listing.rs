//! Logs for people: the rows of a table, the title of a session, and what does not verify. Escaped for a terminal.

use jiff::Timestamp;
use jit_host::escape::escaped;
use jit_wire::kept::{GrantLog, LoggedRequest, Standing};
use jit_wire::session::{Asked, Carries, End};

use super::words::words;

/// The columns of a [row](rows).
pub const HEADINGS: [&str; 11] =
    ["VERIFIED", "SESSION", "GRANT", "WHO", "CLUSTER", "BEGAN", "LASTED", "END", "SENT", "RECORDED", "WHAT"];

/// Whether a request is a session: what a person does in it is not in the request.
#[must_use]
pub fn is_session(asked: &Asked) -> bool {
    let carries = asked.stream.as_ref().map(|stream| stream.carries);
    matches!(carries, Some(Carries::Exec | Carries::Attach | Carries::PortForward))
}

/// What does not verify, one sentence each.
#[must_use]
pub fn faults(log: &GrantLog) -> Vec<String> {
    let of_log = log.fault.iter().map(|fault| format!("grant {}: {}", log.grant, escaped(fault)));
    let of_recordings = log.requests.iter().filter_map(|request| {
        let fault = request.recording.as_ref()?.fault.as_ref()?;
        Some(format!("recording of session {}: {}", escaped(&request.id), escaped(fault)))
    });
    of_log.chain(of_recordings).collect()
}

/// The requests of several logs in the order in which they began, a row each, then the logs that do not verify.
#[must_use]
pub fn rows(logs: &[GrantLog]) -> Vec<Vec<String>> {
    let mut rows: Vec<(Timestamp, Vec<String>)> = Vec::new();
    for log in logs {
        rows.extend(log.requests.iter().map(|request| (request.at, row(log, request))));
    }
    rows.sort_by_key(|(at, _)| *at);
    // What there is behind it, nobody can say: it is as new as anything.
    let faulty = logs.iter().filter(|log| log.fault.is_some()).map(faulty_row);
    rows.into_iter().map(|(_, row)| row).chain(faulty).collect()
}

/// What a session is, on one line.
#[must_use]
pub fn title(log: &GrantLog, request: &LoggedRequest) -> String {
    let lasted = request.outcome.as_ref().map_or("no end yet".to_owned(), |outcome| length(outcome.milliseconds));
    let cluster = log.cluster.as_ref().map_or("-", |cluster| cluster.as_str());
    let (who, what) = (escaped(log.person()), escaped(&words(&request.asked)));
    format!("{who} on {cluster}, {:.0}, {lasted}: {what}", request.at)
}

fn row(log: &GrantLog, request: &LoggedRequest) -> Vec<String> {
    let verified = match request.standing() {
        Standing::Verified => "yes",
        Standing::Open => "open",
        Standing::Broken => "BROKEN",
        Standing::Skipped => "-",
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
    let mut row = vec!["-".to_owned(); HEADINGS.len()];
    let lines = log.head.lines;
    let after = format!("{lines} line{}", if lines == 1 { "" } else { "s" });
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
fn end(request: &LoggedRequest) -> String {
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
#[must_use]
pub fn length(milliseconds: u64) -> String {
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
