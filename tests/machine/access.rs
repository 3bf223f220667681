//! Who gets access, and who cannot even call the daemon.

use crate::bastion::{Bastion, PAYMENTS};
use crate::machine::{Machine, free_port};
use crate::plane::{until, until_within};
use std::time::Duration;

/// Alice requests, bob approves, kubectl works in that namespace and in no other; after the window it no longer does.
pub(crate) fn access_works_for_minutes_and_then_it_does_not(bastion: &mut Bastion) {
    let machine = &bastion.machine;
    let id = bastion.asked("20s");
    machine.run("alice", &format!("jit-login approve {id} --yes")).must(4).says("self-approval");
    machine.run("bob", "jit-login ls").must(0).says(&id);
    machine.run("bob", &format!("jit-login approve {id} --yes")).must(0).says("alice requests role view");
    assert!(!bastion.is_bound(&id), "nothing is bound before it is collected");
    let told = machine.run("alice", &format!("jit-login wait {id}")).must(0).out;
    let export = told.lines().find(|line| line.starts_with("export KUBECONFIG=")).unwrap().to_owned();
    // As people do: the printed line, and kubectl.
    let kubectl = |namespace: &str| machine.run("alice", &format!("{export}; kubectl get configmaps -n {namespace}"));
    kubectl(PAYMENTS).must(0).says("seen");
    kubectl("shop").must(1).says("Forbidden");
    // It is printed at most once a second.
    let status = || (machine.property("jitd", "StatusText") == "1 live, 0 waiting").then_some(());
    until_within(Duration::from_secs(5), "the status line says so", status);

    until_within(Duration::from_secs(40), "it is over", || (bastion.phase(&id) == "ended").then_some(()));
    assert!(!bastion.is_bound(&id));
    assert_ne!(kubectl(PAYMENTS).code, 0);
    machine.run("erin", &format!("jit-login events {id}")).must(0).says("ended").says("expired");
    let journal = machine.root(&format!("journalctl --quiet JITD_GRANT={id} -o cat"));
    assert!(journal.lines().count() > 1, "the journal finds what was said about one grant: {journal}");
}

/// Dave has an account and is in no group: he cannot open the socket. Root can open it, but is not a person.
pub(crate) fn who_is_not_in_the_group_does_not_even_get_to_ask(bastion: &mut Bastion) {
    let machine = &bastion.machine;
    machine.run("dave", "jit-login whoami").must(8).says("this account may not open it");
    let ask = "jit-login request play -n payments --role view --for 5m --reason 'INC-42 x' --no-wait";
    machine.run("dave", ask).must(8).says("this account may not open it");
    machine.run("dave", "cat /var/lib/jitd/trail.db").must(1).says("Permission denied");
    machine.run("dave", "cat /etc/jitd/policy.yaml").must(1).says("Permission denied");
    machine.run("root", ask).must(4).says("root");
    // The admin socket is a different one.
    machine.run("alice", "jit-login --socket /run/jitd/admin.sock whoami").must(8).says("this account may not open it");
    // Bob may call, but is not on call.
    machine.run("bob", ask).must(4).says("policy-denied");
}

/// PAM sets the login uid of each login, and becoming root does not change it.
pub(crate) fn a_login_is_known_by_its_login_uid(bastion: &mut Bastion) {
    let machine = &bastion.machine;
    let uid = machine.does("carol", "id -u");
    assert_eq!(machine.does("carol", "cat /proc/self/loginuid").trim(), uid.trim());
    machine.root("echo '%platform ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/platform");
    assert_eq!(machine.does("carol", "sudo cat /proc/self/loginuid").trim(), uid.trim());
}

/// Alice, who may become bob by sudo, is not bob: the daemon sees her login, and the trail records it.
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

/// Dave's account moves to a directory, LDAP through sssd, and is in no file of the host any more. He has the groups of
/// the directory; a group that he loses is lost as soon as sssd knows; while the directory is unreachable, sssd answers
/// from its cache; while sssd is down, he is unknown, and so is anybody who is in no file. The daemon runs all the
/// time.
pub(crate) fn who_somebody_is_comes_from_the_directory_at_each_call(bastion: &mut Bastion) {
    let machine = &bastion.machine;
    let pid = machine.property("jitd", "MainPID");
    machine.root("gpasswd --add dave jit-users");
    let [uid, gid] = ["-u", "-g"].map(|which| machine.does("dave", &format!("id {which}")).trim().to_owned());
    directory(machine, &uid, &gid);
    machine.root("sed -i '/^dave:/d' /etc/passwd /etc/shadow /etc/group /etc/gshadow");
    machine.run("root", "getent --service=files passwd dave").must(2);
    machine
        .run("dave", "jit-login whoami")
        .must(0)
        .says("dave on host bastion\ngroups: dave, jit-users, payments-leads, security\n");

    let loses = "dn: cn=security,dc=bastion\nchangetype: modify\ndelete: memberUid\nmemberUid: dave\n";
    machine.root(&format!("printf '{loses}' | ldapmodify -Q -Y EXTERNAL -H {LDAPI}"));
    // Or he has it for as long as sssd's cache may be used.
    machine.root("sss_cache --user=dave");
    machine
        .run("dave", "jit-login whoami")
        .must(0)
        .says("dave on host bastion\ngroups: dave, jit-users, payments-leads\n");

    machine.root("systemctl stop directory && sss_cache --everything");
    machine
        .run("dave", "jit-login whoami")
        .must(0)
        .says("dave on host bastion\ngroups: dave, jit-users, payments-leads\n");
    machine.root("sss_cache --everything && systemctl stop sssd");
    let as_uid = |uid: &str| {
        machine.run("root", &format!("setpriv --reuid {uid} --regid {gid} --groups jit-users -- jit-login whoami"))
    };
    as_uid(&uid).must(1).says("error[name-service-unavailable]").says("the host's name service failed");
    machine.root("systemctl start sssd");
    as_uid("4999").must(4).says("error[unknown-caller]").says("uid 4999 is not an account of this host");
    assert_eq!(machine.property("jitd", "MainPID"), pid);
}

/// Dave, whom only the directory knows, approves, and then sssd stops. He loses no right: the collection waits until
/// sssd is back, and an operator who names him is not told that there is no such person. Nor does he count as nobody: a
/// caller who logged in as him under another account cannot answer meanwhile, because the caller may be the requester.
pub(crate) fn nobody_loses_a_right_while_the_name_service_is_away(bastion: &mut Bastion) {
    let (id, other) = (bastion.asked("5m"), bastion.asked("5m"));
    let machine = &bastion.machine;
    machine.does("dave", &format!("jit-login approve {id} --yes"));
    let uid = machine.does("dave", "id -u");
    // A service has no login yet, so root may set one.
    let come_in_as_dave = format!(
        "systemd-run --quiet --wait --pipe sh -c 'echo {} > /proc/self/loginuid && exec setpriv --reuid bob --regid bob --init-groups -- jit-login approve {other} --yes'",
        uid.trim()
    );
    machine.root("sss_cache --everything && systemctl stop sssd");
    std::thread::scope(|scope| {
        let collecting = scope.spawn(|| machine.run("alice", &format!("jit-login wait {id}")));
        until("the collection meets the name service that is away", || {
            let journal = machine.root("journalctl --quiet -u jitd -o cat -n 20");
            journal.contains("a call failed error=the host's name service failed").then_some(())
        });
        machine
            .run("carol", "sudo jitd revoke --person dave --reason 'left the company' --yes")
            .must(1)
            .says("the host's name service failed");
        machine
            .run("root", &come_in_as_dave)
            .must(1)
            .says("error[name-service-unavailable]")
            .says("the host's name service failed");
        machine.root("systemctl start sssd");
        collecting.join().unwrap().must(0);
    });
    bastion.works(&id);
    machine.does("alice", &format!("jit-login end {id}"));
    machine.root(&come_in_as_dave);
    machine.run("carol", &format!("jit-login events {other}")).must(0).says("bob (came in as dave, ");
    machine.does("alice", &format!("jit-login withdraw {other}"));
}

/// sssd is stuck, not stopped: who asks it waits for minutes. The daemon waits for it for seconds, and says so to whom it cannot
/// identify. Root ends access meanwhile, and afterwards everything is as before.
pub(crate) fn a_name_service_that_is_stuck_holds_up_nobody_else(bastion: &mut Bastion) {
    let id = bastion.live("10m");
    let machine = &bastion.machine;
    let ids = |which: &str| machine.does("dave", &format!("id {which}")).trim().to_owned();
    let [uid, gid, users] =
        [ids("-u"), ids("-g"), machine.root("getent group jit-users | cut -d: -f3").trim().to_owned()];
    // Everything in one login, because sshd would wait for sssd as well.
    let script = format!(
        "sss_cache --everything
         timed() {{ name=$1; shift; begin=$(date +%s%3N); \"$@\"; echo \"$name: exit code $?, $(( $(date +%s%3N) - begin )) ms\"; }}
         mkfifo -m 666 /run/stuck
         setpriv --reuid {uid} --regid {gid} --groups {users} -- sh -c 'read _ </run/stuck; exec jit-login whoami' &
         dave=$!
         trap 'pkill -CONT sssd; rm /run/stuck' EXIT
         # setpriv asks the name service as well.
         until grep -q '^sh$' /proc/$dave/comm; do sleep 0.1; done
         whoami() {{ echo >/run/stuck; wait $dave; }}
         pkill -STOP sssd
         timed dave whoami
         timed root jitd revoke {id} --reason 'stolen laptop' --yes
         grep State: /proc/$(pgrep -o sssd_nss)/status"
    );
    let done = machine.run("root", &script).must(0);
    let took = |name: &str, code: i32| {
        let begin = format!("{name}: exit code {code}, ");
        let line = done.out.lines().find_map(|line| line.strip_prefix(&begin)?.strip_suffix(" ms"));
        line.unwrap_or_else(|| panic!("{name}\n{}{}", done.out, done.err)).parse::<u64>().unwrap()
    };
    assert!(took("dave", 1) < 15_000 && took("root", 0) < 5_000, "{}", done.out);
    done.says("error[name-service-unavailable]").says("T (stopped)");
    assert!(!bastion.is_bound(&id));
    let journal = machine.root("journalctl --quiet -u jitd -o cat -n 20");
    assert!(journal.contains("the host's name service does not answer within 3 s"), "{journal}");
    machine.does("dave", "jit-login whoami");
    let id = bastion.live("10m");
    machine.does("alice", &format!("jit-login end {id}"));
}

/// The directory's entry that knows root as its administrator.
const LDAPI: &str = "ldapi://%2Frun%2Fdirectory%2Fldapi";

/// An LDAP server with dave and his groups `security` and `payments-leads`, and sssd that queries it.
fn directory(machine: &Machine, uid: &str, gid: &str) {
    machine.root("mkdir -p /etc/directory /var/lib/directory");
    machine.write(
        "/etc/directory/slapd.conf",
        "include /etc/ldap/schema/core.schema\n\
         include /etc/ldap/schema/cosine.schema\n\
         include /etc/ldap/schema/nis.schema\n\
         modulepath /usr/lib/ldap\n\
         moduleload back_mdb\n\
         database mdb\n\
         suffix dc=bastion\n\
         directory /var/lib/directory\n\
         access to * by dn.exact=gidNumber=0+uidNumber=0,cn=peercred,cn=external,cn=auth manage by * read\n",
    );
    let entries = format!(
        "dn: dc=bastion\nobjectClass: dcObject\nobjectClass: organization\no: bastion\n\n\
         dn: uid=dave,dc=bastion\nobjectClass: account\nobjectClass: posixAccount\ncn: dave\n\
         uidNumber: {uid}\ngidNumber: {gid}\nhomeDirectory: /home/dave\nloginShell: /bin/bash\n\n\
         dn: cn=dave,dc=bastion\nobjectClass: posixGroup\ngidNumber: {gid}\n\n\
         dn: cn=security,dc=bastion\nobjectClass: posixGroup\ngidNumber: 5000\nmemberUid: dave\n\n\
         dn: cn=payments-leads,dc=bastion\nobjectClass: posixGroup\ngidNumber: 5001\nmemberUid: dave\n"
    );
    machine.write("/etc/directory/entries.ldif", &entries);
    machine.root("slapadd -q -f /etc/directory/slapd.conf -l /etc/directory/entries.ldif");
    // sssd cannot query over a Unix socket.
    let ldap = format!("ldap://127.0.0.1:{}", free_port());
    let slapd = format!("slapd -d none -f /etc/directory/slapd.conf -h '{ldap} {LDAPI}'");
    machine.root(&format!("systemd-run --quiet --unit directory -p RuntimeDirectory=directory {slapd}"));
    machine.write(
        "/etc/sssd/sssd.conf",
        // Without a password to check, PAM lets a caller with a key in without sssd.
        &format!(
            "[sssd]\ndomains = directory\n\n[nss]\npwfield = *\n\n[domain/directory]\n\
             id_provider = ldap\nldap_uri = {ldap}\nldap_search_base = dc=bastion\n"
        ),
    );
    machine.root("chmod 600 /etc/sssd/sssd.conf && systemctl start sssd");
    machine.root("sed -i -E 's/^(passwd|group):.*/& sss/' /etc/nsswitch.conf");
    until("sssd knows dave", || machine.run("root", "getent --service=sss passwd dave").done());
}
