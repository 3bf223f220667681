//! Sets up kubectl for an approved grant: key, certificate, credential and kubeconfig, in an order in which it can continue
//! after a crash at any point.
//!
//! ```text
//!  <grant>.key ─► certificate ─► <grant>.credential ─► <grant>.kubeconfig
//! ```
//! The commands call it.

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

/// Access that kubectl can use.
pub(crate) struct Access {
    /// The stored certificate.
    pub(crate) kept: Kept,
    /// The path of its kubeconfig.
    pub(crate) path: PathBuf,
    /// Its kubeconfig.
    pub(crate) kubeconfig: Kubeconfig,
}

/// Collects an approved grant, or renews a live one if that is due, and writes the files for kubectl.
pub(crate) async fn collect(client: &mut Client, daemon: &Daemon, grant: &GrantView) -> Result<Access, Failure> {
    let keys = holding_key(grant)?;
    let home = if keys.is_lasting() { Some(Folder::home()?) } else { None };
    let folder = home.as_ref().unwrap_or(&keys);
    let found = if grant.phase == Phase::Live { Kept::find(folder, &grant.id)? } else { None };
    let kept = match found {
        // After an extension, the stored certificate has the old end and has to be replaced.
        Some(kept) if kept.is_good(now()) && grant.deadline.is_none_or(|end| end <= kept.until) => kept,
        _ => patiently(client, daemon, &keys, folder, grant).await?,
    };
    let kubeconfig = Kubeconfig::of(&grant.id, &kept, daemon)?;
    let name = kubeconfig_file(&grant.id);
    folder.write(&name, &kubeconfig.yaml()?)?;
    Ok(Access { kept, path: folder.path_of(&name), kubeconfig })
}
