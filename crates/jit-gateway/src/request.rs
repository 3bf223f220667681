//! What a request means: the verb, the resource and the name that kube-apiserver reads in it, and the path that is sent on.
//!
//! ```text
//!  method, path, query, headers ──► Request { kind, upgrade, target }     the target is rebuilt from what was read
//!                               └─► Refused                               whatever two parsers could read in two ways
//! ```
//! The gateway ends, records and refuses by this meaning, and the API server authorizes by its own. So the rules are those
//! of its `NewRequestInfo` (`apiserver/pkg/endpoints/request/requestinfo.go`, Kubernetes 1.36), and `tests/requestinfo.jsonl`
//! holds what that function answers. Nothing here reads a body, and nothing decides whether the caller may do it.

mod query;
#[cfg(test)]
mod tests;
mod upgrade;

use http::{HeaderMap, Method, StatusCode, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

pub(crate) use self::query::{is_true, values};
pub(crate) use self::upgrade::SPDY_IN_WEBSOCKET;
pub(crate) use self::upgrade::connection_options;
pub use self::upgrade::{Protocol, Stream, Upgrade};

/// A request, or an answer to one, that the gateway does not pass on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The status of the gateway's own answer.
    pub status: StatusCode,
    /// A sentence for the person: lower-case, without a full stop, and without anything that the request contains.
    pub why: String,
}

impl Refused {
    /// A refusal with this status and sentence.
    pub fn new(status: StatusCode, why: impl Into<String>) -> Self {
        Self { status, why: why.into() }
    }

    fn malformed(why: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, why)
    }
}

/// What a request means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What it does, and to what.
    pub kind: Kind,
    /// The stream that it asks for instead of an answer.
    pub upgrade: Option<Upgrade>,
    target: Uri,
}

/// What a request does, and to what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Something below `/api/VERSION` or `/apis/GROUP/VERSION`.
    Resource(Resource),
    /// Everything else: discovery, health, the version.
    NonResource {
        /// The method in lower case, which is the verb of RBAC's rules for `nonResourceURLs`.
        verb: &'static str,
        /// The path, decoded.
        path: String,
    },
}

/// One object, or all of a kind, and what is done to it. The names are decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// What is done.
    pub verb: Verb,
    /// The API group; empty for the core group.
    pub group: String,
    /// The version of the group, such as `v1`.
    pub version: String,
    /// The namespace. A Namespace is in the namespace of its own name.
    pub namespace: Option<String>,
    /// The resource in the plural, such as `pods`.
    pub resource: String,
    /// The object: from the path, or for list and watch from a field selector `metadata.name=NAME`.
    pub name: Option<String>,
    /// The subresource, such as `log`. What the path has after it has no part in authorization.
    pub subresource: Option<String>,
}

/// A verb of RBAC for resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the words of RBAC")]
pub enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
}

impl Verb {
    /// The word as it stands in a rule.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
        }
    }
}

impl Request {
    /// Reads a request; of the URI only path and query, of the headers only those that ask for an upgrade.
    ///
    /// # Errors
    /// [`Refused`] with 400 for what could be read in more than one way, 403 for what no grant gives, 405 for a method that
    /// has no meaning there, and 414 for a path that is too long.
    pub fn parse(method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<Self, Refused> {
        let method = Served::of(method)?;
        let path = uri.path();
        if uri.path_and_query().is_none() || !path.starts_with('/') {
            return Err(Refused::malformed("the request has no path"));
        }
        let read = Path::read(path);
        let (kind, path, is_proxied) = match read.resource()? {
            Some(place) => {
                place.is_served()?;
                let path = read.rebuilt(place.proxied.as_ref());
                (Kind::Resource(place.resource(method, uri.query())?), path, place.proxied.is_some())
            }
            None => {
                let path = read.non_resource()?;
                (Kind::NonResource { verb: method.as_str(), path: read.decoded() }, path, false)
            }
        };
        // The query of a proxied request is for the program behind the proxy.
        let query = uri.query().unwrap_or_default();
        if !is_proxied && !query::is_well_formed(query) {
            return Err(Refused::malformed("the query is malformed; write `;` and `%` as `%3B` and `%25`"));
        }
        let target = if query.is_empty() { path } else { format!("{path}?{query}") };
        let target =
            Uri::try_from(target).map_err(|_| Refused::new(StatusCode::URI_TOO_LONG, "the path is too long"))?;
        let upgrade = Upgrade::asked(method, &kind, headers)?;
        Ok(Self { kind, upgrade, target })
    }

    /// The path and query to send, rebuilt from what was read; without scheme and authority.
    #[must_use]
    pub fn target(&self) -> Uri {
        self.target.clone()
    }

    /// The verb, as authorization knows it.
    #[must_use]
    pub fn verb(&self) -> &'static str {
        match &self.kind {
            Kind::Resource(resource) => resource.verb.as_str(),
            Kind::NonResource { verb, .. } => verb,
        }
    }

    /// Is the answer a stream of events?
    #[must_use]
    pub fn is_watch(&self) -> bool {
        matches!(&self.kind, Kind::Resource(resource) if resource.verb == Verb::Watch)
    }

    /// Whether it becomes an exec or attach.
    #[must_use]
    pub fn is_console(&self) -> bool {
        self.upgrade.as_ref().is_some_and(|upgrade| matches!(upgrade.stream, Stream::Exec | Stream::Attach))
    }

    /// Whether it changes something, or becomes a stream that reaches into a pod.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        let is_read = match &self.kind {
            Kind::Resource(resource) => matches!(resource.verb, Verb::Get | Verb::List | Verb::Watch),
            Kind::NonResource { verb, .. } => matches!(*verb, "get" | "head"),
        };
        let reaches_in = |upgrade: &Upgrade| !matches!(upgrade.stream, Stream::Log | Stream::Watch);
        !is_read || self.upgrade.as_ref().is_some_and(reaches_in)
    }
}

/// The methods that the API server serves for resources. CORS preflights (OPTIONS) are for browsers, which have no
/// certificate of a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Served {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
}

impl Served {
    fn of(method: &Method) -> Result<Self, Refused> {
        match *method {
            Method::GET => Ok(Self::Get),
            Method::HEAD => Ok(Self::Head),
            Method::POST => Ok(Self::Post),
            Method::PUT => Ok(Self::Put),
            Method::PATCH => Ok(Self::Patch),
            Method::DELETE => Ok(Self::Delete),
            _ => Err(Refused::new(StatusCode::METHOD_NOT_ALLOWED, "this method is not served")),
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Head => "head",
            Self::Post => "post",
            Self::Put => "put",
            Self::Patch => "patch",
            Self::Delete => "delete",
        }
    }

    fn is_read(self) -> bool {
        matches!(self, Self::Get | Self::Head)
    }
}

/// A path in segments, each decoded once.
struct Path<'a> {
    raw: &'a str,
    segments: Vec<String>,
    /// Why the segment after the last of `segments` could not be read. Below a proxy that does not matter.
    trouble: Option<Refused>,
    /// One slash at the end, which is no segment.
    ends_in_slash: bool,
}

/// Where in the API a path leads.
struct Place<'a> {
    group: &'a str,
    version: &'a str,
    /// `/watch/` stands before the resource, which is another way to ask for a watch.
    is_watch_by_path: bool,
    namespace: Option<&'a String>,
    resource: &'a str,
    name: Option<&'a String>,
    subresource: Option<&'a String>,
    /// The subresource is a proxy: what follows it is for the program behind it, and is sent on as it came.
    proxied: Option<Proxied<'a>>,
}

struct Proxied<'a> {
    /// How many segments lead to the proxy.
    depth: usize,
    rest: &'a str,
}

impl<'a> Path<'a> {
    fn read(raw: &'a str) -> Self {
        let (whole, ends_in_slash) = raw.strip_suffix('/').map_or((raw, false), |whole| (whole, true));
        let mut segments = Vec::new();
        let mut trouble = None;
        for segment in whole.split('/').skip(1) {
            match decoded(segment) {
                Ok(segment) => segments.push(segment),
                Err(refused) => {
                    trouble = Some(refused);
                    break;
                }
            }
        }
        Self { raw, segments, trouble, ends_in_slash }
    }

    /// The resource that the path leads to; none for every other path.
    fn resource(&self) -> Result<Option<Place<'_>>, Refused> {
        let (group, version, below) = match self.segments.as_slice() {
            [api, version, below @ ..] if api == "api" && !below.is_empty() => ("", version, below),
            [apis, group, version, below @ ..] if apis == "apis" && !below.is_empty() => {
                (group.as_str(), version, below)
            }
            _ => return Ok(None),
        };
        let (is_watch_by_path, below) = match below {
            [verb, ..] if verb == "proxy" => {
                return Err(Refused::malformed(
                    "the verb `proxy` in a path is not served; proxies are the subresources of pods and services",
                ));
            }
            [verb, below @ ..] if verb == "watch" => (true, below),
            _ => (false, below),
        };
        let (namespace, parts) = match below {
            [namespaces, namespace, subresource, ..]
                if namespaces == "namespaces" && !NAMESPACE_SUBRESOURCES.contains(&subresource.as_str()) =>
            {
                (Some(namespace), below.get(2..).unwrap_or_default())
            }
            [namespaces, namespace, ..] if namespaces == "namespaces" => (Some(namespace), below),
            _ => (None, below),
        };
        let [resource, parts @ ..] = parts else {
            let nothing = || Refused::malformed("the path names nothing to watch");
            return Err(self.trouble.clone().unwrap_or_else(nothing));
        };
        let (name, subresource) = (parts.first(), parts.get(1));
        let depth = self.segments.len() - parts.len().saturating_sub(2);
        let is_proxy = group.is_empty() && !is_watch_by_path && subresource.is_some_and(|word| word == "proxy");
        let proxied = is_proxy.then(|| Proxied { depth, rest: after(self.raw, depth) });
        match (&proxied, &self.trouble) {
            (Some(proxied), _) => leads_nowhere_else(proxied.rest)?,
            (None, Some(refused)) => return Err(refused.clone()),
            (None, None) if self.ends_in_slash => {
                return Err(Refused::malformed("the path of a resource does not end in `/`"));
            }
            (None, None) => {}
        }
        Ok(Some(Place { group, version, is_watch_by_path, namespace, resource, name, subresource, proxied }))
    }

    /// The path to send for what is no resource. Clients that are generated from the API's description write `/version/`,
    /// `/api/` and `/apis/apps/v1/`; without the slash it is the same page.
    fn non_resource(&self) -> Result<String, Refused> {
        if let Some(refused) = &self.trouble {
            return Err(refused.clone());
        }
        let path = self.rebuilt(None);
        // The one page that is redirected to itself with a slash.
        Ok(if self.ends_in_slash && path == "/debug/pprof" { format!("{path}/") } else { path })
    }

    fn decoded(&self) -> String {
        format!("/{}", self.segments.join("/"))
    }

    fn rebuilt(&self, proxied: Option<&Proxied<'_>>) -> String {
        let depth = proxied.map_or(self.segments.len(), |proxied| proxied.depth);
        let segments = self.segments.iter().take(depth).map(|it| utf8_percent_encode(it, ENCODED).to_string());
        let path = segments.collect::<Vec<_>>().join("/");
        format!("/{path}{}", proxied.map_or("", |proxied| proxied.rest))
    }
}

impl Place<'_> {
    /// Two subresources are refused whatever the roles of a grant say.
    fn is_served(&self) -> Result<(), Refused> {
        match (self.group, self.resource, self.subresource.map_or("", String::as_str)) {
            // A GET of it can run a command in any pod of the node, past audit and admission.
            ("", "nodes", "proxy") => Err(Refused::new(StatusCode::FORBIDDEN, "nodes/proxy is never served")),
            // The token would be valid after the end of the grant, and without the gateway.
            ("", "serviceaccounts", "token") => Err(Refused::new(
                StatusCode::FORBIDDEN,
                "serviceaccounts/token is never served: the token would outlive the grant",
            )),
            _ => Ok(()),
        }
    }

    fn resource(&self, method: Served, query: Option<&str>) -> Result<Resource, Refused> {
        let mut name = self.name.cloned();
        let verb = match method {
            _ if self.is_watch_by_path && method.is_read() => Verb::Watch,
            _ if self.is_watch_by_path => {
                return Err(Refused::new(StatusCode::METHOD_NOT_ALLOWED, "a watch is a GET"));
            }
            Served::Get | Served::Head if name.is_some() => Verb::Get,
            Served::Get | Served::Head => {
                let options = query::ListOptions::read(query.unwrap_or_default())?;
                name = options.name;
                if options.is_watch { Verb::Watch } else { Verb::List }
            }
            Served::Post => Verb::Create,
            Served::Put => Verb::Update,
            Served::Patch => Verb::Patch,
            Served::Delete if name.is_some() => Verb::Delete,
            Served::Delete => Verb::DeleteCollection,
        };
        Ok(Resource {
            verb,
            group: self.group.to_owned(),
            version: self.version.to_owned(),
            namespace: self.namespace.cloned(),
            resource: self.resource.to_owned(),
            name,
            subresource: self.subresource.cloned(),
        })
    }
}

/// What may stand in a segment, in the form in which the API server knows it. The refused ones mean one thing before a
/// second decoding and another after it, or are read by some servers as another path.
fn decoded(segment: &str) -> Result<String, Refused> {
    if segment.is_empty() {
        return Err(Refused::malformed("the path has an empty segment"));
    }
    let decoded = percent_decode_str(segment).decode_utf8();
    let decoded = decoded.map_err(|_| Refused::malformed("the path is not UTF-8"))?;
    match &*decoded {
        "." | ".." => Err(Refused::malformed("the path has a dot segment")),
        it if it.contains(['/', '%']) => Err(Refused::malformed("a segment of the path contains `/` or `%`")),
        it if it.chars().any(char::is_control) => Err(Refused::malformed("the path contains a control character")),
        it => Ok(it.to_owned()),
    }
}

/// What follows a proxy is sent on as it came, or not at all: it must not lead out of the proxy for a server that resolves
/// dot segments before it reads the path.
fn leads_nowhere_else(rest: &str) -> Result<(), Refused> {
    if !query::is_percent_encoded(rest) {
        return Err(Refused::malformed("the path is not percent-encoded"));
    }
    let decoded: Vec<u8> = percent_decode_str(rest).collect();
    if decoded.split(|byte| matches!(byte, b'/' | b'\\')).any(|segment| matches!(segment, b"." | b"..")) {
        return Err(Refused::malformed("the path has a dot segment"));
    }
    Ok(())
}

/// What follows the first segments of a path.
fn after(path: &str, segments: usize) -> &str {
    path.match_indices('/').nth(segments).and_then(|(at, _)| path.get(at..)).unwrap_or_default()
}

/// Subresources of a Namespace, not resources in it (`namespaceSubresources` in `requestinfo.go`).
const NAMESPACE_SUBRESOURCES: [&str; 2] = ["status", "finalize"];

/// What is encoded in a segment: all but the `pchar` of RFC 3986, section 3.3, without `;`, which some servers cut off.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b':')
    .remove(b'@')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b'=');
