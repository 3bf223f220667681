//! The authority of one cluster: it holds the key that signs client certificates for that cluster, and signs only what an
//! [`Approved`] says.
//!
//! It uses nothing of a certificate request but the public key, signs only bytes whose hash the caller already has, never
//! reads the clock, and knows neither the cluster nor the trail. The broker calls `prepare`, records the intent, and only
//! then calls `sign`:
//! ```text
//!  CSR ─► read_csr ─► CheckedCsr ─┐
//!                      Approved ──┴─► prepare ─► Prepared { serial, hash of the bytes } ─► sign ─► Certificate
//! ```
//! [`store`] keeps the keys and certificates in a folder; `jitd init` and `jitd ca` call it.
//!
//! Each file here uses only those before it: der, pem, disk; credential; token; key; csr, chain, profile; folder;
//! place, template; this one; store.

mod chain;
mod credential;
mod csr;
mod der;
mod folder;
mod key;
mod pem;
mod place;
mod profile;
pub mod store;
mod template;
mod token;

use std::fmt;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use rcgen::CertificateParams;
use zeroize::Zeroizing;

use crate::grant::approval::Approved;
use crate::grant::digest::{hex, sha256_hex};
use crate::grant::request::KeyHash;

use self::der::{sha256, whole_second};
use self::key::{CaKey, PublicKey};
use self::profile::Particulars;
use self::template::Template;

pub use self::chain::ChainError;
pub use self::credential::{CredentialError, CredentialName};
pub use self::csr::{CheckedCsr, read_csr};
pub use self::folder::CaError;
pub use self::key::{SignError, Signing};
pub use self::place::{KeyChange, KeyPlace};
pub use self::token::{Attempt, PinPlace, TokenError, TokenPlace};

/// The issuing intermediate of one cluster with its chain, ready to sign.
pub struct Authority {
    key: CaKey,
    // Only its name and key identifier are used.
    issuer: CertificateParams,
    template: Template,
    chain_pem: String,
    root_pem: String,
    not_before: Timestamp,
    not_after: Timestamp,
    own_keys: Vec<KeyHash>,
}

impl Authority {
    /// Opens the authority in `folder` whose issuing key is at `place`. The root's private key is not needed. Each
    /// [`prepare`](Self::prepare) checks whether the certificates are valid. With a token this can take long.
    ///
    /// # Errors
    /// A file is missing, or others can read or write it; its key and certificates do not belong together, or are not a
    /// chain that kube-apiserver accepts from a client; the key is not available.
    pub fn open(folder: &Path, place: &KeyPlace) -> Result<Self, CaError> {
        let bundle = place.bundle(folder, Attempt::Careful)?;
        let chain = bundle.chain(place)?;
        let (root, issuing_and_between) = bundle.certificates.split_last().ok_or(CaError::Malformed {
            what: format!("`{}`", folder.join(place.certificates()).display()),
            why: "contains no certificate".to_owned(),
            hint: None,
        })?;
        let (not_before, not_after, own_keys) = (chain.not_before(), chain.not_after(), chain.keys().to_vec());
        let issuer = chain.into_issuer();
        Ok(Self {
            template: Template::of(&bundle.key, &issuer, issuing_and_between.first().unwrap_or(root))?,
            chain_pem: pem::chain(issuing_and_between),
            root_pem: pem::certificate(root),
            not_before,
            not_after,
            own_keys,
            issuer,
            key: bundle.key,
        })
    }

    /// The last second of validity of anything that it signs: the earliest notAfter of its chain.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// Whether `found`, read from the same folder later, is another authority: whether any certificate of the chain
    /// differs. A renewed key comes with a new issuing certificate. The validity does not show it, because a root or
    /// parent that ends first gives all certificates below it the same end.
    #[must_use]
    pub fn is_replaced_by(&self, found: &Self) -> bool {
        found.chain_pem != self.chain_pem || found.root_pem != self.root_pem
    }

    /// Whether the two share a key, for example their root's: then a cluster that trusts one also trusts certificates of
    /// the other.
    #[must_use]
    pub fn shares_a_key_with(&self, other: &Self) -> bool {
        self.own_keys.iter().any(|key| other.is_own_key(key))
    }

    /// The root certificate in PEM, for the API server's `--client-ca-file`.
    #[must_use]
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// Whether this is a key of the authority itself: the issuing key, the root key or one between them.
    #[must_use]
    pub fn is_own_key(&self, key: &KeyHash) -> bool {
        self.own_keys.contains(key)
    }

    /// Prepares a person's certificate, except for its signature. `lifetime` is the maximum that the configuration allows
    /// for one certificate; the certificate never outlives the grant or the authority.
    ///
    /// notAfter is inclusive (RFC 5280 section 4.1.2.5), so it is the second before the limit. notBefore is half a minute
    /// in the past, for API servers whose clock is behind ours; they allow no clock skew.
    ///
    /// # Errors
    /// The authority or the grant has expired, or the key is not the approved one, or is one of the authority's own.
    pub fn prepare(
        &self,
        approved: Approved,
        csr: CheckedCsr,
        lifetime: SignedDuration,
        now: Timestamp,
    ) -> Result<Prepared, SignError> {
        if approved.key() != csr.key() {
            return Err(SignError::OtherKey);
        }
        if self.is_own_key(csr.key()) {
            return Err(SignError::OwnKey);
        }
        let validity = self.validity(lifetime, approved.not_after(), now)?;
        let public_key = csr.into_public_key();
        let particulars = Particulars { key: &public_key, serial: key::random_serial()?, validity };
        let tbs = self.template.fill(approved.grant(), approved.person(), &approved.uid(), &particulars);
        Ok(prepared(tbs, &particulars))
    }

    /// Where [`sign`](Self::sign) and [`daemon_credential`](Self::daemon_credential) sign.
    #[must_use]
    pub fn signing(&self) -> Signing {
        self.key.signing()
    }

    /// Signs the prepared bytes, and nothing else.
    ///
    /// # Errors
    /// The bytes to sign are not those that were prepared, or the library failed.
    pub fn sign(&self, prepared: Prepared) -> Result<Certificate, SignError> {
        let certificate = key::sealed(&self.key, &prepared.tbs, &prepared.tbs_digest)?;
        let mut chain_pem = pem::certificate(&certificate);
        chain_pem.push_str(&self.chain_pem);
        Ok(Certificate {
            serial: prepared.serial,
            leaf_sha256: sha256_hex(&certificate),
            chain_pem,
            not_after: prepared.not_after,
        })
    }

    /// The daemon's own credential: user `jit:daemon:<host>`, in no group, with a fresh key. No person can have that name,
    /// because a person's name contains no colon.
    ///
    /// # Errors
    /// The host's name is not allowed in a certificate, or the authority has expired.
    pub fn daemon_credential(
        &self,
        host: &str,
        lifetime: SignedDuration,
        now: Timestamp,
    ) -> Result<DaemonCredential, SignError> {
        self.own_credential(profile::daemon, host, lifetime, now)
    }

    /// A credential without any rights, to check whether an API server trusts this authority: user `jit:probe:<host>`, in
    /// no group, with a fresh key. Nothing is ever bound to that name, and no person can have it.
    ///
    /// # Errors
    /// The host's name is not allowed in a certificate, or the authority has expired.
    pub fn probe_credential(
        &self,
        host: &str,
        lifetime: SignedDuration,
        now: Timestamp,
    ) -> Result<DaemonCredential, SignError> {
        self.own_credential(profile::probe, host, lifetime, now)
    }

    fn own_credential(
        &self,
        profile: fn(&str, &Particulars<'_, PublicKey>) -> CertificateParams,
        host: &str,
        lifetime: SignedDuration,
        now: Timestamp,
    ) -> Result<DaemonCredential, SignError> {
        profile::host_name(host)?;
        let validity = self.validity(lifetime, Timestamp::MAX, now)?;
        let key = CaKey::generate()?;
        let public_key = key.public();
        let particulars = Particulars { key: &public_key, serial: key::random_serial()?, validity };
        let tbs = key::record(&profile(host, &particulars), &public_key, &self.issuer, &self.key)?;
        let Certificate { serial, chain_pem, not_after, .. } = self.sign(prepared(tbs, &particulars))?;
        Ok(DaemonCredential { serial, chain_pem, key_pem: key.to_pem()?, not_after })
    }

    /// notBefore and notAfter of a certificate that is prepared now.
    fn validity(
        &self,
        lifetime: SignedDuration,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<(Timestamp, Timestamp), SignError> {
        if now < self.not_before {
            return Err(SignError::NotYetValid { not_before: self.not_before });
        }
        if now >= self.not_after {
            return Err(SignError::Expired { not_after: self.not_after });
        }
        let limit = now.saturating_add(lifetime).unwrap_or(Timestamp::MAX).min(until);
        let last = whole_second(limit.as_second().saturating_sub(1)).min(self.not_after);
        // The API server refuses a certificate from notAfter on, to the nanosecond.
        if last.duration_since(now) < SignedDuration::from_secs(1) {
            return Err(SignError::TooShort { until: last });
        }
        let first = whole_second(now.as_second().saturating_sub(profile::BACKDATED_SECONDS));
        Ok((first.max(self.not_before), last))
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

/// A certificate that lacks only its signature. The public fields are what the trail records as the intent.
pub struct Prepared {
    /// Serial number: 16 octets, positive, as 32 lower-case hex digits; the first digit is not zero.
    pub serial: String,
    /// SHA-256 of the bytes to be signed (TBSCertificate in DER), hex.
    pub tbs_sha256: String,
    /// First second of validity.
    pub not_before: Timestamp,
    /// Last second of validity.
    pub not_after: Timestamp,
    tbs_digest: [u8; 32],
    tbs: Vec<u8>,
}

fn prepared(tbs: Vec<u8>, particulars: &Particulars<'_, PublicKey>) -> Prepared {
    let tbs_digest = sha256(&tbs);
    let (not_before, not_after) = particulars.validity;
    Prepared { serial: hex(&particulars.serial), tbs_sha256: hex(&tbs_digest), not_before, not_after, tbs_digest, tbs }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared")
            .field("serial", &self.serial)
            .field("tbs_sha256", &self.tbs_sha256)
            .finish_non_exhaustive()
    }
}

/// A signed certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Serial number, 32 lower-case hex digits.
    pub serial: String,
    /// SHA-256 of the certificate in DER, hex: the API server's credential id is `X509SHA256=` and this.
    pub leaf_sha256: String,
    /// The certificate, the issuing certificate and those between it and the root, in PEM. The API server knows only the
    /// root, so a client has to send all of them.
    pub chain_pem: String,
    /// Last second of validity.
    pub not_after: Timestamp,
}

/// The daemon's own client certificate. The key is wiped from memory when this is dropped.
pub struct DaemonCredential {
    /// Serial number, 32 lower-case hex digits.
    pub serial: String,
    /// Certificate and chain in PEM.
    pub chain_pem: String,
    /// The private key, PKCS#8 in PEM.
    pub key_pem: Zeroizing<String>,
    /// Last second of validity.
    pub not_after: Timestamp,
}

impl fmt::Debug for DaemonCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DaemonCredential")
            .field("serial", &self.serial)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
