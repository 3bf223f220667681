//! The life of a grant as a table: every event in every phase, and what an approval is worth.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use jiff::{SignedDuration, Timestamp};

use super::approval::{self, Facts};
use super::digest;
use super::glass::{self, Verdict};
use super::policy::{self, Circumstances, Decision, Labels, Policy, Terms, Usage};
use super::refusal::{Code, Refusal};
use super::request::{
    Access, AccessRequest, KeyHash, Login, Namespace, Namespaces, Person, PersonName, ProviderLogin, Scope,
};
use super::*;
use crate::rbac::risk::{self, Assessment};
use crate::rbac::role::{ResolvedRole, Rule};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn id() -> GrantId {
    GrantId::from_random([7; 10])
}

pub(super) fn person(name: &str, groups: &[&str]) -> Person {
    Person { name: name.parse().unwrap(), groups: groups.iter().map(ToString::to_string).collect(), login: None }
}

fn ask() -> AccessRequest {
    AccessRequest {
        cluster: "play".parse().unwrap(),
        scope: "payments".parse::<Namespace>().unwrap().into(),
        access: Access::Role("view".parse().unwrap()),
        fields: BTreeMap::new(),
        start: None,
        window: "10m".parse().unwrap(),
        reason: "INC-42".parse().unwrap(),
    }
}

/// A request may begin now or later; a minute is for clocks that differ.
#[test]
fn a_request_does_not_begin_in_the_past() {
    let starting = |start: Option<i64>| AccessRequest { start: start.map(at), ..ask() }.begins_in_time(at(100));
    for start in [None, Some(40), Some(100), Some(4000)] {
        assert_eq!(starting(start), Ok(()), "{start:?}");
    }
    let refused = starting(Some(39)).unwrap_err();
    assert!(refused.code == Code::PolicyDenied && refused.why.ends_with("is in the past"), "{refused:?}");
}

fn key() -> KeyHash {
    KeyHash::of(b"alice's")
}

pub(super) fn role(verb: &str) -> ResolvedRole {
    let rule = Rule {
        api_groups: vec![String::new()],
        resources: vec!["pods".into()],
        verbs: vec![verb.into()],
        ..Rule::default()
    };
    ResolvedRole::new("uid-1".into(), vec![rule])
}

/// What the policy below says to the ask above.
fn terms(count: u32) -> Terms {
    match policy::decide(&policy(count), &person("alice", &["oncall"]), &ask(), &circumstances(0)) {
        Decision::Ask(terms) => terms,
        Decision::Deny(denial) => panic!("{denial:?}"),
    }
}

fn shown(verb: &str) -> Shown {
    let role = role(verb);
    Shown {
        assessment: risk::assess(role.rules(), &ask().scope, &risk::Surroundings::ordinary(None)),
        role,
        together: Vec::new(),
        holds: Vec::new(),
        holds_more: 0,
        denied: None,
        namespaces: BTreeMap::from([("payments".parse().unwrap(), "uid-ns".to_owned())]),
    }
}

/// The namespace of the ask as a cluster has it.
fn found(uid: &str) -> BTreeMap<Namespace, FoundNamespace> {
    let found = FoundNamespace { uid: uid.to_owned(), labels: BTreeMap::new() };
    BTreeMap::from([("payments".parse().unwrap(), found)])
}

fn circumstances(second: i64) -> Circumstances<'static> {
    static LABELS: Labels = Labels::new();
    static NONE: LazyLock<Assessment> =
        LazyLock::new(|| risk::assess(&[], &ask().scope, &risk::Surroundings::ordinary(None)));
    Circumstances { now: at(second), labels: &LABELS, assessment: &NONE, usage: Usage::default() }
}

fn policy(count: u32) -> Policy {
    let written = format!(
        "rules: [{{name: payments, who: [oncall], clusters: [play], namespaces: [payments], roles: [view], \
         maxDuration: 10m, approval: [{{groups: [leads], count: {count}}}]}}]"
    );
    Policy::read(&written, None).unwrap()
}

fn fact(event: Event) -> Fact {
    let by = match event {
        Event::Reviewed { closes: true, .. } => "carol",
        Event::Reviewed { .. } => "bob",
        _ => "alice",
    };
    by_person(&person(by, &[]), 0, event)
}

fn by_person(by: &Person, second: i64, event: Event) -> Fact {
    Author::from(by).fact(at(second), Some(id()), event)
}

fn requested(count: u32) -> Grant {
    with_terms(terms(count))
}

/// Only what is the same in both is had once, so nothing of the grant is another.
#[test]
fn sharing_changes_nothing() {
    for other in [requested(1), requested(2), glassy()] {
        let (before, mut grant) = (requested(1), requested(1));
        grant.share(&other);
        assert_eq!(grant, before);
        assert_eq!(Arc::ptr_eq(&grant.terms, &other.terms), other.terms == before.terms);
        assert!(Arc::ptr_eq(&grant.role_uid, &other.role_uid));
    }
}

/// A request whose rule lets the glass be broken after a minute, for five, reviewed by two.
fn glassy() -> Grant {
    let requester = person("alice", &["oncall"]);
    match policy::decide(&glass_policy("5m"), &requester, &ask(), &circumstances(0)) {
        Decision::Ask(terms) => with_terms(terms),
        Decision::Deny(denial) => panic!("{denial:?}"),
    }
}

fn glass_policy(most: &str) -> Policy {
    let written = format!(
        "rules: [{{name: payments, who: [oncall], clusters: [play], namespaces: [payments], roles: [view], \
         maxDuration: 10m, approval: [{{groups: [leads]}}], breakGlass: {{after: 1m, maxDuration: {most}, \
         review: {{groups: [security], count: 2, within: 1h}}}}}}]"
    );
    Policy::read(&written, None).unwrap()
}

fn with_terms(terms: Terms) -> Grant {
    let requester = person("alice", &["oncall"]);
    Grant::begin(&fact(Event::Requested(Box::new(Requested {
        digest: digest::of_request(&id(), &requester.name, &ask(), &key(), &shown("get"), &SessionTerms::default()),
        ask: ask(),
        key: key(),
        shown: shown("get"),
        decided_on: DecidedOn::default(),
        terms,
        pending_until: at(3600),
    }))))
    .unwrap()
}

/// One event of every kind that is about a grant.
fn every_event() -> Vec<Event> {
    let digest = "d".repeat(64);
    vec![
        Event::Agreed { digest: digest.clone(), groups: BTreeSet::new() },
        Event::Approved { digest, groups: BTreeSet::new(), collect_until: at(600) },
        Event::Denied { reason: "no".into() },
        Event::Withdrawn,
        Event::Lapsed { clock: Clock::Pending },
        Event::Lapsed { clock: Clock::Collect },
        Event::Refused { action: "approve".into(), code: "self-approval".into() },
        Event::IssueIntended { serial: "01".into(), tbs_sha256: "02".into(), not_before: at(0), not_after: at(60) },
        Event::Issued { serial: "01".into(), leaf_sha256: "03".into() },
        Event::BindIntended { binding: "jit-x".into(), gateway: None, impersonation: Impersonation::default() },
        Event::Bound { uids: vec!["u".into()] },
        Event::Live { until: at(600) },
        Event::UnbindIntended { why: EndCause::Expired, reason: None },
        Event::Ended { why: EndCause::Expired, proof: EndProof::Denied, reason: None, cut: None, log: None },
        Event::Ended { why: EndCause::Failed, proof: EndProof::NeverBound, reason: None, cut: None, log: None },
        Event::Narrowed(Box::new(Narrowed { ask: ask(), shown: shown("get"), digest: "e".repeat(64) })),
        Event::BindingAltered { found: "x".into() },
        Event::RoleChanged { found: "x".into() },
        Event::ExtensionAsked {
            window: "5m".parse().unwrap(),
            reason: "more".parse().unwrap(),
            digest: "f".repeat(64),
            pending_until: at(500),
        },
        Event::ExtensionAgreed { digest: "f".repeat(64), groups: BTreeSet::new() },
        Event::Extended { digest: "f".repeat(64), groups: BTreeSet::new(), until: at(900) },
        Event::ExtensionDenied { reason: "no".into() },
        Event::GlassBroken {
            reason: "nobody answers".parse().unwrap(),
            window: "5m".parse().unwrap(),
            digest: "g".repeat(64),
            collect_until: at(600),
            review_until: at(3600),
        },
        reviewed(false),
        reviewed(true),
        Event::CollectionFailed { why: "exceeded quota".into() },
        part_unbind_intended("payments"),
        part_ended("payments", EndProof::NeverBound),
        part_ended("payments", EndProof::Denied),
        Event::Reassessed(Box::new(approval::reassess(&requested(1), shown_together()))),
        Event::Logged { lines: 1, sha256: "a".repeat(64) },
        Event::LogContradicted { lines: 1, sha256: "a".repeat(64), before: log_head(2) },
    ]
}

fn log_head(lines: u64) -> LogHead {
    LogHead { lines, sha256: "a".repeat(64) }
}

fn part_unbind_intended(namespace: &str) -> Event {
    Event::PartUnbindIntended { namespace: namespace.parse().unwrap(), why: "it is gone".into() }
}

fn part_ended(namespace: &str, proof: EndProof) -> Event {
    Event::PartEnded { namespace: namespace.parse().unwrap(), why: "it is gone".into(), proof }
}

/// What arises only with another grant of the same person.
fn shown_together() -> Shown {
    let together =
        risk::assess(role("*").rules(), &Scope::Cluster, &risk::Surroundings::ordinary(None)).findings().to_vec();
    Shown { together, ..shown("get") }
}

/// A review of the broken glass above; only the one by carol is the second.
fn reviewed(closes: bool) -> Event {
    Event::Reviewed {
        digest: "g".repeat(64),
        groups: BTreeSet::from(["security".to_owned()]),
        verdict: Verdict::Justified,
        words: "fine".parse().unwrap(),
        closes,
        decides: false,
    }
}

/// A grant brought to a point of its life by the events that lead there.
pub(super) fn brought_to(point: &str) -> Grant {
    let path: &[usize] = match point {
        "pending" => &[],
        "approved" => &[1],
        "collecting" => &[1, 7, 8],
        "bind intended" => &[1, 7, 8, 9],
        "bound" => &[1, 7, 8, 9, 10],
        "live" => &[1, 7, 8, 9, 10, 11],
        "asked for more" => &[1, 7, 8, 9, 10, 11, 18],
        "extended" => &[1, 7, 8, 9, 10, 11, 18, 19, 20],
        "ending" => &[1, 7, 8, 9, 10, 11, 12],
        "ended" => &[1, 7, 8, 9, 10, 11, 12, 13],
        "denied" => &[2],
        "withdrawn" => &[3],
        "lapsed" => &[4],
        "broken" => &[22],
        "broken live" => &[22, 7, 8, 9, 10, 11],
        "broken ended" => &[22, 7, 8, 9, 10, 11, 12, 13],
        "broken denied" => &[22, 2],
        "reviewed live" => &[22, 7, 8, 9, 10, 11, 23, 24],
        "reviewed ended" => &[22, 7, 8, 9, 10, 11, 12, 13, 23, 24],
        _ => unreachable!(),
    };
    let begun = if point.starts_with("broken") || point.starts_with("reviewed") { glassy() } else { requested(1) };
    path.iter().fold(begun, |grant, step| grant.apply(&fact(every_event()[*step].clone())).unwrap())
}

/// What may follow where, all of it: whatever is not here is refused.
#[test]
fn only_these_events_may_follow() {
    let may: &[(&str, &[usize])] = &[
        ("pending", &[0, 1, 2, 3, 4, 6, 15, 29]),
        ("approved", &[3, 5, 6, 7, 14, 25]),
        ("collecting", &[6, 8, 9, 12, 14]),
        ("bind intended", &[6, 8, 10, 12]),
        ("bound", &[6, 8, 11, 12]),
        ("live", &[6, 7, 8, 12, 16, 17, 18, 30, 31]),
        ("asked for more", &[6, 7, 8, 12, 16, 17, 18, 19, 20, 21, 30, 31]),
        ("extended", &[6, 7, 8, 12, 16, 17, 18, 30, 31]),
        ("ending", &[6, 13, 30, 31]),
        ("ended", &[30, 31]),
        ("denied", &[]),
        ("withdrawn", &[]),
        ("lapsed", &[]),
        ("broken", &[2, 3, 5, 6, 7, 14, 23, 25]),
        ("broken live", &[6, 7, 8, 12, 16, 17, 18, 23, 30, 31]),
        ("broken ended", &[6, 23, 30, 31]),
        ("broken denied", &[6, 23]),
        ("reviewed live", &[6, 7, 8, 12, 16, 17, 18, 30, 31]),
        ("reviewed ended", &[30, 31]),
    ];
    for (point, legal) in may {
        let followed: Vec<usize> = every_event()
            .into_iter()
            .enumerate()
            .filter(|(_, event)| brought_to(point).apply(&fact(event.clone())).is_ok())
            .map(|(number, _)| number)
            .collect();
        assert_eq!(followed, *legal, "{point}");
    }
}

/// A grant in several namespaces ends in one of them with a proof of its own, never twice, and never in the last one.
#[test]
fn each_namespace_is_a_part_of_its_own() {
    let names = ["a", "b", "c"].map(|name| name.parse::<Namespace>().unwrap());
    let scope = Scope::Namespaces(Namespaces::try_from(names.to_vec()).unwrap());
    let approved = Grant { ask: Arc::new(AccessRequest { scope, ..ask() }), ..brought_to("approved") };
    let after = |grant: &Grant, events: &[Event]| {
        events
            .iter()
            .try_fold(grant.clone(), |grant, event| grant.apply(&fact(event.clone())).map_err(|error| error.event))
    };
    let held = |grant: &Grant| grant.held().map(ToString::to_string).collect::<Vec<_>>();
    let bound = |uids: &[&str]| Event::Bound { uids: uids.iter().map(ToString::to_string).collect() };
    let to_bind = &every_event()[7..10];

    let never = after(&approved, &[part_ended("a", EndProof::NeverBound)]).unwrap();
    assert_eq!(
        (held(&never), never.held_bindings().len(), never.bindings().len()),
        (vec!["b".into(), "c".into()], 2, 3)
    );
    assert_eq!(never.asked().scope.namespaces(), &names[1..]);
    let binding = after(&never, to_bind).unwrap();
    assert_eq!(after(&binding, &[bound(&["u-a", "u-b", "u-c"])]), Err("bound"), "one of them is no part any more");
    let live = after(&binding, &[bound(&["u-b", "u-c"]), every_event()[11].clone()]).unwrap();
    assert_eq!((live.uid_in(Some(&names[1])), live.uid_in(Some(&names[0]))), (Some("u-b"), None));
    assert_eq!(after(&live, &[part_ended("b", EndProof::NeverBound)]), Err("part_ended"), "it was bound");
    assert_eq!(after(&live, &[part_ended("b", EndProof::Denied)]), Err("part_ended"), "without its intent");
    assert_eq!(after(&live, &[part_unbind_intended("a")]), Err("part_unbind_intended"), "it is over already");
    let ending = after(&live, &[part_unbind_intended("b")]).unwrap();
    assert_eq!((held(&ending), ending.uid_in(Some(&names[1]))), (vec!["c".into()], Some("u-b")));
    assert_eq!(after(&ending, &[part_unbind_intended("c")]), Err("part_unbind_intended"), "the last one is the grant");
    let left = after(&ending, &[part_ended("b", EndProof::Denied)]).unwrap();
    assert_eq!((left.uid_in(Some(&names[1])), left.uid_in(Some(&names[2])), left.lost.len()), (None, Some("u-c"), 2));
    assert_eq!(after(&left, &[part_ended("b", EndProof::Denied)]), Err("part_ended"));
    let ended = after(&left, &every_event()[12..14]).unwrap();
    assert_eq!((ended.phase, held(&ended)), (Phase::Ended, vec!["c".into()]));
}

/// What nobody has agreed to yet is taken away by an operator, as revoked, and by nobody else.
#[test]
fn only_an_operator_takes_away_what_is_pending() {
    let ended = |why, proof| Event::Ended { why, proof, reason: Some("stolen laptop".into()), cut: None, log: None };
    let operator = Author::Operator(Operator { name: PersonName::root(), uid: 0, login: None });
    let person = Author::Person { name: PersonName::root(), login: None };
    let by = |author: &Author, event| requested(1).apply(&author.fact(at(0), Some(id()), event));
    let grant = by(&operator, ended(EndCause::Revoked, EndProof::NeverBound)).unwrap();
    assert_eq!((grant.phase, grant.end_cause, grant.deadline), (Phase::Ended, Some(EndCause::Revoked), None));
    assert_eq!((grant.closed_by, grant.closing_words.as_deref()), (Some(PersonName::root()), Some("stolen laptop")));
    assert!(by(&person, ended(EndCause::Revoked, EndProof::NeverBound)).is_err());
    assert!(by(&operator, ended(EndCause::Failed, EndProof::NeverBound)).is_err());
    assert!(by(&operator, ended(EndCause::Revoked, EndProof::Denied)).is_err());
}

#[test]
fn a_grant_begins_with_its_request_only() {
    for event in every_event() {
        assert!(Grant::begin(&fact(event)).is_err());
    }
    let mut nobody = fact(Event::Withdrawn);
    nobody.author = Author::Daemon;
    assert!(Grant::begin(&nobody).is_err());
}

/// Who agreed before more was known has agreed to something else.
#[test]
fn a_request_that_comes_to_more_is_agreed_to_anew() {
    let (bob, carol) = (person("bob", &["leads"]), person("carol", &["leads"]));
    let yes = |grant: &Grant, by: &Person, digest: &str| {
        let event = approval::approve(grant, by, digest, SignedDuration::from_mins(10), at(1))?;
        Ok::<Grant, Refusal>(grant.clone().apply(&by_person(by, 1, event)).unwrap())
    };
    let grant = requested(2);
    let before = grant.digest.to_string();
    let grant = yes(&grant, &bob, &before).unwrap();
    let event = Event::Reassessed(Box::new(approval::reassess(&grant, shown_together())));
    let grant = grant.apply(&fact(event)).unwrap();
    assert_eq!((grant.risk, grant.agreed.len()), (shown_together().worst(), 0));
    assert!(grant.risk > shown("get").worst());
    assert_eq!(yes(&grant, &carol, &before).unwrap_err().code, Code::DigestMismatch);
    let digest = grant.digest.to_string();
    let grant = yes(&grant, &carol, &digest).unwrap();
    assert_eq!(grant.phase, Phase::Pending);
    assert_eq!(yes(&grant, &bob, &digest).unwrap().phase, Phase::Approved);
}

/// What trails of before tell of other access is of access that works.
#[test]
fn other_access_of_an_earlier_trail_works() {
    let written = serde_json::json!({ "grant": id(), "scope": "cluster", "access": { "role": "view" } });
    let held: OtherGrant = serde_json::from_value(written.clone()).unwrap();
    assert_eq!(held.phase, Phase::Live);
    assert_eq!(serde_json::to_value(held).unwrap(), written);
}

/// A trail in which a request grows is refused.
#[test]
fn a_request_only_ever_gets_less() {
    let narrowed = |change: fn(&mut AccessRequest)| {
        let mut less = ask();
        change(&mut less);
        let event = Event::Narrowed(Box::new(Narrowed { ask: less, shown: shown("get"), digest: "e".repeat(64) }));
        requested(1).apply(&fact(event))
    };
    let left = narrowed(|ask| ask.window = "5s".parse().unwrap()).unwrap();
    assert_eq!((left.ask.window.seconds(), &*left.asked(), &*left.digest), (5, &ask(), &*"e".repeat(64)));
    let wider: [fn(&mut AccessRequest); 5] = [
        |ask| ask.window = "24h".parse().unwrap(),
        |ask| ask.scope = Scope::Cluster,
        |ask| ask.scope = "other".parse::<Namespace>().unwrap().into(),
        |ask| ask.access = Access::Role("edit".parse().unwrap()),
        |ask| ask.reason = "INC-43".parse().unwrap(),
    ];
    for change in wider {
        assert!(narrowed(change).is_err());
    }
}

/// An end says why it ends, and that can't change on the way.
#[test]
fn the_cause_of_an_end_stays() {
    let ending = brought_to("ending");
    let other = Event::Ended { why: EndCause::Revoked, proof: EndProof::Denied, reason: None, cut: None, log: None };
    assert!(ending.apply(&fact(other)).is_err());
}

fn may_approve(grant: &Grant, approver: &Person, second: i64) -> Result<Event, Code> {
    approval::approve(grant, approver, &grant.digest.clone(), jiff::SignedDuration::from_mins(10), at(second))
        .map_err(|refusal| refusal.code)
}

#[test]
fn approver_cannot_be_requester() {
    let grant = requested(1);
    assert_eq!(may_approve(&grant, &person("alice", &["oncall", "leads"]), 1), Err(Code::SelfApproval));
}

#[test]
fn approver_has_to_be_in_a_group_that_is_asked() {
    assert_eq!(may_approve(&requested(1), &person("dave", &["other"]), 1), Err(Code::NotAllowed));
}

#[test]
fn an_approval_is_for_what_was_shown() {
    let grant = requested(1);
    let stale = approval::approve(&grant, &person("bob", &["leads"]), "00", jiff::SignedDuration::from_mins(1), at(1));
    assert_eq!(stale.unwrap_err().code, Code::DigestMismatch);
}

#[test]
fn an_approval_after_the_deadline_is_too_late() {
    let bob = person("bob", &["leads"]);
    assert!(may_approve(&requested(1), &bob, 3599).is_ok());
    assert_eq!(may_approve(&requested(1), &bob, 3600), Err(Code::TooLate));
}

#[test]
fn a_quorum_counts_people() {
    let (bob, carol) = (person("bob", &["leads"]), person("carol", &["leads"]));
    let grant = requested(2);
    let first = may_approve(&grant, &bob, 1).unwrap();
    assert!(matches!(first, Event::Agreed { .. }));
    let grant = grant.apply(&by_person(&bob, 1, first)).unwrap();
    assert_eq!(may_approve(&grant, &bob, 2), Err(Code::AlreadyAgreed));
    assert!(matches!(may_approve(&grant, &carol, 2), Ok(Event::Approved { .. })));
}

/// One human with two accounts is no quorum and no approver of their own request, whichever account came first.
#[test]
fn one_login_is_one_person() {
    let logged_in = |name: &str, login: &str| Person {
        login: Some(Login::Account { uid: 1003, person: login.parse().ok() }),
        ..person(name, &["leads"])
    };
    let asked_by = |login: &str| Grant { requester_login: logged_in("alice", login).login, ..requested(2) };
    for (asked, approver, expected) in [
        ("alice", logged_in("bob", "alice"), Some(Code::SelfApproval)),
        ("bob", logged_in("bob", "bob"), Some(Code::SelfApproval)),
        ("dave", logged_in("bob", "dave"), Some(Code::SelfApproval)),
        ("bob", person("bob", &["leads"]), Some(Code::SelfApproval)),
        ("alice", logged_in("bob", "bob"), None),
        ("alice", logged_in("bob", "carol"), None),
        // Root's, or of nobody who is known.
        ("", logged_in("bob", ""), None),
    ] {
        assert_eq!(may_approve(&asked_by(asked), &approver, 1).err(), expected, "{asked} {approver:?}");
    }
    for (first, second) in [("bob", "bob"), ("carol", "carol"), ("dave", "dave")] {
        let bob = logged_in("bob", first);
        let event = may_approve(&requested(2), &bob, 1).unwrap();
        let grant = requested(2).apply(&by_person(&bob, 0, event)).unwrap();
        assert_eq!(may_approve(&grant, &logged_in("carol", second), 2), Err(Code::AlreadyAgreed));
        assert!(may_approve(&grant, &logged_in("erin", "erin"), 2).is_ok());
    }
}

/// A person of an identity provider is known by issuer and subject, whatever name each login had.
#[test]
fn one_identity_at_a_provider_is_one_person() {
    let logged_in = |name: &str, issuer: &str, subject: &str| Person {
        login: Some(Login::Provider(Box::new(ProviderLogin {
            issuer: issuer.to_owned(),
            subject: subject.to_owned(),
            acr: None,
            amr: Vec::new(),
            auth_time: None,
            issued: None,
            sid: None,
            flow: None,
            key_id: None,
            token_sha256: String::new(),
        }))),
        ..person(name, &["leads"])
    };
    let asked = Grant { requester_login: logged_in("alice", "https://id.example", "1").login, ..requested(2) };
    for (approver, expected) in [
        (logged_in("bob", "https://id.example", "1"), Some(Code::SelfApproval)),
        (logged_in("alice", "https://other.example", "7"), Some(Code::SelfApproval)),
        (person("alice", &["leads"]), Some(Code::SelfApproval)),
        (logged_in("bob", "https://id.example", "2"), None),
        (logged_in("bob", "https://other.example", "1"), None),
    ] {
        assert_eq!(may_approve(&asked, &approver, 1).err(), expected, "{approver:?}");
    }
}

/// Who may be anybody answers nothing, and asks for nothing that others have to answer.
#[test]
fn a_login_that_can_not_be_known_is_not_another_humans() {
    let hidden = |name: &str| Person { login: Some(Login::Unknowable), ..person(name, &["leads"]) };
    assert_eq!(may_approve(&requested(1), &hidden("bob"), 1).err(), Some(Code::LoginUnknown));
    let asked = Grant { requester_login: Some(Login::Unknowable), ..requested(1) };
    assert_eq!(may_approve(&asked, &person("bob", &["leads"]), 1).err(), Some(Code::LoginUnknown));
    assert_eq!(may_approve(&requested(1), &person("bob", &["leads"]), 1).err(), None, "nobody logged in");
    let steps = &requested(1).terms.steps;
    assert_eq!(approval::may_be_answered(&hidden("alice"), steps).unwrap_err().code, Code::LoginUnknown);
    assert!(approval::may_be_answered(&hidden("alice"), &[]).is_ok(), "nobody has to answer it");
    assert!(approval::may_be_answered(&person("alice", &[]), steps).is_ok());
}

/// The digest changes with every word that an approver is shown.
#[test]
fn the_digest_covers_what_is_shown() {
    let alice = person("alice", &[]).name;
    let usual = digest::of_request(&id(), &alice, &ask(), &key(), &shown("get"), &SessionTerms::default());
    let changes: [fn(&mut AccessRequest); 5] = [
        |ask| ask.cluster = "other".parse().unwrap(),
        |ask| ask.scope = Scope::Cluster,
        |ask| ask.access = Access::Role("edit".parse().unwrap()),
        |ask| ask.window = "9m".parse().unwrap(),
        |ask| ask.reason = "INC-43".parse().unwrap(),
    ];
    for change in changes {
        let mut changed = ask();
        change(&mut changed);
        assert_ne!(digest::of_request(&id(), &alice, &changed, &key(), &shown("get"), &SessionTerms::default()), usual);
    }
    assert_ne!(digest::of_request(&id(), &alice, &ask(), &key(), &shown("list"), &SessionTerms::default()), usual);
    assert_ne!(
        digest::of_request(&id(), &alice, &ask(), &KeyHash::of(b"another"), &shown("get"), &SessionTerms::default()),
        usual
    );
    let recorded = SessionTerms { record: Record::Required, ..SessionTerms::default() };
    assert_ne!(digest::of_request(&id(), &alice, &ask(), &key(), &shown("get"), &recorded), usual);
    let refusing = |port| SessionTerms {
        refuse: vec![Restriction { name: "a".to_owned(), refuses: Restricted::PortForward { except: vec![port] } }],
        ..SessionTerms::default()
    };
    let restricted = |port| digest::of_request(&id(), &alice, &ask(), &key(), &shown("get"), &refusing(port));
    assert!(restricted(1) != usual && restricted(1) != restricted(2));
    assert_ne!(
        digest::of_request(
            &GrantId::from_random([8; 10]),
            &alice,
            &ask(),
            &key(),
            &shown("get"),
            &SessionTerms::default()
        ),
        usual
    );
    let others: [fn(&mut Shown); 6] = [
        |shown| {
            let (grant, by) = (GrantId::from_random([8; 10]), "bob".parse().unwrap());
            shown.denied = Some(DeniedBefore { grant, by, at: at(0), reason: "no".to_owned() });
        },
        |shown| shown.namespaces.values_mut().for_each(|uid| "uid-of-another".clone_into(uid)),
        |shown| *shown = shown_together(),
        |shown| shown.role = ResolvedRole::new("uid-2".into(), role("get").rules().to_vec()),
        |shown| {
            shown.assessment = risk::assess(role("*").rules(), &Scope::Cluster, &risk::Surroundings::ordinary(None))
        },
        |shown| {
            let AccessRequest { scope, access, .. } = ask();
            shown.holds.push(OtherGrant { grant: GrantId::from_random([8; 10]), scope, access, phase: Phase::Live });
        },
    ];
    for change in others {
        let mut changed = shown("get");
        change(&mut changed);
        assert_ne!(digest::of_request(&id(), &alice, &ask(), &key(), &changed, &SessionTerms::default()), usual);
    }
}

fn approved_by_bob() -> Grant {
    let bob = person("bob", &["leads"]);
    let grant = requested(1);
    let event = may_approve(&grant, &bob, 1).unwrap();
    grant.apply(&by_person(&bob, 1, event)).unwrap()
}

/// Who may end a grant before its time, in each phase: the requester by taking it back or giving it back, approvers and
/// admins by taking it away.
#[test]
fn each_phase_is_ended_by_one_verb_of_those_who_may() {
    let (alice, bob) = (person("alice", &["leads", "admins"]), person("bob", &["leads"]));
    let (carol, dave) = (person("carol", &["admins"]), person("dave", &["oncall"]));
    let admins = ["admins".to_owned()];
    let code = |refused: Result<EndCause, refusal::Refusal>| refused.map_err(|refusal| refusal.code);
    for (point, withdrawn, released, revoked) in [
        ("pending", true, false, false),
        ("approved", true, false, true),
        ("collecting", false, false, false),
        ("bound", false, false, false),
        ("live", false, true, true),
        ("asked for more", false, true, true),
        ("ending", false, false, false),
        ("ended", false, false, false),
        ("denied", false, false, false),
        ("withdrawn", false, false, false),
        ("lapsed", false, false, false),
        ("broken", true, false, true),
        ("broken live", false, true, true),
    ] {
        let grant = brought_to(point);
        let may = |may, cause| if may { Ok(cause) } else { Err(Code::WrongPhase) };
        let withdraw = |by| end::withdraw(&grant, by).map_err(|refusal| refusal.code);
        assert_eq!(withdraw(&alice), if withdrawn { Ok(Event::Withdrawn) } else { Err(Code::WrongPhase) }, "{point}");
        assert_eq!(code(end::release(&grant, &alice)), may(released, EndCause::Released), "{point}");
        for by in [&alice, &bob, &carol] {
            assert_eq!(code(end::revoke(&grant, by, &admins)), may(revoked, EndCause::Revoked), "{point}");
        }
        for other in [&bob, &carol, &dave] {
            assert_eq!(withdraw(other), Err(Code::NotAllowed), "{point}");
            assert_eq!(code(end::release(&grant, other)), Err(Code::NotAllowed), "{point}");
        }
        assert_eq!(code(end::revoke(&grant, &dave, &admins)), Err(Code::NotAllowed), "{point}");
        assert_eq!(code(end::revoke(&grant, &carol, &[])), Err(Code::NotAllowed), "{point}");
        if withdrawn {
            assert!(grant.apply(&by_person(&alice, 1, Event::Withdrawn)).is_ok(), "{point}");
        }
    }
}

/// Each fact that was true when it was approved, made untrue at collection.
#[test]
fn what_was_true_when_approved_has_to_be_true_when_collected() {
    struct Moment {
        policy: Policy,
        requester: Person,
        bob: Option<Person>,
        role: Option<ResolvedRole>,
        namespaces: BTreeMap<Namespace, FoundNamespace>,
        key: KeyHash,
        second: i64,
    }
    let usual = || Moment {
        policy: policy(1),
        requester: person("alice", &["oncall"]),
        bob: Some(person("bob", &["leads"])),
        role: Some(role("get")),
        namespaces: found("uid-ns"),
        key: key(),
        second: 2,
    };
    let collect = |moment: &Moment| {
        let approvers: BTreeMap<_, _> = moment.bob.iter().map(|bob| (bob.name.clone(), bob.clone())).collect();
        let facts = Facts {
            policy: &moment.policy,
            requester: &moment.requester,
            approvers: &approvers,
            role: moment.role.as_ref(),
            namespaces: &moment.namespaces,
            circumstances: circumstances(moment.second),
        };
        approval::collect(&approved_by_bob(), &moment.key, &facts)
    };
    let approved = collect(&usual()).unwrap();
    assert_eq!((approved.grant(), approved.person().as_str()), (&id(), "alice"));
    assert_eq!(approved.not_after(), at(602));

    type Change = fn(&mut Moment);
    let cases: [(Code, Change); 11] = [
        (Code::RequesterLostRight, |moment| moment.requester.groups.clear()),
        (Code::RequesterLostRight, |moment| moment.policy = policy(2)),
        (Code::RequesterLostRight, |moment| moment.policy = Policy::read("rules: []", None).unwrap()),
        (Code::ApproverLostRight, |moment| moment.bob = None),
        (Code::ApproverLostRight, |moment| moment.bob = Some(person("bob", &["other"]))),
        (Code::RoleMissing, |moment| moment.role = None),
        (Code::RoleDrift, |moment| moment.role = Some(role("list"))),
        (Code::NamespaceMissing, |moment| moment.namespaces.clear()),
        (Code::NamespaceDrift, |moment| moment.namespaces = found("uid-of-another")),
        (Code::KeyMismatch, |moment| moment.key = KeyHash::of(b"another")),
        (Code::TooLate, |moment| moment.second = 601),
    ];
    for (code, change) in cases {
        let mut moment = usual();
        change(&mut moment);
        assert_eq!(collect(&moment).unwrap_err().code, code);
    }
}

/// A window ends at a whole second and is never longer than what was asked.
#[test]
fn a_window_ends_at_a_whole_second() {
    let late = at(5).checked_add(jiff::SignedDuration::from_millis(999)).unwrap();
    assert_eq!(approval::window_end(&ask(), late), at(605));
    assert_eq!(approval::window_end(&ask(), at(5)), at(605));
}

/// A renewal never outlives the window, and nothing but the live grant's own key gets one.
#[test]
fn a_renewal_ends_with_the_window() {
    let live = brought_to("live");
    assert_eq!(approval::renew(&live, &key(), at(300)).unwrap().not_after(), at(600));
    for second in [598, 599, 600] {
        assert_eq!(approval::renew(&live, &key(), at(second)).unwrap_err().code, Code::TooLate);
    }
    assert_eq!(approval::renew(&live, &KeyHash::of(b"another"), at(300)).unwrap_err().code, Code::KeyMismatch);
    for point in ["pending", "approved", "collecting", "ending", "ended"] {
        assert!(approval::renew(&brought_to(point), &key(), at(300)).is_err(), "{point}");
    }
}

#[test]
fn an_id_is_sixteen_letters_and_reads_back() {
    for bytes in [[0; 10], [255; 10], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]] {
        let id = GrantId::from_random(bytes);
        assert_eq!(id.as_str().len(), GrantId::LENGTH);
        assert_eq!(id.to_string().parse::<GrantId>().unwrap(), id);
    }
    for text in ["", "abc", "0123456789abcdeI", "0123456789abcde/", "0123456789ABCDEF", "0123456789abcdefg"] {
        assert!(text.parse::<GrantId>().is_err(), "{text}");
    }
}

/// Whatever an approver cuts down, what is left asks for nothing that was not asked; and what is more than that is
/// refused.
mod narrowing {
    use proptest::prelude::*;

    use super::*;
    use crate::grant::narrow::{Narrowing, is_no_wider};
    use crate::grant::request::{ExactRules, Namespace, Namespaces};
    use crate::rbac::covers;

    const WORDS: [&str; 4] = ["a", "b", "c", "d"];

    fn some(most: usize) -> impl Strategy<Value = Vec<String>> {
        prop::collection::btree_set(0..WORDS.len(), 1..=most)
            .prop_map(|numbers| numbers.into_iter().map(|number| WORDS[number].to_owned()).collect())
    }

    fn rules() -> impl Strategy<Value = Vec<Rule>> {
        let rule =
            (some(2), some(2), some(2), prop::option::of(some(2))).prop_map(|(verbs, groups, resources, names)| Rule {
                verbs,
                api_groups: groups,
                resources,
                resource_names: names.unwrap_or_default(),
                ..Rule::default()
            });
        prop::collection::vec(rule, 1..3)
    }

    fn namespaces(names: &[String]) -> Namespaces {
        names.iter().map(|name| name.parse().unwrap()).collect::<Vec<Namespace>>().try_into().unwrap()
    }

    proptest! {
        #[test]
        fn narrowing_never_widens(
            asked in some(3), given in rules(), exact in any::<bool>(), lets in any::<bool>(),
            less in (prop::option::of(5_u32..900), prop::option::of(some(3)), prop::option::of(rules())),
        ) {
            let mut grant = requested(1);
            Arc::make_mut(&mut grant.ask).scope = Scope::Namespaces(namespaces(&asked));
            Arc::make_mut(&mut grant.terms).narrow = lets;
            if exact {
                Arc::make_mut(&mut grant.ask).access = Access::Rules(ExactRules::try_from(given.clone()).unwrap());
            }
            let role = ResolvedRole::new("uid".into(), given);
            let (window, names, rules) = less;
            let narrowing = Narrowing {
                window: window.map(|seconds| format!("{seconds}s").parse().unwrap()),
                namespaces: names.as_deref().map(namespaces),
                rules: rules.map(|rules| ExactRules::try_from(rules).unwrap()),
            };
            let wider = narrowing.window.is_some_and(|window| window > grant.ask.window)
                || narrowing.namespaces.iter().any(|less| !grant.ask.scope.contains(&Scope::Namespaces(less.clone())))
                || narrowing.rules.iter().any(|less| less.as_slice().iter().any(|rule| !covers(role.rules(), rule)))
                || narrowing.rules.is_some() && !exact && !lets;
            match narrowing.of(&grant, &role) {
                Ok(left) => {
                    prop_assert!(!wider && is_no_wider(&left, &grant.ask), "{left:?}");
                    if let Access::Rules(rules) = &left.access {
                        prop_assert!(rules.as_slice().iter().all(|rule| covers(role.rules(), rule)));
                    }
                }
                Err(refusal) => prop_assert!(wider && refusal.code == Code::NotLess, "{refusal}"),
            }
        }
    }
}

/// Access when nobody answers, and what is owed for it.
mod broken_glass {
    use jiff::SignedDuration;
    use proptest::prelude::*;

    use super::*;

    fn break_glass(grant: &Grant, by: &Person, owes: bool, second: i64) -> Result<Event, Code> {
        let reason = "nobody answers".parse().unwrap();
        glass::break_glass(grant, by, reason, owes, SignedDuration::from_mins(10), at(second))
            .map_err(|refusal| refusal.code)
    }

    fn alice() -> Person {
        person("alice", &["oncall", "security", "leads"])
    }

    fn then(grant: Grant, by: &Person, second: i64, event: Event) -> Grant {
        grant.apply(&by_person(by, second, event)).unwrap()
    }

    fn broken() -> Grant {
        let event = break_glass(&glassy(), &alice(), false, 60).unwrap();
        then(glassy(), &alice(), 60, event)
    }

    fn review(grant: &Grant, by: &Person, second: i64) -> Result<Event, Code> {
        find(grant, by, Verdict::NotJustified, second).map_err(|refusal| refusal.code)
    }

    fn find(grant: &Grant, by: &Person, verdict: Verdict, second: i64) -> Result<Event, Refusal> {
        let digest = grant.glass.as_ref().map(|glass| glass.digest.clone()).unwrap_or_default();
        let admins = ["admins".to_owned(), "root".to_owned()];
        glass::review(grant, by, &admins, &digest, verdict, "no".parse().unwrap(), at(second))
    }

    /// Bob and carol reviewed, the first with this verdict and the second with the other.
    fn disputed(first: Verdict) -> Grant {
        let second = if first == Verdict::Justified { Verdict::NotJustified } else { Verdict::Justified };
        [("bob", first), ("carol", second)].into_iter().fold(broken(), |grant, (name, verdict)| {
            let by = person(name, &["security"]);
            let event = find(&grant, &by, verdict, 70).unwrap();
            then(grant, &by, 70, event)
        })
    }

    #[test]
    fn the_glass_is_broken_by_the_requester_in_time_and_where_the_rule_lets_it() {
        for (second, expected) in [(0, Code::WrongPhase), (59, Code::WrongPhase), (3600, Code::TooLate)] {
            assert_eq!(break_glass(&glassy(), &alice(), false, second), Err(expected), "{second}");
        }
        assert!(break_glass(&glassy(), &alice(), false, 60).is_ok());
        assert_eq!(break_glass(&glassy(), &person("bob", &["oncall"]), false, 60), Err(Code::NotAllowed));
        assert_eq!(break_glass(&glassy(), &alice(), true, 60), Err(Code::ReviewOwed));
        assert_eq!(break_glass(&requested(1), &alice(), false, 60), Err(Code::PolicyDenied));
        for point in ["approved", "live", "ended", "broken"] {
            assert_eq!(break_glass(&brought_to(point), &alice(), false, 60), Err(Code::WrongPhase), "{point}");
        }
    }

    /// A trail in which somebody else broke the glass, or reviewed what they did themselves, is refused.
    #[test]
    fn the_trail_holds_who_did_what() {
        let by = |name: &str, event| by_person(&person(name, &[]), 0, event);
        let smashed = break_glass(&glassy(), &alice(), false, 60).unwrap();
        assert!(glassy().apply(&by("bob", smashed)).is_err());
        let looked = review(&broken(), &person("bob", &["security"]), 70).unwrap();
        assert!(broken().apply(&by("bob", looked.clone())).is_ok());
        assert!(broken().apply(&by("alice", looked)).is_err());
    }

    #[test]
    fn it_is_shorter_and_no_approval() {
        let grant = broken();
        assert_eq!((grant.phase, grant.ask.window.seconds(), grant.agreed.len()), (Phase::Approved, 300, 0));
        assert_eq!(*grant.asked(), ask());
        assert!(grant.bindings().iter().all(|binding| binding.broken_glass));
        assert!(brought_to("approved").bindings().iter().all(|binding| !binding.broken_glass));
        let no = approval::deny(&grant, &person("bob", &["leads"]), "no".into(), at(61)).unwrap();
        assert_eq!(then(grant, &person("bob", &["leads"]), 61, no).phase, Phase::Denied);
        assert!(approval::deny(&brought_to("broken live"), &person("bob", &["leads"]), "no".into(), at(61)).is_err());
    }

    /// Broken glass is collected only while the policy would let it be broken again.
    #[test]
    fn what_let_the_glass_be_broken_has_to_hold_when_it_is_collected() {
        let role = role("get");
        let collect = |policy: &Policy, owed: bool| {
            let usage = Usage { review_owed: owed, ..Usage::default() };
            let facts = Facts {
                policy,
                requester: &alice(),
                approvers: &BTreeMap::new(),
                role: Some(&role),
                namespaces: &found("uid-ns"),
                circumstances: Circumstances { usage, ..circumstances(61) },
            };
            approval::collect(&broken(), &key(), &facts).map_err(|refusal| refusal.code)
        };
        let approved = collect(&glass_policy("5m"), false).unwrap();
        assert_eq!((approved.uid(), approved.not_after()), (format!("break-glass:{}", id()), at(361)));
        for (policy, owed) in [(glass_policy("4m"), false), (policy(1), false), (glass_policy("5m"), true)] {
            assert_eq!(collect(&policy, owed).unwrap_err(), Code::RequesterLostRight);
        }
    }

    #[test]
    fn a_review_is_by_others_and_of_what_was_shown() {
        let (bob, carol) = (person("bob", &["security"]), person("carol", &["security"]));
        assert_eq!(review(&brought_to("live"), &bob, 70), Err(Code::WrongPhase));
        assert_eq!(review(&broken(), &alice(), 70), Err(Code::SelfApproval));
        assert_eq!(review(&broken(), &person("dave", &["leads"]), 70), Err(Code::NotAllowed));
        let stale = glass::review(&broken(), &bob, &[], "00", Verdict::Justified, "x".parse().unwrap(), at(70));
        assert_eq!(stale.unwrap_err().code, Code::DigestMismatch);
        let first = review(&broken(), &bob, 70).unwrap();
        let once = then(broken(), &bob, 70, first);
        assert_eq!(review(&once, &bob, 71), Err(Code::AlreadyAgreed));
        let glass = once.glass.as_ref().unwrap();
        assert_eq!((glass.is_overdue(at(3659)), glass.is_overdue(at(3660))), (false, true));
        let second = review(&once, &carol, 72).unwrap();
        let twice = then(once, &carol, 72, second);
        assert!(!twice.owes_review() && !twice.glass.as_ref().unwrap().is_overdue(at(9999)));
        assert_eq!(review(&twice, &person("erin", &["security"]), 73), Err(Code::WrongPhase));
    }

    /// Whoever came first: what reviewers disagree on stays owed, and neither they nor a further reviewer close it.
    #[test]
    fn a_disagreement_stays_owed_until_an_administrator_decides() {
        for first in [Verdict::Justified, Verdict::NotJustified] {
            let grant = disputed(first);
            assert!(glass::is_disputed(&grant) && grant.owes_review() && !grant.is_over());
            let refused = find(&grant, &person("erin", &["security"]), first, 71).unwrap_err();
            assert_eq!(refused.code, Code::NotAllowed);
            assert_eq!(refused.why, "the reviewers disagree; a member of `admins` decides");
            assert_eq!(refused.hint, "`admins` are the members of admins, root");
            for verdict in [Verdict::Justified, Verdict::NotJustified] {
                let dave = person("dave", &["admins", "leads"]);
                let event = find(&grant, &dave, verdict, 71).unwrap();
                let Event::Reviewed { groups, closes, decides, .. } = &event else { panic!("{event:?}") };
                assert_eq!((groups, closes, decides), (&BTreeSet::from(["admins".to_owned()]), &true, &true));
                let decided = then(grant.clone(), &dave, 71, event);
                let glass = decided.glass.as_ref().unwrap();
                let last = glass.reviews.last().unwrap();
                assert!(!glass.owed && !glass::is_disputed(&decided));
                assert_eq!((last.verdict, last.decides), (verdict, true));
                assert_eq!(review(&decided, &person("erin", &["admins"]), 72), Err(Code::WrongPhase));
            }
        }
    }

    /// An administrator is a person like any other: not the requester, not somebody who has reviewed it, and before there is a
    /// dispute somebody whom the steps name.
    #[test]
    fn an_administrator_decides_only_a_dispute_of_others() {
        let grant = disputed(Verdict::Justified);
        assert_eq!(review(&grant, &person("alice", &["admins"]), 71), Err(Code::SelfApproval));
        assert_eq!(review(&grant, &person("bob", &["admins", "security"]), 71), Err(Code::AlreadyAgreed));
        let dave = person("dave", &["admins"]);
        let stale =
            glass::review(&grant, &dave, &["admins".into()], "00", Verdict::Justified, "x".parse().unwrap(), at(71));
        assert_eq!(stale.unwrap_err().code, Code::DigestMismatch);
        let nobody =
            glass::review(&grant, &dave, &[], "00", Verdict::Justified, "x".parse().unwrap(), at(71)).unwrap_err();
        assert_eq!(nobody.code, Code::NotAllowed);
        assert!(nobody.hint.contains("name a group in `admins`"));
        assert_eq!(review(&broken(), &dave, 71), Err(Code::NotAllowed));
        let both = person("dave", &["admins", "security"]);
        let event = review(&broken(), &both, 71).unwrap();
        assert!(
            matches!(&event, Event::Reviewed { closes: false, decides: false, groups, .. } if groups.contains("security"))
        );
    }

    /// What an earlier jitd wrote replays: it closed a review whose reviewers disagreed, and wrote no `decides`. What neither
    /// version writes is refused.
    #[test]
    fn trails_from_before_disputes_are_valid_and_others_are_not() {
        let bob = person("bob", &["security"]);
        let carol = person("carol", &["security"]);
        let first = find(&broken(), &bob, Verdict::Justified, 70).unwrap();
        let once = then(broken(), &bob, 70, first);
        let written = find(&once, &carol, Verdict::NotJustified, 71).unwrap();
        let with = |event: &Event, closes: bool, decides: bool| {
            let mut written = serde_json::to_value(event).unwrap();
            assert_eq!(written.as_object_mut().unwrap().remove("decides"), None, "absent unless it decides");
            written["closes"] = closes.into();
            if decides {
                written["decides"] = true.into();
            }
            serde_json::from_value::<Event>(written).unwrap()
        };
        let earlier = then(once.clone(), &carol, 71, with(&written, true, false));
        assert!(!earlier.owes_review() && !glass::is_disputed(&earlier));
        let stays = then(once.clone(), &carol, 71, with(&written, false, false));
        assert!(glass::is_disputed(&stays));

        let agreed = find(&once, &carol, Verdict::Justified, 71).unwrap();
        let dave = person("dave", &["admins"]);
        for (grant, by, event) in [
            (&broken(), &bob, with(&written, true, false)),
            (&once, &carol, with(&agreed, false, false)),
            (&once, &carol, with(&written, true, true)),
            (&once, &carol, with(&written, false, true)),
            (&stays, &dave, with(&written, true, false)),
            (&stays, &dave, with(&written, false, false)),
            (&stays, &dave, with(&written, false, true)),
            (&stays, &carol, with(&written, true, true)),
            (&stays, &alice(), with(&written, true, true)),
            (&earlier, &dave, with(&written, true, true)),
        ] {
            assert!(grant.clone().apply(&by_person(by, 72, event.clone())).is_err(), "{event:?} by {}", by.name);
        }
        assert!(!then(stays, &dave, 72, with(&written, true, true)).owes_review());
    }

    proptest! {
        /// However people come to review, it is owed until two others of the group have.
        #[test]
        fn a_review_is_owed_until_two_others_looked(callers in prop::collection::vec((0..4_usize, any::<bool>()), 0..8)) {
            let mut grant = broken();
            let mut looked = BTreeSet::new();
            for (number, (who, member)) in callers.into_iter().enumerate() {
                let by = person(["alice", "bob", "carol", "dave"][who], if member { &["security"] } else { &["leads"] });
                let second = 70 + i64::try_from(number).unwrap();
                let counts = who != 0 && member && looked.len() < 2 && !looked.contains(&who);
                match review(&grant, &by, second) {
                    Ok(event) => {
                        prop_assert!(counts);
                        grant = then(grant, &by, second, event);
                        looked.insert(who);
                    }
                    Err(_) => prop_assert!(!counts),
                }
                prop_assert_eq!(grant.owes_review(), looked.len() < 2);
            }
        }
    }
}

/// A duration has one grammar, and a length that is too long is a duration all the same.
#[test]
fn a_duration_beyond_its_limit_is_told_the_limit() {
    use crate::grant::request::{ReviewTime, Window, seconds};
    let lengths = ["90s", "15m", "1h30m", "48h", "1h1m1s"].map(|text| seconds(text).unwrap());
    assert_eq!(lengths, [90, 900, 5400, 172_800, 3661]);
    for wrong in ["", "5", "1.5h", "30m1h", "1m1m", "1d", "-5m", " 5m", "99999999h"] {
        assert!(seconds(wrong).is_err(), "{wrong}");
    }
    let said = |text: &str| text.parse::<Window>().unwrap_err().to_string();
    assert!(said("48h").contains("at most 24h") && said("4s").contains("at least 5s"), "{}", said("48h"));
    assert_eq!("60h".parse::<ReviewTime>().unwrap().to_string(), "60h");
    assert!("169h".parse::<ReviewTime>().unwrap_err().to_string().contains("at most 168h"));
}
