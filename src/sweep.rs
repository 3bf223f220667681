//! The sweep: takes away what is due, at start and at each deadline, and compares what the clusters hold
//! with what the trail says.
//!
//! ```text
//!  deadline ─► settle (lapse, expire, go on with an end) ─┐ fails: due again later, for ever
//!  start, every minute, after the ends ─► compare ─┬─► end what vanished or was altered
//!                                                 └─► take away what came late, report what is unknown
//!  every two seconds ─► look at the roles and namespaces ─► end what is not what was approved
//! ```
//! It only removes: it never signs and never binds, and it never touches what the trail does not know.
//! The daemon's main runs it; how a grant ends is the broker's story.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::broker::{Broker, BrokerError, PerClusterLimit, Site};
use crate::cluster::ClusterError;
use crate::grant::reconcile::{self, Comparison, Deviation};
use crate::grant::request::{Access, ClusterName, ExactRules, Namespace, PersonName, RoleRef};
use crate::grant::{Binding, Found, FoundNamespace, Grant, GrantId, Phase};
use crate::hint::Hint;
use crate::rbac::role::ResolvedRole;

/// So many grants of a cluster are settled at a time. Far more than the calls that it gets at a time: the bindings of
/// all of them are taken away before the first proof is asked for. Few enough that none waits too long for its turn.
const AT_ONCE: usize = 1024;

/// How often the clusters are compared with the trail: all their bindings are read for it.
const COMPARE_EVERY: Duration = Duration::from_secs(60);

/// How often the roles and namespaces of the live grants are looked at. A change has to be acted upon within five seconds.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The longest sleep, so that a clock that was set is noticed.
const LONGEST_SLEEP: Duration = Duration::from_secs(20);

/// How long the first comparison may hold the socket closed when a cluster does not answer.
const START_WITHIN: Duration = Duration::from_secs(5);

/// What was found when the clusters were looked at last; read by the metrics.
#[derive(Debug, Default)]
pub struct SweepStats {
    /// Bindings with our label that the trail does not know. They are left alone.
    pub unknown: AtomicU64,
    /// People whose own user name a binding gives something to, cluster by cluster.
    pub user_names: AtomicU64,
    /// Comparisons that a cluster did not let us finish.
    pub failed: AtomicU64,
    /// Looks at roles and namespaces of live grants that the last round could not take.
    pub unread: AtomicU64,
}

/// Removes what is due, then compares every cluster once. Runs before the socket opens, and gives up
/// waiting for a cluster that does not answer; what was begun goes on then.
pub async fn start(broker: &Arc<Broker>, findings: &Arc<SweepStats>) {
    let (sweeping, finding) = (Arc::clone(broker), Arc::clone(findings));
    // A task of its own: cut off at the limit, it would forget the grants that it has taken as due.
    let first = tokio::spawn(async move {
        let mut settling = JoinSet::new();
        settle_due(&sweeping, &Arc::new(sweeping.limit_per_cluster(AT_ONCE)), &mut settling);
        settling.join_all().await;
        compare_all(&sweeping, &finding).await;
    });
    if tokio::time::timeout(START_WITHIN, first).await.is_err() {
        tracing::warn!("the first sweep is not finished; it goes on while the daemon serves");
    }
}

/// Sweeps until it is dropped.
pub async fn run(broker: Arc<Broker>, findings: Arc<SweepStats>) {
    let turns = Arc::new(broker.limit_per_cluster(AT_ONCE));
    let mut settling = JoinSet::new();
    let mut compared = Instant::now();
    // Beside the deadlines, and ended with them.
    let mut watching = JoinSet::new();
    watching.spawn(watch_approved(Arc::clone(&broker), Arc::clone(&findings), Arc::clone(&turns)));
    loop {
        let next = settle_due(&broker, &turns, &mut settling);
        // What is due goes first, also when both came to be due while the daemon stood still.
        if compared.elapsed() >= compare_after(settling.is_empty()) {
            compared = Instant::now();
            // Beside the deadlines: a cluster that hangs must not hold up those of the others.
            let (broker, findings) = (Arc::clone(&broker), Arc::clone(&findings));
            settling.spawn(async move { compare_all(&broker, &findings).await });
        }
        let sleep = next.map_or(LONGEST_SLEEP, |next| until(next, broker.ledger().now()).min(LONGEST_SLEEP));
        let compare = compared + compare_after(settling.is_empty());
        // In one order, so that a simulation is the same twice. Whichever wakes it, all that is due is done.
        tokio::select! {
            biased;
            () = tokio::time::sleep(sleep) => {}
            () = broker.ledger().deadline_moved() => {}
            () = tokio::time::sleep_until(compare) => {}
            Some(_) = settling.join_next() => {}
        }
    }
}

/// How long after the last comparison the next one begins. It reads every binding, which costs the API server more than
/// many ends do, so it waits for those that are under way; but not for ever, for with a cluster that is down some always
/// are.
fn compare_after(nothing_under_way: bool) -> Duration {
    if nothing_under_way { COMPARE_EVERY } else { COMPARE_EVERY * 2 }
}

/// Begins to settle everything that is due, and says when the next deadline is.
fn settle_due(broker: &Arc<Broker>, turns: &Arc<PerClusterLimit>, settling: &mut JoinSet<()>) -> Option<Timestamp> {
    let (due, next) = broker.ledger().take_due();
    for id in due {
        let (broker, turns) = (Arc::clone(broker), Arc::clone(turns));
        settling.spawn(async move {
            let Some(open_grant) = broker.ledger().open_grant(&id) else { return };
            let _turn = turns.at(&open_grant.grant().ask.cluster).await;
            if let Err(error) = broker.settle(&open_grant).await {
                tracing::debug!(grant = %id, error = %error.in_full(), "not settled yet");
            }
        });
    }
    next
}

async fn compare_all(broker: &Arc<Broker>, findings: &SweepStats) {
    let (mut unknown, mut failed) = (0, 0);
    // Side by side: one that hangs holds up no other.
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

/// Ends grants whose binding is gone or altered, or whose group another binding names, and counts bindings
/// with our label that belong to no open grant.
async fn compare(broker: &Arc<Broker>, name: &ClusterName, site: &Site) -> Result<u64, ClusterError> {
    // Taken before the list: what is bound after this moment is not missing in it.
    let known = broker.ledger().bound_in(name);
    let mut comparison = Comparison::new(&known, site.cluster.host());
    let odd = site.cluster.list_related(|found| comparison.is_odd(found)).await?;
    let mut ends = JoinSet::new();
    for (id, deviation) in comparison.deviations(&odd) {
        let altered = match deviation {
            Deviation::Missing(namespaces) => Err(namespaces),
            Deviation::Altered(found) => Ok(format!("its binding was altered: {found}")),
            Deviation::Foreign(found) => Ok(format!("another binding has its group: {found}")),
            Deviation::OfUser(found) => Ok(format!("another binding has the user name of its holder: {found}")),
        };
        let (broker, id) = (Arc::clone(broker), id.clone());
        ends.spawn(async move {
            let ended = match altered {
                Err(namespaces) => broker.binding_missing(&id, &namespaces).await,
                Ok(found) => broker.binding_altered(&id, found).await,
            };
            told(&id, "its binding is not as it was made", ended);
        });
    }
    let user_names = bound_user_names(name, &odd);
    broker.note_bound_user_names(name, user_names);
    ends.join_all().await;
    let since = broker.ledger().bound_in(name);
    let mut unknown = 0;
    for found in comparison.of_no_grant(&odd, &since) {
        match broker.binding_came_late(name, found).await {
            Ok(true) => {
                tracing::warn!(cluster = %name, binding = found.name, namespace = found.namespace, "a binding came to be after its grant had ended, and was taken away");
            }
            Ok(false) if !site.cluster.labelled(found) => {}
            Ok(false) => {
                unknown += 1;
                tracing::warn!(cluster = %name, binding = found.name, namespace = found.namespace, "a binding has our label, but the trail knows no open grant for it; it is left alone");
            }
            Err(error) => {
                tracing::warn!(cluster = %name, binding = found.name, namespace = found.namespace, error = %error.in_full(), "it could not be told, or not be taken away yet, what a binding of no open grant is");
            }
        }
    }
    if unknown > 0 {
        tracing::warn!(cluster = %name, unknown, "another daemon may have the same `host:` in its config.yaml, or this trail is an older copy; hint: give each bastion a name of its own, and look at these bindings");
    }
    if broker.makes_roles(name) {
        remove_late_roles(broker, name, site).await?;
    }
    Ok(unknown)
}

/// The people whose own user name a binding names, each with one of them.
fn bound_user_names(name: &ClusterName, odd: &[Found]) -> BTreeMap<PersonName, Found> {
    let mut people = BTreeMap::new();
    for found in odd {
        for person in reconcile::people_named(found) {
            tracing::warn!(cluster = %name, binding = found.name, namespace = found.namespace, %person, "a binding gives something to the user name in a person's certificates; their grants end and nothing is given to them; hint: {}", found.deletion());
            people.insert(person, found.clone());
        }
    }
    people
}

/// Takes away roles that were made for a binding and came to be after the end of its grant.
async fn remove_late_roles(broker: &Broker, name: &ClusterName, site: &Site) -> Result<(), ClusterError> {
    let made = site.cluster.list_made_roles().await?;
    // Taken after the list: what is open by now may have made its role before.
    let open: HashSet<String> = broker.ledger().bound_in(name).iter().map(|grant| grant.id.binding_name()).collect();
    for ((namespace, role), found) in made.into_iter().filter(|((_, role), _)| !open.contains(role)) {
        match broker.role_came_late(name, (&namespace, &role), &found).await {
            Ok(true) => {
                tracing::warn!(cluster = %name, role, namespace, "a role came to be after its grant had ended, and was taken away");
            }
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(cluster = %name, role, namespace, error = %error.in_full(), "a role of a grant that has ended could not be taken away yet");
            }
        }
    }
    Ok(())
}

/// Looks at what was approved for the live grants, in each cluster at its own pace: one that hangs holds up no other.
async fn watch_approved(broker: Arc<Broker>, findings: Arc<SweepStats>, turns: Arc<PerClusterLimit>) {
    join_all(broker.sites().map(|(name, site)| watch_approved_in(&broker, name, site, &findings, &turns))).await;
}

/// Looks at the roles and namespaces of a cluster's live grants, again and again, and ends the grants for which they are
/// not what was approved. Each is read once however many grants have it. The ends go on beside the next look: one that
/// the API server does not let come to its end must not keep the others from being seen.
async fn watch_approved_in(
    broker: &Arc<Broker>,
    name: &ClusterName,
    site: &Site,
    findings: &SweepStats,
    turns: &Arc<PerClusterLimit>,
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
        // The number is of all clusters.
        findings.unread.fetch_add(unread, Ordering::Relaxed);
        findings.unread.fetch_sub(before, Ordering::Relaxed);
        match looked.unread.first() {
            Some(error) if before == 0 => {
                tracing::warn!(cluster = %name, error = %error.in_full(), "roles or namespaces of live grants can't be read, so nobody would notice that they change; the grants go on to their end");
            }
            None if before > 0 => {
                tracing::info!(cluster = %name, "the roles and namespaces of live grants can be read again");
            }
            _ => {}
        }
        for (id, found) in looked.other {
            let (broker, turns, name) = (Arc::clone(broker), Arc::clone(turns), name.clone());
            ends.spawn(async move {
                let _turn = turns.at(&name).await;
                let ended = match found {
                    InPlace::Role(role) => broker.reconcile_role(&id, role.as_deref()).await,
                    InPlace::RoleNotAsMade => {
                        let found = "the role that was made for it was altered or taken away".to_owned();
                        broker.binding_altered(&id, found).await
                    }
                    InPlace::Namespaces(found) => broker.reconcile_namespaces(&id, &found).await,
                    InPlace::PartsEnding => broker.finish_parts(&id).await,
                };
                told(&id, "its role or a namespace is not what was approved", ended);
            });
        }
    }
}

/// What a look at what was approved for a cluster's live grants came to.
#[derive(Default)]
struct Looked {
    /// The grants for which something else is there.
    other: Vec<(GrantId, InPlace)>,
    /// Why a role, all of those that were made, or a namespace could not be read.
    unread: Vec<ClusterError>,
}

/// A namespace of a grant as it is now; none of that name where it is gone.
type NamespaceNow = (Namespace, Option<Arc<FoundNamespace>>);

/// What was found in the place of what was approved.
enum InPlace {
    /// This role of the cluster, or none.
    Role(Option<Arc<ResolvedRole>>),
    /// Not the role that was made for the grant alone.
    RoleNotAsMade,
    /// These namespaces, or none of that name.
    Namespaces(Vec<NamespaceNow>),
    /// What is being taken away in some namespaces may still be there.
    PartsEnding,
}

/// Looks at the roles and namespaces of the live grants in a cluster. One that can't be read keeps nobody from looking at
/// the others.
async fn look_at_approved(broker: &Broker, name: &ClusterName, site: &Site) -> Looked {
    let live: Vec<Arc<Grant>> =
        broker.ledger().bound_in(name).into_iter().filter(|grant| grant.phase == Phase::Live).collect();
    let (mut looked, namespaces) =
        tokio::join!(look_at_roles(broker, name, site, &live), look_at_namespaces(site, &live));
    looked.other.extend(namespaces.other);
    looked.unread.extend(namespaces.unread);
    looked
}

/// Each namespace is read by itself, all of them side by side: those of the live grants are few, where a cluster may have
/// thousands, and the daemon needs no right to list them.
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
    // A grant that is to end in several of its namespaces does so at once.
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
    // Where the policy makes no roles any more, the daemon has no right to look at those of grants of before.
    if of_made.is_empty() || !broker.makes_roles(name) {
        return looked;
    }
    match site.cluster.list_made_roles().await {
        Ok(made) => {
            let is_as_made = |binding: &Binding| {
                let namespace = binding.namespace.as_ref().map_or(String::new(), ToString::to_string);
                let found = made.get(&(namespace, binding.name.clone()));
                let rules = binding.rules.as_ref().map(ExactRules::as_slice);
                found.is_some_and(|found| Some(found.rules()) == rules)
            };
            let altered = of_made.iter().filter(|grant| !grant.held_bindings().iter().all(is_as_made));
            looked.other.extend(altered.map(|grant| (grant.id.clone(), InPlace::RoleNotAsMade)));
        }
        Err(error) => looked.unread.push(error),
    }
    looked
}

fn told(grant: &GrantId, found: &str, ended: Result<(), BrokerError>) {
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
    fn a_comparison_waits_for_ends_but_not_for_ever() {
        assert_eq!(compare_after(true), COMPARE_EVERY, "nothing is under way");
        assert_eq!(compare_after(false), COMPARE_EVERY * 2, "something always is");
    }
}
