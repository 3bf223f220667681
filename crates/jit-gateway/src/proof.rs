//! Whether a grant works through the gateway, before `jitd` says that it is live: the API server is asked over the gateway's own
//! connection, in the holder's name.
//!
//! ```text
//!  jitd ── prove ──► SelfSubjectAccessReview, as the holder ──► "allowed" ──► proved ──► jitd ── live ──► people
//! ```
//! So a gateway whose credential, rights or way to the cluster are wrong is noticed by whoever collects, and not by the first
//! request. Nothing is let through by it, and the log of the grant has nothing of it.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use jit_dial::{ApiServer, Protocol};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout_at};

use crate::answer::Body;
use crate::headers::{self, Identity};
use crate::listener::{IMPERSONATE, audit_id, contains, whole};
use crate::upstream::{UpstreamError, addressed};

/// How long the API server may take to know of a new grant: as long as jitd waits for it itself, and a moment less, so that
/// jitd learns why not.
const WITHIN: Duration = Duration::from_secs(9);

/// The pause before the second attempt, and the longest one: each is twice as long as the one before.
const PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

const REVIEWS: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";

/// Asks until the API server allows all of these; why not, if it does not in time.
pub(crate) async fn prove(server: &ApiServer, holder: &Identity<'_>, reviews: &[Value]) -> Result<(), String> {
    let (end, mut pause) = (Instant::now() + WITHIN, PAUSE);
    let mut last = "the API server does not answer".to_owned();
    loop {
        match timeout_at(end, ask(server, holder, reviews)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(why)) => last = why,
            // A credential plugin may take longer than this.
            Err(_) => return Err(server.awaited().map_or(last, |plugin| plugin.to_string())),
        }
        if Instant::now() + pause >= end {
            return Err(last);
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Asks once, on a connection of its own: behind one address there may be several API servers.
async fn ask(server: &ApiServer, holder: &Identity<'_>, reviews: &[Value]) -> Result<(), String> {
    let said = |error: UpstreamError| error.to_string();
    let stream = server.connect(Protocol::Http1).await.map_err(|error| error.to_string())?;
    let handshake = http1::handshake::<_, Body>(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| said(UpstreamError::Broken(error)))?;
    let asked = async {
        for review in reviews {
            let request = addressed(server, request(holder, review)?, Protocol::Http1).await.map_err(said)?;
            sender.ready().await.map_err(|error| said(UpstreamError::Broken(error)))?;
            let answer = sender.send_request(request).await.map_err(|error| said(UpstreamError::Broken(error)))?;
            let (head, body) = answer.into_parts();
            let body = whole(body).await.map_err(|refused| refused.why)?;
            if head.status == StatusCode::UNAUTHORIZED {
                server.refused();
            }
            judge(head.status, &body)?;
        }
        Ok::<(), String>(())
    };
    tokio::select! {
        asked = asked => asked,
        // What broke is the answer's failure.
        _ = connection => Err("the connection to the API server broke".to_owned()),
    }
}

fn request(holder: &Identity<'_>, review: &Value) -> Result<Request<Body>, String> {
    let mut own = HeaderMap::new();
    for (name, value) in [
        (header::CONTENT_TYPE, "application/json"),
        (header::ACCEPT, "application/json"),
        (header::USER_AGENT, concat!("jit-gateway/", env!("CARGO_PKG_VERSION"))),
    ] {
        own.insert(name, HeaderValue::from_static(value));
    }
    let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let headers = headers::outgoing(&own, holder, &audit_id(), here, None).map_err(|refused| refused.why)?;
    let document = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": review,
    });
    let body = Full::new(Bytes::from(document.to_string())).map_err(|never| match never {}).boxed_unsync();
    let mut request = Request::new(body);
    *request.method_mut() = Method::POST;
    *request.uri_mut() = http::Uri::from_static(REVIEWS);
    *request.headers_mut() = headers;
    Ok(request)
}

/// What an answer says, or why it is no yes.
fn judge(status: StatusCode, body: &[u8]) -> Result<(), String> {
    #[derive(Deserialize)]
    struct Review {
        status: Reviewed,
    }
    #[derive(Deserialize)]
    struct Reviewed {
        allowed: bool,
    }
    if status.is_success() {
        let review: Review = serde_json::from_slice(body).map_err(|error| format!("no access review: {error}"))?;
        let denied = || "the API server answers `denied` to the holder".to_owned();
        return review.status.allowed.then_some(()).ok_or_else(denied);
    }
    match status {
        StatusCode::UNAUTHORIZED => Err("the API server does not accept the gateway's credential".to_owned()),
        StatusCode::FORBIDDEN if contains(body, IMPERSONATE) => {
            Err("the API server does not let the gateway act for the holder".to_owned())
        }
        // Acting as the holder works. Where an administrator took the right to ask about oneself from everybody, what the API
        // server told the daemon has to do.
        StatusCode::FORBIDDEN if contains(body, b"selfsubjectaccessreviews") => Ok(()),
        _ => Err(format!("the API server answers with {status}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_is_a_yes() {
        let review =
            |allowed: &str| format!(r#"{{"kind":"SelfSubjectAccessReview","status":{{"allowed":{allowed}}}}}"#);
        let forbidden = |message: &str| format!(r#"{{"kind":"Status","message":"{message}","code":403}}"#);
        let own =
            forbidden("selfsubjectaccessreviews.authorization.k8s.io is forbidden: User jit:alice cannot create it");
        let acting =
            forbidden("users is forbidden: User gw cannot impersonate resource users, for selfsubjectaccessreviews");
        for (status, body, is_yes) in [
            (201, review("true"), true),
            (200, review("true"), true),
            (201, review("false"), false),
            (201, r#"{"status":{"denied":true}}"#.to_owned(), false),
            (201, String::new(), false),
            (403, own, true),
            (403, acting, false),
            (403, forbidden("no"), false),
            (401, review("true"), false),
            (302, review("true"), false),
            (500, review("true"), false),
        ] {
            let judged = judge(StatusCode::from_u16(status).unwrap(), body.as_bytes());
            assert_eq!(judged.is_ok(), is_yes, "{status} {body}: {judged:?}");
        }
    }

    #[test]
    fn the_holder_asks_and_nobody_else() {
        let holder = Identity { user: "jit:alice", group: "jit:g", grant: "g" };
        let review = json!({ "resourceAttributes": { "verb": "get", "resource": "pods" } });
        let request = request(&holder, &review).unwrap();
        assert_eq!((request.method(), request.uri().path()), (&Method::POST, REVIEWS));
        assert_eq!(request.headers()["impersonate-user"], "jit:alice");
        assert_eq!(request.headers()["impersonate-group"], "jit:g");
    }
}
