//! kubectl's exec plugin: hands a credential to every kubectl call, from a file when it is still good.
//!
//! ```text
//!  KUBERNETES_EXEC_INFO ─► the grant's cluster? ─► file good ─────────────────────────────► stdout
//!                                                  └─► lock ─► renew with the same key ─► file ─┘
//! ```
//! From the file it starts no runtime, opens no connection and parses no more than it has to: kubectl
//! runs it each time. It gives nothing to another cluster than the grant's, nothing to a terminal, and
//! never takes longer than [`LIMIT`]. `main` calls it before anything else.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use jit_core::grant::{GrantId, Phase};
use jit_wire::client::{Client, ClientError};
use jit_wire::{CertificateView, ClusterView, GrantView};
use serde::{Deserialize, Serialize};

use crate::access::{self, Daemon};
use crate::failure::{self, Failure};
use crate::folder::Folder;
use crate::key::Key;
use crate::now;
use crate::output::{result, say};
use crate::terminal::is_taken;
use crate::text::{ago, program};

/// kubectl sets no limit of its own.
const LIMIT: Duration = Duration::from_secs(10);
/// A certificate with less than this left is renewed.
const SHORT: SignedDuration = SignedDuration::from_secs(10);
/// kubectl is told to come back this long before a certificate ends.
const MARGIN: SignedDuration = SignedDuration::from_secs(5);
const API: &str = "client.authentication.k8s.io/v1";

/// What is asked for on the command line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The grant, or a prefix of it.
    pub(crate) grant: String,
    /// Where the daemon is, for a renewal.
    pub(crate) socket: Option<PathBuf>,
    /// The daemon's account, for a renewal.
    pub(crate) server_user: Option<String>,
}

impl Wanted {
    /// The arguments as a kubeconfig of ours has them; anything else is left to the full parser.
    pub(crate) fn in_short(arguments: &[OsString]) -> Option<Self> {
        let (verb, rest) = arguments.split_first()?;
        if verb != "credential" || rest.len() % 2 != 0 {
            return None;
        }
        let mut wanted = Self { grant: String::new(), socket: None, server_user: None };
        for pair in rest.chunks_exact(2) {
            let [flag, value] = pair else { return None };
            match flag.to_str()? {
                "--grant" if wanted.grant.is_empty() => value.to_str()?.clone_into(&mut wanted.grant),
                "--socket" if wanted.socket.is_none() => wanted.socket = Some(PathBuf::from(value)),
                "--server-user" if wanted.server_user.is_none() => {
                    wanted.server_user = Some(value.to_str()?.to_owned())
                }
                _ => return None,
            }
        }
        (!wanted.grant.is_empty()).then_some(wanted)
    }
}

/// What is kept of a certificate: the finished answer, and what has to be known to hand it out.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Kept {
    received_at: Timestamp,
    expires_at: Timestamp,
    /// The end of the window.
    pub(crate) until: Timestamp,
    /// Where it may be used.
    pub(crate) cluster: ClusterView,
    /// The namespace of the grant, the first where there are several.
    pub(crate) namespace: Option<String>,
    duration: String,
    /// What it is, in a few letters; empty in a file of before it was kept.
    #[serde(default)]
    pub(crate) what: String,
    credential: ExecCredential,
}

/// client.authentication.k8s.io/v1 ExecCredential
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExecCredential {
    api_version: String,
    kind: String,
    status: Status,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    expiration_timestamp: Timestamp,
    client_certificate_data: String,
    client_key_data: String,
}

/// What a kept certificate is worth at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Worth {
    /// Hand it out.
    Good,
    /// It works, but should be renewed.
    Low,
    /// It does not work any more, the window goes on.
    Spent,
    /// The window is over.
    Over,
}

impl Kept {
    /// What came from the daemon, as it is kept.
    pub(crate) fn new(view: CertificateView, key: &Key, grant: &Terms, now: Timestamp) -> Self {
        let life = view.expires_at.duration_since(now).max(SignedDuration::ZERO);
        let margin = MARGIN.min(life / 5);
        let expiration = view.expires_at.saturating_sub(margin).unwrap_or(view.expires_at);
        Self {
            received_at: now,
            expires_at: view.expires_at,
            until: view.until,
            cluster: view.cluster,
            namespace: grant.namespace.clone(),
            duration: grant.duration.clone(),
            what: grant.what.clone(),
            credential: ExecCredential {
                api_version: API.to_owned(),
                kind: "ExecCredential".to_owned(),
                status: Status {
                    // RFC 3339 in whole seconds, as Kubernetes writes its times.
                    expiration_timestamp: Timestamp::from_second(expiration.as_second()).unwrap_or(expiration),
                    client_certificate_data: view.certificate,
                    client_key_data: key.pem().to_string(),
                },
            },
        }
    }

    /// Whether it can be handed out as it is.
    pub(crate) fn is_good(&self, now: Timestamp) -> bool {
        self.worth(now) == Worth::Good
    }

    fn worth(&self, now: Timestamp) -> Worth {
        let left = self.expires_at.duration_since(now);
        let life = self.expires_at.duration_since(self.received_at);
        if left <= SignedDuration::ZERO {
            return if now >= self.until { Worth::Over } else { Worth::Spent };
        }
        // The last certificate of a window ends with it; there is nothing to renew then. Its last valid
        // second may be the one before the window's end.
        let last = self.expires_at.saturating_add(SignedDuration::from_secs(1)).unwrap_or(self.until) >= self.until;
        if last || (left >= SHORT && left.saturating_mul(5) >= life) { Worth::Good } else { Worth::Low }
    }

    /// The grant's terms, for a renewal.
    fn terms(&self) -> Terms {
        Terms { namespace: self.namespace.clone(), duration: self.duration.clone(), what: self.what.clone() }
    }

    fn over(&self, grant: &str) -> Failure {
        Failure::Over {
            why: format!("`{grant}` is over, its {} ended {}", self.duration, ago(self.until)),
            hint: failure::again(grant),
        }
    }

    /// Keeps it in the folder.
    pub(crate) fn keep(&self, folder: &Folder, grant: &str) -> Result<(), Failure> {
        let text = serde_json::to_string(self)
            .map_err(|error| Failure::own(format!("can't keep the credential, {error}"), ""))?;
        folder.write(&file(grant), &text)
    }

    /// What is kept for a grant; none when nothing is, or what is there can't be read as such.
    pub(crate) fn find(folder: &Folder, grant: &str) -> Result<Option<Self>, Failure> {
        Ok(folder.read(&file(grant))?.and_then(|text| serde_json::from_str(&text).ok()))
    }
}

/// What of a grant is kept beside its certificate.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    /// The namespace, the first where there are several; none for the whole cluster.
    pub(crate) namespace: Option<String>,
    /// The length of the access.
    pub(crate) duration: String,
    /// `prod/payments view`
    pub(crate) what: String,
}

impl From<&GrantView> for Terms {
    fn from(grant: &GrantView) -> Self {
        let place = match grant.namespaces.as_slice() {
            [] => "*".to_owned(),
            [one] => one.clone(),
            [first, more @ ..] => format!("{first}+{}", more.len()),
        };
        Self {
            namespace: grant.namespaces.first().cloned(),
            duration: grant.duration.clone(),
            what: format!("{}/{place} {}", grant.cluster, grant.role.as_deref().unwrap_or("exact")),
        }
    }
}

/// Where the credential of a grant is kept.
pub(crate) fn file(grant: &str) -> String {
    format!("{grant}.credential")
}

/// Answers kubectl. Where a full-screen program has the terminal, the exit code says all: the program asked, and has a place
/// for what went wrong.
pub(crate) fn run(wanted: &Wanted) -> Result<(), Failure> {
    answer(wanted).map_err(|failure| if is_taken() { Failure::Unsaid(failure.exit_code()) } else { failure })
}

fn answer(wanted: &Wanted) -> Result<(), Failure> {
    let deadline = Instant::now() + LIMIT;
    let server = asked_server()?;
    let grant = full_id(&wanted.grant)?;
    let folder = Folder::holding(&file(&grant))?;
    let kept = folder.as_ref().map(|folder| Kept::find(folder, &grant)).transpose()?.flatten();
    if let Some(kept) = &kept {
        check_server(server.as_deref(), kept, &grant)?;
        match kept.worth(now()) {
            Worth::Good => return hand_over(kept),
            Worth::Low | Worth::Spent => {}
            // Somebody may have agreed to more time meanwhile, which only the daemon knows.
            Worth::Over => {
                let over = kept.over(&grant);
                let renewed = renew(wanted, &grant, None, deadline).map_err(|_| over)?;
                check_server(server.as_deref(), &renewed, &grant)?;
                return hand_over(&renewed);
            }
        }
    }
    let kept = renew(wanted, &grant, kept, deadline)?;
    check_server(server.as_deref(), &kept, &grant)?;
    hand_over(&kept)
}

/// A new certificate for the same key. One process does it, the others wait for its result.
fn renew(wanted: &Wanted, grant: &str, kept: Option<Kept>, deadline: Instant) -> Result<Kept, Failure> {
    let usable = |kept: &Option<Kept>| kept.clone().filter(|kept| kept.worth(now()) == Worth::Low);
    let daemon = Daemon::new(wanted.socket.clone(), wanted.server_user.as_deref())?;
    let Some(folder) = Folder::holding(&format!("{grant}.key"))? else {
        return match usable(&kept) {
            Some(kept) => Ok(kept),
            None => Err(without_key(&daemon, grant, deadline)),
        };
    };
    let lock = folder.lock(&format!("{grant}.lock"), deadline)?;
    let kept = Kept::find(&folder, grant)?.or(kept);
    match (&kept, &lock) {
        (Some(found), _) if found.worth(now()) == Worth::Good => return Ok(found.clone()),
        (_, Some(_)) => {}
        (_, None) => {
            return usable(&kept).ok_or_else(|| {
                Failure::own("another process renews the certificate and does not come to an end", "try again")
            });
        }
    }
    let terms = kept.as_ref().map(Kept::terms);
    let renewed = within(deadline, async {
        let mut client = daemon.connect().await?;
        match access::certify(&mut client, &folder, &folder, grant, terms).await {
            Err(failure) => Err(explained(&mut client, grant, failure).await),
            done => done,
        }
    });
    match (renewed, usable(&kept)) {
        (Ok(renewed), _) => Ok(renewed),
        (Err(failure @ Failure::Closed(_)), _) => {
            access::forget(grant);
            Err(failure)
        }
        (Err(failure), Some(kept)) => {
            let why = failure.sentence().map(|(_, sentence)| sentence).unwrap_or_default();
            if !is_taken() {
                say(&format!("{}: using the certificate that is still valid, {why}", program()));
            }
            Ok(kept)
        }
        (Err(failure), None) => Err(failure),
    }
}

/// A refusal to certify says little when the reason is that the grant is over; then that is said.
pub(crate) async fn explained(client: &mut Client, grant: &str, failure: Failure) -> Failure {
    if !matches!(failure, Failure::Client(ClientError::Problem(_))) {
        return failure;
    }
    match client.show(grant).await {
        Ok(view) if view.phase == Phase::Pending => Failure::StillPending(Box::new(view)),
        Ok(view) if !view.phase.is_open() || view.phase == Phase::Ending => Failure::Closed(Box::new(view)),
        _ => failure,
    }
}

fn without_key(daemon: &Daemon, grant: &str, deadline: Instant) -> Failure {
    let found = within(deadline, async { Ok(daemon.connect().await?.show(grant).await?) });
    match found {
        Ok(view) if !view.phase.is_open() => Failure::Closed(Box::new(view)),
        Ok(view) => Failure::own(
            format!("the key of `{grant}` is not here"),
            format!("it is where it was asked for, until logout; else {}", failure::again(&view.id)),
        ),
        Err(failure) => failure,
    }
}

fn within<T>(deadline: Instant, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let late = || Failure::own(format!("no certificate within {} s", LIMIT.as_secs()), "try again");
    access::runtime()?
        .block_on(async { tokio::time::timeout_at(deadline.into(), work).await.unwrap_or_else(|_| Err(late())) })
}

fn hand_over(kept: &Kept) -> Result<(), Failure> {
    if std::io::stdout().is_terminal() {
        return Err(Failure::usage(
            "a private key is not written to a terminal",
            format!("this verb is for kubectl; `{} kubeconfig` gives it what it needs", program()),
        ));
    }
    let text = serde_json::to_string(&kept.credential);
    result(&text.map_err(|error| Failure::own(format!("can't write the credential, {error}"), ""))?)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExecInfo {
    api_version: String,
    spec: ExecSpec,
}

#[derive(Deserialize)]
struct ExecSpec {
    cluster: Option<AskedCluster>,
}

#[derive(Deserialize)]
struct AskedCluster {
    server: String,
}

/// The server for which kubectl asks; none when no kubectl asks.
fn asked_server() -> Result<Option<String>, Failure> {
    let Some(text) = std::env::var_os("KUBERNETES_EXEC_INFO") else { return Ok(None) };
    let again = || format!("write the kubeconfig anew with `{} kubeconfig`", program());
    let info: ExecInfo = serde_json::from_slice(text.as_encoded_bytes())
        .map_err(|error| Failure::usage(format!("KUBERNETES_EXEC_INFO is not understood, {error}"), again()))?;
    if info.api_version != API {
        return Err(Failure::usage(format!("kubectl asks for `{}`, this is `{API}`", info.api_version), again()));
    }
    // Clients other than kubectl may name none, and may as well leave the whole variable out.
    Ok(info.spec.cluster.map(|cluster| cluster.server))
}

fn check_server(asked: Option<&str>, kept: &Kept, grant: &str) -> Result<(), Failure> {
    let bare = |url: &str| url.trim_end_matches('/').to_owned();
    match asked {
        Some(asked) if bare(asked) != bare(&kept.cluster.server) => Err(Failure::usage(
            format!("`{grant}` is for the cluster `{}` at {}, not for {asked}", kept.cluster.name, kept.cluster.server),
            format!("this entry of the kubeconfig names another server; write it anew with `{} kubeconfig`", program()),
        )),
        _ => Ok(()),
    }
}

/// The id that a prefix means among the grants whose files are here.
fn full_id(text: &str) -> Result<String, Failure> {
    let text = GrantId::as_written(text);
    let text = text.as_str();
    let legal = text.len() >= 4
        && text.len() <= 16
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    if !legal {
        return Err(Failure::usage(format!("`{text}` is no grant's id"), format!("`{} ls` lists them", program())));
    }
    if text.len() == 16 {
        return Ok(text.to_owned());
    }
    let mut found = access::local_grants();
    found.retain(|id| id.starts_with(text));
    match found.as_slice() {
        [id] => Ok(id.clone()),
        [] => Err(Failure::usage(
            format!("there is no credential of `{text}` here"),
            format!("`{} ls` lists the grants", program()),
        )),
        _ => Err(Failure::usage(format!("`{text}` can mean more than one grant"), "write more of its id")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn kept(expires: i64, until: i64) -> Kept {
        let view = CertificateView {
            certificate: "C".into(),
            expires_at: at(expires),
            until: at(until),
            cluster: ClusterView {
                name: "prod".into(),
                server: "https://k:6443".into(),
                certificate_authority: String::new(),
            },
        };
        let terms =
            Terms { namespace: Some("payments".into()), duration: "15m".into(), what: "prod/payments view".to_owned() };
        Kept::new(view, &Key::generate().unwrap(), &terms, at(0))
    }

    #[test]
    fn a_certificate_is_renewed_when_a_fifth_or_ten_seconds_are_left() {
        let long = kept(300, 900);
        let table = [
            (0, Worth::Good),
            (240, Worth::Good),
            (241, Worth::Low),
            (299, Worth::Low),
            (300, Worth::Spent),
            (900, Worth::Over),
        ];
        for (second, worth) in table {
            assert_eq!(long.worth(at(second)), worth, "second {second}");
        }
        let short = kept(20, 900);
        assert_eq!((short.worth(at(10)), short.worth(at(11))), (Worth::Good, Worth::Low));
    }

    #[test]
    fn the_last_certificate_of_a_window_is_used_to_its_end() {
        for last in [kept(300, 300), kept(299, 300)] {
            assert_eq!(last.worth(at(298)), Worth::Good);
            assert_eq!(last.worth(at(300)), Worth::Over);
        }
    }

    #[test]
    fn kubectl_is_told_to_come_back_before_the_end() {
        assert_eq!(kept(300, 900).credential.status.expiration_timestamp, at(295));
        assert_eq!(kept(10, 900).credential.status.expiration_timestamp, at(8), "a short life has a short margin");
    }

    #[test]
    fn another_server_gets_nothing() {
        let kept = kept(300, 900);
        assert!(check_server(Some("https://k:6443/"), &kept, "x").is_ok());
        assert_eq!(check_server(Some("https://evil:6443"), &kept, "x").unwrap_err().exit_code(), 2);
    }

    #[test]
    fn only_the_form_of_a_kubeconfig_is_parsed_in_short() {
        let words = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        let short = Wanted::in_short(&words("credential --grant 7k3m9x2q7k3m9x2q --socket /s")).unwrap();
        assert_eq!((short.grant.as_str(), short.socket), ("7k3m9x2q7k3m9x2q", Some("/s".into())));
        for text in [
            "credential",
            "credential --grant",
            "credential --help",
            "ls --grant x",
            "credential --grant a --grant b",
            "credential --grant=a",
        ] {
            assert_eq!(Wanted::in_short(&words(text)), None, "{text}");
        }
    }
}
