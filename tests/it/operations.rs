//! The commands of administrators: stop granting, revoke everything at once, copy the trail; also while the cluster,
//! the disk or the daemon itself fails.

use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bastion::{ADMIN, ALICE, BOB, Bastion, CAROL, ERIN, Key, Options, ROOT, path, text};
use crate::middleman::{Middleman, Play};
use crate::plane::{Plane, root, until, until_within};
use crate::trail::past_the_triggers;

/// The exit code, and all output.
fn said(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), format!("{}{}", text(&output.stdout), text(&output.stderr)))
}

/// Runs a verb that must succeed, and returns its output.
#[track_caller]
fn done(bastion: &Bastion<'_>, arguments: &[&str]) -> String {
    let (code, told) = said(&bastion.jitd(arguments));
    assert_eq!(code, Some(0), "{told}");
    told
}

#[track_caller]
fn revoked(bastion: &Bastion<'_>, arguments: &[&str]) -> Vec<Value> {
    let output = bastion.jitd(&[&["revoke", "--yes", "-o", "json", "--reason", "stolen laptop"], arguments].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    told["grants"].as_array().unwrap().clone()
}

fn verified(bastion: &Bastion<'_>) {
    done(bastion, &["audit", "verify"]);
}

/// A policy in which alice and carol may request, bob approves, and break-glass and extensions are allowed.
fn open_policy() -> String {
    crate::glass::policy("0s", "4h").replace("  maxDuration: 10m\n", "  maxDuration: 10m\n  maxTotal: 1h\n")
}

// ---- draining ----

#[track_caller]
fn draining((status, refused): (u16, Value)) {
    assert_eq!((status, &refused["code"]), (503, &json!("draining")), "{refused}");
    assert!(refused["detail"].as_str().unwrap().ends_with(": kernel update"), "{refused}");
}

/// During a drain, also across restarts, there are no requests, collections, break-glass or extensions; live grants
/// continue, and everything that ends access or only reads works.
#[test]
fn a_daemon_that_drains_grants_nothing_and_does_everything_else() {
    let mut bastion = Bastion::with(Plane::shared(), Options { policy: open_policy(), ..Options::default() });
    let (live, ended) = (bastion.live(&bastion.ask("5m")), bastion.live(&bastion.ask("5m")));
    let key = Key::new();
    let waiting = bastion.request(ALICE, &bastion.ask("5m"), &key);
    let (pending, denied) = (
        bastion.request(ALICE, &bastion.ask("5m"), &Key::new()),
        bastion.request(ALICE, &bastion.ask("5m"), &Key::new()),
    );
    assert_eq!(bastion.approve(BOB, &waiting).0, 200);

    let told = done(&bastion, &["drain", "--reason", "kernel update"]);
    assert!(told.contains("draining: no new access until `jitd resume`; live grants continue"), "{told}");
    assert!(told.contains("pending 2, approved 1, being collected 0, live 2, ending 0"), "{told}");
    for restart in [false, true] {
        if restart {
            bastion.kill();
            bastion.serve();
        }
        let reason = json!({ "reason": "INC-44 nobody is awake" });
        draining(bastion.post(ALICE, "/v1/grants", &json!({ "ask": bastion.ask("1m"), "csr": Key::new().csr() })));
        draining(bastion.post(ALICE, "/v1/explain?dryRun=true", &bastion.ask("1m")));
        draining(bastion.certificate(ALICE, &waiting, &key));
        draining(bastion.post(ALICE, &path(&pending, "/break-glass"), &reason));
        let more = json!({ "duration": "1m", "reason": "INC-42 not done" });
        draining(bastion.post(ALICE, &path(&live.grant, "/extend"), &more));
        assert_eq!(bastion.certificate(ALICE, &live.grant, &live.key).0, 200, "renewed inside its window");
        assert_eq!(bastion.look(&live, &bastion.ns), 200);
        assert_eq!(bastion.metric("draining"), 1);
        for verb in ["whoami", "ls"] {
            let (code, told) = said(&bastion.login(ALICE, &[verb]));
            assert_eq!(code, Some(0), "{told}");
            let line = told.lines().find(|line| line.starts_with("no new access since ")).unwrap();
            assert!(line.ends_with(": kernel update; live grants continue"), "{line}");
        }
        let (_, told) = said(&bastion.jitd(&["doctor"]));
        assert!(told.contains(" it is draining since ") && told.contains("hint: `jitd resume` ends this"), "{told}");
    }
    let (code, told) = said(&bastion.login(
        ALICE,
        &["request", "play", "-n", &bastion.ns, "--role", "view", "--for", "1m", "--reason", "INC-1", "--no-wait"],
    ));
    assert!(code == Some(1) && told.contains("error[draining]: the daemon grants no new access since "), "{told}");
    assert_eq!(bastion.post(ALICE, "/v1/explain", &bastion.ask("5m")).0, 200);
    assert_eq!(bastion.post(BOB, &path(&denied, "/deny"), &json!({ "reason": "not now" })).0, 200);
    assert_eq!(bastion.approve(BOB, &pending).0, 200, "a yes is no access");
    assert_eq!(bastion.post(ALICE, &path(&ended.grant, "/end"), &Value::Null).0, 200);

    let told = done(&bastion, &["resume"]);
    assert!(
        told.contains("resumed; it had been draining since ") && told.contains(" by root: kernel update"),
        "{told}"
    );
    assert!(done(&bastion, &["resume"]).contains("jitd was not draining"));
    assert_eq!(bastion.certificate(ALICE, &waiting, &key).0, 200, "what was approved has waited");
    assert_eq!(bastion.metric("draining"), 0);

    let of_operators: Vec<Value> = bastion.trail().into_iter().filter(|entry| entry["operator"].is_object()).collect();
    let kinds: Vec<&Value> = of_operators.iter().map(|entry| &entry["event"]).collect();
    assert_eq!(kinds, [&json!({ "kind": "drained", "reason": "kernel update" }), &json!({ "kind": "resumed" })]);
    let (by, operator) = (&of_operators[0]["by"], &of_operators[0]["operator"]);
    assert_eq!((by, &operator["name"], &operator["uid"]), (&json!("root"), &json!("root"), &json!(0)));
    assert_eq!(operator["login"].get("uid"), login_uid().as_ref());
    verified(&bastion);
    bastion.has_no_fault();
}

/// The account that this process's login came from, as the kernel has it.
fn login_uid() -> Option<Value> {
    let written = std::fs::read_to_string("/proc/self/loginuid").ok()?;
    written.trim().parse::<u32>().ok().filter(|uid| *uid != u32::MAX).map(Value::from)
}

/// An extension that was requested before the drain cannot be approved during it.
#[test]
fn the_approval_of_an_extension_waits_for_the_end_of_the_drain() {
    let bastion = Bastion::with(Plane::shared(), Options { policy: open_policy(), ..Options::default() });
    let access = bastion.live(&bastion.ask("5m"));
    let more = json!({ "duration": "1m", "reason": "INC-42 not done" });
    let (status, asked) = bastion.post(ALICE, &path(&access.grant, "/extend"), &more);
    assert_eq!(status, 200, "{asked}");
    done(&bastion, &["drain", "--reason", "kernel update"]);
    let digest = json!({ "digest": asked["extension"]["digest"] });
    draining(bastion.post(BOB, &path(&access.grant, "/approve"), &digest));
    done(&bastion, &["resume"]);
    assert_eq!(bastion.post(BOB, &path(&access.grant, "/approve"), &digest).0, 200);
}

/// A member of `admins` can use the admin socket, and the trail has the name.
#[test]
fn an_admin_is_recorded_by_name() {
    let bastion = Bastion::start();
    std::fs::set_permissions(bastion.admin_socket(), std::fs::Permissions::from_mode(0o666)).unwrap();
    // They may not read the configuration, and so have to say where.
    let operate = |arguments: &[&str]| {
        let mut jitd = bastion.login_command(ADMIN, "jitd");
        said(&jitd.args(["--config", "/nowhere/config.yaml"]).args(arguments).output().unwrap())
    };
    let socket = bastion.admin_socket();
    let (code, told) = operate(&["drain", "--socket", socket.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{told}");
    let entry = bastion.trail().pop().unwrap();
    assert_eq!((&entry["by"], &entry["operator"]["uid"]), (&json!("admin"), &json!(ADMIN.uid)));
    let (code, told) = operate(&["resume", "--socket", bastion.socket().to_str().unwrap()]);
    assert_eq!(code, Some(1));
    assert!(told.contains("this socket is not for operators\nhint: root and members of"), "{told}");
    let (code, told) = operate(&["resume", "--socket", "/nowhere/admin.sock"]);
    assert_eq!(code, Some(1));
    assert!(
        told.contains("cannot reach jitd at `/nowhere/admin.sock`: the socket does not exist\nhint: check"),
        "{told}"
    );
}

/// A running daemon can be stopped although its configuration has a mistake.
#[test]
fn a_broken_configuration_does_not_stop_administrators() {
    let bastion = Bastion::start();
    bastion.rewrite_config("times:", "timess:");
    bastion.write_policy("rules: 1\n");
    assert_eq!(bastion.jitd(&["check"]).status.code(), Some(2));
    done(&bastion, &["drain"]);
    done(&bastion, &["revoke", "--all", "--reason", "x", "--yes"]);
    done(&bastion, &["resume"]);
}

// ---- taking away ----

/// Every grant, in any phase, is over afterwards, and cannot be collected.
#[test]
fn every_open_grant_is_revoked() {
    let policy = format!(
        "{}- {{name: wide, who: [payments-oncall], clusters: [play], clusterWide: true, roles: [NS-nodes], maxDuration: 10m, approval: [{{groups: [payments-leads]}}]}}\n",
        open_policy()
    );
    let bastion = Bastion::with(Plane::shared(), Options { policy, ..Options::default() });
    let live = bastion.live(&bastion.ask("5m"));
    let mut wide = bastion.ask("5m");
    wide.as_object_mut().unwrap().remove("namespaces");
    wide["clusterWide"] = json!(true);
    wide["role"] = json!(format!("{}-nodes", bastion.ns));
    let wide = bastion.live(&wide);
    let (key, other) = (Key::new(), Key::new());
    let (approved, pending) =
        (bastion.request(ALICE, &bastion.ask("5m"), &key), bastion.request(CAROL, &bastion.ask("5m"), &other));
    assert_eq!(bastion.approve(BOB, &approved).0, 200);
    let broken = bastion.request(ALICE, &bastion.ask("5m"), &key);
    assert_eq!(
        bastion.post(ALICE, &path(&broken, "/break-glass"), &json!({ "reason": "INC-44 nobody is awake" })).0,
        200
    );
    let over = bastion.live(&bastion.ask("5m"));
    assert_eq!(bastion.post(ALICE, &path(&over.grant, "/end"), &Value::Null).0, 200);

    let rows = revoked(&bastion, &["--all"]);
    let row = |row: &Value| {
        let word = |name: &str| row[name].as_str().unwrap().to_owned();
        (word("id"), word("requester"), word("was"), word("phase"), word("proof"))
    };
    let expected = [
        (&live.grant, "alice", "live", "denied"),
        (&wide.grant, "alice", "live", "denied"),
        (&approved, "alice", "approved", "never-bound"),
        (&pending, "carol", "pending", "never-bound"),
        (&broken, "alice", "approved", "never-bound"),
    ]
    .map(|(grant, who, was, proof)| {
        let words = [grant["id"].as_str().unwrap(), who, was, "ended", proof].map(str::to_owned);
        let [id, who, was, phase, proof] = words;
        (id, who, was, phase, proof)
    });
    assert_eq!(rows.iter().map(row).collect::<Vec<_>>(), expected);
    assert!(bastion.bindings().is_empty());
    assert_eq!(bastion.look(&live, &bastion.ns), 403);
    assert_eq!(wide.client.get("/api/v1/nodes").0, 403);
    for (person, grant, key) in [(ALICE, &approved, &key), (CAROL, &pending, &other), (ALICE, &broken, &key)] {
        let (status, refused) = bastion.certificate(person, grant, key);
        assert_eq!((status, &refused["code"]), (410, &json!("too-late")), "{refused}");
    }
    let ended = bastion.show(CAROL, &pending);
    assert_eq!((&ended["endCause"], &ended["closedBy"]), (&json!("revoked"), &json!("root")));
    assert_eq!(ended["closingWords"], "stolen laptop");
    assert_eq!(bastion.kinds(&pending), ["requested", "ended"]);
    let (code, told) = said(&bastion.login(CAROL, &["wait", pending["id"].as_str().unwrap()]));
    assert!(code == Some(7) && told.contains("was revoked by root") && told.contains(": stolen laptop"), "{told}");
    let by_root = |entry: &Value| entry["by"] == "root" && entry["operator"]["uid"] == 0;
    let intents = bastion.trail().iter().filter(|entry| entry["event"]["why"] == "revoked" && by_root(entry)).count();
    assert_eq!(intents, 5, "each by root");

    let told = done(&bastion, &["revoke", "--all", "--reason", "again", "--yes"]);
    assert_eq!(told, "nothing to revoke: no open grant matches\n");
    let review = bastion.show(BOB, &broken)["breakGlass"]["digest"].clone();
    let body = json!({ "digest": review, "verdict": "justified", "words": "fine" });
    assert_eq!(bastion.post(BOB, &path(&broken, "/review"), &body).0, 200, "what is owed is owed still");
    verified(&bastion);
    bastion.has_no_fault();
}

/// By person, by cluster, or by both; an unknown name is reported.
#[test]
fn only_matching_grants_are_revoked() {
    let bastion = Bastion::start();
    let of_alice = bastion.live(&bastion.ask("5m"));
    let of_carol = bastion.request(CAROL, &bastion.ask("5m"), &Key::new());
    let revoke = |arguments: &[&str]| said(&bastion.jitd(&[&["revoke", "--yes", "--reason", "x"], arguments].concat()));
    let (code, told) = revoke(&["--cluster", "elsewhere"]);
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("cluster `elsewhere` is not configured here\nhint: configured: play"), "{told}");
    for arguments in [["--person", "alcie"].as_slice(), &["--person", "alcie", "--cluster", "play", "--drain"]] {
        let (code, told) = revoke(arguments);
        assert_eq!(code, Some(2), "{told}");
        assert_eq!(told, "jitd: person `alcie` is unknown here\nhint: these people have open grants: alice, carol\n");
    }
    assert!(bastion.trail().iter().all(|entry| entry["event"]["kind"] != "drained"), "nothing was done");
    for (arguments, code) in
        [(["--person", "no body", "--cluster", "play"].as_slice(), 2), (&[], 2), (&["--all", "--person", "alice"], 2)]
    {
        assert_eq!(revoke(arguments).0, Some(code), "{arguments:?}");
    }
    assert_eq!(revoke(&["--person", "erin", "--cluster", "play"]).1, "nothing to revoke: no open grant matches\n");
    assert_eq!(bastion.look(&of_alice, &bastion.ns), 200);
    let rows = revoked(&bastion, &["--person", "alice", "--cluster", "play"]);
    assert_eq!(rows.iter().map(|row| &row["id"]).collect::<Vec<_>>(), [&of_alice.grant["id"]]);
    assert_eq!(bastion.show(CAROL, &of_carol)["phase"], "pending");
    let (code, told) = revoke(&["--cluster", "play", "-o", "name"]);
    assert_eq!((code, told), (Some(0), format!("{}\nrevoked 1 grant\n", of_carol["id"].as_str().unwrap())));
}

/// Without --yes it asks for confirmation, and without a terminal it does nothing.
#[test]
fn a_revocation_asks_for_confirmation() {
    let bastion = Bastion::start();
    let access = bastion.live(&bastion.ask("5m"));
    bastion.request(CAROL, &bastion.ask("5m"), &Key::new());
    let (code, told) = said(&bastion.jitd(&["revoke", "--all", "--reason", "x"]));
    assert_eq!(
        (code, told.as_str()),
        (
            Some(2),
            "alice: live 1\ncarol: pending 1\njitd: cannot ask for confirmation without a terminal\nhint: use --yes\n"
        )
    );
    let on_a_terminal = |answer: &str| {
        let jitd = root().join("bin/jitd");
        let command = format!(
            "{} --config {}/config.yaml revoke --all --drain --reason 'stolen laptop'",
            jitd.display(),
            bastion.dir.display()
        );
        let mut script = Command::new("script");
        script.args(["--quiet", "--return", "--echo", "never", "--command", &command, "/dev/null"]);
        let mut script = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut input = script.stdin.take().unwrap();
        input.write_all(format!("{answer}\n").as_bytes()).unwrap();
        let output = script.wait_with_output().unwrap();
        drop(input);
        said(&output)
    };
    let (code, told) = on_a_terminal("n");
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("drain, and revoke 2 grants? [y/N]") && told.contains("jitd: nothing was revoked"), "{told}");
    assert_eq!(bastion.look(&access, &bastion.ns), 200);
    let (code, told) = on_a_terminal("y");
    assert_eq!(code, Some(0), "{told}");
    assert!(
        told.contains("revoked 2 grants") && told.contains("by root: stolen laptop: no new access until"),
        "{told}"
    );
    assert_eq!(bastion.look(&access, &bastion.ns), 403);
}

/// With --drain a collection that is in progress is ended too, and none begins afterwards.
#[test]
fn no_access_begins_between_drain_and_revocation() {
    let middleman = Middleman::before(Plane::shared());
    let bastion = Bastion::with(Plane::shared(), middleman.options());
    let key = Key::new();
    let grant = bastion.request(ALICE, &bastion.ask("5m"), &key);
    assert_eq!(bastion.approve(BOB, &grant).0, 200);
    middleman.play("POST", "/rolebindings", Play::Hold);
    std::thread::scope(|scope| {
        let collecting = scope.spawn(|| bastion.certificate(ALICE, &grant, &key));
        middleman.met(1);
        let revoking = scope.spawn(|| revoked(&bastion, &["--all", "--drain"]));
        until("it drains", || {
            let (_, state) = bastion.operate(ROOT, "GET", "/v1/operations", &Value::Null);
            state["draining"].is_object().then_some(())
        });
        middleman.pass_on();
        assert_eq!(collecting.join().unwrap().0, 200, "it had begun before");
        let rows = revoking.join().unwrap();
        assert_eq!((&rows[0]["was"], &rows[0]["proof"]), (&json!("collecting"), &json!("denied")));
    });
    assert!(bastion.bindings().is_empty());
    draining_again(&bastion);
}

fn draining_again(bastion: &Bastion<'_>) {
    let (status, refused) =
        bastion.post(ALICE, "/v1/grants", &json!({ "ask": bastion.ask("1m"), "csr": Key::new().csr() }));
    assert_eq!((status, &refused["code"]), (503, &json!("draining")), "{refused}");
}

/// They are ended concurrently: with as many deletions at once as the limit for a cluster allows, and the intent of
/// all is in the trail before the first is done.
#[test]
fn many_grants_are_ended_concurrently() {
    const GRANTS: usize = 40;
    const AT_ONCE: usize = 32;
    let middleman = Middleman::before(Plane::shared());
    let bastion = Bastion::with(Plane::shared(), middleman.options());
    for _ in 0..GRANTS {
        bastion.live(&bastion.ask("10m"));
    }
    middleman.play("DELETE", "/rolebindings/", Play::Hold);
    std::thread::scope(|scope| {
        let revoking = scope.spawn(|| revoked(&bastion, &["--all"]));
        middleman.met(AT_ONCE);
        let kinds: Vec<Value> = bastion.trail().iter().map(|entry| entry["event"]["kind"].clone()).collect();
        assert_eq!(kinds.iter().filter(|kind| **kind == "unbind_intended").count(), GRANTS);
        assert!(!kinds.contains(&json!("ended")));
        middleman.pass_on();
        let rows = revoking.join().unwrap();
        assert_eq!(rows.iter().filter(|row| row["proof"] == "denied").count(), GRANTS);
    });
    assert!(bastion.bindings().is_empty());
}

/// A cluster that is down delays only its own grants: those of others end, the remaining ones are listed with the
/// reason, and end when the cluster is back, also if the daemon was killed meanwhile.
#[test]
fn a_cluster_that_is_down_delays_only_its_own_grants() {
    let away = Plane::to_stop();
    let config =
        format!("- {{name: away, server: \"{}\", certificateAuthority: \"{}\"}}\n", away.server, away.ca.display());
    let policy = "rules:\n- {name: payments, who: [payments-oncall], clusters: [play, away], namespaces: [NS], \
                  roles: [view], maxDuration: 10m, approval: [{groups: [payments-leads]}]}\n";
    let mut bastion =
        Bastion::with(Plane::shared(), Options { config, policy: policy.to_owned(), ..Options::default() });
    away.trust(&bastion.dir.join("var/ca/away/root.crt"));
    let elsewhere = away.admin();
    elsewhere.create("/api/v1/namespaces", &json!({ "metadata": { "name": bastion.ns } }));
    let rights = bastion.dir.join("away.yaml");
    std::fs::write(&rights, text(&bastion.jitd(&["manifest", "away"]).stdout)).unwrap();
    let mut kubectl = Command::new(root().join("bin/kubectl"));
    let applied =
        kubectl.arg("--kubeconfig").arg(&away.kubeconfig).args(["apply", "-f"]).arg(&rights).output().unwrap();
    assert!(applied.status.success(), "{}", text(&applied.stderr));

    let here = bastion.live(&bastion.ask("10m"));
    let mut ask = bastion.ask("10m");
    ask["cluster"] = json!("away");
    let key = Key::new();
    let there = until("the API server reads its client authorities", || {
        let asked = bastion.post(ALICE, "/v1/grants", &json!({ "ask": ask, "csr": key.csr() }));
        (asked.0 == 201).then_some(asked.1)
    });
    assert_eq!(bastion.approve(BOB, &there).0, 200);
    assert_eq!(bastion.certificate(ALICE, &there, &key).0, 200);

    away.stop_api_server();
    let (code, told) = said(&bastion.jitd(&["revoke", "--all", "--reason", "stolen laptop", "--yes"]));
    assert_eq!(code, Some(1), "{told}");
    let id = there["id"].as_str().unwrap();
    let line = format!("jitd: {id} of alice in away is ending: cluster `away` cannot be reached: ");
    assert!(told.contains(&line), "{told}");
    assert!(told.contains("not proved denied yet: 1 of 2; the daemon continues with them"), "{told}");
    assert!(told.contains("revoked 1 grant\n"), "{told}");
    assert_eq!(bastion.look(&here, &bastion.ns), 403);
    assert_eq!(bastion.show(ERIN, &there)["phase"], "ending");

    bastion.kill();
    bastion.spawn();
    until_within(Duration::from_secs(25), "the daemon answers", || {
        std::os::unix::net::UnixStream::connect(bastion.socket()).ok()
    });
    away.start_api_server();
    let ended = until_within(Duration::from_secs(60), "it ends by itself", || {
        Some(bastion.show(ERIN, &there)).filter(|shown| shown["phase"] == "ended")
    });
    assert_eq!((&ended["endCause"], &ended["closedBy"]), (&json!("revoked"), &json!("root")));
    assert_eq!(
        done(&bastion, &["revoke", "--all", "--reason", "again", "--yes"]),
        "nothing to revoke: no open grant matches\n"
    );
    verified(&bastion);
}

/// On a full disk access is removed anyway, and the output says what could not be recorded. It is recorded when there
/// is room again, and nothing that was approved before can be collected then.
#[test]
fn a_full_disk_does_not_keep_access_alive() {
    let mut bastion = Bastion::prepared(Plane::shared(), Options::default());
    bastion.serve_on_a_small_disk();
    let live = bastion.live(&bastion.ask("10m"));
    let key = Key::new();
    let approved = bastion.request(ALICE, &bastion.ask("10m"), &key);
    assert_eq!(bastion.approve(BOB, &approved).0, 200);
    bastion.fill_disk();
    let (code, told) = said(&bastion.jitd(&["revoke", "--all", "--drain", "--reason", "stolen laptop", "--yes"]));
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("jitd: the drain failed: the trail `") && told.contains("2 of 2;"), "{told}");
    assert_eq!(bastion.look(&live, &bastion.ns), 403, "taken away, though nothing could be recorded");
    assert!(bastion.bindings().is_empty());
    bastion.make_room();
    for grant in [&live.grant, &approved] {
        let ended = until_within(Duration::from_secs(60), "the trail gets to know it", || {
            Some(bastion.show(ERIN, grant)).filter(|shown| shown["phase"] == "ended")
        });
        assert_eq!((&ended["endCause"], &ended["closedBy"]), (&json!("revoked"), &json!("root")));
    }
    assert_eq!(bastion.certificate(ALICE, &approved, &key).0, 410);
    verified(&bastion);
}

// ---- copying ----

/// A copy that is made while the daemon writes is a complete trail of one moment; only its creator can read it, and an
/// existing file is never overwritten.
#[test]
fn a_copy_made_while_the_daemon_writes_is_complete() {
    let bastion = Bastion::start();
    bastion.live(&bastion.ask("5m"));
    let mut heads = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..60 {
                let grant = bastion.request(ALICE, &bastion.ask("5m"), &Key::new());
                assert_eq!(bastion.post(ALICE, &path(&grant, "/withdraw"), &Value::Null).0, 200);
            }
        });
        for number in 0..5 {
            let copy = bastion.dir.join(format!("copy-{number}.db"));
            let told = done(&bastion, &["backup", copy.to_str().unwrap()]);
            assert!(told.contains("the chain holds: events ") && told.contains("copied and verified"), "{told}");
            heads.push(told.lines().find_map(|line| line.strip_prefix("head ")).unwrap().to_owned());
            assert_eq!(std::fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
        }
    });
    bastion.request(ALICE, &bastion.ask("5m"), &Key::new());
    let trail = bastion.trail();
    assert!(heads.iter().all(|head| trail.iter().any(|entry| entry["prev"] == *head)), "each is one moment of it");
    let left: Vec<String> = std::fs::read_dir(&bastion.dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with("copy-") && !name.ends_with(".db"))
        .collect();
    assert_eq!(left, [""; 0], "one file a copy");

    let (copy, link) = (bastion.dir.join("copy-0.db"), bastion.dir.join("link.db"));
    symlink(bastion.dir.join("new.db"), &link).unwrap();
    let before = std::fs::read(&copy).unwrap();
    for there in [&copy, &link] {
        let (code, told) = said(&bastion.jitd(&["backup", there.to_str().unwrap()]));
        assert_eq!(code, Some(1), "{told}");
        assert!(told.contains("exists already") && told.contains("hint: name a new file"), "{told}");
    }
    assert_eq!(std::fs::read(&copy).unwrap(), before);
    assert!(!bastion.dir.join("new.db").exists());
}

/// An incomplete copy is removed, and a copy of a damaged trail is reported as damaged.
#[test]
fn a_bad_copy_is_reported() {
    let mut bastion = Bastion::start();
    bastion.live(&bastion.ask("5m"));
    let copy = bastion.dir.join("copy.db");
    let refused = Command::new("prlimit")
        .args(["--fsize=4096:", "env", "--ignore-signal=XFSZ"])
        .arg(root().join("bin/jitd"))
        .arg("--config")
        .arg(bastion.dir.join("config.yaml"))
        .arg("backup")
        .arg(&copy)
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused.stderr));
    assert!(!copy.exists());

    bastion.kill();
    past_the_triggers(&bastion.dir.join("var/trail.db"), |connection| {
        let edited = "UPDATE events SET line = replace(line, 'INC-42', 'INC-43') WHERE seq = 2";
        connection.execute_batch(edited).unwrap();
    });
    let (code, told) = said(&bastion.jitd(&["backup", copy.to_str().unwrap()]));
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("the trail is damaged at event 3"), "{told}");
    assert!(copy.exists(), "it may be needed as evidence");
}

/// A hundred grants end within seconds.
#[test]
fn a_hundred_grants_end_within_seconds() {
    let bastion = Bastion::start();
    for _ in 0..100 {
        bastion.live(&bastion.ask("10m"));
    }
    let begun = Instant::now();
    let rows = revoked(&bastion, &["--all", "--drain"]);
    assert_eq!(rows.iter().filter(|row| row["proof"] == "denied").count(), 100);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}
