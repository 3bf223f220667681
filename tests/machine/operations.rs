//! What operators do to a running daemon: drain it, revoke everything, copy its trail.

use serde_json::{Value, json};

use crate::bastion::Bastion;
use crate::machine::Machine;
use crate::plane::until;

/// While it drains, alice is refused with the reason and keeps her live access, also across a restart; everybody who
/// looks at the service sees it.
pub(crate) fn draining_refuses_with_the_reason_and_live_access_goes_on(bastion: &mut Bastion) {
    let id = bastion.live("10m");
    let machine = &bastion.machine;
    machine.run("root", "jitd drain --reason 'CHG-7 new kernel'").must(0).says("live 1");
    let ask = "jit-login request play -n payments --role view --for 5m --reason 'INC-42 stuck' --no-wait";
    for restart in [false, true] {
        if restart {
            machine.root("systemctl restart jitd");
        }
        machine.run("alice", ask).must(1).says("error[draining]").says("CHG-7 new kernel");
        bastion.works(&id);
        status_is(machine, "draining: 1 live, 0 waiting");
        machine.run("root", "systemctl status --no-pager jitd").must(0).says("Status: \"draining: 1 live, 0 waiting\"");
    }
    machine.run("root", "jitd resume").must(0).says("by root: CHG-7 new kernel");
    status_is(machine, "1 live, 0 waiting");
    let next = bastion.asked("5m");
    machine.does("alice", &format!("jit-login withdraw {next} && jit-login end {id}"));
}

/// Carol becomes root and revokes everything. The trail says that it was root, logged in as carol. Carol herself, an
/// admin, resumes.
pub(crate) fn an_operator_takes_everything_away_and_the_trail_knows_who_became_root(bastion: &mut Bastion) {
    let (one, two) = (bastion.live("10m"), bastion.live("10m"));
    let waiting = bastion.asked("10m");
    let machine = &bastion.machine;
    let revoke = "jitd revoke --all --drain --reason 'CHG-8 stolen laptop' --yes";
    machine.run("alice", revoke).must(1).says("that you are root or in the socket's group");
    let done = machine.run("carol", &format!("sudo {revoke}")).must(0).says("revoked 3 grants").says("draining since");
    for id in [&one, &two, &waiting] {
        assert!(done.out.contains(id.as_str()), "{id} is not in\n{}", done.out);
        assert!(!bastion.is_bound(id));
    }
    status_is(machine, "draining: 0 live, 0 waiting");
    machine.run("carol", "jitd resume").must(0).says("CHG-8 stolen laptop");

    let carol: u32 = machine.does("carol", "id -u").trim().parse().unwrap();
    let login = json!({ "uid": carol, "person": "carol" });
    let of_operators = || trail(machine).into_iter().filter(|entry| entry["operator"].is_object());
    let by_carol_as_root = of_operators().filter(|entry| entry["by"] == "root" && entry["operator"]["login"] == login);
    let mut done: Vec<(Value, Value)> =
        by_carol_as_root.map(|entry| (entry["grant"].clone(), entry["event"]["kind"].clone())).collect();
    let mut expected = vec![
        (Value::Null, json!("drained")),
        (json!(one), json!("unbind_intended")),
        (json!(two), json!("unbind_intended")),
        (json!(waiting), json!("ended")),
    ];
    for entries in [&mut done, &mut expected] {
        entries.sort_by_key(|(grant, _)| grant.to_string());
    }
    assert_eq!(done, expected);
    let last = of_operators().next_back().unwrap();
    assert_eq!((&last["by"], &last["event"]["kind"]), (&json!("carol"), &json!("resumed")), "{last}");
}

/// The trail is copied while alice calls without a pause. Only root can read the copy, it verifies, and no file of root
/// is left in the daemon's folder.
pub(crate) fn a_backup_while_it_serves_refuses_no_call(bastion: &mut Bastion) {
    bastion.no_call_fails_while(|machine| {
        machine.run("root", "jitd backup /root/trail.db").must(0).says("the chain holds");
    });
    let machine = &bastion.machine;
    assert_eq!(machine.root("stat -c '%U %a' /root/trail.db"), "root 600\n");
    assert_eq!(machine.root("find /var/lib/jitd ! -user jitd"), "", "not the daemon's");
}

/// Every entry of the trail.
fn trail(machine: &Machine) -> Vec<Value> {
    machine.root("jitd audit export").lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[track_caller]
fn status_is(machine: &Machine, line: &str) {
    until("the status line says it", || (machine.property("jitd", "StatusText") == line).then_some(()));
}
