//! Secrets: tokens, keys and the URLs that are as good as a token. They come from files, never from the configuration.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use zeroize::Zeroizing;

use crate::files::{FileError, read_credential, read_private};

/// A text that no log, error or `Debug` shows.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// The text itself, to be sent to its receiver.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Secret")
    }
}

/// Where a secret is, as the configuration says it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Place {
    /// A credential that systemd passes to the unit (`LoadCredential=` or `LoadCredentialEncrypted=`), by its name.
    Credential(String),
    /// A file that only its owner can read, for hosts without systemd.
    File(PathBuf),
}

/// Why a secret cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read, or others can.
    #[error(transparent)]
    File(#[from] FileError),
    /// The name leads out of the folder of credentials.
    #[error("`{0}` is not the name of a credential")]
    NotAName(String),
    /// systemd passes no credentials.
    #[error("there is no credential `{0}`, because systemd passes none to this program")]
    NoCredentials(String),
    /// The file is empty.
    #[error("the secret in `{0}` is empty")]
    Empty(String),
}

impl Place {
    /// Reads the secret, without white space around it. `folder` is that of the configuration, `credentials` the value of
    /// `$CREDENTIALS_DIRECTORY`.
    ///
    /// # Errors
    /// [`SecretError`].
    pub fn read(&self, folder: &Path, credentials: Option<&Path>) -> Result<Secret, SecretError> {
        let (text, place) = match self {
            Self::Credential(name) => {
                if name.is_empty() || name.contains('/') || name.starts_with('.') {
                    return Err(SecretError::NotAName(name.clone()));
                }
                let credentials = credentials.ok_or_else(|| SecretError::NoCredentials(name.clone()))?;
                (read_credential(&credentials.join(name))?, name.clone())
            }
            Self::File(path) => {
                let path = folder.join(path);
                (read_private(&path)?, path.display().to_string())
            }
        };
        match text.trim() {
            "" => Err(SecretError::Empty(place)),
            text => Ok(Secret(Zeroizing::new(text.to_owned()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_shown_nowhere_and_its_name_stays_in_the_folder() {
        let secret = Secret::from("hush".to_owned());
        assert_eq!(format!("{secret:?}"), "Secret");
        for name in ["", "../shadow", ".", "a/b"] {
            let read = Place::Credential(name.to_owned()).read(Path::new("/"), Some(Path::new("/etc")));
            assert!(matches!(read, Err(SecretError::NotAName(_))), "{name}");
        }
        let read = Place::Credential("slack".to_owned()).read(Path::new("/"), None);
        assert!(matches!(read, Err(SecretError::NoCredentials(_))));
    }
}
