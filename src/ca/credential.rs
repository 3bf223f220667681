//! Keys and PINs as systemd credentials (systemd.exec(5), CREDENTIALS): `systemd-creds` seals them, a drop-in passes them
//! to the service, and the service reads them.
//! ```text
//!  /etc/credstore.encrypted/NAME   sealed to this host, and to its TPM if it has one
//!  /etc/credstore/NAME             readable by root only, if systemd is older than 250 and cannot seal
//!  $CREDENTIALS_DIRECTORY/NAME     what the service reads, in memory that is not swapped
//! ```
//! A plain text is never written if it can be sealed. A key's place, a token's PIN and the store call this.

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

use crate::files::{self, Existing, FileError};
use crate::grant::request::ClusterName;
use crate::hint::{Hint, page};

const SEALED: &str = "/etc/credstore.encrypted";
const PLAIN: &str = "/etc/credstore";
const DROP_INS: &str = "/etc/systemd/system/jitd.service.d";

/// Larger than any sealed key or PIN.
const MAX_BYTES: usize = 64 * 1024;

/// Why a credential cannot be read or created.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// systemd did not pass it to the service.
    #[error("systemd did not pass the credential `{0}` to this service")]
    NotGiven(CredentialName),
    /// It does not exist.
    #[error("neither `{SEALED}/{0}` nor `{PLAIN}/{0}` exists")]
    Missing(CredentialName),
    /// Somebody other than root wants to read it outside of the service.
    #[error("only the service and root may read the credential `{0}`")]
    RootOnly(CredentialName),
    /// `systemd-creds` failed.
    #[error("`systemd-creds {verb}` failed for the credential `{name}`: {why}")]
    Tool {
        /// The credential.
        name: CredentialName,
        /// `encrypt` or `decrypt`.
        verb: &'static str,
        /// Its error message.
        why: String,
        /// What to do.
        hint: Cow<'static, str>,
    },
    /// The sealed text does not match the original.
    #[error("the credential `{0}` was sealed, but cannot be read back unchanged; nothing was removed")]
    ReadBack(CredentialName),
    /// It contains another key.
    #[error("the credential `{name}` does not contain the key of `{other}`")]
    OtherKey {
        /// The credential.
        name: CredentialName,
        /// The file with the other key.
        other: String,
        /// The credential's file.
        path: String,
    },
    /// A file is not trusted, or could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
}

impl Hint for CredentialError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        Some(match self {
            Self::NotGiven(_) => "`systemctl cat jitd` shows its `LoadCredential…=` lines; after a change run `systemctl daemon-reload` and `systemctl restart jitd`".into(),
            Self::Missing(name) => {
                format!("`jitd init`, `jitd ca seal` or `systemd-creds encrypt --name={name}` creates it").into()
            }
            Self::RootOnly(_) => "run this with sudo".into(),
            Self::Tool { hint, .. } => hint.clone(),
            Self::ReadBack(_) => "check the disk and the TPM, then try again".into(),
            Self::OtherKey { path, .. } => format!("remove the key that does not belong to the authority: {path}").into(),
            Self::File(error) => return error.hint(),
        })
    }
}

/// The name of a credential: 1 to 80 of `A-Z a-z 0-9 . _ -`, not beginning with a dot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CredentialName(String);

impl CredentialName {
    /// The default name for the key of a cluster's authority.
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
            Err("a credential's name must be 1 to 80 of A-Z a-z 0-9 . _ - and must not begin with a dot".to_owned())
        }
    }
}

impl fmt::Display for CredentialName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Reads the credential that systemd passed to the service; outside of a service, root reads the sealed file.
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

/// Reads what is sealed under this name, as root.
pub(super) fn read_sealed(name: &CredentialName) -> Result<Option<Zeroizing<String>>, CredentialError> {
    let (sealed, plain) = (Path::new(SEALED).join(&name.0), Path::new(PLAIN).join(&name.0));
    if sealed.symlink_metadata().is_ok() {
        // It is sealed, so others may read the file; but anybody who can write it could replace the key.
        files::check_code(&sealed)?;
        let text = run(name, "decrypt", &[sealed.as_os_str(), "-".as_ref()], b"")?;
        return Ok(Some(text.ok_or_else(|| CredentialError::Tool {
            name: name.clone(),
            verb: "decrypt",
            why: "the command does not exist".to_owned(),
            hint: "the file was sealed by systemd 250 or later".into(),
        })?));
    }
    if plain.symlink_metadata().is_ok() {
        return Ok(Some(files::read_private(&plain)?));
    }
    Ok(None)
}

/// Seals `text` under this name, replacing what was there, and reads it back. A crash leaves either the old or the new one.
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

/// Writes the drop-in that passes the credential to the service, and returns its path.
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

/// The path of the credential's file.
pub(super) fn file(name: &CredentialName) -> PathBuf {
    let plain = Path::new(PLAIN).join(&name.0);
    if plain.symlink_metadata().is_ok() { plain } else { Path::new(SEALED).join(&name.0) }
}

fn put(folder: &str, name: &str, contents: &[u8], mode: u32) -> Result<(), CredentialError> {
    let folder = Path::new(folder);
    // Everybody may read drop-ins, only root may read credentials.
    let bits = if mode == 0o600 { 0o700 } else { 0o755 };
    DirBuilder::new().recursive(true).mode(bits).create(folder).map_err(|source| FileError::Io {
        path: folder.to_path_buf(),
        doing: "create",
        source,
    })?;
    Ok(files::write(folder, name, contents, mode, Existing::Replaced)?)
}

/// Runs `systemd-creds` and returns its output; none if this systemd does not have the command.
fn run(
    name: &CredentialName,
    verb: &'static str,
    arguments: &[&std::ffi::OsStr],
    input: &[u8],
) -> Result<Option<Zeroizing<String>>, CredentialError> {
    let failed = |why: String| {
        CredentialError::Tool {
        name: name.clone(),
        verb,
        why,
        hint: match verb {
            "decrypt" => format!(
                "a credential can be opened only on the host, and with the TPM, that sealed it; {} explains how to replace a host",
                page("keys.md")
            )
            .into(),
            _ => "`systemd-creds setup` creates the host's key".into(),
        },
    }
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

/// Both texts fit into a pipe, so neither side waits for the other.
fn talk(child: &mut Child, input: &[u8]) -> io::Result<(Zeroizing<String>, String)> {
    if let Some(mut stdin) = child.stdin.take() {
        match stdin.write_all(input) {
            // It ended before it read everything; its own message says why.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
            _ => {}
        }
    }
    let mut output = Zeroizing::new(Vec::with_capacity(MAX_BYTES + 1));
    if let Some(stdout) = child.stdout.take() {
        // A single allocation: a buffer that grows would leave copies of the key in freed memory.
        stdout.take(MAX_BYTES as u64).read_to_end(&mut output)?;
    }
    let mut said = String::new();
    if let Some(stderr) = child.stderr.take() {
        stderr.take(MAX_BYTES as u64).read_to_string(&mut said)?;
    }
    let text = str::from_utf8(&output).map_err(|_| io::Error::other("its output is not text"))?;
    Ok((Zeroizing::new(text.to_owned()), said))
}
