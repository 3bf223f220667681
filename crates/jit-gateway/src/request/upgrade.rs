//! A request to stop speaking HTTP on a connection: which streams there are, and in which form each may be asked for.
//!
//! The form decides whether the gateway can follow the stream: a subprotocol that it does not know would pass unseen. So what
//! is sent on is never the client's own list, but those of [`Stream::served`] that it has.

use http::{HeaderMap, HeaderName, StatusCode, header};

use super::{Kind, Refused, Resource, Served, Verb};

/// The stream that a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upgrade {
    /// What it carries.
    pub stream: Stream,
    /// How it carries it.
    pub protocol: Protocol,
}

/// What a stream carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// A new process in a container.
    Exec,
    /// The first process of a container.
    Attach,
    /// Connections to ports of a pod.
    PortForward,
    /// The log of a container, only to the client.
    Log,
    /// The events of a watch, only to the client.
    Watch,
}

/// How a stream is carried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Protocol {
    /// WebSocket (RFC 6455).
    WebSocket {
        /// The subprotocols of the client that the gateway passes on, in the client's order. Empty only for [`Stream::Log`]
        /// and [`Stream::Watch`], whose clients need none.
        subprotocols: Vec<&'static str>,
    },
    /// SPDY/3.1, with which kubectl before 1.31 begins and newer ones repeat an upgrade that failed.
    Spdy,
}

impl Upgrade {
    /// The upgrade that a request asks for, if it does.
    ///
    /// # Errors
    /// [`Refused`] for an upgrade that is none of a stream's, or in a form that the gateway cannot follow.
    pub(super) fn asked(method: Served, kind: &Kind, headers: &HeaderMap) -> Result<Option<Self>, Refused> {
        let is_option = connection_options(headers)?.contains(&header::UPGRADE);
        let mut named = headers.get_all(header::UPGRADE).iter();
        let protocol = match (is_option, named.next(), named.next()) {
            (false, None, _) => return Ok(None),
            (true, Some(protocol), None) => protocol.as_bytes(),
            _ => return Err(Refused::malformed("the headers `Connection` and `Upgrade` disagree")),
        };
        let stream = Stream::of(kind).ok_or_else(|| {
            Refused::malformed("upgrades are served for exec, attach, portforward, log and watch only")
        })?;
        let protocol = if protocol.eq_ignore_ascii_case(b"websocket") {
            if method != Served::Get {
                return Err(Refused::new(StatusCode::METHOD_NOT_ALLOWED, "a WebSocket begins with a GET"));
            }
            Protocol::WebSocket { subprotocols: stream.subprotocols(headers)? }
        } else if protocol.eq_ignore_ascii_case(b"SPDY/3.1") && stream.has_spdy() {
            if !matches!(method, Served::Get | Served::Post) {
                return Err(Refused::new(StatusCode::METHOD_NOT_ALLOWED, "SPDY begins with a POST or GET"));
            }
            Protocol::Spdy
        } else {
            return Err(Refused::malformed("the protocol of the upgrade is not served"));
        };
        Ok(Some(Self { stream, protocol }))
    }

    /// The value of the header `Upgrade`.
    pub(crate) fn name(&self) -> &'static str {
        match self.protocol {
            Protocol::WebSocket { .. } => "websocket",
            Protocol::Spdy => "SPDY/3.1",
        }
    }
}

impl Stream {
    fn of(kind: &Kind) -> Option<Self> {
        let Kind::Resource(resource) = kind else { return None };
        let Resource { verb, group, version, namespace, resource, name, subresource } = resource;
        if *verb == Verb::Watch {
            return subresource.is_none().then_some(Self::Watch);
        }
        let is_pod = (group.as_str(), version.as_str(), resource.as_str()) == ("", "v1", "pods");
        match subresource.as_deref().filter(|_| is_pod && namespace.is_some() && name.is_some())? {
            "exec" => Some(Self::Exec),
            "attach" => Some(Self::Attach),
            "portforward" => Some(Self::PortForward),
            "log" => Some(Self::Log),
            _ => None,
        }
    }

    fn has_spdy(self) -> bool {
        matches!(self, Self::Exec | Self::Attach | Self::PortForward)
    }

    /// What the gateway can follow. The forms in base64 are the same streams in another alphabet, and `channel.k8s.io` has
    /// no exit code.
    fn served(self) -> &'static [&'static str] {
        match self {
            // `k8s.io/apimachinery/pkg/util/remotecommand`
            Self::Exec | Self::Attach => &["v5.channel.k8s.io", "v4.channel.k8s.io"],
            // kubectl's SPDY inside WebSocket (`apimachinery/pkg/util/portforward`), and the kubelet's own form, which the
            // Python and JavaScript clients use.
            Self::PortForward => &[SPDY_IN_WEBSOCKET, "v4.channel.k8s.io"],
            // `k8s.io/streaming/pkg/httpstream/wsstream/stream.go`; for a watch the API server repeats any name.
            Self::Log | Self::Watch => &["binary.k8s.io"],
        }
    }

    fn subprotocols(self, headers: &HeaderMap) -> Result<Vec<&'static str>, Refused> {
        let mut passed: Vec<&'static str> = Vec::new();
        let mut is_asked = false;
        for value in headers.get_all(header::SEC_WEBSOCKET_PROTOCOL) {
            let value = value.to_str().map_err(|_| Refused::malformed("a subprotocol is not ASCII"))?;
            // A token for the API server is no subprotocol; the gateway's callers are known by their certificate.
            for asked in value.split(',').map(str::trim).filter(|it| !it.is_empty() && !it.starts_with(BEARER)) {
                is_asked = true;
                if let Some(served) = self.served().iter().find(|served| **served == asked && !passed.contains(*served))
                {
                    passed.push(served);
                }
            }
        }
        if passed.is_empty() && (is_asked || self.has_spdy()) {
            let served = self.served().join("` and `");
            return Err(Refused::malformed(&format!("of the WebSocket subprotocols only `{served}` are served here")));
        }
        Ok(passed)
    }
}

/// The options of `Connection`: the names of headers that are for this connection only (RFC 9110, section 7.6.1).
///
/// # Errors
/// [`Refused`] if one of them is no name of a header.
pub(crate) fn connection_options(headers: &HeaderMap) -> Result<Vec<HeaderName>, Refused> {
    let mut options = Vec::new();
    for value in headers.get_all(header::CONNECTION) {
        let names =
            value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|name| !name.is_empty());
        for name in names {
            let name = HeaderName::from_bytes(name);
            options.push(name.map_err(|_| Refused::malformed("the header `Connection` is malformed"))?);
        }
    }
    Ok(options)
}

/// The subprotocol of a port-forward whose streams are those of SPDY.
pub(crate) const SPDY_IN_WEBSOCKET: &str = "SPDY/3.1+portforward.k8s.io";

/// Begins a subprotocol that is a token (`apiserver/pkg/authentication/request/websocket`).
const BEARER: &str = "base64url.bearer.authorization.k8s.io.";
