//! Checks of the host: files and their owners, disk space, time, and the groups that the policy names.
//!
//! It only reads. `doctor` calls it.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use jitd::config::Config;
use jitd::grant::Event;
use jitd::grant::policy::Source;
use jitd::people::host;
use jitd::trail::{self, Entry};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::Uid;

use super::{Report, moment};
use crate::CLOCK;
use crate::init::Account;
use crate::print::counted;

/// Less space than this is soon used up: the log of the trail alone can grow to some megabytes between checkpoints.
const ROOM: u64 = 128 << 20;

impl Report {
    /// Anybody who may write a file of the configuration decides who gets access; and the daemon has to be able to read it.
    /// If the configuration is invalid, the other files are expected next to it.
    pub(super) fn files(&mut self, path: &Path, config: Option<&Config>) {
        let policy = config.map_or_else(
            || path.with_file_name(Source::Policy.file_name()),
            |config| config.policy_files.policy.clone(),
        );
        let named = config.and_then(|config| config.policy_files.guardrails.clone());
        let guardrails = named.unwrap_or_else(|| policy.with_file_name(Source::Guardrails.file_name()));
        let mut files: Vec<PathBuf> = vec![path.to_owned(), policy, guardrails];
        let folders: Vec<PathBuf> = files.iter().filter_map(|file| file.parent()).map(Path::to_path_buf).collect();
        files.extend(folders);
        files.sort();
        files.dedup();
        let account = config.and_then(service_account);
        let (mut seen, mut wrong) = (0, 0);
        for file in files {
            let Ok(found) = fs::metadata(&file) else { continue };
            seen += 1;
            let shown = file.display();
            let mode = found.mode() & 0o7777;
            let wanted = if found.is_dir() { "750" } else { "640" };
            if mode & 0o022 != 0 {
                self.fault(
                    "files",
                    format!("{shown} has mode {mode:04o}, so others can decide who gets access"),
                    format!("chmod {wanted} {shown}"),
                );
            } else if ![0, Uid::effective().as_raw()].contains(&found.uid()) {
                let owner = user(found.uid());
                self.fault(
                    "files",
                    format!("{shown} belongs to {owner}, who can decide who gets access"),
                    format!("chown root {shown}"),
                );
            } else if let Some(account) = account.as_ref().filter(|account| !may_read(account, &found)) {
                let name = account.display_name();
                let group = host::group(account.gid).ok().flatten().map_or(name.clone(), |group| group.name);
                self.fault(
                    "files",
                    format!("the daemon's account {name} cannot read {shown}"),
                    format!("chgrp {group} {shown} && chmod {wanted} {shown}"),
                );
            } else {
                continue;
            }
            wrong += 1;
        }
        if seen > 0 && wrong == 0 {
            self.ok("files", "nobody else can change the files of the configuration");
        }
    }

    /// The daemon reads what the gateway keeps for those who may, and nobody else of this host does.
    pub(super) fn sessions(&mut self, config: &Config) {
        let folder = &config.sessions;
        if config.feed_socket().is_none() {
            return;
        }
        let shown = folder.display();
        let found = match fs::metadata(folder) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return self.skipped("sessions", format!("no gateway has created {shown} yet"));
            }
            Err(error) => return self.fault("sessions", format!("{shown}: {error}").to_lowercase(), "run it as root"),
        };
        let account = service_account(config);
        let mut all = entries(folder, 2);
        all.push((folder.clone(), found));
        let open = all.iter().find(|(_, entry)| entry.mode() & 0o007 != 0);
        let unreadable =
            |account: &host::Account| all.iter().rev().find(|(_, entry)| !may_read(account, entry)).cloned();
        if let Some((path, entry)) = open {
            self.fault(
                "sessions",
                format!("{} has mode {:04o}, so everybody can read it", path.display(), entry.mode() & 0o7777),
                format!("chmod -R o= {shown}"),
            );
        } else if let Some(((path, _), account)) = account.and_then(|account| Some((unreadable(&account)?, account))) {
            let name = account.display_name();
            self.fault(
                "sessions",
                format!("the daemon's account {name} cannot read {}, so nobody can list or play it", path.display()),
                format!(
                    "usermod -aG jit-sessions {name} && chgrp -R jit-sessions {shown} && chmod -R g+rX {shown} && chmod g+s {shown} && systemctl restart jitd"
                ),
            );
        } else {
            self.ok("sessions", format!("{shown}, readable for the daemon and the gateway only"));
        }
    }

    /// Checks the state folder and its content. Returns the process that has locked the trail.
    pub(super) fn state(&mut self, config: &Config) -> Option<u32> {
        let folder = &config.state;
        let shown = folder.display();
        let found = match fs::metadata(folder) {
            Ok(found) if found.is_dir() => found,
            Ok(_) => {
                self.fault("state", format!("{shown} is not a folder"), "move it away; `jitd init` creates the folder");
                return None;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.fault("state", format!("{shown} does not exist"), "`jitd init` creates it");
                self.skipped("trail", "needs the state folder");
                return None;
            }
            Err(error) => {
                self.fault("state", format!("{shown}: {error}").to_lowercase(), "run it as root");
                return None;
            }
        };
        let (mode, owner) = (found.mode() & 0o7777, user(found.uid()));
        let account = host::account_named(Account::NAME.as_bytes()).ok().flatten();
        let strangers =
            entries(folder, 3).into_iter().filter(|(_, entry)| entry.uid() != found.uid()).collect::<Vec<_>>();
        if mode & 0o077 != 0 {
            self.fault(
                "state",
                format!("{shown} has mode {mode:04o}, so others can access it"),
                format!("chmod 700 {shown}"),
            );
        } else if let (true, Some(account)) = (found.uid() == 0, &account) {
            let name = account.display_name();
            self.fault(
                "state",
                format!("{shown} belongs to root, but the daemon runs as {name}"),
                format!("chown -R {name}: {shown}"),
            );
        } else if let Some((path, entry)) = strangers.first() {
            let theirs = user(entry.uid());
            self.fault(
                "state",
                format!("{} belongs to {theirs}, but the daemon runs as {owner}", path.display()),
                format!("chown -R {owner}: {shown}"),
            );
        } else {
            self.ok("state", format!("{shown}, accessible only to {owner}"));
        }
        self.room(folder);
        self.trail(config);
        holder(&config.trail().with_extension("lock"))
    }

    fn room(&mut self, folder: &Path) {
        let shown = folder.display();
        let found = match statvfs(folder) {
            Ok(found) => found,
            Err(error) => return self.fault("disk", format!("{shown}: {error}"), "check the file system"),
        };
        // The integer types differ by platform.
        let (blocks, size): (u64, u64) = (found.blocks_available(), found.fragment_size());
        let left = blocks.saturating_mul(size);
        if found.flags().contains(FsFlags::ST_RDONLY) {
            self.fault(
                "disk",
                format!("{shown} is mounted read-only, so nothing can be recorded"),
                format!("mount -o remount,rw for {shown}"),
            );
        } else if left < ROOM || found.files() > 0 && found.files_available() == 0 {
            self.fault(
                "disk",
                format!("{} MiB are free for {shown}; on a full disk nothing is signed", left >> 20),
                format!("free some space: `df {shown}`, `du -x -d2 /var | sort -n`"),
            );
        } else {
            self.ok("disk", format!("{} MiB are free for {shown}", left >> 20));
        }
    }

    /// The trail is intact, was written under the same host name, and contains no time in the future.
    fn trail(&mut self, config: &Config) {
        let path = config.trail();
        if fs::symlink_metadata(&path).is_err() {
            return self.ok("trail", format!("{} does not exist yet; the daemon creates it", path.display()));
        }
        let otherwise = "keep the file unchanged, and check the disk";
        match trail::verify_file(&path, |_| {}) {
            Ok(report) => self.ok("trail", format!("{}, the chain holds", counted(report.events, "event"))),
            Err(error) => return self.failed("trail", &error, otherwise),
        }
        let mut last = Last::default();
        if let Err(error) = trail::export(&path, &mut last) {
            return self.failed("trail", &error, otherwise);
        }
        let entry = |line: &[u8]| serde_json::from_slice::<Entry>(line).ok().map(|entry| entry.fact);
        let now = CLOCK();
        if let Some(fact) = entry(&last.line)
            && fact.at > now
        {
            self.fault(
                "clock",
                format!("it is {} now, but the trail contains events until {}", moment(now), moment(fact.at)),
                "set the clock by NTP, `timedatectl`; until then nothing is signed",
            );
        }
        if let Some(Event::Started { host, .. }) = entry(&last.started).map(|fact| fact.event) {
            if host == config.host.as_str() {
                self.ok("host", format!("it serves as `{host}`, as before"));
            } else {
                let now = &config.host;
                self.fault(
                    "host",
                    format!(
                        "it served as `{}` before and is `{now}` now, so its permissions and bindings are under another name",
                        host.escape_default()
                    ),
                    format!(
                        "`host: {}` in config.yaml keeps the name; or apply `jitd manifest` again",
                        host.escape_default()
                    ),
                );
            }
        }
    }

    pub(super) fn clock(&mut self) {
        let now = CLOCK();
        let shown = moment(now);
        // The beginning of 2026; every build is newer.
        if now.as_second() < 1_767_225_600 {
            self.fault("clock", format!("{shown} cannot be right"), "set the clock by NTP, `timedatectl`");
        } else {
            self.ok("clock", shown);
        }
    }

    /// Nobody's subordinate uids include another person's account.
    pub(super) fn subordinates(&mut self, config: &Config) {
        let ranges = subordinates();
        if ranges.is_empty() {
            return;
        }
        let mut people: Vec<(u32, String)> = Vec::new();
        for person in config.people.declared() {
            people.extend(person.uids.iter().map(|uid| (*uid, person.name.to_string())));
        }
        for (group, _) in named(config) {
            let members = host::group_named(group).ok().flatten().map(|group| group.members).unwrap_or_default();
            let accounts =
                members.iter().take(LOOKED_AT).filter_map(|name| host::account_named(name.as_bytes()).ok()?);
            people.extend(accounts.map(|account| (account.uid, account.display_name())));
        }
        people.sort();
        people.dedup();
        for (owner, first, last) in &ranges {
            let own = host::account_named(owner.as_bytes()).ok().flatten().map(|account| account.uid);
            let own = own.or(owner.parse().ok());
            let is_own = |name: &String| name == owner || own.is_some_and(|own| people.contains(&(own, name.clone())));
            let theirs = people.iter().find(|(uid, name)| (first..=last).contains(&uid) && !is_own(name));
            if let Some((uid, name)) = theirs {
                self.fault(
                    "people",
                    format!("`{owner}` can become uid {uid} ({name}) without a password: /etc/subuid gives them {first} to {last}"),
                    format!("give {owner} another range: `usermod --del-subuids {first}-{last} --add-subuids FIRST-LAST {owner}`"),
                );
            }
        }
    }

    /// People can be members of every group that the policy or the configuration names.
    pub(super) fn groups(&mut self, config: &Config) {
        let named = named(config);
        let mut unknown = 0;
        for (group, by) in &named {
            if config.people.declared_in(group).next().is_some() {
                continue;
            }
            match found(group) {
                Ok(Found::As(spelled)) if spelled != *group => {
                    unknown += 1;
                    self.fault(
                        "groups",
                        format!("{by} names the group `{group}`, but the host spells it `{spelled}`, so nobody is a member"),
                        format!("write `{spelled}`; case and `@DOMAIN` matter"),
                    );
                }
                Ok(Found::As(_)) => {}
                Ok(Found::OfGroups(inner)) => {
                    unknown += 1;
                    self.fault(
                        "groups",
                        format!("{by} names the group `{group}`, which lists only other groups, such as `{inner}`; their members do not count, so nobody is a member"),
                        format!("name `{inner}` instead, or list its members; some directories can be configured to include nested groups"),
                    );
                }
                Ok(Found::Nested(inner)) => self.warning(
                    "groups",
                    format!("{by} names the group `{group}`, which contains the group `{inner}`; the members of `{inner}` are not members of `{group}`"),
                    format!("name `{inner}` too, or list its members; some directories can be configured to include nested groups"),
                ),
                Ok(Found::Nowhere) => {
                    unknown += 1;
                    self.fault(
                        "groups",
                        format!("{by} names the group `{group}`, which does not exist"),
                        format!(
                            "create it with `groupadd {group}`, or correct the name; `getent group {group}` queries the name service"
                        ),
                    );
                }
                Err(error) => {
                    unknown += 1;
                    self.fault("groups", format!("`{group}`: {error}"), "check sssd and nsswitch.conf");
                }
            }
        }
        if unknown == 0 {
            self.ok("groups", format!("all {} groups that the policy names exist", named.len()));
        }
    }
}

/// The groups that the policy or the configuration names, each with the rule or key.
fn named(config: &Config) -> Vec<(&str, String)> {
    let mut named: Vec<(&str, String)> = Vec::new();
    for rule in config.policy.rules() {
        let approvers = rule.steps.iter().flat_map(|step| &step.groups);
        let reviewers = rule.break_glass.iter().flat_map(|glass| &glass.review.steps).flat_map(|step| &step.groups);
        let of_rule = rule.who.iter().chain(approvers).chain(reviewers);
        named.extend(of_rule.map(|group| (group.as_str(), format!("the rule `{}`", rule.name))));
    }
    for (groups, key) in [(&config.auditors, "auditors"), (&config.admins, "admins")] {
        named.extend(groups.iter().map(|group| (group.as_str(), format!("`{key}`"))));
    }
    named.sort();
    named.dedup_by(|one, other| one.0 == other.0);
    named
}

/// How the host resolves a group's name.
enum Found {
    /// The group exists, and the groups of people have this spelling.
    As(String),
    /// The group lists this other group next to accounts. The host reads it as the name of an account.
    Nested(String),
    /// The group lists other groups, such as this one, and no account.
    OfGroups(String),
    Nowhere,
}

fn found(name: &str) -> Result<Found, host::Failed> {
    let Some(group) = host::group_named(name)? else { return Ok(Found::Nowhere) };
    // The groups of people are resolved from gids, so this is the name that counts.
    let spelled = host::group(group.gid)?.map_or(group.name, |group| group.name);
    if spelled != name {
        return Ok(Found::As(spelled));
    }
    let (mut inner, mut has_accounts) = (None, group.members.len() > LOOKED_AT);
    for member in group.members.iter().take(LOOKED_AT) {
        if host::account_named(member.as_bytes())?.is_some() {
            has_accounts = true;
        } else if inner.is_none() && host::group_named(member)?.is_some() {
            inner = Some(member.clone());
        }
    }
    Ok(match inner {
        Some(inner) if has_accounts => Found::Nested(inner),
        Some(inner) => Found::OfGroups(inner),
        None => Found::As(spelled),
    })
}

/// The maximum number of members that are checked: a directory can have a whole company in one group.
const LOOKED_AT: usize = 500;

/// Accounts that others can become without a password, in their own user namespace, as rootless containers do
/// (subuid(5)): `(owner, first, last)`.
fn subordinates() -> Vec<(String, u32, u32)> {
    let text = fs::read_to_string("/etc/subuid").unwrap_or_default();
    let range = |line: &str| {
        let mut words = line.trim().splitn(3, ':');
        let (owner, first, count): (_, u32, u32) =
            (words.next()?, words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        Some((owner.to_owned(), first, first.checked_add(count.checked_sub(1)?)?))
    };
    text.lines().filter_map(range).collect()
}

/// The account that the daemon runs as, according to the owner of the state folder.
fn service_account(config: &Config) -> Option<host::Account> {
    let owner = fs::metadata(&config.state).ok()?.uid();
    host::account(owner).ok().flatten().filter(|account| account.uid != 0)
}

fn may_read(account: &host::Account, found: &Metadata) -> bool {
    let needed = if found.is_dir() { 0o5 } else { 0o4 };
    let class = if found.uid() == account.uid {
        6
    } else if in_group(account, found.gid()) {
        3
    } else {
        0
    };
    found.mode() >> class & needed == needed
}

fn in_group(account: &host::Account, gid: u32) -> bool {
    account.gid == gid
        || host::group(gid).ok().flatten().is_some_and(|group| group.members.contains(&account.display_name()))
}

/// The content of a folder; links are not followed.
fn entries(folder: &Path, depth: u32) -> Vec<(PathBuf, Metadata)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_dir() && depth > 1 {
            found.extend(entries(&entry.path(), depth - 1));
        }
        found.push((entry.path(), metadata));
    }
    found
}

/// An account's name, or its uid if it has none.
pub(super) fn user(uid: u32) -> String {
    host::account(uid).ok().flatten().map_or(format!("uid {uid}"), |account| account.display_name())
}

/// The process that has locked a file with flock(2), as the kernel lists it in /proc/locks:
/// `1: FLOCK  ADVISORY  WRITE 1234 fd:01:5678 0 EOF`.
fn holder(lock: &Path) -> Option<u32> {
    let inode = fs::metadata(lock).ok()?.ino().to_string();
    let table = fs::read_to_string("/proc/locks").ok()?;
    table.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip(4);
        let (pid, file) = (words.next()?, words.next()?);
        (file.rsplit(':').next() == Some(inode.as_str())).then(|| pid.parse().ok()).flatten()
    })
}

/// Keeps the last exported line, and the last one that records a start.
#[derive(Default)]
struct Last {
    rest: Vec<u8>,
    line: Vec<u8>,
    started: Vec<u8>,
}

impl io::Write for Last {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.rest.extend_from_slice(part);
            if part.ends_with(b"\n") {
                self.line = std::mem::take(&mut self.rest);
                if self.line.windows(STARTED.len()).any(|window| window == STARTED) {
                    self.started.clone_from(&self.line);
                }
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const STARTED: &[u8] = b"\"kind\":\"started\"";
