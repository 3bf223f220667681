//! The properties of the terminal: its width, and whether a full-screen program uses it.
//!
//! It writes nothing. `output` and `view` need the width, and the exec plugin needs to know whether to print messages.

use std::io::IsTerminal;

use nix::sys::termios::{LocalFlags, tcgetattr};

/// The width of stdout in characters, or `COLUMNS` if it is set; none if stdout is not a terminal.
pub(crate) fn width() -> Option<usize> {
    let said = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok()).filter(|width| *width >= LEAST);
    said.or_else(|| terminal_size::terminal_size_of(std::io::stdout()).map(|(width, _)| usize::from(width.0)))
}

/// Smaller values of `COLUMNS` are ignored.
const LEAST: usize = 40;

/// Whether a full-screen program such as k9s uses the terminal of stderr, which then reads keys instead of lines. A message
/// there would overwrite its screen.
pub(crate) fn is_taken() -> bool {
    tcgetattr(std::io::stderr()).is_ok_and(|settings| !settings.local_flags.contains(LocalFlags::ICANON))
}

/// Whether stderr is a terminal.
pub(crate) fn on_terminal() -> bool {
    std::io::stderr().is_terminal()
}
