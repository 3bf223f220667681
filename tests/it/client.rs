//! The client's program, as the sources have it.

use std::io::{Error, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where it is. cargo builds for a test only the programs of the test's own package, and the client is another: so this
/// builds it, with everything of the workspace and in the profile of the test, so that what is built already is used.
///
/// # Errors
/// It does not build.
pub(crate) fn jit_login() -> Result<PathBuf> {
    let jitd = Path::new(env!("CARGO_BIN_EXE_jitd"));
    let (Some(folder), Some(target)) = (jitd.parent(), jitd.ancestors().nth(2)) else {
        return Err(Error::other(format!("{} is in no folder of cargo's", jitd.display())));
    };
    let profile = if folder.ends_with("debug") { "dev".as_ref() } else { folder.file_name().unwrap_or_default() };
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--bins", "--target-dir"]).arg(target).arg("--profile").arg(profile);
    if !cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status()?.success() {
        return Err(Error::other("`jit-login` could not be built"));
    }
    Ok(folder.join("jit-login"))
}
