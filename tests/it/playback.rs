//! `jitd audit sessions` and `play` on logs and recordings as the gateway writes them: what they show, what does not verify,
//! and what a hostile pod's output does to a terminal.
//!
//! The recordings are made here, from the forms that the gateway uses, so that they contain what no honest pod prints.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use jitd::grant::digest::sha256_hex;
use jitd::grant::{GrantId, LogHead, Record, SessionTerms};
use jitd::sessions::{Replay, Sessions};
use jitd::wire::session::{Asked, Carries, Chain, End, Entry, Outcome, RecordingHead, StreamAsked, VERSION};
use regex::Regex;
use serde_json::{Value, json};

use crate::bastion::text;
use crate::plane::{root, scratch, until_within};

/// The files of a gateway.
pub(crate) struct Kept {
    pub(crate) folder: PathBuf,
    pub(crate) grant: GrantId,
    chain: Chain,
    now: Timestamp,
}

pub(crate) const SESSION: &str = "0198c2f3-5d1a-7000-8000-000000000001";

impl Kept {
    pub(crate) fn new() -> Self {
        Self::of(scratch("sessions"), GrantId::from_random([7; 10]))
    }

    /// Of this grant, in this folder of all logs.
    pub(crate) fn of(folder: PathBuf, grant: GrantId) -> Self {
        let mut kept = Self { folder, grant, chain: Chain::default(), now: "2026-11-30T01:00:00Z".parse().unwrap() };
        std::fs::create_dir_all(kept.path("")).unwrap();
        kept.write(Entry::Began {
            version: VERSION,
            grant: kept.grant.clone(),
            user: "jit:alice".to_owned(),
            cluster: "prod".parse().unwrap(),
            terms: SessionTerms { record: Record::Required, ..SessionTerms::default() },
        });
        kept
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(self.grant.as_str()).join(name)
    }

    pub(crate) fn head(&self) -> Value {
        serde_json::to_value(self.chain.head()).unwrap()
    }

    pub(crate) fn cast(&self) -> PathBuf {
        self.path(&format!("{SESSION}.cast"))
    }

    /// The recording stands there sealed instead, for the key in this file, each line in a segment of its own.
    fn seal(&self, key: &Path) {
        let recipient = Command::new("age-keygen").arg("-y").arg(key).output().unwrap().stdout;
        let mut sealed = Vec::new();
        for line in std::fs::read_to_string(self.cast()).unwrap().split_inclusive('\n') {
            let mut age = Command::new("age");
            age.args(["--recipient", text(&recipient).trim()]).stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut age = age.spawn().unwrap();
            age.stdin.take().unwrap().write_all(line.as_bytes()).unwrap();
            let file = age.wait_with_output().unwrap().stdout;
            sealed.extend(format!("age {}\n", file.len()).into_bytes());
            sealed.extend(file);
        }
        std::fs::remove_file(self.cast()).unwrap();
        std::fs::write(self.sealed(), sealed).unwrap();
    }

    fn sealed(&self) -> PathBuf {
        self.path(&format!("{SESSION}.cast.age"))
    }

    fn write(&mut self, entry: Entry) {
        let line = self.chain.append(self.now, entry);
        let log = self.path("log.jsonl");
        std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap().write_all(&line).unwrap();
        self.now += jiff::SignedDuration::from_secs(60);
    }

    fn open(&mut self, command: &[&str]) {
        let asked = Box::new(exec(command));
        self.write(Entry::Opened { id: SESSION.to_owned(), asked, recorded: true });
    }

    fn close(&mut self, recording: &[u8]) {
        let outcome = outcome(End::Cut, Some(101), 61_000);
        self.write(Entry::Closed { id: SESSION.to_owned(), outcome, recording: Some(head(recording)) });
    }

    /// A session that ended, with these events.
    pub(crate) fn session(&mut self, events: &[(f64, &str, &str)]) {
        self.open(&["sh", "-c", "id; ls"]);
        let recording = recording(events);
        std::fs::write(self.cast(), &recording).unwrap();
        self.close(&recording);
    }

    fn jitd(&self, words: &[&str]) -> Output {
        let mut command = Command::new(root().join("bin/jitd"));
        command.args(words).arg("--folder").arg(&self.folder).stdin(Stdio::null()).output().unwrap()
    }
}

fn exec(command: &[&str]) -> Asked {
    Asked {
        verb: "create".to_owned(),
        api_version: Some("v1".to_owned()),
        resource: Some("pods/exec".to_owned()),
        namespace: Some("payments".to_owned()),
        name: Some("web-0".to_owned()),
        stream: Some(StreamAsked {
            carries: Carries::Exec,
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            container: None,
            ports: vec![],
            terminal: true,
            input: true,
        }),
        ..Asked::default()
    }
}

fn request(verb: &str, resource: &str, name: Option<&str>) -> Box<Asked> {
    Box::new(Asked {
        verb: verb.to_owned(),
        api_version: Some("v1".to_owned()),
        resource: Some(resource.to_owned()),
        namespace: Some("payments".to_owned()),
        name: name.map(str::to_owned),
        ..Asked::default()
    })
}

fn outcome(end: End, code: Option<u16>, milliseconds: u64) -> Outcome {
    Outcome { end, code, received: 12, sent: 3400, milliseconds, why: None }
}

fn head(bytes: &[u8]) -> RecordingHead {
    RecordingHead { bytes: bytes.len() as u64, sha256: sha256_hex(bytes) }
}

/// asciicast version 2, as the gateway writes it.
fn recording(events: &[(f64, &str, &str)]) -> Vec<u8> {
    let header = json!({ "version": 2, "width": 80, "height": 24, "timestamp": 1_796_000_000, "title": "exec" });
    let mut lines = format!("{header}\n");
    for (seconds, code, text) in events {
        lines += &format!("[{seconds:.6},\"{code}\",{}]\n", json!(text));
    }
    lines.into_bytes()
}

/// Columns are for people; what counts are the words.
fn squeezed(said: &str) -> String {
    said.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Sessions of all grants, every request of one, and how each ended; the person's words escaped.
#[test]
fn requests_are_listed_with_who_what_and_how_they_ended() {
    let mut kept = Kept::new();
    kept.session(&[(0.1, "o", "hello\r\n")]);
    kept.write(Entry::Opened {
        id: "02".to_owned(),
        asked: request("delete", "pods", Some("web-\u{1b}[0")),
        recorded: false,
    });
    let outcome = |end, code| outcome(end, code, 3);
    kept.write(Entry::Closed { id: "02".to_owned(), outcome: outcome(End::Whole, Some(200)), recording: None });
    kept.write(Entry::Served {
        id: "03".to_owned(),
        asked: request("list", "pods", None),
        outcome: outcome(End::Whole, Some(200)),
    });
    kept.write(Entry::Served {
        id: "04".to_owned(),
        asked: request("list", "secrets", None),
        outcome: outcome(End::Refused, Some(403)),
    });

    let all = kept.jitd(&["audit", "sessions"]);
    let (shown, said) = (text(&all.stdout), text(&all.stderr));
    assert!(all.status.success() && shown.lines().count() == 2, "{shown}{said}");
    let size = std::fs::metadata(kept.cast()).unwrap().len();
    let row = format!(
        "yes {SESSION} {} alice prod 2026-11-30T01:01:00Z 1m01s cut 3400 {size} exec -it payments/web-0 -- sh -c 'id; ls'",
        kept.grant
    );
    assert_eq!(squeezed(shown.lines().last().unwrap()), row);
    assert!(said.contains("3 other requests not listed"), "{said}");

    let one = kept.jitd(&["audit", "sessions", &kept.grant.as_str().to_uppercase()[..6]]);
    let (shown, said) = (text(&one.stdout), text(&one.stderr));
    assert!(one.status.success() && shown.lines().count() == 4, "{shown}{said}");
    assert!(shown.contains(r"delete pods payments/web-\u{001b}[0") && !shown.contains('\u{1b}'), "{shown}");
    assert!(squeezed(&shown).contains("refused 3400 - list secrets in payments"), "{shown}");
    assert!(said.contains("1 other request not listed: --reads"), "{said}");
    let reads = text(&kept.jitd(&["audit", "sessions", kept.grant.as_str(), "--reads"]).stdout);
    assert!(reads.lines().count() == 5 && squeezed(&reads).contains("200 3400 - list pods in payments"), "{reads}");

    let found: Value = serde_json::from_slice(&kept.jitd(&["audit", "sessions", "0198", "-o", "json"]).stdout).unwrap();
    let requests = &found["grants"][0]["requests"];
    assert_eq!(requests.as_array().unwrap().len(), 1, "{found}");
    assert_eq!(requests[0]["asked"]["stream"]["command"], json!(["sh", "-c", "id; ls"]));
    assert_eq!(
        (&requests[0]["recording"]["verified"], &found["grants"][0]["head"]["lines"]),
        (&json!(size), &json!(7))
    );

    let unknown = kept.jitd(&["audit", "sessions", "zz"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(text(&unknown.stderr).contains("has an id that begins with `zz`"), "{}", text(&unknown.stderr));
    let grant = kept.jitd(&["audit", "play", kept.grant.as_str()]);
    assert!(
        grant.status.code() == Some(2) && text(&grant.stderr).contains("lists its sessions"),
        "{}",
        text(&grant.stderr)
    );
}

/// What is wrong is one sentence, in the list and when it is played; what verifies before it is still shown.
#[test]
fn what_does_not_verify_is_said_and_never_shown() {
    let events = [(0.5, "o", "first\r\n"), (70.0, "o", "second\r\n")];
    let whole = recording(&events);
    let half = recording(&events[..1]);
    let kept = || {
        let mut kept = Kept::new();
        kept.open(&["id"]);
        std::fs::write(kept.cast(), &whole).unwrap();
        kept.write(Entry::Recorded { id: SESSION.to_owned(), recording: head(&half) });
        kept.close(&whole);
        kept
    };
    let change = |path: &Path, from: &str, to: &str| {
        let was = std::fs::read_to_string(path).unwrap();
        assert!(was.contains(from), "{was}");
        std::fs::write(path, was.replace(from, to)).unwrap();
    };
    let long = |path: &Path| std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(1 << 28).unwrap();
    type Damage<'a> = (&'a str, Box<dyn Fn(&Kept) + 'a>, Option<&'a str>);
    let damages: [Damage<'_>; 13] = [
        ("something in bytes", Box::new(|kept| change(&kept.cast(), "second", "sec0nd")), Some("first\n")),
        ("something in bytes 1 to", Box::new(|kept| change(&kept.cast(), "first", "f1rst")), None),
        ("its end was cut", Box::new(|kept| std::fs::write(kept.cast(), &half).unwrap()), Some("first\n")),
        ("its end was cut", Box::new(|kept| std::fs::write(kept.cast(), &half[..20]).unwrap()), None),
        (
            "something was added",
            Box::new(|kept| std::fs::write(kept.cast(), [&whole[..], b"[80,\"o\",\"third\"]\n"].concat()).unwrap()),
            Some("first\nsecond\n"),
        ),
        ("something was added", Box::new(|kept| long(&kept.cast())), Some("first\nsecond\n")),
        ("there is no 0198", Box::new(|kept| std::fs::remove_file(kept.cast()).unwrap()), None),
        (
            "is not a regular file",
            Box::new(|kept| {
                std::fs::remove_file(kept.cast()).unwrap();
                symlink("/etc/shadow", kept.cast()).unwrap();
            }),
            None,
        ),
        ("there is no log.jsonl", Box::new(|kept| std::fs::remove_file(kept.path("log.jsonl")).unwrap()), None),
        ("log.jsonl is empty", Box::new(|kept| std::fs::write(kept.path("log.jsonl"), "").unwrap()), None),
        // The line before it was changed: so much of the log still holds.
        (
            "line 4 was not written after",
            Box::new(|kept| change(&kept.path("log.jsonl"), "\"kind\":\"recorded\",", "\"kind\":\"recorded\", ")),
            Some("first\n"),
        ),
        (
            "line 5 of log.jsonl: it is longer than",
            Box::new(|kept| long(&kept.path("log.jsonl"))),
            Some("first\nsecond\n"),
        ),
        (
            "line 5 of log.jsonl: it is not UTF-8",
            Box::new(|kept| {
                let log = std::fs::read(kept.path("log.jsonl")).unwrap();
                std::fs::write(kept.path("log.jsonl"), [&log[..], b"\xff\n"].concat()).unwrap();
            }),
            Some("first\nsecond\n"),
        ),
    ];
    for (number, (why, damage, plays)) in damages.iter().enumerate() {
        let kept = kept();
        assert!(kept.jitd(&["audit", "sessions"]).status.success());
        damage(&kept);
        // With 100 MB of addresses there is no room for a line of 256 MB.
        let limited = |words: &str| {
            let words = format!(
                "ulimit -v 1000000; '{}' {words} --folder '{}'",
                root().join("bin/jitd").display(),
                kept.folder.display()
            );
            let done = Command::new("bash").args(["-c", &words]).stdin(Stdio::null()).output().unwrap();
            (done.status.code(), text(&done.stdout), text(&done.stderr))
        };
        let (code, shown, said) = limited("audit sessions");
        assert!(code == Some(1) && said.contains(why), "{number}: {code:?} {shown}{said}");
        assert!(shown.lines().skip(1).any(|row| row.starts_with("BROKEN")), "{number}: {shown}");
        assert!(said.contains("as evidence") && !said.contains("panicked"), "{number}: {said}");
        let (code, shown, said) = limited(&format!("audit play {SESSION}"));
        assert!(code == Some(1) && !said.contains("panicked"), "{number}: {code:?} {said}");
        assert_eq!(shown, plays.unwrap_or_default(), "{number}: {said}");
        if plays.is_some() {
            assert!(said.contains(why), "{number}: {said}");
        }
    }
}

/// A session without an end is as long as the log says; what was being written when the gateway was killed is left out.
#[test]
fn a_session_without_an_end_plays_as_far_as_its_log_says() {
    let mut kept = Kept::new();
    kept.open(&["id"]);
    let known = recording(&[(0.5, "o", "first\r\n")]);
    std::fs::write(kept.cast(), [&known[..], b"[0.7,\"o\",\"sec"].concat()).unwrap();
    let early = kept.jitd(&["audit", "play", "0198"]);
    assert!(early.status.code() == Some(1) && early.stdout.is_empty(), "{}", text(&early.stdout));
    assert!(text(&early.stderr).contains("does not say yet"), "{}", text(&early.stderr));
    kept.write(Entry::Recorded { id: SESSION.to_owned(), recording: head(&known) });
    let listed = kept.jitd(&["audit", "sessions"]);
    assert!(
        listed.status.success() && squeezed(&text(&listed.stdout)).contains(" WHAT open 0198"),
        "{}",
        text(&listed.stdout)
    );
    let played = kept.jitd(&["audit", "play", "0198"]);
    assert!(played.status.success(), "{}", text(&played.stderr));
    assert_eq!(text(&played.stdout), "first\n");
    assert!(text(&played.stderr).contains("there is more of it, 13 bytes"), "{}", text(&played.stderr));
    // The gateway starts again.
    let all = std::fs::read(kept.cast()).unwrap();
    let outcome = outcome(End::Interrupted, None, 9000);
    kept.write(Entry::Closed { id: SESSION.to_owned(), outcome, recording: Some(head(&all)) });
    let listed = text(&kept.jitd(&["audit", "sessions"]).stdout);
    assert!(squeezed(&listed).contains("9.0s interrupted 3400"), "{listed}");
    let played = kept.jitd(&["audit", "play", "0198"]);
    assert!(played.status.success() && text(&played.stdout) == "first\n", "{}", text(&played.stderr));
}

/// Something of every class of escape codes, of which a terminal must get none: each does something else than show a
/// character in its place, or makes the terminal answer as if somebody had typed.
const HOSTILE: &[&str] = &[
    "\u{1b}]52;c;cm0gLXJmIC8K\u{7}",                                     // the clipboard
    "\u{1b}]0;title\u{7}\u{1b}]2;title\u{1b}\\",                         // titles
    "\u{1b}]8;;http://evil.example/\u{1b}\\link\u{1b}]8;;\u{1b}\\",      // links
    "\u{1b}]4;1;?\u{7}\u{1b}]10;?\u{7}\u{1b}]11;#ff0000\u{7}",           // colours, asked and set
    "\u{1b}]9;notify\u{7}\u{1b}]777;notify;a;b\u{7}",                    // notifications
    "\u{1b}]1337;File=inline=1:AAAA\u{7}",                               // files
    "\u{1b}P$q\"p\u{1b}\\\u{1b}P+q544e\u{1b}\\",                         // DECRQSS, XTGETTCAP
    "\u{1b}Pq#0;2;0;0;0#0~~@@vv\u{1b}\\",                                // sixel
    "\u{1b}P0;1|17/6c73\u{1b}\\",                                        // keys defined anew (DECUDK)
    "\u{1b}_Ga=T;AAAA\u{1b}\\\u{1b}^pm\u{1b}\\\u{1b}Xsos\u{1b}\\",       // APC, PM, SOS
    "\u{1b}[c\u{1b}[>c\u{1b}[=c\u{1b}Z",                                 // DA
    "\u{1b}[5n\u{1b}[6n\u{1b}[?6n\u{1b}[?15n",                           // DSR
    "\u{1b}[21t\u{1b}[20t\u{1b}[14t\u{1b}[8;1;1t\u{1b}[3;0;0t\u{1b}[2t", // the window: asked, resized, moved, hidden
    "\u{1b}[5i\u{1b}[4i\u{1b}[?5i\u{1b}[i",                              // the printer
    "\u{1b}(0\u{1b})0\u{e}\u{1b}n\u{1b}|\u{1b}%G\u{1b}%@",               // character sets
    "\u{1b}[?1000h\u{1b}[?1003h\u{1b}[?1006h\u{1b}[?2004h\u{1b}[?1004h", // the mouse, pasting, focus
    "\u{1b}[?1049h\u{1b}[?25l\u{1b}[?7l\u{1b}[?1h\u{1b}=\u{1b}[4h\u{1b}[20h\u{1b}[2h", // modes that stay
    "\u{1b}[3;20r\u{1b}[?6h\u{1b}[?69h\u{1b}[5;10s",                     // margins
    "\u{1b}c\u{1b}[!p\u{1b}#8\u{1b}#3\u{1b}#6",                          // resets, and lines of double size
    "\u{1b}[65535b\u{1b}[65535;65535H\u{1b}[65535@\u{1b}[65535L\u{1b}[65535P\u{1b}[65535X", // much of it
    "\u{1b}[>4;2m\u{1b}[>1u\u{1b}[=1u\u{1b}[?u\u{1b}[ q\u{1b}[5 q\u{1b}]12;red\u{7}", // keyboards, cursors
    "\u{9b}6n\u{9d}52;c;AAAA\u{9c}\u{90}$qm\u{9c}\u{85}\u{8d}",          // the same in eight bits
    "\u{5}\u{7}\u{8}\u{b}\u{c}\u{f}\u{7f}\u{0}",                         // ENQ, BEL and others
    "\u{202e}txet\u{200b}\u{2066}\u{feff}\u{e0041}\u{ad}",               // invisible, or against the direction
    "\u{1b}[38;2;1;2;3;48;5;200;1;5;8mcolour\u{1b}[0m",                  // concealed and blinking, with colours
    "\u{1b}[12",                                                         // unfinished
    "\u{1b}]never ended",
];

/// What a terminal may get: places, colours, and what takes the screen and gives it back.
fn without_our_codes(drawn: &str) -> String {
    let ours = r"\x1b\[(?:[0-9]+;1H|0(?:;[0-9]+)*m|7m|2K|2J|\?1049[hl]|\?25[hl]|\?7[hl])";
    Regex::new(ours).unwrap().replace_all(drawn, "").into_owned()
}

fn assert_harmless(drawn: &str) {
    let rest = without_our_codes(drawn);
    let harmful = rest
        .chars()
        .find(|c| (c.is_control() && !"\r\n".contains(*c)) || !jitd::escape::is_visible(*c) && !c.is_control());
    assert_eq!(harmful, None, "{:?}", rest);
}

/// A recording on a terminal that is not 80 columns wide, with keys as a person types them.
struct Watched {
    child: Child,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl Watched {
    fn new(kept: &Kept, options: &str) -> Self {
        let words = format!(
            "stty cols 100 rows 30; '{}' audit play {SESSION} {options} --folder '{}'; echo code=$?; stty -a",
            root().join("bin/jitd").display(),
            kept.folder.display()
        );
        let mut child = Command::new("script")
            .args(["-qec", &words, "/dev/null"])
            .env("TERM", "xterm")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (mut out, kept) = (child.stdout.take().unwrap(), Arc::clone(&seen));
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = out.read(&mut bytes) {
                kept.lock().unwrap().extend_from_slice(&bytes[..read]);
            }
        });
        Self { child, seen }
    }

    fn seen(&self) -> String {
        text(&self.seen.lock().unwrap())
    }

    /// Types, and waits until something is drawn that was not there before.
    fn then(&mut self, keys: &str, drawn: &str) {
        let before = self.seen().len();
        self.child.stdin.as_ref().unwrap().write_all(keys.as_bytes()).unwrap();
        self.shows(before, drawn);
    }

    fn shows(&self, before: usize, drawn: &str) {
        until_within(Duration::from_secs(30), &format!("{drawn:?} is drawn"), || {
            let seen = self.seen();
            assert!(!seen.contains("panicked"), "{seen}");
            seen.get(before..).is_some_and(|new| without_our_codes(new).contains(drawn)).then_some(())
        });
    }

    /// Quits, and answers all that the terminal got.
    fn quit(mut self, keys: &str) -> String {
        self.then(keys, "icanon");
        self.ended()
    }

    fn ended(mut self) -> String {
        drop(self.child.stdin.take());
        self.child.wait().unwrap();
        self.seen()
    }
}

/// Of everything that a hostile pod can print, the terminal gets characters and colours; and it is afterwards as before.
#[test]
fn nothing_that_a_pod_prints_reaches_the_terminal_but_characters() {
    let mut kept = Kept::new();
    let mut events: Vec<(f64, &str, &str)> = vec![(0.0, "r", "65535x65535"), (0.0, "r", "0x0"), (0.0, "r", "90x20")];
    events.extend(HOSTILE.iter().map(|text| (0.01, "o", *text)));
    events.extend([
        (0.02, "o", "\u{1b}\\\u{18}\u{1b}c\u{1b}[31mred\u{1b}[0m and \u{4e2d}\u{1f600} the last words"),
        (0.03, "m", ""),
    ]);
    kept.session(&events);
    let watched = Watched::new(&kept, "");
    watched.shows(0, "the last words");
    watched.shows(0, " end 00:00");
    let seen = watched.quit("q");
    let (drawn, after) = seen.split_once("code=").unwrap();
    assert_harmless(drawn);
    assert!(drawn.contains("\u{1b}[0;38;5;1mred"), "{drawn:?}");
    assert!(drawn.ends_with("\u{1b}[0m\u{1b}[?7h\u{1b}[?25h\u{1b}[?1049l"), "{drawn:?}");
    assert!(after.starts_with('0') && after.contains(" icanon") && after.contains(" echo "), "{after}");

    let printed = kept.jitd(&["audit", "play", "0198"]);
    let printed = text(&printed.stdout);
    assert!(printed.chars().all(|c| c == '\n' || jitd::escape::is_visible(c)), "{printed:?}");
    assert!(printed.contains("the last words") && printed.contains("colour") && printed.contains("link"), "{printed}");
}

/// Space, arrows, `.`, `/` and `n`; times as somebody asked.
#[test]
fn a_recording_is_paused_skipped_and_searched() {
    let mut kept = Kept::new();
    kept.session(&[
        (0.0, "o", "begin\r\n"),
        (30.0, "o", "a needle here\r\n"),
        (50.0, "o", "more\r\n"),
        (4000.0, "o", "the other needle\r\n"),
        (4001.0, "o", "bye\r\n"),
    ]);
    let mut watched = Watched::new(&kept, "");
    watched.shows(0, "begin");
    watched.then(" ", " paused 00:00/01:01");
    watched.then("\u{1b}[C", " paused 00:05");
    watched.then("\u{1b}[C\u{1b}[C\u{1b}[D", " paused 00:10");
    watched.then("/needle\r", " paused 00:30");
    watched.shows(0, "a needle here");
    watched.then(".", " paused 00:50");
    watched.then("n", " paused 1:06:40");
    watched.then("n", "`needle` does not come again");
    watched.then(" ", " playing 1:06:40");
    watched.shows(0, " end 1:06:41");
    let seen = watched.quit("\u{3}");
    assert_harmless(seen.split("code=").next().unwrap());
    // An hour takes no time.
    let watched = Watched::new(&kept, "--from 49s --speed 100 --idle-limit 1s");
    watched.shows(0, " end 1:06:41");
    watched.quit("q");
    // A signal gives the terminal back too.
    let watched = Watched::new(&kept, "--from 1m");
    watched.shows(0, " playing 01:0");
    let pid =
        Command::new("pgrep").args(["-n", "-f", &format!("audit play .*{}$", kept.folder.display())]).output().unwrap();
    assert!(Command::new("kill").arg(text(&pid.stdout).trim()).status().unwrap().success());
    watched.shows(0, "icanon");
    let seen = watched.ended();
    assert!(seen.contains("\u{1b}[?1049l") && seen.contains(" echo "), "{seen}");
}

/// What was overwritten or erased is in the text too: a terminal hides it, an auditor wants it.
#[test]
fn the_text_has_what_a_terminal_would_hide() {
    let mut kept = Kept::new();
    kept.session(&[
        (0.1, "o", "$ cat key\r\n\u{1b}[8msecret\u{1b}[0m\r\n\u{1b}[2J\u{1b}[H"),
        (0.2, "i", "typed\r"),
        (0.3, "o", "\u{1b}[?1049hin the other screen\u{1b}[?1049l"),
        (0.4, "o", "50%\r100%\r\n\u{4e2d}\u{200b}|\u{1b}[3b\tend"),
        (9.0, "o", "\r\nlate\r\n"),
    ]);
    let printed = kept.jitd(&["audit", "play", "0198"]);
    assert!(printed.status.success(), "{}", text(&printed.stderr));
    let wanted = "$ cat key\nsecret\nin the other screen\n50%\n100%\n\u{4e2d}\\u{200b}|||| end\nlate\n";
    assert_eq!(text(&printed.stdout), wanted);
    assert!(text(&printed.stderr).contains("alice on prod, 2026-11-30T01:01:00Z, 1m01s: exec -it payments/web-0"));
    assert_eq!(text(&kept.jitd(&["audit", "play", "0198", "--from", "5s"]).stdout), "\nlate\n");
}

/// The copy is the recording; it replaces no file, and is for its owner only.
#[test]
fn a_copy_is_what_verifies() {
    use std::os::unix::fs::PermissionsExt;
    let mut kept = Kept::new();
    kept.session(&[(0.1, "o", "hello\r\n")]);
    let file = kept.folder.join("copy.cast");
    let words = ["audit", "play", "0198", "--export", file.to_str().unwrap()];
    let done = kept.jitd(&words);
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert_eq!(std::fs::read(&file).unwrap(), std::fs::read(kept.cast()).unwrap());
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::write(&file, "mine").unwrap();
    let again = kept.jitd(&words);
    assert!(again.status.code() == Some(1) && text(&again.stderr).contains("cannot create"), "{}", text(&again.stderr));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
}

/// Any mixture of codes, in any order and cut anywhere, is drawn with our codes only, and nothing fails.
#[test]
fn any_mixture_of_codes_is_drawn_harmlessly() {
    let mut state = 1_u64;
    // Knuth's generator (MMIX): the same mixtures in every run.
    let mut next = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for round in 0..40 {
        let mut kept = Kept::new();
        let mut events: Vec<(f64, &str, String)> = Vec::new();
        for _ in 0..60 {
            let event = match next(8) {
                0 => ("r", format!("{}x{}", next(130), next(50))),
                1 => ("o", format!("\u{1b}[{};{}{}", next(300), next(300), char::from(b'@' + next(63) as u8))),
                2 => ("o", format!("\u{1b}[?{}{}", next(2100), if next(2) == 0 { 'h' } else { 'l' })),
                3 => ("o", (0..next(40)).filter_map(|_| char::from_u32(next(0x3000) as u32)).collect()),
                4 => ("o", "\u{4e2d}\u{1f600}e\u{301}".repeat(next(60))),
                _ => {
                    let hostile = HOSTILE[next(HOSTILE.len())];
                    ("o", hostile.chars().take(1 + next(20)).collect())
                }
            };
            events.push((0.1, event.0, event.1));
        }
        let events: Vec<(f64, &str, &str)> =
            events.iter().map(|(at, code, text)| (*at, *code, text.as_str())).collect();
        kept.session(&events);
        let mut sessions = Sessions::open(&kept.folder).unwrap();
        let (_, _, recording) = sessions.recording(&kept.grant, SESSION).unwrap();
        let mut replay = Replay::new(&recording).unwrap();
        while replay.next_at().is_some() {
            replay.step();
            let rows = replay.rows(1 + next(100), 1 + next(40));
            for row in rows {
                assert_harmless(&row);
                assert!(!row.contains(['\r', '\n']), "{round}: {row:?}");
            }
        }
        assert!(replay.fault().is_none(), "{round}");
    }
}

/// Sealed by the program `age`: it verifies without a key, and takes one of its recipients to be played or exported. What the
/// gateway was writing when it was killed is left out.
#[test]
fn a_sealed_recording_verifies_without_a_key_and_plays_with_one() {
    let (key, other) = (new_key(), new_key());
    let mut kept = Kept::new();
    kept.open(&["id"]);
    let plain = recording(&[(0.1, "o", "uid=0(root)\r\n"), (2.0, "o", "\u{1b}]52;c;x\u{7}done\r\n")]);
    std::fs::write(kept.cast(), &plain).unwrap();
    kept.seal(&key);
    let mut sealed = std::fs::read(kept.sealed()).unwrap();
    sealed.extend(b"age 300\nage-encr");
    std::fs::write(kept.sealed(), &sealed).unwrap();
    kept.close(&sealed);

    let listed = kept.jitd(&["audit", "sessions"]);
    let shown = text(&listed.stdout);
    assert!(listed.status.success() && shown.contains("yes") && shown.contains(SESSION), "{}", text(&listed.stderr));
    let play = |words: &[&str]| {
        let done = kept.jitd(&[&["audit", "play", "0198"], words].concat());
        (done.status.success(), text(&done.stdout), text(&done.stderr))
    };
    let (key, other) = (key.display().to_string(), other.display().to_string());
    let (succeeded, shown, why) = play(&[]);
    assert!(!succeeded && shown.is_empty() && why.contains("is sealed\n") && why.contains("--identity"), "{why}");
    let (succeeded, shown, why) = play(&["--identity", &other]);
    assert!(!succeeded && shown.is_empty() && why.contains("it is sealed for others"), "{why}");
    let (succeeded, shown, why) = play(&["--identity", &key]);
    assert!(succeeded && shown == "uid=0(root)\ndone\n", "{shown:?} {why}");
    let exported = scratch("export").join("one.cast");
    let (succeeded, _, why) = play(&["--identity", &key, "--export", &exported.display().to_string()]);
    assert!(succeeded && std::fs::read(&exported).unwrap() == plain, "{why}");
    let another = exported.with_file_name("two.cast");
    assert!(!play(&["--export", &another.display().to_string()]).0 && !another.exists());
    let public = scratch("public").join("key");
    std::fs::copy(&key, &public).unwrap();
    std::fs::set_permissions(&public, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let (succeeded, _, why) = play(&["--identity", &public.display().to_string()]);
    assert!(!succeeded && why.contains("600"), "{why}");

    let middle = sealed.len() / 2;
    sealed[middle] ^= 1;
    std::fs::write(kept.sealed(), &sealed).unwrap();
    let (succeeded, shown, why) = play(&["--identity", &key]);
    assert!(!succeeded && shown.is_empty() && why.contains("something in bytes"), "{why}");
}

/// A new key of age, in a file that only its owner can read.
pub(crate) fn new_key() -> PathBuf {
    let key = scratch("age").join("key.txt");
    let made = Command::new("age-keygen").arg("-o").arg(&key).output().unwrap();
    assert!(made.status.success(), "{}", text(&made.stderr));
    key
}

/// A log that was cut at its end, or written anew, has a chain without a fault; the trail has its head.
#[test]
fn a_log_is_compared_with_the_trail() {
    let mut kept = Kept::new();
    kept.session(&[(0.1, "o", "hello\r\n")]);
    let whole = std::fs::read_to_string(kept.path("log.jsonl")).unwrap();
    let heads: Vec<LogHead> = {
        let mut chain = Chain::default();
        let lines = whole.lines().map(|line| chain.take(line).map(|_| chain.head().clone()).unwrap());
        lines.collect()
    };
    let fault = |log: &str| {
        std::fs::write(kept.path("log.jsonl"), log).unwrap();
        let known = BTreeMap::from([(kept.grant.clone(), vec![heads[1].clone(), heads[2].clone()])]);
        let mut sessions = Sessions::open(&kept.folder).unwrap().with_trail(known);
        sessions.read(&kept.grant, |_, _, _| true).unwrap().fault
    };
    assert_eq!(fault(&whole), None);
    let cut: String = whole.lines().take(2).map(|line| format!("{line}\n")).collect();
    assert_eq!(fault(&cut).unwrap(), "log.jsonl had 3 lines, by the audit trail: its end was cut");
    let mut anew = Chain::default();
    let entries = |log: &str| -> Vec<Entry> {
        let mut chain = Chain::default();
        log.lines().map(|line| chain.take(line).unwrap().entry).collect()
    };
    let anew: Vec<u8> = entries(&whole)
        .into_iter()
        .flat_map(|entry| anew.append("2026-11-30T09:00:00Z".parse().unwrap(), entry))
        .collect();
    let found = fault(&String::from_utf8(anew).unwrap()).unwrap();
    assert_eq!(found, "line 2 of log.jsonl is not the one that the audit trail has: it was changed");
}
