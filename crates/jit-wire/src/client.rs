//! A typed client for the daemon's API over its Unix socket, or through `jit-frontend`: one method for each route, with the
//! bodies and views of this [crate].
//!
//! ```text
//!  connect ─► check the server (SO_PEERCRED against Trust) ─┬─► HTTP/1.1 ─► view, or Problem
//!  elsewhere ─► whoever dials checks the server             ┘
//! ```
//! It sends nothing before it has checked the server, reads answers of bounded size only, and never waits without a limit.
//! It decides nothing and prints nothing. `jit-login` and `jitd` call it.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{ACCEPT, CONTENT_TYPE, ETAG, HOST};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::frontend::{ProviderList, SessionBody, SessionView};
use crate::kept::{ASCIICAST, LogList, ReadingBody};
use crate::{
    ApproveBody, AskBody, CertificateBody, CertificateView, ChangesView, ClusterList, DecisionView, DrainBody,
    EntitlementList, EventList, EventPage, ExtendBody, FilterQuery, GrantList, GrantView, LessBody, LinePage, LinkBody,
    LinkView, OperationsView, Problem, ReasonBody, RequestBody, ReviewBody, RevocationView, RevokeBody, ScanBody,
    WhoamiView,
};

/// The default socket of the daemon.
pub const DEFAULT_SOCKET: &str = "/run/jitd/api.sock";

/// The default admin socket of the daemon.
pub const DEFAULT_ADMIN_SOCKET: &str = "/run/jitd/admin.sock";

/// The longest time for which one `wait` can ask the daemon to hold its answer.
pub const LONGEST_WAIT: Duration = Duration::from_secs(60);

const CONNECT: Duration = Duration::from_secs(3);
/// How soon it is tried again if the queue of the socket is full.
const QUEUE: Duration = Duration::from_millis(1);
/// How long the name, the address, a proxy and TLS may take together.
const DIAL: Duration = Duration::from_secs(15);
const ANSWER: Duration = Duration::from_secs(20);
/// The daemon's disk may take most of this.
const READ: Duration = Duration::from_secs(40);
/// How many grants the daemon lists in one page.
const LOGS_IN_A_PAGE: u32 = 100;
/// Collecting binds the role and queries the API server until it answers "allowed".
const COLLECT: Duration = Duration::from_secs(60);
/// The daemon answers a revocation of several grants within a minute, even if it is not finished.
const REVOKE_MANY: Duration = Duration::from_secs(80);
/// How often a page is requested again if the daemon says to retry later, and the longest pause, in seconds.
const PATIENCE: u32 = 5;
const LONGEST_PAUSE: u64 = 30;
const ONE_VIEW: usize = 1024 * 1024;
const LIST: usize = 16 * 1024 * 1024;
/// The uid of every account without a mapping in this user namespace.
const NOBODY: u32 = 65534;

/// Whom the client accepts as the daemon. Root and the caller's own account are always accepted, because neither gains
/// anything by posing as the daemon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// The owner of the socket's folder, if only root could have given it to them: nobody else may write to it, and only
    /// root owns and may write to the folders above it.
    #[default]
    FolderOwner,
    /// The account with this uid, regardless of the folder.
    User(u32),
}

/// A connection that whoever dialled has checked.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Connects to a front end, and checks it; the error is a sentence.
pub type Dial = Arc<dyn Fn() -> BoxFuture<'static, Result<Box<dyn Stream>, String>> + Send + Sync>;

/// How the server is reached.
enum Way {
    Socket(Trust),
    Elsewhere(Dial),
}

/// Why there is no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nothing listens, or nothing answered in time.
    #[error("cannot reach jitd at `{}`: {why}", socket.display())]
    Unreachable {
        /// The socket.
        socket: PathBuf,
        /// What went wrong.
        why: String,
    },
    /// The server is not the daemon; nothing was sent.
    #[error("the server at `{}` is not jitd: {why}", socket.display())]
    WrongServer {
        /// The socket.
        socket: PathBuf,
        /// The actual and the expected server.
        why: String,
    },
    /// The daemon answered with a refusal or a failure.
    #[error("{}", .0.detail)]
    Problem(Problem),
    /// This version does not understand the answer.
    #[error("the answer of jitd is not usable: {why}")]
    Protocol {
        /// What is wrong with it.
        why: String,
    },
    /// The connection ended before the answer was complete, for example because the daemon stopped.
    #[error("the answer of jitd is incomplete: {why}")]
    Broken {
        /// How it ended.
        why: String,
    },
}

impl ClientError {
    /// The stable code for scripts.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Problem(problem) => &problem.code,
            Self::Unreachable { .. } => "unreachable",
            Self::WrongServer { .. } => "wrong-server",
            Self::Protocol { .. } | Self::Broken { .. } => "protocol",
        }
    }
}

/// A connection to the daemon. It reconnects if the daemon closed the connection between two calls.
pub struct Client {
    /// The socket, or the URL.
    socket: PathBuf,
    way: Way,
    server: Option<u32>,
    sender: SendRequest<Full<Bytes>>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl Client {
    /// Connects, and checks the server before sending anything.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] or [`ClientError::WrongServer`].
    pub async fn connect(socket: &Path, trust: Trust) -> Result<Self, ClientError> {
        let way = Way::Socket(trust);
        let (server, sender) = way.open(socket).await?;
        Ok(Self { socket: socket.to_owned(), way, server, sender })
    }

    /// Connects to the front end at `url`.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`].
    pub async fn elsewhere(url: &str, dial: Dial) -> Result<Self, ClientError> {
        let (socket, way) = (PathBuf::from(url), Way::Elsewhere(dial));
        let (server, sender) = way.open(&socket).await?;
        Ok(Self { socket, way, server, sender })
    }

    /// The uid of the server; `None` for a front end.
    #[must_use]
    pub fn server(&self) -> Option<u32> {
        self.server
    }

    /// The identity providers of a front end.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn providers(&mut self) -> Result<ProviderList, ClientError> {
        self.read("/v1/providers", ANSWER, ONE_VIEW).await
    }

    /// Opens a session at a front end, for the key of this connection.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn log_in(&mut self, id_token: String) -> Result<SessionView, ClientError> {
        self.write("/v1/sessions", Some(&SessionBody { id_token }), ANSWER).await
    }

    /// The session of this connection's key at a front end.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn logged_in(&mut self) -> Result<SessionView, ClientError> {
        self.read("/v1/login", ANSWER, ONE_VIEW).await
    }

    /// Ends it.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn log_out(&mut self) -> Result<SessionView, ClientError> {
        self.exchange(Method::DELETE, "/v1/login", Bytes::new(), ANSWER, ONE_VIEW).await
    }

    /// The caller's identity as the daemon sees it.
    ///
    /// # Errors
    /// See [`ClientError`], as for every route.
    pub async fn whoami(&mut self) -> Result<WhoamiView, ClientError> {
        self.read("/v1/whoami", ANSWER, ONE_VIEW).await
    }

    /// Offers the login at a provider to be linked to an account.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn offer_link(&mut self) -> Result<LinkView, ClientError> {
        self.write("/v1/links", None::<&LinkBody>, ANSWER).await
    }

    /// Whose login waits with this code.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn offered_link(&mut self, code: &str) -> Result<LinkView, ClientError> {
        self.read(&format!("/v1/links?code={}", segment(code)), ANSWER, ONE_VIEW).await
    }

    /// Links it to the caller's account.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn accept_link(&mut self, code: &str) -> Result<LinkView, ClientError> {
        self.write("/v1/links/accept", Some(&LinkBody { code: code.to_owned() }), ANSWER).await
    }

    /// The clusters of the daemon's configuration.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn clusters(&mut self) -> Result<ClusterList, ClientError> {
        self.read("/v1/clusters", ANSWER, ONE_VIEW).await
    }

    /// What the caller may request.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn entitlements(&mut self) -> Result<EntitlementList, ClientError> {
        self.read("/v1/entitlements", ANSWER, LIST).await
    }

    /// How the policy would decide a request, and with `dry_run` how the API server would answer for the objects.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn explain(&mut self, ask: &AskBody, dry_run: bool) -> Result<DecisionView, ClientError> {
        self.write(&format!("/v1/explain?dryRun={dry_run}"), Some(ask), ANSWER).await
    }

    /// Requests access.
    ///
    /// # Errors
    /// See [`ClientError`]. After `Unreachable`, `Broken` or `Protocol` the request may have been made.
    pub async fn request(&mut self, body: &RequestBody) -> Result<GrantView, ClientError> {
        self.write("/v1/grants", Some(body), ANSWER).await
    }

    /// The newest `limit` grants that the caller may see and `filter` selects, page by page; only open ones unless `all`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn list(&mut self, all: bool, limit: u32, filter: &FilterQuery) -> Result<GrantList, ClientError> {
        let query = query(filter);
        let mut list: GrantList =
            self.read(&format!("/v1/grants?all={all}&limit={limit}{query}"), ANSWER, LIST).await?;
        let most = usize::try_from(limit).unwrap_or(usize::MAX);
        while let Some(next) = list.next.take().filter(|_| list.grants.len() < most) {
            let left = most - list.grants.len();
            let path = format!("/v1/grants?all={all}&limit={left}&from={}{query}", segment(&next));
            let page: GrantList = self.page(&path).await?;
            // A grant that ended between two pages is in both.
            let known: HashSet<String> = list.grants.iter().map(|grant| grant.id.clone()).collect();
            if page.next.as_ref() == Some(&next) {
                return Err(protocol("a page of the list does not lead to the next".to_owned()));
            }
            list.grants.extend(page.grants.into_iter().filter(|grant| !known.contains(&grant.id)));
            (list.more, list.next) = (page.more, page.next);
        }
        list.grants.sort_by_key(|grant| Reverse(grant.requested_at));
        Ok(list)
    }

    /// One grant with its role's rules, by id or a unique prefix of it.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn show(&mut self, id: &str) -> Result<GrantView, ClientError> {
        self.read(&path(id, ""), ANSWER, ONE_VIEW).await
    }

    /// The grant as soon as its phase or number of answers differs from `seen`, or after `hold`, at most [`LONGEST_WAIT`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn wait(&mut self, seen: &GrantView, hold: Duration) -> Result<GrantView, ClientError> {
        let seconds = hold.min(LONGEST_WAIT).as_secs().max(1);
        let query = format!("/wait?phase={}&answers={}&timeout={seconds}", seen.phase.as_str(), seen.answers);
        self.read(&path(&seen.id, &query), Duration::from_secs(seconds) + ANSWER, ONE_VIEW).await
    }

    /// The number of the last change, at once without `since`; otherwise as soon as something that the caller may see has
    /// changed after the change with that number, or after `hold`, at most [`LONGEST_WAIT`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn changes(&mut self, since: Option<u64>, hold: Duration) -> Result<u64, ClientError> {
        let seconds = hold.min(LONGEST_WAIT).as_secs().max(1);
        let since = since.map_or_else(String::new, |since| format!("&since={since}"));
        let path = format!("/v1/changes?timeout={seconds}{since}");
        let view: ChangesView = self.read(&path, Duration::from_secs(seconds) + ANSWER, ONE_VIEW).await?;
        Ok(view.number)
    }

    /// Approves what has this digest.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn approve(&mut self, id: &str, digest: &str, less: Option<LessBody>) -> Result<GrantView, ClientError> {
        self.write(&path(id, "/approve"), Some(&ApproveBody { digest: digest.to_owned(), less }), ANSWER).await
    }

    /// Denies the request.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn deny(&mut self, id: &str, reason: &str) -> Result<GrantView, ClientError> {
        self.write(&path(id, "/deny"), Some(&ReasonBody { reason: reason.to_owned() }), ANSWER).await
    }

    /// Requests an extension.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn extend(&mut self, id: &str, duration: &str, reason: &str) -> Result<GrantView, ClientError> {
        let body = ExtendBody { duration: duration.to_owned(), reason: reason.to_owned() };
        self.write(&path(id, "/extend"), Some(&body), ANSWER).await
    }

    /// Uses break-glass.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn break_glass(&mut self, id: &str, reason: &str) -> Result<GrantView, ClientError> {
        self.write(&path(id, "/break-glass"), Some(&ReasonBody { reason: reason.to_owned() }), ANSWER).await
    }

    /// Reviews a use of break-glass.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn review(&mut self, id: &str, body: &ReviewBody) -> Result<GrantView, ClientError> {
        self.write(&path(id, "/review"), Some(body), ANSWER).await
    }

    /// Withdraws the caller's own request before it is collected.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn withdraw(&mut self, id: &str) -> Result<GrantView, ClientError> {
        self.write(&path(id, "/withdraw"), None::<&()>, ANSWER).await
    }

    /// Releases the caller's own access.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn end(&mut self, id: &str) -> Result<GrantView, ClientError> {
        self.write(&path(id, "/end"), None::<&()>, COLLECT).await
    }

    /// Revokes the access.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn revoke(&mut self, id: &str, reason: &str) -> Result<GrantView, ClientError> {
        self.write(&path(id, "/revoke"), Some(&ReasonBody { reason: reason.to_owned() }), COLLECT).await
    }

    /// Collects an approved grant, or renews the certificate of a live one; may be repeated.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn certificate(&mut self, id: &str, csr: &str) -> Result<CertificateView, ClientError> {
        self.write(&path(id, "/certificate"), Some(&CertificateBody { csr: csr.to_owned() }), COLLECT).await
    }

    /// The trail's entries about a grant.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn events(&mut self, id: &str) -> Result<EventList, ClientError> {
        let mut list: EventList = self.read(&path(id, "/events"), ANSWER, LIST).await?;
        let (mut newer, mut before) = (Vec::new(), None);
        while list.more {
            let first = list.events.first().and_then(|event| event.get("seq")?.as_i64());
            let first = first.filter(|first| before.is_none_or(|before| *first < before));
            let first = first.ok_or_else(|| protocol("a page of events does not lead to the next".to_owned()))?;
            before = Some(first);
            newer.push(std::mem::take(&mut list.events));
            list = self.page(&path(id, &format!("/events?before={first}"))).await?;
        }
        newer.into_iter().rev().for_each(|page| list.events.extend(page));
        Ok(list)
    }

    /// The newest `limit` entries of the whole trail that `filter` selects, page by page, oldest first, and whether there may
    /// be older ones. For auditors and admins only.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn all_events(&mut self, limit: u32, filter: &FilterQuery) -> Result<EventList, ClientError> {
        let query = query(filter);
        let most = usize::try_from(limit).unwrap_or(usize::MAX);
        let (mut pages, mut found, mut next): (Vec<Vec<serde_json::Value>>, usize, Option<i64>) = (Vec::new(), 0, None);
        loop {
            let before = next.map_or_else(String::new, |next| format!("&before={next}"));
            let left = most.saturating_sub(found);
            let path = format!("/v1/events?limit={left}{before}{query}");
            let page: EventPage =
                if next.is_none() { self.read(&path, ANSWER, LIST).await? } else { self.page(&path).await? };
            if let (Some(older), Some(before)) = (page.next, next)
                && older >= before
            {
                return Err(protocol("a page of events does not lead to the next".to_owned()));
            }
            found = found.saturating_add(page.events.len());
            pages.push(page.events);
            next = page.next;
            if next.is_none() || found >= most {
                let events = pages.into_iter().rev().flatten().collect();
                return Ok(EventList { events, more: next.is_some() });
            }
        }
    }

    /// A page of the lines of the trail after event `after`. For auditors and admins only.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn lines_after(&mut self, after: i64) -> Result<LinePage, ClientError> {
        let path = format!("/v1/trail?after={after}");
        let page: LinePage = if after == 0 { self.read(&path, ANSWER, LIST).await? } else { self.page(&path).await? };
        if page.next.is_some_and(|next| next <= after) {
            return Err(protocol("a page of the trail does not lead to the next".to_owned()));
        }
        Ok(page)
    }

    /// The sessions of the newest `limit` grants that the caller may see and `filter` selects, page by page; the reading is
    /// recorded.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn sessions(&mut self, limit: u32, filter: &FilterQuery) -> Result<LogList, ClientError> {
        let query = query(filter);
        let mut left = limit;
        let page = |left: u32, from: &str| format!("/v1/sessions?limit={}{from}{query}", left.min(LOGS_IN_A_PAGE));
        let mut list: LogList = self.read(&page(left, ""), READ, LIST).await?;
        while let Some(next) = list.next.take() {
            left = left.saturating_sub(LOGS_IN_A_PAGE);
            if left == 0 {
                list.next = Some(next);
                break;
            }
            let more: LogList = self.page(&page(left, &format!("&from={}", segment(&next)))).await?;
            if more.next.as_ref() == Some(&next) {
                return Err(protocol("a page of the list does not lead to the next".to_owned()));
            }
            list.grants.extend(more.grants);
            list.unreadable.extend(more.unreadable);
            list.next = more.next;
        }
        Ok(list)
    }

    /// The recorded sessions whose ids begin so, each in the log of its grant; the reading is recorded.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn session(&mut self, beginning: &str) -> Result<LogList, ClientError> {
        self.read(&format!("/v1/sessions?session={}", segment(beginning)), READ, LIST).await
    }

    /// Every request of a grant, also those that only read if `reads`; the reading is recorded.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn log(&mut self, id: &str, reads: bool) -> Result<LogList, ClientError> {
        self.read(&path(id, &format!("/sessions?reads={reads}")), READ, LIST).await
    }

    /// Hands what verifies of a recording to `take`, piece by piece, and returns the SHA-256 that the daemon sent with it, hex;
    /// the error of `take` ends it. The reading is recorded.
    ///
    /// # Errors
    /// See [`ClientError`]; then what `take` got is of no use.
    pub async fn recording(
        &mut self,
        id: &str,
        session: &str,
        mut take: impl FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<std::io::Result<String>, ClientError> {
        let path = path(id, &format!("/recording?session={}", segment(session)));
        let sent = self.send(Method::GET, &path, Bytes::new()).await?;
        let unreachable = |why: String| ClientError::Unreachable { socket: self.socket.clone(), why };
        let late = |_| unreachable(format!("no answer within {} s", READ.as_secs()));
        let answered = timeout(READ, sent).await.map_err(late)?;
        let answered =
            answered.map_err(|error| unreachable(format!("it closed the connection without an answer: {error}")))?;
        let is_recording = answered.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == ASCIICAST);
        if answered.status() != StatusCode::OK || !is_recording {
            return match answer::<serde_json::Value>(answered, ONE_VIEW).await {
                Err(error) => Err(error),
                Ok(_) => Err(protocol("it is not a recording".to_owned())),
            };
        }
        let sha256 = answered.headers().get(ETAG).and_then(|tag| tag.to_str().ok()).unwrap_or_default();
        let sha256 = sha256.trim_matches('"').to_owned();
        let mut body = answered.into_body();
        loop {
            let frame = timeout(READ, body.frame())
                .await
                .map_err(|_| ClientError::Broken { why: format!("nothing more came within {} s", READ.as_secs()) })?;
            let Some(frame) = frame else { return Ok(Ok(sha256)) };
            let frame = frame.map_err(|error| ClientError::Broken { why: error.to_string() })?;
            if let Some(piece) = frame.data_ref()
                && let Err(error) = take(piece)
            {
                return Ok(Err(error));
            }
        }
    }

    /// Records that an operator reads sessions by themselves; on the admin socket only.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn record_reading(&mut self, body: &ReadingBody) -> Result<(), ClientError> {
        let _: serde_json::Value = self.write("/v1/sessions/read", Some(body), ANSWER).await?;
        Ok(())
    }

    /// Reads a page after the first one, for which the daemon may ask the client to wait.
    async fn page<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, ClientError> {
        for _ in 0..PATIENCE {
            match self.read(path, ANSWER, LIST).await {
                Err(ClientError::Problem(Problem { retry_after: Some(seconds), .. })) => {
                    tokio::time::sleep(Duration::from_secs(seconds.min(LONGEST_PAUSE))).await;
                }
                answer => return answer,
            }
        }
        self.read(path, ANSWER, LIST).await
    }

    /// The drain in force, and the number of grants by phase; on the admin socket only.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn operations(&mut self) -> Result<OperationsView, ClientError> {
        self.read("/v1/operations", ANSWER, ONE_VIEW).await
    }

    /// Drains: no new access is granted; on the admin socket only.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn drain(&mut self, body: &DrainBody) -> Result<OperationsView, ClientError> {
        self.write("/v1/drain", Some(body), ANSWER).await
    }

    /// Ends the drain; on the admin socket only.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn resume(&mut self) -> Result<OperationsView, ClientError> {
        self.write("/v1/resume", None::<&()>, ANSWER).await
    }

    /// Records a scan of a cluster in the trail; on the admin socket only.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn record_scan(&mut self, body: &ScanBody) -> Result<OperationsView, ClientError> {
        self.write("/v1/scans", Some(body), ANSWER).await
    }

    /// Revokes all matching grants, or with `dry_run` only lists them; on the admin socket only.
    ///
    /// # Errors
    /// See [`ClientError`]. If only the answer fails, a revocation that has begun continues.
    pub async fn revoke_many(&mut self, body: &RevokeBody, dry_run: bool) -> Result<RevocationView, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| protocol(format!("cannot encode the body: {error}")))?;
        let path = format!("/v1/revoke?dryRun={dry_run}");
        self.exchange(Method::POST, &path, Bytes::from(body), REVOKE_MANY, LIST).await
    }

    async fn read<T: DeserializeOwned>(&mut self, path: &str, limit: Duration, most: usize) -> Result<T, ClientError> {
        self.exchange(Method::GET, path, Bytes::new(), limit, most).await
    }

    async fn write<B: Serialize, T: DeserializeOwned>(
        &mut self,
        path: &str,
        body: Option<&B>,
        limit: Duration,
    ) -> Result<T, ClientError> {
        let body = match body {
            Some(body) => {
                serde_json::to_vec(body).map_err(|error| protocol(format!("cannot encode the body: {error}")))?
            }
            None => Vec::new(),
        };
        self.exchange(Method::POST, path, Bytes::from(body), limit, ONE_VIEW).await
    }

    async fn exchange<T: DeserializeOwned>(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
        limit: Duration,
        most: usize,
    ) -> Result<T, ClientError> {
        let sent = self.send(method, path, body).await?;
        let unreachable = |why: String| ClientError::Unreachable { socket: self.socket.clone(), why };
        let answered = timeout(limit, async {
            // A daemon without a free place closes the connection without an answer, and so does one that stops.
            let answered = sent
                .await
                .map_err(|error| unreachable(format!("it closed the connection without an answer: {error}")))?;
            answer(answered, most).await
        });
        let answered = answered.await;
        answered.unwrap_or_else(|_| Err(unreachable(format!("no answer within {} s", limit.as_secs()))))
    }
}

impl Client {
    /// Sends a request; what it returns waits for the head of the answer.
    async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<impl Future<Output = hyper::Result<Response<Incoming>>> + use<>, ClientError> {
        if !matches!(timeout(CONNECT, self.sender.ready()).await, Ok(Ok(()))) {
            (self.server, self.sender) = self.way.open(&self.socket).await?;
        }
        let mut request = Request::builder().method(method).uri(path).header(HOST, "jitd").header(ACCEPT, JSON);
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, JSON);
        }
        let request =
            request.body(Full::new(body)).map_err(|error| protocol(format!("cannot encode the request: {error}")))?;
        Ok(self.sender.send_request(request))
    }
}

/// Reads an answer completely, and parses it as a view or as a problem.
async fn answer<T: DeserializeOwned>(response: Response<Incoming>, most: usize) -> Result<T, ClientError> {
    let (head, body) = response.into_parts();
    let kind = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let bytes = Limited::new(body, most)
        .collect()
        .await
        .map_err(|error| match error.downcast_ref::<LengthLimitError>() {
            Some(_) => protocol(format!("it has more than {most} bytes")),
            None => ClientError::Broken { why: error.to_string() },
        })?
        .to_bytes();
    if head.status.is_success() && kind == JSON {
        understood(&bytes, head.status)
    } else if !head.status.is_success() && kind == PROBLEM {
        Err(ClientError::Problem(understood(&bytes, head.status)?))
    } else {
        Err(protocol(format!("status {} with content type `{}`", head.status.as_u16(), kind.escape_default())))
    }
}

/// Parses an answer; this version has to know all its words.
fn understood<T: DeserializeOwned>(bytes: &[u8], status: StatusCode) -> Result<T, ClientError> {
    let status = status.as_u16();
    let mut text = serde_json::Deserializer::from_slice(bytes);
    let answer = serde_path_to_error::deserialize(&mut text).map_err(|error| {
        let why = match error.inner().classify() {
            Category::Data => "; the daemon and this client are of different versions",
            Category::Io | Category::Syntax | Category::Eof => "",
        };
        protocol(format!("status {status}, {error}{why}"))
    })?;
    text.end().map_err(|error| protocol(format!("status {status}, {error}")))?;
    Ok(answer)
}

impl Way {
    async fn open(&self, socket: &Path) -> Result<(Option<u32>, SendRequest<Full<Bytes>>), ClientError> {
        let unreachable = |why: String| ClientError::Unreachable { socket: socket.to_owned(), why };
        match self {
            Self::Socket(trust) => {
                let (server, stream) = checked(socket, *trust).await?;
                Ok((Some(server), speak(stream, unreachable).await?))
            }
            Self::Elsewhere(dial) => {
                let dialled = timeout(DIAL, dial()).await.unwrap_or_else(|_| Err("it does not answer".to_owned()));
                Ok((None, speak(dialled.map_err(unreachable)?, unreachable).await?))
            }
        }
    }
}

async fn speak(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    unreachable: impl Fn(String) -> ClientError,
) -> Result<SendRequest<Full<Bytes>>, ClientError> {
    let (sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| unreachable(error.to_string()))?;
    // It ends when the sender is dropped; the sender also gets its errors.
    tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok(sender)
}

/// A connection to the socket, whose server is the daemon.
async fn checked(socket: &Path, trust: Trust) -> Result<(u32, UnixStream), ClientError> {
    let unreachable = |why: String| ClientError::Unreachable { socket: socket.to_owned(), why };
    let stream = timeout(CONNECT, connected(socket))
        .await
        .map_err(|_| unreachable("it does not accept connections".to_owned()))?
        .map_err(|error| unreachable(why_not(&error)))?;
    let peer = stream.peer_cred().map_err(|error| unreachable(format!("the server's account is unknown: {error}")))?;
    let server = peer.uid();
    check_server(socket, server, trust).map_err(|why| ClientError::WrongServer { socket: socket.to_owned(), why })?;
    Ok((server, stream))
}

/// Connects, and waits while the socket's queue is full: only connect(2) on a blocking socket does so by itself. Otherwise
/// somebody who connects all the time would keep others out.
async fn connected(socket: &Path) -> std::io::Result<UnixStream> {
    loop {
        match UnixStream::connect(socket).await {
            Err(error) if error.kind() == ErrorKind::WouldBlock => tokio::time::sleep(QUEUE).await,
            connected => return connected,
        }
    }
}

fn check_server(socket: &Path, server: u32, trust: Trust) -> Result<(), String> {
    let own = nix::unistd::Uid::effective().as_raw();
    if server == 0 || (server == own && own != NOBODY) {
        return Ok(());
    }
    if server == NOBODY {
        return Err("it runs under an account that has no uid in this user namespace".to_owned());
    }
    match trust {
        Trust::User(expected) if server == expected => Ok(()),
        Trust::User(expected) => Err(format!("it runs as uid {server}, not as {expected}")),
        Trust::FolderOwner => owns_folder(socket, server),
    }
}

/// Checks that `server` owns the folder of the socket, and that only root could have given it to them.
fn owns_folder(socket: &Path, server: u32) -> Result<(), String> {
    let parent = socket.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = parent.canonicalize().map_err(|error| format!("cannot inspect its folder: {error}"))?;
    for (depth, place) in folder.ancestors().enumerate() {
        let found = std::fs::symlink_metadata(place)
            .map_err(|error| format!("cannot inspect `{}`: {error}", place.display()))?;
        if found.permissions().mode() & 0o022 != 0 {
            return Err(format!("others may write to `{}`, so anybody could listen there", place.display()));
        }
        match (depth, found.uid()) {
            (0, owner) if owner == server => {}
            (0, owner) => return Err(format!("it runs as uid {server}, but uid {owner} owns its folder")),
            (_, 0) => {}
            (_, owner) => return Err(format!("uid {owner} owns `{}`, not root", place.display())),
        }
    }
    Ok(())
}

fn why_not(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "the socket does not exist".to_owned(),
        ErrorKind::ConnectionRefused => "nothing listens on it".to_owned(),
        ErrorKind::PermissionDenied => "this account may not open it".to_owned(),
        _ => error.to_string(),
    }
}

/// Whether `path` is a socket; a link is not followed.
#[must_use]
pub fn is_socket(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
}

fn path(id: &str, rest: &str) -> String {
    format!("/v1/grants/{}{rest}", segment(id))
}

/// The parameters of a filter, for appending to a query.
fn query(filter: &FilterQuery) -> String {
    filter.parts().map(|(name, value)| format!("&{name}={}", segment(&value))).collect()
}

/// `text` as one segment of a URL, percent-encoded except for letters, digits and `-`.
fn segment(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut segment, byte| {
        if byte.is_ascii_alphanumeric() || byte == b'-' {
            segment.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(segment, "%{byte:02X}");
        }
        segment
    })
}

fn protocol(why: String) -> ClientError {
    ClientError::Protocol { why }
}

const JSON: &str = "application/json";
const PROBLEM: &str = "application/problem+json";

#[cfg(test)]
mod tests {
    use super::*;
    use axum::extract::RawQuery;
    use axum::response::IntoResponse;
    use axum::routing::{get, post};
    use axum::{Json, Router};
    use serde_json::json;
    use std::os::unix::fs::{DirBuilderExt, chown};

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("jitd-client-{}-{name}", std::process::id()));
            let _ = std::fs::remove_dir_all(&folder);
            std::fs::DirBuilder::new().mode(0o755).create(&folder).unwrap();
            Self(folder)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn serve(scratch: &Scratch, routes: Router) -> PathBuf {
        let socket = scratch.0.join("api.sock");
        let listener = tokio::net::UnixListener::bind(&socket).unwrap();
        tokio::spawn(async move { axum::serve(listener, routes).await });
        socket
    }

    #[tokio::test]
    async fn a_view_is_read_and_a_problem_stays_a_problem() {
        let scratch = Scratch::new("view");
        let problem = || async {
            let body =
                json!({"code": "no-such-grant", "status": 404, "detail": "no such grant", "hint": "", "later": 1});
            (StatusCode::NOT_FOUND, [("content-type", PROBLEM)], body.to_string()).into_response()
        };
        let routes = Router::new()
            .route(
                "/v1/whoami",
                get(|| async { Json(json!({"name": "alice", "groups": ["dev"], "uid": 7, "host": "b", "new": true})) }),
            )
            .route("/v1/grants/{id}", get(problem));
        let socket = serve(&scratch, routes);
        let mut client = Client::connect(&socket, Trust::FolderOwner).await.unwrap();
        assert_eq!(client.whoami().await.unwrap().name, "alice");
        let error = client.show("abcd").await.unwrap_err();
        assert!(matches!(error, ClientError::Problem(problem) if problem.code == "no-such-grant"));
        assert_eq!(client.whoami().await.unwrap().uid, Some(7));
    }

    #[tokio::test]
    async fn an_unknown_word_is_refused_with_its_field() {
        let scratch = Scratch::new("word");
        let grant = |phase: &str| {
            json!({"id": "7k3m9x2q7k3m9x2q", "phase": phase, "requester": "alice", "cluster": "prod", "role": "view",
                "namespaces": [], "access": "role view", "duration": "15m", "reason": "r", "rule": "x", "agreed": [],
                "digest": "d", "steps": [], "key": "k", "requestedAt": "2026-11-23T18:00:00Z", "certificates": 0,
                "answers": 0})
        };
        let list = json!({"more": false, "grants": [grant("live"), grant("paused")]});
        let routes = Router::new().route("/v1/grants", get(move || async { Json(list) }));
        let socket = serve(&scratch, routes);
        let mut client = Client::connect(&socket, Trust::FolderOwner).await.unwrap();
        let told = client.list(true, 9, &FilterQuery::default()).await.unwrap_err().to_string();
        assert!(told.contains("grants[1].phase: unknown variant `paused`"), "{told}");
        assert!(told.ends_with("the daemon and this client are of different versions"), "{told}");
    }

    #[tokio::test]
    async fn a_list_in_pages_is_one_list() {
        let scratch = Scratch::new("pages");
        let grant = |id: &str, second: u8| {
            json!({"id": id, "phase": "live", "requester": "alice", "cluster": "prod", "role": "view",
                "namespaces": [], "access": "role view", "duration": "15m", "reason": "r", "rule": "x", "agreed": [],
                "digest": "d", "steps": [], "key": "k", "requestedAt": format!("2026-11-23T18:00:{second:02}Z"),
                "certificates": 0, "answers": 0})
        };
        let list = move |RawQuery(query): RawQuery| async move {
            Json(match query.as_deref() {
                Some("all=true&limit=3") => {
                    json!({"more": true, "next": "open-1", "grants": [grant("b", 2), grant("a", 1)]})
                }
                Some("all=true&limit=1&from=open-1") => {
                    json!({"more": true, "next": "closed-9", "grants": [grant("c", 3), grant("a", 1)]})
                }
                other => panic!("{other:?}"),
            })
        };
        let events = |RawQuery(query): RawQuery| async move {
            Json(match query.as_deref() {
                None => json!({"events": [{"seq": 5}, {"seq": 7}], "more": true}),
                Some("before=5") => json!({"events": [{"seq": 3}], "more": true}),
                Some("before=3") => json!({"events": [{"seq": 1}, {"seq": 2}], "more": false}),
                Some(other) => panic!("{other}"),
            })
        };
        let stuck = || async { Json(json!({"events": [{"seq": 5}], "more": true})) };
        let routes = Router::new()
            .route("/v1/grants", get(list))
            .route("/v1/grants/abcd/events", get(events))
            .route("/v1/grants/efgh/events", get(stuck));
        let mut client = Client::connect(&serve(&scratch, routes), Trust::FolderOwner).await.unwrap();
        let told = client.list(true, 3, &FilterQuery::default()).await.unwrap();
        let ids: Vec<&str> = told.grants.iter().map(|grant| &*grant.id).collect();
        assert_eq!((&*ids, told.more), (&["c", "b", "a"][..], true));
        let told = client.events("abcd").await.unwrap();
        let seqs: Vec<i64> = told.events.iter().map(|event| event["seq"].as_i64().unwrap()).collect();
        assert_eq!(seqs, [1, 2, 3, 5, 7]);
        assert!(matches!(client.events("efgh").await, Err(ClientError::Protocol { .. })));
    }

    #[tokio::test]
    async fn an_endless_answer_is_not_read() {
        let scratch = Scratch::new("large");
        let routes =
            Router::new().route("/v1/whoami", get(|| async { ([("content-type", JSON)], " ".repeat(ONE_VIEW + 1)) }));
        let socket = serve(&scratch, routes);
        let mut client = Client::connect(&socket, Trust::FolderOwner).await.unwrap();
        assert!(matches!(client.whoami().await, Err(ClientError::Protocol { .. })));
    }

    #[tokio::test]
    async fn html_is_not_an_answer() {
        let scratch = Scratch::new("html");
        let routes = Router::new().route("/v1/grants/{id}/end", post(|| async { "<html>" }));
        let socket = serve(&scratch, routes);
        let mut client = Client::connect(&socket, Trust::FolderOwner).await.unwrap();
        assert!(matches!(client.end("abcd").await, Err(ClientError::Protocol { .. })));
    }

    #[tokio::test]
    async fn no_socket_is_unreachable() {
        let scratch = Scratch::new("none");
        let error = Client::connect(&scratch.0.join("api.sock"), Trust::FolderOwner).await.unwrap_err();
        assert!(matches!(error, ClientError::Unreachable { .. }));
    }

    #[tokio::test]
    async fn a_full_queue_is_waited_for() {
        let scratch = Scratch::new("queue");
        let socket = scratch.0.join("api.sock");
        let listening = tokio::net::UnixSocket::new_stream().unwrap();
        listening.bind(&socket).unwrap();
        let listener = listening.listen(1).unwrap();
        let mut queued = Vec::new();
        let full = loop {
            match UnixStream::connect(&socket).await {
                Ok(stream) => queued.push(stream),
                Err(error) => break error,
            }
        };
        assert_eq!(full.kind(), ErrorKind::WouldBlock);
        let mut connecting = std::pin::pin!(Client::connect(&socket, Trust::FolderOwner));
        assert!(timeout(Duration::ZERO, &mut connecting).await.is_err(), "it waits");
        let whoami = || async { Json(json!({"name": "alice", "groups": [], "uid": 7, "host": "b"})) };
        tokio::spawn(async move { axum::serve(listener, Router::new().route("/v1/whoami", get(whoami))).await });
        assert_eq!(connecting.await.unwrap().whoami().await.unwrap().name, "alice");
    }

    #[test]
    fn root_and_the_callers_own_account_are_accepted() {
        let own = nix::unistd::Uid::effective().as_raw();
        assert_eq!(check_server(Path::new("/nowhere/api.sock"), 0, Trust::User(77)), Ok(()));
        assert_eq!(check_server(Path::new("/nowhere/api.sock"), own, Trust::User(77)), Ok(()));
    }

    #[test]
    fn another_account_is_refused_in_a_folder_that_anybody_could_have_created() {
        let scratch = Scratch::new("squat");
        let socket = scratch.0.join("api.sock");
        if nix::unistd::Uid::effective().is_root() {
            chown(&scratch.0, Some(4321), None).unwrap();
        }
        let why = check_server(&socket, 4321, Trust::FolderOwner).unwrap_err();
        assert!(why.contains("others may write to") || why.contains("owns its folder"), "{why}");
        assert!(check_server(&socket, 4321, Trust::User(4322)).is_err());
        assert_eq!(check_server(&socket, 4321, Trust::User(4321)), Ok(()));
        assert!(check_server(&socket, NOBODY, Trust::User(NOBODY)).is_err(), "unmapped");
    }

    #[test]
    fn an_id_cannot_leave_its_segment() {
        assert_eq!(path("../x?y", "/end"), "/v1/grants/%2E%2E%2Fx%3Fy/end");
        assert_eq!(path("7k3m", ""), "/v1/grants/7k3m");
    }
}
