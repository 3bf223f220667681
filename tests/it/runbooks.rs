//! The pages of `docs/runbooks`: each situation is created for real, and each command is run.

use std::time::Duration;

use jiff::SignedDuration;
use jitd::ca::{Authority, KeyPlace};
use jitd::grant::{Author, Event};
use jitd::trail::Trail;

use crate::bastion::{Bastion, Options, repository, text};
use crate::console::{Console, blocks};
use crate::plane::{Admin, Plane, until, until_within};

fn page(name: &str) -> String {
    std::fs::read_to_string(repository().join("docs/runbooks").join(name)).unwrap()
}

fn policy() -> String {
    crate::glass::policy("0s", "4h")
}

fn bastion(plane: &Plane) -> Bastion<'_> {
    Bastion::with(plane, Options { policy: policy(), ..Options::default() })
}

/// The index names every page and no other, and every page has the four parts.
#[test]
fn every_page_is_in_the_index_and_has_its_parts() {
    let index = page("README.md");
    let mut names: Vec<String> = std::fs::read_dir(repository().join("docs/runbooks"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "README.md")
        .collect();
    names.sort();
    let mut indexed: Vec<String> =
        index.split("](").skip(1).map(|rest| rest.split(')').next().unwrap().to_owned()).collect();
    indexed.sort();
    assert_eq!(names, indexed);
    for name in names {
        let text = page(&name);
        for part in
            ["## What people see", "## What works meanwhile", "## What to do", "## How to check that it is over"]
        {
            assert!(text.contains(part), "{name}: {part}");
        }
    }
}

#[test]
fn approver_away() {
    let mut console = Console::at(bastion(Plane::shared()));
    for block in blocks(&page("approver-away.md")) {
        console.is_true(block);
    }
}

#[test]
fn api_server_down() {
    let plane = Plane::to_stop();
    let mut console = Console::at(bastion(&plane));
    let access = console.bastion.live(&console.bastion.ask("5s"));
    plane.stop_api_server();
    console.bastion.wait_for(&access.grant, &["ending"]);
    let page = page("api-server-down.md");
    let [seen, done, over] = blocks(&page)[..] else { panic!("another number of blocks") };
    console.is_true(seen);
    console.is_true(done);
    plane.start_api_server();
    console.is_true(over);
}

#[test]
fn disk_full() {
    let mut bastion = Bastion::prepared(Plane::shared(), Options { policy: policy(), ..Options::default() });
    bastion.serve_on_a_small_disk();
    let access = bastion.live(&bastion.ask("5m"));
    let mut console = Console::at(bastion);
    console.bastion.fill_disk();
    let page = page("disk-full.md");
    let [seen, holds, room, over] = blocks(&page)[..] else { panic!("another number of blocks") };
    console.is_true(seen);
    console.is_true(holds);
    assert_eq!(console.bastion.look(&access, &console.bastion.ns), 403);
    console.bastion.make_room();
    console.is_true(room);
    console.is_true(over);
}

/// What was written by a clock an hour ahead stands for a clock that was set back since.
#[test]
#[expect(clippy::disallowed_methods, reason = "the daemon has the real clock")]
fn clock_wrong() {
    let mut bastion = Bastion::prepared(Plane::shared(), Options { policy: policy(), ..Options::default() });
    let trail = Trail::open(&bastion.dir.join("var/trail.db")).unwrap().trail;
    let at = jiff::Timestamp::now() + SignedDuration::from_hours(1);
    let ahead = Author::Daemon.fact(at, None, Event::Stopped);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(trail.append(vec![ahead], None)).unwrap();
    trail.close();
    drop(trail);
    bastion.serve();
    let mut console = Console::at(bastion);
    for block in blocks(&page("clock-wrong.md")) {
        console.is_true(block);
    }
}

/// With the stolen key a thief is somebody in the cluster until its root is taken out of the API server's file, and
/// nobody from then on. It runs from `a_minute.rs`.
pub(crate) fn ca_lost_or_stolen() {
    let plane = Plane::start();
    // Before any root of ours is in it.
    let cluster_ca = plane.client_ca.with_extension("own");
    std::fs::copy(&plane.client_ca, &cluster_ca).unwrap();
    let mut console = Console::at(bastion(&plane));
    console.cluster_ca = Some(cluster_ca);
    let access = console.bastion.live(&console.bastion.ask("10m"));
    let thief = stolen(&plane, &console.bastion);
    assert_eq!(knock(&thief), 200, "the API server takes the thief for whom the certificate names");

    let page = page("ca-lost-or-stolen.md");
    let [look, revoke, untrust, anew, trust, resume, over] = blocks(&page)[..] else {
        panic!("another number of blocks")
    };
    console.is_true(look);
    console.is_true(revoke);
    assert_eq!(console.bastion.look(&access, &console.bastion.ns), 403);
    assert_eq!(knock(&thief), 200, "only the API server's own file stops a thief");
    console.is_true(untrust);
    refused(&thief);
    console.is_true(anew);
    console.is_true(trust);
    assert_eq!(knock(&thief), 401);
    assert_eq!(console.bastion.look(&access, &console.bastion.ns), 401);
    console.is_true(resume);
    console.is_true(over);
    let again = console.bastion.live(&console.bastion.ask("1m"));
    assert_eq!(console.bastion.look(&again, &console.bastion.ns), 200);
}

/// Somebody with a certificate that the issuing key of this host signed and that the trail knows nothing of.
#[expect(clippy::disallowed_methods, reason = "a thief has the real clock")]
fn stolen(plane: &Plane, bastion: &Bastion<'_>) -> Admin {
    let folder = bastion.dir.join("loot");
    std::fs::create_dir(&folder).unwrap();
    std::fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    for file in ["issuing.pem", "root.crt"] {
        std::fs::copy(bastion.dir.join("var/ca/play").join(file), folder.join(file)).unwrap();
    }
    let authority = Authority::open(&folder, &KeyPlace::File).unwrap();
    let made =
        authority.daemon_credential(&bastion.host, SignedDuration::from_mins(10), jiff::Timestamp::now()).unwrap();
    Admin::with_certificate(plane, &made.chain_pem, &made.key_pem)
}

/// What the API server answers to a question that everybody may ask whom it knows.
fn knock(who: &Admin) -> u16 {
    let review = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
    let body = serde_json::json!({ "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": { "namespace": "default" } });
    who.call(http::Method::POST, review, &body).0
}

fn refused(thief: &Admin) {
    until_within(Duration::from_secs(75), "the API server reads its file again", || {
        (knock(thief) == 401).then_some(())
    });
}

/// It runs from `a_minute.rs`.
pub(crate) fn host_rebuilt() {
    let mut console = Console::at(bastion(Plane::shared()));
    let before = console.bastion.live(&console.bastion.ask("10m"));
    let page = page("host-rebuilt.md");
    let [copy, replace, start, revoke, delete, over] = blocks(&page)[..] else { panic!("another number of blocks") };
    console.is_true(copy);
    let lost = console.bastion.live(&console.bastion.ask("10m"));
    console.is_true(replace);
    console.is_true(start);
    let (status, _) = console.bastion.get(crate::bastion::ALICE, &crate::bastion::path(&lost.grant, ""));
    assert_eq!(status, 404, "the copy does not know it");
    assert_eq!(console.bastion.look(&lost, &console.bastion.ns), 200, "its binding is there still");
    console.is_true(revoke);
    assert_eq!(console.bastion.look(&before, &console.bastion.ns), 403);
    console.is_true(delete);
    until("the authorizer follows", || (console.bastion.look(&lost, &console.bastion.ns) == 403).then_some(()));
    console.is_true(over);
    assert!(text(&console.bastion.jitd(&["audit", "verify"]).stdout).contains("open 0"));
}
