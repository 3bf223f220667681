//! The sweep, a reconcile loop: it ends grants that are due, at start and at each deadline, and compares the clusters
//! with the trail.
//!
//! ```text
//!  deadline ─► settle (lapse, expire, continue an end) ─┐ fails: due again later, until it succeeds
//!  start, every minute, after the ends ─► compare ─┬─► end grants whose binding is missing or altered
//!                                                 └─► remove late bindings, report unknown ones
//!  every two seconds ─► check the roles and namespaces ─► end grants for which they differ from what was approved
//!  every 10 seconds ─► look up the holders ─► end grants whose holder left the groups that may request them
//!  every 15 seconds ─► ask the directories about their people, on which the next look goes
//! ```
//! It only removes: it never signs, never binds, and never touches objects that the trail does not know. The daemon's
//! main runs it; the broker knows how a grant ends.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use jiff::Timestamp;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::broker::{Broker, BrokerError, Holder, PerClusterLimit, Site};
use crate::cluster::{ClusterError, MadeRoles};
use crate::grant::reconcile::{self, Comparison, Deviation};
use crate::grant::request::{Access, ClusterName, Namespace, PersonName, RoleRef};
use crate::grant::{Binding, Found, FoundNamespace, Grant, GrantId, Phase};
use crate::hint::Hint;
use crate::ledger::Late;
use crate::rbac::role::ResolvedRole;

/// The limit for grants of one cluster that are settled at a time. It is far above the limit for calls, so that all
/// bindings are deleted before the first proof is asked for, but low enough that no grant waits too long.
const AT_ONCE: usize = 1024;

/// How often the clusters are compared with the trail. A comparison reads all their bindings.
const COMPARE_EVERY: Duration = Duration::from_secs(60);

/// How often the roles and namespaces of live grants are checked. A change must take effect within five seconds.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How often the holders of live grants are looked up. Who lost their right loses the access within a minute: the second look
/// that finds it is two of these later at most, and an end takes seconds.
const LOOK_AT_HOLDERS_EVERY: Duration = Duration::from_secs(10);

/// How often the directories of identity providers are asked about the holders.
const ASK_DIRECTORIES_EVERY: Duration = Duration::from_secs(15);

/// How many holders are looked up at a time: a name service that is slow still has threads for callers.
const HOLDERS_AT_ONCE: usize = 8;

/// The longest sleep: how soon a grant ends whose deadline the host's clock has jumped over.
const LONGEST_SLEEP: Duration = Duration::from_secs(2);

/// How long the first sweep may keep the socket closed if a cluster does not answer.
const START_WITHIN: Duration = Duration::from_secs(5);

/// The results of the last comparison with each cluster, for the metrics.
#[derive(Debug, Default)]
pub struct SweepStats {
    /// Bindings with our label that the trail does not know. The sweep does not change them.
    pub unknown: AtomicU64,
    /// People to whose own user name a binding grants something, counted per cluster.
    pub user_names: AtomicU64,
    /// Comparisons that failed.
    pub failed: AtomicU64,
    /// Roles and namespaces of live grants that the last round could not read.
    pub unread: AtomicU64,
    /// Holders of live grants of whom the last round could not find out whether they may still have them.
    pub unknown_holders: AtomicU64,
}

/// Ends what is due, then compares every cluster once. Runs before the socket opens, and stops waiting for a cluster
/// that does not answer; the work then continues in the background.
pub async fn start(broker: &Arc<Broker>, findings: &Arc<SweepStats>) {
    let (sweeping, finding) = (Arc::clone(broker), Arc::clone(findings));
    // A separate task: if it were cancelled at the limit, the grants that it took as due would be forgotten.
    let first = tokio::spawn(async move {
        let mut settling = JoinSet::new();
        settle_due(&sweeping, &Arc::new(sweeping.limit_per_cluster(AT_ONCE)), &mut settling);
        settling.join_all().await;
        compare_all(&sweeping, &finding).await;
    });
    if tokio::time::timeout(START_WITHIN, first).await.is_err() {
        tracing::warn!("the first sweep is not finished; it continues while the daemon serves");
    }
}

/// Runs the sweep until the future is dropped.
pub async fn run(broker: Arc<Broker>, findings: Arc<SweepStats>) {
    let slots = Arc::new(broker.limit_per_cluster(AT_ONCE));
    let mut settling = JoinSet::new();
    let mut compared = Instant::now();
    // Runs concurrently with the deadlines, and ends with this function.
    let mut watching = JoinSet::new();
    watching.spawn(watch_approved(Arc::clone(&broker), Arc::clone(&findings), Arc::clone(&slots)));
    watching.spawn(ask_directories(Arc::clone(&broker)));
    watching.spawn(watch_holders(Arc::clone(&broker), Arc::clone(&findings), Arc::clone(&slots)));
    loop {
        let next = settle_due(&broker, &slots, &mut settling);
        // Deadlines come first, even if the comparison became due too while the daemon was suspended.
        if compared.elapsed() >= compare_after(settling.is_empty()) {
            compared = Instant::now();
            // Runs concurrently with the deadlines: a cluster that hangs must not delay those of the others.
            let (broker, findings) = (Arc::clone(&broker), Arc::clone(&findings));
            settling.spawn(async move { compare_all(&broker, &findings).await });
        }
        let sleep = next.map_or(LONGEST_SLEEP, |next| until(next, broker.ledger().now()).min(LONGEST_SLEEP));
        let compare = compared + compare_after(settling.is_empty());
        // A fixed order keeps simulations reproducible. Whatever wakes the loop, it does everything that is due.
        tokio::select! {
            biased;
            () = tokio::time::sleep(sleep) => {}
            () = broker.ledger().deadline_moved() => {}
            () = tokio::time::sleep_until(compare) => {}
            Some(late) = broker.ledger().late() => {
                let broker = Arc::clone(&broker);
                settling.spawn(async move { take_up(&broker, &late).await });
            }
            Some(_) = settling.join_next() => {}
        }
    }
}

/// Continues with what the trail stored after its author had been told that this is unknown.
async fn take_up(broker: &Broker, late: &Late) {
    tracing::warn!(?late, "the trail stored events after their author had been told that it does not answer");
    while let Err(error) = broker.take_up(late).await {
        tracing::warn!(?late, error = %error.in_full(), "the events that were stored late cannot be read yet");
        tokio::time::sleep(TAKE_UP_EVERY).await;
    }
}

/// How often reading what was stored late is tried.
const TAKE_UP_EVERY: Duration = Duration::from_secs(5);

/// How long after the last comparison the next one begins. A comparison reads every binding, which costs the API server
/// more than many ends, so it waits for those in progress; but not forever, because if a cluster is down, some always
/// are.
fn compare_after(idle: bool) -> Duration {
    if idle { COMPARE_EVERY } else { COMPARE_EVERY * 2 }
}

/// Starts to settle every grant that is due, and reslots the next deadline.
fn settle_due(broker: &Arc<Broker>, slots: &Arc<PerClusterLimit>, settling: &mut JoinSet<()>) -> Option<Timestamp> {
    let (due, next) = broker.ledger().take_due();
    for id in due {
        let (broker, slots) = (Arc::clone(broker), Arc::clone(slots));
        settling.spawn(async move {
            let Some(open_grant) = broker.ledger().open_grant(&id) else { return };
            let _slot = slots.at(&open_grant.grant().ask.cluster).await;
            if let Err(error) = broker.settle(&open_grant).await {
                tracing::debug!(grant = %id, error = %error.in_full(), "not settled yet");
            }
        });
    }
    next
}

async fn compare_all(broker: &Arc<Broker>, findings: &SweepStats) {
    let (mut unknown, mut failed) = (0, 0);
    // Concurrently: a cluster that hangs does not delay the others.
    let compared = join_all(broker.sites().map(|(name, site)| compare(broker, name, site))).await;
    for ((name, _), compared) in broker.sites().zip(compared) {
        match compared {
            Ok(more) => unknown += more,
            Err(error) => {
                failed += 1;
                tracing::warn!(cluster = %name, error = %error.in_full(), "the cluster could not be compared with the trail");
            }
        }
    }
    findings.unknown.store(unknown, Ordering::Relaxed);
    findings.user_names.store(broker.bound_user_names() as u64, Ordering::Relaxed);
    findings.failed.store(failed, Ordering::Relaxed);
}

/// Ends grants whose binding is missing or altered, or whose group is a subject of another binding. Returns the number
/// of bindings with our label that belong to no open grant.
async fn compare(broker: &Arc<Broker>, name: &ClusterName, site: &Site) -> Result<u64, ClusterError> {
    // Read before the list, so that a binding that is created in between is not reported as missing.
    let known = broker.ledger().bound_in(name);
    let mut comparison = Comparison::new(&known, site.cluster.host());
    let odd = site.cluster.list_related(|found| comparison.is_odd(found)).await?;
    let mut ends = JoinSet::new();
    for (id, deviation) in comparison.deviations(&odd) {
        let altered = match deviation {
            Deviation::Missing(namespaces) => Err(namespaces),
            Deviation::Altered(found) => Ok(format!("its binding was altered: {found}")),
            Deviation::Foreign(found) => Ok(format!("another binding grants rights to its group: {found}")),
            Deviation::OfUser(found) => Ok(format!("another binding grants rights to its holder's user name: {found}")),
        };
        let (broker, id) = (Arc::clone(broker), id.clone());
        ends.spawn(async move {
            let ended = match altered {
                Err(namespaces) => broker.binding_missing(&id, &namespaces).await,
                Ok(found) => broker.binding_altered(&id, found).await,
            };
            log_failure(&id, "the grant's binding is missing or was altered", ended);
        });
    }
    let user_names = bound_user_names(name, &odd);
    broker.note_bound_user_names(name, user_names);
    ends.join_all().await;
    let since = broker.ledger().bound_in(name);
    let mut unknown = 0;
    for found in comparison.of_no_grant(&odd, &since) {
        match broker.remove_late_binding(name, found).await {
            Ok(true) => {
                tracing::warn!(cluster = %name, binding = found.name, namespace = found.namespace, "deleted a binding that was created after its grant had ended");
            }
            Ok(false) if !site.cluster.labelled(found) => {}
            Ok(false) => {
                unknown += 1;
                tracing::warn!(cluster = %name, binding = found.name, namespace = found.namespace, "a binding has our label, but the trail knows no open grant for it; jitd does not change it");
            }
            Err(error) => {
                tracing::warn!(cluster = %name, binding = found.name, namespace = found.namespace, error = %error.in_full(), "a binding without an open grant could not be identified or deleted yet");
            }
        }
    }
    if unknown > 0 {
        tracing::warn!(cluster = %name, unknown, "another daemon may have the same `host:` in its config.yaml, or this trail is an older copy; hint: give each host a unique `host:`, and inspect these bindings");
    }
    if broker.makes_roles(name) {
        remove_late_roles(broker, name, site.cluster.list_made_roles().await?).await;
    }
    if site.cluster.endpoint().gateway().is_some() {
        remove_late_roles(broker, name, site.cluster.list_gateway_roles().await?).await;
    }
    Ok(unknown)
}

/// The people whose own user name is a subject of a binding, each with one such binding.
fn bound_user_names(name: &ClusterName, odd: &[Found]) -> BTreeMap<PersonName, Found> {
    let mut people = BTreeMap::new();
    for found in odd {
        for person in reconcile::people_named(found) {
            tracing::warn!(cluster = %name, binding = found.name, namespace = found.namespace, %person, "a binding grants rights to the user name in a person's certificates; their grants end, and they get no new ones; hint: {}", found.deletion());
            people.insert(person, found.clone());
        }
    }
    people
}

/// Deletes roles that belong to a grant and were created after the grant had ended.
async fn remove_late_roles(broker: &Broker, name: &ClusterName, made: MadeRoles) {
    // Read after the list, because a grant that is open by now may have created its role before.
    let open: HashSet<GrantId> = broker.ledger().bound_in(name).iter().map(|grant| grant.id.clone()).collect();
    let is_open = |role: &str| GrantId::of_object(role).is_some_and(|grant| open.contains(&grant));
    for ((namespace, role), found) in made.into_iter().filter(|((_, role), _)| !is_open(role)) {
        match broker.remove_late_role(name, (&namespace, &role), &found).await {
            Ok(true) => {
                tracing::warn!(cluster = %name, role, namespace, "deleted a role that was created after its grant had ended");
            }
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(cluster = %name, role, namespace, error = %error.in_full(), "a role of a grant that has ended could not be deleted yet");
            }
        }
    }
}

/// Checks the roles and namespaces of live grants, in each cluster at its own pace: one that hangs does not delay the
/// others.
async fn watch_approved(broker: Arc<Broker>, findings: Arc<SweepStats>, slots: Arc<PerClusterLimit>) {
    join_all(broker.sites().map(|(name, site)| watch_approved_in(&broker, name, site, &findings, &slots))).await;
}

/// Checks the roles and namespaces of a cluster's live grants periodically, and ends the grants for which they are not
/// what was approved. Each is read once, however many grants use it. Ends run concurrently with the next check, so that
/// an end that hangs does not keep other changes from being noticed.
async fn watch_approved_in(
    broker: &Arc<Broker>,
    name: &ClusterName,
    site: &Site,
    findings: &SweepStats,
    slots: &Arc<PerClusterLimit>,
) {
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut ends = JoinSet::new();
    let mut unread = 0;
    loop {
        look.tick().await;
        while ends.try_join_next().is_some() {}
        let looked = look_at_approved(broker, name, site).await;
        let before = std::mem::replace(&mut unread, looked.unread.len() as u64);
        // The counter is the sum over all clusters.
        findings.unread.fetch_add(unread, Ordering::Relaxed);
        findings.unread.fetch_sub(before, Ordering::Relaxed);
        match looked.unread.first() {
            Some(error) if before == 0 => {
                tracing::warn!(cluster = %name, error = %error.in_full(), "cannot read roles or namespaces of live grants, so changes would go unnoticed; the grants continue until they end");
            }
            None if before > 0 => {
                tracing::info!(cluster = %name, "can read the roles and namespaces of live grants again");
            }
            _ => {}
        }
        for (id, found) in looked.other {
            let (broker, slots, name) = (Arc::clone(broker), Arc::clone(slots), name.clone());
            ends.spawn(async move {
                let _slot = slots.at(&name).await;
                let ended = match found {
                    InPlace::Role(role) => broker.reconcile_role(&id, role.as_deref()).await,
                    InPlace::RoleNotAsMade => {
                        let found = "the role that was created for it was altered or deleted".to_owned();
                        broker.binding_altered(&id, found).await
                    }
                    InPlace::Namespaces(found) => broker.reconcile_namespaces(&id, &found).await,
                    InPlace::PartsEnding => broker.finish_parts(&id).await,
                };
                log_failure(&id, "the grant's role or a namespace is not what was approved", ended);
            });
        }
    }
}

/// The result of checking the roles and namespaces of a cluster's live grants.
#[derive(Default)]
struct Looked {
    /// The grants with a difference, and what was found.
    other: Vec<(GrantId, InPlace)>,
    /// Why a role, the list of created roles, or a namespace could not be read.
    unread: Vec<ClusterError>,
}

/// A namespace of a grant as it is now; `None` if it no longer exists.
type NamespaceNow = (Namespace, Option<Arc<FoundNamespace>>);

/// What was found instead of what was approved.
enum InPlace {
    /// The role as it is now, or `None` if it no longer exists.
    Role(Option<Arc<ResolvedRole>>),
    /// The role that was created for the grant is missing or altered.
    RoleNotAsMade,
    /// The namespaces that differ.
    Namespaces(Vec<NamespaceNow>),
    /// The grant's end in some of its namespaces is not finished.
    PartsEnding,
}

/// Checks the roles and namespaces of the live grants in a cluster. If one cannot be read, the others still are.
async fn look_at_approved(broker: &Broker, name: &ClusterName, site: &Site) -> Looked {
    let live: Vec<Arc<Grant>> =
        broker.ledger().bound_in(name).into_iter().filter(|grant| grant.phase == Phase::Live).collect();
    let (mut looked, namespaces) =
        tokio::join!(look_at_roles(broker, name, site, &live), look_at_namespaces(site, &live));
    looked.other.extend(namespaces.other);
    looked.unread.extend(namespaces.unread);
    looked
}

/// Reads each namespace separately and all of them concurrently: live grants use few of a cluster's namespaces, and the
/// daemon needs no right to list them.
async fn look_at_namespaces(site: &Site, live: &[Arc<Grant>]) -> Looked {
    let mut of_namespace: BTreeMap<&Namespace, Vec<&Grant>> = BTreeMap::new();
    for grant in live {
        for namespace in grant.held() {
            of_namespace.entry(namespace).or_default().push(grant);
        }
    }
    let looks = of_namespace.into_iter().map(|(namespace, grants)| async move {
        let found = site.cluster.namespace(namespace).await?.map(Arc::new);
        let other = |grant: &&Grant| reconcile::namespace_drift(grant, namespace, found.as_deref()).is_some();
        let other: Vec<&GrantId> = grants.into_iter().filter(other).map(|grant| &grant.id).collect();
        Ok((namespace, found, other))
    });
    let mut looked = Looked::default();
    // A grant ends in all its drifted namespaces at once.
    let mut of_grant: BTreeMap<&GrantId, Vec<NamespaceNow>> = BTreeMap::new();
    for found in join_all(looks).await {
        match found {
            Ok((namespace, found, other)) => {
                for id in other {
                    of_grant.entry(id).or_default().push((namespace.clone(), found.clone()));
                }
            }
            Err(error) => looked.unread.push(error),
        }
    }
    let ending =
        live.iter().filter(|grant| grant.lost.iter().any(|part| !part.is_over) && !of_grant.contains_key(&grant.id));
    looked.other.extend(ending.map(|grant| (grant.id.clone(), InPlace::PartsEnding)));
    looked.other.extend(of_grant.into_iter().map(|(id, found)| (id.clone(), InPlace::Namespaces(found))));
    looked
}

async fn look_at_roles(broker: &Broker, name: &ClusterName, site: &Site, live: &[Arc<Grant>]) -> Looked {
    let mut of_role: BTreeMap<(Option<Namespace>, RoleRef), Vec<Arc<Grant>>> = BTreeMap::new();
    let mut of_made: Vec<Arc<Grant>> = Vec::new();
    for grant in live.iter().cloned() {
        match &grant.ask.access {
            Access::Role(role) => {
                // A ClusterRole is the same in every namespace.
                let namespace = grant.ask.scope.namespaces().first().filter(|_| matches!(role, RoleRef::Role(_)));
                of_role.entry((namespace.cloned(), role.clone())).or_default().push(grant);
            }
            Access::Rules(_) => of_made.push(grant),
        }
    }
    let looks = of_role.into_iter().map(|((namespace, role), grants)| async move {
        let found = site.cluster.resolve_role(namespace.as_ref(), &role).await?.map(Arc::new);
        let drifted = grants.iter().filter(|grant| reconcile::role_drift(grant, found.as_deref()).is_some());
        Ok(drifted.map(|grant| (grant.id.clone(), InPlace::Role(found.clone()))).collect::<Vec<_>>())
    });
    let mut looked = Looked::default();
    for found in join_all(looks).await {
        match found {
            Ok(drifted) => looked.other.extend(drifted),
            Err(error) => looked.unread.push(error),
        }
    }
    // If the policy no longer lets grants own roles, the daemon has no right to read those of earlier grants.
    if !of_made.is_empty() && broker.makes_roles(name) {
        looked.add_altered(site.cluster.list_made_roles().await, &of_made, Grant::held_bindings);
    }
    let of_gateway: Vec<Arc<Grant>> = live.iter().filter(|grant| grant.gateway.is_some()).cloned().collect();
    if !of_gateway.is_empty() && site.cluster.endpoint().gateway().is_some() {
        let bindings = |grant: &Grant| grant.held_gateway_bindings(site.cluster.host());
        looked.add_altered(site.cluster.list_gateway_roles().await, &of_gateway, bindings);
    }
    looked
}

impl Looked {
    /// Adds the grants that have a binding whose role is created for it and is not as it was made.
    fn add_altered(
        &mut self,
        made: Result<MadeRoles, ClusterError>,
        grants: &[Arc<Grant>],
        bindings: impl Fn(&Grant) -> Vec<Binding>,
    ) {
        let made = match made {
            Ok(made) => made,
            Err(error) => return self.unread.push(error),
        };
        let is_as_made = |binding: &Binding| {
            let namespace = binding.namespace.as_ref().map_or(String::new(), ToString::to_string);
            let found = made.get(&(namespace, binding.name.clone()));
            binding.rules.as_deref().is_none_or(|rules| found.is_some_and(|found| found.rules() == rules))
        };
        let altered = grants.iter().filter(|grant| !bindings(grant).iter().all(is_as_made));
        self.other.extend(altered.map(|grant| (grant.id.clone(), InPlace::RoleNotAsMade)));
    }
}

/// Looks up the holders of live grants periodically, each once, and ends the grants that two looks in a row found lost: a name
/// service that is restarted can answer "no such account" for a moment. One that fails or hangs changes nothing.
async fn watch_holders(broker: Arc<Broker>, findings: Arc<SweepStats>, slots: Arc<PerClusterLimit>) {
    let mut look = tokio::time::interval(LOOK_AT_HOLDERS_EVERY);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut ends = JoinSet::new();
    let mut suspects: HashSet<GrantId> = HashSet::new();
    let mut unknown_before: BTreeSet<Holder> = BTreeSet::new();
    loop {
        look.tick().await;
        while ends.try_join_next().is_some() {}
        let looks = broker.live_by_holder().into_iter().map(|(holder, grants)| {
            let broker = &broker;
            async move { (broker.lost_by(&holder, &grants).await, holder, grants) }
        });
        let looks: Vec<_> = futures::stream::iter(looks).buffer_unordered(HOLDERS_AT_ONCE).collect().await;
        let (mut lost, mut unknown) = (HashSet::new(), BTreeSet::new());
        for (looked, holder, grants) in looks {
            match looked {
                Ok(found) => {
                    for (grant, found) in found {
                        if suspects.contains(&grant.id) {
                            ends.spawn(end_lost(Arc::clone(&broker), Arc::clone(&slots), Arc::clone(&grant), found));
                        }
                        lost.insert(grant.id.clone());
                    }
                }
                Err(error) => {
                    if !unknown_before.contains(&holder) {
                        tracing::warn!(holder = %holder.0, error = %error.in_full(), "cannot find out whether somebody may still have their access; it continues until it ends");
                    }
                    // A look that failed says nothing, so what the look before found stands.
                    lost.extend(grants.iter().map(|grant| grant.id.clone()).filter(|id| suspects.contains(id)));
                    unknown.insert(holder);
                }
            }
        }
        findings.unknown_holders.store(unknown.len() as u64, Ordering::Relaxed);
        (suspects, unknown_before) = (lost, unknown);
    }
}

/// Asks the directories about their people with live grants, each at its own pace: one that hangs delays no other, nor the looks
/// at the holders, which use what it said last.
async fn ask_directories(broker: Arc<Broker>) {
    let mut ask = tokio::time::interval(ASK_DIRECTORIES_EVERY);
    ask.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut rounds, mut asked) = (JoinSet::new(), HashSet::new());
    loop {
        tokio::select! {
            biased;
            Some(done) = rounds.join_next() => {
                // A round does not panic.
                if let Ok(issuer) = done {
                    asked.remove(&issuer);
                }
            }
            _ = ask.tick() => {
                for (issuer, _) in broker.people().directories() {
                    if asked.insert(issuer.to_owned()) {
                        let (broker, issuer) = (Arc::clone(&broker), issuer.to_owned());
                        rounds.spawn(async move {
                            broker.ask_directory(&issuer).await;
                            issuer
                        });
                    }
                }
            }
        }
    }
}

/// Ends a grant that its holder may have no longer.
async fn end_lost(broker: Arc<Broker>, slots: Arc<PerClusterLimit>, grant: Arc<Grant>, found: String) {
    let _slot = slots.at(&grant.ask.cluster).await;
    let ended = broker.holder_lost(&grant.id, found).await;
    log_failure(&grant.id, "the grant's holder may have it no longer", ended);
}

fn log_failure(grant: &GrantId, found: &str, ended: Result<(), BrokerError>) {
    if let Err(error) = ended {
        tracing::warn!(%grant, error = %error.in_full(), "{found}, but it could not be ended yet");
    }
}

fn until(deadline: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(deadline.duration_since(now)).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comparison_waits_for_ends_for_a_limited_time() {
        assert_eq!(compare_after(true), COMPARE_EVERY, "no end is in progress");
        assert_eq!(compare_after(false), COMPARE_EVERY * 2, "some end is always in progress");
    }
}
