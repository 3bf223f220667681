//! Reads what decides who can do what: dumps of kubectl, manifests, and the pages of a live list.
//!
//! ```text
//!  file, folder, stdin ──► gzip? ──► json: one object after the other ──► object: Role, Binding … ──► Snapshot
//!                                └─► yaml: documents, as JSON ──┘
//! ```
//! One object is in memory at a time, so that the size of a dump does not matter, and every length has a limit: the input
//! may be hostile. Nothing that was not understood is left out silently: a file that is malformed is an error with its
//! line, an object that is malformed, or a list that is not in the input, is in `not_evaluated`. The content of a Secret is
//! never kept.

mod input;
mod json;
mod object;
mod others;
mod yaml;

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use jit_core::rbac::risk::ServerVersion;
use jit_host::escape::escaped;
use jit_host::hint::Hint;

use self::input::{Fault, Input};
use self::json::{Item, Taken};
use self::object::Read as Object;
pub use self::object::{Listed, missing_from_snapshot};
pub use self::others::CredentialList;
use self::others::{Known, Other};
use crate::bootstrap;
use crate::finding::NotEvaluated;
use crate::snapshot::{Binding, Name, Place, Role, RoleKind, RoleRef, Snapshot};

/// Why an input could not be read to its end; what came before is in the snapshot.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file, or what it contains compressed, cannot be read.
    #[error("{source_name}: {why}")]
    Unreadable {
        /// The path.
        source_name: String,
        /// What the system says.
        why: io::Error,
    },
    /// It is not what it should be, or too long.
    #[error("{source_name}, line {line}: {why}")]
    Malformed {
        /// The path.
        source_name: String,
        /// The line, from 1; of an object in YAML, the line where its document begins.
        line: u64,
        /// What is wrong, on one line.
        why: String,
    },
}

impl Hint for ReadError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Unreadable { .. } => None,
            Self::Malformed { .. } => Some("`kubectl get KINDS -A -o json` prints what can be read".into()),
        }
    }
}

/// Reads one input after the other into a snapshot.
#[derive(Debug, Default)]
pub struct Reader {
    snapshot: Snapshot,
    /// Where an object is in its list, to find what is in the input twice.
    known: HashMap<(Listed, Name), usize>,
    seen: [bool; Listed::ALL.len()],
    /// Lists that are not complete.
    refused: Vec<Listed>,
    /// The input has the list of all ClusterRoles, so that one that it lacks does not exist.
    has_cluster_roles: bool,
    others: Known,
    /// The file that is being read, if a report can point to it.
    file: Option<String>,
    kept: usize,
    objects: usize,
}

/// What all objects that are kept take, in bytes: five times the cluster of 5,000 roles and 20,000 bindings.
const MOST_KEPT: usize = 128 << 20;
/// What is kept of a Secret or a pod, in bytes; its content is not.
const MOST_OF_OTHERS: usize = 4 << 10;
/// Folders inside each other.
const DEEPEST: usize = 64;
/// Files of one folder.
const MOST_FILES: usize = 100_000;
/// Characters of a name or a message that are shown.
const MOST_SHOWN: usize = 253;

impl Reader {
    /// Reads a file: JSON or YAML, plain or compressed with gzip; or every such file of a folder, and of the folders in it,
    /// by their extension. What a folder contains may be something else: what is malformed there is not evaluated.
    ///
    /// # Errors
    /// [`ReadError`] for a file, and for a folder that cannot be listed.
    pub fn path(&mut self, path: &Path) -> Result<(), ReadError> {
        let unreadable = |why| ReadError::Unreadable { source_name: escaped(&path.to_string_lossy()), why };
        if !path.metadata().map_err(unreadable)?.is_dir() {
            let before = self.objects;
            self.file(path)?;
            return if self.objects > before { Ok(()) } else { Err(unreadable(io::Error::other(NO_OBJECT))) };
        }
        let mut files = Vec::new();
        list(path, DEEPEST, &mut files).map_err(unreadable)?;
        files.sort();
        for file in files {
            if let Err(why) = self.file(&file) {
                let what = escaped(&file.to_string_lossy());
                self.snapshot.not_evaluated.push(NotEvaluated { what, why: why.to_string() });
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path) -> Result<(), ReadError> {
        let name = path.to_string_lossy();
        let unreadable = |why| ReadError::Unreadable { source_name: escaped(&name), why };
        let opened = File::open(path).map_err(unreadable)?;
        self.file = below_here(path);
        let read = self.stream(&name, opened);
        self.file = None;
        read
    }

    /// Reads a stream, such as stdin, as [`Self::path`] reads a file. `name` is shown in errors.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn stream(&mut self, name: &str, stream: impl Read) -> Result<(), ReadError> {
        let source = escaped(name);
        let read = || -> Result<(), Fault> {
            let mut input = Input::open(stream)?;
            let is_json = input.peek()? == Some(b'{');
            if is_json {
                json::read(&mut input, &mut |item| self.take(&source, None, item)).map(drop)
            } else {
                yaml::read(&mut input, &mut |item| self.take(&source, None, item))
            }
        };
        read().map_err(|fault| fault.of(source.clone()))
    }

    /// Reads the answer to a list request for objects of one kind.
    ///
    /// # Returns
    /// `metadata.continue` if there are more pages.
    ///
    /// # Errors
    /// [`ReadError`] if the answer is not such a list.
    pub fn page(&mut self, listed: Listed, body: &[u8]) -> Result<Option<String>, ReadError> {
        let source = listed.plural();
        let mut read = || -> Result<Option<json::List>, Fault> {
            let mut input = Input::open(body)?;
            json::read(&mut input, &mut |item| self.take(source, Some(listed), item))
        };
        let list = read().map_err(|fault| fault.of(source.to_owned()))?;
        match list {
            Some(list) => {
                self.see(listed);
                self.has_cluster_roles |= listed == Listed::ClusterRole;
                Ok(list.more.filter(|more| !more.is_empty()))
            }
            None => Err(Fault::text(1, "is not a list").of(source.to_owned())),
        }
    }

    /// Reads the answer to a list request for objects that say something about credentials.
    ///
    /// # Returns
    /// `metadata.continue` if there are more pages.
    ///
    /// # Errors
    /// [`ReadError`] if the answer is not such a list.
    pub fn credentials(&mut self, list: CredentialList, body: &[u8]) -> Result<Option<String>, ReadError> {
        let source = list.plural;
        let mut read = || -> Result<Option<json::List>, Fault> {
            let mut input = Input::open(body)?;
            json::read(&mut input, &mut |item| match item {
                Item::Object { line, text, .. } => {
                    self.objects += 1;
                    self.other(source, line, list.other, list.kind_of_secret, text)
                }
                Item::End(_) => Ok(Taken::Yes),
            })
        };
        let read = read().map_err(|fault| fault.of(source.to_owned()))?;
        let Some(read) = read else { return Err(Fault::text(1, "is not a list").of(source.to_owned())) };
        list.other.see(&mut self.snapshot);
        Ok(read.more.filter(|more| !more.is_empty()))
    }

    /// Notes that such a list was refused or cannot be read.
    pub fn credentials_refused(&mut self, list: CredentialList, why: String) {
        list.other.see(&mut self.snapshot);
        let missing = NotEvaluated { what: list.plural.to_owned(), why };
        // Secrets are asked for by type, and refused for the same reason.
        if !self.snapshot.not_evaluated.contains(&missing) {
            self.snapshot.not_evaluated.push(missing);
        }
    }

    /// Notes that a list was refused or cannot be read.
    pub fn refused(&mut self, listed: Listed, why: String) {
        self.see(listed);
        self.refused.push(listed);
        self.snapshot.not_evaluated.push(NotEvaluated { what: listed.plural().to_owned(), why });
    }

    /// How many objects were read, of any kind.
    #[must_use]
    pub fn objects(&self) -> usize {
        self.objects
    }

    /// Notes the version of the API server.
    pub fn version(&mut self, version: ServerVersion) {
        self.snapshot.version = Some(version);
    }

    /// The snapshot. Lists of which the input has nothing are not evaluated: every cluster has some of each.
    #[must_use]
    pub fn finish(mut self) -> Snapshot {
        // What is missing in a part of a list may be in the rest.
        if self.refused.contains(&Listed::ServiceAccount) {
            self.snapshot.accounts = None;
        }
        if self.refused.contains(&Listed::Namespace) {
            self.snapshot.namespaces = None;
        }
        self.add_shipped();
        for listed in Listed::ALL {
            if !self.seen.get(listed as usize).is_some_and(|seen| *seen) {
                let why = "the input has none, although every cluster has some".to_owned();
                self.snapshot.not_evaluated.push(NotEvaluated { what: listed.plural().to_owned(), why });
            }
        }
        self.snapshot
    }

    /// Adds the roles that Kubernetes ships and that bindings of manifests name: `cluster-admin` is in no manifest, and in every
    /// cluster.
    fn add_shipped(&mut self) {
        let snapshot = &mut self.snapshot;
        if self.has_cluster_roles || snapshot.roles.iter().any(bootstrap::is_created) {
            return;
        }
        let is_cluster_role = |role: &&RoleRef| role.kind == RoleKind::ClusterRole;
        let mut named: BTreeSet<&str> = snapshot
            .bindings
            .iter()
            .map(|binding| &binding.role)
            .filter(is_cluster_role)
            .map(|role| role.name.as_str())
            .collect();
        for role in snapshot.roles.iter().filter(|role| role.name.namespace.is_none()) {
            named.remove(role.name.name.as_str());
        }
        if named.is_empty() {
            return;
        }
        let mut shipped = Vec::new();
        let read = json::read(&mut Input::of_text(bootstrap::ROLES.as_bytes().to_vec(), 1), &mut |item| {
            if let Item::Object { text, .. } = item
                && let Ok(Object::Role(role)) = object::parse(Listed::ClusterRole, text)
                && named.contains(role.name.name.as_str())
            {
                shipped.push(role);
            }
            Ok(Taken::Yes)
        });
        debug_assert!(read.is_ok(), "the table is ours: {read:?}");
        snapshot.roles.extend(shipped);
    }

    fn see(&mut self, listed: Listed) {
        if let Some(seen) = self.seen.get_mut(listed as usize) {
            *seen = true;
        }
        match listed {
            Listed::ServiceAccount => drop(self.snapshot.accounts.get_or_insert_default()),
            Listed::Namespace => drop(self.snapshot.namespaces.get_or_insert_default()),
            Listed::Role | Listed::ClusterRole | Listed::RoleBinding | Listed::ClusterRoleBinding => {}
        }
    }

    /// Takes one object, or the end of a list.
    fn take(&mut self, source: &str, forced: Option<Listed>, item: Item<'_>) -> Result<Taken, Fault> {
        let (line, text, assumed) = match item {
            Item::Object { line, text, list } => (line, text, list),
            Item::End(list) => {
                // The list of a kind says that there are no more, also if it is empty.
                if let Some(listed) = list.item_kind().and_then(|kind| Listed::of(&list.api_version, kind)) {
                    self.see(listed);
                    self.has_cluster_roles |= listed == Listed::ClusterRole;
                }
                if let Some(other) = list.item_kind().and_then(|kind| Other::of(&list.api_version, kind)) {
                    other.see(&mut self.snapshot);
                }
                return Ok(Taken::Yes);
            }
        };
        let header = object::Header::of(text).map_err(|error| Fault::json(line, &error))?;
        let own = header.kind.as_deref().map(|kind| (header.api_version.as_deref().unwrap_or_default(), kind));
        // What answers a list request without being a list, such as a `Status`, is not kept.
        let forced = forced.filter(|_| assumed.is_some());
        let assumed = assumed.and_then(|list| Some((list.api_version.as_str(), list.item_kind()?)));
        let Some((version, kind)) = own.or(assumed) else {
            if let Some(version) = object::version(text) {
                self.objects += 1;
                self.snapshot.version = Some(version);
                return Ok(Taken::Yes);
            }
            if let Some(missing) = object::missing(text) {
                self.objects += 1;
                missing.into_iter().for_each(|missing| self.lacks(missing));
                return Ok(Taken::Yes);
            }
            return Ok(if forced.is_some() { self.kept(source, line, forced, text)? } else { Taken::HasNoKind });
        };
        self.objects += 1;
        if kind == "List" && version == "v1" {
            return Err(Fault::text(line, "a list inside a list is not read"));
        }
        let listed = forced.or_else(|| Listed::of(version, kind));
        if let (None, Some(other)) = (listed, Other::of(version, kind)) {
            return self.other(source, line, other, None, text);
        }
        self.kept(source, line, listed, text)
    }

    /// Notes what a snapshot says that it lacks, as if the cluster itself had refused it.
    fn lacks(&mut self, NotEvaluated { what, why }: NotEvaluated) {
        let (what, why) = (shown(&what), shown(&why));
        let listed = Listed::ALL.into_iter().find(|listed| listed.plural() == what);
        let credentials = CredentialList::ALL.into_iter().find(|list| list.plural == what);
        match (listed, credentials) {
            (Some(listed), _) => self.refused(listed, why),
            (None, Some(list)) => self.credentials_refused(list, why),
            (None, None) => self.snapshot.not_evaluated.push(NotEvaluated { what, why }),
        }
    }

    /// Keeps an object if it is of a kind that counts.
    fn kept(&mut self, source: &str, line: u64, listed: Option<Listed>, text: &[u8]) -> Result<Taken, Fault> {
        let Some(listed) = listed else { return Ok(Taken::Yes) };
        self.see(listed);
        self.kept = self.kept.saturating_add(text.len());
        match object::parse(listed, text) {
            Ok(object) => {
                self.kept = self.kept.saturating_add(object.size());
                self.place(listed.singular(), object.name(), line);
                self.add(listed, object);
            }
            Err(why) => {
                let what = format!("{} in {source}, line {line}", listed.singular());
                self.snapshot.not_evaluated.push(NotEvaluated { what, why: shown(&why) });
            }
        }
        self.limit(line)?;
        Ok(Taken::Yes)
    }

    fn limit(&self, line: u64) -> Result<(), Fault> {
        if self.kept <= MOST_KEPT {
            return Ok(());
        }
        let limit = MOST_KEPT >> 20;
        Err(Fault::text(line, format!("the roles, bindings and accounts take more than {limit} MiB")))
    }

    /// Keeps what is needed of an object that says something about credentials.
    fn other(
        &mut self,
        source: &str,
        line: u64,
        other: Other,
        kind: Option<&str>,
        text: &[u8],
    ) -> Result<Taken, Fault> {
        other.see(&mut self.snapshot);
        // Of a long one only names are kept, which hostile input alone makes longer than this.
        self.kept = self.kept.saturating_add(text.len().min(MOST_OF_OTHERS));
        self.limit(line)?;
        match self.others.add(other, kind, text, &mut self.snapshot) {
            Ok(name) => self.place(other.singular(), &name, line),
            Err(why) => {
                let what = format!("{} in {source}, line {line}", other.singular());
                self.snapshot.not_evaluated.push(NotEvaluated { what, why: shown(&why) });
            }
        }
        Ok(Taken::Yes)
    }

    /// Notes where an object is; where it is first, if it is in the input twice.
    fn place(&mut self, kind: &str, name: &Name, line: u64) {
        if let Some(file) = &self.file {
            let place = || Place { file: file.clone(), line };
            self.snapshot.places.entry(name.object(kind)).or_insert_with(place);
        }
    }

    fn add(&mut self, listed: Listed, object: Object) {
        let snapshot = &mut self.snapshot;
        let name = object.name().clone();
        let place = match &object {
            Object::Role(_) => snapshot.roles.len(),
            Object::Binding(_) => snapshot.bindings.len(),
            Object::Account(_) => snapshot.accounts.as_ref().map_or(0, Vec::len),
            Object::Namespace(_) => snapshot.namespaces.as_ref().map_or(0, Vec::len),
        };
        let known = *self.known.entry((listed, name.clone())).or_insert(place);
        let is_new = known == place;
        let is_different = match object {
            Object::Role(role) if is_new => {
                snapshot.roles.push(role);
                false
            }
            Object::Role(role) => snapshot.roles.get_mut(known).is_some_and(|first| both_roles(first, role)),
            Object::Binding(binding) if is_new => {
                snapshot.bindings.push(binding);
                false
            }
            Object::Binding(binding) => {
                let is_same = |first: &Binding| first.role == binding.role && first.subjects == binding.subjects;
                let is_different = !snapshot.bindings.get(known).is_some_and(is_same);
                if is_different {
                    snapshot.bindings.push(binding);
                }
                is_different
            }
            Object::Account(account) => {
                if is_new {
                    snapshot.accounts.get_or_insert_default().push(account);
                }
                false
            }
            Object::Namespace(name) => {
                if is_new {
                    snapshot.namespaces.get_or_insert_default().push(name.name);
                }
                false
            }
        };
        if is_different {
            let what = shown(&match &name.namespace {
                Some(namespace) => format!("{} {namespace}/{}", listed.singular(), name.name),
                None => format!("{} {}", listed.singular(), name.name),
            });
            let why = "the input has it twice, with different content; what both allow is counted".to_owned();
            snapshot.not_evaluated.push(NotEvaluated { what, why });
        }
    }
}

const NO_OBJECT: &str = "contains no Kubernetes object";

/// Adds what the same role allows elsewhere in the input; whether it was different.
fn both_roles(first: &mut Role, second: Role) -> bool {
    if first.rules == second.rules && first.aggregates == second.aggregates && first.meta.labels == second.meta.labels {
        return false;
    }
    first.rules.extend(second.rules);
    if let Some(selectors) = second.aggregates {
        first.aggregates.get_or_insert_default().extend(selectors);
    }
    // A label can only add the role to others.
    first.meta.labels.extend(second.meta.labels);
    true
}

/// A path as an address below the working directory; `None` for one that leads elsewhere.
fn below_here(path: &Path) -> Option<String> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name.to_str()?),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(names.join("/"))
}

/// The files of a folder that may contain objects.
fn list(folder: &Path, deepest: usize, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if deepest == 0 {
        return Err(io::Error::other(format!("more than {DEEPEST} folders are inside each other")));
    }
    for entry in folder.read_dir()? {
        let path = entry?.path();
        // Folders behind symbolic links are left out: they may lead in a circle.
        if path.symlink_metadata()?.is_dir() {
            list(&path, deepest - 1, files)?;
        } else if has_objects(&path) && path.metadata().is_ok_and(|file| file.is_file()) {
            if files.len() >= MOST_FILES {
                return Err(io::Error::other(format!("more than {MOST_FILES} files")));
            }
            files.push(path);
        }
    }
    Ok(())
}

fn has_objects(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    [".json", ".yaml", ".yml"].iter().any(|extension| name.ends_with(extension))
}

/// Text of the input for people: on one line, and not longer than a name may be.
fn shown(text: &str) -> String {
    let mut short: String = text.chars().take(MOST_SHOWN).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    escaped(&short)
}

#[cfg(test)]
mod tests;
