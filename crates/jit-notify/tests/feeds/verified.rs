//! The libraries of Standard Webhooks for Python and Go, which verify what a webhook gets.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;

use crate::daemon::{SECRET, Site, until};
use crate::receiver::{Got, How, Receiver};

/// A second secret, which replaces the first one.
const NEXT: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// The folder with both programs.
fn client() -> PathBuf {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let made = Command::new(repository.join("tests/clients/build.sh")).arg("webhooks").output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    String::from_utf8(made.stdout).unwrap().trim().into()
}

/// What the library in a language says: nothing if it accepts the request.
fn verify(
    client: &Path,
    language: &str,
    secret: &str,
    headers: &BTreeMap<String, String>,
    body: &str,
) -> Result<(), String> {
    let mut program = Command::new(client.join("run"));
    let mut program =
        program.arg(language).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let asked = json!({ "secret": secret, "headers": headers, "body": body });
    program.stdin.take().unwrap().write_all(asked.to_string().as_bytes()).unwrap();
    let done = program.wait_with_output().unwrap();
    if done.status.success() && done.stdout == b"verified\n" {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&done.stderr).into_owned())
}

/// While one secret replaces the other, a receiver with either of them accepts what is sent, each time it is sent; nobody
/// accepts what was changed.
#[test]
fn the_libraries_of_standard_webhooks_verify_what_is_sent() {
    let client = client();
    // The first attempt fails, so that a repeat is verified, too.
    let receiver = Receiver::that(|_, before| if before == 0 { How::status(503) } else { How::status(204) });
    let webhook = json!({ "url": { "file": "url" }, "secrets": [{ "file": "next" }, { "file": "key" }] });
    let mut site = Site::with(&json!([{ "name": "siem", "webhook": webhook }]));
    site.secret("url", &receiver.url());
    site.secret("next", NEXT);
    site.start();
    site.say("größe", "requested");
    let got: Vec<Got> = until("it is repeated", || Some(receiver.got()).filter(|got| got.len() == 2));
    for language in ["python", "go"] {
        for got in &got {
            let body = String::from_utf8(got.raw.clone()).unwrap();
            for secret in [SECRET, NEXT] {
                assert_eq!(verify(&client, language, secret, &got.headers, &body), Ok(()), "{language} {secret}");
            }
            let changed = body.replace("alice", "mally");
            assert!(changed != body && verify(&client, language, NEXT, &got.headers, &changed).is_err(), "{language}");
            let mut other = got.headers.clone();
            other.insert("webhook-id".to_owned(), "jit_other_1".to_owned());
            assert!(verify(&client, language, NEXT, &other, &body).is_err(), "{language}: the id is signed");
            let stranger = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
            assert!(verify(&client, language, stranger, &got.headers, &body).is_err(), "{language}");
        }
    }
}
