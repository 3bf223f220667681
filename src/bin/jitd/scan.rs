//! `jitd scan …`: who can do what in a cluster, live or from dumps and manifests. It needs no daemon and no configuration.
//!
//! It parses the arguments, lets `jit_scan` read and decide, and prints. stdout is the result, stderr is everything else.
//! What could not be read is said on stderr and in the JSON, for an answer without it would look complete.

mod homes;
mod live;
mod plan;
mod record;
mod report;
mod suggest;
pub(crate) mod who;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use jitd::escape::escaped;
use jitd::rbac::risk::ServerVersion;

use jit_scan::{NotEvaluated, Reader, Snapshot, missing_from_snapshot};

use self::live::Extent;
use self::report::Wanted;
use crate::Failure;
use crate::operate::AdminSocket;
use crate::print::{self, Output, counted, say};

/// A report, or the answer to one question.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, override_usage = "jitd scan [OPTIONS] [FILE]... | jitd scan COMMAND")]
#[command(after_help = "\
Examples:
  jitd scan
  jitd scan --context prod -o html > report.html
  jitd scan cluster.json -o json > baseline.json
  jitd scan manifests/ --baseline baseline.json --fail-on high -o sarif
  jitd scan --suggest way-out --cluster prod --approvers leads --audit-log audit.log
  jitd scan who-can get secrets -n payments cluster.json

Exit codes:
  0  done; no finding counts, or somebody may
  1  failure
  2  usage, or a malformed baseline or file of exceptions
  3  a finding counts for --fail-on, is new in a diff, or nobody may; a step of a plan is refused")]
pub(crate) struct Scan {
    #[command(subcommand)]
    verb: Option<ScanVerb>,
    #[command(flatten)]
    wanted: Wanted,
}

#[derive(Subcommand)]
pub(crate) enum ScanVerb {
    /// List who can do something, and through which bindings; exit code 3 when nobody can.
    ///
    /// The answer is that of the RBAC authorizer. Members of `system:masters` can do everything without a binding. What a
    /// webhook or the node authorizer allows is not in the input.
    #[command(after_help = "\
Examples:
  jitd scan who-can get secrets -n payments
  jitd scan who-can create pods/exec -n payments --name web-0 cluster.json
  jitd scan who-can get /metrics cluster.json
  jitd scan who-can create pods -n payments manifests/")]
    WhoCan {
        /// The verb: `get`, `list`, `create`, `escalate` …
        verb: String,
        /// The resource, such as `pods`, `pods/exec` or `applications.argoproj.io`, or a path such as `/metrics`.
        resource: String,
        /// In this namespace [default: in all of them, and for objects of the cluster].
        #[arg(long, short, value_name = "NAME")]
        namespace: Option<String>,
        /// The object's name [default: requests without a name].
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// The subresource, as an alternative to `pods/exec`.
        #[arg(long, value_name = "NAME")]
        subresource: Option<String>,
        #[command(flatten)]
        input: Input,
        /// Output format.
        #[arg(long, short, default_value = "text", value_enum)]
        output: Output,
    },
    /// List everything that somebody can do, and through which bindings; exit code 3 when it is nothing.
    #[command(after_help = "\
Examples:
  jitd scan what-can alice --group dev --context prod
  jitd scan what-can group/dev cluster.json
  jitd scan what-can serviceaccount/payments/builder cluster.json -o json")]
    WhatCan {
        /// A user, group/NAME or serviceaccount/NAMESPACE/NAME.
        subject: who::Asked,
        /// A group that the user is in; the cluster does not know them. Can be repeated.
        #[arg(long, value_name = "NAME")]
        group: Vec<String>,
        #[command(flatten)]
        input: Input,
        /// Output format.
        #[arg(long, short, default_value = "text", value_enum)]
        output: Output,
    },
    /// Write what a live cluster says into a folder, to be examined later or elsewhere; never the content of a Secret.
    ///
    /// Exit code 1 when a list could not be read; the others are in the folder nevertheless, which says what it lacks.
    #[command(after_help = "\
Examples:
  jitd scan collect ./prod --context prod
  jitd scan who-can get secrets -n payments ./prod")]
    Collect {
        /// The folder; none of its files is overwritten.
        folder: PathBuf,
        #[command(flatten)]
        live: live::Context,
    },
    /// List what is new and what is gone between two reports; exit code 3 when something is new.
    #[command(after_help = "\
Examples:
  jitd scan diff yesterday.json today.json")]
    Diff {
        /// An earlier `jitd scan -o json`.
        old: PathBuf,
        /// A later one.
        new: PathBuf,
        /// Output format.
        #[arg(long, short, default_value = "text", value_enum)]
        output: Output,
    },
    /// Scan every cluster of a kubeconfig, and keep each report in a folder, with what is new since the last one.
    ///
    /// `jitd-scan.timer` runs it each night. Each context of the kubeconfig is a cluster, and has the name that the cluster has in
    /// `config.yaml`. Its report is in FOLDER/CONTEXT: `report.json` and `report.html`, and `previous.json` from the time
    /// before. A cluster that cannot be scanned does not keep the others from it. Exit code 1 if one could not be scanned.
    #[command(after_help = "\
Examples:
  jitd scan record /var/lib/jit-scan --kubeconfig /etc/jit-scan/kubeconfig")]
    Record(record::Record),
    /// Tell the daemon what `jitd scan record` found or why it failed, for the trail and the metrics.
    ///
    /// For root and members of `admins`.
    #[command(after_help = "\
Examples:
  jitd scan tell /var/lib/jit-scan")]
    Tell {
        /// The folder of `jitd scan record`.
        folder: PathBuf,
        #[command(flatten)]
        admin: AdminSocket,
    },
    /// Ask the API server about each step of a plan of `--suggest`; exit code 3 when it refuses one.
    ///
    /// A binding that has changed since the scan is refused, and so is what would take what you hold yourself, or the last
    /// binding of an administrator. The commands of the plan carry it out.
    #[command(after_help = "\
Examples:
  jitd scan apply-plan way-out --dry-run --context prod")]
    ApplyPlan(plan::ApplyPlan),
}

/// Writes a snapshot: a file for each list, with its pages one after the other, and one for the lists that it lacks.
fn collect(folder: &Path, cluster: &live::Context) -> Result<(), Failure> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut files: BTreeMap<String, File> = BTreeMap::new();
    let mut reader = Reader::default();
    let mut keep = |name: &str, page: &[u8]| {
        let file = match files.entry(name.to_owned()) {
            Entry::Occupied(file) => file.into_mut(),
            Entry::Vacant(new) => new.insert(new_file(folder, name)?),
        };
        file.write_all(page)?;
        Ok(file.write_all(b"\n")?)
    };
    live::read(cluster, Extent::Credentials, &mut reader, Some(&mut keep))?;
    let objects = counted(u64::try_from(reader.objects()).unwrap_or(u64::MAX), "object");
    let snapshot = reader.finish();
    if !snapshot.not_evaluated.is_empty() {
        new_file(folder, "not-evaluated")?.write_all(missing_from_snapshot(&snapshot.not_evaluated)?.as_bytes())?;
    }
    print::result(format!("{}: {objects}", folder.display()))?;
    say_not_evaluated(snapshot.not_evaluated.iter());
    if snapshot.not_evaluated.is_empty() {
        return Ok(());
    }
    let hint = "`jitd manifest --scan` prints the ClusterRoles that allow it";
    Err(Failure::ours("the snapshot is not complete").with_hint(hint))
}

fn new_file(folder: &Path, name: &str) -> Result<File, Failure> {
    let path = folder.join(format!("{name}.json"));
    let mut options = OpenOptions::new();
    let made = options.write(true).create_new(true).mode(0o600).open(&path);
    made.map_err(|error| Failure::ours(format!("`{}`: {error}", path.display())))
}

/// What is examined.
#[derive(Args)]
pub(crate) struct Input {
    /// What `kubectl get -o json` or `-o yaml` printed, manifests, or folders of them; also compressed; `-` is stdin
    /// [default: a live cluster].
    #[arg(value_name = "FILE", conflicts_with_all = ["kubeconfig", "context"])]
    files: Vec<PathBuf>,
    #[command(flatten)]
    live: live::Context,
    /// The version of the cluster that the files are from or for, such as `1.36` [default: what they say].
    #[arg(long, value_name = "VERSION", requires = "files", value_parser = server_version)]
    server_version: Option<ServerVersion>,
}

fn server_version(text: &str) -> Result<ServerVersion, String> {
    text.parse().map_err(|wrong: jitd::rbac::Malformed| wrong.why)
}

pub(crate) fn scan(config: &Path, Scan { verb, wanted }: &Scan) -> Result<(), Failure> {
    let Some(verb) = verb else { return report::report(wanted) };
    match verb {
        ScanVerb::WhoCan { verb, resource, namespace, name, subresource, input, output } => {
            let asked = who::Question { verb, resource, namespace, name, subresource };
            who::who_can(&asked, &input.read(Extent::Rights)?, *output)
        }
        ScanVerb::WhatCan { subject, group, input, output } => {
            who::what_can(subject, group, &input.read(Extent::Rights)?, *output)
        }
        ScanVerb::Collect { folder, live } => collect(folder, live),
        ScanVerb::Diff { old, new, output } => report::diff(old, new, *output),
        ScanVerb::Record(wanted) => record::record(wanted),
        ScanVerb::Tell { folder, admin } => record::tell(config, folder, admin),
        ScanVerb::ApplyPlan(wanted) => plan::apply_plan(wanted),
    }
}

impl Input {
    fn read(&self, extent: Extent) -> Result<Snapshot, Failure> {
        let mut reader = Reader::default();
        if self.files.is_empty() {
            live::read(&self.live, extent, &mut reader, None)?;
        }
        // Reports can name a file below the working directory only relative to it.
        let here = std::env::current_dir().unwrap_or_default();
        for file in &self.files {
            if file == Path::new("-") {
                reader.stream("stdin", std::io::stdin().lock()).map_err(Failure::invalid)?;
            } else {
                let named = file.strip_prefix(&here).ok().filter(|rest| *rest != Path::new("")).unwrap_or(file);
                reader.path(named).map_err(Failure::invalid)?;
            }
        }
        if let Some(version) = self.server_version {
            reader.version(version);
        }
        Ok(reader.finish())
    }
}

/// Says on stderr what an answer leaves open.
fn say_not_evaluated<'a>(all: impl Iterator<Item = &'a NotEvaluated>) {
    let all: Vec<_> = all.collect();
    for NotEvaluated { what, why } in all.iter().take(MOST_SAID) {
        say!("not evaluated: {}: {}", shown(what), shown(why));
    }
    if all.len() > MOST_SAID {
        let more = counted(u64::try_from(all.len() - MOST_SAID).unwrap_or(u64::MAX), "line");
        say!("not evaluated: {more} more; `-o json` has all of them");
    }
}

/// Lines on stderr, so that the result stays on the screen.
const MOST_SAID: usize = 20;

/// Text of the input for a terminal, not longer than a name of Kubernetes may be.
fn shown(text: &str) -> String {
    let mut short: String = text.chars().take(253).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    escaped(&short)
}
