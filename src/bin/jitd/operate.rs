//! `jitd drain`, `resume`, `revoke` and `backup`: what operators do with a running daemon.
//!
//! The first three call the daemon through the admin socket, and the daemon decides; this module knows neither the trail
//! nor a cluster. `backup` reads the trail's file, so that it also works without a daemon. `main.rs` calls it.

use std::collections::BTreeMap;
use std::io::{BufRead, IsTerminal, stderr, stdin};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{ArgGroup, Args};

use jitd::client::{Client, ClientError, DEFAULT_ADMIN_SOCKET, Trust};
use jitd::config::Config;
use jitd::files;
use jitd::trail;
use jitd::wire::kept::ReadingBody;
use jitd::wire::{DrainBody, DrainingView, OperationsView, Proof, RevocationView, RevokeBody, RevokedView};

use crate::print::{self, Form, Output, counted, one_line, say};
use crate::{AND, Failure, audit, read, runtime};

/// The socket of the daemon for operators.
#[derive(Args)]
pub(crate) struct AdminSocket {
    // Not clap's `env`, because it shows an option that the environment sets as if it were required.
    /// The admin socket [default: $JITD_ADMIN_SOCKET, or `adminSocket` of the configuration].
    #[arg(long, value_name = "FILE")]
    socket: Option<PathBuf>,
}

/// Which grants to revoke, and why.
#[derive(Args)]
#[command(group(ArgGroup::new("whose").args(["grants", "person", "cluster", "all"]).required(true).multiple(true)))]
pub(crate) struct Revoke {
    /// Grants by id, or by a unique beginning of it.
    #[arg(value_name = "ID", conflicts_with_all = ["person", "cluster", "all"])]
    grants: Vec<String>,
    /// The grants of this person; with --cluster only those in that cluster.
    #[arg(long, value_name = "NAME")]
    person: Option<String>,
    /// The grants in this cluster.
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// Every grant of everybody.
    #[arg(long, conflicts_with_all = ["person", "cluster"])]
    all: bool,
    /// The reason; those who lose access read it.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Drain first, so that nothing new is granted in the meantime; `jitd resume` ends the drain.
    #[arg(long)]
    drain: bool,
    /// Do not ask for confirmation.
    #[arg(long)]
    yes: bool,
    /// Output format.
    #[arg(long, short, default_value = "table", value_enum)]
    output: Form,
    #[command(flatten)]
    admin: AdminSocket,
}

pub(crate) fn drain(config: &Path, admin: &AdminSocket, reason: Option<&str>) -> Result<(), Failure> {
    let body = DrainBody { reason: reason.map(str::to_owned) };
    let state = at(config, admin, async |client| client.drain(&body).await)?;
    say!("draining: no new access until `jitd resume`; live grants continue");
    print::result(describe(&state))
}

pub(crate) fn resume(config: &Path, admin: &AdminSocket) -> Result<(), Failure> {
    let (before, state) = at(config, admin, async |client| {
        let before = client.operations().await?;
        Ok((before, client.resume().await?))
    })?;
    match before.draining {
        Some(draining) => say!("resumed; it had been draining {}", since(&draining)),
        None => say!("jitd was not draining"),
    }
    print::result(describe(&state))
}

pub(crate) fn revoke(config: &Path, revoke: &Revoke) -> Result<(), Failure> {
    let body = RevokeBody {
        grants: revoke.grants.clone(),
        all: revoke.all,
        person: revoke.person.clone(),
        cluster: revoke.cluster.clone(),
        reason: revoke.reason.clone(),
        drain: revoke.drain,
    };
    let found = at(config, &revoke.admin, async |client| client.revoke_many(&body, true).await)?;
    if found.grants.is_empty() && !revoke.drain {
        say!("nothing to revoke: no open grant matches");
        return show(revoke.output, &found);
    }
    if !revoke.yes {
        say!("{}", summary(&found.grants));
        if !(stdin().is_terminal() && stderr().is_terminal()) {
            return Err(Failure::usage("cannot ask for confirmation without a terminal").with_hint("use --yes"));
        }
        let first = if revoke.drain { "drain, and " } else { "" };
        if !agreed_to(&format!("{first}revoke {}?", counted(found.grants.len(), "grant")))? {
            return Err(Failure::ours("nothing was revoked"));
        }
    }
    let done = at(config, &revoke.admin, async |client| {
        let socket = socket(config, &revoke.admin);
        tokio::select! {
            done = client.revoke_many(&body, false) => done,
            never = progress(&socket) => match never {},
        }
    })?;
    show(revoke.output, &done)?;
    let late = done.grants.iter().filter(|grant| grant.proof.is_none()).count();
    say!("revoked {}", counted(done.grants.len().saturating_sub(late), "grant"));
    if let Some(draining) = &done.draining {
        say!("draining {}: no new access until `jitd resume`", since(draining));
    }
    let mut failed = Vec::new();
    if let Some(why) = &done.not_drained {
        failed.push(format!("the drain failed: {}", one_line(why)));
    }
    if late > 0 {
        let why = done.grants.iter().filter(|grant| grant.proof.is_none());
        failed.extend(why.map(|grant| {
            let why = grant.why.as_deref().map_or(String::new(), |why| format!(": {}", one_line(why)));
            format!("{} of {} in {} is {}{why}", grant.id, grant.requester, grant.cluster, grant.phase.as_str())
        }));
        failed.push(format!("not proved denied yet: {late} of {}; the daemon continues with them", done.grants.len()));
    }
    if failed.is_empty() {
        return Ok(());
    }
    let failure = Failure::ours(failed.join(AND));
    Err(if late > 0 { failure.with_hint("run the same command again to see the progress") } else { failure })
}

pub(crate) fn backup(config: &Path, file: &Path) -> Result<(), Failure> {
    let trail = read(config)?.trail();
    // SQLite opens the copy by name, so anybody who could put a link there could choose which file root overwrites.
    files::check_place(file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")))?;
    let report = trail::back_up(&trail, file, audit::watched())?;
    print::result(file.display().to_string())?;
    say!("copied and verified");
    audit::show(&report, Output::Text)
}

/// Calls the daemon through the admin socket.
pub(crate) fn at<T>(
    config: &Path,
    admin: &AdminSocket,
    call: impl AsyncFnOnce(&mut Client) -> Result<T, ClientError>,
) -> Result<T, Failure> {
    let socket = socket(config, admin);
    let called = runtime()?.block_on(async {
        let mut client = Client::connect(&socket, Trust::FolderOwner).await?;
        call(&mut client).await
    });
    called.map_err(|error| {
        let hint = "check that the daemon is running, and that you are root or in the socket's group";
        let hint = matches!(error, ClientError::Unreachable { .. }).then(|| hint.into());
        Failure::Daemon { error: Box::new(error), hint }
    })
}

/// Tells the daemon that root, or an admin, reads sessions by themselves.
pub(crate) fn tell_reading(config: &Path, body: &ReadingBody) -> Result<(), Failure> {
    at(config, &AdminSocket { socket: None }, async |client| client.record_reading(body).await)
}

/// The path of the socket. A member of the socket's group may be unable to read the configuration.
fn socket(config: &Path, admin: &AdminSocket) -> PathBuf {
    let written = || Config::admin_socket_of(config).ok();
    let variable = || std::env::var_os("JITD_ADMIN_SOCKET").filter(|path| !path.is_empty()).map(PathBuf::from);
    admin.socket.clone().or_else(variable).or_else(written).unwrap_or_else(|| PathBuf::from(DEFAULT_ADMIN_SOCKET))
}

/// Shows on a terminal how many grants are left, until the caller drops it.
async fn progress(socket: &Path) -> std::convert::Infallible {
    let mut client = None;
    loop {
        tokio::time::sleep(Duration::from_millis(300)).await;
        if !stderr().is_terminal() {
            continue;
        }
        if client.is_none() {
            client = Client::connect(socket, Trust::FolderOwner).await.ok();
        }
        if let Some(asking) = &mut client {
            match asking.operations().await {
                Ok(state) => print::words(format_args!("\r{}\u{1b}[K\r", describe(&state))),
                Err(_) => client = None,
            }
        }
    }
}

/// The number of grants by phase.
fn describe(state: &OperationsView) -> String {
    let OperationsView { pending, approved, collecting, live, ending, .. } = state;
    format!("pending {pending}, approved {approved}, being collected {collecting}, live {live}, ending {ending}")
}

/// The number of grants of each person, one line each.
fn summary(grants: &[RevokedView]) -> String {
    let mut of_person: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    for grant in grants {
        *of_person.entry(&grant.requester).or_default().entry(grant.was.as_str()).or_default() += 1;
    }
    let line = |(person, phases): (&str, BTreeMap<&str, usize>)| {
        let phases: Vec<String> = phases.into_iter().map(|(phase, count)| format!("{phase} {count}")).collect();
        format!("{person}: {}", phases.join(", "))
    };
    of_person.into_iter().map(line).collect::<Vec<_>>().join("\n")
}

fn show(form: Form, done: &RevocationView) -> Result<(), Failure> {
    match form {
        Form::Json => print::json(done),
        Form::Name => print::result(done.grants.iter().map(|grant| grant.id.as_str()).collect::<Vec<_>>().join("\n")),
        Form::Table if done.grants.is_empty() => Ok(()),
        Form::Table => print::result(table(&done.grants)),
    }
}

fn table(grants: &[RevokedView]) -> String {
    let row = |grant: &RevokedView| {
        let place = if grant.namespaces.is_empty() { "-".to_owned() } else { grant.namespaces.join(",") };
        let (was, now) = (grant.was.as_str(), grant.phase.as_str());
        let proof = grant.proof.map_or("-", Proof::as_str);
        [&grant.id, &grant.requester, &grant.cluster, &place, &grant.access, was, now, proof]
            .map(str::to_owned)
            .to_vec()
    };
    let headings = ["ID", "WHO", "CLUSTER", "NAMESPACE", "ACCESS", "WAS", "NOW", "PROOF"];
    print::table(&headings, grants.iter().map(row).collect())
}

pub(crate) fn since(draining: &DrainingView) -> String {
    let reason = draining.reason.as_deref().map_or(String::new(), |reason| format!(": {}", one_line(reason)));
    format!("since {:.0} by {}{reason}", draining.since, draining.by)
}

fn agreed_to(question: &str) -> Result<bool, Failure> {
    print::words(format_args!("{question} [y/N] "));
    let mut answer = String::new();
    stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
