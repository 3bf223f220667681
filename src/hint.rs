//! What to do about an error, apart from what is wrong.
//!
//! The text of an error says what is wrong and nothing else; who shows it to a person adds the hint. It imports nothing
//! of the crate. The errors of every module implement it; `api`, `check` and the programs ask.

use std::borrow::Cow;
use std::fmt;
use std::path::Path;

/// An error that may know what to do about it.
pub trait Hint: fmt::Display {
    /// What to do about it; none when there is nothing.
    fn hint(&self) -> Option<Cow<'static, str>> {
        None
    }

    /// What is wrong and, on a line of its own, what to do.
    fn in_full(&self) -> InFull<'_, Self> {
        InFull(self)
    }

    /// The same on one line, for a list that has a line for each.
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

/// Where a page of the documentation is on this host: where the packages put it, else in the repository.
#[must_use]
pub fn page(name: &str) -> String {
    let installed = format!("/usr/share/doc/jitd/docs/{name}");
    if Path::new(&installed).exists() { installed } else { format!("docs/{name}") }
}

// What comes from below us says what is wrong, and has no hint.
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
    fn a_hint_has_a_line_of_its_own() {
        assert_eq!(Full(true).to_string(), "the disk is full");
        assert_eq!(Full(true).in_full().to_string(), "the disk is full\nhint: remove something");
        assert_eq!(Full(false).in_full().to_string(), "the disk is full");
        assert_eq!(Full(true).on_one_line(), "the disk is full; hint: remove something");
        assert_eq!(Full(false).on_one_line(), "the disk is full");
    }
}
