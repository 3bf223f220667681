//! `doctor`: one line for each thing that has to be right, with what to do where it is not.
//!
//! It changes nothing except that it makes the private folder, as any request would. `main` calls it.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use jitd::client::is_socket;
use serde::Serialize;

use crate::access::{Daemon, runtime};
use crate::failure::Failure;
use crate::folder::Folder;
use crate::output::{Format, GREEN, RED, paint, safe, safe_name, show};

#[derive(Serialize)]
struct Finding {
    what: &'static str,
    ok: bool,
    found: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    fix: String,
}

/// Looks at everything, shows it, and fails when something is not right.
pub(crate) fn run(daemon: &Daemon, format: Format) -> Result<(), Failure> {
    let mut findings = vec![socket(&daemon.socket)];
    findings.extend(server(daemon));
    findings.push(folder());
    findings.push(kubectl());
    findings.push(time());
    let bad = findings.iter().filter(|finding| !finding.ok).count();
    let line = |finding: &Finding| {
        let mark = if finding.ok { paint("ok  ", GREEN) } else { paint("fail", RED) };
        let fix = if finding.fix.is_empty() { String::new() } else { format!("\n       hint: {}", finding.fix) };
        format!("{mark}   {:<10} {}{fix}", finding.what, finding.found)
    };
    let text = || findings.iter().map(line).collect::<Vec<_>>().join("\n");
    let names =
        || findings.iter().filter(|finding| !finding.ok).map(|finding| finding.what).collect::<Vec<_>>().join("\n");
    show(format, &findings, text, names)?;
    match bad {
        0 => Ok(()),
        1 => Err(Failure::own("one thing is not right", "")),
        several => Err(Failure::own(format!("{several} things are not right"), "")),
    }
}

fn finding(what: &'static str, result: Result<String, (String, String)>) -> Finding {
    match result {
        Ok(found) => Finding { what, ok: true, found, fix: String::new() },
        Err((found, fix)) => Finding { what, ok: false, found, fix },
    }
}

fn socket(path: &Path) -> Finding {
    let shown = safe(&path.display().to_string());
    finding(
        "socket",
        match std::fs::symlink_metadata(path) {
            Ok(found) if is_socket(path) => Ok(format!("{shown}, mode {:04o}", found.permissions().mode() & 0o7777)),
            Ok(_) => Err((format!("{shown} is not a socket"), "name the daemon's socket with --socket".to_owned())),
            Err(error) => Err((
                format!("{shown}: {error}").to_lowercase(),
                "`systemctl start jitd.socket`, or name the socket with --socket".to_owned(),
            )),
        },
    )
}

fn server(daemon: &Daemon) -> Vec<Finding> {
    let why =
        |failure: &Failure| (failure.sentence().map(|(_, sentence)| sentence).unwrap_or_default(), failure.hint());
    let asked = runtime().map(|runtime| {
        runtime.block_on(async {
            let mut client = daemon.connect().await?;
            let server = client.server();
            Ok::<_, Failure>((
                server,
                client.whoami().await.map_err(Failure::from),
                client.clusters().await.map_err(Failure::from),
            ))
        })
    });
    match asked.and_then(|result| result) {
        Err(failure) => vec![finding("server", Err(why(&failure)))],
        Ok((server, who, clusters)) => {
            let account =
                nix::unistd::User::from_uid(server.into()).ok().flatten().map_or(server.to_string(), |user| user.name);
            vec![
                finding("server", Ok(format!("runs as {}", safe_name(&account)))),
                finding(
                    "whoami",
                    who.map(|who| format!("{}, groups: {}", safe_name(&who.name), who.groups.len()))
                        .map_err(|failure| why(&failure)),
                ),
                finding(
                    "clusters",
                    clusters.map_err(|failure| why(&failure)).and_then(|list| {
                        let names: Vec<String> = list.clusters.iter().map(|cluster| safe_name(&cluster.name)).collect();
                        if names.is_empty() {
                            Err((
                                "the daemon knows none".to_owned(),
                                "an admin names them in /etc/jitd/config.yaml".to_owned(),
                            ))
                        } else {
                            Ok(names.join(", "))
                        }
                    }),
                ),
            ]
        }
    }
}

fn folder() -> Finding {
    let opened = Folder::home().map(|folder| safe(&folder.path_of("").display().to_string()));
    finding(
        "folder",
        opened
            .map_err(|failure| (failure.sentence().map(|(_, sentence)| sentence).unwrap_or_default(), failure.hint())),
    )
}

fn kubectl() -> Finding {
    let listed = std::env::var_os("PATH").unwrap_or_default();
    let runs = |path: &Path| {
        std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    let found = std::env::split_paths(&listed).map(|folder| folder.join("kubectl")).find(|path| runs(path));
    finding(
        "kubectl",
        match found {
            Some(path) => Ok(safe(&path.display().to_string())),
            None => Err(("it is not on PATH".to_owned(), "install kubectl, or add its folder to PATH".to_owned())),
        },
    )
}

/// The API server has no leeway, so a clock that nobody sets makes certificates that are not valid yet.
fn time() -> Finding {
    let now = crate::now();
    let synchronised = Path::new("/run/systemd/timesync/synchronized").exists();
    let plausible = now.as_second() > 1_767_225_600;
    finding(
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
