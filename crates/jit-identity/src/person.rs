//! The person whom a verified token is about.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jit_core::grant::login::Flow;
use jit_core::grant::request::PersonName;

/// What the token of a provider says about a person. Issuer and subject are the identity; everything else may change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// The provider's name in the configuration.
    pub provider: String,
    /// `iss`.
    pub issuer: String,
    /// `sub`; for Entra ID `tid` and `oid` with a `/` between them. 1 to 255 bytes.
    pub subject: String,
    /// The displayed name, by the provider's rule. Another person may have it, or one that looks like it.
    pub name: PersonName,
    /// The groups of the bastion that the provider's rule maps the token's groups to.
    pub groups: BTreeSet<String>,
    /// `acr`: how the person was authenticated.
    pub acr: Option<String>,
    /// `amr`: by which methods.
    pub amr: Vec<String>,
    /// `auth_time`: when the person was authenticated.
    pub authenticated: Option<Timestamp>,
    /// `sid`: the login at the provider, which a logout token can name.
    pub sid: Option<String>,
    /// By which way the person logged in, if the provider's rule tells them apart.
    pub flow: Option<Flow>,
    /// `iat`: when the token was issued.
    pub issued: Timestamp,
    /// `exp`: when it expires.
    pub expires: Timestamp,
    /// The `kid` of the key that signed it.
    pub kid: String,
    /// The SHA-256 of the token, in hexadecimal digits.
    pub token_hash: String,
}
