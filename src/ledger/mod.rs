//! The ledger: the grants that are not over or owe a review, in memory, in step with the trail, which it owns.
//!
//! ```text
//!  record: may it follow? ─► trail (on the disk) ─► here ─► who waits, subscribers, the next deadline
//! ```
//! It decides nothing and does no effect. What is here is what the trail's events make; after a restart it
//! is made from them again. The broker records, the API looks and waits, the sweep takes what is due.

mod book;
mod changes;
mod open_grant;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Bound::{Included, Unbounded};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::sync::{Notify, broadcast, watch};

use self::book::Book;
pub use self::changes::{Change, Changed, Changes, Gap, Snapshot};
pub use self::open_grant::{Ending, Locked, OpenGrant};
use crate::grant::approval;
use crate::grant::drain::Draining;
use crate::grant::request::{ClusterName, KeyHash, Person, PersonName, after};
use crate::grant::{Author, Event, Fact, Filter, Grant, GrantId, InvalidTransition, Shown};
use crate::hint::Hint;
use crate::locks::Locks;
pub use crate::locks::NameLock;
use crate::rbac::ResolvedRole;
use crate::trail::{Open, Opened, Page, Position, Trail, TrailError};

/// Why nothing was recorded or found.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// There is no such grant, or it is not the person's to see.
    #[error("no grant `{0}` that you may see")]
    NoSuchGrant(String),
    /// More than one grant begins like this.
    #[error("more than one grant begins with `{text}`")]
    Ambiguous {
        /// The beginning.
        text: String,
        /// Some of them.
        candidates: Vec<GrantId>,
    },
    /// The trail could not store or answer.
    #[error(transparent)]
    Trail(#[from] TrailError),
    /// The event may not follow: a fault of ours.
    #[error(transparent)]
    InvalidTransition(#[from] InvalidTransition),
}

impl Hint for LedgerError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Trail(error) => error.hint(),
            Self::Ambiguous { candidates, .. } => {
                let all: Vec<&str> = candidates.iter().map(GrantId::as_str).collect();
                Some(format!("write more of the id; these grants match: {}", all.join(", ")).into())
            }
            Self::NoSuchGrant(_) | Self::InvalidTransition(_) => None,
        }
    }
}

/// The limit for grants in the hint for an ambiguous id.
const CANDIDATES: usize = 5;

/// Whether `text` can be an id or the beginning of one.
fn checked_beginning(text: &str) -> Result<(), LedgerError> {
    let shown = || text.chars().take(20).flat_map(char::escape_default).collect();
    if GrantId::is_beginning(text) { Ok(()) } else { Err(LedgerError::NoSuchGrant(shown())) }
}

/// The one that was found for `text`.
fn only<T>(text: &str, mut found: Vec<T>, id: impl Fn(&T) -> &GrantId) -> Result<T, LedgerError> {
    if found.len() > 1 {
        let candidates = found.iter().take(CANDIDATES).map(|one| id(one).clone()).collect();
        return Err(LedgerError::Ambiguous { text: text.to_owned(), candidates });
    }
    found.pop().ok_or_else(|| LedgerError::NoSuchGrant(text.to_owned()))
}

/// Who may look at, and who may end, what is not theirs.
#[derive(Clone, Debug)]
pub struct Overseers {
    /// Groups that may see every grant; the admins are among them.
    pub readers: Vec<String>,
    /// Groups that may also revoke every grant.
    pub admins: Vec<String>,
}

/// Where a grant stands in the list of all that somebody may see.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Over: the number of its request.
    Closed(i64),
    /// Open, or owing a review: when it was asked for.
    Open(Timestamp, GrantId),
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(seq) => write!(out, "closed-{seq}"),
            Self::Open(at, id) => write!(out, "open-{}-{id}", at.as_millisecond()),
        }
    }
}

impl FromStr for Place {
    type Err = NoPlace;

    fn from_str(text: &str) -> Result<Self, NoPlace> {
        let mut words = text.split('-');
        let place = match (words.next(), words.next(), words.next(), words.next()) {
            (Some("closed"), Some(seq), None, None) => seq.parse().ok().map(Self::Closed),
            (Some("open"), Some(at), Some(id), None) => at
                .parse()
                .ok()
                .and_then(|at| Timestamp::from_millisecond(at).ok())
                .zip(id.parse().ok())
                .map(|(at, id)| Self::Open(at, id)),
            _ => None,
        };
        place.ok_or(NoPlace)
    }
}

/// A text is no place in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no place in a list; it begins with none")]
pub struct NoPlace;

/// The grants that are not over or owe a review.
pub struct Ledger {
    trail: Trail,
    clock: fn() -> Timestamp,
    overseers: RwLock<Arc<Overseers>>,
    /// The time of the newest entry, in milliseconds.
    latest: AtomicI64,
    book: RwLock<Book>,
    people: Locks<PersonName>,
    keys: Locks<KeyHash>,
    /// Certificates signed for people since the start.
    signed: AtomicU64,
    /// Glass broken since the start.
    glass_broken: AtomicU64,
    /// Notified when a deadline may have come nearer.
    due: Notify,
    /// Whether the daemon is ending, so that nobody waits any more.
    stopping: watch::Sender<bool>,
    changes: broadcast::Sender<Change>,
}

impl Ledger {
    /// Takes up where the trail stands.
    #[must_use]
    pub fn new(opened: Opened, overseers: Overseers, clock: fn() -> Timestamp) -> Self {
        let ledger = Self {
            latest: AtomicI64::new(opened.latest.as_millisecond()),
            book: RwLock::new(Book::new(opened.drain)),
            trail: opened.trail,
            clock,
            overseers: RwLock::new(Arc::new(overseers)),
            people: Locks::default(),
            keys: Locks::default(),
            signed: AtomicU64::new(0),
            glass_broken: AtomicU64::new(0),
            due: Notify::new(),
            stopping: watch::Sender::new(false),
            changes: broadcast::Sender::new(changes::KEPT),
        };
        let now = ledger.now();
        let mut book = ledger.book_mut();
        for Open { grant, last } in opened.open {
            // Without a deadline it was cut off between two steps.
            let cut_off = (grant.phase.is_open() && grant.deadline.is_none()).then(|| grant.id.clone());
            book.insert(grant, last);
            if let Some(id) = cut_off {
                book.due_at(now, id);
            }
        }
        drop(book);
        ledger
    }

    // ---- recording ----

    /// Waits until no other call counts or reserves for this person: from the count to what is recorded of it, limits,
    /// owed reviews and live grants are one step. A grant is locked before its person, never after.
    pub async fn lock_person(&self, person: &PersonName) -> NameLock {
        self.people.lock(person).await
    }

    /// Waits until no other request has this key, so that two people can't both find it free.
    pub async fn lock_key(&self, key: &KeyHash) -> NameLock {
        self.keys.lock(key).await
    }

    /// Records an event that is about no grant.
    ///
    /// # Errors
    /// [`LedgerError::Trail`]; then everything is as before.
    pub async fn note(&self, by: &Author, event: Event) -> Result<(), LedgerError> {
        let fact = by.fact(self.now(), None, event);
        self.append(vec![fact.clone()], None, None).await?;
        if matches!(fact.event, Event::Drained { .. } | Event::Resumed) {
            let mut book = self.book_mut();
            book.drain = Draining::after(book.drain.take().map(Arc::unwrap_or_clone), &fact).map(Arc::new);
            let drain = book.drain.clone();
            self.publish(&mut book, Changed::Drain(drain));
        }
        Ok(())
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
    ) -> Result<Arc<OpenGrant>, LedgerError> {
        let fact = Author::from(requester).fact(now, Some(id), event);
        let grant = Grant::begin(&fact)?;
        let last = self.append(vec![fact], None, None).await?.seq;
        let mut book = self.book_mut();
        let open_grant = book.insert(grant, last);
        self.publish(&mut book, Changed::Grant(open_grant.grant()));
        drop(book);
        self.due.notify_one();
        Ok(open_grant)
    }

    /// Records events about a grant: first whether they may follow, then on the disk, then here.
    ///
    /// # Errors
    /// [`LedgerError`]; then nothing of it is recorded.
    pub async fn record(
        &self,
        locked: &mut Locked<'_>,
        by: &Author,
        events: Vec<Event>,
    ) -> Result<Arc<Grant>, LedgerError> {
        let before = locked.grant();
        let at = self.now();
        let mut next = Grant::clone(&before);
        let mut facts = Vec::with_capacity(events.len());
        for event in events {
            let fact = by.fact(at, Some(before.id.clone()), event);
            next = next.apply(&fact).inspect_err(|error| tracing::error!(%error, "internal fault"))?;
            facts.push(fact);
        }
        let (signed, glass_broken) = count(&facts);
        let mut last = locked.last();
        if !facts.is_empty() {
            let over = next.is_over().then(|| next.clone());
            last = match self.append(facts, Some(last), over).await {
                Ok(position) => position.seq,
                Err(error) => {
                    self.catch_up(locked, &error).await;
                    return Err(error);
                }
            };
        }
        self.signed.fetch_add(signed, Ordering::Relaxed);
        self.glass_broken.fetch_add(glass_broken, Ordering::Relaxed);
        Ok(self.adopt(locked, next, last))
    }

    /// After a write that failed: what the trail has of the grant is what it is. A disk may keep what it reported as failed,
    /// and then nothing could follow what is here. While the trail can't be read either, the next write tries again.
    async fn catch_up(&self, locked: &mut Locked<'_>, error: &LedgerError) {
        let id = locked.grant().id.clone();
        match self.trail.grant(&id).await {
            Ok(Some(Open { grant, last })) if last != locked.last() => {
                tracing::warn!(grant = %id, %error, last, "the trail has more of this grant than it acknowledged");
                self.adopt(locked, grant, last);
            }
            Ok(_) => {}
            Err(unread) => tracing::warn!(grant = %id, error = %unread, "the trail can't be read after a failed write"),
        }
    }

    /// What a grant is after its event of number `last`.
    fn adopt(&self, locked: &mut Locked<'_>, next: Grant, last: i64) -> Arc<Grant> {
        let (before, next) = (locked.grant(), Arc::new(next));
        let mut book = self.book_mut();
        let due = book.move_deadline(&before, &next);
        locked.replace(Arc::clone(&next), last);
        if next.is_over() {
            book.remove(&next);
        }
        self.publish(&mut book, Changed::Grant(Arc::clone(&next)));
        drop(book);
        if due {
            self.due.notify_one();
        }
        next
    }

    async fn append(&self, facts: Vec<Fact>, after: Option<i64>, over: Option<Grant>) -> Result<Position, LedgerError> {
        let at = facts.last().map_or(i64::MIN, |fact| fact.at.as_millisecond());
        let position = match (after, over) {
            (Some(after), Some(over)) => self.trail.append_end(facts, after, over).await?,
            (after, _) => self.trail.append(facts, after).await?,
        };
        self.latest.fetch_max(at, Ordering::Relaxed);
        Ok(position)
    }

    /// Makes a grant due again after a failure: in a second, then in twice that, at most in a minute.
    pub fn retry_later(&self, locked: &mut Locked<'_>) {
        let wait = SignedDuration::from_secs((1_i64 << locked.count_failure().min(6)).min(60));
        self.book_mut().due_at(after(self.now(), wait), locked.grant().id.clone());
        self.due.notify_one();
    }

    /// Numbers a change and sends it. The book stays locked, so a snapshot and the changes after it have no gap.
    fn publish(&self, book: &mut Book, what: Changed) {
        book.number = book.number.saturating_add(1);
        // Nobody has to listen.
        let _ = self.changes.send(Change { number: book.number, what });
    }

    /// Stops the trail after everything that was appended is stored.
    pub fn close(&self) {
        self.trail.close();
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

    // ---- the trail's answers ----

    /// The grant of this id, also when it is over; none when nobody ever asked for it.
    ///
    /// # Errors
    /// [`LedgerError::Trail`].
    pub async fn any(&self, id: &GrantId) -> Result<Option<Grant>, LedgerError> {
        Ok(self.trail.grant(id).await?.map(|open| open.grant))
    }

    /// What approvers of a grant are shown beside what is asked.
    ///
    /// # Errors
    /// [`LedgerError::Trail`].
    pub async fn shown_of(&self, id: &GrantId) -> Result<Option<Shown>, LedgerError> {
        Ok(self.trail.shown_of(id).await?)
    }

    /// The newest lines of the trail about a grant, see [`Trail::lines_of`].
    ///
    /// # Errors
    /// [`LedgerError::Trail`].
    pub async fn lines_of(
        &self,
        id: &GrantId,
        before: Option<i64>,
        limit: usize,
    ) -> Result<(Vec<String>, bool), LedgerError> {
        Ok(self.trail.lines_of(id, before, limit).await?)
    }

    /// The newest lines of the trail that `filter` selects, see [`Trail::lines_before`].
    ///
    /// # Errors
    /// [`LedgerError::Trail`].
    pub async fn lines_before(
        &self,
        filter: &Filter,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Page<String>, LedgerError> {
        Ok(self.trail.lines_before(filter, before, limit).await?)
    }

    /// The lines of the trail after event `after`, see [`Trail::lines_after`].
    ///
    /// # Errors
    /// [`LedgerError::Trail`].
    pub async fn lines_after(&self, after: i64) -> Result<Page<String>, LedgerError> {
        Ok(self.trail.lines_after(after).await?)
    }

    /// How often a person asked since that moment, counted up to `most`.
    ///
    /// # Errors
    /// [`LedgerError::Trail`].
    pub async fn asked_since(&self, person: &PersonName, since: Timestamp, most: u32) -> Result<u32, LedgerError> {
        Ok(self.trail.asked_since(person, since, most).await?)
    }

    /// What was denied to a person of what they asked for since that moment, with the role that was denied.
    ///
    /// # Errors
    /// [`LedgerError::Trail`].
    pub async fn denied_since(
        &self,
        person: &PersonName,
        since: Timestamp,
    ) -> Result<Vec<(Grant, ResolvedRole)>, LedgerError> {
        Ok(self.trail.denied_since(person, since).await?)
    }

    /// Whether anybody but `person` asked with this key before.
    ///
    /// # Errors
    /// [`LedgerError::Trail`].
    pub async fn is_key_of_another(&self, key: &KeyHash, person: &PersonName) -> Result<bool, LedgerError> {
        Ok(self.trail.is_key_of_another(key, person).await?)
    }

    // ---- looking ----

    /// What the ledger holds, and the numbered changes that follow.
    #[must_use]
    pub fn subscribe(&self) -> (Snapshot, Changes) {
        let book = self.book();
        let changes = Changes(self.changes.subscribe());
        let grants = book.grants().collect();
        (Snapshot { number: book.number, grants, drain: book.drain.clone() }, changes)
    }

    /// The drain in force, if any.
    #[must_use]
    pub fn draining(&self) -> Option<Arc<Draining>> {
        self.book().drain.clone()
    }

    /// Who may look at, and who may end, what is not theirs.
    #[must_use]
    pub fn overseers(&self) -> Arc<Overseers> {
        Arc::clone(&self.overseers.read())
    }

    /// From now on these do.
    pub fn use_overseers(&self, overseers: Overseers) {
        *self.overseers.write() = Arc::new(overseers);
    }

    /// How many certificates were signed for people since the start.
    #[must_use]
    pub fn signed(&self) -> u64 {
        self.signed.load(Ordering::Relaxed)
    }

    /// How often glass was broken since the start.
    #[must_use]
    pub fn glass_broken(&self) -> u64 {
        self.glass_broken.load(Ordering::Relaxed)
    }

    /// The grant that `text`, an id or the beginning of one, names for this person.
    ///
    /// # Errors
    /// [`LedgerError::NoSuchGrant`] also for what the person may not see; [`LedgerError::Ambiguous`].
    pub async fn find(&self, text: &str, person: &Person) -> Result<Arc<Grant>, LedgerError> {
        checked_beginning(text)?;
        let overseers = self.overseers();
        let overseers = &overseers.readers;
        let mut found: Vec<Arc<Grant>> = {
            let book = self.book();
            book.open
                .range::<str, _>((Included(text), Unbounded))
                .take_while(|(id, _)| id.as_str().starts_with(text))
                .map(|(_, open_grant)| open_grant.grant())
                .filter(|grant| approval::may_see(grant, person, overseers))
                .take(CANDIDATES)
                .collect()
        };
        if found.len() < CANDIDATES && !(found.len() == 1 && text.len() == GrantId::LENGTH) {
            let closed = self.trail.closed_beginning(person, overseers, text, CANDIDATES).await?;
            // One that was over between the two looks is found by both.
            let known: Vec<GrantId> = found.iter().map(|grant| grant.id.clone()).collect();
            found.extend(closed.into_iter().filter(|grant| !known.contains(&grant.id)).map(Arc::new));
        }
        only(text, found, |grant| &grant.id)
    }

    /// The open grant that `text`, an id or the beginning of one, names for somebody who may see all of them.
    ///
    /// # Errors
    /// [`LedgerError::NoSuchGrant`], also for one that is over; [`LedgerError::Ambiguous`].
    pub fn find_open(&self, text: &str) -> Result<GrantId, LedgerError> {
        checked_beginning(text)?;
        let found = self.open(|grant| grant.id.as_str().starts_with(text));
        only(text, found.iter().map(|open_grant| open_grant.grant().id.clone()).collect(), |id| id)
    }

    /// The grants this person may see and `filter` selects, each with its place in the list: first those that are open or owe
    /// a review, and with `all` those that are over, each newest first. At most `limit` of those behind `after`, and behind
    /// which place to continue; of a long trail one answer looks at a part only, so that there may be more behind an empty
    /// one.
    ///
    /// # Errors
    /// [`LedgerError::Trail`].
    pub async fn list(
        &self,
        person: &Person,
        all: bool,
        filter: &Filter,
        limit: usize,
        after: Option<&Place>,
    ) -> Result<Page<(Place, Arc<Grant>), Place>, LedgerError> {
        let overseers = self.overseers();
        let overseers = &overseers.readers;
        let mut listed: Vec<(Place, Arc<Grant>)> = match after {
            Some(Place::Closed(_)) => Vec::new(),
            after => {
                let book = self.book();
                let may_see = |grant: &Arc<Grant>| approval::may_see(grant, person, overseers);
                let placed = |grant: Arc<Grant>| (Place::Open(grant.requested_at, grant.id.clone()), grant);
                book.grants()
                    .filter(may_see)
                    .filter(|grant| filter.selects(grant))
                    .map(placed)
                    .filter(|(place, _)| after.is_none_or(|after| place < after))
                    .collect()
            }
        };
        listed.sort_unstable_by(|(one, _), (other, _)| other.cmp(one));
        if listed.len() > limit {
            listed.truncate(limit);
            let next = listed.last().map(|(place, _)| place.clone());
            return Ok((listed, next));
        }
        if !all {
            return Ok((listed, None));
        }
        let below = match after {
            Some(Place::Closed(seq)) => *seq,
            _ => i64::MAX,
        };
        let (closed, next) = self.trail.closed(person, overseers, filter, below, limit - listed.len()).await?;
        // One that was over between the two looks is found by both.
        let known: BTreeSet<GrantId> = listed.iter().map(|(_, grant)| grant.id.clone()).collect();
        let closed = closed.into_iter().filter(|(_, grant)| !known.contains(&grant.id));
        listed.extend(closed.map(|(seq, grant)| (Place::Closed(seq), Arc::new(grant))));
        Ok((listed, next.map(Place::Closed)))
    }

    /// Waits until the grant's phase or number of answers is another than given, `patience` is over or the
    /// daemon ends.
    pub async fn wait(&self, grant: Arc<Grant>, phase: &str, answers: u32, patience: Duration) -> Arc<Grant> {
        let Some(open_grant) = self.open_grant(&grant.id) else { return grant };
        let mut states = open_grant.state.subscribe();
        let changed = states.wait_for(|grant| grant.phase.as_str() != phase || grant.answers != answers);
        let mut stopping = self.stopping.subscribe();
        // On time-out, and when the grant is dropped, the last state is the answer.
        tokio::select! {
            _ = tokio::time::timeout(patience, changed) => {}
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
        open_grant.grant()
    }

    /// Who waits for a change is answered now.
    pub fn stop_waiting(&self) {
        self.stopping.send_replace(true);
    }

    /// The grants of a person that are open or owe a review.
    #[must_use]
    pub fn of(&self, person: &PersonName) -> Vec<Arc<Grant>> {
        self.book().of_person(person)
    }

    /// How many grants stand in each open phase.
    #[must_use]
    pub fn count_by_phase(&self) -> BTreeMap<&'static str, usize> {
        let mut census: BTreeMap<&'static str, usize> =
            ["pending", "approved", "collecting", "live", "ending"].into_iter().map(|phase| (phase, 0)).collect();
        for grant in self.book().grants() {
            // One that only owes a review is over.
            census.entry(grant.phase.as_str()).and_modify(|count| *count += 1);
        }
        census
    }

    /// How many reviews are owed, and how many of them are overdue.
    #[must_use]
    pub fn reviews(&self) -> (usize, usize) {
        let now = self.now();
        let book = self.book();
        let owing: Vec<Arc<Grant>> = book.grants().filter(|grant| grant.owes_review()).collect();
        let is_overdue = |grant: &&Arc<Grant>| grant.glass.as_ref().is_some_and(|glass| glass.is_overdue(now));
        (owing.len(), owing.iter().filter(is_overdue).count())
    }

    /// Every grant that is not over and that `is_meant`, the oldest first.
    #[must_use]
    pub fn open(&self, is_meant: impl Fn(&Grant) -> bool) -> Vec<Arc<OpenGrant>> {
        let is_meant = |open_grant: &&Arc<OpenGrant>| {
            let grant = open_grant.grant();
            grant.phase.is_open() && is_meant(&grant)
        };
        let mut meant: Vec<Arc<OpenGrant>> = self.book().open.values().filter(is_meant).cloned().collect();
        meant.sort_by_key(|open_grant| open_grant.grant().requested_at);
        meant
    }

    /// The grants that may have a binding in this cluster.
    #[must_use]
    pub fn bound_in(&self, cluster: &ClusterName) -> Vec<Arc<Grant>> {
        let book = self.book();
        book.grants()
            .filter(|grant| grant.phase.is_open() && grant.bind_intended && grant.ask.cluster == *cluster)
            .collect()
    }

    /// Takes the grants whose deadline has come, and says when the next one comes.
    #[must_use]
    pub fn take_due(&self) -> (Vec<GrantId>, Option<Timestamp>) {
        self.book_mut().take_due(self.now())
    }

    /// Returns when a deadline may have come nearer.
    pub async fn deadline_moved(&self) {
        self.due.notified().await;
    }

    /// The grant of this id, if it is open or owes a review.
    #[must_use]
    pub fn open_grant(&self, id: &GrantId) -> Option<Arc<OpenGrant>> {
        self.book().open.get(id).cloned()
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

    fn book(&self) -> RwLockReadGuard<'_, Book> {
        self.book.read()
    }

    fn book_mut(&self) -> RwLockWriteGuard<'_, Book> {
        self.book.write()
    }
}

/// How many of these facts are certificates signed, and how many are broken glass.
fn count(facts: &[Fact]) -> (u64, u64) {
    let of = |is: fn(&Event) -> bool| facts.iter().filter(|fact| is(&fact.event)).count() as u64;
    (of(|event| matches!(event, Event::Issued { .. })), of(|event| matches!(event, Event::GlassBroken { .. })))
}
