//! Programs for the same task, built from their Go modules. All of them read a live cluster, and none here holds what is scanned:
//! a row says whether a program can be had at all, and docs/benchmarks.md has what was measured of their sources.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::table::Row;
use crate::{Failure, progress};

/// Each with its package, and the last version that is known; a later one is tried first.
const PEERS: [(&str, &str, &str); 3] = [
    ("kubesplaining", "github.com/0hardik1/kubesplaining/cmd/kubesplaining", "v1.2.0"),
    ("rbac-tool", "github.com/alcideio/rbac-tool", "v1.20.0"),
    ("rbac-police", "github.com/PaloAltoNetworks/rbac-police", "v1.1.2"),
];

/// How long a build may take.
const BUILD_WITHIN: Duration = Duration::from_secs(300);

pub(crate) fn measure(folder: &Path) -> Result<Vec<Row>, Failure> {
    std::fs::create_dir_all(folder)?;
    let mut rows = Vec::new();
    for (name, package, known) in PEERS {
        progress(&format!("scan: building {name}"));
        let mut why = String::new();
        for version in ["latest", known] {
            match build(&format!("{package}@{version}"), folder)? {
                Ok(()) => {
                    why = format!("{version} can be built; it reads a live cluster, and none here has these roles");
                    break;
                }
                Err(said) => why = format!("{version} cannot be had: {said}"),
            }
        }
        rows.push(Row::new(format!("scan by {name}"), "not measured").against(why));
    }
    Ok(rows)
}

/// Installs a program into a folder; or why it cannot be.
fn build(module: &str, folder: &Path) -> Result<Result<(), String>, Failure> {
    let log = folder.join("log");
    let environment = [("CGO_ENABLED", "0"), ("GOWORK", "off")];
    let mut command = Command::new("go");
    command.args(["install", module]).envs(environment).env("GOBIN", folder).current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(std::fs::File::create(&log)?);
    let mut child = command.spawn()?;
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if begun.elapsed() > BUILD_WITHIN {
            child.kill()?;
            child.wait()?;
            return Ok(Err(format!("not built within {} s", BUILD_WITHIN.as_secs())));
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    let said = std::fs::read_to_string(&log)?;
    let last = said.lines().next_back().unwrap_or_default().trim().to_owned();
    Ok(if status.success() { Ok(()) } else { Err(last) })
}
