//! Keys, and the two ways in which a certificate passes by one: recorded, then signed as it was recorded.
//!
//! [`record`] runs the encoder with a key that can't sign and keeps the bytes it was asked to sign.
//! [`sealed`] signs only bytes with the hash it was given, so what is signed is what was recorded, and
//! puts the certificate together without encoding it again. Private keys leave here only as PEM that is
//! wiped from memory. Called by the authority and its store.

use std::borrow::Cow;
use std::cell::RefCell;

use aws_lc_rs::rand::{self, SystemRandom};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use jiff::Timestamp;
use rcgen::{CertificateParams, Issuer, PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm, SigningKey};
use zeroize::Zeroizing;

use crate::grant::request::KeyHash;
use crate::hint::Hint;

use super::der::{element, sha256};
use super::pem;
use super::token::{TokenError, TokenKey};

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The request's key is not the approved one; the caller should have refused before.
    #[error("the approval is for another key than the certificate request has")]
    OtherKey,
    /// The request's key is one of the authority's own.
    #[error("the certificate request has a key of the authority itself")]
    OwnKey,
    /// The bytes to sign are not those that were prepared.
    #[error("the bytes to sign are not those that were prepared")]
    OtherBytes,
    /// The issuing certificate, or one above it, is over.
    #[error("the authority's certificates were valid until {not_after}")]
    Expired {
        /// The last second of validity.
        not_after: Timestamp,
    },
    /// The issuing certificate, or one above it, is not valid yet.
    #[error("the authority's certificates are valid from {not_before} on")]
    NotYetValid {
        /// The first second of validity.
        not_before: Timestamp,
    },
    /// So little time is left that a certificate would be over before it is used.
    #[error("less than a second of validity is left, until {until}")]
    TooShort {
        /// Until when a certificate could be valid.
        until: Timestamp,
    },
    /// A host name that can't stand in the daemon's own certificate.
    #[error("the host name {host} can't stand in a certificate")]
    HostName {
        /// The name, escaped.
        host: String,
        /// How long it may be.
        longest: usize,
    },
    /// A token did not do its work.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The cryptographic library failed.
    #[error("the cryptographic library failed to {doing}")]
    Crypto {
        /// What it was to do, as a verb.
        doing: &'static str,
    },
    /// A certificate could not be put together.
    #[error("can't make the certificate: {0}")]
    Encode(#[from] rcgen::Error),
}

impl Hint for SignError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Expired { .. } => {
                Some("`jitd ca renew`, or `jitd ca csr` and `jitd ca import` with another PKI".into())
            }
            Self::NotYetValid { .. } => Some("compare this host's clock".into()),
            Self::HostName { longest, .. } => Some(format!("1 to {longest} of A-Z a-z 0-9 . -").into()),
            Self::Token(error) => error.hint(),
            Self::OtherKey
            | Self::OwnKey
            | Self::OtherBytes
            | Self::TooShort { .. }
            | Self::Crypto { .. }
            | Self::Encode(_) => None,
        }
    }
}

/// Octets of a serial number.
pub(super) const SERIAL_LENGTH: usize = 16;

/// A private P-256 key of the authority, of the root, or of the daemon.
pub(super) enum CaKey {
    /// In our memory; read from a file or a credential, or fresh.
    Memory(EcdsaKeyPair),
    /// In a token, which alone can sign with it.
    Token(TokenKey),
}

/// Where a signature is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signing {
    /// Here, in microseconds.
    Here,
    /// By a token, which can be slow: never on a thread that others wait for.
    ByToken,
}

impl CaKey {
    /// A fresh key.
    pub(super) fn generate() -> Result<Self, SignError> {
        EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING)
            .map(Self::Memory)
            .map_err(|_| SignError::Crypto { doing: "make a key" })
    }

    /// The key in PKCS#8 DER; nothing when it is not a P-256 key.
    pub(super) fn from_pkcs8(der: &[u8]) -> Option<Self> {
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der).ok().map(Self::Memory)
    }

    /// The one private key in the PEM of a file or a credential, which can hold certificates too.
    ///
    /// # Errors
    /// What is wrong with the text, as a verb and its object.
    pub(super) fn from_pem(text: &str) -> Result<Self, String> {
        let mut keys = Vec::new();
        for block in pem::blocks(text).ok_or_else(|| pem::DAMAGED.to_owned())? {
            match block.tag {
                "PRIVATE KEY" => keys.push(block.contents),
                "CERTIFICATE" => {}
                other => return Err(format!("holds a `{}`", other.escape_default())),
            }
        }
        match keys.as_slice() {
            [key] => Self::from_pkcs8(key).ok_or_else(|| "holds a key that is not P-256".to_owned()),
            _ => Err("holds not exactly one `PRIVATE KEY`".to_owned()),
        }
    }

    /// PKCS#8 in PEM, of a key in memory.
    pub(super) fn to_pem(&self) -> Result<Zeroizing<String>, SignError> {
        let Self::Memory(pair) = self else {
            return Err(SignError::Crypto { doing: "take a key out of its token" });
        };
        let document = pair.to_pkcs8v1().map_err(|_| SignError::Crypto { doing: "write a key" })?;
        pem::private_key(document.as_ref()).ok_or(SignError::Crypto { doing: "write a key" })
    }

    /// The public half.
    pub(super) fn public(&self) -> PublicKey {
        PublicKey { algorithm: &PKCS_ECDSA_P256_SHA256, bits: self.der_bytes().to_vec() }
    }

    /// Where it signs.
    pub(super) fn signing(&self) -> Signing {
        match self {
            Self::Memory(_) => Signing::Here,
            Self::Token(_) => Signing::ByToken,
        }
    }

    /// Its signature of `message`: ECDSA with SHA-256, in DER. The one place where anything is signed.
    fn signature(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        match self {
            Self::Memory(pair) => match pair.sign(&SystemRandom::new(), message) {
                Ok(signature) => Ok(signature.as_ref().to_vec()),
                Err(_) => Err(SignError::Crypto { doing: "sign" }),
            },
            Self::Token(key) => Ok(key.sign(message)?),
        }
    }

    /// Which key it is.
    pub(super) fn hash(&self) -> KeyHash {
        KeyHash::of(&self.subject_public_key_info())
    }
}

impl PublicKeyData for CaKey {
    fn der_bytes(&self) -> &[u8] {
        match self {
            Self::Memory(pair) => pair.public_key().as_ref(),
            Self::Token(key) => key.public(),
        }
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl SigningKey for CaKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.signature(message).map_err(|_| rcgen::Error::RemoteKeyError)
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

/// The certificate of the bytes `tbs` (TBSCertificate in DER, which names ECDSA with SHA-256) with the
/// signature of `key` on them.
///
/// # Errors
/// [`SignError::OtherBytes`] when `digest` is not their SHA-256; the library failed.
pub(super) fn sealed(key: &CaKey, tbs: &[u8], digest: &[u8; 32]) -> Result<Vec<u8>, SignError> {
    if sha256(tbs) != *digest {
        return Err(SignError::OtherBytes);
    }
    let signature = key.signature(tbs)?;
    // Certificate (RFC 5280 section 4.1); in a BIT STRING the number of unused bits comes first.
    Ok(element(0x30, &[tbs, ECDSA_WITH_SHA256, &element(0x03, &[&[0], &signature])]))
}

/// AlgorithmIdentifier `ecdsa-with-SHA256`, 1.2.840.10045.4.3.2, without parameters (RFC 5758 section 3.2).
pub(super) const ECDSA_WITH_SHA256: &[u8] = &[0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];

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
) -> Result<Vec<u8>, SignError> {
    let issuer = Issuer::from_params(issuer, Recorder { public: issuer_key, heard: RefCell::default() });
    template.signed_by(subject_key, &issuer)?;
    Ok(issuer.key().heard.take())
}

/// A serial number nobody can foresee. Positive and at most 20 octets in DER (RFC 5280 section 4.1.2.2),
/// and its first digit in hex is not zero, so every tool writes it with the same 32 digits.
pub(super) fn random_serial() -> Result<[u8; SERIAL_LENGTH], SignError> {
    let mut serial = [0; SERIAL_LENGTH];
    loop {
        rand::fill(&mut serial).map_err(|_| SignError::Crypto { doing: "give random bytes" })?;
        if let Some(first) = serial.first_mut() {
            *first &= 0x7f;
            if *first >= 0x10 {
                return Ok(serial);
            }
        }
    }
}
