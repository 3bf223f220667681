//! `doctor`: one line for each check, with the fix if it fails.
//!
//! ```text
//!  caller ─► socket ─► server, whoami, clusters ─► folder ─► kubectl, its plugin, its kubeconfigs ─► clock
//! ```
//! It changes nothing, except that it creates the private folder, as any request does. `main` calls it.

mod kubectl;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use jit_wire::ErrorCode;
use jit_wire::client::{ClientError, is_socket};
use nix::unistd::{Gid, Group, Uid, User, getegid, getgroups};
use serde::Serialize;
use utoipa::ToSchema;

use crate::bastion::Bastion;
use crate::cache::local_grants;
use crate::daemon::{Daemon, runtime};
use crate::failure::Failure;
use crate::folder::Folder;
use crate::output::{Format, show};
use crate::text::{GREEN, RED, paint, program, safe, safe_name};

#[derive(Serialize, ToSchema)]
pub(crate) struct Diagnosis {
    /// The check.
    #[schema(value_type = String)]
    what: &'static str,
    ok: bool,
    /// What was found.
    found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "String::is_empty")]
    fix: String,
}

/// Runs all checks, shows the results, and fails if a check failed.
pub(crate) fn run(daemon: &Daemon, format: Format) -> Result<(), Failure> {
    let mut diagnoses = vec![caller()];
    match daemon.bastion() {
        Ok(None) => diagnoses.push(socket(&daemon.socket)),
        Ok(Some(bastion)) => diagnoses.push(session(&bastion)),
        Err(failure) => diagnoses.push(diagnosis("session", Err(why(&failure)))),
    }
    let named = kubectl::named_grants();
    let (of_server, grants) = server(daemon, named.into_iter().chain(local_grants()));
    diagnoses.extend(of_server);
    diagnoses.extend([runtime_folder(), folder(), leftovers(&grants)]);
    diagnoses.extend(kubectl::diagnoses(&grants));
    diagnoses.push(time());
    let bad = diagnoses.iter().filter(|diagnosis| !diagnosis.ok).count();
    let line = |diagnosis: &Diagnosis| {
        let mark = if diagnosis.ok { paint("ok  ", GREEN) } else { paint("fail", RED) };
        let fix = if diagnosis.fix.is_empty() { String::new() } else { format!("\n       hint: {}", diagnosis.fix) };
        format!("{mark}   {:<10} {}{fix}", diagnosis.what, diagnosis.found)
    };
    let text = || diagnoses.iter().map(line).collect::<Vec<_>>().join("\n");
    let names = || {
        diagnoses
            .iter()
            .filter(|diagnosis| !diagnosis.ok)
            .map(|diagnosis| diagnosis.what)
            .collect::<Vec<_>>()
            .join("\n")
    };
    show(format, &diagnoses, text, names)?;
    match bad {
        0 => Ok(()),
        1 => Err(Failure::own("1 problem found", "")),
        several => Err(Failure::own(format!("{several} problems found"), "")),
    }
}

fn diagnosis(what: &'static str, result: Result<String, (String, String)>) -> Diagnosis {
    match result {
        Ok(found) => Diagnosis { what, ok: true, found, fix: String::new() },
        Err((found, fix)) => Diagnosis { what, ok: false, found, fix },
    }
}

fn caller() -> Diagnosis {
    let uid = Uid::effective();
    let name = User::from_uid(uid).ok().flatten().map(|user| user.name);
    diagnosis(
        "caller",
        match (uid.is_root(), name) {
            (true, _) => Err((
                "you are root, and root is not a person".to_owned(),
                "use your own account, without sudo".to_owned(),
            )),
            (false, Some(name)) => Ok(safe_name(&name)),
            (false, None) => Ok(format!("uid {uid}, an account that the name service does not know")),
        },
    )
}

fn socket(path: &Path) -> Diagnosis {
    let shown = safe(&path.display().to_string());
    let start = "run `systemctl start jitd.socket`, or name the socket with --socket";
    let found = match std::fs::symlink_metadata(path) {
        Ok(_) if !is_socket(path) => {
            Err((format!("{shown} is not a socket"), "name the daemon's socket with --socket".to_owned()))
        }
        Ok(found) => match std::os::unix::net::UnixStream::connect(path) {
            Ok(_) => Ok(format!("{shown}, mode {:04o}", found.permissions().mode() & 0o7777)),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(outside(&shown, found.gid())),
            Err(error) => Err((
                format!("{shown} exists, but nothing answers: {error}").to_lowercase(),
                "ask an administrator to run `systemctl restart jitd.socket jitd.service`, or `jitd doctor`".to_owned(),
            )),
        },
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Err((
            format!("{shown}: you may not enter the folder"),
            "ask an administrator to run `jitd doctor`, which shows the right mode".to_owned(),
        )),
        Err(error) => Err((format!("{shown}: {error}").to_lowercase(), start.to_owned())),
    };
    diagnosis("socket", found)
}

/// Why this account may not open the socket: it is not in its group, or this login began before it was.
fn outside(shown: &str, gid: u32) -> (String, String) {
    let group = Group::from_gid(Gid::from_raw(gid)).ok().flatten();
    let name = group.as_ref().map_or(format!("gid {gid}"), |group| safe_name(&group.name));
    let user = User::from_uid(Uid::effective()).ok().flatten().map(|user| user.name);
    let listed = |group: &Group| user.as_ref().is_some_and(|user| group.mem.contains(user));
    let has = getegid().as_raw() == gid || getgroups().is_ok_and(|list| list.contains(&Gid::from_raw(gid)));
    let who = user.as_deref().map_or("NAME".to_owned(), safe_name);
    if !has && group.as_ref().is_some_and(listed) {
        (
            format!("{shown} is for the group {name}, and you were added to it after this login began"),
            format!("log in again, or continue in `newgrp {name}`"),
        )
    } else if has || group.is_none() {
        (
            format!("{shown} is not open to this account"),
            "ask an administrator to run `jitd doctor`, which shows the right mode".to_owned(),
        )
    } else {
        (
            format!("{shown} is for the group {name}, and you are not a member"),
            format!("ask an administrator to run `gpasswd -a {who} {name}`; then log in again"),
        )
    }
}

fn why(failure: &Failure) -> (String, String) {
    let hint = match failure {
        // Not this command once more.
        Failure::Client(ClientError::Unreachable { .. }) => "run `systemctl status jitd` on this host".to_owned(),
        _ => failure.hint(),
    };
    (failure.sentence().map(|(_, sentence)| sentence).unwrap_or_default(), hint)
}

/// Whether this account has a session at a front end.
fn session(bastion: &Bastion) -> Diagnosis {
    let found = bastion.key().and_then(|_| bastion.place());
    diagnosis(
        "session",
        found.map(|place| format!("at {}, kept in {place}", bastion.url)).map_err(|failure| why(&failure)),
    )
}

/// The state of grants according to the daemon, without those for which the query failed.
type Grants = BTreeMap<String, Standing>;

/// Whether a grant is open.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Open,
    Over,
    /// The daemon knows no such grant, or we may not see it.
    Unknown,
}

/// A folder can contain files of many grants; querying all of them would take too long.
const MOST_GRANTS: usize = 20;

fn server(daemon: &Daemon, named: impl Iterator<Item = String>) -> (Vec<Diagnosis>, Grants) {
    let asked = runtime().map(|runtime| {
        runtime.block_on(async {
            let mut client = daemon.connect().await?;
            let server = client.server();
            let who = client.whoami().await.map_err(Failure::from);
            let clusters = client.clusters().await.map_err(Failure::from);
            let mut grants = Grants::new();
            for id in named.take(MOST_GRANTS) {
                let standing = match client.show(&id).await {
                    Ok(grant) if grant.phase.is_open() => Standing::Open,
                    Ok(_) => Standing::Over,
                    Err(ClientError::Problem(problem)) if problem.known() == Some(ErrorCode::NoSuchGrant) => {
                        Standing::Unknown
                    }
                    Err(_) => continue,
                };
                grants.insert(id, standing);
            }
            Ok::<_, Failure>((server, who, clusters, grants))
        })
    });
    let (server, who, clusters, grants) = match asked.and_then(|result| result) {
        Err(failure) => return (vec![diagnosis("server", Err(why(&failure)))], Grants::new()),
        Ok(answers) => answers,
    };
    let account =
        |server: u32| User::from_uid(server.into()).ok().flatten().map_or(server.to_string(), |user| user.name);
    let runs = match server {
        Some(server) => format!("runs as {}", safe_name(&account(server))),
        None => format!("has the root of the invitation, at {}", daemon.socket.display()),
    };
    let none = || ("the daemon has none".to_owned(), "an administrator adds them to /etc/jitd/config.yaml".to_owned());
    let clusters = clusters.map_err(|failure| why(&failure)).and_then(|list| {
        let names: Vec<String> = list.clusters.iter().map(|cluster| safe_name(&cluster.name)).collect();
        if names.is_empty() { Err(none()) } else { Ok(names.join(", ")) }
    });
    let mut diagnoses = vec![diagnosis("server", Ok(runs))];
    match who {
        Ok(who) => diagnoses.extend([
            diagnosis("whoami", Ok(format!("{}, groups: {}", safe_name(&who.name), who.groups.len()))),
            diagnosis("clusters", clusters),
        ]),
        // The daemon answers nothing else to an unknown caller.
        Err(failure) => diagnoses.push(diagnosis("whoami", Err(why(&failure)))),
    }
    (diagnoses, grants)
}

/// Keys belong into a folder that is removed at logout.
fn runtime_folder() -> Diagnosis {
    let login = "log in by ssh or on a console, which creates one; `su` and `sudo -u` do not".to_owned();
    diagnosis(
        "runtime",
        match std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute()) {
            None => Err(("XDG_RUNTIME_DIR is not set, so keys stay on the disk after logout".to_owned(), login)),
            Some(path) if !path.is_dir() => {
                Err((format!("XDG_RUNTIME_DIR is {}, which does not exist", safe(&path.display().to_string())), login))
            }
            Some(path) => Ok(safe(&path.display().to_string())),
        },
    )
}

/// Keys of grants that somebody else ended; a kubeconfig without its key contains no secret.
fn leftovers(grants: &Grants) -> Diagnosis {
    let names: Vec<String> = Folder::every().unwrap_or_default().iter().flat_map(Folder::names).collect();
    let held: Vec<&str> = names.iter().filter_map(|name| name.strip_suffix(".key")).collect();
    let over = held.iter().filter(|id| matches!(grants.get(**id), Some(Standing::Over | Standing::Unknown))).count();
    diagnosis(
        "keys",
        match over {
            0 => Ok(format!("{} here", held.len())),
            over => Err((
                format!("{over} of {} here belong to grants that are over", held.len()),
                format!("`{} ls` removes them", program()),
            )),
        },
    )
}

fn folder() -> Diagnosis {
    let opened = Folder::home().map(|folder| safe(folder.path_of("").display().to_string().trim_end_matches('/')));
    diagnosis("folder", opened.map_err(|failure| why(&failure)))
}

/// The API server allows no clock skew, so certificates from a host with a wrong clock can be not valid yet.
fn time() -> Diagnosis {
    let now = crate::now();
    let synchronised = Path::new("/run/systemd/timesync/synchronized").exists();
    let plausible = now.as_second() > 1_767_225_600;
    diagnosis(
        "clock",
        match (plausible, synchronised) {
            (true, true) => Ok(format!("{}, set by systemd-timesyncd", now.strftime("%Y-%m-%d %H:%M:%S UTC"))),
            (true, false) => {
                Ok(format!("{} (it is unknown whether NTP sets it)", now.strftime("%Y-%m-%d %H:%M:%S UTC")))
            }
            (false, _) => Err((
                format!("{} cannot be right", now.strftime("%Y-%m-%d %H:%M:%S UTC")),
                "set the clock; see `timedatectl status`".to_owned(),
            )),
        },
    )
}
