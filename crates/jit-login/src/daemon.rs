//! Where the daemon is: its socket and its expected account, or the front end of a bastion; and the connection.
//!
//! The command line has priority over the environment. The commands and the exec plugin call it.

use std::path::{Path, PathBuf};

use jit_wire::client::{Client, DEFAULT_SOCKET, Trust, is_socket};

use crate::bastion::{Bastion, Bastions, is_url};
use crate::failure::Failure;

/// The daemon's socket and its expected account, or the URL of a front end.
#[derive(Clone, Debug)]
pub(crate) struct Daemon {
    /// The socket, or the URL.
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
        let socket =
            socket.filter(|path| !path.as_os_str().is_empty()).or_else(|| variable("JITD_SOCKET").map(PathBuf::from));
        let socket = match socket {
            Some(socket) => socket,
            // A file that cannot be used is reported by `login`, and must not stop anybody who is on the bastion.
            None if !is_socket(Path::new(DEFAULT_SOCKET)) => {
                let current = Bastions::read().ok().and_then(|bastions| bastions.current);
                current.map_or_else(|| DEFAULT_SOCKET.into(), PathBuf::from)
            }
            None => DEFAULT_SOCKET.into(),
        };
        let server_user = match server_user.filter(|name| !name.is_empty()) {
            Some(name) => Some(name.to_owned()),
            None => variable("JITD_USER").map(|name| name.to_string_lossy().into_owned()),
        };
        let trust = server_user.as_deref().map_or(Ok(Trust::FolderOwner), |name| account(name).map(Trust::User))?;
        match socket.to_str().filter(|word| word.contains("://")) {
            Some(url) if is_url(url) => return Ok(Self { socket, trust, server_user }),
            Some(url) => {
                let why = format!("`{}` is neither a path nor the URL of a bastion", url.escape_debug());
                return Err(Failure::usage(why, "write the path of the daemon's socket, or https://HOST:PORT"));
            }
            None => {}
        }
        Ok(Self { socket: std::path::absolute(&socket).unwrap_or(socket), trust, server_user })
    }

    /// The bastion, if the daemon is behind a front end.
    pub(crate) fn bastion(&self) -> Result<Option<Bastion>, Failure> {
        let Some(url) = self.socket.to_str().filter(|word| is_url(word)) else { return Ok(None) };
        let unknown = || {
            let hint = "log in with the whole line that `jit-frontend invite` prints";
            Failure::usage(format!("this account has not logged in to {url}"), hint)
        };
        Bastions::read()?.find(url).cloned().map(Some).ok_or_else(unknown)
    }

    /// Connects again; elsewhere than on the bastion, with a new ID token.
    pub(crate) async fn connect_afresh(&self) -> Result<Client, Failure> {
        match self.bastion()? {
            Some(bastion) => bastion.freshen().await,
            None => self.connect().await,
        }
    }

    /// Connects.
    pub(crate) async fn connect(&self) -> Result<Client, Failure> {
        if let Some(bastion) = self.bastion()? {
            return bastion.connect().await;
        }
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
