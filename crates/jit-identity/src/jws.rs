//! A signed token in its compact form (RFC 7515 section 7.1): three parts of base64url with a dot between them.
//!
//! ```text
//!  header . payload . signature ─► parse: length, form, header ─► verify: algorithm, key, signature ─► payload
//! ```
//! Nothing of the payload is decoded before the signature is verified.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::algorithm::Algorithm;
use crate::json;
use crate::keys::{KeySet, LONGEST_KID};
use crate::refusal::Refusal;

/// The longest token, in bytes. One with 200 groups has about 8 KiB.
pub const LONGEST_TOKEN: usize = 16 << 10;

/// Members of a header that bring a key or say where one is (RFC 7515 section 4.1).
const KEYS_IN_A_HEADER: [&str; 4] = ["jku", "jwk", "x5u", "x5c"];

/// What a token is for. A provider signs all kinds with the same keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Who logged in (OpenID Connect Core 1.0 section 2).
    Id,
    /// Whose login is over (OpenID Connect Back-Channel Logout 1.0 section 2.4).
    Logout,
}

impl Kind {
    /// The `typ` of its header, which may be absent.
    fn media_type(self) -> &'static str {
        match self {
            Self::Id => "JWT",
            Self::Logout => "logout+jwt",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Id => "an ID token",
            Self::Logout => "a logout token",
        })
    }
}

/// A token whose form and header are right, and whose signature is not yet verified.
pub struct Jws<'a> {
    algorithm: Algorithm,
    kid: String,
    /// What is signed: header and payload as they are written, with their dot.
    signed: &'a [u8],
    payload: &'a [u8],
    signature: &'a [u8],
}

impl<'a> Jws<'a> {
    /// Parses a token of a kind. `typ` of the header names the kind, or is absent. `jku`, `jwk`, `x5u`, `x5c` and `crit` are
    /// refused, whatever they say; other members are ignored (RFC 7515 section 4.2).
    ///
    /// # Errors
    /// [`Refusal::TooLong`], [`Refusal::Form`], [`Refusal::Header`], [`Refusal::Algorithm`] for one that we do not know,
    /// [`Refusal::Kind`] for another `typ`.
    pub fn parse(token: &'a [u8], kind: Kind) -> Result<Self, Refusal> {
        if token.len() > LONGEST_TOKEN {
            return Err(Refusal::TooLong);
        }
        let mut parts = token.split(|byte| *byte == b'.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Refusal::Form("is not three parts with a dot between them"));
        };
        // Both dots are there.
        let signed = token.get(..header.len() + 1 + payload.len()).unwrap_or_default();
        let header = json::object(&decoded(header)?).ok_or(Refusal::Header(json::REQUIRED))?;
        if KEYS_IN_A_HEADER.iter().any(|name| header.contains_key(*name)) {
            return Err(Refusal::Header("brings a key or says where one is (`jku`, `jwk`, `x5u`, `x5c`)"));
        }
        if header.contains_key("crit") {
            return Err(Refusal::Header("demands an extension (`crit`)"));
        }
        match header.get("typ") {
            None => {}
            // RFC 7515 section 4.1.9: media types do not distinguish case.
            Some(Value::String(typ)) if typ.eq_ignore_ascii_case(kind.media_type()) => {}
            Some(_) => return Err(Refusal::Kind(kind, "`typ` in its header is another one")),
        }
        let algorithm = match header.get("alg") {
            Some(Value::String(name)) => Algorithm::of_name(name).ok_or(Refusal::Algorithm)?,
            _ => return Err(Refusal::Header("has no `alg`")),
        };
        let kid = match header.get("kid") {
            Some(Value::String(kid)) if (1..=LONGEST_KID).contains(&kid.len()) => kid.clone(),
            _ => return Err(Refusal::Header("has no `kid` of 1 to 256 bytes")),
        };
        Ok(Self { algorithm, kid, signed, payload, signature })
    }

    /// The name of the key that the token wants to be verified with.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    pub(crate) fn is_allowed(&self, allowed: &[Algorithm]) -> Result<(), Refusal> {
        if allowed.contains(&self.algorithm) { Ok(()) } else { Err(Refusal::Algorithm) }
    }

    /// The payload, if one of these algorithms and one of these keys signed it.
    ///
    /// # Errors
    /// [`Refusal::Algorithm`], [`Refusal::UnknownKey`], [`Refusal::Form`], [`Refusal::Signature`].
    pub fn verify(&self, keys: &KeySet, allowed: &[Algorithm]) -> Result<Vec<u8>, Refusal> {
        self.is_allowed(allowed)?;
        let key = keys.find(&self.kid, self.algorithm).ok_or(Refusal::UnknownKey)?;
        let signature = decoded(self.signature)?;
        key.verify_sig(self.signed, &signature).map_err(|_| Refusal::Signature)?;
        decoded(self.payload)
    }

    /// The payload of a token that nobody has verified.
    pub(crate) fn unverified(&self) -> Result<Vec<u8>, Refusal> {
        decoded(self.payload)
    }
}

/// Decodes a part. Padding, white space, the other alphabet and bits that nothing needs are refused.
fn decoded(part: &[u8]) -> Result<Vec<u8>, Refusal> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Refusal::Form("has a part that is not base64url without padding"))
}
