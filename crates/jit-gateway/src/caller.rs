//! The person and the grant in a client certificate.
//!
//! Read once per connection, after the chain was checked; no header is ever read for it. A certificate of the
//! authority has exactly one common name, `jit:<person>`, and one organization, `jit:<grant>`.

use jiff::Timestamp;
use jit_core::grant::GrantId;
use jit_core::grant::request::PersonName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Whose connection this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The user, `jit:<person>`.
    pub user: String,
    /// The grant.
    pub grant: GrantId,
    /// The last second of the certificate.
    pub not_after: Timestamp,
}

/// Why a certificate names no grant, as a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the client certificate is not a grant's: {0}")]
pub struct NotOfAGrant(&'static str);

impl Caller {
    /// Reads a certificate in DER.
    ///
    /// # Errors
    /// [`NotOfAGrant`].
    pub fn of(certificate: &[u8]) -> Result<Self, NotOfAGrant> {
        let (_, certificate) = X509Certificate::from_der(certificate).map_err(|_| NotOfAGrant("it cannot be read"))?;
        let subject = certificate.subject();
        let mut names = subject.iter_common_name();
        let (Some(name), None) = (names.next(), names.next()) else {
            return Err(NotOfAGrant("it must have exactly one common name"));
        };
        let mut groups = subject.iter_organization();
        let (Some(group), None) = (groups.next(), groups.next()) else {
            return Err(NotOfAGrant("it must have exactly one organization"));
        };
        let user = name.as_str().map_err(|_| NotOfAGrant("its common name is not text"))?;
        if PersonName::of_user(user).is_none() {
            return Err(NotOfAGrant("its common name is not a person of jitd"));
        }
        let group = group.as_str().map_err(|_| NotOfAGrant("its organization is not text"))?;
        let grant = GrantId::of_group(group).ok_or(NotOfAGrant("its organization is not a grant"))?;
        let not_after = Timestamp::from_second(certificate.validity().not_after.timestamp())
            .map_err(|_| NotOfAGrant("its last second is out of range"))?;
        Ok(Self { user: user.to_owned(), grant, not_after })
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};

    use super::*;

    fn certificate(names: &[&str], groups: &[&str]) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        for group in groups {
            params.distinguished_name.push(DnType::OrganizationName, *group);
        }
        for name in names {
            params.distinguished_name.push(DnType::CommonName, *name);
        }
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn the_holder_and_the_grant_are_read() {
        let caller = Caller::of(&certificate(&["jit:alice"], &["jit:0123456789abcdef"])).unwrap();
        assert_eq!((caller.user.as_str(), caller.grant.as_str()), ("jit:alice", "0123456789abcdef"));
    }

    #[test]
    fn everything_else_is_refused() {
        for (names, groups) in [
            (&["jit:alice"][..], &[][..]),
            (&[][..], &["jit:0123456789abcdef"][..]),
            (&["alice"][..], &["jit:0123456789abcdef"][..]),
            (&["jit:daemon:host"][..], &["jit:0123456789abcdef"][..]),
            (&["system:admin"][..], &["jit:0123456789abcdef"][..]),
            (&["jit:alice"][..], &["system:masters"][..]),
            (&["jit:alice"][..], &["jit:0123456789ABCDEF"][..]),
        ] {
            assert!(Caller::of(&certificate(names, groups)).is_err(), "{names:?} {groups:?}");
        }
        assert!(Caller::of(b"").is_err() && Caller::of(&[0x30; 40]).is_err());
    }
}
