//! `jitd ca`: shows a cluster's certificate authority, renews it, or imports one from another PKI.
//!
//! The library (`ca::store`) changes keys and certificates. `main.rs` calls this.

use std::path::Path;

use jitd::ca::KeyChange;
use jitd::ca::store::{self, CertificateFacts, Sealed};
use jitd::grant::request::ClusterName;
use jitd::service;

use crate::arguments::CaVerb;
use crate::print::say;
use crate::{CLOCK, Failure, cluster_named, print, read};

pub(crate) fn ca(path: &Path, verb: &CaVerb) -> Result<(), Failure> {
    service::keep_memory_private()?;
    let config = read(path)?;
    let now = CLOCK();
    let shown = match verb {
        CaVerb::Show { cluster } => {
            let (_, found) = cluster_named(&config, cluster)?;
            store::show(&found.authority, &found.key, now)?
        }
        CaVerb::Renew { cluster, root_key, issuing_days, new_key } => {
            let (name, found) = cluster_named(&config, cluster)?;
            let change = if *new_key { KeyChange::New } else { KeyChange::Kept };
            store::renew(&found.authority, &found.key, name, root_key.as_deref(), change, *issuing_days, now)?
        }
        CaVerb::Seal { cluster } => {
            let (name, found) = cluster_named(&config, cluster)?;
            return report_seal(store::seal(&found.authority, &found.key, name)?, name, path);
        }
        CaVerb::Csr { cluster } => {
            let (name, found) = cluster_named(&config, cluster)?;
            print::result(store::csr(&found.authority, &found.key, name)?)?;
            say!("have your PKI sign this as a CA with path length 0, then run `jitd ca import {name} CHAIN`");
            return Ok(());
        }
        CaVerb::Import { cluster, file } => {
            let chain = std::fs::read_to_string(file)
                .map_err(|error| Failure::usage(format!("`{}`: {error}", file.display())))?;
            let (_, found) = cluster_named(&config, cluster)?;
            store::import(&found.authority, &found.key, &chain, now)?
        }
    };
    let certificates = [("issuing", &shown.issuing)]
        .into_iter()
        .chain(shown.between.iter().map(|facts| ("between", facts)))
        .chain([("root", &shown.root)]);
    let lines = certificates.map(|(what, CertificateFacts { subject, not_before, not_after, sha256, .. })| {
        format!("{what:<8} {subject}\n{:9}valid   {not_before} to {not_after}\n{:9}sha256  {sha256}\n", "", "")
    });
    print::result(lines.collect::<String>())?;
    if shown.root_key_is_here {
        print::notice("the root key is on this host", "move it to an offline place; only `jitd ca renew` needs it");
    }
    if shown.plain_key_is_here {
        print::notice("a plain issuing key is on this host too", "`jitd ca seal` removes it if it was sealed");
    }
    if shown.key_is_pending {
        print::notice("a key waits for its certificate", "`jitd ca import` imports the certificates from your PKI");
    }
    if !shown.root_file_is_current {
        print::notice(
            "`root.crt` is not the root of the issuing certificate",
            "run `jitd ca import` again with the whole chain",
        );
    }
    Ok(())
}

/// stdout is the line for the configuration; empty if nothing has to be written.
fn report_seal(sealed: Sealed, cluster: &ClusterName, config: &Path) -> Result<(), Failure> {
    match sealed {
        Sealed::ConfigurationIsLeft { name, drop_in } => {
            print::result(format!("key: {{credential: {name}}}"))?;
            say!("cluster {cluster}: the issuing key is sealed as `{name}`; `{}` passes it to jitd", drop_in.display());
            say!("  1. add the line above to `{}`, in the entry of cluster {cluster}", config.display());
            say!("  2. systemctl daemon-reload && systemctl restart jitd");
            say!("  3. jitd --config {} ca seal {cluster}      # removes the plain key", config.display());
        }
        Sealed::Done { name, removed: true } => {
            print::notice(
                &format!(
                    "cluster {cluster}: the plain key was removed; the issuing key is in the credential `{name}` only"
                ),
                &format!("a disk can keep deleted data; `jitd ca renew {cluster} --new-key` replaces the key"),
            );
        }
        Sealed::Done { name, removed: false } => {
            say!("cluster {cluster}: the issuing key is in the credential `{name}` only; nothing remains to be done");
        }
    }
    Ok(())
}
