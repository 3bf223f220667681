//! Who gets access, and who does not even get to ask.

use crate::bastion::{Bastion, PAYMENTS};
use crate::plane::until_within;
use std::time::Duration;

/// Alice asks, bob agrees, kubectl works in that namespace and in no other; the window ends, and it does not.
pub(crate) fn access_works_for_minutes_and_then_it_does_not(bastion: &mut Bastion) {
    let machine = &bastion.machine;
    let id = bastion.asked("20s");
    machine.run("alice", &format!("jit-login approve {id} --yes")).must(4).says("self-approval");
    machine.run("bob", "jit-login ls").must(0).says(&id);
    machine.run("bob", &format!("jit-login approve {id} --yes")).must(0).says("alice asks for role view");
    assert!(!bastion.is_bound(&id), "nothing is bound before it is collected");
    let told = machine.run("alice", &format!("jit-login wait {id}")).must(0).out;
    let export = told.lines().find(|line| line.starts_with("export KUBECONFIG=")).unwrap().to_owned();
    // As people do: the line that they were told, and kubectl.
    let kubectl = |namespace: &str| machine.run("alice", &format!("{export}; kubectl get configmaps -n {namespace}"));
    kubectl(PAYMENTS).must(0).says("seen");
    kubectl("shop").must(1).says("Forbidden");
    assert_eq!(machine.property("jitd", "StatusText"), "1 live, 0 waiting");

    until_within(Duration::from_secs(40), "it is over", || (bastion.phase(&id) == "ended").then_some(()));
    assert!(!bastion.is_bound(&id));
    assert_ne!(kubectl(PAYMENTS).code, 0);
    machine.run("erin", &format!("jit-login events {id}")).must(0).says("ended").says("expired");
    let journal = machine.root(&format!("journalctl --quiet JITD_GRANT={id} -o cat"));
    assert!(journal.lines().count() > 1, "the journal finds what was said about one grant: {journal}");
}

/// Dave has an account and is in no group: the socket does not open for him. Root may open it, and is no person.
pub(crate) fn who_is_not_in_the_group_does_not_even_get_to_ask(bastion: &mut Bastion) {
    let machine = &bastion.machine;
    machine.run("dave", "jit-login whoami").must(8).says("this account may not open it");
    let ask = "jit-login request play -n payments --role view --for 5m --reason 'INC-42 x' --no-wait";
    machine.run("dave", ask).must(8).says("this account may not open it");
    machine.run("dave", "cat /var/lib/jitd/trail.db").must(1).says("Permission denied");
    machine.run("dave", "cat /etc/jitd/policy.yaml").must(1).says("Permission denied");
    machine.run("root", ask).must(4).says("root");
    // The operators' door is another one.
    machine.run("alice", "jit-login --socket /run/jitd/admin.sock whoami").must(8).says("this account may not open it");
    // Bob may call and is not on call.
    machine.run("bob", ask).must(4).says("policy-denied");
}

/// PAM gives each login the uid that it came with, which becoming root does not change.
pub(crate) fn a_login_is_known_by_its_login_uid(bastion: &mut Bastion) {
    let machine = &bastion.machine;
    let uid = machine.does("carol", "id -u");
    assert_eq!(machine.does("carol", "cat /proc/self/loginuid").trim(), uid.trim());
    machine.root("echo '%platform ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/platform");
    assert_eq!(machine.does("carol", "sudo cat /proc/self/loginuid").trim(), uid.trim());
}

/// Alice, who may become bob by sudo, is not bob: her login gives her away, and the trail says so.
pub(crate) fn sudo_makes_nobody_another_human(bastion: &mut Bastion) {
    let id = bastion.asked("5m");
    let machine = &bastion.machine;
    machine.root("echo 'alice ALL=(bob) NOPASSWD: ALL' > /etc/sudoers.d/alice");
    machine
        .run("alice", &format!("sudo --set-home -u bob jit-login approve {id} --yes"))
        .must(4)
        .says("error[self-approval]")
        .says("`bob` logged in as `alice`");
    machine.run("carol", &format!("jit-login events {id}")).must(0).says("bob (came in as alice, ");
    machine.does("bob", &format!("jit-login approve {id} --yes"));
    machine.does("alice", &format!("jit-login withdraw {id}"));
}

/// Another source of the name service comes, and dave is known by it alone: the groups that it gives him are his, one
/// that he loses is lost at the next call, and an account that no source knows is nobody. The daemon is the same one.
pub(crate) fn who_somebody_is_comes_from_the_name_service_each_time(bastion: &mut Bastion) {
    let machine = &bastion.machine;
    let pid = machine.property("jitd", "MainPID");
    machine.root("sed -i -E 's/^(passwd|group):.*/& extrausers/' /etc/nsswitch.conf && mkdir -p /var/lib/extrausers");
    machine.root("gpasswd --add dave jit-users");
    // Without a shadow entry there is no password to ask for.
    machine.root("grep '^dave:' /etc/passwd | sed 's/:x:/:*:/' > /var/lib/extrausers/passwd");
    machine.root("{ grep '^dave:' /etc/group; echo security:x:5000:dave; } > /var/lib/extrausers/group");
    machine.root("sed -i '/^dave:/d' /etc/passwd /etc/shadow /etc/group /etc/gshadow");
    machine.run("root", "getent --service=files passwd dave").must(2);
    machine.run("dave", "jit-login whoami").must(0).says("dave on bastion\ngroups: dave, jit-users, security\n");
    machine.root("sed -i 's/^security:.*/security:x:5000:/' /var/lib/extrausers/group");
    machine.run("dave", "jit-login whoami").must(0).says("dave on bastion\ngroups: dave, jit-users\n");
    let nobody = "setpriv --reuid 4999 --regid 4999 --groups jit-users -- jit-login whoami";
    machine.run("root", nobody).must(4).says("error[unknown-caller]").says("uid 4999 is no account of this host");
    assert_eq!(machine.property("jitd", "MainPID"), pid);
}
