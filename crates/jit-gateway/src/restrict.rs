//! What the gateway refuses of a grant because its terms say so ([`Restriction`]).
//!
//! ```text
//!  request ─► breaks ─► 403 with the restriction's name; it is not sent on
//!                └────► port-forward in a WebSocket ─► Forward: the port of each stream, before it passes
//! ```
//! It goes by what the request means, never by how it is written. Whether it is a dry run makes no difference.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, StatusCode};
use jit_core::grant::restriction::has_tar;
use jit_core::grant::{GrantId, Restricted, Restriction};
use jit_wire::session::Asked;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::grants::Live;
use crate::listener::audit_id;
use crate::ports::{Ports, Refusal, Refused as RefusedStream, decimal};
use crate::record::{self, Recorder, Wanted};
use crate::request::{Kind, Protocol, Refused, Request, Resource, SPDY_IN_WEBSOCKET, Stream, Verb, values};

/// Why a request of this grant is refused; `None` if it is not.
pub(crate) fn refused(live: &Live, meant: &Request, query: Option<&str>) -> Option<Refused> {
    let (restriction, why) = breaks(&live.sessions.refuse, meant, query.unwrap_or_default())?;
    Some(Refused::new(StatusCode::FORBIDDEN, told(&live.id, restriction, &why)))
}

/// What only a WebSocket lets the gateway see of this request, as a sentence; `None` if it sees enough.
pub(crate) fn needs_web_socket(live: &Live, meant: &Request) -> Option<&'static str> {
    let is_spdy = meant.upgrade.as_ref().filter(|upgrade| upgrade.protocol == Protocol::Spdy)?;
    match is_spdy.stream {
        Stream::Exec | Stream::Attach if live.sessions.follow_sessions() => {
            Some("sessions of this grant are recorded, or end when they are not used")
        }
        Stream::PortForward if live.sessions.limit_ports() => Some("only some ports may be forwarded with this grant"),
        _ => None,
    }
}

/// A port-forward of whose streams the gateway compares the ports.
pub(crate) struct Forward {
    live: Arc<Live>,
    ports: Ports,
    answers: mpsc::Sender<Refusal>,
    recorder: Arc<Recorder>,
    /// What the whole port-forward asks for, for the log.
    asked: Asked,
    expires: Instant,
    /// The ports whose refusal is logged: a browser tries one again and again.
    logged: BTreeSet<u16>,
}

impl Forward {
    /// Follows a port-forward for which the API server has chosen this subprotocol; `None` if nothing has to be compared. In
    /// the other subprotocol the ports stand in the query. Also returns the answers to streams that are refused.
    pub(crate) fn of(
        live: &Arc<Live>,
        meant: &Request,
        chosen: Option<&[u8]>,
        from: IpAddr,
        (recorder, expires): (&Arc<Recorder>, Instant),
    ) -> Option<(Self, mpsc::Receiver<Refusal>)> {
        let is_forward = meant.upgrade.as_ref().is_some_and(|upgrade| upgrade.stream == Stream::PortForward);
        let is_in_streams = chosen == Some(SPDY_IN_WEBSOCKET.as_bytes());
        let (answers, refusals) = mpsc::channel(ANSWERS);
        (is_forward && is_in_streams && live.sessions.limit_ports()).then(|| {
            let forward = Self {
                live: Arc::clone(live),
                ports: Ports::default(),
                answers,
                recorder: Arc::clone(recorder),
                asked: record::asked(meant, None, &HeaderMap::new(), None, from),
                expires,
                logged: BTreeSet::new(),
            };
            (forward, refusals)
        })
    }

    /// Looks at bytes of the client's, and returns what passes in their place. A stream to another port is answered with the
    /// reason, and logged.
    ///
    /// # Errors
    /// Why nothing passes any more, as a sentence.
    pub(crate) async fn pass(&mut self, bytes: &[u8]) -> Result<Vec<u8>, String> {
        let Live { id, sessions, .. } = self.live.as_ref();
        let limits = || {
            sessions.refuse.iter().filter_map(|restriction| match &restriction.refuses {
                Restricted::PortForward { except } => Some((restriction, except)),
                _ => None,
            })
        };
        let broken = |port: u16| limits().find(|(_, except)| !except.contains(&port));
        let seen = self.ports.see(bytes, |port| broken(port).is_none()).map_err(|unclear| {
            limits().next().map_or_else(|| unclear.to_string(), |(rule, _)| told(id, rule, &unclear.to_string()))
        })?;
        for RefusedStream { stream, port, is_for_errors } in seen.refused {
            let why =
                broken(port).map(|(restriction, except)| told(id, restriction, &only(except))).unwrap_or_default();
            if self.logged.insert(port) {
                log(&self.recorder, &self.live, &self.asked, self.expires, port, &why).await?;
            }
            let says = if is_for_errors { format!("jit: {why}") } else { String::new() };
            // If nobody passes answers on any more, the port-forward is over.
            self.answers.send(Refusal { stream, says }).await.map_err(|_| why)?;
        }
        Ok(seen.passes)
    }
}

/// Logs a refused port as a request of its own, which is not sent on.
async fn log(
    recorder: &Recorder,
    live: &Arc<Live>,
    asked: &Asked,
    expires: Instant,
    port: u16,
    why: &str,
) -> Result<(), String> {
    let mut asked = asked.clone();
    if let Some(stream) = &mut asked.stream {
        stream.ports = vec![port.to_string()];
    }
    let wanted = Wanted { id: audit_id(), asked, is_durable: true, is_console: false };
    let mut entry = recorder.open(live, live.run(), wanted, expires).await.map_err(|error| error.to_string())?;
    entry.refuse(None, why);
    Ok(())
}

/// So many answers may wait for a client that does not read.
const ANSWERS: usize = 16;

fn told(grant: &GrantId, restriction: &Restriction, why: &str) -> String {
    format!("refused by the rule `{}` of grant {grant}: {why}", restriction.name)
}

fn only(ports: &[u16]) -> String {
    let listed = ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
    format!("only these ports may be forwarded: {listed}")
}

/// The first restriction that a request breaks, and why, as a sentence.
fn breaks<'a>(restrictions: &'a [Restriction], meant: &Request, query: &str) -> Option<(&'a Restriction, String)> {
    let Kind::Resource(resource) = &meant.kind else { return None };
    restrictions.iter().find_map(|restriction| Some((restriction, why(&restriction.refuses, meant, resource, query)?)))
}

fn why(refuses: &Restricted, meant: &Request, resource: &Resource, query: &str) -> Option<String> {
    let Resource { verb, group, resource, subresource, .. } = resource;
    let core = group.is_empty().then_some((resource.as_str(), subresource.as_deref()));
    match (refuses, core) {
        (Restricted::DeleteCollection, _) => {
            (*verb == Verb::DeleteCollection).then(|| "delete the objects by their names".to_owned())
        }
        (Restricted::Exec { except }, Some(("pods", Some("exec")))) => {
            let command = values(query, "command");
            (!except.iter().any(|pattern| pattern.is_match(&command))).then(|| {
                let patterns: Vec<String> = except.iter().map(|pattern| format!("`{pattern}`")).collect();
                format!("the command has to match {}", patterns.join(" or "))
            })
        }
        (Restricted::Exec { .. }, Some(("pods", Some("attach")))) => {
            Some("attach reaches a process whose command nobody has compared".to_owned())
        }
        (Restricted::Exec { .. }, Some(("pods", Some("ephemeralcontainers")))) => {
            let is_read = matches!(verb, Verb::Get | Verb::List | Verb::Watch);
            (!is_read).then(|| "a debug container runs a command that nobody has compared".to_owned())
        }
        (Restricted::Copy, Some(("pods", Some("exec")))) => {
            has_tar(&values(query, "command")).then(|| "the command has the word `tar`".to_owned())
        }
        (Restricted::PortForward { .. }, Some(("pods" | "services", Some("proxy")))) => {
            Some("a proxy reaches any port".to_owned())
        }
        (Restricted::PortForward { except }, Some(("pods", Some("portforward")))) => {
            let is_allowed = |port: &String| decimal(port).is_some_and(|port| except.contains(&port));
            let asked = values(query, "ports");
            let in_query = match &meant.upgrade.as_ref()?.protocol {
                Protocol::WebSocket { subprotocols } => subprotocols.iter().any(|one| *one != SPDY_IN_WEBSOCKET),
                // That is sent on as a request for no stream.
                Protocol::Spdy => false,
            };
            (in_query && (asked.is_empty() || !asked.iter().all(is_allowed))).then(|| only(except))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue, Method};

    use super::*;

    fn restriction(refuses: Restricted) -> Restriction {
        Restriction { name: "r".to_owned(), refuses }
    }

    fn psql() -> Restriction {
        restriction(Restricted::Exec { except: vec!["psql( .*)?".parse().unwrap(), "pg_dump".parse().unwrap()] })
    }

    /// Why a request is refused; it has to be one that the gateway reads.
    fn told(restriction: &Restriction, method: &str, target: &str, headers: &[(&str, &str)]) -> Option<String> {
        let headers = headers.iter().map(|(name, value)| {
            (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap())
        });
        let headers: HeaderMap = headers.collect();
        let uri: http::Uri = target.parse().unwrap();
        let meant = Request::parse(&Method::from_bytes(method.as_bytes()).unwrap(), &uri, &headers);
        let meant = meant.unwrap_or_else(|refused| panic!("{method} {target}: {}", refused.why));
        let all = std::slice::from_ref(restriction);
        breaks(all, &meant, uri.query().unwrap_or_default()).map(|(_, why)| why)
    }

    const EXEC: &str = "/api/v1/namespaces/a/pods/p/exec";
    const WEBSOCKET: &[(&str, &str)] =
        &[("connection", "Upgrade"), ("upgrade", "websocket"), ("sec-websocket-protocol", "v5.channel.k8s.io")];
    const SPDY: &[(&str, &str)] = &[("connection", "Upgrade"), ("upgrade", "SPDY/3.1")];

    /// The words are those of the query in their order, however they are written; with an upgrade or without.
    #[test]
    fn the_command_of_an_exec_is_compared_as_the_kubelet_runs_it() {
        for (query, is_refused) in [
            ("command=psql", false),
            ("command=psql&command=-c&command=select+1", false),
            ("stdout=true&command=psql&container=db", false),
            ("command=ps%71l", false),
            ("comm%61nd=psql", false),
            ("command=pg_dump", false),
            ("command=pg_dump&command=-f", true),
            ("command=sh", true),
            ("command=s%68", true),
            ("command=sh&command=psql", true),
            ("command=psql+-c", true),
            ("command=psql%0Ash", true),
            ("command=psql%20", true),
            ("command=", true),
            ("command", true),
            ("", true),
            ("command=&command=psql", true),
            ("Command=psql", true),
            ("command[]=psql", true),
            ("command=%ff", true),
            ("comm%61nd=sh&command=psql", true),
        ] {
            for (method, headers) in [("GET", WEBSOCKET), ("POST", SPDY), ("GET", SPDY), ("POST", &[])] {
                let found = told(&psql(), method, &format!("{EXEC}?{query}"), headers);
                assert_eq!(found.is_some(), is_refused, "{method} {query}: {found:?}");
            }
        }
        let why = told(&psql(), "GET", &format!("{EXEC}?command=sh"), WEBSOCKET);
        assert_eq!(why.as_deref(), Some("the command has to match `psql( .*)?` or `pg_dump`"));
        for target in ["/api/v1/namespaces/a/pods/p/e%78ec?command=sh", "/api/v1/namespaces/a/%70ods/p/exec?command=sh"]
        {
            assert!(told(&psql(), "GET", target, WEBSOCKET).is_some(), "{target}");
        }
    }

    #[test]
    fn ways_around_a_compared_command_are_refused_and_others_are_not() {
        let pod = "/api/v1/namespaces/a/pods/p";
        for (method, path, is_refused) in [
            ("GET", format!("{pod}/attach?stdin=true"), true),
            ("POST", format!("{pod}/attach"), true),
            ("PATCH", format!("{pod}/ephemeralcontainers"), true),
            ("PUT", format!("{pod}/ephemeralcontainers?dryRun=All"), true),
            ("GET", format!("{pod}/ephemeralcontainers"), false),
            ("GET", format!("{pod}/log?command=sh"), false),
            ("GET", pod.to_owned(), false),
            ("POST", "/api/v1/namespaces/a/pods".to_owned(), false),
            ("GET", "/apis/example.com/v1/namespaces/a/pods/p/exec".to_owned(), false),
            ("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews".to_owned(), false),
        ] {
            assert_eq!(told(&psql(), method, &path, &[]).is_some(), is_refused, "{method} {path}");
        }
    }

    #[test]
    fn what_kubectl_cp_runs_is_refused() {
        let copy = restriction(Restricted::Copy);
        for (query, is_refused) in [
            ("command=tar&command=cf&command=-&command=%2Fetc", true),
            ("command=tar&command=-xmf&command=-&command=-C&command=%2Ftmp", true),
            ("command=sh&command=-c&command=tar+cf+-+%2Fetc+%7C+tail+-c%2B1", true),
            ("command=cat&command=a.tar", false),
            ("container=tar&command=ls", false),
        ] {
            assert_eq!(told(&copy, "GET", &format!("{EXEC}?{query}"), WEBSOCKET).is_some(), is_refused, "{query}");
        }
    }

    #[test]
    fn the_ports_in_a_query_are_compared() {
        let web = restriction(Restricted::PortForward { except: vec![8080, 8443] });
        let forward = "/api/v1/namespaces/a/pods/p/portforward";
        let websocket = |protocols: &'static str| {
            vec![("connection", "Upgrade"), ("upgrade", "websocket"), ("sec-websocket-protocol", protocols)]
        };
        let (in_query, in_streams) = ("v4.channel.k8s.io", "SPDY/3.1+portforward.k8s.io");
        let both = "SPDY/3.1+portforward.k8s.io, v4.channel.k8s.io";
        for (query, protocols, is_refused) in [
            ("ports=8080", in_query, false),
            ("ports=8080&ports=8443", in_query, false),
            ("p%6Frts=%38080", in_query, false),
            ("ports=8080&ports=9090", in_query, true),
            ("ports=8080&p%6Frts=9090", in_query, true),
            ("ports=8080,9090", in_query, true),
            ("ports=9090", in_query, true),
            ("ports=", in_query, true),
            ("", in_query, true),
            ("port=8080", in_query, true),
            ("ports=8080", both, false),
            ("ports=9090", both, true),
            ("", both, true),
            // Of these the streams are compared.
            ("", in_streams, false),
        ] {
            let found = told(&web, "GET", &format!("{forward}?{query}"), &websocket(protocols));
            assert_eq!(found.is_some(), is_refused, "{query} {protocols}: {found:?}");
        }
        for path in ["pods/p:9090/proxy/", "pods/p/proxy", "services/https:s:8080/proxy/x"] {
            let target = format!("/api/v1/namespaces/a/{path}");
            assert!(told(&web, "GET", &target, &[]).is_some(), "{path}");
        }
        assert_eq!(told(&web, "GET", "/api/v1/namespaces/a/pods/p", &[]), None);
    }

    /// A delete without a name is one of a collection, whatever its selectors say.
    #[test]
    fn a_delete_without_a_name_is_refused() {
        let by_name = restriction(Restricted::DeleteCollection);
        for (method, path, is_refused) in [
            ("DELETE", "/api/v1/namespaces/a/pods", true),
            ("DELETE", "/api/v1/namespaces/a/pods?fieldSelector=metadata.name%3Dp", true),
            ("DELETE", "/api/v1/namespaces/a/pods?dryRun=All&labelSelector=a", true),
            ("DELETE", "/apis/apps/v1/deployments", true),
            ("DELETE", "/apis/example.com/v1/namespaces/a/widgets", true),
            ("DELETE", "/api/v1/namespaces/a/%70ods", true),
            ("DELETE", "/api/v1/namespaces/a/pods/p", false),
            ("DELETE", "/api/v1/namespaces/a", false),
            ("GET", "/api/v1/namespaces/a/pods", false),
            ("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", false),
        ] {
            assert_eq!(told(&by_name, method, path, &[]).is_some(), is_refused, "{method} {path}");
        }
    }
}
