//! The usual mistakes, each really made on a correct bastion: `jitd doctor` and `jit-login doctor` find it,
//! say how to correct it, and find nothing once that was done.
//!
//! What would change the machine of the tests (accounts, groups, mounts) is done in a mount namespace of the command's
//! own.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use jiff::{SignedDuration, Timestamp};
use jitd::ca::{KeyPlace, store};
use serde_json::{Value, json};

use crate::bastion::{ADMIN, ALICE, BOB, Bastion, DAVE, Options, Person, ROOT, STRANGER, path, repository, text};
use crate::plane::{root, scratch, until};
use crate::trail::past_the_triggers;

/// A policy of which nothing is missing in the cluster.
const POLICY: &str = r#"
rules:
  - name: payments
    who: [payments-oncall]
    clusters: [play]
    namespaces: [NS]
    roles: [view]
    maxDuration: 10m
    approval: [{groups: [payments-leads]}]
tests:
  - name: members of the group may request
    person: alice
    groups: [payments-oncall]
    ask: {cluster: play, namespaces: [NS], role: view, for: 5m, reason: INC-42}
    outcome: ask
"#;

/// A bastion on which `jitd doctor` finds nothing.
fn well() -> Bastion<'static> {
    let mut bastion = crate::wall::walled_with(Options { policy: POLICY.to_owned(), ..Options::default() });
    fs::rename(bastion.dir.join("var/ca/play/root.key"), bastion.dir.join("root.key")).unwrap();
    bastion.serve();
    bastion
}

/// The output of a doctor.
struct Said {
    code: Option<i32>,
    findings: Vec<Value>,
}

impl Said {
    fn of(command: &mut Command) -> Self {
        let output = command.output().unwrap();
        let findings = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{}{}", text(&output.stdout), text(&output.stderr)));
        Self { code: output.status.code(), findings }
    }

    /// The faults and warnings, as `CHECK: FOUND; hint: FIX`.
    fn wrong(&self) -> Vec<String> {
        let is_wrong = |finding: &&Value| {
            finding["ok"] == json!(false) || ["warning", "fault"].iter().any(|state| finding["state"] == *state)
        };
        let word = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
        let line = |finding: &Value| {
            let check = word(finding, "check") + &word(finding, "what");
            assert!(!word(finding, "fix").is_empty(), "a mistake without its fix: {finding}");
            format!("{check}: {}; hint: {}", word(finding, "found"), word(finding, "fix"))
        };
        self.findings.iter().filter(is_wrong).map(line).collect()
    }

    #[track_caller]
    fn is_well(&self) {
        assert_eq!((self.wrong(), self.code), (vec![], Some(0)));
    }

    /// One line begins with `check`, and has all of `words`.
    #[track_caller]
    fn finds(&self, check: &str, words: &[&str]) {
        let wrong = self.wrong();
        let found = wrong
            .iter()
            .any(|line| line.starts_with(&format!("{check}: ")) && words.iter().all(|word| line.contains(word)));
        assert!(found, "{check} with {words:?} is not in {wrong:#?}");
        assert_eq!(self.code, Some(1));
    }

    fn has_skipped(&self, check: &str) -> bool {
        self.findings.iter().any(|finding| finding["check"] == check && finding["state"] == "skipped")
    }
}

fn examined(bastion: &Bastion<'_>) -> Said {
    Said::of(&mut doctor_of(bastion))
}

fn doctor_of(bastion: &Bastion<'_>) -> Command {
    let mut command = Command::new(root().join("bin/jitd"));
    command.arg("--config").arg(bastion.dir.join("config.yaml")).args(["doctor", "-o", "json"]);
    command
}

/// The doctor in a mount namespace of its own, where the first lines of the script were run before.
fn examined_where(bastion: &Bastion<'_>, script: &str) -> Said {
    let doctor = doctor_of(bastion);
    let words: Vec<String> = std::iter::once(doctor.get_program())
        .chain(doctor.get_args())
        .map(|word| word.to_str().unwrap().to_owned())
        .collect();
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-euc", &format!("{script}\nexec \"$@\""), "sh"]).args(words);
    Said::of(&mut command)
}

/// A file in place of one of the system's, for a script of [`examined_where`].
fn instead_of(original: &str, contents: &str) -> String {
    let file = scratch("instead").join("file");
    fs::write(&file, contents).unwrap();
    format!("mount --bind {} {original}", file.display())
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn replaced(file: &Path, from: &str, to: &str) {
    let written = fs::read_to_string(file).unwrap();
    assert!(written.contains(from), "{from}: {written}");
    fs::write(file, written.replace(from, to)).unwrap();
}

// ---- jitd doctor ----

/// On a correct bastion the doctor finds nothing, and changes nothing.
#[test]
fn nothing_is_found_on_a_correct_bastion() {
    let bastion = well();
    let files = || {
        let listed = Command::new("find").arg(&bastion.dir).args(["-printf", "%p %m %u %s\n"]).output().unwrap();
        let mut lines: Vec<String> = text(&listed.stdout).lines().map(str::to_owned).collect();
        lines.retain(|line| !line.contains("trail.db") && !line.contains("/log "));
        lines.sort();
        lines
    };
    let before = files();
    examined(&bastion).is_well();
    assert_eq!(files(), before);

    let output = bastion.jitd(&["doctor"]);
    assert!(output.status.success() && output.stderr.is_empty(), "{}", text(&output.stderr));
    for line in text(&output.stdout).lines() {
        assert!(line.starts_with("ok    "), "{line}");
    }
}

/// The configuration: missing, wrong, with a wrong policy, open to others. Checks that do not need it still run.
#[test]
fn mistakes_in_the_files_are_found() {
    let bastion = well();
    let (config, policy) = (bastion.dir.join("config.yaml"), bastion.dir.join("policy.yaml"));

    fs::rename(&config, bastion.dir.join("away")).unwrap();
    let said = examined(&bastion);
    said.finds("configuration", &["does not exist", "`jitd init` writes it"]);
    assert!(said.has_skipped("cluster"));
    fs::rename(bastion.dir.join("away"), &config).unwrap();
    examined(&bastion).is_well();

    replaced(&config, "auditors:", "auditor:");
    examined(&bastion).finds("configuration", &["config.yaml:", "unknown field `auditor`", "did you mean `auditors`?"]);
    replaced(&config, "auditor:", "auditors:");

    replaced(&policy, "maxDuration: 10m", "maxDuration: 10x");
    let said = examined(&bastion);
    said.finds("policy", &["policy.yaml", "10x"]);
    assert!(said.has_skipped("groups") && said.has_skipped("cluster play"));
    assert!(
        said.findings.iter().any(|finding| finding["check"] == "cluster play" && finding["state"] == "ok"),
        "the trust needs no policy"
    );
    replaced(&policy, "maxDuration: 10x", "maxDuration: 10m");

    replaced(&policy, "outcome: ask", "outcome: deny");
    examined(&bastion).finds("policy", &["members of the group may request", "`jitd policy test`"]);
    replaced(&policy, "outcome: deny", "outcome: ask");
    examined(&bastion).is_well();

    mode(&policy, 0o666);
    examined(&bastion).finds("files", &["mode 0666", &format!("chmod 640 {}", policy.display())]);
    mode(&policy, 0o640);
    chown(&config, Some(420_004), None).unwrap();
    examined(&bastion).finds("files", &["uid 420004, who can decide who gets access", "chown root "]);
    chown(&config, Some(0), None).unwrap();
    examined(&bastion).is_well();

    replaced(&policy, "[payments-leads]", "[no-such-leads]");
    examined(&bastion)
        .finds("groups", &["the rule `payments` names the group `no-such-leads`", "`groupadd no-such-leads`"]);
    replaced(&policy, "[no-such-leads]", "[payments-leads]");
    examined(&bastion).is_well();

    let said = Said::of(
        Command::new("setpriv")
            .args(["--reuid", "420001", "--regid", "420001", "--clear-groups"])
            .arg(root().join("bin/jitd"))
            .arg("--config")
            .arg(&config)
            .args(["doctor", "-o", "json"]),
    );
    said.finds("caller", &["uid 420001", "sudo jitd doctor"]);
}

/// The state folder, the authority in it, the trail, and its owner.
#[test]
fn mistakes_in_the_state_are_found() {
    let mut bastion = well();
    let state = bastion.dir.join("var");
    let issuing = state.join("ca/play/issuing.pem");

    mode(&state, 0o755);
    examined(&bastion).finds("state", &["mode 0755", &format!("chmod 700 {}", state.display())]);
    mode(&state, 0o700);
    chown(&issuing, Some(420_004), None).unwrap();
    examined(&bastion).finds("state", &["issuing.pem belongs to uid 420004", "chown -R root: "]);
    chown(&issuing, Some(0), None).unwrap();
    mode(&issuing, 0o644);
    examined(&bastion).finds("authority play", &["mode 0644", "chmod 600"]);
    mode(&issuing, 0o600);
    examined(&bastion).is_well();

    fs::rename(bastion.dir.join("root.key"), state.join("ca/play/root.key")).unwrap();
    examined(&bastion).finds("authority play", &["its root key is on this host", "move it to an offline place"]);
    fs::rename(state.join("ca/play/root.key"), bastion.dir.join("root.key")).unwrap();
    examined(&bastion).is_well();

    fs::rename(state.join("ca/play"), bastion.dir.join("play")).unwrap();
    examined(&bastion).finds("authority play", &["there is none in", "`jitd init` creates it"]);
    fs::rename(bastion.dir.join("play"), state.join("ca/play")).unwrap();
    examined(&bastion).is_well();

    // A name that the daemon served under before.
    let host = bastion.host.clone();
    bastion.rewrite_config(&format!("host: {host}"), "host: renamed");
    examined(&bastion)
        .finds("host", &[&format!("`{host}` before and is `renamed` now"), &format!("`host: {host}` in config.yaml")]);
    bastion.rewrite_config("host: renamed", &format!("host: {host}"));
    examined(&bastion).is_well();

    assert!(bastion.terminate());
    let mut holder = Command::new("flock")
        .arg(state.join("trail.lock"))
        .args(["sh", "-c", "echo held; read -r line"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut held = [0; 5];
    std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut held).unwrap();
    examined(&bastion).finds("daemon", &["(`flock`) has locked the trail", "systemctl restart"]);
    drop(holder.stdin.take());
    assert!(!holder.wait().unwrap().success());

    let alter = |line: &str| {
        let mut before = String::new();
        past_the_triggers(&state.join("trail.db"), |connection| {
            before = connection.query_row("SELECT line FROM events WHERE seq = 1", [], |row| row.get(0)).unwrap();
            connection.execute("UPDATE events SET line = ?1 WHERE seq = 1", [line]).unwrap();
        });
        before
    };
    let line = alter("x");
    examined(&bastion).finds("trail", &["damaged at event 1", "keep the file unchanged"]);
    alter(&line);
    bastion.serve();
    examined(&bastion).is_well();

    fs::rename(&state, bastion.dir.join("elsewhere")).unwrap();
    let said = examined(&bastion);
    said.finds("state", &["does not exist", "`jitd init` creates it"]);
    assert!(said.has_skipped("trail"));
    fs::rename(bastion.dir.join("elsewhere"), &state).unwrap();
    examined(&bastion).is_well();
}

/// An authority whose certificate has expired or expires soon; `jitd ca renew` corrects it.
#[test]
fn an_authority_that_expires_is_found() {
    let bastion = well();
    #[expect(clippy::disallowed_methods, reason = "certificates are judged by the real clock")]
    let now = Timestamp::now();
    let folder = bastion.dir.join("var/ca/play");
    for (days, hours_ago, words) in [
        (30_u16, 31 * 24, ["its issuing certificate expired", "`jitd ca renew play`"]),
        (1, 20, ["its issuing certificate expires", "`jitd ca renew play`"]),
    ] {
        fs::remove_dir_all(&folder).unwrap();
        let then = now.checked_sub(SignedDuration::from_hours(hours_ago)).unwrap();
        store::init(&folder, &KeyPlace::File, &"play".parse().unwrap(), days, 10, then).unwrap();
        bastion.plane.trust(&folder.join("root.crt"));
        let away = bastion.dir.join("root.key");
        fs::rename(folder.join("root.key"), &away).unwrap();
        examined(&bastion).finds("authority play", &words);
        if hours_ago > 24 * i64::from(days) {
            let checked = bastion.jitd(&["check", "--cluster", "play"]);
            let told = text(&checked.stdout);
            assert_eq!(checked.status.code(), Some(1));
            assert!(
                told.starts_with("fault   play credential: the authority's certificates were valid until"),
                "{told}"
            );
            assert!(told.contains("hint: run `jitd ca renew`"), "{told}");
        }
        let renewed = bastion.jitd(&["ca", "renew", "play", "--root-key", away.to_str().unwrap()]);
        assert!(renewed.status.success(), "{}", text(&renewed.stderr));
        // The API server reads the file of its client authorities again after a moment.
        until("the renewed authority is trusted", || examined(&bastion).wrong().is_empty().then_some(()));
    }
}

/// No daemon, one that was killed, a socket that nobody may open, people that cannot be distinguished.
#[test]
fn mistakes_around_the_daemon_are_found() {
    let mut bastion = well();
    let socket = bastion.socket();

    assert!(bastion.terminate());
    examined(&bastion).finds("daemon", &["it is not running", "`systemctl enable --now jitd.socket`"]);
    fs::write(&socket, "").unwrap();
    examined(&bastion).finds("daemon", &["is not a socket", "move it away"]);
    fs::remove_file(&socket).unwrap();
    bastion.serve();
    bastion.kill();
    examined(&bastion).finds(
        "daemon",
        &["it is not running", "nothing listens on it", "`systemctl restart jitd.socket jitd.service`"],
    );
    bastion.serve();
    examined(&bastion).is_well();

    mode(&socket, 0o600);
    examined(&bastion).finds("socket", &["mode 0600, so nobody may open it", "SocketMode=0660"]);
    mode(&socket, 0o660);
    mode(socket.parent().unwrap(), 0o700);
    examined(&bastion).finds("socket", &["others may not enter", "chmod 755"]);
    mode(socket.parent().unwrap(), 0o755);
    let groups = |line: &str| instead_of("/etc/group", &format!("root:x:0:\n{line}"));
    examined_where(&bastion, &groups("")).finds("socket", &["there is no group jit-users", "`systemd-sysusers`"]);
    examined_where(&bastion, &groups("jit-users:x:7777:alice\n"))
        .finds("socket", &["open to the group root, not to jit-users", "SocketGroup=jit-users"]);
    chown(&socket, None, Some(7777)).unwrap();
    examined_where(&bastion, &groups("jit-users:x:7777:\n"))
        .finds("socket", &["the group jit-users, which may open", "`gpasswd -a NAME jit-users`"]);
    examined_where(&bastion, &groups("jit-users:x:7777:alice\n")).is_well();
    mode(&socket, 0o666);

    let hidden = |value: &str| {
        let script = "mount -t tmpfs none /etc/systemd/system\nmkdir /etc/systemd/system/jitd.service.d";
        let drop_in =
            format!("printf '[Service]\\nPrivateUsers={value}\\n' > /etc/systemd/system/jitd.service.d/hard.conf");
        examined_where(&bastion, &format!("{script}\n{drop_in}"))
    };
    hidden("yes").finds("people", &["hard.conf sets PrivateUsers=yes", "remove the line"]);
    hidden("no").is_well();
    let protects = "mount -t tmpfs none /etc/systemd/system\nmkdir /etc/systemd/system/jitd.service.d\nprintf '[Service]\\nProtectProc=invisible\\n' > /etc/systemd/system/jitd.service.d/hard.conf";
    examined_where(&bastion, protects).finds("people", &["hard.conf sets ProtectProc=invisible", "remove the line"]);
    let (subuid, alice, bob) = (|line: &str| instead_of("/etc/subuid", line), ALICE.uid, crate::bastion::BOB.uid);
    examined_where(&bastion, &subuid(&format!("{alice}:{bob}:65536\n"))).finds(
        "people",
        &[&format!("`{alice}` can become uid {bob} (bob) without a password"), "usermod --del-subuids"],
    );
    examined_where(&bastion, &subuid(&format!("{alice}:500000:65536\n"))).is_well();
    examined(&bastion).is_well();
}

/// What root can read and write, but the service of systemd cannot, and a group that may be unknown at boot.
#[test]
fn what_the_units_keep_from_the_daemon_is_found() {
    let bastion = well();
    let unit = |name: &str, lines: &str| {
        let script = "mount -t tmpfs none /etc/systemd/system";
        format!("{script}\nprintf '%s\\n' {lines} > /etc/systemd/system/{name}\n")
    };
    let service = |lines: &str| unit("jitd.service", &format!("'[Service]' ProtectSystem=strict {lines}"));
    let state = bastion.dir.join("var");
    let (shown, ca) = (state.display(), bastion.plane.ca.clone());
    examined_where(&bastion, &service("StateDirectory=jitd"))
        .finds("state", &["does not let the daemon write to", "ReadWritePaths="]);
    let may = |lines: &str| service(&format!("'ReadWritePaths=/nowhere -{shown}' {lines}"));
    examined_where(&bastion, &may("ProtectHome=no")).is_well();

    // Below /root, as an administrator's own kubeconfig is, and behind a link.
    let config = fs::read_to_string(bastion.dir.join("config.yaml")).unwrap();
    let link = bastion.dir.join("server-ca.crt");
    std::os::unix::fs::symlink("/root/server-ca.crt", &link).unwrap();
    let written = config.replace(ca.to_str().unwrap(), link.to_str().unwrap());
    assert_ne!(written, config);
    fs::write(bastion.dir.join("config.yaml"), written).unwrap();
    let home = format!(
        "cp {} /tmp/server-ca.$$\nmount -t tmpfs -o mode=700 none /root\ncp /tmp/server-ca.$$ /root/server-ca.crt\nrm /tmp/server-ca.$$\n",
        ca.display()
    );
    for (value, is_found) in [("yes", true), ("tmpfs", true), ("read-only", false), ("no", false)] {
        let said = examined_where(&bastion, &(home.clone() + &may(&format!("ProtectHome={value}"))));
        if is_found {
            let is_real = "which is /root/server-ca.crt: /etc/systemd/system/jitd.service sets ProtectHome=";
            said.finds("files", &["the service cannot read", is_real, "move the file to /etc/jitd"]);
        } else {
            said.is_well();
        }
    }
    fs::write(bastion.dir.join("config.yaml"), config).unwrap();

    let linked = "mount -t tmpfs none /var/lib\nmkdir /var/lib/elsewhere\nln -s elsewhere /var/lib/jitd\n";
    examined_where(&bastion, &(linked.to_owned() + &may("StateDirectory=jitd")))
        .finds("state", &["/var/lib/jitd is a symbolic link", "none bind` in /etc/fstab"]);

    let directory = "mount -t tmpfs none /etc/systemd/system\nmkdir -p /run/userdb\nmount -t tmpfs none /run/userdb\n\
        echo '{\"groupName\":\"jit-users\",\"gid\":7777}' > /run/userdb/jit-users.group\n\
        ln -s jit-users.group /run/userdb/7777.group\n";
    let known_by = instead_of("/etc/nsswitch.conf", "passwd: files\ngroup: files systemd\n");
    let socket = |group: &str| {
        format!("{directory}{known_by}\nprintf '[Socket]\\nSocketGroup={group}\\n' > /etc/systemd/system/jitd.socket\n")
    };
    examined_where(&bastion, &socket("jit-users"))
        .finds("socket", &["jit-users is not in /etc/group", "`systemctl edit jitd.socket`", "SocketGroup=7777"]);
    examined_where(&bastion, &socket("7777")).is_well();
}

/// A group whose name the host spells differently, and a group in a group.
#[test]
fn groups_without_effective_members_are_found() {
    let bastion = well();
    let policy = fs::read_to_string(bastion.dir.join("policy.yaml")).unwrap();
    fs::write(bastion.dir.join("policy.yaml"), policy.replace("[payments-oncall]", "[payments-oncall, one, outer]"))
        .unwrap();
    let groups = |lines: &str| instead_of("/etc/group", &format!("root:x:0:\n{lines}"));
    // Two names of one number: people come with the first.
    examined_where(&bastion, &groups("One:x:7001:\none:x:7001:\nouter:x:7002:\n")).finds(
        "groups",
        &["names the group `one`, but the host spells it", "`One`, so nobody is a member", "write `One`"],
    );
    // With nobody else in it nobody matches, and that is an error and not only worth a look.
    for (members, state, words) in [
        ("inner", "fault", "which lists only other groups, such as `inner`"),
        ("inner,root", "warning", "which contains the group `inner`"),
    ] {
        let said = examined_where(&bastion, &groups(&format!("one:x:7001:\ninner:x:7003:\nouter:x:7002:{members}\n")));
        said.finds("groups", &["`outer`", words, "name `inner`"]);
        assert!(said.findings.iter().any(|found| found["check"] == "groups" && found["state"] == state), "{members}");
    }
}

/// If the service's account exists on the host, files that root created must belong to it.
#[test]
fn files_that_the_service_account_cannot_use_are_found() {
    let mut bastion = well();
    assert!(bastion.terminate());
    let account = instead_of("/etc/passwd", "root:x:0:0::/:/bin/sh\njitd:x:7001:7001::/:/bin/false\n");
    let account = format!("{account}\n{}", instead_of("/etc/group", "root:x:0:\njitd:x:7001:\n"));
    let state = bastion.dir.join("var");
    examined_where(&bastion, &account)
        .finds("state", &["belongs to root, but the daemon runs as jitd", "chown -R jitd: "]);
    assert!(Command::new("chown").args(["-R", "7001:7001"]).arg(&state).status().unwrap().success());
    let policy = bastion.dir.join("policy.yaml");
    mode(&policy, 0o640);
    examined_where(&bastion, &account).finds("files", &["the daemon's account jitd cannot read", "chgrp jitd "]);
    chown(&policy, None, Some(7001)).unwrap();
    let said = examined_where(&bastion, &account);
    assert!(said.wrong().iter().all(|line| line.starts_with("daemon: ")), "{:?}", said.wrong());
}

/// A full disk, and a read-only one.
#[test]
fn a_disk_that_cannot_be_written_is_found() {
    let mut bastion = well();
    assert!(bastion.terminate());
    let state = bastion.dir.join("var");
    let small = |size: &str, more: &str| {
        let kept = scratch("kept");
        let (state, kept) = (state.display(), kept.display());
        let script = format!(
            "cp -a {state}/. {kept}/; mount -t tmpfs -o size={size},mode=700 none {state}; cp -a {kept}/. {state}/\n{more}"
        );
        examined_where(&bastion, &script)
    };
    small("16m", "").finds("disk", &["MiB are free", "free some space"]);
    small("1g", &format!("mount -o remount,ro {}", state.display()))
        .finds("disk", &["is mounted read-only", "mount -o remount,rw"]);
    let said = small("1g", "");
    assert!(said.wrong().iter().all(|line| line.starts_with("daemon: ")), "{:?}", said.wrong());
}

/// The connection to the API server, its trust, and the objects that `jitd manifest` prints.
#[test]
fn mistakes_about_the_cluster_are_found() {
    let bastion = well();
    let server = bastion.plane.server.clone();
    for (wrong, words) in [
        ("https://127.0.0.1:1", ["refused", "nothing listens at `server`"]),
        ("https://nowhere.invalid:6443", ["cannot be reached", "this host cannot resolve the name in `server`"]),
    ] {
        bastion.rewrite_config(&server, wrong);
        let said = examined(&bastion);
        said.finds("cluster play", &words);
        assert!(said.has_skipped("cluster play"));
        bastion.rewrite_config(wrong, &server);
    }
    let (right, wrong) = (bastion.plane.ca.display().to_string(), bastion.dir.join("var/ca/play/root.crt"));
    bastion.rewrite_config(&format!("\"{right}\""), wrong.to_str().unwrap());
    examined(&bastion)
        .finds("cluster play", &["was not signed by the configured authority", "`certificateAuthority` did not sign"]);
    bastion.rewrite_config(wrong.to_str().unwrap(), &format!("\"{right}\""));
    examined(&bastion).is_well();

    bastion.kubectl(&["delete", "clusterrolebinding", &format!("jitd-{}", bastion.host)]);
    until("the rights are gone", || {
        examined(&bastion).wrong().iter().any(|line| line.contains("has none of the")).then_some(())
    });
    examined(&bastion)
        .finds("cluster play", &["rights: the daemon has none of the", "apply the output of `jitd manifest`"]);
    bastion.apply(&bastion.manifest());
    until("the rights are back", || examined(&bastion).wrong().is_empty().then_some(()));

    // The policy has grown since the manifest was applied.
    replaced(&bastion.dir.join("policy.yaml"), "roles: [view]", "roles: [view, edit]");
    examined(&bastion)
        .finds("cluster play", &["may not bind clusterroles.rbac.authorization.k8s.io edit", "jitd manifest"]);
    bastion.apply(&bastion.manifest());
    until("the new rights hold", || examined(&bastion).wrong().is_empty().then_some(()));

    // An authority that the API server was never told of.
    let (folder, before) = (bastion.dir.join("var/ca/play"), bastion.dir.join("before"));
    fs::rename(&folder, &before).unwrap();
    assert!(bastion.jitd(&["init"]).status.success());
    fs::remove_file(folder.join("root.key")).unwrap();
    examined(&bastion).finds("cluster play", &["does not trust this authority", "--client-ca-file", "docs/trust.md"]);
    bastion.plane.trust(&folder.join("root.crt"));
    until("the new root is trusted", || examined(&bastion).wrong().is_empty().then_some(()));
}

/// With a clock ahead of the API server's, certificates are not valid yet; with one behind the trail, none is signed.
#[test]
fn a_wrong_clock_is_found() {
    let bastion = well();
    let at = |shift: &str| {
        let doctor = doctor_of(&bastion);
        Said::of(Command::new("faketime").args(["-f", shift]).arg(doctor.get_program()).args(doctor.get_args()))
    };
    at("+5m").finds("cluster play", &["its clock differs from ours by ", "synchronize both with NTP"]);
    at("-1h").finds("clock", &["the trail contains events until", "set the clock by NTP"]);
    examined(&bastion).is_well();
}

/// A certificate without permissions proves the trust, whatever the daemon may do; it is reported if it has some.
#[test]
fn the_trust_is_proved_without_the_daemons_permissions() {
    let bastion = well();
    let checked = || text(&bastion.jitd(&["check", "--cluster", "play"]).stdout);
    let trusted =
        format!("ok      play authority: it is trusted: `jit:probe:{}` is identified, in no group", bastion.host);
    assert!(checked().starts_with(&trusted), "{}", checked());
    bastion.kubectl(&["delete", "clusterrolebinding", &format!("jitd-{}", bastion.host)]);
    until("the rights are gone", || checked().contains("has none of the").then_some(()));
    assert!(checked().starts_with(&trusted), "{}", checked());

    // Where no admission policy keeps everybody off names that begin `jit:`.
    let bastion = Bastion::start();
    let trusted =
        format!("ok      play authority: it is trusted: `jit:probe:{}` is identified, in no group", bastion.host);
    let checked = || text(&bastion.jitd(&["check", "--cluster", "play"]).stdout);
    let binding = format!("everybody-{}", bastion.host);
    bastion.kubectl(&[
        "create",
        "clusterrolebinding",
        &binding,
        "--clusterrole=view",
        &format!("--user=jit:probe:{}", bastion.host),
    ]);
    until("whoever has a certificate may list pods", || {
        checked()
            .contains("warning play authority: anybody with a certificate may list pods, without any grant")
            .then_some(())
    });
    bastion.kubectl(&["delete", "clusterrolebinding", &binding]);
    until("nobody has rights without a grant", || checked().starts_with(&trusted).then_some(()));
}

// ---- jit-login doctor ----

/// Alice's place at a bastion in order, with a login as pam_systemd makes it.
struct Desk {
    bastion: Bastion<'static>,
    runtime: PathBuf,
}

impl Desk {
    fn new() -> Self {
        let bastion = Bastion::start();
        let runtime = bastion.dir.join("login");
        fs::create_dir(&runtime).unwrap();
        chown(&runtime, Some(ALICE.uid), Some(ALICE.uid)).unwrap();
        mode(&runtime, 0o700);
        Self { bastion, runtime }
    }

    fn command(&self, person: Person) -> Command {
        let mut command = self.bastion.login_command(person, "jit-login");
        command.env("XDG_RUNTIME_DIR", &self.runtime);
        command
    }

    fn doctor(&self) -> Command {
        let mut command = self.command(ALICE);
        command.args(["doctor", "-o", "json"]);
        command
    }

    fn says(&self) -> Said {
        Said::of(&mut self.doctor())
    }

    fn login(&self, words: &[&str]) -> String {
        let output = self.command(ALICE).args(words).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// A grant of alice's that works, collected by the real client.
    fn access(&self) -> String {
        let ns = &self.bastion.ns;
        let asked = self.login(&[
            "request",
            "play",
            "-n",
            ns,
            "--role",
            "view",
            "--for",
            "5m",
            "--reason",
            "INC-42",
            "--no-wait",
            "-o",
            "name",
        ]);
        let id = asked.trim().to_owned();
        assert!(self.bastion.login(BOB, &["approve", &id, "--yes"]).status.success());
        self.login(&["wait", &id]);
        id
    }

    fn home(&self) -> PathBuf {
        self.bastion.home(ALICE)
    }
}

/// With a correct setup nothing is found.
#[test]
fn nothing_is_found_in_a_correct_setup_of_an_engineer() {
    let desk = Desk::new();
    desk.access();
    desk.says().is_well();
}

/// The caller, the socket, and the daemon behind it.
#[test]
fn mistakes_on_the_way_to_the_daemon_are_found() {
    let mut desk = Desk::new();
    desk.says().is_well();
    let as_person = |desk: &Desk, person: Person| {
        let mut command = desk.bastion.login_command(person, "jit-login");
        Said::of(command.args(["doctor", "-o", "json"]))
    };
    as_person(&desk, ROOT).finds("caller", &["you are root", "without sudo"]);
    as_person(&desk, STRANGER).finds("whoami", &["is not an account of this host", "can declare the person"]);

    Said::of(desk.doctor().env("JITD_SOCKET", "/nowhere/api.sock"))
        .finds("socket", &["no such file", "systemctl start jitd.socket"]);
    Said::of(desk.doctor().env("JITD_SOCKET", "/etc/hosts")).finds("socket", &["is not a socket", "--socket"]);
    desk.bastion.kill();
    desk.says().finds("socket", &["nothing answers: connection refused", "systemctl restart"]);
    desk.bastion.serve();
    desk.says().is_well();

    // Somebody else serves in a folder of their own.
    let theirs = scratch("theirs");
    chown(&theirs, Some(DAVE.uid), Some(DAVE.uid)).unwrap();
    let mut posing = Command::new("setpriv")
        .args(["--reuid", &DAVE.uid.to_string(), "--regid", &DAVE.uid.to_string(), "--clear-groups"])
        .args(["/usr/bin/python3", "-c", POSING])
        .arg(theirs.join("api.sock"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = [0; 6];
    std::io::Read::read_exact(posing.stdout.as_mut().unwrap(), &mut ready).unwrap();
    Said::of(desk.doctor().env("JITD_SOCKET", theirs.join("api.sock")))
        .finds("server", &["is not jitd", "--server-user"]);
    drop(posing.stdin.take());
    posing.wait().unwrap();

    // The group of the socket, as the package has it.
    let socket = desk.bastion.socket();
    mode(&socket, 0o660);
    chown(&socket, None, Some(7777)).unwrap();
    let people = instead_of("/etc/passwd", &format!("root:x:0:0::/:/bin/sh\nalice:x:{0}:{0}::/:/bin/sh\n", ALICE.uid));
    let within = |desk: &Desk, members: &str, groups: &str| {
        let group = instead_of("/etc/group", &format!("root:x:0:\njit-users:x:7777:{members}\n"));
        let script = format!("{people}\n{group}\nexec setpriv --reuid {0} --regid {0} {groups} \"$@\"", ALICE.uid);
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "sh", "-euc", &script, "sh"])
            .arg(root().join("bin/jit-login"))
            .args(["doctor", "-o", "json"]);
        command.env("JITD_SOCKET", &socket).env("XDG_RUNTIME_DIR", &desk.runtime).env("HOME", desk.home());
        command.env("PATH", format!("{}:/usr/bin:/bin", root().join("bin").display()));
        Said::of(&mut command)
    };
    within(&desk, "bob", "--clear-groups")
        .finds("socket", &["for the group jit-users, and you are not a member", "`gpasswd -a alice jit-users`"]);
    within(&desk, "alice", "--clear-groups")
        .finds("socket", &["after this login began", "log in again, or continue in `newgrp jit-users`"]);
    within(&desk, "alice", "--groups 7777").is_well();
}

const POSING: &str = "import os, socket, sys\ns = socket.socket(socket.AF_UNIX)\ns.bind(sys.argv[1])\ns.listen()\nos.chmod(sys.argv[1], 0o666)\nprint('ready', flush=True)\nsys.stdin.read()";

/// A clock that was never set.
#[test]
fn a_clock_that_cannot_be_is_found() {
    let desk = Desk::new();
    let told = desk.doctor();
    let mut command = desk.bastion.login_command(ALICE, "jit-login");
    let envs: Vec<_> =
        command.get_envs().filter_map(|(key, value)| Some((key.to_owned(), value?.to_owned()))).collect();
    command = Command::new("faketime");
    command.args(["-f", "@2020-01-01 00:00:00"]).arg(told.get_program()).args(told.get_args());
    command.env_clear().envs(envs).env("XDG_RUNTIME_DIR", &desk.runtime);
    std::os::unix::process::CommandExt::uid(&mut command, ALICE.uid);
    std::os::unix::process::CommandExt::gid(&mut command, ALICE.uid);
    Said::of(&mut command).finds("clock", &["2020-01-01", "cannot be right", "timedatectl"]);
    desk.says().is_well();
}

/// The folders of the keys.
#[test]
fn mistakes_in_the_engineers_folders_are_found() {
    let desk = Desk::new();
    Said::of(desk.doctor().env_remove("XDG_RUNTIME_DIR"))
        .finds("runtime", &["is not set, so keys stay on the disk", "log in by ssh"]);
    Said::of(desk.doctor().env("XDG_RUNTIME_DIR", "/nowhere"))
        .finds("runtime", &["is /nowhere, which does not exist", "log in by ssh"]);
    desk.says().is_well();
    let private = desk.runtime.join("jit-login");
    mode(&private, 0o755);
    desk.says().finds("folder", &["others may access it; its mode must be 0700", "only your account"]);
    mode(&private, 0o700);
    desk.says().is_well();

    // No login's folder, and a home that can't be written.
    let home = scratch("home");
    let mut without = desk.doctor();
    Said::of(without.env_remove("XDG_RUNTIME_DIR").env("HOME", &home))
        .finds("folder", &["is not used: ", "set XDG_RUNTIME_DIR to your own folder"]);
    chown(&home, Some(ALICE.uid), Some(ALICE.uid)).unwrap();
    assert!(Said::of(&mut without).wrong().iter().all(|line| line.starts_with("runtime: ")));
    desk.says().is_well();
}

/// kubectl, its plugin, and the kubeconfigs that it reads.
#[test]
fn mistakes_around_kubectl_are_found() {
    let desk = Desk::new();
    Said::of(desk.doctor().env("PATH", "/nowhere")).finds("kubectl", &["it is not on PATH", "install kubectl"]);
    Said::of(desk.doctor().env("PATH", "/nowhere")).finds("plugin", &["`kubectl jit` is unknown", "ln -s "]);
    // No kubectl of before 2021 is at hand; this one only tells its version.
    let old = scratch("old");
    fs::write(old.join("kubectl"), "#!/bin/sh\necho '{\"clientVersion\": {\"gitVersion\": \"v1.21.14\"}}'\n").unwrap();
    mode(&old.join("kubectl"), 0o755);
    let path = format!("{}:{}", old.display(), root().join("bin").display());
    Said::of(desk.doctor().env("PATH", path)).finds("kubectl", &["is 1.21", "install kubectl 1.22 or later"]);
    Said::of(desk.doctor().env("KUBECONFIG", "/nowhere/config"))
        .finds("kubeconfig", &["names /nowhere/config, which does not exist", "`unset KUBECONFIG`"]);

    let id = desk.access();
    let own = desk.runtime.join(format!("jit-login/{id}.kubeconfig"));
    desk.login(&["kubeconfig", &id, "--merge"]);
    Said::of(desk.doctor().env("KUBECONFIG", &own)).is_well();
    let gone = desk.bastion.dir.join("gone.kubeconfig");
    let moved = fs::read_to_string(&own).unwrap().replace(&root().join("bin").display().to_string(), "/opt/before");
    fs::write(&gone, moved).unwrap();
    Said::of(desk.doctor().env("KUBECONFIG", &gone))
        .finds("kubeconfig", &["runs /opt/before/jit-login, which does not exist", "jit-login kubeconfig"]);

    // Taken away by somebody else: this client does not know yet.
    let revoked = desk.bastion.post(ADMIN, &path_of(&id, "/revoke"), &json!({ "reason": "over" }));
    assert_eq!(revoked.0, 200, "{}", revoked.1);
    let said = Said::of(desk.doctor().env("KUBECONFIG", &own));
    said.finds("kubeconfig", &[&format!("makes kubectl use the grant {id}, which is over"), "`unset KUBECONFIG`; "]);
    said.finds("keys", &["1 of 1 here belong to grants that are over", "`jit-login ls` removes them"]);
    desk.login(&["ls"]);
    let said = desk.says();
    said.finds("kubeconfig", &["has a context of the grant", "kubectl config delete-context jit:play:"]);
    let wrong = said.wrong();
    let commands = wrong[0].split('`').nth(1).unwrap();
    for words in commands.split("; ") {
        let arguments = words.strip_prefix("kubectl ").unwrap().split(' ');
        let done = desk.bastion.login_command(ALICE, "kubectl").args(arguments).output().unwrap();
        assert!(done.status.success(), "{words}: {}", text(&done.stderr));
    }
    desk.says().is_well();
}

fn path_of(id: &str, rest: &str) -> String {
    path(&json!({ "id": id }), rest)
}

/// Every page that a hint names exists.
#[test]
fn the_page_about_trust_is_there() {
    let page = fs::read_to_string(repository().join("docs/trust.md")).unwrap();
    for word in ["kubeadm", "k3s", "RKE2", "Talos", "OpenShift", "EKS", "GKE", "AKS"] {
        assert!(page.contains(&format!("## {word}")), "{word}");
    }
}
