//! What the gateway costs, and how soon an end is felt.
//!
//! ```text
//!  direct:  the same person, certificate and group ══► kube-apiserver      in turns with
//!  gateway: … ══► jit-gateway ══► kube-apiserver
//!  ends:    a watch is open ─► POST end ─► the client's connection is reset
//!  memory:  a gateway that has just started ─► 1,000 watches that have nothing to say
//! ```
//! Both ways are HTTP/1.1 with TLS for the client, except for the watches that share connections as those of client-go do. The API server trusts the authority here, so that there is something to
//! compare with.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::json;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::client::jit_login;
use crate::daemon::{Daemon, usual};
use crate::http::{Target, request};
use crate::load::{Requests, connect, load, median};
use crate::plane::{Plane, tls};
use crate::process::{Memory, Running};
use crate::table::{Row, number};
use crate::{Failure, Settings, progress};

const NAMESPACE: &str = "gateway";

/// What is watched: something that is not there, so that nothing but the watch is measured.
const WATCHED: &str = "pods";

/// A megabyte comes in so many ConfigMaps: what this client sends at once is under 64 KiB.
const LISTED: usize = 20;

pub(crate) async fn measure(plane: &Plane, folder: &Path, settings: &Settings) -> Result<Vec<Row>, Failure> {
    plane.namespace(NAMESPACE).await?;
    let mut daemon = Daemon::behind_gateway(plane, folder, "gateway", &[usual(&[NAMESPACE.to_owned()])])?;
    daemon.start().await?;
    let shared = idle_on_few(&daemon, &Gateway::start(plane, folder)?, settings).await?;
    let watches = idle(&daemon, &Gateway::start(plane, folder)?, settings).await?;
    let gateway = Gateway::start(plane, folder)?;
    let mut admin = plane.admin.connect().await?;
    let small = json!({ "metadata": { "name": "small" }, "data": { "key": "value" } });
    let path = format!("/api/v1/namespaces/{NAMESPACE}/configmaps");
    admin.exchange(&request("POST", &path, Some(&small))).await?.json()?;

    for number in 0..LISTED {
        let metadata = json!({ "name": format!("large-{number}"), "labels": { "size": "large" } });
        let large = json!({ "metadata": metadata, "data": { "key": "x".repeat(1_000_000 / LISTED) } });
        admin.exchange(&request("POST", &path, Some(&large))).await?.json()?;
    }

    let access = Access::of(&daemon).await?;
    let ways = [plane.client(&access.chain, &access.key)?, gateway.client(&access)?];
    let get = request("GET", &format!("{path}/small"), None);
    let list = request("GET", &format!("{path}?labelSelector=size%3Dlarge"), None);
    let one = in_turns(&ways, &get, 1, settings).await?;
    let many = in_turns(&ways, &get, 32, settings).await?;
    let lists = in_turns(&ways, &list, 32, settings).await?;
    let [direct, through] = one.latencies();
    let mut rows = vec![
        Row::new("a small GET through the gateway, median", number(through, "ms"))
            .against(format!("direct {}", number(direct, "ms")))
            .at_most(one.more(), 1.0, "ms more"),
        many.row("small GETs a second, 32 clients"),
        lists.row("LISTs of 1 MB a second, 32 clients"),
    ];
    rows.append(&mut ends(&daemon, &gateway, settings).await?);
    rows.extend([shared, watches]);
    drop(gateway);
    daemon.stop()?;
    Ok(rows)
}

/// What clients measured directly and through the gateway, in rounds.
#[derive(Default)]
struct Turns {
    /// The median latency of each round in milliseconds.
    latencies: [Vec<f64>; 2],
    /// Answers a second of each round.
    rates: [Vec<f64>; 2],
}

/// Lets so many clients send a request again and again, in turns directly and through the gateway.
async fn in_turns(ways: &[Target; 2], sent: &[u8], clients: usize, settings: &Settings) -> Result<Turns, Failure> {
    let rounds = settings.shorter(7, 2);
    progress(&format!("gateway: {clients} clients, {rounds} rounds in turns with direct access"));
    let requests = Requests::Same(Rc::new(vec![sent.to_owned(); clients]));
    let time = settings.shorter(Duration::from_secs(3), Duration::from_millis(500));
    let mut turns = Turns::default();
    for _ in 0..rounds {
        for (way, target) in ways.iter().enumerate() {
            let measured = load(connect(target, clients).await?, &requests, time).await?;
            turns.latencies[way].push(measured.median().as_secs_f64() * 1e3);
            turns.rates[way].push(measured.rate());
        }
    }
    Ok(turns)
}

impl Turns {
    /// The medians: direct, through.
    fn latencies(&self) -> [f64; 2] {
        self.latencies.each_ref().map(|latencies| median(latencies.iter().copied()))
    }

    /// How much longer the gateway takes.
    fn more(&self) -> f64 {
        let [direct, through] = &self.latencies;
        median(through.iter().zip(direct).map(|(through, direct)| through - direct))
    }

    /// The rates, and that the gateway's is at least four fifths.
    fn row(&self, what: &str) -> Row {
        let [direct, through] = &self.rates;
        let ratio = median(through.iter().zip(direct).map(|(through, direct)| through / direct));
        let (through, direct) = (median(through.iter().copied()), median(direct.iter().copied()));
        Row::new(what, number(through, "/s"))
            .against(format!("direct {}", number(direct, "/s")))
            .at_least(ratio, 0.8, "×")
    }
}

/// The memory that many idle watches take in a gateway that has just started, each on a connection of its own.
async fn idle(daemon: &Daemon, gateway: &Gateway, settings: &Settings) -> Result<Row, Failure> {
    let many = settings.shorter(1000, 50);
    progress(&format!("gateway: {many} idle watches"));
    let access = Access::of(daemon).await?;
    let target = gateway.client(&access)?;
    // What one needs, all need once.
    let mut first = target.connect().await?;
    first.begin(&watch()).await?;
    let before = gateway.running.memory()?;
    let mut watches = connect(&target, many).await?;
    for connection in &mut watches {
        connection.begin(&watch()).await?;
    }
    Ok(memory_row(
        format!("memory of the gateway with {many} idle watches, each on its own"),
        &before,
        &gateway.running.memory()?,
    ))
}

/// The same as programs watch: each has one connection of HTTP/2, and the API server allows 100 streams on it.
async fn idle_on_few(daemon: &Daemon, gateway: &Gateway, settings: &Settings) -> Result<Row, Failure> {
    const EACH: usize = 100;
    let many = settings.shorter(1000, 2 * EACH);
    progress(&format!("gateway: {many} idle watches on {} connections", many / EACH));
    let access = Access::of(daemon).await?;
    // What one needs, all need once.
    let _first = watch_over_http2(gateway, &access, 1).await?;
    let before = gateway.running.memory()?;
    let mut kept = Vec::new();
    for _ in 0..many / EACH {
        kept.push(watch_over_http2(gateway, &access, EACH).await?);
    }
    let what = format!("memory of the gateway with {many} idle watches, {EACH} on a connection");
    Ok(memory_row(what, &before, &gateway.running.memory()?))
}

fn memory_row(what: String, before: &Memory, with: &Memory) -> Row {
    Row::new(what, number(with.now, "MiB")).against(format!("with one, {}", number(before.now, "MiB"))).at_most(
        with.now - before.now,
        40.0,
        "MiB more",
    )
}

/// So many watches on one connection, which lives as long as what is returned.
async fn watch_over_http2(gateway: &Gateway, access: &Access, count: usize) -> Result<impl Sized, Failure> {
    let mut config = gateway.config(access)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    let tcp = TcpStream::connect(("127.0.0.1", gateway.port)).await?;
    let tls = TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("127.0.0.1")?, tcp).await?;
    let (mut sender, connection) = h2::client::handshake(tls).await?;
    tokio::task::spawn_local(connection);
    let mut answers = Vec::new();
    for _ in 0..count {
        sender = sender.ready().await?;
        let uri = format!("https://127.0.0.1/api/v1/namespaces/{NAMESPACE}/{WATCHED}?watch=1");
        let answer = sender.send_request(http::Request::get(uri).body(())?, true)?.0.await?;
        if answer.status() != 200 {
            return Err(format!("a watch is answered with {}", answer.status()).into());
        }
        answers.push(answer);
    }
    Ok((sender, answers))
}

/// The bytes of a request to watch.
fn watch() -> Vec<u8> {
    request("GET", &format!("/api/v1/namespaces/{NAMESPACE}/{WATCHED}?watch=1"), None)
}

/// From the request that ends a grant to the client's seeing its watches end.
async fn ends(daemon: &Daemon, gateway: &Gateway, settings: &Settings) -> Result<Vec<Row>, Failure> {
    let (grants, many) = (settings.shorter(20, 3), settings.shorter(1000, 50));
    progress(&format!("gateway: {grants} grants with a watch each, and one with {many}, come to their end"));
    let mut each = Vec::new();
    for _ in 0..grants {
        each.push(end_with(daemon, gateway, 1).await?);
    }
    let last = end_with(daemon, gateway, many).await?;
    let middle = median(each.iter().copied());
    Ok(vec![
        Row::new("end of a grant, until its watch is cut, median", number(middle, "ms")).at_most(middle, 5.0, "ms"),
        Row::new(format!("the same with {many} watches, until the last"), number(last, "ms"))
            .at_most(last, 300.0, "ms"),
    ])
}

/// Ends a grant with so many watches, and says after how many milliseconds the last of them was cut.
async fn end_with(daemon: &Daemon, gateway: &Gateway, streams: usize) -> Result<f64, Failure> {
    let access = Access::of(daemon).await?;
    let mut watches = connect(&gateway.client(&access)?, streams).await?;
    for connection in &mut watches {
        connection.begin(&watch()).await?;
    }
    let end = request("POST", &format!("/v1/grants/{}/end", access.id), None);
    // Anew, because the daemon closes a connection that is idle for long.
    let mut alice = daemon.alice().connect().await?;
    let begun = Instant::now();
    let cut = watches.into_iter().map(|mut watch| {
        tokio::task::spawn_local(async move {
            watch.until_closed().await;
            begun.elapsed().as_secs_f64() * 1e3
        })
    });
    let cut: Vec<_> = cut.collect();
    alice.exchange(&end).await?.json()?;
    let mut last = 0.0;
    for cut in cut {
        last = f64::max(last, cut.await?);
    }
    Ok(last)
}

/// A live grant of alice's.
pub(crate) struct Access {
    id: String,
    chain: String,
    key: String,
}

impl Access {
    async fn of(daemon: &Daemon) -> Result<Self, Failure> {
        Self::with(daemon, NAMESPACE, "view").await
    }

    pub(crate) async fn with(daemon: &Daemon, namespace: &str, role: &str) -> Result<Self, Failure> {
        let (mut alice, mut bob) = (daemon.alice().connect().await?, daemon.bob().connect().await?);
        let pending = daemon.request_role(&mut alice, namespace, role, "1h").await?;
        bob.exchange(&pending.approve()).await?.json()?;
        let collected = alice.exchange(&pending.certificate()).await?.json()?;
        let chain = collected["certificate"].as_str().ok_or("no certificate")?.to_owned();
        Ok(Self { id: pending.id.clone(), chain, key: pending.key_pem() })
    }
}

/// The built gateway, with a token of the control plane's.
pub(crate) struct Gateway {
    pub(crate) running: Running,
    port: u16,
    root: std::path::PathBuf,
}

impl Gateway {
    pub(crate) fn start(plane: &Plane, folder: &Path) -> Result<Self, Failure> {
        let tokens = std::fs::read_to_string(plane.folder.join("tokens.csv"))?;
        let token = tokens.lines().find_map(|line| {
            let (token, rest) = line.split_once(',')?;
            rest.starts_with("jit-gateway,").then_some(token)
        });
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "bench",
            "contexts": [{ "name": "bench", "context": { "cluster": "bench", "user": "gateway" } }],
            "clusters": [{ "name": "bench", "cluster": {
                "server": plane.server, "certificate-authority": plane.folder.join("ca.crt"),
            } }],
            "users": [{ "name": "gateway", "user": { "token": token.ok_or("no token for jit-gateway")? } }],
        });
        std::fs::write(folder.join("gateway.kubeconfig"), kubeconfig.to_string())?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let config = json!({
            "listen": format!("127.0.0.1:{port}"), "server": format!("https://127.0.0.1:{port}"),
            "feed": "run/feed.sock", "state": "gateway",
            "clusters": [{ "name": "bench", "kubeconfig": "gateway.kubeconfig" }],
        });
        std::fs::write(folder.join("gateway.yaml"), config.to_string())?;
        let mut serve = Command::new(jit_login()?.with_file_name("jit-gateway"));
        serve.arg("serve").arg("--config").arg(folder.join("gateway.yaml"));
        let running = Running::start("jit-gateway", &mut serve, &folder.join("gateway.log"))?;
        Ok(Self { running, port, root: folder.join("gateway/serving-root.crt") })
    }

    pub(crate) fn client(&self, access: &Access) -> Result<Target, Failure> {
        Ok(Target::Tls { address: ([127, 0, 0, 1], self.port).into(), config: Arc::new(self.config(access)?) })
    }

    fn config(&self, access: &Access) -> Result<ClientConfig, Failure> {
        let chain = CertificateDer::pem_slice_iter(access.chain.as_bytes()).collect::<Result<_, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(access.key.as_bytes())?;
        Ok(tls(&self.root)?.with_client_auth_cert(chain, key)?)
    }
}
