//! The log of a service. In the journal each event is a line for people, and each of its fields separately, so that
//! `journalctl JITD_GRANT=…` finds everything about a grant, whichever program wrote it. Anywhere else it is a line on stderr.

use std::fmt::{Debug, Write};
use std::io::{IsTerminal, stderr};

use libsystemd::logging::{Priority, connected_to_journal, journal_send};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// Starts the log of `program`, once. The variable `PROGRAM_LOG` says how much it logs, such as `info` or `jitd=debug`; the
/// default is `info`.
pub fn start(program: &'static str) {
    let variable = program.to_ascii_uppercase().replace('-', "_") + "_LOG";
    let filter = EnvFilter::try_from_env(variable).unwrap_or_else(|_| "info".into());
    if connected_to_journal() {
        tracing_subscriber::registry().with(filter).with(Journal { program }).init();
        return;
    }
    // `log_internal_errors` uses `eprintln!`, which panics if the reader has closed the pipe.
    tracing_subscriber::fmt()
        .log_internal_errors(false)
        .with_env_filter(filter)
        .with_ansi(stderr().is_terminal())
        .with_writer(stderr)
        .init();
}

/// Sends each event to the journal, with its fields as `JITD_NAME=`.
struct Journal {
    program: &'static str,
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut line = Line::default();
        event.record(&mut line);
        let message = line.message + &line.rest;
        let fixed = [("SYSLOG_IDENTIFIER", self.program), ("JITD_TARGET", event.metadata().target())];
        let fields = line.fields.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        // A failure cannot be reported anywhere else.
        let _ = journal_send(priority(*event.metadata().level()), &message, fixed.into_iter().chain(fields));
    }
}

/// syslog(3).
fn priority(level: Level) -> Priority {
    match level {
        Level::ERROR => Priority::Error,
        Level::WARN => Priority::Warning,
        Level::INFO => Priority::Info,
        _ => Priority::Debug,
    }
}

/// An event while its fields are read.
#[derive(Default)]
struct Line {
    message: String,
    /// ` name=value` for each field, as on a terminal.
    rest: String,
    /// `JITD_NAME` and the value of each field.
    fields: Vec<(String, String)>,
}

impl Line {
    fn put(&mut self, field: &Field, value: String) {
        if field.name() == "message" {
            self.message = value;
            return;
        }
        // Writing to a String cannot fail.
        let _ = write!(self.rest, " {}={value}", field.name());
        // The journal accepts capital letters, digits and underscores (systemd.journal-fields(7)).
        let name = field.name().to_ascii_uppercase().replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        self.fields.push((format!("JITD_{name}"), value));
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field, format!("{value:?}"));
    }
}
