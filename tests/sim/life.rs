//! One seed: several lives of the daemon, each ended at any moment, and a last life without faults in which everything
//! comes to its end.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use jitd::broker::{Broker, Site};
use jitd::ca::{Authority, KeyPlace, read_csr, store};
use jitd::cluster::{Cluster, Endpoint};
use jitd::config::{Config, PolicyFiles};
use jitd::daemon::{Daemon, Outside};

use jitd::gateway::{Cut, Order, Reached};
use jitd::grant::policy::Policy;
use jitd::grant::request::{ClusterName, Window};
use jitd::grant::times::{Rates, Times};
use jitd::grant::{ActingGateway, LogHead};
use jitd::trail::{Trail, verify_file};
use tower::service_fn;
use tower::util::BoxCloneSyncService;

use crate::deeds::{Requests, Scene, expect_remembered};
use crate::oracle::Oracle;
use crate::world::{World, below, clock, happens, id, sleep, world};
use crate::{cast, disk, network, oracle, strangers};

/// The daemon's host name, as in the labels of its bindings.
pub(crate) const HOST: &str = "sim";

/// The gateway's user, in the seeds that have a gateway.
pub(crate) const GATEWAY: &str = "gw";

/// How long nothing fails before nothing may be half done.
const QUARTER: u64 = 900_000;

/// After this time nothing may be open: the longest window is 10 minutes, and two time limits of 5 minutes precede it.
const REST: u64 = 600_000;

/// What all seeds have in common.
pub(crate) struct Stage {
    folder: PathBuf,
    policy: Policy,
    ca_pem: String,
    requests: Arc<Requests>,
}

impl Stage {
    /// One for each thread, by its number.
    pub(crate) fn new(thread: usize) -> Self {
        let folder = std::path::Path::new("/dev/shm").join(format!("jitd-sim-{}-{thread}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let at = Timestamp::from_second(1_829_900_000).unwrap();
        store::init(&folder.join("ca"), &KeyPlace::File, &"play".parse().unwrap(), 365, 10, at).unwrap();
        let request = || {
            let key = rcgen::KeyPair::generate().unwrap();
            let csr = rcgen::CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
            let hash = read_csr(&csr).unwrap().key().clone();
            (csr, hash)
        };
        let of = cast::ENGINEERS.map(|name| (name, (0..5).map(|_| request()).collect())).into();
        Self {
            policy: cast::policy(),
            ca_pem: std::fs::read_to_string(folder.join("ca/root.crt")).unwrap(),
            requests: Arc::new(Requests { of, shared: request() }),
            folder,
        }
    }

    fn trail(&self) -> PathBuf {
        self.folder.join("trail.db")
    }

    /// The daemon's environment.
    fn outside(&self) -> Outside {
        let opened = Trail::simulated(&self.trail(), disk::before, disk::after).unwrap();
        let name: ClusterName = "play".parse().unwrap();
        let endpoint = Endpoint::new(name.clone(), "https://127.0.0.1:6443", &self.ca_pem).unwrap();
        let (has_gateway, impersonation) = world(|world| (world.has_gateway, world.impersonation));
        let gateway = ActingGateway { user: GATEWAY.parse().unwrap(), impersonation };
        let endpoint = endpoint.through(has_gateway.then_some(gateway));
        let exchange = BoxCloneSyncService::new(service_fn(network::exchange));
        let cluster = Cluster::over(endpoint, HOST, exchange).unwrap();
        let authority = Authority::open(&self.folder.join("ca"), &KeyPlace::File).unwrap();
        let site = Site::new(cluster, authority);
        Outside { opened, sites: [(name, site)].into(), clock, ids: id }
    }

    /// The daemon does not read or serve the files and sockets that this names; they do not exist.
    fn config(&self) -> Config {
        let five = Window::FIVE_MINUTES;
        let leads = || vec!["leads".to_owned()];
        let file = |name: &str| self.folder.join(name);
        Config {
            host: HOST.parse().unwrap(),
            socket: file("api.sock"),
            admin_socket: file("admin.sock"),
            state: self.folder.clone(),
            sessions: file("sessions"),
            policy_files: PolicyFiles { policy: file("policy.yaml"), guardrails: None },
            policy: self.policy.clone(),
            policy_sha256: String::new(),
            guardrails_sha256: None,
            auditors: leads(),
            admins: leads(),
            times: Times { answer: five, collect: five, certificate: five },
            rates: Rates { calls: NonZeroU32::MAX, requests: NonZeroU32::MAX, certificates: NonZeroU32::MAX },
            people: cast::people(),
            notify: None,
            clusters: BTreeMap::new(),
        }
    }

    /// Plays a seed; the world contains the result.
    pub(crate) fn play(&self, seed: u64) {
        world(|world| *world = World::new(seed));
        for name in ["trail.db", "trail.db-wal", "trail.db-shm", "trail.lock"] {
            let _ = std::fs::remove_file(self.folder.join(name));
        }
        // In some seeds nothing ever fails, so that every time limit can be checked to the second.
        let is_calm = seed.is_multiple_of(8);
        let lives = if is_calm { 1 } else { 2 + below(4) };
        world(|world| {
            world.calm = is_calm;
            strangers::furnish(world);
        });
        for life in 0..=u32::try_from(lives).unwrap() {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            runtime.block_on(async {
                world(|world| {
                    world.begin();
                    world.life = life;
                    // What the previous life was told at its end does not concern this one.
                    world.over = Arc::new(tokio::sync::Notify::new());
                });
                let outside = [tokio::spawn(network::go_on()), tokio::spawn(oracle::watch())];
                if u64::from(life) == lives {
                    self.last_life(is_calm).await;
                } else {
                    self.life().await;
                }
                drop(outside);
                world(World::pause);
            });
            drop(runtime);
            if world(|world| world.violation.is_some()) {
                break;
            }
        }
        world(|world| world.oracle = Oracle::default());
        if let Err(error) = verify_file(&self.trail(), |_| {}) {
            world(|world| world.violated(1, error.to_string()));
        }
    }

    async fn life(&self) {
        sleep(below(2) * below(30_000)).await;
        let calm = world(|world| world.calm);
        let length = if calm { 400_000 } else { 10_000 + below(230_000) };
        let over = world(|world| {
            // Half of them are killed by the clock, the others at something that the daemon does.
            world.fuse = (!calm && world.happens(500)).then(|| 1 + world.below(4_000));
            world.lost = world.happens(250).then(|| world.one_of(&["max", "dora", "bea"]));
            Arc::clone(&world.over)
        });
        let works = async {
            let broker = self.begin().await?;
            let scene = Scene {
                broker: Arc::clone(&broker),
                requests: Arc::clone(&self.requests),
                folder: self.folder.display().to_string().into(),
            };
            scene.begins();
            sleep(length).await;
            Some(broker)
        };
        let broker = tokio::select! {
            biased;
            () = over.notified() => None,
            broker = works => broker,
        };
        if world(|world| !world.alive) {
            return;
        }
        match broker {
            // A proper stop: waiting calls are cut off all the same.
            Some(broker) if calm || happens(250) => {
                // The stop itself can kill it.
                tokio::select! {
                    biased;
                    () = over.notified() => return,
                    _ = broker.stopped() => {}
                }
                world(|world| {
                    world.alive = false;
                    world.count("fault: stopped");
                    world.note("-- the daemon is stopped".to_owned());
                });
            }
            Some(_) => world(|world| world.kill("by the clock")),
            None => world(|world| world.kill("because it could not begin")),
        }
    }

    /// Opens the trail, and sweeps before anybody is served. None if it could not record its start.
    async fn begin(&self) -> Option<Arc<Broker>> {
        world(|world| {
            world.alive = true;
            world.half_committed = false;
            world.is_sweeping = false;
            world.count("lives");
            let life = world.life;
            world.note(format!("-- the daemon begins its life {life}"));
        });
        let daemon = Daemon::new(&self.config(), self.outside());
        let broker = Arc::clone(daemon.broker());
        Oracle::open(&self.trail());
        if world(|world| world.has_gateway) {
            attend(&broker);
        }
        expect_remembered(&broker);
        world(World::oracle_saw_sweeping);
        daemon.start().await.ok()?;
        Some(broker)
    }

    async fn last_life(&self, was_calm: bool) {
        let over = world(|world| {
            world.calm = true;
            world.lost = None;
            world.fuse = None;
            // What failed before is retried within a minute.
            world.calm_since = world.now() + if was_calm { 0 } else { 75_000 };
            world.put_right();
            Arc::clone(&world.over)
        });
        let peace = async {
            let broker = self.begin().await.expect("nothing fails any more");
            if broker.draining().is_some() {
                broker.resume(&cast::operator()).await.unwrap();
            }
            sleep(QUARTER).await;
            world(World::oracle_expects_peace);
            sleep(REST).await;
            world(World::oracle_expects_nothing);
            world(|world| world.count("seeds that came to their end"));
            let left = broker.ledger().open(|_| true).len();
            if left > 0 {
                world(|world| world.violated(12, format!("the daemon has {left} open grants at the end")));
            }
        };
        tokio::select! {
            biased;
            () = over.notified() => {}
            () = peace => {}
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A gateway that cuts everything it is told to cut, and proves everything. The real one is not simulated.
fn attend(broker: &Broker) {
    let reached = Reached { server: "https://gateway.example".to_owned(), certificate_authority: String::new() };
    let mut connection = broker.gateway().connect(reached, broker.sites().map(|(name, _)| name.clone()).collect());
    tokio::spawn(async move {
        while let Some(order) = connection.order().await {
            match order {
                Order::End(end) => {
                    end.cut(Cut { streams: 0, log: Some(LogHead { lines: 1, sha256: "a".repeat(64) }) });
                }
                Order::Prove(proof) => proof.proved(None),
                // The simulated daemon has no sessions.
                Order::Delete(_) => {}
            }
        }
    });
}
