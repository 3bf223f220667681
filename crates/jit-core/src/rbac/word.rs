//! String types that are parsed once, where input enters, and the error for input that does not parse. They check the
//! form of names, versions and sentences, never their meaning.

/// Input of the wrong form; `field`, `value` and `why` make one sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} {value}: {why}")]
pub struct Malformed {
    /// The name of the field as users write it.
    pub field: &'static str,
    /// The input in backticks, escaped and cut to 60 characters.
    pub value: String,
    /// What is wrong, or which form is required.
    pub why: String,
}

impl Malformed {
    pub(crate) fn new(field: &'static str, value: &str, why: impl Into<String>) -> Self {
        let shown: String = value.chars().take(60).flat_map(char::escape_default).collect();
        Self { field, value: format!("`{shown}`"), why: why.into() }
    }
}

/// Defines a string type with a private field, parsed by one function and serialized as a plain string. A clone shares
/// the text, because a grant is cloned for each event.
macro_rules! word {
    ($(#[$doc:meta])* $name:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// The text as it was written.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::rbac::Malformed;
            fn from_str(text: &str) -> Result<Self, $crate::rbac::Malformed> {
                let check: fn(&str) -> Result<(), $crate::rbac::Malformed> = $check;
                check(text)?;
                Ok(Self(text.into()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = $crate::rbac::Malformed;
            fn try_from(text: String) -> Result<Self, $crate::rbac::Malformed> {
                text.parse()
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{:?}", self.0)
            }
        }
    };
}

pub(crate) use word;

/// Checks that `text` is a DNS label (RFC 1123), the form of many names in Kubernetes.
///
/// # Errors
/// [`Malformed`] for the field `field`.
pub(crate) fn dns_label(field: &'static str, text: &str) -> Result<(), Malformed> {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let edge = |c: Option<char>| c.is_some_and(|c| c != '-');
    if text.len() <= 63 && text.chars().all(legal) && edge(text.chars().next()) && edge(text.chars().last()) {
        Ok(())
    } else {
        Err(Malformed::new(
            field,
            text,
            "must be 1 to 63 characters (a-z 0-9 -) and begin and end with a letter or digit",
        ))
    }
}
