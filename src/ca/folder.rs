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

use std::path::Path;

use crate::files;

use super::CaError;
use super::disk::{self, Existing};
use super::key::CaKey;
use super::pem;

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

/// Reads the chain that lies without its key, issuing first, root last.
pub(super) fn read_chain(folder: &Path) -> Result<Vec<Vec<u8>>, CaError> {
    let path = folder.join(CHAIN);
    pem::certificates(&files::read_configuration(&path)?).ok_or_else(|| malformed(&path, pem::DAMAGED))
}

/// Writes the chain that lies without its key.
pub(super) fn write_chain(folder: &Path, certificates: &[Vec<u8>], existing: Existing) -> Result<(), CaError> {
    disk::write(folder, CHAIN, pem::chain(certificates).as_bytes(), 0o644, existing)
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
    CaKey::from_pem(text).map_err(|why| CaError::Malformed { what: what.to_owned(), why })
}

pub(super) fn malformed(path: &Path, why: &str) -> CaError {
    CaError::Malformed { what: format!("`{}`", path.display()), why: why.to_owned() }
}
