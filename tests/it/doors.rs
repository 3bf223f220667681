//! The two sockets of a daemon: who may open which, their removal, and that many connections to one do not block the
//! other. `callers` tests what each route answers at each.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use nix::unistd::{Gid, Group};
use serde_json::{Value, json};

use crate::bastion::{
    ADMIN, ALICE, ALICE_TOO, BOB, Bastion, CAROL, DAVE, ERIN, Key, Options, Person, ROOT, as_person, path, text,
};
use crate::plane::{Plane, until};

/// Everybody can open the users' socket; only root and its group can open the admin socket: the kernel refuses other
/// accounts before the daemon sees them.
#[test]
fn the_admin_socket_is_not_for_everybody() {
    let bastion = Bastion::start();
    let is = |socket: std::path::PathBuf| {
        let found = std::fs::metadata(socket).unwrap();
        (found.permissions().mode() & 0o777, found.uid(), found.gid())
    };
    let operators = Group::from_name("jit-admins").unwrap().map_or(0, |group| Gid::as_raw(group.gid));
    assert_eq!(is(bastion.admin_socket()), (0o660, 0, operators));
    assert_eq!(is(bastion.socket()).0, 0o666);
    let refused = Bastion::attempt_at(&bastion.admin_socket(), ALICE, "GET", "/healthz", &Value::Null);
    assert!(refused.as_ref().is_err_and(|why| why.contains("Permission denied")), "{refused:?}");
    assert_eq!(bastion.operate(ROOT, "GET", "/v1/operations", &Value::Null).0, 200);
}

/// People can request, answer and end at the admin socket as at the other one.
#[test]
fn people_can_use_the_admin_socket_like_the_other_one() {
    let bastion = Bastion::start();
    std::fs::set_permissions(bastion.admin_socket(), std::fs::Permissions::from_mode(0o666)).unwrap();
    let key = Key::new();
    let (status, grant) =
        bastion.operate(ALICE, "POST", "/v1/grants", &json!({ "ask": bastion.ask("1m"), "csr": key.csr() }));
    assert_eq!(status, 201, "{grant}");
    let digest = json!({ "digest": grant["digest"] });
    assert_eq!(bastion.operate(BOB, "POST", &path(&grant, "/approve"), &digest).0, 200);
    let csr = json!({ "csr": key.csr() });
    assert_eq!(bastion.operate(ALICE, "POST", &path(&grant, "/certificate"), &csr).0, 200);
    assert_eq!(bastion.operate(ADMIN, "POST", &path(&grant, "/revoke"), &json!({ "reason": "enough" })).0, 200);
    let last = bastion.trail().into_iter().rfind(|entry| entry["event"]["kind"] == "unbind_intended").unwrap();
    assert_eq!((&last["by"], last.get("operator")), (&json!("admin"), None), "as a person, not as an operator");
}

/// Both are created where the configuration says, replace those of a daemon that was killed, and are removed with the
/// daemon.
#[test]
fn both_sockets_are_removed_with_the_daemon() {
    let config = "adminSocket: run/operators/door.sock\n".to_owned();
    let mut bastion = Bastion::with(Plane::shared(), Options { config, ..Options::default() });
    let operators = bastion.dir.join("run/operators/door.sock");
    assert!(!bastion.admin_socket().exists());
    let answers = |socket: &std::path::Path| Bastion::attempt_at(socket, ROOT, "GET", "/healthz", &Value::Null).is_ok();
    assert!(answers(&operators));
    bastion.kill();
    assert!(operators.exists() && bastion.socket().exists() && !answers(&operators));
    bastion.serve();
    until("both answer again", || (answers(&operators) && answers(&bastion.socket())).then_some(()));
    assert!(bastion.terminate());
    assert!(!operators.exists() && !bastion.socket().exists());
}

/// One path cannot be both sockets.
#[test]
fn the_two_sockets_must_differ() {
    let config = "adminSocket: run/api.sock\n".to_owned();
    let mut bastion = Bastion::prepared(Plane::shared(), Options::default());
    let file = bastion.dir.join("config.yaml");
    let written = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{config}{written}")).unwrap();
    let checked = bastion.jitd(&["check"]);
    assert_eq!(checked.status.code(), Some(2));
    assert!(text(&checked.stderr).contains("`adminSocket` and `socket` are the same"), "{}", text(&checked.stderr));
    assert!(!bastion.is_running());
}

/// With all connections for users in use, and more waiting, the admin socket answers at once, and can revoke everything.
#[test]
fn many_users_do_not_block_the_admin_socket() {
    let bastion = Bastion::start();
    let grant = bastion.request(ALICE, &bastion.ask("5m"), &Key::new());
    let waits = |grant: &Value| format!("{}?phase=pending&answers=0&timeout=60", path(grant, "/wait"));
    let mut crowds: Vec<Crowd> = [ALICE, ALICE_TOO, BOB, CAROL, ERIN, ADMIN]
        .into_iter()
        .map(|person| Crowd::of(&bastion, person, &waits(&grant)))
        .collect();
    until("the users' socket is full", || {
        let (status, told) = bastion.get(DAVE, "/healthz");
        (status == 503).then(|| assert_eq!(told["code"], "busy"))
    });
    let (status, state) = bastion.operate(ROOT, "GET", "/v1/operations", &Value::Null);
    assert_eq!((status, &state["pending"]), (200, &json!(1)));
    let revoked = bastion.jitd(&["revoke", "--all", "--drain", "--reason", "flooded", "--yes"]);
    assert!(revoked.status.success(), "{}", text(&revoked.stderr));
    crowds.clear();
    until("users are served again", || (bastion.get(ALICE, "/healthz").0 == 200).then_some(()));
    bastion.has_no_fault();
}

/// 128 connections of one account, which is all that one account gets; they go with this.
struct Crowd(Child);

impl Crowd {
    fn of(bastion: &Bastion<'_>, person: Person, path: &str) -> Self {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--parallel", "--parallel-immediate", "--parallel-max", "128", "--retry", "60"])
            // Whoever did not get in comes again.
            .args(["--retry-all-errors", "--retry-delay", "1", "--unix-socket"])
            .arg(bastion.socket())
            // Each under a name of its own, so that none shares its connection.
            .arg(format!("http://jitd[1-128]{path}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Self(as_person(&mut curl, person).spawn().unwrap())
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Silent connections to the admin socket are limited in number, and are closed.
#[test]
fn silent_connections_to_the_admin_socket_are_closed() {
    let bastion = Bastion::start();
    let mut wires: Vec<UnixStream> = (0..40).map(|_| UnixStream::connect(bastion.admin_socket()).unwrap()).collect();
    until("there is no more room", || {
        let answer = Bastion::attempt_at(&bastion.admin_socket(), ROOT, "GET", "/healthz", &Value::Null);
        matches!(answer, Ok((503, _))).then_some(())
    });
    assert_eq!(bastion.get(ROOT, "/healthz").0, 200, "users are served meanwhile");
    wires.clear();
    until("there is room again", || {
        (bastion.operate(ROOT, "GET", "/v1/operations", &Value::Null).0 == 200).then_some(())
    });
}
