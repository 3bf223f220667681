//! The public keys of a provider: a JSON Web Key Set (RFC 7517).
//!
//! A key is found by its `kid` and by the algorithm of the token, and there is no other way to a key: no first key, no
//! key without a name, none that the token brings. What a set contains besides is skipped, so that a provider can add
//! keys for other purposes or of types that we do not know.

use std::collections::BTreeSet;

use aws_lc_rs::signature::ParsedPublicKey;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::algorithm::{Algorithm, Material};
use crate::json;

/// How many keys a set may have. Providers publish 2 to 10.
const MOST_KEYS: usize = 100;

/// The longest `kid`, in bytes, of a key and of a token. Thumbprints have 43 (RFC 7638); some providers use UUIDs or
/// dates.
pub(crate) const LONGEST_KID: usize = 256;

/// The keys that may verify a token.
#[derive(Debug, Default)]
pub struct KeySet {
    keys: Vec<Key>,
}

#[derive(Debug)]
struct Key {
    kid: String,
    algorithm: Algorithm,
    public: ParsedPublicKey,
}

/// Why a document is no key set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// It is not JSON, or says two things.
    #[error("the key set {}", json::REQUIRED)]
    NotJson,
    /// There is no array of keys.
    #[error("the key set has no array `keys`")]
    NoKeys,
    /// There are too many.
    #[error("the key set has more than {MOST_KEYS} keys")]
    TooMany,
    /// No key can be used.
    #[error("the key set has no key that verifies signatures, has a `kid` and is of a known type")]
    NoneUsable,
}

impl KeySet {
    /// Parses a key set, `{"keys": […]}`.
    ///
    /// Skipped are keys without a `kid`, of a `use` other than `sig`, with `key_ops` that lack `verify`, of a type,
    /// algorithm or size that we do not accept, and keys whose private part is published. Two keys that share `kid` and
    /// algorithm are both skipped: a signature would not tell which of them it was made with.
    ///
    /// # Errors
    /// [`KeySetError`]: a set without a single usable key is one, too.
    pub fn parse(document: &[u8]) -> Result<Self, KeySetError> {
        let document = json::object(document).ok_or(KeySetError::NotJson)?;
        let Some(Value::Array(listed)) = document.get("keys") else { return Err(KeySetError::NoKeys) };
        if listed.len() > MOST_KEYS {
            return Err(KeySetError::TooMany);
        }
        let mut keys: Vec<Key> = listed.iter().filter_map(Value::as_object).flat_map(usable).collect();
        let mut seen = BTreeSet::new();
        let twice: BTreeSet<_> =
            keys.iter().map(|key| (key.kid.clone(), key.algorithm)).filter(|name| !seen.insert(name.clone())).collect();
        keys.retain(|key| !twice.contains(&(key.kid.clone(), key.algorithm)));
        if keys.is_empty() { Err(KeySetError::NoneUsable) } else { Ok(Self { keys }) }
    }

    /// The key with this `kid` for this algorithm.
    pub(crate) fn find(&self, kid: &str, algorithm: Algorithm) -> Option<&ParsedPublicKey> {
        let key = self.keys.iter().find(|key| key.kid == kid && key.algorithm == algorithm);
        key.map(|key| &key.public)
    }
}

/// The key for each algorithm that it may be used with.
fn usable(key: &Map<String, Value>) -> Vec<Key> {
    let text = |name: &str| key.get(name).and_then(Value::as_str);
    let Some(kid) = text("kid").filter(|kid| (1..=LONGEST_KID).contains(&kid.len())) else { return Vec::new() };
    let is_for_signatures = match key.get("use") {
        None => true,
        Some(purpose) => purpose == "sig",
    };
    let is_for_verifying = match key.get("key_ops") {
        None => true,
        Some(Value::Array(operations)) => operations.iter().any(|operation| operation == "verify"),
        Some(_) => false,
    };
    // `d` is the private part of each type that we know.
    if !is_for_signatures || !is_for_verifying || key.contains_key("d") {
        return Vec::new();
    }
    let Some(material) = material(key) else { return Vec::new() };
    let fits = |algorithm: &Algorithm| match key.get("alg") {
        None => true,
        Some(named) => named == algorithm.name(),
    };
    Algorithm::ALL
        .into_iter()
        .filter(fits)
        .filter_map(|algorithm| Some(Key { kid: kid.to_owned(), algorithm, public: algorithm.key(&material)? }))
        .collect()
}

fn material(key: &Map<String, Value>) -> Option<Material> {
    let text = |name: &str| key.get(name).and_then(Value::as_str);
    let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok();
    match (text("kty")?, text("crv")) {
        ("RSA", _) => Some(Material::Rsa { n: bytes("n")?, e: bytes("e")? }),
        ("EC", Some(crv)) => Some(Material::Curve { crv: crv.to_owned(), x: bytes("x")?, y: bytes("y")? }),
        ("OKP", Some("Ed25519")) => Some(Material::Edwards { x: bytes("x")? }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const N: &str = concat!(
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3okn",
        "jhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6q",
        "MQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
    );

    fn kids(keys: &[Value]) -> Vec<(String, Algorithm)> {
        let found = KeySet::parse(json!({ "keys": keys }).to_string().as_bytes());
        found.unwrap_or_default().keys.into_iter().map(|key| (key.kid, key.algorithm)).collect()
    }

    fn rsa(changes: &Value) -> Value {
        let mut key = json!({"kty": "RSA", "kid": "a", "alg": "RS256", "n": N, "e": "AQAB"});
        for (name, value) in changes.as_object().unwrap() {
            key[name] = value.clone();
        }
        key
    }

    #[test]
    fn only_a_named_public_key_for_signatures_is_used() {
        let used = vec![("a".to_owned(), Algorithm::RS256)];
        for changes in [
            json!({}),
            json!({"use": "sig"}),
            json!({"key_ops": ["verify"]}),
            json!({"key_ops": ["sign", "verify"], "x5t": "AA", "x5u": "https://example.com"}),
        ] {
            assert_eq!(kids(&[rsa(&changes)]), used, "{changes}");
        }
        for changes in [
            json!({"use": "enc"}),
            json!({"use": ["sig"]}),
            json!({"use": "SIG"}),
            json!({"key_ops": ["encrypt"]}),
            json!({"key_ops": "verify"}),
            json!({"key_ops": []}),
            json!({"kid": ""}),
            json!({"kid": 1}),
            json!({"kid": "k".repeat(257)}),
            json!({"alg": "HS256"}),
            json!({"alg": "RSA-OAEP"}),
            json!({"alg": "ES256"}),
            json!({"kty": "EC"}),
            json!({"kty": "oct", "k": "AAAA"}),
            json!({"n": "AQAB"}),
            json!({"n": format!("{N}=")}),
            json!({"e": ""}),
            json!({"d": "AQAB"}),
        ] {
            assert_eq!(kids(&[rsa(&changes)]), [], "{changes}");
        }
    }

    #[test]
    fn keys_that_cannot_be_told_apart_are_not_used() {
        let (one, other) = (rsa(&json!({})), rsa(&json!({"alg": "PS256"})));
        assert_eq!(kids(&[one.clone(), other.clone()]).len(), 2, "the algorithm tells them apart");
        assert_eq!(kids(&[one.clone(), one.clone(), other]), [("a".to_owned(), Algorithm::PS256)]);
        assert_eq!(kids(&[one.clone(), one]), []);
    }

    #[test]
    fn a_document_that_is_no_key_set_is_refused() {
        let many = json!({"keys": vec![rsa(&json!({})); 101]}).to_string();
        for (document, expected) in [
            ("[]", KeySetError::NotJson),
            (r#"{"keys":[],"keys":[]}"#, KeySetError::NotJson),
            ("{}", KeySetError::NoKeys),
            (r#"{"keys":{}}"#, KeySetError::NoKeys),
            (r#"{"keys":[]}"#, KeySetError::NoneUsable),
            (r#"{"keys":[1,null,{}]}"#, KeySetError::NoneUsable),
            (&many, KeySetError::TooMany),
        ] {
            assert_eq!(KeySet::parse(document.as_bytes()).unwrap_err(), expected, "{document:.40}");
        }
    }
}
