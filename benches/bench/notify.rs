//! How soon somebody hears of a request, and what it costs to tell them.
//!
//! ```text
//!  one:   alice ─► POST /v1/grants ─► jitd ══► jit-notify ─► a receiver of webhooks, here    from the request to the arrival
//!  burst: ten thousand requests by 64 people ─► each arrives, and the memory of jit-notify when the last one has
//!  hang:  renewals by 64 clients, in turns with a receiver that never answers, and without jit-notify
//! ```
//! The receiver runs in this process.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

use crate::client::jit_login;
use crate::daemon::Daemon;
use crate::load::{Requests, connect, load, median};
use crate::plane::Plane;
use crate::process::{HAPPENS_WITHIN, Running, run, until};
use crate::receiver::{How, Receiver};
use crate::table::{Row, number};
use crate::{Failure, Settings, progress};

const NAMESPACE: &str = "notify";
const CLIENTS: usize = 64;

/// What a receiver is told of a request.
const REQUESTED: &str = "grant.requested";

/// A channel with so many facts reads no more of them (`ROOM` in the feeds of jit-notify).
const FULL: u64 = 1024;

pub(crate) async fn measure(plane: &Plane, folder: &Path, settings: &Settings) -> Result<Vec<Row>, Failure> {
    plane.namespace(NAMESPACE).await?;
    let mut daemon = Daemon::prepare(plane, folder, "notify", &[NAMESPACE.to_owned()])?;
    daemon.configure(|config| {
        config["notify"] = json!("root");
        let crowd = (0..CLIENTS)
            .map(|number| json!({ "name": format!("p{number}"), "uids": [uid(number)], "groups": ["oncall"] }));
        config["people"].as_array_mut().ok_or("the configuration has no people")?.extend(crowd);
        Ok(())
    })?;
    daemon.start().await?;
    let rows = vec![one(&daemon, settings).await?, burst(&daemon, settings).await?, hanging(&daemon, settings).await?];
    daemon.stop()?;
    Ok(rows)
}

/// The uid of one of those who make requests at once; no account has it.
fn uid(number: usize) -> u32 {
    420_100 + u32::try_from(number).expect("there are few of them")
}

async fn one(daemon: &Daemon, settings: &Settings) -> Result<Row, Failure> {
    let receiver = Receiver::taking();
    let _notify = Notify::start(daemon, "one", &receiver).await?;
    let mut alice = daemon.alice().connect().await?;
    let times = settings.shorter(200, 20);
    progress(&format!("notify: {times} requests, one after the other"));
    let mut milliseconds = Vec::new();
    for _ in 0..times {
        let begun = SystemTime::now();
        let id = daemon.request(&mut alice, NAMESPACE, "1h").await?.id;
        let arrived = until("the request arrives", || receiver.when(REQUESTED, &id));
        milliseconds.push(arrived.await?.duration_since(begun)?.as_secs_f64() * 1e3);
    }
    let slowest = milliseconds.iter().copied().fold(0.0, f64::max);
    let middle = median(milliseconds);
    Ok(Row::new("request, until a webhook has it, median", number(middle, "ms"))
        .against(format!("the slowest of {times}: {}", number(slowest, "ms")))
        .at_most(middle, 50.0, "ms"))
}

async fn burst(daemon: &Daemon, settings: &Settings) -> Result<Row, Failure> {
    let receiver = Receiver::taking();
    let notify = Notify::start(daemon, "burst", &receiver).await?;
    let requests = settings.shorter(10_000, 500);
    progress(&format!("notify: {requests} requests by {CLIENTS} people at once"));
    // One after the other would take as long as the API server does, which is asked about each request several times; and the
    // requests of one person wait for each other.
    let (begun, next) = (Instant::now(), &Cell::new(0));
    let mut clients = Vec::with_capacity(CLIENTS);
    for number in 0..CLIENTS {
        let mut person = daemon.caller(uid(number)).connect().await?;
        clients.push(async move {
            let mut made = Vec::new();
            while next.replace(next.get() + 1) < requests {
                made.push(daemon.request(&mut person, NAMESPACE, "1h").await?.id);
            }
            Ok::<_, Failure>(made)
        });
    }
    let made: BTreeSet<String> = futures::future::try_join_all(clients).await?.into_iter().flatten().collect();
    let requested = begun.elapsed();
    progress(&format!("notify: requested after {:.1} s", requested.as_secs_f64()));
    until("as many facts as requests arrive", || (receiver.count() >= made.len()).then_some(())).await?;
    let behind = begun.elapsed() - requested;
    let told = || -> BTreeSet<String> {
        let requests = receiver.got().into_iter().filter(|got| got.kind() == REQUESTED);
        requests.map(|got| got.grant().to_owned()).collect()
    };
    until("each request arrives", || (told() == made).then_some(())).await?;
    let highest = notify.running.memory()?.highest;
    Ok(Row::new(format!("memory of jit-notify, {} requests at once", made.len()), number(highest, "MiB"))
        .against(format!(
            "{} told, the last {:.1} s after the burst of {:.0} s",
            receiver.count(),
            behind.as_secs_f64(),
            requested.as_secs_f64()
        ))
        .at_most(highest, 64.0, "MiB"))
}

async fn hanging(daemon: &Daemon, settings: &Settings) -> Result<Row, Failure> {
    let mut alice = daemon.alice().connect().await?;
    let mut bob = daemon.bob().connect().await?;
    let mut renewals = Vec::with_capacity(CLIENTS);
    for _ in 0..CLIENTS {
        renewals.push(daemon.live(&mut alice, &mut bob, NAMESPACE, "12h").await?);
    }
    let requests = Requests::Same(Rc::new(renewals));
    let rounds = settings.shorter(7, 2);
    let time = settings.shorter(Duration::from_secs(2), Duration::from_millis(500));
    progress(&format!("notify: {CLIENTS} clients, {rounds} rounds in turns with a receiver that never answers"));
    let receiver = Receiver::that(|_, _| How::Hang);
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        without.push(load(connect(&daemon.alice(), CLIENTS).await?, &requests, time).await?.rate());
        let notify = Notify::start(daemon, "hang", &receiver).await?;
        // As it is for all but the first second of an outage.
        let begun = Instant::now();
        while notify.waiting()? < FULL {
            load(connect(&daemon.alice(), CLIENTS).await?, &requests, Duration::from_millis(250)).await?;
            if begun.elapsed() > HAPPENS_WITHIN {
                return Err("jit-notify reads more than it has room for, or less than it could".into());
            }
        }
        with.push(load(connect(&daemon.alice(), CLIENTS).await?, &requests, time).await?.rate());
        notify.running.stop()?;
    }
    let ratio = median(with.iter().zip(&without).map(|(with, without)| with / without));
    // How much equal rounds differ is what the ratio has to be compared with.
    let (least, most) =
        without.iter().fold((f64::MAX, 0.0_f64), |(least, most), &rate| (least.min(rate), most.max(rate)));
    let noise = format!("{} to {}", number(least, "/s"), number(most, "/s"));
    Ok(Row::new("certificates, while a webhook's receiver hangs", number(median(with), "/s"))
        .against(format!("without jit-notify {}, {noise} in {rounds} rounds", number(median(without), "/s")))
        .at_least(ratio, 0.9, "×"))
}

/// The built jit-notify with one webhook, which reads what the daemon says.
struct Notify {
    running: Running,
    config: PathBuf,
}

impl Notify {
    async fn start(daemon: &Daemon, name: &str, receiver: &Receiver) -> Result<Self, Failure> {
        let folder = daemon.folder.join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder.join("state"))?;
        secret(&folder.join("url"), &receiver.url())?;
        secret(&folder.join("key"), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")?;
        let webhook = json!({ "url": { "file": "url" }, "secrets": [{ "file": "key" }] });
        let config = json!({
            "socket": daemon.folder.join("run/notify.sock"), "state": "state",
            "channels": [{ "name": "bench", "webhook": webhook }],
        });
        fs::write(folder.join("config.yaml"), config.to_string())?;
        let config = folder.join("config.yaml");
        let log = folder.join("log");
        let running = Running::start("jit-notify", command(&config)?.arg("serve"), &log)?;
        until("jit-notify reads what jitd says", || {
            fs::read_to_string(&log).is_ok_and(|log| log.contains("reading what jitd says")).then_some(())
        })
        .await?;
        Ok(Self { running, config })
    }

    /// How many facts it has read that the receiver did not take.
    fn waiting(&self) -> Result<u64, Failure> {
        let said: Value = serde_json::from_str(&run(command(&self.config)?.args(["status", "-o", "json"]))?)?;
        Ok(said[0]["waiting"].as_u64().ok_or("jit-notify does not say how many facts wait")?)
    }
}

fn command(config: &Path) -> Result<Command, Failure> {
    let mut command = Command::new(jit_login()?.with_file_name("jit-notify"));
    command.arg("--config").arg(config);
    Ok(command)
}

fn secret(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text)?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o600))?)
}
