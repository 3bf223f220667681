//! All stable error codes: their text, their HTTP status, and the exit of `jit-login`.
//!
//! This is the only table. The daemon answers only codes in it, and a released code keeps its text, its status and its exit
//! code. `api` and `jit-login` use it.

use jit_core::grant::refusal;

/// The exit of `jit-login` if the daemon answers with an error. Its other exit codes have other causes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The daemon, or something that it needs, failed.
    Failed,
    /// The request is invalid.
    Usage,
    /// A rule, or the state of the grant, says no.
    Refused,
    /// The grant is over.
    Ended,
}

impl Exit {
    /// The exit code.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Refused => 4,
            Self::Ended => 7,
        }
    }
}

/// Declares the codes as a table, so that the list of all codes is complete.
macro_rules! codes {
    ($($(#[$doc:meta])* $code:ident: $text:literal, $status:literal, $exit:ident;)+) => {
        /// Why a call was refused or failed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum ErrorCode {
            /// The policy, or the state of the grant, does not allow it.
            Refused(refusal::Code),
            $($(#[$doc])* $code,)+
        }

        impl ErrorCode {
            /// All codes, refusals first.
            pub fn all() -> impl Iterator<Item = Self> {
                refusal::Code::ALL.iter().copied().map(Self::Refused).chain([$(Self::$code),+])
            }

            fn row(self) -> (&'static str, u16, Exit) {
                match self {
                    Self::Refused(code) => refused(code),
                    $(Self::$code => ($text, $status, Exit::$exit),)+
                }
            }
        }
    };
}

codes! {
    /// The body or the query is invalid.
    Malformed: "malformed", 400, Usage;
    /// The body is not JSON.
    NotJson: "malformed", 415, Usage;
    /// The body exceeds the size limit.
    TooLarge: "too-large", 413, Usage;
    /// The path does not exist.
    NoSuchRoute: "no-such-route", 404, Usage;
    /// The path does not have this method.
    NoSuchMethod: "no-such-route", 405, Usage;
    /// The grant does not exist, or the caller may not see it.
    NoSuchGrant: "no-such-grant", 404, Usage;
    /// The session does not exist, was not recorded, or the caller may not see its grant.
    NoSuchSession: "no-such-session", 404, Usage;
    /// What the gateway kept does not verify: it was changed or cut.
    NotVerified: "not-verified", 409, Failed;
    /// The daemon cannot read what the gateway keeps.
    SessionsUnavailable: "sessions-unavailable", 503, Failed;
    /// The beginning of an id matches several grants.
    AmbiguousId: "ambiguous-id", 409, Usage;
    /// The caller is not a known person.
    UnknownCaller: "unknown-caller", 403, Refused;
    /// The route is available on the admin socket only.
    WrongDoor: "wrong-door", 403, Refused;
    /// A person of an identity provider would get another person's name.
    NameTaken: "name-taken", 409, Refused;
    /// The client has no session at the front end.
    SessionRequired: "session-required", 401, Refused;
    /// The client has proved no key to the front end.
    KeyRequired: "key-required", 401, Refused;
    /// The ID token failed a check.
    TokenRefused: "token-refused", 401, Refused;
    /// The ID token has expired.
    TokenExpired: "token-expired", 401, Refused;
    /// Another key has opened a session with the ID token.
    TokenUsed: "token-used", 401, Refused;
    /// The ID token lacks a claim that the rule of its provider requires, or one has the wrong form.
    ClaimsUnusable: "claims-unusable", 403, Refused;
    /// The front end cannot get the keys of the identity provider.
    ProviderUnreachable: "provider-unreachable", 503, Failed;
    /// The front end cannot reach the daemon.
    DaemonUnreachable: "daemon-unreachable", 503, Failed;
    /// One account calls too often.
    RateLimited: "rate-limited", 429, Failed;
    /// Too many connections are open.
    Busy: "busy", 503, Failed;
    /// The call took too long.
    TimedOut: "busy", 408, Failed;
    /// The API server cannot be reached, or cannot answer now.
    ClusterUnreachable: "cluster-unreachable", 503, Failed;
    /// The API server refused the call, or its answer is not as expected.
    ClusterRefused: "cluster-refused", 502, Failed;
    /// The authority cannot sign now.
    AuthorityUnavailable: "authority-unavailable", 503, Failed;
    /// The host's name service failed.
    NameServiceUnavailable: "name-service-unavailable", 503, Failed;
    /// The directory of the person's identity provider has not answered for longer than `staleAfter`.
    DirectoryUnavailable: "directory-unavailable", 503, Failed;
    /// The clock of the host is behind the trail.
    ClockWentBack: "clock-went-back", 503, Failed;
    /// The audit trail cannot be written, or does not answer.
    TrailUnavailable: "trail-unavailable", 503, Failed;
    /// The name service, DNS or a key token does not answer.
    DependencySilent: "dependency-silent", 503, Failed;
    /// An error in jitd.
    Internal: "internal", 500, Failed;
}

fn refused(code: refusal::Code) -> (&'static str, u16, Exit) {
    use refusal::Code;
    let (status, exit) = match code {
        Code::PolicyDenied
        | Code::Guardrail
        | Code::SelfApproval
        | Code::LoginUnknown
        | Code::LoginTooWeak
        | Code::LoginStale
        | Code::ReviewOwed
        | Code::RecentlyDenied
        | Code::NotAllowed
        | Code::ApproverLostRight
        | Code::RequesterLostRight => (403, Exit::Refused),
        Code::AlreadyAgreed
        | Code::DigestMismatch
        | Code::WrongPhase
        | Code::KeyInUse
        | Code::RoleDrift
        | Code::NamespaceDrift
        | Code::UserBound => (409, Exit::Refused),
        Code::TooLate => (410, Exit::Ended),
        Code::KeyMismatch
        | Code::BadCsr
        | Code::NotLess
        | Code::RoleMissing
        | Code::RoleEmpty
        | Code::NamespaceMissing => (422, Exit::Refused),
        Code::UnknownCluster | Code::UnknownPerson => (422, Exit::Usage),
        Code::Limit => (429, Exit::Refused),
        // The caller did nothing wrong and can try again later.
        Code::Draining => (503, Exit::Failed),
    };
    (code.as_str(), status, exit)
}

impl ErrorCode {
    /// The code with this text; the first one if there are two.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        Self::all().find(|code| code.as_str() == text)
    }

    /// The stable text for scripts.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.row().0
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(self) -> u16 {
        self.row().1
    }

    /// The exit of `jit-login` for it.
    #[must_use]
    pub fn exit(self) -> Exit {
        self.row().2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A copy of the table: these values are released, and scripts would notice a change.
    #[test]
    fn every_code_has_its_status_and_its_exit_code() {
        let told: Vec<_> = ErrorCode::all().map(|code| (code.as_str(), code.status(), code.exit().code())).collect();
        let released = [
            ("policy-denied", 403, 4),
            ("guardrail", 403, 4),
            ("limit", 429, 4),
            ("review-owed", 403, 4),
            ("recently-denied", 403, 4),
            ("draining", 503, 1),
            ("self-approval", 403, 4),
            ("login-unknown", 403, 4),
            ("login-too-weak", 403, 4),
            ("login-stale", 403, 4),
            ("not-less", 422, 4),
            ("not-allowed", 403, 4),
            ("already-agreed", 409, 4),
            ("digest-mismatch", 409, 4),
            ("wrong-phase", 409, 4),
            ("too-late", 410, 7),
            ("key-mismatch", 422, 4),
            ("key-in-use", 409, 4),
            ("bad-csr", 422, 4),
            ("role-missing", 422, 4),
            ("role-empty", 422, 4),
            ("user-bound", 409, 4),
            ("role-drift", 409, 4),
            ("unknown-cluster", 422, 2),
            ("unknown-person", 422, 2),
            ("namespace-missing", 422, 4),
            ("namespace-drift", 409, 4),
            ("approver-lost-right", 403, 4),
            ("requester-lost-right", 403, 4),
            ("malformed", 400, 2),
            ("malformed", 415, 2),
            ("too-large", 413, 2),
            ("no-such-route", 404, 2),
            ("no-such-route", 405, 2),
            ("no-such-grant", 404, 2),
            ("no-such-session", 404, 2),
            ("not-verified", 409, 1),
            ("sessions-unavailable", 503, 1),
            ("ambiguous-id", 409, 2),
            ("unknown-caller", 403, 4),
            ("wrong-door", 403, 4),
            ("name-taken", 409, 4),
            ("session-required", 401, 4),
            ("key-required", 401, 4),
            ("token-refused", 401, 4),
            ("token-expired", 401, 4),
            ("token-used", 401, 4),
            ("claims-unusable", 403, 4),
            ("provider-unreachable", 503, 1),
            ("daemon-unreachable", 503, 1),
            ("rate-limited", 429, 1),
            ("busy", 503, 1),
            ("busy", 408, 1),
            ("cluster-unreachable", 503, 1),
            ("cluster-refused", 502, 1),
            ("authority-unavailable", 503, 1),
            ("name-service-unavailable", 503, 1),
            ("directory-unavailable", 503, 1),
            ("clock-went-back", 503, 1),
            ("trail-unavailable", 503, 1),
            ("dependency-silent", 503, 1),
            ("internal", 500, 1),
        ];
        assert_eq!(told, released);
    }

    #[test]
    fn codes_with_one_text_have_one_exit_code() {
        for code in ErrorCode::all() {
            let found = ErrorCode::of(code.as_str()).unwrap();
            assert_eq!((found.as_str(), found.exit()), (code.as_str(), code.exit()));
        }
        assert_eq!(ErrorCode::of("something-new"), None);
    }
}
