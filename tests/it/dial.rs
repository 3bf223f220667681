//! `jit-dial` against a real API server: who it knows us as, by each kind of credential, and a daemon that uses it.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, HOST};
use hyper_util::rt::TokioIo;
use jit_dial::{ApiServer, Protocol};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::bastion::{ALICE, Bastion, Options, path};
use crate::impersonation::attend_feed;
use crate::plane::{Admin, Plane, scratch, until};

const REVIEWS: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";

/// Sends one request on a connection of its own.
async fn call(api: &ApiServer, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let stream = api.connect(Protocol::Http1).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut request = hyper::Request::builder().method(method).uri(path).header(HOST, api.authority());
    if let Some(value) = api.authorization().await.unwrap() {
        request = request.header(AUTHORIZATION, value);
    }
    let request = request.header("content-type", "application/json");
    let answer = sender.send_request(request.body(Full::new(Bytes::from(body.to_string()))).unwrap()).await.unwrap();
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap())
}

async fn known_as(api: &ApiServer) -> String {
    let review = json!({ "kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1" });
    let (status, answer) = call(api, "POST", REVIEWS, &review).await;
    assert_eq!(status, 201, "{answer}");
    answer["status"]["userInfo"]["username"].as_str().unwrap().to_owned()
}

/// A kubeconfig for the plane's API server with this user.
fn kubeconfig(folder: &Path, user: &Value) -> PathBuf {
    let plane = Plane::shared();
    let path = folder.join("kubeconfig");
    let file = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "contexts": [{ "name": "c", "context": { "cluster": "play", "user": "u" } }],
        "clusters": [{ "name": "play", "cluster": { "server": plane.server, "certificate-authority": plane.ca } }],
        "users": [{ "name": "u", "user": user }],
    });
    fs::write(&path, file.to_string()).unwrap();
    path
}

/// A service account in a namespace of its own, with a token for it.
fn account(admin: &Admin, namespace: &str, name: &str) -> String {
    let accounts = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
    admin.create(&accounts, &json!({ "metadata": { "name": name } }));
    let request = json!({ "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": {} });
    let made = admin.create(&format!("{accounts}/{name}/token"), &request);
    made["status"]["token"].as_str().unwrap().to_owned()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

#[test]
fn a_certificate_and_a_token_are_known_and_both_protocols_are_spoken() {
    let api = ApiServer::read(&Plane::shared().kubeconfig, None).unwrap();
    let by_token = ApiServer::read(&Plane::shared().token_kubeconfig("jit-gateway"), None).unwrap();
    runtime().block_on(async {
        assert_eq!(known_as(&api).await, "admin");
        assert_eq!(known_as(&by_token).await, "jit-gateway");
        // An HTTP/2 connection begins with SETTINGS from both sides (RFC 9113 section 3.4).
        let mut stream = api.connect(Protocol::Http2).await.unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
        stream.flush().await.unwrap();
        let mut frame = [0; 9];
        stream.read_exact(&mut frame).await.unwrap();
        assert_eq!(frame[3], 4, "SETTINGS: {frame:?}");
    });
}

#[test]
fn a_token_is_known_from_the_file_and_from_a_plugin_and_when_it_is_replaced() {
    let (plane, folder) = (Plane::shared(), scratch("dial"));
    let (admin, namespace) = (plane.admin(), format!("dial-{}", std::process::id()));
    admin.create("/api/v1/namespaces", &json!({ "metadata": { "name": namespace } }));
    let [one, other] = ["one", "other"].map(|name| account(&admin, &namespace, name));
    let name = |account: &str| format!("system:serviceaccount:{namespace}:{account}");

    fs::write(folder.join("token"), &one).unwrap();
    let api = ApiServer::read(&kubeconfig(&folder, &json!({ "tokenFile": "token" })), None).unwrap();
    runtime().block_on(async {
        assert_eq!(known_as(&api).await, name("one"));
        fs::write(folder.join("token.new"), &other).unwrap();
        fs::rename(folder.join("token.new"), folder.join("token")).unwrap();
        let begun = std::time::Instant::now();
        while known_as(&api).await != name("other") {
            assert!(begun.elapsed() < Duration::from_secs(10), "the new token is not used");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });

    let credential = json!({
        "kind": "ExecCredential", "apiVersion": "client.authentication.k8s.io/v1", "status": { "token": one },
    });
    fs::write(folder.join("credential"), credential.to_string()).unwrap();
    let exec = json!({ "exec": {
        "apiVersion": "client.authentication.k8s.io/v1", "command": "cat", "args": [folder.join("credential")],
        "interactiveMode": "Never",
    } });
    let api = ApiServer::read(&kubeconfig(&folder, &exec), None).unwrap();
    runtime().block_on(async { assert_eq!(known_as(&api).await, name("one")) });
    admin.delete(&format!("/api/v1/namespaces/{namespace}"));
}

/// A proxy that opens each tunnel that it is asked for, and counts them.
fn proxy() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (url, opened) = (format!("http://{}", listener.local_addr().unwrap()), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&opened);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                head.push(byte[0]);
            }
            let head = String::from_utf8(head).unwrap();
            let target = head.strip_prefix("CONNECT ").unwrap().split(' ').next().unwrap();
            let server = TcpStream::connect(target).unwrap();
            for end in [&stream, &server] {
                end.set_nodelay(true).unwrap();
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            count.fetch_add(1, Ordering::SeqCst);
            for (mut from, mut to) in [(stream.try_clone().unwrap(), server.try_clone().unwrap()), (server, stream)] {
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Write);
                });
            }
        }
    });
    (url, opened)
}

/// Gives the daemon a kubeconfig with a certificate of the cluster's own authority, and a proxy.
pub(crate) fn give_kubeconfig(bastion: &Bastion, proxy: Option<&str>) {
    let (chain, key) = bastion.plane.certificate(&format!("jit:daemon:{}", bastion.host));
    let mut cluster = json!({ "server": bastion.plane.server, "certificate-authority": bastion.plane.ca });
    if let Some(proxy) = proxy {
        cluster["proxy-url"] = json!(proxy);
    }
    let file = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "none",
        "contexts": [{ "name": "daemon", "context": { "cluster": "play", "user": "daemon" } }],
        "clusters": [{ "name": "play", "cluster": cluster }],
        "users": [{ "name": "daemon", "user": {
            "client-certificate-data": STANDARD.encode(chain), "client-key-data": STANDARD.encode(key),
        } }],
    });
    fs::write(bastion.dir.join("daemon.kubeconfig"), file.to_string()).unwrap();
    let entry = "kubeconfig: daemon.kubeconfig, context: daemon, certificateAuthority:";
    bastion.rewrite_config("certificateAuthority:", entry);
}

fn checked(bastion: &Bastion) -> String {
    let said = String::from_utf8(bastion.jitd(&["check", "--cluster"]).stdout).unwrap();
    let known = format!("our credential is accepted as `jit:daemon:{}`", bastion.host);
    assert!(said.contains(&known), "{said}");
    said
}

/// The daemon goes where its kubeconfig says, as its user and by its proxy: nothing listens at `server`, which is for
/// people.
#[test]
fn a_daemon_with_a_kubeconfig_gives_access_by_its_proxy() {
    let mut bastion = Bastion::prepared(Plane::shared(), Options::default());
    let (proxy, opened) = proxy();
    give_kubeconfig(&bastion, Some(&proxy));
    let said = checked(&bastion);
    assert!(said.contains("play authority: it is trusted"), "people need that: {said}");
    let before = opened.load(Ordering::SeqCst);
    assert!(before > 0, "the check went by the proxy");

    bastion.rewrite_config(&bastion.plane.server, "https://127.0.0.1:9");
    bastion.serve();
    let access = bastion.live(&bastion.ask("5m"));
    assert_eq!(bastion.look(&access, &bastion.ns), 200);
    assert_eq!(bastion.post(ALICE, &path(&access.grant, "/end"), &Value::Null).0, 200);
    bastion.wait_for(&access.grant, &["ended"]);
    until("the access is over", || (bastion.look(&access, &bastion.ns) == 403).then_some(()));
    assert!(opened.load(Ordering::SeqCst) > before, "the daemon went by the proxy");
}

/// A provider's API server knows no authority of ours. The daemon has a certificate of the cluster's, and people go
/// through the gateway, so nobody shows the API server a certificate of the authority, and the check asks for no trust.
#[test]
fn a_managed_cluster_needs_no_trust_in_the_authority() {
    let through = ", access: gateway, gatewayUser: gw-HOST".to_owned();
    let mut bastion = Bastion::prepared(Plane::managed(), Options { cluster: through, ..Options::default() });
    give_kubeconfig(&bastion, None);
    let said = checked(&bastion);
    assert!(said.contains("skipped play authority: need not be trusted"), "{said}");

    bastion.serve();
    attend_feed(&bastion);
    let access = bastion.live(&bastion.ask("5m"));
    assert_eq!(bastion.look(&access, &bastion.ns), 401, "the person's certificate is for the gateway only");
    let binding = bastion.binding_path(&access.grant);
    assert_eq!(bastion.admin.get(&binding).0, 200);
    assert_eq!(bastion.post(ALICE, &path(&access.grant, "/end"), &Value::Null).0, 200);
    bastion.wait_for(&access.grant, &["ended"]);
    assert_eq!(bastion.admin.get(&binding).0, 404);
}
