//! Refusals as values: a stable code for scripts, and a message that a person can act on. A refusal never means that we
//! could not do our work; that is an error of the module that failed.

use std::fmt;

/// Declares the codes with their texts, so that the list of all codes is complete.
macro_rules! codes {
    ($($(#[$doc:meta])* $code:ident: $text:literal;)+) => {
        /// Why something is refused. The text of a code never changes after its release.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $($(#[$doc])* $code,)+
        }

        impl Code {
            /// All codes.
            pub const ALL: &[Self] = &[$(Self::$code),+];

            /// The code as scripts see it.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$code => $text,)+
                }
            }
        }
    };
}

codes! {
    /// No rule of the policy allows this request.
    PolicyDenied: "policy-denied";
    /// A guardrail forbids it, whatever the rules allow.
    Guardrail: "guardrail";
    /// The person has reached a limit of the policy on requests or grants.
    Limit: "limit";
    /// A review of the person's last break-glass access is not complete.
    ReviewOwed: "review-owed";
    /// The same was recently denied to this person.
    RecentlyDenied: "recently-denied";
    /// A drain is in force.
    Draining: "draining";
    /// Nobody approves their own request.
    SelfApproval: "self-approval";
    /// The login of the caller cannot be determined, so it may be the requester's.
    LoginUnknown: "login-unknown";
    /// The caller's login at an identity provider lacks something that the rule requires.
    LoginTooWeak: "login-too-weak";
    /// The caller's ID token is too old for a certificate.
    LoginStale: "login-stale";
    /// A narrowed request exceeds the original one.
    NotLess: "not-less";
    /// The caller may not do this to this grant.
    NotAllowed: "not-allowed";
    /// The caller has already approved.
    AlreadyAgreed: "already-agreed";
    /// The request changed since the approver looked at it.
    DigestMismatch: "digest-mismatch";
    /// The grant is in a phase that does not allow this.
    WrongPhase: "wrong-phase";
    /// The window, or the time to answer or collect, is over.
    TooLate: "too-late";
    /// The certificate was requested with another key than the approved one.
    KeyMismatch: "key-mismatch";
    /// The key belongs to another person's grant, or to the authority.
    KeyInUse: "key-in-use";
    /// The certificate request is invalid, or its key is of a type that is not signed.
    BadCsr: "bad-csr";
    /// The role does not exist.
    RoleMissing: "role-missing";
    /// The role grants nothing in this scope, so its begin and end cannot be proved.
    RoleEmpty: "role-empty";
    /// Another binding grants rights to the person's own user name, which no grant can end.
    UserBound: "user-bound";
    /// The role changed since it was approved.
    RoleDrift: "role-drift";
    /// The configuration names no such cluster.
    UnknownCluster: "unknown-cluster";
    /// No person has this name, and none ever made a request under it.
    UnknownPerson: "unknown-person";
    /// The namespace does not exist.
    NamespaceMissing: "namespace-missing";
    /// The namespace was deleted and created again since it was approved.
    NamespaceDrift: "namespace-drift";
    /// An approver may no longer approve this.
    ApproverLostRight: "approver-lost-right";
    /// The requester may no longer request this.
    RequesterLostRight: "requester-lost-right";
}

/// A refusal with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The stable code.
    pub code: Code,
    /// One sentence, lower-case, without a full stop.
    pub why: String,
    /// What to do about it; empty if there is nothing.
    pub hint: String,
}

impl Refusal {
    /// A refusal with its message.
    #[must_use]
    pub fn new(code: Code, why: impl Into<String>) -> Self {
        Self { code, why: why.into(), hint: String::new() }
    }

    /// The refusal that only the requester may do this.
    #[must_use]
    pub fn not_the_requester() -> Self {
        Self::new(Code::NotAllowed, "only the requester may do this")
    }

    /// Adds a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.why)
    }
}
