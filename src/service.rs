//! The daemon as systemd runs it: says when it is ready, reloads and stops, and turns SIGTERM and SIGINT
//! into one signal to end. Without systemd the notices go nowhere.
//!
//! Called by `bin/jitd/serve.rs` only.

use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::time::{ClockId, clock_gettime};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Tells systemd that the socket answers (sd_notify(3)), with a line for `systemctl status`.
pub fn ready(status: &str) {
    notify(&[("READY", "1"), ("STATUS", status)]);
}

/// Tells systemd that the policy is being read again; [`ready`] ends it, also when nothing could be taken up.
/// For `Type=notify-reload` the moment on the monotonic clock has to come along (systemd.service(5)).
pub fn reloading() {
    match clock_gettime(ClockId::CLOCK_MONOTONIC) {
        Ok(moment) => {
            let microseconds = moment.tv_sec().saturating_mul(1_000_000).saturating_add(moment.tv_nsec() / 1_000);
            notify(&[("RELOADING", "1"), ("MONOTONIC_USEC", &microseconds.to_string())]);
        }
        Err(error) => tracing::warn!(%error, "the monotonic clock can't be read, systemd is not told of the reload"),
    }
}

/// The requests to reload, from now on; without this SIGHUP would end the daemon.
///
/// # Errors
/// The signal can't be waited for.
pub fn reload_requests() -> std::io::Result<Signal> {
    signal(SignalKind::hangup())
}

/// Tells systemd that no new call is taken.
pub fn stopping() {
    notify(&[("STOPPING", "1")]);
}

fn notify(state: &[(&str, &str)]) {
    if let Err(error) = systemd::daemon::notify(state.iter()) {
        tracing::warn!(%error, "systemd could not be told");
    }
}

/// Returns when the daemon is asked to end.
///
/// # Errors
/// The signals can't be waited for.
pub async fn asked_to_stop() -> std::io::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Keeps what is in memory, keys too, out of core dumps and away from other processes of the same account.
///
/// # Errors
/// The kernel refuses it.
pub fn keep_memory_private() -> nix::Result<()> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    prctl::set_dumpable(false)
}
