//! Records events: it checks that an event may follow, appends it to the trail, then updates the memory and notifies.
//!
//! An event that the trail did not store has no effect here. Only `broker` calls this.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use jiff::{SignedDuration, Timestamp};

use super::book::Book;
use super::{Change, Changed, Late, Ledger, LedgerError, Locked, NameLock, OpenGrant};
use crate::grant::drain::Draining;
use crate::grant::request::{KeyHash, Person, PersonName, after};
use crate::grant::{Author, Event, Fact, Grant, GrantId};
use crate::trail::{Open, Position};

impl Ledger {
    /// Waits until no other call counts or reserves for this person, so that counting limits, owed reviews and live grants
    /// and recording the result are one step. Lock a grant before its person, never after.
    pub async fn lock_person(&self, person: &PersonName) -> NameLock {
        self.people.lock(person).await
    }

    /// Waits until no other request uses this key, so that two people cannot both find it unused.
    pub async fn lock_key(&self, key: &KeyHash) -> NameLock {
        self.keys.lock(key).await
    }

    /// Records an event that belongs to no grant.
    ///
    /// # Errors
    /// [`LedgerError::Trail`]; then nothing has changed.
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

    /// Records the request with which a grant begins.
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

    /// Records events of a grant: checks that they may follow, then stores them, then updates the memory.
    ///
    /// # Errors
    /// [`LedgerError`]; then none of them is recorded.
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

    /// Records events that [may follow the end](Event::may_follow_the_end) of a grant that is over and was live; its last event
    /// is `last`. Nothing in memory changes.
    ///
    /// # Errors
    /// [`LedgerError::Trail`]; then none of them is recorded.
    pub async fn record_late(
        &self,
        id: &GrantId,
        last: i64,
        by: &Author,
        events: Vec<Event>,
    ) -> Result<(), LedgerError> {
        let at = self.now();
        let facts = events.into_iter().map(|event| by.fact(at, Some(id.clone()), event));
        self.append(facts.collect(), Some(last), None).await.map(drop)
    }

    /// After a failed write, takes the grant from the trail: a disk can keep a write that it reported as failed, and then no
    /// event could follow the state in memory. If the trail cannot be read either, the next write tries again.
    async fn catch_up(&self, locked: &mut Locked<'_>, error: &LedgerError) {
        let id = locked.grant().id.clone();
        match self.trail.grant(&id).await {
            Ok(Some(Open { grant, last })) if last != locked.last() => {
                tracing::warn!(grant = %id, %error, last, "the trail contains events of this grant whose write it reported as failed");
                self.adopt(locked, grant, last);
            }
            Ok(_) => {}
            Err(unread) => {
                tracing::warn!(grant = %id, error = %unread, "the trail cannot be read after a failed write")
            }
        }
    }

    /// Waits for something that the trail stored after its author had been told that this is unknown; none if the trail is
    /// closed.
    pub async fn late(&self) -> Option<Late> {
        self.late.lock().await.recv().await
    }

    /// Takes what was stored late from the trail. A grant becomes due, because nobody works on it any more.
    ///
    /// # Errors
    /// [`LedgerError::Trail`]; then nothing has changed.
    pub async fn take_up(&self, late: &Late) -> Result<(), LedgerError> {
        let id = match late {
            Late::Grant(id) => id,
            Late::Drain => {
                let drain = self.trail.draining().await?.map(Arc::new);
                let mut book = self.book_mut();
                book.drain.clone_from(&drain);
                self.publish(&mut book, Changed::Drain(drain));
                return Ok(());
            }
        };
        let now = self.now();
        if let Some(open_grant) = self.open_grant(id) {
            let mut locked = open_grant.lock().await;
            if let Some(Open { grant, last }) = self.trail.grant(id).await?
                && last != locked.last()
            {
                self.adopt(&mut locked, grant, last);
            }
            self.book_mut().due_at(now, id.clone());
        } else if let Some(Open { grant, last }) = self.trail.grant(id).await?
            && !grant.is_over()
        {
            let mut book = self.book_mut();
            let open_grant = book.insert(grant, last);
            book.due_at(now, id.clone());
            self.publish(&mut book, Changed::Grant(open_grant.grant()));
        }
        self.due.notify_one();
        Ok(())
    }

    /// Takes `next` as the state of the grant after its event `last`.
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
        self.appended.send_if_modified(|last| {
            let grows = *last < position.seq;
            *last = position.seq.max(*last);
            grows
        });
        Ok(position)
    }

    /// Makes a grant due again after a failure: in a second, then in twice that time, at most in a minute.
    pub fn retry_later(&self, locked: &mut Locked<'_>) {
        let wait = SignedDuration::from_secs((1_i64 << locked.count_failure().min(6)).min(60));
        self.book_mut().due_at(after(self.now(), wait), locked.grant().id.clone());
        self.due.notify_one();
    }

    /// Numbers a change and sends it. The book stays locked, so a snapshot and the changes after it have no gap.
    fn publish(&self, book: &mut Book, what: Changed) {
        book.number = book.number.saturating_add(1);
        // It is not an error if there are no subscribers.
        let _ = self.changes.send(Change { number: book.number, what });
    }
}

/// The number of issued certificates and of uses of break-glass among these facts.
fn count(facts: &[Fact]) -> (u64, u64) {
    let of = |is: fn(&Event) -> bool| facts.iter().filter(|fact| is(&fact.event)).count() as u64;
    (of(|event| matches!(event, Event::Issued { .. })), of(|event| matches!(event, Event::GlassBroken { .. })))
}
