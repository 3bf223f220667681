//! From an approved grant to a kubectl that works: key, certificate, credential and kubeconfig, in the
//! order in which a crash between any two leaves something that can be gone on with.
//!
//! ```text
//!  pending-<random>.key ─► request ─► <grant>.key ─► certificate ─► <grant>.credential ─► <grant>.kubeconfig
//! ```
//! It never sends a private key and never removes a file of a grant that the daemon did not call over.
//! The verbs and the exec plugin are its callers.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::SignedDuration;
use jit_core::grant::Phase;
use jit_core::grant::refusal::Code;
use jit_wire::client::{Client, ClientError, DEFAULT_SOCKET, Trust};
use jit_wire::{AskBody, ErrorCode, GrantView, RequestBody};
use zeroize::Zeroizing;

use crate::credential::{Kept, Terms, explained};
use crate::failure::{Failure, again};
use crate::folder::{Folder, random_word};
use crate::key::Key;
use crate::kubeconfig::Kubeconfig;
use crate::now;
use crate::output::say;
use crate::text::program;

/// Where the daemon is and who it has to be.
#[derive(Clone, Debug)]
pub(crate) struct Daemon {
    /// Its socket.
    pub(crate) socket: PathBuf,
    /// Whom to take for it.
    pub(crate) trust: Trust,
    /// The account as it was written, for the kubeconfig.
    pub(crate) server_user: Option<String>,
}

impl Daemon {
    /// From what was written on the command line or in the environment.
    pub(crate) fn new(socket: Option<PathBuf>, server_user: Option<&str>) -> Result<Self, Failure> {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let socket = socket
            .filter(|path| !path.as_os_str().is_empty())
            .or_else(|| variable("JITD_SOCKET").map(PathBuf::from))
            .unwrap_or_else(|| DEFAULT_SOCKET.into());
        let server_user = match server_user.filter(|name| !name.is_empty()) {
            Some(name) => Some(name.to_owned()),
            None => variable("JITD_USER").map(|name| name.to_string_lossy().into_owned()),
        };
        let trust = server_user.as_deref().map_or(Ok(Trust::FolderOwner), |name| account(name).map(Trust::User))?;
        Ok(Self { socket: std::path::absolute(&socket).unwrap_or(socket), trust, server_user })
    }

    /// Connects.
    pub(crate) async fn connect(&self) -> Result<Client, Failure> {
        Ok(Client::connect(&self.socket, self.trust).await?)
    }
}

fn account(name: &str) -> Result<u32, Failure> {
    if let Ok(uid) = name.parse() {
        return Ok(uid);
    }
    match nix::unistd::User::from_name(name) {
        Ok(Some(user)) => Ok(user.uid.as_raw()),
        _ => Err(Failure::usage(
            format!("there is no account `{name}`"),
            "--server-user names the account that jitd runs as",
        )),
    }
}

/// The runtime of the verbs that talk to the daemon: one thread, this one.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
    built.map_err(|error| Failure::own(format!("can't start, {error}"), ""))
}

/// Makes a key, keeps it, and asks. The key is on disk before anything is sent, and where a logout leaves it.
pub(crate) async fn ask(client: &mut Client, ask: AskBody) -> Result<GrantView, Failure> {
    // What is collected later has to have its place too.
    let of_login = Folder::home()?;
    let folder = match Folder::lasting() {
        Ok(folder) => folder,
        Err(failure) => {
            let why = failure.sentence().map(|(_, sentence)| sentence).unwrap_or_default();
            say(&format!("this request can be collected only until you log out: {why}"));
            of_login
        }
    };
    let key = Key::generate()?;
    let csr = key.csr()?;
    let draft = format!("{DRAFT}{}{KEY}", random_word()?);
    folder.write(&draft, &key.pem())?;
    match client.request(&RequestBody { ask, csr }).await {
        Ok(grant) => {
            folder.rename(&draft, &key_file(&grant.id))?;
            Ok(grant)
        }
        Err(error @ (ClientError::Problem(_) | ClientError::WrongServer { .. })) => {
            folder.remove(&draft);
            Err(error.into())
        }
        Err(error) => {
            say(&format!("whether the request arrived is not known; `{} ls` tells", program()));
            Err(error.into())
        }
    }
}

/// Access that works.
pub(crate) struct Access {
    /// What kubectl gets.
    pub(crate) kept: Kept,
    /// Where its kubeconfig is.
    pub(crate) path: PathBuf,
    /// What is in it.
    pub(crate) kubeconfig: Kubeconfig,
}

/// Collects an approved grant, or renews a live one where that is due, and writes what kubectl needs.
pub(crate) async fn collect(client: &mut Client, daemon: &Daemon, grant: &GrantView) -> Result<Access, Failure> {
    let keys = holding_key(grant)?;
    let home = if keys.is_lasting() { Some(Folder::home()?) } else { None };
    let folder = home.as_ref().unwrap_or(&keys);
    let found = if grant.phase == Phase::Live { Kept::find(folder, &grant.id)? } else { None };
    let kept = match found {
        // More time was given since: the new end has to be in what is kept.
        Some(kept) if kept.is_good(now()) && grant.deadline.is_none_or(|end| end <= kept.until) => kept,
        _ => patiently(client, &keys, folder, grant).await?,
    };
    let kubeconfig = Kubeconfig::of(&grant.id, &kept, daemon)?;
    let name = kubeconfig_file(&grant.id);
    folder.write(&name, &kubeconfig.yaml()?)?;
    Ok(Access { kept, path: folder.path_of(&name), kubeconfig })
}

/// A collection may be repeated, so what passes by itself is waited for.
async fn patiently(client: &mut Client, keys: &Folder, folder: &Folder, grant: &GrantView) -> Result<Kept, Failure> {
    let mut pause = Duration::from_millis(500);
    loop {
        let failure = match certify(client, keys, folder, &grant.id, Some(Terms::from(grant))).await {
            Ok(kept) => return Ok(kept),
            Err(failure) => explained(client, &grant.id, failure).await,
        };
        let passes = match &failure {
            Failure::Client(ClientError::Problem(problem)) => problem.known().is_some_and(passes),
            _ => false,
        };
        if !passes || pause > Duration::from_secs(8) {
            return Err(failure);
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
}

/// Whether another try may have another answer.
fn passes(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::Busy
            | ErrorCode::RateLimited
            | ErrorCode::ClusterUnreachable
            | ErrorCode::TrailUnavailable
            | ErrorCode::NameServiceUnavailable
            | ErrorCode::Refused(Code::WrongPhase)
    )
}

/// Asks for a certificate with the grant's key, which is in `keys`, and keeps both in `folder`.
pub(crate) async fn certify(
    client: &mut Client,
    keys: &Folder,
    folder: &Folder,
    grant: &str,
    terms: Option<Terms>,
) -> Result<Kept, Failure> {
    let Some(pem) = keys.read(&key_file(grant))?.map(Zeroizing::new) else {
        return Err(Failure::own(format!("the key of `{grant}` is not here"), "it is where it was asked for"));
    };
    let key = Key::from_pem(&pem)?;
    let view = client.certificate(grant, &key.csr()?).await?;
    let terms = match terms {
        Some(terms) => terms,
        None => Terms::from(&client.show(grant).await?),
    };
    let kept = Kept::new(view, &key, &terms, now());
    if keys.is_another(folder) {
        folder.write(&key_file(grant), &pem)?;
    }
    kept.keep(folder, grant)?;
    if keys.is_another(folder) {
        keys.remove(&key_file(grant));
    }
    Ok(kept)
}

/// The folder with the grant's key. A key whose request was sent but whose answer never came is known
/// by its hash.
fn holding_key(grant: &GrantView) -> Result<Folder, Failure> {
    if let Some(folder) = Folder::holding(&key_file(&grant.id))? {
        return Ok(folder);
    }
    for folder in Folder::every()? {
        for name in folder.names().iter().filter(|name| is_draft(name)) {
            let key = folder.read(name)?.and_then(|pem| Key::from_pem(&pem).ok());
            if key.is_some_and(|key| key.hash() == grant.key) {
                folder.rename(name, &key_file(&grant.id))?;
                return Ok(folder);
            }
        }
    }
    Err(Failure::own(
        format!("the key of `{}` is not in this account's folder", grant.id),
        format!("only where it was asked for it can be collected; else {}", again(&grant.id)),
    ))
}

/// Whether this is asked for the first time of this grant.
pub(crate) fn is_first_time(grant: &str) -> Result<bool, Failure> {
    let Some(folder) = Folder::holding(&kubeconfig_file(grant))? else { return Ok(true) };
    let told = told_file(grant);
    let first = folder.read(&told)?.is_none();
    if first {
        folder.write(&told, "")?;
    }
    Ok(first)
}

/// Ids of the grants that have files here.
pub(crate) fn local_grants() -> Vec<String> {
    let folders = Folder::every().unwrap_or_default();
    let names = folders.iter().flat_map(Folder::names);
    let mut ids: Vec<String> =
        names.filter_map(|name| Some(name.split_once('.')?.0.to_owned())).filter(|id| id.len() == 16).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// Removes key and credential of a grant that is over. Its kubeconfig stays for a day: it holds no
/// secret, and a shell that still points to it gets a clear sentence instead of `localhost:8080`.
pub(crate) fn forget(grant: &str) {
    for folder in Folder::every().unwrap_or_default() {
        folder.remove(&key_file(grant));
        folder.remove(&crate::credential::file(grant));
        folder.remove(&format!("{grant}.lock"));
        folder.remove(&told_file(grant));
        folder.remove_older(&kubeconfig_file(grant), SignedDuration::from_hours(24), now());
    }
}

/// Removes the files of grants that the daemon says are over; `known` spares asking.
pub(crate) async fn tidy(client: &mut Client, known: &[GrantView]) {
    const MOST_QUESTIONS: usize = 20;
    let mut questions = 0;
    let mut over = Vec::new();
    for id in local_grants() {
        let open = match known.iter().find(|grant| grant.id == id) {
            Some(grant) => grant.phase.is_open(),
            None if questions < MOST_QUESTIONS => {
                questions += 1;
                client.show(&id).await.map_or(true, |grant| grant.phase.is_open())
            }
            None => true,
        };
        if !open {
            over.push(id);
        }
    }
    over.iter().for_each(|id| forget(id));
    for folder in Folder::every().unwrap_or_default() {
        for draft in folder.names().iter().filter(|name| is_draft(name)) {
            folder.remove_older(draft, LONGEST_DRAFT, now());
        }
    }
}

/// Whether it is a key whose request may never have arrived.
fn is_draft(name: &str) -> bool {
    name.starts_with(DRAFT) && name.ends_with(KEY)
}

fn key_file(grant: &str) -> String {
    format!("{grant}{KEY}")
}

/// That a person was told that `run` does not end its commands.
fn told_file(grant: &str) -> String {
    format!("{grant}.told")
}

/// Where the kubeconfig of a grant is kept.
pub(crate) fn kubeconfig_file(grant: &str) -> String {
    format!("{grant}.kubeconfig")
}

/// Whether a file is one that this program keeps.
pub(crate) fn is_ours(path: &Path) -> bool {
    Folder::every().unwrap_or_default().iter().any(|folder| folder.contains(path))
}

const DRAFT: &str = "pending-";
/// An answer, a start and a collection are waited for at most a day each.
const LONGEST_DRAFT: SignedDuration = SignedDuration::from_hours(72);
const KEY: &str = ".key";
