//! The connection to a front end: TLS 1.3, a server that was named by its fingerprint, and the key of our session.
//!
//! ```text
//!  invitation (address, fingerprint) ─► TLS: a certificate of the chain has it ─► our key, in a certificate of our own
//! ```
//! No other server is spoken to, also at the first time, and whatever this host trusts otherwise. `bastion` connects with it.

use std::sync::Arc;

use jit_core::grant::digest::sha256_hex;
use jit_dial::{Outbound, Pinned, provider};
use jit_wire::client::Dial;
use rcgen::{CertificateParams, KeyPair, PublicKeyData};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

use crate::failure::Failure;

/// How to connect to the front end at `host:port`: its fingerprint is `root`, and our session's key is `key`.
pub(crate) fn dial(host: &str, port: u16, root: &str, key: &KeyPair) -> Result<Dial, Failure> {
    let failed = |why: String| Failure::own(format!("cannot use the key of the session: {why}"), "log in again");
    let certificate = CertificateParams::default().self_signed(key).map_err(|error| failed(error.to_string()))?;
    let private = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let certified = CertifiedKey::from_der(vec![certificate.der().clone()], private, &provider());
    let certified = Arc::new(certified.map_err(|error| failed(error.to_string()))?);
    let verifier = Arc::new(Named { fingerprint: root.to_owned(), provider: provider() });
    let outbound = Arc::new(Outbound::to_one(verifier, certified));
    let host = host.to_owned();
    Ok(Arc::new(move || {
        let (outbound, host) = (Arc::clone(&outbound), host.clone());
        Box::pin(async move {
            let stream = outbound.tls(&host, port).await.map_err(|error| error.to_string())?;
            Ok(Box::new(stream) as _)
        })
    }))
}

/// The key of a session as the front end reads it (`SubjectPublicKeyInfo`, DER).
pub(crate) fn spki(key: &KeyPair) -> Vec<u8> {
    key.subject_public_key_info()
}

/// Accepts a server whose chain has the certificate with this fingerprint, and is signed by it.
#[derive(Debug)]
struct Named {
    fingerprint: String,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Named {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let mut chain = std::iter::once(certificate).chain(intermediates);
        let named = chain.find(|one| sha256_hex(one) == self.fingerprint);
        let named = named.ok_or(Error::InvalidCertificate(CertificateError::UnknownIssuer))?;
        let pinned = Pinned::new(vec![named.clone().into_owned()]).map_err(Error::General)?;
        pinned.verify_server_cert(certificate, intermediates, name, ocsp, now)
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
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
