//! What operators do: drain, resume, and revoke many grants at once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;

use super::{Broker, BrokerError};
use crate::grant::drain::Draining;
use crate::grant::refusal::{Code, Refusal};
use crate::grant::request::{ClusterName, Login, Person, PersonName, Reason};
use crate::grant::{Author, EndCause, Event, Grant, GrantId, Operator, Phase, ScanFinished};
use crate::hint::Hint;
use crate::ledger::{Ending, Late, OpenGrant};

/// The limit for names in the hint for an unknown person.
const NAMED: usize = 20;

/// The limit for grants of one cluster that are revoked at a time. It is above the limit for calls, because a grant
/// also waits for the trail and between two questions.
const REVOKED_AT_ONCE: usize = 256;

/// How long an operator waits for a revocation.
const REVOKED_WITHIN: Duration = Duration::from_secs(60);

/// Which grants an operator selects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GrantSelector {
    /// Every grant.
    Everybody,
    /// The grants of a person.
    Person(PersonName),
    /// The grants in a cluster.
    Cluster(ClusterName),
    /// The grants of a person in a cluster.
    PersonIn(PersonName, ClusterName),
    /// These, by their ids or unique beginnings of them.
    Named(Vec<String>),
}

impl GrantSelector {
    /// `named` are the ids of those that are selected by id.
    fn matches(&self, grant: &Grant, named: &BTreeSet<GrantId>) -> bool {
        match self {
            Self::Everybody => true,
            Self::Person(person) => grant.requester == *person,
            Self::Cluster(cluster) => grant.ask.cluster == *cluster,
            Self::PersonIn(person, cluster) => grant.requester == *person && grant.ask.cluster == *cluster,
            Self::Named(_) => named.contains(&grant.id),
        }
    }

    fn person(&self) -> Option<&PersonName> {
        match self {
            Self::Person(person) | Self::PersonIn(person, _) => Some(person),
            Self::Everybody | Self::Cluster(_) | Self::Named(_) => None,
        }
    }
}

/// The result of an operator's revocation.
#[derive(Debug)]
pub struct Revocation {
    /// The selected grants, oldest first.
    pub grants: Vec<Revoked>,
    /// Why the requested drain is not in force.
    pub not_drained: Option<String>,
}

/// A grant that an operator revokes, or would revoke.
#[derive(Debug)]
pub struct Revoked {
    /// The phase before.
    pub was: Phase,
    /// The grant as it is now.
    pub grant: Arc<Grant>,
    /// Why it is not over yet.
    pub why: Option<String>,
}

impl Broker {
    /// Grants no new access until [`Broker::resume`], even after a restart: requests, collections, break-glass and
    /// extensions are refused. A collection in progress may still become live; ends, answers, reviews and renewals
    /// continue.
    ///
    /// # Errors
    /// [`BrokerError::Ledger`]; then nothing changes.
    pub async fn drain(&self, by: &Operator, reason: Option<Reason>) -> Result<(), BrokerError> {
        let _alone = self.drain_lock.write().await;
        tracing::warn!(by = %by.name, login_uid = by.login.as_ref().and_then(Login::uid), reason = reason.as_ref().map(Reason::as_str), "draining: no new access until `jitd resume`");
        Ok(self.ledger.note(&Author::Operator(by.clone()), Event::Drained { reason }).await?)
    }

    /// Ends a drain. Without a drain, nothing is recorded.
    ///
    /// # Errors
    /// [`BrokerError::Ledger`]; then nothing changes.
    pub async fn resume(&self, by: &Operator) -> Result<(), BrokerError> {
        let _alone = self.drain_lock.write().await;
        if self.draining().is_some() {
            self.ledger.note(&Author::Operator(by.clone()), Event::Resumed).await?;
            tracing::warn!(by = %by.name, login_uid = by.login.as_ref().and_then(Login::uid), "resumed: requests are accepted again");
        }
        Ok(())
    }

    /// Records what a scan of a cluster found.
    ///
    /// # Errors
    /// [`BrokerError::Refused`] for a cluster that is not configured, [`BrokerError::Ledger`]; then nothing changes.
    pub async fn scan_finished(&self, by: &Operator, scan: ScanFinished) -> Result<(), BrokerError> {
        self.site(&scan.cluster)?;
        Ok(self.ledger.note(&Author::Operator(by.clone()), Event::ScanFinished(Box::new(scan))).await?)
    }

    /// Records that a scan of a cluster failed.
    ///
    /// # Errors
    /// As [`Broker::scan_finished`].
    pub async fn scan_failed(&self, by: &Operator, cluster: ClusterName, why: Reason) -> Result<(), BrokerError> {
        self.site(&cluster)?;
        tracing::warn!(%cluster, why = why.as_str(), "the scan of the cluster failed");
        Ok(self.ledger.note(&Author::Operator(by.clone()), Event::ScanFailed { cluster, why }).await?)
    }

    /// Takes what the trail stored late, see [`Ledger::take_up`](crate::ledger::Ledger::take_up). Called only by the sweep.
    ///
    /// # Errors
    /// [`BrokerError::Ledger`]; the sweep tries again.
    pub async fn take_up(&self, late: &Late) -> Result<(), BrokerError> {
        let _alone = match late {
            Late::Drain => Some(self.drain_lock.write().await),
            Late::Grant(_) => None,
        };
        Ok(self.ledger.take_up(late).await?)
    }

    /// The drain in force, if any.
    #[must_use]
    pub fn draining(&self) -> Option<Arc<Draining>> {
        self.ledger.draining()
    }

    /// The selected grants that are not over, oldest first.
    ///
    /// # Errors
    /// [`BrokerError::Refused`] for a cluster or a person that does not exist, [`BrokerError::Ledger`] for an unknown
    /// id: a wrong name must not look like one with nothing to revoke.
    pub async fn select(&self, whose: &GrantSelector) -> Result<Vec<Arc<OpenGrant>>, BrokerError> {
        if let GrantSelector::Cluster(cluster) | GrantSelector::PersonIn(_, cluster) = whose {
            self.site(cluster)?;
        }
        let named = match whose {
            GrantSelector::Named(beginnings) => {
                beginnings.iter().map(|beginning| self.ledger.find_open(beginning)).collect::<Result<_, _>>()?
            }
            _ => BTreeSet::new(),
        };
        let selected = self.ledger.open(|grant| whose.matches(grant, &named));
        match whose.person() {
            Some(person) if selected.is_empty() && !self.is_known(person).await? => Err(self.unknown(person).into()),
            _ => Ok(selected),
        }
    }

    /// Whether a person of this name exists, or has ever made a request.
    async fn is_known(&self, person: &PersonName) -> Result<bool, BrokerError> {
        Ok(self.ledger.asked_since(person, Timestamp::MIN, 1).await? > 0 || self.person(person).await?.is_some())
    }

    fn unknown(&self, person: &PersonName) -> Refusal {
        let refusal = Refusal::new(Code::UnknownPerson, format!("person `{person}` is unknown here"));
        let open = self.ledger.open(|_| true);
        let requesters: BTreeSet<PersonName> = open.iter().map(|open| open.grant().requester.clone()).collect();
        let names = requesters.iter().take(NAMED).map(ToString::to_string).collect::<Vec<_>>().join(", ");
        refusal.hint(match requesters.len().saturating_sub(NAMED) {
            _ if requesters.is_empty() => "there are no open grants".to_owned(),
            0 => format!("these people have open grants: {names}"),
            more => format!("these people have open grants: {names} and {more} more"),
        })
    }

    /// What [`Broker::revoke_many`] would revoke; changes nothing.
    ///
    /// # Errors
    /// The same as [`Broker::select`].
    pub async fn planned(&self, whose: &GrantSelector) -> Result<Revocation, BrokerError> {
        let planned = self.select(whose).await?.into_iter().map(|open_grant| {
            let grant = open_grant.grant();
            Revoked { was: grant.phase, grant, why: None }
        });
        Ok(Revocation { grants: planned.collect(), not_drained: None })
    }

    /// Revokes the selected grants, whatever their phase, concurrently; a cluster that does not answer delays only its
    /// own. With `drain`, drains first. Returns after `REVOKED_WITHIN` at the latest; ends that are not finished then,
    /// or that failed, continue in the background and are retried until they succeed.
    ///
    /// # Errors
    /// The same as [`Broker::select`]; then nothing is done.
    pub async fn revoke_many(
        self: &Arc<Self>,
        whose: &GrantSelector,
        by: &Operator,
        reason: &Reason,
        drain: bool,
    ) -> Result<Revocation, BrokerError> {
        // Before anything is done, because it refuses an unknown person or cluster.
        let mut selected = self.select(whose).await?;
        let mut not_drained = None;
        if drain {
            not_drained = self.drain(by, Some(reason.clone())).await.err().map(|error| error.in_full().to_string());
            // Again, to include requests that arrived before the drain; a selection by id does not change.
            if !matches!(whose, GrantSelector::Named(_)) {
                selected = self.select(whose).await?;
            }
        }
        let was: Vec<Phase> = selected.iter().map(|open_grant| open_grant.grant().phase).collect();
        let (broker, grants, by, reason) = (Arc::clone(self), selected.clone(), by.clone(), reason.clone());
        let revoking = tokio::spawn(async move { broker.revoke_all(&grants, &by, &reason).await });
        let whys = match tokio::time::timeout(REVOKED_WITHIN, revoking).await {
            Ok(Ok(whys)) => whys,
            Ok(Err(error)) => {
                tracing::error!(%error, "a revocation failed");
                Vec::new()
            }
            Err(_) => {
                let late = format!("not finished within {} s", REVOKED_WITHIN.as_secs());
                selected.iter().map(|_| Some(late.clone())).collect()
            }
        };
        let whys = whys.into_iter().chain(std::iter::repeat_with(|| None));
        let grants = selected.iter().zip(was).zip(whys);
        let grants = grants.map(|((open_grant, was), why)| Revoked { was, grant: open_grant.grant(), why }).collect();
        Ok(Revocation { grants, not_drained })
    }

    /// Ends each of these grants. Returns for each, in order, why it is not over yet, if it is not.
    async fn revoke_all(&self, selected: &[Arc<OpenGrant>], by: &Operator, reason: &Reason) -> Vec<Option<String>> {
        let ending =
            Ending { why: EndCause::Revoked, by: Author::Operator(by.clone()), reason: Some(reason.to_string()) };
        let slots = self.limit_per_cluster(REVOKED_AT_ONCE);
        let ended = selected.iter().map(|open_grant| async {
            self.intend(open_grant, &ending).await;
            let _slot = slots.at(&open_grant.grant().ask.cluster).await;
            let mut locked = open_grant.lock().await;
            let grant = locked.grant();
            let ended = match (grant.phase, grant.end_cause) {
                (phase, _) if !phase.is_open() => return None,
                (Phase::Ending, Some(cause)) => self.finish(&mut locked, Ending::by_daemon(cause)).await,
                _ => self.finish(&mut locked, ending.clone()).await,
            };
            ended.err().map(|error| error.in_full().to_string())
        });
        join_all(ended).await
    }

    /// Records the intent to end a grant before it gets a slot: a daemon that is killed in between continues at its
    /// next start, and the certificate is not renewed any more. If the intent cannot be recorded, the access is removed
    /// all the same.
    async fn intend(&self, open_grant: &OpenGrant, Ending { why, by, reason }: &Ending) {
        let mut locked = open_grant.lock().await;
        let grant = locked.grant();
        if grant.bind_intended && matches!(grant.phase, Phase::Collecting | Phase::Live) {
            let event = Event::UnbindIntended { why: *why, reason: reason.clone() };
            let _ = self.ledger.record(&mut locked, by, vec![event]).await;
        }
    }

    /// Whether a person may operate the daemon and end grants that are not theirs.
    #[must_use]
    pub fn is_admin(&self, person: &Person) -> bool {
        person.is_in_any(&self.ledger.overseers().admins)
    }
}
