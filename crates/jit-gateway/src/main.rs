//! The program: its arguments, its log, its socket, and everything assembled.

mod manual;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, Subcommand};
use jiff::Timestamp;
use jit_core::grant::request::ClusterName;
use jit_dial::ApiServer;
use jit_gateway::config::{ClusterConfig, Config};
use jit_gateway::feed::{Authorities, Feed};
use jit_gateway::grants::Grants;
use jit_gateway::listener::Gateway;
use jit_gateway::record::Recorder;
use jit_service::{Failure, account, ended, print, socket};
use jit_serving::Authority;
use jit_wire::feed::{FromGateway, VERSION};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// A TLS proxy in front of kube-apiserver that ends every stream of a grant when the grant ends
#[derive(Parser)]
#[command(name = "jit-gateway", version, max_term_width = 100)]
#[command(after_help = "\
Examples:
  jit-gateway check
  jit-gateway serve")]
struct Arguments {
    /// The configuration file
    #[arg(
        long,
        short,
        global = true,
        default_value = "/etc/jit-gateway/config.yaml",
        value_name = "FILE",
        help_heading = "Global options"
    )]
    config: PathBuf,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run the gateway until SIGTERM
    #[command(after_help = "\
Examples:
  jit-gateway serve
  jit-gateway --config ./config.yaml serve")]
    Serve,
    /// Check the configuration and the kubeconfigs that it names
    #[command(after_help = "\
Examples:
  jit-gateway check
  jit-gateway --config ./config.yaml check")]
    Check,
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

/// How long a serving certificate lasts, which is made at each start; clients of Apple refuse more than 825 days
/// (<https://support.apple.com/103769>).
const CERTIFICATE_LASTS: Duration = Duration::from_secs(397 * 86_400);

/// The name of the program, and of the account of its unit.
const NAME: &str = "jit-gateway";

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.verb {
        Verb::Serve => serve(&arguments.config),
        Verb::Check => account::working_as(NAME, || check(&arguments.config)),
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

/// How to reach each cluster, as its kubeconfig says.
fn servers(config: &Config) -> Result<BTreeMap<ClusterName, ApiServer>, Failure> {
    let server = |(name, cluster): (&ClusterName, &ClusterConfig)| {
        let server = ApiServer::read(&cluster.kubeconfig, cluster.context.as_deref())
            .map_err(|error| Failure::of_configuration(error).about(&format!("cluster `{name}`")))?;
        Ok((name.clone(), server))
    };
    config.clusters.iter().map(server).collect()
}

fn check(path: &Path) -> Result<(), Failure> {
    let clusters: Vec<String> = servers(&read(path)?)?.keys().map(ToString::to_string).collect();
    print(&format!("{}: ok, for {}\n", path.display(), clusters.join(", ")))
}

fn serve(path: &Path) -> Result<(), Failure> {
    jit_service::log::start(NAME);
    let config = read(path)?;
    let now = CLOCK().into();
    let authority = Authority::prepare(&config.state, "jit-gateway serving root", now)?;
    let serving = authority.certify(&config.host, CERTIFICATE_LASTS, now)?;
    let sessions = config.state.join("sessions");
    if !config.recipients.is_empty() {
        let recipients: Vec<String> = config.recipients.iter().map(ToString::to_string).collect();
        tracing::info!(recipients = recipients.join(", "), "recordings are sealed");
    }
    let recorder = Recorder::start(sessions.clone(), config.recipients.clone(), CLOCK)
        .map_err(|error| Failure::other(format!("`{}`: {error}", sessions.display())))?;
    let recorder = Arc::new(recorder);
    let clusters = servers(&config)?;
    let handed = socket::handed_over()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(async {
        let mut stop = signal(SignalKind::terminate())?;
        let listener = socket::listening(handed, config.listen).await?;
        let hello = FromGateway::Hello {
            version: VERSION,
            server: config.server.clone(),
            certificate_authority: authority.root_pem.clone(),
            clusters: clusters.keys().cloned().collect(),
        };
        let grants = Arc::new(Grants::default());
        let (authorities, known) = watch::channel(Authorities::new());
        let servers = clusters.clone();
        let feed = Feed::new(Arc::clone(&grants), hello, authorities, servers, Arc::clone(&recorder), CLOCK);
        let gateway = Arc::new(Gateway::new(grants, clusters, serving, known, Arc::clone(&recorder), CLOCK));
        tracing::info!(server = config.server, "ready");
        jit_service::ready();
        tokio::select! {
            () = feed.follow(&config.feed) => {}
            () = gateway.serve(listener) => {}
            () = recorder.tick() => {}
            _ = stop.recv() => {}
        }
        tracing::info!("stopping");
        Ok(())
    });
    // It would wait for a write to a disk that hangs.
    runtime.shutdown_background();
    done
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
