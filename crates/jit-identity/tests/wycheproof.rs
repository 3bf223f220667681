//! Project Wycheproof's vectors for JSON Web Signatures, all of them.
//!
//! They come as a Go module, because no crate has them; Go compares the module with its public checksum.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail loudly")]

use std::path::Path;
use std::process::Command;

use jit_identity::jws::{Jws, Kind};
use jit_identity::{Algorithm, KeySet};
use serde_json::{Value, json};

/// The version that Go's own tests use, and its checksum in sum.golang.org.
const MODULE: &str = "github.com/C2SP/wycheproof@v0.0.0-20250901140545-b51abcfb8daf";
const SUM: &str = "h1:5BKKVVVj676FUWirLcouEEL6GCYR9X0opkMlEUck8FY=";

/// Examples of RFC 7520 in section 4, whose keys name another algorithm (PS256 for a token of PS384) or none that exists
/// (ES521). A key is used for the algorithm that it names (RFC 7517 section 4.4), as other vectors demand (`UsingPS384`).
const KEY_FOR_ANOTHER_ALGORITHM: [u64; 4] = [346, 347, 350, 351];

fn vectors() -> Value {
    let output = Command::new("go").args(["mod", "download", "-json", MODULE]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let module: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(module["Sum"], SUM);
    let file = Path::new(module["Dir"].as_str().unwrap()).join("testvectors_v1/json_web_signature_test.json");
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

#[test]
fn each_vector_of_wycheproof_is_judged_as_it_says() {
    let vectors = vectors();
    let (mut accepted, mut refused, mut symmetric) = (0, 0, 0);
    for group in vectors["testGroups"].as_array().unwrap() {
        let key = group.get("public").unwrap_or(&group["private"]);
        let set = KeySet::parse(json!({"keys": [key]}).to_string().as_bytes());
        let is_symmetric = key["kty"] == "oct";
        for test in group["tests"].as_array().unwrap() {
            let id = test["tcId"].as_u64().unwrap();
            // Some are objects: the form in JSON.
            let token = test["jws"].as_str().map_or_else(|| test["jws"].to_string(), str::to_owned);
            let payload = Jws::parse(token.as_bytes(), Kind::Id)
                .and_then(|jws| jws.verify(set.as_ref().unwrap_or(&KeySet::default()), &Algorithm::ALL));
            let is_valid = test["result"] == "valid" && !is_symmetric && !KEY_FOR_ANOTHER_ALGORITHM.contains(&id);
            assert_eq!(payload.is_ok(), is_valid, "{id} {} {key}: {payload:?}", test["comment"]);
            match (is_symmetric, is_valid) {
                // Nobody's public key is a secret.
                (true, _) => symmetric += 1,
                (false, true) => accepted += 1,
                (false, false) => refused += 1,
            }
        }
    }
    assert_eq!((accepted, refused, symmetric), (32, 329, 40));
}
