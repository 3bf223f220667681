//! The first moments of a grant. The daemon proved the grant on one API server; another one, behind the same address, hears
//! of its bindings a moment later, and refuses until then the holder, or the gateway itself.
//!
//! So what only reads, and has no body, is asked again while the grant is new. A refusal that stays is passed on as it is.
//! A client that begins with a read, as kubectl does, goes on to the same API server with what it writes.

use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use tokio::time::{Instant, sleep};

use crate::answer::Body;

/// How long a grant counts as new, from when the gateway heard of it. An API server that serves is rarely a tenth of a
/// second behind.
const NEW: Duration = Duration::from_secs(3);

/// The pause before the second attempt; each one after it is twice as long.
const PAUSE: Duration = Duration::from_millis(50);

/// Whether a request may be sent more than once.
pub(crate) fn is_repeatable(method: &Method, has_body: bool) -> bool {
    matches!(*method, Method::GET | Method::HEAD) && !has_body
}

/// The answer to `request` from `send`; while the grant that the gateway heard of at `since` is new, not a refusal if it can
/// be repeated.
pub(crate) async fn unless_new<T, E, F>(
    since: Instant,
    is_repeatable: bool,
    mut request: Request<Body>,
    send: impl Fn(Request<Body>) -> F,
) -> Result<Response<T>, E>
where
    F: Future<Output = Result<Response<T>, E>>,
{
    let mut pause = PAUSE;
    loop {
        let again = is_repeatable.then(|| copy(&request));
        let answer = send(request).await?;
        match again {
            Some(again) if answer.status() == StatusCode::FORBIDDEN && since.elapsed() + pause < NEW => {
                drop(answer);
                sleep(pause).await;
                pause *= 2;
                request = again;
            }
            _ => return Ok(answer),
        }
    }
}

/// The same request, without a body.
fn copy(request: &Request<Body>) -> Request<Body> {
    let mut copy = Request::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    copy
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn request() -> Request<Body> {
        let mut request = copy(&Request::new(Empty::new().map_err(|never| match never {}).boxed_unsync()));
        *request.uri_mut() = "/api/v1/namespaces/payments/pods?watch=true".parse().unwrap();
        request.headers_mut().insert("impersonate-user", "jit:alice".parse().unwrap());
        request
    }

    /// The status that arrives, and how often the API server was asked, if it refuses the first `refusals` times.
    async fn asked(since: Instant, is_repeatable: bool, refusals: u32) -> (StatusCode, u32) {
        let count = AtomicU32::new(0);
        let send = |sent: Request<Body>| {
            assert_eq!((sent.uri(), sent.headers()), (request().uri(), request().headers()));
            let number = count.fetch_add(1, Ordering::Relaxed);
            let status = if number < refusals { StatusCode::FORBIDDEN } else { StatusCode::OK };
            let answer = Response::builder().status(status).body(()).unwrap();
            async move { Ok::<_, ()>(answer) }
        };
        let answer = unless_new(since, is_repeatable, request(), send).await.unwrap();
        (answer.status(), count.into_inner())
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_grant_is_not_refused_by_an_api_server_that_lags() {
        assert_eq!(asked(Instant::now(), true, 0).await, (StatusCode::OK, 1));
        assert_eq!(asked(Instant::now(), true, 3).await, (StatusCode::OK, 4));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_that_stays_is_passed_on_within_the_limit() {
        let since = Instant::now();
        assert_eq!(asked(since, true, u32::MAX).await.0, StatusCode::FORBIDDEN);
        assert!(since.elapsed() < NEW && since.elapsed() > NEW / 3, "{:?}", since.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_new_or_not_repeatable_is_asked_once() {
        let since = Instant::now();
        assert_eq!(asked(since, false, 1).await, (StatusCode::FORBIDDEN, 1));
        tokio::time::advance(NEW).await;
        assert_eq!(asked(since, true, 1).await, (StatusCode::FORBIDDEN, 1));
    }

    #[test]
    fn only_reads_without_a_body_are_repeated() {
        assert!(is_repeatable(&Method::GET, false) && is_repeatable(&Method::HEAD, false));
        for (method, has_body) in
            [(Method::GET, true), (Method::POST, false), (Method::DELETE, false), (Method::PATCH, true)]
        {
            assert!(!is_repeatable(&method, has_body), "{method}");
        }
    }
}
