//! Every kind of abuse, and what two judges say: this crate, and the authenticator of kube-apiserver itself
//! (`tests/controlplane/parts/judge`).
//!
//! `tokens.json` has a row for each token: what differs from a good one, what each judge says, and why if they differ.
//! `ours` is the check that refuses it, or `accepted`; `logout` is true for a good logout token, and for nothing else. In it, `now+300` is a time, `text now+300` the same as text,
//! `x * 1000` a long text, `NEST31` 31 lists in each other, `null` removes a member, `replace` changes the text of the payload.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test may fail loudly, and the authenticator of Kubernetes reads the real clock"
)]

mod signer;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use jit_identity::{KeySet, Provider, verify, verify_logout};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use signer::{ISSUER, Signer, claims, encoded, header, with};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Row {
    token: String,
    sign: Option<String>,
    #[serde(default)]
    header: Map<String, Value>,
    #[serde(default)]
    claims: Map<String, Value>,
    replace: Option<(String, String)>,
    replace_header: Option<(String, String)>,
    form: Option<String>,
    ours: String,
    kubernetes: bool,
    why: Option<String>,
    /// Whether it is a good logout token.
    #[serde(default)]
    logout: bool,
}

#[derive(Deserialize)]
struct Answer {
    taken: bool,
    said: String,
}

/// What a value of the table stands for.
fn meant(value: &Value, now: i64, signer: &Signer) -> Value {
    let time = |text: &str| Some(now + text.strip_prefix("now")?.parse::<i64>().ok()?);
    match value {
        Value::String(text) if text == "es-1" => signer.keys()[1].clone(),
        Value::String(text) => match (time(text), text.strip_prefix("text ").and_then(time), text.split_once(" * ")) {
            (Some(time), _, _) => time.into(),
            (_, Some(time), _) => time.to_string().into(),
            (_, _, Some((part, count))) => part.repeat(count.parse().unwrap()).into(),
            _ => value.clone(),
        },
        Value::Array(list) => list.iter().map(|value| meant(value, now, signer)).collect(),
        _ => value.clone(),
    }
}

fn token(row: &Row, signer: &Signer, other: &Signer, now: i64) -> String {
    let algorithm = row.sign.as_deref().unwrap_or("ES256");
    let changed = |good: Value, changes: &Map<String, Value>| {
        let meant = changes.iter().map(|(name, value)| (name.clone(), meant(value, now, signer))).collect();
        with(good, &Value::Object(meant)).to_string()
    };
    let replaced = |text: String, by: Option<&(String, String)>| {
        let Some((from, to)) = by else { return text };
        let mut to = to.replace("NOW+300", &(now + 300).to_string());
        for levels in [31, 32, 5000] {
            to = to.replace(&format!("NEST{levels}"), &format!("{}{}", "[".repeat(levels), "]".repeat(levels)));
        }
        let from = from.replace("NOW+300", &(now + 300).to_string());
        assert_eq!(text.matches(&from).count(), 1, "{}: {from} in {text}", row.token);
        text.replacen(&from, &to, 1)
    };
    let header = replaced(changed(header(algorithm), &row.header), row.replace_header.as_ref());
    let payload = replaced(changed(claims(now), &row.claims), row.replace.as_ref());
    let signed = format!("{}.{}", encoded(&header), encoded(&payload));
    let good = || signer.sign(algorithm, &header, &payload);
    let with_signature = |signature: &[u8]| format!("{signed}.{}", encoded(signature));
    let Some(form) = &row.form else { return good() };
    match form.as_str() {
        "unsigned" => format!("{signed}."),
        "zeros" => with_signature(&[0; 64]),
        "other key" => other.sign(algorithm, &header, &payload),
        "other payload" => {
            let signature = signer.signature(algorithm, format!("{}.{}", encoded(&header), encoded("{}")).as_bytes());
            with_signature(&signature)
        }
        "hmac" => {
            let key = hmac::Key::new(hmac::HMAC_SHA256, &signer.modulus());
            with_signature(hmac::sign(&key, signed.as_bytes()).as_ref())
        }
        "asn1" => {
            let raw = signer.signature(algorithm, signed.as_bytes());
            // Two INTEGERs with a leading zero, so that none is negative.
            let half = |half: &[u8]| [&[2, 33, 0], half].concat();
            with_signature(&[&[0x30, 70], half(&raw[..32]).as_slice(), &half(&raw[32..])].concat())
        }
        "list" => signer.sign(algorithm, &header, &format!("[{payload}]")),
        "empty" => signer.sign(algorithm, &header, ""),
        "trailing" => signer.sign(algorithm, &header, &format!("{payload}{{}}")),
        "nothing" => String::new(),
        "two parts" => signed,
        "four parts" => format!("{}.AAAA", good()),
        "five parts" => format!("{}.AAAA.AAAA", good()),
        "padding" => format!("{}==", good()),
        "other alphabet" => {
            // `>` and `?` need the characters in which the alphabets differ.
            let payload = payload.replacen('{', "{\"x\":\">>>???>>>???\",", 1);
            let signed = format!("{}.{}", encoded(&header), STANDARD.encode(&payload).trim_end_matches('='));
            assert!(signed.contains(['+', '/']), "{signed}");
            format!("{signed}.{}", encoded(signer.signature(algorithm, signed.as_bytes())))
        }
        "trailing bits" => {
            let mut token = good();
            // 64 bytes leave four bits of the last character unused.
            let last = token.pop().unwrap();
            token.push(char::from(u8::try_from(last).unwrap() + 1));
            token
        }
        "newline" => format!("{}\n", good()),
        "space" => format!(" {}", good()),
        "bearer" => format!("Bearer {}", good()),
        "json" => {
            let signature = encoded(signer.signature(algorithm, signed.as_bytes()));
            json!({"protected": encoded(&header), "payload": encoded(&payload), "signature": signature}).to_string()
        }
        form => panic!("{form}"),
    }
}

fn keys(signer: &Signer) -> Vec<Value> {
    let mut keys = signer.keys();
    let elliptic = keys[1].clone();
    for (kid, changes) in [
        ("es-enc", json!({"use": "enc"})),
        ("es-ops", json!({"use": null, "key_ops": ["sign"]})),
        ("es-384", json!({"alg": "ES384"})),
    ] {
        keys.push(with(with(elliptic.clone(), &changes), &json!({"kid": kid})));
    }
    // Nobody knows its type.
    keys.push(json!({"kty": "AKP", "kid": "ml-1", "alg": "ML-DSA-65", "pub": "AAAA"}));
    keys
}

/// Builds the judge, before the clock is read: Go may take minutes, and a token has five.
fn judge() -> PathBuf {
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("judge");
    // The flags of `build.sh`, so that Go has most of it compiled.
    let built = Command::new("go")
        .args(["build", "-buildvcs=false", "-o"])
        .args([program.as_os_str(), "./judge".as_ref()])
        .envs([("CGO_ENABLED", "0"), ("GOWORK", "off")])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/controlplane/parts"))
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    program
}

/// What kube-apiserver's authenticator says.
fn kubernetes(judge: &Path, keys: &[Value], tokens: &[String]) -> Vec<Answer> {
    let asked = json!({
        "issuer": ISSUER, "audience": "jit-login", "algorithms": ["RS256", "ES256"], "keys": keys, "tokens": tokens,
    });
    let mut judge =
        Command::new(judge).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    judge.stdin.take().unwrap().write_all(asked.to_string().as_bytes()).unwrap();
    let said = judge.wait_with_output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    serde_json::from_slice(&said.stdout).unwrap()
}

/// We accept nothing that Kubernetes refuses, but within clock skew; and each other difference has its reason.
#[test]
fn two_judges_read_one_file() {
    let (signer, other) = (Signer::new(), Signer::new());
    let keys = keys(&signer);
    let set = KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap();
    let rule: Provider = serde_saphyr::from_str(&format!(
        "name: corp\nissuer: {ISSUER}\naudience: jit-login\ndisplayName: {{claim: /preferred_username}}\n\
         groups: {{claim: /groups, map: {{payments-leads: leads}}}}"
    ))
    .unwrap();
    let rows: Vec<Row> = serde_json::from_str(include_str!("tokens.json")).unwrap();
    let judge = judge();
    let now = Timestamp::now();
    let tokens: Vec<String> = rows.iter().map(|row| token(row, &signer, &other, now.as_second())).collect();
    let theirs = kubernetes(&judge, &keys, &tokens);
    assert_eq!(theirs.len(), rows.len());
    let mut wrong = Vec::new();
    for ((row, token), theirs) in rows.iter().zip(&tokens).zip(&theirs) {
        let found = verify(token.as_bytes(), &set, &rule, "of-this-session", now);
        let ours = found.as_ref().map_or_else(|refusal| refusal.check(), |_| "accepted");
        let is_a_logout = verify_logout(token.as_bytes(), &set, &rule, now).is_ok();
        let differ = (ours == "accepted") != theirs.taken;
        let is_within_skew = row.why.as_deref().is_some_and(|why| why.starts_with("within clock skew"));
        if ours != row.ours
            || is_a_logout != row.logout
            || theirs.taken != row.kubernetes
            || differ != row.why.is_some()
            || (differ && !theirs.taken && !is_within_skew)
        {
            wrong.push(format!("{}: ours {ours}, Kubernetes {} ({})", row.token, theirs.taken, theirs.said));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(rows.len() > 100 && rows.iter().filter(|row| row.why.is_some()).count() > 20);
}
