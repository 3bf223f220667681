//! The contents of each kind of certificate. A certificate contains nothing else.
//!
//! A profile takes parsed types and nothing of a certificate request, so a request cannot change what is certified.
//! `certs/*.profile` shows the same as text, and a test compares them. The authority and its store call this. Times are in
//! whole seconds, as in a certificate.

use std::time::SystemTime;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyIdMethod,
    KeyUsagePurpose, PublicKeyData, SerialNumber,
};

use crate::grant::GrantId;
use crate::grant::digest::hex;
use crate::grant::names;
use crate::grant::request::{ClusterName, PersonName};

use super::der::sha256;
use super::key::{SERIAL_LENGTH, SignError};

/// How far in the past a leaf's notBefore is, for an API server whose clock is behind ours.
pub(super) const BACKDATED_SECONDS: i64 = 30;

/// The maximum length of a host name: a common name has at most 64 characters (RFC 5280 appendix A.1, ub-common-name), and
/// `jit:daemon:` takes eleven of them.
pub(super) const HOST_MAX: usize = 53;

// The attribute that kube-apiserver reads as the user's uid
// (https://kubernetes.io/docs/reference/access-authn-authz/authentication/#x509-client-certificates).
const UID: &[u64] = &[1, 3, 6, 1, 4, 1, 57683, 2];

/// What differs in every certificate: its key, its serial number, and its first and last second.
pub(super) struct Particulars<'a, K> {
    pub(super) key: &'a K,
    pub(super) serial: [u8; SERIAL_LENGTH],
    pub(super) validity: (Timestamp, Timestamp),
}

/// A person in one grant: user `jit:<person>`, the only group `jit:<grant>`, and uid `<grant>`, or `break-glass:<grant>` if
/// nobody approved.
pub(super) fn user(
    grant: &GrantId,
    person: &PersonName,
    uid: &str,
    particulars: &Particulars<'_, impl PublicKeyData>,
) -> CertificateParams {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, grant.group());
    subject.push(DnType::CommonName, person.user());
    subject.push(DnType::CustomDnType(UID.to_vec()), uid);
    leaf(subject, particulars)
}

/// The daemon itself: user `jit:daemon:<host>`, in no group.
pub(super) fn daemon(host: &str, particulars: &Particulars<'_, impl PublicKeyData>) -> CertificateParams {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, names::daemon(host));
    leaf(subject, particulars)
}

/// A user without any rights, to check whether the API server trusts the authority: user `jit:probe:<host>`, in no group.
pub(super) fn probe(host: &str, particulars: &Particulars<'_, impl PublicKeyData>) -> CertificateParams {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, names::probe(host));
    leaf(subject, particulars)
}

/// The root of a cluster's authority. One intermediate below it signs leaves.
///
/// Its name ends with the beginning of its key identifier, so that no other root has the same name (RFC 5280 section 8). If
/// several roots had the same name, for example those of two bastions, kube-apiserver would try all of them for each request
/// (Go's `crypto/x509`, `buildChains`).
pub(super) fn root(cluster: &ClusterName, particulars: &Particulars<'_, impl PublicKeyData>) -> CertificateParams {
    let identifier: Vec<u8> = key_identifier(particulars.key).into_iter().take(4).collect();
    let mut params = base(authority_name(cluster, &format!("jitd root {}", hex(&identifier))), particulars);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// The issuing intermediate, which is valid for days. It can sign only leaves, and only for clients.
pub(super) fn issuing(cluster: &ClusterName, particulars: &Particulars<'_, impl PublicKeyData>) -> CertificateParams {
    let mut params = base(issuing_name(cluster), particulars);
    params.use_authority_key_identifier_extension = true;
    may_issue(&mut params);
    params
}

/// The request to another PKI for the key that waits.
pub(super) fn issuing_request(subject: DistinguishedName) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = subject;
    may_issue(&mut params);
    params
}

/// The subject of an issuing intermediate. The cluster's name has a separate attribute, because it can have 63 characters,
/// and a common name only 64.
pub(super) fn issuing_name(cluster: &ClusterName) -> DistinguishedName {
    authority_name(cluster, "jitd issuing")
}

fn authority_name(cluster: &ClusterName, common_name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationalUnitName, cluster.as_str());
    subject.push(DnType::CommonName, common_name);
    subject
}

fn may_issue(params: &mut CertificateParams) {
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
}

fn leaf(subject: DistinguishedName, particulars: &Particulars<'_, impl PublicKeyData>) -> CertificateParams {
    let mut params = base(subject, particulars);
    params.use_authority_key_identifier_extension = true;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

fn base(subject: DistinguishedName, particulars: &Particulars<'_, impl PublicKeyData>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = subject;
    let (not_before, not_after) = particulars.validity;
    params.serial_number = Some(SerialNumber::from_slice(&particulars.serial));
    params.not_before = SystemTime::from(not_before).into();
    params.not_after = SystemTime::from(not_after).into();
    params.key_identifier_method = KeyIdMethod::PreSpecified(key_identifier(particulars.key));
    params
}

/// The leftmost 160 bits of the SHA-256 of the key's bits (RFC 7093 section 2, method 1).
pub(super) fn key_identifier(key: &impl PublicKeyData) -> Vec<u8> {
    sha256(key.der_bytes()).into_iter().take(20).collect()
}

/// Whether a host's name is allowed in the daemon's own certificates.
pub(super) fn host_name(host: &str) -> Result<(), SignError> {
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
    if (1..=HOST_MAX).contains(&host.len()) && host.chars().all(legal) {
        Ok(())
    } else {
        let shown: String = host.chars().take(80).flat_map(char::escape_default).collect();
        Err(SignError::HostName { host: format!("`{shown}`"), longest: HOST_MAX })
    }
}
