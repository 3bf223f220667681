//! The bastions that this account has logged in to from elsewhere: where they are, and the session with each.
//!
//! ```text
//!  addresses: ${XDG_CONFIG_HOME:-~/.config}/jit-login/config.yaml                          nothing secret
//!  sessions:  a file, or the kernel's keyring (`store`)                                    key and refresh token
//! ```
//! A session that is over is renewed with the refresh token, by one process at a time: a provider that sees one refresh token
//! twice takes it for stolen, and logs the person out. A renewal that says less than the login did, who it is or the groups,
//! is none: the person logs in again. Nothing here opens a browser. `login` keeps sessions, and `daemon` connects with them.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use jit_core::grant::digest::sha256_hex;
use jit_wire::client::{Client, ClientError};
use jit_wire::frontend::SessionView;
use jit_wire::{ErrorCode, Problem};
use rcgen::KeyPair;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::folder::{Folder, Lock};
use crate::front;
use crate::oidc::{Provider, Refreshed, Tokens};
use crate::store::{Place, Store};
use crate::text::program;

/// `config.yaml`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Bastions {
    /// The URL of the bastion that commands use where there is no daemon on this host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) current: Option<String>,
    /// The bastions.
    #[serde(default)]
    pub(crate) bastions: Vec<Bastion>,
}

/// Where a bastion is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Bastion {
    /// What people call it: the host of its URL, unless they rename it.
    pub(crate) name: String,
    /// The URL of its front end.
    pub(crate) url: String,
    /// `sha256:` and the fingerprint of the certificate that its server must be signed by.
    pub(crate) root: String,
    /// How the person logged in last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) flow: Option<Flow>,
    /// Where the session is kept.
    #[serde(default, skip_serializing_if = "Store::is_file")]
    pub(crate) store: Store,
}

/// A way to log in at a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Flow {
    /// A browser that reaches a port of this host, or the address that it could not open.
    Browser,
    /// A code that is entered elsewhere.
    Device,
}

/// What is kept of a session. One text, so that no key is ever beside the tokens of another session.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Kept {
    /// The key that the front end knows us by: PKCS#8, in PEM.
    #[serde(serialize_with = "write_secret", deserialize_with = "read_secret")]
    pub(crate) key: Zeroizing<String>,
    /// The provider.
    pub(crate) issuer: String,
    /// Our client id there.
    pub(crate) client_id: String,
    /// Gets another ID token; absent if the provider gave none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) refresh_token: Option<String>,
    /// Whether the person was in groups when they logged in.
    #[serde(default)]
    pub(crate) in_groups: bool,
}

fn write_secret<S: Serializer>(secret: &Zeroizing<String>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret)
}

fn read_secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Zeroizing<String>, D::Error> {
    String::deserialize(deserializer).map(Zeroizing::new)
}

const FILE: &str = "config.yaml";

/// How long another process may take to renew the session; it gives the provider 20 s for an answer.
const RENEWED_WITHIN: Duration = Duration::from_secs(25);

impl Bastions {
    /// Reads the file; there is none before the first login.
    pub(crate) fn read() -> Result<Self, Failure> {
        let Some(path) = folder().filter(|path| path.exists()) else { return Ok(Self::default()) };
        let folder = Folder::foreign(&path)?;
        let Some(text) = folder.read(FILE)? else { return Ok(Self::default()) };
        serde_saphyr::from_str(&text).map_err(|error| {
            Failure::own(
                format!("`{}`: {error}", folder.path_of(FILE).display()),
                "correct it, or remove it and log in again",
            )
        })
    }

    /// Writes the file.
    pub(crate) fn write(&self) -> Result<(), Failure> {
        let path = folder().ok_or_else(|| Failure::own("HOME is not set", "set it to your own folder"))?;
        let text = serde_saphyr::to_string(self);
        let text = text.map_err(|error| Failure::own(format!("cannot write `{FILE}`: {error}"), ""))?;
        Folder::foreign(&path)?.write(FILE, &text)
    }

    /// The bastion with this URL or name.
    pub(crate) fn find(&self, word: &str) -> Option<&Bastion> {
        let url = word.trim_end_matches('/');
        self.bastions.iter().find(|bastion| bastion.url == url || bastion.name == word)
    }

    /// Adds a bastion, or replaces the one with its URL, and makes it the current one.
    pub(crate) fn set(&mut self, bastion: Bastion) {
        self.current = Some(bastion.url.clone());
        match self.bastions.iter_mut().find(|known| known.url == bastion.url) {
            Some(known) => *known = bastion,
            None => self.bastions.push(bastion),
        }
    }
}

fn folder() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let config = variable("XDG_CONFIG_HOME").or_else(|| Some(variable("HOME")?.join(".config")))?;
    Some(config.join("jit-login"))
}

/// Whether this is the URL of a front end, and no socket.
pub(crate) fn is_url(word: &str) -> bool {
    word.starts_with("https://")
}

impl Bastion {
    /// A bastion as an invitation names it.
    pub(crate) fn invited(url: &str, root: &str) -> Result<Self, Failure> {
        let hex = root.strip_prefix("sha256:").unwrap_or_default();
        if hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f')) {
            let hint = "copy the whole line that `jit-frontend invite` prints";
            return Err(Failure::usage("--root must be `sha256:` and 64 hex digits", hint));
        }
        let url = url.trim_end_matches('/');
        let (host, _) = address(url)?;
        Ok(Self { name: host, url: url.to_owned(), root: root.to_owned(), flow: None, store: Store::File })
    }

    /// The name of its session, and of the lock of it.
    fn file(&self, end: &str) -> String {
        let digest = sha256_hex(self.url.as_bytes());
        format!("session-{}.{end}", digest.get(..16).unwrap_or_default())
    }

    /// The key of the session, if there is one.
    pub(crate) fn key(&self) -> Result<KeyPair, Failure> {
        KeyPair::from_pem(&self.session()?.key).map_err(|error| self.unreadable(&error))
    }

    fn session(&self) -> Result<Kept, Failure> {
        self.kept()?.ok_or_else(|| match self.store {
            Store::File => self.no_session(),
            Store::Keyring => self.required(format!("the kernel's keyring has no session at {} (any more)", self.url)),
        })
    }

    /// What is kept of the session, if there is one.
    pub(crate) fn kept(&self) -> Result<Option<Kept>, Failure> {
        let text = self.store.read(&Folder::lasting()?, &self.file("json"))?;
        text.map(|text| serde_json::from_str(&text).map_err(|error| self.unreadable(&error))).transpose()
    }

    fn unreadable(&self, error: &dyn std::error::Error) -> Failure {
        Failure::own(format!("cannot read the session at {}: {error}", self.url), again(&self.url))
    }

    /// Keeps the session of a login in its store and in no other, and remembers where it is.
    pub(crate) fn keep(&self, kept: &Kept) -> Result<(), Failure> {
        let folder = Folder::lasting()?;
        // A renewal of the session before would replace the tokens of this one.
        let _lock = self.lock(&folder)?;
        self.keep_tokens(&folder, kept)?;
        // Read again, because the person may have taken minutes.
        let mut bastions = Bastions::read()?;
        bastions.set(self.clone());
        bastions.write()?;
        // Last, because until then commands use the session before.
        let mut others = Store::value_variants().iter().filter(|store| **store != self.store);
        others.try_for_each(|store| store.remove(&folder, &self.file("json")))
    }

    fn keep_tokens(&self, folder: &Folder, kept: &Kept) -> Result<(), Failure> {
        let text = serde_json::to_string(kept).map(Zeroizing::new);
        let text = text.map_err(|error| Failure::own(format!("cannot encode the session: {error}"), ""))?;
        self.store.write(folder, &self.file("json"), &text)
    }

    /// Removes the session, wherever it was ever kept.
    pub(crate) fn forget(&self) -> Result<(), Failure> {
        let folder = Folder::lasting()?;
        for store in Store::value_variants() {
            store.remove(&folder, &self.file("json"))?;
        }
        folder.remove(&self.file("lock"));
        Ok(())
    }

    /// Where the session is kept.
    pub(crate) fn place(&self) -> Result<Place, Failure> {
        Ok(self.store.place(&Folder::lasting()?, &self.file("json")))
    }

    /// A connection with this key, whoever that is.
    pub(crate) async fn connect_with(&self, key: &KeyPair) -> Result<Client, Failure> {
        let (host, port) = address(&self.url)?;
        let root = self.root.strip_prefix("sha256:").unwrap_or_default();
        Ok(Client::elsewhere(&self.url, front::dial(&host, port, root, key)?).await?)
    }

    /// A connection with a session, which is renewed if it is over.
    pub(crate) async fn connect(&self) -> Result<Client, Failure> {
        let mut client = self.connect_with(&self.key()?).await?;
        match client.logged_in().await {
            Ok(_) => Ok(client),
            Err(ClientError::Problem(problem)) if is_over(&problem) => {
                // The front end closes a connection after it refused something.
                let mut client = self.connect_with(&self.key()?).await?;
                self.renew(&mut client).await?;
                Ok(client)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Opens a session with the refresh token, unless another process just did.
    async fn renew(&self, client: &mut Client) -> Result<SessionView, Failure> {
        let folder = Folder::lasting()?;
        let _lock = self.lock(&folder)?;
        match client.logged_in().await {
            Ok(session) => return Ok(session),
            Err(ClientError::Problem(problem)) if is_over(&problem) => {}
            Err(error) => return Err(error.into()),
        }
        self.refresh(&folder).await
    }

    /// Opens a session with a new ID token, although there is one: `jitd` requires a fresh one for a certificate.
    pub(crate) async fn freshen(&self) -> Result<Client, Failure> {
        let folder = Folder::lasting()?;
        // Of two processes, the second gets another token with the refresh token that the first one got.
        let _lock = self.lock(&folder)?;
        self.refresh(&folder).await?;
        self.connect_with(&self.key()?).await
    }

    /// Logs in with the refresh token.
    async fn refresh(&self, folder: &Folder) -> Result<SessionView, Failure> {
        let mut kept = self.session()?;
        let Some(refresh_token) = kept.refresh_token.take() else { return Err(self.no_session()) };
        let provider = Provider::discover(&kept.issuer).await?;
        let Tokens { id_token, refresh_token: next } = match provider.refresh(&kept.client_id, &refresh_token).await? {
            Refreshed::Tokens(tokens) => tokens,
            Refreshed::Over(why) => return self.is_not_renewed(folder, &kept, &why),
        };
        let Some(id_token) = id_token else {
            let why = "the identity provider renewed the login without saying whose it is";
            return self.is_not_renewed(folder, &kept, why);
        };
        // The old one may be worth nothing now, so the new one is kept before anything else.
        let renewed = Kept { refresh_token: next.or(Some(refresh_token)), ..kept };
        self.keep_tokens(folder, &renewed)?;
        let mut client = self.connect_with(&self.key()?).await?;
        let session = client.log_in(id_token).await?;
        if renewed.in_groups && session.groups.is_empty() {
            client.log_out().await?;
            let why = "the identity provider renewed the login without groups, and there were some";
            return self.is_not_renewed(folder, &Kept { refresh_token: None, ..renewed }, why);
        }
        Ok(session)
    }

    /// Keeps the session without a refresh token, so that nobody asks the provider in vain until there is a new login.
    fn is_not_renewed(&self, folder: &Folder, kept: &Kept, why: &str) -> Result<SessionView, Failure> {
        self.keep_tokens(folder, kept)?;
        Err(self.required(why.to_owned()))
    }

    /// The right to change what is kept of the session, until the result is dropped: two processes that use one refresh
    /// token end the login at the provider.
    pub(crate) fn lock(&self, folder: &Folder) -> Result<Lock, Failure> {
        let deadline = Instant::now() + RENEWED_WITHIN;
        let lock = folder.lock(&self.file("lock"), deadline)?;
        lock.ok_or_else(|| Failure::own("another process is renewing the session, but does not finish", "try again"))
    }

    fn no_session(&self) -> Failure {
        self.required(format!("there is no session at {}", self.url))
    }

    fn required(&self, why: String) -> Failure {
        let problem = Problem::new(ErrorCode::SessionRequired, why).hint(again(&self.url));
        Failure::Client(ClientError::Problem(problem))
    }
}

fn is_over(problem: &Problem) -> bool {
    problem.known() == Some(ErrorCode::SessionRequired)
}

fn again(url: &str) -> String {
    format!("log in with `{} login {url}`", program())
}

/// The host and port of a URL `https://HOST[:PORT]`.
pub(crate) fn address(url: &str) -> Result<(String, u16), Failure> {
    let wrong = || Failure::usage(format!("`{url}` is not the URL of a bastion"), "write https://HOST:PORT");
    let uri: http::Uri = url.parse().map_err(|_| wrong())?;
    let is_plain = uri.scheme_str() == Some("https") && matches!(uri.path(), "" | "/") && uri.query().is_none();
    let authority =
        uri.authority().filter(|authority| is_plain && !authority.as_str().contains('@')).ok_or_else(wrong)?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    Ok((host.to_owned(), authority.port_u16().unwrap_or(443)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invitation_is_an_address_and_a_whole_fingerprint() {
        let root = format!("sha256:{}", "ab".repeat(32));
        let bastion = Bastion::invited("https://bastion.example:6445/", &root).unwrap();
        assert_eq!((bastion.name.as_str(), bastion.url.as_str()), ("bastion.example", "https://bastion.example:6445"));
        assert_eq!(address("https://[::1]:7").unwrap(), ("::1".to_owned(), 7));
        for (url, root) in [
            ("http://bastion.example", root.as_str()),
            ("https://bastion.example/x", &root),
            ("https://alice@bastion.example", &root),
            ("https://bastion.example", "sha256:ab"),
            ("https://bastion.example", &root[7..]),
            ("https://bastion.example", &root.to_uppercase()),
        ] {
            assert_eq!(Bastion::invited(url, root).unwrap_err().exit_code(), 2, "{url} {root}");
        }
    }

    #[test]
    fn the_file_survives_a_round_trip_and_refuses_what_it_does_not_know() {
        let mut bastions = Bastions::default();
        let root = format!("sha256:{}", "ab".repeat(32));
        bastions.set(Bastion::invited("https://a.example", &root).unwrap());
        bastions.set(Bastion { flow: Some(Flow::Device), ..Bastion::invited("https://a.example", &root).unwrap() });
        let text = serde_saphyr::to_string(&bastions).unwrap();
        let read: Bastions = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(read.bastions, bastions.bastions);
        assert_eq!(read.bastions.len(), 1);
        assert_eq!(read.find("a.example").unwrap().flow, Some(Flow::Device));
        assert!(serde_saphyr::from_str::<Bastions>(&format!("{text}token: x\n")).is_err());
    }
}
