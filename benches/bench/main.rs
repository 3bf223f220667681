//! Benchmarks of the built programs against a real API server, a real disk and another certificate
//! authority: `make bench`, or some parts with `make bench ONLY="signing access"`.
//!
//! ```text
//!  signing ─ certificates a second, against step-ca         many ─ 10,000 live grants, 1,000 that end at once
//!  access ── from approval to access, against by hand       trail ─ a start on a million events, verify, append
//!  gateway ─ GETs and LISTs through it, against direct access; how soon an end is felt; idle watches
//!  sessions ─ what the log of requests and recordings cost
//!  frontend ─ a token, a login, strangers at the door
//!  notify ── from a request to a webhook, and what that costs
//!  scan ──── what can be found in a dump of a large cluster
//!  credential ─ kubectl's exec plugin, against /bin/true    policy ─ a decision, a role that is edited
//!  hostile ─ what two members can do to the others
//! ```
//! Prints one table. Every ratio is of two numbers from the same run. Nothing is left running, and what is
//! written lies in `target/bench` and is made anew each time. docs/benchmarks.md says how to read it.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a benchmark may fail loudly, and it is what reads the clock"
)]

mod access;
mod aside;
mod authority;
#[path = "../../tests/it/client.rs"]
mod client;
mod credential;
mod daemon;
mod frontend;
mod gateway;
mod hostile;
mod http;
#[path = "../../tests/support/issuer.rs"]
mod issuer;
mod load;
mod many;
mod notify;
mod plane;
mod policy;
mod process;
#[path = "../../tests/support/receiver.rs"]
mod receiver;
mod scan;
mod sessions;
#[path = "../../crates/jit-identity/tests/signer/mod.rs"]
mod signer;
mod signing;
mod step_ca;
mod table;
mod trail;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::daemon::private_folder;
use crate::plane::Plane;
use crate::table::Row;

/// Why a run can't go on; said to the person who began it.
pub(crate) type Failure = Box<dyn std::error::Error>;

/// The parts in the order in which they run.
const PARTS: [&str; 12] = [
    "signing",
    "access",
    "gateway",
    "sessions",
    "frontend",
    "notify",
    "credential",
    "policy",
    "many",
    "trail",
    "scan",
    "hostile",
];

#[derive(Parser)]
#[command(name = "bench", about = "Benchmarks of jitd; needs root, Go and about twenty minutes")]
struct Arguments {
    /// Only these parts; without any all but `hostile`, which takes half an hour for itself.
    #[arg(value_parser = PARTS)]
    parts: Vec<String>,
    /// Shorter and smaller: to see that it runs, not to quote.
    #[arg(long)]
    quick: bool,
    /// Fail when a target is missed.
    #[arg(long)]
    strict: bool,
    /// This is no benchmark but a process of one; see `aside.rs`.
    #[arg(long, hide = true, value_name = "TASK", exclusive = true)]
    aside: Option<String>,
    /// Cargo says so to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

/// How much is done.
pub(crate) struct Settings {
    quick: bool,
}

impl Settings {
    pub(crate) fn shorter<T>(&self, usual: T, quick: T) -> T {
        if self.quick { quick } else { usual }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // The only provider in the tree.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let local = tokio::task::LocalSet::new();
    if let Some(task) = &arguments.aside {
        return match local.block_on(&runtime, aside::work(task)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                eprintln!("bench: {failure}");
                ExitCode::FAILURE
            }
        };
    }
    // What was started ends with the future that started it.
    let measured = async {
        tokio::select! {
            rows = run(&arguments) => rows,
            _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
        }
    };
    match local.block_on(&runtime, measured) {
        Ok(rows) => {
            let met = table::print(&rows);
            if met || !arguments.strict { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(failure) => {
            eprintln!("bench: {failure}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<Vec<Row>, Failure> {
    let settings = Settings { quick: arguments.quick };
    allow_many_files()?;
    let folder = folder()?;
    private_folder(&folder)?;
    progress("a control plane");
    let plane = Plane::start(&folder.join("plane"))?;
    let wanted = |part: &str| arguments.parts.is_empty() || arguments.parts.iter().any(|name| name == part);
    let mut rows = Vec::new();
    if wanted("signing") {
        rows.append(&mut signing::measure(&plane, &folder.join("signing"), &settings).await?);
    }
    if wanted("access") {
        rows.append(&mut access::measure(&plane, &folder.join("access"), &settings).await?);
    }
    if wanted("gateway") {
        rows.append(&mut gateway::measure(&plane, &folder.join("gateway"), &settings).await?);
    }
    if wanted("sessions") {
        rows.append(&mut sessions::measure(&plane, &folder.join("sessions"), &settings).await?);
    }
    if wanted("frontend") {
        rows.append(&mut frontend::measure(&plane, &folder.join("frontend"), &settings).await?);
    }
    if wanted("notify") {
        rows.append(&mut notify::measure(&plane, &folder.join("notify"), &settings).await?);
    }
    if wanted("credential") {
        rows.append(&mut credential::measure(&plane, &settings).await?);
    }
    if wanted("policy") {
        rows.append(&mut policy::measure(&plane, &folder.join("policy"), &settings).await?);
    }
    if wanted("many") {
        rows.append(&mut many::measure(&plane, &folder.join("many"), &settings).await?);
    }
    if wanted("trail") {
        rows.append(&mut trail::measure(&plane, &folder.join("trail"), &settings).await?);
    }
    if wanted("scan") {
        rows.append(&mut scan::measure(&folder.join("scan"), &settings)?);
    }
    if arguments.parts.iter().any(|name| name == "hostile") {
        rows.append(&mut hostile::measure(&plane, &folder.join("hostile"), &settings).await?);
    }
    Ok(rows)
}

/// Some parts have thousands of connections, which the programs and this share; most shells allow 1,024 files.
fn allow_many_files() -> Result<(), Failure> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, most, most)?)
}

/// Beside what cargo builds, which is on a disk; where a sync costs nothing, nothing would be measured.
fn folder() -> Result<PathBuf, Failure> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().ok_or("no target folder")?;
    let kind = nix::sys::statfs::statfs(target)?.filesystem_type();
    if kind == nix::sys::statfs::TMPFS_MAGIC {
        return Err(
            format!("`{}` is in memory\nhint: set CARGO_TARGET_DIR to a folder on a disk", target.display()).into()
        );
    }
    Ok(target.join("bench"))
}

/// Says how far it is: minutes of silence look like a hang.
pub(crate) fn progress(what: &str) {
    static BEGUN: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let begun = BEGUN.get_or_init(Instant::now);
    eprintln!("bench: {:>4} s  {what}", begun.elapsed().as_secs());
}
