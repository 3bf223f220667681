//! A refusal is a value: a stable code that scripts compare, and a sentence that a person can act on.
//! It never means that we could not do our work; that is an error of the module that failed.

use std::fmt;

/// Why something is refused. The text of a code never changes once it was released.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// No rule of the policy lets this person ask for this.
    PolicyDenied,
    /// A guardrail forbids it, whatever the rules say.
    Guardrail,
    /// This person has, or asked for, as much as the policy lets one person.
    Limit,
    /// This person took access without an answer, and it is not reviewed yet.
    ReviewOwed,
    /// An operator said that nothing is given at the moment.
    Draining,
    /// Nobody approves their own request.
    SelfApproval,
    /// An approver wanted to give what was not asked.
    NotLess,
    /// The caller may not do this to this grant.
    NotAllowed,
    /// The caller has already agreed.
    AlreadyAgreed,
    /// What was approved is not what is asked.
    DigestMismatch,
    /// The grant is in a phase in which this can't happen.
    WrongPhase,
    /// The window, or the time to answer or collect, is over.
    TooLate,
    /// The certificate was asked for with another key than the approved one.
    KeyMismatch,
    /// The key stands in another person's grant, or is the authority's own.
    KeyInUse,
    /// The certificate request is not one we sign.
    BadCsr,
    /// The role does not exist.
    RoleMissing,
    /// The role grants nothing in this scope, so it can't be shown to work or to end.
    RoleEmpty,
    /// The role changed since it was approved.
    RoleDrift,
    /// The configuration names no such cluster.
    UnknownCluster,
    /// Nobody has this name, nor ever asked for anything under it.
    UnknownPerson,
    /// The namespace does not exist.
    NamespaceMissing,
    /// An approver no longer may approve this.
    ApproverLostRight,
    /// The requester no longer may ask for this.
    RequesterLostRight,
}

impl Code {
    /// The code as scripts see it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PolicyDenied => "policy-denied",
            Self::Guardrail => "guardrail",
            Self::Limit => "limit",
            Self::ReviewOwed => "review-owed",
            Self::Draining => "draining",
            Self::SelfApproval => "self-approval",
            Self::NotLess => "not-less",
            Self::NotAllowed => "not-allowed",
            Self::AlreadyAgreed => "already-agreed",
            Self::DigestMismatch => "digest-mismatch",
            Self::WrongPhase => "wrong-phase",
            Self::TooLate => "too-late",
            Self::KeyMismatch => "key-mismatch",
            Self::KeyInUse => "key-in-use",
            Self::BadCsr => "bad-csr",
            Self::RoleMissing => "role-missing",
            Self::RoleEmpty => "role-empty",
            Self::RoleDrift => "role-drift",
            Self::UnknownCluster => "unknown-cluster",
            Self::UnknownPerson => "unknown-person",
            Self::NamespaceMissing => "namespace-missing",
            Self::ApproverLostRight => "approver-lost-right",
            Self::RequesterLostRight => "requester-lost-right",
        }
    }
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
