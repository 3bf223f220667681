//! The places of the issuing key: a real SoftHSM token, real sealing by `systemd-creds`, the real memory of the daemon.
//!
//! `jitd ca seal` writes to a copy of `/etc`, in a mount namespace of the test. In place of systemd, the test decrypts the
//! credential and puts it into `$CREDENTIALS_DIRECTORY`, with the same tool and the same modes; `tests/machine` tests the
//! rest.

use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::object::{Attribute, AttributeType, ObjectClass};
use cryptoki::session::UserType;
use serde_json::{Value, json};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::bastion::{ALICE, BOB, Bastion, Key, Options, path, text};
use crate::plane::{Admin, Plane, root, scratch, until_within};

const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
const PIN: &str = "correct-horse-7401";

/// The daemon looks for a new authority every ten seconds.
const TAKEN_UP: Duration = Duration::from_secs(25);

/// SoftHSM with a token `jit`, and a bastion whose configuration has its key there.
struct Token {
    bastion: Bastion<'static>,
    dir: PathBuf,
}

impl Token {
    fn new() -> Self {
        let dir = scratch("token");
        std::fs::create_dir(dir.join("tokens")).unwrap();
        let settings = "objectstore.backend = file\nlog.level = ERROR\nslots.removable = true\n";
        std::fs::write(
            dir.join("conf"),
            format!("directories.tokendir = {}\n{settings}", dir.join("tokens").display()),
        )
        .unwrap();
        let bastion = Bastion::prepared(Plane::shared(), Options::default());
        let token = Self { bastion, dir };
        token.softhsm(&["--init-token", "--free", "--label", "jit", "--pin", PIN, "--so-pin", "12345678"]);
        token.write_pin(PIN);
        let pin = token.dir.join("pin");
        let key =
            format!("key: {{pkcs11: {{module: {MODULE}, token: jit, object: issuing, pinFile: {}}}}}", pin.display());
        token.bastion.rewrite_config("{name: play, ", &format!("{{name: play, {key}, "));
        std::fs::remove_dir_all(token.folder()).unwrap();
        token
    }

    fn folder(&self) -> PathBuf {
        self.bastion.dir.join("var/ca/play")
    }

    fn write_pin(&self, pin: &str) {
        let path = self.dir.join("pin");
        std::fs::write(&path, format!("{pin}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn softhsm(&self, arguments: &[&str]) {
        let mut tool = Command::new("softhsm2-util");
        let done = tool.args(arguments).env("SOFTHSM2_CONF", self.dir.join("conf")).output().unwrap();
        assert!(done.status.success(), "{} {}", text(&done.stdout), text(&done.stderr));
    }

    fn program(&self) -> Command {
        let mut program = Command::new(root().join("bin/jitd"));
        program.env("SOFTHSM2_CONF", self.dir.join("conf"));
        program
    }

    fn jitd(&self, arguments: &[&str]) -> Output {
        let mut program = self.program();
        program.arg("--config").arg(self.bastion.dir.join("config.yaml")).args(arguments).output().unwrap()
    }

    fn done(&self, arguments: &[&str]) -> Output {
        done(arguments, self.jitd(arguments))
    }

    fn refusal(&self, arguments: &[&str]) -> String {
        refusal(arguments, &self.jitd(arguments))
    }

    /// Creates a key with openssl and imports it into the token.
    fn import(&self, label: &str, id: &str, kind: &[&str]) {
        let file = self.dir.join(format!("{label}-{id}.pem"));
        let made = Command::new("openssl").arg("genpkey").args(kind).arg("-out").arg(&file).output().unwrap();
        assert!(made.status.success(), "{}", text(&made.stderr));
        let file = file.to_str().unwrap();
        self.softhsm(&["--import", file, "--token", "jit", "--label", label, "--id", id, "--pin", PIN]);
    }
}

fn done(arguments: &[&str], output: Output) -> Output {
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    output
}

/// The message of a command that fails.
fn refusal(arguments: &[&str], output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", text(&output.stdout));
    text(&output.stderr)
}

const P256: &[&str] = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];

/// The public key of the issuing certificate, and the certificate.
fn issuing(chain: &Path) -> (Vec<u8>, Vec<u8>) {
    let blocks = pem::parse_many(std::fs::read_to_string(chain).unwrap()).unwrap();
    let (_, certificate) = X509Certificate::from_der(blocks[0].contents()).unwrap();
    (certificate.public_key().raw.to_vec(), blocks[0].contents().to_vec())
}

/// Waits until the daemon signs with this issuing certificate, and such a certificate works.
fn taken_up(bastion: &Bastion<'_>, grant: &Value, key: &Key, issuing: &[u8]) {
    let chain = until_within(TAKEN_UP, "the daemon takes up the new certificate", || {
        let (status, renewed) = bastion.certificate(ALICE, grant, key);
        assert_eq!(status, 200, "{renewed}");
        let chain = renewed["certificate"].as_str().unwrap().to_owned();
        (pem::parse_many(&chain).unwrap()[1].contents() == issuing).then_some(chain)
    });
    let client = Admin::with_certificate(bastion.plane, &chain, &key.pem());
    assert_eq!(client.get(&format!("/api/v1/namespaces/{}/configmaps", bastion.ns)).0, 200);
}

/// The key is created in the token and stays there; the API server accepts what it signed. A renewal keeps the key, and the
/// daemon uses the new certificate without a restart. Without the token nothing is signed, but access still ends; once the
/// token is back, signing works again.
#[test]
fn a_token_signs_while_it_is_present() {
    let mut token = Token::new();
    token.done(&["init"]);
    let chain = token.folder().join("issuing.crt");
    assert!(!token.folder().join("issuing.pem").exists());
    assert!(!std::fs::read_to_string(&chain).unwrap().contains("PRIVATE"));
    token.bastion.plane.trust(&token.folder().join("root.crt"));
    let program = token.program();
    token.bastion.serve_as(program);
    let access = token.bastion.live(&token.bastion.ask("5m"));
    assert_eq!(token.bastion.look(&access, &token.bastion.ns), 200);

    let before = issuing(&chain);
    assert!(text(&token.done(&["ca", "show", "play"]).stdout).contains("jitd issuing"));
    token.done(&["ca", "renew", "play", "--issuing-days", "7"]);
    let after = issuing(&chain);
    assert_eq!(after.0, before.0, "the same key");
    assert_ne!(after.1, before.1, "another certificate");
    taken_up(&token.bastion, &access.grant, &access.key, &after.1);
    assert!(token.refusal(&["ca", "renew", "play", "--new-key"]).contains("does not replace the key"));

    let away = token.dir.join("away");
    std::fs::rename(token.dir.join("tokens"), &away).unwrap();
    let key = Key::new();
    let grant = token.bastion.request(ALICE, &token.bastion.ask("1m"), &key);
    assert_eq!(token.bastion.approve(BOB, &grant).0, 200);
    let (status, refused) = token.bastion.certificate(ALICE, &grant, &key);
    assert!(status >= 500, "{status} {refused}");
    let (status, ended) = token.bastion.post(ALICE, &path(&access.grant, "/end"), &Value::Null);
    assert_eq!((status, &ended["phase"]), (200, &json!("ended")));
    assert_eq!(token.bastion.look(&access, &token.bastion.ns), 403);

    std::fs::rename(&away, token.dir.join("tokens")).unwrap();
    assert_eq!(token.bastion.live(&token.bastion.ask("1m")).client.get("/api").0, 200, "{}", token.bastion.log());
}

/// The attributes that the token reports for the key that was generated in it.
#[test]
fn a_key_generated_in_a_token_cannot_be_extracted() {
    let token = Token::new();
    token.done(&["init"]);
    // The module reads its settings from the environment, so this is a process of its own.
    let mut again = Command::new(std::env::current_exe().unwrap());
    let again = again.args(["--exact", "keys::attributes_of_the_key", "--ignored", "--nocapture"]);
    let said = again.env("SOFTHSM2_CONF", token.dir.join("conf")).output().unwrap();
    assert!(said.status.success(), "{} {}", text(&said.stdout), text(&said.stderr));
    assert!(text(&said.stdout).contains("1 passed"), "{}", text(&said.stdout));
}

#[test]
#[ignore = "started by the test before it, with the token's settings"]
fn attributes_of_the_key() {
    let module = Pkcs11::new(MODULE).unwrap();
    module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
    let slot = module.get_slots_with_initialized_token().unwrap()[0];
    let session = module.open_ro_session(slot).unwrap();
    session.login(UserType::User, Some(&PIN.into())).unwrap();
    let keys = session.find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY)]).unwrap();
    let wanted = [AttributeType::Sensitive, AttributeType::Extractable, AttributeType::NeverExtractable];
    assert_eq!(keys.len(), 1);
    assert_eq!(
        session.get_attributes(keys[0], &wanted).unwrap(),
        [Attribute::Sensitive(true), Attribute::Extractable(false), Attribute::NeverExtractable(true)]
    );
}

/// A wrong PIN is reported as such; a command tries it once, the daemon never while the token has counted a wrong one.
#[test]
fn a_wrong_pin_is_not_tried_again() {
    let token = Token::new();
    token.done(&["init"]);
    token.write_pin("wrong-pin");
    let refused = token.refusal(&["ca", "show", "play"]);
    assert!(refused.contains("the token `jit` refused the PIN in `"), "{refused}");
    assert!(refused.contains("hint: correct the PIN"), "{refused}");
    for pin in ["wrong-pin", PIN] {
        token.write_pin(pin);
        let refused = token.refusal(&["serve"]);
        assert!(refused.contains("counts a wrong PIN, so none is tried automatically"), "{refused}");
    }
    token.done(&["ca", "show", "play"]);
    std::fs::set_permissions(token.dir.join("pin"), std::fs::Permissions::from_mode(0o640)).unwrap();
    let refused = token.refusal(&["ca", "show", "play"]);
    assert!(refused.contains("hint: chmod 600 '"), "{refused}");
}

/// Every other fault of a token and its objects, each with its message.
#[test]
fn only_one_key_of_the_right_kind_is_accepted() {
    let token = Token::new();
    let mut last = "object: issuing".to_owned();
    let mut refusal = |label: &str| {
        let next = format!("object: {label}");
        token.bastion.rewrite_config(&last, &next);
        last = next;
        token.refusal(&["ca", "csr", "play"])
    };
    token.import("rsa", "01", &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]);
    token.import("large", "02", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"]);
    token.import("twice", "03", P256);
    token.import("twice", "04", P256);
    let rsa = refusal("rsa");
    assert!(rsa.contains("the key `rsa` of the token `jit` is not on an elliptic curve"), "{rsa}");
    let large = refusal("large");
    assert!(large.contains("the key `large` of the token `jit` is not on the curve P-256"), "{large}");
    let twice = refusal("twice");
    assert!(twice.contains("the token `jit` has 2 private keys labelled `twice`"), "{twice}");

    token.import("ours", "05", P256);
    token.bastion.rewrite_config("object: twice", "object: ours");
    let request = text(&token.done(&["ca", "csr", "play"]).stdout);
    assert!(request.starts_with("-----BEGIN CERTIFICATE REQUEST-----"), "{request}");

    token.bastion.rewrite_config("token: jit,", "token: other,");
    let missing = token.refusal(&["ca", "csr", "play"]);
    assert!(missing.contains("has a token `other`") && missing.contains("`jit`"), "{missing}");
    token.bastion.rewrite_config("token: other,", "token: jit,");
    token.softhsm(&["--init-token", "--free", "--label", "jit", "--pin", PIN, "--so-pin", "12345678"]);
    let doubled = token.refusal(&["ca", "csr", "play"]);
    assert!(doubled.contains("2 tokens have the label `jit`"), "{doubled}");
    let module = token.dir.join("module.so");
    std::fs::write(&module, "no library").unwrap();
    token.bastion.rewrite_config(MODULE, module.to_str().unwrap());
    let no_library = token.refusal(&["ca", "csr", "play"]);
    assert!(no_library.contains("the PKCS#11 module `"), "{no_library}");
    std::fs::set_permissions(&module, std::fs::Permissions::from_mode(0o777)).unwrap();
    let writable = token.refusal(&["ca", "csr", "play"]);
    assert!(writable.contains("hint: chmod go-w '"), "{writable}");
}

/// A bastion with a copy of `/etc` that only its own commands see.
struct Vault {
    bastion: Bastion<'static>,
    dir: PathBuf,
}

impl Vault {
    fn new() -> Self {
        let dir = scratch("vault");
        std::fs::create_dir(dir.join("systemd")).unwrap();
        assert!(Command::new("cp").args(["-a", "/etc"]).arg(dir.join("etc")).status().unwrap().success());
        Self { bastion: Bastion::prepared(Plane::shared(), Options::default()), dir }
    }

    fn inside(&self, program: &Path, arguments: &[&str]) -> Output {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "bash", "-euc"]);
        command.arg("mount --bind \"$0/etc\" /etc; mount --bind \"$0/systemd\" /var/lib/systemd; exec \"$@\"");
        command.arg(&self.dir).arg(program).args(arguments);
        command.env_remove("CREDENTIALS_DIRECTORY").output().unwrap()
    }

    fn jitd(&self, arguments: &[&str]) -> Output {
        let config = self.bastion.dir.join("config.yaml");
        let arguments = [&["--config", config.to_str().unwrap()], arguments].concat();
        self.inside(&root().join("bin/jitd"), &arguments)
    }

    fn done(&self, arguments: &[&str]) -> Output {
        done(arguments, self.jitd(arguments))
    }

    fn refusal(&self, arguments: &[&str]) -> String {
        refusal(arguments, &self.jitd(arguments))
    }

    fn folder(&self) -> PathBuf {
        self.bastion.dir.join("var/ca/play")
    }

    fn credential(&self) -> PathBuf {
        self.dir.join("etc/credstore.encrypted/jitd-ca-play")
    }

    fn opened(&self) -> String {
        let name = "/etc/credstore.encrypted/jitd-ca-play";
        let opened = self.inside(Path::new("/usr/bin/systemd-creds"), &["decrypt", "--newline=no", name, "-"]);
        assert!(opened.status.success(), "{}", text(&opened.stderr));
        text(&opened.stdout)
    }

    /// A daemon that gets the credential as systemd 252 passes it on a file system without access lists.
    fn serving(&self) -> Command {
        let folder = scratch("credentials");
        let file = folder.join("jitd-ca-play");
        std::fs::write(&file, self.opened()).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o400)).unwrap();
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o500)).unwrap();
        let mut program = Command::new(root().join("bin/jitd"));
        program.env("CREDENTIALS_DIRECTORY", folder);
        program
    }
}

/// The plain key is removed last, after the configuration names the sealed one and that one was read; each step can be repeated.
#[test]
fn a_key_moves_into_a_credential_and_works_from_there() {
    let mut vault = Vault::new();
    let plain = vault.folder().join("issuing.pem");
    let chain = vault.folder().join("issuing.crt");
    let key = std::fs::read_to_string(&plain).unwrap();
    let key = &key[..=key.find("-----END PRIVATE KEY-----\n").unwrap() + "-----END PRIVATE KEY-----".len()];
    for _ in ["the first time", "after a crash"] {
        let said = vault.done(&["ca", "seal", "play"]);
        assert_eq!(text(&said.stdout), "key: {credential: jitd-ca-play}\n");
        assert_eq!(vault.opened(), key);
        let sealed = std::fs::read_to_string(vault.credential()).unwrap();
        assert!(!sealed.contains("PRIVATE"), "{sealed}");
        assert_eq!(std::fs::metadata(vault.credential()).unwrap().permissions().mode() & 0o7777, 0o600);
        let drop_in =
            std::fs::read_to_string(vault.dir.join("etc/systemd/system/jitd.service.d/ca-play.conf")).unwrap();
        let loaded = "[Service]\nLoadCredentialEncrypted=jitd-ca-play:/etc/credstore.encrypted/jitd-ca-play\n";
        assert!(drop_in.ends_with(loaded), "{drop_in}");
        assert!(!std::fs::read_to_string(&chain).unwrap().contains("PRIVATE"));
        assert!(plain.exists(), "the configuration does not name the credential yet");
        std::fs::remove_file(&chain).unwrap();
    }
    vault.done(&["ca", "seal", "play"]);
    vault.bastion.rewrite_config("{name: play, ", "{name: play, key: {credential: jitd-ca-play}, ");
    let shown = text(&vault.done(&["ca", "show", "play"]).stderr);
    assert!(shown.contains("a plain issuing key is on this host too"), "{shown}");
    assert!(text(&vault.done(&["ca", "seal", "play"]).stderr).contains("the plain key was removed"));
    assert!(!plain.exists());
    assert!(text(&vault.done(&["ca", "seal", "play"]).stderr).contains("nothing remains to be done"));

    let program = vault.serving();
    vault.bastion.serve_as(program);
    let access = vault.bastion.live(&vault.bastion.ask("5m"));
    assert_eq!(vault.bastion.look(&access, &vault.bastion.ns), 200);
    let before = issuing(&chain);
    vault.done(&["ca", "renew", "play", "--issuing-days", "7"]);
    let after = issuing(&chain);
    assert_eq!(after.0, before.0, "the same key");
    taken_up(&vault.bastion, &access.grant, &access.key, &after.1);

    vault.done(&["ca", "renew", "play", "--new-key"]);
    assert_ne!(issuing(&chain).0, before.0);
    assert_ne!(vault.opened(), key);
    assert!(vault.bastion.terminate());
    let program = vault.serving();
    vault.bastion.serve_as(program);
    assert_eq!(vault.bastion.live(&vault.bastion.ask("1m")).client.get("/api").0, 200);
}

/// The daemon gets its credential from systemd only, and refuses a damaged one and one of another authority.
#[test]
fn a_credential_that_does_not_fit_is_refused() {
    let vault = Vault::new();
    vault.done(&["ca", "seal", "play"]);
    let sealed = std::fs::read(vault.credential()).unwrap();
    // Another key in the file, as after a renewal: neither is removed.
    vault.done(&["ca", "renew", "play"]);
    let refused = vault.refusal(&["ca", "seal", "play"]);
    assert!(refused.contains("does not contain the key of"), "{refused}");
    assert_eq!(std::fs::read(vault.credential()).unwrap(), sealed);

    vault.bastion.rewrite_config("{name: play, ", "{name: play, key: {credential: jitd-ca-play}, ");
    let refused = vault.refusal(&["ca", "seal", "play"]);
    assert!(refused.contains("does not contain the key of"), "{refused}");
    assert!(vault.folder().join("issuing.pem").exists());
    let mut program = Command::new(root().join("bin/jitd"));
    let program = program.env("CREDENTIALS_DIRECTORY", scratch("empty"));
    let served = program.arg("--config").arg(vault.bastion.dir.join("config.yaml")).arg("serve").output().unwrap();
    assert_eq!(served.status.code(), Some(1));
    assert!(text(&served.stderr).contains("systemd did not pass the credential `jitd-ca-play` to this service"));

    std::fs::write(vault.credential(), &sealed[..sealed.len() / 2]).unwrap();
    let refused = vault.refusal(&["ca", "show", "play"]);
    assert!(refused.contains("`systemd-creds decrypt` failed for the credential `jitd-ca-play`"), "{refused}");
    std::fs::remove_file(vault.credential()).unwrap();
    let refused = vault.refusal(&["ca", "show", "play"]);
    assert!(refused.contains("neither `/etc/credstore.encrypted/jitd-ca-play` nor"), "{refused}");
}

/// A new authority can have its key in a credential from the start: no plain key is ever on the disk.
#[test]
fn an_authority_begins_with_a_sealed_key() {
    let mut vault = Vault::new();
    std::fs::remove_dir_all(vault.folder()).unwrap();
    vault.bastion.rewrite_config("{name: play, ", "{name: play, key: {credential: jitd-ca-play}, ");
    vault.done(&["init"]);
    assert!(!vault.folder().join("issuing.pem").exists());
    vault.bastion.plane.trust(&vault.folder().join("root.crt"));
    let program = vault.serving();
    vault.bastion.serve_as(program);
    assert_eq!(vault.bastion.live(&vault.bastion.ask("1m")).client.get("/api").0, 200);
}

/// For a key in a file, the daemon's memory contains the number that it signs with, and no part of the file's text.
#[test]
fn the_text_of_a_key_does_not_stay_in_memory() {
    let bastion = Bastion::start();
    drop(bastion.live(&bastion.ask("1m")));
    let file = std::fs::read_to_string(bastion.dir.join("var/ca/play/issuing.pem")).unwrap();
    let (encoded, chain) = file.split_once("-----END PRIVATE KEY-----").unwrap();
    let encoded: String = encoded.lines().skip(1).collect();
    let der = STANDARD.decode(&encoded).unwrap();
    // ECPrivateKey (RFC 5915): version 1, then the number as an OCTET STRING.
    let begin = der.windows(5).position(|window| window == [2, 1, 1, 4, 32]).unwrap() + 5;
    let number = der[begin..begin + 32].to_vec();
    let reversed: Vec<u8> = number.iter().rev().copied().collect();

    let memory = memory(bastion.pid());
    let times = |what: &[u8]| memory.iter().map(|part| part.windows(what.len()).filter(|at| *at == what).count()).sum();
    // The chain is in memory as text, so the search works.
    let certificate: usize = times(chain.lines().nth(2).unwrap().as_bytes());
    assert!(certificate > 0);
    // The middle of the text, which contains the number.
    let (text, line): (usize, usize) = (times(&encoded.as_bytes()[44..88]), times(&encoded.as_bytes()[64..108]));
    assert_eq!((text, line), (0, 0), "the key's text");
    assert_eq!(times(&der[..begin + 32]), 0_usize, "the key as it is encoded");
    let (forwards, backwards): (usize, usize) = (times(&number), times(&reversed));
    assert!(forwards + backwards > 0, "a key that signs is in memory");
}

/// The writable memory of a process, read as root.
fn memory(pid: u32) -> Vec<Vec<u8>> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let memory = std::fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    let read = |line: &str| {
        let (range, rest) = line.split_once(' ')?;
        let (first, last) = range.split_once('-')?;
        let (first, last) = (u64::from_str_radix(first, 16).ok()?, u64::from_str_radix(last, 16).ok()?);
        let mut part = vec![0; usize::try_from(last - first).unwrap()];
        (rest.starts_with("rw") && memory.read_exact_at(&mut part, first).is_ok()).then_some(part)
    };
    maps.lines().filter_map(read).collect()
}
