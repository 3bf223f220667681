//! Collecting an approval, and renewing the certificate inside the window.
//!
//! ```text
//!  certificate: re-check, dry run ─► IssueIntended ─► sign ─► Issued ─► BindIntended ─► bind
//!               ─► Bound, ask until allowed ─► Live ─► hand over;  inside the window: IssueIntended ─► sign ─► Issued
//! ```
//! What the cluster would not take leaves the approval as it is, for it may pass; in one of several namespaces it takes
//! that one away. Nothing is handed over before `Live` is on the disk. What was begun and did not come to work is ended.

use std::collections::BTreeMap;

use futures::TryFutureExt;
use futures::future::{join_all, try_join_all};
use jiff::Timestamp;

use super::facts::{ClusterFacts, gather_facts, resolve, role_empty};
use super::proof::ask_until;
use super::{Broker, BrokerError, Giving, Site};
use crate::ca::{self, CheckedCsr, Signing};
use crate::cluster::{ClusterError, Probe};
use crate::grant::approval::{self, Approved, Facts};
use crate::grant::policy::Usage;
use crate::grant::reconcile::namespace_drift;
use crate::grant::refusal::{Code, Refusal};
use crate::grant::request::{Access, Namespace, Person, PersonName};
use crate::grant::{Author, Binding, EndCause, EndProof, Event, FoundNamespace, Grant, Phase};
use crate::hint::Hint;
use crate::ledger::{Ending, LedgerError, Locked, NameLock};
use crate::rbac::role::ResolvedRole;

/// A certificate that works, and until when.
pub struct IssuedAccess<'a> {
    /// Leaf and issuing certificate, PEM.
    pub chain_pem: String,
    /// The last second of its validity.
    pub not_after: Timestamp,
    /// The end of the window.
    pub until: Timestamp,
    /// The cluster that it is for.
    pub site: &'a Site,
}

impl Broker {
    /// The requester collects, or inside the window renews. The access works when this returns.
    ///
    /// # Errors
    /// [`BrokerError`]. What was begun and did not come to work is taken away again.
    pub async fn certificate(
        &self,
        grant: &Grant,
        requester: &Person,
        csr: &str,
    ) -> Result<IssuedAccess<'_>, BrokerError> {
        let open_grant = self.still_open(grant)?;
        // The name service may take its time, and an end of the grant must not wait for it.
        let mut approvers = BTreeMap::new();
        let mut locked = loop {
            let grant = open_grant.grant();
            if grant.phase == Phase::Approved && grant.requester == requester.name {
                approvers = self.approvers_of(&grant).await?;
            }
            let locked = open_grant.lock().await;
            let now = locked.grant();
            if now.phase != Phase::Approved || now.agreed == grant.agreed {
                break locked;
            }
        };
        let locked = &mut locked;
        let grant = locked.grant();
        let csr = match ca::read_csr(csr) {
            Ok(_) if grant.requester != requester.name => Err(Refusal::not_the_requester()),
            read => read,
        };
        let csr = match csr {
            Ok(csr) => csr,
            Err(refusal) => return Err(self.refuse(locked, requester, "certificate", refusal).await),
        };
        if grant.phase == Phase::Live {
            match approval::renew(&grant, csr.key(), self.ledger.now()) {
                Ok(approved) => self.issue(locked, approved, csr, &[], None).await,
                Err(refusal) => Err(self.refuse(locked, requester, "certificate", refusal).await),
            }
        } else {
            self.collect(locked, &grant, requester, &approvers, csr).await
        }
    }

    /// Who agreed, with the groups of now; all are asked for at once.
    async fn approvers_of(&self, grant: &Grant) -> Result<BTreeMap<PersonName, Person>, BrokerError> {
        let found = try_join_all(grant.agreed.iter().map(|yes| self.person(&yes.by))).await?;
        Ok(grant.agreed.iter().zip(found).filter_map(|(yes, person)| Some((yes.by.clone(), person?))).collect())
    }

    async fn collect<'a>(
        &'a self,
        locked: &mut Locked<'_>,
        grant: &Grant,
        requester: &Person,
        approvers: &BTreeMap<PersonName, Person>,
        csr: CheckedCsr,
    ) -> Result<IssuedAccess<'a>, BrokerError> {
        if let Err(refusal) = self.ensure_not_drained() {
            return Err(self.refuse(locked, requester, "certificate", refusal).await);
        }
        self.groups_are_known(requester)?;
        let site = self.site(&grant.ask.cluster)?;
        match self.ensure_user_name_is_unbound(site, requester).await {
            Err(BrokerError::Refused(refusal)) => {
                return Err(self.refuse(locked, requester, "certificate", refusal).await);
            }
            asked => asked?,
        }
        // Tried before the approval is spent, for what fails then may pass while it still can be collected.
        let (known, tried) = tokio::join!(gather_facts_of(site, grant), tried(site, grant));
        let known = known?;
        let lost = lost_parts(grant, &known.namespaces, &tried);
        let events: Vec<Event> = lost.into_iter().map(|(namespace, why)| never_bound(namespace, why)).collect();
        let left = events.iter().cloned().try_fold(grant.clone(), |grant, event| {
            grant.apply(&Author::Daemon.fact(self.ledger.now(), Some(locked.grant().id.clone()), event))
        });
        let grant = &left.map_err(LedgerError::from)?;
        let role = match &grant.ask.access {
            Access::Role(_) => known.role.clone(),
            Access::Rules(_) => resolve(site, &grant.ask).await?,
        };
        let denied = match &role {
            Some(role) => self.denied_before(&requester.name, &grant.ask, role).await?.is_some(),
            None => false,
        };
        // Held until the intent to issue is recorded, where the next collection of this person counts it.
        let person = self.ledger.lock_person(&requester.name).await;
        // What is open or was asked lately was held against it when it was asked; what works now still counts.
        let usage = Usage { pending: 0, last_hour: 0, denied, ..self.usage(&requester.name, Some(&grant.id)).await? };
        let policy = self.policy();
        let facts = Facts {
            policy: &policy,
            requester,
            approvers,
            role: role.as_ref(),
            namespaces: &known.namespaces,
            circumstances: known.with(usage, self.ledger.now()),
        };
        // Once more, for the cluster may have taken its time.
        let giving = self.giving().await;
        let approved = approval::collect(grant, csr.key(), &facts).and_then(|approved| Ok((approved, giving?)));
        let (approved, giving) = match approved {
            Ok(approved) => approved,
            Err(refusal) => {
                drop(person);
                let refused = self.refuse(locked, requester, "certificate", refusal.clone()).await;
                let ends = [Code::RoleDrift, Code::RoleMissing, Code::NamespaceDrift, Code::NamespaceMissing];
                if ends.contains(&refusal.code) {
                    let (why, proof, reason) = (EndCause::Drifted, EndProof::NeverBound, Some(refusal.why));
                    let event = Event::Ended { why, proof, reason };
                    self.ledger.record(locked, &Author::Daemon, vec![event]).await?;
                }
                return Err(refused);
            }
        };
        let failed = tried.into_iter().find(|(namespace, tried)| {
            tried.is_err() && namespace.as_ref().is_none_or(|namespace| !grant.is_lost(namespace))
        });
        if let Some((_, Err(error))) = failed {
            drop((person, giving));
            return Err(self.not_collected(locked, error).await);
        }
        let bound = role.as_ref().and_then(|role| with_probes(grant.held_bindings(), role));
        let Some(bound) = bound else {
            return Err(self.refuse(locked, requester, "certificate", role_empty(&grant.ask)).await);
        };

        if !events.is_empty() {
            self.ledger.record(locked, &Author::Daemon, events).await?;
        }
        let intent = Event::BindIntended { binding: grant.id.binding_name() };
        let handed_over = self.issue(locked, approved, csr, &[intent], Some((person, giving))).await;
        let live = match handed_over {
            Ok(handed_over) => self.bind(locked, site, &bound).await.map(|until| IssuedAccess { until, ..handed_over }),
            Err(error) => Err(error),
        };
        if let Err(error) = &live
            && locked.grant().phase != Phase::Approved
        {
            tracing::warn!(grant = %grant.id, error = %error.in_full(), "the grant did not come to work and is ended");
            let ending = Ending { reason: Some(told(error)), ..Ending::by_daemon(EndCause::Failed) };
            drop(self.finish(locked, ending).await);
        }
        live
    }

    /// Says why the cluster would not have it; the same is recorded once.
    async fn not_collected(&self, locked: &mut Locked<'_>, error: ClusterError) -> BrokerError {
        let (grant, why) = (locked.grant(), said(&error));
        if grant.collection_failed.as_ref() != Some(&why) {
            tracing::warn!(grant = %grant.id, error = %error.in_full(), "the grant can't be collected now");
            let event = Event::CollectionFailed { why };
            if let Err(error) = self.ledger.record(locked, &Author::Daemon, vec![event]).await {
                return error.into();
            }
        }
        match grant.deadline {
            Some(until) => BrokerError::NotCollected { error, until },
            None => error.into(),
        }
    }

    /// Signs for an approval: intent, signature, outcome; `then` is recorded with the outcome. The locks are released when
    /// the intent is recorded.
    async fn issue<'a>(
        &'a self,
        locked: &mut Locked<'_>,
        approved: Approved,
        csr: CheckedCsr,
        then: &[Event],
        locks: Option<(NameLock, Giving<'_>)>,
    ) -> Result<IssuedAccess<'a>, BrokerError> {
        let grant = locked.grant();
        let now = self.ledger.now();
        self.clock_is_sane(now)?;
        let site = self.site(&grant.ask.cluster)?;
        let authority = site.authority();
        let longest = grant.terms.certificate.unwrap_or(self.times.certificate);
        let prepared = authority.prepare(approved, csr, longest.duration(), now)?;
        let intent = Event::IssueIntended {
            serial: prepared.serial.clone(),
            tbs_sha256: prepared.tbs_sha256.clone(),
            not_before: prepared.not_before,
            not_after: prepared.not_after,
        };
        self.ledger.record(locked, &Author::Daemon, vec![intent]).await?;
        drop(locks);
        let certificate = match authority.signing() {
            Signing::Here => authority.sign(prepared)?,
            Signing::ByToken => {
                site.ask_authority(move || authority.sign(prepared)).await.map_err(BrokerError::AuthoritySilent)??
            }
        };
        let mut outcome = Vec::with_capacity(1 + then.len());
        outcome.push(Event::Issued { serial: certificate.serial, leaf_sha256: certificate.leaf_sha256 });
        outcome.extend_from_slice(then);
        let grant = self.ledger.record(locked, &Author::Daemon, outcome).await?;
        Ok(IssuedAccess {
            chain_pem: certificate.chain_pem,
            not_after: certificate.not_after,
            until: grant.deadline.unwrap_or(certificate.not_after),
            site,
        })
    }

    /// Binds, and waits until the API server allows. Answers the end of the window, which begins now.
    async fn bind(
        &self,
        locked: &mut Locked<'_>,
        site: &Site,
        bound: &[(Binding, Probe)],
    ) -> Result<Timestamp, BrokerError> {
        let grant = locked.grant();
        // Each is waited for, also when another failed: what is on its way must not arrive after the end.
        let made = join_all(bound.iter().map(|(binding, _)| site.cluster.bind(binding))).await;
        let some_are = made.iter().any(Result::is_ok);
        let (mut uids, mut held, mut outcome) = (Vec::new(), Vec::new(), Vec::new());
        for (made, part) in made.into_iter().zip(bound) {
            match (made, &part.0.namespace) {
                (Ok(uid), _) => {
                    uids.push(uid);
                    held.push(part);
                }
                // It was refused since it was tried; the others are what was approved, and less.
                (Err(error), Some(namespace)) if some_are && !error.is_transient() => {
                    outcome.push(never_bound(namespace.clone(), said(&error)));
                }
                (Err(error), _) => return Err(error.into()),
            }
        }
        outcome.push(Event::Bound { uids });
        // Somebody waits, and a question is no effect: it is asked while the outcome goes to the disk. Both are waited for,
        // for what was recorded has to be known here before an end follows.
        let asked = try_join_all(held.iter().map(|(binding, probe)| ask_until(site, binding, probe, true)));
        let (recorded, asked) = tokio::join!(self.ledger.record(locked, &Author::Daemon, outcome), asked);
        recorded?;
        asked?;
        let until = approval::window_end(&grant.ask, self.ledger.now());
        self.ledger.record(locked, &Author::Daemon, vec![Event::Live { until }]).await?;
        tracing::info!(grant = %grant.id, requester = %grant.requester, %until, "live");
        Ok(until)
    }
}

/// What the API server says to each binding that would be made.
type Tried = Vec<(Option<Namespace>, Result<(), ClusterError>)>;

async fn tried(site: &Site, grant: &Grant) -> Tried {
    let asked = grant.asked();
    let tries = grant.held_bindings().into_iter().map(|binding| {
        // A binding can't be tried before its role is made. Of a role that was cut down the whole one is there.
        let whole = match (&binding.rules, &asked.access) {
            (Some(_), Access::Role(role)) => Some(Binding { role: role.clone(), rules: None, ..binding.clone() }),
            _ => None,
        };
        async move {
            let tried = match &whole {
                Some(whole) => site.cluster.would_bind(&binding).and_then(|()| site.cluster.would_bind(whole)).await,
                None => site.cluster.would_bind(&binding).await,
            };
            (binding.namespace, tried)
        }
    });
    join_all(tries).await
}

/// What the cluster says about what is left of a grant.
async fn gather_facts_of(site: &Site, grant: &Grant) -> Result<ClusterFacts, ClusterError> {
    Ok(gather_facts(site, &grant.asked()).await?.again(grant))
}

/// The namespaces without which the grant goes on: those that are not what was approved, and those in which the cluster
/// refuses what others take. None where nothing would be left.
fn lost_parts(grant: &Grant, found: &BTreeMap<Namespace, FoundNamespace>, tried: &Tried) -> Vec<(Namespace, String)> {
    let lost: Vec<(Namespace, String)> = grant
        .held()
        .filter_map(|namespace| {
            let drift = namespace_drift(grant, namespace, found.get(namespace));
            let refused = || {
                let (_, tried) = tried.iter().find(|(tried, _)| tried.as_ref() == Some(namespace))?;
                tried.as_ref().err().filter(|error| !error.is_transient()).map(said)
            };
            let why = drift.map(|drift| drift.describe(namespace)).or_else(refused)?;
            Some((namespace.clone(), why))
        })
        .collect();
    if lost.len() < grant.held().count() { lost } else { Vec::new() }
}

fn never_bound(namespace: Namespace, why: String) -> Event {
    Event::PartEnded { namespace, why, proof: EndProof::NeverBound }
}

/// What the API server said, cut: an admission webhook may say anything, and the trail keeps it.
fn said(error: &ClusterError) -> String {
    error.to_string().chars().take(1000).collect()
}

/// Why a collection did not come to its end, for who waits for it. Of our own failures the log says more.
fn told(error: &BrokerError) -> String {
    match error {
        BrokerError::Cluster(error) => said(error),
        BrokerError::Unsettled { .. } | BrokerError::Held(_) => error.to_string(),
        BrokerError::Authority(_) => "the certificate authority could not sign".to_owned(),
        _ => "the daemon could not finish it".to_owned(),
    }
}

/// Bindings of a grant, each with the question whose answer tells whether it holds; none when the role allows nothing
/// there.
pub(super) fn with_probes(bindings: Vec<Binding>, role: &ResolvedRole) -> Option<Vec<(Binding, Probe)>> {
    let with_probe = |binding: Binding| {
        let probe = Probe::for_role(role, binding.namespace.as_ref())?;
        Some((binding, probe))
    };
    bindings.into_iter().map(with_probe).collect()
}
