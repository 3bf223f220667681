//! The daemon as a service: its units in systemd's own tools, the sockets that it gets, the watchdog, which starves when
//! anything hangs, and the journal. With a real journald and real descriptors; tests/machine tests the units in a booted
//! machine.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use serde_json::{Value, json};

use jitd::grant::{Author, Event};
use jitd::trail::Trail;

use crate::bastion::{ALICE, BOB, Bastion, Key, Options, ROOT, SURVIVES_A_FULL_DISK, path, repository, text};
use crate::gateway::Front;
use crate::plane::{Plane, root, scratch, until};

fn prepared() -> Bastion<'static> {
    Bastion::prepared(Plane::shared(), Options::default())
}

// ---- the units ----

/// What `systemd-analyze security` may say at most (0 to 10), times ten.
const EXPOSURE: &str = "--threshold=15";

fn analyze(arguments: &[&str], unit: &str) -> Output {
    let unit = repository().join("systemd").join(unit);
    Command::new("systemd-analyze").args(arguments).arg(unit).env("SYSTEMD_COLORS", "0").output().unwrap()
}

const UNITS: [&str; 10] = [
    "jitd.service",
    "jitd.socket",
    "jitd-admin.socket",
    "jitd-feed.socket",
    "jit-gateway.service",
    "jit-gateway.socket",
    "jitd-notify.socket",
    "jit-notify.service",
    "jitd-scan.service",
    "jitd-scan.timer",
];

/// systemd parses every line of the units without a warning.
#[test]
fn systemd_has_no_warning_about_the_units() {
    let folder = scratch("units");
    for unit in UNITS {
        let written = std::fs::read_to_string(repository().join("systemd").join(unit)).unwrap();
        // The programs are not installed on this machine.
        let here = written.replace("/usr/bin/jit", root().join("bin/jit").to_str().unwrap());
        std::fs::write(folder.join(unit), here).unwrap();
    }
    for unit in UNITS {
        let verified =
            Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(folder.join(unit)).output().unwrap();
        assert!(verified.status.success(), "{unit}: {}", text(&verified.stderr));
        let remarks = text(&verified.stderr);
        let ours: Vec<&str> = remarks.lines().filter(|line| line.contains("jit")).collect();
        assert!(ours.is_empty(), "{unit}: {remarks}");
    }
}

/// The exposure is at most 1.5, and each remaining point is explained.
#[test]
fn the_exposure_of_the_service_is_low_and_explained() {
    let told = analyze(&["security", "--offline=true", "--no-pager", EXPOSURE], "jitd.service");
    let table = text(&told.stdout);
    assert!(told.status.success(), "{table}");
    let left: BTreeSet<&str> = table
        .lines()
        .filter_map(|line| line.strip_prefix("✗ "))
        .map(|line| line.split_whitespace().next().unwrap())
        .collect();
    assert!(!left.is_empty(), "{table}");
    let explained = std::fs::read_to_string(repository().join("docs/hardening.md")).unwrap();
    let points: BTreeSet<&str> = explained
        .lines()
        .skip_while(|line| *line != "## Remaining points")
        .take_while(|line| *line != "## Compared with other units")
        .filter_map(|line| line.strip_prefix("- `")?.split('`').next())
        .collect();
    assert_eq!(points, left, "docs/hardening.md explains every remaining point, and no other");
}

/// The scan, which reads what strangers wrote, is exposed no more than the daemon.
#[test]
fn the_exposure_of_the_scan_is_low() {
    let told = analyze(&["security", "--offline=true", "--no-pager", EXPOSURE], "jitd-scan.service");
    assert!(told.status.success(), "{}", text(&told.stdout));
}

/// The accounts and the folders are created as the units need them, on an empty root.
#[test]
fn accounts_and_folders_are_created_as_the_units_need_them() {
    let folder = scratch("accounts");
    let run = |program: &str, file: &str| {
        let mut command = Command::new(program);
        command.arg(format!("--root={}", folder.display()));
        if program == "systemd-tmpfiles" {
            command.arg("--create");
        }
        let done = command.arg(repository().join("systemd").join(file)).output().unwrap();
        assert!(done.status.success(), "{program}: {}", text(&done.stderr));
    };
    std::fs::create_dir_all(folder.join("etc")).unwrap();
    run("systemd-sysusers", "jitd.sysusers.conf");
    let read = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap();
    let number = |file: &str, name: &str| -> u32 {
        let lines = read(file);
        let line = lines.lines().find(|line| line.starts_with(&format!("{name}:"))).unwrap();
        line.split(':').nth(2).unwrap().parse().unwrap()
    };
    assert!(read("etc/passwd").lines().any(|line| line.starts_with("jitd:") && line.ends_with(":/usr/sbin/nologin")));
    let (user, group) = (number("etc/passwd", "jitd"), number("etc/group", "jitd"));
    assert_ne!(number("etc/group", "jit-users"), number("etc/group", "jit-admins"));

    run("systemd-tmpfiles", "jitd.tmpfiles.conf");
    let owned = |path: &str| {
        let found = std::fs::metadata(folder.join(path)).unwrap();
        (found.permissions().mode() & 0o7777, found.uid(), found.gid())
    };
    assert_eq!(owned("etc/jitd"), (0o750, 0, group));
    assert_eq!(owned("var/lib/jitd"), (0o700, user, group));
    assert_eq!(owned("etc/jit-scan"), (0o750, 0, number("etc/group", "jit-scan")));
}

// ---- sockets that are handed over ----

/// Hands its standard input over as descriptor 3, as systemd does before it starts a service.
fn handing_over(name: &str) -> Command {
    let mut program = Command::new("/bin/sh");
    program
        .args(["-c", r#"exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES="$0" exec "$@""#, name])
        .arg(root().join("bin/jitd"));
    program
}

/// The users' socket, opened by somebody else.
fn opened(bastion: &Bastion<'_>) -> UnixListener {
    std::fs::create_dir_all(bastion.dir.join("run")).unwrap();
    let listener = UnixListener::bind(bastion.socket()).unwrap();
    std::fs::set_permissions(bastion.socket(), std::fs::Permissions::from_mode(0o666)).unwrap();
    listener
}

fn again(listener: &UnixListener) -> Stdio {
    OwnedFd::from(listener.try_clone().unwrap()).into()
}

/// The socket belongs to who opened it: a daemon that goes leaves it, and a call that comes meanwhile is answered by
/// the next daemon.
#[test]
fn a_call_during_a_restart_waits_and_is_answered() {
    let mut bastion = prepared();
    let listener = opened(&bastion);
    bastion.spawn_with(handing_over("api"), again(&listener));
    let grant = bastion.request(ALICE, &bastion.ask("5m"), &Key::new());
    assert!(bastion.terminate());
    assert!(bastion.socket().exists(), "it is not the daemon's to remove");

    let waiting = {
        let socket = bastion.socket();
        std::thread::spawn(move || {
            let mut stream = UnixStream::connect(socket).unwrap();
            std::io::Write::write_all(&mut stream, b"GET /healthz HTTP/1.1\r\nhost: jitd\r\nconnection: close\r\n\r\n")
                .unwrap();
            let mut answer = String::new();
            std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
            answer
        })
    };
    bastion.spawn_with(handing_over("api"), again(&listener));
    let answer = waiting.join().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("ok\n"), "{answer}");
    assert_eq!(bastion.show(ALICE, &grant)["phase"], "pending");
    bastion.kill();
    assert!(bastion.socket().exists());
    bastion.has_no_fault();
}

/// systemd's own tool for it starts the daemon with the first call.
#[test]
fn systemd_socket_activate_starts_it_with_the_first_call() {
    let mut bastion = prepared();
    std::fs::create_dir_all(bastion.dir.join("run")).unwrap();
    let mut program = Command::new("systemd-socket-activate");
    program.arg("--listen").arg(bastion.socket()).arg("--fdname=api").arg(root().join("bin/jitd"));
    bastion.spawn_with(program, Stdio::null());
    // It opens the socket to root only.
    until("somebody listens", || UnixStream::connect(bastion.socket()).ok());
    assert_eq!(bastion.get(ROOT, "/healthz"), (200, json!("ok\n")));
    assert!(bastion.terminate());
    assert!(bastion.socket().exists());
}

/// An unsuitable descriptor ends the daemon with a message; it does not open another socket instead.
#[test]
fn a_given_descriptor_must_be_a_listening_socket_with_a_known_name() {
    let mut bastion = prepared();
    let listener = opened(&bastion);
    let (connected, _other) = UnixStream::pair().unwrap();
    let internet = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let file = std::fs::File::open("/dev/null").unwrap();
    let cases: [(&str, Stdio, &str); 5] = [
        ("door", again(&listener), "a socket named `door`, which jitd does not use\nhint: "),
        ("unknown", again(&listener), "a socket named `unknown`, which jitd does not use\nhint: "),
        (
            "api",
            OwnedFd::from(connected).into(),
            "the file descriptor `api` from systemd is not a listening Unix stream socket\nhint: ",
        ),
        (
            "api",
            OwnedFd::from(internet).into(),
            "the file descriptor `api` from systemd is not a listening Unix stream socket\nhint: ",
        ),
        ("api", file.into(), "the file descriptor `api` from systemd is not a listening Unix stream socket\nhint: "),
    ];
    for (name, handed, sentence) in cases {
        bastion.spawn_with(handing_over(name), handed);
        assert!(!bastion.ended_well());
        assert!(bastion.log().contains(sentence), "{name}: {}", bastion.log());
    }
}

// ---- notices ----

/// What the daemon tells systemd.
struct Notices(UnixDatagram);

impl Notices {
    /// A daemon that serves and tells, with these variables too.
    fn of(bastion: &mut Bastion<'_>, variables: &[&str]) -> Self {
        let path = bastion.dir.join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let mut program = Command::new("/usr/bin/env");
        program.arg(SURVIVES_A_FULL_DISK);
        program.arg(format!("NOTIFY_SOCKET={}", path.display())).args(variables).arg(root().join("bin/jitd"));
        bastion.serve_as(program);
        Self(socket)
    }

    /// The next one, if it comes within that time.
    fn next(&self, within: Duration) -> Option<String> {
        self.0.set_read_timeout(Some(within)).unwrap();
        let mut buffer = [0; 1024];
        self.0.recv(&mut buffer).ok().map(|length| text(&buffer[..length]))
    }

    /// Reads on until one has this in it.
    #[track_caller]
    fn until(&self, word: &str) {
        let mut before = Vec::new();
        let end = Instant::now() + Duration::from_secs(20);
        while let Some(told) = self.next(end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))) {
            if told.contains(word) {
                return;
            }
            before.push(told);
        }
        panic!("not told: {word}; but {before:?}");
    }

    /// For so long nothing has this in it.
    #[track_caller]
    fn never(&self, word: &str, within: Duration) {
        let end = Instant::now() + within;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let told = self.next(left).unwrap_or_default();
            assert!(!told.contains(word), "{told}");
        }
    }
}

const FED: &str = "WATCHDOG=1";

/// systemd wants to hear from the daemon in this time; it would end it after that.
const LIMIT: Duration = Duration::from_millis(1500);

fn watched(bastion: &mut Bastion<'_>) -> Notices {
    let notices = Notices::of(bastion, &[&format!("WATCHDOG_USEC={}", LIMIT.as_micros())]);
    notices.until("READY=1");
    notices
}

/// `systemctl status` says how many have access and how many wait, as it changes.
#[test]
fn the_status_counts_who_has_access_and_who_waits() {
    let mut bastion = prepared();
    let notices = Notices::of(&mut bastion, &[]);
    notices.until("READY=1\nSTATUS=0 live, 0 waiting");
    let key = Key::new();
    let grant = bastion.request(ALICE, &bastion.ask("5m"), &key);
    notices.until("STATUS=0 live, 1 waiting");
    assert_eq!(bastion.approve(BOB, &grant).0, 200);
    bastion.collect(&grant, key);
    notices.until("STATUS=1 live, 0 waiting");
    assert_eq!(bastion.post(ALICE, &path(&grant, "/end"), &Value::Null).0, 200);
    notices.until("STATUS=0 live, 0 waiting");
}

/// A start that has to rebuild the tables of a long trail extends its timeout; otherwise systemd would end it after
/// `TimeoutStartSec=`, and at the next start again.
#[test]
fn a_long_upgrade_of_the_trail_is_given_its_time() {
    let mut bastion = prepared();
    let path = bastion.dir.join("var/trail.db");
    let trail = Trail::open(&path).unwrap().trail;
    let at = Timestamp::from_second(1_700_000_000).unwrap();
    let facts = (0..10_000).map(|_| Author::Daemon.fact(at, None, Event::Stopped));
    tokio::runtime::Runtime::new().unwrap().block_on(trail.append(facts.collect(), None)).unwrap();
    trail.close();
    drop(trail);
    let earlier = "DROP TABLE closed; DROP TABLE watchers; ALTER TABLE grants DROP COLUMN at; PRAGMA user_version = 2;";
    rusqlite::Connection::open(path).unwrap().execute_batch(earlier).unwrap();
    let notices = Notices::of(&mut bastion, &[]);
    let first = notices.next(Duration::from_secs(20)).unwrap();
    assert!(first.starts_with("EXTEND_TIMEOUT_USEC="), "{first}");
    notices.until("READY=1");
}

/// It says too that nothing is given, from the moment that an operator says so, and after a restart at once.
#[test]
fn the_status_says_that_it_drains() {
    let mut bastion = prepared();
    let notices = Notices::of(&mut bastion, &[]);
    assert!(bastion.jitd(&["drain"]).status.success());
    notices.until("STATUS=draining: 0 live, 0 waiting");
    bastion.kill();
    std::fs::remove_file(bastion.dir.join("notify")).unwrap();
    let notices = Notices::of(&mut bastion, &[]);
    notices.until("READY=1\nSTATUS=draining: 0 live, 0 waiting");
    assert!(bastion.jitd(&["resume"]).status.success());
    notices.until("STATUS=0 live, 0 waiting");
}

/// A healthy daemon feeds the watchdog more than twice per timeout; without a watchdog, or with another process's, never.
#[test]
fn a_healthy_daemon_feeds_the_watchdog() {
    let mut bastion = prepared();
    let notices = watched(&mut bastion);
    notices.until(FED);
    let first = Instant::now();
    notices.until(FED);
    notices.until(FED);
    assert!(first.elapsed() < LIMIT, "{:?}", first.elapsed());
    // Who holds all the places that an account may have keeps others out for a while, and does not get the daemon ended.
    let crowd: Vec<_> = (0..400).map_while(|_| UnixStream::connect(bastion.socket()).ok()).collect();
    for _ in 0..6 {
        notices.until(FED);
    }
    drop(crowd);
    bastion.has_no_fault();
    bastion.kill();

    std::fs::remove_file(bastion.dir.join("notify")).unwrap();
    let another = Notices::of(&mut bastion, &["WATCHDOG_USEC=300000", "WATCHDOG_PID=1"]);
    another.until("READY=1");
    another.never(FED, LIMIT);
}

/// Another process holds the trail's lock, so that the writer can't begin: the watchdog starves and health is refused.
#[test]
fn the_watchdog_starves_while_the_store_is_locked() {
    let mut bastion = prepared();
    let notices = watched(&mut bastion);
    notices.until(FED);
    let intruder = rusqlite::Connection::open(bastion.dir.join("var/trail.db")).unwrap();
    intruder.execute_batch("BEGIN EXCLUSIVE").unwrap();
    notices.until("the trail does not answer");
    notices.never(FED, LIMIT);
    let (status, refused) = bastion.get(ROOT, "/healthz");
    assert_eq!((status, &refused["code"]), (503, &json!("trail-unavailable")));
    intruder.execute_batch("ROLLBACK").unwrap();
    notices.until(FED);
    notices.until("STATUS=0 live, 0 waiting");
    assert_eq!(bastion.get(ROOT, "/healthz").0, 200);
}

/// A full disk must not get the daemon killed, because it still removes access; `systemctl status` shows the fault until
/// something is recorded again.
#[test]
fn a_full_disk_is_shown_and_does_not_starve_the_watchdog() {
    let mut bastion = prepared();
    let notices = watched(&mut bastion);
    bastion.fill_disk();
    let asked = json!({ "ask": bastion.ask("1m"), "csr": Key::new().csr() });
    assert_eq!(bastion.post(ALICE, "/v1/grants", &asked).0, 503);
    notices.until("STATUS=0 live, 0 waiting; the trail could not be written: ");
    for _ in 0..6 {
        notices.until(FED);
    }
    assert_eq!(bastion.get(ROOT, "/healthz").0, 503);
    bastion.make_room();
    assert_eq!(bastion.post(ALICE, "/v1/grants", &asked).0, 201);
    assert_eq!(bastion.get(ROOT, "/healthz").0, 200);
    notices.until("STATUS=0 live, 1 waiting");
}

/// One thread of the daemon, stopped by a debugger while the others run on.
struct Stopped(Pid);

impl Stopped {
    fn of(bastion: &Bastion<'_>, name: &str) -> Self {
        let tasks = std::path::PathBuf::from(format!("/proc/{}/task", bastion.pid()));
        let mut threads = std::fs::read_dir(tasks).unwrap().map(|entry| entry.unwrap().path());
        let thread = threads.find(|thread| std::fs::read_to_string(thread.join("comm")).unwrap().trim() == name);
        Self::thread(thread.unwrap().file_name().unwrap().to_str().unwrap().parse().unwrap())
    }

    fn thread(number: i32) -> Self {
        let thread = Pid::from_raw(number);
        ptrace::attach(thread).unwrap();
        waitpid(thread, Some(WaitPidFlag::__WALL)).unwrap();
        Self(thread)
    }

    fn goes_on(self) {}
}

/// Also when an assertion fails meanwhile: a daemon that is killed is not gone before who traces one of its threads lets go.
impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = ptrace::detach(self.0, None);
    }
}

/// The writer hangs, as it does on a disk that does not answer.
#[test]
fn the_watchdog_starves_while_the_writer_hangs() {
    let mut bastion = prepared();
    let notices = watched(&mut bastion);
    notices.until(FED);
    let writer = Stopped::of(&bastion, "trail");
    notices.until("the trail does not answer");
    notices.never(FED, LIMIT);
    assert_eq!(bastion.get(ROOT, "/healthz").0, 503);
    writer.goes_on();
    notices.until(FED);
    notices.until("STATUS=0 live, 0 waiting");
}

/// The daemon accepts no connection any more, while the rest of it runs: calls would wait forever.
#[test]
fn the_watchdog_starves_while_nobody_accepts() {
    let mut bastion = prepared();
    let notices = watched(&mut bastion);
    notices.until(FED);
    // The accept loop is the main thread's.
    let loop_of_accepts = Stopped::thread(i32::try_from(bastion.pid()).unwrap());
    notices.until("the daemon does not answer on its own socket");
    notices.never(FED, LIMIT);
    loop_of_accepts.goes_on();
    notices.until(FED);
    notices.until("STATUS=0 live, 0 waiting");
    assert_eq!(bastion.get(ROOT, "/healthz").0, 200);
}

// ---- the process ----

/// In a user namespace with two accounts everybody would be the same person; the daemon says so and exits.
#[test]
fn a_user_namespace_without_the_hosts_accounts_is_refused() {
    let mut bastion = prepared();
    let mut program = Command::new("unshare");
    program.args(["--user", "--map-root-user"]).arg(root().join("bin/jitd"));
    bastion.spawn_with(program, Stdio::null());
    assert!(!bastion.ended_well());
    let log = bastion.log();
    assert!(log.contains("maps only 1 accounts") && log.contains("hint: run it without `PrivateUsers=`"), "{log}");
    assert!(!bastion.socket().exists());
    assert!(!bastion.dir.join("var/trail.db").exists());
}

/// As an account without rights, as the unit has it: nobody else of that account looks into the daemon, there is no core
/// of it, and the kernel still tells it who calls.
#[test]
fn its_memory_is_private_also_to_its_own_account() {
    let mut bastion = prepared();
    let account = "420077";
    let owned = Command::new("chown").args(["-R", account]).arg(&bastion.dir).status().unwrap();
    assert!(owned.success());
    let mut program = Command::new("setpriv");
    program.args(["--reuid", account, "--regid", account, "--clear-groups"]).arg(root().join("bin/jitd"));
    bastion.serve_as(program);
    let access = bastion.live(&bastion.ask("5m"));
    assert_eq!(bastion.look(&access, &bastion.ns), 200);

    let process = std::path::PathBuf::from(format!("/proc/{}", bastion.pid()));
    let status = std::fs::read_to_string(process.join("status")).unwrap();
    assert!(status.contains(&format!("Uid:\t{account}\t{account}")), "{status}");
    // What can't be dumped has files of root's here (proc(5), PR_SET_DUMPABLE).
    assert_eq!(std::fs::metadata(process.join("environ")).unwrap().uid(), 0);
    let limits = std::fs::read_to_string(process.join("limits")).unwrap();
    let core: Vec<&str> =
        limits.lines().find(|line| line.starts_with("Max core file size")).unwrap().split_whitespace().collect();
    assert_eq!(core[4..6], ["0", "0"]);
    let look = Command::new("setpriv")
        .args(["--reuid", account, "--regid", account, "--clear-groups", "cat"])
        .arg(process.join("environ"))
        .output()
        .unwrap();
    assert!(!look.status.success() && text(&look.stderr).contains("Permission denied"));
    bastion.has_no_fault();
}

// ---- the journal ----

/// A journald of the test's own in a mount namespace of the daemon's own; it ends with the daemon.
const JOURNALD: &str = r#"
mount -t tmpfs jitd-it /run
mkdir -p /run/systemd/journal "/run/log/journal/$(cat /etc/machine-id)"
setpriv --pdeathsig KILL /lib/systemd/systemd-journald >/dev/null 2>&1 &
until [ -S /run/systemd/journal/stdout ]; do :; done
exec systemd-cat sh -c 'JOURNAL_STREAM=$(stat -Lc %d:%i /dev/stderr) exec "$0" "$@"' "$0" "$@"
"#;

/// `program` of the tests', with a journal of its own as its stderr.
fn with_a_journal(program: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", JOURNALD]).arg(root().join("bin").join(program));
    command
}

/// What the journal of the program with this pid has.
fn journal(pid: u32, filter: &str) -> Vec<Value> {
    let mut journalctl = Command::new("nsenter");
    journalctl.args(["--mount", "--target", &pid.to_string(), "journalctl"]);
    journalctl.args(["--directory=/run/log/journal", "--output=json", "--no-pager", filter]);
    let told = journalctl.output().unwrap();
    text(&told.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The other programs log the same way, so that what one of them says about a grant is found with what jitd says.
#[test]
fn the_journal_finds_a_grant_in_the_gateways_log() {
    let mut front = Front::start();
    front.kill();
    front.serve_as(with_a_journal("jit-gateway"));
    let id = front.live("view");
    front.says(ALICE, &["end", &id]);
    let line = until("its line is in the journal", || journal(front.pid(), &format!("JITD_GRANT={id}")).pop());
    assert_eq!((&line["SYSLOG_IDENTIFIER"], &line["PRIORITY"]), (&json!("jit-gateway"), &json!("6")), "{line}");
    assert!(line["MESSAGE"].as_str().unwrap().starts_with(&format!("cut grant={id}")), "{line}");
}

/// Each line has its fields, so that everything about a grant is found by it, and reads as a line does.
#[test]
fn the_journal_finds_a_grant_by_its_fields() {
    let mut bastion = prepared();
    bastion.serve_as(with_a_journal("jitd"));
    let access = bastion.live(&bastion.ask("5m"));
    let id = access.grant["id"].as_str().unwrap().to_owned();
    let found = |filter: &str| journal(bastion.pid(), filter);
    let lines = until("its lines are in the journal", || {
        let lines = found(&format!("JITD_GRANT={id}"));
        (lines.len() >= 2).then_some(lines)
    });
    let (first, last) = (&lines[0], &lines[lines.len() - 1]);
    assert!(
        first["MESSAGE"].as_str().unwrap().starts_with(&format!("requested grant={id} requester=alice")),
        "{first}"
    );
    assert!(last["MESSAGE"].as_str().unwrap().starts_with(&format!("live grant={id}")), "{last}");
    for line in [first, last] {
        assert_eq!((&line["JITD_REQUESTER"], &line["PRIORITY"]), (&json!("alice"), &json!("6")));
        assert_eq!(line["SYSLOG_IDENTIFIER"], "jitd");
    }
    // A fault is told as one.
    bastion.write_policy("rules: 1\n");
    assert!(Command::new("kill").args(["-s", "HUP", &bastion.pid().to_string()]).status().unwrap().success());
    until("the fault is in the journal", || found("JITD_FAULTS=1").pop().filter(|line| line["PRIORITY"] == "3"));
    assert_eq!(bastion.log(), "", "it is told once");
}

/// A daemon that inherits the variable but has another stderr logs to stderr.
#[test]
fn another_stderr_than_the_journals_gets_the_log() {
    let mut bastion = prepared();
    let mut program = Command::new("/usr/bin/env");
    program.arg("JOURNAL_STREAM=1:1").arg(root().join("bin/jitd"));
    bastion.serve_as(program);
    until("it is told", || bastion.log().contains(" INFO ").then_some(()));
}
