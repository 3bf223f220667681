//! The alerts, the dashboard and their page speak of numbers that there are, against a daemon that serves.
//!
//! What the alerts do is shown by promtool (tests/packages); here, that nothing they ask for is missing.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::bastion::{ALICE, Bastion, repository};

/// Each name of a number that is written somewhere, and each word of a label, is one that `/metrics` has.
#[test]
fn every_number_that_is_spoken_of_is_there() {
    let bastion = Bastion::start();
    // A call that is counted, for the labels of answers come with the first one.
    assert_eq!(bastion.call(ALICE, "GET", "/v1/whoami", &Value::Null).0, 200);
    let metrics = bastion.get(ALICE, "/metrics").1;
    let metrics = metrics.as_str().unwrap();
    let there: BTreeSet<&str> = metrics
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split([' ', '{']).next())
        .collect();
    assert!(there.len() >= 10, "{metrics}");

    for file in ["packaging/prometheus/jitd.rules.yaml", "packaging/grafana/jitd.json", "docs/monitoring.md"] {
        let written = std::fs::read_to_string(repository().join(file)).unwrap();
        let words = written.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        let named: BTreeSet<&str> = words.filter(|word| word.starts_with("jitd_")).collect();
        assert!(named.len() >= 7, "{file}: {named:?}");
        assert_eq!(named.difference(&there).collect::<Vec<_>>(), Vec::<&&str>::new(), "{file}");
        for label in written.split("phase=").skip(1) {
            let phase = label.trim_start_matches(['\\', '"']).split(['\\', '"']).next().unwrap();
            assert!(metrics.contains(&format!("jitd_grants{{phase=\"{phase}\"}}")), "{file}: {phase}");
        }
    }
    let page = std::fs::read_to_string(repository().join("docs/monitoring.md")).unwrap();
    assert_eq!(there.iter().filter(|name| !page.contains(**name)).collect::<Vec<_>>(), Vec::<&&str>::new());
}

/// The dashboard is one: panels that don't lie on each other, each with a question for the chosen source.
#[test]
fn the_dashboard_can_be_imported() {
    let written = std::fs::read_to_string(repository().join("packaging/grafana/jitd.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&written).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut taken = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().unwrap()));
        let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        for (x, y) in (at("x")..at("x") + at("w")).flat_map(|x| (at("y")..at("y") + at("h")).map(move |y| (x, y))) {
            assert!(x < 24 && taken.insert((x, y)), "{}", panel["title"]);
        }
        for target in panel["targets"].as_array().unwrap() {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
            assert!(target["expr"].as_str().unwrap().contains("instance=~\"$instance\""), "{}", panel["title"]);
        }
    }
    assert!(panels.len() >= 6);
}
