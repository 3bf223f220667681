//! The gateway's own answers: a Kubernetes `Status`, so that kubectl shows the sentence.
//!
//! Each message begins with `jit: `, so that nobody takes it for the API server's.

use std::error::Error as StdError;

use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use serde_json::json;

/// The cause of an answer that breaks off.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// The body of an answer: the upstream's, streamed, or our own.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// A `Status` with a sentence
/// (<https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/>).
#[must_use]
pub fn status(code: StatusCode, why: &str) -> Response<Body> {
    let mut answer =
        Response::new(Full::new(status_document(code, why)).map_err(|never| match never {}).boxed_unsync());
    *answer.status_mut() = code;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

/// The document of [`status`].
#[must_use]
pub fn status_document(code: StatusCode, why: &str) -> Bytes {
    let reason = match code {
        StatusCode::BAD_REQUEST => "BadRequest",
        StatusCode::UNAUTHORIZED => "Unauthorized",
        StatusCode::FORBIDDEN => "Forbidden",
        StatusCode::NOT_FOUND => "NotFound",
        StatusCode::METHOD_NOT_ALLOWED => "MethodNotAllowed",
        StatusCode::TOO_MANY_REQUESTS => "TooManyRequests",
        StatusCode::SERVICE_UNAVAILABLE => "ServiceUnavailable",
        StatusCode::GATEWAY_TIMEOUT => "Timeout",
        _ => "InternalError",
    };
    let document = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": format!("jit: {why}"), "reason": reason, "code": code.as_u16(),
    });
    Bytes::from(document.to_string())
}
