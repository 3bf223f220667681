//! Mattermost, as a bot (<https://api.mattermost.com/#tag/posts>).
//!
//! A post is Markdown, so all of it is one block of code: there is no markup, no link and no mention in one. The fence is longer
//! than any run of backticks in the text (CommonMark 0.31, 4.5). `disable_mentions` says the same once more.
//!
//! A post carries our key among its properties, and is looked for there before it is made.

use http::Method;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::call::{Caller, is_id, without};
use super::{Action, Message};
use crate::http::{Http, Target};
use crate::outcome::Outcome;
use crate::text::Room;
use jit_host::secret::Secret;

/// A channel of a server.
#[derive(Debug)]
pub struct Mattermost {
    server: Target,
    token: Secret,
    channel: String,
}

/// The property that has our key.
const PROPERTY: &str = "jitd_notice";

impl Mattermost {
    /// The smallest limit that a server can have is 4,000 characters a post.
    pub(super) const ROOM: Room = Room { each: 2_000, all: 3_600, line: 3, weight: |_| 1 };

    /// A channel by its id, as the bot of `token`.
    ///
    /// # Errors
    /// The rest of a sentence that begins with the key's name.
    pub fn new(server: Target, token: Secret, channel: &str) -> Result<Self, String> {
        if !is_id(channel) {
            return Err("channel must be the id of a channel, which `View Info` shows".to_owned());
        }
        Ok(Self { server, token, channel: channel.to_owned() })
    }

    pub(super) async fn perform(
        &self,
        http: &Http,
        action: &Action,
        message: &Message,
        person: Option<&str>,
        now: Timestamp,
    ) -> Outcome {
        let caller = Caller { http, base: &self.server, token: Some(&self.token), now };
        let done = match action {
            Action::Nothing => Ok(Outcome::Delivered { remote: None }),
            Action::Post => self.post(&caller, None, message, person).await,
            Action::Reply { remote } => self.post(&caller, remote.as_deref(), message, person).await,
            Action::Update { remote } => self.update(&caller, remote, message, person).await,
        };
        without(done.unwrap_or_else(|outcome| outcome), &self.token)
    }

    /// Posts, unless that is done already.
    async fn post(
        &self,
        caller: &Caller<'_>,
        root: Option<&str>,
        message: &Message,
        person: Option<&str>,
    ) -> Result<Outcome, Outcome> {
        let channel = match person {
            None => self.channel.clone(),
            Some(user) => direct(caller, user).await?,
        };
        let since = message.since.checked_sub(SignedDuration::from_mins(1)).unwrap_or(message.since);
        let path = format!("/api/v4/channels/{channel}/posts?since={}", since.as_millisecond());
        let known = caller.json(Method::GET, &path, None).await?;
        let posts = known.get("posts").and_then(Value::as_object).into_iter().flatten();
        let is_ours = |(_, post): &(&String, &Value)| {
            post.get("props").and_then(|props| props.get(PROPERTY)).is_some_and(|key| *key == message.key)
        };
        if let Some((id, _)) = posts.into_iter().find(is_ours) {
            let remote = checked(id)?;
            // It may have been posted with the words of an earlier state.
            caller.json(Method::PUT, &format!("/api/v4/posts/{remote}"), Some(&changed(&remote, message))).await?;
            return Ok(Outcome::Delivered { remote: Some(remote) });
        }
        let made = caller.json(Method::POST, "/api/v4/posts", Some(&posted(&channel, root, message))).await?;
        let id = made.get("id").and_then(Value::as_str).map(checked).transpose()?;
        Ok(Outcome::Delivered { remote: id })
    }

    async fn update(
        &self,
        caller: &Caller<'_>,
        remote: &str,
        message: &Message,
        person: Option<&str>,
    ) -> Result<Outcome, Outcome> {
        let remote = checked(remote)?;
        let answer =
            caller.call(Method::PUT, &format!("/api/v4/posts/{remote}"), Some(&changed(&remote, message))).await?;
        match Outcome::of(&answer, caller.now) {
            Outcome::Delivered { .. } => Ok(Outcome::Delivered { remote: Some(remote) }),
            // Somebody deleted it: what waits for an answer is posted again, what is over needs no correction.
            Outcome::Refused { .. } if answer.status == 404 && message.wanted.open => {
                self.post(caller, None, message, person).await
            }
            Outcome::Refused { .. } if answer.status == 404 => Ok(Outcome::Delivered { remote: None }),
            other => Err(other),
        }
    }
}

/// The channel between the bot and a person.
async fn direct(caller: &Caller<'_>, user: &str) -> Result<String, Outcome> {
    let me = caller.json(Method::GET, "/api/v4/users/me", None).await?;
    let me = checked(me.get("id").and_then(Value::as_str).unwrap_or_default())?;
    let channel = caller.json(Method::POST, "/api/v4/channels/direct", Some(&json!([me, user]))).await?;
    checked(channel.get("id").and_then(Value::as_str).unwrap_or_default())
}

fn checked(id: &str) -> Result<String, Outcome> {
    let refused = || Outcome::Refused { why: "Mattermost's answer has no id where it should".to_owned() };
    if is_id(id) { Ok(id.to_owned()) } else { Err(refused()) }
}

/// The body of `POST /api/v4/posts`.
fn posted(channel: &str, root: Option<&str>, message: &Message) -> Value {
    // No root is an empty one.
    let root = root.unwrap_or_default();
    json!({ "channel_id": channel, "root_id": root, "message": fenced(message), "props": props(message) })
}

/// The body of `PUT /api/v4/posts/{id}`, which leaves nothing of the post as it was.
fn changed(id: &str, message: &Message) -> Value {
    json!({ "id": id, "message": fenced(message), "props": props(message) })
}

fn props(message: &Message) -> Value {
    json!({ "disable_mentions": true, PROPERTY: message.key })
}

fn fenced(message: &Message) -> String {
    let text = message.wanted.card.plain();
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or_default();
    let fence = "`".repeat(longest.saturating_add(1).max(3));
    format!("{fence}text\n{text}\n{fence}")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::board) fn bodies(message: &Message) -> [Value; 3] {
        [posted("c1", None, message), posted("c1", Some("p1"), message), changed("p1", message)]
    }
}
