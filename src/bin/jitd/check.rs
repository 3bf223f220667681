//! `jitd check`: whether the files are valid, and whether a cluster matches the manifest.
//!
//! It changes nothing. The library (`check`) examines the clusters. `main.rs` calls it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use jiff::SignedDuration;
use jitd::check::{self, CheckResult, Verdict};
use jitd::cluster::{Cluster, Credential};
use jitd::config::{ClusterConfig, Config};
use jitd::daemon;
use jitd::grant::policy::{Rule, Step, Yes, unmet};
use jitd::grant::request::{ClusterName, PersonName};
use jitd::people::host;

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
            "`jitd policy test` shows the cases",
        );
        return Err(Failure::No);
    }
    for (rule, lacking) in without_providers(&config) {
        print::notice(
            &format!(
                "jitd: rule `{rule}` has too few approvers when every identity provider is down: no account of this host counts as {lacking}"
            ),
            "an account of the host, in the group or declared under `people` with `uids`, works without a provider",
        );
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

/// The rules that could not be approved by people of the host alone, each with what lacks; none without providers. Members of a
/// group whose primary group it is are not listed by the host, and not counted.
fn without_providers(config: &Config) -> Vec<(&str, String)> {
    if !config.people.have_providers() {
        return Vec::new();
    }
    let mut members: BTreeMap<&str, BTreeSet<PersonName>> = BTreeMap::new();
    let rules = config.policy.rules();
    for group in rules.iter().flat_map(|rule| &rule.steps).flat_map(|step| &step.groups) {
        members.entry(group).or_insert_with(|| of_the_host(config, group));
    }
    let all: BTreeSet<&PersonName> = members.values().flatten().collect();
    let agreed: Vec<Yes> = all
        .into_iter()
        .map(|person| {
            let groups =
                members.iter().filter(|(_, members)| members.contains(person)).map(|(group, _)| (*group).to_owned());
            Yes { by: person.clone(), login: None, groups: groups.collect(), at: CLOCK() }
        })
        .collect();
    let lacking = |rule: &Rule| {
        let steps: Vec<Step> = rule.steps.iter().map(|step| Step { hours: None, ..step.clone() }).collect();
        let lacking: Vec<String> = unmet(&steps, &agreed)
            .iter()
            .map(|(step, count)| format!("{count} of {}", step.groups.join(", ")))
            .collect();
        (!lacking.is_empty()).then(|| lacking.join(" and "))
    };
    rules.iter().filter_map(|rule| Some((rule.name.as_str(), lacking(rule)?))).collect()
}

/// The people with an account of this host who are in a group.
fn of_the_host(config: &Config, group: &str) -> BTreeSet<PersonName> {
    let declared = config.people.declared();
    let mut people: BTreeSet<PersonName> = declared
        .iter()
        .filter(|person| !person.uids.is_empty() && person.groups.contains(group))
        .map(|person| person.name.clone())
        .collect();
    // A name service that fails has no approvers to offer either.
    let listed = host::group_named(group).ok().flatten().map(|group| group.members).unwrap_or_default();
    for account in listed.iter().filter_map(|name| host::account_named(name.as_bytes()).ok()?) {
        match declared.iter().find(|person| person.uids.contains(&account.uid)) {
            Some(person) if person.host_groups => _ = people.insert(person.name.clone()),
            None if !config.people.are_strict() && account.uid != 0 => {
                people.extend(PersonName::of_account(&account.name))
            }
            Some(_) | None => {}
        }
    }
    people
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
        faults => Err(Failure::ours(format!("{} found", counted(faults, "fault")))),
    }
}

/// The validity of the certificate without rights that checks the trust.
const PROBE: SignedDuration = SignedDuration::from_mins(2);

/// The variables that make other programs use a proxy.
const PROXIES: [&str; 2] = ["HTTPS_PROXY", "https_proxy"];

/// What is checked in a cluster.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Only whether it trusts the authority, which does not need the policy.
    Proof,
    /// Everything, if it trusts the authority.
    Whole,
}

/// Checks one cluster.
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
        // With a kubeconfig the daemon has access anyway, although people do not.
        let gets_in = settings.kubeconfig.is_some() || results.iter().all(|found| found.verdict != Verdict::Fault);
        // kubectl uses a proxy, jitd does not.
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
