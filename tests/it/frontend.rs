//! The socket of `jit-frontend`: who is introduced there is a person, and nobody else's.
//!
//! The test stands in the place of the front end, as root, which may connect. `crates/jit-frontend` has its own tests.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use jit_wire::frontend::{FromDaemon, FromFrontend, Introduction, VERSION};
use jitd::grant::login::{Flow, ProviderLogout};
use jitd::grant::request::ProviderLogin;
use serde_json::{Value, json};

use crate::bastion::{ALICE, Access, BOB, Bastion, DAVE, ERIN, Key, Options, ROOT, path, text};
use crate::glass;
use crate::plane::{Admin, Answer, Plane, until};

const ISSUER: &str = "https://id.example/realms/corp";

const OTHER: &str = "https://other.example";

pub(crate) const CONFIG: &str = r#"
providers:
- {issuer: "https://id.example/realms/corp", groups: [payments-oncall, payments-leads]}
- {issuer: "https://other.example", groups: [payments-oncall, payments-leads]}
"#;

fn bastion() -> Bastion<'static> {
    let mut bastion = Bastion::prepared(Plane::shared(), Options { config: CONFIG.to_owned(), ..Options::default() });
    let at = |issuer: &str, subject: &str| format!("{{issuer: \"{issuer}\", subject: {subject}}}");
    let (corp, other) = (at(ISSUER, "alice-at-corp"), at(OTHER, "alice-at-other"));
    let identity = format!("name: alice, identities: [{corp}, {other}], uids");
    bastion.rewrite_config("name: alice, uids", &identity);
    bastion.serve();
    bastion
}

pub(crate) fn introduction(subject: &str, groups: &[&str]) -> Introduction {
    Introduction {
        version: VERSION,
        login: ProviderLogin {
            issuer: ISSUER.to_owned(),
            subject: subject.to_owned(),
            acr: Some("2".to_owned()),
            amr: vec!["otp".to_owned()],
            auth_time: Some(now()),
            issued: Some(now()),
            sid: Some("s-1".to_owned()),
            flow: Some(Flow::Code),
            key_id: Some("k1".to_owned()),
            token_sha256: "ab".repeat(32),
        },
        name: format!("{subject}@corp").parse().unwrap(),
        groups: groups.iter().map(ToString::to_string).collect(),
        until: now() + jiff::SignedDuration::from_hours(1),
        address: "192.0.2.7:50000".to_owned(),
    }
}

/// Somebody of another provider.
fn elsewhere(subject: &str, called: &str) -> Introduction {
    let Introduction { login, .. } = introduction(subject, &[]);
    let login = ProviderLogin { issuer: OTHER.to_owned(), ..login };
    Introduction {
        login,
        name: called.parse().unwrap(),
        groups: vec!["payments-leads".to_owned()],
        ..introduction("x", &[])
    }
}

#[expect(clippy::disallowed_methods, reason = "the front end has a clock")]
fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

/// A connection of the front end.
pub(crate) struct Wire(UnixStream);

impl Wire {
    /// Sends one line, and reads the answer; `None` if it is closed without one.
    fn said(bastion: &Bastion<'_>, line: &str) -> Option<(UnixStream, FromDaemon)> {
        // The users' socket, for which the test has waited, is there a moment before this one.
        let socket = bastion.dir.join("run/frontend.sock");
        let mut stream = until("the socket of the front end", || UnixStream::connect(&socket).ok());
        stream.set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap();
        stream.write_all(format!("{line}\n").as_bytes()).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\n") {
            let mut byte = [0];
            match stream.read(&mut byte) {
                Ok(1) => answer.push(byte[0]),
                _ => return None,
            }
        }
        Some((stream, serde_json::from_slice(&answer).unwrap()))
    }

    /// The caller whom a line introduces, with their name.
    fn with(bastion: &Bastion<'_>, line: &str) -> Result<(Self, String), String> {
        match Self::said(bastion, line).ok_or("closed")? {
            (stream, FromDaemon::Welcome { name }) => Ok((Self(stream), name)),
            (_, FromDaemon::Refused { problem }) => Err(problem.code),
            (_, answer) => panic!("{answer:?}"),
        }
    }

    /// Says that a login is over; how many grants end by that.
    fn logged_out(bastion: &Bastion<'_>, version: u32, logout: ProviderLogout) -> Result<usize, String> {
        let line = serde_json::to_string(&FromFrontend::Logout { version, logout }).unwrap();
        match Self::said(bastion, &line).ok_or("closed")? {
            (_, FromDaemon::LoggedOut { grants }) => Ok(grants),
            (_, FromDaemon::Refused { problem }) => Err(problem.code),
            (_, answer) => panic!("{answer:?}"),
        }
    }

    /// A request of the caller, and the key for it.
    #[track_caller]
    fn requests(&mut self, bastion: &Bastion<'_>, window: &str) -> (Value, Key) {
        let key = Key::new();
        let (status, grant) = self.call("POST", "/v1/grants", &json!({ "ask": bastion.ask(window), "csr": key.csr() }));
        assert_eq!(status, 201, "{grant}");
        (grant, key)
    }

    pub(crate) fn introduced(bastion: &Bastion<'_>, introduction: &Introduction) -> Result<(Self, String), String> {
        Self::with(bastion, &serde_json::to_string(&FromFrontend::Introduction(introduction.clone())).unwrap())
    }

    pub(crate) fn call(&mut self, method: &str, path: &str, body: &Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let length = body.len();
        // A header that would say who this is, if anybody read it.
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: jitd\r\nx-remote-user: bob\r\nauthorization: Bearer x\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        self.0.write_all(head.as_bytes()).unwrap();
        let mut answer = Vec::new();
        let head_end = loop {
            let mut chunk = [0; 4096];
            let read = self.0.read(&mut chunk).unwrap();
            assert!(read > 0, "closed after {}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&chunk[..read]);
            if let Some(at) = answer.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
        };
        let head = String::from_utf8_lossy(&answer[..head_end]).to_lowercase();
        let length =
            head.split("content-length: ").nth(1).map_or(0, |rest| rest.lines().next().unwrap().parse().unwrap());
        while answer.len() < head_end + length {
            let mut chunk = [0; 4096];
            let read = self.0.read(&mut chunk).unwrap();
            answer.extend_from_slice(&chunk[..read]);
        }
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_slice(&answer[head_end..]).unwrap_or(Value::Null))
    }
}

/// A person of a provider requests, a person of the host approves, and the certificate works; the trail has both ways in.
#[test]
fn people_of_a_provider_and_of_the_host_work_together() {
    let bastion = bastion();
    let (mut wire, name) = Wire::introduced(&bastion, &introduction("frieda", &["payments-oncall", "admins"])).unwrap();
    assert!(name.starts_with("frieda@corp."), "{name}");
    let (status, who) = wire.call("GET", "/v1/whoami", &Value::Null);
    assert_eq!((status, &who["name"], &who["subject"]), (200, &json!(name), &json!("frieda")));
    assert_eq!(who["groups"], json!(["payments-oncall"]), "the provider's people cannot be in `admins`");
    assert_eq!(who.get("uid"), None);
    let (grant, key) = wire.requests(&bastion, "1m");
    assert_eq!(bastion.approve(BOB, &grant).0, 200);
    let (status, certificate) = wire.call("POST", &path(&grant, "/certificate"), &json!({ "csr": key.csr() }));
    assert_eq!(status, 200, "{certificate}");
    let chain = certificate["certificate"].as_str().unwrap().to_owned();
    let client = Admin::with_certificate(bastion.plane, &chain, &key.pem());
    let access = Access { grant: grant.clone(), key, chain, client };
    assert_eq!(bastion.look(&access, &bastion.ns), 200);
    let entry = |kind: &str| bastion.trail().into_iter().find(|entry| entry["event"]["kind"] == kind).unwrap();
    let requested = entry("requested");
    assert_eq!(requested["by"], json!(name));
    assert_eq!(requested["login"]["provider"]["subject"], "frieda");
    assert_eq!(requested["login"]["provider"]["amr"], json!(["otp"]));
    assert_eq!(entry("approved")["by"], "bob");
    assert_eq!(bastion.show(ERIN, &grant)["cameInAs"][0]["issuer"], ISSUER);
    // And the other way round: the approver is looked up again when the access is collected.
    let (mut lead, _) = Wire::introduced(&bastion, &introduction("greta", &["payments-leads"])).unwrap();
    let key = Key::new();
    let grant = bastion.request(ALICE, &bastion.ask("1m"), &key);
    let digest = json!({ "digest": grant["digest"] });
    assert_eq!(lead.call("POST", &path(&grant, "/approve"), &digest).0, 200);
    bastion.collect(&grant, key);
    bastion.has_no_fault();
}

/// One human with an account and an identity is one person, whichever way they come first.
#[test]
fn one_human_with_an_account_and_an_identity_answers_their_own_request_with_neither() {
    let bastion = bastion();
    let at_corp = introduction("alice-at-corp", &["payments-leads"]);
    let (mut wire, name) = Wire::introduced(&bastion, &at_corp).unwrap();
    assert_eq!(name, "alice");
    let grant = bastion.request(ALICE, &bastion.ask("1m"), &Key::new());
    let digest = json!({ "digest": grant["digest"] });
    let (status, problem) = wire.call("POST", &path(&grant, "/approve"), &digest);
    assert_eq!((status, &problem["code"]), (403, &json!("self-approval")));
    let (grant, _) = wire.requests(&bastion, "1m");
    let (status, problem) = bastion.approve(ALICE, &grant);
    assert_eq!((status, &problem["code"]), (403, &json!("self-approval")));
    assert_eq!(bastion.approve(BOB, &grant).0, 200);
}

/// One human with identities at two providers is one person, whichever of them requests and whichever answers.
#[test]
fn one_human_at_two_providers_answers_their_own_request_at_neither() {
    let bastion = bastion();
    let ways = [introduction("alice-at-corp", &["payments-leads"]), elsewhere("alice-at-other", "alice@other")];
    let [mut corp, mut other] = ways.map(|way| {
        let (wire, name) = Wire::introduced(&bastion, &way).unwrap();
        assert_eq!(name, "alice");
        wire
    });
    let ways = &mut [&mut corp, &mut other];
    for _ in 0..2 {
        ways.reverse();
        let [asks, says] = ways;
        let (grant, _) = asks.requests(&bastion, "1m");
        let digest = json!({ "digest": grant["digest"] });
        let (status, problem) = says.call("POST", &path(&grant, "/approve"), &digest);
        assert_eq!((status, &problem["code"]), (403, &json!("self-approval")));
        assert_eq!(bastion.approve(BOB, &grant).0, 200);
    }
}

/// Whoever is declared after they did something has another name now, and is the same human all the same.
#[test]
fn who_is_declared_later_answers_nothing_that_they_did_before() {
    let mut bastion = bastion();
    let (mut frieda, name) = Wire::introduced(&bastion, &introduction("frieda", &["payments-oncall"])).unwrap();
    let (status, own) =
        frieda.call("POST", "/v1/grants", &json!({ "ask": bastion.ask("5m"), "csr": Key::new().csr() }));
    assert_eq!((status, &own["requester"]), (201, &json!(name)));
    let (mut lead, _) = Wire::introduced(&bastion, &introduction("greta", &["payments-leads"])).unwrap();
    let mut ask = bastion.ask("5m");
    ask["role"] = json!("edit");
    let (status, twice) = bastion.post(ALICE, "/v1/grants", &json!({ "ask": ask, "csr": Key::new().csr() }));
    assert_eq!(status, 201, "{twice}");
    assert_eq!(lead.call("POST", &path(&twice, "/approve"), &json!({ "digest": twice["digest"] })).0, 200);
    // Now it turns out that both are bob.
    let identities =
        ["frieda", "greta"].map(|subject| format!("{{issuer: \"{ISSUER}\", subject: {subject}}}")).join(", ");
    bastion.rewrite_config("name: bob, uids", &format!("name: bob, identities: [{identities}], uids"));
    bastion.kill();
    bastion.serve();
    let approve = |grant: &Value| bastion.post(BOB, &path(grant, "/approve"), &json!({ "digest": grant["digest"] }));
    let (status, problem) = approve(&own);
    assert_eq!((status, &problem["code"]), (403, &json!("self-approval")), "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains(&name), "{problem}");
    let (status, problem) = approve(&twice);
    assert_eq!((status, &problem["code"]), (409, &json!("already-agreed")), "{problem}");
}

/// A login at a provider and an account become one person once the account accepts it, also for what was done before, and after
/// a restart.
#[test]
fn a_login_is_linked_to_the_account_that_accepts_it() {
    let mut bastion = bastion();
    let login = introduction("frieda", &["payments-oncall", "payments-leads"]);
    let (mut frieda, name) = Wire::introduced(&bastion, &login).unwrap();
    let ask = || json!({ "ask": bastion.ask("5m"), "csr": Key::new().csr() });
    let (status, before) = frieda.call("POST", "/v1/grants", &ask());
    assert_eq!((status, &before["requester"]), (201, &json!(name)));
    let (status, link) = frieda.call("POST", "/v1/links", &Value::Null);
    assert_eq!((status, &link["name"], &link["subject"]), (200, &json!(name), &json!("frieda")), "{link}");
    let code = json!({ "code": link["code"] });
    // The login alone does not do it, nor does another code.
    let (status, problem) = frieda.call("POST", "/v1/links/accept", &code);
    assert_eq!((status, &problem["code"]), (403, &json!("not-allowed")));
    let (status, problem) = bastion.post(BOB, "/v1/links/accept", &json!({ "code": "0000000000000000" }));
    assert_eq!((status, &problem["code"]), (410, &json!("too-late")));
    let shown = bastion.get(BOB, &format!("/v1/links?code={}", link["code"].as_str().unwrap()));
    assert_eq!(shown, (200, link.clone()));
    assert_eq!(bastion.post(BOB, "/v1/links/accept", &code), (200, link.clone()));
    assert_eq!(bastion.post(BOB, "/v1/links/accept", &code).0, 410, "once");
    assert_eq!(frieda.call("GET", "/v1/whoami", &Value::Null).1["name"], "bob", "at once");
    let (status, problem) = frieda.call("POST", "/v1/links", &Value::Null);
    assert_eq!((status, &problem["code"]), (403, &json!("not-allowed")), "it is bob's already");
    let approved = |grant: &Value| bastion.post(BOB, &path(grant, "/approve"), &json!({ "digest": grant["digest"] }));
    let (status, problem) = approved(&before);
    assert_eq!((status, &problem["code"]), (403, &json!("self-approval")), "{problem}");
    let (status, after) = frieda.call("POST", "/v1/grants", &ask());
    assert_eq!((status, &after["requester"]), (201, &json!("bob")));
    assert_eq!(approved(&after).1["code"], "self-approval");
    let trail = bastion.trail();
    let linked = trail.iter().find(|entry| entry["event"]["kind"] == "linked").unwrap();
    let event = &linked["event"];
    assert_eq!((&linked["by"], &event["subject"], &event["was"]), (&json!("bob"), &json!("frieda"), &json!(name)));
    bastion.kill();
    bastion.serve();
    assert_eq!(Wire::introduced(&bastion, &login).unwrap().1, "bob");
    assert_eq!(bastion.get(BOB, "/v1/whoami").1["name"], "bob", "the account is who it was");
    let (status, problem) = bastion.post(BOB, &path(&before, "/approve"), &json!({ "digest": before["digest"] }));
    assert_eq!((status, &problem["code"]), (403, &json!("self-approval")), "{problem}");
    assert!(bastion.jitd(&["audit", "verify"]).status.success());
}

/// Nobody comes in under a name that a reader may take for another person's: an account's, a declared person's, or that of a
/// person of any provider, also after a restart. Whoever has the name keeps it.
#[test]
fn nobody_gets_a_name_that_looks_like_anothers() {
    let mut bastion = bastion();
    let refused = |bastion: &Bastion<'_>, called: &str| {
        let answer = Wire::introduced(bastion, &elsewhere("mallory", called));
        assert_eq!(answer.err().as_deref(), Some("name-taken"), "{called}");
    };
    // `daemon` is an account of every host.
    for called in ["daemon", "Daemon", "d\u{430}emon", "\u{ff44}aemon", "daernon", "oidc%3Adaemon", "root"] {
        refused(&bastion, called);
    }
    for called in ["alice", "ALICE", "\u{430}lice", "a1ice", "corp%3Aalice"] {
        refused(&bastion, called);
    }
    let frieda = introduction("frieda", &[]);
    let (_, name) = Wire::introduced(&bastion, &frieda).unwrap();
    let taken = ["frieda@corp", "Frieda@Corp", "fried\u{430}@corp", "frieda@c\u{3bf}rp", name.as_str()];
    for called in taken {
        refused(&bastion, called);
    }
    bastion.kill();
    bastion.serve();
    for called in taken {
        refused(&bastion, called);
    }
    assert_eq!(Wire::introduced(&bastion, &frieda).unwrap().1, name, "she is who she was");
    assert!(Wire::introduced(&bastion, &elsewhere("mallory", "mallory@other")).is_ok());
    let trail = bastion.trail();
    let came: Vec<_> = trail.iter().filter(|entry| entry["event"]["kind"] == "introduced").collect();
    let of = |entry: &Value| {
        (entry["by"].clone(), entry["event"]["called"].clone(), entry["login"]["provider"]["subject"].clone())
    };
    assert_eq!(of(came[0]), (json!(name), json!("frieda@corp"), json!("frieda")));
    assert_eq!((came.len(), &came[1]["event"]["called"]), (2, &json!("mallory@other")));
    assert!(bastion.jitd(&["audit", "verify"]).status.success());
}

/// A rule says what a login at a provider must have for approving and for break-glass. Who lacks it reads what to do; people
/// of the host are not compared.
#[test]
fn a_login_has_what_the_rule_requires_for_approving_and_break_glass() {
    let required = "  login: {acr: [\"2\"], amr: [otp], authTime: 10m, deviceCode: false}\n  breakGlass";
    let policy = glass::policy("0s", "4h").replace("  breakGlass", required);
    let mut bastion =
        Bastion::prepared(Plane::shared(), Options { config: CONFIG.to_owned(), policy, ..Options::default() });
    bastion.serve();
    let lead = introduction("greta", &["payments-leads"]);
    let requester = introduction("frieda", &["payments-oncall"]);
    let grant = bastion.request(ALICE, &bastion.ask("1m"), &Key::new());
    let approval = json!({ "digest": grant["digest"] });
    let own = {
        let (mut wire, _) = Wire::introduced(&bastion, &requester).unwrap();
        let (own, _) = wire.requests(&bastion, "1m");
        own
    };
    let reason = json!({ "reason": "INC-42 nobody answers" });
    let with = |who: &Introduction, change: fn(&mut ProviderLogin)| {
        let mut who = who.clone();
        change(&mut who.login);
        Wire::introduced(&bastion, &who).unwrap().0
    };
    type Change = fn(&mut ProviderLogin);
    let changes: [(Change, &str, &str); 6] = [
        (|login| login.acr = Some("1".to_owned()), "`acr` 2; yours has `1`", "prove to the provider"),
        (|login| login.amr = vec!["pwd".to_owned()], "the method `otp`", "prove to the provider"),
        (
            |login| login.auth_time = Some(now() - jiff::SignedDuration::from_hours(1)),
            "of the last 10m",
            "jit-login login",
        ),
        (|login| login.auth_time = None, "does not say when", "jit-login login"),
        (|login| login.flow = Some(Flow::DeviceCode), "was by device code", "in a browser"),
        (|login| login.flow = None, "is unknown", "deviceCode"),
    ];
    for (change, why, hint) in changes {
        for (who, path, body) in
            [(&lead, path(&grant, "/approve"), &approval), (&requester, path(&own, "/break-glass"), &reason)]
        {
            let (status, problem) = with(who, change).call("POST", &path, body);
            assert_eq!((status, &problem["code"]), (403, &json!("login-too-weak")), "{problem}");
            let said = |field: &str| problem[field].as_str().unwrap().to_owned();
            assert!(said("detail").contains(why) && said("hint").contains(hint), "{problem}");
        }
    }
    let usual: fn(&mut ProviderLogin) = |_| {};
    assert_eq!(with(&lead, usual).call("POST", &path(&grant, "/approve"), &approval).0, 200);
    assert_eq!(with(&requester, usual).call("POST", &path(&own, "/break-glass"), &reason).0, 200);
    let grant = bastion.request(ALICE, &bastion.ask("1m"), &Key::new());
    assert_eq!(bastion.approve(BOB, &grant).0, 200, "by an account of the host");
    let trail = bastion.trail();
    let approved = trail.iter().find(|entry| entry["event"]["kind"] == "approved").unwrap();
    assert_eq!(approved["login"]["provider"]["flow"], "code");
    let explained = bastion.jitd(&[
        "policy",
        "explain",
        "--as",
        "alice",
        "--cluster",
        "play",
        "-n",
        &bastion.ns,
        "--role",
        "view",
        "--for",
        "5m",
        "--reason",
        "INC-42",
    ]);
    assert!(text(&explained.stdout).contains("not by device code"), "{explained:?}");
}

/// `jitd check` names each rule that nobody could approve while every provider is down.
#[test]
fn check_names_the_rules_that_depend_on_providers() {
    let rule = |name: &str, approval: &str| {
        format!(
            "- {{name: {name}, who: [payments-oncall], clusters: [play], namespaces: [NS], roles: [view], maxDuration: 5m, approval: {approval}}}\n"
        )
    };
    let elsewhere = "[{groups: [payments-leads]}, {groups: [leads-elsewhere], count: 2}]";
    let rules = rule("here", "[{groups: [payments-leads]}]") + &rule("elsewhere", elsewhere);
    let options =
        |config: &str| Options { config: config.to_owned(), policy: format!("rules:\n{rules}"), ..Options::default() };
    let bastion = Bastion::prepared(Plane::shared(), options(CONFIG));
    let checked = bastion.jitd(&["check"]);
    let said = text(&checked.stderr);
    assert!(checked.status.success(), "{said}");
    assert!(
        said.contains("rule `elsewhere` has too few approvers") && said.contains("as 2 of leads-elsewhere"),
        "{said}"
    );
    assert!(!said.contains("`here`"), "{said}");
    let bastion = Bastion::prepared(Plane::shared(), options(""));
    assert!(!text(&bastion.jitd(&["check"]).stderr).contains("approvers"), "there is no provider");
}

/// A certificate needs a fresh ID token, the first one and each renewal. What is refused only for that is not recorded.
#[test]
fn a_certificate_needs_a_fresh_token() {
    let bastion = bastion();
    let fresh = introduction("frieda", &["payments-oncall"]);
    let issued = Some(now() - jiff::SignedDuration::from_mins(11));
    let stale = Introduction { login: ProviderLogin { issued, ..fresh.login.clone() }, ..fresh.clone() };
    let (mut wire, _) = Wire::introduced(&bastion, &stale).unwrap();
    let (grant, key) = wire.requests(&bastion, "5m");
    assert_eq!(bastion.approve(BOB, &grant).0, 200);
    let body = json!({ "csr": key.csr() });
    let certificate = path(&grant, "/certificate");
    let refused = |wire: &mut Wire| {
        let (status, problem) = wire.call("POST", &certificate, &body);
        assert_eq!((status, &problem["code"]), (403, &json!("login-stale")), "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains("of the last 10m"), "{problem}");
    };
    refused(&mut wire);
    let (mut renewed, _) = Wire::introduced(&bastion, &fresh).unwrap();
    for _ in 0..2 {
        let (status, answer) = renewed.call("POST", &certificate, &body);
        assert_eq!(status, 200, "{answer}");
    }
    refused(&mut wire);
    let trail = bastion.trail();
    assert_eq!(trail.iter().filter(|entry| entry["event"]["kind"] == "refused").count(), 0);
    assert_eq!(trail.iter().filter(|entry| entry["event"]["kind"] == "issued").count(), 2);
}

/// Who loses the group at the provider approves nothing any more, and what they approved is not collected.
#[test]
fn an_approver_who_lost_the_group_at_the_provider_counts_no_longer() {
    let bastion = bastion();
    let (mut lead, _) = Wire::introduced(&bastion, &introduction("greta", &["payments-leads"])).unwrap();
    let key = Key::new();
    let grant = bastion.request(ALICE, &bastion.ask("1m"), &key);
    assert_eq!(lead.call("POST", &path(&grant, "/approve"), &json!({ "digest": grant["digest"] })).0, 200);
    Wire::introduced(&bastion, &introduction("greta", &[])).unwrap();
    let (status, problem) = bastion.certificate(ALICE, &grant, &key);
    assert_eq!((status, &problem["code"]), (403, &json!("approver-lost-right")));
}

/// What is not an introduction of this version, by the front end's account, opens nothing; and a session ends in time.
#[test]
fn nothing_but_an_introduction_opens_the_socket() {
    let bastion = bastion();
    let good = introduction("frieda", &[]);
    let line = |change: fn(&mut Value)| {
        let mut value = serde_json::to_value(FromFrontend::Introduction(good.clone())).unwrap();
        change(&mut value);
        value.to_string()
    };
    for (sent, expected) in [
        (line(|value| value["uid"] = json!(0)), "closed"),
        (line(|value| value["login"]["person"] = json!("bob")), "closed"),
        (line(|value| value["name"] = json!("system:masters")), "closed"),
        (line(|value| value["version"] = json!(2)), "internal"),
        (line(|value| value["kind"] = json!("logout")), "closed"),
        (line(|value| value["login"]["issuer"] = json!("https://id.example")), "unknown-caller"),
        (line(|value| value["until"] = json!("2026-01-01T00:00:00Z")), "unknown-caller"),
        ("GET /v1/whoami HTTP/1.1\r\nhost: jitd\r\n\r\n".to_owned(), "closed"),
        (String::new(), "closed"),
    ] {
        assert_eq!(Wire::with(&bastion, &sent).err().as_deref(), Some(expected), "{sent}");
    }
    let socket = bastion.dir.join("run/frontend.sock");
    let refused = Bastion::attempt_at(&socket, DAVE, "GET", "/v1/whoami", &Value::Null);
    assert!(refused.as_ref().is_err_and(|why| why.contains("Permission denied")), "{refused:?}");
    assert!(Bastion::attempt_at(&socket, ROOT, "GET", "/v1/whoami", &Value::Null).is_err(), "not even root's calls");
    let short = Introduction { until: now() + jiff::SignedDuration::from_secs(2), ..introduction("frieda", &[]) };
    let (mut wire, _) = Wire::introduced(&bastion, &short).unwrap();
    assert_eq!(wire.call("GET", "/v1/whoami", &Value::Null).0, 200);
    until("the session ends", || matches!(wire.0.read(&mut [0]), Ok(0) | Err(_)).then_some(()));
    // The operators' routes are not for people of a provider.
    let (mut wire, _) = Wire::introduced(&bastion, &good).unwrap();
    let (status, problem) = wire.call("GET", "/v1/operations", &Value::Null);
    assert_eq!((status, &problem["code"]), (403, &json!("wrong-door")));
}

/// One person takes a few of the connections, not all of them.
#[test]
fn one_person_does_not_take_all_connections() {
    let bastion = bastion();
    let frieda = introduction("frieda", &[]);
    let mut held = Vec::new();
    let refused = loop {
        match Wire::introduced(&bastion, &frieda) {
            Ok(wire) => held.push(wire),
            Err(code) => break code,
        }
        assert!(held.len() <= 64);
    };
    assert_eq!((held.len(), refused.as_str()), (32, "busy"));
    let (mut greta, _) = Wire::introduced(&bastion, &introduction("greta", &[])).unwrap();
    assert_eq!(greta.call("GET", "/v1/whoami", &Value::Null).0, 200);
    assert_eq!(bastion.get(ALICE, "/v1/whoami").0, 200);
}

fn logout(subject: Option<&str>, sid: Option<&str>) -> ProviderLogout {
    ProviderLogout {
        issuer: ISSUER.to_owned(),
        subject: subject.map(str::to_owned),
        sid: sid.map(str::to_owned),
        issued: now(),
        token_sha256: "cd".repeat(32),
    }
}

/// Live access that this person requested through the front end.
fn live(bastion: &Bastion<'static>, wire: &mut Wire) -> Access {
    let (grant, key) = wire.requests(bastion, "5m");
    assert_eq!(bastion.approve(BOB, &grant).0, 200);
    let (status, certificate) = wire.call("POST", &path(&grant, "/certificate"), &json!({ "csr": key.csr() }));
    assert_eq!(status, 200, "{certificate}");
    let chain = certificate["certificate"].as_str().unwrap().to_owned();
    let client = Admin::with_certificate(bastion.plane, &chain, &key.pem());
    Access { grant, key, chain, client }
}

/// When a provider ends somebody's login, what they requested with it ends, with the reason; nobody else's, and not what the
/// same person requested on the host. The trail has whose login it was, and the hash of the token.
#[test]
fn access_ends_when_the_provider_ends_the_login() {
    let bastion = bastion();
    let introduced = |who: &Introduction| Wire::introduced(&bastion, who).unwrap().0;
    let (frieda, greta) = (introduction("frieda", &["payments-oncall"]), introduction("greta", &["payments-oncall"]));
    let theirs = [live(&bastion, &mut introduced(&frieda)), live(&bastion, &mut introduced(&frieda))];
    let others = [live(&bastion, &mut introduced(&greta)), bastion.live(&bastion.ask("5m"))];
    let phase = |access: &Access| bastion.show(ERIN, &access.grant)["phase"].as_str().unwrap().to_owned();
    for unknown in [logout(Some("nobody"), None), logout(None, Some("s-9")), logout(Some("alice-at-corp"), None)] {
        assert_eq!(Wire::logged_out(&bastion, VERSION, unknown), Ok(0));
    }
    let not_ours = ProviderLogout { issuer: "https://id.example".to_owned(), ..logout(Some("frieda"), None) };
    assert_eq!(Wire::logged_out(&bastion, VERSION, not_ours).unwrap_err(), "unknown-caller");
    assert_eq!(Wire::logged_out(&bastion, VERSION - 1, logout(Some("frieda"), None)).unwrap_err(), "internal");
    for access in theirs.iter().chain(&others) {
        assert_eq!(bastion.look(access, &bastion.ns), 200);
    }

    assert_eq!(Wire::logged_out(&bastion, VERSION, logout(Some("frieda"), Some("s-1"))), Ok(2));
    for access in &theirs {
        assert_eq!((phase(access).as_str(), bastion.look(access, &bastion.ns)), ("ended", 403));
        let why = bastion.show(ERIN, &access.grant)["closingWords"].as_str().unwrap().to_owned();
        assert!(why.starts_with("frieda@corp.") && why.ends_with(&format!(" was logged out at {ISSUER}")), "{why}");
    }
    for access in &others {
        assert_eq!((phase(access).as_str(), bastion.look(access, &bastion.ns)), ("live", 200));
    }
    assert_eq!(Wire::logged_out(&bastion, VERSION, logout(Some("frieda"), Some("s-1"))), Ok(0), "again");

    let trail = bastion.trail();
    let entry = trail.iter().rfind(|entry| entry["event"]["kind"] == "logged_out").unwrap();
    let event = &entry["event"];
    assert_eq!([&event["issuer"], &event["subject"], &event["sid"]], [ISSUER, "frieda", "s-1"]);
    assert_eq!((&event["tokenSha256"], &entry["by"]), (&json!("cd".repeat(32)), &Value::Null));
    assert!(bastion.jitd(&["audit", "verify"]).status.success());
    bastion.has_no_fault();
}

/// An approval outlives a logout, and is collected by who logs in again, not with the login that is over.
#[test]
fn what_was_approved_is_not_collected_with_a_login_that_is_over() {
    let bastion = bastion();
    let frieda = introduction("frieda", &["payments-oncall"]);
    let (mut wire, _) = Wire::introduced(&bastion, &frieda).unwrap();
    let (grant, key) = wire.requests(&bastion, "5m");
    assert_eq!(bastion.approve(BOB, &grant).0, 200);
    assert_eq!(Wire::logged_out(&bastion, VERSION, logout(Some("frieda"), Some("s-1"))), Ok(0));
    let body = json!({ "csr": key.csr() });
    let (status, problem) = wire.call("POST", &path(&grant, "/certificate"), &body);
    assert_eq!((status, &problem["code"]), (403, &json!("login-stale")));
    assert!(problem["detail"].as_str().unwrap().contains("was ended there"), "{problem}");
    let login = ProviderLogin { sid: Some("s-2".to_owned()), ..frieda.login.clone() };
    let (mut again, _) = Wire::introduced(&bastion, &Introduction { login, ..frieda }).unwrap();
    let (status, answer) = again.call("POST", &path(&grant, "/certificate"), &body);
    assert_eq!(status, 200, "{answer}");
}
