//! The checks. They read the trail's file after every commit, on a separate connection, and the API server's objects;
//! what the daemon says is only compared with them.
//!
//! The numbers are those of the list in `main.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use jiff::Timestamp;
use jitd::broker::IssuedAccess;
use jitd::grant::request::{Login, PersonName};
use jitd::grant::{Author, EndProof, Event, Grant, GrantId, Phase};
use jitd::trail::Entry;
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

use crate::cast;
use crate::cluster::{By, Kind, Object, Place, Target};
use crate::world::{World, sleep, world};

/// How long access may last after its end while nothing fails.
const ENDS_WITHIN: i64 = 10_000;

/// How long a binding may exist after the end of its grant while nothing fails: the sweep compares every minute, and
/// every two while ends are in progress.
const CLEAN_WITHIN: i64 = 130_000;

/// An end is retried at least this often while the API server is up, in seconds.
const TRIED_EVERY: u64 = 90;

/// A comparison begins at least this often.
const COMPARED_EVERY: i64 = 130_000;

#[derive(Default)]
pub(crate) struct Oracle {
    reader: Option<Connection>,
    /// The last line that was read.
    last: (i64, String),
    grants: BTreeMap<GrantId, Seen>,
    /// The owner of each key, and the times of each person's requests.
    keys: BTreeMap<String, PersonName>,
    asked: BTreeMap<PersonName, Vec<i64>>,
    certificates: BTreeSet<String>,
    /// Whether a drain is in force according to the trail, and when the daemon acknowledged it.
    is_drained: bool,
    drained: Option<i64>,
    failed_append: Option<i64>,
    /// What the daemon asked the API server to create, and what was created.
    asked_for: BTreeSet<Place>,
    made: BTreeMap<String, Place>,
    /// Bindings that outlived their grant: how many comparisons saw each since the daemon last tried to delete it.
    left: BTreeMap<String, Left>,
    compare_began: Option<i64>,
    compared: i64,
    deeds: BTreeMap<Deed, Tally>,
    /// How many seconds the daemon lived while the API server was up.
    up: u64,
}

struct Seen {
    grant: Grant,
    bind_intended: u32,
    /// The end of its window, also if it ends before.
    window_end: Option<i64>,
    /// When, in seconds of `up`, its access was first seen after that, and when the daemon last tried to delete one of
    /// its bindings.
    overdue: Option<u64>,
    tried: u64,
}

struct Left {
    since: i64,
    seen: u32,
}

/// What somebody did to a grant, or to none for a request.
pub(crate) type Deed = (Option<GrantId>, &'static str, PersonName);

#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    begun: u32,
    refused: u32,
    acknowledged: u32,
    recorded: u32,
}

/// The call that a person's event in the trail answers.
fn family(event: &Event) -> Option<&'static str> {
    Some(match event {
        Event::Requested(_) => "request",
        Event::Agreed { .. } | Event::Approved { .. } | Event::ExtensionAgreed { .. } | Event::Extended { .. } => {
            "approve"
        }
        Event::Denied { .. } | Event::ExtensionDenied { .. } => "deny",
        Event::Withdrawn => "withdraw",
        Event::ExtensionAsked { .. } => "extend",
        Event::GlassBroken { .. } => "break glass",
        Event::Reviewed { .. } => "review",
        Event::UnbindIntended { .. } => "end",
        Event::Ended { proof: EndProof::NeverBound, .. } => "end",
        _ => return None,
    })
}

/// How far a grant has come; it never goes back.
fn rank(phase: Phase) -> u8 {
    match phase {
        Phase::Pending => 0,
        Phase::Approved => 1,
        Phase::Collecting => 2,
        Phase::Live => 3,
        Phase::Ending => 4,
        Phase::Denied | Phase::Withdrawn | Phase::Lapsed | Phase::Ended => 5,
    }
}

/// The accounts of the human behind a caller, as far as they are known.
fn human<'a>(name: &'a PersonName, login: Option<&'a Login>) -> BTreeSet<&'a PersonName> {
    [Some(name), login.and_then(Login::person)].into_iter().flatten().collect()
}

impl Oracle {
    /// The daemon has opened the trail, possibly again.
    pub(crate) fn open(trail: &Path) {
        let reader = Connection::open_with_flags(trail, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        world(|world| {
            let (last, line) = &world.oracle.last;
            let found: Option<String> =
                reader.query_row("SELECT line FROM events WHERE seq = ?1", [last], |row| row.get(0)).ok();
            if *last > 0 && found.as_ref() != Some(line) {
                let what = format!("event {last} is not in the trail any more");
                world.violated(2, what);
            }
            world.oracle.reader = Some(reader);
            world.oracle_reads();
        });
    }

    pub(crate) fn grant(&self, id: &GrantId) -> Option<&Grant> {
        self.grants.get(id).map(|seen| &seen.grant)
    }

    pub(crate) fn grants(&self) -> impl Iterator<Item = &Grant> {
        self.grants.values().map(|seen| &seen.grant)
    }

    fn of_place(&self, place: &Place) -> Option<&Seen> {
        self.grants.get(&GrantId::of_object(&place.name)?)
    }
}

impl World {
    // ---- the trail ----

    /// Reads what was committed since.
    pub(crate) fn oracle_reads(&mut self) {
        let Some(reader) = &self.oracle.reader else { return };
        let lines: Vec<(i64, String)> = {
            let mut statement =
                reader.prepare_cached("SELECT seq, line FROM events WHERE seq > ?1 ORDER BY seq").unwrap();
            let rows = statement.query_map([self.oracle.last.0], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
            rows.map(Result::unwrap).collect()
        };
        for (seq, line) in lines {
            let entry: Entry = serde_json::from_str(&line).unwrap();
            self.oracle.last = (seq, line);
            self.oracle_saw(&entry);
        }
    }

    fn oracle_saw(&mut self, Entry { seq, fact, .. }: &Entry) {
        let by = fact.by().map_or(String::new(), |by| format!(" by {by}"));
        let grant = fact.grant.as_ref().map_or(String::new(), |id| format!(" {id}"));
        let at = fact.at.as_millisecond();
        self.note(format!("   [{seq}] {}{grant}{by}", fact.event.kind()));
        self.count(format!("event: {}", fact.event.kind()));
        if matches!(fact.event, Event::Reviewed { decides: true, .. }) {
            self.count("review: decided where two disagreed");
        }
        match &fact.event {
            Event::Drained { .. } => self.oracle.is_drained = true,
            Event::Resumed => {
                self.oracle.is_drained = false;
                self.oracle.drained = None;
            }
            _ => {}
        }
        let Some(id) = &fact.grant else { return };
        if let (Some(family), Author::Person { name: by, .. }) = (family(&fact.event), &fact.author) {
            let grant = Some(id.clone()).filter(|_| family != "request");
            self.oracle.deeds.entry((grant, family, by.clone())).or_default().recorded += 1;
        }
        let before = self.oracle.grants.remove(id);
        let next = match &before {
            None => Grant::begin(fact),
            Some(seen) => seen.grant.clone().apply(fact),
        };
        let grant = match next {
            Ok(grant) => grant,
            Err(error) => return self.violated(1, format!("event {seq}: {error}")),
        };
        let is_over = matches!(fact.event, Event::Ended { proof: EndProof::Denied, .. });
        // A binding that never worked may still be created: its request is in flight.
        let still_allows = is_over && grant.live_at.is_some() && self.still_allows(&grant.id.group());
        let lost = self.lost;
        let others = || self.oracle.grants.values().filter(|other| other.grant.requester == grant.requester);
        let works = others().filter(|other| matches!(other.grant.phase, Phase::Collecting | Phase::Live)).count();
        let mut wrong: Vec<(u8, String)> = Vec::new();
        let is_given = match &fact.event {
            Event::Requested(requested) => {
                let waits = others().filter(|other| other.grant.phase == Phase::Pending).count();
                let asked = self.oracle.asked.entry(grant.requester.clone()).or_default();
                let lately = asked.iter().filter(|before| at - **before < 3_600_000).count();
                asked.push(at);
                for (limit, used, what) in [
                    (cast::LIMITS.pending, waits, "requests pending"),
                    (cast::LIMITS.live, works, "grants live"),
                    (cast::LIMITS.per_hour, lately, "requests in the hour"),
                ] {
                    if used >= limit {
                        wrong.push((
                            8,
                            format!("{} had {used} {what} and asked for {id}; {limit} are allowed", grant.requester),
                        ));
                    }
                }
                // Only requests and collections of the same person add to these counts, one at a time; others may only
                // have made them smaller meanwhile.
                let counted = requested.decided_on.usage;
                for (counted, had, what) in
                    [(counted.pending, waits, "requests pending"), (counted.live, works, "grants live")]
                {
                    if (counted as usize) < had {
                        wrong.push((8, format!("{id} was decided on {counted} {what}, and there were {had}")));
                    }
                }
                let owner = self
                    .oracle
                    .keys
                    .entry(requested.key.as_str().to_owned())
                    .or_insert_with(|| grant.requester.clone());
                if *owner != grant.requester {
                    wrong.push((8, format!("the key of {id} is {owner}'s")));
                }
                true
            }
            Event::Agreed { .. } | Event::Approved { .. } => {
                if let Some(problem) = agreements(&grant) {
                    wrong.push((7, format!("{id}: {problem}")));
                }
                false
            }
            Event::IssueIntended { .. } if before.as_ref().is_some_and(|seen| seen.grant.phase == Phase::Approved) => {
                if works >= cast::LIMITS.live {
                    wrong.push((8, format!("{} had {works} live grants and collected {id}", grant.requester)));
                }
                if let Some(problem) = agreements(&grant).or_else(|| enough(&grant, lost)) {
                    wrong.push((7, format!("{id} is collected: {problem}")));
                }
                true
            }
            Event::GlassBroken { .. } => {
                if let Some(other) = others().find(|other| other.grant.owes_review()) {
                    wrong.push((8, format!("{} owes a review of {} and breaks {id}", grant.requester, other.grant.id)));
                }
                true
            }
            Event::Issued { leaf_sha256, .. } => {
                self.oracle.certificates.insert(leaf_sha256.clone());
                false
            }
            Event::BindIntended { .. } => {
                if before.as_ref().is_some_and(|seen| seen.bind_intended > 0) {
                    wrong.push((4, format!("{id} is intended to be bound twice")));
                }
                // The certificate was signed in between.
                if self.oracle.drained.is_some_and(|drained| at > drained + 100) {
                    wrong.push((9, format!("{id} is bound while nothing is given")));
                }
                false
            }
            Event::Live { until } => {
                let longest = grant.ask.window.seconds() * 1000;
                if until.as_millisecond() > at + longest {
                    wrong.push((6, format!("{id} is given until {until}")));
                }
                false
            }
            Event::Extended { until, .. } => {
                let total = until.as_millisecond() - grant.live_at.map_or(0, |at| at.as_millisecond());
                if total > grant.terms.max_total.seconds() * 1000 {
                    wrong.push((6, format!("{id} is extended to {total} ms in all")));
                }
                true
            }
            Event::Ended { proof: EndProof::Denied, .. } => {
                if still_allows {
                    wrong.push((5, format!("{id} is told as ended, and the API server still allows it")));
                }
                let stands = |uid: &&String| {
                    self.oracle
                        .made
                        .get(*uid)
                        .is_some_and(|place| self.server.objects.get(place).is_some_and(|object| object.uid() == *uid))
                };
                if let Some(uid) = grant.binding_uids.iter().find(stands) {
                    wrong.push((5, format!("{id} is told as ended while its binding {uid} stands")));
                }
                let of_gateway = |(place, object): &(&Place, &Object)| {
                    let is_its = place.name.ends_with("-gateway") || place.name.ends_with("-gateway-on");
                    is_its && GrantId::of_object(&place.name).as_ref() == Some(id) && object.by == By::Daemon
                };
                // What never worked may still be created, and what others altered is not ours to delete.
                let stands = self.server.objects.iter().filter(of_gateway).find(|(_, object)| !object.is_altered);
                if let Some((place, _)) = stands.filter(|_| grant.live_at.is_some()) {
                    wrong.push((5, format!("{id} is told as ended while the gateway's {place:?} stands")));
                }
                false
            }
            _ => false,
        };
        if is_given && self.oracle.drained.is_some_and(|drained| at > drained) {
            wrong.push((9, format!("`{}` of {id} while nothing is given", fact.event.kind())));
        }
        let is_intent = matches!(fact.event, Event::BindIntended { .. });
        let (bind_intended, tried) = before.as_ref().map_or((0, 0), |seen| (seen.bind_intended, seen.tried));
        let was_ending = before.as_ref().filter(|seen| seen.grant.phase == Phase::Ending);
        let was_ending = was_ending.and_then(|seen| Timestamp::from_millisecond(seen.window_end?).ok());
        // An extension moves its end.
        let overdue = before.and_then(|seen| seen.overdue).filter(|_| !matches!(fact.event, Event::Extended { .. }));
        let window_end = match grant.phase {
            Phase::Live => grant.deadline,
            // It is being removed.
            Phase::Ending => was_ending.or(Some(fact.at)),
            _ => None,
        };
        let window_end = window_end.map(jiff::Timestamp::as_millisecond);
        let seen = Seen { grant, bind_intended: bind_intended + u32::from(is_intent), window_end, overdue, tried };
        self.oracle.grants.insert(id.clone(), seen);
        for (invariant, what) in wrong {
            self.violated(invariant, what);
        }
    }

    pub(crate) fn oracle_saw_failed_append(&mut self) {
        self.oracle.failed_append = Some(self.now());
    }

    // ---- the cluster ----

    /// Whether access may be removed now although the trail does not say so: it could not be written.
    fn oracle_excuses(&self) -> bool {
        self.oracle.failed_append.is_some_and(|at| self.now() - at < 60_000)
    }

    /// Called when the daemon sends a request: its intent must be on the disk.
    pub(crate) fn oracle_saw_sent(&mut self, method: &str, path: &str, query: &[(String, String)], body: &Value) {
        let says = |name: &str| query.iter().any(|(key, _)| key == name);
        match (method, &Target::of(path)) {
            ("GET", Target::All(Kind::RoleBinding, _)) if !says("continue") => {
                self.oracle.compare_began = Some(self.now());
                self.oracle.compared = self.now();
            }
            ("POST", Target::All(kind, namespace)) if !says("dryRun") => {
                let place = Place::new(*kind, namespace, body["metadata"]["name"].as_str().unwrap());
                if self.oracle.of_place(&place).is_none_or(|seen| seen.bind_intended != 1) {
                    self.violated(4, format!("{place:?} is made, and the trail does not say that it will be"));
                }
                if !self.oracle.asked_for.insert(place.clone()) {
                    self.violated(4, format!("{place:?} is made twice"));
                }
            }
            ("DELETE", Target::One(place)) => {
                let up = self.oracle.up;
                let excused = self.oracle_excuses();
                let seen = GrantId::of_object(&place.name).and_then(|id| self.oracle.grants.get_mut(&id));
                let Some(seen) = seen else {
                    return self.violated(5, format!("the daemon deletes {place:?}, which is of no grant"));
                };
                seen.tried = up;
                let phase = seen.grant.phase;
                let is_lost = place.namespace.parse().is_ok_and(|namespace| seen.grant.is_lost(&namespace));
                if let Some(left) =
                    self.server.objects.get(place).and_then(|object| self.oracle.left.get_mut(object.uid()))
                {
                    left.seen = 0;
                }
                if phase != Phase::Ending && phase.is_open() && !is_lost && !excused {
                    self.violated(
                        4,
                        format!("{} is deleted in phase {}, without its intent", place.name, phase.as_str()),
                    );
                }
            }
            _ => {}
        }
    }

    pub(crate) fn oracle_saw_created(&mut self, place: &Place, uid: &str) {
        self.oracle.made.insert(uid.to_owned(), place.clone());
    }

    pub(crate) fn oracle_saw_deleted(&mut self, place: &Place, object: &Object) {
        let group = place.name.replacen('-', ":", 1);
        if object.by == By::Stranger && !(place.kind.is_binding() && object.has_only_ours(&group)) {
            self.violated(5, format!("the daemon deletes what is not its own: {place:?}"));
        }
    }

    /// The daemon has read every binding, and began at this time.
    pub(crate) fn oracle_saw_compared(&mut self) {
        let Some(began) = self.oracle.compare_began.take() else { return };
        self.count("comparisons that came to their end");
        let mut wrong = None;
        for (uid, left) in &mut self.oracle.left {
            if left.since < began {
                left.seen += 1;
                if left.seen > 1 {
                    wrong = Some(format!("the daemon saw binding {uid} of a grant that is over, and leaves it"));
                }
            }
        }
        if let Some(wrong) = wrong {
            self.violated(5, wrong);
        }
    }

    /// Checks the cluster, once a second.
    fn oracle_looks(&mut self) {
        let now = self.now();
        let is_up = self.alive && self.network.down_until <= now;
        self.oracle.up += u64::from(is_up);
        let mut wrong: Vec<(u8, String)> = Vec::new();
        let mut left = BTreeMap::new();
        let mut overdue = Vec::new();
        for (place, object) in &self.server.objects {
            if !place.kind.is_binding() || object.by != By::Daemon || object.is_held() {
                continue;
            }
            let Some(seen) = self.oracle.of_place(place) else {
                wrong.push((5, format!("{place:?} is of no grant")));
                continue;
            };
            let group = seen.grant.id.group();
            if seen.grant.phase.is_open() {
                let end = seen.window_end.filter(|end| *end < now);
                if end.is_some_and(|end| self.calm_for(end) > ENDS_WITHIN) {
                    wrong.push((6, format!("{group} has access after its end")));
                }
                if end.is_some() {
                    overdue.push(seen.grant.id.clone());
                    if seen.overdue.is_some_and(|since| self.oracle.up - since.max(seen.tried) > TRIED_EVERY) {
                        wrong.push((6, format!("{group} has access after its end, and nobody tries to end it")));
                    }
                }
            } else if object.has_only_ours(&group) {
                let since = seen.grant.ended_at.map_or(0, |at| at.as_millisecond()).max(object.since);
                let before = self.oracle.left.get(object.uid());
                let left_now = Left {
                    since: before.map_or(since, |before| before.since),
                    seen: before.map_or(0, |before| before.seen),
                };
                if self.calm_for(since) > CLEAN_WITHIN {
                    wrong.push((5, format!("{place:?} stands {} s after the end of its grant", (now - since) / 1000)));
                }
                left.insert(object.uid().to_owned(), left_now);
            }
        }
        for uid in left.keys().filter(|uid| !self.oracle.left.contains_key(*uid)).cloned().collect::<Vec<_>>() {
            self.count("late: a binding outlived its grant");
            self.note(format!("   the binding {uid} stands though its grant is over"));
        }
        self.oracle.left = left;
        let up = self.oracle.up;
        for id in overdue {
            if let Some(seen) = self.oracle.grants.get_mut(&id) {
                seen.overdue.get_or_insert(up);
            }
        }
        for (invariant, what) in wrong {
            self.violated(invariant, what);
        }
    }

    /// For how many milliseconds nothing has failed, nor followed from an earlier failure.
    fn calm_for(&self, since: i64) -> i64 {
        if self.calm && self.alive { self.now() - since.max(self.calm_since) } else { 0 }
    }

    // ---- what people are told ----

    pub(crate) fn oracle_saw_begun(&mut self, deed: &Deed) {
        self.oracle.deeds.entry(deed.clone()).or_default().begun += 1;
    }

    pub(crate) fn oracle_saw_refused(&mut self, deed: &Deed) {
        self.oracle.deeds.entry(deed.clone()).or_default().refused += 1;
    }

    /// Somebody was told this: the trail must contain it.
    pub(crate) fn oracle_saw_told(&mut self, deed: &Deed, told: &Grant) {
        self.oracle.deeds.entry(deed.clone()).or_default().acknowledged += 1;
        let known = self.oracle.grant(&told.id);
        let is_so = known.is_some_and(|known| rank(known.phase) >= rank(told.phase) && known.answers >= told.answers);
        if !is_so {
            let known = known.map_or("unknown", |known| known.phase.as_str());
            self.violated(2, format!("{} is told as {}, and in the trail it is {known}", told.id, told.phase.as_str()));
        }
    }

    /// The daemon sweeps from now on.
    pub(crate) fn oracle_saw_sweeping(&mut self) {
        self.is_sweeping = true;
        self.oracle.compared = self.now();
        self.oracle.compare_began = None;
        // The previous life can no longer act on what it saw.
        self.oracle.left.values_mut().for_each(|left| left.seen = 0);
    }

    pub(crate) fn oracle_saw_drained(&mut self, until: Option<i64>) {
        self.oracle.drained = until.filter(|_| self.oracle.is_drained);
    }

    /// Somebody holds a certificate.
    pub(crate) fn oracle_saw_handed_over(&mut self, id: &GrantId, handed: &IssuedAccess) {
        let leaf = pem::parse(handed.chain_pem.split_inclusive("-----END CERTIFICATE-----").next().unwrap()).unwrap();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, leaf.contents());
        let digest: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        if !self.oracle.certificates.contains(&digest) {
            self.violated(3, format!("a certificate of {id} is handed over that the trail does not know"));
        }
        let Some(grant) = self.oracle.grant(id) else {
            return self.violated(3, format!("a certificate of no grant: {id}"));
        };
        if grant.live_at.is_none() {
            return self.violated(3, format!("a certificate of {id} is handed over before it is live"));
        }
        let is_longer =
            grant.deadline.is_some_and(|deadline| handed.until > deadline) || handed.not_after > handed.until;
        if is_longer {
            self.violated(6, format!("a certificate of {id} is valid until {}", handed.not_after));
        }
    }

    // ---- at the end ----

    /// After a quarter of an hour without faults.
    pub(crate) fn oracle_expects_peace(&mut self) {
        let now = self.now();
        let mut wrong = Vec::new();
        for grant in self.oracle.grants() {
            let is_over = grant.deadline.is_some_and(|deadline| now - deadline.as_millisecond() > ENDS_WITHIN);
            if matches!(grant.phase, Phase::Collecting | Phase::Ending) || grant.phase.is_open() && is_over {
                wrong.push(format!("{} is still {}", grant.id, grant.phase.as_str()));
            }
        }
        for (place, object) in &self.server.objects {
            let labels = &object.value["metadata"]["labels"];
            let is_labelled = labels["jitd.dev/host"] == crate::life::HOST;
            if is_labelled && !self.oracle.of_place(place).is_some_and(|seen| seen.grant.phase.is_open()) {
                wrong.push(format!("{place:?} ({}) is left", object.uid()));
            }
        }
        if let Some(wrong) = wrong.into_iter().next() {
            self.violated(12, format!("a quarter of an hour after the last fault {wrong}"));
        }
    }

    /// After every deadline.
    pub(crate) fn oracle_expects_nothing(&mut self) {
        self.oracle_expects_peace();
        let open = self.oracle.grants().find(|grant| grant.phase.is_open());
        if let Some(grant) = open {
            let what = format!("at the end {} is {}", grant.id, grant.phase.as_str());
            self.violated(12, what);
        }
        let uneven = self
            .oracle
            .deeds
            .iter()
            .find(|(_, tally)| tally.acknowledged > tally.recorded || tally.recorded > tally.begun - tally.refused);
        if let Some(((grant, what, by), tally)) = uneven {
            let what = format!("`{what}` of {grant:?} by {by}: {tally:?}");
            self.violated(2, what);
        }
    }
}

/// What is wrong with the approvers of a grant: the requester is one of them, or one human is two.
fn agreements(grant: &Grant) -> Option<String> {
    let requester = human(&grant.requester, grant.requester_login.as_ref());
    let mut before: Vec<BTreeSet<&PersonName>> = vec![requester];
    for yes in grant.agreed.iter() {
        let theirs = human(&yes.by, yes.login.as_ref());
        if before.iter().any(|other| !other.is_disjoint(&theirs)) {
            return Some(format!("{} agreed, who is behind it already", yes.by));
        }
        before.push(theirs);
    }
    None
}

/// Whether the approvers are enough with their current groups, and the requester may still request.
fn enough(grant: &Grant, lost: Option<&str>) -> Option<String> {
    let groups = cast::groups_of(&grant.requester, lost);
    if !groups.contains("oncall") {
        return Some(format!("{} is not on call any more", grant.requester));
    }
    if grant.glass.is_some() {
        return None;
    }
    // All steps of the policy are for one group.
    let counts = |by: &PersonName| grant.terms.groups().iter().all(|group| cast::groups_of(by, lost).contains(*group));
    let people = grant.agreed.iter().filter(|yes| counts(&yes.by)).count();
    let needed: u32 = grant.terms.steps.iter().map(|step| step.count).sum();
    (people < usize::try_from(needed).unwrap()).then(|| format!("{people} of {needed} people who agreed still may"))
}

/// Checks the cluster, whether the daemon lives or not.
pub(crate) async fn watch() {
    loop {
        sleep(1000).await;
        world(World::oracle_looks);
        world(|world| {
            if world.alive && world.is_sweeping && world.now() - world.oracle.compared > COMPARED_EVERY {
                world.violated(5, "the clusters were not compared for two minutes");
            }
        });
    }
}
