//! What it costs to keep what is done through the gateway.
//!
//! ```text
//!  a small GET: logged                     in turns with   a grant whose rule says `record: off`
//!  exec of a program that prints: recorded in turns with   the same
//!  many recorded sessions at a time: the gateway's memory
//! ```

use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::daemon::Daemon;
use crate::gateway::{Access, Gateway};
use crate::http::{Target, request};
use crate::load::{Requests, connect, load, median};
use crate::plane::{Node, Plane};
use crate::table::{Row, number};
use crate::{Failure, Settings, progress};

const NAMESPACE: &str = "sessions";

/// What an exec prints, in bytes: below the longest recording.
const PRINTED: usize = 40_000_000;

pub(crate) async fn measure(plane: &Plane, folder: &Path, settings: &Settings) -> Result<Vec<Row>, Failure> {
    plane.namespace(NAMESPACE).await?;
    let rule = |name: &str, role: &str, record: &str| {
        json!({
            "name": name, "who": ["oncall"], "clusters": ["bench"], "namespaces": [NAMESPACE], "roles": [role],
            "record": record, "maxDuration": "24h", "approval": [{ "groups": ["leads"] }],
        })
    };
    let own = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": { "name": "bench-console" },
        "rules": [
            { "apiGroups": [""], "resources": ["pods", "configmaps"], "verbs": ["get"] },
            { "apiGroups": [""], "resources": ["pods/exec"], "verbs": ["get", "create"] },
        ],
    });
    let same = json!({ "apiVersion": own["apiVersion"], "kind": "ClusterRole", "metadata": { "name": "bench-console-off" }, "rules": own["rules"] });
    plane.apply(&format!("{own}\n---\n{same}"))?;
    let rules = [rule("kept", "bench-console", "required"), rule("off", "bench-console-off", "off")];
    let mut daemon = Daemon::behind_gateway(plane, folder, "sessions", &rules)?;
    let node = Node::start(plane)?;
    daemon.start().await?;
    let gateway = Gateway::start(plane, folder)?;
    let mut admin = plane.admin.connect().await?;
    let container = json!({ "name": "main", "image": "none", "command": ["sh", "-c", "sleep 3600"] });
    let spec = json!({ "nodeName": node.name, "restartPolicy": "Never", "containers": [container] });
    let pod = json!({ "metadata": { "name": "web-0" }, "spec": spec });
    let pods = format!("/api/v1/namespaces/{NAMESPACE}/pods");
    admin.exchange(&request("POST", &pods, Some(&pod))).await?.json()?;
    plane.kubectl(&["wait", "-n", NAMESPACE, "pod/web-0", "--for=condition=Ready", "--timeout=60s"])?;

    let kept = gateway.client(&Access::with(&daemon, NAMESPACE, "bench-console").await?)?;
    let off = gateway.client(&Access::with(&daemon, NAMESPACE, "bench-console-off").await?)?;
    let ways = [off, kept];
    let mut rows = vec![log(&ways, settings).await?, throughput(&ways, settings).await?];
    rows.push(many(&ways[1], &gateway, settings).await?);
    drop(gateway);
    daemon.stop()?;
    drop(node);
    Ok(rows)
}

/// What the line of a request costs that reads.
async fn log(ways: &[Target; 2], settings: &Settings) -> Result<Row, Failure> {
    let rounds = settings.shorter(9, 2);
    progress(&format!("sessions: a GET with a line in the log, {rounds} rounds in turns with one without"));
    let get = request("GET", &format!("/api/v1/namespaces/{NAMESPACE}/pods/web-0"), None);
    let mut latencies = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        for (way, target) in ways.iter().enumerate() {
            let requests = Requests::Same(Rc::new(vec![get.clone(); 1]));
            let time = settings.shorter(Duration::from_secs(3), Duration::from_millis(500));
            let measured = load(connect(target, 1).await?, &requests, time).await?;
            latencies[way].push(measured.median().as_secs_f64() * 1e3);
        }
    }
    let [off, kept] = &latencies;
    let more = median(kept.iter().zip(off).map(|(kept, off)| kept - off));
    let (kept, off) = (median(kept.iter().copied()), median(off.iter().copied()));
    Ok(Row::new("a small GET with a line in the log, median", number(kept, "ms"))
        .against(format!("without {}", number(off, "ms")))
        .at_most(more, 0.1, "ms more"))
}

/// The request of an exec, as the Python client sends it.
fn exec(script: &str) -> Vec<u8> {
    let script: String = script.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let query = format!("stdout=true&stderr=true&command=sh&command=-c&command={script}");
    let head = format!("GET /api/v1/namespaces/{NAMESPACE}/pods/web-0/exec?{query} HTTP/1.1");
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    let more = "Host: bench\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13";
    format!("{head}\r\n{more}\r\n{key}\r\nSec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n").into_bytes()
}

async fn throughput(ways: &[Target; 2], settings: &Settings) -> Result<Row, Failure> {
    let rounds = settings.shorter(9, 2);
    progress(&format!(
        "sessions: an exec that prints {} MB, {rounds} rounds in turns without a recording",
        PRINTED / 1_000_000
    ));
    let lines = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.";
    let exec = exec(&format!("yes {lines} | head -c {PRINTED}"));
    let mut rates = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        for (way, target) in ways.iter().enumerate() {
            let mut connection = target.connect().await?;
            let begun = Instant::now();
            let bytes = connection.stream(&exec).await?;
            if bytes < PRINTED {
                return Err(format!("an exec printed {bytes} bytes of {PRINTED}").into());
            }
            rates[way].push(bytes as f64 / 1e6 / begun.elapsed().as_secs_f64());
        }
    }
    let [off, kept] = &rates;
    let ratio = median(kept.iter().zip(off).map(|(kept, off)| kept / off));
    let (kept, off) = (median(kept.iter().copied()), median(off.iter().copied()));
    Ok(Row::new("an exec that prints, recorded", number(kept, "MB/s"))
        .against(format!("not recorded {}", number(off, "MB/s")))
        .at_least(ratio, 0.95, "×"))
}

/// The gateway's memory with many sessions that print a little now and then.
async fn many(target: &Target, gateway: &Gateway, settings: &Settings) -> Result<Row, Failure> {
    let sessions = settings.shorter(200, 20);
    progress(&format!("sessions: {sessions} recorded sessions at a time"));
    let exec = exec("while :; do echo $$; sleep 1; done");
    let mut open = Vec::new();
    for _ in 0..sessions {
        let mut connection = target.connect().await?;
        connection.begin_stream(&exec).await?;
        open.push(connection);
    }
    let memory = gateway.running.memory()?.now;
    drop(open);
    Ok(Row::new(format!("memory of the gateway with {sessions} recorded sessions"), number(memory, "MiB"))
        .at_most(memory, 64.0, "MiB"))
}
