//! The daemon as a systemd service: socket activation, notifications about readiness, reloads and health, and the
//! properties that the process must have before it serves anybody.
//!
//! Nothing here decides anything, or waits for anything but a signal. Without systemd, notifications are discarded and
//! there are no activated sockets. Only `bin/jitd` calls this, before and while it serves.

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

/// The name of the users' socket (`FileDescriptorName=` of `jitd.socket`).
pub const API: &str = "api";

/// The name of the admin socket (`FileDescriptorName=` of `jitd-admin.socket`).
pub const ADMIN: &str = "admin";

/// The name of the gateway's socket (`FileDescriptorName=` of `jitd-feed.socket`).
pub const FEED: &str = "feed";

/// The name of the socket of `jit-notify` (`FileDescriptorName=` of `jitd-notify.socket`).
pub const NOTIFY: &str = "notify";

/// The name of the front end's socket (`FileDescriptorName=` of `jitd-frontend.socket`).
pub const FRONTEND: &str = "frontend";

/// Why a socket from systemd cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// jitd has no socket of this name.
    #[error("systemd passed a socket named `{0}`, which jitd does not use")]
    Unknown(String),
    /// Two sockets have the same name.
    #[error("systemd passed two sockets named `{0}`")]
    Twice(String),
    /// It is not a listening Unix socket.
    #[error("the file descriptor `{0}` from systemd is not a listening Unix stream socket")]
    NotListening(String),
    /// The names of the sockets cannot be read.
    #[error("cannot read the sockets from systemd: {0}")]
    Unreadable(#[from] SdError),
    /// The kernel does not let us use it.
    #[error("cannot use the socket `{0}` from systemd: {1}")]
    Unusable(String, std::io::Error),
}

impl Hint for SocketError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Unknown(_) => Some(
                format!("`FileDescriptorName=` must be `{API}`, `{ADMIN}`, `{FEED}`, `{NOTIFY}` or `{FRONTEND}`")
                    .into(),
            ),
            Self::Twice(_) => Some("each `.socket` unit must have one `ListenStream=`".into()),
            Self::NotListening(_) => {
                Some("its `.socket` unit must have one `ListenStream=` with a path, and `Accept=no`".into())
            }
            Self::Unreadable(_) => Some("start `jitd serve` through its systemd unit".into()),
            Self::Unusable(..) => None,
        }
    }
}

/// The sockets that systemd opened for the daemon, by name. They belong to systemd: they outlive the daemon, so that a
/// restart refuses no call, and the daemon never removes one.
#[derive(Debug)]
pub struct Sockets(BTreeMap<String, UnixListener>);

/// A listening socket and its path.
#[derive(Debug)]
pub struct Handed {
    /// The listener, registered with the runtime.
    pub listener: tokio::net::UnixListener,
    /// The path of the socket.
    pub path: PathBuf,
}

impl Sockets {
    /// Takes the sockets from systemd (`sd_listen_fds`(3)); there are none without it. Must be called once, before any
    /// thread is started, because it removes the environment variables.
    ///
    /// # Errors
    /// [`SocketError`] if any of them cannot be served.
    pub fn handed_over() -> Result<Self, SocketError> {
        // Called first, because it keeps the variables that `from_env` removes; it sets close-on-exec on the sockets.
        let named = receive_descriptors_with_names(false)?;
        let mut descriptors = ListenFd::from_env();
        let mut sockets = BTreeMap::new();
        for index in 0..descriptors.len() {
            // The name of an unnamed one, as in sd_listen_fds_with_names(3).
            let name = named.get(index).map_or("unknown", |(_, name)| name).to_owned();
            if ![API, ADMIN, FEED, NOTIFY, FRONTEND].contains(&name.as_str()) {
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

    /// The socket of this name, if systemd passed one. Must be called inside a runtime.
    ///
    /// # Errors
    /// [`SocketError::Unusable`]; [`SocketError::NotListening`] for a socket without a path.
    pub fn take(&mut self, name: &str) -> Result<Option<Handed>, SocketError> {
        let Some(listener) = self.0.remove(name) else { return Ok(None) };
        let unusable = |error| SocketError::Unusable(name.to_owned(), error);
        listener.set_nonblocking(true).map_err(unusable)?;
        let address = listener.local_addr().map_err(unusable)?;
        let path = address.as_pathname().ok_or_else(|| SocketError::NotListening(name.to_owned()))?.to_owned();
        Ok(Some(Handed { listener: tokio::net::UnixListener::from_std(listener).map_err(unusable)?, path }))
    }
}

// ---- notifications ----

/// Notifies systemd that the daemon is ready (sd_notify(3)), with a line for `systemctl status`.
pub fn ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(status.to_owned())]);
}

/// Notifies systemd that the start continues and may take longer than `TimeoutStartSec=`. Must be repeated until the
/// daemon is ready.
pub fn still_starting() {
    notify(&[NotifyState::Other(format!("EXTEND_TIMEOUT_USEC={}", GOES_ON_WITHIN.as_micros()))]);
}

/// The time within which a long start must notify systemd again: in between it migrates thousands of events, or syncs
/// them at the end.
const GOES_ON_WITHIN: Duration = Duration::from_secs(120);

/// Sets the line for `systemctl status`.
pub fn status(status: &str) {
    notify(&[NotifyState::Status(status.to_owned())]);
}

/// Notifies systemd that the policy is being reloaded; [`ready`] ends the reload, even a failed one. With
/// `Type=notify-reload` the notification must contain the time of the monotonic clock (systemd.service(5)).
pub fn reloading() {
    match clock_gettime(ClockId::CLOCK_MONOTONIC) {
        Ok(moment) => {
            let microseconds = moment.tv_sec().saturating_mul(1_000_000).saturating_add(moment.tv_nsec() / 1_000);
            notify(&[NotifyState::Reloading, NotifyState::Other(format!("MONOTONIC_USEC={microseconds}"))]);
        }
        Err(error) => {
            tracing::warn!(%error, "cannot read the monotonic clock, so systemd is not notified of the reload")
        }
    }
}

/// Notifies systemd that the daemon is stopping.
pub fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// The watchdog's time limit, if the unit has a watchdog (`WatchdogSec=`, `sd_watchdog_enabled`(3)).
pub fn watchdog() -> Option<Duration> {
    daemon::watchdog_enabled(false).filter(|limit| !limit.is_zero())
}

/// Notifies the watchdog that the daemon is alive.
pub fn alive() {
    notify(&[NotifyState::Watchdog]);
}

fn notify(state: &[NotifyState]) {
    if let Err(error) = daemon::notify(false, state) {
        tracing::warn!(%error, "could not notify systemd");
    }
}

// ---- signals ----

/// Reload requests from now on; without this, SIGHUP would end the daemon.
///
/// # Errors
/// The signal handler cannot be installed.
pub fn reload_requests() -> std::io::Result<Signal> {
    signal(SignalKind::hangup())
}

/// Stop requests from now on; before this exists, they end the daemon immediately.
pub struct StopRequests {
    terminate: Signal,
    interrupt: Signal,
}

impl StopRequests {
    /// Handles SIGTERM and SIGINT from now on.
    ///
    /// # Errors
    /// The signal handlers cannot be installed.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Returns when a stop is requested, or was requested since [`StopRequests::new`].
    pub async fn come(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

// ---- the process ----

/// Protects the process's memory, which contains keys, from core dumps and from other processes of the same account.
///
/// # Errors
/// The kernel refuses it.
pub fn keep_memory_private() -> nix::Result<()> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    prctl::set_dumpable(false)
}

/// Why the daemon cannot identify its callers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Blind {
    /// The user namespace does not map the host's accounts.
    #[error(
        "the user namespace of this process maps only {0} accounts, so the kernel would report uid 65534 for every caller and all people would look the same"
    )]
    UserNamespace(u64),
    /// The map cannot be read.
    #[error("cannot read `{UID_MAP}`, so it is unknown whether callers can be distinguished: {0}")]
    Unknown(String),
}

impl Hint for Blind {
    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::UserNamespace(_) => Some(
                "run it without `PrivateUsers=` (`systemctl cat jitd`) and outside a separate user namespace".into(),
            ),
            Self::Unknown(_) => None,
        }
    }
}

/// Checks that the kernel can identify callers to this process. A service with `PrivateUsers=yes` has a user namespace
/// that maps only root and its own account; `SO_PEERCRED` then reports 65534 for everybody else.
///
/// # Errors
/// [`Blind`].
pub fn can_tell_callers_apart() -> Result<(), Blind> {
    let map = std::fs::read_to_string(UID_MAP).map_err(|error| Blind::Unknown(error.to_string()))?;
    match mapped(&map) {
        Some(accounts) if accounts >= ACCOUNTS => Ok(()),
        Some(accounts) => Err(Blind::UserNamespace(accounts)),
        None => Err(Blind::Unknown(format!("`{}` is malformed", map.escape_default()))),
    }
}

/// Whether the kernel records the logins of callers but hides them from this process (`hidepid` of /proc,
/// `ProtectProc=` of a unit). If the kernel records no logins, nothing is hidden.
#[must_use]
pub fn callers_are_hidden() -> bool {
    // Process 1 always exists and rarely runs under our account; whoever can see it can read its login.
    std::fs::exists("/proc/self/loginuid").unwrap_or(false) && std::fs::read("/proc/1/loginuid").is_err()
}

/// The hint for making the logins of callers visible to the daemon.
pub const SHOW_CALLERS: &str = "remove `ProtectProc=` from the drop-ins of jitd.service and keep `ProcSubset=pid`, which gives it a /proc of its own (systemd 247, Linux 5.8); on older systems mount /proc with `hidepid=0`, or with `gid=` and a group of `SupplementaryGroups=`; then restart jitd";

/// The mount option, such as `hidepid=2`, by which /proc hides the processes of other accounts; `mounts` has the format
/// of /proc/mounts (proc(5)). `None` if /proc hides nothing, or has a group that sees everything.
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

/// How many uids the map contains (user_namespaces(7): first uid inside, first uid outside, length; one range per
/// line).
fn mapped(map: &str) -> Option<u64> {
    map.lines().try_fold(0_u64, |sum, line| sum.checked_add(line.split_whitespace().nth(2)?.parse().ok()?))
}

const UID_MAP: &str = "/proc/self/uid_map";

/// All uids below 65534; a container with its own accounts has as many too (subuid(5)). The host has 4294967295.
const ACCOUNTS: u64 = 65_534;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proc_that_hides_processes_is_recognized_by_its_options() {
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
    fn the_ranges_of_a_map_are_added_up() {
        let host = "         0          0 4294967295\n";
        let container = "         0     100000      65536\n";
        let rootless = "         0       1000          1\n         1     100000      65536\n";
        let private_users = "         0          0          1\n       997        997          1\n";
        let counts = [host, container, rootless, private_users, ""].map(mapped);
        assert_eq!(counts, [Some(4_294_967_295), Some(65_536), Some(65_537), Some(2), Some(0)]);
        assert_eq!(["0 0\n", "0 0 many\n"].map(mapped), [None, None]);
    }
}
