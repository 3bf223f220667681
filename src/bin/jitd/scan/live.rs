//! Reads a live cluster as one context of a kubeconfig allows it: page by page, on one connection, with read requests only.
//!
//! It must never read the content of a Secret, and a list that is refused is never an empty one: what cannot be read is not
//! evaluated, and why. `scan.rs` calls it if no file is given.

use std::io::{IsTerminal, stderr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use jit_dial::{ApiServer, Protocol};
use jit_scan::suggest::{self, Runner};
use jit_scan::{CredentialList, Listed, ReadError, Reader};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::shown;
use crate::print;
use crate::{Failure, runtime};

/// Objects of a page, as kubectl asks for them.
const PAGE: usize = 500;
/// The longest page in bytes: 500 objects of 1.5 MiB would be longer, but nobody has them.
const LONGEST: usize = 256 << 20;
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(60);
/// How often an API server may ask for patience, lose a connection, or forget a list, before that list is given up.
const ATTEMPTS: usize = 8;
/// The longest patience at a time.
const PATIENCE: Duration = Duration::from_secs(30);

/// Which live cluster is read.
#[derive(Args)]
pub(crate) struct Context {
    /// Read the live cluster of this kubeconfig [default: that of kubectl].
    #[arg(long, value_name = "FILE")]
    pub(super) kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig [default: the current one].
    #[arg(long, value_name = "NAME")]
    pub(super) context: Option<String>,
}

/// The kubeconfig that kubectl would use.
fn usual_kubeconfig() -> Result<PathBuf, Failure> {
    let hint = "name a file, or a kubeconfig with `--kubeconfig`";
    match std::env::var_os("KUBECONFIG").filter(|value| !value.is_empty()) {
        Some(paths) => {
            let mut all = std::env::split_paths(&paths).filter(|path| !path.as_os_str().is_empty());
            match (all.next(), all.next()) {
                (Some(path), None) => Ok(path),
                _ => Err(Failure::usage("KUBECONFIG names several files").with_hint(hint)),
            }
        }
        None => std::env::home_dir()
            .map(|home| home.join(".kube/config"))
            .filter(|path| path.exists())
            .ok_or_else(|| Failure::usage("no file to read, and no ~/.kube/config").with_hint(hint)),
    }
}

impl Context {
    fn server(&self) -> Result<ApiServer, Failure> {
        let usual;
        let kubeconfig = match &self.kubeconfig {
            Some(path) => path.as_path(),
            None => {
                usual = usual_kubeconfig()?;
                &usual
            }
        };
        Ok(ApiServer::read(kubeconfig, self.context.as_deref())?)
    }
}

/// What happens to each answer besides: the name of its list, and its text, without what a scan does not read of Secrets and
/// workloads.
pub(super) type Keep<'a> = &'a mut dyn FnMut(&str, &[u8]) -> Result<(), Failure>;

/// What is read of a live cluster.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// What decides who can do what.
    Rights,
    /// And what says something about credentials.
    Credentials,
}

/// Reads a cluster.
pub(super) fn read(
    context: &Context,
    extent: Extent,
    reader: &mut Reader,
    mut keep: Option<Keep<'_>>,
) -> Result<(), Failure> {
    let runtime = runtime()?;
    let server = context.server()?;
    runtime.block_on(async {
        let mut cluster = Connection { server, sender: None };
        let answer = cluster.get("/version", JSON).await?;
        if answer.status != StatusCode::OK {
            let said = answer.said();
            return Err(Failure::ours(format!("{} answered {said}", cluster.server.server())));
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Version {
            git_version: String,
        }
        let version = serde_json::from_slice(&answer.body).ok();
        if let Some(version) = version.and_then(|Version { git_version }| git_version.parse().ok()) {
            reader.version(version);
            if let Some(keep) = &mut keep {
                keep("version", &answer.body)?;
            }
        }
        for listed in Listed::ALL {
            let page = |reader: &mut Reader, body: &[u8]| reader.page(listed, body);
            let list = List { path: &listed.path(), plural: listed.plural(), selector: None, accept: JSON };
            let mut keep = |body: &[u8]| keep.as_mut().map_or(Ok(()), |keep| keep(listed.plural(), body));
            if let Err(why) = cluster.list(list, reader, page, &mut keep).await? {
                reader.refused(listed, why);
            }
        }
        let credentials = CredentialList::ALL.into_iter().filter(|_| extent == Extent::Credentials);
        for listed in credentials {
            let CredentialList { path, plural, selector, .. } = listed;
            let page = |reader: &mut Reader, body: &[u8]| reader.credentials(listed, body);
            let list = List { path, plural, selector, accept: listed.accept() };
            let mut keep = |body: &[u8]| keep.as_mut().map_or(Ok(()), |keep| keep(plural, &listed.reduced(body)?));
            if let Err(why) = cluster.list(list, reader, page, &mut keep).await? {
                reader.credentials_refused(listed, why);
            }
        }
        progress("");
        Ok(())
    })
}

/// A list of an API server, and how it is asked for.
#[derive(Clone, Copy)]
struct List<'a> {
    path: &'a str,
    plural: &'a str,
    selector: Option<&'a str>,
    accept: &'static str,
}

const JSON: &str = "application/json";

/// An API server, and the connection that is kept to it.
struct Connection {
    server: ApiServer,
    sender: Option<SendRequest<Full<Bytes>>>,
}

/// A request.
struct Call<'a> {
    method: Method,
    path: &'a str,
    accept: &'a str,
    /// A body and its type.
    content: Option<(&'a str, Bytes)>,
}

/// Questions to a cluster one after the other, none of which changes anything.
pub(super) struct Session {
    runtime: Runtime,
    cluster: Connection,
}

impl Session {
    /// Nothing is sent yet.
    pub(super) fn open(context: &Context) -> Result<Self, Failure> {
        Ok(Self { runtime: runtime()?, cluster: Connection { server: context.server()?, sender: None } })
    }

    /// Who the API server says we are.
    pub(super) fn runner(&mut self) -> Result<Runner, Failure> {
        #[derive(Deserialize)]
        struct Info {
            username: String,
            #[serde(default)]
            groups: Vec<String>,
        }
        let body = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview" });
        let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
        let (status, answer) = self.ask(Method::POST, path, Some((JSON, &body)))?;
        let info = answer.pointer("/status/userInfo").cloned().and_then(|info| serde_json::from_value(info).ok());
        let Some(Info { username: user, groups }) = info else {
            let why = answer.get("message").and_then(Value::as_str).unwrap_or("it does not say who that is");
            return Err(Failure::ours(format!("who asks is not known: {status}: {}", shown(why)))
                .with_hint("every user may create selfsubjectreviews, by `system:basic-user`"));
        };
        Ok(Runner { user, groups })
    }

    /// An object.
    pub(super) fn get(&mut self, path: &str) -> Result<(u16, Value), Failure> {
        self.ask(Method::GET, path, None)
    }

    /// What the API server would answer; it changes nothing.
    pub(super) fn dry_run(&mut self, request: &suggest::Request) -> Result<(u16, Value), Failure> {
        let suggest::Request { method, path, content_type, body } = request;
        let method = Method::from_bytes(method.as_bytes()).map_err(|why| Failure::ours(why.to_string()))?;
        let mut body = body.clone();
        if method == Method::DELETE {
            // The options of a deletion are in its body, and if there is one, the API server ignores those of the query
            // (k8s.io/apiserver/pkg/endpoints/handlers/delete.go).
            let options = body.as_object_mut().ok_or_else(|| Failure::ours("a deletion has no options"))?;
            options.insert("dryRun".to_owned(), json!(["All"]));
        }
        self.ask(method, &format!("{path}?dryRun=All"), Some((content_type, &body)))
    }

    fn ask(&mut self, method: Method, path: &str, content: Option<(&str, &Value)>) -> Result<(u16, Value), Failure> {
        let content = content.map(|(kind, body)| (kind, Bytes::from(body.to_string())));
        let call = Call { method, path, accept: JSON, content };
        self.runtime.block_on(async {
            let mut attempts = 0;
            loop {
                let answer = self.cluster.call(&call).await?;
                let is_busy = matches!(answer.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
                if !is_busy || attempts == ATTEMPTS {
                    return Ok((answer.status.as_u16(), serde_json::from_slice(&answer.body).unwrap_or_default()));
                }
                attempts += 1;
                tokio::time::sleep(answer.patience()).await;
            }
        })
    }
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    /// The status, and the message of the API server.
    fn said(&self) -> String {
        #[derive(Deserialize)]
        struct Status {
            message: String,
        }
        match serde_json::from_slice(&self.body) {
            Ok(Status { message }) => format!("{}: {}", self.status.as_u16(), shown(&message)),
            Err(_) => self.status.to_string(),
        }
    }

    /// For how long the API server asks to wait (RFC 9110, section 10.2.3, in seconds as Kubernetes writes it).
    fn patience(&self) -> Duration {
        let seconds = self.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        seconds.map_or(Duration::from_secs(1), Duration::from_secs).min(PATIENCE)
    }
}

impl Connection {
    /// Reads all pages of a list; or why there are not all of them.
    async fn list(
        &mut self,
        list: List<'_>,
        reader: &mut Reader,
        take: impl Fn(&mut Reader, &[u8]) -> Result<Option<String>, ReadError>,
        keep: &mut dyn FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<Result<(), String>, Failure> {
        let (mut more, mut attempts) = (None::<String>, 0);
        let before = reader.objects();
        loop {
            progress(&format!("{}: {}", list.plural, reader.objects().saturating_sub(before)));
            let mut page = vec![("limit", PAGE.to_string()), ("continue", more.clone().unwrap_or_default())];
            page.extend(list.selector.map(|selector| ("fieldSelector", selector.to_owned())));
            let query = serde_urlencoded::to_string(&page).unwrap_or_default();
            let answer = self.get(&format!("{}?{query}", list.path), list.accept).await?;
            match answer.status {
                StatusCode::OK => {
                    let next = match take(reader, &answer.body) {
                        Ok(next) => next,
                        Err(error) => return Ok(Err(error.to_string())),
                    };
                    keep(&answer.body)?;
                    match next {
                        Some(next) => more = Some(next),
                        None => return Ok(Ok(())),
                    }
                }
                status if attempts < ATTEMPTS => {
                    attempts += 1;
                    match status {
                        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                            tokio::time::sleep(answer.patience()).await;
                        }
                        // The list that the pages are of has been compacted: what was read stays, the rest is read again.
                        StatusCode::GONE if more.is_some() => more = None,
                        _ => return Ok(Err(answer.said())),
                    }
                }
                _ => return Ok(Err(answer.said())),
            }
        }
    }

    async fn get(&mut self, path: &str, accept: &str) -> Result<Answer, Failure> {
        self.call(&Call { method: Method::GET, path, accept, content: None }).await
    }

    /// Sends a request, and once more on a new connection if the kept one was closed meanwhile: none changes anything.
    async fn call(&mut self, call: &Call<'_>) -> Result<Answer, Failure> {
        let is_kept = self.sender.is_some();
        match self.send(call).await {
            Err(_) if is_kept => {
                self.sender = None;
                self.send(call).await
            }
            answered => answered,
        }
    }

    async fn send(&mut self, Call { method, path, accept, content }: &Call<'_>) -> Result<Answer, Failure> {
        let peer = self.server.server().to_owned();
        let broken = |error: &dyn std::error::Error| Failure::ours(format!("{peer}: {error}"));
        let mut sender = match self.sender.take().filter(|sender| !sender.is_closed()) {
            Some(sender) => sender,
            None => {
                let stream = self.server.connect(Protocol::Http1).await?;
                let (sender, connection) =
                    http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
                // Its failure is that of the request on it.
                tokio::spawn(connection);
                sender
            }
        };
        let below = peer.parse::<Uri>().ok().map(|uri| uri.path().trim_end_matches('/').to_owned());
        let mut request = Request::builder()
            .method(method.clone())
            .uri(format!("{}{path}", below.unwrap_or_default()))
            .header(HOST, self.server.authority())
            .header(ACCEPT, *accept)
            .header(USER_AGENT, concat!("jitd-scan/", env!("CARGO_PKG_VERSION")));
        if let Some(authorization) = self.server.authorization().await? {
            request = request.header(AUTHORIZATION, authorization);
        }
        if let Some((kind, _)) = content {
            request = request.header(CONTENT_TYPE, *kind);
        }
        let body = content.as_ref().map(|(_, body)| body.clone()).unwrap_or_default();
        let request = request.body(Full::new(body)).map_err(|error| broken(&error))?;
        let answered = async {
            sender.ready().await.map_err(|error| broken(&error))?;
            let (head, body) = sender.send_request(request).await.map_err(|error| broken(&error))?.into_parts();
            let body = Limited::new(body, LONGEST).collect().await.map_err(|error| broken(error.as_ref()))?.to_bytes();
            Ok(Answer { status: head.status, headers: head.headers, body })
        };
        let answer = tokio::time::timeout(ANSWER, answered).await.unwrap_or_else(|_| {
            let seconds = ANSWER.as_secs();
            Err(Failure::ours(format!("{peer} did not answer {} within {seconds} s", shown(path))))
        })?;
        if answer.status == StatusCode::UNAUTHORIZED {
            self.server.refused();
        }
        self.sender = Some(sender);
        Ok(answer)
    }
}

/// Shows how far it is, on a terminal; each call overwrites the one before.
fn progress(what: &str) {
    if stderr().is_terminal() {
        print::words(format_args!("\r\x1b[K{what}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_server_says_how_long_to_wait() {
        for (said, seconds) in [(Some("7"), 7), (Some("0"), 0), (Some("86400"), 30), (Some("soon"), 1), (None, 1)] {
            let mut headers = HeaderMap::new();
            if let Some(said) = said {
                headers.insert(RETRY_AFTER, said.parse().unwrap());
            }
            let answer = Answer { status: StatusCode::TOO_MANY_REQUESTS, headers, body: Bytes::new() };
            assert_eq!(answer.patience(), Duration::from_secs(seconds), "{said:?}");
        }
    }
}
