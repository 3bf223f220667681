//! A recording on a terminal: keys, time, and a line that says where it is.
//!
//! It takes the whole screen and gives it back, also when a signal ends it. What is drawn of the recording comes from
//! [`Replay`].

use std::io::{self, Read, Write};
use std::str::FromStr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use jiff::SignedDuration;
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use jit_host::escape::{escaped, is_visible};

use super::cast::{CastFault, What};
use super::recording::Recording;
use super::replay::Replay;

/// The slowest and the fastest speed.
pub const SLOWEST: f64 = 0.1;
/// See [`SLOWEST`].
pub const FASTEST: f64 = 100.0;

/// A speed as it is written.
///
/// # Errors
/// What to write instead.
pub fn speed(text: &str) -> Result<f64, String> {
    let read = text.parse().ok().filter(|read| (SLOWEST..=FASTEST).contains(read));
    read.ok_or_else(|| format!("write a number from {SLOWEST} to {FASTEST}"))
}

/// A time since the beginning, or a length, such as `90s` or `1m30s`.
#[derive(Clone, Copy, Debug)]
pub struct Time(pub Duration);

impl FromStr for Time {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read: Option<SignedDuration> = text.parse().ok();
        read.and_then(|read| read.try_into().ok()).map(Self).ok_or("write it as `90s` or `1m30s`")
    }
}

/// Why nothing is shown any more.
#[derive(Debug, thiserror::Error)]
pub enum ScreenError {
    /// The recording cannot be read.
    #[error(transparent)]
    Cast(#[from] CastFault),
    /// The terminal cannot be used.
    #[error("cannot use the terminal: {0}")]
    Terminal(#[from] io::Error),
}

impl From<nix::errno::Errno> for ScreenError {
    fn from(errno: nix::errno::Errno) -> Self {
        Self::Terminal(errno.into())
    }
}

impl jit_host::hint::Hint for ScreenError {}

/// How to play.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Where to begin.
    pub from: Duration,
    /// How fast, from [`SLOWEST`] to [`FASTEST`].
    pub speed: f64,
    /// How long to wait at most where nothing happens.
    pub idle_limit: Option<Duration>,
    /// How long the session took, by the log.
    pub length: Option<Duration>,
}

/// Plays on the terminal of stdin and stdout until somebody quits. Returns what is wrong with the recording, if it does not
/// play to its end. `runtime` takes the signals; it must not be called inside of it.
///
/// # Errors
/// [`ScreenError`].
pub fn show(recording: &Recording, title: &str, pace: &Pace, runtime: &Runtime) -> Result<Option<String>, ScreenError> {
    let replay = Replay::new(recording)?;
    let (send, keys) = channel();
    {
        let _context = runtime.enter();
        for kind in [SignalKind::terminate(), SignalKind::hangup(), SignalKind::interrupt()] {
            let (mut signal, send) = (signal(kind)?, send.clone());
            runtime.spawn(async move {
                signal.recv().await;
                // Nobody listens any more when it has ended.
                let _ = send.send(Key::Quit);
            });
        }
    }
    let taken = Taken::new()?;
    // It waits for a key until the process ends.
    std::thread::spawn(move || read_keys(&send));
    let mut player = Player {
        replay,
        title: escaped(title),
        speed: pace.speed,
        idle_limit: pace.idle_limit,
        length: pace.length,
        goal: Goal::At(pace.from),
        is_paused: false,
        from: (Duration::ZERO, Instant::now()),
        prompt: None,
        sought: String::new(),
        message: String::new(),
        drawn: Drawn::default(),
    };
    let done = player.run(&keys);
    drop(taken);
    done?;
    Ok(player.replay.fault().map(ToString::to_string))
}

/// What somebody typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Character(char),
    Left,
    Right,
    Enter,
    Backspace,
    Escape,
    Quit,
}

fn read_keys(send: &Sender<Key>) {
    let mut bytes = [0; 256];
    loop {
        let read = match io::stdin().lock().read(&mut bytes) {
            Ok(read) if read > 0 => bytes.get(..read).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            _ => {
                let _ = send.send(Key::Quit);
                return;
            }
        };
        for key in keys(&String::from_utf8_lossy(read)) {
            if send.send(key).is_err() {
                return;
            }
        }
    }
}

/// The keys in what a terminal sent: an arrow is `ESC [ C` or, in application mode, `ESC O C`.
fn keys(text: &str) -> Vec<Key> {
    let mut keys = Vec::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        keys.push(match c {
            '\u{1b}' => {
                let mut ahead = rest.clone();
                match (ahead.next(), ahead.next()) {
                    (Some('[' | 'O'), Some(arrow)) => {
                        rest = ahead;
                        match arrow {
                            'C' => Key::Right,
                            'D' => Key::Left,
                            _ => continue,
                        }
                    }
                    _ => Key::Escape,
                }
            }
            '\r' | '\n' => Key::Enter,
            '\u{7f}' | '\u{8}' => Key::Backspace,
            // Ctrl-C and Ctrl-D.
            '\u{3}' | '\u{4}' => Key::Quit,
            c => Key::Character(c),
        });
    }
    keys
}

/// Writes to the terminal of stdout unchanged.
fn to_terminal(codes: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(codes.as_bytes())?;
    out.flush()
}

/// The terminal while it is ours.
struct Taken {
    saved: Termios,
}

impl Taken {
    fn new() -> Result<Self, ScreenError> {
        let saved = tcgetattr(io::stdin())?;
        let mut raw = saved.clone();
        cfmakeraw(&mut raw);
        tcsetattr(io::stdin(), SetArg::TCSADRAIN, &raw)?;
        let taken = Self { saved };
        // The other screen, without a cursor, and without a new line at the right margin.
        to_terminal("\u{1b}[?1049h\u{1b}[?25l\u{1b}[?7l\u{1b}[2J")?;
        Ok(taken)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        // If the terminal is gone, there is nothing to give back.
        let _ = to_terminal("\u{1b}[0m\u{1b}[?7h\u{1b}[?25h\u{1b}[?1049l");
        let _ = tcsetattr(io::stdin(), SetArg::TCSADRAIN, &self.saved);
    }
}

/// Where the player wants to get.
enum Goal {
    /// On, as time passes.
    Play,
    /// To this moment, at once.
    At(Duration),
    /// To the next output.
    Output,
    /// To the next output that shows what is sought, if there is one; else back to where it began.
    Find { shown: usize, began: Duration },
}

struct Player<'a> {
    replay: Replay<'a>,
    title: String,
    speed: f64,
    idle_limit: Option<Duration>,
    length: Option<Duration>,
    goal: Goal,
    is_paused: bool,
    /// A moment of the recording, and when it was shown.
    from: (Duration, Instant),
    /// What was typed of what is sought.
    prompt: Option<String>,
    sought: String,
    message: String,
    drawn: Drawn,
}

/// What is on the terminal.
#[derive(Default)]
struct Drawn {
    size: (usize, usize),
    rows: Vec<String>,
}

/// How far the arrows skip.
const SKIP: Duration = Duration::from_secs(5);

/// How often at least the terminal is drawn, while time passes or its size may change.
const DRAW: Duration = Duration::from_millis(200);

/// How long at most is worked without a look at the keys.
const WORK: Duration = Duration::from_millis(30);

impl Player<'_> {
    fn run(&mut self, keys: &Receiver<Key>) -> Result<(), ScreenError> {
        loop {
            let wait = self.work()?;
            self.draw()?;
            let mut key = match keys.recv_timeout(wait) {
                Ok(key) => Some(key),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            };
            while let Some(typed) = key {
                if self.is_done(typed) {
                    return Ok(());
                }
                key = keys.try_recv().ok();
            }
        }
    }

    /// Gets nearer to the goal, and returns how long there is nothing to do.
    fn work(&mut self) -> Result<Duration, ScreenError> {
        let until = Instant::now() + WORK;
        while Instant::now() < until {
            let next = self.replay.next_at();
            match self.goal {
                Goal::Play if self.is_paused => return Ok(DRAW),
                Goal::Play => {
                    let Some(next) = next else {
                        self.is_paused = true;
                        return Ok(DRAW);
                    };
                    let wait = self.due(next).saturating_duration_since(Instant::now());
                    if !wait.is_zero() {
                        return Ok(wait.min(DRAW));
                    }
                    let due = self.due(next);
                    if self.replay.step().is_some() {
                        // Who cannot keep up goes on from now.
                        let late = due.elapsed() > Duration::from_secs(1);
                        self.from = (next, if late { Instant::now() } else { due });
                    }
                }
                Goal::At(moment) if next.is_some_and(|next| next <= moment) => drop(self.replay.step()),
                Goal::At(moment) => {
                    let moment = if next.is_some() { moment } else { self.replay.at() };
                    self.goal = Goal::Play;
                    self.from = (moment, Instant::now());
                }
                Goal::Output => {
                    if next.is_none() || matches!(self.replay.step(), Some(What::Output(_))) {
                        self.stop();
                    }
                }
                Goal::Find { shown, began } => {
                    if next.is_none() {
                        self.message = format!("`{}` does not come again", self.sought);
                        self.replay.rewind()?;
                        self.goal = Goal::At(began);
                        self.is_paused = true;
                    } else if self.replay.step().is_some() {
                        let now = self.replay.count(&self.sought);
                        self.goal = Goal::Find { shown: now, began };
                        if now > shown {
                            self.stop();
                        }
                    }
                }
            }
        }
        Ok(Duration::ZERO)
    }

    fn stop(&mut self) {
        self.goal = Goal::Play;
        self.is_paused = true;
        self.from = (self.replay.at(), Instant::now());
    }

    /// When an event is to be shown.
    fn due(&self, next: Duration) -> Instant {
        let (moment, shown) = self.from;
        let gap = next.saturating_sub(moment);
        let gap = self.idle_limit.map_or(gap, |limit| gap.min(limit));
        // Too long for a clock is longer than anybody waits.
        let wait = Duration::try_from_secs_f64(gap.as_secs_f64() / self.speed).unwrap_or(Duration::MAX);
        shown.checked_add(wait).unwrap_or_else(|| shown + Duration::from_secs(86_400))
    }

    /// The moment that is shown.
    fn moment(&self) -> Duration {
        let (moment, shown) = self.from;
        match self.goal {
            Goal::Play if self.is_paused => moment,
            Goal::Play => {
                let passed =
                    Duration::try_from_secs_f64(shown.elapsed().as_secs_f64() * self.speed).unwrap_or_default();
                let moment = moment.saturating_add(passed);
                self.replay.next_at().map_or(self.replay.at(), |next| moment.min(next))
            }
            // Who skips twice, skips twice as far.
            Goal::At(moment) => moment,
            _ => self.replay.at(),
        }
    }

    /// Does what a key says; whether that is to quit.
    fn is_done(&mut self, key: Key) -> bool {
        if key == Key::Quit {
            return true;
        }
        if let Some(prompt) = &mut self.prompt {
            match key {
                Key::Character(c) if is_visible(c) => prompt.push(c),
                Key::Backspace => drop(prompt.pop()),
                Key::Enter => {
                    self.sought = self.prompt.take().unwrap_or_default();
                    self.find();
                }
                Key::Escape => self.prompt = None,
                _ => {}
            }
            return false;
        }
        self.message.clear();
        match key {
            Key::Character('q') => return true,
            Key::Character(' ') => {
                let moment = self.moment();
                self.is_paused = !self.is_paused;
                self.from = (moment, Instant::now());
            }
            Key::Character('.') => self.goal = Goal::Output,
            Key::Character('/') => self.prompt = Some(String::new()),
            Key::Character('n') => self.find(),
            Key::Character('+') => self.pace(2.0),
            Key::Character('-') => self.pace(0.5),
            Key::Right => self.goal = Goal::At(self.moment().saturating_add(SKIP)),
            Key::Left => {
                let moment = self.moment().saturating_sub(SKIP);
                match self.replay.rewind() {
                    Ok(()) => self.goal = Goal::At(moment),
                    Err(fault) => self.message = escaped(&fault.to_string()),
                }
            }
            _ => {}
        }
        false
    }

    fn find(&mut self) {
        if !self.sought.is_empty() {
            self.goal = Goal::Find { shown: self.replay.count(&self.sought), began: self.moment() };
        }
    }

    fn pace(&mut self, factor: f64) {
        self.from = (self.moment(), Instant::now());
        self.speed = (self.speed * factor).clamp(SLOWEST, FASTEST);
    }

    /// Draws what changed.
    fn draw(&mut self) -> Result<(), ScreenError> {
        let size = terminal_size::terminal_size_of(io::stdout())
            .map_or((80, 24), |(columns, rows)| (columns.0.into(), rows.0.into()));
        let (columns, lines): (usize, usize) = size;
        let mut rows = self.replay.rows(columns, lines.saturating_sub(1));
        rows.resize(lines.saturating_sub(1), String::new());
        rows.push(self.status(columns));
        let mut codes = String::new();
        if size != self.drawn.size {
            codes.push_str("\u{1b}[0m\u{1b}[2J");
            self.drawn = Drawn { size, rows: Vec::new() };
        }
        for (row, text) in rows.iter().enumerate() {
            if self.drawn.rows.get(row) != Some(text) {
                codes.push_str(&format!("\u{1b}[{};1H\u{1b}[0m\u{1b}[2K{text}", row.saturating_add(1)));
            }
        }
        self.drawn.rows = rows;
        if codes.is_empty() { Ok(()) } else { Ok(to_terminal(&codes)?) }
    }

    /// The last line.
    fn status(&self, columns: usize) -> String {
        let text = match (&self.prompt, self.message.as_str()) {
            (Some(prompt), _) => format!("/{prompt}"),
            (None, "") => {
                let state = match (&self.goal, self.is_paused, self.replay.next_at()) {
                    (Goal::Play, _, None) => "end",
                    (Goal::Play, true, _) => "paused",
                    (Goal::Play, false, _) => "playing",
                    (Goal::Find { .. }, ..) => "searching",
                    _ => "skipping",
                };
                let length = self.length.map_or(String::new(), |length| format!("/{}", clock(length)));
                format!(
                    " {state} {}{length} {}x  {}  (space . / n + - q)",
                    clock(self.moment()),
                    self.speed,
                    self.title
                )
            }
            (None, message) => format!(" {message}"),
        };
        let text: String = text.chars().filter(|c| is_visible(*c)).take(columns).collect();
        format!("\u{1b}[7m{text}\u{1b}[0m")
    }
}

/// `1:02:03` or `02:03`.
fn clock(moment: Duration) -> String {
    let seconds = moment.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, minutes, seconds) => format!("{minutes:02}:{seconds:02}"),
        (hours, minutes, seconds) => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrows_are_keys_and_unknown_codes_are_none() {
        use Key::{Character, Enter, Escape, Left, Quit, Right};
        for (sent, typed) in [
            ("q", &[Character('q')][..]),
            ("\u{1b}[C\u{1b}OD.", &[Right, Left, Character('.')]),
            ("\u{1b}[A/é\r", &[Character('/'), Character('é'), Enter]),
            ("\u{1b}", &[Escape]),
            ("\u{3}", &[Quit]),
        ] {
            assert_eq!(keys(sent), typed, "{sent:?}");
        }
    }
}
