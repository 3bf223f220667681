//! Collecting an approval, and renewing the certificate inside the window.
//!
//! ```text
//!  certificate: re-check ─► IssueIntended ─► sign ─► Issued ─► BindIntended ─► bind
//!               ─► Bound, ask until allowed ─► Live ─► hand over;  inside the window: IssueIntended ─► sign ─► Issued
//! ```
//! Nothing is handed over before `Live` is on the disk. What was begun and did not come to work is ended.

use std::collections::BTreeMap;

use futures::future::{join_all, try_join_all};
use jiff::Timestamp;

use super::facts::{gather_facts, resolve, role_empty};
use super::proof::ask_until;
use super::{Broker, BrokerError, Site};
use crate::ca::{self, CheckedCsr, Signing};
use crate::cluster::Probe;
use crate::grant::approval::{self, Approved, Facts};
use crate::grant::policy::Usage;
use crate::grant::refusal::{Code, Refusal};
use crate::grant::request::{Access, Person, PersonName};
use crate::grant::{Author, Binding, EndCause, EndProof, Event, Grant, Phase};
use crate::hint::Hint;
use crate::ledger::{Ending, Locked, NameLock};
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
        let site = self.site(&grant.ask.cluster)?;
        match self.ensure_user_name_is_unbound(site, requester).await {
            Err(BrokerError::Refused(refusal)) => {
                return Err(self.refuse(locked, requester, "certificate", refusal).await);
            }
            asked => asked?,
        }
        let known = gather_facts(site, grant.asked()).await?;
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
        let approved = match approval::collect(grant, csr.key(), &facts)
            .and_then(|approved| self.ensure_not_drained().map(|()| approved))
        {
            Ok(approved) => approved,
            Err(refusal) => {
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
        let Some(bound) = role.as_ref().and_then(|role| with_probes(grant, role)) else {
            return Err(self.refuse(locked, requester, "certificate", role_empty(&grant.ask)).await);
        };

        let intent = Event::BindIntended { binding: grant.id.binding_name() };
        let handed_over = self.issue(locked, approved, csr, &[intent], Some(person)).await;
        let live = match handed_over {
            Ok(handed_over) => self.bind(locked, site, &bound).await.map(|until| IssuedAccess { until, ..handed_over }),
            Err(error) => Err(error),
        };
        if let Err(error) = &live
            && locked.grant().phase != Phase::Approved
        {
            tracing::warn!(grant = %grant.id, error = %error.in_full(), "the grant did not come to work and is ended");
            drop(self.finish(locked, Ending::by_daemon(EndCause::Failed)).await);
        }
        live
    }

    /// Signs for an approval: intent, signature, outcome; `then` is recorded with the outcome. The lock of the person is
    /// released when the intent is recorded.
    async fn issue<'a>(
        &'a self,
        locked: &mut Locked<'_>,
        approved: Approved,
        csr: CheckedCsr,
        then: &[Event],
        person: Option<NameLock>,
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
        drop(person);
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
        let uids = made.into_iter().collect::<Result<_, _>>()?;
        // Somebody waits, and a question is no effect: it is asked while the outcome goes to the disk. Both are waited for,
        // for what was recorded has to be known here before an end follows.
        let asked = try_join_all(bound.iter().map(|(binding, probe)| ask_until(site, binding, probe, true)));
        let (recorded, asked) =
            tokio::join!(self.ledger.record(locked, &Author::Daemon, vec![Event::Bound { uids }]), asked);
        recorded?;
        asked?;
        let until = approval::window_end(&grant.ask, self.ledger.now());
        self.ledger.record(locked, &Author::Daemon, vec![Event::Live { until }]).await?;
        tracing::info!(grant = %grant.id, requester = %grant.requester, %until, "live");
        Ok(until)
    }
}

/// The bindings of a grant, each with the question whose answer tells whether it holds; none when the role
/// allows nothing there.
pub(super) fn with_probes(grant: &Grant, role: &ResolvedRole) -> Option<Vec<(Binding, Probe)>> {
    let with_probe = |binding: Binding| {
        let probe = Probe::for_role(role, binding.namespace.as_ref())?;
        Some((binding, probe))
    };
    grant.bindings().into_iter().map(with_probe).collect()
}
