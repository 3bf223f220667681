//! What a board shows while a grant lives, and what it never asks.

use jit_core::grant::policy::Zone;
use jit_wire::GrantView;
use jit_wire::notice::Audience;
use serde_json::{Value, json};

use super::*;
use crate::command::Command;
use crate::text::says::question;

mod hostile;

pub(crate) fn origin() -> Origin {
    let zone = "Europe/Berlin".parse::<Zone>().unwrap();
    Origin { host: "bastion-1".to_owned(), zone, templates: Arc::default() }
}

/// A request of alice that needs two approvals, with `more`.
pub(crate) fn grant(more: &Value) -> GrantView {
    let mut all = json!({
        "id": "8f3k11d31ge2wvm7", "phase": "pending", "requester": "alice", "cluster": "prod",
        "namespaces": ["payments"], "role": "view", "access": "role view", "duration": "15m",
        "reason": "queue is stuck", "rule": "oncall", "fields": {"ticket": "https://tickets.example/OPS-7"},
        "steps": [{"groups": ["leads"], "count": 2, "missing": 2}], "agreed": [], "digest": "d", "key": "k",
        "requestedAt": "2026-11-29T13:00:00Z", "deadline": "2026-11-29T13:30:00Z", "certificates": 0, "answers": 0,
        "risk": "high",
        "risks": {"mayPersist": true, "mayStream": true, "findings": [
            {"id": "E1", "severity": "medium", "why": "reads pods", "persists": false, "streams": false},
            {"id": "E2", "severity": "high", "why": "reads secrets", "persists": true, "streams": false}
        ]}
    });
    for (key, value) in more.as_object().unwrap() {
        all[key] = value.clone();
    }
    serde_json::from_value(all).unwrap()
}

fn now() -> Timestamp {
    "2026-11-29T13:05:00Z".parse().unwrap()
}

fn wanted(more: &Value) -> Wanted {
    question(&origin(), &grant(more), &Audience::default(), Subject::Request, None, now()).unwrap()
}

fn posted(wanted: &Wanted) -> Posted {
    Posted {
        remote: Some("C1/1".to_owned()),
        sha256: wanted.card.sha256(),
        open: wanted.open,
        at: now(),
        reminders: 0,
        among_others: false,
    }
}

fn follow(now: &Wanted, before: &Wanted, ability: Ability) -> Action {
    next(now, Some(&posted(before)), ability, Subject::Request)
}

fn by_bob() -> Value {
    json!({ "agreed": ["bob"], "steps": [{"groups": ["leads"], "count": 2, "missing": 1}] })
}

fn approved() -> Value {
    json!({
        "phase": "approved", "agreed": ["bob", "carol"], "steps": [{"groups": ["leads"], "count": 2, "missing": 0}]
    })
}

/// Everything that an approver needs, the worst first, with the zone of each time and the command to type.
#[test]
fn a_question_says_what_an_approver_needs() {
    assert_eq!(
        wanted(&json!({})).card.plain(),
        "alice requests role view in namespace payments on cluster prod, for 15m\n\
         why: queue is stuck\n\
         ticket: https://tickets.example/OPS-7\n\
         risk: high, may persist after the window\n\
         allows: high: reads secrets\n\
         allows: medium: reads pods\n\
         host: bastion-1\n\
         grant: 8f3k11d31ge2wvm7, under rule oncall\n\
         needs: 2 of leads\n\
         answer by: 2026-11-29 14:30 CET\n\
         answer: jit-login approve 8f3k11d31ge2wvm7"
    );
}

/// One message: asked, counted, answered. A board that cannot change it hears of the answer only.
#[test]
fn there_is_one_message_per_request() {
    let states = [wanted(&json!({})), wanted(&by_bob()), wanted(&approved())];
    assert_eq!(
        states.each_ref().map(|state| state.card.what_became().map(|text| text.as_str().to_owned())),
        [None, Some("1 of 2 approvals, by bob".to_owned()), Some("approved by bob, carol".to_owned())]
    );
    let [asked, counted, answered] = &states;
    let remote = || "C1/1".to_owned();
    for ability in [Ability::Updates, Ability::Replies] {
        assert_eq!(next(asked, None, ability, Subject::Request), Action::Post);
        assert_eq!(follow(asked, asked, ability), Action::Nothing);
    }
    assert_eq!(follow(counted, asked, Ability::Updates), Action::Update { remote: remote() });
    assert_eq!(follow(answered, counted, Ability::Updates), Action::Update { remote: remote() });
    assert_eq!(follow(counted, asked, Ability::Replies), Action::Nothing);
    assert_eq!(follow(answered, asked, Ability::Replies), Action::Reply { remote: Some(remote()) });
    // What an answered request becomes is no news for those who were asked.
    let live = wanted(&json!({ "phase": "live", "agreed": ["bob", "carol"] }));
    assert_eq!(follow(&live, answered, Ability::Replies), Action::Nothing);
    // A message of which the service gave no name, or which is about many requests, is not changed.
    let nameless = Posted { remote: None, ..posted(counted) };
    assert_eq!(next(answered, Some(&nameless), Ability::Updates, Subject::Request), Action::Reply { remote: None });
    let one_of_many = Posted { among_others: true, ..posted(asked) };
    let reply = Action::Reply { remote: Some(remote()) };
    assert_eq!(next(answered, Some(&one_of_many), Ability::Updates, Subject::Request), reply);
    assert_eq!(next(counted, Some(&one_of_many), Ability::Updates, Subject::Request), Action::Nothing);
    // Whoever was asked once is asked anew, by a message that rings.
    assert_eq!(follow(asked, answered, Ability::Updates), Action::Post);
}

/// After an outage: what lapsed, was answered or withdrawn meanwhile is never asked, and what was asked is corrected.
#[test]
fn what_nobody_can_answer_is_never_asked() {
    for more in [
        json!({ "phase": "lapsed" }),
        json!({ "deadline": "2026-11-29T13:05:00Z" }),
        json!({ "phase": "withdrawn", "closedBy": "alice" }),
        json!({ "phase": "denied", "closedBy": "bob", "closingWords": "no" }),
        approved(),
        json!({ "phase": "ended", "endCause": "expired", "agreed": ["bob", "carol"] }),
    ] {
        let over = wanted(&more);
        assert!(!over.open && over.card.to_type().is_none(), "{more}");
        assert_eq!(next(&over, None, Ability::Updates, Subject::Request), Action::Nothing, "{more}");
        let action = follow(&over, &wanted(&json!({})), Ability::Updates);
        assert_eq!(action, Action::Update { remote: "C1/1".to_owned() }, "{more}");
    }
    // A request that needs nobody is no question.
    let nobody = grant(&json!({ "steps": [] }));
    assert_eq!(question(&origin(), &nobody, &Audience::default(), Subject::Request, None, now()), None);
}

/// More time and a review are questions of their own.
#[test]
fn each_question_is_asked_by_itself() {
    let ask = |subject, grant: &GrantView, answered| {
        question(&origin(), grant, &Audience::default(), subject, answered, now())
    };
    let plain = grant(&json!({}));
    assert_eq!(ask(Subject::Extension, &plain, None), None);
    assert_eq!(ask(Subject::Review, &plain, None), None);

    let more = json!({
        "phase": "live", "extension": {
            "duration": "10m", "reason": "not done", "digest": "e", "pendingUntil": "2026-11-29T13:20:00Z",
            "steps": [{"groups": ["leads"], "count": 1, "missing": 1}], "agreed": []
        }
    });
    let open = ask(Subject::Extension, &grant(&more), None).unwrap();
    assert!(open.open);
    assert!(open.card.plain().starts_with("alice requests 10m more of role view"), "{}", open.card.plain());
    assert!(open.card.plain().contains("\nwhy: not done\nfirst reason: queue is stuck\n"), "{}", open.card.plain());
    let closed = ask(Subject::Extension, &plain, Some("bob denied the extension")).unwrap();
    assert_eq!(next(&closed, None, Ability::Updates, Subject::Extension), Action::Nothing);
    assert_eq!(
        next(&closed, Some(&posted(&open)), Ability::Replies, Subject::Extension),
        Action::Reply { remote: Some("C1/1".to_owned()) }
    );

    let glass = |owed: bool, reviews: Value| {
        grant(&json!({ "phase": "live", "breakGlass": {
            "reason": "prod is down", "brokenAt": "2026-11-29T13:01:00Z", "reviewUntil": "2026-11-30T13:00:00Z",
            "digest": "g", "steps": [{"groups": ["security"], "count": 1, "missing": 1}], "reviews": reviews,
            "owed": owed, "overdue": false
        } }))
    };
    let owed = ask(Subject::Review, &glass(true, json!([])), None).unwrap();
    assert!(owed.open && owed.card.plain().contains("why at once: prod is down"), "{}", owed.card.plain());
    let command = owed.card.to_type().unwrap().as_str();
    assert_eq!(command, "jit-login review 8f3k11d31ge2wvm7 --justified --words TEXT");
    let mut disputed = glass(true, json!([]));
    disputed.break_glass.as_mut().unwrap().disputed = true;
    let disputed = ask(Subject::Review, &disputed, None).unwrap();
    let plain = disputed.card.plain();
    assert!(disputed.open && plain.contains("\nneeds: a decision by a member of admins"), "{plain}");
    assert_eq!(disputed.card.to_type().unwrap().as_str(), command);
    let reviewed =
        json!([{ "by": "dave", "at": "2026-11-29T13:03:00Z", "verdict": "justified", "words": "it was down" }]);
    let done = ask(Subject::Review, &glass(false, reviewed), None).unwrap();
    assert_eq!(done.card.what_became().unwrap().as_str(), "justified by dave: it was down");
}

/// The requester hears of each change that others or the clock made, in a message of its own, and of nothing else.
#[test]
fn the_requester_hears_of_each_change() {
    let tell = |more: Value| news(&origin(), &grant(&more), None, now());
    for silent in [
        json!({}),
        json!({ "phase": "withdrawn", "closedBy": "alice" }),
        json!({ "phase": "live", "deadline": "2026-11-29T13:10:01Z" }),
        json!({ "phase": "ended", "endCause": "released", "closedBy": "alice" }),
    ] {
        assert_eq!(tell(silent.clone()), None, "{silent}");
    }
    let said = |more: Value| tell(more).unwrap().card.what_became().unwrap().to_string();
    assert_eq!(said(approved()), "approved by bob, carol; collect it by 2026-11-29 14:30 CET");
    let end = json!({ "phase": "live", "deadline": "2026-11-29T13:10:00Z" });
    assert_eq!(said(end), "ends at 2026-11-29 14:10 CET");
    let denied = json!({ "phase": "denied", "closedBy": "bob", "closingWords": "not today" });
    assert_eq!(said(denied), "denied by bob: not today");
    assert_eq!(said(json!({ "phase": "lapsed" })), "nobody answered in time");
    let revoked = json!({
        "phase": "ended", "endCause": "revoked", "closedBy": "carol", "closingWords": "incident over",
        "agreed": ["bob"], "endedAt": "2026-11-29T13:04:00Z"
    });
    assert_eq!(said(revoked), "approved by bob; ended (revoked) by carol at 2026-11-29 14:04 CET: incident over");

    let first = tell(approved()).unwrap();
    assert_eq!(next(&first, None, Ability::Updates, Subject::News), Action::Post);
    assert_eq!(next(&first, Some(&posted(&first)), Ability::Updates, Subject::News), Action::Nothing);
    let lapsed = tell(json!({ "phase": "lapsed" })).unwrap();
    let action = next(&lapsed, Some(&posted(&first)), Ability::Updates, Subject::News);
    assert_eq!(action, Action::Reply { remote: Some("C1/1".to_owned()) });
}

/// One message about many, as of a time, because it is not changed when one of them is answered.
#[test]
fn a_digest_has_a_line_for_each() {
    let several =
        [("8f3k".to_owned(), wanted(&json!({}))), ("aaaa".to_owned(), wanted(&json!({ "requester": "dave" })))];
    let both = digest(&origin(), &several, now());
    assert!(both.open);
    assert_eq!(
        both.card.plain(),
        "2 requests wait on bastion-1 at 2026-11-29 14:05 CET\n\
         8f3k: alice requests role view in namespace payments on cluster prod, for 15m\n\
         aaaa: dave requests role view in namespace payments on cluster prod, for 15m\n\
         answer: jit-login ls"
    );
}

fn board(service: Service) -> Board {
    Board::new(service, "Europe/Berlin".parse().unwrap(), Manner::default())
}

fn present(grant: GrantView) -> Present {
    let at = "2026-11-29T13:00:00Z".parse().unwrap();
    Present { host: "bastion-1".to_owned(), number: 7, at, says: None, grant, audience: Audience::default() }
}

/// A board for those who are asked next has a question when it waited long enough, and only if it still does.
#[test]
fn the_next_group_is_asked_after_a_time() {
    let mut second = board(Service::Mail(Box::new(mail::tests::mail())));
    second.manner.after = SignedDuration::from_mins(10);
    let open = present(grant(&json!({})));
    let at = |minutes: i64| "2026-11-29T13:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_mins(minutes);
    let nothing = Shown::default();
    assert_eq!(second.again_at(true, &open, None, at(5)), Some(at(10)));
    assert!(matches!(second.due(true, &open, &nothing, at(9)), Due::NotBefore(_)));
    assert!(matches!(second.due(true, &open, &nothing, at(10)), Due::Now(_)));
    assert!(matches!(second.due(false, &open, &nothing, at(10)), Due::Nothing));
    assert!(matches!(second.due(true, &present(grant(&approved())), &nothing, at(10)), Due::Nothing));
}

/// In quiet hours a message can change, but nothing rings; afterwards follows what is true then.
#[test]
fn a_quiet_board_does_not_ring() {
    let quiet =
        serde_json::from_value(json!({ "days": ["sun"], "from": "14:00", "to": "14:10", "zone": "Europe/Berlin" }));
    let target = crate::http::Target::parse("https://slack.example/api").unwrap();
    let slack = Slack::new(target, "xoxb-hush".to_owned().into(), "C1").unwrap();
    let mut board = board(Service::Slack(slack));
    board.manner.quiet = Some(quiet.unwrap());
    let open = present(grant(&json!({})));
    let due = |shown: &Shown, more: &Value, at: Timestamp| board.due(true, &present(grant(more)), shown, at);
    assert!(matches!(due(&Shown::default(), &json!({}), now()), Due::NotBefore(_)));
    let later = now() + SignedDuration::from_mins(5);
    assert_eq!(board.again_at(true, &open, None, later), Some(later));
    assert!(matches!(due(&Shown::default(), &json!({}), later), Due::Now(_)));
    let mut shown = Shown::default();
    shown.messages.insert(Subject::Request, posted(&wanted(&json!({}))));
    let Due::Now(step) = due(&shown, &approved(), now()) else { panic!("the message has to change") };
    assert_eq!(step.action, Action::Update { remote: "C1/1".to_owned() });
}

/// A question is repeated as often as the board says, and never once it is answered.
#[test]
fn an_unanswered_question_is_repeated() {
    let mut board = board(Service::Mail(Box::new(mail::tests::mail())));
    board.manner.reminders = Some(Reminders { every: SignedDuration::from_mins(5), most: 1 });
    let mut shown = Shown::default();
    let asked = question(&origin(), &grant(&json!({})), &Audience::default(), Subject::Request, None, now()).unwrap();
    shown.messages.insert(Subject::Request, posted(&asked));
    let open = present(grant(&json!({})));
    let later = now() + SignedDuration::from_mins(5);
    assert!(matches!(board.due(true, &open, &shown, now()), Due::Nothing));
    assert_eq!(board.again_at(true, &open, Some(&shown), now()), Some(later));
    let Due::Now(step) = board.due(true, &open, &shown, later) else { panic!("a reminder is due") };
    assert_eq!((step.action, step.after.reminders), (Action::Reply { remote: Some("C1/1".to_owned()) }, 1));
    shown.messages.insert(Subject::Request, step.after);
    let much_later = later + SignedDuration::from_mins(9);
    assert!(matches!(board.due(true, &open, &shown, much_later), Due::Nothing));
}

/// The requester is told on services that reach people, if the board knows them; who is not listed is not told.
#[test]
fn people_are_told_where_they_are_listed() {
    let mut board = board(Service::Mail(Box::new(mail::tests::mail())));
    let denied = present(grant(&json!({ "phase": "denied", "closedBy": "bob" })));
    assert!(matches!(board.due(false, &denied, &Shown::default(), now()), Due::Nothing));
    board.manner.people.insert("alice".to_owned(), Some("alice@example.com".to_owned()));
    let Due::Now(step) = board.due(false, &denied, &Shown::default(), now()) else { panic!("alice has to know") };
    assert_eq!((step.action, step.message.person.as_deref()), (Action::Post, Some("alice@example.com")));
}

/// A directory is asked only about somebody who has to be told something, and never about somebody who is listed, be it as one
/// who wants to hear nothing.
#[tokio::test]
async fn a_directory_knows_where_people_are_reached() {
    let asks = |script: &str| {
        let arguments = ["-c", script, "directory"].map(Into::into).to_vec();
        let deadline = Duration::from_secs(60);
        Arc::new(Directory::new(Command { program: "/bin/sh".into(), arguments, deadline }))
    };
    let mut board = board(Service::Mail(Box::new(mail::tests::mail())));
    board.manner.directory = Some(asks("echo $1@example.com"));
    let open = present(grant(&json!({})));
    assert_eq!(board.look_up(&open, now()).await, Ok(false));
    let denied = present(grant(&json!({ "phase": "denied", "closedBy": "bob" })));
    assert!(matches!(board.due(false, &denied, &Shown::default(), now()), Due::Nothing));
    assert_eq!(board.look_up(&denied, now()).await, Ok(true));
    let Due::Now(step) = board.due(false, &denied, &Shown::default(), now()) else { panic!("alice has to know") };
    assert_eq!(step.message.person.as_deref(), Some("alice@example.com"));

    board.manner.people.insert("alice".to_owned(), None);
    assert_eq!(board.look_up(&denied, now()).await, Ok(false));
    assert!(matches!(board.due(false, &denied, &Shown::default(), now()), Due::Nothing));

    // One that fails delays only what is for the person: the question is still corrected.
    board.manner.people.clear();
    board.manner.directory = Some(asks("exit 3"));
    let mut shown = Shown::default();
    shown.messages.insert(Subject::Request, posted(&wanted(&json!({}))));
    assert!(matches!(board.due(true, &denied, &shown, now()), Due::Now(_)));
    let http = Http::new(Vec::new(), crate::http::Deadlines::USUAL);
    let failed = board.show(&http, false, &denied, None, now()).await;
    let Some((Outcome::Later { why, .. }, _)) = failed else { panic!("{failed:?}") };
    assert!(why.contains("`/bin/sh` failed with exit code 3"), "{why}");
}
