//! Hints: what to do about an error, separate from what is wrong.
//!
//! The text of an error says what is wrong and nothing else; whoever shows it to a person adds the hint. The errors of
//! every module implement [`Hint`]; `api`, `check` and the programs print it. This module imports nothing of the crate.

use std::borrow::Cow;
use std::fmt;
use std::path::Path;

/// An error that may have a hint.
pub trait Hint: fmt::Display {
    /// What to do about it, if anything.
    fn hint(&self) -> Option<Cow<'static, str>> {
        None
    }

    /// The error and, on a separate line, the hint.
    fn in_full(&self) -> InFull<'_, Self> {
        InFull(self)
    }

    /// The error and the hint on one line, for lists with one line per error.
    fn on_one_line(&self) -> String {
        self.hint().map_or_else(|| self.to_string(), |hint| format!("{self}; hint: {hint}"))
    }
}

/// See [`Hint::in_full`].
#[derive(Debug)]
pub struct InFull<'a, E: ?Sized>(&'a E);

impl<E: Hint + ?Sized> fmt::Display for InFull<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(error) = self;
        error.fmt(f)?;
        error.hint().map_or(Ok(()), |hint| write!(f, "\nhint: {hint}"))
    }
}

/// The path of a documentation page on this host: where the packages install it, otherwise in the repository.
#[must_use]
pub fn page(name: &str) -> String {
    let installed = format!("/usr/share/doc/jitd/docs/{name}");
    if Path::new(&installed).exists() { installed } else { format!("docs/{name}") }
}

// Errors of libraries say what is wrong and have no hint.
impl Hint for std::io::Error {}
impl Hint for serde_json::Error {}
impl Hint for nix::Error {}
impl Hint for libsystemd::errors::SdError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the disk is full")]
    struct Full(bool);

    impl Hint for Full {
        fn hint(&self) -> Option<Cow<'static, str>> {
            self.0.then_some("remove something".into())
        }
    }

    #[test]
    fn a_hint_is_on_a_separate_line() {
        assert_eq!(Full(true).to_string(), "the disk is full");
        assert_eq!(Full(true).in_full().to_string(), "the disk is full\nhint: remove something");
        assert_eq!(Full(false).in_full().to_string(), "the disk is full");
        assert_eq!(Full(true).on_one_line(), "the disk is full; hint: remove something");
        assert_eq!(Full(false).on_one_line(), "the disk is full");
    }
}
