//! What a rule has the gateway refuse: with the real kubectl, and with what a person may try instead.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use jit_wire::session::{End, Entry};
use serde_json::json;

use crate::bastion::{ALICE, BOB, text};
use crate::gateway::Front;
use crate::kubelet::echo;
use crate::plane::{scratch, until};
use crate::recording::{Kept, front, raw};

/// Values of `KUBECTL_…_WEBSOCKETS`: WebSocket, then SPDY.
const WAYS: [&str; 2] = ["true", "false"];

/// The exit code and what kubectl wrote on its error output.
fn refused(front: &Front<'_>, grant: &str, way: &str, words: &[&str]) -> String {
    let mut kubectl = front.kubectl(grant, words);
    kubectl.env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", way).env("KUBECTL_PORT_FORWARD_WEBSOCKETS", way);
    let done = kubectl.stdin(Stdio::null()).output().unwrap();
    let why = text(&done.stderr);
    assert!(!done.status.success(), "{way} {words:?}: {}{why}", text(&done.stdout));
    why
}

/// What is wrong with the answers to requests that are written byte by byte: each with its method, what follows the pod's path,
/// its headers, and the code that it has to have.
fn raw_answers(front: &Front<'_>, grant: &str, table: &[(&str, String, &[&str], u16)]) {
    let raw = raw(front, grant);
    for (method, path, headers, expected) in table {
        let mut curl = raw(method, path, headers).stdout(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(curl.stdout.take().unwrap());
        let mut first = String::new();
        output.read_line(&mut first).unwrap();
        assert!(first.starts_with(&format!("HTTP/1.1 {expected} ")), "{method} {path} {headers:?}: {first}");
        if *expected == 403 {
            let mut rest = String::new();
            output.read_to_string(&mut rest).unwrap();
            assert!(rest.contains("jit: refused by the rule"), "{method} {path}: {rest}");
        }
        // An upgraded connection stays.
        drop(curl.kill());
        curl.wait().unwrap();
    }
}

const WEBSOCKET: &str = "Upgrade: websocket";

/// Every refusal that the log has: the resource, and why.
fn logged(kept: &Kept) -> Vec<(String, String)> {
    let asked = |id: &str| {
        kept.entries.iter().find_map(|entry| match entry {
            Entry::Opened { id: opened, asked, .. } if opened == id => asked.resource.clone(),
            _ => None,
        })
    };
    let refused = kept.entries.iter().filter_map(|entry| match entry {
        Entry::Closed { id, outcome, .. } if matches!(outcome.end, End::Refused | End::Stopped) => {
            Some((asked(id)?, outcome.why.clone()?))
        }
        _ => None,
    });
    refused.collect()
}

/// Commands, copies and deletes are refused by name, in every way that kubectl has, and the requester is told before. What
/// `auth can-i` says is RBAC's answer.
#[test]
fn what_rbac_cannot_tell_apart_is_refused_by_name() {
    let rule = "refuse: [{name: only-echo, exec: {except: ['echo( .*)?', 'test -d .*', '(tar|sh -c) .*']}}, \
                {name: no-copy, copy: true}, {name: by-name, deleteCollection: true}]";
    let front = front(rule);
    let ns = front.bastion.ns.clone();
    let explained = text(&front.says(ALICE, &["explain", "play", "-n", &ns, "--role", "edit", "--for", "5m"]));
    for said in [
        "refused: exec of any command but `echo( .*)?` or `test -d .*` or `(tar|sh -c) .*`, attach, and debug containers (`only-echo`)",
        "(`no-copy`); not files that another command reads or writes",
        "as `kubectl delete --all` does",
    ] {
        assert!(explained.contains(said), "{explained}");
    }
    let grant = front.live("edit");
    let shown = text(&front.says(BOB, &["show", &grant]));
    assert!(shown.contains("refused") && shown.contains("(`by-name`)"), "{shown}");

    let by = |name: &str| format!("jit: refused by the rule `{name}` of grant {grant}: ");
    let file = scratch("copied").join("file");
    std::fs::write(&file, "x").unwrap();
    let file = file.to_str().unwrap();
    for way in WAYS {
        let mut allowed = front.kubectl(&grant, &["exec", "web-0", "--", "echo", "two  words"]);
        let done = allowed.env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", way).output().unwrap();
        assert_eq!(
            (done.status.code(), text(&done.stdout)),
            (Some(0), "two  words\n".to_owned()),
            "{}",
            text(&done.stderr)
        );
        for (words, rule) in [
            (&["exec", "web-0", "--", "id"][..], "only-echo"),
            (&["exec", "-it", "web-0", "--", "sh"], "only-echo"),
            (&["exec", "web-0", "--", "sh\necho"], "only-echo"),
            (&["attach", "web-0"], "only-echo"),
            (&["debug", "web-0", "--image=busybox", "--", "sh"], "only-echo"),
            (&["cp", "web-0:/etc/hostname", &format!("{file}-back")], "no-copy"),
            (&["cp", "--retries=2", "web-0:/etc/hostname", &format!("{file}-back")], "no-copy"),
            (&["cp", file, "web-0:/tmp/copied"], "no-copy"),
        ] {
            let why = refused(&front, &grant, way, words);
            assert!(why.contains(&by(rule)), "{way} {words:?}: {why}");
        }
    }
    assert!(!std::path::Path::new(&format!("{file}-back")).metadata().is_ok_and(|file| file.len() > 0));

    let v5 = &[WEBSOCKET, "Sec-WebSocket-Protocol: v5.channel.k8s.io"][..];
    let spdy = &["Upgrade: SPDY/3.1", "X-Stream-Protocol-Version: v4.channel.k8s.io"][..];
    let exec = |path: &str| format!("{path}&stdout=1&container=main");
    raw_answers(
        &front,
        &grant,
        &[
            ("GET", exec("/exec?command=echo&command=x"), v5, 101),
            ("GET", exec("/%65xec?comm%61nd=ech%6F"), v5, 101),
            ("GET", exec("/%65xec?comm%61nd=i%64"), v5, 403),
            ("GET", exec("/exec?command=sh&command=echo"), v5, 403),
            ("GET", exec("/exec?command=echo%0Aid"), v5, 403),
            ("GET", exec("/exec?command=echo+x"), v5, 403),
            ("POST", exec("/exec?command=echo"), spdy, 101),
            ("POST", exec("/exec?command=id"), spdy, 403),
            ("POST", exec("/exec?command=id"), &[], 400),
            ("GET", "/attach?stdout=1".to_owned(), v5, 403),
        ],
    );

    let configmaps = format!("/api/v1/namespaces/{ns}/configmaps");
    for name in ["one", "two"] {
        front.bastion.admin.create(&configmaps, &json!({ "metadata": { "name": name } }));
    }
    for path in [
        configmaps.clone(),
        format!("{configmaps}?fieldSelector=metadata.name%3Done"),
        format!("{configmaps}?dryRun=All"),
    ] {
        let why = refused(&front, &grant, "true", &["delete", "--raw", &path]);
        assert!(why.contains(&by("by-name")), "{path}: {why}");
    }
    for (verb, resource) in [("deletecollection", "configmaps"), ("create", "pods/exec"), ("create", "pods/attach")] {
        assert_eq!(front.kubectl_says(&grant, &["auth", "can-i", verb, resource]).trim(), "yes", "{verb} {resource}");
    }
    // What it cannot hold: kubectl deletes one after the other.
    let deleted = front.kubectl_says(&grant, &["delete", "configmaps", "one", "two", "--wait=false"]);
    assert!(deleted.contains("\"one\" deleted") && deleted.contains("\"two\" deleted"), "{deleted}");
    front.bastion.admin.create(&configmaps, &json!({ "metadata": { "name": "three" } }));
    let deleted = front.kubectl_says(&grant, &["delete", "configmaps", "--all", "--wait=false"]);
    assert!(deleted.contains("\"three\" deleted"), "{deleted}");

    front.says(ALICE, &["end", &grant]);
    front.end_of(&grant);
    let kept = Kept::of(&front, &grant);
    let deletes: Vec<_> = kept
        .entries
        .iter()
        .filter_map(|entry| match entry {
            Entry::Opened { asked, .. } if asked.verb.starts_with("delete") => {
                Some((asked.verb.as_str(), asked.name.as_deref()))
            }
            _ => None,
        })
        .collect();
    assert_eq!(deletes.iter().filter(|(verb, _)| *verb == "deletecollection").count(), 3, "{deletes:?}");
    assert!(deletes.contains(&("delete", Some("three"))), "{deletes:?}");
    let log = logged(&kept);
    for (resource, rule) in
        [("pods/exec", "only-echo"), ("pods/attach", "only-echo"), ("pods/exec", "no-copy"), ("configmaps", "by-name")]
    {
        let is_there = |(of, why): &(String, String)| of == resource && why.contains(&format!("`{rule}`"));
        assert!(log.iter().any(is_there), "{resource} {rule}: {log:?}");
    }
}

/// A kubectl that forwards a port, and the local one.
fn forwarding(front: &Front<'_>, grant: &str, port: u16) -> (Child, u16) {
    let mut kubectl: Command = front.kubectl(grant, &["port-forward", "web-0", &format!(":{port}")]);
    let mut child = kubectl.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    output.read_line(&mut line).unwrap();
    // It also writes a line for each connection, so its output has to stay open.
    child.stdout = Some(output.into_inner());
    let local = line.strip_prefix("Forwarding from 127.0.0.1:").unwrap_or_else(|| panic!("{line}"));
    (child, local.split(' ').next().unwrap().parse().unwrap())
}

fn connected(local: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", local)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// The port of each connection is compared, whatever kubectl was told to forward; SPDY alone, in which nobody sees it, is not
/// served.
#[test]
fn only_the_ports_of_a_rule_are_forwarded() {
    let ((allowed, _), (other, endings)) = (echo(), echo());
    let front = front(&format!("refuse: [{{name: only-web, portForward: {{except: [{allowed}]}}}}]"));
    let grant = front.live("edit");
    let (mut kubectl, local) = forwarding(&front, &grant, allowed);
    for words in [b"hello", b"again"] {
        let mut stream = connected(local);
        stream.write_all(words).unwrap();
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, words);
    }
    let told = format!("refused by the rule `only-web` of grant {grant}: only these ports may be forwarded: {allowed}");
    let (mut refused_one, elsewhere) = forwarding(&front, &grant, other);
    let mut answer = Vec::new();
    let mut stream = connected(elsewhere);
    // It may be closed already.
    let _ = stream.write_all(b"hello");
    let _ = stream.read_to_end(&mut answer);
    assert_eq!(answer, b"");
    // That kubectl ends then is its own doing.
    assert!(!refused_one.wait().unwrap().success());
    let mut why = String::new();
    refused_one.stderr.take().unwrap().read_to_string(&mut why).unwrap();
    let said = format!("an error occurred forwarding {elsewhere} -> {other}: jit: {told}");
    assert!(why.contains(&said), "{why}");
    assert!(endings.try_recv().is_err(), "nothing has reached the other port");
    assert!(kubectl.try_wait().unwrap().is_none(), "the other port-forward goes on");

    let why = refused(&front, &grant, "false", &["port-forward", "web-0", &format!(":{allowed}")]);
    assert!(why.contains("jit: only some ports may be forwarded with this grant, which needs a WebSocket"), "{why}");
    let why = refused(&front, &grant, "false", &["port-forward", "pod/nobody", &format!(":{allowed}")]);
    assert!(why.contains("\"nobody\" not found"), "{why}");
    let v4 = "Sec-WebSocket-Protocol: v4.channel.k8s.io";
    let both = "Sec-WebSocket-Protocol: SPDY/3.1+portforward.k8s.io, v4.channel.k8s.io";
    let forward = |ports: &str| format!("/portforward?{ports}");
    raw_answers(
        &front,
        &grant,
        &[
            ("GET", forward(&format!("ports={allowed}")), &[WEBSOCKET, v4], 101),
            ("GET", forward(&format!("ports={allowed}")), &[WEBSOCKET, both], 101),
            ("GET", forward(&format!("ports={other}")), &[WEBSOCKET, v4], 403),
            ("GET", forward(&format!("ports={allowed}&p%6Frts={other}")), &[WEBSOCKET, v4], 403),
            ("GET", forward(&format!("ports={allowed},{other}")), &[WEBSOCKET, v4], 403),
            ("GET", forward(&format!("ports={other}")), &[WEBSOCKET, both], 403),
            ("GET", format!("/port%66orward?ports={other}"), &[WEBSOCKET, v4], 403),
            ("GET", "/portforward".to_owned(), &[WEBSOCKET, v4], 403),
            ("POST", forward(&format!("ports={allowed}")), &["Upgrade: SPDY/3.1"], 400),
        ],
    );
    let proxy = format!("/api/v1/namespaces/{}/pods/web-0:{allowed}/proxy/", front.bastion.ns);
    let why = refused(&front, &grant, "true", &["get", "--raw", &proxy]);
    assert!(why.contains("`only-web`") && why.contains("a proxy reaches any port"), "{why}");

    front.says(ALICE, &["end", &grant]);
    front.end_of(&grant);
    kubectl.wait().unwrap();
    until("the log says why", || {
        let log = logged(&Kept::of(&front, &grant));
        log.contains(&("pods/portforward".to_owned(), told.clone())).then_some(())
    });
}
