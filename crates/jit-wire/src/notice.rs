//! The notices: what `jitd` tells `jit-notify` over a Unix socket of its own, one JSON document per line.
//!
//! ```text
//!  jit-notify ─► hello                                   (up to where it has everything)
//!  jitd       ─► snapshot, open …, notice …, alive, …    (the open grants, then every fact after that place, in order)
//!  jit-notify ─► sent                                    (hashes of what receivers took; one report at a time)
//!  jitd       ─► recorded                                (it is in the trail)
//! ```
//! A notice has the number of its fact in the trail, so that a reader that was away continues where it stopped and misses
//! nothing. A side that reads a version, a kind or a field that it does not know closes the connection.

use jiff::Timestamp;
use jit_core::grant::SentText;
use serde::{Deserialize, Serialize};

use crate::{DrainingView, GrantView};

/// The version of the notices. Both sides must have the same.
pub const VERSION: u32 = 1;

/// How many texts one report has at most.
pub const MOST_TEXTS: usize = 64;

/// The longest document of `jit-notify`, in bytes: a text takes under 300 in a report.
pub const LONGEST_OF_NOTIFY: usize = 32 * 1024;

/// The longest document of the daemon, in bytes: a request for a role with thousands of findings takes under 1 MiB.
pub const LONGEST_OF_DAEMON: usize = 4 << 20;

/// How often the daemon sends a document, if only `alive`, in seconds.
pub const HEARTBEAT_SECONDS: u64 = 2;

/// A document of `jit-notify`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum FromNotify {
    /// The first document.
    Hello {
        /// [`VERSION`].
        version: u32,
        /// From where on it wants the facts.
        from: Start,
        /// Whether it wants the open grants, too.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        open: bool,
    },
    /// What receivers took, for the trail. The next one may follow only after [`FromDaemon::Recorded`].
    Sent {
        /// 1 to [`MOST_TEXTS`] texts.
        texts: Vec<SentText>,
    },
}

/// A place in the trail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Start {
    /// What happens from now on.
    Now,
    /// What follows the fact of this number.
    After(u64),
    /// What happened at this time or later. The answer to it says in [`FromDaemon::Snapshot`] what that number is.
    Since(Timestamp),
}

/// A document of the daemon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum FromDaemon {
    /// The first document: where the trail stands.
    Snapshot {
        /// [`VERSION`].
        version: u32,
        /// The name of this host, as the certificates and the bindings have it.
        host: String,
        /// The number of the last fact in the trail.
        number: u64,
        /// The number of the fact that the first notice follows.
        after: u64,
        /// The drain in force, if any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        draining: Option<DrainingView>,
    },
    /// An open grant as it is now. They follow the snapshot, before the first notice.
    Open(Box<Open>),
    /// A fact of the trail.
    Notice(Box<Notice>),
    /// There is nothing more to say now. The first one says that everything up to the snapshot was said.
    Alive {
        /// The number of the last fact that was read; some facts are not told, so the last notice can have a lower one.
        number: u64,
    },
    /// The texts of the last [`FromNotify::Sent`] are in the trail.
    Recorded,
    /// The daemon does not accept this connection, and closes it.
    Refused {
        /// Why, for the log.
        why: String,
    },
}

/// An open grant, and whom it concerns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Open {
    /// The grant.
    pub grant: GrantView,
    /// Whom it concerns now.
    pub audience: Audience,
}

/// A fact of the trail, as others may be told about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Notice {
    /// Its number in the trail.
    pub number: u64,
    /// When it happened.
    pub at: Timestamp,
    /// The event's kind in the trail, such as `requested`.
    pub event: String,
    /// Who did it, `root` for root; `None` for the daemon itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// The grant as it was after this fact; `None` for a fact of the daemon itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantView>,
    /// Whom it concerns.
    pub audience: Audience,
    /// What happened, in one plain sentence without markup.
    pub says: String,
}

/// Whom a fact concerns. Names of people and groups as the policy has them; where to reach them, `jit-notify` knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Audience {
    /// Groups of which somebody has to answer: the approvers of the step that is open, or the reviewers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub to_answer: Vec<String>,
    /// People who have to answer by name, such as those who owe a review.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub to_answer_people: Vec<String>,
    /// People for whom something changed: the requester.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub to_know: Vec<String>,
    /// Groups that the rule wants told, although they have nothing to answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub to_know_groups: Vec<String>,
    /// It concerns the administrators: a drain, a revocation of everything, trouble with the trail or a cluster.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub to_administrators: bool,
}

#[cfg(test)]
mod tests {
    use jit_core::grant::{About, GrantId};

    use super::*;

    /// The documents as they stand on the wire: who changes one breaks a jit-notify of another version.
    #[test]
    fn documents_keep_their_form() {
        let at: Timestamp = "2026-11-29T21:00:00Z".parse().unwrap();
        let notice = Notice {
            number: 8,
            at,
            event: "drained".to_owned(),
            by: Some("root".to_owned()),
            grant: None,
            audience: Audience { to_administrators: true, ..Audience::default() },
            says: "root drained the daemon: no new access is granted".to_owned(),
        };
        let draining = DrainingView { since: at, by: "root".to_owned(), reason: None };
        let of_daemon = [
            FromDaemon::Snapshot {
                version: VERSION,
                host: "bastion1".to_owned(),
                number: 8,
                after: 7,
                draining: Some(draining),
            },
            FromDaemon::Notice(Box::new(notice)),
            FromDaemon::Alive { number: 8 },
            FromDaemon::Recorded,
            FromDaemon::Refused { why: "version 2".to_owned() },
        ];
        let mut of_notify = [Start::Now, Start::After(7), Start::Since(at)]
            .map(|from| FromNotify::Hello { version: VERSION, from, open: from == Start::Now })
            .to_vec();
        let text = SentText {
            channel: "leads".to_owned(),
            grant: Some(GrantId::from_random([7; 10])),
            about: About::Request,
            seq: 8,
            at,
            sha256: "5df6".repeat(16),
        };
        of_notify.push(FromNotify::Sent { texts: vec![text] });
        let mut lines = String::new();
        for document in &of_daemon {
            let line = serde_json::to_string(document).unwrap();
            assert_eq!(serde_json::from_str::<FromDaemon>(&line).unwrap(), *document);
            lines += &format!("{line}\n");
        }
        for document in &of_notify {
            let line = serde_json::to_string(document).unwrap();
            assert_eq!(serde_json::from_str::<FromNotify>(&line).unwrap(), *document);
            lines += &format!("{line}\n");
        }
        assert_eq!(lines, include_str!("notice.golden.jsonl"));
    }

    #[test]
    fn what_is_unknown_is_refused() {
        for line in [
            r#"{"kind":"alive","number":1,"more":2}"#,
            r#"{"kind":"paused","number":1}"#,
            r#"{"kind":"alive","number":-1}"#,
        ] {
            assert!(serde_json::from_str::<FromDaemon>(line).is_err(), "{line}");
        }
        assert!(serde_json::from_str::<FromNotify>(r#"{"kind":"hello","version":1,"from":"yesterday"}"#).is_err());
    }
}
