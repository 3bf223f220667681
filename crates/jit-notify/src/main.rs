//! The program: its arguments, its log, its channels, and everything assembled.

mod manual;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use jiff::{SignedDuration, Timestamp};
use jit_core::grant::request::seconds;
use jit_host::files::{self, Existing};
use jit_manual::Misuse;
use jit_notify::boards::BoardWorker;
use jit_notify::channel::Kind;
use jit_notify::config::Config;
use jit_notify::control::{self, Channels, Question, Reply};
use jit_notify::feeds::FeedWorker;
use jit_notify::follower::Surroundings;
use jit_notify::http::{Deadlines, Http};
use jit_notify::present::Subject;
use jit_notify::progress::Progress;
use jit_notify::status::{Status, metrics};
use jit_service::{Failure, account, ended, print};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Tell approvers, requesters and administrators what happens in jitd
#[derive(Parser)]
#[command(name = "jit-notify", version, max_term_width = 100)]
#[command(after_help = "\
Examples:
  jit-notify check
  jit-notify test --all
  jit-notify status")]
struct Arguments {
    /// The configuration file
    #[arg(
        long,
        short,
        global = true,
        default_value = "/etc/jit-notify/config.yaml",
        value_name = "FILE",
        help_heading = "Global options"
    )]
    config: PathBuf,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run the channels until SIGTERM
    #[command(after_help = "\
Examples:
  jit-notify serve
  jit-notify --config ./config.yaml serve")]
    Serve,
    /// Check the configuration and the secrets that it names
    #[command(after_help = "\
Examples:
  jit-notify check
  jit-notify --config ./config.yaml check")]
    Check,
    /// Print the messages that boards would send about a made-up request; needs no secret
    #[command(after_help = "\
Examples:
  jit-notify preview
  jit-notify preview payments-chat")]
    Preview {
        /// The channel [default: every board]
        channel: Option<String>,
    },
    /// Send a made-up fact through running channels, once, and print what their receivers answered
    #[command(after_help = "\
Examples:
  jit-notify test payments-chat
  jit-notify test --all")]
    Test(Which),
    /// Show how far each channel is, what waits, and what its receiver refused
    #[command(after_help = "\
Examples:
  jit-notify status
  jit-notify status -o json")]
    Status {
        /// Output format
        #[arg(short, long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Send again everything that happened since a time
    #[command(after_help = "\
Examples:
  jit-notify replay payments-chat --since 2h
  jit-notify replay payments-chat --since 2026-11-29T21:00:00Z")]
    Replay {
        /// The channel
        channel: String,
        /// The time, such as 2026-11-29T21:00:00Z, or how long ago, such as 2h
        #[arg(long, value_name = "TIME")]
        since: String,
    },
    /// Print metrics in the text format of Prometheus
    #[command(after_help = "\
Examples:
  jit-notify metrics")]
    Metrics,
    /// Print the manual page
    #[command(hide = true)]
    Man {
        /// Print it as Markdown
        #[arg(long)]
        markdown: bool,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Output {
    Text,
    Json,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// The channel
    channel: Option<String>,
    /// Every channel
    #[arg(long)]
    all: bool,
}

/// The clock of the host; everything below `main` gets it, or a moment, from here.
#[expect(clippy::disallowed_methods, reason = "the one place that reads it")]
const CLOCK: fn() -> Timestamp = Timestamp::now;

/// The name of the program, and of the account of its unit.
const NAME: &str = "jit-notify";

/// How many orders of administrators may wait for a channel.
const ORDERS: usize = 4;

/// How often the metrics are written; jitd-metrics.timer collects them twice a minute.
const MEASURED_EVERY: Duration = Duration::from_secs(15);

/// How long the channels have to keep how far they are.
const KEPT_WITHIN: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let as_json = jit_manual::wants_json(&std::env::args_os().collect::<Vec<_>>());
    let done = match Arguments::try_parse() {
        Ok(arguments) => run(arguments),
        Err(error) if as_json && error.use_stderr() => {
            let Misuse { what, hint } = Misuse::from(&error);
            Err(Failure::configuration(what).with_hint(hint))
        }
        Err(error) => error.exit(),
    };
    ended(done, as_json)
}

fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.verb {
        Verb::Man { markdown } => {
            let page = manual::page();
            print(&if markdown { page.markdown() } else { page.render() })
        }
        Verb::Serve => serve(read(&arguments.config)?),
        Verb::Check => account::working_as(NAME, || check(&arguments.config)),
        Verb::Preview { channel } => print(&preview(&arguments.config, channel.as_deref())?),
        Verb::Test(which) => test(&state(&arguments.config)?, which.channel),
        Verb::Status { output: Output::Json } => {
            let channels = statuses(&state(&arguments.config)?)?;
            print(&format!(
                "{}\n",
                serde_json::to_string(&channels).map_err(|error| Failure::other(error.to_string()))?
            ))
        }
        Verb::Status { output: Output::Text } => {
            let lines: Vec<String> =
                statuses(&state(&arguments.config)?)?.iter().map(|status| status.describe(CLOCK()) + "\n").collect();
            print(&lines.concat())
        }
        Verb::Replay { channel, since } => {
            let since = moment(&since, CLOCK()).ok_or_else(|| {
                Failure::configuration(format!(
                    "`{since}` is no time such as 2026-11-29T21:00:00Z, and no duration such as 2h"
                ))
            })?;
            match ask(&state(&arguments.config)?, &Question::Replay { channel: channel.clone(), since })? {
                Reply::Failed { why } => Err(Failure::other(why)),
                _ => print(&format!("{channel}: sends again what happened since {since}\n")),
            }
        }
        Verb::Metrics => print(&metrics(&statuses(&state(&arguments.config)?)?, CLOCK())),
    }
}

fn check(path: &Path) -> Result<(), Failure> {
    let config = read(path)?;
    let channels: Vec<&str> = config.channels.iter().map(|channel| channel.name.as_str()).collect();
    print(&format!("{}: ok, for {}\n", path.display(), channels.join(", ")))
}

/// A time as it is written, or so long before now.
fn moment(text: &str, now: Timestamp) -> Option<Timestamp> {
    if let Ok(time) = text.parse() {
        return Some(time);
    }
    now.checked_sub(SignedDuration::from_secs(seconds(text).ok()?.into())).ok()
}

/// What boards say: every one, or the one of this name.
fn preview(path: &Path, channel: Option<&str>) -> Result<String, Failure> {
    let wordings = Config::wording_of(path).map_err(Failure::of_configuration)?;
    let boards: Vec<&str> = wordings.iter().map(|wording| wording.channel.as_str()).collect();
    if let Some(channel) = channel.filter(|channel| !boards.contains(channel)) {
        let channel = channel.escape_debug();
        let known = if boards.is_empty() { "none".to_owned() } else { boards.join(", ") };
        return Err(Failure::configuration(format!(
            "there is no board `{channel}` in the configuration, only {known}"
        )));
    }
    let mut text = String::new();
    for wording in wordings.iter().filter(|wording| channel.is_none_or(|channel| channel == wording.channel)) {
        for subject in Subject::ALL {
            let card = jit_notify::preview::preview(wording, subject, CLOCK());
            let card = card.map_err(|error| Failure::other(error.to_string()))?;
            let said = card.map_or_else(String::new, |card| card.plain());
            text.push_str(&format!("# {}: {}\n{said}\n\n", wording.channel, subject.as_str()));
        }
    }
    Ok(text)
}

fn test(state: &Path, channel: Option<String>) -> Result<(), Failure> {
    let channels = match channel {
        Some(channel) => vec![channel],
        None => statuses(state)?.into_iter().map(|status| status.channel).collect(),
    };
    let mut failed = 0;
    for channel in channels {
        match ask(state, &Question::Test { channel: channel.clone() })? {
            Reply::Failed { why } => {
                failed += 1;
                print(&format!("{channel}: {why}\n"))?;
            }
            _ => print(&format!("{channel}: the receiver took it\n"))?,
        }
    }
    if failed > 0 { Err(Failure::other(format!("{failed} of the channels did not deliver"))) } else { Ok(()) }
}

fn statuses(state: &Path) -> Result<Vec<Status>, Failure> {
    match ask(state, &Question::Status)? {
        Reply::Status { channels } => Ok(channels),
        Reply::Done => Err(Failure::other("jit-notify gave another answer")),
        Reply::Failed { why } => Err(Failure::other(why)),
    }
}

fn ask(state: &Path, question: &Question) -> Result<Reply, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(control::ask(state, question))?)
}

fn read(path: &Path) -> Result<Config, Failure> {
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    Config::read(path, credentials.as_deref()).map_err(Failure::of_configuration)
}

/// The folder of the states. The secrets are not read for it: only the running program gets them.
fn state(path: &Path) -> Result<PathBuf, Failure> {
    Config::state_of(path).map_err(Failure::of_configuration)
}

fn serve(config: Config) -> Result<(), Failure> {
    jit_service::log::start(NAME);
    let http = Arc::new(Http::new(config.authorities, Deadlines::USUAL));
    let around = Surroundings { socket: config.socket, state: config.state.clone(), http, clock: CLOCK };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let mut stop = signal(SignalKind::terminate())?;
        let listener = control::open(&config.state).await?;
        let (mut channels, mut working) = (Channels::default(), JoinSet::new());
        for channel in config.channels {
            let progress =
                Progress::load(&config.state, &channel.name).map_err(|error| Failure::other(error.to_string()))?;
            let (orders, given) = mpsc::channel(ORDERS);
            match channel.kind {
                Kind::Feed(feed) => {
                    let name = channel.name.clone();
                    let worker =
                        FeedWorker::new(name, Arc::new(feed), channel.audience, around.clone(), progress, given);
                    channels.add(channel.name, worker.status(), orders);
                    working.spawn(worker.run());
                }
                Kind::Board(board) => {
                    let (name, board) = (channel.name.clone(), Arc::from(board));
                    let worker = BoardWorker::new(name, board, channel.audience, around.clone(), progress, given);
                    channels.add(channel.name, worker.status(), orders);
                    working.spawn(worker.run());
                }
            }
        }
        tracing::info!(channels = working.len(), "ready");
        jit_service::ready();
        let channels = Arc::new(channels);
        let measuring = std::env::var_os("RUNTIME_DIRECTORY").map(|folder| {
            let channels = Arc::clone(&channels);
            tokio::spawn(async move { write_metrics(&channels, Path::new(&folder)).await })
        });
        let control = tokio::spawn(control::serve(listener, channels));
        stop.recv().await;
        tracing::info!("stopping");
        control.abort();
        measuring.iter().for_each(tokio::task::JoinHandle::abort);
        // With them went the channels' orders, which ends them.
        let _ = control.await;
        if let Some(measuring) = measuring {
            let _ = measuring.await;
        }
        let _ = timeout(KEPT_WITHIN, async { while working.join_next().await.is_some() {} }).await;
        Ok(())
    })
}

/// Writes the metrics where node_exporter's account can read them; the folder of the states is closed to it. Never returns.
async fn write_metrics(channels: &Channels, folder: &Path) {
    let mut ticks = tokio::time::interval(MEASURED_EVERY);
    loop {
        ticks.tick().await;
        let (text, folder) = (metrics(&channels.statuses(), CLOCK()), folder.to_owned());
        let write = move || files::write(&folder, "metrics.prom", text.as_bytes(), 0o644, Existing::Replaced);
        if let Ok(Err(error)) = tokio::task::spawn_blocking(write).await {
            tracing::warn!(%error, "the metrics cannot be written");
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_example_in_the_help_parses() {
        for (example, words) in jit_manual::examples(&Arguments::command()) {
            let parsed = Arguments::try_parse_from(words);
            assert!(parsed.is_ok(), "{example}: {}", parsed.err().unwrap());
        }
    }
}
