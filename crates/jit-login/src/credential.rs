//! kubectl's exec plugin: passes a credential to every call of kubectl, from a file if it is still valid.
//!
//! ```text
//!  KUBERNETES_EXEC_INFO ─► the grant's cluster? ─► file good ─────────────────────────────► stdout
//!                                                  └─► lock ─► renew with the same key ─► file ─┘
//! ```
//! If the file is valid, it starts no runtime, opens no connection and parses only what it needs, because kubectl runs it
//! for each call. It passes nothing to a cluster other than the grant's, writes nothing to a terminal, and never takes longer
//! than [`LIMIT`]. `main` calls it before anything else.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use jit_core::grant::GrantId;
use serde::Deserialize;

use crate::cache::{API, Kept, Worth, credential_file, forget, local_grants};
use crate::daemon::{Daemon, runtime};
use crate::failure::{self, Failure};
use crate::folder::Folder;
use crate::issue::{certify, explained};
use crate::now;
use crate::output::{result, say};
use crate::terminal::is_taken;
use crate::text::program;

/// kubectl itself sets no limit.
const LIMIT: Duration = Duration::from_secs(10);

/// The arguments.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The grant, or a prefix of it.
    pub(crate) grant: String,
    /// The daemon's socket, for a renewal.
    pub(crate) socket: Option<PathBuf>,
    /// The daemon's account, for a renewal.
    pub(crate) server_user: Option<String>,
}

impl Wanted {
    /// Parses the arguments that our kubeconfigs contain; the full parser handles all others.
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

/// Answers kubectl. If a full-screen program uses the terminal, only the exit code is returned: that program called kubectl,
/// and shows the failure itself.
pub(crate) fn run(wanted: &Wanted) -> Result<(), Failure> {
    answer(wanted).map_err(|failure| if is_taken() { Failure::Unsaid(failure.exit_code()) } else { failure })
}

fn answer(wanted: &Wanted) -> Result<(), Failure> {
    let deadline = Instant::now() + LIMIT;
    let server = asked_server()?;
    let grant = full_id(&wanted.grant)?;
    let folder = Folder::holding(&credential_file(&grant))?;
    let kept = folder.as_ref().map(|folder| Kept::find(folder, &grant)).transpose()?.flatten();
    if let Some(kept) = &kept {
        check_server(server.as_deref(), kept, &grant)?;
        match kept.worth(now()) {
            Worth::Good => return hand_over(kept),
            Worth::Low | Worth::Spent => {}
            // An extension may have been approved in the meantime, which only the daemon knows.
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

/// Renews the certificate for the same key. One process does it, the others wait for its result.
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
                Failure::own("another process is renewing the certificate, but does not finish", "try again")
            });
        }
    }
    let terms = kept.as_ref().map(Kept::terms);
    let renewed = within(deadline, async {
        let mut client = daemon.connect().await?;
        match certify(&mut client, &daemon, &folder, &folder, grant, terms).await {
            Err(failure) => Err(explained(&mut client, grant, failure).await),
            done => done,
        }
    });
    match (renewed, usable(&kept)) {
        (Ok(renewed), _) => Ok(renewed),
        (Err(failure @ Failure::Closed(_)), _) => {
            forget(grant);
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

fn without_key(daemon: &Daemon, grant: &str, deadline: Instant) -> Failure {
    let found = within(deadline, async { Ok(daemon.connect().await?.show(grant).await?) });
    match found {
        Ok(view) if !view.phase.is_open() => Failure::Closed(Box::new(view)),
        Ok(view) => Failure::own(
            format!("the key of `{grant}` is not in this account's folder"),
            format!(
                "the account that requested it has the key, until its logout; otherwise {}",
                failure::again(&view.id)
            ),
        ),
        Err(failure) => failure,
    }
}

fn within<T>(deadline: Instant, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let late = || Failure::own(format!("no certificate within {} s", LIMIT.as_secs()), "try again");
    runtime()?.block_on(async { tokio::time::timeout_at(deadline.into(), work).await.unwrap_or_else(|_| Err(late())) })
}

fn hand_over(kept: &Kept) -> Result<(), Failure> {
    if std::io::stdout().is_terminal() {
        return Err(Failure::usage(
            "a private key is not written to a terminal",
            format!("this command is for kubectl; `{} kubeconfig` sets it up", program()),
        ));
    }
    let text = serde_json::to_string(&kept.credential);
    result(&text.map_err(|error| Failure::own(format!("cannot encode the credential: {error}"), ""))?)
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

/// The server for which kubectl needs the credential; none if kubectl did not call.
fn asked_server() -> Result<Option<String>, Failure> {
    let Some(text) = std::env::var_os("KUBERNETES_EXEC_INFO") else { return Ok(None) };
    let again = || format!("write the kubeconfig again with `{} kubeconfig`", program());
    let info: ExecInfo = serde_json::from_slice(text.as_encoded_bytes())
        .map_err(|error| Failure::usage(format!("KUBERNETES_EXEC_INFO cannot be parsed: {error}"), again()))?;
    if info.api_version != API {
        return Err(Failure::usage(
            format!("kubectl requires `{}`, but this program provides `{API}`", info.api_version),
            again(),
        ));
    }
    // Other clients may leave out the server or the whole variable.
    Ok(info.spec.cluster.map(|cluster| cluster.server))
}

fn check_server(asked: Option<&str>, kept: &Kept, grant: &str) -> Result<(), Failure> {
    let bare = |url: &str| url.trim_end_matches('/').to_owned();
    match asked {
        Some(asked) if bare(asked) != bare(&kept.cluster.server) => Err(Failure::usage(
            format!("`{grant}` is for the cluster `{}` at {}, not for {asked}", kept.cluster.name, kept.cluster.server),
            format!(
                "this entry of the kubeconfig names another server; write it again with `{} kubeconfig`",
                program()
            ),
        )),
        _ => Ok(()),
    }
}

/// The id for a prefix, among the grants that have files here.
fn full_id(text: &str) -> Result<String, Failure> {
    let text = GrantId::as_written(text);
    let text = text.as_str();
    let legal = text.len() >= 4
        && text.len() <= 16
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    if !legal {
        return Err(Failure::usage(format!("`{text}` is not a grant's id"), format!("`{} ls` lists them", program())));
    }
    if text.len() == 16 {
        return Ok(text.to_owned());
    }
    let mut found = local_grants();
    found.retain(|id| id.starts_with(text));
    match found.as_slice() {
        [id] => Ok(id.clone()),
        [] => Err(Failure::usage(
            format!("this account has no credential of `{text}`"),
            format!("`{} ls` lists the grants", program()),
        )),
        _ => Err(Failure::usage(format!("more than one grant begins with `{text}`"), "write more of its id")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::tests::kept;

    #[test]
    fn another_server_gets_nothing() {
        let kept = kept(300, 900);
        assert!(check_server(Some("https://k:6443/"), &kept, "x").is_ok());
        assert_eq!(check_server(Some("https://evil:6443"), &kept, "x").unwrap_err().exit_code(), 2);
    }

    #[test]
    fn only_the_arguments_of_our_kubeconfigs_are_parsed_in_short() {
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
