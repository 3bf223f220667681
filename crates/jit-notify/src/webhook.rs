//! The webhook, signed as Standard Webhooks 1.0 says (<https://github.com/standard-webhooks/standard-webhooks>).
//!
//! ```text
//!  webhook-id: jit_…                  the same on each attempt: who keeps it recognises a repeat
//!  webhook-timestamp: 1764450000      when this attempt was made, in seconds
//!  webhook-signature: v1,BASE64 …     HMAC-SHA256 of `id.timestamp.body`, one for each secret that is valid
//! ```

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method};
use jiff::Timestamp;
use zeroize::Zeroizing;

use crate::http::{Http, Target};
use crate::outcome::Outcome;
use jit_host::secret::Secret;

/// How a secret begins, as it is shared with receivers.
const PREFIX: &str = "whsec_";

/// How long a key may be, in bytes (Standard Webhooks 1.0, "Signature scheme").
const LENGTHS: std::ops::RangeInclusive<usize> = 24..=64;

/// A webhook.
#[derive(Debug)]
pub struct Webhook {
    to: Target,
    keys: Vec<hmac::Key>,
}

impl Webhook {
    /// A webhook to a URL, signed with each of the secrets, the newest first.
    ///
    /// # Errors
    /// The rest of a sentence that begins with the name of the key. It contains no secret.
    pub fn new(url: &Secret, secrets: &[Secret]) -> Result<Self, String> {
        let to = Target::parse(url.expose()).map_err(|why| format!("url {why}"))?;
        if secrets.is_empty() || secrets.len() > 2 {
            return Err("secrets must be one, or two while a new one replaces the old".to_owned());
        }
        let keys = secrets.iter().map(key).collect::<Result<_, _>>()?;
        Ok(Self { to, keys })
    }

    /// Sends the document with this id once.
    pub async fn deliver(&self, http: &Http, id: &str, body: Vec<u8>, now: Timestamp) -> Outcome {
        let Some(headers) = self.headers(id, now, &body) else {
            return Outcome::Refused { why: "its id cannot be in a header".to_owned() };
        };
        match http.send(Method::POST, &self.to, headers, body).await {
            Ok(answer) => Outcome::of(&answer, now),
            Err(error) => error.into(),
        }
    }

    fn headers(&self, id: &str, now: Timestamp, body: &[u8]) -> Option<HeaderMap> {
        let at = now.as_second().to_string();
        let signature = signature(&self.keys, id, &at, body);
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert("webhook-id", HeaderValue::from_str(id).ok()?);
        headers.insert("webhook-timestamp", HeaderValue::from_str(&at).ok()?);
        headers.insert("webhook-signature", HeaderValue::from_str(&signature).ok()?);
        Some(headers)
    }
}

/// The value of `webhook-signature`.
fn signature(keys: &[hmac::Key], id: &str, at: &str, body: &[u8]) -> String {
    let sign = |key: &hmac::Key| {
        let mut context = hmac::Context::with_key(key);
        for part in [id.as_bytes(), b".", at.as_bytes(), b".", body] {
            context.update(part);
        }
        format!("v1,{}", STANDARD.encode(context.sign()))
    };
    keys.iter().map(sign).collect::<Vec<_>>().join(" ")
}

fn key(secret: &Secret) -> Result<hmac::Key, String> {
    let malformed =
        || format!("secrets must be `{PREFIX}` and 24 to 64 bytes in base64, as `openssl rand -base64 32` prints");
    let encoded = secret.expose().strip_prefix(PREFIX).ok_or_else(malformed)?;
    let bytes = Zeroizing::new(STANDARD.decode(encoded).map_err(|_| malformed())?);
    if !LENGTHS.contains(&bytes.len()) {
        return Err(malformed());
    }
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn webhook(secrets: &[&str]) -> Result<Webhook, String> {
        let secrets: Vec<Secret> = secrets.iter().map(|text| Secret::from((*text).to_owned())).collect();
        Webhook::new(&Secret::from("https://hooks.example.com/hush".to_owned()), &secrets)
    }

    /// The vector of the libraries' own tests, and that of Svix's documentation
    /// (<https://docs.svix.com/receiving/verifying-payloads/how-manual>), whose key is shorter than we accept.
    #[test]
    fn the_signature_is_that_of_the_published_vectors() {
        for (secret, id, at, body, expected) in [
            (
                "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
                "msg_p5jXN8AQM9LWM0D4loKWxJek",
                "1614265330",
                r#"{"test": 2432232314}"#,
                "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
            ),
            (
                "plJ3nmyCDGBKInavdOK15jsl",
                "msg_loFOjxBNrRLzqYUf",
                "1731705121",
                r#"{"event_type":"ping","data":{"success":true}}"#,
                "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=",
            ),
        ] {
            let key = hmac::Key::new(hmac::HMAC_SHA256, &STANDARD.decode(secret).unwrap());
            assert_eq!(signature(&[key], id, at, body.as_bytes()), expected);
        }
    }

    #[test]
    fn two_secrets_sign_while_one_replaces_the_other_and_a_bad_one_is_refused_unseen() {
        let (old, new) = (format!("whsec_{}", STANDARD.encode([1; 24])), format!("whsec_{}", STANDARD.encode([2; 64])));
        let both = signature(&webhook(&[&new, &old]).unwrap().keys, "a", "1", b"x");
        let each = [&new, &old].map(|secret| signature(&webhook(&[secret]).unwrap().keys, "a", "1", b"x"));
        assert_eq!(both, each.join(" "));
        for bad in [&[][..], &["hush"], &["whsec_hush!"], &["whsec_aHVzaA=="], &[&new, &old, &new]] {
            let why = webhook(bad).unwrap_err();
            assert!(why.starts_with("secrets must be") && !why.contains("aHVz") && !why.contains("hush"), "{why}");
        }
        assert!(!format!("{:?}", webhook(&[&new]).unwrap()).contains("hush"));
    }
}
