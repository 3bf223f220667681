//! The gateway's own answers: a Kubernetes `Status`, so that kubectl shows the sentence.
//!
//! Each message begins with `jit: `, so that nobody takes it for the API server's. Where kubectl looks for what the API
//! server has, it reads no `Status` and prints "unknown" instead; there the sentence is plain text, which it shows.

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

/// The same for a request with this path: a `Status`, or plain text where a client discovers the API.
#[must_use]
pub fn refusal(code: StatusCode, why: &str, path: &str) -> Response<Body> {
    if names_a_resource(path) {
        return status(code, why);
    }
    let mut answer = status(code, why);
    *answer.body_mut() = Full::new(Bytes::from(format!("jit: {why}\n"))).map_err(|never| match never {}).boxed_unsync();
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}

/// Whether a path goes below a version of an API (`/api/v1/…`, `/apis/GROUP/VERSION/…`).
fn names_a_resource(path: &str) -> bool {
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    matches!(segments.as_slice(), ["api", _, _, ..] | ["apis", _, _, _, ..])
}

/// The document of [`status`].
#[must_use]
pub fn status_document(code: StatusCode, why: &str) -> Bytes {
    let reason = match code {
        // The API has no reasons of its own for the other two.
        StatusCode::BAD_REQUEST | StatusCode::URI_TOO_LONG | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
            "BadRequest"
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn discovery_is_told_in_plain_text() {
        for (path, kind) in [
            ("/api", "text/plain; charset=utf-8"),
            ("/api/v1/", "text/plain; charset=utf-8"),
            ("/apis/apps/v1", "text/plain; charset=utf-8"),
            ("/version", "text/plain; charset=utf-8"),
            ("/openapi/v3/apis/apps/v1", "text/plain; charset=utf-8"),
            ("/api/v1/pods", "application/json"),
            ("/apis/apps/v1/namespaces/a/deployments", "application/json"),
        ] {
            let answer = refusal(StatusCode::BAD_GATEWAY, "why", path);
            assert_eq!(answer.headers()[header::CONTENT_TYPE], kind, "{path}");
            assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
        }
    }
}
