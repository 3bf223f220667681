//! The authority's promises, with real folders and real certificates.
//!
//! `certs/` holds the profiles as text, golden samples and hostile requests; with `UPDATE_GOLDEN=1` the
//! profiles, the samples and the sentences are written anew, to be looked at in the diff.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use rcgen::{CertificateParams, IsCa, PublicKeyData};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Name;

use super::chain::Chain;
use super::key::{CaKey, PublicKey};
use super::store::{CertificateFacts, Shown};
use super::*;
use crate::files::FileError;
use crate::grant::approval;
use crate::grant::glass::BreakGlassRecord;
use crate::grant::refusal::Code;
use crate::grant::request::{Access, AccessRequest, ClusterName, Namespace, PersonName};
use crate::grant::{Grant, GrantId, Impersonation, Phase};
use crate::hint::Hint;

const PEM_FORM: ::pem::EncodeConfig = ::pem::EncodeConfig::new().set_line_ending(::pem::LineEnding::LF);

const NOW: &str = "2026-11-23T12:00:00.5Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn seconds(count: i64) -> SignedDuration {
    SignedDuration::from_secs(count)
}

fn cluster() -> ClusterName {
    "prod".parse().unwrap()
}

/// A separate folder that is removed after the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let mut random = [0; 8];
        aws_lc_rs::rand::fill(&mut random).unwrap();
        let path = std::env::temp_dir().join(format!("jitd-ca-{}", hex(&random)));
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        Self(path)
    }

    fn path(&self) -> PathBuf {
        self.0.join("prod")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn made(folder: &Folder) -> Authority {
    store::init(&folder.path(), &KeyPlace::File, &cluster(), 30, 10, now()).unwrap();
    Authority::open(&folder.path(), &KeyPlace::File).unwrap()
}

/// An approval for a key, which only the grant itself can create.
fn approved(key: &KeyHash, until: Timestamp) -> Approved {
    renewed(&live(key, until), key, until)
}

fn renewed(grant: &Grant, key: &KeyHash, until: Timestamp) -> Approved {
    approval::renew(grant, key, until.saturating_sub(seconds(3)).unwrap()).unwrap()
}

fn live(key: &KeyHash, until: Timestamp) -> Grant {
    Grant {
        id: GrantId::from_random([7; 10]),
        requester: "alice".parse().unwrap(),
        requester_login: None,
        ask: Arc::new(AccessRequest {
            cluster: cluster(),
            scope: "payments".parse::<Namespace>().unwrap().into(),
            access: Access::Role("view".parse().unwrap()),
            fields: BTreeMap::new(),
            start: None,
            window: "15m".parse().unwrap(),
            reason: "INC-42".parse().unwrap(),
        }),
        key: key.clone(),
        role_uid: Arc::default(),
        namespace_uids: Arc::default(),
        rules_sha256: Arc::default(),
        terms: Arc::new(serde_json::from_value(serde_json::json!({ "rule": "sre", "steps": [{ "groups": ["sre"], "count": 1 }], "maxTotal": "1h", "narrow": false, "drift": "revoke" })).unwrap()),
        digest: Arc::default(),
        requested_at: now(),
        phase: Phase::Live,
        agreed: Arc::default(),
        deadline: Some(until),
        live_at: None,
        ended_at: None,
        risk: None,
        together: None,
        narrowed_from: None,
        collection_failed: None,
        lost: Vec::new(),
        role_changed: None,
        extension: None,
        glass: None,
        answers: 0,
        bind_intended: true,
        gateway: None,
        impersonation: Impersonation::default(),
        binding_uids: Arc::default(),
        certificates: 0,
        end_cause: None,
        end_proof: None,
        closed_by: None,
        closing_words: None,
    }
}

fn csr_of(key: &impl rcgen::SigningKey) -> String {
    CertificateParams::default().serialize_request(key).unwrap().pem().unwrap()
}

fn some_csr() -> CheckedCsr {
    read_csr(&csr_of(&CaKey::generate().unwrap())).unwrap()
}

fn issue(authority: &Authority, csr: CheckedCsr, until: Timestamp, now: Timestamp) -> Certificate {
    let approved = approved(csr.key(), until);
    authority.sign(authority.prepare(approved, csr, seconds(900), now).unwrap()).unwrap()
}

fn ders(pem: &str) -> Vec<Vec<u8>> {
    ::pem::parse_many(pem).unwrap().into_iter().map(::pem::Pem::into_contents).collect()
}

fn parsed(der: &[u8]) -> X509Certificate<'_> {
    X509Certificate::from_der(der).unwrap().1
}

fn moment(text: &str) -> Timestamp {
    text.parse().unwrap()
}

// What is signed.

/// The intent in the trail names exactly the bytes that are signed afterwards.
#[test]
fn what_is_signed_is_what_was_prepared() {
    let folder = Folder::new();
    let authority = made(&folder);
    let csr = some_csr();
    let approved = approved(csr.key(), now() + seconds(900));
    let prepared = authority.prepare(approved, csr, seconds(900), now()).unwrap();
    let (serial, tbs, first, last) =
        (prepared.serial.clone(), prepared.tbs_sha256.clone(), prepared.not_before, prepared.not_after);
    let certificate = authority.sign(prepared).unwrap();
    let chain = ders(&certificate.chain_pem);
    let leaf = parsed(&chain[0]);
    assert_eq!(sha256_hex(leaf.tbs_certificate.as_ref()), tbs);
    assert_eq!(sha256_hex(&chain[0]), certificate.leaf_sha256);
    assert_eq!(hex(leaf.raw_serial()), serial);
    assert_eq!(certificate.serial, serial);
    assert_eq!(leaf.validity().not_before.timestamp(), first.as_second());
    assert_eq!(leaf.validity().not_after.timestamp(), last.as_second());
    assert_eq!(certificate.not_after, last);
    leaf.verify_signature(Some(parsed(&chain[1]).public_key())).unwrap();
}

/// A seal that was made for other bytes does not sign.
#[test]
fn only_the_prepared_bytes_are_signed() {
    let folder = Folder::new();
    let authority = made(&folder);
    let csr = some_csr();
    let approved = approved(csr.key(), now() + seconds(900));
    let mut prepared = authority.prepare(approved, csr, seconds(900), now()).unwrap();
    *prepared.tbs.last_mut().unwrap() ^= 1;
    assert!(matches!(authority.sign(prepared), Err(SignError::OtherBytes)));
}

/// The client gets leaf and issuing certificate, and the API server's root completes the chain.
#[test]
fn the_chain_leads_to_the_root() {
    let folder = Folder::new();
    let authority = made(&folder);
    let chain = ders(&issue(&authority, some_csr(), now() + seconds(900), now()).chain_pem);
    assert_eq!(chain.len(), 2);
    let root = ders(authority.root_pem());
    parsed(&chain[0]).verify_signature(Some(parsed(&chain[1]).public_key())).unwrap();
    parsed(&chain[1]).verify_signature(Some(parsed(&root[0]).public_key())).unwrap();
    assert_eq!(fs::read_to_string(folder.path().join(store::ROOT)).unwrap(), authority.root_pem());
}

/// notAfter is the last second that is included, and never reaches past the limit.
#[test]
fn validity_ends_with_the_grant_the_lifetime_and_the_authority() {
    let folder = Folder::new();
    let authority = made(&folder);
    let end = authority.not_after();
    assert_eq!(end, moment("2026-12-23T11:59:59Z"));
    for (now, lifetime, until, last) in [
        ("2026-11-23T12:00:00Z", 900, "2026-11-23T13:00:00Z", "2026-11-23T12:14:59Z"),
        ("2026-11-23T12:00:00.999Z", 900, "2026-11-23T13:00:00Z", "2026-11-23T12:14:59Z"),
        ("2026-11-23T12:00:00.5Z", 900, "2026-11-23T12:05:00Z", "2026-11-23T12:04:59Z"),
        ("2026-11-23T12:00:00.5Z", 900, "2026-11-23T12:05:00.7Z", "2026-11-23T12:04:59Z"),
        ("2026-12-23T11:59:00Z", 900, "2026-12-23T12:30:00Z", "2026-12-23T11:59:59Z"),
        ("2026-11-23T12:00:00Z", 900, "2026-11-23T12:00:02Z", "2026-11-23T12:00:01Z"),
    ] {
        let (first, found) = authority.validity(seconds(lifetime), moment(until), moment(now)).unwrap();
        assert_eq!(found, moment(last), "{now}");
        assert_eq!(found.subsec_nanosecond(), 0);
        assert_eq!(first.as_second(), moment(now).as_second() - 30, "{now}");
    }
    // Not before the authority itself, which began at 11:59:00.
    let (first, _) = authority.validity(seconds(60), now(), moment("2026-11-23T11:59:10Z")).unwrap();
    assert_eq!(first, moment("2026-11-23T11:59:00Z"));
}

#[test]
fn nothing_is_signed_when_no_whole_second_is_left() {
    let folder = Folder::new();
    let authority = made(&folder);
    let validity = |now: &str, until: &str| authority.validity(seconds(900), moment(until), moment(now));
    assert!(matches!(validity("2026-11-23T12:00:00.5Z", "2026-11-23T12:00:02Z"), Err(SignError::TooShort { .. })));
    assert!(matches!(validity("2026-11-23T12:00:00Z", "2026-11-23T12:00:01Z"), Err(SignError::TooShort { .. })));
    assert!(matches!(validity("2026-11-23T12:00:00Z", "2026-11-23T11:00:00Z"), Err(SignError::TooShort { .. })));
    assert!(matches!(validity("2026-12-23T11:59:59Z", "2026-12-24T12:00:00Z"), Err(SignError::Expired { .. })));
    assert!(matches!(validity("2026-11-23T11:58:59Z", "2026-11-23T12:30:00Z"), Err(SignError::NotYetValid { .. })));
    let negative = authority.validity(seconds(-5), Timestamp::MAX, now());
    assert!(matches!(negative, Err(SignError::TooShort { .. })));
}

#[test]
fn an_approval_for_another_key_signs_nothing() {
    let folder = Folder::new();
    let authority = made(&folder);
    let other = approved(some_csr().key(), now() + seconds(900));
    assert!(matches!(authority.prepare(other, some_csr(), seconds(900), now()), Err(SignError::OtherKey)));
}

/// A certificate for the authority's own key would give its holder access with the key that signs for everybody.
#[test]
fn the_authoritys_own_keys_are_never_certified() {
    let folder = Folder::new();
    let authority = made(&folder);
    let issuing = fs::read_to_string(folder.path().join(store::ISSUING)).unwrap();
    let root = fs::read_to_string(folder.path().join(store::ROOT_KEY)).unwrap();
    for text in [issuing, root] {
        let block = ::pem::parse_many(&text).unwrap().into_iter().find(|block| block.tag() == "PRIVATE KEY").unwrap();
        let csr = read_csr(&csr_of(&CaKey::from_pkcs8(block.contents()).unwrap())).unwrap();
        assert!(authority.is_own_key(csr.key()));
        let approved = approved(csr.key(), now() + seconds(900));
        assert!(matches!(authority.prepare(approved, csr, seconds(900), now()), Err(SignError::OwnKey)));
    }
    assert!(!authority.is_own_key(some_csr().key()));
}

/// RFC 5280 section 4.1.2.2: positive, at most 20 octets; and every tool writes the same digits.
#[test]
fn serials_are_sixteen_positive_octets() {
    let mut seen = std::collections::HashSet::new();
    for _ in 0..2000 {
        let serial = key::random_serial().unwrap();
        assert!((0x10..=0x7f).contains(&serial[0]));
        assert!(seen.insert(serial));
    }
}

#[test]
fn the_daemon_is_a_user_in_no_group() {
    let folder = Folder::new();
    let authority = made(&folder);
    let one = authority.daemon_credential("bastion-1.example.com", seconds(3600), now()).unwrap();
    let chain = ders(&one.chain_pem);
    assert_eq!(parsed(&chain[0]).subject().to_string(), "CN=jit:daemon:bastion-1.example.com");
    let key = CaKey::from_pkcs8(::pem::parse(one.key_pem.as_bytes()).unwrap().contents()).unwrap();
    assert_eq!(KeyHash::of(parsed(&chain[0]).public_key().raw), key.hash());
    assert_eq!(one.not_after, moment("2026-11-23T12:59:59Z"));
    let other = authority.daemon_credential("bastion-1.example.com", seconds(3600), now()).unwrap();
    assert_ne!(*one.key_pem, *other.key_pem);
    for host in ["", "a b", "ö", "a/b", "system:masters", &"a".repeat(54)] {
        assert!(
            matches!(authority.daemon_credential(host, seconds(60), now()), Err(SignError::HostName { .. })),
            "{host}"
        );
    }
}

/// The probe has no permissions: it differs from the daemon only in its name, and has no group.
#[test]
fn the_probe_is_a_user_in_no_group() {
    let folder = Folder::new();
    let authority = made(&folder);
    let made = authority.probe_credential("bastion-1", seconds(120), now()).unwrap();
    let chain = ders(&made.chain_pem);
    assert_eq!(parsed(&chain[0]).subject().to_string(), "CN=jit:probe:bastion-1");
    assert_eq!(made.not_after, moment("2026-11-23T12:01:59Z"));
    let late = now().checked_add(seconds(31 * 86_400)).unwrap();
    assert!(matches!(authority.probe_credential("bastion-1", seconds(120), late), Err(SignError::Expired { .. })));
    assert!(matches!(authority.probe_credential("a:b", seconds(120), now()), Err(SignError::HostName { .. })));
}

#[test]
fn nothing_secret_is_printed() {
    let folder = Folder::new();
    let authority = made(&folder);
    let credential = authority.daemon_credential("b", seconds(60), now()).unwrap();
    for text in [format!("{authority:?}"), format!("{credential:?}")] {
        assert!(!text.contains("PRIVATE"), "{text}");
    }
}

// The folder.

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_new_authority_has_private_keys_for_its_owner_only() {
    let folder = Folder::new();
    let shown = store::init(&folder.path(), &KeyPlace::File, &cluster(), 30, 10, now()).unwrap();
    let path = folder.path();
    assert_eq!(mode(&path), 0o700);
    assert_eq!(mode(&path.join(store::ISSUING)), 0o600);
    assert_eq!(mode(&path.join(store::ROOT_KEY)), 0o600);
    assert_eq!(mode(&path.join(store::ROOT)), 0o644);
    assert_eq!(fs::read_dir(&path).unwrap().count(), 3, "no temporary file stays");
    assert!(shown.root_key_is_here && !shown.key_is_pending && shown.root_file_is_current);
    assert_eq!(shown.issuing.not_after, moment("2026-12-23T11:59:59Z"));
    assert_eq!(shown.root.not_after, moment("2036-11-22T23:59:59Z"));
    assert_eq!(shown.rest, shown.issuing.not_after.duration_since(now()));
    assert_eq!(shown.issuing.subject, "OU=prod, CN=jitd issuing");
    assert!(shown.between.is_empty());
}

#[test]
fn an_authority_is_never_overwritten() {
    let folder = Folder::new();
    let authority = made(&folder);
    let before = fs::read(folder.path().join(store::ISSUING)).unwrap();
    for left in [None, Some(store::ROOT_KEY), Some(store::ROOT)] {
        if let Some(name) = left {
            fs::remove_file(folder.path().join(name)).unwrap();
        }
        assert!(matches!(
            store::init(&folder.path(), &KeyPlace::File, &cluster(), 30, 10, now()),
            Err(CaError::AlreadyThere { .. })
        ));
    }
    assert_eq!(fs::read(folder.path().join(store::ISSUING)).unwrap(), before);
    drop(authority);
}

#[test]
fn an_issuing_certificate_outlives_neither_root_nor_its_days() {
    let folder = Folder::new();
    let shown = store::init(&folder.path(), &KeyPlace::File, &cluster(), 1000, 1, now()).unwrap();
    assert_eq!(shown.issuing.not_after, shown.root.not_after);
    let late = shown.root.not_after + seconds(1);
    assert!(matches!(
        store::renew(&folder.path(), &KeyPlace::File, &cluster(), None, KeyChange::Kept, 30, late),
        Err(CaError::Sign(SignError::Expired { .. }))
    ));
    assert!(matches!(
        store::renew(&folder.path(), &KeyPlace::File, &cluster(), None, KeyChange::Kept, 0, now()),
        Err(CaError::Sign(SignError::Expired { .. }))
    ));
}

#[test]
fn a_key_that_others_can_access_is_not_used() {
    let folder = Folder::new();
    drop(made(&folder));
    let path = folder.path().join(store::ISSUING);
    for bits in [0o640, 0o604, 0o660, 0o601, 0o620] {
        fs::set_permissions(&path, fs::Permissions::from_mode(bits)).unwrap();
        assert!(
            matches!(Authority::open(&folder.path(), &KeyPlace::File), Err(CaError::File(FileError::Open { mode, .. })) if mode == bits),
            "{bits:o}"
        );
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    Authority::open(&folder.path(), &KeyPlace::File).unwrap();
    for bits in [0o720, 0o702, 0o777] {
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(bits)).unwrap();
        assert!(
            matches!(Authority::open(&folder.path(), &KeyPlace::File), Err(CaError::File(FileError::Open { mode, .. })) if mode == bits),
            "{bits:o}"
        );
    }
}

#[test]
fn a_link_or_a_pipe_is_not_a_key() {
    let folder = Folder::new();
    drop(made(&folder));
    let path = folder.path().join(store::ISSUING);
    fs::rename(&path, folder.0.join("elsewhere")).unwrap();
    symlink(folder.0.join("elsewhere"), &path).unwrap();
    assert!(matches!(
        Authority::open(&folder.path(), &KeyPlace::File),
        Err(CaError::File(FileError::Io { doing: "open", .. }))
    ));
    fs::remove_file(&path).unwrap();
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    assert!(matches!(Authority::open(&folder.path(), &KeyPlace::File), Err(CaError::File(FileError::Kind { .. }))));
}

#[test]
fn serving_needs_no_root_key() {
    let folder = Folder::new();
    drop(made(&folder));
    fs::remove_file(folder.path().join(store::ROOT_KEY)).unwrap();
    let authority = Authority::open(&folder.path(), &KeyPlace::File).unwrap();
    issue(&authority, some_csr(), now() + seconds(900), now());
    assert!(!store::show(&folder.path(), &KeyPlace::File, now()).unwrap().root_key_is_here);
}

#[test]
fn renewal_takes_the_root_key_from_wherever_it_is_kept() {
    let folder = Folder::new();
    let before = made(&folder);
    let kept = folder.0.join("usb");
    fs::rename(folder.path().join(store::ROOT_KEY), &kept).unwrap();
    assert!(matches!(
        store::renew(&folder.path(), &KeyPlace::File, &cluster(), None, KeyChange::Kept, 30, now()),
        Err(CaError::File(FileError::Io { .. }))
    ));
    let later = now() + seconds(86_400 * 20);
    let shown =
        store::renew(&folder.path(), &KeyPlace::File, &cluster(), Some(&kept), KeyChange::Kept, 30, later).unwrap();
    assert_eq!(shown.issuing.not_after, moment("2027-01-12T11:59:59Z"));
    let after = Authority::open(&folder.path(), &KeyPlace::File).unwrap();
    assert_eq!(after.root_pem(), before.root_pem());
    assert_ne!(after.chain_pem, before.chain_pem);
    assert_ne!(after.key.hash(), before.key.hash());
    assert_eq!(mode(&folder.path().join(store::ISSUING)), 0o600);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "no temporary file stays");
}

/// The root ends before either issuing certificate would, so both end with it.
#[test]
fn a_renewed_authority_replaces_the_one_before_though_both_end_with_the_root() {
    let folder = Folder::new();
    let place = KeyPlace::File;
    store::init(&folder.path(), &place, &cluster(), 365, 1, now()).unwrap();
    let renewed = |days: i64| {
        let later = now() + seconds(86_400 * days);
        store::renew(&folder.path(), &place, &cluster(), None, KeyChange::Kept, 365, later).unwrap();
        Authority::open(&folder.path(), &place).unwrap()
    };
    let (before, after) = (renewed(1), renewed(2));
    assert_eq!(before.not_after(), after.not_after());
    assert_ne!(before.key.hash(), after.key.hash());
    assert!(before.is_replaced_by(&after));
    assert!(!after.is_replaced_by(&Authority::open(&folder.path(), &place).unwrap()), "read again, it is the same");
}

/// The issuing certificate is the same, and those above it are what clients have to send, or the API server to trust.
#[test]
fn an_authority_with_another_parent_replaces_the_one_before() {
    let folder = Folder::new();
    drop(made(&folder));
    let mut company = Company::new();
    let answer = company.answer(&asked(&folder), |_| {});
    let issuing_key = fs::read(folder.path().join(store::PENDING_KEY)).unwrap();
    let imported = |company: &Company| {
        let chain = format!("{answer}{}{}", company.between_pem, company.root_pem);
        fs::write(folder.path().join(store::PENDING_KEY), &issuing_key).unwrap();
        fs::set_permissions(folder.path().join(store::PENDING_KEY), fs::Permissions::from_mode(0o600)).unwrap();
        store::import(&folder.path(), &KeyPlace::File, &chain, now()).unwrap();
        Authority::open(&folder.path(), &KeyPlace::File).unwrap()
    };
    let before = imported(&company);
    company.between.serial_number = Some(rcgen::SerialNumber::from_slice(&[9; 16]));
    company.between_pem = company
        .between
        .signed_by(&company.between_key, &rcgen::Issuer::from_params(&company.root, &company.root_key))
        .unwrap()
        .pem();
    let after = imported(&company);
    assert_eq!((before.not_after(), before.key.hash()), (after.not_after(), after.key.hash()));
    assert!(before.is_replaced_by(&after));
}

#[test]
fn renewal_refuses_another_roots_key() {
    let (folder, other) = (Folder::new(), Folder::new());
    drop((made(&folder), made(&other)));
    let before = fs::read(folder.path().join(store::ISSUING)).unwrap();
    let key = other.path().join(store::ROOT_KEY);
    assert!(matches!(
        store::renew(&folder.path(), &KeyPlace::File, &cluster(), Some(&key), KeyChange::Kept, 30, now()),
        Err(CaError::KeyMismatch { .. })
    ));
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(
        store::renew(&folder.path(), &KeyPlace::File, &cluster(), Some(&key), KeyChange::Kept, 30, now()),
        Err(CaError::File(FileError::Open { .. }))
    ));
    assert_eq!(fs::read(folder.path().join(store::ISSUING)).unwrap(), before);
}

#[test]
fn whoever_reads_during_renewals_sees_a_key_with_its_certificate() {
    let folder = Folder::new();
    drop(made(&folder));
    std::thread::scope(|scope| {
        let renewing = scope.spawn(|| {
            for _ in 0..20 {
                store::renew(&folder.path(), &KeyPlace::File, &cluster(), None, KeyChange::Kept, 30, now()).unwrap();
            }
        });
        while !renewing.is_finished() {
            Authority::open(&folder.path(), &KeyPlace::File).unwrap();
        }
    });
}

#[test]
fn a_damaged_or_mixed_bundle_is_not_opened() {
    let (folder, other) = (Folder::new(), Folder::new());
    drop((made(&folder), made(&other)));
    let path = folder.path().join(store::ISSUING);
    let ours = fs::read_to_string(&path).unwrap();
    let theirs = fs::read_to_string(other.path().join(store::ISSUING)).unwrap();
    let part = |text: &str, number: usize| ::pem::encode_config(&::pem::parse_many(text).unwrap()[number], PEM_FORM);
    let (key, issuing, root) = (part(&ours, 0), part(&ours, 1), part(&ours, 2));
    for (what, text) in [
        ("empty", String::new()),
        ("no key", format!("{issuing}{root}")),
        ("no certificate", key.clone()),
        ("no root", format!("{key}{issuing}")),
        ("no issuing certificate", format!("{key}{root}")),
        ("wrong order", format!("{key}{root}{issuing}")),
        ("two keys", format!("{key}{}{issuing}{root}", part(&theirs, 0))),
        ("another's key", format!("{}{issuing}{root}", part(&theirs, 0))),
        ("another's root", format!("{key}{issuing}{}", part(&theirs, 2))),
        ("cut", ours[..ours.len() - 40].to_owned()),
        ("a letter changed", ours.replacen("BEGIN CERT", "BEGIN CERt", 1)),
        ("something else", format!("{ours}{}", issuing.replace("CERTIFICATE", "TRUSTED CERTIFICATE"))),
    ] {
        fs::write(&path, text).unwrap();
        assert!(Authority::open(&folder.path(), &KeyPlace::File).is_err(), "{what}");
    }
    fs::write(&path, ours).unwrap();
    Authority::open(&folder.path(), &KeyPlace::File).unwrap();
}

// Another PKI.

/// A small PKI of a company: a root and, below it, an intermediate.
struct Company {
    root_key: CaKey,
    root: CertificateParams,
    root_pem: String,
    between_key: CaKey,
    between: CertificateParams,
    between_pem: String,
}

fn authority_params(key: &CaKey, common_name: &str, is_ca: IsCa) -> CertificateParams {
    let validity = (now() - seconds(1000), now() + seconds(86_400 * 365));
    let mut params = profile::root(&cluster(), &Particulars { key, serial: [3; 16], validity });
    params.distinguished_name.push(rcgen::DnType::CommonName, common_name);
    params.is_ca = is_ca;
    params
}

fn pathlen(count: u8) -> IsCa {
    IsCa::Ca(rcgen::BasicConstraints::Constrained(count))
}

impl Company {
    fn new() -> Self {
        let (root_key, between_key) = (CaKey::generate().unwrap(), CaKey::generate().unwrap());
        let root = authority_params(&root_key, "Example Root", IsCa::Ca(rcgen::BasicConstraints::Unconstrained));
        let mut between = authority_params(&between_key, "Example Policy CA", pathlen(1));
        between.use_authority_key_identifier_extension = true;
        let root_pem = root.self_signed(&root_key).unwrap().pem();
        let between_pem = between.signed_by(&between_key, &rcgen::Issuer::from_params(&root, &root_key)).unwrap().pem();
        Self { root_key, root, root_pem, between_key, between, between_pem }
    }

    /// What the company's PKI makes of a request, with `change` applied.
    fn answer(&self, key: &PublicKey, change: impl FnOnce(&mut CertificateParams)) -> String {
        let validity = (now() - seconds(60), now() + seconds(86_400 * 90));
        let mut params = profile::issuing(&cluster(), &Particulars { key, serial: [5; 16], validity });
        change(&mut params);
        let issuer = rcgen::Issuer::from_params(&self.between, &self.between_key);
        params.signed_by(key, &issuer).unwrap().pem()
    }
}

fn asked(folder: &Folder) -> PublicKey {
    read_csr(&store::csr(&folder.path(), &KeyPlace::File, &cluster()).unwrap()).unwrap().into_public_key()
}

#[test]
fn another_pki_can_issue_the_issuing_certificate() {
    let folder = Folder::new();
    drop(made(&folder));
    let company = Company::new();
    let key = asked(&folder);
    assert!(store::show(&folder.path(), &KeyPlace::File, now()).unwrap().key_is_pending);
    let answer = company.answer(&key, |_| {});
    let chain = format!("{answer}{}{}", company.between_pem, company.root_pem);
    let shown = store::import(&folder.path(), &KeyPlace::File, &chain, now()).unwrap();
    let names = |facts: &[CertificateFacts]| facts.iter().map(|facts| facts.subject.clone()).collect::<Vec<_>>();
    assert_eq!(names(&shown.between), ["OU=prod, CN=Example Policy CA"]);
    assert_eq!(shown.root.subject, "OU=prod, CN=Example Root");
    assert!(!shown.key_is_pending && shown.root_file_is_current);
    let authority = Authority::open(&folder.path(), &KeyPlace::File).unwrap();
    assert_eq!(authority.root_pem(), company.root_pem);
    let issued = ders(&issue(&authority, some_csr(), now() + seconds(900), now()).chain_pem);
    assert_eq!(issued.len(), 3, "the client has to send what is between, the API server knows only the root");
    parsed(&issued[0]).verify_signature(Some(parsed(&issued[1]).public_key())).unwrap();
    // The key waited for that certificate only.
    assert!(matches!(
        store::import(&folder.path(), &KeyPlace::File, &chain, now()),
        Err(CaError::NothingPending { .. })
    ));
    // And our own root's key, still there, is not the new root's.
    assert!(matches!(
        store::renew(&folder.path(), &KeyPlace::File, &cluster(), None, KeyChange::Kept, 30, now()),
        Err(CaError::KeyMismatch { .. })
    ));
}

#[test]
fn a_request_that_waits_is_asked_again_with_the_same_key() {
    let folder = Folder::new();
    let (one, other) = (asked(&folder), asked(&folder));
    assert_eq!(one.bits, other.bits);
    assert_eq!(mode(&folder.path().join(store::PENDING_KEY)), 0o600);
    let text = store::csr(&folder.path(), &KeyPlace::File, &cluster()).unwrap();
    let der = ::pem::parse(text).unwrap().into_contents();
    let (_, request) = x509_parser::certification_request::X509CertificationRequest::from_der(&der).unwrap();
    let wanted: Vec<_> = request.requested_extensions().unwrap().collect();
    assert!(wanted.iter().any(|extension| matches!(extension,
        ParsedExtension::BasicConstraints(constraints) if constraints.ca && constraints.path_len_constraint == Some(0))));
}

#[test]
fn an_issuing_certificate_with_other_permissions_is_not_imported() {
    let folder = Folder::new();
    drop(made(&folder));
    let before = fs::read(folder.path().join(store::ISSUING)).unwrap();
    let company = Company::new();
    let key = asked(&folder);
    let above = format!("{}{}", company.between_pem, company.root_pem);
    let refused = |what: &str, answer: &str, above: &str| {
        let error = store::import(&folder.path(), &KeyPlace::File, &format!("{answer}{above}"), now()).expect_err(what);
        error.on_one_line()
    };
    let with = |change: fn(&mut CertificateParams)| company.answer(&key, change);
    let mut told = String::new();
    for (what, answer) in [
        ("no pathlen", with(|params| params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained))),
        ("pathlen 1", with(|params| params.is_ca = pathlen(1))),
        ("not an authority", with(|params| params.is_ca = IsCa::ExplicitNoCa)),
        ("no keyCertSign", with(|params| params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature])),
        ("no keyUsage", with(|params| params.key_usages.clear())),
        ("for servers", with(|params| params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth])),
        ("over", with(|params| params.not_after = std::time::SystemTime::from(now() - seconds(1)).into())),
        ("not yet", with(|params| params.not_before = std::time::SystemTime::from(now() + seconds(5)).into())),
        (
            "a critical extension",
            with(|params| {
                let mut extension = rcgen::CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
                extension.set_criticality(true);
                params.custom_extensions.push(extension);
            }),
        ),
        ("another key", company.answer(&CaKey::generate().unwrap().public(), |_| {})),
    ] {
        writeln!(told, "{what}: {}", refused(what, &answer, &above)).unwrap();
    }
    let good = company.answer(&key, |_| {});
    let stranger = Company::new();
    for (what, above) in [
        ("no root", company.between_pem.clone()),
        ("nothing above", String::new()),
        ("root missing between", company.root_pem.clone()),
        ("wrong order", format!("{}{}", company.root_pem, company.between_pem)),
        ("another company's", format!("{}{}", stranger.between_pem, stranger.root_pem)),
        ("another company's root", format!("{}{}", company.between_pem, stranger.root_pem)),
    ] {
        writeln!(told, "{what}: {}", refused(what, &good, &above)).unwrap();
    }
    let deep = {
        let mut between = company.between.clone();
        between.is_ca = pathlen(0);
        let issuer = rcgen::Issuer::from_params(&company.root, &company.root_key);
        between.signed_by(&company.between_key, &issuer).unwrap().pem()
    };
    writeln!(told, "pathlen 0 above: {}", refused("pathlen", &good, &format!("{deep}{}", company.root_pem))).unwrap();
    assert_eq!(fs::read(folder.path().join(store::ISSUING)).unwrap(), before, "nothing was installed");
    golden("import-refusals.txt", &told.replace(&folder.path().display().to_string(), "<folder>"));
    store::import(&folder.path(), &KeyPlace::File, &format!("{good}{above}"), now()).unwrap();
}

/// The encoder knows each attribute once. A name that it would write otherwise never gets that far.
#[test]
fn a_subject_that_cannot_be_encoded_again_is_refused() {
    let dc = |value: &str| {
        vec![0x31, (value.len() + 16) as u8, 0x30, (value.len() + 14) as u8]
            .into_iter()
            .chain([0x06, 0x0a, 0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x19, 0x16, value.len() as u8])
            .chain(value.bytes())
            .collect::<Vec<u8>>()
    };
    let name: Vec<u8> = [dc("corp"), dc("test")].concat();
    let name: Vec<u8> = [vec![0x30, name.len() as u8], name].concat();
    let (_, name) = X509Name::from_der(&name).unwrap();
    assert!(chain::name_of(&name).is_err());
    let one: Vec<u8> = dc("corp");
    let one: Vec<u8> = [vec![0x30, one.len() as u8], one].concat();
    let (_, one) = X509Name::from_der(&one).unwrap();
    assert!(chain::name_of(&one).is_ok());
}

// Requests.

fn certs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("certs")
}

fn updating() -> bool {
    std::env::var_os("UPDATE_GOLDEN").is_some()
}

/// Compares with a file in `certs/`, or writes it.
fn golden(name: &str, found: &str) {
    let path = certs().join(name);
    if updating() {
        fs::write(&path, found).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(found, expected, "{} differs; look at it, then UPDATE_GOLDEN=1", path.display());
}

/// Requests of which only the key is used; everything else in them has no effect.
const TEMPLATE: &[&str] = &[
    "ca-true",
    "challenge-password",
    "cn-bmpstring",
    "cn-control-characters",
    "cn-long",
    "cn-right-to-left",
    "cn-serviceaccount",
    "cn-system-masters",
    "cn-t61string",
    "cn-twice",
    "cn-universalstring",
    "ed25519",
    "eku-any",
    "o-several",
    "o-system-masters",
    "p256",
    "san",
    "uid",
    "unknown-critical-extension",
];

/// Every file in certs/hostile gives the template with its key, or a refusal with a sentence.
#[test]
fn no_request_changes_the_certificate() {
    let folder = Folder::new();
    let authority = made(&folder);
    let mut names: Vec<String> = fs::read_dir(certs().join("hostile"))
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    assert!(names.len() > 60);
    let mut sentences = String::new();
    for name in &names {
        let text = fs::read(certs().join("hostile").join(format!("{name}.pem"))).unwrap();
        match read_csr(&String::from_utf8_lossy(&text)) {
            Ok(csr) => {
                assert!(TEMPLATE.contains(&name.as_str()), "{name} was taken");
                let key = csr.clone().into_public_key();
                let certificate = issue(&authority, csr, now() + seconds(900), now());
                let der = &ders(&certificate.chain_pem)[0];
                assert_eq!(parsed(der).public_key().raw, key.subject_public_key_info(), "{name}");
                golden("user.profile", &user_profile(der, &certificate.serial, &authority));
                writeln!(sentences, "{name}: template").unwrap();
            }
            Err(refusal) => {
                assert!(!TEMPLATE.contains(&name.as_str()), "{name}: {refusal}");
                assert_eq!(refusal.code, Code::BadCsr);
                let hint = if refusal.hint.is_empty() { String::new() } else { format!("; hint: {}", refusal.hint) };
                writeln!(sentences, "{name}: refused: {}{hint}", refusal.why).unwrap();
            }
        }
    }
    assert_eq!(names.iter().filter(|name| TEMPLATE.contains(&name.as_str())).count(), TEMPLATE.len());
    golden("hostile.txt", &sentences);
}

proptest::proptest! {
    /// Whatever is changed in a request: the same key, or a refusal. Nothing panics.
    #[test]
    fn a_changed_request_gives_the_same_key_or_a_refusal(at in 0usize..400, bits in 1u8..=255, cut in proptest::bool::ANY) {
        let good = fs::read_to_string(certs().join("hostile/san.pem")).unwrap();
        let key = read_csr(&good).unwrap().key().clone();
        let mut der = ::pem::parse(&good).unwrap().into_contents();
        let at = at % der.len();
        if cut { der.truncate(at) } else { der[at] ^= bits }
        let text = ::pem::encode(&::pem::Pem::new("CERTIFICATE REQUEST", der));
        if let Ok(csr) = read_csr(&text) {
            proptest::prop_assert_eq!(csr.key(), &key);
        }
    }

    /// Nothing that is sent makes the reader panic.
    #[test]
    fn any_bytes_are_read_or_refused(der in proptest::collection::vec(proptest::num::u8::ANY, 0..600), text in "\\PC{0,300}") {
        let _ = read_csr(&::pem::encode(&::pem::Pem::new("CERTIFICATE REQUEST", der)));
        let _ = read_csr(&text);
    }
}

// Profiles and samples.

const SAMPLE_FIRST: &str = "2026-01-01T00:00:00Z";

/// The golden samples, each with who issued it.
const SAMPLES: [(&str, &str); 6] = [
    ("root", "root"),
    ("issuing", "root"),
    ("user", "issuing"),
    ("user-ed25519", "issuing"),
    ("daemon", "issuing"),
    ("probe", "issuing"),
];

/// A sample's profile with fixed serial and times for a key, which is the only thing new in new samples.
fn sample_template(name: &str, key: &impl PublicKeyData) -> CertificateParams {
    let person: PersonName = "alice".parse().unwrap();
    let grant: GrantId = "0123456789abcdef".parse().unwrap();
    let particulars = |last: u8, lasting: i64| {
        let mut serial = [0x11; 16];
        serial[15] = last;
        Particulars { key, serial, validity: (moment(SAMPLE_FIRST), moment(SAMPLE_FIRST) + seconds(lasting - 1)) }
    };
    match name {
        "root" => profile::root(&cluster(), &particulars(1, 10 * 31_557_600)),
        "issuing" => profile::issuing(&cluster(), &particulars(2, 30 * 86_400)),
        "user" => profile::user(&grant, &person, grant.as_str(), &particulars(3, 900)),
        "user-ed25519" => profile::user(&grant, &person, grant.as_str(), &particulars(4, 900)),
        "daemon" => profile::daemon("bastion.example.com", &particulars(5, 3600)),
        _ => profile::probe("bastion.example.com", &particulars(6, 120)),
    }
}

fn sample_path(name: &str) -> PathBuf {
    certs().join("golden").join(format!("{name}.pem"))
}

fn sample(name: &str) -> Vec<u8> {
    ::pem::parse(fs::read_to_string(sample_path(name)).unwrap()).unwrap().into_contents()
}

/// The public key of a sample, so that no private key has to be kept.
fn sample_key(name: &str) -> PublicKey {
    let der = sample(name);
    let bits = parsed(&der).public_key().subject_public_key.data.to_vec();
    let algorithm = if bits.len() == 32 { &rcgen::PKCS_ED25519 } else { &rcgen::PKCS_ECDSA_P256_SHA256 };
    PublicKey { algorithm, bits }
}

fn write_samples() {
    let (root_key, issuing_key) = (CaKey::generate().unwrap(), CaKey::generate().unwrap());
    let root = sample_template("root", &root_key);
    let issuing = sample_template("issuing", &issuing_key);
    for (name, issuer) in SAMPLES {
        let key = match name {
            "root" => root_key.public(),
            "issuing" => issuing_key.public(),
            "user-ed25519" => {
                let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
                PublicKey { algorithm: &rcgen::PKCS_ED25519, bits: key.public_key_raw().to_vec() }
            }
            _ => CaKey::generate().unwrap().public(),
        };
        let template = sample_template(name, &key);
        let certificate = match issuer {
            "root" => template.signed_by(&key, &rcgen::Issuer::from_params(&root, &root_key)),
            _ => template.signed_by(&key, &rcgen::Issuer::from_params(&issuing, &issuing_key)),
        };
        fs::write(sample_path(name), certificate.unwrap().pem()).unwrap();
    }
}

/// Whether the profile makes the sample's bytes to be signed, from its public key alone.
fn is_made_again(name: &str, issuer: &str) -> bool {
    let (key, issuing) = (sample_key(name), sample_key(issuer));
    let tbs = key::record(&sample_template(name, &key), &key, &sample_template(issuer, &issuing), &issuing).unwrap();
    tbs == parsed(&sample(name)).tbs_certificate.as_ref()
}

/// The profiles make the samples again, byte for byte but for the signature, which is random.
#[test]
fn the_samples_are_reproduced_byte_for_byte() {
    let all = |name: &str, issuer: &str| {
        sample_path(name).exists() && sample_path(issuer).exists() && is_made_again(name, issuer)
    };
    if updating() && !SAMPLES.iter().all(|(name, issuer)| all(name, issuer)) {
        write_samples();
    }
    for (name, issuer) in SAMPLES {
        assert!(is_made_again(name, issuer), "certs/golden/{name}.pem differs; UPDATE_GOLDEN=1 makes new samples");
        parsed(&sample(name)).verify_signature(Some(parsed(&sample(issuer)).public_key())).unwrap();
    }
    Chain::check(&[sample("issuing"), sample("root")]).unwrap();
}

fn user_profile(der: &[u8], serial: &str, authority: &Authority) -> String {
    let grant = GrantId::from_random([7; 10]);
    let text = rendered(der);
    let leaf = parsed(der);
    let key_identifier = key_identifiers(&leaf).0;
    text.replace(serial, "<16 random octets>")
        .replace(
            &hex(&key_identifiers(&parsed(&ders(&authority.chain_pem)[0])).0),
            "<key identifier of the issuing certificate>",
        )
        .replace(&hex(&key_identifier), "<SHA-256 of the key bits, first 20 octets>")
        .replace(grant.as_str(), "<grant>")
        .replace("alice", "<person>")
        .replace("\"prod\"", "\"<cluster>\"")
        .replace("2026-11-23T11:59:30Z", "<now, 30 s back, not before the issuing certificate>")
        .replace("2026-11-23T12:14:59Z", "<last whole second of lifetime, grant and issuing certificate>")
        .replace(&public_key_line(&leaf), "<the key of the request: P-256 or Ed25519>")
}

/// Break-glass changes only the uid of a certificate.
#[test]
fn break_glass_is_marked_in_the_uid_alone() {
    let folder = Folder::new();
    let authority = made(&folder);
    let (until, csr) = (now().checked_add(seconds(900)).unwrap(), some_csr());
    let mut grant = live(csr.key(), until);
    grant.glass = Some(Box::new(BreakGlassRecord {
        reason: "nobody answers".parse().unwrap(),
        broken_at: now(),
        review_until: until,
        digest: String::new(),
        reviews: Vec::new(),
        owed: true,
    }));
    let approved = renewed(&grant, csr.key(), until);
    let certificate = authority.sign(authority.prepare(approved, csr, seconds(900), now()).unwrap()).unwrap();
    let made = user_profile(&ders(&certificate.chain_pem)[0], &certificate.serial, &authority);
    let usual = fs::read_to_string(certs().join("user.profile")).unwrap();
    assert_eq!(made, usual.replace("= \"<grant>\"", "= \"break-glass:<grant>\""));
}

/// `certs/*.profile` are what is made: only the values in angle brackets differ from one to the next.
#[test]
fn certificates_match_the_profiles() {
    let folder = Folder::new();
    let Shown { issuing, root, .. } = store::init(&folder.path(), &KeyPlace::File, &cluster(), 30, 10, now()).unwrap();
    let authority = Authority::open(&folder.path(), &KeyPlace::File).unwrap();
    let root_der = ders(authority.root_pem()).remove(0);
    let issuing_der = ders(&authority.chain_pem).remove(0);
    let credential = authority.daemon_credential("bastion", seconds(3600), now()).unwrap();
    let daemon_der = ders(&credential.chain_pem).remove(0);
    let probe = authority.probe_credential("bastion", seconds(3600), now()).unwrap();
    let probe_der = ders(&probe.chain_pem).remove(0);
    let (root_identifier, issuing_identifier) =
        (key_identifiers(&parsed(&root_der)).0, key_identifiers(&parsed(&issuing_der)).0);
    for (name, der, facts) in [
        ("root", &root_der, Some(&root)),
        ("issuing", &issuing_der, Some(&issuing)),
        ("daemon", &daemon_der, None),
        ("probe", &probe_der, None),
    ] {
        let certificate = parsed(der);
        let last = facts.map_or(credential.not_after, |facts| facts.not_after);
        let first = moment(
            &certificate
                .validity()
                .not_before
                .timestamp()
                .to_string()
                .parse::<i64>()
                .map(whole_second)
                .unwrap()
                .to_string(),
        );
        let own = hex(&key_identifiers(&certificate).0);
        let mut text = rendered(der)
            .replace(
                &format!("jitd root {}", hex(&root_identifier[..4])),
                "jitd root <first 4 octets of its key identifier>",
            )
            .replace(&hex(certificate.raw_serial()), "<16 random octets>")
            .replace(&own, "<SHA-256 of the key bits, first 20 octets>")
            .replace(&hex(&issuing_identifier), "<key identifier of the issuing certificate>")
            .replace(&hex(&root_identifier), "<key identifier of the root>")
            .replace("\"prod\"", "\"<cluster>\"")
            .replace("bastion", "<host>")
            .replace(&public_key_line(&certificate), "<a fresh P-256 key>");
        let (begin, end) = match name {
            "root" => ("<now, 60 s back>", "<last whole second of the root's years>"),
            "issuing" => {
                ("<now, 60 s back, not before the root>", "<last whole second of the issuing days and of the root>")
            }
            _ => (
                "<now, 30 s back, not before the issuing certificate>",
                "<last whole second of lifetime and issuing certificate>",
            ),
        };
        text = text.replace(&first.to_string(), begin).replace(&last.to_string(), end);
        golden(&format!("{name}.profile"), &text);
    }
}

fn key_identifiers(certificate: &X509Certificate<'_>) -> (Vec<u8>, Option<Vec<u8>>) {
    let mut own = Vec::new();
    let mut issuers = None;
    for extension in certificate.extensions() {
        match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(identifier) => own = identifier.0.to_vec(),
            ParsedExtension::AuthorityKeyIdentifier(identifier) => {
                issuers = identifier.key_identifier.as_ref().map(|identifier| identifier.0.to_vec());
            }
            _ => {}
        }
    }
    (own, issuers)
}

fn public_key_line(certificate: &X509Certificate<'_>) -> String {
    hex(certificate.public_key().raw)
}

fn name_lines(label: &str, name: &X509Name<'_>) -> String {
    let mut text = format!("{label}:\n");
    for step in name.iter() {
        let values: Vec<String> = step
            .iter()
            .map(|attribute| {
                let oid = attribute.attr_type().to_id_string();
                let known = match oid.as_str() {
                    "2.5.4.3" => "CN",
                    "2.5.4.10" => "O",
                    "2.5.4.11" => "OU",
                    "1.3.6.1.4.1.57683.2" => "UID of Kubernetes (1.3.6.1.4.1.57683.2)",
                    other => other,
                };
                let value = attribute.attr_value();
                format!("{known} = {:?} ({})", String::from_utf8_lossy(value.data), value.tag())
            })
            .collect();
        writeln!(text, "    {}", values.join(" + ")).unwrap();
    }
    text
}

/// Everything of a certificate but its signature, as text.
fn rendered(der: &[u8]) -> String {
    let certificate = parsed(der);
    let time = |seconds: i64| whole_second(seconds).to_string();
    let mut text =
        format!("Version: {}\nSerial Number: {}\n", certificate.version().0 + 1, hex(certificate.raw_serial()));
    let algorithm = |oid: &x509_parser::oid_registry::Oid<'_>| match oid.to_id_string().as_str() {
        "1.2.840.10045.4.3.2" => "ecdsa-with-SHA256".to_owned(),
        other => other.to_owned(),
    };
    writeln!(text, "Signature Algorithm: {}", algorithm(&certificate.signature_algorithm.algorithm)).unwrap();
    text.push_str(&name_lines("Issuer", certificate.issuer()));
    writeln!(text, "Validity:\n    Not Before: {}", time(certificate.validity().not_before.timestamp())).unwrap();
    writeln!(text, "    Not After:  {} (included)", time(certificate.validity().not_after.timestamp())).unwrap();
    text.push_str(&name_lines("Subject", certificate.subject()));
    writeln!(text, "Subject Public Key Info:\n    {}\nExtensions:", public_key_line(&certificate)).unwrap();
    let mut lines: Vec<String> = certificate
        .extensions()
        .iter()
        .map(|extension| {
            let critical = if extension.critical { " (critical)" } else { "" };
            let (name, value) = match extension.parsed_extension() {
                ParsedExtension::AuthorityKeyIdentifier(identifier) => {
                    assert!(identifier.authority_cert_issuer.is_none() && identifier.authority_cert_serial.is_none());
                    ("Authority Key Identifier", hex(identifier.key_identifier.as_ref().unwrap().0))
                }
                ParsedExtension::SubjectKeyIdentifier(identifier) => ("Subject Key Identifier", hex(identifier.0)),
                ParsedExtension::BasicConstraints(constraints) => (
                    "Basic Constraints",
                    match constraints.path_len_constraint {
                        Some(length) => format!("CA:{}, pathlen:{length}", constraints.ca)
                            .to_uppercase()
                            .replace("PATHLEN", "pathlen"),
                        None => format!("CA:{}", constraints.ca).to_uppercase(),
                    },
                ),
                ParsedExtension::KeyUsage(usage) => ("Key Usage", usage.to_string()),
                ParsedExtension::ExtendedKeyUsage(usage) => {
                    let only_clients = x509_parser::extensions::ExtendedKeyUsage {
                        any: false,
                        server_auth: false,
                        client_auth: true,
                        code_signing: false,
                        email_protection: false,
                        time_stamping: false,
                        ocsp_signing: false,
                        other: Vec::new(),
                    };
                    assert_eq!(*usage, only_clients);
                    ("Extended Key Usage", "TLS Web Client Authentication".to_owned())
                }
                other => panic!("an extension that no profile has: {other:?}"),
            };
            format!("    {name}{critical}:\n        {value}\n")
        })
        .collect();
    lines.sort();
    text.push_str(&lines.concat());
    text
}
