//! The link to `jit-gateway`: which grants it may let through, and that an end has reached it.
//!
//! ```text
//!  ledger ──► snapshot, numbered changes ──► jit-gateway
//!  broker ──► prove(grant) ──► `prove` ──► jit-gateway ──► API server ──► `proved` ──► broker: live
//!  broker ──► cut(grant) ──► `ended` ──► jit-gateway ──► `cut`, n streams ──► broker: unbind
//!  broker ◄── where the logs stand ◄── `logged`, `cut` ◄── jit-gateway
//! ```
//! It decides nothing: a grant is live when the ledger says so. A gateway that is silent delays an end by a second, and
//! changes nothing about it. One gateway is connected at a time; a new connection replaces the one before, which may be
//! dead already.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::Value;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::grant::request::ClusterName;
use crate::grant::{Grant, GrantId, LogHead, Phase};
use crate::ledger::{Changed, Changes, Gap, Snapshot};
use crate::wire::feed::{
    self, Documents, FromDaemon, FromGateway, GatewayCluster, HEARTBEAT_SECONDS, LONGEST_OF_GATEWAY, LiveGrant, VERSION,
};

/// How long an end waits for the gateway. It cuts within milliseconds; removing the access does not depend on it.
const CUT_WITHIN: Duration = Duration::from_secs(1);

/// How long a deletion waits for the gateway: a file system can take seconds to free gigabytes.
const DELETED_WITHIN: Duration = Duration::from_secs(60);
/// How long the gateway has to prove a grant: a little longer than it tries by itself.
const PROVED_WITHIN: Duration = Duration::from_secs(10);

/// How long a new connection has to say who it is.
const HELLO_WITHIN: Duration = Duration::from_secs(5);

/// How long the gateway may take to read a document.
const TAKEN_WITHIN: Duration = Duration::from_secs(5);

/// How people reach the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reached {
    /// The URL.
    pub server: String,
    /// The authority of its serving certificate, PEM.
    pub certificate_authority: String,
}

/// How long a collection waits for a gateway: after a restart of the daemon it is back within a moment.
const BACK_WITHIN: Duration = Duration::from_secs(2);

/// The gateway that is connected, if any, and what it may not let through again.
pub struct Gateway {
    link: watch::Sender<Option<Arc<Link>>>,
    /// Grants that were cut. Until their end is recorded, which a full disk can delay, the ledger still says that they are
    /// live.
    cut: Mutex<HashSet<GrantId>>,
}

impl Default for Gateway {
    fn default() -> Self {
        Self { link: watch::Sender::new(None), cut: Mutex::default() }
    }
}

/// One connection to a gateway.
struct Link {
    reached: Reached,
    clusters: BTreeSet<ClusterName>,
    orders: mpsc::UnboundedSender<Order>,
}

/// What the gateway deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// How many files.
    pub files: u64,
    /// How many bytes they had.
    pub bytes: u64,
    /// Where the log stood, if there was one that could be read.
    pub log: Option<LogHead>,
}

/// A grant of which nothing is to be kept.
pub struct Deletion {
    grant: GrantId,
    done: oneshot::Sender<Deleted>,
}

/// What the gateway is to do.
pub enum Order {
    /// Cut a grant.
    End(End),
    /// Delete what is kept of one.
    Delete(Deletion),
    /// Prove one.
    Prove(Proof),
}

/// A grant that is about to become live.
pub struct Proof {
    grant: GrantId,
    user: String,
    cluster: ClusterName,
    reviews: Vec<Value>,
    done: oneshot::Sender<Option<String>>,
}

impl Proof {
    /// Reports that the API server allows it, or why not.
    pub fn proved(self, why_not: Option<String>) {
        // Whoever asked may have given up.
        let _ = self.done.send(why_not);
    }
}

/// Why a grant does not work through the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unproved {
    /// No gateway is connected.
    Absent,
    /// The gateway does not answer.
    Silent,
    /// The API server does not allow it, or cannot be asked: why.
    Refused(String),
}

/// What the gateway cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// How many requests were running.
    pub streams: u32,
    /// Where the grant's log stood, if there is one.
    pub log: Option<LogHead>,
}

/// A grant to cut.
pub struct End {
    /// The grant.
    pub grant: GrantId,
    done: oneshot::Sender<Cut>,
}

impl End {
    /// Reports that the grant was cut.
    pub fn cut(self, cut: Cut) {
        // The end may have gone on without it.
        let _ = self.done.send(cut);
    }
}

/// The gateway's side of a connection; dropping it disconnects.
pub struct Connection {
    gateway: Arc<Gateway>,
    link: Weak<Link>,
    orders: mpsc::UnboundedReceiver<Order>,
}

impl Connection {
    /// What it is to do next; `None` when another gateway took its place.
    pub async fn order(&mut self) -> Option<Order> {
        self.orders.recv().await
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.gateway.link.send_if_modified(|current| {
            let is_ours = current.as_ref().is_some_and(|current| Weak::ptr_eq(&Arc::downgrade(current), &self.link));
            if is_ours {
                *current = None;
            }
            is_ours
        });
    }
}

impl Gateway {
    /// Connects a gateway for these clusters, in the place of the one before.
    #[must_use]
    pub fn connect(self: &Arc<Self>, reached: Reached, clusters: BTreeSet<ClusterName>) -> Connection {
        let (sender, orders) = mpsc::unbounded_channel();
        let link = Arc::new(Link { reached, clusters, orders: sender });
        let connection = Connection { gateway: Arc::clone(self), link: Arc::downgrade(&link), orders };
        self.link.send_replace(Some(link));
        connection
    }

    /// How people reach the gateway for this cluster; `None` if no gateway that serves it is connected, after a moment.
    pub async fn reached(&self, cluster: &ClusterName) -> Option<Reached> {
        let mut links = self.link.subscribe();
        let serves = |link: &Option<Arc<Link>>| link.as_ref().is_some_and(|link| link.clusters.contains(cluster));
        let link = timeout(BACK_WITHIN, links.wait_for(serves)).await.ok()?.ok()?;
        link.as_ref().map(|link| link.reached.clone())
    }

    /// The same as it is now.
    #[must_use]
    pub fn reached_now(&self, cluster: &ClusterName) -> Option<Reached> {
        self.link.borrow().as_ref().filter(|link| link.clusters.contains(cluster)).map(|link| link.reached.clone())
    }

    /// Whether one is connected.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.link.borrow().is_some()
    }

    /// Has the gateway delete what it kept of a grant that is over; `None` if no gateway is connected or it did not answer in
    /// time. It may have deleted it all the same.
    pub async fn delete(&self, grant: &GrantId) -> Option<Deleted> {
        let (done, told) = oneshot::channel();
        let deletion = Order::Delete(Deletion { grant: grant.clone(), done });
        let sent = self.link.borrow().as_ref().map(|link| link.orders.send(deletion).is_ok());
        sent.filter(|sent| *sent)?;
        timeout(DELETED_WITHIN, told).await.ok()?.ok()
    }

    /// Ends a grant in the gateway, and returns what it cut; `None` if no gateway is connected or it did not answer in time.
    /// It then ends the grant itself, when its lease is over at the latest.
    pub async fn cut(&self, grant: &GrantId) -> Option<Cut> {
        self.cut.lock().insert(grant.clone());
        let (done, told) = oneshot::channel();
        let end = Order::End(End { grant: grant.clone(), done });
        let sent = self.link.borrow().as_ref().map(|link| link.orders.send(end));
        sent?.ok()?;
        timeout(CUT_WITHIN, told).await.ok()?.ok()
    }

    /// Has the gateway ask the API server over its own connection, and in the holder's name, until it allows all of `reviews`,
    /// which are specs of `SelfSubjectAccessReview`s.
    ///
    /// # Errors
    /// [`Unproved`]; then the grant does not work, whatever the API server tells the daemon.
    pub async fn prove(&self, grant: &Grant, reviews: Vec<Value>) -> Result<(), Unproved> {
        let (done, told) = oneshot::channel();
        let (user, cluster) = (grant.requester.user(), grant.ask.cluster.clone());
        let proof = Order::Prove(Proof { grant: grant.id.clone(), user, cluster, reviews, done });
        let sent = self.link.borrow().as_ref().map(|link| link.orders.send(proof));
        sent.ok_or(Unproved::Absent)?.map_err(|_| Unproved::Absent)?;
        match timeout(PROVED_WITHIN, told).await {
            Ok(Ok(None)) => Ok(()),
            Ok(Ok(Some(why_not))) => Err(Unproved::Refused(why_not)),
            Ok(Err(_)) => Err(Unproved::Absent),
            Err(_) => Err(Unproved::Silent),
        }
    }
}

/// What the feed needs of the daemon.
pub struct Source {
    /// The link that the broker uses.
    pub gateway: Arc<Gateway>,
    /// The accounts that the gateway may run as.
    pub accounts: BTreeSet<u32>,
    /// The clusters behind the gateway, with the roots of their authorities as they are now.
    pub clusters: Box<dyn Fn() -> BTreeMap<ClusterName, String> + Send + Sync>,
    /// Subscribes to the ledger.
    pub subscribe: Box<dyn Fn() -> (Snapshot, Changes) + Send + Sync>,
    /// Takes where the log of a grant stands. It does not wait.
    pub logged: Box<dyn Fn(GrantId, LogHead) + Send + Sync>,
}

/// Serves the gateway's socket. Never returns.
pub async fn serve(listener: UnixListener, source: Source) {
    let source = Arc::new(source);
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection of the gateway could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let source = Arc::clone(&source);
        tokio::spawn(async move {
            let why = match converse(stream, &source).await {
                Ok(why) => why.to_owned(),
                Err(error) => error.to_string(),
            };
            tracing::warn!(why, "the gateway is disconnected");
        });
    }
}

/// One connection, to its end. Returns why it ended.
async fn converse(stream: UnixStream, source: &Source) -> std::io::Result<&'static str> {
    let account = stream.peer_cred()?.uid();
    let (reader, writer) = stream.into_split();
    let mut writer = Writer { to: writer, number: 0 };
    if !source.accounts.contains(&account) {
        tracing::warn!(uid = account, "only the gateway's account may read the feed");
        writer.refuse("only root and the account `jit-gateway` may read the feed".to_owned()).await?;
        return Ok("it does not run as the gateway's account");
    }
    let mut reader = Documents::new(reader, LONGEST_OF_GATEWAY);
    let hello = timeout(HELLO_WITHIN, reader.next()).await.unwrap_or(Ok(None))?;
    let (reached, clusters) = match hello {
        Some(FromGateway::Hello { version: VERSION, server, certificate_authority, clusters }) => {
            (Reached { server, certificate_authority }, BTreeSet::from_iter(clusters))
        }
        Some(FromGateway::Hello { version, .. }) => {
            writer.refuse(format!("jitd speaks version {VERSION} of the feed, the gateway {version}")).await?;
            return Ok("it speaks another version");
        }
        _ => return Ok("it did not introduce itself"),
    };
    let behind = (source.clusters)();
    for missing in behind.keys().filter(|name| !clusters.contains(*name)) {
        tracing::warn!(cluster = %missing, "the gateway is not configured for this cluster, so nobody can use it");
    }
    // Subscribed before the broker may ask for a cut, so that the snapshot never has a grant that was cut before.
    let (snapshot, changes) = (source.subscribe)();
    tracing::info!(server = reached.server, "the gateway is connected");
    let connection = source.gateway.connect(reached, clusters);
    let gateway = Arc::clone(&source.gateway);
    let open: HashSet<&GrantId> = snapshot.grants.iter().map(|grant| &grant.id).collect();
    gateway.cut.lock().retain(|cut| open.contains(cut));
    let mut feed = Feed {
        writer,
        gateway,
        behind,
        announced: BTreeMap::new(),
        cut: HashMap::new(),
        waiting: Vec::new(),
        deleting: Vec::new(),
        proving: Vec::new(),
    };
    feed.run(reader, snapshot, changes, connection, source).await
}

/// What one gateway was told.
struct Feed {
    writer: Writer,
    gateway: Arc<Gateway>,
    behind: BTreeMap<ClusterName, String>,
    /// The grants that it lets through, with the ends of their windows.
    announced: BTreeMap<GrantId, jiff::Timestamp>,
    /// The grants that it was told to cut and that are not over yet, with what was cut.
    cut: HashMap<GrantId, Option<Cut>>,
    /// Who waits for a cut.
    waiting: Vec<End>,
    /// Who waits for a deletion.
    deleting: Vec<Deletion>,
    /// Who waits for a proof.
    proving: Vec<(GrantId, oneshot::Sender<Option<String>>)>,
}

impl Feed {
    async fn run(
        &mut self,
        mut reader: Documents<OwnedReadHalf>,
        snapshot: Snapshot,
        mut changes: Changes,
        mut connection: Connection,
        source: &Source,
    ) -> std::io::Result<&'static str> {
        let grants: Vec<LiveGrant> = snapshot.grants.iter().filter_map(|grant| self.live(grant)).collect();
        self.announced = grants.iter().map(|grant| (grant.id.clone(), grant.until)).collect();
        let clusters = self
            .behind
            .iter()
            .map(|(name, authority)| GatewayCluster { name: name.clone(), authority: authority.clone() });
        let clusters = clusters.collect();
        self.writer.write(|number| FromDaemon::Snapshot { version: VERSION, number, clusters, grants }).await?;
        let mut heartbeat = interval(Duration::from_secs(HEARTBEAT_SECONDS));
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                order = connection.order() => match order {
                    Some(Order::Prove(Proof { grant, user, cluster, reviews, done })) => {
                        self.proving.push((grant.clone(), done));
                        self.writer.write(|number| FromDaemon::Prove { number, grant, user, cluster, reviews }).await?;
                    }
                    Some(Order::Delete(deletion)) => {
                        let grant = deletion.grant.clone();
                        self.deleting.push(deletion);
                        self.writer.write(|number| FromDaemon::Delete { number, grant }).await?;
                    }
                    Some(Order::End(end)) => match self.cut.get(&end.grant) {
                        // The ledger was quicker, or the end is tried again.
                        Some(Some(cut)) => end.cut(cut.clone()),
                        Some(None) => self.waiting.push(end),
                        None => {
                            let grant = end.grant.clone();
                            self.waiting.push(end);
                            self.end(grant).await?;
                        }
                    },
                    // Another connection took its place.
                    None => return Ok("another gateway took its place"),
                },
                change = changes.next() => match change {
                    Ok(change) => if let Changed::Grant(grant) = change.what { self.changed(&grant).await? },
                    Err(Gap::Missed(_)) => return Ok("it was too slow, and must take a new snapshot"),
                    Err(Gap::Closed) => return Ok("the daemon stops"),
                },
                document = reader.next() => match document? {
                    Some(FromGateway::Logged { grant, log }) => (source.logged)(grant, log),
                    Some(FromGateway::Deleted { grant, files, bytes, log }) => {
                        let done = self.deleting.extract_if(.., |deletion| deletion.grant == grant);
                        let deleted = Deleted { files, bytes, log };
                        // Whoever asked may have given up.
                        done.for_each(|deletion| drop(deletion.done.send(deleted.clone())));
                    }
                    Some(FromGateway::Proved { grant, why_not }) => {
                        let done = self.proving.extract_if(.., |(of, _)| *of == grant);
                        // Whoever asked may have given up.
                        done.for_each(|(_, done)| drop(done.send(why_not.clone())));
                    }
                    Some(FromGateway::Cut { grant, streams, log }) => {
                        // First, in the order of the reports: the end may be recorded without it, or contradict one before.
                        if let Some(log) = &log {
                            (source.logged)(grant.clone(), log.clone());
                        }
                        let cut = Cut { streams, log };
                        self.cut.entry(grant.clone()).and_modify(|known| *known = Some(cut.clone()));
                        let done = self.waiting.extract_if(.., |end| end.grant == grant);
                        done.for_each(|end| end.cut(cut.clone()));
                    }
                    Some(FromGateway::Hello { .. }) => return Ok("it introduced itself twice"),
                    None => return Ok("it closed the connection"),
                },
                _ = heartbeat.tick() => {
                    if (source.clusters)() != self.behind {
                        return Ok("an authority was replaced, and it must take a new snapshot");
                    }
                    self.writer.write(|number| FromDaemon::Alive { number }).await?;
                    self.waiting.retain(|end| !end.done.is_closed());
                    self.deleting.retain(|deletion| !deletion.done.is_closed());
                    self.proving.retain(|(_, done)| !done.is_closed());
                }
            }
        }
    }

    async fn changed(&mut self, grant: &Grant) -> std::io::Result<()> {
        match self.live(grant) {
            Some(live) if self.announced.get(&live.id) != Some(&live.until) => {
                self.announced.insert(live.id.clone(), live.until);
                self.writer.write(|number| FromDaemon::Live { number, grant: live }).await
            }
            Some(_) => Ok(()),
            None => {
                if self.announced.contains_key(&grant.id) {
                    self.end(grant.id.clone()).await?;
                }
                if !grant.phase.is_open() {
                    self.cut.remove(&grant.id);
                    self.gateway.cut.lock().remove(&grant.id);
                }
                Ok(())
            }
        }
    }

    async fn end(&mut self, grant: GrantId) -> std::io::Result<()> {
        self.announced.remove(&grant);
        self.cut.insert(grant.clone(), None);
        self.writer.write(|number| FromDaemon::Ended { number, grant }).await
    }

    /// The grant as the gateway needs it, if it is live in a cluster behind the gateway.
    fn live(&self, grant: &Grant) -> Option<LiveGrant> {
        let until =
            grant.deadline.filter(|_| grant.phase == Phase::Live && !self.gateway.cut.lock().contains(&grant.id))?;
        self.behind.contains_key(&grant.ask.cluster).then(|| LiveGrant {
            id: grant.id.clone(),
            user: grant.requester.user(),
            cluster: grant.ask.cluster.clone(),
            until,
            sessions: grant.terms.sessions.clone(),
        })
    }
}

/// Writes documents and numbers them.
struct Writer {
    to: OwnedWriteHalf,
    number: u64,
}

impl Writer {
    async fn write(&mut self, document: impl FnOnce(u64) -> FromDaemon) -> std::io::Result<()> {
        let number = self.number;
        self.number = number.saturating_add(1);
        self.send(&document(number)).await
    }

    async fn refuse(&mut self, why: String) -> std::io::Result<()> {
        self.send(&FromDaemon::Refused { why }).await
    }

    async fn send(&mut self, document: &FromDaemon) -> std::io::Result<()> {
        let late = |_| std::io::Error::new(std::io::ErrorKind::TimedOut, "it does not read");
        timeout(TAKEN_WITHIN, feed::write(&mut self.to, document)).await.map_err(late)?
    }
}
