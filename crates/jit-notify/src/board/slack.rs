//! Slack, as a bot (<https://docs.slack.dev/reference/methods/chat.postMessage>).
//!
//! Everything that people wrote is in `plain_text` objects, which have no markup, and in the text of the push notice, for which
//! markup is switched off. In both, `&`, `<` and `>` are escaped, because Slack unescapes them
//! (<https://docs.slack.dev/messaging/formatting-message-text>): nobody is mentioned, and nothing becomes a link.
//!
//! Slack has no key against repeats. A message carries ours as metadata, and before a message is posted, it is looked for
//! there, because its post may be one of which we never heard the answer.

use http::Method;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::call::{Caller, is_id, parsed, without};
use super::{Action, Message, body};
use crate::http::{Http, Target};
use crate::outcome::Outcome;
use crate::text::{Card, Room};
use jit_host::secret::Secret;

/// A channel of a workspace.
#[derive(Debug)]
pub struct Slack {
    api: Target,
    token: Secret,
    channel: String,
}

/// The type of our messages' metadata.
const EVENT_TYPE: &str = "jitd_notice";

/// Errors after which the same request may succeed (the methods' lists of errors).
const TRANSIENT: &[&str] =
    &["ratelimited", "rate_limited", "internal_error", "fatal_error", "service_unavailable", "request_timeout"];

/// Errors of an update after which the message cannot be changed any more.
const UNCHANGEABLE: &[&str] = &["message_not_found", "cant_update_message", "edit_window_closed", "is_inactive"];

/// Why a call did not do what it should.
enum Fault {
    /// An answer with `"ok": false`, and its word.
    Said(String),
    Other(Outcome),
}

impl Slack {
    /// Slack's limit is 3,000 characters for the text of a block; the lines of a card are one block.
    pub(super) const ROOM: Room = Room { each: 1_400, all: 2_900, line: 3, weight: escaped_length };

    /// A channel by its id, as the bot of `token` at `api`.
    ///
    /// # Errors
    /// The rest of a sentence that begins with the key's name.
    pub fn new(api: Target, token: Secret, channel: &str) -> Result<Self, String> {
        if !is_id(channel) {
            return Err("channel must be the id of a channel, such as C024BE91L".to_owned());
        }
        Ok(Self { api, token, channel: channel.to_owned() })
    }

    pub(super) async fn perform(
        &self,
        http: &Http,
        action: &Action,
        message: &Message,
        person: Option<&str>,
        now: Timestamp,
    ) -> Outcome {
        let caller = Caller { http, base: &self.api, token: Some(&self.token), now };
        let outcome = match action {
            Action::Nothing => Ok(Outcome::Delivered { remote: None }),
            Action::Post => self.post(&caller, message, person).await,
            Action::Update { remote } => self.update(&caller, remote, message, person).await,
            Action::Reply { remote } => match remote.as_deref().and_then(address) {
                Some((channel, ts)) => self.send(&caller, channel, Some(ts), message).await,
                None => self.post(&caller, message, person).await,
            },
        };
        let outcome = outcome.unwrap_or_else(|fault| match fault {
            Fault::Said(word) if TRANSIENT.contains(&word.as_str()) => Outcome::Later { after: None, why: said(&word) },
            Fault::Said(word) => Outcome::Refused { why: said(&word) },
            Fault::Other(outcome) => outcome,
        });
        without(outcome, &self.token)
    }

    async fn post(&self, caller: &Caller<'_>, message: &Message, person: Option<&str>) -> Result<Outcome, Fault> {
        let channel = match person {
            None => self.channel.clone(),
            Some(user) => {
                let opened = call(caller, Method::POST, "/conversations.open", Some(&json!({ "users": user }))).await?;
                word(&opened, "/channel/id")?
            }
        };
        self.send(caller, &channel, None, message).await
    }

    /// Posts, unless that is done already.
    async fn send(
        &self,
        caller: &Caller<'_>,
        channel: &str,
        thread: Option<&str>,
        message: &Message,
    ) -> Result<Outcome, Fault> {
        if let Some(ts) = found(caller, channel, thread, message).await? {
            // It may have been posted with the words of an earlier state.
            let body = changed(channel, &ts, message);
            call(caller, Method::POST, "/chat.update", Some(&body)).await?;
            return Ok(Outcome::Delivered { remote: Some(format!("{channel}/{ts}")) });
        }
        let sent = call(caller, Method::POST, "/chat.postMessage", Some(&posted(channel, thread, message))).await?;
        let remote = format!("{}/{}", word(&sent, "/channel")?, text(&sent, "/ts")?);
        Ok(Outcome::Delivered { remote: Some(remote) })
    }

    async fn update(
        &self,
        caller: &Caller<'_>,
        remote: &str,
        message: &Message,
        person: Option<&str>,
    ) -> Result<Outcome, Fault> {
        let Some((channel, ts)) = address(remote) else { return self.post(caller, message, person).await };
        match call(caller, Method::POST, "/chat.update", Some(&changed(channel, ts, message))).await {
            Ok(_) => Ok(Outcome::Delivered { remote: Some(remote.to_owned()) }),
            // Somebody deleted it: what waits for an answer is posted again, what is over needs no correction.
            Err(Fault::Said(word)) if UNCHANGEABLE.contains(&word.as_str()) => {
                if message.wanted.open {
                    self.post(caller, message, person).await
                } else {
                    Ok(Outcome::Delivered { remote: None })
                }
            }
            Err(fault) => Err(fault),
        }
    }
}

/// The body of `chat.postMessage`.
fn posted(channel: &str, thread: Option<&str>, message: &Message) -> Value {
    let mut body = json!({
        "channel": channel,
        "text": escaped(&message.wanted.card.plain()),
        "blocks": blocks(&message.wanted.card),
        "metadata": metadata(&message.key),
        // No markup and no links in `text`, and no previews.
        "mrkdwn": false,
        "parse": "none",
        "unfurl_links": false,
        "unfurl_media": false,
    });
    if let (Some(body), Some(thread)) = (body.as_object_mut(), thread) {
        body.insert("thread_ts".to_owned(), json!(thread));
    }
    body
}

/// The body of `chat.update`.
fn changed(channel: &str, ts: &str, message: &Message) -> Value {
    json!({
        "channel": channel,
        "ts": ts,
        "text": escaped(&message.wanted.card.plain()),
        "blocks": blocks(&message.wanted.card),
        "metadata": metadata(&message.key),
        "parse": "none",
    })
}

fn metadata(key: &str) -> Value {
    json!({ "event_type": EVENT_TYPE, "event_payload": { "key": key } })
}

fn blocks(card: &Card) -> Vec<Value> {
    let plain = |text: &str| json!({ "type": "section", "text": { "type": "plain_text", "text": escaped(text), "emoji": false } });
    let mut blocks = vec![plain(card.title().as_str())];
    blocks.extend(card.what_became().map(|outcome| plain(outcome.as_str())));
    let body = body(card);
    if !body.is_empty() {
        blocks.push(plain(&body));
    }
    blocks
}

/// The `ts` of a message with this key that is there already.
async fn found(
    caller: &Caller<'_>,
    channel: &str,
    thread: Option<&str>,
    message: &Message,
) -> Result<Option<String>, Fault> {
    let oldest = message.since.checked_sub(SignedDuration::from_mins(1)).unwrap_or(message.since).as_second();
    let rest = format!("channel={channel}&include_all_metadata=true&limit=200&oldest={oldest}");
    let path = match thread {
        None => format!("/conversations.history?{rest}"),
        Some(ts) => format!("/conversations.replies?{rest}&ts={ts}"),
    };
    let history = match call(caller, Method::GET, &path, None).await {
        Ok(history) => history,
        // A bot that may post but not read: a repeat is better than silence.
        Err(Fault::Said(word)) if !TRANSIENT.contains(&word.as_str()) => {
            tracing::warn!(error = word, "Slack does not let us look for a message, so one may be posted twice");
            return Ok(None);
        }
        Err(fault) => return Err(fault),
    };
    let messages = history.get("messages").and_then(Value::as_array).into_iter().flatten();
    let is_ours = |known: &&Value| {
        known.pointer("/metadata/event_type").is_some_and(|kind| kind == EVENT_TYPE)
            && known.pointer("/metadata/event_payload/key").is_some_and(|key| *key == message.key)
    };
    Ok(messages.into_iter().find(is_ours).and_then(|known| known.get("ts")?.as_str()).map(str::to_owned))
}

/// An answer with `"ok": true`. The status of the others is 200 too.
async fn call(caller: &Caller<'_>, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Fault> {
    let answer = caller.call(method, path, body).await.map_err(Fault::Other)?;
    match Outcome::of(&answer, caller.now) {
        Outcome::Delivered { .. } => {}
        other => return Err(Fault::Other(other)),
    }
    let strange = || {
        let why = "the receiver answered 200, but not as Slack does".to_owned();
        Fault::Other(Outcome::Later { after: None, why })
    };
    let value = parsed(&answer).ok_or_else(strange)?;
    match value.get("ok").and_then(Value::as_bool) {
        Some(true) => Ok(value),
        Some(false) => Err(Fault::Said(text(&value, "/error").unwrap_or_default())),
        None => Err(strange()),
    }
}

fn said(word: &str) -> String {
    let plain: String = word.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(60).collect();
    format!("Slack answered `{plain}`")
}

/// A text of an answer.
fn text(value: &Value, pointer: &str) -> Result<String, Fault> {
    let missing = || Fault::Other(Outcome::Later { after: None, why: format!("Slack's answer has no `{pointer}`") });
    value.pointer(pointer).and_then(Value::as_str).map(str::to_owned).ok_or_else(missing)
}

/// An id of an answer.
fn word(value: &Value, pointer: &str) -> Result<String, Fault> {
    let text = text(value, pointer)?;
    if is_id(&text) {
        return Ok(text);
    }
    Err(Fault::Other(Outcome::Refused { why: format!("Slack's answer has no id in `{pointer}`") }))
}

/// The channel and the `ts` in a remote id.
fn address(remote: &str) -> Option<(&str, &str)> {
    let (channel, ts) = remote.split_once('/')?;
    let is_ts = !ts.is_empty() && ts.chars().all(|c| c.is_ascii_digit() || c == '.');
    (is_id(channel) && is_ts).then_some((channel, ts))
}

/// The three characters that Slack escapes, and no others.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn escaped_length(c: char) -> usize {
    match c {
        '&' => "&amp;".len(),
        '<' | '>' => "&lt;".len(),
        _ => 1,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// What `chat.postMessage` and `chat.update` get.
    pub(in crate::board) fn bodies(message: &Message) -> [Value; 3] {
        [posted("C1", None, message), posted("C1", Some("1.2"), message), changed("C1", "1.2", message)]
    }

    #[test]
    fn a_remote_id_is_never_more_than_an_address() {
        assert_eq!(address("C024BE91L/1417671948.000006"), Some(("C024BE91L", "1417671948.000006")));
        for remote in ["", "C1", "C1/", "C1/1&x=1", "C1&x/1", "C1/../1", "/1"] {
            assert_eq!(address(remote), None, "{remote}");
        }
    }
}
