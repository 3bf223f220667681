//! Slack, Teams, Mattermost and PagerDuty, as their documentation says.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use jit_notify::board::{Board, Mattermost, PagerDuty, Service, Slack, Teams};
use jit_notify::outcome::Outcome;
use serde_json::{Value, json};

use crate::service::{Played, Said, mattermost, slack};
use crate::{Kept, approved, board, present, telling};

fn on_slack(played: &Played) -> Board {
    board(bot(played))
}

fn bot(played: &Played) -> Service {
    Service::Slack(Slack::new(played.target(), "xoxb-hush".to_owned().into(), "C024BE91L").unwrap())
}

fn later(outcome: Option<Outcome>) -> (Option<Duration>, String) {
    match outcome {
        Some(Outcome::Later { after, why }) => (after, why),
        other => panic!("{other:?}"),
    }
}

fn refused(outcome: Option<Outcome>) -> String {
    match outcome {
        Some(Outcome::Refused { why }) => why,
        other => panic!("{other:?}"),
    }
}

/// One message, which changes with the request.
#[tokio::test]
async fn slack_has_one_message_per_request() {
    let (played, messages) = slack().await;
    let mut kept = Kept::new(on_slack(&played));
    let now = Timestamp::now();
    kept.shows(&present("aaaa", now, &json!({})), now).await;
    kept.shows(&present("aaaa", now, &approved()), now).await;
    let messages = messages.lock().unwrap();
    assert_eq!(messages.len(), 1);
    let text = messages[0]["text"].as_str().unwrap();
    assert!(text.contains("\napproved by bob\n") && !text.contains("jit-login approve"), "{text}");
    assert!(text.contains("why: &lt;!channel&gt; queue is stuck"), "{text}");
    assert_eq!(messages[0]["metadata"]["event_payload"], json!({ "key": "aaaa.request" }));
}

/// Killed between the post and the mark: the message is found by its metadata and changed, not posted twice.
#[tokio::test]
async fn slack_finds_a_message_after_a_crash() {
    let (played, messages) = slack().await;
    let now = Timestamp::now();
    let asked = present("aaaa", now, &json!({}));
    Kept::new(on_slack(&played)).shows(&asked, now).await;
    // Nothing was kept.
    let mut kept = Kept::new(on_slack(&played));
    let counted = present(
        "aaaa",
        now,
        &json!({
            "agreed": ["bob"], "steps": [{"groups": ["leads"], "count": 2, "missing": 1}]
        }),
    );
    kept.shows(&counted, now).await;
    kept.shows(&present("aaaa", now, &approved()), now).await;
    let messages = messages.lock().unwrap();
    assert_eq!(messages.len(), 1, "{messages:?}");
    assert!(messages[0]["text"].as_str().unwrap().contains("approved by bob"));
}

/// 200 with `"ok": false` is an error: some pass, and the others park the message.
#[tokio::test]
async fn slack_tells_errors_in_words() {
    let (played, messages) = slack().await;
    let mut kept = Kept::new(on_slack(&played));
    let now = Timestamp::now();
    let asked = present("aaaa", now, &json!({}));
    let history = || played.says(200, None, &json!({ "ok": true, "messages": [] }));
    for (status, retry_after, body, waits) in [
        (200, None, json!({ "ok": false, "error": "channel_not_found" }), None),
        (200, None, json!({ "ok": false, "error": "msg_too_long" }), None),
        (200, None, json!({ "ok": false, "error": "internal_error" }), Some(None)),
        (200, None, json!("hello"), Some(None)),
        (429, Some(30), json!({ "ok": false, "error": "ratelimited" }), Some(Some(Duration::from_secs(30)))),
        (503, None, json!(""), Some(None)),
        (413, None, json!(""), None),
        (302, None, json!(""), None),
    ] {
        history();
        played.says(status, retry_after, &body);
        let outcome = kept.show(&asked, now).await;
        let why = match waits {
            Some(wait) => {
                let (after, why) = later(outcome);
                assert_eq!(after, wait, "{why}");
                why
            }
            None => refused(outcome),
        };
        assert!(!why.contains("hush"), "{why}");
        if let Some(word) = body.get("error").filter(|_| status == 200) {
            assert_eq!(why, format!("Slack answered `{}`", word.as_str().unwrap()));
        }
    }
    assert!(messages.lock().unwrap().is_empty());
    // A bot that may post, but not read.
    played.says(200, None, &json!({ "ok": false, "error": "missing_scope" }));
    kept.shows(&asked, now).await;
    assert_eq!(messages.lock().unwrap().len(), 1);
}

/// Somebody deleted the message: an open question is asked again, and what is over is left alone.
#[tokio::test]
async fn slack_posts_a_deleted_question_again() {
    let (played, messages) = slack().await;
    let mut kept = Kept::new(on_slack(&played));
    let now = Timestamp::now();
    kept.shows(&present("aaaa", now, &json!({})), now).await;
    messages.lock().unwrap().clear();
    kept.shows(&present("aaaa", now, &json!({ "reason": "still stuck" })), now).await;
    assert_eq!(messages.lock().unwrap().len(), 1);
    messages.lock().unwrap().clear();
    kept.shows(&present("aaaa", now, &approved()), now).await;
    assert!(messages.lock().unwrap().is_empty());
}

/// The requester hears of the decision in a message of their own.
#[tokio::test]
async fn slack_tells_the_requester() {
    let (played, messages) = slack().await;
    let mut kept = Kept::new(telling(bot(&played), &[("alice", "U024BE7LH")]));
    let now = Timestamp::now();
    kept.shows(&present("aaaa", now, &json!({ "phase": "denied", "closedBy": "bob" })), now).await;
    let lapsed = json!({ "phase": "denied", "closedBy": "bob", "closingWords": "use staging" });
    kept.shows(&present("aaaa", now, &lapsed), now).await;
    let messages = messages.lock().unwrap();
    assert_eq!(messages.len(), 2);
    assert_eq!((&messages[0]["channel"], &messages[1]["channel"]), (&json!("DU024BE7LH"), &json!("DU024BE7LH")));
    assert_eq!(messages[1]["thread_ts"], messages[0]["ts"]);
    assert!(messages[1]["text"].as_str().unwrap().contains("denied by bob: use staging"));
}

/// A burst: ten messages in a minute at most, and every request is in one of them.
#[tokio::test]
async fn many_requests_become_one_message() {
    let (played, messages) = slack().await;
    let mut kept = Kept::new(on_slack(&played));
    let start = Timestamp::now();
    let all: Vec<_> = (0..30).map(|n| present(&format!("id{n}"), start, &json!({}))).collect();
    let mut now = start;
    while kept.shown.len() < all.len() {
        for present in &all {
            let _ = kept.show(present, now).await;
        }
        now += SignedDuration::from_secs(1);
        assert!(now.duration_since(start) < SignedDuration::from_mins(1), "{} are shown", kept.shown.len());
    }
    {
        let messages = messages.lock().unwrap();
        assert_eq!(messages.len(), 10);
        let last = messages[9]["text"].as_str().unwrap();
        assert!(last.starts_with("21 requests wait on bastion-1"), "{last}");
        assert!(
            (9..30)
                .all(|n| messages.iter().any(|message| message["text"].as_str().unwrap().contains(&format!("id{n}"))))
        );
    }
    // What becomes of one of many is said below the message.
    let member = kept.shown.iter().find(|(_, shown)| shown.messages.values().any(|posted| posted.among_others));
    let member = member.unwrap().0.clone();
    kept.shows(&present(&member, start, &approved()), now).await;
    let messages = messages.lock().unwrap();
    assert_eq!((messages.len(), &messages[10]["thread_ts"]), (11, &messages[9]["ts"]));
}

/// A workflow takes a card, and the outcome is a second one. Its URL is a secret.
#[tokio::test]
async fn teams_gets_a_card_and_its_outcome() {
    let played = Played::start(|_| Said { status: 202, retry_after: None, body: String::new() }).await;
    let mut kept = Kept::new(board(Service::Teams(Teams::new(played.url().into()).unwrap())));
    let now = Timestamp::now();
    kept.shows(&present("aaaa", now, &json!({})), now).await;
    kept.shows(&present("aaaa", now, &approved()), now).await;
    let cards = played.asked("/hush");
    assert_eq!(cards.len(), 2);
    for card in &cards {
        assert_eq!((card.method.as_str(), &card.body["type"]), ("POST", &json!("message")));
        let attachment = &card.body["attachments"][0];
        assert_eq!(attachment["contentType"], "application/vnd.microsoft.card.adaptive");
        assert_eq!(
            (&attachment["content"]["type"], &attachment["content"]["version"]),
            (&json!("AdaptiveCard"), &json!("1.4"))
        );
    }
    assert!(cards[1].body.to_string().contains("approved by bob"));

    let other = present("bbbb", now, &json!({}));
    played.says(413, None, &json!(format!("too large for {}", played.url())));
    let why = refused(kept.show(&other, now).await);
    assert!(why.contains("413") && !why.contains("/hush"), "{why}");
    played.says(429, Some(7), &json!({}));
    assert_eq!(later(kept.show(&other, now).await).0, Some(Duration::from_secs(7)));
}

/// As in Slack, with Mattermost's requests.
#[tokio::test]
async fn mattermost_has_one_post_per_request() {
    let (played, posts) = mattermost().await;
    let on_mattermost = || {
        let service = Mattermost::new(played.target(), "hush".to_owned().into(), "channel1").unwrap();
        telling(Service::Mattermost(service), &[("alice", "user1")])
    };
    let now = Timestamp::now();
    Kept::new(on_mattermost()).shows(&present("aaaa", now, &json!({})), now).await;
    // Nothing was kept: it is found by its property.
    let mut kept = Kept::new(on_mattermost());
    kept.shows(&present("aaaa", now, &json!({})), now).await;
    assert_eq!(posts.lock().unwrap().len(), 1);
    let approved = present("aaaa", now, &approved());
    assert!(matches!(kept.show(&approved, now).await, Some(Outcome::Delivered { .. })));
    kept.shows(&approved, now).await;
    let posts: Vec<Value> = posts.lock().unwrap().values().cloned().collect();
    assert_eq!(posts.len(), 2);
    assert_eq!((&posts[0]["channel_id"], &posts[1]["channel_id"]), (&json!("channel1"), &json!("directuser1")));
    let message = posts[0]["message"].as_str().unwrap();
    assert!(message.starts_with("```text\nalice requests") && message.contains("\napproved by bob\n"), "{message}");

    played.says(403, None, &json!({ "id": "api.context.permissions.app_error", "message": "hush" }));
    let why = refused(kept.show(&present("bbbb", now, &json!({})), now).await);
    assert!(why.contains("403") && !why.contains("hush"), "{why}");
    played.says(429, Some(3), &json!({}));
    assert_eq!(later(kept.show(&present("bbbb", now, &json!({})), now).await).0, Some(Duration::from_secs(3)));
}

/// An alert per question, with one key, and it is resolved when somebody answered.
#[tokio::test]
async fn pagerduty_is_triggered_and_resolved() {
    let played = Played::start(|asked| {
        Said::json(
            202,
            &json!({ "status": "success", "message": "Event processed", "dedup_key": asked.body["dedup_key"] }),
        )
    })
    .await;
    let pager = || board(Service::PagerDuty(PagerDuty::new(played.target(), "R0hush".to_owned().into())));
    let now = Timestamp::now();
    let mut kept = Kept::new(pager());
    kept.shows(&present("aaaa", now, &json!({})), now).await;
    // A crash: the same alert again.
    let mut kept = Kept::new(pager());
    kept.shows(&present("aaaa", now, &json!({})), now).await;
    kept.shows(&present("aaaa", now, &approved()), now).await;
    let events: Vec<Value> = played.asked("/v2/enqueue").into_iter().map(|asked| asked.body).collect();
    let seen: Vec<_> = events.iter().map(|event| event["event_action"].as_str().unwrap()).collect();
    assert_eq!(seen, ["trigger", "trigger", "resolve"]);
    assert!(events.iter().all(|event| event["dedup_key"] == "jitd.aaaa.request" && event["routing_key"] == "R0hush"));
    let payload = &events[0]["payload"];
    assert_eq!((&payload["source"], &payload["severity"]), (&json!("bastion-1"), &json!("error")));
    assert_eq!(payload["custom_details"]["answer"], "jit-login approve aaaa");

    let other = present("bbbb", now, &json!({}));
    played.says(400, None, &json!({ "status": "invalid event", "errors": ["no such key R0hush"] }));
    let why = refused(kept.show(&other, now).await);
    assert!(why.contains("invalid event") && !why.contains("R0hush"), "{why}");
    played.says(429, None, &json!({}));
    assert_eq!(later(kept.show(&other, now).await).0, None);
}
