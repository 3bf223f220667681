//! The recorder on a real disk: what a log and a recording have, and what stands there when something fails.

use std::path::{Path, PathBuf};

use http::StatusCode;
use jit_core::grant::request::Window;
use jit_core::grant::{Record, SessionTerms};
use jit_wire::feed::LiveGrant;
use jit_wire::session::{
    Asked, Carries, Chain, End, Entry as Line, LOG, RECORDING, RecordingHead, SEALED, StreamAsked,
};
use tokio::time::{Duration, Instant};

use super::*;
use crate::grants::Grants;

fn now() -> Timestamp {
    "2026-11-30T01:00:00Z".parse().unwrap()
}

/// A folder of its own, which is removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("jit-gateway-{}-{name}", std::process::id()));
        drop(std::fs::remove_dir_all(&folder));
        Self(folder)
    }

    fn start(&self) -> Recorder {
        Recorder::start(self.0.clone(), vec![], now).unwrap()
    }

    /// The log of a grant, whose chain is whole.
    fn log(&self, live: &Live) -> (Vec<Line>, LogHead) {
        let text = std::fs::read_to_string(self.0.join(live.id.as_str()).join(LOG)).unwrap();
        let mut chain = Chain::default();
        let lines = text.lines().map(|line| chain.take(line).unwrap().entry).collect();
        (lines, chain.head().clone())
    }

    fn recording(&self, live: &Live, id: &str) -> PathBuf {
        self.0.join(live.id.as_str()).join(format!("{id}{RECORDING}"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

async fn live(sessions: SessionTerms) -> Arc<Live> {
    let (grants, id) = (Grants::default(), GrantId::from_random([3; 10]));
    let (now, until) = ("2026-11-30T01:00:00Z".parse().unwrap(), "2026-11-30T02:00:00Z".parse().unwrap());
    let (user, cluster) = ("jit:alice".to_owned(), "managed".parse().unwrap());
    grants.set(LiveGrant { id: id.clone(), user, cluster, until, sessions }, now);
    grants.admit(&id).await.unwrap()
}

fn required() -> SessionTerms {
    SessionTerms { record: Record::Required, ..SessionTerms::default() }
}

fn exec(id: &str) -> Wanted {
    let stream = StreamAsked {
        carries: Carries::Exec,
        command: vec!["id".to_owned()],
        container: None,
        ports: vec![],
        terminal: true,
        input: true,
    };
    let (resource, name) = (Some("pods/exec".to_owned()), Some("web-0".to_owned()));
    let asked = Asked { verb: "get".to_owned(), resource, name, stream: Some(stream), ..Asked::default() };
    Wanted { id: id.to_owned(), asked, is_durable: true, is_console: true }
}

fn read(id: &str) -> Wanted {
    let asked = Asked { verb: "list".to_owned(), resource: Some("pods".to_owned()), ..Asked::default() };
    Wanted { id: id.to_owned(), asked, is_durable: false, is_console: false }
}

async fn open(recorder: &Recorder, live: &Arc<Live>, wanted: Wanted) -> Result<Entry, RecordError> {
    recorder.open(live, live.run(), wanted, Instant::now() + Duration::from_secs(600)).await
}

fn sha256(path: &Path) -> RecordingHead {
    let bytes = std::fs::read(path).unwrap();
    RecordingHead { bytes: bytes.len() as u64, sha256: jit_core::grant::digest::sha256_hex(&bytes) }
}

/// A frame of a server with this payload, below 126 bytes.
fn frame(channel: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len() + 1).unwrap();
    assert!(length < 126);
    [&[0x82, length, channel], payload].concat()
}

/// A session's line is on the disk before anything is sent on, its end has the recording's hash, and a read has one line.
#[tokio::test]
async fn a_log_has_what_was_done_and_a_recording_what_was_printed() {
    let folder = Folder::new("whole");
    let (recorder, live) = (folder.start(), live(required()).await);
    let mut entry = open(&recorder, &live, exec("e1")).await.unwrap();
    let (lines, _) = folder.log(&live);
    assert!(matches!(&lines[..], [Line::Began { .. }, Line::Opened { id, recorded: true, .. }] if id == "e1"));
    let mut session = recorder.session(&entry);
    let writer = session.writer().unwrap();
    for (way, bytes) in [
        (Way::Up, frame(4, br#"{"Width":132,"Height":43}"#)),
        (Way::Down, frame(1, b"uid=0(root)\r\n")),
        (Way::Up, frame(0, b"secret")),
        (Way::Down, frame(2, b"\x1b[31moh\x1b[0m")),
        (Way::Down, frame(3, br#"{"status":"Success"}"#)),
    ] {
        writer.write(session.see(way, &bytes).unwrap()).await.unwrap();
        entry.meter.sent(bytes.len());
    }
    entry.answered(StatusCode::SWITCHING_PROTOCOLS);
    entry.whole();
    drop(entry);
    drop(open(&recorder, &live, read("r1")).await.unwrap());
    let head = recorder.head(&live.id).await.unwrap();
    let (lines, found) = folder.log(&live);
    assert_eq!(head, found);
    let path = folder.recording(&live, "e1");
    match &lines[2..] {
        [Line::Closed { id, outcome, recording: Some(recording) }, Line::Served { id: other, outcome: read, .. }] => {
            assert_eq!((id.as_str(), other.as_str()), ("e1", "r1"));
            assert_eq!((outcome.end, outcome.code, read.end), (End::Whole, Some(101), End::Broken));
            assert_eq!(*recording, sha256(&path));
        }
        lines => panic!("{lines:?}"),
    }
    let text = std::fs::read_to_string(&path).unwrap();
    let events: Vec<(f64, String, String)> =
        text.lines().skip(1).map(|line| serde_json::from_str(line).unwrap()).collect();
    let said: Vec<(&str, &str)> = events.iter().map(|(_, code, text)| (code.as_str(), text.as_str())).collect();
    let expected = [("r", "132x43"), ("o", "uid=0(root)\r\n"), ("o", "\u{1b}[31moh\u{1b}[0m")];
    assert_eq!(said, expected, "what is typed stays out");
    assert!(
        text.starts_with(r#"{"height":24,"timestamp":1796000400,"title":"jit:alice exec /web-0 -- id","version":2,"#),
        "{text}"
    );
}

/// What is typed is recorded where the rule says so.
#[tokio::test]
async fn input_is_recorded_only_on_demand() {
    let folder = Folder::new("input");
    let terms = SessionTerms { record_input: true, ..required() };
    let (recorder, live) = (folder.start(), live(terms).await);
    let entry = open(&recorder, &live, exec("e1")).await.unwrap();
    let mut session = recorder.session(&entry);
    let lines = session.see(Way::Up, &frame(0, b"ls\n")).unwrap();
    assert!(lines.ends_with(b",\"i\",\"ls\\n\"]\n"));
}

/// Many at a time: each has its line, and the chain is one.
#[tokio::test]
async fn requests_at_the_same_time_are_in_one_chain() {
    let folder = Folder::new("many");
    let (recorder, live) = (Arc::new(folder.start()), live(SessionTerms::default()).await);
    let tasks = (0..200).map(|number| {
        let (recorder, live) = (Arc::clone(&recorder), Arc::clone(&live));
        tokio::spawn(async move {
            let wanted = Wanted { is_console: false, ..exec(&format!("e{number}")) };
            drop(open(&recorder, &live, wanted).await.unwrap());
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let head = recorder.head(&live.id).await.unwrap();
    assert_eq!((head.lines, folder.log(&live).1), (401, head));
    assert!(!folder.recording(&live, "e1").exists(), "metadata has no recordings");
}

/// The gateway is killed in the middle of a session: at the next start the log says so, and what was written verifies.
#[tokio::test]
async fn what_a_killed_gateway_wrote_is_closed_when_it_starts_again() {
    let folder = Folder::new("killed");
    let live = live(required()).await;
    let recorder = folder.start();
    let entry = open(&recorder, &live, exec("e1")).await.unwrap();
    let mut session = recorder.session(&entry);
    let lines = session.see(Way::Down, &frame(1, b"half a ")).unwrap();
    session.writer().unwrap().write(lines).await.unwrap();
    recorder.head(&live.id).await.unwrap();
    std::mem::forget(entry);
    // And the power was lost in the middle of a line.
    let log = folder.0.join(live.id.as_str()).join(LOG);
    let mut text = std::fs::read_to_string(&log).unwrap();
    text.push_str("{\"number\":3,\"bef");
    std::fs::write(&log, text).unwrap();
    let again = folder.start();
    let (lines, head) = folder.log(&live);
    match &lines[2..] {
        [Line::Closed { outcome, recording: Some(recording), .. }] => {
            assert_eq!(outcome.end, End::Interrupted);
            assert_eq!(*recording, sha256(&folder.recording(&live, "e1")));
        }
        lines => panic!("{lines:?}"),
    }
    assert_eq!(again.heads().get(&live.id), Some(&head), "jitd is told");
    // And the log goes on.
    drop(open(&again, &live, exec("e2")).await.unwrap());
    assert_eq!(again.head(&live.id).await.unwrap().lines, 5);
    assert_eq!(folder.log(&live).0.len(), 5);
}

/// A log that somebody changed is not continued, and nothing of its grant passes.
#[tokio::test]
async fn a_changed_log_stops_its_grant() {
    let folder = Folder::new("changed");
    let live = live(SessionTerms::default()).await;
    let before = folder.start();
    drop(open(&before, &live, exec("e1")).await.unwrap());
    before.head(&live.id).await.unwrap();
    let log = folder.0.join(live.id.as_str()).join(LOG);
    let text = std::fs::read_to_string(&log).unwrap();
    std::fs::write(&log, text.replace("web-0", "web-1")).unwrap();
    let recorder = folder.start();
    let refused = open(&recorder, &live, exec("e2")).await.err().unwrap();
    assert!(refused.to_string().contains("a line was changed, inserted or removed"), "{refused}");
    assert_eq!(std::fs::read_to_string(&log).unwrap(), text.replace("web-0", "web-1"), "kept as evidence");
}

/// Without a file there is no session.
#[tokio::test]
async fn no_file_no_session() {
    let folder = Folder::new("no-file");
    let (recorder, live) = (folder.start(), live(required()).await);
    std::fs::create_dir_all(folder.0.join(live.id.as_str())).unwrap();
    std::fs::write(folder.recording(&live, "e1"), "somebody else's").unwrap();
    assert!(matches!(open(&recorder, &live, exec("e1")).await, Err(RecordError::Refused(_))));
    assert_eq!(std::fs::read_to_string(folder.recording(&live, "e1")).unwrap(), "somebody else's");
    drop(open(&recorder, &live, exec("e2")).await.unwrap());
    // The folder of the grant is gone: no log either.
    let gone = Folder::new("gone");
    let recorder = gone.start();
    std::fs::remove_dir_all(&gone.0).unwrap();
    assert!(matches!(open(&recorder, &live, exec("e3")).await, Err(RecordError::Refused(_))));
    // Not even a read.
    assert!(matches!(open(&recorder, &live, read("r1")).await, Err(RecordError::Refused(_))));
    std::fs::create_dir(&gone.0).unwrap();
    drop(open(&recorder, &live, read("r2")).await.unwrap());
    assert_eq!(recorder.head(&live.id).await.unwrap().lines, 2);
}

/// Where nothing is kept, nothing is written.
#[tokio::test]
async fn off_writes_nothing() {
    let folder = Folder::new("off");
    let live = live(SessionTerms { record: Record::Off, ..SessionTerms::default() }).await;
    let recorder = folder.start();
    drop(open(&recorder, &live, exec("e1")).await.unwrap());
    assert_eq!(recorder.head(&live.id).await, None);
    assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 0);
}

/// What cannot be followed does not pass; nor does anything after 64 MiB.
#[tokio::test]
async fn a_session_ends_before_something_passes_unrecorded() {
    let folder = Folder::new("limits");
    let (recorder, live) = (folder.start(), live(required()).await);
    let entry = open(&recorder, &live, exec("e1")).await.unwrap();
    let mut session = recorder.session(&entry);
    let compressed = [0xc2, 2, 1, b'a'];
    assert!(matches!(session.see(Way::Down, &compressed), Err(Stop::Strange(_))));
    let mut session = recorder.session(&entry);
    let kilobyte = [&[0x82, 126, 4, 1, 1][..], &[b'a'; 1024]].concat();
    let mebibytes = kilobyte.repeat(1024);
    let seen: Vec<_> = (0..64).map_while(|_| session.see(Way::Down, &mebibytes).ok()).collect();
    assert!((60..64).contains(&seen.len()), "{}", seen.len());
    assert_eq!(session.see(Way::Down, &mebibytes), Err(Stop::Full));
}

/// What was seen stands in the file before it may pass, in its order, also if nobody waits for the write any more; and nothing
/// that comes after the end.
#[tokio::test]
async fn what_may_pass_is_in_the_file() {
    let folder = Folder::new("before");
    let (recorder, live) = (folder.start(), live(required()).await);
    let mut entry = open(&recorder, &live, exec("e1")).await.unwrap();
    let path = folder.recording(&live, "e1");
    let mut session = recorder.session(&entry);
    let writer = session.writer().unwrap();
    let ends_with = |text: &str| std::fs::read_to_string(&path).unwrap().ends_with(text);
    writer.write(session.see(Way::Down, &frame(1, b"one")).unwrap()).await.unwrap();
    assert!(ends_with(",\"o\",\"one\"]\n"));
    // The session is cut: its writes go on, one after the other.
    for text in [b"two", b"six"] {
        let lines = session.see(Way::Down, &frame(1, text)).unwrap();
        let _ = futures::poll!(std::pin::pin!(writer.write(lines)));
    }
    writer.write(session.see(Way::Down, &frame(1, b"ten")).unwrap()).await.unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let at = |word: &str| text.find(word).unwrap_or(usize::MAX);
    assert!(at("one") < at("ten") && at("two") < at("ten"), "{text}");
    entry.answered(StatusCode::SWITCHING_PROTOCOLS);
    drop(entry);
    recorder.head(&live.id).await.unwrap();
    let late = session.see(Way::Down, &frame(1, b"late")).unwrap();
    assert_eq!(writer.write(late).await, Err(Stop::Unwritable));
    let lines = folder.log(&live).0;
    assert!(matches!(&lines[2], Line::Closed { recording: Some(recording), .. } if *recording == sha256(&path)));
}

/// With a recipient nothing of what was printed, and not even the title, stands in the file; the log has the hash of what does,
/// and all of it is there when the gateway is killed.
#[tokio::test]
async fn a_sealed_recording_is_whole_at_any_moment_and_only_for_its_recipient() {
    let folder = Folder::new("sealed");
    let identity = jit_seal::Identity::generate().unwrap();
    let recorder = Recorder::start(folder.0.clone(), vec![identity.recipient().clone()], now).unwrap();
    let live = live(required()).await;
    let entry = open(&recorder, &live, exec("e1")).await.unwrap();
    let mut session = recorder.session(&entry);
    let writer = session.writer().unwrap();
    let path = folder.0.join(live.id.as_str()).join(format!("e1{SEALED}"));
    for text in ["s3cret one", "s3cret two"] {
        writer.write(session.see(Way::Down, &frame(1, text.as_bytes())).unwrap()).await.unwrap();
        let sealed = std::fs::read(&path).unwrap();
        assert!(!String::from_utf8_lossy(&sealed).contains("s3cret") && !folder.recording(&live, "e1").exists());
        let mut plain = String::new();
        let identities = std::slice::from_ref(&identity);
        std::io::Read::read_to_string(&mut jit_seal::Segments::new(&sealed[..], identities), &mut plain).unwrap();
        assert!(plain.starts_with("{\"height\":24") && plain.ends_with(&format!("\"{text}\"]\n")), "{plain}");
    }
    recorder.head(&live.id).await.unwrap();
    std::mem::forget(entry);
    drop(folder.start());
    let head = match folder.log(&live).0.pop() {
        Some(Line::Closed { recording, .. }) => recording,
        line => panic!("{line:?}"),
    };
    assert_eq!(head, Some(sha256(&path)));
}

/// A frame of 100 MB is seen in the pieces in which it comes, and the recording ends at its limit.
#[tokio::test]
async fn a_large_frame_is_recorded_piece_by_piece() {
    let folder = Folder::new("large");
    let (recorder, live) = (folder.start(), live(required()).await);
    let entry = open(&recorder, &live, exec("e1")).await.unwrap();
    let mut session = recorder.session(&entry);
    let head = [&[0x82, 127][..], &100_000_001_u64.to_be_bytes(), &[1]].concat();
    assert_eq!(session.see(Way::Down, &head), Ok(vec![]));
    let piece = [b'a'; 64 * 1024];
    let mut seen = 0;
    let end = loop {
        match session.see(Way::Down, &piece) {
            Ok(lines) => {
                seen += piece.len();
                assert!((piece.len()..piece.len() + 64).contains(&lines.len()), "{}", lines.len());
            }
            Err(stop) => break stop,
        }
    };
    assert_eq!(end, Stop::Full);
    assert!((66_000_000..67_108_864).contains(&seen), "{seen}");
}

/// Pings and sizes of a terminal are no use of a session.
#[tokio::test]
async fn a_session_that_nobody_uses_is_idle() {
    let folder = Folder::new("idle");
    let idle: Window = "1m".parse().unwrap();
    let (recorder, live) = (folder.start(), live(SessionTerms { idle: Some(idle), ..SessionTerms::default() }).await);
    let entry = open(&recorder, &live, exec("e1")).await.unwrap();
    tokio::time::pause();
    let mut session = recorder.session(&entry);
    let began = Instant::now();
    assert!(session.is_followed());
    tokio::time::advance(Duration::from_secs(30)).await;
    session.see(Way::Up, &frame(4, br#"{"Width":1,"Height":1}"#)).unwrap();
    session.see(Way::Up, &[0x89, 0]).unwrap();
    assert_eq!(session.idle(), Some((began + Duration::from_secs(60), Stop::Idle(idle))));
    session.see(Way::Down, &frame(1, b"a")).unwrap();
    assert_eq!(session.idle(), Some((began + Duration::from_secs(90), Stop::Idle(idle))));
}
