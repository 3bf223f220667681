//! Whether a scan finds every planted risk with its path, and says nothing about rights that only look like one.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails loudly")]

mod planted;

use jit_core::rbac::risk::Severity;
use jit_scan::{Access, Report, Snapshot, findings};

use planted::{binding, false_alarms, missed, of, role, snapshot, subject};

fn report(version: &str) -> Report {
    let snapshot = snapshot(version);
    findings(&Access::of(&snapshot))
}

#[test]
fn every_planted_risk_is_found_with_its_path() {
    let missed = missed(&report("v1.36.3"));
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[test]
fn rights_that_only_look_like_a_risk_are_not_reported() {
    let report = report("v1.36.3");
    let alarms = false_alarms(&report);
    assert!(alarms.is_empty(), "{alarms:#?}");
}

#[test]
fn a_right_that_newer_servers_ignore_is_reported_for_older_ones() {
    let found = |version| -> Vec<String> {
        of(&report(version), &subject("n01")).iter().map(|finding| finding.id.clone()).collect()
    };
    assert_eq!(found("v1.34.0"), ["E25", "E26", "E27"]);
    assert_eq!(found("v1.36.0"), [""; 0]);
}

#[test]
fn what_kubernetes_ships_is_marked_and_what_was_added_to_it_is_not() {
    let report = report("v1.36.3");
    let masters = of(&report, &subject("group:system:masters"));
    assert_eq!(
        masters.iter().map(|finding| (finding.id.as_str(), finding.system)).collect::<Vec<_>>(),
        [("E01", true)]
    );
    let contractor = of(&report, &subject("r23"));
    assert_eq!(contractor.iter().map(|finding| finding.system).collect::<Vec<_>>(), [false]);
    assert!(report.findings.is_sorted_by_key(|finding| finding.system), "its findings come last");
    assert!(report.not_evaluated.is_empty(), "{:?}", report.not_evaluated);
}

/// What is like in another version is no less what Kubernetes ships, and rights count as in the most dangerous version.
#[test]
fn an_unknown_version_is_said_and_judged_as_the_most_dangerous_one() {
    let mut unknown = snapshot("v1.36.3");
    unknown.version = None;
    let unknown = findings(&Access::of(&unknown));
    let older = report("v1.20.1");
    for report in [&unknown, &older] {
        let masters = of(report, &subject("group:system:masters"));
        assert_eq!(masters.iter().map(|finding| finding.system).collect::<Vec<_>>(), [true]);
        assert_eq!(of(report, &subject("n01")).len(), 3);
        assert_eq!(report.not_evaluated.len(), 1, "{:?}", report.not_evaluated);
    }
    assert!(unknown.not_evaluated[0].why.contains("--server-version"), "{:?}", unknown.not_evaluated);
    assert!(older.not_evaluated[0].what.contains("v1.20"), "{:?}", older.not_evaluated);
}

/// The same rights are worse where strong accounts can be reached with them.
#[test]
fn a_namespace_with_a_strong_account_counts_like_the_cluster() {
    let report = report("v1.36.3");
    let severity = |who: &str, id: &str| of(&report, &subject(who)).iter().find(|one| one.id == id).unwrap().severity;
    assert_eq!(severity("dev/builder", "E21"), Severity::Critical);
    assert_eq!(severity("r28", "E21"), Severity::High);
    assert_eq!(severity("r21", "E79"), Severity::Critical);
}

#[test]
fn the_same_snapshot_gives_the_same_report() {
    let mut other = snapshot("v1.36.3");
    other.roles.reverse();
    other.bindings.reverse();
    assert_eq!(report("v1.36.3").findings.len(), findings(&Access::of(&other)).findings.len());
    assert_eq!(report("v1.36.3"), report("v1.36.3"));
}

/// Each of 2,000 accounts may create pods beside the next one, and the last may do everything.
#[test]
fn a_long_chain_is_found_from_each_of_its_accounts_by_one_search() {
    const ACCOUNTS: usize = 2_000;
    let mut long = Snapshot { version: Some("v1.36.3".parse().unwrap()), ..Snapshot::default() };
    for number in 0..ACCOUNTS {
        let who = format!("ns-{number}/app");
        let (home, next) = (format!("ns-{number}"), format!("ns-{}", number + 1));
        let place = if number + 1 == ACCOUNTS { "" } else { next.as_str() };
        long.roles.push(role(place, &home, &[], if place.is_empty() { &["* *.*"] } else { &["create pods"] }));
        let reference = if place.is_empty() { format!("clusterrole/{home}") } else { format!("role/{home}") };
        long.bindings.push(binding(place, &home, &reference, &who));
    }
    let report = findings(&Access::of(&long));
    let chains: Vec<_> = report.findings.iter().filter(|finding| finding.id == "P01").collect();
    assert_eq!(chains.len(), ACCOUNTS - 1);
    let of = |who: &str| chains.iter().find(|chain| chain.subject.as_ref() == Some(&subject(who))).unwrap();
    let objects: Vec<&str> = of("ns-1998/app").path.iter().map(|hop| hop.object.as_str()).collect();
    assert_eq!(
        objects,
        [
            "ns-1999/rolebinding/ns-1998",
            "ns-1999/role/ns-1998",
            "ns-1999/serviceaccount/app",
            "clusterrolebinding/ns-1999",
            "clusterrole/ns-1999",
        ]
    );
    assert!(of("ns-0/app").path.len() < 100, "a path is cut where nobody would follow it");
}

/// A risky role that is bound to many people is assessed once.
#[test]
fn a_role_of_many_people_is_a_finding_of_each_with_the_same_path() {
    let mut wide = Snapshot { version: Some("v1.36.3".parse().unwrap()), ..Snapshot::default() };
    wide.roles.push(role("", "ops", &[], &["create pods/exec", "get secrets"]));
    wide.bindings.push(binding("shop", "ops", "clusterrole/ops", "alice"));
    let people = (0..5_000).map(|number| subject(&format!("person-{number}")));
    wide.bindings[0].subjects.extend(people);
    let report = findings(&Access::of(&wide));
    assert_eq!(report.findings.len(), 2 * 5_001);
    let alice = of(&report, &subject("alice"));
    assert_eq!(alice.iter().map(|finding| finding.id.as_str()).collect::<Vec<_>>(), ["E15", "E25"]);
    assert!(alice.iter().all(|finding| finding.scope == ["shop"] && finding.path.len() == 2), "{alice:#?}");
}
