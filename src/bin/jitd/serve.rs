//! `jitd serve`: the daemon from its first lock to its last word, and what runs beside the API.
//!
//! Puts together what the library offers and decides nothing. `main.rs` calls it.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use nix::unistd::{AccessFlags, Group, Uid, access};
use tokio::net::UnixListener;
use tokio::signal::unix::Signal;
use tokio::task::{JoinHandle, block_in_place};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use jitd::api::{self, Api, Door, Limits};
use jitd::broker::{Broker, Parts, Site};
use jitd::ca::Authority;
use jitd::cluster::{Cluster, Credential, Endpoint};
use jitd::config::{ClusterConfig, Config, Faults, PolicyFiles, PolicyRead};
use jitd::files;
use jitd::grant::request::ClusterName;
use jitd::ledger::Overseers;
use jitd::metrics::Metrics;
use jitd::service::{self, Handed, Sockets, StopRequests};
use jitd::sweep::{self, Findings};
use jitd::trail::Trail;

use crate::journal::{self, Journal};
use crate::pulse::Pulse;
use crate::{CLOCK, Failure, read, runtime};

/// How long the daemon's own certificate lasts; it is made anew at half of it.
const DAEMON_CREDENTIAL: SignedDuration = SignedDuration::from_mins(10);

pub(crate) fn serve(config: &Path) -> Result<(), Failure> {
    service::keep_memory_private()?;
    log();
    service::can_tell_callers_apart()?;
    // Before there are threads.
    let sockets = Sockets::handed_over()?;
    runtime()?.block_on(async {
        // Before anything that takes its time: a signal ends a daemon that does not wait for it.
        let (reload_requests, stop_requests) = (service::reload_requests()?, StopRequests::new()?);
        run(read(config)?, sockets, reload_requests, stop_requests).await
    })
}

fn log() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("JITD_LOG").unwrap_or_else(|_| "info".into());
    if journal::is_stderr() {
        tracing_subscriber::registry().with(filter).with(Journal).init();
        return;
    }
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
}

async fn run(
    config: Config,
    mut sockets: Sockets,
    reload_requests: Signal,
    mut stop_requests: StopRequests,
) -> Result<(), Failure> {
    files::private_folder(&config.state)?;
    let opened = Trail::open(&config.trail())?;
    let trail = opened.trail.clone();
    let host = config.host.to_string();
    let mut sites = BTreeMap::new();
    for (name, cluster) in &config.clusters {
        sites.insert(name.clone(), site(name, cluster, &host, CLOCK())?);
    }
    let mut readers = config.auditors.clone();
    readers.extend(config.admins.iter().cloned());
    let broker = Arc::new(Broker::new(Parts {
        opened,
        sites,
        policy: config.policy.clone(),
        people: config.people.clone(),
        times: config.times,
        overseers: Overseers { readers, admins: config.admins.clone() },
        clock: CLOCK,
    }));
    let guardrails = config.guardrails_sha256.as_deref();
    let recorded = broker.started(env!("CARGO_PKG_VERSION"), &host, &config.policy_sha256, guardrails).await;

    let findings = Arc::new(Findings::default());
    sweep::start(&broker, &findings).await;
    // Only now: what is over is taken away also by a daemon that can't record, and so must not serve.
    recorded?;
    let renewal = tokio::spawn(renew_credentials(Arc::clone(&broker), config.clusters.clone(), host.clone()));
    let sweeping = tokio::spawn(sweep::run(Arc::clone(&broker), Arc::clone(&findings)));

    let api = Arc::new(Api {
        broker: Arc::clone(&broker),
        people: config.people.clone(),
        metrics: Metrics::new(findings),
        host,
    });
    let Doors { doors, path, ours } = doors(&mut sockets, &config)?;
    let pulse = Pulse::new(Arc::clone(&broker), &path);
    let telling = Arc::clone(&pulse);
    let telling = tokio::spawn(async move { telling.tell().await });
    let feeding = feed(&pulse, &path)?;
    let reloading = tokio::spawn(reload(
        reload_requests,
        Arc::clone(&api),
        Arc::clone(&pulse),
        config.policy_files,
        config.clusters,
    ));
    tracing::info!(socket = %path.display(), "ready");
    pulse.ready(0);
    let stop = async {
        stop_requests.come().await;
        service::stopping();
        // From here on systemd waits for the end instead, and nobody is let in any more.
        feeding.iter().for_each(JoinHandle::abort);
        telling.abort();
        tracing::info!("stopping");
    };
    api::serve(api, doors, Limits::USUAL, stop).await;
    reloading.abort();
    sweeping.abort();
    renewal.abort();
    broker.stopped().await?;
    // Only now: a client that finds no socket may ask the next daemon.
    for path in ours {
        drop(std::fs::remove_file(path));
    }
    trail.close();
    Ok(())
}

/// Feeds systemd's watchdog, if there is one.
fn feed(pulse: &Arc<Pulse>, socket: &Path) -> Result<Option<JoinHandle<()>>, Failure> {
    let Some(limit) = service::watchdog()? else { return Ok(None) };
    // Told now, and not by being ended again and again: an administrator may have changed the socket's group. Asked
    // without a call, which systemd would take for one that has to start the daemon.
    access(socket, AccessFlags::W_OK).map_err(|error| {
        Failure::Ours(format!(
            "the watchdog wants the daemon to call its own socket `{}`, and it can't: {error}\nhint: `SupplementaryGroups=` of jitd.service has to name the socket's group",
            socket.display()
        ))
    })?;
    let pulse = Arc::clone(pulse);
    Ok(Some(tokio::spawn(async move { pulse.feed(limit).await })))
}

/// Reads the policy and the guardrails again whenever it is asked to, and nothing else of the configuration.
/// What can't be taken up whole is not taken up at all: then the policy before stays in force.
async fn reload(
    mut requests: Signal,
    api: Arc<Api>,
    pulse: Arc<Pulse>,
    files: PolicyFiles,
    clusters: BTreeMap<ClusterName, ClusterConfig>,
) {
    let (files, clusters) = (Arc::new(files), Arc::new(clusters));
    while requests.recv().await.is_some() {
        service::reloading();
        let (files, clusters) = (Arc::clone(&files), Arc::clone(&clusters));
        let read = tokio::task::spawn_blocking(move || files.read_for(&clusters)).await;
        let faults = match read {
            Ok(Ok(read)) => take_up(&api.broker, read).await.err().map(|error| vec![error]),
            Ok(Err(Faults(faults))) => Some(faults),
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
        pulse.ready(faults);
    }
}

async fn take_up(broker: &Broker, read: PolicyRead) -> Result<(), String> {
    let (rules, policy_sha256) = (read.policy.len(), read.policy_sha256.clone());
    broker.use_policy(read).await.map_err(|error| error.to_string())?;
    tracing::info!(rules, policy_sha256, "the policy was taken up; `jitd manifest` prints what its clusters need now");
    Ok(())
}

pub(crate) fn site(name: &ClusterName, cluster: &ClusterConfig, host: &str, now: Timestamp) -> Result<Site, Failure> {
    let authority = Authority::open(&cluster.authority, &cluster.key)?;
    let credential = credential(cluster, &authority, host, now)?;
    let endpoint = Endpoint::new(name.clone(), &cluster.server, &cluster.certificate_authority)?;
    let cluster = Cluster::connect(endpoint, host, &credential)?;
    Ok(Site { cluster, authority: RwLock::new(Arc::new(authority)) })
}

fn credential(
    cluster: &ClusterConfig,
    authority: &Authority,
    host: &str,
    now: Timestamp,
) -> Result<Credential, Failure> {
    if let Some(path) = &cluster.kubeconfig {
        return Ok(Credential::Kubeconfig(path.clone()));
    }
    let made = authority.daemon_credential(host, DAEMON_CREDENTIAL, now)?;
    Ok(Credential::Certificate { chain_pem: made.chain_pem, key_pem: made.key_pem })
}

/// Makes the daemon's own certificates anew before they end, and takes up an authority that was renewed.
async fn renew_credentials(broker: Arc<Broker>, clusters: BTreeMap<ClusterName, ClusterConfig>, host: String) {
    let mut last = CLOCK();
    loop {
        // Short steps, so that a renewed authority is taken up soon and a suspended host is noticed.
        tokio::time::sleep(Duration::from_secs(10)).await;
        let half = CLOCK().duration_since(last) >= DAEMON_CREDENTIAL / 2;
        let mut renewed = true;
        for (name, site) in broker.sites() {
            let Some(cluster) = clusters.get(name) else { continue };
            // A token can be slow, and calls are served meanwhile.
            let opened = block_in_place(|| Authority::open(&cluster.authority, &cluster.key));
            let taken_up = match opened {
                Ok(found) if site.authority().is_replaced_by(&found) => {
                    tracing::info!(cluster = %name, not_after = %found.not_after(), "taking up the renewed authority");
                    site.replace_authority(found);
                    true
                }
                Ok(_) => false,
                Err(error) => {
                    tracing::warn!(cluster = %name, %error, "the authority can't be read; the one before stays in use");
                    false
                }
            };
            if half || taken_up {
                let swapped = block_in_place(|| credential(cluster, &site.authority(), &host, CLOCK()))
                    .and_then(|credential| Ok(site.cluster.use_credential(&credential)?));
                if let Err(failure) = swapped {
                    tracing::error!(cluster = %name, error = failure.why(), "the daemon's own certificate could not be renewed");
                    renewed = false;
                }
            }
        }
        if half && renewed {
            last = CLOCK();
        }
    }
}

/// Where the daemon serves.
struct Doors {
    doors: Vec<(Door, UnixListener)>,
    /// The socket that people call.
    path: PathBuf,
    /// What we opened ourselves, and so remove.
    ours: Vec<PathBuf>,
}

/// The host's group whose members may open the operators' socket, where there is one; without it only root may.
const OPERATORS_GROUP: &str = "jit-admins";

/// The sockets that systemd handed over, or else our own. Where systemd opens any of them it opens all that there are:
/// the daemon of its unit may not make files beside them.
fn doors(sockets: &mut Sockets, config: &Config) -> Result<Doors, Failure> {
    let (users, operators) = (sockets.take(service::API)?, sockets.take(service::ADMIN)?);
    let (users, operators) = match (users, operators) {
        (None, None) => {
            // Who may do what is decided by who they are; everybody may ask. Who operates is held off by the file too,
            // which is first, so that whoever reaches the daemon finds both.
            let operators = listen(&config.admin_socket, 0o660, Some(OPERATORS_GROUP))?;
            let doors = vec![(Door::Users, listen(&config.socket, 0o666, None)?), (Door::Operators, operators)];
            let ours = vec![config.socket.clone(), config.admin_socket.clone()];
            return Ok(Doors { doors, path: config.socket.clone(), ours });
        }
        (Some(users), operators) => (users, operators),
        (None, Some(_)) => {
            return Err(Failure::Ours(format!(
                "systemd handed over `{}` and no `{}`, so nobody could ask\nhint: `Sockets=` of jitd.service names both `.socket` units",
                service::ADMIN,
                service::API
            )));
        }
    };
    if operators.is_none() {
        tracing::warn!("systemd handed over no socket for operators; hint: `systemctl enable --now jitd-admin.socket`");
    }
    let path = users.path.clone();
    let handed = [(Door::Users, &config.socket, Some(users)), (Door::Operators, &config.admin_socket, operators)];
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

/// A socket, with a leftover of a daemon that was killed removed; never one that still answers.
fn listen(path: &Path, mode: u32, group: Option<&str>) -> Result<UnixListener, Failure> {
    if let Some(folder) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
    }
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(Failure::Ours(format!("another daemon answers on `{}`", path.display())));
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    if let Some(group) = group
        && Uid::effective().is_root()
        && let Some(group) = Group::from_name(group)?
    {
        std::os::unix::fs::chown(path, None, Some(group.gid.as_raw()))?;
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    Ok(listener)
}
