//! What fails around the gateway, and what people see of it: the API server, the clock, the disk, the feed, the gateway
//! itself, and clients that stop reading. In each case another grant goes on.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};

use crate::bastion::{ALICE, Options, text};
use crate::gateway::{Front, with_a_pod};
use crate::plane::{Plane, root, until, until_within};

/// A connection to the gateway that the test holds: HTTP/1.1, one request after the other.
pub(crate) struct Wire {
    tls: StreamOwned<ClientConnection, TcpStream>,
    read: Vec<u8>,
}

/// How long an answer may take, and a connection that has to end.
const PATIENCE: Duration = Duration::from_secs(15);

impl Wire {
    pub(crate) fn open(front: &Front<'_>, [chain, key]: &[String; 2]) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(front.serving_root()).unwrap()).unwrap();
        let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<_, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let config = ClientConfig::builder().with_root_certificates(roots).with_client_auth_cert(chain, key).unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let tcp = TcpStream::connect(("127.0.0.1", front.port)).unwrap();
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { tls: StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), tcp), read: Vec::new() }
    }

    fn ask(&mut self, path: &str) {
        write!(self.tls, "GET {path} HTTP/1.1\r\nHost: gateway\r\n\r\n").unwrap();
        self.tls.flush().unwrap();
    }

    /// Asks for an exec, which has to begin.
    pub(crate) fn upgrade(&mut self, path: &str) {
        let head = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13";
        let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
        let protocol = "Sec-WebSocket-Protocol: v5.channel.k8s.io";
        write!(self.tls, "GET {path} HTTP/1.1\r\nHost: gateway\r\n{head}\r\n{key}\r\n{protocol}\r\n\r\n").unwrap();
        self.tls.flush().unwrap();
        self.until("HTTP/1.1 101 ");
    }

    /// Sends bytes; false if the other side takes no more.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> bool {
        self.tls.write_all(bytes).and_then(|()| self.tls.flush()).is_ok()
    }

    /// The status and the body of a whole answer.
    fn get(&mut self, path: &str) -> (u16, String) {
        self.ask(path);
        self.until("\r\n\r\n");
        let all = text(&self.read);
        let (head, _) = all.split_once("\r\n\r\n").unwrap();
        let head = head.to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        match length {
            Some(length) => {
                while self.read.len() < head.len() + 4 + length {
                    self.more();
                }
            }
            None => self.until("\r\n0\r\n\r\n"),
        }
        let body = text(&self.read).split_off(head.len() + 4);
        self.read.clear();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body)
    }

    /// Reads until these words have come.
    fn until(&mut self, words: &str) {
        while !text(&self.read).contains(words) {
            self.more();
        }
    }

    fn more(&mut self) {
        let mut part = [0; 16 * 1024];
        let count = self.tls.read(&mut part).unwrap();
        assert_ne!(count, 0, "the connection ended after {}", text(&self.read));
        self.read.extend_from_slice(&part[..count]);
    }

    /// Reads until the connection ends, which it has to, and returns what was left.
    fn rest(mut self) -> String {
        let mut part = [0; 16 * 1024];
        loop {
            match self.tls.read(&mut part) {
                Ok(0) => break,
                Ok(count) => self.read.extend_from_slice(&part[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    panic!("still open after {PATIENCE:?}: {}", text(&self.read))
                }
                // Reset.
                Err(_) => break,
            }
        }
        text(&self.read)
    }
}

/// A watch of a grant, which shows that the grant goes on.
struct Watch(Wire);

impl Watch {
    fn of(front: &Front<'_>, grant: &str) -> Self {
        let mut wire = Wire::open(front, &front.credential(grant));
        wire.ask(&format!("{}?watch=1", configmaps(front)));
        wire.until("HTTP/1.1 200 OK\r\n");
        Self(wire)
    }

    /// Something happens, and the watch shows it.
    fn goes_on(&mut self, front: &Front<'_>, name: &str) {
        front.bastion.admin.create(&configmaps(front), &json!({ "metadata": { "name": name } }));
        self.0.until(&format!("\"name\":\"{name}\""));
    }

    /// It ends, and not as a whole answer does.
    fn breaks(self) {
        let left = self.0.rest();
        assert!(!left.ends_with("0\r\n\r\n"), "the answer came to its end: {left}");
    }
}

fn configmaps(front: &Front<'_>) -> String {
    format!("/api/v1/namespaces/{}/configmaps", front.bastion.ns)
}

/// An API server that is killed breaks what runs on it, and nothing of another cluster. Requests are answered with its
/// cluster's name; when it is back, the same connections work again.
#[test]
fn connections_outlive_the_api_server() {
    let plane = Plane::to_stop();
    let front = Front::with(&plane, Some(Plane::shared()), Options::default().times);
    let (grant, away) = (front.live("view"), front.live_in("away", "view", "5m"));
    let mut kept = Wire::open(&front, &front.credential(&grant));
    let path = configmaps(&front);
    assert_eq!(kept.get(&path).0, 200);
    let mut elsewhere = Wire::open(&front, &front.credential(&away));
    elsewhere.ask(&format!("{path}?watch=1"));
    elsewhere.until("HTTP/1.1 200 OK\r\n");
    let watch = Watch::of(&front, &grant);
    let home = front.bastion.home(ALICE);
    assert!(
        front.kubectl(&grant, &["get", "configmaps"]).env("KUBECACHEDIR", &home).output().unwrap().status.success()
    );

    plane.stop_api_server();
    watch.breaks();
    let (status, why) = kept.get(&path);
    assert_eq!(status, 502, "{why}");
    assert!(why.contains("\"message\":\"jit: cluster play: "), "{why}");
    // Whether it knows already what the API server has, or has to ask.
    for home in [home.clone(), home.join("new")] {
        let refused = front.kubectl(&grant, &["get", "configmaps"]).env("KUBECACHEDIR", home).output().unwrap();
        let why = text(&refused.stderr);
        assert!(!refused.status.success() && why.contains("jit: cluster play: "), "{why}");
    }
    Plane::shared().admin().create(&path, &json!({ "metadata": { "name": "meanwhile" } }));
    elsewhere.until("\"name\":\"meanwhile\"");

    plane.start_api_server();
    until("it answers on the same connection", || (kept.get(&path).0 == 200).then_some(()));
    assert!(front.kubectl_says(&grant, &["get", "configmaps", "-o", "name"]).contains("configmap/seen"));
    front.says(ALICE, &["end", &grant]);
    assert_eq!(kept.rest(), "", "it is cut with its grant");
    Plane::shared().admin().create(&path, &json!({ "metadata": { "name": "afterwards" } }));
    elsewhere.until("\"name\":\"afterwards\"");
}

/// The clock of the host, which a test can set, for the daemon and the gateway. The time that passes is not changed.
pub(crate) struct Clock(std::path::PathBuf);

impl Clock {
    /// A clock that is right, in a file of this folder.
    pub(crate) fn right(folder: &std::path::Path) -> Self {
        let clock = Self(folder.join("clock"));
        clock.is_off_by("+0");
        clock
    }

    fn start(front: &mut Front<'_>) -> Self {
        let clock = Self::right(&front.bastion.dir);
        front.kill();
        front.bastion.kill();
        front.bastion.serve_as(clock.under("jitd"));
        front.serve_as(clock.under("jit-gateway"));
        clock
    }

    pub(crate) fn is_off_by(&self, seconds: &str) {
        // Renamed, because it is read all the time.
        let new = self.0.with_extension("new");
        std::fs::write(&new, seconds).unwrap();
        std::fs::rename(&new, &self.0).unwrap();
    }

    pub(crate) fn under(&self, program: &str) -> Command {
        // Where the distribution has the library is what faketime(1) knows; the program itself would be its child.
        let library = Command::new("faketime").args(["-f", "+0", "printenv", "LD_PRELOAD"]).output().unwrap();
        let mut command = Command::new(root().join("bin").join(program));
        command.env("LD_PRELOAD", text(&library.stdout).trim()).env("FAKETIME_TIMESTAMP_FILE", &self.0);
        command.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        command
    }
}

/// A clock that is set back lengthens no window, neither for streams nor for connections that come later; one that is set
/// forward ends what is over by it, and nothing else.
#[test]
fn a_clock_that_is_set_changes_no_window_for_the_longer() {
    let mut front = Front::start();
    let clock = Clock::start(&mut front);
    let (longest, long) = (front.live_in("play", "view", "10m"), front.live_in("play", "view", "5m"));
    let begun = Instant::now();
    let short = front.live_in("play", "view", "15s");
    let credential = front.credential(&short);
    let (mut stays, middle) = (Watch::of(&front, &longest), Watch::of(&front, &long));
    let watch = Watch::of(&front, &short);
    // Less than what a certificate is backdated by, so that it does not end things by not being valid yet.
    clock.is_off_by("-20");
    watch.breaks();
    let lasted = begun.elapsed();
    assert!(lasted < Duration::from_secs(25), "{lasted:?}");
    let over = begun + Duration::from_secs(18);
    until_within(Duration::from_secs(20), "the window is over", || (Instant::now() > over).then_some(()));
    let (status, why) = Wire::open(&front, &credential).get("/version");
    assert!(status == 403 && why.contains(&format!("jit: grant {short} is not live")), "{status} {why}");
    stays.goes_on(&front, "later");

    clock.is_off_by("+360");
    middle.breaks();
    stays.goes_on(&front, "still");
}

/// On a full disk the daemon cannot record an end. What runs is cut all the same, and does not come back with another
/// connection of the gateway; the trail gets the end when there is room again.
#[test]
fn a_full_disk_keeps_no_stream_alive() {
    let mut front = Front::start();
    let before = front.connections();
    front.bastion.kill();
    front.bastion.serve_on_a_small_disk();
    front.connected_after(before);
    let (one, other) = (front.live("view"), front.live("view"));
    let credential = front.credential(&one);
    let (watch, mut stays) = (Watch::of(&front, &one), Watch::of(&front, &other));
    front.bastion.fill_disk();
    let refused = front.bastion.login(ALICE, &["end", &one]);
    assert!(!refused.status.success(), "{}", text(&refused.stdout));
    watch.breaks();
    stays.goes_on(&front, "full");

    front.kill();
    front.serve();
    // The ledger still says that it is live, and the gateway is told otherwise.
    let (status, why) = Wire::open(&front, &credential).get(&configmaps(&front));
    assert!(status == 403 && why.contains("is not live"), "{status} {why}");
    let mut stays = Watch::of(&front, &other);
    front.bastion.make_room();
    until_within(Duration::from_secs(60), "the trail has the end", || {
        front
            .bastion
            .trail()
            .iter()
            .any(|entry| entry["grant"] == *one && entry["event"]["kind"] == "ended")
            .then_some(())
    });
    stays.goes_on(&front, "room");
}

/// Without its socket the feed goes on for who is connected: ends are told. A gateway that comes later waits until the
/// socket is there again.
#[test]
fn a_feed_without_its_socket_goes_on() {
    let mut front = Front::start();
    let (one, other) = (front.live("view"), front.live("view"));
    let (watch, mut stays) = (Watch::of(&front, &one), Watch::of(&front, &other));
    std::fs::remove_file(front.bastion.dir.join("run/feed.sock")).unwrap();
    front.says(ALICE, &["end", &one]);
    watch.breaks();
    assert_eq!(front.end_of(&one)["event"]["cut"], 1);
    stays.goes_on(&front, "afterwards");

    front.kill();
    stays.breaks();
    let before = front.connections();
    front.spawn_as(Command::new(root().join("bin/jit-gateway")));
    until("it says what it waits for", || front.log().contains("no word from jitd").then_some(()));
    let refused = front.bastion.login(ALICE, &["wait", &front.approved("play", "view", "5m")]);
    let why = text(&refused.stderr);
    assert!(!refused.status.success() && why.contains("jit-gateway is not connected"), "{why}");
    front.bastion.kill();
    front.bastion.serve();
    front.connected_after(before);
    Watch::of(&front, &other).goes_on(&front, "back");
}

/// A gateway that is killed takes all streams with it. What was approved meanwhile is collected when it is back, and what
/// was live works again.
#[test]
fn a_gateway_that_is_killed_leaves_nothing_open() {
    let mut front = Front::start();
    let (one, other) = (front.live("view"), front.live("view"));
    let watches = [Watch::of(&front, &one), Watch::of(&front, &other)];
    front.kill();
    watches.into_iter().for_each(Watch::breaks);
    let approved = front.approved("play", "view", "5m");
    let refused = front.bastion.login(ALICE, &["wait", &approved]);
    let why = text(&refused.stderr);
    assert!(!refused.status.success() && why.contains("jit-gateway is not connected"), "{why}");
    front.says(ALICE, &["end", &one]);
    front.serve();
    until_within(Duration::from_secs(20), "the approval stood", || {
        front.bastion.login(ALICE, &["wait", &approved]).status.success().then_some(())
    });
    for grant in [&other, &approved] {
        Watch::of(&front, grant).goes_on(&front, &format!("by-{grant}"));
    }
    assert!(!front.kubectl(&one, &["get", "configmaps"]).output().unwrap().status.success());
}

/// Clients that stop reading a log cost nobody else anything: another grant's requests are as quick as before, the
/// gateway's memory stays as it is, and the end of the grant is none the slower for them.
#[test]
fn readers_that_stop_hold_up_nobody() {
    let front = Front::start();
    // More than all buffers on the way.
    let script = "head -c 40000000 /dev/zero | tr '\\0' x | fold -w 1000; echo; echo full; exec sleep 300";
    let grant = with_a_pod(&front, script);
    let other = front.live("view");
    let mut get = Wire::open(&front, &front.credential(&other));
    let path = configmaps(&front);
    let mut slowest_of_twenty = || {
        let time = |_| {
            let begun = Instant::now();
            assert_eq!(get.get(&path).0, 200);
            begun.elapsed()
        };
        (0..20).map(time).max().unwrap()
    };
    let before = slowest_of_twenty();
    let memory = memory_of(front.pid());
    // Nobody reads what they write after their first line, so they read nothing either.
    let stopped: Vec<_> = (0..5).map(|_| front.streams(&grant, &["logs", "-f", "web-0"])).collect();
    until_within(Duration::from_secs(30), "the log is written", || {
        (front.kubectl_says(&grant, &["logs", "web-0", "--tail=1"]) == "full\n").then_some(())
    });
    let during = slowest_of_twenty();
    assert!(during < before * 4 + Duration::from_millis(500), "{before:?}, then {during:?}");
    let grown = memory_of(front.pid()).saturating_sub(memory);
    assert!(grown < 64_000_000, "{grown} bytes more");
    let begun = Instant::now();
    front.says(ALICE, &["end", &grant]);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(front.end_of(&grant)["event"]["cut"], 5);
    for (mut logs, mut out) in stopped {
        let mut rest = Vec::new();
        out.read_to_end(&mut rest).unwrap();
        assert!(rest.len() < 40_000_000, "all of it came, though its grant had ended");
        assert!(!logs.wait().unwrap().success());
    }
    assert_eq!(get.get(&path).0, 200);
}

/// Resident memory of a process, in bytes.
pub(crate) fn memory_of(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// What the API server tells the daemon is not enough: a grant is live when the API server allows it to the holder through the
/// gateway's own connection. Whoever waits reads why it does not, and nothing of the grant is left.
#[test]
fn a_grant_that_does_not_work_through_the_gateway_is_not_live() {
    let front = Front::start();
    let before = front.live("view");
    let works = || front.kubectl(&before, &["get", "configmaps"]).output().unwrap().status.success();
    assert!(works());
    let path = front.bastion.dir.join("gateway.kubeconfig");
    let good = std::fs::read(&path).unwrap();
    // A user of the cluster who is not the one that the daemon gives the right to.
    let mut other: Value = serde_json::from_slice(&good).unwrap();
    other["users"][0]["user"]["token"] = json!(front.bastion.plane.token("jit-gateway"));
    std::fs::write(&path, other.to_string()).unwrap();
    until("the gateway is the other user", || (!works()).then_some(()));
    let grant = front.approved("play", "view", "5m");
    let waited = front.bastion.login(ALICE, &["wait", &grant]);
    let why = text(&waited.stderr);
    let said = "does not work through jit-gateway: the API server does not let the gateway act for the holder";
    assert!(!waited.status.success() && why.contains(said), "{why}");
    let ended = &front.end_of(&grant)["event"];
    assert_eq!(ended["why"], "failed", "{ended}");
    let trail = front.bastion.trail();
    let facts: Vec<_> = trail.iter().filter(|fact| fact["grant"] == *grant).map(|fact| &fact["event"]).collect();
    assert!(facts.iter().any(|event| event["reason"].as_str().is_some_and(|why| why.contains(said))), "{facts:?}");
    assert!(facts.iter().all(|event| event["kind"] != "live"), "{facts:?}");
    std::fs::write(&path, good).unwrap();
    until("the gateway is its own user again", || works().then_some(()));
    front.live("view");
}
