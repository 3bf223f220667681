//! The daemon as systemd runs it: says when it is ready and when it stops, and turns SIGTERM and SIGINT
//! into one signal to end. Without systemd the notices go nowhere.
//!
//! Called by `bin/jitd/serve.rs` only.

use tokio::signal::unix::{SignalKind, signal};

/// Tells systemd that the socket answers (sd_notify(3)), with a line for `systemctl status`.
pub fn ready(status: &str) {
    notify(&[("READY", "1"), ("STATUS", status)]);
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
