//! Which headers pass: outward those of a list, and then the caller's identity; back, all but those of the connection.
//!
//! ```text
//!  client's headers ──► refused if they impersonate ──► the list ──► + upgrade ──► + identity ──► API server
//!  client ◄── all but hop-by-hop ◄── API server's headers
//! ```
//! The API server believes the gateway's headers about who calls, so nothing of the client's may become one of them. Identity
//! is added to a new map, after everything else, and `Connection`, which can have a header removed on the way, is never the
//! client's. `Host`, `Authorization` and the framing of the body are for whoever sends the request.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::request::{Protocol, Refused, Stream, Upgrade, connection_options};

/// Who the API server is told that a request is from. Only what is fixed for a grant: each value needs a right of the
/// gateway's.
#[derive(Debug, Clone, Copy)]
pub struct Identity<'a> {
    /// The user, `jit:<person>`.
    pub user: &'a str,
    /// The group of the grant, `jit:<grant>`.
    pub group: &'a str,
    /// The id of the grant.
    pub grant: &'a str,
}

/// The headers to send for a request of this caller. `audit_id` is the gateway's own id of the request, by which its log and
/// the API server's audit log join; `client` is the caller's address.
///
/// # Errors
/// [`Refused`] with 403 if the client tries to impersonate, with 400 if its `Connection` is malformed, and with 500 if the
/// identity cannot stand in a header.
pub fn outgoing(
    headers: &HeaderMap,
    identity: &Identity<'_>,
    audit_id: &str,
    client: IpAddr,
    upgrade: Option<&Upgrade>,
) -> Result<HeaderMap, Refused> {
    if headers.keys().any(impersonates) {
        return Err(Refused::new(
            StatusCode::FORBIDDEN,
            "a grant is for one person: `--as` and the headers `Impersonate-…` are not served",
        ));
    }
    let hop = connection_options(headers)?;
    let mut sent = HeaderMap::new();
    let mut pass = |name: &HeaderName| {
        if !hop.contains(name) {
            for value in headers.get_all(name) {
                sent.append(name, value.clone());
            }
        }
    };
    PASSED.iter().for_each(&mut pass);
    match upgrade.map(|upgrade| &upgrade.protocol) {
        None => {}
        Some(Protocol::Spdy) => pass(&STREAM_PROTOCOL),
        Some(Protocol::WebSocket { .. }) => WEBSOCKET.iter().for_each(pass),
    }
    if let Some(upgrade) = upgrade {
        sent.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        sent.insert(header::UPGRADE, HeaderValue::from_static(upgrade.name()));
        if let Protocol::WebSocket { subprotocols } = &upgrade.protocol
            && !subprotocols.is_empty()
        {
            // One header: the API server looks only at the first for `v5.channel.k8s.io`.
            sent.insert(header::SEC_WEBSOCKET_PROTOCOL, value(&subprotocols.join(", "))?);
        }
    }
    sent.insert(AUDIT_ID, value(audit_id)?);
    sent.insert(X_FORWARDED_FOR, value(&client.to_string())?);
    sent.insert(IMPERSONATE_USER, of_nobody_else(identity.user)?);
    sent.insert(IMPERSONATE_GROUP, of_nobody_else(identity.group)?);
    sent.insert(IMPERSONATE_GRANT, value(identity.grant)?);
    Ok(sent)
}

/// Removes from an answer what is for the upstream connection only. Everything else passes, as often as it is there.
pub fn answer(headers: &mut HeaderMap) {
    // What cannot be read as a name of a header names none.
    for name in connection_options(headers).unwrap_or_default().iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// Does the stream that the API server agreed to have the channels of exec and attach, where a last Status can be sent?
/// `chosen` is its `Sec-WebSocket-Protocol`.
///
/// # Errors
/// [`Refused`] with 502 if it chose a subprotocol that the gateway did not send, or none where one is needed.
pub fn chosen(upgrade: Option<&Upgrade>, chosen: Option<&HeaderValue>) -> Result<bool, Refused> {
    let is_agreed = match upgrade.map(|upgrade| &upgrade.protocol) {
        None => false,
        Some(Protocol::Spdy) => chosen.is_none(),
        Some(Protocol::WebSocket { subprotocols }) => match chosen {
            Some(chosen) => subprotocols.iter().any(|sent| sent.as_bytes() == chosen.as_bytes()),
            None => subprotocols.is_empty(),
        },
    };
    if !is_agreed {
        return Err(Refused::new(
            StatusCode::BAD_GATEWAY,
            "the API server upgraded to a protocol that was not asked for",
        ));
    }
    let is_console = upgrade.is_some_and(|upgrade| matches!(upgrade.stream, Stream::Exec | Stream::Attach));
    Ok(is_console && chosen.is_some())
}

/// Adds to an answer 101 the headers of the upstream's. Extensions never pass: a compressed stream could not be followed.
pub fn switched(from: &HeaderMap, to: &mut HeaderMap) {
    let protocol = from.get(header::UPGRADE).cloned();
    let mut passed = from.clone();
    answer(&mut passed);
    passed.remove(header::SEC_WEBSOCKET_EXTENSIONS);
    for (name, value) in &passed {
        to.append(name, value.clone());
    }
    to.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    if let Some(protocol) = protocol {
        to.insert(header::UPGRADE, protocol);
    }
}

/// Is it a header by which the API server would take the caller for somebody else? Some servers read `_` as `-`, so only
/// letters count.
fn impersonates(name: &HeaderName) -> bool {
    let letters = name.as_str().bytes().filter(u8::is_ascii_alphanumeric);
    letters.take(IMPERSONATE.len()).eq(IMPERSONATE.bytes())
}

/// A user or group that is not Kubernetes' own.
fn of_nobody_else(name: &str) -> Result<HeaderValue, Refused> {
    if name.starts_with("system:") {
        return Err(unsendable());
    }
    value(name)
}

/// A value that arrives as it is here. UTF-8 passes; what ends in a blank would be trimmed, and control characters end a
/// header.
fn value(text: &str) -> Result<HeaderValue, Refused> {
    if text.is_empty() || text.starts_with(' ') || text.ends_with(' ') || text.contains('\t') {
        return Err(unsendable());
    }
    HeaderValue::from_bytes(text.as_bytes()).map_err(|_| unsendable())
}

fn unsendable() -> Refused {
    Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "the identity of this grant cannot be sent to an API server")
}

const IMPERSONATE: &str = "impersonate";

/// What clients of Kubernetes send and API servers, or programs behind a proxy, read. Not on it, on purpose:
/// - `Authorization`, `X-Remote-*`, `Cookie`, `Proxy-*`: who calls is known by the certificate
/// - `X-Forwarded-*`, `Forwarded`, `Audit-ID`: the gateway sends its own
/// - `traceparent`, `tracestate`, `baggage`: a caller does not choose what the API server records
/// - `Content-Length`, `Transfer-Encoding`, `TE`, `Trailer`, `Expect`: the body is framed anew for the next connection
static PASSED: [HeaderName; 18] = [
    header::ACCEPT,
    header::ACCEPT_ENCODING,
    header::ACCEPT_LANGUAGE,
    header::CACHE_CONTROL,
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::CONTENT_TYPE,
    header::IF_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_NONE_MATCH,
    header::IF_RANGE,
    header::IF_UNMODIFIED_SINCE,
    // A WebSocket watch is refused without it.
    header::ORIGIN,
    header::PRAGMA,
    header::RANGE,
    header::USER_AGENT,
    // KEP-859: which kubectl command sent the request.
    HeaderName::from_static("kubectl-command"),
    HeaderName::from_static("kubectl-session"),
];

/// The handshake of WebSocket. Subprotocols are those of the [`Upgrade`], and extensions are none.
static WEBSOCKET: [HeaderName; 2] = [header::SEC_WEBSOCKET_KEY, header::SEC_WEBSOCKET_VERSION];

/// The version of the streams inside SPDY, one header for each that the client knows. Without it exec has no exit code.
static STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");

/// Headers for one connection (RFC 9110, section 7.6.1), and those for a proxy's client. `Trailer` is none of them: hyper
/// sends only the trailers that it names.
static HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    HeaderName::from_static("proxy-authentication-info"),
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("http2-settings"),
];

const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const IMPERSONATE_USER: HeaderName = HeaderName::from_static("impersonate-user");
const IMPERSONATE_GROUP: HeaderName = HeaderName::from_static("impersonate-group");
/// The grant, as the extra `jitd.dev/grant` of the identity: the API server reads the key in lower case and decodes it
/// (`unescapeExtraKey` in `apiserver/pkg/endpoints/filters/impersonation`).
const IMPERSONATE_GRANT: HeaderName = HeaderName::from_static("impersonate-extra-jitd.dev%2fgrant");

#[cfg(test)]
mod tests {
    use http::{Method, Uri};

    use super::*;
    use crate::request::Request;

    const ALICE: Identity<'_> =
        Identity { user: "jit:alice", group: "jit:0123456789abcdef", grant: "0123456789abcdef" };
    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn map(headers: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            );
        }
        map
    }

    fn sent(method: &str, target: &str, headers: &[(&str, &str)]) -> Result<Vec<(String, String)>, Refused> {
        let (method, uri): (Method, Uri) = (method.parse().unwrap(), target.parse().unwrap());
        let headers = map(headers);
        let request = Request::parse(&method, &uri, &headers)?;
        Ok(pairs(&outgoing(&headers, &ALICE, "0198", CLIENT, request.upgrade.as_ref())?))
    }

    fn pairs(headers: &HeaderMap) -> Vec<(String, String)> {
        let pair = |(name, value): (&HeaderName, &HeaderValue)| {
            (name.to_string(), String::from_utf8(value.as_bytes().to_vec()).unwrap())
        };
        let mut pairs: Vec<_> = headers.iter().map(pair).collect();
        pairs.sort();
        pairs
    }

    fn with_identity(headers: &[(&str, &str)]) -> Vec<(String, String)> {
        let identity = [
            ("audit-id", "0198"),
            ("impersonate-extra-jitd.dev%2fgrant", "0123456789abcdef"),
            ("impersonate-group", "jit:0123456789abcdef"),
            ("impersonate-user", "jit:alice"),
            ("x-forwarded-for", "127.0.0.1"),
        ];
        let mut all: Vec<_> =
            headers.iter().chain(&identity).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        all.sort();
        all
    }

    /// Headers that kubectl, client-go and the Python client send pass, as often as they are there.
    #[test]
    fn what_clients_live_by_passes() {
        let headers = [
            ("accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"),
            ("accept", "application/vnd.kubernetes.protobuf"),
            ("accept-encoding", "gzip"),
            ("content-type", "application/apply-patch+yaml"),
            ("if-none-match", "\"1\""),
            ("kubectl-command", "kubectl apply"),
            ("kubectl-session", "5d0c"),
            ("origin", "https://gateway.example"),
            ("user-agent", "kubectl/v1.36.3"),
        ];
        assert_eq!(sent("GET", "/api/v1/pods", &headers), Ok(with_identity(&headers)));
    }

    /// No header by which an API server, or a proxy before it, would learn who calls or where from; and none of the framing.
    #[test]
    fn nothing_else_passes() {
        let headers = [
            ("authorization", "Bearer x"),
            ("proxy-authorization", "Basic x"),
            ("cookie", "a=b"),
            ("x-remote-user", "admin"),
            ("x-remote-group", "system:masters"),
            ("x-remote-extra-a", "b"),
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-host", "elsewhere.example"),
            ("forwarded", "for=192.0.2.1"),
            ("x-real-ip", "192.0.2.1"),
            ("audit-id", "same-as-bob"),
            ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
            ("tracestate", "a=b"),
            ("host", "elsewhere.example"),
            ("content-length", "3"),
            ("transfer-encoding", "chunked"),
            ("te", "trailers"),
            ("trailer", "x"),
            ("expect", "100-continue"),
            ("keep-alive", "1"),
            ("proxy-connection", "close"),
            ("x-http-method-override", "DELETE"),
            ("x-stream-protocol-version", "v4.channel.k8s.io"),
            ("sec-websocket-key", "x"),
            ("sec-websocket-protocol", "v5.channel.k8s.io"),
            ("http2-settings", "x"),
            ("unknown", "x"),
        ];
        assert_eq!(sent("GET", "/api/v1/pods", &headers), Ok(with_identity(&[])));
    }

    /// Whoever tries to be somebody else is told so, in whatever spelling a server might understand.
    #[test]
    fn impersonation_is_refused() {
        for name in [
            "impersonate-user",
            "Impersonate-User",
            "IMPERSONATE-GROUP",
            "impersonate_user",
            "impersonate-extra_x",
            "Impersonate-Uid",
            "impersonate.user",
            "impersonate",
        ] {
            for more in [&[][..], &[("connection", "close, Impersonate-User, Impersonate-Group")]] {
                let headers: Vec<_> = more.iter().copied().chain([(name, "")]).collect();
                assert_eq!(sent("GET", "/api/v1/pods", &headers).unwrap_err().status, StatusCode::FORBIDDEN, "{name}");
            }
            let upgrade = [("connection", "Upgrade"), ("upgrade", "SPDY/3.1"), (name, "admin")];
            let exec = sent("POST", "/api/v1/namespaces/a/pods/p/exec", &upgrade);
            assert_eq!(exec.unwrap_err().status, StatusCode::FORBIDDEN, "{name}");
        }
    }

    /// `Connection` removes headers of the client's, and none of the gateway's.
    #[test]
    fn connection_names_only_headers_of_the_client() {
        let named = "close, Accept, Impersonate-User, Impersonate-Group, X-Forwarded-For, Audit-ID";
        let headers = [("connection", named), ("accept", "*/*"), ("user-agent", "x")];
        assert_eq!(sent("GET", "/api/v1/pods", &headers), Ok(with_identity(&[("user-agent", "x")])));
        assert_eq!(sent("GET", "/version", &[("connection", "a b")]).unwrap_err().status, StatusCode::BAD_REQUEST);
    }

    /// An upgrade passes with what its protocol needs, and without extensions, tokens and other subprotocols.
    #[test]
    fn an_upgrade_has_the_headers_of_its_protocol() {
        let exec = "/api/v1/namespaces/a/pods/p/exec?command=sh";
        let headers = [
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "WebSocket"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-version", "13"),
            ("sec-websocket-extensions", "permessage-deflate"),
            ("sec-websocket-protocol", "base64url.bearer.authorization.k8s.io.c2VjcmV0"),
            ("sec-websocket-protocol", "v5.channel.k8s.io, v4.base64.channel.k8s.io"),
            ("sec-websocket-protocol", "v4.channel.k8s.io"),
            ("x-stream-protocol-version", "v4.channel.k8s.io"),
        ];
        let passed = [
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-version", "13"),
            ("sec-websocket-protocol", "v5.channel.k8s.io, v4.channel.k8s.io"),
        ];
        assert_eq!(sent("GET", exec, &headers), Ok(with_identity(&passed)));
        let headers = [
            ("connection", "Upgrade"),
            ("upgrade", "SPDY/3.1"),
            ("x-stream-protocol-version", "v4.channel.k8s.io"),
            ("x-stream-protocol-version", "v3.channel.k8s.io"),
        ];
        assert_eq!(sent("POST", exec, &headers), Ok(with_identity(&headers)));
    }

    /// A name arrives whole or not at all.
    #[test]
    fn an_identity_is_sent_as_it_is_or_not_at_all() {
        let user = |user| {
            let identity = Identity { user, ..ALICE };
            outgoing(&HeaderMap::new(), &identity, "0198", CLIENT, None)
        };
        for name in ["jit:\u{141}ukasz", "jit:o'brien", "jit:a b", "jit:a,b", "jit:\u{436}"] {
            assert_eq!(user(name).unwrap().get("impersonate-user").unwrap().as_bytes(), name.as_bytes());
        }
        for name in [
            "",
            " jit:a",
            "jit:a ",
            "jit:a\t",
            "jit:a\tb",
            "jit:a\r\nimpersonate-group: system:masters",
            "jit:\0",
            "system:admin",
        ] {
            assert_eq!(user(name).unwrap_err().status, StatusCode::INTERNAL_SERVER_ERROR, "{name:?}");
        }
        let identity = Identity { group: "system:masters", ..ALICE };
        assert!(outgoing(&HeaderMap::new(), &identity, "0198", CLIENT, None).is_err());
    }

    /// An answer keeps everything but what is for its connection; repeated headers stay repeated.
    #[test]
    fn answers_lose_only_what_is_for_the_connection() {
        let kept = [
            ("audit-id", "0198"),
            ("content-encoding", "gzip"),
            ("content-length", "12"),
            ("etag", "\"1\""),
            ("retry-after", "1"),
            ("trailer", "x"),
            ("vary", "accept"),
            ("warning", "299 - \"a\""),
            ("warning", "299 - \"b\""),
            ("x-kubernetes-pf-flowschema-uid", "x"),
        ];
        let lost = [
            ("connection", "close, X-For-The-Connection"),
            ("connection", "a b"),
            ("keep-alive", "1"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("te", "trailers"),
            ("proxy-authenticate", "Basic"),
        ];
        let mut headers = map(&[&kept[..], &lost[..]].concat());
        answer(&mut headers);
        assert_eq!(pairs(&headers), pairs(&map(&kept)));
        let mut headers =
            map(&[("connection", "close, X-For-The-Connection"), ("x-for-the-connection", "1"), ("vary", "a")]);
        answer(&mut headers);
        assert_eq!(pairs(&headers), pairs(&map(&[("vary", "a")])));
    }

    /// The API server may choose only what was sent, and the answer of an upgrade has no extensions.
    #[test]
    fn only_what_was_asked_for_can_be_chosen() {
        let upgrade = |stream, subprotocols: &[&'static str]| Upgrade {
            stream,
            protocol: Protocol::WebSocket { subprotocols: subprotocols.to_vec() },
        };
        let exec = upgrade(Stream::Exec, &["v5.channel.k8s.io", "v4.channel.k8s.io"]);
        let forward = upgrade(Stream::PortForward, &["v4.channel.k8s.io"]);
        let spdy = Upgrade { stream: Stream::Exec, protocol: Protocol::Spdy };
        for (upgrade, name, has_channels) in [
            (Some(&exec), Some("v5.channel.k8s.io"), Some(true)),
            (Some(&exec), Some("v4.channel.k8s.io"), Some(true)),
            (Some(&exec), Some("v4.base64.channel.k8s.io"), None),
            (Some(&exec), Some("v5.channel.k8s.io, v4.channel.k8s.io"), None),
            (Some(&exec), None, None),
            (Some(&forward), Some("v4.channel.k8s.io"), Some(false)),
            (Some(&upgrade(Stream::Watch, &[])), None, Some(false)),
            (Some(&upgrade(Stream::Watch, &[])), Some("binary.k8s.io"), None),
            (Some(&upgrade(Stream::Log, &["binary.k8s.io"])), Some("binary.k8s.io"), Some(false)),
            (Some(&spdy), None, Some(false)),
            (Some(&spdy), Some("v5.channel.k8s.io"), None),
            (None, None, None),
        ] {
            let found = chosen(upgrade, name.map(HeaderValue::from_static).as_ref());
            assert_eq!(found.ok(), has_channels, "{upgrade:?} {name:?}");
        }
        let from = map(&[
            ("connection", "upgrade, Via"),
            ("upgrade", "websocket"),
            ("via", "x"),
            ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            ("sec-websocket-protocol", "v5.channel.k8s.io"),
            ("sec-websocket-extensions", "permessage-deflate"),
            ("audit-id", "0198"),
        ]);
        let mut to = HeaderMap::new();
        switched(&from, &mut to);
        let passed = [
            ("audit-id", "0198"),
            ("connection", "Upgrade"),
            ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            ("sec-websocket-protocol", "v5.channel.k8s.io"),
            ("upgrade", "websocket"),
        ];
        assert_eq!(pairs(&to), pairs(&map(&passed)));
    }
}
