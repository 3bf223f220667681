//! `jitd serve`: the daemon's process: its log, sockets, signals, reloads and watchdog.
//!
//! The daemon itself is in the library ([`jitd::daemon`]). Nothing is decided here. `main.rs` calls it.

use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::unistd::{AccessFlags, Uid, access};
use tokio::net::UnixListener;
use tokio::signal::unix::Signal;
use tokio::task::JoinHandle;

use jitd::api::{Api, Listener};
use jitd::broker::Broker;
use jitd::config::Config;
use jitd::daemon::{self, Daemon, FeedSocket, Feeds, Outside};
use jitd::dependency::Dependency;
use jitd::files;
use jitd::grant::policy::Loaded;
use jitd::hint::Hint;
use jitd::people::host;
use jitd::service::{self, Handed, Sockets, StopRequests};

use crate::watchdog::Watchdog;
use crate::{CLOCK, Failure, read, runtime};

pub(crate) fn serve(config: &Path) -> Result<(), Failure> {
    service::keep_memory_private()?;
    jit_service::log::start("jitd");
    service::can_tell_callers_apart()?;
    if service::callers_are_hidden() {
        tracing::error!(
            "/proc hides the processes of others from the daemon, so it cannot determine the login of callers: nobody may request what needs an approval, and nobody may approve; hint: {}",
            service::SHOW_CALLERS
        );
    }
    // Before the first thread starts.
    let sockets = Sockets::handed_over()?;
    runtime()?.block_on(async {
        // Before anything slow, because a signal without a handler kills the process.
        let (reload_requests, stop_requests) = (service::reload_requests()?, StopRequests::new()?);
        run(config, read(config)?, sockets, reload_requests, stop_requests).await
    })
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
    let Doors { doors, feeds, path, ours } = doors(&mut sockets, &config)?;
    let watchdog = Watchdog::new(broker, &path);
    let telling = Arc::clone(&watchdog);
    let telling = tokio::spawn(async move { telling.tell().await });
    let feeding = feed_watchdog(&watchdog, &path)?;
    let reloading = tokio::spawn(reload(reload_requests, api, Arc::clone(&watchdog), file.to_owned(), config));
    tracing::info!(socket = %path.display(), "ready");
    watchdog.ready(0);
    let stop = async {
        stop_requests.come().await;
        service::stopping();
        // From here on systemd waits for the end instead, and no connection is accepted.
        feeding.iter().for_each(JoinHandle::abort);
        telling.abort();
        tracing::info!("stopping");
    };
    let served = daemon.serve(doors, feeds, stop).await;
    reloading.abort();
    // Only now, because a client that finds no socket may call the next daemon.
    for path in ours {
        let _ = std::fs::remove_file(path);
    }
    Ok(served?)
}

/// Feeds systemd's watchdog, if there is one.
fn feed_watchdog(watchdog: &Arc<Watchdog>, socket: &Path) -> Result<Option<JoinHandle<()>>, Failure> {
    let Some(limit) = service::watchdog() else { return Ok(None) };
    // Checked now, so that the watchdog does not kill the daemon again and again: an administrator may have changed the
    // socket's group. Without a call, because systemd would start the daemon for it.
    access(socket, AccessFlags::W_OK).map_err(|error| {
        Failure::ours(format!(
            "the watchdog requires the daemon to call its own socket `{}`, but it cannot: {error}",
            socket.display()
        ))
        .with_hint("`SupplementaryGroups=` of jitd.service must contain the socket's group")
    })?;
    let watchdog = Arc::clone(watchdog);
    Ok(Some(tokio::spawn(async move { watchdog.feed(limit).await })))
}

/// Reads all files again for each request to reload. It applies the policy, the guardrails, the people, `admins` and
/// `auditors`, and logs which other keys changed, because they need a restart. If it cannot apply everything, it applies
/// nothing.
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
                            "changed keys of config.yaml need a restart; hint: `systemctl restart jitd`; live access continues"
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
            tracing::error!("the policy was not reloaded: {fault}");
        }
        api.metrics.policy_reloaded(faults.is_some());
        let faults = faults.map_or(0, |faults| faults.len());
        if faults > 0 {
            tracing::error!(
                faults,
                "the previous policy stays in force; hint: correct the files, run `jitd check`, and reload again"
            );
        }
        watchdog.ready(faults);
    }
}

/// How long to wait for the policy's files, which can be on another host.
const POLICY_READ_WITHIN: Duration = Duration::from_secs(10);

async fn take_up(broker: &Broker, read: Config) -> Result<(), String> {
    let (rules, policy_sha256, overseers) = (read.policy.len(), read.policy_sha256.clone(), daemon::overseers(&read));
    let Config { policy, guardrails_sha256, people, .. } = read;
    let loaded = Loaded { policy, policy_sha256: read.policy_sha256, guardrails_sha256 };
    broker.use_policy(loaded).await.map_err(|error| error.in_full().to_string())?;
    broker.use_people(people, overseers);
    tracing::info!("reloaded the people, `admins` and `auditors` of config.yaml");
    tracing::info!(rules, policy_sha256, "reloaded the policy; `jitd manifest` prints what its clusters need now");
    Ok(())
}

/// The sockets on which the daemon serves.
struct Doors {
    doors: Vec<(Listener, UnixListener)>,
    /// The sockets of the gateway, of jit-notify and of the front end, where they are configured.
    feeds: Feeds,
    /// The socket for people.
    path: PathBuf,
    /// The sockets that we created and have to remove.
    ours: Vec<PathBuf>,
}

/// The group whose members may open the admin socket, if it exists; otherwise only root may.
const OPERATORS_GROUP: &str = "jit-admins";

/// The group whose members may call the daemon, if it exists: nobody else, such as a compromised web server, can even
/// connect. The same as in jitd.socket.
const USERS_GROUP: &str = "jit-users";

/// The host's account that the gateway runs as, and its group, whose members may open the gateway's socket.
const GATEWAY: &str = "jit-gateway";

/// The same for the front end.
const FRONTEND: &str = "jit-frontend";

/// The sockets that systemd passed, or else our own. If systemd opens one of them, it has to open all of them: the unit does
/// not allow the daemon to create files next to them.
fn doors(sockets: &mut Sockets, config: &Config) -> Result<Doors, Failure> {
    let (users, operators) = (sockets.take(service::API)?, sockets.take(service::ADMIN)?);
    let [gateway, notify, frontend] =
        [service::FEED, service::NOTIFY, service::FRONTEND].map(|name| sockets.take(name));
    let followers = [
        Follower { account: Some(GATEWAY), path: config.feed_socket(), handed: gateway?, unit: "jitd-feed.socket" },
        Follower {
            account: config.notify.as_deref(),
            path: config.notify_socket(),
            handed: notify?,
            unit: "jitd-notify.socket",
        },
        Follower {
            account: Some(FRONTEND),
            path: config.frontend_socket(),
            handed: frontend?,
            unit: "jitd-frontend.socket",
        },
    ];
    let (users, operators) = match (users, operators) {
        (None, None) => {
            // The daemon authorizes each caller; without the group, everybody may connect. The file's mode protects the admin
            // socket in any case. It is created first, so that anybody who reaches the daemon finds both.
            let operators = listen(&config.admin_socket, OPERATORS_GROUP, 0o660)?;
            let users = listen(&config.socket, USERS_GROUP, 0o666)?;
            let doors = vec![(Listener::Users, users), (Listener::Operators, operators)];
            let mut ours = vec![config.socket.clone(), config.admin_socket.clone()];
            ours.extend(followers.iter().filter_map(|follower| follower.path.clone()));
            let [gateway, notify, frontend] = followers.map(Follower::listen);
            let feeds = Feeds { gateway: gateway?, notify: notify?, frontend: frontend? };
            return Ok(Doors { doors, feeds, path: config.socket.clone(), ours });
        }
        (Some(users), operators) => (users, operators),
        (None, Some(_)) => {
            return Err(Failure::ours(format!(
                "systemd passed `{}` but no `{}`, so nobody could request access",
                service::ADMIN,
                service::API
            ))
            .with_hint("`Sockets=` of jitd.service must contain both `.socket` units"));
        }
    };
    if operators.is_none() {
        tracing::warn!("systemd passed no admin socket; hint: `systemctl enable --now jitd-admin.socket`");
    }
    let [gateway, notify, frontend] = followers.map(Follower::handed_over);
    let feeds = Feeds { gateway: gateway?, notify: notify?, frontend: frontend? };
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
                "systemd opened the socket at another path than config.yaml says; jitd serves on systemd's socket"
            );
        }
        doors.push((door, listener));
    }
    Ok(Doors { doors, feeds, path, ours: Vec::new() })
}

/// A program that follows the daemon, and its socket.
struct Follower<'a> {
    /// The account of the program, and its group; none if it is not configured.
    account: Option<&'a str>,
    /// Where it connects; none if it is not configured.
    path: Option<PathBuf>,
    /// The socket that systemd passed for it.
    handed: Option<Handed>,
    /// The unit of that socket.
    unit: &'static str,
}

impl Follower<'_> {
    /// A socket of our own.
    fn listen(self) -> Result<Option<FeedSocket>, Failure> {
        let (Some(account), Some(path)) = (self.account, &self.path) else { return Ok(None) };
        feed(listen(path, account, 0o600)?, account).map(Some)
    }

    /// The socket that systemd passed.
    fn handed_over(self) -> Result<Option<FeedSocket>, Failure> {
        let (Some(account), Some(_)) = (self.account, &self.path) else { return Ok(None) };
        let Some(handed) = self.handed else {
            let why = format!("systemd handed over no socket for `{account}`, which the configuration needs");
            return Err(Failure::ours(why).with_hint(format!("`systemctl enable --now {}`", self.unit)));
        };
        feed(handed.listener, account).map(Some)
    }
}

/// A follower's socket, with who may connect: root, and the follower's account where there is one.
fn feed(listener: UnixListener, account: &str) -> Result<FeedSocket, Failure> {
    let account = host::account_named(account.as_bytes())?.map(|account| account.uid);
    Ok(FeedSocket { listener, accounts: account.into_iter().chain([0]).collect() })
}

/// Creates a socket that only root and the group may open; if it cannot be given to that group, `otherwise` is its mode. It
/// removes the socket of a killed daemon, but never one that still answers.
fn listen(path: &Path, group: &str, otherwise: u32) -> Result<UnixListener, Failure> {
    if let Some(folder) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
    }
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(Failure::ours(format!("another daemon is serving on `{}`", path.display())));
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    // Before the file exists, because the name service can be slow, and nobody should be able to open it in the meantime.
    let group = if Uid::effective().is_root() { host::group_named(group)? } else { None };
    let listener = UnixListener::bind(path)?;
    if let Some(group) = &group {
        std::os::unix::fs::chown(path, None, Some(group.gid))?;
    }
    let mode = group.map_or(otherwise, |_| 0o660);
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    Ok(listener)
}
