//! A fake `jitd` that says what a test wants, and the real `jit-notify` that reads it.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// The key that the published vectors use.
pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// The facts so far, and who waits for more; and what jit-notify reported that receivers took.
type Said = Arc<(Mutex<Vec<Value>>, Condvar, Mutex<Vec<Value>>)>;

/// Both, in a folder of their own.
pub(crate) struct Site {
    pub(crate) folder: PathBuf,
    said: Said,
    running: Option<Child>,
}

impl Site {
    /// A daemon that has said nothing, and a jit-notify with these channels, which is not started.
    pub(crate) fn with(channels: &Value) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        // A path of a socket has at most 107 bytes.
        let folder = std::env::temp_dir().join(format!("jit-notify-{}-{number}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder.join("state")).unwrap();
        let listener = UnixListener::bind(folder.join("notify.sock")).unwrap();
        let site = Self { folder, said: Said::default(), running: None };
        site.secret("key", SECRET);
        let config = json!({ "socket": "notify.sock", "state": "state", "channels": channels });
        std::fs::write(site.folder.join("config.yaml"), config.to_string()).unwrap();
        let said = Arc::clone(&site.said);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let said = Arc::clone(&said);
                // A reader that goes away is no fault.
                std::thread::spawn(move || _ = tell(&stream, &said));
            }
        });
        site
    }

    /// The same with one webhook, which runs.
    pub(crate) fn webhook(url: &str) -> Self {
        let mut site = Self::with(&json!([webhook("siem", "url")]));
        site.secret("url", url);
        site.start();
        site
    }

    pub(crate) fn secret(&self, name: &str, text: &str) {
        let path = self.folder.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// The daemon says the next fact, about this grant; it returns its number.
    pub(crate) fn say(&self, grant: &str, event: &str) -> u64 {
        self.fact(json!({
            "event": event, "by": "alice", "grant": view(grant), "audience": { "toAnswer": ["leads"] },
            "says": format!("{event} {grant}"),
        }))
    }

    /// The same about a fact for the administrators.
    pub(crate) fn say_to_administrators(&self, says: &str) -> u64 {
        self.fact(json!({ "event": "drained", "by": "root", "audience": { "toAdministrators": true }, "says": says }))
    }

    fn fact(&self, mut fact: Value) -> u64 {
        let mut said = self.said.0.lock().unwrap();
        let number = said.len() as u64 + 1;
        let more = [("kind", json!("notice")), ("number", json!(number)), ("at", json!(jiff::Timestamp::now()))];
        for (key, value) in more {
            fact[key] = value;
        }
        said.push(fact);
        self.said.1.notify_all();
        number
    }

    /// What jit-notify reported so far that receivers took.
    pub(crate) fn reported(&self) -> Vec<Value> {
        self.said.2.lock().unwrap().clone()
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jit-notify"));
        command.arg("--config").arg(self.folder.join("config.yaml")).args(words).stdin(Stdio::null());
        command
    }

    /// Starts jit-notify, and returns when its channels read.
    pub(crate) fn start(&mut self) {
        let log = std::fs::File::options().create(true).append(true).open(self.folder.join("log")).unwrap();
        self.running = Some(self.command(&["serve"]).stderr(log).spawn().unwrap());
        until("the channels read", || {
            let statuses = self.statuses();
            (!statuses.is_empty() && statuses.iter().all(|status| status["connected"] == true)).then_some(())
        });
    }

    /// As `kill -9`.
    pub(crate) fn kill(&mut self) {
        let mut running = self.running.take().unwrap();
        running.kill().unwrap();
        running.wait().unwrap();
    }

    pub(crate) fn pid(&self) -> u32 {
        self.running.as_ref().unwrap().id()
    }

    /// How the channels are; none while it does not answer.
    pub(crate) fn statuses(&self) -> Vec<Value> {
        let said = self.command(&["status", "-o", "json"]).output().unwrap();
        serde_json::from_slice(&said.stdout).unwrap_or_default()
    }

    /// How one channel is, once it is so.
    pub(crate) fn status(&self, channel: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        until(what, || self.statuses().into_iter().find(|status| status["channel"] == channel && is_so(status)))
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if self.running.is_some() {
            self.kill();
        }
        if std::thread::panicking() {
            eprintln!("{}", std::fs::read_to_string(self.folder.join("log")).unwrap_or_default());
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A webhook's entry in the configuration; its URL is in the file of this name.
pub(crate) fn webhook(name: &str, url: &str) -> Value {
    json!({ "name": name, "webhook": { "url": { "file": url }, "secrets": [{ "file": "key" }] } })
}

/// One connection of jit-notify.
fn tell(stream: &UnixStream, said: &Said) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let hello = lines.next().ok_or(ErrorKind::UnexpectedEof)??;
    let hello: Value = serde_json::from_str(&hello)?;
    let last = said.0.lock().unwrap().len();
    let mut after = match &hello["from"] {
        Value::String(_) => last,
        from => match from["after"].as_u64() {
            Some(after) => usize::try_from(after).unwrap(),
            // Whatever the time is, everything happened since.
            None => 0,
        },
    };
    let snapshot = json!({ "kind": "snapshot", "version": 1, "host": "bastion1", "number": last, "after": after });
    let writer = Arc::new(Mutex::new(stream.try_clone()?));
    let write = |document: &Value, writer: &Mutex<UnixStream>| {
        writer.lock().unwrap().write_all(format!("{document}\n").as_bytes())
    };
    write(&snapshot, &writer)?;
    let (reports, answers) = (Arc::clone(said), Arc::clone(&writer));
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            let report: Value = serde_json::from_str(&line).unwrap();
            assert_eq!(report["kind"], "sent", "{report}");
            reports.2.lock().unwrap().extend(report["texts"].as_array().unwrap().iter().cloned());
            // One that has gone away reports it again.
            drop(write(&json!({ "kind": "recorded" }), &answers));
        }
    });
    loop {
        let more: Vec<Value> = {
            let facts = said.0.lock().unwrap();
            let (facts, _) =
                said.1.wait_timeout_while(facts, Duration::from_secs(1), |facts| facts.len() <= after).unwrap();
            facts[after..].to_vec()
        };
        for fact in &more {
            write(fact, &writer)?;
        }
        after += more.len();
        write(&json!({ "kind": "alive", "number": after }), &writer)?;
    }
}

/// A grant as the daemon shows it.
fn view(id: &str) -> Value {
    json!({
        "id": id, "phase": "pending", "requester": "alice", "cluster": "play", "namespaces": ["payments"],
        "role": "view", "access": "role view", "duration": "30m", "reason": "INC-42", "rule": "payments",
        "steps": [{ "groups": ["leads"], "count": 1, "missing": 1 }], "agreed": [], "digest": "d", "key": "k",
        "requestedAt": "2026-11-29T21:00:00Z", "certificates": 0, "answers": 1,
    })
}

/// Waits for a condition.
pub(crate) fn until<T>(what: &str, condition: impl FnMut() -> Option<T>) -> T {
    until_within(Duration::from_secs(60), what, condition)
}

pub(crate) fn until_within<T>(limit: Duration, what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(begun.elapsed() < limit, "not within {} s: {what}", limit.as_secs());
        std::thread::park_timeout(Duration::from_millis(20));
    }
}
