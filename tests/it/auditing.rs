//! The commands of `docs/auditing.md`, which an auditor uses without root, and who else may use them.

use serde_json::json;

use crate::bastion::{ALICE, BOB, Bastion, CAROL, DAVE, ERIN, Key, Options, Person, path, repository, text};
use crate::console::{Console, blocks};
use crate::plane::Plane;

/// Access that was released, and a time at which it was live.
struct Past {
    bastion: Bastion<'static>,
    id: String,
    at: String,
}

impl Past {
    fn new() -> Self {
        let policy = crate::glass::policy("0s", "4h");
        let bastion = Bastion::with(Plane::shared(), Options { policy, ..Options::default() });
        let access = bastion.live(&bastion.ask("5m"));
        let at = bastion.show(ERIN, &access.grant)["liveAt"].as_str().unwrap().to_owned();
        assert_eq!(bastion.post(ALICE, &path(&access.grant, "/end"), &json!(null)).0, 200);
        Self { id: access.grant["id"].as_str().unwrap().to_owned(), at, bastion }
    }

    /// What was printed, and what was said beside it; it has to have worked.
    fn said(&self, person: Person, arguments: &[&str]) -> (String, String) {
        let done = self.bastion.login(person, arguments);
        assert!(done.status.success(), "{arguments:?}: {}", text(&done.stderr));
        (text(&done.stdout), text(&done.stderr))
    }

    /// The ids that `ls` finds.
    fn found(&self, person: Person, filters: &[&str]) -> Vec<String> {
        let (printed, _) = self.said(person, &[&["ls", "-o", "name"], filters].concat());
        printed.lines().map(str::to_owned).collect()
    }
}

/// The commands of the page answer an auditor's questions.
#[test]
fn the_commands_of_the_page_for_auditors_work() {
    let Past { bastion, id, at } = Past::new();
    let mut refused = bastion.ask("5m");
    (refused["role"], refused["reason"]) = (json!("cluster-admin"), json!("INC-42 more"));
    let (status, _) = bastion.post(ALICE, "/v1/grants", &json!({ "ask": refused, "csr": Key::new().csr() }));
    assert_eq!(status, 403);
    let taken = bastion.request(ALICE, &bastion.ask("1m"), &Key::new());
    let reason = json!({ "reason": "INC-42 nobody answers" });
    let (status, broken) = bastion.post(ALICE, &path(&taken, "/break-glass"), &reason);
    assert_eq!(status, 200, "{broken}");
    assert_eq!(bastion.post(ALICE, &path(&taken, "/withdraw"), &json!(null)).0, 200);
    for reviewer in [BOB, CAROL] {
        let body =
            json!({ "digest": broken["breakGlass"]["digest"], "verdict": "justified", "words": "looked at the logs" });
        let (status, answer) = bastion.post(reviewer, &path(&taken, "/review"), &body);
        assert_eq!(status, 200, "{answer}");
    }

    let mut console = Console::at(bastion);
    (console.id, console.at) = (id, at);
    let page = std::fs::read_to_string(repository().join("docs/auditing.md")).unwrap();
    let commands: usize = blocks(&page).into_iter().map(|block| console.is_true(block)).sum();
    assert_eq!(commands, 14, "every command of the page was run");
}

/// An auditor exports the trail byte for byte; people who may not see every grant cannot export it.
#[test]
fn auditors_export_the_trail_and_nobody_else_does() {
    let past = Past::new();
    let (exported, said) = past.said(ERIN, &["export"]);
    let whole = past.bastion.jitd(&["audit", "export"]);
    assert!(!exported.is_empty() && exported == text(&whole.stdout));
    let head = said.split_once("the head is ").unwrap().1.lines().next().unwrap();
    let verified = past.bastion.jitd(&["audit", "verify", "--head", head]);
    assert!(verified.status.success(), "{}", text(&verified.stderr));
    for person in [ALICE, BOB, DAVE] {
        for verb in [&["export"][..], &["events"], &["events", "--person", person.name]] {
            let refused = past.bastion.login(person, verb);
            assert!(!refused.status.success() && refused.stdout.is_empty(), "{person:?} {verb:?}");
            let said = text(&refused.stderr);
            assert!(said.contains("error[not-allowed]: only members of"), "{said}");
        }
    }
    past.bastion.has_no_fault();
}

/// Each filter shows only what matches, and none shows what the person may not see.
#[test]
fn a_search_finds_what_matches_and_may_be_seen() {
    let past = Past::new();
    let (id, at, ns, shop) = (&past.id, &*past.at, &*past.bastion.ns, &*past.bastion.shop);
    let open = past.bastion.request(ALICE, &past.bastion.ask("5m"), &Key::new());
    let open = open["id"].as_str().unwrap().to_owned();
    let before = at.parse::<jiff::Timestamp>().unwrap() - jiff::SignedDuration::from_mins(1);
    let before = before.to_string();
    let both = [&*open, id];
    for person in [ALICE, BOB, ERIN] {
        for (filters, found) in [
            (&["--all"][..], &both[..]),
            (&["--at", at], &[id]),
            (&["--at", &before], &[]),
            (&["--since", at], &[&open]),
            (&["--until", at], &[id]),
            (&["--all", "--person", "alice"], &both),
            (&["--all", "--person", "bob"], &[]),
            (&["--all", "-n", ns, "--role", "view", "--cluster", "play"], &both),
            (&["--all", "-n", shop], &[]),
            (&["--all", "--role", "edit"], &[]),
            (&["--all", "--cluster", "other"], &[]),
            (&["-n", ns], &[&open]),
        ] {
            assert_eq!(past.found(person, filters), found, "{person:?} {filters:?}");
        }
    }
    assert!(past.found(DAVE, &["--all", "--person", "alice"]).is_empty());
    let (table, _) = past.said(ERIN, &["events", "--person", "bob"]);
    assert!(table.contains("approved") && table.contains(id) && !table.contains(&open), "{table}");

    for (wrong, why) in [
        (&["ls", "--limit", "0"][..], "0 is not in 1.."),
        (&["ls", "--at", "soon"], "`--at soon` is not a time"),
        (&["ls", "--at", "2999-01-01T00:00:00Z"], "is in the future"),
        (&["ls", "--since", "1h", "--until", "2h"], "`--since` is after `--until`"),
        (&["ls", "-n", "UPPER"], "UPPER"),
        (&["events", "7k3m", "--person", "bob"], "cannot be used with"),
        (&["whoami", "-o", "csv"], "`-o csv` is for"),
    ] {
        let refused = past.bastion.login(ERIN, wrong);
        let said = text(&refused.stderr);
        assert!(refused.status.code() == Some(2) && said.contains(why), "{wrong:?}: {said}");
    }
    for query in ["limit=0", "at=2999-01-01T00:00:00Z", "since=yesterday", "namespace=UPPER", "other=1"] {
        let (status, answer) = past.bastion.get(ERIN, &format!("/v1/grants?{query}"));
        assert_eq!((status, &answer["code"]), (400, &json!("malformed")), "{query}: {answer}");
    }
}

/// Text from other people stays in its cell, and is never a formula.
#[test]
fn a_table_for_a_spreadsheet_has_no_formulas() {
    let past = Past::new();
    let mut ask = past.bastion.ask("5m");
    ask["reason"] = json!("=1+1, \"INC-42\"");
    past.bastion.request(ALICE, &ask, &Key::new());
    let (csv, _) = past.said(ERIN, &["ls", "-o", "csv"]);
    let rows: Vec<&str> = csv.split("\r\n").collect();
    assert!(rows.len() == 3 && rows[2].is_empty() && rows[0].starts_with("id,phase,"), "{csv}");
    assert!(rows[1].contains(",\"'=1+1, \"\"INC-42\"\"\","), "{csv}");
    let (csv, _) = past.said(ERIN, &["events", &past.id, "-o", "csv"]);
    assert!(csv.starts_with("seq,at,grant,by,event,with\r\n") && csv.contains(",alice,requested,"), "{csv}");
}
