//! A directory says who the people of a provider are now: whoever is disabled or lost the group loses the access, and a
//! directory that fails changes nothing until `staleAfter`.
//!
//! The directory is a server of this file that answers as Keycloak 26 and Microsoft Graph document it, because real ones do not
//! misbehave on demand; `keycloak.rs` has the real Keycloak, and nothing here has the real Graph. The test stands in the place of the front end.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jit_wire::frontend::Introduction;
use parking_lot::Mutex;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use crate::bastion::{ALICE, Access, BOB, Bastion, DAVE, ERIN, Key, Options, path};
use crate::frontend::{Wire, introduction};
use crate::oidc::certify;
use crate::plane::{Admin, Plane, root, scratch, until_within};

const TENANT: &str = "8c1f1b8e-0b0a-4a43-9a6b-3d2f1c0e5a77";

/// The group of Entra ID that counts, among others that are mapped to the same.
const ONCALL: &str = "0f1e2d3c-4b5a-6978-8796-000000000024";

const A_MINUTE: Duration = Duration::from_secs(60);

/// What the directory does with the next requests.
#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    Answers,
    /// This status and body, whatever is asked.
    Says(u16, &'static str),
    /// The person has another id than the one that was asked about.
    AboutAnother,
    /// A body without an end.
    Endless,
    BreaksOff,
    Hangs,
    /// Too many requests: wait for a second.
    Busy,
}

struct State {
    how: How,
    enabled: bool,
    exists: bool,
    groups: Vec<&'static str>,
}

/// What becomes of the person.
type Change = fn(&mut State);

struct Directory {
    port: u16,
    folder: PathBuf,
    state: Arc<Mutex<State>>,
}

impl Directory {
    fn start() -> Self {
        let folder = scratch("directory");
        let (certificate, key) = certify(&folder);
        let chain = CertificateDer::pem_file_iter(certificate).unwrap().map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_file(key).unwrap();
        let tls = Arc::new(ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap());
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = State { how: How::Answers, enabled: true, exists: true, groups: vec!["/payments-oncall"] };
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (tls, state) = (Arc::clone(&tls), Arc::clone(&shared));
                // A client that goes away ends its own thread.
                std::thread::spawn(move || {
                    serve(StreamOwned::new(ServerConnection::new(tls).unwrap(), stream), &state)
                });
            }
        });
        Self { port, folder, state }
    }

    fn issuer(&self) -> String {
        format!("https://127.0.0.1:{}/realms/corp", self.port)
    }

    /// The issuer if it is Entra ID.
    fn tenant(&self) -> String {
        format!("https://127.0.0.1:{}/{TENANT}/v2.0", self.port)
    }

    fn does(&self, how: How) {
        self.state.lock().how = how;
    }
}

/// One request, as Keycloak answers it.
fn serve(mut stream: StreamOwned<ServerConnection, TcpStream>, state: &Mutex<State>) -> Option<()> {
    let mut reader = BufReader::new(&mut stream);
    let (mut head, mut line) = (String::new(), String::new());
    while line != "\r\n" {
        line.clear();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        head += &line;
    }
    let length = head
        .to_lowercase()
        .split("content-length: ")
        .nth(1)
        .map_or(0, |rest| rest.lines().next().unwrap().parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let body = String::from_utf8(body).unwrap();
    let target = head.split(' ').nth(1).unwrap().to_owned();
    let (how, enabled, exists, groups) = {
        let state = state.lock();
        (state.how, state.enabled, state.exists, state.groups.clone())
    };
    let mut say = |status: u16, body: &str| {
        let text = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(text.as_bytes()).and_then(|()| stream.flush()).ok()
    };
    let is_graph = target == format!("/{TENANT}/oauth2/v2.0/token");
    if is_graph || target.ends_with("/protocol/openid-connect/token") {
        let rest = body.strip_prefix("grant_type=client_credentials&client_id=jitd&client_secret=hush");
        let is_scope =
            |rest: &str| rest.starts_with("&scope=https%3A%2F%2F127%2E0%2E0%2E1%3A") && rest.ends_with("%2F%2Edefault");
        let is_ours = rest.is_some_and(|rest| if is_graph { is_scope(rest) } else { rest.is_empty() });
        let token = json!({ "access_token": "of-jitd", "token_type": "Bearer", "expires_in": 60 });
        return if is_ours { say(200, &token.to_string()) } else { say(401, r#"{"error":"unauthorized_client"}"#) };
    }
    assert!(head.to_lowercase().contains("authorization: bearer of-jitd\r\n"), "{head}");
    let id = target.split("/users/").nth(1).unwrap().split(['/', '?']).next().unwrap().to_owned();
    // As Keycloak does with a path that encodes what need not be.
    if target.contains("%2D") {
        return say(400, "");
    }
    match how {
        How::Busy => stream
            .write_all(b"HTTP/1.1 429 X\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n")
            .and_then(|()| stream.flush())
            .ok(),
        How::Answers if target.starts_with("/v1.0/") => {
            if !exists {
                return say(
                    404,
                    r#"{"error":{"code":"Request_ResourceNotFound","message":"Resource does not exist."}}"#,
                );
            }
            if target.ends_with("?$select=accountEnabled") {
                return say(200, &json!({ "@odata.context": "x", "accountEnabled": enabled }).to_string());
            }
            assert!(target.ends_with("/checkMemberGroups"), "{target}");
            let asked: Value = serde_json::from_str(&body).unwrap();
            let asked = asked["groupIds"].as_array().unwrap();
            assert!(asked.len() <= 20, "{asked:?}");
            let found: Vec<&Value> = asked.iter().filter(|id| groups.iter().any(|group| *id == group)).collect();
            say(200, &json!({ "@odata.context": "x", "value": found }).to_string())
        }
        How::Answers if !exists => say(404, r#"{"error":"User not found"}"#),
        How::Answers if target.contains("/groups?") => {
            // More than one page, and what counts is on the last one.
            let others = (0..130).map(|number| format!("/others/{number}"));
            let all: Vec<String> = others.chain(groups.into_iter().map(str::to_owned)).collect();
            let first: usize = target.split("first=").nth(1).unwrap().split('&').next().unwrap().parse().unwrap();
            let page = all.iter().skip(first).take(100).map(|path| json!({ "id": "g", "name": "n", "path": path }));
            say(200, &Value::from(page.collect::<Vec<_>>()).to_string())
        }
        How::Answers => say(200, &json!({ "id": id, "username": "u", "enabled": enabled }).to_string()),
        How::Says(status, body) => say(status, body),
        How::AboutAnother => say(200, r#"{"id":"somebody-else","enabled":false}"#),
        How::Endless => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").ok()?;
            loop {
                stream.write_all(format!("4000\r\n{}\r\n", " ".repeat(0x4000)).as_bytes()).ok()?;
            }
        }
        How::BreaksOff => stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"id\":")
            .and_then(|()| stream.flush())
            .ok(),
        How::Hangs => {
            // Until the client gives up.
            drop(stream.read(&mut [0]));
            None
        }
    }
}

/// A daemon with this directory as that of a Keycloak.
fn bastion(directory: &Directory, stale_after: &str) -> Bastion<'static> {
    let url = directory.issuer().replace("/realms/", "/admin/realms/");
    let rule = format!("keycloak: \"{url}\", groups: {{/payments-oncall: payments-oncall}}, staleAfter: {stale_after}");
    bastion_of(directory, &directory.issuer(), &rule)
}

fn bastion_of(directory: &Directory, issuer: &str, rule: &str) -> Bastion<'static> {
    let config = format!(
        "providers:\n- issuer: \"{issuer}\"\n  groups: [payments-oncall]\n  directory: {{clientId: jitd, \
         secret: {{file: directory.secret}}, {rule}}}\n"
    );
    let mut bastion = Bastion::prepared(Plane::shared(), Options { config, ..Options::default() });
    let secret = bastion.dir.join("directory.secret");
    std::fs::write(&secret, "hush\n").unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    let mut daemon = Command::new(root().join("bin/jitd"));
    daemon.env("SSL_CERT_FILE", directory.folder.join("root.crt"));
    bastion.serve_as(daemon);
    bastion
}

/// A person of the provider, whose token says that they are on call.
fn oncall(directory: &Directory, subject: &str) -> Introduction {
    let mut introduced = introduction(subject, &["payments-oncall"]);
    introduced.login.issuer = directory.issuer();
    introduced
}

fn comes(bastion: &Bastion<'_>, introduced: &Introduction) -> Wire {
    Wire::introduced(bastion, introduced).unwrap().0
}

/// An approved request of this person.
fn approved(bastion: &Bastion<'_>, wire: &mut Wire) -> (Value, Key) {
    let key = Key::new();
    let (status, grant) = wire.call("POST", "/v1/grants", &json!({ "ask": bastion.ask("10m"), "csr": key.csr() }));
    assert_eq!(status, 201, "{grant}");
    assert_eq!(bastion.approve(BOB, &grant).0, 200);
    (grant, key)
}

fn collected(bastion: &Bastion<'_>, wire: &mut Wire, (grant, key): (Value, Key)) -> Access {
    let (status, certificate) = wire.call("POST", &path(&grant, "/certificate"), &json!({ "csr": key.csr() }));
    assert_eq!(status, 200, "{certificate}");
    let chain = certificate["certificate"].as_str().unwrap().to_owned();
    let client = Admin::with_certificate(bastion.plane, &chain, &key.pem());
    Access { grant, key, chain, client }
}

fn failures(bastion: &Bastion<'_>, directory: &Directory) -> u64 {
    bastion.metric(&format!("unanswered_calls{{dependency=\"directory of {}\"}}", directory.issuer()))
}

/// The group is lost, or the account is disabled or deleted: live access ends, approved access is not collected, and the person
/// is nobody while the directory says so.
#[test]
fn whoever_loses_the_group_or_the_account_in_the_directory_loses_the_access() {
    let directory = Directory::start();
    let bastion = bastion(&directory, "10m");
    let changes: [(Change, &str); 3] = [
        (|state| state.groups.clear(), "is no longer in payments-oncall"),
        (|state| state.enabled = false, "says that this account is disabled"),
        (|state| state.exists = false, "no longer has this account"),
    ];
    for (number, (change, why)) in changes.into_iter().enumerate() {
        *directory.state.lock() =
            State { how: How::Answers, enabled: true, exists: true, groups: vec!["/payments-oncall"] };
        let who = oncall(&directory, &format!("holder-{number}"));
        let mut holder = comes(&bastion, &who);
        let mut later = comes(&bastion, &oncall(&directory, &format!("later-{number}")));
        let access = {
            let request = approved(&bastion, &mut holder);
            collected(&bastion, &mut holder, request)
        };
        assert_eq!(bastion.look(&access, &bastion.ns), 200);
        let waiting = approved(&bastion, &mut later);
        let told = holder.call("GET", "/v1/whoami", &Value::Null).1;
        assert!(told["directory"].is_string(), "{told}");

        change(&mut directory.state.lock());
        let (status, refused) =
            later.call("POST", &path(&waiting.0, "/certificate"), &json!({ "csr": waiting.1.csr() }));
        let code = if number == 0 { "requester-lost-right" } else { "unknown-caller" };
        assert_eq!((status, &refused["code"]), (403, &json!(code)), "{refused}");
        let ended = until_within(A_MINUTE, "the access is over", || {
            let shown = bastion.show(ERIN, &access.grant);
            (shown["phase"] == "ended").then_some(shown)
        });
        assert_eq!(ended["endCause"], "drifted");
        assert!(ended["closingWords"].as_str().unwrap().contains(why), "{ended}");
        assert_eq!(bastion.look(&access, &bastion.ns), 403);
        // In the session of before, whose token is older than the answer.
        match Wire::introduced(&bastion, &who) {
            Ok((mut again, _)) => assert_eq!(again.call("GET", "/v1/whoami", &Value::Null).1["groups"], json!([])),
            Err(refused) => assert_eq!((refused.as_str(), number > 0), ("unknown-caller", true)),
        }
    }
    bastion.has_no_fault();
}

/// Whatever a directory answers that is not documented changes nothing, and is told; and nobody else waits for it.
#[test]
fn an_answer_of_another_form_changes_nothing() {
    let directory = Directory::start();
    let bastion = bastion(&directory, "10m");
    let collect = |name: String| {
        let mut wire = comes(&bastion, &oncall(&directory, &name));
        let request = approved(&bastion, &mut wire);
        collected(&bastion, &mut wire, request)
    };
    let modes = [
        How::Says(500, "{}"),
        How::Says(302, ""),
        How::Says(403, r#"{"error":"HTTP 403 Forbidden"}"#),
        How::Says(404, r#"{"error":"Realm not found."}"#),
        How::Says(404, "<h1>Not Found</h1>"),
        How::Says(200, "<h1>Welcome</h1>"),
        How::Says(200, r#"{"enabled":false}"#),
        How::Says(200, r#"{"id":"odd-7","enabled":"false"}"#),
        How::AboutAnother,
        How::Endless,
        How::BreaksOff,
        How::Hangs,
    ];
    let mut all = Vec::new();
    for (number, how) in modes.into_iter().enumerate() {
        directory.does(how);
        let access = collect(format!("odd-{number}"));
        let fails = || (failures(&bastion, &directory) > 0).then_some(());
        until_within(A_MINUTE, &format!("{how:?} is a failure"), fails);
        assert_eq!(bastion.look(&access, &bastion.ns), 200, "{how:?}");
        all.push(access);
        if how == How::Hangs {
            let begun = Instant::now();
            assert_eq!(bastion.get(ALICE, "/v1/whoami").0, 200);
            bastion.live(&bastion.ask("5m"));
            assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
        }
        directory.does(How::Answers);
        collect(format!("good-{number}"));
        let answers = || (failures(&bastion, &directory) == 0).then_some(());
        until_within(A_MINUTE, &format!("it answers again after {how:?}"), answers);
    }
    for access in &all {
        assert_eq!(bastion.show(ERIN, &access.grant)["phase"], "live");
    }
}

/// The doctor asks it as the daemon does, and says what is missing; a secret that only the daemon gets is not read.
#[test]
fn the_doctor_asks_the_directory() {
    let directory = Directory::start();
    let bastion = bastion(&directory, "5s");
    let doctor = || {
        let mut doctor = Command::new(root().join("bin/jitd"));
        doctor.env("SSL_CERT_FILE", directory.folder.join("root.crt"));
        let done = doctor.arg("--config").arg(bastion.dir.join("config.yaml")).args(["doctor", "-o", "json"]).output();
        let said: Vec<Value> = serde_json::from_slice(&done.unwrap().stdout).unwrap();
        let check = format!("directory {}", directory.issuer());
        said.into_iter().find(|diagnosis| diagnosis["check"] == check.as_str()).unwrap()
    };
    let told = doctor();
    assert_eq!((&told["state"], &told["found"]), (&json!("ok"), &json!("it answers")), "{told}");
    directory.does(How::Says(403, ""));
    let told = doctor();
    let fix = "the client lacks the right to read people and their groups";
    assert_eq!((&told["state"], &told["fix"]), (&json!("fault"), &json!(fix)), "{told}");
    assert_eq!(failures(&bastion, &directory), 0, "the doctor is not the daemon");
    let config = bastion.dir.join("config.yaml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("{file: directory.secret}", "{credential: directory}")).unwrap();
    let told = doctor();
    assert_eq!(told["state"], "skipped", "{told}");
}

/// After `staleAfter` the provider's people get nothing new and read why; what is live goes on, and so does everybody else.
#[test]
fn a_directory_that_is_silent_for_too_long_stops_what_is_new() {
    let directory = Directory::start();
    let bastion = bastion(&directory, "5s");
    let who = oncall(&directory, "greta");
    let (mut frieda, mut greta) = (comes(&bastion, &oncall(&directory, "frieda")), comes(&bastion, &who));
    let request = approved(&bastion, &mut frieda);
    let access = collected(&bastion, &mut frieda, request);
    let waiting = approved(&bastion, &mut greta);
    directory.does(How::Says(503, ""));
    let ask = || json!({ "ask": bastion.ask("10m"), "csr": Key::new().csr() });
    let refused = until_within(A_MINUTE, "nothing new is granted", || {
        let (status, told) = frieda.call("POST", "/v1/grants", &ask());
        (status != 201).then_some((status, told))
    });
    assert_eq!((refused.0, &refused.1["code"]), (503, &json!("directory-unavailable")), "{}", refused.1);
    let why = refused.1["detail"].as_str().unwrap();
    assert!(why.contains(&format!("directory of {} has not answered since ", directory.issuer())), "{why}");
    assert!(why.ends_with("it answers 503"), "{why}");
    let collect = json!({ "csr": waiting.1.csr() });
    // A connection on which nobody calls is closed.
    let (status, told) = comes(&bastion, &who).call("POST", &path(&waiting.0, "/certificate"), &collect);
    assert_eq!((status, &told["code"]), (503, &json!("directory-unavailable")), "{told}");
    let (status, health) = bastion.get(DAVE, "/healthz");
    assert_eq!((status, &health["code"]), (503, &json!("dependency-silent")));
    assert!(health["detail"].as_str().unwrap().contains(&directory.issuer()), "{health}");
    assert_eq!(bastion.look(&access, &bastion.ns), 200);
    let renewed = frieda.call("POST", &path(&access.grant, "/certificate"), &json!({ "csr": access.key.csr() }));
    assert_eq!(renewed.0, 200, "live access is renewed: {}", renewed.1);
    bastion.live(&bastion.ask("5m"));

    directory.does(How::Answers);
    until_within(A_MINUTE, "it is asked again", || (bastion.get(DAVE, "/healthz").0 == 200).then_some(()));
    let collected = collected(&bastion, &mut comes(&bastion, &who), waiting);
    let came_in = &bastion.show(ERIN, &collected.grant)["cameInAs"][0];
    let asked: Timestamp = came_in["directory"].as_str().unwrap().parse().unwrap();
    let answered = bastion.metric(&format!("directory_answered_seconds{{issuer=\"{}\"}}", directory.issuer()));
    let asked = u64::try_from(asked.as_second()).unwrap();
    assert!(asked > 1_700_000_000 && asked <= answered, "{came_in} {answered}");
    assert_eq!(bastion.look(&access, &bastion.ns), 200);
}

/// Microsoft Graph says the same in another form: a person is disabled, gone, or not in a group. It asks callers to wait, and is
/// asked again then.
#[test]
fn graph_is_asked_in_its_own_form() {
    let directory = Directory::start();
    let groups: String =
        (0..25).map(|number| format!("\"0f1e2d3c-4b5a-6978-8796-{number:012}\": payments-oncall, ")).collect();
    let url = format!("https://127.0.0.1:{}/v1.0", directory.port);
    let rule = format!("microsoftGraph: \"{url}\", groups: {{{groups}}}");
    let bastion = bastion_of(&directory, &directory.tenant(), &rule);
    let comes = |number: usize| {
        let mut introduced = introduction(&format!("person-{number}"), &["payments-oncall"]);
        introduced.login.issuer = directory.tenant();
        introduced.login.subject = format!("{TENANT}/aaaaaaaa-bbbb-cccc-dddd-{number:012}");
        Wire::introduced(&bastion, &introduced).unwrap().0
    };
    let changes: [(Change, &str); 3] = [
        (|state| state.groups.clear(), "requester-lost-right"),
        (|state| state.enabled = false, "unknown-caller"),
        (|state| state.exists = false, "unknown-caller"),
    ];
    for (number, (change, code)) in changes.into_iter().enumerate() {
        *directory.state.lock() = State { how: How::Answers, enabled: true, exists: true, groups: vec![ONCALL] };
        let (mut first, mut second) = (comes(2 * number), comes(2 * number + 1));
        let request = approved(&bastion, &mut first);
        collected(&bastion, &mut first, request);
        let (grant, key) = approved(&bastion, &mut second);
        change(&mut directory.state.lock());
        let refused = second.call("POST", &path(&grant, "/certificate"), &json!({ "csr": key.csr() }));
        assert_eq!((refused.0, &refused.1["code"]), (403, &json!(code)), "{}", refused.1);
    }
    *directory.state.lock() = State { how: How::Busy, enabled: true, exists: true, groups: vec![ONCALL] };
    let mut third = comes(7);
    let request = approved(&bastion, &mut third);
    collected(&bastion, &mut third, request);
    let unanswered = format!("unanswered_calls{{dependency=\"directory of {}\"}}", directory.tenant());
    let becomes = |is_silent: bool| {
        until_within(A_MINUTE, "its state is told", || ((bastion.metric(&unanswered) > 0) == is_silent).then_some(()));
    };
    becomes(true);
    directory.does(How::Answers);
    becomes(false);
}
