//! Requests and certificates: it generates and stores a key, calls the daemon, and stores the certificate with the key.
//!
//! The private key is never sent. `access` and the exec plugin call it.

use std::time::Duration;

use jit_core::grant::Phase;
use jit_core::grant::refusal::Code;
use jit_wire::client::{Client, ClientError};
use jit_wire::{AskBody, ErrorCode, GrantView, RequestBody};
use zeroize::Zeroizing;

use crate::cache::{DRAFT, KEY, Kept, Terms, key_file};
use crate::daemon::Daemon;
use crate::failure::Failure;
use crate::folder::{Folder, random_word};
use crate::key::Key;
use crate::now;
use crate::output::say;
use crate::text::program;

/// Generates a key, stores it, and makes the request. The key is on the disk before anything is sent, in a folder that survives
/// a logout.
pub(crate) async fn ask(client: &mut Client, ask: AskBody) -> Result<GrantView, Failure> {
    // The folder for the later collection has to exist too.
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
            say(&format!("it is unknown whether the request arrived; `{} ls` shows it", program()));
            Err(error.into())
        }
    }
}

/// Collects, and repeats it after temporary failures.
pub(crate) async fn patiently(
    client: &mut Client,
    daemon: &Daemon,
    keys: &Folder,
    folder: &Folder,
    grant: &GrantView,
) -> Result<Kept, Failure> {
    let mut pause = Duration::from_millis(500);
    loop {
        let failure = match certify(client, daemon, keys, folder, &grant.id, Some(Terms::from(grant))).await {
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

/// Whether another attempt can succeed.
fn passes(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::Busy
            | ErrorCode::RateLimited
            | ErrorCode::ClusterUnreachable
            | ErrorCode::TrailUnavailable
            | ErrorCode::NameServiceUnavailable
            | ErrorCode::DirectoryUnavailable
            | ErrorCode::Refused(Code::WrongPhase)
    )
}

/// Gets a certificate for the grant's key, which is in `keys`, and stores both in `folder`. If `jitd` requires a fresh ID token
/// for it, the provider is asked for one.
pub(crate) async fn certify(
    client: &mut Client,
    daemon: &Daemon,
    keys: &Folder,
    folder: &Folder,
    grant: &str,
    terms: Option<Terms>,
) -> Result<Kept, Failure> {
    let Some(pem) = keys.read(&key_file(grant))?.map(Zeroizing::new) else {
        return Err(Failure::own(
            format!("the key of `{grant}` is not in this account's folder"),
            "the account that requested it has the key",
        ));
    };
    let key = Key::from_pem(&pem)?;
    let view = match client.certificate(grant, &key.csr()?).await {
        Err(ClientError::Problem(problem)) if problem.known() == Some(ErrorCode::Refused(Code::LoginStale)) => {
            *client = daemon.connect_afresh().await?;
            client.certificate(grant, &key.csr()?).await?
        }
        answered => answered?,
    };
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

/// Replaces a refused certificate by the real reason, if the grant is over or still pending.
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
