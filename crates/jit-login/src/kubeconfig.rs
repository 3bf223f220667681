//! The kubeconfig of one grant, and how it is merged into an existing one.
//!
//! It contains no secret: kubectl runs this program to get the credential. A merge changes only entries whose names begin
//! with `jit:`, changes the current context only on request, and writes nothing if the file cannot be written back
//! unchanged. The choice of the file and its lock follow client-go. The commands `request`, `wait`, `kubeconfig` and `run`
//! call it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::cache::{Kept, is_ours};
use crate::daemon::Daemon;
use crate::failure::Failure;
use crate::folder::{Folder, file_name};
use crate::output::{say, yaml};
use crate::text::program;
use jit_wire::client::DEFAULT_SOCKET;

/// The kubeconfig of one grant.
#[derive(Clone, Debug)]
pub(crate) struct Kubeconfig {
    name: String,
    value: Value,
}

const OURS: &str = "jit:";
const LISTS: [&str; 3] = ["clusters", "contexts", "users"];

impl Kubeconfig {
    /// The kubeconfig that makes kubectl run this program.
    pub(crate) fn of(grant: &str, kept: &Kept, daemon: &Daemon) -> Result<Self, Failure> {
        let short: String = grant.chars().take(8).collect();
        let name = format!("{OURS}{}:{short}", kept.cluster.name);
        let mut arguments = vec!["credential".to_owned(), "--grant".to_owned(), grant.to_owned()];
        if daemon.socket != Path::new(DEFAULT_SOCKET) {
            arguments.extend(["--socket".to_owned(), daemon.socket.to_string_lossy().into_owned()]);
        }
        if let Some(user) = &daemon.server_user {
            arguments.extend(["--server-user".to_owned(), user.clone()]);
        }
        let mut cluster = Map::new();
        cluster.insert("server".to_owned(), json!(kept.cluster.server));
        if !kept.cluster.certificate_authority.is_empty() {
            let authority = STANDARD.encode(&kept.cluster.certificate_authority);
            cluster.insert("certificate-authority-data".to_owned(), json!(authority));
        }
        let mut context = Map::new();
        context.insert("cluster".to_owned(), json!(name));
        context.insert("user".to_owned(), json!(name));
        if let Some(namespace) = &kept.namespace {
            context.insert("namespace".to_owned(), json!(namespace));
        }
        let exec = json!({
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": own_path()?,
            "args": arguments,
            "env": null,
            "interactiveMode": "IfAvailable",
            "provideClusterInfo": true,
            "installHint": "jit-login is part of jitd; install its package on this host",
        });
        let value = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": name, "cluster": cluster}],
            "contexts": [{"name": name, "context": context}],
            "users": [{"name": name, "user": {"exec": exec}}],
            "current-context": name,
            "preferences": {},
        });
        Ok(Self { name, value })
    }

    /// The name of its cluster, context and user.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// As JSON.
    pub(crate) fn value(&self) -> &Value {
        &self.value
    }

    /// The kubeconfig as YAML.
    pub(crate) fn yaml(&self) -> Result<String, Failure> {
        yaml(&self.value)
    }

    /// Writes it to a separate file; replaces only a kubeconfig that contains nothing but our entries.
    pub(crate) fn write_to(&self, path: &Path) -> Result<(), Failure> {
        let (folder, name) = place(path)?;
        if let Some(text) = folder.read(name)? {
            let ours = parse(&text).is_ok_and(|found| LISTS.iter().all(|list| entries(&found, list).all(is_our_entry)));
            if !ours {
                return Err(Failure::usage(
                    format!("`{}` exists and contains other entries than grants", path.display()),
                    "name another file, or use --merge to add the grant to it",
                ));
            }
        }
        folder.write(name, &self.yaml()?)
    }

    /// Merges it into the kubeconfig `file`, or into the one that `kubectl config` would write to, replacing our entries of
    /// the same name; returns the file that contains the entries.
    pub(crate) fn merge(&self, file: Option<PathBuf>, make_current: bool) -> Result<PathBuf, Failure> {
        let listed = std::env::var_os("KUBECONFIG").unwrap_or_default();
        let sources = match file {
            Some(file) => Sources(vec![file]),
            None => Sources::of(&listed, std::env::var_os("HOME").map(PathBuf::from)),
        };
        let usual = sources.usual().ok_or_else(|| {
            Failure::usage("there is no kubeconfig to merge into", "set HOME or name a file with --file")
        })?;
        let holding = sources.0.iter().find(|path| self.is_in(path)).unwrap_or(usual);
        if holding == usual {
            change(usual, |text| merged(text, &self.value, make_current))?;
        } else {
            change(holding, |text| merged(text, &self.value, false))?;
            if make_current {
                // An empty list of entries changes nothing but the current context.
                change(usual, |text| merged(text, &json!({"current-context": self.name}), true))?;
            }
        }
        Ok(holding.clone())
    }

    /// Whether a file has a context of this name; false if it cannot be read.
    fn is_in(&self, path: &Path) -> bool {
        // Read directly, because opening the folder would create it.
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let found = parse(&text).unwrap_or_default();
        entries(&found, "contexts").any(|entry| entry.get("name").and_then(Value::as_str) == Some(&self.name))
    }
}

/// The kubeconfigs that kubectl reads; the first one that sets a value wins.
struct Sources(Vec<PathBuf>);

impl Sources {
    /// By the rules of client-go (`PathOptions` in tools/clientcmd/config.go), but without the kubeconfigs of single grants,
    /// which must not get other entries.
    fn of(listed: &OsStr, home: Option<PathBuf>) -> Self {
        let mut paths: Vec<PathBuf> = Vec::new();
        for path in std::env::split_paths(listed) {
            if !path.as_os_str().is_empty() && !paths.contains(&path) && !is_ours(&path) {
                paths.push(path);
            }
        }
        if paths.is_empty() {
            paths.extend(home.map(|home| home.join(".kube/config")));
        }
        Self(paths)
    }

    /// The file for a new entry: the first one that exists, else the last one.
    fn usual(&self) -> Option<&PathBuf> {
        self.0.iter().find(|path| path.exists()).or_else(|| self.0.last())
    }
}

/// Rewrites a kubeconfig, while no `kubectl config` and no other `jit-login` does.
fn change(path: &Path, change: impl FnOnce(&str) -> Result<String, String>) -> Result<(), Failure> {
    let (folder, name) = place(path)?;
    let lock = format!("{name}.lock");
    let Some(_claimed) = folder.claim(&lock, Instant::now() + PATIENCE)? else {
        let lock = folder.path_of(&lock);
        return Err(Failure::own(
            format!(
                "`{}` was not changed: another program is changing it, because `{}` exists",
                path.display(),
                lock.display()
            ),
            format!("if no `kubectl config` is running: `rm {}`", lock.display()),
        ));
    };
    let text = folder.read(name)?.unwrap_or_default();
    let changed = change(&text).map_err(|why| {
        Failure::own(
            format!("`{}` was not changed: {why}", path.display()),
            format!("use a separate file with `{} kubeconfig`", program()),
        )
    })?;
    if has_comments(&text) {
        let backup = format!("{name}.bak");
        folder.write(&backup, &text)?;
        say(&format!(
            "comments in `{}` are lost; the previous file is `{}`",
            path.display(),
            folder.path_of(&backup).display()
        ));
    }
    folder.write(name, &changed)
}

/// `kubectl config` holds its lock only briefly.
const PATIENCE: Duration = Duration::from_secs(5);

fn place(path: &Path) -> Result<(Folder, &str), Failure> {
    let name = file_name(path).ok_or_else(|| Failure::usage(format!("`{}` is not a file name", path.display()), ""))?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok((Folder::foreign(parent)?, name))
}

/// `text` with the entries of `ours`, and everything else unchanged.
fn merged(text: &str, ours: &Value, make_current: bool) -> Result<String, String> {
    let mut merged = parse(text)?;
    let top = merged.as_object_mut().ok_or("it is not a kubeconfig")?;
    for list in LISTS {
        let present = top.entry(list).or_insert_with(|| json!([]));
        if present.is_null() {
            *present = json!([]);
        }
        let present = present.as_array_mut().ok_or_else(|| format!("`{list}` in it is not a list"))?;
        for entry in entries(ours, list) {
            present.retain(|found| !(is_our_entry(found) && found.get("name") == entry.get("name")));
            present.push(entry.clone());
        }
    }
    for (key, value) in [("apiVersion", json!("v1")), ("kind", json!("Config"))] {
        top.entry(key).or_insert(value);
    }
    if make_current {
        top.insert("current-context".to_owned(), ours.get("current-context").cloned().unwrap_or_default());
    } else {
        top.entry("current-context").or_insert_with(|| json!(""));
    }
    let written = yaml(&merged).map_err(|_| "it cannot be written back".to_owned())?;
    match parse(&written) {
        Ok(again) if again == merged => Ok(written),
        _ => Err("it cannot be written back unchanged".to_owned()),
    }
}

fn parse(text: &str) -> Result<Value, String> {
    if text.trim().is_empty() {
        return Ok(json!({}));
    }
    let value: Value = serde_saphyr::from_str(text).map_err(|error| {
        let first = error.to_string().lines().next().unwrap_or_default().to_owned();
        format!("it cannot be parsed: {first}")
    })?;
    match &value {
        Value::Object(top) if top.get("kind").is_none_or(|kind| kind == "Config") => Ok(value),
        _ => Err("it is not a kubeconfig".to_owned()),
    }
}

fn entries<'a>(value: &'a Value, list: &str) -> impl Iterator<Item = &'a Value> {
    value.get(list).and_then(Value::as_array).into_iter().flatten()
}

fn is_our_entry(entry: &Value) -> bool {
    entry.get("name").and_then(Value::as_str).is_some_and(|name| name.starts_with(OURS))
}

/// Whether the text has comments: a `#` at the start of a line or after a space. In doubt, yes.
fn has_comments(text: &str) -> bool {
    text.lines().any(|line| line.trim_start().starts_with('#') || line.contains(" #") || line.contains("\t#"))
}

/// This program's absolute path. If the package was upgraded since the start, the kernel appends ` (deleted)` to the path;
/// without it, the path is that of the new program.
pub(crate) fn own_path() -> Result<String, Failure> {
    let path = std::env::current_exe()
        .map_err(|error| Failure::own(format!("the path of this program is unknown: {error}"), ""))?;
    let text = path
        .to_str()
        .ok_or_else(|| Failure::own("the path of this program is not UTF-8", "install it at another path"))?;
    Ok(text.strip_suffix(" (deleted)").unwrap_or(text).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(name: &str) -> Value {
        json!({
            "clusters": [{"name": name, "cluster": {"server": "https://k"}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
            "users": [{"name": name, "user": {}}],
            "current-context": name,
        })
    }

    const THEIRS: &str = "\
apiVersion: v1
kind: Config
current-context: work
clusters:
- name: work
  cluster: {server: 'https://w', certificate-authority-data: QUFB}
- name: jit:prod:old
  cluster: {server: https://old}
contexts:
- name: work
  context: {cluster: work, user: me, namespace: 'on'}
users:
- name: me
  user: {token: \"0123\", username: yes}
x-theirs: [1, 2.5, null, 'null']
";

    #[test]
    fn merging_changes_only_our_entries() {
        let before = parse(THEIRS).unwrap();
        let after = parse(&merged(THEIRS, &ours("jit:prod:new"), false).unwrap()).unwrap();
        assert_eq!(after["current-context"], "work");
        assert_eq!(after["x-theirs"], before["x-theirs"]);
        assert_eq!(after["users"][0], before["users"][0]);
        assert_eq!(after["contexts"][0], before["contexts"][0]);
        assert_eq!(after["clusters"].as_array().unwrap().len(), 3);
        let once_more =
            merged(&merged(THEIRS, &ours("jit:prod:new"), false).unwrap(), &ours("jit:prod:new"), false).unwrap();
        assert_eq!(parse(&once_more).unwrap(), after, "twice is once");
    }

    #[test]
    fn the_current_context_changes_only_when_asked() {
        let after = parse(&merged(THEIRS, &ours("jit:prod:new"), true).unwrap()).unwrap();
        assert_eq!(after["current-context"], "jit:prod:new");
        let empty = parse(&merged("", &ours("jit:prod:new"), false).unwrap()).unwrap();
        assert_eq!(empty["current-context"], "");
    }

    #[test]
    fn a_file_that_is_not_understood_is_not_merged_into() {
        for text in ["a: [", "- a", "kind: Pod", "a: 1\na: 2", "clusters: 7", "\u{0}", "a: 1\n---\nb: 2\n"] {
            assert!(merged(text, &ours("jit:prod:new"), false).is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_file_to_write_is_the_one_that_kubectl_would_write() {
        let folder = std::env::temp_dir().join(format!("jit-login-sources-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (there, too) = (folder.join("there"), folder.join("too"));
        for path in [&there, &too] {
            std::fs::write(path, "").unwrap();
        }
        let (none, other) = (folder.join("none"), folder.join("other"));
        let home = || Some(PathBuf::from("/home/alice"));
        let table: &[(&[&Path], &Path)] = &[
            (&[], "/home/alice/.kube/config".as_ref()),
            (&["".as_ref()], "/home/alice/.kube/config".as_ref()),
            (&["dev.yaml".as_ref()], "dev.yaml".as_ref()),
            (&[&none], &none),
            (&[&none, &there, &too], &there),
            (&[&none, &other], &other),
            (&[&other, &none, &other], &none),
        ];
        for (listed, expected) in table {
            let sources = Sources::of(&std::env::join_paths(*listed).unwrap(), home());
            assert_eq!(sources.usual().map(PathBuf::as_path), Some(*expected), "{listed:?}");
        }
        assert!(Sources::of("".as_ref(), None).usual().is_none());
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn an_entry_of_theirs_with_our_name_but_not_our_prefix_stays() {
        let after = parse(&merged(THEIRS, &ours("work"), false).unwrap()).unwrap();
        let named = entries(&after, "clusters").filter(|entry| entry["name"] == "work").count();
        assert_eq!(named, 2);
    }
}
