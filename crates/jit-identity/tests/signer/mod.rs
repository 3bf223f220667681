//! A provider that signs whatever it is told to, for tests.

#![allow(dead_code, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "each test uses a part")]

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA256,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

pub(crate) const ISSUER: &str = "https://login.example.com/realms/corp";

/// Keys of three types: `rs-1`, `es-1` and `ed-1`.
pub(crate) struct Signer {
    rsa: RsaKeyPair,
    ec: EcdsaKeyPair,
    ed: Ed25519KeyPair,
}

pub(crate) fn encoded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Signer {
    pub(crate) fn new() -> Self {
        Self {
            rsa: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
            ec: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
            ed: Ed25519KeyPair::generate().unwrap(),
        }
    }

    /// The modulus of the RSA key.
    pub(crate) fn modulus(&self) -> Vec<u8> {
        // RFC 8017 A.1.1, with 2048 bits and the exponent 65537: the modulus is the 256 bytes after the sign of its INTEGER.
        let der = self.rsa.public_key().as_ref();
        assert_eq!((der.len(), &der[265..]), (270, &[2, 3, 1, 0, 1][..]));
        der[9..265].to_vec()
    }

    pub(crate) fn keys(&self) -> Vec<Value> {
        let point = self.ec.public_key().as_ref();
        vec![
            json!({"kty": "RSA", "kid": "rs-1", "use": "sig", "n": encoded(self.modulus()), "e": "AQAB"}),
            json!({"kty": "EC", "kid": "es-1", "use": "sig", "alg": "ES256", "crv": "P-256",
                "x": encoded(&point[1..33]), "y": encoded(&point[33..])}),
            json!({"kty": "OKP", "kid": "ed-1", "crv": "Ed25519", "x": encoded(self.ed.public_key())}),
        ]
    }

    pub(crate) fn key_set(&self) -> Value {
        json!({ "keys": self.keys() })
    }

    /// The signature by this algorithm.
    pub(crate) fn signature(&self, algorithm: &str, signed: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        let mut signature = vec![0; self.rsa.public_modulus_len()];
        match algorithm {
            "RS256" => self.rsa.sign(&RSA_PKCS1_SHA256, &random, signed, &mut signature).unwrap(),
            "PS256" => self.rsa.sign(&RSA_PSS_SHA256, &random, signed, &mut signature).unwrap(),
            "ES256" => signature = self.ec.sign(&random, signed).unwrap().as_ref().to_vec(),
            "EdDSA" => signature = self.ed.sign(signed).as_ref().to_vec(),
            _ => panic!("{algorithm}"),
        }
        signature
    }

    /// A token of this header and payload as they are written.
    pub(crate) fn sign(&self, algorithm: &str, header: &str, payload: &str) -> String {
        let signed = format!("{}.{}", encoded(header), encoded(payload));
        let signature = self.signature(algorithm, signed.as_bytes());
        format!("{signed}.{}", encoded(signature))
    }

    /// A token with the usual header and these claims.
    pub(crate) fn token(&self, algorithm: &str, claims: &Value) -> String {
        self.sign(algorithm, &header(algorithm).to_string(), &claims.to_string())
    }
}

pub(crate) fn header(algorithm: &str) -> Value {
    let kid = match algorithm {
        "RS256" | "PS256" => "rs-1",
        "ES256" => "es-1",
        _ => "ed-1",
    };
    json!({"alg": algorithm, "kid": kid})
}

/// What a good token says at this time, in seconds since 1970.
pub(crate) fn claims(now: i64) -> Value {
    json!({
        "iss": ISSUER, "aud": "jit-login", "sub": "4f1c", "exp": now + 300, "iat": now, "auth_time": now - 10,
        "nonce": "of-this-session", "preferred_username": "alice", "groups": ["payments-leads", "other"],
        "acr": "urn:example:mfa", "amr": ["pwd", "otp"],
    })
}

/// `value` with these members instead; `null` removes one.
pub(crate) fn with(mut value: Value, changes: &Value) -> Value {
    for (name, change) in changes.as_object().unwrap() {
        match change {
            Value::Null => value.as_object_mut().unwrap().remove(name),
            change => value.as_object_mut().unwrap().insert(name.clone(), change.clone()),
        };
    }
    value
}
