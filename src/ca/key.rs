//! Keys, and the two ways in which a certificate passes by one: recorded, then signed under seal.
//!
//! [`record`] runs the encoder with a key that can't sign and keeps the bytes it was asked to sign.
//! [`Sealed`] signs only bytes with the hash it was given, so what is signed is what was recorded, even
//! if the encoder should ever answer differently the second time. Private keys leave here only as PEM
//! that is wiped from memory. Called by the authority and its store.

use std::cell::RefCell;

use aws_lc_rs::digest;
use aws_lc_rs::rand::{self, SystemRandom};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use pem::Pem;
use rcgen::{CertificateParams, Issuer, PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm, SigningKey};
use zeroize::Zeroizing;

use crate::grant::request::KeyHash;
use crate::grant::role::sha256_hex;

use super::CaError;
use super::profile::SERIAL_LENGTH;
use super::store::PEM_FORM;

/// A private P-256 key of the authority, of the root, or of the daemon.
pub(super) struct CaKey(EcdsaKeyPair);

impl CaKey {
    /// A fresh key.
    pub(super) fn generate() -> Result<Self, CaError> {
        EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING)
            .map(Self)
            .map_err(|_| CaError::Crypto { doing: "make a key" })
    }

    /// The key in PKCS#8 DER; nothing when it is not a P-256 key.
    pub(super) fn from_pkcs8(der: &[u8]) -> Option<Self> {
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der).ok().map(Self)
    }

    /// PKCS#8 in PEM.
    pub(super) fn to_pem(&self) -> Result<Zeroizing<String>, CaError> {
        let document = self.0.to_pkcs8v1().map_err(|_| CaError::Crypto { doing: "write a key" })?;
        let block = Pem::new("PRIVATE KEY", document.as_ref());
        let text = Zeroizing::new(pem::encode_config(&block, PEM_FORM));
        drop(Zeroizing::new(block.into_contents()));
        Ok(text)
    }

    /// The public half.
    pub(super) fn public(&self) -> PublicKey {
        PublicKey { algorithm: &PKCS_ECDSA_P256_SHA256, bits: self.0.public_key().as_ref().to_vec() }
    }

    /// Which key it is.
    pub(super) fn hash(&self) -> KeyHash {
        KeyHash(sha256_hex(&self.subject_public_key_info()))
    }
}

impl PublicKeyData for CaKey {
    fn der_bytes(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl SigningKey for CaKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signature = self.0.sign(&SystemRandom::new(), message).map_err(|_| rcgen::Error::RingUnspecified)?;
        Ok(signature.as_ref().to_vec())
    }
}

/// A public key of one of the two kinds we certify.
#[derive(Clone, Debug)]
pub(super) struct PublicKey {
    pub(super) algorithm: &'static SignatureAlgorithm,
    /// The contents of the subjectPublicKey BIT STRING.
    pub(super) bits: Vec<u8>,
}

impl PublicKeyData for PublicKey {
    fn der_bytes(&self) -> &[u8] {
        &self.bits
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.algorithm
    }
}

/// Signs bytes of one hash, and no others.
pub(super) struct Sealed<'a> {
    key: &'a CaKey,
    digest: [u8; 32],
}

impl<'a> Sealed<'a> {
    pub(super) fn new(key: &'a CaKey, digest: [u8; 32]) -> Self {
        Self { key, digest }
    }
}

impl PublicKeyData for Sealed<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.key.der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.key.algorithm()
    }
}

impl SigningKey for Sealed<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        if sha256(message) == self.digest { self.key.sign(message) } else { Err(rcgen::Error::RemoteKeyError) }
    }
}

/// Stands where a key should sign, and keeps the bytes instead.
struct Recorder<'a, K> {
    public: &'a K,
    heard: RefCell<Vec<u8>>,
}

impl<K: PublicKeyData> PublicKeyData for Recorder<'_, K> {
    fn der_bytes(&self) -> &[u8] {
        self.public.der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.public.algorithm()
    }
}

impl<K: PublicKeyData> SigningKey for Recorder<'_, K> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        *self.heard.borrow_mut() = message.to_vec();
        Ok(Vec::new())
    }
}

/// The bytes that `issuer_key` would sign for a certificate of `template` for `subject_key`.
pub(super) fn record(
    template: &CertificateParams,
    subject_key: &impl PublicKeyData,
    issuer: &CertificateParams,
    issuer_key: &impl PublicKeyData,
) -> Result<Vec<u8>, CaError> {
    let issuer = Issuer::from_params(issuer, Recorder { public: issuer_key, heard: RefCell::default() });
    template.signed_by(subject_key, &issuer)?;
    Ok(issuer.key().heard.take())
}

/// SHA-256 of `bytes`.
pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut digest = [0; 32];
    for (to, from) in digest.iter_mut().zip(digest::digest(&digest::SHA256, bytes).as_ref()) {
        *to = *from;
    }
    digest
}

/// A serial number nobody can foresee. Positive and at most 20 octets in DER (RFC 5280 section 4.1.2.2),
/// and its first octet is not zero, so every tool writes it with the same digits.
pub(super) fn random_serial() -> Result<[u8; SERIAL_LENGTH], CaError> {
    let mut serial = [0; SERIAL_LENGTH];
    loop {
        rand::fill(&mut serial).map_err(|_| CaError::Crypto { doing: "give random bytes" })?;
        if let Some(first) = serial.first_mut() {
            *first &= 0x7f;
            if *first != 0 {
                return Ok(serial);
            }
        }
    }
}
