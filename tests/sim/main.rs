//! The daemon's core in simulation: the real broker, ledger, sweep and trail, on a clock that is paused, an API server
//! that is a function and a disk that fails, with people and strangers who act concurrently, in thousands of seeds.
//! `make sim` runs it; CONTRIBUTING.md says how to read a failing seed.
//!
//! ```text
//!  seed ─► chance ─┬─► people: every verb, concurrently ──► Broker ◄── sweep
//!                  ├─► faults: late, lost, refused, 429, down     │
//!                  ├─► strangers in the cluster                   ├──► cluster  (requests arrive after a death too)
//!                  └─► kills, at any await                        └──► disk     (the trail's file)
//!                                 oracle: reads the file after each commit, and the API server's objects
//! ```
//! The invariants, and where each is checked (in `oracle.rs`, except 1 and 10):
//!  0. Nothing panics.
//!  1. The chain is unbroken, the projections equal the events, and every event may follow: after each commit, and with
//!     `verify_file` at the end.
//!  2. What was acknowledged is stored; what was refused never is: at each answer, and by counting at the end.
//!  3. No certificate is handed over before `live` is on the disk: at each certificate.
//!  4. A grant is intended to be bound once, its object is requested once in each place, and no effect is sent before
//!     its intent is on the disk: when a request leaves the daemon.
//!  5. A binding in the cluster has an open grant: at `ended`, and after each comparison that saw it; while nothing
//!     fails also by the clock. An object that is not the daemon's is never deleted: at the API server.
//!  6. When the window is over, access ends: within ten seconds while nothing fails; otherwise it is retried forever.
//!  7. No approval by the requester, twice by one human, or by somebody who is not in the group at the collection: at
//!     `agreed`, `approved` and the first `issue_intended`.
//!  8. Limits, one key one person, one owed review, in the order of the trail: at `requested`, the first
//!     `issue_intended`, `glass_broken`.
//!  9. While a drain is in force, nothing is granted: from the answer to the drain on.
//! 10. What was told never goes back, across restarts: the file keeps all its events, and the daemon's memory equals
//!     what the file says (`deeds::expect_remembered`).
//! 11. The epochs of several daemons on one trail do not interleave: so far there is only one daemon.
//! 12. A quarter of an hour after the last fault, nothing is collecting or ending, no deadline is in the past, and
//!     nothing of the daemon's is left of ended grants; ten minutes later nothing is open.
//!
//! In every other seed people go through the gateway, whose bindings and roles count like a grant's own; in half of those
//! the API server is one before 1.36.
//!
//! Not simulated: the authority signs with real random numbers, so certificates and the trail's hashes differ between
//! two runs of a seed; nothing else depends on them.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails loudly"
)]

mod cast;
mod cluster;
mod deeds;
mod disk;
mod life;
mod network;
#[path = "../support/numbers.rs"]
mod numbers;
mod oracle;
mod strangers;
mod world;

use std::collections::BTreeMap;
use std::num::NonZero;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Instant;

use crate::life::Stage;
use crate::numbers::numbers;
use crate::world::{Violation, panicked, take_note_of_panics, world};

/// How many seeds `cargo test` plays.
const A_FEW: u64 = 20;

/// How many seeds cover everything that must be covered.
const ENOUGH: u64 = 300;

/// One of this many seeds is played twice.
const TWICE: u64 = 50;

/// How much of the history is printed with a violation, and how much of what came before and after.
const LINES: usize = 150;
const AROUND: i64 = 120_000;

fn main() -> ExitCode {
    let [seeds, from, seed] = match numbers(["--seeds", "--from", "--seed"]) {
        Ok(numbers) => numbers,
        Err(code) => return code,
    };
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    take_note_of_panics();
    match seed {
        Some(seed) => one(seed),
        None => many(from.unwrap_or(0), seeds.unwrap_or(A_FEW)),
    }
}

/// Plays one seed and prints everything.
fn one(seed: u64) -> ExitCode {
    let failed = played(&Stage::new(0), seed);
    world(|world| world.history().for_each(|line| println!("{}", shown(line))));
    println!("seed {seed}: digest {:016x}", world(|world| world.digest()));
    let Some(violation) = failed else { return ExitCode::SUCCESS };
    println!("{}", violation.of(seed));
    ExitCode::FAILURE
}

/// Plays seeds on every core: a seed has a thread for itself, with its whole world.
fn many(from: u64, seeds: u64) -> ExitCode {
    let began = Instant::now();
    let next = Mutex::new(from..from.saturating_add(seeds));
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let tallies: Vec<Tally> = std::thread::scope(|scope| {
        let next = &next;
        let players: Vec<_> = (0..threads).map(|number| scope.spawn(move || play(number, next))).collect();
        players.into_iter().map(|player| player.join().expect("the harness does not panic")).collect()
    });
    let mut all = Tally::default();
    for tally in tallies {
        all.simulated += tally.simulated;
        all.digests.extend(tally.digests);
        all.failed.extend(tally.failed);
        for (what, count) in tally.counts {
            *all.counts.entry(what).or_default() += count;
        }
    }
    // The same seed each time, whichever thread finished first.
    if let Some((_, told)) = all.failed.first_key_value() {
        println!("{told}");
        return ExitCode::FAILURE;
    }
    tell_statistics(seeds, all.simulated, began.elapsed().as_secs_f64(), &all.counts);
    let digest = all.digests.values().fold(0_u64, |all, digest| all.rotate_left(1) ^ digest);
    println!("digest of all of them: {digest:016x}");
    if all.counts.get("seeds that came to their end") != Some(&seeds) {
        println!("some seeds were cut off before their end");
        return ExitCode::FAILURE;
    }
    let missing: Vec<String> = wanted().filter(|what| !all.counts.contains_key(what)).collect();
    if seeds >= ENOUGH && !missing.is_empty() {
        println!("never happened, so nothing is proved about it: {}", missing.join(", "));
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// The result of the seeds of one thread, or of all.
#[derive(Default)]
struct Tally {
    counts: BTreeMap<String, u64>,
    /// In milliseconds.
    simulated: i64,
    digests: BTreeMap<u64, u64>,
    /// The report of each failed seed.
    failed: BTreeMap<u64, String>,
}

/// Plays seeds that no thread has taken, until there are no more or one failed.
fn play(thread: usize, next: &Mutex<Range<u64>>) -> Tally {
    let stage = Stage::new(thread);
    let mut tally = Tally::default();
    let take = || next.lock().unwrap().next();
    while let Some(seed) = take() {
        if let Some(told) = tally.play(&stage, seed) {
            tally.failed.insert(seed, told);
            // Earlier seeds are completed, so that the first one that fails is found.
            *next.lock().unwrap() = 0..0;
        }
    }
    tally
}

impl Tally {
    /// Plays one seed, and returns what is wrong.
    fn play(&mut self, stage: &Stage, seed: u64) -> Option<String> {
        if let Some(violation) = played(stage, seed) {
            let near = |at: i64| (violation.at - AROUND..=violation.at + AROUND).contains(&at);
            let mut lines: Vec<String> =
                world(|world| world.history().filter(|(at, _)| near(*at)).map(shown).collect());
            lines.drain(..lines.len().saturating_sub(LINES));
            lines.push(violation.of(seed));
            return Some(lines.join("\n"));
        }
        let digest = world(|world| {
            self.simulated += world.age();
            for (what, count) in &world.counts {
                *self.counts.entry(what.clone()).or_default() += count;
            }
            world.digest()
        });
        self.digests.insert(seed, digest);
        let is_the_same =
            !seed.is_multiple_of(TWICE) || played(stage, seed).is_none() && world(|world| world.digest()) == digest;
        (!is_the_same).then(|| {
            format!("seed {seed} is not the same twice: something depends on the host's clock, chance or threads")
        })
    }
}

fn played(stage: &Stage, seed: u64) -> Option<Violation> {
    // The runtime swallows panics of the daemon's tasks.
    let _ = catch_unwind(AssertUnwindSafe(|| stage.play(seed)));
    if let Some(panic) = panicked() {
        world(|world| world.violated(0, panic));
    }
    world(|world| world.violation.clone())
}

fn shown((at, text): &(i64, String)) -> String {
    format!("{:>5}.{:03} {text}", at / 1000, at % 1000)
}

impl Violation {
    fn of(&self, seed: u64) -> String {
        let Self { at, invariant, what } = self;
        format!(
            "seed {seed} violates invariant {invariant} at {}.{:03}: {what}\n\
             hint: `make sim SEED={seed}` plays it again and prints all of it",
            at / 1000,
            at % 1000
        )
    }
}

fn tell_statistics(seeds: u64, simulated: i64, took: f64, counts: &BTreeMap<String, u64>) {
    for (what, count) in counts {
        println!("{count:>10} {what}");
    }
    let days = simulated as f64 / 86_400_000.0;
    let of = |what: &str| counts.get(what).copied().unwrap_or(0);
    println!(
        "{seeds} seeds: {} lives in {days:.1} simulated days, {} requests, {} certificates, {} API calls; {:.0} seeds a minute, {:.0} times as fast as life",
        of("lives"),
        of("verb: request"),
        of("certificates"),
        of("API calls"),
        seeds as f64 * 60.0 / took,
        days * 86_400.0 / took,
    );
}

/// What must have happened; otherwise the run proves less than it claims.
fn wanted() -> impl Iterator<Item = String> {
    let verbs = deeds::TOLD.iter().flat_map(|(verb, can_be_refused)| {
        [Some(format!("verb: {verb}")), can_be_refused.then(|| format!("refused: {verb}"))].into_iter().flatten()
    });
    let listed = FAULTS.iter().map(ToString::to_string);
    verbs.chain(deeds::pairs()).chain(listed)
}

const FAULTS: [&str; 39] = [
    "fault: a request is late",
    "fault: an answer is lost",
    "fault: connection refused",
    "fault: too many requests",
    "fault: the API server fails",
    "fault: the API server forbids",
    "fault: the API server is down",
    "fault: the authorizer is slow",
    "fault: a list expired",
    "fault: a commit fails",
    "fault: a commit is told as failed and stands",
    "fault: killed",
    "fault: stopped",
    "late: a binding that a daemon made after its death",
    "late: a binding that the daemon had given up",
    "late: a binding outlived its grant",
    "list of several pages",
    "comparisons that came to their end",
    "stranger: a binding gets another subject",
    "stranger: a binding is deleted",
    "stranger: a binding is made anew by somebody else",
    "stranger: a binding loses its labels",
    "stranger: a binding with our labels that we did not make",
    "stranger: a finalizer holds a binding",
    "stranger: a namespace goes",
    "stranger: a role gets more rules",
    "stranger: a role is deleted",
    "stranger: a role is made anew",
    "stranger: a role that was made for a grant is altered",
    "stranger: a role that was made for a grant is deleted",
    "stranger: another binding names our group",
    "stranger: the labels of a namespace change",
    "review: decided where two disagreed",
    "code: limit",
    "code: review-owed",
    "code: draining",
    "code: key-in-use",
    "code: self-approval",
    "code: approver-lost-right",
];
