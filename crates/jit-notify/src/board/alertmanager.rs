//! Alertmanager, API v2 (<https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml>).
//!
//! An alert per question, which ends when nobody has to answer any more, and by itself at the deadline. Alertmanager's receivers
//! put annotations into messages of other services, and some take them for markup. So every character that could be markup
//! somewhere is written as `\u{003c}`, and `://` loses its form, so that nothing becomes a link or a mention there.

use std::fmt::Write as _;

use http::Method;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::Message;
use super::call::{Caller, without};
use crate::http::{Http, Target};
use crate::outcome::Outcome;
use crate::text::Room;
use jit_host::secret::Secret;

/// A server.
#[derive(Debug)]
pub struct Alertmanager {
    server: Target,
    token: Option<Secret>,
}

/// How long an alert lasts if its question has no deadline; Alertmanager would end it after five minutes.
const WITHOUT_A_DEADLINE: SignedDuration = SignedDuration::from_hours(1);

impl Alertmanager {
    /// Small enough for what receivers make of it.
    pub(super) const ROOM: Room =
        Room { each: 1_000, all: 4_000, line: 3, weight: |c| if is_plain(c) { 1 } else { 8 } };

    /// A server, with a token if something in front of it wants one.
    #[must_use]
    pub fn new(server: Target, token: Option<Secret>) -> Self {
        Self { server, token }
    }

    pub(super) async fn perform(&self, http: &Http, message: &Message, now: Timestamp) -> Outcome {
        let caller = Caller { http, base: &self.server, token: self.token.as_ref(), now };
        let outcome = match caller.call(Method::POST, "/api/v2/alerts", Some(&alerts(message, now))).await {
            // An alert has no other name than its labels; it can be sent again under them.
            Ok(answer) => match Outcome::of(&answer, now) {
                Outcome::Delivered { .. } => Outcome::Delivered { remote: Some(message.grant.clone()) },
                other => other,
            },
            Err(outcome) => outcome,
        };
        match &self.token {
            Some(token) => without(outcome, token),
            None => outcome,
        }
    }
}

fn alerts(message: &Message, now: Timestamp) -> Value {
    let wanted = &message.wanted;
    let ends_at = if wanted.open {
        wanted.until.or_else(|| now.checked_add(WITHOUT_A_DEADLINE).ok()).unwrap_or(now)
    } else {
        now
    };
    json!([{
        "labels": {
            "alertname": "JitdWaitsForAnAnswer",
            "grant": message.grant,
            "subject": message.subject.as_str(),
            "host": message.host,
            "risk": wanted.risk.map_or("none", |risk| risk.as_str()),
        },
        "annotations": {
            "summary": without_markup(wanted.card.title().as_str()),
            "description": without_markup_in_lines(&super::body(&wanted.card)),
        },
        "endsAt": ends_at.to_string(),
    }])
}

fn without_markup_in_lines(text: &str) -> String {
    text.split('\n').map(without_markup).collect::<Vec<_>>().join("\n")
}

/// `text` without anything that Slack, Teams, Mattermost, HTML or Markdown take for more than text.
fn without_markup(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    // The first slash of `://`.
    for c in text.replace("://", ":\0/").chars() {
        if c == '\0' {
            plain.push_str("\\u{002f}");
        } else if is_plain(c) {
            plain.push(c);
        } else {
            let _ = write!(plain, "\\u{{{:04x}}}", u32::from(c));
        }
    }
    plain
}

/// Whether no service takes this character for markup.
fn is_plain(c: char) -> bool {
    !matches!(c, '<' | '>' | '&' | '*' | '`' | '~' | '@' | '[' | ']' | '#' | '|' | '"')
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::board) fn body(message: &Message, now: Timestamp) -> Value {
        alerts(message, now)
    }
}
