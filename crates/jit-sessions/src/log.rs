//! The log of a grant: its lines in their order, and the requests that they describe.
//!
//! The first line that does not verify ends it: what comes after it proves nothing.

use std::collections::HashMap;
use std::io::{self, BufRead};

use jiff::{SignedDuration, Timestamp};
use jit_core::grant::{GrantId, LogHead};
use jit_wire::kept::{GrantLog, LoggedRequest};
use jit_wire::session::{Asked, Chain, End, Entry, LOG, RecordingHead, VERSION};

use super::is_id;
use super::lines::{LineFault, Lines};

/// Longer than a line that the gateway writes: a request target has at most 64 KiB, which JSON can make six times longer.
const LONGEST_LINE: usize = 1024 * 1024;

/// A log of which not even the first line verifies.
pub(super) fn faulty(grant: &GrantId, fault: String) -> GrantLog {
    GrantLog {
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

/// What the log says about the recording of a request, in its order.
pub(super) type Heads = Vec<RecordingHead>;

/// Reads a log to its end, or to its first line that does not verify or is not what the trail has: `known`. `room` is how
/// many bytes of lines may be held; those of the requests that are kept are taken from it. For each request that is kept it
/// returns what the log says about its recording, too.
///
/// # Errors
/// If the file cannot be read.
pub(super) fn read(
    grant: &GrantId,
    input: impl BufRead,
    known: &[LogHead],
    room: &mut usize,
    keep: impl Fn(&str, &Asked, bool) -> bool,
) -> io::Result<(GrantLog, Vec<Heads>)> {
    let mut lines = Lines::new(input, LONGEST_LINE);
    let mut reading =
        Reading { chain: Chain::default(), log: faulty(grant, String::new()), held: Vec::new(), open: HashMap::new() };
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
    let Reading { chain, mut log, mut held, .. } = reading;
    log.head = chain.head().clone();
    log.fault = fault;
    // A read is written down at its end.
    held.sort_by_key(|(request, _)| request.at);
    let heads;
    (log.requests, heads) = held.into_iter().unzip();
    Ok((log, heads))
}

/// A log while it is read.
struct Reading {
    chain: Chain,
    log: GrantLog,
    /// The requests that are kept.
    held: Vec<(LoggedRequest, Heads)>,
    /// Requests without an end: their place among those that are kept, if they are.
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
                let request =
                    LoggedRequest { id: id.clone(), at, asked: *asked, recorded, outcome: None, recording: None };
                let place = self.hold(request, false, length, room, keep);
                self.open.insert(id, place);
                Ok(())
            }
            Entry::Recorded { id, recording } => {
                if let Some((_, heads)) = self.opened(&id)? {
                    heads.push(recording);
                    *room = room.saturating_sub(length);
                }
                Ok(())
            }
            Entry::Closed { id, outcome, recording } => {
                if let Some((request, heads)) = self.opened(&id)? {
                    // Nothing began that could be recorded.
                    request.recorded &= outcome.began() || recording.is_some() || !heads.is_empty();
                    request.outcome = Some(outcome);
                    heads.extend(recording);
                    *room = room.saturating_sub(length);
                }
                self.open.remove(&id);
                Ok(())
            }
            Entry::Served { id, asked, outcome } => {
                let took = SignedDuration::from_millis(i64::try_from(outcome.milliseconds).unwrap_or(i64::MAX));
                let at = at.checked_sub(took).unwrap_or(at);
                let request =
                    LoggedRequest { id, at, asked: *asked, recorded: false, outcome: Some(outcome), recording: None };
                self.hold(request, true, length, room, keep);
                Ok(())
            }
        }
    }

    /// Keeps a request if it is selected and there is room, and returns its place.
    fn hold(
        &mut self,
        request: LoggedRequest,
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
        self.held.push((request, Vec::new()));
        Some(self.held.len().saturating_sub(1))
    }

    /// The request that a line continues, if it is kept.
    fn opened(&mut self, id: &str) -> Result<Option<&mut (LoggedRequest, Heads)>, String> {
        let place = self.open.get(id).ok_or_else(|| format!("request `{}` is not open", id.escape_default()))?;
        Ok(place.and_then(|place| self.held.get_mut(place)))
    }
}
