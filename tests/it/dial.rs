//! `jit-dial` against a real API server: who it knows us as, by each kind of credential.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, HOST};
use hyper_util::rt::TokioIo;
use jit_dial::{ApiServer, Protocol};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::plane::{Admin, Plane, scratch};

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
fn the_administrators_certificate_is_known_on_both_protocols() {
    let api = ApiServer::read(&Plane::shared().kubeconfig, None).unwrap();
    runtime().block_on(async {
        assert_eq!(known_as(&api).await, "admin");
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
