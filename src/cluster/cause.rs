//! Why an API server could not be reached, and what an administrator can do about it. The cause is found in an error's
//! chain of sources by type.
//!
//! It must never guess from the text of a message. `transport` creates these values, and `check` prints the hint.

use std::error::Error as StdError;
use std::io::{Error as IoError, ErrorKind};

use jit_dial::DialError;
use rustls::{CertificateError, Error as TlsError};

/// Why there was no answer. Certificate problems have a text of ours; for all others it is that of the innermost error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// The certificate of the API server was not signed by the authority of the configuration.
    #[error("its certificate was not signed by the configured authority")]
    Untrusted,
    /// The certificate of the API server is for another name.
    #[error("its certificate is for another name")]
    WrongName,
    /// The certificate of the API server is no longer valid.
    #[error("its certificate has expired")]
    Expired,
    /// The certificate of the API server is not valid yet.
    #[error("its certificate is not valid yet")]
    NotYetValid,
    /// The certificate of the API server is unfit for a server, for example because it is an authority's.
    #[error("its certificate is not a server certificate")]
    Unfit,
    /// The name in the URL has no address.
    #[error("{0}")]
    Unresolved(String),
    /// Nothing listens at the address.
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
        chain(error).find_map(kind).unwrap_or_else(|| Self::Other(innermost(error)))
    }

    /// What to do about it, if that is known.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Untrusted => Some(
                "`certificateAuthority` did not sign the API server's certificate; copy the authority from an administrator's kubeconfig",
            ),
            Self::WrongName => Some("`server` has a name that is not in the API server's certificate; use one that is"),
            Self::Expired => Some("renew the API server's own certificate, and compare the clocks"),
            Self::NotYetValid => Some("compare this host's clock with the API server's"),
            Self::Unfit => Some(
                "give the API server a server certificate, or put this same certificate into the file of `certificateAuthority`",
            ),
            Self::Unresolved(_) => {
                Some("this host cannot resolve the name in `server`; check with `getent hosts NAME`")
            }
            Self::Refused(_) => {
                Some("nothing listens at `server`; check that the API server is up and the port is right")
            }
            Self::Other(_) => None,
        }
    }
}

/// The cause that an error in the chain stands for, if its type says so.
fn kind(error: &(dyn StdError + 'static)) -> Option<Cause> {
    if error.is::<Unresolved>() {
        return Some(Cause::Unresolved(innermost(error)));
    }
    match error.downcast_ref::<DialError>() {
        Some(DialError::Unresolved { .. }) => return Some(Cause::Unresolved(innermost(error))),
        // What TLS says about it is further inside.
        Some(DialError::Broken { .. }) | None => {}
        // It names the proxy or the plugin, which the innermost error does not.
        Some(other) => return Some(Cause::Other(other.to_string())),
    }
    if error.downcast_ref::<IoError>().is_some_and(|error| error.kind() == ErrorKind::ConnectionRefused) {
        return Some(Cause::Refused(innermost(error)));
    }
    let TlsError::InvalidCertificate(why) = error.downcast_ref()? else { return None };
    Some(match why {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => Cause::Untrusted,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => Cause::WrongName,
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => Cause::Expired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Cause::NotYetValid,
        _ => Cause::Unfit,
    })
}

/// The text of the innermost error: the outer ones only say that a request failed.
pub(super) fn innermost(error: &(dyn StdError + 'static)) -> String {
    chain(error).last().unwrap_or(error).to_string()
}

/// An error and each of its sources. An I/O error that wraps another error returns that error's source and would skip
/// the error itself, so this unwraps it.
pub(super) fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
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
    fn a_cause_is_found_by_type_whatever_wraps_it() {
        // Wrapped as hyper-rustls and tokio-rustls do.
        let tls = |why| IoError::other(IoError::new(ErrorKind::InvalidData, TlsError::InvalidCertificate(why))).into();
        let expired = || IoError::other(TlsError::InvalidCertificate(CertificateError::Expired));
        let dialled = |make: fn(IoError) -> DialError, source| make(source).into();
        type Case = (Box<dyn StdError + Send + Sync>, fn(String) -> Cause, bool);
        let cases: [Case; 13] = [
            (tls(CertificateError::UnknownIssuer), |_| Cause::Untrusted, true),
            (tls(CertificateError::BadSignature), |_| Cause::Untrusted, true),
            (TlsError::InvalidCertificate(CertificateError::NotValidForName).into(), |_| Cause::WrongName, true),
            (tls(CertificateError::Expired), |_| Cause::Expired, true),
            (tls(CertificateError::NotValidYet), |_| Cause::NotYetValid, true),
            (tls(CertificateError::InvalidPurpose), |_| Cause::Unfit, true),
            (TlsError::InvalidCertificate(CertificateError::BadEncoding).into(), |_| Cause::Unfit, true),
            (Unresolved(IoError::other("failed to lookup address information")).into(), Cause::Unresolved, true),
            (IoError::from(ErrorKind::ConnectionRefused).into(), Cause::Refused, true),
            (
                dialled(|source| DialError::Broken { peer: "it".to_owned(), source }, expired()),
                |_| Cause::Expired,
                true,
            ),
            (
                dialled(|source| DialError::Unresolved { host: "it".to_owned(), source }, IoError::other("no address")),
                Cause::Unresolved,
                true,
            ),
            (IoError::from(ErrorKind::ConnectionReset).into(), Cause::Other, false),
            ("it says that it was refused".into(), Cause::Other, false),
        ];
        for (error, kind, has_hint) in cases {
            let words = innermost(error.as_ref());
            let cause = Cause::of(&Outer(Box::new(Outer(error))));
            assert_eq!(cause, kind(words.clone()));
            // A library's text about a certificate must not reach people.
            assert!(!cause.to_string().contains("Certificate") && !cause.to_string().contains("peer"), "{cause}");
            assert_eq!(cause.hint().is_some(), has_hint, "{cause:?}");
        }
        let source = IoError::from(ErrorKind::ConnectionRefused);
        let proxy = DialError::Unreachable { peer: "proxy http://10.0.0.1:3128".to_owned(), source };
        let cause = Cause::of(&Outer(proxy.into()));
        assert!(
            matches!(&cause, Cause::Other(why) if why.contains("connect to proxy http://10.0.0.1:3128")),
            "{cause}"
        );
    }
}
