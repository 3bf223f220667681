//! `jitd serve`: what systemd and people want of the daemon's process: its log, sockets, signals, reloads and watchdog.
//!
//! The daemon itself is the library's ([`jitd::daemon`]). Nothing is decided here. `main.rs` calls it.

use std::io::IsTerminal;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::unistd::{AccessFlags, Uid, access};
use tokio::net::UnixListener;
use tokio::signal::unix::Signal;
use tokio::task::JoinHandle;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use jitd::api::{Api, Listener};
use jitd::broker::Broker;
use jitd::config::Config;
use jitd::daemon::{self, Daemon, Outside};
use jitd::dependency::Dependency;
use jitd::files;
use jitd::grant::policy::Loaded;
use jitd::hint::Hint;
use jitd::people::host;
use jitd::service::{self, Handed, Sockets, StopRequests};
use libsystemd::logging::connected_to_journal;

use crate::journal::Journal;
use crate::watchdog::Watchdog;
use crate::{CLOCK, Failure, read, runtime};

pub(crate) fn serve(config: &Path) -> Result<(), Failure> {
    service::keep_memory_private()?;
    log();
    service::can_tell_callers_apart()?;
    if service::callers_are_hidden() {
        tracing::error!(
            "/proc hides the processes of others from the daemon, so the login of callers cannot be determined: nobody may request what needs an approval, and nobody may approve; hint: {}",
            service::SHOW_CALLERS
        );
    }
    // Before there are threads.
    let sockets = Sockets::handed_over()?;
    runtime()?.block_on(async {
        // Before anything that takes its time: a signal ends a daemon that does not wait for it.
        let (reload_requests, stop_requests) = (service::reload_requests()?, StopRequests::new()?);
        run(config, read(config)?, sockets, reload_requests, stop_requests).await
    })
}

fn log() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("JITD_LOG").unwrap_or_else(|_| "info".into());
    if connected_to_journal() {
        tracing_subscriber::registry().with(filter).with(Journal).init();
        return;
    }
    // Of a line that can't be written it would tell by `eprintln!`, which panics when the reader has gone away.
    tracing_subscriber::fmt()
        .log_internal_errors(false)
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
}

async fn run(
    file: &Path,
    config: Config,
    mut sockets: Sockets,
    reload_requests: Signal,
    mut stop_requests: StopRequests,
) -> Result<(), Failure> {
    files::private_folder(&config.state)?;
    let daemon = Daemon::new(&config, Outside::of(&config, CLOCK, service::still_starting)?).start().await?;
    let (broker, api) = (Arc::clone(daemon.broker()), Arc::clone(daemon.api()));
    let Doors { doors, path, ours } = doors(&mut sockets, &config)?;
    let watchdog = Watchdog::new(broker, &path);
    let telling = Arc::clone(&watchdog);
    let telling = tokio::spawn(async move { telling.tell().await });
    let feeding = feed(&watchdog, &path)?;
    let reloading = tokio::spawn(reload(reload_requests, api, Arc::clone(&watchdog), file.to_owned(), config));
    tracing::info!(socket = %path.display(), "ready");
    watchdog.ready(0);
    let stop = async {
        stop_requests.come().await;
        service::stopping();
        // From here on systemd waits for the end instead, and nobody is let in any more.
        feeding.iter().for_each(JoinHandle::abort);
        telling.abort();
        tracing::info!("stopping");
    };
    let served = daemon.serve(doors, stop).await;
    reloading.abort();
    // Only now: a client that finds no socket may ask the next daemon.
    for path in ours {
        let _ = std::fs::remove_file(path);
    }
    Ok(served?)
}

/// Feeds systemd's watchdog, if there is one.
fn feed(watchdog: &Arc<Watchdog>, socket: &Path) -> Result<Option<JoinHandle<()>>, Failure> {
    let Some(limit) = service::watchdog() else { return Ok(None) };
    // Told now, and not by being ended again and again: an administrator may have changed the socket's group. Asked
    // without a call, which systemd would take for one that has to start the daemon.
    access(socket, AccessFlags::W_OK).map_err(|error| {
        Failure::ours(format!(
            "the watchdog wants the daemon to call its own socket `{}`, and it can't: {error}",
            socket.display()
        ))
        .with_hint("`SupplementaryGroups=` of jitd.service has to name the socket's group")
    })?;
    let watchdog = Arc::clone(watchdog);
    Ok(Some(tokio::spawn(async move { watchdog.feed(limit).await })))
}

/// Reads all files again whenever it is asked to. The policy, the guardrails, the people and who oversees them are taken up;
/// what else is new is named, for it needs a restart. What can't be taken up whole is not taken up at all: then everything
/// stays as it was.
async fn reload(mut requests: Signal, api: Arc<Api>, watchdog: Arc<Watchdog>, file: PathBuf, running: Config) {
    let disk = Dependency::new("disk with the policy", 1, POLICY_READ_WITHIN);
    while requests.recv().await.is_some() {
        service::reloading();
        let path = file.clone();
        let read = disk.ask((), move || Config::read(&path)).await;
        let faults = match read {
            Ok(Ok(read)) => {
                let keys = running.keys_for_a_restart(&read);
                let taken_up = take_up(&api.broker, read).await;
                if taken_up.is_ok() {
                    if !keys.is_empty() {
                        tracing::warn!(
                            keys = keys.join(", "),
                            "keys of config.yaml changed that are not taken up; hint: `systemctl restart jitd`, access that is live goes on"
                        );
                    }
                    api.broker.note_needs_restart(keys);
                }
                taken_up.err().map(|error| vec![error])
            }
            Ok(Err(faults)) => Some(faults.lines()),
            Err(error) => Some(vec![error.to_string()]),
        };
        for fault in faults.iter().flatten() {
            tracing::error!("the policy was not taken up: {fault}");
        }
        api.metrics.policy_reloaded(faults.is_some());
        let faults = faults.map_or(0, |faults| faults.len());
        if faults > 0 {
            tracing::error!(
                faults,
                "the policy before stays in force; hint: mend the files, `jitd check`, and reload again"
            );
        }
        watchdog.ready(faults);
    }
}

/// How long the policy's files are waited for; they may lie on another host.
const POLICY_READ_WITHIN: Duration = Duration::from_secs(10);

async fn take_up(broker: &Broker, read: Config) -> Result<(), String> {
    let (rules, policy_sha256, overseers) = (read.policy.len(), read.policy_sha256.clone(), daemon::overseers(&read));
    let Config { policy, guardrails_sha256, people, .. } = read;
    let loaded = Loaded { policy, policy_sha256: read.policy_sha256, guardrails_sha256 };
    broker.use_policy(loaded).await.map_err(|error| error.in_full().to_string())?;
    broker.use_people(people, overseers);
    tracing::info!("the people, `admins` and `auditors` of config.yaml were taken up");
    tracing::info!(rules, policy_sha256, "the policy was taken up; `jitd manifest` prints what its clusters need now");
    Ok(())
}

/// Where the daemon serves.
struct Doors {
    doors: Vec<(Listener, UnixListener)>,
    /// The socket that people call.
    path: PathBuf,
    /// What we opened ourselves, and so remove.
    ours: Vec<PathBuf>,
}

/// The host's group whose members may open the operators' socket, where there is one; without it only root may.
const OPERATORS_GROUP: &str = "jit-admins";

/// The host's group whose members may ask, where there is one: nobody else, such as a web server that was broken into, can
/// even call. As in jitd.socket.
const USERS_GROUP: &str = "jit-users";

/// The sockets that systemd handed over, or else our own. Where systemd opens any of them it opens all that there are:
/// the daemon of its unit may not make files beside them.
fn doors(sockets: &mut Sockets, config: &Config) -> Result<Doors, Failure> {
    let (users, operators) = (sockets.take(service::API)?, sockets.take(service::ADMIN)?);
    let (users, operators) = match (users, operators) {
        (None, None) => {
            // Who may do what is decided by who they are; where there is no group of people, everybody may ask. Who operates
            // is held off by the file in any case. Theirs is first, so that whoever reaches the daemon finds both.
            let operators = listen(&config.admin_socket, OPERATORS_GROUP, 0o660)?;
            let users = listen(&config.socket, USERS_GROUP, 0o666)?;
            let doors = vec![(Listener::Users, users), (Listener::Operators, operators)];
            let ours = vec![config.socket.clone(), config.admin_socket.clone()];
            return Ok(Doors { doors, path: config.socket.clone(), ours });
        }
        (Some(users), operators) => (users, operators),
        (None, Some(_)) => {
            return Err(Failure::ours(format!(
                "systemd handed over `{}` and no `{}`, so nobody could ask",
                service::ADMIN,
                service::API
            ))
            .with_hint("`Sockets=` of jitd.service names both `.socket` units"));
        }
    };
    if operators.is_none() {
        tracing::warn!("systemd handed over no socket for operators; hint: `systemctl enable --now jitd-admin.socket`");
    }
    let path = users.path.clone();
    let handed =
        [(Listener::Users, &config.socket, Some(users)), (Listener::Operators, &config.admin_socket, operators)];
    let mut doors = Vec::new();
    for (door, configured, handed) in handed {
        let Some(Handed { listener, path }) = handed else { continue };
        if path != *configured {
            tracing::warn!(
                handed = %path.display(),
                configured = %configured.display(),
                "systemd opened the socket elsewhere than config.yaml has it; systemd's is served"
            );
        }
        doors.push((door, listener));
    }
    Ok(Doors { doors, path, ours: Vec::new() })
}

/// A socket that only root and the group may open, or where it can't be given to that group, whom `otherwise` lets. A leftover
/// of a daemon that was killed is removed; never one that still answers.
fn listen(path: &Path, group: &str, otherwise: u32) -> Result<UnixListener, Failure> {
    if let Some(folder) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
    }
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(Failure::ours(format!("another daemon answers on `{}`", path.display())));
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    // Before there is a file, for the name service may take its time, and nobody can open it meanwhile.
    let group = if Uid::effective().is_root() { host::group_named(group)? } else { None };
    let listener = UnixListener::bind(path)?;
    if let Some(group) = &group {
        std::os::unix::fs::chown(path, None, Some(group.gid))?;
    }
    let mode = group.map_or(otherwise, |_| 0o660);
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    Ok(listener)
}
