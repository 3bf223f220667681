//! What the daemon asks and that never answers, a name service say, is told by its name and holds up nobody who does not
//! need it.
//!
//! The name service hangs as it does when a disk or a directory does: in the mount namespace of the daemon a FIFO that
//! nobody writes to stands for `/etc/passwd`.

use std::io::Read;
use std::path::PathBuf;
use std::process::Command;
use std::thread::scope;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::bastion::{ALICE, BOB, Bastion, DAVE, ERIN, Key, Options, Person, ROOT, path, repository, text};
use crate::gateway::Front;
use crate::plane::{Plane, root, scratch, until};

/// An account of every host, that nobody declared.
pub(crate) const DAEMON: Person = Person { name: "daemon", uid: 1 };

/// Longer than any answer may take that does not need what hangs.
const AT_ONCE: Duration = Duration::from_secs(2);

/// A daemon whose `/etc/passwd` can be taken away.
pub(crate) struct Held {
    pub(crate) bastion: Bastion<'static>,
    fifo: PathBuf,
}

impl Held {
    fn new() -> Self {
        Self::with(Options::default())
    }

    pub(crate) fn with(options: Options) -> Self {
        let mut bastion = Bastion::prepared(Plane::shared(), options);
        let mut daemon = Command::new("unshare");
        daemon.arg("--mount").arg(root().join("bin/jitd"));
        bastion.serve_as(daemon);
        let fifo = scratch("stuck").join("passwd");
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        Self { bastion, fifo }
    }

    fn within(&self, command: &[&str]) {
        let mut inside = Command::new("nsenter");
        inside.arg(format!("--mount=/proc/{}/ns/mnt", self.bastion.pid())).args(command);
        let done = inside.output().unwrap();
        assert!(done.status.success(), "{command:?}: {}", text(&done.stderr));
    }

    pub(crate) fn hang(&self) {
        self.within(&["mount", "--bind", self.fifo.to_str().unwrap(), "/etc/passwd"]);
    }

    /// The file is back, and whoever waits for the FIFO reads that it is empty.
    pub(crate) fn answer(&self) {
        self.within(&["umount", "--lazy", "/etc/passwd"]);
        let written = Command::new("sh").args(["-c", ": > \"$0\""]).arg(&self.fifo).status().unwrap();
        assert!(written.success());
    }
}

/// The time of an answer, with the answer.
fn timed<T>(act: impl FnOnce() -> T) -> (Duration, T) {
    let began = Instant::now();
    let done = act();
    (began.elapsed(), done)
}

/// Everybody who is declared goes on, so do operators and ends, and the others are told what does not answer.
#[test]
fn a_name_service_that_hangs_holds_up_only_who_needs_it() {
    let held = Held::new();
    let bastion = &held.bastion;
    assert_eq!(bastion.get(DAEMON, "/v1/whoami").0, 200);
    let short = bastion.live(&bastion.ask("8s"));
    held.hang();
    scope(|threads| {
        let asking: Vec<_> = (0..40).map(|_| threads.spawn(|| timed(|| bastion.get(DAEMON, "/v1/whoami")))).collect();
        until("it is told", || {
            bastion.log().contains("the host's name service does not answer within 3 s").then_some(())
        });

        let (took, access) = timed(|| bastion.live(&bastion.ask("5m")));
        assert!(took < AT_ONCE, "a declared person waits for nobody: {took:?}");
        let (took, revoked) = timed(|| {
            let body = json!({ "all": true, "reason": "the name service hangs" });
            bastion.operate(ROOT, "POST", "/v1/revoke", &body)
        });
        assert!(took < AT_ONCE && revoked.0 == 200, "an operator waits for nobody: {took:?} {}", revoked.1);
        assert_eq!(bastion.show(ERIN, &access.grant)["phase"], "ended");
        assert_eq!(bastion.show(ERIN, &short.grant)["phase"], "ended");
        for asking in asking {
            let (took, (status, refused)) = asking.join().unwrap();
            assert_eq!((status, &refused["code"]), (503, &json!("name-service-unavailable")), "{refused}");
            assert_eq!(refused["detail"], "the host's name service does not answer within 3 s");
            assert!(took < Duration::from_secs(10), "{took:?}");
        }
    });

    // By now it is known that it hangs, and nobody waits for it.
    let (took, refused) = timed(|| bastion.get(DAEMON, "/v1/whoami"));
    assert!(took < AT_ONCE && refused.0 == 503, "{took:?} {}", refused.1);
    let (status, health) = bastion.get(DAVE, "/healthz");
    assert_eq!((status, &health["code"]), (503, &json!("dependency-silent")));
    assert_eq!(health["detail"], "the host's name service does not answer");
    let hangs = r#"unanswered_calls{dependency="host's name service"}"#;
    assert_eq!(bastion.metric(hangs), 1, "an account takes one thread, whatever it asks");

    held.answer();
    until("it answers again", || (bastion.get(DAEMON, "/v1/whoami").0 == 200).then_some(()));
    assert_eq!((bastion.get(DAVE, "/healthz"), bastion.metric(hangs)), ((200, json!("ok\n")), 0));
    assert!(bastion.log().contains("the host's name service answers again"));
}

/// A cluster whose name nobody answers for is told so, and the other one goes on.
#[test]
fn a_resolver_that_hangs_holds_up_only_its_cluster() {
    let mut bastion = Bastion::prepared(Plane::shared(), Options::default());
    let silent = std::net::UdpSocket::bind("127.0.0.253:53").unwrap();
    let entry = format!(
        "clusters:\n- {{name: far, server: \"https://far.example.com:6443\", certificateAuthority: \"{}\"}}\n",
        bastion.plane.ca.display()
    );
    bastion.rewrite_config("clusters:\n", &entry);
    let policy = std::fs::read_to_string(bastion.dir.join("policy.yaml")).unwrap();
    bastion.write_policy(&policy.replace("clusters: [play]", "clusters: [play, far]"));
    assert!(bastion.jitd(&["init"]).status.success());
    let resolver = scratch("stuck").join("resolv.conf");
    std::fs::write(&resolver, "nameserver 127.0.0.253\noptions timeout:30 attempts:1\n").unwrap();
    let mut daemon = Command::new("unshare");
    let mounted = r#"mount --bind "$0" /etc/resolv.conf && exec "$@""#;
    daemon.args(["--mount", "sh", "-c", mounted]).arg(&resolver).arg(root().join("bin/jitd"));
    bastion.serve_as(daemon);

    let hangs = r#"unanswered_calls{dependency="DNS of cluster far"}"#;
    until("it is told", || bastion.log().contains("the DNS of cluster far does not answer within 2 s").then_some(()));
    let mut far = bastion.ask("5m");
    far["cluster"] = json!("far");
    std::thread::scope(|threads| {
        let asked = threads.spawn(|| {
            let body = json!({ "ask": far, "csr": Key::new().csr() });
            timed(|| bastion.post(ALICE, "/v1/grants", &body))
        });
        // On a busy host one may be slow; none is at once if each waits for the resolver.
        let is_at_once = |_| timed(|| bastion.live(&bastion.ask("5m"))).0 < AT_ONCE;
        assert!((0..3).any(is_at_once), "the other cluster waits for nobody");
        let (took, (status, refused)) = asked.join().unwrap();
        assert_eq!((status, &refused["code"]), (503, &json!("cluster-unreachable")), "{refused}");
        assert!(refused["detail"].as_str().unwrap().contains("the DNS of cluster far does not answer"), "{refused}");
        assert!(took < Duration::from_secs(10), "{took:?}");
    });
    assert_eq!(bastion.metric(hangs), 1);
    assert_eq!(bastion.metric(r#"unanswered_calls{dependency="DNS of cluster play"}"#), 0);
    assert!(bastion.get(DAVE, "/healthz").1["detail"].as_str().unwrap().contains("the DNS of cluster far"));
    drop(silent);
}

/// A daemon that waits for the name service ends when it is told to.
#[test]
fn a_name_service_that_hangs_does_not_keep_the_daemon_from_ending() {
    let mut held = Held::new();
    held.hang();
    let refused = held.bastion.get(DAEMON, "/v1/whoami");
    assert_eq!(refused.0, 503);
    let (took, ended) = timed(|| held.bastion.terminate());
    assert!(ended && took < Duration::from_secs(12), "{took:?}");
}

/// A disk whose syncs hang while a file exists, for a daemon.
struct Disk {
    library: PathBuf,
    hangs: PathBuf,
}

impl Disk {
    fn new() -> Self {
        let folder = scratch("disk");
        let (library, hangs) = (folder.join("hang.so"), folder.join("hangs"));
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o"]).arg(&library);
        assert!(compiler.arg(repository().join("tests/support/hang.c")).status().unwrap().success());
        Self { library, hangs }
    }

    fn daemon(&self) -> Command {
        let mut daemon = Command::new(root().join("bin/jitd"));
        daemon.env("LD_PRELOAD", &self.library).env("HANG", &self.hangs);
        daemon
    }

    fn serve(&self) -> Bastion<'static> {
        let mut bastion = Bastion::prepared(Plane::shared(), Options::default());
        bastion.serve_as(self.daemon());
        bastion
    }

    fn hang(&self) {
        std::fs::write(&self.hangs, "").unwrap();
    }

    fn answer(&self) {
        std::fs::remove_file(&self.hangs).unwrap();
    }
}

/// A disk that hangs in a sync: nothing is granted and everybody is told why, reads are answered, access is taken away,
/// and what the disk stores after all is taken up when it answers again.
#[test]
fn a_disk_that_hangs_holds_up_no_reads_and_no_ends() {
    const SILENT: &str = "the audit trail does not answer, so nothing was recorded";
    let disk = Disk::new();
    let bastion = &disk.serve();
    let pending = bastion.request(ALICE, &bastion.ask("1m"), &Key::new());
    let released = bastion.live(&bastion.ask("5m"));
    let expired = bastion.live(&bastion.ask("12s"));
    let request = || json!({ "ask": bastion.ask("2m"), "csr": Key::new().csr() });
    let known = bastion.get(ALICE, "/v1/grants").1["grants"].as_array().unwrap().len();

    disk.hang();
    scope(|threads| {
        let asking = threads.spawn(|| timed(|| bastion.post(ALICE, "/v1/grants", &request())));
        for path in [path(&pending, ""), path(&pending, "/events"), "/v1/grants".to_owned(), "/v1/whoami".to_owned()] {
            let (took, (status, answer)) = timed(|| bastion.get(BOB, &path));
            assert!(status == 200 && took < AT_ONCE, "{path}: {took:?} {answer}");
        }
        let (took, (status, refused)) = asking.join().unwrap();
        assert_eq!((status, &refused["code"]), (503, &json!("trail-unavailable")), "{refused}");
        let unknown = "the audit trail does not answer, and it is unknown whether this was recorded";
        assert_eq!(refused["detail"], unknown);
        assert!(took < Duration::from_secs(13), "{took:?}");
    });

    // By now it is known that it hangs, and nobody waits for it.
    let (took, (status, refused)) = timed(|| bastion.post(ALICE, "/v1/grants", &request()));
    assert!(status == 503 && refused["detail"] == SILENT && took < AT_ONCE, "{took:?} {refused}");
    let (took, (status, refused)) = timed(|| bastion.approve(BOB, &pending));
    assert!(status == 503 && refused["detail"] == SILENT && took < AT_ONCE, "{took:?} {refused}");
    assert_eq!((bastion.get(ERIN, "/healthz").0, bastion.metric("trail_unwritable")), (503, 1));
    let (took, (status, refused)) = timed(|| bastion.post(ALICE, &path(&released.grant, "/end"), &json!(null)));
    assert!(status == 503 && took < Duration::from_secs(5), "{took:?} {refused}");
    assert_eq!(bastion.look(&released, &bastion.ns), 403, "it is taken away, though this cannot be recorded");
    until("the other is taken away at the end of its window", || bastion.bindings().is_empty().then_some(()));

    disk.answer();
    for grant in [&released.grant, &expired.grant] {
        bastion.wait_for(grant, &["ended"]);
    }
    let late = until("the request that was stored late is known", || {
        let grants = bastion.get(ALICE, "/v1/grants?all=true").1["grants"].as_array().unwrap().clone();
        (grants.len() > known).then_some(grants)
    });
    assert_eq!(late.len(), known + 1, "the request that was refused at once is not stored");
    assert_eq!(late.iter().filter(|grant| grant["phase"] == "pending").count(), 2, "{late:?}");
    for grant in late.iter().filter(|grant| grant["phase"] == "pending") {
        assert_eq!(bastion.approve(BOB, &bastion.show(BOB, grant)).0, 200);
    }
    assert_eq!((bastion.get(ERIN, "/healthz").0, bastion.metric("trail_unwritable")), (200, 0));
    assert!(bastion.jitd(&["audit", "verify"]).status.success());
}

/// A daemon whose disk hangs ends when it is told to.
#[test]
fn a_disk_that_hangs_does_not_keep_the_daemon_from_ending() {
    let disk = Disk::new();
    let mut bastion = disk.serve();
    disk.hang();
    let asked = json!({ "ask": bastion.ask("2m"), "csr": Key::new().csr() });
    assert_eq!(bastion.post(ALICE, "/v1/grants", &asked).0, 503);
    let (took, _) = timed(|| bastion.terminate());
    assert!(took < Duration::from_secs(12), "{took:?}");
}

/// An end cuts what runs through the gateway at once, although the disk hangs and the end cannot be recorded.
#[test]
fn a_disk_that_hangs_does_not_delay_a_cut() {
    let disk = Disk::new();
    let mut front = Front::of(Plane::shared());
    let before = front.connections();
    front.bastion.kill();
    front.bastion.serve_as(disk.daemon());
    front.connected_after(before);
    let grant = front.live("view");
    let (mut watch, mut out) = front.streams(&grant, &["get", "configmaps", "-w", "-o", "name"]);
    disk.hang();
    scope(|threads| {
        let ending = threads.spawn(|| front.bastion.login(ALICE, &["end", &grant]));
        let (took, _) = timed(|| out.read_to_string(&mut String::new()).unwrap());
        assert!(took < Duration::from_secs(4), "the watch ran on for {took:?}");
        watch.wait().unwrap();
        assert!(!ending.join().unwrap().status.success(), "the end is not recorded");
    });
    disk.answer();
    assert_eq!(front.end_of(&grant)["event"]["cut"], 1);
}
