//! `login` and `logout`: sessions at a front end, for people who are not on the bastion.
//!
//! ```text
//!  a new key ─► front end: its providers ─► provider: browser or device code, nonce of front end and key
//!                    └◄── ID token, once ──────┘
//! ```
//! The ID token goes to the front end that the invitation names and nowhere else, and is not kept. Only these two commands
//! talk to a person about it; a renewal never does. `main` calls them.

use std::io::{BufRead, IsTerminal};
use std::process::{Command, Stdio};

use jit_wire::client::Client;
use jit_wire::frontend::{ProviderView, SessionView, nonce};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use crate::bastion::{Bastion, Bastions, Flow, Kept, is_url};
use crate::failure::Failure;
use crate::folder::Folder;
use crate::front::spki;
use crate::loopback::{Awaited, Browser};
use crate::oidc::{Provider, Tokens, challenge, random};
use crate::output::{Format, say, show};
use crate::store::Store;
use crate::text::{program, safe, safe_name, until};

/// How long the person may take in the browser.
const IN_THE_BROWSER: std::time::Duration = std::time::Duration::from_secs(10 * 60);

/// The arguments of `login`.
pub(crate) struct LogIn {
    /// The URL or the name of the bastion; the current one without it.
    pub(crate) bastion: Option<String>,
    /// The fingerprint of an invitation.
    pub(crate) root: Option<String>,
    /// The issuer, if the bastion has several.
    pub(crate) provider: Option<String>,
    /// The port for the browser.
    pub(crate) port: u16,
    /// Whether to use a code instead.
    pub(crate) device: bool,
    /// Whether to only print the address.
    pub(crate) no_browser: bool,
    /// Where to keep the session; where the last one was kept without it.
    pub(crate) store: Option<Store>,
}

/// `login`
pub(crate) async fn log_in(arguments: LogIn, format: Format) -> Result<(), Failure> {
    let bastion = chosen(&Bastions::read()?, arguments.bastion.as_deref(), arguments.root.as_deref())?;
    let store = arguments.store.unwrap_or(bastion.store);
    // Nobody logs in for a session that cannot be kept.
    store.check()?;
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
        .map_err(|error| Failure::own(format!("cannot generate a key: {error}"), ""))?;
    let list = bastion.connect_with(&key).await?.providers().await?;
    if list.server.trim_end_matches('/') != bastion.url {
        let why = format!("the front end at {} calls itself {}", bastion.url, safe(&list.server));
        return Err(Failure::own(
            why,
            "log in with the address that it has; ask for the line of `jit-frontend invite`",
        ));
    }
    let mut view = provider(list.providers, arguments.provider.as_deref())?;
    let nonce = nonce(&list.server, &spki(&key));
    let provider = Provider::discover(&view.issuer).await?;
    let flow = if arguments.device { Flow::Device } else { bastion.flow.unwrap_or(Flow::Browser) };
    let is_for_browser = arguments.port != 0 || (arguments.no_browser && !arguments.device);
    let flow = if is_for_browser { Flow::Browser } else { flow };
    if let (Flow::Device, Some(client)) = (flow, view.device_client_id.take()) {
        view.client_id = client;
    }
    let bastion = Bastion { flow: Some(flow), store, ..bastion };
    let session = match flow {
        Flow::Device => {
            let tokens = by_device(&provider, &view, &nonce).await?;
            open_session(&bastion, &key, view, tokens).await?
        }
        Flow::Browser => {
            let login = begin(&provider, &view, &nonce, &arguments).await?;
            let (code, browser) = login.code(&provider, &arguments).await?;
            let opened = async {
                let Begun { verifier, redirect, .. } = &login;
                let tokens = provider.redeem(&view.client_id, &code, verifier, redirect).await?;
                open_session(&bastion, &key, view, tokens).await
            };
            let opened = opened.await;
            if let Some(browser) = browser {
                browser.tell(opened.is_ok()).await;
            }
            opened?
        }
    };
    told(&session, &bastion, format)
}

/// Opens a session with the tokens of a login, and keeps it.
async fn open_session(
    bastion: &Bastion,
    key: &KeyPair,
    view: ProviderView,
    tokens: Tokens,
) -> Result<SessionView, Failure> {
    let Tokens { id_token, refresh_token } = tokens;
    let id_token =
        id_token.ok_or_else(|| Failure::own("the provider gave no ID token", "the scopes must contain `openid`"))?;
    let session = bastion.connect_with(key).await?.log_in(id_token).await?;
    let ProviderView { issuer, client_id, .. } = view;
    let (key, in_groups) = (Zeroizing::new(key.serialize_pem()), !session.groups.is_empty());
    bastion.keep(&Kept { key, issuer, client_id, refresh_token, in_groups })?;
    Ok(session)
}

fn told(session: &SessionView, bastion: &Bastion, format: Format) -> Result<(), Failure> {
    let text = || {
        let (name, at) = (safe_name(&session.name), until(session.until));
        format!("logged in as {name} at {}, until {at}", bastion.url)
    };
    show(format, session, text, || safe_name(&session.name))
}

/// The bastion that the person means.
fn chosen(bastions: &Bastions, word: Option<&str>, root: Option<&str>) -> Result<Bastion, Failure> {
    let hint = || "an administrator prints the whole line with `jit-frontend invite`";
    let word = match (word, &bastions.current) {
        (Some(word), _) => word,
        (None, Some(current)) => current,
        (None, None) => return Err(Failure::usage("name the bastion, and the fingerprint of its root", hint())),
    };
    match (bastions.find(word), root) {
        // An invitation that contradicts what is known may be an attack, or a new root.
        (Some(known), Some(root)) if known.root != root => Err(Failure::usage(
            format!("the root of {} was {} until now", known.url, known.root),
            format!("if the administrator says that it changed, `{} logout {}` first", program(), known.url),
        )),
        (Some(known), _) => Ok(known.clone()),
        (None, Some(root)) if is_url(word) => Bastion::invited(word, root),
        (None, _) => Err(Failure::usage(format!("`{word}` is not a bastion that this account knows"), hint())),
    }
}

/// The provider that the person means.
fn provider(mut providers: Vec<ProviderView>, wanted: Option<&str>) -> Result<ProviderView, Failure> {
    let issuers: Vec<String> = providers.iter().map(|provider| safe(&provider.issuer)).collect();
    if let Some(wanted) = wanted {
        let found = providers.into_iter().find(|provider| provider.issuer == wanted);
        return found.ok_or_else(|| {
            Failure::usage(format!("the bastion has no provider {wanted}"), format!("it has {}", issuers.join(", ")))
        });
    }
    match (providers.pop(), providers.is_empty()) {
        (Some(only), true) => Ok(only),
        (Some(_), false) => {
            let hint = format!("choose one with --provider: {}", issuers.join(", "));
            Err(Failure::usage("the bastion has several providers", hint))
        }
        (None, _) => Err(Failure::own("the bastion has no provider", "ask an administrator")),
    }
}

/// A login by the code flow, with PKCE: the browser brings the code to a port of this host, or the person pastes the address.
struct Begun {
    listener: TcpListener,
    port: u16,
    /// Where the person logs in.
    address: String,
    /// Where the browser is sent then.
    redirect: String,
    state: String,
    verifier: String,
}

async fn begin(provider: &Provider, view: &ProviderView, nonce: &str, arguments: &LogIn) -> Result<Begun, Failure> {
    let listener = TcpListener::bind(("127.0.0.1", arguments.port)).await.map_err(|error| {
        Failure::own(format!("cannot listen at port {} of 127.0.0.1: {error}", arguments.port), "choose another --port")
    })?;
    let port = listener.local_addr().map_or(arguments.port, |address| address.port());
    let redirect = format!("http://127.0.0.1:{port}/callback");
    let (state, verifier) = (random()?, random()?);
    let (scope, challenge) = (view.scopes.join(" "), challenge(&verifier));
    let address = provider.authorization(&[
        ("response_type", "code"),
        ("client_id", &view.client_id),
        ("redirect_uri", &redirect),
        ("scope", &scope),
        ("state", &state),
        ("nonce", nonce),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
        // Who logs in again proves it again: an old login of the browser is not enough for a rule with `authTime`.
        ("max_age", "0"),
    ])?;
    Ok(Begun { listener, port, address, redirect, state, verifier })
}

impl Begun {
    /// Asks the person to log in, and waits for the code; also the browser that brought it.
    async fn code(&self, provider: &Provider, arguments: &LogIn) -> Result<(String, Option<Browser>), Failure> {
        let (address, port) = (&self.address, self.port);
        say(&format!("open this address in a browser:\n{}", safe(address)));
        if std::env::var_os("SSH_CONNECTION").is_some() {
            say(&format!(
                "if the browser is on another host, run there first: ssh -L {port}:127.0.0.1:{port} THIS-HOST"
            ));
        } else if !arguments.no_browser {
            open(address);
        }
        let awaited = Awaited { state: &self.state, issuer: &provider.issuer };
        tokio::select! {
            brought = awaited.code(&self.listener) => brought.map(|(code, browser)| (code, Some(browser))),
            pasted = pasted() => Ok((awaited.pasted(&pasted)?, None)),
            () = tokio::time::sleep(IN_THE_BROWSER) => Err(Failure::own("nobody logged in in time", "try again")),
        }
    }
}

/// The device flow.
async fn by_device(provider: &Provider, view: &ProviderView, nonce: &str) -> Result<Tokens, Failure> {
    let verifier = random()?;
    let scope = view.scopes.join(" ");
    let device = provider.device(&view.client_id, &scope, nonce, &challenge(&verifier)).await?;
    let place = device.verification_uri_complete.as_ref().unwrap_or(&device.verification_uri);
    say(&format!("open {} in any browser, and enter the code {}", safe(place), safe(&device.user_code)));
    provider.continued(&view.client_id, &device, &verifier).await
}

/// Opens the address in the browser of this desktop, if there is one. Without, the person does it.
fn open(address: &str) {
    let opener = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let mut command = Command::new(opener);
    let _ = command.arg(address).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
}

/// The address that the browser could not open, if somebody pastes it.
async fn pasted() -> String {
    if !std::io::stdin().is_terminal() {
        return std::future::pending().await;
    }
    say("or paste the address here that the browser could not open:");
    let (sent, line) = oneshot::channel();
    // Not a task of the runtime, which would wait for it at its end.
    std::thread::spawn(move || {
        let mut line = String::new();
        if std::io::stdin().lock().read_line(&mut line).is_ok_and(|read| read > 0) {
            let _ = sent.send(line);
        }
    });
    match line.await {
        Ok(line) => line,
        Err(_) => std::future::pending().await,
    }
}

/// `logout`: ends the session here, at the front end and at the provider.
pub(crate) async fn log_out(word: Option<&str>) -> Result<(), Failure> {
    let mut bastions = Bastions::read()?;
    let word = word.map(str::to_owned).or_else(|| bastions.current.clone());
    let word = word.ok_or_else(|| Failure::usage("this account has not logged in anywhere", ""))?;
    let Some(bastion) = bastions.find(&word).cloned() else {
        return Err(Failure::usage(format!("`{word}` is not a bastion that this account knows"), ""));
    };
    let folder = Folder::lasting()?;
    // Nobody renews the session meanwhile, and leaves a refresh token that was not revoked.
    let _lock = bastion.lock(&folder)?;
    let kept = bastion.kept()?;
    let ended = async {
        let mut client: Client = bastion.connect_with(&bastion.key()?).await?;
        Ok::<_, Failure>(client.log_out().await?)
    };
    let ended = ended.await;
    let revoked = match &kept {
        Some(Kept { issuer, client_id, refresh_token: Some(token), .. }) => match Provider::discover(issuer).await {
            Ok(provider) => provider.revoke(client_id, token).await,
            Err(failure) => Err(failure),
        },
        _ => Ok(()),
    };
    // Whatever the others say, nothing is left here.
    bastion.forget()?;
    bastions.bastions.retain(|known| known.url != bastion.url);
    if bastions.current.as_ref() == Some(&bastion.url) {
        bastions.current = None;
    }
    bastions.write()?;
    for failure in [ended.err(), revoked.err()].into_iter().flatten() {
        let why = failure.sentence().map(|(_, sentence)| sentence).unwrap_or_default();
        say(&format!("{}: the session ends by itself, because it could not be ended: {why}", program()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Bastions {
        let mut bastions = Bastions::default();
        bastions.set(Bastion::invited("https://a.example:6445", &format!("sha256:{}", "ab".repeat(32))).unwrap());
        bastions
    }

    #[test]
    fn no_bastion_is_trusted_on_first_use() {
        let (ab, cd) = (format!("sha256:{}", "ab".repeat(32)), format!("sha256:{}", "cd".repeat(32)));
        let found = |word: Option<&str>, root: Option<&str>| chosen(&known(), word, root).map(|bastion| bastion.root);
        assert_eq!(found(None, None).unwrap(), ab, "the current one");
        assert_eq!(found(Some("a.example"), None).unwrap(), ab);
        assert_eq!(found(Some("https://b.example"), Some(&cd)).unwrap(), cd);
        assert!(found(Some("https://b.example"), None).is_err(), "without its root");
        assert!(found(Some("b.example"), Some(&cd)).is_err(), "without its URL");
        assert!(found(Some("https://a.example:6445/"), Some(&cd)).is_err(), "with another root than before");
        assert!(chosen(&Bastions::default(), None, None).is_err());
    }

    #[test]
    fn one_of_several_providers_has_to_be_named() {
        let view = |issuer: &str| ProviderView {
            issuer: issuer.to_owned(),
            client_id: "jit-login".to_owned(),
            device_client_id: None,
            scopes: Vec::new(),
        };
        let two = || vec![view("https://a"), view("https://b")];
        assert_eq!(provider(vec![view("https://a")], None).unwrap().issuer, "https://a");
        assert_eq!(provider(two(), Some("https://a")).unwrap().issuer, "https://a");
        for (providers, wanted) in [(two(), None), (two(), Some("https://c")), (Vec::new(), None)] {
            assert!(provider(providers, wanted).is_err());
        }
    }
}
