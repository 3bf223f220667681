//! A request in words, as somebody would have typed it for kubectl. Not escaped: the words are the person's own.

use std::fmt::Write as _;

use jit_core::grant::restriction::shell_word;
use jit_wire::session::{Asked, Carries, ContainerAsked, Content};

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
        let content = asked.content.as_ref().map(of_content).unwrap_or_default();
        return format!("{} {what}{place}{content}", asked.verb);
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
        let _ = write!(words, " -c {}", shell_word(container));
    }
    for port in &stream.ports {
        let _ = write!(words, " {}", shell_word(port));
    }
    if !stream.command.is_empty() {
        words.push_str(" --");
    }
    for word in &stream.command {
        let _ = write!(words, " {}", shell_word(word));
    }
    words
}

/// What of a body gives power, in words that none of it can imitate: each of its own words is quoted.
fn of_content(content: &Content) -> String {
    let Content { unread, containers, node, service_account, secret_type } = content;
    let mut words: Vec<String> = containers.iter().map(of_container).collect();
    words.extend(node.iter().map(|reaches| shell_word(reaches)));
    words.extend(service_account.iter().map(|name| format!("serviceAccount {}", shell_word(name))));
    words.extend(secret_type.iter().map(|name| format!("type {}", shell_word(name))));
    words.extend(unread.iter().map(|why| format!("not read: {}", shell_word(why))));
    if words.is_empty() { String::new() } else { format!(" ({})", words.join(", ")) }
}

fn of_container(container: &ContainerAsked) -> String {
    let ContainerAsked { name, image, command, target, privileged, capabilities } = container;
    let mut words = format!("container {}", shell_word(name));
    if let Some(image) = image {
        let _ = write!(words, " of {}", shell_word(image));
    }
    if let Some(target) = target {
        let _ = write!(words, " in {}", shell_word(target));
    }
    if *privileged {
        words.push_str(" privileged");
    }
    for capability in capabilities {
        let _ = write!(words, " with {}", shell_word(capability));
    }
    if !command.is_empty() {
        words.push_str(" --");
    }
    for word in command {
        let _ = write!(words, " {}", shell_word(word));
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

#[cfg(test)]
mod tests {
    use super::*;
    use jit_wire::session::StreamAsked;

    #[test]
    fn what_of_a_body_gives_power_is_said() {
        let debugger = ContainerAsked {
            name: "debugger".to_owned(),
            image: Some("busybox:1".to_owned()),
            command: vec!["sh".to_owned(), "-c".to_owned(), "a b)".to_owned()],
            target: Some("app".to_owned()),
            privileged: true,
            capabilities: vec!["SYS_PTRACE".to_owned()],
        };
        let asked = |content| Asked {
            verb: "patch".to_owned(),
            resource: Some("pods/ephemeralcontainers".to_owned()),
            namespace: Some("payments".to_owned()),
            name: Some("web-0".to_owned()),
            content: Some(content),
            ..Asked::default()
        };
        let patch = "patch pods/ephemeralcontainers payments/web-0";
        for (content, said) in [
            (
                Content { containers: vec![debugger], ..Content::default() },
                " (container debugger of busybox:1 in app privileged with SYS_PTRACE -- sh -c 'a b)')",
            ),
            (
                Content {
                    unread: Some("it is too long".to_owned()),
                    node: vec!["hostPath /var/run".to_owned()],
                    service_account: Some("deployer".to_owned()),
                    secret_type: Some("Opaque".to_owned()),
                    ..Content::default()
                },
                " ('hostPath /var/run', serviceAccount deployer, type Opaque, not read: 'it is too long')",
            ),
            (Content::default(), ""),
        ] {
            assert_eq!(words(&asked(content)), format!("{patch}{said}"));
        }
    }

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
