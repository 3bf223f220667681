//! Each rule, and that neither a changed logout token nor a token of another kind is accepted.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::signer::{self, ISSUER, with};
use crate::verify;
use crate::verify::tests::{KEYS, NOW, SIGNER, at, rule};

/// What a good logout token says.
fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": "jit-login", "sub": "4f1c", "sid": "s-1", "iat": NOW, "exp": NOW + 120, "jti": "j-1",
        "events": { EVENT: {} },
    })
}

fn signed(header: &Value, claims: &Value) -> String {
    SIGNER.sign("ES256", &with(signer::header("ES256"), header).to_string(), &claims.to_string())
}

fn judged(rule: &Provider, header: &Value, changes: &Value) -> Result<Logout, Refusal> {
    verify_logout(signed(header, &with(claims(), changes)).as_bytes(), &KEYS, rule, at(NOW))
}

fn check(rule: &Provider, header: &Value, changes: &Value) -> &'static str {
    judged(rule, header, changes).map_or_else(|refusal| refusal.check(), |_| "accepted")
}

#[test]
fn a_logout_token_says_whose_login_is_over() {
    let token = signed(&json!({ "typ": "logout+jwt" }), &claims());
    let logout = Logout {
        issuer: ISSUER.to_owned(),
        subject: Some("4f1c".to_owned()),
        sid: Some("s-1".to_owned()),
        jti: "j-1".to_owned(),
        issued: at(NOW),
        expires: at(NOW + 120),
        token_hash: hash(token.as_bytes()),
    };
    assert_eq!(verify_logout(token.as_bytes(), &KEYS, &rule(""), at(NOW)).unwrap(), logout);
    let by =
        |changes: &Value| judged(&rule(""), &json!({}), changes).map(|logout| (logout.subject, logout.sid)).unwrap();
    assert_eq!(by(&json!({ "sub": null })), (None, Some("s-1".to_owned())));
    assert_eq!(by(&json!({ "sid": null })), (Some("4f1c".to_owned()), None));
}

#[test]
fn a_logout_token_passes_each_check_or_is_refused() {
    let none = json!({});
    let other_event = json!({ "events": { "http://schemas.openid.net/event/other": {} } });
    let rule =
        rule("deviceCode: {audience: jit-login-device}\nmaxLife: 1h\nauthTime: 1m\nrequire: [{claim: /acr, is: mfa}]");
    for (header, changes, expected) in [
        (json!({ "typ": "logout+jwt" }), none.clone(), "accepted"),
        (json!({ "typ": "LOGOUT+JWT" }), none.clone(), "accepted"),
        (json!({ "typ": "JWT" }), none.clone(), "kind"),
        (json!({ "typ": ["logout+jwt"] }), none.clone(), "kind"),
        (json!({ "kid": "es-2" }), none.clone(), "key"),
        (json!({ "alg": "none" }), none.clone(), "algorithm"),
        (json!({ "jku": "https://evil.example" }), none.clone(), "header"),
        (json!({ "crit": ["b64"] }), none.clone(), "header"),
        // Of an ID token's rule, what only an ID token has does not count.
        (none.clone(), json!({ "acr": "pwd", "auth_time": NOW - 9999 }), "accepted"),
        (none.clone(), json!({ "aud": "jit-login-device" }), "accepted"),
        (none.clone(), json!({ "aud": "other" }), "audience"),
        (none.clone(), json!({ "aud": ["jit-login", "other"] }), "audience"),
        (none.clone(), json!({ "aud": null }), "audience"),
        (none.clone(), json!({ "iss": format!("{ISSUER}/") }), "issuer"),
        (none.clone(), json!({ "iss": [ISSUER] }), "issuer"),
        (none.clone(), json!({ "iss": null }), "issuer"),
        (none.clone(), json!({ "exp": null }), "time"),
        (none.clone(), json!({ "iat": null }), "time"),
        (none.clone(), json!({ "iat": (NOW).to_string() }), "time"),
        (none.clone(), json!({ "exp": NOW - 61, "iat": NOW - 200 }), "expired"),
        (none.clone(), json!({ "iat": NOW + 61 }), "time"),
        (none.clone(), json!({ "exp": NOW + 3601 }), "time"),
        (none.clone(), json!({ "nbf": NOW + 61 }), "time"),
        (none.clone(), json!({ "jti": null }), "identifier"),
        (none.clone(), json!({ "jti": "" }), "identifier"),
        (none.clone(), json!({ "jti": 7 }), "identifier"),
        (none.clone(), json!({ "jti": "j".repeat(256) }), "identifier"),
        (none.clone(), json!({ "sub": null, "sid": null }), "identifier"),
        (none.clone(), json!({ "sub": ["4f1c"] }), "identifier"),
        (none.clone(), json!({ "sid": 1 }), "identifier"),
        (none.clone(), json!({ "sid": "" }), "identifier"),
        (none.clone(), json!({ "sub": "4f1c\u{0}" }), "identifier"),
        (none.clone(), json!({ "nonce": "n" }), "kind"),
        (none.clone(), json!({ "nonce": "" }), "kind"),
        (none.clone(), json!({ "events": null }), "kind"),
        (none.clone(), json!({ "events": [EVENT] }), "kind"),
        (none.clone(), json!({ "events": EVENT }), "kind"),
        (none.clone(), json!({ "events": { EVENT: [] } }), "kind"),
        (none.clone(), json!({ "events": { EVENT: true } }), "kind"),
        (none.clone(), other_event, "kind"),
        (none.clone(), json!({ "typ": "Logout" }), "accepted"),
        (none.clone(), json!({ "typ": "ID" }), "kind"),
        (none.clone(), json!({ "typ": 1 }), "kind"),
    ] {
        assert_eq!(check(&rule, &header, &changes), expected, "{header} {changes}");
    }
    // Two members of one name say two things.
    let twice = claims().to_string().replace("\"jti\"", "\"sub\":\"other\",\"jti\"");
    let token = SIGNER.sign("ES256", &signer::header("ES256").to_string(), &twice);
    assert_eq!(verify_logout(token.as_bytes(), &KEYS, &rule, at(NOW)).unwrap_err().check(), "payload");
}

/// The subject of a person at Entra ID is made of claims that a logout token does not have.
#[test]
fn a_logout_at_entra_names_the_login() {
    let issuer = "https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555/v2.0";
    let text =
        format!("name: entra\nissuer: {issuer}\naudience: jit-login\ndisplayName: {{claim: /preferred_username}}\n");
    let rule: Provider = serde_saphyr::from_str(&text).unwrap();
    let logout = judged(&rule, &json!({}), &json!({ "iss": issuer })).unwrap();
    assert_eq!((logout.subject, logout.sid.as_deref()), (None, Some("s-1")));
    assert_eq!(check(&rule, &json!({}), &json!({ "iss": issuer, "sid": null })), "identifier");
}

/// With the same keys, issuer and audience, neither token is accepted in the place of the other.
#[test]
fn no_token_is_of_two_kinds() {
    let id = signer::claims(NOW);
    for typ in [json!({}), json!({ "typ": "JWT" }), json!({ "typ": "logout+jwt" })] {
        let (id, logout) = (signed(&typ, &id), signed(&typ, &claims()));
        let refused = verify_logout(id.as_bytes(), &KEYS, &rule(""), at(NOW)).unwrap_err();
        assert!(refused.to_string().starts_with("the token is not a logout token: "), "{refused}");
        let refused = verify(logout.as_bytes(), &KEYS, &rule("nonce: optional"), "n", at(NOW)).unwrap_err();
        assert!(refused.to_string().starts_with("the token is not an ID token: "), "{refused}");
    }
    let both = with(id, &json!({ "events": { EVENT: {} }, "jti": "j-1" }));
    let token = signed(&json!({}), &both);
    assert_eq!(verify_logout(token.as_bytes(), &KEYS, &rule(""), at(NOW)).unwrap_err().check(), "kind");
    assert_eq!(verify(token.as_bytes(), &KEYS, &rule(""), "of-this-session", at(NOW)).unwrap_err().check(), "kind");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_logout_token_with_a_changed_bit_is_accepted(bit in 0usize..8 * 600) {
        let token = signed(&json!({ "typ": "logout+jwt" }), &claims());
        let mut bytes = token.clone().into_bytes();
        let bit = bit % (8 * bytes.len());
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(verify_logout(token.as_bytes(), &KEYS, &rule(""), at(NOW)).is_ok());
        prop_assert!(verify_logout(&bytes, &KEYS, &rule(""), at(NOW)).is_err());
    }

    /// The signature is right, so that all the rest is reached.
    #[test]
    fn no_signed_payload_makes_it_panic(payload in prop::collection::vec(any::<u8>(), 0..200), value in "\\PC{0,60}") {
        for payload in [payload, format!("{{\"events\":{{\"{EVENT}\":{value}}}}}").into_bytes()] {
            let signed = format!("{}.{}", signer::encoded(signer::header("ES256").to_string()), signer::encoded(&payload));
            let signature = signer::encoded(SIGNER.signature("ES256", signed.as_bytes()));
            let token = format!("{signed}.{signature}");
            prop_assert!(verify_logout(token.as_bytes(), &KEYS, &rule(""), at(NOW)).is_err());
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(verify_logout(&bytes, &KEYS, &rule(""), at(NOW)).is_err());
    }
}
