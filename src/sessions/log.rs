//! The log of a grant: its lines in their order, and the requests that they describe.
//!
//! The first line that does not verify ends it: what comes after it proves nothing.

use std::collections::HashMap;
use std::io::{self, BufRead};

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::is_id;
use super::lines::{LineFault, Lines};
use super::recording::Checked;
use crate::grant::request::ClusterName;
use crate::grant::{GrantId, LogHead, SessionTerms};
use crate::wire::session::{Asked, Chain, End, Entry, LOG, Outcome, RecordingHead, VERSION};

/// Longer than a line that the gateway writes: a request target has at most 64 KiB, which JSON can make six times longer.
const LONGEST_LINE: usize = 1024 * 1024;

/// What the log of a grant says, as far as it verifies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GrantLog {
    /// The grant.
    pub grant: GrantId,
    /// The user in its certificates, `jit:<person>`; none if not even the first line verifies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Its cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterName>,
    /// What was to be kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terms: Option<SessionTerms>,
    /// The last line that verifies.
    pub head: LogHead,
    /// What is wrong with the line after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// The requests that were selected, in the order in which they began.
    pub requests: Vec<Request>,
    /// How many were not selected.
    pub others: u64,
    /// How many were selected, but not held, because together they are too long.
    pub left_out: u64,
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// Its id, which is also the `auditID` of its event in the API server's audit log.
    pub id: String,
    /// When it began.
    pub at: Timestamp,
    /// What it asks for.
    pub asked: Asked,
    /// Whether the log says that there is a recording.
    pub recorded: bool,
    /// How it ended; none if the log does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// How far its recording verifies; none if there is no recording.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recording: Option<Checked>,
    /// What the log says about the recording, in its order.
    #[serde(skip)]
    pub(super) heads: Vec<RecordingHead>,
}

/// How a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Everything about it verifies.
    Verified,
    /// The log has no end of it: it goes on, or the gateway was killed and has not started again. What there is verifies.
    Open,
    /// Something about it does not verify.
    Broken,
}

impl Request {
    /// How it stands.
    #[must_use]
    pub fn standing(&self) -> Standing {
        match (&self.recording, &self.outcome) {
            (Some(Checked { fault: Some(_), .. }), _) => Standing::Broken,
            (_, None) => Standing::Open,
            (_, Some(_)) => Standing::Verified,
        }
    }
}

impl GrantLog {
    /// The person, without the prefix of the user.
    #[must_use]
    pub fn person(&self) -> &str {
        self.user.as_deref().map_or("-", |user| user.strip_prefix("jit:").unwrap_or(user))
    }

    pub(super) fn faulty(grant: &GrantId, fault: String) -> Self {
        Self {
            grant: grant.clone(),
            user: None,
            cluster: None,
            terms: None,
            head: Chain::default().head().clone(),
            fault: Some(fault),
            requests: Vec::new(),
            others: 0,
            left_out: 0,
        }
    }
}

/// Reads a log to its end, or to its first line that does not verify or is not what the trail has: `known`. `room` is how
/// many bytes of lines may be held; those of the requests that are kept are taken from it.
///
/// # Errors
/// If the file cannot be read.
pub(super) fn read(
    grant: &GrantId,
    input: impl BufRead,
    known: &[LogHead],
    room: &mut usize,
    keep: impl Fn(&str, &Asked, bool) -> bool,
) -> io::Result<GrantLog> {
    let mut lines = Lines::new(input, LONGEST_LINE);
    let mut reading =
        Reading { chain: Chain::default(), log: GrantLog::faulty(grant, String::new()), open: HashMap::new() };
    reading.log.fault = None;
    let fault = loop {
        let number = lines.number().saturating_add(1);
        match lines.next() {
            Ok(Some(line)) => {
                if let Err(why) = reading.take(line, room, &keep) {
                    break Some(why);
                }
                let head = reading.chain.head();
                if known.iter().any(|known| known.lines == head.lines && known.sha256 != head.sha256) {
                    break Some(format!(
                        "line {number} of {LOG} is not the one that the audit trail has: it was changed"
                    ));
                }
            }
            Ok(None) if number == 1 => break Some(format!("{LOG} is empty")),
            Ok(None) => {
                let lines = known.iter().map(|known| known.lines).max().filter(|lines| *lines >= number);
                break lines.map(|lines| format!("{LOG} had {lines} lines, by the audit trail: its end was cut"));
            }
            Err(LineFault::Io(error)) => return Err(error),
            Err(fault) => break Some(format!("line {number} of {LOG}: {fault}")),
        }
    };
    let Reading { chain, mut log, .. } = reading;
    log.head = chain.head().clone();
    log.fault = fault;
    // A read is written down at its end.
    log.requests.sort_by_key(|request| request.at);
    Ok(log)
}

/// A log while it is read.
struct Reading {
    chain: Chain,
    log: GrantLog,
    /// Requests without an end: their place in the log's requests, if they are kept.
    open: HashMap<String, Option<usize>>,
}

impl Reading {
    fn take(&mut self, text: &str, room: &mut usize, keep: &impl Fn(&str, &Asked, bool) -> bool) -> Result<(), String> {
        let number = self.chain.head().lines.saturating_add(1);
        // Its own sentence names the line.
        let mut chain = self.chain.clone();
        let line = chain.take(text).map_err(|broken| format!("{LOG}: {broken}"))?;
        self.entry(line.at, line.entry, text.len(), room, keep)
            .map_err(|why| format!("line {number} of {LOG}: {why}"))?;
        self.chain = chain;
        Ok(())
    }

    fn entry(
        &mut self,
        at: Timestamp,
        entry: Entry,
        length: usize,
        room: &mut usize,
        keep: &impl Fn(&str, &Asked, bool) -> bool,
    ) -> Result<(), String> {
        match entry {
            Entry::Began { version, .. } if version != VERSION => {
                Err(format!("it is of version {version}, and this program reads version {VERSION}"))
            }
            Entry::Began { grant, .. } if grant != self.log.grant => Err(format!("it is of the log of grant {grant}")),
            Entry::Began { .. } if self.log.user.is_some() => Err("the log begins a second time".to_owned()),
            Entry::Began { user, cluster, terms, .. } => {
                (self.log.user, self.log.cluster, self.log.terms) = (Some(user), Some(cluster), Some(terms));
                Ok(())
            }
            _ if self.log.user.is_none() => Err("a log does not begin so".to_owned()),
            Entry::Opened { id, asked, recorded } => {
                if !is_id(&id) {
                    return Err(format!("`{}` is not an id", id.escape_default()));
                }
                if self.open.contains_key(&id) {
                    return Err(format!("request {id} is opened a second time"));
                }
                let request = Request {
                    id: id.clone(),
                    at,
                    asked: *asked,
                    recorded,
                    outcome: None,
                    recording: None,
                    heads: Vec::new(),
                };
                let place = self.hold(request, false, length, room, keep);
                self.open.insert(id, place);
                Ok(())
            }
            Entry::Recorded { id, recording } => {
                if let Some(request) = self.opened(&id)? {
                    request.heads.push(recording);
                    *room = room.saturating_sub(length);
                }
                Ok(())
            }
            Entry::Closed { id, outcome, recording } => {
                if let Some(request) = self.opened(&id)? {
                    // Nothing began that could be recorded.
                    request.recorded &= outcome.began() || recording.is_some() || !request.heads.is_empty();
                    request.outcome = Some(outcome);
                    request.heads.extend(recording);
                    *room = room.saturating_sub(length);
                }
                self.open.remove(&id);
                Ok(())
            }
            Entry::Served { id, asked, outcome } => {
                let took = SignedDuration::from_millis(i64::try_from(outcome.milliseconds).unwrap_or(i64::MAX));
                let at = at.checked_sub(took).unwrap_or(at);
                let request = Request {
                    id,
                    at,
                    asked: *asked,
                    recorded: false,
                    outcome: Some(outcome),
                    recording: None,
                    heads: Vec::new(),
                };
                self.hold(request, true, length, room, keep);
                Ok(())
            }
        }
    }

    /// Keeps a request if it is selected and there is room, and returns its place.
    fn hold(
        &mut self,
        request: Request,
        only_reads: bool,
        length: usize,
        room: &mut usize,
        keep: &impl Fn(&str, &Asked, bool) -> bool,
    ) -> Option<usize> {
        // A request that the gateway refused changed nothing, but it was meant to: it is no read.
        let refused = request.outcome.as_ref().is_some_and(|outcome| outcome.end == End::Refused);
        if !keep(&request.id, &request.asked, only_reads && !refused) {
            self.log.others = self.log.others.saturating_add(1);
            return None;
        }
        let Some(left) = room.checked_sub(length) else {
            self.log.left_out = self.log.left_out.saturating_add(1);
            return None;
        };
        *room = left;
        self.log.requests.push(request);
        Some(self.log.requests.len().saturating_sub(1))
    }

    /// The request that a line continues, if it is kept.
    fn opened(&mut self, id: &str) -> Result<Option<&mut Request>, String> {
        let place = self.open.get(id).ok_or_else(|| format!("request `{}` is not open", id.escape_default()))?;
        Ok(place.and_then(|place| self.log.requests.get_mut(place)))
    }
}
