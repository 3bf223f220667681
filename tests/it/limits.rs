//! What a caller can send, how much and how slowly. Everything else is refused with a problem document, leaves nothing in
//! the trail, and does not delay other callers.
//!
//! For what is below HTTP, this process connects itself. It is root, which the daemon treats like any other account until
//! it identifies the caller.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bastion::{ALICE, BOB, Bastion, Key, Options, ROOT, path, text};
use crate::plane::{Plane, until, until_within};

/// The longest body that the daemon reads.
const LONGEST_BODY: usize = 32 * 1024;

/// How long a head may take to arrive.
const HEAD: Duration = Duration::from_secs(10);

/// Checks that a refusal is a problem document: its fields, its content type, its status, and no control characters.
#[track_caller]
fn is_problem(what: &str, output: &std::process::Output, status: u16, code: &str) {
    assert!(output.status.success(), "{what}: {}", text(&output.stderr));
    let told = text(&output.stdout);
    let (body, end) = told.rsplit_once('\n').unwrap();
    assert_eq!(end, format!("{status} application/problem+json"), "{what}: {body}");
    let problem: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{what}: {body}"));
    assert_eq!((&problem["code"], &problem["status"]), (&json!(code), &json!(status)), "{what}: {body}");
    let fields = problem.as_object().unwrap();
    assert!(
        fields.keys().all(|field| ["code", "status", "detail", "hint"].contains(&field.as_str())),
        "{what}: {body}"
    );
    for field in fields.values().filter_map(Value::as_str) {
        assert!(field.chars().count() < 1500, "{what}: {body}");
        assert!(!field.chars().any(|c| c.is_control() || matches!(c, '\u{202A}'..='\u{202E}')), "{what}: {body}");
    }
}

/// A body that is too long, too deeply nested, malformed or of another content type is refused.
#[test]
fn a_malformed_body_is_refused() {
    let bastion = Bastion::start();
    let key = Key::new();
    let good = json!({ "ask": bastion.ask("5m"), "csr": key.csr() });
    let before = bastion.trail();
    let send = |what: &str, arguments: &[&str], body: &[u8], status, code| {
        let mut all = vec!["--request", "POST", "--data-binary", "@-", "http://jitd/v1/grants"];
        all.extend(arguments);
        is_problem(what, &bastion.curl(ALICE, &all, body), status, code);
    };
    let as_json = ["--header", "content-type: application/json"];
    let text = good.to_string();

    for kind in [
        "content-type:",
        "content-type: text/plain",
        "content-type: application/jsonp",
        "content-type: application/json-patch+json",
    ] {
        send(kind, &["--header", kind], text.as_bytes(), 415, "malformed");
    }
    let padded = |length: usize| format!("{text}{}", " ".repeat(length - text.len()));
    send("one byte too many", &as_json, padded(LONGEST_BODY + 1).as_bytes(), 413, "too-large");
    let chunked = [&as_json[..], &["--header", "transfer-encoding: chunked"]].concat();
    send("too many chunks", &chunked, padded(2 * LONGEST_BODY).as_bytes(), 413, "too-large");
    let long = text.replace("INC-42", &"INC-42".repeat(200_000));
    send("a reason of a megabyte", &as_json, long.as_bytes(), 413, "too-large");

    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(4_000), close.repeat(4_000));
    let csr = json!(key.csr()).to_string();
    let ask = good["ask"].to_string();
    let whole = |ask: &str, csr: &str| format!(r#"{{"ask":{ask},"csr":{csr}}}"#);
    let forms: &[(&str, String)] = &[
        ("nothing", String::new()),
        ("no JSON", "grant me".to_owned()),
        ("no object", "[1, 2]".to_owned()),
        ("a list in place of fields", format!("[{ask},{csr}]")),
        ("a list in place of fields within", whole(r#"["play",null,true,"view","5m","INC-1"]"#, &csr)),
        ("deep lists", deep("[", "]")),
        ("deep objects", deep(r#"{"ask":"#, "}")),
        ("deep in a field", whole(&deep("[", "]"), &csr)),
        ("deep in an unknown field", format!(r#"{{"more":{},"ask":{ask},"csr":{csr}}}"#, deep("[", "]"))),
        ("two bodies", format!("{text}{text}")),
        ("a byte order mark", format!("\u{feff}{text}")),
        ("a half", text[..text.len() / 2].to_owned()),
        ("a key twice", format!(r#"{{"ask":{ask},"csr":{csr},"csr":{csr}}}"#)),
        ("a key twice within", whole(&ask.replacen('{', r#"{"role":"edit","#, 1), &csr)),
        ("an unknown field", format!(r#"{{"ask":{ask},"csr":{csr},"requester":"bob"}}"#)),
        ("an unknown field within", whole(&ask.replacen('{', r#"{"user":"bob","#, 1), &csr)),
        ("another spelling of a field", whole(&ask.replace("\"role\"", "\"Role\""), &csr)),
        ("a field missing", format!(r#"{{"ask":{ask}}}"#)),
        ("null", whole(&ask, "null")),
        ("a number", whole(&ask.replace("\"5m\"", "300"), &csr)),
        ("half a surrogate", whole(&ask.replace("INC-42", r"INC-42\ud800"), &csr)),
        ("a NUL", whole(&ask.replace("INC-42", "INC-42\0"), &csr)),
    ];
    for (what, body) in forms {
        send(what, &as_json, body.as_bytes(), 400, "malformed");
    }
    let mut broken = text.clone().into_bytes();
    let place = text.find("INC-42").unwrap();
    broken[place] = 0xC3;
    send("invalid UTF-8", &as_json, &broken, 400, "malformed");
    assert_eq!(bastion.trail(), before);

    // A body of the maximum length is accepted.
    let all = [&["--request", "POST", "--data-binary", "@-", "http://jitd/v1/grants"], &as_json[..]].concat();
    let taken = bastion.curl(ALICE, &all, padded(LONGEST_BODY).as_bytes());
    assert!(String::from_utf8_lossy(&taken.stdout).ends_with("\n201 application/json"));
    bastion.has_no_fault();
}

/// Each word of a request has the required form or is refused. Control characters are never accepted, and are shown only
/// escaped.
#[test]
fn a_malformed_word_is_refused() {
    let bastion = Bastion::start();
    let key = Key::new();
    let grant = bastion.request(ALICE, &bastion.ask("5m"), &key);
    let before = bastion.trail();
    let long = "x".repeat(501);
    let reasons = [
        "",
        " ",
        "\t",
        "a\u{1b}[2Jb",
        "a\nb",
        "a\rb",
        "a\u{0}b",
        "a\u{7f}b",
        "a\u{9b}31mb",
        "a\u{202e}b",
        "a\u{2066}b",
        "a\u{200b}b",
        "a\u{feff}b",
        "a\u{e0041}b",
        "a\u{2028}b",
        &long,
    ];
    let words: [(&str, &[&str]); 5] = [
        ("cluster", &["", "PLAY", "play.", "../play", "play\n", &long]),
        ("namespaces", &["", "..", "../kube-system", "a/b", "Kube", "a%2fb", "-a", "\u{430}lice", &long]),
        (
            "role",
            &[
                "",
                "..",
                ".",
                "a/b/c",
                "role/",
                "role/../x",
                "system:masters",
                "SYSTEM:x",
                "role/system:x",
                "v\u{456}ew",
                &long,
            ],
        ),
        ("duration", &["", "0s", "4s", "-5m", "5", "5m5", "1w", "24h1s", "999999999999999h", "5 m", "٥m", &long]),
        ("reason", &reasons),
    ];
    let send = |what: &str, path: &str, body: &Value| {
        let url = format!("http://jitd{path}");
        let arguments =
            ["--request", "POST", "--header", "content-type: application/json", "--data-binary", "@-", &url];
        is_problem(what, &bastion.curl(ALICE, &arguments, body.to_string().as_bytes()), 400, "malformed");
    };
    for (field, values) in words {
        for value in values {
            let mut ask = bastion.ask("5m");
            ask[field] = if field == "namespaces" { json!([value]) } else { json!(value) };
            let what = format!("{field} {value:?}");
            send(&what, "/v1/grants", &json!({ "ask": ask, "csr": key.csr() }));
            // An explanation may be requested before there is a reason.
            if (field, *value) != ("reason", "") {
                send(&what, "/v1/explain", &ask);
            }
        }
    }
    let mut both = bastion.ask("5m");
    both["clusterWide"] = json!(true);
    send("a namespace and the whole cluster", "/v1/explain", &both);
    both.as_object_mut().unwrap().remove("namespaces");
    both["clusterWide"] = json!(false);
    send("neither", "/v1/explain", &both);
    for reason in reasons {
        for action in ["/deny", "/revoke"] {
            send(&format!("{action} {reason:?}"), &path(&grant, action), &json!({ "reason": reason }));
        }
    }
    assert_eq!(bastion.trail(), before);
    bastion.has_no_fault();
}

/// Malformed ids, paths, methods and queries match no grant and no route.
#[test]
fn a_malformed_path_matches_no_route() {
    let bastion = Bastion::start();
    let grant = bastion.request(ALICE, &bastion.ask("5m"), &Key::new());
    let id = grant["id"].as_str().unwrap();
    let before = bastion.trail();
    let try_path = |method: &str, path: &str, status, code| {
        let url = format!("http://jitd{path}");
        let shown: String = path.chars().take(100).collect();
        let arguments = ["--path-as-is", "--globoff", "--request", method, &url];
        is_problem(&format!("{method} {shown}"), &bastion.curl(ALICE, &arguments, b""), status, code);
    };
    let (long, very_long) = ("0".repeat(17), "0".repeat(20_000));
    let other_case = id.to_uppercase();
    let odd = [
        &long,
        &very_long,
        &other_case,
        "..",
        ".",
        "%2e%2e",
        "%2e%2e%2fgrants",
        "..%2f..%2fetc",
        "%00",
        "%0a",
        "%1b%5b2J",
        "%ff",
        "%c3%28",
        "%e2%80%ae",
        "%",
        "%zz",
        "a%20b",
        "*",
        "'",
        "%27%20OR%201=1",
        "%25",
        "0000%00",
        "____",
        "0000000000000000",
    ];
    for id in odd {
        try_path("GET", &format!("/v1/grants/{id}"), 404, "no-such-grant");
        try_path("POST", &format!("/v1/grants/{id}/end"), 404, "no-such-grant");
    }
    // Another spelling is the same id, and nothing else.
    let spelt = format!("http://jitd/v1/grants/%{:02x}{}", id.as_bytes()[0], &id[1..]);
    assert!(text(&bastion.curl(ALICE, &[&spelt], b"").stdout).ends_with("\n200 application/json"));
    for path in [
        "/",
        "//",
        "/v1",
        "/v1/",
        "/v1/grants/",
        "//v1/grants",
        "/v1//grants",
        "/v1/grants/../grants",
        "/v1/./grants",
        "/V1/grants",
        "/v1/grants%2f0000",
        "/v1/grants/0000/approve/",
        "/v1/grants/0000/sign",
        "/v1/../metrics",
        "/metrics/",
        "/v2/grants",
        "/%00",
    ] {
        try_path("GET", path, 404, "no-such-route");
    }
    for method in ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW", "get"] {
        try_path(method, "/v1/grants", 405, "no-such-route");
        try_path(method, &path(&grant, ""), 405, "no-such-route");
        try_path(method, &path(&grant, "/approve"), 405, "no-such-route");
    }
    for query in [
        "limit=-1",
        "limit=x",
        "limit=99999999999999999999999",
        "limit=1&limit=2",
        "all=yes",
        "mine=true",
        "all",
        "limit=%ff",
    ] {
        try_path("GET", &format!("/v1/grants?{query}"), 400, "malformed");
    }
    for query in [
        "",
        "phase=live&phase=live",
        "timeout=1",
        "phase=live&timeout=-1",
        "phase=live&then=x",
        "phase=live&agreed=two",
    ] {
        try_path("GET", &format!("{}?{query}", path(&grant, "/wait")), 400, "malformed");
    }
    let with_body = |method: &str, path: &str| {
        let url = format!("http://jitd{path}");
        let arguments =
            ["--request", method, "--header", "content-type: application/json", "--data-binary", "{}", &url];
        is_problem(&format!("{method} {path} with a body"), &bastion.curl(ALICE, &arguments, b""), 400, "malformed");
    };
    with_body("GET", "/v1/whoami");
    with_body("GET", &path(&grant, ""));
    with_body("POST", &path(&grant, "/withdraw"));
    assert_eq!(bastion.trail(), before);
    bastion.has_no_fault();
}

/// HEAD is GET without the body; HTTP/1.0 is served, and pipelined requests are answered separately, in order.
#[test]
fn other_forms_of_http_1_are_served() {
    let bastion = Bastion::start();
    let head = bastion.curl(ALICE, &["--head", "http://jitd/v1/whoami"], b"");
    assert!(text(&head.stdout).starts_with("HTTP/1.1 200 OK\r\n"));
    let head = bastion.curl(ALICE, &["--head", "http://jitd/v1/explain"], b"");
    assert!(text(&head.stdout).starts_with("HTTP/1.1 405 "));
    let old = bastion.curl(ALICE, &["--http1.0", "http://jitd/v1/whoami"], b"");
    assert!(text(&old.stdout).contains(r#""name":"alice""#));

    let mut wire = connect(&bastion);
    let grant = format!("POST /v1/grants HTTP/1.1\r\nhost: jitd\r\ncontent-length: {}\r\n\r\n{}", 20, "x".repeat(20));
    let mut said = String::new();
    for path in ["/healthz", "/v1/whoami", "/nowhere"] {
        said.push_str(&format!("GET {path} HTTP/1.1\r\nhost: jitd\r\n\r\n{grant}"));
    }
    said.push_str("GET /healthz HTTP/1.1\r\nhost: jitd\r\nconnection: close\r\n\r\n");
    wire.write_all(said.as_bytes()).unwrap();
    let told = until_closed(wire);
    let statuses: Vec<&str> = told
        .split("HTTP/1.1 ")
        .filter_map(|answer| Some(answer.split_once(' ')?.0))
        .filter(|word| word.len() == 3)
        .collect();
    assert_eq!(statuses, ["200", "403", "403", "403", "404", "403", "200"], "{told}");
    bastion.has_no_fault();
}

/// A connection whose head is too long, has too many lines or is not HTTP is closed, and no other one is.
#[test]
fn a_malformed_head_is_cut_off() {
    let bastion = Bastion::start();
    let before = bastion.trail();
    let get = |lines: &str| format!("GET /healthz HTTP/1.1\r\nhost: jitd\r\n{lines}\r\n");
    let heads = [
        ("65 lines", get(&"x: y\r\n".repeat(64)), "431"),
        ("a long line", get(&format!("x: {}\r\n", "y".repeat(128 * 1024))), "431"),
        ("a long path", format!("GET /{} HTTP/1.1\r\nhost: jitd\r\n\r\n", "y".repeat(128 * 1024)), "431"),
        ("no HTTP", "grant me everything\r\n\r\n".to_owned(), "400"),
        ("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), ""),
        ("a NUL", get("x: a\0b\r\n"), "400"),
        ("two lengths", get("content-length: 1\r\ncontent-length: 2\r\n"), "400"),
        ("no length", get("content-length: -1\r\n"), "400"),
        ("a space before the colon", get("content-length : 1\r\n"), "400"),
    ];
    for (what, head, status) in heads {
        let mut wire = connect(&bastion);
        // It may be closed before everything is sent.
        drop(wire.write_all(head.as_bytes()));
        let told = until_closed(wire);
        let told = told.lines().next().unwrap_or_default();
        assert_eq!(told.split(' ').nth(1).unwrap_or_default(), status, "{what}: {told}");
    }
    // With a chunked body, the length is ignored (RFC 9112 section 6.3), and the rest is not a second request.
    let mut wire = connect(&bastion);
    let smuggled = "GET /metrics HTTP/1.1\r\nhost: jitd\r\n\r\n";
    let head = format!(
        "POST /v1/grants HTTP/1.1\r\nhost: jitd\r\nconnection: close\r\ncontent-length: {}\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}",
        smuggled.len()
    );
    drop(wire.write_all(head.as_bytes()));
    let told = until_closed(wire);
    assert!(told.starts_with("HTTP/1.1 4") && !told.contains("jitd_grants"), "{told}");

    assert_eq!(bastion.get(ALICE, "/v1/whoami").0, 200);
    assert_eq!(bastion.trail(), before);
    bastion.has_no_fault();
}

/// Of two thousand connections of one account that send nothing, or one byte, all but a few are refused, with the reason.
/// Everybody else is served at once, and the few are closed after a while.
#[test]
fn idle_connections_of_one_account_keep_nobody_else_out() {
    let bastion = Bastion::start();
    let me = std::process::id().to_string();
    let raised = Command::new("prlimit").args(["--nofile=8192:", "--pid", &me]).status().unwrap();
    assert!(raised.success());
    let before = bastion.trail();
    let began = Instant::now();
    let mut wires: Vec<UnixStream> = (0..2000)
        .map(|number| {
            let mut wire = connect(&bastion);
            if number % 2 == 0 {
                drop(wire.write_all(b"G"));
            }
            wire.set_nonblocking(true).unwrap();
            wire
        })
        .collect();
    let others = || {
        let asked = Instant::now();
        let (status, told) = bastion.get(ALICE, "/v1/whoami");
        assert_eq!((status, &told["name"]), (200, &json!("alice")));
        assert!(asked.elapsed() < Duration::from_secs(2), "others are served at once: {:?}", asked.elapsed());
    };
    // 128 is the limit of one account.
    until("all but a few are turned away", || {
        wires.retain_mut(is_open);
        (wires.len() <= 128).then_some(())
    });
    assert!(began.elapsed() < HEAD, "this machine is too slow to tell: {:?}", began.elapsed());
    assert_eq!(wires.len(), 128);
    for _ in 0..5 {
        others();
        let (status, told) = bastion.get(ROOT, "/healthz");
        assert_eq!((status, &told["code"]), (503, &json!("busy")));
    }
    assert!(began.elapsed() < HEAD, "this machine is too slow to tell: {:?}", began.elapsed());
    until_within(HEAD + Duration::from_secs(5), "the head's time is over", || {
        wires.retain_mut(is_open);
        wires.is_empty().then_some(())
    });
    others();
    assert_eq!(bastion.get(ROOT, "/healthz").0, 200);
    assert_eq!(bastion.trail(), before);
    bastion.has_no_fault();
}

/// A daemon that is told to stop answers waiting calls, completes a collection in progress, records `stopped` as the last
/// event, removes its socket and exits with success.
#[test]
fn a_stop_waits_for_calls_in_progress() {
    let plane = Plane::shared();
    let gate = Gate::before(&plane.server);
    let mut bastion =
        Bastion::with(plane, Options { server: Some(format!("https://{}", gate.address)), ..Options::default() });
    let key = Key::new();
    let pending = bastion.request(ALICE, &bastion.ask("5m"), &key);
    let grant = bastion.request(ALICE, &bastion.ask("5m"), &key);
    assert_eq!(bastion.approve(BOB, &grant).0, 200);
    let quiet = sockets(bastion.pid());
    std::thread::scope(|scope| {
        let serving = &bastion;
        gate.close();
        let waiting = scope.spawn(|| serving.get(BOB, &path(&pending, "/wait?phase=pending&timeout=60")));
        until("somebody waits", || (!sockets(serving.pid()).is_subset(&quiet)).then_some(()));
        let collecting = scope.spawn(|| serving.certificate(ALICE, &grant, &key));
        until("the collection waits for the API server", || (gate.held.load(Ordering::SeqCst) > 0).then_some(()));
        let pid = serving.pid().to_string();
        assert!(Command::new("kill").arg(&pid).status().unwrap().success());
        let told = Instant::now();
        let (status, waited) = waiting.join().unwrap();
        assert_eq!((status, &waited["phase"]), (200, &json!("pending")));
        assert!(told.elapsed() < Duration::from_secs(5), "a waiting call is answered at once");
        assert!(!collecting.is_finished());
        gate.open();
        let (status, collected) = collecting.join().unwrap();
        assert_eq!(status, 200, "{collected}");
    });
    assert!(bastion.ended_well(), "{}", bastion.log());
    assert!(!bastion.socket().exists());
    bastion.has_no_fault();
    let kinds: Vec<Value> = bastion.trail().iter().map(|entry| entry["event"]["kind"].clone()).collect();
    assert_eq!(kinds[kinds.len() - 2..], ["live", "stopped"]);
    assert_eq!(kinds.iter().filter(|kind| **kind == "stopped").count(), 1);
}

/// The open sockets of a process.
fn sockets(pid: u32) -> BTreeSet<String> {
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    // One may close while they are listed.
    let names = open.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    names.map(|name| name.to_string_lossy().into_owned()).filter(|name| name.starts_with("socket:")).collect()
}

fn connect(bastion: &Bastion<'_>) -> UnixStream {
    let wire = UnixStream::connect(bastion.socket()).unwrap();
    wire.set_read_timeout(Some(HEAD + Duration::from_secs(5))).unwrap();
    wire.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
    wire
}

/// Everything that arrives until the other side closes.
fn until_closed(mut wire: UnixStream) -> String {
    let mut told = Vec::new();
    match wire.read_to_end(&mut told) {
        Ok(_) => {}
        // It closed before it had read everything.
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("{error}: {}", text(&told)),
    }
    text(&told)
}

/// Whether the other side has not closed yet; what it sends is ignored.
fn is_open(wire: &mut UnixStream) -> bool {
    let mut told = [0; 1024];
    loop {
        match wire.read(&mut told) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
            Err(_) => return false,
        }
    }
}

/// A network path to the API server that can be closed: what is sent meanwhile is held back, and passed on later.
struct Gate {
    address: String,
    /// How often something was held back.
    held: Arc<AtomicUsize>,
    state: Arc<(Mutex<bool>, Condvar)>,
    over: Arc<AtomicBool>,
}

impl Gate {
    fn before(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let gate = Self {
            address: listener.local_addr().unwrap().to_string(),
            held: Arc::default(),
            state: Arc::new((Mutex::new(true), Condvar::new())),
            over: Arc::default(),
        };
        let server = server.trim_start_matches("https://").to_owned();
        let (held, state, over) = (Arc::clone(&gate.held), Arc::clone(&gate.state), Arc::clone(&gate.over));
        std::thread::spawn(move || {
            for near in listener.incoming() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let (Ok(near), Ok(far)) = (near, TcpStream::connect(&server)) else { return };
                let (held, state) = (Arc::clone(&held), Arc::clone(&state));
                let (near_too, far_too) = (near.try_clone().unwrap(), far.try_clone().unwrap());
                std::thread::spawn(move || {
                    carry(near, far, || {
                        let is_open = state.0.lock().unwrap();
                        if !*is_open {
                            held.fetch_add(1, Ordering::SeqCst);
                            drop(state.1.wait_while(is_open, |is_open| !*is_open).unwrap());
                        }
                    });
                });
                std::thread::spawn(move || carry(far_too, near_too, || {}));
            }
        });
        gate
    }

    fn close(&self) {
        *self.state.0.lock().unwrap() = false;
    }

    fn open(&self) {
        *self.state.0.lock().unwrap() = true;
        self.state.1.notify_all();
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.open();
        self.over.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(&self.address));
    }
}

/// Passes on what one side sends to the other, until one of them closes.
fn carry(mut from: TcpStream, mut to: TcpStream, before_each: impl Fn()) {
    let mut said = [0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut said) {
        before_each();
        if to.write_all(&said[..length]).is_err() {
            break;
        }
    }
    drop(to.shutdown(std::net::Shutdown::Both));
    drop(from.shutdown(std::net::Shutdown::Both));
}
