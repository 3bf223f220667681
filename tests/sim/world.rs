//! The simulated world: one source of chance, one clock, the history, and the first violation.
//!
//! Everything in a seed happens on one thread, and the daemon gets its clock and its ids as functions, so the world is
//! a thread-local. It outlives the daemon's lives; only a new seed creates a new one.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;
use jitd::grant::{GrantId, Impersonation};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::cluster::Server;
use crate::network::Network;
use crate::oracle::Oracle;

/// When every seed begins.
const BEGINNING: i64 = 1_830_000_000_000;

thread_local! {
    static WORLD: RefCell<World> = RefCell::new(World::new(0));
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// The world of the seed that runs on this thread. Must not be nested.
pub(crate) fn world<T>(look: impl FnOnce(&mut World) -> T) -> T {
    WORLD.with(|world| look(&mut world.borrow_mut()))
}

/// What panicked on this thread, and where.
pub(crate) fn panicked() -> Option<String> {
    PANIC.take()
}

pub(crate) fn take_note_of_panics() {
    std::panic::set_hook(Box::new(|panic| PANIC.set(Some(panic.to_string()))));
}

pub(crate) struct World {
    chance: u64,
    /// Whether people go through the gateway: in every other seed.
    pub(crate) has_gateway: bool,
    /// What the API server knows: limits in every other one of those seeds.
    pub(crate) impersonation: Impersonation,
    /// When the current runtime began, on its clock, and the time at that moment.
    began: Option<Instant>,
    base: i64,
    /// Whether strangers have stopped.
    pub(crate) quiet: bool,
    /// Whether faults have stopped.
    pub(crate) calm: bool,
    /// From when on earlier faults are no excuse any more.
    pub(crate) calm_since: i64,
    /// Whether the daemon has begun to sweep.
    pub(crate) is_sweeping: bool,
    /// Who has lost their groups in this life.
    pub(crate) lost: Option<&'static str>,
    /// The number of the daemon's life.
    pub(crate) life: u32,
    /// Whether the daemon lives.
    pub(crate) alive: bool,
    /// After how many crossings the daemon dies, if it dies by one.
    pub(crate) fuse: Option<u64>,
    /// Notified when the daemon dies or the seed fails.
    pub(crate) over: Arc<Notify>,
    /// Whether a commit that was reported as failed is on the disk. A later one would overwrite it.
    pub(crate) half_committed: bool,
    pub(crate) server: Server,
    pub(crate) network: Network,
    pub(crate) oracle: Oracle,
    pub(crate) counts: BTreeMap<String, u64>,
    history: VecDeque<(i64, String)>,
    /// The hash of the whole history, also of what was dropped from it.
    digest: u64,
    pub(crate) violation: Option<Violation>,
}

/// The first violation.
#[derive(Clone, Debug)]
pub(crate) struct Violation {
    pub(crate) at: i64,
    pub(crate) invariant: u8,
    pub(crate) what: String,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            chance: seed,
            has_gateway: !seed.is_multiple_of(2),
            impersonation: if seed % 4 == 1 { Impersonation::Constrained } else { Impersonation::Unconstrained },
            began: None,
            base: BEGINNING,
            quiet: false,
            calm: false,
            calm_since: 0,
            is_sweeping: false,
            lost: None,
            life: 0,
            alive: false,
            fuse: None,
            over: Arc::new(Notify::new()),
            half_committed: false,
            server: Server::default(),
            network: Network::default(),
            oracle: Oracle::default(),
            counts: BTreeMap::new(),
            history: VecDeque::new(),
            digest: 0xcbf2_9ce4_8422_2325,
            violation: None,
        }
    }

    // ---- time ----

    /// Starts the clock, on a runtime whose clock is paused.
    pub(crate) fn begin(&mut self) {
        self.began = Some(Instant::now());
    }

    /// The runtime ends; the clock stands still until the next one.
    pub(crate) fn pause(&mut self) {
        self.base = self.now();
        self.began = None;
    }

    /// Milliseconds since the epoch.
    pub(crate) fn now(&self) -> i64 {
        let elapsed = self.began.map_or(0, |began| began.elapsed().as_millis());
        self.base + i64::try_from(elapsed).unwrap()
    }

    /// Milliseconds since the seed began.
    pub(crate) fn age(&self) -> i64 {
        self.now() - BEGINNING
    }

    // ---- chance ----

    /// SplitMix64.
    pub(crate) fn next(&mut self) -> u64 {
        self.chance = self.chance.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.chance;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// True this many times in a thousand.
    pub(crate) fn happens(&mut self, of_a_thousand: u64) -> bool {
        self.below(1000) < of_a_thousand
    }

    /// Whether something fails that fails this many times in a thousand; never while it is calm.
    pub(crate) fn fails(&mut self, of_a_thousand: u64, what: &str) -> bool {
        let fails = self.happens(of_a_thousand) && !self.calm;
        if fails {
            self.count(format!("fault: {what}"));
        }
        fails
    }

    /// One of them.
    pub(crate) fn one_of<T: Clone>(&mut self, all: &[T]) -> T {
        all[usize::try_from(self.below(all.len() as u64)).unwrap()].clone()
    }

    // ---- the daemon's life ----

    /// Called wherever the daemon meets its environment. Returns whether it is dead, also if it dies right here.
    pub(crate) fn crosses(&mut self, what: &str) -> bool {
        if let Some(left) = self.fuse.filter(|_| self.alive) {
            self.fuse = Some(left.saturating_sub(1));
            if left == 0 {
                self.kill(&format!("at {what}"));
            }
        }
        !self.alive
    }

    pub(crate) fn kill(&mut self, wherefore: &str) {
        self.alive = false;
        self.fuse = None;
        self.note(format!("-- the daemon is killed {wherefore}"));
        self.count("fault: killed");
        self.over.notify_one();
    }

    // ---- what was seen ----

    pub(crate) fn note(&mut self, text: String) {
        const KEPT: usize = 20_000;
        for byte in text.bytes().chain(self.now().to_le_bytes()) {
            self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if self.history.len() == KEPT {
            self.history.pop_front();
        }
        self.history.push_back((self.age(), text));
    }

    pub(crate) fn count(&mut self, what: impl Into<String>) {
        *self.counts.entry(what.into()).or_default() += 1;
    }

    pub(crate) fn digest(&self) -> u64 {
        self.digest
    }

    pub(crate) fn history(&self) -> impl Iterator<Item = &(i64, String)> {
        self.history.iter()
    }

    /// Reports a violation of an invariant, by its number in `main.rs`. The first one ends the seed.
    pub(crate) fn violated(&mut self, invariant: u8, what: impl Into<String>) {
        if self.violation.is_none() {
            let what = what.into();
            self.note(format!("!! invariant {invariant}: {what}"));
            self.violation = Some(Violation { at: self.age(), invariant, what });
            self.over.notify_one();
        }
    }
}

pub(crate) fn now() -> i64 {
    world(|world| world.now())
}

pub(crate) fn below(end: u64) -> u64 {
    world(|world| world.below(end))
}

pub(crate) fn happens(of_a_thousand: u64) -> bool {
    world(|world| world.happens(of_a_thousand))
}

pub(crate) fn one_of<T: Clone>(all: &[T]) -> T {
    world(|world| world.one_of(all))
}

/// The clock of the host.
pub(crate) fn clock() -> Timestamp {
    Timestamp::from_millisecond(now()).unwrap()
}

/// A new grant's id.
pub(crate) fn id() -> Option<GrantId> {
    let bytes = world(|world| [world.next().to_le_bytes(), world.next().to_le_bytes()]).concat();
    Some(GrantId::from_random(bytes[..10].try_into().unwrap()))
}

/// Where the daemon meets its environment: it stops here when it is dead.
pub(crate) async fn crossing(what: &str) {
    if world(|world| world.crosses(what)) {
        std::future::pending::<()>().await;
    }
}

pub(crate) async fn sleep(milliseconds: u64) {
    tokio::time::sleep(std::time::Duration::from_millis(milliseconds)).await;
}
