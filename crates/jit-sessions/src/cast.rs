//! The events of a recording, asciicast version 2 (<https://docs.asciinema.org/manual/asciicast/v2/>).

use std::io::{self, BufRead};
use std::time::Duration;

use serde::Deserialize;

use super::lines::{LineFault, Lines};

/// Longer than an event that the gateway writes for a piece of a stream.
const LONGEST_EVENT: usize = 16 * 1024 * 1024;

/// A larger screen is shown as one of this size: two of them are in memory.
const LARGEST: (u16, u16) = (1000, 500);

/// Why a recording cannot be read on.
#[derive(Debug, thiserror::Error)]
#[error("line {line} of the recording: {why}")]
pub struct CastFault {
    /// Its line, from 1.
    line: u64,
    why: String,
}

impl CastFault {
    pub(super) fn at(line: u64, why: String) -> Self {
        Self { line, why }
    }

    pub(super) fn io(error: io::Error) -> Self {
        Self::at(1, LineFault::Io(error).to_string())
    }
}

impl jit_host::hint::Hint for CastFault {}

/// Reads a recording.
pub struct Cast<R> {
    lines: Lines<R>,
    size: (u16, u16),
    last: Duration,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Since the beginning; never before the event before it.
    pub at: Duration,
    /// What happened.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The session printed this.
    Output(String),
    /// The person typed this.
    Input(String),
    /// The person's terminal has another size, columns and rows.
    Resize(u16, u16),
    /// Something else, such as a marker.
    Other,
}

/// The first line. What else it may have is for other players.
#[derive(Deserialize)]
struct Header {
    version: u32,
    width: u16,
    height: u16,
}

impl<R: BufRead> Cast<R> {
    pub(super) fn new(input: R) -> Result<Self, CastFault> {
        let mut lines = Lines::new(input, LONGEST_EVENT);
        let fault = |why: String| CastFault::at(1, why);
        let header =
            lines.next().map_err(|line| fault(line.to_string()))?.ok_or_else(|| fault("it is missing".to_owned()))?;
        let header: Header = serde_json::from_str(header).map_err(|error| fault(error.to_string()))?;
        if header.version != 2 {
            return Err(fault(format!("it is of version {}, not 2", header.version)));
        }
        Ok(Self { lines, size: limited(header.width, header.height), last: Duration::ZERO })
    }

    /// The size of the terminal at the beginning, columns and rows.
    #[must_use]
    pub fn size(&self) -> (u16, u16) {
        self.size
    }

    /// The next event; none at the end. An event at the end that is not whole is what the gateway was writing when it was
    /// killed, and is left out.
    ///
    /// # Errors
    /// [`CastFault`]; nothing after it can be read.
    pub fn next_event(&mut self) -> Result<Option<Event>, CastFault> {
        let line = match self.lines.next() {
            Ok(None) | Err(LineFault::Unfinished) => return Ok(None),
            Ok(Some(line)) => serde_json::from_str(line).map_err(|error| error.to_string()),
            Err(wrong) => Err(wrong.to_string()),
        };
        let number = self.lines.number();
        let (seconds, code, data): (f64, String, String) = line.map_err(|why| CastFault::at(number, why))?;
        let at = Duration::try_from_secs_f64(seconds)
            .map_err(|_| CastFault::at(number, "its time is not one".to_owned()))?
            .max(self.last);
        self.last = at;
        let what = match code.as_str() {
            "o" => What::Output(data),
            "i" => What::Input(data),
            "r" => {
                let size =
                    data.split_once('x').and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
                let (width, height) =
                    size.ok_or_else(|| CastFault::at(number, "its size is not `COLUMNSxROWS`".to_owned()))?;
                let (width, height) = limited(width, height);
                What::Resize(width, height)
            }
            _ => What::Other,
        };
        Ok(Some(Event { at, what }))
    }
}

fn limited(width: u16, height: u16) -> (u16, u16) {
    (width.clamp(1, LARGEST.0), height.clamp(1, LARGEST.1))
}
