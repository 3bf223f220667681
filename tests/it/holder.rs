//! Who loses the right to request access loses the access, also while it is live.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::bastion::{ALICE, Access, BOB, Bastion, ERIN, Key, Options, Person};
use crate::identity::on_a_host;
use crate::plane::{Admin, until_within};
use crate::stuck::{DAEMON, Held};

/// How soon the access has to be over: that is the promise.
const A_MINUTE: Duration = Duration::from_secs(60);

const ON_A_HOST: &str = "rules:\n- {name: oncall, who: [Oncall, Night Shift], clusters: [play], namespaces: [NS], roles: [view], maxDuration: 10m, approval: [{groups: [payments-leads]}]}\n";

/// Live access of any person, approved by bob.
fn live(bastion: &Bastion<'_>, person: Person) -> Access {
    let key = Key::new();
    let grant = bastion.request(person, &bastion.ask("10m"), &key);
    assert_eq!(bastion.approve(BOB, &grant).0, 200);
    let (status, certificate) = bastion.certificate(person, &grant, &key);
    assert_eq!(status, 200, "{certificate}");
    let chain = certificate["certificate"].as_str().unwrap().to_owned();
    let client = Admin::with_certificate(bastion.plane, &chain, &key.pem());
    let access = Access { grant, key, chain, client };
    assert_eq!(bastion.look(&access, &bastion.ns), 200);
    access
}

/// The access is over, and why.
#[track_caller]
fn lost(bastion: &Bastion<'_>, access: &Access) -> String {
    let ended = until_within(A_MINUTE, "the access is over", || {
        let shown = bastion.show(ERIN, &access.grant);
        (shown["phase"] == "ended").then_some(shown)
    });
    assert_eq!(ended["endCause"], "drifted", "{ended}");
    assert_eq!(bastion.look(access, &bastion.ns), 403);
    ended["closingWords"].as_str().unwrap().to_owned()
}

fn is_live(bastion: &Bastion<'_>, access: &Access) {
    assert_eq!(bastion.show(ERIN, &access.grant)["phase"], "live");
    assert_eq!(bastion.look(access, &bastion.ns), 200);
}

fn reload(bastion: &Bastion<'_>) {
    assert!(Command::new("kill").args(["-HUP", &bastion.pid().to_string()]).status().unwrap().success());
}

/// Leaving the last of the rule's groups ends live access, and so does the end of the account; whoever is still in one of the
/// groups keeps it, also if the rule names other groups by now.
#[test]
fn who_leaves_the_groups_of_the_rule_loses_live_access_within_a_minute() {
    let [alice, bob, carol] = [430_001, 430_002, 430_003].map(|uid| Person { name: "somebody", uid });
    let accounts = |names: &[&str]| -> String {
        let line = |name: &&str| format!("corp.{name}:x:43000{}:430000::/:/bin/sh\n", 1 + (name.as_bytes()[0] - b'a'));
        names.iter().map(line).collect()
    };
    let everybody = "Oncall:x:430010:corp.alice,corp.bob,corp.carol\nNight Shift:x:430011:corp.carol\n";
    let bastion = on_a_host(accounts(&["alice", "bob", "carol"]).as_bytes(), everybody, ON_A_HOST);
    let access = [alice, bob, carol].map(|person| live(&bastion, person));

    bastion.write_policy(&ON_A_HOST.replace("Oncall, Night Shift", "payments-oncall"));
    reload(&bastion);
    // In the place of the files that are mounted.
    let write = |file: &str, text: String| std::fs::write(bastion.dir.join(file), text).unwrap();
    write("passwd", format!("root:x:0:0::/:/bin/sh\n{}", accounts(&["alice", "carol"])));
    write("group", "root:x:0:\nOncall:x:430010:corp.bob\nNight Shift:x:430011:corp.carol\n".to_owned());
    assert_eq!(lost(&bastion, &access[0]), "corp.alice is no longer in Oncall or Night Shift");
    let nobody = "corp.bob is nobody here any more: `corp.bob` is not an account of this host";
    assert_eq!(lost(&bastion, &access[1]), nobody);
    is_live(&bastion, &access[2]);
    bastion.has_no_fault();
}

/// A source of groups that fails leaves its groups out of every answer (getgrouplist(3)): that takes nobody's access.
#[test]
fn a_source_of_groups_that_fails_ends_nothing() {
    let alice = Person { name: "somebody", uid: 430_001 };
    let group = "Oncall:x:430010:corp.alice\n";
    let bastion = on_a_host(b"corp.alice:x:430001:430000::/:/bin/sh\n", group, ON_A_HOST);
    let access = live(&bastion, alice);
    let write = |text: &str| std::fs::write(bastion.dir.join("group"), format!("root:x:0:\n{text}")).unwrap();
    write("");
    let unknown =
        |count| until_within(A_MINUTE, "it is counted", || (bastion.metric("unknown_holders") == count).then_some(()));
    unknown(1);
    let told =
        "the host's name service does not find Oncall or Night Shift, so it is unknown whether `corp.alice` left";
    assert!(bastion.log().contains(told), "{}", bastion.log());
    write(group);
    unknown(0);
    is_live(&bastion, &access);
    // Once the group is there again, leaving it counts.
    write("Oncall:x:430010:\n");
    assert_eq!(lost(&bastion, &access), "corp.alice is no longer in Oncall or Night Shift");
}

/// While the name service hangs, nothing ends because of it, and what others lose ends as usual.
#[test]
fn a_name_service_that_hangs_ends_nothing_and_keeps_no_end_waiting() {
    let rule =
        "{clusters: [play], namespaces: [NS], roles: [view], maxDuration: 10m, approval: [{groups: [payments-leads]}]";
    let policy =
        format!("rules:\n- {rule}, name: host, who: [daemon]}}\n- {rule}, name: people, who: [payments-oncall]}}\n");
    let held = Held::with(Options { policy, ..Options::default() });
    let bastion = &held.bastion;
    let (of_host, declared) = (live(bastion, DAEMON), live(bastion, ALICE));
    held.hang();
    bastion.rewrite_config("uids: [420001, 420011], groups: [payments-oncall]", "uids: [420001, 420011], groups: []");
    reload(bastion);
    assert_eq!(lost(bastion, &declared), "alice is no longer in payments-oncall");
    assert_eq!(bastion.metric("unknown_holders"), 1);
    assert!(bastion.log().contains("the host's name service does not answer within 3 s"), "{}", bastion.log());
    is_live(bastion, &of_host);
    held.answer();
    until_within(A_MINUTE, "the holder is found again", || (bastion.metric("unknown_holders") == 0).then_some(()));
    is_live(bastion, &of_host);
    let after: (u16, Value) = bastion.get(DAEMON, "/v1/whoami");
    assert_eq!(after.0, 200, "{}", after.1);
}
