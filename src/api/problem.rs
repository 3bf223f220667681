//! Refusals and failures as RFC 9457 problem documents. [`ErrorCode`] maps each code to a status.
//!
//! What the caller reads and what the log keeps are separate: for our own failures the caller gets the code and what to
//! do, and the log gets the details.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::broker::BrokerError;
use crate::grant::refusal::{Code, Refusal};
use crate::grant::request::Malformed;
use crate::hint::Hint;
use crate::kept::KeptError;
use crate::ledger::{LedgerError, TrailError};
use crate::people::Unknown;
use crate::sessions::SessionsError;
use crate::wire::{ErrorCode, Problem};

/// The answer to a call that was refused or failed.
#[derive(Debug)]
pub(super) struct ApiError(Problem);

impl ApiError {
    pub(super) fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self(Problem::new(code, detail))
    }

    /// The same error, with what to do about it.
    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Self(self.0.hint(hint))
    }

    /// The same error, with the seconds to wait before trying again.
    pub(super) fn retry_after(self, seconds: u64) -> Self {
        Self(self.0.retry_after(seconds))
    }

    /// The problem document.
    pub(super) fn problem(&self) -> &Problem {
        &self.0
    }

    /// An error as the caller may read it.
    fn of(code: ErrorCode, error: &impl Hint) -> Self {
        Self::new(code, error.to_string()).hint(error.hint().unwrap_or_default())
    }

    /// The HTTP status of the answer.
    pub(super) fn http_status(&self) -> StatusCode {
        StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.http_status();
        // Strings and a number always serialise.
        let body = serde_json::to_vec(&self.0).unwrap_or_default();
        let kind = HeaderValue::from_static("application/problem+json");
        let mut answer = (status, [(header::CONTENT_TYPE, kind)], body).into_response();
        if let Some(seconds) = self.0.retry_after {
            answer.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        answer
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        Self::new(ErrorCode::Refused(refusal.code), refusal.why).hint(refusal.hint)
    }
}

impl From<BrokerError> for ApiError {
    fn from(error: BrokerError) -> Self {
        match error {
            BrokerError::Refused(refusal) => return refusal.into(),
            BrokerError::Ledger(error) => return error.into(),
            _ => tracing::warn!(error = %error.in_full(), "a call failed"),
        }
        match error {
            BrokerError::NotCollected { error: ref why, .. } => {
                let code = if why.is_transient() { ErrorCode::ClusterUnreachable } else { ErrorCode::ClusterRefused };
                Self::of(code, &error)
            }
            BrokerError::Cluster(error) if error.is_transient() => Self::of(ErrorCode::ClusterUnreachable, &error),
            BrokerError::Cluster(error) => Self::of(ErrorCode::ClusterRefused, &error),
            BrokerError::Unsettled { .. } | BrokerError::Terminating(_) => {
                Self::of(ErrorCode::ClusterUnreachable, &error)
            }
            BrokerError::Authority(_) => {
                Self::new(ErrorCode::AuthorityUnavailable, "the certificate authority cannot sign now")
                    .hint("ask an administrator; `jitd ca show` and the daemon's log show the reason")
            }
            BrokerError::AuthoritySilent(_) => Self::of(ErrorCode::AuthorityUnavailable, &error),
            BrokerError::NoGateway(_) | BrokerError::Unproved(_) => Self::of(ErrorCode::ClusterUnreachable, &error),
            BrokerError::NameService(unknown) => unknown.into(),
            BrokerError::DirectoryStale(_) => Self::of(ErrorCode::DirectoryUnavailable, &error),
            BrokerError::ClockWentBack { .. } => Self::of(ErrorCode::ClockWentBack, &error),
            BrokerError::Internal | BrokerError::Refused(_) | BrokerError::Ledger(_) => Self::internal(),
        }
    }
}

impl From<LedgerError> for ApiError {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::NoSuchGrant(_) => Self::new(ErrorCode::NoSuchGrant, error.to_string()).hint(
                "`jit-login ls --all` lists the grants that you may see; root finds ids with `jitd audit export`",
            ),
            LedgerError::Ambiguous { .. } => Self::of(ErrorCode::AmbiguousId, &error),
            LedgerError::Trail(TrailError::Silent { .. }) => {
                Self::no_trail("the audit trail does not answer, so nothing was recorded")
            }
            LedgerError::Trail(TrailError::Unknown { .. }) => Self::new(
                ErrorCode::TrailUnavailable,
                "the audit trail does not answer, and it is unknown whether this was recorded",
            )
            .hint("look at the grant before you repeat it, with `jit-login show` or `jit-login ls`"),
            LedgerError::Trail(_) => {
                tracing::warn!(error = %error.in_full(), "a call failed");
                Self::unwritable_trail()
            }
            LedgerError::InvalidTransition(_) => Self::internal(),
        }
    }
}

impl From<KeptError> for ApiError {
    fn from(error: KeptError) -> Self {
        let sessions = match &error {
            KeptError::Silent(_) => return Self::of(ErrorCode::SessionsUnavailable, &error),
            KeptError::Sessions(sessions) => sessions,
        };
        match sessions {
            SessionsError::Unknown { .. } | SessionsError::Several { .. } | SessionsError::NotRecorded(_) => {
                Self::new(ErrorCode::NoSuchSession, error.to_string()).hint("`jit-login sessions` lists them")
            }
            SessionsError::Unproved { .. } | SessionsError::Changed(_) => Self::of(ErrorCode::NotVerified, &error),
            // The daemon opens nothing that is sealed.
            SessionsError::Io { .. }
            | SessionsError::Kind { .. }
            | SessionsError::Large { .. }
            | SessionsError::Sealed { .. } => {
                tracing::warn!(error = %error.in_full(), "what the gateway kept cannot be read");
                Self::new(ErrorCode::SessionsUnavailable, error.to_string())
                    .hint("an administrator finds the reason with `jitd doctor`")
            }
        }
    }
}

impl From<Unknown> for ApiError {
    fn from(unknown: Unknown) -> Self {
        let code = match unknown {
            Unknown::NamelessGroup { .. } => ErrorCode::NameServiceUnavailable,
            Unknown::NameTaken(_) => ErrorCode::NameTaken,
            _ if unknown.is_failure() => ErrorCode::NameServiceUnavailable,
            _ => ErrorCode::UnknownCaller,
        };
        Self::of(code, &unknown)
    }
}

impl From<Vec<Malformed>> for ApiError {
    fn from(wrong: Vec<Malformed>) -> Self {
        let told: Vec<String> = wrong.iter().map(ToString::to_string).collect();
        Self::malformed(told.join("; "))
    }
}

impl ApiError {
    /// A value that does not have the required form.
    pub(super) fn malformed(why: impl Into<String>) -> Self {
        Self::new(ErrorCode::Malformed, why)
    }

    /// A body that did not arrive completely in time.
    pub(super) fn late_body(within: Duration) -> Self {
        Self::new(ErrorCode::TimedOut, format!("the body did not arrive within {} s", within.as_secs()))
            .hint("try again")
    }

    /// The trail's store cannot be written.
    pub(super) fn unwritable_trail() -> Self {
        Self::no_trail("the trail cannot be written, so nothing was done")
    }

    /// The trail's store does not answer in time.
    pub(super) fn silent_trail() -> Self {
        Self::no_trail("the trail does not answer")
    }

    /// The daemon serves, but these dependencies do not answer.
    pub(super) fn silent(dependencies: &[String]) -> Self {
        let why = dependencies.iter().map(|name| format!("the {name} does not answer")).collect::<Vec<_>>().join("; ");
        Self::new(ErrorCode::DependencySilent, why)
            .hint("calls that need none of them are served; the daemon's log has the details")
    }

    fn no_trail(why: &str) -> Self {
        Self::new(ErrorCode::TrailUnavailable, why).hint("ask an administrator; the daemon's log shows the reason")
    }

    /// A call for operators came through the socket for users.
    pub(super) fn wrong_door() -> Self {
        Self::new(ErrorCode::WrongDoor, "this socket is not for operators")
            .hint("root and members of `admins` use `jitd`, which calls `adminSocket`")
    }

    /// A caller of the admin socket is not an operator.
    pub(super) fn no_operator() -> Self {
        Self::new(ErrorCode::Refused(Code::NotAllowed), "only root and members of `admins` may operate the daemon")
            .hint("`admins` in config.yaml lists the groups")
    }

    /// A caller requests the whole trail, but may not see every grant.
    pub(super) fn no_auditor() -> Self {
        Self::new(
            ErrorCode::Refused(Code::NotAllowed),
            "only members of the groups `auditors` and `admins` may read the whole audit trail",
        )
        .hint(
            "`auditors` in config.yaml lists these groups; to read the trail of a grant that you may see, give its id",
        )
    }

    /// A bug of the daemon.
    pub(super) fn internal() -> Self {
        Self::new(ErrorCode::Internal, "internal error of jitd")
            .hint("ask an administrator; the daemon's log has the details")
    }
}
