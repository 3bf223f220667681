//! Who gets a session, and what `jitd` learns of them.

use serde_json::json;

use crate::client::{Client, Key};
use crate::front::Front;

/// The person of a token reaches `jitd` in the introduction; what the client says about itself does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_is_introduced_and_never_by_a_header() {
    let front = Front::start().await;
    let key = Key::new();
    let mut client = Client::of(&front, &key).await;
    let (status, list) = client.get("/v1/providers").await;
    assert_eq!((status, &list["server"]), (200, &json!(front.server())));
    assert_eq!(list["providers"][0]["clientId"], "jit-login");
    let mut client = Client::logged_in(&front, &key, json!({})).await;
    let (status, session) = client.get("/v1/login").await;
    assert_eq!((status, &session["subject"]), (200, &json!("7d1c")));
    let forged = "GET /v1/grants?all=true HTTP/1.1\r\nhost: jitd.internal\r\nx-remote-user: root\r\nx-forwarded-for: 127.0.0.1\r\n\
                  authorization: Bearer y\r\nimpersonate-user: bob\r\ncookie: a=b\r\n\r\n";
    let (status, head, body) = client.say(forged.as_bytes()).await;
    assert_eq!((status, body.as_str()), (200, r#"{"asked":"GET /v1/grants?all=true"}"#));
    assert!(!head.contains("x-internal"), "{head}");
    let told = front.told.lock();
    let introduced = told.introductions.last().unwrap();
    assert_eq!(introduced.name.as_str(), "alice@corp");
    assert_eq!(introduced.groups, ["payments-leads"]);
    assert_eq!((introduced.login.subject.as_str(), introduced.login.acr.as_deref()), ("7d1c", Some("2")));
    assert!(introduced.address.starts_with("127.0.0.1:"));
    let (_, headers, _) = told.requests.last().unwrap();
    for forged in ["root", "bearer", "impersonate", "cookie", "forwarded", "internal"] {
        assert!(!headers.to_lowercase().contains(forged), "{headers}");
    }
}

/// A token is worth nothing without the key that it was made for, and nothing but a good token opens a session.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_worth_nothing_without_its_key() {
    let front = Front::start().await;
    let (key, thief) = (Key::new(), Key::new());
    let good = front.token(&key.nonce(&front), json!({}));
    let tampered = good.replace('.', ".e");
    let (other_server, other_audience) = (
        front.token(&jit_wire::frontend::nonce("https://other.example", &thief.spki), json!({})),
        front.token(&thief.nonce(&front), json!({ "aud": "other" })),
    );
    let no_name = front.token(&thief.nonce(&front), json!({ "preferred_username": null }));
    let unknown = front.token(&thief.nonce(&front), json!({ "preferred_username": "mallory" }));
    for (token, status, code) in [
        (good.as_str(), 401, "token-refused"),
        (tampered.as_str(), 401, "token-refused"),
        (other_server.as_str(), 401, "token-refused"),
        (other_audience.as_str(), 401, "token-refused"),
        (no_name.as_str(), 403, "claims-unusable"),
        (unknown.as_str(), 403, "unknown-caller"),
        ("", 401, "token-refused"),
    ] {
        let mut client = Client::of(&front, &thief).await;
        let (answered, problem) = client.post("/v1/sessions", &json!({ "idToken": token })).await;
        assert_eq!((answered, &problem["code"]), (status, &json!(code)), "{token}: {problem}");
        let (status, problem) = Client::of(&front, &thief).await.get("/v1/whoami").await;
        assert_eq!((status, &problem["code"]), (401, &json!("session-required")));
    }
    let mut client = Client::of(&front, &key).await;
    assert_eq!(client.post("/v1/sessions", &json!({ "idToken": good })).await.0, 201);
    assert_eq!(client.get("/v1/whoami").await.0, 200);
    assert!(!front.log().contains(&good), "a token is in the log");
    assert!(front.told.lock().requests.iter().all(|(_, headers, body)| !format!("{headers}{body}").contains(&good)));
}

/// A session ends on every connection of its key when the person logs out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_logout_ends_the_session_on_every_connection() {
    let front = Front::start().await;
    let key = Key::new();
    let mut one = Client::logged_in(&front, &key, json!({})).await;
    let mut two = Client::of(&front, &key).await;
    assert_eq!(two.get("/v1/whoami").await.0, 200);
    assert_eq!(one.delete("/v1/login").await.0, 200);
    assert_eq!(two.get("/v1/whoami").await.0, 401);
}

/// Who guesses tokens is stopped; from another address people still log in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_tokens_of_an_address_are_limited() {
    let front = Front::start().await;
    let key = Key::new();
    let mut codes = Vec::new();
    for _ in 0..31 {
        let (status, problem) =
            Client::of(&front, &key).await.post("/v1/sessions", &json!({ "idToken": "x.y.z" })).await;
        codes.push((status, problem["code"].as_str().unwrap().to_owned()));
    }
    assert!(codes[..30].iter().all(|(status, _)| *status == 401), "{codes:?}");
    assert_eq!(codes[30], (429, "rate-limited".to_owned()));
}

/// The line of an invitation has what cannot be found out by connecting.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invitation_has_the_address_and_the_fingerprint() {
    let front = Front::start().await;
    let invitation = front.invitation();
    let (address, fingerprint) = invitation.trim().split_once(" --root sha256:").unwrap();
    assert_eq!(address, format!("jit-login login {}", front.server()));
    assert!(fingerprint.len() == 64 && fingerprint.chars().all(|c| c.is_ascii_hexdigit()), "{invitation}");
}
