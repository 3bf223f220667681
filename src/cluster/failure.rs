//! Why an API server did not do what it was asked, and what that means for the caller: try again, or ask somebody.
//!
//! It must never take an answer for Kubernetes' that is not: what a proxy says proves nothing. `transport` makes these,
//! and the broker and the sweep decide by them.

use std::borrow::Cow;
use std::time::Duration;

use kube::core::Status;

use super::cause::Cause;
use super::transport::Reply;
use crate::grant::request::ClusterName;
use crate::hint::Hint;

/// Why the API server did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// No answer, and nothing is known about what the API server did with the request. Try again.
    #[error("cluster `{cluster}` cannot be reached: {cause}")]
    Unreachable {
        /// The cluster.
        cluster: ClusterName,
        /// Why there was no answer.
        cause: Cause,
    },
    /// No answer in time, and nothing is known about what the API server did with the request. Try again.
    #[error("cluster `{cluster}` did not answer within {} s", after.as_secs_f32())]
    TimedOut {
        /// The cluster.
        cluster: ClusterName,
        /// How long was waited.
        after: Duration,
    },
    /// The API server answered that it can't now (429, 5xx). Try again, not before `retry_after`.
    #[error("cluster `{cluster}` cannot now: {why} ({code})")]
    Busy {
        /// The cluster.
        cluster: ClusterName,
        /// The HTTP status.
        code: u16,
        /// What the API server said.
        why: String,
        /// What it asked to wait.
        retry_after: Option<Duration>,
    },
    /// The API server does not know us (401): our authority is not one it trusts, or our certificate is
    /// over.
    #[error("cluster `{cluster}` does not accept our credential")]
    Unauthorized {
        /// The cluster.
        cluster: ClusterName,
    },
    /// The API server knows us as nobody (403 for `system:anonymous`): our certificate did not get to it.
    #[error("cluster `{cluster}` takes us for nobody (`system:anonymous`)")]
    Anonymous {
        /// The cluster.
        cluster: ClusterName,
    },
    /// The API server knows us and refuses (403): a right is missing, or an admission policy objects.
    #[error("cluster `{cluster}` forbids it: {why}")]
    Forbidden {
        /// The cluster.
        cluster: ClusterName,
        /// What the API server said; it names the verb and the resource that are missing.
        why: String,
    },
    /// A quota of the namespace is used up (403).
    #[error("cluster `{cluster}` forbids it: {why}")]
    OverQuota {
        /// The cluster.
        cluster: ClusterName,
        /// What the API server said; it names the quota.
        why: String,
    },
    /// What it is about does not exist (404).
    #[error("cluster `{cluster}` has no such thing: {what}")]
    NotFound {
        /// The cluster.
        cluster: ClusterName,
        /// What the API server said.
        what: String,
    },
    /// Something else is in its place (409).
    #[error("cluster `{cluster}` has something else there: {what}")]
    Conflict {
        /// The cluster.
        cluster: ClusterName,
        /// What is there.
        what: String,
    },
    /// The API server refuses the request as such (400, 422, …), or an admission policy does. The same
    /// request would be refused again.
    #[error("cluster `{cluster}` rejects it: {why} ({code})")]
    Rejected {
        /// The cluster.
        cluster: ClusterName,
        /// The HTTP status.
        code: u16,
        /// What the API server said.
        why: String,
    },
    /// The answer is not one that we know, so it means no.
    #[error("cluster `{cluster}` gave an answer that jitd does not understand: {why}")]
    Unreadable {
        /// The cluster.
        cluster: ClusterName,
        /// What was not understood.
        why: String,
    },
}

impl Hint for ClusterError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        let hint = match self {
            Self::Unreachable { cause, .. } => {
                cause.hint().unwrap_or("check the address, the certificate authority and the network between")
            }
            Self::TimedOut { .. } => "look at the API server's load, and at the network between",
            Self::Busy { .. } => "look at the API server's load",
            Self::Unauthorized { .. } => {
                "the API server's --client-ca-file has to hold jitd's root, or the cluster's `kubeconfig` a valid \
                 credential, and both clocks have to agree"
            }
            Self::Anonymous { .. } => {
                "something in front of the API server ends TLS, so that no certificate gets through; `server` has to be \
                 where the API server itself answers"
            }
            Self::Forbidden { .. } => {
                "`jitd check --cluster` tells whether a right is missing, or what in the cluster objects"
            }
            Self::OverQuota { .. } => "an administrator of the namespace can raise the quota, or make room in it",
            Self::NotFound { .. } => return None,
            Self::Conflict { .. } => "look at it with kubectl; jitd leaves alone what it did not make",
            Self::Rejected { .. } => "if an admission policy says so, make room there for what jitd binds",
            Self::Unreadable { .. } => "is it a Kubernetes API server, and is no proxy in between",
        };
        Some(hint.into())
    }
}

impl ClusterError {
    /// What an answer means that is no success.
    pub(super) fn of_reply(cluster: ClusterName, reply: &Reply) -> Self {
        let status = reply.status();
        let said = status.as_ref().map_or_else(|| reply.beginning(), |status| status.message.clone());
        match (reply.code, &status) {
            (401, _) => Self::Unauthorized { cluster },
            (429 | 500.., _) => Self::Busy { cluster, code: reply.code, why: said, retry_after: reply.retry_after() },
            // A proxy's words must not pass for the cluster's: "not found" is a proof for the caller.
            (code, None) => Self::Unreadable { cluster, why: format!("{code} without a Kubernetes status: {said}") },
            (403, Some(status)) if is_of_ending_namespace(status) => Self::NotFound { cluster, what: said },
            (403, _) if said.contains(ANONYMOUS) => Self::Anonymous { cluster },
            (403, Some(_)) if is_of_quota(&said) => Self::OverQuota { cluster, why: said },
            (403, _) => Self::Forbidden { cluster, why: said },
            (404, Some(status)) if status.is_not_found() => Self::NotFound { cluster, what: said },
            (409, _) => Self::Conflict { cluster, what: said },
            (code, _) => Self::Rejected { cluster, code, why: said },
        }
    }

    /// Whether the same call may well succeed in a moment, without anybody changing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::TimedOut { .. } | Self::Busy { .. })
    }

    /// Whether it may pass while an approval waits, also when somebody has to do something about it.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        self.is_transient() || matches!(self, Self::OverQuota { .. })
    }

    /// How long the API server asked to wait.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// How the API server names in a refusal whoever showed it nothing (k8s.io/apiserver
/// `endpoints/handlers/responsewriters/errors.go`). Nobody else can have that name.
const ANONYMOUS: &str = "User \"system:anonymous\" cannot ";

/// What was answered; none when there is no such object.
pub(super) fn unless_missing<T>(answer: Result<T, ClusterError>) -> Result<Option<T>, ClusterError> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(ClusterError::NotFound { .. }) => Ok(None),
        Err(other) => Err(other),
    }
}

/// A namespace that is being deleted refuses what is created in it with 403 and this cause
/// (k8s.io/apiserver `admission/plugin/namespace/lifecycle`), which no further right would change.
fn is_of_ending_namespace(status: &Status) -> bool {
    let causes = status.details.as_ref().map_or(&[][..], |details| &details.causes);
    causes.iter().any(|cause| cause.reason == "NamespaceTerminating")
}

/// A quota that is used up, or whose use is not counted yet, refuses with 403 and no cause but these words
/// (k8s.io/apiserver `admission/plugin/resourcequota`).
fn is_of_quota(said: &str) -> bool {
    said.contains("is forbidden: exceeded quota: ") || said.contains("is forbidden: status unknown for quota: ")
}
