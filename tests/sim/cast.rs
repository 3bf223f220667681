//! The people and their policy: four engineers, two leads, and an operator, who is root. `dora` is also a lead, so one
//! person could approve her own request. The leads are the administrators too, so that the third decides where two disagree.

use std::collections::{BTreeMap, BTreeSet};

use jitd::grant::Operator;
use jitd::grant::policy::Policy;
use jitd::grant::request::{Access, AccessRequest, ExactRules, Login, Namespaces, Person, PersonName, Scope, Window};
use jitd::people::{Declared, People};
use jitd::rbac::role::Rule;

use crate::world::{below, clock, happens, one_of, world};

pub(crate) const ENGINEERS: [&str; 4] = ["alice", "bea", "carl", "dora"];
pub(crate) const LEADS: [&str; 3] = ["lea", "max", "dora"];

/// The policy's limits for one person at a time.
pub(crate) struct Limits {
    pub(crate) pending: usize,
    pub(crate) live: usize,
    pub(crate) per_hour: usize,
}

pub(crate) const LIMITS: Limits = Limits { pending: 2, live: 3, per_hour: 25 };

const POLICY: &str = r#"
rules:
- name: look
  who: [oncall]
  clusters: [play]
  namespaces: [payments, billing, {labels: "team=shop"}]
  roles: [view, nothing, ghost]
  maxDuration: 5m
  maxTotal: 8m
  startWithin: 2m
  approval: [{groups: [leads]}]
  breakGlass: {after: 5s, maxDuration: 2m, review: {groups: [leads], count: 2, within: 1h}}
- name: change
  who: [oncall]
  clusters: [play]
  namespaces: [payments, billing]
  roles: [edit]
  narrow: true
  maxDuration: 3m
  approval: [{groups: [leads], count: 2}]
- name: exact
  who: [oncall]
  clusters: [play]
  namespaces: [payments, shop-1, shop-2]
  rules: [{apiGroups: [""], resources: [pods, pods/log, configmaps], verbs: [get, list]}]
  maxDuration: 5m
  approval: [{groups: [leads]}]
- name: sandbox
  who: [oncall]
  clusters: [play]
  namespaces: [sandbox]
  roles: [role/viewer]
  maxDuration: 5m
  maxTotal: 10m
  drift: warn
  preApproved: true
- name: everywhere
  who: [oncall]
  clusters: [play]
  clusterWide: true
  roles: [view]
  maxDuration: 2m
  approval: [{groups: [leads], count: 2}]
"#;

pub(crate) fn policy() -> Policy {
    let Limits { pending, live, per_hour } = LIMITS;
    let limits = format!("limits: {{pending: {pending}, live: {live}, perHour: {per_hour}}}\n");
    Policy::read(&format!("{POLICY}{limits}"), None).unwrap()
}

/// A person's groups in this life of the daemon, in which one person may have lost theirs.
pub(crate) fn groups_of(name: &PersonName, lost: Option<&str>) -> BTreeSet<String> {
    if lost == Some(name.as_str()) {
        return BTreeSet::new();
    }
    let of = [(&ENGINEERS[..], "oncall"), (&LEADS[..], "leads")];
    of.iter().filter(|(people, _)| people.contains(&name.as_str())).map(|(_, group)| (*group).to_owned()).collect()
}

/// All people, as the configuration declares them, so that the host is never asked.
pub(crate) fn people() -> People {
    let names: BTreeSet<&str> = ENGINEERS.into_iter().chain(LEADS).collect();
    let lost = world(|world| world.lost);
    let declared = names.into_iter().zip(4000..).map(|(name, uid)| {
        let name: PersonName = name.parse().unwrap();
        Declared { groups: groups_of(&name, lost), name, uids: vec![uid], identities: Vec::new(), host_groups: false }
    });
    People::new(declared.collect(), true)
}

/// A caller: usually with the account that they logged in with, sometimes with one that they only became.
pub(crate) fn caller(name: &str) -> Person {
    let name: PersonName = name.parse().unwrap();
    let login = if happens(50) { one_of(&["alice", "lea", "max", "carl"]).parse().unwrap() } else { name.clone() };
    let login = happens(900).then_some(Login::Account { uid: 4000, person: Some(login) });
    Person { groups: groups_of(&name, world(|world| world.lost)), name, login }
}

pub(crate) fn operator() -> Operator {
    Operator { name: PersonName::root(), uid: 0, login: None }
}

/// A request; sometimes one that no rule allows.
pub(crate) fn ask() -> AccessRequest {
    let longest = one_of(&[20, 60, 120, 290]);
    let view = || Access::Role("view".parse().unwrap());
    let (scope, access) = match below(20) {
        0..=6 => (places(&[&["payments"], &["billing", "payments"], &["shop-1", "shop-2"], &["shop-2"]]), view()),
        7..=9 => (places(&[&["payments"], &["billing", "payments"]]), Access::Role("edit".parse().unwrap())),
        10..=13 => (places(&[&["payments"], &["shop-1", "shop-2"]]), exact(&["get", "list"], &["pods", "configmaps"])),
        14..=15 => (places(&[&["sandbox"]]), Access::Role("role/viewer".parse().unwrap())),
        16 | 17 => (Scope::Cluster, view()),
        18 => (places(&[&["payments"]]), Access::Role(one_of(&["ghost", "nothing"]).parse().unwrap())),
        _ => (places(&[&["nowhere"], &["kube-system"]]), view()),
    };
    let cluster = if happens(10) { "elsewhere" } else { "play" };
    let start = happens(40)
        .then(|| jiff::Timestamp::from_second(clock().as_second() + 20 + i64::try_from(below(60)).unwrap()).unwrap());
    AccessRequest {
        cluster: cluster.parse().unwrap(),
        scope,
        access,
        window: window(5 + below(longest)),
        reason: "have a look".parse().unwrap(),
        fields: BTreeMap::new(),
        start,
    }
}

pub(crate) fn window(seconds: u64) -> Window {
    format!("{seconds}s").parse().unwrap()
}

fn places(choices: &[&[&str]]) -> Scope {
    let namespaces: Vec<_> = one_of(choices).iter().map(|name| name.parse().unwrap()).collect();
    Scope::Namespaces(Namespaces::try_from(namespaces).unwrap())
}

pub(crate) fn exact(verbs: &[&str], resources: &[&str]) -> Access {
    let words = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    Access::Rules(ExactRules::try_from(Rule::exactly(&words(verbs), &words(resources), &[])).unwrap())
}
