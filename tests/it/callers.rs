//! Every route by every kind of caller, in every phase of a grant and at both sockets: the answers, and that a refused
//! call changes nothing.
//!
//! The table is compared with the daemon's own OpenAPI document, so a new route must be added here.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::bastion::{
    ADMIN, ALICE, ALICE_TOO, BOB, Bastion, CAROL, DAVE, ERIN, Key, Person, ROOT, STRANGER, UNMAPPED, path,
};
use crate::plane::Answer;

/// The callers, in the order of the table's columns: the requester and her other account; an approver, and one who is
/// also in the requesters' group; an auditor; an admin; a person in no group; and three whom the daemon does not know.
const CALLERS: [Person; 10] = [ALICE, ALICE_TOO, BOB, CAROL, ERIN, ADMIN, DAVE, STRANGER, ROOT, UNMAPPED];

/// A letter a caller; the letters are told below. A row without a door is the same at both.
const TABLE: &str = "
    GET  /healthz                        any      yyyyyyy yyy
    GET  /metrics                        any      yyyyyyy yyy
    GET  /v1/openapi.json                any      yyyyyyy yyy
    GET  /v1/whoami                      any      yyyyyyy uuu
    POST /v1/links                       any      nnnnnnn uuu
    GET  /v1/links                       any      ttttttt uuu
    POST /v1/links/accept                any      ttttttt uuu
    GET  /v1/clusters                    any      yyyyyyy uuu
    GET  /v1/entitlements                any      yyyyyyy uuu
    POST /v1/explain                     any      yyyyyyy uuu
    GET  /v1/grants                      any      yyyyyyy uuu
    GET  /v1/changes                     any      yyyyyyy uuu
    GET  /v1/sessions                    any      yyyyyyy uuu
    GET  /v1/events                      any      nnnnyyn uuu
    GET  /v1/trail                       any      nnnnyyn uuu
    POST /v1/grants                      any      yypyppp uuu

    GET  /v1/grants/{id}                 pending  yyyyyy- uuu
    GET  /v1/grants/{id}                 live     yyyyyy- uuu
    GET  /v1/grants/{id}                 ended    yyyyyy- uuu
    GET  /v1/grants/{id}/wait            pending  yyyyyy- uuu
    GET  /v1/grants/{id}/wait            live     yyyyyy- uuu
    GET  /v1/grants/{id}/wait            ended    yyyyyy- uuu
    GET  /v1/grants/{id}/sessions        pending  kkkkkk- uuu
    GET  /v1/grants/{id}/sessions        live     kkkkkk- uuu
    GET  /v1/grants/{id}/sessions        ended    kkkkkk- uuu
    GET  /v1/grants/{id}/recording       pending  nnkkkk- uuu
    GET  /v1/grants/{id}/recording       live     nnkkkk- uuu
    GET  /v1/grants/{id}/recording       ended    nnkkkk- uuu
    GET  /v1/grants/{id}/events          pending  yyyyyy- uuu
    GET  /v1/grants/{id}/events          live     yyyyyy- uuu
    GET  /v1/grants/{id}/events          ended    yyyyyy- uuu

    POST /v1/grants/{id}/approve         pending  ssyynn- uuu
    POST /v1/grants/{id}/approve         live     sswwnn- uuu
    POST /v1/grants/{id}/approve         ended    tttttt- uuu
    POST /v1/grants/{id}/deny            pending  ssyynn- uuu
    POST /v1/grants/{id}/deny            live     sswwnn- uuu
    POST /v1/grants/{id}/deny            ended    tttttt- uuu
    POST /v1/grants/{id}/withdraw        pending  yynnnn- uuu
    POST /v1/grants/{id}/withdraw        live     wwnnnn- uuu
    POST /v1/grants/{id}/withdraw        ended    tttttt- uuu
    POST /v1/grants/{id}/certificate     pending  wwnnnn- uuu
    POST /v1/grants/{id}/certificate     live     yynnnn- uuu
    POST /v1/grants/{id}/certificate     ended    tttttt- uuu
    POST /v1/grants/{id}/extend          pending  wwnnnn- uuu
    POST /v1/grants/{id}/extend          live     yynnnn- uuu
    POST /v1/grants/{id}/extend          ended    tttttt- uuu
    POST /v1/grants/{id}/break-glass     pending  ppnnnn- uuu
    POST /v1/grants/{id}/break-glass     live     wwnnnn- uuu
    POST /v1/grants/{id}/break-glass     ended    tttttt- uuu
    POST /v1/grants/{id}/review          pending  wwwwww- uuu
    POST /v1/grants/{id}/review          live     wwwwww- uuu
    POST /v1/grants/{id}/review          ended    tttttt- uuu
    POST /v1/grants/{id}/end             pending  wwnnnn- uuu
    POST /v1/grants/{id}/end             live     yynnnn- uuu
    POST /v1/grants/{id}/end             ended    tttttt- uuu
    POST /v1/grants/{id}/revoke          pending  nnwwnw- uuu
    POST /v1/grants/{id}/revoke          live     nnyyny- uuu
    POST /v1/grants/{id}/revoke          ended    tttttt- uuu

    GET  /v1/operations         users    any      ooooooo ooo
    GET  /v1/operations         admins   any      nnnnnyn uyu
    POST /v1/sessions/read      users    any      ooooooo ooo
    POST /v1/sessions/read      admins   any      nnnnnkn uku
    POST /v1/drain              users    any      ooooooo ooo
    POST /v1/drain              admins   any      nnnnnyn uyu
    POST /v1/resume             users    any      ooooooo ooo
    POST /v1/resume             admins   any      nnnnnyn uyu
    POST /v1/scans              users    any      ooooooo ooo
    POST /v1/scans              admins   any      nnnnnyn uyu
    POST /v1/revoke             users    any      ooooooo ooo
    POST /v1/revoke             admins   any      nnnnnyn uyu
";

/// The meaning of a letter in the table.
const LETTERS: [(char, u16, &str); 10] = [
    ('y', 200, ""),
    ('-', 404, "no-such-grant"),
    ('k', 404, "no-such-session"),
    ('n', 403, "not-allowed"),
    ('o', 403, "wrong-door"),
    ('p', 403, "policy-denied"),
    ('s', 403, "self-approval"),
    ('t', 410, "too-late"),
    ('u', 403, "unknown-caller"),
    ('w', 409, "wrong-phase"),
];

/// One row with its cells.
struct Row {
    method: &'static str,
    route: &'static str,
    phase: &'static str,
    cells: Vec<char>,
    doors: &'static [Door],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    Users,
    Operators,
}

fn rows() -> Vec<Row> {
    let row = |line: &'static str| {
        let mut words = line.split_whitespace();
        let mut word = || words.next().unwrap();
        let (method, route) = (word(), word());
        let (doors, phase) = match word() {
            "users" => ([Door::Users].as_slice(), word()),
            "admins" => ([Door::Operators].as_slice(), word()),
            phase => ([Door::Users, Door::Operators].as_slice(), phase),
        };
        let cells: Vec<char> = words.collect::<String>().chars().collect();
        assert_eq!(cells.len(), CALLERS.len(), "{line}");
        Row { method, route, phase, cells, doors }
    };
    TABLE.lines().filter(|line| !line.trim().is_empty()).map(row).collect()
}

/// Every route of the document has its rows, and every row its route.
#[test]
fn no_route_is_without_a_row() {
    let bastion = Bastion::start();
    let (status, document) = bastion.get(STRANGER, "/v1/openapi.json");
    assert_eq!(status, 200);
    let mut routes: BTreeMap<(String, String), Vec<&str>> = BTreeMap::new();
    for (route, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let phases = if route.contains("{id}") { vec!["pending", "live", "ended"] } else { vec!["any"] };
            routes.insert((method.to_uppercase(), route.clone()), phases);
        }
    }
    let mut told: BTreeMap<(String, String), Vec<&str>> = BTreeMap::new();
    for row in rows() {
        let phases = told.entry((row.method.to_owned(), row.route.to_owned())).or_default();
        // The other door of the same.
        if row.doors != [Door::Operators] {
            phases.push(row.phase);
        }
    }
    assert_eq!(told, routes);
}

/// Each caller gets the answer of the table; a refused call changes nothing, and the trail records the caller.
#[test]
fn every_caller_of_every_route_is_answered_as_the_table_says() {
    let desk = Desk::new();
    for row in rows() {
        let before = desk.state();
        let tried = desk.refused_in_the_trail(row.phase);
        let mut expected = Vec::new();
        let cells = || CALLERS.into_iter().zip(&row.cells);
        let at_doors = || row.doors.iter().flat_map(|door| cells().map(|(caller, letter)| (*door, caller, letter)));
        for (door, caller, letter) in at_doors().filter(|(_, _, letter)| row.method == "GET" || **letter != 'y') {
            let (status, answer) = desk.call(&row, door, caller, &desk.grants[row.phase]);
            desk.check(&row, caller, *letter, status, &answer);
            // Refusals of a grant that can still change stand in its events.
            if matches!(*letter, 'n' | 's' | 'w' | 'p') && !["any", "ended"].contains(&row.phase) {
                let refused = (caller.name.to_owned(), answer["code"].as_str().unwrap().to_owned());
                // Of refusals that are the same the first is written.
                if !expected.contains(&refused) {
                    expected.push(refused);
                }
            }
            if *letter == '-' {
                let nowhere = json!({ "id": "0000000000000000", "digest": "" });
                let (other_status, other) = desk.call(&row, door, caller, &nowhere);
                let id = desk.grants[row.phase]["id"].as_str().unwrap();
                assert_eq!(answer.to_string().replace(id, "0000000000000000"), other.to_string());
                assert_eq!(status, other_status);
            }
        }
        assert_eq!(desk.state(), before, "{} {} changed something", row.method, row.route);
        let mut now = desk.refused_in_the_trail(row.phase);
        assert_eq!(now.split_off(tried.len()), expected, "{} {} {}", row.method, row.route, row.phase);

        for (caller, letter) in cells().filter(|(_, letter)| row.method == "POST" && **letter == 'y') {
            let grant = desk.fresh(row.phase);
            let (status, answer) = desk.call(&row, row.doors[0], caller, &grant);
            desk.check(&row, caller, *letter, status, &answer);
        }
    }
    desk.bastion.has_no_fault();
}

/// A daemon, a grant in each phase, and a key for everybody.
struct Desk {
    bastion: Bastion<'static>,
    keys: BTreeMap<&'static str, Key>,
    grants: BTreeMap<&'static str, Value>,
}

impl Desk {
    fn new() -> Self {
        let keys = CALLERS.into_iter().map(|caller| (caller.name, Key::new())).collect();
        let mut desk = Self { bastion: Bastion::start(), keys, grants: BTreeMap::new() };
        // The file is the first wall, and here it is away: what is shown is the second.
        let everybody = std::fs::Permissions::from_mode(0o666);
        std::fs::set_permissions(desk.bastion.admin_socket(), everybody).unwrap();
        desk.grants = ["any", "pending", "live", "ended"].into_iter().map(|phase| (phase, desk.fresh(phase))).collect();
        desk
    }

    /// A grant of alice's in this phase.
    fn fresh(&self, phase: &str) -> Value {
        if phase == "any" {
            return Value::Null;
        }
        let key = &self.keys["alice"];
        let grant = self.bastion.request(ALICE, &self.bastion.ask("5m"), key);
        if phase != "pending" {
            assert_eq!(self.bastion.approve(BOB, &grant).0, 200);
            assert_eq!(self.bastion.certificate(ALICE, &grant, key).0, 200);
        }
        if phase == "ended" {
            assert_eq!(self.bastion.post(ALICE, &path(&grant, "/end"), &Value::Null).0, 200);
        }
        grant
    }

    /// Calls a route of the table with all that it needs.
    fn call(&self, row: &Row, door: Door, caller: Person, grant: &Value) -> Answer {
        let ask = self.bastion.ask("5m");
        let csr = || self.keys[caller.name].csr();
        let body = match row.route.rsplit('/').next().unwrap() {
            _ if row.method == "GET" => Value::Null,
            "explain" => ask,
            "grants" => json!({ "ask": ask, "csr": csr() }),
            "approve" => json!({ "digest": grant["digest"] }),
            "extend" => json!({ "duration": "1m", "reason": "INC-42 not done" }),
            "review" => json!({ "digest": grant["digest"], "verdict": "justified", "words": "fine" }),
            "drain" => json!({ "reason": "not now" }),
            "scans" => json!({ "cluster": ask["cluster"], "failed": "the API server did not answer" }),
            "revoke" if row.phase == "any" => json!({ "all": true, "reason": "not now" }),
            "deny" | "revoke" | "break-glass" => json!({ "reason": "not now" }),
            "certificate" => json!({ "csr": csr() }),
            "accept" => json!({ "code": "0000000000000000" }),
            "read" => json!({ "grant": "0000000000000000", "what": "recording" }),
            _ => Value::Null,
        };
        let query = match row.route.rsplit('/').next() {
            Some("wait") => "?phase=none",
            Some("links") if row.method == "GET" => "?code=0000000000000000",
            Some("recording") => "?session=0198c2f3",
            _ => "",
        };
        let id = grant["id"].as_str().unwrap_or_default();
        let path = format!("{}{query}", row.route.replace("{id}", id));
        match door {
            Door::Users => self.bastion.call(caller, row.method, &path, &body),
            Door::Operators => self.bastion.operate(caller, row.method, &path, &body),
        }
    }

    fn check(&self, row: &Row, caller: Person, letter: char, status: u16, answer: &Value) {
        let (_, expected, code) = LETTERS.into_iter().find(|(known, ..)| *known == letter).unwrap();
        let expected =
            if expected == 200 && (row.method, row.route) == ("POST", "/v1/grants") { 201 } else { expected };
        let told = answer["code"].as_str().unwrap_or_default();
        let whose = format!("{} {} {} as {} ({})", row.method, row.route, row.phase, caller.name, caller.uid);
        assert_eq!((status, told), (expected, code), "{whose}: {answer}");
    }

    /// Every grant as the auditor sees it, and what each grant's events are but for refusals.
    fn state(&self) -> Value {
        let (status, list) = self.bastion.get(ERIN, "/v1/grants?all=true&limit=1000");
        assert_eq!(status, 200);
        let kinds: Vec<Vec<String>> = ["pending", "live", "ended"]
            .iter()
            .map(|phase| {
                let mut kinds = self.bastion.kinds(&self.grants[phase]);
                kinds.retain(|kind| kind != "refused");
                kinds
            })
            .collect();
        json!({ "grants": list, "kinds": kinds, "bindings": self.bastion.bindings() })
    }

    /// Who was refused what, as the trail has it.
    fn refused_in_the_trail(&self, phase: &str) -> Vec<(String, String)> {
        if phase == "any" {
            return Vec::new();
        }
        let (_, events) = self.bastion.get(ERIN, &path(&self.grants[phase], "/events"));
        let refused = events["events"].as_array().unwrap().iter().filter(|entry| entry["event"]["kind"] == "refused");
        let word = |value: &Value| value.as_str().unwrap().to_owned();
        refused.map(|entry| (word(&entry["by"]), word(&entry["event"]["code"]))).collect()
    }
}
