//! The policy in tables: each key with a request that matches and one that does not, and properties of every policy.

use std::collections::BTreeMap;
use std::fmt::Write;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::grant::Record;
use crate::grant::request::{Access, ExactRules, Namespace, Namespaces, Scope};
use crate::rbac::risk;

// ---- a policy, an ask, a moment ----

/// A Tuesday, noon in Berlin.
const NOON: &str = "2026-11-24T11:00:00Z";

fn now() -> Timestamp {
    NOON.parse().unwrap()
}

fn alice() -> Person {
    Person { name: "alice".parse().unwrap(), groups: ["oncall".to_owned()].into(), login: None }
}

/// A policy of one rule, with these keys instead of, or besides, the usual ones.
fn with(keys: &str) -> String {
    let mut lines: BTreeMap<&str, &str> = [
        ("who", "[oncall]"),
        ("clusters", "[prod]"),
        ("namespaces", "[payments]"),
        ("roles", "[view]"),
        ("maxDuration", "10m"),
        ("approval", "[{groups: [leads]}]"),
    ]
    .into();
    for line in keys.lines() {
        let (key, value) = line.split_once(':').unwrap();
        if value.trim() == "-" {
            lines.remove(key)
        } else {
            lines.insert(key, value.trim())
        };
    }
    lines.iter().fold("rules:\n- name: payments\n".to_owned(), |mut text, (key, value)| {
        writeln!(text, "  {key}: {value}").unwrap();
        text
    })
}

fn read(policy: &str) -> Policy {
    Policy::read(policy, None).unwrap_or_else(|faults| panic!("{policy}\n{faults:#?}"))
}

fn guarded(policy: &str, guardrails: &str) -> Policy {
    Policy::read(policy, Some(guardrails)).unwrap_or_else(|faults| panic!("{policy}\n{guardrails}\n{faults:#?}"))
}

fn ask() -> AccessRequest {
    AccessRequest {
        cluster: "prod".parse().unwrap(),
        scope: namespaces(&["payments"]),
        access: Access::Role("view".parse().unwrap()),
        window: "10m".parse().unwrap(),
        reason: "INC-42 queue stuck".parse().unwrap(),
        fields: BTreeMap::new(),
        start: None,
    }
}

fn namespaces(names: &[&str]) -> Scope {
    let names: Vec<Namespace> = names.iter().map(|name| name.parse().unwrap()).collect();
    Scope::Namespaces(Namespaces::try_from(names).unwrap())
}

fn rbac(resources: &[&str], verbs: &[&str]) -> role::Rule {
    let words = |words: &[&str]| words.iter().map(ToString::to_string).collect();
    role::Rule {
        api_groups: vec![String::new()],
        resources: words(resources),
        verbs: words(verbs),
        ..role::Rule::default()
    }
}

fn exactly(resources: &[&str], verbs: &[&str]) -> Access {
    Access::Rules(ExactRules::try_from(vec![rbac(resources, verbs)]).unwrap())
}

fn labels(written: &[(&str, &[(&str, &str)])]) -> Labels {
    let each = |(name, labels): &(&str, &[(&str, &str)])| {
        (name.parse().unwrap(), labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    };
    written.iter().map(each).collect()
}

/// The known facts, for a test to change.
struct Moment {
    now: Timestamp,
    labels: Labels,
    rules: Vec<role::Rule>,
    usage: Usage,
}

impl Moment {
    fn usual() -> Self {
        Self { now: now(), labels: Labels::new(), rules: Vec::new(), usage: Usage::default() }
    }

    fn decide(&self, policy: &Policy, person: &Person, ask: &AccessRequest) -> Decision {
        let assessment = risk::assess(&self.rules, &ask.scope, &risk::Surroundings::ordinary(None));
        let circumstances =
            Circumstances { now: self.now, labels: &self.labels, assessment: &assessment, usage: self.usage };
        decide(policy, person, ask, &circumstances)
    }

    fn terms(&self, policy: &Policy, ask: &AccessRequest) -> Terms {
        match self.decide(policy, &alice(), ask) {
            Decision::Ask(terms) => terms,
            Decision::Deny(denial) => panic!("{}", denial.refusal()),
        }
    }

    #[track_caller]
    fn denial(&self, policy: &Policy, ask: &AccessRequest) -> Refusal {
        match self.decide(policy, &alice(), ask) {
            Decision::Ask(terms) => panic!("allowed by {}", terms.rule),
            Decision::Deny(denial) => denial.refusal(),
        }
    }
}

// ---- the rules ----

#[test]
fn a_matching_rule_gives_its_name_and_its_approvers() {
    let terms = Moment::usual().terms(&read(&with("")), &ask());
    assert_eq!((terms.rule.as_str(), terms.groups()), ("payments", vec!["leads"]));
    assert_eq!(terms.max_total.to_string(), "10m");
}

#[test]
fn an_empty_policy_denies() {
    assert_eq!(Moment::usual().denial(&read("rules: []"), &ask()).code, Code::PolicyDenied);
}

#[test]
fn a_person_in_no_group_of_any_rule_is_denied() {
    let other = Person { groups: ["other".to_owned()].into(), ..alice() };
    let Decision::Deny(denial) = Moment::usual().decide(&read(&with("")), &other, &ask()) else { panic!("allowed") };
    assert_eq!((denial.nearest(), denial.refusal().code), (None, Code::PolicyDenied));
}

/// Each key of a rule: a request that it allows, and a similar one that it does not, with the named key. A request that
/// is denied whatever the cluster says is denied before the cluster is asked.
#[test]
fn each_key_of_a_rule_allows_and_denies() {
    type Change = fn(&mut AccessRequest);
    fn field(ask: &mut AccessRequest, name: &str, value: &str) {
        ask.fields.insert(name.parse().unwrap(), value.parse().unwrap());
    }
    let table: &[(&str, Change, Change, &str)] = &[
        ("", |_| {}, |ask| ask.cluster = "test".parse().unwrap(), "cluster `test`"),
        ("", |_| {}, |ask| ask.scope = namespaces(&["shop"]), "namespace `shop`"),
        ("", |_| {}, |ask| ask.scope = namespaces(&["payments", "shop"]), "namespace `shop`"),
        ("", |_| {}, |ask| ask.scope = Scope::Cluster, "the whole cluster"),
        (
            "namespaces: [\"team-*\", \"ns-?\"]",
            |ask| ask.scope = namespaces(&["team-a", "team-b", "ns-x"]),
            |ask| ask.scope = namespaces(&["team-a", "ns-xy"]),
            "namespace `ns-xy`",
        ),
        ("clusterWide: true\nnamespaces: -", |ask| ask.scope = Scope::Cluster, |_| {}, "only the whole cluster"),
        ("", |_| {}, |ask| ask.access = Access::Role("edit".parse().unwrap()), "role `edit`"),
        ("", |_| {}, |ask| ask.access = Access::Role("role/view".parse().unwrap()), "role `role/view`"),
        ("", |_| {}, |ask| ask.access = exactly(&["pods"], &["get"]), "no exact rules"),
        (
            "rules: [{apiGroups: [\"\"], resources: [pods, pods/log], verbs: [get, list]}]",
            |ask| ask.access = exactly(&["pods/log"], &["get"]),
            |ask| ask.access = exactly(&["pods", "secrets"], &["get"]),
            "does not allow `get pods, secrets`",
        ),
        ("", |_| {}, |ask| ask.window = "10m1s".parse().unwrap(), "at most 10m, not 10m1s"),
        ("reason: \"^INC-[0-9]+\"", |_| {}, |ask| ask.reason = "because".parse().unwrap(), "a reason like"),
        (
            "reason: {minLength: 12, prompt: which incident}",
            |_| {},
            |ask| ask.reason = "INC-42".parse().unwrap(),
            "at least 12 characters, not 6: which incident",
        ),
        (
            "fields: [{name: ticket, type: text, pattern: \"^OPS-\", required: true, prompt: the ticket}]",
            |ask| field(ask, "ticket", "OPS-1"),
            |_| {},
            "requires the field `ticket`: the ticket",
        ),
        (
            "fields: [{name: ticket, type: text, pattern: \"^OPS-\"}]",
            |_| {},
            |ask| field(ask, "ticket", "DEV-1"),
            "like `^OPS-`, not `DEV-1`",
        ),
        ("", |_| {}, |ask| field(ask, "ticket", "1"), "has no field `ticket`"),
        (
            "fields: [{name: count, type: number}]",
            |ask| field(ask, "count", "-1.5"),
            |ask| field(ask, "count", "1e3"),
            "a number",
        ),
        (
            "fields: [{name: link, type: url}]",
            |ask| field(ask, "link", "https://tickets.example/1"),
            |ask| field(ask, "link", "file:///etc/passwd"),
            "a URL",
        ),
        (
            "fields: [{name: kind, type: choice, choices: [fix, look]}]",
            |ask| field(ask, "kind", "fix"),
            |ask| field(ask, "kind", "fun"),
            "one of `fix`, `look`",
        ),
        (
            "startWithin: 1h",
            |ask| ask.start = Some("2026-11-24T12:00:00Z".parse().unwrap()),
            |ask| ask.start = Some("2026-11-24T12:00:01Z".parse().unwrap()),
            "at most 1h ahead",
        ),
        (
            "",
            |ask| ask.start = Some(now()),
            |ask| ask.start = Some("2026-11-24T11:00:01Z".parse().unwrap()),
            "starts at once",
        ),
    ];
    for (keys, fits, misses, word) in table {
        let policy = read(&with(keys));
        let (mut given, mut denied) = (ask(), ask());
        fits(&mut given);
        misses(&mut denied);
        let moment = Moment::usual();
        assert_eq!(moment.terms(&policy, &given).rule, "payments", "{keys}");
        assert!(could_be_asked(&policy, &alice(), &given, now(), Usage::default()).is_ok(), "{keys}");
        let refusal = moment.denial(&policy, &denied);
        assert_eq!(refusal.code, Code::PolicyDenied);
        assert!(
            refusal.why.contains(word) && refusal.why.contains("the nearest is `payments`"),
            "{word}: {}",
            refusal.why
        );
        let early = could_be_asked(&policy, &alice(), &denied, now(), Usage::default());
        assert_eq!(early.map_err(|denial| denial.refusal()), Err(refusal), "{keys}");
    }
}

/// A selector is compared with the labels; if they are unknown it matches nothing, not even a negative selector.
/// Before the cluster was asked, it could match.
#[test]
fn unknown_labels_match_no_selector() {
    type There<'a> = &'a [(&'a str, &'a str)];
    let table: &[(&str, There<'_>, bool)] = &[
        ("team=payments", &[("team", "payments")], true),
        ("team==payments", &[("team", "shop")], false),
        ("team=payments,env!=prod", &[("team", "payments"), ("env", "test")], true),
        ("team=payments,env!=prod", &[("team", "payments"), ("env", "prod")], false),
        ("env!=prod", &[], true),
        ("team in (payments, shop)", &[("team", "shop")], true),
        ("team in (payments,shop)", &[], false),
        ("env notin (prod,stage)", &[("env", "test")], true),
        ("env notin (prod,stage)", &[("env", "stage")], false),
        ("example.com/team", &[("example.com/team", "")], true),
        ("team", &[], false),
        ("!frozen", &[], true),
        ("!frozen", &[("frozen", "")], false),
    ];
    for (selector, there, fits) in table {
        let policy = read(&with(&format!("namespaces: [{{labels: \"{selector}\"}}]")));
        let known = Moment { labels: labels(&[("payments", there)]), ..Moment::usual() };
        let fitted = matches!(known.decide(&policy, &alice(), &ask()), Decision::Ask(_));
        assert_eq!(fitted, *fits, "{selector} {there:?}");
        let unknown = Moment { labels: labels(&[("shop", there)]), ..Moment::usual() };
        assert!(unknown.denial(&policy, &ask()).why.contains("labels are unknown"), "{selector}");
        assert!(could_be_asked(&policy, &alice(), &ask(), now(), Usage::default()).is_ok(), "{selector}");
    }
}

/// One rule must match all namespaces of a request.
#[test]
fn one_rule_must_match_the_whole_request() {
    let rule = |name, namespace| {
        format!(
            "- {{name: {name}, who: [oncall], clusters: [prod], namespaces: [{namespace}], roles: [view], maxDuration: 10m, preApproved: true}}\n"
        )
    };
    let policy = read(&format!("rules:\n{}{}", rule("one", "payments"), rule("two", "shop")));
    let moment = Moment::usual();
    assert_eq!(moment.terms(&policy, &AccessRequest { scope: namespaces(&["shop"]), ..ask() }).rule, "two");
    moment.denial(&policy, &AccessRequest { scope: namespaces(&["payments", "shop"]), ..ask() });
}

#[test]
fn the_first_matching_rule_decides() {
    let open = with("preApproved: true\napproval: -").replace("payments\n", "open\n");
    let closed = with("").replace("rules:\n", "");
    let policy = read(&format!("{open}{closed}"));
    assert_eq!(Moment::usual().terms(&policy, &ask()).rule, "open");
}

#[test]
fn terms_are_those_of_the_rule_and_unchanged_in_the_trail() {
    let policy = read(&with(
        "maxTotal: 1h\npending: 5m\ncollect: 2m\ncertificate: 1h\nnarrow: true\ndrift: warn\n\
         breakGlass: {after: 2m, maxDuration: 5m, review: {groups: [security], count: 2, within: 4h}}\n\
         approval: [{groups: [leads], count: 2, hours: {days: [mon, tue, wed, thu, fri], from: \"08:00\", to: \"18:00\", zone: Europe/Berlin}}, {groups: [security]}]",
    ));
    let moment = Moment::usual();
    let terms = moment.terms(&policy, &ask());
    let written = serde_json::to_value(&terms).unwrap();
    assert_eq!(
        written,
        json!({
            "rule": "payments", "who": ["oncall"], "maxTotal": "1h", "pending": "5m", "collect": "2m", "certificate": "1h", "narrow": true, "drift": "warn",
            "steps": [
                { "groups": ["leads"], "count": 2, "hours": { "days": ["mon", "tue", "wed", "thu", "fri"], "from": "08:00", "to": "18:00", "zone": "Europe/Berlin" } },
                { "groups": ["security"], "count": 1 },
            ],
            "breakGlass": { "after": "2m", "maxDuration": "5m", "review": { "within": "4h", "steps": [{ "groups": ["security"], "count": 2 }] } },
        })
    );
    assert_eq!(serde_json::from_value::<Terms>(written).unwrap(), terms);
    let owing = Moment { usage: Usage { review_owed: true, ..Usage::default() }, ..Moment::usual() };
    assert_eq!(owing.terms(&policy, &ask()).break_glass, None);
    let at_once = read(&with("breakGlass: {after: 0s, maxDuration: 5m, review: {groups: [security], within: 4h}}"));
    assert_eq!(moment.terms(&at_once, &ask()).break_glass.unwrap().after, None);
}

#[test]
fn a_pre_approved_rule_needs_no_approval() {
    let terms = Moment::usual().terms(&read(&with("preApproved: true\napproval: -")), &ask());
    assert_eq!((terms.steps.as_slice(), terms.groups()), ([].as_slice(), Vec::new()));
}

// ---- denials and limits ----

/// Each selector of a denial: a request that it denies, and one that it does not match.
#[test]
fn each_selector_of_a_denial_denies_and_allows() {
    let everything = with(
        "namespaces: [\"*\"]\nclusterWide: true\nclusters: [prod, test]\nroles: [view, edit]\nrules: [{apiGroups: [\"\"], resources: [pods], verbs: [get]}]",
    );
    type Change = fn(&mut AccessRequest);
    let whole: Change = |ask| ask.scope = Scope::Cluster;
    let table: &[(&str, Change, Option<Change>)] = &[
        ("", |_| {}, None),
        ("who: [oncall]", |_| {}, None),
        ("clusters: [prod]", |_| {}, Some(|ask| ask.cluster = "test".parse().unwrap())),
        ("namespaces: [\"pay*\"]", |_| {}, Some(|ask| ask.scope = namespaces(&["shop"]))),
        ("namespaces: [shop]", |ask| ask.scope = namespaces(&["payments", "shop"]), Some(|_| {})),
        ("namespaces: [shop]", whole, Some(|_| {})),
        ("namespaces: [payments], clusterWide: false", |_| {}, Some(whole)),
        ("clusterWide: true", whole, Some(|_| {})),
        ("clusterWide: false", |_| {}, Some(whole)),
        ("roles: [edit]", |ask| ask.access = Access::Role("edit".parse().unwrap()), Some(|_| {})),
        ("roles: [view]", |_| {}, Some(|ask| ask.access = exactly(&["pods"], &["get"]))),
        ("namespaces: [{labels: \"team=payments\"}]", |_| {}, Some(|ask| ask.scope = namespaces(&["shop"]))),
        // Nobody knows the labels of this one, so it may be one of those that are meant.
        ("namespaces: [{labels: \"team=other\"}]", |ask| ask.scope = namespaces(&["dark"]), Some(|_| {})),
    ];
    let moment = Moment { labels: labels(&[("payments", &[("team", "payments")]), ("shop", &[])]), ..Moment::usual() };
    for (selectors, denied, let_through) in table {
        let comma = if selectors.is_empty() { "" } else { ", " };
        let policy = read(&format!("{everything}deny:\n- {{name: freeze, why: not now{comma}{selectors}}}\n"));
        let mut asked = ask();
        denied(&mut asked);
        let refusal = moment.denial(&policy, &asked);
        assert_eq!(
            (refusal.code, refusal.why.as_str()),
            (Code::PolicyDenied, "denied by `freeze`: not now"),
            "{selectors}"
        );
        if let Some(change) = let_through {
            let mut asked = ask();
            change(&mut asked);
            assert_eq!(moment.terms(&policy, &asked).rule, "payments", "{selectors}");
        }
    }
    let others = read(&format!("{everything}deny:\n- {{name: freeze, why: not now, who: [contractors]}}\n"));
    assert_eq!(moment.terms(&others, &ask()).rule, "payments");
}

#[test]
fn limits_count_what_a_person_has_open() {
    let policy = read(&format!("{}limits: {{pending: 2, live: 1, perHour: 3}}\n", with("")));
    let usage = |pending, live, last_hour| Usage { pending, live, last_hour, ..Usage::default() };
    Moment { usage: usage(1, 0, 2), ..Moment::usual() }.terms(&policy, &ask());
    for (usage, name) in [(usage(2, 0, 0), "pending"), (usage(0, 1, 0), "live"), (usage(0, 0, 3), "perHour")] {
        let refusal = Moment { usage, ..Moment::usual() }.denial(&policy, &ask());
        assert_eq!(refusal.code, Code::Limit);
        assert!(refusal.why.contains(&format!("`{name}`")), "{}", refusal.why);
        assert!(could_be_asked(&policy, &alice(), &ask(), now(), usage).is_err());
        Moment { usage, ..Moment::usual() }.terms(&read(&with("")), &ask());
    }
}

// ---- guardrails ----

/// A policy that only guardrails limit.
fn generous() -> String {
    with("namespaces: [\"*\"]\nclusterWide: true\nroles: [view, edit]\nmaxDuration: 24h")
}

/// Without a file the defaults apply, and a file replaces only the keys that it sets.
#[test]
fn guardrails_apply_without_a_file_and_key_by_key() {
    let moment = Moment::usual();
    let system = AccessRequest { scope: namespaces(&["kube-system"]), ..ask() };
    for policy in [read(&generous()), guarded(&generous(), ""), guarded(&generous(), "maxRisk: low\n")] {
        let refusal = moment.denial(&policy, &system);
        assert_eq!(refusal.code, Code::Guardrail);
        assert!(refusal.why.contains("`never.namespaces`"), "{}", refusal.why);
        let people: u32 = moment
            .terms(&policy, &AccessRequest { scope: Scope::Cluster, ..ask() })
            .steps
            .iter()
            .map(|step| step.count)
            .sum();
        assert_eq!(people, 2);
        assert_eq!(could_be_asked(&policy, &alice(), &system, now(), Usage::default()).unwrap_err().refusal(), refusal);
    }
    let lifted = guarded(&generous(), "never: {namespaces: []}\nclusterWide: {approvers: 1}\n");
    assert_eq!(moment.terms(&lifted, &system).rule, "payments");
    assert_eq!(moment.terms(&lifted, &AccessRequest { scope: Scope::Cluster, ..ask() }).steps.len(), 1);
}

/// What is recorded: as the rule says, but never less than a guardrail requires for everything or for the risk.
#[test]
fn a_guardrail_only_makes_the_recording_stricter() {
    let risky = Moment { rules: vec![rbac(&["*"], &["*"])], ..Moment::usual() };
    let of_risk = "risks: [{severity: high, record: required}]\n";
    for (rule, guardrails, usual, at_risk) in [
        ("", "", Record::Metadata, Record::Metadata),
        ("record: off", "", Record::Off, Record::Off),
        ("record: required", "record: off\n", Record::Required, Record::Required),
        ("record: off", "record: metadata\n", Record::Metadata, Record::Metadata),
        ("record: off", of_risk, Record::Off, Record::Required),
        ("", of_risk, Record::Metadata, Record::Required),
    ] {
        let policy = guarded(&with(rule), guardrails);
        let recorded = [Moment::usual(), Moment { rules: risky.rules.clone(), ..Moment::usual() }]
            .map(|moment| moment.terms(&policy, &ask()).sessions.record);
        assert_eq!(recorded, [usual, at_risk], "{rule} {guardrails}");
    }
}

/// What a rule requires of a login is in its terms and in the sentences; one that requires nothing is a mistake.
#[test]
fn a_rule_can_require_something_of_a_login() {
    let policy = read(&with("login: {acr: [phr, phrh], amr: [hwk], authTime: 1h, deviceCode: false}"));
    let terms = Moment::usual().terms(&policy, &ask());
    let says = terms.sentences().into_iter().find(|(word, _)| *word == "login").unwrap().1;
    assert_eq!(
        says,
        "at an identity provider, for approving and break-glass: `acr` phr or phrh, `amr` with hwk, at most 1h ago, not by \
         device code"
    );
    let written = serde_json::to_value(&terms).unwrap();
    assert_eq!(
        written["login"],
        json!({ "acr": ["phr", "phrh"], "amr": ["hwk"], "authTime": "1h", "noDeviceCode": true })
    );
    assert_eq!(serde_json::from_value::<Terms>(written).unwrap(), terms);
    let usual = Moment::usual().terms(&read(&with("")), &ask());
    assert_eq!(serde_json::to_value(&usual).unwrap().get("login"), None);
    for nothing in ["login: {}", "login: {deviceCode: true}"] {
        let faults = Policy::read(&with(nothing), None).unwrap_err();
        assert!(faults.iter().any(|fault| fault.why == "requires nothing of a login"), "{faults:?}");
    }
    assert!(Policy::read(&with("login: {acr: []}"), None).is_err());
}

/// Grants of earlier trails have no such terms, and those of rules that say nothing are written as before.
#[test]
fn usual_terms_of_sessions_are_not_written() {
    let terms = Moment::usual().terms(&read(&with("")), &ask());
    let written = serde_json::to_value(&terms).unwrap();
    assert_eq!(written.get("sessions"), None);
    assert_eq!(serde_json::from_value::<Terms>(written).unwrap(), terms);
    let terms = Moment::usual().terms(&read(&with("record: required\nidle: 10m")), &ask());
    let written = serde_json::to_value(&terms).unwrap();
    assert_eq!(written["sessions"], json!({ "record": "required", "idle": "10m" }));
    let says = terms.sentences().into_iter().find(|(word, _)| *word == "record").unwrap().1;
    assert_eq!(
        says,
        "each request, and what exec and attach print, but not what is typed; a session without a byte for 10m ends"
    );
}

/// Whom messages reach, and what none of them has, is part of the terms; a rule that says nothing writes nothing.
#[test]
fn the_rule_says_who_is_told_and_what_is_not() {
    let said = |rule: &str| {
        let terms = Moment::usual().terms(&read(&with(rule)), &ask());
        let written = serde_json::to_value(&terms).unwrap();
        assert_eq!(serde_json::from_value::<Terms>(written.clone()).unwrap(), terms);
        let sentence = |key: &str| terms.sentences().into_iter().find(|(word, _)| *word == key).map(|(_, said)| said);
        (written.get("telling").cloned(), sentence("notify").unwrap(), sentence("private"))
    };
    let (written, told, private) = said("");
    assert_eq!((written, private), (None, None));
    assert!(told.ends_with(" to answer; the requester of what becomes of it"), "{told}");
    let fields = "fields: [{name: patient, type: text, private: true}, {name: ticket, type: text}]";
    let (written, told, private) = said(&format!("notify: [owners, sre]\n{fields}"));
    assert_eq!(written.unwrap(), json!({ "notify": ["owners", "sre"], "private": ["patient"] }));
    assert!(told.ends_with("of what becomes of it; owners, sre to know"), "{told}");
    assert_eq!(private.unwrap(), "no message has the value of patient");
}

/// What is refused: what the guardrails say for every rule, then what the rule says. All of it is shown, and compared.
#[test]
fn a_guardrail_refuses_more_than_the_rule() {
    let rule = "refuse: [{name: only-psql, exec: {except: ['psql( .*)?', pg_dump]}}, {name: no-copy, copy: true}]";
    let guardrails =
        "refuse:\n- {name: only-web, portForward: {except: [8080, 8443]}}\n- {name: by-name, deleteCollection: true}\n";
    let refused = |policy: &Policy| {
        let terms = Moment::usual().terms(policy, &ask());
        terms.sessions.refuse.iter().map(|one| one.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(refused(&read(&with(rule))), ["only-psql", "no-copy"]);
    let policy = guarded(&with(rule), guardrails);
    assert_eq!(refused(&policy), ["only-web", "by-name", "only-psql", "no-copy"]);
    assert_eq!(refused(&guarded(&with(""), guardrails)), ["only-web", "by-name"]);
    let terms = Moment::usual().terms(&policy, &ask());
    assert!(terms.sessions.need_gateway() && !terms.sessions.follow_sessions());
    let written = serde_json::to_value(&terms).unwrap();
    assert_eq!(
        written["sessions"]["refuse"][0],
        json!({ "name": "only-web", "refuses": { "portForward": { "except": [8080, 8443] } } })
    );
    assert_eq!(serde_json::from_value::<Terms>(written).unwrap(), terms);
    let says: Vec<_> =
        terms.sentences().into_iter().filter(|(word, _)| *word == "refuse").map(|(_, says)| says).collect();
    assert_eq!(says.len(), 4);
    assert!(
        says[2].starts_with(
            "`only-psql`: exec of any command but `psql( .*)?` or `pg_dump`, attach, and debug containers; not what"
        ),
        "{says:?}"
    );
    let (offers, _) = policy.entitlements(&alice());
    assert_eq!(offers[0].sessions.refuse.len(), 4);
    let changed = diff(&read(&with("")), &policy);
    assert_eq!(changed.cells.len(), 1, "{changed:?}");
    assert!(changed.cells[0].now[0].terms["refuse"].contains("`no-copy`: exec of a command with the word `tar`"));
    assert_eq!(changed.settings.iter().map(|one| one.key).collect::<Vec<_>>(), ["guardrails.refuse"]);
}

#[test]
fn a_refusal_that_says_nothing_or_twice_the_same_name_is_a_mistake() {
    let told = |refuse: &str, guardrails: Option<&str>| -> Vec<String> {
        let faults = Policy::read(&with(&format!("refuse: [{refuse}]")), guardrails).err().unwrap_or_default();
        faults.iter().map(|fault| format!("{}: {}", fault.path, fault.why)).collect()
    };
    for (refuse, path, why) in [
        ("{name: a}", "rules[0].refuse[0]", "has none of"),
        ("{copy: true}", "rules[0].refuse[0]", "`name` is missing"),
        ("{name: a, copy: false}", "rules[0].refuse[0].copy", "only `true`"),
        ("{name: a, copy: true, deleteCollection: true}", "rules[0].refuse[0].deleteCollection", "only one of"),
        ("{name: a, exec: {}}", "rules[0].refuse[0].exec", "`except` is missing"),
        ("{name: a, exec: {except: []}}", "rules[0].refuse[0].exec.except", "is empty"),
        ("{name: a, exec: {except: ['(']}}", "rules[0].refuse[0].exec.except[0]", "is not a regular expression"),
        ("{name: a, portForward: {except: [0]}}", "rules[0].refuse[0].portForward.except[0]", "is out of range"),
        ("{name: a, portForward: {except: [65536]}}", "rules[0].refuse[0].portForward.except[0]", "is out of range"),
        ("{name: a, command: x}", "rules[0].refuse[0].command", "is unknown"),
        ("{name: a, copy: true}, {name: a, copy: true}", "rules[0].refuse[1].name", "another one has the name `a`"),
    ] {
        let told = told(refuse, None);
        assert!(
            told.iter()
                .any(|one| one.starts_with(&format!("{path}: {why}")) || one.starts_with(path) && one.contains(why)),
            "{refuse}: {told:?}"
        );
    }
    let of_guardrails = told("{name: a, copy: true}", Some("refuse: [{name: a, copy: true}]\n"));
    assert_eq!(of_guardrails, ["rules[0].refuse[0].name: another one has the name `a`"]);
    let long = |name: &str| format!("{{name: {name}, exec: {{except: [{0}, {0}]}}}}", "x".repeat(495));
    let of_guardrails = format!("refuse: [{}]\n", long("a"));
    assert_eq!(told(&long("b"), None), [""; 0]);
    let too_long = ["rules[0].refuse: takes more than 2048 bytes as JSON, together with that of the guardrails"];
    assert_eq!(told(&long("b"), Some(&of_guardrails)), too_long);
    assert_eq!(told(&format!("{}, {}, {}", long("a"), long("b"), long("c")), None), too_long);
}

/// A promise that nothing could keep is a mistake of the file, and so is one of a guardrail.
#[test]
fn a_rule_promises_no_recording_where_nothing_records() {
    let ways =
        BTreeMap::from([("prod".parse().unwrap(), Way::Directly), ("managed".parse().unwrap(), Way::ThroughGateway)]);
    let told = |keys: &str, guardrails: Option<&str>| -> Vec<String> {
        let faults = Policy::read_for(&with(keys), guardrails, &ways).err().unwrap_or_default();
        faults.iter().map(|fault| format!("{}: {}", fault.path, fault.why)).collect()
    };
    let directly =
        |key: &str| format!("rules[0].{key}: people reach cluster `prod` directly, where nothing could carry this out");
    assert_eq!(told("record: metadata", None), [""; 0]);
    assert_eq!(told("record: off", None), [""; 0]);
    let all = told("record: required\nrecordInput: true\nidle: 5m\nclusters: [managed, prod]", None);
    let mut expected = ["record", "recordInput", "idle"].map(directly);
    expected.sort();
    let mut all = all;
    all.sort();
    assert_eq!(all, expected);
    assert_eq!(told("record: required\nrecordInput: true\nidle: 5m\nclusters: [managed]", None), [""; 0]);
    let required = "rules[0].clusters[0]: the guardrails require recordings, but nothing records in cluster `prod`";
    assert_eq!(told("", Some("record: required\n")), [required]);
    assert_eq!(told("clusters: [managed]", Some("record: required\n")), [""; 0]);
    let copy = "refuse: [{name: a, copy: true}]";
    assert_eq!(told(copy, None), [directly("refuse")]);
    assert_eq!(told("refuse: []", None), [""; 0]);
    assert_eq!(told(&format!("{copy}\nclusters: [managed]"), None), [""; 0]);
    let refuses = "rules[0].clusters[0]: the guardrails refuse requests, but nothing sees those in cluster `prod`";
    assert_eq!(told("", Some(&format!("{copy}\n"))), [refuses]);
}

#[test]
fn each_guardrail_refuses_and_allows() {
    let policy = guarded(
        &with("namespaces: [\"*\"]\nroles: [view, edit]"),
        "maxDuration: 1h\nnever: {roles: [\"*admin*\"], namespaces: [\"kube-*\"]}\n",
    );
    let moment = Moment::usual();
    let asked = |name: &str| AccessRequest { scope: namespaces(&[name]), ..ask() };
    assert!(moment.denial(&policy, &asked("kube-dns")).why.contains("`kube-*`"));
    assert_eq!(moment.terms(&policy, &asked("kube")).rule, "payments");

    let risky = Moment { rules: vec![rbac(&["*"], &["*"])], ..Moment::usual() };
    let strict = guarded(&with(""), "maxRisk: low\n");
    let refusal = risky.denial(&strict, &ask());
    assert_eq!(refusal.code, Code::Guardrail);
    assert!(refusal.why.contains("`maxRisk`") && refusal.why.contains("the maximum is low"), "{}", refusal.why);
    assert!(could_be_asked(&strict, &alice(), &ask(), now(), Usage::default()).is_ok(), "nobody knows the risk yet");
    assert_eq!(moment.terms(&strict, &ask()).rule, "payments");
    assert_eq!(risky.terms(&guarded(&with(""), "maxRisk: unclassified\n"), &ask()).rule, "payments");
}

/// What an administrator has classified is no longer refused as unclassified, and counts with that severity.
#[test]
fn classified_rights_are_granted_up_to_their_severity() {
    let asked = |severity: &str, max_risk: &str, verbs: &[&str]| {
        let guardrails = format!(
            "maxRisk: {max_risk}\nclassify: [{{group: example.com, resources: [widgets], verbs: [get], severity: {severity}, reason: no secrets}}]\n"
        );
        let policy = guarded(&with(""), &guardrails);
        let widgets = role::Rule { api_groups: vec!["example.com".to_owned()], ..rbac(&["widgets"], verbs) };
        let around = risk::Surroundings { classified: policy.classified(), ..risk::Surroundings::ordinary(None) };
        let assessment = risk::assess(&[widgets], &ask().scope, &around);
        let labels = Labels::new();
        let known = Circumstances { now: now(), labels: &labels, assessment: &assessment, usage: Usage::default() };
        match decide(&policy, &alice(), &ask(), &known) {
            Decision::Ask(_) => None,
            Decision::Deny(denial) => Some(denial.refusal().code),
        }
    };
    assert_eq!(asked("low", "critical", &["get"]), None);
    assert_eq!(asked("critical", "medium", &["get"]), Some(Code::Guardrail));
    assert_eq!(asked("low", "critical", &["get", "list"]), Some(Code::Guardrail), "nobody classified list");
}

/// A class of risk adds its step once, also to a pre-approved rule and to the review of break-glass.
#[test]
fn a_risk_adds_its_step() {
    let exec = Moment { rules: vec![rbac(&["pods/exec"], &["create"])], ..Moment::usual() };
    let by_id = "risks: [{ids: [E25], step: {groups: [security]}}]\n";
    let by_severity = "risks: [{severity: low, step: {groups: [security]}}]\n";
    let glass = "\nbreakGlass: {after: 0s, maxDuration: 5m, review: {groups: [owners], within: 4h}}";
    let by_both = "risks: [{ids: [E25], step: {groups: [security]}}, {severity: low, step: {groups: [security]}}]
";
    for guardrails in [by_id, by_severity, by_both] {
        let policy = guarded(&with(&format!("drift: warn{glass}")), guardrails);
        let terms = exec.terms(&policy, &ask());
        assert_eq!(terms.groups(), ["leads", "security"], "{guardrails}");
        assert!(terms.steps[1].guardrail.as_ref().unwrap().starts_with("risk "));
        let review = terms.break_glass.unwrap().review;
        assert_eq!(review.steps.iter().map(|step| step.groups[0].as_str()).collect::<Vec<_>>(), ["owners", "security"]);
        assert_eq!(Moment::usual().terms(&policy, &ask()).groups(), ["leads"], "{guardrails}");
        let free = guarded(&with("preApproved: true\napproval: -"), guardrails);
        assert_eq!(exec.terms(&free, &ask()).groups(), ["security"]);
        let there = guarded(&with("approval: [{groups: [security], count: 2}]"), guardrails);
        assert_eq!(exec.terms(&there, &ask()).steps.len(), 1, "whoever meets the rule's step meets it too");
    }
}

// ---- who has to agree ----

fn step(groups: &[&str], count: u32) -> Step {
    Step { groups: groups.iter().map(ToString::to_string).collect(), count, hours: None, guardrail: None }
}

fn yes(by: &str, groups: &[&str]) -> Yes {
    Yes { by: by.parse().unwrap(), login: None, groups: groups.iter().map(ToString::to_string).collect(), at: now() }
}

/// A person counts in one step only, and in another one if that satisfies more steps.
#[test]
fn a_person_counts_in_one_step_only() {
    let (leads, security) = (step(&["leads"], 1), step(&["security"], 1));
    let both = [leads.clone(), security.clone()];
    let missing = |steps: &[Step], agreed: &[Yes]| unmet(steps, agreed).iter().map(|(_, people)| *people).sum::<u32>();
    let table: &[(&[Step], &[Yes], u32)] = &[
        (&[], &[], 0),
        (&both, &[], 2),
        (&both, &[yes("bob", &["leads", "security"])], 1),
        (&both, &[yes("bob", &["leads", "security"]), yes("carol", &["leads"])], 0),
        (&both, &[yes("carol", &["leads"]), yes("bob", &["leads", "security"])], 0),
        (&both, &[yes("bob", &["leads"]), yes("carol", &["leads"])], 1),
        (&both, &[yes("bob", &["leads", "security"]), yes("bob", &["leads", "security"])], 1),
        (&[step(&["leads", "security"], 2)], &[yes("bob", &["leads", "security"])], 1),
        (
            &[step(&["leads"], 2), security],
            &[yes("bob", &["leads", "security"]), yes("carol", &["leads", "security"]), yes("dave", &["leads"])],
            0,
        ),
        (&[leads], &[yes("dave", &["other"])], 1),
    ];
    for (number, (steps, agreed, people)) in table.iter().enumerate() {
        assert_eq!(missing(steps, agreed), *people, "{number}");
    }
}

proptest! {
    /// The matching is the largest there is: as many as trying every way to seat people finds.
    #[test]
    fn no_yes_is_wasted(steps in proptest::collection::vec((0_u8..8, 1_u32..3), 0..4), people in proptest::collection::vec(0_u8..8, 0..6)) {
        let names = ["leads", "security", "owners"];
        let groups = |bits: u8| names.iter().enumerate().filter(|(bit, _)| bits >> bit & 1 == 1).map(|(_, name)| *name).collect::<Vec<_>>();
        let steps: Vec<Step> = steps.into_iter().map(|(bits, count)| step(&groups(bits), count)).collect();
        let agreed: Vec<Yes> = people.into_iter().enumerate().map(|(number, bits)| yes(&format!("p{number}"), &groups(bits))).collect();
        let missing: u32 = unmet(&steps, &agreed).iter().map(|(_, people)| *people).sum();
        let mut free: Vec<u32> = steps.iter().map(|step| step.count).collect();
        let wanted: u32 = free.iter().sum();
        prop_assert_eq!(missing, wanted - seat_most(&steps, &agreed, &mut free));
    }
}

fn seat_most(steps: &[Step], agreed: &[Yes], free: &mut Vec<u32>) -> u32 {
    let Some((first, rest)) = agreed.split_first() else { return 0 };
    let mut best = seat_most(steps, rest, free);
    for number in 0..steps.len() {
        if free[number] > 0 && steps[number].counts(first) {
            free[number] -= 1;
            best = best.max(1 + seat_most(steps, rest, free));
            free[number] += 1;
        }
    }
    best
}

/// Hours follow the wall clock of the zone, also on days with a change of daylight saving time, and over midnight.
#[test]
fn hours_are_those_of_the_wall_clock() {
    let hours = |days: &str, from: &str, to: &str, zone: &str| -> Hours {
        let days: Vec<&str> = days.split(' ').collect();
        serde_json::from_value(json!({ "days": days, "from": from, "to": to, "zone": zone })).unwrap()
    };
    let office = hours("mon tue wed thu fri", "08:00", "18:00", "Europe/Berlin");
    let night = hours("fri", "22:00", "06:00", "Europe/Berlin");
    let all_day = hours("sun", "00:00", "24:00", "Europe/Berlin");
    let table = [
        (&office, "2026-11-24T07:00:00Z", true),
        (&office, "2026-11-24T06:59:59Z", false),
        (&office, "2026-11-24T16:59:59Z", true),
        (&office, "2026-11-24T17:00:00Z", false),
        // In summer an hour earlier.
        (&office, "2026-07-21T06:00:00Z", true),
        (&office, "2026-07-21T16:00:00Z", false),
        (&office, "2026-11-22T10:00:00Z", false),
        (&night, "2026-11-27T21:00:00Z", true),
        (&night, "2026-11-28T04:59:59Z", true),
        (&night, "2026-11-28T05:00:00Z", false),
        (&night, "2026-11-28T21:30:00Z", false),
        (&night, "2026-11-27T03:00:00Z", false),
        // The clock is put forward on 29 March and back on 25 October 2026: 23 and 25 hours long.
        (&all_day, "2026-03-28T23:00:00Z", true),
        (&all_day, "2026-03-29T21:59:59Z", true),
        (&all_day, "2026-03-29T22:00:00Z", false),
        (&all_day, "2026-10-24T22:00:00Z", true),
        (&all_day, "2026-10-25T22:59:59Z", true),
        (&all_day, "2026-10-25T23:00:00Z", false),
    ];
    for (hours, moment, inside) in table {
        assert_eq!(hours.contain(moment.parse().unwrap()), inside, "{hours} at {moment}");
    }
    assert_eq!(office.to_string(), "mon-fri 08:00-18:00 Europe/Berlin");
    assert_eq!(hours("mon wed", "08:00", "09:00", "UTC").to_string(), "mon,wed 08:00-09:00 UTC");
    let outside = Step { hours: Some(night), ..step(&["leads"], 1) };
    assert_eq!(unmet(&[outside], &[yes("bob", &["leads"])]).len(), 1);
}

#[test]
fn a_glob_matches_the_whole_name() {
    let table = [
        ("*", "", true),
        ("*", "a", true),
        ("a*", "a", true),
        ("a*c", "abbc", true),
        ("a*c", "abcd", false),
        ("?", "", false),
        ("a?c", "abc", true),
        ("*a*b*", "xxaxxbxx", true),
        ("*a*b", "ab-b", true),
        ("a", "ab", false),
        ("**", "x", true),
    ];
    for (glob, text, fits) in table {
        assert_eq!(glob.parse::<Glob>().unwrap().is_match(text), fits, "{glob} {text}");
    }
    let slow = "*a".repeat(60).parse::<Glob>().unwrap();
    assert!(!slow.is_match(&"a".repeat(59)), "and it takes no time");
}

// ---- what holds for every policy ----

/// Rules, denials and requests with a small vocabulary, so that they often match.
fn arbitrary_rules() -> impl Strategy<Value = String> {
    let rule = (
        proptest::sample::subsequence(vec!["oncall", "other"], 1..=2),
        proptest::sample::subsequence(
            vec!["payments", "\"*\"", "\"team-?\"", "{labels: \"env!=prod\"}", "shop"],
            1..=3,
        ),
        proptest::sample::subsequence(vec!["view", "edit", "role/local"], 1..=3),
        prop_oneof![Just("5m"), Just("10m"), Just("24h")],
        any::<bool>(),
        prop_oneof![Just(""), Just(", reason: \"^INC-\""), Just(", startWithin: 1h")],
    );
    proptest::collection::vec(rule, 0..5).prop_map(|rules| {
        rules.iter().enumerate().fold("rules:\n".to_owned(), |mut text, (number, (who, places, roles, longest, free, more))| {
            let approval = if *free { "preApproved: true" } else { "approval: [{groups: [leads]}]" };
            writeln!(text, "- {{name: r{number}, who: [{}], clusters: [prod], namespaces: [{}], roles: [{}], maxDuration: {longest}, {approval}{more}}}", who.join(", "), places.join(", "), roles.join(", ")).unwrap();
            text
        })
    }).prop_map(|text| if text == "rules:\n" { "rules: []\n".to_owned() } else { text })
}

fn arbitrary_ask() -> impl Strategy<Value = AccessRequest> {
    (
        proptest::sample::subsequence(vec!["payments", "shop", "team-a", "kube-system"], 1..=3),
        prop_oneof![Just("view"), Just("edit"), Just("role/local"), Just("cluster-admin")],
        prop_oneof![Just("1m"), Just("10m"), Just("8h")],
        prop_oneof![Just("INC-42 queue stuck"), Just("because")],
        prop_oneof![Just(None), Just(Some(60_i64)), Just(Some(7200))],
        proptest::bool::weighted(0.1),
    )
        .prop_map(|(names, role, window, reason, ahead, whole)| AccessRequest {
            scope: if whole { Scope::Cluster } else { namespaces(&names) },
            access: Access::Role(role.parse().unwrap()),
            window: window.parse().unwrap(),
            reason: reason.parse().unwrap(),
            start: ahead.map(|seconds| now() + jiff::SignedDuration::from_secs(seconds)),
            ..ask()
        })
}

fn arbitrary_moment() -> impl Strategy<Value = Moment> {
    let rules =
        prop_oneof![Just(Vec::new()), Just(vec![rbac(&["pods/exec"], &["create"])]), Just(vec![rbac(&["*"], &["*"])])];
    let known = proptest::sample::subsequence(vec!["payments", "shop", "team-a"], 0..=3);
    (rules, known, any::<bool>()).prop_map(|(rules, known, prod)| {
        let env = if prod { "prod" } else { "test" };
        let known: Vec<_> = known.into_iter().map(|name| (name, [("env", env)])).collect();
        let labels = labels(&known.iter().map(|(name, labels)| (*name, labels.as_slice())).collect::<Vec<_>>());
        Moment { labels, rules, ..Moment::usual() }
    })
}

impl std::fmt::Debug for Moment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {:?}", self.labels, self.rules)
    }
}

const DENIALS: &[&str] = &[
    "",
    ", who: [oncall]",
    ", namespaces: [payments]",
    ", namespaces: [{labels: \"env=prod\"}]",
    ", roles: [edit]",
    ", clusterWide: true",
];

proptest! {
    /// The same question has the same answer.
    #[test]
    fn a_decision_depends_on_nothing_else(rules in arbitrary_rules(), asked in arbitrary_ask(), moment in arbitrary_moment()) {
        let first = moment.decide(&read(&rules), &alice(), &asked);
        prop_assert_eq!(first, moment.decide(&read(&rules), &alice(), &asked));
    }

    /// Whatever the rules say, what a guardrail forbids is not asked of anyone, and its steps are.
    #[test]
    fn guardrails_win_over_any_rules(rules in arbitrary_rules(), asked in arbitrary_ask(), moment in arbitrary_moment()) {
        let policy = guarded(&rules.replace("24h", "4h"), "maxDuration: 4h\nmaxRisk: high\nnever: {namespaces: [kube-system, shop2]}\nrisks: [{severity: low, step: {groups: [security]}}]\n");
        if let Decision::Ask(terms) = moment.decide(&policy, &alice(), &asked) {
            let assessment = risk::assess(&moment.rules, &asked.scope, &risk::Surroundings::ordinary(None));
            prop_assert!(asked.window.seconds() <= 4 * 3600);
            prop_assert!(asked.scope.namespaces().iter().all(|name| name.as_str() != "kube-system"));
            prop_assert!(assessment.worst().is_none_or(|worst| worst <= risk::Severity::High));
            prop_assert!(assessment.worst().is_none() || terms.groups().contains(&"security"));
            prop_assert!(!asked.scope.namespaces().is_empty() || terms.steps.iter().map(|step| step.count).sum::<u32>() >= 2);
        }
    }

    /// One more denial never makes possible what was not, and never asks fewer people.
    #[test]
    fn a_denial_never_grants(rules in arbitrary_rules(), asked in arbitrary_ask(), moment in arbitrary_moment(), which in 0..DENIALS.len()) {
        let before = moment.decide(&read(&rules), &alice(), &asked);
        let denied = read(&format!("{rules}deny: [{{name: freeze, why: not now{}}}]\n", DENIALS[which]));
        match moment.decide(&denied, &alice(), &asked) {
            // That the labels stay as they are is asked for once more.
            Decision::Ask(terms) => match before {
                Decision::Ask(before) => prop_assert_eq!(Terms { labelled: None, ..terms }, Terms { labelled: None, ..before }),
                Decision::Deny(denial) => prop_assert!(false, "{:?}", denial),
            },
            Decision::Deny(_) => {}
        }
    }

    /// Less of what may be asked may be asked too: fewer namespaces, a shorter time.
    #[test]
    fn less_of_an_allowed_ask_is_allowed(rules in arbitrary_rules(), asked in arbitrary_ask(), moment in arbitrary_moment(), kept in 0_usize..3) {
        let policy = read(&rules);
        if let Decision::Ask(_) = moment.decide(&policy, &alice(), &asked) {
            let names: Vec<&str> = asked.scope.namespaces().iter().map(Namespace::as_str).collect();
            let scope = names.get(kept).map_or(asked.scope.clone(), |name| namespaces(&[name]));
            let narrower = AccessRequest { scope, window: "5s".parse().unwrap(), ..asked };
            prop_assert!(matches!(moment.decide(&policy, &alice(), &narrower), Decision::Ask(_)));
        }
    }

    /// What is denied before the cluster is asked is denied whatever the cluster says.
    #[test]
    fn an_early_no_is_a_no(rules in arbitrary_rules(), asked in arbitrary_ask(), moment in arbitrary_moment(), which in 0..DENIALS.len()) {
        let policy = read(&format!("{rules}deny: [{{name: freeze, why: not now, clusters: [prod]{}}}]\n", DENIALS[which]));
        if could_be_asked(&policy, &alice(), &asked, now(), Usage::default()).is_err() {
            prop_assert!(matches!(moment.decide(&policy, &alice(), &asked), Decision::Deny(_)));
        }
    }

    /// Any text is read or told to be wrong, and nothing else happens.
    #[test]
    fn any_text_is_read_or_told_wrong(text in "[-a-z:\\[\\]{}\"'&*!|>#%@, \n?0-9]{0,80}") {
        for faults in [Policy::read(&text, None).err(), Policy::read("rules: []", Some(&text)).err()].into_iter().flatten() {
            prop_assert!(!faults.is_empty() && faults.iter().all(|fault| fault.line > 0 && fault.column > 0 && !fault.why.is_empty() && !fault.hint.is_empty()));
        }
    }
}

mod code;
mod entitlements;
mod files;
