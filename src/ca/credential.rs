//! Keys and PINs as credentials of systemd's (systemd.exec(5), CREDENTIALS): read as the service is given them,
//! sealed by `systemd-creds`, and named to the service by a drop-in.
//! ```text
//!  /etc/credstore.encrypted/NAME   sealed to this host, and to its TPM where there is one
//!  /etc/credstore/NAME             root's alone, where systemd is older than 250 and can't seal
//!  $CREDENTIALS_DIRECTORY/NAME     as the service sees it, in memory that is not swapped
//! ```
//! A plain text is never written where a sealed one can be. Called by a key's place, a token's PIN and the store.

use std::borrow::Cow;
use std::fmt;
use std::fs::DirBuilder;
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::str::FromStr;

use nix::unistd::geteuid;
use zeroize::Zeroizing;

use crate::files::{self, FileError};
use crate::grant::request::ClusterName;
use crate::hint::{Hint, page};

use super::disk::{self, Existing};

const SEALED: &str = "/etc/credstore.encrypted";
const PLAIN: &str = "/etc/credstore";
const DROP_INS: &str = "/etc/systemd/system/jitd.service.d";

/// No sealed key or PIN comes near this.
const MAX_BYTES: usize = 64 * 1024;

/// Why a credential can't be had or made.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The service runs without it.
    #[error("systemd gave this service no credential `{0}`")]
    NotGiven(CredentialName),
    /// There is none.
    #[error("there is no `{SEALED}/{0}` and no `{PLAIN}/{0}`")]
    Missing(CredentialName),
    /// Somebody other than root asks outside of the service.
    #[error("the credential `{0}` is for the service and for root only")]
    RootOnly(CredentialName),
    /// `systemd-creds` failed.
    #[error("`systemd-creds {verb}` failed for the credential `{name}`: {why}")]
    Tool {
        /// The credential.
        name: CredentialName,
        /// `encrypt` or `decrypt`.
        verb: &'static str,
        /// What it said.
        why: String,
        /// What to do.
        hint: Cow<'static, str>,
    },
    /// What was sealed reads differently.
    #[error("the credential `{0}` was sealed, but reads differently; nothing was removed")]
    ReadBack(CredentialName),
    /// Another key lies there.
    #[error("the credential `{name}` holds another key than `{other}`")]
    OtherKey {
        /// The credential.
        name: CredentialName,
        /// Where a key lies too.
        other: String,
        /// The credential's file.
        path: String,
    },
    /// A file is not as it should be.
    #[error(transparent)]
    File(#[from] FileError),
}

impl Hint for CredentialError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        Some(match self {
            Self::NotGiven(_) => "`systemctl cat jitd` shows its `LoadCredential…=` lines, after a change `systemctl daemon-reload` and `systemctl restart jitd`".into(),
            Self::Missing(name) => {
                format!("`jitd init`, `jitd ca seal` or `systemd-creds encrypt --name={name}` makes it").into()
            }
            Self::RootOnly(_) => "run this with sudo".into(),
            Self::Tool { hint, .. } => hint.clone(),
            Self::ReadBack(_) => "look at the disk and the TPM, then try again".into(),
            Self::OtherKey { path, .. } => format!("remove the one that is not the authority's: {path}").into(),
            Self::File(error) => return error.hint(),
        })
    }
}

/// The name of a credential: 1 to 80 of `A-Z a-z 0-9 . _ -`, no dot first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CredentialName(String);

impl CredentialName {
    /// What the key of a cluster's authority is called where nobody chose a name.
    pub(super) fn of(cluster: &ClusterName) -> Self {
        Self(format!("jitd-ca-{cluster}"))
    }
}

impl FromStr for CredentialName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if (1..=80).contains(&name.len()) && !name.starts_with('.') && name.chars().all(legal) {
            Ok(Self(name.to_owned()))
        } else {
            Err("a credential's name is 1 to 80 of A-Z a-z 0-9 . _ - and begins with no dot".to_owned())
        }
    }
}

impl fmt::Display for CredentialName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The credential as the service was given it; outside of a service root reads what is sealed.
pub(super) fn read(name: &CredentialName) -> Result<Zeroizing<String>, CredentialError> {
    match std::env::var_os("CREDENTIALS_DIRECTORY") {
        Some(folder) => match files::read_credential(&Path::new(&folder).join(&name.0)) {
            Err(FileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Err(CredentialError::NotGiven(name.clone()))
            }
            other => Ok(other?),
        },
        None if geteuid().is_root() => read_sealed(name)?.ok_or_else(|| CredentialError::Missing(name.clone())),
        None => Err(CredentialError::RootOnly(name.clone())),
    }
}

/// What is sealed under this name, as root reads it.
pub(super) fn read_sealed(name: &CredentialName) -> Result<Option<Zeroizing<String>>, CredentialError> {
    let (sealed, plain) = (Path::new(SEALED).join(&name.0), Path::new(PLAIN).join(&name.0));
    if sealed.symlink_metadata().is_ok() {
        // It is sealed, so the file need not be private; but who could write it could put another key there.
        files::check_code(&sealed)?;
        let text = run(name, "decrypt", &[sealed.as_os_str(), "-".as_ref()], b"")?;
        return Ok(Some(text.ok_or_else(|| CredentialError::Tool {
            name: name.clone(),
            verb: "decrypt",
            why: "there is no such command".to_owned(),
            hint: "the file was sealed by systemd 250 or later".into(),
        })?));
    }
    if plain.symlink_metadata().is_ok() {
        return Ok(Some(files::read_private(&plain)?));
    }
    Ok(None)
}

/// Seals `text` under this name in the place of what was there, and reads it back. A crash leaves the one or the other.
pub(super) fn seal(name: &CredentialName, text: &str) -> Result<(), CredentialError> {
    if !geteuid().is_root() {
        return Err(CredentialError::RootOnly(name.clone()));
    }
    match run(name, "encrypt", &["--with-key=auto".as_ref(), "-".as_ref(), "-".as_ref()], text.as_bytes())? {
        Some(sealed) => put(SEALED, &name.0, sealed.as_bytes(), 0o600)?,
        None => put(PLAIN, &name.0, text.as_bytes(), 0o600)?,
    }
    match read_sealed(name)? {
        Some(found) if *found == text => Ok(()),
        _ => Err(CredentialError::ReadBack(name.clone())),
    }
}

/// Lets the service have the credential, and answers with the file that says so.
pub(super) fn write_drop_in(name: &CredentialName, cluster: &ClusterName) -> Result<PathBuf, CredentialError> {
    let source = file(name);
    let setting = if source.starts_with(SEALED) { "LoadCredentialEncrypted" } else { "LoadCredential" };
    let text = format!(
        "# The key of the authority of cluster {cluster}; written by `jitd ca seal`.\n[Service]\n{setting}={name}:{}\n",
        source.display()
    );
    let file = format!("ca-{cluster}.conf");
    put(DROP_INS, &file, text.as_bytes(), 0o644)?;
    Ok(Path::new(DROP_INS).join(file))
}

/// Where the credential lies on the disk.
pub(super) fn file(name: &CredentialName) -> PathBuf {
    let plain = Path::new(PLAIN).join(&name.0);
    if plain.symlink_metadata().is_ok() { plain } else { Path::new(SEALED).join(&name.0) }
}

fn put(folder: &str, name: &str, contents: &[u8], mode: u32) -> Result<(), CredentialError> {
    let folder = Path::new(folder);
    // Drop-ins are read by everybody, credentials by root.
    let bits = if mode == 0o600 { 0o700 } else { 0o755 };
    DirBuilder::new().recursive(true).mode(bits).create(folder).map_err(|source| FileError::Io {
        path: folder.to_path_buf(),
        doing: "make",
        source,
    })?;
    Ok(disk::write(folder, name, contents, mode, Existing::Replaced)?)
}

/// Runs `systemd-creds` and answers with what it printed; nothing when this systemd has no such command.
fn run(
    name: &CredentialName,
    verb: &'static str,
    arguments: &[&std::ffi::OsStr],
    input: &[u8],
) -> Result<Option<Zeroizing<String>>, CredentialError> {
    let failed = |why: String| CredentialError::Tool {
        name: name.clone(),
        verb,
        why,
        hint: match verb {
            "decrypt" => format!(
                "a credential opens only on the host, and with the TPM, that sealed it; {} says how to replace a host",
                page("keys.md")
            )
            .into(),
            _ => "`systemd-creds setup` makes the host's key".into(),
        },
    };
    let spawned = Command::new("systemd-creds")
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .arg(verb)
        .arg(format!("--name={name}"))
        .arg("--newline=no")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match spawned {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        spawned => spawned.map_err(|error| failed(error.to_string()))?,
    };
    let talked = talk(&mut child, input);
    let status = child.wait().map_err(|error| failed(error.to_string()))?;
    let (output, said) = talked.map_err(|error| failed(error.to_string()))?;
    if !status.success() {
        let said: String = said.trim().lines().next_back().unwrap_or_default().chars().take(300).collect();
        return Err(failed(said.escape_debug().to_string()));
    }
    Ok(Some(output))
}

/// Both texts are short enough to fit into a pipe, so neither side waits for the other.
fn talk(child: &mut Child, input: &[u8]) -> io::Result<(Zeroizing<String>, String)> {
    if let Some(mut stdin) = child.stdin.take() {
        match stdin.write_all(input) {
            // It ended before it had read everything, and says why.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
            _ => {}
        }
    }
    let mut output = Zeroizing::new(Vec::with_capacity(MAX_BYTES + 1));
    if let Some(stdout) = child.stdout.take() {
        // One allocation: growing would leave a copy of the key in freed memory.
        stdout.take(MAX_BYTES as u64).read_to_end(&mut output)?;
    }
    let mut said = String::new();
    if let Some(stderr) = child.stderr.take() {
        stderr.take(MAX_BYTES as u64).read_to_string(&mut said)?;
    }
    let text = str::from_utf8(&output).map_err(|_| io::Error::other("it is not a text"))?;
    Ok((Zeroizing::new(text.to_owned()), said))
}
