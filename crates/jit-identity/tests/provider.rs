//! A certified OpenID provider (`tests/clients/issuer`): its tokens, by code and by device code, its new keys, its
//! absence, and a clock that differs.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test may fail loudly, and the provider reads the real clock"
)]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use jit_identity::{Fetcher, Person, Refusal, Source};
use rustls::pki_types::CertificateDer;
use serde_json::Value;

struct Provider {
    run: PathBuf,
    folder: PathBuf,
    certificate: CertificateDer<'static>,
    issuer: String,
    process: Child,
}

impl Provider {
    fn start() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let built = Command::new(root.join("tests/clients/build.sh")).arg("issuer").output().unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        let run = Path::new(String::from_utf8(built.stdout).unwrap().trim()).join("run");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("provider-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        std::fs::write(folder.join("certificate.pem"), made.cert.pem()).unwrap();
        let (process, issuer) = serve(&run, &folder, "0");
        Self { run, folder, certificate: made.cert.der().clone(), issuer, process }
    }

    fn stop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// At the same address, with new keys.
    fn start_again(&mut self) {
        let port = self.issuer.rsplit(':').next().unwrap().to_owned();
        let (process, issuer) = serve(&self.run, &self.folder, &port);
        assert_eq!(issuer, self.issuer);
        self.process = process;
    }

    fn run(&self, words: &[&str], environment: &[(&str, &str)]) -> String {
        let output = Command::new(&self.run)
            .arg(words[0])
            .arg(&self.issuer)
            .args(&words[1..])
            .env("NODE_EXTRA_CA_CERTS", self.folder.join("certificate.pem"))
            .envs(environment.iter().copied())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// A token that somebody gets by logging in.
    fn login(&self, words: &[&str], environment: &[(&str, &str)], token: &str) -> String {
        let answer: Value = serde_json::from_str(&self.run(words, environment)).unwrap();
        answer[token].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    fn source(&self, more: &str) -> Source {
        let rule = format!(
            "name: corp\nissuer: {}\ndisplayName: {{claim: /preferred_username}}\n\
             groups: {{claim: /groups, map: {{payments-oncall: oncall, payments-leads: leads}}}}\n{more}",
            self.issuer
        );
        let fetcher = Fetcher::new(vec![self.certificate.clone()]);
        Source::new(serde_saphyr::from_str(&rule).unwrap(), Arc::new(fetcher))
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn serve(run: &Path, folder: &Path, port: &str) -> (Child, String) {
    let mut process = Command::new(run)
        .arg("serve")
        .args([folder.join("key.pem"), folder.join("certificate.pem")])
        .env("PORT", port)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut issuer = String::new();
    // The pipe stays open: the provider writes to it later, too.
    BufReader::new(process.stdout.as_mut().unwrap()).read_line(&mut issuer).unwrap();
    (process, issuer.trim().to_owned())
}

async fn judged(source: &Source, token: &str, nonce: &str, later: i64) -> Result<Person, Refusal> {
    source.verify(token.as_bytes(), nonce, Timestamp::now() + SignedDuration::from_secs(later)).await
}

async fn check(source: &Source, token: &str, nonce: &str, later: i64) -> &'static str {
    judged(source, token, nonce, later).await.map_or_else(|refusal| refusal.check(), |_| "accepted")
}

#[tokio::test]
async fn tokens_of_a_certified_provider_are_verified() {
    let mut provider = Provider::start();
    let usual =
        "audience: jit-login\nrequire: [{claim: /acr, is: 'urn:test:mfa'}, {claim: /amr, has: otp}]\nauthTime: 10m";
    let source = provider.source(usual);

    // By code.
    let token = provider.login(&["code", "alice", "one", "pwd otp"], &[], "id_token");
    let person = judged(&source, &token, "one", 0).await.unwrap();
    assert_eq!((person.subject.as_str(), person.name.as_str()), ("alice", "alice@corp"));
    assert_eq!((person.groups.iter().next().unwrap().as_str(), person.kid.as_str()), ("oncall", "rs-1"));
    assert_eq!((person.acr.as_deref(), person.amr.join(" ").as_str()), (Some("urn:test:mfa"), "pwd otp"));
    assert!(person.authenticated.is_some());
    assert_eq!(check(&source, &token, "two", 0).await, "nonce");

    // Clocks that differ by less than a minute, and by more. The token is a little older by now.
    for (later, expected) in [(-50, "accepted"), (-90, "time"), (330, "accepted"), (370, "expired")] {
        assert_eq!(check(&source, &token, "one", later).await, expected, "{later}");
    }

    // Without the second factor; of another client; another kind of token.
    let weak = provider.login(&["code", "alice", "one", "pwd"], &[], "id_token");
    assert_eq!(check(&source, &weak, "one", 0).await, "claims");
    let other = provider.login(&["code", "alice", "one"], &[("CLIENT", "other")], "id_token");
    assert_eq!(check(&source, &other, "one", 0).await, "audience");
    let access = provider.login(&["code", "alice", "one"], &[("RESOURCE", "https://jitd.test")], "access_token");
    assert_eq!(check(&source, &access, "one", 0).await, "kind");
    let elliptic = provider.login(&["code", "bob", "one"], &[("CLIENT", "jit-login-es")], "id_token");
    let person = judged(&provider.source("audience: jit-login-es"), &elliptic, "one", 0).await.unwrap();
    assert_eq!((person.subject.as_str(), person.kid.as_str()), ("bob", "es-1"));

    // By device code, where this provider drops the nonce.
    let device = provider.login(&["device", "bob", "one", "pwd otp"], &[], "id_token");
    assert_eq!(check(&source, &device, "one", 0).await, "nonce");
    let lenient = provider.source("audience: jit-login\nnonce: optional");
    assert_eq!(check(&lenient, &device, "one", 0).await, "accepted");
    assert_eq!(check(&lenient, &device, "one", 90).await, "nonce");

    // New keys: the old token no longer counts when somebody has looked.
    provider.run(&["control", "rotate"], &[]);
    let new = provider.login(&["code", "alice", "one", "pwd otp"], &[], "id_token");
    assert_eq!(check(&source, &new, "one", 40).await, "accepted");
    assert_eq!(check(&source, &token, "one", 40).await, "key");

    // Down, and back with other keys.
    provider.stop();
    let fresh = provider.source(usual);
    assert_eq!(check(&source, &new, "one", 80).await, "accepted");
    assert_eq!(check(&source, &token, "one", 80).await, "provider");
    assert_eq!(check(&fresh, &new, "one", 0).await, "provider");
    provider.start_again();
    let back = provider.login(&["code", "alice", "one", "pwd otp"], &[], "id_token");
    assert_eq!(check(&fresh, &back, "one", 40).await, "accepted");
}
