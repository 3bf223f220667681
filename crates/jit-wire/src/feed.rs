//! The feed: what `jitd` and `jit-gateway` tell each other over a Unix socket of their own, one JSON document per line.
//!
//! ```text
//!  jit-gateway ─► hello, then proved, logged, cut, deleted …         (how people reach it, where its logs stand, what it did)
//!  jitd        ─► snapshot, then prove, live, ended, delete, alive …  (what may be used, what is to be deleted; a heartbeat)
//! ```
//! A side that reads a version, a kind or a field that it does not know closes the connection. Numbers belong to one
//! connection: the first document after the snapshot has the snapshot's number plus one, and a gap means that the reader
//! must connect again and take a new snapshot.

use std::io::{Error, ErrorKind};

use futures::StreamExt;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_util::codec::{FramedRead, LinesCodec, LinesCodecError};

use jit_core::grant::request::ClusterName;
use jit_core::grant::{GrantId, LogHead, SessionTerms};

/// The version of the feed. Both sides must have the same.
pub const VERSION: u32 = 5;

/// The longest document of the gateway, in bytes: a hello with a certificate takes under 4 KiB.
pub const LONGEST_OF_GATEWAY: usize = 64 * 1024;

/// The longest document of the daemon, in bytes: a snapshot of 10,000 grants takes under 4 MiB.
pub const LONGEST_OF_DAEMON: usize = 32 << 20;

/// How often the daemon sends a document, if only `alive`, in seconds.
pub const HEARTBEAT_SECONDS: u64 = 2;

/// How long the gateway lets access continue without hearing from the daemon, in seconds. Then everything ends.
pub const LEASE_SECONDS: u64 = 10;

/// A document of the gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum FromGateway {
    /// The first document.
    Hello {
        /// [`VERSION`].
        version: u32,
        /// The URL at which people reach the gateway.
        server: String,
        /// The authority of its serving certificate, PEM.
        certificate_authority: String,
        /// The clusters that it is configured for.
        clusters: Vec<ClusterName>,
    },
    /// The log of a grant has grown. After a connection, the heads of all logs that it still writes are sent again.
    Logged {
        /// The grant, which may have ended.
        grant: GrantId,
        /// Where its log stands.
        log: LogHead,
    },
    /// What was kept of a grant that is over is deleted.
    Deleted {
        /// The grant.
        grant: GrantId,
        /// How many files there were.
        files: u64,
        /// How many bytes they had.
        bytes: u64,
        /// Where its log stood, if there was one that could be read.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        log: Option<LogHead>,
    },
    /// Whether the API server allows what [`FromDaemon::Prove`] asks.
    Proved {
        /// The grant.
        grant: GrantId,
        /// Why it does not, or cannot be asked; absent if it allows all of it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why_not: Option<String>,
    },
    /// A grant ended here: nothing of it goes on.
    Cut {
        /// The grant.
        grant: GrantId,
        /// How many requests were still running.
        streams: u32,
        /// Where its log stands, if there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        log: Option<LogHead>,
    },
}

/// A document of the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum FromDaemon {
    /// The first document: everything that may be used now.
    Snapshot {
        /// [`VERSION`].
        version: u32,
        /// The number of this document.
        number: u64,
        /// The clusters behind the gateway.
        clusters: Vec<GatewayCluster>,
        /// The live grants in these clusters.
        grants: Vec<LiveGrant>,
    },
    /// A grant is about to become live. The gateway asks the API server over its own connection and in the holder's name
    /// whether it allows this, until it does, and answers with [`FromGateway::Proved`]. It lets nothing through yet.
    Prove {
        /// One more than that of the document before.
        number: u64,
        /// The grant.
        grant: GrantId,
        /// The user in its certificates, `jit:<person>`.
        user: String,
        /// Its cluster.
        cluster: ClusterName,
        /// The specs of the `SelfSubjectAccessReview`s, which are passed on as they are
        /// (<https://kubernetes.io/docs/reference/kubernetes-api/authorization-resources/self-subject-access-review-v1/>).
        reviews: Vec<Value>,
    },
    /// A grant became live, or its window has another end.
    Live {
        /// One more than that of the document before.
        number: u64,
        /// The grant.
        grant: LiveGrant,
    },
    /// A grant ended. The gateway answers with [`FromGateway::Cut`], also for a grant that it does not know.
    Ended {
        /// One more than that of the document before.
        number: u64,
        /// The grant.
        grant: GrantId,
    },
    /// What was kept of a grant is to be deleted. The gateway answers with [`FromGateway::Deleted`] when nothing is left, and
    /// not at all if it cannot, or if the grant is live here.
    Delete {
        /// One more than that of the document before.
        number: u64,
        /// The grant.
        grant: GrantId,
    },
    /// Nothing changed.
    Alive {
        /// One more than that of the document before.
        number: u64,
    },
    /// The daemon does not accept this gateway, and closes the connection.
    Refused {
        /// Why, for the gateway's log.
        why: String,
    },
}

/// A cluster behind the gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GatewayCluster {
    /// Its name.
    pub name: ClusterName,
    /// The roots that certificates of its grants chain to, PEM.
    pub authority: String,
}

/// A grant that may be used now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LiveGrant {
    /// The grant.
    pub id: GrantId,
    /// The user in its certificates, `jit:<person>`.
    pub user: String,
    /// Its cluster.
    pub cluster: ClusterName,
    /// The end of its window.
    pub until: Timestamp,
    /// What is kept of what is done through it, and what is refused.
    pub sessions: SessionTerms,
}

/// Reads documents, one per line.
pub struct Documents<R>(FramedRead<R, LinesCodec>);

impl<R: AsyncRead + Unpin> Documents<R> {
    /// Reads from `from`; no document may be longer than `longest` bytes.
    pub fn new(from: R, longest: usize) -> Self {
        Self(FramedRead::new(from, LinesCodec::new_with_max_length(longest)))
    }

    /// The next document; `None` when the other side has closed. If this is cancelled, no byte is lost.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidData`] for a document that is too long or has another form; otherwise that of the socket.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Error> {
        match self.0.next().await {
            None => Ok(None),
            Some(Ok(line)) => serde_json::from_str(&line)
                .map(Some)
                .map_err(|error| Error::new(ErrorKind::InvalidData, format!("a document has another form: {error}"))),
            Some(Err(LinesCodecError::MaxLineLengthExceeded)) => {
                Err(Error::new(ErrorKind::InvalidData, "a document is too long"))
            }
            Some(Err(LinesCodecError::Io(error))) => Err(error),
        }
    }
}

/// Writes one document.
///
/// # Errors
/// That of the socket.
pub async fn write(mut to: impl AsyncWrite + Unpin, document: &impl Serialize) -> Result<(), Error> {
    let mut line = serde_json::to_vec(document)?;
    line.push(b'\n');
    to.write_all(&line).await
}

#[cfg(test)]
mod tests {
    use jit_core::grant::{Restricted, Restriction};

    use super::*;

    /// The documents as they stand on the wire: who changes one breaks a gateway of another version.
    #[test]
    fn documents_keep_their_form() {
        let grant = LiveGrant {
            id: GrantId::from_random([7; 10]),
            user: "jit:alice".to_owned(),
            cluster: "managed".parse().unwrap(),
            until: "2026-11-29T21:00:00Z".parse().unwrap(),
            sessions: SessionTerms {
                refuse: vec![Restriction {
                    name: "only-web".to_owned(),
                    refuses: Restricted::PortForward { except: vec![8080] },
                }],
                ..SessionTerms::default()
            },
        };
        let log = LogHead { lines: 5, sha256: "ab".repeat(32) };
        let cluster = GatewayCluster { name: "managed".parse().unwrap(), authority: "PEM".to_owned() };
        let of_daemon = [
            FromDaemon::Snapshot { version: VERSION, number: 7, clusters: vec![cluster], grants: vec![grant.clone()] },
            FromDaemon::Prove {
                number: 8,
                grant: grant.id.clone(),
                user: grant.user.clone(),
                cluster: grant.cluster.clone(),
                reviews: vec![serde_json::json!({ "resourceAttributes": { "verb": "get", "resource": "pods" } })],
            },
            FromDaemon::Live { number: 9, grant: grant.clone() },
            FromDaemon::Ended { number: 10, grant: grant.id.clone() },
            FromDaemon::Delete { number: 11, grant: grant.id.clone() },
            FromDaemon::Alive { number: 12 },
            FromDaemon::Refused { why: "version 6".to_owned() },
        ];
        let of_gateway = [
            FromGateway::Hello {
                version: VERSION,
                server: "https://127.0.0.1:6444".to_owned(),
                certificate_authority: "PEM".to_owned(),
                clusters: vec!["managed".parse().unwrap()],
            },
            FromGateway::Logged { grant: grant.id.clone(), log: log.clone() },
            FromGateway::Deleted { grant: grant.id.clone(), files: 2, bytes: 4096, log: Some(log.clone()) },
            FromGateway::Proved { grant: grant.id.clone(), why_not: None },
            FromGateway::Proved { grant: grant.id.clone(), why_not: Some("denied".to_owned()) },
            FromGateway::Cut { grant: grant.id, streams: 3, log: Some(log) },
        ];
        let mut lines = String::new();
        for document in &of_daemon {
            let line = serde_json::to_string(document).unwrap();
            assert_eq!(serde_json::from_str::<FromDaemon>(&line).unwrap(), *document);
            lines += &format!("{line}\n");
        }
        for document in &of_gateway {
            let line = serde_json::to_string(document).unwrap();
            assert_eq!(serde_json::from_str::<FromGateway>(&line).unwrap(), *document);
            lines += &format!("{line}\n");
        }
        assert_eq!(lines, include_str!("feed.golden.jsonl"));
    }

    #[test]
    fn what_is_unknown_is_refused() {
        for line in [
            r#"{"kind":"alive","number":1,"more":2}"#,
            r#"{"kind":"paused","number":1}"#,
            r#"{"kind":"ended","number":1,"grant":"x"}"#,
        ] {
            assert!(serde_json::from_str::<FromDaemon>(line).is_err(), "{line}");
        }
        assert!(
            serde_json::from_str::<FromGateway>(r#"{"kind":"cut","grant":"0000000000000000","streams":-1}"#).is_err()
        );
    }
}
