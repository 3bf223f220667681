//! The end of a grant, whatever its cause: intent, deletion, proof.
//!
//! ```text
//!  UnbindIntended ─► unbind ─► ask until denied ─► Ended
//!  PartUnbindIntended ─► unbind ─► ask until denied ─► PartEnded      (in one of several namespaces; the others stay)
//! ```
//! Where people go through the gateway, the gateway's bindings are deleted right after the grant's own. The proof is
//! about the holder: for some seconds the API server may remember that the gateway may act as the holder, who then has no
//! right any more.
//!
//! An end that fails is retried until it succeeds. Nothing here signs or binds.

use std::sync::Arc;

use futures::future::{join_all, try_join_all};

use super::collect::with_probes;
use super::proof::{Settled, ask_until};
use super::{Broker, BrokerError, Site};
use crate::cluster::Unbound;
use crate::grant::end;
use crate::grant::policy::Drift;
use crate::grant::reconcile::{namespace_drift, role_drift};
use crate::grant::request::{ClusterName, Namespace, Person};
use crate::grant::{Author, Binding, Clock, EndCause, EndProof, Event, Found, FoundNamespace, Grant, GrantId, Phase};
use crate::hint::Hint;
use crate::ledger::{Ending, Locked, OpenGrant};
use crate::rbac::role::ResolvedRole;

/// The limit for cached roles of grants that ended.
const ROLES_KEPT: usize = 32;

impl Broker {
    /// The requester releases the access.
    ///
    /// # Errors
    /// [`BrokerError`]; after a failure of the cluster the grant is `ending`, and the sweep continues.
    pub async fn release(&self, grant: &Grant, requester: &Person) -> Result<Arc<Grant>, BrokerError> {
        let open_grant = self.still_open(grant)?;
        let mut locked = open_grant.lock().await;
        match end::release(&locked.grant(), requester) {
            Ok(why) => self.finish(&mut locked, Ending { why, by: Author::from(requester), reason: None }).await,
            Err(refusal) => Err(self.refuse(&mut locked, requester, "end", refusal).await),
        }
    }

    /// An approver of the grant, or an admin, revokes the access.
    ///
    /// # Errors
    /// [`BrokerError`]; after a failure of the cluster the grant is `ending`, and the sweep continues.
    pub async fn revoke(&self, grant: &Grant, by: &Person, reason: String) -> Result<Arc<Grant>, BrokerError> {
        let open_grant = self.still_open(grant)?;
        let mut locked = open_grant.lock().await;
        match end::revoke(&locked.grant(), by, &self.ledger.overseers().admins) {
            Ok(why) => self.finish(&mut locked, Ending { why, by: Author::from(by), reason: Some(reason) }).await,
            Err(refusal) => Err(self.refuse(&mut locked, by, "revoke", refusal).await),
        }
    }

    /// Does what is due for a grant: lapses it, expires it, or continues an end that did not finish. A grant for which
    /// nothing is due does not change. Called only by the sweep.
    ///
    /// # Errors
    /// [`BrokerError`]; then it is due again later.
    pub async fn settle(&self, open_grant: &OpenGrant) -> Result<(), BrokerError> {
        let mut locked = open_grant.lock().await;
        let locked = &mut locked;
        let grant = locked.grant();
        if let Some(ending) = locked.take_deferred()
            && matches!(grant.phase, Phase::Pending | Phase::Approved | Phase::Live)
        {
            return self.finish(locked, ending).await.map(drop);
        }
        let over = grant.deadline.is_some_and(|deadline| deadline <= self.ledger.now());
        let clock = match grant.phase {
            Phase::Pending if over => Clock::Pending,
            Phase::Approved if over => Clock::Collect,
            Phase::Live if over => return self.finish(locked, Ending::by_daemon(EndCause::Expired)).await.map(drop),
            // Its lock was free, so nobody is working on it: an earlier step was interrupted.
            Phase::Collecting => {
                let reason = Some("the collection was interrupted".to_owned());
                let ending = Ending { reason, ..Ending::by_daemon(EndCause::Failed) };
                return self.finish(locked, ending).await.map(drop);
            }
            Phase::Ending => {
                let cause = grant.end_cause.unwrap_or(EndCause::Failed);
                return self.finish(locked, Ending::by_daemon(cause)).await.map(drop);
            }
            _ => return Ok(()),
        };
        let lapsed = self.ledger.record(locked, &Author::Daemon, vec![Event::Lapsed { clock }]).await;
        if lapsed.is_err() {
            self.ledger.retry_later(locked);
        }
        Ok(lapsed.map(drop)?)
    }

    /// Ends a live grant whose bindings somebody else deleted: in these namespaces, or entirely if `namespaces` is
    /// empty. Called only by the sweep.
    ///
    /// # Errors
    /// [`BrokerError`]; the sweep tries again.
    pub async fn binding_missing(&self, id: &GrantId, namespaces: &[Namespace]) -> Result<(), BrokerError> {
        let reason = "its binding was deleted from the cluster".to_owned();
        if namespaces.is_empty() {
            return self.end_live(id, EndCause::Revoked, None, |_| Some(reason)).await;
        }
        let lost: Vec<_> = namespaces.iter().map(|namespace| (namespace.clone(), reason.clone())).collect();
        self.end_parts(id, EndCause::Revoked, |_| lost).await
    }

    /// Ends a live grant whose binding was altered, or whose group or holder is a subject of another binding. Called
    /// only by the sweep.
    ///
    /// # Errors
    /// [`BrokerError`]; the sweep tries again.
    pub async fn binding_altered(&self, id: &GrantId, found: String) -> Result<(), BrokerError> {
        let event = Event::BindingAltered { found: found.clone() };
        self.end_live(id, EndCause::Drifted, Some(event), |_| Some(found)).await
    }

    /// Ends a live grant whose holder lost what let them request it. `found` says what the holder lost, as in "alice is no
    /// longer in payments-oncall".
    ///
    /// # Errors
    /// [`BrokerError`]; the caller tries again.
    pub async fn holder_lost(&self, id: &GrantId, found: String) -> Result<(), BrokerError> {
        self.end_live(id, EndCause::Drifted, None, |_| Some(found)).await
    }

    /// Deletes a binding that was created after its grant had ended: the daemon gave up on the request, or died, while
    /// the request was still in flight. The trail already contains the intents to bind and unbind, so nothing is
    /// recorded, and nothing may follow an end. Returns whether it was such a binding. Called only by the sweep.
    ///
    /// # Errors
    /// [`BrokerError`]; the next comparison finds it again.
    pub async fn remove_late_binding(&self, cluster: &ClusterName, found: &Found) -> Result<bool, BrokerError> {
        let late = self.late(cluster, &found.name, |binding| found.is_exactly(binding)).await?;
        match late {
            Some(binding) => self.remove_late(cluster, &binding, Some(&found.uid)).await,
            None => Ok(false),
        }
    }

    /// Like [`Broker::remove_late_binding`], for a role that was created for a grant.
    ///
    /// # Errors
    /// [`BrokerError`]; the next comparison finds it again.
    pub async fn remove_late_role(
        &self,
        cluster: &ClusterName,
        (namespace, name): (&str, &str),
        role: &ResolvedRole,
    ) -> Result<bool, BrokerError> {
        let is_it = |binding: &Binding| {
            binding.namespace.as_ref().map_or("", Namespace::as_str) == namespace
                && binding.role.name().as_str() == name
                && binding.rules.as_deref() == Some(role.rules())
        };
        match self.late(cluster, name, is_it).await? {
            Some(binding) => self.remove_late(cluster, &binding, None).await,
            None => Ok(false),
        }
    }

    /// The binding that an object of this name is, or belongs to, if its grant in this cluster has ended.
    async fn late(
        &self,
        cluster: &ClusterName,
        name: &str,
        is_it: impl Fn(&Binding) -> bool,
    ) -> Result<Option<Binding>, BrokerError> {
        let Some(id) = GrantId::of_object(name) else { return Ok(None) };
        let grant = self.ledger.any(&id).await?;
        // Only a grant that was bound has the intent to unbind in its trail.
        let grant =
            grant.filter(|grant| grant.phase == Phase::Ended && grant.bind_intended && grant.ask.cluster == *cluster);
        let host = self.site(cluster)?.cluster.host();
        Ok(grant.and_then(|grant| grant.bindings().into_iter().chain(grant.gateway_bindings(host)).find(is_it)))
    }

    async fn remove_late(
        &self,
        cluster: &ClusterName,
        binding: &Binding,
        uid: Option<&str>,
    ) -> Result<bool, BrokerError> {
        let (mut binding, site) = (binding.clone(), self.site(cluster)?);
        if !self.deletes_role_of(&binding, cluster, site) {
            binding.rules = None;
        }
        let unbound = site.cluster.unbind(&binding, uid).await?;
        Ok(matches!(unbound, Unbound::Deleted | Unbound::AlreadyGone))
    }

    /// Ends a live grant whose role has drifted from the approved one, or only records the drift if its terms say so.
    /// `role` is the role as it is now. Called only by the sweep.
    ///
    /// # Errors
    /// [`BrokerError`]; the sweep tries again.
    pub async fn reconcile_role(&self, id: &GrantId, role: Option<&ResolvedRole>) -> Result<(), BrokerError> {
        let Some(open_grant) = self.ledger.open_grant(id) else { return Ok(()) };
        if open_grant.grant().terms.drift == Drift::Warn {
            let mut locked = open_grant.lock().await;
            let grant = locked.grant();
            // Each state of the role is recorded once.
            let found = role_drift(&grant, role).map(|drift| drift.describe(&grant.ask.access));
            let found = found.map(|found| match role {
                Some(role) => format!("{found}: {} {}", role.uid, role.rules_sha256()),
                None => found,
            });
            if let Some(found) =
                found.filter(|found| grant.phase == Phase::Live && grant.role_changed.as_ref() != Some(found))
            {
                tracing::warn!(grant = %grant.id, found, "the role changed; the grant continues, as its terms allow");
                self.ledger.record(&mut locked, &Author::Daemon, vec![Event::RoleChanged { found }]).await?;
            }
            return Ok(());
        }
        self.end_live(id, EndCause::Drifted, None, |grant| {
            role_drift(grant, role).map(|drift| drift.describe(&grant.ask.access))
        })
        .await
    }

    /// Ends a live grant in the namespaces that have drifted from the approved ones, or entirely if no others remain.
    /// `found` has the namespaces as they are now. Called only by the sweep.
    ///
    /// # Errors
    /// [`BrokerError`]; the sweep tries again.
    pub async fn reconcile_namespaces(
        &self,
        id: &GrantId,
        found: &[(Namespace, Option<Arc<FoundNamespace>>)],
    ) -> Result<(), BrokerError> {
        self.end_parts(id, EndCause::Drifted, |grant| {
            let drifted = found.iter().filter_map(|(namespace, found)| {
                let drift = namespace_drift(grant, namespace, found.as_deref())?;
                Some((namespace.clone(), drift.describe(namespace)))
            });
            drifted.collect()
        })
        .await
    }

    /// Continues the end of a live grant in some of its namespaces. Called only by the sweep.
    ///
    /// # Errors
    /// [`BrokerError`]; the sweep tries again.
    pub async fn finish_parts(&self, id: &GrantId) -> Result<(), BrokerError> {
        self.end_parts(id, EndCause::Drifted, |_| Vec::new()).await
    }

    /// Ends a live grant in the namespaces for which `reasons` has a reason, and continues ends that were begun; the
    /// other namespaces stay. If none would remain, ends the whole grant for the cause `why`.
    async fn end_parts(
        &self,
        id: &GrantId,
        why: EndCause,
        reasons: impl FnOnce(&Grant) -> Vec<(Namespace, String)>,
    ) -> Result<(), BrokerError> {
        let Some(open_grant) = self.ledger.open_grant(id) else { return Ok(()) };
        let mut locked = open_grant.lock().await;
        let grant = locked.grant();
        if grant.phase != Phase::Live {
            return Ok(());
        }
        let mut reasons = reasons(&grant);
        reasons.retain(|(namespace, _)| grant.held().any(|held| held == namespace));
        if !reasons.is_empty() && grant.held().all(|held| reasons.iter().any(|(namespace, _)| namespace == held)) {
            let mut all: Vec<String> = reasons.into_iter().map(|(_, reason)| reason).collect();
            all.dedup();
            let reason = Some(all.join(", "));
            return self.finish(&mut locked, Ending { why, by: Author::Daemon, reason }).await.map(drop);
        }
        for (namespace, why) in reasons {
            tracing::warn!(grant = %id, %namespace, why, "the grant ends in one namespace and continues in the others");
            let event = Event::PartUnbindIntended { namespace: namespace.clone(), why };
            if let Err(error) = self.ledger.record(&mut locked, &Author::Daemon, vec![event]).await {
                // A removed binding cannot be misused; the next check finds the difference again and records it.
                let _ = self.unbind_in(&grant, &namespace).await;
                return Err(error.into());
            }
        }
        let grant = locked.grant();
        for part in grant.lost.iter().filter(|part| !part.is_over) {
            let proof = self.unbind_in(&grant, &part.namespace).await?;
            let (namespace, why) = (part.namespace.clone(), part.why.clone());
            let event = Event::PartEnded { namespace, why, proof };
            self.ledger.record(&mut locked, &Author::Daemon, vec![event]).await?;
        }
        Ok(())
    }

    /// Deletes the bindings in one namespace, and waits until the API server answers "denied" there.
    async fn unbind_in(&self, grant: &Grant, namespace: &Namespace) -> Result<EndProof, BrokerError> {
        let site = self.site(&grant.ask.cluster)?;
        self.unbind_where(site, grant, |binding| binding.namespace.as_ref() == Some(namespace)).await
    }

    /// Deletes the bindings of a grant for which `is_meant` is true, and waits until the API server answers "denied".
    async fn unbind_where(
        &self,
        site: &Site,
        grant: &Grant,
        is_meant: impl Fn(&Binding) -> bool,
    ) -> Result<EndProof, BrokerError> {
        let removable =
            |bindings: Vec<Binding>| self.removable(site, grant, bindings.into_iter().filter(&is_meant).collect());
        let (bindings, of_gateway) =
            (removable(grant.bindings()), removable(grant.gateway_bindings(site.cluster.host())));
        // The holder's first: they take effect at once. The gateway's are deleted even if one of them is kept alive.
        let unbound = self.unbind_all(site, grant, &bindings).await;
        let of_gateway = self.unbind_all(site, grant, &of_gateway).await;
        unbound?;
        let proof = self.ask_until_denied(site, grant, bindings).await;
        of_gateway?;
        proof
    }

    /// Ends a grant if it is live and `reason` returns a reason. Records `event` first, which says what was found.
    async fn end_live(
        &self,
        id: &GrantId,
        why: EndCause,
        event: Option<Event>,
        reason: impl FnOnce(&Grant) -> Option<String>,
    ) -> Result<(), BrokerError> {
        let Some(open_grant) = self.ledger.open_grant(id) else { return Ok(()) };
        let mut locked = open_grant.lock().await;
        let grant = locked.grant();
        if grant.phase != Phase::Live {
            return Ok(());
        }
        let Some(reason) = reason(&grant) else { return Ok(()) };
        if let Some(event) = event {
            // The end itself states the reason too, so it goes on even if this event cannot be recorded.
            let _ = self.ledger.record(&mut locked, &Author::Daemon, vec![event]).await;
        }
        self.finish(&mut locked, Ending { why, by: Author::Daemon, reason: Some(reason) }).await.map(drop)
    }

    /// Ends a grant; a failed end is retried with growing delays.
    pub(super) async fn finish(&self, locked: &mut Locked<'_>, ending: Ending) -> Result<Arc<Grant>, BrokerError> {
        let ended = self.unbind(locked, &ending).await;
        match &ended {
            Ok(grant) => {
                tracing::info!(grant = %grant.id, requester = %grant.requester, cause = ending.why.as_str(), "ended");
            }
            Err(error) => {
                tracing::warn!(grant = %locked.grant().id, error = %error.in_full(), "the grant could not be ended yet");
                // If it is still live here, the intent could not be recorded, but the access is gone all the same. An
                // operator's revocation also applies to grants that are not live yet.
                if locked.grant().phase == Phase::Live || matches!(ending.by, Author::Operator(_)) {
                    locked.defer(ending);
                }
                self.ledger.retry_later(locked);
            }
        }
        ended
    }

    /// Intent, deletion, proof. The deletion goes on even if the intent cannot be recorded: removed access cannot be
    /// misused, and the grant stays open here until the trail has its end.
    async fn unbind(&self, locked: &mut Locked<'_>, ending: &Ending) -> Result<Arc<Grant>, BrokerError> {
        let Ending { why, by, reason } = ending.clone();
        let grant = locked.grant();
        if !grant.bind_intended {
            let event = Event::Ended { why, proof: EndProof::NeverBound, reason, cut: None, log: None };
            return Ok(self.ledger.record(locked, &by, vec![event]).await?);
        }
        let site = self.site(&grant.ask.cluster)?;
        let intend = async {
            if grant.phase == Phase::Ending {
                return Ok(());
            }
            self.ledger.record(locked, &by, vec![Event::UnbindIntended { why, reason }]).await.map(drop)
        };
        // Before the binding goes, which takes longer: what runs through the gateway ends now, whatever the trail's disk
        // does.
        let cut = async {
            match site.cluster.endpoint().gateway() {
                Some(_) => self.gateway.cut(&grant.id).await,
                None => None,
            }
        };
        let (intended, cut) = tokio::join!(intend, cut);
        // Even if the intent could not be recorded: the caller gets an answer only when the access is gone.
        let proof = self.unbind_where(site, &grant, |_| true).await;
        intended?;
        let proof = proof?;
        if proof == EndProof::GroupDenied {
            tracing::warn!(grant = %grant.id, requester = %grant.requester, "the grant has ended, but somebody else's binding grants the same access to the requester's own user name");
        }
        let (cut, log) = cut.map_or((None, None), |cut| (Some(cut.streams), cut.log));
        let ended = Event::Ended { why, proof, reason: None, cut, log };
        Ok(self.ledger.record(locked, &Author::Daemon, vec![ended]).await?)
    }

    /// Bindings that a grant may have, limited to what the daemon can delete.
    fn removable(&self, site: &Site, grant: &Grant, mut bindings: Vec<Binding>) -> Vec<Binding> {
        for binding in bindings.iter_mut().filter(|binding| binding.rules.is_some()) {
            // Without its rights an end that waited for them would never finish. A leftover role grants nothing without
            // its binding.
            if !self.deletes_role_of(binding, &grant.ask.cluster, site) {
                tracing::warn!(grant = %grant.id, role = binding.name, "the configuration no longer lets grants own such roles in this cluster, so this grant's role is left behind");
                binding.rules = None;
            }
        }
        bindings
    }

    /// Whether the daemon has the right to delete the role of a binding: the manifest grants it only while the policy
    /// lets grants own roles, and that for the gateway's roles only while people go through the gateway.
    fn deletes_role_of(&self, binding: &Binding, cluster: &ClusterName, site: &Site) -> bool {
        match binding.gateway {
            Some(_) => site.cluster.endpoint().gateway().is_some(),
            None => self.makes_roles(cluster),
        }
    }

    async fn unbind_all(&self, site: &Site, grant: &Grant, bindings: &[Binding]) -> Result<(), BrokerError> {
        let uid = |binding: &Binding| match binding.gateway {
            // The trail does not have it.
            Some(_) => None,
            None => grant.uid_in(binding.namespace.as_ref()),
        };
        let unbind = |binding| site.cluster.unbind(binding, uid(binding));
        // Tries all of them, even if one cannot be deleted.
        let unbound = join_all(bindings.iter().map(unbind)).await;
        for (unbound, binding) in unbound.into_iter().zip(bindings) {
            match unbound? {
                Unbound::Deleted | Unbound::AlreadyGone => {}
                Unbound::Terminating => return Err(BrokerError::Terminating(binding.name.clone())),
                // Somebody created another object of that name. It is theirs; the probe proves that ours is gone.
                Unbound::NotOurs { why } => {
                    tracing::warn!(grant = %grant.id, binding = binding.name, why, "the binding of this name is not ours, so it was not deleted");
                }
            }
        }
        Ok(())
    }

    async fn ask_until_denied(
        &self,
        site: &Site,
        grant: &Grant,
        bindings: Vec<Binding>,
    ) -> Result<EndProof, BrokerError> {
        let Some(role) = self.role_of(grant).await? else { return Ok(EndProof::Denied) };
        let Some(bound) = with_probes(bindings, &role) else { return Ok(EndProof::Denied) };
        let settled = try_join_all(bound.iter().map(|(binding, probe)| ask_until(site, binding, probe, false))).await?;
        Ok(if settled.contains(&Settled::ByUserName) { EndProof::GroupDenied } else { EndProof::Denied })
    }

    /// The role of a grant as it was requested, from the trail. Grants that end together mostly have the same role, so
    /// the last ones are cached: reading one takes longer than asking the question that is made from it.
    pub(super) async fn role_of(&self, grant: &Grant) -> Result<Option<Arc<ResolvedRole>>, BrokerError> {
        let mut roles = self.roles.lock().await;
        if let Some(role) = roles.get(&grant.rules_sha256) {
            return Ok(Some(Arc::clone(role)));
        }
        let Some(shown) = self.ledger.shown_of(&grant.id).await? else { return Ok(None) };
        if roles.len() >= ROLES_KEPT {
            roles.clear();
        }
        let role = Arc::new(shown.role);
        roles.insert(Arc::clone(&grant.rules_sha256), Arc::clone(&role));
        Ok(Some(role))
    }
}
