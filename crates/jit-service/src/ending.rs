//! What a program prints in the end, and its exit code: 0 success, 1 failure, 2 usage or an invalid configuration.
//!
//! A reader that closes the pipe, as `head` does, is not a failure.

use std::io::{ErrorKind, Write, stderr, stdout};
use std::process::ExitCode;

use jit_host::hint::Hint;
use jit_wire::FailureView;

/// Why a program ends.
#[derive(Debug)]
pub struct Failure {
    cause: Cause,
    what: String,
    hint: String,
}

#[derive(Clone, Copy, Debug)]
enum Cause {
    Configuration,
    Other,
}

impl Failure {
    /// The command line or the configuration cannot be used.
    pub fn configuration(what: impl Into<String>) -> Self {
        Self { cause: Cause::Configuration, what: what.into(), hint: String::new() }
    }

    /// Everything else.
    pub fn other(what: impl Into<String>) -> Self {
        Self { cause: Cause::Other, what: what.into(), hint: String::new() }
    }

    /// The same failure, with what to do about it.
    #[must_use]
    pub fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: hint.into(), ..self }
    }

    /// The same failure, with what it is about before it.
    #[must_use]
    pub fn about(self, subject: &str) -> Self {
        Self { what: format!("{subject}: {}", self.what), ..self }
    }

    /// The configuration cannot be used, for this reason.
    pub fn of_configuration(error: impl Hint) -> Self {
        Self::configuration(error.to_string()).with_hint(error.hint().unwrap_or_default())
    }
}

impl<E: std::error::Error + Hint> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::other(error.to_string()).with_hint(error.hint().unwrap_or_default())
    }
}

/// Says on stderr why a program failed, if it did; to programs as a problem document.
pub fn ended(done: Result<(), Failure>, as_json: bool) -> ExitCode {
    let Err(Failure { cause, what, hint }) = done else { return ExitCode::SUCCESS };
    let (code, exit) = match cause {
        Cause::Configuration => ("usage", 2),
        Cause::Other => ("failed", 1),
    };
    let said = match hint.as_str() {
        _ if as_json => FailureView::own(code, what, hint).to_string(),
        "" => format!("error: {what}"),
        hint => format!("error: {what}\nhint: {hint}"),
    };
    // Whoever started it may have closed its stderr.
    let _ = writeln!(stderr(), "{said}");
    ExitCode::from(exit)
}

/// Writes a part of the result to stdout.
///
/// # Errors
/// [`Failure`] if it cannot be written.
pub fn print(text: &str) -> Result<(), Failure> {
    match stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::other(format!("stdout: {error}"))),
        _ => Ok(()),
    }
}
