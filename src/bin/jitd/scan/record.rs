//! `jitd scan record` and `jitd scan tell`: the scan of each night, and how the daemon learns of it.
//!
//! ```text
//!  jitd-scan.timer ─► record (account jit-scan; reads clusters) ─► FOLDER/outcome.json ─► tell (root) ══ admin socket ══► daemon
//!                       └─► FOLDER/CONTEXT/report.json, report.html, previous.json
//! ```
//! Two programs, so that what parses the objects of a cluster has no right on the admin socket. The outcome says that a scan
//! failed from its beginning to its end: one that is killed is not a scan that found nothing. `tell` trusts the folder with
//! numbers and words only.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use jiff::tz::TimeZone;
use jit_scan::report::{Context, Document, json, page};
use jit_scan::{Baseline, Exceptions, Reader};
use jitd::escape::escaped;
use jitd::files::{self, Existing};
use jitd::grant::digest::sha256_hex;
use jitd::grant::request::{ClusterName, Reason};
use jitd::hint::Hint as _;
use jitd::wire::{ScanBody, ScanNumbers};
use nix::fcntl::OFlag;
use serde::{Deserialize, Serialize};

use super::live::{self, Extent};
use super::report::{found, read_baseline, read_exceptions};
use crate::operate::{self, AdminSocket};
use crate::print::{self, counted, say};
use crate::{AND, CLOCK, Failure};

/// Which clusters are scanned, and where the reports are kept.
#[derive(Args)]
pub(crate) struct Record {
    /// Where the reports are kept.
    folder: PathBuf,
    /// The kubeconfig; each of its contexts is scanned.
    #[arg(long, value_name = "FILE")]
    kubeconfig: PathBuf,
    /// Findings that somebody accepts, with owner, reason and expiry; docs/scan.md has the form.
    #[arg(long, value_name = "FILE")]
    exceptions: Option<PathBuf>,
    /// Find credentials in the kubeconfig files below these home directories too; their content is never shown.
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = "/home", require_equals = true)]
    homes: Option<PathBuf>,
}

/// What `record` leaves to `tell`.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Outcome {
    scans: Vec<ScanBody>,
}

const OUTCOME: &str = "outcome.json";
const REPORT: &str = "report.json";
/// A body of each of thousands of clusters.
const LONGEST_OUTCOME: u64 = 1 << 20;
/// What is told of a scan that was killed.
const UNFINISHED: &str = "the scan ended before it was finished";
/// As long as a reason may be, less what is put before it.
const LONGEST_WHY: usize = 400;

pub(super) fn record(wanted: &Record) -> Result<(), Failure> {
    let folder = &wanted.folder;
    files::make_folder(folder)?;
    // Before anything that can fail: what the last scan found is not what this one finds.
    let mut outcome = read_outcome(folder)?.unwrap_or_default();
    for scan in &mut outcome.scans {
        *scan = failed(&scan.cluster, UNFINISHED);
    }
    outcome.write(folder)?;
    let clusters = clusters(&wanted.kubeconfig)?;
    let exceptions = wanted.exceptions.as_deref().map(read_exceptions).transpose()?;
    outcome.scans = clusters.iter().map(|cluster| failed(cluster.as_str(), UNFINISHED)).collect();
    outcome.write(folder)?;
    for at in 0..clusters.len() {
        let (Some(cluster), Some(scan)) = (clusters.get(at), outcome.scans.get_mut(at)) else { continue };
        *scan = match scanned(wanted, cluster, exceptions.as_ref()) {
            Ok(numbers) => {
                print::result(in_words(cluster.as_str(), &numbers))?;
                ScanBody { cluster: cluster.to_string(), finished: Some(numbers), failed: None }
            }
            Err(failure) => {
                let why = failure.in_full().to_string();
                say!("jitd: {cluster}: {why}");
                failed(cluster.as_str(), &why)
            }
        };
        outcome.write(folder)?;
    }
    match outcome.scans.iter().filter(|scan| scan.failed.is_some()).count() {
        0 => Ok(()),
        failed => {
            Err(Failure::ours(format!("{failed} of {} could not be scanned", counted(clusters.len(), "cluster"))))
        }
    }
}

/// The clusters of a kubeconfig: the names of its contexts.
fn clusters(kubeconfig: &Path) -> Result<Vec<ClusterName>, Failure> {
    let hint = "name each context as `config.yaml` names the cluster";
    let names = jit_dial::contexts(kubeconfig)?;
    if names.is_empty() {
        let what = format!("`{}` has no context", escaped(&kubeconfig.to_string_lossy()));
        return Err(Failure::ours(what).with_hint(hint));
    }
    let parsed = names.iter().map(|name| {
        name.parse().map_err(|_| {
            Failure::ours(format!("context `{}` cannot be the name of a cluster", escaped(name))).with_hint(hint)
        })
    });
    parsed.collect()
}

/// Scans a cluster, and replaces its report.
fn scanned(wanted: &Record, cluster: &ClusterName, exceptions: Option<&Exceptions>) -> Result<ScanNumbers, Failure> {
    let folder = wanted.folder.join(cluster.as_str());
    files::make_folder(&folder)?;
    let kept = folder.join(REPORT);
    let last = match std::fs::read(&kept) {
        Ok(last) => Some((read_baseline(&kept)?, last)),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error.into()),
    };
    let context =
        live::Context { kubeconfig: Some(wanted.kubeconfig.clone()), context: Some(cluster.as_str().to_owned()) };
    let mut reader = Reader::default();
    live::read(&context, Extent::Credentials, &mut reader, None)?;
    let now = CLOCK();
    let report = found(&mut reader.finish(), wanted.homes.as_deref(), now);
    let exceptions = exceptions.map(|exceptions| (exceptions, now.to_zoned(TimeZone::UTC).date()));
    let compared = |baseline: &Baseline| {
        let context = Context { baseline: Some(baseline), exceptions, uses: None };
        Document::new(report.clone(), context)
    };
    let change = last.as_ref().map(|(baseline, _)| compared(baseline));
    let document = Document::new(report.clone(), Context { baseline: None, exceptions, uses: None });
    let (text, page) = (json::json(&document)?, page::page(&document)?);
    if let Some((_, last)) = &last {
        files::write(&folder, "previous.json", last, 0o600, Existing::Replaced)?;
    }
    files::write(&folder, "report.html", page.as_bytes(), 0o600, Existing::Replaced)?;
    files::write(&folder, REPORT, text.as_bytes(), 0o600, Existing::Replaced)?;
    let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    Ok(ScanNumbers {
        open: document.counts().into_iter().map(|(severity, count)| (severity, number(count))).collect(),
        new: change.as_ref().map(|change| number(change.open().count())),
        gone: change.as_ref().map(|change| number(change.resolved.len())),
        not_evaluated: number(document.not_evaluated.len()),
        report_sha256: sha256_hex(text.as_bytes()),
    })
}

fn failed(cluster: &str, why: &str) -> ScanBody {
    // Of an error of several lines the first says what is wrong.
    let mut why: String = escaped(why.lines().next().unwrap_or_default()).chars().take(LONGEST_WHY).collect();
    if why.parse::<Reason>().is_err() {
        why = "the reason cannot be shown".to_owned();
    }
    ScanBody { cluster: cluster.to_owned(), finished: None, failed: Some(why) }
}

fn in_words(cluster: &str, ScanNumbers { open, new, gone, not_evaluated, .. }: &ScanNumbers) -> String {
    let counts: Vec<String> =
        open.iter().rev().map(|(severity, count)| format!("{count} {}", severity.as_str())).collect();
    let mut parts = vec![if counts.is_empty() { "nothing".to_owned() } else { counts.join(", ") }];
    parts.extend(new.map(|new| format!("{new} new")));
    parts.extend(gone.map(|gone| format!("{gone} gone")));
    parts.push(format!("{not_evaluated} not evaluated"));
    format!("{cluster}: {}", parts.join("; "))
}

impl Outcome {
    /// Others may read it: it has numbers, and no name but those of clusters.
    fn write(&self, folder: &Path) -> Result<(), Failure> {
        Ok(files::write(folder, OUTCOME, serde_json::to_string(self)?.as_bytes(), 0o644, Existing::Replaced)?)
    }
}

/// What the last scan left; `None` if there was none. The file may be another account's, so no link is followed.
fn read_outcome(folder: &Path) -> Result<Option<Outcome>, Failure> {
    let path = folder.join(OUTCOME);
    let no_wait = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
    let file = match OpenOptions::new().read(true).custom_flags(no_wait).open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Failure::ours(format!("`{}`: {error}", path.display()))),
    };
    let mut text = String::new();
    file.take(LONGEST_OUTCOME).read_to_string(&mut text)?;
    // The message names a place, and no content.
    let malformed = |error: serde_json::Error| {
        let at = format!("line {}, column {}", error.line(), error.column());
        Failure::ours(format!("`{}` is not what `jitd scan record` writes ({at})", path.display()))
    };
    serde_json::from_str(&text).map(Some).map_err(malformed)
}

pub(super) fn tell(config: &Path, folder: &Path, admin: &AdminSocket) -> Result<(), Failure> {
    let hint = "`jitd scan record` scans clusters";
    let mut outcome = read_outcome(folder)?.unwrap_or_default();
    if outcome.scans.is_empty() {
        return Err(Failure::ours(format!("`{}` has no scan to tell of", folder.display())).with_hint(hint));
    }
    outcome.correct(std::env::var("SERVICE_RESULT").ok().as_deref());
    let mut untold = Vec::new();
    for scan in &outcome.scans {
        let Err(why) = operate::at(config, admin, async |client| client.record_scan(scan).await) else { continue };
        untold.push(format!("{}: {}", escaped(&scan.cluster), why.in_full()));
    }
    if untold.is_empty() { Ok(()) } else { Err(Failure::ours(untold.join(AND))) }
}

impl Outcome {
    /// What the service's end means for the scans: `SERVICE_RESULT` of systemd.exec(5).
    fn correct(&mut self, service: Option<&str>) {
        let Some(how) = service.filter(|how| *how != "success") else { return };
        // A scan that did not even begin leaves the outcome of the one before, in which nothing failed.
        let is_stale = self.scans.iter().all(|scan| scan.failed.is_none());
        for scan in &mut self.scans {
            if is_stale || scan.failed.as_deref() == Some(UNFINISHED) {
                *scan = failed(&scan.cluster, &format!("{UNFINISHED}: {how}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finished(cluster: &str) -> ScanBody {
        let numbers = ScanNumbers {
            open: Default::default(),
            new: None,
            gone: None,
            not_evaluated: 0,
            report_sha256: sha256_hex(b""),
        };
        ScanBody { cluster: cluster.to_owned(), finished: Some(numbers), failed: None }
    }

    /// A scan that was killed, or never began, is told as failed.
    #[test]
    fn the_end_of_the_service_corrects_what_is_told() {
        let whys = |scans: Vec<ScanBody>, service: Option<&str>| -> Vec<Option<String>> {
            let mut outcome = Outcome { scans };
            outcome.correct(service);
            outcome.scans.into_iter().map(|scan| scan.failed).collect()
        };
        let killed = Some("the scan ended before it was finished: oom-kill".to_owned());
        let (refused, unfinished) = (failed("b", "403: no"), failed("c", UNFINISHED));
        for service in [None, Some("success")] {
            let scans = vec![finished("a"), refused.clone()];
            assert_eq!(whys(scans, service), [None, Some("403: no".to_owned())], "{service:?}");
        }
        let scans = vec![finished("a"), refused, unfinished];
        assert_eq!(whys(scans, Some("oom-kill")), [None, Some("403: no".to_owned()), killed.clone()]);
        assert_eq!(whys(vec![finished("a"), finished("b")], Some("oom-kill")), [killed.clone(), killed]);
    }

    /// The trail takes every reason that is left to it.
    #[test]
    fn every_failure_has_a_reason_that_can_be_recorded() {
        for why in ["", " ", "\u{1b}[31m\nx", "\u{202e}x", &"é".repeat(5000), "a\u{ad}b"] {
            let why = failed("a", why).failed.unwrap();
            assert!(format!("{why}: core-dump").parse::<Reason>().is_ok(), "{why:?}");
        }
    }
}
