//! Collecting an approved grant, and renewing its certificate inside the window.
//!
//! ```text
//!  certificate: re-check, dry run ─► IssueIntended ─► sign ─► Issued ─► BindIntended ─► bind
//!               ─► Bound, ask until allowed ─► Live ─► hand over;  inside the window: IssueIntended ─► sign ─► Issued
//! ```
//! If the cluster refuses the dry run, the approval stands, because the cause may pass; if it refuses in one of several
//! namespaces, the grant loses that one. Nothing is handed over before `Live` is on disk. A grant that was started but
//! did not become live is ended.
//!
//! Where people go through the gateway, the gateway's bindings are tried, created and proved with the grant's own, and the
//! gateway itself asks in the holder's name, over its own connection: only what works through the gateway is live.

use std::collections::BTreeMap;

use futures::TryFutureExt;
use futures::future::{join_all, try_join_all};
use jiff::{SignedDuration, Timestamp};

use super::facts::{ClusterFacts, gather_facts, resolve, role_empty};
use super::proof::ask_until;
use super::{Broker, BrokerError, DrainGuard, Site};
use crate::ca::{self, CheckedCsr, Signing};
use crate::cluster::{ClusterError, Probe};
use crate::gateway::{Reached, Unproved};
use crate::grant::approval::{self, Approved, Facts};
use crate::grant::policy::{Policy, Usage};
use crate::grant::reconcile::namespace_drift;
use crate::grant::refusal::{Code, Refusal};
use crate::grant::request::{Access, Login, Namespace, Person, PersonName, Window};
use crate::grant::{self, Author, Binding, EndCause, EndProof, Event, FoundNamespace, Grant, Phase, login};
use crate::hint::Hint;
use crate::ledger::{Ending, LedgerError, Locked, NameLock};
use crate::rbac::role::ResolvedRole;

/// A working certificate.
pub struct IssuedAccess<'a> {
    /// Leaf and issuing certificate, PEM.
    pub chain_pem: String,
    /// The last second of its validity.
    pub not_after: Timestamp,
    /// The end of the window.
    pub until: Timestamp,
    /// The certificate's cluster.
    pub site: &'a Site,
    /// How to reach it, if people reach it through the gateway.
    pub gateway: Option<Reached>,
}

impl Broker {
    /// Collects the grant or, inside the window, renews its certificate. The access works when this returns.
    ///
    /// # Errors
    /// [`BrokerError`]. A grant that was started but did not become live is ended.
    pub async fn certificate(
        &self,
        grant: &Grant,
        requester: &Person,
        csr: &str,
    ) -> Result<IssuedAccess<'_>, BrokerError> {
        let open_grant = self.still_open(grant)?;
        // The name service and a directory may be slow, and the end of a grant must not wait for them.
        let (mut approvers, mut now_known) = (BTreeMap::new(), None);
        let mut locked = loop {
            let grant = open_grant.grant();
            if grant.phase == Phase::Approved && grant.requester == requester.name {
                approvers = self.approvers_of(&grant).await?;
                now_known = Some(self.as_of_now(requester).await?);
            }
            let locked = open_grant.lock().await;
            let now = locked.grant();
            if now.phase != Phase::Approved || now.agreed == grant.agreed {
                break locked;
            }
        };
        let locked = &mut locked;
        let requester = now_known.as_ref().unwrap_or(requester);
        let grant = locked.grant();
        let csr = match ca::read_csr(csr) {
            Ok(_) if grant.requester != requester.name => Err(Refusal::not_the_requester()),
            read => read,
        };
        let csr = match csr {
            Ok(csr) => csr,
            Err(refusal) => return Err(self.refuse(locked, requester, "certificate", refusal).await),
        };
        self.is_fresh(requester)?;
        if let Some(denial) = self.site(&grant.ask.cluster)?.breaks(&grant.terms.sessions) {
            return Err(self.refuse(locked, requester, "certificate", denial.refusal()).await);
        }
        if grant.phase == Phase::Live {
            match approval::renew(&grant, csr.key(), self.ledger.now()) {
                Ok(approved) => {
                    let gateway = self.gateway_of(self.site(&grant.ask.cluster)?).await?;
                    self.issue(locked, approved, csr, gateway, &[], None).await
                }
                Err(refusal) => Err(self.refuse(locked, requester, "certificate", refusal).await),
            }
        } else {
            self.collect(locked, &grant, requester, &approvers, csr).await
        }
    }

    /// Refuses a person whose ID token is too old, or whose login is over. It is not recorded: their program gets a new one, and
    /// asks again.
    fn is_fresh(&self, requester: &Person) -> Result<(), Refusal> {
        let Some(Login::Provider(login)) = &requester.login else { return Ok(()) };
        self.logouts.ensure_lasts(login)?;
        // People of a provider that is no longer configured are nobody already.
        let fresh = self.people().fresh(&login.issuer).unwrap_or(Window::LEAST);
        login::is_fresh(login, fresh, self.ledger.now())
    }

    /// The approvers with their current groups, looked up concurrently.
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
        let reached = self.gateway_of(site).await?;
        match self.ensure_user_name_is_unbound(site, requester).await {
            Err(BrokerError::Refused(refusal)) => {
                return Err(self.refuse(locked, requester, "certificate", refusal).await);
            }
            asked => asked?,
        }
        // Tried before the approval is used up, because a failure may pass while the grant can still be collected.
        if let Err(error) = site.cluster.limits_gateway().await {
            return Err(self.not_collected(locked, error).await);
        }
        let policy = self.policy();
        let (known, tried) = tokio::join!(gather_facts_of(site, &policy, grant), tried(site, grant));
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
        // Held until the intent to issue is recorded, so that the person's next collection counts it.
        let person = self.ledger.lock_person(&requester.name).await;
        // The limits for pending and recent requests were checked at the request; the limit for live grants still
        // applies.
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
        // Checked again, because the cluster may have been slow.
        let guard = self.hold_off_drain().await;
        let approved = approval::collect(grant, csr.key(), &facts).and_then(|approved| Ok((approved, guard?)));
        let (approved, guard) = match approved {
            Ok(approved) => approved,
            Err(refusal) => {
                drop(person);
                let refused = self.refuse(locked, requester, "certificate", refusal.clone()).await;
                let ends = [Code::RoleDrift, Code::RoleMissing, Code::NamespaceDrift, Code::NamespaceMissing];
                if ends.contains(&refusal.code) {
                    let (why, proof, reason) = (EndCause::Drifted, EndProof::NeverBound, Some(refusal.why));
                    let event = Event::Ended { why, proof, reason, cut: None, log: None };
                    self.ledger.record(locked, &Author::Daemon, vec![event]).await?;
                }
                return Err(refused);
            }
        };
        let failed = tried.into_iter().find(|(namespace, tried)| {
            tried.is_err() && namespace.as_ref().is_none_or(|namespace| !grant.is_lost(namespace))
        });
        if let Some((_, Err(error))) = failed {
            drop((person, guard));
            return Err(self.not_collected(locked, error).await);
        }
        let bound = role.as_ref().and_then(|role| with_probes(grant.held_bindings(), role));
        let Some(bound) = bound else {
            return Err(self.refuse(locked, requester, "certificate", role_empty(&grant.ask)).await);
        };

        if !events.is_empty() {
            self.ledger.record(locked, &Author::Daemon, events).await?;
        }
        let gateway = site.cluster.endpoint().gateway();
        let intent = Event::BindIntended {
            binding: grant.id.binding_name(),
            gateway: gateway.map(|gateway| gateway.user.clone()),
            impersonation: gateway.map(|gateway| gateway.impersonation).unwrap_or_default(),
        };
        let handed_over = self.issue(locked, approved, csr, reached, &[intent], Some((person, guard))).await;
        let live = match handed_over {
            Ok(handed_over) => self.bind(locked, site, &bound).await.map(|until| IssuedAccess { until, ..handed_over }),
            Err(error) => Err(error),
        };
        if let Err(error) = &live
            && locked.grant().phase != Phase::Approved
        {
            tracing::warn!(grant = %grant.id, error = %error.in_full(), "the grant did not become live, so it is ended");
            let ending = Ending { reason: Some(failure_reason(error)), ..Ending::by_daemon(EndCause::Failed) };
            let _ = self.finish(locked, ending).await;
        }
        live
    }

    /// The error for a cluster that refused the dry run. The same reason is recorded only once.
    async fn not_collected(&self, locked: &mut Locked<'_>, error: ClusterError) -> BrokerError {
        let (grant, why) = (locked.grant(), said(&error));
        if grant.collection_failed.as_ref() != Some(&why) {
            tracing::warn!(grant = %grant.id, error = %error.in_full(), "the grant cannot be collected now");
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

    /// How people reach a cluster that is behind the gateway; `None` for one that they reach directly.
    async fn gateway_of(&self, site: &Site) -> Result<Option<Reached>, BrokerError> {
        if site.cluster.endpoint().gateway().is_none() {
            return Ok(None);
        }
        let name = site.cluster.name();
        self.gateway.reached(name).await.map(Some).ok_or_else(|| BrokerError::NoGateway(name.clone()))
    }

    /// Signs for an approval: intent, signature, outcome; the events `then` are recorded with the outcome. Releases the
    /// locks as soon as the intent is recorded.
    async fn issue<'a>(
        &'a self,
        locked: &mut Locked<'_>,
        approved: Approved,
        csr: CheckedCsr,
        gateway: Option<Reached>,
        then: &[Event],
        locks: Option<(NameLock, DrainGuard<'_>)>,
    ) -> Result<IssuedAccess<'a>, BrokerError> {
        let grant = locked.grant();
        let now = self.ledger.now();
        self.clock_is_sane(now)?;
        let site = self.site(&grant.ask.cluster)?;
        let authority = site.authority();
        let longest = match grant.terms.certificate {
            Some(longest) => longest.duration(),
            // The gateway ends the access whatever the certificate says, and clients that ask for one certificate only
            // work for the whole window.
            None if gateway.is_some() => SignedDuration::MAX,
            None => self.times.certificate.duration(),
        };
        let prepared = authority.prepare(approved, csr, longest, now)?;
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
            gateway,
        })
    }

    /// Binds, and waits until the API server answers "allowed". Returns the end of the window, which begins now.
    async fn bind(
        &self,
        locked: &mut Locked<'_>,
        site: &Site,
        bound: &[(Binding, Probe)],
    ) -> Result<Timestamp, BrokerError> {
        let grant = locked.grant();
        let of_gateway = with_gateway_probes(grant.held_gateway_bindings(site.cluster.host()));
        // Waits for all of them even if one fails: a request in flight must not arrive after the grant has ended.
        let (made, made_of_gateway) = tokio::join!(
            join_all(bound.iter().map(|(binding, _)| site.cluster.bind(binding))),
            join_all(of_gateway.iter().map(|(binding, _)| site.cluster.bind(binding))),
        );
        let some_are = made.iter().any(Result::is_ok);
        let (mut uids, mut held, mut outcome) = (Vec::new(), Vec::new(), Vec::new());
        let mut lost = Vec::new();
        for (made, part) in made.into_iter().zip(bound) {
            match (made, &part.0.namespace) {
                (Ok(uid), _) => {
                    uids.push(uid);
                    held.push(part);
                }
                // It is refused although the dry run succeeded. The other namespaces are still within the approval.
                (Err(error), Some(namespace)) if some_are && !error.is_transient() => {
                    outcome.push(never_bound(namespace.clone(), said(&error)));
                    lost.push(namespace);
                }
                (Err(error), _) => return Err(error.into()),
            }
        }
        for (made, part) in made_of_gateway.into_iter().zip(&of_gateway) {
            match made {
                // The holder has no right there, so nor has the gateway. The end removes it.
                _ if part.0.namespace.as_ref().is_some_and(|namespace| lost.contains(&namespace)) => {}
                Ok(_) => held.push(part),
                // A grant that does not work through the gateway is not live.
                Err(error) => return Err(error.into()),
            }
        }
        outcome.push(Event::Bound { uids });
        // The requester waits, and asking is not an effect, so it happens while the outcome is written. This waits for
        // both, because an end must not follow before the recorded state is known here.
        let asked = try_join_all(held.iter().map(|(binding, probe)| ask_until(site, binding, probe, true)));
        let of_holder = held.iter().filter(|(binding, _)| binding.gateway.is_none());
        let proved = self.prove(site, &grant, of_holder.map(|(_, probe)| probe.of_self()).collect());
        let (recorded, asked, proved) =
            tokio::join!(self.ledger.record(locked, &Author::Daemon, outcome), asked, proved);
        recorded?;
        asked?;
        proved?;
        let until = approval::window_end(&grant.ask, self.ledger.now());
        self.ledger.record(locked, &Author::Daemon, vec![Event::Live { until }]).await?;
        tracing::info!(grant = %grant.id, requester = %grant.requester, %until, "live");
        Ok(until)
    }

    /// Waits until the API server allows this to the holder through the gateway, if people reach the cluster through it.
    async fn prove(&self, site: &Site, grant: &Grant, reviews: Vec<serde_json::Value>) -> Result<(), BrokerError> {
        if site.cluster.endpoint().gateway().is_none() {
            return Ok(());
        }
        self.gateway.prove(grant, reviews).await.map_err(|why| match why {
            Unproved::Absent => BrokerError::NoGateway(grant.ask.cluster.clone()),
            Unproved::Silent => BrokerError::Unproved("it does not answer".to_owned()),
            Unproved::Refused(why) => BrokerError::Unproved(why.chars().take(1000).collect()),
        })
    }
}

/// The API server's answer to a dry run of each binding, and of each of the gateway's.
type Tried = Vec<(Option<Namespace>, Result<(), ClusterError>)>;

async fn tried(site: &Site, grant: &Grant) -> Tried {
    let asked = grant.asked();
    let own = grant.held_bindings();
    let of_gateway = site.gateway_bindings(&own);
    let tries = own.into_iter().chain(of_gateway).map(|binding| {
        // A binding cannot be tried before its role exists. For a narrowed role, the original role is tried instead.
        let whole = match (&binding.rules, &asked.access) {
            (Some(_), Access::Role(role)) if binding.gateway.is_none() => {
                Some(Binding { role: role.clone(), rules: None, ..binding.clone() })
            }
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

/// The facts for what is left of a grant.
async fn gather_facts_of(site: &Site, policy: &Policy, grant: &Grant) -> Result<ClusterFacts, ClusterError> {
    Ok(gather_facts(site, policy, &grant.asked()).await?.again(grant))
}

/// The namespaces that the grant loses, with the reasons: those that have drifted from the approved ones, and those in
/// which the cluster refuses the binding. Empty if no namespace would remain.
fn lost_parts(grant: &Grant, found: &BTreeMap<Namespace, FoundNamespace>, tried: &Tried) -> Vec<(Namespace, String)> {
    let lost: Vec<(Namespace, String)> = grant
        .held()
        .filter_map(|namespace| {
            let drift = namespace_drift(grant, namespace, found.get(namespace));
            let refused = || {
                let mut tried = tried.iter().filter(|(tried, _)| tried.as_ref() == Some(namespace));
                tried.find_map(|(_, tried)| tried.as_ref().err().filter(|error| !error.is_transient()).map(said))
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

/// The API server's message, cut: an admission webhook may say anything, and the trail stores it.
fn said(error: &ClusterError) -> String {
    error.to_string().chars().take(1000).collect()
}

/// Why a collection failed, for the requester. The log has the details of our own failures.
fn failure_reason(error: &BrokerError) -> String {
    match error {
        BrokerError::Cluster(error) => said(error),
        BrokerError::Unsettled { .. }
        | BrokerError::Terminating(_)
        | BrokerError::NoGateway(_)
        | BrokerError::Unproved(_) => error.to_string(),
        BrokerError::Authority(_) => "the certificate authority could not sign".to_owned(),
        _ => "the daemon could not complete the collection".to_owned(),
    }
}

/// Bindings of a grant, each with the probe for whether it is in effect; `None` if the role allows nothing there.
pub(super) fn with_probes(bindings: Vec<Binding>, role: &ResolvedRole) -> Option<Vec<(Binding, Probe)>> {
    let with_probe = |binding: Binding| {
        let probe = Probe::for_role(role, binding.namespace.as_ref())?;
        Some((binding, probe))
    };
    bindings.into_iter().map(with_probe).collect()
}

/// The gateway's bindings of a grant, each with the probe for whether it is in effect.
fn with_gateway_probes(bindings: Vec<Binding>) -> Vec<(Binding, Probe)> {
    let with_probe = |binding: Binding| {
        let rules = binding.rules.clone().unwrap_or_else(grant::acting_on);
        let probe = Probe::for_role(&ResolvedRole::new(String::new(), rules), binding.namespace.as_ref())?;
        Some((binding, probe))
    };
    bindings.into_iter().filter_map(with_probe).collect()
}
