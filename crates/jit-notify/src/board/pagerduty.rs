//! PagerDuty, Events API v2 (<https://developer.pagerduty.com/docs/events-api-v2-overview>).
//!
//! An alert per question: triggered when it is asked, resolved when nobody has to answer any more, because a page that stays open
//! is worse than none. The `dedup_key` is the grant and the subject, so that a repeat is the same alert. Its texts have no markup.

use http::Method;
use jiff::Timestamp;
use jit_core::rbac::risk::Severity;
use serde_json::{Map, Value, json};

use super::Message;
use super::call::{Caller, without};
use crate::http::{Http, Target};
use crate::outcome::Outcome;
use crate::text::{Room, Text};
use jit_host::secret::Secret;

/// A service of PagerDuty.
#[derive(Debug)]
pub struct PagerDuty {
    events: Target,
    key: Secret,
}

/// In characters: the longest `summary`.
const LONGEST_SUMMARY: usize = 1024;

impl PagerDuty {
    /// An event may have 512 KB.
    pub(super) const ROOM: Room = Room { each: 2_000, all: 16_000, line: 3, weight: |_| 1 };

    /// An integration by its routing key, at `https://events.pagerduty.com` or another region's host.
    #[must_use]
    pub fn new(events: Target, key: Secret) -> Self {
        Self { events, key }
    }

    pub(super) async fn perform(&self, http: &Http, message: &Message, now: Timestamp) -> Outcome {
        let caller = Caller { http, base: &self.events, token: None, now };
        let outcome = match caller.call(Method::POST, "/v2/enqueue", Some(&event(self.key.expose(), message))).await {
            Ok(answer) => Outcome::of(&answer, now),
            Err(outcome) => outcome,
        };
        without(outcome, &self.key)
    }
}

fn event(routing_key: &str, message: &Message) -> Value {
    // One key for the question and its end, whatever text they have.
    let key = format!("jitd.{}.{}", message.grant, message.subject.as_str());
    if !message.wanted.open {
        return json!({ "routing_key": routing_key, "event_action": "resolve", "dedup_key": key });
    }
    let card = &message.wanted.card;
    let mut details = Map::new();
    for (name, value) in card.lines() {
        let earlier = details.remove(name.as_str());
        let earlier =
            earlier.as_ref().and_then(Value::as_str).map(|earlier| format!("{earlier}; ")).unwrap_or_default();
        details.insert(name.to_string(), json!(format!("{earlier}{value}")));
    }
    details.extend(card.to_type().map(|command| ("answer".to_owned(), json!(command.as_str()))));
    json!({
        "routing_key": routing_key,
        "event_action": "trigger",
        "dedup_key": key,
        "client": "jitd",
        "payload": {
            "summary": Text::within(card.title(), LONGEST_SUMMARY, |_| 1).as_str(),
            "source": message.host,
            "severity": severity(message.wanted.risk),
            "component": "jitd",
            "class": message.subject.as_str(),
            "custom_details": details,
        },
    })
}

/// The severity in PagerDuty's words.
fn severity(risk: Option<Severity>) -> &'static str {
    match risk {
        Some(Severity::Critical | Severity::Unclassified) => "critical",
        Some(Severity::High) => "error",
        Some(Severity::Medium) => "warning",
        Some(Severity::Low) | None => "info",
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::board) fn body(message: &Message) -> Value {
        event("R0", message)
    }
}
