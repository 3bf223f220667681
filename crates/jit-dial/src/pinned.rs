//! Verifies the API server's certificate: as in kubectl, the configured authority must have signed it, or it must be
//! the configured certificate itself.
//!
//! rustls supports authorities only. It rejects an API server's own certificate as a trust anchor, whether that is
//! self-signed with `CA:TRUE` or signed by somebody else. Go's verifier accepts a certificate that is itself among the
//! roots (`crypto/x509` `Certificate.Verify`) if its name, dates and purpose match; so does this. It must never accept
//! any other certificate. `dial` connects with it.

use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use x509_parser::prelude::{FromDer, X509Certificate};

/// The configured certificates.
#[derive(Debug)]
pub struct Pinned {
    configured: Vec<CertificateDer<'static>>,
    below: Arc<WebPkiServerVerifier>,
}

/// The cryptography of every connection. Naming it here spares the programs a default for the whole process.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(aws_lc_rs::default_provider())))
}

impl Pinned {
    /// A verifier that trusts these certificates, DER.
    ///
    /// # Errors
    /// Why they cannot be used, as the rest of a sentence that begins with their key.
    pub fn new(configured: Vec<CertificateDer<'static>>) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        for certificate in &configured {
            roots.add(certificate.clone()).map_err(|_| "has a certificate that cannot be parsed".to_owned())?;
        }
        let below = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider());
        let below = below.build().map_err(|why| why.to_string())?;
        Ok(Self { configured, below })
    }

    /// The same from one or more certificates in PEM.
    pub(crate) fn of_pem(pem: &[u8]) -> Result<Self, String> {
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        match found {
            Ok(certificates) if certificates.is_empty() => Err("contains no certificate in PEM".to_owned()),
            Ok(certificates) => Self::new(certificates),
            Err(why) => Err(format!("is not PEM: {why}")),
        }
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if !self.configured.iter().any(|configured| configured == certificate) {
            return self.below.verify_server_cert(certificate, intermediates, name, ocsp, now);
        }
        verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
        let (_, read) = X509Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
        let seconds = |time: x509_parser::time::ASN1Time| u64::try_from(time.timestamp()).unwrap_or(0);
        if now.as_secs() > seconds(read.validity().not_after) {
            return Err(CertificateError::Expired.into());
        }
        if now.as_secs() < seconds(read.validity().not_before) {
            return Err(CertificateError::NotValidYet.into());
        }
        // Without the extension the certificate is valid for any purpose (RFC 5280 section 4.2.1.12).
        match read.extended_key_usage().map_err(|_| CertificateError::BadEncoding)? {
            Some(usage) if !usage.value.any && !usage.value.server_auth => Err(CertificateError::InvalidPurpose.into()),
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.below.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.below.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.below.supported_verify_schemes()
    }
}
