//! What the terminal is that a person reads: how wide, and whether a full-screen program has it.
//!
//! It writes nothing. `output` and `view` ask for the width, and the exec plugin whether anybody would read its words.

use std::io::IsTerminal;

use nix::sys::termios::{LocalFlags, tcgetattr};

/// How wide stdout is, in characters; none where it is no terminal, unless `COLUMNS` says.
pub(crate) fn width() -> Option<usize> {
    let said = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok()).filter(|width| *width >= LEAST);
    said.or_else(|| terminal_size::terminal_size_of(std::io::stdout()).map(|(width, _)| usize::from(width.0)))
}

/// What is narrower is no width that anybody set.
const LEAST: usize = 40;

/// Whether a program that draws the whole screen, such as k9s, has the terminal of stderr: it reads keys, not lines. What
/// is written there stands across what it drew.
pub(crate) fn is_taken() -> bool {
    tcgetattr(std::io::stderr()).is_ok_and(|settings| !settings.local_flags.contains(LocalFlags::ICANON))
}

/// Whether a person reads stderr.
pub(crate) fn on_terminal() -> bool {
    std::io::stderr().is_terminal()
}
