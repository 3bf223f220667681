//! `jitd scan --homes`: credentials in kubeconfig files below home directories, for as far as this account may read them.
//!
//! The files belong to others, who may put anything there: only regular files are opened, never through a symbolic link, and
//! nothing of their content is shown but the name of an entry. Tokens and keys are forgotten as soon as their digest is known.

use std::fs::{self, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jit_scan::credentials::{certificate, token};
use jit_scan::{KubeconfigUser, NotEvaluated, StandingCredential};
use nix::fcntl::OFlag;
use nix::unistd::{Uid, User};
use serde::Deserialize;

/// What home directories contain.
#[derive(Default)]
pub(super) struct Found {
    pub(super) users: Vec<KubeconfigUser>,
    pub(super) not_evaluated: Vec<NotEvaluated>,
}

/// A kubeconfig with the certificates of many clusters is far shorter.
const LONGEST: u64 = 1 << 20;
/// Of one folder.
const MOST_FILES: usize = 1_000;

/// Reads every file of `DIR/*/.kube`, and, if the folder is `/home`, what root has and kubeadm writes.
pub(super) fn read(folder: &Path) -> Found {
    let mut found = Found::default();
    let mut folders: Vec<PathBuf> = match found.list(folder) {
        Some(homes) => homes.into_iter().map(|home| home.join(".kube")).collect(),
        None => Vec::new(),
    };
    if folder == Path::new("/home") {
        folders.extend([PathBuf::from("/root/.kube"), PathBuf::from("/etc/kubernetes")]);
    }
    for folder in folders.into_iter().filter(|folder| folder.symlink_metadata().is_ok_and(|found| found.is_dir())) {
        for file in found.list(&folder).unwrap_or_default() {
            if file.symlink_metadata().is_ok_and(|found| found.is_file()) {
                found.file(&file);
            }
        }
    }
    found
}

impl Found {
    /// What is in a folder, in order.
    fn list(&mut self, folder: &Path) -> Option<Vec<PathBuf>> {
        let entries = fs::read_dir(folder).and_then(|entries| {
            let all: std::io::Result<Vec<PathBuf>> =
                entries.take(MOST_FILES + 1).map(|entry| entry.map(|entry| entry.path())).collect();
            all
        });
        match entries {
            Ok(mut all) => {
                all.sort();
                if all.len() > MOST_FILES {
                    all.truncate(MOST_FILES);
                    self.leave_out(folder, &format!("it contains more than {MOST_FILES} files"));
                }
                Some(all)
            }
            Err(why) => {
                self.leave_out(folder, &why.to_string());
                None
            }
        }
    }

    fn leave_out(&mut self, path: &Path, why: &str) {
        self.not_evaluated.push(NotEvaluated { what: path.to_string_lossy().into_owned(), why: why.to_owned() });
    }

    fn file(&mut self, path: &Path) {
        let opened = match Opened::open(path) {
            Ok(opened) => opened,
            Err(why) => return self.leave_out(path, &why.to_string()),
        };
        let parsed: Result<Kubeconfig, _> = serde_saphyr::from_slice(&opened.bytes);
        let Ok(kubeconfig) = parsed else {
            // Other tools keep files there too; what cannot contain a credential is not worth a line.
            let names = ["token", "client-certificate"];
            let text = String::from_utf8_lossy(&opened.bytes);
            if names.iter().any(|name| text.contains(name)) {
                self.leave_out(path, "it is no kubeconfig, and may contain a credential");
            }
            return;
        };
        for entry in kubeconfig.users.into_iter().flatten() {
            let user = entry.user.unwrap_or_default();
            match user.credential(path) {
                Ok(Some(credential)) => self.users.push(KubeconfigUser {
                    file: path.to_string_lossy().into_owned(),
                    owner: opened.owner.clone(),
                    mode: opened.mode,
                    entry: entry.name,
                    credential,
                }),
                Ok(None) => {}
                Err(why) => self.leave_out(path, &format!("the user `{}`: {why}", entry.name)),
            }
        }
    }
}

struct Opened {
    bytes: Vec<u8>,
    owner: String,
    mode: u32,
}

impl Opened {
    fn open(path: &Path) -> std::io::Result<Self> {
        // Neither a link to what only root may read, nor a pipe that nobody writes to.
        let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
        let about = file.metadata()?;
        if !about.is_file() {
            return Err(std::io::Error::other("it is no regular file"));
        }
        let mut bytes = Vec::new();
        file.take(LONGEST + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > LONGEST {
            return Err(std::io::Error::other("it is longer than 1 MiB"));
        }
        let owner = User::from_uid(Uid::from_raw(about.uid())).ok().flatten();
        let owner = owner.map_or_else(|| format!("uid {}", about.uid()), |owner| owner.name);
        Ok(Self { bytes, owner, mode: about.mode() & 0o7777 })
    }
}

#[derive(Deserialize)]
struct Kubeconfig {
    users: Option<Vec<Entry>>,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    user: Option<Credentials>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Credentials {
    token: Option<String>,
    #[serde(rename = "tokenFile")]
    token_file: Option<PathBuf>,
    client_certificate_data: Option<String>,
    client_certificate: Option<PathBuf>,
}

impl Credentials {
    /// The credential that works without anybody logging in; `client-go` prefers data to files.
    fn credential(self, kubeconfig: &Path) -> Result<Option<StandingCredential>, String> {
        let beside = |file: PathBuf| kubeconfig.parent().unwrap_or(Path::new("/")).join(file);
        let read =
            |file: PathBuf| Opened::open(&beside(file)).map(|opened| opened.bytes).map_err(|why| why.to_string());
        let pem = match (self.client_certificate_data.filter(|data| !data.is_empty()), self.client_certificate) {
            (Some(data), _) => Some(STANDARD.decode(data.trim()).map_err(|_| "its certificate is not base64")?),
            (None, Some(file)) => Some(read(file)?),
            (None, None) => None,
        };
        if let Some(pem) = pem {
            let certificate = certificate(&pem).map_err(|why| why.to_string())?;
            return Ok(Some(StandingCredential::Certificate(certificate)));
        }
        let text = match (self.token.filter(|token| !token.is_empty()), self.token_file) {
            (Some(text), _) => Some(text),
            (None, Some(file)) => Some(String::from_utf8_lossy(&read(file)?).into_owned()),
            (None, None) => None,
        };
        Ok(text.map(|text| StandingCredential::Token(token(&text))))
    }
}
