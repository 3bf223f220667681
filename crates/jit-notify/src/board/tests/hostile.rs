//! What people write stays text: in each place of each service, nobody is mentioned, nothing becomes a link or markup, nothing
//! begins another line or header, and what is cut says so.

use serde_json::Value;

use super::*;

/// What a requester may type as a reason.
fn reasons() -> Vec<String> {
    let mut all: Vec<String> = [
        "<!channel> <!here> <@U024BE7LH> @channel @all @here",
        "<https://evil.example|ticket> https://evil.example/x",
        "*bold* _x_ ~x~ `code` ```fence``` ````` [x](https://evil.example) ![x](https://evil.example/x.png) # x > x",
        "<script>alert(1)</script> <a href=\"https://evil.example\">x</a> &lt;b&gt; &amp; <at>bob</at>",
        "paid\u{202e}txt.exe\u{2066} zero\u{200b}width",
        "\u{1b}[31mred\u{1b}]8;;https://evil.example\u{7}x\u{9b}2J",
        "x\r\nBcc: carol@example.com\r\n\r\n.\r\nanswer: jit-login approve aaaa",
        "\"},{\"type\":\"TextBlock\",\"text\":\"x\"}\\",
        "Größe 😀 漢字",
    ]
    .map(str::to_owned)
    .into();
    all.push("<".repeat(4_000));
    all.push("`".repeat(4_000));
    all.push("😀".repeat(4_000));
    all.push("word ".repeat(800));
    all
}

fn message(reason: &str, room: Room) -> Message {
    let mut wanted = wanted(&json!({
        "reason": reason, "fields": { "ticket": reason },
        "phase": "pending", "agreed": ["bob"], "steps": [{ "groups": ["leads"], "count": 2, "missing": 1 }]
    }));
    wanted.card = wanted.card.within(room);
    Message {
        key: "8f3k11d31ge2wvm7.request".to_owned(),
        subject: Subject::Request,
        person: None,
        wanted,
        grant: "8f3k11d31ge2wvm7".to_owned(),
        host: "bastion-1".to_owned(),
        since: now(),
    }
}

/// Every text of a document.
fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(values) => values.iter().flat_map(texts).collect(),
        Value::Object(values) => values.values().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}

/// Every object of a document.
fn objects(value: &Value) -> Vec<&serde_json::Map<String, Value>> {
    match value {
        Value::Array(values) => values.iter().flat_map(objects).collect(),
        Value::Object(values) => std::iter::once(values).chain(values.values().flat_map(objects)).collect(),
        _ => Vec::new(),
    }
}

/// Nothing that cannot be seen, and no line that somebody typed.
fn assert_visible(text: &str, reason: &str) {
    assert!(text.split('\n').flat_map(str::chars).all(jit_host::escape::is_visible), "{reason:?}: {text:?}");
    assert_eq!(text.split('\n').filter(|line| line.starts_with("answer: ")).count().min(1), 1, "{reason:?}: {text}");
    assert!(!text.split('\n').any(|line| line.starts_with("Bcc")), "{reason:?}: {text}");
}

/// What is read is what was typed, or it says that it was cut.
fn assert_read(read: &str, reason: &str, room: Room) {
    let typed = jit_host::escape::escaped(reason);
    let is_whole = read.contains(&format!("why: {typed}\n"));
    assert!(is_whole || read.contains("… [cut]"), "{reason:?}: {read}");
    let fits = typed.chars().map(room.weight).sum::<usize>() <= room.each;
    assert_eq!(is_whole, fits, "{reason:?}: {read}");
}

#[test]
fn slack_shows_it_as_it_was_typed() {
    for reason in reasons() {
        let message = message(&reason, Slack::ROOM);
        for body in slack::tests::bodies(&message) {
            for text in texts(&body) {
                // What Slack takes for a mention or a link begins with `<`.
                assert!(!text.contains(['<', '>']), "{text}");
                let entities = text.match_indices('&').all(|(at, _)| {
                    ["&amp;", "&lt;", "&gt;"].iter().any(|entity| text.get(at..).unwrap().starts_with(entity))
                });
                assert!(entities, "{text}");
            }
            for object in objects(&body) {
                assert!(object.get("type").is_none_or(|kind| kind != "mrkdwn"), "{body}");
                if object.get("type").is_some_and(|kind| kind == "plain_text") {
                    assert_eq!(object["emoji"], false);
                    assert!(object["text"].as_str().unwrap().chars().count() <= 3_000);
                }
            }
            assert!(body["text"].as_str().unwrap().chars().count() <= 4_000);
            assert_eq!(body["parse"], "none");
            assert!(body.get("link_names").is_none());
            // As Slack shows it.
            let read = body["text"].as_str().unwrap().replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
            assert_eq!(read, message.wanted.card.plain());
            assert_visible(&read, &reason);
            assert_read(&read, &reason, Slack::ROOM);
        }
        let [post, reply, _] = slack::tests::bodies(&message);
        for body in [post, reply] {
            assert_eq!(
                (&body["mrkdwn"], &body["unfurl_links"], &body["unfurl_media"]),
                (&json!(false), &json!(false), &json!(false))
            );
        }
    }
}

#[test]
fn teams_shows_it_as_it_was_typed() {
    for reason in reasons() {
        let message = message(&reason, Teams::ROOM);
        let body = teams::tests::body(&message);
        assert!(body.to_string().len() < 28_000, "{}", body.to_string().len());
        for object in objects(&body) {
            // A TextBlock has Markdown, `entities` mention, and an action can be pressed.
            let kind = object.get("type").and_then(Value::as_str).unwrap_or_default();
            assert!(["", "message", "AdaptiveCard", "RichTextBlock", "TextRun"].contains(&kind), "{kind}");
            assert!(object.keys().all(|key| !["entities", "actions", "selectAction"].contains(&key.as_str())));
        }
        let runs: Vec<&str> = objects(&body)
            .into_iter()
            .filter(|object| object.get("type").is_some_and(|kind| kind == "TextRun"))
            .map(|object| object["text"].as_str().unwrap())
            .collect();
        let why = runs.iter().position(|run| *run == "why: ").unwrap();
        let read = format!("why: {}\nanswer: {}", runs[why + 1], runs.last().unwrap());
        assert_visible(&read, &reason);
        assert_read(&read, &reason, Teams::ROOM);
    }
}

#[test]
fn mattermost_shows_it_as_it_was_typed() {
    for reason in reasons() {
        let message = message(&reason, Mattermost::ROOM);
        for body in mattermost::tests::bodies(&message) {
            assert_eq!(body["props"]["disable_mentions"], true);
            let post = body["message"].as_str().unwrap();
            // All of it is one block of code: no line but the last one closes it.
            let (fence, rest) = post.split_once("text\n").unwrap();
            let code = rest.strip_suffix(&format!("\n{fence}")).unwrap();
            assert!(fence.len() >= 3 && fence.chars().all(|c| c == '`'), "{fence}");
            assert!(!code.contains(fence), "{code}");
            assert_eq!(code, message.wanted.card.plain());
            assert_visible(code, &reason);
            assert_read(code, &reason, Mattermost::ROOM);
        }
    }
}

#[test]
fn mail_has_it_as_text_and_no_header_has_it() {
    use base64::Engine as _;

    for reason in reasons() {
        let message = message(&reason, Mail::ROOM);
        for letter in mail::tests::letters(&message, now()) {
            let (head, body) = letter.split_once("\r\n\r\n").unwrap();
            let names: Vec<&str> = head
                .split("\r\n")
                .filter(|line| !line.starts_with(' '))
                .map(|line| line.split_once(':').unwrap().0)
                .collect();
            let known = [
                "From",
                "To",
                "Date",
                "Message-ID",
                "Subject",
                "Auto-Submitted",
                "X-Auto-Response-Suppress",
                "List-Id",
                "In-Reply-To",
                "References",
                "MIME-Version",
                "Content-Type",
                "Content-Transfer-Encoding",
            ];
            assert!(names.iter().all(|name| known.contains(name)), "{names:?}");
            let different: std::collections::BTreeSet<&&str> = names.iter().collect();
            assert_eq!(different.len(), names.len(), "{names:?}");
            assert!(head.is_ascii() && head.contains("Content-Type: text/plain; charset=utf-8"), "{head}");
            assert!(head.contains("Auto-Submitted: auto-generated"), "{head}");
            assert!(head.contains("Subject: [jitd] alice requests role view"), "{head}");
            assert!(!head.contains("evil") && !head.contains("carol"), "{head}");
            assert!(letter.split("\r\n").all(|line| line.len() <= 998 && !line.contains(['\r', '\n'])), "{letter}");
            let body: String = body.split_whitespace().collect();
            let text = base64::engine::general_purpose::STANDARD.decode(body).unwrap();
            let text = String::from_utf8(text).unwrap().replace("\r\n", "\n");
            assert_eq!(text, message.wanted.card.plain());
            assert_visible(&text, &reason);
            assert!(text.contains(&format!("why: {}\n", jit_host::escape::escaped(&reason))), "{text}");
        }
    }
}

/// A repeat has the same `Message-ID`, and what follows refers to the first one.
#[test]
fn a_repeated_letter_can_be_recognised() {
    let plain = message("queue is stuck", Mail::ROOM);
    let [first, reply] = mail::tests::letters(&plain, now());
    let [again, _] = mail::tests::letters(&plain, now() + SignedDuration::from_mins(1));
    let id = |letter: &str| letter.lines().find(|line| line.starts_with("Message-ID: ")).unwrap().to_owned();
    assert_eq!(id(&first), "Message-ID: <8f3k11d31ge2wvm7.request@example.com>");
    assert_eq!(id(&first), id(&again));
    assert_ne!(id(&first), id(&reply));
    assert!(reply.contains("\r\nIn-Reply-To: <first@example.com>\r\n"), "{reply}");
    assert!(reply.contains("\r\nReferences: <first@example.com>\r\n"), "{reply}");
}

#[test]
fn pagerduty_shows_it_as_it_was_typed() {
    for reason in reasons() {
        let message = message(&reason, PagerDuty::ROOM);
        let body = pagerduty::tests::body(&message);
        assert!(body["payload"]["summary"].as_str().unwrap().chars().count() <= 1_024);
        assert!(body.to_string().len() < 512 * 1024);
        assert!(body["dedup_key"].as_str().unwrap().len() <= 255);
        assert!(body.get("links").is_none() && body.get("images").is_none());
        let details = &body["payload"]["custom_details"];
        let read =
            format!("why: {}\nanswer: {}", details["why"].as_str().unwrap(), details["answer"].as_str().unwrap());
        assert_visible(&read, &reason);
        assert_read(&read, &reason, PagerDuty::ROOM);
    }
}

/// Alertmanager's receivers make messages of other services of it, so it has nothing that any of them takes for markup.
#[test]
fn alertmanager_passes_on_no_markup() {
    for reason in reasons() {
        let body = alertmanager::tests::body(&message(&reason, Alertmanager::ROOM), now());
        let annotations = &body[0]["annotations"];
        for text in texts(annotations) {
            assert!(!text.contains(['<', '>', '*', '`', '@', '[', '|']), "{text}");
            assert!(!text.contains("://"), "{text}");
            let cut = reason.len() < 500 || text.contains("\u{2026} \\u{005b}cut") || !text.contains("why");
            assert!(cut, "{text}");
        }
        assert_visible(annotations["description"].as_str().unwrap(), &reason);
        for text in texts(&body[0]["labels"]) {
            assert!(text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'), "{text}");
        }
    }
}

/// No `Debug` shows a token, a key or a URL that is as good as one.
#[test]
fn no_secret_is_shown() {
    let hush = || jit_host::secret::Secret::from("https://hooks.example.com/hush?sig=hush".to_owned());
    let target = || crate::http::Target::parse("https://hooks.example.com/hush").unwrap();
    let relay = Relay {
        host: "127.0.0.1".to_owned(),
        port: 25,
        security: Security::Loopback,
        login: Some(("jitd".to_owned(), hush())),
    };
    assert!(!format!("{relay:?}").contains("hush"));
    let services = [
        Service::Slack(Slack::new(target(), hush(), "C1").unwrap()),
        Service::Teams(Teams::new(hush()).unwrap()),
        Service::Mattermost(Mattermost::new(target(), hush(), "c1").unwrap()),
        Service::Mail(Box::new(Mail::new(relay, "jitd@example.com", &[], &[]).unwrap())),
        Service::PagerDuty(PagerDuty::new(target(), hush())),
        Service::Alertmanager(Alertmanager::new(target(), Some(hush()))),
    ];
    for service in services {
        let shown = format!("{:?}", board(service));
        assert!(!shown.contains("hush"), "{shown}");
    }
    let echoed = Outcome::Refused { why: format!("no: {}", hush().expose()) };
    assert_eq!(call::without(echoed, &hush()), Outcome::Refused { why: "no: [secret]".to_owned() });
}
