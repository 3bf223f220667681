//! Why a token is refused: the check, never a value of the token.

use std::borrow::Cow;

use jit_host::hint::Hint;

use crate::jws::Kind;

/// Which check a token failed. Its text may be shown to whoever sent it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is longer than [`LONGEST_TOKEN`](crate::jws::LONGEST_TOKEN).
    #[error("the token is longer than 16 KiB")]
    TooLong,
    /// It is not a signed token at all.
    #[error("the token {0}")]
    Form(&'static str),
    /// A rule about the header.
    #[error("the header of the token {0}")]
    Header(&'static str),
    /// Its algorithm is unknown, or not in the provider's list.
    #[error("the provider's tokens are not signed with this algorithm (`alg`)")]
    Algorithm,
    /// No key of the provider has its `kid` and fits its algorithm.
    #[error("the provider has no key for signatures with this `kid` and `alg`")]
    UnknownKey,
    /// The signature is wrong.
    #[error("the signature of the token is wrong")]
    Signature,
    /// The payload.
    #[error("the payload of the token {0}")]
    Payload(&'static str),
    /// It is of another kind than this one, such as an access or refresh token.
    #[error("the token is not {0}: {1}")]
    Kind(Kind, &'static str),
    /// Its `iss`.
    #[error("the token is of another issuer (`iss`)")]
    Issuer,
    /// Its `aud`.
    #[error("the token is not for this audience alone (`aud`)")]
    Audience,
    /// Its `azp`.
    #[error("the token was issued to another client (`azp`)")]
    AuthorizedParty,
    /// A time in it.
    #[error("`{claim}` of the token {why}")]
    Time {
        /// The claim.
        claim: &'static str,
        /// What is wrong.
        why: &'static str,
    },
    /// It is no longer valid.
    #[error("the token has expired (`exp`)")]
    Expired,
    /// A claim that identifies the person.
    #[error("`{claim}` of the token is not a name of 1 to 255 bytes without control characters")]
    Identifier {
        /// The claim, as a JSON pointer of the configuration.
        claim: String,
    },
    /// It was not issued for this session.
    #[error("the token was not issued for this session (`nonce`)")]
    Nonce,
    /// The token is good, but what it says is not enough for the provider's rule.
    #[error("the claim `{claim}` {why}")]
    Claims {
        /// The claim, as a JSON pointer of the configuration.
        claim: String,
        /// What is wrong.
        why: &'static str,
    },
    /// There is no key for it, and the provider cannot be asked.
    #[error("the provider's keys cannot be fetched")]
    ProviderUnreachable,
}

impl Refusal {
    /// The name of the check, stable: for the log and for counters.
    #[must_use]
    pub fn check(&self) -> &'static str {
        match self {
            Self::TooLong => "size",
            Self::Form(_) => "form",
            Self::Header(_) => "header",
            Self::Algorithm => "algorithm",
            Self::UnknownKey => "key",
            Self::Signature => "signature",
            Self::Payload(_) => "payload",
            Self::Kind(..) => "kind",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::AuthorizedParty => "azp",
            Self::Time { .. } => "time",
            Self::Expired => "expired",
            Self::Identifier { .. } => "identifier",
            Self::Nonce => "nonce",
            Self::Claims { .. } => "claims",
            Self::ProviderUnreachable => "provider",
        }
    }

    /// The stable code and the HTTP status of the answer.
    #[must_use]
    pub fn code(&self) -> (&'static str, u16) {
        match self {
            Self::TooLong => ("too-large", 413),
            Self::Expired => ("token-expired", 401),
            Self::Claims { .. } => ("claims-unusable", 403),
            Self::ProviderUnreachable => ("provider-unreachable", 503),
            _ => ("token-refused", 401),
        }
    }
}

impl Hint for Refusal {
    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Expired | Self::Nonce => Some("`jit-login login`".into()),
            Self::Time { claim: "iat" | "nbf", why: crate::verify::IN_THE_FUTURE } => {
                Some("compare the clocks of the bastion and of the provider: `timedatectl`".into())
            }
            Self::Claims { .. } => {
                Some("ask those who run the identity provider, or the bastion's administrator".into())
            }
            Self::ProviderUnreachable => Some("try again in 30 s".into()),
            _ => None,
        }
    }
}
