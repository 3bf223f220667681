//! step-ca, the certificate authority that signing is compared with: its own program, its default
//! database, a JWK provisioner, and tokens that are made beforehand.
//!
//! ```text
//!  go install ─► ca.json, root, issuing certificate, provisioner key ─► step-ca ─► POST /1.0/sign { csr, ott }
//! ```
//! A token is good for one certificate, so each request is different; they are made before the clock runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use rcgen::{CertificateParams, DnType, KeyPair};
use serde_json::{Value, json};

use crate::Failure;
use crate::authority::Authority;
use crate::daemon::private_folder;
use crate::http::{Target, request};
use crate::plane::tls;
use crate::process::{Running, run};

const MODULE: &str = "github.com/smallstep/certificates/cmd/step-ca";
const VERSION: &str = "v0.30.2";

/// How long a start may take.
const START_WITHIN: Duration = Duration::from_secs(30);

pub(crate) struct StepCa {
    pub(crate) running: Running,
    pub(crate) target: Target,
    audience: String,
    provisioner: EcdsaKeyPair,
    csr: String,
    issued: u64,
}

impl StepCa {
    /// Installs it if need be, and starts it with its state in `folder`.
    pub(crate) async fn start(folder: &Path) -> Result<Self, Failure> {
        let program = install()?;
        private_folder(folder)?;
        // Free a moment ago; a server that does not get it says so and the run ends.
        let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let authority = Authority::write(folder)?;
        fs::write(folder.join("issuing.key"), authority.key_pem())?;
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
        let point = key.public_key().as_ref();
        let jwk = json!({
            "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "bench",
            "x": base64url(&point[1..33]), "y": base64url(&point[33..65]),
        });
        let config = json!({
            "root": folder.join("root.crt"), "crt": folder.join("issuing.crt"), "key": folder.join("issuing.key"),
            "address": address.to_string(), "dnsNames": ["127.0.0.1"],
            "logger": { "format": "text" },
            // What `step ca init` writes.
            "db": { "type": "badgerv2", "dataSource": folder.join("db") },
            "authority": { "provisioners": [{ "type": "JWK", "name": "bench", "key": jwk, "encryptedKey": "" }] },
            "tls": { "minVersion": 1.2, "maxVersion": 1.3, "renegotiation": false },
        });
        fs::write(folder.join("ca.json"), config.to_string())?;
        let log = folder.join("step-ca.log");
        let mut running = Running::start("step-ca", Command::new(program).arg(folder.join("ca.json")), &log)?;
        let config = Arc::new(tls(&folder.join("root.crt"))?.with_no_client_auth());
        let target = Target::Tls { address, config };
        let begun = Instant::now();
        loop {
            let explained = |error: Failure| format!("{error}\n{}", fs::read_to_string(&log).unwrap_or_default());
            running.ended().map_err(explained)?;
            if let Ok(mut connection) = target.connect().await
                && connection.exchange(&request("GET", "/health", None)).await.is_ok()
            {
                break;
            }
            if begun.elapsed() > START_WITHIN {
                return Err(explained("step-ca is not ready".into()).into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let mut params = CertificateParams::new(vec!["alice".to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, "alice");
        let csr = params.serialize_request(&KeyPair::generate()?)?.pem()?;
        let audience = format!("https://{address}/1.0/sign");
        Ok(Self { running, target, audience, provisioner: key, csr, issued: 0 })
    }

    /// The bytes of one request for a certificate, with a token of its own.
    pub(crate) fn sign(&mut self) -> Result<Vec<u8>, Failure> {
        self.issued += 1;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let claims = json!({
            "iss": "bench", "aud": self.audience, "sub": "alice", "sans": ["alice"],
            "iat": now, "nbf": now - 10, "exp": now + 3600, "jti": format!("bench-{}", self.issued),
        });
        let head = json!({ "alg": "ES256", "kid": "bench", "typ": "JWT" });
        let text = |value: &Value| base64url(value.to_string().as_bytes());
        let signed = format!("{}.{}", text(&head), text(&claims));
        let signature = self.provisioner.sign(&SystemRandom::new(), signed.as_bytes())?;
        let token = format!("{signed}.{}", base64url(signature.as_ref()));
        Ok(request("POST", "/1.0/sign", Some(&json!({ "csr": self.csr, "ott": token }))))
    }
}

/// The program, from its Go module into the cache that the control plane also uses.
fn install() -> Result<PathBuf, Failure> {
    let cache = match (std::env::var_os("JITD_TEST_CACHE"), std::env::var_os("XDG_CACHE_HOME")) {
        (Some(own), _) => PathBuf::from(own),
        (None, Some(cache)) => PathBuf::from(cache).join("jitd-test"),
        (None, None) => PathBuf::from(std::env::var_os("HOME").ok_or("no HOME")?).join(".cache/jitd-test"),
    };
    let folder = cache.join(format!("step-ca-{VERSION}"));
    let program = folder.join("step-ca");
    if !program.exists() {
        eprintln!("bench: building step-ca {VERSION}, once");
        let module = format!("{MODULE}@{VERSION}");
        // Outside of any module; neither a C compiler nor a go.work around here is part of the answer.
        let environment = [("CGO_ENABLED", "0"), ("GOWORK", "off")];
        run(Command::new("go").args(["install", &module]).envs(environment).env("GOBIN", &folder).current_dir("/"))?;
    }
    Ok(program)
}

/// RFC 4648 section 5, without padding, as RFC 7515 wants it.
fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::with_capacity(bytes.len() * 4 / 3 + 3);
    for group in bytes.chunks(3) {
        let bits = group.iter().enumerate().fold(0, |bits, (place, byte)| bits | u32::from(*byte) << (16 - 8 * place));
        for place in 0..=group.len() {
            text.push(char::from(ALPHABET[(bits >> (18 - 6 * place)) as usize & 63]));
        }
    }
    text
}
