//! `jitd scan FILE…` and `jitd scan diff`: the report of a scan, in the form that its reader needs.
//!
//! It reads the files that the report is compared with, lets `jit_scan` put the document together, and prints it.

use std::fs::File;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use jit_scan::audit::{AuditLogs, Uses};
use jit_scan::credentials::credentials;
use jit_scan::report::{Context, Document, json, markdown, page, sarif, table};
use jit_scan::{Access, Baseline, Difference, Exceptions, Kept, Report, Snapshot, findings};
use jitd::escape::escaped;
use jitd::rbac::risk::Severity;

use super::live::Extent;
use super::{Input, homes, suggest};
use crate::print::{self, Output, say};
use crate::{CLOCK, Failure};

/// The report that is wanted.
#[derive(Args)]
pub(crate) struct Wanted {
    #[command(flatten)]
    pub(super) input: Input,
    /// Output format.
    #[arg(long, short, default_value = "table", value_enum)]
    output: Format,
    /// Exit with 3 if a finding is at least this severe: `low`, `medium`, `high` or `critical`.
    ///
    /// Findings of the baseline, accepted ones and what Kubernetes itself ships do not count; unclassified ones always do.
    #[arg(long, value_name = "SEVERITY", value_parser = severity)]
    fail_on: Option<Severity>,
    /// An earlier `-o json`: what it contains is known, and does not count.
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Findings that somebody accepts, with owner, reason and expiry; docs/scan.md has the form.
    #[arg(long, value_name = "FILE")]
    exceptions: Option<PathBuf>,
    /// An audit log of the API server, plain or gzip: findings say what was used, and when last. Can be repeated.
    #[arg(long, value_name = "FILE")]
    audit_log: Vec<PathBuf>,
    /// Find credentials in the kubeconfig files below these home directories too; their content is never shown.
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = "/home", require_equals = true)]
    homes: Option<PathBuf>,
    #[command(flatten)]
    suggest: suggest::Options,
}

/// The form of a report.
#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// For a terminal.
    Table,
    /// For programs, and for `--baseline`; docs/schemas/scan.json describes it.
    Json,
    /// SARIF 2.1.0, for code scanning.
    Sarif,
    /// For a comment in a pull request.
    Markdown,
    /// One page for a browser, which needs no network.
    Html,
}

fn severity(text: &str) -> Result<Severity, String> {
    text.parse().map_err(|wrong: jitd::rbac::Malformed| wrong.why)
}

pub(super) fn report(wanted: &Wanted) -> Result<(), Failure> {
    if let Some((folder, cluster)) = wanted.suggest.folder() {
        let snapshot = wanted.input.read(Extent::Rights)?;
        let uses = if wanted.audit_log.is_empty() { None } else { Some(read_logs(&wanted.audit_log)?) };
        return wanted.suggest.write(folder, cluster, &wanted.input, &snapshot, uses.as_ref());
    }
    let mut snapshot = wanted.input.read(Extent::Credentials)?;
    let now = CLOCK();
    let report = found(&mut snapshot, wanted.homes.as_deref(), now);
    let baseline = wanted.baseline.as_deref().map(read_baseline).transpose()?;
    let exceptions = wanted.exceptions.as_deref().map(read_exceptions).transpose()?;
    let uses = if wanted.audit_log.is_empty() { None } else { Some(read_logs(&wanted.audit_log)?) };
    let today = now.to_zoned(TimeZone::UTC).date();
    let context = Context {
        baseline: baseline.as_ref(),
        exceptions: exceptions.as_ref().map(|exceptions| (exceptions, today)),
        uses: uses.as_ref(),
    };
    let document = Document::new(report, context);
    print::result(match wanted.output {
        Format::Table => table::table(&document, width()),
        Format::Json => json::json(&document)?,
        Format::Sarif => sarif::sarif(&document, &snapshot.places, env!("CARGO_PKG_VERSION"))?,
        Format::Markdown => markdown::markdown(&document),
        Format::Html => page::page(&document)?,
    })?;
    let Some(severity) = wanted.fail_on else { return Ok(()) };
    let failing = document.failing(severity).count();
    if failing == 0 {
        return Ok(());
    }
    say!("jitd: {} at least {severity}", print::counted(u64::try_from(failing).unwrap_or(u64::MAX), "open finding"));
    Err(Failure::No)
}

/// Everything that is found in a cluster, and in the home directories of this host.
pub(super) fn found(snapshot: &mut Snapshot, homes: Option<&Path>, now: Timestamp) -> Report {
    let mut report = findings(&Access::of(snapshot));
    if let Some(folder) = homes {
        let found = homes::read(folder);
        snapshot.kubeconfigs = found.users;
        report.not_evaluated.extend(found.not_evaluated);
    }
    let found = credentials(snapshot, &report.findings, now);
    report.findings.extend(found.findings);
    report.not_evaluated.extend(found.not_evaluated);
    report
}

/// Of a terminal; a file gets lines that most can show.
fn width() -> usize {
    terminal_size::terminal_size_of(std::io::stdout()).map_or(100, |(width, _)| usize::from(width.0))
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|why| Failure::usage(format!("{}: {why}", shown(path))))
}

fn shown(path: &Path) -> String {
    escaped(&path.to_string_lossy())
}

pub(super) fn read_baseline(path: &Path) -> Result<Baseline, Failure> {
    Baseline::parse(&read(path)?).map_err(|why| Failure::usage(escaped(&format!("{}: {why}", path.display()))))
}

pub(super) fn read_exceptions(path: &Path) -> Result<Exceptions, Failure> {
    let wrong = |why: String| Failure::usage(escaped(&format!("{}: {why}", path.display())));
    let text = String::from_utf8(read(path)?).map_err(|_| wrong("it is not UTF-8".to_owned()))?;
    Exceptions::parse(&text).map_err(|why| wrong(why.to_string()))
}

fn read_logs(paths: &[PathBuf]) -> Result<Uses, Failure> {
    let mut logs = AuditLogs::default();
    for path in paths {
        let read = File::open(path).and_then(|file| logs.read(&shown(path), file));
        read.map_err(|why| Failure::usage(format!("{}: {why}", shown(path))))?;
    }
    Ok(logs.finish())
}

/// What changed from one report to the next; the answer is no if there is something new.
pub(super) fn diff(old: &Path, new: &Path, output: Output) -> Result<(), Failure> {
    let difference = Difference::between(&read_baseline(old)?, &read_baseline(new)?);
    match output {
        Output::Json => print::json(&difference)?,
        Output::Text => print::result(in_words(&difference))?,
    }
    if difference.new.is_empty() { Ok(()) } else { Err(Failure::No) }
}

fn in_words(difference: &Difference) -> String {
    let Difference { new, gone, unchanged } = difference;
    let mut lines = vec![format!("{} new, {} gone, {unchanged} unchanged", new.len(), gone.len())];
    let line = |sign: char, kept: &Kept| {
        let who = kept.subject.as_ref().map(|subject| format!("{}: ", subject.name)).unwrap_or_default();
        let place = if kept.scope.is_empty() { "whole cluster".to_owned() } else { kept.scope.join(", ") };
        escaped(&format!("{sign} {} {} {who}{} ({place})", kept.severity, kept.id, kept.title))
    };
    lines.extend(new.iter().map(|kept| line('+', kept)));
    lines.extend(gone.iter().map(|kept| line('-', kept)));
    lines.join("\n")
}
