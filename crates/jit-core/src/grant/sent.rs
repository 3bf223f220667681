//! What `jit-notify` reports that people were told: a hash for each text, so that an auditor can tell whether a text that somebody
//! shows is the one that was sent.
//!
//! The report comes from another program, so its form is checked here. Whether it is true, nobody checks.

use jiff::Timestamp;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::GrantId;
use super::recording::hash;

/// The longest name of a channel, in bytes: it is a file's name too.
pub const LONGEST_CHANNEL: usize = 40;

/// A text that the receiver of a channel took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SentText {
    /// The channel, by its name in the configuration of `jit-notify`.
    #[serde(deserialize_with = "channel")]
    pub channel: String,
    /// The grant that it is about, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub grant: Option<GrantId>,
    /// What it says about it.
    pub about: About,
    /// The number of the last event of the trail that it takes into account.
    pub seq: u64,
    /// When the receiver took it, by the clock of `jit-notify`.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// SHA-256, hex: of the text in UTF-8 for a board, of the JSON document for a feed.
    #[serde(deserialize_with = "hash")]
    pub sha256: String,
}

/// What a text is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum About {
    /// One event, as a feed gets it.
    Fact,
    /// The request, and what became of it.
    Request,
    /// The request for more time.
    Extension,
    /// The review of break-glass.
    Review,
    /// What the requester has to know.
    News,
    /// What the administrators have to know.
    Operation,
}

impl About {
    /// The word for it, as in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fact => "fact",
            Self::Request => "request",
            Self::Extension => "extension",
            Self::Review => "review",
            Self::News => "news",
            Self::Operation => "operation",
        }
    }
}

/// Whether a text can be the name of a channel: 1 to 40 lower-case letters, digits and `-`.
#[must_use]
pub fn is_channel(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=LONGEST_CHANNEL).contains(&name.len()) && name.bytes().all(is_plain)
}

fn channel<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let name = String::deserialize(from)?;
    if is_channel(&name) {
        Ok(name)
    } else {
        Err(D::Error::custom("a channel's name has 1 to 40 lower-case letters, digits and `-`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A report goes into the trail, which is never shortened: what has another form is refused.
    #[test]
    fn a_report_has_a_channel_a_hash_and_nothing_else() {
        let hash = "a".repeat(64);
        let report = |channel: &str, hash: &str, more: &str| {
            let json = format!(
                r#"{{"channel":"{channel}","grant":"8f3k11d31ge2wvm7","about":"request","seq":7,"at":"2026-11-29T21:00:00Z","sha256":"{hash}"{more}}}"#
            );
            serde_json::from_str::<SentText>(&json)
        };
        let sent = report("leads-2", &hash, "").unwrap();
        assert_eq!(serde_json::to_value(&sent).unwrap()["about"], sent.about.as_str());
        for (channel, sha256, more) in [
            ("", hash.as_str(), ""),
            ("Leads", &hash, ""),
            ("../leads", &hash, ""),
            ("leads", "", ""),
            ("leads", "A", ""),
            ("leads", &hash, r#","text":"hello""#),
        ] {
            assert!(report(channel, sha256, more).is_err(), "{channel} {sha256} {more}");
        }
        assert!(report(&"x".repeat(LONGEST_CHANNEL + 1), &hash, "").is_err());
    }
}
