//! The TCP socket that a service listens on.

use std::net::SocketAddr;

use listenfd::ListenFd;
use tokio::net::TcpListener;

use super::Failure;

/// The socket that systemd opened, if it opened one (`sd_listen_fds`(3)). Must be called once, before any thread is started,
/// because it removes environment variables.
///
/// # Errors
/// [`Failure`] if it is not a listening TCP socket.
pub fn handed_over() -> Result<Option<std::net::TcpListener>, Failure> {
    ListenFd::from_env().take_tcp_listener(0).map_err(unusable)
}

/// Listens on the socket that systemd handed over, or else at `listen` of the configuration.
///
/// # Errors
/// [`Failure`].
pub async fn listening(
    handed: Option<std::net::TcpListener>,
    listen: Option<SocketAddr>,
) -> Result<TcpListener, Failure> {
    if let Some(handed) = handed {
        handed.set_nonblocking(true).map_err(unusable)?;
        return TcpListener::from_std(handed).map_err(unusable);
    }
    let Some(address) = listen else {
        let why = "systemd handed over no socket, and the configuration has no `listen`";
        return Err(Failure::configuration(why));
    };
    TcpListener::bind(address).await.map_err(|error| Failure::other(format!("cannot listen at {address}: {error}")))
}

fn unusable(error: std::io::Error) -> Failure {
    Failure::other(format!("cannot use the socket from systemd: {error}"))
}
