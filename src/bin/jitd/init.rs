//! `jitd init`: the first run. Makes what a host needs before its daemon can serve, and says what is left to do.
//!
//! Whatever is there already it leaves as it is. `main.rs` calls it.

use std::path::Path;

use jitd::ca::store;
use jitd::files;
use jitd::service;

use crate::{CLOCK, Failure, read};

pub(crate) fn init(path: &Path, issuing_days: u16, root_years: u16) -> Result<(), Failure> {
    service::keep_memory_private()?;
    let config = read(path)?;
    files::private_folder(&config.state)?;
    for (name, cluster) in &config.clusters {
        if cluster.authority.join("root.crt").exists() {
            eprintln!("cluster {name}: has its authority already");
            continue;
        }
        if let Some(parent) = cluster.authority.parent() {
            files::private_folder(parent)?;
        }
        let shown = store::init(&cluster.authority, &cluster.key, name, issuing_days, root_years, CLOCK())?;
        let root = cluster.authority.join("root.crt");
        println!("{}", root.display());
        eprintln!("cluster {name}: made its authority, root certificate SHA-256 {}", shown.root.sha256);
        eprintln!("  1. let the API server trust it: add {} to the file of its --client-ca-file", root.display());
        eprintln!(
            "  2. give the daemon its rights: jitd --config {} manifest {name} | kubectl apply -f -",
            path.display()
        );
        eprintln!("  3. see that all of it is in place: jitd --config {} check --cluster {name}", path.display());
        eprintln!(
            "  4. move {} off this host; `jitd ca renew --root-key` needs it again in {issuing_days} days",
            cluster.authority.join("root.key").display()
        );
    }
    Ok(())
}
