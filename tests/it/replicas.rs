//! Several API servers behind one address: what the daemon heard from one of them, the others hear a moment later.

use std::net::{TcpListener, TcpStream};

use serde_json::{Value, json};

use crate::bastion::{ALICE, BOB, Key};
use crate::gateway::Front;
use crate::plane::{Admin, Plane, base64};

/// The URL of something that passes each connection on to the next of these servers in turn.
fn balance(servers: &[&str]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let servers: Vec<String> = servers.iter().map(|server| server.replace("https://", "")).collect();
    std::thread::spawn(move || {
        for (number, client) in listener.incoming().enumerate() {
            let client = client.unwrap();
            let server = TcpStream::connect(&servers[number % servers.len()]).unwrap();
            let back = (server.try_clone().unwrap(), client.try_clone().unwrap());
            for (mut from, mut to) in [(client, server), back] {
                std::thread::spawn(move || {
                    drop(std::io::copy(&mut from, &mut to));
                    drop(to.shutdown(std::net::Shutdown::Write));
                });
            }
        }
    });
    url
}

/// What reads is never refused in the first moments of a grant, whichever API server answers.
#[test]
fn a_new_grant_works_at_once_at_each_of_two_api_servers() {
    // It ends with this process.
    let plane: &'static Plane = Box::leak(Box::new(Plane::start_with(&["--second"])));
    let mut front = Front::of(plane);
    // The daemon asks the first one only.
    front.kill();
    let path = front.bastion.dir.join("gateway.kubeconfig");
    let written = std::fs::read_to_string(&path).unwrap();
    assert!(written.contains(&plane.server));
    let both = balance(&[&plane.server, &plane.second]);
    std::fs::write(&path, written.replace(&plane.server, &both)).unwrap();
    front.serve();
    let bastion = &front.bastion;
    let configmaps = format!("/api/v1/namespaces/{}/configmaps", bastion.ns);
    let ask = json!({
        "cluster": "play", "namespaces": [bastion.ns], "role": "view", "duration": "5m", "reason": "INC-1 x",
    });
    for round in 0..10 {
        let key = Key::new();
        let grant = bastion.request(ALICE, &ask, &key);
        assert_eq!(bastion.approve(BOB, &grant).0, 200);
        let (status, access) = bastion.certificate(ALICE, &grant, &key);
        assert_eq!(status, 200, "{access}");
        let kubeconfig = bastion.dir.join(format!("{round}.kubeconfig"));
        std::fs::write(&kubeconfig, kubeconfig_of(&access, &key).to_string()).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    let (status, answer) = Admin::new(&kubeconfig).get(&configmaps);
                    assert_eq!(status, 200, "round {round}: {answer}");
                });
            }
        });
    }
    for audit in [plane.audit.clone(), plane.dir.join("second-audit.log")] {
        let log = std::fs::read_to_string(&audit).unwrap();
        let of_holder = |line: &&str| line.contains(r#""impersonatedUser":{"username":"jit:alice""#);
        assert!(log.lines().any(|line| of_holder(&line)), "{} has nothing of hers", audit.display());
    }
}

fn kubeconfig_of(access: &Value, key: &Key) -> Value {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let cluster = &access["cluster"];
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{ "name": "c", "cluster": {
            "server": cluster["server"],
            "certificate-authority-data": base64(&text(&cluster["certificateAuthority"])),
        } }],
        "users": [{ "name": "c", "user": {
            "client-certificate-data": base64(&text(&access["certificate"])), "client-key-data": base64(&key.pem()),
        } }],
        "contexts": [{ "name": "c", "context": { "cluster": "c", "user": "c" } }],
    })
}
