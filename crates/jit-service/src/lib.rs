//! What the programs have in common that systemd runs: [`log`] writes to the journal, [`socket`] takes the socket that systemd
//! opened, [`account`] takes on the account of the unit, and [`Failure`] says why a program ends.
//!
//! Only their `main`s call it. It decides nothing.

#![warn(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "they panic if the reader has closed the pipe; the functions in `ending` do not"
)]

pub mod account;
mod ending;
pub mod log;
pub mod socket;

pub use self::ending::{Failure, ended, print};

use libsystemd::daemon::{NotifyState, notify};

/// Tells systemd that the program is ready (sd_notify(3)).
pub fn ready() {
    // Without systemd nobody listens.
    let _ = notify(false, &[NotifyState::Ready]);
}
