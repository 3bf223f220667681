//! Reads a program's own configuration: YAML in a file that only trusted accounts could have written.
//!
//! A mistake in it is one line, `PATH:LINE:COLUMN: what`, as in the policy and as compilers write it, so that it fits into a
//! table, a journal and a problem document. It knows no key. Every program of a bastion reads its file with it.

use std::borrow::Cow;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde_saphyr::{DefaultMessageFormatter, Error, MessageFormatter};

use crate::files::{FileError, read_configuration};
use crate::hint::{Hint, page};

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct ConfigError {
    what: String,
    hint: Option<Cow<'static, str>>,
}

impl ConfigError {
    /// What is wrong with the file at `path`.
    #[must_use]
    pub fn new(path: &Path, why: &str) -> Self {
        Self { what: format!("`{}`: {why}", path.display()), hint: None }
    }
}

impl Hint for ConfigError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        self.hint.clone()
    }
}

/// Reads the file. `manual` is the page of the documentation that says how to write it.
///
/// # Errors
/// It cannot be read, somebody else could have written it, or it is not what `T` is read from.
pub fn read<T: DeserializeOwned>(path: &Path, manual: &str) -> Result<T, ConfigError> {
    let text = read_configuration(path).map_err(|error| match error {
        FileError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            let hint = format!("{} says how to write it", page(manual));
            ConfigError { hint: Some(hint.into()), ..ConfigError::new(path, "it does not exist") }
        }
        other => ConfigError { what: other.to_string(), hint: other.hint() },
    })?;
    serde_saphyr::from_str(&text).map_err(|error| misread(path, &error))
}

/// A mistake in YAML, on one line.
#[must_use]
pub fn misread(path: &Path, error: &serde_saphyr::Error) -> ConfigError {
    let why = DefaultMessageFormatter.format_message(error.without_snippet());
    // The file may contain anything, and so may the message.
    let why: String =
        why.chars().flat_map(|c| if c.is_control() { c.escape_debug().collect() } else { vec![c] }).collect();
    let what = match error.location() {
        Some(place) => format!("{}:{}:{}: {why}", path.display(), place.line(), place.column()),
        None => format!("{}: {why}", path.display()),
    };
    ConfigError { what, hint: meant(error.without_snippet()).map(|word| format!("did you mean `{word}`?").into()) }
}

/// The word that was meant, if one is so near that it is likely.
fn meant(error: &serde_saphyr::Error) -> Option<&'static str> {
    let (written, known) = match error {
        Error::SerdeUnknownField { field, expected, .. } => (field, expected),
        Error::SerdeUnknownVariant { variant, expected, .. } => (variant, expected),
        _ => return None,
    };
    let near = known.iter().map(|word| (strsim::osa_distance(written, word), *word)).min();
    near.filter(|(changes, _)| changes * 3 <= written.chars().count()).map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        server: String,
    }

    fn told(text: Option<&str>, mode: u32) -> String {
        let name = std::thread::current().name().unwrap().replace(':', "-");
        let path = std::env::temp_dir().join(format!("jit-host-{name}-{}", std::process::id()));
        if let Some(text) = text {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        let told = match read::<File>(&path, "gateway.md") {
            Ok(File { server }) => server,
            Err(error) => error.in_full().to_string(),
        };
        drop(std::fs::remove_file(&path));
        told.replace(&path.display().to_string(), "PATH")
    }

    #[test]
    fn a_mistake_is_one_line_with_its_place() {
        assert_eq!(told(Some("server: https://h\n"), 0o600), "https://h");
        assert_eq!(
            told(Some("server: h\nservre: i\n"), 0o600),
            "PATH:2:1: unknown field `servre`, expected one of server\nhint: did you mean `server`?"
        );
        assert_eq!(told(Some("# empty\n{}\n"), 0o600), "PATH:2:1: missing field `server`");
        let lines = told(Some("server: [\n"), 0o600);
        assert!(lines.starts_with("PATH:") && lines.lines().count() == 1, "{lines}");
    }

    #[test]
    fn a_file_that_is_not_there_says_what_describes_it() {
        assert_eq!(told(None, 0), "`PATH`: it does not exist\nhint: docs/gateway.md says how to write it");
    }

    #[test]
    fn a_file_that_others_can_change_says_what_to_type() {
        assert_eq!(
            told(Some("server: h\n"), 0o666),
            "`PATH` has mode 0666, so others can change or replace it\nhint: chmod go-w 'PATH'"
        );
    }
}
