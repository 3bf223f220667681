//! The alerts, the dashboard and their page use only metrics that a running daemon has.
//!
//! promtool tests what the alerts do (tests/packages).

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::bastion::{ALICE, BOB, Bastion, Key, Options, ROOT, repository, text};
use crate::plane::{Plane, scratch, until};

/// Each metric and each label value that a file names is one of `/metrics`.
#[test]
fn every_named_metric_exists() {
    let directory =
        "keycloak: \"https://id.example/admin/realms/corp\", clientId: jitd, secret: {file: none}, groups: {/a: a}";
    let config = format!(
        "providers: [{{issuer: \"https://id.example/realms/corp\", groups: [a], directory: {{{directory}}}}}]\n"
    );
    let bastion = Bastion::with(Plane::shared(), Options { config, ..Options::default() });
    // A call that is counted, for the labels of answers come with the first one.
    assert_eq!(bastion.call(ALICE, "GET", "/v1/whoami", &Value::Null).0, 200);
    // Nor is there anything of a scan before one has finished.
    let numbers =
        json!({ "open": { "high": 2 }, "new": 1, "gone": 0, "notEvaluated": 3, "reportSha256": "0".repeat(64) });
    let scan = json!({ "cluster": "play", "finished": numbers });
    assert_eq!(bastion.operate(ROOT, "POST", "/v1/scans", &scan).0, 200);
    // Nor of decisions before the first one.
    let grant = bastion.request(ALICE, &bastion.ask("5m"), &Key::new());
    assert_eq!(bastion.approve(BOB, &grant).0, 200);
    let metrics = bastion.get(ALICE, "/metrics").1;
    let metrics = metrics.as_str().unwrap();
    let approved =
        format!("jitd_decision_seconds_count{{rule=\"{}\",decision=\"approved\"}} 1", grant["rule"].as_str().unwrap());
    assert!(metrics.contains(&approved), "{metrics}");
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

/// node_exporter shows everything that jitd-metrics.service writes, with the age that an alert uses.
#[test]
fn node_exporter_shows_the_metrics_of_the_daemon() {
    let bastion = Bastion::start();
    let folder = scratch("textfile");
    let of_notify = scratch("of-notify").join("metrics.prom");
    std::fs::write(&of_notify, "# TYPE jit_notify_waiting gauge\njit_notify_waiting{channel=\"siem\"} 7\n").unwrap();
    for command in collector(&bastion, &of_notify) {
        let done = Command::new("sh").args(["-c", &command]).current_dir(&folder).output().unwrap();
        assert!(done.status.success(), "{command}: {}", text(&done.stderr));
    }
    let written = std::fs::read_to_string(folder.join("jitd.prom")).unwrap();

    let found = Command::new(repository().join("tests/packages/debian-program.sh"))
        .args(["prometheus-node-exporter", "prometheus-node-exporter"])
        .output()
        .unwrap();
    assert!(found.status.success(), "{}", text(&found.stderr));
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let exporter = Command::new(text(&found.stdout).trim())
        .args(["--collector.disable-defaults", "--collector.textfile"])
        .arg(format!("--collector.textfile.directory={}", folder.display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _exporter = Ended(exporter);
    let shown = until("node_exporter answers", || {
        let curl =
            Command::new("curl").args(["--silent", "--fail", &format!("http://127.0.0.1:{port}/metrics")]).output();
        curl.ok().filter(|done| done.status.success()).map(|done| text(&done.stdout))
    });
    let samples = |text: &str| -> BTreeSet<String> {
        let names = text.lines().filter(|line| line.starts_with("jitd_"));
        names.filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
    };
    assert_eq!(samples(&shown), samples(&written));
    assert!(shown.contains("jit_notify_waiting{channel=\"siem\"} 7\n"), "{shown}");
    assert!(shown.contains("node_textfile_mtime_seconds{file=\""), "{shown}");
    assert!(shown.contains("node_textfile_scrape_error 0"), "{shown}");
}

/// The commands of the unit, with this test's socket and file of jit-notify in place of the host's.
fn collector(bastion: &Bastion<'_>, of_notify: &Path) -> Vec<String> {
    let unit = std::fs::read_to_string(repository().join("packaging/prometheus/jitd-metrics.service")).unwrap();
    let commands: Vec<String> = unit
        .lines()
        .filter_map(|line| line.strip_prefix("ExecStart="))
        // systemd goes on where a command with `-` fails.
        .map(|command| command.trim_start_matches('-'))
        .map(|command| command.replace("/run/jitd/api.sock", bastion.socket().to_str().unwrap()))
        .map(|command| command.replace("/run/jit-notify/metrics.prom", of_notify.to_str().unwrap()))
        .collect();
    assert!(commands.len() == 4 && commands[0].contains(bastion.socket().to_str().unwrap()), "{commands:?}");
    commands
}

/// A process that ends with its test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The dashboard is valid: its panels do not overlap, and each has a query for the chosen data source.
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
