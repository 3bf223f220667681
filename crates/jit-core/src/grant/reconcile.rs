//! Compares a cluster with the open grants: the decisions of the reconcile loop.
//!
//! ```text
//!  grants, read before the list ─► Comparison ◄─ is_odd ─ each binding, page after page
//!                                      │ odd ones are kept
//!                                      ├─► deviations: missing, altered, foreign, of the user ─► the grant is ended
//!                                      └─► of no open grant: deleted if it came late, otherwise reported
//! ```
//! It does no I/O, and it keeps only odd bindings, because a cluster may have 10,000. A binding belongs to a grant by
//! its uid, never by a label alone. The sweep calls it; `approval` checks the role again when a certificate is
//! collected.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::request::{Access, Namespace, PersonName};
use super::{Binding, Found, FoundNamespace, Grant, GrantId, Phase};
use crate::rbac::role::ResolvedRole;

/// One comparison of the bindings of a cluster with its known grants.
pub struct Comparison<'a> {
    host: &'a str,
    known: &'a [Arc<Grant>],
    /// The live grants, by the uid of each of their bindings: a different object of the same name is not ours.
    of_uid: HashMap<&'a str, &'a Grant>,
    /// The uids of the bindings that were found unaltered.
    as_made: HashSet<&'a str>,
    /// The gateway's bindings for the live grants, by name and namespace, each with whether it was found unaltered.
    /// Their uids are not recorded: an object that grants the same to the same user is as good.
    of_gateway: BTreeMap<(String, Option<String>), (Binding, bool)>,
}

/// What is wrong with the bindings of a live grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deviation<'f> {
    /// They, or the gateway's, are missing in these namespaces; the list is empty if a ClusterRoleBinding is missing.
    Missing(Vec<Namespace>),
    /// One of them, or of the gateway's, has a different subject, or lacks our labels.
    Altered(&'f Found),
    /// Another binding has the group of the grant as a subject.
    Foreign(&'f Found),
    /// A binding has the user name of the holder as a subject, which is in every certificate of theirs.
    OfUser(&'f Found),
}

/// How the role of a grant differs from the one that was approved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleDrift {
    /// It does not exist any more.
    Missing,
    /// It was deleted and created again.
    Remade,
    /// Its rules changed.
    Changed,
}

/// How a namespace of a grant differs from the one that was approved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamespaceDrift {
    /// It does not exist any more, or is being deleted.
    Missing,
    /// It was deleted and created again.
    Remade,
    /// Its labels no longer match the rule of the policy.
    Relabelled,
}

impl<'a> Comparison<'a> {
    /// Begins a comparison. `known` must be read before the bindings are listed, so that a binding created in between
    /// is not reported as missing. `host` is the daemon's host, as in its labels.
    #[must_use]
    pub fn new(known: &'a [Arc<Grant>], host: &'a str) -> Self {
        let of_uid: HashMap<&str, &Grant> =
            live(known).flat_map(|grant| grant.binding_uids.iter().map(move |uid| (uid.as_str(), grant))).collect();
        let as_made = HashSet::with_capacity(of_uid.len());
        let of_gateway = live(known)
            .flat_map(|grant| grant.held_gateway_bindings(host))
            .map(|binding| (place(&binding), (binding, false)))
            .collect();
        Self { host, known, of_uid, as_made, of_gateway }
    }

    /// Examines one binding. An odd one must be kept for [`deviations`](Self::deviations) and
    /// [`of_no_grant`](Self::of_no_grant); nearly all bindings are unaltered and can be dropped.
    pub fn is_odd(&mut self, found: &Found) -> bool {
        if !self.of_gateway.is_empty()
            && let Some((binding, seen)) = self.of_gateway.get_mut(&(found.name.clone(), found.namespace.clone()))
        {
            *seen = found.is_exactly(binding) && found.is_of_host(self.host);
            return !*seen;
        }
        let Some((uid, grant)) = self.of_uid.get_key_value(found.uid.as_str()) else { return true };
        let is_as_made = found.has_only_group(&grant.id.group()) && found.is_of_host(self.host);
        if is_as_made {
            self.as_made.insert(uid);
        }
        !is_as_made
    }

    /// The live grants whose bindings deviate, after every binding was examined. Each grant is listed once, with its
    /// worst deviation.
    #[must_use]
    pub fn deviations<'f>(&self, odd: &'f [Found]) -> Vec<(&'a GrantId, Deviation<'f>)> {
        let there: HashMap<&str, &Found> = odd.iter().map(|found| (found.uid.as_str(), found)).collect();
        let mut naming: HashMap<&str, Vec<&Found>> = HashMap::new();
        for found in odd {
            for subject in &found.subjects {
                naming.entry(subject.name.as_str()).or_default().push(found);
            }
        }
        let judge = |grant: &Grant| {
            let (mut altered, mut missing) = (None, None);
            for uid in grant.binding_uids.iter().filter(|uid| !self.as_made.contains(uid.as_str())) {
                let namespace = grant.namespace_of(uid);
                // A binding that is being deleted may already be gone.
                if namespace.is_some_and(|namespace| grant.is_lost(namespace)) {
                    continue;
                }
                match there.get(uid.as_str()) {
                    None => missing.get_or_insert_with(Vec::new).extend(namespace.cloned()),
                    Some(found) => altered = altered.or(Some(*found)),
                }
            }
            let mut whole_is_missing = false;
            for binding in grant.held_gateway_bindings(self.host) {
                if self.of_gateway.get(&place(&binding)).is_none_or(|(_, seen)| *seen) {
                    continue;
                }
                match odd.iter().find(|found| found.is_at(&binding)) {
                    None => {
                        whole_is_missing |= binding.namespace.is_none();
                        missing.get_or_insert_with(Vec::new).extend(binding.namespace);
                    }
                    Some(found) => altered = altered.or(Some(found)),
                }
            }
            if whole_is_missing {
                return Some(Deviation::Missing(Vec::new()));
            }
            if let Some(mut missing) = missing {
                missing.sort_unstable();
                missing.dedup();
                return Some(Deviation::Missing(missing));
            }
            let foreign = || {
                let naming = naming.get(grant.id.group().as_str())?;
                naming.iter().find(|found| !grant.binding_uids.contains(&found.uid))
            };
            let of_user = || {
                let user = grant.requester.user();
                naming.get(user.as_str())?.iter().find(|found| found.names_user(&user))
            };
            altered
                .map(Deviation::Altered)
                .or_else(|| foreign().map(|found| Deviation::Foreign(found)))
                .or_else(|| of_user().map(|found| Deviation::OfUser(found)))
        };
        live(self.known).filter_map(|grant| judge(grant).map(|deviation| (&grant.id, deviation))).collect()
    }

    /// The bindings of no open grant that have our labels, or that have no daemon's labels but the name of a grant's
    /// binding. `since` are the grants that are known after the list: bindings created in between belong to them.
    #[must_use]
    pub fn of_no_grant<'f>(&self, odd: &'f [Found], since: &[Arc<Grant>]) -> Vec<&'f Found> {
        // A binding that is being created has no known uid yet, so its name counts.
        let ours: HashMap<String, &[String]> =
            self.known.iter().chain(since).map(|grant| (grant.id.binding_name(), &*grant.binding_uids)).collect();
        // The gateway's are known by where they are, and altered ones are the grant's deviation.
        let of_gateway: HashSet<(String, Option<String>)> = self
            .known
            .iter()
            .chain(since)
            .flat_map(|grant| grant.gateway_bindings(self.host))
            .map(|of| place(&of))
            .collect();
        let is_ours = |found: &Found| {
            ours.get(&found.name).is_some_and(|uids| uids.is_empty() || uids.contains(&found.uid))
                || !of_gateway.is_empty() && of_gateway.contains(&(found.name.clone(), found.namespace.clone()))
        };
        let may_be_ours = |found: &Found| match &found.of_host {
            Some(host) => host == self.host,
            None => GrantId::of_object(&found.name).is_some(),
        };
        odd.iter().filter(|found| may_be_ours(found) && !is_ours(found)).collect()
    }
}

/// Where a binding is: its name and namespace.
fn place(binding: &Binding) -> (String, Option<String>) {
    (binding.name.clone(), binding.namespace.as_ref().map(ToString::to_string))
}

/// The people whose user names are subjects of a binding. We bind only the groups of grants, so whoever created such a
/// binding, every certificate of that person has more rights than its grant.
pub fn people_named(found: &Found) -> impl Iterator<Item = PersonName> {
    found
        .subjects
        .iter()
        .filter(|subject| subject.kind == "User")
        .filter_map(|subject| PersonName::of_user(&subject.name))
}

/// How the current role differs from the approved one; `None` if it is the same.
#[must_use]
pub fn role_drift(grant: &Grant, role: Option<&ResolvedRole>) -> Option<RoleDrift> {
    match role {
        None => Some(RoleDrift::Missing),
        Some(role) if role.uid != *grant.role_uid => Some(RoleDrift::Remade),
        Some(role) if role.rules_sha256() != &*grant.rules_sha256 => Some(RoleDrift::Changed),
        Some(_) => None,
    }
}

impl RoleDrift {
    /// A sentence about `access`, for people and the trail.
    #[must_use]
    pub fn describe(self, access: &Access) -> String {
        match self {
            Self::Missing => format!("{access} no longer exists"),
            Self::Remade => format!("{access} was deleted and created again since it was approved"),
            Self::Changed => format!("{access} changed since it was approved"),
        }
    }
}

/// How the current namespace differs from the approved one; `None` if it is the same. Earlier trails have no uid to
/// compare.
#[must_use]
pub fn namespace_drift(grant: &Grant, namespace: &Namespace, found: Option<&FoundNamespace>) -> Option<NamespaceDrift> {
    let Some(found) = found else { return Some(NamespaceDrift::Missing) };
    if grant.namespace_uids.get(namespace).is_some_and(|uid| *uid != found.uid) {
        return Some(NamespaceDrift::Remade);
    }
    let terms = grant.terms.labelled.as_ref()?;
    (!terms.hold(namespace, &found.labels)).then_some(NamespaceDrift::Relabelled)
}

impl NamespaceDrift {
    /// A sentence for people and the trail.
    #[must_use]
    pub fn describe(self, namespace: &Namespace) -> String {
        match self {
            Self::Missing => format!("namespace `{namespace}` was deleted or is being deleted"),
            Self::Remade => format!("namespace `{namespace}` was deleted and created again since it was approved"),
            Self::Relabelled => format!("the labels of namespace `{namespace}` no longer match the rule"),
        }
    }
}

fn live(known: &[Arc<Grant>]) -> impl Iterator<Item = &Grant> {
    known.iter().map(Arc::as_ref).filter(|grant| grant.phase == Phase::Live)
}

#[cfg(test)]
mod tests {
    use super::super::request::Person;
    use super::super::tests::{brought_to, role};
    use super::super::{FoundRole, Subject, policy};
    use super::*;

    fn id(number: u8) -> GrantId {
        GrantId::from_random([number; 10])
    }

    fn grant(number: u8, point: &str, uids: &[&str]) -> Arc<Grant> {
        let uids = uids.iter().map(ToString::to_string).collect();
        Arc::new(Grant { id: id(number), binding_uids: uids, ..brought_to(point) })
    }

    /// The binding `uid` in `namespace`, named like one of grant `number`, unaltered.
    fn made(number: u8, namespace: &str, uid: &str) -> Found {
        Found {
            name: id(number).binding_name(),
            namespace: Some(namespace.to_owned()),
            uid: uid.to_owned(),
            of_host: Some("h".to_owned()),
            is_held: false,
            subjects: vec![group(number)],
            role: FoundRole { kind: "ClusterRole".to_owned(), name: "view".to_owned() },
        }
    }

    fn group(number: u8) -> Subject {
        Subject { kind: "Group".to_owned(), name: id(number).group(), namespace: None }
    }

    fn with(mut found: Found, change: impl FnOnce(&mut Found)) -> Found {
        change(&mut found);
        found
    }

    /// The result of a comparison: the deviations as `grant: what uid`, and the uids of unknown bindings. The bindings
    /// arrive in pages of two.
    fn compared(known: &[Arc<Grant>], found: &[Found], since: &[Arc<Grant>]) -> (Vec<String>, Vec<String>) {
        let mut comparison = Comparison::new(known, "h");
        let mut odd = Vec::new();
        for page in found.chunks(2) {
            odd.extend(page.iter().filter(|found| comparison.is_odd(found)).cloned());
        }
        let number = |grant: &GrantId| (0..9).find(|number| id(*number) == *grant).unwrap();
        let described = |(grant, deviation): (&GrantId, Deviation<'_>)| match deviation {
            Deviation::Missing(_) => format!("{}: missing", number(grant)),
            Deviation::Altered(found) => format!("{}: altered {}", number(grant), found.uid),
            Deviation::Foreign(found) => format!("{}: foreign {}", number(grant), found.uid),
            Deviation::OfUser(found) => format!("{}: of user {}", number(grant), found.uid),
        };
        let deviations = comparison.deviations(&odd).into_iter().map(described).collect();
        let unknown = comparison.of_no_grant(&odd, since).into_iter().map(|found| found.uid.clone()).collect();
        (deviations, unknown)
    }

    #[test]
    fn each_kind_of_deviation_is_distinguished() {
        let live = |uids: &[&str]| grant(1, "live", uids);
        let other_subject = |found| with(found, |found| found.subjects = vec![group(7)]);
        let without_labels = |found| with(found, |found| found.of_host = None);
        let alice = brought_to("live").requester.user();
        let of_user = |uid: &str, kind: &str| {
            let subject = Subject { kind: kind.to_owned(), name: alice.clone(), namespace: None };
            with(made(1, "a", uid), |found| {
                (found.name, found.of_host, found.subjects) = ("x".to_owned(), None, vec![subject]);
            })
        };
        let renamed = |found, name: &str| with(found, |found| found.name = name.to_owned());
        let a = || made(1, "a", "u-a");
        type Case<'a> = (&'a str, Vec<Arc<Grant>>, Vec<Found>, &'a [&'a str], &'a [&'a str]);
        let cases: Vec<Case<'_>> = vec![
            ("nothing is known, nothing is there", vec![], vec![], &[], &[]),
            ("it is as it was made", vec![live(&["u-a"])], vec![a()], &[], &[]),
            (
                "in several namespaces",
                vec![live(&["u-a", "u-b", "u-c"])],
                vec![made(1, "c", "u-c"), made(1, "a", "u-a"), made(1, "b", "u-b")],
                &[],
                &[],
            ),
            ("it is gone", vec![live(&["u-a"])], vec![], &["1: missing"], &[]),
            (
                "one of several is gone, each grant is judged alone",
                vec![live(&["u-a", "u-b"]), grant(2, "live", &["u-2"])],
                vec![a(), made(2, "a", "u-2")],
                &["1: missing"],
                &[],
            ),
            (
                "what is gone is worse than what is altered, whichever is first",
                vec![live(&["u-a", "u-b"]), grant(2, "live", &["u-1", "u-2"])],
                vec![without_labels(a()), without_labels(made(2, "b", "u-2"))],
                &["1: missing", "2: missing"],
                &[],
            ),
            ("another subject", vec![live(&["u-a"])], vec![other_subject(a())], &["1: altered u-a"], &[]),
            (
                "a subject more",
                vec![live(&["u-a"])],
                vec![with(a(), |found| found.subjects.push(group(7)))],
                &["1: altered u-a"],
                &[],
            ),
            (
                "no subject",
                vec![live(&["u-a"])],
                vec![with(a(), |found| found.subjects.clear())],
                &["1: altered u-a"],
                &[],
            ),
            (
                "a user of the group's name",
                vec![live(&["u-a"])],
                vec![with(a(), |found| found.subjects.iter_mut().for_each(|subject| subject.kind = "User".to_owned()))],
                &["1: altered u-a"],
                &[],
            ),
            ("the labels are gone", vec![live(&["u-a"])], vec![without_labels(a())], &["1: altered u-a"], &[]),
            (
                "the labels are another host's",
                vec![live(&["u-a"])],
                vec![with(a(), |found| found.of_host = Some("other".to_owned()))],
                &["1: altered u-a"],
                &[],
            ),
            (
                "one of several is altered",
                vec![live(&["u-a", "u-b"])],
                vec![a(), other_subject(made(1, "b", "u-b"))],
                &["1: altered u-b"],
                &[],
            ),
            (
                "another object of the same name stands in its place",
                vec![live(&["u-a"])],
                vec![made(1, "a", "u-new")],
                &["1: missing"],
                &["u-new"],
            ),
            (
                "another object of the same name stands in another namespace",
                vec![live(&["u-a"])],
                vec![a(), made(1, "b", "u-b")],
                &["1: foreign u-b"],
                &["u-b"],
            ),
            (
                "another binding names the group and does not pretend to be ours",
                vec![live(&["u-a"])],
                vec![a(), renamed(without_labels(made(1, "a", "u-x")), "x")],
                &["1: foreign u-x"],
                &[],
            ),
            (
                "another binding names the group beside others",
                vec![live(&["u-a"])],
                vec![renamed(with(made(2, "a", "u-x"), |found| found.subjects.push(group(1))), "x"), a()],
                &["1: foreign u-x"],
                &["u-x"],
            ),
            (
                "one that is altered is told before one that is another's",
                vec![live(&["u-a"])],
                vec![renamed(without_labels(made(1, "a", "u-x")), "x"), without_labels(a())],
                &["1: altered u-a"],
                &[],
            ),
            (
                "another binding names the user",
                vec![live(&["u-a"]), grant(2, "ending", &["u-2"])],
                vec![a(), of_user("u-x", "User")],
                &["1: of user u-x"],
                &[],
            ),
            (
                "the user is named beside the group",
                vec![live(&["u-a"])],
                vec![with(a(), |found| found.subjects.extend(of_user("", "User").subjects))],
                &["1: altered u-a"],
                &[],
            ),
            ("a group of the user's name", vec![live(&["u-a"])], vec![a(), of_user("u-x", "Group")], &[], &[]),
            ("the labels are ours and nobody knows it", vec![], vec![made(3, "a", "u-3")], &[], &["u-3"]),
            (
                "the labels are another host's and nobody knows it",
                vec![],
                vec![with(made(3, "a", "u-3"), |found| found.of_host = Some("other".to_owned()))],
                &[],
                &[],
            ),
            ("no labels, and nobody knows it", vec![], vec![without_labels(made(3, "a", "u-3"))], &[], &["u-3"]),
            (
                "no labels, and no name of ours",
                vec![],
                vec![renamed(without_labels(made(3, "a", "u-3")), "x")],
                &[],
                &[],
            ),
            ("one that is being made has no uid yet", vec![grant(1, "bind intended", &[])], vec![a()], &[], &[]),
            ("one that is being made is not missing", vec![grant(1, "bind intended", &[])], vec![], &[], &[]),
            (
                "bound, and not yet live",
                vec![grant(1, "bound", &["u-a"])],
                vec![a(), made(1, "b", "u-b")],
                &[],
                &["u-b"],
            ),
            ("one that ends may be there", vec![grant(1, "ending", &["u-a"])], vec![a()], &[], &[]),
            ("one that ends may be gone", vec![grant(1, "ending", &["u-a"])], vec![], &[], &[]),
        ];
        for (case, known, found, deviations, unknown) in cases {
            let expected = (
                deviations.iter().map(ToString::to_string).collect(),
                unknown.iter().map(ToString::to_string).collect(),
            );
            assert_eq!(compared(&known, &found, &known), expected, "{case}");
        }
    }

    /// The grants are read before the bindings are listed, and again afterwards.
    #[test]
    fn bindings_that_change_during_the_list_are_not_unknown() {
        let (before, bound) = (grant(1, "bind intended", &[]), grant(1, "live", &["u-a"]));
        let found = [made(1, "a", "u-a")];
        let nothing = (vec![], vec![]);
        assert_eq!(compared(&[], &found, &[Arc::clone(&before)]), nothing, "it began");
        assert_eq!(compared(&[], &found, &[Arc::clone(&bound)]), nothing, "it began and became live");
        assert_eq!(compared(&[before], &found, &[Arc::clone(&bound)]), nothing, "it became live");
        assert_eq!(compared(&[Arc::clone(&bound)], &found, &[]), nothing, "it ended");
        let twice = [made(1, "a", "u-a"), made(1, "a", "u-other")];
        assert_eq!(
            compared(&[grant(1, "bind intended", &[])], &twice, &[bound]).1,
            ["u-other"],
            "by now its uid is known"
        );
    }

    #[test]
    fn a_role_is_compared_by_uid_and_rules() {
        let grant = brought_to("live");
        let cases = [
            (None, Some(RoleDrift::Missing)),
            (Some(role("get")), None),
            (Some(role("list")), Some(RoleDrift::Changed)),
            (Some(ResolvedRole::new("uid-2".to_owned(), role("get").rules().to_vec())), Some(RoleDrift::Remade)),
        ];
        for (now, expected) in cases {
            assert_eq!(role_drift(&grant, now.as_ref()), expected, "{now:?}");
        }
        assert_eq!(RoleDrift::Changed.describe(&grant.ask.access), "role view changed since it was approved");
    }

    #[test]
    fn a_namespace_is_compared_by_uid_and_labels() {
        let payments: Namespace = "payments".parse().unwrap();
        let policy = |deny: &str| {
            let rule = "name: pay, who: [oncall], clusters: [play], namespaces: [{labels: 'team=pay'}], roles: [view], \
                        maxDuration: 10m, preApproved: true";
            policy::Policy::read(&format!("rules: [{{{rule}}}]\n{deny}"), None).unwrap()
        };
        let terms = |deny: &str| {
            let alice = Person { name: "alice".parse().unwrap(), groups: ["oncall".to_owned()].into(), login: None };
            let labels = [(payments.clone(), [("team".to_owned(), "pay".to_owned())].into())].into();
            let grant = brought_to("live");
            let assessment =
                crate::rbac::risk::assess(&[], &grant.ask.scope, &crate::rbac::risk::Surroundings::ordinary(None));
            let usage = policy::Usage::default();
            let moment =
                policy::Circumstances { now: grant.requested_at, labels: &labels, assessment: &assessment, usage };
            match policy::decide(&policy(deny), &alice, &grant.ask, &moment) {
                policy::Decision::Ask(terms) => terms,
                policy::Decision::Deny(denial) => panic!("{denial:?}"),
            }
        };
        let by_name = brought_to("live");
        let by_labels = Grant { terms: Arc::new(terms("")), ..brought_to("live") };
        let denied = terms("deny: [{name: no, namespaces: [{labels: 'env=prod'}], why: never}]");
        let with_denial = Grant { terms: Arc::new(denied), ..brought_to("live") };
        let of_before = Grant { namespace_uids: Arc::default(), ..brought_to("live") };
        let found = |uid: &str, labels: &[(&str, &str)]| {
            let owned = |(key, value): &(&str, &str)| (key.to_string(), value.to_string());
            FoundNamespace { uid: uid.to_owned(), labels: labels.iter().map(owned).collect() }
        };
        let (pay, prod) = (&[("team", "pay")][..], &[("team", "pay"), ("env", "prod")][..]);
        let cases = [
            (&by_name, None, Some(NamespaceDrift::Missing)),
            (&by_name, Some(found("uid-ns", &[])), None),
            (&by_name, Some(found("uid-other", &[])), Some(NamespaceDrift::Remade)),
            (&of_before, Some(found("uid-other", &[])), None),
            (&by_labels, Some(found("uid-ns", pay)), None),
            (&by_labels, Some(found("uid-ns", prod)), None),
            (&by_labels, Some(found("uid-ns", &[("team", "shop")])), Some(NamespaceDrift::Relabelled)),
            (&with_denial, Some(found("uid-ns", pay)), None),
            (&with_denial, Some(found("uid-ns", prod)), Some(NamespaceDrift::Relabelled)),
        ];
        for (number, (grant, now, expected)) in cases.into_iter().enumerate() {
            assert_eq!(namespace_drift(grant, &payments, now.as_ref()), expected, "case {number}: {now:?}");
        }
        let read: Box<policy::LabelTerms> =
            serde_json::from_value(serde_json::to_value(&with_denial.terms.labelled).unwrap()).unwrap();
        assert_eq!(Some(read), with_denial.terms.labelled, "it is read from the trail as it was written");
    }

    /// What a live grant has for the gateway is missing, altered or in its place like its own binding.
    #[test]
    fn the_gateways_bindings_of_a_live_grant_are_compared_too() {
        let gateway: super::super::GatewayUser = "gw".parse().unwrap();
        let known = |point: &str, gateway: Option<&str>| {
            let gateway = gateway.map(|name| name.parse().unwrap());
            let grant = Grant { gateway, ..Grant::clone(&grant(1, point, &["u-a"])) };
            Arc::new(grant)
        };
        let live = known("live", Some("gw"));
        let namespace = live.ask.scope.namespaces().first().unwrap().to_string();
        let of = |binding: &Binding, uid: &str| {
            let (kind, name) = binding.subject();
            Found {
                name: binding.name.clone(),
                namespace: binding.namespace.as_ref().map(ToString::to_string),
                subjects: vec![Subject { kind: kind.to_owned(), name: name.to_owned(), namespace: None }],
                role: FoundRole { kind: binding.role.kind().to_owned(), name: binding.role.name().to_string() },
                ..made(1, "", uid)
            }
        };
        let bindings = live.gateway_bindings("h");
        let [whom, place] = bindings.as_slice() else { panic!("{bindings:?}") };
        assert_eq!(place.gateway.as_ref(), Some(&gateway));
        let (own, whom, place) = (made(1, &namespace, "u-a"), of(whom, "u-w"), of(place, "u-p"));
        let other_user = |found: &Found| with(found.clone(), |found| found.subjects[0].name = "other".to_owned());
        let other_role = |found: &Found| with(found.clone(), |found| found.role.name = "cluster-admin".to_owned());
        let elsewhere = with(place.clone(), |found| found.namespace = Some("elsewhere".to_owned()));
        let unlabelled = with(place.clone(), |found| found.of_host = None);
        let gone = known("bind intended", Some("gw"));
        type Case<'a> = (&'a str, &'a [Arc<Grant>], Vec<&'a Found>, &'a [&'a str], &'a [&'a str]);
        let (altered_user, altered_role) = (other_user(&whom), other_role(&place));
        let with_gateway = [Arc::clone(&live)];
        let (without, collecting) = ([known("live", None)], [gone]);
        let cases: Vec<Case<'_>> = vec![
            ("as they were made", &with_gateway, vec![&own, &whom, &place], &[], &[]),
            ("the role's binding is gone", &with_gateway, vec![&own, &place], &["1: missing"], &[]),
            ("one place is gone", &with_gateway, vec![&own, &whom], &["1: missing"], &[]),
            ("another user", &with_gateway, vec![&own, &altered_user, &place], &["1: altered u-w"], &[]),
            ("another role", &with_gateway, vec![&own, &whom, &altered_role], &["1: altered u-p"], &[]),
            ("no labels", &with_gateway, vec![&own, &whom, &unlabelled], &["1: altered u-p"], &[]),
            ("one more place", &with_gateway, vec![&own, &whom, &place, &elsewhere], &[], &["u-p"]),
            ("a grant without the gateway", &without, vec![&own, &whom, &place], &[], &["u-w", "u-p"]),
            ("they are being made", &collecting, vec![&whom, &place], &[], &[]),
            ("nobody knows them", &[], vec![&whom, &unlabelled], &[], &["u-w", "u-p"]),
        ];
        for (case, known, found, deviations, unknown) in cases {
            let found: Vec<Found> = found.into_iter().cloned().collect();
            let expected = (
                deviations.iter().map(ToString::to_string).collect(),
                unknown.iter().map(ToString::to_string).collect(),
            );
            assert_eq!(compared(known, &found, known), expected, "{case}");
        }
    }

    /// A comparison reads all bindings of a cluster every minute, so unaltered ones are not kept.
    #[test]
    fn only_odd_bindings_are_kept() {
        let known = [grant(1, "live", &["u-1"]), grant(2, "live", &["u-2"])];
        let mut comparison = Comparison::new(&known, "h");
        assert!(!comparison.is_odd(&made(1, "a", "u-1")));
        assert!(!comparison.is_odd(&made(2, "a", "u-2")));
        assert!(comparison.is_odd(&made(2, "a", "u-1")), "the uid of one with the group of another");
    }
}
