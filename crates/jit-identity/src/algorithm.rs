//! The signature algorithms that a provider's list may contain (RFC 7518 section 3.1, RFC 8037 section 3.1).
//!
//! `none` and the HMACs are not among them: whoever knows a public key must not be able to sign with it.

use std::fmt;
use std::ops::RangeInclusive;

use aws_lc_rs::signature::{
    self, EcdsaVerificationAlgorithm, ParsedPublicKey, RsaParameters, RsaPublicKeyComponents, VerificationAlgorithm,
};
use serde::{Deserialize, Serialize};

/// An asymmetric signature algorithm, written as in a token's `alg`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names are the registered ones")]
pub enum Algorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    ES512,
    EdDSA,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::ES256,
        Self::ES384,
        Self::ES512,
        Self::EdDSA,
    ];

    /// The name in a token's `alg`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::ES512 => "ES512",
            Self::EdDSA => "EdDSA",
        }
    }

    /// The algorithm with exactly this name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// The parameters for RSA; `None` for the others.
    fn rsa(self) -> Option<&'static RsaParameters> {
        match self {
            Self::RS256 => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
            Self::RS384 => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
            Self::RS512 => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
            Self::PS256 => Some(&signature::RSA_PSS_2048_8192_SHA256),
            Self::PS384 => Some(&signature::RSA_PSS_2048_8192_SHA384),
            Self::PS512 => Some(&signature::RSA_PSS_2048_8192_SHA512),
            _ => None,
        }
    }

    /// The curve's name in a key and the length of a coordinate in bytes, for ECDSA (RFC 7518 sections 3.4 and 6.2.1).
    fn curve(self) -> Option<(&'static str, usize, &'static EcdsaVerificationAlgorithm)> {
        match self {
            Self::ES256 => Some(("P-256", 32, &signature::ECDSA_P256_SHA256_FIXED)),
            Self::ES384 => Some(("P-384", 48, &signature::ECDSA_P384_SHA384_FIXED)),
            Self::ES512 => Some(("P-521", 66, &signature::ECDSA_P521_SHA512_FIXED)),
            _ => None,
        }
    }

    /// The public key for this algorithm from the members of a JSON Web Key; `None` if the key is of another type, or is
    /// not one.
    pub(crate) fn key(self, material: &Material) -> Option<ParsedPublicKey> {
        let parse =
            |algorithm: &'static dyn VerificationAlgorithm, bytes: &[u8]| ParsedPublicKey::new(algorithm, bytes).ok();
        match material {
            Material::Rsa { n, e } => {
                // The library looks at the size only when it verifies.
                let parameters = self.rsa().filter(|_| MODULUS.contains(&n.len()))?;
                RsaPublicKeyComponents { n, e }.to_parsed_public_key(parameters).ok()
            }
            Material::Curve { crv, x, y } => {
                let (name, length, algorithm) = self.curve()?;
                if crv != name || x.len() != length || y.len() != length {
                    return None;
                }
                // SEC 1 section 2.3.3: an uncompressed point.
                parse(algorithm, &[&[4], x.as_slice(), y.as_slice()].concat())
            }
            Material::Edwards { x } => match self {
                Self::EdDSA => parse(&signature::ED25519, x),
                _ => None,
            },
        }
    }
}

/// The length of a modulus in bytes: 2048 bits is the least (RFC 7518 section 3.3), and more than 8192 cost only time.
const MODULUS: RangeInclusive<usize> = 256..=1024;

impl fmt::Display for Algorithm {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// The decoded members of a public key (RFC 7518 section 6, RFC 8037 section 2).
pub(crate) enum Material {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    Curve {
        crv: String,
        x: Vec<u8>,
        y: Vec<u8>,
    },
    /// Ed25519, the only one of its type.
    Edwards {
        x: Vec<u8>,
    },
}
