//! Microsoft Teams, through a Workflow with the trigger "When a Teams webhook request is received"
//! (<https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/add-incoming-webhook>).
//!
//! A message is an Adaptive Card 1.4. A `TextRun` of a `RichTextBlock` has no Markdown, unlike a `TextBlock`, and a mention needs
//! an `entities` list, which no card of ours has. Such a workflow cannot change a card, so the outcome is a second one, and
//! it has no key against repeats: a card of which we never heard the answer is posted twice.

use http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::Message;
use super::call::without;
use crate::http::{Http, Target};
use crate::outcome::Outcome;
use crate::text::{Card, Room};
use jit_host::secret::Secret;

/// A channel behind a workflow.
#[derive(Debug)]
pub struct Teams {
    to: Target,
    url: Secret,
}

impl Teams {
    /// A message may have about 28 KB; this is in bytes, with what JSON adds.
    pub(super) const ROOM: Room = Room { each: 6_000, all: 18_000, line: 160, weight: json_length };

    /// A workflow by its URL, which is as good as a password.
    ///
    /// # Errors
    /// The rest of a sentence that begins with the key's name. It does not contain the URL.
    pub fn new(url: Secret) -> Result<Self, String> {
        Ok(Self { to: Target::parse(url.expose())?, url })
    }

    pub(super) async fn perform(&self, http: &Http, message: &Message, now: Timestamp) -> Outcome {
        let mut headers = http::HeaderMap::new();
        headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
        let sent =
            http.send(Method::POST, &self.to, headers, card(&message.wanted.card).to_string().into_bytes()).await;
        let outcome = match sent {
            Ok(answer) => Outcome::of(&answer, now),
            Err(error) => error.into(),
        };
        without(outcome, &self.url)
    }
}

/// The message with its card.
fn card(card: &Card) -> Value {
    let run = |text: &str, bold: bool| json!({ "type": "TextRun", "text": text, "weight": if bold { "Bolder" } else { "Default" } });
    let block = |runs: Vec<Value>| json!({ "type": "RichTextBlock", "inlines": runs });
    let mut body = vec![block(vec![run(card.title().as_str(), true)])];
    body.extend(card.what_became().map(|outcome| block(vec![run(outcome.as_str(), true)])));
    body.extend(
        card.lines()
            .iter()
            .map(|(name, value)| block(vec![run(&format!("{name}: "), true), run(value.as_str(), false)])),
    );
    body.extend(card.to_type().map(|command| {
        let command = json!({ "type": "TextRun", "text": command.as_str(), "fontType": "Monospace" });
        block(vec![run("answer: ", true), command])
    }));
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "msteams": { "width": "Full" },
                "body": body,
            },
        }],
    })
}

/// The bytes of a character in JSON.
fn json_length(c: char) -> usize {
    match c {
        '"' | '\\' => 2,
        c => c.len_utf8(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::board) fn body(message: &Message) -> Value {
        card(&message.wanted.card)
    }
}
