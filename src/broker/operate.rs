//! What operators do: stop giving access, resume, and revoke many grants side by side.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::future::join_all;
use jiff::Timestamp;

use super::{Broker, BrokerError};
use crate::grant::drain::Draining;
use crate::grant::refusal::{Code, Refusal};
use crate::grant::request::{ClusterName, Person, PersonName, Reason};
use crate::grant::{EndCause, Event, Grant, Operator, Phase};
use crate::ledger::{Author, Cell, Ending};

/// So many people are named to somebody who named nobody.
const NAMED: usize = 20;

/// So many grants of one cluster are revoked at a time. More than the calls that a cluster gets at a time, for a
/// grant also waits for the trail and between two questions.
const REVOKED_AT_ONCE: usize = 256;

/// Whose grants an operator means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Every grant.
    Everybody,
    /// Those of a person.
    Person(PersonName),
    /// Those in a cluster.
    Cluster(ClusterName),
    /// Those of a person in a cluster.
    PersonIn(PersonName, ClusterName),
}

impl Whose {
    fn is_meant(&self, grant: &Grant) -> bool {
        match self {
            Self::Everybody => true,
            Self::Person(person) => grant.requester == *person,
            Self::Cluster(cluster) => grant.ask.cluster == *cluster,
            Self::PersonIn(person, cluster) => grant.requester == *person && grant.ask.cluster == *cluster,
        }
    }

    fn person(&self) -> Option<&PersonName> {
        match self {
            Self::Person(person) | Self::PersonIn(person, _) => Some(person),
            Self::Everybody | Self::Cluster(_) => None,
        }
    }
}

impl Broker {
    /// From here on nothing is given until [`Broker::resume`], also after a restart: nothing is asked for, collected,
    /// taken without an answer or made longer. What is being collected at this moment may still come to work; ends,
    /// answers, reviews and renewals go on.
    ///
    /// # Errors
    /// [`BrokerError::Ledger`]; then it is as before.
    pub async fn drain(&self, by: &Operator, reason: Option<Reason>) -> Result<(), BrokerError> {
        let _operating = self.operating.lock().await;
        tracing::warn!(by = %by.name, login_uid = by.login.as_ref().map(|login| login.uid), reason = reason.as_ref().map(Reason::as_str), "draining: nothing is given until `jitd resume`");
        Ok(self.ledger.operate(by, Event::Drained { reason }).await?)
    }

    /// Things are given again. Without a drain before, nothing is recorded.
    ///
    /// # Errors
    /// [`BrokerError::Ledger`]; then it is as before.
    pub async fn resume(&self, by: &Operator) -> Result<(), BrokerError> {
        let _operating = self.operating.lock().await;
        if self.draining().is_some() {
            self.ledger.operate(by, Event::Resumed).await?;
            tracing::warn!(by = %by.name, login_uid = by.login.as_ref().map(|login| login.uid), "resumed: requests are taken again");
        }
        Ok(())
    }

    /// That nothing is given at the moment, since when and why.
    #[must_use]
    pub fn draining(&self) -> Option<Arc<Draining>> {
        self.ledger.draining()
    }

    /// The grants that an operator means and that are not over, the oldest first.
    ///
    /// # Errors
    /// [`BrokerError::Refused`] for a cluster or a person that there is not: a name that is wrong must not look like one
    /// with nothing to revoke.
    pub async fn meant(&self, whose: &Whose) -> Result<Vec<Arc<Cell>>, BrokerError> {
        if let Whose::Cluster(cluster) | Whose::PersonIn(_, cluster) = whose {
            self.site(cluster)?;
        }
        let meant = self.ledger.open(|grant| whose.is_meant(grant));
        match whose.person() {
            Some(person) if meant.is_empty() && !self.has_heard_of(person).await? => Err(self.nobody(person).into()),
            _ => Ok(meant),
        }
    }

    /// Whether somebody is of this name, or was when they asked for something.
    async fn has_heard_of(&self, person: &PersonName) -> Result<bool, BrokerError> {
        Ok(self.trail.asked_since(person, Timestamp::MIN, 1).await? > 0 || self.person(person).await?.is_some())
    }

    fn nobody(&self, person: &PersonName) -> Refusal {
        let refusal = Refusal::new(Code::UnknownPerson, format!("nobody is known here as `{person}`"));
        let cells = self.ledger.open(|_| true);
        let requesters: BTreeSet<PersonName> = cells.iter().map(|cell| cell.grant().requester.clone()).collect();
        let names = requesters.iter().take(NAMED).map(ToString::to_string).collect::<Vec<_>>().join(", ");
        refusal.hint(match requesters.len().saturating_sub(NAMED) {
            _ if requesters.is_empty() => "no grant is open".to_owned(),
            0 => format!("open grants are of {names}"),
            more => format!("open grants are of {names} and {more} more"),
        })
    }

    /// An operator takes grants away, whatever their phase, side by side; a cluster that does not answer holds up
    /// only its own. Answers for each, in their order, why it is not over yet. What failed is tried again for ever.
    pub async fn revoke_many(&self, cells: &[Arc<Cell>], by: &Operator, reason: &Reason) -> Vec<Option<BrokerError>> {
        let ending =
            Ending { why: EndCause::Revoked, by: Author::Operator(by.clone()), reason: Some(reason.to_string()) };
        let turns = self.turns(REVOKED_AT_ONCE);
        let taken = cells.iter().map(|cell| async {
            self.intend(cell, &ending).await;
            let _turn = turns.at(&cell.grant().ask.cluster).await;
            let _gate = cell.gate.lock().await;
            let grant = cell.grant();
            let ended = match (grant.phase, grant.end_cause) {
                (phase, _) if !phase.is_open() => return None,
                (Phase::Ending, Some(cause)) => self.finish(cell, Ending::of_itself(cause)).await,
                _ => self.finish(cell, ending.clone()).await,
            };
            ended.err()
        });
        join_all(taken).await
    }

    /// Records that access is about to be taken away, before its turn has come: a daemon that is killed meanwhile
    /// goes on with it at its next start, and nothing is renewed any more. Where the trail can't take it, it is taken
    /// away all the same.
    async fn intend(&self, cell: &Cell, Ending { why, by, reason }: &Ending) {
        let _gate = cell.gate.lock().await;
        let grant = cell.grant();
        if grant.bind_intended && matches!(grant.phase, Phase::Collecting | Phase::Live) {
            let event = Event::UnbindIntended { why: *why, reason: reason.clone() };
            drop(self.ledger.record_by(cell, by, vec![event]).await);
        }
    }

    /// Whether a person may operate the daemon, and end what is not theirs.
    #[must_use]
    pub fn is_admin(&self, person: &Person) -> bool {
        person.is_in_any(&self.admins)
    }
}
