//! What operators do: stop giving access, resume, and revoke many grants side by side.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;

use super::{Broker, BrokerError};
use crate::grant::drain::Draining;
use crate::grant::refusal::{Code, Refusal};
use crate::grant::request::{ClusterName, Login, Person, PersonName, Reason};
use crate::grant::{Author, EndCause, Event, Grant, Operator, Phase};
use crate::hint::Hint;
use crate::ledger::{Ending, OpenGrant};

/// So many people are named to somebody who named nobody.
const NAMED: usize = 20;

/// So many grants of one cluster are revoked at a time. More than the calls that a cluster gets at a time, for a
/// grant also waits for the trail and between two questions.
const REVOKED_AT_ONCE: usize = 256;

/// How long an operator waits for what is being taken away.
const REVOKED_WITHIN: Duration = Duration::from_secs(60);

/// Whose grants an operator means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GrantSelector {
    /// Every grant.
    Everybody,
    /// Those of a person.
    Person(PersonName),
    /// Those in a cluster.
    Cluster(ClusterName),
    /// Those of a person in a cluster.
    PersonIn(PersonName, ClusterName),
    /// These, by their ids or unique beginnings of them.
    Named(Vec<String>),
}

impl GrantSelector {
    fn matches(&self, grant: &Grant) -> bool {
        match self {
            Self::Everybody => true,
            Self::Person(person) => grant.requester == *person,
            Self::Cluster(cluster) => grant.ask.cluster == *cluster,
            Self::PersonIn(person, cluster) => grant.requester == *person && grant.ask.cluster == *cluster,
            Self::Named(beginnings) => beginnings.iter().any(|beginning| grant.id.as_str().starts_with(beginning)),
        }
    }

    fn person(&self) -> Option<&PersonName> {
        match self {
            Self::Person(person) | Self::PersonIn(person, _) => Some(person),
            Self::Everybody | Self::Cluster(_) | Self::Named(_) => None,
        }
    }
}

/// What became of the grants that an operator took away.
#[derive(Debug)]
pub struct Revocation {
    /// The grants, the oldest first.
    pub grants: Vec<Revoked>,
    /// Why the drain that was asked for is not in force.
    pub not_drained: Option<String>,
}

/// A grant that an operator took away, or would.
#[derive(Debug)]
pub struct Revoked {
    /// Its phase before.
    pub was: Phase,
    /// As it is now.
    pub grant: Arc<Grant>,
    /// Why it is not over yet.
    pub why: Option<String>,
}

impl Broker {
    /// From here on nothing is given until [`Broker::resume`], also after a restart: nothing is asked for, collected,
    /// taken without an answer or made longer. What is being collected at this moment may still come to work; ends,
    /// answers, reviews and renewals go on.
    ///
    /// # Errors
    /// [`BrokerError::Ledger`]; then it is as before.
    pub async fn drain(&self, by: &Operator, reason: Option<Reason>) -> Result<(), BrokerError> {
        let _alone = self.giving.write().await;
        tracing::warn!(by = %by.name, login_uid = by.login.as_ref().and_then(Login::uid), reason = reason.as_ref().map(Reason::as_str), "draining: nothing is given until `jitd resume`");
        Ok(self.ledger.note(&Author::Operator(by.clone()), Event::Drained { reason }).await?)
    }

    /// Things are given again. Without a drain before, nothing is recorded.
    ///
    /// # Errors
    /// [`BrokerError::Ledger`]; then it is as before.
    pub async fn resume(&self, by: &Operator) -> Result<(), BrokerError> {
        let _alone = self.giving.write().await;
        if self.draining().is_some() {
            self.ledger.note(&Author::Operator(by.clone()), Event::Resumed).await?;
            tracing::warn!(by = %by.name, login_uid = by.login.as_ref().and_then(Login::uid), "resumed: requests are taken again");
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
    /// [`BrokerError::Refused`] for a cluster or a person that there is not, [`BrokerError::Ledger`] for an id: a name that
    /// is wrong must not look like one with nothing to revoke.
    pub async fn meant(&self, whose: &GrantSelector) -> Result<Vec<Arc<OpenGrant>>, BrokerError> {
        if let GrantSelector::Cluster(cluster) | GrantSelector::PersonIn(_, cluster) = whose {
            self.site(cluster)?;
        }
        if let GrantSelector::Named(beginnings) = whose {
            beginnings.iter().try_for_each(|beginning| self.ledger.find_open(beginning).map(drop))?;
        }
        let meant = self.ledger.open(|grant| whose.matches(grant));
        match whose.person() {
            Some(person) if meant.is_empty() && !self.has_heard_of(person).await? => Err(self.nobody(person).into()),
            _ => Ok(meant),
        }
    }

    /// Whether somebody is of this name, or was when they asked for something.
    async fn has_heard_of(&self, person: &PersonName) -> Result<bool, BrokerError> {
        Ok(self.ledger.asked_since(person, Timestamp::MIN, 1).await? > 0 || self.person(person).await?.is_some())
    }

    fn nobody(&self, person: &PersonName) -> Refusal {
        let refusal = Refusal::new(Code::UnknownPerson, format!("nobody is known here as `{person}`"));
        let open = self.ledger.open(|_| true);
        let requesters: BTreeSet<PersonName> = open.iter().map(|open| open.grant().requester.clone()).collect();
        let names = requesters.iter().take(NAMED).map(ToString::to_string).collect::<Vec<_>>().join(", ");
        refusal.hint(match requesters.len().saturating_sub(NAMED) {
            _ if requesters.is_empty() => "no grant is open".to_owned(),
            0 => format!("open grants are of {names}"),
            more => format!("open grants are of {names} and {more} more"),
        })
    }

    /// What [`Broker::revoke_many`] would take away; nothing is done.
    ///
    /// # Errors
    /// As [`Broker::meant`].
    pub async fn planned(&self, whose: &GrantSelector) -> Result<Revocation, BrokerError> {
        let planned = self.meant(whose).await?.into_iter().map(|open_grant| {
            let grant = open_grant.grant();
            Revoked { was: grant.phase, grant, why: None }
        });
        Ok(Revocation { grants: planned.collect(), not_drained: None })
    }

    /// An operator takes grants away, whatever their phase, side by side; a cluster that does not answer holds up
    /// only its own. With `drain` nothing new is given meanwhile. Answers after `REVOKED_WITHIN` at the latest; what is
    /// not over then, or failed, goes on behind the answer and is tried again until it succeeds.
    ///
    /// # Errors
    /// As [`Broker::meant`]; then nothing is done.
    pub async fn revoke_many(
        self: &Arc<Self>,
        whose: &GrantSelector,
        by: &Operator,
        reason: &Reason,
        drain: bool,
    ) -> Result<Revocation, BrokerError> {
        // A person or a cluster that there is not is refused before anything is done.
        let mut meant = self.meant(whose).await?;
        let mut not_drained = None;
        if drain {
            not_drained = self.drain(by, Some(reason.clone())).await.err().map(|error| error.in_full().to_string());
            // Once more, for what was requested before the drain; grants by name are no more than they were.
            if !matches!(whose, GrantSelector::Named(_)) {
                meant = self.meant(whose).await?;
            }
        }
        let was: Vec<Phase> = meant.iter().map(|open_grant| open_grant.grant().phase).collect();
        let (broker, taken, by, reason) = (Arc::clone(self), meant.clone(), by.clone(), reason.clone());
        let taking = tokio::spawn(async move { broker.take_away(&taken, &by, &reason).await });
        let whys = match tokio::time::timeout(REVOKED_WITHIN, taking).await {
            Ok(Ok(whys)) => whys,
            Ok(Err(error)) => {
                tracing::error!(%error, "a revocation failed");
                Vec::new()
            }
            Err(_) => meant.iter().map(|_| Some(format!("not within {} s", REVOKED_WITHIN.as_secs()))).collect(),
        };
        let whys = whys.into_iter().chain(std::iter::repeat_with(|| None));
        let grants = meant.iter().zip(was).zip(whys);
        let grants = grants.map(|((open_grant, was), why)| Revoked { was, grant: open_grant.grant(), why }).collect();
        Ok(Revocation { grants, not_drained })
    }

    /// Ends each of these grants. Answers for each, in their order, why it is not over yet.
    async fn take_away(&self, meant: &[Arc<OpenGrant>], by: &Operator, reason: &Reason) -> Vec<Option<String>> {
        let ending =
            Ending { why: EndCause::Revoked, by: Author::Operator(by.clone()), reason: Some(reason.to_string()) };
        let turns = self.limit_per_cluster(REVOKED_AT_ONCE);
        let taken = meant.iter().map(|open_grant| async {
            self.intend(open_grant, &ending).await;
            let _turn = turns.at(&open_grant.grant().ask.cluster).await;
            let mut locked = open_grant.lock().await;
            let grant = locked.grant();
            let ended = match (grant.phase, grant.end_cause) {
                (phase, _) if !phase.is_open() => return None,
                (Phase::Ending, Some(cause)) => self.finish(&mut locked, Ending::by_daemon(cause)).await,
                _ => self.finish(&mut locked, ending.clone()).await,
            };
            ended.err().map(|error| error.in_full().to_string())
        });
        join_all(taken).await
    }

    /// Records that access is about to be taken away, before its turn has come: a daemon that is killed meanwhile
    /// goes on with it at its next start, and nothing is renewed any more. Where the trail can't take it, it is taken
    /// away all the same.
    async fn intend(&self, open_grant: &OpenGrant, Ending { why, by, reason }: &Ending) {
        let mut locked = open_grant.lock().await;
        let grant = locked.grant();
        if grant.bind_intended && matches!(grant.phase, Phase::Collecting | Phase::Live) {
            let event = Event::UnbindIntended { why: *why, reason: reason.clone() };
            drop(self.ledger.record(&mut locked, by, vec![event]).await);
        }
    }

    /// Whether a person may operate the daemon, and end what is not theirs.
    #[must_use]
    pub fn is_admin(&self, person: &Person) -> bool {
        person.is_in_any(&self.ledger.overseers().admins)
    }
}
