//! What lies in an authority's folder, and how it is read and written.
//!
//! ```text
//!  issuing.pem       0600  the issuing key and its chain up to the root: all that serving needs
//!  issuing.crt       0644  the chain alone, where the key lies in a credential or a token
//!  root.crt          0644  the root certificate, for the API server's --client-ca-file
//!  root.key          0600  the root key; belongs on another machine, absent here when serving
//!  issuing.next.key  0600  a key that waits for a certificate from another PKI
//! ```
//! Key and certificates are one file, so no reader ever sees a key with another one's certificate. It decides nothing.
//! Called by a key's place and by the store.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};

use crate::files::{self, FileError};
use crate::hint::Hint;

use super::chain::ChainError;
use super::credential::CredentialError;
use super::disk::{self, Existing};
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

/// Why an authority could not be read, made or renewed.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// A file or folder is not to be trusted, or could not be read.
    #[error(transparent)]
    File(FileError),
    /// A credential of systemd's could not be read or made.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// A token did not do its work.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The authority could not sign.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// A file does not hold what it should.
    #[error("{what}: {why}")]
    Malformed {
        /// The file, or what was given.
        what: String,
        /// What is wrong with it.
        why: String,
        /// What would be right.
        hint: Option<&'static str>,
    },
    /// The certificates are not a chain from an issuing certificate of ours to a root.
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
    /// Something that would be made exists already.
    #[error("`{}` is already there and is never overwritten", path.display())]
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
        /// What there is instead.
        why: String,
        /// What makes one.
        hint: Option<&'static str>,
    },
    /// A key in a token is not replaced by us.
    #[error("the key `{object}` stays in its token")]
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
                "`jitd ca renew` replaces the issuing certificate, another folder makes another authority"
            }
            Self::NothingPending { .. } => "`jitd ca csr` makes one and a request for it",
            Self::TokenKeyStays { .. } => {
                "for a new one write another `object` into the configuration, then `jitd ca renew`, and restart jitd"
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

/// Reads the chain that lies without its key, issuing first, root last.
pub(super) fn read_chain(folder: &Path) -> Result<Vec<Vec<u8>>, CaError> {
    let path = folder.join(CHAIN);
    pem::certificates(&files::read_configuration(&path)?).ok_or_else(|| malformed(&path, pem::DAMAGED))
}

/// Writes the chain that lies without its key.
pub(super) fn write_chain(folder: &Path, certificates: &[Vec<u8>], existing: Existing) -> Result<(), CaError> {
    Ok(disk::write(folder, CHAIN, pem::chain(certificates).as_bytes(), 0o644, existing)?)
}

/// Reads the root certificate.
pub(super) fn read_root(folder: &Path) -> Result<Vec<u8>, CaError> {
    let path = folder.join(ROOT);
    let text = files::read_configuration(&path)?;
    let mut found = pem::certificates(&text).ok_or_else(|| malformed(&path, pem::DAMAGED))?;
    match (found.pop(), found.is_empty()) {
        (Some(root), true) => Ok(root),
        _ => Err(malformed(&path, "holds not exactly one certificate")),
    }
}

/// Reads the file of a key that lies without certificates, or before them.
pub(super) fn read_key(path: &Path) -> Result<CaKey, CaError> {
    private_key(&files::read_private(path)?, &format!("`{}`", path.display()))
}

/// The one private key in a text that is called `what`.
pub(super) fn private_key(text: &str, what: &str) -> Result<CaKey, CaError> {
    let hint = Some("a key is one unencrypted `PRIVATE KEY` (PKCS#8), on P-256");
    CaKey::from_pem(text).map_err(|why| CaError::Malformed { what: what.to_owned(), why, hint })
}

pub(super) fn malformed(path: &Path, why: &str) -> CaError {
    CaError::Malformed { what: format!("`{}`", path.display()), why: why.to_owned(), hint: None }
}
