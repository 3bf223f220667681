//! The ledger: the grants that are not over or owe a review, in memory, in step with the trail.
//!
//! ```text
//!  record: may it follow? ─► trail (on the disk) ─► here ─► who waits, the next deadline
//! ```
//! It decides nothing and does no effect. What is here is what the trail's events make; after a restart it
//! is made from them again. The broker records, the API looks and waits, the sweep takes what is due.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound::{Included, Unbounded};
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Notify, watch};

pub use crate::grant::Author;
use crate::grant::approval;
use crate::grant::drain::Draining;
use crate::grant::request::{ClusterName, Person, PersonName};
use crate::grant::{EndCause, Event, Fact, Grant, GrantId, Operator, OutOfOrder};
use crate::trail::{Open, Opened, Position, Trail, TrailError};

/// Why nothing was recorded or found.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// There is no such grant, or it is not the person's to see.
    #[error("no grant `{0}` that you may see")]
    NoSuchGrant(String),
    /// More than one grant begins like this.
    #[error("more than one grant begins with `{0}`")]
    Ambiguous(String),
    /// The trail could not store or answer.
    #[error(transparent)]
    Trail(#[from] TrailError),
    /// The event may not follow: a fault of ours.
    #[error(transparent)]
    OutOfOrder(#[from] OutOfOrder),
}

/// The grants that are not over or owe a review.
pub struct Ledger {
    trail: Trail,
    clock: fn() -> Timestamp,
    /// Groups that may see every grant.
    readers: Vec<String>,
    latest: AtomicI64,
    /// That nothing is given at the moment.
    draining: RwLock<Option<Arc<Draining>>>,
    open: RwLock<BTreeMap<GrantId, Arc<Cell>>>,
    /// The same by who asked: each request counts what its person has.
    of_person: RwLock<BTreeMap<PersonName, BTreeMap<GrantId, Arc<Cell>>>>,
    deadlines: Mutex<BTreeSet<(Timestamp, GrantId)>>,
    /// The last grant of each rule: what the next one has in common with it is kept once.
    of_rule: Mutex<HashMap<String, Grant>>,
    /// Told when a deadline may have come nearer.
    pub due: Notify,
    /// Whether the daemon is ending, so that nobody waits any more.
    stopping: watch::Sender<bool>,
    /// Marked whenever a grant came to be or became another, and when an operator lets nothing be given or does again.
    changed: watch::Sender<()>,
}

/// One open grant. Who changes it holds `gate` from the check to the recorded outcome; who reads takes
/// the last state, and waits for the next one.
pub struct Cell {
    /// Held by whoever changes the grant.
    pub gate: tokio::sync::Mutex<()>,
    state: watch::Sender<Arc<Grant>>,
    /// Number of its last event in the trail.
    last: AtomicI64,
    /// How often ending it failed in a row.
    failures: AtomicU32,
    /// An end that was carried out as far as it could be, and that the trail does not know of yet.
    pub owed: Mutex<Option<Ending>>,
}

/// What the trail has to be told about an end.
#[derive(Clone, Debug)]
pub struct Ending {
    /// Why it ends.
    pub why: EndCause,
    /// Who ends it.
    pub by: Author,
    /// What they said.
    pub reason: Option<String>,
}

impl Ending {
    /// An end that nobody asked for.
    #[must_use]
    pub fn of_itself(why: EndCause) -> Self {
        Self { why, by: Author::Daemon, reason: None }
    }
}

impl Cell {
    fn new(grant: Grant, last: i64) -> Arc<Self> {
        Arc::new(Self {
            gate: tokio::sync::Mutex::new(()),
            state: watch::Sender::new(Arc::new(grant)),
            last: AtomicI64::new(last),
            failures: AtomicU32::new(0),
            owed: Mutex::default(),
        })
    }

    /// The grant as it is now.
    pub fn grant(&self) -> Arc<Grant> {
        Arc::clone(&self.state.borrow())
    }
}

impl Ledger {
    /// Takes up where the trail stands.
    #[must_use]
    pub fn new(opened: Opened, readers: Vec<String>, clock: fn() -> Timestamp) -> Self {
        let ledger = Self {
            latest: AtomicI64::new(opened.latest.as_millisecond()),
            draining: RwLock::new(opened.drain.map(Arc::new)),
            trail: opened.trail,
            clock,
            readers,
            open: RwLock::default(),
            of_person: RwLock::default(),
            deadlines: Mutex::default(),
            of_rule: Mutex::default(),
            due: Notify::new(),
            stopping: watch::Sender::new(false),
            changed: watch::Sender::default(),
        };
        for Open { grant, last } in opened.open {
            // Without a deadline it was cut off between two steps.
            let cut_off = (grant.phase.is_open() && grant.deadline.is_none()).then(|| grant.id.clone());
            ledger.keep(grant, last);
            if let Some(id) = cut_off {
                ledger.due_at(ledger.now(), id);
            }
        }
        ledger
    }

    // ---- recording ----

    /// Records an event that is about no grant.
    ///
    /// # Errors
    /// [`LedgerError::Trail`].
    pub async fn note(&self, by: Option<&Person>, event: Event) -> Result<(), LedgerError> {
        self.append(vec![Author::from(by).fact(self.now(), None, event)], None).await?;
        Ok(())
    }

    /// Records that nothing is given from here on, or that things are given again.
    ///
    /// # Errors
    /// [`LedgerError::Trail`]; then it is as before.
    pub async fn operate(&self, by: &Operator, event: Event) -> Result<(), LedgerError> {
        let fact = Author::Operator(by.clone()).fact(self.now(), None, event);
        self.append(vec![fact.clone()], None).await?;
        let mut draining = self.draining.write().unwrap_or_else(PoisonError::into_inner);
        *draining = Draining::after(draining.take().map(Arc::unwrap_or_clone), &fact).map(Arc::new);
        drop(draining);
        self.changed.send_replace(());
        Ok(())
    }

    /// That nothing is given at the moment.
    #[must_use]
    pub fn draining(&self) -> Option<Arc<Draining>> {
        self.draining.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Records the request that a grant begins with.
    ///
    /// # Errors
    /// [`LedgerError`]; then there is no grant.
    pub async fn begin(
        &self,
        id: GrantId,
        requester: &Person,
        now: Timestamp,
        event: Event,
    ) -> Result<Arc<Grant>, LedgerError> {
        let fact = Author::from(requester).fact(now, Some(id), event);
        let grant = Grant::begin(&fact)?;
        let last = self.append(vec![fact], None).await?.seq;
        Ok(self.keep(grant, last).grant())
    }

    /// Records events about a grant: first whether they may follow, then on the disk, then here.
    ///
    /// # Errors
    /// [`LedgerError`]; then nothing of it is recorded.
    pub async fn record(
        &self,
        cell: &Cell,
        by: Option<&Person>,
        events: Vec<Event>,
    ) -> Result<Arc<Grant>, LedgerError> {
        self.record_by(cell, &by.into(), events).await
    }

    /// The same by any author.
    ///
    /// # Errors
    /// As [`Ledger::record`].
    pub async fn record_by(&self, cell: &Cell, by: &Author, events: Vec<Event>) -> Result<Arc<Grant>, LedgerError> {
        let before = cell.grant();
        let at = self.now();
        let mut next = Grant::clone(&before);
        let mut facts = Vec::with_capacity(events.len());
        for event in events {
            let fact = by.fact(at, Some(before.id.clone()), event);
            next = next.follow(&fact).inspect_err(|error| tracing::error!(%error, "internal fault"))?;
            facts.push(fact);
        }
        let mut last = cell.last.load(Ordering::Relaxed);
        if !facts.is_empty() {
            last = self.append(facts, Some(last)).await?.seq;
        }
        let next = Arc::new(next);
        self.mark(&before, &next);
        cell.last.store(last, Ordering::Relaxed);
        cell.state.send_replace(Arc::clone(&next));
        if next.is_over() {
            self.forget(&next);
        }
        self.changed.send_replace(());
        Ok(next)
    }

    async fn append(&self, facts: Vec<Fact>, after: Option<i64>) -> Result<Position, LedgerError> {
        let at = facts.last().map_or(i64::MIN, |fact| fact.at.as_millisecond());
        let position = self.trail.append(facts, after).await?;
        self.latest.fetch_max(at, Ordering::Relaxed);
        Ok(position)
    }

    /// Returns when the store answers; nothing is recorded.
    ///
    /// # Errors
    /// [`LedgerError::Trail`].
    pub async fn store_answers(&self) -> Result<(), LedgerError> {
        self.trail.round_trip().await?;
        Ok(())
    }

    /// Why the last facts could not be stored; nothing as soon as others are.
    #[must_use]
    pub fn store_fault(&self) -> Option<String> {
        self.trail.fault()
    }

    // ---- looking ----

    /// Marked whenever a grant came to be or became another.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// The grant that `text`, an id or the beginning of one, names for this person.
    ///
    /// # Errors
    /// [`LedgerError::NoSuchGrant`] also for what the person may not see; [`LedgerError::Ambiguous`].
    pub async fn find(&self, text: &str, person: &Person) -> Result<Arc<Grant>, LedgerError> {
        let legal =
            (4..=GrantId::LENGTH).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !legal {
            return Err(LedgerError::NoSuchGrant(text.chars().take(20).flat_map(char::escape_default).collect()));
        }
        let overseers = &self.readers;
        let mut found: Vec<Arc<Grant>> = {
            let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
            open.range::<str, _>((Included(text), Unbounded))
                .take_while(|(id, _)| id.as_str().starts_with(text))
                .map(|(_, cell)| cell.grant())
                .filter(|grant| approval::may_see(grant, person, overseers))
                .take(2)
                .collect()
        };
        if found.len() < 2 && !(found.len() == 1 && text.len() == GrantId::LENGTH) {
            let closed = self.trail.closed(person, overseers, text, 2).await?.0;
            // One that was over between the two looks is found by both.
            let known: Vec<GrantId> = found.iter().map(|grant| grant.id.clone()).collect();
            found.extend(closed.into_iter().filter(|grant| !known.contains(&grant.id)).map(Arc::new));
        }
        match (found.pop(), found.pop()) {
            (Some(grant), None) => Ok(grant),
            (Some(_), Some(_)) => Err(LedgerError::Ambiguous(text.to_owned())),
            _ => Err(LedgerError::NoSuchGrant(text.to_owned())),
        }
    }

    /// The grants this person may see, newest first: those that are open or owe a review, and
    /// with `all` those that are over.
    /// At most `limit`, and whether there are more.
    ///
    /// # Errors
    /// [`LedgerError::Trail`].
    pub async fn list(&self, person: &Person, all: bool, limit: usize) -> Result<(Vec<Arc<Grant>>, bool), LedgerError> {
        let overseers = &self.readers;
        let mut grants: Vec<Arc<Grant>> = {
            let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
            open.values().map(|cell| cell.grant()).filter(|grant| approval::may_see(grant, person, overseers)).collect()
        };
        grants.sort_by_key(|grant| Reverse(grant.requested_at));
        let mut more = grants.len() > limit;
        grants.truncate(limit);
        if all && !more {
            let (closed, older) = self.trail.closed(person, overseers, "", limit - grants.len()).await?;
            let known: BTreeSet<GrantId> = grants.iter().map(|grant| grant.id.clone()).collect();
            grants.extend(closed.into_iter().filter(|grant| !known.contains(&grant.id)).map(Arc::new));
            grants.sort_by_key(|grant| Reverse(grant.requested_at));
            more = older;
        }
        Ok((grants, more))
    }

    /// Waits until the grant's phase or number of answers is another than given, `patience` is over or the
    /// daemon ends.
    pub async fn wait(&self, grant: Arc<Grant>, phase: &str, answers: u32, patience: Duration) -> Arc<Grant> {
        let Some(cell) = self.cell(&grant.id) else { return grant };
        let mut states = cell.state.subscribe();
        let changed = states.wait_for(|grant| grant.phase.as_str() != phase || grant.answers != answers);
        let mut stopping = self.stopping.subscribe();
        // On time-out, and when the grant is dropped, the last state is the answer.
        tokio::select! {
            _ = tokio::time::timeout(patience, changed) => {}
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
        cell.grant()
    }

    /// Who waits for a change is answered now.
    pub fn stop_waiting(&self) {
        self.stopping.send_replace(true);
    }

    /// The grants of a person that are open or owe a review.
    #[must_use]
    pub fn of(&self, person: &PersonName) -> Vec<Arc<Grant>> {
        let of_person = self.of_person.read().unwrap_or_else(PoisonError::into_inner);
        of_person.get(person).into_iter().flatten().map(|(_, cell)| cell.grant()).collect()
    }

    /// How many grants stand in each open phase.
    #[must_use]
    pub fn census(&self) -> BTreeMap<&'static str, usize> {
        let mut census: BTreeMap<&'static str, usize> =
            ["pending", "approved", "collecting", "live", "ending"].into_iter().map(|phase| (phase, 0)).collect();
        for cell in self.open.read().unwrap_or_else(PoisonError::into_inner).values() {
            // One that only owes a review is over.
            census.entry(cell.grant().phase.as_str()).and_modify(|count| *count += 1);
        }
        census
    }

    /// How many reviews are owed, and how many of them are overdue.
    #[must_use]
    pub fn reviews(&self) -> (usize, usize) {
        let now = self.now();
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        let owing: Vec<Arc<Grant>> =
            open.values().map(|cell| cell.grant()).filter(|grant| grant.owes_review()).collect();
        let is_overdue = |grant: &&Arc<Grant>| grant.glass.as_ref().is_some_and(|glass| glass.is_overdue(now));
        (owing.len(), owing.iter().filter(is_overdue).count())
    }

    /// Every grant that is not over and that `is_meant`, the oldest first.
    #[must_use]
    pub fn open(&self, is_meant: impl Fn(&Grant) -> bool) -> Vec<Arc<Cell>> {
        let mut cells: Vec<Arc<Cell>> = {
            let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
            open.values().filter(|cell| cell.grant().phase.is_open() && is_meant(&cell.grant())).cloned().collect()
        };
        cells.sort_by_key(|cell| cell.grant().requested_at);
        cells
    }

    /// The grants that may have a binding in this cluster.
    #[must_use]
    pub fn bound_in(&self, cluster: &ClusterName) -> Vec<Arc<Grant>> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.values()
            .map(|cell| cell.grant())
            .filter(|grant| grant.phase.is_open() && grant.bind_intended && grant.ask.cluster == *cluster)
            .collect()
    }

    /// Takes the grants whose deadline has come, and says when the next one comes.
    #[must_use]
    pub fn take_due(&self) -> (Vec<GrantId>, Option<Timestamp>) {
        let now = self.now();
        let mut deadlines = self.deadlines.lock().unwrap_or_else(PoisonError::into_inner);
        let mut due = Vec::new();
        while let Some((deadline, _)) = deadlines.first() {
            if *deadline > now {
                return (due, Some(*deadline));
            }
            due.extend(deadlines.pop_first().map(|(_, id)| id));
        }
        (due, None)
    }

    /// The latest time that the trail knows.
    #[must_use]
    pub fn latest(&self) -> Timestamp {
        Timestamp::from_millisecond(self.latest.load(Ordering::Relaxed)).unwrap_or(Timestamp::MIN)
    }

    /// The moment it is.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        // The trail keeps milliseconds; what is decided is decided on what is kept.
        Timestamp::from_millisecond((self.clock)().as_millisecond()).unwrap_or(Timestamp::MAX)
    }

    // ---- keeping ----

    fn keep(&self, mut grant: Grant, last: i64) -> Arc<Cell> {
        let rule = grant.terms.rule.clone();
        let mut of_rule = self.of_rule.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = of_rule.get(&rule) {
            grant.share(last);
        }
        of_rule.insert(rule, grant.clone());
        drop(of_rule);
        let id = grant.id.clone();
        let deadline = grant.deadline;
        let requester = grant.requester.clone();
        let cell = Cell::new(grant, last);
        self.open.write().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), Arc::clone(&cell));
        let mut of_person = self.of_person.write().unwrap_or_else(PoisonError::into_inner);
        of_person.entry(requester).or_default().insert(id.clone(), Arc::clone(&cell));
        drop(of_person);
        if let Some(deadline) = deadline {
            self.due_at(deadline, id);
        }
        self.changed.send_replace(());
        cell
    }

    fn forget(&self, grant: &Grant) {
        self.open.write().unwrap_or_else(PoisonError::into_inner).remove(&grant.id);
        let mut of_person = self.of_person.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(theirs) = of_person.get_mut(&grant.requester) {
            theirs.remove(&grant.id);
            if theirs.is_empty() {
                of_person.remove(&grant.requester);
            }
        }
    }

    /// Makes a grant due again after a failure: in a second, then in twice that, at most in a minute.
    pub fn later(&self, cell: &Cell) {
        let failures = cell.failures.fetch_add(1, Ordering::Relaxed).min(6);
        let wait = SignedDuration::from_secs((1_i64 << failures).min(60));
        self.due_at(approval::after(self.now(), wait), cell.grant().id.clone());
    }

    fn due_at(&self, deadline: Timestamp, id: GrantId) {
        self.deadlines.lock().unwrap_or_else(PoisonError::into_inner).insert((deadline, id));
        self.due.notify_one();
    }

    fn mark(&self, before: &Grant, next: &Grant) {
        if before.deadline != next.deadline {
            if let Some(deadline) = before.deadline {
                let mut deadlines = self.deadlines.lock().unwrap_or_else(PoisonError::into_inner);
                deadlines.remove(&(deadline, before.id.clone()));
            }
            if let Some(deadline) = next.deadline {
                self.due_at(deadline, next.id.clone());
            }
        }
    }

    /// The cell of a grant that is open or owes a review.
    #[must_use]
    pub fn cell(&self, id: &GrantId) -> Option<Arc<Cell>> {
        self.open.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }
}
