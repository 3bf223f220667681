//! Alertmanager of Debian, and Mailpit, an SMTP server.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jit_notify::board::{Alertmanager, Board, Mail, Relay, Security, Service};
use jit_notify::http::{Http, Target};
use jit_notify::outcome::Outcome;
use serde_json::{Value, json};

use crate::{Kept, approved, board, http, present, telling};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// What a script prints, which is the path of a program.
fn program(script: &str, arguments: &[&str]) -> String {
    let found = Command::new(repository().join(script)).args(arguments).output().unwrap();
    assert!(found.status.success(), "{script}: {}", String::from_utf8_lossy(&found.stderr));
    String::from_utf8(found.stdout).unwrap().trim().to_owned()
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("jit-notify-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// A process that ends with its test.
struct Ended(Child, PathBuf);

impl Drop for Ended {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
        drop(std::fs::remove_dir_all(&self.1));
    }
}

/// What a server answers; it may be on its way up.
async fn get(http: &Http, server: &Target, path: &str) -> Vec<u8> {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let target = server.below(path).unwrap();
        match http.send(hyper::Method::GET, &target, hyper::HeaderMap::new(), Vec::new()).await {
            Ok(answer) if answer.status == 200 => return answer.body,
            other => assert!(Instant::now() < until, "{other:?}"),
        }
        tokio::task::yield_now().await;
    }
}

async fn json_of(http: &Http, server: &Target, path: &str) -> Value {
    serde_json::from_slice(&get(http, server, path).await).unwrap()
}

/// A question is an alert: it fires while somebody has to answer, and is over when somebody did.
#[tokio::test]
async fn alertmanager_has_an_alert_while_a_request_waits() {
    let alertmanager =
        program("tests/packages/debian-program.sh", &["prometheus-alertmanager", "prometheus-alertmanager"]);
    let folder = folder("alertmanager");
    let file = folder.join("alertmanager.yml");
    std::fs::write(&file, "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n").unwrap();
    let port = free_port();
    // Debian's program reads a file below /usr/share that its package has, and the package is only unpacked.
    let share = Path::new(&alertmanager).ancestors().nth(2).unwrap().join("share");
    let child = Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-c", "mount --bind \"$0\" /usr/share && exec \"$@\""])
        .args([share.as_os_str(), alertmanager.as_ref()])
        .arg(format!("--config.file={}", file.display()))
        .arg(format!("--storage.path={}", folder.join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .arg("--cluster.listen-address=")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _alertmanager = Ended(child, folder);
    let server = Target::parse(&format!("http://127.0.0.1:{port}")).unwrap();
    let client = http();
    assert_eq!(json_of(&client, &server, "/api/v2/alerts").await, json!([]));

    let mut kept = Kept::new(board(Service::Alertmanager(Alertmanager::new(server.clone(), None))));
    let now = Timestamp::now();
    kept.shows(&present("aaaa", now, &json!({})), now).await;
    let alerts = json_of(&client, &server, "/api/v2/alerts").await;
    let alert = &alerts[0];
    assert_eq!((alerts.as_array().unwrap().len(), &alert["status"]["state"]), (1, &json!("active")), "{alerts}");
    let labels = &alert["labels"];
    assert_eq!(
        (&labels["grant"], &labels["risk"], &labels["host"]),
        (&json!("aaaa"), &json!("high"), &json!("bastion-1"))
    );
    let description = alert["annotations"]["description"].as_str().unwrap();
    assert!(description.contains("why: \\u{003c}!channel\\u{003e} queue is stuck"), "{description}");
    assert!(description.contains("answer: jit-login approve aaaa"), "{description}");

    kept.shows(&present("aaaa", now, &approved()), Timestamp::now()).await;
    // It is over within the second.
    let until = Instant::now() + Duration::from_secs(30);
    while json_of(&client, &server, "/api/v2/alerts?active=true").await != json!([]) {
        assert!(Instant::now() < until, "the alert still fires");
    }
}

/// Mailpit with TLS from the first byte, with STARTTLS, or without TLS.
struct Mailpit {
    server: Target,
    smtp: u16,
    certificate: rustls::pki_types::CertificateDer<'static>,
    _process: Ended,
}

impl Mailpit {
    fn start(name: &str, security: Security) -> Self {
        let mailpit = program("tests/mail/build.sh", &[]);
        let folder = folder(name);
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(folder.join("cert"), made.cert.pem()).unwrap();
        std::fs::write(folder.join("key"), made.signing_key.serialize_pem()).unwrap();
        std::fs::write(folder.join("users"), "jitd:hush\n").unwrap();
        let (web, smtp) = (free_port(), free_port());
        let mut command = Command::new(mailpit);
        command.args(["--listen", &format!("127.0.0.1:{web}"), "--smtp", &format!("127.0.0.1:{smtp}"), "--quiet"]);
        if security != Security::Loopback {
            let path = |name: &str| folder.join(name).display().to_string();
            command.args(["--smtp-tls-cert", &path("cert"), "--smtp-tls-key", &path("key")]);
            command.args(["--smtp-auth-file", &path("users")]);
            command.arg(if security == Security::Tls { "--smtp-require-tls" } else { "--smtp-require-starttls" });
        }
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let server = Target::parse(&format!("http://127.0.0.1:{web}")).unwrap();
        Self { server, smtp, certificate: made.cert.der().clone(), _process: Ended(child, folder) }
    }

    fn board(&self, security: Security, password: &str) -> Board {
        let login = (security != Security::Loopback).then(|| ("jitd".to_owned(), password.to_owned().into()));
        let relay = Relay { host: "localhost".to_owned(), port: self.smtp, security, login };
        let to = ["leads@example.com".to_owned()];
        let mail = Mail::new(relay, "jitd <jitd@example.com>", &to, std::slice::from_ref(&self.certificate)).unwrap();
        telling(Service::Mail(Box::new(mail)), &[("alice", "alice@example.com")])
    }

    /// The letters that arrived, as they are, the first one first.
    async fn letters(&self, http: &Http) -> Vec<String> {
        let list = json_of(http, &self.server, "/api/v1/messages").await;
        let mut letters = Vec::new();
        for message in list["messages"].as_array().unwrap().iter().rev() {
            let path = format!("/api/v1/message/{}/raw", message["ID"].as_str().unwrap());
            letters.push(String::from_utf8(get(http, &self.server, &path).await).unwrap());
        }
        letters
    }
}

fn header(letter: &str, name: &str) -> String {
    let line = letter.lines().find(|line| line.starts_with(&format!("{name}: ")));
    line.unwrap_or_else(|| panic!("{name}: {letter}")).to_owned()
}

/// A thread for each request: the question, and the outcome as a reply to it. The requester has a letter of their own.
#[tokio::test]
async fn mail_has_a_thread_per_request() {
    let mailpit = Mailpit::start("mail", Security::Loopback);
    let client = http();
    assert_eq!(mailpit.letters(&client).await, Vec::<String>::new());
    let mut kept = Kept::new(mailpit.board(Security::Loopback, ""));
    let now = Timestamp::now();
    kept.shows(&present("aaaa", now, &json!({})), now).await;
    let approved = present("aaaa", now, &approved());
    assert!(matches!(kept.show(&approved, now).await, Some(Outcome::Delivered { .. })));
    kept.shows(&approved, now).await;
    let letters = mailpit.letters(&client).await;
    let [question, outcome, news] = letters.as_slice() else { panic!("{letters:?}") };
    assert_eq!(header(question, "Message-ID"), "Message-ID: <aaaa.request@example.com>");
    assert_eq!(header(outcome, "In-Reply-To"), "In-Reply-To: <aaaa.request@example.com>");
    assert_eq!(header(news, "Message-ID"), "Message-ID: <aaaa.news@example.com>");
    assert_eq!(
        (header(question, "To"), header(news, "To")),
        ("To: leads@example.com".into(), "To: alice@example.com".into())
    );
    assert!(letters.iter().all(|letter| header(letter, "Auto-Submitted") == "Auto-Submitted: auto-generated"));
    let text = json_of(&client, &mailpit.server, "/api/v1/message/latest").await;
    assert!(text["Text"].as_str().unwrap().contains("approved by bob; collect it by"), "{text}");
}

/// TLS in both ways, verified, with a password; another authority or password is refused, in words without the password.
#[tokio::test]
async fn mail_goes_over_tls_that_is_verified() {
    for (name, security) in [("mail-tls", Security::Tls), ("mail-starttls", Security::StartTls)] {
        let mailpit = Mailpit::start(name, security);
        let client = http();
        assert_eq!(mailpit.letters(&client).await, Vec::<String>::new());
        let now = Timestamp::now();
        let asked = present("aaaa", now, &json!({}));
        let stranger = Mailpit { certificate: rcgen_certificate(), ..mailpit };
        let Some(Outcome::Later { why, .. }) = Kept::new(stranger.board(security, "hush")).show(&asked, now).await
        else {
            panic!("a certificate of a stranger was accepted");
        };
        assert!(!why.contains("hush"), "{why}");
        assert_eq!(stranger.letters(&client).await, Vec::<String>::new());
    }
    for (name, security) in [("mail-tls-2", Security::Tls), ("mail-starttls-2", Security::StartTls)] {
        let mailpit = Mailpit::start(name, security);
        let client = http();
        assert_eq!(mailpit.letters(&client).await, Vec::<String>::new());
        let now = Timestamp::now();
        let asked = present("aaaa", now, &json!({}));
        let outcome = Kept::new(mailpit.board(security, "wrong-hush")).show(&asked, now).await;
        let Some(Outcome::Refused { why } | Outcome::Later { why, .. }) = outcome else { panic!("{outcome:?}") };
        assert!(!why.contains("hush"), "{why}");
        Kept::new(mailpit.board(security, "hush")).shows(&asked, now).await;
        assert_eq!(mailpit.letters(&client).await.len(), 1);
    }
}

fn rcgen_certificate() -> rustls::pki_types::CertificateDer<'static> {
    rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.der().clone()
}
