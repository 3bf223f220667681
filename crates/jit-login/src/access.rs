//! From an approved grant to a kubectl that works: key, certificate, credential and kubeconfig, in the
//! order in which a crash between any two leaves something that can be gone on with.
//!
//! ```text
//!  <grant>.key ─► certificate ─► <grant>.credential ─► <grant>.kubeconfig
//! ```
//! The verbs are its callers.

use std::path::PathBuf;

use jit_core::grant::Phase;
use jit_wire::GrantView;
use jit_wire::client::Client;

use crate::cache::{Kept, holding_key, kubeconfig_file};
use crate::daemon::Daemon;
use crate::failure::Failure;
use crate::folder::Folder;
use crate::issue::patiently;
use crate::kubeconfig::Kubeconfig;
use crate::now;

/// Access that works.
pub(crate) struct Access {
    /// What kubectl gets.
    pub(crate) kept: Kept,
    /// Where its kubeconfig is.
    pub(crate) path: PathBuf,
    /// What is in it.
    pub(crate) kubeconfig: Kubeconfig,
}

/// Collects an approved grant, or renews a live one where that is due, and writes what kubectl needs.
pub(crate) async fn collect(client: &mut Client, daemon: &Daemon, grant: &GrantView) -> Result<Access, Failure> {
    let keys = holding_key(grant)?;
    let home = if keys.is_lasting() { Some(Folder::home()?) } else { None };
    let folder = home.as_ref().unwrap_or(&keys);
    let found = if grant.phase == Phase::Live { Kept::find(folder, &grant.id)? } else { None };
    let kept = match found {
        // More time was given since: the new end has to be in what is kept.
        Some(kept) if kept.is_good(now()) && grant.deadline.is_none_or(|end| end <= kept.until) => kept,
        _ => patiently(client, &keys, folder, grant).await?,
    };
    let kubeconfig = Kubeconfig::of(&grant.id, &kept, daemon)?;
    let name = kubeconfig_file(&grant.id);
    folder.write(&name, &kubeconfig.yaml()?)?;
    Ok(Access { kept, path: folder.path_of(&name), kubeconfig })
}
