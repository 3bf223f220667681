//! What a request asks for, for the log: the meaning that the gateway read, not the spelling of the client.

use std::net::IpAddr;

use http::{HeaderMap, header};
use jit_wire::session::{Asked, Carries, Content, LONGEST_AGENT, LONGEST_QUERY, StreamAsked};

use crate::request::{Kind, Request, Stream};

/// What `meant` asks for, with the query, the headers and what was read of the body that it came with.
pub(crate) fn asked(
    meant: &Request,
    query: Option<&str>,
    headers: &HeaderMap,
    content: Option<Content>,
    from: IpAddr,
) -> Asked {
    let stream = stream(meant, query.unwrap_or_default());
    let asked = match &meant.kind {
        Kind::Resource(resource) => Asked {
            verb: resource.verb.as_str().to_owned(),
            api_version: Some(match resource.group.as_str() {
                "" => resource.version.clone(),
                group => format!("{group}/{}", resource.version),
            }),
            resource: Some(match &resource.subresource {
                Some(subresource) => format!("{}/{subresource}", resource.resource),
                None => resource.resource.clone(),
            }),
            namespace: resource.namespace.clone(),
            name: resource.name.clone(),
            ..Asked::default()
        },
        Kind::NonResource { verb, path } => {
            Asked { verb: (*verb).to_owned(), path: Some(path.clone()), ..Asked::default() }
        }
    };
    let agent =
        headers.get(header::USER_AGENT).map(|agent| cut(&String::from_utf8_lossy(agent.as_bytes()), LONGEST_AGENT));
    let query = query.filter(|query| !query.is_empty() && !meant.is_console()).map(|query| cut(query, LONGEST_QUERY));
    Asked { query, stream, content, from: Some(from), agent, ..asked }
}

/// What a request asks for that was refused unread.
pub(super) fn unread(method: &http::Method, path: &str, from: IpAddr) -> Asked {
    let verb = cut(&method.as_str().to_lowercase(), LONGEST_AGENT);
    Asked { verb, path: Some(cut(path, LONGEST_QUERY)), from: Some(from), ..Asked::default() }
}

/// One line that says what a session is.
pub(super) fn title(asked: &Asked) -> String {
    let stream = asked.stream.as_ref();
    let what = asked.resource.as_deref().unwrap_or_default().rsplit('/').next().unwrap_or_default();
    let place = [asked.namespace.as_deref(), asked.name.as_deref()].map(Option::unwrap_or_default).join("/");
    let command = stream.map(|stream| stream.command.join(" ")).filter(|command| !command.is_empty());
    let command = command.map_or(String::new(), |command| format!(" -- {}", cut(&command, LONGEST_AGENT)));
    format!("{what} {place}{command}")
}

/// The stream that a request becomes, and the options of exec, attach and portforward
/// (<https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/>).
fn stream(meant: &Request, query: &str) -> Option<StreamAsked> {
    let carries = match (&meant.upgrade, &meant.kind) {
        (Some(upgrade), _) => match upgrade.stream {
            Stream::Exec => Carries::Exec,
            Stream::Attach => Carries::Attach,
            Stream::PortForward => Carries::PortForward,
            Stream::Log => Carries::Log,
            Stream::Watch => Carries::Watch,
        },
        (None, Kind::Resource(_)) if meant.is_watch() => Carries::Watch,
        _ => return None,
    };
    let values = |key: &str| -> Vec<String> { crate::request::values(query, key) };
    let is_true = |key: &str| values(key).first().is_some_and(|value| crate::request::is_true(value));
    Some(match carries {
        Carries::Exec | Carries::Attach => StreamAsked {
            carries,
            command: values("command"),
            container: values("container").into_iter().next(),
            ports: vec![],
            terminal: is_true("tty"),
            input: is_true("stdin"),
        },
        _ => StreamAsked {
            carries,
            command: vec![],
            container: None,
            ports: if carries == Carries::PortForward { values("ports") } else { vec![] },
            terminal: false,
            input: false,
        },
    })
}

/// At most so many bytes of a text; `…` says that there was more.
pub(super) fn cut(text: &str, longest: usize) -> String {
    if text.len() <= longest {
        return text.to_owned();
    }
    format!("{}\u{2026}", text.get(..text.floor_char_boundary(longest)).unwrap_or_default())
}
