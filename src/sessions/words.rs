//! A request in words, as somebody would have typed it for kubectl. Not escaped: the words are the person's own.

use std::fmt::Write as _;

use crate::wire::session::{Asked, Carries};

/// Such as `exec -it payments/web-0 -c app -- sh -c 'id; ls'`, or `delete pods payments/web-0`.
#[must_use]
pub fn words(asked: &Asked) -> String {
    let place = match (&asked.namespace, &asked.name) {
        (Some(namespace), Some(name)) => format!(" {namespace}/{name}"),
        (None, Some(name)) => format!(" {name}"),
        (Some(namespace), None) => format!(" in {namespace}"),
        (None, None) => String::new(),
    };
    let Some(stream) = &asked.stream else {
        let what = asked.resource.as_deref().or(asked.path.as_deref()).unwrap_or("-");
        let what = with_group(what, asked.api_version.as_deref());
        return format!("{} {what}{place}", asked.verb);
    };
    let mut words = match stream.carries {
        Carries::Exec => "exec".to_owned(),
        Carries::Attach => "attach".to_owned(),
        Carries::PortForward => "port-forward".to_owned(),
        Carries::Log => "logs -f".to_owned(),
        Carries::Watch => {
            format!("watch {}", with_group(asked.resource.as_deref().unwrap_or("-"), asked.api_version.as_deref()))
        }
    };
    words.push_str(match (stream.input, stream.terminal) {
        (true, true) => " -it",
        (true, false) => " -i",
        (false, true) => " -t",
        (false, false) => "",
    });
    words.push_str(&place);
    if let Some(container) = &stream.container {
        let _ = write!(words, " -c {}", quoted(container));
    }
    for port in &stream.ports {
        let _ = write!(words, " {}", quoted(port));
    }
    if !stream.command.is_empty() {
        words.push_str(" --");
    }
    for word in &stream.command {
        let _ = write!(words, " {}", quoted(word));
    }
    words
}

/// `deployments.apps/scale` of `deployments/scale` in `apps/v1`, as kubectl writes it.
fn with_group(resource: &str, api_version: Option<&str>) -> String {
    let Some((group, _)) = api_version.and_then(|version| version.split_once('/')) else { return resource.to_owned() };
    match resource.split_once('/') {
        Some((resource, subresource)) => format!("{resource}.{group}/{subresource}"),
        None => format!("{resource}.{group}"),
    }
}

/// A word as a shell needs it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_@%+=:,./-".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::session::StreamAsked;

    #[test]
    fn requests_read_as_commands() {
        let asked = |verb: &str, resource: &str, name: Option<&str>, stream: Option<StreamAsked>| Asked {
            verb: verb.to_owned(),
            api_version: Some(if resource.starts_with("deployments") { "apps/v1" } else { "v1" }.to_owned()),
            resource: Some(resource.to_owned()),
            namespace: Some("payments".to_owned()),
            name: name.map(str::to_owned),
            stream,
            ..Asked::default()
        };
        let stream = |carries, command: &[&str], terminal: bool| StreamAsked {
            carries,
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            container: terminal.then(|| "app".to_owned()),
            ports: if carries == Carries::PortForward { vec!["8080".to_owned()] } else { vec![] },
            terminal,
            input: terminal,
        };
        for (asked, said) in [
            (
                asked(
                    "create",
                    "pods/exec",
                    Some("web-0"),
                    Some(stream(Carries::Exec, &["sh", "-c", "id; echo 'x'", ""], true)),
                ),
                r"exec -it payments/web-0 -c app -- sh -c 'id; echo '\''x'\''' ''",
            ),
            (
                asked("create", "pods/exec", Some("web-0"), Some(stream(Carries::Exec, &["id"], false))),
                "exec payments/web-0 -- id",
            ),
            (
                asked("create", "pods/attach", Some("web-0"), Some(stream(Carries::Attach, &[], false))),
                "attach payments/web-0",
            ),
            (
                asked("create", "pods/portforward", Some("web-0"), Some(stream(Carries::PortForward, &[], false))),
                "port-forward payments/web-0 8080",
            ),
            (
                asked("watch", "deployments", None, Some(stream(Carries::Watch, &[], false))),
                "watch deployments.apps in payments",
            ),
            (asked("patch", "deployments/scale", Some("web"), None), "patch deployments.apps/scale payments/web"),
            (asked("delete", "pods", Some("web-0"), None), "delete pods payments/web-0"),
            (Asked { verb: "get".to_owned(), path: Some("/healthz".to_owned()), ..Asked::default() }, "get /healthz"),
        ] {
            assert_eq!(words(&asked), said);
        }
    }
}
