//! The checks of a logout token (OpenID Connect Back-Channel Logout 1.0 section 2.6), in the order in which they are made.
//!
//! ```text
//!  form, header, algorithm, key, signature   (jws.rs)
//!  ─► kind ─► issuer ─► audience ─► times ─► whose login ─► jti ─► Logout
//! ```
//! What an ID token has too is checked as there. Whoever calls this sees to it that a `jti` counts once.

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::jws::{Jws, Kind};
use crate::keys::KeySet;
use crate::provider::{Provider, SubjectRule};
use crate::refusal::Refusal;
use crate::verify::{audience, hash, identifier, is_of_issuer, optional_identifier, payload, times};

/// The member of `events` that makes a token a logout token (section 2.4).
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// What a provider says about the end of somebody's login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logout {
    /// `iss`.
    pub issuer: String,
    /// `sub`, as [`Person::subject`](crate::Person::subject). Without `sid`, all logins of this person are over.
    pub subject: Option<String>,
    /// `sid`: the login. It or the subject is there, mostly both.
    pub sid: Option<String>,
    /// `jti`: the name of the token.
    pub jti: String,
    /// `iat`: when the token was issued.
    pub issued: Timestamp,
    /// `exp`: when it expires.
    pub expires: Timestamp,
    /// The SHA-256 of the token, in hexadecimal digits.
    pub token_hash: String,
}

/// Whose login is over, if the token passes every check. `now` is the bastion's clock.
///
/// # Errors
/// [`Refusal`]: the first check that the token fails.
pub fn verify_logout(token: &[u8], keys: &KeySet, rule: &Provider, now: Timestamp) -> Result<Logout, Refusal> {
    let jws = Jws::parse(token, Kind::Logout)?;
    let claims = payload(&jws.verify(keys, &rule.algorithms)?)?;
    is_logout_token(&claims)?;
    is_of_issuer(&claims, rule)?;
    audience(&claims, rule)?;
    let times = times(&claims, rule, now)?;
    let (named, sid) = (optional_identifier(&claims, "sub")?, optional_identifier(&claims, "sid")?);
    let subject = match rule.subject {
        SubjectRule::Sub => named,
        // It is another one for each client, and no part of the identity.
        SubjectRule::Entra => None,
    };
    if subject.is_none() && sid.is_none() {
        return Err(Refusal::Identifier { claim: "/sid".to_owned() });
    }
    let jti = identifier(claims.get("jti"), "/jti")?.to_owned();
    let issuer = rule.issuer.clone();
    Ok(Logout { issuer, subject, sid, jti, issued: times.issued, expires: times.expires, token_hash: hash(token) })
}

/// Refuses the other tokens that a provider signs with the same keys.
fn is_logout_token(claims: &Map<String, Value>) -> Result<(), Refusal> {
    let wrong = |why| Err(Refusal::Kind(Kind::Logout, why));
    if !claims.get("events").and_then(|events| events.get(EVENT)).is_some_and(Value::is_object) {
        return wrong("`events` does not have the logout as an object");
    }
    // Section 2.4: so that no logout token is taken for an ID token.
    if claims.contains_key("nonce") {
        return wrong("it has a `nonce`, as ID tokens have");
    }
    // Keycloak: ID, Bearer, Refresh, Offline, Logout.
    if claims.get("typ").is_some_and(|kind| kind != "Logout") {
        return wrong("`typ` in its payload is not `Logout`");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
