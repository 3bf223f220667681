//! Whether the daemon runs, answers, can identify callers, and can be reached by the people who may call it.
//!
//! It makes one call over the socket, as anybody may. `doctor` calls it.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use jitd::client::{Client, ClientError, Trust, is_socket};
use jitd::config::Config;
use jitd::people::host;
use jitd::service;

use super::Report;
use super::host::user;
use super::unit::Unit;
use crate::operate::since;
use crate::{Failure, runtime};

/// The group that may open systemd's socket.
const USERS: &str = "jit-users";
const START: &str = "`systemctl enable --now jitd.socket`; without systemd run `jitd serve`";
const RESTART: &str = "`systemctl restart jitd.socket jitd.service`; without systemd start `jitd serve` again";

const TAKE_UP: &str = "`systemctl restart jitd`; live access continues; without systemd start `jitd serve` again";

impl Report {
    /// `held` is the process that has locked the trail.
    pub(super) fn daemon(&mut self, config: &Config, held: Option<u32>) -> Result<(), Failure> {
        self.people(held);
        let socket = &config.socket;
        let shown = socket.display();
        let name = held.map(|pid| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default());
        let by = held.map(|pid| format!("process {pid} (`{}`)", name.unwrap_or_default().trim().escape_default()));
        if socket.symlink_metadata().is_err() {
            match by {
                Some(by) => {
                    self.fault("daemon", format!("{by} has locked the trail, but {shown} does not exist"), RESTART)
                }
                None => self.fault("daemon", format!("it is not running: {shown} does not exist"), START),
            }
            return Ok(());
        }
        if !is_socket(socket) {
            self.fault("daemon", format!("{shown} is not a socket"), format!("move it away, then {START}"));
            return Ok(());
        }
        match (runtime()?.block_on(answers(socket)), by) {
            (Ok(server), Some(by)) => {
                self.ok("daemon", format!("{by} answers at {shown} as {}", user(server)));
            }
            // systemd listens on the socket, and started the daemon for this call.
            (Ok(server), None) => self.ok("daemon", format!("it answers at {shown} as {}", user(server))),
            (Err(why), Some(by)) => {
                self.fault("daemon", format!("{by} has locked the trail, but does not answer: {why}"), RESTART)
            }
            (Err(why), None) => self.fault("daemon", format!("it is not running: {why}"), RESTART),
        }
        self.socket(socket);
        Ok(())
    }

    /// Whether the daemon drains, and whether changed keys of the configuration need a restart. Only an operator can see this.
    pub(super) fn operations(&mut self, operators: &Path) -> Result<(), Failure> {
        let state =
            runtime()?.block_on(async { Client::connect(operators, Trust::FolderOwner).await?.operations().await });
        let Ok(state) = state else { return Ok(()) };
        if let Some(draining) = &state.draining {
            let why = format!("it is draining {}, so it grants nothing", since(draining));
            self.warning("daemon", why, "`jitd resume` ends this");
        }
        if !state.needs_restart.is_empty() {
            let keys = state.needs_restart.join(", ");
            self.warning("daemon", format!("these keys of config.yaml changed and need a restart: {keys}"), TAKE_UP);
        }
        Ok(())
    }

    /// Who may open the socket.
    fn socket(&mut self, socket: &Path) {
        let shown = socket.display();
        let folder = socket.parent().unwrap_or(Path::new("/"));
        let (Ok(found), Ok(above)) = (std::fs::metadata(socket), std::fs::metadata(folder)) else { return };
        let mode = found.mode() & 0o7777;
        let users = host::group_named(USERS).ok().flatten();
        if above.mode() & 0o001 == 0 {
            let folder = folder.display();
            self.fault(
                "socket",
                format!("others may not enter {folder}, so nobody reaches the daemon"),
                format!("chmod 755 {folder}"),
            );
        } else if mode & 0o006 == 0o006 {
            self.ok("socket", format!("{shown}, mode {mode:04o}: everybody on this host may call the daemon"));
        } else if mode & 0o060 != 0o060 {
            self.fault(
                "socket",
                format!("{shown} has mode {mode:04o}, so nobody may open it"),
                format!("set SocketMode=0660 in jitd.socket, or run chmod 660 {shown}"),
            );
        } else {
            let group = host::group(found.gid()).ok().flatten();
            let name = group.as_ref().map_or(format!("gid {}", found.gid()), |group| group.name.clone());
            match users {
                None => self.fault(
                    "socket",
                    format!("there is no group {USERS}, and {shown} is open to {name} only"),
                    format!(
                        "run `systemd-sysusers` or `groupadd --system {USERS}`, then set SocketGroup={USERS} in jitd.socket"
                    ),
                ),
                Some(users) if users.gid != found.gid() => self.fault(
                    "socket",
                    format!("{shown} is open to the group {name}, not to {USERS}"),
                    format!("set SocketGroup={USERS} in jitd.socket and restart it, or run chgrp {USERS} {shown}"),
                ),
                Some(users) if users.members.is_empty() => self.warning(
                    "socket",
                    format!("the group {USERS}, which may open {shown}, lists no members"),
                    format!("`gpasswd -a NAME {USERS}` for each person, also of a directory; they have to log in again"),
                ),
                Some(users) => self.ok("socket", format!("{shown}, open to {USERS} ({} listed)", users.members.len())),
            }
        }
    }

    /// With `PrivateUsers=` all callers would have the same uid (nobody), so the daemon does not start. With `ProtectProc=`,
    /// or a /proc that hides processes, it cannot determine logins. A drop-in can set either.
    fn people(&mut self, held: Option<u32>) {
        let unit = Unit::named("jitd.service");
        let mut well = true;
        let fix = "remove the line, then run `systemctl daemon-reload` and `systemctl restart jitd`";
        for (key, wrong, then) in [
            ("PrivateUsers", &ONE_NOBODY[..], "so all callers have the same uid (nobody)"),
            ("ProtectProc", &HIDDEN[..], "so the login of callers cannot be determined and nobody may approve"),
        ] {
            if let Some((value, file)) = unit.setting(key)
                && wrong.contains(&value.to_lowercase().as_str())
            {
                well = false;
                self.fault("people", format!("{} sets {key}={value}, {then}", file.display()), fix);
            }
        }
        // The daemon's view, or the one that it would have: the unit gives it a separate /proc, which hides nothing.
        let has_its_own = || unit.setting("ProcSubset").is_some_and(|(value, _)| value.eq_ignore_ascii_case("pid"));
        let table = match held {
            Some(pid) => Some(format!("/proc/{pid}/mounts")),
            None if has_its_own() => None,
            None => Some("/proc/self/mounts".to_owned()),
        };
        let table = table.and_then(|table| std::fs::read_to_string(table).ok()).unwrap_or_default();
        if let Some(hides) = service::hides_processes(&table) {
            well = false;
            self.fault(
                "people",
                format!(
                    "the daemon's /proc is mounted with {hides}, so the login of callers cannot be determined and nobody may approve"
                ),
                service::SHOW_CALLERS,
            );
        }
        if well {
            self.ok("people", "the daemon sees every caller's process");
        }
    }
}

/// Other values show the processes of other accounts (systemd.exec(5)).
const HIDDEN: [&str; 3] = ["noaccess", "invisible", "ptraceable"];
/// Other values keep the uids of accounts (systemd.exec(5)).
const ONE_NOBODY: [&str; 6] = ["yes", "true", "on", "1", "y", "self"];

/// The uid of the server, or why it does not answer. A refusal is an answer too.
async fn answers(socket: &Path) -> Result<u32, String> {
    let told = |error: ClientError| error.to_string();
    let mut client = Client::connect(socket, Trust::FolderOwner).await.map_err(told)?;
    match client.whoami().await {
        // A socket has a server whose uid is known.
        Ok(_) | Err(ClientError::Problem(_)) => Ok(client.server().unwrap_or_default()),
        Err(error) => Err(told(error)),
    }
}
