//! Why an API server could not be reached: found among the causes of an error by their types, and what an
//! administrator does about it.
//!
//! It must never guess by the words of a message. `transport` makes these, and `check` prints the hint.

use std::error::Error as StdError;
use std::io::{Error as IoError, ErrorKind};

use rustls::{CertificateError, Error as TlsError};

/// Why no answer came, in the words of the innermost error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// The certificate of the API server was not signed by the authority of the configuration.
    #[error("{0}")]
    Untrusted(String),
    /// The certificate of the API server is for another name.
    #[error("{0}")]
    WrongName(String),
    /// The certificate of the API server is no longer valid.
    #[error("{0}")]
    Expired(String),
    /// The name in the URL has no address.
    #[error("{0}")]
    Unresolved(String),
    /// Nothing listens there.
    #[error("{0}")]
    Refused(String),
    /// Anything else, for example a connection that was reset.
    #[error("{0}")]
    Other(String),
}

/// The resolver found no address for a name.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unresolved(#[source] pub(super) IoError);

impl Cause {
    pub(super) fn of(error: &(dyn StdError + 'static)) -> Self {
        let kind = chain(error).find_map(kind).unwrap_or(Self::Other);
        kind(innermost(error))
    }

    /// What to do about it, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Untrusted(_) => Some(
                "`certificateAuthority` is not what signed the API server's certificate; take the one of an administrator's kubeconfig",
            ),
            Self::WrongName(_) => {
                Some("`server` has a name that is not in the API server's certificate; use one that is")
            }
            Self::Expired(_) => Some("the API server's own certificate is over; renew it, and compare the clocks"),
            Self::Unresolved(_) => {
                Some("`server` has a name that this host can't resolve; `getent hosts NAME` shows whether it can")
            }
            Self::Refused(_) => Some("nothing listens at `server`; is the API server up, and is the port right?"),
            Self::Other(_) => None,
        }
    }
}

/// What an error of a chain says about the kind of the failure, if anything.
fn kind(error: &(dyn StdError + 'static)) -> Option<fn(String) -> Cause> {
    if error.is::<Unresolved>() {
        return Some(Cause::Unresolved);
    }
    if error.downcast_ref::<IoError>().is_some_and(|error| error.kind() == ErrorKind::ConnectionRefused) {
        return Some(Cause::Refused);
    }
    let TlsError::InvalidCertificate(why) = error.downcast_ref()? else { return None };
    match why {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => Some(Cause::Untrusted),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => Some(Cause::WrongName),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => Some(Cause::Expired),
        _ => None,
    }
}

/// The words of the innermost error: what is above says only that a request failed.
pub(super) fn innermost(error: &(dyn StdError + 'static)) -> String {
    chain(error).last().unwrap_or(error).to_string()
}

/// An error and each cause below it. The `source` of an I/O error that wraps another error is that of the other, which
/// itself would be passed over.
fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| match error.downcast_ref::<IoError>().and_then(IoError::get_ref) {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("request failed")]
    struct Outer(#[source] Box<dyn StdError + Send + Sync>);

    #[test]
    fn the_kind_of_a_failure_is_found_by_type_below_whatever_is_around_it() {
        // As hyper-rustls and tokio-rustls wrap it.
        let tls = |why| IoError::other(IoError::new(ErrorKind::InvalidData, TlsError::InvalidCertificate(why))).into();
        type Case = (Box<dyn StdError + Send + Sync>, fn(String) -> Cause, bool);
        let cases: [Case; 8] = [
            (tls(CertificateError::UnknownIssuer), Cause::Untrusted, true),
            (tls(CertificateError::BadSignature), Cause::Untrusted, true),
            (TlsError::InvalidCertificate(CertificateError::NotValidForName).into(), Cause::WrongName, true),
            (tls(CertificateError::Expired), Cause::Expired, true),
            (Unresolved(IoError::other("failed to lookup address information")).into(), Cause::Unresolved, true),
            (IoError::from(ErrorKind::ConnectionRefused).into(), Cause::Refused, true),
            (IoError::from(ErrorKind::ConnectionReset).into(), Cause::Other, false),
            ("it says that it was refused".into(), Cause::Other, false),
        ];
        for (error, kind, has_hint) in cases {
            let words = innermost(error.as_ref());
            let cause = Cause::of(&Outer(Box::new(Outer(error))));
            assert_eq!(cause, kind(words.clone()));
            assert_eq!(cause.to_string(), words);
            assert_eq!(cause.hint().is_some(), has_hint, "{cause:?}");
        }
    }
}
