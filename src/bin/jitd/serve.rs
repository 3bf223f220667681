//! `jitd serve`: the daemon from its first lock to its last word, and what runs beside the API.
//!
//! Puts together what the library offers and decides nothing. `main.rs` calls it.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::net::UnixListener;
use tokio::signal::unix::Signal;
use tokio::task::block_in_place;

use jitd::api::{self, Api, Limits};
use jitd::broker::{Broker, Overseers, Parts, Site};
use jitd::ca::Authority;
use jitd::cluster::{Cluster, Credential, Endpoint};
use jitd::config::{ClusterConfig, Config, Faults, PolicyFiles, PolicyRead};
use jitd::files;
use jitd::grant::request::ClusterName;
use jitd::metrics::Metrics;
use jitd::service;
use jitd::sweep::{self, Findings};
use jitd::trail::Trail;

use crate::{CLOCK, Failure, runtime};

/// How long the daemon's own certificate lasts; it is made anew at half of it.
const DAEMON_CREDENTIAL: SignedDuration = SignedDuration::from_mins(10);

pub(crate) fn serve(config: Config) -> Result<(), Failure> {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::try_from_env("JITD_LOG").unwrap_or_else(|_| "info".into()))
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    runtime()?.block_on(run(config))
}

async fn run(config: Config) -> Result<(), Failure> {
    let reload_requests = service::reload_requests()?;
    files::private_folder(&config.state)?;
    let (trail, open) = Trail::open(&config.trail())?;
    let host = config.host.to_string();
    let mut sites = BTreeMap::new();
    for (name, cluster) in &config.clusters {
        sites.insert(name.clone(), site(name, cluster, &host, CLOCK())?);
    }
    let mut readers = config.auditors.clone();
    readers.extend(config.admins.iter().cloned());
    let broker = Arc::new(Broker::new(Parts {
        trail: trail.clone(),
        open,
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
    let listener = listen(&config.socket)?;
    let reloading = tokio::spawn(reload(reload_requests, Arc::clone(&api), config.policy_files, config.clusters));
    tracing::info!(socket = %config.socket.display(), "ready");
    service::ready(READY);
    let stop = async {
        if let Err(error) = service::asked_to_stop().await {
            tracing::error!(%error, "signals can't be waited for");
        }
        service::stopping();
        tracing::info!("stopping");
    };
    api::serve(api, listener, Limits::USUAL, stop).await;
    reloading.abort();
    sweeping.abort();
    renewal.abort();
    broker.stopped().await?;
    // Only now: a client that finds no socket may ask the next daemon.
    drop(std::fs::remove_file(&config.socket));
    trail.close();
    Ok(())
}

/// The line for `systemctl status` when all is as it should be.
const READY: &str = "ready";

/// Reads the policy and the guardrails again whenever it is asked to, and nothing else of the configuration.
/// What can't be taken up whole is not taken up at all: then the policy before stays in force.
async fn reload(
    mut requests: Signal,
    api: Arc<Api>,
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
        match faults {
            None => service::ready(READY),
            Some(faults) => {
                tracing::error!(
                    faults = faults.len(),
                    "the policy before stays in force; hint: mend the files, `jitd check`, and reload again"
                );
                service::ready(&format!("ready; the policy was not taken up (faults: {}), see the log", faults.len()));
            }
        }
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
                Ok(found) if found.not_after() != site.authority().not_after() => {
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

/// The socket, with a leftover of a daemon that was killed removed; never one that still answers.
fn listen(path: &Path) -> Result<UnixListener, Failure> {
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
    // Who may do what is decided by who they are; everybody may ask.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
    Ok(listener)
}
