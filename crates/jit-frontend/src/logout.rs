//! `POST /v1/logout`: a provider ends a login (OpenID Connect Back-Channel Logout 1.0 section 2.5).
//!
//! ```text
//!  logout token ─► tokens: verified ─► sessions: over at once ─► jitd, until it has ended the access ─► 200
//!                     └─► 400                                       └─ not within 5 s ─► 503, and it is told again
//! ```
//! Providers do not repeat a logout, so we do: the sessions are over whatever `jitd` does, and `jitd` is told until it answers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use hyper::body::Incoming;
use jiff::SignedDuration;
use jit_core::grant::login::ProviderLogout;
use jit_wire::{ErrorCode, Problem};
use serde::Deserialize;
use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::answer::{self, Body};
use crate::daemon;
use crate::routes::{Routes, is_of_type, whole};

/// How many logouts `jitd` is told at a time: a few of the connections that it has for the front end.
pub const TURNS: usize = 8;

/// How long a provider waits at most. Some wait less, and lose nothing but the answer.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);

/// How long after a failure `jitd` is told again, at first and at most.
const AGAIN: Duration = Duration::from_secs(1);
const AGAIN_AT_MOST: Duration = Duration::from_secs(30);

/// For how long it is told again: no window is longer, so there is nothing left to end.
const TOLD_FOR: SignedDuration = SignedDuration::from_hours(24);

/// The body. Other members are ignored (section 2.5).
#[derive(Deserialize)]
struct Form {
    logout_token: String,
}

impl Routes {
    /// Answers a logout: 200 if all of the login's access has ended, 400 if the token is refused (section 2.8).
    pub async fn log_out(self: &Arc<Self>, headers: &HeaderMap, body: Incoming, peer: SocketAddr) -> Response<Body> {
        let done = self.end_login(headers, body, peer).await;
        let mut answer = done.map_or_else(|problem| refusal(&problem), |()| Response::new(answer::nothing()));
        answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        answer
    }

    async fn end_login(self: &Arc<Self>, headers: &HeaderMap, body: Incoming, peer: SocketAddr) -> Result<(), Problem> {
        self.may_try(peer.ip())?;
        let verified = self.end_sessions(headers, body, peer).await;
        if verified.as_ref().is_err_and(|problem| problem.status < 500) {
            self.refused(peer.ip());
        }
        // A task of its own: it goes on if the provider no longer waits.
        let (routes, logout) = (Arc::clone(self), verified?);
        let told = tokio::spawn(async move { routes.tell(logout).await });
        timeout(ANSWERED_WITHIN, told).await.ok().and_then(Result::ok).unwrap_or_else(|| {
            let why = "the sessions of the login are over, and jitd has not yet ended its access; it is told again";
            Err(Problem::new(ErrorCode::DaemonUnreachable, why))
        })
    }

    /// Ends the sessions of the login that the token in the body names.
    async fn end_sessions(
        &self,
        headers: &HeaderMap,
        body: Incoming,
        peer: SocketAddr,
    ) -> Result<ProviderLogout, Problem> {
        let body = whole(body).await?;
        let malformed = || Problem::new(ErrorCode::Malformed, "the body must be a form with one `logout_token`");
        if !is_of_type(headers, b"application/x-www-form-urlencoded") {
            return Err(malformed());
        }
        // The error could repeat a part of the token.
        let Form { logout_token } = serde_urlencoded::from_bytes(&body).map_err(|_| malformed())?;
        let now = (self.clock)();
        let verified = self.tokens.verify_logout(&logout_token, now).await?;
        let logout = ProviderLogout {
            issuer: verified.issuer,
            subject: verified.subject,
            sid: verified.sid,
            issued: verified.issued,
            token_sha256: verified.token_hash,
        };
        let sessions = self.sessions.log_out(&logout, &verified.jti, now)?;
        let ProviderLogout { issuer, subject, sid, .. } = &logout;
        tracing::info!(issuer, subject, sid, sessions, address = %peer, "a provider ended a login");
        Ok(logout)
    }

    /// Tells `jitd`, until it has ended the access, or says that it never will.
    async fn tell(&self, logout: ProviderLogout) -> Result<(), Problem> {
        let (since, mut again) = ((self.clock)(), AGAIN);
        loop {
            let told = match self.turns.acquire().await {
                Ok(_turn) => daemon::log_out(&self.daemon, logout.clone()).await,
                // Nobody closes it.
                Err(_) => return Ok(()),
            };
            let ProviderLogout { issuer, subject, sid, .. } = &logout;
            match told {
                Ok(grants) => {
                    tracing::info!(issuer, subject, sid, grants, "jitd ended the access of a login");
                    return Ok(());
                }
                Err(problem) if problem.status < 500 || (self.clock)().duration_since(since) > TOLD_FOR => {
                    tracing::warn!(
                        issuer,
                        subject,
                        sid,
                        why = problem.detail,
                        "jitd does not end the access of a login"
                    );
                    return Err(problem);
                }
                Err(problem) => {
                    let why = problem.detail;
                    tracing::warn!(
                        issuer,
                        subject,
                        sid,
                        why,
                        "jitd has not ended the access of a login; it is told again"
                    );
                }
            }
            sleep(again).await;
            again = (again * 2).min(AGAIN_AT_MOST);
        }
    }
}

/// Section 2.8, with the words of RFC 6749 section 5.2. What is no fault of the token keeps its status.
fn refusal(problem: &Problem) -> Response<Body> {
    let is_ours = problem.status >= 500 || problem.status == 429;
    let (status, error) = match StatusCode::from_u16(problem.status) {
        Ok(status) if is_ours => (status, "temporarily_unavailable"),
        _ => (StatusCode::BAD_REQUEST, "invalid_request"),
    };
    let mut answer = answer::json(status, &json!({ "error": error, "error_description": problem.detail }));
    if let Some(seconds) = problem.retry_after {
        answer.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    answer
}
