//! Recipients and identities as age writes them, in Bech32 (BIP 173).

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use bech32::primitives::decode::CheckedHrpstring;
use bech32::{Bech32, Hrp};
use zeroize::Zeroizing;

use crate::SealError;

/// Who can open what is sealed: a public key of X25519, `age1…`.
#[derive(Clone, PartialEq, Eq)]
pub struct Recipient([u8; 32]);

/// What opens it: the key to a [`Recipient`], `AGE-SECRET-KEY-1…`.
pub struct Identity {
    key: PrivateKey,
    recipient: Recipient,
}

/// Why something is no key. It never repeats what was written, which may be half a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It is not a recipient.
    #[error("a recipient is `age1` and 58 characters, as `age-keygen` prints it; no other kind is supported")]
    Recipient,
    /// A line of a file is not an identity.
    #[error("line {0} is not an identity, which begins with `AGE-SECRET-KEY-1`; no other kind is supported")]
    Identity(usize),
    /// The file has none.
    #[error("there is no identity in it, which begins with `AGE-SECRET-KEY-1`")]
    None,
    /// The file is sealed itself.
    #[error("it is encrypted itself: decrypt it first, with `age --decrypt`")]
    Encrypted,
}

impl FromStr for Recipient {
    type Err = KeyError;
    fn from_str(text: &str) -> Result<Self, KeyError> {
        let key = decoded("age", text).ok_or(KeyError::Recipient)?;
        Ok(Self(*key))
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        bech32::encode_lower_to_fmt::<Bech32, _>(f, Hrp::parse_unchecked("age"), &self.0).map_err(|_| fmt::Error)
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recipient({self})")
    }
}

impl Recipient {
    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity(of {})", self.recipient)
    }
}

impl Identity {
    /// A new one.
    ///
    /// # Errors
    /// If the system has no random numbers.
    pub fn generate() -> Result<Self, SealError> {
        Self::of(PrivateKey::generate(&X25519).map_err(|_| SealError)?).ok_or(SealError)
    }

    fn of(key: PrivateKey) -> Option<Self> {
        let public = key.compute_public_key().ok()?;
        let recipient = Recipient(public.as_ref().try_into().ok()?);
        Some(Self { key, recipient })
    }

    fn read(text: &str) -> Option<Self> {
        let bytes = decoded("age-secret-key-", text)?;
        Self::of(PrivateKey::from_private_key(&X25519, bytes.as_slice()).ok()?)
    }

    /// Who it is the key to.
    #[must_use]
    pub fn recipient(&self) -> &Recipient {
        &self.recipient
    }

    /// The secret that both sides of an agreement have; none with a public key of low order, whose secret everybody knows.
    pub(crate) fn agree(&self, other: &[u8; 32]) -> Option<Zeroizing<[u8; 32]>> {
        agree(&self.key, UnparsedPublicKey::new(&X25519, other), (), |secret| secret.try_into().map_err(|_| ()))
            .ok()
            .map(Zeroizing::new)
    }
}

/// The identities in a file, as `age-keygen` writes it: one a line, with comments and empty lines.
///
/// # Errors
/// [`KeyError`]; a line that is no identity is never passed over, because it may be the one that is needed.
pub fn identities(text: &str) -> Result<Vec<Identity>, KeyError> {
    if text.starts_with("age-encryption.org/") || text.starts_with("-----BEGIN AGE ENCRYPTED FILE-----") {
        return Err(KeyError::Encrypted);
    }
    let lines = text.lines().map(str::trim).enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let read = |(number, line)| Identity::read(line).ok_or(KeyError::Identity(number + 1));
    let identities: Vec<Identity> = lines.map(read).collect::<Result<_, _>>()?;
    if identities.is_empty() { Err(KeyError::None) } else { Ok(identities) }
}

/// The 32 bytes of a key with this prefix, whose case is that of the whole.
fn decoded(prefix: &str, text: &str) -> Option<Zeroizing<[u8; 32]>> {
    let checked = CheckedHrpstring::new::<Bech32>(text).ok()?;
    if checked.hrp().to_lowercase() != prefix {
        return None;
    }
    let mut key = Zeroizing::new([0; 32]);
    let mut bytes = checked.byte_iter();
    for place in key.iter_mut() {
        *place = bytes.next()?;
    }
    bytes.next().is_none().then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with `age-keygen` 1.1.1.
    const RECIPIENT: &str = include_str!("tests/recipient.txt");
    const IDENTITY: &str = include_str!("tests/identity.txt");

    #[test]
    fn keys_of_age_are_read() {
        let identities = identities(IDENTITY).unwrap();
        let [identity] = &identities[..] else { panic!("{identities:?}") };
        assert_eq!(identity.recipient().to_string(), RECIPIENT.trim());
        assert_eq!(RECIPIENT.trim().parse::<Recipient>().unwrap(), *identity.recipient());
        assert!(!format!("{identity:?}").contains("SECRET"));
    }

    #[test]
    fn nothing_else_is_a_recipient() {
        let good = RECIPIENT.trim();
        let changed = format!("{}q", &good[..good.len() - 1]);
        let secret = IDENTITY.lines().last().unwrap();
        for bad in [
            "",
            "age1",
            &changed,
            &good[..60],
            "age1pq1qqqq",
            "ssh-ed25519 AAAA",
            secret,
            &format!("{good} "),
            &good.replace("age1", "bge1"),
        ] {
            assert_eq!(bad.parse::<Recipient>(), Err(KeyError::Recipient), "{bad}");
        }
    }

    #[test]
    fn what_is_no_identity_is_named_by_its_line() {
        let why = |text: &str| identities(text).unwrap_err();
        assert_eq!(why("# nothing\n\n"), KeyError::None);
        assert_eq!(why(&format!("# one\n{}", RECIPIENT)), KeyError::Identity(2));
        assert_eq!(why("age-encryption.org/v1\n"), KeyError::Encrypted);
        let twice = format!("{IDENTITY}\n  {}\r\n", IDENTITY.lines().last().unwrap());
        assert_eq!(identities(&twice).unwrap().len(), 2);
    }
}
