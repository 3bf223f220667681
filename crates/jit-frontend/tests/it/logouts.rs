//! Providers that end logins, and everybody who would like to.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::client::{Client, Key};
use crate::front::{Front, LONG};

/// A provider has no key. It may send a logout token and nothing else, once for each connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_key_only_a_logout_is_served_and_only_one() {
    let front = Front::start().await;
    for head in [
        "GET /v1/providers",
        "GET /v1/login",
        "DELETE /v1/login",
        "POST /v1/sessions",
        "GET /v1/whoami",
        "POST /v1/grants",
        "GET /v1/logout/",
        "POST /v1/logout/x",
        "GET /",
        "GET /healthz",
    ] {
        let mut client = Client::keyless(&front).await;
        let sent = format!("{head} HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{{}}");
        let (status, told, body) = client.say(sent.as_bytes()).await;
        let problem: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, &problem["code"]), (401, &json!("key-required")), "{head}: {told}");
        assert!(problem["detail"].as_str().unwrap().contains("the key of a client"), "{problem}");
        assert!(client.is_closed().await, "{head}");
    }
    let mut client = Client::keyless(&front).await;
    let (status, _, _) = client.say(b"GET /v1/logout HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!(status, 405);
    let mut client = Client::keyless(&front).await;
    let (status, head, body) = client.log_out(&front.logout_token("j1", json!({}))).await;
    assert_eq!((status, body), (200, Value::Null), "{head}");
    assert!(head.contains("cache-control: no-store") && head.contains("content-length: 0"), "{head}");
    assert!(client.is_closed().await);
    let told = front.told.lock();
    assert!(told.requests.is_empty() && told.introductions.is_empty(), "nothing but the logout reaches jitd");
    let logout = &told.logouts[0];
    assert_eq!((logout.subject.as_deref(), logout.sid.as_deref()), (Some("7d1c"), Some("s-1")));
    assert_eq!((told.logouts.len(), logout.token_sha256.len()), (1, 64));
}

/// The sessions of the login are over, on each connection and for each request that is under way; other sessions go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_logout_of_the_provider_ends_the_sessions_of_that_login() {
    let front = Front::start().await;
    let keys = [Key::new(), Key::new(), Key::new()];
    let mut one = Client::logged_in(&front, &keys[0], json!({})).await;
    let mut elsewhere = Client::logged_in(&front, &keys[1], json!({ "sid": "s-2" })).await;
    let mut other = Client::logged_in(&front, &keys[2], json!({ "sub": "other", "sid": "s-3" })).await;
    assert_eq!(one.get("/v1/whoami").await.0, 200);
    assert_eq!(Client::keyless(&front).await.log_out(&front.logout_token("j1", json!({}))).await.0, 200);
    let (status, problem) = one.get("/v1/whoami").await;
    assert_eq!((status, &problem["code"]), (401, &json!("session-required")));
    assert_eq!((elsewhere.get("/v1/whoami").await.0, other.get("/v1/whoami").await.0), (200, 200));
    // The token of a login that is over opens no session, also with its own key.
    let token = front.token(&keys[0].nonce(&front), json!({}));
    let (status, problem) = Client::of(&front, &keys[0]).await.post("/v1/sessions", &json!({ "idToken": token })).await;
    assert_eq!((status, &problem["code"]), (401, &json!("token-refused")), "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("ended the login"), "{problem}");
    // A connection with a key may say it too: some providers have a certificate.
    let everywhere = front.logout_token("j3", json!({ "sid": "s-2" }));
    assert_eq!(Client::of(&front, &Key::new()).await.log_out(&everywhere).await.0, 200);
    assert_eq!((elsewhere.get("/v1/whoami").await.0, other.get("/v1/whoami").await.0), (401, 200));
}

/// Whatever is refused changes nothing, and says which check it failed and never what it said.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_logout_changes_nothing() {
    let front = Front::start().await;
    let key = Key::new();
    let mut client = Client::logged_in(&front, &key, json!({})).await;
    let good = front.logout_token("used", json!({ "sub": "nobody", "sid": "s-0" }));
    assert_eq!(Client::keyless(&front).await.log_out(&good).await.0, 200);
    let id_token = front.token(&key.nonce(&front), json!({}));
    let mut tampered = front.logout_token("j1", json!({})).into_bytes();
    let last = tampered.len() - 10;
    tampered[last] = if tampered[last] == b'A' { b'B' } else { b'A' };
    for (token, why) in [
        (good, "has come before"),
        (id_token, "not a logout token"),
        (String::from_utf8(tampered).unwrap(), "signature"),
        (front.logout_token("j1", json!({ "nonce": "n" })), "`nonce`"),
        (front.logout_token("j1", json!({ "aud": "other" })), "`aud`"),
        (front.logout_token("j1", json!({ "iss": "https://evil.example" })), "`iss`"),
        (front.logout_token("j1", json!({ "events": {} })), "`events`"),
        (front.logout_token("j1", json!({ "exp": 1_700_000_000, "iat": 1_699_999_999 })), "expired"),
        (front.logout_token("", json!({})), "`/jti`"),
        ("x.y.z".to_owned(), "base64url"),
        (String::new(), "three parts"),
        (format!("{}&logout_token=x", front.logout_token("j1", json!({}))), "one `logout_token`"),
    ] {
        let (status, head, body) = Client::keyless(&front).await.log_out(&token).await;
        assert_eq!((status, &body["error"]), (400, &json!("invalid_request")), "{body}");
        assert!(body["error_description"].as_str().unwrap().contains(why), "{why}: {body}");
        assert!(head.contains("cache-control: no-store") && head.contains("content-type: application/json"), "{head}");
    }
    for (kind, body) in [
        ("application/json", format!("{{\"logout_token\":\"{}\"}}", front.logout_token("j1", json!({})))),
        ("application/x-www-form-urlencoded", "token=x".to_owned()),
        ("application/x-www-form-urlencoded", format!("logout_token={}", "x".repeat(40_000))),
    ] {
        let length = body.len();
        let sent = format!(
            "POST /v1/logout HTTP/1.1\r\nhost: x\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        let (status, _, told) = Client::keyless(&front).await.say(sent.as_bytes()).await;
        assert_eq!(status, 400, "{told}");
    }
    // And a logout token opens no session.
    let token = front.logout_token("j1", json!({}));
    let (status, problem) = Client::of(&front, &key).await.post("/v1/sessions", &json!({ "idToken": token })).await;
    assert_eq!((status, &problem["code"]), (401, &json!("token-refused")));
    assert_eq!(client.get("/v1/whoami").await.0, 200);
    assert_eq!(front.told.lock().logouts.len(), 1);
    assert!(!front.log().contains(&token), "a token is in the log");
}

/// While `jitd` cannot end the access, the provider learns it, the sessions are over all the same, and `jitd` is told until it
/// can.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jitd_is_told_of_a_logout_until_it_has_ended_the_access() {
    let front = Front::start().await;
    let key = Key::new();
    let mut client = Client::logged_in(&front, &key, json!({})).await;
    front.told.lock().fails = 5;
    let (status, head, body) = Client::keyless(&front).await.log_out(&front.logout_token("j1", json!({}))).await;
    assert_eq!((status, &body["error"]), (503, &json!("temporarily_unavailable")), "{body}");
    assert!(head.contains("cache-control: no-store"), "{head}");
    assert_eq!(client.get("/v1/whoami").await.0, 401);
    let told = async {
        while front.told.lock().logouts.is_empty() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LONG, told).await.expect("it is told");
    // Of a provider that `jitd` does not have, there is no access to end.
    front.told.lock().refuses = true;
    let (status, _, body) = Client::keyless(&front).await.log_out(&front.logout_token("j2", json!({}))).await;
    assert_eq!((status, &body["error_description"]), (400, &json!("no such provider")));
}

/// Who guesses logout tokens is stopped, as who guesses ID tokens is, and both count together.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_logouts_of_an_address_are_limited() {
    let front = Front::start().await;
    for _ in 0..30 {
        assert_eq!(Client::keyless(&front).await.log_out("x.y.z").await.0, 400);
    }
    let (status, head, body) = Client::keyless(&front).await.log_out(&front.logout_token("j1", json!({}))).await;
    assert_eq!((status, &body["error"]), (429, &json!("temporarily_unavailable")));
    assert!(head.contains("retry-after: "), "{head}");
    let key = Key::new();
    let token = front.token(&key.nonce(&front), json!({}));
    assert_eq!(Client::of(&front, &key).await.post("/v1/sessions", &json!({ "idToken": token })).await.0, 429);
}
