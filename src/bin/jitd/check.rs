//! `jitd check`: whether the files can be meant, and whether a cluster is as the manifest has it.
//!
//! Changes nothing. What is looked at in a cluster is the library's (`check`). `main.rs` calls it.

use std::path::Path;

use jitd::broker::Site;
use jitd::check::{self, Finding, Verdict};
use jitd::grant::request::ClusterName;

use crate::arguments::Output;
use crate::{CLOCK, Failure, cluster_named, policy, print_json, read, runtime, serve};

pub(crate) fn check_files(path: &Path) -> Result<(), Failure> {
    let config = read(path)?;
    let results = policy::tested(&config.policy);
    let mut failed = 0;
    for result in results.iter().filter(|result| !result.passed) {
        failed += 1;
        eprintln!("jitd: {}", policy::failed_line(&config.policy_files.policy, result));
    }
    if failed > 0 {
        eprintln!("jitd: cases of the policy that fail: {failed} of {}; hint: `jitd policy test`", results.len());
        return Err(Failure::No);
    }
    let names: Vec<&str> = config.clusters.keys().map(ClusterName::as_str).collect();
    let cases = if results.is_empty() { String::new() } else { format!(", {} cases pass", results.len()) };
    println!("{}: ok, {} rules for {}{cases}", path.display(), config.policy.len(), names.join(", "));
    Ok(())
}

pub(crate) fn check_clusters(path: &Path, only: Option<&str>, output: Output) -> Result<(), Failure> {
    let config = read(path)?;
    let chosen: Vec<_> = match only {
        Some(cluster) => vec![cluster_named(&config, cluster)?],
        None => config.clusters.iter().collect(),
    };
    let host = config.host.as_str();
    let runtime = runtime()?;
    let mut findings: Vec<Finding> = Vec::new();
    for (name, settings) in chosen {
        eprintln!("cluster {name}: asking {}", settings.server);
        let found = runtime.block_on(async {
            match serve::site(name, settings, host, CLOCK()) {
                Ok(Site { cluster, .. }) => check::check(&cluster, &config.policy, host, CLOCK).await,
                Err(failure) => vec![Finding::unusable(name, failure.why())],
            }
        });
        if matches!(output, Output::Text) {
            for finding in &found {
                println!("{finding}");
            }
        }
        findings.extend(found);
    }
    if matches!(output, Output::Json) {
        print_json(&findings)?;
    }
    match findings.iter().filter(|finding| finding.verdict == Verdict::Fault).count() {
        0 => Ok(()),
        faults => Err(Failure::Ours(format!("faults found: {faults}"))),
    }
}
