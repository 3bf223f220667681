//! What was used, and when last: from the audit logs of the API server.
//!
//! ```text
//!  log, plain or gzip ──► AuditLogs (one line at a time) ──► Uses ──► Usage of a finding
//! ```
//! Lines are `audit.k8s.io/v1` events in JSON. Only who did what where, the decision and its reason are read, never the content
//! of a request. The reason of RBAC names the binding that allowed a request, so a use belongs to that binding alone.

mod line;
mod uses;

use std::cell::Cell;
use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read};
use std::rc::Rc;

use flate2::bufread::MultiGzDecoder;
use jiff::Timestamp;

use self::line::Event;
pub use self::uses::{Usage, Used, Uses};
use crate::finding::NotEvaluated;

/// Reads audit logs, and keeps how often and when last each right was used.
#[derive(Default)]
pub struct AuditLogs {
    names: Names,
    uses: HashMap<Key, Count>,
    span: Option<(Timestamp, Timestamp)>,
    /// An event did not say who decided it, so nothing can be called unused.
    undecided: bool,
    /// There were too many different uses, so nothing can be called unused.
    full: bool,
    not_evaluated: Vec<NotEvaluated>,
    resource: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    user: u32,
    /// The reason that the authorizer gave.
    reason: u32,
    verb: u32,
    group: u32,
    /// `pods/exec`, or the path of a request for no resource.
    resource: u32,
    /// Empty for the whole cluster.
    namespace: u32,
}

struct Count {
    events: u64,
    last: Timestamp,
}

/// How many different uses are kept, so that a log cannot take all memory: about 200 MiB with their names.
const MOST_USES: usize = 1_000_000;
const MOST_NAME_BYTES: usize = 64 << 20;
/// The API server cuts an event at 100 KiB by default where it sends events, and at no size where it writes a log. A request
/// has at most 3 MiB, and a log with request and response has both.
const LONGEST_LINE: u64 = 16 << 20;
/// Of gzip: logs become about 10 to 40 times as long, and deflate can reach 1,032.
const MOST_EXPANSION: u64 = 250;
/// Below this much, any expansion is harmless.
const SMALL: u64 = 16 << 20;

impl AuditLogs {
    /// Reads one log, plain or gzip, to its end. What is no event is counted and reported, and does not end the reading.
    ///
    /// # Errors
    /// If the log cannot be read. What was read of it before remains.
    pub fn read(&mut self, name: &str, log: impl Read) -> io::Result<()> {
        let compressed = Rc::new(Cell::new(0));
        let mut log = BufReader::with_capacity(BUFFER, Counted { log, bytes: Rc::clone(&compressed) });
        if log.fill_buf()?.starts_with(&[0x1f, 0x8b]) {
            let lines = BufReader::with_capacity(BUFFER, MultiGzDecoder::new(log));
            self.lines(name, lines, |bytes| bytes <= SMALL.max(compressed.get().saturating_mul(MOST_EXPANSION)))
        } else {
            self.lines(name, log, |_| true)
        }
    }

    fn lines(&mut self, name: &str, mut log: impl BufRead, may_go_on: impl Fn(u64) -> bool) -> io::Result<()> {
        let mut text = Vec::new();
        let mut malformed: Option<(u64, String)> = None;
        let (mut number, mut others, mut bytes) = (0_u64, 0_u64, 0_u64);
        let mut ended = None;
        loop {
            text.clear();
            let read = log.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut text)?;
            if read == 0 {
                break;
            }
            number += 1;
            bytes += text.len() as u64;
            if text.len() as u64 == LONGEST_LINE && !text.ends_with(b"\n") {
                ended = Some(format!("line {number} is longer than {} MiB", LONGEST_LINE >> 20));
                break;
            }
            if !may_go_on(bytes) {
                ended = Some(format!("at line {number} it is more than {MOST_EXPANSION} times as long as its gzip"));
                break;
            }
            if text.trim_ascii().is_empty() {
                continue;
            }
            if let Err(why) = self.line(&text) {
                // The API server is still writing the last line.
                if !text.ends_with(b"\n") {
                    break;
                }
                others += 1;
                malformed.get_or_insert((number, why));
            }
        }
        if let Some(why) = ended {
            // The rest may contain any use.
            self.undecided = true;
            self.leave_out(name, format!("{why}, and the rest was not read"));
        }
        if let Some((line, why)) = malformed {
            self.undecided = true;
            let more = if others > 1 { format!("; {} more lines like it", others - 1) } else { String::new() };
            self.leave_out(name, format!("line {line} is no audit event: {why}{more}"));
        }
        Ok(())
    }

    fn leave_out(&mut self, what: &str, why: String) {
        self.not_evaluated.push(NotEvaluated { what: what.to_owned(), why });
    }

    fn line(&mut self, text: &[u8]) -> Result<(), String> {
        let event = Event::parse(text)?;
        let time = event.time()?;
        self.span = Some(self.span.map_or((time, time), |(from, to)| (from.min(time), to.max(time))));
        let Some(reason) = event.allowed() else { return Ok(()) };
        self.undecided |= reason.is_none();
        // A request that runs for long is reported when it starts and again when it ends, and is one use.
        let events = u64::from(event.is_complete());
        if let Some(key) = self.key(&event, reason.unwrap_or_default()) {
            let count = self.uses.entry(key).or_insert(Count { events: 0, last: time });
            count.events += events;
            count.last = count.last.max(time);
        }
        Ok(())
    }

    fn key(&mut self, event: &Event<'_>, reason: &str) -> Option<Key> {
        self.resource.clear();
        event.write_resource(&mut self.resource);
        let key = Key {
            user: self.names.number(event.user())?,
            reason: self.names.number(reason)?,
            verb: self.names.number(event.verb())?,
            group: self.names.number(event.group())?,
            resource: self.names.number(&self.resource)?,
            namespace: self.names.number(event.namespace())?,
        };
        if self.uses.len() < MOST_USES || self.uses.contains_key(&key) {
            return Some(key);
        }
        self.names.full = true;
        None
    }

    /// What was used in all logs together.
    #[must_use]
    pub fn finish(mut self) -> Uses {
        self.full |= self.names.full;
        if self.full {
            let why = format!("they contain more than {MOST_USES} different uses, and not all were counted");
            self.leave_out("audit logs", why);
        }
        if self.span.is_none() {
            self.leave_out("audit logs", "they contain no event".to_owned());
        }
        Uses::new(self)
    }
}

/// What a disk reads at a time.
const BUFFER: usize = 1 << 18;

/// Each text once, as a number.
#[derive(Default)]
struct Names {
    numbers: HashMap<Rc<str>, u32>,
    names: Vec<Rc<str>>,
    bytes: usize,
    full: bool,
}

impl Names {
    /// `None` if there are too many.
    fn number(&mut self, name: &str) -> Option<u32> {
        if let Some(number) = self.numbers.get(name) {
            return Some(*number);
        }
        let number = u32::try_from(self.names.len()).ok();
        let Some(number) = number.filter(|_| self.bytes + name.len() <= MOST_NAME_BYTES) else {
            self.full = true;
            return None;
        };
        self.bytes += name.len();
        let name: Rc<str> = name.into();
        self.names.push(Rc::clone(&name));
        self.numbers.insert(name, number);
        Some(number)
    }

    fn find(&self, name: &str) -> Option<u32> {
        self.numbers.get(name).copied()
    }

    fn name(&self, number: u32) -> &str {
        usize::try_from(number).ok().and_then(|at| self.names.get(at)).map(AsRef::as_ref).unwrap_or_default()
    }
}

/// Counts what is read of a file.
struct Counted<R> {
    log: R,
    bytes: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.log.read(into)?;
        self.bytes.set(self.bytes.get().saturating_add(read as u64));
        Ok(read)
    }
}

#[cfg(test)]
pub(crate) mod tests;
