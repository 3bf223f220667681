//! An identity provider, as a public client needs it: discovery, the code flow, the device flow, refresh, revocation.
//!
//! ```text
//!  discovery (OpenID Connect Discovery 1.0) ─► authorization ─► code ─► token        (RFC 6749, with PKCE, RFC 7636)
//!                                           ├► device authorization ─► poll ─► token (RFC 8628)
//!                                           └► revocation                            (RFC 7009)
//! ```
//! Only over verified TLS, without redirects. It believes nothing in a token: the front end verifies it. Nothing here prints.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{Method, Request, StatusCode};
use hyper::body::Bytes;
use jit_dial::{Limits, Outbound};
use jit_host::hint::Hint;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;

use crate::failure::Failure;

/// Of one exchange.
const LIMITS: Limits = Limits { deadline: Duration::from_secs(20), body: 256 << 10 };

/// How much of a provider's own words is shown, in characters.
const SHOWN: usize = 200;

/// How long a client waits between two questions if the provider says nothing (RFC 8628 section 3.2), and how much longer
/// after `slow_down` (section 3.5).
const POLL_EVERY: u64 = 5;

/// A provider.
pub(crate) struct Provider {
    outbound: Outbound,
    pub(crate) issuer: String,
    endpoints: Endpoints,
}

#[derive(Deserialize)]
struct Endpoints {
    issuer: String,
    authorization_endpoint: Option<String>,
    token_endpoint: String,
    device_authorization_endpoint: Option<String>,
    revocation_endpoint: Option<String>,
}

/// What a provider gives for a login.
#[derive(Deserialize)]
pub(crate) struct Tokens {
    /// Who it is.
    pub(crate) id_token: Option<String>,
    /// Gets another one.
    pub(crate) refresh_token: Option<String>,
}

/// What a refresh token brings.
pub(crate) enum Refreshed {
    /// Other tokens.
    Tokens(Tokens),
    /// Nothing any more: it has expired, was revoked or was used before (`invalid_grant`, RFC 6749 section 5.2). With a
    /// sentence.
    Over(String),
}

/// A login that is continued elsewhere.
#[derive(Deserialize)]
pub(crate) struct Device {
    device_code: String,
    /// What the person types.
    pub(crate) user_code: String,
    /// Where.
    pub(crate) verification_uri: String,
    /// Where, with the code in it.
    pub(crate) verification_uri_complete: Option<String>,
    expires_in: u64,
    interval: Option<u64>,
}

/// A secret that the code flow is bound to (RFC 7636 section 4.1), or a `state`.
pub(crate) fn random() -> Result<String, Failure> {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| Failure::own("this host has no random numbers", ""))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// `S256` of a verifier (RFC 7636 section 4.2).
pub(crate) fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, verifier.as_bytes()))
}

impl Provider {
    /// Finds the endpoints of an issuer.
    pub(crate) async fn discover(issuer: &str) -> Result<Self, Failure> {
        let failed = |why: String| failed(issuer, &why);
        let outbound = Outbound::trusting_host(Vec::new());
        let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let (status, body) = exchange(&outbound, Method::GET, &url, None).await.map_err(failed)?;
        if status != StatusCode::OK {
            return Err(failed(format!("it answered {}", status.as_u16())));
        }
        let endpoints: Endpoints = parsed(&body).map_err(failed)?;
        if endpoints.issuer != issuer {
            return Err(failed("its discovery names another issuer".to_owned()));
        }
        Ok(Self { outbound, issuer: issuer.to_owned(), endpoints })
    }

    /// The address that a browser opens for the code flow.
    pub(crate) fn authorization(&self, parameters: &[(&str, &str)]) -> Result<String, Failure> {
        let endpoint = self.endpoints.authorization_endpoint.as_deref();
        let endpoint = endpoint.ok_or_else(|| failed(&self.issuer, "it has no login in a browser"))?;
        let joint = if endpoint.contains('?') { '&' } else { '?' };
        Ok(format!("{endpoint}{joint}{}", form(parameters)))
    }

    /// The tokens for a code.
    pub(crate) async fn redeem(
        &self,
        client: &str,
        code: &str,
        verifier: &str,
        redirect: &str,
    ) -> Result<Tokens, Failure> {
        let parameters = [
            ("grant_type", "authorization_code"),
            ("client_id", client),
            ("code", code),
            ("code_verifier", verifier),
            ("redirect_uri", redirect),
        ];
        let answered = self.answer(&self.endpoints.token_endpoint, &parameters).await;
        answered.map_err(|(_, why)| failed(&self.issuer, &why))
    }

    /// Other tokens for a refresh token, which may be worth nothing afterwards.
    pub(crate) async fn refresh(&self, client: &str, token: &str) -> Result<Refreshed, Failure> {
        let parameters = [("grant_type", "refresh_token"), ("client_id", client), ("refresh_token", token)];
        match self.answer(&self.endpoints.token_endpoint, &parameters).await {
            Ok(tokens) => Ok(Refreshed::Tokens(tokens)),
            Err((code, why)) if code == "invalid_grant" => {
                Ok(Refreshed::Over(format!("the identity provider {}: {why}", self.issuer)))
            }
            Err((_, why)) => Err(failed(&self.issuer, &why)),
        }
    }

    /// Begins a login that is continued elsewhere.
    pub(crate) async fn device(
        &self,
        client: &str,
        scope: &str,
        nonce: &str,
        challenge: &str,
    ) -> Result<Device, Failure> {
        let endpoint = self.endpoints.device_authorization_endpoint.as_deref();
        let endpoint = endpoint.ok_or_else(|| failed(&self.issuer, "it has no login by a code"))?;
        let parameters = [
            ("client_id", client),
            ("scope", scope),
            ("nonce", nonce),
            // Keycloak demands it here too.
            ("code_challenge", challenge),
            ("code_challenge_method", "S256"),
        ];
        self.answer(endpoint, &parameters).await.map_err(|(_, why)| failed(&self.issuer, &why))
    }

    /// Waits until the person has continued.
    pub(crate) async fn continued(&self, client: &str, device: &Device, verifier: &str) -> Result<Tokens, Failure> {
        let mut every = device.interval.unwrap_or(POLL_EVERY);
        let polled = async {
            loop {
                tokio::time::sleep(Duration::from_secs(every)).await;
                let parameters = [
                    ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
                    ("client_id", client),
                    ("device_code", &device.device_code),
                    ("code_verifier", verifier),
                ];
                match self.answer(&self.endpoints.token_endpoint, &parameters).await {
                    Err((code, _)) if code == "authorization_pending" => {}
                    Err((code, _)) if code == "slow_down" => every = every.saturating_add(POLL_EVERY),
                    Err((_, why)) => return Err(failed(&self.issuer, &why)),
                    Ok(tokens) => return Ok(tokens),
                }
            }
        };
        let late = |_| Failure::own("nobody entered the code in time", "try again");
        timeout(Duration::from_secs(device.expires_in), polled).await.map_err(late)?
    }

    /// Tells the provider that a refresh token is over. A provider without revocation is none.
    pub(crate) async fn revoke(&self, client: &str, token: &str) -> Result<(), Failure> {
        let Some(endpoint) = &self.endpoints.revocation_endpoint else { return Ok(()) };
        let parameters = [("client_id", client), ("token", token), ("token_type_hint", "refresh_token")];
        let sent = exchange(&self.outbound, Method::POST, endpoint, Some(form(&parameters))).await;
        match sent {
            // Also for a token that was over before (RFC 7009 section 2.2).
            Ok((status, _)) if status.is_success() => Ok(()),
            Ok((status, _)) => Err(failed(&self.issuer, &format!("it answered {}", status.as_u16()))),
            Err(why) => Err(failed(&self.issuer, &why)),
        }
    }

    /// The answer to a form, or the code of the error and a sentence (RFC 6749 section 5.2).
    async fn answer<T: DeserializeOwned>(&self, url: &str, parameters: &[(&str, &str)]) -> Result<T, (String, String)> {
        let own = |why: String| (String::new(), why);
        let (status, body) = exchange(&self.outbound, Method::POST, url, Some(form(parameters))).await.map_err(own)?;
        if status.is_success() {
            return parsed(&body).map_err(own);
        }
        let told: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let word = |name: &str| told.get(name).and_then(Value::as_str).map(shown).unwrap_or_default();
        let code = word("error");
        let why = match word("error_description") {
            description if description.is_empty() => format!("it answered {} {code}", status.as_u16()),
            description => format!("it answered {code}: {description}"),
        };
        Err((code, why))
    }
}

/// A provider's own words, as far as they are shown: printable, and not many.
pub(crate) fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(SHOWN).collect()
}

/// `application/x-www-form-urlencoded`.
fn form(parameters: &[(&str, &str)]) -> String {
    let encoded =
        |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
    let pairs: Vec<String> = parameters.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    pairs.join("&")
}

fn parsed<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    // The error of serde could repeat a part of a token.
    serde_json::from_slice(body).map_err(|_| "its answer has another form".to_owned())
}

fn failed(issuer: &str, why: &str) -> Failure {
    Failure::own(format!("the identity provider {issuer}: {why}"), "try again, or ask those who run it")
}

async fn exchange(
    outbound: &Outbound,
    method: Method,
    url: &str,
    body: Option<String>,
) -> Result<(StatusCode, Bytes), String> {
    let mut request = Request::builder().method(method).uri(url).header(ACCEPT, "application/json");
    if body.is_some() {
        request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
    }
    let request = request.body(body.unwrap_or_default().into()).map_err(|_| "one of its URLs is none".to_owned())?;
    let answer = outbound.exchange(request, LIMITS).await.map_err(|error| error.on_one_line())?;
    Ok((answer.status(), answer.into_body()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7636, appendix B.
    #[test]
    fn a_challenge_is_that_of_the_rfc() {
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        assert_eq!(challenge(verifier), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
        assert_ne!(random().unwrap(), random().unwrap());
    }

    #[test]
    fn a_form_is_encoded() {
        assert_eq!(form(&[("scope", "openid a&b"), ("x", "ä=1")]), "scope=openid%20a%26b&x=%C3%A4%3D1");
    }

    #[test]
    fn the_words_of_a_provider_are_printable_and_short() {
        assert_eq!(shown("no\u{1b}[31m\n\u{7f}"), "no[31m");
        assert_eq!(shown(&"x".repeat(1000)).len(), 200);
    }
}
