//! A grant's identity, by which its group, its binding and its events are found. Made of random bytes that the
//! caller draws, or parsed; never anything else than 16 characters of its alphabet.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::request::Malformed;

/// A grant's identity: 80 random bits as 16 characters of Crockford's base 32 in lower case.
/// Its group and its binding are named after it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct GrantId(Arc<str>);

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

impl GrantId {
    /// Number of characters in an id.
    pub const LENGTH: usize = 16;

    /// The id that ten random bytes make.
    #[must_use]
    pub fn from_random(bytes: [u8; 10]) -> Self {
        let mut bits: u128 = 0;
        for byte in bytes {
            bits = bits << 8 | u128::from(byte);
        }
        let text: String = (0..Self::LENGTH)
            .rev()
            .filter_map(|place| ALPHABET.get((bits >> (5 * place) & 31) as usize))
            .map(|byte| char::from(*byte))
            .collect();
        Self(text.into())
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for GrantId {
    type Err = Malformed;
    fn from_str(text: &str) -> Result<Self, Malformed> {
        if text.len() == Self::LENGTH && text.bytes().all(|byte| ALPHABET.contains(&byte)) {
            Ok(Self(text.into()))
        } else {
            Err(Malformed::new("grant", text, "an id is 16 of 0-9 a-z without i l o u"))
        }
    }
}

impl TryFrom<String> for GrantId {
    type Error = Malformed;
    fn try_from(text: String) -> Result<Self, Malformed> {
        text.parse()
    }
}

impl std::borrow::Borrow<str> for GrantId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for GrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for GrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
