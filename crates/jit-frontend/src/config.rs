//! The front end's own file, `/etc/jit-frontend/config.yaml`.
//!
//! ```yaml
//! server: https://bastion.example.com:6445
//! providers:
//! - name: corp
//!   issuer: https://login.example.com/realms/corp
//!   audience: jit-login
//!   displayName: {claim: /preferred_username}
//!   groups: {claim: /groups, map: {payments-leads: payments-leads}}
//! ```
//! A file with an unknown key, or a provider that cannot be used, is refused as a whole.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use jit_core::grant::request::Window;
use jit_host::configuration::{self, ConfigError};
use jit_identity::Providers;
use jit_serving::host_of;
use serde::Deserialize;

/// The configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it listens, if systemd does not hand a socket over.
    pub listen: Option<SocketAddr>,
    /// The URL that people get. It is part of each nonce.
    pub server: String,
    /// The host name or address in `server`.
    pub host: String,
    /// The socket of the daemon.
    pub daemon: PathBuf,
    /// The folder of the serving authority.
    pub state: PathBuf,
    /// The administrator's certificate, instead of one of the serving authority.
    pub certificate: Option<CertificateFiles>,
    /// How long a session lasts.
    pub session: Window,
    /// The scopes that clients ask the providers for.
    pub scopes: Vec<String>,
    /// The identity providers.
    pub providers: Providers,
}

/// A certificate with its chain, and its key, PEM.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CertificateFiles {
    /// The certificate, then the certificates above it.
    pub chain: PathBuf,
    /// The key.
    pub key: PathBuf,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    listen: Option<SocketAddr>,
    server: String,
    #[serde(default = "daemon")]
    daemon: PathBuf,
    #[serde(default = "state")]
    state: PathBuf,
    certificate: Option<CertificateFiles>,
    session: Option<Window>,
    #[serde(default = "scopes")]
    scopes: Vec<String>,
    providers: Providers,
}

fn daemon() -> PathBuf {
    jit_wire::frontend::DEFAULT_SOCKET.into()
}

fn state() -> PathBuf {
    "/var/lib/jit-frontend".into()
}

fn scopes() -> Vec<String> {
    ["openid", "profile"].map(str::to_owned).into()
}

impl Config {
    /// Reads the file. Paths in it are relative to its folder.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let fault = |why: String| ConfigError::new(path, &why);
        let file: File = configuration::read(path, "frontend.md")?;
        let folder = path.parent().unwrap_or(Path::new("."));
        let host = host_of(&file.server)
            .ok_or_else(|| fault(format!("`server` must be `https://HOST[:PORT]`, not `{}`", file.server)))?;
        if !file.scopes.iter().any(|scope| scope == "openid") {
            return Err(fault("`scopes` must contain `openid`, without which there is no ID token".to_owned()));
        }
        let at =
            |files: CertificateFiles| CertificateFiles { chain: folder.join(files.chain), key: folder.join(files.key) };
        Ok(Self {
            listen: file.listen,
            server: file.server.trim_end_matches('/').to_owned(),
            host,
            daemon: folder.join(file.daemon),
            state: folder.join(file.state),
            certificate: file.certificate.map(at),
            session: file.session.unwrap_or(Window::EIGHT_HOURS),
            scopes: file.scopes,
            providers: file.providers,
        })
    }
}
