//! Whether kubectl works with this program: it is installed, new enough, has the plugin, and its kubeconfig names a grant
//! that is not over.
//!
//! It reads kubeconfigs, queries kubectl's version, and runs kubectl with live grants; it writes nothing. `doctor` calls it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::{Diagnosis, Grants, Standing, diagnosis};
use crate::cache::{Kept, credential_file, kubeconfig_file};
use crate::daemon::runtime;
use crate::folder::Folder;
use crate::probe::{Trouble, trouble};
use crate::text::{program, safe};

/// The first kubectl that supports exec credentials of client.authentication.k8s.io/v1.
const OLDEST_MINOR: u32 = 22;

pub(super) fn diagnoses(grants: &Grants) -> Vec<Diagnosis> {
    let mut diagnoses = vec![kubectl(), plugin()];
    diagnoses.extend(access(grants));
    diagnoses.extend(kubeconfigs().iter().flat_map(|path| kubeconfig(path, grants)));
    diagnoses
}

/// The grants that kubeconfigs name.
pub(super) fn named_grants() -> Vec<String> {
    let read = kubeconfigs().into_iter().filter_map(|path| Kubeconfig::read(&path).ok().flatten());
    read.flat_map(|file| file.entries.into_iter().map(|entry| entry.grant)).collect()
}

fn on_path(program: &str) -> Option<PathBuf> {
    let runs = |path: &PathBuf| {
        std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    let listed = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&listed).map(|folder| folder.join(program)).find(runs)
}

fn kubectl() -> Diagnosis {
    let Some(path) = on_path("kubectl") else {
        let fix = "install kubectl, or add its folder to PATH";
        return diagnosis("kubectl", Err(("it is not on PATH".to_owned(), fix.to_owned())));
    };
    let shown = safe(&path.display().to_string());
    let newer = format!("install kubectl 1.{OLDEST_MINOR} or later");
    diagnosis(
        "kubectl",
        match version(&path) {
            None => Err((format!("{shown} does not report its version"), newer)),
            Some((1, minor)) if minor < OLDEST_MINOR => {
                Err((format!("{shown} is 1.{minor}, which does not support this program's credentials"), newer))
            }
            Some((major, minor)) => Ok(format!("{shown}, {major}.{minor}")),
        },
    )
}

fn version(kubectl: &Path) -> Option<(u32, u32)> {
    let mut command = Command::new(kubectl);
    let output = command.args(["version", "--client", "--output", "json"]).stdin(Stdio::null()).output().ok()?;
    let version: Value = serde_json::from_slice(&output.stdout).ok()?;
    let text = version.get("clientVersion")?.get("gitVersion")?.as_str()?;
    let mut numbers = text.trim_start_matches('v').split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn plugin() -> Diagnosis {
    let own = std::env::current_exe().map_or("jit-login".to_owned(), |path| safe(&path.display().to_string()));
    diagnosis(
        "plugin",
        match on_path("kubectl-jit") {
            Some(path) => Ok(format!("`kubectl jit` is {}", safe(&path.display().to_string()))),
            None => Err((
                "`kubectl jit` is unknown: `kubectl-jit` is not on PATH".to_owned(),
                format!("run `ln -s {own} FOLDER/kubectl-jit` for a folder on PATH"),
            )),
        },
    )
}

/// Whether kubectl works with the live grants of this account.
fn access(grants: &Grants) -> Vec<Diagnosis> {
    let live = grants.iter().filter(|(_, standing)| **standing == Standing::Open).filter_map(|(id, _)| {
        let folder = Folder::holding(&credential_file(id)).ok()??;
        let kept = Kept::find(&folder, id).ok()??;
        Some((kept.what, folder.path_of(&kubeconfig_file(id))))
    });
    let Ok(runtime) = runtime() else { return Vec::new() };
    let tried = live.take(MOST_TRIED).map(|(what, kubeconfig)| {
        let result = match runtime.block_on(trouble(&kubeconfig)) {
            None => Ok(format!("kubectl works with {}", safe(&what))),
            Some(Trouble { what: said, hint }) => Err((format!("kubectl fails with {}: {said}", safe(&what)), hint)),
        };
        diagnosis("access", result)
    });
    tried.collect()
}

/// Each one runs kubectl, which calls an API server that may not answer.
const MOST_TRIED: usize = 5;

/// The files that kubectl reads.
fn kubeconfigs() -> Vec<PathBuf> {
    let listed = std::env::var_os("KUBECONFIG").unwrap_or_default();
    let named: Vec<PathBuf> = std::env::split_paths(&listed).filter(|path| !path.as_os_str().is_empty()).collect();
    // kubectl ignores a missing file if another one exists.
    if named.iter().any(|path| path.exists()) {
        return named.into_iter().filter(|path| path.exists()).collect();
    }
    if !named.is_empty() {
        return named;
    }
    let usual = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".kube/config"));
    usual.into_iter().filter(|path| path.exists()).collect()
}

fn kubeconfig(path: &Path, grants: &Grants) -> Vec<Diagnosis> {
    let shown = safe(&path.display().to_string());
    let one = |result| vec![diagnosis("kubeconfig", result)];
    let file = match Kubeconfig::read(path) {
        Ok(Some(file)) => file,
        Ok(None) => {
            return one(Err((
                format!("KUBECONFIG names {shown}, which does not exist"),
                "`unset KUBECONFIG`, or set it to what the last request printed".to_owned(),
            )));
        }
        Err(why) => {
            return one(Err((format!("{shown} cannot be read: {why}"), "correct it or move it away".to_owned())));
        }
    };
    let mut diagnoses = Vec::new();
    for Entry { name, grant, command } in &file.entries {
        let (context, id) = (safe(name), safe(grant));
        let standing = grants.get(grant);
        if !Path::new(command).exists() {
            diagnoses.push(diagnosis(
                "kubeconfig",
                Err((
                    format!("{shown} runs {}, which does not exist", safe(command)),
                    format!("write it again with `{} kubeconfig`", program()),
                )),
            ));
        } else if matches!(standing, Some(Standing::Over | Standing::Unknown)) {
            let again = format!("`{} request --again {id}` requests it again", program());
            let (found, fix) = if file.current == *name {
                let away = if std::env::var_os("KUBECONFIG").is_some() {
                    "`unset KUBECONFIG`"
                } else {
                    "`kubectl config use-context NAME`"
                };
                (format!("{shown} makes kubectl use the grant {id}, which is over"), format!("{away}; {again}"))
            } else {
                let remove =
                    ["context", "cluster", "user"].map(|kind| format!("kubectl config delete-{kind} {context}"));
                (format!("{shown} has a context of the grant {id}, which is over"), format!("`{}`", remove.join("; ")))
            };
            diagnoses.push(diagnosis("kubeconfig", Err((found, fix))));
        }
    }
    if diagnoses.is_empty() {
        return one(Ok(shown));
    }
    diagnoses
}

struct Kubeconfig {
    current: String,
    entries: Vec<Entry>,
}

/// One of our users in a kubeconfig; cluster, context and user have the same name.
struct Entry {
    name: String,
    grant: String,
    command: String,
}

impl Kubeconfig {
    /// None if the file does not exist.
    fn read(path: &Path) -> Result<Option<Self>, String> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.to_string().to_lowercase()),
        };
        let value: Value = serde_saphyr::from_str(&text)
            .map_err(|error| error.to_string().lines().next().unwrap_or_default().to_owned())?;
        let current = value.get("current-context").and_then(Value::as_str).unwrap_or_default().to_owned();
        let users = value.get("users").and_then(Value::as_array).into_iter().flatten();
        Ok(Some(Self { current, entries: users.filter_map(Entry::of).collect() }))
    }
}

impl Entry {
    fn of(user: &Value) -> Option<Self> {
        let name = user.get("name")?.as_str()?.to_owned();
        let exec = user.get("user")?.get("exec")?;
        let command = exec.get("command")?.as_str()?.to_owned();
        let arguments: Vec<&str> = exec.get("args")?.as_array()?.iter().filter_map(Value::as_str).collect();
        let grant = match arguments.as_slice() {
            ["credential", "--grant", grant, ..] => (*grant).to_owned(),
            _ => return None,
        };
        name.starts_with("jit:").then_some(Self { name, grant, command })
    }
}
