//! Whether the units of systemd let the daemon do what the configuration asks of it: read its files, write its state, and
//! get its sockets at boot.
//!
//! It reads the units' files and their drop-ins as systemd does, and changes nothing. `doctor` calls it.

use std::fs;
use std::path::{Path, PathBuf};

use jitd::config::Config;
use jitd::people::host;

use super::Report;

/// A unit's file and its drop-ins, in systemd's order. Without a unit on this host there are none.
pub(super) struct Unit(Vec<PathBuf>);

impl Unit {
    /// The unit of this name, such as `jitd.service`.
    pub(super) fn named(name: &str) -> Self {
        let folders = FOLDERS.iter().map(|folder| Path::new(folder).join(format!("{name}.d")));
        let mut files: Vec<PathBuf> = folders
            .flat_map(|folder| fs::read_dir(folder).into_iter().flatten())
            .flatten()
            .map(|entry| entry.path())
            .collect();
        // By name, independent of the folder; the last one counts (systemd.unit(5)).
        files.sort_by(|one, other| one.file_name().cmp(&other.file_name()));
        // A file in an earlier folder replaces those of the same name.
        files.dedup_by(|next, kept| next.file_name() == kept.file_name());
        let unit = FOLDERS.iter().map(|folder| Path::new(folder).join(name)).find(|file| file.exists());
        Self(unit.into_iter().chain(files).collect())
    }

    /// The value that counts for a key, and the file that sets it.
    pub(super) fn setting(&self, key: &str) -> Option<(String, &Path)> {
        let value = |file: &PathBuf| values(file, key).pop();
        self.0.iter().filter_map(|file| Some((value(file)?, file.as_path()))).next_back()
    }

    /// The words of a key that lists them. An empty value removes those before it.
    fn words(&self, key: &str) -> Vec<String> {
        let mut words = Vec::new();
        for value in self.0.iter().flat_map(|file| values(file, key)) {
            if value.is_empty() {
                words.clear();
            }
            words.extend(value.split_whitespace().map(str::to_owned));
        }
        words
    }
}

impl Report {
    /// Files that the unit hides from the daemon although root can read them, state that it may not write or that systemd
    /// refuses, and groups that may be unknown when the sockets are opened.
    pub(super) fn units(&mut self, config: &Config) {
        let service = Unit::named("jitd.service");
        self.hidden(&service, config);
        self.writable(&service, config);
        for socket in ["jitd.socket", "jitd-admin.socket"] {
            self.known_at_boot(socket);
        }
    }

    fn hidden(&mut self, service: &Unit, config: &Config) {
        let Some((value, unit)) = service.setting("ProtectHome") else { return };
        if !HIDES_HOMES.contains(&value.to_lowercase().as_str()) {
            return;
        }
        for file in config.files() {
            // Through links, as the daemon opens it. A missing file is reported elsewhere.
            let Ok(real) = fs::canonicalize(&file) else { continue };
            let Some(home) = HOMES.iter().find(|home| real.starts_with(home)) else { continue };
            let (shown, unit) = (file.display(), unit.display());
            let at = if real == file { String::new() } else { format!(", which is {}", real.display()) };
            self.fault(
                "files",
                format!("the service cannot read {shown}{at}: {unit} sets ProtectHome={value}, which hides {home}"),
                "move the file to /etc/jitd, and change its path in config.yaml",
            );
        }
    }

    fn writable(&mut self, service: &Unit, config: &Config) {
        let folders: Vec<PathBuf> =
            service.words("StateDirectory").iter().map(|name| Path::new("/var/lib").join(name)).collect();
        let shown = config.state.display();
        for folder in folders.iter().filter(|folder| folder.is_symlink()) {
            let folder = folder.display();
            self.fault(
                "state",
                format!("{folder} is a symbolic link, and systemd does not start a service with such a state folder"),
                format!(
                    "replace the link by an empty folder, and mount the real folder there: a line \
                     `/the/real/folder {folder} none bind` in /etc/fstab"
                ),
            );
        }
        let is_strict = service.setting("ProtectSystem").is_some_and(|(value, _)| value.eq_ignore_ascii_case("strict"));
        // A missing folder is reported elsewhere.
        let Ok(real) = fs::canonicalize(&config.state) else { return };
        let paths = service.words("ReadWritePaths");
        let paths = paths.iter().map(|path| Path::new(path.trim_start_matches(['-', '+'])));
        let may_write = folders.iter().map(PathBuf::as_path).chain(paths).any(|folder| {
            real.starts_with(folder) || fs::canonicalize(folder).is_ok_and(|folder| real.starts_with(folder))
        });
        if is_strict && !may_write {
            self.fault(
                "state",
                format!("jitd.service does not let the daemon write to {shown}"),
                format!("`systemctl edit jitd`, and add to `[Service]` the line `ReadWritePaths={shown}`"),
            );
        }
    }

    /// systemd opens the sockets before a directory service runs, and does not try again.
    fn known_at_boot(&mut self, name: &str) {
        let socket = Unit::named(name);
        let Some((group, _)) = socket.setting("SocketGroup") else { return };
        let local = fs::read_to_string("/etc/group").unwrap_or_default();
        if local.lines().any(|line| line.split(':').next() == Some(group.as_str())) || group.parse::<u32>().is_ok() {
            return;
        }
        if let Ok(Some(found)) = host::group_named(&group) {
            self.warning(
                "socket",
                format!(
                    "the group {group} is not in /etc/group, so systemd may not know it yet when it opens {name} at boot; \
                     then the daemon does not start"
                ),
                format!("`systemctl edit {name}`, and add to `[Socket]` the line `SocketGroup={}`", found.gid),
            );
        }
    }
}

/// The values that a unit file sets for a key, in order.
fn values(file: &Path, key: &str) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let value = |line: &str| Some(line.trim().strip_prefix(key)?.trim_start().strip_prefix('=')?.trim().to_owned());
    text.lines().filter_map(value).collect()
}

/// The folders of units; the first one that contains a unit counts.
const FOLDERS: [&str; 4] =
    ["/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];
/// The values of `ProtectHome=` with which a service cannot read homes, and the folders that it hides (systemd.exec(5)).
const HIDES_HOMES: [&str; 5] = ["yes", "true", "on", "1", "tmpfs"];
const HOMES: [&str; 3] = ["/home", "/root", "/run/user"];
