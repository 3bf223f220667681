//! `doctor`: one line for each thing that has to be right, with what to do where it is not.
//!
//! ```text
//!  caller ─► socket ─► server, whoami, clusters ─► folder ─► kubectl, its plugin, its kubeconfigs ─► clock
//! ```
//! It changes nothing except that it makes the private folder, as any request would. `main` calls it.

mod kubectl;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use jit_wire::ErrorCode;
use jit_wire::client::{ClientError, is_socket};
use nix::unistd::{Gid, Group, Uid, User, getegid, getgroups};
use serde::Serialize;

use crate::cache::local_grants;
use crate::daemon::{Daemon, runtime};
use crate::failure::Failure;
use crate::folder::Folder;
use crate::output::{Format, show};
use crate::text::{GREEN, RED, paint, program, safe, safe_name};

#[derive(Serialize)]
struct Diagnosis {
    what: &'static str,
    ok: bool,
    found: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    fix: String,
}

/// Looks at everything, shows it, and fails when something is not right.
pub(crate) fn run(daemon: &Daemon, format: Format) -> Result<(), Failure> {
    let mut diagnoses = vec![caller(), socket(&daemon.socket)];
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
                "call it as your own account, without sudo".to_owned(),
            )),
            (false, Some(name)) => Ok(safe_name(&name)),
            (false, None) => Ok(format!("uid {uid}, an account that the name service does not know")),
        },
    )
}

fn socket(path: &Path) -> Diagnosis {
    let shown = safe(&path.display().to_string());
    let start = "`systemctl start jitd.socket`, or name the socket with --socket";
    let found = match std::fs::symlink_metadata(path) {
        Ok(_) if !is_socket(path) => {
            Err((format!("{shown} is not a socket"), "name the daemon's socket with --socket".to_owned()))
        }
        Ok(found) => match std::os::unix::net::UnixStream::connect(path) {
            Ok(_) => Ok(format!("{shown}, mode {:04o}", found.permissions().mode() & 0o7777)),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(outside(&shown, found.gid())),
            Err(error) => Err((
                format!("{shown} is there, and nobody answers: {error}").to_lowercase(),
                "an administrator: `systemctl restart jitd.socket jitd.service`, or `jitd doctor`".to_owned(),
            )),
        },
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Err((
            format!("{shown}: the folder can't be entered"),
            "an administrator: `jitd doctor` says how its mode should be".to_owned(),
        )),
        Err(error) => Err((format!("{shown}: {error}").to_lowercase(), start.to_owned())),
    };
    diagnosis("socket", found)
}

/// Why the socket does not let us in: its group is not ours, or not yet in this login.
fn outside(shown: &str, gid: u32) -> (String, String) {
    let group = Group::from_gid(Gid::from_raw(gid)).ok().flatten();
    let name = group.as_ref().map_or(format!("gid {gid}"), |group| safe_name(&group.name));
    let user = User::from_uid(Uid::effective()).ok().flatten().map(|user| user.name);
    let listed = |group: &Group| user.as_ref().is_some_and(|user| group.mem.contains(user));
    let has = getegid().as_raw() == gid || getgroups().is_ok_and(|list| list.contains(&Gid::from_raw(gid)));
    let who = user.as_deref().map_or("NAME".to_owned(), safe_name);
    if !has && group.as_ref().is_some_and(listed) {
        (
            format!("{shown} is for the group {name}, and you came into it after this login began"),
            format!("log in anew, or go on in `newgrp {name}`"),
        )
    } else if has || group.is_none() {
        (
            format!("{shown} is not open to this account"),
            "an administrator: `jitd doctor` says how it should be".to_owned(),
        )
    } else {
        (
            format!("{shown} is for the group {name}, and you are not in it"),
            format!("an administrator: `gpasswd -a {who} {name}`; then log in anew"),
        )
    }
}

/// What the daemon says of grants, those that it could not be asked about left out.
type Grants = BTreeMap<String, Standing>;

/// Whether anything can still happen to a grant.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Open,
    Over,
    /// The daemon knows none of that name that we may see.
    Unknown,
}

/// A folder may hold the files of many grants; kubectl is not waited for that long.
const MOST_GRANTS: usize = 20;

fn server(daemon: &Daemon, named: impl Iterator<Item = String>) -> (Vec<Diagnosis>, Grants) {
    let why =
        |failure: &Failure| (failure.sentence().map(|(_, sentence)| sentence).unwrap_or_default(), failure.hint());
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
    let account = User::from_uid(server.into()).ok().flatten().map_or(server.to_string(), |user| user.name);
    let none =
        || ("the daemon knows none".to_owned(), "an administrator names them in /etc/jitd/config.yaml".to_owned());
    let clusters = clusters.map_err(|failure| why(&failure)).and_then(|list| {
        let names: Vec<String> = list.clusters.iter().map(|cluster| safe_name(&cluster.name)).collect();
        if names.is_empty() { Err(none()) } else { Ok(names.join(", ")) }
    });
    let mut diagnoses = vec![diagnosis("server", Ok(format!("runs as {}", safe_name(&account))))];
    match who {
        Ok(who) => diagnoses.extend([
            diagnosis("whoami", Ok(format!("{}, groups: {}", safe_name(&who.name), who.groups.len()))),
            diagnosis("clusters", clusters),
        ]),
        // Whom the daemon does not know it answers nothing else.
        Err(failure) => diagnoses.push(diagnosis("whoami", Err(why(&failure)))),
    }
    (diagnoses, grants)
}

/// Keys belong into a folder that goes with the login.
fn runtime_folder() -> Diagnosis {
    let login = "log in by ssh or on a console, which makes one; `su` and `sudo -u` do not".to_owned();
    diagnosis(
        "runtime",
        match std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute()) {
            None => Err(("XDG_RUNTIME_DIR is not set, so keys stay on the disk after logout".to_owned(), login)),
            Some(path) if !path.is_dir() => {
                Err((format!("XDG_RUNTIME_DIR is {}, which is not there", safe(&path.display().to_string())), login))
            }
            Some(path) => Ok(safe(&path.display().to_string())),
        },
    )
}

/// Keys of grants that are over, which somebody else ended; a kubeconfig without its key holds no secret.
fn leftovers(grants: &Grants) -> Diagnosis {
    let names: Vec<String> = Folder::every().unwrap_or_default().iter().flat_map(Folder::names).collect();
    let held: Vec<&str> = names.iter().filter_map(|name| name.strip_suffix(".key")).collect();
    let over = held.iter().filter(|id| matches!(grants.get(**id), Some(Standing::Over | Standing::Unknown))).count();
    diagnosis(
        "keys",
        match over {
            0 => Ok(format!("{} here", held.len())),
            over => Err((
                format!("{over} of {} here are of grants that are over", held.len()),
                format!("`{} ls` removes them", program()),
            )),
        },
    )
}

fn folder() -> Diagnosis {
    let opened = Folder::home().map(|folder| safe(folder.path_of("").display().to_string().trim_end_matches('/')));
    diagnosis(
        "folder",
        opened
            .map_err(|failure| (failure.sentence().map(|(_, sentence)| sentence).unwrap_or_default(), failure.hint())),
    )
}

/// The API server has no leeway, so a clock that nobody sets makes certificates that are not valid yet.
fn time() -> Diagnosis {
    let now = crate::now();
    let synchronised = Path::new("/run/systemd/timesync/synchronized").exists();
    let plausible = now.as_second() > 1_767_225_600;
    diagnosis(
        "clock",
        match (plausible, synchronised) {
            (true, true) => Ok(format!("{}, set by systemd-timesyncd", now.strftime("%Y-%m-%d %H:%M:%S UTC"))),
            (true, false) => {
                Ok(format!("{} (whether it is set by the network is not known)", now.strftime("%Y-%m-%d %H:%M:%S UTC")))
            }
            (false, _) => Err((
                format!("{} can't be", now.strftime("%Y-%m-%d %H:%M:%S UTC")),
                "set the clock, `timedatectl status`".to_owned(),
            )),
        },
    )
}
