//! Reads who a certificate or a token is for. Nothing is verified: what a file claims is enough to report it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use jit_core::rbac::digest::sha256_hex;
use serde::Deserialize;
use thiserror::Error;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::snapshot::{ClientCertificate, Name, StaticToken};

/// Why a text is no client certificate.
#[derive(Debug, Error)]
pub enum NotACredential {
    /// It is not PEM, or not of a certificate.
    #[error("it is not a certificate in PEM")]
    Pem,
    /// Its DER is broken.
    #[error("its certificate is malformed")]
    Der,
    /// It has a time that does not exist.
    #[error("its certificate has an impossible time")]
    Time,
}

/// Reads the first certificate of a text in PEM.
///
/// # Errors
/// If there is none, or if it is malformed.
pub fn certificate(text: &[u8]) -> Result<ClientCertificate, NotACredential> {
    let block = pem::parse_many(text)
        .map_err(|_| NotACredential::Pem)?
        .into_iter()
        .find(|block| block.tag() == "CERTIFICATE")
        .ok_or(NotACredential::Pem)?;
    let (_, parsed) = X509Certificate::from_der(block.contents()).map_err(|_| NotACredential::Der)?;
    let name = parsed.subject();
    let texts = |values: Vec<Option<String>>| values.into_iter().flatten().collect::<Vec<String>>();
    let users = texts(name.iter_common_name().map(|value| value.as_str().ok().map(str::to_owned)).collect());
    let groups = texts(name.iter_organization().map(|value| value.as_str().ok().map(str::to_owned)).collect());
    let time = |seconds: i64| Timestamp::from_second(seconds).map_err(|_| NotACredential::Time);
    Ok(ClientCertificate {
        digest: sha256_hex(block.contents()),
        // Go's `pkix.Name`, which the API server reads it with, keeps the last one.
        user: users.into_iter().last().unwrap_or_default(),
        groups,
        not_before: time(parsed.validity().not_before.timestamp())?,
        not_after: time(parsed.validity().not_after.timestamp())?,
    })
}

/// What a bearer token says of itself, if it is a JWT. Any other text is a token of which nothing is known.
#[must_use]
pub fn token(text: &str) -> StaticToken {
    let text = text.trim();
    let claims = claims(text).unwrap_or_default();
    let account = claims.sub.as_deref().and_then(|subject| {
        let (namespace, name) = subject.strip_prefix("system:serviceaccount:")?.split_once(':')?;
        Some(Name { namespace: Some(namespace.to_owned()), name: name.to_owned() })
    });
    StaticToken {
        digest: sha256_hex(text.as_bytes()),
        account,
        secret: claims.secret,
        expires: claims.exp.and_then(|seconds| Timestamp::from_second(seconds).ok()),
    }
}

#[derive(Default, Deserialize)]
struct Claims {
    sub: Option<String>,
    exp: Option<i64>,
    #[serde(rename = "kubernetes.io/serviceaccount/secret.name")]
    secret: Option<String>,
}

fn claims(token: &str) -> Option<Claims> {
    let mut parts = token.split('.');
    let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}
