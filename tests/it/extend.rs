//! Extensions of live access: one grant, one binding, no gap, and never longer than the rule allows.

use serde_json::{Value, json};

use crate::bastion::{ALICE, BOB, Bastion, CAROL, ERIN, Key, Options, path, text};
use crate::plane::{Admin, Answer, Plane};

fn bastion(keys: &str) -> Bastion<'static> {
    let policy = format!(
        "rules:\n- {{name: payments, who: [payments-oncall], clusters: [play], namespaces: [NS], roles: [view], maxDuration: 10m, maxTotal: 12m, reason: '^INC-', {keys}}}\n"
    );
    Bastion::with(Plane::shared(), Options { policy, ..Options::default() })
}

fn extend(bastion: &Bastion<'_>, grant: &Value, duration: &str) -> Answer {
    bastion.post(ALICE, &path(grant, "/extend"), &json!({ "duration": duration, "reason": "INC-42 still stuck" }))
}

fn agree(bastion: &Bastion<'_>, grant: &Value) -> Answer {
    let digest = bastion.show(BOB, grant)["extension"]["digest"].clone();
    bastion.post(BOB, &path(grant, "/approve"), &json!({ "digest": digest }))
}

fn refused(answer: &Answer, status: u16, code: &str, word: &str) {
    let (told, problem) = answer;
    assert_eq!((*told, problem["code"].as_str()), (status, Some(code)), "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains(word), "{problem}");
}

fn deadline(grant: &Value) -> jiff::Timestamp {
    grant["deadline"].as_str().unwrap().parse().unwrap()
}

/// The binding stays the same, certificates are valid beyond the first end, and the grant ends at the new one.
#[test]
fn access_continues_without_a_gap() {
    let bastion = bastion("approval: [{groups: [payments-leads]}]");
    let access = bastion.live(&bastion.ask("8s"));
    let before = bastion.show(ALICE, &access.grant);
    let binding = bastion.admin.get(&bastion.binding_path(&access.grant)).1;

    let (status, asked) = extend(&bastion, &access.grant, "8s");
    assert_eq!((status, &asked["phase"]), (200, &json!("live")), "{asked}");
    assert_eq!(deadline(&asked), deadline(&before), "nothing is granted yet");
    refused(&extend(&bastion, &access.grant, "5s"), 409, "wrong-phase", "already");
    let stale = bastion.post(BOB, &path(&access.grant, "/approve"), &json!({ "digest": access.grant["digest"] }));
    refused(&stale, 409, "digest-mismatch", "changed since you looked");
    refused(&bastion.approve(ALICE, &access.grant), 403, "self-approval", "");
    let cut = json!({ "digest": asked["extension"]["digest"], "less": { "duration": "5s" } });
    refused(&bastion.post(BOB, &path(&access.grant, "/approve"), &cut), 422, "not-less", "not narrowed");

    let (status, extended) = agree(&bastion, &access.grant);
    assert_eq!(status, 200, "{extended}");
    assert_eq!(deadline(&extended).duration_since(deadline(&before)).as_secs(), 8);
    assert_eq!(extended["extension"], Value::Null);
    let (status, certificate) = bastion.certificate(ALICE, &access.grant, &access.key);
    assert_eq!(status, 200, "{certificate}");
    let expires_at: jiff::Timestamp = certificate["expiresAt"].as_str().unwrap().parse().unwrap();
    assert!(expires_at > deadline(&before), "{certificate}");
    let chain = certificate["certificate"].as_str().unwrap();
    let renewed = Admin::with_certificate(bastion.plane, chain, &access.key.pem());

    // Until after the first end, the API server has the same binding.
    #[expect(clippy::disallowed_methods, reason = "the daemon under test has the real clock")]
    while jiff::Timestamp::now() < deadline(&before).saturating_add(jiff::SignedDuration::from_secs(1)).unwrap() {
        let (status, now) = bastion.admin.get(&bastion.binding_path(&access.grant));
        assert_eq!((status, &now["metadata"]["uid"]), (200, &binding["metadata"]["uid"]));
        assert_eq!(bastion.show(ALICE, &access.grant)["phase"], "live");
    }
    let look = || renewed.get(&format!("/api/v1/namespaces/{}/configmaps", bastion.ns)).0;
    assert_eq!((look(), bastion.look(&access, &bastion.ns)), (200, 401), "the first certificate has expired");
    let ended = bastion.wait_for(&access.grant, &["ended"]);
    assert_eq!(ended["endCause"], "expired");
    assert_ne!(look(), 200);
    let kinds = bastion.kinds(&access.grant);
    let story = ["extension_asked", "refused", "refused", "refused", "refused", "extended", "issue_intended", "issued"];
    assert!(kinds.windows(story.len()).any(|window| window == story), "{kinds:?}");
    assert!(bastion.jitd(&["audit", "verify"]).status.success());
}

/// The rule's total, its reason and the current rights apply to an extension as to a request.
#[test]
fn an_extension_never_exceeds_the_rule() {
    let bastion = bastion("approval: [{groups: [payments-leads]}]");
    let access = bastion.live(&bastion.ask("10m"));
    refused(&extend(&bastion, &access.grant, "3m"), 403, "policy-denied", "allows 12m in total");
    let other = json!({ "duration": "1m", "reason": "because" });
    refused(&bastion.post(ALICE, &path(&access.grant, "/extend"), &other), 403, "policy-denied", "reason");
    let (status, malformed) =
        bastion.post(ALICE, &path(&access.grant, "/extend"), &json!({ "duration": "x", "reason": "" }));
    assert_eq!((status, &malformed["code"]), (400, &json!("malformed")), "{malformed}");
    assert_eq!(bastion.show(ALICE, &access.grant)["extension"], Value::Null);

    assert_eq!(extend(&bastion, &access.grant, "1m").0, 200);
    let (status, denied) = bastion.post(BOB, &path(&access.grant, "/deny"), &json!({ "reason": "enough" }));
    assert_eq!((status, &denied["phase"], &denied["extension"]), (200, &json!("live"), &Value::Null), "{denied}");
    assert_eq!(bastion.look(&access, &bastion.ns), 200, "a refused extension takes nothing away");

    // Two extensions of a minute use up the two minutes that the rule has left.
    for _ in 0..2 {
        assert_eq!(extend(&bastion, &access.grant, "1m").0, 200);
        assert_eq!(agree(&bastion, &access.grant).0, 200);
    }
    refused(&extend(&bastion, &access.grant, "5s"), 403, "policy-denied", "at most 0s more");
    bastion.post(ALICE, &path(&access.grant, "/end"), &Value::Null);
    refused(&extend(&bastion, &access.grant, "5s"), 410, "too-late", "ended");
}

/// An extension needs as many approvals as the request did, also across a restart.
#[test]
fn an_extension_needs_as_many_approvals_as_the_request() {
    let mut bastion = bastion("approval: [{groups: [payments-leads], count: 2}]");
    let key = Key::new();
    let grant = bastion.request(ALICE, &bastion.ask("5m"), &key);
    for person in [BOB, CAROL] {
        assert_eq!(bastion.approve(person, &grant).0, 200);
    }
    let access = bastion.collect(&grant, key);
    let before = bastion.show(ALICE, &grant);
    assert_eq!(extend(&bastion, &grant, "5m").0, 200);
    let (status, first) = agree(&bastion, &grant);
    assert_eq!((status, &first["extension"]["agreed"]), (200, &json!(["bob"])), "{first}");
    assert_eq!(deadline(&first), deadline(&before));
    refused(&agree(&bastion, &grant), 409, "already-agreed", "already approved");
    bastion.kill();
    bastion.serve();
    let shown = bastion.show(CAROL, &grant);
    assert_eq!(shown["extension"], first["extension"]);
    let body = json!({ "digest": shown["extension"]["digest"] });
    let (status, extended) = bastion.post(CAROL, &path(&grant, "/approve"), &body);
    assert_eq!((status, deadline(&extended).duration_since(deadline(&before)).as_secs()), (200, 300), "{extended}");
    assert_eq!(bastion.look(&access, &bastion.ns), 200);
}

/// Pre-approved access is extended without an approval.
#[test]
fn pre_approved_access_is_extended_without_an_approval() {
    let bastion = bastion("preApproved: true");
    let key = Key::new();
    let grant = bastion.request(ALICE, &bastion.ask("5m"), &key);
    bastion.collect(&grant, key);
    let before = bastion.show(ALICE, &grant);
    let (status, extended) = extend(&bastion, &grant, "1m");
    assert_eq!((status, deadline(&extended).duration_since(deadline(&before)).as_secs()), (200, 60), "{extended}");
    refused(&extend(&bastion, &grant, "9m"), 403, "policy-denied", "12m in total");
}

/// An extension that nobody answers lapses; the access ends when it would have ended anyway.
#[test]
fn an_unanswered_extension_changes_nothing() {
    let bastion = bastion("approval: [{groups: [payments-leads]}]");
    let access = bastion.live(&bastion.ask("5s"));
    let before = bastion.show(ALICE, &access.grant);
    let (status, asked) = extend(&bastion, &access.grant, "1m");
    assert_eq!((status, &asked["extension"]["pendingUntil"]), (200, &before["deadline"]), "{asked}");
    let ended = bastion.wait_for(&access.grant, &["ended"]);
    assert_eq!((&ended["endCause"], &before["extension"]), (&json!("expired"), &Value::Null));
    let at: jiff::Timestamp = ended["endedAt"].as_str().unwrap().parse().unwrap();
    assert!(at.duration_since(deadline(&before)).as_secs() < 10, "{ended}");
    refused(&agree(&bastion, &access.grant), 410, "too-late", "ended");
}

/// `jit-login extend` waits and prints the answer, and the next `kubectl` gets a certificate until the new end. The
/// exit codes are those of a request.
#[test]
fn the_client_waits_for_an_extension() {
    let bastion = bastion("approval: [{groups: [payments-leads]}]");
    let output = bastion.login(
        ALICE,
        &["request", "play", "-n", &bastion.ns, "--role", "view", "--for", "5m", "--reason", "INC-42", "--no-wait"],
    );
    let id = text(&output.stdout).trim().to_owned();
    let grant = json!({ "id": id });
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(bastion.approve(BOB, &bastion.show(BOB, &grant)).0, 200);
    assert!(bastion.login(ALICE, &["wait", &id]).status.success());

    let mut waiting = bastion.login_command(ALICE, "jit-login");
    waiting.args(["extend", "--for", "2m", "--reason", "INC-42 still stuck"]);
    let waiting = std::thread::spawn(move || waiting.output().unwrap());
    crate::plane::until("the question", || bastion.show(BOB, &grant)["extension"].is_object().then_some(()));
    let seen = text(&bastion.login(BOB, &["show", &id]).stdout);
    assert!(seen.contains("2m") && seen.contains("INC-42 still stuck"), "{seen}");
    let output = bastion.login(BOB, &["approve", &id, "--yes"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let output = waiting.join().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("needs 1 approval from payments-leads"), "{}", text(&output.stderr));

    let output = bastion.login(ALICE, &["extend", &id, "--for", "2m", "--reason", "INC-42", "--no-wait"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    bastion.post(BOB, &path(&grant, "/deny"), &json!({ "reason": "enough" }));
    let before = bastion.show(ERIN, &grant);
    let output = bastion.login(ALICE, &["extend", &id, "--for", "9m", "--reason", "INC-42"]);
    assert_eq!((output.status.code(), &bastion.show(ERIN, &grant)), (Some(4), &before), "{}", text(&output.stderr));
}
