//! How fast certificates are made: jitd over its socket, step-ca over TLS, in turns, in one run.
//!
//! ```text
//!  round: { jitd | step-ca | jitd with its state in memory } × { 64 clients, 1 client }     medians over the rounds
//! ```
//! A certificate of jitd is a renewal inside a live grant: the request's signature checked, policy asked,
//! two events on the disk, one signature. One of step-ca is `POST /1.0/sign`: the token and the request
//! checked, the token marked as used and the certificate stored, one signature. Both sync what they write.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use crate::daemon::Daemon;
use crate::http::Target;
use crate::load::{Measured, Requests, connect, load, median};
use crate::plane::Plane;
use crate::process::{Running, own_cpu};
use crate::step_ca::StepCa;
use crate::table::{Row, number};
use crate::{Failure, Settings, progress};

const CLIENTS: usize = 64;
const NAMESPACE: &str = "signing";

/// What all rounds of one server came to.
#[derive(Default)]
struct Results {
    rates: Vec<f64>,
    /// Milliseconds, with one client.
    latencies: Vec<f64>,
    /// Certificates a second with one client.
    single: Vec<f64>,
    /// Milliseconds of the server's CPU for each certificate, with all clients.
    cpu: Vec<f64>,
    /// The same of the load itself.
    load_cpu: Vec<f64>,
    /// Milliseconds, 99th percentile with all clients.
    slow: Vec<f64>,
}

pub(crate) async fn measure(plane: &Plane, folder: &Path, settings: &Settings) -> Result<Vec<Row>, Failure> {
    let time = settings.shorter(Duration::from_secs(2), Duration::from_secs(1));
    // Many short rounds, for the machine is faster in one second than in another and only neighbours compare.
    let rounds = settings.shorter(11, 3);
    plane.namespace(NAMESPACE).await?;
    let namespaces = [NAMESPACE.to_owned()];
    let mut disk = Daemon::prepare(plane, &folder.join("jitd"), "signing", &namespaces)?;
    disk.start().await?;
    let idle = disk.running().memory()?;
    // Where a sync costs nothing, but everything else of the store is there.
    let memory_folder = Path::new("/dev/shm/jitd-bench");
    let mut memory = Daemon::prepare(plane, memory_folder, "signing-memory", &namespaces)?;
    memory.start().await?;
    let mut step = StepCa::start(&folder.join("step-ca")).await?;
    let on_disk = renewals(&disk).await?;
    let in_memory = renewals(&memory).await?;

    let (mut jitd, mut without_sync, mut step_ca) = (Results::default(), Results::default(), Results::default());
    for round in 0..=rounds {
        // The first one only warms up: caches, the Go runtime's heap, the CPU's clock.
        let (time, keep) = if round == 0 { (Duration::from_secs(1), false) } else { (time, true) };
        progress(&format!("signing: round {round} of {rounds}"));
        let mut spare = Results::default();
        let into = if keep { &mut jitd } else { &mut spare };
        turn(into, disk.running(), &disk.alice(), |_| Ok(on_disk.clone()), time).await?;
        let into = if keep { &mut step_ca } else { &mut spare };
        let target = step.target.clone();
        let prepared: Vec<Requests> =
            [CLIENTS, 1].iter().map(|clients| tokens(&mut step, *clients, time)).collect::<Result<_, _>>()?;
        turn(into, &step.running, &target, |clients| Ok(prepared[usize::from(clients == 1)].clone()), time).await?;
        let into = if keep { &mut without_sync } else { &mut spare };
        turn(into, memory.running(), &memory.alice(), |_| Ok(in_memory.clone()), time).await?;
    }
    let (own, other) = (disk.running().memory()?, step.running.memory()?);
    disk.stop()?;
    memory.stop()?;
    std::fs::remove_dir_all(memory_folder)?;
    Ok(rows(&jitd, &step_ca, &without_sync, (idle.now, own.now, other.now), own.highest, other.highest))
}

/// 64 live grants, one for each client, and the bytes that renew each.
async fn renewals(daemon: &Daemon) -> Result<Requests, Failure> {
    progress("signing: 64 grants");
    let mut alice = daemon.alice().connect().await?;
    let mut bob = daemon.bob().connect().await?;
    let mut requests = Vec::with_capacity(CLIENTS);
    for _ in 0..CLIENTS {
        requests.push(daemon.live(&mut alice, &mut bob, NAMESPACE, "12h").await?);
    }
    Ok(Requests::Same(Rc::new(requests)))
}

/// More requests than can be answered in `time`.
fn tokens(step: &mut StepCa, clients: usize, time: Duration) -> Result<Requests, Failure> {
    let enough = time.as_secs_f64() * if clients == 1 { 1500.0 } else { 4000.0 };
    let list = (0..enough as usize).map(|_| step.sign()).collect::<Result<Vec<_>, _>>()?;
    Ok(Requests::Once(Rc::new(RefCell::new(list))))
}

/// One server's turn, with all clients and with one.
async fn turn(
    results: &mut Results,
    server: &Running,
    target: &Target,
    requests: impl Fn(usize) -> Result<Requests, Failure>,
    time: Duration,
) -> Result<(), Failure> {
    for clients in [CLIENTS, 1] {
        let requests = requests(clients)?;
        let connections = connect(target, clients).await?;
        let (before, own_before) = (server.cpu()?, own_cpu()?);
        let measured: Measured = load(connections, &requests, time).await?;
        let each = |spent: Duration| spent.as_secs_f64() * 1e3 / measured.answers as f64;
        if clients == 1 {
            results.latencies.push(measured.median().as_secs_f64() * 1e3);
            results.single.push(measured.rate());
        } else {
            results.rates.push(measured.rate());
            results.cpu.push(each(server.cpu()? - before));
            results.load_cpu.push(each(own_cpu()? - own_before));
            results.slow.push(measured.latencies[measured.latencies.len() * 99 / 100].as_secs_f64() * 1e3);
        }
    }
    Ok(())
}

fn rows(
    jitd: &Results,
    step_ca: &Results,
    without_sync: &Results,
    (idle, own, other): (f64, f64, f64),
    own_highest: f64,
    other_highest: f64,
) -> Vec<Row> {
    let middle = |values: &[f64]| median(values.iter().copied());
    // Of each round, for its turns lie next to each other.
    let ratio = |one: &[f64], two: &[f64]| median(one.iter().zip(two).map(|(one, two)| one / two));
    let (rate, latency) = (middle(&jitd.rates), middle(&jitd.latencies));
    let step = |text: String| format!("step-ca {text}");
    vec![
        Row::new("certificates, 64 clients", number(rate, "/s"))
            .against(step(number(middle(&step_ca.rates), "/s")))
            .at_least(ratio(&jitd.rates, &step_ca.rates), 5.0, "×"),
        Row::new("latency, one client", number(latency, "ms"))
            .against(step(number(middle(&step_ca.latencies), "ms")))
            .at_most(ratio(&jitd.latencies, &step_ca.latencies), 0.5, "×"),
        Row::new("server CPU a certificate", number(middle(&jitd.cpu), "ms"))
            .against(step(number(middle(&step_ca.cpu), "ms")))
            .at_most(ratio(&jitd.cpu, &step_ca.cpu), 1.0 / 6.0, "×"),
        Row::new("memory after the load", format!("{own:.1} MiB, highest {own_highest:.1}"))
            .against(step(format!("{other:.0} MiB, highest {other_highest:.0}")))
            .at_most(own / other, 0.2, "×"),
        Row::new("idle memory", number(idle, "MiB")).at_most(idle, 25.0, "MiB"),
        Row::new("slowest 1 % of 64 clients", number(middle(&jitd.slow), "ms"))
            .against(step(number(middle(&step_ca.slow), "ms")))
            .shows(number(ratio(&jitd.slow, &step_ca.slow), "×")),
        Row::new("certificates, one client", number(middle(&jitd.single), "/s"))
            .against(step(number(middle(&step_ca.single), "/s")))
            .shows(number(ratio(&jitd.single, &step_ca.single), "×")),
        Row::new("64 clients, on disk against state on tmpfs", number(rate, "/s"))
            .against(format!("tmpfs {}", number(middle(&without_sync.rates), "/s")))
            .shows(number(ratio(&jitd.rates, &without_sync.rates), "×")),
        Row::new("one client, on disk against state on tmpfs", number(latency, "ms"))
            .against(format!("tmpfs {}", number(middle(&without_sync.latencies), "ms")))
            .shows(number(ratio(&jitd.latencies, &without_sync.latencies), "×")),
        Row::new("CPU of the load itself, a certificate", number(middle(&jitd.load_cpu), "ms"))
            .against(step(number(middle(&step_ca.load_cpu), "ms")))
            .shows(String::new()),
    ]
}
