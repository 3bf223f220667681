//! What one session may do to the others where sessions are recorded: on a slow disk, with a pod that floods, with a frame that
//! is larger than the gateway's memory. In each case another grant's session goes on, and the recordings verify.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use jit_wire::session::End;

use crate::bastion::{ALICE, repository};
use crate::gateway::Front;
use crate::gateway_failures::{Wire, memory_of};
use crate::plane::{root, scratch, until_within};
use crate::recording::{Kept, front};

/// How long another session may take for a line and its answer, on a machine that is busy with all of this.
const BOUNDED: Duration = Duration::from_secs(2);

/// How much memory the gateway may take for it, in bytes.
const SOME: u64 = 48_000_000;

/// A recorded session that answers each line.
struct Echo {
    kubectl: Child,
    stdin: ChildStdin,
    out: BufReader<ChildStdout>,
}

impl Echo {
    fn of(front: &Front<'_>, grant: &str) -> Self {
        let script = "while read -r line; do echo \"heard $line\"; done";
        let mut kubectl = front.kubectl(grant, &["exec", "-i", "web-0", "--", "sh", "-c", script]);
        let mut kubectl = kubectl.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let (stdin, out) = (kubectl.stdin.take().unwrap(), BufReader::new(kubectl.stdout.take().unwrap()));
        let mut echo = Self { kubectl, stdin, out };
        echo.answer("first");
        echo
    }

    /// How long the answer to a line takes.
    fn answer(&mut self, word: &str) -> Duration {
        let begun = Instant::now();
        writeln!(self.stdin, "{word}").unwrap();
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        assert_eq!(line, format!("heard {word}\n"));
        begun.elapsed()
    }

    /// The slowest of some answers.
    fn slowest(&mut self, answers: usize) -> Duration {
        (0..answers).map(|number| self.answer(&number.to_string())).max().unwrap()
    }

    /// Ends by itself.
    fn end(mut self) {
        drop(self.stdin);
        assert!(self.kubectl.wait().unwrap().success());
    }
}

/// Sessions of a pod that prints as fast as it can, one after the other in some threads, until dropped. Their recordings become
/// full, which ends them.
fn flooded(front: &Front<'_>, grant: &str, meanwhile: impl FnOnce()) {
    let (is_over, printed) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let mut yes = front.kubectl(grant, &["exec", "web-0", "--", "yes", &"flood ".repeat(20)]);
                    let mut yes = yes.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
                    let mut out = BufReader::with_capacity(64 * 1024, yes.stdout.take().unwrap());
                    while let Ok(read @ 1..) = out.fill_buf().map(<[u8]>::len) {
                        out.consume(read);
                        printed.fetch_add(read, Ordering::Relaxed);
                        if is_over.load(Ordering::Relaxed) {
                            break;
                        }
                    }
                    drop(yes.kill());
                    yes.wait().unwrap();
                }
            });
        }
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            until_within(Duration::from_secs(30), "it floods", || {
                (printed.load(Ordering::Relaxed) > 1_000_000).then_some(())
            });
            meanwhile();
        }));
        is_over.store(true, Ordering::Relaxed);
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

/// A pod that floods several sessions is read at the pace of its recordings, and the memory stays as it is. Another grant's
/// sessions begin, answer and end meanwhile.
#[test]
fn a_pod_that_floods_holds_up_no_other_session() {
    let front = front("record: required");
    let (flood, other) = (front.live("edit"), front.live("edit"));
    let mut echo = Echo::of(&front, &other);
    let before = memory_of(front.pid());
    flooded(&front, &flood, || {
        let slowest = echo.slowest(50);
        assert!(slowest < BOUNDED, "{slowest:?}");
        Echo::of(&front, &other).end();
        let grown = memory_of(front.pid()).saturating_sub(before);
        assert!(grown < SOME, "{grown} bytes more");
    });
    echo.end();
    for grant in [&flood, &other] {
        front.says(ALICE, &["end", grant]);
        front.end_of(grant);
    }
    let sessions = Kept::of(&front, &other).sessions();
    assert_eq!(sessions.len(), 2);
    assert!(sessions.iter().all(|session| session.outcome.end == End::Whole));
    assert!(sessions[0].printed().ends_with("heard 48\nheard 49\n"));
    // Each verifies, also one that was ended because it was full.
    assert!(Kept::of(&front, &flood).sessions().iter().any(|session| session.printed().starts_with("flood flood")));
}

/// Each write and each sync takes 50 ms more, and some sessions flood: another one waits for its own writes only, a new one for
/// its own files, and the recordings verify.
#[test]
fn a_slow_disk_slows_each_session_by_its_own_writes() {
    let mut front = front("record: required");
    front.kill();
    let library = slow();
    let mut gateway = Command::new(root().join("bin/jit-gateway"));
    gateway.env("LD_PRELOAD", library).env("SLOW", front.bastion.dir.join("gateway/sessions"));
    front.serve_as(gateway);
    let (flood, other) = (front.live("edit"), front.live("edit"));
    let mut echo = Echo::of(&front, &other);
    let quiet = echo.slowest(5);
    assert!(quiet >= Duration::from_millis(50), "the disk is not slow: {quiet:?}");
    let before = memory_of(front.pid());
    flooded(&front, &flood, || {
        let slowest = echo.slowest(20);
        assert!(slowest < BOUNDED, "{slowest:?}");
        let begun = Instant::now();
        Echo::of(&front, &other).end();
        assert!(begun.elapsed() < 3 * BOUNDED, "{:?}", begun.elapsed());
        let begun = Instant::now();
        front.kubectl_says(&other, &["get", "configmaps"]);
        assert!(begun.elapsed() < 2 * BOUNDED, "{:?}", begun.elapsed());
        let grown = memory_of(front.pid()).saturating_sub(before);
        assert!(grown < SOME, "{grown} bytes more");
    });
    echo.end();
    for grant in [&flood, &other] {
        front.says(ALICE, &["end", grant]);
        front.end_of(grant);
    }
    let sessions = Kept::of(&front, &other).sessions();
    assert!(sessions[0].printed().ends_with("heard 18\nheard 19\n"));
    assert!(Kept::of(&front, &flood).sessions().iter().all(|session| session.printed().starts_with("flood")));
}

fn slow() -> PathBuf {
    let library = scratch("slow").join("slow.so");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o"]).arg(&library);
    assert!(compiler.arg(repository().join("tests/support/slow.c")).status().unwrap().success());
    library
}

/// A client sends a frame of 100 MB: it passes in pieces, as far as the API server takes it, and the gateway holds none of it.
#[test]
fn a_frame_of_100_megabytes_passes_in_pieces() {
    const FRAME: u64 = 100_000_000;
    let front = front("record: required\n    recordInput: true");
    let (grant, other) = (front.live("edit"), front.live("edit"));
    let mut echo = Echo::of(&front, &other);
    let path =
        format!("/api/v1/namespaces/{}/pods/web-0/exec?stdin=1&stdout=1&command=wc&command=-c", front.bastion.ns);
    let mut wire = Wire::open(&front, &front.credential(&grant));
    wire.upgrade(&path);
    let before = memory_of(front.pid());
    let highest = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        // A binary message with a mask of zeros (RFC 6455, section 5.2), on the channel of the input.
        let sending = scope.spawn(|| {
            let mut frame = [&[0x82, 0xff][..], &(FRAME + 1).to_be_bytes(), &[0; 4], &[0]].concat();
            let piece = b"0123456789abcde\n".repeat(4096);
            let mut sent = 0;
            // The API server, or the gateway because the recording is full, may have had enough of it.
            while sent < FRAME && wire.send(&frame) {
                sent += piece.len() as u64;
                frame.clone_from(&piece);
                let grown = memory_of(front.pid()).saturating_sub(before);
                highest.fetch_max(grown as usize, Ordering::Relaxed);
            }
        });
        let slowest = echo.slowest(50);
        assert!(slowest < BOUNDED, "{slowest:?}");
        sending.join().unwrap();
    });
    let highest = highest.load(Ordering::Relaxed);
    assert!((highest as u64) < SOME, "{highest} bytes more");
    echo.end();
    front.says(ALICE, &["end", &grant]);
    front.end_of(&grant);
    let sessions = Kept::of(&front, &grant).sessions();
    let typed: usize = sessions[0].events.iter().filter(|(code, _)| code == "i").map(|(_, text)| text.len()).sum();
    // The API server takes no message of this size. How much of it has passed before it ends the session is up to its buffers.
    assert!(typed > 0, "what passed is recorded");
}
