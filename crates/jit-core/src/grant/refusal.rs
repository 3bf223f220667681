//! A refusal is a value: a stable code that scripts compare, and a sentence that a person can act on.
//! It never means that we could not do our work; that is an error of the module that failed.

use std::fmt;

/// Declares the codes with their texts, so that the list of all of them lacks none.
macro_rules! codes {
    ($($(#[$doc:meta])* $code:ident: $text:literal;)+) => {
        /// Why something is refused. The text of a code never changes once it was released.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $($(#[$doc])* $code,)+
        }

        impl Code {
            /// All of them.
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
    /// No rule of the policy lets this person ask for this.
    PolicyDenied: "policy-denied";
    /// A guardrail forbids it, whatever the rules say.
    Guardrail: "guardrail";
    /// This person has, or asked for, as much as the policy lets one person.
    Limit: "limit";
    /// This person took access without an answer, and it is not reviewed yet.
    ReviewOwed: "review-owed";
    /// The same was denied to this person a short while ago.
    RecentlyDenied: "recently-denied";
    /// An operator said that nothing is given at the moment.
    Draining: "draining";
    /// Nobody approves their own request.
    SelfApproval: "self-approval";
    /// With which login somebody came can't be known, so neither whether they asked themselves.
    LoginUnknown: "login-unknown";
    /// An approver wanted to give what was not asked.
    NotLess: "not-less";
    /// The caller may not do this to this grant.
    NotAllowed: "not-allowed";
    /// The caller has already agreed.
    AlreadyAgreed: "already-agreed";
    /// What was approved is not what is asked.
    DigestMismatch: "digest-mismatch";
    /// The grant is in a phase in which this can't happen.
    WrongPhase: "wrong-phase";
    /// The window, or the time to answer or collect, is over.
    TooLate: "too-late";
    /// The certificate was asked for with another key than the approved one.
    KeyMismatch: "key-mismatch";
    /// The key stands in another person's grant, or is the authority's own.
    KeyInUse: "key-in-use";
    /// The certificate request is not one we sign.
    BadCsr: "bad-csr";
    /// The role does not exist.
    RoleMissing: "role-missing";
    /// The role grants nothing in this scope, so it can't be shown to work or to end.
    RoleEmpty: "role-empty";
    /// The cluster gives something to the person's own user name, which no grant gives or ends.
    UserBound: "user-bound";
    /// The role changed since it was approved.
    RoleDrift: "role-drift";
    /// The configuration names no such cluster.
    UnknownCluster: "unknown-cluster";
    /// Nobody has this name, nor ever asked for anything under it.
    UnknownPerson: "unknown-person";
    /// The namespace does not exist.
    NamespaceMissing: "namespace-missing";
    /// The namespace was deleted and made anew since it was approved.
    NamespaceDrift: "namespace-drift";
    /// An approver no longer may approve this.
    ApproverLostRight: "approver-lost-right";
    /// The requester no longer may ask for this.
    RequesterLostRight: "requester-lost-right";
}

/// A "no" with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The stable code.
    pub code: Code,
    /// One sentence, lower-case, without a full stop.
    pub why: String,
    /// What to do about it; empty when there is nothing.
    pub hint: String,
}

impl Refusal {
    /// A refusal with its sentence.
    #[must_use]
    pub fn new(code: Code, why: impl Into<String>) -> Self {
        Self { code, why: why.into(), hint: String::new() }
    }

    /// That only the requester may do this.
    #[must_use]
    pub fn not_the_requester() -> Self {
        Self::new(Code::NotAllowed, "only the person who asked may do this")
    }

    /// The same with a hint.
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
