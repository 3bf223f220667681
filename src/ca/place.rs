//! The place of an authority's issuing key: the authority's file, a systemd credential, or a token.
//!
//! It only decides which of the three to use, and reads or creates the key there. [`CaKey`] is the only type that signs.
//! The authority and its store call this; the configuration names the place.

use std::fmt;
use std::path::Path;

use crate::files;
use crate::grant::request::ClusterName;

use super::chain::Chain;
use super::credential::{self, CredentialName};
use super::folder::{self, CaError};
use super::key::CaKey;
use super::pem;
use super::token::{Attempt, TokenKey, TokenPlace};

/// The place of an authority's issuing key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum KeyPlace {
    /// In the authority's folder, in `issuing.pem` with its chain.
    #[default]
    File,
    /// In a credential that systemd passes to the service; the chain is `issuing.crt` in the authority's folder.
    Credential(CredentialName),
    /// In a PKCS#11 token, which signs; the chain is `issuing.crt` in the authority's folder.
    Token(TokenPlace),
}

/// What a renewal does with the key of a credential or a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyChange {
    /// The new certificate is for the same key.
    Kept,
    /// A new key is created.
    New,
}

impl KeyPlace {
    /// The file in the authority's folder that contains the issuing certificate.
    #[must_use]
    pub fn certificates(&self) -> &'static str {
        match self {
            Self::File => folder::ISSUING,
            Self::Credential(_) | Self::Token(_) => folder::CHAIN,
        }
    }

    /// Reads the existing key. [`bundle`](Self::bundle) reads a key in the file together with its certificates.
    pub(super) fn key(&self, folder: &Path, attempt: Attempt) -> Result<CaKey, CaError> {
        match self {
            Self::File => folder::read_key(&folder.join(folder::ISSUING)),
            Self::Credential(name) => read(name, &credential::read(name)?),
            Self::Token(place) => Ok(CaKey::Token(TokenKey::open(place, attempt)?)),
        }
    }

    /// Reads the key and its certificates in the authority's folder.
    pub(super) fn bundle(&self, folder: &Path, attempt: Attempt) -> Result<Bundle, CaError> {
        files::check_folder(folder)?;
        if *self != Self::File {
            // The certificates first: without them the token is not needed.
            let certificates = folder::read_chain(folder)?;
            return Ok(Bundle { key: self.key(folder, attempt)?, certificates });
        }
        let path = folder.join(folder::ISSUING);
        let text = files::read_private(&path)?;
        Ok(Bundle {
            key: folder::private_key(&text, &format!("`{}`", path.display()))?,
            certificates: pem::certificates(&text).ok_or_else(|| folder::malformed(&path, pem::DAMAGED))?,
        })
    }

    /// The key for a new authority: the existing one, or a new one. A key for the file is only created in memory.
    pub(super) fn make_or_take(&self, cluster: &ClusterName) -> Result<CaKey, CaError> {
        match self {
            Self::File => Ok(CaKey::generate()?),
            Self::Credential(name) => match credential::read_sealed(name)? {
                Some(text) => {
                    credential::write_drop_in(name, cluster)?;
                    read(name, &text)
                }
                None => sealed(name, cluster),
            },
            Self::Token(place) => Ok(CaKey::Token(TokenKey::make_or_take(place)?)),
        }
    }

    /// The key for a renewed certificate.
    pub(super) fn renewed(&self, cluster: &ClusterName, change: KeyChange) -> Result<CaKey, CaError> {
        match (self, change) {
            (Self::Credential(name), KeyChange::New) => sealed(name, cluster),
            (Self::Token(place), KeyChange::New) => Err(CaError::TokenKeyStays { object: place.object.clone() }),
            _ => self.make_or_take(cluster),
        }
    }
}

/// The issuing key with its certificates, issuing first, root last.
pub(super) struct Bundle {
    pub(super) key: CaKey,
    pub(super) certificates: Vec<Vec<u8>>,
}

impl Bundle {
    /// The chain of the certificates; they must belong to the key.
    pub(super) fn chain(&self, place: &KeyPlace) -> Result<Chain, CaError> {
        let chain = Chain::check(&self.certificates)?;
        if *chain.issuing_key() != self.key.hash() {
            return Err(CaError::KeyMismatch {
                key: place.to_string(),
                certificate: chain.issuing_subject().to_owned(),
                hint: "if the key was changed, restart jitd; otherwise restore the file from a backup, or run `jitd ca renew`",
            });
        }
        Ok(chain)
    }
}

impl fmt::Display for KeyPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => write!(f, "`{}`", folder::ISSUING),
            Self::Credential(name) => write!(f, "the credential `{name}`"),
            Self::Token(place) => write!(f, "the object `{}` of the token `{}`", place.object, place.token),
        }
    }
}

/// Creates a new key that is stored only in the credential.
fn sealed(name: &CredentialName, cluster: &ClusterName) -> Result<CaKey, CaError> {
    let key = CaKey::generate()?;
    credential::seal(name, &key.to_pem()?)?;
    credential::write_drop_in(name, cluster)?;
    Ok(key)
}

fn read(name: &CredentialName, text: &str) -> Result<CaKey, CaError> {
    folder::private_key(text, &format!("the credential `{name}`"))
}
