//! The ledger's memory, under one lock: the open grants by id and by person, their deadlines, the drain in force, and the
//! number of the last change. It does no I/O and reads no clock.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;

use super::open_grant::OpenGrant;
use crate::grant::drain::Draining;
use crate::grant::request::PersonName;
use crate::grant::{Grant, GrantId};

#[derive(Default)]
pub(super) struct Book {
    /// The number of the last change.
    pub(super) number: u64,
    /// The drain in force, if any.
    pub(super) drain: Option<Arc<Draining>>,
    pub(super) open: BTreeMap<GrantId, Arc<OpenGrant>>,
    /// The same by requester, because each request counts its person's grants.
    of_person: BTreeMap<PersonName, BTreeMap<GrantId, Arc<OpenGrant>>>,
    deadlines: BTreeSet<(Timestamp, GrantId)>,
    /// By rule, as long as a grant of the rule is open.
    of_rule: HashMap<String, OfRule>,
}

/// The open grants of one rule.
struct OfRule {
    /// The last one. The next one shares the data that both have in common.
    last: Arc<Grant>,
    open: usize,
}

impl Book {
    pub(super) fn new(drain: Option<Draining>) -> Self {
        Self { drain: drain.map(Arc::new), ..Self::default() }
    }

    /// `last` is the number of the grant's last event in the trail.
    pub(super) fn insert(&mut self, mut grant: Grant, last: i64) -> Arc<OpenGrant> {
        if let Some(of_rule) = self.of_rule.get(&grant.terms.rule) {
            grant.share(&of_rule.last);
        }
        let open_grant = OpenGrant::new(grant, last);
        let grant = open_grant.grant();
        let before = self.of_rule.get(&grant.terms.rule).map_or(0, |of_rule| of_rule.open);
        self.of_rule.insert(grant.terms.rule.clone(), OfRule { last: Arc::clone(&grant), open: before + 1 });
        self.open.insert(grant.id.clone(), Arc::clone(&open_grant));
        let theirs = self.of_person.entry(grant.requester.clone()).or_default();
        theirs.insert(grant.id.clone(), Arc::clone(&open_grant));
        if let Some(deadline) = grant.deadline {
            self.due_at(deadline, grant.id.clone());
        }
        open_grant
    }

    pub(super) fn remove(&mut self, grant: &Grant) {
        self.open.remove(&grant.id);
        if let Some(theirs) = self.of_person.get_mut(&grant.requester) {
            theirs.remove(&grant.id);
            if theirs.is_empty() {
                self.of_person.remove(&grant.requester);
            }
        }
        if let Some(of_rule) = self.of_rule.get_mut(&grant.terms.rule) {
            of_rule.open = of_rule.open.saturating_sub(1);
            if of_rule.open == 0 {
                self.of_rule.remove(&grant.terms.rule);
            }
        }
    }

    /// The open grants of a person, by id.
    pub(super) fn of_person(&self, person: &PersonName) -> Vec<Arc<Grant>> {
        self.of_person.get(person).into_iter().flatten().map(|(_, open_grant)| open_grant.grant()).collect()
    }

    /// The current state of every open grant, by id.
    pub(super) fn grants(&self) -> impl Iterator<Item = Arc<Grant>> {
        self.open.values().map(|open_grant| open_grant.grant())
    }

    /// Replaces the deadline of a grant. Returns whether there is a new one.
    pub(super) fn move_deadline(&mut self, before: &Grant, next: &Grant) -> bool {
        if before.deadline == next.deadline {
            return false;
        }
        if let Some(deadline) = before.deadline {
            self.deadlines.remove(&(deadline, before.id.clone()));
        }
        if let Some(deadline) = next.deadline {
            self.due_at(deadline, next.id.clone());
        }
        next.deadline.is_some()
    }

    pub(super) fn due_at(&mut self, deadline: Timestamp, id: GrantId) {
        self.deadlines.insert((deadline, id));
    }

    /// Takes the grants whose deadline has passed, and returns the next deadline.
    pub(super) fn take_due(&mut self, now: Timestamp) -> (Vec<GrantId>, Option<Timestamp>) {
        let mut due = Vec::new();
        while let Some((deadline, _)) = self.deadlines.first() {
            if *deadline > now {
                return (due, Some(*deadline));
            }
            due.extend(self.deadlines.pop_first().map(|(_, id)| id));
        }
        (due, None)
    }
}
