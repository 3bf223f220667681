//! The bytes of a person's certificate: the common parts are encoded once, when the authority is opened, and the parts
//! that differ are inserted for each certificate.
//!
//! It knows no profile. The common parts are cut out of a sample from [`profile::user`], and a template is refused unless it
//! reproduces that sample byte for byte. It signs nothing. The authority calls it.

use jiff::Timestamp;
use rcgen::{CertificateParams, PublicKeyData};
use x509_parser::certificate::TbsCertificate;
use x509_parser::prelude::FromDer;

use crate::grant::GrantId;
use crate::grant::request::PersonName;

use super::chain;
use super::der::{element, whole_second};
use super::folder::CaError;
use super::key::{self, CaKey, ECDSA_WITH_SHA256, PublicKey, SignError};
use super::profile::{self, Particulars};

/// The common parts of the certificates of one authority.
pub(super) struct Template {
    /// `signature` and `issuer`.
    issuer: Vec<u8>,
    /// The extensions before the 20 octets of the subject's key identifier, and after them.
    extensions: [Vec<u8>; 2],
}

/// `version`: v3.
const VERSION: &[u8] = &[0xa0, 0x03, 0x02, 0x01, 0x02];

// Object identifiers, encoded: 2.5.4.10, 2.5.4.3, and the uid's of `profile`.
const ORGANIZATION: &[u8] = &[0x06, 0x03, 0x55, 0x04, 0x0a];
const COMMON_NAME: &[u8] = &[0x06, 0x03, 0x55, 0x04, 0x03];
const UID: &[u8] = &[0x06, 0x09, 0x2b, 0x06, 0x01, 0x04, 0x01, 0x83, 0xc2, 0x53, 0x02];

impl Template {
    /// The template of the authority with this key, this name and this certificate in DER.
    ///
    /// # Errors
    /// The name cannot be encoded as it is in the certificate; the sample could not be created or reproduced.
    pub(super) fn of(key: &CaKey, issuer: &CertificateParams, certificate: &[u8]) -> Result<Self, CaError> {
        let failed = || SignError::Crypto { doing: "encode a certificate" };
        let grant = GrantId::from_random([7; 10]);
        let person = "sample".parse().map_err(|_| failed())?;
        let subject_key = CaKey::generate()?.public();
        let particulars = Particulars {
            key: &subject_key,
            serial: [1; key::SERIAL_LENGTH],
            validity: (whole_second(0), whole_second(i64::from(u32::MAX))),
        };
        let sample =
            key::record(&profile::user(&grant, &person, grant.as_str(), &particulars), &subject_key, issuer, key)?;
        // The name is encoded again for each certificate, and a verifier compares it with the issuing certificate's subject
        // (RFC 5280 section 6.1.3 (a)(4)); here byte for byte.
        chain::issuer_is_subject(&sample, certificate)?;
        Self::cut(&sample, &subject_key)
            .filter(|template| template.fill(&grant, &person, grant.as_str(), &particulars) == sample)
            .ok_or_else(|| failed().into())
    }

    fn cut(sample: &[u8], subject_key: &PublicKey) -> Option<Self> {
        let (_, parsed) = TbsCertificate::from_der(sample).ok()?;
        let (_, extensions) = around(sample, parsed.subject_pki.raw)?;
        let (before, after) = around(extensions, &profile::key_identifier(subject_key))?;
        Some(Self {
            issuer: [ECDSA_WITH_SHA256, parsed.issuer().as_raw()].concat(),
            extensions: [before.to_vec(), after.to_vec()],
        })
    }

    /// The bytes to be signed (TBSCertificate in DER, RFC 5280 section 4.1) for a person in a grant.
    pub(super) fn fill(
        &self,
        grant: &GrantId,
        person: &PersonName,
        uid: &str,
        particulars: &Particulars<'_, PublicKey>,
    ) -> Vec<u8> {
        let [before, after] = &self.extensions;
        let (first, last) = particulars.validity;
        let subject =
            [attribute(ORGANIZATION, &grant.group()), attribute(COMMON_NAME, &person.user()), attribute(UID, uid)];
        element(
            0x30,
            &[
                VERSION,
                &element(0x02, &[&particulars.serial]),
                &self.issuer,
                &element(0x30, &[&time(first), &time(last)]),
                &element(0x30, &[&subject.concat()]),
                &particulars.key.subject_public_key_info(),
                before,
                &profile::key_identifier(particulars.key),
                after,
            ],
        )
    }
}

/// One RDN with one attribute, a UTF8String.
fn attribute(kind: &[u8], value: &str) -> Vec<u8> {
    element(0x31, &[&element(0x30, &[kind, &element(0x0c, &[value.as_bytes()])])])
}

/// UTCTime until 2049, GeneralizedTime from 2050 on (RFC 5280 section 4.1.2.5).
fn time(moment: Timestamp) -> Vec<u8> {
    let moment = moment.to_zoned(jiff::tz::TimeZone::UTC);
    let (tag, form) =
        if (1950..2050).contains(&moment.year()) { (0x17, "%y%m%d%H%M%SZ") } else { (0x18, "%Y%m%d%H%M%SZ") };
    element(tag, &[moment.strftime(form).to_string().as_bytes()])
}

/// The bytes before and after the first occurrence of `part`.
fn around<'a>(whole: &'a [u8], part: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let begin = whole.windows(part.len()).position(|window| window == part)?;
    let (before, rest) = whole.split_at_checked(begin)?;
    Some((before, rest.get(part.len()..)?))
}
