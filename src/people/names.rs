//! Whether one displayed name can be taken for another.
//!
//! A person is an issuer and a subject; the name is what others read. So two people must not have names that a reader
//! confuses: `alice` and `Alice`, two spellings of one letter in Unicode, letters of other alphabets that look the same
//! (Unicode Technical Standard #39), or `alice` and `oidc:alice`, which is how Kubernetes and others write "alice, by
//! OpenID Connect".

use std::collections::BTreeSet;

use unicode_normalization::UnicodeNormalization;
use unicode_security::skeleton;

use crate::grant::request::PersonName;

/// How a name looks. It is compared, and never shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Appearance(BTreeSet<String>);

impl Appearance {
    /// How this name looks to a reader.
    pub(super) fn of(name: &PersonName) -> Self {
        let composed: String = bare(name).nfkc().collect();
        // `I` looks like `l` as it is, and is `i` in the other case: both are compared.
        let lower = composed.to_lowercase();
        let forms = [skeleton(&composed).collect::<String>().to_lowercase(), skeleton(&lower).collect()];
        // The skeleton of a lower-case form may have capitals.
        Self(forms.into_iter().map(|form| form.to_lowercase().nfkc().collect()).collect())
    }

    /// Names under which a name service may know an account that a reader takes this one for: it finds only whole names, and
    /// a directory mostly does not list them.
    pub(super) fn candidates(name: &PersonName) -> BTreeSet<String> {
        let looks = Self::of(name);
        // `m` looks like `rn`.
        let forms = looks.forms().flat_map(|form| [form.to_owned(), form.replace("rn", "m")]);
        forms.chain([bare(name).nfkc().collect::<String>().to_lowercase()]).collect()
    }

    /// The forms that are compared: a reader may take two names for one if they have one of them in common. Names of one way
    /// in and of another are compared as they are displayed: `alice@corp` is not taken for `alice`.
    pub(super) fn forms(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Whether a reader may take one for the other.
    pub(super) fn resembles(&self, other: &Self) -> bool {
        !self.0.is_disjoint(&other.0)
    }
}

/// The account's name, without what stands before the last colon.
fn bare(name: &PersonName) -> String {
    let account = name.account();
    let text = String::from_utf8_lossy(&account);
    text.rsplit(':').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resemble(one: &str, other: &str) -> bool {
        let name = |account: &str| PersonName::of_account(account.as_bytes()).unwrap();
        let (one, other) = (Appearance::of(&name(one)), Appearance::of(&name(other)));
        assert_eq!(one.resembles(&other), other.resembles(&one));
        one.resembles(&other)
    }

    #[test]
    fn names_that_a_reader_confuses_resemble_each_other() {
        for (one, other) in [
            ("alice", "alice"),
            ("alice", "Alice"),
            ("alice", "ALICE"),
            ("alice", "аlice"),
            ("alice", "аliсе"),
            ("alice", "a1ice"),
            ("alice", "aIice"),
            ("bill", "biII"),
            ("alice", "ａｌｉｃｅ"),
            ("ali\u{301}ce", "al\u{ed}ce"),
            ("strasse", "STRASSE"),
            ("carol", "caroꓡ"),
            ("modern", "rnodern"),
            ("alice", "oidc:alice"),
            ("alice", "corp:oidc:Alice"),
            ("alice@corp", "alice@c\u{43e}rp"),
        ] {
            assert!(resemble(one, other), "{one} {other}");
        }
    }

    #[test]
    fn other_names_do_not() {
        for (one, other) in [
            ("alice", "bob"),
            ("alice", "alicia"),
            ("alice", "alice@corp"),
            ("alice@corp", "alice@other"),
            ("alice", "malice"),
            ("dave", "dàve"),
            ("alice:", "alice"),
            ("иван", "иоанн"),
        ] {
            assert!(!resemble(one, other), "{one} {other}");
        }
    }
}
