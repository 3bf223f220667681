//! The front end's own answers: a problem document (RFC 9457), as `jitd` answers, or JSON.

use std::error::Error as StdError;

use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use jit_wire::{ErrorCode, Problem};
use serde::Serialize;

/// The cause of an answer that breaks off.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// The body of an answer: the daemon's, streamed, or our own.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// A refusal or a failure. `Connection: close` follows a refusal of a stranger, so that each further try costs a handshake.
#[must_use]
pub fn problem(problem: &Problem) -> Response<Body> {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut answer = json(status, problem);
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if let Some(seconds) = problem.retry_after {
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::TOO_MANY_REQUESTS) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

/// No body.
#[must_use]
pub fn nothing() -> Body {
    whole(Bytes::new())
}

fn whole(body: Bytes) -> Body {
    Full::new(body).map_err(|never| match never {}).boxed_unsync()
}

/// A view.
#[must_use]
pub fn json(status: StatusCode, view: &impl Serialize) -> Response<Body> {
    // Strings, numbers and times always serialise.
    let body = serde_json::to_vec(view).unwrap_or_default();
    let mut answer = Response::new(whole(Bytes::from(body)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

/// The client has proved no key.
#[must_use]
pub fn no_key() -> Problem {
    Problem::new(ErrorCode::KeyRequired, "this needs the key of a client, and the connection proves none")
        .hint("use `jit-login`, which proves its key with a client certificate")
}

/// The client has no session, or it is over.
#[must_use]
pub fn no_session() -> Problem {
    Problem::new(ErrorCode::SessionRequired, "there is no session with the key of this connection")
        .hint("log in with `jit-login login`")
}
