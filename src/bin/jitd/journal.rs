//! The log as the journal wants it: a line that people read, and beside it each of its fields, so that
//! `journalctl JITD_GRANT=…` finds everything about a grant. `serve.rs` chooses it when stderr is the journal.

use std::fmt::{Debug, Write};
use std::os::unix::ffi::OsStrExt;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Whether stderr is the journal: systemd says which device and inode it connected (`JOURNAL_STREAM`,
/// systemd.exec(5)), for who inherited the variable may have been given another stderr since.
pub(crate) fn is_stderr() -> bool {
    let Ok(stderr) = nix::sys::stat::fstat(std::io::stderr()) else { return false };
    std::env::var_os("JOURNAL_STREAM")
        .is_some_and(|stream| stream.as_bytes() == format!("{}:{}", stderr.st_dev, stderr.st_ino).as_bytes())
}

/// Sends each event to the journal, its fields as `JITD_NAME=`.
pub(crate) struct Journal;

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut line = Line::default();
        event.record(&mut line);
        let mut fields = vec![
            format!("MESSAGE={}{}", line.message, line.rest),
            format!("PRIORITY={}", priority(*event.metadata().level())),
            "SYSLOG_IDENTIFIER=jitd".to_owned(),
            format!("JITD_TARGET={}", event.metadata().target()),
        ];
        fields.append(&mut line.fields);
        let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
        // There is nowhere left to tell it.
        let _ = systemd::journal::send(&fields);
    }
}

/// syslog(3).
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

/// An event while it is read.
#[derive(Default)]
struct Line {
    message: String,
    /// ` name=value` of each field, as on a terminal.
    rest: String,
    /// `JITD_NAME=value` of each field.
    fields: Vec<String>,
}

impl Line {
    fn put(&mut self, field: &Field, value: String) {
        if field.name() == "message" {
            self.message = value;
            return;
        }
        // Writing to a String does not fail.
        let _ = write!(self.rest, " {}={value}", field.name());
        // The journal takes capitals, digits and underscores (systemd.journal-fields(7)).
        let name = field.name().to_ascii_uppercase().replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        self.fields.push(format!("JITD_{name}={value}"));
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
