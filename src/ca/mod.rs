//! The authority of one cluster: it holds the key that makes people into users of that cluster, and
//! signs with it only what an [`Approved`] says.
//!
//! It never takes anything from a certificate request but the public key, never signs other bytes than
//! those whose hash the caller was given beforehand, never reads the clock and knows neither the cluster
//! nor the trail. The broker calls `prepare`, writes the intent down, and only then calls `sign`:
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
mod disk;
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
    // Only the name and the key identifier of it are used.
    issuer: CertificateParams,
    template: Template,
    chain_pem: String,
    root_pem: String,
    not_before: Timestamp,
    not_after: Timestamp,
    own_keys: Vec<KeyHash>,
}

impl Authority {
    /// Opens the authority in `folder` whose issuing key is at `place`. The root's private key is not needed.
    /// Whether the certificates are valid now is asked at each [`prepare`](Self::prepare). A token can make this
    /// last long.
    ///
    /// # Errors
    /// A file is missing, others can read or write it, its key and certificates do not belong together, or
    /// they are no chain that kube-apiserver would take from a client; the key can't be had.
    pub fn open(folder: &Path, place: &KeyPlace) -> Result<Self, CaError> {
        let bundle = place.bundle(folder, Attempt::Careful)?;
        let chain = bundle.chain(place)?;
        let (root, issuing_and_between) = bundle.certificates.split_last().ok_or(CaError::Malformed {
            what: format!("`{}`", folder.join(place.certificates()).display()),
            why: "holds no certificate".to_owned(),
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

    /// The last second at which anything it signs can be valid: the earliest end in its chain.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// Whether `found`, read from the same folder later, is another authority: any certificate of the chain differs.
    /// A renewed key comes with a new issuing certificate. The validity tells nothing, for a root or a parent that
    /// ends first gives the same end to every certificate below it.
    #[must_use]
    pub fn is_replaced_by(&self, found: &Self) -> bool {
        found.chain_pem != self.chain_pem || found.root_pem != self.root_pem
    }

    /// Whether any key of the two is one, their root's for example: then what either signs is believed where the other is
    /// trusted.
    #[must_use]
    pub fn shares_a_key_with(&self, other: &Self) -> bool {
        self.own_keys.iter().any(|key| other.is_own_key(key))
    }

    /// The root certificate in PEM, for the API server's `--client-ca-file`.
    #[must_use]
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// Whether this is a key of the authority itself, issuing, root or between.
    #[must_use]
    pub fn is_own_key(&self, key: &KeyHash) -> bool {
        self.own_keys.contains(key)
    }

    /// Makes everything of a person's certificate but its signature. `lifetime` is what configuration
    /// allows one certificate at most; the grant's end and the authority's own end cut it shorter.
    ///
    /// notAfter names the last second that is included (RFC 5280 section 4.1.2.5), so it is the second
    /// before the limit. notBefore is half a minute back, for clocks that are behind ours; the API server
    /// knows no leeway.
    ///
    /// # Errors
    /// The authority or the grant is over, or the key is another than the approved one, or our own.
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

    /// Where [`sign`](Self::sign) and [`daemon_credential`](Self::daemon_credential) do their work.
    #[must_use]
    pub fn signing(&self) -> Signing {
        self.key.signing()
    }

    /// Signs what was prepared, and nothing else.
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

    /// The daemon's own credential: user `jit:daemon:<host>`, in no group, with a fresh key. No person
    /// can have that name, because a person's name holds no colon.
    ///
    /// # Errors
    /// The host's name can't stand in a certificate, or the authority is over.
    pub fn daemon_credential(
        &self,
        host: &str,
        lifetime: SignedDuration,
        now: Timestamp,
    ) -> Result<DaemonCredential, SignError> {
        self.own_credential(profile::daemon, host, lifetime, now)
    }

    /// A credential without any right, to prove that an API server trusts this authority: user `jit:probe:<host>`, in
    /// no group, with a fresh key. Nothing is ever bound to that name, and no person can have it.
    ///
    /// # Errors
    /// The host's name can't stand in a certificate, or the authority is over.
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

    /// The first and the last second of a certificate that is made now.
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
        // As the API server counts: it refuses from notAfter on, to the nanosecond.
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

/// A certificate that lacks only its signature. The four open fields are what the trail's intent says.
pub struct Prepared {
    /// Serial number: 16 octets, positive, as 32 lower-case hex digits, the first not zero.
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
    /// The certificate, the issuing certificate and those between it and the root, in PEM. The API
    /// server knows only the root, so a client has to send all of them.
    pub chain_pem: String,
    /// Last second of validity.
    pub not_after: Timestamp,
}

/// What the daemon shows the API server as its own. The key is wiped from memory when this is dropped.
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
