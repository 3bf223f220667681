//! Why a request to an API server failed, and whether the caller should retry or needs an administrator.
//!
//! It must never mistake another program's answer for that of Kubernetes: what a proxy says proves nothing. `transport`
//! creates these errors, and the broker and the sweep act on them.

use std::borrow::Cow;
use std::time::Duration;

use kube::core::Status;

use super::cause::Cause;
use super::transport::Reply;
use crate::grant::request::ClusterName;
use crate::hint::Hint;
use crate::rbac::risk::ServerVersion;

/// Why a request to an API server failed.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// There was no answer, so it is unknown whether the API server handled the request. Try again.
    #[error("cluster `{cluster}` cannot be reached: {cause}")]
    Unreachable {
        /// The cluster.
        cluster: ClusterName,
        /// Why there was no answer.
        cause: Cause,
    },
    /// There was no answer in time, so it is unknown whether the API server handled the request. Try again.
    #[error("cluster `{cluster}` did not answer within {} s", after.as_secs_f32())]
    TimedOut {
        /// The cluster.
        cluster: ClusterName,
        /// How long we waited.
        after: Duration,
    },
    /// The API server is overloaded or failed (429, 5xx). Try again, not before `retry_after`.
    #[error("cluster `{cluster}` is unavailable: {why} ({code})")]
    Busy {
        /// The cluster.
        cluster: ClusterName,
        /// The HTTP status.
        code: u16,
        /// The API server's message.
        why: String,
        /// How long it asks us to wait.
        retry_after: Option<Duration>,
    },
    /// The API server rejects our credential (401): it does not trust our authority, or our certificate has expired.
    #[error("cluster `{cluster}` does not accept our credential")]
    Unauthorized {
        /// The cluster.
        cluster: ClusterName,
    },
    /// The API server treats us as `system:anonymous` (403): our certificate did not reach it.
    #[error("cluster `{cluster}` treats us as an anonymous user (`system:anonymous`)")]
    Anonymous {
        /// The cluster.
        cluster: ClusterName,
    },
    /// The API server knows us and refuses the request (403): a right is missing, or an admission policy denies it.
    #[error("cluster `{cluster}` forbids the request: {why}")]
    Forbidden {
        /// The cluster.
        cluster: ClusterName,
        /// The API server's message; it names the missing verb and resource.
        why: String,
    },
    /// A quota of the namespace is exhausted (403).
    #[error("cluster `{cluster}` forbids the request: {why}")]
    OverQuota {
        /// The cluster.
        cluster: ClusterName,
        /// The API server's message; it names the quota.
        why: String,
    },
    /// The object does not exist (404).
    #[error("not found in cluster `{cluster}`: {what}")]
    NotFound {
        /// The cluster.
        cluster: ClusterName,
        /// The API server's message.
        what: String,
    },
    /// Another object has its name (409).
    #[error("an object of that name exists in cluster `{cluster}` and is not ours: {what}")]
    Conflict {
        /// The cluster.
        cluster: ClusterName,
        /// The existing object, or the API server's message.
        what: String,
    },
    /// The API server or an admission policy rejects the request as invalid (400, 422, …). The same request would be
    /// rejected again.
    #[error("cluster `{cluster}` rejects the request: {why} ({code})")]
    Rejected {
        /// The cluster.
        cluster: ClusterName,
        /// The HTTP status.
        code: u16,
        /// The API server's message.
        why: String,
    },
    /// The API server does not limit what the gateway may do as the holder of a grant, and the configuration demands it, so
    /// nobody gets access through the gateway.
    #[error(
        "cluster `{cluster}` runs Kubernetes {version} and does not limit where the gateway may act as a holder \
         (constrained impersonation, since {})",
        ServerVersion::LIMITS_IMPERSONATION
    )]
    GatewayUnlimited {
        /// The cluster.
        cluster: ClusterName,
        /// Its version, escaped.
        version: String,
    },
    /// We do not understand the answer, so it counts as a refusal.
    #[error("unexpected answer from cluster `{cluster}`: {why}")]
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
                cause.hint().unwrap_or("check the address, the certificate authority and the network")
            }
            Self::TimedOut { .. } => "check the API server's load and the network",
            Self::Busy { .. } => "check the API server's load",
            Self::Unauthorized { .. } => {
                "the API server's --client-ca-file must contain jitd's root, or the cluster's `kubeconfig` a valid \
                 credential, and both clocks must agree"
            }
            Self::Anonymous { .. } => {
                "something in front of the API server terminates TLS, so our certificate does not reach it; `server` must \
                 be the address of the API server itself"
            }
            Self::Forbidden { .. } => {
                "`jitd check --cluster` shows whether a right is missing, or what in the cluster denies the request"
            }
            Self::OverQuota { .. } => "an administrator of the namespace can raise the quota or free some of it",
            Self::NotFound { .. } => return None,
            Self::Conflict { .. } => "inspect it with kubectl; jitd never changes objects that it did not create",
            Self::Rejected { .. } => "if an admission policy rejects it, allow jitd's bindings in that policy",
            Self::GatewayUnlimited { .. } => {
                "set `impersonation: unconstrained` in the cluster's entry of config.yaml and apply `jitd manifest` again; \
                 docs/gateway.md says what is weaker then"
            }
            Self::Unreadable { .. } => "check that `server` is a Kubernetes API server, with no proxy in between",
        };
        Some(hint.into())
    }
}

impl ClusterError {
    /// The error for an answer that is not a success.
    pub(super) fn of_reply(cluster: ClusterName, reply: &Reply) -> Self {
        let status = reply.status();
        let said = status.as_ref().map_or_else(|| reply.beginning(), |status| status.message.clone());
        match (reply.code, &status) {
            (401, _) => Self::Unauthorized { cluster },
            (429 | 500.., _) => Self::Busy { cluster, code: reply.code, why: said, retry_after: reply.retry_after() },
            // A proxy's answer must not count as the cluster's: to the caller, "not found" is a proof.
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

    /// Whether the same call may succeed soon, without anybody changing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::TimedOut { .. } | Self::Busy { .. })
    }

    /// Whether the problem may be solved while an approval waits, possibly by somebody's action.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        self.is_transient() || matches!(self, Self::OverQuota { .. })
    }

    /// How long the API server asks us to wait.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// How the API server's message names a caller without a credential (k8s.io/apiserver
/// `endpoints/handlers/responsewriters/errors.go`). No other caller can have that name.
const ANONYMOUS: &str = "User \"system:anonymous\" cannot ";

/// The answer; `None` if the object does not exist.
pub(super) fn unless_missing<T>(answer: Result<T, ClusterError>) -> Result<Option<T>, ClusterError> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(ClusterError::NotFound { .. }) => Ok(None),
        Err(other) => Err(other),
    }
}

/// A namespace that is being deleted refuses new objects with 403 and this cause (k8s.io/apiserver
/// `admission/plugin/namespace/lifecycle`). No additional right would change that.
fn is_of_ending_namespace(status: &Status) -> bool {
    let causes = status.details.as_ref().map_or(&[][..], |details| &details.causes);
    causes.iter().any(|cause| cause.reason == "NamespaceTerminating")
}

/// A quota that is exhausted, or whose use is not counted yet, refuses with 403 and no cause; only the message tells
/// (k8s.io/apiserver `admission/plugin/resourcequota`).
fn is_of_quota(said: &str) -> bool {
    said.contains("is forbidden: exceeded quota: ") || said.contains("is forbidden: status unknown for quota: ")
}
