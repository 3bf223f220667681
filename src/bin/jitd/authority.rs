//! `jitd ca`: looks at a cluster's certificate authority, renews it, or takes one from another PKI.
//!
//! What it does to keys and certificates is the library's (`ca::store`). `main.rs` calls it.

use std::io::{Write, stdout};
use std::path::{Path, PathBuf};

use jitd::ca::store;
use jitd::grant::request::ClusterName;

use crate::arguments::CaVerb;
use crate::{CLOCK, Failure, cluster_named, read};

pub(crate) fn ca(path: &Path, verb: &CaVerb) -> Result<(), Failure> {
    let config = read(path)?;
    let of = |cluster: &str| -> Result<(ClusterName, PathBuf), Failure> {
        let (name, found) = cluster_named(&config, cluster)?;
        Ok((name.clone(), found.authority.clone()))
    };
    let now = CLOCK();
    let shown = match verb {
        CaVerb::Show { cluster } => store::show(&of(cluster)?.1, now)?,
        CaVerb::Renew { cluster, root_key, issuing_days } => {
            let (name, folder) = of(cluster)?;
            store::renew(&folder, &name, root_key.as_deref(), *issuing_days, now)?
        }
        CaVerb::Csr { cluster } => {
            let (name, folder) = of(cluster)?;
            print!("{}", store::csr(&folder, &name)?);
            eprintln!("let your PKI sign this as a CA with path length 0, then `jitd ca import {name} CHAIN`");
            return Ok(());
        }
        CaVerb::Import { cluster, file } => {
            let chain = std::fs::read_to_string(file)
                .map_err(|error| Failure::Usage(format!("`{}`: {error}", file.display())))?;
            store::import(&of(cluster)?.1, &chain, now)?
        }
    };
    let mut out = stdout().lock();
    let certificates = [("issuing", &shown.issuing)]
        .into_iter()
        .chain(shown.between.iter().map(|facts| ("between", facts)))
        .chain([("root", &shown.root)]);
    for (what, facts) in certificates {
        writeln!(out, "{what:<8} {}", facts.subject)?;
        writeln!(out, "         valid   {} to {}", facts.not_before, facts.not_after)?;
        writeln!(out, "         sha256  {}", facts.sha256)?;
    }
    if shown.root_key_is_here {
        eprintln!("the root key is on this host\nhint: move it away; only `jitd ca renew` needs it");
    }
    if shown.key_is_pending {
        eprintln!("a key waits for its certificate\nhint: `jitd ca import` takes the answer of your PKI");
    }
    if !shown.root_file_is_current {
        eprintln!(
            "`root.crt` is not the root of the issuing certificate\nhint: `jitd ca import` again, with the whole chain"
        );
    }
    Ok(())
}
