//! The key of one grant: a P-256 key that is generated here and never leaves this account's folder.
//!
//! The daemon gets a certificate request with an empty subject, which contains only the public key. The request, the
//! collection and all renewals of a grant use the same key.

use jit_core::grant::digest::sha256_hex;
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData};
use zeroize::Zeroizing;

use crate::failure::Failure;

/// A private key.
pub(crate) struct Key(KeyPair);

impl Key {
    /// Generates a new key.
    pub(crate) fn generate() -> Result<Self, Failure> {
        KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
            .map(Self)
            .map_err(|error| failed("cannot generate a key", &error))
    }

    /// Reads a stored key.
    pub(crate) fn from_pem(pem: &str) -> Result<Self, Failure> {
        KeyPair::from_pem(pem).map(Self).map_err(|error| failed("cannot read the key of this grant", &error))
    }

    /// PKCS#8 in PEM, for storing and for kubectl.
    pub(crate) fn pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.0.serialize_pem())
    }

    /// A certificate request for it (PKCS#10, PEM).
    pub(crate) fn csr(&self) -> Result<String, Failure> {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = DistinguishedName::new();
        let csr = parameters.serialize_request(&self.0).and_then(|csr| csr.pem());
        csr.map_err(|error| failed("cannot create a certificate request", &error))
    }

    /// SHA-256 of its SubjectPublicKeyInfo, hex, by which the daemon identifies it.
    pub(crate) fn hash(&self) -> String {
        sha256_hex(&self.0.subject_public_key_info())
    }
}

fn failed(what: &str, error: &rcgen::Error) -> Failure {
    Failure::own(format!("{what}: {error}"), "")
}

#[cfg(test)]
mod tests {
    use x509_parser::certification_request::X509CertificationRequest;
    use x509_parser::prelude::FromDer;

    use super::*;

    #[test]
    fn a_stored_key_is_read_back_unchanged() {
        let key = Key::generate().unwrap();
        let again = Key::from_pem(&key.pem()).unwrap();
        assert_eq!(key.hash(), again.hash());
        assert_eq!(key.hash().len(), 64);
    }

    #[test]
    fn the_certificate_request_contains_only_the_public_key() {
        let key = Key::generate().unwrap();
        let pem = key.csr().unwrap();
        let (_, block) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap();
        let (_, request) = X509CertificationRequest::from_der(&block.contents).unwrap();
        request.verify_signature().unwrap();
        let said = request.certification_request_info;
        assert_eq!(sha256_hex(said.subject_pki.raw), key.hash());
        assert_eq!(said.subject.iter().count(), 0);
        assert!(said.attributes().is_empty());
    }
}
