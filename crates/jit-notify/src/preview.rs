//! What a board would say about a made-up request, so that an administrator reads its words before anybody else does.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use jit_wire::GrantView;
use jit_wire::notice::Audience;
use serde_json::{Value, json};

use crate::config::Wording;
use crate::present::Subject;
use crate::text::Card;
use crate::text::says::{Origin, Wanted, news, question};

/// The message of a board about `subject` at `now`, for a request that has something for every line.
///
/// # Errors
/// Never for a request of ours; the form of the error is serde's.
pub fn preview(wording: &Wording, subject: Subject, now: Timestamp) -> Result<Option<Card>, serde_json::Error> {
    let Wording { zone, templates, .. } = wording;
    let origin = Origin { host: "bastion-1".to_owned(), zone: zone.clone(), templates: Arc::new(templates.clone()) };
    let own =
        templates.of(subject).own_fields().chain(["ticket"]).map(|name| (name.to_owned(), typed(name).to_owned()));
    let grant = GrantView { fields: own.collect(), ..serde_json::from_value(request(subject, now))? };
    let audience = Audience { to_answer_people: vec!["bob".to_owned()], ..Audience::default() };
    let wanted = match subject {
        Subject::News => news(&origin, &grant, None, now),
        Subject::Request | Subject::Extension | Subject::Review => {
            question(&origin, &grant, &audience, subject, None, now)
        }
    };
    Ok(wanted.map(|Wanted { card, .. }| card))
}

/// What a requester types into a field.
fn typed(field: &str) -> &str {
    if field == "ticket" { "OPS-7" } else { "(what the requester typed)" }
}

fn request(subject: Subject, now: Timestamp) -> Value {
    let later = |minutes: i64| now.checked_add(SignedDuration::from_mins(minutes)).unwrap_or(now);
    let steps = json!([{ "groups": ["payments-leads"], "count": 2, "missing": 1 }]);
    let mut request = json!({
        "id": "8f3k11d31ge2wvm7", "phase": "pending", "requester": "alice", "cluster": "prod",
        "namespaces": ["payments"], "role": "edit", "access": "role edit", "duration": "15m",
        "reason": "the queue is stuck", "rule": "oncall", "steps": steps, "agreed": ["dave"],
        "digest": "", "key": "", "requestedAt": now, "deadline": later(30), "start": later(10),
        "certificates": 0, "answers": 0, "breakGlassFrom": later(15), "risk": "high",
        "narrowedFrom": "role admin in namespace payments for 1h",
        "cameInAs": [{ "who": "dave", "login": "root" }],
        "deniedBefore": { "grant": "2r8w0v5k3j1t7x9z", "at": later(-120), "by": "carol", "reason": "not without a ticket" },
        "risks": { "mayPersist": true, "mayStream": true, "findings": [
            { "id": "E1", "severity": "high", "why": "reads secrets", "persists": true, "streams": false },
            { "id": "E2", "severity": "medium", "why": "reads pods", "persists": false, "streams": false }
        ] }
    });
    let more = match subject {
        Subject::Request => json!({}),
        Subject::Extension => json!({ "phase": "live", "extension": {
            "duration": "10m", "reason": "the queue fills again", "digest": "", "pendingUntil": later(10),
            "steps": steps, "agreed": ["dave"]
        } }),
        Subject::Review => json!({ "phase": "live", "breakGlass": {
            "reason": "customers cannot pay", "brokenAt": now, "reviewUntil": later(24 * 60), "digest": "",
            "steps": steps, "reviews": [], "owed": true, "overdue": false
        } }),
        Subject::News => json!({ "phase": "approved", "agreed": ["bob", "dave"] }),
    };
    if let (Value::Object(request), Value::Object(more)) = (&mut request, more) {
        request.extend(more);
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::template::{FIELDS, Template, Templates};

    fn previewed(subject: Subject, templates: Templates) -> String {
        let wording = Wording { channel: "leads".to_owned(), zone: "Europe/Berlin".parse().unwrap(), templates };
        preview(&wording, subject, "2026-11-29T13:00:00Z".parse().unwrap()).unwrap().unwrap().plain()
    }

    /// An administrator sees each line that a message can have.
    #[test]
    fn a_preview_has_every_line() {
        for subject in Subject::ALL {
            let mut text = "{what}\n".to_owned();
            let mut names = Vec::new();
            // Which field exists for which subject, the template says.
            for field in FIELDS {
                let line = format!("<{0}>: {{{0}}}\n", field.name);
                if Template::parse(subject, &format!("{{what}}\n{line}")).is_ok() {
                    text += &line;
                    names.push(field.name);
                }
            }
            text += "{fields}\nnumber: {field.number}\n";
            let shown =
                previewed(subject, Templates::default().with(subject, Template::parse(subject, &text).unwrap()));
            for name in names {
                assert!(shown.contains(&format!("\n<{name}>: ")), "{name} of {subject:?}: {shown}");
            }
            assert!(shown.contains("\nticket: OPS-7") && shown.contains("\nnumber: (what"), "{shown}");
        }
    }

    #[test]
    fn the_built_in_texts_are_previewed() {
        let request = previewed(Subject::Request, Templates::default());
        assert!(
            request.starts_with("alice requests role edit in namespace payments on cluster prod, for 15m"),
            "{request}"
        );
        assert!(request.ends_with("\nanswer: jit-login approve 8f3k11d31ge2wvm7"), "{request}");
        assert!(
            previewed(Subject::Extension, Templates::default()).starts_with("alice requests 10m more of role edit")
        );
        assert!(previewed(Subject::Review, Templates::default()).starts_with("alice used break-glass: role edit"));
        assert!(previewed(Subject::News, Templates::default()).starts_with("your request 8f3k11d31ge2wvm7: role edit"));
    }
}
