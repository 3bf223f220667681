//! The daemon as systemd runs it: the sockets that it hands over, the notices about readiness, reloads and
//! health, and what has to hold of the process before anybody is served.
//!
//! Nothing here decides or waits for anything but a signal. Without systemd the notices go nowhere, and no socket is
//! handed over. Called by `bin/jitd` only, before and beside the serving.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::Duration;

use libsystemd::activation::receive_descriptors_with_names;
use libsystemd::daemon::{self, NotifyState};
use libsystemd::errors::SdError;
use listenfd::ListenFd;
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::AcceptConn;
use nix::time::{ClockId, clock_gettime};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::hint::Hint;

// ---- sockets ----

/// The name of the socket that people call (`FileDescriptorName=` of `jitd.socket`).
pub const API: &str = "api";

/// The name of the socket of those who operate the daemon (`FileDescriptorName=` of `jitd-admin.socket`).
pub const ADMIN: &str = "admin";

/// Why a socket that was handed over can't be served.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Nothing is served under this name.
    #[error("systemd handed over a socket named `{0}`, and nothing is served there")]
    Unknown(String),
    /// Two of them have one name.
    #[error("systemd handed over two sockets named `{0}`")]
    Twice(String),
    /// It is something else.
    #[error("what systemd handed over as `{0}` is no listening Unix stream socket")]
    NotListening(String),
    /// What was handed over can't be told.
    #[error("the sockets that systemd hands over can't be read: {0}")]
    Unreadable(#[from] SdError),
    /// The kernel does not let us use it.
    #[error("the socket `{0}` that systemd handed over can't be used: {1}")]
    Unusable(String, std::io::Error),
}

impl Hint for SocketError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Unknown(_) => Some(format!("`FileDescriptorName=` is `{API}` or `{ADMIN}`").into()),
            Self::Twice(_) => Some("each `.socket` unit has one `ListenStream=`".into()),
            Self::NotListening(_) => {
                Some("its `.socket` unit has one `ListenStream=` with a path, and `Accept=no`".into())
            }
            Self::Unreadable(_) => Some("start `jitd serve` by its unit".into()),
            Self::Unusable(..) => None,
        }
    }
}

/// The sockets that systemd opened for the daemon, by name. They are systemd's: they outlive the daemon, whose restart
/// refuses no call, and it never removes one.
#[derive(Debug)]
pub struct Sockets(BTreeMap<String, UnixListener>);

/// A socket to serve at, with the path that it was opened at.
#[derive(Debug)]
pub struct Handed {
    /// Listening, and ready for the runtime.
    pub listener: tokio::net::UnixListener,
    /// Where it lies.
    pub path: PathBuf,
}

impl Sockets {
    /// Takes what systemd handed over (`sd_listen_fds`(3)); nothing outside of it. To be called once, before there are
    /// threads: the variables that say so are removed.
    ///
    /// # Errors
    /// [`SocketError`], when any of it can't be served.
    pub fn handed_over() -> Result<Self, SocketError> {
        // Asked first, for it leaves the variables that `from_env` removes; it keeps them from processes that it starts.
        let named = receive_descriptors_with_names(false)?;
        let mut descriptors = ListenFd::from_env();
        let mut sockets = BTreeMap::new();
        for index in 0..descriptors.len() {
            // sd_listen_fds_with_names(3) calls one without a name this.
            let name = named.get(index).map_or("unknown", |(_, name)| name).to_owned();
            if ![API, ADMIN].contains(&name.as_str()) {
                return Err(SocketError::Unknown(name));
            }
            match descriptors.take_unix_listener(index) {
                Ok(Some(listener)) if getsockopt(&listener, AcceptConn).is_ok_and(|listens| listens) => {
                    if sockets.insert(name.clone(), listener).is_some() {
                        return Err(SocketError::Twice(name));
                    }
                }
                _ => return Err(SocketError::NotListening(name)),
            }
        }
        Ok(Self(sockets))
    }

    /// The socket of this name, if it was handed over. Inside a runtime only.
    ///
    /// # Errors
    /// [`SocketError::Unusable`]; [`SocketError::NotListening`] for one without a path.
    pub fn take(&mut self, name: &str) -> Result<Option<Handed>, SocketError> {
        let Some(listener) = self.0.remove(name) else { return Ok(None) };
        let unusable = |error| SocketError::Unusable(name.to_owned(), error);
        listener.set_nonblocking(true).map_err(unusable)?;
        let address = listener.local_addr().map_err(unusable)?;
        let path = address.as_pathname().ok_or_else(|| SocketError::NotListening(name.to_owned()))?.to_owned();
        Ok(Some(Handed { listener: tokio::net::UnixListener::from_std(listener).map_err(unusable)?, path }))
    }
}

// ---- notices ----

/// Tells systemd that the socket answers (sd_notify(3)), with a line for `systemctl status`.
pub fn ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(status.to_owned())]);
}

/// Tells systemd that the start goes on, and takes longer than the unit allows (`TimeoutStartSec=`); to be told again until the
/// socket answers.
pub fn still_starting() {
    notify(&[NotifyState::Other(format!("EXTEND_TIMEOUT_USEC={}", GOES_ON_WITHIN.as_micros()))]);
}

/// Within what time a start that goes on tells so again: what lies between is thousands of events, or their sync at the end.
const GOES_ON_WITHIN: Duration = Duration::from_secs(120);

/// Tells systemd the line for `systemctl status`.
pub fn status(status: &str) {
    notify(&[NotifyState::Status(status.to_owned())]);
}

/// Tells systemd that the policy is being read again; [`ready`] ends it, also when nothing could be taken up.
/// For `Type=notify-reload` the moment on the monotonic clock has to come along (systemd.service(5)).
pub fn reloading() {
    match clock_gettime(ClockId::CLOCK_MONOTONIC) {
        Ok(moment) => {
            let microseconds = moment.tv_sec().saturating_mul(1_000_000).saturating_add(moment.tv_nsec() / 1_000);
            notify(&[NotifyState::Reloading, NotifyState::Other(format!("MONOTONIC_USEC={microseconds}"))]);
        }
        Err(error) => tracing::warn!(%error, "the monotonic clock can't be read, systemd is not told of the reload"),
    }
}

/// Tells systemd that no new call is taken.
pub fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// Within what time systemd wants to hear that we are alive, if it does (`WatchdogSec=`, `sd_watchdog_enabled`(3)).
pub fn watchdog() -> Option<Duration> {
    daemon::watchdog_enabled(false).filter(|limit| !limit.is_zero())
}

/// Feeds the watchdog.
pub fn alive() {
    notify(&[NotifyState::Watchdog]);
}

fn notify(state: &[NotifyState]) {
    if let Err(error) = daemon::notify(false, state) {
        tracing::warn!(%error, "systemd could not be told");
    }
}

// ---- signals ----

/// The requests to reload, from now on; without this SIGHUP would end the daemon.
///
/// # Errors
/// The signal can't be waited for.
pub fn reload_requests() -> std::io::Result<Signal> {
    signal(SignalKind::hangup())
}

/// The requests to end, from now on; before, they end the daemon in the midst of whatever it does.
pub struct StopRequests {
    terminate: Signal,
    interrupt: Signal,
}

impl StopRequests {
    /// Waits for SIGTERM and SIGINT from now on.
    ///
    /// # Errors
    /// The signals can't be waited for.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Returns when the daemon is asked to end, or was since [`StopRequests::new`].
    pub async fn come(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

// ---- the process ----

/// Keeps what is in memory, keys too, out of core dumps and away from other processes of the same account.
///
/// # Errors
/// The kernel refuses it.
pub fn keep_memory_private() -> nix::Result<()> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    prctl::set_dumpable(false)
}

/// Why the daemon can't tell who calls.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Blind {
    /// The user namespace has no numbers for the host's accounts.
    #[error(
        "only {0} accounts have a number in the user namespace of this process, so the kernel would name every caller 65534: all people would be the same"
    )]
    UserNamespace(u64),
    /// The map can't be read.
    #[error("`{UID_MAP}` can't be read, so nobody knows whether callers can be told apart: {0}")]
    Unknown(String),
}

impl Hint for Blind {
    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::UserNamespace(_) => Some(
                "run it without `PrivateUsers=` (`systemctl cat jitd`) and not in a user namespace of its own".into(),
            ),
            Self::Unknown(_) => None,
        }
    }
}

/// Whether the kernel can name callers to this process: a service with `PrivateUsers=yes` has a user namespace in which
/// only root and its own account have a number, and `SO_PEERCRED` says 65534 of everybody else.
///
/// # Errors
/// [`Blind`].
pub fn can_tell_callers_apart() -> Result<(), Blind> {
    let map = std::fs::read_to_string(UID_MAP).map_err(|error| Blind::Unknown(error.to_string()))?;
    match mapped(&map) {
        Some(accounts) if accounts >= ACCOUNTS => Ok(()),
        Some(accounts) => Err(Blind::UserNamespace(accounts)),
        None => Err(Blind::Unknown(format!("`{}` is not of its form", map.escape_default()))),
    }
}

/// Whether the logins of callers can be read: the kernel keeps them, and hides the processes of other accounts from this
/// one (`hidepid` of /proc, `ProtectProc=` of a unit). Where it keeps none there is nothing to see.
#[must_use]
pub fn callers_are_hidden() -> bool {
    // The first process is there and is seldom of our account; its login can be read by everybody who sees it.
    std::fs::exists("/proc/self/loginuid").unwrap_or(false) && std::fs::read("/proc/1/loginuid").is_err()
}

/// What gives the daemon the logins of callers back.
pub const SHOW_CALLERS: &str = "take `ProtectProc=` out of the drop-ins of jitd.service, and leave it `ProcSubset=pid`, with which it has a /proc of its own (systemd 247, Linux 5.8); without these mount /proc with `hidepid=0`, or with `gid=` and a group of `SupplementaryGroups=`; then restart jitd";

/// How /proc is mounted so that it hides processes from other accounts, as `hidepid=2` in a table like /proc/mounts
/// (proc(5)); none where it does not, or has a group that sees all.
#[must_use]
pub fn hides_processes(mounts: &str) -> Option<&str> {
    let mut words = mounts
        .lines()
        .map(|line| line.split_whitespace())
        .filter_map(|mut words| (words.nth(1)? == "/proc" && words.next()? == "proc").then_some(words.next()?));
    let mut options = words.next_back()?.split(',');
    let hides = options.clone().find(|option| option.starts_with("hidepid="))?;
    (!["hidepid=0", "hidepid=off"].contains(&hides) && !options.any(|option| option.starts_with("gid=")))
        .then_some(hides)
}

/// How many uids have a number here (user_namespaces(7): first inside, first outside, how many; a range a line).
fn mapped(map: &str) -> Option<u64> {
    map.lines().try_fold(0_u64, |sum, line| sum.checked_add(line.split_whitespace().nth(2)?.parse().ok()?))
}

const UID_MAP: &str = "/proc/self/uid_map";

/// All there are below 65534, which a container with accounts of its own has too (subuid(5)); the host has 4294967295.
const ACCOUNTS: u64 = 65_534;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proc_that_hides_processes_is_known_by_its_options() {
        let mounts =
            |options: &str| format!("/dev/sda / ext4 rw 0 0\nproc /proc proc rw{options} 0 0\ntmp /tmp tmpfs rw 0 0\n");
        for (options, expected) in [
            ("", None),
            (",hidepid=off", None),
            (",hidepid=2", Some("hidepid=2")),
            (",nosuid,hidepid=invisible", Some("hidepid=invisible")),
            (",gid=27,hidepid=2", None),
        ] {
            assert_eq!(hides_processes(&mounts(options)), expected, "{options}");
        }
        let over = format!("{}proc /proc proc rw 0 0\n", mounts(",hidepid=2"));
        assert_eq!(hides_processes(&over), None, "the last one counts");
    }

    #[test]
    fn a_map_counts_its_ranges() {
        let host = "         0          0 4294967295\n";
        let container = "         0     100000      65536\n";
        let rootless = "         0       1000          1\n         1     100000      65536\n";
        let private_users = "         0          0          1\n       997        997          1\n";
        let counts = [host, container, rootless, private_users, ""].map(mapped);
        assert_eq!(counts, [Some(4_294_967_295), Some(65_536), Some(65_537), Some(2), Some(0)]);
        assert_eq!(["0 0\n", "0 0 many\n"].map(mapped), [None, None]);
    }
}
