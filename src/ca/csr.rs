//! Reads the public key of a certificate request (PKCS#10, RFC 2986), the only part of it that is used.
//!
//! Subject, names, extensions and attributes are never read, so nothing has to be filtered and no filter can be forgotten.
//! The signature is checked, because it shows that the requester has the private key. The API calls this once for a
//! request; what it refuses is for the client to correct.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ED25519, UnparsedPublicKey, VerificationAlgorithm};
use rcgen::{PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PublicKeyData, SignatureAlgorithm};
use rustls::pki_types::CertificateSigningRequestDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::oid_registry::{OID_SIG_ECDSA_WITH_SHA256, OID_SIG_ED25519, Oid};
use x509_parser::prelude::FromDer;

use crate::grant::refusal::{Code, Refusal};
use crate::grant::request::KeyHash;

use super::key::PublicKey;

/// The public key of a certificate request whose signature is valid.
#[derive(Clone, Debug)]
pub struct CheckedCsr {
    key: KeyHash,
    public_key: PublicKey,
}

impl CheckedCsr {
    /// SHA-256 of the key's SubjectPublicKeyInfo, hex.
    #[must_use]
    pub fn key(&self) -> &KeyHash {
        &self.key
    }

    pub(super) fn into_public_key(self) -> PublicKey {
        self.public_key
    }
}

/// A kind of key that is certified, with the only signature algorithm that its request may use.
struct Kind {
    algorithm: &'static SignatureAlgorithm,
    signature: Oid<'static>,
    verification: &'static dyn VerificationAlgorithm,
    /// Octets of the public key; a point on P-256 only in the uncompressed form (RFC 5480 section 2.2).
    length: usize,
    first_octet: Option<u8>,
}

const BEGIN: &str = "-----BEGIN CERTIFICATE REQUEST-----";
const END: &str = "-----END CERTIFICATE REQUEST-----";

/// A request for one key has less than 600 bytes.
const MAX_BYTES: usize = 4096;

/// Reads a request: at most 4 KiB, exactly one PEM block `CERTIFICATE REQUEST` and nothing around it, a P-256 key with
/// ECDSA and SHA-256 or an Ed25519 key, and a valid signature.
///
/// # Errors
/// A refusal `bad-csr` that says what is wrong.
pub fn read_csr(pem: &str) -> Result<CheckedCsr, Refusal> {
    let der = one_block(pem)?;
    let (rest, request) = X509CertificationRequest::from_der(&der)
        .map_err(|_| refuse("the certificate request is not well-formed PKCS#10"))?;
    if !rest.is_empty() {
        return Err(refuse("the certificate request is followed by other bytes"));
    }
    let info = &request.certification_request_info;
    let (kind, public_key) = public_key(info.subject_pki.raw, &info.subject_pki.subject_public_key.data)?;
    let named = &request.signature_algorithm;
    if named.algorithm != kind.signature || named.parameters.is_some() {
        return Err(refuse("the certificate request is signed with an algorithm that is not accepted for its key")
            .hint("use ECDSA with SHA-256 for a P-256 key, Ed25519 for an Ed25519 key"));
    }
    if request.signature_value.unused_bits != 0 {
        return Err(refuse("the signature of the certificate request is not a whole number of bytes"));
    }
    UnparsedPublicKey::new(kind.verification, &public_key.bits)
        .verify(info.raw, &request.signature_value.data)
        .map_err(|_| {
            refuse("the signature of the certificate request is wrong")
                .hint("sign it with the private key that belongs to the public key in it")
        })?;
    Ok(CheckedCsr { key: KeyHash::of(info.subject_pki.raw), public_key })
}

fn one_block(text: &str) -> Result<CertificateSigningRequestDer<'static>, Refusal> {
    if text.len() > MAX_BYTES {
        return Err(refuse(format!("the certificate request is longer than {MAX_BYTES} bytes")));
    }
    let text = text.trim_matches(|c: char| c.is_ascii_whitespace());
    if text.is_empty() {
        return Err(refuse("the certificate request is empty"));
    }
    let once = |part: &str| text.matches(part).count() == 1;
    if !(text.starts_with(BEGIN) && text.ends_with(END) && once("-----BEGIN") && once("-----END")) {
        return Err(refuse("the certificate request is not one PEM block `CERTIFICATE REQUEST` and nothing else"));
    }
    // Base64 has no colon (RFC 7468 section 3).
    if text.contains(':') {
        return Err(refuse("the PEM block of the certificate request has headers"));
    }
    CertificateSigningRequestDer::from_pem_slice(text.as_bytes())
        .map_err(|_| refuse("the PEM block of the certificate request is damaged"))
}

/// The key, if encoding it again as one of the two kinds gives exactly the bytes that were sent. This compares the
/// algorithm, the named curve, the absence of parameters and the DER encoding all at once.
fn public_key(info: &[u8], bits: &[u8]) -> Result<(Kind, PublicKey), Refusal> {
    for kind in [p256(), ed25519()] {
        if bits.len() != kind.length || kind.first_octet.is_some_and(|octet| bits.first() != Some(&octet)) {
            continue;
        }
        let key = PublicKey { algorithm: kind.algorithm, bits: bits.to_vec() };
        if key.subject_public_key_info() == info {
            return Ok((kind, key));
        }
    }
    Err(refuse("the certificate request has a kind of key that is not certified")
        .hint("use a P-256 key (named curve, uncompressed) or an Ed25519 key"))
}

fn p256() -> Kind {
    Kind {
        algorithm: &PKCS_ECDSA_P256_SHA256,
        signature: OID_SIG_ECDSA_WITH_SHA256,
        verification: &ECDSA_P256_SHA256_ASN1,
        length: 65,
        first_octet: Some(4),
    }
}

fn ed25519() -> Kind {
    Kind { algorithm: &PKCS_ED25519, signature: OID_SIG_ED25519, verification: &ED25519, length: 32, first_octet: None }
}

fn refuse(why: impl Into<String>) -> Refusal {
    Refusal::new(Code::BadCsr, why)
}
