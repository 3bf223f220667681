//! The trail alone: a start on a million events, checking them, and appending.
//!
//! ```text
//!  Trail::append, thousands at a time ─► 1,000,000 events ─► jitd serve (exec ─► healthz) ─► jitd audit verify
//!  Trail::append, one at a time, 1 and 64 writers, each waiting until it is on the disk
//! ```
//! The events are those of grants that ran to their end, with the rules of the real role `view` in them.

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use jitd::grant::request::{Access, AccessRequest, KeyHash, Namespace, PersonName, Scope};
use jitd::grant::{Author, DecidedOn, EndCause, EndProof, Event, Fact, GrantId, Impersonation, Requested, Shown};
use jitd::rbac::risk::{Surroundings, assess};
use jitd::rbac::role::{ResolvedRole, Rule};
use jitd::trail::Trail;

use crate::daemon::{Daemon, private_folder};
use crate::http::request;
use crate::load::median;
use crate::plane::{Plane, RBAC};
use crate::process::run;
use crate::table::{Row, number};
use crate::{Failure, Settings, progress};

const NAMESPACE: &str = "trail";

/// Grants whose events are appended together while the trail is made.
const TOGETHER: usize = 500;

pub(crate) async fn measure(plane: &Plane, folder: &Path, settings: &Settings) -> Result<Vec<Row>, Failure> {
    let events = settings.shorter(1_000_000, 50_000);
    plane.namespace(NAMESPACE).await?;
    let mut daemon = Daemon::prepare(plane, folder, "trail", &[NAMESPACE.to_owned()])?;
    progress(&format!("trail: {events} events"));
    let role = view(plane).await?;
    let written = write(&daemon.trail(), events, &role).await?;
    let size = std::fs::metadata(daemon.trail())?.len() as f64 / f64::from(1 << 20);

    progress("trail: starts");
    let mut starts = Vec::new();
    for _ in 0..5 {
        starts.push(daemon.start().await?.as_secs_f64());
        daemon.stop()?;
    }
    progress("trail: audit verify");
    let begun = Instant::now();
    let said = run(daemon.command().args(["audit", "verify"]))?;
    let verified = begun.elapsed().as_secs_f64();
    if !said.contains("the chain holds") {
        return Err(format!("audit verify says: {said}").into());
    }
    std::fs::remove_file(daemon.trail())?;

    let time = settings.shorter(Duration::from_secs(4), Duration::from_secs(1));
    let mut rates = Vec::new();
    for writers in [1, 64] {
        progress(&format!("trail: appends of {writers}"));
        rates.push(append(&folder.join(format!("append-{writers}")), writers, time, &role).await?);
    }
    let start = median(starts);
    Ok(vec![
        Row::new(format!("start on {written} events, {size:.0} MiB"), number(start, "s")).at_most(start, 1.0, "s"),
        Row::new("jitd audit verify of these", number(verified, "s")).shows(number(written as f64 / verified, "/s")),
        Row::new("appends on the disk, 1 writer", number(rates[0], "/s")).shows(String::new()),
        Row::new("appends on the disk, 64 writers", number(rates[1], "/s")).shows(number(rates[1] / rates[0], "×")),
    ])
}

/// The rules of `view` as this API server has them.
async fn view(plane: &Plane) -> Result<ResolvedRole, Failure> {
    let mut admin = plane.admin.connect().await?;
    let role = admin.exchange(&request("GET", &format!("{RBAC}/clusterroles/view"), None)).await?.json()?;
    let rules: Vec<Rule> = serde_json::from_value(role["rules"].clone())?;
    Ok(ResolvedRole::new(role["metadata"]["uid"].as_str().ok_or("a role without a uid")?.to_owned(), rules))
}

/// Grants that ended, until there are so many events. How many there are.
async fn write(path: &Path, events: usize, role: &ResolvedRole) -> Result<usize, Failure> {
    let trail = Trail::open(path)?.trail;
    // Each begins a second after the one before and the last one is over by now.
    let mut at = Timestamp::now() - SignedDuration::from_secs(i64::try_from(events)? / 10 + 3600);
    let mut written = 0;
    let mut random = Random(1);
    while written < events {
        let mut together = Vec::new();
        for _ in 0..TOGETHER {
            at += SignedDuration::from_secs(1);
            together.append(&mut ended_grant(&mut random, at, role)?);
            if written + together.len() >= events {
                break;
            }
        }
        written += together.len();
        trail.append(together, None).await?;
    }
    trail.close();
    Ok(written)
}

/// All that happened to one grant, with as many renewals as make ten events on average.
fn ended_grant(random: &mut Random, at: Timestamp, role: &ResolvedRole) -> Result<Vec<Fact>, Failure> {
    let id = GrantId::from_random(random.bytes());
    let digest = random.hex();
    let (alice, bob): (PersonName, PersonName) = ("alice".parse()?, "bob".parse()?);
    let scope: Scope = NAMESPACE.parse::<Namespace>()?.into();
    let requested = Requested {
        ask: AccessRequest {
            cluster: "bench".parse()?,
            scope: scope.clone(),
            access: Access::Role("view".parse()?),
            fields: BTreeMap::new(),
            start: None,
            window: "15m".parse()?,
            reason: "INC-4711 the queue is stuck".parse()?,
        },
        key: KeyHash::of(random.hex().as_bytes()),
        shown: Shown {
            role: role.clone(),
            assessment: assess(role.rules(), &scope, &Surroundings::ordinary(None)),
            together: Vec::new(),
            holds: Vec::new(),
            holds_more: 0,
            namespaces: BTreeMap::new(),
            denied: None,
        },
        decided_on: DecidedOn::default(),
        terms: serde_json::from_value(
            serde_json::json!({ "rule": "bench", "steps": [{ "groups": ["leads"], "count": 1 }], "maxTotal": "1h", "narrow": false, "drift": "revoke" }),
        )?,
        digest: digest.clone(),
        pending_until: at + SignedDuration::from_hours(1),
    };
    let until = at + SignedDuration::from_mins(15);
    let issue = |random: &mut Random| {
        let serial = random.hex()[..32].to_owned();
        let intended =
            Event::IssueIntended { serial: serial.clone(), tbs_sha256: random.hex(), not_before: at, not_after: until };
        [intended, Event::Issued { serial, leaf_sha256: random.hex() }]
    };
    let mut facts = vec![
        (Some(alice), Event::Requested(Box::new(requested))),
        (Some(bob), Event::Approved { digest, groups: ["leads".to_owned()].into(), collect_until: until }),
    ];
    facts.extend(issue(random).map(|event| (None, event)));
    facts.push((
        None,
        Event::BindIntended { binding: id.binding_name(), gateway: None, impersonation: Impersonation::default() },
    ));
    facts.push((None, Event::Bound { uids: vec![random.uid()] }));
    facts.push((None, Event::Live { until }));
    if random.next().is_multiple_of(2) {
        facts.extend(issue(random).map(|event| (None, event)));
    }
    facts.push((None, Event::UnbindIntended { why: EndCause::Expired, reason: None }));
    facts.push((
        None,
        Event::Ended { why: EndCause::Expired, proof: EndProof::Denied, reason: None, cut: None, log: None },
    ));
    Ok(facts
        .into_iter()
        .map(|(by, event)| {
            let author = by.map_or(Author::Daemon, |name| Author::Person { name, login: None });
            author.fact(at, Some(id.clone()), event)
        })
        .collect())
}

/// Appends a second with so many writers, each about a grant of its own and waiting for the disk.
async fn append(folder: &Path, writers: usize, time: Duration, role: &ResolvedRole) -> Result<f64, Failure> {
    private_folder(folder)?;
    let trail = Trail::open(&folder.join("trail.db"))?.trail;
    let trail = Rc::new(trail);
    let begun = Instant::now();
    let end = begun + time;
    let mut all = Vec::with_capacity(writers);
    for writer in 0..writers {
        let trail = Rc::clone(&trail);
        all.push(async move {
            let mut random = Random(writer as u64 + 2);
            let requested = ended_grant(&mut random, Timestamp::now(), role)?.swap_remove(0);
            let grant = requested.grant.clone();
            let mut last = trail.append(vec![requested], None).await?.seq;
            let mut count = 0;
            while Instant::now() < end {
                let at = Timestamp::now();
                let serial = random.hex()[..32].to_owned();
                let event = Event::Issued { serial, leaf_sha256: random.hex() };
                let fact = Author::Daemon.fact(at, grant.clone(), event);
                last = trail.append(vec![fact], Some(last)).await?.seq;
                count += 1;
            }
            Ok::<usize, Failure>(count)
        });
    }
    let counts = futures::future::try_join_all(all).await?;
    Ok(counts.iter().sum::<usize>() as f64 / begun.elapsed().as_secs_f64())
}

/// Numbers that look random and are the same in each run (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn bytes(&mut self) -> [u8; 10] {
        let mut bytes = [0; 10];
        bytes[..8].copy_from_slice(&self.next().to_le_bytes());
        bytes[8..].copy_from_slice(&self.next().to_le_bytes()[..2]);
        bytes
    }

    /// 64 hex digits.
    fn hex(&mut self) -> String {
        (0..4).map(|_| format!("{:016x}", self.next())).collect()
    }

    /// In the form of a Kubernetes uid.
    fn uid(&mut self) -> String {
        let hex = self.hex();
        format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..32])
    }
}
