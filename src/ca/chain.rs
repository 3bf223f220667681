//! Checks whether certificates are a chain that an API server accepts from a client: issuing certificate first, then those
//! between, the root last.
//!
//! The rules are those of RFC 5280 section 6.1 that a verifier applies, and our own for an issuing certificate. It reads no
//! files and no clock: the caller compares the validity. It is called when an authority is opened, created, renewed,
//! imported or shown.

use std::borrow::Cow;

use jiff::Timestamp;
use rcgen::string::{BmpString, Ia5String, PrintableString, TeletexString, UniversalString};
use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, KeyIdMethod};
use x509_parser::certificate::{TbsCertificate, X509Certificate};
use x509_parser::der_parser::asn1_rs::Tag;
use x509_parser::extensions::{BasicConstraints, KeyUsage, ParsedExtension};
use x509_parser::oid_registry::{
    OID_PKCS1_SHA256WITHRSA, OID_PKCS1_SHA384WITHRSA, OID_PKCS1_SHA512WITHRSA, OID_SIG_ECDSA_WITH_SHA256,
    OID_SIG_ECDSA_WITH_SHA384, OID_SIG_ED25519, OID_X509_EXT_BASIC_CONSTRAINTS, OID_X509_EXT_CERTIFICATE_POLICIES,
    OID_X509_EXT_EXTENDED_KEY_USAGE, OID_X509_EXT_KEY_USAGE,
};
use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Name;

use crate::grant::digest::sha256_hex;
use crate::grant::request::KeyHash;
use crate::hint::Hint;

use super::der::whole_second;
use super::key::SignError;

/// Why certificates are refused.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// One of them cannot be read, or there are too few.
    #[error("{what}: {why}")]
    Malformed {
        /// Which one.
        what: String,
        /// What is wrong with it.
        why: String,
        /// What to do.
        hint: Option<&'static str>,
    },
    /// They are not a chain from one of our issuing certificates to a root.
    #[error("the certificate `{subject}` {why}")]
    Fault {
        /// The subject of the certificate at fault.
        subject: String,
        /// What is wrong with it.
        why: String,
        /// What to do.
        hint: Option<&'static str>,
    },
}

impl Hint for ChainError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        let (Self::Malformed { hint, .. } | Self::Fault { hint, .. }) = self;
        hint.map(Cow::Borrowed)
    }
}

/// The facts about one certificate that are shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// The subject on one line, safe for a terminal.
    pub subject: String,
    /// First second of validity.
    pub not_before: Timestamp,
    /// Last second of validity.
    pub not_after: Timestamp,
    /// SHA-256 of the certificate in DER, hex.
    pub sha256: String,
    /// The hash of the key that it certifies.
    pub key: KeyHash,
}

/// A chain whose signatures and constraints are valid.
pub(super) struct Chain {
    facts: Vec<CertificateFacts>,
    keys: Vec<KeyHash>,
    issuing_key: KeyHash,
    issuer: CertificateParams,
    not_before: Timestamp,
    not_after: Timestamp,
}

impl Chain {
    /// Checks DER certificates, issuing first, root last.
    pub(super) fn check(certificates: &[Vec<u8>]) -> Result<Self, ChainError> {
        let parsed = certificates.iter().map(|der| parse(der)).collect::<Result<Vec<_>, _>>()?;
        let (Some(issuing), Some(root), true) = (parsed.first(), parsed.last(), parsed.len() > 1) else {
            return Err(ChainError::Malformed {
                what: "the certificates".to_owned(),
                why: "are not a chain".to_owned(),
                hint: Some("put the issuing certificate first, then those between, and the root last"),
            });
        };
        for pair in parsed.windows(2) {
            if let [certificate, issuer] = pair {
                signed_by(certificate, issuer)?;
            }
        }
        for (below, certificate) in parsed.iter().enumerate() {
            authority_rules(certificate, below)?;
        }
        issuing_rules(issuing)?;
        if root.subject().as_raw() != root.issuer().as_raw() {
            return Err(fault(root, "is the last one, but not self-signed", "add the root at the end"));
        }
        signed_by(root, root)?;
        Ok(Self {
            keys: parsed.iter().map(key_of).collect(),
            issuing_key: key_of(issuing),
            issuer: issuer(issuing)?,
            not_before: parsed.iter().map(first_second).max().unwrap_or(Timestamp::MAX),
            not_after: parsed.iter().map(last_second).min().unwrap_or(Timestamp::MIN),
            facts: parsed.iter().map(facts).collect(),
        })
    }

    /// Refuses if one of the certificates is not valid now.
    pub(super) fn valid_at(&self, now: Timestamp) -> Result<(), SignError> {
        if now < self.not_before {
            return Err(SignError::NotYetValid { not_before: self.not_before });
        }
        if now >= self.not_after {
            return Err(SignError::Expired { not_after: self.not_after });
        }
        Ok(())
    }

    pub(super) fn issuing_key(&self) -> &KeyHash {
        &self.issuing_key
    }

    pub(super) fn issuing_subject(&self) -> &str {
        self.facts.first().map_or("", |facts| facts.subject.as_str())
    }

    /// The hashes of all keys, issuing first.
    pub(super) fn keys(&self) -> &[KeyHash] {
        &self.keys
    }

    /// The latest notBefore.
    pub(super) fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// The earliest notAfter.
    pub(super) fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// The facts about each certificate, issuing first.
    pub(super) fn into_facts(self) -> Vec<CertificateFacts> {
        self.facts
    }

    /// The issuing certificate as the issuer of others: its name and its key identifier.
    pub(super) fn into_issuer(self) -> CertificateParams {
        self.issuer
    }
}

/// Checks a root certificate alone; returns its facts, and its name as an issuer.
pub(super) fn root(der: &[u8]) -> Result<(CertificateFacts, CertificateParams), ChainError> {
    let certificate = parse(der)?;
    authority_rules(&certificate, 1)?;
    signed_by(&certificate, &certificate)?;
    Ok((facts(&certificate), issuer(&certificate)?))
}

/// Refuses if the issuer in the bytes of a certificate is not, byte for byte, the subject of another.
pub(super) fn issuer_is_subject(tbs: &[u8], issuing: &[u8]) -> Result<(), ChainError> {
    let issuing = parse(issuing)?;
    match TbsCertificate::from_der(tbs) {
        Ok((_, tbs)) if tbs.issuer().as_raw() == issuing.subject().as_raw() => Ok(()),
        _ => Err(fault(
            &issuing,
            "has a subject that cannot be encoded again in the same way",
            "use the subject of `jitd ca csr`",
        )),
    }
}

/// The rules for the issuing certificate only.
fn issuing_rules(certificate: &X509Certificate<'_>) -> Result<(), ChainError> {
    match constraints(certificate)? {
        Some(BasicConstraints { path_len_constraint: Some(0), .. }) => {}
        _ => {
            return Err(fault(
                certificate,
                "may have authorities below it, which an issuing certificate may not",
                "have it issued with basicConstraints pathlen:0",
            ));
        }
    }
    if !has_key_identifier(certificate) {
        return Err(fault(
            certificate,
            "has no subjectKeyIdentifier",
            "every authority needs one (RFC 5280 section 4.2.1.2)",
        ));
    }
    Ok(())
}

/// The rules for each authority of a chain; `below` is the number of authorities below it.
fn authority_rules(certificate: &X509Certificate<'_>, below: usize) -> Result<(), ChainError> {
    match constraints(certificate)? {
        Some(BasicConstraints { ca: true, path_len_constraint: None }) => {}
        Some(BasicConstraints { ca: true, path_len_constraint: Some(allowed) })
            if usize::try_from(*allowed).is_ok_and(|allowed| below <= allowed) => {}
        Some(BasicConstraints { ca: true, .. }) => {
            return Err(fault(certificate, "allows fewer authorities below it than the chain has (pathlen)", None));
        }
        _ => {
            return Err(fault(
                certificate,
                "is not the certificate of an authority",
                "it needs basicConstraints CA:TRUE",
            ));
        }
    }
    let usage = certificate.key_usage().map_err(|_| fault(certificate, "has an unreadable keyUsage", None))?;
    if !usage.is_some_and(|usage| KeyUsage::key_cert_sign(usage.value)) {
        return Err(fault(certificate, "may not sign certificates", "it needs keyUsage keyCertSign"));
    }
    let purposes =
        certificate.extended_key_usage().map_err(|_| fault(certificate, "has an unreadable extendedKeyUsage", None))?;
    if purposes.is_some_and(|purposes| !purposes.value.client_auth && !purposes.value.any) {
        return Err(fault(
            certificate,
            "is not for client certificates",
            "extendedKeyUsage must be absent or contain clientAuth",
        ));
    }
    // A verifier refuses a critical extension that it does not know (RFC 5280 section 4.2), and Go's verifier does not
    // support name constraints on directory names, the only names in our certificates.
    let known = [
        OID_X509_EXT_BASIC_CONSTRAINTS,
        OID_X509_EXT_KEY_USAGE,
        OID_X509_EXT_EXTENDED_KEY_USAGE,
        OID_X509_EXT_CERTIFICATE_POLICIES,
    ];
    match certificate.extensions().iter().find(|extension| extension.critical && !known.contains(&extension.oid)) {
        Some(extension) => Err(fault(
            certificate,
            &format!("has the critical extension {}, which the API server may refuse", extension.oid),
            "have it issued without this extension",
        )),
        None => Ok(()),
    }
}

fn signed_by(certificate: &X509Certificate<'_>, issuer: &X509Certificate<'_>) -> Result<(), ChainError> {
    let name = printed(issuer.subject());
    if certificate.issuer().as_raw() != issuer.subject().as_raw() {
        return Err(fault(
            certificate,
            &format!("was not issued by `{name}`"),
            "sort the certificates from the issuing certificate up to the root",
        ));
    }
    let strong = [
        OID_SIG_ECDSA_WITH_SHA256,
        OID_SIG_ECDSA_WITH_SHA384,
        OID_SIG_ED25519,
        OID_PKCS1_SHA256WITHRSA,
        OID_PKCS1_SHA384WITHRSA,
        OID_PKCS1_SHA512WITHRSA,
    ];
    if certificate.signature_algorithm != certificate.tbs_certificate.signature
        || !strong.contains(&certificate.signature_algorithm.algorithm)
    {
        return Err(fault(
            certificate,
            "is signed with an algorithm that is not accepted",
            "use ECDSA on P-256 or P-384, Ed25519, or RSA, with SHA-2",
        ));
    }
    certificate
        .verify_signature(Some(issuer.public_key()))
        .map_err(|_| fault(certificate, &format!("was not signed by `{name}`"), None))
}

fn constraints<'a>(certificate: &'a X509Certificate<'_>) -> Result<Option<&'a BasicConstraints>, ChainError> {
    certificate
        .basic_constraints()
        .map(|extension| extension.map(|extension| extension.value))
        .map_err(|_| fault(certificate, "has unreadable basicConstraints", None))
}

fn has_key_identifier(certificate: &X509Certificate<'_>) -> bool {
    key_identifier(certificate).is_some()
}

fn key_identifier<'a>(certificate: &'a X509Certificate<'_>) -> Option<&'a [u8]> {
    certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(identifier) => Some(identifier.0),
        _ => None,
    })
}

fn issuer(certificate: &X509Certificate<'_>) -> Result<CertificateParams, ChainError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = name_of(certificate.subject()).map_err(|what| {
        fault(certificate, &format!("has {what} in its subject"), "have it issued with the subject of `jitd ca csr`")
    })?;
    if let Some(identifier) = key_identifier(certificate) {
        params.key_identifier_method = KeyIdMethod::PreSpecified(identifier.to_vec());
    }
    Ok(params)
}

/// A name in the encoder's form, which can contain each attribute once and one attribute per RDN. The error says what
/// this form cannot express.
pub(super) fn name_of(name: &X509Name<'_>) -> Result<DistinguishedName, &'static str> {
    let mut found = DistinguishedName::new();
    for step in name.iter() {
        let mut attributes = step.iter();
        let (Some(attribute), None) = (attributes.next(), attributes.next()) else {
            return Err("two attributes in one RDN");
        };
        let kind = attribute.attr_type().iter().map(|arcs| DnType::from_oid(&arcs.collect::<Vec<u64>>()));
        let Some(kind) = kind.filter(|kind| found.get(kind).is_none()) else {
            return Err("the same attribute twice");
        };
        let value = attribute.attr_value();
        let text = std::str::from_utf8(value.data).ok();
        let value = match value.tag() {
            Tag::Utf8String => text.map(|text| DnValue::Utf8String(text.to_owned())),
            Tag::PrintableString => {
                text.and_then(|text| PrintableString::try_from(text).ok()).map(DnValue::PrintableString)
            }
            Tag::Ia5String => text.and_then(|text| Ia5String::try_from(text).ok()).map(DnValue::Ia5String),
            Tag::T61String => text.and_then(|text| TeletexString::try_from(text).ok()).map(DnValue::TeletexString),
            Tag::BmpString => BmpString::from_utf16be(value.data.to_vec()).ok().map(DnValue::BmpString),
            Tag::UniversalString => {
                UniversalString::from_utf32be(value.data.to_vec()).ok().map(DnValue::UniversalString)
            }
            _ => None,
        };
        found.push(kind, value.ok_or("text of an unknown type")?);
    }
    Ok(found)
}

fn facts(certificate: &X509Certificate<'_>) -> CertificateFacts {
    CertificateFacts {
        subject: printed(certificate.subject()),
        not_before: first_second(certificate),
        not_after: last_second(certificate),
        sha256: sha256_hex(certificate.as_raw()),
        key: key_of(certificate),
    }
}

/// A name on one line, with control characters escaped.
fn printed(name: &X509Name<'_>) -> String {
    name.to_string().chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

fn key_of(certificate: &X509Certificate<'_>) -> KeyHash {
    KeyHash::of(certificate.public_key().raw)
}

fn first_second(certificate: &X509Certificate<'_>) -> Timestamp {
    whole_second(certificate.validity().not_before.timestamp())
}

fn last_second(certificate: &X509Certificate<'_>) -> Timestamp {
    whole_second(certificate.validity().not_after.timestamp())
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, ChainError> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(ChainError::Malformed {
            what: format!("the certificate with SHA-256 {}", sha256_hex(der)),
            why: "is not one X.509 certificate in DER".to_owned(),
            hint: None,
        }),
    }
}

fn fault(certificate: &X509Certificate<'_>, why: &str, hint: impl Into<Option<&'static str>>) -> ChainError {
    ChainError::Fault { subject: printed(certificate.subject()), why: why.to_owned(), hint: hint.into() }
}
