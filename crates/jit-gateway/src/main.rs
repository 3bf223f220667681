//! The program: its arguments, its log, its socket, and everything assembled.

mod manual;

use std::collections::BTreeMap;
use std::io::Write;
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
use jit_host::hint::Hint;
use jit_serving::Authority;
use jit_wire::feed::{FromGateway, VERSION};
use libsystemd::daemon::{NotifyState, notify};
use listenfd::ListenFd;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// A TLS proxy in front of kube-apiserver that ends every stream of a grant when the grant ends
#[derive(Parser)]
#[command(name = "jit-gateway", version)]
struct Arguments {
    /// The configuration
    #[arg(long, global = true, value_name = "FILE", default_value = "/etc/jit-gateway/config.yaml")]
    config: PathBuf,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run the gateway
    Serve,
    /// Read the configuration and the kubeconfigs that it names, and say what is wrong with them
    Check,
    /// Print the manual page
    #[command(hide = true)]
    Man {
        /// Print it as Markdown
        #[arg(long)]
        markdown: bool,
    },
}

/// Why the program ends, and with which exit code.
enum Failure {
    /// The configuration cannot be used.
    Configuration(String),
    /// Everything else.
    Other(String),
}

/// The clock of the host; everything below `main` gets it, or a moment, from here.
#[expect(clippy::disallowed_methods, reason = "the one place that reads it")]
const CLOCK: fn() -> Timestamp = Timestamp::now;

/// How long a serving certificate lasts, which is made at each start; clients of Apple refuse more than 825 days
/// (<https://support.apple.com/103769>).
const CERTIFICATE_LASTS: Duration = Duration::from_secs(397 * 86_400);

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.verb {
        Verb::Serve => serve(&arguments.config),
        Verb::Check => check(&arguments.config),
        Verb::Man { markdown } => {
            let page = manual::page();
            print(&if markdown { page.markdown() } else { page.render() })
        }
    };
    let (why, code) = match done {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Other(why)) => (why, 1),
        Err(Failure::Configuration(why)) => (why, 2),
    };
    // Whoever started it may have closed its stderr.
    let _ = writeln!(std::io::stderr(), "error: {why}");
    ExitCode::from(code)
}

fn print(text: &str) -> Result<(), Failure> {
    std::io::stdout().write_all(text.as_bytes()).map_err(|error| Failure::Other(format!("stdout: {error}")))
}

fn read(path: &Path) -> Result<Config, Failure> {
    Config::read(path).map_err(|error| Failure::Configuration(error.in_full().to_string()))
}

/// How to reach each cluster, as its kubeconfig says.
fn servers(config: &Config) -> Result<BTreeMap<ClusterName, ApiServer>, Failure> {
    let server = |(name, cluster): (&ClusterName, &ClusterConfig)| {
        let server = ApiServer::read(&cluster.kubeconfig, cluster.context.as_deref())
            .map_err(|error| Failure::Configuration(format!("cluster `{name}`: {}", error.in_full())))?;
        Ok((name.clone(), server))
    };
    config.clusters.iter().map(server).collect()
}

fn check(path: &Path) -> Result<(), Failure> {
    let clusters: Vec<String> = servers(&read(path)?)?.keys().map(ToString::to_string).collect();
    print(&format!("{}: ok, for {}\n", path.display(), clusters.join(", ")))
}

fn serve(path: &Path) -> Result<(), Failure> {
    let filter = tracing_subscriber::EnvFilter::try_from_env("JIT_GATEWAY_LOG").unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt()
        .log_internal_errors(false)
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .init();
    let config = read(path)?;
    let other = |error: &dyn std::fmt::Display| Failure::Other(error.to_string());
    let now = CLOCK().into();
    let authority =
        Authority::prepare(&config.state, "jit-gateway serving root", now).map_err(|error| other(&error))?;
    let serving = authority.certify(&config.host, CERTIFICATE_LASTS, now).map_err(|error| other(&error))?;
    let sessions = config.state.join("sessions");
    if !config.recipients.is_empty() {
        let recipients: Vec<String> = config.recipients.iter().map(ToString::to_string).collect();
        tracing::info!(recipients = recipients.join(", "), "recordings are sealed");
    }
    let recorder = Recorder::start(sessions.clone(), config.recipients.clone(), CLOCK)
        .map_err(|error| Failure::Other(format!("`{}`: {error}", sessions.display())))?;
    let recorder = Arc::new(recorder);
    let clusters = servers(&config)?;
    // Before there are threads: it removes environment variables.
    let handed = ListenFd::from_env().take_tcp_listener(0).map_err(|error| other(&error))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| other(&error))?;
    let done = runtime.block_on(async {
        let mut stop = signal(SignalKind::terminate()).map_err(|error| other(&error))?;
        let listener = listener(handed, &config).await?;
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
        // Without systemd nobody listens.
        let _ = notify(false, &[NotifyState::Ready]);
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

/// The socket that systemd handed over, or one at `listen`.
async fn listener(handed: Option<std::net::TcpListener>, config: &Config) -> Result<TcpListener, Failure> {
    let cannot = |error: std::io::Error| Failure::Other(format!("cannot use the socket from systemd: {error}"));
    if let Some(handed) = handed {
        handed.set_nonblocking(true).map_err(cannot)?;
        return TcpListener::from_std(handed).map_err(cannot);
    }
    let Some(address) = config.listen else {
        let why = "systemd handed over no socket, and the configuration has no `listen`";
        return Err(Failure::Configuration(why.to_owned()));
    };
    TcpListener::bind(address).await.map_err(|error| Failure::Other(format!("cannot listen at {address}: {error}")))
}
