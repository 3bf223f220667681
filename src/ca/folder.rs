//! The files in an authority's folder, and how they are read and written.
//!
//! ```text
//!  issuing.pem       0600  the issuing key and its chain up to the root: all that the daemon needs
//!  issuing.crt       0644  the chain only, if the key is in a credential or a token
//!  root.crt          0644  the root certificate, for the API server's --client-ca-file
//!  root.key          0600  the root key; it belongs on another machine
//!  issuing.next.key  0600  a key that waits for a certificate from another PKI
//! ```
//! A key and its certificates are in one file, so no reader ever sees a key with the certificate of another. This module
//! decides nothing. The key's place and the store call it.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};

use crate::files::{self, Existing, FileError};
use crate::hint::Hint;

use super::chain::ChainError;
use super::credential::CredentialError;
use super::key::{CaKey, SignError};
use super::pem;
use super::token::TokenError;

/// The issuing key and its chain.
pub const ISSUING: &str = "issuing.pem";
/// The chain without a key.
pub const CHAIN: &str = "issuing.crt";
/// The root certificate.
pub const ROOT: &str = "root.crt";
/// The root key.
pub const ROOT_KEY: &str = "root.key";
/// The key that waits for its certificate.
pub const PENDING_KEY: &str = "issuing.next.key";

/// Why an authority could not be read, created or renewed.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// A file or folder is not trusted, or could not be read.
    #[error(transparent)]
    File(FileError),
    /// A systemd credential could not be read or created.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// A token failed.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The authority could not sign.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// A file does not contain what it should.
    #[error("{what}: {why}")]
    Malformed {
        /// The file, or what was given.
        what: String,
        /// What is wrong with it.
        why: String,
        /// What to do.
        hint: Option<&'static str>,
    },
    /// The certificates are not a chain from one of our issuing certificates to a root.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// A private key and a certificate do not belong together.
    #[error("the key in {key} is not the key of the certificate `{certificate}`")]
    KeyMismatch {
        /// Where the key is.
        key: String,
        /// The certificate's subject.
        certificate: String,
        /// What to do.
        hint: &'static str,
    },
    /// A file that would be created exists already.
    #[error("`{}` already exists and is never overwritten", path.display())]
    AlreadyThere {
        /// The file.
        path: PathBuf,
    },
    /// There is no key that waits for a certificate.
    #[error("no key waits for a certificate in `{}`", folder.display())]
    NothingPending {
        /// The authority's folder.
        folder: PathBuf,
    },
    /// There is no plain key to seal.
    #[error("there is no key to seal: {why}")]
    NothingToSeal {
        /// What was found instead.
        why: String,
        /// What creates a key.
        hint: Option<&'static str>,
    },
    /// jitd does not replace a key in a token.
    #[error("jitd does not replace the key `{object}` in its token")]
    TokenKeyStays {
        /// The key's label.
        object: String,
    },
}

impl Hint for CaError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        let hint = match self {
            Self::File(error) => return error.hint(),
            Self::Credential(error) => return error.hint(),
            Self::Token(error) => return error.hint(),
            Self::Sign(error) => return error.hint(),
            Self::Chain(error) => return error.hint(),
            Self::Malformed { hint, .. } | Self::NothingToSeal { hint, .. } => return hint.map(Cow::Borrowed),
            Self::KeyMismatch { hint, .. } => *hint,
            Self::AlreadyThere { .. } => {
                "`jitd ca renew` replaces the issuing certificate; use another folder for another authority"
            }
            Self::NothingPending { .. } => "`jitd ca csr` creates one and prints a request for it",
            Self::TokenKeyStays { .. } => {
                "for a new key, set another `object` in the configuration, run `jitd ca renew`, and restart jitd"
            }
        };
        Some(hint.into())
    }
}

impl From<FileError> for CaError {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Io { path, source, .. } if source.kind() == io::ErrorKind::AlreadyExists => {
                Self::AlreadyThere { path }
            }
            other => Self::File(other),
        }
    }
}

/// Reads the chain that is stored without its key, issuing first, root last.
pub(super) fn read_chain(folder: &Path) -> Result<Vec<Vec<u8>>, CaError> {
    let path = folder.join(CHAIN);
    pem::certificates(&files::read_configuration(&path)?).ok_or_else(|| malformed(&path, pem::DAMAGED))
}

/// Writes the chain that is stored without its key.
pub(super) fn write_chain(folder: &Path, certificates: &[Vec<u8>], existing: Existing) -> Result<(), CaError> {
    Ok(files::write(folder, CHAIN, pem::chain(certificates).as_bytes(), 0o644, existing)?)
}

/// Reads the root certificate.
pub(super) fn read_root(folder: &Path) -> Result<Vec<u8>, CaError> {
    let path = folder.join(ROOT);
    let text = files::read_configuration(&path)?;
    let mut found = pem::certificates(&text).ok_or_else(|| malformed(&path, pem::DAMAGED))?;
    match (found.pop(), found.is_empty()) {
        (Some(root), true) => Ok(root),
        _ => Err(malformed(&path, "does not contain exactly one certificate")),
    }
}

/// Reads a key from a file; certificates may follow it.
pub(super) fn read_key(path: &Path) -> Result<CaKey, CaError> {
    private_key(&files::read_private(path)?, &format!("`{}`", path.display()))
}

/// The only private key in a text; `what` names the text in errors.
pub(super) fn private_key(text: &str, what: &str) -> Result<CaKey, CaError> {
    let hint = Some("use one unencrypted `PRIVATE KEY` (PKCS#8) on P-256");
    CaKey::from_pem(text).map_err(|why| CaError::Malformed { what: what.to_owned(), why, hint })
}

pub(super) fn malformed(path: &Path, why: &str) -> CaError {
    CaError::Malformed { what: format!("`{}`", path.display()), why: why.to_owned(), hint: None }
}
