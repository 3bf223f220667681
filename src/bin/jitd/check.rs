//! `jitd check`: whether the files can be meant, and whether a cluster is as the manifest has it.
//!
//! Changes nothing. What is looked at in a cluster is the library's (`check`). `main.rs` calls it.

use std::path::Path;

use jiff::SignedDuration;
use jitd::check::{self, CheckResult, Verdict};
use jitd::cluster::{Cluster, Credential};
use jitd::config::{ClusterConfig, Config};
use jitd::daemon;
use jitd::grant::request::ClusterName;

use crate::policy::cases;
use crate::print::{self, Output, counted, say};
use crate::{CLOCK, Failure, cluster_named, read, runtime};

pub(crate) fn check_files(path: &Path) -> Result<(), Failure> {
    let config = read(path)?;
    let results = cases::tested(&config.policy);
    let mut failed = 0;
    for result in results.iter().filter(|result| !result.passed) {
        failed += 1;
        say!("jitd: {}", cases::failed_line(&config.policy_files.policy, result));
    }
    if failed > 0 {
        print::notice(
            &format!("jitd: {failed} of {} policy cases fail", results.len()),
            "`jitd policy test` shows them",
        );
        return Err(Failure::No);
    }
    let names: Vec<&str> = config.clusters.keys().map(ClusterName::as_str).collect();
    let cases = match results.len() {
        0 => String::new(),
        1 => ", 1 case passes".to_owned(),
        several => format!(", {several} cases pass"),
    };
    let rules = counted(config.policy.len(), "rule");
    print::result(format!("{}: ok, {rules} for {}{cases}", path.display(), names.join(", ")))
}

pub(crate) fn check_clusters(path: &Path, only: Option<&str>, output: Output) -> Result<(), Failure> {
    let config = read(path)?;
    let chosen: Vec<_> = match only {
        Some(cluster) => vec![cluster_named(&config, cluster)?],
        None => config.clusters.iter().collect(),
    };
    let mut results: Vec<CheckResult> = Vec::new();
    for (name, settings) in chosen {
        say!("cluster {name}: asking {}", settings.server);
        let found = examine(&config, name, settings, Extent::Whole)?;
        if matches!(output, Output::Text) {
            for result in &found {
                print::result(result.to_string())?;
            }
        }
        results.extend(found);
    }
    if matches!(output, Output::Json) {
        print::json(&results)?;
    }
    match results.iter().filter(|result| result.verdict == Verdict::Fault).count() {
        0 => Ok(()),
        faults => Err(Failure::ours(format!("faults found: {faults}"))),
    }
}

/// How long the certificate without rights lasts that proves the trust.
const PROBE: SignedDuration = SignedDuration::from_mins(2);

/// The variables by which other programs find their way to an API server.
const PROXIES: [&str; 2] = ["HTTPS_PROXY", "https_proxy"];

/// How much is asked of a cluster.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Whether it trusts the authority; needs nothing of the policy.
    Proof,
    /// And if it does, the rest.
    Whole,
}

/// What there is to say about one cluster.
pub(crate) fn examine(
    config: &Config,
    name: &ClusterName,
    settings: &ClusterConfig,
    extent: Extent,
) -> Result<Vec<CheckResult>, Failure> {
    let host = config.host.as_str();
    let found = runtime()?.block_on(async {
        let site = daemon::site(name, settings, host, CLOCK())?;
        // Where neither the daemon nor people use a certificate of the authority, the cluster need not trust it.
        let mut results = if settings.kubeconfig.is_some() && settings.gateway.is_some() {
            vec![CheckResult::without_trust(name)]
        } else {
            let made = site.authority().probe_credential(host, PROBE, CLOCK())?;
            let credential = Credential::Certificate { chain_pem: made.chain_pem, key_pem: made.key_pem };
            let probe = Cluster::connect(site.cluster.endpoint().clone(), host, &credential)?;
            check::prove(&probe, &settings.authority, host, CLOCK).await
        };
        // A kubeconfig gets the daemon in all the same, though not the people.
        let gets_in = settings.kubeconfig.is_some() || results.iter().all(|found| found.verdict != Verdict::Fault);
        // What kubectl takes to get there, and we don't.
        let is_away = results.iter().any(|found| found.check == "connection" && found.verdict == Verdict::Fault);
        let proxy = PROXIES.into_iter().find(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()));
        results.extend(proxy.filter(|_| is_away).map(|variable| CheckResult::proxy(name, variable)));
        let shared = daemon::shared_authority(config, name, &site.authority());
        results.extend(shared.map(|error| CheckResult::fault(name, "authority", &error)));
        if extent == Extent::Whole && gets_in {
            results.extend(check::check(&site.cluster, &config.policy, host, CLOCK).await);
        }
        Ok(results)
    });
    Ok(found.unwrap_or_else(|failure: Failure| vec![CheckResult::unusable(name, &failure)]))
}
