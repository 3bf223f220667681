//! Every form of the report, with names that are hostile to it; baselines and exceptions.

use std::collections::BTreeMap;

use jiff::civil::date;
use jit_core::rbac::risk::Severity::{self, Critical, High, Low, Medium, Unclassified};
use serde_json::Value;

use self::schema::Schema;
use super::*;
use crate::baseline::{Difference, NotABaseline};
use crate::exceptions::NotExceptions;
use crate::finding::{Hop, Kind, Subject};
use crate::snapshot::Place;

#[path = "../../../../tests/support/schema.rs"]
mod schema;
#[path = "../../../../tests/support/shapes.rs"]
mod shapes;

/// Everything that a terminal, Markdown, HTML or a browser could take for more than a name.
const HOSTILE: &str = "a|`b`</script><img src=x onerror=alert(1)>@bob #1 https://x.invalid \u{1b}[2J\u{202e}x\n# y";

fn subject(kind: Kind, name: &str) -> Subject {
    Subject { kind, namespace: (kind == Kind::ServiceAccount).then(|| "payments".to_owned()), name: name.to_owned() }
}

fn finding(id: &str, severity: Severity, kind: Kind, name: &str, scope: &[&str]) -> Finding {
    Finding {
        id: id.to_owned(),
        severity,
        title: format!("{name} can do {id}"),
        subject: Some(subject(kind, name)),
        path: vec![
            Hop { object: "payments/rolebinding/dev".to_owned(), grants: format!("binds clusterrole/{id} to {name}") },
            Hop { object: format!("clusterrole/{id}"), grants: "get secrets".to_owned() },
        ],
        scope: scope.iter().map(ToString::to_string).collect(),
        system: false,
    }
}

fn report() -> Report {
    let system = Finding { system: true, ..finding("E01", Critical, Kind::Group, "system:masters", &[]) };
    let unused = Finding {
        subject: None,
        path: vec![Hop { object: "clusterrole/old".to_owned(), grants: "nothing binds it".to_owned() }],
        ..finding("H01", Low, Kind::User, "nobody", &["payments"])
    };
    Report {
        findings: vec![
            unused,
            finding("E25", High, Kind::ServiceAccount, "builder", &["payments", "shop"]),
            system,
            finding("E01", Critical, Kind::User, "alice", &[]),
            finding("E01", Critical, Kind::Group, "system:authenticated", &[]),
            finding("E60", Unclassified, Kind::User, HOSTILE, &["payments"]),
        ],
        not_evaluated: vec![NotEvaluated { what: "secrets".to_owned(), why: format!("refused to {HOSTILE}") }],
    }
}

/// Where the manifests are.
fn places() -> BTreeMap<String, Place> {
    let place = Place { file: "deploy/roles of dev.yaml".to_owned(), line: 7 };
    BTreeMap::from([("clusterrole/E25".to_owned(), place)])
}

fn plain() -> Document {
    Document::new(report(), Context::default())
}

#[test]
fn the_worst_is_first_and_what_kubernetes_ships_is_last() {
    let document = plain();
    let order: Vec<(&str, Severity, bool)> = document
        .entries
        .iter()
        .map(|entry| (entry.finding.id.as_str(), entry.finding.severity, entry.finding.system))
        .collect();
    let worst = [("E01", Critical, false), ("E01", Critical, false), ("E60", Unclassified, false)];
    assert_eq!(order, [&worst[..], &[("E25", High, false), ("H01", Low, false), ("E01", Critical, true)]].concat());
    // Of two that are equally severe, the one that more people have.
    assert_eq!(document.entries[0].holder(), "group system:authenticated");
    assert_eq!(document.entries[0].score.value, 81 + 8 + 5 + 4);
    assert_eq!(document.entries[0].score.because.len(), 4);
    assert!(document.failing(High).all(|entry| !entry.finding.system));
    assert_eq!(document.failing(High).count(), 4);
    assert_eq!(document.failing(Low).count(), 5);
}

/// A finding of one severity never gets a score as high as the next one's.
#[test]
fn a_score_never_contradicts_its_severity() {
    let severities = [Low, Medium, High, Unclassified, Critical];
    let mut before = 0;
    for severity in severities {
        let least = Finding {
            path: vec![Hop { object: String::new(), grants: String::new() }; 5],
            ..finding("E01", severity, Kind::User, "alice", &["payments"])
        };
        let most = finding("E01", severity, Kind::Group, "system:unauthenticated", &[]);
        assert!(Score::of(&least).value > before, "{severity}");
        before = Score::of(&most).value;
        assert!(before <= 99, "{severity}");
    }
}

#[test]
fn the_same_report_gives_the_same_bytes_in_any_order() {
    let mut other = report();
    other.findings.reverse();
    let other = Document::new(other, Context::default());
    let all = |document: &Document| {
        [
            table::table(document, 100),
            json::json(document).unwrap(),
            sarif::sarif(document, &places(), "1").unwrap(),
            markdown::markdown(document),
            page::page(document).unwrap(),
        ]
    };
    assert_eq!(all(&plain()), all(&other));
}

#[test]
fn no_name_reaches_a_terminal_unescaped_and_no_line_is_too_wide() {
    let text = table::table(&plain(), 80);
    assert!(text.chars().all(|letter| letter == '\n' || jit_host::escape::is_visible(letter)), "{text}");
    assert!(text.contains("\\u{001b}[2J\\u{202e}x\\u{000a}#"), "{text}");
    for line in text.lines() {
        let longest = line.split(' ').map(|word| word.chars().count()).max().unwrap_or(0);
        assert!(line.chars().count() <= 80.max(longest + 10), "{line}");
    }
    let first = "2 critical, 1 unclassified, 1 high, 1 low; 1 part of Kubernetes itself; 1 not\n  evaluated.\n";
    assert!(text.starts_with(first), "{text}");
    assert!(!text.contains("system:masters"), "{text}");
}

/// Outside of code spans there are only our own words.
#[test]
fn no_name_is_markdown() {
    let text = markdown::markdown(&plain());
    let mut outside = String::new();
    for line in text.lines() {
        let parts: Vec<&str> = line.split('`').collect();
        assert_eq!(parts.len() % 2, 1, "an open code span: {line}");
        outside.extend(parts.into_iter().step_by(2));
        outside.push('\n');
    }
    for name in ["@", "http", "<img", "</script", "alice", "builder", "# y", "secrets"] {
        assert!(!outside.contains(name), "{name} in {outside}");
    }
    let cells = text.lines().filter(|line| line.starts_with("| ")).map(|line| line.matches('|').count());
    assert!(cells.clone().count() >= 6 && cells.clone().all(|count| count == 7), "{text}");
}

#[test]
fn markdown_of_a_large_report_fits_into_a_comment_and_says_what_is_left_out() {
    let findings = (0..3_000).map(|at| finding("E25", High, Kind::User, &format!("user-{at}"), &[])).collect();
    let not_evaluated =
        (0..3_000).map(|at| NotEvaluated { what: format!("list {at}"), why: "refused".repeat(20) }).collect();
    let text = markdown::markdown(&Document::new(Report { findings, not_evaluated }, Context::default()));
    assert!(text.len() <= markdown::LONGEST, "{}", text.len());
    assert_eq!(text.matches(" more are not shown here.").count(), 2, "{text}");
    assert!(text.contains("### Not evaluated\n\n- `list 0`"), "{text}");
}

#[test]
fn nothing_gets_out_of_the_data_of_the_page() {
    let text = page::page(&plain()).unwrap();
    assert_eq!(text.matches("</script>").count(), 2);
    assert!(!text.contains("<img"));
    assert!(!text.contains('\u{202e}') && !text.contains('\u{1b}'));
    assert!(text.contains("content=\"default-src 'none'; style-src 'sha256-"));
    assert!(
        !text.contains("unsafe-inline") && !text.contains("http://") || text.contains("http://www.w3.org/2000/svg")
    );
    let (_, rest) = text.split_once("id=\"report\">").unwrap();
    let data: Value = serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap();
    assert_eq!(data["findings"][2]["holder"], format!("user {}", jit_host::escape::escaped(HOSTILE)));
    assert_eq!(data["findings"].as_array().unwrap().len(), 6);
}

/// The properties that the standard requires, and those that GitHub requires beyond it.
#[test]
fn sarif_has_what_the_standard_and_code_scanning_require() {
    let baseline = Baseline::parse(json::json(&plain()).unwrap().as_bytes()).unwrap();
    let context = Context { baseline: Some(&baseline), ..Context::default() };
    let log: Value =
        serde_json::from_str(&sarif::sarif(&Document::new(report(), context), &places(), "0.1.0").unwrap()).unwrap();
    assert_eq!(log["version"], "2.1.0");
    let run = &log["runs"][0];
    assert_eq!(run["tool"]["driver"]["name"], "jitd scan");
    let invocation = &run["invocations"][0];
    assert_eq!(invocation["executionSuccessful"], true);
    assert!(invocation["toolExecutionNotifications"][0]["message"]["text"].is_string());
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    assert!(rules[0]["shortDescription"]["text"].as_str().unwrap().contains("full control"), "{rules:?}");
    let results = run["results"].as_array().unwrap();
    assert_eq!(results.len(), 5);
    for result in results {
        let at = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(rules[at]["id"], result["ruleId"]);
        assert!(rules[at]["properties"]["security-severity"].as_str().unwrap().parse::<f32>().is_ok());
        assert!(result["message"]["text"].as_str().is_some_and(|text| !text.is_empty()));
        assert!(matches!(result["level"].as_str(), Some("error" | "warning" | "note")));
        assert!(result["partialFingerprints"]["jitdScan/v1"].as_str().is_some_and(|digits| digits.len() == 16));
        assert_eq!(result["baselineState"], "unchanged");
        let place = &result["locations"][0]["physicalLocation"];
        let address = place["artifactLocation"]["uri"].as_str().unwrap();
        assert!(address.bytes().all(|byte| byte.is_ascii_graphic()) && !address.starts_with('/'), "{address}");
        // The binding is in no file, and the role of two findings is.
        let line = if result["ruleId"] == "E25" { 7 } else { 1 };
        assert_eq!(place["region"]["startLine"], line);
        assert_eq!(address == "deploy/roles%20of%20dev.yaml", line == 7, "{address}");
        let steps = result["codeFlows"][0]["threadFlows"][0]["locations"].as_array().unwrap();
        assert!(!steps.is_empty());
        assert!(steps.iter().all(|step| step["location"]["message"]["text"].is_string()));
    }
}

#[test]
fn an_address_has_no_scheme_and_no_way_up() {
    let mut odd = report();
    odd.findings.truncate(1);
    odd.findings[0].path[0].object = "//..//javascript:alert(1)/a b/..x".to_owned();
    let log: Value =
        serde_json::from_str(&sarif::sarif(&Document::new(odd, Context::default()), &places(), "1").unwrap()).unwrap();
    let place = &log["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"];
    assert_eq!(place, "%2E%2E/javascript%3Aalert%281%29/a%20b/..x");
}

/// Access that grows is new; access that shrinks, or whose binding is renamed, is not.
#[test]
fn only_what_is_new_since_the_baseline_is_open() {
    let old = Report { findings: vec![finding("E25", High, Kind::User, "alice", &["a", "b"])], not_evaluated: vec![] };
    let baseline = Baseline::parse(json::json(&Document::new(old, Context::default())).unwrap().as_bytes()).unwrap();
    let state = |finding: Finding| {
        let report = Report { findings: vec![finding], not_evaluated: vec![] };
        let document = Document::new(report, Context { baseline: Some(&baseline), ..Context::default() });
        (document.entries[0].state.as_str(), document.resolved.len())
    };
    // A token in another Secret is another credential of the same account; a right through another binding is the same one.
    let mut renamed = finding("L01", High, Kind::User, "alice", &["a"]);
    let before = Fingerprint::of(&renamed);
    renamed.path[0].object = "a/secret/other".to_owned();
    assert_ne!(Fingerprint::of(&renamed), before);
    let mut renamed = finding("E25", High, Kind::User, "alice", &["a"]);
    renamed.path[0].object = "a/rolebinding/other".to_owned();
    assert_eq!(state(renamed), ("known", 0));
    assert_eq!(state(finding("E25", Medium, Kind::User, "alice", &["b"])), ("known", 0));
    for new in [
        finding("E25", Critical, Kind::User, "alice", &["a"]),
        finding("E25", High, Kind::User, "alice", &["a", "c"]),
        finding("E25", High, Kind::User, "alice", &[]),
    ] {
        assert_eq!(state(new), ("open", 0));
    }
    for other in [
        finding("E26", High, Kind::User, "alice", &["a"]),
        finding("E25", High, Kind::Group, "alice", &["a"]),
        finding("E25", High, Kind::User, "alic", &["a"]),
    ] {
        assert_eq!(state(other), ("open", 1));
    }
}

#[test]
fn a_difference_names_what_is_new_and_what_is_gone() {
    let of = |findings: Vec<Finding>| {
        Baseline::from(&Document::new(Report { findings, not_evaluated: vec![] }, Context::default()))
    };
    let stays = finding("E25", High, Kind::User, "alice", &["a"]);
    let old = of(vec![stays.clone(), finding("E01", Critical, Kind::User, "bob", &[])]);
    let new =
        of(vec![stays, finding("E26", Low, Kind::User, "carol", &[]), finding("E01", High, Kind::User, "carol", &[])]);
    let difference = Difference::between(&old, &new);
    let ids = |side: &[Kept]| side.iter().map(|kept| kept.id.clone()).collect::<Vec<_>>();
    assert_eq!((ids(&difference.new), ids(&difference.gone)), (vec!["E01".into(), "E26".into()], vec!["E01".into()]));
    assert_eq!(difference.unchanged, 1);
    assert!(Difference::between(&new, &new).is_empty());
}

#[test]
fn a_baseline_of_another_form_is_refused() {
    let parse = |text: &str| Baseline::parse(text.as_bytes());
    assert!(matches!(parse("[]"), Err(NotABaseline::Malformed(_))));
    assert!(matches!(parse(r#"{"format": "jitd-scan/2", "findings": 3}"#), Err(NotABaseline::Format(_))));
    assert!(matches!(
        parse(r#"{"format": "jitd-scan/1", "findings": [{"id": "E25"}]}"#),
        Err(NotABaseline::Malformed(_))
    ));
}

fn exceptions(severity: &str, scope: &str, expires: &str) -> Result<Exceptions, NotExceptions> {
    let fingerprint = Fingerprint::of(&finding("E25", High, Kind::User, "alice", &[]));
    Exceptions::parse(&format!(
        "exceptions:\n- finding: {fingerprint}\n  severity: {severity}\n  scope: {scope}\n  owner: dave\n  \
         reason: until the migration\n  expires: {expires}\n"
    ))
}

#[test]
fn an_exception_accepts_a_finding_until_it_expires_and_only_as_it_was() {
    let found = finding("E25", High, Kind::User, "alice", &["a"]);
    let judge = |exceptions: &Exceptions, finding: &Finding| {
        let report = Report { findings: vec![finding.clone()], not_evaluated: vec![] };
        let context = Context { exceptions: Some((exceptions, date(2026, 11, 30))), ..Context::default() };
        let document = Document::new(report, context);
        let idle = document.idle_exceptions.first().map(|idle| idle.why.clone());
        (document.entries[0].state.as_str(), idle)
    };
    let valid = exceptions("high", "[a, b]", "2026-11-30").unwrap();
    assert_eq!(judge(&valid, &found), ("accepted", None));
    let wider = finding("E25", High, Kind::User, "alice", &["a", "c"]);
    let worse = finding("E25", Critical, Kind::User, "alice", &["a"]);
    for grown in [wider, worse, finding("E25", High, Kind::User, "alice", &[])] {
        let why = "the finding has become more severe or wider than what it accepts";
        assert_eq!(judge(&valid, &grown), ("open", Some(why.to_owned())));
    }
    let expired = exceptions("high", "cluster", "2026-11-29").unwrap();
    assert_eq!(judge(&expired, &found), ("open", Some("it expired on 2026-11-29".to_owned())));
    let other = finding("E25", High, Kind::User, "bob", &["a"]);
    assert_eq!(judge(&valid, &other), ("open", Some("nothing was found that it accepts".to_owned())));
}

#[test]
fn a_file_of_exceptions_with_a_mistake_is_refused() {
    for (severity, scope, expires) in [
        ("severe", "cluster", "2026-11-30"),
        ("high", "[]", "2026-11-30"),
        ("high", "everywhere", "2026-11-30"),
        ("high", "cluster", "never"),
    ] {
        assert!(matches!(exceptions(severity, scope, expires), Err(NotExceptions::Malformed(_))), "{severity} {scope}");
    }
    let one =
        "- {finding: 0123456789abcdef, severity: high, scope: cluster, owner: dave, reason: ok, expires: 2027-01-01}";
    let parse = |text: &str| Exceptions::parse(text);
    assert!(parse(&format!("exceptions:\n{one}\n")).is_ok());
    assert!(matches!(parse(&format!("exceptions:\n{one}\n{one}\n")), Err(NotExceptions::Twice(_))));
    let empty = one.replace("reason: ok", "reason: ' '");
    assert!(matches!(parse(&format!("exceptions:\n{empty}\n")), Err(NotExceptions::Empty(_, "reason"))));
    let unknown = one.replace("owner", "team: x, owner");
    assert!(matches!(parse(&format!("exceptions:\n{unknown}\n")), Err(NotExceptions::Malformed(_))));
}

/// `docs/schemas/scan.json` is what the types say.
#[test]
fn the_published_schema_is_this_one() {
    shapes::are_golden(&[("scan", published())]);
}

fn published() -> Value {
    shapes::schema::<json::View<'_>>("The report of jitd scan")
}

/// The report, and all of its optional parts, are as the published schema says; a report that isn't is refused.
#[test]
fn the_json_is_as_its_schema_says() {
    let baseline = Baseline::from(&Document::new(
        Report { findings: vec![finding("E99", Low, Kind::User, "erin", &[])], not_evaluated: vec![] },
        Context::default(),
    ));
    let mut logs = crate::audit::AuditLogs::default();
    logs.read("audit.log", crate::audit::tests::EVENT.as_bytes()).unwrap();
    let uses = logs.finish();
    let fingerprint = Fingerprint::of(&report().findings[1]);
    let exceptions = Exceptions::parse(&format!(
        "exceptions:\n- {{finding: {fingerprint}, severity: high, scope: [payments, shop], owner: dave, reason: ok, \
         expires: 2027-01-01}}\n- {{finding: 0123456789abcdef, severity: low, scope: cluster, owner: dave, reason: ok, \
         expires: 2027-01-01}}\n"
    ))
    .unwrap();
    let context =
        Context { baseline: Some(&baseline), exceptions: Some((&exceptions, date(2026, 11, 30))), uses: Some(&uses) };
    let written: Value = serde_json::from_str(&json::json(&Document::new(report(), context)).unwrap()).unwrap();
    let schema = Schema(published());
    assert_eq!(schema.faults(&written), Vec::<String>::new());
    for key in ["idleExceptions", "resolved"] {
        assert_eq!(written[key].as_array().unwrap().len(), 1, "{key}");
    }
    let has = |key: &str| written["findings"].as_array().unwrap().iter().any(|finding| finding.get(key).is_some());
    assert!(has("usage") && has("exception"), "{written:#}");
    let mut odd = written;
    odd["findings"][0]["severity"] = "severe".into();
    odd["findings"][1]["colour"] = "red".into();
    odd["format"] = "jitd-scan/0".into();
    odd["findings"][2].as_object_mut().unwrap().remove("path");
    let faults = schema.faults(&odd);
    assert_eq!(faults.len(), 4, "{faults:#?}");
}
