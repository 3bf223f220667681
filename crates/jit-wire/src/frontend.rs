//! What `jit-frontend` says to `jitd` and to people: who calls, whose login is over, and the forms of its own routes.
//!
//! ```text
//!  jit-login ══ TLS, client certificate ══► jit-frontend ─► introduction ─► jitd, over a Unix socket of its own
//!                                                        ◄─ welcome, or a problem
//!                                                        ══ HTTP of this one caller, until the connection ends ══►
//!  identity provider ══ TLS ══════════════► jit-frontend ─► logout ───────► jitd, over another connection
//!                                                        ◄─ done, or a problem
//! ```
//! An introduction holds for one connection to `jitd`, and comes before its first request. So nothing that a client sends
//! stands beside it, and no header can be taken for it. A side that reads another version, or a field that it does not know,
//! closes the connection.

use std::io::{Error, ErrorKind};

use jiff::Timestamp;
use jit_core::grant::digest::sha256_hex;
use jit_core::grant::login::ProviderLogout;
use jit_core::grant::request::{PersonName, ProviderLogin};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt};
use utoipa::ToSchema;

use crate::Problem;

/// The version of these documents. Both sides must have the same.
pub const VERSION: u32 = 3;

/// The longest document of either side, in bytes: an ID token has at most 16 KiB, with all its groups.
pub const LONGEST: usize = 64 * 1024;

/// The default socket of the daemon for the front end.
pub const DEFAULT_SOCKET: &str = "/run/jitd/frontend.sock";

/// The first and only document of the front end on a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum FromFrontend {
    /// Who calls on this connection.
    Introduction(Introduction),
    /// A provider has ended a login. Nothing follows.
    Logout {
        /// [`VERSION`].
        version: u32,
        /// What the provider said.
        logout: ProviderLogout,
    },
}

/// Who calls on a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Introduction {
    /// [`VERSION`].
    pub version: u32,
    /// The login, with the identity of the person.
    pub login: ProviderLogin,
    /// What the person is called, by the rule of the provider. `jitd` derives the person's name from it.
    pub name: PersonName,
    /// The groups that the rule of the provider maps the person's groups to. `jitd` decides which of them count.
    pub groups: Vec<String>,
    /// The end of the session. `jitd` serves nothing on this connection after it.
    pub until: Timestamp,
    /// The address of the client, for the log.
    pub address: String,
}

/// The answer of the daemon to the document of the front end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum FromDaemon {
    /// The requests of this person may follow.
    Welcome {
        /// The name of the person, in the trail and in certificates.
        name: String,
    },
    /// The access of the person who was logged out ends, and the daemon closes the connection.
    LoggedOut {
        /// How many grants end by this.
        grants: usize,
    },
    /// The daemon does not serve this person now, or could not end all of it, and closes the connection.
    Refused {
        /// Why, for the person or the log.
        problem: Problem,
    },
}

/// Reads one document, a line, before which nothing and after which not yet anything was sent.
///
/// # Errors
/// [`ErrorKind::InvalidData`] for a document that is too long or has another form, and if more follows it at once;
/// [`ErrorKind::UnexpectedEof`] if the other side closes before its end; otherwise that of the socket.
pub async fn read<T: DeserializeOwned>(mut from: impl AsyncRead + Unpin) -> Result<T, Error> {
    let invalid = |why: String| Error::new(ErrorKind::InvalidData, why);
    let (mut document, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        let read = from.read(&mut chunk).await?;
        document.extend_from_slice(chunk.get(..read).unwrap_or_default());
        if let Some(end) = document.iter().position(|byte| *byte == b'\n') {
            if end + 1 != document.len() {
                return Err(invalid("something follows the document".to_owned()));
            }
            let form = |error| invalid(format!("a document has another form: {error}"));
            return serde_json::from_slice(&document).map_err(form);
        }
        if read == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        if document.len() > LONGEST {
            return Err(invalid("a document is too long".to_owned()));
        }
    }
}

/// The `nonce` that binds an ID token to one front end and one key: SHA-256, hex, over the front end's URL and the key of the
/// client (`SubjectPublicKeyInfo`, DER; RFC 5280 section 4.1.2.7). A token that was made for another front end, or that
/// somebody without the key has got hold of, opens no session.
#[must_use]
pub fn nonce(server: &str, key: &[u8]) -> String {
    sha256_hex(&[b"jit-frontend session\0", server.as_bytes(), b"\0", key].concat())
}

/// `GET /v1/providers` of the front end: what a client needs to know before it can log in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProviderList {
    /// The URL of the front end, which goes into the nonce.
    pub server: String,
    /// The providers, in the order of the configuration.
    pub providers: Vec<ProviderView>,
}

/// One identity provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProviderView {
    /// The issuer, which a client finds the provider's endpoints by (OpenID Connect Discovery 1.0 section 4).
    pub issuer: String,
    /// The client id of `jit-login` there.
    pub client_id: String,
    /// The client id for logins by device code, if it is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_client_id: Option<String>,
    /// The scopes to ask for.
    pub scopes: Vec<String>,
}

/// `POST /v1/sessions` of the front end.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SessionBody {
    /// The ID token, with [`nonce`].
    pub id_token: String,
}

/// The session of a client: the answer to `POST /v1/sessions`, and to `GET` and `DELETE /v1/login`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionView {
    /// The person, as in the trail and in certificates.
    pub name: String,
    /// The provider.
    pub issuer: String,
    /// The person there.
    pub subject: String,
    /// The groups that the rule of the provider maps the person's groups to.
    pub groups: Vec<String>,
    /// When the person has to log in again.
    #[schema(value_type = String, format = DateTime)]
    pub until: Timestamp,
}

#[cfg(test)]
mod tests {
    use jit_core::grant::login::Flow;

    use super::*;
    use crate::ErrorCode;

    fn introduction() -> Introduction {
        Introduction {
            version: VERSION,
            login: ProviderLogin {
                issuer: "https://id.example/realms/corp".to_owned(),
                subject: "7d1c".to_owned(),
                acr: Some("2".to_owned()),
                amr: vec!["pwd".to_owned(), "otp".to_owned()],
                auth_time: Some("2026-11-30T08:00:00Z".parse().unwrap()),
                issued: Some("2026-11-30T08:05:00Z".parse().unwrap()),
                sid: Some("s-1".to_owned()),
                flow: Some(Flow::Code),
                key_id: Some("k1".to_owned()),
                token_sha256: "ab".repeat(32),
            },
            name: "alice@corp".parse().unwrap(),
            groups: vec!["payments-leads".to_owned()],
            until: "2026-11-30T16:00:00Z".parse().unwrap(),
            address: "192.0.2.7:50123".to_owned(),
        }
    }

    /// The documents as they stand on the wire: a change breaks a front end of another version.
    #[test]
    fn documents_keep_their_form() {
        let problem = Problem::new(ErrorCode::UnknownCaller, "`alice` is not declared");
        let logout = ProviderLogout {
            issuer: "https://id.example/realms/corp".to_owned(),
            subject: Some("7d1c".to_owned()),
            sid: Some("s-1".to_owned()),
            issued: "2026-11-30T09:00:00Z".parse().unwrap(),
            token_sha256: "cd".repeat(32),
        };
        let said = [FromFrontend::Introduction(introduction()), FromFrontend::Logout { version: VERSION, logout }];
        let lines = [
            serde_json::to_string(&said[0]).unwrap(),
            serde_json::to_string(&said[1]).unwrap(),
            serde_json::to_string(&FromDaemon::Welcome { name: "alice".to_owned() }).unwrap(),
            serde_json::to_string(&FromDaemon::LoggedOut { grants: 2 }).unwrap(),
            serde_json::to_string(&FromDaemon::Refused { problem }).unwrap(),
        ];
        assert_eq!(format!("{}\n", lines.join("\n")), include_str!("frontend.golden.jsonl"));
        for (line, said) in lines.iter().zip(said) {
            assert_eq!(serde_json::from_str::<FromFrontend>(line).unwrap(), said);
        }
    }

    #[tokio::test]
    async fn only_one_known_document_is_read() {
        let said = FromFrontend::Introduction(introduction());
        let good = format!("{}\n", serde_json::to_string(&said).unwrap());
        assert_eq!(read::<FromFrontend>(good.as_bytes()).await.unwrap(), said);
        for (sent, why) in [
            (format!("{good}GET / HTTP/1.1\r\n"), "something follows"),
            (good.replace("\"version\"", "\"uid\":0,\"version\""), "unknown field `uid`"),
            (good.replace("\"acr\"", "\"admin\":true,\"acr\""), "unknown field `admin`"),
            (good.replace("\"introduction\"", "\"login\""), "unknown variant `login`"),
            (good.trim_end().to_owned(), "end of file"),
            (String::new(), "end of file"),
            ("x".repeat(LONGEST + 1), "too long"),
        ] {
            let told = read::<FromFrontend>(sent.as_bytes()).await.unwrap_err().to_string();
            assert!(told.contains(why), "{told}");
        }
    }

    #[test]
    fn a_nonce_is_of_one_front_end_and_one_key() {
        let one = nonce("https://bastion.example:6445", b"key");
        assert_eq!(one.len(), 64);
        assert_ne!(one, nonce("https://bastion.example:6446", b"key"));
        assert_ne!(one, nonce("https://bastion.example:6445", b"kez"));
    }
}
