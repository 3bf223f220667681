//! Break-glass with a real daemon: access when nobody answers, marked wherever it is shown, and the review that is
//! due until people have looked at it.

use std::process::Output;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bastion::{ADMIN, ALICE, BOB, Bastion, CAROL, DAVE, ERIN, Key, Options, Person, path, text};
use crate::plane::{Answer, Plane, until, until_within};

/// Two people of the leads and the auditors review break-glass; the other rule does not allow it.
pub(crate) fn policy(after: &str, within: &str) -> String {
    format!(
        "rules:
- name: payments
  who: [payments-oncall]
  clusters: [play]
  namespaces: [NS]
  roles: [view]
  maxDuration: 10m
  approval: [{{groups: [payments-leads]}}]
  breakGlass: {{after: {after}, maxDuration: 2m, review: {{groups: [payments-leads, auditors], count: 2, within: {within}}}}}
- {{name: shop, who: [payments-oncall], clusters: [play], namespaces: [SHOP], roles: [view], maxDuration: 10m, approval: [{{groups: [payments-leads]}}]}}
"
    )
}

fn bastion(after: &str, within: &str) -> Bastion<'static> {
    Bastion::with(Plane::shared(), Options { policy: policy(after, within), ..Options::default() })
}

fn smash(bastion: &Bastion<'_>, person: Person, grant: &Value) -> Answer {
    bastion.post(person, &path(grant, "/break-glass"), &json!({ "reason": "INC-42 nobody answers" }))
}

fn review(bastion: &Bastion<'_>, person: Person, grant: &Value) -> Answer {
    find(bastion, person, grant, "justified")
}

fn find(bastion: &Bastion<'_>, person: Person, grant: &Value, verdict: &str) -> Answer {
    let digest = bastion.show(ERIN, grant)["breakGlass"]["digest"].clone();
    let body = json!({ "digest": digest, "verdict": verdict, "words": "looked at the logs" });
    bastion.post(person, &path(grant, "/review"), &body)
}

#[track_caller]
fn refused(answer: &Answer, status: u16, code: &str, word: &str) {
    assert_eq!((answer.0, &answer.1["code"]), (status, &json!(code)), "{}", answer.1);
    assert!(answer.1["detail"].as_str().unwrap().contains(word), "{}", answer.1);
}

fn pending(bastion: &Bastion<'_>, key: &Key) -> Value {
    bastion.request(ALICE, &bastion.ask("10m"), key)
}

/// It is immediate, shorter than requested, and marked in the certificate, the binding, the API server's audit log,
/// the trail, the daemon's log and its metrics.
#[test]
fn break_glass_access_is_shorter_and_marked_everywhere() {
    let bastion = bastion("0s", "4h");
    let key = Key::new();
    let grant = pending(&bastion, &key);
    let (status, broken) = smash(&bastion, ALICE, &grant);
    assert_eq!((status, &broken["phase"], &broken["agreed"]), (200, &json!("approved"), &json!([])), "{broken}");
    assert_eq!((&broken["duration"], broken.get("breakGlassFrom")), (&json!("2m"), None));
    assert!(broken["narrowedFrom"].as_str().unwrap().contains("for 10m"), "{broken}");
    assert!(bastion.bindings().is_empty(), "nothing is bound before it is collected");

    let access = bastion.collect(&grant, key);
    assert_eq!((bastion.look(&access, &bastion.ns), bastion.look(&access, &bastion.shop)), (200, 403));
    let shown = bastion.show(BOB, &grant);
    let at = |field: &str| shown[field].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert!(at("deadline").duration_since(at("liveAt")).as_secs() <= 120, "{shown}");
    let glass = &shown["breakGlass"];
    assert_eq!((&glass["owed"], &glass["overdue"], &glass["reviews"]), (&json!(true), &json!(false), &json!([])));
    assert_eq!((&glass["reason"], &glass["steps"][0]["missing"]), (&json!("INC-42 nobody answers"), &json!(2)));

    let uid = format!("break-glass:{}", grant["id"].as_str().unwrap());
    let who = access.client.create(
        "/apis/authentication.k8s.io/v1/selfsubjectreviews",
        &json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview" }),
    );
    let user = &who["status"]["userInfo"];
    assert_eq!((&user["username"], &user["uid"]), (&json!("jit:alice"), &json!(uid)));
    assert_eq!(user["groups"].as_array().unwrap().len(), 2, "the grant's and the API server's own: {user}");
    until("the audit log has the mark", || {
        let log = std::fs::read_to_string(&bastion.plane.audit).unwrap();
        log.lines()
            .any(|line| line.contains(&format!("\"uid\":\"{uid}\"")) && line.contains("/configmaps"))
            .then_some(())
    });
    let binding = bastion.admin.get(&bastion.binding_path(&grant)).1;
    assert_eq!(binding["metadata"]["annotations"]["jitd.dev/break-glass"], "true", "{binding}");
    let kinds = bastion.kinds(&grant);
    assert_eq!(kinds[..3], ["requested", "glass_broken", "issue_intended"]);
    let log = bastion.log();
    let told = log.lines().find(|line| line.contains("break-glass: access without an approval")).unwrap();
    assert!([" WARN ", "payments-leads", "INC-42 nobody answers"].iter().all(|word| told.contains(word)), "{told}");
    assert_eq!(["break_glass_total", "reviews_owed", "reviews_overdue"].map(|name| bastion.metric(name)), [1, 1, 0]);

    let usual = bastion.live(&bastion.ask("5m"));
    let binding = bastion.admin.get(&bastion.binding_path(&usual.grant)).1;
    assert_eq!(binding["metadata"]["annotations"].get("jitd.dev/break-glass"), None, "{binding}");
    assert!(bastion.jitd(&["audit", "verify"]).status.success());
    bastion.has_no_fault();
}

/// The requester must wait for an answer first; nobody else can use break-glass, no other rule allows it, and it is
/// over once somebody answered. The trail records all of it.
#[test]
fn break_glass_is_refused_where_it_is_not_allowed() {
    let bastion = bastion("6s", "4h");
    let key = Key::new();
    let grant = pending(&bastion, &key);
    refused(&smash(&bastion, ALICE, &grant), 409, "wrong-phase", "break-glass is available in ");
    refused(&smash(&bastion, BOB, &grant), 403, "not-allowed", "only the requester");
    assert_eq!(smash(&bastion, DAVE, &grant).0, 404);
    assert_eq!(bastion.kinds(&grant), ["requested", "refused", "refused"]);
    let mut ask = bastion.ask("5m");
    ask["namespaces"] = json!([bastion.shop]);
    let other = bastion.request(ALICE, &ask, &Key::new());
    assert_eq!(other.get("breakGlassFrom"), None, "{other}");
    refused(&smash(&bastion, ALICE, &other), 403, "policy-denied", "rule `shop`");
    let answered = pending(&bastion, &Key::new());
    assert_eq!(bastion.approve(BOB, &answered).0, 200);
    refused(&smash(&bastion, ALICE, &answered), 409, "wrong-phase", "already approved");
    assert_eq!(bastion.metric("reviews_owed"), 0);

    let shown = text(&bastion.login(BOB, &["show", grant["id"].as_str().unwrap()]).stdout);
    assert!(shown.contains("  break-glass available "), "{shown}");
    let waited = bastion.login(ALICE, &["wait", grant["id"].as_str().unwrap(), "--timeout", "8s"]);
    assert_eq!(waited.status.code(), Some(5));
    let said = text(&waited.stderr);
    let hints = said.lines().filter(|line| line.contains("if it cannot wait: `jit-login break-glass")).count();
    assert_eq!(hints, 1, "it is said once, as soon as it can be done: {said}");
    until("the time to answer is over", || (smash(&bastion, ALICE, &grant).0 == 200).then_some(()));
    let (status, denied) = bastion.post(BOB, &path(&grant, "/deny"), &json!({ "reason": "I am here" }));
    assert_eq!((status, &denied["phase"]), (200, &json!("denied")), "{denied}");
    refused(&bastion.certificate(ALICE, &grant, &key), 410, "too-late", "the grant is denied");
    assert!(bastion.bindings().is_empty());
    assert_eq!(bastion.metric("reviews_owed"), 1, "the glass is broken, whatever came of it");
    assert!(bastion.jitd(&["audit", "verify"]).status.success());
}

/// The review is due until two others have looked, also after the end and after a restart: until then this person
/// cannot use break-glass again, but can request access.
#[test]
fn a_review_is_due_until_two_others_have_looked() {
    let mut bastion = bastion("0s", "5s");
    let (first, second) = (Key::new(), Key::new());
    let (grant, waits) = (pending(&bastion, &first), pending(&bastion, &second));
    assert_eq!(smash(&bastion, ALICE, &grant).0, 200);
    refused(&smash(&bastion, ALICE, &waits), 403, "review-owed", "not reviewed yet");
    refused(&bastion.approve(BOB, &grant), 409, "wrong-phase", "break-glass was used");
    bastion.collect(&grant, first);
    assert_eq!(bastion.post(ALICE, &path(&grant, "/end"), &Value::Null).0, 200);
    assert_eq!(bastion.show(CAROL, &grant)["phase"], "ended");
    let later = pending(&bastion, &Key::new());
    assert_eq!(later.get("breakGlassFrom"), None, "what is asked while a review is owed knows no broken glass");
    assert_eq!(bastion.approve(BOB, &later).0, 200, "asking people goes on");

    refused(&review(&bastion, ALICE, &grant), 403, "self-approval", "nobody reviews what they did");
    let stale = json!({ "digest": "00", "verdict": "justified", "words": "x" });
    refused(&bastion.post(BOB, &path(&grant, "/review"), &stale), 409, "digest-mismatch", "changed since you looked");
    refused(&bastion.post(BOB, &path(&later, "/review"), &stale), 409, "wrong-phase", "was not used");
    let (status, once) = review(&bastion, BOB, &grant);
    assert_eq!((status, &once["breakGlass"]["owed"], &once["phase"]), (200, &json!(true), &json!("ended")), "{once}");
    refused(&review(&bastion, BOB, &grant), 409, "already-agreed", "already reviewed");
    until("the review is overdue", || (bastion.metric("reviews_overdue") == 1).then_some(()));
    assert_eq!(bastion.show(BOB, &grant)["breakGlass"]["overdue"], true);

    bastion.kill();
    bastion.serve();
    assert_eq!(["reviews_owed", "reviews_overdue"].map(|name| bastion.metric(name)), [1, 1]);
    refused(&smash(&bastion, ALICE, &waits), 403, "review-owed", "not reviewed yet");
    let listed = bastion.get(CAROL, "/v1/grants").1;
    let found = listed["grants"].as_array().unwrap().iter().find(|found| found["id"] == grant["id"]).unwrap();
    assert_eq!(found["breakGlass"]["reviews"][0]["by"], "bob", "{found}");
    refused(&bastion.certificate(ALICE, &grant, &Key::new()), 410, "too-late", "the grant is ended");
    let verified = bastion.jitd(&["audit", "verify"]);
    assert!(verified.status.success(), "{}", text(&verified.stderr));
    assert!(text(&verified.stdout).contains(", reviews owed 1\n"), "{}", text(&verified.stdout));

    let (status, twice) = review(&bastion, ERIN, &grant);
    assert_eq!((status, &twice["breakGlass"]["owed"]), (200, &json!(false)), "{twice}");
    assert_eq!(["reviews_owed", "reviews_overdue"].map(|name| bastion.metric(name)), [0, 0]);
    refused(&review(&bastion, CAROL, &grant), 409, "wrong-phase", "already reviewed");
    let open = bastion.get(CAROL, "/v1/grants").1;
    assert!(!open.to_string().contains(grant["id"].as_str().unwrap()), "over, and nothing is owed: {open}");
    assert_eq!(bastion.show(CAROL, &grant)["breakGlass"]["reviews"][1]["by"], "erin");
    assert_eq!(smash(&bastion, ALICE, &waits).0, 200, "what was asked before may be taken now");
    bastion.collect(&waits, second);
    assert!(bastion.jitd(&["audit", "verify"]).status.success());
    bastion.has_no_fault();
}

/// The conditions of break-glass must still hold at the collection; of two concurrent uses one succeeds.
#[test]
fn concurrent_break_glass_succeeds_once() {
    let mut bastion = bastion("0s", "4h");
    let key = Key::new();
    let grants: Vec<Value> = (0..4).map(|_| pending(&bastion, &key)).collect();
    let broken = std::thread::scope(|scope| {
        let all: Vec<_> = grants.iter().map(|grant| scope.spawn(|| smash(&bastion, ALICE, grant))).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(broken.iter().filter(|answer| answer.0 == 200).count(), 1, "{broken:?}");
    broken
        .iter()
        .filter(|answer| answer.0 != 200)
        .for_each(|answer| refused(answer, 403, "review-owed", "not reviewed"));

    let (taken, _) = grants.iter().zip(&broken).find(|(_, answer)| answer.0 == 200).unwrap();
    assert!(bastion.terminate());
    bastion.write_policy(&policy("0s", "1h"));
    bastion.serve();
    refused(&bastion.certificate(ALICE, taken, &key), 403, "requester-lost-right", "no longer allows break-glass");
    assert!(bastion.bindings().is_empty());
}

/// With the real client: the request mentions break-glass, `break-glass` makes kubectl work, every reviewer sees it
/// first in `ls`, and `review` says what is missing.
#[test]
fn people_use_and_review_break_glass_with_the_client() {
    let bastion = bastion("0s", "4h");
    let said = |output: &Output| (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr));
    let mut request = vec!["request", "play", "-n", &bastion.ns, "--role", "view", "--for", "10m"];
    request.extend(["--reason", "INC-42 queue stuck", "--timeout", "1s"]);
    let (code, _, err) = said(&bastion.login(ALICE, &request));
    assert_eq!(code, 5, "{err}");
    let id = text(&bastion.login(ALICE, &["ls", "-o", "name"]).stdout).trim().to_owned();
    assert!(err.contains(&format!("if it cannot wait: `jit-login break-glass {id}")), "{err}");

    let (code, out, err) = said(&bastion.login(ALICE, &["break-glass", "--reason", "INC-42 nobody answers"]));
    assert_eq!(code, 0, "{err}");
    assert!(
        err.contains("break-glass by alice") && err.contains("needs 2 reviews from payments-leads, auditors"),
        "{err}"
    );
    let kubeconfig = out.trim().strip_prefix("export KUBECONFIG=").unwrap();
    let mut kubectl = bastion.login_command(ALICE, "kubectl");
    let (code, out, err) =
        said(&kubectl.env("KUBECONFIG", kubeconfig).args(["get", "configmaps", "-o", "name"]).output().unwrap());
    assert!(code == 0 && out.contains("configmap/seen"), "{out}{err}");

    for person in [ALICE, BOB, ERIN] {
        let (code, out, err) = said(&bastion.login(person, &["ls"]));
        assert!(
            code == 0 && err.starts_with("break-glass by alice") && out.contains("live, review owed"),
            "{out}{err}"
        );
    }
    let words = ["--words", "the queue was stuck"];
    let own = said(&bastion.login(ALICE, &["review", &id, "--justified", words[0], words[1]]));
    assert!(own.0 == 4 && own.2.contains("error[self-approval]: "), "{own:?}");
    for wrong in [
        &["review", &id, words[0], words[1]][..],
        &["review", &id, "--justified", "--not-justified", words[0], words[1]],
    ] {
        assert_eq!(said(&bastion.login(BOB, wrong)).0, 2);
    }
    let (code, out, err) = said(&bastion.login(BOB, &["review", &id[..6], "--justified", words[0], words[1]]));
    assert_eq!((code, out), (0, format!("{id} reviewed, further reviews are due\n")), "{err}");
    assert!(
        err.contains("without an approval: INC-42 nobody answers")
            && err.contains("still needs 1 review from payments-leads"),
        "{err}"
    );
    let (code, out, _) = said(&bastion.login(ERIN, &["review", &id, "--justified", words[0], words[1], "-o", "json"]));
    let view: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &view["breakGlass"]["owed"]), (0, &json!(false)));
    assert_eq!(view["breakGlass"]["reviews"][1]["verdict"], "justified");
    let (_, out, err) = said(&bastion.login(BOB, &["ls"]));
    assert!(!err.contains("break-glass by") && !out.contains("owed"), "{out}{err}");
    let (_, out, _) = said(&bastion.login(BOB, &["show", &id]));
    assert!(out.contains("review      justified by erin: the queue was stuck"), "{out}");
}

/// Where two reviewers disagree, whoever was first, the review stays owed, also after a restart: a further reviewer is refused
/// with who decides, and a member of `admins` closes it with either verdict. The trail says that this one decided.
#[test]
fn a_disagreement_in_a_review_stays_open_until_an_administrator_decides() {
    let mut bastion = bastion("0s", "4h");
    for (first, second, decision) in
        [("justified", "not-justified", "justified"), ("not-justified", "justified", "not-justified")]
    {
        let (grant, waits) = (pending(&bastion, &Key::new()), pending(&bastion, &Key::new()));
        assert_eq!(smash(&bastion, ALICE, &grant).0, 200);
        refused(&find(&bastion, ADMIN, &grant, decision), 403, "not-allowed", "may review this");
        let (status, once) = find(&bastion, BOB, &grant, first);
        assert_eq!((status, &once["breakGlass"]["disputed"]), (200, &json!(false)), "{once}");
        let (status, twice) = find(&bastion, ERIN, &grant, second);
        let glass = &twice["breakGlass"];
        assert_eq!((status, &glass["owed"], &glass["disputed"]), (200, &json!(true), &json!(true)), "{twice}");
        assert_eq!(bastion.metric("reviews_owed"), 1);

        bastion.kill();
        bastion.serve();
        let carol = find(&bastion, CAROL, &grant, first);
        refused(&carol, 403, "not-allowed", "the reviewers disagree; a member of `admins` decides");
        assert_eq!(carol.1["hint"], "`admins` are the members of admins", "{}", carol.1);
        refused(&find(&bastion, ALICE, &grant, first), 403, "self-approval", "nobody reviews what they did");
        refused(&smash(&bastion, ALICE, &waits), 403, "review-owed", "not reviewed yet");
        let (status, decided) = find(&bastion, ADMIN, &grant, decision);
        let glass = &decided["breakGlass"];
        assert_eq!((status, &glass["owed"], &glass["disputed"]), (200, &json!(false), &json!(false)), "{decided}");
        let last = &glass["reviews"][2];
        assert_eq!((&last["by"], &last["verdict"]), (&json!("admin"), &json!(decision)));
        assert_eq!((&last["decides"], glass["reviews"][1].get("decides")), (&json!(true), None));
        refused(&find(&bastion, CAROL, &grant, first), 409, "wrong-phase", "already reviewed");
        let events = bastion.get(ERIN, &path(&grant, "/events")).1;
        let reviewed = |event: &&Value| event.to_string().contains("reviewed");
        let decides: Vec<bool> = events["events"]
            .as_array()
            .unwrap()
            .iter()
            .filter(reviewed)
            .map(|event| event.to_string().contains("decides"))
            .collect();
        assert_eq!(decides, [false, false, true], "{events}");
        for grant in [&grant, &waits] {
            assert_eq!(bastion.post(ALICE, &path(grant, "/withdraw"), &Value::Null).0, 200);
        }
    }
    assert_eq!(bastion.metric("reviews_owed"), 0);
    let verified = bastion.jitd(&["audit", "verify"]);
    assert!(verified.status.success(), "{}", text(&verified.stderr));
    bastion.has_no_fault();
}

/// With the real client everybody who can see the grant reads that it is disputed, who decides, and with which command, which
/// runs as printed.
#[test]
fn the_client_says_that_a_review_is_disputed_and_who_decides() {
    let bastion = bastion("0s", "4h");
    let said = |output: &Output| (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr));
    let grant = pending(&bastion, &Key::new());
    let id = grant["id"].as_str().unwrap();
    assert_eq!(smash(&bastion, ALICE, &grant).0, 200);
    assert_eq!(review(&bastion, BOB, &grant).0, 200);
    let (code, out, err) = said(&bastion.login(ERIN, &["review", id, "--not-justified", "--words", "it could wait"]));
    assert_eq!((code, out), (0, format!("{id} reviewed, a decision is due\n")), "{err}");
    let who = "the reviewers disagree; a member of `admins` decides";
    assert!(err.contains(who), "{err}");
    for person in [ALICE, CAROL, ADMIN] {
        let (code, out, err) = said(&bastion.login(person, &["ls"]));
        assert!(code == 0 && out.contains("approved, review disputed"), "{out}");
        assert!(
            err.contains(who) && err.contains(&format!("`jit-login review {id} --justified --words TEXT`")),
            "{err}"
        );
    }
    let waiting = |person| said(&bastion.login(person, &["status", "--waiting"])).1;
    assert_eq!((waiting(ADMIN), waiting(CAROL)), ("1 review waits for you\n".to_owned(), String::new()));
    let (_, out, _) = said(&bastion.login(ADMIN, &["whoami"]));
    assert!(out.contains("administrator: a group of yours is in `admins`"), "{out}");
    let (code, out, err) = said(&bastion.login(ADMIN, &["show", id]));
    let command = format!("jit-login review {id} --justified --words TEXT");
    assert!(code == 0 && out.contains(who) && out.contains(&command), "{out}{err}");
    let (code, _, err) = said(&bastion.login(CAROL, &["review", id, "--justified", "--words", "fine"]));
    assert!(code == 4 && err.contains(who) && err.contains("hint: `admins` are the members of admins"), "{err}");
    let words: Vec<&str> = command.split(' ').skip(1).collect();
    let (code, out, err) = said(&bastion.login(ADMIN, &words));
    assert_eq!((code, out), (0, format!("{id} reviewed\n")), "{err}");
    let (_, out, _) = said(&bastion.login(BOB, &["show", id]));
    assert!(out.contains("decision    justified by admin: TEXT"), "{out}");
    assert_eq!(waiting(ADMIN), "");
    assert_eq!(bastion.post(ALICE, &path(&grant, "/withdraw"), &Value::Null).0, 200);
    let (_, out, _) = said(&bastion.login(ERIN, &["ls", "--all"]));
    assert!(out.contains("break-glass, found justified "), "the decision is what was found: {out}");
    let unused = pending(&bastion, &Key::new());
    let (_, out, err) = said(&bastion.login(ERIN, &["ls", "--break-glass", "-o", "name"]));
    assert_eq!(out, format!("{id}\n"), "{err}");
    let (_, out, _) = said(&bastion.login(ERIN, &["ls", "--all", "-o", "name"]));
    assert!(out.contains(unused["id"].as_str().unwrap()) && out.contains(id), "{out}");
    bastion.has_no_fault();
}

/// A denial is an answer: for as long as the policy says, it prevents break-glass for the same request or a wider
/// one, also for one that was made before the denial, and it is shown with the request. A narrower request may use it.
#[test]
fn a_denial_prevents_break_glass() {
    let policy = policy("0s", "4h")
        .replace("namespaces: [NS]", "namespaces: [NS, SHOP]")
        .replace("roles: [view]", "roles: [view, edit]");
    let bastion = Bastion::with(
        Plane::shared(),
        Options { policy: format!("{policy}limits: {{afterDenial: 20s}}\n"), ..Options::default() },
    );
    let asked = |role: &str, namespaces: &[&str]| {
        let mut ask = bastion.ask("5m");
        ask["role"] = json!(role);
        ask["namespaces"] = json!(namespaces);
        bastion.request(ALICE, &ask, &Key::new())
    };
    let (ns, shop) = (&*bastion.ns, &*bastion.shop);
    let (before, refusable) = (asked("edit", &[ns]), asked("edit", &[ns]));
    let (status, denied) = bastion.post(BOB, &path(&refusable, "/deny"), &json!({ "reason": "no, you must not" }));
    assert_eq!(status, 200, "{denied}");
    let since = Instant::now();
    refused(&smash(&bastion, ALICE, &before), 403, "recently-denied", "`bob` denied you this access");
    let (again, wider) = (asked("edit", &[ns]), asked("edit", &[ns, shop]));
    for closed in [&again, &wider] {
        assert_eq!(closed.get("breakGlassFrom"), None, "{closed}");
        refused(&smash(&bastion, ALICE, closed), 403, "recently-denied", "`bob` denied you this access");
        let told = &bastion.show(BOB, closed)["deniedBefore"];
        assert_eq!((&told["by"], &told["grant"]), (&json!("bob"), &refusable["id"]), "{told}");
        assert_eq!(told["reason"], "no, you must not");
    }
    let page = text(&bastion.login(BOB, &["show", again["id"].as_str().unwrap()]).stdout);
    assert!(page.contains("bob denied the same or less ") && page.contains("no, you must not"), "{page}");
    for other in [asked("view", &[ns]), asked("edit", &[shop])] {
        let (status, broken) = smash(&bastion, ALICE, &other);
        assert_eq!(status, 200, "{broken}");
        assert_eq!(review(&bastion, BOB, &other).0, 200);
        assert_eq!(review(&bastion, ERIN, &other).0, 200);
    }
    assert_eq!(bastion.approve(CAROL, &wider).0, 200, "another answer is one too");
    until_within(Duration::from_secs(30), "the denial is over", || {
        (since.elapsed() > Duration::from_secs(20)).then_some(())
    });
    assert_eq!(smash(&bastion, ALICE, &before).0, 200);
    bastion.has_no_fault();
}

/// A denial prevents pre-approved access too.
#[test]
fn a_denial_prevents_pre_approved_access() {
    let rule = |name: &str, role: &str, how: &str| {
        format!(
            "- {{name: {name}, who: [payments-oncall], clusters: [play], namespaces: [NS], roles: [{role}], maxDuration: 10m, {how}}}\n"
        )
    };
    let policy = format!(
        "rules:\n{}{}",
        rule("asked", "view", "approval: [{groups: [payments-leads]}]"),
        rule("free", "edit", "preApproved: true")
    );
    let bastion = Bastion::with(Plane::shared(), Options { policy, ..Options::default() });
    let ask = |role: &str| {
        let mut ask = bastion.ask("5m");
        ask["role"] = json!(role);
        ask
    };
    let free = bastion.request(ALICE, &ask("edit"), &Key::new());
    assert_eq!(free["phase"], "approved");
    let grant = bastion.request(ALICE, &ask("view"), &Key::new());
    assert_eq!(bastion.post(BOB, &path(&grant, "/deny"), &json!({ "reason": "not now" })).0, 200);
    let more = json!({ "ask": ask("edit"), "csr": Key::new().csr() });
    refused(&bastion.post(ALICE, "/v1/grants", &more), 429, "limit", "`afterDenial`");
    assert_eq!(bastion.post(CAROL, "/v1/grants", &json!({ "ask": ask("edit"), "csr": Key::new().csr() })).0, 201);
    bastion.has_no_fault();
}
