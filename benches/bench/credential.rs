//! What kubectl's exec plugin costs each kubectl call, and the line of access each prompt: `jit-login credential`
//! and `jit-login status --short` from their files, against `/bin/true`, in turns.
//!
//! The difference is the program's own: all are started and waited for in the same way, as the same
//! account. The program and the account's files lie in the temporary folder, for that account has to
//! reach them.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::Value;

use crate::client::jit_login;
use crate::daemon::{ALICE, BOB, Daemon, open_folder, private_folder};
use crate::load::median;
use crate::plane::Plane;
use crate::process::run;
use crate::table::{Row, number};
use crate::{Failure, Settings, progress};

const NAMESPACE: &str = "credential";

pub(crate) async fn measure(plane: &Plane, settings: &Settings) -> Result<Vec<Row>, Failure> {
    let folder = Folder(std::env::temp_dir().join(format!("jitd-bench-{}", std::process::id())));
    let times = settings.shorter(300, 50);
    plane.namespace(NAMESPACE).await?;
    open_folder(&folder.0)?;
    let mut daemon = Daemon::prepare(plane, &folder.0.join("jitd"), "credential", &[NAMESPACE.to_owned()])?;
    daemon.start().await?;
    let program = folder.0.join("jit-login");
    std::fs::copy(jit_login()?, &program)?;
    let person = |uid: u32| -> Result<PathBuf, Failure> {
        let home = folder.0.join(uid.to_string());
        private_folder(&home)?;
        chown(&home, Some(uid), Some(uid))?;
        Ok(home)
    };
    let (alice, bob) = (person(ALICE)?, person(BOB)?);
    let socket = daemon.folder.join("run/api.sock");
    let jit_login = |uid: u32, home: &Path, words: &[&str]| {
        let mut command = Command::new(&program);
        command.args(words).uid(uid).gid(uid).env_clear();
        command.env("HOME", home).env("XDG_RUNTIME_DIR", home).env("JITD_SOCKET", &socket).current_dir("/");
        command
    };
    let ask = ["request", "bench", "-n", NAMESPACE, "--role", "view", "--for", "1h", "--reason", "a benchmark"];
    run(jit_login(ALICE, &alice, &ask).arg("--no-wait"))?;
    let grants: Value = serde_json::from_str(&run(&mut jit_login(ALICE, &alice, &["ls", "-o", "json"]))?)?;
    let id = find_id(&grants).ok_or_else(|| format!("no grant in {grants}"))?;
    run(&mut jit_login(BOB, &bob, &["approve", id, "--yes"]))?;
    run(&mut jit_login(ALICE, &alice, &["wait", id]))?;
    let plugin = ["credential", "--grant", id];
    let given: Value = serde_json::from_str(&run(&mut jit_login(ALICE, &alice, &plugin))?)?;
    if given["kind"] != "ExecCredential" {
        return Err(format!("the plugin gives {given}").into());
    }
    // From now on it can only come from the file.
    daemon.stop()?;

    progress(&format!("credential: {times} times, in turns with /bin/true"));
    let prompt = ["status", "--short"];
    if run(&mut jit_login(ALICE, &alice, &prompt))?.is_empty() {
        return Err("the prompt does not tell of the access".into());
    }
    let (mut ours, mut prompts, mut nothing) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..times {
        nothing.push(time(Command::new("/bin/true").uid(ALICE).gid(ALICE).env_clear().current_dir("/"))?);
        ours.push(time(&mut jit_login(ALICE, &alice, &plugin))?);
        prompts.push(time(&mut jit_login(ALICE, &alice, &prompt))?);
    }
    let (ours, prompts, nothing) = (median(ours), median(prompts), median(nothing));
    Ok(vec![
        Row::new("jit-login credential from its file", number(ours, "ms"))
            .against(format!("/bin/true {}", number(nothing, "ms")))
            .at_most(ours - nothing, 3.0, "ms more"),
        Row::new("jit-login status --short, in a prompt", number(prompts, "ms"))
            .against(format!("/bin/true {}", number(nothing, "ms")))
            .shows(format!("{} more", number(prompts - nothing, "ms"))),
    ])
}

/// Milliseconds from the start of a program to its end.
fn time(command: &mut Command) -> Result<f64, Failure> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let begun = Instant::now();
    let status = command.status()?;
    let took = begun.elapsed();
    if !status.success() {
        return Err(format!("{command:?}: {status}").into());
    }
    Ok(took.as_secs_f64() * 1e3)
}

/// The first id in what `ls` prints, a list or an object with one.
fn find_id(found: &Value) -> Option<&str> {
    let list = found.as_array().or_else(|| found["grants"].as_array())?;
    list.first()?["id"].as_str()
}

/// A folder that goes with this.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
