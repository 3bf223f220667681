//! Sessions: the files in which `jit-gateway` keeps what was done through a grant.
//!
//! ```text
//!  sessions/GRANT/log.jsonl      one line per step of a request, each with the SHA-256 of the line before
//!  sessions/GRANT/SESSION.cast   what an exec or attach printed: asciicast v2; the log has its SHA-256
//!  sessions/GRANT/SESSION.cast.age   the same, sealed for the recipients that the gateway's configuration names (`jit-seal`);
//!                                    the hash is of what is sealed, so verifying takes no key
//! ```
//! The log is one chain: whoever has its head, which is in the audit trail, can tell whether a line was changed, inserted or
//! removed. A reader that meets a field or a word that it does not know says so, and takes nothing for valid.

use std::net::IpAddr;

use jiff::Timestamp;
use jit_core::grant::digest::sha256_hex;
use jit_core::grant::request::ClusterName;
use jit_core::grant::{GrantId, LogHead, SessionTerms};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The version of both forms.
pub const VERSION: u32 = 1;

/// The file of a grant's log.
pub const LOG: &str = "log.jsonl";

/// How the name of a recording ends, after the id of its session.
pub const RECORDING: &str = ".cast";

/// How the name of a sealed one ends. A session has one of the two.
pub const SEALED: &str = ".cast.age";

/// A line of a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Line {
    /// 1 for the first line.
    pub number: u64,
    /// SHA-256 of the line before without its line feed, hex; empty in the first line.
    pub before: String,
    /// When it was written.
    pub at: Timestamp,
    /// What happened.
    pub entry: Entry,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Entry {
    /// The first line.
    Began {
        /// [`VERSION`].
        version: u32,
        /// The grant.
        grant: GrantId,
        /// The user in its certificates, `jit:<person>`.
        user: String,
        /// Its cluster.
        cluster: ClusterName,
        /// What is kept.
        terms: SessionTerms,
    },
    /// A request that changes something, or that becomes a stream, before it is sent on.
    Opened {
        /// Its id, which is also the `auditID` of its event in the API server's audit log.
        id: String,
        /// What it asks for.
        asked: Box<Asked>,
        /// Whether there is a recording, which has the name of the id.
        recorded: bool,
    },
    /// How far a recording has come.
    Recorded {
        /// The request.
        id: String,
        /// How the recording stands.
        recording: RecordingHead,
    },
    /// The end of a request that was opened.
    Closed {
        /// The request.
        id: String,
        /// How it ended.
        outcome: Outcome,
        /// The whole recording; absent if there was none, or nothing began that could be recorded.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        recording: Option<RecordingHead>,
    },
    /// A request that only reads, after its end.
    Served {
        /// Its id, which is also the `auditID` of its event in the API server's audit log.
        id: String,
        /// What it asked for.
        asked: Box<Asked>,
        /// How it ended.
        outcome: Outcome,
    },
}

/// What a request asks for, as the gateway and the API server read it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Asked {
    /// The verb, as RBAC has it.
    pub verb: String,
    /// The API group and version, such as `v1` or `apps/v1`; absent for what is no resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    /// The resource with its subresource, such as `pods/exec`; absent for what is no resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// The namespace, if it is in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The name, if it asks for one object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The path of what is no resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The query as it was sent, at most [`LONGEST_QUERY`] bytes of it; absent if it is empty or `stream` says all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// The stream that it becomes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<StreamAsked>,
    /// What of the body gives power; absent for bodies that are not looked into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Content>,
    /// The address of the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub from: Option<IpAddr>,
    /// The program, in its own words, at most [`LONGEST_AGENT`] bytes of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
}

/// At most so many bytes are kept of the query of a request.
pub const LONGEST_QUERY: usize = 1024;

/// At most so many bytes are kept of a client's name for itself.
pub const LONGEST_AGENT: usize = 200;

/// The stream that a request becomes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StreamAsked {
    /// What it carries.
    pub carries: Carries,
    /// The command and its arguments, of an exec.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// The container, if the request names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// The ports, of a port-forward whose request names them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<String>,
    /// Whether it has a terminal.
    #[serde(default)]
    pub terminal: bool,
    /// Whether it has an input.
    #[serde(default)]
    pub input: bool,
}

/// What of the body of a pod or a Secret gives power. Nothing else of a body is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Content {
    /// Why it, or a part of it, was not read: nothing may be concluded from what is missing here then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unread: Option<String>,
    /// The containers of a pod, init and ephemeral ones included.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub containers: Vec<ContainerAsked>,
    /// What of a pod reaches its node, such as `hostPID`, `hostPath /var/run` and `nodeName n1`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub node: Vec<String>,
    /// The service account of a pod, if it names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<String>,
    /// The type of a Secret, if it names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_type: Option<String>,
}

/// A container of a pod that a request creates or changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ContainerAsked {
    /// Its name.
    pub name: String,
    /// Its image; absent in a patch that does not change it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Its command and arguments, if the request has some.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// The container whose processes an ephemeral one sees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Whether it is privileged.
    #[serde(default, skip_serializing_if = "is_false")]
    pub privileged: bool,
    /// The capabilities that it gets in addition.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(value: &bool) -> bool {
    !*value
}

/// What a stream carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Carries {
    /// A new process in a container.
    Exec,
    /// The first process of a container.
    Attach,
    /// Connections to ports of a pod.
    PortForward,
    /// The log of a container.
    Log,
    /// The events of a watch.
    Watch,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
// The policy has an outcome too.
#[schema(as = RequestOutcome)]
pub struct Outcome {
    /// Why it ended.
    pub end: End,
    /// The status of the answer; absent if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
    /// Bytes of the person's, bodies and streams only.
    pub received: u64,
    /// Bytes to the person, bodies and streams only.
    pub sent: u64,
    /// From the head of the request to its end.
    pub milliseconds: u64,
    /// The gateway's sentence, where it refused or ended the request itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl Outcome {
    /// Whether a stream began: the API server answered 101 (RFC 9110, section 15.2.2).
    #[must_use]
    pub fn began(&self) -> bool {
        self.code == Some(101)
    }
}

/// Why a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// The last byte passed.
    Whole,
    /// A side broke off.
    Broken,
    /// The grant ended, or the certificate did.
    Cut,
    /// The gateway answered itself, and sent nothing on.
    Refused,
    /// The gateway ended a session: nobody used it, its recording was full, or could not be written.
    Stopped,
    /// The gateway stopped or was killed while it ran. Written when it starts again.
    Interrupted,
}

/// How a recording stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RecordingHead {
    /// How many bytes its file has.
    pub bytes: u64,
    /// SHA-256 of these bytes, hex.
    pub sha256: String,
}

/// Reads a log and checks its chain, line by line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    head: LogHead,
}

impl Default for Chain {
    fn default() -> Self {
        Self { head: LogHead { lines: 0, sha256: String::new() } }
    }
}

/// Why a line is not the next one of a log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// It has another form.
    #[error("line {0} has another form: {1}")]
    Form(u64, String),
    /// The line before it is not the one that it was written after.
    #[error("line {0} was not written after the line before it: a line was changed, inserted or removed")]
    Order(u64),
}

impl Chain {
    /// Continues after this head.
    #[must_use]
    pub fn after(head: LogHead) -> Self {
        Self { head }
    }

    /// The head: how many lines there are, and the hash of the last one.
    #[must_use]
    pub fn head(&self) -> &LogHead {
        &self.head
    }

    /// Appends an entry, and returns its line with the line feed.
    #[must_use]
    pub fn append(&mut self, at: Timestamp, entry: Entry) -> Vec<u8> {
        let number = self.head.lines.saturating_add(1);
        let line = Line { number, before: std::mem::take(&mut self.head.sha256), at, entry };
        // Words, numbers and lists of them always serialise.
        let mut bytes = serde_json::to_vec(&line).unwrap_or_default();
        self.head = LogHead { lines: number, sha256: sha256_hex(&bytes) };
        bytes.push(b'\n');
        bytes
    }

    /// Takes the next line, without its line feed.
    ///
    /// # Errors
    /// [`Broken`]; the chain stands where it stood.
    pub fn take(&mut self, text: &str) -> Result<Line, Broken> {
        let number = self.head.lines.saturating_add(1);
        let line: Line = serde_json::from_str(text).map_err(|error| Broken::Form(number, error.to_string()))?;
        if line.number != number || line.before != self.head.sha256 {
            return Err(Broken::Order(number));
        }
        self.head = LogHead { lines: number, sha256: sha256_hex(text.as_bytes()) };
        Ok(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries() -> Vec<Entry> {
        let exec = Asked {
            verb: "create".to_owned(),
            api_version: Some("v1".to_owned()),
            resource: Some("pods/exec".to_owned()),
            namespace: Some("payments".to_owned()),
            name: Some("web-0".to_owned()),
            stream: Some(StreamAsked {
                carries: Carries::Exec,
                command: vec!["sh".to_owned(), "-c".to_owned(), "id".to_owned()],
                container: Some("app".to_owned()),
                ports: vec![],
                terminal: true,
                input: true,
            }),
            from: Some(IpAddr::from([127, 0, 0, 1])),
            agent: Some("kubectl/v1.36.3".to_owned()),
            ..Asked::default()
        };
        let list = Asked {
            verb: "list".to_owned(),
            api_version: Some("apps/v1".to_owned()),
            resource: Some("deployments".to_owned()),
            namespace: Some("payments".to_owned()),
            query: Some("limit=500".to_owned()),
            ..Asked::default()
        };
        let container = ContainerAsked {
            name: "debugger".to_owned(),
            image: Some("busybox".to_owned()),
            command: vec!["sh".to_owned()],
            target: Some("app".to_owned()),
            privileged: true,
            capabilities: vec!["SYS_PTRACE".to_owned()],
        };
        let debug = Asked {
            verb: "patch".to_owned(),
            api_version: Some("v1".to_owned()),
            resource: Some("pods/ephemeralcontainers".to_owned()),
            namespace: Some("payments".to_owned()),
            name: Some("web-0".to_owned()),
            content: Some(Content { containers: vec![container], ..Content::default() }),
            ..Asked::default()
        };
        let recording = RecordingHead { bytes: 7, sha256: "ab".repeat(32) };
        vec![
            Entry::Began {
                version: VERSION,
                grant: GrantId::from_random([7; 10]),
                user: "jit:alice".to_owned(),
                cluster: "managed".parse().unwrap(),
                terms: SessionTerms { idle: Some("10m".parse().unwrap()), ..SessionTerms::default() },
            },
            Entry::Opened { id: "01".to_owned(), asked: Box::new(exec), recorded: true },
            Entry::Recorded { id: "01".to_owned(), recording: recording.clone() },
            Entry::Opened { id: "03".to_owned(), asked: Box::new(debug), recorded: false },
            Entry::Served {
                id: "02".to_owned(),
                asked: Box::new(list),
                outcome: Outcome {
                    end: End::Whole,
                    code: Some(200),
                    received: 0,
                    sent: 1200,
                    milliseconds: 3,
                    why: None,
                },
            },
            Entry::Closed {
                id: "01".to_owned(),
                outcome: Outcome {
                    end: End::Cut,
                    code: Some(101),
                    received: 12,
                    sent: 7,
                    milliseconds: 61_000,
                    why: Some("grant 0w3ge1r70w3ge1r7 has ended".to_owned()),
                },
                recording: Some(recording),
            },
        ]
    }

    /// The lines as they stand in the file: who changes one makes the logs of every bastion unreadable.
    #[test]
    fn lines_keep_their_form() {
        let at = "2026-11-30T01:00:00Z".parse().unwrap();
        let mut chain = Chain::default();
        let log: Vec<u8> = entries().into_iter().flat_map(|entry| chain.append(at, entry)).collect();
        let log = String::from_utf8(log).unwrap();
        assert_eq!(log, include_str!("session.golden.jsonl"), "{log}");
        let mut read = Chain::default();
        let lines: Vec<_> = log.lines().map(|line| read.take(line).unwrap().entry).collect();
        assert_eq!(lines, entries());
        assert_eq!(read.head(), chain.head());
    }

    #[test]
    fn a_changed_missing_or_additional_line_breaks_the_chain() {
        let log: Vec<&str> = include_str!("session.golden.jsonl").lines().collect();
        let read = |lines: &[String]| {
            let mut chain = Chain::default();
            lines.iter().try_for_each(|line| chain.take(line).map(|_| ()))
        };
        let whole: Vec<String> = log.iter().map(|line| (*line).to_owned()).collect();
        assert_eq!(read(&whole), Ok(()));
        let mut changed = whole.clone();
        changed[1] = changed[1].replace("web-0", "web-1");
        assert_eq!(read(&changed), Err(Broken::Order(3)));
        let mut missing = whole.clone();
        missing.remove(2);
        assert_eq!(read(&missing), Err(Broken::Order(3)));
        let mut twice = whole.clone();
        twice.insert(2, whole[1].clone());
        assert_eq!(read(&twice), Err(Broken::Order(3)));
        let mut unknown = whole;
        unknown[0] = unknown[0].replace("\"version\"", "\"more\":1,\"version\"");
        assert!(matches!(read(&unknown), Err(Broken::Form(1, _))));
    }
}
