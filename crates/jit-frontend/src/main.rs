//! The program: its arguments, its log, its socket, and everything assembled.

mod manual;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use jiff::Timestamp;
use jit_frontend::certificate::Certificate;
use jit_frontend::config::Config;
use jit_frontend::listener::Listener;
use jit_frontend::logout::TURNS;
use jit_frontend::routes::Routes;
use jit_frontend::sessions::Sessions;
use jit_frontend::tokens::Tokens;
use jit_service::{Failure, account, ended, print, socket};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;

/// Let people of identity providers call jitd over TLS
#[derive(Parser)]
#[command(name = "jit-frontend", version, max_term_width = 100)]
#[command(after_help = "\
Examples:
  jit-frontend check
  jit-frontend invite
  jit-frontend serve")]
struct Arguments {
    /// The configuration file
    #[arg(
        long,
        short,
        global = true,
        default_value = "/etc/jit-frontend/config.yaml",
        value_name = "FILE",
        help_heading = "Global options"
    )]
    config: PathBuf,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run the front end until SIGTERM
    #[command(after_help = "\
Examples:
  jit-frontend serve
  jit-frontend --config ./config.yaml serve")]
    Serve,
    /// Check the configuration and the certificate that it names
    #[command(after_help = "\
Examples:
  jit-frontend check
  jit-frontend --config ./config.yaml check")]
    Check,
    /// Print the command with which people log in, with the address and the fingerprint of the certificate to accept
    #[command(after_help = "\
Examples:
  jit-frontend invite")]
    Invite,
    /// Print the manual page
    #[command(hide = true)]
    Man {
        /// Print it as Markdown
        #[arg(long)]
        markdown: bool,
    },
}

/// The clock of the host; everything below `main` gets it, or a moment, from here.
#[expect(clippy::disallowed_methods, reason = "the one place that reads it")]
const CLOCK: fn() -> Timestamp = Timestamp::now;

/// The name of the program, and of the account of its unit.
const NAME: &str = "jit-frontend";

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.verb {
        Verb::Serve => serve(&arguments.config),
        Verb::Check => account::working_as(NAME, || check(&arguments.config)),
        Verb::Invite => invite(&arguments.config),
        Verb::Man { markdown } => {
            let page = manual::page();
            print(&if markdown { page.markdown() } else { page.render() })
        }
    };
    ended(done, false)
}

fn read(path: &Path) -> Result<Config, Failure> {
    Config::read(path).map_err(Failure::of_configuration)
}

fn check(path: &Path) -> Result<(), Failure> {
    let config = read(path)?;
    Certificate::check(&config, CLOCK()).map_err(Failure::of_configuration)?;
    let providers: Vec<&str> = config.providers.iter().map(jit_identity::Provider::issuer).collect();
    print(&format!("{}: ok, for {}\n", path.display(), providers.join(", ")))
}

/// Prints what cannot be found out by connecting: which certificate is the right one.
fn invite(path: &Path) -> Result<(), Failure> {
    let config = read(path)?;
    let fingerprint = Certificate::fingerprint(&config)?;
    print(&format!("jit-login login {} --root sha256:{fingerprint}\n", config.server))
}

fn serve(path: &Path) -> Result<(), Failure> {
    jit_service::log::start(NAME);
    let config = read(path)?;
    let certificate = Certificate::prepare(&config, CLOCK)?;
    let handed = socket::handed_over()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut stop = signal(SignalKind::terminate())?;
        let socket = socket::listening(handed, config.listen).await?;
        let routes = Arc::new(Routes {
            server: config.server.clone(),
            daemon: config.daemon.clone(),
            session: config.session,
            scopes: config.scopes.clone(),
            tokens: Tokens::new(config.providers.clone()),
            sessions: Sessions::default(),
            turns: Semaphore::new(TURNS),
            refusals: parking_lot::Mutex::default(),
            clock: CLOCK,
        });
        let resolver = Arc::clone(&certificate);
        let listener = Listener::new(routes, resolver).map_err(|error| Failure::other(error.to_string()))?;
        tracing::info!(server = config.server, "ready");
        jit_service::ready();
        tokio::select! {
            () = Arc::new(listener).serve(socket) => {}
            () = certificate.follow() => {}
            _ = stop.recv() => {}
        }
        tracing::info!("stopping");
        Ok(())
    })
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
