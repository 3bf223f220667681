//! The id of a grant, after which its group, its binding and its events are named. It is made from the caller's random
//! bytes, or parsed, and always has 16 characters of its alphabet.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::request::Malformed;

/// The id of a grant: 80 random bits as 16 characters of Crockford's base 32, in lower case.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct GrantId(Arc<str>);

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

impl GrantId {
    /// The number of characters in an id.
    pub const LENGTH: usize = 16;

    /// The id for ten random bytes.
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

    /// An id, or the beginning of one, as somebody wrote it down: in either case, `O` for 0, `I` and `L` for 1, with
    /// hyphens anywhere. So Crockford reads his base 32; what it does not have stays as it is, and is no id.
    #[must_use]
    pub fn as_written(text: &str) -> String {
        let read = |c: char| match c.to_ascii_lowercase() {
            '-' => None,
            'o' => Some('0'),
            'i' | 'l' => Some('1'),
            other => Some(other),
        };
        text.chars().filter_map(read).collect()
    }

    /// Whether this may be the beginning of an id, or a whole one.
    #[must_use]
    pub fn is_beginning(text: &str) -> bool {
        (1..=Self::LENGTH).contains(&text.len()) && text.bytes().all(|byte| ALPHABET.contains(&byte))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_crockford_reads_it() {
        let id = GrantId::from_random([0x00, 0x44, 0x32, 0x14, 0xc7, 0x42, 0x54, 0xb6, 0x35, 0xcf]);
        for (written, read) in [
            (id.as_str().to_uppercase(), id.as_str()),
            (id.as_str().replace('0', "O").replace('1', "l"), id.as_str()),
            ("7K3M-9X2Q".to_owned(), "7k3m9x2q"),
            ("oOiIlL".to_owned(), "001111"),
            ("u\u{fc}/".to_owned(), "u\u{fc}/"),
        ] {
            assert_eq!(GrantId::as_written(&written), read);
        }
        assert!("7k3m9x2q7k3m9x2u".parse::<GrantId>().is_err(), "what is stored is of one form");
    }
}
