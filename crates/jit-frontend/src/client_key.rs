//! The key that a client proves in the TLS handshake.
//!
//! The certificate around it is the client's own, and nothing in it counts but the key: not its name, its dates or its
//! issuer. The handshake proves that the client has the private key (RFC 8446 section 4.4.3).

use std::fmt;
use std::sync::Arc;

use jit_core::grant::digest::sha256_hex;
use jit_dial::provider;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use x509_parser::prelude::{FromDer, X509Certificate};

/// The largest certificate that is read, in bytes; that of `jit-login` takes under 400.
const LARGEST: usize = 4096;

/// A client's key.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientKey {
    /// `SubjectPublicKeyInfo`, DER.
    pub spki: Vec<u8>,
    /// SHA-256 of it, hex.
    pub sha256: String,
}

impl ClientKey {
    /// The key of a certificate, DER; `None` if it cannot be read.
    #[must_use]
    pub fn of(certificate: &[u8]) -> Option<Self> {
        let (rest, read) = X509Certificate::from_der(certificate).ok()?;
        let spki = rest.is_empty().then(|| read.public_key().raw.to_vec())?;
        let sha256 = sha256_hex(&spki);
        Some(Self { spki, sha256 })
    }
}

/// Accepts every certificate whose key is an ECDSA key on P-256, the kind that `jit-login` makes; and a client that has none,
/// such as an identity provider.
pub struct AnyKey(Arc<CryptoProvider>);

impl AnyKey {
    /// The verifier.
    #[must_use]
    pub fn verifier() -> Arc<dyn ClientCertVerifier> {
        Arc::new(Self(provider()))
    }
}

impl fmt::Debug for AnyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnyKey")
    }
}

impl ClientCertVerifier for AnyKey {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let is_readable =
            certificate.len() <= LARGEST && intermediates.is_empty() && ClientKey::of(certificate).is_some();
        if is_readable { Ok(ClientCertVerified::assertion()) } else { Err(CertificateError::BadEncoding.into()) }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("only TLS 1.3 is spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}
