//! The rules of reading a request: compared with kube-apiserver's own parser, and for whatever bytes come.

use std::collections::BTreeSet;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use percent_encoding::percent_decode_str;
use proptest::prelude::*;
use serde::Deserialize;

use super::{Kind, Protocol, Refused, Request, Stream, Upgrade};

/// What kube-apiserver reads in a request: `tests/controlplane/parts/requestinfo` prints it, and `tests/it` compares.
const TABLE: &str = include_str!("../../tests/requestinfo.jsonl");

#[derive(Deserialize)]
struct Line {
    method: String,
    target: String,
    #[serde(default)]
    error: bool,
    #[serde(default)]
    verb: String,
    /// Only for what is no resource.
    #[serde(default)]
    path: String,
    #[serde(default)]
    group: String,
    #[serde(default)]
    version: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    resource: String,
    #[serde(default)]
    subresource: String,
    #[serde(default)]
    name: String,
}

fn table() -> Vec<Line> {
    TABLE.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn parse(method: &str, target: &str) -> Result<Request, Refused> {
    parse_with(method, target, &[])
}

fn parse_with(method: &str, target: &str, headers: &[(&str, &str)]) -> Result<Request, Refused> {
    let headers = headers.iter().map(|(name, value)| {
        (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap())
    });
    let headers: HeaderMap = headers.collect();
    Request::parse(&Method::from_bytes(method.as_bytes()).unwrap(), &target.parse().unwrap(), &headers)
}

/// What the table says about a request, and what the parser does, in the same words.
fn meaning(request: &Request) -> [String; 7] {
    match &request.kind {
        Kind::NonResource { verb, path } => [verb, path.as_str(), "", "", "", "", ""].map(str::to_owned),
        Kind::Resource(resource) => {
            let word = |word: &Option<String>| word.clone().unwrap_or_default();
            [
                resource.verb.as_str().to_owned(),
                resource.group.clone(),
                resource.version.clone(),
                word(&resource.namespace),
                resource.resource.clone(),
                word(&resource.subresource),
                word(&resource.name),
            ]
        }
    }
}

fn told(line: &Line) -> [String; 7] {
    match line.resource.as_str() {
        "" => {
            let path = format!("/{}", line.path.trim_matches('/'));
            [line.verb.as_str(), &path, "", "", "", "", ""].map(str::to_owned)
        }
        _ => [&line.verb, &line.group, &line.version, &line.namespace, &line.resource, &line.subresource, &line.name]
            .map(Clone::clone),
    }
}

/// A line as the test of the refusals sees it: the path without one final slash, and without what lies behind a proxy; its
/// segments, decoded; the query.
struct Seen<'a> {
    line: &'a Line,
    path: &'a str,
    segments: Vec<Vec<u8>>,
    behind: &'a str,
    has_slash: bool,
    query: &'a str,
}

impl<'a> Seen<'a> {
    fn of(line: &'a Line) -> Self {
        let target = line
            .target
            .split_once("://")
            .map_or(line.target.as_str(), |(_, rest)| rest.find('/').map_or("/", |at| &rest[at..]));
        let (whole, query) = target.split_once('?').unwrap_or((target, ""));
        let is_proxied = line.group.is_empty() && line.subresource == "proxy" && line.verb != "watch";
        let ends =
            whole.match_indices("proxy").chain(whole.match_indices("%70roxy")).chain(whole.match_indices("pr%6Fxy"));
        let ends: Vec<usize> = ends.map(|(at, word)| at + word.len()).collect();
        let end = ends.into_iter().min().filter(|_| is_proxied).unwrap_or(whole.len());
        let (path, behind) = whole.split_at(end);
        let has_slash = !is_proxied && path.len() > 1 && path.ends_with('/');
        let path = path.strip_suffix('/').unwrap_or(path);
        let segments = path.split('/').skip(1).map(|segment| percent_decode_str(segment).collect()).collect();
        Self { line, path, segments, behind, has_slash, query }
    }

    fn is_resource(&self) -> bool {
        !self.line.resource.is_empty()
    }

    fn any(&self, test: impl Fn(&[u8]) -> bool) -> bool {
        self.segments.iter().any(|segment| test(segment))
    }

    fn is_list(&self) -> bool {
        self.is_resource() && ["list", "watch"].contains(&self.line.verb.as_str()) && !self.path.contains("/watch/")
    }

    fn is(&self, resource: &str, subresource: &str) -> bool {
        let line = self.line;
        (line.group.as_str(), line.resource.as_str(), line.subresource.as_str()) == ("", resource, subresource)
    }
}

/// What is refused although the API server reads a meaning in it, by the words of the refusal; and when.
type OnPurpose = (&'static str, fn(&Seen<'_>) -> bool);
const ON_PURPOSE: &[OnPurpose] = &[
    ("this method is not served", |seen| {
        !["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"].contains(&seen.line.method.as_str())
    }),
    ("has no path", |seen| !seen.path.is_empty() && !seen.path.starts_with('/')),
    ("has an empty segment", |seen| seen.any(<[u8]>::is_empty)),
    ("has a dot segment", |seen| {
        let behind: Vec<u8> = percent_decode_str(seen.behind).collect();
        let is_dot = |segment: &[u8]| segment == b"." || segment == b"..";
        seen.any(is_dot) || behind.split(|byte| *byte == b'/').any(is_dot)
    }),
    ("contains `/` or `%`", |seen| seen.any(|segment| segment.contains(&b'/') || segment.contains(&b'%'))),
    ("contains a control character", |seen| {
        seen.any(|segment| str::from_utf8(segment).is_ok_and(|text| text.contains(char::is_control)))
    }),
    ("path is not UTF-8", |seen| seen.any(|segment| str::from_utf8(segment).is_err())),
    ("path is not percent-encoded", |seen| seen.line.error),
    ("does not end in `/`", |seen| seen.has_slash && seen.is_resource()),
    ("the verb `proxy` in a path", |seen| seen.line.verb == "proxy" || seen.line.error),
    ("names nothing to watch", |seen| seen.line.error),
    ("a watch is a GET", |seen| seen.line.verb == "watch" && !["GET", "HEAD"].contains(&seen.line.method.as_str())),
    ("nodes/proxy", |seen| seen.is("nodes", "proxy")),
    ("serviceaccounts/token", |seen| seen.is("serviceaccounts", "token")),
    ("the query is malformed", |seen| {
        let mut percents = seen.query.split('%').skip(1);
        let is_malformed =
            percents.any(|rest| !rest.bytes().take(2).all(|byte| byte.is_ascii_hexdigit()) || rest.len() < 2);
        seen.behind.is_empty() && !seen.is("pods", "proxy") && (seen.query.contains(';') || is_malformed)
    }),
    ("the value of `watch`", |seen| {
        ["falſe", "fal%C5%BFe"].iter().any(|word| seen.query.contains(word)) && seen.is_list()
    }),
    ("the query is not UTF-8", |seen| seen.query.contains("%FF") && seen.is_list()),
    ("only label selectors of the form", |seen| {
        // The API server cannot decode it, and so takes no name from the other selector; or it is of another form.
        let is_unusual =
            seen.line.name.is_empty() || ["%20in%20(", "%20app", "%3E", "%00"].iter().any(|it| seen.query.contains(it));
        seen.query.contains("metadata.name=web-0&labelSelector") && is_unusual
    }),
];

/// Every request of the table means to the gateway what it means to kube-apiserver, or is refused for a reason of the list;
/// and what the API server cannot read is refused.
#[test]
fn a_request_means_what_it_means_to_kubernetes() {
    let table = table();
    let mut wrong = Vec::new();
    let (mut alike, mut unused) = (0, ON_PURPOSE.iter().map(|(words, _)| *words).collect::<BTreeSet<_>>());
    for line in &table {
        let Line { method, target, error, .. } = line;
        // Nothing after `#` is sent on; Go reads it as a part of the path.
        if let Some((sent, _)) = target.split_once('#') {
            assert_eq!(parse(method, target), parse(method, sent), "{method} {target}");
            continue;
        }
        let Ok(uri) = target.parse::<Uri>() else {
            // What is no URI for hyper is answered before there is a request.
            continue;
        };
        let answer = Request::parse(&Method::from_bytes(method.as_bytes()).unwrap(), &uri, &HeaderMap::new());
        let seen = Seen::of(line);
        let reasons: Vec<&str> =
            ON_PURPOSE.iter().filter(|(_, applies)| applies(&seen)).map(|(words, _)| *words).collect();
        match answer {
            Ok(request) if *error => wrong.push(format!("{method} {target}: {:?}, not an error", meaning(&request))),
            Ok(request) if !reasons.is_empty() => {
                wrong.push(format!("{method} {target}: {:?}, not {reasons:?}", meaning(&request)))
            }
            Ok(request) if meaning(&request) != told(line) => {
                wrong.push(format!("{method} {target}: {:?}, not {:?}", meaning(&request), told(line)));
            }
            Ok(_) => alike += 1,
            Err(refused) => match reasons.iter().find(|words| refused.why.contains(**words)) {
                Some(words) => {
                    unused.remove(words);
                }
                None => wrong.push(format!("{method} {target}: {}, not {reasons:?}", refused.why)),
            },
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), table.len(), wrong.join("\n"));
    assert_eq!(unused, BTreeSet::new());
    assert!(alike > 1_000, "{alike} of {}", table.len());
}

/// One slash at the end of a page that is no resource is dropped; nothing else of a path is changed but its encoding.
#[test]
fn the_path_is_rebuilt_from_what_was_read() {
    for (target, sent) in [
        ("/", "/"),
        ("/version/", "/version"),
        ("/api/", "/api"),
        ("/api/v1/", "/api/v1"),
        ("/apis/apps/v1/?x=1", "/apis/apps/v1?x=1"),
        ("/debug/pprof/", "/debug/pprof/"),
        ("/api/v1/namespaces/a/pods/p/%65xec?command=%65xec", "/api/v1/namespaces/a/pods/p/exec?command=%65xec"),
        (
            "/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode",
            "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:node",
        ),
        ("/api/v1/namespaces/a/configmaps/\u{e9}%20%3b%3F", "/api/v1/namespaces/a/configmaps/%C3%A9%20%3B%3F"),
        ("https://elsewhere.example:6443/api/v1/pods?watch=1", "/api/v1/pods?watch=1"),
        (
            "/api/v1/namespaces/a/pods/p/%70roxy/x//%2f%25?a;b=%zz",
            "/api/v1/namespaces/a/pods/p/proxy/x//%2f%25?a;b=%zz",
        ),
        ("/api/v1/namespaces/a/services/https:web:443/proxy/", "/api/v1/namespaces/a/services/https:web:443/proxy/"),
        ("/api/v1/pods?", "/api/v1/pods"),
    ] {
        let request = parse("GET", target).unwrap_or_else(|refused| panic!("{target}: {}", refused.why));
        assert_eq!(request.target().to_string(), sent, "{target}");
    }
}

/// What lies behind a proxy cannot lead out of it, for a server that resolves dot segments before it reads the path.
#[test]
fn nothing_leads_out_of_a_proxy() {
    for rest in ["/..", "/../../x", "/a/%2e%2E/b", "/..%2f..", "/a%2F..", "/..%5c", "/.", "/%"] {
        let target = format!("/api/v1/namespaces/a/pods/p/proxy{rest}");
        assert_eq!(parse("GET", &target).unwrap_err().status, StatusCode::BAD_REQUEST, "{target}");
    }
    for rest in ["", "/", "/a..b", "/...", "/%252e%252e/x"] {
        let target = format!("/api/v1/namespaces/a/pods/p/proxy{rest}");
        assert_eq!(parse("GET", &target).unwrap().target().to_string(), target);
    }
}

const POD: &str = "/api/v1/namespaces/a/pods/p";
const WEBSOCKET: [(&str, &str); 2] = [("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket")];
const SPDY: [(&str, &str); 2] = [("connection", "upgrade"), ("upgrade", "SPDY/3.1")];

fn websocket(target: &str, offered: &[&str]) -> Result<Upgrade, Refused> {
    let offered = offered.iter().map(|value| ("sec-websocket-protocol", *value));
    let headers: Vec<_> = WEBSOCKET.into_iter().chain(offered).collect();
    parse_with("GET", target, &headers).map(|request| request.upgrade.unwrap())
}

/// Of the subprotocols that a client offers only those are left that the gateway can follow; without one there is no stream.
#[test]
fn only_subprotocols_that_can_be_followed_pass() {
    let bearer = "base64url.bearer.authorization.k8s.io.c2VjcmV0";
    for (path, offered, passed) in [
        ("/exec?command=sh", &["v5.channel.k8s.io"][..], Some(&["v5.channel.k8s.io"][..])),
        (
            "/exec",
            &["v4.channel.k8s.io,v5.channel.k8s.io", "channel.k8s.io"],
            Some(&["v4.channel.k8s.io", "v5.channel.k8s.io"]),
        ),
        ("/exec", &["v5.channel.k8s.io", "v5.channel.k8s.io"], Some(&["v5.channel.k8s.io"])),
        ("/exec", &[bearer, " v5.channel.k8s.io"], Some(&["v5.channel.k8s.io"])),
        ("/exec", &["v4.base64.channel.k8s.io, v4.channel.k8s.io"], Some(&["v4.channel.k8s.io"])),
        ("/exec", &["v4.base64.channel.k8s.io"], None),
        ("/exec", &["base64.channel.k8s.io"], None),
        ("/exec", &["V5.channel.k8s.io"], None),
        ("/exec", &["SPDY/3.1+portforward.k8s.io"], None),
        ("/exec", &["channel.k8s.io"], None),
        ("/exec", &[""], None),
        ("/exec", &[bearer], None),
        ("/exec", &[], None),
        ("/exec", &["v5.channel.k8s.io\u{e9}"], None),
        ("/attach", &["v5.channel.k8s.io"], Some(&["v5.channel.k8s.io"])),
        ("/attach", &["binary.k8s.io"], None),
        ("/portforward", &["SPDY/3.1+portforward.k8s.io"], Some(&["SPDY/3.1+portforward.k8s.io"])),
        ("/portforward?ports=80", &["v4.channel.k8s.io"], Some(&["v4.channel.k8s.io"])),
        ("/portforward", &["v5.channel.k8s.io"], None),
        ("/portforward", &[], None),
        ("/log?follow=true", &[], Some(&[])),
        ("/log", &["binary.k8s.io"], Some(&["binary.k8s.io"])),
        ("/log", &["base64.binary.k8s.io"], None),
        ("/log", &[bearer], Some(&[])),
    ] {
        let found = websocket(&format!("{POD}{path}"), offered).map(|upgrade| upgrade.protocol);
        match passed {
            Some(passed) => {
                assert_eq!(found, Ok(Protocol::WebSocket { subprotocols: passed.to_vec() }), "{path} {offered:?}")
            }
            None => assert_eq!(found.unwrap_err().status, StatusCode::BAD_REQUEST, "{path} {offered:?}"),
        }
    }
}

/// Streams are those of pods, and watches of everything; a proxied program gets no upgrade.
#[test]
fn upgrades_are_served_where_the_stream_is_known() {
    for (target, stream) in [
        ("/api/v1/namespaces/a/pods?watch=1", Some(Stream::Watch)),
        ("/api/v1/watch/pods", Some(Stream::Watch)),
        ("/apis/apps/v1/deployments?watch", Some(Stream::Watch)),
        ("/api/v1/namespaces/a/pods/p/log", Some(Stream::Log)),
        ("/api/v1/namespaces/a/pods?watch=false", None),
        ("/api/v1/namespaces/a/pods/p?watch=1", None),
        ("/api/v1/watch/namespaces/a/pods/p/log", None),
        ("/api/v1/pods/p/log", None),
        ("/apis/example.com/v1/namespaces/a/pods/p/log", None),
        ("/api/v1/namespaces/a/services/web/proxy/", None),
        ("/api/v1/namespaces/a/pods/p/proxy/log", None),
        ("/api/v1/namespaces/a/pods/p", None),
        ("/apis/subresources.kubevirt.io/v1/namespaces/a/virtualmachineinstances/vm/vnc", None),
        ("/version", None),
    ] {
        let found = websocket(target, &[]).map(|upgrade| upgrade.stream);
        match stream {
            Some(stream) => assert_eq!(found, Ok(stream), "{target}"),
            None => assert!(found.unwrap_err().why.contains("upgrades are served for"), "{target}"),
        }
    }
    let refused = websocket("/api/v1/nodes/n1/proxy/exec/a/p/c", &["v4.channel.k8s.io"]).unwrap_err();
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    for (path, method, is_served) in [
        ("/exec", "POST", true),
        ("/exec", "GET", true),
        ("/attach", "POST", true),
        ("/portforward", "POST", true),
        ("/exec", "PUT", false),
        ("/log", "GET", false),
        ("?watch=1", "GET", false),
        ("/proxy/", "POST", false),
    ] {
        let found = parse_with(method, &format!("{POD}{path}"), &SPDY);
        let found = found.map(|request| request.upgrade.map(|upgrade| upgrade.protocol));
        assert_eq!(found.is_ok(), is_served, "{method} {path} {found:?}");
        assert!(found.is_err() || found == Ok(Some(Protocol::Spdy)));
    }
}

/// `Connection` and `Upgrade` have to say the same, in one way: else one server would upgrade and another would not.
#[test]
fn an_upgrade_is_asked_for_in_one_way() {
    let asked = |headers: &[(&str, &str)]| {
        let headers: Vec<_> =
            headers.iter().copied().chain([("sec-websocket-protocol", "v5.channel.k8s.io")]).collect();
        parse_with("GET", &format!("{POD}/exec"), &headers).map(|request| request.upgrade)
    };
    assert!(matches!(asked(&WEBSOCKET), Ok(Some(_))));
    assert!(matches!(
        asked(&[("connection", "close"), ("connection", "x,UPGRADE"), ("upgrade", "websocket")]),
        Ok(Some(_))
    ));
    assert_eq!(asked(&[("connection", "keep-alive")]), Ok(None));
    for headers in [
        &[("upgrade", "websocket")][..],
        &[("connection", "upgrade")],
        &[("connection", "upgrades"), ("upgrade", "websocket")],
        &[("connection", "upgrade"), ("upgrade", "websocket"), ("upgrade", "websocket")],
        &[("connection", "upgrade"), ("upgrade", "websocket, SPDY/3.1")],
        &[("connection", "Upgrade, HTTP2-Settings"), ("upgrade", "h2c")],
        &[("connection", "upgrade, a b"), ("upgrade", "websocket")],
        &[("connection", "upgrade"), ("upgrade", "")],
    ] {
        assert_eq!(asked(headers).unwrap_err().status, StatusCode::BAD_REQUEST, "{headers:?}");
    }
    assert_eq!(
        parse_with("POST", &format!("{POD}/exec"), &WEBSOCKET).unwrap_err().status,
        StatusCode::METHOD_NOT_ALLOWED
    );
}

/// Nothing that a refusal says comes from the request: it goes into logs and to terminals.
#[test]
fn a_refusal_repeats_nothing() {
    let table = table();
    let readable = table.iter().filter(|line| line.target.parse::<Uri>().is_ok());
    let refusals: Vec<Refused> = readable.filter_map(|line| parse(&line.method, &line.target).err()).collect();
    assert!(refusals.len() > 100);
    for Refused { why, .. } in refusals {
        assert!(why.is_ascii() && !why.contains("payments") && !why.contains("web-0"), "{why}");
    }
}

/// Words of which paths and queries are made, and some that are none.
fn words() -> impl Strategy<Value = String> {
    let words = [
        "/",
        "/",
        "/",
        "/",
        "/",
        "//",
        "api",
        "apis",
        "apps",
        "v1",
        "namespaces",
        "a",
        "pods",
        "nodes",
        "watch",
        "proxy",
        "exec",
        "log",
        "status",
        "serviceaccounts",
        "token",
        "web-0",
        ".",
        "..",
        "%2e",
        "%2F",
        "%25",
        "%65xec",
        "%zz",
        "%",
        "%00",
        "%FF",
        "\u{e9}",
        "%C3%A9",
        ":",
        ";",
        "+",
        "*",
        "\\",
        "\"",
        "?",
        "?",
        "&",
        "=",
        "watch=",
        "1",
        "false",
        "fieldSelector=",
        "metadata.name=",
        "labelSelector=",
        "limit=",
        ",",
        "!",
        "version",
        "debug",
        "pprof",
    ];
    proptest::collection::vec(proptest::sample::select(words.to_vec()), 0..16)
        .prop_map(|words| format!("/{}", words.concat()))
}

fn headers() -> impl Strategy<Value = HeaderMap> {
    let names = ["connection", "upgrade", "sec-websocket-protocol"];
    let values = [
        "upgrade",
        "Upgrade, close",
        "websocket",
        "WEBSOCKET",
        "SPDY/3.1",
        "h2c",
        "v5.channel.k8s.io",
        "binary.k8s.io",
        "v4.channel.k8s.io",
        "SPDY/3.1+portforward.k8s.io",
        "base64.channel.k8s.io",
        "\u{e9}",
        "",
        ",,",
        "a b",
    ];
    let pair = (proptest::sample::select(names.to_vec()), proptest::sample::select(values.to_vec()));
    proptest::collection::vec(pair, 0..5).prop_map(|pairs| {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    })
}

fn methods() -> impl Strategy<Value = Method> {
    proptest::sample::select(vec![
        Method::GET,
        Method::GET,
        Method::POST,
        Method::DELETE,
        Method::HEAD,
        Method::PATCH,
        Method::TRACE,
    ])
}

proptest! {
    /// Whatever comes, it is refused or has one meaning: what is sent on means the same again, and is sent on unchanged.
    #[test]
    fn what_is_sent_on_means_the_same(method in methods(), target in words(), headers in headers()) {
        let Ok(uri) = target.parse::<Uri>() else { return Ok(()) };
        if let Ok(request) = Request::parse(&method, &uri, &headers) {
            prop_assert_eq!(Request::parse(&method, &request.target(), &headers), Ok(request));
        }
    }

    /// Bytes that are no path are refused, too.
    #[test]
    fn no_bytes_make_it_panic(method in methods(), bytes in proptest::collection::vec(any::<u8>(), 0..64), headers in headers()) {
        let Ok(uri) = Uri::try_from([b"/", bytes.as_slice()].concat()) else { return Ok(()) };
        if let Ok(request) = Request::parse(&method, &uri, &headers) {
            prop_assert_eq!(Request::parse(&method, &request.target(), &headers), Ok(request));
        }
    }
}
