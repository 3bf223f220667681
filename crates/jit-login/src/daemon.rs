//! The daemon's socket, its expected account, and the connection.
//!
//! The command line has priority over the environment. The commands and the exec plugin call it.

use std::path::PathBuf;

use jit_wire::client::{Client, DEFAULT_SOCKET, Trust};

use crate::failure::Failure;

/// The daemon's socket and its expected account.
#[derive(Clone, Debug)]
pub(crate) struct Daemon {
    /// The socket.
    pub(crate) socket: PathBuf,
    /// Which server to accept.
    pub(crate) trust: Trust,
    /// The account as given, for the kubeconfig.
    pub(crate) server_user: Option<String>,
}

impl Daemon {
    /// From the command line or the environment.
    pub(crate) fn new(socket: Option<PathBuf>, server_user: Option<&str>) -> Result<Self, Failure> {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let socket = socket
            .filter(|path| !path.as_os_str().is_empty())
            .or_else(|| variable("JITD_SOCKET").map(PathBuf::from))
            .unwrap_or_else(|| DEFAULT_SOCKET.into());
        let server_user = match server_user.filter(|name| !name.is_empty()) {
            Some(name) => Some(name.to_owned()),
            None => variable("JITD_USER").map(|name| name.to_string_lossy().into_owned()),
        };
        let trust = server_user.as_deref().map_or(Ok(Trust::FolderOwner), |name| account(name).map(Trust::User))?;
        Ok(Self { socket: std::path::absolute(&socket).unwrap_or(socket), trust, server_user })
    }

    /// Connects.
    pub(crate) async fn connect(&self) -> Result<Client, Failure> {
        Ok(Client::connect(&self.socket, self.trust).await?)
    }
}

fn account(name: &str) -> Result<u32, Failure> {
    if let Ok(uid) = name.parse() {
        return Ok(uid);
    }
    match nix::unistd::User::from_name(name) {
        Ok(Some(user)) => Ok(user.uid.as_raw()),
        _ => Err(Failure::usage(
            format!("the account `{name}` does not exist"),
            "--server-user must be the account that jitd runs as",
        )),
    }
}

/// The runtime of the commands that call the daemon; it uses only this thread.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
    built.map_err(|error| Failure::own(format!("cannot start: {error}"), ""))
}
