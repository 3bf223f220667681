//! The page of a report in a real Chromium, from a file: what somebody sees, searches, clicks and prints.
//!
//! `tests/clients/page` drives the browser and prints what it saw.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail loudly")]

use std::path::{Path, PathBuf};
use std::process::Command;

use jit_core::rbac::risk::Severity::{Critical, High, Low, Medium, Unclassified};
use jit_scan::report::{Context, Document, page};
use jit_scan::{Finding, Hop, Kind, NotEvaluated, Report, Subject};
use serde_json::Value;

const HOSTILE: &str = "</script><img src=x onerror=alert(1)><svg onload=alert(2)>\u{202e}'\"&amp;";

fn finding(number: usize) -> Finding {
    let severities = [Low, Medium, High, Unclassified, Critical];
    let hop = |object: &str, grants: &str| Hop { object: object.to_owned(), grants: format!("{grants} {HOSTILE}") };
    Finding {
        id: format!("E{:02}", number % 70),
        severity: severities[number % severities.len()],
        title: format!("can do something {HOSTILE}"),
        subject: Some(Subject { kind: Kind::User, namespace: None, name: format!("user-{number}-{HOSTILE}") }),
        path: vec![
            hop(&format!("payments/rolebinding/dev-{}", number / 2), "clusterrole/edit to"),
            hop("clusterrole/edit", "create pods"),
            hop("ops/serviceaccount/release", "pods run as it"),
            hop("clusterrole/cluster-admin", "every verb"),
        ],
        scope: vec!["payments".to_owned()],
        system: number % 10 == 9,
    }
}

fn page_file() -> PathBuf {
    let report = Report {
        findings: (0..150).map(finding).collect(),
        not_evaluated: vec![NotEvaluated { what: "secrets".to_owned(), why: format!("refused {HOSTILE}") }],
    };
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("page-{}.html", std::process::id()));
    std::fs::write(&path, page::page(&Document::new(report, Context::default())).unwrap()).unwrap();
    path
}

#[test]
fn the_page_works_in_a_browser_and_nothing_of_a_cluster_runs_in_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let built = Command::new(root.join("tests/clients/build.sh")).arg("page").output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let run = Path::new(String::from_utf8(built.stdout).unwrap().trim()).join("run");
    let file = page_file();
    let output = Command::new(run).arg(&file).arg("user-70-").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::remove_file(&file).unwrap();
    let seen: Value = serde_json::from_slice(&output.stdout).unwrap();

    let none: [&str; 0] = [];
    assert_eq!(seen["errors"], serde_json::json!(none), "{seen:#}");
    assert_eq!(seen["dialogs"], 0, "{seen:#}");
    assert_eq!(seen["images"], 0, "{seen:#}");
    let requests = seen["requests"].as_array().unwrap();
    // Opened twice: on a desk and on a phone.
    assert_eq!(requests.len(), 2, "{seen:#}");
    assert!(requests.iter().all(|request| request.as_str().unwrap().starts_with("file:///")), "{seen:#}");

    // 15 of 150 are what Kubernetes ships; the first 100 are listed.
    assert_eq!(seen["status"], "135 of 150 findings");
    assert_eq!((&seen["findings"], &seen["cleared"]), (&100.into(), &100.into()));
    assert_eq!(seen["searched"], 1);
    let steps = seen["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 4, "{seen:#}");
    assert!(steps[0].as_str().unwrap().contains("</script><img src=x onerror=alert(1)>"), "{seen:#}");
    assert!(!steps[0].as_str().unwrap().contains('\u{202e}'), "{seen:#}");
    // The subject and its four objects.
    assert_eq!(seen["marked"], 5, "{seen:#}");
    assert_eq!(seen["through"], 1, "{seen:#}");
    let worst = seen["worstOnly"].as_array().unwrap();
    assert!(!worst.is_empty() && worst.iter().all(|severity| severity == "critical"), "{seen:#}");
    // On paper every path is open, and no control is left.
    assert_eq!(seen["printed"], worst.len(), "{seen:#}");
    assert_eq!(seen["printedFilters"], 0);

    assert_eq!((&seen["phoneOverflows"], &seen["stillFits"]), (&false.into(), &true.into()), "{seen:#}");
    assert_eq!(seen["phoneSteps"], 4);
    for run in ["axe", "openAxe", "phoneAxe"] {
        assert_eq!(seen[run], serde_json::json!(none), "{run} {seen:#}");
    }
}
