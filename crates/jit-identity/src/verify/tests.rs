//! Each rule of a provider, and that no changed token is accepted. The kinds of abuse are in `tests/judges.rs`.

use std::sync::LazyLock;

use jit_host::hint::Hint;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::signer::{self, ISSUER, Signer, claims, with};

pub(crate) const NOW: i64 = 1_790_000_000;
const NONCE: &str = "of-this-session";

pub(crate) static SIGNER: LazyLock<Signer> = LazyLock::new(Signer::new);
pub(crate) static KEYS: LazyLock<KeySet> =
    LazyLock::new(|| KeySet::parse(SIGNER.key_set().to_string().as_bytes()).unwrap());

pub(crate) fn rule(more: &str) -> Provider {
    let text = format!(
        "name: corp\nissuer: {ISSUER}\naudience: jit-login\ndisplayName: {{claim: /preferred_username}}\n{more}"
    );
    serde_saphyr::from_str(&text).unwrap()
}

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

/// What the rule says to the usual claims with these changes.
fn judged(rule: &Provider, changes: &Value) -> Result<Person, Refusal> {
    let token = SIGNER.token("ES256", &with(claims(NOW), changes));
    verify(token.as_bytes(), &KEYS, rule, NONCE, at(NOW))
}

/// One set of changes after the other.
fn both(first: &Value, then: &Value) -> Value {
    let members = [first, then].into_iter().flat_map(|changes| changes.as_object().unwrap().clone());
    Value::Object(members.collect())
}

fn check(rule: &Provider, changes: &Value) -> &'static str {
    judged(rule, changes).map_or_else(|refusal| refusal.check(), |_| "accepted")
}

#[test]
fn a_person_is_what_the_token_says_and_the_rule_maps() {
    let rule = rule("algorithms: [RS256, ES256, PS256, EdDSA]\ngroups: {claim: /groups, map: {payments-leads: leads}}");
    for algorithm in ["RS256", "ES256", "PS256", "EdDSA"] {
        let token = SIGNER.token(algorithm, &claims(NOW));
        assert_eq!(unverified_issuer(token.as_bytes(), Kind::Id).unwrap(), ISSUER);
        let person = verify(token.as_bytes(), &KEYS, &rule, NONCE, at(NOW)).unwrap();
        let kid = signer::header(algorithm)["kid"].as_str().unwrap().to_owned();
        let expected = Person {
            provider: "corp".to_owned(),
            issuer: ISSUER.to_owned(),
            subject: "4f1c".to_owned(),
            name: "alice@corp".parse().unwrap(),
            groups: BTreeSet::from(["leads".to_owned()]),
            acr: Some("urn:example:mfa".to_owned()),
            amr: vec!["pwd".to_owned(), "otp".to_owned()],
            authenticated: Some(at(NOW - 10)),
            sid: None,
            flow: None,
            issued: at(NOW),
            expires: at(NOW + 300),
            kid,
            token_hash: hash(token.as_bytes()),
        };
        assert_eq!(person, expected);
    }
}

#[test]
fn the_algorithm_is_one_of_the_list() {
    let token = SIGNER.token("EdDSA", &claims(NOW));
    let found = verify(token.as_bytes(), &KEYS, &rule(""), NONCE, at(NOW));
    assert_eq!(found, Err(Refusal::Algorithm));
}

#[test]
fn a_second_audience_is_known_and_the_client_is_named() {
    let (strict, shared) = (rule(""), rule("otherAudiences: [jitd]"));
    for (changes, by_strict, by_shared) in [
        (json!({"aud": ["jit-login"]}), "accepted", "accepted"),
        (json!({"aud": ["jit-login", "jitd"]}), "audience", "azp"),
        (json!({"aud": ["jit-login", "jitd"], "azp": "jit-login"}), "audience", "accepted"),
        (json!({"aud": ["jit-login", "jitd"], "azp": "jitd"}), "audience", "azp"),
        (json!({"aud": ["jit-login", "evil"], "azp": "jit-login"}), "audience", "audience"),
        (json!({"aud": "jitd", "azp": "jit-login"}), "audience", "audience"),
        (json!({"azp": "other"}), "azp", "azp"),
        (json!({"azp": ["jit-login"]}), "azp", "azp"),
    ] {
        assert_eq!((check(&strict, &changes), check(&shared, &changes)), (by_strict, by_shared), "{changes}");
    }
}

/// A token does not say by which flow it was got; the rule says how to tell.
#[test]
fn a_login_by_device_code_is_told_apart_as_the_rule_says() {
    let other = "deviceCode: {audience: jit-login-device}";
    for (more, changes, flow) in [
        ("", json!({}), None),
        ("deviceCode: never", json!({}), Some(Flow::Code)),
        ("deviceCode: without-nonce", json!({}), Some(Flow::Code)),
        ("nonce: optional", json!({ "nonce": null }), Some(Flow::DeviceCode)),
        ("nonce: optional\ndeviceCode: never", json!({ "nonce": null }), Some(Flow::DeviceCode)),
        ("nonce: optional\ndeviceCode: without-nonce", json!({ "nonce": null }), Some(Flow::DeviceCode)),
        (other, json!({}), Some(Flow::Code)),
        (other, json!({ "aud": "jit-login-device" }), Some(Flow::DeviceCode)),
        (other, json!({ "aud": ["jit-login-device"], "azp": "jit-login-device" }), Some(Flow::DeviceCode)),
    ] {
        assert_eq!(judged(&rule(more), &changes).unwrap().flow, flow, "{more} {changes}");
    }
    // A token for one of our clients is none for the other.
    for (more, changes, refused) in [
        ("", json!({ "aud": "jit-login-device" }), "audience"),
        (other, json!({ "aud": "jit-login-device", "azp": "jit-login" }), "azp"),
        (other, json!({ "azp": "jit-login-device" }), "azp"),
        (other, json!({ "aud": ["jit-login", "jit-login-device"], "azp": "jit-login" }), "audience"),
    ] {
        assert_eq!(check(&rule(more), &changes), refused, "{more} {changes}");
    }
}

#[test]
fn a_token_without_nonce_is_accepted_for_a_minute_where_the_rule_says_so() {
    let (required, optional) = (rule(""), rule("nonce: optional"));
    let none = json!({"nonce": null});
    assert_eq!((check(&required, &none), check(&optional, &none)), ("nonce", "accepted"));
    for (changes, expected) in [
        (json!({"nonce": null, "iat": NOW - 60}), "accepted"),
        (json!({"nonce": null, "iat": NOW - 61}), "nonce"),
        (json!({"nonce": "of-another-session"}), "nonce"),
        (json!({"nonce": ""}), "nonce"),
        (json!({"nonce": [NONCE]}), "nonce"),
    ] {
        assert_eq!(check(&optional, &changes), expected, "{changes}");
    }
}

#[test]
fn times_may_differ_by_a_minute() {
    let rule = rule("maxLife: 1h\nauthTime: 10m");
    for (changes, expected) in [
        (json!({"exp": NOW - 60, "iat": NOW - 300}), "accepted"),
        (json!({"exp": NOW - 61, "iat": NOW - 300}), "expired"),
        (json!({"iat": NOW + 60}), "accepted"),
        (json!({"iat": NOW + 61}), "time"),
        (json!({"nbf": NOW + 60}), "accepted"),
        (json!({"nbf": NOW + 61}), "time"),
        (json!({"nbf": (NOW - 5).to_string()}), "time"),
        (json!({"exp": NOW + 3600}), "accepted"),
        (json!({"exp": NOW + 3601}), "time"),
        (json!({"exp": NOW, "iat": NOW}), "time"),
        (json!({"exp": i64::MAX}), "time"),
        (json!({"exp": u64::MAX}), "time"),
        (json!({"exp": -1}), "time"),
        (json!({"exp": 1.5}), "time"),
        (json!({"iat": null}), "time"),
        (json!({"auth_time": NOW + 61}), "time"),
        (json!({"auth_time": NOW - 660}), "accepted"),
        (json!({"auth_time": NOW - 661}), "claims"),
        (json!({"auth_time": null}), "claims"),
        (json!({"auth_time": "now"}), "time"),
    ] {
        assert_eq!(check(&rule, &changes), expected, "{changes}");
    }
    let early = judged(&rule, &json!({"iat": NOW + 120})).unwrap_err();
    assert!(early.hint().unwrap().contains("timedatectl"));
}

#[test]
fn required_claims_are_exact() {
    let rule = rule(
        "require:\n- {claim: /acr, is: 'urn:example:mfa'}\n- {claim: /amr, has: otp}\n- {claim: '/a~1b/ok', is: true}\n",
    );
    let good = json!({"a/b": {"ok": true}});
    assert_eq!(check(&rule, &good), "accepted");
    for changes in [
        json!({"a/b": null}),
        json!({"a/b": {"ok": "true"}}),
        json!({"a/b": {"ok": 1}}),
        json!({"acr": "urn:example:mfa2"}),
        json!({"acr": ["urn:example:mfa"]}),
        json!({"acr": null}),
        json!({"amr": "otp"}),
        json!({"amr": ["pwd"]}),
        json!({"amr": ["otp", 1]}),
        json!({"amr": null}),
    ] {
        let refusal = judged(&rule, &both(&good, &changes)).unwrap_err();
        assert_eq!((refusal.check(), refusal.code()), ("claims", ("claims-unusable", 403)), "{changes}");
    }
}

#[test]
fn groups_are_a_list_of_texts_in_the_token_itself() {
    let rule = rule("groups: {claim: /groups, map: {payments-leads: leads, admins: admins}}");
    let groups = |changes: &Value| judged(&rule, changes).map(|person| person.groups);
    assert_eq!(groups(&json!({"groups": ["Admins", "admins ", "x"]})).unwrap(), BTreeSet::new());
    assert_eq!(groups(&json!({"groups": ["admins"]})).unwrap(), BTreeSet::from(["admins".to_owned()]));
    assert_eq!(groups(&json!({"groups": null})).unwrap(), BTreeSet::new());
    for changes in [
        json!({"groups": "payments-leads"}),
        json!({"groups": {"payments-leads": true}}),
        json!({"groups": ["payments-leads", 7]}),
        json!({"groups": null, "_claim_names": {"groups": "src1"},
            "_claim_sources": {"src1": {"endpoint": "http://127.0.0.1:9/"}}}),
        json!({"groups": null, "hasgroups": true}),
    ] {
        assert_eq!(groups(&changes).unwrap_err().check(), "claims", "{changes}");
    }
    let token = with(claims(NOW), &json!({"groups": 0}));
    let null = token.to_string().replace("\"groups\":0", "\"groups\":null");
    let token = SIGNER.sign("ES256", &signer::header("ES256").to_string(), &null);
    assert_eq!(verify(token.as_bytes(), &KEYS, &rule, NONCE, at(NOW)).unwrap_err().check(), "claims");
}

#[test]
fn a_name_is_one_that_a_person_can_have() {
    let (usual, bare) = (rule(""), Provider { name_suffix: String::new(), ..rule("") });
    let name = |rule: &Provider, name: &str| {
        judged(rule, &json!({"preferred_username": name})).map(|person| person.name.to_string()).map_err(|r| r.check())
    };
    assert_eq!(name(&usual, "Alice Example").unwrap(), "Alice Example@corp");
    assert_eq!(name(&bare, "alice@example.com").unwrap(), "alice@example.com");
    for (text, expected) in [
        ("", "identifier"),
        ("alice\u{0}root", "identifier"),
        ("alice\nroot", "identifier"),
        ("system:masters", "claims"),
        ("oidc:alice", "claims"),
        ("../alice", "claims"),
        ("al\u{200b}ice", "claims"),
        ("\u{202e}ecila", "claims"),
        (&"a".repeat(256), "identifier"),
    ] {
        assert_eq!(name(&usual, text), Err(expected), "{text:?}");
    }
    assert_eq!(check(&usual, &json!({"preferred_username": null})), "claims");
    assert_eq!(check(&usual, &json!({"preferred_username": ["alice"]})), "claims");
}

#[test]
fn a_person_of_entra_is_the_tenant_and_the_object() {
    let issuer = "https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555/v2.0";
    let text =
        format!("name: entra\nissuer: {issuer}\naudience: jit-login\ndisplayName: {{claim: /preferred_username}}\n");
    let rule: Provider = serde_saphyr::from_str(&text).unwrap();
    let ids = json!({"iss": issuer, "tid": "11111111-2222-3333-4444-555555555555", "oid": "aaaaaaaa-0000-0000-0000-000000000001"});
    let person = judged(&rule, &ids).unwrap();
    assert_eq!(person.subject, "11111111-2222-3333-4444-555555555555/aaaaaaaa-0000-0000-0000-000000000001");
    for changes in [json!({"oid": null}), json!({"tid": null}), json!({"oid": "a/b"}), json!({"sub": null})] {
        assert_eq!(check(&rule, &both(&ids, &changes)), "identifier", "{changes}");
    }
}

/// What a refusal says never repeats what the token says.
#[test]
fn a_refusal_repeats_nothing_of_the_token() {
    let rule = rule("require: [{claim: /acr, is: gold}]\ngroups: {claim: /groups, map: {a: b}}");
    for claim in ["iss", "aud", "azp", "sub", "nonce", "typ", "acr", "amr", "groups", "exp", "preferred_username"] {
        let refusal = judged(&rule, &json!({claim: "sec:ret"})).unwrap_err();
        assert!(!refusal.on_one_line().contains("sec:ret"), "{refusal}");
        assert!((401..=403).contains(&refusal.code().1), "{refusal}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_token_with_a_changed_bit_is_accepted(bit in 0usize..8 * 600, algorithm in prop::sample::select(vec!["RS256", "ES256"])) {
        let token = SIGNER.token(algorithm, &claims(NOW));
        let mut bytes = token.clone().into_bytes();
        let bit = bit % (8 * bytes.len());
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(verify(token.as_bytes(), &KEYS, &rule(""), NONCE, at(NOW)).is_ok());
        prop_assert!(verify(&bytes, &KEYS, &rule(""), NONCE, at(NOW)).is_err());
    }

    /// The signature is right, so that all the rest is reached.
    #[test]
    fn no_signed_bytes_make_it_panic(payload in prop::collection::vec(any::<u8>(), 0..200), header in "\\PC{0,60}") {
        let usual = signer::header("ES256").to_string();
        for (header, payload) in [(usual.as_bytes(), payload.as_slice()), (header.as_bytes(), b"{}")] {
            let signed = format!("{}.{}", signer::encoded(header), signer::encoded(payload));
            let signature = signer::encoded(SIGNER.signature("ES256", signed.as_bytes()));
            let token = format!("{signed}.{signature}");
            prop_assert!(verify(token.as_bytes(), &KEYS, &rule(""), NONCE, at(NOW)).is_err());
        }
    }

    #[test]
    fn no_claim_of_any_type_makes_it_panic(
        name in prop::sample::select(vec!["iss", "aud", "azp", "exp", "iat", "nbf", "auth_time", "sub", "nonce", "typ",
            "acr", "amr", "groups", "preferred_username", "_claim_names", "events"]),
        value in value(),
    ) {
        let rule = rule("groups: {claim: /groups/0, map: {a: b}}\nrequire: [{claim: /acr/x, has: a}]");
        let found = judged(&rule, &json!({name: value}));
        prop_assert!(found.is_err());
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), text in "[A-Za-z0-9_.-]{0,300}") {
        prop_assert!(verify(&bytes, &KEYS, &rule(""), NONCE, at(NOW)).is_err());
        prop_assert!(verify(text.as_bytes(), &KEYS, &rule(""), NONCE, at(NOW)).is_err());
        prop_assert!(KeySet::parse(&bytes).is_err());
    }
}

/// JSON of any type, a few levels deep.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("\\PC{0,8}", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}
