//! The connection to `jitd`: what is live, what ended, and that the daemon is there.
//!
//! ```text
//!  connect ─► hello ─► snapshot ─► prove, live, ended, alive … ─► lost: connect again, a new snapshot
//!                                    └► proved   └► cut            silent past the lease: everything ends
//! ```
//! Between two connections access continues for the lease, so that a restart of the daemon cuts nothing.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jit_core::grant::request::ClusterName;
use jit_core::grant::{GrantId, LogHead};
use jit_dial::ApiServer;
use jit_wire::feed::{self, Documents, FromDaemon, FromGateway, LEASE_SECONDS, LONGEST_OF_DAEMON, VERSION};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::grants::Grants;
use crate::headers::Identity;
use crate::proof::prove;
use crate::record::{Recorder, Removed};

/// The pause before another attempt to connect.
const AGAIN_AFTER: Duration = Duration::from_millis(200);

/// How often the windows and the lease are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How often jitd hears of one log that grows.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// The roots of the clusters' authorities, PEM, as the daemon said last; none before its first word.
pub type Authorities = BTreeMap<ClusterName, String>;

/// What was done of what jitd said.
enum Done {
    /// The API server was asked about a grant that is not live yet; why it does not work, if it does not.
    Proved { grant: GrantId, why_not: Option<String> },
    /// A grant was cut; how many requests were running, and where its log stands.
    Cut { grant: GrantId, streams: u32, log: Option<LogHead> },
    /// What was kept of a grant is deleted.
    Deleted { grant: GrantId, files: u64, bytes: u64, log: Option<LogHead> },
}

/// The gateway's end of the feed.
pub struct Feed {
    /// What is live.
    pub grants: Arc<Grants>,
    /// What the gateway says first.
    pub hello: FromGateway,
    /// Where the authorities are published.
    pub authorities: watch::Sender<Authorities>,
    /// The clusters' API servers, for proofs.
    clusters: BTreeMap<ClusterName, ApiServer>,
    recorder: Arc<Recorder>,
    clock: fn() -> Timestamp,
    heard: Instant,
    /// The lease is over, and everything was ended.
    silent: bool,
}

impl Feed {
    /// A feed that has heard nothing.
    #[must_use]
    pub fn new(
        grants: Arc<Grants>,
        hello: FromGateway,
        authorities: watch::Sender<Authorities>,
        clusters: BTreeMap<ClusterName, ApiServer>,
        recorder: Arc<Recorder>,
        clock: fn() -> Timestamp,
    ) -> Self {
        Self { grants, hello, authorities, clusters, recorder, clock, heard: Instant::now(), silent: true }
    }

    /// Follows the daemon at `socket`. Never returns.
    pub async fn follow(mut self, socket: &Path) {
        let mut told = String::new();
        loop {
            let Err(error) = self.connect(socket).await;
            // A daemon that is away is said once, not five times a second.
            let why = error.to_string();
            if why != told {
                tracing::warn!(socket = %socket.display(), why, "no word from jitd");
                told = why;
            }
            self.look();
            sleep(AGAIN_AFTER).await;
        }
    }

    /// Ends what is due, and everything when the lease is over.
    fn look(&mut self) {
        self.grants.end_due((self.clock)());
        if !self.silent && self.heard.elapsed() >= Duration::from_secs(LEASE_SECONDS) {
            self.silent = true;
            let ended = self.grants.end_all();
            tracing::error!(grants = ended, "cut everything: jitd has been silent for {LEASE_SECONDS} s");
        }
    }

    async fn connect(&mut self, socket: &Path) -> Result<std::convert::Infallible, Error> {
        let stream = UnixStream::connect(socket).await?;
        let (reader, mut writer) = stream.into_split();
        let mut documents = Documents::new(reader, LONGEST_OF_DAEMON);
        feed::write(&mut writer, &self.hello).await?;
        let mut next = self.snapshot(&mut documents).await?;
        let (done, mut all_done) = mpsc::unbounded_channel::<Done>();
        let mut told = BTreeMap::new();
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                // An end first, whatever else there is to do.
                biased;
                document = documents.next() => {
                    let document = document?.ok_or_else(|| gone("jitd closed the connection"))?;
                    self.take(document, &mut next, &done)?;
                }
                Some(done) = all_done.recv() => match done {
                    Done::Deleted { grant, files, bytes, log } => {
                        told.remove(&grant);
                        feed::write(&mut writer, &FromGateway::Deleted { grant, files, bytes, log }).await?;
                    }
                    Done::Proved { grant, why_not } => {
                        feed::write(&mut writer, &FromGateway::Proved { grant, why_not }).await?;
                    }
                    Done::Cut { grant, streams, log } => {
                        // More may have been told while this one was on its way; a head never goes back.
                        let log = later(log, told.get(&grant));
                        if let Some(log) = &log {
                            told.insert(grant.clone(), (log.clone(), Instant::now()));
                        }
                        feed::write(&mut writer, &FromGateway::Cut { grant, streams, log }).await?;
                    }
                },
                _ = looks.tick() => {
                    self.look();
                    if self.silent {
                        return Err(gone("jitd is silent"));
                    }
                    for document in self.logged(&mut told) {
                        feed::write(&mut writer, &document).await?;
                    }
                }
            }
        }
    }

    /// The logs that have grown since `told`, each at most once in [`TELL_EVERY`] while its grant is live.
    fn logged(&self, told: &mut BTreeMap<GrantId, (LogHead, Instant)>) -> Vec<FromGateway> {
        let now = Instant::now();
        let mut documents = Vec::new();
        for (grant, log) in self.recorder.heads() {
            let is_live = self.grants.is_live(&grant);
            match told.get(&grant) {
                Some((known, _)) if *known == log => {
                    if !is_live {
                        self.recorder.forget(&grant, &log);
                        told.remove(&grant);
                    }
                }
                Some((_, when)) if is_live && now.duration_since(*when) < TELL_EVERY => {}
                _ => {
                    told.insert(grant.clone(), (log.clone(), now));
                    documents.push(FromGateway::Logged { grant, log });
                }
            }
        }
        documents
    }

    /// Reads the snapshot, and returns the number of the document after it.
    async fn snapshot(&mut self, documents: &mut Documents<tokio::net::unix::OwnedReadHalf>) -> Result<u64, Error> {
        let late = |_| gone("jitd sent no snapshot");
        let document = timeout(Duration::from_secs(LEASE_SECONDS), documents.next()).await.map_err(late)??;
        match document {
            Some(FromDaemon::Snapshot { version: VERSION, number, clusters, grants }) => {
                let known = clusters.into_iter().map(|cluster| (cluster.name, cluster.authority)).collect();
                self.authorities.send_if_modified(|authorities| {
                    let changed = *authorities != known;
                    *authorities = known;
                    changed
                });
                tracing::info!(grants = grants.len(), "jitd said what is live");
                self.grants.replace(grants, (self.clock)());
                self.heard();
                Ok(number.saturating_add(1))
            }
            Some(FromDaemon::Refused { why }) => Err(gone(&format!("jitd refuses this gateway: {why}"))),
            Some(_) => Err(gone("jitd speaks another version of the feed")),
            None => Err(gone("jitd closed the connection")),
        }
    }

    fn take(&mut self, document: FromDaemon, next: &mut u64, done: &mpsc::UnboundedSender<Done>) -> Result<(), Error> {
        let number = match &document {
            FromDaemon::Prove { number, .. }
            | FromDaemon::Live { number, .. }
            | FromDaemon::Ended { number, .. }
            | FromDaemon::Delete { number, .. }
            | FromDaemon::Alive { number } => *number,
            FromDaemon::Snapshot { .. } | FromDaemon::Refused { .. } => {
                return Err(gone("jitd said something that does not belong there"));
            }
        };
        if number != *next {
            return Err(gone("something that jitd said was lost"));
        }
        *next = number.saturating_add(1);
        self.heard();
        match document {
            FromDaemon::Prove { grant, user, cluster, reviews, .. } => {
                let (server, done) = (self.clusters.get(&cluster).cloned(), done.clone());
                tokio::spawn(async move {
                    let proved = match &server {
                        Some(server) => {
                            let (id, group) = (grant.as_str(), grant.group());
                            prove(server, &Identity { user: &user, group: &group, grant: id }, &reviews).await
                        }
                        None => Err(format!("the gateway is not configured for cluster {cluster}")),
                    };
                    if let Err(why) = &proved {
                        tracing::error!(%grant, %cluster, why, "a grant does not work through this gateway");
                    }
                    // The connection may be gone; jitd takes that for a no.
                    let _ = done.send(Done::Proved { grant, why_not: proved.err() });
                });
            }
            FromDaemon::Live { grant, .. } => self.grants.set(grant, (self.clock)()),
            FromDaemon::Ended { grant, .. } => {
                let (grants, recorder, done) = (Arc::clone(&self.grants), Arc::clone(&self.recorder), done.clone());
                // The next document does not wait until the last request of this grant is gone.
                tokio::spawn(async move {
                    let streams = grants.end(&grant).await;
                    let log = recorder.head(&grant).await;
                    // The connection may be gone; jitd goes on without the number then.
                    let _ = done.send(Done::Cut { grant, streams, log });
                });
            }
            FromDaemon::Delete { grant, .. } if self.grants.is_live(&grant) => {
                tracing::error!(%grant, "jitd wants to delete what is kept of a live grant");
            }
            FromDaemon::Delete { grant, .. } => {
                let (recorder, done) = (Arc::clone(&self.recorder), done.clone());
                tokio::spawn(async move {
                    match recorder.delete(&grant).await {
                        Ok(Removed { files, bytes, log }) => {
                            drop(done.send(Done::Deleted { grant, files, bytes, log }))
                        }
                        Err(error) => tracing::error!(%grant, %error, "what is kept of a grant cannot be deleted"),
                    }
                });
            }
            _ => {}
        }
        Ok(())
    }

    fn heard(&mut self) {
        self.heard = Instant::now();
        self.silent = false;
    }
}

/// The later one of a head and of what jitd was told.
fn later(head: Option<LogHead>, told: Option<&(LogHead, Instant)>) -> Option<LogHead> {
    let told = told.map(|(head, _)| head.clone());
    [head, told].into_iter().flatten().max_by_key(|head| head.lines)
}

fn gone(why: &str) -> Error {
    Error::new(ErrorKind::ConnectionAborted, why)
}
