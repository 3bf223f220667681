//! `jitd`, the daemon and its administration: arguments, configuration, and the output of each command.
//!
//! stdout is the result, stderr is everything else. Exit codes: 0 success, 1 failure, 2 usage or an invalid configuration,
//! 3 the policy's own tests failed or its answer is no. `serve` runs until SIGTERM or SIGINT.

#![warn(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "they panic if the reader has closed the pipe; the functions in `print` do not"
)]

mod arguments;
mod audit;
mod authority;
mod check;
mod doctor;
mod init;
mod manual;
mod operate;
mod policy;
mod print;
mod scan;
#[cfg(test)]
mod schemas;
mod serve;
mod watchdog;

use std::borrow::Cow;
use std::ffi::OsString;
use std::fmt;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use jiff::Timestamp;

use jit_manual::Misuse;
use jitd::client::ClientError;
use jitd::config::{ClusterConfig, Config, Faults};
use jitd::escape::escaped;
use jitd::grant::request::ClusterName;
use jitd::hint::Hint;
use jitd::manifest::{self, Users};
use jitd::trail;
use jitd::wire::{Exit, FailureView, Problem};

use crate::arguments::{Arguments, AuditVerb, Verb};
use crate::print::say;

/// Why a command failed: it decides the exit code, and what stderr says.
enum Failure {
    /// The command line or a file has a mistake.
    Usage { what: String, hint: Option<Cow<'static, str>> },
    /// We could not do it.
    Ours { what: String, hint: Option<Cow<'static, str>> },
    /// The daemon refused or failed, or cannot be called.
    Daemon { error: Box<ClientError>, hint: Option<Cow<'static, str>> },
    /// It was done, and the answer is no; the result says so.
    No,
}

impl Failure {
    fn usage(what: impl Into<String>) -> Self {
        Self::Usage { what: what.into(), hint: None }
    }

    /// What is wrong with the command line, or with a file that it names.
    fn invalid(error: impl std::error::Error + Hint) -> Self {
        Self::Usage { what: error.to_string(), hint: error.hint() }
    }

    fn ours(what: impl Into<String>) -> Self {
        Self::Ours { what: what.into(), hint: None }
    }

    /// The same failure, with what to do about it.
    fn with_hint(self, hint: impl Into<Cow<'static, str>>) -> Self {
        let hint = Some(hint.into());
        match self {
            Self::Usage { what, .. } => Self::Usage { what, hint },
            Self::Ours { what, .. } => Self::Ours { what, hint },
            Self::Daemon { error, .. } => Self::Daemon { error, hint },
            Self::No => Self::No,
        }
    }

    /// The daemon's answer, if it is why.
    fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Daemon { error, .. } => match &**error {
                ClientError::Problem(problem) => Some(problem),
                _ => None,
            },
            _ => None,
        }
    }

    fn exit_code(&self) -> u8 {
        match self {
            Self::Usage { .. } => 2,
            Self::Daemon { .. } if self.problem().is_some_and(|problem| problem.exit() == Exit::Usage) => 2,
            Self::Ours { .. } | Self::Daemon { .. } => 1,
            Self::No => 3,
        }
    }

    /// What stderr says: for programs a problem document, for people lines.
    fn tell(&self, as_json: bool) {
        let code = match self {
            Self::Usage { .. } => "usage",
            Self::Ours { .. } => "failed",
            Self::Daemon { error, .. } => error.code(),
            Self::No => return,
        };
        if !as_json {
            return say!("jitd: {}", self.in_full());
        }
        let view = FailureView::own(code, self.to_string().replace(AND, "\n"), self.hint().unwrap_or_default());
        say!(
            "{}",
            match self.problem() {
                Some(problem) => view.answered(problem),
                None => view,
            }
        );
    }
}

/// Between two faults in a message.
const AND: &str = "\njitd: ";

/// What stderr says; nothing if the result says it.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage { what, .. } | Self::Ours { what, .. } => f.write_str(what),
            Self::Daemon { error, .. } => f.write_str(&match self.problem() {
                Some(problem) => print::one_line(&problem.detail),
                None => error.to_string(),
            }),
            Self::No => Ok(()),
        }
    }
}

impl Hint for Failure {
    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Usage { hint, .. } | Self::Ours { hint, .. } => hint.clone(),
            Self::Daemon { hint: Some(hint), .. } => Some(hint.clone()),
            Self::Daemon { .. } => self
                .problem()
                .map(|problem| print::one_line(&problem.hint).into())
                .filter(|hint: &Cow<'_, str>| !hint.is_empty()),
            Self::No => None,
        }
    }
}

impl<E: std::error::Error + Hint> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Ours { what: error.to_string(), hint: error.hint() }
    }
}

/// The host's clock; `main` passes it, or the current time, to everything else.
#[expect(clippy::disallowed_methods, reason = "the only place that reads the clock")]
const CLOCK: fn() -> Timestamp = Timestamp::now;

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    if jit_manual::answer("jitd", manual::COMPLETE_VARIABLE, &words, Arguments::command) {
        return ExitCode::SUCCESS;
    }
    let as_json = jit_manual::wants_json(&words);
    let arguments = match Arguments::try_parse_from(words) {
        Ok(arguments) => arguments,
        Err(error) if as_json && error.use_stderr() => {
            let Misuse { what, hint } = Misuse::from(&error);
            let failure = Failure::usage(what).with_hint(hint);
            failure.tell(as_json);
            return ExitCode::from(failure.exit_code());
        }
        Err(error) => error.exit(),
    };
    let done = match &arguments.verb {
        Verb::Serve => serve::serve(&arguments.config),
        Verb::Check { cluster: None, .. } => check::check_files(&arguments.config),
        Verb::Check { cluster: Some(name), output } => {
            check::check_clusters(&arguments.config, name.as_deref(), *output)
        }
        Verb::Init(wanted) => init::init(&arguments.config, wanted),
        Verb::Doctor { output } => doctor::doctor(&arguments.config, *output),
        Verb::Ca { verb } => authority::ca(&arguments.config, verb),
        Verb::Manifest { cluster: Some(cluster), .. } => print_manifest(&arguments.config, cluster),
        Verb::Manifest { cluster: None, .. } => print::result(manifest::printed(&manifest::scan())),
        Verb::Policy { verb } => policy::policy(&arguments.config, verb),
        Verb::Drain { reason, admin } => operate::drain(&arguments.config, admin, reason.as_deref()),
        Verb::Resume { admin } => operate::resume(&arguments.config, admin),
        Verb::Revoke(revoke) => operate::revoke(&arguments.config, revoke),
        Verb::Backup { file } => operate::backup(&arguments.config, file),
        Verb::Audit { verb: AuditVerb::Verify { file, head, output } } => {
            audit::verify(&arguments.config, file.as_deref(), head.as_ref(), *output)
        }
        Verb::Audit { verb: AuditVerb::Export } => {
            read(&arguments.config).and_then(|config| print::in_pieces(|out| trail::export(&config.trail(), out)))
        }
        Verb::Audit { verb: AuditVerb::Sessions(list) } => audit::sessions::list(&arguments.config, list),
        Verb::Audit { verb: AuditVerb::Notices(wanted) } => audit::notices::list(&arguments.config, wanted),
        Verb::Audit { verb: AuditVerb::Play(play) } => audit::play::play(&arguments.config, play),
        Verb::Scan(wanted) => scan::scan(&arguments.config, wanted),
        Verb::Notify { words } => Err(for_jit_notify(words)),
        Verb::Completion { shell } => manual::completion(*shell),
        Verb::Man { page, markdown } => manual::man(*page, *markdown),
    };
    let Err(failure) = done else { return ExitCode::SUCCESS };
    failure.tell(as_json);
    ExitCode::from(failure.exit_code())
}

fn read(path: &Path) -> Result<Config, Failure> {
    Config::read(path).map_err(|faults| not_meant(&faults))
}

fn not_meant(faults: &Faults) -> Failure {
    match faults.0.as_slice() {
        [fault] => Failure::invalid(fault.clone()),
        _ => Failure::usage(faults.lines().join(AND)),
    }
}

/// Where a verb for the channels is found.
fn for_jit_notify(words: &[OsString]) -> Failure {
    let words: Vec<String> = words.iter().map(|word| escaped(&word.to_string_lossy())).collect();
    let rest = if words.is_empty() { "--help".to_owned() } else { words.join(" ") };
    Failure::usage(
        "the channels run in `jit-notify`, which holds their secrets, so its own verbs test, show and replay them",
    )
    .with_hint(format!("type `jit-notify {rest}`"))
}

fn print_manifest(path: &Path, cluster: &str) -> Result<(), Failure> {
    let config = read(path)?;
    let (name, settings) = cluster_named(&config, cluster)?;
    let users =
        Users { host: config.host.as_str(), daemon: settings.daemon.as_ref(), gateway: settings.gateway.as_ref() };
    print::result(manifest::printed(&manifest::objects(&config.policy, name, users)))
}

fn cluster_named<'a>(config: &'a Config, cluster: &str) -> Result<(&'a ClusterName, &'a ClusterConfig), Failure> {
    config.clusters.iter().find(|(name, _)| name.as_str() == cluster).ok_or_else(|| {
        let names: Vec<&str> = config.clusters.keys().map(ClusterName::as_str).collect();
        let cluster = cluster.escape_default();
        Failure::usage(format!("cluster `{cluster}` is not in the configuration; it has {}", names.join(", ")))
    })
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    // The only provider; a second installation cannot happen, and would change nothing.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().max_blocking_threads(16).build()?)
}
