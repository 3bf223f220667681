//! Credential plugins: programs that print a credential, such as `aws eks get-token`, `gke-gcloud-auth-plugin` and
//! `kubelogin` (`client.authentication.k8s.io`, versions v1 and v1beta1).
//!
//! ```text
//!  credential ─┬─ kept and not due ─► at once
//!              ├─ kept and due ─────► at once; a run begins in the background
//!              └─ none, or over ────► wait for the run, which is one for all who wait
//! ```
//! A plugin can hang, fail, or print anything. It runs without a terminal and with a deadline, and it holds up only those
//! who wait for it. What it prints on its standard output is secret and is in no message. It must never run a program
//! that others could have written.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use http::HeaderValue;
use jiff::{SignedDuration, Timestamp};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use parking_lot::Mutex;
use rustls::sign::CertifiedKey;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout};
use zeroize::Zeroizing;

use jit_host::files;
use jit_host::hint::Hint;

use super::blocking::Blocking;
use super::settings::{bearer, certified_key};

/// How long a plugin has: those of the cloud providers ask a service, and some refresh a login first.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long before its expiry a credential is replaced, but never in the first three quarters of its life.
const BEFORE_EXPIRY: SignedDuration = SignedDuration::from_secs(60);
/// How long a credential without an expiry is kept, unless the API server refuses it before.
const WITHOUT_EXPIRY: SignedDuration = SignedDuration::from_mins(5);
/// How old a credential has to be before a 401 replaces it: for a user whom the API server never knows, the plugin must not
/// run with every request.
const REFUSED_AFTER: Duration = Duration::from_secs(10);
/// How long nobody asks again after a failure, which is what all get meanwhile.
const REST: Duration = Duration::from_secs(2);
/// The most that a plugin may print, in bytes.
const LARGEST_ANSWER: usize = 1 << 20;
/// How much of what it prints on its standard error is kept, in bytes: the end.
const KEPT_OF_STDERR: usize = 4 << 10;

/// What systemd tells this process in particular (sd_notify(3), sd_listen_fds(3), sd_watchdog_enabled(3)).
const OURS_ALONE: [&str; 6] =
    ["NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID", "WATCHDOG_PID", "WATCHDOG_USEC"];

/// Why a credential plugin gave no credential.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PluginError {
    /// It does not exist, cannot be started, or others could have written it.
    #[error("the credential plugin `{command}` cannot be run: {why}")]
    NotRun {
        /// The command in the kubeconfig.
        command: String,
        /// Why not.
        why: String,
        /// `installHint` of the kubeconfig.
        install: Option<String>,
    },
    /// It has not finished yet, and no credential is left meanwhile.
    #[error("the credential plugin `{command}` has not finished yet")]
    Running {
        /// The command in the kubeconfig.
        command: String,
    },
    /// It did not finish in time, and was killed.
    #[error("the credential plugin `{command}` did not finish within {after:?} and was ended{said}")]
    Hung {
        /// The command in the kubeconfig.
        command: String,
        /// The limit.
        after: Duration,
        /// The last line that it printed on its standard error, as the end of the sentence.
        said: String,
    },
    /// It ended without success.
    #[error("the credential plugin `{command}` failed, {status}{said}")]
    Failed {
        /// The command in the kubeconfig.
        command: String,
        /// How it ended.
        status: String,
        /// The last line that it printed on its standard error, as the end of the sentence.
        said: String,
    },
    /// It printed something else than a credential.
    #[error("the credential plugin `{command}` {why}")]
    Unusable {
        /// The command in the kubeconfig.
        command: String,
        /// What is wrong, as a verb.
        why: String,
    },
}

impl Hint for PluginError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::NotRun { install, .. } => install.clone().map(Cow::Owned),
            Self::Running { .. } | Self::Hung { .. } | Self::Failed { .. } => Some(
                "run it as this program's user, without a terminal, and see what it waits for or complains about"
                    .into(),
            ),
            Self::Unusable { .. } => None,
        }
    }
}

/// What a kubeconfig says about a plugin.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Definition {
    /// As it is written.
    pub(crate) command: String,
    /// The folder of the kubeconfig, for a command with a slash.
    pub(crate) folder: PathBuf,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    /// `client.authentication.k8s.io/v1` or `…/v1beta1`.
    pub(crate) version: &'static str,
    /// The value of `KUBERNETES_EXEC_INFO`.
    pub(crate) info: String,
    pub(crate) install: Option<String>,
}

/// A plugin and the credential that it last gave. Must be asked inside a tokio runtime.
pub(crate) struct Plugin {
    pub(crate) definition: Definition,
    patience: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    given: Option<Arc<Given>>,
    /// When it was given.
    since: Option<Instant>,
    run: Option<Run>,
    failed: Option<(Instant, PluginError)>,
}

type Run = Shared<BoxFuture<'static, Result<Arc<Given>, PluginError>>>;

/// A credential that a plugin gave: a token, a certificate, or both.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) token: Option<HeaderValue>,
    pub(crate) certificate: Option<Arc<CertifiedKey>>,
    due: Timestamp,
    until: Timestamp,
}

impl Plugin {
    pub(crate) fn new(definition: Definition) -> Arc<Self> {
        Self::patient(definition, PATIENCE)
    }

    pub(crate) fn patient(definition: Definition, patience: Duration) -> Arc<Self> {
        Arc::new(Self { definition, patience, state: Mutex::default() })
    }

    /// The credential to use now.
    pub(crate) async fn credential(self: &Arc<Self>) -> Result<Arc<Given>, PluginError> {
        let run = {
            let mut state = self.state.lock();
            let now = now();
            let valid = state.given.clone().filter(|given| now < given.until);
            if let Some(given) = valid.as_ref().filter(|given| now < given.due) {
                return Ok(Arc::clone(given));
            }
            if let Some((since, why)) = &state.failed
                && since.elapsed() < REST
            {
                return valid.ok_or_else(|| why.clone());
            }
            let run = state.run.get_or_insert_with(|| self.begin()).clone();
            if let Some(given) = valid {
                return Ok(given);
            }
            run
        };
        run.await
    }

    /// The error for those who cannot wait any longer, if there is nothing to do but to wait for a run.
    pub(crate) fn awaited(&self) -> Option<PluginError> {
        let (state, now) = (self.state.lock(), now());
        let is_without = state.given.as_ref().is_none_or(|given| now >= given.until);
        let command = || self.definition.command.clone();
        (is_without && state.run.is_some()).then(|| PluginError::Running { command: command() })
    }

    /// The API server does not know the credential, whatever its expiry says, so the next caller gets a new one.
    pub(crate) fn refused(&self) {
        let mut state = self.state.lock();
        if state.since.is_some_and(|since| since.elapsed() >= REFUSED_AFTER) {
            state.given = None;
        }
    }

    /// Runs the plugin in a task of its own, which goes on if those who wait for it give up.
    fn begin(self: &Arc<Self>) -> Run {
        let (plugin, command) = (Arc::clone(self), self.definition.command.clone());
        let task = tokio::spawn(async move {
            let ended = run(&plugin.definition, plugin.patience).await.map(Arc::new);
            let mut state = plugin.state.lock();
            state.run = None;
            match &ended {
                Ok(given) => {
                    state.given = Some(Arc::clone(given));
                    state.since = Some(Instant::now());
                    state.failed = None;
                }
                Err(why) => {
                    // Once, while it fails in the same way.
                    if state.failed.as_ref().is_none_or(|(_, before)| before != why) {
                        tracing::warn!(error = %why.on_one_line(), "no new credential for an API server");
                    }
                    state.failed = Some((Instant::now(), why.clone()));
                }
            }
            ended
        });
        let stopped = move |_| PluginError::Unusable { command, why: "was stopped with this program".to_owned() };
        async move { task.await.unwrap_or_else(|error| Err(stopped(error))) }.boxed().shared()
    }
}

/// The host's clock. A plugin states the expiry of its credential as a time of the day.
#[expect(
    clippy::disallowed_methods,
    reason = "a connection has no caller with a clock, and nothing is decided or recorded by it"
)]
fn now() -> Timestamp {
    Timestamp::now()
}

async fn run(definition: &Definition, patience: Duration) -> Result<Given, PluginError> {
    let mut child = start(definition).await?;
    // The process group has the same number (`process_group(0)`).
    let group = child.id();
    let (mut out, mut err) = (Zeroizing::new(Vec::new()), Vec::new());
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let ended = timeout(patience, async {
        let (answer, (), status) = tokio::join!(answer(stdout, &mut out), end_of(stderr, &mut err), child.wait());
        (answer, status)
    });
    let command = || definition.command.clone();
    let Ok((answer, status)) = ended.await else {
        // Not yet reaped, so the number is still that of this group.
        if let (Some(group), true) = (group.and_then(|id| i32::try_from(id).ok()), child.id().is_some()) {
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
        return Err(PluginError::Hung { command: command(), after: patience, said: last_line(&err) });
    };
    let unusable = |why: String| PluginError::Unusable { command: command(), why };
    // Before the status: it fails because we stopped reading.
    if out.len() > LARGEST_ANSWER {
        return Err(unusable(format!("printed more than {LARGEST_ANSWER} bytes")));
    }
    match status {
        Ok(status) if status.success() => {}
        Ok(status) => {
            return Err(PluginError::Failed { command: command(), status: status.to_string(), said: last_line(&err) });
        }
        Err(why) => return Err(unusable(format!("was lost: {why}"))),
    }
    answer.map_err(|why| unusable(format!("cannot be read: {why}")))?;
    given(&out, definition.version, now()).map_err(unusable)
}

async fn start(definition: &Definition) -> Result<Child, PluginError> {
    let not_run = |why: String| PluginError::NotRun {
        command: definition.command.clone(),
        why,
        install: definition.install.clone(),
    };
    let (definition, runtime) = (definition.clone(), tokio::runtime::Handle::current());
    let thread = Blocking::new(1);
    let started = thread.run(PATIENCE, move || {
        let program = find(&definition.command, &definition.folder)?;
        files::check_code(&program).map_err(|why| why.on_one_line())?;
        let mut command = Command::new(&program);
        command.args(&definition.args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for name in OURS_ALONE {
            command.env_remove(name);
        }
        command.envs(definition.env).env("KUBERNETES_EXEC_INFO", definition.info);
        // A group of its own, which is ended as a whole; in the background, it cannot read from a terminal either.
        command.process_group(0).kill_on_drop(true);
        let _inside = runtime.enter();
        command.spawn().map_err(|why| why.to_string())
    });
    started.await.unwrap_or_else(|why| Err(why.to_string())).map_err(not_run)
}

/// The program of a command: relative to the kubeconfig if it has a slash, otherwise from `PATH`.
fn find(command: &str, folder: &Path) -> Result<PathBuf, String> {
    if command.contains('/') {
        return Ok(folder.join(command));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).filter(|place| place.is_absolute()).map(|place| place.join(command));
    places.find(|place| place.is_file()).ok_or_else(|| "it is in no folder of `PATH`".to_owned())
}

/// Reads what a plugin prints, and stops after more than it may.
async fn answer(stdout: Option<impl AsyncRead + Unpin>, into: &mut Vec<u8>) -> std::io::Result<()> {
    if let Some(stdout) = stdout {
        stdout.take(LARGEST_ANSWER as u64 + 1).read_to_end(into).await?;
    }
    Ok(())
}

/// Reads what a plugin complains about to the end, so that it can go on, and keeps the last of it.
async fn end_of(stderr: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) {
    let Some(mut stderr) = stderr else { return };
    let mut buffer = [0; 1024];
    while let Ok(read @ 1..) = stderr.read(&mut buffer).await {
        kept.extend_from_slice(buffer.get(..read).unwrap_or_default());
        kept.drain(..kept.len().saturating_sub(KEPT_OF_STDERR));
    }
}

/// The last line that is not empty, as the end of a sentence.
fn last_line(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    match text.lines().rev().map(str::trim).find(|line| !line.is_empty()) {
        Some(line) => {
            let line: String = line.chars().filter(|c| !c.is_control()).take(300).collect();
            format!(": {line}")
        }
        None => String::new(),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Printed {
    api_version: String,
    kind: String,
    status: Option<Status>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    expiration_timestamp: Option<Timestamp>,
    token: Option<String>,
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
}

/// The credential in what a plugin printed; the error is a verb of the plugin.
fn given(out: &[u8], version: &str, now: Timestamp) -> Result<Given, String> {
    let printed: Printed = serde_json::from_slice(out).map_err(|why| {
        // Not the error itself, which can contain what was printed.
        format!("printed no ExecCredential: line {}, column {} is not as it should be", why.line(), why.column())
    })?;
    if printed.kind != "ExecCredential" {
        return Err("printed no ExecCredential".to_owned());
    }
    if printed.api_version != version {
        let other: String = printed.api_version.chars().take(100).flat_map(char::escape_default).collect();
        return Err(format!("printed a credential of apiVersion `{other}`, but the kubeconfig says `{version}`"));
    }
    let Some(status) = printed.status else { return Err("printed an ExecCredential without a status".to_owned()) };
    let filled = |text: Option<String>| text.filter(|text| !text.is_empty()).map(Zeroizing::new);
    let token = filled(status.token).map(|token| bearer(&token)).transpose();
    let token = token.map_err(|why| format!("printed a token that {why}"))?;
    let certificate = match (filled(status.client_certificate_data), filled(status.client_key_data)) {
        (Some(chain), Some(key)) => Some(
            certified_key(chain.as_bytes(), key.as_bytes())
                .map_err(|why| format!("printed a certificate and a key that cannot be used: {why}"))?,
        ),
        (None, None) => None,
        _ => return Err("printed only one of a certificate and its key".to_owned()),
    };
    if token.is_none() && certificate.is_none() {
        return Err("printed neither a token nor a certificate".to_owned());
    }
    let until = match status.expiration_timestamp {
        Some(until) if until <= now => return Err(format!("printed a credential that expired at {until}")),
        Some(until) => until,
        None => now.saturating_add(WITHOUT_EXPIRY).map_err(|why| why.to_string())?,
    };
    let before = (until.duration_since(now) / 4).min(BEFORE_EXPIRY);
    let due = until.saturating_sub(before).map_err(|why| why.to_string())?;
    Ok(Given { token, certificate, due, until })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_credential_that_the_api_server_does_not_know_is_replaced() {
        let script =
            r#"echo "{\"kind\": \"ExecCredential\", \"apiVersion\": \"v\", \"status\": {\"token\": \"t$$\"}}""#;
        let plugin = Plugin::new(Definition {
            command: "sh".to_owned(),
            folder: PathBuf::new(),
            args: vec!["-c".to_owned(), script.to_owned()],
            env: Vec::new(),
            version: "v",
            info: String::new(),
            install: None,
        });
        let first = plugin.credential().await.unwrap();
        plugin.refused();
        assert!(Arc::ptr_eq(&first, &plugin.credential().await.unwrap()), "it has just been given");
        plugin.state.lock().since = Instant::now().checked_sub(REFUSED_AFTER);
        plugin.refused();
        let second = plugin.credential().await.unwrap();
        assert_ne!(first.token, second.token);
        plugin.refused();
        assert!(Arc::ptr_eq(&second, &plugin.credential().await.unwrap()));
    }
}
