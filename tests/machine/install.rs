//! From the package to the service and back: install, set up, upgrade, purge, and the limits of the service.

use std::path::Path;
use std::process::Command;

use crate::bastion::{Bastion, PEOPLE};
use crate::machine::Machine;
use crate::plane::until;

const UNITS: [&str; 3] = ["jitd.service", "jitd.socket", "jitd-admin.socket"];

/// `apt install` creates accounts, groups and folders. Nothing runs, nothing is enabled, and whoever starts it is told
/// why it does not run.
pub(crate) fn nothing_runs_before_init(bastion: &mut Bastion) {
    let machine = &bastion.machine;
    machine.bring(&bastion.deb, "jitd_under_test.deb");
    apt(machine, "install ./jitd_under_test.deb");
    is_there_and_off(machine);
}

fn is_there_and_off(machine: &Machine) {
    for unit in UNITS {
        assert_eq!(machine.run("root", &format!("systemctl is-enabled {unit}")).out, "disabled\n");
        machine.root(&format!("systemctl start {unit}"));
        assert_eq!(machine.property(unit, "ActiveState"), "inactive", "{unit}");
        machine
            .run("root", &format!("systemctl status {unit}"))
            .must(3)
            .says("unmet condition check (ConditionPathExists=/etc/jitd/config.yaml)");
    }
    machine.run("root", "test -e /run/jitd/api.sock").must(1);
    let stat = |path: &str| machine.root(&format!("stat -c '%U:%G %a' {path}"));
    assert_eq!(stat("/etc/jitd"), "root:jitd 750\n");
    assert_eq!(stat("/var/lib/jitd"), "jitd:jitd 700\n");
    assert_eq!(stat("/var/lib/jit-gateway/sessions"), "jit-gateway:jit-sessions 2750\n");
    machine.root("getent group jit-users jit-admins jit-sessions");
    assert!(machine.root("getent passwd jitd").trim_end().ends_with(":/usr/sbin/nologin"));
}

/// Accounts and groups, the two files, the authority, the cluster's trust and rights, and the socket for people.
pub(crate) fn an_administrator_sets_it_up(bastion: &mut Bastion) {
    let machine = &bastion.machine;
    machine.root("for group in payments-oncall payments-leads auditors platform; do groupadd $group; done");
    for (name, groups) in PEOPLE {
        machine.root(&format!("useradd --create-home --shell /bin/bash --groups '{groups}' {name}"));
    }
    set_up(bastion);
}

/// What is left where the accounts are there.
fn set_up(bastion: &mut Bastion) {
    initialise(bastion);
    let machine = &bastion.machine;
    let root = machine.root("cat /var/lib/jitd/ca/play/root.crt");
    let file = machine.root.with_file_name("root.crt");
    std::fs::write(&file, root).unwrap();
    bastion.plane.trust(&file);
    let manifest = machine.root("jitd manifest play");
    let file = machine.root.with_file_name("manifest.yaml");
    std::fs::write(&file, manifest).unwrap();
    bastion.kubectl(&["apply", "-f", file.to_str().unwrap()]);
    until("the cluster is as it has to be", || machine.run("root", "jitd check --cluster play").done());
    let lacking =
        machine.run("root", "jitd doctor").must(1).says("it is not running: /run/jitd/api.sock does not exist");
    assert!(lacking.err.contains("2 problems found"), "{}", lacking.err);

    machine.root("systemctl enable --now jitd.socket");
    for unit in ["jitd.socket", "jitd-admin.socket"] {
        assert_eq!(machine.property(unit, "ActiveState"), "active", "{unit}");
    }
    let stat = |path: &str| machine.root(&format!("stat -c '%U:%G %a %F' {path}"));
    assert_eq!(stat("/run/jitd"), "root:root 755 directory\n");
    assert_eq!(stat("/run/jitd/api.sock"), "root:jit-users 660 socket\n");
    assert_eq!(stat("/run/jitd/admin.sock"), "root:jit-admins 660 socket\n");
    let open = machine.root("find /etc/jitd /var/lib/jitd -perm /007 ! -name '*.crt'; find /etc/jitd ! -user root");
    assert_eq!(open, "", "open to others, or not root's");
    machine.does("alice", "jit-login whoami");
    until("the daemon serves", || (machine.property("jitd", "StatusText") == "0 live, 0 waiting").then_some(()));
    let (account, pid) = (machine.property("jitd", "User"), machine.property("jitd", "MainPID"));
    assert_eq!(machine.root(&format!("stat -c %U /proc/{pid}")), format!("{account}\n"));
    bastion.alice_sits_down();
}

/// `jitd init` as root, with flags. Root can change what it writes, the daemon can read it, and only the daemon can
/// read the keys; no further command is needed. Then the two groups that it left open are named.
fn initialise(bastion: &Bastion) {
    let (machine, plane) = (&bastion.machine, &bastion.plane);
    machine.bring(&plane.ca, "server-ca.crt");
    let who = "--requesters payments-oncall --approvers payments-leads -n payments --role view";
    let place = format!("--cluster play --server {} --server-ca server-ca.crt --distribution kubeadm", plane.server);
    let done = machine.run("root", &format!("jitd init {place} {who}")).must(0);
    assert_eq!(done.out, "/var/lib/jitd/ca/play/root.crt\n");
    done.says("--client-ca-file=/etc/kubernetes/pki/client-ca.crt").says("jitd manifest play | kubectl apply -f -");
    machine.root("jitd check");
    for (key, group) in [("auditors", "auditors"), ("admins", "platform")] {
        machine
            .root(&format!("sed -i 's/^#{key}: .*/{key}: [{group}]/' {CONFIG} && grep -x '{key}: .{group}.' {CONFIG}"));
    }
    machine.root("jitd check");
    let found = |folder: &str| machine.root(&format!("find {folder} -printf '%u:%g %m %P\\n' | sort -k3"));
    assert_eq!(
        found("/etc/jitd"),
        "root:jitd 750 \nroot:jitd 640 config.yaml\nroot:jitd 640 guardrails.yaml\n\
         root:jitd 640 play-ca.crt\nroot:jitd 640 policy.yaml\n"
    );
    assert_eq!(
        found("/var/lib/jitd"),
        "jitd:jitd 700 \njitd:jitd 700 ca\njitd:jitd 700 ca/play\njitd:jitd 600 ca/play/issuing.pem\n\
         jitd:jitd 644 ca/play/root.crt\njitd:jitd 600 ca/play/root.key\n"
    );
}

const CONFIG: &str = "/etc/jitd/config.yaml";
/// What people may request here.
pub(crate) const POLICY: &str = "/etc/jitd/policy.yaml";

/// Only the root key is in the wrong place. After it was moved as the doctor says, the doctor finds nothing.
pub(crate) fn the_doctor_finds_nothing_once_the_root_key_is_elsewhere(bastion: &mut Bastion) {
    let machine = &bastion.machine;
    let told = machine.run("root", "jitd doctor").must(1).says("1 problem found");
    let warnings: Vec<&str> = told.out.lines().filter(|line| line.starts_with("warn")).collect();
    assert!(matches!(warnings[..], [key] if key.contains("its root key is on this host")), "{}", told.out);
    machine.root(&format!("mv /var/lib/jitd/ca/play/root.key {ROOT_KEY}"));
    let told = machine.run("root", "jitd doctor").must(0);
    assert!(told.out.lines().all(|line| line.starts_with("ok ")), "{}", told.out);
}

/// In place of an offline medium.
pub(crate) const ROOT_KEY: &str = "/root/root.key";

/// No capability, no new privileges, a filter for system calls, and one writable folder, as the process itself sees
/// them.
pub(crate) fn the_service_can_do_nothing_else(bastion: &mut Bastion) {
    let machine = &bastion.machine;
    let pid = machine.property("jitd", "MainPID");
    let status = machine.root(&format!("cat /proc/{pid}/status"));
    for wanted in ["CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"] {
        assert!(status.contains(wanted), "{wanted} is not in\n{status}");
    }
    // In its mount namespace, even root can write nowhere else.
    let inside = format!("nsenter --target {pid} --mount --");
    for folder in ["/etc/jitd", "/usr", "/var", "/home", "/root", "/sys", "/boot"] {
        let done = machine.run("root", &format!("{inside} touch {folder}/written"));
        assert_ne!(done.code, 0, "{folder} can be written");
    }
    machine.root(&format!("{inside} touch /var/lib/jitd/written && rm /var/lib/jitd/written"));
    // Nor can the daemon's account create another socket.
    let itself = format!("{inside} setpriv --reuid jitd --regid jitd --clear-groups --");
    machine.run("root", &format!("{itself} touch /run/jitd/written")).must(1).says("Permission denied");
    assert_eq!(machine.root(&format!("{inside} ls -A /home")), "", "homes are out of its sight");
    let limits = machine.root(&format!("cat /proc/{pid}/limits"));
    assert!(
        limits.lines().any(|line| line.split_whitespace().eq("Max core file size 0 0 bytes".split(' '))),
        "{limits}"
    );
    machine.root("systemd-analyze security --no-pager --threshold=15 jitd.service");
}

/// The next build of the package is installed over this one while alice has access and calls without a pause. It gets a
/// later version, because many builds between two releases have the same one; apt does the same in both cases.
pub(crate) fn an_upgrade_keeps_live_grants_and_refuses_no_call(bastion: &mut Bastion) {
    let machine = &bastion.machine;
    machine.bring(&bastion.next, "next.deb");
    machine.root("dpkg-deb --raw-extract next.deb next");
    machine
        .root("sed -i 's/^Version: .*/&+next/' next/DEBIAN/control && dpkg-deb -Zgzip -z1 --build next jitd_next.deb");
    goes_on_over(bastion, |machine| apt(machine, "install ./jitd_next.deb"));
    assert!(machine.root("dpkg-query --show jitd").trim_end().ends_with("+next"));
}

/// Live access continues while the programs are replaced, no call fails, and another daemon has the same socket.
fn goes_on_over(bastion: &Bastion, upgrade: impl FnOnce(&Machine)) {
    let id = bastion.live("10m");
    let machine = &bastion.machine;
    let (pid, socket) = (machine.property("jitd", "MainPID"), inode(machine));
    bastion.no_call_fails_while(upgrade);
    let now = machine.property("jitd", "MainPID");
    assert!(now != pid && now != "0", "another daemon runs: {now}");
    assert_eq!(inode(machine), socket, "the socket is the same one");
    bastion.works(&id);
    assert_eq!(bastion.phase(&id), "live");
    machine.does("alice", &format!("jit-login end {id}"));
    assert!(!bastion.is_bound(&id));
}

fn inode(machine: &Machine) -> String {
    machine.root("stat -c %i /run/jitd/api.sock")
}

/// `apt purge` stops everything and leaves the trail, which an auditor can verify elsewhere, and what was kept of sessions.
pub(crate) fn a_purge_keeps_the_trail_and_says_so(bastion: &mut Bastion) {
    let machine = &bastion.machine;
    let exported = machine.root("jitd audit export");
    let policy = machine.root(&format!("cat {POLICY}"));
    machine.root("mkdir /var/lib/jit-gateway/sessions/7k3m9x2q7k3m9x2q");
    let done = machine.run("root", &format!("{APT} purge jitd")).must(0).says("/var/lib/jitd");
    assert!(done.out.contains("trail") && done.out.contains("kept"), "{}", done.out);
    assert!(done.out.contains("recordings in /var/lib/jit-gateway/sessions are kept"), "{}", done.out);
    assert_eq!(machine.root("ls /var/lib/jit-gateway/sessions"), "7k3m9x2q7k3m9x2q\n");
    is_gone_but_for_the_trail(machine);
    machine.run("root", "test -e /etc/jitd").must(1);
    bastion.machine.power_off();
    // The trail as it was left, with an auditor's own programs.
    let state = bastion.machine.root.join("var/lib/jitd");
    let config = state.with_file_name("auditor.yaml");
    let written = format!(
        "host: bastion\nstate: jitd\nclusters:\n- {{name: play, server: \"{}\", certificateAuthority: {}}}\n",
        bastion.plane.server,
        bastion.plane.ca.display()
    );
    std::fs::write(&config, written).unwrap();
    std::fs::write(config.with_file_name("policy.yaml"), policy).unwrap();
    verified(Command::new(env!("CARGO_BIN_EXE_jitd")).arg("--config").arg(&config).args(["audit", "verify"]));
    let lines = config.with_file_name("exported");
    std::fs::write(&lines, exported).unwrap();
    verified(Command::new(env!("CARGO_BIN_EXE_jitd")).args(["audit", "verify", "--file"]).arg(&lines));
    assert!(!Path::new("/run/jitd/api.sock").exists(), "nothing of it is on this host");
}

fn is_gone_but_for_the_trail(machine: &Machine) {
    for unit in UNITS {
        assert_eq!(machine.run("root", &format!("systemctl is-active {unit}")).out, "inactive\n");
    }
    machine.run("root", "test -e /run/jitd/api.sock || test -e /usr/bin/jitd").must(1);
    assert_eq!(machine.root("stat -c %U /var/lib/jitd/trail.db"), "jitd\n");
}

fn verified(jitd: &mut Command) {
    let done = jitd.output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && said.contains("the chain holds"), "{said}");
}

/// The .rpm installs the same service. The rpm of a Debian does not know what is installed there, so the package's
/// dependencies are not checked; everything else is as on a host with rpm, from an empty one to an empty one.
pub(crate) fn the_rpm_brings_the_same_service(bastion: &mut Bastion) {
    bastion.machine.boot();
    let machine = &bastion.machine;
    // What the purge said remains, and what `jitd ca seal` created.
    machine.root("rm -r /var/lib/jitd /var/lib/jit-gateway && userdel jitd");
    machine.root("rm -r /etc/credstore.encrypted/jitd-ca-* /etc/systemd/system/jitd.service.d");
    machine.bring(&bastion.rpm, "jitd.rpm");
    machine.root("rpm --install --nodeps jitd.rpm");
    is_there_and_off(machine);
    set_up(bastion);
    goes_on_over(bastion, |machine| drop(machine.root("rpm --upgrade --replacepkgs --nodeps jitd.rpm")));

    let machine = &bastion.machine;
    machine.root("rpm --erase jitd");
    is_gone_but_for_the_trail(machine);
    machine.root("test -e /etc/jitd/policy.yaml");
}

pub(crate) const APT: &str = "DEBIAN_FRONTEND=noninteractive apt-get --yes --quiet";

#[track_caller]
fn apt(machine: &Machine, what: &str) {
    machine.root(&format!("{APT} {what}"));
}
