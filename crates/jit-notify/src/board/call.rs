//! Calls to JSON services, and what their answers mean.

use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use jiff::Timestamp;
use serde_json::Value;

use crate::http::{Answer, Http, Target};
use crate::outcome::Outcome;
use jit_host::secret::Secret;

/// Where a service is called, and who we are there.
pub(super) struct Caller<'a> {
    pub(super) http: &'a Http,
    pub(super) base: &'a Target,
    pub(super) token: Option<&'a Secret>,
    pub(super) now: Timestamp,
}

impl Caller<'_> {
    /// The answer to one request; the error is an outcome, for there was no answer.
    pub(super) async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer, Outcome> {
        let refused = |why: &str| Outcome::Refused { why: why.to_owned() };
        let to = self.base.below(path).map_err(|why| refused(&why))?;
        let mut headers = HeaderMap::new();
        if body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
        }
        if let Some(token) = self.token {
            let bearer = HeaderValue::from_str(&format!("Bearer {}", token.expose()));
            let mut bearer = bearer.map_err(|_| refused("the token cannot be in a header"))?;
            bearer.set_sensitive(true);
            headers.insert(AUTHORIZATION, bearer);
        }
        let body = body.map(Value::to_string).unwrap_or_default().into_bytes();
        self.http.send(method, &to, headers, body).await.map_err(Outcome::from)
    }

    /// The answer of a service that tells success by its status.
    pub(super) async fn json(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Outcome> {
        let answer = self.call(method, path, body).await?;
        match Outcome::of(&answer, self.now) {
            Outcome::Delivered { .. } => Ok(parsed(&answer).unwrap_or_default()),
            other => Err(other),
        }
    }
}

/// The JSON of an answer that is whole.
pub(super) fn parsed(answer: &Answer) -> Option<Value> {
    serde_json::from_slice(&answer.body).ok().filter(|_| answer.cut.is_none())
}

/// `outcome` without `secret`, which a service may repeat in an answer.
pub(super) fn without(outcome: Outcome, secret: &Secret) -> Outcome {
    let hide = |why: String| why.replace(secret.expose(), "[secret]");
    match outcome {
        Outcome::Later { after, why } => Outcome::Later { after, why: hide(why) },
        Outcome::Refused { why } => Outcome::Refused { why: hide(why) },
        Outcome::Off { why } => Outcome::Off { why: hide(why) },
        delivered @ Outcome::Delivered { .. } => delivered,
    }
}

/// An id that can be a part of a URL.
pub(super) fn is_id(text: &str) -> bool {
    !text.is_empty() && text.len() <= 64 && text.chars().all(|c| c.is_ascii_alphanumeric())
}
