//! Many live grants: what they cost in memory, what a sweep over them costs, and how fast a thousand end.
//!
//! ```text
//!  64 people at once: request ─► approve ─► collect   × 10,000 ─► memory ─► restart (start-up sweep) ─► CPU, memory
//!  1,000 more ─► SIGSTOP until all of them are due ─► SIGCONT ─► the last one ended
//!      by hand, half of it right before and half right after: asking, deleting as somebody who comes as the daemon
//!      does, and as the administrator
//!  the 10,000 ─► jitd revoke --all
//! ```
//! The stop makes them due in the same moment, as after a suspend; nothing in the API could.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::Path;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use nix::sys::signal::Signal;
use rusqlite::{Connection as Sqlite, OpenFlags};
use serde_json::{Value, json};

use crate::authority::Authority;
use crate::daemon::{Daemon, private_folder};
use crate::http::{Target, request};
use crate::load::{connect, drain, median};
use crate::plane::{Plane, RBAC, binding, review};
use crate::process::run;
use crate::table::{Row, number};
use crate::{Failure, Settings, progress};

/// Clients that ask, approve and collect at once.
const AT_ONCE: usize = 64;

/// Connections that delete by hand: as many as jitd allows itself to one API server.
const BY_HAND: usize = 32;

/// So many are deleted with kubectl, which sends five requests a second.
const KUBECTL: usize = 50;

/// In so many namespaces, because the API server walks all bindings of one for each question.
const NAMESPACES: usize = 100;

/// The window of those that end together: longer than it takes to collect them.
const WINDOW: SignedDuration = SignedDuration::from_secs(20);

pub(crate) async fn measure(plane: &Plane, folder: &Path, settings: &Settings) -> Result<Vec<Row>, Failure> {
    let (live, ending) = settings.shorter((10_000, 1_000), (500, 200));
    // The machine's own moods move a round by a third, so that of seven one run said 1.06 and the next one 1.44.
    let rounds = settings.shorter(15, 1);
    let namespaces: Vec<String> = (0..NAMESPACES).map(|number| format!("many-{number}")).collect();
    for namespace in &namespaces {
        plane.namespace(namespace).await?;
    }
    // Before the daemon's own: when the API server knows that, it knows this one.
    let like_daemon = like_daemon(plane, &folder.with_file_name("by-hand"))?;
    let mut daemon = Daemon::prepare(plane, folder, "many", &namespaces)?;
    daemon.start().await?;
    let begun = Instant::now();
    make_live(&daemon, &namespaces, live, "12h").await?;
    let setup = begun.elapsed();
    let lived = daemon.running().memory()?;
    daemon.stop()?;
    let ready = daemon.start().await?;
    let sweep = daemon.running().cpu()?.as_secs_f64();
    let restarted = daemon.running().memory()?;

    let mut of_rounds = Vec::with_capacity(rounds);
    for round in 1..=rounds {
        progress(&format!("many: {ending} that end at once, round {round} of {rounds}"));
        let of = end_at_once(plane, &daemon, &like_daemon, &namespaces, ending).await?;
        progress(&format!("many: {:.2} s, by hand {:.2} s, as the daemon {:.2} s", of.unbound, of.deleted, of.alike));
        of_rounds.push(of);
    }
    let highest = daemon.running().memory()?.highest;
    progress("many: the same with kubectl");
    let kubectl = delete_with_kubectl(plane, &namespaces, KUBECTL).await?;
    progress(&format!("many: the kill switch for {live}"));
    let revoked = revoke_all(&daemon, live)?;
    daemon.stop()?;

    let of_all = |figure: fn(&Round) -> f64| median(of_rounds.iter().map(figure));
    let (ended, unbound, deleted) = (of_all(|of| of.ended), of_all(|of| of.unbound), of_all(|of| of.deleted));
    Ok(vec![
        Row::new(format!("memory with {live} live grants"), number(lived.now, "MiB")).at_most(lived.now, 60.0, "MiB"),
        Row::new("the same after a restart", number(restarted.now, "MiB")).at_most(restarted.now, 60.0, "MiB"),
        Row::new(format!("CPU of a start with a sweep over {live}"), number(sweep, "s"))
            .against(format!("ready after {}", number(ready.as_secs_f64(), "s")))
            .at_most(sweep, 2.0, "s"),
        Row::new(format!("{ending} end at once, until no binding is left"), number(unbound, "s"))
            .against(format!("deleting by hand, {BY_HAND} at once, {}", number(deleted, "s")))
            .at_most(of_all(|of| of.unbound / of.deleted), 1.3, "×"),
        Row::new("that, against deleting as the daemon has to", number(unbound, "s"))
            .against(format!("two signatures, few rights, by uid, {}", number(of_all(|of| of.alike), "s")))
            .shows(number(of_all(|of| of.unbound / of.alike), "×")),
        Row::new("until each is proved denied", number(ended, "s"))
            .against(format!("deleting and asking by hand, {}", number(of_all(|of| of.deleted + of.asked), "s")))
            .shows(number(of_all(|of| of.ended / (of.deleted + of.asked)), "×")),
        Row::new("that, against deletions without a proof", number(ended, "s"))
            .against(format!("deleting by hand, {}", number(deleted, "s")))
            .shows(number(of_all(|of| of.ended / of.deleted), "×")),
        Row::new("CPU of jitd for each end", number(of_all(|of| of.cpu) / ending as f64 * 1e3, "ms")),
        Row::new("bindings a second, ended and proved", number(ending as f64 / ended, "/s"))
            .against(format!("kubectl delete -l, {}", number(KUBECTL as f64 / kubectl, "/s")))
            .shows(number(ending as f64 / ended / (KUBECTL as f64 / kubectl), "×")),
        Row::new("highest memory while they end", number(highest, "MiB")),
        Row::new(format!("jitd revoke --all of {live}, each proved denied"), number(revoked, "s"))
            .shows(number(live as f64 / revoked, "/s")),
        Row::new(format!("request, approval, collection of {live}"), number(setup.as_secs_f64(), "s"))
            .shows(number(live as f64 / setup.as_secs_f64(), "/s")),
    ])
}

/// So many grants from request to access, spread over the namespaces.
async fn make_live(daemon: &Daemon, namespaces: &[String], count: usize, window: &str) -> Result<(), Failure> {
    let next = &RefCell::new(0);
    let mut people = Vec::with_capacity(AT_ONCE);
    for _ in 0..AT_ONCE {
        let (mut alice, mut bob) = (daemon.alice().connect().await?, daemon.bob().connect().await?);
        let person = async move {
            loop {
                let number = next.replace_with(|number| *number + 1);
                if number >= count {
                    return Ok::<(), Failure>(());
                }
                if number.is_multiple_of(1000) {
                    progress(&format!("many: {number} of {count} grants are live"));
                }
                daemon.live(&mut alice, &mut bob, &namespaces[number % namespaces.len()], window).await?;
            }
        };
        people.push(person);
    }
    futures::future::try_join_all(people).await.map(drop)
}

/// How grants ended that were due in the same moment, and how long the same number took by hand, half of them right before
/// and half right after; seconds.
struct Round {
    /// From the moment until the last one is ended.
    ended: f64,
    /// From the moment until the last binding is gone.
    unbound: f64,
    /// CPU of the daemon.
    cpu: f64,
    /// Deleting by hand as the administrator.
    deleted: f64,
    /// Deleting by hand as the daemon has to.
    alike: f64,
    /// Asking once about each.
    asked: f64,
}

async fn end_at_once(
    plane: &Plane,
    daemon: &Daemon,
    like_daemon: &Target,
    namespaces: &[String],
    count: usize,
) -> Result<Round, Failure> {
    let mut alice = connect(&daemon.alice(), 1).await?.remove(0);
    let mut bob = connect(&daemon.bob(), 1).await?.remove(0);
    let window = format!("{}s", WINDOW.as_secs());
    let mut collections = Vec::with_capacity(count);
    for number in 0..count {
        let pending = daemon.request(&mut alice, &namespaces[number % namespaces.len()], &window).await?;
        bob.exchange(&pending.approve()).await?.json()?;
        collections.push(pending.certificate());
    }
    // A window ends at a whole second, so up to one earlier.
    let first = Timestamp::now() + WINDOW - SignedDuration::from_secs(1);
    drain(connect(&daemon.alice(), AT_ONCE).await?, collections).await?;
    let last = Timestamp::now() + WINDOW;
    let trail = Sqlite::open_with_flags(daemon.trail(), OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let before: i64 = trail.query_row("SELECT max(seq) FROM events", [], |row| row.get(0))?;
    daemon.running().signal(Signal::SIGSTOP)?;
    if Timestamp::now() >= first {
        return Err("collecting took longer than the window of those that should end together".into());
    }

    // The machine is faster in one second than in another, so what is compared lies as close together as can be.
    let (asked_before, asked_after) = halves(questions(namespaces, count));
    let (alike_before, alike_after) = halves(deletions(plane, namespaces, "alike", count, By::Uid).await?);
    let (deleted_before, deleted_after) = halves(deletions(plane, namespaces, "hand", count, By::Name).await?);
    tokio::time::sleep(last.duration_since(Timestamp::now()).unsigned_abs()).await;
    let asked = by_hand(&plane.admin, asked_before).await?;
    let alike = by_hand(like_daemon, alike_before).await?;
    let deleted = by_hand(&plane.admin, deleted_before).await?;
    let mut audit = File::open(plane.folder.join("audit.log"))?;
    audit.seek(SeekFrom::End(0))?;
    let (due, cpu) = (Timestamp::now(), daemon.running().cpu()?);
    daemon.running().signal(Signal::SIGCONT)?;
    let given_up = Instant::now() + Duration::from_secs(120);
    // Not the daemon is asked how far it is, for that would be work of its own; and what is asked of its file is only the
    // last number, as long as that is too small for an intent and an end of each.
    let mut latest = trail.prepare("SELECT max(seq) FROM events")?;
    let mut ended = trail.prepare("SELECT json_extract(line, '$.at') FROM events WHERE seq > ?1 AND kind = 'ended'")?;
    let least = before + 2 * i64::try_from(count)?;
    let at = loop {
        let reached: i64 = latest.query_row([], |row| row.get(0))?;
        let times: Vec<String> = if reached < least {
            Vec::new()
        } else {
            ended.query_map([before], |row| row.get(0))?.collect::<Result<_, _>>()?
        };
        if times.len() >= count {
            // As moments, for as text the shorter of two fractions of a second would be the later one.
            let times: Vec<Timestamp> = times.iter().map(|at| at.parse()).collect::<Result<_, _>>()?;
            break times.into_iter().max().ok_or("no grant ended")?;
        }
        if Instant::now() > given_up {
            return Err(
                format!("not all of {count} grants ended, the trail has {} events of them", reached - before).into()
            );
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let cpu = (daemon.running().cpu()? - cpu).as_secs_f64();
    let deleted = deleted + by_hand(&plane.admin, deleted_after).await?;
    let alike = alike + by_hand(like_daemon, alike_after).await?;
    let asked = asked + by_hand(&plane.admin, asked_after).await?;
    let since = |at: Timestamp| at.duration_since(due).as_secs_f64();
    Ok(Round { ended: since(at), unbound: since(last_deletion(audit)?), cpu, deleted, alike, asked })
}

/// When the API server answered the last deletion of a daemon's binding, in its own audit log.
fn last_deletion(audit: File) -> Result<Timestamp, Failure> {
    let mut last = None;
    for line in BufReader::new(audit).lines() {
        // The last line may be half written.
        let Ok(event) = serde_json::from_str::<Value>(&line?) else { break };
        let what = &event["objectRef"];
        let is_ours = what["name"].as_str().is_some_and(|name| name.starts_with("jit-"));
        if event["verb"] == "delete" && what["resource"] == "rolebindings" && is_ours {
            last = last.max(event["stageTimestamp"].as_str().map(str::parse).transpose()?);
        }
    }
    Ok(last.ok_or("no deletion in the audit log")?)
}

/// Which binding is deleted.
#[derive(Clone, Copy)]
enum By {
    /// Whatever has the name.
    Name,
    /// The one with this uid and no other, as the daemon does it.
    Uid,
}

/// Makes bindings like jitd's, and answers with the requests that delete them.
async fn deletions(
    plane: &Plane,
    namespaces: &[String],
    names: &str,
    count: usize,
    by: By,
) -> Result<Vec<Vec<u8>>, Failure> {
    bind_by_hand(plane, namespaces, names, count).await?;
    let list = request("GET", &format!("{RBAC}/rolebindings?labelSelector=bench%3Dby-hand"), None);
    let list = plane.admin.connect().await?.exchange(&list).await?.json()?;
    let items = list["items"].as_array().ok_or("a list without items")?;
    let uids: HashMap<&str, &Value> = items
        .iter()
        .map(|item| &item["metadata"])
        .filter_map(|metadata| Some((metadata["name"].as_str()?, &metadata["uid"])))
        .collect();
    let deletion = |number: usize| {
        let (namespace, name) = (&namespaces[number % namespaces.len()], format!("{names}-{number}"));
        let uid = uids.get(name.as_str()).ok_or("a binding is not there")?;
        let only = json!({ "apiVersion": "v1", "kind": "DeleteOptions", "preconditions": { "uid": uid } });
        let body = matches!(by, By::Uid).then_some(&only);
        Ok(request("DELETE", &format!("{RBAC}/namespaces/{namespace}/rolebindings/{name}"), body))
    };
    (0..count).map(deletion).collect()
}

/// Questions about bindings of which nobody knows.
fn questions(namespaces: &[String], count: usize) -> Vec<Vec<u8>> {
    let question = |number: usize| review(&namespaces[number % namespaces.len()], &format!("bench:hand-{number}"));
    (0..count).map(question).collect()
}

fn halves(mut requests: Vec<Vec<u8>>) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let second = requests.split_off(requests.len() / 2);
    (requests, second)
}

/// How many seconds it takes `who` to send these, and have their answers, over connections that are open.
async fn by_hand(who: &Target, requests: Vec<Vec<u8>>) -> Result<f64, Failure> {
    Ok(drain(connect(who, BY_HAND).await?, requests).await?.as_secs_f64())
}

/// Somebody who comes to the API server as the daemon does: with few rights, which have to be looked up, and a
/// certificate below an issuing one, of which both signatures are checked at each request.
fn like_daemon(plane: &Plane, folder: &Path) -> Result<Target, Failure> {
    let (user, rbac) = ("bench:like-daemon", "rbac.authorization.k8s.io");
    let rules = json!([{ "apiGroups": [rbac], "resources": ["rolebindings"], "verbs": ["delete"] }]);
    let metadata = json!({ "name": user });
    let api = format!("{rbac}/v1");
    let objects = json!({ "apiVersion": "v1", "kind": "List", "items": [
        { "apiVersion": api, "kind": "ClusterRole", "metadata": metadata, "rules": rules },
        {
            "apiVersion": api, "kind": "ClusterRoleBinding", "metadata": metadata,
            "roleRef": { "apiGroup": rbac, "kind": "ClusterRole", "name": user },
            "subjects": [{ "apiGroup": rbac, "kind": "User", "name": user }],
        },
    ] });
    plane.apply(&objects.to_string())?;
    private_folder(folder)?;
    let authority = Authority::write(folder)?;
    plane.trust(&folder.join("root.crt"))?;
    let (chain, key) = authority.client(user)?;
    plane.client(&chain, &key)
}

/// The operator's kill switch, as it is typed: seconds until it says that all of them are over.
fn revoke_all(daemon: &Daemon, live: usize) -> Result<f64, Failure> {
    let begun = Instant::now();
    let ids = run(daemon.command().args(["revoke", "--all", "--reason", "a benchmark", "--yes", "-o", "name"]))?;
    let took = begun.elapsed().as_secs_f64();
    match ids.lines().count() {
        revoked if revoked == live => Ok(took),
        revoked => Err(format!("{revoked} of {live} grants were revoked").into()),
    }
}

async fn delete_with_kubectl(plane: &Plane, namespaces: &[String], count: usize) -> Result<f64, Failure> {
    bind_by_hand(plane, namespaces, "kubectl", count).await?;
    let begun = Instant::now();
    plane.kubectl(&["delete", "rolebindings", "--all-namespaces", "-l", "bench=by-hand"])?;
    Ok(begun.elapsed().as_secs_f64())
}

async fn bind_by_hand(plane: &Plane, namespaces: &[String], names: &str, count: usize) -> Result<(), Failure> {
    let bind = |number: usize| {
        let name = format!("{names}-{number}");
        binding(&namespaces[number % namespaces.len()], &name, &format!("bench:{name}"), "view")
    };
    let connections = connect(&plane.admin, BY_HAND).await?;
    drain(connections, (0..count).map(bind).collect()).await.map(drop)
}
