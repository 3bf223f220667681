//! A certificate authority of two levels on P-256, as jitd's is, for what jitd is compared with.
//!
//! ```text
//!  root.crt ─► issuing.crt ─► a client's certificate
//! ```
//! step-ca signs with it, and who deletes by hand like the daemon has a certificate below it.

use std::fs;
use std::path::Path;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use crate::Failure;

pub(crate) struct Authority {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Makes it, and writes `root.crt` and `issuing.crt` into `folder`.
    pub(crate) fn write(folder: &Path) -> Result<Self, Failure> {
        let authority = |name: &str, constraint| {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(constraint);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            params
        };
        let (root_key, issuing_key) = (KeyPair::generate()?, KeyPair::generate()?);
        let root = authority("bench root", BasicConstraints::Constrained(1));
        let issuing = authority("bench issuing", BasicConstraints::Constrained(0));
        fs::write(folder.join("root.crt"), root.self_signed(&root_key)?.pem())?;
        let certificate = issuing.signed_by(&issuing_key, &Issuer::new(root, root_key))?;
        fs::write(folder.join("issuing.crt"), certificate.pem())?;
        Ok(Self { certificate, issuer: Issuer::new(issuing, issuing_key) })
    }

    /// The key of the issuing certificate.
    pub(crate) fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// The chain, without the root, and the key of a client that Kubernetes calls `user`, in PEM.
    pub(crate) fn client(&self, user: &str) -> Result<(String, String), Failure> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, user);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        let leaf = params.signed_by(&key, &self.issuer)?;
        Ok((leaf.pem() + &self.certificate.pem(), key.serialize_pem()))
    }
}
