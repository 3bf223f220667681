//! Keys, and the two steps of a certificate: it is recorded, then signed exactly as recorded.
//!
//! [`record`] runs the encoder with a key that cannot sign, and keeps the bytes that it should have signed. [`sealed`]
//! signs only bytes of the given hash, so it signs exactly what was recorded, and assembles the certificate without
//! encoding it again. Private keys leave this module only as PEM that is wiped from memory. The authority and its store
//! call it.

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
    /// The request's key is not the approved one; the caller should have refused it.
    #[error("the approval is not for the key in the certificate request")]
    OtherKey,
    /// The request's key is one of the authority's own.
    #[error("the key in the certificate request is a key of the authority itself")]
    OwnKey,
    /// The bytes to sign are not those that were prepared.
    #[error("the bytes to sign are not those that were prepared")]
    OtherBytes,
    /// The issuing certificate, or one above it, has expired.
    #[error("the authority's certificates were valid until {not_after}")]
    Expired {
        /// The last second of validity.
        not_after: Timestamp,
    },
    /// The issuing certificate, or one above it, is not valid yet.
    #[error("the authority's certificates are not valid before {not_before}")]
    NotYetValid {
        /// The first second of validity.
        not_before: Timestamp,
    },
    /// So little time is left that a certificate would expire before it is used.
    #[error("less than a second of validity is left, until {until}")]
    TooShort {
        /// The last second of validity.
        until: Timestamp,
    },
    /// A host name that is not allowed in the daemon's own certificate.
    #[error("the host name {host} is not allowed in a certificate")]
    HostName {
        /// The name, escaped.
        host: String,
        /// The maximum length.
        longest: usize,
    },
    /// A token failed.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The cryptographic library failed.
    #[error("the cryptographic library failed to {doing}")]
    Crypto {
        /// The operation, as a verb.
        doing: &'static str,
    },
    /// A certificate could not be encoded.
    #[error("cannot encode the certificate: {0}")]
    Encode(#[from] rcgen::Error),
}

impl Hint for SignError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Expired { .. } => Some(
                "run `jitd ca renew`, or `jitd ca csr` and `jitd ca import` if the root belongs to another PKI".into(),
            ),
            Self::NotYetValid { .. } => Some("check this host's clock".into()),
            Self::HostName { longest, .. } => Some(format!("use 1 to {longest} of A-Z a-z 0-9 . -").into()),
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

/// A private P-256 key of the authority, the root, or the daemon.
pub(super) enum CaKey {
    /// In memory; read from a file or a credential, or fresh.
    Memory(EcdsaKeyPair),
    /// In a token, which signs.
    Token(TokenKey),
}

/// Where a signature is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signing {
    /// In this process, in microseconds.
    Here,
    /// By a token, which can be slow: never on a thread that others wait for.
    ByToken,
}

impl CaKey {
    /// A fresh key.
    pub(super) fn generate() -> Result<Self, SignError> {
        EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING)
            .map(Self::Memory)
            .map_err(|_| SignError::Crypto { doing: "generate a key" })
    }

    /// The key in PKCS#8 DER; none if it is not a P-256 key.
    pub(super) fn from_pkcs8(der: &[u8]) -> Option<Self> {
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der).ok().map(Self::Memory)
    }

    /// The only private key in the PEM of a file or a credential, which can contain certificates too.
    ///
    /// # Errors
    /// What is wrong with the text, as a verb and its object.
    pub(super) fn from_pem(text: &str) -> Result<Self, String> {
        let mut keys = Vec::new();
        for block in pem::blocks(text).ok_or_else(|| pem::DAMAGED.to_owned())? {
            match block.tag {
                "PRIVATE KEY" => keys.push(block.contents),
                "CERTIFICATE" => {}
                other => return Err(format!("contains a `{}`", other.escape_default())),
            }
        }
        match keys.as_slice() {
            [key] => Self::from_pkcs8(key).ok_or_else(|| "contains a key that is not on P-256".to_owned()),
            _ => Err("does not contain exactly one `PRIVATE KEY`".to_owned()),
        }
    }

    /// A key in memory as PKCS#8 in PEM.
    pub(super) fn to_pem(&self) -> Result<Zeroizing<String>, SignError> {
        let Self::Memory(pair) = self else {
            return Err(SignError::Crypto { doing: "export a key from its token" });
        };
        let document = pair.to_pkcs8v1().map_err(|_| SignError::Crypto { doing: "encode a key" })?;
        pem::private_key(document.as_ref()).ok_or(SignError::Crypto { doing: "encode a key" })
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

    /// Its signature of `message`: ECDSA with SHA-256, in DER. Nothing is signed anywhere else.
    fn signature(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        match self {
            Self::Memory(pair) => match pair.sign(&SystemRandom::new(), message) {
                Ok(signature) => Ok(signature.as_ref().to_vec()),
                Err(_) => Err(SignError::Crypto { doing: "sign" }),
            },
            Self::Token(key) => Ok(key.sign(message)?),
        }
    }

    /// The hash that identifies the key.
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

/// A public key of one of the two kinds that are certified.
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

/// The certificate of the bytes `tbs` (TBSCertificate in DER, which names ECDSA with SHA-256), signed by `key`.
///
/// # Errors
/// [`SignError::OtherBytes`] if `digest` is not their SHA-256; the library failed.
pub(super) fn sealed(key: &CaKey, tbs: &[u8], digest: &[u8; 32]) -> Result<Vec<u8>, SignError> {
    if sha256(tbs) != *digest {
        return Err(SignError::OtherBytes);
    }
    let signature = key.signature(tbs)?;
    // Certificate (RFC 5280 section 4.1); a BIT STRING begins with the number of unused bits.
    Ok(element(0x30, &[tbs, ECDSA_WITH_SHA256, &element(0x03, &[&[0], &signature])]))
}

/// AlgorithmIdentifier `ecdsa-with-SHA256`, 1.2.840.10045.4.3.2, without parameters (RFC 5758 section 3.2).
pub(super) const ECDSA_WITH_SHA256: &[u8] = &[0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];

/// Takes the place of a signing key, and keeps the bytes instead of signing them.
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

/// An unpredictable serial number. It is positive, has at most 20 octets in DER (RFC 5280 section 4.1.2.2), and its first
/// hex digit is not zero, so every tool prints the same 32 digits.
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
