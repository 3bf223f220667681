//! The screen of a session as it was at a moment: a terminal in memory interprets what was printed, and only what it shows
//! is drawn, with escape codes of our own.
//!
//! So nothing that a pod printed reaches the terminal of whoever watches: no title, no clipboard, no link, no question that a
//! terminal answers, no character set. `screen` calls it.

use std::fmt::Write as _;
use std::time::Duration;

use avt::{Cell, Color, Line, Pen, Terminal};

use super::cast::{Cast, CastFault, Event, What};
use super::recording::{Bytes, Recording};
use jit_host::escape::is_visible;

/// So many characters are interpreted at once, so that no event, however long, keeps anybody from quitting.
const AT_ONCE: usize = 2048;

/// A recording at a moment.
pub struct Replay<'a> {
    recording: &'a Recording,
    cast: Cast<Bytes<'a>>,
    terminal: Terminal,
    next: Option<Event>,
    /// How many bytes of the next event's text were interpreted.
    done: usize,
    at: Duration,
    fault: Option<CastFault>,
}

impl<'a> Replay<'a> {
    /// Begins at the beginning.
    ///
    /// # Errors
    /// [`CastFault`] if it does not begin as a recording.
    pub fn new(recording: &'a Recording) -> Result<Self, CastFault> {
        let cast = recording.events()?;
        let (columns, rows) = cast.size();
        let mut replay = Self {
            recording,
            cast,
            terminal: terminal(columns, rows)?,
            next: None,
            done: 0,
            at: Duration::ZERO,
            fault: None,
        };
        replay.read();
        Ok(replay)
    }

    /// Goes back to the beginning.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn rewind(&mut self) -> Result<(), CastFault> {
        *self = Self::new(self.recording)?;
        Ok(())
    }

    /// When the last event happened that is on the screen.
    #[must_use]
    pub fn at(&self) -> Duration {
        self.at
    }

    /// When the next event happens; none at the end.
    #[must_use]
    pub fn next_at(&self) -> Option<Duration> {
        self.next.as_ref().map(|event| event.at)
    }

    /// Why nothing follows, if something should.
    #[must_use]
    pub fn fault(&self) -> Option<&CastFault> {
        self.fault.as_ref()
    }

    /// Lets the next event happen, or a part of it if it is long; returns what happened once it is complete.
    pub fn step(&mut self) -> Option<What> {
        let event = self.next.as_ref()?;
        match &event.what {
            What::Output(output) => {
                let rest = output.get(self.done..).unwrap_or_default();
                let piece = rest.char_indices().nth(AT_ONCE).map_or(rest, |(end, _)| rest.get(..end).unwrap_or(rest));
                self.terminal.feed(piece);
                self.done = self.done.saturating_add(piece.len());
                if piece.len() < rest.len() {
                    return None;
                }
            }
            What::Resize(columns, rows) => self.terminal.resize((*columns).into(), (*rows).into()),
            What::Input(_) | What::Other => {}
        }
        let happened = self.next.take()?;
        (self.at, self.done) = (happened.at, 0);
        self.read();
        Some(happened.what)
    }

    fn read(&mut self) {
        match self.cast.next_event() {
            Ok(next) => self.next = next,
            Err(fault) => self.fault = Some(fault),
        }
    }

    /// How often a text is on the screen.
    #[must_use]
    pub fn count(&self, text: &str) -> usize {
        let mut screen = String::new();
        for line in self.terminal.screen().visible_lines() {
            screen.push_str(&line.text());
            if !line.is_wrapped() {
                screen.push('\n');
            }
        }
        screen.matches(text).count()
    }

    /// The rows of the screen for a terminal of this size, with escape codes for colours only. Of a larger screen it is the
    /// part with the cursor.
    #[must_use]
    pub fn rows(&self, columns: usize, rows: usize) -> Vec<String> {
        let cursor = self.terminal.cursor();
        let (left, top) =
            (cursor.col.saturating_add(1).saturating_sub(columns), cursor.row.saturating_add(1).saturating_sub(rows));
        let left = if self.terminal.size().0 > columns { left } else { 0 };
        let lines = self.terminal.screen().visible_lines().enumerate().skip(top).take(rows);
        lines
            .map(|(row, line)| {
                let cursor = cursor.position().filter(|(_, at)| *at == row).map(|(column, _)| column);
                drawn(line, left, columns, cursor)
            })
            .collect()
    }
}

fn terminal(columns: u16, rows: u16) -> Result<Terminal, CastFault> {
    Terminal::new(columns.into(), rows.into()).map_err(|size| CastFault::at(1, size.to_string()))
}

/// A line in escape codes of our own.
fn drawn(line: &Line, left: usize, columns: usize, cursor: Option<usize>) -> String {
    let mut drawn = String::new();
    let mut style = String::new();
    let mut used = 0_usize;
    for (column, cell) in line.cells().iter().enumerate().skip(left) {
        let width = usize::from(cell.width());
        if width == 0 {
            continue;
        }
        used = used.saturating_add(width);
        if used > columns {
            break;
        }
        let wanted = codes(cell.pen(), cursor == Some(column));
        if wanted != style {
            let _ = write!(drawn, "\u{1b}[0{wanted}m");
            style = wanted;
        }
        drawn.push(shown(cell));
    }
    if !style.is_empty() {
        drawn.push_str("\u{1b}[0m");
    }
    drawn
}

/// The terminal in memory keeps some control characters as characters.
fn shown(cell: &Cell) -> char {
    if is_visible(cell.char()) { cell.char() } else { char::REPLACEMENT_CHARACTER }
}

/// The numbers of SGR (ECMA-48, 8.3.117) for a pen. Nothing blinks, and nothing is concealed.
fn codes(pen: &Pen, is_cursor: bool) -> String {
    let mut codes = String::new();
    let plain = [
        (pen.is_bold(), 1),
        (pen.is_faint(), 2),
        (pen.is_italic(), 3),
        (pen.is_underline(), 4),
        (pen.is_inverse() != is_cursor, 7),
        (pen.is_strikethrough(), 9),
    ];
    for (_, code) in plain.iter().filter(|(is_set, _)| *is_set) {
        let _ = write!(codes, ";{code}");
    }
    for (colour, code) in [(pen.foreground(), 38), (pen.background(), 48)] {
        let _ = match colour {
            Some(Color::Indexed(index)) => write!(codes, ";{code};5;{index}"),
            Some(Color::RGB(rgb)) => write!(codes, ";{code};2;{};{};{}", rgb.r, rgb.g, rgb.b),
            None => Ok(()),
        };
    }
    codes
}
